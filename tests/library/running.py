"""A recipe of the library run to its end in virtual time, and what it left behind."""

from __future__ import annotations

import tempfile
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.start import StartRefusedError
from tests.library.batteries import CODES, GOOD, MODELS, Condition, battery
from tests.virtual import Operator, Virtual, agreeable, bench_line, in_virtual_time


@dataclass(frozen=True)
class Ran:
    """A run's result, or the codes of the reasons against its start; what was foreseen (s), and what is true."""

    result: dict[str, Any]
    refused: tuple[str, ...]
    foreseen: float
    truth: dict[str, Any]

    @property
    def hours(self) -> float:
        return float(self.result["line_seconds"]) / 3600

    @property
    def samples(self) -> int:
        """Kept in the journal."""
        return int(self.result["data_file"]["samples"])

    @property
    def grade(self) -> str | None:
        grade: str | None = self.result["grade"]
        return grade

    @property
    def reasons(self) -> str:
        return "; ".join(reason["en"] for reason in self.result["grade_reasons"])

    def value(self, name: str) -> float:
        """A measurement in the unit that people see."""
        return float(self.result["measurements"][name]["value"])

    def detail(self, name: str) -> dict[str, Any]:
        detail: dict[str, Any] = self.result["measurements"][name]["detail"]
        return detail

    def steps(self) -> list[str]:
        return [step["label"] for step in self.result["steps"]]


def run(
    recipe: str,
    model: str,
    condition: Condition = GOOD,
    *,
    scan_period: float | None = None,
    without: Container[str] = (),
    ambient: float = 25.0,
    operator: Operator = agreeable,
    rate: float = 1 / 3,
    file: str = "demo_bench.yaml",
    **parameters: Any,
) -> Ran:
    """Run a recipe on the bench line, where every instrument is, or on that of another file, with this battery on it.

    Unless told otherwise scans are ten times as far apart as on a real line, for LFP five times: when full, its cells
    rise by 4 mV a second.
    The truth is what a perfect bench finds at `rate` (C), its charge ended as the recipes at that rate end theirs.
    """

    period = scan_period or (5.0 if MODELS[model].chemistry == "LFP" else 10.0)

    async def work(virtual: Virtual) -> Ran:
        try:
            started = await virtual.start(recipe, CODES[model], **parameters)
        except StartRefusedError as refused:
            return Ran({}, tuple(refused.codes), 0.0, virtual.simulated.truth())
        active = virtual.station.run_now
        assert active is not None
        result = await virtual.result(started, operator)
        truth = virtual.simulated.truth() | virtual.simulated.world.truth(rate, 0.1 if rate >= 0.5 else 0.05)
        return Ran(result, (), active.forecast.seconds, truth)

    with tempfile.TemporaryDirectory() as directory:
        line = bench_line(
            Path(directory), battery(model, condition), scan_period=period, without=without, ambient=ambient, file=file
        )
        return in_virtual_time(line, work)
