"""DC resistances and what follows from them. R(t) = (V(t) - V before) / (I(t) - I before), at a stated time.

By `sequences.analysis.dc_resistance`, with its checks of the rest before and of the voltage's resolution.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from sequences.analysis import Estimate, Pulse, cell_resistances, dc_resistance, find_pulses
from sequences.analysis import resistance_increase as compared
from sequences.analysis.estimate import ROOT_12
from sequences.analysis.resistance import MIN_REST
from sequences.measurement import CellResistanceRatio, PowerCapability, PulseAt, Resistance, ResistanceIncrease
from sequences.measuring.charge import nearest, of_soc
from sequences.measuring.samples import MissingError, Samples, at_soc
from sequences.record import StepRecord

# a battery model's `initial_dcir_ohm` is the resistance after this time, see config/dut.py
INITIAL_AT = 10.0  # s


def pulse_of(s: Samples, record: StepRecord, number: int = 1) -> Pulse:
    """The pulse of that number in a step run; rows are those of the series."""
    segments = s.segments
    first, last = s.span(record)
    inside = np.flatnonzero((segments.first >= first) & (segments.first <= last))
    flows = segments.direction[inside]
    # a current that goes on at another level is no other pulse, one that turns is
    begins = inside[(flows != 0) & (np.diff(flows, prepend=0) != 0)]
    if number > begins.size:
        raise MissingError(
            f"{record.label} had {begins.size} pulses with current", f"{record.label} 에 전류 펄스가 {begins.size}개임"
        )
    began = int(segments.first[begins[number - 1]])
    for pulse in find_pulses(segments):
        if pulse.first == began:
            return pulse
    raise MissingError("the battery was not at rest before the pulse", "펄스 전에 배터리가 휴지 상태가 아니었음")


def _measured(s: Samples, record: StepRecord, source: PulseAt) -> tuple[Estimate, Pulse]:
    pulse = pulse_of(s, record, source.number)
    # within a train the recipe says how long it rests; before it, the voltage must have settled
    ohm = dc_resistance(s.series, pulse, source.at, MIN_REST if source.number == 1 else 0.0)
    return ohm, pulse


def resistance(s: Samples, source: Resistance | ResistanceIncrease | PowerCapability) -> Estimate:
    record, actual = nearest(s, source.pulse, source.soc)
    ohm, _ = _measured(s, record, source)
    detail = at_soc(actual.value if actual else None) | {
        "at_s": source.at,
        "current_a": ohm.detail["current_a"],
        "resolution_mohm": round(1e3 * float(ohm.detail["resolution_ohm"]), 2),
        "rest_s": round(float(ohm.detail["rest_s"])),
    }
    elsewhere = of_soc(s, source.pulse, source.soc, record, ohm.value, lambda run: _measured(s, run, source)[0].value)
    uncertainty = math.hypot(ohm.uncertainty, elsewhere)
    return s.of_run(replace(ohm, uncertainty=uncertainty, detail=detail))


def increase(s: Samples, source: ResistanceIncrease) -> Estimate:
    if source.at != INITIAL_AT:
        raise MissingError(
            f"the new battery's resistance is known at {INITIAL_AT:g} s, not at {source.at:g} s",
            f"신품 저항은 {source.at:g} s 가 아니라 {INITIAL_AT:g} s 값으로 알려져 있음",
        )
    ohm = resistance(s, source)
    new = Estimate(s.dut.initial_dcir, 0.0, "ohm", (), {"at_s": INITIAL_AT})
    return replace(compared(ohm, new), detail=dict(ohm.detail) | {"new_mohm": s.dut.initial_dcir * 1e3})


def _reading(s: Samples) -> float:
    """Standard uncertainty of a cell's voltage in V, by the steps it is told in."""
    return s.cell_step / ROOT_12


def _lasted(pulse: Pulse, s: Samples, source: PulseAt) -> None:
    lasted = float(s.series.time[pulse.last] - s.series.time[pulse.first])
    if lasted < 0.99 * source.at:
        raise MissingError(f"the current flowed for {lasted:.3g} s only", f"전류가 {lasted:.3g} s 동안만 흐름")


def cell_ratio(s: Samples, source: CellResistanceRatio) -> Estimate:
    record, actual = nearest(s, source.pulse, source.soc)
    pulse = pulse_of(s, record, source.number)
    _lasted(pulse, s, source)
    ohms, _ = cell_resistances(s.series, pulse, source.at)
    if np.isnan(ohms).any():
        raise MissingError("a cell's voltage was not good during the pulse", "펄스 중 정상이 아닌 셀 전압이 있음")
    highest, middle = int(np.argmax(ohms)), float(np.median(ohms))
    if middle <= 0:
        raise MissingError("the cells' resistance is not above zero", "셀 저항이 0보다 크지 않음")
    value = float(ohms[highest]) / middle
    of_ohm = math.sqrt(2) * _reading(s) / abs(pulse.current)
    # the median of n is pi / 2 n of a single one's variance
    spread = math.hypot(of_ohm, value * of_ohm * math.sqrt(math.pi / 2 / len(ohms))) / middle
    detail = {"cell": highest + 1} | at_soc(actual.value if actual else None)
    rows = ((pulse.before, pulse.last),)
    return s.of_run(Estimate(value, spread, "1", rows, detail))


def power_capability(s: Samples, source: PowerCapability) -> Estimate:
    """P = I (V - I R), I what brings the first cell from its voltage at rest to the lowest one it may have.

    At most the current the battery model may be discharged with, since beyond it nothing was measured.
    """
    record, _ = nearest(s, source.pulse, source.soc)
    ohm = resistance(s, source)
    pulse = pulse_of(s, record, source.number)
    lowest = s.worked_out(source.cell_voltage)
    rested = float(s.series.voltage[pulse.before])
    volts = s.run.cells[int(s.usable[pulse.before])] if s.series.cells is not None else np.zeros(0)
    if volts.size and np.isfinite(volts).all():
        ohms, _ = cell_resistances(s.series, pulse, source.at)
        limits = (volts - lowest) / np.where(ohms > 0, ohms, np.nan)
        cell = int(np.nanargmin(limits)) if np.isfinite(limits).any() else -1
        bound = float(limits[cell]) if cell >= 0 else math.nan
        relative = math.sqrt(2) * _reading(s) / abs(pulse.current) / float(ohms[cell])
    else:
        cell = -1
        bound = (rested - lowest * s.dut.series_cells) / ohm.value
        relative = ohm.relative
    if not bound > 0:
        raise MissingError(
            "a cell is at its lowest voltage already at rest", "휴지 상태에서 이미 최저 전압인 셀이 있음"
        )
    ampere = min(bound, s.dut.max_discharge_current, rested / ohm.value / 2)  # beyond half the voltage power falls
    of_current = bound * relative if ampere == bound else 0.0
    value = ampere * (rested - ampere * ohm.value)
    spread = math.hypot((rested - 2 * ampere * ohm.value) * of_current, ampere**2 * ohm.uncertainty)
    detail = {**ohm.detail, "limit_a": ampere, "limited_by": "cell voltage" if ampere == bound else "rated current"}
    if cell >= 0:
        detail["cell"] = cell + 1
    return Estimate(value, spread, "W", ohm.rows, detail)
