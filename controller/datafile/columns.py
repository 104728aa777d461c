"""Which column of a data file is what: the names of the Battery Data Format, and mappings a user gives.

A mapping is `FIELD=COLUMN` or `FIELD=COLUMN in UNIT`: `voltage=U [V]`, `current=-I in mA`, `time=#1 in h:m:s`. The unit
stands in the column's name, or has to be said; `-` turns the sign, `#3` is the third column, `cells=Ucell* in mV` all
that match.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

# unit -> (dimension, factor, what to add before): inner units are V, A, Ah, Wh, degC and s
_UNITS: dict[str, tuple[str, float, float]] = {
    "s": ("time", 1.0, 0.0), "second": ("time", 1.0, 0.0), "sec": ("time", 1.0, 0.0), "ms": ("time", 1e-3, 0.0),
    "min": ("time", 60.0, 0.0), "h": ("time", 3600.0, 0.0), "h:m:s": ("time", 1.0, 0.0),
    "datetime": ("time", 1.0, 0.0),
    "v": ("voltage", 1.0, 0.0), "volt": ("voltage", 1.0, 0.0), "mv": ("voltage", 1e-3, 0.0),
    "a": ("current", 1.0, 0.0), "ampere": ("current", 1.0, 0.0), "ma": ("current", 1e-3, 0.0),
    "ah": ("charge", 1.0, 0.0), "mah": ("charge", 1e-3, 0.0),
    "wh": ("energy", 1.0, 0.0), "mwh": ("energy", 1e-3, 0.0), "kwh": ("energy", 1e3, 0.0),
    "degc": ("temperature", 1.0, 0.0), "°c": ("temperature", 1.0, 0.0), "c": ("temperature", 1.0, 0.0),
    "celsius": ("temperature", 1.0, 0.0), "k": ("temperature", 1.0, -273.15),
    "1": ("count", 1.0, 0.0),
}  # fmt: skip
TEXT_TIMES = ("h:m:s", "datetime")

DIMENSIONS = {
    "time": "time",
    "voltage": "voltage",
    "current": "current",
    "step": "count",
    "charged_ah": "charge",
    "discharged_ah": "charge",
    "net_ah": "charge",
    "charged_wh": "energy",
    "discharged_wh": "energy",
    "temperature": "temperature",
    "cells": "voltage",
}
REQUIRED = ("time", "voltage", "current")
COUNTERS = ("charged_ah", "discharged_ah", "net_ah", "charged_wh", "discharged_wh")

# names of the Battery Data Format (0.1.0 and ontology 1.3.0) and of our own extra columns, the preferred one first
_FIELD_OF = {
    "test time": "time",
    "voltage": "voltage",
    "current": "current",
    "step count": "step",
    "step index": "step",
    "step id": "step",
    "charging capacity": "charged_ah",
    "discharging capacity": "discharged_ah",
    "net capacity": "net_ah",
    "charging energy": "charged_wh",
    "discharging energy": "discharged_wh",
    "maximum surface temperature": "temperature",
    "surface temperature": "temperature",
    "surface temperature t1": "temperature",
    "temperature t1": "temperature",
    "ambient temperature": "temperature",
}
_PREFERENCE = {name: rank for rank, name in enumerate(_FIELD_OF)}
_NOT_NEEDED = re.compile(
    r"unix time|cycle count|step time|step type|power|.*internal resistance|.*pressure|cumulative .*|net energy"
    r"|(step|cycle) .*(capacity|energy)|surface temperature t\d+|temperature t\d+|(minimum|maximum) .*"
    r"|insulation resistance|state of charge|.*impedance.*|.*frequency|phase.*"
)
_CELL = re.compile(r"cell \d+ voltage")
_IDENTITIES = re.compile(
    r"(cell|battery|dut|specimen|channel|serial)[ _](id|name|number|no\.?|code)|channel|barcode", re.I
)
_LABEL = re.compile(r"(.+?)\s*/\s*(\S+)")
_UNIT_IN_NAME = re.compile(r".*?(?:\[\s*(\S+?)\s*\]|\(\s*(\S+?)\s*\)|[/_]\s*(\S+?))\s*")


class MappingError(ValueError):
    """A mapping that cannot be understood or does not fit the file."""

    code = "E-MAP"

    def __init__(self, message: str, *, found: bool = False) -> None:
        """`found`: the column is there, and something else is wrong."""
        self.found = found
        super().__init__(f"{message} [{self.code}]")


@dataclass(frozen=True, slots=True)
class Column:
    """Column `index` is `field`: inner value = factor (value + before); `unit` as written, for texts of time."""

    field: str
    index: int
    name: str
    unit: str
    factor: float = 1.0
    before: float = 0.0


@dataclass(frozen=True, slots=True)
class Mapping:
    """What a user said about one field; the column's name and unit are told apart when the header is known."""

    field: str
    column: str

    @classmethod
    def parse(cls, text: str) -> Mapping:
        """`FIELD=COLUMN [in UNIT]`. Raises MappingError."""
        field, equals, column = text.partition("=")
        field, column = field.strip(), column.strip()
        if not equals or not column:
            raise MappingError(f"--map {text!r} is not FIELD=COLUMN, like 'voltage=U [V]' or 'current=I in mA'")
        if field not in DIMENSIONS:
            raise MappingError(f"--map {text!r}: there is no field {field!r}; there are {', '.join(DIMENSIONS)}")
        return cls(field, column)

    def columns(self, names: Sequence[str]) -> list[Column]:
        """The columns meant. Raises MappingError when there is none, or their unit is not known."""
        text, sign = self.column, 1.0
        found, unit = _matching(text, names, self.field), ""
        if not found and text.startswith("-"):
            text, sign = text[1:].strip(), -1.0
            found = _matching(text, names, self.field)
        if not found:
            text, said, unit = text.rpartition(" in ")
            text, unit = text.strip(), unit.strip()
            found = _matching(text, names, self.field) if said else []
        if not found:
            listed = ", ".join(repr(name) for name in names[:20])
            raise MappingError(f"--map {self.field}: there is no column {self.column!r}; the file has {listed}")
        return [self._column(index, names[index], unit, sign) for index in found]

    def _column(self, index: int, name: str, said: str, sign: float) -> Column:
        wanted = DIMENSIONS[self.field]
        unit = said or _unit_in(name) or ("1" if wanted == "count" else "")
        if unit.lower() not in _UNITS:
            said = f"--map {self.field}: say the unit of {name!r}, like '{self.field}={name} in UNIT'"
            raise MappingError(said, found=True)
        dimension, factor, before = _UNITS[unit.lower()]
        if dimension != wanted:
            raise MappingError(f"--map {self.field}: {name!r} is in {unit}, which is no {wanted}", found=True)
        return Column(self.field, index, name, unit.lower(), sign * factor, before)


