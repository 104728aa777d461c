"""The example configurations at the real brokers: each client may do its part and nothing else."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import ssl
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiomqtt
import pytest
import yaml
from typer.testing import CliRunner

from config.line import ExternalBroker, SparkplugConfig
from controller.cli.app import app
from controller.journal import Journal
from controller.mes.acl import Kind, clients, write_example
from controller.mes.broker import _server
from controller.mes.connection import BrokerSettings, Connector, Endpoint, MqttClient, TlsFiles
from controller.mes.publisher import settings_of
from controller.mes.topics import Topics
from tests.controller.mes.brokers import LINE, Reader, free_port, pause, publishing
from tests.independent import program

pytestmark = pytest.mark.timeout(120)
TOPICS = Topics(LINE)
NUMBERS = itertools.count()
OTHER = TOPICS.command("st01").replace("line1", "line2")
WRITE = """
import os, sys, time
from pathlib import Path
from controller.mes.acl import write_example
from tests.controller.mes.brokers import LINE
os.setuid(65534)
write_example("mosquitto", Path(sys.argv[1]), LINE, ("127.0.0.1",), int(sys.argv[2]), time.time())
"""
NODE = SparkplugConfig(group_id="plant", edge_node_id="line1")


@dataclass
class Example:
    """A running broker with an example's configuration."""

    kind: Kind
    directory: Path
    port: int

    def settings(self, user: str) -> BrokerSettings:
        tls = TlsFiles(
            str(self.directory / "ca.pem"), *(str(self.directory / f"{user}.{end}") for end in ("pem", "key"))
        )
        return BrokerSettings((Endpoint("127.0.0.1", self.port, tls=True),), tls=tls)

    @asynccontextmanager
    async def client(self, user: str, will: aiomqtt.Will | None = None) -> AsyncIterator[MqttClient]:
        """Connected in whichever version the broker speaks."""
        connector = Connector(self.settings(user), f"{user}-{next(NUMBERS)}")
        async with AsyncExitStack() as stack:
            for last in (False, True):
                try:
                    client = await stack.enter_async_context(connector.connected(will))
                    break
                except aiomqtt.MqttError:
                    if last:
                        raise
            yield client


@asynccontextmanager
async def started(server: str, config: Path, user: str | None = None) -> AsyncIterator[None]:
    """Called as the first line of the generated file says, and with nothing else."""
    assert f": {Path(server).name} -c {config}" in config.read_text()
    process = await asyncio.create_subprocess_exec(
        server, "-c", str(config), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, user=user
    )
    try:
        yield
        assert process.returncode is None, "it ended"
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.fixture(params=["mosquitto", "nats"])
async def example(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Example]:
    directory, port = tmp_path / "example", free_port()
    write_example(request.param, directory, LINE, ("127.0.0.1",), port, time.time(), NODE)  # noqa: TID251
    example = Example(request.param, directory, port)
    async with AsyncExitStack() as stack:
        if request.param == "mosquitto":
            await stack.enter_async_context(started(program("mosquitto"), directory / "mosquitto.conf"))
        else:
            await stack.enter_async_context(started(str(_server()), directory / "nats.conf"))
        await serving(example)
        yield example


async def serving(example: Example) -> None:
    async with asyncio.timeout(20):
        while True:
            with suppress(aiomqtt.MqttError):
                async with example.client("viewer"):
                    return
            await pause(0.05)


async def heard(reader: MqttClient) -> bytes:
    async with asyncio.timeout(20):
        message = await reader.received()
        reader.acknowledge(message)
        return bytes(message.payload)


async def refused(writer: MqttClient, topic: str) -> None:
    """Say what must not be heard; a broker may refuse it, say nothing, or end the connection."""
    with suppress(aiomqtt.MqttError):
        await writer.publish(topic, b"forged")


