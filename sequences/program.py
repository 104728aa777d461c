"""A recipe as the sequence of step runs it stands for, and how long that takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sequences.dut import Dut
from sequences.recipe import (
    ConstantCurrent,
    ConstantCurrentConstantVoltage,
    LeafStep,
    Measure,
    Pulse,
    Recipe,
    Repeat,
    Rest,
    Step,
)

# share of the capacity the voltage-hold phase of a C/2..C/3 charge brings in, and its time over that at full current
CV_SHARE, CV_STRETCH = 0.06, 2.5


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step run: its place in the sequence, its name (with its round inside a repeat) and the step itself."""

    index: int
    name: str
    label: str
    step: LeafStep


def expand(recipe: Recipe) -> list[PlannedStep]:
    """Every step run in order; a repeat's inner steps carry their round, as `pulse (2/3)`."""
    return [
        PlannedStep(index, step.name, step.name + rounds, step)
        for index, (step, rounds) in enumerate(_flatten(recipe.steps, ""))
    ]


def _flatten(steps: Iterable[Step], rounds: str) -> Iterator[tuple[LeafStep, str]]:
    for step in steps:
        if isinstance(step, Repeat):
            for count in range(1, step.times + 1):
                yield from _flatten(step.steps, f"{rounds} ({count}/{step.times})")
        else:
            yield step, rounds


def estimate_durations(plan: list[PlannedStep], dut: Dut, soc: float, capacity: float) -> list[float]:
    """Expected seconds of every planned step, starting at a state of charge (0..1) with a capacity in Ah.

    Coulomb arithmetic only: good enough for a progress bar; voltage-limited ends are taken at full and empty.
    """
    durations: list[float] = []
    for planned in plan:
        seconds, soc = _estimate(planned.step, dut, soc, capacity)
        durations.append(seconds)
    return durations


def _estimate(step: LeafStep, dut: Dut, soc: float, capacity: float) -> tuple[float, float]:
    match step:
        case Rest():
            return step.duration, soc
        case Pulse():
            return step.duration + step.recovery, soc
        case Measure():
            return float(step.readings), soc
        case ConstantCurrentConstantVoltage():
            amperes = step.current.amperes(dut.rated_capacity)
            missing = max(1.0 - soc, 0.01)
            hold = min(CV_SHARE, missing)
            hours = (missing - hold + CV_STRETCH * hold) * capacity / amperes
            return min(hours * 3600, step.max_time), 1.0
        case ConstantCurrent():
            amperes = step.current.amperes(dut.rated_capacity)
            room = 1.0 - soc if step.direction == "charge" else soc
            moved = min([room, *_charge_ends(step, capacity)])
            seconds = min(moved * capacity / amperes * 3600, step.max_time)
            return seconds, soc + moved if step.direction == "charge" else soc - moved


def _charge_ends(step: ConstantCurrent, capacity: float) -> list[float]:
    """The ends on moved charge, as shares of the capacity."""
    share = {"depth": 1.0, "charge": 1.0 / capacity}
    conditions = [end.when for end in step.ends if end.when.operator in (">=", ">")]
    return [condition.value * share[condition.signal] for condition in conditions if condition.signal in share]
