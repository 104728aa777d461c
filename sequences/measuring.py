"""From the samples of a run to its measurements: arrays in, numbers out. What cannot be computed is None.

DC resistance is (V before - V(at)) / |I| at a stated time; resistances at different times are never compared.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequences.dut import Dut
from sequences.expression import Evaluation, Scalar, coherent
from sequences.flow import Call, CapacityTest
from sequences.limits import Bounds
from sequences.measurement import (
    AcResistance,
    AtEnd,
    Capacity,
    CapacityAtC3,
    CapacityFade,
    CellResistanceRatio,
    CellSpread,
    CertifiedEnergy,
    ConvergedCapacity,
    Efficiency,
    Energy,
    FormulaOf,
    InsulationPerVolt,
    Measurement,
    PulseAt,
    Resistance,
    ResistanceIncrease,
    StateOfHealth,
    TemperatureMax,
    WeakestCell,
    shown,
)
from sequences.recipe import Recipe, walk
from sequences.record import StepRecord
from sequences.verdict import Verdict
from sequences.view import Context, value_of

Array = NDArray[np.float64]

# how far a pulse or a rest may lie from the state of charge a measurement asks for
SOC_TOLERANCE = 0.10


@dataclass(frozen=True)
class RunData:
    """All samples of a run. `columns` are 1-d arrays of n samples (NaN = not good), `cells` is (n, series cells), V.

    The column `step` tells by index which step run a sample belongs to; time alone does not, since the last sample
    of one step and the first of the next may be taken at the same moment.
    """

    columns: Mapping[str, Array]
    cells: Array
    steps: tuple[StepRecord, ...]


@dataclass(frozen=True, slots=True)
class MeasurementResult:
    """A measurement's value and standard uncertainty in its inner unit (None = not measured), and its verdict."""

    measurement: Measurement
    dimension: str
    value: float | None
    uncertainty: float | None
    verdict: Verdict
    bounds: Bounds | None
    detail: Mapping[str, float | str]

    def as_json(self) -> dict[str, Any]:
        """In the unit shown to people and sent to the MES."""
        unit, scale = shown(self.measurement.source.kind, self.dimension)

        def scaled(value: float | None) -> float | None:
            return None if value is None else value * scale

        bounds = self.bounds and {
            "min": scaled(self.bounds.min),
            "max": scaled(self.bounds.max),
            "marginal": scaled(self.bounds.marginal),
        }
        return {
            "value": scaled(self.value),
            "uncertainty": scaled(self.uncertainty),
            "unit": unit,
            "limits": bounds,
            "verdict": str(self.verdict),
            "title": self.measurement.title.model_dump(),
            "detail": dict(self.detail),
        }


class _MissingError(Exception):
    """A measurement's step did not run, was cut short, or its samples were not good."""


@dataclass(frozen=True, slots=True)
class _Scope:
    """What formulas and limits see: constants, variables, and the measurements worked out so far."""

    context: Context
    values: Mapping[str, float | None]

    @property
    def rated_capacity(self) -> float:
        return self.context.dut.rated_capacity

    def value(self, name: str) -> Scalar:
        return self.values[name] if name in self.values else value_of(name, self.context)

    def history(self, name: str) -> list[float] | None:
        return self.context.variables.get(name)


def analyse(recipe: Recipe, context: Context, run: RunData) -> list[MeasurementResult]:
    """Every measurement of the recipe and of those it called, in their order, judged against its limits.

    A called recipe's measurement replaces one of the same name.
    """
    results = {result.measurement.name: result for result in _measured(recipe, context, run, "")}
    _replace_by_called(recipe, context, run, "", results)
    return list(results.values())


def _replace_by_called(
    recipe: Recipe, context: Context, run: RunData, scope: str, results: dict[str, MeasurementResult]
) -> None:
    for step, _ in walk(recipe.steps):
        inner = f"{scope}/{step.name}" if scope else step.name
        if isinstance(step, Call) and any(record.scope == inner for record in run.steps):
            results |= {result.measurement.name: result for result in _measured(step.body, context, run, inner)}
            _replace_by_called(step.body, context, run, inner, results)


def analyse_some(
    recipe: Recipe, context: Context, run: RunData, scope: str, names: Collection[str]
) -> list[MeasurementResult]:
    """Some of the measurements of the recipe that runs in a scope, from the samples so far."""
    body = recipe
    for name in filter(None, scope.split("/")):
        body = next(step.body for step, _ in walk(body.steps) if isinstance(step, Call) and step.name == name)
    return [result for result in _measured(body, context, run, scope) if result.measurement.name in names]


