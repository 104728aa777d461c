from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from sequences.quantity import (
    UNITS,
    CurrentMagnitude,
    Fraction,
    Frequency,
    PowerMagnitude,
    Temperature,
    TemperatureDifference,
    Voltage,
    VoltagePerCell,
    parse_quantity,
)
from sequences.text import FaultError


@pytest.mark.parametrize(
    ("text", "value", "dimension"),
    [
        ("50 mV", 0.05, "voltage"),
        ("2 h", 7200.0, "time"),
        ("C/3", 1 / 3, "rate"),
        ("0.5C", 0.5, "rate"),
        ("P/2", 0.5, "power_rate"),
        ("0.25P", 0.25, "power_rate"),
        ("500 ohm/V", 500.0, "insulation"),
        ("30 %", 0.3, "fraction"),
        ("-5 degC", -5.0, "temperature"),
        ("1 K/min", 1 / 60, "temperature_rate"),
        ("4.2V", 4.2, "voltage"),
    ],
)
def test_a_quantity_is_a_number_and_its_unit(text: str, value: float, dimension: str) -> None:
    quantity = parse_quantity(text)
    assert quantity.value == pytest.approx(value)
    assert quantity.dimension == dimension


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (30, "needs a unit"),
        (None, "needs a unit"),
        ("30", "write a number and a unit"),
        ("30 X", "unknown unit 'X'"),
        ("nan V", "not a quantity"),
        ("inf A", "not a quantity"),
        ("1e9 V", "not a quantity"),
        ("1_0 V", "not a quantity"),
        ("C/0", "divides by zero"),
        ("P/0", "divides by zero"),
        ("E/3", "not a quantity"),
        ("9" * 40 + " V", "not a quantity"),
        ("4.2 V; 5 V", "not a quantity"),
        ("½ V", "not a quantity"),
    ],
)
def test_anything_else_is_refused_and_says_why(text: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_quantity(text)


@given(
    st.decimals(0, 10**6, allow_nan=False, places=3), st.sampled_from(sorted(UNITS)), st.sampled_from(["", " ", "  "])
)
def test_every_unit_scales_its_number(number: object, unit: str, gap: str) -> None:
    quantity = parse_quantity(f"{number}{gap}{unit}")
    dimension, factor = UNITS[unit]
    assert quantity.dimension == dimension
    assert quantity.value == pytest.approx(float(str(number)) * factor)


@given(st.text(max_size=60))
def test_no_text_crashes_the_parser_or_yields_a_number_that_is_none(text: str) -> None:
    try:
        quantity = parse_quantity(text)
    except ValueError:
        return
    assert math.isfinite(quantity.value)


def test_a_power_is_in_watts_or_a_multiple_of_the_rated_energy() -> None:
    of_power = TypeAdapter(PowerMagnitude)
    assert of_power.validate_python("0.5P").watts(rated_energy=20_000.0) == 10_000.0
    assert of_power.validate_python("7 kW").watts(rated_energy=20_000.0) == 7000.0
    assert of_power.dump_python(of_power.validate_python("P/2"), mode="json") == "P/2"


@pytest.mark.parametrize("text", ["0.5C", "10 A", "0 W", "0P"])
def test_what_is_no_power_is_refused_as_one(text: str) -> None:
    with pytest.raises(ValueError):
        TypeAdapter(PowerMagnitude).validate_python(text)


@pytest.mark.parametrize(
    "text",
    [
        "1" + " " * 60 + "V", "1\nV", "1\tV", "1 V\0", "+1 V", "1.V", ".5 V", "1,5 V", "１ V", "1 V V", "C/-3", "C/",
        "-C/3", "1 v", "1 KV",
    ],
)  # fmt: skip
def test_a_quantity_is_written_in_one_way(text: str) -> None:
    with pytest.raises(FaultError) as error:
        parse_quantity(text)
    assert "\n" not in error.value.text.en + error.value.text.ko


@pytest.mark.parametrize(
    ("field", "text", "code"),
    [
        (Voltage, "3 A", "E-UNIT"),
        (Voltage, "-3 V", ""),
        (VoltagePerCell, "3 V", "E-UNIT"),
        (Fraction, "3", ""),
        (Frequency, "0 Hz", ""),
        (TemperatureDifference, "2 degC", "E-UNIT"),
        (Temperature, "2 K", "E-UNIT"),
        (CurrentMagnitude, "0 A", ""),
        (CurrentMagnitude, "-1C", ""),
        (CurrentMagnitude, "0.5P", "E-UNIT"),
        (PowerMagnitude, "0.5C", "E-UNIT"),
    ],
)
def test_a_field_takes_its_dimension_within_its_bounds(field: Any, text: str, code: str) -> None:
    with pytest.raises(ValidationError) as error:
        TypeAdapter(field).validate_python(text)
    fault = error.value.errors()[0]["ctx"]["error"]
    assert (type(fault), fault.code) == (FaultError, code)


@pytest.mark.parametrize("text", ["3.6 V", "  3.6 V ", "3600 mV"])
def test_a_value_remembers_how_it_was_written(text: str) -> None:
    value = TypeAdapter(Voltage).validate_python(text)
    assert value == pytest.approx(3.6)
    assert TypeAdapter(Voltage).dump_python(value, mode="json") == text.strip()
