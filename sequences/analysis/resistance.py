"""DC resistance at stated times after a current began to flow.

R(t) = (V(t) - V before) / (I(t) - I before), t counted from the first sample with current. Resistances at different
times are different quantities: the ohmic part, charge transfer and diffusion add up as time goes on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sequences.analysis.estimate import ROOT_12, Estimate, UnmeasurableError, ratio
from sequences.analysis.segments import Segments, last_at_rest
from sequences.analysis.series import Array, TimeSeries

TIMES = (0.0, 1.0, 10.0, 18.0, 30.0)  # s; 0 is the first sample with current
MIN_REST = 300.0  # s
_STEPS_SEEN = 10  # a voltage change of fewer resolution steps is not a measurement
_STEADY = 0.05  # of the current
# how far a sample may lie from the stated time: by this share, or by the time in which the current began, so that a
# pulse of 10 s stored once a second, from 1 to 10 s, has a resistance at 10 s
_SAME_TIME = 0.01
_BEGAN_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Pulse:
    """A current that began after a rest: the last row at rest, the first and last with the current; rest in s, A."""

    before: int
    first: int
    last: int
    rest: float
    current: float


def find_pulses(segments: Segments) -> list[Pulse]:
    """Every current that began after a rest, however short the rest; a discharge of hours is a pulse that goes on."""
    series, direction = segments.series, segments.direction
    starts = np.flatnonzero((direction[1:] != 0) & (direction[:-1] == 0)) + 1
    flowing = np.flatnonzero(direction)
    pulses = []
    for start in starts:
        earlier = flowing[np.searchsorted(flowing, start) - 1] if flowing[0] < start else -1
        rest_began = int(segments.last[earlier]) + 1 if earlier >= 0 else 0
        first = int(segments.first[start])
        before = last_at_rest(series, rest_began, first - 1)
        rest = float(series.time[before] - series.time[rest_began])
        last = int(segments.last[start])
        if last > first:  # one sample is no plateau: its current may still be rising
            middle = first + (last - first) // 2
            pulses.append(Pulse(before, first, last, rest, float(series.current[middle])))
    return pulses


def dc_resistance(series: TimeSeries, pulse: Pulse, at: float, min_rest: float = MIN_REST) -> Estimate:
    """The resistance in ohm `at` s after the current began; 0 means its first sample.

    Uncertainty: noise and resolution of four readings, the gains, the voltage still drifting from the rest before, and
    when between two samples the current began. Raises UnmeasurableError when the battery rested for less than
    `min_rest` s, when the pulse was shorter, not sampled near that time or not steady, and when the voltage changed by
    fewer than ten resolution steps.
    """
    if pulse.rest < min_rest:
        raise UnmeasurableError(f"rested for {pulse.rest:.0f} s only, {min_rest:.0f} s are asked for")
    time, voltage, current = series.time, series.voltage, series.current
    began = time[pulse.first]
    row = _row_at(time, pulse, at)
    step = float(current[row] - current[pulse.before])
    change = float(voltage[row] - voltage[pulse.before])
    plateau = current[pulse.first + 1 : row + 1] if row > pulse.first else current[row : row + 1]
    if np.abs(plateau - current[row]).max() > _STEADY * abs(step):
        raise UnmeasurableError("the current was not steady")
    if abs(change) < _STEPS_SEEN * series.voltage_resolution:
        raise UnmeasurableError(
            f"{1e3 * abs(change):.3g} mV is less than {_STEPS_SEEN} steps of {1e3 * series.voltage_resolution:.3g} mV"
        )
    ohm = change / step
    reading = math.sqrt(2) * math.hypot(series.voltage_noise, series.voltage_resolution / ROOT_12)
    drift = abs(_drift(series, pulse)) * max(at, float(began - time[pulse.before]))
    began_within = float(began - time[pulse.before])
    # the slope at that time tells what a later or earlier beginning would have changed
    slope = abs(float(voltage[row] - voltage[row - 1])) / max(float(time[row] - time[row - 1]), 1e-3)
    timing = slope * began_within / ROOT_12 if row > pulse.first else 0.0
    of_current = math.sqrt(2) * series.current_resolution / ROOT_12 / abs(step)
    uncertainty = math.hypot(
        math.hypot(reading, drift, timing) / abs(step),
        ohm * of_current,
        ohm * series.instrument.voltage_gain,
        ohm * series.instrument.current_gain,
    )
    detail: dict[str, float | str] = {
        "at_s": at,
        "began_within_s": began_within,
        "current_a": float(current[row]),
        "rest_s": pulse.rest,
        "resolution_ohm": series.voltage_resolution / abs(step),
    }
    if pulse.before < pulse.first - 1:
        detail["baseline"] = "the last sample at rest already showed the current; the one before it was taken"
    return Estimate(ohm, uncertainty, "ohm", ((pulse.before, row),), detail)


def _row_at(time: Array, pulse: Pulse, at: float) -> int:
    """The sample nearest to the stated time, which is as uncertain as the moment the current began."""
    if at == 0.0:
        return pulse.first
    wanted = float(time[pulse.first]) + at
    after = int(np.searchsorted(time[pulse.first : pulse.last + 1], wanted)) + pulse.first
    beside = (max(after - 1, pulse.first), min(after, pulse.last))
    nearest = min(beside, key=lambda row: abs(time[row] - wanted))
    began_within = float(time[pulse.first] - time[pulse.before])
    if abs(time[nearest] - wanted) > max(_SAME_TIME * at, min(began_within, _BEGAN_SHARE * at)) + 1e-6:
        lasted = float(time[pulse.last] - time[pulse.first])
        if lasted < at:
            raise UnmeasurableError(f"the current flowed for {lasted:.3g} s only")
        raise UnmeasurableError(f"there is no sample near {at:g} s")
    return nearest


def _drift(series: TimeSeries, pulse: Pulse) -> float:
    """Slope of the voltage in V/s over the last minute of the rest, or what there is of it."""
    began = float(series.time[pulse.before]) - min(60.0, pulse.rest)
    start = int(np.searchsorted(series.time, began))
    if pulse.before - start < 2:
        return 0.0
    t = series.time[start : pulse.before + 1]
    t = t - t.mean()
    spread = float((t**2).sum())
    return float((t * series.voltage[start : pulse.before + 1]).sum()) / spread if spread > 0 else 0.0


def resistance_increase(measured: Estimate, initial: Estimate) -> Estimate:
    """By how much a resistance grew over the initial one, as a fraction.

    Raises ValueError for different times, and for the first sample, whose time nobody stated.
    """
    at, then = measured.detail["at_s"], initial.detail["at_s"]
    if at != then or not at:
        raise ValueError(f"a resistance at {at} s cannot be compared with one at {then} s")
    grown = ratio(measured, initial)
    return Estimate(grown.value - 1.0, grown.uncertainty, "1", measured.rows, {"at_s": at})
