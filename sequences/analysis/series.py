"""Time, voltage and current of one battery as arrays, and what they show of the instruments that took them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

_FLOAT_NOISE = 1e-9  # what scaling leaves between readings that were the same
_FEWEST_LEVELS = 12  # below that, set points look like a resolution
_RESOLUTION_SAMPLES = 200_000  # sorting more tells nothing new


@dataclass(frozen=True, slots=True)
class Instrument:
    """Relative standard uncertainty (k = 1) of the gains, from the calibration; 0 where nobody told.

    A data sheet's limit of +-a % is taken as rectangular: a / sqrt 3.
    """

    voltage_gain: float = 0.0
    current_gain: float = 0.0


@dataclass(frozen=True)
class TimeSeries:
    """n samples: `time` in s, never falling, `voltage` in V, `current` in A (positive charges), all finite.

    `step` changes where the tester began a new step; `cells` is (n, series cells) in V and `temperature` in degC, with
    NaN where a reading was not good; `counters` are what the tester counted itself, by the names charged_ah,
    discharged_ah, net_ah, charged_wh, discharged_wh. Raises ValueError for arrays that do not fit.
    """

    time: Array
    voltage: Array
    current: Array
    step: Array | None = None
    cells: Array | None = None
    temperature: Array | None = None
    counters: Mapping[str, Array] = field(default_factory=dict)
    instrument: Instrument = Instrument()

    def __post_init__(self) -> None:
        n = len(self.time)
        others = (self.voltage, self.current, self.step, self.cells, self.temperature, *self.counters.values())
        if any(array is not None and len(array) != n for array in others):
            raise ValueError("the columns of a time series differ in length")
        if not all(np.isfinite(array).all() for array in (self.time, self.voltage, self.current)):
            raise ValueError("time, voltage and current must be finite")
        if n and (self.dt < 0).any():
            raise ValueError("the time of a time series must not fall")

    def __len__(self) -> int:
        return len(self.time)

    @cached_property
    def dt(self) -> Array:
        """Seconds between neighbours (n - 1,)."""
        return np.diff(self.time)

    @cached_property
    def throughput(self) -> tuple[Array, Array]:
        """Ah charged and discharged since the first sample, each (n,), by the rule of `sequences.sample.integrate`."""
        return cumulate(self.dt, self.current)

    @cached_property
    def energy(self) -> tuple[Array, Array]:
        """Wh charged and discharged since the first sample, each (n,)."""
        return cumulate(self.dt, self.current * self.voltage)

    @cached_property
    def net_ah(self) -> Array:
        charged, discharged = self.throughput
        return charged - discharged

    @cached_property
    def voltage_resolution(self) -> float:
        """Smallest step between voltage readings in V; 0 when the readings do not tell."""
        return resolution(self.voltage)

    @cached_property
    def current_resolution(self) -> float:
        """Smallest step between current readings in A; 0 when the readings do not tell."""
        return resolution(self.current)

    @cached_property
    def voltage_noise(self) -> float:
        """Standard deviation of a voltage reading in V, from second differences: slow changes cancel."""
        if len(self) < 3:
            return 0.0
        return float(np.median(np.abs(np.diff(self.voltage, 2)))) / 0.6745 / math.sqrt(6.0)

    @cached_property
    def period(self) -> float:
        """Median time between samples in s; 0 without two of them."""
        return float(np.median(self.dt)) if len(self) > 1 else 0.0


def cumulate(dt: Array, rate: Array) -> tuple[Array, Array]:
    """Integrals (n,) of the positive and the negative part of a line through `rate` (n,), per hour, both rising.

    Trapezoidal; where the line crosses zero each part is counted on its own side: with a and b of different sign the
    positive part of the interval is max(a, b)^2 / (2 |a - b|).
    """
    a, b = rate[:-1], rate[1:]
    mean = (a + b) / 2
    positive = np.maximum(mean, 0.0)
    crossing = np.flatnonzero((a < 0) != (b < 0))
    if crossing.size:
        from_, to = a[crossing], b[crossing]
        positive[crossing] = np.maximum(from_, to) ** 2 / (2 * np.abs(from_ - to))
    hours = dt / 3600
    rising = np.zeros((2, len(rate)))
    np.cumsum(positive * hours, out=rising[0, 1:])
    np.cumsum((positive - mean) * hours, out=rising[1, 1:])
    return rising[0], rising[1]


def resolution(readings: Array) -> float:
    """The step of the grid that readings lie on, in their unit; 0 when there are too few different ones to tell.

    The 5th percentile of the distances between different readings: on a grid nearly all neighbours are one step apart,
    and a handful of readings off it must not hide it.
    """
    stride = max(1, len(readings) // _RESOLUTION_SAMPLES)
    picked = readings[::stride]
    steps = np.diff(np.sort(picked[np.isfinite(picked)]))
    steps = steps[steps > _FLOAT_NOISE]
    if steps.size < _FEWEST_LEVELS:
        return 0.0
    return float(np.percentile(steps, 5))
