"""How a run goes through its recipe: played sample by sample, no engine, no battery."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sequences import Answer, Drive, Dut, NoCurrent, Recipe, Verdict
from sequences.actions import Ask, CallFunction, ReadCodes, StandStill, TakeReadings, Tell, WorkOut
from sequences.condition import Route
from tests.sequences.playing import (
    STARTED,
    Data,
    Player,
    call,
    cc,
    cccv,
    check,
    compute,
    document,
    group,
    parallel,
    prompt,
    recipe_of,
    repeat,
    rest,
)

FAILS = "1 < 0"  # what a check of this always comes to
HOLDS = "1 > 0"
UNKNOWN = "cell_spread < 1 V and voltage_rate < 1 V/s"  # no rate is known at once


def run(dut: Dut, *steps: Data, **more: Any) -> Player:
    return Player(dut, recipe_of(*steps, **more))


def acir(name: str = "acir", **more: Any) -> Data:
    return {"step": "acir", "name": name, **more}


def loop(name: str, condition: str, most: int, *steps: Data, **more: Any) -> Data:
    return {"step": "while", "name": name, "condition": condition, "max_rounds": most, "steps": list(steps), **more}


def choice(name: str, condition: str, then: list[Data], otherwise: list[Data] | None = None) -> Data:
    return {"step": "if", "name": name, "condition": condition, "then": then, "else": otherwise or []}


# ------------------------------------------------------------------------------------------- one step after another


def test_steps_follow_one_another_and_the_run_passes(dut: Dut) -> None:
    player = run(dut, rest("a"), cc("b", ends=["step_time >= 5 s"]), rest("c")).start()
    assert player.at_work == ["a"]
    player.after(9.9)
    assert player.at_work == ["a"]
    player.after(0.1)
    assert player.at_work == ["b"]
    assert player.set_point == Drive(-30.0, pytest.approx(259.2))
    player.after(5.0)
    assert player.at_work == ["c"]
    assert player.set_point == NoCurrent()
    player.after(10.0)
    assert player.ended.verdict is Verdict.PASS
    assert player.ended.reason == ""


def test_a_record_says_what_ran_when_why_it_ended_and_what_moved(dut: Dut) -> None:
    player = run(dut, rest("a"), cc("b", ends=["charge >= 10 Ah"])).start().after(10.0)
    player.after(600.0, moved=-6.0).after(600.0, moved=-4.5)
    record = player.record("b")
    assert (record.index, record.name, record.kind, record.scope) == (1, "b", "cc", "")
    assert (record.started, record.ended) == (STARTED + 10.0, STARTED + 1210.0)
    assert record.reason == "charge >= 10 Ah"
    assert record.complete
    assert record.verdict is Verdict.PASS
    assert record.charge == pytest.approx(-10.5)
    assert player.record("a").charge == 0.0


def test_the_clock_of_a_step_starts_when_its_current_flows(dut: Dut) -> None:
    """Switching takes the engine a while; no pulse is shortened by it."""
    player = Player(dut, recipe_of(cc("a", ends=["step_time >= 5 s"])), switching=3.0).start().after(4.9)
    assert player.at_work == ["a"]
    player.after(0.1)
    assert player.record("a").started == STARTED + 3.0
    assert player.record("a").ended == STARTED + 8.0


def test_where_nothing_is_switched_the_clock_starts_with_the_step(dut: Dut) -> None:
    beside = parallel("p", [rest("owner", "30 s")], [rest("beside", "10 s")], [{"step": "identify", "name": "codes"}])
    player = Player(dut, recipe_of(beside), switching=3.0).start().answer(("", "", ""), to=ReadCodes)
    assert [player.record("codes").started, player.record("codes").ended] == [STARTED, STARTED + 3.0]
    player.after(7.0)
    assert player.at_work == ["owner"]
    assert player.record("beside").started == STARTED


def test_times_exclude_holds(dut: Dut) -> None:
    player = run(dut, rest("a"), check("early", "total_time < 30 s")).start().after(5.0)
    player.hold(3600.0).after(4.9)
    assert player.at_work == ["a"]
    player.after(0.1)
    assert player.ended.verdict is Verdict.PASS
    record = player.record("a")
    assert record.ended - record.started == pytest.approx(3610.0), "a record's times are the line's"


def test_the_net_charge_of_a_step_is_counted_from_its_start(dut: Dut) -> None:
    player = run(dut, cc("a", ends=["depth >= 20 %"]), cc("b", ends=["depth >= 20 %"])).start()
    player.after(600.0, moved=-10.0)
    assert player.at_work == ["b"]
    player.after(600.0, moved=-9.99)
    assert player.at_work == ["b"]
    player.after(1.0, moved=-0.01)
    assert player.finish is not None


def test_energy_steps_end_by_their_own_bound_without_any_end(dut: Dut) -> None:
    player = run(dut, cc("a")).start().after(10.0, cell_min=2.7)
    assert player.record("a").reason == "cell voltage 2.7 V"


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


# ----------------------------------------------------------------------------------------------------------- routes


def ends_with(then: str, **more: Any) -> Data:
    """A step that ends at once with this route."""
    return rest("r", ends=[{"when": "step_time >= 0 s", "then": then}], **more)


@pytest.mark.parametrize(
    ("then", "verdict", "ran"),
    [
        ("next", Verdict.PASS, ["r", "b", "c"]),
        ("goto c", Verdict.PASS, ["r", "c"]),
        ("fail", Verdict.FAIL, ["r"]),
        ("abort", Verdict.ABORTED, ["r"]),
        ("retry 2", Verdict.FAIL, ["r", "r (attempt 2)", "r (attempt 3)"]),
        ("retry 0", Verdict.FAIL, ["r"]),
    ],
)
def test_an_end_leads_where_it_says(dut: Dut, then: str, verdict: Verdict, ran: list[str]) -> None:
    player = run(dut, ends_with(then), rest("b"), rest("c")).play()
    assert player.ended.verdict is verdict
    assert player.labels == ran


@pytest.mark.parametrize(
    ("on_fail", "verdict", "ran"),
    [
        ("next", Verdict.FAIL, ["c", "b", "d"]),
        ("goto d", Verdict.FAIL, ["c", "d"]),
        ("fail", Verdict.FAIL, ["c"]),
        ("abort", Verdict.ABORTED, ["c"]),
        ("retry 1", Verdict.FAIL, ["c", "c (attempt 2)"]),
    ],
)
def test_a_failed_step_leads_where_its_on_fail_says_and_stays_failed(
    dut: Dut, on_fail: str, verdict: Verdict, ran: list[str]
) -> None:
    player = run(dut, check("c", FAILS, on_fail=on_fail), rest("b"), rest("d")).play()
    assert player.ended.verdict is verdict
    assert player.labels == ran
    assert player.ended.reason == "c: not so: 1 < 0", "the end says why, even when the run went on"
    assert player.ended.step == ran[-1] if on_fail == "retry 1" else "c"


def test_an_instruments_error_leads_where_on_error_says_and_stays_an_error(dut: Dut) -> None:
    def played(on_error: str) -> Player:
        player = run(dut, acir(on_error=on_error, on_fail="next"), rest("b"), rest("c")).start()
        player.answer(error="no reply", code="E-TIMEOUT")
        return player if player.finish else player.play()

    assert played("abort").labels == ["acir"]
    assert played("next").labels == ["acir", "b", "c"]
    assert played("goto c").labels == ["acir", "c"]
    for route in ("abort", "next", "goto c"):
        player = played(route)
        assert player.ended.verdict is Verdict.ERROR
        assert player.ended.reason == "no reply [E-TIMEOUT]"
        assert player.record("acir").verdict is Verdict.ERROR
        assert not player.record("acir").complete


def test_a_retry_that_succeeds_makes_good_what_went_wrong(dut: Dut) -> None:
    player = run(dut, acir(on_error="retry 2"), rest("b")).start()
    player.answer(error="no reply", code="E-TIMEOUT")
    assert player.at_work == ["acir (attempt 2)"]
    player.answer([(0.005, 43.0)]).play()
    assert player.ended.verdict is Verdict.PASS
    assert [record.verdict for record in player.records[:2]] == [Verdict.ERROR, Verdict.PASS]


def test_after_its_last_retry_a_step_has_failed_and_leads_where_on_fail_says(dut: Dut) -> None:
    player = run(dut, ends_with("retry 1", on_fail="goto last"), rest("skipped"), rest("last")).play()
    assert player.labels == ["r", "r (attempt 2)", "last"]
    assert player.ended.verdict is Verdict.FAIL


def test_retries_of_an_end_and_of_on_fail_do_not_add_up_without_end(dut: Dut) -> None:
    player = run(dut, ends_with("retry 1", on_fail="retry 3")).play()
    assert player.labels == ["r", "r (attempt 2)", "r (attempt 3)", "r (attempt 4)"]
    assert player.ended.verdict is Verdict.FAIL


def test_after_the_last_retry_an_error_ends_the_run_as_one_whatever_on_fail_says(dut: Dut) -> None:
    player = run(dut, acir(on_error="retry 1", on_fail="next"), rest("b")).start()
    player.answer(error="no reply", code="E-TIMEOUT").answer(error="no reply", code="E-TIMEOUT")
    assert player.ended.verdict is Verdict.ERROR


def test_a_jump_back_is_taken_as_often_as_it_may_and_then_the_run_goes_on(dut: Dut) -> None:
    player = run(dut, rest("a"), ends_with("goto a max 2"), rest("c")).play()
    assert player.labels == ["a", "r", "a", "r", "a", "r", "c"]
    assert player.ended.verdict is Verdict.PASS


def test_a_failure_that_jumps_back_is_made_good_by_the_next_time_through(dut: Dut) -> None:
    steps = [rest("settle"), check("c", "cell_spread <= 20 mV", on_fail="goto settle max 3"), rest("b")]
    player = run(dut, *steps).start(cell_spread=0.05).after(10.0)
    assert player.at_work == ["settle"]
    player.after(10.0, cell_spread=0.01).play()
    assert player.ended.verdict is Verdict.PASS
    stubborn = run(dut, *steps).play(cell_spread=0.05)
    assert stubborn.labels == ["settle", "c"] * 4 + ["b"]
    assert stubborn.ended.verdict is Verdict.FAIL


def test_jumps_from_different_places_are_counted_apart(dut: Dut) -> None:
    steps = [rest("a"), ends_with("goto a max 1"), {**ends_with("goto a max 1"), "name": "q"}]
    assert run(dut, *steps).play().labels == ["a", "r", "a", "r", "q", "a", "r", "q"]


def test_each_round_of_a_loop_counts_its_jumps_anew(dut: Dut) -> None:
    player = run(dut, repeat("twice", 2, rest("a"), ends_with("goto a max 1"))).play()
    one = ["a ({}/2)", "r ({}/2)"] * 2
    assert player.labels == [label.format(n) for n in (1, 2) for label in one]


def test_a_jump_without_a_maximum_back_is_not_taken(dut: Dut) -> None:
    assert run(dut, rest("a"), ends_with("goto a")).play().labels == ["a", "r"]


def test_a_route_to_hold_stands_still_until_people_resume_and_goes_on_with_the_next_step(dut: Dut) -> None:
    player = run(dut, check("c", FAILS, on_fail="hold"), rest("b")).start()
    assert [type(request) for request in player.asked.values()] == [StandStill]
    assert player.at_work == []
    player.after(10.0).after(1000.0)
    assert player.labels == ["c"]
    player.answer(to=StandStill)
    assert player.at_work == ["b"]
    assert player.after(10.0).ended.verdict is Verdict.FAIL, "people resumed it, and yet it failed"


# --------------------------------------------------------------------------------------------------- loops and choices


def test_a_repeat_runs_its_steps_times_in_total(dut: Dut, recipe_with: Callable[..., Recipe]) -> None:
    player = run(dut, repeat("three", 3, rest("a"), rest("b")), rest("c")).play()
    labels = ["a (1/3)", "b (1/3)", "a (2/3)", "b (2/3)", "a (3/3)", "b (3/3)", "c"]
    assert player.labels == labels
    assert [begun.index for begun in player.began] == list(range(len(labels)))
    assert {record.name for record in player.records} == {"a", "b", "c"}


def test_loops_inside_loops_say_every_round(dut: Dut) -> None:
    player = run(dut, repeat("outer", 2, repeat("inner", 2, rest("a")))).play()
    assert player.labels == ["a (1/2) (1/2)", "a (1/2) (2/2)", "a (2/2) (1/2)", "a (2/2) (2/2)"]


def test_a_failure_inside_ends_the_loop_and_its_own_on_fail_says_what_then(dut: Dut) -> None:
    def played(**more: Any) -> Player:
        return run(dut, repeat("loop", 3, check("c", FAILS), rest("r"), **more), rest("after")).play()

    assert played().labels == ["c (1/3)"]
    assert played(on_fail="next").labels == ["c (1/3)", "after"]
    assert played(on_fail="next").ended.verdict is Verdict.FAIL
    assert played(on_fail="retry 1").labels == ["c (1/3)", "c (attempt 2) (1/3)"], "labels of a run are told apart"


def test_an_error_inside_follows_the_on_error_of_what_holds_it(dut: Dut) -> None:
    def played(**more: Any) -> Player:
        player = run(dut, group("group", acir(), rest("b"), **more), rest("after")).start()
        player.answer(error="no reply", code="E-TIMEOUT")
        return player if player.finish else player.play()

    assert played().labels == ["acir"]
    assert played(on_error="goto after").labels == ["acir", "after"]
    assert played(on_fail="goto after").labels == ["acir"], "an error is no failure"
    assert played(on_error="goto after").ended.verdict is Verdict.ERROR


def test_an_abort_is_nobodys_to_mend(dut: Dut) -> None:
    inner = group("inner", ends_with("abort"), last=[rest("never")], on_fail="next", on_error="next")
    player = run(dut, inner, rest("neither")).play()
    assert player.labels == ["r"]
    assert player.ended.verdict is Verdict.ABORTED


def test_a_jump_out_of_a_body_goes_to_the_list_around_it(dut: Dut) -> None:
    steps = [rest("a"), repeat("loop", 3, ends_with("goto d"), rest("b")), rest("c"), rest("d")]
    assert run(dut, *steps).play().labels == ["a", "r (1/3)", "d"]
    deep = [rest("a"), repeat("l", 3, group("g", choice("if", HOLDS, [ends_with("goto d")]))), rest("c"), rest("d")]
    assert run(dut, *deep).play().labels == ["a", "r (1/3)", "d"]


def test_a_jump_back_out_of_a_body_is_counted_where_it_lands(dut: Dut) -> None:
    steps = [rest("a"), repeat("loop", 2, ends_with("goto a max 2"))]
    assert run(dut, *steps).play().labels == ["a", "r (1/2)"] * 3


def test_the_nearest_list_with_that_name_is_meant(dut: Dut) -> None:
    steps = [repeat("loop", 1, ends_with("goto d"), rest("b"), rest("d")), rest("c")]
    assert run(dut, *steps).play().labels == ["r (1/1)", "d (1/1)", "c"]


def test_a_while_goes_on_as_long_as_it_is_true(dut: Dut) -> None:
    player = run(dut, loop("cool", "temperature_max > 30 degC", 10, rest("wait")), rest("after")).start(
        temperature_max=40.0
    )
    player.after(10.0, temperature_max=35.0).after(10.0, temperature_max=30.0)
    assert player.at_work == ["after"]
    assert player.labels[:2] == ["wait (1)", "wait (2)"]


def test_a_while_that_is_not_true_does_nothing(dut: Dut) -> None:
    assert run(dut, loop("w", FAILS, 10, rest("never")), rest("after")).play().labels == ["after"]


def test_a_while_that_stays_true_fails_after_its_rounds(dut: Dut) -> None:
    player = run(dut, loop("w", HOLDS, 3, rest("r")), rest("after")).play()
    assert player.labels == ["r (1)", "r (2)", "r (3)"]
    assert player.ended.verdict is Verdict.FAIL
    assert player.ended.reason == "1 > 0 after 3 rounds"
    assert player.ended.step == "w"
    assert run(dut, loop("w", HOLDS, 3, rest("r"), on_fail="next"), rest("after")).play().labels[-1] == "after"


def test_a_while_that_becomes_false_in_its_last_round_does_not_fail(dut: Dut) -> None:
    steps = [compute("zero", "0", "n"), loop("w", "n < 3", 3, compute("count", "n + 1", "n")), rest("after")]
    assert run(dut, *steps).play().ended.verdict is Verdict.PASS


def test_a_choice_takes_one_branch_and_an_empty_one_is_none(dut: Dut) -> None:
    assert run(dut, choice("if", HOLDS, [rest("then")], [rest("else")])).play().labels == ["then"]
    assert run(dut, choice("if", FAILS, [rest("then")], [rest("else")])).play().labels == ["else"]
    assert run(dut, choice("if", FAILS, [rest("then")]), rest("after")).play().labels == ["after"]
    optional = choice("if", "has_chamber", [rest("soaked")])
    assert Player(dut, recipe_of(optional), roles=frozenset({"chamber"})).play().labels == ["soaked"]
    assert run(dut, optional).play().labels == []


def test_steps_that_take_no_time_follow_one_another_at_once_in_any_number(dut: Dut) -> None:
    steps = [
        compute("zero", "0", "n"),
        repeat("outer", 90, repeat("inner", 100, compute("count", "n + 1", "n"))),
        check("counted", "n >= 9000 and n <= 9000"),
    ]
    player = run(dut, *steps).start()
    assert player.ended.verdict is Verdict.PASS
    assert len(player.records) == 9002


def test_retries_around_retries_end_the_run_before_they_hang_it(dut: Dut) -> None:
    """99 attempts at each of five levels would be ten thousand million."""
    step = check("c", FAILS, on_fail="retry 99")
    for level in range(4):
        step = group(f"g{level}", step, on_fail="retry 99", on_error="retry 99")
    player = run(dut, step).start()
    assert player.ended.verdict is Verdict.ABORTED
    assert "more than" in player.ended.reason
    assert len(player.records) < 200_000


def test_steps_may_be_nested_deeply(dut: Dut) -> None:
    step = rest("inmost")
    for level in range(30):
        step = group(f"g{level}", step)
    player = run(dut, step).play()
    assert player.labels == ["inmost"]
    assert player.ended.verdict is Verdict.PASS


# ------------------------------------------------------------------------------------------------------------- groups


def test_a_group_goes_through_setup_steps_and_finally(dut: Dut) -> None:
    step = group("g", rest("work"), last=[rest("tidy")], setup=[rest("prepare")])
    player = run(dut, step, rest("after")).play()
    assert player.labels == ["prepare", "work", "tidy", "after"]


@pytest.mark.parametrize(
    ("work", "ran", "verdict"),
    [
        (check("c", FAILS), ["c", "tidy"], Verdict.FAIL),
        (check("c", UNKNOWN), ["c", "tidy"], Verdict.INCONCLUSIVE),
        (ends_with("goto after"), ["r", "tidy", "after"], Verdict.PASS),
        (ends_with("retry 1"), ["r", "r (attempt 2)", "tidy"], Verdict.FAIL),
        (ends_with("abort"), ["r"], Verdict.ABORTED),
        (check("c", FAILS, on_fail="abort"), ["c"], Verdict.ABORTED),
    ],
)
def test_finally_runs_however_the_steps_ended_but_not_after_an_abort(
    dut: Dut, work: Data, ran: list[str], verdict: Verdict
) -> None:
    player = run(dut, group("g", work, last=[rest("tidy")]), rest("skipped"), rest("after")).play()
    assert player.labels == ran
    assert player.ended.verdict is verdict


def test_finally_runs_after_an_error_that_does_not_abort(dut: Dut) -> None:
    step = group("g", acir(on_error="fail"), last=[rest("tidy")])
    player = run(dut, step).start().answer(error="no reply", code="E-TIMEOUT").play()
    assert player.labels == ["acir", "tidy"]
    assert player.ended.verdict is Verdict.ERROR


def test_a_group_whose_setup_failed_does_nothing_more(dut: Dut) -> None:
    step = group("g", rest("work"), last=[rest("tidy")], setup=[check("c", FAILS)])
    assert run(dut, step).play().labels == ["c"]


def test_finally_runs_at_every_attempt_of_the_group(dut: Dut) -> None:
    player = run(dut, group("g", check("c", FAILS), last=[rest("tidy")], on_fail="retry 1")).play()
    assert player.labels == ["c", "tidy", "c (attempt 2)", "tidy (attempt 2)"]


def test_a_failing_finally_hides_nothing_of_what_went_wrong_before(dut: Dut) -> None:
    step = group("g", acir(on_error="fail"), last=[check("c", FAILS)])
    player = run(dut, step).start().answer(error="no reply", code="E-TIMEOUT")
    assert player.ended.verdict is Verdict.ERROR
    assert player.ended.reason == "no reply [E-TIMEOUT]"


def test_a_failing_finally_fails_what_had_passed(dut: Dut) -> None:
    player = run(dut, group("g", rest("work"), last=[check("c", FAILS)]), rest("after")).play()
    assert player.ended.verdict is Verdict.FAIL
    assert player.labels == ["work", "c"]


# ----------------------------------------------------------------------------------------------------------- parallel


def test_branches_run_at_the_same_time_and_all_of_them_are_waited_for(dut: Dut) -> None:
    step = parallel("p", [rest("short", "5 s"), rest("more", "5 s")], [rest("long", "20 s")])
    player = run(dut, step, rest("after")).start()
    assert player.at_work == ["short", "long"]
    player.after(5.0)
    assert player.at_work == ["more", "long"]
    player.after(5.0)
    assert player.at_work == ["long"]
    player.after(10.0)
    assert player.at_work == ["after"]


def test_with_join_any_the_first_branch_ends_it_and_stops_the_others(dut: Dut) -> None:
    step = parallel("p", [cc("drive")], [rest("short", "5 s")], join="any")
    player = run(dut, step, rest("after")).start()
    assert isinstance(player.set_point, Drive)
    player.after(5.0)
    record = player.record("drive")
    assert record.reason == "stopped: branch branch2 ended"
    assert not record.complete
    assert player.actions.index(NoCurrent()) < len(player.actions)
    assert player.set_point == NoCurrent()
    assert player.at_work == ["after"]
    assert player.after(10.0).ended.verdict is Verdict.PASS


@pytest.mark.parametrize("join", ["all", "any"])
@pytest.mark.parametrize(
    ("then", "verdict", "ran"),
    [("fail", Verdict.FAIL, []), ("abort", Verdict.ABORTED, []), ("goto after", Verdict.PASS, ["after"])],
)
def test_a_branch_that_leaves_stops_the_others(
    dut: Dut, join: str, then: str, verdict: Verdict, ran: list[str]
) -> None:
    step = parallel("p", [cc("drive")], [ends_with(then)], join=join)
    player = run(dut, step, rest("skipped"), rest("after")).play()
    assert player.labels == ["drive", "r", *ran]
    assert player.record("drive").complete is False
    assert player.ended.verdict is verdict


def test_what_a_stopped_branch_asked_for_is_taken_back(dut: Dut) -> None:
    step = parallel("p", [rest("short", "5 s")], [prompt("question")], [acir()], join="any")
    player = run(dut, step).start().after(5.0)
    assert [type(request) for request in player.taken_back] == [Ask, TakeReadings]
    assert player.finish is not None


def test_a_branch_that_stands_still_is_stopped_too(dut: Dut) -> None:
    step = parallel("p", [rest("short", "5 s")], [check("c", FAILS, on_fail="hold"), rest("never")], join="any")
    player = run(dut, step).start().after(5.0)
    assert [type(request) for request in player.taken_back] == [StandStill]
    assert player.ended.verdict is Verdict.FAIL


def test_a_branch_that_ends_at_once_stops_those_that_have_not_begun(dut: Dut) -> None:
    step = parallel("p", [check("c", FAILS)], [rest("never")])
    assert run(dut, step).start().labels == ["c"]


def test_a_step_that_is_stopped_the_moment_it_begins_switches_nothing_on(dut: Dut) -> None:
    step = parallel("p", [cc("drive")], [check("c", FAILS)], on_fail="next")
    player = run(dut, step, rest("after")).start()
    assert player.labels == ["drive", "c", "after"]
    assert player.actions == [NoCurrent()]


def test_only_the_branch_that_drives_may_switch_the_current(dut: Dut) -> None:
    step = parallel("p", [rest("beside"), acir()], [cc("drive", ends=["step_time >= 60 s"])])
    player = run(dut, step).start()
    assert player.at_work == ["drive", "beside"], "the one that drives comes first"
    player.after(10.0)
    assert player.at_work == ["drive", "acir"]
    assert player.actions[0] == Drive(-30.0, pytest.approx(259.2))
    assert NoCurrent() not in player.actions


def test_a_branch_that_drives_in_a_recipe_it_calls_owns_the_current(dut: Dut) -> None:
    step = parallel("p", [rest("beside")], [call("sub", "driving")])
    library = {"driving": document(cc("drive"), id="driving")}
    player = run(dut, step, library=library).start()
    assert player.at_work == ["sub/drive", "beside"]
    assert isinstance(player.set_point, Drive)


def test_an_order_of_branches_does_not_matter_to_who_drives(dut: Dut) -> None:
    for branches in ([[cc("drive")], [rest("r")]], [[rest("r")], [cc("drive")]]):
        assert isinstance(run(dut, parallel("p", *branches)).start().set_point, Drive)


def test_nothing_flows_on_when_the_driving_branch_has_ended_and_others_have_not(dut: Dut) -> None:
    step = parallel("p", [cc("drive", ends=["step_time >= 5 s"])], [prompt("question")])
    player = run(dut, step).start().after(5.0)
    assert player.at_work == ["question"]
    assert player.set_point == NoCurrent()


def test_branches_may_hold_branches(dut: Dut) -> None:
    inner = parallel("inner", [cc("drive")], [rest("b", "5 s")], join="any")
    player = run(dut, parallel("p", [inner, rest("tail", "5 s")], [rest("c", "20 s")]), rest("after")).start()
    assert player.at_work == ["drive", "b", "c"]
    player.after(5.0)
    assert player.at_work == ["tail", "c"]
    player.after(5.0).after(10.0)
    assert player.at_work == ["after"]


def test_a_jump_inside_a_branch_stays_there(dut: Dut) -> None:
    step = parallel("p", [rest("a", "5 s"), ends_with("goto a max 1")], [rest("c", "30 s")])
    player = run(dut, step).play()
    assert [label for label in player.labels if label != "c"] == ["a", "r", "a", "r"]


# --------------------------------------------------------------------------------------------- what flows, and what not


@pytest.mark.parametrize(
    "step",
    [
        {"step": "identify", "name": "s"},
        {"step": "grade", "name": "s"},
        {"step": "publish", "name": "s", "event": "told"},
        {"step": "python", "name": "s", "function": "f", "max_time": "30 s"},
        {"step": "set", "name": "s", "chamber": "25 degC"},
        prompt("s"),
        acir("s"),
        check("s", FAILS, on_fail="hold"),
    ],
)
def test_the_current_of_a_step_ends_with_it_whatever_follows(dut: Dut, step: Data) -> None:
    """A discharge to the lower limit must not go on while a function is called or people are asked."""
    player = run(dut, cc("drive"), step, rest("after")).start().after(10.0, cell_min=2.7)
    assert player.asked
    assert player.set_point == NoCurrent()
    off = player.actions.index(NoCurrent())
    assert all(isinstance(action, Drive) for action in player.actions[:off]), "switched off before anything is asked"


def test_steps_that_take_no_time_do_not_interrupt_a_current(dut: Dut) -> None:
    steps = [
        cc("a", ends=["step_time >= 5 s"]), compute("c", "charge", "q"),
        check("k", HOLDS), {"step": "set", "name": "known", "soc": "40 %"}, cc("b"),
    ]  # fmt: skip
    player = run(dut, *steps).start().after(5.0)
    assert player.at_work == ["b"]
    assert NoCurrent() not in player.actions


# --------------------------------------------------------------------------------------------------------------- calls


def called(*steps: Data, **more: Any) -> dict[str, Data]:
    return {"sub": document(*steps, id="sub", **more)}


def test_a_called_recipes_steps_are_labelled_and_recorded_by_the_call(dut: Dut) -> None:
    player = run(dut, rest("a"), call("first", "sub"), call("again", "sub"), library=called(rest("a"))).play()
    assert player.labels == ["a", "first/a", "again/a"]
    assert [record.scope for record in player.records] == ["", "first", "again"]
    assert [record.name for record in player.records] == ["a", "a", "a"]


def test_calls_inside_calls_and_loops_say_where_they_are(dut: Dut) -> None:
    library = {
        "outer": document(repeat("twice", 2, call("inner", "sub")), id="outer"),
        **called(rest("a")),
    }
    player = run(dut, call("o", "outer"), library=library).play()
    assert player.labels == ["o/inner/a (1/2)", "o/inner/a (2/2)"]
    assert {record.scope for record in player.records} == {"o/inner"}


def test_a_failure_in_a_called_recipe_is_the_calls(dut: Dut) -> None:
    steps = [{**call("c", "sub"), "on_fail": "goto after"}, rest("skipped"), rest("after")]
    player = run(dut, *steps, library=called(check("k", FAILS))).play()
    assert player.labels == ["c/k", "after"]
    assert player.ended.verdict is Verdict.FAIL
    assert player.ended.step == "c/k"


def test_what_is_measured_in_a_call_is_asked_for_in_its_scope(dut: Dut) -> None:
    measure = {"step": "measure", "name": "m", "measurements": ["hottest"]}
    measurement = {
        "name": "hottest", "title": {"en": "h", "ko": "h"}, "from": {"kind": "temperature_max"},
    }  # fmt: skip
    player = run(dut, call("c", "sub"), library=called(measure, measurements=[measurement])).start()
    assert list(player.asked.values()) == [WorkOut(("hottest",), "c")]


def test_names_in_a_called_recipe_have_its_own_dimensions(dut: Dut) -> None:
    """The caller's `x` is a charge, the called recipe's a fraction; both are told to the MES in their own unit."""
    tell = {"step": "publish", "name": "tell", "event": "told", "values": ["x"]}
    library = called(compute("x", "cell_spread / nominal_voltage", "x"), tell)
    player = run(dut, compute("x", "rated_capacity", "x"), tell, call("c", "sub"), library=library)
    player.start(cell_spread=35.0)
    assert list(player.asked.values()) == [Tell("told", {"x": (60.0, "Ah")})]
    player.answer()
    assert player.record("c/x").values == {"x": pytest.approx(0.1)}
    assert list(player.asked.values()) == [Tell("told", {"x": (pytest.approx(10.0), "%")})]


def test_a_function_called_in_a_called_recipe_returns_its_units(dut: Dut) -> None:
    python = {"step": "python", "name": "f", "function": "f", "into": {"q": "Ah"}, "max_time": "30 s"}
    steps = [python, check("judged", "q >= 1.9 Ah and q <= 2.1 Ah")]
    player = run(dut, call("c", "sub"), library=called(*steps)).start().answer({"q": 2.0}, to=CallFunction)
    assert player.ended.verdict is Verdict.PASS


# ------------------------------------------------------------------------------------------- safety blocks that hold

TIGHT = {"temperature_max": {"warn": "35 degC", "trip": "40 degC", "delay": "2 s"}}
TIGHTER = {"temperature_max": {"warn": "30 degC", "trip": "32 degC", "delay": "2 s"}}


def trips(player: Player) -> list[float]:
    """Trip levels of the hottest sensor that hold now besides the run's."""
    return [float(safety.temperature_max.trip) for leaf in player.program.active for safety in leaf.own_safeties]


