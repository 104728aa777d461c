"""Batteries whose truth is known: half-cell curves, a resistance and one relaxation, driven by a list of currents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sequences.analysis import CHEN2020, NewCell, TimeSeries, find_segments, new_electrodes
from sequences.analysis.segments import Segments

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """A cell that lost lithium and material; resistances in ohm, capacity of the new one in Ah."""

    capacity: float = 5.0
    lli: float = 0.0
    lam_pe: float = 0.0
    lam_ne: float = 0.0
    ohmic: float = 0.020
    slow: float = 0.010
    slow_s: float = 20.0
    new: NewCell = CHEN2020
    upper: float = 4.2
    lower: float = 2.5

    @property
    def electrodes(self) -> tuple[float, float, float]:
        negative, positive, lithium = new_electrodes(self.new, self.capacity).capacities
        return (
            float(negative * (1 - self.lam_ne)),
            float(positive * (1 - self.lam_pe)),
            float(lithium * (1 - self.lli)),
        )

    def stoichiometry_at(self, voltage: float) -> float:
        """x of the resting cell at a voltage, by bisection."""
        negative, positive, lithium = self.electrodes
        low, high = max(0.0, (lithium - positive) / negative), min(1.0, lithium / negative)
        for _ in range(60):
            x = (low + high) / 2
            if self.open_circuit(np.array([x]))[0] > voltage:
                high = x
            else:
                low = x
        return (low + high) / 2

    def open_circuit(self, x: Array) -> Array:
        negative, positive, lithium = self.electrodes
        return self.new.voltage(x, (lithium - negative * x) / positive)

    @property
    def usable(self) -> float:
        """Ah between the voltage limits at rest."""
        return self.electrodes[0] * (self.stoichiometry_at(self.upper) - self.stoichiometry_at(self.lower))

    def curve(self, samples: int) -> tuple[Array, Array]:
        """Open-circuit voltage over the charge taken out since full."""
        x = np.linspace(self.stoichiometry_at(self.upper), self.stoichiometry_at(self.lower), samples)
        return (x[0] - x) * self.electrodes[0], self.open_circuit(x)

    def voltages(self, time: Array, current: Array, removed: float = 0.0) -> Array:
        """Terminal voltage when `removed` Ah were missing to full at the first sample."""
        moved = np.concatenate(([0.0], np.cumsum((current[1:] + current[:-1]) / 2 * np.diff(time)))) / 3600
        x = self.stoichiometry_at(self.upper) + (moved - removed) / self.electrodes[0]
        over = np.zeros(len(time))
        for k in range(1, len(time)):  # exact for a current held over the interval
            decay = np.exp(-(time[k] - time[k - 1]) / self.slow_s)
            over[k] = over[k - 1] * decay + self.slow * current[k] * (1 - decay)
        return self.open_circuit(np.clip(x, 1e-4, 1.0)) + self.ohmic * current + over


def profile(*parts: tuple[float, float], period: float = 1.0) -> tuple[Array, Array]:
    """Time and current of parts (A, s), sampled at a period."""
    current = np.concatenate([np.full(round(seconds / period), ampere) for ampere, seconds in parts])
    return np.arange(len(current)) * period, current


def record(
    cell: Cell, *parts: tuple[float, float], period: float = 1.0, removed: float = 0.0, noise: float = 0.0,
    rest_noise: float = 0.0, seed: int = 1,
) -> TimeSeries:  # fmt: skip
    """What a tester stores of a cell that goes through parts (A, s)."""
    time, current = profile(*parts, period=period)
    random = np.random.default_rng(seed)
    voltage = cell.voltages(time, current, removed) + random.normal(0, noise, len(time))
    read = current + np.where(current == 0, random.normal(0, rest_noise, len(time)), 0)
    return TimeSeries(time, voltage, read)


def segments_of(cell: Cell, *parts: tuple[float, float], **options: float) -> Segments:
    return find_segments(record(cell, *parts, **options))  # type: ignore[arg-type]


def full_cycles(ah: Sequence[float], ampere: float = 5.0, rest: float = 600.0) -> list[tuple[float, float]]:
    """A discharge and then a charge and a discharge again and again, of so many Ah each, with rests between."""
    parts = [(0.0, rest), (-ampere, 3600 * ah[0] / ampere), (0.0, rest)]
    for moved in ah[1:]:
        seconds = 3600 * moved / ampere
        parts += [(ampere, seconds), (0.0, rest), (-ampere, seconds), (0.0, rest)]
    return parts
