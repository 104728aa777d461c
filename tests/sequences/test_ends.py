"""When a step ends, on every kind of signal, and what an unknown value can never do."""

from __future__ import annotations

from typing import Any

import pytest

from sequences import Dut, NoCurrent, Verdict
from tests.sequences.playing import HOLDS, UNKNOWN, Data, cc, cccv, check, choice, compute, loop, repeat, rest, run

# -------------------------------------------------------------------------------------------------------------- ends


def test_ends_are_ored_and_their_reason_is_recorded(dut: Dut) -> None:
    def played(**signals: Any) -> str:
        ends = ["temperature_max >= 45 degC", "depth >= 20 %"]
        player = run(dut, cc("s", ends=ends)).start().after(10.0, moved=-9.99, temperature_max=30.0)
        assert player.at_work == ["s"]
        return player.after(1.0, **signals).record("s").reason

    assert played(moved=-0.01) == "depth >= 20 %"
    assert played(temperature_max=45.0) == "temperature_max >= 45 degC"
    assert played(temperature_max=45.0, moved=-1.0) == "temperature_max >= 45 degC", "the first that holds"


def test_an_end_with_and_needs_every_part_at_once(dut: Dut) -> None:
    player = run(dut, rest("s", "1 h", ends=["temperature_max <= 30 degC and cell_spread <= 20 mV"]))
    player.start(temperature_max=31.0, cell_spread=0.01).after(1.0)
    player.after(1.0, temperature_max=30.0, cell_spread=0.03)
    player.after(1.0, temperature_max=30.0, cell_spread=None)
    assert player.at_work == ["s"]
    player.after(1.0, temperature_max=30.0, cell_spread=0.02)
    assert player.finish is not None


def test_one_true_part_of_an_or_suffices_whatever_is_unknown(dut: Dut) -> None:
    player = run(dut, rest("s", "1 h", ends=["temperature_max <= 30 degC or cell_spread <= 20 mV"])).start(
        temperature_max=40.0, cell_spread=None
    )
    player.after(1.0)
    assert player.at_work == ["s"]
    player.after(1.0, temperature_max=30.0)
    assert player.finish is not None


def test_an_end_counts_only_after_its_hold_without_a_gap(dut: Dut) -> None:
    ends = [{"when": "temperature_max >= 45 degC", "hold": "2 s"}]
    player = run(dut, cc("s", ends=ends)).start().after(1.0, temperature_max=46.0)
    player.after(1.0, temperature_max=None)  # a bad value breaks the streak
    player.after(1.0, temperature_max=46.0).after(1.0)
    assert player.at_work == ["s"]
    player.after(1.0)
    assert player.record("s").reason == "temperature_max >= 45 degC"


def test_a_hold_of_the_run_does_not_lengthen_the_hold_of_an_end(dut: Dut) -> None:
    ends = [{"when": "temperature_max >= 45 degC", "hold": "10 s"}]
    player = run(dut, cc("s", ends=ends)).start(temperature_max=46.0).after(1.0).hold(3600.0).after(1.0)
    assert player.at_work == ["s"]


@pytest.mark.parametrize("period", [0.1, 0.3, 0.7])
def test_a_hold_is_not_a_sample_longer_for_the_binary_fractions_of_its_times(dut: Dut, period: float) -> None:
    ends = [{"when": "temperature_max >= 45 degC", "hold": f"{10 * period:.1f} s"}]
    player = run(dut, cc("s", ends=ends)).start().after(period).after(period, temperature_max=46.0)
    for _ in range(9):
        player.after(period)
        assert player.at_work == ["s"]
    player.after(period)
    assert player.finish is not None


def test_a_bad_value_ends_nothing_and_the_maximum_time_still_does(dut: Dut) -> None:
    player = run(dut, cc("s", ends=["temperature_max >= 45 degC", "voltage <= 300 V"])).start()
    for _ in range(59):
        player.after(60.0, temperature_max=None, voltage=None, cell_min=None)
    assert player.at_work == ["s"]
    player.after(60.0)
    record = player.record("s")
    assert record.reason == "maximum time of 3600 s"
    assert not record.complete
    assert player.ended.verdict is Verdict.INCONCLUSIVE
    assert player.ended.reason == "maximum time of 3600 s"


