"""What a station writes to the journal: events, audit entries, alarms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from controller.clock import Clock
from controller.journal import AuditEntry, Event, Journal, OutboxMessage
from controller.mes.messages import JobChanged, JobState
from controller.mes.topics import Topics
from controller.run import Run
from controller.safety import Alarm


class StationRecords:
    """One station's pen. `run` is the active run, to which an entry then belongs."""

    def __init__(self, station: str, clock: Clock, journal: Journal, topics: Topics) -> None:
        self._station, self._clock, self._journal, self._topics = station, clock, journal, topics
        self._alarm_count = 0

    def note(
        self, run: Run | None, kind: str, body: dict[str, Any], events: Sequence[Event] = (),
        messages: Sequence[OutboxMessage] = (),
    ) -> None:  # fmt: skip
        """An event; further ones and messages become durable with it."""
        event = Event(self._clock.now(), self._station, run.id if run else "", kind, body)
        self._journal.append_together([event, *events], messages)

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
        order = (run.job.order_id or run.id) if run else None
        message = self._topics.event_message(self._station, "alarm", message_id, t, body, correlation=order)
        self._journal.append(Event(t, self._station, run.id if run else "", "alarm", body), [message])
        return body

    def acknowledged(self, run: Run | None, codes: list[str], author: str) -> None:
        """Somebody took note of alarms."""
        t, body = self._clock.now(), {"codes": codes, "author": author}
        self._alarm_count += 1
        id = f"{self._station}.acknowledged.{t:.3f}.{self._alarm_count}"
        message = self._topics.event_message(self._station, "acknowledged", id, t, body, actor=author)
        self.note(run, "alarm.acknowledged", body, messages=[message])
        self.audit(run, author, "acknowledge", "", {"station": self._station, "codes": codes})

    def result(self, run: Run, ended: float, result: dict[str, Any]) -> None:
        """A run's one result with its messages, as one transaction."""
        body = {"verdict": result["verdict"], "grade": result["grade"]}
        order = run.job.order_id
        job = JobChanged(
            order=order, run=run.id, state=JobState(result["job_state"]), reason=result["outcome"]["reason"]
        )
        messages = [
            self._topics.result_message(self._station, run.id, ended, result, order),
            self._topics.event_message(
                self._station,
                "job",
                f"{run.id}.job.ended",
                ended,
                job,
                correlation=order or run.id,
                actor=result["outcome"].get("author"),
            ),
        ]
        audit = AuditEntry(ended, run.author, "result", run.reason, {"run": run.id, **body})
        event = Event(ended, self._station, run.id, "run.ended", body)
        self._journal.commit_result(event, result, messages, audit)
