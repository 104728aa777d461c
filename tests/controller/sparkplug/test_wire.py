"""A whole node at real brokers: what it says as tapped from the wire, how it dies, and hosts of another maker."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from config import read_document
from config.line import MesConfig
from controller.mes.commands import CommandDoor
from controller.mes.connection import V311, BrokerSettings, Endpoint
from controller.mes.requests import CommandMessage, seconds_of
from controller.sparkplug import node as sparkplug_node
from controller.sparkplug.node import BirthCounter
from tests.controller.mes.brokers import RunningBroker, running
from tests.controller.sparkplug.assertions import CHECKS
from tests.controller.sparkplug.host import at_port, has, host_at, node_js
from tests.controller.sparkplug.living import Door, living_node
from tests.controller.sparkplug.trace import GROUP, HOST, NCMD, NODE, STATE, Packet, Trace, tap
from tests.virtual import DEMO_LINE

BROKERS = ("nats", "mosquitto-3.1.1")
DCMD = f"spBv1.0/{GROUP}/DCMD/{NODE}/st01"

pytestmark = pytest.mark.timeout(180)  # real brokers, and as long as a busy machine takes


async def whole_life(broker: BrokerSettings, state_dir: Path) -> Trace:
    trace = Trace()
    (endpoint,) = broker.endpoints
    async with tap(endpoint.host, endpoint.port, trace) as port, host_at(broker) as host:
        async with living_node(at_port(broker, port), state_dir, Door(), host=HOST) as (node, virtual):
            await host.says(True, 1000)
            await host.next("DBIRTH")
            await virtual.start()
            await host.next("DDATA", lambda packet: has(packet, "EXECUTE"))
            node.core.dropped = 3  # as if as many had been
            await host.next("NDATA")
            await host.commands(NCMD, "Node Control/Rebirth", qos=1)
            await host.next("NBIRTH")
            await host.next("DBIRTH")
            virtual.simulated.set_fault("cycler", "silent")
            await host.next("DDEATH")
            virtual.simulated.set_fault("cycler", "silent", active=False)
            await host.next("DBIRTH")
            await host.says(False, 2000)
            await host.next("NDEATH")
            await virtual.until(lambda: bool(node.core._devices["st01"].stored), 600)
            await host.says(True, 3000)
            await host.next("DBIRTH")
        await host.next("NDEATH")
    return trace


@pytest.fixture(scope="module", params=BROKERS)
def wire(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trace:
    directory = tmp_path_factory.mktemp("wire")

    async def main() -> Trace:
        async with running(request.param, directory) as broker:
            return await whole_life(broker.settings, directory)

    return asyncio.run(main())


@pytest.mark.parametrize("assertion", CHECKS)
def test_on_the_wire(assertion: str, wire: Trace) -> None:
    CHECKS[assertion](wire)


# ------------------------------------------------------------------------------------------- how it dies


@asynccontextmanager
async def daemon(broker: BrokerSettings, state_dir: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A node in a process of its own, which ends with the block at the latest."""
    (endpoint,) = broker.endpoints
    arguments = (endpoint.host, str(endpoint.port), broker.username or "", broker.password or "", str(state_dir))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.controller.sparkplug.living", *arguments), stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture(params=BROKERS)
async def broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RunningBroker]:
    async with running(request.param, tmp_path / "broker") as broker:
        yield broker


async def test_a_killed_node_is_dead_for_its_hosts_by_the_will_of_its_birth(
    broker: RunningBroker, tmp_path: Path
) -> None:
    """And the next one counts on: a late will cannot be taken for its own."""
    async with host_at(broker.settings) as host:
        async with daemon(broker.settings, tmp_path) as process:
            birth = await host.next("NBIRTH")
            process.kill()
            death = await host.next("NDEATH")
        assert [packet.metric("bdSeq").value for packet in (birth, death)] == [0, 0]
        assert (death.qos, death.retain) == (1, False)
        async with living_node(broker.settings, tmp_path, Door()):
            assert (await host.next("NBIRTH")).metric("bdSeq").value == 1


