"""What an operator sees in a terminal: live progress of a run, and its results."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from controller.cli.answer import question_lines
from controller.report.words import outcome_reason
from sequences import Verdict

VERDICT_STYLE = {
    "pass": "green",
    "marginal": "yellow",
    "inconclusive": "magenta",
    "fail": "red",
    "aborted": "red",
    "error": "bold red",
}

WORDS = {
    "en": {
        "measurement": "measurement", "value": "value", "unit": "unit", "limits": "limits", "verdict": "verdict",
        "grade": "grade", "why": "why", "journal": "journal", "data_file": "data file", "report": "report",
        "step": "step", "cell": "cell", "charged": "charged", "discharged": "discharged", "marginal": "marginal",
        "alarm": "alarm", "outcome": "ended by", "missing": "not measured", "no_broker": "this line has no broker",
        "connected": "connected", "not_connected": "not connected",
    },
    "ko": {
        "measurement": "측정 항목", "value": "값", "unit": "단위", "limits": "한계", "verdict": "판정",
        "grade": "등급", "why": "사유", "journal": "저널", "data_file": "데이터 파일", "report": "보고서",
        "step": "스텝", "cell": "셀", "charged": "충전", "discharged": "방전", "marginal": "경계",
        "alarm": "경보", "outcome": "종료 사유", "missing": "측정 불가", "no_broker": "이 라인에는 브로커가 없습니다",
        "connected": "연결됨", "not_connected": "연결 안 됨",
    },
}  # fmt: skip


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    whole = max(0, round(seconds))
    return f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02}"


def _number(value: float | None, form: str) -> str:
    return "—" if value is None else format(value, form)


class RunDisplay:
    """Live progress on a terminal; one line a step where there is none.

    `asks` tells that somebody sits there who can be asked: then questions are not shown here, and progress steps aside
    while one is open.
    """

    def __init__(self, console: Console, lang: str) -> None:
        self.console, self.lang = console, lang
        self.asks = console.is_terminal and sys.stdin.isatty()
        self._words = WORDS[lang]
        self._live: Live | None = None
        self._last_line = ""
        self._last_question = 0

    @contextmanager
    def showing(self) -> Iterator[RunDisplay]:
        if not self.console.is_terminal:
            yield self
            return
        with Live(console=self.console, refresh_per_second=10, transient=True) as self._live:
            yield self
        self._live = None

    def update(self, status: dict[str, Any]) -> None:
        asked = self.asks and status["question"] is not None
        if self._live is not None and asked == self._live.is_started:
            (self._live.stop if asked else self._live.start)()
        if self._live is not None:
            if not asked:
                self._live.update(self._panel(status))
            return
        progress = status["progress"]
        line = f"{status['station']} {status['state']}" + (f" {progress['step']}" if progress else "")
        if line != self._last_line:
            self._last_line = line
            at = f"  {clock(progress['elapsed_s'])} / ~{clock(progress['estimated_s'])}" if progress else ""
            self.console.print(line + at, highlight=False)
        question = status["question"]
        if question is not None and question["number"] != self._last_question and not self.asks:
            self._last_question = question["number"]
            for line in question_lines(status["station"], question, self.lang):
                self.console.print(line, highlight=False, markup=False)

    def _panel(self, status: dict[str, Any]) -> Group:
        live, progress, words = status["live"], status["progress"], self._words
        head = Text.assemble(
            (f"{status['station']} ", "bold"),
            (f"{status['state']:<10}", "bold green" if status["state"] == "EXECUTE" else "bold yellow"),
            f" {status['dut'] or ''}  {status['recipe'] or ''}",
        )
        rows: list[Any] = [head]
        if progress:
            share = progress["elapsed_s"] / max(progress["estimated_s"], 1.0)
            what = progress["step"] + (f" · {progress['phase']}" if progress["phase"] else "")
            line = Table.grid(padding=(0, 1))
            line.add_row(
                Text(f"{words['step']} {progress['index'] + 1}/{progress['count']}  {what:<34.34}"),
                ProgressBar(total=100, completed=min(100.0, 100 * share), width=30),
                Text(f"{clock(progress['elapsed_s'])} / ~{clock(progress['estimated_s'])}"),
            )
            rows.append(line)
        values = (
            f"{_number(live.get('voltage'), '7.1f')} V  {_number(live.get('current'), '+7.2f')} A  "
            f"{_number(live.get('temperature_max'), '5.1f')} °C  "
            f"{words['cell']} {_number(live.get('cell_min'), '.3f')}–{_number(live.get('cell_max'), '.3f')} V  "
            f"{words['charged']} {_number(live.get('charged_ah'), '.2f')} Ah  "
            f"{words['discharged']} {_number(live.get('discharged_ah'), '.2f')} Ah"
        )
        rows.append(Text(values))
        alarms = [alarm_message(alarm, self.lang) for alarm in status["alarms"][-2:]]
        rows += [Text(f"{words['alarm']}: {message}", "bold red") for message in alarms]
        if status["question"] is not None:  # and nobody here to be asked
            lines = question_lines(status["station"], status["question"], self.lang)
            rows.append(Text("\n".join(lines), "bold cyan"))
        return Group(*rows)


def _limits(limits: dict[str, Any] | None, words: dict[str, str]) -> str:
    if not limits:
        return ""
    parts = []
    if limits["min"] is not None:
        parts.append(f"≥ {limits['min']:g}")
    if limits["max"] is not None:
        parts.append(f"≤ {limits['max']:g}")
    band = f" ({words['marginal']} {limits['marginal']:g})" if limits["marginal"] else ""
    return ", ".join(parts) + band


def _value(value: float | None) -> str:
    if value is None:
        return "—"
    if abs(value - round(value)) < 1e-9:
        return f"{value:.0f}"
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"


def _spoken(verdict: str, lang: str) -> str:
    return Verdict(verdict).ko if lang == "ko" else verdict


def alarm_message(alarm: dict[str, Any], lang: str) -> str:
    """What an alarm says; what an instrument says of it stays as it is."""
    message = str(alarm["message"])
    return outcome_reason(message).ko if lang == "ko" else message


def mes_line(mes: dict[str, Any] | None, lang: str) -> str:
    """Whether the MES's broker is reached; `mes` is that of a status."""
    words = WORDS[lang]
    if mes is None:
        return f"MES: {words['no_broker']}"
    state = words["connected"] if mes["connected"] else f"{words['not_connected']}: {mes['last_error']}"
    return f"MES {mes['broker']}: {state}"


