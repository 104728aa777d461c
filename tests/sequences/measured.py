"""Runs made by hand of batteries whose truth is known: steps with a current each, every cell a model of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sequences import Context, Dut, MeasurementResult, Recipe, RunData, StepRecord, analyse
from sequences.analysis import TimeSeries
from tests.sequences.analysis.batteries import Array, Cell
from tests.sequences.playing import Data, recipe_of, rest

DUT = Dut(
    model="module_4s", kind="module", chemistry="NMC", series_cells=4, rated_capacity=5.0, rated_energy=74.0,
    nominal_voltage=14.8, cell_voltage_min=2.5, cell_voltage_max=4.2, cell_voltage_hard_min=2.4,
    cell_voltage_hard_max=4.25, max_charge_current=5.0, max_discharge_current=15.0, temperature_min=5.0,
    temperature_max=50.0, initial_dcir=0.1, capacity_factor_c2_to_c3=1.0,
)  # fmt: skip
CELLS = (Cell(), Cell(), Cell(), Cell())
BEGAN = 1_000_000.0  # unix s


@dataclass
class Bench:
    """A run step by step. `leaks` are what cells lose by themselves, A; `offsets` Ah they have more than the first."""

    cells: Sequence[Cell] = CELLS
    period: float = 1.0
    removed: float = 0.0
    leaks: Sequence[float] = (0.0, 0.0, 0.0, 0.0)
    offsets: Sequence[float] = (0.0, 0.0, 0.0, 0.0)
    step: float = 0.0  # V that the cells' voltages are told in; 0 = exactly
    noise: float = 0.0
    scatter: float = 0.0  # A, of the readings of a current
    _parts: list[tuple[str, float, float, float, Data]] = field(default_factory=list)

    def does(self, name: str, ampere: float, seconds: float, period: float | None = None, **more: Any) -> Bench:
        self._parts.append((name, ampere, seconds, period or self.period, more))
        return self

    def data(self, **columns: float) -> RunData:
        times, currents, steps, records, now = [], [], [], [], 0.0
        for index, (name, ampere, seconds, period, more) in enumerate(self._parts):
            count = round(seconds / period)
            seconds = count * period
            # the first sample of a step is taken as its current begins, the next step's when this one's ended
            times += [now + 1e-3, *(now + period * np.arange(1, count + 1))]
            currents += [ampere] * (count + 1)
            steps += [index] * (count + 1)
            moved = {"charge": ampere * seconds / 3600}
            record = StepRecord(index, name, name, BEGAN + now, BEGAN + now + seconds, "duration", True)
            records.append(replace(record, **{**moved, **more}))
            now += seconds
        time, current = np.array(times), np.array(currents)
        every = zip(self.cells, self.leaks, self.offsets, strict=True)
        cells = np.column_stack([c.voltages(time, current - leak, self.removed - more) for c, leak, more in every])
        random = np.random.default_rng(1)
        cells = cells + random.normal(0, self.noise, cells.shape)
        voltage = cells.sum(axis=1)
        current = current + np.where(current == 0, 0, random.normal(0, self.scatter, len(time)))
        series = TimeSeries(time, voltage, current)
        charged, discharged = series.throughput
        charged_wh, discharged_wh = series.energy
        found = {
            "t": BEGAN + time, "step": np.array(steps, float), "voltage": voltage, "current": current,
            "charged_ah": charged, "discharged_ah": discharged, "charged_wh": charged_wh,
            "discharged_wh": discharged_wh, "temperature_min": np.full(len(time), 25.0),
            "temperature_max": np.full(len(time), 25.0), "insulation": np.full(len(time), 1e6),
            **{name: np.full(len(time), value) for name, value in columns.items()},
        }  # fmt: skip
        told: Array = np.round(cells / self.step) * self.step if self.step else cells
        return RunData(found, told, tuple(records))


def recipe(sources: Mapping[str, Data], *steps: Data) -> Recipe:
    measurements = [
        {"name": name, "title": {"en": name, "ko": name}, **{k: v for k, v in source.items() if k in ("limits",)},
         "from": {k: v for k, v in source.items() if k != "limits"}}
        for name, source in sources.items()
    ]  # fmt: skip
    return recipe_of(*(steps or (rest(),)), measurements=measurements)


def measured(run: RunData, sources: Mapping[str, Data], *steps: Data, dut: Dut = DUT) -> dict[str, MeasurementResult]:
    context = Context(dut, dut.rated_capacity, 0.5)
    return {result.measurement.name: result for result in analyse(recipe(sources, *steps), context, run)}


def one(run: RunData, *steps: Data, dut: Dut = DUT, **source: Any) -> MeasurementResult:
    return measured(run, {"found": source}, *steps, dut=dut)["found"]
