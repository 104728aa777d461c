"""The line's connection: what is retained, what the last will says, who closes what, and what people see of it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from config.line import Delivery, OutboxConfig
from controller.journal import Journal
from controller.mes.connection import BrokerSettings, Connector, Endpoint
from controller.mes.messages import OrdersData, WipData
from controller.mes.topics import Topics
from tests.controller.mes.brokers import (
    LINE,
    T0,
    Mosquitto,
    RunningBroker,
    answer,
    delivery,
    finish,
    mes_at,
    publishing,
    running,
    until,
)

TOPICS = Topics(LINE)
SENDER = (sys.executable, "-m", "tests.controller.mes.sender")
RESULT = "evaline/pohang/evaluation/line1/st01/result"

pytestmark = pytest.mark.timeout(120)  # real brokers, and as long as a busy machine takes


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[RunningBroker]:
    async with running("nats", tmp_path) as broker:
        yield broker


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    journal = Journal.open(tmp_path / "j.db", tick=0.001)
    yield journal
    await journal.close()


async def retained(broker: RunningBroker, topic: str, enough: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What a newcomer finds on a topic, once it is as expected."""
    async with asyncio.timeout(30), Connector(broker.settings, "newcomer").connected() as client:
        await client.subscribe_all(topic)
        while True:
            message = await client.received()
            client.acknowledge(message)
            if enough(payload := json.loads(message.payload)):
                return dict(payload)


async def test_a_result_is_closed_by_the_mes_and_not_by_the_broker(broker: RunningBroker, journal: Journal) -> None:
    finish(journal, "st01", "r1")
    async with publishing(journal, broker.settings) as publisher:
        assert await publisher.drained(30)
        assert publisher.outbox.sent == 1
        assert [message.id for message in journal.pending_outbox()] == ["r1.result"]
        async with mes_at(broker.settings) as mes:
            await until(lambda: not journal.outbox.waiting, journal)
    await journal.flush()
    assert list(mes.stored) == ["r1.result"]
    assert journal.pending_outbox() == []


async def test_the_second_try_is_the_same_message_marked_as_replayed(broker: RunningBroker, journal: Journal) -> None:
    payloads: list[dict[str, Any]] = []
    async with Connector(broker.settings, "reader").connected() as reader:
        await reader.subscribe_all(RESULT)
        async with publishing(journal, broker.settings, delivery(ack_within=0.1)) as publisher:
            assert await publisher.drained(30)
            finish(journal, "st01", "r1")
            async with asyncio.timeout(30):
                while len(payloads) < 2:
                    message = await reader.received()
                    reader.acknowledge(message)
                    payloads.append(json.loads(message.payload))
    first, second = payloads
    assert "replayed" not in first
    assert second.pop("replayed") is True
    assert second == first


async def test_in_puback_mode_the_broker_closes_a_result_and_the_log_says_what_that_risks(
    broker: RunningBroker, journal: Journal, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(journal, "st01", "r1")
    async with publishing(journal, broker.settings, delivery("puback")) as publisher:
        assert await publisher.drained(30)
    assert journal.pending_outbox() == []
    assert "W-RESULTS-PUBACK" in capsys.readouterr().out


async def test_a_rejected_result_is_kept_apart_and_the_next_one_goes_on(
    broker: RunningBroker, journal: Journal
) -> None:
    for run in ("r1", "r2"):
        finish(journal, "st01", run)
    rejects = {"r1.result": "unknown order"}
    async with (
        mes_at(broker.settings, answer=rejects.get) as mes,
        publishing(journal, broker.settings) as publisher,
    ):
        await until(lambda: not journal.outbox.waiting, journal)
        assert list(mes.stored) == ["r2.result"]
        (refused,) = journal.refused_outbox()
        assert (refused.id, refused.by, refused.reason) == ("r1.result", "MES", "unknown order")
        assert [alarm["code"] for alarm in publisher.status()["alarms"]] == ["W-OUTBOX-REFUSED"]
        rejects.clear()
        publisher.outbox.resend([refused.seq], "kim", "the order was added")
        await until(lambda: len(journal.outbox) == 0, journal)
    assert list(mes.stored) == ["r2.result", "r1.result"]


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"{", b"\xff\xfe", b"[]", b"1", b"[" * 5000, b'{"ids":["r1.result"],"status":"stored"}',
        answer(ids="r1.result"), answer(ids=[1]), answer(status="perhaps"), answer(specversion="9.9"),
        answer(type="evaline.ack.v7"), answer()[:-1] + b',"id":"twice"}',
    ],
)  # fmt: skip
async def test_an_acknowledgement_that_is_none_closes_nothing_and_is_audited(
    broker: RunningBroker, journal: Journal, payload: bytes
) -> None:
    finish(journal, "st01", "r1")
    async with publishing(journal, broker.settings) as publisher, Connector(broker.settings, "m").connected() as mes:
        assert await publisher.drained(30)
        await mes.publish(f"{RESULT}/ack", payload)
        await until(lambda: bool(refusals(journal)), journal)
        assert list(journal.outbox.waiting) == [1]
        await mes.publish(f"{RESULT.replace('st01', 'st02')}/ack", answer())
        await mes.publish(f"{RESULT}/ack", answer(ids=["never.sent", "r1.result"]))
        await until(lambda: not journal.outbox.waiting, journal)
        assert len(refusals(journal)) == 1
        assert publisher.connected


