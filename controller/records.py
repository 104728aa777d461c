"""What a station writes to the journal: events, audit entries, alarms."""

from __future__ import annotations

from typing import Any

from controller.clock import Clock
from controller.journal import AuditEntry, Event, Journal
from controller.mes.topics import Topics
from controller.run import Run
from controller.safety import Alarm


class StationRecords:
    """One station's pen. `run` is the active run, to which an entry then belongs."""

    def __init__(self, station: str, clock: Clock, journal: Journal, topics: Topics) -> None:
        self._station, self._clock, self._journal, self._topics = station, clock, journal, topics
        self._alarm_count = 0

    def note(self, run: Run | None, kind: str, body: dict[str, Any]) -> None:
        self._journal.append(Event(self._clock.now(), self._station, run.id if run else "", kind, body))

    def audit(self, run: Run | None, author: str, action: str, reason: str, detail: dict[str, Any]) -> None:
        entry = AuditEntry(self._clock.now(), author, action, reason, detail)
        self._journal.audit(entry, self._station, run.id if run else "")

    def alarm(self, run: Run | None, alarm: Alarm) -> dict[str, Any]:
        """Journal an alarm with its message to the MES; returns it as people see it."""
        t = self._clock.now()
        body = {"code": alarm.code, "message": alarm.message, "trip": alarm.trip, "t": t}
        if run is not None:
            run.alarms.append(body)
        self._alarm_count += 1
        message_id = f"{run.id if run else self._station}.alarm.{t:.3f}.{self._alarm_count}"
        message = self._topics.event_message(self._station, "alarm", message_id, t, body)
        self._journal.append(Event(t, self._station, run.id if run else "", "alarm", body), [message])
        return body
