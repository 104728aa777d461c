"""Where a run goes after each end: routes, loops, choices, groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sequences import Dut, Recipe, Verdict
from sequences.actions import StandStill
from tests.sequences.playing import (
    FAILS,
    HOLDS,
    UNKNOWN,
    Data,
    Player,
    acir,
    check,
    choice,
    compute,
    ends_with,
    group,
    loop,
    recipe_of,
    repeat,
    rest,
    run,
)

# ----------------------------------------------------------------------------------------------------------- routes


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


def test_a_retry_makes_good_for_the_step_that_is_retried_and_for_nothing_in_it(dut: Dut) -> None:
    inner = [check("a", "cell_spread <= 20 mV", on_fail="next"), rest("settle"), check("b", "cell_spread <= 20 mV")]
    player = run(dut, group("g", *inner, on_fail="retry 1")).start(cell_spread=0.05).after(10.0)
    player.after(10.0, cell_spread=0.01)
    assert player.records[-1].verdict is Verdict.PASS
    assert player.ended.verdict is Verdict.FAIL
    assert player.ended.step == "a"
