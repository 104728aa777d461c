"""Limits of a measurement: bounds with a marginal band, by battery model where they differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, model_validator

from sequences.condition import Strict
from sequences.expression import Evaluation, Expression, Formula, Scalar, Scope, coherent
from sequences.text import FaultError
from sequences.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Bounds:
    """What limits come to for one battery and run, in the measurement's inner unit; None where there is no bound.

    `unknown` says that a bound is compared with something that was not measured.
    """

    min: float | None
    max: float | None
    marginal: float
    unknown: bool = False

    def judge(self, value: float | None) -> Verdict:
        """Inconclusive for a missing value: what was not measured never passes."""
        if value is None or value != value or self.unknown:
            return Verdict.INCONCLUSIVE
        if (self.min is not None and value < self.min) or (self.max is not None and value > self.max):
            return Verdict.FAIL
        near_min = self.min is not None and value < self.min + self.marginal
        near_max = self.max is not None and value > self.max - self.marginal
        return Verdict.MARGINAL if near_min or near_max else Verdict.PASS


class Band(Strict):
    """Bounds as quantities or as expressions over other measurements; `marginal` is how close to one is marginal."""

    min: Annotated[Formula | None, Field(description="Below it the measurement fails.")] = None
    max: Annotated[Formula | None, Field(description="Above it the measurement fails.")] = None
    marginal: Annotated[Formula | None, Field(description="How close to a bound is marginal.")] = None

    @model_validator(mode="after")
    def has_a_bound(self) -> Band:
        if self.min is None and self.max is None:
            raise FaultError("limits need a min, a max or both", "한계에는 min 또는 max 가 필요합니다", "E-LIMITS")
        low, high = (_plain(bound) for bound in (self.min, self.max))
        if low is not None and high is not None and low >= high:
            raise FaultError("min must be below max", "min 은 max 보다 작아야 합니다", "E-LIMITS")
        if (band := _plain(self.marginal)) is not None and band < 0:
            raise FaultError("the marginal band must not be negative", "marginal 은 음수일 수 없습니다", "E-LIMITS")
        return self

    def expressions(self) -> dict[str, Expression]:
        return {key: value for key in ("min", "max", "marginal") if (value := getattr(self, key)) is not None}

    def bounds(self, scope: Scope, dimension: str) -> Bounds:
        """For these measurements, in the inner unit of the dimension."""
        values: dict[str, float | None] = {}
        for key, expression in self.expressions().items():
            value = Evaluation(expression).now(scope)
            values[key] = None if value is None else float(value) / coherent(dimension)
        unknown = any(value is None for value in values.values())
        return Bounds(values.get("min"), values.get("max"), values.get("marginal") or 0.0, unknown)


class Limits(Band):
    """A band, and others for certain battery models."""

    by_model: Annotated[
        dict[str, Band], Field(default_factory=dict, max_length=200, description="Other limits for battery models.")
    ]

    @model_validator(mode="before")
    @classmethod
    def is_mapping(cls, data: Any) -> Any:
        if not isinstance(data, dict | Limits):
            raise FaultError(
                "limits are written as {min: ..., max: ..., marginal: ...}",
                "한계는 {min: ..., max: ..., marginal: ...} 로 씁니다",
                "E-LIMITS",
            )
        return data

    def of_model(self, model: str) -> Band:
        return self.by_model.get(model, self)

    def bands(self) -> dict[str, Band]:
        """Every band: the general one under no name, the others under their battery model's."""
        return {"": self, **self.by_model}


class _NoNames:
    rated_capacity = 0.0

    def value(self, name: str) -> Scalar:
        return None

    def history(self, name: str) -> list[float] | None:
        return None


def _plain(expression: Expression | None) -> float | None:
    """The value of an expression that needs no names, else None."""
    if expression is None or expression.names:
        return None
    value = Evaluation(expression).now(_NoNames())
    return None if value is None else float(value)
