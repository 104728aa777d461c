"""What a run would come to, as people read it: a line a step, what it is expected to take and where it would trip."""

from __future__ import annotations

from typing import Any

from rich.cells import cell_len

from controller.cli.display import clock
from controller.client import reason_line
from controller.report.words import end_reason
from sequences import Verdict

WORDS = {
    "en": {
        "step": "step", "takes": "takes", "longest": "at most", "cells": "cells V", "limits": "trips at",
        "on": "on", "at": "at", "soc": "SOC", "expected": "expected {seconds}; at {longest} total_time trips",
        "early": "only {seconds} if what it measures is enough at {step}",
        "people": "questions to people: {questions}, with {time} at most for the answers besides",
        "moved": "moves {charged} Ah in and {discharged} Ah out",
        "ends": "on a battery in order it ends {verdict}", "reasons": "a start would be refused now",
        "ready": "nothing is against a start now", "parameters": "parameters",
    },
    "ko": {
        "step": "스텝", "takes": "예상", "longest": "최대", "cells": "셀 V", "limits": "차단 한계",
        "on": "배터리", "at": "시작", "soc": "SOC",
        "expected": "예상 {seconds}; 총 시간(total_time) {longest} 초과 시 차단",
        "early": "{step} 에서 측정 결과가 충분하면 {seconds} 만 소요",
        "people": "작업자 질문 {questions}회, 답변 대기 최대 {time} 별도",
        "moved": "충전 {charged} Ah, 방전 {discharged} Ah",
        "ends": "정상 배터리에서의 결과: {verdict}", "reasons": "지금 시작하면 거부됩니다",
        "ready": "지금 시작할 수 있습니다", "parameters": "매개변수",
    },
}  # fmt: skip


def plan_lines(plan: dict[str, Any], lang: str) -> list[str]:
    """The plan as lines that stay lines: the table, then what it adds up to."""
    words = WORDS[lang]
    head = (
        f"{plan['recipe']} {plan['version']}  {words['on']} {plan['dut']}  "
        f"{words['at']} {100 * plan['soc']:.0f} % {words['soc']}, {plan['capacity_ah']:.1f} Ah"
    )
    lines = [head]
    if plan["parameters"]:
        given = ", ".join(f"{name}={value}" for name, value in plan["parameters"].items())
        lines.append(f"{words['parameters']}: {given}")
    lines += ["", *_table(_rows(plan["steps"], words)), ""]
    lines.append(words["expected"].format(seconds=clock(plan["seconds"]), longest=clock(plan["longest_s"])))
    if plan["early_s"] is not None:
        lines.append(words["early"].format(seconds=clock(plan["early_s"]), step=plan["early_by"]))
    if plan["questions"]:
        lines.append(words["people"].format(questions=plan["questions"], time=clock(plan["for_people_s"])))
    lines.append(words["moved"].format(charged=f"{plan['charged_ah']:.1f}", discharged=f"{plan['discharged_ah']:.1f}"))
    if plan["verdict"] != "pass":
        told, korean = plan["reason"], lang == "ko"
        reason = end_reason(told).ko if korean else told
        why = f": {plan['ends_in']}: {reason}" if told else ""
        lines.append(words["ends"].format(verdict=Verdict(plan["verdict"]).ko if korean else plan["verdict"]) + why)
    return lines


def refusal_lines(plan: dict[str, Any], lang: str) -> list[str]:
    """What is against a start now, on the station that was asked."""
    words = WORDS[lang]
    reasons = [f"  {reason_line(reason, lang)}" for reason in plan["reasons"]]
    return [f"{words['reasons']}:", *reasons] if reasons else [words["ready"]]


def _rows(steps: list[dict[str, Any]], words: dict[str, str]) -> list[list[str]]:
    head = [words["step"], "", words["takes"], words["longest"], "Ah", "kWh", words["cells"], "A", "°C"]
    rows = [[*head, f"{words['limits']} V", "A", "°C"]]
    for step in steps:
        limits, drives = {name: limit["trip"] for name, limit in step["limits"].items()}, step["current_a"] > 0.0005
        cells = f"{step['cell_min_v']:.2f}–{step['cell_max_v']:.2f}"
        rows.append([
            step["step"],
            step["kind"],
            clock(step["seconds"]),
            "" if step["longest_s"] is None else clock(step["longest_s"]),
            _signed(step["charge_ah"], 2) if drives else "",
            _signed(step["energy_wh"] / 1e3, 3) if drives else "",
            cells,
            f"{step['current_a']:.1f}" if drives else "",
            f"{step['temperature_degc']:.0f}",
            f"{limits['cell_voltage_min']:.2f}–{limits['cell_voltage_max']:.2f}",
            f"−{limits['discharge_current']:.0f} +{limits['charge_current']:.0f}" if drives else "",
            f"{limits['temperature_min']:.0f}–{limits['temperature_max']:.0f}",
        ])  # fmt: skip
    return rows


def _signed(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "−")


def _table(rows: list[list[str]]) -> list[str]:
    """Columns two blanks apart, numbers to the right; Korean letters take two places."""
    widths = [max(cell_len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = []
        for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
            blanks = " " * (width - cell_len(cell))
            cells.append(cell + blanks if column < 2 else blanks + cell)
        lines.append("  ".join(cells).rstrip())
    return lines
