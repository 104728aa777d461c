"""The behaviour of each step: samples in, actions and an end out. Pure; the engine owns instruments and time.

A step is started once and then shown every sample. It answers with an action for the engine, with Ended, or with
nothing. It never sees an instrument, and a value that is not good never ends it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sequences.condition import Debounce, End
from sequences.dut import Dut
from sequences.recipe import (
    ConstantCurrent,
    ConstantCurrentConstantVoltage,
    LeafStep,
    Measure,
    Pulse,
    Rest,
)
from sequences.sample import Counters, Sample

# share of a voltage bound at which a supply counts as regulating it: its accuracy and resolution
BOUND_REACHED = 0.9995


@dataclass(frozen=True, slots=True)
class Drive:
    """Regulate to a current (A, + charges) until a voltage (V, of the whole battery) bounds it."""

    current: float
    voltage: float


@dataclass(frozen=True, slots=True)
class NoCurrent:
    """Output off."""


@dataclass(frozen=True, slots=True)
class TakeReadings:
    """Ask the instrument of a role for `count` readings; the engine records them and then shows the next sample."""

    role: str
    count: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The step is over, and why. `complete` is False when it ran into its maximum time."""

    reason: str
    complete: bool = True


Action = Drive | NoCurrent | TakeReadings
Answer = Action | Ended | None


@dataclass(frozen=True, slots=True)
class View:
    """One sample as the running step sees it. Times in s exclude holds; capacity_estimate in Ah."""

    sample: Sample
    step_time: float
    total_time: float
    at_start: Counters
    dut: Dut
    capacity_estimate: float

    def signal(self, name: str) -> float | None:
        """Value of a condition's signal; current, power, charge, energy and depth are magnitudes."""
        counters = self.sample.counters
        match name:
            case "step_time":
                return self.step_time
            case "total_time":
                return self.total_time
            case "charge":
                return abs(counters.net_ah - self.at_start.net_ah)
            case "energy":
                return abs(counters.net_wh - self.at_start.net_wh)
            case "depth":
                return abs(counters.net_ah - self.at_start.net_ah) / self.capacity_estimate
            case "current" | "power":
                value = self.sample.good(name)
                return None if value is None else abs(value)
            case _:
                return self.sample.good(name)


class StepRun(Protocol):
    """One run of one step."""

    @property
    def phase(self) -> str:
        """What it is doing now, for people."""
        ...

    @property
    def sample_period(self) -> float | None:
        """Period it wants to be sampled at, s; None for the station's own."""
        ...

    def start(self, view: View) -> Action: ...

    def update(self, view: View) -> Answer: ...


class _Ends:
    """The OR-ed ends of a step and its maximum time."""

    def __init__(self, ends: list[End], max_time: float | None, dut: Dut) -> None:
        self._watches = [Debounce(end, dut.rated_capacity) for end in ends]
        self._max_time = max_time

    def reason(self, view: View) -> Ended | None:
        met = [w.end.when.text for w in self._watches if w.met(view.signal(w.end.when.signal), view.step_time)]
        return Ended(met[0]) if met else None

    def overdue(self, view: View) -> Ended | None:
        if self._max_time is not None and view.step_time >= self._max_time:
            return Ended(f"maximum time of {self._max_time:g} s", complete=False)
        return None


class RestRun:
    phase = "rest"
    sample_period = None

    def __init__(self, step: Rest, dut: Dut) -> None:
        self._duration = step.duration
        self._ends = _Ends(step.ends, None, dut)

    def start(self, view: View) -> Action:
        return NoCurrent()

    def update(self, view: View) -> Answer:
        if ended := self._ends.reason(view):
            return ended
        return Ended("duration") if view.step_time >= self._duration else None


class ConstantCurrentRun:
    sample_period = None

    def __init__(self, step: ConstantCurrent, dut: Dut) -> None:
        self._step = step
        self._charging = step.direction == "charge"
        self._ends = _Ends(step.ends, step.max_time, dut)
        self.phase = step.direction

    def start(self, view: View) -> Action:
        amperes = self._step.current.amperes(view.dut.rated_capacity)
        bound = self._step.cell_voltage * view.dut.series_cells
        return Drive(amperes if self._charging else -amperes, bound)

    def update(self, view: View) -> Answer:
        cell = view.sample.good("cell_max" if self._charging else "cell_min")
        bound = self._step.cell_voltage
        if cell is not None and (cell >= bound if self._charging else cell <= bound):
            return Ended(f"cell voltage {bound:g} V")
        return self._ends.reason(view) or self._ends.overdue(view)