async def test_everybody_can_do_their_part(example: Example) -> None:
    async with (
        example.client("line-line1") as line,
        example.client("mes") as mes,
        example.client("viewer") as viewer,
    ):
        await line.subscribe_all(TOPICS.command("+"), TOPICS.result_ack("+"))
        for reader in (mes, viewer):
            await reader.subscribe_all(f"{TOPICS.root}/+/result")
        await line.publish(TOPICS.result("st01"), b"result")
        assert [await heard(mes), await heard(viewer)] == [b"result", b"result"]
        await mes.publish(TOPICS.result_ack("st01"), b"ack")
        assert await heard(line) == b"ack"
        await mes.publish(TOPICS.command("st01"), b"command")
        assert await heard(line) == b"command"
        for topic in (TOPICS.connection, TOPICS.station_connection("st01"), TOPICS.state("st01")):
            await line.publish(topic, b"said", retain=True)
        for topic in (TOPICS.reply("st01"), TOPICS.event("st01", "run")):
            await line.publish(topic, b"said")
        for topic in (TOPICS.orders, TOPICS.wip, TOPICS.totals, TOPICS.info("st01"), TOPICS.telemetry("st01")):
            await line.publish(topic, b"said")


async def test_nobody_speaks_for_another(example: Example) -> None:
    """The reader is allowed both topics, so what it does not hear was never let in."""
    of_station = [TOPICS.station_connection, TOPICS.result, TOPICS.state, TOPICS.info, TOPICS.reply, TOPICS.telemetry]
    said = [TOPICS.connection, TOPICS.event("st01", "run"), *(topic("st01") for topic in of_station)]
    for user, topics in (
        ("mes", said),
        ("viewer", [*said, TOPICS.command("st01"), TOPICS.result_ack("st01")]),
        ("line-line1", [topic.replace("line1", "line2") for topic in said]),
        ("line-line1", [TOPICS.command("st01"), TOPICS.result_ack("st01")]),
    ):
        async with example.client("viewer") as reader:
            await reader.subscribe_all(f"{LINE.enterprise}/#")
            for topic in topics:  # each over a connection of its own, since the broker may end it
                async with example.client(user) as writer:
                    await refused(writer, topic)
            async with example.client("line-line1") as line:
                await line.publish(TOPICS.state("st01"), b"last")
            assert await heard(reader) == b"last"


@pytest.mark.parametrize("user", ["mes", "viewer"])
async def test_nobodys_last_will_speaks_for_a_station(example: Example, user: str) -> None:
    will = aiomqtt.Will(TOPICS.station_connection("st01"), b"forged", 1, True)
    async with example.client("viewer") as reader, example.client("line-line1") as line:
        await reader.subscribe_all(f"{LINE.enterprise}/#")
        with suppress(aiomqtt.MqttError):  # a broker may refuse the connection
            async with example.client(user, will) as forger:
                forger.drop()
        for _ in range(3):  # time enough for it to come, were it let in
            async with example.client("viewer"):
                pass
        await line.publish(TOPICS.station_connection("st01"), b"said", retain=True)
        assert await heard(reader) == b"said"


async def test_a_line_cannot_read_the_commands_of_another(example: Example) -> None:
    async with example.client("line-line1") as line, example.client("mes") as mes:
        await line.subscribe_all(TOPICS.command("+"))
        with suppress(aiomqtt.MqttError):  # NATS refuses the subscription, Mosquitto grants it and sends nothing
            await line.subscribe_all(OTHER)
        await mes.publish(OTHER, b"not ours")
        await mes.publish(TOPICS.command("st01"), b"ours")
        assert await heard(line) == b"ours"


async def test_an_edge_node_speaks_for_itself_and_only_its_host_commands_it(example: Example) -> None:
    async with example.client("line-line1") as line, example.client("sparkplug-host") as host:
        await line.subscribe_all("spBv1.0/plant/NCMD/line1", "spBv1.0/plant/DCMD/line1/+", "spBv1.0/STATE/+")
        await host.subscribe_all("spBv1.0/plant/#")
        for topic in ("spBv1.0/plant/NBIRTH/line1", "spBv1.0/plant/DDATA/line1/st01"):
            await line.publish(topic, topic.encode(), 0)
            assert await heard(host) == topic.encode()
        for topic in ("spBv1.0/plant/NCMD/line1", "spBv1.0/plant/DCMD/line1/st01", "spBv1.0/STATE/scada"):
            await host.publish(topic, topic.encode())
            assert await heard(line) == topic.encode()
    async with example.client("line-line1") as line, example.client("sparkplug-host") as host:
        await host.subscribe_all("spBv1.0/plant/+/+")
        async with example.client("mes") as mes:
            await refused(mes, "spBv1.0/plant/NCMD/line1")
        async with example.client("line-line1") as forger:
            await refused(forger, "spBv1.0/plant/NDATA/line2")
        await line.publish("spBv1.0/plant/NDATA/line1", b"last", 0)
        assert await heard(host) == b"last"


