"""How long a command takes to its reply at 64 served stations, and what 2,000 results a minute cost; a bare echo."""

from __future__ import annotations

import asyncio
import copy
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import yaml

from config import read_document
from controller.clock import wall_time
from controller.mes.connection import V311, BrokerSettings, Connector, Endpoint, MqttClient
from controller.mes.topics import Topics, rfc3339
from tests.bench.child import Measured, Say, measure
from tests.bench.daemon import running as child
from tests.bench.mqtt_peer import ECHO, ECHOED, STATIONS
from tests.bench.table import Row, problem
from tests.controller.mes.brokers import LINE, mes_at, pause, running
from tests.virtual import DEMO_LINE

BROKERS = {"nats": "embedded NATS", "mosquitto-5": "Mosquitto, MQTT 5"}
RATES = (64, 128)  # commands a second: one and two for each station
TURNS, TURN_FOR = 5, 3.0  # s of commands, and of echoes, in each turn
RESULTS_FOR = 15.0  # s
P99_AIM_MS, CPU_AIM = 10.0, 0.20
UP_WITHIN, ANSWERED_WITHIN = 60.0, 30.0  # s

Send = Callable[[int], tuple[str, bytes]]
"""Topic and payload of the n-th message."""


def commands(broker: str) -> Measured:
    """Milliseconds from publish to reply (p50, p99) by rate, the same for an echo, and the CPU of the daemon.

    Simulators, daemon and whoever commands or echoes are processes of their own on the machine's cores; the line is
    served over real wires. Commands and echoes take turns; each figure is the lower quartile over the turns, since
    what else the machine does only adds.
    """
    return asyncio.run(_commands(broker))


def results(broker: str) -> Measured:
    """What a journal and its publisher take of a core, with a MES that acknowledges."""
    return asyncio.run(_results(broker))


async def _commands(name: str) -> Measured:
    with tempfile.TemporaryDirectory() as directory:
        async with AsyncExitStack() as stack:
            external = None
            if name != "nats":  # the embedded one is started by the daemon
                external = (await stack.enter_async_context(running(name, Path(directory)))).settings
            wanted, served = Path(directory) / "wanted.yaml", Path(directory) / "line.yaml"
            wanted.write_text(yaml.safe_dump(_line(Path(directory), external)), encoding="utf-8")
            simulate = ["-m", "simulators", "--config", str(wanted), "--free-ports", "--write-config", str(served)]
            stack.enter_context(child([*simulate, "--json"]))
            serve = ["-m", "controller.cli", "serve", "--config", str(served), "--json"]
            daemon, ready = stack.enter_context(child(serve))
            settings = external or _embedded(ready, Path(directory))
            await _all_up(settings)
            await stack.enter_async_context(_peer("echo", settings, directory))
            turns: list[Measured] = []
            for turn in range(TURNS):
                trips = await _trips(settings, ECHOED, partial(_ping, turn), RATES[0], _pinged)
                turns.append(_percentiles("echo", trips))
                for rate in RATES:
                    used, begin = _cpu(daemon.pid), perf_counter()
                    send = partial(_acknowledge, f"{turn}-{rate}")
                    trips = await _trips(settings, Topics(LINE).reply("+"), send, rate, _replied)
                    turns[-1] |= _percentiles(str(rate), trips)
                    turns[-1][f"{rate} cpu"] = (_cpu(daemon.pid) - used) / (perf_counter() - begin)
            return {key: float(np.percentile([turn[key] for turn in turns], 25)) for key in turns[0]}


def _percentiles(key: str, trips: list[float]) -> Measured:
    return {f"{key} p{point}": float(1e3 * np.percentile(trips, point)) for point in (50, 99)}


def _line(directory: Path, broker: BrokerSettings | None) -> dict[str, Any]:
    """The demo line with 64 stations like its own, its state in this directory; the simulators find free ports."""
    data: dict[str, Any] = json.loads(json.dumps(read_document(DEMO_LINE).data))
    data |= {"state_dir": str(directory), "http": {"port": 0}, "broker": {"kind": "embedded", "port": 0}}
    if broker is not None:
        data["broker"] = {"kind": "external", "url": str(broker.endpoints[0]), "insecure": True}
    for part in (data, data["simulation"]):
        part["stations"] = {name: copy.deepcopy(part["stations"]["st01"]) for name in STATIONS}
    for number, name in enumerate(STATIONS):
        for key, instrument in data["stations"][name]["instruments"].items():
            link = instrument["link"]  # all different, since no two stations share an instrument
            if link["kind"] == "visa":
                link["address"] = f"TCPIP::127.0.0.1::{20000 + number}::SOCKET"
            else:
                is_tcp = isinstance(link["port"], int)
                link["port"] = link["port"] + 100 * number if is_tcp else str(directory / f"{name}-{key}")
    return data


def _embedded(ready: dict[str, Any], directory: Path) -> BrokerSettings:
    password = (directory / "broker" / "password").read_text().strip()
    endpoint = Endpoint(ready["mqtt"]["host"], ready["mqtt"]["port"])
    return BrokerSettings((endpoint,), "evaline", password, versions=(V311,))