def _measured(recipe: Recipe, context: Context, run: RunData, scope: str) -> list[MeasurementResult]:
    names = recipe.names()
    analysis = _Analysis(context.dut, run, recipe, scope)
    values: dict[str, float | None] = {}  # in coherent units
    seen = _Scope(context, values)
    found: dict[str, tuple[float | None, float | None, Detail]] = {}
    # formulas may use every other measurement, and the formulas before them
    for measurement in sorted(recipe.measurements, key=lambda m: isinstance(m.source, FormulaOf)):
        source, factor = measurement.source, coherent(names[measurement.name])
        value: float | None
        uncertainty: float | None
        detail: Detail
        if isinstance(source, FormulaOf):
            worked = Evaluation(source.value).now(seen)
            value = None if worked is None else float(worked) / factor
            uncertainty, detail = None, {} if value is not None else {"missing": "a value it needs is not known"}
        else:
            value, uncertainty, detail = _computed(analysis, source)
        found[measurement.name] = (value, uncertainty, detail)
        values[measurement.name] = None if value is None else value * factor
    given = [m for m in recipe.measurements if not m.optional or found[m.name][0] is not None]
    return [_judged(measurement, names, found, seen) for measurement in given]


def _computed(analysis: _Analysis, source: Any) -> tuple[float | None, float | None, Detail]:
    try:
        value, detail = analysis.compute(source)
    except _MissingError as missing:
        return None, None, {"missing": str(missing)}
    if not np.isfinite(value):
        return None, None, {"missing": "samples were not good"}
    uncertainty = detail.pop("uncertainty", None)
    return value, None if uncertainty is None else float(uncertainty), detail


def _judged(
    measurement: Measurement,
    names: Mapping[str, str],
    found: Mapping[str, tuple[float | None, float | None, Detail]],
    seen: _Scope,
) -> MeasurementResult:
    value, uncertainty, detail = found[measurement.name]
    dimension = names[measurement.name]
    bounds = None
    verdict = Verdict.INCONCLUSIVE if value is None else Verdict.PASS
    if measurement.limits is not None:
        bounds = measurement.limits.of_model(seen.context.dut.model).bounds(seen, dimension)
        verdict = bounds.judge(value)
    return MeasurementResult(measurement, dimension, value, uncertainty, verdict, bounds, detail)


Detail = dict[str, float | str]
Computed = tuple[float, Detail]


