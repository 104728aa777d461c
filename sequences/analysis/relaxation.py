"""The voltage at rest: what it is, how it still drifts, and where it is heading."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sequences.analysis.estimate import ROOT_12, Estimate, UnmeasurableError
from sequences.analysis.segments import last_at_rest
from sequences.analysis.series import Array, TimeSeries

_POINTS = 200
_FEWEST = 8
_TIME_CONSTANTS = 100


@dataclass(frozen=True, slots=True)
class Relaxation:
    """A rest: its last voltage (V), the drift there (V/h), the voltage it tends to (V), and what it relaxed by (V)."""

    voltage: Estimate
    drift: Estimate
    open_circuit: Estimate
    relaxed: Estimate


def relaxation(series: TimeSeries, first: int, last: int) -> Relaxation:
    """Evaluate a rest, given its first and last row.

    The drift is the slope of a line through the last tenth of the rest. The open-circuit voltage is the constant of an
    exponential through all but its first tenth; relaxation by diffusion is slower than an exponential in the end, so
    half the way from the last reading to that constant is its uncertainty.
    Raises UnmeasurableError for a rest of fewer than eight samples or of no duration.
    """
    last = last_at_rest(series, first, last)
    time, voltage = series.time[first : last + 1] - series.time[first], series.voltage[first : last + 1]
    rows, duration = ((first, last),), float(time[-1]) if len(time) else 0.0
    if len(time) < _FEWEST or duration <= 0:
        raise UnmeasurableError(f"a rest of {len(time)} samples is too short")
    reading = math.hypot(series.voltage_noise, series.voltage_resolution / ROOT_12)
    gain = series.instrument.voltage_gain
    end = float(voltage[-1])
    detail: dict[str, float | str] = {"rest_s": duration}

    tail = slice(min(int(np.searchsorted(time, 0.9 * duration)), len(time) - 3), None)
    slope, slope_uncertainty = _slope(time[tail], voltage[tail], reading)
    final, constant = _tends_to(time, voltage)
    return Relaxation(
        Estimate(end, math.hypot(reading, gain * end), "V", rows, detail),
        Estimate(3600 * slope, 3600 * slope_uncertainty, "V/h", rows, detail),
        Estimate(
            final,
            math.hypot((final - end) / 2, reading, gain * end),
            "V",
            rows,
            detail | {"time_constant_s": constant},
        ),
        Estimate(end - float(voltage[0]), math.sqrt(2) * reading, "V", rows, detail),
    )


def _slope(time: Array, voltage: Array, reading: float) -> tuple[float, float]:
    t = time - time.mean()
    spread = float((t**2).sum())
    if spread <= 0:
        return 0.0, math.inf
    slope = float((t * voltage).sum() / spread)
    scatter = float(np.std(voltage - voltage.mean() - slope * t, ddof=0)) if len(t) > 2 else 0.0
    return slope, max(scatter, reading) / math.sqrt(spread)


def _tends_to(time: Array, voltage: Array) -> tuple[float, float]:
    """The constant of an exponential through all but the first tenth of the rest, and its time constant in s."""
    duration = float(time[-1])
    rows = np.unique(np.searchsorted(time, np.linspace(duration / 10, duration, _POINTS)))
    t, v = time[rows], voltage[rows]
    constants = np.geomspace(duration / 20, 2 * duration, _TIME_CONSTANTS)
    decays = np.exp(-t / constants[:, None])  # a line v = constant + weight decay for every time constant
    centred = decays - decays.mean(axis=1, keepdims=True)
    power = np.maximum((centred**2).sum(axis=1), 1e-300)
    weights = centred @ (v - v.mean()) / power
    errors = ((v - v.mean() - weights[:, None] * centred) ** 2).sum(axis=1)
    best = int(np.argmin(errors))
    return float(v.mean() - weights[best] * decays[best].mean()), float(constants[best])
