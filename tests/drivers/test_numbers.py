"""Numbers are read strictly: what is not plainly a number never becomes one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import AnswerError
from drivers.numbers import parse_integer, parse_number, parse_quantity, parse_reading, signed


@pytest.mark.parametrize(
    ("text", "unit", "value", "resolution"),
    [
        ("43.50V", "V", 43.5, 0.01),
        (" 33.3A", "A", 33.3, 0.1),
        ("420W", "W", 420.0, 1.0),
        ("-0.5 A", "A", -0.5, 0.1),
        ("3.5kW", "W", 3500.0, 100.0),
        ("12.3456E-3", "", 12.3456e-3, 1e-7),
        ("1.00000E+9", "", 1e9, 1e4),
        ("+.5", "", 0.5, 0.1),
        ("7.", "", 7.0, 1.0),
    ],
)
def test_numbers_of_real_instruments(text: str, unit: str, value: float, resolution: float) -> None:
    quantity = parse_quantity(text, unit)
    assert quantity.value == pytest.approx(value, rel=1e-15)
    assert quantity.resolution == pytest.approx(resolution, rel=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        *["", " ", "NaN", "nan", "inf", "-INF", "9.9E37", "9.91E+37", "-9.9E37", "1E400", "1_0", "0x10", "1.2.3"],
        *["1,5", "--1", "1e", "e5", ".", "+", "1 2", "١٢", "１２", "1\n", "1\x00"],
        *["5V", "5 kV", "5m", "ON", '0,"No error"'],
    ],
)  # fmt: skip
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(AnswerError):
        parse_number(text)


@pytest.mark.parametrize("text", ["5", "5A", "5mV", "5MV", "5v", "5VV", "5 k V", "5V;", "V"])
def test_another_unit_is_never_taken_for_the_expected_one(text: str) -> None:
    with pytest.raises(AnswerError):
        parse_number(text, "V")


@given(st.text(max_size=30))
def test_any_text_is_a_finite_number_or_an_answer_error(text: str) -> None:
    try:
        value = parse_number(text)
    except AnswerError:
        return
    assert math.isfinite(value)
    assert value == float(text)


@given(st.decimals(-1e9, 1e9, places=4), st.sampled_from(["", "V", "A", "W"]))
def test_what_is_written_is_read(number: object, unit: str) -> None:
    quantity = parse_quantity(f"{number}{unit}", unit)
    assert quantity.value == float(str(number))
    assert quantity.resolution == 1e-4


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e29, max_value=1e29))
def test_exponents_are_read(value: float) -> None:
    assert parse_number(f"{value:.9E}") == float(f"{value:.9E}")


@pytest.mark.parametrize("text", ["9.9E37", "+9.9E+37", "9.900000E+37", "-9.9E37", " 99E36"])
def test_an_overflow_is_a_reading_without_a_value(text: str) -> None:
    assert parse_reading(text) is None


@pytest.mark.parametrize("text", ["9.91E37", "9.9E36", "9.9E37V", "nan", "", "9.9E38"])
def test_what_is_no_reading(text: str) -> None:
    with pytest.raises(AnswerError):
        parse_reading(text)


@given(st.integers(-40000, 70000))
def test_integers_inside_their_bounds(value: int) -> None:
    if 0 <= value <= 65535:
        assert parse_integer(str(value)) == value
    else:
        with pytest.raises(AnswerError):
            parse_integer(str(value))


@pytest.mark.parametrize("text", ["", "1.0", "1_0", "0x1", "٣", "1 1", "99999999999"])
def test_what_is_no_integer(text: str) -> None:
    with pytest.raises(AnswerError):
        parse_integer(text)


@given(st.integers(-32768, 32767))
def test_signed_registers(value: int) -> None:
    assert signed(value & 0xFFFF) == value
