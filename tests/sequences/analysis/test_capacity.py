"""Ah and Wh with an uncertainty that means something, and the standard's rule for when they have settled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequences.analysis import (
    CELLS_AND_MODULES,
    PACKS,
    Convergence,
    Estimate,
    Instrument,
    Sweep,
    TimeSeries,
    UnmeasurableError,
    Window,
    charge_moved,
    coulombic_efficiency,
    energy_efficiency,
    energy_moved,
    find_segments,
    find_sweeps,
    is_full,
    settled_capacity,
)
from tests.sequences.analysis.batteries import Cell, record, segments_of

PARTS = ((0.0, 300.0), (-5.0, 1800.0), (0.0, 300.0))


def discharged(series: TimeSeries) -> Estimate:
    return charge_moved(find_segments(series), 0, len(series) - 1)


def test_charge_and_energy_of_a_known_current() -> None:
    segments = segments_of(Cell(), *PARTS)
    charge, energy = (moved(segments, 0, len(segments.series) - 1) for moved in (charge_moved, energy_moved))
    assert (charge.value, charge.unit, energy.unit) == (pytest.approx(2.5), "Ah", "Wh")
    assert energy.value == pytest.approx(2.5 * segments.series.voltage[300:2100].mean(), rel=1e-3)
    assert charge.rows == ((0, len(segments.series) - 1),)
    assert charge.detail["end_v"] == segments.series.voltage[2099]


def test_charging_pulses_inside_a_discharge_are_counted_back() -> None:
    charge = discharged(record(Cell(), (0.0, 60.0), (-5.0, 720.0), (0.0, 60.0), (5.0, 72.0), (0.0, 60.0)))
    assert charge.value == pytest.approx(0.9)
    assert charge.detail["counted_back"] == pytest.approx(0.1)


@given(st.floats(0, 1), st.floats(1, 60))
def test_the_moment_of_switching_between_two_samples_is_within_three_uncertainties(phase: float, period: float) -> None:
    """A current that is switched on and off between samples; nobody saw when."""
    time = np.arange(0, 3600, period)
    on, off = 600 + phase * period, 3000 + phase * period
    current = np.where((time >= on) & (time < off), -5.0, 0.0)
    charge = discharged(TimeSeries(time, np.full(len(time), 3.7), current))
    assert abs(charge.value - 5.0 * (off - on) / 3600) <= 3 * charge.uncertainty + 1e-9


def test_a_coarse_ammeter_is_as_uncertain_as_its_last_digit() -> None:
    series = record(Cell(), *PARTS)
    random = np.random.default_rng(1)
    true = np.where(series.current == 0, 0, -4.996) + random.normal(0, 0.05, len(series))
    coarse = TimeSeries(series.time, series.voltage, np.round(true / 0.01) * 0.01)
    assert discharged(coarse).uncertainty >= 0.01 / np.sqrt(12) * 0.5


def test_a_zero_that_is_off_is_in_the_uncertainty() -> None:
    series = record(Cell(), *PARTS)
    off = TimeSeries(series.time, series.voltage, series.current + 0.01)
    assert abs(discharged(off).value - 2.5) <= 1.1 * discharged(off).uncertainty


def test_a_gap_under_current_is_bridged_told_and_uncertain() -> None:
    series = record(Cell(), *PARTS)
    keep = (series.time < 1000) | (series.time > 1600)
    cut = TimeSeries(series.time[keep], series.voltage[keep], series.current[keep])
    charge = discharged(cut)
    assert charge.value == pytest.approx(2.5, rel=1e-6)
    assert charge.detail["gap_s"] == 602.0  # 999 to 1601
    assert charge.uncertainty == pytest.approx(5.0 * 602 / 3600 / np.sqrt(12), rel=0.01)


def test_the_instruments_gain_is_in_charge_and_energy_and_cancels_in_efficiency() -> None:
    series = record(Cell(), (0.0, 300.0), (5.0, 720.0), (0.0, 600.0), (-5.0, 720.0), (0.0, 300.0), removed=2.0)
    known = TimeSeries(series.time, series.voltage, series.current, instrument=Instrument(1e-3, 2e-3))
    segments = find_segments(known)
    charge, discharge = find_sweeps(segments)
    assert charge_moved(segments, discharge.first, discharge.last).relative == pytest.approx(2e-3, rel=0.1)
    assert energy_moved(segments, discharge.first, discharge.last).relative == pytest.approx(5**0.5 * 1e-3, rel=0.1)
    coulombic, energy = (
        efficiency(segments, charge, discharge) for efficiency in (coulombic_efficiency, energy_efficiency)
    )
    assert coulombic.value == pytest.approx(1.0, abs=1e-6)
    assert coulombic.relative < 1e-3  # of the moments of switching
    assert 0.9 < energy.value < 1.0  # resistance was paid for twice
    assert energy.rows == ((discharge.first, discharge.last), (charge.first, charge.last))
    with pytest.raises(UnmeasurableError, match="charge and the discharge after"):
        coulombic_efficiency(segments, discharge, charge)


def test_no_samples_between_the_ends() -> None:
    with pytest.raises(UnmeasurableError):
        charge_moved(segments_of(Cell(), *PARTS), 5, 5)


# ------------------------------------------------------------------------------------------------ the standard's rule


def capacities(*ah: float, uncertainty: float = 0.01) -> list[Estimate]:
    return [Estimate(value, uncertainty, "Ah", ((k, k + 1),)) for k, value in enumerate(ah)]


@pytest.mark.parametrize(
    ("ah", "rule", "settled", "value", "used"),
    [
        ((60.0, 59.0, 58.5), CELLS_AND_MODULES, "yes", 59.1667, (0, 1, 2)),  # 1.5 of 60 is 2.5 %
        ((64.0, 61.0, 60.0, 59.5), CELLS_AND_MODULES, "yes", 60.1667, (1, 2, 3)),
        ((60.0, 60.0, 60.0, 50.0), CELLS_AND_MODULES, "yes", 60.0, (0, 1, 2)),  # it was over after three
        ((60.0, 58.0, 56.0, 54.0, 52.0), CELLS_AND_MODULES, "no", 54.0, (2, 3, 4)),
        ((60.0, 58.0, 56.0, 54.0, 52.0, 52.0, 52.0), CELLS_AND_MODULES, "no", 54.0, (2, 3, 4)),  # five at most
        ((60.0, 59.9), CELLS_AND_MODULES, "too few", 59.95, (0, 1)),
        ((60.0, 59.0), PACKS, "yes", 59.5, (0, 1)),
        ((60.0, 57.0, 56.0), PACKS, "yes", 56.5, (1, 2)),
        ((60.0,), PACKS, "too few", 60.0, (0,)),
    ],
)
def test_the_last_discharges_have_to_agree(
    ah: tuple[float, ...], rule: Convergence, settled: str, value: float, used: tuple[int, ...]
) -> None:
    found = settled_capacity(capacities(*ah), rated_ah=60.0, rule=rule)
    assert (found.detail["settled"], found.value) == (settled, pytest.approx(value, abs=1e-3))
    assert found.rows == tuple((k, k + 1) for k in used)


def test_three_percent_are_of_the_rated_capacity_not_of_the_measured_one() -> None:
    used_up = capacities(30.0, 29.0, 28.5)
    assert settled_capacity(used_up, rated_ah=60.0).detail["settled"] == "yes"
    assert settled_capacity(used_up, rated_ah=30.0).detail["settled"] == "no"


def test_scatter_and_instrument_are_both_in_the_uncertainty() -> None:
    found = settled_capacity(capacities(60.0, 59.0, 59.5, uncertainty=0.4), rated_ah=60.0)
    assert found.uncertainty == pytest.approx(np.hypot(0.5 / np.sqrt(3), 0.4))


def test_without_a_discharge_there_is_no_capacity() -> None:
    with pytest.raises(UnmeasurableError):
        settled_capacity([], rated_ah=60.0)


# --------------------------------------------------------------------------------------------------- full or partial


CELL = Cell(ohmic=0.001, slow=0.0)
FULL = (-2.5, 3600 / 2.5 * (CELL.usable - 0.002))


def sweeps_of(removed: float, *parts: tuple[float, float]) -> list[bool]:
    segments = find_segments(record(CELL, *parts, removed=removed))
    window = Window(2.5, 4.2)
    return [is_full(segments, sweep, window) for sweep in find_sweeps(segments)]


def test_a_discharge_is_full_when_it_ran_from_limit_to_limit() -> None:
    full = ((0.0, 60.0), (2.5, 4320.0), (0.0, 60.0), FULL, (0.0, 60.0))
    assert sweeps_of(3.0, *full) == [False, True]  # where the charge began nobody saw
    half = ((0.0, 60.0), (2.5, 4320.0), (0.0, 60.0), (-2.5, 4000.0), (0.0, 60.0))
    assert sweeps_of(3.0, *half) == [False, False]
    not_to_the_top = ((0.0, 60.0), (2.5, 1000.0), (0.0, 60.0), (-2.5, 3700.0), (0.0, 60.0))
    assert sweeps_of(3.0, *not_to_the_top) == [False, False]


def test_a_discharge_alone_is_full_only_between_stated_limits() -> None:
    segments = find_segments(record(CELL, (0.0, 60.0), FULL, (0.0, 60.0)))
    sweep: Sweep = find_sweeps(segments)[0]
    assert not is_full(segments, sweep, Window(2.5, 4.2))
    assert is_full(segments, sweep, Window(2.5, 4.2, stated=True))
    assert not is_full(segments, sweep, Window(2.5, 4.4, stated=True))
