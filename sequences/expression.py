"""Expressions: comparisons and arithmetic over declared names, an allow-list of our own.

    cell_max >= 4.2 V and step_time >= 10 s
    max(capacity) - min(capacity) <= 3 % * rated_capacity

Nothing but names, quantities, true, false, + - * /, comparisons, and, or, not, abs, min, max, avg, last and
parentheses. Dimensions are checked before anything runs. A value that is not good is unknown, and an unknown comparison
is neither true nor false: it never ends a step and never passes a check (Kleene's three values).

Inside everything is coherent SI (charge in A s, energy in J), so that products of units come out right.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, Protocol

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from sequences.quantity import NUMBER, UNITS, dimension_ko, parse_quantity
from sequences.text import FaultError

MAX_TEXT = 400
MAX_TOKENS = 120
MAX_DEPTH = 12


class Dimension(NamedTuple):
    """Exponents of V, A, s, K and cells. `kind` tells apart what has the same exponents: a bare number from a
    fraction, a temperature from a difference, a truth from everything."""

    volt: int = 0
    ampere: int = 0
    second: int = 0
    kelvin: int = 0
    cell: int = 0
    kind: str = ""


DIMENSIONS: dict[str, Dimension] = {
    "voltage": Dimension(1),
    "cell_multiple": Dimension(1, cell=-1),
    "voltage_rate": Dimension(1, 0, -1),
    "current": Dimension(0, 1),
    "current_rate": Dimension(0, 1, -1),
    "power": Dimension(1, 1),
    "time": Dimension(0, 0, 1),
    "frequency": Dimension(0, 0, -1),
    "charge": Dimension(0, 1, 1),
    "energy": Dimension(1, 1, 1),
    "resistance": Dimension(1, -1),
    "insulation": Dimension(0, -1),
    "temperature": Dimension(0, 0, 0, 1, kind="temperature"),
    "temperature_difference": Dimension(0, 0, 0, 1),
    "temperature_rate": Dimension(0, 0, -1, 1),
    "fraction": Dimension(),
    "number": Dimension(kind="number"),
    "truth": Dimension(kind="truth"),
}
NUMBER_, FRACTION, TRUTH = DIMENSIONS["number"], DIMENSIONS["fraction"], DIMENSIONS["truth"]
TEMPERATURE, DIFFERENCE = DIMENSIONS["temperature"], DIMENSIONS["temperature_difference"]
_NAMED = frozenset(DIMENSIONS.values())
_COHERENT = {"charge": 3600.0, "energy": 3600.0}


def coherent(dimension: str) -> float:
    """Factor from a dimension's inner unit to the coherent one."""
    return _COHERENT.get(dimension, 1.0)


def name_of(dimension: Dimension) -> str:
    """The dimension's name, for people."""
    return next((name for name, known in DIMENSIONS.items() if known == dimension), "quantity of an unnamed kind")


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


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


_TOKENS = re.compile(
    rf"""(?P<space>\s+)
    |(?P<rate>C/{NUMBER}(?![\w.])|{NUMBER}\s*C(?![\w.]))
    |(?P<quantity>{NUMBER}\s*(?:{"|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))})(?![\w/%]))
    |(?P<number>{NUMBER}(?![\w.]))
    |(?P<name>[A-Za-z][A-Za-z0-9_]{{0,63}})
    |(?P<sign><=|>=|<|>|[-+*/(),])""",
    re.VERBOSE | re.ASCII,
)
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt,
}  # fmt: skip
FUNCTIONS = ("abs", "min", "max", "avg", "last")
TRUTHS = {"true": True, "false": False}
WORDS = ("and", "or", "not", *TRUTHS)


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(text):
        match = _TOKENS.match(text, at)
        if match is None:
            raise _fault(text, at, "nothing that an expression may hold", "식에 쓸 수 없는 내용입니다")
        if match.lastgroup != "space":
            tokens.append(_Token(str(match.lastgroup), match.group(), at))
        at = match.end()
        if len(tokens) > MAX_TOKENS:
            raise FaultError(
                f"longer than {MAX_TOKENS} words and signs", f"단어와 기호가 {MAX_TOKENS}개를 넘습니다", "E-EXPR-SIZE"
            )
    return tokens


