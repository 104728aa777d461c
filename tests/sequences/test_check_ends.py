"""Ends and conditions: none that can never come, none that is met before its step has begun, none that is constant."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequences.checks.ranges import Known, Range, can_be
from sequences.expression import Evaluation, parse_expression
from sequences.recipe import Recipe
from sequences.text import FaultError
from tests.sequences.checking import DUT, capacity, cp, cr, found, loop, one, recipe, sound, wait, when
from tests.sequences.playing import Data, cc, cccv, check, parallel, rest


def ends(*conditions: Any, step: Data | None = None) -> Data:
    return {**(step or cc(max_time="1 h")), "ends": list(conditions)}


def charging(*conditions: Any) -> Data:
    return ends(*conditions, step=cc(direction="charge"))


def holding(*conditions: Any) -> Data:
    return ends(*conditions, step=cccv())


NEVER, AT_ONCE = "E-END-UNREACHABLE", "E-END-AT-ONCE"


@pytest.mark.parametrize(
    ("step", "code"),
    [
        # times
        (ends("step_time >= 1 h"), NEVER),
        (ends("step_time >= 59 min"), ""),
        (ends("step_time <= 5 s"), AT_ONCE),
        (ends("total_time >= 11 h"), NEVER),
        (ends("total_time >= 9 h"), ""),
        (ends("total_time <= 1 h"), AT_ONCE),
        (ends("step_time >= 10 min", step=rest(duration="10 min")), NEVER),
        (ends("step_time >= 5 min", step=rest(duration="10 min")), ""),
        (ends({"when": "soc <= 5 %", "at": "61 min"}), NEVER),
        (ends({"when": "soc <= 5 %", "at": "1 h"}), ""),  # as it gives up it is still judged
        (ends({"when": "soc <= 5 %", "at": "30 min"}), ""),
        (ends({"when": "soc <= 5 %", "after": "1 h"}), NEVER),
        (ends({"when": "soc <= 5 %", "before": "0 s"}), NEVER),
        (ends({"when": "soc <= 5 %", "before": "10 min", "after": "5 min", "hold": "5 min"}), NEVER),
        (ends({"when": "soc <= 5 %", "before": "10 min", "after": "5 min", "hold": "4 min"}), ""),
        (ends({"when": "soc <= 5 %", "hold": "2 h"}), NEVER),
        (ends({"when": "step_time >= 50 min", "hold": "15 min"}), NEVER),
        (ends({"when": "step_time >= 50 min", "before": "30 min"}), NEVER),
        (ends({"when": "step_time <= 30 min", "after": "20 min"}), ""),  # the first moment after is one of them
        # currents
        (ends("current >= 1C"), NEVER),
        (ends("current >= 40 A"), NEVER),
        (ends("current >= C/2"), ""),
        (ends("current <= C/2"), AT_ONCE),
        (ends("current <= C/10"), ""),  # where the supply holds the bound
        (ends("current >= C/5"), AT_ONCE),
        (holding("current <= C/2"), AT_ONCE),
        (holding("current <= 35 A"), AT_ONCE),
        (holding("current <= C/10", "current >= 0.6C"), NEVER),
        (holding("not current <= C/10"), AT_ONCE),
        ({**cccv(), "step": "cv", "ends": ["current <= C/10"]}, ""),
        # judged while the voltage is held only
        (holding("current <= C/10", "cell_max >= 4.1 V"), AT_ONCE),
        (holding("current <= C/10", "cell_max >= 4.19 V"), ""),
        (holding("current <= C/10", "cell_min >= 4.1 V"), ""),
        (ends("power >= 20 kW"), NEVER),
        (ends("power >= 5 kW"), ""),
        # charge
        (ends("depth >= 130 %"), NEVER),
        (ends("depth >= 30 %"), ""),
        (ends("depth <= 30 %"), AT_ONCE),
        (ends("charge >= 31 Ah"), NEVER),  # 30 A for an hour
        (ends("charge >= 29 Ah"), ""),
        (ends("charge >= 0.6 * rated_capacity"), NEVER),
        (ends("charge <= 1 Ah"), AT_ONCE),
        (ends({"when": "charge <= 1 Ah", "hold": "10 s"}), AT_ONCE),
        (ends({"when": "depth <= 30 %", "hold": "10 s"}), AT_ONCE),
        (ends({"when": "depth <= 30 %", "after": "10 min"}), ""),
        (ends("energy >= 13 kWh"), NEVER),
        (ends("soc >= 150 %"), NEVER),
        # voltages, with the step's own bound and the safety limits
        (charging("cell_max >= 4.21 V"), NEVER),
        (charging("cell_max >= 4.1 V"), ""),
        (ends("cell_min <= 2.6 V"), NEVER),
        (ends("cell_min <= 2.9 V"), ""),
        (ends("cell_max >= 4.3 V"), NEVER),
        (ends("cell_max >= 2.5 V"), AT_ONCE),
        (ends("cell_spread >= 1.4 V"), NEVER),
        (ends("cell_max - cell_min >= 3 V"), NEVER),
        (ends("voltage >= 410 V"), NEVER),
        (ends("voltage <= 300 V"), ""),
        (ends("temperature_max >= 55 degC"), NEVER),
        (ends("temperature_min <= 60 degC"), AT_ONCE),
        (ends("temperature_max - temperature_min >= 5 K"), ""),
        (ends("insulation <= 50 ohm/V"), NEVER),
        (ends("temperature_rate >= 3 K/min"), NEVER),
        # joined
        (ends("cell_min <= 2.9 V and step_time >= 2 h"), NEVER),
        (ends("cell_min <= 2.9 V or step_time >= 2 h"), NEVER),  # one of its parts
        (ends("cell_min >= 3.5 V and cell_min <= 3.4 V"), NEVER),
        (ends("3.5 V <= cell_min and cell_min <= 3.4 V"), NEVER),
        (ends("cell_min >= 3.4 V and cell_min <= 3.5 V"), ""),
        (ends("abs(cell_max - 3.6 V) <= 0.1 V"), ""),
        (ends("max(cell_max, cell_min) >= 4.3 V"), NEVER),
        (ends("avg(temperature_max) >= 55 degC"), NEVER),
        # what others drive
        (ends("current >= 60 A", step=cp(max_time="1 h")), NEVER),
        (ends("power >= 8 kW", step=cp(max_time="1 h")), ""),
        (ends("current >= 31 A", step=cr(max_time="1 h")), NEVER),
        # no current
        (ends("current <= 1 A", step=rest()), AT_ONCE),
        (ends("current >= 1 A", step=rest()), NEVER),
        (ends("charge >= 1 Ah", step=rest()), NEVER),
        (ends("depth <= 1 %", step=rest()), AT_ONCE),
        (ends("cell_rate <= 1 mV/min", step=rest()), ""),
        (wait("current <= 1 A"), AT_ONCE),
        (wait("step_time >= 3 h"), NEVER),
        (wait("temperature_max <= 60 degC"), AT_ONCE),
        (wait("temperature_max <= 30 degC"), ""),
        (wait("bms_faults >= 1 and battery_voltage <= 400 V"), ""),
        (capacity(cutoff="C/3"), AT_ONCE),
    ],
)
def test_an_end_lies_between_the_start_of_its_step_and_its_limits(step: Data, code: str) -> None:
    assert set(found(recipe(step))) == ({code} if code else set())


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (ends("current >= 1C"), NEVER),
        (ends("current <= C/2"), AT_ONCE),
        (ends("current >= 40 A"), ""),  # who knows
        (ends("current >= 40 A", step=cc(current="30 A")), NEVER),
        (ends("charge >= 40 Ah", step=cc(current="30 A")), NEVER),
        (ends("charge >= 40 Ah"), ""),
        (ends("depth <= 10 %"), AT_ONCE),
        (ends("charge <= 10 Ah"), AT_ONCE),
        (ends("current >= 1000 A", step=cp(max_time="1 h")), ""),
        (ends("charge >= rated_capacity"), ""),
        (ends("voltage <= 300 V"), ""),
    ],
)
def test_without_a_battery_only_what_is_sure_is_said(step: Data, code: str) -> None:
    assert set(found(recipe(step), None, None)) == ({code} if code else set())


def test_an_end_points_at_itself() -> None:
    finding = one(recipe(ends("cell_min <= 2.9 V", {"when": "step_time >= 2 h"})))
    assert finding.path == ("steps", 0, "ends", 1)
    assert one(recipe(wait("step_time >= 3 h"))).path == ("steps", 0, "condition")


# ---------------------------------------------------------------------------------------------------- conditions


@pytest.mark.parametrize("constant", ["1 V < 2 V", "2 V < 1 V", "current >= 0 A", "soc >= 300 %", "cell_min < 0 V"])
def test_a_condition_between_steps_can_be_either(constant: str) -> None:
    for step in (when(constant, rest()), loop(constant, rest())):
        finding = one(recipe(step))
        assert (finding.code, finding.path) == ("E-CONDITION-CONSTANT", ("steps", 0, "condition"))


@pytest.mark.parametrize(
    "condition", ["soc >= 50 %", "has_chamber", "not has_chamber", "rated_capacity > 50 Ah or soc > 1 %"]
)
def test_what_the_battery_or_the_station_decides_is_a_condition(condition: str) -> None:
    assert sound(recipe(when(condition, rest())))
    assert sound(recipe(when("rated_capacity > 50 Ah", rest())), None, None), "known once there is a battery"


@pytest.mark.parametrize("literal", [True, False, "true", "not true", "true or soc > 50 %", "soc > 50 % and false"])
def test_a_literal_truth_decides_nothing(literal: Any) -> None:
    for step in (when(literal, rest()), loop(literal, rest())):
        finding = one(recipe(step))
        assert (finding.code, finding.path) == ("E-CONDITION-CONSTANT", ("steps", 0, "condition"))
        assert "needs no `if`" in finding.hint.en


@pytest.mark.parametrize("literal", [True, False, "true", "not true"])
def test_a_check_of_a_literal_truth_checks_nothing(literal: Any) -> None:
    assert one(recipe(check("c", literal))).code == "E-CONDITION-CONSTANT"


@pytest.mark.parametrize(("literal", "code"), [("true", "E-END-AT-ONCE"), ("false", "E-END-UNREACHABLE")])
def test_a_literal_truth_is_no_end(literal: str, code: str) -> None:
    for end in (literal, {"when": literal}):
        finding = one(recipe(ends(end)))
        assert (finding.code, finding.path) == (code, ("steps", 0, "ends", 0))
    assert one(recipe(wait(literal))).code == code


def test_a_literal_truth_inside_other_steps_is_found_where_it_stands() -> None:
    inner = when("soc > 50 %", rest(), otherwise=[loop("true", rest("again"))])
    assert one(recipe(inner)).path == ("steps", 0, "else", 0, "condition")
    made = Recipe(**{name: getattr(recipe(inner), name) for name in Recipe.model_fields})
    assert one(made).path == ("steps", 0, "else", 0, "condition"), "a recipe made in Python has its document, too"


@pytest.mark.parametrize("deep", [True, False])
def test_a_truth_that_a_parameter_gives_is_a_condition(deep: bool) -> None:
    """Another run may have it otherwise."""
    steps = [when("$deep", rest()), check("c", "not $deep or soc > 10 %"), wait("$deep or soc > 10 %")]
    assert sound(recipe(*steps, parameters={"deep": {"default": deep}}))


def test_a_check_that_always_passes_is_let_be_where_a_limit_makes_sure_of_it() -> None:
    assert sound(recipe(check("c", "current >= 0 A")))
    assert one(recipe(check("c", "1 V < 2 V"))).code == "E-CONDITION-CONSTANT"
    assert one(recipe(check("c", "soc >= 300 %"))).code == "E-CONDITION-CONSTANT"


def test_a_wait_in_a_branch_may_watch_the_current_of_another() -> None:
    assert sound(recipe(parallel("p", [cc()], [wait("current <= 1 A")])))


# -------------------------------------------------------------------------------------------------------- ranges

NAMES = {"a": "voltage", "b": "voltage", "n": "number"}
leaves = st.sampled_from(["a", "b", "1 V", "2.5 V", "500 mV"])
quantities = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" + ", " - "]), inner).map(lambda t: f"({''.join(t)})"),
        st.tuples(inner, st.sampled_from([" * n", " / n", " * 3", " / 2"])).map("".join),
        st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(lambda t: f"{t[0]}({t[1]}, {t[2]})"),
        inner.map(lambda text: f"abs({text})"),
        inner.map(lambda text: f"-({text})"),
    ),
    max_leaves=4,
)
comparisons = st.tuples(quantities, st.sampled_from([" <= ", " < ", " >= ", " > "]), quantities).map("".join)
truths = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" and ", " or "]), inner).map(lambda t: f"({''.join(t)})"),
        inner.map(lambda text: f"not ({text})"),
    ),
    max_leaves=3,
)
bounds = st.tuples(st.floats(-5, 5), st.floats(-5, 5)).map(lambda pair: Range(min(pair), max(pair)))


class Values:
    rated_capacity = 1.0

    def __init__(self, **values: float) -> None:
        self._values = values

    def value(self, name: str) -> float:
        return self._values[name]

    def history(self, name: str) -> None:
        return None


@given(truths, bounds, bounds, bounds, st.data())
def test_what_is_said_to_be_impossible_never_happens(
    text: str, a: Range, b: Range, n: Range, data: st.DataObject
) -> None:
    try:
        expression = parse_expression(text)
        expression.dimension(NAMES)
    except FaultError:
        return
    said = can_be(expression.root, Known({"a": a, "b": b, "n": n}, rated=1.0))
    for corner in itertools.product(a, b, n):
        drawn = [data.draw(st.floats(*of)) for of in (a, b, n)]
        for values in (corner, drawn):
            came_out = Evaluation(expression).now(Values(**dict(zip("abn", values, strict=True))))
            assert came_out is None or (said.true if came_out else said.false)


def test_the_battery_of_these_tests_is_the_one_of_the_fixtures(dut: Any) -> None:
    assert dut == DUT
