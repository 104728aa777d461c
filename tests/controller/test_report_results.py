"""The report tells how sure a value is, why there is none, and shows an impedance spectrum as one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from controller.journal import AuditEntry, Event, Journal
from controller.report import write_report
from controller.report.words import details, uncertainty

T0 = 1.7e9


def reported(tmp_path: Path, measurements: dict[str, Any], readings: dict[str, Any]) -> str:
    """The report of a run of one spectrum with these measurements, as text."""

    async def work() -> str:
        journal = Journal.open(tmp_path / "journal.db")
        try:
            journal.append(Event(T0, "st01", "r1", "run.started", {"recipe": "r", "hash": "h", "dut": "d"}))
            journal.append(Event(T0, "st01", "r1", "step.started", {"step": 0, "label": "look", "kind": "eis"}))
            ended = {"step": 0, "label": "look", "kind": "eis", "reason": "spectrum taken", "complete": True,
                     "readings": readings}  # fmt: skip
            journal.append(Event(T0 + 60, "st01", "r1", "step.ended", ended))
            result = {"run_id": "r1", "verdict": "pass", "grade": None, "measurements": measurements}
            end = Event(T0 + 60, "st01", "r1", "run.ended", {})
            journal.commit_result(end, result, [], AuditEntry(T0 + 60, "kim", "result", "", {}))
            await journal.flush()
            return write_report(journal, "r1").read_text("utf-8")
        finally:
            await journal.close()

    return asyncio.run(work())


def measurement(value: float | None, spread: float | None, **detail: Any) -> dict[str, Any]:
    title = {"en": "Something", "ko": "어떤 것"}
    return {"value": value, "uncertainty": spread, "unit": "mohm", "limits": None, "verdict": "pass", "title": title,
            "detail": detail}  # fmt: skip


SPECTRUM = {"frequency": [1.0, 10.0, 100.0, 1000.0], "real": [5e-3, 4e-3, 3e-3, 2e-3],
            "imaginary": [-1e-3, -5e-4, -6e-4, 0.0]}  # fmt: skip


def test_a_value_stands_with_its_uncertainty_and_a_spectrum_with_its_curve(tmp_path: Path) -> None:
    text = reported(tmp_path, {"r": measurement(270.0, 0.8435)}, SPECTRUM)
    assert "± 0.84" in text
    assert "± is one standard uncertainty." in text
    assert "Impedance spectrum: look" in text
    assert "−mΩ" in text


def test_without_uncertainty_and_spectrum_nothing_is_said_of_them(tmp_path: Path) -> None:
    text = reported(tmp_path, {"r": measurement(270.0, None)}, {"frequency": [1.0], "real": [None], "imaginary": [0.0]})
    assert "±" not in text
    assert "Impedance spectrum" not in text


def test_a_reason_is_told_in_the_readers_language() -> None:
    told = details({"missing": "no good temperature", "missing_ko": "정상 온도 값이 없음"})
    assert told == ("not measured: no good temperature", "측정 불가: 정상 온도 값이 없음")
    cause = details({"cell": 41, "cause": "capacity", "capacity_ah": 2.949})
    assert cause == ("cell 41, because of less capacity, capacity 2.949 Ah",
                     "41번 셀, 원인: 용량 부족, 용량 2.949 Ah")  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"), [(0.8435, "± 0.84"), (12.3, "± 12"), (0.00448, "± 0.0045"), (1234.0, "± 1200"), (None, "")]
)
def test_two_digits_of_an_uncertainty_are_enough(value: float | None, text: str) -> None:
    assert uncertainty(value) == text
