"""Where the factory finds what: topic names, and the one place where messages get their envelope.

    <enterprise>/<site>/<area>/<line>/connection               retained; the last will says `broken`
    <enterprise>/<site>/<area>/<line>/{orders,wip,totals}      retained
    <enterprise>/<site>/<area>/<line>/<station>/connection     retained; the last will says `broken`
    <enterprise>/<site>/<area>/<line>/<station>/{info,state}   retained
    <enterprise>/<site>/<area>/<line>/<station>/event/<type>
    <enterprise>/<site>/<area>/<line>/<station>/result         once per run; closed by `result/ack` from the MES
    <enterprise>/<site>/<area>/<line>/<station>/cmd            from the MES; answered on `cmd/reply`
    <enterprise>/<site>/<area>/<line>/<station>/telemetry      QoS 0

A connection has one will: the line's serves for everything but the stations' `connection`; for that each has its own.
What the messages hold is in `messages.py`. Everything essential is in the payload, so MQTT 3.1.1 suffices.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel

from config.line import LineIdentity
from controller.journal.format import OutboxMessage
from controller.mes.messages import SCHEMA_OF, Acknowledgement, ConnectionData, ConnectionState, EventType

Data = Mapping[str, Any] | BaseModel

LIVE_FOR = 10.0  # s of line time after which live values mean nothing any more


class Topics:
    """The topic names and messages of one line.

    `numbers` are the newest sequence numbers by station, as `JournalReader.outbox_numbers` has them: each message that
    goes through the outbox takes the next one, and must be appended to the journal before another is made. `journal` is
    what tells its journal from others: one that replaces a lost one counts runs from 1 again, and a MES that keeps ids
    would take their results for repetitions.
    """

    def __init__(self, line: LineIdentity, numbers: Mapping[str, int] | None = None, journal: str = "") -> None:
        self.root = f"{line.enterprise}/{line.site}/{line.area}/{line.name}"
        self.client_id = "evaline-" + self.root.replace("/", "-")
        self.connection = f"{self.root}/connection"
        self.orders = f"{self.root}/orders"
        self.wip = f"{self.root}/wip"
        self.totals = f"{self.root}/totals"
        self._numbers, self._suffix = Counter(numbers), f".{journal}" if journal else ""

    def station_connection(self, station: str) -> str:
        """Where it is retained whether a station is there."""
        return f"{self.root}/{station}/connection"

    def state(self, station: str) -> str:
        """Where a station's state is retained."""
        return f"{self.root}/{station}/state"

    def info(self, station: str) -> str:
        """Where what a station is and can is retained."""
        return f"{self.root}/{station}/info"

    def telemetry(self, station: str) -> str:
        """Where a station's live values go."""
        return f"{self.root}/{station}/telemetry"

    def result(self, station: str) -> str:
        """Where a station's results go."""
        return f"{self.root}/{station}/result"

    def result_ack(self, station: str) -> str:
        """Where the MES says which results it has stored."""
        return f"{self.root}/{station}/result/ack"

    def command(self, station: str) -> str:
        """Where a station takes commands; `+` for all stations."""
        return f"{self.root}/{station}/cmd"

    def reply(self, station: str) -> str:
        """Where a station answers commands."""
        return f"{self.root}/{station}/cmd/reply"

    def event(self, station: str, kind: EventType) -> str:
        """Where a station's events of one kind go."""
        return f"{self.root}/{station}/event/{kind}"

    def station_of(self, topic: str) -> str:
        """The station that a topic belongs to; empty when it is none of this line's."""
        prefix, station = f"{self.root}/", topic.removeprefix(f"{self.root}/").split("/")[0]
        return station if topic.startswith(prefix) and "/" in topic.removeprefix(prefix) else ""

    # messages through the outbox

    def result_message(self, station: str, run: str, t: float, result: Data, order: str | None = None) -> OutboxMessage:
        """The message with a run's final result; its id follows from the run, so repeats are recognised."""
        actor = result.get("author") if isinstance(result, Mapping) else None
        return self._message(
            self.result(station), station, f"{run}.result", "evaline.result.v1", t, result, order or run, actor
        )

    def event_message(
        self, station: str, kind: EventType, id: str, t: float, data: Data,
        *, correlation: str | None = None, actor: str | None = None,
    ) -> OutboxMessage:  # fmt: skip
        """A message about something that happened; the id must be unique in the station and the same on every try."""
        return self._message(self.event(station, kind), station, id, f"evaline.{kind}.v1", t, data, correlation, actor)

    def reply_message(self, station: str, id: str, t: float, data: Data, *, correlation: str | None) -> OutboxMessage:
        """The answer to a command."""
        return self._message(self.reply(station), station, id, "evaline.reply.v1", t, data, correlation, None)

    def _message(
        self, topic: str, station: str, id: str, kind: str, t: float, data: Data,
        correlation: str | None, actor: str | None,
    ) -> OutboxMessage:  # fmt: skip
        self._numbers[station] += 1
        id += self._suffix
        payload = self.envelope(f"/{self.root}/{station}", id, kind, t, data, self._numbers[station],
                                correlation=correlation, actor=actor)  # fmt: skip
        return OutboxMessage(topic, payload, qos=1, retain=False, id=id)

    # messages of which only the newest counts

    def retained(
        self, station: str | None, kind: Literal["info", "state", "orders", "wip", "totals"], t: float, data: Data
    ) -> dict[str, Any]:
        """The payload that is retained about a station, or about the line; its sequence number is the newest one given
        by then, so that a reader sees whether the last messages have reached it."""
        source = f"/{self.root}/{station}" if station else f"/{self.root}"
        number = self._numbers[station] if station else None
        return self.envelope(source, f"{kind}.{t:.3f}", f"evaline.{kind}.v1", t, data, number)

    def connection_payload(self, state: ConnectionState, t: float, station: str | None = None) -> dict[str, Any]:
        """What is retained about a connection, the line's or a station's; that of a last will is as old as it."""
        source, id = f"/{self.root}/{station}" if station else f"/{self.root}", f"connection.{state}.{t:.3f}"
        return self.envelope(source, id, "evaline.connection.v1", t, ConnectionData(state=state), None)

    def telemetry_payload(self, station: str, t: float, data: Data) -> dict[str, Any]:
        """Live values; they have no sequence number, since their loss is allowed, and mean nothing after a while."""
        source, lasts_until = f"/{self.root}/{station}", rfc3339(t + LIVE_FOR)
        id, kind = f"telemetry.{t:.3f}", "evaline.telemetry.v1"
        return self.envelope(source, id, kind, t, data, None, expires=lasts_until)

    def acknowledgement(self, ids: list[str], t: float) -> dict[str, Any]:
        """What a MES answers to results that it has stored; for those who play one."""
        data = Acknowledgement(ids=ids, status="stored")
        return self.envelope("/mes", f"ack.{ids[0]}.{t:.3f}", "evaline.ack.v1", t, data, None)

    def envelope(
        self, source: str, id: str, kind: str, t: float, data: Data, number: int | None,
        *, correlation: str | None = None, expires: str | None = None, actor: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """CloudEvents 1.0 in structured JSON: every message of ours passes here."""
        optional = {
            "sequence": None if number is None else f"{number:010d}",
            "correlationid": correlation,
            "expirytime": expires,
            "actor": actor,
        }
        return {
            "specversion": "1.0",
            "id": id,
            "source": source,
            "type": kind,
            "time": rfc3339(t),
            "datacontenttype": "application/json",
            "dataschema": SCHEMA_OF[kind],
            **{name: value for name, value in optional.items() if value is not None},
            "data": data.model_dump(mode="json") if isinstance(data, BaseModel) else dict(data),
        }


def encoded(payload: Mapping[str, Any]) -> bytes:
    """A message as it is sent."""
    return json.dumps(payload, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


def rfc3339(t: float) -> str:
    """Unix seconds as UTC text with milliseconds, as MES developers expect it."""
    return datetime.fromtimestamp(t, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
