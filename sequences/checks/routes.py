"""Where a run may go: every target exists, every way back is counted, every step and the end can be reached."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from sequences.checks.subject import Subject, all_routes, routes
from sequences.condition import Route
from sequences.findings import Finding, finding, nearest
from sequences.flow import Call, CapacityTest, Group, Hppc, If, Parallel, Path, Repeat, Step, While, written
from sequences.recipe import MAX_STEP_RUNS
from sequences.step import CcCv, Cv

# the lists around a step, the innermost last: where each of its steps stands, and where this one does
Around = tuple[tuple[dict[str, int], int], ...]
# how a step or a list may end: `next`, `fail`, `abort`, or a `goto TARGET` that is for a list around it
Ways = set[str]


def check_routes(subject: Subject) -> Iterator[Finding]:
    names = {place.name for place in subject.places}
    yield from _targets(subject.recipe.steps, ("steps",), (), names)
    ways = yield from _through(subject.recipe.steps, ("steps",))
    if "next" not in ways:
        text = "no way through the steps comes to their end", "스텝의 끝에 이르는 경로가 없습니다"
        hint = "let one of the ends go on with `next`", "종료 조건 중 하나는 `next` 로 이어지게 하십시오"
        yield finding("E-ROUTE-NO-END", ("steps",), text, hint)
    runs = _runs(subject.recipe.steps)
    if runs > MAX_STEP_RUNS:
        text = (
            f"with its loops, jumps and retries it may come to {runs:.6g} step runs, more than {MAX_STEP_RUNS}",
            f"반복, 이동, 재시도를 모두 합하면 스텝 실행이 {runs:.6g}회가 될 수 있습니다. 최대 {MAX_STEP_RUNS}회입니다",
        )
        yield finding("E-LOOP-SIZE", ("steps",), text, ("lower the counts", "횟수를 줄이십시오"))


# ------------------------------------------------------------------------------------------------------- targets


def _targets(steps: list[Step], path: Path, outer: Around, names: set[str]) -> Iterator[Finding]:
    places = {step.name: index for index, step in enumerate(steps)}
    for index, step in enumerate(steps):
        around = (*outer, (places, index))
        for below, route in routes(step):
            yield from _target(step, route, (*path, index, *below), around, names)
        for below, inner in written(step):
            yield from _targets(inner, (*path, index, *below), around, names)


def _target(step: Step, route: Route, path: Path, around: Around, names: set[str]) -> Iterator[Finding]:
    if route.kind == "retry" and route.count == 0:
        text = f"{step.name}: `retry 0` tries nothing again", f"{step.name}: `retry 0` 은 재시도하지 않습니다"
        yield finding("E-ROUTE-RETRY", path, text, ("give it a count, or `fail`", "횟수를 쓰거나 `fail` 로 쓰십시오"))
    if route.kind != "goto":
        return
    target = f"{step.name}: goto {route.target}"
    stands = next(((places[route.target], index) for places, index in reversed(around) if route.target in places), None)
    if stands is None and route.target in names:
        text = f"{target}: it stands inside another step", f"{target}: 다른 스텝 안에 있습니다"
        hint = (
            "go to a step of the same list or of one around it",
            "같은 목록이나 그것을 둘러싼 목록의 스텝으로 이동하십시오",
        )
        yield finding("E-ROUTE-INTO", path, text, hint)
    elif stands is None:
        text = f"{target}: there is no such step", f"{target}: 그런 스텝이 없습니다"
        yield finding("E-ROUTE-UNKNOWN", path, text, nearest(route.target, names))
    elif stands[0] <= stands[1] and route.count == 0:
        text = f"{target}: a way back without an end", f"{target}: 끝나지 않는 되돌아가기입니다"
        hint = f"say how often: goto {route.target} max 3", f"횟수를 쓰십시오: goto {route.target} max 3"
        yield finding("E-ROUTE-ENDLESS", path, text, hint)
    elif stands[0] > stands[1] and route.count:
        text = f"{target}: a jump forward is not counted", f"{target}: 앞으로 가는 이동은 세지 않습니다"
        hint = f"leave out `max`: goto {route.target}", f"`max` 를 빼십시오: goto {route.target}"
        yield finding("E-ROUTE-MAX", path, text, hint)


# ---------------------------------------------------------------------------------------------------------- ways


def _through(steps: list[Step], path: Path) -> Generator[Finding, None, Ways]:
    """The ways out of a list; finds its steps that no way comes to."""
    places = {step.name: index for index, step in enumerate(steps)}
    ways: dict[int, Ways] = {}
    for index, step in enumerate(steps):
        ways[index] = yield from _ways(step, (*path, index))
    reached: set[int] = set()
    out: Ways = set()
    waiting = [0]
    while waiting:
        index = waiting.pop()
        if index == len(steps):
            out.add("next")
        if index == len(steps) or index in reached:
            continue
        reached.add(index)
        for way in ways[index]:
            target = places.get(way.removeprefix("goto ")) if way.startswith("goto ") else None
            if way == "next":
                waiting.append(index + 1)
            elif target is None:
                out.add(way)
            else:
                # a jump back goes on with the next step once it was taken as often as it may
                waiting += [target] if target > index else [target, index + 1]
    for index, step in enumerate(steps):
        if index not in reached and (index == 0 or index - 1 in reached):
            text = f"{step.name}: no way leads here", f"{step.name}: 이 스텝에 이르는 경로가 없습니다"
            hint = "remove it, or let a route before it go here", "삭제하거나, 앞의 경로를 이 스텝으로 이으십시오"
            yield finding("E-STEP-UNREACHABLE", (*path, index), text, hint)
    return out


def _ways(step: Step, path: Path) -> Generator[Finding, None, Ways]:
    """The ways out of a step."""
    lists = written(step)
    if not lists:
        ways = {_way(route) for _, route in routes(step)}
        return ways if isinstance(step, CcCv | Cv) else ways | {"next"}
    inner: list[Ways] = []
    for below, steps in lists:
        inner.append((yield from _through(steps, (*path, *below))) if steps else {"next"})
    every: Ways = set().union(*inner)
    match step:
        case While():
            every |= {"next", "fail"}  # not even one round, or too many
        case Group():
            every = _group(*inner)
        case Parallel() if step.join == "all" and not all("next" in ways for ways in inner):
            every.discard("next")
    if "fail" in every:
        every = (every - {"fail"}) | {_way(step.on_fail)}
    if "abort" in every:
        every |= {_way(step.on_error)}
    return every


def _group(setup: Ways, steps: Ways, last: Ways) -> Ways:
    ways = setup - {"next"}
    if "next" in setup:
        ways |= (steps & {"abort"}) | (last - {"next"}) | (steps if "next" in last else set())
    return ways


def _way(route: Route) -> str:
    match route.kind:
        case "goto":
            return f"goto {route.target}"
        case "retry":
            return "fail"  # once it was retried as often as it may
        case "hold":
            return "next"
        case kind:
            return kind


# ---------------------------------------------------------------------------------------------------------- runs


def _runs(steps: list[Step]) -> int:
    """Step runs at most, with every jump back and every retry taken as often as it may."""
    places = {step.name: index for index, step in enumerate(steps)}
    until = [0]
    for step in steps:
        until.append(until[-1] + _runs_of(step))
    count = until[-1]
    for index, step in enumerate(steps):
        for route in all_routes(step):
            if route.kind == "goto" and (target := places.get(route.target, index + 1)) <= index:
                count += route.count * (until[index + 1] - until[target])
    return count


def _runs_of(step: Step) -> int:
    retries = max((route.count for _, route in routes(step) if route.kind == "retry"), default=0)
    match step:
        case Repeat():
            count = step.times * _runs(step.steps)
        case While():
            count = step.max_rounds * _runs(step.steps)
        case CapacityTest():
            count = step.rounds * len(step.steps)
        case Hppc():
            count = len(step.soc) * len(step.at(step.soc[0]))
        case Call():
            count = _runs(step.body.steps)
        case If():
            count = max(_runs(step.then), _runs(step.otherwise))
        case _:
            count = sum(_runs(inner) for _, inner in written(step))
    return max(count, 1) * (1 + retries)
