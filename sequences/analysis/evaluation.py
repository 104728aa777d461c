"""Everything a time series tells of its battery, by the functions of this package; what it does not tell, and why."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ParamSpec, TypeVar

import numpy as np

from sequences.analysis import capacity as moved
from sequences.analysis.capacity import CELLS_AND_MODULES, Convergence, Window
from sequences.analysis.cells import CellComparison, cell_spread, compare_cells
from sequences.analysis.degradation import MAX_RATE, degradation_modes, fit_electrodes, new_electrodes
from sequences.analysis.differential import Differential, differential_voltage, incremental_capacity
from sequences.analysis.estimate import ROOT_12, Estimate, UnmeasurableError, ratio
from sequences.analysis.halfcells import NEW_CELL_OF
from sequences.analysis.metals import metals
from sequences.analysis.relaxation import Relaxation, relaxation
from sequences.analysis.resistance import MIN_REST, TIMES, Pulse, dc_resistance, find_pulses
from sequences.analysis.segments import Segments, Sweep, find_sweeps, last_at_rest
from sequences.analysis.self_discharge import DAY, RestVoltage, SelfDischarge, from_voltages
from sequences.analysis.series import resolution

P = ParamSpec("P")
T = TypeVar("T")

MAX_ICA_RATE = 0.55  # 1/h: C/2; faster, polarisation smears the peaks
_STEADY_SHARE = 0.8  # of a sweep's charge that one uninterrupted current has to move
_LONGEST_STORY = 500  # pulses and rests that are evaluated, the first of each


@dataclass(frozen=True, slots=True)
class Battery:
    """What is known of a battery beforehand; None is unknown. Ah, Wh, V at the terminals."""

    rated_capacity: float | None = None
    rated_energy: float | None = None
    chemistry: str | None = None
    cells: int = 1
    window: Window | None = None
    convergence: Convergence = CELLS_AND_MODULES
    min_rest: float = MIN_REST


@dataclass(frozen=True)
class SweepResult:
    """A charge or discharge between two turning points; `steady` are the rows of its one uninterrupted current."""

    sweep: Sweep
    charge: Estimate
    energy: Estimate
    full: bool
    rate: float
    steady: tuple[int, int] | None
    incremental: Differential | None = None
    differential: Differential | None = None


@dataclass(frozen=True)
class PulseResult:
    """Resistances of one pulse by their time in s; `refused` says why a time has none. `soc` from full, if known."""

    pulse: Pulse
    soc: float | None
    ohms: Mapping[float, Estimate]
    refused: Mapping[float, str]


@dataclass(frozen=True)
class RestResult:
    first: int
    last: int
    relaxation: Relaxation
    spread: Estimate | None
    self_discharge: SelfDischarge | None


@dataclass
class Evaluation:
    """Results by the passport's and the recipes' names; `withheld` says why one that was expected is missing."""

    sweeps: list[SweepResult] = field(default_factory=list)
    pulses: list[PulseResult] = field(default_factory=list)
    rests: list[RestResult] = field(default_factory=list)
    cells: CellComparison | None = None
    results: dict[str, Estimate] = field(default_factory=dict)
    metals: Mapping[str, Estimate] = field(default_factory=dict)
    withheld: dict[str, str] = field(default_factory=dict)


def evaluate(segments: Segments, battery: Battery) -> Evaluation:
    """Evaluate a time series. Never raises UnmeasurableError: what cannot be measured is withheld with its reason."""
    evaluation = Evaluation()
    evaluation.sweeps = _sweeps(segments, battery)
    _capacities(segments, battery, evaluation)
    evaluation.pulses = _pulses(segments, battery, evaluation)
    evaluation.rests = _rests(segments, battery, evaluation)
    _cells(segments, evaluation)
    _degradation(segments, battery, evaluation)
    _temperature(segments, evaluation)
    if battery.rated_energy is not None and battery.chemistry is not None:
        energy, chemistry = battery.rated_energy, battery.chemistry
        _attempt(evaluation, "metals", lambda: setattr(evaluation, "metals", metals(energy, chemistry)))
    return evaluation


def _attempt(evaluation: Evaluation, name: str, work: Callable[[], None]) -> None:
    try:
        work()
    except UnmeasurableError as error:
        evaluation.withheld[name] = str(error)


def _or_none(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T | None:
    """What is worked out, where nobody asks why it is not."""
    try:
        return work(*arguments, **named)
    except UnmeasurableError:
        return None


# ------------------------------------------------------------------------------------------- capacity and energy


def _sweeps(segments: Segments, battery: Battery) -> list[SweepResult]:
    sweeps = find_sweeps(segments)
    window = battery.window or (moved.voltage_window(segments) if sweeps else Window(0.0, 0.0))
    found = []
    for sweep in sweeps:
        charge = moved.charge_moved(segments, sweep.first, sweep.last)
        energy = moved.energy_moved(segments, sweep.first, sweep.last)
        rated = battery.rated_capacity or charge.value
        steady = _steady(segments, sweep)
        rate = math.nan
        incremental = differential = None
        if steady is not None:
            middle = (steady[0] + steady[1]) // 2
            rate = abs(float(segments.series.current[middle])) / rated
            if rate <= MAX_ICA_RATE:
                incremental = _or_none(incremental_capacity, segments.series, *steady, battery.cells)
                differential = _or_none(differential_voltage, segments.series, *steady, battery.cells)
        full = moved.is_full(segments, sweep, window)
        found.append(SweepResult(sweep, charge, energy, full, rate, steady, incremental, differential))
    return found


def _full_discharges(evaluation: Evaluation) -> list[SweepResult]:
    return [result for result in evaluation.sweeps if result.full and result.sweep.direction < 0]


def _steady(segments: Segments, sweep: Sweep) -> tuple[int, int] | None:
    """Rows of the one segment that moved most of a sweep's charge."""
    inside = np.flatnonzero(
        (segments.first > sweep.first) & (segments.last < sweep.last + 1) & (segments.direction == sweep.direction)
    )
    if not inside.size:
        return None
    net = segments.series.net_ah
    charges = np.abs(net[segments.last[inside]] - net[segments.first[inside]])
    best = inside[int(np.argmax(charges))]
    if charges.max() < _STEADY_SHARE * abs(net[sweep.last] - net[sweep.first]):
        return None
    return int(segments.first[best]), int(segments.last[best])


