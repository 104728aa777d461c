"""Expressions: what may be written, what kind it is, and what it comes out as, unknown values included."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequences.expression import DIMENSIONS, MAX_TEXT, Evaluation, coherent, parse_expression
from sequences.quantity import UNITS, parse_quantity
from sequences.text import FaultError

NAMES = {
    "v": "voltage", "w": "voltage", "i": "current", "q": "charge", "t": "time", "hot": "temperature",
    "cold": "temperature", "share": "fraction", "n": "number", "there": "truth", "energy_in": "energy",
}  # fmt: skip
VALUES: dict[str, float | bool | None] = {
    "v": 4.0, "w": None, "i": 30.0, "q": 36_000.0, "t": 60.0, "hot": 40.0, "cold": 15.0, "share": 0.25, "n": 3.0,
    "there": True, "energy_in": 3.6e6,
}  # fmt: skip


class Now:
    """A present with these values, in coherent units, of a battery of 60 Ah."""

    rated_capacity = 60.0

    def __init__(self, past: dict[str, list[float]] | None = None, **values: float | bool | None) -> None:
        self._values, self._past = {**VALUES, **values}, past or {}

    def value(self, name: str) -> float | bool | None:
        return self._values[name]

    def history(self, name: str) -> list[float] | None:
        return self._past.get(name)


def worked_out(text: str, **values: float | bool | None) -> float | bool | None:
    expression = parse_expression(text)
    expression.dimension(NAMES)
    return Evaluation(expression).now(Now(**values))


# ------------------------------------------------------------------------------------------------- what comes out


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("v", 4.0),
        ("v + 500 mV", 4.5),
        ("v - 1 V - 1 V", 2.0),  # from left to right
        ("v - (1 V - 1 V)", 4.0),
        ("v + v * 2", 12.0),
        ("v * i", 120.0),
        ("8 V / 2 / 2", 2.0),
        ("-v + 5 V", 1.0),
        ("-5 degC", -5.0),
        ("hot - cold", 25.0),
        ("hot + 2 K", 42.0),
        ("abs(cold - hot)", 25.0),
        ("min(v, 3 V)", 3.0),
        ("max(v, 3 V, 5 V)", 5.0),
        ("C/2", 30.0),
        ("0.5C + 1 A", 31.0),
        ("10 Ah", 36_000.0),  # ampere seconds inside
        ("q / i", 1200.0),
        ("energy_in / q", 100.0),
        ("share * 4", 1.0),
        ("50 % + share", 0.75),
        ("v > 3 V", True),
        ("v >= 4 V", True),
        ("v > 4 V", False),
        ("i <= C/2", True),
        ("3 V < v and v < 5 V", True),
        ("v > 5 V or i > 1 A and v > 5 V", False),  # and binds tighter
        ("(v > 5 V or i > 1 A) and v < 5 V", True),
        ("not v > 5 V", True),
        ("not not v > 5 V", False),
        ("there", True),
        ("not there or v > 3 V", True),
        ("v / (v - 4 V)", None),  # divides by zero
        ("n * n", 9.0),
        ("true", True),
        ("not true", False),
        ("false or v > 3 V", True),
    ],
)
def test_an_expression_comes_out_as_in_school(text: str, value: float | bool | None) -> None:
    came = worked_out(text)
    assert came == pytest.approx(value) if isinstance(value, float) else came is value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("w", None),
        ("w + 1 V", None),
        ("w > 1 V", None),
        ("not w > 1 V", None),
        ("w > 1 V and v > 5 V", False),  # whatever it is
        ("w > 1 V and v > 3 V", None),
        ("w > 1 V or v > 3 V", True),  # whatever it is
        ("w > 1 V or v > 5 V", None),
        ("max(w, v)", None),
    ],
)
def test_what_is_unknown_is_neither_true_nor_false(text: str, value: bool | None) -> None:
    assert worked_out(text) is value
    if value is None:
        assert not Evaluation(parse_expression(text)).true(Now())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_unknown(value: float) -> None:
    assert worked_out("v", v=value) is None
    assert worked_out("v > 1 V", v=value) is None
    assert worked_out("v * v * v > 1 V * 1 V * 1 V", v=1e200) is None, "too much for a number"


# ------------------------------------------------------------------------------------------------ what looks back


def test_a_function_of_one_signal_looks_back_over_every_moment_it_was_shown() -> None:
    seen = {what: Evaluation(parse_expression(f"{what}(v)")) for what in ("min", "max", "avg", "last")}
    for volts in (4.0, 3.0, None, 3.5):
        found = {what: evaluation.now(Now(v=volts)) for what, evaluation in seen.items()}
    assert found == {"min": 3.0, "max": 4.0, "avg": 3.5, "last": 3.5}


def test_nothing_to_look_back_on_is_unknown() -> None:
    assert Evaluation(parse_expression("avg(w) > 1 V")).now(Now()) is None


def test_a_function_of_a_variable_looks_back_over_its_values_in_the_run() -> None:
    present = Now(past={"q": [30.0, 40.0, 38.0]})
    spread = Evaluation(parse_expression("max(q) - min(q) <= 11 Ah"))
    assert spread.now(present) is True
    assert Evaluation(parse_expression("avg(q)")).now(present) == pytest.approx(36.0)
    assert Evaluation(parse_expression("last(q)")).now(present) == 38.0


# ---------------------------------------------------------------------------------------------------- what kind


@pytest.mark.parametrize(
    ("text", "dimension"),
    [
        ("v * i", "power"),
        ("v / i", "resistance"),
        ("v * q", "energy"),
        ("i * t", "charge"),
        ("q / q", "fraction"),
        ("n * n", "number"),
        ("n * share", "fraction"),
        ("1 + 20 %", "fraction"),
        ("hot - cold", "temperature_difference"),
        ("hot - 2 K", "temperature"),
        ("(hot - cold) / t", "temperature_rate"),
        ("v / t", "voltage_rate"),
        ("n / t", "frequency"),
        ("min(hot, cold)", "temperature"),
        ("avg(v)", "voltage"),
        ("v > 1 V", "truth"),
        ("4.2 V/cell", "cell_multiple"),
        ("C/3", "current"),
    ],
)
def test_units_multiply_out(text: str, dimension: str) -> None:
    assert parse_expression(text).dimension(NAMES) == dimension


@pytest.mark.parametrize(
    "text",
    [
        "v > i", "v + i", "v - share", "share >= 1", "n + v", "hot + cold", "2 * hot", "hot / cold", "-hot", "abs(hot)",
        "hot > 5 K", "max(v, i)", "v and i", "not v", "(v > 1 V) + (v > 2 V)", "(v > 1 V) > (v > 2 V)", "there > 1",
        "v * v", "v / v / v", "avg(v > 1 V)", "C/3 > 1 V",
        "-true", "true + 1", "true > false",
    ],
)  # fmt: skip
def test_units_that_do_not_fit_are_refused(text: str) -> None:
    with pytest.raises(FaultError) as error:
        parse_expression(text).dimension(NAMES)
    assert error.value.code == "E-EXPR-UNIT"


def test_a_name_that_nothing_has_is_refused() -> None:
    with pytest.raises(FaultError, match="there is no 'nowhere' here") as error:
        parse_expression("v > 1 V or nowhere > 1 V").dimension(NAMES)
    assert error.value.code == "E-EXPR-NAME"


# ------------------------------------------------------------------------------------------------ what is allowed


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (5, "E-EXPR"),
        (None, "E-EXPR"),
        ("", "E-EXPR"),
        ("v >", "E-EXPR"),
        ("> v", "E-EXPR"),
        ("v v", "E-EXPR"),
        ("(v", "E-EXPR"),
        ("v)", "E-EXPR"),
        ("v == 1 V", "E-EXPR"),
        ("v = 1 V", "E-EXPR"),
        ("v != 1 V", "E-EXPR"),
        ("1 V < v < 2 V", "E-EXPR"),
        ("v ** 2", "E-EXPR"),
        ("v % 2", "E-EXPR"),
        ("v & i", "E-EXPR"),
        ("v[0]", "E-EXPR"),
        ("v.real", "E-EXPR"),
        ("'v'", "E-EXPR"),
        ("f(v)", "E-EXPR"),
        ("eval(v)", "E-EXPR"),
        ("abs(v, v)", "E-EXPR"),
        ("avg(v, v)", "E-EXPR"),
        ("max()", "E-EXPR"),
        ("v; w", "E-EXPR"),
        ("lambda", "E-EXPR-NAME"),
        ("v if w else i", "E-EXPR"),
        ("__import__('os')", "E-EXPR"),
        ("_v", "E-EXPR"),
        ("½ V", "E-EXPR"),
        ("볼트 > 1 V", "E-EXPR"),
        ("1e9 V", "E-EXPR"),
        ("1 Volt", "E-EXPR"),
        ("v > 1 V # why", "E-EXPR"),
        ("and", "E-EXPR"),
        ("true(v)", "E-EXPR"),
        ("v > 1 V and", "E-EXPR"),
        ("1 + " * 99 + "1", "E-EXPR-SIZE"),
        ("(" * 13 + "v" + ")" * 13, "E-EXPR-SIZE"),
        ("v" + " " * MAX_TEXT, "E-EXPR-SIZE"),
    ],
)
def test_nothing_but_the_language_is_an_expression(text: Any, code: str) -> None:
    with pytest.raises(FaultError) as error:
        parse_expression(text).dimension(NAMES)
    assert error.value.code == code
    assert error.value.text.en
    assert error.value.text.ko


def test_layout_makes_no_difference() -> None:
    assert parse_expression("v>1 V and\n   i <=C/2") == parse_expression(" v>1 V and i <=C/2 ")
    assert worked_out("v\n>\n1\nV") is True


def test_it_knows_the_names_it_is_over_and_its_plain_comparisons() -> None:
    expression = parse_expression("q >= 10 Ah and max(v, w) < 4 V or i <= C/10")
    assert expression.names == {"q", "v", "w", "i"}
    assert [(c.name, c.operator, c.value, c.per_rated_capacity) for c in expression.comparisons] == [
        ("q", ">=", 10.0, False),
        ("i", "<=", 0.1, True),
    ]
    assert not expression.is_conjunction
    assert parse_expression("q >= 10 Ah and v < 4 V").is_conjunction


# ----------------------------------------------------------------------------------------------------- anything


@given(st.text(max_size=80))
def test_no_text_crashes_the_parser(text: str) -> None:
    with suppress(FaultError):
        parse_expression(text)


SIGNS = ["(", ")", "+", "-", "*", "/", "<", ">=", "and", "or", "not", "min", "abs", ","]
words = st.sampled_from([*NAMES, "1 V", "2 A", "C/3", "5", "30 degC", "2 K", "10 %", *SIGNS])


@given(
    st.lists(words, max_size=14).map(" ".join),
    st.lists(st.none() | st.floats(), min_size=len(NAMES), max_size=len(NAMES)),
)
def test_what_has_a_kind_comes_out_as_one_or_unknown(text: str, values: list[float | None]) -> None:
    try:
        expression = parse_expression(text)
        dimension = expression.dimension(NAMES)
    except FaultError:
        return
    present = Now(**dict(zip(NAMES, values, strict=True)) | {"there": None})
    came = Evaluation(expression).now(present)
    assert came is None or isinstance(came, bool) == (dimension == "truth")
    assert came is None or math.isfinite(came)


@given(st.integers(0, 10**6), st.sampled_from(sorted(UNITS)))
def test_a_quantity_means_the_same_inside_an_expression(number: int, unit: str) -> None:
    text = f"{number} {unit}"
    quantity = parse_quantity(text)
    expression = parse_expression(text)
    assert DIMENSIONS[expression.dimension({})] == DIMENSIONS[quantity.dimension]
    assert Evaluation(expression).now(Now()) == pytest.approx(quantity.value * coherent(quantity.dimension))
