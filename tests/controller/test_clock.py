from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from controller.clock import VIRTUAL_START, JumpingClock, PacedClock, create_page


def jumping(work: Callable[[JumpingClock], Awaitable[None]], page: Path | None = None) -> JumpingClock:
    clock = JumpingClock(page=page)
    with asyncio.Runner(loop_factory=clock.new_event_loop) as runner:
        runner.run(work(clock))  # type: ignore[arg-type]
    return clock


def test_a_day_of_sleep_takes_no_time() -> None:
    async def sleep(clock: JumpingClock) -> None:
        await clock.sleep(86400)
        assert clock.now() == VIRTUAL_START + 86400

    jumping(sleep)


@given(st.lists(st.integers(0, 10**6).map(lambda ms: ms / 1000), min_size=1, max_size=20))
def test_sleepers_wake_in_the_order_of_their_times_and_at_them(delays: list[float]) -> None:
    woken: list[float] = []

    async def sleep_all(clock: JumpingClock) -> None:
        async def one(delay: float) -> None:
            await clock.sleep(delay)
            assert clock.now() == VIRTUAL_START + delay
            woken.append(delay)

        async with asyncio.TaskGroup() as group:
            for delay in delays:
                group.create_task(one(delay))

    jumping(sleep_all)
    assert woken == sorted(delays)


def test_time_stands_still_while_anything_is_in_flight() -> None:
    async def work(clock: JumpingClock) -> None:
        async def sleeper() -> None:
            await clock.sleep(1)

        sleeping = asyncio.create_task(sleeper())
        with clock.hold():
            await asyncio.to_thread(lambda: None)  # wall time passes, and the loop is idle meanwhile
            assert clock.now() == VIRTUAL_START
            assert not sleeping.done()
        await sleeping
        assert clock.now() == VIRTUAL_START + 1

    jumping(work)


def test_a_cancelled_sleeper_does_not_move_time() -> None:
    async def work(clock: JumpingClock) -> None:
        sleeping = asyncio.create_task(clock.sleep(1000))
        await clock.sleep(0)
        sleeping.cancel()
        await asyncio.wait({sleeping})
        await clock.sleep(1)
        assert clock.now() == VIRTUAL_START + 1

    jumping(work)


def test_every_moment_is_on_the_shared_page_before_anyone_wakes(tmp_path: Path) -> None:
    page = tmp_path / "clock"
    create_page(page)
    (start,) = struct.unpack("<d", page.read_bytes())

    async def work(clock: JumpingClock) -> None:
        assert clock.now() == start
        await clock.sleep(12.5)
        assert struct.unpack("<d", page.read_bytes()) == (start + 12.5,)

    jumping(work, page)


def test_a_paced_clock_runs_at_its_rate() -> None:
    slow, fast = PacedClock(1.0), PacedClock(1e6)
    slow_start, fast_start = slow.now(), fast.now()
    asyncio.run(fast.sleep(1000.0))
    assert fast.now() - fast_start >= 1000.0
    assert slow.now() - slow_start < 1000.0


def test_line_time_goes_on_from_a_later_moment_and_never_back() -> None:
    paced, jumping = PacedClock(2.0), JumpingClock()
    for clock in (paced, jumping):
        start = clock.now()
        clock.not_before(start + 1000.0)
        assert start + 1000.0 <= clock.now() < start + 1100.0
        clock.not_before(start)
        assert clock.now() >= start + 1000.0


def test_a_later_start_is_on_the_shared_page(tmp_path: Path) -> None:
    page = tmp_path / "clock"
    create_page(page)
    clock = JumpingClock(page=page)
    clock.not_before(clock.now() + 3600.0)
    assert JumpingClock(page=page).now() == clock.now()
