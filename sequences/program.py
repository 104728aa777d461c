"""How a run goes through its recipe: which step is next, what the engine is asked, where a run goes after each end.

Pure and driven by samples: `start` and `update` take the present and give a Turn. The engine carries out its directives
and shows the next sample; the dry run does the same against a battery model. Times exclude holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from sequences import inquiries, runs
from sequences.actions import Action, Answer, Drive, Ended, NoCurrent, Request, StandStill, WorkOut
from sequences.condition import ABORT, FAIL, NEXT, End, Route, Watch
from sequences.expression import Evaluation, coherent
from sequences.flow import Call, CapacityTest, Group, Hppc, If, Parallel, Repeat, Step, While
from sequences.recipe import MAX_STEP_RUNS, Recipe, walk
from sequences.record import Decision, Knowledge, StepRecord, StepStart
from sequences.replay import Event, ReplayError, Story
from sequences.safety import Safety
from sequences.sample import Counters, Sample
from sequences.step import (
    Acir,
    Cc,
    CcCv,
    Check,
    Compute,
    Cp,
    Cr,
    Cv,
    Eis,
    GoToSoc,
    GradeNow,
    Identify,
    Inspect,
    Insulate,
    Measure,
    Ocv,
    Profile,
    Prompt,
    Publish,
    Pulse,
    Python,
    Rest,
    SetPoint,
    SetTemperature,
    StepBase,
    WaitUntil,
    looks_back,
)
from sequences.verdict import Verdict
from sequences.view import Context, Rates, View

FULL_WITHIN = 0.02  # V of a cell's highest voltage at which a held charge has filled the battery
EMPTY_WITHIN = 0.02  # V of a cell's lowest voltage at which a discharge has emptied it
MAX_ENTERED = 3 * MAX_STEP_RUNS  # steps, loops and branches entered in a run: jumps and retries multiply

_RUNS: dict[type, Callable[[Any], Any]] = {
    Rest: runs.RestRun,
    WaitUntil: runs.WaitUntilRun,
    Cc: runs.CcRun,
    Cv: runs.CcCvRun,
    CcCv: runs.CcCvRun,
    Cp: runs.CpRun,
    Cr: runs.CrRun,
    Pulse: runs.PulseRun,
    GoToSoc: runs.GoToSocRun,
    Profile: runs.ProfileRun,
    Acir: inquiries.AcirRun,
    Ocv: inquiries.OcvRun,
    Eis: inquiries.EisRun,
    Insulate: inquiries.InsulateRun,
    Identify: inquiries.IdentifyRun,
    Prompt: inquiries.PromptRun,
    Inspect: inquiries.InspectRun,
    SetTemperature: inquiries.SetTemperatureRun,
    SetPoint: inquiries.SetPointRun,
    GradeNow: inquiries.GradeRun,
    Python: inquiries.PythonRun,
    Check: inquiries.CheckRun,
}
_NAMING: dict[type, Callable[[Any, Mapping[str, str]], Any]] = {
    Measure: inquiries.MeasureRun,
    Publish: inquiries.PublishRun,
    Compute: inquiries.ComputeRun,
}


def run_of(step: Any, dimensions: Mapping[str, str] | None = None) -> runs.StepRun:
    """A fresh run of a step; `dimensions` of the names that its recipe knows."""
    kind = type(step)
    run: runs.StepRun = _NAMING[kind](step, dimensions or {}) if kind in _NAMING else _RUNS[kind](step)
    return run


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
class _Done:
    """A node has ended: where the run goes, and what its verdict is."""

    route: Route = NEXT
    verdict: Verdict = Verdict.PASS
    reason: str = ""
    step: str = ""


Result = _Done | None
TakeUp = Literal["resume", "repeat"]


class _Node(Protocol):
    """A step or a list of steps at work; directives go to the program as they arise."""

    def start(self, now: Moment) -> Result: ...

    def update(self, now: Moment) -> Result: ...

    def cancel(self, now: Moment, why: str) -> None: ...


# the beginning of a replay: nothing that is told of is judged by it
_BEFORE = Moment(Sample(0.0, {}), 0.0)


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
        self._root = _Sequence(self, recipe.steps, _Place(recipe))
        self._directives: list[Directive] = []
        self._events: list[Begun | StepRecord | Decision] = []
        self._ended: list[StepBase] = []  # the newest alone
        self._passed_over: list[_Done] = []  # what was not a pass and yet did not end the run
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
        result = self._root.start(_BEFORE)
        while result is None and story:
            left = len(story)
            result = self._root.update(_BEFORE)
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

    def _finish(self, result: _Done) -> Finish:
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
        self._keys += 1
        return Directive(self._keys, action)

    def pass_over(self, done: _Done) -> None:
        """The run goes on after this; its verdict counts all the same."""
        if done.verdict is not Verdict.PASS:
            self._passed_over.append(done)

    def enter(self) -> bool:
        """Count a step that is entered; false when there have been too many."""
        self._entered += 1
        return self._entered <= MAX_ENTERED

    def dimensions(self, place: _Place) -> Mapping[str, str]:
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


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the run a node stands: its recipe, the names of the calls and the rounds around it, the safety blocks
    that hold besides the run's, and whether it may drive the cycler."""

    recipe: Recipe
    scope: str = ""
    rounds: str = ""
    safeties: tuple[Safety, ...] = ()
    owns_cycler: bool = True

    def label(self, name: str) -> str:
        scope = f"{self.scope}/" if self.scope else ""
        return f"{scope}{name}{self.rounds}"

    def of(self, step: StepBase, attempt: int) -> _Place:
        """A step's own: narrowed by it, and labelled when it is tried again."""
        rounds = f"{self.rounds} (attempt {attempt + 1})" if attempt else self.rounds
        own = () if step.safety is None else (self.recipe.safety.narrowed(step.safety),)
        return replace(self, rounds=rounds, safeties=self.safeties + own)

    def round(self, count: int, of: int | None) -> _Place:
        label = f"{count}/{of}" if of is not None else f"{count}"
        return replace(self, rounds=f"{self.rounds} ({label})")

    def called(self, name: str, recipe: Recipe) -> _Place:
        scope = f"{self.scope}/{name}" if self.scope else name
        return replace(self, recipe=recipe, scope=scope, safeties=(*self.safeties, recipe.safety))


