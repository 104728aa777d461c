"""Where a time series charges, discharges and rests, and the sweeps between full and empty."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sequences.analysis.series import Array, Indices, TimeSeries

REST_CURRENT = 0.02  # A: testers read 0.01 A where nothing flows
_OFFSET_SHARE = 1e-3  # of the largest current: what a tester's zero may be off
_SIGMAS = 5.0
_LEVEL_CHANGE = 0.1  # of the current: a jump by more begins a new segment, the steps of a taper do not

_GAP_PERIODS = 10.0
_GAP_LEAST = 60.0  # s

_KINDS = {-1: "discharge", 0: "rest", 1: "charge"}


@dataclass(frozen=True, slots=True)
class Segment:
    """Samples of one direction and, but for a taper, one current; `current` in A is their median."""

    first: int
    last: int
    kind: str
    current: float


@dataclass(frozen=True)
class Segments:
    """All segments in order as arrays: first and last row, direction (-1 discharge, 0 rest, 1 charge)."""

    first: Indices
    last: Indices
    direction: NDArray[np.int8]
    series: TimeSeries
    rest_current: float

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, index: int) -> Segment:
        first, last = int(self.first[index]), int(self.last[index])
        current = float(np.median(self.series.current[first : last + 1]))
        return Segment(first, last, _KINDS[int(self.direction[index])], current)

    def __iter__(self) -> Iterator[Segment]:
        return (self[index] for index in range(len(self)))

    @cached_property
    def resting(self) -> NDArray[np.bool_]:
        """Which samples (n,) belong to rests."""
        return np.repeat(self.direction == 0, self.last - self.first + 1)

    @cached_property
    def rest_offset(self) -> float:
        """Mean current reading in A in all rests: what the tester's zero is off; 0 without rests."""
        readings = self.series.current[self.resting]
        return float(readings.mean()) if readings.size else 0.0

    @cached_property
    def gaps(self) -> NDArray[np.bool_]:
        """Which intervals (n - 1,) lack samples although current flows: ten periods, but at least a minute."""
        long_ = self.series.dt > max(_GAP_LEAST, _GAP_PERIODS * self.series.period)
        current = np.abs(self.series.current)
        return np.asarray(long_ & (np.maximum(current[1:], current[:-1]) > self.rest_current))


@dataclass(frozen=True, slots=True)
class Sweep:
    """From one turning point of the charge to the next: rows before the current begins and after it ended.

    Rests and pulses inside belong to it. `direction` is 1 for charging, -1 for discharging.
    """

    first: int
    last: int
    direction: int


def rest_threshold(current: Array) -> float:
    """The current in A below which a battery rests, however noisy the tester's zero is.

    At least 0.02 A and 0.1 % of the largest current; more where the small readings scatter: five standard deviations,
    from the differences between neighbours, which a constant small current does not have.
    """
    largest = float(np.abs(current).max(initial=0.0))
    floor = max(REST_CURRENT, _OFFSET_SHARE * largest)
    small = np.abs(current) <= max(floor, 0.02 * largest)
    differences = np.diff(current)[small[1:] & small[:-1]]
    if differences.size < 3:
        return floor
    differences = np.sort(np.abs(differences))[: max(3, int(0.99 * differences.size))]
    noise = float(np.sqrt(np.mean(differences**2) / 2))
    return max(floor, _SIGMAS * noise)


def find_segments(series: TimeSeries, rest_current: float | None = None) -> Segments:
    """Cut where the tester's step changes, where the current starts, ends or turns, and where it jumps.

    `rest_current` in A overrides the threshold found from the data. A ramp of a few samples belongs to what follows it,
    or to what ended with it.
    """
    n, current = len(series), series.current
    limit = rest_threshold(current) if rest_current is None else rest_current
    if n == 0:
        none = np.zeros(0, dtype=np.intp)
        return Segments(none, none, np.zeros(0, dtype=np.int8), series, limit)
    direction = (current > limit).astype(np.int8) - (current < -limit).astype(np.int8)
    _quieten(direction, current, limit)

    jump = np.diff(current)
    turned = np.diff(direction) != 0
    stepped = np.diff(series.step) != 0 if series.step is not None else np.zeros(n - 1, dtype=bool)
    largest = np.maximum(np.abs(current[1:]), np.abs(current[:-1]))
    levelled = np.abs(jump) > np.maximum(2 * limit, _LEVEL_CHANGE * largest)
    hard = turned | stepped
    edges = np.flatnonzero(hard | levelled)  # edge k lies between samples k and k + 1
    if edges.size > 1:
        edges = edges[_without_ramps(edges, np.sign(jump[edges]), hard[edges])]
    first = np.concatenate(([0], edges + 1)).astype(np.intp)
    last = np.concatenate((edges, [n - 1])).astype(np.intp)
    return Segments(first, last, direction[first], series, limit)


