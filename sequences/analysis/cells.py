"""The cells of a string against each other: spread, the weakest one, and which cell ends charge and discharge, and why.

All cells carry the same current, so each is compared with the median cell. Where the median cell passes a voltage after
Q Ah of the discharge, another passes it after a + b Q: `a` is its offset in charge when the discharge began (positive:
fuller), `b` its capacity over the median cell's. Resistance is taken out first, with the drop at a current step. So the
Ah by which a cell ends a discharge or a charge before the median cell fall into three parts that add up:

    discharge: -a (imbalance) + (1 - b) Q (capacity) + (R - R median) I / |dV/dQ| (resistance)
    charge:    a - (1 - b) Q (imbalance, seen at the bottom) + (1 - b) Q (capacity) + the same at the charge's current
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sequences.analysis.degradation import correlation_length
from sequences.analysis.estimate import ROOT_12, Estimate, UnmeasurableError
from sequences.analysis.resistance import Pulse
from sequences.analysis.segments import Segments, Sweep
from sequences.analysis.series import Array, Indices, TimeSeries, resolution

Cause = Literal["imbalance", "capacity", "resistance", "none"]

_MAIN_CURRENT = 0.1  # the samples compared have the discharge's usual current within this share
_POINTS = 400
_FEWEST = 20
_FEWEST_CELLS = 3
_GOOD_SHARE = 0.9
# of the discharge at either end: there the voltage tells how far a cell is from its own limits. Between them it tells
# how each electrode aged, which is no stretching; and in the first moments the battery has not settled to the load
_ENDS = 0.2
_SETTLING = 0.03
# error of the ratio where cells aged apart, rms over simulated used packs of 96 cells: what the method itself adds
_SHAPE = 0.005
_STEEP_SHARE = 0.02  # of the discharge: over which the slope at its ends is taken
_SIGNIFICANT = 2.0  # standard uncertainties
_LEAST_SHARE = 0.002  # of the charge moved: below, nobody cares


@dataclass(frozen=True, slots=True)
class Limiting:
    """The cell that ends a charge or discharge, counted from 1; why, and the three parts in Ah by cause."""

    cell: int
    cause: Cause
    parts: Mapping[str, Estimate]
    voltage: float


@dataclass(frozen=True)
class CellComparison:
    """Every cell against the median cell: arrays (k,), NaN for cells without good readings.

    `capacity_ratio` and `offset_ah` with their standard uncertainties, `resistance` in ohm at `resistance_at_s`.
    """

    capacity_ratio: Array
    capacity_ratio_uncertainty: Array
    offset_ah: Array
    offset_ah_uncertainty: Array
    resistance: Array
    resistance_at_s: float
    weakest: Estimate
    highest_resistance: int
    limits_discharge: Limiting
    limits_charge: Limiting | None


def cell_spread(series: TimeSeries, row: int) -> Estimate:
    """Highest minus lowest cell voltage in V at a sample; `detail` counts cells from 1."""
    cells = _cells(series)[row]
    if not np.isfinite(cells).all():
        raise UnmeasurableError("a cell's voltage is not good")
    lowest, highest = int(np.argmin(cells)), int(np.argmax(cells))
    reading = math.sqrt(2) * resolution(_cells(series).ravel(order="K")) / ROOT_12
    return Estimate(
        float(cells[highest] - cells[lowest]),
        reading,
        "V",
        ((row, row),),
        {"lowest_cell": lowest + 1, "highest_cell": highest + 1, "lowest_v": float(cells[lowest])},
    )


def cell_resistances(series: TimeSeries, pulse: Pulse, at: float = 10.0) -> tuple[Array, float]:
    """Resistance of every cell in ohm (k,) `at` s after a current began, or where it ended before; and that time.

    By the same rule as `dc_resistance`, without its checks: here cells are compared with each other.
    """
    cells = _cells(series)
    wanted = float(series.time[pulse.first]) + at
    row = min(int(np.searchsorted(series.time, wanted + 1e-6, side="right")) - 1, pulse.last)
    row = max(row, pulse.first)
    step = float(series.current[row] - series.current[pulse.before])
    if step == 0:
        raise UnmeasurableError("the current did not change")
    return (cells[row] - cells[pulse.before]) / step, float(series.time[row] - series.time[pulse.first])


def compare_cells(segments: Segments, discharge: Sweep, pulse: Pulse) -> CellComparison:
    """Compare the cells over a full discharge, with their resistances from a pulse.

    Raises UnmeasurableError without cell voltages, for fewer than three cells, and when too little of the discharge
    has one current.
    """
    series = segments.series
    cells = _cells(series)
    rows = _main_rows(segments, discharge)
    charge = np.abs(series.net_ah[rows] - series.net_ah[discharge.first])
    rows = rows[np.unique(np.searchsorted(charge, np.linspace(charge[0], charge[-1], _POINTS)))]
    resistance, at = cell_resistances(series, pulse)
    good = np.isfinite(resistance) & (np.isfinite(cells[rows]).mean(axis=0) > _GOOD_SHARE)
    rows = rows[np.isfinite(cells[rows][:, good]).all(axis=1)]
    if good.sum() < _FEWEST_CELLS or len(rows) < _FEWEST:
        raise UnmeasurableError("fewer than three cells have good voltages")
    charge = np.abs(series.net_ah[rows] - series.net_ah[discharge.first])
    current = abs(float(np.median(series.current[rows])))
    step = resolution(cells[rows][:, good].ravel())

    resistance = np.where(good, resistance, np.nan)
    excess = resistance - float(np.nanmedian(resistance))
    without_drop = cells[rows] + excess * current
    median = np.median(without_drop[:, good], axis=1)
    ratio, ratio_u, offset, offset_u = (np.full(len(good), np.nan) for _ in range(4))
    for cell in np.flatnonzero(good):
        ratio[cell], ratio_u[cell], offset[cell], offset_u[cell] = _stretch(charge, median, without_drop[:, cell], step)

    if not np.isfinite(ratio).any():
        raise UnmeasurableError("the cells' voltages have too little in common")
    moved = float(charge[-1])
    range_ = ((discharge.first, discharge.last),)
    # what resolution leaves of a resistance, in V at the discharge's current
    of_drop = math.sqrt(2) * step / ROOT_12 / abs(float(series.current[pulse.first + (pulse.last > pulse.first)]))

    def limiting(cell: int, imbalance: float, ampere: float, slope: float, voltage: float) -> Limiting:
        capacity = (1 - ratio[cell]) * moved
        parts = {
            "imbalance": Estimate(imbalance, float(offset_u[cell]), "Ah", range_),
            "capacity": Estimate(float(capacity), float(ratio_u[cell]) * moved, "Ah", range_),
            "resistance": Estimate(float(excess[cell]) * ampere / slope, of_drop * ampere / slope, "Ah", range_),
        }
        return Limiting(cell + 1, _cause(parts, moved), parts, voltage)

    low = int(np.nanargmin(np.where(good, cells[rows[-1]], np.nan)))
    bottom = _slope(charge, cells[rows, low], moved, at_end=True)
    ends = limiting(low, -float(offset[low]), current, bottom, float(cells[rows[-1], low]))

    tops = _end_of_charge(segments, discharge)
    begins = None
    if tops is not None:
        high = int(np.nanargmax(np.where(good, cells[tops], np.nan)))
        top = _slope(charge, cells[rows, high], moved, at_end=False)
        at_bottom = float(offset[high] - (1 - ratio[high]) * moved)
        begins = limiting(high, at_bottom, float(series.current[tops]), top, float(cells[tops, high]))

    weakest = int(np.nanargmin(ratio))
    return CellComparison(
        ratio, ratio_u, offset, offset_u, resistance, at,
        Estimate(float(ratio[weakest]), float(ratio_u[weakest]), "1", range_, {"cell": weakest + 1}),
        int(np.nanargmax(resistance)) + 1, ends, begins,
    )  # fmt: skip


def _cells(series: TimeSeries) -> Array:
    if series.cells is None or not series.cells.shape[1]:
        raise UnmeasurableError("there are no cell voltages")
    return series.cells


def _main_rows(segments: Segments, discharge: Sweep) -> Indices:
    """The samples of a discharge at its usual current: no rests, no pulses, no tapers."""
    current = -segments.series.current[discharge.first : discharge.last + 1]
    flowing = np.flatnonzero(current > segments.rest_current)
    if not flowing.size:
        raise UnmeasurableError("nothing was discharged")
    usual = float(np.median(current[flowing]))
    rows = flowing[np.abs(current[flowing] - usual) <= _MAIN_CURRENT * usual] + discharge.first
    if len(rows) < max(_FEWEST, flowing.size // 2):
        raise UnmeasurableError("the discharge has no usual current")
    return rows


def _stretch(charge: Array, median: Array, cell: Array, step: float) -> tuple[float, float, float, float]:
    """Ratio b and offset a of charge_cell(v) = a + b charge_median(v) near both ends, with standard uncertainties.

    Weighted with the median's slope, so that residuals are volts: on a plateau the voltage says little about charge.
    """
    moved = float(charge[-1])
    settled = charge >= _SETTLING * moved
    charge = charge[settled]
    falling, reference = (np.minimum.accumulate(voltage[settled]) for voltage in (cell, median))
    common = (reference <= falling[0]) & (reference >= falling[-1])
    used = np.flatnonzero(common & ((charge <= _ENDS * moved) | (charge >= (1 - _ENDS) * moved)))
    if len(used) < _FEWEST:
        return math.nan, math.nan, math.nan, math.nan
    here = charge[used]
    there = np.interp(reference[used], falling[::-1], charge[::-1])  # reversed: interpolation wants rising voltages
    weight = np.abs(np.gradient(reference, charge))[used]
    basis = np.column_stack((np.ones_like(here), here)) * weight[:, None]
    offset, ratio = map(float, np.linalg.lstsq(basis, there * weight, rcond=None)[0])
    left = there * weight - basis @ (offset, ratio)
    variance = float(left @ left) / max(len(here) - 2, 1) * correlation_length(left) + step**2 / 12
    spread = np.linalg.pinv(basis.T @ basis) * variance
    of_shape = _SHAPE * moved
    return ratio, math.hypot(math.sqrt(spread[1, 1]), _SHAPE), offset, math.hypot(math.sqrt(spread[0, 0]), of_shape)


def _slope(charge: Array, voltage: Array, moved: float, *, at_end: bool) -> float:
    """Magnitude of dV/dQ of a cell in V/Ah at an end of the discharge."""
    near = charge >= (1 - _STEEP_SHARE) * moved if at_end else charge <= _STEEP_SHARE * moved
    t, v = charge[near], voltage[near]
    if len(t) < 3 or np.ptp(t) <= 0:
        raise UnmeasurableError("too few samples at an end of the discharge")
    return max(abs(float(np.polyfit(t - t[0], v, 1)[0])), 1e-9)


def _end_of_charge(segments: Segments, discharge: Sweep) -> int | None:
    """The last sample with charge current before a discharge, if the data reach back to it."""
    charging = np.flatnonzero(segments.series.current[: discharge.first + 1] > segments.rest_current)
    return int(charging[-1]) if charging.size else None


def _cause(parts: Mapping[str, Estimate], moved: float) -> Cause:
    for name, part in sorted(parts.items(), key=lambda item: -item[1].value):
        if part.value > max(_SIGNIFICANT * part.uncertainty, _LEAST_SHARE * moved):
            return name  # type: ignore[return-value]
    return "none"
