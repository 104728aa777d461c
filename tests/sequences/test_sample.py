from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequences import Counters, Quality, Sample, Value, integrate

amperes = st.floats(-200, 200)
volts = st.floats(1, 500)
seconds = st.floats(0, 3600)


@given(seconds, amperes, volts, amperes, volts)
def test_net_charge_is_the_trapezoid_of_the_current(dt: float, i0: float, v0: float, i1: float, v1: float) -> None:
    counters = integrate(Counters(), 0.0, i0, v0, dt, i1, v1)
    assert counters.net_ah == pytest.approx((i0 + i1) / 2 * dt / 3600, abs=1e-9)
    assert counters.net_wh == pytest.approx((i0 * v0 + i1 * v1) / 2 * dt / 3600, abs=1e-6)


@given(seconds, amperes, volts, amperes, volts)
def test_no_counter_ever_runs_backwards(dt: float, i0: float, v0: float, i1: float, v1: float) -> None:
    counters = integrate(Counters(1.0, 1.0, 1.0, 1.0), 0.0, i0, v0, dt, i1, v1)
    assert min(counters.charged_ah, counters.discharged_ah, counters.charged_wh, counters.discharged_wh) >= 1.0


def test_where_the_current_turns_each_direction_is_counted_apart() -> None:
    counters = integrate(Counters(), 0.0, 10.0, 4.0, 3600.0, -10.0, 4.0)
    assert (counters.charged_ah, counters.discharged_ah) == pytest.approx((2.5, 2.5))


def test_only_a_good_value_is_given_out() -> None:
    sample = Sample(
        10.0,
        {
            "voltage": Value(4.0, 10.0, Quality.GOOD, "cycler"),
            "temperature_max": Value(25.0, 2.0, Quality.STALE, "scanner"),
            "insulation": Value(0.0, 10.0, Quality.BAD, "bms"),
        },
    )
    assert sample.good("voltage") == 4.0
    assert sample.good("temperature_max") is None
    assert sample.good("insulation") is None
    assert sample.good("never measured") is None
