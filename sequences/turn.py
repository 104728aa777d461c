"""What passes between the engine and a program, and between a program and its nodes: moments, directives, ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from sequences.actions import Action, Answer
from sequences.condition import NEXT, Route
from sequences.recipe import MAX_STEP_RUNS, Recipe
from sequences.record import Decision, StepRecord, StepStart
from sequences.safety import Safety
from sequences.sample import Sample
from sequences.step import Record, StepBase
from sequences.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Moment:
    """The present: the newest sample, the time of the run in s (holds excluded), and answers to requests by key."""

    sample: Sample
    t: float
    answers: Mapping[int, Answer] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Directive:
    """An action for the engine; a request's answer comes back under its key. `cancel` takes a request back."""

    key: int
    action: Action
    cancel: bool = False


@dataclass(frozen=True, slots=True)
class Begun:
    """A step run that began: its place in the run, its label, the step, the safety blocks besides the recipe's, and
    when it began."""

    index: int
    label: str
    kind: str
    step: StepBase
    own_safeties: tuple[Safety, ...]
    start: StepStart


@dataclass(frozen=True, slots=True)
class Finish:
    """How the recipe ended: its verdict so far, and why when it is not a pass; `aborted` when a route said so."""

    verdict: Verdict
    reason: str = ""
    step: str = ""
    aborted: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """What came of a moment: what the engine shall do, what began and ended, and the end of it all."""

    directives: tuple[Directive, ...] = ()
    events: tuple[Begun | StepRecord | Decision, ...] = ()
    finish: Finish | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """A node has ended: where the run goes, and what its verdict is."""

    route: Route = NEXT
    verdict: Verdict = Verdict.PASS
    reason: str = ""
    step: str = ""


Result = Done | None
TakeUp = Literal["resume", "repeat"]


class Node(Protocol):
    """A step or a list of steps at work; directives go to the program as they arise."""

    def start(self, now: Moment) -> Result: ...

    def update(self, now: Moment) -> Result: ...

    def cancel(self, now: Moment, why: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the run a node stands: its recipe, the names of the calls and the rounds around it, the safety blocks
    that hold besides the run's, whether it may drive the cycler, and what the steps around it say of samples to keep
    and of contactors in a hold."""

    recipe: Recipe
    scope: str = ""
    rounds: str = ""
    safeties: tuple[Safety, ...] = ()
    owns_cycler: bool = True
    record: Record | None = None
    parks: bool = False

    def label(self, name: str) -> str:
        scope = f"{self.scope}/" if self.scope else ""
        return f"{scope}{name}{self.rounds}"

    def of(self, step: StepBase, attempt: int) -> Place:
        """A step's own: narrowed by it, recorded and parked as it says, and labelled when it is tried again."""
        rounds = f"{self.rounds} (attempt {attempt + 1})" if attempt else self.rounds
        own = () if step.safety is None else (self.recipe.safety.narrowed(step.safety),)
        record, parks = step.record or self.record, self.parks or step.pause == "park"
        return replace(self, rounds=rounds, safeties=self.safeties + own, record=record, parks=parks)

    def round(self, count: int, of: int | None) -> Place:
        label = f"{count}/{of}" if of is not None else f"{count}"
        return replace(self, rounds=f"{self.rounds} ({label})")

    def called(self, name: str, recipe: Recipe) -> Place:
        scope = f"{self.scope}/{name}" if self.scope else name
        return replace(self, recipe=recipe, scope=scope, safeties=(*self.safeties, recipe.safety))


MAX_ENTERED = 3 * MAX_STEP_RUNS  # steps, loops and branches entered in a run: jumps and retries multiply
# what a replay shows before there is a sample
BEFORE = Moment(Sample(0.0, {}), 0.0)
