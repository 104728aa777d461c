"""Any recipe on any samples and answers: what a program may never do, and that it always comes to an end.

What must hold after every turn is in the player; recipes here are not checked before, so some of them make no sense.
"""

from __future__ import annotations

import json
import math
import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sequences import Dut, Recipe, Request, Verdict, actions, worst
from tests.sequences.playing import (
    CALM,
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
    repeat,
    rest,
)

NAMES = ("a", "b", "c", "d")  # few, so that jumps find their targets, and steps their likes
CONDITIONS = (
    "cell_max > 3.8 V", "x >= 1", "x < 2 and voltage > 300 V", "not (soc < 50 % or current > 1 A)", "grade_certain",
    "max(cell_max) - min(cell_max) > 200 mV", "voltage_rate > 1 V/s", "has_voltmeter", "step_time >= 8 s", "1 > 0",
)  # fmt: skip
ONCE = ("next", "fail", "hold", "abort", "goto b", "goto d")
AGAIN = ("retry 1", "retry 2", "goto a max 2", "goto b max 1")
PULSES = [
    {"direction": direction, "current": "1C", "duration": "5 s", "rest": "5 s"} for direction in ("discharge", "charge")
]
TABLE = [["0 s", "-30 A"], ["10 s", "0 A"], ["20 s", "30 A"], ["30 s", "0 A"]]
WINDOW = {"cell_voltage_min": "2.8 V", "cell_voltage_max": "4.15 V"}
MEASUREMENTS = [{"name": "warm", "title": {"en": "w", "ko": "w"}, "from": {"kind": "temperature_max"}}]


def leaf(draw: st.DrawFn, name: str, *, drives: bool, again: bool) -> Data:
    routes = ONCE + AGAIN if again else ONCE
    condition, then = draw(st.sampled_from(CONDITIONS)), draw(st.sampled_from(routes))
    end = {"when": condition, "then": then, **draw(st.sampled_from([{}, {"hold": "5 s"}, {"at": "10 s"}]))}
    plain = [
        rest(name, "20 s", ends=[end]),
        compute(name, draw(st.sampled_from(["voltage / 100 V", "avg(x)", "last(x) + 1", "1"])), "x"),
        check(name, condition),
        prompt(name, answer="number", into="x", max_time="40 s"),
        prompt(name, max_time="40 s"),
        {"step": "inspect", "name": name, "items": [{"name": "leak", "text": {"en": "?", "ko": "?"}}],
         "max_time": "40 s"},
        {"step": "identify", "name": name, "into": "x"},
        {"step": "acir", "name": name, "readings": 2, "max_time": "40 s"},
        {"step": "eis", "name": name, "highest": "10 Hz", "lowest": "1 Hz", "max_time": "40 s"},
        {"step": "insulation", "name": name, "voltage": "500 V", "duration": "10 s", "max_time": "40 s"},
        {"step": "ocv", "name": name, "settle": "1 mV/min", "max_time": "90 s", "readings": 2},
        {"step": "set_temperature", "name": name, "temperature": "25 degC", "soak": "10 s", "max_time": "40 s"},
        {"step": "set", "name": name, "chamber": "25 degC"},
        {"step": "set", "name": name, "soc": "50 %"},
        {"step": "wait_until", "name": name, "condition": condition, "max_time": "40 s"},
        {"step": "measure", "name": name, "measurements": ["warm"]},
        {"step": "grade", "name": name},
        {"step": "publish", "name": name, "event": "told", "values": ["warm"]},
        {"step": "python", "name": name, "function": "f", "into": {"x": "1"}, "max_time": "40 s"},
    ]  # fmt: skip
    driving = [
        cc(name, draw(st.sampled_from(["charge", "discharge"])), ends=[end], max_time="40 s"),
        cccv(name, max_time="60 s"),
        {"step": "cp", "name": name, "direction": "discharge", "power": "9 kW", "cell_voltage": "3 V", "ends": [end],
         "max_time": "40 s"},
        {"step": "cr", "name": name, "resistance": "20 ohm", "current": "C/2", "cell_voltage": "3 V",
         "max_time": "40 s"},
        {"step": "pulse", "name": name, "pulses": PULSES, **WINDOW},
        {"step": "go_to_soc", "name": name, "soc": draw(st.sampled_from(["20 %", "50 %", "80 %"])), "current": "1C",
         "max_time": "40 s", **WINDOW},
        {"step": "profile", "name": name, "rows": TABLE, **WINDOW},
        {"step": "hppc", "name": name, "soc": ["80 %", "50 %"], "current": "1C", "rest": "10 s", "pulses": PULSES,
         "max_time": "40 s", **WINDOW},
        {"step": "capacity", "name": name, "charge_current": "1C", "charge_cell_voltage": "4.2 V", "cutoff": "C/10",
         "charge_max_time": "40 s", "rest_charged": "10 s", "discharge_current": "1C", "discharge_max_time": "40 s",
         "discharge_cell_voltage": "2.8 V", "rest_discharged": "10 s", "rounds": 2, "agree": 2, "into": "x"},
    ]  # fmt: skip
    return draw(st.sampled_from(plain + driving if drives else plain))


