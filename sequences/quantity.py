"""Quantities as process engineers write them: a number and its unit, always.

`50 mV`, `C/3`, `0.5C`, `2 h`, `100 ohm/V`. A bare number is an error: the reader of a recipe must never guess.
Inside, everything is SI with V, A, W, Ah, Wh, ohm, degC, s; a fraction is 0..1.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator

# unit -> (dimension, factor to the inner unit)
UNITS: dict[str, tuple[str, float]] = {
    "V": ("voltage", 1.0),
    "mV": ("voltage", 1e-3),
    "V/cell": ("cell_multiple", 1.0),
    "A": ("current", 1.0),
    "mA": ("current", 1e-3),
    "W": ("power", 1.0),
    "kW": ("power", 1e3),
    "s": ("time", 1.0),
    "ms": ("time", 1e-3),
    "min": ("time", 60.0),
    "h": ("time", 3600.0),
    "Ah": ("charge", 1.0),
    "mAh": ("charge", 1e-3),
    "Wh": ("energy", 1.0),
    "kWh": ("energy", 1e3),
    "ohm": ("resistance", 1.0),
    "mohm": ("resistance", 1e-3),
    "ohm/V": ("insulation", 1.0),
    "degC": ("temperature", 1.0),
    "K": ("temperature_difference", 1.0),
    "K/min": ("temperature_rate", 1.0 / 60.0),
    "%": ("fraction", 1e-2),
}

_NUMBER = r"\d{1,9}(?:\.\d{1,9})?"
_WITH_UNIT = re.compile(rf"(-?{_NUMBER})\s*([A-Za-z/%]+)")
_C_OVER = re.compile(rf"C/({_NUMBER})")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value in inner units; a current written as a C-rate has the dimension `rate` (1/h of rated capacity)."""

    value: float
    dimension: str


@dataclass(frozen=True, slots=True)
class Current:
    """A current in A, or a rate in multiples of the rated capacity per hour."""

    value: float
    per_rated_capacity: bool

    def amperes(self, rated_capacity: float) -> float:
        return self.value * rated_capacity if self.per_rated_capacity else self.value


def parse_quantity(text: object) -> Quantity:
    """Parse one quantity; raises ValueError naming what is wrong."""
    if not isinstance(text, str):
        raise ValueError(f"needs a unit: {text!r} is a bare value, write it like '50 mV', 'C/3' or '2 h'")
    stripped = text.strip()
    if match := _C_OVER.fullmatch(stripped):
        divisor = float(match[1])
        if divisor == 0:
            raise ValueError(f"{text!r} divides by zero")
        return Quantity(1.0 / divisor, "rate")
    match = _WITH_UNIT.fullmatch(stripped)
    if not match:
        raise ValueError(f"{text!r} is not a quantity: write a number and a unit, like '50 mV', 'C/3' or '2 h'")
    number, unit = float(match[1]), match[2]
    if unit == "C":
        return Quantity(number, "rate")
    if unit not in UNITS:
        raise ValueError(f"{text!r}: unknown unit {unit!r}; known are {', '.join(sorted(UNITS))}, C")
    dimension, factor = UNITS[unit]
    value = number * factor
    assert math.isfinite(value)  # nine digits either side of the point cannot overflow
    return Quantity(value, dimension)


def _of(dimension: str, minimum: float | None = None) -> BeforeValidator:
    def parse(text: Any) -> float:
        quantity = parse_quantity(text)
        if quantity.dimension != dimension:
            raise ValueError(f"{text!r} is a {quantity.dimension}, a {dimension} is needed here")
        if minimum is not None and quantity.value < minimum:
            raise ValueError(f"{text!r} must not be below {minimum:g}")
        return quantity.value

    return BeforeValidator(parse)


def _current(text: Any) -> Current:
    quantity = parse_quantity(text)
    if quantity.dimension not in ("current", "rate"):
        raise ValueError(f"{text!r} is a {quantity.dimension}, a current is needed here")
    if quantity.value <= 0:
        raise ValueError(f"{text!r} must be above zero; the direction is a key of its own")
    return Current(quantity.value, quantity.dimension == "rate")


Voltage = Annotated[float, _of("voltage", 0.0)]
VoltagePerCell = Annotated[float, _of("cell_multiple", 0.0)]
Duration = Annotated[float, _of("time", 0.0)]
Temperature = Annotated[float, _of("temperature")]
TemperatureRate = Annotated[float, _of("temperature_rate", 0.0)]
Insulation = Annotated[float, _of("insulation", 0.0)]
Fraction = Annotated[float, _of("fraction", 0.0)]
CurrentMagnitude = Annotated[Current, BeforeValidator(_current)]