def show_result(console: Console, result: dict[str, Any], lang: str) -> None:
    """The measurements with limits and verdicts, the grade with its reasons."""
    words = WORDS[lang]
    if result["measurements"]:
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column(words["measurement"])
        table.add_column(words["value"], justify="right")
        table.add_column(words["unit"])
        table.add_column(words["limits"])
        table.add_column(words["verdict"])
        missing = []
        for name in result["measurement_order"]:
            entry = result["measurements"][name]
            title = entry["title"][lang] if lang != "en" else name
            verdict = (
                Text(_spoken(entry["verdict"], lang), VERDICT_STYLE[entry["verdict"]]) if entry["limits"] else Text("")
            )
            unit = "" if entry["unit"] == "1" else entry["unit"]
            sure = f" ± {entry['uncertainty']:.2g}" if entry.get("uncertainty") else ""
            table.add_row(title, _value(entry["value"]) + sure, unit, _limits(entry["limits"], words), verdict)
            if why_not := entry.get("detail", {}).get("missing" if lang == "en" else f"missing_{lang}"):
                missing.append(f"  {title}: {words['missing']}: {why_not}")
        console.print(table)
        for line in missing:
            console.print(line, markup=False, highlight=False)
        console.print()
    verdict = result["verdict"]
    console.print(
        Text.assemble(
            f"{words['verdict']} ",
            (_spoken(verdict, lang), f"bold {VERDICT_STYLE[verdict].removeprefix('bold ')}"),
            f"   {words['grade']} ",
            (result["grade"] or "—", "bold"),
        )
    )
    if told := result["outcome"]["reason"]:
        why = outcome_reason(told).ko if lang == "ko" else told
        console.print(f"{words['outcome']}: {why} [{result['outcome']['code']}]", markup=False)
    for reason in result.get("grade_reasons", []):
        console.print(f"  {reason[lang]}", markup=False, highlight=False)


def stdout() -> Console:
    """Never wraps where output is not a terminal, so that lines stay lines."""
    return Console(soft_wrap=not sys.stdout.isatty())
