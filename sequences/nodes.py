"""The steps that hold other steps at work: which is next, and where a run goes after each end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sequences.actions import StandStill
from sequences.condition import ABORT, FAIL
from sequences.expression import Evaluation, coherent
from sequences.flow import Call, CapacityTest, Group, Hppc, If, Parallel, Repeat, Step, While
from sequences.leaf import LeafNode
from sequences.recipe import walk
from sequences.replay import ReplayError
from sequences.step import (
    StepBase,
    looks_back,
)
from sequences.turn import MAX_ENTERED, Done, Moment, Node, Place, Result
from sequences.verdict import Verdict

if TYPE_CHECKING:
    from sequences.program import Program


def node_of(program: Program, step: Any, place: Place) -> Node:
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


class Sequence:
    """Steps one after another, and the routes between them."""

    def __init__(self, program: Program, steps: list[Step], place: Place) -> None:
        self._program, self._steps, self._place = program, steps, place
        self._at = 0
        self._child: Node | None = None
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
                return Done()
            if not self._program.enter():
                self._child = None
                return Done(ABORT, Verdict.ABORTED, f"more than {MAX_ENTERED} steps", self._steps[at].name)
            step = self._steps[at]
            self._child = node_of(self._program, step, self._place.of(step, attempt))
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

    def _fail(self, result: Done) -> tuple[int, int] | Result:
        """After the last attempt the step has failed, whatever had led to it."""
        verdict = result.verdict if result.verdict is not Verdict.PASS else Verdict.FAIL
        on_fail = self._steps[self._at].on_fail
        # an instrument's error, and the last attempt that `on_fail` gave, are for the steps around it
        route = FAIL if verdict is Verdict.ERROR or result.route == on_fail else on_fail
        failed = replace(result, route=route, verdict=verdict)
        return failed if route == FAIL else self._follow(failed)

    def _jump(self, result: Done) -> tuple[int, int] | Result:
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

    def __init__(self, program: Program, step: StepBase, place: Place) -> None:
        self._program, self._step, self._place = program, step, place
        self._inner: Node | None = None

    def _next(self, result: Done | None, now: Moment) -> Node | Done:
        """What follows the end of the inner list, or comes first."""
        raise NotImplementedError

    def _list(self, steps: list[Step]) -> Sequence:
        return Sequence(self._program, steps, self._place)

    def start(self, now: Moment) -> Result:
        return self._follow(self._next(None, now), now)

    def update(self, now: Moment) -> Result:
        assert self._inner is not None
        result = self._inner.update(now)
        return None if result is None else self._follow(self._next(result, now), now)

    def cancel(self, now: Moment, why: str) -> None:
        if self._inner is not None:
            self._inner.cancel(now, why)

    def _follow(self, following: Node | Done, now: Moment) -> Result:
        while not isinstance(following, Done):
            self._inner = following
            result = following.start(now)
            if result is None:
                return None
            following = self._next(result, now)
        self._inner = None
        return _routed(self._step, following)


def _routed(step: StepBase, result: Done) -> Done:
    if result.route.kind == "fail":
        return replace(result, route=step.on_fail)
    if result.route.kind == "abort" and result.verdict is Verdict.ERROR:
        return replace(result, route=step.on_error)
    return result


class _Called(_Enclosing):
    def __init__(self, program: Program, step: Call, place: Place) -> None:
        super().__init__(program, step, place.called(step.name, step.body))
        self._call = step

    def _next(self, result: Done | None, now: Moment) -> Node | Done:
        return self._list(self._call.body.steps) if result is None else result


class _Choice(_Enclosing):
    def __init__(self, program: Program, step: If, place: Place) -> None:
        super().__init__(program, step, place)
        self._if = step

    def _next(self, result: Done | None, now: Moment) -> Node | Done:
        if result is not None:
            return result
        judge = Evaluation(self._if.condition)
        label = self._place.label(self._if.name)
        true = self._program.decide(label, lambda: judge.true(self._program.scope(now)))
        return self._list(self._if.then if true else self._if.otherwise)


class _Rounds(_Enclosing):
    """A list a round."""

    def __init__(self, program: Program, step: StepBase, place: Place, lists: list[list[Step]]) -> None:
        super().__init__(program, step, place)
        self._lists, self._round = lists, 0

    def _next(self, result: Done | None, now: Moment) -> Node | Done:
        if result is not None and result.route.kind != "next":
            return result
        if self._round == len(self._lists):
            return Done()
        self._round += 1
        place = self._place.round(self._round, len(self._lists))
        return Sequence(self._program, self._lists[self._round - 1], place)


class _While(_Enclosing):
    def __init__(self, program: Program, step: While, place: Place) -> None:
        super().__init__(program, step, place)
        self._while, self._round = step, 0
        self._condition = Evaluation(step.condition)

    def _next(self, result: Done | None, now: Moment) -> Node | Done:
        if result is not None and result.route.kind != "next":
            return result
        if self._program.story is not None and looks_back(self._while.condition.root):
            raise ReplayError(f"{self._while.name} looks back over what is not told")
        label = self._place.label(self._while.name)
        if not self._program.decide(label, lambda: self._condition.true(self._program.scope(now))):
            return Done()
        if self._round == self._while.max_rounds:
            reason = f"{self._while.condition.text} after {self._round} rounds"
            return Done(FAIL, Verdict.FAIL, reason, self._while.name)
        self._round += 1
        return Sequence(self._program, self._while.steps, self._place.round(self._round, None))


class _Capacity(_Rounds):
    """Rounds until the newest capacities agree."""

    def __init__(self, program: Program, step: CapacityTest, place: Place) -> None:
        super().__init__(program, step, place, [step.steps] * step.rounds)
        self._test = step
        self._found: list[float] = []

    def _next(self, result: Done | None, now: Moment) -> Node | Done:
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
            return Done()
        reason = f"{len(self._found)} capacities do not agree within {test.within:.3g} of the rated capacity"
        return Done(FAIL, Verdict.INCONCLUSIVE, reason, test.name)


class _Group(_Enclosing):
    """Setup, steps, finally. What came of the steps is what comes of the group, unless `finally` does worse."""

    def __init__(self, program: Program, step: Group, place: Place) -> None:
        super().__init__(program, step, place)
        self._group, self._part, self._outcome = step, "", Done()

    def _next(self, result: Done | None, now: Moment) -> Node | Done:
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

    def __init__(self, program: Program, step: Parallel, place: Place) -> None:
        self._step = step
        driving = [_drive(branch.steps) for branch in step.branches]
        owner = driving.index(True) if any(driving) else 0
        self._running: dict[str, Sequence] = {
            branch.name: Sequence(
                program, branch.steps, replace(place, owns_cycler=place.owns_cycler and index == owner)
            )
            for index, branch in enumerate(step.branches)
        }

    def start(self, now: Moment) -> Result:
        return self._all(now, lambda branch: branch.start(now))

    def update(self, now: Moment) -> Result:
        return self._all(now, lambda branch: branch.update(now))

    def _all(self, now: Moment, act: Callable[[Sequence], Result]) -> Result:
        for name, branch in list(self._running.items()):
            result = act(branch)
            if result is None:
                continue
            del self._running[name]
            if result.route.kind != "next" or self._step.join == "any":
                self.cancel(now, f"stopped: branch {name} ended")
                return _routed(self._step, result)
        return None if self._running else Done()

    def cancel(self, now: Moment, why: str) -> None:
        for branch in self._running.values():
            branch.cancel(now, why)
        self._running.clear()


def _drive(steps: list[Step]) -> bool:
    """Whether any of the steps lets current flow, those of called recipes included."""
    return any(part.drives or (isinstance(part, Call) and _drive(part.body.steps)) for part, _ in walk(steps))
