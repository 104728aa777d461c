"""DC resistance at stated times, refused when the battery had not rested or the voltmeter cannot see it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequences.analysis import (
    Estimate,
    TimeSeries,
    UnmeasurableError,
    dc_resistance,
    find_pulses,
    find_segments,
    resistance_increase,
)
from tests.sequences.analysis.batteries import Cell, record

PARTS = ((0.0, 900.0), (-5.0, 40.0), (0.0, 600.0))


def measured(series: TimeSeries, at: float, min_rest: float = 300.0) -> Estimate:
    return dc_resistance(series, find_pulses(find_segments(series))[0], at, min_rest)


@given(
    st.floats(1e-3, 0.1), st.floats(1e-3, 0.1), st.sampled_from([1.0, 10.0, 18.0, 30.0]), st.sampled_from([-5.0, 5.0])
)
def test_the_resistance_at_a_time_is_ohmic_and_what_has_built_up(
    ohmic: float, slow: float, at: float, ampere: float
) -> None:
    cell = Cell(ohmic=ohmic, slow=slow)
    series = record(cell, (0.0, 900.0), (ampere, 40.0), (0.0, 60.0), removed=2.5, period=0.5)
    found = measured(series, at)
    # the model's current begins half a second before its first sample; the open-circuit curve falls along
    true = ohmic + slow * (1 - math.exp(-(at + 0.5) / cell.slow_s))
    charge = abs(ampere) * (at + 0.25) / 3600
    curve = (np.diff(cell.curve(1000)[1]) / np.diff(cell.curve(1000)[0]))[300:700]
    assert true <= found.value <= true + 1.3 * float(np.abs(curve).max()) * charge / abs(ampere)
    assert (found.detail["at_s"], found.detail["rest_s"]) == (at, 899.5)


def test_the_first_sample_is_a_time_of_its_own() -> None:
    found = measured(record(Cell(slow=0.0), *PARTS, removed=2.5), 0.0)
    assert found.value == pytest.approx(0.020, rel=0.01)
    assert found.detail["began_within_s"] == 1.0


def test_different_times_are_never_compared() -> None:
    series = record(Cell(), *PARTS, removed=2.5)
    ten, eighteen = measured(series, 10.0), measured(series, 18.0)
    with pytest.raises(ValueError, match=r"at 10\.0 s cannot be compared with one at 18\.0 s"):
        resistance_increase(ten, eighteen)
    first = measured(series, 0.0)
    with pytest.raises(ValueError, match=r"at 0\.0 s cannot be compared"):
        resistance_increase(first, first)
    new = Estimate(0.020, 0.001, "ohm", (), {"at_s": 10.0})
    grown = resistance_increase(ten, new)
    assert grown.value == pytest.approx(ten.value / 0.020 - 1)
    assert grown.uncertainty == pytest.approx(ten.value / 0.020 * 0.05, rel=0.05)


def test_a_battery_that_did_not_rest_is_refused() -> None:
    series = record(Cell(), (-5.0, 100.0), (0.0, 120.0), (-5.0, 40.0), removed=1.0)
    with pytest.raises(UnmeasurableError, match="rested for 119 s only, 300 s are asked for"):
        measured(series, 10.0)
    assert measured(series, 10.0, min_rest=60.0).value > 0


def test_a_rest_that_the_tester_cut_into_steps_is_one_rest() -> None:
    series = record(Cell(), *PARTS, removed=2.5)
    step = np.where(series.time < 700, 1.0, np.where(series.time < 900, 2.0, 3.0))
    assert measured(replace(series, step=step), 10.0).detail["rest_s"] == 899.0


def test_what_the_voltmeter_cannot_see_is_refused() -> None:
    series = record(Cell(ohmic=1e-4, slow=0.0), (-5.0, 4000.0), (0.0, 900.0), (-5.0, 5.0), removed=0.1)
    coarse = replace(series, voltage=np.round(series.voltage / 5e-3) * 5e-3)
    pulse = find_pulses(find_segments(coarse))[0]
    with pytest.raises(UnmeasurableError, match="less than 10 steps of 5 mV"):
        dc_resistance(coarse, pulse, 1.0)


def test_the_resolution_is_told_and_in_the_uncertainty() -> None:
    series = record(Cell(), (-5.0, 2000.0), (0.0, 900.0), (-5.0, 40.0), removed=0.5)
    coarse = replace(series, voltage=np.round(series.voltage / 1e-3) * 1e-3)
    found = dc_resistance(coarse, find_pulses(find_segments(coarse))[0], 10.0)
    assert found.detail["resolution_ohm"] == pytest.approx(1e-3 / 5)
    assert found.uncertainty >= math.sqrt(2 / 12) * 1e-3 / 5


@pytest.mark.parametrize(
    ("parts", "at", "why"),
    [
        (((0.0, 900.0), (-5.0, 5.0), (0.0, 60.0)), 10.0, "flowed for 4 s only"),
        (((0.0, 900.0), (-5.0, 3.0), (-4.0, 60.0)), 2.0, None),
        (((0.0, 900.0), (-5.0, 40.0), (0.0, 60.0)), 1.3, r"no sample near 1\.3 s"),
        (((0.0, 900.0), (-5.0, 10.0), (0.0, 60.0)), 10.0, None),  # nine seconds of ten that began unseen
    ],
)
def test_a_time_that_was_not_sampled_is_refused(
    parts: tuple[tuple[float, float], ...], at: float, why: str | None
) -> None:
    series = record(Cell(), *parts, removed=2.5)
    if why is None:
        assert measured(series, at).value > 0
    else:
        with pytest.raises(UnmeasurableError, match=why):
            measured(series, at)


def test_a_current_that_is_not_steady_is_refused() -> None:
    series = record(Cell(), *PARTS, removed=2.5)
    current = series.current.copy()
    current[900:940] *= np.linspace(1.0, 0.92, 40)
    with pytest.raises(UnmeasurableError, match="not steady"):
        measured(TimeSeries(series.time, series.voltage, current), 30.0)


def test_a_rests_last_sample_with_the_voltage_of_the_load_is_not_the_baseline() -> None:
    series = record(Cell(), *PARTS, removed=2.5, noise=1e-5)
    current = series.current.copy()
    current[900] = 0.0
    found = measured(TimeSeries(series.time, series.voltage, current), 10.0)
    assert "already showed the current" in str(found.detail["baseline"])
    assert found.value == pytest.approx(measured(series, 10.0).value, rel=0.05)
    assert found.rows[0][0] == 899


def test_a_voltage_that_still_drifts_is_in_the_uncertainty() -> None:
    quiet = measured(record(Cell(), *PARTS, removed=2.5), 10.0)
    series = record(Cell(), *PARTS, removed=2.5)
    drifting = replace(series, voltage=series.voltage + 1e-4 * series.time)
    assert measured(drifting, 10.0).uncertainty > quiet.uncertainty + 0.5 * 1e-4 * 10 / 5
