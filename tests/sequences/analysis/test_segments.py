"""Rests, charges and discharges are found without the tester's step column, however noisy its zero is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequences.analysis import TimeSeries, find_segments, find_sweeps
from sequences.analysis.segments import last_at_rest
from tests.sequences.analysis.batteries import Cell, full_cycles, profile, record

PARTS = ((0.0, 120.0), (5.0, 600.0), (0.0, 300.0), (-5.0, 600.0), (0.0, 300.0))
KINDS = ["rest", "charge", "rest", "discharge", "rest"]


def kinds(series: TimeSeries, rest_current: float | None = None) -> list[str]:
    return [segment.kind for segment in find_segments(series, rest_current)]


@given(st.floats(0, 0.02), st.integers(0, 100))
def test_noise_at_rest_makes_no_segments(noise: float, seed: int) -> None:
    assert kinds(record(Cell(), *PARTS, removed=2.0, rest_noise=noise, seed=seed)) == KINDS


@pytest.mark.parametrize("offset", [0.01, -0.01])
def test_a_zero_that_is_off_makes_no_segments(offset: float) -> None:
    series = record(Cell(), *PARTS, removed=2.0)
    assert kinds(TimeSeries(series.time, series.voltage, series.current + offset)) == KINDS


def test_a_small_current_is_no_rest_where_somebody_says_so() -> None:
    parts = ((0.0, 60.0), (-0.01, 600.0), (0.0, 60.0))
    assert kinds(record(Cell(), *parts)) == ["rest"]
    assert kinds(record(Cell(), *parts), rest_current=0.001) == ["rest", "discharge", "rest"]


def test_a_steady_slow_discharge_beside_strong_pulses_is_no_noise() -> None:
    parts = ((-0.25, 3600.0), (0.0, 600.0), (-15.0, 10.0), (0.0, 600.0))
    assert kinds(record(Cell(), *parts)) == ["discharge", "rest", "discharge", "rest"]


def test_the_current_is_found_to_the_sample() -> None:
    segments = find_segments(record(Cell(), *PARTS, removed=2.0))
    assert [(segment.first, segment.last) for segment in segments] == [
        (0, 119), (120, 719), (720, 1019), (1020, 1619), (1620, 1919),
    ]  # fmt: skip


def test_a_jump_of_the_current_is_an_edge_and_a_taper_is_none() -> None:
    _, current = profile((-5.0, 100.0), (-15.0, 10.0), (-5.0, 100.0), (0.0, 60.0))
    taper = np.concatenate((current, 5.0 * np.exp(-np.arange(4000) / 1000.0)))
    series = TimeSeries(np.arange(len(taper), dtype=float), np.full(len(taper), 3.7), taper)
    assert [(s.kind, s.first) for s in find_segments(series)] == [
        ("discharge", 0), ("discharge", 100), ("discharge", 110), ("rest", 210), ("charge", 270),
    ]  # fmt: skip


def test_samples_of_a_ramp_make_no_segments_of_their_own() -> None:
    current = np.array([0.0] * 10 + [1.0, 3.0] + [5.0] * 20 + [2.0] + [0.0] * 10)
    series = TimeSeries(np.arange(len(current), dtype=float), np.full(len(current), 3.7), current)
    assert [(s.kind, s.first, s.last) for s in find_segments(series)] == [
        ("rest", 0, 9), ("charge", 10, 32), ("rest", 33, 42),
    ]  # fmt: skip


def test_the_testers_steps_are_edges_too() -> None:
    series = record(Cell(), (0.0, 100.0), (-5.0, 100.0))
    step = np.repeat([1.0, 2.0, 3.0, 4.0], 50)
    segments = find_segments(TimeSeries(series.time, series.voltage, series.current, step=step))
    assert [(s.kind, s.first) for s in segments] == [("rest", 0), ("rest", 50), ("discharge", 100), ("discharge", 150)]


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=200), st.integers(0, 1))
def test_segments_cover_every_sample_once(current: list[float], steps: int) -> None:
    n = len(current)
    step = np.arange(n) // 7 * 1.0 if steps else None
    segments = find_segments(TimeSeries(np.arange(n) * 1.0, np.full(n, 3.7), np.array(current), step=step))
    assert segments.first[0] == 0
    assert segments.last[-1] == n - 1
    assert (segments.first[1:] == segments.last[:-1] + 1).all()


def test_rests_and_charge_pulses_do_not_end_a_sweep() -> None:
    down = [(-5.0, 300.0), (0.0, 300.0), (5.0, 10.0), (0.0, 60.0)] * 8
    segments = find_segments(record(Cell(), (0.0, 60.0), *down, (5.0, 2000.0), (0.0, 60.0)))
    sweeps = find_sweeps(segments)
    assert [sweep.direction for sweep in sweeps] == [-1, 1]
    net = segments.series.net_ah
    assert net[sweeps[0].first] - net[sweeps[0].last] == pytest.approx(5.0 * (8 * 300 - 7 * 10) / 3600)


def test_a_sweep_begins_at_the_last_rest_and_ends_at_the_next() -> None:
    segments = find_segments(record(Cell(), *full_cycles([4.0, 4.0, 4.0])))
    sweeps = find_sweeps(segments)
    assert [sweep.direction for sweep in sweeps] == [-1, 1, -1, 1, -1]
    for sweep in sweeps:
        assert segments.series.current[sweep.first] == segments.series.current[sweep.last] == 0
        assert segments.series.current[sweep.first + 1] != 0
        assert segments.series.current[sweep.last - 1] != 0


def test_without_current_there_is_no_sweep() -> None:
    assert find_sweeps(find_segments(record(Cell(), (0.0, 100.0)))) == []


def test_a_rests_last_sample_may_show_the_next_current_already() -> None:
    """As stored by a real tester: current zero, voltage that of the load."""
    series = record(Cell(), (0.0, 100.0), (-5.0, 100.0), noise=1e-5)
    assert last_at_rest(series, 0, 99) == 99
    late = series.current.copy()
    late[100] = 0.0
    assert last_at_rest(TimeSeries(series.time, series.voltage, late), 0, 100) == 99