class _Analysis:
    """The samples and steps of one recipe's scope."""

    def __init__(self, dut: Dut, run: RunData, recipe: Recipe, scope: str) -> None:
        self.dut, self.run = dut, run
        self.records = [record for record in run.steps if record.scope == scope]
        self.t, self.current = run.columns["t"], run.columns["current"]
        self.net_ah = run.columns["charged_ah"] - run.columns["discharged_ah"]
        self.net_wh = run.columns["charged_wh"] - run.columns["discharged_wh"]
        sources = [measurement.source for measurement in recipe.measurements]
        capacities = (Capacity, StateOfHealth, CapacityFade, CapacityAtC3)
        spans = [(s.after, s.until) for s in sources if isinstance(s, capacities)]
        self.full_to_empty = spans[0] if spans else None
        self.agree = {step.name: step.agree for step, _ in walk(recipe.steps) if isinstance(step, CapacityTest)}
        self._by_type: dict[type, Callable[[Any], Computed]] = {
            Capacity: self._capacity,
            CapacityFade: self._capacity_fade,
            StateOfHealth: self._state_of_health,
            CapacityAtC3: self._capacity_at_c3,
            ConvergedCapacity: self._converged,
            Energy: self._energy,
            CertifiedEnergy: self._certified_energy,
            Efficiency: self._efficiency,
            Resistance: self._resistance,
            ResistanceIncrease: self._resistance_increase,
            CellResistanceRatio: self._cell_resistance_ratio,
            CellSpread: self._cell_spread,
            WeakestCell: self._weakest_cell,
            InsulationPerVolt: self._insulation,
            AcResistance: self._ac_resistance,
            TemperatureMax: self._temperature_max,
            AtEnd: self._at_end,
        }

    def compute(self, source: Any) -> Computed:
        return self._by_type[type(source)](source)

    # ---- finding things

    def _runs(self, name: str) -> list[StepRecord]:
        records = [record for record in self.records if record.name == name]
        if not records:
            raise _MissingError(f"step {name} did not run")
        return records

    def _last(self, name: str) -> StepRecord:
        record = self._runs(name)[-1]
        if not record.complete:
            raise _MissingError(f"step {record.label} ended by {record.reason}")
        return record

    def _rows(self, record: StepRecord) -> NDArray[np.intp]:
        rows = np.flatnonzero(self.run.columns["step"] == record.index)
        if not rows.size:
            raise _MissingError(f"step {record.label} has no samples")
        return rows

    def _end(self, record: StepRecord) -> int:
        """Row of the step run's last sample."""
        return int(self._rows(record)[-1])

    def _soc_before(self, record: StepRecord) -> float:
        """State of charge at a step's start, counted from full, with the capacity this run measured."""
        if self.full_to_empty is None:
            raise _MissingError("the recipe measures no capacity")
        capacity, _ = self._discharged(self.net_ah, *self.full_to_empty)
        full = self.net_ah[self._end(self._last(self.full_to_empty[0]))]
        return float(1.0 + (self.net_ah[self._rows(record)[0]] - full) / capacity)

    def _nearest(self, name: str, soc: float | None) -> tuple[StepRecord, float | None]:
        if soc is None:
            return self._runs(name)[-1], None
        candidates = [(record, self._soc_before(record)) for record in self._runs(name)]
        record, actual = min(candidates, key=lambda pair: abs(pair[1] - soc))
        if abs(actual - soc) > SOC_TOLERANCE:
            raise _MissingError(f"no {name} near {soc:.0%} SOC; the nearest was at {actual:.1%}")
        return record, actual

    # ---- capacity and energy

    def _discharged(self, net: Array, after: str, until: str) -> Computed:
        first, last = self._last(after), self._last(until)
        moved = float(net[self._end(first)] - net[self._end(last)])
        if moved <= 0:
            raise _MissingError(f"nothing was discharged between {after} and {until}")
        return moved, {"end": last.reason}

    def _capacity(self, s: Capacity | CapacityFade | StateOfHealth | CapacityAtC3) -> Computed:
        return self._discharged(self.net_ah, s.after, s.until)

    def _state_of_health(self, s: StateOfHealth | CapacityFade) -> Computed:
        capacity, detail = self._capacity(s)
        return capacity / self.dut.rated_capacity, detail | {"rated_ah": self.dut.rated_capacity}

    def _capacity_fade(self, s: CapacityFade) -> Computed:
        health, detail = self._state_of_health(s)
        return 1.0 - health, detail

    def _capacity_at_c3(self, s: CapacityAtC3) -> Computed:
        capacity, _ = self._capacity(s)
        factor = self.dut.capacity_factor_c2_to_c3
        return capacity * factor, {"factor": factor}

    def _converged(self, s: ConvergedCapacity) -> Computed:
        """The mean of the newest capacities; how many of them is the step's to say."""
        found = [-record.charge for record in self._runs(f"{s.test}_discharge") if record.complete]
        if not found:
            raise _MissingError(f"{s.test} completed no discharge")
        newest = found[-self.agree[s.test] :]
        spread = max(newest) - min(newest)
        value = {"capacity": float(np.mean(newest)), "spread": spread, "rounds": float(len(found))}[s.of]
        return value, {"rounds": len(found), "spread_ah": spread}

    def _efficiency(self, s: Efficiency) -> Computed:
        charged, discharged = self._last(s.charge), self._last(s.discharge)
        taken, given = (charged.charge, discharged.charge) if s.of == "charge" else (charged.energy, discharged.energy)
        if taken <= 0 or given >= 0:
            raise _MissingError(f"{s.charge} did not charge or {s.discharge} did not discharge")
        return -given / taken, {}

    def _energy(self, s: Energy | CertifiedEnergy) -> Computed:
        return self._discharged(self.net_wh, s.after, s.until)

    def _certified_energy(self, s: CertifiedEnergy) -> Computed:
        energy, detail = self._energy(s)
        return energy / self.dut.rated_energy, detail | {"rated_wh": self.dut.rated_energy}

    # ---- resistance

    def _pulse(self, s: PulseAt) -> tuple[int, int, float | None]:
        """Rows before the pulse and at the stated time in it, and the state of charge it was made at."""
        record, soc = self._nearest(s.pulse, s.soc)
        where = record.label if soc is None else f"{record.label} at {soc:.0%} SOC"
        step = self._rows(record)
        magnitude = np.abs(self.current[step])
        flowing = magnitude > 0.5 * np.nanmax(magnitude)
        edges = np.flatnonzero(np.diff(flowing.astype(np.int8), prepend=0) == 1)
        if s.number > edges.size:
            raise _MissingError(f"{where} had {edges.size} pulses with current")
        first = edges[s.number - 1]
        last = first + int(np.argmin(np.append(flowing[first:], False)))
        began = self.t[step[first]]  # the time counts from the current, not from the command
        rows = step[first:last]
        rows = rows[self.t[rows] <= began + s.at + 1e-6]
        if self.t[rows[-1]] < began + 0.99 * s.at:
            raise _MissingError(f"the pulse of {where} was shorter than {s.at:g} s")
        before = rows[0] - 1
        while before > rows[0] - 4 and before > 0 and abs(self.current[before]) > 0.01 * abs(self.current[rows[-1]]):
            before -= 1  # samples taken while the current was being switched on
        if before < 0 or abs(self.current[before]) > 0.01 * abs(self.current[rows[-1]]):
            raise _MissingError("the battery was not at rest before the pulse")
        return int(before), int(rows[-1]), soc

    def _resistance(self, s: Resistance | ResistanceIncrease) -> Computed:
        before, at, soc = self._pulse(s)
        volts = self.run.columns["voltage"]
        step = self.current[at] - self.current[before]
        ohm = float((volts[at] - volts[before]) / step)
        return ohm, _at_soc(soc) | {
            "at_s": s.at,
            "current_a": float(self.current[at]),
            "resolution_mohm": round(1e3 * _resolution(volts) / abs(float(step)), 2),
        }

    def _resistance_increase(self, s: ResistanceIncrease) -> Computed:
        ohm, detail = self._resistance(s)
        return ohm / self.dut.initial_dcir - 1.0, detail | {"new_mohm": self.dut.initial_dcir * 1e3}

    def _cell_resistance_ratio(self, s: CellResistanceRatio) -> Computed:
        before, at, _ = self._pulse(s)
        ohms = (self.run.cells[at] - self.run.cells[before]) / (self.current[at] - self.current[before])
        if np.isnan(ohms).any():
            raise _MissingError("a cell's voltage was not good during the pulse")
        highest = int(np.argmax(ohms))
        return float(ohms[highest] / np.median(ohms)), {"cell": highest + 1}

    # ---- the rest

    def _cell_spread(self, s: CellSpread) -> Computed:
        record, soc = self._nearest(s.rest, s.soc)
        cells = self.run.cells[self._end(record)]
        detail: Detail = _at_soc(soc) | {"rest_s": round(record.ended - record.started)}
        return float(np.max(cells) - np.min(cells)), detail

    def _weakest_cell(self, s: WeakestCell) -> Computed:
        cells = self.run.cells[self._end(self._last(s.until))]
        if np.isnan(cells).any():
            raise _MissingError("a cell's voltage was not good at the end of the discharge")
        weakest = int(np.argmin(cells))
        return float(weakest + 1), {"voltage_v": float(cells[weakest])}

    def _insulation(self, s: InsulationPerVolt) -> Computed:
        record = self._last(s.during)
        ohms = self.run.columns["insulation"][self._rows(record)]
        if np.isnan(ohms).all():
            raise _MissingError("the insulation was not measured")
        lowest = float(np.nanmin(ohms))
        return lowest / self.dut.nominal_voltage, {"kohm": lowest / 1e3}

    def _ac_resistance(self, s: AcResistance) -> Computed:
        readings = [ohm for ohm in self._last(s.measured_in).readings.get("resistance", ()) if ohm is not None]
        if not readings:
            raise _MissingError("the impedance meter gave no good reading")
        return float(np.mean(readings)), {"readings": len(readings)}

    def _at_end(self, s: AtEnd) -> Computed:
        row = self._end(self._runs(s.step)[-1])
        if s.signal == "cell_spread":
            return float(np.max(self.run.cells[row]) - np.min(self.run.cells[row])), {}
        if s.signal not in self.run.columns:
            raise _MissingError(f"{s.signal} is not recorded")
        value = float(self.run.columns[s.signal][row])
        return value / self.dut.nominal_voltage if s.signal == "insulation" else value, {}

    def _temperature_max(self, s: TemperatureMax) -> Computed:
        temperatures = self.run.columns["temperature_max"]
        if s.during is not None:
            temperatures = temperatures[self._rows(self._runs(s.during)[-1])]
        if np.isnan(temperatures).all():
            raise _MissingError("no good temperature")
        return float(np.nanmax(temperatures)), {}


def _at_soc(soc: float | None) -> Detail:
    return {} if soc is None else {"soc_percent": round(100 * soc, 1)}


def _resolution(readings: Array) -> float:
    """The smallest step between two readings of an instrument: what it cannot tell apart."""
    steps = np.diff(np.unique(np.round(readings[np.isfinite(readings)], 6)))
    return float(steps.min()) if steps.size else 0.0
