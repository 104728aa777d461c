"""Each station's own word about whether it is there: when it comes, when it goes, and who is not to be disturbed."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller.journal import Journal
from controller.mes import publisher
from controller.mes.connection import V5, V311, BrokerSettings, Connector, Endpoint
from controller.mes.topics import Topics
from tests.contract import assert_in_contract
from tests.controller.mes.brokers import (
    BROKERS,
    LINE,
    Mosquitto,
    RunningBroker,
    finish,
    mes_at,
    publishing,
    reading,
    running,
    until,
)
from tests.controller.mes.scripted import CONNACK, CONNECT, PUBACK, PUBLISH, SUBACK, SUBSCRIBE, message_id, scripted
from tests.controller.mes.sender import STATIONS

TOPICS = Topics(LINE)
MANY = tuple(f"st{number:02d}" for number in range(1, 65))
WITHIN = 60.0

pytestmark = pytest.mark.timeout(120)  # real brokers, and as long as a busy machine takes


@pytest.fixture(params=BROKERS)
async def broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RunningBroker]:
    async with running(request.param, tmp_path) as broker:
        yield broker


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    journal = Journal.open(tmp_path / "j.db", tick=0.001)
    yield journal
    await journal.close()


async def test_each_of_64_stations_is_online_while_the_line_is_served_and_offline_after_its_end(
    broker: RunningBroker, journal: Journal
) -> None:
    async with publishing(journal, broker.settings, stations=MANY) as line:
        async with reading(broker.settings) as reader:
            await reader.sees("online", MANY)
        async with reading(broker.settings, "late") as late:
            await late.sees("online", MANY)
        assert late.said == {station: ["online"] for station in MANY}, "retained"
        assert line.alarms() == []
    for station, message in late.messages.items():
        assert_in_contract(message)
        assert message["source"] == f"/{TOPICS.root}/{station}"
    async with reading(broker.settings) as reader:
        await reader.sees("offline", MANY)
    assert reader.said == {station: ["offline"] for station in MANY}


async def test_a_daemon_that_is_killed_leaves_every_station_broken(broker: RunningBroker, tmp_path: Path) -> None:
    user, password = broker.settings.username or "", broker.settings.password or ""
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.controller.mes.sender", str(tmp_path / "other.db"),
        str(broker.settings.endpoints[0]), user, password, "connect", stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with reading(broker.settings) as reader:
        await reader.sees("online", STATIONS)
        daemon.kill()
        await daemon.communicate()
        await reader.sees("broken", STATIONS)
    async with reading(broker.settings, "late") as late:
        await late.sees("broken", STATIONS)
    assert late.said == {station: ["broken"] for station in STATIONS}


async def test_stations_are_online_again_at_a_broker_that_was_killed_and_knows_nothing(
    broker: RunningBroker, journal: Journal
) -> None:
    async with publishing(journal, broker.settings, stations=STATIONS):
        async with reading(broker.settings) as reader:
            await reader.sees("online", STATIONS)
        await broker.forget()
        async with reading(broker.settings) as reader:
            await reader.sees("online", STATIONS)


async def test_stations_whose_line_lost_its_connection_are_broken_until_it_is_back(
    broker: RunningBroker, journal: Journal
) -> None:
    """Somebody with its identifier takes its place; the stations' own connections would be alive."""
    async with publishing(journal, broker.settings, stations=STATIONS), reading(broker.settings) as reader:
        await reader.sees("online", STATIONS)
        async with Connector(broker.settings, TOPICS.client_id).connected():
            await reader.sees("broken", STATIONS)
        await reader.sees("online", STATIONS)
    assert all(said[:2] == ["online", "broken"] for said in reader.said.values())


def client_of(body: bytes) -> str:
    """The identifier in a CONNECT of MQTT 3.1.1."""
    size = int.from_bytes(body[10:12], "big")
    return body[12 : 12 + size].decode()


class Door:
    async def receive(self, topic: str, payload: bytes, *, retained: bool, redelivered: bool = False) -> None:
        raise AssertionError("nobody commands")


