"""Capacity, energy, efficiency and the state of charge, by the run's own counters."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from sequences.analysis import Convergence, Estimate, UnmeasurableError, ratio, settled_capacity
from sequences.flow import CapacityTest
from sequences.measurement import (
    Capacity,
    CapacityAtC3,
    CapacityFade,
    CertifiedEnergy,
    ConvergedCapacity,
    Efficiency,
    Energy,
    StateOfHealth,
)
from sequences.measuring.samples import MissingError, Samples
from sequences.recipe import walk
from sequences.record import StepRecord

# how far a pulse or a rest may lie from the state of charge a measurement asks for
SOC_TOLERANCE = 0.10
_APART = 0.02  # between states of charge: nearer, noise is all that their difference shows


def _between(s: Samples, after: str, until: str, unit: str) -> Estimate:
    first, last = s.last(after), s.last(until)
    moved = s.discharged(s.end(first), s.end(last), unit)
    if moved.value <= 0:
        raise MissingError(
            f"nothing was discharged between {after} and {until}", f"{after} 와(과) {until} 사이에 방전이 없음"
        )
    return replace(moved, detail={"end": last.reason})


def capacity(s: Samples, source: Capacity | CapacityFade | StateOfHealth | CapacityAtC3) -> Estimate:
    return _between(s, source.after, source.until, "Ah")


def state_of_health(s: Samples, source: StateOfHealth | CapacityFade) -> Estimate:
    found, rated = capacity(s, source), s.dut.rated_capacity
    return replace(ratio(found, Estimate(rated, 0.0, "Ah")), detail={**found.detail, "rated_ah": rated})


def capacity_fade(s: Samples, source: CapacityFade) -> Estimate:
    health = state_of_health(s, source)
    return replace(health, value=1.0 - health.value)


def capacity_at_c3(s: Samples, source: CapacityAtC3) -> Estimate:
    """The factor is the battery model's, and taken as exact."""
    found, factor = capacity(s, source), s.dut.capacity_factor_c2_to_c3
    return replace(found, value=found.value * factor, uncertainty=found.uncertainty * factor, detail={"factor": factor})


def energy(s: Samples, source: Energy | CertifiedEnergy) -> Estimate:
    return _between(s, source.after, source.until, "Wh")


def certified_energy(s: Samples, source: CertifiedEnergy) -> Estimate:
    found, rated = energy(s, source), s.dut.rated_energy
    return replace(ratio(found, Estimate(rated, 0.0, "Wh")), detail={**found.detail, "rated_wh": rated})


def _settled(s: Samples, test: str) -> tuple[Estimate, int]:
    """The capacity of a `capacity` step, and how many discharges it completed."""
    steps = [step for step, _ in walk(s.recipe.steps) if isinstance(step, CapacityTest) and step.name == test]
    runs = [record for record in s.runs(f"{test}_discharge") if record.complete]
    if not runs or not steps:
        raise MissingError(f"{test} completed no discharge", f"{test} 에서 끝난 방전이 없음")
    found = []
    for record in runs:
        rows = s.rows(record)
        found.append(replace(s.discharged(int(rows[0]), int(rows[-1])), value=-record.charge))
    # the step ends with the newest that agree, whatever came before a resume
    rule = Convergence(last=steps[0].agree, within=steps[0].within, at_most=len(found))
    newest = found[-steps[0].agree :]
    return settled_capacity(newest, s.dut.rated_capacity, rule), len(found)


def converged_capacity(s: Samples, source: ConvergedCapacity) -> Estimate:
    settled, rounds = _settled(s, source.test)
    spread = float(settled.detail["apart_percent_of_rated"]) / 100 * s.dut.rated_capacity
    detail: dict[str, float | str] = {
        "rounds": rounds, "spread_ah": spread, "settled": settled.detail["settled"],
    }  # fmt: skip
    match source.of:
        case "capacity":
            return replace(settled, detail=detail)
        case "spread":
            # the gain is the same in all of them, so a difference does not see it
            return replace(settled, value=spread, uncertainty=math.nan, detail=detail)
        case "rounds":
            return replace(settled, value=float(rounds), uncertainty=math.nan, detail=detail)


