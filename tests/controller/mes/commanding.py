"""The MES of a virtual line: commands as it writes them, and what the line answered."""

from __future__ import annotations

import itertools
import json
import sqlite3
from contextlib import closing
from typing import Any

from config.line import MesConfig
from controller.mes.commands import CommandDoor
from controller.mes.topics import rfc3339
from tests.virtual import CODE, Virtual

_numbers = itertools.count(1)


class Mes:
    """Talks to a virtual line through its door, as the connection does."""

    def __init__(self, virtual: Virtual, config: MesConfig | None = None) -> None:
        line = virtual.line
        self.virtual, self.topic = virtual, line.topics.command("st01")
        self.door = CommandDoor(
            line.stations, line.orders, line.journal, line.topics, line.clock, config or MesConfig()
        )  # fmt: skip

    def message(self, command: str | None = None, **data: Any) -> dict[str, Any]:
        """A command as it should be; `data` adds to it or takes its place."""
        now = self.virtual.clock.now()
        body = {
            "command": command, "cmd_id": f"c{next(_numbers)}", "issued_at": rfc3339(now),
            "expires_at": rfc3339(now + 60), "actor": "mes",
        }  # fmt: skip
        envelope = {"specversion": "1.0", "id": "m1", "source": "/mes", "type": "evaline.cmd.v1"}
        return envelope | {"data": body | data}

    async def says(self, command: str, *, retained: bool = False, **data: Any) -> dict[str, Any]:
        """Send a command; the data of its one reply."""
        return await self.sends(json.dumps(self.message(command, **data)).encode(), retained=retained)

    async def sends(
        self, payload: bytes, *, retained: bool = False, topic: str = "", redelivered: bool = False
    ) -> dict[str, Any]:
        """Send any bytes; the data of the one reply, which must be durable by then."""
        before = len(self.replies())
        await self.door.receive(topic or self.topic, payload, retained=retained, redelivered=redelivered)
        (reply,) = self.replies()[before:]
        data: dict[str, Any] = reply["data"]
        return data

    async def is_not_answered(
        self, payload: bytes, *, topic: str = "", retained: bool = False, redelivered: bool = False
    ) -> None:
        before = self.replies()
        await self.door.receive(topic or self.topic, payload, retained=retained, redelivered=redelivered)
        await self.virtual.journal.flush()
        assert self.replies() == before

    def sent(self, suffix: str) -> list[dict[str, Any]]:
        """Everything durable for a topic that ends so, in order."""
        path = self.virtual.journal.path
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT payload FROM outbox WHERE topic LIKE ? ORDER BY seq", (f"%{suffix}",))
            return [json.loads(text) for (text,) in rows]

    def replies(self) -> list[dict[str, Any]]:
        return self.sent("/cmd/reply")

    def jobs(self) -> list[tuple[str | None, str]]:
        """Orders and the states they came into."""
        return [(event["data"]["order"], event["data"]["state"]) for event in self.sent("/event/job")]

    def refusals(self) -> list[dict[str, Any]]:
        """What the audit trail says was refused."""
        entries = self.virtual.journal.events(kind="audit", limit=100_000)
        return [entry.body for entry in entries if entry.body["action"] == "command refused"]


def order(order_id: str = "WO-1", **other: Any) -> dict[str, Any]:
    """A work order for the battery that is on the station."""
    return {"order_id": order_id, "dut": CODE, "recipe": "short"} | other


def codes(reply: dict[str, Any]) -> list[str]:
    return [reason["code"] for reason in reply["reasons"]]
