"""A run that was interrupted: its program becomes again what it was, from what it told of itself alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sequences import (
    Ask,
    Begun,
    Context,
    Counters,
    Decision,
    Drive,
    Dut,
    Finish,
    Hppc,
    Moment,
    NoCurrent,
    Program,
    ReadCodes,
    Recipe,
    ReplayError,
    StandStill,
    StepRecord,
    StepStart,
    Turn,
    Verdict,
)
from tests.sequences.playing import (
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

Told = StepStart | StepRecord | Decision


class Telling(Player):
    """Remembers after every turn what was told so far and what the program was."""

    def __init__(self, dut: Dut, recipe: Recipe, **more: Any) -> None:
        super().__init__(dut, recipe, **more)
        self.dut = dut
        self.told: list[Told] = []
        self.moments: list[tuple[int, Any, Finish | None]] = []

    def _follow(self, turn: Turn) -> Player:
        self.told += [event.start if isinstance(event, Begun) else event for event in turn.events]
        self.moments.append((len(self.told), state(self.program), turn.finish))
        return super()._follow(turn)


def state(program: Program) -> Any:
    """Everything a program is that decides what it will do, but for what single steps have in mind."""
    context = program.context
    variables = {name: list(values) for name, values in context.variables.items()}
    knows = [variables, set(context.unknown), dict(context.measured), context.capacity, context.soc, context.soc_at]
    knows += [context.full_at, context.grade_certain]
    newest = {key: record.index for key, record in program.newest.items()}
    walked = [program.next_index, program._entered, list(program._passed_over), newest]
    return knows, walked, place(program._root)


def place(node: Any) -> Any:
    """Where a node stands, and those inside it."""
    own = {
        name: copy.copy(value)
        for name, value in vars(node).items()
        if name in ("_at", "_attempts", "_jumps", "_round", "_found", "_part", "_outcome", "label", "index")
    }
    standing = getattr(node, "_standing", None) is not None
    inner = getattr(node, "_child", None) or getattr(node, "_inner", None)
    branches = {name: place(branch) for name, branch in getattr(node, "_running", {}).items()}
    if standing:
        inner = None
    return type(node).__name__, own, standing, inner and place(inner), branches


def replayed(dut: Dut, recipe: Recipe, told: Iterable[Told]) -> tuple[Program, Finish | None]:
    program = Program(recipe, Context(dut, 50.0, 0.5))
    return program, program.replay(told)


# ------------------------------------------------------------------------------------------------ any recipe, any cut

ROUTES = ["next", "fail", "retry 1", "hold", "abort", "goto first max 2"]


@st.composite
def leaves(draw: st.DrawFn, name: str, *, drives: bool) -> Data:
    kinds = ["rest", "compute", "check", "prompt", "identify", "set"] + (["cc", "cccv"] if drives else [])
    routes = {"on_fail": draw(st.sampled_from(ROUTES)), "on_error": draw(st.sampled_from(ROUTES))}
    match draw(st.sampled_from(kinds)):
        case "rest":
            ends = draw(st.sampled_from([[], [{"when": "temperature_max > 35 degC", "then": "hold"}]]))
            return rest(name, f"{draw(st.integers(1, 20))} s", ends=ends)
        case "cc":
            return cc(name, draw(st.sampled_from(["charge", "discharge"])), max_time="30 s", **routes)
        case "cccv":
            return cccv(name, max_time="40 s", **routes)
        case "compute":
            return compute(name, draw(st.sampled_from(["temperature_max", "avg(x)", "last(x)"])), "x")
        case "check":
            return check(name, "temperature_max < 30 degC", **routes)
        case "prompt":
            return prompt(name, **routes)
        case "set":
            return {"step": "set", "name": name, "soc": "100 %"}
        case _:
            return {"step": "identify", "name": name, "into": "traceable", **routes}


@st.composite
def steps(draw: st.DrawFn, names: list[str], depth: int = 2, *, drives: bool = True) -> list[Data]:
    found = []
    for _ in range(draw(st.integers(1, 3))):
        names.append(name := "first" if not names else f"s{len(names)}")
        kinds = ["leaf", "repeat", "while", "if", "group", "parallel"] if depth else ["leaf"]

        def inner(drives: bool = drives) -> list[Data]:
            return draw(steps(names, depth - 1, drives=drives))

        match draw(st.sampled_from(kinds)):
            case "repeat":
                found.append(repeat(name, draw(st.integers(1, 3)), *inner()))
            case "while":
                condition = "temperature_max > 30 degC"
                found.append({"step": "while", "name": name, "condition": condition, "max_rounds": 3, "steps": inner()})
            case "if":
                condition = "temperature_max > 30 degC"
                found.append({"step": "if", "name": name, "condition": condition, "then": inner(), "else": inner()})
            case "group":
                found.append(group(name, *inner(), last=inner(), on_fail=draw(st.sampled_from(["next", "fail"]))))
            case "parallel":
                join = draw(st.sampled_from(["all", "any"]))
                found.append(parallel(name, inner(), inner(False), join=join))
            case _:
                found.append(draw(leaves(name, drives=drives)))
    return found


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_run_of_any_recipe_cut_at_any_moment_becomes_what_it_was(dut: Dut, data: st.DataObject) -> None:
    recipe = recipe_of(*data.draw(steps([])))
    player = Telling(dut, recipe)
    player.start()
    for _ in range(40):
        if player.finish is not None:
            break
        warm = data.draw(st.sampled_from([25.0, 33.0, 38.0, None]))
        answers = data.draw(st.booleans())
        if player.asked and answers:
            request = next(iter(player.asked.values()))
            if data.draw(st.integers(0, 5)) == 0:
                player.answer(error="it does not answer", code="E-LINK-TIMEOUT")
            else:
                yes = data.draw(st.booleans())
                player.answer(("", None, "") if isinstance(request, ReadCodes) else yes)
        else:
            current = data.draw(st.sampled_from([0.5, 30.0]))
            seconds, moved = data.draw(st.integers(1, 9)), data.draw(st.sampled_from([-0.5, 0.0, 0.25]))
            player.after(float(seconds), moved=moved, temperature_max=warm, cell_max=4.2, current=current)
    for told, was, finish in player.moments:
        program, ended = replayed(dut, recipe, player.told[:told])
        assert state(program) == was
        assert ended == finish


# --------------------------------------------------------------------------------------------------- taking it up


def moment(player: Player, t: float, **signals: float | None) -> Moment:
    """What a player would show at a time of the run."""
    player.t, player.signals = t, player.signals | signals
    return player._moment()


def taken_up(player: Telling, how: Any, *, at: float) -> tuple[Program, Turn]:
    """Another program in the player's place, at a time of the run."""
    program, finish = replayed(player.dut, player.program.recipe, player.told)
    assert finish is None
    player.program = program
    return program, program.take_up(moment(player, at), how)


