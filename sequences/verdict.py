"""Verdicts and limits."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from sequences.quantity import parse_quantity


class Verdict(StrEnum):
    """In rising order; a run's verdict is the highest of its parts, so nothing hides an error."""

    PASS = "pass"
    MARGINAL = "marginal"
    INCONCLUSIVE = "inconclusive"
    FAIL = "fail"
    ABORTED = "aborted"
    ERROR = "error"

    @property
    def rank(self) -> int:
        return list(Verdict).index(self)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The highest verdict; pass when there is none to judge."""
    return max(verdicts, key=lambda verdict: verdict.rank, default=Verdict.PASS)


class Limits(BaseModel):
    """Bounds of a measurement; inside them by less than `marginal` is marginal. Written as quantities with units."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: float | None = None
    max: float | None = None
    marginal: float = 0.0
    # the dimension the limits were written in; a recipe's measurement must have the same
    dimension: str = ""

    @model_validator(mode="before")
    @classmethod
    def one_dimension(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "dimension" in data:
            raise ValueError("limits are written as {min: ..., max: ..., marginal: ...}")
        parsed = {key: parse_quantity(value) for key, value in data.items() if key in ("min", "max", "marginal")}
        dimensions = {
            # only a band is a difference
            quantity.dimension.removesuffix("_difference") if key == "marginal" else quantity.dimension
            for key, quantity in parsed.items()
        }
        if len(dimensions) > 1:
            raise ValueError(f"limits mix the dimensions {', '.join(sorted(dimensions))}")
        rest = {key: value for key, value in data.items() if key not in parsed}
        return rest | {key: quantity.value for key, quantity in parsed.items()} | {"dimension": "".join(dimensions)}

    @field_validator("marginal")
    @classmethod
    def band_not_negative(cls, value: float) -> float:
        if value < 0:
            raise ValueError("the marginal band must not be negative")
        return value

    @model_validator(mode="after")
    def bounds_in_order(self) -> Limits:
        if self.min is None and self.max is None:
            raise ValueError("limits need a min, a max or both")
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError("min must be below max")
        return self

    def judge(self, value: float | None) -> Verdict:
        """Inconclusive for a missing value: what was not measured never passes."""
        if value is None or value != value:
            return Verdict.INCONCLUSIVE
        if (self.min is not None and value < self.min) or (self.max is not None and value > self.max):
            return Verdict.FAIL
        near_min = self.min is not None and value < self.min + self.marginal
        near_max = self.max is not None and value > self.max - self.marginal
        return Verdict.MARGINAL if near_min or near_max else Verdict.PASS