def efficiency(s: Samples, source: Efficiency) -> Estimate:
    charged, discharged = s.last(source.charge), s.last(source.discharge)
    unit = "Ah" if source.of == "charge" else "Wh"
    taken, given = ((r.charge, r.energy)[unit == "Wh"] for r in (charged, discharged))
    if taken <= 0 or given >= 0:
        raise MissingError(
            f"{source.charge} did not charge or {source.discharge} did not discharge",
            f"{source.charge} 이(가) 충전하지 않았거나 {source.discharge} 이(가) 방전하지 않음",
        )
    parts = []
    for record, value in ((discharged, -given), (charged, taken)):
        rows = s.rows(record)
        parts.append(replace(s.discharged(int(rows[0]), int(rows[-1]), unit, gain=False), value=value))
    return ratio(parts[0], parts[1])


# ---------------------------------------------------------------------------------------------- state of charge


def soc_before(s: Samples, record: StepRecord) -> Estimate:
    """State of charge at a step's start, counted from full with the capacity this run measured.

    From the newest time before that the battery was full, by the measurements of this recipe.
    """
    start = int(s.rows(record)[0])
    for source in (measurement.source for measurement in s.recipe.measurements):
        match source:
            case Capacity() | StateOfHealth() | CapacityFade() | CapacityAtC3() | Energy() | CertifiedEnergy():
                after, whole = source.after, _between(s, source.after, source.until, "Ah")
            case ConvergedCapacity():
                after, (whole, _) = f"{source.test}_charge", _settled(s, source.test)
            case _:
                continue
        full = [row for row in (s.end(run) for run in s.runs(after) if run.complete) if row <= start]
        if not full:
            raise MissingError(f"{record.label} came before {after}", f"{record.label} 이(가) {after} 보다 먼저 실행됨")
        out = s.discharged(full[-1], start)
        gone = out.value / whole.value
        spread = np.hypot(np.nan_to_num(out.uncertainty), gone * np.nan_to_num(whole.uncertainty)) / whole.value
        return Estimate(1.0 - gone, float(spread), "1", out.rows)
    raise MissingError("the recipe measures no capacity", "레시피가 용량을 측정하지 않음")


def nearest(s: Samples, name: str, soc: float | None) -> tuple[StepRecord, Estimate | None]:
    """The run of a step nearest to a state of charge, and that; the newest run where none is asked for."""
    if soc is None:
        return s.runs(name)[-1], None
    candidates = [(record, soc_before(s, record)) for record in s.runs(name)]
    record, actual = min(candidates, key=lambda pair: abs(pair[1].value - soc))
    if abs(actual.value - soc) > SOC_TOLERANCE:
        raise MissingError(
            f"no {name} near {soc:.0%} SOC; the nearest was at {actual.value:.1%}",
            f"SOC {soc:.0%} 부근의 {name} 이(가) 없음; 가장 가까운 것은 {actual.value:.1%}",
        )
    return record, actual


def of_soc(
    s: Samples, name: str, soc: float | None, record: StepRecord, value: float, measure: Callable[[StepRecord], float]
) -> float:
    """What not being at the state of charge that was asked for, and not knowing it exactly, makes of a value.

    By the steepest slope that the other runs of the step show: towards the nearest ones, and of a parabola through
    them; nothing where there is no other. The value is not corrected, so the whole of it is uncertainty.
    """
    if soc is None:
        return 0.0
    actual = soc_before(s, record)
    points = []
    for other in s.runs(name):
        try:
            points.append((soc_before(s, other).value - actual.value, measure(other) - value))
        except (UnmeasurableError, MissingError):
            continue
    points = [point for point in points if abs(point[0]) > _APART and math.isfinite(point[1])]
    points = sorted(points, key=lambda point: abs(point[0]))[:2]
    slopes = [abs(change / apart) for apart, change in points]
    if len(points) == 2 and abs(points[0][0] - points[1][0]) > _APART:
        (x, y), (u, v) = points
        slopes.append(abs((y * u / x - v * x / u) / (u - x)))  # at 0 of the parabola through 0 and both
    return max(slopes, default=0.0) * math.hypot(actual.value - soc, actual.uncertainty)