def _capacities(segments: Segments, battery: Battery, evaluation: Evaluation) -> None:
    sweeps, results = evaluation.sweeps, evaluation.results
    discharges = _full_discharges(evaluation)
    if not discharges:
        evaluation.withheld["remainingCapacity"] = (
            "no discharge was seen to run from the upper to the lower voltage limit; "
            "the charge before it has to be in the data, or the limits stated"
        )
        return
    charges = [sweep.charge for sweep in discharges]
    # without a rated capacity the rule's 3 % are taken of the newest discharge
    capacity = moved.settled_capacity(charges, battery.rated_capacity or charges[-1].value, battery.convergence)
    used = [sweep.energy for sweep in discharges if sweep.charge.rows[0] in capacity.rows]
    results["remainingCapacity"] = capacity
    results["remainingEnergy"] = Estimate(
        float(np.mean([energy.value for energy in used])),
        max(capacity.relative * used[-1].value, *(energy.uncertainty for energy in used)),
        "Wh",
        capacity.rows,
        {"discharges": len(used)},
    )
    if battery.rated_capacity is not None:
        rated = Estimate(battery.rated_capacity, 0.0, "Ah")
        health = ratio(capacity, rated, rated_ah=rated.value)
        results["stateOfHealth"] = health
        results["capacityFade"] = Estimate(1 - health.value, health.uncertainty, "1", health.rows, health.detail)
    if battery.rated_energy is not None:
        rated = Estimate(battery.rated_energy, 0.0, "Wh")
        results["stateOfCertifiedEnergy"] = ratio(results["remainingEnergy"], rated, rated_wh=rated.value)

    pairs = [(a, b) for a, b in pairwise(sweeps) if a.full and b.full and a.sweep.direction > 0]
    if not pairs:
        evaluation.withheld["coulombicEfficiency"] = "no full charge stands before a full discharge"
        return
    charge, discharge = pairs[-1]
    results["coulombicEfficiency"] = moved.coulombic_efficiency(segments, charge.sweep, discharge.sweep)
    results["energyEfficiency"] = moved.energy_efficiency(segments, charge.sweep, discharge.sweep)