class LeafNode:
    """One run of a step that holds no others: its clock, its ends, its record."""

    def __init__(self, program: Program, step: Any, place: _Place) -> None:
        self.step, self.owns_cycler = step, place.owns_cycler
        self._program, self._place = program, place
        self._dimensions = program.dimensions(place)
        self._logic = run_of(step, self._dimensions)
        ends = list(getattr(step, "ends", []))
        if isinstance(step, WaitUntil):
            ends.append(End(when=step.condition))
        self._watches = [Watch(end) for end in ends]
        self._waiting_for: dict[int, Action] = {}
        self.interrupted: TakeUp | None = None
        self._began: float | None = None
        self._counters = Counters()
        self._started = 0.0
        self.index = 0

    @property
    def label(self) -> str:
        return self._place.label(self.step.name)

    @property
    def own_safeties(self) -> list[Safety]:
        """The safety blocks that hold while it runs besides the run's: of called recipes, and the narrowings by it and
        by the steps around it."""
        return list(self._place.safeties)

    @property
    def phase(self) -> str:
        return self._logic.phase

    @property
    def sample_period(self) -> float | None:
        return self._logic.sample_period

    def step_time(self, t: float) -> float:
        return 0.0 if self._began is None else round(t - self._began, 6)  # Unix seconds in a double: 0.2 us

    def start(self, now: Moment) -> Result:
        start = self._program.begin(self, self.label, now)
        self.index, self._counters, self._started = start.index, start.counters, start.at
        if self._program.story is not None:
            self._began = start.t
            return self._recall(self._program.story)
        if self.owns_cycler:
            self._program.rates.forget()
        reaction = self._logic.start(self._view(now, None))
        if not (self.owns_cycler and isinstance(reaction, Drive | NoCurrent)):
            self._began = now.t  # nothing is switched for it
        return self._react(reaction, now)

    def update(self, now: Moment) -> Result:
        if self._program.story is not None:
            return self._recall(self._program.story)
        if self.interrupted is not None:
            return self._take_up(now)
        if self._began is None:  # its clock starts when its current flows
            self._began, self._started = now.t, now.sample.t
        answer = next((now.answers[key] for key in self._waiting_for if key in now.answers), None)
        if answer is not None:
            self._waiting_for.clear()
        elif self._waiting_for and not self._watches and not self._overdue(now):
            return None  # nothing to think about until its request is answered
        view = self._view(now, answer)
        reaction, met = self._logic.update(view), self._end_met(view)
        # an end that leads elsewhere is heeded even when the step ends by itself at that moment
        if met is not None and (met.route.kind != "next" or not isinstance(reaction, Ended)):
            reaction = met
        elif not isinstance(reaction, Ended):
            reaction = self._overdue(now) or reaction
        return self._react(reaction, now)

    def _recall(self, story: Story) -> Result:
        """What happened to it before: its end, another beginning, or nothing so far."""
        if story.starts_again(self.label):
            self._program.active.remove(self)
            return self.start(_BEFORE)
        if (record := story.end_of(self.index)) is None:
            return None
        context = self._program.context
        self._set(record.values)
        context.measured |= record.measured
        if (known := record.known) is not None:
            context.capacity, context.soc, context.soc_at = known.capacity, known.soc, known.soc_at
            context.full_at, context.grade_certain = known.full_at, known.grade_certain
        self._program.end(self, record)
        return _Done(record.route, record.verdict, record.reason, self.label)

    def _take_up(self, now: Moment) -> Result:
        """Go on in it, or begin it anew: it was interrupted."""
        how, self.interrupted = self.interrupted, None
        if how == "repeat":
            self._program.active.remove(self)
            self._began = None
            return self.start(now)
        # what was to be judged at a moment of its past was judged then
        self._watches = [w for w in self._watches if w.end.at is None or w.end.at > self.step_time(now.t)]
        # which way it went was found by the charge it began with
        view = self._view(replace(now, sample=replace(now.sample, counters=self._counters)), None)
        return self._react(self._logic.start(view), now)

    def cancel(self, now: Moment, why: str) -> None:
        if self._program.story is not None:
            if self._recall(self._program.story) is None:
                raise ReplayError(f"nothing is told of the end of {self.label}")
            return
        self._take_back()
        if self.step.drives and self.owns_cycler:
            self._program.direct(NoCurrent())
        self._close(Ended(why, complete=False), now)

    def _view(self, now: Moment, answer: Answer | None) -> View:
        return self._program.view(now, self.step_time(now.t), self._counters, answer)

    def _end_met(self, view: View) -> Ended | None:
        if not self._logic.ends_apply:
            return None
        for end in [watch.end for watch in self._watches if watch.met(view, view.step_time)]:
            verdict = Verdict.FAIL if end.then.kind == "fail" else Verdict.PASS
            return Ended(end.when.text, verdict=verdict, route=end.then)
        return None

    def _overdue(self, now: Moment) -> Ended | None:
        longest = getattr(self.step, "max_time", None)
        if longest is None or self.step_time(now.t) < longest:
            return None
        return Ended(f"maximum time of {longest:g} s", complete=False, verdict=Verdict.INCONCLUSIVE)

    def _react(self, reaction: runs.Reaction, now: Moment) -> Result:
        match reaction:
            case None:
                pass
            case Ended():
                self._take_back()
                return self._close(reaction, now)
            case Drive() | NoCurrent():
                if self.owns_cycler:
                    self._program.direct(reaction)
            case WorkOut():
                self._ask(replace(reaction, scope=self._place.scope))
            case _:
                self._ask(reaction)
        return None

    def _ask(self, request: Request) -> None:
        self._waiting_for[self._program.direct(request)] = request

    def _take_back(self) -> None:
        for key, action in self._waiting_for.items():
            self._program.take_back(key, action)
        self._waiting_for.clear()

    def _close(self, ended: Ended, now: Moment) -> _Done:
        self._learn(ended, now)
        context, counters = self._program.context, now.sample.counters
        names = self.step.measurements if isinstance(self.step, Measure) else []
        route = ended.route
        if ended.verdict is Verdict.ERROR:
            route = self.step.on_error
        elif ended.verdict is not Verdict.PASS:
            route = self.step.on_fail
        record = StepRecord(
            index=self.index,
            name=self.step.name,
            label=self.label,
            started=self._started,
            ended=now.sample.t,
            reason=ended.reason,
            complete=ended.complete,
            readings=ended.readings,
            kind=self.step.step,
            scope=self._place.scope,
            verdict=ended.verdict,
            charge=counters.net_ah - self._counters.net_ah,
            energy=counters.net_wh - self._counters.net_wh,
            values=ended.values,
            route=route,
            counters=counters,
            measured={name: context.measured[name] for name in names if name in context.measured},
            known=Knowledge(context.capacity, context.soc, context.soc_at, context.full_at, context.grade_certain),
        )
        self._program.end(self, record)
        return _Done(route, ended.verdict, ended.reason, self.label)

    def _learn(self, ended: Ended, now: Moment) -> None:
        """Take over the variables, and the state of charge where this end makes it known."""
        context, step, counters = self._program.context, self.step, now.sample.counters
        self._set(ended.values)
        if not ended.complete or ended.verdict is not Verdict.PASS:
            return
        dut = context.dut
        by_cell = ended.reason.startswith("cell voltage")
        emptied = isinstance(step, Cc | Cp) and step.direction == "discharge" and by_cell
        if self._filled(ended) and step.cell_voltage >= dut.cell_voltage_max - FULL_WITHIN:
            context.know_soc(1.0, counters)
        elif emptied and step.cell_voltage <= dut.cell_voltage_min + EMPTY_WITHIN:
            context.know_soc(0.0, counters)

    def _set(self, values: Mapping[str, float | None]) -> None:
        for name, value in values.items():
            factor = coherent(self._dimensions.get(name, "number"))
            self._program.context.know(name, None if value is None else value * factor)

    def _filled(self, ended: Ended) -> bool:
        """Whether this was a held charge, and ended because its current had fallen."""
        step = self.step
        if not isinstance(step, CcCv | Cv) or step.direction != "charge":
            return False
        by = [end.when for end in step.ends if end.when.text == ended.reason and end.when.is_conjunction]
        return any(c.name == "current" and not c.rising for when in by for c in when.comparisons)