def test_an_end_at_a_time_is_judged_once_and_never_again(dut: Dut) -> None:
    at = {"when": "temperature_max >= 45 degC", "at": "5 s", "then": "fail"}
    early = run(dut, rest("s", ends=[at])).start(temperature_max=50.0).after(4.0).after(1.0)
    assert early.record("s").verdict is Verdict.FAIL
    late = run(dut, rest("s", ends=[at])).start(temperature_max=25.0).after(5.0).after(4.9, temperature_max=50.0)
    assert late.at_work == ["s"]
    unknown = run(dut, rest("s", ends=[at])).start(temperature_max=None).after(5.0).after(1.0, temperature_max=50.0)
    assert unknown.at_work == ["s"], "an unknown value at that time fails nobody"


def test_an_end_before_or_after_a_time_counts_only_there(dut: Dut) -> None:
    before = {"when": "temperature_max >= 45 degC", "before": "5 s"}
    player = run(dut, rest("s", ends=[before])).start().after(5.0, temperature_max=50.0).after(1.0)
    assert player.at_work == ["s"]
    player = run(dut, rest("s", ends=[before])).start().after(4.9, temperature_max=50.0)
    assert player.finish is not None
    after = {"when": "temperature_max >= 45 degC", "after": "5 s", "hold": "2 s"}
    player = run(dut, rest("s", ends=[after])).start(temperature_max=50.0).after(4.0).after(2.0).after(1.0)
    assert player.at_work == ["s"], "its hold begins where it counts"
    player.after(1.0)
    assert player.finish is not None


def test_an_end_that_leads_elsewhere_is_heeded_when_the_step_ends_by_itself_at_that_moment(dut: Dut) -> None:
    """A rest of ten minutes that is judged after ten minutes."""
    ends = [{"when": "cell_spread >= 50 mV", "at": "10 min", "then": "fail"}]
    bad = run(dut, rest("s", "10 min", ends=ends)).start(cell_spread=0.06).after(600.0)
    assert bad.ended.verdict is Verdict.FAIL
    good = run(dut, rest("s", "10 min", ends=ends)).start(cell_spread=0.04).after(600.0)
    assert good.ended.verdict is Verdict.PASS
    empty = run(dut, cc("s", ends=[{"when": "cell_min <= 2.7 V", "then": "abort"}])).start().after(1.0, cell_min=2.6)
    assert empty.ended.verdict is Verdict.ABORTED


def test_an_end_that_goes_on_leaves_the_reason_to_the_step(dut: Dut) -> None:
    player = run(dut, cc("s", ends=["cell_min <= 2.7 V"])).start().after(1.0, cell_min=2.6)
    assert player.record("s").reason == "cell voltage 2.7 V", "which makes the state of charge known"


def test_cccv_judges_its_ends_only_while_it_holds_the_voltage(dut: Dut) -> None:
    ends = [{"when": "current <= C/10", "hold": "5 s"}]
    player = run(dut, cccv("s", ends=ends)).start(cell_max=3.9, voltage=380.0, current=0.0)
    for _ in range(10):  # the current has not risen yet: no end
        player.after(1.0)
    player.after(1.0, cell_max=4.2, voltage=399.0, current=30.0)
    player.after(10.0, current=5.9).after(4.0)
    assert player.at_work == ["s"]
    player.after(1.0)
    assert player.record("s").reason == "current <= C/10"


def test_a_wait_ends_when_its_condition_is_known_to_be_true(dut: Dut) -> None:
    wait = {"step": "wait_until", "name": "s", "condition": "temperature_max <= 30 degC", "max_time": "2 h"}
    player = run(dut, cc("before", ends=["step_time >= 1 s"]), wait).start(temperature_max=None).after(1.0)
    assert player.set_point == NoCurrent()
    player.after(60.0)
    assert player.at_work == ["s"]
    player.after(60.0, temperature_max=30.0)
    assert player.record("s").reason == "temperature_max <= 30 degC"
    late = run(dut, wait).start(temperature_max=40.0).after(7200.0)
    assert late.ended.verdict is Verdict.INCONCLUSIVE


# ------------------------------------------------------------------------------------------------------------ rates


def rate_end(condition: str) -> Data:
    return rest("s", "10 h", ends=[condition])