def test_a_resumed_step_keeps_its_clock_its_charge_and_its_number(dut: Dut) -> None:
    player = Telling(dut, recipe_of(cc("down", ends=["step_time >= 60 s"], on_interrupt="resume")))
    player.start().after(40.0, moved=-0.3)
    program, turn = taken_up(player, "resume", at=40.0)
    assert [directive.action for directive in turn.directives] == [Drive(-30.0, 2.7 * dut.series_cells)]
    assert turn.events == (), "it has begun long ago"
    assert program.update(moment(player, 59.0)).finish is None
    player.moved -= 0.2
    (record,) = program.update(moment(player, 60.0)).events
    assert isinstance(record, StepRecord)
    assert (record.index, record.reason) == (0, "step_time >= 60 s")
    assert record.charge == pytest.approx(-0.5)


def test_a_repeated_step_begins_anew_under_a_number_of_its_own(dut: Dut) -> None:
    player = Telling(dut, recipe_of(rest("rest", "60 s", on_interrupt="repeat")))
    player.start().after(40.0)
    program, turn = taken_up(player, "repeat", at=40.0)
    assert [(event.index, event.label) for event in turn.events if isinstance(event, Begun)] == [(1, "rest")]
    program.update(moment(player, 40.0))
    assert program.update(moment(player, 99.0)).finish is None
    assert program.update(moment(player, 100.0)).finish is not None
    player.told += [event.start for event in turn.events if isinstance(event, Begun)]
    again, _ = replayed(dut, player.program.recipe, player.told)
    assert [leaf.index for leaf in again.active] == [1], "and so it is told when that is interrupted too"


