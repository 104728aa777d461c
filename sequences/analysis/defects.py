"""What is wrong with recorded data, found in the numbers themselves. Nothing is corrected here, only told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sequences.analysis.segments import Segments, last_at_rest
from sequences.analysis.series import Array, Indices

COUNTER_TOLERANCE = 1e-3  # of the charge moved
COARSE_VOLTAGE = 1e-3  # V a cell: the bin of an incremental capacity
_QUIET = 1e-4  # of the largest current, but at least 1 mA: a rest that reads as zero
_QUIET_LEAST = 1e-3
_INVERTED = -0.5
_RESET_SHARE = 0.5  # a counter that falls below half of what it was began anew


@dataclass(frozen=True, slots=True)
class Defect:
    """A kind of defect: its stable code, how often, the row it begins at (-1: the whole file), and the figures.

    Codes that begin with E- make results worthless, so they are withheld; W- are told beside them.
    """

    code: str
    count: int
    first: int
    figures: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def withholds(self) -> bool:
        return self.code.startswith("E-")


def find_defects(segments: Segments, cells: int = 1) -> list[Defect]:
    """The defects of a time series, by their first row; `cells` in series."""
    if len(segments.series) < 2:
        return []
    found = [
        *_repeated_times(segments),
        *_gaps(segments),
        *_sign(segments),
        *_rest_noise(segments),
        *_late_currents(segments),
        *_coarse_voltage(segments, cells),
        *_counters(segments),
    ]
    return sorted(found, key=lambda defect: defect.first)


def _of(code: str, where: NDArray[np.bool_], **figures: float | str) -> list[Defect]:
    rows = np.flatnonzero(where)
    return [Defect(code, int(rows.size), int(rows[0]), figures)] if rows.size else []


def _repeated_times(segments: Segments) -> list[Defect]:
    """Samples with the time of the one before, except where a step ends and the next begins at the same moment."""
    again = segments.series.dt == 0
    again[segments.last[:-1]] = False
    return _of("W-DATA-TIME-EQUAL", np.concatenate(([False], again)))


def _gaps(segments: Segments) -> list[Defect]:
    series = segments.series
    missing = segments.gaps
    if not missing.any():
        return []
    bridged = float(np.abs(np.diff(series.net_ah))[missing].sum())
    return _of("W-DATA-GAP", missing, longest_s=float(series.dt[missing].max()), bridged_ah=bridged)


def _sign(segments: Segments) -> list[Defect]:
    """A battery's voltage rises while it charges; where most of the charge says otherwise the sign is turned."""
    series = segments.series
    direction = segments.direction.astype(np.float64)
    change = series.voltage[segments.last] - series.voltage[segments.first]
    moved = np.abs(series.net_ah[segments.last] - series.net_ah[segments.first])
    sure = 5 * max(series.voltage_noise, series.voltage_resolution, 1e-4)
    weight = moved * (np.abs(change) > sure) * np.abs(direction)
    if weight.sum() <= 0:
        return []
    score = float(np.sum(weight * np.sign(change) * direction) / weight.sum())
    return [Defect("E-DATA-SIGN", 1, -1, {"against_percent": 50 * (1 - score)})] if score < _INVERTED else []


def _rest_noise(segments: Segments) -> list[Defect]:
    current = segments.series.current
    quiet = max(_QUIET_LEAST, _QUIET * float(np.abs(current).max()))
    noisy = segments.resting & (np.abs(current) > quiet)
    if not noisy.any():
        return []
    return _of(
        "W-DATA-REST-NOISE",
        noisy,
        mean_a=segments.rest_offset,
        deviation_a=float(current[segments.resting].std()),
        threshold_a=segments.rest_current,
    )


def _late_currents(segments: Segments) -> list[Defect]:
    """Rests whose last sample has the voltage of the current that follows."""
    series = segments.series
    long_enough = segments.last - segments.first >= 3
    ends = np.flatnonzero((segments.direction[:-1] == 0) & (segments.direction[1:] != 0) & long_enough[:-1])
    late = [int(segments.last[k]) for k in ends
            if last_at_rest(series, int(segments.first[k]), int(segments.last[k])) < segments.last[k]]  # fmt: skip
    return [Defect("W-DATA-LATE-CURRENT", len(late), late[0])] if late else []


def _coarse_voltage(segments: Segments, cells: int) -> list[Defect]:
    step = segments.series.voltage_resolution
    if step <= 1.1 * COARSE_VOLTAGE * cells:
        return []
    return [Defect("W-DATA-RESOLUTION", 1, -1, {"step_mv": 1e3 * step, "per_cell_mv": 1e3 * step / cells})]


def _counters(segments: Segments) -> list[Defect]:
    """Counters of the tester against the integral of its own current."""
    series = segments.series
    charged, discharged = series.throughput
    charged_wh, discharged_wh = series.energy
    integrals = {
        "charged_ah": charged,
        "discharged_ah": discharged,
        "net_ah": series.net_ah,
        "charged_wh": charged_wh,
        "discharged_wh": discharged_wh,
    }
    found = []
    for name, counter in series.counters.items():
        good = np.isfinite(counter)
        if name not in integrals or good.sum() < 2:
            continue
        counted, integral = counter[good], integrals[name][good]
        rows = np.flatnonzero(good)
        if name != "net_ah":
            counted, resets = _without_resets(counted, integral)
            if resets.size:
                found.append(Defect("W-DATA-COUNTER-RESET", int(resets.size), int(rows[resets[0]]), {"counter": name}))
        apart = np.abs((counted - counted[0]) - (integral - integral[0]))
        moved = float(integral.max() - integral.min())
        over = np.flatnonzero(apart > COUNTER_TOLERANCE * moved)
        if over.size and apart.max() > 0:
            found.append(
                Defect(
                    "W-DATA-COUNTER",
                    1,
                    int(rows[over[0]]),
                    {
                        "counter": name,
                        "counted": float(counted[-1] - counted[0]),
                        "integral": float(integral[-1] - integral[0]),
                        "apart": float(apart.max()),
                        "apart_percent": 100 * float(apart.max()) / moved if moved > 0 else 100.0,
                    },
                )
            )
    return found


def _without_resets(counter: Array, integral: Array) -> tuple[Array, Indices]:
    """A rising counter as if it had never begun anew, and where it did; what it missed then is the integral's."""
    steps = np.diff(counter)
    resets = (steps < 0) & (counter[1:] < _RESET_SHARE * np.maximum(counter[:-1], 0))
    steps = np.where(resets, np.diff(integral), steps)
    return np.concatenate(([counter[0]], counter[0] + np.cumsum(steps))), np.flatnonzero(resets) + 1
