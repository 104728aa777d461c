"""An expression as a recipe has it: its text, what it is over, and what it comes out in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from sequences.expression.grammar import Parser
from sequences.expression.tree import COMPARE, DIMENSIONS, Literal, Name, Node, Operation, coherent, name_of, nodes_of
from sequences.expression.units import dimension_of
from sequences.text import FaultError

MAX_TEXT = 400
_NAMED = frozenset(DIMENSIONS.values())


@dataclass(frozen=True)
class Comparison:
    """One `name operator literal` of an expression; the literal in the name's inner unit or per rated capacity."""

    name: str
    operator: str
    value: float
    per_rated_capacity: bool

    @property
    def rising(self) -> bool:
        return self.operator in (">=", ">")


@dataclass(frozen=True)
class Expression:
    """A parsed expression; equal when its text is."""

    text: str
    root: Node

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(node.name for node in nodes_of(self.root) if isinstance(node, Name))

    @property
    def comparisons(self) -> list[Comparison]:
        """Its comparisons of a plain name with a plain quantity, wherever they stand in it."""
        found = []
        for node in nodes_of(self.root):
            if not isinstance(node, Operation) or node.sign not in COMPARE:
                continue
            left, right = node.operands
            if isinstance(left, Name) and isinstance(right, Literal):
                inner = coherent(name_of(right.dimension))
                found.append(Comparison(left.name, node.sign, right.value / inner, right.per_rated_capacity))
        return found

    @property
    def is_conjunction(self) -> bool:
        """Whether all its comparisons must hold at once."""
        return not any(isinstance(node, Operation) and node.sign in ("or", "not") for node in nodes_of(self.root))

    def dimension(self, names: Mapping[str, str]) -> str:
        """Its dimension's name, for these names' dimensions; raises FaultError (E-EXPR-NAME, E-EXPR-UNIT)."""
        found = dimension_of(self.root, names, self.text)
        if found not in _NAMED:
            raise FaultError(
                f"{self.text!r:.80}: comes out in a unit that has no name here",
                f"{self.text!r:.80}: 결과의 단위를 나타낼 이름이 없습니다",
                "E-EXPR-UNIT",
            )
        return name_of(found)


def parse_expression(text: Any) -> Expression:
    """Parse an expression; raises FaultError (E-EXPR, E-EXPR-SIZE) naming the place."""
    if isinstance(text, Expression):
        return text
    if isinstance(text, bool):  # what a parameter may be
        text = str(text).lower()
    if not isinstance(text, str):
        raise FaultError(
            f"{text!r:.60} is not an expression like 'current <= C/10'",
            f"{text!r:.60} 은(는) 'current <= C/10' 같은 식이 아닙니다",
            "E-EXPR",
        )
    if len(text) > MAX_TEXT:
        raise FaultError(f"longer than {MAX_TEXT} characters", f"{MAX_TEXT}자를 넘습니다", "E-EXPR-SIZE")
    text = " ".join(text.split())
    return Expression(text, Parser(text).parse())


class _OfExpression:
    def __init__(self, title: str, example: str) -> None:
        self._title, self._example = title, example

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        serialize = core_schema.plain_serializer_function_ser_schema(lambda expression: expression.text)
        return core_schema.no_info_plain_validator_function(parse_expression, serialization=serialize)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"title": self._title, "type": "string", "maxLength": MAX_TEXT, "examples": [self._example]}


Condition = Annotated[Expression, _OfExpression("condition", "current <= C/10")]
Formula = Annotated[Expression, _OfExpression("formula", "max(capacity) - min(capacity)")]