@st.composite
def lists(draw: st.DrawFn, depth: int, *, drives: bool = True, again: bool = True) -> list[Data]:
    """A few steps of any kind; only where `drives` do some let current flow."""
    found = []
    for name in NAMES[: draw(st.integers(1, 3))]:
        inner = lists(depth - 1, drives=drives, again=again)
        kinds = ("leaf", "leaf", "repeat", "while", "if", "group", "parallel", "call") if depth else ("leaf",)
        kind = draw(st.sampled_from(kinds))
        condition = draw(st.sampled_from(CONDITIONS))
        match kind:
            case "leaf":
                step = leaf(draw, name, drives=drives, again=again)
            case "repeat":
                step = repeat(name, draw(st.integers(1, 2)), *draw(inner))
            case "while":
                step = {"step": "while", "name": name, "condition": condition, "max_rounds": 2, "steps": draw(inner)}
            case "if":
                step = {"step": "if", "name": name, "condition": condition, "then": draw(inner), "else": draw(inner)}
            case "group":
                step = group(name, *draw(inner), last=draw(inner), setup=draw(st.just([]) | inner))
            case "parallel":
                beside = lists(depth - 1, drives=False, again=again)
                branches = draw(st.permutations([draw(inner), draw(beside)]))
                step = parallel(name, *branches, join=draw(st.sampled_from(["all", "any"])))
            case _:
                step = call(name, "driving" if drives else "resting")
        routes = ONCE + AGAIN if again else ONCE
        step["on_fail"] = draw(st.sampled_from(routes))
        step["on_error"] = draw(st.sampled_from(routes))
        found.append(step)
    return found


@st.composite
def recipes(draw: st.DrawFn, *, again: bool = True) -> Recipe:
    library = {
        name: document(*draw(lists(1 if drives else 0, drives=drives, again=again)), id=name, measurements=MEASUREMENTS)
        for name, drives in (("resting", False), ("driving", True))
    }
    called = {"resting": library["resting"], "driving": _without_calls(library["driving"])}
    steps = draw(lists(2, again=again))
    return Recipe.from_data(document(*steps, measurements=MEASUREMENTS), library=called.__getitem__)


def _without_calls(data: Any) -> Any:
    """What is called calls nothing: a circle is refused before it could run."""
    if isinstance(data, list):
        return [_without_calls(value) for value in data]
    if not isinstance(data, dict):
        return data
    if data.get("step") == "call":
        return rest(data["name"], "5 s")
    return {key: _without_calls(value) for key, value in data.items()}