# ------------------------------------------------------------------------------------------- resistance and rests


def _pulses(segments: Segments, battery: Battery, evaluation: Evaluation) -> list[PulseResult]:
    series = segments.series
    found = []
    pulses = find_pulses(segments)
    if len(pulses) > _LONGEST_STORY:
        evaluation.withheld["internalResistance"] = f"only the first {_LONGEST_STORY} of {len(pulses)} are evaluated"
    for pulse in pulses[:_LONGEST_STORY]:
        ohms, refused = {}, {}
        for at in TIMES:
            try:
                ohms[at] = dc_resistance(series, pulse, at, battery.min_rest)
            except UnmeasurableError as error:
                refused[at] = str(error)
        found.append(PulseResult(pulse, _soc(segments, evaluation, pulse.before), ohms, refused))
    if not found:
        evaluation.withheld["internalResistance"] = "no current began after a rest"
    return found


def _soc(segments: Segments, evaluation: Evaluation, row: int) -> float | None:
    """State of charge at a row, counted from the nearest full end of a full discharge; None without one."""
    discharges = _full_discharges(evaluation)
    if not discharges:
        return None
    nearest = min(discharges, key=lambda result: abs(result.sweep.first - row))
    net = segments.series.net_ah
    return float(1 + (net[row] - net[nearest.sweep.first]) / nearest.charge.value)


def _rests(segments: Segments, battery: Battery, evaluation: Evaluation) -> list[RestResult]:
    series = segments.series
    resting = segments.direction == 0
    # neighbouring rests that only a step of the tester divides are one
    begins = np.flatnonzero(resting & ~np.concatenate(([False], resting[:-1])))
    ends = np.flatnonzero(resting & ~np.concatenate((resting[1:], [False])))
    found: list[RestResult] = []
    for begin, end in zip(begins, ends, strict=True):
        first, last = int(segments.first[begin]), int(segments.last[end])
        if series.time[last] - series.time[first] < battery.min_rest:
            continue
        if len(found) == _LONGEST_STORY:
            evaluation.withheld["relaxation"] = f"only the first {_LONGEST_STORY} rests are evaluated"
            break
        relaxed = _or_none(relaxation, series, first, last)
        if relaxed is None:
            continue
        spread = _or_none(cell_spread, series, last_at_rest(series, first, last))
        found.append(RestResult(first, last, relaxed, spread, _self_discharge(segments, evaluation, first, last)))
    return found


def _self_discharge(segments: Segments, evaluation: Evaluation, first: int, last: int) -> SelfDischarge | None:
    """Over the second half of a rest of a day and more: the first half is relaxation."""
    series = segments.series
    if series.time[last] - series.time[first] < DAY:
        return None
    middle = int(np.searchsorted(series.time, (series.time[first] + series.time[last]) / 2))
    last = last_at_rest(series, first, last)
    reading = math.hypot(series.voltage_noise, series.voltage_resolution / ROOT_12)

    def at(row: int) -> RestVoltage:
        degc = math.nan if series.temperature is None else float(series.temperature[row])
        voltage = Estimate(float(series.voltage[row]), reading, "V", ((row, row),))
        return RestVoltage(voltage, float(series.time[row]), degc if math.isfinite(degc) else None)

    slope = _slope_at(segments, evaluation, float(series.voltage[last]))
    # a plateau has no slope to use
    return _or_none(from_voltages, at(middle), at(last), slope) or _or_none(from_voltages, at(middle), at(last))


