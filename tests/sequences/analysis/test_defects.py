"""What testers leave behind is told with its figures, and good data have nothing to tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sequences.analysis import Defect, TimeSeries, find_defects, find_segments
from tests.sequences.analysis.batteries import Cell, record

PARTS = ((0.0, 300.0), (5.0, 900.0), (0.0, 300.0), (-5.0, 900.0), (0.0, 300.0))
GOOD = record(Cell(), *PARTS, removed=2.5, noise=1e-4)


def told(series: TimeSeries, cells: int = 1) -> dict[str, Defect]:
    return {defect.code: defect for defect in find_defects(find_segments(series), cells)}


def test_good_data_have_no_defects() -> None:
    assert told(GOOD) == {}
    counters = dict(zip(("charged_ah", "discharged_ah"), GOOD.throughput, strict=True))
    assert told(replace(GOOD, counters=counters | {"net_ah": 7.0 + GOOD.net_ah})) == {}


def test_a_sign_that_is_turned_withholds_everything() -> None:
    turned = told(replace(GOOD, current=-GOOD.current))
    assert turned["E-DATA-SIGN"].withholds
    assert turned["E-DATA-SIGN"].figures["against_percent"] == pytest.approx(100)


def test_current_readings_at_rest() -> None:
    noise = np.random.default_rng(1).normal(0.003, 0.01, len(GOOD))
    noisy = told(replace(GOOD, current=GOOD.current + noise))
    assert noisy.keys() == {"W-DATA-REST-NOISE"}
    figures = noisy["W-DATA-REST-NOISE"].figures
    assert figures["mean_a"] == pytest.approx(0.003, abs=0.002)
    assert figures["deviation_a"] == pytest.approx(0.01, rel=0.1)
    assert 0.04 < float(figures["threshold_a"]) < 0.08


def test_a_gap_counts_where_current_flows_only() -> None:
    at_rest = (GOOD.time < 20) | (GOOD.time > 280)
    under_load = (GOOD.time < 500) | (GOOD.time > 700)
    for keep, codes in ((at_rest, set()), (under_load, {"W-DATA-GAP"}), (at_rest & under_load, {"W-DATA-GAP"})):
        cut = TimeSeries(GOOD.time[keep], GOOD.voltage[keep], GOOD.current[keep])
        assert told(cut).keys() == codes
    gap = told(TimeSeries(GOOD.time[under_load], GOOD.voltage[under_load], GOOD.current[under_load]))["W-DATA-GAP"]
    assert (gap.count, gap.first, gap.figures["longest_s"]) == (1, 499, 202.0)
    assert gap.figures["bridged_ah"] == pytest.approx(5 * 202 / 3600)


def test_repeated_times_inside_a_segment() -> None:
    time = GOOD.time.copy()
    time[400] = time[399]
    time[300] = time[299]  # where a step ends and the next begins at one moment
    assert told(replace(GOOD, time=time))["W-DATA-TIME-EQUAL"] == Defect("W-DATA-TIME-EQUAL", 1, 400, {})


def test_a_counter_that_disagrees() -> None:
    wrong = told(replace(GOOD, counters={"discharged_ah": 1.01 * GOOD.throughput[1]}))["W-DATA-COUNTER"]
    assert wrong.figures["counter"] == "discharged_ah"
    assert wrong.figures["counted"] == pytest.approx(1.01 * 1.25)
    assert wrong.figures["integral"] == pytest.approx(1.25)
    assert wrong.figures["apart_percent"] == pytest.approx(1.0)
    assert 1500 < wrong.first < 1600  # as soon as it can be seen


def test_a_counter_that_begins_anew_is_told_and_still_compared() -> None:
    counter = GOOD.throughput[0].copy()
    counter[800:] -= counter[800]
    told_ = told(replace(GOOD, counters={"charged_ah": counter}))
    assert told_.keys() == {"W-DATA-COUNTER-RESET"}
    assert told_["W-DATA-COUNTER-RESET"].first == 800
    assert told(replace(GOOD, counters={"charged_ah": 1.1 * counter})).keys() == {
        "W-DATA-COUNTER-RESET", "W-DATA-COUNTER",
    }  # fmt: skip


def test_a_counter_with_holes_is_compared_where_it_has_values() -> None:
    counter = GOOD.throughput[0].copy()
    counter[::3] = np.nan
    assert told(replace(GOOD, counters={"charged_ah": counter, "discharged_ah": np.full(len(GOOD), np.nan)})) == {}


def test_a_coarse_voltmeter_is_judged_by_the_cell() -> None:
    coarse = replace(GOOD, voltage=np.round(GOOD.voltage / 5e-3) * 5e-3)
    assert told(coarse)["W-DATA-RESOLUTION"].figures["step_mv"] == pytest.approx(5.0)
    assert told(coarse, cells=96) == {}


def test_a_rests_last_sample_that_shows_the_next_current() -> None:
    current = GOOD.current.copy()
    current[[300, 1500]] = 0.0
    late = told(replace(GOOD, current=current))["W-DATA-LATE-CURRENT"]
    assert (late.count, late.first) == (2, 300)


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_few_samples_are_no_reason_to_crash(count: int) -> None:
    few = TimeSeries(GOOD.time[:count], GOOD.voltage[:count], GOOD.current[:count])
    assert told(few) == {}