def test_a_rate_is_unknown_until_a_minute_has_been_seen(dut: Dut) -> None:
    player = run(dut, rate_end("voltage_rate <= 1 mV/min")).start()
    for _ in range(11):
        player.after(5.0)
    assert player.at_work == ["s"]
    player.after(5.0)
    assert player.finish is not None


def test_a_rate_looks_at_the_last_minute_only(dut: Dut) -> None:
    player = run(dut, rate_end("voltage_rate >= 1 V/s")).start(voltage=300.0)
    for _ in range(60):
        player.after(1.0)
    for second in range(59):
        player.after(1.0, voltage=300.0 + second + 1)
        assert player.at_work == ["s"]
    player.after(1.0, voltage=360.0)
    assert player.finish is not None


def test_a_rate_of_a_signal_that_went_bad_is_unknown_at_once(dut: Dut) -> None:
    player = run(dut, rate_end("voltage_rate <= 1 mV/min and temperature_max >= 30 degC")).start()
    for _ in range(60):
        player.after(1.0)
    player.after(1.0, voltage=None, temperature_max=31.0)
    assert player.at_work == ["s"]
    player.after(1.0, voltage=350.0)
    assert player.finish is not None, "one missing value does not cost a whole minute"


def test_after_a_gap_a_minute_must_be_seen_again(dut: Dut) -> None:
    player = run(dut, rate_end("voltage_rate <= 1 mV/min and temperature_max >= 30 degC")).start()
    for _ in range(60):
        player.after(1.0)
    player.after(600.0, voltage=None).after(1.0, voltage=350.0, temperature_max=31.0)
    assert player.at_work == ["s"]


def test_a_hold_breaks_every_rate(dut: Dut) -> None:
    """The current was off in between."""
    player = run(dut, rate_end("voltage_rate <= 1 mV/min and temperature_max >= 30 degC")).start()
    for _ in range(60):
        player.after(1.0)
    player.hold(20.0).after(1.0, temperature_max=31.0)
    assert player.at_work == ["s"]


def test_no_rate_is_taken_across_the_beginning_of_a_step(dut: Dut) -> None:
    player = run(dut, rest("before", "2 min"), rest("s", "10 h", ends=["voltage_rate <= 1 mV/min"])).start()
    player.after(60.0).after(60.0).after(59.0)
    assert player.at_work == ["s"]
    player.after(1.0)
    assert player.finish is not None


def test_the_cells_rate_is_that_of_their_mean_and_unknown_while_one_is(dut: Dut) -> None:
    player = run(dut, rate_end("cell_rate >= 1 mV/min"))
    player.cells = (3.6,) * 96
    player.start().after(30.0)
    player.cells = (3.6,) * 95 + (3.6 + 0.0961,)
    player.after(30.0)
    assert player.finish is not None
    player = run(dut, rate_end("cell_rate >= 1 mV/min"))
    player.cells = (3.6,) * 95 + (None,)
    player.start().after(60.0).after(60.0)
    assert player.at_work == ["s"]


# ---------------------------------------------------------------------------------------------- what is looked back on


@pytest.mark.parametrize(
    ("condition", "values"),
    [
        ("max(cell_max) - cell_max >= 49 mV", [3.66, None, 3.62, 3.61]),
        ("cell_max - min(cell_max) >= 49 mV", [3.56, None, 3.60, 3.61]),
        ("avg(cell_max) <= 3.4 V", [3.5, None, 3.3, 3.1]),
        ("last(cell_max) <= 3.4 V and temperature_max >= 30 degC", [3.5, 3.3, None, None]),
    ],
)
def test_aggregates_look_back_over_the_step(dut: Dut, condition: str, values: list[float | None]) -> None:
    player = run(dut, rest("s", "1 h", ends=[condition])).start(cell_max=3.60)
    for left, value in zip((3, 2, 1, 0), values, strict=True):
        assert player.at_work == ["s"]
        player.after(1.0, cell_max=value, temperature_max=30.0 - left)
    assert player.record("s").reason == condition


def test_the_first_values_of_a_step_count_too(dut: Dut) -> None:
    player = run(dut, rest("a"), rest("s", "1 h", ends=["max(cell_max) - cell_max >= 49 mV"])).start(cell_max=3.7)
    player.after(10.0, cell_max=3.66).after(1.0, cell_max=3.62)
    assert player.at_work == ["s"], "3.7 V belongs to the step before"
    player.after(1.0, cell_max=3.61)
    assert player.finish is not None


