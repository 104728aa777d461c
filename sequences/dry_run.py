"""A recipe run against the model of a battery: what each step will take, before a volt is applied. Pure.

The program is the one that will run; only samples and answers come from a model. People answer yes at once, insulation
is good, codes agree, and whatever a measurement needs is measured on the model, so that routes go where a battery in
order sends them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sequences.actions import (
    Action,
    Answer,
    Ask,
    Drive,
    NoCurrent,
    Provisional,
    ReadCodes,
    Request,
    SetChamber,
    TakeReadings,
    TakeSpectrum,
    TestInsulation,
    WorkOut,
)
from sequences.battery_model import BatteryModel
from sequences.bounds import Bound, effective_bounds, tightest
from sequences.dut import Dut, StationLimits
from sequences.flow import If, Step
from sequences.grading import GradeRules, Measured, grade, is_certain
from sequences.measuring import MeasurementResult, RunData, analyse_some
from sequences.program import Program
from sequences.recipe import Recipe, walk
from sequences.record import Decision, StepRecord
from sequences.safety import Safety
from sequences.sample import Quality, Sample, Value
from sequences.step import Check, Compute, GradeNow, Measure, Ocv, Publish, Pulse, SetPoint, StepBase
from sequences.turn import Begun, Finish, Moment, Turn
from sequences.verdict import Verdict
from sequences.view import Context

DRIVEN_STEP, RESTING_STEP = 10.0, 60.0  # s between two samples, where a step wants no finer ones
SETTLING_STEP = 1.0  # s while the voltage is waited for: readings come with samples
FIRST_SAMPLES = 5  # of a step are taken a second apart: much is decided then
MAX_SAMPLES = 400_000
READING_TAKES = 1.0  # s
SPECTRUM_PERIODS, SPECTRUM_POINT_TAKES = 2.0, 0.3  # of each frequency, and s besides
CHAMBER_RAMP = 1.0 / 60.0  # K/s of the air; the battery follows as its model does
INSULATION = 1e9  # ohm
ASKING = ("prompt", "inspect")  # steps that wait for people
_AT_ONCE = (Check, Compute, GradeNow, Measure, Publish, SetPoint)  # steps that take no time


@dataclass(frozen=True, slots=True)
class ForecastStep:
    """What one step run is expected to take: s, Ah, Wh (+ charges); extremes of cells, current (A) and degC in it.
    `started` is in s since the run began.

    What it may come to at worst: `longest` in s, None where only the run's own limit bounds it, and the `bounds` at
    which the run trips.
    """

    label: str
    kind: str
    started: float
    seconds: float
    charge: float
    energy: float
    cell_min: float
    cell_max: float
    current: float
    temperature: float
    reason: str
    longest: float | None
    bounds: tuple[Bound, ...]


@dataclass(frozen=True, slots=True)
class EarlyEnd:
    """An `if` by which the run may skip what was planned of it, and s of the whole run then."""

    step: str
    seconds: float


@dataclass(frozen=True)
class Forecast:
    """The whole of it: s, and Ah into the battery and out of it; `finish` is how it ended on the model. `early` is
    there where the battery's own provisional grade, which no model tells, may make the run shorter."""

    steps: tuple[ForecastStep, ...]
    finish: Finish
    dut: str
    soc: float
    capacity: float
    seconds: float
    charged: float
    discharged: float
    early: EarlyEnd | None = None

    @property
    def for_people(self) -> float:
        """s that people may take at most to answer what it asks them; the model answers at once."""
        return sum(step.longest or 0.0 for step in self.steps if step.kind in ASKING)

    def remaining(self, label: str, step_time: float) -> float | None:
        """Expected s from a time in a step to the end; None for a step that was not foreseen."""
        if label not in self._until_end:
            return None
        own, after = self._until_end[label]
        return max(0.0, own - step_time) + after

    @cached_property
    def _until_end(self) -> dict[str, tuple[float, float]]:
        """By label: s that a step takes, and s after it; of a label's several runs the first."""
        return {step.label: (step.seconds, self.seconds - step.started - step.seconds) for step in reversed(self.steps)}


def dry_run(
    recipe: Recipe, dut: Dut, station: StationLimits | None = None, *, soc: float, capacity: float,
    temperature: float = 25.0, rules: GradeRules | None = None,
) -> Forecast:  # fmt: skip
    """Run the recipe on the model of a battery at this SOC (0..1) with this capacity (Ah) and temperature (degC)."""
    roles = station.roles if station is not None else frozenset(recipe.roles)
    model = BatteryModel(dut, min(max(soc, 0.0), 1.0), capacity, temperature)
    limits = station or StationLimits(math.inf, math.inf, math.inf, math.inf, {})
    return _Rehearsal(recipe, dut, limits, model, Context(dut, capacity, soc, roles), rules).play(soc, capacity)


