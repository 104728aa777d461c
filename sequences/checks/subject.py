"""What is being checked: a recipe with everything that holds at each of its steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sequences.condition import End, Route
from sequences.dut import Dut, StationLimits
from sequences.expression import Expression, Name, Node, Operation
from sequences.flow import Call, CapacityTest, Hppc, If, Parallel, Path, Step, While, written
from sequences.quantity import Current
from sequences.recipe import Recipe
from sequences.safety import RISING, CurrentBound, Narrowing, Safety
from sequences.step import Check, Compute, Python, Record, WaitUntil, says


@dataclass(frozen=True, slots=True)
class Levels:
    """The trip levels that hold at a place: the tightest of the recipe's, its callers' and those of the steps around.

    `trips` are in inner units, voltages of the whole battery per cell; of `currents` every one holds.
    """

    trips: Mapping[str, float] = field(default_factory=dict)
    currents: Mapping[str, tuple[Current, ...]] = field(default_factory=dict)

    def within(self, bounds: Safety | Narrowing | None) -> Levels:
        """These and others."""
        if bounds is None:
            return self
        trips, currents = dict(self.trips), dict(self.currents)
        for name in Safety.model_fields:
            bound = getattr(bounds, name)
            if isinstance(bound, CurrentBound):
                currents[name] = (*currents.get(name, ()), bound.trip)
            elif bound is not None:
                pick = min if name in RISING else max
                trips[name] = pick(trips.get(name, bound.trip), bound.trip)
        return Levels(trips, currents)


@dataclass(frozen=True, slots=True)
class Place:
    """A step where it stands. `around` are the safety blocks that hold there, the recipe's first and its own last;
    `present` are the roles that an `if has_ROLE` around it has seen; `beside` tells of a branch that drives meanwhile;
    `record` is the rule for its samples, its own or that of the nearest step around it.
    """

    step: Any
    path: Path
    levels: Levels
    around: tuple[Any, ...]
    present: frozenset[str]
    beside: bool
    record: Record | None

    @property
    def name(self) -> str:
        return str(self.step.name)

    def at(self, *below: str | int) -> Path:
        return (*self.path, *below)


@dataclass(frozen=True)
class Subject:
    """A recipe, and the battery and station it is checked for where they are given.

    `outer` are the levels of the recipes that call it; `present` and `beside` are those of the call's place, and
    `emptied` tells of a destructive recipe around it, `record` of the rule for samples that holds at the call.
    """

    recipe: Recipe
    dut: Dut | None = None
    station: StationLimits | None = None
    outer: Levels = Levels()
    present: frozenset[str] = frozenset()
    beside: bool = False
    emptied: bool = False
    record: Record | None = None

    @cached_property
    def places(self) -> list[Place]:
        """Every step as it is written; what a standard's step is made of stands at the step itself."""
        safety = self.recipe.safety
        return list(
            _places(
                self.recipe.steps,
                ("steps",),
                self.outer.within(safety),
                (safety,),
                self.present,
                self.beside,
                self.record,
            )
        )

    @cached_property
    def names(self) -> dict[str, str]:
        """Dimension of every name that a step's expressions may use."""
        return self.recipe.names()

    @cached_property
    def parts(self) -> dict[str, Any]:
        """The steps that run and may be named, by name: those that hold no others, and what standards' are made of."""
        found: dict[str, Any] = {}
        for place in self.places:
            found.update((part.name, part) for part in parts_of(place.step))
        return found

    def is_literal(self, path: Path) -> bool:
        """Whether no parameter stands in the text at this path of the document."""
        value = self._document
        for key in path:
            if not isinstance(value, str):  # an end in its short form is the condition itself
                value = value[key]
        return "$" not in str(value)

    @cached_property
    def _document(self) -> Any:
        return self.recipe.to_data()

    def amperes(self, current: Current) -> float | None:
        """None for a C-rate of an unknown battery."""
        if self.dut is not None:
            return current.amperes(self.dut.rated_capacity)
        return None if current.per_rated_capacity else current.value

    def beyond(self, current: Current, level: Current) -> bool:
        """Whether a current is known to reach a level."""
        if current.per_rated_capacity == level.per_rated_capacity:
            return current.value >= level.value
        amperes, trip = self.amperes(current), self.amperes(level)
        return amperes is not None and trip is not None and amperes >= trip