def _quieten(direction: NDArray[np.int8], current: Array, limit: float) -> None:
    """A single reading just above the threshold in the middle of a rest is noise."""
    alone = (direction[1:-1] != 0) & (direction[:-2] == 0) & (direction[2:] == 0)
    alone &= np.abs(current[1:-1]) < 2 * limit
    direction[1:-1][alone] = 0


def _without_ramps(edges: Indices, way: Array, hard: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which edges to keep: of neighbouring samples that jump the same way, the hard ones or else the first."""
    new_run = np.concatenate(([True], (np.diff(edges) > 1) | (way[1:] != way[:-1])))
    run = np.cumsum(new_run) - 1
    has_hard = np.bincount(run, weights=hard) > 0
    return np.asarray(hard | (new_run & ~has_hard[run]))


def last_at_rest(series: TimeSeries, first: int, last: int) -> int:
    """The last row of a rest whose voltage belongs to it.

    Some testers store the sample at a step's end with the old current and a voltage that shows the new one already.
    """
    if last - first < 3:
        return last
    before = np.abs(np.diff(series.voltage[last - 3 : last + 1]))
    usual = max(series.voltage_noise, series.voltage_resolution, float(before[:-1].max()))
    return last - 1 if before[-1] > 5 * usual > 0 else last


def find_sweeps(segments: Segments, reversal: float = 0.1) -> list[Sweep]:
    """The sweeps of a time series: charge moved one way, a way back of less than `reversal` of the whole not counted.

    So the rests and charge pulses inside a stepwise discharge do not end it.
    """
    series = segments.series
    if len(segments) == 0:
        return []
    rows = np.concatenate(([0], segments.last)).astype(np.intp)
    charge = series.net_ah[rows]
    span = float(charge.max() - charge.min())
    flowing = np.flatnonzero(segments.direction)
    if span <= 0 or not flowing.size:
        return []
    turns = _turning_points(charge, reversal * span)
    sweeps = []
    for start, end in pairwise(turns):
        inside = flowing[(flowing >= start) & (flowing < end)]  # segment k ends at boundary k + 1
        direction = 1 if charge[end] > charge[start] else -1
        inside = inside[segments.direction[inside] == direction]
        if inside.size:
            before = max(int(segments.first[inside[0]]) - 1, 0)
            after = min(int(segments.last[inside[-1]]) + 1, len(series) - 1)
            sweeps.append(Sweep(before, after, direction))
    return sweeps


def _turning_points(values: Array, threshold: float) -> list[int]:
    """Indices where values turn by more than a threshold, with the first and the last extreme."""
    # only local extremes can be turning points; a drive cycle has many samples between them
    slope = np.sign(np.diff(values))
    moving = np.flatnonzero(slope)
    if not moving.size:
        return [0]
    changes = moving[np.flatnonzero(np.diff(slope[moving])) + 1]
    candidates = [int(moving[0]), *map(int, changes), len(values) - 1]
    low = high = extreme = candidates[0]
    turns: list[int] = []
    way = 0
    for index in candidates[1:]:
        value = values[index]
        if way == 0:
            low, high = min(low, index, key=values.item), max(high, index, key=values.item)
            if values[high] - value > threshold:
                turns, way, extreme = [high], -1, index
            elif value - values[low] > threshold:
                turns, way, extreme = [low], 1, index
        elif way * (value - values[extreme]) > 0:
            extreme = index
        elif way * (values[extreme] - value) > threshold:
            turns.append(extreme)
            way, extreme = -way, index
    return [*turns, extreme]