def _fault(text: str, at: int, en: str, ko: str) -> FaultError:
    here = text[at : at + 20] or "its end"
    return FaultError(f"{text!r:.80}: at {here!r}: {en}", f"{text!r:.80}: {here!r}: {ko}", "E-EXPR")


# ------------------------------------------------------------------------------------------------------ the tree


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, a truth, or a quantity in coherent units; a C-rate is a multiple of the rated capacity."""

    value: float | bool
    dimension: Dimension
    per_rated_capacity: bool = False


@dataclass(frozen=True, slots=True)
class Name:
    name: str


@dataclass(frozen=True, slots=True)
class Operation:
    """`sign` is + - * / <= >= < > and or not, `negate`, or a function's name."""

    sign: str
    operands: tuple[Node, ...]


Node = Literal | Name | Operation


class _Parser:
    """Recursive descent; depth is bounded, so that no text can exhaust the stack."""

    def __init__(self, text: str) -> None:
        self._text, self._tokens, self._at, self._depth = text, _tokens(text), 0, 0

    def parse(self) -> Node:
        node = self._or()
        if self._at < len(self._tokens):
            raise self._fault("expected an operator or the end", "연산자나 식의 끝이 와야 합니다")
        return node

    def _fault(self, en: str, ko: str) -> FaultError:
        at = self._tokens[self._at].at if self._at < len(self._tokens) else len(self._text)
        return _fault(self._text, at, en, ko)

    def _peek(self) -> str:
        return self._tokens[self._at].text if self._at < len(self._tokens) else ""

    def _take(self, *texts: str) -> str:
        """The next token if it is one of these, else nothing."""
        if self._at < len(self._tokens) and self._tokens[self._at].text in texts:
            self._at += 1
            return self._tokens[self._at - 1].text
        return ""

    def _or(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise FaultError(
                f"nested deeper than {MAX_DEPTH} levels", f"{MAX_DEPTH}단계보다 깊게 중첩되었습니다", "E-EXPR-SIZE"
            )
        node = self._chain(("or",), self._and)
        self._depth -= 1
        return node

    def _and(self) -> Node:
        return self._chain(("and",), self._not)

    def _not(self) -> Node:
        negations = 0
        while self._take("not"):
            negations += 1
        node = self._comparison()
        return Operation("not", (node,)) if negations % 2 else node

    def _comparison(self) -> Node:
        left = self._sum()
        if sign := self._take(*_COMPARE):
            left = Operation(sign, (left, self._sum()))
            if self._peek() in _COMPARE:
                raise self._fault("one comparison at a time; join them with 'and'", "비교는 'and'로 이어 쓰십시오")
        return left

    def _sum(self) -> Node:
        return self._chain(("+", "-"), self._product)

    def _product(self) -> Node:
        return self._chain(("*", "/"), self._unary)

    def _chain(self, signs: tuple[str, ...], operand: Callable[[], Node]) -> Node:
        node = operand()
        while sign := self._take(*signs):
            node = Operation(sign, (node, operand()))
        return node

    def _unary(self) -> Node:
        if self._take("-"):
            node = self._primary()
            # -5 degC is a temperature, not the negative of one
            if isinstance(node, Literal) and node.dimension != TRUTH:
                return Literal(-node.value, node.dimension, node.per_rated_capacity)
            return Operation("negate", (node,))
        return self._primary()

    def _primary(self) -> Node:
        if self._take("("):
            node = self._or()
            if not self._take(")"):
                raise self._fault("a ')' is missing", "')' 가 없습니다")
            return node
        if self._at == len(self._tokens):
            raise self._fault("a value is missing", "값이 없습니다")
        token = self._tokens[self._at]
        if token.text in TRUTHS:
            self._at += 1
            return Literal(TRUTHS[token.text], TRUTH)
        if token.kind not in ("rate", "quantity", "number", "name") or token.text in WORDS:
            raise self._fault("a value is missing", "값이 없습니다")
        self._at += 1
        match token.kind:
            case "number":
                return Literal(float(token.text), NUMBER_)
            case "quantity":
                quantity = parse_quantity(token.text)
                return Literal(quantity.value * coherent(quantity.dimension), DIMENSIONS[quantity.dimension])
            case "rate":
                return Literal(parse_quantity(token.text).value, DIMENSIONS["current"], per_rated_capacity=True)
        if not self._take("("):
            return Name(token.text)
        if token.text not in FUNCTIONS:
            self._at -= 2
            raise self._fault(
                f"no function; there are {', '.join(FUNCTIONS)}", f"없는 함수입니다: {', '.join(FUNCTIONS)}"
            )
        operands = [self._or()]
        while self._take(","):
            operands.append(self._or())
        if not self._take(")"):
            raise self._fault("a ')' is missing", "')' 가 없습니다")
        if len(operands) > 1 and token.text not in ("min", "max"):
            raise self._fault(f"{token.text} takes one value", f"{token.text} 함수는 값 하나를 받습니다")
        return Operation(token.text, tuple(operands))


# ------------------------------------------------------------------------------------------------ its dimension


def _dimension(node: Node, names: Mapping[str, str], text: str) -> Dimension:
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
    kinds = [_dimension(operand, names, text) for operand in node.operands]

    def refuse(en: str, ko: str) -> FaultError:
        return FaultError(f"{text!r:.80}: {en}", f"{text!r:.80}: {ko}", "E-EXPR-UNIT")

    sign, first = node.sign, kinds[0]
    if sign in ("and", "or", "not"):
        if any(kind != TRUTH for kind in kinds):
            raise refuse(f"{sign!r} joins comparisons, not quantities", f"{sign!r} 은(는) 비교식만 잇습니다")
        return TRUTH
    if TRUTH in kinds:
        raise refuse(f"{sign!r} takes quantities, not comparisons", f"{sign!r} 에는 비교식을 쓸 수 없습니다")
    if sign in _COMPARE or sign in ("min", "max"):
        if any(kind != first for kind in kinds):
            parts = [name_of(kind) for kind in kinds]
            raise refuse(
                f"compares a {' with a '.join(parts)}", f"{'와(과) '.join(map(dimension_ko, parts))}을(를) 비교합니다"
            )
        return TRUTH if sign in _COMPARE else first
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


# ----------------------------------------------------------------------------------------------- its evaluation


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
            return _COMPARE[sign](values[0], values[1])


# --------------------------------------------------------------------------------------------- as a recipe has it


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
        return frozenset(node.name for node in _walk(self.root) if isinstance(node, Name))

    @property
    def comparisons(self) -> list[Comparison]:
        """Its comparisons of a plain name with a plain quantity, wherever they stand in it."""
        found = []
        for node in _walk(self.root):
            if not isinstance(node, Operation) or node.sign not in _COMPARE:
                continue
            left, right = node.operands
            if isinstance(left, Name) and isinstance(right, Literal):
                inner = coherent(name_of(right.dimension))
                found.append(Comparison(left.name, node.sign, right.value / inner, right.per_rated_capacity))
        return found

    @property
    def is_conjunction(self) -> bool:
        """Whether all its comparisons must hold at once."""
        return not any(isinstance(node, Operation) and node.sign in ("or", "not") for node in _walk(self.root))

    def dimension(self, names: Mapping[str, str]) -> str:
        """Its dimension's name, for these names' dimensions; raises FaultError (E-EXPR-NAME, E-EXPR-UNIT)."""
        found = _dimension(self.root, names, self.text)
        if found not in _NAMED:
            raise FaultError(
                f"{self.text!r:.80}: comes out in a unit that has no name here",
                f"{self.text!r:.80}: 결과의 단위를 나타낼 이름이 없습니다",
                "E-EXPR-UNIT",
            )
        return name_of(found)


def _walk(node: Node) -> Iterator[Node]:
    yield node
    if isinstance(node, Operation):
        for operand in node.operands:
            yield from _walk(operand)


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
    return Expression(text, _Parser(text).parse())


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