def _node(program: Program, step: Any, place: _Place) -> _Node:
    match step:
        case Repeat():
            return _Rounds(program, step, place, [step.steps] * step.times)
        case While():
            return _While(program, step, place)
        case Hppc():
            return _Rounds(program, step, place, step.rounds)
        case CapacityTest():
            return _Capacity(program, step, place)
        case If():
            return _Choice(program, step, place)
        case Parallel():
            return _Parallel(program, step, place)
        case Group():
            return _Group(program, step, place)
        case Call():
            return _Called(program, step, place)
        case _:
            return LeafNode(program, step, place)


class _Sequence:
    """Steps one after another, and the routes between them."""

    def __init__(self, program: Program, steps: list[Step], place: _Place) -> None:
        self._program, self._steps, self._place = program, steps, place
        self._at = 0
        self._child: _Node | None = None
        self._attempts = 0
        self._jumps: dict[tuple[int, str], int] = {}
        self._standing: tuple[int, StandStill] | None = None  # the hold that is waited for, and its key

    def start(self, now: Moment) -> Result:
        return self._enter(0, now)

    def update(self, now: Moment) -> Result:
        if self._standing is not None:
            if not self._hold_ended(self._standing[0], now):
                return None
            self._standing = None
            return self._enter(self._at + 1, now)
        assert self._child is not None
        return self._after(self._child.update(now), now)

    def cancel(self, now: Moment, why: str) -> None:
        if self._standing is not None:
            self._program.take_back(*self._standing)
        elif self._child is not None:
            self._child.cancel(now, why)

    def _hold_ended(self, key: int, now: Moment) -> bool:
        label, story = self._place.label(self._steps[self._at].name), self._program.story
        if story.decides(label) if story is not None else key in now.answers:
            return self._program.decide(label, lambda: True)
        return False

    def _enter(self, at: int, now: Moment, attempt: int = 0) -> Result:
        """Start the step at this place; steps that take no time are followed at once, without recursion."""
        result: Result
        while True:
            self._at, self._attempts = at, attempt
            if at >= len(self._steps):
                self._child = None
                return _Done()
            if not self._program.enter():
                self._child = None
                return _Done(ABORT, Verdict.ABORTED, f"more than {MAX_ENTERED} steps", self._steps[at].name)
            step = self._steps[at]
            self._child = _node(self._program, step, self._place.of(step, attempt))
            result = self._child.start(now)
            follow = self._follow(result)
            if not isinstance(follow, tuple):
                return follow
            at, attempt = follow

    def _after(self, result: Result, now: Moment) -> Result:
        follow = self._follow(result)
        return self._enter(follow[0], now, follow[1]) if isinstance(follow, tuple) else follow

    def _follow(self, result: Result) -> tuple[int, int] | Result:
        """The place and attempt to go on with; or what goes up: None while something runs or stands."""
        if result is None:
            return None
        self._child = None
        route, here = result.route, self._at
        match route.kind:
            case "next":
                self._program.pass_over(result)
                return here + 1, 0
            case "hold":
                self._program.pass_over(result)
                stand_still = StandStill(f"{result.step}: {result.reason}")
                self._standing = self._program.direct(stand_still), stand_still
                return None
            case "retry" if self._attempts < route.count:
                return here, self._attempts + 1
            case "retry":
                return self._fail(result)
            case "goto":
                return self._jump(result)
            case _:
                return result

    def _fail(self, result: _Done) -> tuple[int, int] | Result:
        """After the last attempt the step has failed, whatever had led to it."""
        verdict = result.verdict if result.verdict is not Verdict.PASS else Verdict.FAIL
        on_fail = self._steps[self._at].on_fail
        # an instrument's error, and the last attempt that `on_fail` gave, are for the steps around it
        route = FAIL if verdict is Verdict.ERROR or result.route == on_fail else on_fail
        failed = replace(result, route=route, verdict=verdict)
        return failed if route == FAIL else self._follow(failed)

    def _jump(self, result: _Done) -> tuple[int, int] | Result:
        target, here = result.route.target, self._at
        place = next((k for k, step in enumerate(self._steps) if step.name == target), None)
        if place is None:
            return result  # a step of a list around this one
        if place > here:
            self._program.pass_over(result)
            return place, 0
        taken = self._jumps.get((here, target), 0)
        if taken >= result.route.count:  # as often as it may
            self._program.pass_over(result)
            return here + 1, 0
        self._jumps[here, target] = taken + 1
        return place, 0


