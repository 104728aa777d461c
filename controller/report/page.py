"""The evaluation report of a run: one HTML file that needs nothing else, written from the journal alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from controller.journal.reader import JournalReader
from controller.report import words
from controller.report.charts import Array, Band, Line, Mark, bar_chart, envelope, limit_bar, line_chart
from controller.report.words import Pair

_PULSE_STYLES = ("main", "dark dashed", "soft", "main dashed", "dark", "soft dashed")
_FLOWING = 0.05  # share of the highest current above which a sample counts as under load
_FEWEST_POINTS = 3  # of a spectrum that is worth drawing
_ALL = 100_000  # more events of one kind than any run has


@dataclass(frozen=True)
class Figure:
    """A chart with its words; the legend pairs a CSS class with what it stands for."""

    title: Pair
    note: Pair
    charts: list[str]
    legend: list[tuple[str, Pair]]


@dataclass(frozen=True)
class StepRow:
    """A step as the table shows it; times in s since the run's start, None where it never ended."""

    index: int
    label: str
    kind: Pair
    began: float | None
    seconds: float | None
    charge: float | None
    reason: Pair
    complete: bool


def write_report(journal: JournalReader, run_id: str) -> Path:
    """Write the report of a run that has its result; returns the file. Blocking: call it in a thread.

    Raises OSError when the file cannot be written and LookupError when the run has no result.
    """
    result = journal.result(run_id)
    if result is None:
        raise LookupError(f"run {run_id} has no result yet")
    # a result that another daemon settled after a crash names no file
    path = Path(result.get("report") or journal.path.parent / "reports" / f"{Path(run_id).name}.html")
    _replace(path, render(journal, run_id, result))
    return path


def render(journal: JournalReader, run_id: str, result: dict[str, Any]) -> str:
    """The report as HTML text. What the result does not say is taken from the run's events, or said to be missing."""
    began = next(iter(journal.events(run_id, kind="run.started")), None)
    ended = next(iter(journal.events(run_id, kind="run.ended")), None)
    started = began.body if began else {}
    columns, rows = journal.samples(run_id)
    data = {name: rows[:, index] for index, name in enumerate(columns)}
    first = began.t if began else float(data["t"][0]) if len(rows) and "t" in data else 0.0
    steps = _steps(journal, run_id, result, first)
    off = [event.body.get("steps", []) for event in journal.events(run_id, kind="outputs.off")]
    results = result.get("measurements", {})
    return _template().render(
        result=result,
        run_id=run_id,
        dut=result.get("dut") or {"code": started.get("dut", "—")},
        recipe=result.get("recipe") or {"id": started.get("recipe", "—"), "hash": started.get("hash", "")},
        author=result.get("author") or started.get("author", ""),
        verdict=result.get("verdict", "error"),
        in_words=_in_words(result),
        grade_reasons=_grade_reasons(result),
        measurements=[_measurement(name, results[name]) for name in words.in_order(results)],
        steps=steps,
        figures=(_figures(columns, rows, steps) if len(rows) else []) + _spectra(journal, run_id),
        safety=result.get("safety", []),
        alarms=[{"t": e.t - first, **_alarm(e.body)} for e in journal.events(run_id, limit=_ALL, kind="alarm")]
        or [{"t": alarm.get("t", first) - first, **_alarm(alarm)} for alarm in result.get("alarms", [])],
        off=result.get("outputs_off") or (off[-1] if off else []),
        audit=[
            {"t": event.t - first, **event.body} for event in journal.events(run_id, limit=_ALL, kind="audit")
        ],
        instruments=result.get("instruments", {}),
        data_file=result.get("data_file"),
        samples=len(rows),
        began=began,
        ended=ended,
        journal_name=journal.path.name,
    )  # fmt: skip


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["words"] = words
    return environment.get_template("report.html.j2")


