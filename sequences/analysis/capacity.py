"""Charge and energy that were moved, the standard's rule for when a capacity has settled, and efficiencies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sequences.analysis.estimate import ROOT_12, Estimate, UnmeasurableError, ratio
from sequences.analysis.segments import Segments, Sweep
from sequences.analysis.series import Instrument

LIMIT_TOLERANCE = 0.03  # of the voltage window: how near to its limits a full sweep begins and ends


@dataclass(frozen=True, slots=True)
class Convergence:
    """When repeated discharges agree. GB/T 34015-2017 and GB 38031-2025 7.1.2: the last three within 3 % of the rated
    capacity, five at most, the mean of those; packs (7.2.2) the last two."""

    last: int = 3
    within: float = 0.03
    at_most: int = 5


CELLS_AND_MODULES = Convergence()
PACKS = Convergence(last=2)


def charge_moved(segments: Segments, first: int, last: int) -> Estimate:
    """Net charge in Ah between two samples, counted in the direction that prevails.

    Uncertainty: between two samples the current may have changed at any moment, |dI| dt / sqrt 12 for each interval
    (all of |I| in a gap); the reading's resolution over the whole time; the zero offset seen in rests; the gain.
    """
    return _moved(segments, first, last, "Ah", segments.series.instrument)


def energy_moved(segments: Segments, first: int, last: int) -> Estimate:
    """Net energy in Wh between two samples, counted in the direction that prevails."""
    return _moved(segments, first, last, "Wh", segments.series.instrument)


def _moved(segments: Segments, first: int, last: int, unit: str, instrument: Instrument) -> Estimate:
    series = segments.series
    if not 0 <= first < last < len(series):
        raise UnmeasurableError("there are no samples between the two ends")
    rising, falling = series.throughput if unit == "Ah" else series.energy
    up, down = float(rising[last] - rising[first]), float(falling[last] - falling[first])
    value = abs(up - down)
    hours = float(series.time[last] - series.time[first]) / 3600

    inside = slice(first, last)
    current, dt = series.current[first : last + 1], series.dt[inside]
    change = np.abs(np.diff(current))
    hidden = segments.gaps[inside]
    change[hidden] = np.maximum(change[hidden], np.abs(current[1:][hidden]))
    switching = math.sqrt(float(((change * dt) ** 2).sum())) / ROOT_12 / 3600
    flowing = _flowing_hours(segments, first, last)
    reading = series.current_resolution / ROOT_12 * flowing
    zero = abs(segments.rest_offset) * hours
    of_charge = math.hypot(switching, reading, zero)
    gains = (instrument.current_gain,) if unit == "Ah" else (instrument.current_gain, instrument.voltage_gain)
    other = 0.0
    if unit == "Wh":
        charged, discharged = series.throughput
        moved = float(charged[last] - charged[first] + discharged[last] - discharged[first])
        of_charge *= float(np.mean(np.abs(series.voltage[first : last + 1])))
        other = series.voltage_resolution / ROOT_12 * moved
    uncertainty = math.hypot(of_charge, other, *(gain * value for gain in gains))
    detail: dict[str, float | str] = {
        "start_v": float(series.voltage[first]),
        "end_v": float(_last_flowing_voltage(segments, first, last)),
        "hours": hours,
        "mean_a": float((np.abs(current[1:] + current[:-1]) / 2 * dt).sum()) / 3600 / flowing if flowing else 0.0,
        "counted_back": min(up, down),
    }
    if hidden.any():
        detail["gap_s"] = float(dt[hidden].sum())
    return Estimate(value, uncertainty, unit, ((first, last),), detail)


def _flowing_hours(segments: Segments, first: int, last: int) -> float:
    dt, current = segments.series.dt[first:last], segments.series.current
    flowing = np.maximum(np.abs(current[first:last]), np.abs(current[first + 1 : last + 1])) > segments.rest_current
    return float(dt[flowing].sum()) / 3600


def _last_flowing_voltage(segments: Segments, first: int, last: int) -> float:
    current = segments.series.current[first : last + 1]
    flowing = np.flatnonzero(np.abs(current) > segments.rest_current)
    return float(segments.series.voltage[first + (flowing[-1] if flowing.size else 0)])


@dataclass(frozen=True, slots=True)
class Window:
    """The voltage limits in V that full sweeps run between; `stated` when somebody said so, not the data themselves."""

    low: float
    high: float
    stated: bool = False


def voltage_window(segments: Segments) -> Window:
    """The lowest and highest voltage at which current flowed. Raises UnmeasurableError when none did."""
    flowing = np.abs(segments.series.current) > segments.rest_current
    if not flowing.any():
        raise UnmeasurableError("no current flowed")
    voltage = segments.series.voltage[flowing]
    return Window(float(voltage.min()), float(voltage.max()))


def is_full(segments: Segments, sweep: Sweep, window: Window) -> bool:
    """Whether a sweep ran from one voltage limit to the other, by the last voltages under current before and in it.

    Where no current flowed before, only stated limits can tell, and a rest has drawn away from them: twice as far.
    """
    near = LIMIT_TOLERANCE * (window.high - window.low)
    seen = bool((np.abs(segments.series.current[: sweep.first]) > segments.rest_current).any())
    if not seen and not window.stated:
        return False
    began = _last_flowing_voltage(segments, 0, sweep.first) if seen else float(segments.series.voltage[sweep.first])
    ended = _last_flowing_voltage(segments, sweep.first, sweep.last)
    near_began = near if seen else 2 * near
    if sweep.direction < 0:
        return began >= window.high - near_began and ended <= window.low + near
    return began <= window.low + near_began and ended >= window.high - near


def settled_capacity(
    discharges: Sequence[Estimate], rated_ah: float, rule: Convergence = CELLS_AND_MODULES
) -> Estimate:
    """The capacity in Ah by the standard's rule from consecutive full discharges, oldest first.

    The mean of the first `rule.last` consecutive ones that agree; of the newest when none do, or when there are too
    few. `detail` says which (settled: yes, no or too few), how many were used, and how far they lie apart. The
    uncertainty is the instrument's, which all discharges share, and the standard deviation of the mean.
    Raises UnmeasurableError without a discharge.
    """
    if not discharges:
        raise UnmeasurableError("there is no full discharge")
    if not rated_ah > 0:
        raise ValueError("the rated capacity must be above zero")
    considered = list(discharges)[: rule.at_most]
    used = considered[-rule.last :]
    settled = "no" if len(considered) >= rule.last else "too few"
    for end in range(rule.last, len(considered) + 1):
        candidates = considered[end - rule.last : end]
        if _spread(candidates) <= rule.within * rated_ah:
            used, settled = candidates, "yes"
            break
    values = [estimate.value for estimate in used]
    scatter = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    instrument = max(estimate.uncertainty for estimate in used)
    return Estimate(
        float(np.mean(values)),
        math.hypot(scatter, instrument),
        "Ah",
        tuple(row for estimate in used for row in estimate.rows),
        {
            "settled": settled,
            "discharges": len(used),
            "needed": rule.last,
            "apart_percent_of_rated": 100 * _spread(used) / rated_ah,
        },
    )


def _spread(estimates: Sequence[Estimate]) -> float:
    values = [estimate.value for estimate in estimates]
    return max(values) - min(values)


def coulombic_efficiency(segments: Segments, charge: Sweep, discharge: Sweep) -> Estimate:
    """Ah out over Ah in, of a charge and the discharge after it between the same limits; the gain cancels."""
    return _efficiency(segments, charge, discharge, "Ah")


def energy_efficiency(segments: Segments, charge: Sweep, discharge: Sweep) -> Estimate:
    """Wh out over Wh in, of a charge and the discharge after it between the same limits; the gains cancel."""
    return _efficiency(segments, charge, discharge, "Wh")


def _efficiency(segments: Segments, charge: Sweep, discharge: Sweep, unit: str) -> Estimate:
    if (charge.direction, discharge.direction) != (1, -1):
        raise UnmeasurableError("an efficiency needs a charge and the discharge after it")
    out, in_ = (_moved(segments, sweep.first, sweep.last, unit, Instrument()) for sweep in (discharge, charge))
    return ratio(out, in_)
