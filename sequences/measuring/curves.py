"""What the voltage curve of a slow charge or discharge tells: degradation modes and peaks of dQ/dV."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sequences.analysis import (
    NEW_CELL_OF,
    TIMES,
    Estimate,
    UnmeasurableError,
    dc_resistance,
    degradation_modes,
    find_pulses,
    fit_electrodes,
    incremental_capacity,
    new_electrodes,
)
from sequences.analysis.degradation import MAX_RATE
from sequences.analysis.evaluation import MAX_ICA_RATE
from sequences.measurement import Degradation, IcaPeak
from sequences.measuring.samples import MissingError, Samples

WHOLE = 0.5  # of the rated capacity: less of a curve does not tell the electrodes apart
_STEADY = 0.1  # of the current


def _slow(s: Samples, name: str, fastest: float) -> tuple[int, int]:
    """First and last row in the series of a step's usual current, which must not be faster than so many 1/h."""
    first, last = s.span(s.last(name))
    current = s.series.current[first : last + 1]
    flowing = np.flatnonzero(np.abs(current) > s.segments.rest_current)
    if not flowing.size:
        raise MissingError(f"no current flowed in {name}", f"{name} 에서 전류가 흐르지 않음")
    usual = float(np.median(current[flowing]))
    rate = abs(usual) / s.dut.rated_capacity
    if rate > fastest:
        raise MissingError(
            f"{name} was at {rate:.2g}C, {fastest:.2g}C is the fastest for this",
            f"{name} 의 전류는 {rate:.2g}C 로, {fastest:.2g}C 이하여야 함",
        )
    steady = np.flatnonzero(np.abs(current - usual) <= _STEADY * abs(usual))
    return first + int(steady[0]), first + int(steady[-1])


def degradation(s: Samples, source: Degradation) -> Estimate:
    """Of the mean cell, against a new one of this chemistry scaled to the rated capacity."""
    first, last = _slow(s, source.during, MAX_RATE)
    series, cells, rated = s.series, s.dut.series_cells, s.dut.rated_capacity
    if s.dut.chemistry not in NEW_CELL_OF:
        known = ", ".join(NEW_CELL_OF)
        raise MissingError(
            f"no half-cell curves for {s.dut.chemistry}; there are some for {known}",
            f"{s.dut.chemistry} 의 반쪽 전지 곡선이 없음; 있는 것: {known}",
        )
    charge = series.net_ah[first : last + 1] - series.net_ah[first]
    volts = series.voltage[first : last + 1] / cells
    charging = charge[-1] > 0
    if abs(float(charge[-1])) < WHOLE * rated:
        raise MissingError(
            f"{source.during} moved {abs(float(charge[-1])):.3g} Ah, at least {WHOLE * rated:.3g} Ah are needed",
            f"{source.during} 의 이동 전하는 {abs(float(charge[-1])):.3g} Ah 로, {WHOLE * rated:.3g} Ah 이상이 필요함",
        )
    if charging:  # the fit wants the charge since full
        charge, volts = (charge[-1] - charge)[::-1], volts[::-1]
    new = NEW_CELL_OF[s.dut.chemistry]
    now = fit_electrodes(np.abs(charge), volts, new, _polarisation(s, first, charging), ((first, last),))
    mode = degradation_modes(now, new_electrodes(new, rated))[source.mode.upper()]
    detail: dict[str, float | str] = {"residual_mv": round(1e3 * now.residual, 2), "new_cell": new.name}
    return s.of_run(replace(mode, detail=detail))


def _polarisation(s: Samples, first: int, charging: bool) -> Estimate | None:
    """By how much a cell's voltage lies below that at rest, from the resistance as the step's own current began.

    Half of it uncertain, since resistance changes with the state of charge; None where it did not begin from a rest.
    """
    for pulse in find_pulses(s.segments):
        if first - 3 <= pulse.first <= first:
            for at in sorted(TIMES, reverse=True):
                try:
                    ohm = dc_resistance(s.series, pulse, at)
                except UnmeasurableError:
                    continue
                drop = ohm.value * abs(pulse.current) / s.dut.series_cells
                return Estimate(-drop if charging else drop, drop / 2, "V", ohm.rows)
    return None


def ica_peak(s: Samples, source: IcaPeak) -> Estimate:
    first, last = _slow(s, source.during, MAX_ICA_RATE)
    found = incremental_capacity(s.series, first, last, s.dut.series_cells)
    if not found.peaks:
        raise MissingError("dQ/dV has no peak", "dQ/dV 에 피크가 없음")
    highest = max(found.peaks, key=lambda peak: float(peak.detail["height"]))
    detail = {"height_ah_per_v": float(highest.detail["height"]), "mean_a": float(highest.detail["mean_a"])}
    return s.of_run(replace(highest, detail=detail))
