"""What a cell loses by itself: against its neighbours over a rest, or from cycle to cycle."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from sequences.analysis import Estimate, RestVoltage, from_voltages
from sequences.analysis.estimate import ROOT_12
from sequences.analysis.self_discharge import MONTH
from sequences.measurement import SelfDischarge, Slippage
from sequences.measuring.cells import FEWEST, settled, voltage_slope
from sequences.measuring.samples import Array, MissingError, Rows, Samples
from sequences.record import StepRecord

LEAST_APART = 3600.0  # s between two rests or discharges: below, nothing of a self-discharge is seen
_FLOWED = 1e-3  # of the rated capacity: what may have flowed between two rests
_TAIL = 0.04  # of it: the end of the discharges, over which their curves are compared
_POINTS = 33
_STEADY = 0.1  # of a discharge's usual current
_CURVED = 0.1  # of what was lost: a curve is taken for straight over it


def self_discharge(s: Samples, source: SelfDischarge) -> Estimate:
    """What the cell that lost most lost more than the median cell in 30 days, as a share of the rated capacity.

    Against its neighbours, which relax, cool down and are measured alike, so that only what sets a cell apart is left;
    how far the other cells scatter (1.4826 times their median deviation) is the least uncertainty of each.
    """
    first, second = s.runs(source.first)[-1], s.runs(source.second)[-1]
    began, before = settled(s, first)
    ended, after = settled(s, second)
    seconds = float(s.t[ended[-1]] - s.t[began[-1]])
    if seconds < LEAST_APART:
        raise MissingError(
            f"{seconds:.0f} s between {source.first} and {source.second}, {LEAST_APART:.0f} s are asked for",
            f"{source.first} 와(과) {source.second} 사이가 {seconds:.0f} s 로, {LEAST_APART:.0f} s 이상이어야 함",
        )
    moved = s.run.columns["charged_ah"] + s.run.columns["discharged_ah"]
    if (flowed := float(moved[ended[-1]] - moved[began[-1]])) > _FLOWED * s.dut.rated_capacity:
        raise MissingError(
            f"{flowed:.3g} Ah flowed between {source.first} and {source.second}",
            f"{source.first} 와(과) {source.second} 사이에 {flowed:.3g} Ah 가 흐름",
        )
    if before.size < FEWEST:
        raise MissingError("fewer than three cells to compare", "비교할 셀이 3개보다 적음")
    lost = before - after
    middle = float(np.median(lost))
    worst = int(np.argmax(lost))
    scatter = 1.4826 * float(np.median(np.abs(lost - middle)))
    rest = {name: float(np.median(volts)) for name, volts in (("before", before), ("after", after))}
    reading = max(s.cell_step / ROOT_12, scatter / math.sqrt(2))

    def rested(volts: Array, name: str, rows: Rows) -> RestVoltage:
        voltage = Estimate(float(volts[worst]) - rest[name], reading, "V", ((int(rows[0]), int(rows[-1])),))
        # the neighbours share the temperature, and their voltages change with it alike
        return RestVoltage(voltage, float(s.t[rows[-1]]), 25.0)

    slope = voltage_slope(s, int(ended[-1]))
    found = from_voltages(
        rested(before, "before", began), rested(after, "after", ended), slope, LEAST_APART / 86400
    ).charge
    assert found is not None  # it was given a slope
    detail: dict[str, float | str] = {
        "cell": worst + 1,
        "hours": round(seconds / 3600, 2),
        "lost_mv": round(1e3 * float(lost[worst]), 3),
        "median_cell_lost_mv": round(1e3 * middle, 3),
        "slope_v": round(slope.value, 4),
    }
    return replace(found, detail=detail)


def slippage(s: Samples, source: Slippage) -> Estimate:
    """How far each cell's curve has moved along the charge axis from the first of the discharges to the last.

    At the end of the discharges, where cells tell most of their charge. What moves all curves alike, a counter's drift
    along the charge or another temperature along the voltage, is left out by the median; how far the cells scatter
    about it is the least uncertainty of each.
    """
    first, last = _twice(s, source.discharge)
    seconds = float(s.t[last[-1]] - s.t[first[-1]])
    if seconds < LEAST_APART:
        raise MissingError(
            f"{seconds:.0f} s between two runs of {source.discharge}, {LEAST_APART:.0f} s are asked for",
            f"{source.discharge} 두 번 사이가 {seconds:.0f} s 로, {LEAST_APART:.0f} s 이상이어야 함",
        )
    rated = s.dut.rated_capacity
    end = max(float(s.net_ah[first[-1]]), float(s.net_ah[last[-1]]))
    before, after = (_tail(s, rows, end, _TAIL * rated) for rows in (first, last))
    slopes = _slopes(before, _TAIL * rated)
    strength = np.sqrt((slopes**2).mean(axis=1))  # V/Ah
    lost = _moved(before - after, slopes)
    worst = int(np.argmax(lost))
    apart = lost * strength
    scatter = 1.4826 * float(np.median(np.abs(apart - np.median(apart))))
    reading = max(scatter, s.cell_step / ROOT_12 * math.sqrt(2 / _POINTS)) / float(strength[worst])
    a_month = MONTH / seconds / rated
    detail: dict[str, float | str] = {
        "cell": worst + 1,
        "hours": round(seconds / 3600, 2),
        "lost_mah": round(1e3 * float(lost[worst]), 1),
        "slope_v_per_ah": round(float(strength[worst]), 4),
    }
    uncertainty = math.hypot(reading, _CURVED * float(lost[worst])) * a_month
    spans = tuple((int(rows[0]), int(rows[-1])) for rows in (first, last))
    return Estimate(float(lost[worst]) * a_month, uncertainty, "1", spans, detail)


def _slopes(volts: Array, length: float) -> Array:
    """dV/dQ (cells, points) in V/Ah of curves over `length` Ah, of a cubic through them: readings have steps."""
    x = np.linspace(0.0, 1.0, volts.shape[1])
    cubic = np.polynomial.polynomial.polyfit(x, volts.T, 3)
    slopes = np.polynomial.polynomial.polyval(x, np.polynomial.polynomial.polyder(cubic)) / length
    if not (slopes.mean(axis=1) > 0).all():
        raise MissingError(
            "a cell's voltage does not fall at the end of it", "방전 말기에 전압이 내려가지 않는 셀이 있음"
        )
    return np.asarray(slopes)


def _moved(lower: Array, slopes: Array) -> Array:
    """Ah (cells,) by which each curve, `lower` by so many V at each point, moved further than the median one.

    A curve grows steeper towards its end, so each cell tells a shift along the charge from one of its voltage.
    """
    steeper = slopes - slopes.mean(axis=1, keepdims=True)
    shift = (steeper * lower).sum(axis=1) / (steeper**2).sum(axis=1)
    alike = float(np.median(lower.mean(axis=1) - shift * slopes.mean(axis=1)))
    shift = (slopes * (lower - alike)).sum(axis=1) / (slopes**2).sum(axis=1)
    return np.asarray(shift - np.median(shift))


def _twice(s: Samples, name: str) -> tuple[Rows, Rows]:
    """The rows of a step's first and last whole run at its usual current."""
    runs = [run for run in s.runs(name) if run.complete]
    if len(runs) < 2:
        raise MissingError(f"{name} came to its end only once", f"{name} 이(가) 한 번만 완료됨")
    if s.dut.series_cells < FEWEST or s.run.cells.shape[1] < FEWEST:
        raise MissingError("fewer than three cells to compare", "비교할 셀이 3개보다 적음")

    def steady(run: StepRecord) -> Rows:
        rows = s.rows(run)
        current = s.column("current")[rows]
        usual = float(np.nanmedian(current))
        return rows[np.abs(current - usual) <= _STEADY * abs(usual)]

    return steady(runs[0]), steady(runs[-1])


def _tail(s: Samples, rows: Rows, end: float, length: float) -> Array:
    """Each cell's voltage (cells, points) over the last `length` Ah before a net charge of `end` Ah, that first."""
    cells, net = s.run.cells[rows], s.net_ah[rows]
    if rows.size < 2 or net[0] < end + length or np.isnan(cells).any():
        raise MissingError("the discharge has no whole end", "방전의 말기 데이터가 온전하지 않음")
    at = end + length * np.linspace(0.0, 1.0, _POINTS)
    return np.array([np.interp(at, net[::-1], volts[::-1]) for volts in cells.T])