def test_a_step_narrows_the_safety_while_it_runs(dut: Dut) -> None:
    player = run(dut, rest("a", safety=TIGHT), rest("b")).start()
    assert trips(player) == [40.0]
    assert [float(s.temperature_max.trip) for s in player.began[0].own_safeties] == [40.0]
    assert float(player.program.active[0].own_safeties[0].temperature_min.trip) == 5.0, "the others stay"
    player.after(10.0)
    assert trips(player) == []


@pytest.mark.parametrize(
    "around",
    [
        lambda step: repeat("s", 2, step, safety=TIGHT),
        lambda step: loop("s", HOLDS, 2, step, safety=TIGHT),
        lambda step: {**choice("s", HOLDS, [step]), "safety": TIGHT},
        lambda step: group("s", step, safety=TIGHT),
        lambda step: parallel("s", [step], [rest("beside", "1 s")], safety=TIGHT),
    ],
)
def test_what_holds_steps_narrows_the_safety_of_all_of_them(dut: Dut, around: Callable[[Data], Data]) -> None:
    player = run(dut, around(rest("a", safety=TIGHTER)), rest("after")).start()
    assert trips(player)[:2] == [40.0, 32.0]


def test_a_standards_step_narrows_the_safety_of_its_parts(dut: Dut) -> None:
    assert trips(run(dut, {**CAPACITY, "safety": TIGHT}).start()) == [40.0]
    assert trips(run(dut, {**HPPC, "safety": TIGHT}).start()) == [40.0]


