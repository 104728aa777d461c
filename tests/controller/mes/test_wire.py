"""Commands over real brokers: each refusal is answered and audited, and what a broker repeats is answered once."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from config import LineConfig
from controller.clock import PacedClock
from controller.mes.connection import BrokerSettings, Connector, MqttClient, ReceivedMessage
from controller.mes.publisher import CommandDoor, Publisher
from controller.mes.topics import rfc3339
from tests.controller.mes.brokers import BROKERS, delivery, running
from tests.controller.mes.commanding import Mes, codes
from tests.virtual import Virtual, virtual_line

Data = dict[str, Any]

pytestmark = pytest.mark.timeout(60)


class Watched(Publisher):
    """Notes each command when it has come, before it waits for those before it."""

    came: list[bool]
    """Whether each was redelivered."""
    news: asyncio.Event

    async def _command(self, message: ReceivedMessage, before: asyncio.Task[None] | None) -> None:
        self.came.append(message.redelivered)
        self.news.set()
        await super()._command(message, before)

    async def has(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.came) < count:
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def served(virtual: Virtual, settings: BrokerSettings, door: CommandDoor) -> AsyncIterator[Watched]:
    line = virtual.line
    publisher = Watched(line.journal, settings, line.topics, line.clock.now, delivery(), door, line.stations)
    publisher.came, publisher.news = [], asyncio.Event()
    task = asyncio.create_task(publisher.run())
    try:
        yield publisher
        assert not task.done()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def replies_until(client: MqttClient, last: str) -> list[Data]:
    """What is answered until this id is; a repetition of a reply has its id, and is dropped as a MES drops it."""
    told: dict[tuple[str, str], Data] = {}
    async with asyncio.timeout(30):
        while not any(reply["data"]["cmd_id"] == last for reply in told.values()):
            message = await client.received()
            client.acknowledge(message)
            reply = json.loads(message.payload)
            told[reply["source"], reply["id"]] = reply
    return list(told.values())


def encoded(message: Data) -> bytes:
    return json.dumps(message).encode()


@pytest.mark.parametrize("name", BROKERS)
async def test_each_refusal_is_answered_where_it_can_be_and_audited(
    name: str, line_with: Callable[..., LineConfig], tmp_path: Path
) -> None:
    def change(data: Data) -> None:
        data["mes"] = {"actors": {"mes": ["hold", "reset", "acknowledge"], "viewer": ["acknowledge"]}}

    clock, config = PacedClock(), line_with(change=change)
    async with (
        running(name, tmp_path) as broker,
        virtual_line(clock, config) as virtual,
        Connector(broker.settings, "mes").connected() as client,
    ):
        mes, root = Mes(virtual, config.mes), virtual.line.topics.root
        now, skew = clock.now(), config.mes.clock_skew_s
        await client.subscribe_all(f"{root}/+/cmd/reply")

        async def send(cmd_id: str, command: str = "hold", station: str = "st01", **data: Any) -> None:
            await client.publish(f"{root}/{station}/cmd", encoded(mes.message(command, cmd_id=cmd_id, **data)))

        retained = encoded(mes.message("hold", cmd_id="retained", expires_at=rfc3339(now + 3600)))
        await client.publish(mes.topic, retained, retain=True)
        async with served(virtual, broker.settings, mes.door) as publisher:
            await publisher.has(1)  # after it, what comes is not retained any more
            await send("stale", issued_at=rfc3339(now - 3600), expires_at=rfc3339(now - 2 * skew))
            await send("future", issued_at=rfc3339(now + 2 * skew), expires_at=rfc3339(now + 3600))
            await send("unknown key", speed=3)  # no id has a space
            await send("malformed", speed=3)
            await client.publish(mes.topic, b"hold!")
            await send("oversized", reason="x" * 300_000)
            other = mes.message("hold", cmd_id="wrong-station", station="st02")
            await client.publish(mes.topic, encoded(other))
            await send("elsewhere", station="st99")
            await send("unauthorised", "acknowledge", actor="stranger")
            await send("too-much", "hold", actor="viewer")
            await send("local", "reset")
            again = encoded(mes.message("acknowledge", cmd_id="replayed"))
            for payload in (again, again):
                await client.publish(mes.topic, payload)
            await send("replayed", "reset")
            await send("last", "acknowledge")
            told = await replies_until(client, "last")
            await virtual.journal.flush()
            refusals = mes.refusals()
    answered = sorted((r["data"]["cmd_id"], r["data"]["status"], *codes(r["data"])) for r in told)
    assert answered == sorted([
        ("retained", "rejected", "E-CMD-RETAINED"), ("stale", "rejected", "E-CMD-EXPIRED"),
        ("future", "rejected", "E-CMD-FUTURE"), ("malformed", "rejected", "E-MSG-SCHEMA"),
        ("wrong-station", "rejected", "E-CMD-STATION"), ("elsewhere", "rejected", "E-CMD-STATION"),
        ("unauthorised", "rejected", "E-CMD-ACTOR"), ("too-much", "rejected", "E-CMD-ACTOR"),
        ("local", "rejected", "E-MODE"), ("replayed", "accepted"), ("replayed", "duplicate", "E-CMD-DUPLICATE"),
        ("replayed", "rejected", "E-CMD-REUSED"), ("last", "accepted"),
    ])  # fmt: skip
    audited = Counter(refusal["detail"]["code"] for refusal in refusals)
    assert audited == Counter([code for _, _, *reasons in answered for code in reasons]) + Counter(
        ["E-MSG-SCHEMA", "E-MSG-JSON", "E-MSG-SIZE"]
    )


async def test_what_the_broker_repeats_while_a_command_is_dealt_with_is_answered_once(
    line_with: Callable[..., LineConfig], tmp_path: Path
) -> None:
    """NATS delivers again after 2 s what is not acknowledged."""
    clock, config = PacedClock(), line_with()
    async with (
        running("nats", tmp_path) as broker,
        virtual_line(clock, config) as virtual,
        Connector(broker.settings, "mes").connected() as client,
    ):
        mes = Mes(virtual, config.mes)

        class Slow:
            """Takes nothing until the broker has lost its patience twice."""

            async def receive(self, topic: str, payload: bytes, *, retained: bool, redelivered: bool = False) -> None:
                await publisher.has(3)
                await mes.door.receive(topic, payload, retained=retained, redelivered=redelivered)

        async with served(virtual, broker.settings, Slow()) as publisher:
            assert await publisher.drained(30)
            await client.subscribe_all(virtual.line.topics.reply("+"))
            await client.publish(mes.topic, encoded(mes.message("acknowledge", cmd_id="slow")))
            await publisher.has(3)
            await client.publish(mes.topic, encoded(mes.message("acknowledge", cmd_id="last")))
            told = await replies_until(client, "last")
            await virtual.journal.flush()
            refusals = mes.refusals()
    assert publisher.came[:3] == [False, True, True]
    assert [(reply["data"]["cmd_id"], reply["data"]["status"]) for reply in told] == [
        ("slow", "accepted"), ("last", "accepted"),
    ]  # fmt: skip
    assert refusals == []