class ConstantCurrentConstantVoltageRun:
    """The supply regulates the battery's voltage, the step trims that voltage so the highest cell stays at its bound.

    In a worn pack the cells differ, so the pack voltage at which the highest cell is full is not known beforehand and
    moves while the current falls.
    """

    sample_period = None
    TRIM_PERIOD = 5.0  # s; slower than the supply's own regulation, faster than the cells move
    TRIM_SHARE = 0.5  # of the error per trim; below 1 so that the loop cannot ring

    def __init__(self, step: ConstantCurrentConstantVoltage, dut: Dut) -> None:
        self._step = step
        self._ends = _Ends(step.ends, step.max_time, dut)
        self._held: float | None = None
        self._trimmed_at = 0.0

    @property
    def phase(self) -> str:
        return "charge" if self._held is None else "hold voltage"

    def _drive(self, view: View, voltage: float) -> Drive:
        return Drive(self._step.current.amperes(view.dut.rated_capacity), voltage)

    def start(self, view: View) -> Action:
        return self._drive(view, self._held or self._step.cell_voltage * view.dut.series_cells)

    def update(self, view: View) -> Answer:
        if overdue := self._ends.overdue(view):
            return overdue
        cell, voltage = view.sample.good("cell_max"), view.sample.good("voltage")
        if self._held is None:
            if cell is None or voltage is None:
                return None
            # the supply may hold the pack's bound already, with every cell a little below its own
            at_bound = voltage >= BOUND_REACHED * self._step.cell_voltage * view.dut.series_cells
            if cell < self._step.cell_voltage and not at_bound:
                return None
            self._held, self._trimmed_at = voltage, view.step_time
            return self._drive(view, voltage)
        if ended := self._ends.reason(view):
            return ended
        if cell is None or view.step_time - self._trimmed_at < self.TRIM_PERIOD:
            return None
        self._trimmed_at = view.step_time
        highest = self._step.cell_voltage * view.dut.series_cells
        trimmed = self._held + self.TRIM_SHARE * view.dut.series_cells * (self._step.cell_voltage - cell)
        trimmed = round(min(trimmed, highest), 1)
        if trimmed == round(self._held, 1):
            return None
        self._held = trimmed
        return self._drive(view, trimmed)


class PulseRun:
    def __init__(self, step: Pulse, dut: Dut) -> None:
        self._step = step
        self._recovering = False
        self.sample_period = step.sample
        self._ended_early = ""

    @property
    def phase(self) -> str:
        return "recovery" if self._recovering else "pulse"

    def start(self, view: View) -> Action:
        if self._recovering:
            return NoCurrent()
        amperes = self._step.current.amperes(view.dut.rated_capacity)
        if self._step.direction == "charge":
            return Drive(amperes, self._step.cell_voltage_max * view.dut.series_cells)
        return Drive(-amperes, self._step.cell_voltage_min * view.dut.series_cells)

    def update(self, view: View) -> Answer:
        if not self._recovering:
            low, high = view.sample.good("cell_min"), view.sample.good("cell_max")
            if low is not None and low < self._step.cell_voltage_min:
                self._ended_early = f"cell voltage {self._step.cell_voltage_min:g} V"
            elif high is not None and high > self._step.cell_voltage_max:
                self._ended_early = f"cell voltage {self._step.cell_voltage_max:g} V"
            elif view.step_time < self._step.duration:
                return None
            self._recovering = True
            return NoCurrent()
        if view.step_time < self._step.duration + self._step.recovery:
            return None
        return Ended(f"cut short by {self._ended_early}" if self._ended_early else "duration")


class MeasureRun:
    phase = "measure"
    sample_period = None

    def __init__(self, step: Measure, dut: Dut) -> None:
        self._step = step
        self._asked = False

    def start(self, view: View) -> Action:
        return NoCurrent()

    def update(self, view: View) -> Answer:
        if self._asked:
            return Ended("readings taken")
        self._asked = True
        return TakeReadings(self._step.role, self._step.readings)


_RUNS: dict[type, Callable[..., StepRun]] = {
    Rest: RestRun,
    ConstantCurrent: ConstantCurrentRun,
    ConstantCurrentConstantVoltage: ConstantCurrentConstantVoltageRun,
    Pulse: PulseRun,
    Measure: MeasureRun,
}


def run_of(step: LeafStep, dut: Dut) -> StepRun:
    """A fresh run of a step."""
    return _RUNS[type(step)](step, dut)
