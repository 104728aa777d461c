"""Incremental capacity dQ/dV and differential voltage dV/dQ of a sweep, with their peaks.

The charge of every sample goes into the bin of its voltage (or the voltage into the bin of its charge), so noise needs
no sorting, the area under dQ/dV is the capacity, and a smoothing polynomial (Savitzky-Golay) gives value and slopes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sequences.analysis.estimate import ROOT_12, Estimate, UnmeasurableError
from sequences.analysis.series import Array, Indices, TimeSeries

BIN = 1e-3  # V a cell
SMOOTHED = 31e-3  # V a cell: the width of the smoothing polynomial
PROMINENCE = 0.02  # of the tallest peak of dQ/dV: how far a peak stands out of its surroundings
_PROMINENCE_DVA = 0.1  # of the median of dV/dQ, whose tallest point is its steep end
_SIGMAS = 5.0
_SAMPLES_A_BIN = 4
_SHARES = 1000  # bins of dV/dQ in a sweep
_FEWEST_BINS = 31
_ORDER = 3


@dataclass(frozen=True)
class Differential:
    """A curve (n,) over its x (n,) with peaks. Voltages are a cell's, positive also for a discharge.

    dQ/dV: x in V, curve in Ah/V. dV/dQ: x in Ah since the sweep began, curve in V/Ah.
    """

    x: Array
    curve: Array
    width: float
    peaks: tuple[Estimate, ...]


def incremental_capacity(series: TimeSeries, first: int, last: int, cells: int = 1) -> Differential:
    """dQ/dV of a sweep in bins of 1 mV a cell, wider where the readings are coarser; `cells` in series.

    A peak's position is the zero of the smoothed slope; its uncertainty is the slope's scatter over the curvature, the
    resolution and a quarter of a bin. `detail` holds its height in Ah/V and what the current was, since polarisation
    shifts peaks: compare at the same current. Raises UnmeasurableError for too few samples.
    """
    voltage = (series.voltage[first:last] + series.voltage[first + 1 : last + 1]) / (2 * cells)
    current = (series.current[first:last] + series.current[first + 1 : last + 1]) / 2
    charge = np.abs(current) * series.dt[first:last] / 3600
    flowing = charge > 0
    voltage, charge = voltage[flowing], charge[flowing]
    span = float(np.ptp(voltage)) if voltage.size else 0.0
    if span <= 0:
        raise UnmeasurableError("the voltage did not change")
    width = max(BIN, series.voltage_resolution / cells, _SAMPLES_A_BIN * span / voltage.size)
    index, count = _bins(voltage, width)
    if count < _FEWEST_BINS:
        raise UnmeasurableError(f"{voltage.size} samples over {1e3 * span:.0f} mV are too coarse")
    curve: Array = np.bincount(index, weights=charge, minlength=count).astype(np.float64) / width
    x: Array = float(voltage.min()) + (np.arange(count, dtype=np.float64) + 0.5) * width
    window = _odd(SMOOTHED / width)
    mean_current = float(charge.sum() / (series.dt[first:last][flowing].sum() / 3600))
    blur = max(series.voltage_resolution / cells, width / 4) / ROOT_12
    smooth, peaks = _smooth_with_peaks(
        x, curve, width, window, PROMINENCE * float(curve.max()), "V", blur, ((first, last),), mean_current
    )
    return Differential(x, smooth, width, peaks)


def differential_voltage(series: TimeSeries, first: int, last: int, cells: int = 1) -> Differential:
    """dV/dQ of a sweep over the charge since its beginning, in a thousandth of the sweep each.

    Its peaks lie where an electrode changes phase, so distances between them measure electrode capacities.
    """
    moved = np.abs(series.net_ah[first : last + 1] - series.net_ah[first])
    voltage = series.voltage[first : last + 1] / cells
    total = float(moved[-1])
    if total <= 0 or len(moved) < _SHARES // 4:
        raise UnmeasurableError("too few samples for a differential voltage")
    flowing = np.concatenate(([False], np.diff(moved) > 0))
    moved, voltage = moved[flowing], voltage[flowing]
    width = max(1 / _SHARES, _SAMPLES_A_BIN / moved.size) * total
    index, count = _bins(moved, width)
    if count < _FEWEST_BINS:
        raise UnmeasurableError("too few samples for a differential voltage")
    filled = np.bincount(index, minlength=count)
    sums = np.bincount(index, weights=voltage, minlength=count)
    x: Array = float(moved.min()) + (np.arange(count, dtype=np.float64) + 0.5) * width
    mean = np.interp(x, x[filled > 0], sums[filled > 0] / filled[filled > 0])
    slope: Array = np.abs(np.gradient(mean, width))
    current = total / (float(series.time[last] - series.time[first]) / 3600)
    window = _odd(0.03 * count)
    # the steep ends are no phase changes
    stands_out = _PROMINENCE_DVA * float(np.median(slope))
    smooth, peaks = _smooth_with_peaks(x, slope, width, window, stands_out, "Ah", width / 4, ((first, last),), current)
    inner = tuple(peak for peak in peaks if 0.03 * total < peak.value < 0.97 * total)
    return Differential(x, smooth, width, inner)


def _bins(values: Array, width: float) -> tuple[Indices, int]:
    index = ((values - values.min()) / width).astype(np.intp)
    return index, int(index.max()) + 1


def _odd(bins: float) -> int:
    return max(5, 2 * int(round(bins) // 2) + 1)


def smoothing_weights(window: int, order: int = _ORDER) -> Array:
    """Savitzky-Golay weights (3, window): value, slope and curvature per bin in the middle of a fitted polynomial."""
    offsets = np.arange(window) - window // 2
    fit = np.linalg.pinv(np.vander(offsets, order + 1, increasing=True).astype(np.float64))
    return np.stack((fit[0], fit[1], 2 * fit[2]))


def _smooth_with_peaks(
    x: Array, raw: Array, width: float, window: int, stands_out: float, unit: str, blur: float,
    rows: tuple[tuple[int, int], ...], current: float,
) -> tuple[Array, tuple[Estimate, ...]]:  # fmt: skip
    window = min(window, _odd(len(raw) / 3))
    weights = smoothing_weights(window)
    half = window // 2
    padded = np.pad(raw, half, mode="edge")
    value, slope, curvature = (np.convolve(padded, weight[::-1], mode="valid") for weight in weights)
    scatter = float(np.median(np.abs(raw - value))) / 0.6745
    slope_scatter = scatter * float(np.sqrt(np.sum(weights[1] ** 2)))
    peaks = []
    noise = scatter * float(np.sqrt(np.sum(weights[0] ** 2)))
    for top in _prominent(value, max(stands_out, _SIGMAS * noise)):
        bend = float(curvature[top])
        if bend >= 0:
            continue
        offset = float(np.clip(-slope[top] / bend, -1, 1))
        detail = {"height": float(value[top]), "mean_a": current}
        peaks.append(
            Estimate(
                float(x[top] + offset * width), float(np.hypot(slope_scatter / -bend * width, blur)), unit, rows, detail
            )
        )
    return value, tuple(peaks)


def _prominent(values: Array, least: float) -> list[int]:
    """Local maxima with a valley on either side, before the curve rises above them, that lies lower by at least so
    much; in order."""
    tops = np.flatnonzero((values[1:-1] > values[:-2]) & (values[1:-1] >= values[2:])) + 1
    if not tops.size:
        return []
    # what lies between neighbouring maxima: noise has many, and their valleys are all that matters
    valleys = np.minimum.reduceat(values, np.concatenate(([0], tops))).tolist()
    heights = values[tops].tolist()

    def falls(place: int, step: int) -> bool:
        at = place
        while 0 <= at < len(heights) and heights[at] <= heights[place]:
            if valleys[at if step < 0 else at + 1] <= heights[place] - least:
                return True
            at += step
        return False

    return [int(top) for place, top in enumerate(tops) if falls(place, -1) and falls(place, 1)]
