"""Values in several registers, as the EA guide's worked frames show them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import words
from drivers.errors import AnswerError


def test_the_guides_nominal_voltages() -> None:
    assert words.number([0x42A0, 0x0000]) == 80.0
    assert words.number([0x43FA, 0x0000]) == 500.0
    assert words.from_number(80.0) == [0x42A0, 0x0000]


def test_the_guides_device_state() -> None:
    assert words.integer([0x0000, 0x0483]) == 0x483


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_what_is_written_is_read(value: float) -> None:
    assert words.number(words.from_number(value)) == value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number(value: float) -> None:
    with pytest.raises(AnswerError):
        words.number(words.from_number(value))


@pytest.mark.parametrize(
    ("registers", "text"),
    [([0x4254, 0x2032, 0], "BT 2"), ([0x4254, 0x2020], "BT"), ([0, 0], ""), ([0x4100], "A")],
)
def test_texts_are_padded(registers: list[int], text: str) -> None:
    assert words.text(registers, "device type") == text


@pytest.mark.parametrize("registers", [[0x4142, 0xFF00], [0x410A], [0x4100, 0x4200]])
def test_what_is_no_text(registers: list[int]) -> None:
    with pytest.raises(AnswerError, match="device type"):
        words.text(registers, "device type")
