"""AC resistance, and an impedance spectrum as R0 + Rct || CPE + Warburg."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sequences.analysis.estimate import ROOT_12, Estimate, UnmeasurableError
from sequences.analysis.series import Array

Spectrum = NDArray[np.complex128]

_FEWEST_POINTS = 8  # five unknowns
_MAX_RESIDUAL = 0.05  # of |Z|, rms


def ac_resistance(readings: Sequence[float], resolution: float = 0.0) -> Estimate:
    """Mean of repeated readings in ohm; scatter of the mean and resolution as uncertainty. Raises UnmeasurableError."""
    good = np.array([reading for reading in readings if math.isfinite(reading)])
    if not good.size:
        raise UnmeasurableError("the impedance meter gave no good reading")
    scatter = float(good.std(ddof=1)) / math.sqrt(good.size) if good.size > 1 else 0.0
    return Estimate(float(good.mean()), math.hypot(scatter, resolution / ROOT_12), "ohm", (), {"readings": good.size})


@dataclass(frozen=True)
class SpectrumFit:
    """Z = r0 + rct / (1 + rct q (jw)^alpha) + sigma (1 - j) / sqrt w; r in ohm, q in s^alpha/ohm, sigma in ohm/sqrt s.

    `residual` is the rms of |Z fit - Z| / |Z|; `inductive` how many points were left out for a positive imaginary part.
    """

    r0: Estimate
    rct: Estimate
    q: Estimate
    alpha: Estimate
    sigma: Estimate
    residual: float
    inductive: int

    def __call__(self, frequency: Array) -> Spectrum:
        """The fitted impedance in ohm at frequencies in Hz."""
        return _model(np.array([e.value for e in (self.r0, self.rct, self.q, self.alpha, self.sigma)]), frequency)


def fit_spectrum(frequency: Array, impedance: Spectrum) -> SpectrumFit:
    """Fit a spectrum: frequencies in Hz (n,), impedance in ohm (n,), in any order.

    Residuals are weighted with 1/|Z|, as the error of a meter is a share of its reading; uncertainties are those of the
    Jacobian at the residual that is left. The cables' and windings' inductance is not in the circuit: points with a
    positive imaginary part are left out. Raises UnmeasurableError for fewer than eight points that are left, and when
    the circuit does not fit within 5 % rms.
    """
    from scipy.optimize import least_squares  # a fifth of a second that only a fit needs

    good = np.isfinite(frequency) & np.isfinite(impedance) & (frequency > 0)
    capacitive = good & (impedance.imag <= 0) & (np.abs(impedance) > 0)
    f, z = frequency[capacitive], impedance[capacitive]
    if len(f) < _FEWEST_POINTS:
        raise UnmeasurableError(f"{len(f)} points of a spectrum are not enough, {_FEWEST_POINTS} are")
    size = np.abs(z)
    scale = float(size.min())

    def residual(logs: Array) -> Array:
        difference = (_model(_from_logs(logs, scale), f) - z) / size
        return np.concatenate((difference.real, difference.imag))

    best = min(
        (least_squares(residual, start, method="trf", x_scale="jac", max_nfev=300) for start in _starts(f, z, scale)),
        key=lambda found: float(found.cost),
    )
    rms = math.sqrt(2 * float(best.cost) / len(f))
    if rms > _MAX_RESIDUAL:
        raise UnmeasurableError(f"R0 + Rct || CPE + Warburg leaves {100 * rms:.1f} % rms")
    variance = 2 * float(best.cost) / max(2 * len(f) - 5, 1)
    slopes = _slopes(best.x, scale)
    covariance = slopes @ np.linalg.pinv(best.jac.T @ best.jac) @ slopes.T * variance
    spread = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    values = _from_logs(best.x, scale)
    units = ("ohm", "ohm", "s^alpha/ohm", "1", "ohm/s^0.5")
    used = np.flatnonzero(capacitive)
    rows = ((int(used[0]), int(used[-1])),)
    r0, rct, q, alpha, sigma = (
        Estimate(float(value), float(u), unit, rows) for value, u, unit in zip(values, spread, units, strict=True)
    )
    return SpectrumFit(r0, rct, q, alpha, sigma, rms, int(np.sum(good & ~capacitive)))


def _model(values: Array, frequency: Array) -> Spectrum:
    r0, rct, q, alpha, sigma = values
    w = 2 * np.pi * frequency
    return np.asarray(r0 + rct / (1 + rct * q * (1j * w) ** alpha) + sigma * (1 - 1j) / np.sqrt(w))


def _from_logs(logs: Array, scale: float) -> Array:
    """All positive, alpha between 0 and 1."""
    r0, rct, time, sigma = np.exp(np.clip(logs[[0, 1, 2, 4]], -60, 60))
    alpha = 1 / (1 + math.exp(-float(np.clip(logs[3], -30, 30))))
    return np.array([scale * r0, scale * rct, time**alpha / (scale * rct), alpha, scale * sigma])


def _slopes(logs: Array, scale: float) -> Array:
    """Derivatives (5, 5) of the values by the fitted logarithms; q = time^alpha / rct."""
    r0, rct, q, alpha, sigma = _from_logs(logs, scale)
    of_alpha = alpha * (1 - alpha)
    slopes = np.diag([r0, rct, q * alpha, of_alpha, sigma])
    slopes[2, 1], slopes[2, 3] = -q, q * float(logs[2]) * of_alpha
    return slopes


def _starts(frequency: Array, impedance: Spectrum, scale: float) -> list[Array]:
    """Ohmic part from the lowest real part, the arc over a part of the rest, its time constant anywhere inside."""
    real = impedance.real
    r0 = max(float(real.min()), 1e-3 * scale)
    arc = max(float(np.ptp(real)), 1e-3 * scale)
    w = 2 * np.pi * frequency
    slow = float(w.min())
    warburg = max(-float(impedance.imag[np.argmin(frequency)]), 1e-6 * scale) * math.sqrt(slow)
    times = 1 / np.geomspace(w.max(), w.min(), 5)[1:-1]
    return [
        np.array([math.log(r0 / scale), math.log(share * arc / scale), math.log(time), 1.5, math.log(warburg / scale)])
        for share in (0.3, 0.8)
        for time in times
    ]
