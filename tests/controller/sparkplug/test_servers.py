"""A node with several servers, two real Mosquittos: it is where its primary host is, and loses nothing on its way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from controller.mes.connection import V311, BrokerSettings, Endpoint
from controller.sparkplug import node as sparkplug_node
from tests.controller.mes.brokers import Mosquitto
from tests.controller.sparkplug.assertions import CHECKS, asserts
from tests.controller.sparkplug.host import Host, host_at, node_js
from tests.controller.sparkplug.living import Door, living_node
from tests.controller.sparkplug.trace import GROUP, HOST, STATE, Trace, tap

pytestmark = pytest.mark.timeout(120)  # real brokers, and as long as a busy machine takes

WALK = "operational-behavior-primary-application-state-with-multiple-servers-walk"


@dataclass
class Servers:
    """Mosquittos `a` and `b`, in this order in the node's list; what goes between them and the node is in the trace."""

    a: Mosquitto
    b: Mosquitto
    settings: BrokerSettings
    trace: Trace

    def connects(self) -> list[str]:
        """Where the node connected, in its order."""
        return [packet.server for packet in self.trace.packets if packet.kind == "CONNECT"]

    def said(self) -> list[tuple[str, str]]:
        """Births and deaths of the node and its disconnections, with their servers."""
        shown = ("NBIRTH", "NDEATH", "DISCONNECT")
        packets = [packet for packet in self.trace.packets if not packet.told]
        return [(kind, packet.server) for packet in packets if (kind := packet.verb or packet.kind) in shown]


def at(mosquitto: Mosquitto) -> BrokerSettings:
    return BrokerSettings((Endpoint("127.0.0.1", mosquitto.port),), versions=(V311,))


@asynccontextmanager
async def two_servers(directory: Path) -> AsyncIterator[Servers]:
    trace, brokers, endpoints = Trace(), [], []
    async with AsyncExitStack() as stack:
        for name in "ab":
            broker = await stack.enter_async_context(Mosquitto(directory / name))
            port = await stack.enter_async_context(tap("127.0.0.1", broker.port, trace, server=name))
            brokers.append(broker)
            endpoints.append(Endpoint("127.0.0.1", port))
        yield Servers(brokers[0], brokers[1], BrokerSettings(tuple(endpoints)), trace)


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Servers]:
    async with two_servers(tmp_path) as servers:
        yield servers


@pytest.fixture
async def host_a(servers: Servers) -> AsyncIterator[Host]:
    async with host_at(at(servers.a)) as host:
        yield host


@pytest.fixture
async def host_b(servers: Servers) -> AsyncIterator[Host]:
    async with host_at(at(servers.b)) as host:
        yield host


@dataclass
class Pauses:
    """The pauses between turns of the list, each as long as the test wants; those inside a session never end."""

    asked: list[float] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _go_on: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def __call__(self, seconds: float) -> None:
        if seconds in (sparkplug_node.LOOK_AGAIN_S, sparkplug_node.ASK_S):
            await asyncio.Event().wait()
        self.asked.append(seconds)
        self._news.set()
        await self._go_on.acquire()

    async def are(self, count: int) -> list[float]:
        """When so many were asked for; the last of them still lasts."""
        async with asyncio.timeout(60):
            while len(self.asked) < count:
                self._news.clear()
                await self._news.wait()
        return self.asked

    def end(self) -> None:
        self._go_on.release()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    pauses = Pauses()
    monkeypatch.setattr(sparkplug_node, "pause_for", pauses)
    return pauses


# ------------------------------------------------------------------------------------------- the walk


async def walk(directory: Path) -> Trace:
    """From the host at a to the host at b and back, and to the end of the line."""
    async with two_servers(directory) as servers, host_at(at(servers.a)) as host_a, host_at(at(servers.b)) as host_b:
        await host_a.says(True, 9000)
        await host_b.says(False, 1000)
        async with living_node(servers.settings, directory, Door(), host=HOST) as (_, virtual):
            await host_a.next("DBIRTH")
            await virtual.start()
            await host_b.says(True, 2000)  # each server has times of its own
            await host_a.says(False, 9000)
            await host_a.next("NDEATH")
            await host_b.next("DBIRTH")
            await host_a.says(True, 10_000)
            await host_b.says(False, 2000)
            await host_b.next("NDEATH")
            await host_a.next("DBIRTH")
        await host_a.next("NDEATH")
        assert servers.said() == [(kind, server) for server in "aba" for kind in ("NBIRTH", "NDEATH", "DISCONNECT")]
        return servers.trace


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    return asyncio.run(walk(tmp_path_factory.mktemp("walk")))