async def test_after_255_the_count_of_connections_begins_anew_and_a_damaged_file_too(tmp_path: Path) -> None:
    path = tmp_path / "sparkplug_bdseq"
    assert [BirthCounter(path).next() for _ in range(2)] == [0, 1]
    path.write_text("254")
    counter = BirthCounter(path)
    assert [counter.next() for _ in range(3)] == [255, 0, 1]
    for damage in ("", "x", "\xff"):
        path.write_text(damage, encoding="latin-1")
        assert BirthCounter(path).next() == 0


async def test_a_broker_and_a_host_that_were_away_get_the_next_number_and_what_they_missed(
    broker: RunningBroker, tmp_path: Path
) -> None:
    async with living_node(broker.settings, tmp_path, Door(), host=HOST) as (_, virtual):
        async with host_at(broker.settings) as host:
            await host.says(True, 1000)
            before = (await host.next("NBIRTH")).metric("bdSeq").value
            await host.says(False, 2000)
            await host.next("NDEATH")
        await broker.kill()
        await virtual.start()
        await virtual.until(lambda: virtual.station.state.name == "EXECUTE", 600)
        await broker.revive()
        async with host_at(broker.settings) as host:
            await host.says(True, 3000)
            number = (await host.next("NBIRTH")).metric("bdSeq").value
            history = await host.next("DDATA", lambda packet: any(m.historical for m in packet.decoded.metrics))
    assert isinstance(before, int)
    assert isinstance(number, int)
    assert number > before
    assert has(history, "STARTING")
    assert has(history, "EXECUTE")


async def test_a_state_that_the_broker_lost_is_asked_for_again(
    broker: RunningBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparkplug_node, "LOOK_AGAIN_S", 0.2)
    lost: list[Packet] = []

    def lose(packet: Packet) -> bool:
        """The first two of them."""
        if packet.topic == STATE and packet.told and len(lost) < 2:
            lost.append(packet)
            return True
        return False

    (endpoint,) = broker.settings.endpoints
    async with tap(endpoint.host, endpoint.port, Trace(), lose) as port, host_at(broker.settings) as host:
        await host.says(True, 1000)
        async with living_node(at_port(broker.settings, port), tmp_path, Door(), host=HOST):
            await host.next("NBIRTH")
    assert len(lost) == 2


# ------------------------------------------------------------------------------------------- commands


async def test_commands_come_through_the_door_of_the_mes_under_the_hosts_name(
    broker: RunningBroker, tmp_path: Path
) -> None:
    door = Door()
    async with (
        host_at(broker.settings) as host,
        living_node(broker.settings, tmp_path, door, host=HOST) as (_, virtual),
    ):
        await host.says(True, 1000)
        await host.next("DBIRTH")
        t = virtual.station.now
        await host.commands(DCMD, "Command/Hold", t=t)
        await host.commands(
            DCMD, "Command/Message", json.dumps({"cmd_id": "c1", "command": "stop", "actor": "me"}), t=t
        )
        await host.commands(DCMD, "Live/Voltage", t=t)
        await host.commands(NCMD, "Node Control/Rebirth")
        await host.next("DBIRTH")
        await virtual.journal.flush()
        audits = [event.body for event in virtual.journal.events(kind="audit", limit=1000)]
    (topic, hold, retained), (_, message, _) = door.received
    assert (topic, retained) == (virtual.line.topics.command("st01"), False)
    asked = [CommandMessage.model_validate_json(payload).data for payload in (hold, message)]
    assert [(data.command, data.actor) for data in asked] == [("hold", "sparkplug:scada"), ("stop", "sparkplug:scada")]
    assert asked[1].cmd_id == "c1"
    assert seconds_of(asked[0].issued_at) == pytest.approx(t, abs=0.001)
    (refused,) = (audit for audit in audits if audit["action"] == "sparkplug command refused")
    assert refused["author"] == "sparkplug:scada"
    assert refused["detail"]["codes"] == {"E-SPARKPLUG-METRIC": 1}


