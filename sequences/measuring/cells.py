"""Cells of a string against each other: spread, the one that ends the discharge and why, self-discharge."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from sequences.analysis import (
    Estimate,
    Segments,
    Sweep,
    UnmeasurableError,
    cell_spread,
    compare_cells,
    find_pulses,
    find_sweeps,
)
from sequences.analysis.estimate import ROOT_12
from sequences.measurement import CellLag, CellSpread, WeakestCell
from sequences.measuring.charge import nearest, of_soc
from sequences.measuring.samples import Array, MissingError, Rows, Samples, at_soc
from sequences.record import StepRecord

SETTLED_OVER = 60.0  # s at the end of a rest over which cells' voltages are averaged
_CURRENT = 0.1  # a discharge's usual current, within this share
_NEAR = 0.02  # of the capacity, to either side: over which a voltage curve's slope is taken
_ABOUT = 0.06  # of it, where a discharge is interrupted there
_POLARISED = 0.2  # of that slope, which is taken under current: its standard uncertainty
FEWEST = 3


def spread(s: Samples, source: CellSpread) -> Estimate:
    record, soc = nearest(s, source.rest, source.soc)
    found = cell_spread(s.cells, s.end(record))
    detail = at_soc(soc.value if soc else None) | {
        "rest_s": round(record.ended - record.started),
        "lowest_cell": found.detail["lowest_cell"],
        "highest_cell": found.detail["highest_cell"],
    }
    elsewhere = of_soc(
        s, source.rest, source.soc, record, found.value, lambda run: float(np.ptp(s.run.cells[s.end(run)]))
    )
    return replace(found, uncertainty=math.hypot(found.uncertainty, elsewhere), detail=detail)


def weakest(s: Samples, source: WeakestCell) -> Estimate:
    """Its number has no uncertainty; `margin_mv` tells how far the next one lay above it."""
    row = s.end(s.last(source.until))
    cells = s.run.cells[row]
    if not cells.size or np.isnan(cells).any():
        raise MissingError(
            "a cell's voltage was not good at the end of the discharge", "방전 종료 시 정상이 아닌 셀 전압이 있음"
        )
    order = np.argsort(cells)
    detail: dict[str, float | str] = {"voltage_v": float(cells[order[0]])}
    if len(cells) > 1:
        detail["margin_mv"] = round(1e3 * float(cells[order[1]] - cells[order[0]]), 3)
    return Estimate(float(order[0] + 1), math.nan, "1", ((row, row),), detail | _why(s, row, int(order[0]) + 1))


def _why(s: Samples, row: int, cell: int) -> dict[str, float | str]:
    """The cause and its parts in Ah, where the discharge tells them."""
    if not s.usable.size:
        return {}
    pulses = find_pulses(s.segments)
    sweeps = [sweep for sweep in discharges(s.segments) if sweep.first < s.at(row) <= sweep.last + 1]
    if not pulses or not sweeps:
        return {}
    try:
        found = compare_cells(s.segments, sweeps[-1], max(pulses, key=lambda pulse: abs(pulse.current)))
    except UnmeasurableError:
        return {}
    limiting = found.limits_discharge
    if limiting.cell != cell:
        return {}
    parts: dict[str, float | str] = {f"{name}_ah": round(part.value, 3) for name, part in limiting.parts.items()}
    return {"cause": str(limiting.cause)} | parts


def discharges(segments: Segments) -> list[Sweep]:
    return [sweep for sweep in find_sweeps(segments) if sweep.direction < 0]


def lag(s: Samples, source: CellLag) -> Estimate:
    """The lowest cell below the median one, over the slope of the run's own voltage curve there."""
    record = s.runs(source.rest)[-1]
    rows, volts = settled(s, record)
    if volts.size < FEWEST:
        raise MissingError("fewer than three cells to compare", "비교할 셀이 3개보다 적음")
    slope = _slope_about(s, int(rows[-1]))
    if slope.value <= 0:
        raise MissingError("the voltage curve is flat there", "해당 구간의 전압 곡선이 평탄함")
    lowest = int(np.argmin(volts))
    behind = float(np.median(volts) - volts[lowest])
    reading = s.cell_step / ROOT_12
    uncertainty = math.hypot(reading / slope.value, behind / slope.value * slope.uncertainty / slope.value)
    detail: dict[str, float | str] = {"cell": lowest + 1, "behind_mv": round(1e3 * behind, 3)}
    return Estimate(behind / slope.value, uncertainty, "1", ((int(rows[0]), int(rows[-1])),), detail)


def settled(s: Samples, record: StepRecord) -> tuple[Rows, Array]:
    """The rows at the end of a rest, and every cell's mean voltage over them."""
    rows = s.rows(record)
    rows = rows[s.t[rows] >= s.t[rows[-1]] - SETTLED_OVER]
    cells = s.run.cells[rows]
    if np.isnan(cells).any():
        raise MissingError(
            f"a cell's voltage was not good at the end of {record.label}",
            f"{record.label} 종료 시 정상이 아닌 셀 전압이 있음",
        )
    return rows, cells.mean(axis=0)


def _slope_about(s: Samples, row: int) -> Estimate:
    """The slope there or, where pulses and their rests interrupt the discharge, over more of it."""
    try:
        return voltage_slope(s, row)
    except MissingError:
        return voltage_slope(s, row, _ABOUT)


def voltage_slope(s: Samples, row: int, within: float = _NEAR) -> Estimate:
    """dV/dSOC of the cells' median at the state of charge of a row, in V, from the run's slowest discharge through it.

    A state of charge of 1 is the rated capacity; 20 % uncertain, for it is taken under current.
    """
    net, series = s.net_ah[s.usable], s.series
    here = float(s.net_ah[row])
    margin = within * s.dut.rated_capacity
    found: list[tuple[bool, float, Sweep]] = []
    for sweep in discharges(s.segments):
        current = -series.current[sweep.first : sweep.last + 1]
        flowing = current[current > s.segments.rest_current]
        if flowing.size and net[sweep.last] <= here <= net[sweep.first]:
            one_sided = net[sweep.last] > here - margin or net[sweep.first] < here + margin
            found.append((one_sided, float(np.median(flowing)), sweep))
    if not found:
        raise MissingError(
            "no discharge of this run passed the state of charge of the rests",
            "이 실행의 방전 중 휴지 시의 충전 상태를 지난 것이 없음",
        )
    _, usual, sweep = min(found, key=lambda each: each[:2])
    capacity = s.dut.rated_capacity
    rows = np.arange(sweep.first, sweep.last + 1)
    rows = rows[np.abs(-series.current[rows] - usual) <= _CURRENT * usual]
    near = rows[np.abs(net[rows] - here) <= within * capacity]
    volts = np.median(s.run.cells[s.usable[near]], axis=1) if near.size else np.zeros(0)
    good = np.isfinite(volts)
    if good.sum() < FEWEST or np.ptp(net[near][good]) < within * capacity:
        raise MissingError(
            "the slowest discharge has too few samples there", "가장 느린 방전의 해당 구간에 샘플이 너무 적음"
        )
    share = (net[near][good] - here) / capacity
    slope = float(np.polyfit(share, volts[good], 1)[0])
    return Estimate(slope, _POLARISED * abs(slope), "V", ((int(s.usable[near[0]]), int(s.usable[near[-1]])),))