class _Enclosing:
    """A step that holds lists: which is next, and its own `on_fail` and `on_error` for what comes out of them."""

    def __init__(self, program: Program, step: StepBase, place: _Place) -> None:
        self._program, self._step, self._place = program, step, place
        self._inner: _Node | None = None

    def _next(self, result: _Done | None, now: Moment) -> _Node | _Done:
        """What follows the end of the inner list, or comes first."""
        raise NotImplementedError

    def _list(self, steps: list[Step]) -> _Sequence:
        return _Sequence(self._program, steps, self._place)

    def start(self, now: Moment) -> Result:
        return self._follow(self._next(None, now), now)

    def update(self, now: Moment) -> Result:
        assert self._inner is not None
        result = self._inner.update(now)
        return None if result is None else self._follow(self._next(result, now), now)

    def cancel(self, now: Moment, why: str) -> None:
        if self._inner is not None:
            self._inner.cancel(now, why)

    def _follow(self, following: _Node | _Done, now: Moment) -> Result:
        while not isinstance(following, _Done):
            self._inner = following
            result = following.start(now)
            if result is None:
                return None
            following = self._next(result, now)
        self._inner = None
        return _routed(self._step, following)


def _routed(step: StepBase, result: _Done) -> _Done:
    if result.route.kind == "fail":
        return replace(result, route=step.on_fail)
    if result.route.kind == "abort" and result.verdict is Verdict.ERROR:
        return replace(result, route=step.on_error)
    return result


