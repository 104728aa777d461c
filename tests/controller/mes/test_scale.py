"""More than one broker: any node of three may die, and a line's broker keeps what the plant's cannot take."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import textwrap
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import aiomqtt
import pytest
from typer.testing import CliRunner

from config.line import LineIdentity
from controller.cli.app import app
from controller.journal import Event, Journal, OutboxMessage
from controller.mes.broker import _server
from controller.mes.connection import V311, BrokerSettings, Connector, Endpoint, TlsFiles
from controller.mes.topics import Topics
from tests.controller.mes.brokers import T0, Mosquitto, finish, free_port, mes_at, pause, publishing, reading, until

pytestmark = pytest.mark.timeout(180)

LINES = [LineIdentity(enterprise="evaline", site="pohang", area="evaluation", name=name) for name in ("line1", "line2")]
HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
DOCS = Path(__file__).parents[3] / "docs" / "scale.md"


def files_of(directory: Path, user: str) -> TlsFiles:
    return TlsFiles(*(str(directory / name) for name in ("ca.pem", f"{user}.pem", f"{user}.key")))


class Cluster:
    """Three NATS servers, each on an address of its own, with the generated files and in them only the ports moved."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "example"
        self.port, self.routes = free_port(), free_port()
        call = ["broker", "example", "--for", "nats", "--out", str(self.directory), "--port", str(self.port)]
        hosts = [word for host in HOSTS for word in ("--host", host)]
        assert CliRunner().invoke(app, [*call, "--also", "line2", *hosts]).exit_code == 0
        for host in HOSTS:
            config = self.directory / f"nats-{host}.conf"
            config.write_text(config.read_text().replace("0.0.0.0", host).replace(":6222", f":{self.routes}"))
        self.processes: dict[int, asyncio.subprocess.Process] = {}

    async def __aenter__(self) -> Cluster:
        for number in range(3):
            await self.start(number)
        for number in range(3):
            await self.serves(number)
        return self

    async def __aexit__(self, *_: object) -> None:
        for number in self.processes:
            await self.kill(number)

    async def start(self, number: int) -> None:
        config = self.directory / f"nats-{HOSTS[number]}.conf"
        with config.with_suffix(".log").open("ab") as log:
            self.processes[number] = await asyncio.create_subprocess_exec(
                str(_server()), "-c", str(config), stdout=log, stderr=log
            )

    async def kill(self, number: int) -> None:
        with suppress(ProcessLookupError):
            self.processes[number].kill()
        await self.processes[number].wait()

    async def serves(self, number: int) -> None:
        """Wait until a message comes through this node."""
        connector = Connector(self.settings("mes", number, only=True), f"probe{number}")
        topic = Topics(LINES[0]).command(f"probe{number}")
        async with asyncio.timeout(60):
            while True:
                with suppress(aiomqtt.MqttError):
                    async with connector.connected(session_s=60) as client:
                        await client.subscribe_all(topic)
                        await client.publish(topic, b"")
                        client.acknowledge(await client.received())
                        return
                await pause(0.1)

    def settings(self, user: str, first: int, only: bool = False) -> BrokerSettings:
        """The nodes as a client lists them, beginning with its own."""
        hosts = [HOSTS[(first + n) % 3] for n in range(1 if only else 3)]
        endpoints = tuple(Endpoint(host, self.port, tls=True) for host in hosts)
        return BrokerSettings(endpoints, tls=files_of(self.directory, user), versions=(V311,))

    async def says_to_a_route(self, tls: TlsFiles, login: str = "") -> bytes:
        """What a node answers to somebody who would be one, once it has ended the connection."""
        try:
            async with asyncio.timeout(30):
                reader, writer = await asyncio.open_connection(HOSTS[0], self.routes, ssl=tls.context())
                writer.write(f'CONNECT {{"name": "x", "cluster": "evaline"{login}}}\r\nPING\r\n'.encode())
                said = await reader.read()
                writer.close()
                return said
        except (ssl.SSLError, ConnectionError):
            return b"no handshake"


@asynccontextmanager
async def journals(directory: Path) -> AsyncIterator[list[Journal]]:
    opened = [Journal.open(directory / f"{line.name}.db", tick=0.005) for line in LINES]
    try:
        yield opened
    finally:
        for journal in opened:
            await journal.close()


@pytest.mark.parametrize("die", [pytest.param((1,)), pytest.param((0, 1, 2), marks=pytest.mark.proof)])
async def test_two_lines_and_a_mes_outlive_each_node_of_three(tmp_path: Path, die: tuple[int, ...]) -> None:
    """Each has another node as its first. A node dies in the middle, and comes back only when the next is to die."""
    rounds = 20 + 40 * len(die)
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(Cluster(tmp_path))
        books = await stack.enter_async_context(journals(tmp_path))
        mes = [
            await stack.enter_async_context(mes_at(cluster.settings("mes", 2), name=f"mes-{line.name}", line=line))
            for line in LINES
        ]
        for number, (line, book) in enumerate(zip(LINES, books, strict=True)):
            settings = cluster.settings(f"line-{line.name}", number)
            await stack.enter_async_context(publishing(book, settings, line=line))
        victims, dead = iter(die), None
        for number in range(rounds):
            for line, book in zip(LINES, books, strict=True):
                finish(book, "st01", f"{line.name}-{number}", line=line)
                await book.flush()
            if number % 40 == 20:
                await mes[0].has(lambda number=number: len(mes[0].stored) > number - 15)
                if dead is not None:
                    await cluster.start(dead)
                    await cluster.serves(dead)
                await cluster.kill(dead := next(victims))
        for book in books:
            await until(lambda book=book: not book.outbox.waiting, book, 120)
    for line, listener in zip(LINES, mes, strict=True):
        assert listener.of_station("st01") == [f"{line.name}-{number}" for number in range(rounds)]


