"""Conditions: one signal compared with one quantity, and when such a comparison ends a step.

The signals are an allow-list. A value that is not good decides nothing: the comparison is then neither true nor false.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from sequences.quantity import Duration, parse_quantity

# signal -> dimension; `rate` is accepted wherever a current is
SIGNALS: dict[str, str] = {
    "voltage": "voltage",
    "current": "current",
    "power": "power",
    "cell_min": "voltage",
    "cell_max": "voltage",
    "cell_spread": "voltage",
    "temperature_min": "temperature",
    "temperature_max": "temperature",
    "charge": "charge",
    "energy": "energy",
    "depth": "fraction",
    "step_time": "time",
    "total_time": "time",
}

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}

_FORM = re.compile(r"\s*([a-z_]{1,32})\s*(<=|>=|<|>)\s*(.{1,40})")


@dataclass(frozen=True, slots=True)
class Comparison:
    """`signal operator value`; a value given as a C-rate scales with the battery."""

    signal: str
    operator: str
    value: float
    per_rated_capacity: bool
    text: str

    def threshold(self, rated_capacity: float) -> float:
        return self.value * rated_capacity if self.per_rated_capacity else self.value

    def holds(self, actual: float, rated_capacity: float) -> bool:
        return OPERATORS[self.operator](actual, self.threshold(rated_capacity))


def parse_comparison(text: Any) -> Comparison:
    """Parse `current <= C/10`; raises ValueError naming the fault."""
    if isinstance(text, Comparison):
        return text
    match = _FORM.fullmatch(text) if isinstance(text, str) else None
    if not match:
        raise ValueError(f"{text!r} is not a comparison: write it like 'current <= C/10'")
    signal, sign, quantity_text = match.groups()
    if signal not in SIGNALS:
        raise ValueError(f"unknown signal {signal!r}; known are {', '.join(SIGNALS)}")
    quantity = parse_quantity(quantity_text)
    dimension = SIGNALS[signal]
    per_rated_capacity = quantity.dimension == "rate" and dimension == "current"
    if quantity.dimension != dimension and not per_rated_capacity:
        raise ValueError(f"{text!r} compares a {dimension} with a {quantity.dimension}")
    return Comparison(signal, sign, quantity.value, per_rated_capacity, f"{signal} {sign} {quantity_text.strip()}")


ComparisonField = Annotated[Comparison, BeforeValidator(parse_comparison)]


class End(BaseModel):
    """A condition that ends a step once it has held for `hold` seconds (debounce). May be written as plain text."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    when: ComparisonField
    hold: Duration = 0.0

    @model_validator(mode="before")
    @classmethod
    def short_form(cls, data: Any) -> Any:
        return {"when": data} if isinstance(data, str) else data


class Debounce:
    """Watches one End: true once its comparison has held without a gap for its hold time."""

    def __init__(self, end: End, rated_capacity: float) -> None:
        self.end = end
        self._rated_capacity = rated_capacity
        self._since: float | None = None

    def met(self, actual: float | None, t: float) -> bool:
        """Judge the signal's value at time t; None (not good) breaks the streak."""
        if actual is None or not self.end.when.holds(actual, self._rated_capacity):
            self._since = None
            return False
        if self._since is None:
            self._since = t
        return t - self._since >= self.end.hold
