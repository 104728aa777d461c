"""Limits of a measurement: what they come to, and what they judge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sequences import FaultError, Verdict
from sequences.limits import Bounds, Limits


class Known:
    """What was measured, in coherent units."""

    rated_capacity = 60.0

    def __init__(self, values: Mapping[str, float | None]) -> None:
        self._values = values

    def value(self, name: str) -> float | None:
        return self._values.get(name)

    def history(self, name: str) -> list[float] | None:
        return None


def bounds(data: dict[str, Any], dimension: str = "fraction", model: str = "", **known: float | None) -> Bounds:
    return Limits.model_validate(data).of_model(model).bounds(Known(known), dimension)


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (0.49, Verdict.FAIL),
        (0.50, Verdict.MARGINAL),
        (0.52, Verdict.MARGINAL),
        (0.53, Verdict.PASS),
        (0.90, Verdict.PASS),
        (0.98, Verdict.MARGINAL),
        (1.01, Verdict.FAIL),
        (None, Verdict.INCONCLUSIVE),
        (float("nan"), Verdict.INCONCLUSIVE),
    ],
)
def test_limits_judge_with_a_marginal_band_inside_each_bound(value: float | None, verdict: Verdict) -> None:
    assert bounds({"min": "50 %", "max": "100 %", "marginal": "3 %"}).judge(value) is verdict


def test_a_marginal_band_around_a_temperature_is_in_kelvin() -> None:
    assert bounds({"max": "50 degC", "marginal": "5 K"}, "temperature").judge(46.0) is Verdict.MARGINAL


def test_bounds_come_in_the_measurements_inner_unit() -> None:
    assert bounds({"min": "40 Ah", "marginal": "500 mAh"}, "charge") == Bounds(40.0, None, 0.5)
    assert bounds({"max": "2 kWh"}, "energy") == Bounds(None, 2000.0, 0.0)
    assert bounds({"max": "200 mohm"}, "resistance") == Bounds(None, 0.2, 0.0)


def test_a_bound_may_be_worked_out_from_other_measurements() -> None:
    limits = {"min": "0.9 * remainingCapacity", "max": "remainingCapacity + 1 Ah"}
    found = bounds(limits, "charge", remainingCapacity=40.0 * 3600)
    assert found.min == pytest.approx(36.0)
    assert found.max == pytest.approx(41.0)
    assert found.judge(35.9) is Verdict.FAIL
    assert found.judge(40.0) is Verdict.PASS


def test_a_c_rate_in_a_bound_is_of_the_rated_capacity() -> None:
    assert bounds({"max": "C/2"}, "current").max == pytest.approx(30.0)


@pytest.mark.parametrize("key", ["min", "max", "marginal"])
def test_a_comparison_with_what_was_not_measured_is_inconclusive(key: str) -> None:
    limits = {"min": "10 Ah", "max": "90 Ah"} | {key: "0.5 * other"}
    for value in (-1e9, 50.0, 1e9):
        assert bounds(limits, "charge", other=None).judge(value) is Verdict.INCONCLUSIVE
    assert bounds(limits, "charge", other=0.2 * 3600).judge(50.0) is not Verdict.INCONCLUSIVE


def test_battery_models_may_have_their_own() -> None:
    limits = {"min": "50 %", "by_model": {"pack_96s": {"min": "60 %", "marginal": "5 %"}}}
    assert bounds(limits, model="pack_96s").judge(0.55) is Verdict.FAIL
    assert bounds(limits, model="pack_96s").judge(0.62) is Verdict.MARGINAL
    assert bounds(limits, model="another").judge(0.55) is Verdict.PASS
    assert list(Limits.model_validate(limits).bands()) == ["", "pack_96s"]


@given(
    st.floats(-1e6, 1e6), st.none() | st.floats(-1e6, 1e6), st.none() | st.floats(-1e6, 1e6), st.floats(0, 1e5)
)  # fmt: skip
def test_nothing_outside_a_bound_passes_and_nothing_inside_fails(
    value: float, low: float | None, high: float | None, marginal: float
) -> None:
    verdict = Bounds(low, high, marginal).judge(value)
    outside = (low is not None and value < low) or (high is not None and value > high)
    assert (verdict is Verdict.FAIL) == outside
    if verdict is Verdict.PASS:
        assert low is None or value >= low + marginal
        assert high is None or value <= high - marginal


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"min": "2 V", "max": "1 V"},
        {"min": "1 V", "max": "1 V"},
        {"min": 1},
        {"marginal": "1 V"},
        {"mim": "1 V"},
        {"min": "1 V", "marginal": "-1 mV"},
        {"by_model": {"a": {"min": "1 V"}}},
        {"min": "1 V", "by_model": {"a": {}}},
        {"min": "1 V", "by_model": {"a": {"min": "1 V", "by_model": {}}}},
        "1 V",
        None,
    ],
)
def test_limits_that_make_no_sense_are_refused(data: object) -> None:
    with pytest.raises((ValidationError, FaultError)):
        Limits.model_validate(data)
