"""The samples and step runs that one recipe's measurements are worked out from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sequences.analysis import (
    Estimate,
    Instrument,
    Segments,
    SpectrumFit,
    TimeSeries,
    charge_moved,
    energy_moved,
    find_segments,
)
from sequences.analysis.series import resolution
from sequences.dut import Dut
from sequences.expression import Evaluation, Expression, Scope
from sequences.recipe import Recipe
from sequences.record import StepRecord
from sequences.text import Text

Array = NDArray[np.float64]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class RunData:
    """All samples of a run. `columns` are 1-d arrays of n samples (NaN = not good), `cells` is (n, series cells), V.

    The column `step` tells by index which step run a sample belongs to; time alone does not, since the last sample
    of one step and the first of the next may be taken at the same moment. `instrument` is what is known of the cycler.
    """

    columns: Mapping[str, Array]
    cells: Array
    steps: tuple[StepRecord, ...]
    instrument: Instrument = field(default_factory=Instrument)


class MissingError(Exception):
    """Why something could not be measured, in words."""

    def __init__(self, en: str, ko: str) -> None:
        super().__init__(en)
        self.text = Text(en=en, ko=ko)


@dataclass
class Samples:
    """Those of one recipe's scope. Rows count in the run's samples, `series` has the usable ones of them.

    Step runs are found by name, their rows by the column `step`.
    """

    dut: Dut
    run: RunData
    recipe: Recipe
    scope: str
    names: Scope
    spectra: dict[int, SpectrumFit] = field(default_factory=dict)
    _rows: dict[int, Rows] = field(default_factory=dict)

    @cached_property
    def records(self) -> list[StepRecord]:
        return [record for record in self.run.steps if record.scope == self.scope]

    @cached_property
    def t(self) -> Array:
        return self.run.columns["t"]

    def column(self, name: str) -> Array:
        """A signal's samples (n,), NaN where it was not recorded."""
        found = self.run.columns.get(name)
        return np.full(len(self.t), np.nan) if found is None else found

    @cached_property
    def net_ah(self) -> Array:
        return self.run.columns["charged_ah"] - self.run.columns["discharged_ah"]

    @cached_property
    def net_wh(self) -> Array:
        return self.run.columns["charged_wh"] - self.run.columns["discharged_wh"]

    # ---- step runs

    def runs(self, name: str) -> list[StepRecord]:
        """Every run of a step, oldest first."""
        records = [record for record in self.records if record.name == name]
        if not records:
            raise MissingError(f"step {name} did not run", f"{name} 단계가 실행되지 않음")
        return records

    def last(self, name: str) -> StepRecord:
        """The newest run of a step, which must have come to its end."""
        record = self.runs(name)[-1]
        if not record.complete:
            raise MissingError(
                f"step {record.label} ended by {record.reason}", f"{record.label} 단계가 {record.reason} (으)로 끝남"
            )
        return record

    def rows(self, record: StepRecord) -> Rows:
        rows = self._rows.get(record.index)
        if rows is None:
            rows = self._rows[record.index] = np.flatnonzero(self.run.columns["step"] == record.index)
        if not rows.size:
            raise MissingError(f"step {record.label} has no samples", f"{record.label} 단계에 샘플이 없음")
        return rows

    def end(self, record: StepRecord) -> int:
        """Row of the step run's last sample."""
        return int(self.rows(record)[-1])

    # ---- as a time series

    @cached_property
    def usable(self) -> Rows:
        """Rows with good time, voltage and current, of which the time does not fall."""
        good = np.isfinite(self.t) & np.isfinite(self.column("voltage")) & np.isfinite(self.column("current"))
        rows = np.flatnonzero(good)
        return rows[self.t[rows] >= np.maximum.accumulate(self.t[rows])] if rows.size else rows

    @cached_property
    def series(self) -> TimeSeries:
        rows = self.usable
        if not rows.size:
            raise MissingError("no sample has a good voltage and current", "전압과 전류가 정상인 샘플이 없음")
        every = len(rows) == len(self.t)

        def picked(name: str) -> Array:
            column = self.column(name)
            return column if every else column[rows]

        cells = self.run.cells
        return TimeSeries(
            picked("t"),
            picked("voltage"),
            picked("current"),
            step=picked("step"),
            cells=(cells if every else cells[rows]) if cells.shape[1] else None,
            temperature=picked("temperature_max"),
            instrument=self.run.instrument,
        )

    @cached_property
    def cells(self) -> TimeSeries:
        """Every sample of the cells alone, whose rows are those of the run."""
        nothing = np.zeros(len(self.t))
        return TimeSeries(nothing, nothing, nothing, cells=self.run.cells)

    @cached_property
    def cell_step(self) -> float:
        """The step that cells' voltages are told in, V; 0 where it does not show."""
        return resolution(self.run.cells.ravel(order="K"))

    @cached_property
    def segments(self) -> Segments:
        return find_segments(self.series)

    def at(self, row: int) -> int:
        """The row of the series that is this row of the run, or the usable one before it."""
        return max(int(np.searchsorted(self.usable, row, side="right")) - 1, 0)

    def span(self, record: StepRecord) -> tuple[int, int]:
        """First and last row in the series of a step run."""
        rows = self.rows(record)
        first = int(np.searchsorted(self.usable, rows[0]))
        last = self.at(int(rows[-1]))
        if last <= first:
            raise MissingError(f"step {record.label} has no good samples", f"{record.label} 단계에 정상 샘플이 없음")
        return first, last

    def of_run(self, estimate: Estimate) -> Estimate:
        """An estimate from the series, with its rows counted in the run."""
        return replace(estimate, rows=tuple((int(self.usable[a]), int(self.usable[b])) for a, b in estimate.rows))

    # ---- what many measurements need

    def discharged(self, first: int, last: int, unit: str = "Ah", *, gain: bool = True) -> Estimate:
        """Net charge or energy that was discharged between two rows, by the run's counters.

        They saw every sample, also those that were not recorded; the uncertainty is that of the recorded ones.
        Without `gain` it leaves out the instruments' gains, which cancel in a ratio.
        """
        net = self.net_ah if unit == "Ah" else self.net_wh
        value = float(net[first] - net[last])
        a, b = self.at(first), self.at(last)
        uncertainty = math.nan
        if a < b < len(self.usable):
            segments = self.segments if gain else self._without_gain
            uncertainty = (charge_moved if unit == "Ah" else energy_moved)(segments, a, b).uncertainty
        return Estimate(value, uncertainty, unit, ((first, last),))

    @cached_property
    def _without_gain(self) -> Segments:
        if self.run.instrument == Instrument():
            return self.segments
        return replace(self.segments, series=replace(self.series, instrument=Instrument()))

    def worked_out(self, expression: Expression) -> float:
        """The value of a measurement's own expression, in coherent units."""
        value = Evaluation(expression).now(self.names)
        if value is None:
            raise MissingError(f"a value in {expression.text} is not known", f"{expression.text} 의 값을 알 수 없음")
        return float(value)


def at_soc(soc: float | None) -> dict[str, float | str]:
    return {} if soc is None else {"soc_percent": round(100 * soc, 1)}
