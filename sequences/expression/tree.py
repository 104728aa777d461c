"""What an expression is made of: literals with their dimension, names, and operations on them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple


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
_COHERENT = {"charge": 3600.0, "energy": 3600.0}


def coherent(dimension: str) -> float:
    """Factor from a dimension's inner unit to the coherent one."""
    return _COHERENT.get(dimension, 1.0)


def name_of(dimension: Dimension) -> str:
    """The dimension's name, for people."""
    return next((name for name, known in DIMENSIONS.items() if known == dimension), "quantity of an unnamed kind")


COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt,
}  # fmt: skip
FUNCTIONS = ("abs", "min", "max", "avg", "last")
TRUTHS = {"true": True, "false": False}
WORDS = ("and", "or", "not", *TRUTHS)


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


def nodes_of(node: Node) -> Iterator[Node]:
    yield node
    if isinstance(node, Operation):
        for operand in node.operands:
            yield from nodes_of(operand)