@asserts(WALK)
def test_where_the_host_goes_offline_the_node_dies_disconnects_and_is_born_at_the_next_server(
    assertion: str, walked: Trace
) -> None:
    sessions = walked.sessions()
    assert [session[0].server for session in sessions] == ["a", "b", "a"]
    for session in sessions:
        said = [packet.verb or packet.kind for packet in session if not packet.told]
        assert said[0] == "CONNECT"
        assert said[-2:] == ["NDEATH", "DISCONNECT"]


ON_THE_WALK = (
    "operational-behavior-primary-application-state-with-multiple-servers-state-subs",
    "operational-behavior-primary-application-state-with-multiple-servers-single-server",
    "operational-behavior-edge-node-birth-sequence-wait",
    "operational-behavior-edge-node-termination-host-offline-reconnect",
    "operational-behavior-edge-node-intentional-disconnect-ndeath",
    "principles-birth-certificates-order",
    "topics-nbirth-bdseq-increment",
    "topics-nbirth-bdseq-matching",
    "payloads-sequence-num-incrementing",
)


@pytest.mark.parametrize("assertion", ON_THE_WALK)
def test_on_the_walk(assertion: str, walked: Trace) -> None:
    CHECKS[assertion](walked)


@asserts(WALK)
async def test_where_the_host_is_offline_from_the_start_the_node_says_nothing_and_walks_on(
    assertion: str, servers: Servers, host_a: Host, host_b: Host, tmp_path: Path, pauses: Pauses
) -> None:
    await host_a.says(False, 1000)
    await host_b.says(True, 1000)
    async with living_node(servers.settings, tmp_path, Door(), host=HOST):
        await host_b.next("NBIRTH")
    assert pauses.asked == []
    assert servers.said() == [("DISCONNECT", "a"), ("NBIRTH", "b"), ("NDEATH", "b"), ("DISCONNECT", "b")]


async def test_where_nothing_was_ever_heard_of_the_host_the_node_walks_on_after_a_while(
    servers: Servers, host_b: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparkplug_node, "LOOK_AGAIN_S", 0.2)
    await host_b.says(True, 1000)
    async with living_node(servers.settings, tmp_path, Door(), host=HOST):
        await host_b.next("NBIRTH")
    assert servers.said()[0] == ("DISCONNECT", "a")


@asserts(WALK, "topics-nbirth-bdseq-increment")
async def test_a_server_that_is_away_is_passed_by_without_a_number_for_it(
    assertion: str, servers: Servers, host_b: Host, tmp_path: Path, pauses: Pauses
) -> None:
    await servers.a.kill()
    direct = replace(
        servers.settings, endpoints=(Endpoint("127.0.0.1", servers.a.port), *servers.settings.endpoints[1:])
    )
    await host_b.says(True, 1000)
    async with living_node(direct, tmp_path, Door(), host=HOST):
        assert (await host_b.next("NBIRTH")).metric("bdSeq").value == 0
        assert pauses.asked == []
        await host_b.says(False, 1000)
        await pauses.are(1)
        await host_b.says(True, 2000)
        pauses.end()  # after it a, which is away, and b
        assert (await host_b.next("NBIRTH")).metric("bdSeq").value == 1


async def test_without_the_host_anywhere_there_is_a_longer_pause_after_each_turn_until_it_is_somewhere(
    servers: Servers, host_a: Host, host_b: Host, tmp_path: Path, pauses: Pauses
) -> None:
    for host in (host_a, host_b):
        await host.says(False, 1000)
    async with living_node(servers.settings, tmp_path, Door(), host=HOST) as (_, virtual):
        for turn in range(1, 10):
            assert await pauses.are(turn) == [min(0.1 * 2**n, 10.0) for n in range(turn)]
            assert servers.connects() == ["a", "b"] * turn
            pauses.end()
        await pauses.are(10)
        await virtual.start()
        await virtual.until(lambda: virtual.station.state.name == "EXECUTE", 600)
        await host_b.says(True, 2000)
        pauses.end()
        born = await host_b.next("NBIRTH")
        assert born.metric("bdSeq").value == 21
        history = await host_b.next("DDATA", lambda packet: any(m.historical for m in packet.decoded.metrics))
        assert {"STARTING", "EXECUTE"} <= {metric.value for metric in history.decoded.metrics}
        await host_b.says(False, 2000)
        await host_b.next("NDEATH")
        assert (await pauses.are(11))[10] == 0.1
    CHECKS["topics-nbirth-bdseq-increment"](servers.trace)
    assert [packet for packet in servers.trace.said("NBIRTH") if packet.server == "a"] == []


