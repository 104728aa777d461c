"""The two-voltmeter method finds the weaker pole's resistance, whichever pole it is and whatever the meter draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequences.analysis import Estimate, UnmeasurableError, per_volt, two_voltmeters

resistances = st.floats(2e4, 5e6)


def beside(*ohms: float) -> float:
    return 1 / sum(1 / ohm for ohm in ohms)


def readings(total: float, positive: float, negative: float, known: float, meter: float) -> tuple[float, float, float]:
    """V1 (negative to chassis), V2 (positive to chassis), and the higher one with the known resistance beside it."""

    def over(this: float, other: float, *parallel: float) -> float:
        both = beside(this, *parallel) if parallel else this
        return total * both / (both + other)

    v1, v2 = over(negative, positive, meter), over(positive, negative, meter)
    inserted = over(negative, positive, meter, known) if v1 >= v2 else over(positive, negative, meter, known)
    return v1, v2, inserted


@given(st.floats(60, 1000), resistances, resistances, st.floats(2e4, 1e6), st.sampled_from([1e7, 1e9]))
def test_the_weaker_poles_resistance_is_found(
    total: float, positive: float, negative: float, known: float, meter: float
) -> None:
    v1, v2, inserted = readings(total, positive, negative, known, meter)
    found = two_voltmeters(total, v1, v2, inserted, known, meter=meter)
    weaker, stronger = ("positive", negative) if v1 >= v2 else ("negative", positive)
    assert found.value == pytest.approx(min(positive, negative), rel=1e-6)
    assert found.detail["weaker_pole"] == weaker
    assert found.detail["other_pole_ohm"] == pytest.approx(stronger, rel=1e-6)


def test_a_pack_of_the_regulation() -> None:
    """400 V, V1 = 300 V, V2 = 100 V, and with 200 kohm V1' = 200 V: 200 k (400/200 - 400/300)."""
    found = two_voltmeters(400.0, 300.0, 100.0, 200.0, 200e3)
    assert found.value == pytest.approx(200e3 * (2 - 4 / 3))
    mirrored = two_voltmeters(400.0, 100.0, 300.0, 200.0, 200e3)
    assert (mirrored.value, mirrored.detail["weaker_pole"]) == (found.value, "negative")


@given(resistances, resistances)
def test_the_uncertainty_is_that_of_noisy_readings(positive: float, negative: float) -> None:
    v1, v2, inserted = readings(400.0, positive, negative, 200e3, 1e9)
    stated = two_voltmeters(400.0, v1, v2, inserted, 200e3, voltage_uncertainty=0.02, known_uncertainty=500.0)
    random = np.random.default_rng(1).normal(size=(300, 5))
    again = []
    for a, b, c, d, e in random:
        noisy = (400 + 0.02 * a, v1 + 0.02 * b, v2 + 0.02 * c, inserted + 0.02 * d)
        try:
            again.append(two_voltmeters(*noisy, 200e3 + 500 * e, voltage_uncertainty=0.02).value)
        except UnmeasurableError:  # a drop within the noise
            return
    assert stated.uncertainty == pytest.approx(float(np.std(again)), rel=0.35)


@pytest.mark.parametrize(
    ("voltages", "why"),
    [
        ((400.0, 300.0, 100.0, 300.0), "did not lower"),
        ((400.0, 300.0, 200.0, 150.0), "more than the voltage between"),
        ((0.0, 300.0, 100.0, 200.0), "above zero"),
        ((400.0, 300.0, 100.0, 0.0), "above zero"),
    ],
)
def test_readings_that_contradict_each_other_are_refused(voltages: tuple[float, ...], why: str) -> None:
    with pytest.raises(UnmeasurableError, match=why):
        two_voltmeters(*voltages, 200e3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("ohm", "uncertainty", "keeps"),
    [(250e3, 1e3, "AC"), (200.5e3, 1e3, "DC"), (60e3, 1e3, "DC"), (41e3, 1e3, "none"), (30e3, 0.0, "none")],
)
def test_a_limit_is_kept_when_that_is_sure(ohm: float, uncertainty: float, keeps: str) -> None:
    """500 and 100 ohm/V of a 400 V pack: 200 and 40 kohm."""
    found = per_volt(Estimate(ohm, uncertainty, "ohm"), 400.0)
    assert (found.detail["keeps"], found.unit, found.value) == (keeps, "ohm/V", ohm / 400)


def test_limits_are_the_sites() -> None:
    assert per_volt(Estimate(60e3, 0.0, "ohm"), 400.0, limits=(200.0, 1000.0)).detail["keeps"] == "none"
    with pytest.raises(UnmeasurableError):
        per_volt(Estimate(60e3, 0.0, "ohm"), 0.0)
    assert math.isinf(float(two_voltmeters(400.0, 400.0, 0.0, 200.0, 1e5).detail["other_pole_ohm"]))
