"""From the samples of a run to its measurements: arrays in, numbers out. What cannot be computed is None.

DC resistance is (V before - V(at)) / |I| at a stated time; resistances at different times are never compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequences.dut import Dut
from sequences.recipe import (
    AcResistance,
    Capacity,
    CapacityAtC3,
    CapacityFade,
    CellResistanceRatio,
    CellSpread,
    CertifiedEnergy,
    Energy,
    InsulationPerVolt,
    Measurement,
    Recipe,
    Resistance,
    ResistanceIncrease,
    StateOfHealth,
    TemperatureMax,
    WeakestCell,
)
from sequences.verdict import Verdict

Array = NDArray[np.float64]

# how far a pulse or a rest may lie from the state of charge a measurement asks for
SOC_TOLERANCE = 0.10


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One finished step run: line times in unix s, and the readings instruments took in it."""

    index: int
    name: str
    label: str
    started: float
    ended: float
    reason: str
    complete: bool
    readings: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)


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
    """A measurement's value in its inner unit (None = could not be measured) and its verdict."""

    measurement: Measurement
    value: float | None
    verdict: Verdict
    detail: Mapping[str, float | str]

    def as_json(self) -> dict[str, Any]:
        """In the unit shown to people and sent to the MES."""
        m, limits = self.measurement, self.measurement.limits
        scale = m.scale
        bounds = limits and {
            "min": None if limits.min is None else limits.min * scale,
            "max": None if limits.max is None else limits.max * scale,
            "marginal": limits.marginal * scale,
        }
        return {
            "value": None if self.value is None else self.value * scale,
            "unit": m.unit,
            "limits": bounds,
            "verdict": str(self.verdict),
            "title": {"en": m.title.en, "ko": m.title.ko},
            "detail": dict(self.detail),
        }


class _MissingError(Exception):
    """A measurement's step did not run, was cut short, or its samples were not good."""


def analyse(recipe: Recipe, dut: Dut, run: RunData) -> list[MeasurementResult]:
    """Every measurement of the recipe, in its order, judged against its limits."""
    analysis = _Analysis(dut, run, recipe)
    results = []
    for measurement in recipe.measurements:
        try:
            value, detail = analysis.compute(measurement.source)
        except _MissingError as missing:
            value, detail = None, {"missing": str(missing)}
        if value is not None and not np.isfinite(value):
            value, detail = None, {"missing": "samples were not good"}
        if measurement.limits is not None:
            verdict = measurement.limits.judge(value)
        else:
            verdict = Verdict.INCONCLUSIVE if value is None else Verdict.PASS
        results.append(MeasurementResult(measurement, value, verdict, detail))
    return results


Detail = dict[str, float | str]
Computed = tuple[float, Detail]


class _Analysis:
    def __init__(self, dut: Dut, run: RunData, recipe: Recipe) -> None:
        self.dut, self.run = dut, run
        self.t, self.current = run.columns["t"], run.columns["current"]
        self.net_ah = run.columns["charged_ah"] - run.columns["discharged_ah"]
        self.net_wh = run.columns["charged_wh"] - run.columns["discharged_wh"]
        sources = [measurement.source for measurement in recipe.measurements]
        capacities = (Capacity, StateOfHealth, CapacityFade, CapacityAtC3)
        spans = [(s.after, s.until) for s in sources if isinstance(s, capacities)]
        self.full_to_empty = spans[0] if spans else None
        self._by_type: dict[type, Callable[[Any], Computed]] = {
            Capacity: self._capacity,
            CapacityFade: self._capacity_fade,
            StateOfHealth: self._state_of_health,
            CapacityAtC3: self._capacity_at_c3,
            Energy: self._energy,
            CertifiedEnergy: self._certified_energy,
            Resistance: self._resistance,
            ResistanceIncrease: self._resistance_increase,
            CellResistanceRatio: self._cell_resistance_ratio,
            CellSpread: self._cell_spread,
            WeakestCell: self._weakest_cell,
            InsulationPerVolt: self._insulation,
            AcResistance: self._ac_resistance,
            TemperatureMax: self._temperature_max,
        }

    def compute(self, source: Any) -> Computed:
        return self._by_type[type(source)](source)

    # ---- finding things

    def _runs(self, name: str) -> list[StepRecord]:
        records = [record for record in self.run.steps if record.name == name]
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

    def _nearest(self, name: str, soc: float) -> tuple[StepRecord, float]:
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

    def _energy(self, s: Energy | CertifiedEnergy) -> Computed:
        return self._discharged(self.net_wh, s.after, s.until)

    def _certified_energy(self, s: CertifiedEnergy) -> Computed:
        energy, detail = self._energy(s)
        return energy / self.dut.rated_energy, detail | {"rated_wh": self.dut.rated_energy}

    # ---- resistance

    def _pulse(self, s: Resistance | ResistanceIncrease | CellResistanceRatio) -> tuple[int, int, float]:
        """Rows before the pulse and at the stated time in it, and the state of charge it was made at."""
        record, soc = self._nearest(s.pulse, s.soc)
        step = self._rows(record)
        flowing = np.abs(self.current[step]) > 0.5 * np.nanmax(np.abs(self.current[step]))
        if not flowing.any():
            raise _MissingError(f"no current flowed in the pulse at {soc:.0%} SOC")
        began = self.t[step[flowing][0]]  # the time counts from the current, not from the command
        rows = step[flowing & (self.t[step] <= began + s.at + 1e-6)]
        if self.t[rows[-1]] < began + 0.99 * s.at:
            raise _MissingError(f"the pulse at {soc:.0%} SOC was shorter than {s.at:g} s")
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
        return ohm, {
            "soc_percent": round(100 * soc, 1),
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
        detail: Detail = {"soc_percent": round(100 * soc, 1), "rest_s": round(record.ended - record.started)}
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

    def _temperature_max(self, s: TemperatureMax) -> Computed:
        temperatures = self.run.columns["temperature_max"]
        if np.isnan(temperatures).all():
            raise _MissingError("no good temperature")
        return float(np.nanmax(temperatures)), {}


def _resolution(readings: Array) -> float:
    """The smallest step between two readings of an instrument: what it cannot tell apart."""
    steps = np.diff(np.unique(np.round(readings[np.isfinite(readings)], 6)))
    return float(steps.min()) if steps.size else 0.0
