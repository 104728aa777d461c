"""Runs that a daemon left when it died: what was run, where it stood, and how it can go on.

Everything is read from the journal: the recipe's text as it was started, the steps in their order, the newest counters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from config import DocumentError, DutModel
from controller.engine import HOLD_BEGAN, HOLD_ENDED
from controller.journal import JournalReader, RunSummary, StoredEvent
from controller.journal.format import COVERS, canonical
from controller.mes.messages import Mode
from controller.outputs import RAMP_PAUSE, RAMP_STEPS
from controller.recipes import load_recipe, tables_of
from controller.requests import MEASURED
from controller.run import COUNTERS, OF_DUT, Job, Run, dut_of, forecast_of
from controller.start import Reason, StartRequest, reason
from controller.states import State
from controller.step_events import ENDED, STARTED, told_by
from sequences import (
    Context,
    Counters,
    Decision,
    FaultError,
    Finish,
    GradeRules,
    Measured,
    Program,
    ReplayError,
    Sample,
    StationLimits,
    StepRecord,
    StepStart,
    integrate,
)

RECIPE, RECOVERED, RESTARTED = "run.recipe", "run.recovered", "run.restarted"
# the most careful first: of several steps at work it counts
CAREFUL = ("abort", "restart", "repeat", "resume")
IN_WORDS = {
    "resume": "resume goes on in it",
    "repeat": "resume begins the step anew",
    "restart": "resume begins the recipe anew",
}
# V that a cell may have moved while nobody looked, and so much more for a current of 1C that has stopped meanwhile
RELAXES, RELAXES_AFTER_1C = 0.15, 0.15
# near its end an empty cell recovers by more than all others
RECOVERS, NEARLY_EMPTY = 0.45, 0.5

How = Literal["resume", "repeat", "restart"]


class NotTakenUpError(Exception):
    """Why a run that a daemon left cannot go on; empty when its recipe wants it so."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a run stood, by its newest records.

    `at` is when they were made, `since` when its clock stopped: unix s. `held` and `away`, s, are its holds and its
    earlier interruptions. `current`, A, has flowed on from `counted_to`, unix s, at `voltage`, V.
    """

    at: float
    since: float
    held: float
    away: float
    counters: Counters
    current: float
    voltage: float
    counted_to: float


@dataclass
class LeftRun:
    """A run to be taken up. `newest` is its newest sample by the names of its columns."""

    run: Run
    request: StartRequest
    how: How
    finish: Finish | None
    position: Position
    newest: Mapping[str, float]
    told: int
    counters: Counters = field(init=False)
    flowed_for: float | None = None

    def __post_init__(self) -> None:
        self.counters = self.position.counters

    @property
    def elapsed(self) -> float:
        """Time of the run that the safety counts, s."""
        return self.position.at - self.run.started - self.position.away

    def estimate(self, still_on: bool, now: float, watchdog: float) -> None:
        """Count what flowed after the newest record: until the cycler's watchdog (s) switched off, or, where it is
        still on, until now and on the ramp to zero that comes next."""
        if self.flowed_for is not None:
            return
        p = self.position
        gone = max(0.0, now - p.counted_to)
        ramp = sum(share * RAMP_PAUSE for share in RAMP_STEPS)
        self.flowed_for = (gone + ramp if still_on else min(gone, watchdog)) if p.current else 0.0
        point = (p.current, p.voltage)
        self.counters = integrate(p.counters, p.counted_to, *point, p.counted_to + self.flowed_for, *point)

    @property
    def body(self) -> dict[str, Any]:
        """For the journal, with the estimate."""
        p = self.position
        return {
            "on_interrupt": self.how,
            "steps": [leaf.label for leaf in self.run.program.active],
            "at": p.at,
            "since": p.since,
            "counters": asdict(self.counters),
            "estimated": {
                "current_a": p.current,
                "seconds": self.flowed_for or 0.0,
                "charge_ah": self.counters.net_ah - p.counters.net_ah,
                "energy_wh": self.counters.net_wh - p.counters.net_wh,
            },
        }

    @property
    def notice(self) -> str:
        steps = " and ".join(leaf.label for leaf in self.run.program.active) or "a hold of its recipe"
        estimate = self.counters.net_ah - self.position.counters.net_ah
        counted = f", with an estimated {estimate:.4f} Ah counted in" if estimate else ""
        return f"the daemon died in run {self.run.id} in {steps}; {IN_WORDS[self.how]}{counted}, or abort"

    def begin_anew(self) -> dict[str, Any]:
        """The recipe from its beginning, with what is known of the battery; returns this for the journal."""
        run, context = self.run, self.run.program.context
        body = {
            "capacity_ah": context.capacity,
            "soc": context.state_of_charge(self.counters),
            "soc_at_ah": self.counters.net_ah,
            "first": run.program.next_index,
        }
        _begin(run, body)
        run.records.clear()
        run.interim.clear()
        return body


def recipe_body(run: Run, request: StartRequest) -> dict[str, Any]:
    """What a run needs to be taken up by another daemon, besides its identity."""
    limits = run.limits
    return {
        "text": request.recipe_text,
        "source": request.recipe_source,
        "tables": dict(request.tables),
        "parameters": dict(request.parameters),
        "reason": request.reason,
        "model": run.model.id,
        "model_sha256": _digest(run.model),
        "capacity_ah": run.capacity_estimate,
        "soc": run.soc,
        "limits": {
            "max_voltage": limits.max_voltage,
            "max_charge_current": limits.max_charge_current,
            "max_discharge_current": limits.max_discharge_current,
            "max_power": limits.max_power,
            "capabilities": {role: sorted(able) for role, able in limits.capabilities.items()},
        },
    }


def left_run(
    journal: JournalReader, summary: RunSummary, models: Mapping[str, DutModel], rules: GradeRules, now: float
) -> LeftRun:
    """A run without a result, ready to be taken up; raises NotTakenUpError. Takes seconds: call it in a thread."""
    try:
        return _left_run(journal, summary, models, rules, now)
    except (KeyError, TypeError, ValueError) as error:
        raise NotTakenUpError(f"the journal tells of it in another form ({type(error).__name__}: {error})") from None


def _left_run(
    journal: JournalReader, summary: RunSummary, models: Mapping[str, DutModel], rules: GradeRules, now: float
) -> LeftRun:
    history = journal.history(summary.run)
    _refuse_what_was_ending(history)
    started = next((event for event in history if event.kind == "run.started"), None)
    recipe = next((event for event in history if event.kind == RECIPE), None)
    if started is None or recipe is None:
        raise NotTakenUpError("the journal does not have its recipe")
    restart = next((event for event in reversed(history) if event.kind == RESTARTED), None)
    since_restart = [event for event in history if restart is None or event.seq > restart.seq]
    request = _request(started.body, recipe.body)
    run = _run(summary, request, started, recipe.body, models, rules)
    if restart is not None:
        _begin(run, restart.body)
    story = [told for event in since_restart if (told := told_by(event)) is not None]
    finish, how = _replay(run, story, anew=restart is not None)
    run.records += [told for told in story if isinstance(told, StepRecord)]
    run.alarms += [_without_covers(event.body) for event in history if event.kind == "alarm"]
    for event in since_restart:
        if event.kind == MEASURED:
            run.interim |= {name: value and Measured(**value) for name, value in event.body["measurements"].items()}
    newest = journal.newest_sample(summary.run)
    position = _position(run.started, _with_sample(history, newest))
    if now < position.at:
        raise NotTakenUpError("the clock stands before its newest records")
    told_events = sum(event.kind.startswith("told.") for event in history)
    return LeftRun(run, request, how, finish, position, newest[1] if newest else {}, told_events)


def _without_covers(body: Mapping[str, Any]) -> dict[str, Any]:
    """As it was appended: the digests in it are the journal's own."""
    return {key: value for key, value in body.items() if key != COVERS}


