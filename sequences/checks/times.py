"""Times: nothing that lasts no time, nothing that cannot be done in its time, and the run within its own limit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from sequences.checks.subject import Place, Subject, all_routes, routes
from sequences.findings import Finding, finding
from sequences.flow import Call, CapacityTest, Group, Hppc, If, Parallel, Path, Repeat, Step, written
from sequences.step import Eis, Insulate, Ocv, Profile, Pulse, Rest, SetTemperature, says
from sequences.view import RATE_WINDOW

SHORTEST_SAMPLE = 0.01  # s; no instrument here is faster
SAMPLES_A_PULSE = 5
_DURATIONS = (
    "duration", "max_time", "rest", "rest_charged", "rest_discharged", "charge_max_time", "discharge_max_time",
)  # fmt: skip


def check_times(subject: Subject) -> Iterator[Finding]:
    for place in subject.places:
        yield from _zero(place)
        yield from _too_long(place)
        yield from _sampling(place)
    least, most = _least(subject.recipe.steps), subject.recipe.safety.total_time.trip
    if math.isfinite(least) and least > most:
        text = (
            f"takes {least / 3600:.1f} h at least, more than its own limit of {most / 3600:g} h",
            f"최소 {least / 3600:.1f} h 걸립니다. 자체 한계는 {most / 3600:g} h 입니다",
        )
        hint = "raise total_time or shorten the steps", "total_time 을 늘리거나 스텝을 줄이십시오"
        yield finding("E-TIME-TOTAL", ("safety", "total_time"), text, hint)


def _zero(place: Place) -> Iterator[Finding]:
    step = place.step
    found: list[Path] = [(key,) for key in _DURATIONS if says(step, key) and getattr(step, key) == 0.0]
    found += [("pulses", index, "duration") for index, pulse in enumerate(_pulses(step)) if pulse.duration == 0.0]
    for path in found:
        text = f"{place.name}: lasts no time", f"{place.name}: 지속 시간이 0입니다"
        yield finding("E-STEP-ZERO", place.at(*path), text, ("give it a duration", "시간을 지정하십시오"))


def _pulses(step: Any) -> list[Any]:
    return step.pulses if isinstance(step, Pulse | Hppc) else []


def _too_long(place: Place) -> Iterator[Finding]:
    """What a step needs for certain against its maximum time."""
    step = place.step
    match step:
        case Insulate():
            needed = step.duration
        case SetTemperature():
            needed = step.soak
        case Ocv():
            needed = RATE_WINDOW
        case Eis():
            needed = sum(1.0 / frequency for frequency in step.frequencies)
        case _:
            return
    if needed >= step.max_time > 0:
        text = (
            f"{place.name}: needs {needed:.6g} s at least, its max_time is {step.max_time:g} s",
            f"{place.name}: 최소 {needed:.6g} s 가 필요하지만 max_time 은 {step.max_time:g} s 입니다",
        )
        yield finding("E-STEP-TIME", place.at("max_time"), text, ("raise max_time", "max_time 을 늘리십시오"))


def _sampling(place: Place) -> Iterator[Finding]:
    step = place.step
    if pulses := _pulses(step):
        shortest = min(pulse.duration for pulse in pulses)
        if shortest and not SHORTEST_SAMPLE <= step.sample <= shortest / SAMPLES_A_PULSE:
            text = (
                f"{place.name}: {step.sample:g} s is no sampling period for a pulse of {shortest:g} s",
                f"{place.name}: {step.sample:g} s 은(는) {shortest:g} s 펄스의 샘플링 주기로 맞지 않습니다",
            )
            most = f"{shortest / SAMPLES_A_PULSE:g} s"
            yield finding("E-PULSE-SAMPLE", place.at("sample"), text, (f"10 ms to {most}", f"10 ms 이상 {most} 이하"))
    elif isinstance(step, Profile):
        shortest = min(later - earlier for (earlier, _), (later, _) in pairwise(step.table))
        if not SHORTEST_SAMPLE <= step.sample <= shortest * (1 + 1e-9):
            text = (
                f"{place.name}: sampled every {step.sample:g} s, its shortest row lasts {shortest:g} s",
                f"{place.name}: 샘플링 주기 {step.sample:g} s, 가장 짧은 행은 {shortest:g} s 입니다",
            )
            most = f"{shortest:g} s"
            yield finding("E-SAMPLE", place.at("sample"), text, (f"10 ms to {most}", f"10 ms 이상 {most} 이하"))
    if step.record is not None and step.record.burst_every < SHORTEST_SAMPLE:
        text = (
            f"{place.name}: nothing can be sampled every {step.record.burst_every:g} s",
            f"{place.name}: {step.record.burst_every:g} s 마다 샘플링할 수 없습니다",
        )
        yield finding("E-SAMPLE", place.at("record", "burst_every"), text, ("10 ms or longer", "10 ms 이상"))


# ----------------------------------------------------------------------------------------------- the shortest run


def _least(steps: list[Step]) -> float:
    """s that a list takes at least on its way to its end; infinite when it has none."""
    places = {step.name: index for index, step in enumerate(steps)}
    least = [0.0] + [math.inf] * len(steps)
    for index, step in enumerate(steps):
        began = least[index]
        least[index + 1] = min(least[index + 1], began + _least_of(step))
        for route in all_routes(step):
            target = places.get(route.target, 0) if route.kind == "goto" else 0
            if target > index:
                least[target] = min(least[target], began)
    return least[-1]


def _least_of(step: Step) -> float:
    if any(route.kind in ("next", "hold") for path, route in routes(step) if path[0] in ("on_fail", "on_error")):
        return 0.0
    match step:
        case Rest():
            return 0.0 if step.ends else float(step.duration)
        case Pulse():
            return _recovery(step)  # a pulse may be cut short, its recovery is not
        case Profile():
            return step.duration
        case SetTemperature():
            return float(step.soak)
        case Insulate():
            return float(step.duration)
        case Hppc():
            return len(step.soc) * (step.rest + _recovery(step))
        case CapacityTest():
            return step.agree * float(step.rest_charged + step.rest_discharged)
        case Repeat():
            return step.times * _least(step.steps)
        case If():
            return min(_least(step.then), _least(step.otherwise))
        case Parallel():
            pick = max if step.join == "all" else min
            return pick(_least(branch.steps) for branch in step.branches)
        case Group():
            return sum(_least(inner) for _, inner in written(step))
        case Call():
            return _least(step.body.steps)
        case _:
            return 0.0


def _recovery(step: Pulse | Hppc) -> float:
    return float(sum(pulse.rest for pulse in step.pulses))