_HOST = r"""
const mqtt = require("mqtt"), spb = require("sparkplug-payload").get("spBv1.0");
const [url, username, password, group, host] = process.argv.slice(1);
const client = mqtt.connect(url, { username, password, clean: true });
client.on("connect", () => client.subscribe(`spBv1.0/${group}/#`, { qos: 1 }, () =>
  client.publish(`spBv1.0/STATE/${host}`, JSON.stringify({ online: true, timestamp: 1 }), { qos: 1, retain: true })));
client.on("message", (topic, bytes) => {
  const kind = topic.split("/")[2], metrics = spb.decodePayload(bytes).metrics;
  const history = metrics.filter(m => m.isHistorical);
  console.log(JSON.stringify({ kind, history: history.map(m => [Number(m.alias), Number(m.timestamp)]),
    names: metrics.filter(m => m.name === "State/Name").map(m => Number(m.alias)) }));
  if (kind === "DDATA" && history.length) client.end();
});
"""


async def test_a_host_made_of_npm_packages_is_found_at_the_second_server_and_reads_what_it_missed(
    servers: Servers, host_a: Host, tmp_path: Path, pauses: Pauses
) -> None:
    await host_a.says(True, 1000)
    async with living_node(servers.settings, tmp_path, Door(), host=HOST) as (_, virtual):
        await host_a.next("DBIRTH")
        await host_a.says(False, 1000)
        await pauses.are(1)
        before = virtual.clock.now() * 1000
        await virtual.start()
        await virtual.until(lambda: virtual.station.state.name != "IDLE", 600)
        host_b = asyncio.create_task(node_js(_HOST, at(servers.b), GROUP, HOST))
        async with host_at(at(servers.b)) as ear:
            await ear.client.subscribe_all(STATE)
            await ear.next("", lambda packet: packet.topic == STATE)
            pauses.end()
            said = [json.loads(line) for line in (await host_b).splitlines()]
        after = virtual.clock.now() * 1000
    assert [message["kind"] for message in said[:2]] == ["NBIRTH", "DBIRTH"]
    (state_name,) = said[1]["names"]
    history = said[-1]["history"]
    assert state_name in {alias for alias, _ in history}
    assert all(before < time < after for _, time in history)
    assert [message["history"] for message in said[:-1]] == [[]] * len(said[:-1])


# ------------------------------------------------------------------------------------------- the line's end


async def test_a_line_that_ends_between_two_turns_leaves_no_trace(
    servers: Servers, host_a: Host, host_b: Host, tmp_path: Path, pauses: Pauses
) -> None:
    for host in (host_a, host_b):
        await host.says(False, 1000)
    async with living_node(servers.settings, tmp_path, Door(), host=HOST):
        await pauses.are(1)
    assert servers.said() == [("DISCONNECT", "a"), ("DISCONNECT", "b")]


async def test_a_line_that_ends_while_the_host_is_waited_for_disconnects(
    servers: Servers, tmp_path: Path, pauses: Pauses
) -> None:
    async with living_node(servers.settings, tmp_path, Door(), host=HOST) as (node, virtual):
        await virtual.until(lambda: node.core.connected, 600)
    assert servers.said() == [("DISCONNECT", "a")]
    assert pauses.asked == []


async def test_a_line_that_ends_while_a_server_does_not_answer_does_not_wait_for_it(
    servers: Servers, tmp_path: Path
) -> None:
    tried, gone = asyncio.Event(), asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tried.set()
        await reader.read()
        gone.set()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with silent:
        endpoint = Endpoint("127.0.0.1", silent.sockets[0].getsockname()[1])
        settings = replace(servers.settings, endpoints=(endpoint, *servers.settings.endpoints))
        async with living_node(settings, tmp_path, Door(), host=HOST):
            await tried.wait()
        await gone.wait()
    assert servers.said() == []