class _Called(_Enclosing):
    def __init__(self, program: Program, step: Call, place: _Place) -> None:
        super().__init__(program, step, place.called(step.name, step.body))
        self._call = step

    def _next(self, result: _Done | None, now: Moment) -> _Node | _Done:
        return self._list(self._call.body.steps) if result is None else result


class _Choice(_Enclosing):
    def __init__(self, program: Program, step: If, place: _Place) -> None:
        super().__init__(program, step, place)
        self._if = step

    def _next(self, result: _Done | None, now: Moment) -> _Node | _Done:
        if result is not None:
            return result
        judge = Evaluation(self._if.condition)
        label = self._place.label(self._if.name)
        true = self._program.decide(label, lambda: judge.true(self._program.scope(now)))
        return self._list(self._if.then if true else self._if.otherwise)


class _Rounds(_Enclosing):
    """A list a round."""

    def __init__(self, program: Program, step: StepBase, place: _Place, lists: list[list[Step]]) -> None:
        super().__init__(program, step, place)
        self._lists, self._round = lists, 0

    def _next(self, result: _Done | None, now: Moment) -> _Node | _Done:
        if result is not None and result.route.kind != "next":
            return result
        if self._round == len(self._lists):
            return _Done()
        self._round += 1
        place = self._place.round(self._round, len(self._lists))
        return _Sequence(self._program, self._lists[self._round - 1], place)


