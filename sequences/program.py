"""How a run goes through its recipe: which step is next, what the engine is asked, where a run goes after each end.

Pure and driven by samples: `start` and `update` take the present and give a Turn. The engine carries out its directives
and shows the next sample; the dry run does the same against a battery model. Times exclude holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from sequences.actions import Action, Answer, Drive, NoCurrent
from sequences.leaf import LeafNode
from sequences.nodes import Sequence
from sequences.recipe import Recipe
from sequences.record import Decision, StepRecord, StepStart
from sequences.replay import Event, ReplayError, Story
from sequences.sample import Counters
from sequences.step import (
    StepBase,
)
from sequences.turn import BEFORE, MAX_ENTERED, Begun, Directive, Done, Finish, Moment, Place, Result, TakeUp, Turn
from sequences.verdict import Verdict
from sequences.view import Context, Rates, View

# the beginning of a replay: nothing that is told of is judged by it


class Program:
    """One run of a recipe. `active` are the step runs that are at work, those that drive the cycler first.

    The first step run gets the index `first`; an interrupted run whose recipe begins anew has some behind it.
    """

    def __init__(self, recipe: Recipe, context: Context, first: int = 0) -> None:
        self.recipe, self.context = recipe, context
        self.rates = Rates()
        self.active: list[LeafNode] = []
        self.newest: dict[tuple[str, str], StepRecord] = {}  # by scope and name
        self._dimensions: dict[str, Mapping[str, str]] = {}  # of the names of each scope's recipe
        self._root = Sequence(self, recipe.steps, Place(recipe))
        self._directives: list[Directive] = []
        self._events: list[Begun | StepRecord | Decision] = []
        self._ended: list[StepBase] = []  # the newest alone
        self._passed_over: list[Done] = []  # what was not a pass and yet did not end the run
        self._keys = 0
        self._index = first
        self.story: Story | None = None  # what is gone through again
        self._entered = 0
        self._flowing = False
        self._held_total: float | None = None

    def start(self, now: Moment) -> Turn:
        self._show(now)
        return self._turn(self._root.start(now))

    def update(self, now: Moment) -> Turn:
        self._show(now)
        return self._turn(self._root.update(now))

    def replay(self, events: Iterable[Event]) -> Finish | None:
        """Instead of a start: become what the run was when the last of these had happened. Returns its end, if it had
        come. The steps that had begun and not ended are then at work; nothing is asked of anybody.

        Raises ReplayError when the events are not those of this recipe, or end in the middle of a moment.
        """
        self.story = story = Story(events)
        result = self._root.start(BEFORE)
        while result is None and story:
            left = len(story)
            result = self._root.update(BEFORE)
            if len(story) == left:
                break
        if story:
            raise ReplayError(f"{story.next_label} is told of, but the run had come to another place")
        self.story = None
        self._directives.clear()
        self._events.clear()
        self._flowing = False
        return None if result is None else self._finish(result)

    @property
    def next_index(self) -> int:
        """Of the next step run."""
        return self._index

    @property
    def stands_in(self) -> list[StepBase]:
        """The steps at work; where the recipe has asked for a hold, the one that ended last."""
        return [leaf.step for leaf in self.active] or self._ended[-1:]

    def take_up(self, now: Moment, how: TakeUp) -> Turn:
        """Go on after a replay: steps at work are resumed or repeated, and a hold that the recipe asked for ends."""
        for leaf in self.active:
            leaf.interrupted = how
        return self.update(replace(now, answers={key: Answer() for key in range(1, self._keys + 1)}))

    def _show(self, now: Moment) -> None:
        held = now.sample.t - now.t
        if self._held_total is not None and held - self._held_total > 1e-3:
            self.rates.forget()  # the current was off in between
        self._held_total = held
        self.rates.show(now.sample)

    def _turn(self, result: Result) -> Turn:
        if result is None and self._flowing and not any(leaf.owns_cycler and leaf.step.drives for leaf in self.active):
            self.rates.forget()
            self._directives.insert(0, self._directive(NoCurrent()))  # whose current it was has ended
        directives, self._directives = tuple(self._directives), []
        events, self._events = tuple(self._events), []
        return Turn(directives, events, None if result is None else self._finish(result))

    def _finish(self, result: Done) -> Finish:
        cause = max([result, *self._passed_over], key=lambda done: done.verdict.rank)
        verdict = cause.verdict
        if result.route.kind == "abort" and verdict.rank < Verdict.ABORTED.rank:
            cause, verdict = result, Verdict.ABORTED
        elif result.route.kind == "fail" and verdict.rank < Verdict.INCONCLUSIVE.rank:
            cause, verdict = result, Verdict.FAIL
        return Finish(verdict, cause.reason, cause.step, aborted=result.route.kind == "abort")

    # ---- what nodes need

    def direct(self, action: Action) -> int:
        """Ask the engine; returns the key under which it answers."""
        directive = self._directive(action)
        self._directives.append(directive)
        return directive.key

    def _directive(self, action: Action) -> Directive:
        if isinstance(action, Drive | NoCurrent):
            self._flowing = isinstance(action, Drive)
            # of one moment's set points only the last is meant: a step may be stopped at the moment it begins
            self._directives[:] = [d for d in self._directives if not isinstance(d.action, Drive | NoCurrent)]
        self._keys += 1
        return Directive(self._keys, action)

    def pass_over(self, done: Done) -> None:
        """The run goes on after this; its verdict counts all the same."""
        if done.verdict is not Verdict.PASS:
            self._passed_over.append(done)

    def enter(self) -> bool:
        """Count a step that is entered; false when there have been too many."""
        self._entered += 1
        return self._entered <= MAX_ENTERED

    def dimensions(self, place: Place) -> Mapping[str, str]:
        """Of the names that the recipe of a place knows."""
        if place.scope not in self._dimensions:
            self._dimensions[place.scope] = place.recipe.names()
        return self._dimensions[place.scope]

    def take_back(self, key: int, action: Action) -> None:
        self._directives.append(Directive(key, action, cancel=True))

    def begin(self, leaf: LeafNode, label: str, now: Moment) -> StepStart:
        if self.story is not None:
            start = self.story.start_of(label)
        else:
            start = StepStart(self._index, label, now.sample.t, now.t, now.sample.counters)
        self._index = start.index + 1
        self._events.append(Begun(start.index, label, leaf.step.step, leaf.step, tuple(leaf.own_safeties), start))
        self.active.append(leaf)
        self.active.sort(key=lambda node: not node.owns_cycler)
        return start

    def decide(self, label: str, judge: Callable[[], bool]) -> bool:
        """What is judged between steps is told, and taken as told when the run is gone through again."""
        taken = judge() if self.story is None else self.story.decision(label)
        self._events.append(Decision(label, taken))
        return taken

    def end(self, leaf: LeafNode, record: StepRecord) -> None:
        self._events.append(record)
        self.newest[record.scope, record.name] = record
        self._ended = [leaf.step]
        self.active.remove(leaf)

    def view(self, now: Moment, step_time: float, at_start: Counters, answer: Answer | None) -> View:
        return View(now.sample, step_time, now.t, at_start, self.context, self.rates, answer)

    def scope(self, now: Moment) -> View:
        """What a condition between steps sees."""
        return self.view(now, 0.0, now.sample.counters, None)