def _slope_at(segments: Segments, evaluation: Evaluation, voltage: float) -> Estimate | None:
    """dOCV/dSOC in V near a voltage, from the slowest steady full discharge; 20 % uncertain for its polarisation."""
    slow = [result for result in _full_discharges(evaluation) if result.steady and result.rate <= 2 * MAX_RATE]
    if not slow:
        return None
    best = min(slow, key=lambda result: result.rate)
    assert best.steady is not None
    rows = slice(best.steady[0], best.steady[1] + 1)
    volts, charge = segments.series.voltage[rows], segments.series.net_ah[rows] / best.charge.value
    near = np.flatnonzero(np.abs(charge - charge[int(np.argmin(np.abs(volts - voltage)))]) < 0.02)
    if len(near) < 3 or np.ptp(charge[near]) <= 0:
        return None
    slope = float(np.polyfit(charge[near] - charge[near[0]], volts[near], 1)[0])
    return Estimate(slope, 0.2 * abs(slope), "V", (best.steady,))


# ------------------------------------------------------------------------------------- cells, modes, temperature


def _cells(segments: Segments, evaluation: Evaluation) -> None:
    discharges = [result.sweep for result in _full_discharges(evaluation)]
    if segments.series.cells is None:
        return
    if not discharges or not evaluation.pulses:
        evaluation.withheld["cells"] = "comparing cells needs a full discharge and a current that began after a rest"
        return
    pulse = max((result.pulse for result in evaluation.pulses), key=lambda pulse: abs(pulse.current))

    def work() -> None:
        evaluation.cells = compare_cells(segments, discharges[-1], pulse)

    _attempt(evaluation, "cells", work)


def _degradation(segments: Segments, battery: Battery, evaluation: Evaluation) -> None:
    slow = [result for result in _full_discharges(evaluation) if result.steady and result.rate <= MAX_RATE]
    if not slow:
        evaluation.withheld["degradation"] = "no uninterrupted full discharge was as slow as C/10"
        return
    if battery.chemistry not in NEW_CELL_OF or battery.rated_capacity is None:
        known = ", ".join(NEW_CELL_OF)
        evaluation.withheld["degradation"] = f"needs the rated capacity and the chemistry; half-cell curves: {known}"
        return
    chosen = min(slow, key=lambda result: result.rate)
    new = NEW_CELL_OF[battery.chemistry]
    rated = battery.rated_capacity

    def work() -> None:
        assert chosen.steady is not None
        first, last = chosen.steady
        series = segments.series
        charge = np.abs(series.net_ah[first : last + 1] - series.net_ah[first])
        volts = series.voltage[first : last + 1] / battery.cells
        polarisation = _polarisation(evaluation, chosen, battery.cells)
        now = fit_electrodes(charge, volts, new, polarisation, (chosen.steady,))
        modes = degradation_modes(now, new_electrodes(new, rated))
        for name, mode in modes.items():
            detail = {**mode.detail, "new_cell": f"{new.name} scaled to the rated capacity"}
            evaluation.results[name] = Estimate(mode.value, mode.uncertainty, "1", mode.rows, detail)

    _attempt(evaluation, "degradation", work)


def _polarisation(evaluation: Evaluation, chosen: SweepResult, cells: int) -> Estimate | None:
    """What the current of a slow discharge takes from a cell's voltage, from its own longest resistance; half of it
    uncertain, since resistance changes with the state of charge."""
    for result in evaluation.pulses:
        if chosen.steady is not None and result.pulse.first == chosen.steady[0] and result.ohms:
            ohm = result.ohms[max(result.ohms)]
            drop = ohm.value * abs(result.pulse.current) / cells
            return Estimate(drop, drop / 2, "V", ohm.rows)
    return None


def _temperature(segments: Segments, evaluation: Evaluation) -> None:
    degc = segments.series.temperature
    if degc is not None and np.isfinite(degc).any():
        row, reading = int(np.nanargmax(degc)), resolution(degc) / ROOT_12
        evaluation.results["temperatureMax"] = Estimate(float(degc[row]), reading, "degC", ((row, row),))