def test_called_recipes_bring_their_safety_besides_the_callers(dut: Dut) -> None:
    own = document(rest("a", safety=TIGHTER), id="sub")
    own["safety"]["temperature_max"] = {"warn": "41 degC", "trip": "42 degC", "delay": "2 s"}
    player = run(dut, {**call("c", "sub"), "safety": TIGHT}, library={"sub": own}).start()
    assert trips(player) == [40.0, 42.0, 32.0]


# -------------------------------------------------------------------------------------------------- state of charge


CHARGED = [cccv("fill", ends=["current <= C/10", "temperature_max >= 45 degC"])]


def charged(dut: Dut, *steps: Data, **more: Any) -> Player:
    """A full charge, then these steps."""
    player = run(dut, *CHARGED, *steps, **more).start().after(600.0, moved=10.0, cell_max=4.2, voltage=403.0)
    player.after(600.0, moved=2.0, current=5.0)
    del player.signals["current"]
    return player


def test_a_held_charge_makes_the_battery_known_to_be_full(dut: Dut) -> None:
    player = charged(dut, rest("r"))
    assert player.record("fill").reason == "current <= C/10"
    assert player.context.soc == 1.0
    player.after(1.0, moved=-5.0)
    assert player.program.scope(player._moment()).signal("soc") == pytest.approx(0.9)


