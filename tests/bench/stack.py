"""A recipe through the production daemon in virtual time, timed: with the simulated station, or on trivial instruments.

Everything between recipe and journal is the production code: station, engine, sampler, safety, drivers, memory links.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter, process_time, thread_time
from typing import Any
from unittest.mock import patch

import yaml

from config import LineConfig, read_document
from controller.clock import JumpingClock
from controller.recipes import LIBRARY
from simulators.ports import RegisterPort, TextPort
from tests.bench import trivial
from tests.bench.child import Measured
from tests.virtual import CODE, Virtual, demo_line, in_virtual_time

Steps = list[dict[str, Any]]
START_SOC = 0.02


def recipe(steps: Steps) -> str:
    """The library recipe's envelope and safety block around other steps, with wide time and throughput bounds."""
    data = copy.deepcopy(read_document(LIBRARY / "quick_capacity_dcir.yaml").data)
    data |= {"id": "bench", "steps": steps, "measurements": [data["measurements"][-1]]}
    data["safety"]["total_time"] = {"warn": "20 h", "trip": "24 h"}
    return yaml.safe_dump(data, allow_unicode=True, sort_keys=False)


def line(directory: Path) -> LineConfig:
    """The demo line with a battery like new and nearly empty: a whole charge is to be seen."""

    def change(data: dict[str, Any]) -> None:
        battery = data["simulation"]["stations"]["st01"]["battery"]
        battery |= {"soc": START_SOC, "soh_mean": 1.0, "soh_sd": 0.0, "soc_offset_sd": 0.0}
        battery["resistance_factor_mean"] = 1.0
        del battery["weak_cell"]

    return demo_line(directory, change)


def run_recipe(steps: Steps, on_trivial_instruments: bool) -> Measured:
    """Seconds for a run from its start to the end of its recipe, and to its result; hours of line time; samples."""
    simulated = [0.0]

    async def work(virtual: Virtual) -> Measured:
        station = virtual.station
        simulated[0] = 0.0
        began, cpu, line_began = perf_counter(), process_time(), virtual.clock.now()
        run = await virtual.start(recipe(steps))
        await virtual.until(lambda: station.state.name not in ("STARTING", "EXECUTE"))
        executed = perf_counter() - began, process_time() - cpu, virtual.clock.now() - line_began
        result = await virtual.result(run)
        assert result["outcome"]["code"] == "", result["outcome"]
        samples = result["data_file"]["samples"]
        return {
            "wall": executed[0], "cpu": executed[1], "hours": executed[2] / 3600, "samples": samples,
            "wall_to_result": perf_counter() - began, "cpu_to_result": process_time() - cpu, "simulated": simulated[0],
        }  # fmt: skip

    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        if on_trivial_instruments:
            clock_now = _ClockNow()
            battery = trivial.Battery(clock_now, CODE, START_SOC)
            stack.enter_context(patch("controller.instruments.calls.CATALOG", trivial.catalog(battery)))
            stack.enter_context(patch("tests.virtual.JumpingClock", clock_now.new_clock))
        else:
            for port, method in ((TextPort, "receive"), (RegisterPort, "respond")):
                stack.enter_context(patch.object(port, method, _timed(getattr(port, method), simulated)))
        return in_virtual_time(line(Path(directory)), work)


class _ClockNow:
    """Line time of the clock that `in_virtual_time` is about to make."""

    def __init__(self) -> None:
        self._clock: JumpingClock | None = None

    def new_clock(self) -> JumpingClock:
        self._clock = JumpingClock()
        return self._clock

    def __call__(self) -> float:
        return self._clock.now() if self._clock is not None else 0.0


def _timed(method: Callable[..., bytes], spent: list[float]) -> Callable[..., bytes]:
    """The method, adding its CPU seconds: what the simulated instruments and their battery cost."""

    def timed(*arguments: object) -> bytes:
        began = thread_time()
        try:
            return method(*arguments)
        finally:
            spent[0] += thread_time() - began

    return timed
