"""Quantities as process engineers write them: a number and its unit, always.

`50 mV`, `C/3`, `0.5P`, `2 h`, `100 ohm/V`. A bare number is an error: the reader of a recipe must never guess.
Inside, everything is SI with V, A, W, Ah, Wh, ohm, degC, s; a fraction is 0..1.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from sequences.text import FaultError

# unit -> (dimension, factor to the inner unit)
UNITS: dict[str, tuple[str, float]] = {
    "V": ("voltage", 1.0),
    "mV": ("voltage", 1e-3),
    "V/cell": ("cell_multiple", 1.0),
    "mV/min": ("voltage_rate", 1e-3 / 60.0),
    "V/s": ("voltage_rate", 1.0),
    "A": ("current", 1.0),
    "mA": ("current", 1e-3),
    "A/s": ("current_rate", 1.0),
    "W": ("power", 1.0),
    "kW": ("power", 1e3),
    "s": ("time", 1.0),
    "ms": ("time", 1e-3),
    "min": ("time", 60.0),
    "h": ("time", 3600.0),
    "Hz": ("frequency", 1.0),
    "mHz": ("frequency", 1e-3),
    "kHz": ("frequency", 1e3),
    "Ah": ("charge", 1.0),
    "mAh": ("charge", 1e-3),
    "Wh": ("energy", 1.0),
    "kWh": ("energy", 1e3),
    "ohm": ("resistance", 1.0),
    "mohm": ("resistance", 1e-3),
    "kohm": ("resistance", 1e3),
    "Mohm": ("resistance", 1e6),
    "ohm/V": ("insulation", 1.0),
    "degC": ("temperature", 1.0),
    "K": ("temperature_difference", 1.0),
    "K/min": ("temperature_rate", 1.0 / 60.0),
    "%": ("fraction", 1e-2),
}

_DIMENSIONS_KO = {
    "voltage": "전압",
    "cell_multiple": "셀당 전압",
    "voltage_rate": "전압 변화율",
    "current": "전류",
    "rate": "C-레이트",
    "power_rate": "P-레이트",
    "current_rate": "전류 변화율",
    "power": "전력",
    "time": "시간",
    "frequency": "주파수",
    "charge": "전하량",
    "energy": "에너지",
    "resistance": "저항",
    "insulation": "절연저항",
    "temperature": "온도",
    "temperature_difference": "온도 차",
    "temperature_rate": "온도 변화율",
    "fraction": "비율",
    "number": "수",
    "truth": "참/거짓",
}


def dimension_ko(dimension: str) -> str:
    """A dimension's name in Korean."""
    return _DIMENSIONS_KO.get(dimension, dimension)