@pytest.mark.parametrize(
    "ends",
    [["current <= C/10", "temperature_max >= 45 degC"], ["current <= C/10 or temperature_max >= 45 degC"]],
)
def test_a_charge_that_another_end_cut_short_makes_nothing_known(dut: Dut, ends: list[str]) -> None:
    player = run(dut, cccv("fill", ends=ends), rest("r")).start()
    player.after(600.0, moved=10.0, cell_max=4.2, voltage=403.0).after(60.0, temperature_max=45.0)
    assert player.at_work == ["r"]
    assert player.context.soc == 0.5


def test_a_charge_to_less_than_full_makes_nothing_known(dut: Dut) -> None:
    player = run(dut, cccv("fill", cell_voltage="4.1 V"), rest("r")).start()
    player.after(600.0, moved=10.0, cell_max=4.1, voltage=393.0).after(60.0, current=5.0)
    assert player.at_work == ["r"]
    assert player.context.soc == 0.5


def test_a_charge_that_ran_into_its_maximum_time_makes_nothing_known(dut: Dut) -> None:
    player = run(dut, cccv("fill", on_fail="next"), rest("r")).start().after(14400.0, moved=10.0)
    assert player.at_work == ["r"]
    assert player.context.soc == 0.5


def test_from_full_to_empty_the_capacity_is_learnt(dut: Dut) -> None:
    player = charged(dut, cc("a", ends=["depth >= 20 %"]), rest("b"), cc("empty"), rest("r"))
    player.after(1200.0, moved=-10.0).after(10.0).after(3000.0, moved=-34.0, cell_min=2.7)
    assert player.record("empty").reason == "cell voltage 2.7 V"
    assert player.context.soc == 0.0
    assert player.context.capacity == pytest.approx(44.0)