async def test_a_host_holds_a_run_and_may_not_resume_it_in_local_mode(tmp_path: Path) -> None:
    """The MES's authority holds for it: what lets current flow is the operator's until the station is REMOTE."""
    door = Door()
    async with (
        running("mosquitto-3.1.1", tmp_path / "broker") as broker,
        host_at(broker.settings) as host,
        living_node(broker.settings, tmp_path, door) as (_, virtual),
    ):
        line = virtual.line
        door.real = CommandDoor(line.stations, line.orders, virtual.journal, line.topics, virtual.clock, MesConfig())
        await host.next("DBIRTH")
        await virtual.start()
        await host.next("DDATA", lambda packet: has(packet, "EXECUTE"))
        await host.commands(DCMD, "Command/Hold", t=virtual.station.now)
        await host.next("DDATA", lambda packet: has(packet, "HELD"))
        await host.commands(DCMD, "Command/Resume", t=virtual.station.now)
        await host.commands(NCMD, "Node Control/Rebirth")
        birth = await host.next("DBIRTH")
        await virtual.journal.flush()
        answers = [event.body for event in virtual.journal.events(kind="command", limit=10)]
    assert birth.metric("State/Name").value == "HELD"
    assert [(body["command"], body["status"], body["codes"]) for body in answers] == [
        ("hold", "accepted", []),
        ("resume", "rejected", ["E-MODE"]),
    ]
    assert {body["actor"] for body in answers} == {f"sparkplug:{GROUP}"}


async def test_the_daemon_runs_the_node_of_its_line_file_and_ends_it_with_a_death(tmp_path: Path) -> None:
    data = read_document(DEMO_LINE).data
    data |= {"state_dir": str(tmp_path), "http": {"port": 0}, "broker": {"kind": "embedded", "port": 0}}
    data["sparkplug"] = {"group_id": GROUP, "edge_node_id": NODE}
    file = tmp_path / "line.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "controller.cli", "serve", "--config", str(file), "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            ready = json.loads(await process.stdout.readline())
        password = (tmp_path / "broker" / "password").read_text().strip()
        endpoint = Endpoint(ready["mqtt"]["host"], ready["mqtt"]["port"])
        async with host_at(BrokerSettings((endpoint,), "evaline", password, versions=(V311,))) as host:
            await host.commands(NCMD, "Node Control/Rebirth")
            birth = await host.next("NBIRTH")
            process.terminate()
            death = await host.next("NDEATH")
        assert birth.metric("Properties/Line").value == "evaline/pohang/evaluation/line1"
        assert birth.metric("bdSeq").value == death.metric("bdSeq").value == 0
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(60):
            await process.communicate()


# ------------------------------------------------------------------------------------------- hosts of another maker

_HOST = r"""
const mqtt = require("mqtt"), spb = require("sparkplug-payload").get("spBv1.0");
const [url, username, password, group, node, host] = process.argv.slice(1);
const client = mqtt.connect(url, { username, password, clean: true });
const shown = v => v === null || v === undefined ? null : typeof v === "object" ? Number(v) : v;
const now = () => Date.now();
const say = (kind, device, name, type, value) => client.publish(
  `spBv1.0/${group}/${kind}/${node}` + (device ? `/${device}` : ""),
  Buffer.from(spb.encodePayload({ timestamp: now(), metrics: [{ name, type, value, timestamp: now() }] })));
let births = 0;
client.on("connect", () => client.subscribe(`spBv1.0/${group}/#`, { qos: 1 }, () =>
  client.publish(`spBv1.0/STATE/${host}`, JSON.stringify({ online: true, timestamp: now() }), { qos: 1, retain: true })
));
client.on("message", (topic, bytes) => {
  const [, , kind, , device] = topic.split("/");
  if (kind.endsWith("CMD")) return;
  const p = spb.decodePayload(bytes);
  console.log(JSON.stringify({ kind, device, seq: shown(p.seq), metrics: p.metrics.map(m => ({
    name: m.name, type: m.type, alias: shown(m.alias), value: shown(m.value) })) }));
  if (kind === "DBIRTH" && ++births === 1) say("NCMD", null, "Node Control/Rebirth", "Boolean", true);
  else if (kind === "DBIRTH") {
    say("DCMD", device, "Command/Hold", "Boolean", true);
    setTimeout(() => client.end(), 500);
  }
});
"""


