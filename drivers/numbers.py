"""Numbers as instruments write them, read strictly: what is not plainly a number is an error, never a value.

`NaN`, `inf`, SCPI's 9.9E37 ("not a number") and 9.9E36 and above, digit separators, other scripts' digits and
empty fields are all refused with AnswerError.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from drivers.errors import AnswerError

_NUMBER = r"[+-]?(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})(?:[eE][+-]?[0-9]{1,3})?"
_QUANTITY = re.compile(rf"({_NUMBER}) ?([A-Za-z%]*)")
_INTEGER = re.compile(r"[+-]?[0-9]{1,10}")
# IEEE 488.2 / SCPI: 9.9E37 stands for infinity, 9.91E37 for not-a-number; no instrument measures anything near them.
_SCPI_OVERFLOW = 1e30
_SCPI_INFINITY = Decimal("9.9E37")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with the weight of its last digit, both in the unit asked for."""

    value: float
    resolution: float


def parse_quantity(text: str, unit: str) -> Quantity:
    """Read `43.50V` for unit `V`; `k` before the unit is understood (`3.5kW`), any other unit raises AnswerError.

    An empty unit means that the answer must carry none.
    """
    match = _QUANTITY.fullmatch(text.strip(" "))
    if match is None:
        raise AnswerError(f"expected a number{f' in {unit}' if unit else ''}", text)
    number, suffix = match.groups()
    kilo = bool(unit) and suffix == f"k{unit}"
    if suffix != unit and not kilo:
        raise AnswerError(f"expected a number {f'in {unit}' if unit else 'without unit'}", text)
    exact = Decimal(number)
    exponent = exact.as_tuple().exponent
    if not isinstance(exponent, int) or not abs(exact) < Decimal(_SCPI_OVERFLOW):
        raise AnswerError("the instrument has no value (overflow or not a number)", text)
    scale = 1000 if kilo else 1
    return Quantity(float(exact * scale), float(Decimal(scale).scaleb(exponent)))


def parse_number(text: str, unit: str = "") -> float:
    """The value of parse_quantity()."""
    return parse_quantity(text, unit).value


def parse_reading(text: str) -> float | None:
    """A number without unit; None for SCPI's overflow, 9.9E37 of either sign, which is no value and no error."""
    match = _QUANTITY.fullmatch(text.strip(" "))
    if match is not None and not match[2] and abs(Decimal(match[1])) == _SCPI_INFINITY:
        return None
    return parse_number(text)


def parse_integer(text: str, lowest: int = 0, highest: int = 65535) -> int:
    """Read a plain decimal integer inside lowest..highest."""
    stripped = text.strip(" ")
    if _INTEGER.fullmatch(stripped) is None or not lowest <= int(stripped) <= highest:
        raise AnswerError(f"expected an integer {lowest}..{highest}", text)
    return int(stripped)


def signed(register: int) -> int:
    """A register as 16-bit two's complement."""
    return register - 0x10000 if register & 0x8000 else register
