"""One run of a step that holds no others: its clock, its ends, its requests, its record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sequences import inquiries, runs
from sequences.actions import Action, Answer, Drive, Ended, NoCurrent, Request, WorkOut
from sequences.condition import End, Watch
from sequences.expression import coherent
from sequences.record import Knowledge, StepRecord
from sequences.replay import ReplayError, Story
from sequences.safety import Safety
from sequences.sample import Counters
from sequences.step import (
    Acir,
    Cc,
    CcCv,
    Check,
    Compute,
    Cp,
    Cr,
    Cv,
    Eis,
    GoToSoc,
    GradeNow,
    Identify,
    Inspect,
    Insulate,
    Measure,
    Ocv,
    Profile,
    Prompt,
    Publish,
    Pulse,
    Python,
    Record,
    Rest,
    SetPoint,
    SetTemperature,
    WaitUntil,
)
from sequences.turn import BEFORE, Done, Moment, Place, Result, TakeUp
from sequences.verdict import Verdict
from sequences.view import View

if TYPE_CHECKING:
    from sequences.program import Program


FULL_WITHIN = 0.02  # V of a cell's highest voltage at which a held charge has filled the battery
EMPTY_WITHIN = 0.02  # V of a cell's lowest voltage at which a discharge has emptied it

_RUNS: dict[type, Callable[[Any], Any]] = {
    Rest: runs.RestRun,
    WaitUntil: runs.WaitUntilRun,
    Cc: runs.CcRun,
    Cv: runs.CcCvRun,
    CcCv: runs.CcCvRun,
    Cp: runs.CpRun,
    Cr: runs.CrRun,
    Pulse: runs.PulseRun,
    GoToSoc: runs.GoToSocRun,
    Profile: runs.ProfileRun,
    Acir: inquiries.AcirRun,
    Ocv: inquiries.OcvRun,
    Eis: inquiries.EisRun,
    Insulate: inquiries.InsulateRun,
    Identify: inquiries.IdentifyRun,
    Prompt: inquiries.PromptRun,
    Inspect: inquiries.InspectRun,
    SetTemperature: inquiries.SetTemperatureRun,
    SetPoint: inquiries.SetPointRun,
    GradeNow: inquiries.GradeRun,
    Python: inquiries.PythonRun,
    Check: inquiries.CheckRun,
}
_NAMING: dict[type, Callable[[Any, Mapping[str, str]], Any]] = {
    Measure: inquiries.MeasureRun,
    Publish: inquiries.PublishRun,
    Compute: inquiries.ComputeRun,
}


def run_of(step: Any, dimensions: Mapping[str, str] | None = None) -> runs.StepRun:
    """A fresh run of a step; `dimensions` of the names that its recipe knows."""
    kind = type(step)
    run: runs.StepRun = _NAMING[kind](step, dimensions or {}) if kind in _NAMING else _RUNS[kind](step)
    return run


class LeafNode:
    """One run of a step that holds no others: its clock, its ends, its record."""

    def __init__(self, program: Program, step: Any, place: Place) -> None:
        self.step, self.owns_cycler = step, place.owns_cycler
        self._program, self._place = program, place
        self._dimensions = program.dimensions(place)
        self._logic = run_of(step, self._dimensions)
        ends = list(getattr(step, "ends", []))
        if isinstance(step, WaitUntil):
            ends.append(End(when=step.condition))
        self._watches = [Watch(end) for end in ends]
        self._waiting_for: dict[int, Action] = {}
        self.interrupted: TakeUp | None = None
        self._began: float | None = None
        self._counters = Counters()
        self._started = 0.0
        self.index = 0

    @property
    def label(self) -> str:
        return self._place.label(self.step.name)

    @property
    def own_safeties(self) -> list[Safety]:
        """The safety blocks that hold while it runs besides the run's: of called recipes, and the narrowings by it and
        by the steps around it."""
        return list(self._place.safeties)

    @property
    def record(self) -> Record | None:
        """Which of its samples are kept, as it says or the nearest step around it that does."""
        return self._place.record

    @property
    def parks(self) -> bool:
        """Whether contactors open in a hold, because it says so or a step around it."""
        return self._place.parks

    @property
    def phase(self) -> str:
        return self._logic.phase

    @property
    def sample_period(self) -> float | None:
        return self._logic.sample_period

    def step_time(self, t: float) -> float:
        return 0.0 if self._began is None else round(t - self._began, 6)  # Unix seconds in a double: 0.2 us

    def start(self, now: Moment) -> Result:
        start = self._program.begin(self, self.label, now)
        self.index, self._counters, self._started = start.index, start.counters, start.at
        if self._program.story is not None:
            self._began = start.t
            return self._recall(self._program.story)
        if self.owns_cycler:
            self._program.rates.forget()
        reaction = self._logic.start(self._view(now, None))
        if not (self.owns_cycler and isinstance(reaction, Drive | NoCurrent)):
            self._began = now.t  # nothing is switched for it
        return self._react(reaction, now)

    def update(self, now: Moment) -> Result:
        if self._program.story is not None:
            return self._recall(self._program.story)
        if self.interrupted is not None:
            return self._take_up(now)
        if self._began is None:  # its clock starts when its current flows
            self._began, self._started = now.t, now.sample.t
        answer = next((now.answers[key] for key in self._waiting_for if key in now.answers), None)
        if answer is not None:
            self._waiting_for.clear()
        elif self._waiting_for and not self._watches and not self._overdue(now):
            return None  # nothing to think about until its request is answered
        view = self._view(now, answer)
        reaction, met = self._logic.update(view), self._end_met(view)
        # an end that leads elsewhere is heeded even when the step ends by itself at that moment
        if met is not None and (met.route.kind != "next" or not isinstance(reaction, Ended)):
            reaction = met
        elif not isinstance(reaction, Ended):
            reaction = self._overdue(now) or reaction
        return self._react(reaction, now)

    def _recall(self, story: Story) -> Result:
        """What happened to it before: its end, another beginning, or nothing so far."""
        if story.starts_again(self.label):
            self._program.active.remove(self)
            return self.start(BEFORE)
        if (record := story.end_of(self.index)) is None:
            return None
        context = self._program.context
        self._set(record.values)
        context.measured |= record.measured
        if (known := record.known) is not None:
            context.capacity, context.soc, context.soc_at = known.capacity, known.soc, known.soc_at
            context.full_at, context.grade_certain = known.full_at, known.grade_certain
        self._program.end(self, record)
        return Done(record.route, record.verdict, record.reason, self.label)

    def _take_up(self, now: Moment) -> Result:
        """Go on in it, or begin it anew: it was interrupted."""
        how, self.interrupted = self.interrupted, None
        if how == "repeat":
            self._program.active.remove(self)
            self._began = None
            return self.start(now)
        # what was to be judged at a moment of its past was judged then
        self._watches = [w for w in self._watches if w.end.at is None or w.end.at > self.step_time(now.t)]
        # which way it went was found by the charge it began with
        view = self._view(replace(now, sample=replace(now.sample, counters=self._counters)), None)
        return self._react(self._logic.start(view), now)

    def cancel(self, now: Moment, why: str) -> None:
        if self._program.story is not None:
            if self._recall(self._program.story) is None:
                raise ReplayError(f"nothing is told of the end of {self.label}")
            return
        self._take_back()
        if self.step.drives and self.owns_cycler:
            self._program.direct(NoCurrent())
        self._close(Ended(why, complete=False), now)

    def _view(self, now: Moment, answer: Answer | None) -> View:
        return self._program.view(now, self.step_time(now.t), self._counters, answer)

    def _end_met(self, view: View) -> Ended | None:
        if not self._logic.ends_apply:
            return None
        for end in [watch.end for watch in self._watches if watch.met(view, view.step_time)]:
            verdict = Verdict.FAIL if end.then.kind == "fail" else Verdict.PASS
            return Ended(end.when.text, verdict=verdict, route=end.then)
        return None

    def _overdue(self, now: Moment) -> Ended | None:
        longest = getattr(self.step, "max_time", None)
        if longest is None or self.step_time(now.t) < longest:
            return None
        return Ended(f"maximum time of {longest:g} s", complete=False, verdict=Verdict.INCONCLUSIVE)

    def _react(self, reaction: runs.Reaction, now: Moment) -> Result:
        match reaction:
            case None:
                pass
            case Ended():
                self._take_back()
                return self._close(reaction, now)
            case Drive() | NoCurrent():
                if self.owns_cycler:
                    self._program.direct(reaction)
            case WorkOut():
                self._ask(replace(reaction, scope=self._place.scope))
            case _:
                self._ask(reaction)
        return None

    def _ask(self, request: Request) -> None:
        self._waiting_for[self._program.direct(request)] = request

    def _take_back(self) -> None:
        for key, action in self._waiting_for.items():
            self._program.take_back(key, action)
        self._waiting_for.clear()

    def _close(self, ended: Ended, now: Moment) -> Done:
        self._learn(ended, now)
        context, counters = self._program.context, now.sample.counters
        names = self.step.measurements if isinstance(self.step, Measure) else []
        route = ended.route
        if ended.verdict is Verdict.ERROR:
            route = self.step.on_error
        elif ended.verdict is not Verdict.PASS:
            route = self.step.on_fail
        record = StepRecord(
            index=self.index,
            name=self.step.name,
            label=self.label,
            started=self._started,
            ended=now.sample.t,
            reason=ended.reason,
            complete=ended.complete,
            readings=ended.readings,
            kind=self.step.step,
            scope=self._place.scope,
            verdict=ended.verdict,
            charge=counters.net_ah - self._counters.net_ah,
            energy=counters.net_wh - self._counters.net_wh,
            values=ended.values,
            route=route,
            counters=counters,
            measured={name: context.measured[name] for name in names if name in context.measured},
            known=Knowledge(context.capacity, context.soc, context.soc_at, context.full_at, context.grade_certain),
        )
        self._program.end(self, record)
        return Done(route, ended.verdict, ended.reason, self.label)

    def _learn(self, ended: Ended, now: Moment) -> None:
        """Take over the variables, and the state of charge where this end makes it known."""
        context, step, counters = self._program.context, self.step, now.sample.counters
        self._set(ended.values)
        if not ended.complete or ended.verdict is not Verdict.PASS:
            return
        dut = context.dut
        by_cell = ended.reason.startswith("cell voltage")
        emptied = isinstance(step, Cc | Cp) and step.direction == "discharge" and by_cell
        if self._filled(ended) and step.cell_voltage >= dut.cell_voltage_max - FULL_WITHIN:
            context.know_soc(1.0, counters)
        elif emptied and step.cell_voltage <= dut.cell_voltage_min + EMPTY_WITHIN:
            context.know_soc(0.0, counters)

    def _set(self, values: Mapping[str, float | None]) -> None:
        for name, value in values.items():
            factor = coherent(self._dimensions.get(name, "number"))
            self._program.context.know(name, None if value is None else value * factor)

    def _filled(self, ended: Ended) -> bool:
        """Whether this was a held charge, and ended because its current had fallen."""
        step = self.step
        if not isinstance(step, CcCv | Cv) or step.direction != "charge":
            return False
        by = [end.when for end in step.ends if end.when.text == ended.reason and end.when.is_conjunction]
        return any(c.name == "current" and not c.rising for when in by for c in when.comparisons)