def _replace(path: Path, text: str) -> None:
    """Put the file in place whole: a reader finds the old one, the new one, or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("w", encoding="utf-8", errors="replace") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


# ------------------------------------------------------------------------------------------------------- in words


def _titles(result: dict[str, Any]) -> dict[str, Pair]:
    return {name: _title(name, m) for name, m in result.get("measurements", {}).items()}


def _title(name: str, measurement: dict[str, Any]) -> Pair:
    title = measurement.get("title", {})
    return Pair(title.get("en", name), title.get("ko", name))


def _in_words(result: dict[str, Any]) -> Pair:
    """What the verdict means, in a sentence."""
    titles = _titles(result)
    by_verdict: dict[str, list[Pair]] = {}
    for name, measurement in result.get("measurements", {}).items():
        by_verdict.setdefault(measurement.get("verdict", ""), []).append(titles[name])

    def named(verdict: str) -> Pair:
        pairs = by_verdict.get(verdict, [])
        return Pair(", ".join(pair.en for pair in pairs) or "—", ", ".join(pair.ko for pair in pairs) or "—")

    outcome = result.get("outcome", {})
    told = outcome.get("reason")
    why = words.outcome_reason(told) if told else Pair("no reason recorded", "기록된 사유 없음")
    code = f"[{outcome.get('code') or '—'}]"
    match result.get("verdict"):
        case "pass":
            return Pair("Everything that has a limit lies within it.", "한계가 있는 모든 항목이 한계 안에 있습니다.")
        case "marginal":
            en, ko = named("marginal")
            return Pair(f"Within all limits, but close to one: {en}.", f"모든 한계 안에 있으나 한계에 가까움: {ko}.")
        case "fail":
            en, ko = named("fail")
            return Pair(f"Outside its limits: {en}.", f"한계를 벗어남: {ko}.")
        case "inconclusive" if not outcome.get("code"):
            en, ko = named("inconclusive")
            return Pair(f"Could not be measured: {en}.", f"측정할 수 없음: {ko}.")
        case "inconclusive":
            return Pair(
                f"The run ended before its recipe did: {why.en} {code}.",
                f"레시피가 끝나기 전에 종료됨: {why.ko} {code}.",
            )
        case "aborted":
            return Pair(f"The run was cut short: {why.en} {code}.", f"실행이 중단됨: {why.ko} {code}.")
        case _:
            return Pair(f"The run ended by an error: {why.en} {code}.", f"오류로 종료됨: {why.ko} {code}.")


def _grade_reasons(result: dict[str, Any]) -> list[Pair]:
    titles = _titles(result)
    english, korean = {n: t.en for n, t in titles.items()}, {n: t.ko for n, t in titles.items()}
    return [
        Pair(words.with_titles(reason.get("en", ""), english), words.with_titles(reason.get("ko", ""), korean))
        for reason in result.get("grade_reasons", [])
    ]


def _measurement(name: str, m: dict[str, Any]) -> dict[str, Any]:
    value, unit, limits = m.get("value"), m.get("unit", ""), m.get("limits")
    row = {
        "name": name,
        "title": _title(name, m),
        "unit": words.unit_sign(unit),
        "uncertainty": words.uncertainty(m.get("uncertainty")),
        "verdict": m.get("verdict", "inconclusive"),
        "detail": words.details(m.get("detail", {})),
    }
    if not limits:
        return row | {"value": words.number(value, unit), "limits": "", "bar": ""}
    low, high, band = limits.get("min"), limits.get("max"), limits.get("marginal") or 0.0
    edges = [e for limit, sign in ((low, 1), (high, -1)) if limit is not None for e in (limit, limit + sign * band)]
    text, marginal = words.limit_words(limits, unit)
    return row | {
        "value": words.number(value, unit, tuple(edges)),
        "limits": text,
        "marginal": marginal,
        "bar": limit_bar(value, low, high, band),
    }


def _alarm(body: dict[str, Any]) -> dict[str, Any]:
    return {"code": body.get("code", ""), "message": body.get("message", ""), "trip": bool(body.get("trip"))}


def _steps(journal: JournalReader, run_id: str, result: dict[str, Any], first: float) -> list[StepRow]:
    """From the run's events, so that a step that never ended is shown as well; else from the result."""
    started = {event.body["step"]: event for event in journal.events(run_id, limit=_ALL, kind="step.started")}
    ended = {event.body["step"]: event for event in journal.events(run_id, limit=_ALL, kind="step.ended")}
    rows = []
    for index, start in started.items():
        kind = words.term(words.STEP_KINDS, start.body.get("kind", ""))
        end = ended.get(index)
        body = end.body if end else {}
        reason = words.end_reason(body["reason"]) if end else Pair("did not end", "끝나지 않음")
        seconds = end.t - start.t if end else None
        charge, complete = body.get("charge_ah"), body.get("complete", False)
        rows.append(StepRow(index, start.body["label"], kind, start.t - first, seconds, charge, reason, complete))
    return rows or [
        StepRow(index, step["label"], Pair("", ""), None, step["seconds"], None,
                words.end_reason(step["reason"]), step["complete"])
        for index, step in enumerate(result.get("steps", []))
    ]  # fmt: skip


# -------------------------------------------------------------------------------------------------------- figures