async def test_nobody_gets_into_a_cluster_without_a_certificate_nor_is_a_node_without_its_password(
    tmp_path: Path,
) -> None:
    async with Cluster(tmp_path) as cluster:
        ca = str(cluster.directory / "ca.pem")
        bare = BrokerSettings((Endpoint(HOSTS[0], cluster.port, tls=True),), tls=TlsFiles(ca), versions=(V311,))
        for settings in (bare, replace(bare, endpoints=(Endpoint(HOSTS[0], cluster.port),))):
            with pytest.raises((aiomqtt.MqttError, ssl.SSLError)):
                async with asyncio.timeout(30), Connector(settings, "stranger").connected():
                    pass
        assert await cluster.says_to_a_route(TlsFiles(ca)) == b"no handshake"
        client = files_of(cluster.directory, "mes")
        for login in ("", ', "user": "node", "pass": "guessed"'):
            assert b"Authorization Violation" in await cluster.says_to_a_route(client, login)


def bridged(directory: Path, plant: Path, port: int) -> str:
    """The bridge as the documentation has it, but for its own listener and the names and places in it."""
    (text,) = (block for block in DOCS.read_text().split("```") if "connection plant" in block)
    text = textwrap.dedent(text).replace("acme/p1/formation/line1", Topics(LINES[0]).root)
    text = text.replace("plant-broker.example:8883", f"127.0.0.1:{port}").replace("/etc/evaline", str(plant))
    return f"allow_anonymous true\npersistence_location {directory}/\n{text}\nrestart_timeout 1 2"


class Answering:
    """Takes commands as the line does: its reply is durable when it returns."""

    def __init__(self, book: Journal) -> None:
        self._book = book

    async def receive(self, topic: str, payload: bytes, **how: bool) -> None:
        id = json.loads(payload)["id"]
        reply = OutboxMessage(f"{topic}/reply", {"id": f"{id}.reply", "type": "test"}, 1, False, f"{id}.reply")
        self._book.append(Event(T0, "st01", "", "command", {}), [reply])
        await self._book.flush()


async def test_a_line_behind_a_bridge_is_commanded_and_catches_up_in_order_after_an_outage_of_the_plants_broker(
    tmp_path: Path,
) -> None:
    """The plant's broker is the generated one; the bridge has the line's certificate, and may do what the line may."""
    files, port, topics = tmp_path / "example", free_port(), Topics(LINES[0])
    call = ["broker", "example", "--for", "mosquitto", "--out", str(files), "--port", str(port), "--host", "127.0.0.1"]
    assert CliRunner().invoke(app, call).exit_code == 0
    text = re.sub("^user .*$", "autosave_interval 1", (files / "mosquitto.conf").read_text(), flags=re.MULTILINE)
    plant = Mosquitto(tmp_path / "plant", text.replace("autosave_interval 10\n", ""), port)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(plant)
        own = await stack.enter_async_context(Mosquitto(tmp_path / "line", bridged(tmp_path / "line", files, port)))
        (book, _) = await stack.enter_async_context(journals(tmp_path))
        at_plant = BrokerSettings((Endpoint("127.0.0.1", port, tls=True),), tls=files_of(files, "mes"))
        mes = await stack.enter_async_context(mes_at(at_plant))
        settings, door = BrokerSettings((Endpoint("127.0.0.1", own.port),)), Answering(book)
        publisher = await stack.enter_async_context(publishing(book, settings, door=door, stations=("st01", "st02")))
        said = [topics.orders, topics.wip, topics.totals, topics.info("st01"), topics.state("st01")]
        for topic in said:
            publisher.retain(topic, {"id": topic, "type": "test"})
        caller = await stack.enter_async_context(Connector(at_plant, "caller").connected())
        await caller.subscribe_all(topics.reply("st01"))
        await caller.publish(topics.command("st01"), b'{"id": "c1"}')
        async with asyncio.timeout(30):
            assert json.loads((await caller.received()).payload)["id"] == "c1.reply"
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
        looker = await stack.enter_async_context(Connector(at_plant, "looker").connected())
        await looker.subscribe_all(*said)
        async with asyncio.timeout(30):
            assert {str((await looker.received()).topic) for _ in said} == set(said)
    for station in range(8):
        expected = [f"run-{number:03d}" for number in range(100) if number % 8 == station]
        assert [run for run in mes.of_station(f"st{station:02d}") if run != "before"] == expected
    order = [event for event in dict.fromkeys(mes.events) if event.startswith("run-") and int(event[4:7]) % 8 == 3]
    assert order == sorted(order)
