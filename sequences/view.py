"""What a running step sees: the newest sample, its own time, and the values the run has found so far."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from sequences.actions import Answer
from sequences.condition import CONSTANTS, SIGNALS
from sequences.dut import Dut
from sequences.expression import Scalar, coherent
from sequences.sample import Counters, Sample

RATE_WINDOW = 60.0  # s over which dV/dt and dI/dt are taken: a BMS resolves 1 mV
_CHARGE = {name: coherent(dimension) for name, (dimension, _) in SIGNALS.items()}


@dataclass
class Context:
    """What a run has found out so far. Owned by its program; charges in Ah, fractions 0..1.

    `variables` and `measured` are in coherent units, each variable with every value it has had; `unknown` are those
    whose newest value could not be had.
    """

    dut: Dut
    capacity: float
    soc: float
    roles: frozenset[str] = frozenset()
    variables: dict[str, list[float]] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    measured: dict[str, float | None] = field(default_factory=dict)
    grade_certain: bool | None = None
    soc_at: float = 0.0  # net Ah at which `soc` was known
    full_at: float | None = None  # net Ah at which the battery was last full

    def state_of_charge(self, counters: Counters) -> float:
        return self.soc + (counters.net_ah - self.soc_at) / self.capacity

    def know(self, name: str, value: float | None) -> None:
        """A variable's newest value, in coherent units; an older one does not stand for one that could not be had."""
        if value is None:
            self.unknown.add(name)
        else:
            self.unknown.discard(name)
            self.variables.setdefault(name, []).append(value)

    def know_soc(self, soc: float, counters: Counters) -> None:
        """The state of charge is known from here on, and from full to empty the capacity is too."""
        self.soc, self.soc_at = soc, counters.net_ah
        if soc >= 1.0:
            self.full_at = counters.net_ah
        elif soc <= 0.0 and self.full_at is not None:
            moved = self.full_at - counters.net_ah
            if moved > 0.1 * self.dut.rated_capacity:
                self.capacity = moved
            self.full_at = None


class Rates:
    """Slopes of signals over the last minute, per second; unknown until a minute has been seen."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[tuple[float, float]]] = {}
        self._newest = 0.0

    def show(self, sample: Sample) -> None:
        self._newest = sample.t
        for name in ("voltage", "current"):
            self._add(name, sample.t, sample.good(name))
        cells = sample.cells
        complete = cells and sample.good("cell_min") is not None and None not in cells
        self._add("cell", sample.t, sum(filter(None, cells)) / len(cells) if complete else None)

    def _add(self, name: str, t: float, value: float | None) -> None:
        seen = self._seen.setdefault(name, deque())
        if value is None:
            return
        if seen and t - seen[-1][0] > 2 * RATE_WINDOW:
            seen.clear()  # nothing is known of the last minute
        seen.append((t, value))
        while len(seen) > 1 and seen[1][0] <= t - RATE_WINDOW:
            seen.popleft()

    def forget(self) -> None:
        """The current is about to change: slopes across that moment mean nothing."""
        self._seen.clear()

    def of(self, name: str) -> float | None:
        seen = self._seen.get(name)
        if not seen or seen[-1][0] < self._newest or seen[-1][0] - seen[0][0] < RATE_WINDOW:
            return None
        (t0, first), (t1, last) = seen[0], seen[-1]
        return (last - first) / (t1 - t0)


@dataclass(frozen=True, slots=True)
class View:
    """One sample as a step sees it. Times in s exclude holds. Also the scope of the step's expressions."""

    sample: Sample
    step_time: float
    total_time: float
    at_start: Counters
    context: Context
    rates: Rates
    answer: Answer | None = None

    @property
    def dut(self) -> Dut:
        return self.context.dut

    @property
    def rated_capacity(self) -> float:
        return self.context.dut.rated_capacity

    def signal(self, name: str) -> float | None:
        """Value of a signal in its inner unit; current, power, charge, energy and depth are magnitudes."""
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
                return abs(counters.net_ah - self.at_start.net_ah) / self.context.capacity
            case "soc":
                return self.context.state_of_charge(counters)
            case "current" | "power":
                value = self.sample.good(name)
                return None if value is None else abs(value)
            case "insulation":
                value = self.sample.good("insulation")
                return None if value is None else value / self.dut.nominal_voltage
            case "temperature_rate":
                return self.sample.good("temperature_rise")
            case "voltage_rate" | "cell_rate" | "current_rate":
                return self.rates.of(name.removesuffix("_rate"))
            case _:
                return self.sample.good(name)

    def value(self, name: str) -> Scalar:
        """A name of an expression, in coherent units: signal, constant, variable or measurement."""
        if name in SIGNALS:
            value = self.signal(name)
            return None if value is None else value * _CHARGE[name]
        return value_of(name, self.context)

    def history(self, name: str) -> list[float] | None:
        return self.context.variables.get(name)


def value_of(name: str, context: Context) -> Scalar:
    """A constant, variable, measurement or truth, in coherent units; None when there is none."""
    if name in CONSTANTS:
        return float(getattr(context.dut, name)) * coherent(CONSTANTS[name][0])
    if name.startswith("has_"):
        return name.removeprefix("has_") in context.roles
    if name == "grade_certain":
        return context.grade_certain
    if name in context.unknown:
        return None
    if name in context.variables:
        return context.variables[name][-1]
    return context.measured.get(name)


def named(context: Context, dimensions: Mapping[str, str], name: str) -> float | None:
    """A variable or measurement in its inner unit."""
    value = value_of(name, context)
    return None if value is None else float(value) / coherent(dimensions.get(name, "number"))