class _Samples:
    """A run's samples as the figures want them: time in s since the first."""

    def __init__(self, columns: tuple[str, ...], rows: Array, steps: list[StepRow]) -> None:
        self._data = {name: rows[:, index] for index, name in enumerate(columns)}
        self._missing = np.full(len(rows), np.nan)
        self.t = self["t"] - self["t"][0]
        self.names = {step.index: step.label for step in steps}
        self.pulses = [step.index for step in steps if step.kind == words.STEP_KINDS["pulse"]]
        self.cells = self._group(rows, columns, "cell_")
        self.temperatures = self._group(rows, columns, "temperature_")
        self.step = self["step"]
        self.net = self["charged_ah"] - self["discharged_ah"]
        self.discharge = self._deepest_discharge()

    def __getitem__(self, name: str) -> Array:
        return self._data.get(name, self._missing)

    @staticmethod
    def _group(rows: Array, columns: tuple[str, ...], prefix: str) -> Array:
        return rows[:, [i for i, name in enumerate(columns) if name.removeprefix(prefix).isdigit()]]

    def _deepest_discharge(self) -> tuple[int, int] | None:
        """First and last row of the run's deepest discharge, from the fullest point to the last sample under load."""
        load = self["current"] < -_FLOWING * np.max(np.abs(np.nan_to_num(self["current"])), initial=0.0)
        fallen = np.where(load, np.maximum.accumulate(np.nan_to_num(self.net)) - self.net, np.nan)
        if not np.nanmax(np.nan_to_num(fallen), initial=0.0) > 0:
            return None
        last = int(np.nanargmax(fallen))
        full = np.nan_to_num(self.net[: last + 1], nan=-np.inf)
        return last - int(np.argmax(full[::-1])), last

    def scale(self) -> tuple[str, float]:
        """The unit of a time axis over the whole run, and how many seconds it has."""
        span = float(self.t[-1])
        return ("h", 3600.0) if span > 7200 else ("min", 60.0) if span > 300 else ("s", 1.0)


def _figures(columns: tuple[str, ...], rows: Array, steps: list[StepRow]) -> list[Figure]:
    """Every chart there is something good to draw for."""
    samples = _Samples(columns, rows, steps)
    makers = (_voltage_and_current, _temperatures, _cells, _discharge_curve, _cells_when_empty, _pulses)
    figures = [make(samples) for make in makers]
    return [figure for figure in figures if figure is not None and all(figure.charts)]


def _voltage_and_current(s: _Samples) -> Figure | None:
    unit, seconds = s.scale()
    x = s.t / seconds
    indices, rows = np.unique(s.step[np.isfinite(s.step)].astype(int), return_index=True)
    marks = [Mark(float(x[np.isfinite(s.step)][row]), s.names.get(int(i), "")) for i, row in
             zip(indices, rows, strict=True)]  # fmt: skip
    voltage = line_chart([Line(x, s["voltage"])], x_unit=unit, y_unit="V", marks=marks)
    current = line_chart([Line(x, s["current"], "dark")], x_unit=unit, y_unit="A", marks=marks, named=False, height=170)
    return Figure(
        Pair("Voltage and current", "전압과 전류"),
        Pair("Dotted lines are step boundaries. Current is positive when it charges.",
             "점선은 스텝 경계입니다. 전류는 충전일 때 양수입니다."),
        [chart for chart in (voltage, current) if chart],
        [("main", Pair("voltage", "전압")), ("dark", Pair("current", "전류"))],
    ) if voltage or current else None  # fmt: skip


def _temperatures(s: _Samples) -> Figure | None:
    unit, seconds = s.scale()
    x = s.t / seconds
    highest = Line(x, s["temperature_max"])
    channels = [Line(x, column, "soft") for column in s.temperatures.T if np.isfinite(column).any()]
    count = len(channels)
    return Figure(
        Pair("Temperatures", "온도"),
        Pair("Of the battery, over the whole run.", "시험 전체에 걸친 배터리 온도입니다."),
        [line_chart([*channels, highest], x_unit=unit, y_unit="°C", height=190)],
        [("main", Pair("highest", "최고")),
         *([("soft", Pair(f"each of {count} sensors", f"센서 {count}개 각각"))] if count else [])],
    )  # fmt: skip


def _cells(s: _Samples) -> Figure | None:
    unit, seconds = s.scale()
    x = s.t / seconds
    low, mean, high = envelope(s.cells)
    count = s.cells.shape[1]
    return Figure(
        Pair("Cell voltages", "셀 전압"),
        Pair(f"From the lowest to the highest of {count} cells.", f"셀 {count}개의 최저에서 최고까지입니다."),
        [line_chart([Line(x, mean)], band=Band(x, low, high), x_unit=unit, y_unit="V", height=200)],
        [("main", Pair("mean", "평균")), ("area", Pair("lowest to highest", "최저–최고"))],
    )


