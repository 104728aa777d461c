"""One link for the instruments of a bus: RS-485, or the channels of one server.

Whoever opens first opens the link, whoever closes last closes it; between them there is one lock and one thread.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from drivers.errors import CLOSED, TIMEOUT, LinkError
from drivers.links.text import TextLink

T = TypeVar("T")


class SharedTextLink:
    """`member()` is one instrument's share of the link, itself a TextLink."""

    def __init__(self, link: TextLink, *, rest: float) -> None:
        """A member that did not answer is not asked again for rest s: its silence is time of the others."""
        self.link = link
        self.rest = rest
        self.members: set[_Member] = set()

    def member(self) -> TextLink:
        return _Member(self)


class _Member:
    def __init__(self, bus: SharedTextLink) -> None:
        self._bus = bus
        self._silent_until = 0.0

    @property
    def reopened(self) -> int:
        return self._bus.link.reopened

    async def open(self) -> None:
        self._bus.members.add(self)
        try:
            await self._bus.link.open()
        except BaseException:
            self._bus.members.discard(self)
            raise

    async def close(self) -> None:
        """A request under way ends at once for the last member, in its own time for others."""
        self._bus.members.discard(self)
        if not self._bus.members:
            await self._bus.link.close()

    async def write(self, line: str) -> None:
        await self._when_asked(self._bus.link.write, line)

    async def query(self, line: str) -> str:
        return await self._when_asked(self._bus.link.query, line)

    async def query_many(self, lines: Sequence[str]) -> list[str]:
        return await self._when_asked(self._bus.link.query_many, lines)

    async def poll(self) -> str | None:
        return await self._when_asked(self._bus.link.poll)

    async def pause(self, seconds: float) -> None:
        await self._bus.link.pause(seconds)

    async def _when_asked(self, request: Callable[..., Awaitable[T]], *arguments: object) -> T:
        if self not in self._bus.members:
            raise LinkError(CLOSED, "it is not open on its bus; connect first")
        if (left := self._silent_until - time.monotonic()) > 0:
            raise LinkError(TIMEOUT, f"it did not answer; its bus is left to the others for {left:.1f} s more")
        try:
            return await request(*arguments)
        except LinkError as error:
            if error.code == TIMEOUT:
                self._silent_until = time.monotonic() + self._bus.rest
            raise
