"""One scan loop per station: periods, qualities, counters; in virtual time over the simulated station."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from config import LineConfig
from controller.clock import PacedClock
from sequences import Quality, Sample
from tests.virtual import Virtual, in_virtual_time, virtual_line

LineWith = Callable[..., LineConfig]
Short = Callable[..., str]


async def samples_during(virtual: Virtual, seconds: float) -> list[Sample]:
    seen: list[Sample] = []
    original = virtual.station.sampler._on_sample

    def spy(sample: Sample) -> None:
        seen.append(sample)
        original(sample)

    virtual.station.sampler._on_sample = spy
    await virtual.clock.sleep(seconds)
    virtual.station.sampler._on_sample = original
    return seen


def test_scans_keep_their_schedule_to_the_millisecond(line_with: LineWith) -> None:
    async def work(virtual: Virtual) -> None:
        seen = await samples_during(virtual, 100)
        gaps = [after.t - before.t for before, after in pairwise(seen)]
        assert len(seen) in (99, 100, 101)
        assert gaps == pytest.approx([1.0] * len(gaps), abs=1e-6)

    in_virtual_time(line_with(), work)


def test_a_slow_instrument_keeps_its_own_period_and_its_values_stay_good_between(line_with: LineWith) -> None:
    async def work(virtual: Virtual) -> None:
        seen = await samples_during(virtual, 60)
        taken = {sample.values["temperature_max"].t for sample in seen}
        assert len(taken) in (12, 13), "every 5 s"
        assert {sample.values["temperature_max"].quality for sample in seen} == {Quality.GOOD}
        assert {sample.values["temperature_max"].source for sample in seen} == {"temperature_scanner"}

    in_virtual_time(line_with(), work)


def test_a_faster_period_begins_at_once_and_ends_at_once(line_with: LineWith) -> None:
    async def work(virtual: Virtual) -> None:
        virtual.station.sampler.sample_every(0.1)
        fast = await samples_during(virtual, 2)
        assert len(fast) in (19, 20, 21)
        virtual.station.sampler.sample_every(None)
        assert len(await samples_during(virtual, 10)) in (9, 10, 11)

    in_virtual_time(line_with(), work)


def test_a_value_that_does_not_come_is_bad_and_one_that_stopped_coming_is_stale(line_with: LineWith) -> None:
    async def work(virtual: Virtual) -> None:
        virtual.simulated.set_fault("battery_monitor", "silent")
        (sample, *_) = await samples_during(virtual, 3)
        assert sample.values["cell_min"].quality is Quality.BAD
        assert sample.good("voltage") is not None, "the others are not touched"
        virtual.station.sampler._next_due["temperature_scanner"] = float("inf")  # as if it were never read again
        last = (await samples_during(virtual, 30))[-1]
        assert last.values["temperature_max"].quality is Quality.STALE
        assert last.good("temperature_max") is None

    in_virtual_time(line_with(), work)


def test_charge_is_counted_through_a_gap_in_the_readings(line_with: LineWith, short_recipe: Short) -> None:
    steps: list[dict[str, Any]] = [
        {"name": "discharge", "step": "cc", "direction": "discharge", "current": "C/2", "cell_voltage": "2.70 V",
         "ends": ["step_time >= 60 s"], "max_time": "5 min"}
    ]  # fmt: skip

    async def work(virtual: Virtual) -> None:
        run = await virtual.start(short_recipe(steps))
        await virtual.until(lambda: virtual.simulated.world.current < -29)
        await virtual.clock.sleep(20)
        virtual.simulated.set_fault("cycler", "nan")
        await virtual.clock.sleep(2)  # shorter than safety's patience
        virtual.simulated.set_fault("cycler", "nan", False)
        await virtual.result(run)
        ended = virtual.journal.events(limit=10**6, kind="step.ended")
        assert ended[-1].body["charge_ah"] == pytest.approx(-virtual.simulated.world.discharged_ah, rel=0.02)

    in_virtual_time(line_with(), work)


def test_temperature_rise_is_taken_over_a_minute(line_with: LineWith) -> None:
    async def work(virtual: Virtual) -> None:
        virtual.simulated.world.ambient_degc = 60.0
        seen = await samples_during(virtual, 600)
        rises = [sample.good("temperature_rise") or 0.0 for sample in seen]
        hottest = [sample.good("temperature_max") or 0.0 for sample in seen]
        assert sum(rises) / len(rises) == pytest.approx((hottest[-1] - hottest[0]) / 600, rel=0.25)

    in_virtual_time(line_with(), work)


async def test_an_instrument_that_hangs_holds_up_neither_the_scans_nor_the_heartbeat(line_with: LineWith) -> None:
    """At a paced clock: in virtual time a pending answer would stop time itself."""
    async with virtual_line(PacedClock(rate=10), line_with()) as virtual:
        never = asyncio.Event()
        scanner = virtual.station.instruments.temperature_scanner
        assert scanner is not None

        async def hang() -> tuple[float | None, ...]:
            await never.wait()
            return ()

        scanner.read = hang  # type: ignore[method-assign]
        first = virtual.station.latest
        assert first is not None
        await virtual.until(lambda: virtual.station.latest is not None and virtual.station.latest.t > first.t + 15)
        interlock = virtual.station.sampler.interlock
        assert interlock is not None
        assert interlock.host_alive, "the PLC's patience is 8 s"
        assert virtual.station.latest is not None
        assert virtual.station.latest.values["temperature_max"].quality is Quality.STALE
        assert virtual.station.latest.good("voltage") is not None
        never.set()
