"""How a run goes from step to step: order, clocks, records, requests; played sample by sample, no battery."""

from __future__ import annotations

import pytest

from sequences import Answer, Drive, Dut, NoCurrent, Verdict
from sequences.actions import Ask, ReadCodes
from tests.sequences.playing import (
    FAILS,
    HOLDS,
    STARTED,
    Data,
    Player,
    acir,
    cc,
    check,
    compute,
    parallel,
    prompt,
    recipe_of,
    rest,
    run,
)

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