class _While(_Enclosing):
    def __init__(self, program: Program, step: While, place: _Place) -> None:
        super().__init__(program, step, place)
        self._while, self._round = step, 0
        self._condition = Evaluation(step.condition)

    def _next(self, result: _Done | None, now: Moment) -> _Node | _Done:
        if result is not None and result.route.kind != "next":
            return result
        if self._program.story is not None and looks_back(self._while.condition.root):
            raise ReplayError(f"{self._while.name} looks back over what is not told")
        label = self._place.label(self._while.name)
        if not self._program.decide(label, lambda: self._condition.true(self._program.scope(now))):
            return _Done()
        if self._round == self._while.max_rounds:
            reason = f"{self._while.condition.text} after {self._round} rounds"
            return _Done(FAIL, Verdict.FAIL, reason, self._while.name)
        self._round += 1
        return _Sequence(self._program, self._while.steps, self._place.round(self._round, None))


class _Capacity(_Rounds):
    """Rounds until the newest capacities agree."""

    def __init__(self, program: Program, step: CapacityTest, place: _Place) -> None:
        super().__init__(program, step, place, [step.steps] * step.rounds)
        self._test = step
        self._found: list[float] = []

    def _next(self, result: _Done | None, now: Moment) -> _Node | _Done:
        test, context = self._test, self._program.context
        if result is None or result.route.kind != "next":
            return super()._next(result, now)
        self._found.append(-self._program.newest[self._place.scope, f"{test.name}_discharge"].charge)
        newest = self._found[-test.agree :]
        agree = len(newest) == test.agree and max(newest) - min(newest) <= test.within * context.dut.rated_capacity
        if not agree and len(self._found) < test.rounds:
            return super()._next(result, now)
        if test.into:
            context.know(test.into, sum(newest) / len(newest) * coherent("charge"))
        if agree:
            return _Done()
        reason = f"{len(self._found)} capacities do not agree within {test.within:.3g} of the rated capacity"
        return _Done(FAIL, Verdict.INCONCLUSIVE, reason, test.name)


class _Group(_Enclosing):
    """Setup, steps, finally. What came of the steps is what comes of the group, unless `finally` does worse."""

    def __init__(self, program: Program, step: Group, place: _Place) -> None:
        super().__init__(program, step, place)
        self._group, self._part, self._outcome = step, "", _Done()

    def _next(self, result: _Done | None, now: Moment) -> _Node | _Done:
        match self._part:
            case "" if self._group.setup:
                self._part = "setup"
                return self._list(self._group.setup)
            case "setup" if result is not None and result.route.kind != "next":
                return result
            case "" | "setup":
                self._part = "steps"
                return self._list(self._group.steps)
            case "steps":
                assert result is not None
                if result.route.kind == "abort" or not self._group.last:
                    return result
                self._part, self._outcome = "finally", result
                return self._list(self._group.last)
            case _:
                assert result is not None
                if result.route.kind == "next":
                    return self._outcome
                self._program.pass_over(self._outcome)
                return result


class _Parallel:
    """Branches at the same time; the one that drives owns the cycler."""

    def __init__(self, program: Program, step: Parallel, place: _Place) -> None:
        self._step = step
        driving = [_drive(branch.steps) for branch in step.branches]
        owner = driving.index(True) if any(driving) else 0
        self._running: dict[str, _Sequence] = {
            branch.name: _Sequence(
                program, branch.steps, replace(place, owns_cycler=place.owns_cycler and index == owner)
            )
            for index, branch in enumerate(step.branches)
        }

    def start(self, now: Moment) -> Result:
        return self._all(now, lambda branch: branch.start(now))

    def update(self, now: Moment) -> Result:
        return self._all(now, lambda branch: branch.update(now))

    def _all(self, now: Moment, act: Callable[[_Sequence], Result]) -> Result:
        for name, branch in list(self._running.items()):
            result = act(branch)
            if result is None:
                continue
            del self._running[name]
            if result.route.kind != "next" or self._step.join == "any":
                self.cancel(now, f"stopped: branch {name} ended")
                return _routed(self._step, result)
        return None if self._running else _Done()

    def cancel(self, now: Moment, why: str) -> None:
        for branch in self._running.values():
            branch.cancel(now, why)
        self._running.clear()


def _drive(steps: list[Step]) -> bool:
    """Whether any of the steps lets current flow, those of called recipes included."""
    return any(part.drives or (isinstance(part, Call) and _drive(part.body.steps)) for part, _ in walk(steps))
