"""The report says everything the journal knows of a run, in two languages, and never what it does not know."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from controller.journal import AuditEntry, Event, Journal
from controller.report import write_report
from controller.report.charts import (
    Band,
    Line,
    bar_chart,
    decimate,
    envelope,
    limit_bar,
    line_chart,
    nice_ticks,
    spread,
)
from controller.report.words import details, lasting, number, quantity
from controller.run import COLUMNS

T0 = 1.7e9
CELLS = tuple(f"cell_{n:03d}" for n in range(1, 5))
ALL_COLUMNS = (*COLUMNS, *CELLS, "temperature_01", "temperature_02")
HOSTILE = "<script>alert('x')</script>&\"'"
# (label, kind, seconds, current): a full battery, a pulse, a discharge to empty, and a rest
STEPS = (("charge", "cccv", 300, 30.0), ("rest", "rest", 60, 0.0), ("pulse (1/1)", "pulse", 50, -60.0),
         ("discharge_to_empty", "cc", 600, -30.0), ("rest_empty", "rest", 60, 0.0))  # fmt: skip


def measurement(value: float | None, unit: str, limits: Any = None, verdict: str = "pass", **more: Any) -> Any:
    title = more.pop("title", {"en": "Something", "ko": "어떤 것"})
    return {"value": value, "unit": unit, "limits": limits, "verdict": verdict, "title": title, "detail": more}


MEASUREMENTS = {
    "stateOfHealth": measurement(49.98, "%", {"min": 50.0, "max": None, "marginal": 3.0}, "fail", rated_ah=60.0,
                                 title={"en": "State of health", "ko": "건전성"}),
    "internalResistance50": measurement(212.34567, "mohm", soc_percent=49.8, at_s=10.0, current_a=-60.0),
    "cellSpread": measurement(None, "mV", {"min": None, "max": 100.0, "marginal": 10.0}, "inconclusive",
                              missing="step rest did not run"),
    "weakestCell": measurement(3.0, "1", voltage_v=2.701),
    "siteSpecific": measurement(1.5, "furlong", odd="thing"),
}  # fmt: skip
RESULT: dict[str, Any] = {
    "schema": "evaline/result/1", "run_id": "r1", "station": "st01",
    "recipe": {"id": "quick", "version": "1.0.0", "hash": "abc123", "title": {"en": "Quick", "ko": "간이"},
               "references": ["IEC 62660-1:2018"]},
    "dut": {"code": HOSTILE, "model": "m", "title": "4s pack"}, "author": "kim", "reason": "WO-1",
    "started": "2026-03-02T08:00:00.000Z", "ended": "2026-03-02T09:00:00.000Z", "line_seconds": 1070.0,
    "verdict": "fail", "grade": "D",
    "grade_reasons": [{"en": "not C: stateOfHealth < 50 %", "ko": "C 아님: stateOfHealth < 50 %"}],
    "grade_rules": "default", "outcome": {"code": "", "reason": ""}, "measurements": MEASUREMENTS,
    "steps": [{"label": label, "seconds": seconds, "reason": "duration", "complete": True}
              for label, _, seconds, _ in STEPS],
    "safety": [{"name": "temperature_rise", "warn": 1 / 60, "trip": 2 / 60, "delay_s": 10.0, "unit": "K/s"}],
    "alarms": [{"code": "E-SAFETY-WARN", "message": "getting <b>warm</b>", "trip": False, "t": T0 + 30}],
    "outputs_off": [{"step": "ramp to zero", "confirmed": True, "detail": ""},
                    {"step": "contactor open", "confirmed": False, "detail": "the contactors are still closed"}],
    "instruments": {"cycler": {"manufacturer": "EA", "model": "PSB 10500", "serial": "1000300042", "firmware": ""}},
    "software": "evaline 0.1.0", "data_file": {"path": "/data/r1.bdf.parquet", "sha256": "9f" * 32, "samples": 1070},
}  # fmt: skip
ORPHAN = {
    "schema": "evaline/result/1", "run_id": "r1", "station": "st01", "started": "2026-03-02T08:00:00.000Z",
    "ended": "2026-03-02T08:05:00.000Z", "verdict": "error", "grade": None,
    "outcome": {"code": "E-DAEMON", "reason": "the daemon ended while the run was active"}, "measurements": {},
}  # fmt: skip


def samples() -> np.ndarray[Any, np.dtype[np.float64]]:
    rows, t, charge = [], 0.0, 0.0
    for index, (_, kind, seconds, amperes) in enumerate(STEPS):
        for second in range(1, seconds + 1):
            t += 1
            current = 0.0 if kind == "pulse" and second > 10 else amperes
            charge += current / 3600
            cells = 3.6 + 0.1 * charge + current * 0.002 + np.array([0.0, 0.01, -0.02, 0.005])
            rows.append([T0 + t, t, index, cells.sum(), current, 0, max(charge, 0), max(-charge, 0), 0, 0, cells.min(),
                         cells.max(), 24, 25, 1e6, 0.5, *cells, 24, 25])  # fmt: skip
    table = np.array(rows, dtype=np.float64)
    table[100:110, 3:] = np.nan
    return table


async def written(
    tmp_path: Path, result: dict[str, Any], rows: Any = None, steps: tuple[Any, ...] = STEPS
) -> tuple[str, ElementTree.Element]:
    """The report of a run with this result: its text, and the same parsed."""
    journal = Journal.open(tmp_path / "journal.db")
    try:
        body = {"recipe": "quick", "hash": "abc123", "dut": HOSTILE, "author": "kim"}
        journal.append(Event(T0, "st01", "r1", "run.started", body))
        journal.audit(AuditEntry(T0, "kim", "start", "WO-1", {}), "st01", "r1")
        t = T0
        for index, (label, kind, seconds, _) in enumerate(steps):
            journal.append(Event(t, "st01", "r1", "step.started", {"step": index, "label": label, "kind": kind}))
            t += seconds
            if rows is not None:
                end = {"step": index, "label": label, "reason": "duration", "complete": True, "charge_ah": 0.5}
                journal.append(Event(t, "st01", "r1", "step.ended", end))
        if rows is not None:
            journal.append_samples(t, "st01", "r1", ALL_COLUMNS, rows)
        journal.commit_result(
            Event(t, "st01", "r1", "run.ended", {}), result, [], AuditEntry(t, "kim", "result", "", {})
        )
        await journal.flush()
        path = write_report(journal, "r1")
    finally:
        await journal.close()
    assert list(path.parent.glob(".*")) == [], "no temporary file is left"
    text = path.read_text(encoding="utf-8")
    return text, ElementTree.fromstring(text)


def words_of(element: ElementTree.Element) -> str:
    return re.sub(r"\s+", " ", "".join(element.itertext()))


async def test_a_full_report_has_every_measurement_in_both_languages(tmp_path: Path) -> None:
    result = RESULT | {"report": str(tmp_path / "elsewhere" / "r1.html")}
    text, page = await written(tmp_path, result, samples())
    assert (tmp_path / "elsewhere" / "r1.html").exists()
    assert {row.get("id") for row in page.iter("tr")} >= MEASUREMENTS.keys()
    said = words_of(page)
    for expected in ("49.98", "≥ 50 %", "212.3", "at 49.8 % SOC", "Not confirmed", "확인되지 않음", "1 K/min",
                     "9f" * 32, "r1.bdf.parquet", "1000300042", "불합격", "측정 결과", "not C: State of health < 50 %",
                     "C 아님: 건전성 < 50 %", "IEC 62660-1:2018", "3: 3."):  # fmt: skip
        assert expected in said, expected
    headings = [figure.find("figcaption/h3") for figure in page.iter("figure")]
    titles = [words_of(heading) for heading in headings if heading is not None]
    assert len(titles) == 6
    assert "nan" not in text.lower()


async def test_every_text_exists_in_english_and_in_korean(tmp_path: Path) -> None:
    _, page = await written(tmp_path, RESULT, samples())
    english = [e for e in page.iter("span") if e.get("lang") == "en"]
    korean = [e for e in page.iter("span") if e.get("lang") == "ko"]
    assert len(english) == len(korean) > 50
    assert all(words_of(e).strip() for e in (*english, *korean))
    assert all(cell.find(".//span[@lang='ko']") is not None for cell in page.iter("th") if words_of(cell) != "#")


async def test_hostile_text_stays_text_and_nothing_is_loaded(tmp_path: Path) -> None:
    text, page = await written(tmp_path, RESULT, samples())
    heading = page.find(".//h1")
    assert heading is not None
    assert heading.text == HOSTILE
    assert not list(page.iter("script"))
    assert not list(page.iter("b"))[1:], "the only bold element is the grade"
    assert not re.search(r"\b(src|href)=|@import|url\(|https?:", text)


async def test_a_run_nobody_finished_gets_an_honest_report(tmp_path: Path) -> None:
    _, page = await written(tmp_path, ORPHAN, None, STEPS[:2])
    assert (tmp_path / "reports" / "r1.html").exists(), "beside the journal where the result names no file"
    said = words_of(page)
    for expected in ("E-DAEMON", HOSTILE, "kim", "did not end", "No off sequence is recorded", "no samples to draw"):
        assert expected in said, expected
    assert not list(page.iter("figure"))


async def test_an_aborted_run_with_some_samples_shows_what_there_is(tmp_path: Path) -> None:
    aborted = RESULT | {
        "verdict": "aborted", "grade": None, "outcome": {"code": "E-ABORTED", "reason": "aborted by kim: smell"},
    }  # fmt: skip
    _, page = await written(tmp_path, aborted, samples()[:20])
    assert "aborted by kim: smell [E-ABORTED]" in words_of(page)
    assert list(page.iter("figure"))


@pytest.mark.parametrize("rows", [samples()[:1], np.full((3, len(ALL_COLUMNS)), np.nan)])
async def test_hardly_any_samples_are_no_reason_to_fail(tmp_path: Path, rows: Any) -> None:
    rows = rows.copy()
    rows[:, 0] = T0 + np.arange(len(rows))
    await written(tmp_path, RESULT, rows)


async def test_a_run_without_a_result_has_no_report(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "journal.db")
    try:
        with pytest.raises(LookupError, match="r9"):
            write_report(journal, "r9")
    finally:
        await journal.close()


# --------------------------------------------------------------------------------------------------------- charts

VALUES = st.floats(-1e6, 1e6) | st.just(float("nan"))


@given(npst.arrays(np.float64, st.integers(1, 400), elements=VALUES), st.integers(1, 40), st.data())
def test_decimation_loses_no_extreme_and_closes_no_gap(y: Any, buckets: int, data: st.DataObject) -> None:
    steps = data.draw(npst.arrays(np.float64, len(y), elements=st.floats(0, 100)))
    x = np.cumsum(steps)
    xs, ys = decimate(x, y, buckets)
    assert len(xs) <= max(7 * buckets, 2)
    assert np.all(np.diff(xs) >= 0)
    good = y[~np.isnan(y)]
    if good.size:
        assert (np.nanmin(ys), np.nanmax(ys)) == (good.min(), good.max())
    assert np.isnan(ys).any() == np.isnan(y).any()
    assert (xs[0], xs[-1]) == (x[0], x[-1])


def test_decimation_keeps_a_step_upright() -> None:
    x = np.arange(1000.0)
    xs, ys = decimate(x, np.where(x < 333, -30.0, 0.0), 10)
    before = int(np.flatnonzero(ys == 0.0)[0]) - 1
    assert (xs[before], xs[before + 1]) == (332.0, 333.0)


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e6), st.integers(2, 10))
def test_ticks_are_round_and_enclose_the_data(low: float, span: float, count: int) -> None:
    ticks = nice_ticks(low, low + span, count)
    assert ticks[0] <= low + 1e-6 * span
    assert ticks[-1] >= low + span - 1e-6 * span
    assert 2 <= len(ticks) <= count + 3


@given(st.lists(st.floats(0, 900), max_size=60).map(sorted))
def test_names_never_meet_and_keep_their_order(places: list[float]) -> None:
    moved = spread(places, 0, 900)
    assert all(b - a >= 10.999 for a, b in pairwise(moved))
    assert all(-1e-6 <= place <= 900 + 1e-6 for place in moved)


def test_gaps_break_lines_and_areas() -> None:
    x, y = np.arange(5.0), np.array([1.0, 2.0, np.nan, 3.0, 4.0])
    chart = ElementTree.fromstring(line_chart([Line(x, y)], band=Band(x, y, y + 1), x_unit="s", y_unit="V"))
    line, area = (next(p for p in chart.iter("path") if p.get("class") == name) for name in ("line main", "area"))
    assert (line.get("d") or "").count("M") == 2
    assert (area.get("d") or "").count("Z") == 2


def test_an_envelope_ignores_bad_cells_and_has_gaps_where_all_are_bad() -> None:
    low, mean, high = envelope(np.array([[1.0, np.nan, 3.0], [np.nan] * 3]))
    assert (low[0], mean[0], high[0]) == (1.0, 2.0, 3.0)
    assert np.isnan([low[1], mean[1], high[1]]).all()


def test_nothing_good_draws_nothing() -> None:
    nothing = np.full(3, np.nan)
    assert not line_chart([Line(np.arange(3.0), nothing)], x_unit="s", y_unit="V")
    assert not bar_chart(nothing, y_unit="V", marked=None, label="")


@given(st.none() | st.floats(-1e9, 1e9), st.none() | st.floats(-100, 100), st.floats(0, 500), st.floats(0, 200))
def test_a_limit_bar_is_well_formed_wherever_the_value_lies(
    value: float | None, low: float | None, width: float, marginal: float
) -> None:
    high = None if low is not None and width > 400 else (low or 0.0) + width
    bar = ElementTree.fromstring(limit_bar(value, low, high, marginal))
    assert all(float(zone.get("width") or -1) >= 0 for zone in bar.iter("rect"))
    assert (bar.find("path") is not None) == (value is not None)


def test_numbers_read_as_people_write_them() -> None:
    assert number(49.98, "%", (50.0, 53.0)) == "49.98", "rounding never lifts a value to its limit"
    assert (number(51.234, "%"), number(None), number(-0.5, "mohm")) == ("51.2", "—", "−0.5000")
    assert (quantity(35000.0, "ohm"), quantity(28800.0, "s")) == ("35 kΩ", "8 h")
    assert (lasting(5.04), lasting(3661.0), lasting(None)) == ("5.0 s", "1:01:01", "—")
    assert details({"cell": 31, "end": "cell voltage 2.7 V"}) == ("cell 31, ended by cell voltage 2.7 V",
                                                                   "31번 셀, 종료: 셀 전압 2.7 V")  # fmt: skip