def _matching(text: str, names: Sequence[str], field: str) -> list[int]:
    if text.startswith("#") and text[1:].isdecimal():
        index = int(text[1:]) - 1
        return [index] if 0 <= index < len(names) else []
    exact = [index for index, name in enumerate(names) if name == text]
    if exact or field != "cells":
        return exact[:1]
    return [index for index, name in enumerate(names) if "*" in text and fnmatchcase(name, text)]


def _unit_in(name: str) -> str:
    match = _UNIT_IN_NAME.fullmatch(name)
    return next((group for group in match.groups() if group), "") if match else ""


def _quantity(name: str) -> tuple[str, str]:
    """A BDF column's quantity in small letters and its unit: of `Test Time / s`, and of `test_time_second`."""
    if match := _LABEL.fullmatch(name):
        return match[1].lower(), match[2]
    words, _, unit = name.rpartition("_")
    if words and unit.lower() in _UNITS:
        return words.replace("_", " ").lower(), unit
    return name.replace("_", " ").lower(), "1"


def recognise(names: Sequence[str]) -> list[Column]:
    """The columns named as the Battery Data Format names them; of several for one field the preferred one."""
    best: dict[str, tuple[int, Column]] = {}
    cells = []
    for index, name in enumerate(names):
        quantity, unit = _quantity(name)
        field = "cells" if _CELL.fullmatch(quantity) else _FIELD_OF.get(quantity)
        known = _UNITS.get(unit.lower())
        if field is None or known is None or known[0] != DIMENSIONS[field]:
            continue
        column = Column(field, index, name, unit.lower(), known[1], known[2])
        if field == "cells":
            cells.append(column)
        elif field not in best or _PREFERENCE[quantity] < best[field][0]:
            best[field] = (_PREFERENCE[quantity], column)
    return [*(column for _, column in best.values()), *cells]


def choose(names: Sequence[str], mappings: Sequence[Mapping]) -> list[Column]:
    """The user's mappings, and for every other field what is recognised. Raises MappingError."""
    mapped = [column for mapping in mappings for column in mapping.columns(names)]
    fields = {column.field for column in mapped}
    return mapped + [column for column in recognise(names) if column.field not in fields]


def is_unknown(name: str) -> bool:
    """Whether a column that was not chosen means nothing to us: neither BDF's nor an identity, and not without name."""
    quantity, _ = _quantity(name)
    known = quantity in _FIELD_OF or _NOT_NEEDED.fullmatch(quantity) or _CELL.fullmatch(quantity) or is_identity(name)
    return bool(name) and not known


def is_identity(name: str) -> bool:
    """Whether a column tells which battery a row belongs to."""
    return bool(_IDENTITIES.fullmatch(name.strip()))