def test_charge_that_went_back_in_between_is_counted_net(dut: Dut) -> None:
    back = cc("back", "charge", ends=["step_time >= 5 s"])
    player = charged(dut, cc("a", ends=["step_time >= 5 s"]), back, cc("empty"), rest("r"))
    player.after(5.0, moved=-20.0).after(5.0, moved=4.0).after(5.0, moved=-30.0, cell_min=2.7)
    assert player.context.capacity == pytest.approx(46.0)


def test_a_discharge_that_ends_early_or_high_empties_nothing(dut: Dut) -> None:
    player = charged(dut, cc("a", ends=["depth >= 20 %"]), rest("r")).after(5.0, moved=-10.0)
    assert player.at_work == ["r"]
    assert player.context.soc == 1.0
    player = charged(dut, cc("a", cell_voltage="3 V"), rest("r")).after(5.0, moved=-40.0, cell_min=3.0)
    assert player.at_work == ["r"]
    assert player.context.soc == 1.0


def test_an_implausibly_small_capacity_is_not_learnt(dut: Dut) -> None:
    """A weak cell at its limit right after the charge says nothing of the battery's capacity."""
    player = charged(dut, cc("empty"), rest("r")).after(60.0, moved=-3.0, cell_min=2.6)
    assert player.context.capacity == 50.0
    assert player.context.soc == 0.0


