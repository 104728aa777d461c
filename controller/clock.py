"""Line time: the one clock that recipes, samples, holds and simulated physics live in.

Wall time (asyncio's own) is for I/O deadlines alone. Line time may run at wall speed, at a fixed rate, or jump: then it
stands still while anything is in flight and jumps to the next sleeper when nothing is, so that hours pass in seconds
and a 10 s pulse is still sampled as exactly as at wall speed.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import mmap
import selectors
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

# where jumping clocks start unless told otherwise: a fixed moment, so that a seed alone decides a virtual run
VIRTUAL_START = 1_767_225_600.0  # 2026-01-01T00:00:00Z

_MOMENT = struct.Struct("<d")


ClockSource = Literal["monotonic", "simulated"]


def wall_time() -> float:
    """Unix seconds by this computer's clock: for what others stamped with theirs, never for what the line does."""
    return time.time()


class Clock(Protocol):
    source: ClockSource
    """What its times are worth: nobody can set a monotonic one."""

    def now(self) -> float:
        """Line time, seconds since the Unix epoch."""
        ...

    def not_before(self, t: float) -> None:
        """Go on from `t` where line time stands before it: it never goes back, in one life of a journal."""
        ...

    async def sleep_until(self, t: float) -> None: ...

    async def sleep(self, seconds: float) -> None: ...

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Work in wall time is under way: jumping line time stands still until it is done."""
        ...


class PacedClock:
    """Line time that runs with wall time, `rate` times as fast."""

    def __init__(self, rate: float = 1.0) -> None:
        self._rate = rate
        self.source: ClockSource = "monotonic" if rate == 1.0 else "simulated"
        self._start = time.time()
        self._origin = time.monotonic()

    def now(self) -> float:
        return self._start + (time.monotonic() - self._origin) * self._rate

    def not_before(self, t: float) -> None:
        self._start += max(0.0, t - self.now())

    async def sleep_until(self, t: float) -> None:
        await asyncio.sleep(max(0.0, (t - self.now()) / self._rate))

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._rate)

    @contextmanager
    def hold(self) -> Iterator[None]:
        yield


class JumpingClock:
    """Line time that jumps to the next sleeper as soon as the event loop is idle and nothing is held.

    Runs on the loop that `new_event_loop()` makes. With a page (see `create_page`), it starts at the moment written
    there and writes every later one, so that simulators in another process live at the same moment.
    """

    def __init__(self, start: float = VIRTUAL_START, page: Path | None = None) -> None:
        self.source: ClockSource = "simulated"
        self._now = start
        self._holds = 0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._page: mmap.mmap | None = None
        if page is not None:
            with page.open("r+b") as file:
                self._page = mmap.mmap(file.fileno(), 8)
            (self._now,) = _MOMENT.unpack_from(self._page)

    def now(self) -> float:
        return self._now

    def not_before(self, t: float) -> None:
        if t > self._now:
            self._now = t
            self._publish()

    async def sleep_until(self, t: float) -> None:
        if t <= self._now:
            await asyncio.sleep(0)
            return
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (t, next(self._order), sleeper))
        await sleeper

    async def sleep(self, seconds: float) -> None:
        await self.sleep_until(self._now + seconds)

    @contextmanager
    def hold(self) -> Iterator[None]:
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(_JumpingSelector(self))

    def jump(self) -> bool:
        """Wake all that sleep until the next moment; False when time must stand still."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)  # cancelled while asleep
        if self._holds or not self._sleepers:
            return False
        self._now = self._sleepers[0][0]
        self._publish()
        while self._sleepers and self._sleepers[0][0] == self._now:
            sleeper = heapq.heappop(self._sleepers)[2]
            if not sleeper.done():
                sleeper.set_result(None)
        return True

    def _publish(self) -> None:
        if self._page is not None:
            _MOMENT.pack_into(self._page, 0, self._now)


def create_page(path: Path) -> None:
    """A file with one little-endian double: the line time that processes share, starting now."""
    path.write_bytes(_MOMENT.pack(time.time()))


class _JumpingSelector(selectors.DefaultSelector):
    """Where the loop would block, nothing is left to run at this moment: let line time jump instead."""

    def __init__(self, clock: JumpingClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
            if ready or self._clock.jump():
                return ready
        return super().select(timeout)
