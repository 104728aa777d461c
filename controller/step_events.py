"""What a program tells of its steps, as events of the journal, and back from there."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from controller.journal import Event
from sequences import Begun, Counters, Decision, Knowledge, Route, StepRecord, StepStart, Verdict

STARTED, ENDED, DECIDED = "step.started", "step.ended", "step.decided"


def step_event(told: Begun | StepRecord | Decision, station: str, run: str, now: float) -> Event:
    """The event; a decision has no moment of its own and takes this one, unix s."""
    match told:
        case Begun():
            start = told.start
            body: dict[str, Any] = {"step": told.index, "label": told.label, "kind": told.kind}
            body |= {"run_time_s": start.t, "counters": asdict(start.counters)}
            return Event(start.at, station, run, STARTED, body)
        case Decision():
            return Event(now, station, run, DECIDED, {"label": told.label, "taken": told.taken})
        case StepRecord():
            return Event(told.ended, station, run, ENDED, _body(told))


def told_by(event: Event) -> StepStart | StepRecord | Decision | None:
    """What an event tells of a program; None for other events. Raises KeyError or ValueError for another format."""
    body = event.body
    if event.kind == STARTED:
        return StepStart(body["step"], body["label"], event.t, body["run_time_s"], Counters(**body["counters"]))
    if event.kind == DECIDED:
        return Decision(body["label"], body["taken"])
    return _record(event) if event.kind == ENDED else None


def _body(record: StepRecord) -> dict[str, Any]:
    return {
        "step": record.index,
        "name": record.name,
        "label": record.label,
        "kind": record.kind,
        "scope": record.scope,
        "started": record.started,
        "reason": record.reason,
        "complete": record.complete,
        "verdict": str(record.verdict),
        "route": record.route.text,
        "charge_ah": record.charge,
        "energy_wh": record.energy,
        "counters": asdict(record.counters),
        "values": dict(record.values),
        "readings": {name: list(values) for name, values in record.readings.items()},
        "measured": dict(record.measured),
        "known": record.known and asdict(record.known),
    }


def _record(event: Event) -> StepRecord:
    body = event.body
    return StepRecord(
        index=body["step"],
        name=body["name"],
        label=body["label"],
        started=body["started"],
        ended=event.t,
        reason=body["reason"],
        complete=body["complete"],
        readings={name: tuple(values) for name, values in body["readings"].items()},
        kind=body["kind"],
        scope=body["scope"],
        verdict=Verdict(body["verdict"]),
        charge=body["charge_ah"],
        energy=body["energy_wh"],
        values=body["values"],
        route=Route.parse(body["route"]),
        counters=Counters(**body["counters"]),
        measured=body["measured"],
        known=body["known"] and Knowledge(**body["known"]),
    )
