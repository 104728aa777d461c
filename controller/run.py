"""One run: a battery, a recipe, and what has happened so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from config import DutModel
from controller.journal import Journal
from sequences import (
    Bound,
    Dut,
    MeasurementResult,
    PlannedStep,
    Recipe,
    RunData,
    Sample,
    StationLimits,
    StepRecord,
    effective_bounds,
    estimate_durations,
    expand,
)

# what one sample leaves in the journal, besides one column a cell and one a temperature channel
COLUMNS = (
    "t", "test_time", "step", "voltage", "current", "power", "charged_ah", "discharged_ah", "charged_wh",
    "discharged_wh", "cell_min", "cell_max", "temperature_min", "temperature_max", "insulation", "soc",
)  # fmt: skip
_MEASURED = ("voltage", "current", "power")
_DERIVED = ("cell_min", "cell_max", "temperature_min", "temperature_max", "insulation", "soc")


def dut_of(model: DutModel) -> Dut:
    """The battery as the evaluation language sees it."""
    return Dut(
        model=model.id,
        kind=model.kind,
        chemistry=model.chemistry,
        series_cells=model.series_cells,
        rated_capacity=model.rated_capacity_ah,
        rated_energy=model.rated_energy_wh,
        nominal_voltage=model.nominal_voltage_v,
        cell_voltage_min=model.cell_voltage_min_v,
        cell_voltage_max=model.cell_voltage_max_v,
        cell_voltage_hard_min=model.cell_voltage_hard_min_v,
        cell_voltage_hard_max=model.cell_voltage_hard_max_v,
        max_charge_current=model.max_charge_current_a,
        max_discharge_current=model.max_discharge_current_a,
        temperature_min=model.temperature_min_degc,
        temperature_max=model.temperature_max_degc,
        initial_dcir=model.initial_dcir_ohm,
        capacity_factor_c2_to_c3=model.capacity_factor_c2_to_c3,
    )


@dataclass
class Run:
    """Owned by its station; the engine fills it, nobody else writes to it."""

    id: str
    station: str
    code: str
    model: DutModel
    recipe: Recipe
    author: str
    reason: str
    limits: StationLimits
    started: float
    capacity_estimate: float
    soc: float
    dut: Dut = field(init=False)
    plan: list[PlannedStep] = field(init=False)
    expected: list[float] = field(init=False)
    bounds: list[Bound] = field(init=False)
    records: list[StepRecord] = field(default_factory=list)
    alarms: list[dict[str, Any]] = field(default_factory=list)
    results: list[MeasurementResult] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dut = dut_of(self.model)
        self.plan = expand(self.recipe)
        self.expected = estimate_durations(self.plan, self.dut, self.soc, self.capacity_estimate)
        self.bounds = effective_bounds(self.recipe.safety, self.dut, self.limits)

    @property
    def identity(self) -> dict[str, Any]:
        """What was run on what by whom, as the start records it."""
        return {"recipe": self.recipe.id, "hash": self.recipe.content_hash, "dut": self.code, "author": self.author}


class Recorder:
    """Writes a run's samples to the journal, one row each."""

    def __init__(self, journal: Journal, run: Run) -> None:
        self._journal, self._run = journal, run
        self._columns: tuple[str, ...] = ()
        self._channels = 0

    def add(self, sample: Sample, step: int) -> None:
        if len(sample.temperatures) != self._channels or not self._columns:
            self._channels = len(sample.temperatures)
            cells = tuple(f"cell_{n:03d}" for n in range(1, self._run.dut.series_cells + 1))
            channels = tuple(f"temperature_{n:02d}" for n in range(1, self._channels + 1))
            self._columns = COLUMNS + cells + channels
        counters = sample.counters
        row: list[float | None] = [sample.t, sample.t - self._run.started, step]
        row += [sample.good(name) for name in _MEASURED]
        row += [counters.charged_ah, counters.discharged_ah, counters.charged_wh, counters.discharged_wh]
        row += [sample.good(name) for name in _DERIVED]
        row += _padded(sample.cells, self._run.dut.series_cells)
        row += sample.temperatures
        rows = np.array([row], dtype=np.float64)  # None becomes NaN
        self._journal.append_samples(sample.t, self._run.station, self._run.id, self._columns, rows)


def _padded(values: tuple[float | None, ...], length: int) -> list[float | None]:
    return [*values[:length], *[None] * (length - len(values))]


def run_data(columns: tuple[str, ...], rows: NDArray[np.float64], records: list[StepRecord]) -> RunData:
    """The journal's samples as the analysis takes them."""
    by_name = {name: rows[:, index] for index, name in enumerate(columns)}
    cells = [index for index, name in enumerate(columns) if name.startswith("cell_") and name[5:].isdigit()]
    return RunData(by_name, rows[:, cells], tuple(records))