def refusals(journal: Journal) -> list[dict[str, Any]]:
    audits = journal.events(kind="audit", limit=10_000)
    return [event.body for event in audits if event.body["action"] == "result/ack refused"]


async def test_a_flood_of_bad_acknowledgements_is_told_once_and_as_a_number(
    broker: RunningBroker, journal: Journal
) -> None:
    finish(journal, "st01", "r1")
    async with publishing(journal, broker.settings) as publisher, Connector(broker.settings, "m").connected() as mes:
        assert await publisher.drained(30)
        for _ in range(500):
            await mes.publish(f"{RESULT}/ack", b"{x")
        await mes.publish(f"{RESULT}/ack", answer())
        await until(lambda: not journal.outbox.waiting, journal)
        publisher._look_now.set()  # as after some seconds
        await until(lambda: len(refusals(journal)) == 2, journal)
    first, rest = refusals(journal)
    assert "E-MSG-JSON" in first["reason"]
    assert rest["reason"] == "499 more were refused"


async def test_a_retained_topic_that_the_broker_refuses_costs_nothing_else(tmp_path: Path, journal: Journal) -> None:
    topics, allowed = Topics(LINE), tmp_path / "acl"
    allowed.write_text(f"topic readwrite #\ntopic deny {topics.orders}\n")
    async with Mosquitto(tmp_path / "m", f"allow_anonymous true\nacl_file {allowed}") as mosquitto:
        settings = BrokerSettings((Endpoint("127.0.0.1", mosquitto.port),))
        async with publishing(journal, settings) as publisher:
            publisher.retain(topics.orders, topics.retained(None, "orders", T0, OrdersData(orders=[])))
            publisher.retain(topics.wip, topics.retained(None, "wip", T0, WipData(runs=[])))
            finish(journal, "st01", "r1")
            async with mes_at(settings) as mes:
                await until(lambda: not journal.outbox.waiting, journal)
                assert list(mes.stored) == ["r1.result"]
            (code, message) = publisher.alarms()[0]
            assert code == "W-RETAINED"
            assert topics.orders in message
            await until(lambda: "delivery alarm" in actions(journal), journal)
            assert publisher.connected
        text = (tmp_path / "m" / "mosquitto.log").read_text()
    assert text.count("New client connected") == 2, "the line's and the MES's: the line was never thrown out"


def actions(journal: Journal) -> list[str]:
    return [event.body["action"] for event in journal.events(kind="audit", limit=10_000)]


async def test_a_full_outbox_says_so_before_it_takes_nothing(broker: RunningBroker, journal: Journal) -> None:
    now = [T0]
    config = Delivery(outbox=OutboxConfig(max_messages=4, alarm_after_s=60))
    async with publishing(journal, broker.settings, config, now=lambda: now[0]) as publisher:

        def codes() -> list[str]:
            return [alarm["code"] for alarm in publisher.status()["alarms"]]

        finish(journal, "st01", "r1")
        assert (codes(), journal.outbox.full) == ([], "")
        for run in ("r2", "r3"):
            finish(journal, "st01", run)
        assert codes() == ["W-OUTBOX-DEPTH"]
        now[0] += 61
        assert codes() == ["W-OUTBOX-DEPTH", "W-OUTBOX-AGE"]
        assert publisher.status()["outbox"]["oldest_s"] == 61
        now[0] -= 1000  # the clock was set back
        assert publisher.status()["outbox"]["oldest_s"] == 0
        finish(journal, "st01", "r4")
        assert codes() == ["E-OUTBOX"]
        assert "4 messages wait" in journal.outbox.full
        finish(journal, "st01", "r5")  # what has begun still gets in
        async with mes_at(broker.settings) as mes:
            await until(lambda: not journal.outbox.waiting, journal)
        assert (codes(), journal.outbox.full, journal.outbox.bytes) == ([], "", 0)
    assert mes.of_station("st01") == ["r1", "r2", "r3", "r4", "r5"]


