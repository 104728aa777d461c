"""The fast estimate of the state of health, from a run's pulse pair and partial charge.

A battery's state of health is that of its weakest cell, so every cell is estimated on its own by its own voltage, and
the lowest estimate with its interval counts. A cell that the model refuses may be that cell: one refusal refuses the
battery. The mean cell's estimate, where the battery's voltage is told finely enough for one, is in the detail only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sequences.analysis import Estimate, Pulse
from sequences.fast_soh import ALLOWED, VOLTAGES, FastPulse, estimate
from sequences.fast_soh import FastSoh as Estimated
from sequences.measurement import FastSoh
from sequences.measuring.reasons import in_words
from sequences.measuring.resistance import pulse_of
from sequences.measuring.samples import Array, MissingError, Samples
from sequences.text import Text

# where in its charge a battery may start: the models were fitted there, and no envelope sees the difference
START_SOC = (0.05, 0.40)
K_90 = 1.645  # standard uncertainties in half a 90 % interval


@dataclass(frozen=True, slots=True)
class _Procedure:
    """Rows of the series at the six moments, in the order of FastPulse, and how the procedure was done."""

    rows: tuple[int, ...]
    soc: float
    conditions: dict[str, float]


def fast_soh(s: Samples, source: FastSoh) -> Estimate:
    done = _procedure(s, source)
    rows = ((done.rows[0], done.rows[-1]),)
    found, why, detail = _estimated(s, done)
    if source.of == "in_envelope":
        detail |= {} if found else {"why": why.en, "why_ko": why.ko}
        return s.of_run(Estimate(float(found is not None), math.nan, "1", rows, detail))
    if found is None or found.soh is None or found.low is None or found.high is None:
        raise MissingError(why.en, why.ko)
    value = {"estimate": found.soh, "lower": found.low, "upper": found.high}[source.of]
    spread = (found.high - found.low) / 2 / K_90 if source.of == "estimate" else math.nan
    return s.of_run(Estimate(value, spread, "1", rows, detail))


def _estimated(s: Samples, done: _Procedure) -> tuple[Estimated | None, Text, dict[str, float | str]]:
    """The weakest cell's estimate or why there is none, and what else is known."""
    detail: dict[str, float | str] = {}
    low, high = START_SOC
    if not low <= done.soc <= high:
        told = "" if math.isnan(done.soc) else f" {done.soc:.0%}"
        en = f"state of charge by the BMS{told or ' unknown'}, the model needs {low:.0%} to {high:.0%}"
        ko = f"BMS의 충전 상태{told or ' 알 수 없음'}, 모델 조건은 {low:.0%} ~ {high:.0%}"
        return None, Text(en=en, ko=ko), detail
    detail["soc_percent"] = round(100 * done.soc, 1)
    n = s.dut.series_cells
    mean = _ask(s, done, s.series.voltage / n, s.series.voltage_resolution / n)
    if n > 1 and mean.soh is not None:
        detail |= {"mean_cell_percent": round(100 * mean.soh, 2)}
    step = s.cell_step if s.series.cells is not None else 0.0
    if n == 1 and not 0 < step < s.series.voltage_resolution:
        every = [mean]
    elif s.series.cells is None:
        return None, in_words("there are no cell voltages"), detail
    else:
        every = [_ask(s, done, s.series.cells[:, cell], step) for cell in range(s.series.cells.shape[1])]
    for cell, answer in enumerate(every, 1):
        if answer.soh is None:
            why = in_words("; ".join(answer.reasons))
            at = Text(en=f"cell {cell}: {why.en}", ko=f"{cell}번 셀: {why.ko}") if n > 1 else why
            return None, at, detail
    weakest = min(range(len(every)), key=lambda cell: every[cell].soh or 0.0)
    detail |= {"family": every[weakest].family} | ({"cell": weakest + 1} if n > 1 else {})
    return every[weakest], Text(en="", ko=""), detail


def _ask(s: Samples, done: _Procedure, voltage: Array, step: float) -> Estimated:
    """What the model says of these voltages (n,), told in such steps; 0 V is a step nobody knows."""
    volts: dict[str, float] = {name: float(voltage[row]) for name, row in zip(VOLTAGES, done.rows, strict=True)}
    told: dict[str, float | None] = {"resolution": step or None}
    return estimate(s.dut.chemistry, FastPulse(**volts, **done.conditions, **told))


def _procedure(s: Samples, source: FastSoh) -> _Procedure:
    train, charge, rest = s.last(source.pulse), s.last(source.charge), s.last(source.rest)
    up, down, after = pulse_of(s, train, 1), pulse_of(s, train, 2), pulse_of(s, charge)
    if not up.current > 0 > down.current or after.current <= 0:
        raise MissingError(
            "the procedure is a charge pulse, a discharge pulse and a charge, in this order",
            "절차는 충전 펄스, 방전 펄스, 충전의 순서임",
        )
    time, column = s.series.time, s.run.columns.get("soc")
    last = s.at(s.end(rest))
    current = np.abs(s.series.current[after.first : last + 1])
    stopped = after.first + int(np.flatnonzero(current > s.segments.rest_current)[-1])
    rated = s.dut.rated_capacity
    row = int(s.usable[up.before])
    # a rest lies between the samples that last and first showed a current; a scan is nothing to ten minutes
    flowed = np.flatnonzero(np.abs(s.series.current[: up.before + 1]) > s.segments.rest_current)
    rested = float(time[up.first] - time[flowed[-1] if flowed.size else 0])
    conditions = {
        "rest_before": rested if flowed.size else rested + source.rested,
        "pulse_rate": (abs(up.current) + abs(down.current)) / 2 / rated,
        "pulse_time": (_lasted(time, up) + _lasted(time, down)) / 2,
        "pulse_rest": (_between(time, up, down) + _between(time, down, after)) / 2,
        "charged": charge.charge / rated,
        "rest_after": float(time[last] - time[stopped]),
        "temperature": _temperature(s, row),
    }
    rows = (up.before, up.last, down.before, down.last, after.before, last)
    soc = math.nan if column is None else float(column[row])
    return _Procedure(rows, soc, conditions)


def _lasted(time: Array, pulse: Pulse) -> float:
    """s from the middle between the samples at which a pulse began to that between those at which it ended."""
    return _middle(time, pulse.last, pulse.last + 1) - _middle(time, pulse.before, pulse.first)


def _between(time: Array, pulse: Pulse, later: Pulse) -> float:
    return _middle(time, later.before, later.first) - _middle(time, pulse.last, pulse.last + 1)


def _middle(time: Array, first: int, last: int) -> float:
    return float(time[first] + time[min(last, len(time) - 1)]) / 2


def _temperature(s: Samples, row: int) -> float:
    """Of the sensors at a row the one farthest from what the models allow, degC; NaN without one."""
    _, low, high = ALLOWED["temperature"]
    found = [
        float(s.run.columns[name][row]) for name in ("temperature_min", "temperature_max") if name in s.run.columns
    ]
    good = [degc for degc in found if math.isfinite(degc)]
    return max(good, key=lambda degc: abs(degc - (low + high) / 2), default=math.nan)