def test_a_state_of_charge_may_be_set(dut: Dut) -> None:
    known = {"step": "set", "name": "known", "soc": "80 %"}
    player = run(dut, known, check("k", "soc >= 80 % and soc <= 80 %"), rest("r")).start()
    assert player.at_work == ["r"]


# ------------------------------------------------------------------------------------------ what standards prescribe

CAPACITY: Data = {
    "step": "capacity", "name": "test", "charge_current": "C/3", "charge_cell_voltage": "4.2 V", "cutoff": "C/20",
    "charge_max_time": "5 h", "discharge_current": "C/3", "discharge_cell_voltage": "2.7 V",
    "discharge_max_time": "4 h", "rest_charged": "30 min", "rest_discharged": "30 min", "rounds": 4, "agree": 2,
    "within": "3 %", "into": "capacity_ah",
}  # fmt: skip


def cycled(dut: Dut, discharged: list[float], **more: Any) -> Player:
    """The capacity test with what each round's discharge gives, Ah."""
    player = run(dut, {**CAPACITY, **more}, compute("copy", "capacity_ah", "found"), rest("after")).start()
    for amount in discharged:
        player.after(3600.0, moved=40.0, cell_min=4.1, cell_max=4.2, voltage=403.0)
        player.after(600.0, current=2.9).after(5.0)
        del player.signals["current"]
        player.after(1800.0, cell_min=4.0, cell_max=4.1)
        player.after(7200.0, moved=-amount, cell_min=2.7, cell_max=2.8)
        player.after(1800.0, cell_min=3.0, cell_max=3.1)
    return player


