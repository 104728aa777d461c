"""A hostile MES at the broker of a line that runs: the run goes on, memory stays bounded, every refusal is told."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import aiomqtt
import numpy as np
import pytest

from controller.clock import PacedClock
from controller.journal import JournalReader
from controller.journal.check import verify
from controller.mes.connection import V311, BrokerSettings, Connector, Endpoint, MqttClient
from controller.mes.topics import rfc3339
from tests.cli.plant import WITHIN, Data, Plant
from tests.controller.mes.brokers import Mosquitto
from tests.controller.mes.listener import overhearing

FLOOD = 10_000
# from before the first message to the daemon's highest ever; Mosquitto lets 10 MB through, which are copied some times
GROWTH_MB = {"nats": 32.0, "mosquitto": 128.0}
LONGEST_PAUSE = 1.9  # s between two samples of a station that is scanned each second: none is left out
# docs/brokers.md: without the last line Mosquitto drops what is beyond 1000
MOSQUITTO = "allow_anonymous true\nmax_queued_messages 100000"
ROOT = "evaline/pohang/evaluation/line1"
COMMANDS = f"{ROOT}/st01/cmd"

pytestmark = pytest.mark.timeout(120)


@asynccontextmanager
async def served(plant: Plant, broker: str) -> AsyncIterator[BrokerSettings]:
    """The line with this broker, discharging; how a MES reaches it."""
    if broker == "nats":
        await asyncio.to_thread(plant.up, change=lambda data: data.update(broker={"kind": "embedded", "port": 0}),
                                rate=1.0)  # fmt: skip
        place = plant.daemon.ready["mqtt"]
        password = (plant.state / "broker" / "password").read_text().strip()
        await asyncio.to_thread(plant.begin_discharge)
        yield BrokerSettings((Endpoint(place["host"], place["port"]),), "evaline", password, versions=(V311,))
        return
    async with Mosquitto(plant.directory / "mosquitto", MOSQUITTO) as mosquitto:
        url = f"mqtt://127.0.0.1:{mosquitto.port}"
        await asyncio.to_thread(plant.up, change=lambda data: data.update(broker={"url": url, "insecure": True}),
                                rate=1.0)  # fmt: skip
        await asyncio.to_thread(plant.begin_discharge)
        yield BrokerSettings((Endpoint("127.0.0.1", mosquitto.port),))


def command(cmd_id: str, **data: Any) -> Data:
    """A reset as it should be, which a station in LOCAL mode refuses."""
    now = PacedClock().now()
    body = {"command": "reset", "cmd_id": cmd_id, "actor": "mes", "issued_at": rfc3339(now),
            "expires_at": rfc3339(now + 3600)}  # fmt: skip
    return {"specversion": "1.0", "id": cmd_id, "source": "/mes", "type": "evaline.cmd.v1", "data": body | data}


def encoded(cmd_id: str, **data: Any) -> bytes:
    return json.dumps(command(cmd_id, **data)).encode()


BAD: dict[str, Callable[[], bytes]] = {
    "E-MSG-UTF8": lambda: encoded("utf8").replace(b"reset", b"re\xffset"),
    "E-MSG-NUMBER": lambda: encoded("nan", reason=float("nan")),
    "E-MSG-DUPLICATE-KEY": lambda: encoded("twice").replace(b'"command"', b'"cmd_id": "other", "command"'),
    "E-MSG-DEPTH": lambda: b"[" * 100_000,
    "E-MSG-JSON": lambda: encoded("half")[:-2],
    "E-MSG-SIZE": lambda: encoded("large", reason="x" * 300_000),
}
ANSWERED: dict[str, Callable[[], bytes]] = {
    "E-MSG-SCHEMA": lambda: encoded("types", command=["reset"], actor=7),
    "E-MSG-VERSION": lambda: json.dumps(command("version") | {"type": "evaline.cmd.v9"}).encode(),
}


@contextmanager
def read(plant: Plant) -> Iterator[JournalReader]:
    reader = JournalReader(plant.journal)
    try:
        yield reader
    finally:
        reader.close_reads()


def refused(plant: Plant) -> tuple[Counter[str], Counter[str]]:
    """What the audit trail counts by code: in entries of their own, and in those that sum up."""
    own: Counter[str] = Counter()
    summed: Counter[str] = Counter()
    with read(plant) as reader:
        for entry in reader.events(kind="audit", limit=100_000):
            detail = entry.body["detail"]
            if entry.body["action"] == "command refused" and "code" in detail:
                own[detail["code"]] += 1
            elif entry.body["action"] == "command refused":
                summed.update(detail["codes"])
    return own, summed


def status_mb(plant: Plant, name: str) -> float:
    lines = Path(f"/proc/{plant.daemon.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def published_raw(settings: BrokerSettings, topic: bytes) -> bytes:
    """CONNECT and PUBLISH as no library writes them; what the broker answers, empty when it closes the connection."""

    def text(content: bytes) -> bytes:
        return struct.pack(">H", len(content)) + content

    flags, login = 0x02, b""
    if settings.username:
        flags, login = 0xC2, text(settings.username.encode()) + text((settings.password or "").encode())
    connect = text(b"MQTT") + bytes([4, flags]) + struct.pack(">H", 60) + text(b"raw") + login
    publish = text(topic) + struct.pack(">H", 1) + b"{}"
    place = settings.endpoints[0]
    with socket.create_connection((place.host, place.port), 5) as link:
        link.sendall(bytes([0x10, len(connect)]) + connect)
        assert link.recv(4) == b"\x20\x02\x00\x00"
        link.sendall(bytes([0x32, len(publish)]) + publish)
        try:
            return link.recv(100)
        except ConnectionError:
            return b""


async def read_replies(client: MqttClient, told: list[Data]) -> None:
    """Each once, as a MES reads them: a broker may bring one again, with the same id."""
    ids: set[str] = set()
    while True:
        message = await client.received()
        reply = json.loads(message.payload)
        if reply["id"] not in ids:
            told.append(reply["data"])
        ids.add(reply["id"])
        client.acknowledge(message)


async def is_taken(settings: BrokerSettings, payload: bytes) -> bool:
    """Whether the broker takes a command of these bytes, or ends the connection of whoever sends it."""
    async with Connector(settings, "large").connected() as client:
        try:
            await client.publish(COMMANDS, payload)
        except aiomqtt.MqttError:
            return False
        return True


@pytest.mark.parametrize("broker", ["nats", "mosquitto"])
async def test_what_a_hostile_mes_sends_does_not_disturb_a_run(plant: Plant, broker: str) -> None:
    told: list[Data] = []
    async with served(plant, broker) as settings:
        before = status_mb(plant, "VmRSS")
        async with overhearing(settings, "reply"), Connector(settings, "mes").connected() as client:
            await client.subscribe_all(f"{ROOT}/+/cmd/reply")
            reading = asyncio.create_task(read_replies(client, told))
            assert await is_taken(settings, encoded("huge", reason="x" * 10_000_000)) is (broker == "mosquitto")
            for level in (b"+", b"#", b"st01\0", b"\xff"):
                answer = await asyncio.to_thread(published_raw, settings, ROOT.encode() + b"/" + level + b"/cmd")
                assert answer == b"", "the broker closes the connection"
            await client.publish(f"{ROOT}/st99/cmd", encoded("elsewhere"))
            for write in (BAD | ANSWERED).values():
                await client.publish(COMMANDS, write())
            await client.publish(f"{ROOT}/st01/result/ack", b'{"ids": 7}')
            async with asyncio.TaskGroup() as group:
                for number in range(FLOOD):
                    group.create_task(client.publish(COMMANDS, encoded(f"flood-{number}")))

            def all_told(_: Data) -> bool:
                own, summed = refused(plant)
                return own["E-MODE"] + (own + summed)["E-CMD-RATE"] + summed["E-MODE"] >= FLOOD

            end = await asyncio.to_thread(plant.daemon.until, all_told)
            growth = status_mb(plant, "VmHWM") - before
            # answers to what came last, after every other
            await client.publish(COMMANDS, encoded("last", expires_at="2020-01-01T00:00:00Z"))
            async with asyncio.timeout(WITHIN):
                while not any(reply["cmd_id"] == "last" for reply in told):
                    await asyncio.wait({reading}, timeout=0.05)
            reading.cancel()
        assert (await asyncio.to_thread(plant.daemon.end)).code == 0
    assert (end["state"], end["alarms"]) == ("EXECUTE", [])
    plant.simulators.assert_off()
    with read(plant) as reader:
        names, samples = reader.samples(end["run_id"])
        acks = [e for e in reader.events(kind="audit", limit=100_000) if e.body["action"] == "result/ack refused"]
    pauses = np.diff(samples[:, names.index("t")])
    own, _ = refused(plant)
    assert pauses.max() < LONGEST_PAUSE
    assert growth < GROWTH_MB[broker]
    answers = Counter(reply["cmd_id"] for reply in told)
    assert set(answers.values()) == {1}, "whatever the broker repeats, nothing is answered twice"
    assert {"types", "version", "elsewhere"} <= answers.keys()
    assert not answers.keys() & {"utf8", "nan", "twice", "other", "half", "large", "huge"}
    sizes = 2 if broker == "mosquitto" else 1
    expected = dict.fromkeys(BAD | ANSWERED, 1) | {"E-MSG-SIZE": sizes, "E-CMD-STATION": 1}
    assert {code: own[code] for code in expected} == expected
    assert len(acks) == 1
    assert sum(own.values()) < 100, "the rest is summed up"
    assert {reply["status"] for reply in told} == {"rejected"}
    assert verify(plant.journal).ok


# ------------------------------------------------------------------------------------------------------- any bytes

MESSAGES, SEED = 400, 4713
LEVELS = ["st01", "st02", "ST01", "orders", "connection", "배터리", "é", "$x", "{}", "🔋", "a\u200bb", "\x7f"]


def any_bytes(random: Random, number: int) -> bytes:
    """Noise, JSON of no sense, or a command with some of its bytes changed, cut, doubled or put in."""
    match random.randrange(4):
        case 0:
            return random.randbytes(random.randrange(600))
        case 1:
            values = [
                None,
                True,
                7,
                -1e300,
                "\ud800",
                "x" * 300,
                [],
                {},
                [[{}]],
                {"ids": [None]},
                {"data": {"cmd_id": 7}},
            ]
            keys = ["type", "data", "id", "ids", "specversion", "status"]
            return json.dumps({key: random.choice(values) for key in random.sample(keys, 4)}).encode()
    payload = bytearray(encoded(f"fuzz-{number}"))
    for _ in range(random.randrange(1, 4)):
        at = random.randrange(len(payload))
        start, end = at, at + random.randrange(12)
        payload[start:end] = random.choice([b"", random.randbytes(4), bytes(payload[start:end]) * 2])
    return bytes(payload)


async def publish_any_bytes(settings: BrokerSettings, random: Random) -> None:
    """From a connection of their own: a broker ends that of who sends on a topic that it does not like."""
    number = 0
    while number < MESSAGES:
        with suppress(aiomqtt.MqttError):
            async with Connector(settings, "fuzzer").connected() as client:
                while number < MESSAGES:
                    number += 1
                    level = random.choice(LEVELS) if random.random() < 0.3 else "st01"
                    end = random.choice(["cmd", "cmd", "result/ack"])
                    await client.publish(f"{ROOT}/{level}/{end}", any_bytes(random, number))


@pytest.mark.parametrize("broker", ["nats", "mosquitto"])
async def test_any_bytes_on_the_wire_are_refused_and_cost_no_connection(plant: Plant, broker: str) -> None:
    told, presence = list[Data](), list[str]()

    async def read_presence(client: MqttClient) -> None:
        while True:
            message = await client.received()
            presence.append(json.loads(message.payload)["data"]["state"])
            client.acknowledge(message)

    async with served(plant, broker) as settings:
        async with Connector(settings, "mes").connected() as client, Connector(settings, "eye").connected() as eye:
            await client.subscribe_all(f"{ROOT}/+/cmd/reply")
            await eye.subscribe_all(f"{ROOT}/connection")
            reading = [asyncio.create_task(read_replies(client, told)), asyncio.create_task(read_presence(eye))]
            await publish_any_bytes(settings, Random(SEED))
            await client.publish(COMMANDS, encoded("last", command="acknowledge"))
            async with asyncio.timeout(WITHIN):
                while not any(reply["cmd_id"] == "last" for reply in told):
                    await asyncio.wait(reading, timeout=0.05)
            for task in reading:
                task.cancel()
        assert presence == ["online"], "one connection from the beginning to the end"
        assert (await asyncio.to_thread(plant.daemon.end)).code == 0
    with read(plant) as reader:
        commands = [event.body for event in reader.events(kind="command", limit=100_000)]
        acks = [e for e in reader.events(kind="audit", limit=100_000) if e.body["action"] == "result/ack refused"]
    assert [body["key"] for body in commands if body["status"] == "accepted"] == ["last"]
    own, summed = refused(plant)
    assert {"E-MSG-UTF8", "E-MSG-JSON", "E-MSG-SCHEMA", "E-CMD-STATION", "E-MODE"} <= (own + summed).keys()
    assert (own + summed).total() > MESSAGES / 3
    assert acks
    assert verify(plant.journal).ok
