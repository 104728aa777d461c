"""One battery on real wires: what `evaline run` shows, leaves behind, and tells the factory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from config import read_document
from config.line import EmbeddedBroker as BrokerConfig
from controller.journal import JournalReader
from controller.mes.broker import EmbeddedBroker
from tests.cli.plant import CODE, DISCHARGE, REST, WITHIN, Data, Plant, recipe
from tests.controller.mes.brokers import answer
from tests.controller.mes.listener import ALWAYS, assert_declared

OTHER_LINE = Path(__file__).parents[2] / "config" / "lines" / "demo_bt20000.yaml"


@contextmanager
def closing_reads(path: Path) -> Iterator[JournalReader]:
    journal = JournalReader(path)
    try:
        yield journal
    finally:
        journal.close_reads()


ROOT = "evaline/pohang/evaluation/line1"


class Listener:
    """A plain MQTT 3.1.1 client that keeps what it was told, and what the journal knew at that moment."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self.messages: list[tuple[str, bool, Data]] = []
        self.committed_at_result: list[Data | None] = []
        self._news = asyncio.Condition()
        self._end = asyncio.Event()

    async def disconnected(self) -> None:
        """The broker has ended, so nothing more can come."""
        async with asyncio.timeout(WITHIN):
            await self._end.wait()

    async def listen(self, client: aiomqtt.Client) -> None:
        with suppress(aiomqtt.MqttError):
            await self._listen(client)
        self._end.set()

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            topic, payload = message.topic.value, json.loads(message.payload)
            if topic.endswith("/result"):
                reader = JournalReader(self._journal)
                self.committed_at_result.append(reader.result(payload["data"]["run_id"]))
                reader.close_reads()
                await client.publish(f"{topic}/ack", answer([payload["id"]]), qos=1)
            async with self._news:
                self.messages.append((topic.removeprefix(f"{ROOT}/"), bool(message.retain), payload))
                self._news.notify_all()

    async def told(self, topic: str, **expected: Any) -> Data:
        """Wait for a message on a topic with these values in its envelope or its data."""

        def found() -> Data | None:
            for name, _, payload in self.messages:
                if name == topic and all(
                    value in (payload.get(key), payload["data"].get(key)) for key, value in expected.items()
                ):
                    return payload
            return None

        async with asyncio.timeout(WITHIN), self._news:
            await self._news.wait_for(lambda: found() is not None)
        answer = found()
        assert answer is not None
        return answer

    def all_of(self, topic: str) -> list[Data]:
        return [payload for name, _, payload in self.messages if name == topic]


@asynccontextmanager
async def listening(host: str, port: int, password: str, journal: Path) -> AsyncIterator[Listener]:
    listener = Listener(journal)
    client = aiomqtt.Client(host, port, username="evaline", password=password, protocol=aiomqtt.ProtocolVersion.V311)
    with suppress(aiomqtt.MqttError):  # leaving a broker that has ended
        async with client:
            await client.subscribe(f"{ROOT}/#", qos=1)
            task = asyncio.create_task(listener.listen(client))
            try:
                yield listener
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


