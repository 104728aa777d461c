"""No message stops a line: what a broker does not take is set aside, and everything else is delivered in order."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiomqtt
import pytest

from controller.journal import Journal
from controller.mes.connection import V5, V311, BrokerSettings, Endpoint
from controller.mes.outbox import MAX_PAYLOAD
from tests.controller.mes.brokers import (
    BROKERS,
    Mosquitto,
    RunningBroker,
    delivery,
    finish,
    mes_at,
    publishing,
    running,
    until,
)
from tests.controller.mes.scripted import (
    CONNACK,
    CONNECT,
    PUBACK,
    PUBLISH,
    SUBACK,
    SUBSCRIBE,
    Scripted,
    message_id,
    scripted,
)

pytestmark = pytest.mark.timeout(120)  # real brokers, and as long as a busy machine takes
MB = 1_000_000


@pytest.fixture(autouse=True)
def a_mes_that_takes_large_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client is the line's, which cuts what is larger than any command."""
    monkeypatch.setattr("controller.mes.connection.MAX_PAYLOAD", 2 * MAX_PAYLOAD)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between connections, so that no test waits for them."""
    monkeypatch.setattr("controller.mes.connection.MAX_PAUSE_S", 0.1)


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    journal = Journal.open(tmp_path / "j.db", tick=0.001)
    yield journal
    await journal.close()


@pytest.fixture(params=BROKERS)
async def broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RunningBroker]:
    async with running(request.param, tmp_path) as broker:
        yield broker


async def delivered(
    journal: Journal, settings: BrokerSettings, mes_settings: BrokerSettings | None = None
) -> list[str]:
    """Deliver what is open; the results in the order in which the MES stored them."""
    async with mes_at(mes_settings or settings) as mes, publishing(journal, settings) as publisher:
        await until(lambda: not journal.outbox.waiting, journal, 20)
        refused = ["W-OUTBOX-REFUSED"] if journal.outbox.refused else []
        assert [alarm["code"] for alarm in publisher.status()["alarms"]] == refused
    await journal.flush()
    return [id.removesuffix(".result") for id in mes.stored]


async def test_a_long_runs_result_is_delivered_and_one_beyond_every_broker_is_set_aside(
    broker: RunningBroker, journal: Journal
) -> None:
    finish(journal, "st01", "st01-1")
    finish(journal, "st01", "st01-2", size=9 * MB)
    finish(journal, "st01", "st01-3", size=1_200_000)
    finish(journal, "st01", "st01-4")
    for run in range(4):
        finish(journal, "st02", f"st02-{run}")
    stored = await delivered(journal, broker.settings)
    assert [run for run in stored if run < "st02"] == ["st01-1", "st01-3", "st01-4"]
    assert [run for run in stored if run > "st02"] == [f"st02-{run}" for run in range(4)]
    (refused,) = journal.refused_outbox()
    assert (refused.id, refused.by) == ("st01-2.result", "line")
    assert refused.reason.startswith("its 900")
    assert refused.reason.endswith("more than the 8388608 that a broker is to take")


async def test_the_largest_message_that_is_sent_is_taken(broker: RunningBroker, journal: Journal) -> None:
    finish(journal, "st01", "r1", size=MAX_PAYLOAD - 2000)
    assert await delivered(journal, broker.settings) == ["r1"]


@pytest.mark.parametrize("version", [V5, V311])
async def test_what_a_broker_ends_the_connection_over_is_set_aside_and_nothing_else_is(
    tmp_path: Path, journal: Journal, version: aiomqtt.ProtocolVersion
) -> None:
    """A real broker with a limit of its own, and two results of 32 stations above it."""
    text = "allow_anonymous true\nmax_packet_size 100000"
    stations = [f"st{number:02d}" for number in range(32)]
    for station in stations:
        finish(journal, station, f"{station}-1")
        finish(journal, station, f"{station}-2", size=200_000 if station in ("st07", "st23") else 500)
        finish(journal, station, f"{station}-3")
    async with Mosquitto(tmp_path / "mosquitto", text) as mosquitto:
        stored = await delivered(journal, BrokerSettings((Endpoint("127.0.0.1", mosquitto.port),), versions=(version,)))
    for station in stations:
        expected = [1, 3] if station in ("st07", "st23") else [1, 2, 3]
        assert [run for run in stored if run.startswith(station)] == [f"{station}-{number}" for number in expected]
    refused = journal.refused_outbox()
    assert [(one.id, one.by) for one in refused] == [("st07-2.result", "broker"), ("st23-2.result", "broker")]
    assert all("lost 3 times while this alone was sent: 201" in one.reason for one in refused)


def hanging_up(when: Callable[[bytes], bool], taken: list[bytes]) -> Scripted:
    """A broker of MQTT 3.1.1 that ends the connection instead of taking some messages of the outbox."""

    def answer(kind: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        if kind == CONNECT:
            writer.write(bytes((CONNACK, 2, 0, 0)))
        elif kind == SUBSCRIBE:
            writer.write(bytes((SUBACK, 3)) + body[:2] + b"\x01")
        elif kind == PUBLISH and b"/event/" in body and when(body):
            writer.close()
        elif kind == PUBLISH:
            taken.append(body)
            writer.write(bytes((PUBACK, 2)) + message_id(body))

    return answer


async def test_a_broker_that_is_lost_again_and_again_costs_no_message(journal: Journal) -> None:
    """It hangs up at every second message, whichever that is."""
    count, taken = itertools.count(1), list[bytes]()
    for number in range(8):
        finish(journal, f"st{number:02d}", f"r{number}", events=2)
    async with (
        scripted(hanging_up(lambda body: next(count) % 2 == 0, taken)) as port,
        publishing(journal, BrokerSettings((Endpoint("127.0.0.1", port),), versions=(V311,)), delivery("puback")),
    ):
        await until(lambda: not journal.outbox.waiting, journal, 30)
    assert not journal.outbox.refused
    assert len({body.split(b'"id":')[1].split(b",")[0] for body in taken if b"/event/" in body}) == 16


async def test_a_message_that_was_set_aside_is_tried_again_when_people_say_so(journal: Journal) -> None:
    taken = list[bytes]()
    finish(journal, "st01", "r1", events=1)
    full = asyncio.Event()
    full.set()
    async with (
        scripted(hanging_up(lambda body: full.is_set(), taken)) as port,
        publishing(
            journal, BrokerSettings((Endpoint("127.0.0.1", port),), versions=(V311,)), delivery("puback")
        ) as line,
    ):
        await until(lambda: not journal.outbox.waiting, journal, 30)
        (refused,) = journal.outbox.refused
        full.clear()
        line.outbox.resend([refused], "kim", "the broker has room now")
        await until(lambda: not journal.outbox.waiting, journal, 30)
    assert not journal.outbox.refused
    assert sum(b"r1.event0" in body for body in taken) == 1
