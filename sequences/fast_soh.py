"""State of health in 19 minutes from an unknown state of charge, by a fitted model.

The procedure, from a rested battery: +1C for 5 s, rest 75 s, -1C for 5 s, rest 75 s, charge 10 % of the rated capacity
at 1C, rest 10 min. The models are fitted by `tests/fits/fast_soh.py`; method, figures and limits: docs/fast-soh.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequences.fast_soh_coefficients import COEFFICIENTS

Array = NDArray[np.float64]

# name and unit of each feature, in the order of `describe`
FEATURES = (
    ("open-circuit voltage", "V"),
    ("rise by the charge", "V"),
    ("5 s resistance times rated capacity", "ohm*Ah"),
    ("asymmetry of the pulses", ""),
    ("relaxation left after the charge pulse", ""),
    ("relaxation left after the discharge pulse", ""),
)
# the highest power of the open-circuit voltage that goes with no, one and two of the other features
POWERS = (8, 6, 3)
TERMS = [c for k in range(len(POWERS)) for c in combinations_with_replacement(range(1, len(FEATURES)), k)]
# an open-circuit voltage may lie this far outside the trained range, as a share of half of it, and SOH by this much
OCV_MARGIN = 0.05
SOH_MARGIN = 0.02

VOLTAGES = ("ocv_before", "charge_end", "charge_rested", "discharge_end", "discharge_rested", "ocv_after")
# what the procedure allows: name, unit, lowest, highest; outside it the features are not those the models know
ALLOWED = {
    "rest_before": ("s", 600.0, math.inf),
    "pulse_rate": ("1/h", 0.95, 1.05),
    "pulse_time": ("s", 4.75, 5.25),
    "pulse_rest": ("s", 70.0, 80.0),
    "charged": ("of rated capacity", 0.099, 0.101),
    "rest_after": ("s", 595.0, 660.0),
    "temperature": ("degC", 24.0, 26.0),
    "resolution": ("V", 0.0, 0.7e-3),
}


@dataclass(frozen=True, slots=True)
class FastPulse:
    """What the procedure measured. Voltages are per series cell in V; None or NaN = not measured.

    ocv_before: at the end of the rest before the first pulse, which lasted rest_before (s)
    charge_end, charge_rested: at the end of the charge pulse, and of the rest after it
    discharge_end, discharge_rested: likewise for the discharge pulse
    ocv_after: at the end of the rest after the charge, which lasted rest_after (s)
    pulse_rate: current of the pulses over rated capacity, 1/h; pulse_time, pulse_rest: s
    charged: Ah of the charge over rated Ah; temperature: of the cells when the pulses begin, degC
    resolution: the smallest step the voltages are told in, V per series cell
    """

    ocv_before: float | None
    charge_end: float | None
    charge_rested: float | None
    discharge_end: float | None
    discharge_rested: float | None
    ocv_after: float | None
    rest_before: float | None
    pulse_rate: float | None
    pulse_time: float | None
    pulse_rest: float | None
    charged: float | None
    rest_after: float | None
    temperature: float | None
    resolution: float | None


@dataclass(frozen=True, slots=True)
class FastSoh:
    """SOH (1C capacity over rated capacity, 0..1) with its 90 % interval, or no number and the reasons why.

    `family` names the model that answered, or the nearest one that refused.
    """

    soh: float | None
    low: float | None
    high: float | None
    reasons: tuple[str, ...]
    family: str

    @property
    def in_envelope(self) -> bool:
        """Outside the envelope there is no number: a polynomial extrapolates to anything."""
        return self.soh is not None

    def certain(self, limits: Iterable[float]) -> bool:
        """Whether no grade limit (0..1) lies in the interval; if not, a full capacity test must decide."""
        if self.low is None or self.high is None:
            return False
        return not any(self.low <= limit <= self.high for limit in limits)


@dataclass(frozen=True, slots=True)
class Family:
    """The fitted model of one kind of cell. n = 6 features, m = 5 of them beside the open-circuit voltage.

    centre, scale: (n,) standardise the features; the open-circuit voltage to -1..1 over the trained range
    constant, weights: of `basis`, (number of terms,)
    soh_range: lowest and highest SOH trained on
    course: (p, m) Chebyshev coefficients of the other features over the open-circuit voltage; covariance: (m, m) around
    it; distance_limit: squared Mahalanobis distance
    width, width_min: half width of the interval, (3,) Chebyshev coefficients over the open-circuit voltage
    """

    name: str
    chemistry: str
    centre: Array
    scale: Array
    constant: float
    weights: Array
    soh_range: tuple[float, float]
    course: Array
    covariance: Array
    distance_limit: float
    width: Array
    width_min: float

    def standardise(self, x: Array) -> Array:
        return (x - self.centre) / self.scale

    def soh(self, x: Array) -> Array:
        """(k, n) features -> (k,) SOH, not bounded."""
        return self.constant + basis(self.standardise(x)) @ self.weights

    def deviations(self, x: Array) -> Array:
        """(k, n) -> (k, m): from the course the trained cells take, in standardised units."""
        z = self.standardise(x)
        return z[:, 1:] - chebyshev(z[:, 0], len(self.course) - 1) @ self.course

    def distance(self, x: Array) -> Array:
        """(k, n) -> (k,): squared Mahalanobis distance of the deviations."""
        away = self.deviations(x)
        return np.asarray(np.einsum("ki,ki->k", away, np.linalg.solve(self.covariance, away.T).T))

    def half_width(self, x: Array) -> Array:
        return np.maximum(chebyshev(self.standardise(x)[:, 0], len(self.width) - 1) @ self.width, self.width_min)

    def outside(self, x: Array) -> str:
        """Why these features, (n,), are none this family was trained on; empty if they are."""
        rows = x[None, :]
        # comparisons are such that a NaN is outside
        if not abs(self.standardise(rows)[0, 0]) <= 1 + OCV_MARGIN:
            low, high = self.centre[0] - self.scale[0], self.centre[0] + self.scale[0]
            return f"open-circuit voltage {x[0]:.3f} V per cell, trained on {low:.3f} to {high:.3f} V"
        if not (distance := float(self.distance(rows)[0])) <= self.distance_limit:
            away, spread = self.deviations(rows)[0], np.sqrt(np.diag(self.covariance))
            worst = int(np.argmax(np.abs(away) / spread))
            (name, unit), scale, value = FEATURES[worst + 1], float(self.scale[worst + 1]), float(x[worst + 1])
            usual, sd = value - away[worst] * scale, spread[worst] * scale
            return (
                f"distance {distance:.0f} from the trained cells, limit {self.distance_limit:.0f}; farthest off: "
                f"{name} {value:.4f}, usual at this voltage {usual:.4f} +- {sd:.4f} {unit}".rstrip()
            )
        soh, (low, high) = float(self.soh(rows)[0]), self.soh_range
        if not low - SOH_MARGIN <= soh <= high + SOH_MARGIN:
            return f"estimate outside the trained SOH of {low:.1%} to {high:.1%}"
        return ""


def _read(entry: dict[str, Any]) -> Family:
    read: dict[str, Any] = {key: np.array(value) if isinstance(value, list) else value for key, value in entry.items()}
    return Family(**read)


FAMILIES = tuple(_read(entry) for entry in COEFFICIENTS)


def chebyshev(t: Array, degree: int) -> Array:
    """(k,) -> (k, degree + 1) Chebyshev polynomials; beyond -1..1 they keep the value of the edge."""
    return np.asarray(np.polynomial.chebyshev.chebvander(np.clip(t, -1.0, 1.0), degree), dtype=np.float64)


def basis(z: Array) -> Array:
    """(k, n) standardised features -> (k, terms) of a polynomial whose coefficients vary with open-circuit voltage."""
    powers = chebyshev(z[:, 0], max(POWERS))
    return np.concatenate(
        [np.prod(z[:, list(term)], axis=1)[:, None] * powers[:, : POWERS[len(term)] + 1] for term in TERMS], axis=1
    )[:, 1:]  # the constant stands apart


def describe(volts: Array, pulse_rate: float) -> Array:
    """(6, k) voltages per series cell as in FastPulse, and the rate of the pulses -> (k, n) features as in FEATURES.

    Nothing in them tells how much was charged since empty: that would give the capacity away.
    """
    ocv_before, charge_end, charge_rested, discharge_end, discharge_rested, ocv_after = volts
    charge, discharge = charge_end - ocv_before, charge_rested - discharge_end
    return np.stack(
        [
            ocv_before,
            ocv_after - ocv_before,
            (charge + discharge) / 2 / pulse_rate,
            (charge - discharge) / (charge + discharge),
            (charge_rested - ocv_before) / charge,
            (charge_rested - discharge_rested) / discharge,
        ],
        axis=1,
    )


def estimate(chemistry: str, pulse: FastPulse) -> FastSoh:
    """The SOH by the family of this chemistry whose trained cells are nearest. Never raises, never guesses."""
    families = [family for family in FAMILIES if family.chemistry == chemistry]
    if not families:
        return _refuse(f"no fast SOH model for {chemistry} cells")
    if problems := _problems(pulse):
        return _refuse(*problems)
    values = _values(pulse)
    x = describe(np.array([[values[name]] for name in VOLTAGES]), values["pulse_rate"])[0]
    # the nearest must take it: beyond its range, another one may know the same voltages of quite other cells
    family = min(families, key=lambda family: float(family.distance(x[None, :])[0]))
    if reason := family.outside(x):
        return _refuse(reason, family=family.name)
    soh = float(np.clip(family.soh(x[None, :])[0], *family.soh_range))
    half = float(family.half_width(x[None, :])[0])
    return FastSoh(soh, soh - half, soh + half, (), family.name)


def _refuse(*reasons: str, family: str = "") -> FastSoh:
    return FastSoh(None, None, None, reasons, family)


def _values(pulse: FastPulse) -> dict[str, float]:
    """What was measured: finite numbers only."""
    values = ((field.name, getattr(pulse, field.name)) for field in fields(pulse))
    return {name: value for name, value in values if value is not None and math.isfinite(value)}


def _problems(pulse: FastPulse) -> tuple[str, ...]:
    values = _values(pulse)
    missing = [field.name for field in fields(pulse) if field.name not in values]
    if missing:
        return (f"not measured: {', '.join(missing)}",)
    problems = [
        f"{name} {values[name]:g} {unit}, the model needs {low:g} to {high:g}"
        for name, (unit, low, high) in ALLOWED.items()
        if not low <= values[name] <= high
    ]
    if values["charge_end"] <= values["ocv_before"]:
        problems.append("the voltage did not rise in the charge pulse")
    if values["discharge_end"] >= values["charge_rested"]:
        problems.append("the voltage did not fall in the discharge pulse")
    return tuple(problems)