async def _all_up(settings: BrokerSettings) -> None:
    """Return once every station has said that it is idle."""
    waiting = set(STATIONS)
    async with Connector(settings, "commander").connected() as client, asyncio.timeout(UP_WITHIN):
        await client.subscribe_all(Topics(LINE).state("+"))
        while waiting:
            message = await client.received()
            client.acknowledge(message)
            if json.loads(message.payload)["data"]["state"] == "IDLE":
                waiting.discard(str(message.topic).split("/")[-2])


async def _trips(
    settings: BrokerSettings, answers: str, send: Send, rate: int, id_of: Callable[[bytes], str]
) -> list[float]:
    """Seconds from publish to answer, at `rate` a second."""
    count, sent, trips = int(rate * TURN_FOR), dict[str, float](), list[float]()

    async def read(client: MqttClient) -> None:
        while len(trips) < count:
            message = await client.received()
            trips.append(perf_counter() - sent[id_of(bytes(message.payload))])
            client.acknowledge(message)

    async with Connector(settings, "commander").connected() as client, asyncio.TaskGroup() as group:
        await client.subscribe_all(answers)
        reading = group.create_task(read(client))
        begin = perf_counter()
        for number in range(count):
            await pause(max(0.0, begin + number / rate - perf_counter()))
            topic, payload = send(number)
            sent[id_of(payload)] = perf_counter()
            group.create_task(client.publish(topic, payload))
        async with asyncio.timeout(ANSWERED_WITHIN):
            await reading
    return trips


def _acknowledge(turn: str, number: int) -> tuple[str, bytes]:
    """A command that any station accepts and nothing moves for."""
    now, id = wall_time(), f"{turn}-{number}"
    data = {"command": "acknowledge", "cmd_id": id, "actor": "mes", "issued_at": rfc3339(now),
            "expires_at": rfc3339(now + 60)}  # fmt: skip
    envelope = {"specversion": "1.0", "id": id, "source": "/mes", "type": "evaline.cmd.v1", "data": data}
    return Topics(LINE).command(STATIONS[number % len(STATIONS)]), json.dumps(envelope).encode()


def _replied(payload: bytes) -> str:
    """The cmd_id of a command, or of a reply, which must accept it."""
    data = json.loads(payload)["data"]
    assert data.get("status", "accepted") == "accepted", data
    return str(data["cmd_id"])


def _ping(turn: int, number: int) -> tuple[str, bytes]:
    return ECHO, f"{turn}-{number}".encode()


def _pinged(payload: bytes) -> str:
    return payload.decode()


def _cpu(pid: int) -> float:
    """CPU seconds of a process, from the system's ticks of 10 ms."""
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13])) / 100


async def _results(name: str) -> Measured:
    with tempfile.TemporaryDirectory() as directory:
        async with (
            running(name, Path(directory)) as broker,
            _peer("results", broker.settings, directory) as line,
            mes_at(broker.settings),
        ):
            return await _ask(line, str(RESULTS_FOR))


@asynccontextmanager
async def _peer(what: str, settings: BrokerSettings, directory: str) -> AsyncIterator[asyncio.subprocess.Process]:
    peer = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.mqtt_peer", what, directory, str(settings.endpoints[0]),
        settings.username or "", settings.password or "", str(settings.versions[0].value),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        await _ask(peer, "")
        yield peer
    finally:
        if peer.returncode is None:
            peer.kill()
        await peer.wait()


async def _ask(peer: asyncio.subprocess.Process, question: str) -> dict[str, Any]:
    assert peer.stdin is not None
    assert peer.stdout is not None
    if question:
        peer.stdin.write(f"{question}\n".encode())
    async with asyncio.timeout(60):
        answer: dict[str, Any] = json.loads(await peer.stdout.readline())
    return answer


def measured(say: Say) -> list[Row]:
    rows = []
    for broker, title in BROKERS.items():
        say(f"commands and results through {title}")
        found = measure("mqtt", "commands", broker=broker)
        rows += [_command_row(found, rate, title) for rate in RATES]
        found = measure("mqtt", "results", broker=broker)
        subject, aim = f"results at 2,000 a minute, {title}", f"<= {CPU_AIM:.0%} of a core"
        if missing := problem(subject, aim, found):
            rows.append(missing)
            continue
        cost = f"{found['cpu']:.1%} of a core, {found['waiting']} waiting"
        rate = f"{60 * found['results'] / found['seconds']:.0f} results a minute, two events each"
        met = found["cpu"] <= CPU_AIM and found["waiting"] < len(STATIONS)
        rows.append(Row(subject, cost, rate, None, aim, met))
    return rows


def _command_row(found: Measured, rate: int, title: str) -> Row:
    subject = f"command to reply, 64 stations, {rate} commands/s, {title}"
    aim = f"p99 <= {P99_AIM_MS:g} ms" if rate == RATES[0] else "for comparison"
    if missing := problem(subject, aim, found):
        return missing
    p99 = found[f"{rate} p99"]
    trip = f"p50 {found[f'{rate} p50']:.1f}, p99 {p99:.1f} ms; daemon {found[f'{rate} cpu']:.0%} of a core"
    echo = f"bare echo p50 {found['echo p50']:.1f}, p99 {found['echo p99']:.1f} ms"
    return Row(subject, trip, echo, p99 / found["echo p99"], aim, p99 <= P99_AIM_MS if rate == RATES[0] else None)
