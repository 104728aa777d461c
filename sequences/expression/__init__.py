"""Expressions: comparisons and arithmetic over declared names, an allow-list of our own.

    cell_max >= 4.2 V and step_time >= 10 s
    max(capacity) - min(capacity) <= 3 % * rated_capacity

Nothing but names, quantities, true, false, + - * /, comparisons, and, or, not, abs, min, max, avg, last and
parentheses. Dimensions are checked before anything runs. A value that is not good is unknown, and an unknown comparison
is neither true nor false: it never ends a step and never passes a check (Kleene's three values).

Inside everything is coherent SI (charge in A s, energy in J), so that products of units come out right.
"""

from sequences.expression.evaluation import Evaluation, Scalar, Scope
from sequences.expression.parsed import MAX_TEXT, Comparison, Condition, Expression, Formula, parse_expression
from sequences.expression.tree import (
    DIMENSIONS,
    FUNCTIONS,
    WORDS,
    Literal,
    Name,
    Node,
    Operation,
    coherent,
)

__all__ = [
    "DIMENSIONS",
    "FUNCTIONS",
    "MAX_TEXT",
    "WORDS",
    "Comparison",
    "Condition",
    "Evaluation",
    "Expression",
    "Formula",
    "Literal",
    "Name",
    "Node",
    "Operation",
    "Scalar",
    "Scope",
    "coherent",
    "parse_expression",
]
