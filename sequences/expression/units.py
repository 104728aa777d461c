"""The dimension that an expression comes out in, for the dimensions of its names; or why it has none."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sequences.expression.tree import (
    COMPARE,
    DIFFERENCE,
    DIMENSIONS,
    FRACTION,
    NUMBER_,
    TEMPERATURE,
    TRUTH,
    Dimension,
    Literal,
    Name,
    Node,
    name_of,
)
from sequences.quantity import dimension_ko
from sequences.text import FaultError


def dimension_of(node: Node, names: Mapping[str, str], text: str) -> Dimension:
    """Dimension of a node; raises FaultError (E-EXPR-NAME, E-EXPR-UNIT)."""
    if isinstance(node, Literal):
        return node.dimension
    if isinstance(node, Name):
        if node.name not in names:
            raise FaultError(
                f"{text!r:.80}: there is no {node.name!r} here",
                f"{text!r:.80}: 여기에는 {node.name!r} 이(가) 없습니다",
                "E-EXPR-NAME",
            )
        return DIMENSIONS[names[node.name]]
    kinds = [dimension_of(operand, names, text) for operand in node.operands]

    def refuse(en: str, ko: str) -> FaultError:
        return FaultError(f"{text!r:.80}: {en}", f"{text!r:.80}: {ko}", "E-EXPR-UNIT")

    sign, first = node.sign, kinds[0]
    if sign in ("and", "or", "not"):
        if any(kind != TRUTH for kind in kinds):
            raise refuse(f"{sign!r} joins comparisons, not quantities", f"{sign!r} 은(는) 비교식만 잇습니다")
        return TRUTH
    if TRUTH in kinds:
        raise refuse(f"{sign!r} takes quantities, not comparisons", f"{sign!r} 에는 비교식을 쓸 수 없습니다")
    if sign in COMPARE or sign in ("min", "max"):
        if any(kind != first for kind in kinds):
            parts = [name_of(kind) for kind in kinds]
            raise refuse(
                f"compares a {' with a '.join(parts)}", f"{'와(과) '.join(map(dimension_ko, parts))}을(를) 비교합니다"
            )
        return TRUTH if sign in COMPARE else first
    if sign in ("abs", "avg", "last", "negate"):
        if sign in ("abs", "negate") and first == TEMPERATURE:
            raise refuse(f"{sign} of a temperature means nothing", "온도에는 쓸 수 없습니다")
        return first
    return _arithmetic(sign, first, kinds[1], refuse)


def _arithmetic(sign: str, a: Dimension, b: Dimension, refuse: Callable[[str, str], FaultError]) -> Dimension:
    if sign in ("+", "-"):
        if a == TEMPERATURE and b == DIFFERENCE:
            return TEMPERATURE
        if a == b == TEMPERATURE and sign == "-":
            return DIFFERENCE
        if {a, b} == {NUMBER_, FRACTION}:
            return FRACTION
        if a != b or a == TEMPERATURE:
            raise refuse(
                f"{'adds' if sign == '+' else 'subtracts'} a {name_of(a)} and a {name_of(b)}",
                f"{dimension_ko(name_of(a))}와(과) {dimension_ko(name_of(b))}은(는) 더하거나 뺄 수 없습니다",
            )
        return a
    if TEMPERATURE in (a, b):
        raise refuse("a temperature can only be compared, or differences taken", "온도는 비교하거나 차이만 구합니다")
    factor = 1 if sign == "*" else -1
    v, i, t, k, n = (x + factor * y for x, y in zip(a[:5], b[:5], strict=True))
    return Dimension(v, i, t, k, n, kind="number" if a == b == NUMBER_ and sign == "*" else "")