async def test_nobody_is_let_in_without_a_certificate_of_this_authority(example: Example, tmp_path: Path) -> None:
    write_example("mosquitto", tmp_path / "stranger", LINE, ("127.0.0.1",), 1, time.time())  # noqa: TID251
    strangers = Example(example.kind, tmp_path / "stranger", example.port).settings("mes").tls
    ca = str(example.directory / "ca.pem")
    for tls in (TlsFiles(ca), TlsFiles(ca, strangers.cert, strangers.key)):
        endpoint = Endpoint("127.0.0.1", example.port, tls=True)
        connector = Connector(BrokerSettings((endpoint,), tls=tls), "stranger")
        for _ in range(2):  # either version
            with pytest.raises((aiomqtt.MqttError, ssl.SSLError)):
                async with asyncio.timeout(20), connector.connected():
                    pass


async def test_a_broker_of_another_authority_is_not_believed(example: Example, tmp_path: Path) -> None:
    write_example("mosquitto", tmp_path / "stranger", LINE, ("127.0.0.1",), 1, time.time())  # noqa: TID251
    connector = Connector(Example(example.kind, tmp_path / "stranger", example.port).settings("mes"), "mes")
    with pytest.raises(aiomqtt.MqttError, match="certificate verify failed"):
        async with connector.connected():
            pass


async def test_the_line_file_that_comes_with_it_connects_a_line(example: Example, tmp_path: Path) -> None:
    text = yaml.safe_load((example.directory / "line1.yaml").read_text())
    config = ExternalBroker.model_validate({"kind": "external", **text["broker"]})
    journal = Journal.open(tmp_path / "j.db")
    async with publishing(journal, settings_of(config, None), config, stations=("st01", "st02")) as publisher:
        assert await publisher.drained(30)
        assert publisher.status()["connected"]
        async with example.client("viewer") as client:
            await client.subscribe_all(TOPICS.station_connection("+"))
            await Reader(client).sees("online", ("st01", "st02"))
    await journal.close()


def test_keys_are_for_their_owner_alone_and_nothing_is_overwritten(tmp_path: Path) -> None:
    files = write_example("nats", tmp_path / "x", LINE, ("broker.plant.example",), 8883, 1.7e9)
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert {f"{client.user}.key" for client in clients(LINE)} <= {path.name for path in files}
    with pytest.raises(FileExistsError):
        write_example("nats", tmp_path / "x", LINE, ("broker.plant.example",), 8883, 1.7e9)


@pytest.mark.parametrize("kind", ["mosquitto", "nats"])
def test_the_command_writes_an_example_and_says_what(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "example"
    done = CliRunner().invoke(app, ["broker", "example", "--for", kind, "--out", str(out), "--host", "10.0.0.7"])
    assert done.exit_code == 0, done.output
    assert sorted(done.output.split()) == sorted(str(path) for path in out.iterdir())
    assert "mqtts://10.0.0.7:8883" in (out / "line1.yaml").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("starter", ["root", "nobody"])
async def test_mosquitto_runs_the_files_of_whoever_had_them_written(tmp_path: Path, starter: str) -> None:
    """Started by their owner, or by root: then it becomes their owner."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own directory is closed to others
        os.chmod(name, 0o755)
        shutil.chown(name, "nobody")
        directory, port = Path(name) / "example", free_port()
        write = [sys.executable, "-c", WRITE, str(directory), str(port)]
        assert (await (await asyncio.create_subprocess_exec(*write)).wait()) == 0
        user = None if starter == "root" else starter
        async with started(program("mosquitto"), directory / "mosquitto.conf", user):
            await serving(Example("mosquitto", directory, port))


def test_a_cluster_is_for_nats_and_has_three_nodes(tmp_path: Path) -> None:
    out, call = tmp_path / "example", ["broker", "example", "--out", str(tmp_path / "example")]
    for kind, hosts in (("mosquitto", "abc"), ("nats", "ab"), ("nats", "aab")):
        done = CliRunner().invoke(app, [*call, "--for", kind, *(word for host in hosts for word in ("--host", host))])
        assert not out.exists()
        assert "for nats 3 different ones [E-SETTINGS]" in str(done.exception)
    done = CliRunner().invoke(app, [*call, "--for", "nats", "--also", "Line 2"])
    assert not out.exists()
    assert "--also Line 2" in str(done.exception)
