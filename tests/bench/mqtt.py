"""How long a command takes to its reply at 64 served stations, and what 2,000 results a minute cost; a bare echo."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from controller.clock import PacedClock
from controller.mes.connection import Connector, MqttClient
from controller.mes.topics import Topics, rfc3339
from tests.bench.child import Measured, Say, measure
from tests.bench.mqtt_line import STATIONS
from tests.bench.table import Row, problem
from tests.controller.mes.brokers import LINE, RunningBroker, mes_at, pause, running

BROKERS = {"nats": "embedded NATS", "mosquitto-5": "Mosquitto, MQTT 5"}
COMMANDS, PER_S, RESULTS_FOR = 1920, 128, 15.0  # 30 commands for each station, two a second each; s of results
P99_AIM_MS, CPU_AIM = 10.0, 0.20


def delivery(broker: str) -> Measured:
    """Milliseconds from publish to reply (p50, p99), the same for an echo without a line, and the line's CPU."""
    return asyncio.run(_delivery(broker))


async def _delivery(name: str) -> Measured:
    with tempfile.TemporaryDirectory() as directory:
        async with running(name, Path(directory)) as broker:
            echo = await _echo(broker)
            async with _line("stations", broker, directory) as line:
                trips, accepted = await _commands(broker)
                stations = await _ask(line, "end")
            async with _line("results", broker, directory) as line, mes_at(broker.settings):
                cost = await _ask(line, str(RESULTS_FOR))
    if accepted != COMMANDS:
        return {"failed": f"{accepted} of {COMMANDS} commands were accepted"}
    cost |= stations
    return {"p50": _at(trips, 0.5), "p99": _at(trips, 0.99), "echo": _at(echo, 0.5), **cost}


async def _commands(broker: RunningBroker) -> tuple[list[float], int]:
    """Seconds from publish to reply, and how many were accepted."""
    topics, sent, trips = Topics(LINE), dict[str, float](), list[float]()
    async with Connector(broker.settings, "commander").connected() as client:
        await client.subscribe_all(topics.reply("+"))
        reading = asyncio.create_task(_replies(client, sent, trips))
        begin = perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(COMMANDS):
                await pause(max(0.0, begin + number / PER_S - perf_counter()))
                topic, id = topics.command(STATIONS[number % 64]), f"c{number}"
                payload = _acknowledge(id)
                sent[id] = perf_counter()
                group.create_task(client.publish(topic, payload))
        async with asyncio.timeout(30):
            return trips, await reading


def _acknowledge(id: str) -> bytes:
    """A command that any station accepts and nothing moves for."""
    now = PacedClock().now()
    data = {"command": "acknowledge", "cmd_id": id, "actor": "mes", "issued_at": rfc3339(now),
            "expires_at": rfc3339(now + 60)}  # fmt: skip
    envelope = {"specversion": "1.0", "id": id, "source": "/mes", "type": "evaline.cmd.v1", "data": data}
    return json.dumps(envelope).encode()


async def _replies(client: MqttClient, sent: dict[str, float], trips: list[float]) -> int:
    accepted = 0
    while len(trips) < COMMANDS:
        message = await client.received()
        reply = json.loads(message.payload)["data"]
        trips.append(perf_counter() - sent[reply["cmd_id"]])
        accepted += reply["status"] == "accepted"
        client.acknowledge(message)
    return accepted


async def _echo(broker: RunningBroker, count: int = 300) -> list[float]:
    """Twice through the broker to ourselves, as a command and its reply go, with nobody behind."""
    trips = []
    async with Connector(broker.settings, "echo").connected() as client:
        await client.subscribe_all("echo")
        for _ in range(count):
            begin = perf_counter()
            for _ in range(2):
                await client.publish("echo", b"x")
                client.acknowledge(await client.received())
            trips.append(perf_counter() - begin)
    return trips


@asynccontextmanager
async def _line(what: str, broker: RunningBroker, directory: str) -> AsyncIterator[asyncio.subprocess.Process]:
    settings = broker.settings
    line = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.mqtt_line", what, directory, str(settings.endpoints[0]),
        settings.username or "", settings.password or "", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        await _ask(line, "")
        yield line
    finally:
        line.kill()
        await line.wait()


async def _ask(line: asyncio.subprocess.Process, question: str) -> dict[str, Any]:
    assert line.stdin is not None
    assert line.stdout is not None
    if question:
        line.stdin.write(f"{question}\n".encode())
    async with asyncio.timeout(60):
        answer: dict[str, Any] = json.loads(await line.stdout.readline())
    return answer


def _at(trips: list[float], share: float) -> float:
    return 1e3 * sorted(trips)[int(share * (len(trips) - 1))]


def measured(say: Say) -> list[Row]:
    rows = []
    for broker, title in BROKERS.items():
        say(f"commands and results through {title}")
        found = measure("mqtt", "delivery", broker=broker)
        subject = f"command to reply, 64 stations, {title}"
        aim, cpu_aim = f"p99 <= {P99_AIM_MS:g} ms", f"<= {CPU_AIM:.0%} of a core"
        if missing := problem(subject, aim, found):
            rows.append(missing)
            continue
        trip = f"p50 {found['p50']:.1f} ms, p99 {found['p99']:.1f} ms"
        trip += f" at {found['line_cpu']:.0%} of a core with the instruments"
        echo = f"bare echo p50 {found['echo']:.1f} ms"
        rows.append(Row(subject, trip, echo, found["p50"] / found["echo"], aim, found["p99"] <= P99_AIM_MS))
        cost = f"{found['cpu']:.1%} of a core, {found['waiting']} waiting"
        rate = f"{60 * found['results'] / found['seconds']:.0f} results a minute, two events each"
        met = found["cpu"] <= CPU_AIM and found["waiting"] < 64
        rows.append(Row(f"results at 2,000 a minute, {title}", cost, rate, None, cpu_aim, met))
    return rows