class Fate:
    """What happens to a run: samples and answers, all by chance."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._errors = chance.random() < 0.5
        self._bad = chance.choice([0.0, 0.1, 0.5])

    def signals(self) -> dict[str, float | None]:
        chance = self._chance
        found: dict[str, float | None] = dict(CALM)
        low = chance.uniform(2.6, 4.2)
        found |= {"cell_min": low, "cell_max": low + chance.uniform(0.0, 0.2), "voltage": 96 * low}
        found["temperature_max"] = chance.choice([25.0, 40.0])
        if chance.random() < 0.3:
            found["current"] = chance.choice([0.0, 3.0, 30.0])
        return {name: None if chance.random() < self._bad else value for name, value in found.items()}

    def error(self) -> bool:
        return self._errors and self._chance.random() < 0.2

    def value(self, request: Request) -> Any:
        chance = self._chance
        maybe = lambda value: chance.choice([value, None])  # noqa: E731
        match request:
            case actions.TakeReadings():
                return [(maybe(0.005), maybe(350.0)) for _ in range(request.count)]
            case actions.TakeSpectrum():
                return [(f, 0.001, maybe(-0.001)) for f in request.frequencies]
            case actions.TestInsulation():
                return maybe(1e6)
            case actions.ReadCodes():
                return chance.choice([("x", "x", "x"), ("", "x", "x"), (None, None, "x"), ("y", "x", "x")])
            case actions.Ask(answer="inspect"):
                return {name: chance.random() < 0.7 for name, _ in request.items}
            case actions.Ask(answer="confirm"):
                return chance.random() < 0.7
            case actions.Ask():
                return chance.choice([0, 1, 2.5])
            case actions.WorkOut():
                return chance.choice([{}, {"warm": 25.0}, {"warm": None}])
            case actions.Provisional():
                return chance.choice([("A", True), (None, False)])
            case actions.CallFunction():
                return chance.choice([{"x": 1.0}, {"x": None}, {"x": math.inf}, {"x": "text"}, {}])
            case _:
                return None


def lived(dut: Dut, recipe: Recipe, chance: random.Random) -> Player:
    """The whole run; fails when it does not end."""
    fate = Fate(chance)
    roles = frozenset(role for role in ("voltmeter", "chamber") if chance.random() < 0.5)
    player = Player(dut, recipe, soc=chance.uniform(0.0, 1.0), roles=roles, switching=chance.choice([0.0, 1.0]))
    player.cells = chance.choice([(), (3.6,) * 96])
    player.start(**fate.signals())
    for _ in range(5000):
        if player.finish is not None:
            return player
        if player.asked and chance.random() < 0.4:
            kind = type(chance.choice(list(player.asked.values())))
            if fate.error() and kind is not actions.StandStill:
                player.answer(to=kind, error="no reply", code="E-TIMEOUT")
            else:
                request = next(request for request in player.asked.values() if type(request) is kind)
                player.answer(fate.value(request), to=kind)
            continue
        if chance.random() < 0.1:
            player.hold(chance.uniform(1.0, 100.0))
        player.after(chance.choice([1.0, 5.0, 20.0]), moved=chance.uniform(-1.0, 1.0), **fate.signals())
    raise AssertionError(f"does not end; at work: {player.at_work}, asked: {player.asked}")


many = settings(max_examples=60, suppress_health_check=list(HealthCheck))


@many
@given(recipes(), st.randoms(use_true_random=False))
def test_every_run_ends_and_breaks_no_rule_on_the_way(dut: Dut, recipe: Recipe, chance: random.Random) -> None:
    player = lived(dut, recipe, chance)
    assert len(player.records) == len(player.began)
    assert [begun.index for begun in player.began] == list(range(len(player.began)))
    for begun in player.began:
        record = next(record for record in player.records if record.index == begun.index)
        assert (record.label, record.kind) == (begun.label, begun.kind)
        assert record.started <= record.ended
        assert record.reason
        assert (record.verdict is Verdict.ERROR) <= (not record.complete), "what met an error is not complete"
    assert player.program.active == []
    if player.ended.verdict is not Verdict.PASS:
        assert player.ended.reason, "what is not a pass says why"


@many
@given(recipes(again=False), st.randoms(use_true_random=False))
def test_where_nothing_gets_a_second_chance_nothing_that_went_wrong_is_forgotten(
    dut: Dut, recipe: Recipe, chance: random.Random
) -> None:
    assert "retry" not in json.dumps(recipe.to_data())
    player = lived(dut, recipe, chance)
    assert player.ended.verdict.rank >= worst(record.verdict for record in player.records).rank
