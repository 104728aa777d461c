"""Ends that can never come, or come at once; and conditions that are always the same."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from sequences.checks.ranges import ANY, POSITIVE, ZERO, Known, Range, alternatives, can_be
from sequences.checks.subject import Place, Subject, ends, uses
from sequences.condition import CONSTANTS, SIGNALS, End
from sequences.dut import Dut
from sequences.expression import coherent
from sequences.findings import Finding, finding
from sequences.flow import CapacityTest
from sequences.step import Cc, CcCv, Check, Cp, Cr, Cv, Rest, WaitUntil

MOST_DEPTH = 1.2  # of the capacity as best known: more than any battery gives
LEAST_CAPACITY = 0.2  # of the rated one: less than any battery has that is worth a test
STEADY = 0.9  # of the set current at least flows at the start of a constant current
HELD_WITHIN = 0.05  # V that the first cell may be off where a voltage is held
_SOON = 1e-9  # share of a step's longest time: an end at the very end comes too late

AT_ONCE = (
    "an end must lie beyond where the step starts",
    "종료 조건은 스텝이 시작되는 상태 너머에 있어야 합니다",
)
NEVER = (
    "an end must lie between where the step starts and its limits: max_time, set points, safety",
    "종료 조건은 시작 상태와 한계(max_time, 설정값, 안전 한계) 사이에 있어야 합니다",
)


def check_ends(subject: Subject) -> Iterator[Finding]:
    for place in subject.places:
        step = place.step
        for index, end in enumerate(ends(step)):
            yield from _end(
                end, place, subject, place.at("ends", index), subject.is_literal(place.at("ends", index, "when"))
            )
        if isinstance(step, WaitUntil):
            path = place.at("condition")
            yield from _end(End(when=step.condition), place, subject, path, subject.is_literal(path))
        elif isinstance(step, CapacityTest) and subject.beyond(step.cutoff, step.charge_current):
            text = (
                f"{place.name}: the cutoff {step.cutoff.text} is met at the set current",
                f"{place.name}: 종지 전류 {step.cutoff.text} 은(는) 설정 전류에서 바로 충족됩니다",
            )
            yield finding("E-END-AT-ONCE", place.at("cutoff"), text, ("lower it", "낮추십시오"))


def _end(end: End, place: Place, subject: Subject, path: tuple[str | int, ...], literal: bool) -> Iterator[Finding]:
    longest = _longest(place)
    # when the condition may begin to be true: what comes at the very end comes too late
    if end.at is not None:
        # at its very end it is still judged, but not at that of the run
        times, in_time = Range(end.at, end.at), end.at <= longest and end.at < place.levels.trips["total_time"]
    else:
        first, last = end.after or 0.0, longest if end.before is None else min(end.before, longest)
        times, in_time = Range(first, last * (1.0 - _SOON) - end.hold), first + end.hold < last
    during = replace(_while_running(place, subject, times), literal=literal)
    if not in_time or not all(can_be(part, during).true for part in alternatives(end.when.root)):
        yield _fault("E-END-UNREACHABLE", end, place, path, "can never come", "은(는) 절대 충족될 수 없습니다")
        return
    start = _at_start(during, place, Range(0.0, end.hold)) if times.low == 0.0 else during
    if not can_be(end.when.root, start).false:
        yield _fault("E-END-AT-ONCE", end, place, path, "is met at once", "은(는) 시작하자마자 충족됩니다")


def _fault(code: str, end: End, place: Place, path: tuple[str | int, ...], en: str, ko: str) -> Finding:
    text = f"{place.name}: {end.when.text!r:.80} {en}", f"{place.name}: {end.when.text!r:.80} {ko}"
    return finding(code, path, text, AT_ONCE if code == "E-END-AT-ONCE" else NEVER)


def _longest(place: Place) -> float:
    step = place.step
    longest = step.duration if isinstance(step, Rest) else step.max_time
    return float(min(longest, place.levels.trips["total_time"]))


# ------------------------------------------------------------------------------------------- what signals can be


def _while_running(place: Place, subject: Subject, step_time: Range) -> Known:
    """What is known of the signals while a step's ends are judged; its trip levels hold them, too."""
    step, trips, dut = place.step, place.levels.trips, subject.dut
    cells = Range(trips["cell_voltage_min"], trips["cell_voltage_max"])
    temperatures = Range(trips["temperature_min"], trips["temperature_max"])
    ranges = _constants(subject) | {
        "voltage": POSITIVE,
        "cell_min": cells,
        "cell_max": cells,
        "cell_spread": Range(0.0, trips["cell_spread"]),
        "temperature_min": temperatures,
        "temperature_max": temperatures,
        "temperature_rate": Range(-math.inf, trips["temperature_rise"]),
        "insulation": Range(trips["insulation"], math.inf),
        "total_time": Range(0.0, trips["total_time"]),
        "step_time": step_time,
        "soc": Range(1.0 - MOST_DEPTH, MOST_DEPTH),
        "depth": Range(0.0, MOST_DEPTH),
        "current": POSITIVE, "power": POSITIVE, "charge": POSITIVE, "energy": POSITIVE,
        "battery_voltage": POSITIVE, "bms_faults": POSITIVE,
    }  # fmt: skip
    if dut is not None:
        ranges["voltage"] = Range(trips["voltage_min"] * dut.series_cells, trips["voltage_max"] * dut.series_cells)
    rated, relative = (dut.rated_capacity if dut is not None else None), False
    if place.beside:
        return Known(ranges, rated)
    if not step.drives:
        return Known(ranges | dict.fromkeys(("current", "power", "charge", "energy", "depth"), ZERO), rated)
    ranges |= dict.fromkeys(("cell_min", "cell_max"), _at_bound(step, cells))
    most = _most_current(step, ranges["voltage"], dut)
    if most is None and not isinstance(step, Cp):  # a C-rate of an unknown battery
        ranges["current"] = Range(0.0, step.current.value)
        rated, relative = 1.0, True
    elif most is not None:
        charge = min(most * _longest(place), MOST_DEPTH * rated * 3600.0 if rated is not None else math.inf)
        power = most * ranges["voltage"].high
        ranges |= {"current": Range(0.0, most), "power": Range(0.0, power), "charge": Range(0.0, charge)}
        ranges["energy"] = Range(0.0, charge * ranges["voltage"].high)
    return Known(ranges, rated, relative)


