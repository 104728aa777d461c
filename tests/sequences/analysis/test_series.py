"""The integral is the journal's, and the readings tell their own resolution and noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequences import Counters, integrate
from sequences.analysis import TimeSeries
from sequences.analysis.series import resolution

samples = st.lists(
    st.tuples(st.floats(0, 3600), st.floats(2, 800), st.floats(-500, 500)), min_size=2, max_size=40
)  # seconds since the sample before, V, A


@given(samples)
def test_ah_and_wh_are_those_of_the_journal(rows: list[tuple[float, float, float]]) -> None:
    time = np.cumsum([row[0] for row in rows])
    voltage, current = (np.array([row[k] for row in rows]) for k in (1, 2))
    series = TimeSeries(time, voltage, current)
    counters = Counters()
    for k in range(len(rows) - 1):
        counters = integrate(counters, time[k], current[k], voltage[k], time[k + 1], current[k + 1], voltage[k + 1])
    found = (*(column[-1] for column in series.throughput), *(column[-1] for column in series.energy))
    wanted = (counters.charged_ah, counters.discharged_ah, counters.charged_wh, counters.discharged_wh)
    assert found == pytest.approx(wanted, rel=1e-9, abs=1e-9)


@given(st.sampled_from([0.1, 1e-3, 3.9e-5]), st.integers(0, 10))
def test_the_grid_of_quantised_readings_is_found(step: float, strange: int) -> None:
    """A few readings off the grid do not hide it."""
    readings = np.round(np.random.default_rng(1).normal(3.7, 400 * step, 5000) / step) * step
    readings[:strange] += 0.37 * step
    assert resolution(readings) == pytest.approx(step, rel=1e-3)


def test_few_different_readings_are_no_resolution() -> None:
    """Set points of 0, 30 and 60 A do not mean an ammeter of 30 A steps."""
    assert resolution(np.array([0.0, -30.0, -60.0, 30.0] * 100)) == 0.0


def test_noise_is_told_from_a_slope() -> None:
    time = np.arange(10_000.0)
    voltage = 4.2 - 1e-4 * time + np.random.default_rng(1).normal(0, 5e-4, len(time))
    assert TimeSeries(time, voltage, time * 0).voltage_noise == pytest.approx(5e-4, rel=0.05)


@pytest.mark.parametrize(
    ("time", "voltage"),
    [([0.0, 2.0, 1.0], [3.7] * 3), ([0.0, 1.0, np.nan], [3.7] * 3), ([0.0, 1.0, 2.0], [3.7] * 2)],
)
def test_what_is_no_time_series_is_refused(time: list[float], voltage: list[float]) -> None:
    with pytest.raises(ValueError, match="time"):
        TimeSeries(np.array(time), np.array(voltage), np.zeros(3))