async def test_the_newest_state_is_retained_and_a_clean_stop_says_offline(
    broker: RunningBroker, journal: Journal
) -> None:
    topic = TOPICS.state("st01")
    async with publishing(journal, broker.settings) as publisher:
        for word in ("IDLE", "STARTING", "EXECUTE"):
            publisher.retain(topic, {"state": word})
        assert await publisher.drained(30)
        assert (await retained(broker, topic, bool))["state"] == "EXECUTE"
        assert (await retained(broker, TOPICS.connection, bool))["data"]["state"] == "online"
    assert (await retained(broker, TOPICS.connection, bool))["data"]["state"] == "offline"


async def test_a_broker_that_forgot_everything_is_told_everything_again(
    broker: RunningBroker, journal: Journal
) -> None:
    async with publishing(journal, broker.settings) as publisher:
        publisher.retain(TOPICS.state("st01"), {"state": "EXECUTE"})
        finish(journal, "st01", "r1")
        assert await publisher.drained(30)
        await broker.forget()
        async with mes_at(broker.settings) as mes:  # its session is gone as well
            await until(lambda: not journal.outbox.waiting, journal)
        assert list(mes.stored) == ["r1.result"]
        assert (await retained(broker, TOPICS.state("st01"), bool))["state"] == "EXECUTE"


async def test_the_last_will_says_broken_when_the_daemon_is_killed(broker: RunningBroker, tmp_path: Path) -> None:
    daemon = await asyncio.create_subprocess_exec(
        *SENDER, str(tmp_path / "other.db"), str(broker.settings.endpoints[0]), str(broker.settings.username),
        str(broker.settings.password), "connect", stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert daemon.stdout is not None
    assert await daemon.stdout.readline() == b"connected\n"
    async with asyncio.timeout(60), Connector(broker.settings, "reader").connected() as reader:
        await reader.subscribe_all(TOPICS.connection)
        states = [json.loads((await reader.received()).payload)["data"]["state"]]
        daemon.kill()
        await daemon.communicate()
        states.append(json.loads((await reader.received()).payload)["data"]["state"])
    assert states == ["online", "broken"]


async def test_without_a_broker_results_wait_and_drained_says_no(journal: Journal) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    settings = BrokerSettings((Endpoint("127.0.0.1", server.sockets[0].getsockname()[1]),))
    finish(journal, "st01", "r1")
    async with publishing(journal, settings) as publisher:
        assert not await publisher.drained(0.3)
        assert not publisher.connected
        assert publisher.status()["last_error"]
    server.close()
    assert [message.id for message in journal.pending_outbox()] == ["r1.result"]


class Door:
    """Takes commands; the first one is not durable before `open`."""

    def __init__(self) -> None:
        self.open, self.asked = asyncio.Event(), asyncio.Event()
        self.taken: list[tuple[str, bytes, bool]] = []

    async def receive(self, topic: str, payload: bytes, *, retained: bool, redelivered: bool = False) -> None:
        self.asked.set()
        await self.open.wait()
        self.taken.append((topic, payload, retained))


async def test_a_command_is_the_brokers_until_it_is_durable(broker: RunningBroker, journal: Journal) -> None:
    command = TOPICS.command("st01")
    first = Door()
    async with publishing(journal, broker.settings, door=first) as publisher:
        assert await publisher.drained(30)
        async with Connector(broker.settings, "mes").connected() as mes:
            for number in range(5):
                await mes.publish(command, b"%d" % number)
        async with asyncio.timeout(30):
            await first.asked.wait()
    assert first.taken == []  # the daemon ended before anything was durable
    second = Door()
    second.open.set()
    async with publishing(journal, broker.settings, door=second):
        async with asyncio.timeout(60):
            while len(second.taken) < 5:
                second.asked.clear()
                await second.asked.wait()
    assert [payload for _, payload, _ in second.taken] == [b"0", b"1", b"2", b"3", b"4"]


async def test_commands_of_one_station_wait_for_each_other_and_not_for_other_stations(
    broker: RunningBroker, journal: Journal
) -> None:
    class Slow:
        def __init__(self) -> None:
            self.begun: list[str] = []
            self.free, self.news = asyncio.Event(), asyncio.Event()

        async def receive(self, topic: str, payload: bytes, *, retained: bool, redelivered: bool = False) -> None:
            self.begun.append(payload.decode())
            self.news.set()
            if payload == b"a1":
                await self.free.wait()

    door = Slow()
    async with publishing(journal, broker.settings, door=door) as publisher:
        assert await publisher.drained(30)
        async with asyncio.timeout(30), Connector(broker.settings, "mes").connected() as mes:
            for station, payload in (("sta", b"a1"), ("sta", b"a2"), ("stb", b"b1")):
                await mes.publish(TOPICS.command(station), payload)
            while "b1" not in door.begun:
                door.news.clear()
                await door.news.wait()
            assert door.begun == ["a1", "b1"]
            door.free.set()
            while "a2" not in door.begun:
                door.news.clear()
                await door.news.wait()
