"""A conversation in lines of text, and the worker thread that carries it for libraries that block.

One thread per link: it serialises the conversation and keeps a slow instrument from delaying the others. After any
error the session is closed, so that a late answer can never be taken for the answer to the next question.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from threading import Event
from typing import Protocol, TypeVar

from drivers.errors import CLOSED, AnswerError, InstrumentError, LinkError
from drivers.links.sessions import EXPECTED, check_session
from drivers.links.worker import Worker

T = TypeVar("T")

# Longer than any answer of any instrument here; bounds the memory that an instrument gone mad can take.
LONGEST_LINE = 16_384
LONGEST_COMMAND = 4096
TERMINATORS = {"LF": b"\n", "CRLF": b"\r\n", "CR": b"\r"}


class TextLink(Protocol):
    """Lines out, lines in. Raises LinkError, and AnswerError for a line that is empty, too long or not UTF-8."""

    @property
    def reopened(self) -> int:
        """How often the session was opened again by itself; a change means that the instrument saw a new client."""
        ...

    async def open(self) -> None:
        """Connect; does nothing when already connected."""
        ...

    async def close(self) -> None:
        """Disconnect; a request under way fails at once. Never raises."""
        ...

    async def write(self, line: str) -> None:
        """Send a line that has no answer. Never sent twice."""
        ...

    async def query(self, line: str) -> str:
        """Send a line and return the answer without its terminator. Sent a second time when the peer hung up."""
        ...

    async def query_many(self, lines: Sequence[str]) -> list[str]:
        """Query one line after the other without other requests between them."""
        ...

    async def poll(self) -> str | None:
        """A line that came without a question, or None while there is none. Does not wait for one to begin.

        Every question forgets the lines that came before it. A connection that went is an error here, never reopened:
        what was sent on it is lost.
        """
        ...

    async def pause(self, seconds: float) -> None:
        """Let the instrument settle, s."""
        ...


class Session(Protocol):
    """One open connection, used from the worker thread alone except for interrupt(). May raise any exception."""

    def usable(self) -> bool:
        """False when the peer hung up, or when something unread waits: the next answer could be the wrong one."""
        ...

    def waiting(self) -> bool:
        """True when receive() has something to read, or the end of the connection to report."""
        ...

    def send(self, data: bytes) -> None: ...

    def receive(self) -> bytes:
        """One line with its terminator, LONGEST_LINE bytes at most."""
        ...

    def interrupt(self) -> None:
        """Called from another thread: make a blocked send or receive fail at once; unusable from then on."""
        ...

    def close(self) -> None: ...


def encode_line(line: str, terminator: bytes) -> bytes:
    """The bytes of a command; a terminator inside would be two commands."""
    if not line or not line.isascii() or not line.isprintable() or len(line) > LONGEST_COMMAND:
        raise ValueError(f"not a command line: {line!r}")
    return line.encode("ascii") + terminator


def decode_line(raw: bytes) -> str:
    """The text of a received line without its terminator."""
    try:
        text = raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise AnswerError("the answer is not text; check baud rate and wiring", raw) from None
    if not text.strip():
        raise AnswerError("the answer is an empty line", raw)
    return text


class ThreadedTextLink:
    """TextLink over a Session that blocks. `name` is the address shown in messages.

    On a serial line a late answer arrives at whoever has the port open, so after a failed request the port stays closed
    for `quarantine` s; opening it discards what came meanwhile.
    """

    def __init__(
        self,
        name: str,
        open_session: Callable[[], Session],
        *,
        terminator: bytes,
        spacing: float = 0.0,
        quarantine: float = 0.0,
    ) -> None:
        self.name = name
        self.reopened = 0
        self._open_session = open_session
        self._terminator = terminator
        self._spacing = spacing
        self._quiet_since = 0.0
        self._quarantine = quarantine
        self._failed_at: float | None = None
        self._session: Session | None = None
        self._is_open = False
        self._worker = Worker(name)
        self._stop = Event()
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        async with self._lock:
            if not self._is_open:
                try:
                    await self._run(self._first_session)
                except BaseException:
                    self._worker.run(self._drop)  # a session that was ready just when we were cancelled
                    raise
                self._is_open = True

    async def close(self) -> None:
        self._is_open = False
        if self._lock.locked():  # an idle session may end in its own way
            self._interrupt()
        async with self._lock:
            await self._worker.run(self._drop)

    async def write(self, line: str) -> None:
        data = encode_line(line, self._terminator)
        async with self._lock:
            self._check_open()
            expected = EXPECTED.get()
            await self._run(lambda stop: self._transact(stop, data, expected, answered=False))

    async def query(self, line: str) -> str:
        return (await self.query_many([line]))[0]

    async def query_many(self, lines: Sequence[str]) -> list[str]:
        requests = [encode_line(line, self._terminator) for line in lines]
        async with self._lock:
            self._check_open()
            expected = EXPECTED.get()
            return await self._run(
                lambda stop: [self._transact(stop, data, expected, answered=True) for data in requests]
            )

    async def poll(self) -> str | None:
        async with self._lock:
            self._check_open()
            return await self._run(self._waiting_line)

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def _check_open(self) -> None:
        if not self._is_open:
            raise LinkError(CLOSED, f"{self.name} is not open; connect first")

    async def _run(self, work: Callable[[Event], T]) -> T:
        """Run in the worker thread; a cancelled caller frees the thread at once."""
        self._stop = stop = Event()
        try:
            return await self._worker.run(lambda: work(stop))
        except asyncio.CancelledError:
            self._interrupt()
            raise

    def _interrupt(self) -> None:
        self._stop.set()
        if (session := self._session) is not None:
            session.interrupt()

    # From here on: in the worker thread.

    def _first_session(self, stop: Event) -> None:
        self._drop()
        self._session = self._opened(stop)

    def _opened(self, stop: Event) -> Session:
        try:
            session = self._open_session()
        except Exception as error:
            raise self._as_ours(error) from error
        if stop.is_set():  # cancelled while connecting: nobody waits for this session
            session.close()
            raise LinkError(CLOSED, f"{self.name} was closed while connecting")
        return session

    def _transact(self, stop: Event, data: bytes, expected: int | None, *, answered: bool) -> str:
        """Send one line, once; a question may be asked again on a new session if the peer hung up on it."""
        problem: InstrumentError | None = None
        for last in (False, True) if answered else (True,):
            session = self._usable_session(stop)
            check_session(self.name, self.reopened, expected, problem)
            try:
                self._keep_distance(stop)
                session.send(data)
                answer = decode_line(session.receive()) if answered else ""
                self._quiet_since = time.monotonic()
                return answer
            except Exception as error:
                problem = self._failed(error)
                if last or problem.code != CLOSED or stop.is_set():
                    raise problem from error
        raise AssertionError("unreachable")

    def _waiting_line(self, stop: Event) -> str | None:
        session = self._session
        if session is None or stop.is_set():
            raise LinkError(CLOSED, f"{self.name}: the connection was lost, and what came meanwhile; ask again")
        try:
            return decode_line(session.receive()) if session.waiting() else None
        except Exception as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> InstrumentError:
        """What the caller is told; the session is over."""
        self._drop()
        self._failed_at = time.monotonic()
        return self._as_ours(error)

    def _usable_session(self, stop: Event) -> Session:
        session = self._session
        if session is None or not session.usable():
            self._drop()
            if self._failed_at is not None:
                stop.wait(max(0.0, self._failed_at + self._quarantine - time.monotonic()))
                self._failed_at = None
            self._session = session = self._opened(stop)
            self.reopened += 1
        return session

    def _keep_distance(self, stop: Event) -> None:
        """Some instruments need silence between an exchange and the next (EA: 5 ms, 10 ms recommended)."""
        if self._spacing and (wait := self._quiet_since + self._spacing - time.monotonic()) > 0:
            stop.wait(wait)
        self._quiet_since = time.monotonic()

    def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(Exception):  # closing what is already gone: nothing is left to do about it
                session.close()

    def _as_ours(self, error: Exception) -> InstrumentError:
        """One family: the libraries raise OSError, VisaIOError, SerialException, termios.error and plain Exception."""
        if isinstance(error, InstrumentError):
            return error
        return LinkError(
            CLOSED, f"{self.name}: connection lost ({error or type(error).__name__}); check the instrument"
        )
