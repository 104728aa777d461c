"""pyserial: text instruments on a serial port or behind a serial server."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

from drivers.errors import CLOSED, DESCRIPTORS, PORT, REFUSED, TIMEOUT, AnswerError, LinkError
from drivers.links.text import LONGEST_LINE, TERMINATORS, ThreadedTextLink

if TYPE_CHECKING:
    import serial


class SerialLink(ThreadedTextLink):
    """A serial port, 8N1, or `socket://host:port`; answers end with LF or CR+LF."""

    def __init__(
        self,
        port: str,
        *,
        baudrate: int = 9600,
        terminator: Literal["LF", "CRLF", "CR"] = "CRLF",
        timeout: float = 2.0,
        spacing: float = 0.0,
        quarantine: float | None = None,
    ) -> None:
        """In s: timeout of each send and of each answer, least silence between exchanges, and after a failure.

        The terminator ends what is sent. The quarantine after a failure is one more timeout unless told otherwise.
        """
        super().__init__(
            port,
            partial(_open_session, port, baudrate, timeout),
            terminator=TERMINATORS[terminator],
            spacing=spacing,
            quarantine=timeout if quarantine is None else quarantine,
        )


def _open_session(port: str, baudrate: int, timeout: float) -> SerialSession:
    import serial

    try:
        opened = serial.serial_for_url(port, baudrate=baudrate, timeout=timeout, write_timeout=timeout, exclusive=True)
    except ValueError as error:
        raise LinkError(PORT, f"cannot open {port}: {error}; check the line file") from error
    except OSError as error:
        if port.startswith("socket://"):
            raise LinkError(REFUSED, f"cannot connect to {port}: {error}; is the serial server on?") from error
        busy = error.errno in (errno.EAGAIN, errno.EBUSY)
        advice = "another program uses it; close it there" if busy else "check that the port exists and its rights"
        raise LinkError(PORT, f"cannot open {port}: {error.strerror or error}; {advice}") from error
    try:
        check_descriptor(port, opened.fileno())
    except LinkError:
        opened.close()
        raise
    opened.reset_input_buffer()
    return SerialSession(port, opened, opened.close)


def check_descriptor(name: str, number: int) -> None:
    """pyserial waits by select(), which knows descriptors below 1024 alone: say so before an answer is lost by it."""
    if number >= 1024:
        raise LinkError(
            DESCRIPTORS,
            f"{name}: pyserial needs a file descriptor below 1024, this one is {number}; use fewer connections",
        )


class SerialSession:
    """An open pyserial port with its timeouts set."""

    def __init__(self, name: str, port: serial.Serial, close: Callable[[], object], line_end: bytes = b"\n") -> None:
        self._name = name
        self._port = port
        self._close = close
        self._line_end = line_end
        self._interrupted = False

    def usable(self) -> bool:
        try:
            return not self._interrupted and not self._port.in_waiting
        except OSError:  # unplugged
            return False

    def waiting(self) -> bool:
        return bool(self._port.in_waiting)

    def send(self, data: bytes) -> None:
        import serial

        try:
            self._port.write(data)
        except serial.SerialTimeoutException as error:
            raise LinkError(TIMEOUT, f"{self._name} takes no data for {self._port.timeout} s") from error

    def receive(self) -> bytes:
        line: bytes = self._port.read_until(self._line_end, LONGEST_LINE)
        if line.endswith(self._line_end):
            return line
        if self._interrupted:
            raise LinkError(CLOSED, f"{self._name} was closed while an answer was due")
        if len(line) >= LONGEST_LINE:
            raise AnswerError(f"no end of line in {len(line)} bytes; check the baud rate", line)
        raise LinkError(TIMEOUT, f"{self._name}: no answer in {self._port.timeout} s ({len(line)} bytes of one)")

    def interrupt(self) -> None:
        self._interrupted = True
        server = getattr(self._port, "_socket", None)
        # A port that closes in this moment has neither pipe nor socket any more, and then nothing blocks.
        with contextlib.suppress(OSError, TypeError):
            if server is not None:
                server.shutdown(socket.SHUT_RDWR)
            else:
                self._port.cancel_read()
                self._port.cancel_write()

    def close(self) -> None:
        self._close()
