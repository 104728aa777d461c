"""Links without wires, for tests and for virtual time: the peer is a function, and silence is known at once.

A peer that raises ConnectionError has hung up: the request fails with E-LINK-CLOSED and the next one reopens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from drivers.errors import CLOSED, TIMEOUT, AnswerError, LinkError
from drivers.links.registers import RegisterConversation
from drivers.links.sessions import EXPECTED, check_session
from drivers.links.text import LONGEST_LINE, decode_line, encode_line

if TYPE_CHECKING:
    from pymodbus.pdu.pdu import ModbusPDU


def script(exchanges: Iterable[tuple[bytes, bytes]]) -> Callable[[bytes], bytes]:
    """A peer for transcript tests, which expects exactly these bytes in this order; AssertionError for others."""
    left = list(exchanges)

    def receive(sent: bytes) -> bytes:
        assert left, f"nothing more was expected, got {sent!r}"
        expected, answer = left.pop(0)
        assert sent == expected
        return answer

    return receive


class _MemoryConnection:
    """Open, closed, and opened again after the peer hung up."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.reopened = 0
        self._is_open = False
        self._hung_up = False

    async def open(self) -> None:
        self._is_open = True
        self._hung_up = False

    async def close(self) -> None:
        self._is_open = False

    async def _ready(self) -> None:
        """Let other tasks run, as a real link does, and reopen."""
        await asyncio.sleep(0)
        if not self._is_open:
            raise LinkError(CLOSED, f"{self.name} is not open; connect first")
        if self._hung_up:
            self._hung_up = False
            self.reopened += 1
        check_session(self.name, self.reopened, EXPECTED.get())

    def _lost(self, error: ConnectionError) -> LinkError:
        self._hung_up = True
        return LinkError(CLOSED, f"{self.name}: connection lost ({error}); check the instrument")

    def _silent(self) -> LinkError:
        """As on a real link, the session is over after a timeout."""
        self._hung_up = True
        return LinkError(TIMEOUT, f"{self.name}: no answer")


class MemoryTextLink(_MemoryConnection):
    """TextLink to `receive`, which takes the bytes of a line and returns the bytes of its answer, b"" for none.

    Lines behind the first one of an answer, and what `unasked` returns, came without a question: poll() reads them.
    """

    def __init__(
        self,
        receive: Callable[[bytes], bytes],
        *,
        terminator: bytes = b"\n",
        line_end: bytes | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        unasked: Callable[[], bytes] = bytes,
        name: str = "memory",
    ) -> None:
        """terminator ends each line sent (CR+LF for what would be a SerialLink), and lines received with its last byte
        unless line_end says with what.

        sleep is what pause() waits with; unasked returns what the peer sends by itself, once.
        """
        super().__init__(name)
        self._receive = receive
        self._terminator = terminator
        self._line_end = line_end or terminator[-1:]
        self._sleep = sleep
        self._unasked = unasked
        self._unread = b""

    async def write(self, line: str) -> None:
        data = encode_line(line, self._terminator)
        await self._ready()
        self._forget_unread()
        self._unread = self._deliver(data)

    async def query(self, line: str) -> str:
        data = encode_line(line, self._terminator)
        await self._ready()
        self._forget_unread()
        self._unread = self._deliver(data)
        return self._next_line()

    async def poll(self) -> str | None:
        if self._hung_up:
            raise LinkError(CLOSED, f"{self.name}: the connection was lost, and what came meanwhile; ask again")
        await self._ready()
        self._unread += self._unasked()
        return self._next_line() if self._unread else None

    def _forget_unread(self) -> None:
        """As a real link does, by a new session."""
        if self._unread + self._unasked():
            self.reopened += 1
        self._unread = b""
        check_session(self.name, self.reopened, EXPECTED.get())

    def _next_line(self) -> str:
        received = self._unread
        end = received.find(self._line_end)
        self._unread = received[end + len(self._line_end) :] if end >= 0 else b""
        if end < 0 and len(received) < LONGEST_LINE:
            raise self._silent()
        if not 0 <= end < LONGEST_LINE:
            raise AnswerError(f"no end of line in {LONGEST_LINE} bytes", received[:LONGEST_LINE])
        return decode_line(received[:end])

    async def query_many(self, lines: Sequence[str]) -> list[str]:
        return [await self.query(line) for line in lines]

    async def pause(self, seconds: float) -> None:
        await self._sleep(seconds)

    def _deliver(self, data: bytes) -> bytes:
        try:
            return self._receive(data)
        except ConnectionError as error:
            raise self._lost(error) from error


class MemoryRegisterLink(_MemoryConnection, RegisterConversation):
    """RegisterLink to `respond`, which takes a unit and a request PDU and returns the answer PDU, None for silence."""

    def __init__(self, respond: Callable[[int, bytes], bytes | None], *, name: str = "memory") -> None:
        super().__init__(name)
        self._respond = respond

    async def _exchange(self, request: ModbusPDU, *, repeatable: bool) -> ModbusPDU:
        from pymodbus.pdu import DecodePDU

        await self._ready()
        try:
            answer = self._respond(request.dev_id, bytes([request.function_code]) + request.encode())
        except ConnectionError as error:
            raise self._lost(error) from error
        if answer is None:
            raise self._silent()
        decoded = DecodePDU(False).decode(answer)
        if decoded is None:
            raise AnswerError(f"unit {request.dev_id}: malformed answer", answer)
        return decoded
