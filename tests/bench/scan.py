"""How late scans start: 64 production samplers at 10 Hz of wall time, beside bare sleepers on the same schedule.

Each sampler scans a cycler through the production driver and a memory link, and journals every sample. The answers are
kept ones: the instrument's own time is not the question. Phases are spread over the period as the line spreads its
stations, or aligned to show why it does.
"""

from __future__ import annotations

import asyncio
import functools
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from time import process_time

import numpy as np

from config import shipped_dut_models
from config.line import InstrumentConfig
from controller.clock import PacedClock
from controller.instruments import Instruments
from controller.journal import Journal
from controller.sampler import Sampler
from drivers.links import Link, MemoryTextLink
from sequences import Sample
from simulators.ports import TextPort
from simulators.station import SimulatedStation
from tests.bench.child import Measured, Say, interleaved, measure, medians
from tests.bench.table import Row, problem
from tests.virtual import demo_line, memory_links

CHANNELS, PERIOD = 64, 0.1
SETTLING = 2  # scans of each channel that do not count
NAMES = ("voltage", "current", "power", "output_on")


class WatchedClock(PacedClock):
    """Notes how long after its moment each sleeper woke, s."""

    def __init__(self) -> None:
        super().__init__()
        self.late: list[float] = []

    async def sleep_until(self, t: float) -> None:
        await super().sleep_until(t)
        self.late.append(self.now() - t)


def jitter(loop: str, spread: bool, seconds: float, turns: int) -> Measured:
    """p50 and p99 lateness (s) and CPU share of samplers and of bare sleepers in turn; medians of the turns."""
    found = []
    with asyncio.Runner(loop_factory=_loop_factory(loop)) as runner:
        for _ in range(turns):
            ours, took, cpu = runner.run(_samplers(spread, seconds))
            bare, bare_cpu = runner.run(_sleepers(spread, seconds))
            one = {"cpu": cpu / seconds, "bare_cpu": bare_cpu / seconds}
            for name, values in (("late", ours), ("took", took), ("bare", bare)):
                one |= {f"{name}_p50": _percentile(values, 50), f"{name}_p99": _percentile(values, 99)}
            found.append(one)
    return medians(found)


def _loop_factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if loop == "asyncio":
        return None
    import uvloop

    return uvloop.new_event_loop


def _percentile(late: list[float], p: int) -> float:
    return float(np.percentile(late[SETTLING * CHANNELS :], p))


async def _samplers(spread: bool, seconds: float) -> tuple[list[float], list[float], float]:
    """How late each scan started, how long it took until its sample was there, and the CPU seconds of all."""
    clock = WatchedClock()
    with tempfile.TemporaryDirectory() as directory:
        config = demo_line(Path(directory))
        simulated = SimulatedStation(config, "st01", shipped_dut_models(), lambda: 0.0)
        port = simulated.devices["cycler"]
        assert isinstance(port, TextPort)
        answer = functools.cache(port.receive)
        unused = memory_links(simulated)
        station = config.stations["st01"].model_copy(update={"scan_period_s": PERIOD})
        journal = Journal.open(Path(directory) / "journal.db")

        def make_link(key: str, instrument: InstrumentConfig) -> Link:
            return MemoryTextLink(answer) if key == "cycler" else unused(key, instrument)

        took: list[float] = []

        def recorder(channel: int) -> Callable[[Sample], None]:
            def record(sample: Sample) -> None:
                row = np.array([[sample.good(name) for name in NAMES]], dtype=np.float64)
                journal.append_samples(sample.t, f"st{channel}", f"run{channel}", NAMES, row)

            return record

        async def channel(number: int, began: float) -> None:
            instruments = Instruments(station, clock, make_link)
            await instruments.connect(only={"cycler"})
            sampler = Sampler(instruments, clock, recorder(number))
            scan = sampler.scan

            async def timed(*, fresh: bool = False) -> Sample:
                started = clock.now()
                sample = await scan(fresh=fresh)
                took.append(clock.now() - started)
                return sample

            sampler.scan = timed  # type: ignore[method-assign]
            await PacedClock.sleep_until(clock, began)
            async with asyncio.TaskGroup() as group:
                sampler.run_in(group, _phase(number, spread))

        cpu = await _run_all(channel, clock, seconds)
        await journal.close()
    return clock.late, took, cpu


async def _sleepers(spread: bool, seconds: float) -> tuple[list[float], float]:
    """The limit: what the loop's own timers do with nothing else to do."""
    clock = WatchedClock()

    async def sleeper(number: int, began: float) -> None:
        due = began + PERIOD * _phase(number, spread)
        while True:
            await asyncio.sleep(max(0.0, due - clock.now()))  # noqa: TID251 - the raw limit is the bare sleep itself
            clock.late.append(clock.now() - due)
            due += PERIOD

    return clock.late, await _run_all(sleeper, clock, seconds)


def _phase(number: int, spread: bool) -> float:
    """0..1 of a period."""
    return number / CHANNELS if spread else 0.0


async def _run_all(
    work: Callable[[int, float], Coroutine[None, None, None]], clock: PacedClock, seconds: float
) -> float:
    """CPU seconds that all channels together take in this many seconds."""
    began = clock.now() + 0.3  # connected by then
    tasks = [asyncio.create_task(work(number, began)) for number in range(CHANNELS)]
    await PacedClock.sleep_until(clock, began)
    cpu = process_time()
    await PacedClock.sleep_until(clock, began + seconds)
    used = process_time() - cpu
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    for failed in ended:
        if not isinstance(failed, asyncio.CancelledError):
            raise RuntimeError("a channel ended by itself") from failed
    return used


def measured(say: Say) -> list[Row]:
    setups = {
        f"{loop}, {'spread' if spread else 'aligned'} phases": (loop, spread)
        for loop in ("asyncio", "uvloop")
        for spread in (True, False)
    }
    found = interleaved(
        {
            name: functools.partial(measure, "scan", "jitter", loop=loop, spread=spread, seconds=1.2, turns=3)
            for name, (loop, spread) in setups.items()
        },
        repeats=1,
        budget=40,
        say=say,
    )
    return [
        _row(name, one, wanted=spread) for (name, one), (_, spread) in zip(found.items(), setups.values(), strict=True)
    ]


def _row(name: str, found: Measured, wanted: bool) -> Row:
    """`wanted` is False for what the line does not do."""
    label = f"scan start, {CHANNELS} x {1 / PERIOD:g} Hz, {name}"
    aim = "p99 at most 1.5" if wanted else "for comparison"
    if row := problem(label, aim, found):
        return row
    ratio = found["late_p99"] / found["bare_p99"]
    return Row(
        label,
        f"late p50 {1e3 * found['late_p50']:.2f}, p99 {1e3 * found['late_p99']:.2f} ms;"
        f" took p99 {1e3 * found['took_p99']:.1f} ms; CPU {100 * found['cpu']:.0f} %",
        f"bare sleeper p50 {1e3 * found['bare_p50']:.2f}, p99 {1e3 * found['bare_p99']:.2f} ms",
        ratio,
        aim,
        ratio <= 1.5 if wanted else None,
    )