async def test_no_station_is_online_before_the_broker_has_granted_its_commands(journal: Journal) -> None:
    heard: list[str] = []
    online = asyncio.Event()

    def answer(kind: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        if kind == CONNECT:
            heard.append(client_of(body))
            writer.write(bytes([CONNACK, 2, 0, 0]))
        elif kind == SUBSCRIBE:
            heard.append("SUBSCRIBE")
            granted = 1 if heard.count("SUBSCRIBE") == 3 else 0x80
            writer.write(bytes([SUBACK, 4, *body[:2], granted, granted]))
        elif kind == PUBLISH:
            heard.extend(station for station in STATIONS if f"{station}/connection".encode() in body)
            writer.write(bytes([PUBACK, 2, *message_id(body)]))
            if set(STATIONS) <= set(heard):
                online.set()

    async with scripted(answer) as port:
        settings = BrokerSettings((Endpoint("127.0.0.1", port),), versions=(V311,))
        async with publishing(journal, settings, door=Door(), stations=STATIONS), asyncio.timeout(WITHIN):
            await online.wait()
    line = "evaline-evaline-pohang-evaluation-line1"
    assert heard[:6] == [line, "SUBSCRIBE"] * 3
    # a colon, which no name has: a line `line1-st01` is somebody else
    assert {name for name in heard[6:] if name.startswith("evaline")} == {f"{line}:{name}" for name in STATIONS}


class Log:
    """What people are told of W-PRESENCE."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.warned, self.over = asyncio.Event(), asyncio.Event()

    def _take(self, text: str, **detail: object) -> None:
        if "W-PRESENCE" not in f"{text} {detail}":
            return
        if "over" in text:
            self.over.set()
        else:
            self.told.append(text)
            self.warned.set()

    warning = info = _take


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log()
    monkeypatch.setattr(publisher, "log", log)
    monkeypatch.setattr(publisher, "LOOK_EVERY_S", 0.01)
    return log


def allow_all_but(directory: Path, *topics: str) -> None:
    deny = "".join(f"topic deny {topic}\n" for topic in topics)
    (directory / "acl").write_text(f"topic readwrite #\n{deny}")


async def test_a_station_that_is_refused_disturbs_nobody_is_told_once_and_comes_when_it_may(
    journal: Journal, tmp_path: Path, log: Log
) -> None:
    allow_all_but(tmp_path, TOPICS.station_connection("st02"))
    mosquitto = Mosquitto(tmp_path / "m", f"allow_anonymous true\nacl_file {tmp_path / 'acl'}")
    settings = BrokerSettings((Endpoint("127.0.0.1", mosquitto.port),), versions=(V5,))
    async with mosquitto, publishing(journal, settings, stations=STATIONS) as line, reading(settings) as reader:
        await reader.sees("online", {"st01", "st03"})
        async with asyncio.timeout(WITHIN):
            await log.warned.wait()
        (alarm,) = line.status()["alarms"]
        assert alarm["code"] == "W-PRESENCE"
        assert alarm["message"].startswith("the MES does not see the connection of st02: ")
        assert "Not authorized" in alarm["message"]
        async with mes_at(settings):
            finish(journal, "st02", "r1")
            await until(lambda: not journal.outbox.waiting, journal)
        allow_all_but(tmp_path)
        assert mosquitto.process is not None
        mosquitto.process.send_signal(signal.SIGHUP)  # it reads its access list again
        await reader.sees("online", STATIONS)
        async with asyncio.timeout(WITHIN):
            await log.over.wait()
    assert reader.said == {station: ["online"] for station in STATIONS}, "no other was disturbed"
    assert len(log.told) == 1


async def test_a_broker_that_takes_no_more_connections_keeps_the_line_and_whom_it_took(
    journal: Journal, tmp_path: Path, log: Log
) -> None:
    mosquitto = Mosquitto(tmp_path / "m", "allow_anonymous true\nmax_connections 6")
    settings = BrokerSettings((Endpoint("127.0.0.1", mosquitto.port),), versions=(V5,))
    async with mosquitto, reading(settings) as reader:
        async with publishing(journal, settings, stations=MANY) as line:
            await reader.sees_of("online", 4)
            async with asyncio.timeout(WITHIN):
                await log.warned.wait()
            finish(journal, "st02", "r1")
            assert await line.drained(WITHIN)
            (alarm,) = line.status()["alarms"]
            assert re.match(r"the MES does not see the connection of st\d\d and \d+ more: ", alarm["message"])
        await reader.sees_of("offline", 4)
    assert len(reader.said) <= 6
    assert len(log.told) == 1, "one line for the lot"
