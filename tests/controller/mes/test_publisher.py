"""What the journal committed reaches the MES: in order, at least once, recognisable by its id; states are retained."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from config.line import EmbeddedBroker as EmbeddedBrokerConfig
from config.line import ExternalBroker, LineIdentity
from controller.journal import AuditEntry, Event, Journal
from controller.mes.broker import EmbeddedBroker
from controller.mes.publisher import BrokerSettings, Publisher
from controller.mes.topics import StationState, Topics, rfc3339

LINE = LineIdentity(enterprise="evaline", site="pohang", area="evaluation", name="line1")
TOPICS = Topics(LINE)
AUDIT = AuditEntry(1.0, "kim", "finish", "end of recipe", {})

pytestmark = pytest.mark.timeout(180)  # real brokers, and as long as a busy machine takes


def finish(journal: Journal, number: int) -> None:
    run = f"r{number}"
    message = TOPICS.result_message("st01", run, 1.7e9 + number, {"run": run, "verdict": "pass"})
    journal.commit_result(Event(1.7e9 + number, "st01", run, "result", {}), {"run": run}, [message], AUDIT)


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[EmbeddedBroker]:
    async with EmbeddedBroker(EmbeddedBrokerConfig(port=0), tmp_path) as broker:
        yield broker


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    journal = Journal.open(tmp_path / "j.db", tick=0.001)
    yield journal
    await journal.close()


@asynccontextmanager
async def publishing(publisher: Publisher) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(publisher.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Mes:
    """A second real client with a session that outlives connections, as a MES would have it."""

    def __init__(self, broker: EmbeddedBroker, topic: str, name: str = "mes") -> None:
        self._broker, self._topic, self._name = broker, topic, name
        self.received: list[tuple[str, dict[str, Any], bool]] = []

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[aiomqtt.Client]:
        async with aiomqtt.Client(
            self._broker.host,
            self._broker.port,
            username=self._broker.username,
            password=self._broker.password,
            identifier=self._name,
            clean_session=False,
            timeout=5,
        ) as client:
            await client.subscribe(self._topic, qos=1)
            yield client

    async def listen_until(self, enough: Callable[[], bool]) -> None:
        """Collect messages, over as many connections as it takes."""
        async with asyncio.timeout(60):
            while True:
                with suppress(aiomqtt.MqttError):
                    async with self.connected() as client:
                        if await self._collect(client, enough):
                            return
                await asyncio.wait({asyncio.get_running_loop().create_future()}, timeout=0.02)

    async def _collect(self, client: aiomqtt.Client, enough: Callable[[], bool]) -> bool:
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            self.received.append((str(message.topic), json.loads(message.payload), message.retain))
            if enough():
                return True
        return False

    @property
    def ids(self) -> list[str]:
        return [payload["id"] for _, payload, _ in self.received if "id" in payload]


async def test_a_result_is_published_once_after_its_commit(broker: EmbeddedBroker, journal: Journal) -> None:
    mes = Mes(broker, f"{TOPICS.root}/+/result")
    async with mes.connected():
        pass  # the session exists from now on
    publisher = Publisher(journal, BrokerSettings.of_embedded(broker), LINE)
    async with publishing(publisher):
        finish(journal, 1)
        assert await publisher.drained(60)
        assert publisher.connected
        finish(journal, 2)
        assert await publisher.drained(60)
        await mes.listen_until(lambda: len(mes.received) == 2)
    topic, payload, _ = mes.received[0]
    assert topic == "evaline/pohang/evaluation/line1/st01/result"
    assert payload == {
        "specversion": "1.0",
        "id": "r1.result",
        "source": "/evaline/pohang/evaluation/line1/st01",
        "type": "evaline.result.v1",
        "time": "2023-11-14T22:13:21.000Z",
        "datacontenttype": "application/json",
        "data": {"run": "r1", "verdict": "pass"},
    }
    assert mes.ids == ["r1.result", "r2.result"]
    assert publisher.sent == 2
    assert journal.pending_outbox() == []


async def test_a_restarted_daemon_sends_what_waits_and_nothing_twice(broker: EmbeddedBroker, journal: Journal) -> None:
    mes = Mes(broker, f"{TOPICS.root}/+/result")
    async with mes.connected():
        pass
    settings = BrokerSettings.of_embedded(broker)
    for number in range(1, 4):
        finish(journal, number)
    for _ in range(2):
        publisher = Publisher(journal, settings, LINE)
        async with publishing(publisher):
            assert await publisher.drained(60)
    await mes.listen_until(lambda: len(mes.received) == 3)
    assert mes.ids == ["r1.result", "r2.result", "r3.result"]
    assert publisher.sent == 0


async def test_the_newest_state_is_retained_and_a_clean_stop_says_offline(
    broker: EmbeddedBroker, journal: Journal
) -> None:
    publisher = Publisher(journal, BrokerSettings.of_embedded(broker), LINE)
    for word in ("IDLE", "STARTING", "EXECUTE"):
        publisher.publish_state("st01", StationState(state=word, time=rfc3339(0.0)).model_dump())
    mes = Mes(broker, f"{TOPICS.root}/#")
    async with publishing(publisher):
        assert await publisher.drained(60)
        await mes.listen_until(lambda: len(mes.received) == 2)
    found = {topic: (payload["state"], retain) for topic, payload, retain in mes.received}
    assert found == {TOPICS.state("st01"): ("EXECUTE", True), TOPICS.connection: ("online", True)}
    late = Mes(broker, TOPICS.connection, "late")
    await late.listen_until(lambda: bool(late.received))
    assert late.received[0][1] == {"schema_version": "evaline/connection/1", "state": "offline"}


async def test_the_last_will_says_broken_when_the_daemon_is_killed(broker: EmbeddedBroker, tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom config.line import LineIdentity\n"
        "from controller.journal import Journal\nfrom controller.mes.publisher import BrokerSettings, Publisher\n"
        "async def main():\n"
        " host, port, user, password, path = sys.argv[1:]\n"
        " line = LineIdentity(enterprise='evaline', site='pohang', area='evaluation', name='line1')\n"
        " publisher = Publisher(Journal.open(Path(path)), BrokerSettings(host, int(port), user, password), line)\n"
        " task = asyncio.create_task(publisher.run())\n"
        " await publisher.drained(60); print(publisher.connected, flush=True)\n"
        " await task\nasyncio.run(main())"
    )
    address = (broker.host, str(broker.port), broker.username, broker.password)
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, *address, str(tmp_path / "other.db"), stdout=asyncio.subprocess.PIPE
    )
    assert daemon.stdout is not None
    assert await daemon.stdout.readline() == b"True\n"
    mes = Mes(broker, TOPICS.connection)
    await mes.listen_until(lambda: bool(mes.received))
    daemon.kill()
    await daemon.communicate()
    await mes.listen_until(lambda: mes.received[-1][1]["state"] == "broken")
    assert mes.received[0][1]["state"] == "online"


async def test_a_killed_broker_loses_nothing_and_keeps_the_order(broker: EmbeddedBroker, journal: Journal) -> None:
    count = 300
    mes = Mes(broker, f"{TOPICS.root}/#")
    async with mes.connected():
        pass
    publisher = Publisher(journal, BrokerSettings.of_embedded(broker), LINE)
    publisher.publish_state("st01", {"state": "EXECUTE"})
    async with asyncio.TaskGroup() as group, publishing(publisher):
        supervising = group.create_task(broker.supervise())
        listening = group.create_task(mes.listen_until(lambda: len(set(mes.ids)) == count))
        with journal.commits() as committed:
            for number in range(count):
                finish(journal, number)
            for kill_after in (count // 4, count // 2):
                while publisher.sent < kill_after:
                    committed.clear()  # every delivery is marked, so a commit follows it
                    async with asyncio.timeout(60):
                        await committed.wait()
                assert broker.pid is not None
                os.kill(broker.pid, signal.SIGKILL)
        assert await publisher.drained(60)
        await listening
        supervising.cancel()
    first_times = list(dict.fromkeys(mes.ids))
    assert first_times == [f"r{number}.result" for number in range(count)]
    assert broker.restarts >= 1
    late = Mes(broker, TOPICS.state("st01"), "late")
    await late.listen_until(lambda: bool(late.received))
    assert late.received[0][1] == {"state": "EXECUTE"}


async def test_without_a_broker_results_wait_and_drained_says_no(journal: Journal) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    publisher = Publisher(journal, BrokerSettings("127.0.0.1", server.sockets[0].getsockname()[1]), LINE)
    finish(journal, 1)
    async with publishing(publisher):
        assert not await publisher.drained(0.3)
        assert not publisher.connected
    server.close()
    assert [message.id for message in journal.pending_outbox()] == ["r1.result"]


async def test_a_broker_without_mqtt_5_is_spoken_to_in_3_1_1(
    broker: EmbeddedBroker, journal: Journal, tmp_path: Path
) -> None:
    secret = tmp_path / "broker" / "password"
    config = ExternalBroker(
        kind="external", host=broker.host, port=broker.port, username="evaline", password_file=str(secret)
    )
    publisher = Publisher(journal, BrokerSettings.of_external(config), LINE)
    async with publishing(publisher):
        assert await publisher.drained(60)
        assert publisher.connected


PUBLISH, PUBACK, CONNECT, CONNACK = 0x30, 0x40, 0x10, 0x20


@asynccontextmanager
async def mqtt5_broker(answer: Callable[[bytes], int]) -> AsyncIterator[int]:
    """A scripted MQTT 5 broker on a free port: acknowledges each publish with the reason code that `answer` gives."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                kind, length, shift = (await reader.readexactly(1))[0], 0, 0
                while True:
                    byte = (await reader.readexactly(1))[0]
                    length |= (byte & 0x7F) << shift
                    shift += 7
                    if byte < 0x80:
                        break
                body = await reader.readexactly(length)
                if kind & 0xF0 == CONNECT:
                    writer.write(bytes([CONNACK, 3, 0, 0, 0]))
                elif kind & 0xF0 == PUBLISH:
                    size = int.from_bytes(body[:2], "big")
                    message_id = body[2 + size : 4 + size]
                    writer.write(bytes([PUBACK, 4, *message_id, answer(body[2 : 2 + size]), 0]))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_refused_publish_is_not_taken_for_a_delivery(journal: Journal) -> None:
    asked: list[bytes] = []

    def refuse_first_results(topic: bytes) -> int:
        if not topic.endswith(b"/result"):
            return 0
        asked.append(topic)
        return 0x87 if len(asked) < 3 else 0

    async with mqtt5_broker(refuse_first_results) as port:
        config = ExternalBroker(kind="external", host="127.0.0.1", port=port)
        publisher = Publisher(journal, BrokerSettings.of_external(config), LINE)
        finish(journal, 1)
        async with publishing(publisher):
            assert await publisher.drained(60)
        assert len(asked) == 3
        assert publisher.sent == 1
        assert "Not authorized" in publisher.last_error
    assert journal.pending_outbox() == []
