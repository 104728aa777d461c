"""One run: a battery, a recipe, and what has happened so far."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from config import Accuracy, DutModel, StationConfig
from controller.journal import Event, Journal
from controller.mes.messages import Mode
from sequences import (
    Bound,
    Context,
    Dut,
    Forecast,
    GradeRules,
    Keeper,
    Measured,
    MeasurementResult,
    Program,
    Recipe,
    Record,
    RunData,
    Sample,
    StationLimits,
    StepRecord,
    dry_run,
    effective_bounds,
    tightest,
)
from sequences.analysis import Instrument

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


@dataclass(frozen=True, slots=True)
class Job:
    """For whom a run is: in LOCAL mode an operator starts it, in REMOTE mode the MES, for a work order."""

    mode: Mode = Mode.LOCAL
    order_id: str | None = None
    operation: str | None = None
    parent: str | None = None  # what the battery was taken from, or lies in
    batch: str | None = None
    carrier: str | None = None
    position: str | None = None

    @property
    def of_dut(self) -> dict[str, str | None]:
        """What the order says of the battery beside its code, by OF_DUT."""
        return {key: getattr(self, key) for key in OF_DUT}


OF_DUT = ("parent", "batch", "carrier", "position")
LOCAL = Job()


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
    forecast: Forecast
    job: Job = LOCAL
    was_left: bool = False  # by a daemon that died
    dut: Dut = field(init=False)
    program: Program = field(init=False)
    bounds: list[Bound] = field(init=False)
    records: list[StepRecord] = field(default_factory=list)
    alarms: list[dict[str, Any]] = field(default_factory=list)
    results: list[MeasurementResult] = field(default_factory=list)
    interim: dict[str, Measured | None] = field(default_factory=dict)  # what measure steps worked out

    def __post_init__(self) -> None:
        self.dut = dut_of(self.model)
        context = Context(self.dut, self.capacity_estimate, self.soc, self.limits.roles)
        self.program = Program(self.recipe, context)
        self.bind_to_limits()

    def bind_to_limits(self) -> None:
        """What the recipe bounds, within what the station stands."""
        safety, takes_empty = self.recipe.safety, self.recipe.takes_empty
        self.bounds = effective_bounds(safety, self.dut, self.limits, takes_empty=takes_empty)

    def bounds_now(self) -> list[Bound]:
        """The bounds that hold while the steps run that run now: their own, and those of the recipes around them."""
        bounds = self.bounds
        for leaf in self.program.active:
            for safety in leaf.own_safeties:
                own = effective_bounds(safety, self.dut, self.limits, takes_empty=self.recipe.takes_empty)
                bounds = tightest(bounds, own)
        return bounds

    @property
    def identity(self) -> dict[str, Any]:
        """What was run on what by whom, as the start records it."""
        return {
            "recipe": self.recipe.id,
            "hash": self.recipe.content_hash,
            "parameters": self.recipe.parameter_values,
            "dut": self.code,
            "author": self.author,
            "mode": str(self.job.mode),
            "order": self.job.order_id,
            "operation": self.job.operation,
            **self.job.of_dut,
        }

    def measured(self, results: Iterable[MeasurementResult]) -> dict[str, Measured]:
        """Measurements as the grading takes them; what was not measured is absent."""
        return {
            result.measurement.name: Measured(result.value, result.uncertainty or 0.0, result.measurement.source.kind)
            for result in results
            if result.value is not None
        }


COUNTERS, COUNTERS_EVERY = "run.counters", 5.0  # s without a sample kept after which the counters are


class Recorder:
    """Writes a run's samples to the journal, one row each; the running step's rule says which.

    Where it keeps few, the counters are written by themselves: after a crash the run goes on from the newest ones.
    """

    def __init__(self, journal: Journal, run: Run) -> None:
        self._journal, self._run = journal, run
        self._columns: tuple[str, ...] = ()
        self._channels = 0
        self._keeper = Keeper(run.dut.rated_capacity)
        self._index = 0
        self._written_at = run.started

    def begin(self, index: int, rule: Record | None) -> None:
        """Samples from here on are this step run's."""
        self._index = index
        self._keeper.use(rule)

    @property
    def burst_period(self) -> float | None:
        """Sampling period that a burst around an edge of the current wants now, s."""
        return self._keeper.bursting

    def add(self, sample: Sample) -> None:
        for kept in self._keeper.keep(sample):
            self._write(kept)
        if sample.t - self._written_at >= COUNTERS_EVERY:
            self._written_at = sample.t
            body = {"counters": asdict(sample.counters)} | {name: sample.good(name) for name in ("current", "voltage")}
            self._journal.append(Event(sample.t, self._run.station, self._run.id, COUNTERS, body))

    def end(self) -> None:
        """A step ends here: its last sample is kept, whatever its rule."""
        for kept in self._keeper.settle():
            self._write(kept)

    def _write(self, sample: Sample) -> None:
        self._written_at = sample.t
        if len(sample.temperatures) != self._channels or not self._columns:
            self._channels = len(sample.temperatures)
            cells = tuple(f"cell_{n:03d}" for n in range(1, self._run.dut.series_cells + 1))
            channels = tuple(f"temperature_{n:02d}" for n in range(1, self._channels + 1))
            self._columns = COLUMNS + cells + channels
        counters = sample.counters
        row: list[float | None] = [sample.t, sample.t - self._run.started, self._index]
        row += [sample.good(name) for name in _MEASURED]
        row += [counters.charged_ah, counters.discharged_ah, counters.charged_wh, counters.discharged_wh]
        row += [sample.good(name) for name in _DERIVED]
        row += _padded(sample.cells, self._run.dut.series_cells)
        row += sample.temperatures
        rows = np.array([row], dtype=np.float64)  # None becomes NaN
        self._journal.append_samples(sample.t, self._run.station, self._run.id, self._columns, rows)


def _padded(values: tuple[float | None, ...], length: int) -> list[float | None]:
    return [*values[:length], *[None] * (length - len(values))]


def run_data(
    columns: tuple[str, ...], rows: NDArray[np.float64], records: list[StepRecord], station: StationConfig | None = None
) -> RunData:
    """The journal's samples as the analysis takes them; the cycler's accuracy is taken as rectangular."""
    cells = [index for index, name in enumerate(columns) if name.startswith("cell_") and name[5:].isdigit()]
    signals = sorted(set(range(len(columns))) - set(cells))
    picked = np.asfortranarray(rows[:, signals])  # each in one piece: the analysis reads them again and again
    by_name = {columns[index]: picked[:, place] for place, index in enumerate(signals)}
    cycler = station.instruments.get("cycler") if station is not None else None
    accuracy = cycler.accuracy if cycler is not None else Accuracy()
    gains = (limit / 100 / math.sqrt(3) for limit in (accuracy.voltage_percent, accuracy.current_percent))
    return RunData(by_name, rows[:, cells], tuple(records), Instrument(*gains))


def forecast_of(
    recipe: Recipe,
    model: DutModel,
    limits: StationLimits | None,
    soc: float,
    capacity: float,
    temperature: float = 25.0,
    rules: GradeRules | None = None,
) -> Forecast:
    """The dry run of a recipe on a battery of this model; takes up to seconds: call it in a thread.

    `rules` grade what a recipe routes by; without them a provisional grade is held for certain.
    """
    dut = dut_of(model)
    own = rules.for_battery(dut) if rules is not None else None
    return dry_run(recipe, dut, limits, soc=soc, capacity=capacity, temperature=temperature, rules=own)
