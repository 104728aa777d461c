"""More than one broker: any node of three may die, and a line's broker keeps what the plant's cannot take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import aiomqtt
import pytest

from config.line import LineIdentity
from controller.journal import Journal
from controller.mes.broker import _server
from controller.mes.connection import V311, BrokerSettings, Connector, Endpoint
from tests.controller.mes.brokers import Mosquitto, finish, free_port, mes_at, pause, publishing, reading, until

pytestmark = pytest.mark.timeout(180)

NODE = """
server_name: n{number}
listen: "127.0.0.1:-1"
jetstream {{ store_dir: "{store}" }}
cluster {{ name: plant, listen: "127.0.0.1:{own}", routes: [{routes}] }}
mqtt {{ listen: "127.0.0.1:{port}", stream_replicas: 3, ack_wait: "2s" }}
"""
LINES = [LineIdentity(enterprise="evaline", site="pohang", area="evaluation", name=name) for name in ("line1", "line2")]


class Cluster:
    """Three NATS servers on loopback."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.ports, routes = [free_port() for _ in range(3)], [free_port() for _ in range(3)]
        self._texts = [
            NODE.format(
                number=number, store=directory / f"n{number}", own=routes[number], port=self.ports[number],
                routes=", ".join(f'"nats://127.0.0.1:{port}"' for port in routes),
            )
            for number in range(3)
        ]  # fmt: skip
        self.processes: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> Cluster:
        for number, text in enumerate(self._texts):
            config = self._directory / f"n{number}.conf"
            config.write_text(text)
            with (self._directory / f"n{number}.log").open("wb") as log:
                self.processes.append(
                    await asyncio.create_subprocess_exec(str(_server()), "-c", str(config), stdout=log, stderr=log)
                )
        for number in range(3):
            await self.serves(number)
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self.processes:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def serves(self, number: int) -> None:
        connector = Connector(self.settings(number, only=True), f"probe{number}")
        async with asyncio.timeout(60):
            while True:
                with suppress(aiomqtt.MqttError):
                    async with connector.connected(session_s=60) as client:
                        await client.subscribe_all(f"probe/{number}")
                        await client.publish(f"probe/{number}", b"")
                        client.acknowledge(await client.received())
                        return
                await pause(0.1)

    def settings(self, first: int, only: bool = False) -> BrokerSettings:
        """The nodes as a client lists them, beginning with its own."""
        ports = [self.ports[(first + n) % 3] for n in range(1 if only else 3)]
        return BrokerSettings(tuple(Endpoint("127.0.0.1", port) for port in ports), versions=(V311,))


@asynccontextmanager
async def journals(directory: Path) -> AsyncIterator[list[Journal]]:
    opened = [Journal.open(directory / f"{line.name}.db", tick=0.005) for line in LINES]
    try:
        yield opened
    finally:
        for journal in opened:
            await journal.close()


@pytest.mark.parametrize(
    "dies", [pytest.param(0, marks=pytest.mark.proof), 1, pytest.param(2, marks=pytest.mark.proof)]
)
async def test_two_lines_and_a_mes_outlive_any_node_of_three(tmp_path: Path, dies: int) -> None:
    """Each has another node as its first; one of the three dies in the middle and does not come back."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(Cluster(tmp_path))
        books = await stack.enter_async_context(journals(tmp_path))
        mes = [
            await stack.enter_async_context(mes_at(cluster.settings(2), name=f"mes-{line.name}", line=line))
            for line in LINES
        ]
        for number, (line, book) in enumerate(zip(LINES, books, strict=True)):
            await stack.enter_async_context(publishing(book, cluster.settings(number), line=line))
        for number in range(60):
            for line, book in zip(LINES, books, strict=True):
                finish(book, "st01", f"{line.name}-{number}", line=line)
                await book.flush()
            if number == 20:
                await mes[0].has(lambda: len(mes[0].stored) > 5)
                cluster.processes[dies].kill()
                await cluster.processes[dies].wait()
        for book in books:
            await until(lambda book=book: not book.outbox.waiting, book, 120)
    for line, listener in zip(LINES, mes, strict=True):
        assert listener.of_station("st01") == [f"{line.name}-{number}" for number in range(60)]


BRIDGED = """
allow_anonymous true
persistence true
persistence_location {directory}/
autosave_interval 1
max_queued_messages 100000
connection plant
address 127.0.0.1:{plant}
bridge_protocol_version mqttv50
cleansession false
remote_clientid line1-bridge
restart_timeout 1 2
topic evaline/pohang/evaluation/line1/+/result out 1
topic evaline/pohang/evaluation/line1/+/event/# out 1
topic evaline/pohang/evaluation/line1/+/state out 1
topic evaline/pohang/evaluation/line1/connection out 1
topic evaline/pohang/evaluation/line1/+/connection out 1
topic evaline/pohang/evaluation/line1/+/cmd in 1
topic evaline/pohang/evaluation/line1/+/result/ack in 1
"""


async def test_a_line_behind_a_bridge_catches_up_in_order_after_an_outage_of_the_plants_broker(tmp_path: Path) -> None:
    plant = Mosquitto(tmp_path / "plant", "allow_anonymous true\npersistence true\nautosave_interval 1")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(plant)
        text = BRIDGED.format(directory=tmp_path / "line", plant=plant.port)
        own = await stack.enter_async_context(Mosquitto(tmp_path / "line", text))
        (book, _) = await stack.enter_async_context(journals(tmp_path))
        mes = await stack.enter_async_context(mes_at(BrokerSettings((Endpoint("127.0.0.1", plant.port),))))
        settings = BrokerSettings((Endpoint("127.0.0.1", own.port),))
        publisher = await stack.enter_async_context(publishing(book, settings, stations=("st01", "st02")))
        finish(book, "st01", "before")
        await until(lambda: not book.outbox.waiting, book)
        await plant.kill()
        for number in range(100):
            finish(book, f"st{number % 8:02d}", f"run-{number:03d}", events=2)
        assert await publisher.drained(30)  # the line's broker has what one may send without an answer
        await plant.start()
        await until(lambda: not book.outbox.waiting, book, 120)
        await mes.has(lambda: len(set(mes.events)) == 200)
        reader = await stack.enter_async_context(reading(mes.settings))
        await reader.sees("online", ("st01", "st02"))
    for station in range(8):
        expected = [f"run-{number:03d}" for number in range(100) if number % 8 == station]
        assert [run for run in mes.of_station(f"st{station:02d}") if run != "before"] == expected
    order = [event for event in dict.fromkeys(mes.events) if event.startswith("run-") and int(event[4:7]) % 8 == 3]
    assert order == sorted(order)
