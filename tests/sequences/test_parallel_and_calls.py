"""Branches at the same time, recipes that are called, and the safety blocks that hold in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sequences import Drive, Dut, NoCurrent, Verdict
from sequences.actions import Ask, CallFunction, StandStill, TakeReadings, Tell, WorkOut
from tests.sequences.playing import (
    CAPACITY,
    FAILS,
    HOLDS,
    HPPC,
    Data,
    Player,
    acir,
    call,
    cc,
    check,
    choice,
    compute,
    document,
    ends_with,
    group,
    loop,
    parallel,
    prompt,
    repeat,
    rest,
    run,
)

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


# ---------------------------------------------------------------------------------- what is said around steps


def test_what_a_step_says_of_samples_and_holds_goes_for_the_steps_inside(dut: Dut) -> None:
    minute, second = {"every": "1 min"}, {"every": "1 s"}
    steps = [group("g", rest("a"), rest("b", record=second), record=minute, pause="park"), rest("c")]
    player = run(dut, *steps).start()
    told = {}
    while player.finish is None:
        (leaf,) = player.program.active
        told[leaf.step.name] = (leaf.record and leaf.record.every, leaf.parks)
        player.after(10.0)
    assert told == {"a": (60.0, True), "b": (1.0, True), "c": (None, False)}


def test_it_goes_for_called_recipes_and_for_the_parts_of_whole_tests(dut: Dut) -> None:
    outer = {**call("c", "sub"), "record": {"every": "1 min"}, "pause": "park"}
    for inner in (rest("a"), CAPACITY):
        (leaf,) = run(dut, outer, library=called(inner)).start().program.active
        assert leaf.record is not None
        assert (leaf.record.every, leaf.parks) == (60.0, True)
    (leaf,) = run(dut, CAPACITY | {"record": {"every": "1 s"}}).start().program.active
    assert leaf.record is not None
    assert (leaf.record.every, leaf.parks) == (1.0, False)


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
