"""A spectrum made of a circuit gives the circuit back, with an uncertainty that is true."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sequences.analysis import UnmeasurableError, ac_resistance, fit_spectrum

FREQUENCY = np.geomspace(0.01, 5000, 45)


def spectrum(r0: float, rct: float, tau: float, alpha: float, sigma: float, noise: float = 0.0, seed: int = 1):  # type: ignore[no-untyped-def]
    w = 2 * np.pi * FREQUENCY
    z = r0 + rct / (1 + (1j * w * tau) ** alpha) + sigma * (1 - 1j) / np.sqrt(w)
    random = np.random.default_rng(seed)
    return z + np.abs(z) * noise * (random.normal(size=len(w)) + 1j * random.normal(size=len(w)))


@given(
    st.floats(-4, -1), st.floats(-0.5, 0.7), st.floats(-2.5, -0.5), st.floats(0.6, 0.97), st.floats(-1.3, -0.3),
    st.integers(0, 100),
)  # fmt: skip
@settings(max_examples=30)
def test_the_circuit_is_found(r0: float, rct: float, tau: float, alpha: float, sigma: float, seed: int) -> None:
    """From 0.1 mohm to 0.1 ohm; logarithms are over the one before."""
    ohm, arc = 10**r0, 10 ** (r0 + rct)
    fit = fit_spectrum(FREQUENCY, spectrum(ohm, arc, 10**tau, alpha, arc * 10**sigma, noise=2e-3, seed=seed))
    true = {"r0": ohm, "rct": arc, "q": 10 ** (tau * alpha) / arc, "alpha": alpha, "sigma": arc * 10**sigma}
    for name, value in true.items():
        found = getattr(fit, name)
        assert found.value == pytest.approx(value, rel=0.15), name
        assert abs(found.value - value) < 6 * found.uncertainty, name
    assert fit.residual < 5e-3
    assert fit(FREQUENCY) == pytest.approx(spectrum(ohm, arc, 10**tau, alpha, arc * 10**sigma), rel=0.02)


def test_the_uncertainty_is_that_of_repeated_measurements() -> None:
    fits = [fit_spectrum(FREQUENCY, spectrum(1e-3, 2e-3, 0.05, 0.8, 5e-4, noise=3e-3, seed=seed)) for seed in range(20)]
    scatter = float(np.std([fit.rct.value for fit in fits], ddof=1))
    assert np.mean([fit.rct.uncertainty for fit in fits]) == pytest.approx(scatter, rel=0.6)


def test_inductive_points_are_left_out_and_counted() -> None:
    z = spectrum(1e-3, 2e-3, 0.05, 0.8, 5e-4, noise=1e-3)
    inductive = z + 2j * np.pi * FREQUENCY * 50e-9
    fit = fit_spectrum(FREQUENCY, inductive)
    assert fit.inductive == int(np.sum(inductive.imag > 0)) > 0
    assert fit.rct.value == pytest.approx(2e-3, rel=0.25)


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_the_order_of_frequencies_does_not_matter(order: slice) -> None:
    fit = fit_spectrum(FREQUENCY[order], spectrum(1e-3, 2e-3, 0.05, 0.8, 5e-4)[order])
    assert fit.alpha.value == pytest.approx(0.8, rel=1e-3)


def test_what_is_no_such_circuit_is_refused() -> None:
    two_arcs = spectrum(1e-3, 2e-2, 1.0, 0.97, 1e-5) + spectrum(0.0, 2e-2, 1e-3, 0.97, 1e-5)
    with pytest.raises(UnmeasurableError, match="% rms"):
        fit_spectrum(FREQUENCY, two_arcs)
    with pytest.raises(UnmeasurableError, match="3 points of a spectrum"):
        fit_spectrum(FREQUENCY[:3], two_arcs[:3])
    with pytest.raises(UnmeasurableError):
        fit_spectrum(FREQUENCY, np.full(len(FREQUENCY), np.nan + 0j))


def test_ac_resistance_is_the_mean_of_good_readings() -> None:
    found = ac_resistance([1.00e-3, 1.02e-3, math.nan, 0.98e-3], resolution=1e-5)
    assert (found.value, found.detail["readings"]) == (pytest.approx(1.00e-3), 3)
    assert found.uncertainty == pytest.approx(math.hypot(2e-5 / math.sqrt(3), 1e-5 / math.sqrt(12)))
    assert ac_resistance([1e-3], resolution=1e-5).uncertainty == pytest.approx(1e-5 / math.sqrt(12))
    with pytest.raises(UnmeasurableError):
        ac_resistance([math.nan])