def _discharge_curve(s: _Samples) -> Figure | None:
    if s.discharge is None:
        return None
    first, last = s.discharge
    drawn = s.net[first] - s.net[first : last + 1]
    chart = line_chart([Line(drawn, s["voltage"][first : last + 1])], x_unit="Ah", y_unit="V", height=220)
    return Figure(
        Pair("Discharge curve", "방전 곡선"),
        Pair(f"{drawn[-1]:.2f} Ah from full to empty. Peaks are rests, dips are pulses.",
             f"만충전에서 방전 종료까지 {drawn[-1]:.2f} Ah. 위로 솟은 곳은 휴지, 아래로 꺼진 곳은 펄스입니다."),
        [chart],
        [("main", Pair("voltage over charge drawn", "방전 전하량에 따른 전압"))],
    )  # fmt: skip


def _cells_when_empty(s: _Samples) -> Figure | None:
    if s.discharge is None or not s.cells.size:
        return None
    cells = s.cells[s.discharge[1]]
    if not np.isfinite(cells).any():
        return None
    weakest = int(np.nanargmin(cells))
    name = s.names.get(int(s.step[s.discharge[1]]), "") if np.isfinite(s.step[s.discharge[1]]) else ""
    chart = bar_chart(cells, y_unit="V", marked=weakest, label=f"{weakest + 1}: {cells[weakest]:.3f} V")
    return Figure(
        Pair("Cells at the end of the discharge", "방전 종료 시 셀 전압"),
        Pair(f"Last sample under load of {name}. The axis does not begin at zero.",
             f"{name} 부하 상태의 마지막 샘플입니다. 축은 0에서 시작하지 않습니다."),
        [chart],
        [("bar", Pair("cell, by number", "셀 (번호순)")), ("bar marked", Pair("weakest cell", "최약 셀"))],
    )  # fmt: skip


def _pulses(s: _Samples) -> Figure | None:
    lines, legend = [], []
    for index, style in zip(s.pulses, _PULSE_STYLES, strict=False):
        rows = np.flatnonzero(s.step == index)
        if not rows.size or rows[0] == 0:
            continue
        # the sample before the pulse belongs to the step before; it is the voltage at rest
        rows = np.concatenate([[rows[0] - 1], rows])
        at_rest = s["voltage"][rows[0]]
        lines.append(Line(s.t[rows] - s.t[rows[0]], s["voltage"][rows] - at_rest, style))
        legend.append((style, _pulse_name(s, index, rows[0], float(at_rest))))
    if not lines:
        return None
    return Figure(
        Pair("DC resistance pulses", "직류저항 펄스"),
        Pair("Change of voltage since the rest before each pulse.", "각 펄스 직전 휴지 전압 대비 변화량입니다."),
        [line_chart(lines, x_unit="s", y_unit="ΔV", height=220)],
        legend,
    )


def _spectra(journal: JournalReader, run_id: str) -> list[Figure]:
    """A Nyquist plot of every impedance spectrum, from the readings of its step."""
    figures = []
    for event in journal.events(run_id, limit=_ALL, kind="step.ended"):
        columns = [event.body.get("readings", {}).get(name, ()) for name in ("frequency", "real", "imaginary")]
        points = [point for point in zip(*columns, strict=False) if None not in point]
        if event.body.get("kind") != "eis" or len(points) < _FEWEST_POINTS:
            continue
        _, real, imaginary = 1e3 * np.array(sorted(points, reverse=True), dtype=np.float64).T
        figures.append(
            Figure(
                Pair(f"Impedance spectrum: {event.body['label']}", f"임피던스 스펙트럼: {event.body['label']}"),
                Pair(
                    "Nyquist plot: the highest frequency is on the left.", "나이퀴스트 선도: 왼쪽이 최고 주파수입니다."
                ),
                [line_chart([Line(real, -imaginary)], x_unit="mΩ", y_unit="−mΩ", height=220)],
                [("main", Pair("−imaginary over real part", "실수부에 대한 −허수부"))],
            )
        )
    return [figure for figure in figures if all(figure.charts)]


def _pulse_name(s: _Samples, index: int, row: int, at_rest: float) -> Pair:
    rest = f"{at_rest:.1f} V"
    if s.discharge is not None:
        full, empty = s.net[s.discharge[0]], s.net[s.discharge[1]]
        soc = 100 * (s.net[row] - empty) / (full - empty)
        if 0 <= soc <= 100:
            return Pair(f"{soc:.1f} % SOC, from {rest}", f"SOC {soc:.1f} %, {rest}에서")
    return Pair(f"{s.names.get(index, '')}, from {rest}", f"{s.names.get(index, '')}, {rest}에서")
