"""What an expression can come out as when its names lie within known ranges: interval arithmetic, three-valued."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sequences.expression import DIMENSIONS, Literal, Name, Node, Operation


class Range(NamedTuple):
    """All values from low to high, coherent units."""

    low: float
    high: float


class Truth(NamedTuple):
    """Whether it can be true, whether it can be false."""

    true: bool
    false: bool


ANY = Range(-math.inf, math.inf)
POSITIVE = Range(0.0, math.inf)
ZERO = Range(0.0, 0.0)
MAYBE = Truth(True, True)
_MIRRORED = {"<=": ">=", ">=": "<=", "<": ">", ">": "<"}


@dataclass(frozen=True)
class Known:
    """What is known of names. `rated` is the rated capacity in Ah, None when unknown.

    When `relative`, currents are multiples of it per hour, and one that is written in A says nothing. Unless `literal`,
    a truth may be a parameter's, which another run has otherwise.
    """

    ranges: Mapping[str, Range]
    rated: float | None
    relative: bool = False
    literal: bool = False


def can_be(node: Node, known: Known) -> Truth:
    """What a truth can come out as. An unknown value is neither; joined comparisons that exclude each other are false.

    Sound, not complete: what is said to be impossible is, and what is said to be possible may not be.
    """
    found = _evaluate(node, known)
    if isinstance(found, Range):  # no truth, which is reported elsewhere
        return MAYBE
    return found if _consistent(node, known) else Truth(False, True)


def alternatives(node: Node) -> Iterator[Node]:
    """The parts of a truth of which one suffices."""
    yield from _operands(node, "or")


def _operands(node: Node, sign: str) -> Iterator[Node]:
    if isinstance(node, Operation) and node.sign == sign:
        for operand in node.operands:
            yield from _operands(operand, sign)
    else:
        yield node


def _consistent(node: Node, known: Known) -> bool:
    """Whether comparisons of one name that must hold together can."""
    left: dict[str, Range] = {}
    for part in _operands(node, "and"):
        if not isinstance(part, Operation) or part.sign not in _MIRRORED:
            continue
        name, bound, sign = *part.operands, part.sign
        if isinstance(bound, Name):
            name, bound, sign = bound, name, _MIRRORED[sign]
        if not isinstance(name, Name) or not isinstance(bound, Literal):
            continue
        low, high = left.get(name.name, ANY)
        limit = _literal(bound, known)
        left[name.name] = Range(max(low, limit.low), high) if ">" in sign else Range(low, min(high, limit.high))
        if left[name.name].low > left[name.name].high:
            return False
    return True


def _literal(literal: Literal, known: Known) -> Range:
    value = literal.value
    if literal.per_rated_capacity:
        if known.rated is None:
            return ANY
        value *= known.rated
    elif known.relative and literal.dimension == DIMENSIONS["current"]:
        return ANY
    return Range(value, value)


def _evaluate(node: Node, known: Known) -> Range | Truth:
    if isinstance(node, Literal):
        if node.dimension == DIMENSIONS["truth"]:
            return Truth(bool(node.value), not node.value) if known.literal else MAYBE
        return _literal(node, known)
    if isinstance(node, Name):
        if node.name.startswith("has_") or node.name == "grade_certain":
            return MAYBE
        return known.ranges.get(node.name, ANY)
    parts = [_evaluate(operand, known) for operand in node.operands]
    if node.sign in ("and", "or", "not"):
        return _joined(node.sign, [part if isinstance(part, Truth) else MAYBE for part in parts])
    ranges = [part if isinstance(part, Range) else ANY for part in parts]
    if node.sign in _MIRRORED:
        return _compared(node.sign, *ranges)
    return _calculated(node.sign, ranges)


def _joined(sign: str, parts: list[Truth]) -> Truth:
    match sign:
        case "and":
            return Truth(all(part.true for part in parts), any(part.false for part in parts))
        case "or":
            return Truth(any(part.true for part in parts), all(part.false for part in parts))
        case _:
            return Truth(parts[0].false, parts[0].true)


def _compared(sign: str, a: Range, b: Range) -> Truth:
    match sign:
        case "<=":
            return Truth(a.low <= b.high, a.high > b.low)
        case "<":
            return Truth(a.low < b.high, a.high >= b.low)
        case ">=":
            return Truth(a.high >= b.low, a.low < b.high)
        case _:
            return Truth(a.high > b.low, a.low <= b.high)


def _calculated(sign: str, ranges: list[Range]) -> Range:
    first = ranges[0]
    match sign:
        case "+":
            return _sound(first.low + ranges[1].low, first.high + ranges[1].high)
        case "-":
            return _sound(first.low - ranges[1].high, first.high - ranges[1].low)
        case "*":
            return _product(first, ranges[1])
        case "/":
            low, high = ranges[1]
            if low <= 0.0 <= high:
                return ANY
            return _product(first, Range(1.0 / high, 1.0 / low))
        case "negate":
            return Range(-first.high, -first.low)
        case "abs":
            if first.low >= 0.0:
                return first
            return Range(0.0 if first.high >= 0.0 else -first.high, max(-first.low, first.high))
        case "min":
            return Range(min(r.low for r in ranges), min(r.high for r in ranges))
        case "max":
            return Range(max(r.low for r in ranges), max(r.high for r in ranges))
        case _:  # avg and last of what lies in a range lie in it
            return first


def _product(a: Range, b: Range) -> Range:
    corners = [0.0 if 0.0 in (x, y) else x * y for x in a for y in b]
    return _sound(min(corners), max(corners))


def _sound(low: float, high: float) -> Range:
    return Range(-math.inf if math.isnan(low) else low, math.inf if math.isnan(high) else high)