def _places(
    steps: list[Step], path: Path, levels: Levels, around: tuple[Any, ...], present: frozenset[str], beside: bool,
    outer: Record | None,
) -> Iterator[Place]:  # fmt: skip
    for index, step in enumerate(steps):
        here = (*path, index)
        own = (*around, step.safety) if step.safety is not None else around
        inside = levels.within(step.safety)
        record = step.record or outer
        yield Place(step, here, inside, own, present, beside, record)
        driving = [drive(inner) for _, inner in written(step)] if isinstance(step, Parallel) else []
        for number, (below, inner) in enumerate(written(step)):
            seen = present | _seen(step) if below == ("then",) else present
            others = any(driving[:number] + driving[number + 1 :])
            yield from _places(inner, (*here, *below), inside, own, seen, beside or others, record)


def drive(steps: list[Step]) -> bool:
    """Whether any of these steps, or of those inside them, lets current flow."""
    return any(
        step.drives
        or any(drive(inner) for _, inner in written(step))
        or (isinstance(step, Call) and drive(step.body.steps))
        for step in steps
    )


def parts_of(step: Any) -> list[Any]:
    """The steps that run when a step runs, those written inside it apart; each name once."""
    match step:
        case CapacityTest():
            return step.steps
        case Hppc():
            return step.at(step.soc[0])
        case _:
            return [] if written(step) or isinstance(step, Call) else [step]


def _seen(step: Any) -> frozenset[str]:
    """The roles that are there when an `if` takes its `then`."""
    if not isinstance(step, If):
        return frozenset()
    joined = _joined(step.condition.root)
    return frozenset(n.name.removeprefix("has_") for n in joined if isinstance(n, Name) and n.name.startswith("has_"))


def _joined(node: Node) -> Iterator[Node]:
    if isinstance(node, Operation) and node.sign == "and":
        for operand in node.operands:
            yield from _joined(operand)
    else:
        yield node


# ------------------------------------------------------------------------------------------- what steps refer to


@dataclass(frozen=True, slots=True)
class Use:
    """An expression of a step: whether it is a truth or a quantity (None: either), and whether it is judged while the
    step runs."""

    path: Path
    expression: Expression
    truth: bool | None
    running: bool


def ends(step: Any) -> list[End]:
    """The ends of a step that may have some."""
    return step.ends if says(step, "ends") else []


def uses(step: Any) -> Iterator[Use]:
    """Every expression that a step itself holds."""
    for index, end in enumerate(ends(step)):
        yield Use(("ends", index, "when"), end.when, truth=True, running=True)
    match step:
        case WaitUntil():
            yield Use(("condition",), step.condition, truth=True, running=True)
        case If() | While():
            yield Use(("condition",), step.condition, truth=True, running=False)
        case Check():
            yield Use(("that",), step.that, truth=True, running=False)
        case Compute():
            yield Use(("value",), step.value, truth=False, running=False)
        case Python():
            for name, formula in step.arguments.items():
                yield Use(("arguments", name), formula, truth=None, running=False)


def routes(step: Any) -> Iterator[tuple[Path, Route]]:
    """Every route that a step itself may take."""
    yield ("on_fail",), step.on_fail
    yield ("on_error",), step.on_error
    for index, end in enumerate(ends(step)):
        yield ("ends", index, "then"), end.then


def all_routes(step: Any) -> Iterator[Route]:
    """Its routes and those of every step inside it."""
    for _, route in routes(step):
        yield route
    for _, inner in written(step):
        for part in inner:
            yield from all_routes(part)
