"""What the factory sees over MQTT: topic names and payloads, all in this place.

    <enterprise>/<site>/<area>/<line>/connection               retained; the last will says `broken`
    <enterprise>/<site>/<area>/<line>/<station>/state          retained
    <enterprise>/<site>/<area>/<line>/<station>/result         CloudEvents, once per run
    <enterprise>/<site>/<area>/<line>/<station>/event/<type>   CloudEvents

Everything essential is in the payload, so MQTT 3.1.1 suffices.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from config.line import LineIdentity
from controller.journal_format import OutboxMessage

_KIND = re.compile(r"[a-z0-9][a-z0-9_.-]*")


class Payload(BaseModel):
    """A JSON payload; readers must expect further keys in later versions."""

    model_config = ConfigDict(frozen=True)


class Connection(Payload):
    """Whether the daemon talks to the broker: `offline` after a clean stop, `broken` when it vanished."""

    schema_version: Literal["evaline/connection/1"] = "evaline/connection/1"
    state: Literal["online", "offline", "broken"]


class StationState(Payload):
    """What a station does now. The state is PackML's word; the time is line time, RFC 3339."""

    schema_version: Literal["evaline/state/1"] = "evaline/state/1"
    state: str
    time: str
    cause: str | None = None
    run: str | None = None
    step: str | None = None
    alarms: list[str] = []


class CloudEvent(Payload):
    """CloudEvents 1.0 in structured JSON; source and id together name the event once and for all."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str
    type: str
    time: str
    datacontenttype: Literal["application/json"] = "application/json"
    data: dict[str, Any]


class Topics:
    """The topic names and messages of one line."""

    def __init__(self, line: LineIdentity) -> None:
        self.root = f"{line.enterprise}/{line.site}/{line.area}/{line.name}"
        self.connection = f"{self.root}/connection"

    def state(self, station: str) -> str:
        """Where a station's state is retained."""
        return f"{self.root}/{station}/state"

    def result(self, station: str) -> str:
        """Where a station's results go."""
        return f"{self.root}/{station}/result"

    def event(self, station: str, kind: str) -> str:
        """Where a station's events of one kind go; ValueError for a kind that some broker would choke on."""
        if not _KIND.fullmatch(kind):
            raise ValueError(f"event kind {kind!r} is not made of a-z 0-9 _ - .")
        return f"{self.root}/{station}/event/{kind}"

    def result_message(self, station: str, run: str, t: float, result: dict[str, Any]) -> OutboxMessage:
        """The message with a run's final result; its id follows from the run, so repeats are recognised."""
        return self._message(self.result(station), station, f"{run}.result", "evaline.result.v1", t, result)

    def event_message(self, station: str, kind: str, id: str, t: float, data: dict[str, Any]) -> OutboxMessage:
        """A message about something that happened; the id must be unique in the station and the same on every try."""
        return self._message(self.event(station, kind), station, id, f"evaline.{kind}.v1", t, data)

    def _message(self, topic: str, station: str, id: str, kind: str, t: float, data: dict[str, Any]) -> OutboxMessage:
        event = CloudEvent(id=id, source=f"/{self.root}/{station}", type=kind, time=rfc3339(t), data=data)
        return OutboxMessage(topic, event.model_dump(mode="json"), qos=1, retain=False, id=id)


def rfc3339(t: float) -> str:
    """Unix seconds as UTC text with milliseconds, as MES developers expect it."""
    return datetime.fromtimestamp(t, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
