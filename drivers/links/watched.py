"""What a driver talks over: any link, counted, traced while somebody watches, and sure of who is at its other end.

A link that opened its connection again may have reached another instrument: a port that was plugged elsewhere, an
address that was given to another one. So the first request on a new connection waits until the instrument was asked
who it is, and goes out only to the one that was there before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar, cast

from drivers.errors import InstrumentError
from drivers.identity import check_identity
from drivers.links.metrics import LinkMetrics, Trace, TraceEntry, shown
from drivers.links.registers import RegisterLink
from drivers.links.sessions import EXPECTED, ReopenedError
from drivers.links.text import TextLink
from drivers.roles import Identity

T = TypeVar("T")
A = TypeVar("A")
N = TypeVar("N", bool, int)
V = TypeVar("V", bool, int, Sequence[int])

CANCELLED = "cancelled"


class _Watched:
    """What both kinds of links have in common."""

    def __init__(self, link: TextLink | RegisterLink) -> None:
        self.metrics = LinkMetrics()
        self._connection = link
        self._traces: tuple[Trace, ...] = ()
        self._identify: Callable[[], Awaitable[Identity]] | None = None
        self._identity: Identity | None = None
        self._verified = 0
        self._verifying = asyncio.Lock()

    @property
    def reopened(self) -> int:
        return self._connection.reopened

    async def open(self) -> None:
        await self._connection.open()

    async def close(self) -> None:
        await self._connection.close()

    def expect(self, identity: Identity, identify: Callable[[], Awaitable[Identity]], session: int) -> None:
        """From now on a new connection is used only after `identify` found the same model and serial on it.

        session is what `reopened` was when identity was found.
        """
        self._identity, self._identify = identity, identify
        self._verified = session

    @contextmanager
    def traced(self) -> Iterator[Trace]:
        """Record every request until the block ends."""
        trace = Trace()
        self._traces = (*self._traces, trace)
        try:
            yield trace
        finally:
            self._traces = tuple(other for other in self._traces if other is not trace)

    async def _asked(self, request: Callable[..., Awaitable[T]], *arguments: object) -> T:
        if self._identify is None or EXPECTED.get() is not None:  # nobody to check against, or being checked now
            return await request(*arguments)
        for last in (False, True):
            try:
                if self.reopened != self._verified:
                    await self._verify()
                token = EXPECTED.set(self._verified)
                try:
                    return await request(*arguments)
                finally:
                    EXPECTED.reset(token)
            except ReopenedError as error:
                if last:
                    raise error.reason or error from error.reason
        raise AssertionError("unreachable")

    async def _verify(self) -> None:
        """Ask who answers on the new connection; raises IdentityError for another one than before."""
        assert self._identify is not None
        assert self._identity is not None
        async with self._verifying:
            if (session := self.reopened) == self._verified:
                return  # another request has made sure meanwhile
            token = EXPECTED.set(session)
            try:
                identity = await self._identify()
            finally:
                EXPECTED.reset(token)
            check_identity(identity, self._identity.model, self._identity.serial)
            self._verified = session

    def _count(self, began: float, problem: BaseException | None, sent: int, received: int) -> None:
        """Note one request that began at a perf_counter() and its bytes."""
        metrics = self.metrics
        metrics.requests += 1
        metrics.bytes_sent += sent
        metrics.bytes_received += received
        if problem is None:
            metrics.latencies.append(time.perf_counter() - began)
        else:
            metrics.errors[problem.code if isinstance(problem, InstrumentError) else CANCELLED] += 1

    def _show(
        self, began: float, problem: BaseException | None, reopened: int, sent: Sequence[str], received: Sequence[str]
    ) -> None:
        """Add one request to every trace."""
        seconds = time.perf_counter() - began
        entry = TraceEntry(
            time=time.time() - seconds,
            seconds=seconds,
            sent=tuple(map(shown, sent)),
            received=tuple(map(shown, received)),
            error="" if problem is None else str(problem) or CANCELLED,
            reopened=self.reopened != reopened,
        )
        for trace in self._traces:
            trace.add(entry)


class WatchedTextLink(_Watched):
    """TextLink; bytes are counted without terminators and what the protocol adds."""

    def __init__(self, link: TextLink) -> None:
        super().__init__(link)
        self._link = link

    async def write(self, line: str) -> None:
        await self._exchange(self._link.write, line, (line,))

    async def query(self, line: str) -> str:
        lines = [line]
        return (await self._exchange(self._link.query_many, lines, lines))[0]

    async def query_many(self, lines: Sequence[str]) -> list[str]:
        return await self._exchange(self._link.query_many, lines, lines)

    async def poll(self) -> str | None:
        line = await self._asked(self._link.poll)
        if line is not None:
            self.metrics.bytes_received += len(line)
            if self._traces:
                self._show(time.perf_counter(), None, self.reopened, (), (line,))
        return line

    async def pause(self, seconds: float) -> None:
        await self._link.pause(seconds)

    async def _exchange(self, request: Callable[[A], Awaitable[T]], argument: A, lines: Sequence[str]) -> T:
        began, reopened = time.perf_counter(), self.reopened
        answers: Sequence[str] = ()
        problem: BaseException | None = None
        try:
            result = await self._asked(request, argument)
            answers = result or ()  # type: ignore[assignment]  # a write has none
            return result
        except BaseException as error:
            problem = error
            raise
        finally:
            self._count(began, problem, sum(map(len, lines)), sum(map(len, answers)))
            if self._traces:
                self._show(began, problem, reopened, lines, answers)


class WatchedRegisterLink(_Watched):
    """RegisterLink; a register counts as two bytes, a coil as one bit."""

    def __init__(self, link: RegisterLink) -> None:
        super().__init__(link)
        self._link = link

    async def read_coils(self, unit: int, address: int, count: int) -> list[bool]:
        return await self._read(self._link.read_coils, "coil", unit, address, count)

    async def read_discrete_inputs(self, unit: int, address: int, count: int) -> list[bool]:
        return await self._read(self._link.read_discrete_inputs, "discrete", unit, address, count)

    async def read_holding_registers(self, unit: int, address: int, count: int) -> list[int]:
        return await self._read(self._link.read_holding_registers, "holding", unit, address, count)

    async def read_input_registers(self, unit: int, address: int, count: int) -> list[int]:
        return await self._read(self._link.read_input_registers, "input", unit, address, count)

    async def write_coil(self, unit: int, address: int, value: bool) -> None:
        await self._write(self._link.write_coil, "coil", unit, address, value)

    async def write_register(self, unit: int, address: int, value: int) -> None:
        await self._write(self._link.write_register, "holding", unit, address, value)

    async def write_registers(self, unit: int, address: int, values: Sequence[int]) -> None:
        await self._write(self._link.write_registers, "holding", unit, address, values)

    async def _read(
        self, request: Callable[[int, int, int], Awaitable[list[N]]], table: str, unit: int, address: int, count: int
    ) -> list[N]:
        began, reopened = time.perf_counter(), self.reopened
        values: list[N] = []
        problem: BaseException | None = None
        try:
            values = await self._asked(request, unit, address, count)
            return values
        except BaseException as error:
            problem = error
            raise
        finally:
            self._count(began, problem, 0, _size(values))
            if self._traces:
                received = [_words(values)] if values else []
                self._show(began, problem, reopened, [f"unit {unit} read {table} {address} {count}"], received)

    async def _write(
        self, request: Callable[[int, int, V], Awaitable[None]], table: str, unit: int, address: int, value: V
    ) -> None:
        began, reopened = time.perf_counter(), self.reopened
        values: Sequence[int] = value if isinstance(value, Sequence) else [value]
        problem: BaseException | None = None
        try:
            await self._asked(request, unit, address, value)
        except BaseException as error:
            problem = error
            raise
        finally:
            self._count(began, problem, _size(values), 0)
            if self._traces:
                sent = [f"unit {unit} write {table} {address} {_words(values)}"]
                self._show(began, problem, reopened, sent, ["confirmed"] if problem is None else [])


WatchedLink = WatchedTextLink | WatchedRegisterLink


def watched(link: TextLink | RegisterLink) -> WatchedLink:
    """The link as a driver gets it from the controller."""
    if hasattr(link, "read_coils"):
        return WatchedRegisterLink(cast(RegisterLink, link))
    return WatchedTextLink(link)


def _words(values: Sequence[int]) -> str:
    """Registers in hexadecimal, coils as 0 and 1."""
    return " ".join(str(int(value)) if isinstance(value, bool) else f"{value:04X}" for value in values)


def _size(values: Sequence[int]) -> int:
    return (len(values) + 7) // 8 if values and isinstance(values[0], bool) else 2 * len(values)
