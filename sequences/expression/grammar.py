"""From text to a tree: tokens, and recursive descent over them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from sequences.expression.tree import (
    COMPARE,
    DIMENSIONS,
    FUNCTIONS,
    NUMBER_,
    TRUTH,
    TRUTHS,
    WORDS,
    Literal,
    Name,
    Node,
    Operation,
    coherent,
)
from sequences.quantity import NUMBER, UNITS, parse_quantity
from sequences.text import FaultError

MAX_TOKENS = 120
MAX_DEPTH = 12


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


class Parser:
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
        if sign := self._take(*COMPARE):
            left = Operation(sign, (left, self._sum()))
            if self._peek() in COMPARE:
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