async def test_a_run_is_followed_recorded_published_once_and_proven_by_its_journal(plant: Plant) -> None:
    await asyncio.to_thread(plant.up, change=lambda line: line.update(broker={"kind": "embedded", "port": 0}))
    mqtt = plant.daemon.ready["mqtt"]
    password = (plant.state / "broker" / "password").read_text(encoding="utf-8").strip()
    async with listening(mqtt["host"], mqtt["port"], password, plant.journal) as mes:
        # what is retained tells a newcomer where the line stands
        await mes.told("connection", state="online")
        await mes.told("st01/state", state="IDLE")
        assert all(retained for _, retained, _ in mes.messages)

        done = await asyncio.to_thread(plant.run, recipe(), "--json", "--reason", "incoming inspection")

        assert done.code == 0
        result = done.json
        assert result["verdict"] == "pass"
        assert result["dut"]["code"] == CODE
        assert (result["author"], result["reason"]) == ("tester", "incoming inspection")
        assert result["measurements"]["temperatureMax"]["verdict"] == "pass"
        assert all(step["confirmed"] for step in result["outputs_off"])
        assert "discharge" in done.err, "progress goes to standard error"

        await mes.told("st01/state", state="EXECUTE", step="discharge", run=result["run_id"])
        await mes.told("st01/state", state="COMPLETE")
        await mes.told("st01/result", run_id=result["run_id"])
        await asyncio.to_thread(plant.daemon.end)
        await mes.disconnected()

    channels = {assert_declared(f"{ROOT}/{topic}", message) for topic, _, message in mes.messages}
    assert channels == ALWAYS | {"run", "step", "job", "result", "ack"}, "all of it as the contract has it"
    published = mes.all_of("st01/result")
    assert [message["data"] for message in published] == [result], "exactly one, and the same as everybody else's"
    assert mes.committed_at_result == [result], "what is published was committed before"
    assert Path(result["data_file"]["path"]).read_bytes().startswith(b"PAR1")
    assert "temperatureMax" in Path(result["report"]).read_text(encoding="utf-8")
    plant.simulators.assert_off()

    verified = plant.command("journal", "verify", plant.journal)
    assert verified.code == 0
    assert verified.out.startswith(f"{plant.journal}: intact: ")
    report = plant.command("journal", "verify", plant.journal, "--json").json
    assert (report["ok"], report["runs"], report["problems"]) == (True, 1, [])
    assert report["samples"] == result["data_file"]["samples"]


def test_other_makes_of_instruments_run_the_same_steps_by_configuration_alone(plant: Plant) -> None:
    """A battery tester over Modbus TCP, an impedance meter on its LAN port, a scanner over VXI-11.

    `evaline demo --line config/lines/demo_bt20000.yaml` runs the whole recipe on them.
    """

    def other_line(line: Data) -> None:
        ours = {key: line[key] for key in ("state_dir", "http", "broker")}
        line.clear()
        line.update(read_document(OTHER_LINE).data | ours)

    acir = {"name": "acir", "step": "acir", "readings": 3}
    plant.up(change=other_line)
    done = plant.run(recipe(REST, acir, DISCHARGE), "--json", dut="PHE96-004712")
    assert (done.code, done.json["verdict"]) == (0, "pass")
    makers = {key: (entry["driver"], entry["model"]) for key, entry in done.json["instruments"].items()}
    assert makers["cycler"] == ("ea_bt20000", "BT 20500-90")
    assert makers["impedance_meter"] == ("hioki_bt3562", "BT3562A")
    assert makers["temperature_scanner"][0] == "keithley_daq6510"
    with closing_reads(plant.journal) as journal:
        ended = {event.body["label"]: event.body for event in journal.events(kind="step.ended")}
    assert all(0 < ohms < 0.1 for ohms in ended["acir"]["readings"]["resistance"])
    assert -ended["discharge"]["charge_ah"] == pytest.approx(plant.simulators.truth()["discharged_ah"], rel=0.01)
    plant.simulators.assert_off()


async def test_a_daemon_that_vanishes_leaves_its_last_will_and_the_next_one_the_result(plant: Plant) -> None:
    """The broker is somebody else's here, so that it outlives the daemon."""
    async with EmbeddedBroker(BrokerConfig(port=0), plant.directory / "foreign") as broker:
        external = {
            "url": f"mqtt://{broker.host}:{broker.port}",
            "username": broker.username,
            "password_file": str(plant.write("password", broker.password)),
        }
        await asyncio.to_thread(plant.up, change=lambda line: line.update(broker=external))
        async with listening(broker.host, broker.port, broker.password, plant.journal) as mes:
            run, follower = await asyncio.to_thread(plant.begin_discharge)
            plant.daemon.process.kill()
            await mes.told("connection", state="broken")

            gone = await asyncio.to_thread(follower.ended)
            assert gone.code == 1
            assert gone.err.splitlines()[-1] == (
                f"evaline: the daemon ended before run {run} did; when it is served again, the run stands HELD to be "
                "resumed, or has its one result, as `on_interrupt` of its step says [E-DAEMON-GONE]"
            )

            await asyncio.to_thread(plant.serve)
            message = await mes.told("st01/result", run_id=run)
            assert message["data"]["verdict"] == "error"
            assert message["data"]["outcome"]["reason"] == "the daemon ended while the run was active"
            await asyncio.to_thread(plant.daemon.end)
            await mes.told("connection", state="offline")
        assert len(mes.all_of("st01/result")) == 1
