"""The whole daemon killed where a message could be lost or come twice: each result is stored once."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest

from controller.clock import PacedClock
from controller.journal import JournalReader
from controller.journal.check import verify
from controller.mes.connection import V311, BrokerSettings, Connector, Endpoint, MqttClient
from controller.mes.topics import rfc3339
from tests.cli.plant import LONG_DISCHARGE, PACED, WITHIN, Data, Plant, recipe
from tests.controller.mes.brokers import Mosquitto, free_port, mes_at
from tests.controller.mes.listener import overhearing

RUNS = ["st01-000001", "st01-000002"]
ROOT = "evaline/pohang/evaluation/line1"

pytestmark = pytest.mark.timeout(120)


async def test_results_of_a_daemon_killed_before_publication_and_again_before_the_mes_answers(plant: Plant) -> None:
    mosquitto = Mosquitto(plant.directory / "mosquitto", "allow_anonymous true\npersistence true")
    url = f"mqtt://127.0.0.1:{mosquitto.port}"

    def change(data: Data) -> None:
        data["broker"] = {"url": url, "insecure": True, "results": {"ack_within_s": 1}}

    # the broker is down when the results are committed, and still when the daemon is killed
    await asyncio.to_thread(plant.up, change=change)
    for _ in RUNS:
        assert (await asyncio.to_thread(plant.run, recipe())).code == 0
    assert len(waiting(plant)) == len(RUNS)
    plant.daemon.end(signal.SIGKILL)

    settings = BrokerSettings((Endpoint("127.0.0.1", mosquitto.port),))
    answer: str | None = "silent"
    asked: list[str] = []

    def answers(id: str) -> str | None:
        asked.append(id)
        return answer

    async with (
        mosquitto,
        overhearing(settings, "run", "step", "job", "result"),
        mes_at(settings, answer=answers) as mes,
    ):
        plant.let_pass(60)
        await asyncio.to_thread(plant.serve)
        await mes.has(lambda: bool(asked))
        assert {id.rpartition(".")[0] for id in asked} == {f"{RUNS[0]}.result"}, "its next one waits"
        plant.daemon.end(signal.SIGKILL)
        answer = None
        plant.let_pass(60)
        await asyncio.to_thread(plant.serve)
        await mes.has(lambda: len(mes.stored) == len(RUNS))
        assert mes.of_station("st01") == RUNS
        await asyncio.to_thread(plant.daemon.until, lambda station: not waiting(plant))
        assert mes.duplicates == 0, "what it had been sent before was not stored"
    assert (await asyncio.to_thread(plant.daemon.end)).code == 0
    assert verify(plant.journal).ok


def waiting(plant: Plant) -> list[str]:
    """The results that nobody has stored yet."""
    reader = JournalReader(plant.journal)
    pending = reader.pending_outbox()
    reader.close_reads()
    return [message.topic for message in pending if message.topic.endswith("/result")]


def hold(cmd_id: str) -> bytes:
    now = PacedClock().now()
    data = {"command": "hold", "cmd_id": cmd_id, "actor": "mes", "issued_at": rfc3339(now),
            "expires_at": rfc3339(now + 3600)}  # fmt: skip
    envelope = {"specversion": "1.0", "id": cmd_id, "source": "/mes", "type": "evaline.cmd.v1", "data": data}
    return json.dumps(envelope).encode()


async def next_reply(client: MqttClient) -> Data:
    async with asyncio.timeout(WITHIN):
        message = await client.received()
    client.acknowledge(message)
    data: Data = json.loads(message.payload)["data"]
    return data


def start_again(plant: Plant) -> None:
    """The next daemon, whose station has a run that the last one left."""
    plant.daemon = plant.start_daemon(rate=PACED)
    plant.daemon.ready = plant.daemon.event()
    plant.daemon.until_state("HELD")


async def test_a_hold_whose_daemon_is_killed_before_its_reply_comes_again_and_is_answered_once(plant: Plant) -> None:
    port = free_port()
    crashing = [sys.executable, str(Path(__file__).with_name("crashing_mes.py"))]

    def change(data: Data) -> None:
        data["broker"] = {"kind": "embedded", "port": port}
        data["mes"] = {"clock_skew_s": 3600}

    await asyncio.to_thread(plant.up, change=change, rate=PACED, command=crashing)
    await asyncio.to_thread(plant.begin, recipe(LONG_DISCHARGE | {"on_interrupt": "resume"}))
    run = (await asyncio.to_thread(plant.daemon.until_current_flows))["run_id"]
    password = (plant.state / "broker" / "password").read_text().strip()
    settings = BrokerSettings((Endpoint("127.0.0.1", port),), "evaline", password, versions=(V311,))
    async with Connector(settings, "mes").connected(session_s=3600) as client:
        await client.subscribe_all(f"{ROOT}/+/cmd/reply")
        await client.publish(f"{ROOT}/st01/cmd", hold("once"))
        await asyncio.to_thread(plant.daemon.process.wait, 30)
    assert plant.daemon.process.returncode == -signal.SIGKILL
    await asyncio.to_thread(start_again, plant)
    async with Connector(settings, "mes").connected(session_s=3600) as client:
        await client.subscribe_all(f"{ROOT}/+/cmd/reply")
        once = await next_reply(client)
        await client.publish(f"{ROOT}/st01/cmd", hold("another"))
        another = await next_reply(client)  # a second answer to the first would be before this one
    # the effect was in the journal and the reply was not: it is judged anew, and what holds cannot be held
    assert [(reply["cmd_id"], reply["status"]) for reply in (once, another)] == [
        ("once", "rejected"),
        ("another", "rejected"),
    ]
    assert [reason["code"] for reason in once["reasons"]] == ["E-STATE"]
    found = await asyncio.to_thread(plant.daemon.until, lambda station: True)
    assert (found["state"], found["run_id"]) == ("HELD", run)
    plant.simulators.assert_off()
    assert (await asyncio.to_thread(plant.daemon.end)).code == 0
    assert verify(plant.journal).ok