def test_a_capacity_test_ends_when_its_newest_rounds_agree(dut: Dut) -> None:
    player = cycled(dut, [45.0, 46.5])
    assert player.at_work == ["after"]
    assert player.labels[:5] == [
        "test_charge (1/4)", "test_rest_charged (1/4)", "test_discharge (1/4)", "test_rest_discharged (1/4)",
        "test_charge (2/4)",
    ]  # fmt: skip
    assert player.record("copy").values == {"found": pytest.approx(45.75)}, "the mean of those that agree"


def test_only_the_newest_rounds_must_agree(dut: Dut) -> None:
    player = cycled(dut, [40.0, 46.0, 47.0])
    assert player.at_work == ["after"]
    assert player.record("copy").values == {"found": pytest.approx(46.5)}


def test_the_tolerance_is_a_share_of_the_rated_capacity(dut: Dut) -> None:
    """3 % of 60 Ah are 1.8 Ah."""
    assert cycled(dut, [45.0, 46.79]).at_work == ["after"]
    assert cycled(dut, [45.0, 46.81]).at_work == ["test_charge (3/4)"]


def test_capacities_that_never_agree_are_inconclusive_and_their_mean_is_kept(dut: Dut) -> None:
    player = cycled(dut, [40.0, 45.0, 40.0, 45.0])
    assert player.ended.verdict is Verdict.INCONCLUSIVE
    assert "4 capacities do not agree" in player.ended.reason
    assert player.context.variables["capacity_ah"] == [pytest.approx(42.5 * 3600)]
    assert cycled(dut, [40.0, 45.0, 40.0, 45.0], on_fail="next").at_work == ["after"]


