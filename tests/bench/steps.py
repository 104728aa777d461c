"""What a step costs: limits judged, time bounded, record durable before the next one begins; beside OpenHTF's phase.

Steps of one second each, so that the steps and not the samples between them are measured. Three depths of the same run:
the whole stack, the controller on trivial instruments, and engine and safety alone on samples that are there already.
"""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any
from unittest.mock import patch

from config import shipped_dut_models
from config.line import LineIdentity
from controller.clock import JumpingClock
from controller.daemon import load_grade_rules
from controller.engine import Engine
from controller.instruments import Instruments
from controller.journal import Journal
from controller.mes.topics import Topics
from controller.run import Run, forecast_of
from controller.safety import Safety
from controller.sampler import Sampler
from controller.start import StartRequest, battery_model, checked_recipe, station_limits
from controller.surroundings import RunSurroundings
from drivers.links import MemoryTextLink
from sequences import Sample, Value
from tests.bench import trivial
from tests.bench.child import Measured, Say, interleaved, measure
from tests.bench.stack import START_SOC, Steps, line, recipe, run_recipe
from tests.bench.table import Row, problem
from tests.virtual import CODE

COUNT = 1000
MANY: Steps = [
    {"name": "many", "step": "repeat", "times": COUNT, "steps": [{"name": "tick", "step": "rest", "duration": "1 s"}]}
]
AIM = 1 / 20


def through_the_stack(on_trivial_instruments: bool) -> Measured:
    """Seconds a step; one of these steps is two scans: when it begins and when it ends."""
    found = run_recipe(MANY, on_trivial_instruments)
    return {"wall": found["wall"] / COUNT, "cpu": found["cpu"] / COUNT, "scans": found["samples"] / COUNT}


def engine_alone() -> Measured:
    """Seconds a step of Engine, steps, Safety and Journal, with nothing to wait for."""
    clock = JumpingClock()
    with tempfile.TemporaryDirectory() as directory, asyncio.Runner(loop_factory=clock.new_event_loop) as runner:
        return runner.run(_engine_alone(clock, Path(directory)))


async def _engine_alone(clock: JumpingClock, directory: Path) -> Measured:
    config = line(directory).stations["st01"]
    model = battery_model(CODE, shipped_dut_models())
    battery = trivial.Battery(clock.now, CODE, START_SOC)
    with patch("controller.instruments.calls.CATALOG", trivial.catalog(battery)):
        instruments = Instruments(config, clock, lambda key, instrument: MemoryTextLink(bytes))
    await instruments.connect()
    scanned: list[Sample] = []
    sampler = Sampler(instruments, clock, scanned.append)
    async with asyncio.TaskGroup() as group:
        sampler._group = group  # one scan, without the loops of run_in
        await sampler.scan()
    limits = station_limits(config, instruments)
    checked = checked_recipe(
        StartRequest(recipe(MANY), "bench", CODE, "bench", "bench"), model, limits, load_grade_rules("default")
    )
    forecast = forecast_of(checked, model, limits, START_SOC, 60.0)
    run = Run("bench-1", "st01", CODE, model, checked, "bench", "bench", limits, clock.now(), 60.0, START_SOC, forecast)
    journal = Journal.open(directory / "journal.db")
    ready = _ReadySampler(sampler, scanned[0], clock.now)
    safety, topics = Safety(sampler, {}), Topics(LineIdentity(enterprise="e", site="s", area="a", name="l"))
    surroundings = RunSurroundings(run, instruments, clock, safety, journal, topics, lambda reason: None, lambda: None)
    rules = load_grade_rules("default")
    engine = Engine(instruments, ready, clock, journal, run, rules, surroundings)  # type: ignore[arg-type]
    safety.arm(run.bounds, clock.now())
    alarms: list[Any] = []

    def on_sample(sample: Sample) -> None:
        alarms.extend(safety.judge(sample))
        engine.feed(sample)

    ready.on_sample = on_sample
    began, cpu = perf_counter(), process_time()
    ticking = asyncio.create_task(_tick(clock, ready))
    await engine.execute()
    wall, used = perf_counter() - began, process_time() - cpu
    ticking.cancel()
    await asyncio.wait({ticking})
    await journal.close()
    assert not alarms, alarms
    return {"wall": wall / COUNT, "cpu": used / COUNT}


async def _tick(clock: JumpingClock, sampler: _ReadySampler) -> None:
    while True:
        await clock.sleep(1.0)
        await sampler.scan()


class _ReadySampler:
    """What the engine knows of a sampler, with one sample that is always the newest."""

    def __init__(self, real: Sampler, sample: Sample, now: Callable[[], float]) -> None:
        self.cycler = real.cycler
        self._sample, self._now, self._beat = sample, now, 0.0
        self.on_sample: Callable[[Sample], None] = lambda sample: None

    def sample_every(self, period: float | None) -> None:
        pass

    async def scan(self, *, fresh: bool = False) -> Sample:
        """The sample at the present moment, with a PLC heartbeat that goes on."""
        before, self._beat, t = self._sample, self._beat + 1, self._now()
        values = {name: Value(value.value, t, value.quality, value.source) for name, value in before.values.items()}
        values["plc_beat"] = dataclasses.replace(values["plc_beat"], value=self._beat)
        sample = Sample(t, values, before.cells, before.temperatures, before.counters)
        self.on_sample(sample)
        return sample


def measured(say: Say) -> list[Row]:
    found = interleaved(
        {
            "whole stack": lambda: measure("steps", "through_the_stack", on_trivial_instruments=False),
            "controller on trivial instruments": lambda: measure(
                "steps", "through_the_stack", on_trivial_instruments=True
            ),
            "engine alone": lambda: measure("steps", "engine_alone"),
            "OpenHTF": lambda: measure("peers", "openhtf_phases", count=500),
        },
        repeats=3,
        budget=35,
        say=say,
    )
    *ours, peer = found.values()
    labels = (
        "step, whole stack, 2 scans of 5 instruments in it",
        "step, controller alone, 2 scans of trivial instruments in it",
        "step, engine + safety + durable record, no scan",
    )
    return [_row(label, one, peer) for label, one in zip(labels, ours, strict=True)]


def _row(label: str, ours: Measured, peer: Measured) -> Row:
    if row := problem(label, "at most 1/20", ours, peer):
        return row
    ratio = ours["cpu"] / peer["cpu"]
    return Row(
        label,
        f"CPU {1e6 * ours['cpu']:.0f} us (wall {1e6 * ours['wall']:.0f})",
        f"OpenHTF phase CPU {1e6 * peer['cpu']:.0f} us (wall {1e6 * peer['wall']:.0f}), nothing kept on disk",
        ratio,
        "at most 1/20",
        ratio <= AIM,
    )