class _Rehearsal:
    def __init__(
        self, recipe: Recipe, dut: Dut, limits: StationLimits, model: BatteryModel, context: Context,
        rules: GradeRules | None,
    ) -> None:  # fmt: skip
        self._recipe, self._dut, self._limits = recipe, dut, limits
        self._model, self._rules, self._context = model, rules, context
        self._program = Program(recipe, context)
        self._t = 0.0
        self._set_point = Drive(0.0, 0.0)
        self._air = self._air_wanted = model.ambient
        self._due: dict[int, tuple[float, Answer]] = {}
        self._rows: list[tuple[float, ...]] = []
        self._steps: list[ForecastStep] = []
        self._records: list[StepRecord] = []
        self._begun: dict[int, tuple[Begun, int]] = {}
        self._interim: dict[str, MeasurementResult] = {}
        self._decided: dict[str, tuple[float, bool, frozenset[str]]] = {}  # when, which way, what was measured by then

    def play(self, soc: float, capacity: float) -> Forecast:
        turn = self._program.start(Moment(self._sample(), self._t))
        while turn.finish is None and len(self._rows) < MAX_SAMPLES:
            answers = self._carry_out(turn)
            turn = self._program.update(Moment(self._sample(), self._t, answers))
        self._note(turn)
        finish = turn.finish or Finish(Verdict.INCONCLUSIVE, "longer than a dry run goes on")
        moved = self._model.counters
        steps, dut = tuple(self._steps), self._dut.model
        totals = (self._t, moved.charged_ah, moved.discharged_ah)
        return Forecast(steps, finish, dut, soc, capacity, *totals, early=self._early_end())

    def _early_end(self) -> EarlyEnd | None:
        """By the first `if` that goes by a provisional grade and whose way not taken does nothing that lasts."""
        measurements = {measurement.name for measurement in self._recipe.measurements}
        for step in self._recipe.steps:
            if (
                not isinstance(step, If)
                or "grade_certain" not in step.condition.names
                or step.name not in self._decided
            ):
                continue
            at, taken, measured = self._decided[step.name]
            planned, other = (step.then, step.otherwise) if taken else (step.otherwise, step.then)
            names = {inner.name for inner, _ in walk(planned)}
            end = max((run.started + run.seconds for run in self._steps if _name(run.label) in names), default=at)
            can_be = bool(measured) and step.condition.names & measurements <= measured
            if can_be and end > at and _lasts(planned) and not _lasts(other):
                return EarlyEnd(step.name, self._t - (end - at))
        return None

    # ---- time and samples

    def _carry_out(self, turn: Turn) -> Mapping[int, Answer]:
        """Do what was asked, let time pass until the next sample, and hand over the answers that are due then."""
        self._note(turn)
        acted = False
        for directive in turn.directives:
            action: Action = directive.action
            if directive.cancel:
                self._due.pop(directive.key, None)
            elif isinstance(action, Drive | NoCurrent):
                self._set_point = action if isinstance(action, Drive) else Drive(0.0, 0.0)
                acted = True
            else:
                takes, answer = self._answer(action)
                self._due[directive.key] = (self._t + takes, answer)
        if acted:
            self._pass(0.0)
            return {}
        self._pass(self._next_step())
        ready = {key: answer for key, (at, answer) in self._due.items() if at <= self._t + 1e-9}
        for key in ready:
            del self._due[key]
        return ready

    def _next_step(self) -> float:
        leaves = self._program.active
        driven = self._set_point.current != 0.0
        step = DRIVEN_STEP if driven else RESTING_STEP
        for leaf in leaves:
            if leaf.sample_period is not None:
                step = min(step, leaf.sample_period)
            if leaf.step_time(self._t) < FIRST_SAMPLES:
                step = min(step, 1.0)
            if isinstance(leaf.step, Ocv):
                step = min(step, SETTLING_STEP)
            duration = getattr(leaf.step, "duration", None)
            if duration is not None and leaf.step_time(self._t) < duration:
                step = min(step, duration - leaf.step_time(self._t))
        if self._due:
            step = min(step, max(0.0, min(at for at, _ in self._due.values()) - self._t))
        return max(step, 1e-3)

    def _pass(self, seconds: float) -> None:
        change = min(abs(self._air_wanted - self._air), CHAMBER_RAMP * seconds)
        self._air += change if self._air_wanted > self._air else -change
        self._model.ambient = self._air
        self._t += self._model.advance(seconds, self._set_point.current, self._set_point.voltage)

    def _sample(self) -> Sample:
        model, cells = self._model, self._dut.series_cells
        values = {
            "voltage": model.voltage,
            "current": model.current,
            "power": model.voltage * model.current,
            "cell_min": model.cell_min,
            "cell_max": model.cell_max,
            "cell_spread": model.cell_max - model.cell_min,
            "temperature_min": model.temperature,
            "temperature_max": model.temperature,
            "temperature_rise": 0.0,
            "chamber_temperature": self._air,
            "insulation": INSULATION,
            "soc": model.soc,
            "battery_voltage": model.voltage,
            "bms_faults": 0.0,
        }
        counters = model.counters
        step = self._program.active[0].index if self._program.active else -1
        self._rows.append((
            self._t, step, model.voltage, model.current, model.voltage * model.current, counters.charged_ah,
            counters.discharged_ah, counters.charged_wh, counters.discharged_wh, model.cell_min, model.cell_max,
            model.temperature, model.temperature, INSULATION, model.soc,
        ))  # fmt: skip
        good = {name: Value(value, self._t, Quality.GOOD, "model") for name, value in values.items()}
        return Sample(self._t, good, (model.cell_voltage,) * cells, (model.temperature,), counters)

    # ---- what comes of it

    def _note(self, turn: Turn) -> None:
        for event in turn.events:
            if isinstance(event, Begun):
                self._begun[event.index] = (event, len(self._rows) - 1)
                continue
            if isinstance(event, Decision):
                self._decided[event.label] = (self._t, event.taken, frozenset(self._interim))
                continue
            self._records.append(event)
            begun, first = self._begun.pop(event.index)
            seen = np.array(self._rows[first + 1 :] or self._rows[-1:])
            self._steps.append(
                ForecastStep(
                    label=event.label,
                    kind=begun.kind,
                    started=event.started,
                    seconds=event.ended - event.started,
                    charge=event.charge,
                    energy=event.energy,
                    cell_min=float(seen[:, 9].min()),
                    cell_max=float(seen[:, 10].max()),
                    current=float(np.abs(seen[:, 3]).max()),
                    temperature=float(seen[:, 11].max()),
                    reason=event.reason,
                    longest=_longest(begun.step),
                    bounds=self._bounds(begun.own_safeties),
                )
            )

    def _bounds(self, safeties: tuple[Safety, ...]) -> tuple[Bound, ...]:
        """The tightest of what holds in a step: the recipe's, its own, and those of the recipes around it."""
        bounds = self._effective(self._recipe.safety)
        for safety in safeties:
            bounds = tightest(bounds, self._effective(safety))
        return tuple(bounds)

    def _effective(self, safety: Safety) -> list[Bound]:
        return effective_bounds(safety, self._dut, self._limits, takes_empty=self._recipe.takes_empty)

    def _answer(self, request: Request) -> tuple[float, Answer]:
        """Seconds until the answer, and the answer that a battery in order gives."""
        match request:
            case TakeReadings():
                reading = (self._dut.initial_dcir / 2, self._model.voltage)
                return request.count * READING_TAKES, Answer([reading] * request.count)
            case TakeSpectrum():
                takes = sum(SPECTRUM_PERIODS / f + SPECTRUM_POINT_TAKES for f in request.frequencies)
                return takes, Answer([(f, self._dut.initial_dcir / 2, 0.0) for f in request.frequencies])
            case TestInsulation():
                return request.seconds, Answer(INSULATION)
            case ReadCodes():
                return READING_TAKES, Answer((self._dut.model,) * 3)
            case Ask():
                return 0.0, Answer(_yes(request))
            case SetChamber():
                self._air_wanted = request.temperature
                return 0.0, Answer()
            case WorkOut():
                return 0.0, Answer(self._work_out(request))
            case Provisional():
                return 0.0, Answer(self._provisional())
            case _:
                return 0.0, Answer({})

    def _work_out(self, request: WorkOut) -> dict[str, float | None]:
        results = analyse_some(self._recipe, self._context, self._data(), request.scope, request.measurements)
        self._interim |= {result.measurement.name: result for result in results}
        return {result.measurement.name: result.value for result in results}

    def _provisional(self) -> tuple[str | None, bool]:
        if self._rules is None:
            return None, True
        measured = {
            name: Measured(result.value, result.uncertainty or 0.0, result.measurement.source.kind)
            for name, result in self._interim.items()
            if result.value is not None
        }
        return grade(self._rules, measured, Verdict.PASS).grade, is_certain(self._rules, measured, Verdict.PASS)

    def _data(self) -> RunData:
        names = (
            "t", "step", "voltage", "current", "power", "charged_ah", "discharged_ah", "charged_wh", "discharged_wh",
            "cell_min", "cell_max", "temperature_min", "temperature_max", "insulation", "soc",
        )  # fmt: skip
        rows = np.array(self._rows)
        columns = {name: rows[:, index] for index, name in enumerate(names)}
        middle = (rows[:, 9] + rows[:, 10]) / 2
        return RunData(columns, np.repeat(middle[:, None], self._dut.series_cells, axis=1), tuple(self._records))


def _longest(step: StepBase) -> float | None:
    """s that a step may take at most, holds apart; None for one that says nothing of it."""
    if isinstance(step, Pulse):
        return sum(pulse.duration + pulse.rest for pulse in step.pulses)
    longest: float | None = getattr(step, "max_time", None) or getattr(step, "duration", None)
    return longest


def _lasts(steps: list[Step]) -> bool:
    return any(not isinstance(step, _AT_ONCE) for step, _ in walk(steps))


def _name(label: str) -> str:
    """Of the recipe's own step: a call's steps stand after its name, a round's number after that of its step."""
    return label.split("/")[0].split(" (")[0]


def _yes(question: Ask) -> Any:
    match question.answer:
        case "inspect":
            return {name: True for name, _ in question.items}
        case "confirm":
            return True
        case "choice":
            return 1
        case _:
            return 0.0