def test_three_rounds_must_agree_when_three_are_asked_for(dut: Dut) -> None:
    assert cycled(dut, [45.0, 45.1], agree=3).at_work == ["test_charge (3/4)"]
    assert cycled(dut, [45.0, 45.1, 45.2], agree=3).at_work == ["after"]
    assert cycled(dut, [45.0, 45.1, 49.0, 45.2], agree=3).ended.verdict is Verdict.INCONCLUSIVE


def test_a_round_that_could_not_be_completed_ends_the_test(dut: Dut) -> None:
    player = run(dut, CAPACITY, rest("after")).start().after(5 * 3600.0)
    assert player.ended.verdict is Verdict.INCONCLUSIVE
    assert player.ended.reason == "maximum time of 18000 s"


HPPC: Data = {
    "step": "hppc", "name": "h", "soc": ["80 %", "50 %"], "current": "C/2", "rest": "10 min",
    "pulses": [{"direction": "discharge", "current": "1C", "duration": "10 s", "rest": "40 s"}],
    "cell_voltage_min": "2.7 V", "cell_voltage_max": "4.2 V", "max_time": "2 h",
}  # fmt: skip


def test_hppc_goes_down_from_state_of_charge_to_state_of_charge(dut: Dut) -> None:
    player = charged(dut, HPPC, rest("after"))
    assert player.at_work == ["h_move (1/2)"]
    player.after(1200.0, moved=-9.9, cell_min=3.9, cell_max=4.0)
    assert player.at_work == ["h_move (1/2)"]
    player.after(12.0, moved=-0.1)
    assert player.at_work == ["h_rest (1/2)"]
    player.after(600.0)
    assert player.program.active[0].sample_period == 0.1
    player.after(10.0, moved=-0.2)
    assert player.set_point == NoCurrent()
    player.after(40.0)
    assert player.at_work == ["h_move (2/2)"]
    player.after(1800.0, moved=-14.8).after(600.0).after(10.0).after(40.0)
    assert player.at_work == ["after"]


def test_hppc_uses_the_capacity_that_was_learnt(dut: Dut) -> None:
    """After a full discharge that gave 40 Ah, half of the charge is 20 Ah."""
    player = charged(dut, cc("empty"), cccv("refill"), {**HPPC, "soc": ["50 %"]}, rest("after"))
    player.after(4000.0, moved=-40.0, cell_min=2.7, cell_max=2.8)
    player.after(4000.0, moved=40.0, cell_min=4.1, cell_max=4.2, voltage=403.0).after(60.0, current=5.0)
    assert player.at_work == ["h_move (1/1)"]
    player.after(100.0, moved=-19.9, cell_min=3.6, cell_max=3.7)
    assert player.at_work == ["h_move (1/1)"]
    player.after(100.0, moved=-0.1)
    assert player.at_work == ["h_rest (1/1)"]


# ------------------------------------------------------------------------------------------------- requests and answers


def test_an_answer_reaches_the_step_that_asked(dut: Dut) -> None:
    step = parallel("p", [prompt("first", into="a", answer="number")], [prompt("second", into="b", answer="number")])
    player = run(dut, step).start()
    first, second = player.asked
    assert list(player.asked) == [first, second]
    del player.asked[second]
    turn = player.program.update(player._moment({second: Answer(2.0)}))
    assert [event.label for event in turn.events] == ["second"]  # type: ignore[union-attr]
    assert player.context.variables == {"b": [2.0]}


def test_a_request_is_taken_back_when_its_step_overruns(dut: Dut) -> None:
    player = run(dut, prompt("question")).start().after(599.0)
    assert player.at_work == ["question"]
    player.after(1.0)
    assert [type(request) for request in player.taken_back] == [Ask]
    assert player.ended.verdict is Verdict.INCONCLUSIVE
    assert player.record("question").complete is False


def test_an_answer_in_the_last_moment_counts(dut: Dut) -> None:
    player = run(dut, prompt("question")).start().after(1.0)
    player.t = 600.0
    player.answer(True)
    assert player.ended.verdict is Verdict.PASS


def test_identify_asks_at_once_and_while_nothing_needs_switching(dut: Dut) -> None:
    player = run(dut, {"step": "identify", "name": "i"}).start()
    assert list(player.asked.values()) == [ReadCodes()]
    assert player.actions == [ReadCodes()]


def test_routes_are_written_as_they_are_read() -> None:
    for text in ("next", "fail", "hold", "abort", "retry 3", "goto a", "goto a max 12"):
        assert Route.parse(text).text == text


def test_a_retry_makes_good_for_the_step_that_is_retried_and_for_nothing_in_it(dut: Dut) -> None:
    inner = [check("a", "cell_spread <= 20 mV", on_fail="next"), rest("settle"), check("b", "cell_spread <= 20 mV")]
    player = run(dut, group("g", *inner, on_fail="retry 1")).start(cell_spread=0.05).after(10.0)
    player.after(10.0, cell_spread=0.01)
    assert player.records[-1].verdict is Verdict.PASS
    assert player.ended.verdict is Verdict.FAIL
    assert player.ended.step == "a"