def test_every_run_of_a_step_looks_back_on_itself_alone(dut: Dut) -> None:
    step = rest("s", ends=[{"when": "max(cell_max) >= 4 V", "then": "fail"}])
    player = run(dut, repeat("twice", 2, step), check("done", HOLDS)).start(cell_max=3.9).after(10.0, cell_max=3.8)
    player.after(10.0)
    assert player.ended.verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("condition", "verdict"),
    [
        ("min(x) <= 1 and max(x) >= 3", Verdict.PASS),
        ("avg(x) <= 2 and avg(x) >= 2", Verdict.PASS),
        ("last(x) <= 2 and last(x) >= 2", Verdict.PASS),
        ("max(x) - min(x) > 2", Verdict.FAIL),
        ("max(x, 5) >= 5", Verdict.PASS),
    ],
)
def test_aggregates_of_a_variable_look_back_over_all_it_has_been(dut: Dut, condition: str, verdict: Verdict) -> None:
    values = [compute(f"x{value}", str(value), "x") for value in (1, 3, 2)]
    player = run(dut, *values, check("judged", condition), rest("end")).start()
    player.finish or player.after(10.0)
    assert player.ended.verdict is verdict


# ----------------------------------------------------------------------------------------------------- what is unknown


def test_a_check_of_something_unknown_is_inconclusive(dut: Dut) -> None:
    player = run(dut, check("c", UNKNOWN)).start()
    assert player.ended.verdict is Verdict.INCONCLUSIVE
    assert "unknown" in player.ended.reason


@pytest.mark.parametrize(
    ("condition", "verdict"),
    [
        ("cell_spread <= 1 V", Verdict.INCONCLUSIVE),
        ("not cell_spread <= 1 V", Verdict.INCONCLUSIVE),
        ("cell_spread <= 1 V or voltage >= 1 V", Verdict.PASS),
        ("cell_spread <= 1 V and voltage < 1 V", Verdict.FAIL),
        ("cell_spread <= 1 V and voltage >= 1 V", Verdict.INCONCLUSIVE),
        ("cell_spread <= 1 V or voltage < 1 V", Verdict.INCONCLUSIVE),
        ("max(cell_spread, voltage) >= 1 V", Verdict.INCONCLUSIVE),
        ("voltage / (voltage - voltage) >= 1", Verdict.INCONCLUSIVE),
    ],
)
def test_unknown_is_neither_true_nor_false(dut: Dut, condition: str, verdict: Verdict) -> None:
    player = run(dut, check("c", condition)).start(cell_spread=None, voltage=350.0)
    assert player.ended.verdict is verdict


def test_an_unknown_condition_takes_the_else(dut: Dut) -> None:
    player = run(dut, choice("if", "cell_spread <= 1 V", [rest("then")], [rest("else")])).start(cell_spread=None)
    assert player.at_work == ["else"]


def test_an_unknown_condition_ends_a_while(dut: Dut) -> None:
    player = run(dut, loop("while", "cell_spread <= 1 V", 10, rest("inner")), rest("after")).start(cell_spread=0.1)
    assert player.at_work == ["inner (1)"]
    player.after(10.0, cell_spread=None)
    assert player.at_work == ["after"]


def test_what_could_not_be_computed_is_not_what_it_was_before(dut: Dut) -> None:
    """A value of the first round must not pass for one of the second."""
    steps = [
        compute("first", "cell_spread", "x"),
        rest("wait"),
        compute("second", "cell_spread", "x"),
        check("judged", "x <= 1 V"),
    ]
    player = run(dut, *steps).start(cell_spread=0.1).after(10.0, cell_spread=None)
    assert player.record("second").reason == "x is unknown"
    assert player.record("second").values == {"x": None}
    assert player.ended.verdict is Verdict.INCONCLUSIVE


def test_it_is_known_again_when_it_could_be_had_again_and_its_history_has_no_gap(dut: Dut) -> None:
    steps = [repeat("three", 3, compute("x", "cell_spread", "x"), rest("wait")), check("judged", "x - min(x) >= 1 mV")]
    player = run(dut, *steps).start(cell_spread=0.1).after(10.0, cell_spread=None).after(10.0, cell_spread=0.102)
    player.after(10.0)
    assert player.ended.verdict is Verdict.PASS
