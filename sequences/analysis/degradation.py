"""Degradation modes from a slow discharge: loss of lithium inventory and of active material on either side.

The open-circuit curve of a cell is that of its positive electrode minus that of its negative one, each stretched by its
capacity and shifted by the lithium it holds (Dubarry et al., J. Power Sources 219 (2012) 204; Birkl et al., J. Power
Sources 341 (2017) 373). Four numbers, the stoichiometries at both ends, are fitted to the measured curve; capacities
and lithium follow, and compared with a new cell the modes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sequences.analysis.estimate import Estimate, Rows, UnmeasurableError
from sequences.analysis.halfcells import NewCell
from sequences.analysis.series import Array

MAX_RATE = 0.105  # 1/h: C/10 and what a capacity a little below the rated one makes of it
MAX_RESIDUAL = 0.020  # V rms: above, the half-cell curves are not this cell's
_POINTS = 400
_LOWER, _UPPER = (0.0, 0.4, 0.5, 0.0), (0.3, 1.0, 1.0, 0.5)  # x empty, x full, y empty, y full
_AT_BOUND = 1e-4
_STEP = 1e-6


@dataclass(frozen=True)
class Electrodes:
    """Capacities of the negative and the positive electrode and the lithium between them, (3,) in Ah, with their
    covariance (3, 3); the four stoichiometries that were fitted, and the fit's residual in V rms."""

    capacities: Array
    covariance: Array
    stoichiometries: tuple[float, float, float, float]
    residual: float
    rows: Rows = ()


def new_electrodes(cell: NewCell, capacity_ah: float) -> Electrodes:
    """Those of a new cell, scaled to its rated capacity."""
    windows = np.array([cell.x_empty, cell.x_full, cell.y_empty, cell.y_full])
    return Electrodes(_capacities(windows, capacity_ah), np.zeros((3, 3)), _four(windows), 0.0)


def fit_electrodes(
    moved: Array, voltage: Array, cell: NewCell, polarisation: Estimate | None = None, rows: Rows = ()
) -> Electrodes:
    """Fit a slow full discharge: charge since full in Ah (n,), rising, and a cell's voltage in V (n,).

    `polarisation` in V is by how much the voltage lies below that at rest (current times resistance); its uncertainty
    goes into the result. What the curves of other materials leave over is no noise but varies slowly, so the covariance
    of the fit is multiplied by the length over which its residual stays the same. Raises UnmeasurableError when the
    curves do not fit within 20 mV rms, or only at the edge of what is possible.
    """
    total = float(moved[-1] - moved[0])
    if total <= 0 or len(moved) < _POINTS // 4:
        raise UnmeasurableError("the discharge has too few samples")
    share = np.linspace(0.0, 1.0, _POINTS)
    measured = np.interp(share * total, moved - moved[0], voltage)
    drop = polarisation.value if polarisation is not None else 0.0
    fitted, residual, covariance = _fit(share, measured + drop, cell)
    rms = float(np.sqrt(np.mean(residual**2)))
    if rms > MAX_RESIDUAL:
        raise UnmeasurableError(f"the half-cell curves of {cell.name} leave {1e3 * rms:.0f} mV rms: another chemistry?")
    if (np.minimum(fitted - _LOWER, np.array(_UPPER) - fitted) < _AT_BOUND)[1:].any():
        raise UnmeasurableError(f"the half-cell curves of {cell.name} fit only at the edge of their range")
    if polarisation is not None and polarisation.uncertainty > 0:
        shifted, _, _ = _fit(share, measured + drop + polarisation.uncertainty, cell)
        covariance = covariance + np.outer(shifted - fitted, shifted - fitted)
    slopes = np.stack([(_capacities(fitted + _STEP * axis, total) - _capacities(fitted, total)) / _STEP
                       for axis in np.eye(4)], axis=1)  # fmt: skip
    return Electrodes(_capacities(fitted, total), slopes @ covariance @ slopes.T, _four(fitted), rms, rows)


def degradation_modes(now: Electrodes, new: Electrodes) -> Mapping[str, Estimate]:
    """LLI, LAM_PE and LAM_NE as fractions of the new cell, by name.

    LAM_NE is read from a part of the curve where the negative electrode says little: its uncertainty is the largest.
    """
    detail = {"residual_v": now.residual}
    modes = {}
    for name, index in (("LLI", 2), ("LAM_PE", 1), ("LAM_NE", 0)):
        value = 1.0 - float(now.capacities[index] / new.capacities[index])
        spread = math.hypot(
            math.sqrt(now.covariance[index, index]) / new.capacities[index],
            (1.0 - value) * math.sqrt(new.covariance[index, index]) / new.capacities[index],
        )
        modes[name] = Estimate(value, spread, "1", now.rows, detail)
    return modes


def _capacities(windows: Array, total: float) -> Array:
    x_empty, x_full, y_empty, y_full = windows
    negative, positive = total / (x_full - x_empty), total / (y_empty - y_full)
    return np.array([negative, positive, negative * x_full + positive * y_full])


def _fit(share: Array, voltage: Array, cell: NewCell) -> tuple[Array, Array, Array]:
    """Stoichiometries (4,), residual in V, covariance (4, 4); `share` is the charge taken out, from 0 to 1."""
    from scipy.optimize import least_squares  # a fifth of a second that only a fit needs

    def residual(windows: Array) -> Array:
        x_empty, x_full, y_empty, y_full = windows
        return cell.voltage(x_full - share * (x_full - x_empty), y_full + share * (y_empty - y_full)) - voltage

    new = (cell.x_empty, cell.x_full, cell.y_empty, cell.y_full)
    start = np.clip(new, np.add(_LOWER, 0.001), np.subtract(_UPPER, 0.001))
    scale = (0.01, 0.1, 0.1, 0.1)
    found = least_squares(residual, start, bounds=(_LOWER, _UPPER), x_scale=scale, xtol=1e-12, ftol=1e-12)
    left = np.asarray(found.fun)
    variance = float(left @ left) / (len(share) - 4) * correlation_length(left)
    return np.asarray(found.x), left, np.linalg.pinv(found.jac.T @ found.jac) * variance


def correlation_length(residual: Array) -> float:
    """Samples over which a residual stays the same: one for noise, 1 + 2 sum of its autocorrelation otherwise."""
    centred = residual - residual.mean()
    power = float(centred @ centred)
    if power <= 0:
        return 1.0
    correlation = np.correlate(centred, centred, mode="full")[len(centred) - 1 :] / power
    ends = np.flatnonzero(correlation < 0.05)
    return float(1 + 2 * correlation[1 : ends[0] if ends.size else len(correlation)].sum())


def _four(windows: Array) -> tuple[float, float, float, float]:
    x_empty, x_full, y_empty, y_full = map(float, windows)
    return x_empty, x_full, y_empty, y_full