def test_an_end_that_was_judged_is_not_judged_again(dut: Dut) -> None:
    cold = {"when": "temperature_max < 30 degC", "at": "10 s", "then": "fail"}
    player = Telling(dut, recipe_of(rest("rest", "60 s", ends=[cold], on_interrupt="resume")))
    player.start().after(10.0, temperature_max=31.0).after(1.0, temperature_max=25.0)
    program, _ = taken_up(player, "resume", at=11.0)
    assert program.update(moment(player, 12.0)).finish is None


def test_a_move_goes_on_the_way_it_went_although_it_went_too_far(dut: Dut) -> None:
    move: Data = {
        "step": "go_to_soc", "name": "move", "soc": "40 %", "current": "C/2", "cell_voltage_min": "2.7 V",
        "cell_voltage_max": "4.2 V", "max_time": "1 h", "on_interrupt": "resume",
    }  # fmt: skip
    player = Telling(dut, recipe_of(move))
    player.start().after(60.0, moved=-4.9)
    player.moved -= 0.2  # what flowed until the watchdog had switched off
    program, turn = taken_up(player, "resume", at=60.0)
    assert turn.directives[0].action == Drive(-30.0, 2.7 * dut.series_cells)
    assert program.update(moment(player, 61.0)).finish == Finish(Verdict.PASS)


def test_a_hold_that_the_recipe_asked_for_ends_when_people_take_the_run_up(dut: Dut) -> None:
    player = Telling(dut, recipe_of(check("looks", "temperature_max < 20 degC", on_fail="hold"), rest("after")))
    player.start()
    assert isinstance(next(iter(player.asked.values())), StandStill)
    program, turn = taken_up(player, "resume", at=5.0)
    assert [event.label for event in turn.events] == ["looks", "after"]
    assert [leaf.label for leaf in program.active] == ["after"]


def test_a_branch_that_is_held_stays_so_while_the_other_goes_on(dut: Dut) -> None:
    held = [check("looks", "temperature_max < 20 degC", on_fail="hold"), rest("later")]
    player = Telling(dut, recipe_of(parallel("both", held, [rest("one", "5 s"), rest("two", "5 s")])))
    player.start()
    for _ in range(4):
        player.after(5.0)
    program, finish = replayed(dut, player.program.recipe, player.told)
    assert (state(program), finish) == (state(player.program), None)
    assert program.active == []
    player.answer()
    program, _ = replayed(dut, player.program.recipe, player.told)
    assert [leaf.label for leaf in program.active] == ["later"]


def test_questions_are_asked_again(dut: Dut) -> None:
    player = Telling(dut, recipe_of(prompt("look", on_interrupt="repeat")))
    player.start()
    program, turn = taken_up(player, "repeat", at=5.0)
    asked = [d for turn in (turn, program.update(moment(player, 5.0))) for d in turn.directives]
    assert [type(d.action) for d in asked] == [NoCurrent, Ask]


def test_a_called_recipe_and_a_capacity_test_are_walked_through_too(dut: Dut) -> None:
    capacity = {
        "step": "capacity", "name": "test", "charge_current": "C/2", "charge_cell_voltage": "4.2 V", "cutoff": "C/10",
        "charge_max_time": "60 s", "discharge_current": "C/2", "discharge_cell_voltage": "2.7 V",
        "discharge_max_time": "60 s", "rest_charged": "5 s", "rest_discharged": "5 s", "rounds": 3, "agree": 2,
        "within": "3 %", "into": "found",
    }  # fmt: skip
    inner = document(capacity, compute("half", "found / 2", "half"), rest("last"), id="inner")
    recipe = recipe_of(call("full", "inner"), library={"inner": inner})
    player = Telling(dut, recipe)
    player.start()
    for _ in range(2):
        player.after(2.0, cell_max=4.2, current=1.0).after(6.0, current=1.0).after(6.0)
        player.after(2.0, moved=-50.0, cell_min=2.6).after(0.0, cell_min=3.6).after(6.0)
    assert player.context.variables["half"]
    for told, was, finish in player.moments:
        program, ended = replayed(dut, recipe, player.told[:told])
        assert (state(program), ended) == (was, finish)