def _constants(subject: Subject) -> dict[str, Range]:
    if subject.dut is None:
        return dict.fromkeys(CONSTANTS, POSITIVE)
    values = {name: getattr(subject.dut, name) * coherent(dimension) for name, (dimension, _) in CONSTANTS.items()}
    return {name: Range(value, value) for name, value in values.items()}


def _at_bound(step: Cc | Cv | CcCv | Cp | Cr, cells: Range) -> Range:
    """Cell voltages do not pass the step's own bound."""
    if isinstance(step, Cr) or step.direction == "discharge":
        return Range(max(cells.low, step.cell_voltage), cells.high)
    return Range(cells.low, min(cells.high, step.cell_voltage))


def _most_current(step: Cc | Cv | CcCv | Cp | Cr, voltage: Range, dut: Dut | None) -> float | None:
    """In A; None where it depends on a battery that is not known."""
    if isinstance(step, Cp):
        return step.power.watts(dut.rated_energy) / voltage.low if dut is not None and voltage.low > 0.0 else None
    if step.current.per_rated_capacity:
        return None if dut is None else step.current.amperes(dut.rated_capacity)
    return step.current.value


def _at_start(during: Known, place: Place, step_time: Range) -> Known:
    """What is known of the signals at the start of a step, until an end has held for its time."""
    # the time of a run only rises: what is met at zero is met at once, or never
    ranges = {**during.ranges, "step_time": step_time, "total_time": ZERO}
    current, voltage = during.ranges["current"], during.ranges["voltage"]
    step = place.step
    if isinstance(step, Cc | CcCv):
        ranges["current"] = Range(STEADY * current.high, current.high)
    if isinstance(step, CcCv | Cv):  # judged from where the first cell is held
        low, high = step.cell_voltage - HELD_WITHIN, step.cell_voltage + HELD_WITHIN
        extreme = "cell_max" if step.direction == "charge" else "cell_min"
        ranges[extreme] = Range(max(ranges[extreme].low, low), min(ranges[extreme].high, high))
    if step_time.high == 0.0:
        return replace(during, ranges=ranges | dict.fromkeys(("charge", "energy", "depth"), ZERO))
    moved = current.high * step_time.high
    if during.rated is not None:
        ranges["depth"] = _at_most(ranges["depth"], moved / 3600.0 / during.rated / LEAST_CAPACITY)
    if not during.relative and moved:
        ranges["charge"] = _at_most(ranges["charge"], moved)
        ranges["energy"] = _at_most(ranges["energy"], moved * voltage.high)
    return replace(during, ranges=ranges)


def _at_most(of: Range, high: float) -> Range:
    return Range(of.low, min(of.high, high))


# ---------------------------------------------------------------------------------------------------- conditions


def check_conditions(subject: Subject) -> Iterator[Finding]:
    """Conditions between steps that come out the same whatever the battery does."""
    signals = {name: ANY if "rate" in name or "temperature" in name else POSITIVE for name in SIGNALS}
    signals["soc"] = Range(1.0 - MOST_DEPTH, MOST_DEPTH)
    # what a battery decides is no constant: the recipe is there for others, too
    known = Known(signals | dict.fromkeys(CONSTANTS, POSITIVE), rated=None)
    for place in subject.places:
        for use in uses(place.step):
            if use.running or not use.truth:
                continue
            path = place.at(*use.path)
            truth = can_be(use.expression.root, replace(known, literal=subject.is_literal(path)))
            useless = isinstance(place.step, Check) and truth.true and use.expression.names
            if (truth.true and truth.false) or useless:  # a check that other limits make sure of does no harm
                continue
            always = ("always", "항상 참") if truth.true else ("never", "절대 참이 아님")
            text = (
                f"{place.name}: {use.expression.text!r:.80} is {always[0]} true",
                f"{place.name}: {use.expression.text!r:.80}: {always[1]}",
            )
            hint = (
                "compare something that can be either; what always runs needs no `if`, a number of rounds is a repeat",
                "둘 다 될 수 있는 값을 비교하십시오. 항상 실행한다면 if 가 필요 없고, 정해진 반복은 repeat 입니다",
            )
            yield finding("E-CONDITION-CONSTANT", path, text, hint)