def _refuse_what_was_ending(history: list[StoredEvent]) -> None:
    states = [event.body for event in history if event.kind == "state"]
    if states and states[-1]["to"] in (State.ABORTING.name, State.STOPPING.name):
        raise NotTakenUpError(f"it was being ended: {states[-1]['reason']}")
    for event in history:
        if event.kind == "alarm" and event.body["trip"]:
            raise NotTakenUpError(f"it was being ended: {event.body['message']}")


def _request(started: Mapping[str, Any], recipe: Mapping[str, Any]) -> StartRequest:
    return StartRequest(
        recipe_text=recipe["text"],
        recipe_source=recipe["source"],
        code=started["dut"],
        author=started["author"],
        reason=recipe["reason"],
        parameters=recipe["parameters"],
        tables=recipe["tables"],
        job=Job(
            Mode(started.get("mode", Mode.LOCAL)),
            started.get("order"),
            started.get("operation"),
            **{key: started.get(key) for key in OF_DUT},
        ),
    )


def _run(
    summary: RunSummary, request: StartRequest, started: StoredEvent, body: Mapping[str, Any],
    models: Mapping[str, DutModel], rules: GradeRules,
) -> Run:  # fmt: skip
    model = models.get(body["model"])
    if model is None:
        raise NotTakenUpError(f"there is no battery model {body['model']} any more")
    if _digest(model) != body["model_sha256"]:
        raise NotTakenUpError(f"the battery model {model.id} is another one now")
    try:
        tables = tables_of(request.tables)
        recipe, _ = load_recipe(request.recipe_text, request.recipe_source, request.parameters, tables, dut_of(model))
    except (DocumentError, FaultError) as error:
        raise NotTakenUpError(f"its recipe cannot be read any more: {error}") from None
    if recipe.content_hash != started.body["hash"]:
        raise NotTakenUpError("a recipe that it calls is another one now")
    stands = dict(body["limits"])
    able = {role: frozenset(capabilities) for role, capabilities in stands.pop("capabilities").items()}
    limits = StationLimits(**stands, capabilities=able)
    return Run(
        id=summary.run,
        station=summary.station,
        code=request.code,
        model=model,
        recipe=recipe,
        author=request.author,
        reason=request.reason,
        limits=limits,
        started=started.t,
        capacity_estimate=body["capacity_ah"],
        soc=body["soc"],
        forecast=forecast_of(recipe, model, limits, body["soc"], body["capacity_ah"], rules=rules),
        job=request.job,
        was_left=True,
    )


