"""The value of an expression, shown the present again and again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from sequences.expression.parsed import Expression
from sequences.expression.tree import COMPARE, Literal, Name, Node, Operation

Scalar = float | bool | None


class Scope(Protocol):
    """Where an expression's names get their values: in coherent units, None when there is no good value."""

    @property
    def rated_capacity(self) -> float:
        """In Ah: what a C-rate is a multiple of."""
        ...

    def value(self, name: str) -> Scalar: ...

    def history(self, name: str) -> list[float] | None:
        """Every value a variable has had in this run; None for a signal."""
        ...


class Evaluation:
    """An expression at work: shown the present again and again, it remembers what its avg, min, max and last need.

    A function of one value looks back: over every value a variable has had, or over every moment this evaluation
    was shown. `min` and `max` of several values compare them now.
    """

    def __init__(self, expression: Expression) -> None:
        self._root = expression.root
        self._seen: dict[int, _Seen] = {}

    def now(self, scope: Scope) -> Scalar:
        """The value in coherent units, the truth, or None for unknown."""
        return self._evaluate(self._root, scope)

    def true(self, scope: Scope) -> bool:
        """Whether it is known to be true."""
        return self.now(scope) is True

    def _evaluate(self, node: Node, scope: Scope) -> Scalar:
        if isinstance(node, Literal):
            return node.value * scope.rated_capacity if node.per_rated_capacity else node.value
        if isinstance(node, Name):
            return _finite(scope.value(node.name))
        sign, operands = node.sign, node.operands
        if sign in ("and", "or"):
            return _kleene(sign == "or", [self._evaluate(operand, scope) for operand in operands])
        if len(operands) == 1 and sign in ("min", "max", "avg", "last"):
            return self._looking_back(node, scope)
        values = [self._evaluate(operand, scope) for operand in operands]
        if any(value is None for value in values):
            return None
        if sign == "not":
            return not values[0]
        return _finite(_calculate(sign, [float(value) for value in values if value is not None]))

    def _looking_back(self, node: Operation, scope: Scope) -> Scalar:
        (operand,) = node.operands
        if isinstance(operand, Name) and (history := scope.history(operand.name)) is not None:
            seen = _Seen()
            for past in history:
                seen.add(past)
        else:
            seen = self._seen.setdefault(id(node), _Seen())
            value = self._evaluate(operand, scope)
            if value is not None:
                seen.add(float(value))
        return seen.report(node.sign)


@dataclass(slots=True)
class _Seen:
    count: int = 0
    total: float = 0.0
    lowest: float = math.inf
    highest: float = -math.inf
    last: float = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        self.lowest, self.highest = min(self.lowest, value), max(self.highest, value)
        self.last = value

    def report(self, what: str) -> float | None:
        if not self.count:
            return None
        return {"min": self.lowest, "max": self.highest, "last": self.last, "avg": self.total / self.count}[what]


def _finite(value: Scalar) -> Scalar:
    """What is beyond every number is unknown: no comparison passes on it."""
    return value if value is not None and math.isfinite(value) else None  # a truth is finite


def _kleene(decides: bool, values: list[Scalar]) -> bool | None:
    """Or (decides=True) and and (decides=False): one deciding value suffices; unknown is neither."""
    if any(value is decides for value in values):
        return decides
    return None if any(value is None for value in values) else not decides


def _calculate(sign: str, values: list[float]) -> Scalar:
    match sign:
        case "+":
            return values[0] + values[1]
        case "-":
            return values[0] - values[1]
        case "*":
            return values[0] * values[1]
        case "/":
            return values[0] / values[1] if values[1] else None
        case "negate":
            return -values[0]
        case "abs":
            return abs(values[0])
        case "min":
            return min(values)
        case "max":
            return max(values)
        case _:
            return COMPARE[sign](values[0], values[1])
