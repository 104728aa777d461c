"""A rest's voltage, its drift, and where it is heading."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequences.analysis import TimeSeries, UnmeasurableError, relaxation


def rest(voltage: np.ndarray[tuple[int], np.dtype[np.float64]], period: float = 10.0) -> TimeSeries:
    return TimeSeries(np.arange(len(voltage)) * period, voltage, np.zeros(len(voltage)))


@given(st.floats(-0.1, 0.1), st.floats(300, 1500), st.integers(0, 100))
def test_an_exponential_tends_to_its_constant(by: float, tau: float, seed: int) -> None:
    time = np.arange(0, 3600, 10.0)
    noise = np.random.default_rng(seed).normal(0, 1e-4, len(time))
    series = rest(3.7 + by * np.exp(-time / tau) + noise)
    found = relaxation(series, 0, len(series) - 1)
    assert found.open_circuit.value == pytest.approx(3.7, abs=3 * found.open_circuit.uncertainty + 1e-3 * abs(by))
    assert found.open_circuit.uncertainty <= abs(by) * np.exp(-3590 / tau) + 4e-4
    assert found.voltage.value == series.voltage[-1]
    end = -by / tau * np.exp(-0.95 * 3600 / tau) * 3600
    assert found.drift.value == pytest.approx(end, abs=3 * found.drift.uncertainty + 0.05 * abs(end) + 1e-6)
    assert found.relaxed.value == pytest.approx(-by, abs=abs(by) * np.exp(-3590 / tau) + 1e-3)


def test_a_flat_quantised_rest_is_uncertain_by_its_resolution_and_no_less() -> None:
    voltage = np.full(500, 350.0)
    voltage[::2] = np.round(np.random.default_rng(1).normal(350, 1, 250), 1)
    voltage[100:] = 350.0
    found = relaxation(rest(voltage, 1.0), 100, 499)
    assert found.drift.value == pytest.approx(0.0, abs=1e-6)
    assert found.voltage.uncertainty == pytest.approx(0.1 / np.sqrt(12), rel=1e-6)
    assert found.drift.uncertainty > 0


def test_the_sample_that_shows_the_next_current_is_not_the_rests() -> None:
    voltage = np.append(np.linspace(3.70, 3.71, 100), 3.60)
    assert relaxation(rest(voltage), 0, 100).voltage.value == 3.71


@pytest.mark.parametrize("count", [1, 5])
def test_a_rest_of_a_few_samples_says_nothing(count: int) -> None:
    with pytest.raises(UnmeasurableError, match="too short"):
        relaxation(rest(np.full(100, 3.7)), 0, count - 1)