async def test_a_host_made_of_npm_packages_reads_us_has_us_reborn_and_commands_us(
    broker: RunningBroker, tmp_path: Path
) -> None:
    door = Door()
    async with living_node(broker.settings, tmp_path, door, host=HOST):
        said = [json.loads(line) for line in (await node_js(_HOST, broker.settings, GROUP, NODE, HOST)).splitlines()]
    kinds = [message["kind"] for message in said if message["kind"] != "DDATA"]
    assert kinds[:4] == ["NBIRTH", "DBIRTH", "NBIRTH", "DBIRTH"]
    first = said[0]["metrics"]
    assert first[0] == {"name": "bdSeq", "type": "Int64", "alias": 0, "value": 0}
    assert first[1] == {"name": "Node Control/Rebirth", "type": "Boolean", "alias": None, "value": False}
    station = {metric["name"]: metric for metric in said[1]["metrics"]}
    assert station["State/Name"]["value"] == "IDLE"
    assert 200 < station["Battery/Voltage"]["value"] < 450
    assert station["Run/Id"]["value"] is None
    ((topic, payload, retained),) = door.received
    assert (topic.endswith("/st01/cmd"), retained) == (True, False)
    assert CommandMessage.model_validate_json(payload).data.command == "hold"


_NODE = r"""
const { newClient } = require("sparkplug-client");
const [serverUrl, username, password, groupId, edgeNode] = process.argv.slice(1);
const client = newClient({
  serverUrl, username, password, groupId, edgeNode, clientId: "other-maker", version: "spBv1.0", publishDeath: true });
client.on("birth", () => {
  client.publishNodeBirth({ timestamp: Date.now(), metrics: [
    { name: "Node Control/Rebirth", type: "Boolean", value: false }, { name: "T", type: "Double", value: 20.5 }] });
  client.publishDeviceBirth("oven", { timestamp: Date.now(), metrics: [{ name: "T", type: "Float", value: 181.5 }] });
  client.publishDeviceData("oven", { timestamp: Date.now(), metrics: [{ name: "T", type: "Float", value: 182.5 }] });
});
client.on("ncmd", payload => {
  console.log(JSON.stringify(payload.metrics.map(m => [m.name, m.value])));
  client.stop();
});
"""


async def test_a_node_of_another_maker_lives_beside_ours_in_one_group(broker: RunningBroker, tmp_path: Path) -> None:
    """We read its births and data; what is for it is not for us, and it understands the commands that we encode."""
    other = f"spBv1.0/{GROUP}/NCMD/oven1"
    async with host_at(broker.settings) as host, living_node(broker.settings, tmp_path, Door()):
        await host.next("DBIRTH")
        running = asyncio.create_task(node_js(_NODE, broker.settings, GROUP, "oven1"))
        birth = await host.next("NBIRTH", lambda packet: packet.topic.endswith("/oven1"))
        data = await host.next("DDATA", lambda packet: "/oven1/" in packet.topic)
        await host.commands(other, "Node Control/Rebirth")
        await host.next("NDEATH", lambda packet: packet.topic.endswith("/oven1"))
        heard = json.loads((await running).splitlines()[0])
        ours = [packet for packet in host.heard if packet.topic.endswith(f"/NBIRTH/{NODE}")]
    assert birth.metric("T").value == 20.5
    assert (data.metric("T").value, data.decoded.seq) == (182.5, 2)
    assert heard == [["Node Control/Rebirth", True]]
    assert len(ours) == 1