def _begin(run: Run, body: Mapping[str, Any]) -> None:
    """A fresh program whose context starts from this knowledge."""
    context = Context(run.dut, body["capacity_ah"], body["soc"], run.limits.roles, soc_at=body["soc_at_ah"])
    run.program = Program(run.recipe, context, body["first"])


def _replay(run: Run, story: list[StepStart | StepRecord | Decision], *, anew: bool) -> tuple[Finish | None, How]:
    """Bring the run's program to where it was; how it ended, if it had, and how it goes on."""
    if not story:
        if anew:
            return None, "restart"
        raise NotTakenUpError("no step of it had begun")
    try:
        finish = run.program.replay(story)
    except ReplayError as error:
        raise NotTakenUpError(f"what the journal tells does not fit its recipe: {error}") from None
    if finish is not None:
        return finish, "resume"
    how = min((step.on_interrupt for step in run.program.stands_in), key=CAREFUL.index)
    if how == "abort":
        raise NotTakenUpError
    return None, how


def _with_sample(history: Iterable[StoredEvent], newest: tuple[int, Mapping[str, float]] | None) -> list[StoredEvent]:
    """The newest sample among the events, in its place, as if it were counters."""
    events = list(history)
    if newest is not None:
        seq, row = newest
        counters = {name: row[name] for name in asdict(Counters())}
        body = {"counters": counters, "current": row.get("current"), "voltage": row.get("voltage")}
        events.append(StoredEvent(row["t"], "", "", COUNTERS, body, seq, ""))
    return sorted(events, key=lambda event: event.seq)


def _position(started: float, events: Iterable[StoredEvent]) -> Position:
    at = counted_to = started
    held = away = current = voltage = 0.0
    counters = Counters()
    stopped: float | None = None  # when the run's clock did
    left_at: float | None = None  # when a daemon died
    for event in events:
        body = event.body
        if event.kind == HOLD_BEGAN:
            stopped = body["since"]
        elif event.kind == HOLD_ENDED:
            held, stopped = body["held_s"], None
            away += 0.0 if left_at is None else event.t - left_at
            left_at = None
        elif event.kind == RECOVERED:
            stopped, left_at, current = body["since"], body["at"], 0.0
            counters = Counters(**body["counters"])
        elif event.kind == "setpoint":
            at = max(at, event.t)
            counted_to, voltage = event.t, body["voltage_v"] or voltage
            wanted = body["current_a"]
            # where the voltage is held, less flows than is wanted
            current = min(wanted, current, key=abs) if wanted * current > 0 else wanted
        elif event.kind in (STARTED, ENDED, COUNTERS):
            at = max(at, event.t)
            counted_to, counters = event.t, Counters(**body["counters"])
            current = current if body.get("current") is None else body["current"]
            voltage = body.get("voltage") or voltage
    since = at if stopped is None else stopped
    return Position(at if left_at is None else left_at, since, held, away, counters, current, voltage, counted_to)


def reasons_against_going_on(left: LeftRun, latest: Sample | None) -> Iterator[Reason]:
    """What says that this is not the battery as it was left; besides everything that is said against a start."""
    dut = left.run.dut
    apart = RELAXES + RELAXES_AFTER_1C * abs(left.newest.get("current", 0.0)) / dut.rated_capacity
    for name in ("cell_min", "cell_max"):
        before, now = left.newest.get(name), latest.good(name) if latest else None
        if before is None or now is None:
            continue
        up = apart + RECOVERS if before < dut.cell_voltage_min + NEARLY_EMPTY else apart
        if not before - apart <= now <= before + up:
            message = (
                f"{name} is {now:.3f} V, and was {before:.3f} V when the daemon died",
                f"{name} 이(가) {now:.3f} V 입니다. 데몬이 종료될 때는 {before:.3f} V 였습니다",
            )
            hint = (
                "put back the battery of this run, or abort it",
                "이 실행의 배터리를 다시 놓거나 실행을 중단(abort)하십시오",
            )
            yield reason("E-DUT-MISMATCH", message, hint)


def _digest(model: DutModel) -> str:
    return hashlib.sha256(canonical(model.model_dump(mode="json", by_alias=True)).encode()).hexdigest()