# ------------------------------------------------------------------------------------- what a step may say of it

PULSES: Data = {
    "pulses": [{"direction": "discharge", "current": "1C", "duration": "10 s", "rest": "40 s"}],
    "cell_voltage_min": "2.7 V", "cell_voltage_max": "4.2 V",
}  # fmt: skip
HPPC: Data = {"step": "hppc", "name": "hppc", "soc": ["80 %"], "current": "C/3", "rest": "1 min", "max_time": "4 h"}


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"step": "pulse", "name": "pulse", **PULSES, "on_interrupt": "resume"}, "abort, repeat, restart, not resume"),
        (prompt("look", on_interrupt="resume"), "abort, repeat, restart, not resume"),
        (repeat("often", 2, rest(), on_interrupt="repeat"), "abort, not repeat; say it in the steps inside"),
        (rest("rest", ends=["voltage < max(voltage) - 1 V"], on_interrupt="resume"), "looks back over its step"),
    ],
)
def test_a_word_that_a_step_cannot_keep_is_a_fault(step: Data, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        recipe_of(step)


def test_what_looks_back_over_variables_or_is_repeated_may_say_so(dut: Dut) -> None:
    recipe_of(compute("a", "1", "x"), rest("rest", ends=["max(x) > 2"], on_interrupt="resume"))
    recipe_of(rest("rest", ends=["voltage < max(voltage) - 1 V"], on_interrupt="repeat"))


def test_of_a_resumed_hppc_the_pulse_trains_are_repeated(dut: Dut) -> None:
    (hppc,) = recipe_of(HPPC | PULSES | {"on_interrupt": "resume"}).steps
    assert isinstance(hppc, Hppc)
    assert [step.on_interrupt for step in hppc.rounds[0]] == ["resume", "resume", "repeat"]


# ---------------------------------------------------------------------------------------------- what cannot be so


def tell(dut: Dut, recipe: Recipe) -> Telling:
    player = Telling(dut, recipe)
    player.start().after(10.0).after(10.0)
    return player


@pytest.mark.parametrize(
    "change",
    [
        lambda told: told[:-1],
        lambda told: told[1:],
        lambda told: [*told, told[0]],
        lambda told: [replace(told[0], label="other"), *told[1:]],
        lambda told: [told[0], Decision("first", True), *told[1:]],
        lambda told: [],
    ],
)
def test_what_is_not_the_story_of_this_recipe_is_refused(dut: Dut, change: Callable[[list[Any]], list[Any]]) -> None:
    player = tell(dut, recipe_of(rest("first"), rest("second"), rest("third")))
    with pytest.raises(ReplayError):
        replayed(dut, player.program.recipe, change(player.told))


def test_a_while_that_looks_back_over_signals_cannot_be_gone_through_again(dut: Dut) -> None:
    loop = {"step": "while", "name": "loop", "condition": "avg(temperature_max) < 30 degC", "max_rounds": 3}
    player = tell(dut, recipe_of({**loop, "steps": [rest("inside", "15 s")]}))
    with pytest.raises(ReplayError, match="loop looks back"):
        replayed(dut, player.program.recipe, player.told)


def test_what_is_told_is_plain_enough_for_a_journal(dut: Dut) -> None:
    player = tell(dut, recipe_of(rest("first"), compute("half", "rated_capacity / 2", "half"), rest("second")))
    (record, *_) = [told for told in player.told if isinstance(told, StepRecord)]
    assert record.counters == Counters(1000.0, 1000.0)
    assert asdict(record)["known"] == {
        "capacity": 50.0, "soc": 0.5, "soc_at": 0.0, "full_at": None, "grade_certain": None,
    }  # fmt: skip