# more digits than any instrument has, and few enough that no quantity overflows
NUMBER = r"\d{1,9}(?:\.\d{1,17})?"
# a parameter of the recipe, as text refers to it
PARAMETER = r"\$[a-z][a-z0-9_]*"
_WITH_UNIT = re.compile(rf"(-?{NUMBER}) *([A-Za-z/%]{{1,8}})")
MAX_QUANTITY = 60
_OVER = re.compile(rf"([CP])/({NUMBER})")
# multiples of the rated capacity, or of the rated energy, in an hour
_RATES = {"C": "rate", "P": "power_rate"}


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value in inner units; a C-rate has the dimension `rate`, a P-rate `power_rate`: 1/h of what is rated."""

    value: float
    dimension: str


class Amount(float):
    """A number in its inner unit that remembers how it was written."""

    text: str

    def __new__(cls, value: float, text: str) -> Amount:
        amount = super().__new__(cls, value)
        amount.text = text
        return amount


@dataclass(frozen=True, slots=True)
class Current:
    """A current in A, or a rate in multiples of the rated capacity per hour."""

    value: float
    per_rated_capacity: bool
    text: str = field(default="", compare=False)

    def amperes(self, rated_capacity: float) -> float:
        return self.value * rated_capacity if self.per_rated_capacity else self.value


@dataclass(frozen=True, slots=True)
class Power:
    """A power in W, or a rate in multiples of the rated energy per hour."""

    value: float
    per_rated_energy: bool
    text: str = field(default="", compare=False)

    def watts(self, rated_energy: float) -> float:
        return self.value * rated_energy if self.per_rated_energy else self.value


def parse_quantity(text: object) -> Quantity:
    """Parse one quantity; raises FaultError naming what is wrong."""
    if not isinstance(text, str):
        raise FaultError(
            f"needs a unit: {text!r:.60} is a bare value, write it like '50 mV', 'C/3' or '2 h'",
            f"단위가 필요합니다: {text!r:.60} 은(는) 단위 없는 값입니다. '50 mV', 'C/3', '2 h' 처럼 쓰십시오",
        )
    if len(text) > MAX_QUANTITY:
        raise FaultError(
            f"{text!r:.60}: longer than {MAX_QUANTITY} characters", f"{text!r:.60}: {MAX_QUANTITY}자를 넘습니다"
        )
    stripped = text.strip()
    if match := _OVER.fullmatch(stripped):
        divisor = float(match[2])
        if divisor == 0:
            raise FaultError(f"{text!r} divides by zero", f"{text!r}: 0으로 나눌 수 없습니다")
        return Quantity(1.0 / divisor, _RATES[match[1]])
    match = _WITH_UNIT.fullmatch(stripped) if stripped.isascii() else None
    if not match:
        if re.fullmatch(rf"-?{NUMBER}", stripped):
            raise FaultError(
                f"{text!r:.60}: write a number and a unit, like '50 mV'",
                f"{text!r:.60}: '50 mV' 처럼 숫자와 단위를 쓰십시오",
            )
        raise FaultError(
            f"{text!r:.60} is not a quantity like '50 mV', 'C/3' or '2 h'",
            f"{text!r:.60} 은(는) '50 mV', 'C/3', '2 h' 같은 양이 아닙니다",
        )
    number, unit = float(match[1]), match[2]
    if unit in _RATES:
        return Quantity(number, _RATES[unit])
    if unit not in UNITS:
        known = ", ".join(sorted(UNITS))
        raise FaultError(
            f"{text!r:.60}: unknown unit {unit!r}; known are {known}, C, P",
            f"{text!r:.60}: 알 수 없는 단위 {unit!r}; 사용할 수 있는 단위: {known}, C, P",
        )
    dimension, factor = UNITS[unit]
    value = number * factor
    assert math.isfinite(value)  # nine digits before the point cannot overflow
    return Quantity(value, dimension)


@dataclass(frozen=True)
class Of:
    """What a field takes: a quantity of this dimension within these bounds, given as text and kept as an Amount."""

    dimension: str
    example: str
    minimum: float | None = None
    above: float | None = None

    def parse(self, text: Any) -> Amount:
        if isinstance(text, Amount):
            return text
        quantity = parse_quantity(text)
        if quantity.dimension != self.dimension:
            raise _wrong_dimension(text, quantity.dimension, self.dimension)
        if self.minimum is not None and quantity.value < self.minimum:
            raise FaultError(
                f"{text!r} must not be below {self.minimum:g}", f"{text!r} 은(는) {self.minimum:g} 이상이어야 합니다"
            )
        if self.above is not None and quantity.value <= self.above:
            raise FaultError(
                f"{text!r} must be above {self.above:g}", f"{text!r} 은(는) {self.above:g} 보다 커야 합니다"
            )
        return Amount(quantity.value, text.strip())

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        serialize = core_schema.plain_serializer_function_ser_schema(lambda amount: amount.text)
        return core_schema.no_info_plain_validator_function(self.parse, serialization=serialize)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        units = [unit for unit, (dimension, _) in UNITS.items() if dimension == self.dimension]
        sign = "-?" if self.minimum is None and self.above is None else ""
        pattern = rf"^{sign}{NUMBER} *({'|'.join(map(re.escape, units))})$|{PARAMETER}"
        title = f"{self.dimension.replace('_', ' ')} in {', '.join(units)}"
        return {"title": title, "type": "string", "pattern": pattern, "examples": [self.example]}


def _wrong_dimension(text: str, found: str, needed: str) -> FaultError:
    return FaultError(
        f"{text!r} is a {found}, a {needed} is needed here",
        f"{text!r} 은(는) {dimension_ko(found)}입니다. 여기에는 {dimension_ko(needed)}이(가) 필요합니다",
        "E-UNIT",
    )


T = TypeVar("T", bound=Current | Power)


class OfMagnitude(Generic[T]):
    """What a field takes: a magnitude with a unit, or as a rate of what is rated."""

    def __init__(self, make: type[T], dimension: str, rate: str, example: str) -> None:
        self._make: type[T] = make
        self._dimension, self._rate, self.example = dimension, rate, example

    def parse(self, text: Any) -> T:
        if isinstance(text, self._make):
            return text
        quantity = parse_quantity(text)
        if quantity.dimension not in (self._dimension, _RATES[self._rate]):
            raise _wrong_dimension(text, quantity.dimension, self._dimension)
        if quantity.value <= 0:
            raise FaultError(
                f"{text!r} must be above zero; the direction is a key of its own",
                f"{text!r} 은(는) 0보다 커야 합니다. 방향은 별도의 키로 씁니다",
            )
        return self._make(quantity.value, quantity.dimension == _RATES[self._rate], text.strip())

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        serialize = core_schema.plain_serializer_function_ser_schema(lambda magnitude: magnitude.text)
        return core_schema.no_info_plain_validator_function(self.parse, serialization=serialize)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        units = [*(unit for unit, (dimension, _) in UNITS.items() if dimension == self._dimension), self._rate]
        pattern = rf"^({NUMBER} *({'|'.join(units)})|{self._rate}/{NUMBER})$|{PARAMETER}"
        title = f"{self._dimension} in {', '.join(units)}, {self._rate}/n"
        return {"title": title, "type": "string", "pattern": pattern, "examples": [self.example]}


def amount(text: str) -> Amount:
    """An Amount of any dimension, for defaults."""
    return Amount(parse_quantity(text).value, text)


Voltage = Annotated[float, Of("voltage", "4.2 V", minimum=0.0)]
VoltagePerCell = Annotated[float, Of("cell_multiple", "4.2 V/cell", minimum=0.0)]
VoltageRate = Annotated[float, Of("voltage_rate", "0.5 mV/min", above=0.0)]
Resistance = Annotated[float, Of("resistance", "2 ohm", above=0.0)]
Duration = Annotated[float, Of("time", "10 min", minimum=0.0)]
Frequency = Annotated[float, Of("frequency", "1 kHz", above=0.0)]
Temperature = Annotated[float, Of("temperature", "25 degC")]
TemperatureDifference = Annotated[float, Of("temperature_difference", "2 K", above=0.0)]
TemperatureRate = Annotated[float, Of("temperature_rate", "1 K/min", minimum=0.0)]
Insulation = Annotated[float, Of("insulation", "500 ohm/V", minimum=0.0)]
Fraction = Annotated[float, Of("fraction", "50 %", minimum=0.0)]
CurrentMagnitude = Annotated[Current, OfMagnitude(Current, "current", "C", "C/3")]
PowerMagnitude = Annotated[Power, OfMagnitude(Power, "power", "P", "0.5P")]
