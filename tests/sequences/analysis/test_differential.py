"""dQ/dV and dV/dQ: the area is the capacity, peaks stand where the curve is flattest, noise makes none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import find_peaks, savgol_coeffs

from sequences.analysis import (
    CHEN2020,
    PRADA2013,
    TimeSeries,
    UnmeasurableError,
    differential_voltage,
    incremental_capacity,
)
from sequences.analysis.differential import smoothing_weights
from tests.sequences.analysis.batteries import Cell


def slow_discharge(cell: Cell, noise: float = 0.0, step: float = 0.0, cells: int = 1, seed: int = 1) -> TimeSeries:
    """C/20 at a sample a second."""
    ampere = cell.capacity / 20
    moved, voltage = cell.curve(round(cell.usable / ampere * 3600))
    voltage = cells * (voltage + np.random.default_rng(seed).normal(0, noise, len(voltage)))
    if step:
        voltage = np.round(voltage / step) * step
    return TimeSeries(moved / ampere * 3600, voltage, np.full(len(voltage), -ampere))


def true_peaks(cell: Cell, low: float, high: float) -> list[float]:
    """Voltages of the maxima of dQ/dV of the curve itself, smoothed as widely."""
    moved, voltage = cell.curve(400_001)
    grid = np.arange(voltage.min(), voltage.max(), 1e-3)
    charge = np.interp(grid, voltage[::-1], moved[::-1])
    smooth = np.convolve(-np.gradient(charge, grid), smoothing_weights(31)[0][::-1], mode="same")
    tops, _ = find_peaks(smooth, prominence=0.05 * smooth.max())
    return [float(grid[top]) for top in tops if low < grid[top] < high]


@given(st.floats(0, 5e-4), st.sampled_from([CHEN2020, PRADA2013]), st.integers(0, 50))
@settings(max_examples=20)
def test_the_area_is_the_capacity(noise: float, new: object, seed: int) -> None:
    lfp = new is PRADA2013
    cell = Cell(new=PRADA2013, upper=3.6, lower=2.0, capacity=2.3) if lfp else Cell()
    series = slow_discharge(cell, noise, seed=seed)
    curve = incremental_capacity(series, 0, len(series) - 1)
    moved = -series.net_ah[-1]
    # the smoothing takes a little over the ends
    assert float(curve.curve.sum() * curve.width) == pytest.approx(moved, rel=2e-2 if lfp else 2e-3)


@given(st.floats(0, 0.15), st.floats(0, 0.1), st.integers(0, 50))
@settings(max_examples=10)
def test_peaks_lie_where_the_curve_has_them(lli: float, lam_pe: float, seed: int) -> None:
    cell = Cell(lli=lli, lam_pe=lam_pe)
    series = slow_discharge(cell, noise=2e-4, seed=seed)
    peaks = incremental_capacity(series, 0, len(series) - 1).peaks
    for true in true_peaks(cell, 3.3, 4.15):
        nearest = min(peaks, key=lambda peak: abs(peak.value - true))
        assert abs(nearest.value - true) < 0.010
        assert 0 < nearest.uncertainty < 0.010


def test_noise_alone_makes_no_peaks() -> None:
    """A straight line from 4.2 to 3.2 V."""
    time = np.arange(36_000.0)
    voltage = 4.2 - time / 36_000 + np.random.default_rng(1).normal(0, 5e-4, len(time))
    series = TimeSeries(time, voltage, np.full(len(time), -0.5))
    inner = [peak for peak in incremental_capacity(series, 0, len(time) - 1).peaks if 3.25 < peak.value < 4.15]
    assert inner == []


def test_bins_are_as_wide_as_the_readings_are_coarse() -> None:
    cell = Cell()
    pack = slow_discharge(cell, noise=2e-4, step=0.5, cells=96)
    curve = incremental_capacity(pack, 0, len(pack) - 1, cells=96)
    assert curve.width == pytest.approx(0.5 / 96)
    tallest = max(true_peaks(cell, 3.3, 4.15), key=lambda peak: -abs(peak - 4.06))
    assert any(abs(peak.value - tallest) < 3 * peak.uncertainty + 0.005 for peak in curve.peaks)


def test_too_few_samples_are_refused() -> None:
    series = slow_discharge(Cell())
    thin = TimeSeries(series.time[::4000], series.voltage[::4000], series.current[::4000])
    with pytest.raises(UnmeasurableError, match="too coarse"):
        incremental_capacity(thin, 0, len(thin) - 1)
    with pytest.raises(UnmeasurableError):
        differential_voltage(thin, 0, len(thin) - 1)
    still = TimeSeries(series.time, np.full(len(series), 3.7), series.current)
    with pytest.raises(UnmeasurableError, match="did not change"):
        incremental_capacity(still, 0, len(still) - 1)


def test_lost_lithium_does_not_move_the_peak_of_graphite_within_its_electrode() -> None:
    """dV/dQ counted from the empty negative electrode: its first stage ends 0.66 Ah from there."""
    places = []
    for lli in (0.0, 0.05, 0.15):
        cell = Cell(lli=lli)
        series = slow_discharge(cell, noise=1e-4)
        peaks = differential_voltage(series, 0, len(series) - 1).peaks
        moved = -series.net_ah[-1]
        below = cell.stoichiometry_at(cell.lower) * cell.electrodes[0]
        places.append(min((below + moved - peak.value for peak in peaks), key=lambda ah: abs(ah - 0.66)))
    assert places == pytest.approx([places[0]] * 3, abs=0.01)


def test_the_smoothing_weights_are_savitzky_golays() -> None:
    for order, weights in enumerate(smoothing_weights(31)):
        assert weights == pytest.approx(savgol_coeffs(31, 3, deriv=order, use="dot"), abs=1e-12)
