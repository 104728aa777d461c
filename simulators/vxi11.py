"""A VXI-11 core channel without I/O: a text instrument behind remote procedure calls.

Source: VXI-11 TCP/IP Instrument Protocol Specification 1.0. The device is called `inst0`. There is no port mapper and
no abort or interrupt channel: the address names the port, an abort port of 0 says that there is none, and what needs
them is not supported (error 8).

Choices where the specification leaves them: nothing waits, so a read without an answer is a timeout (error 15) and a
call on a device that another link has locked is refused (error 11) at once, whatever times the call allows; a new
message discards an answer that was not read; a clear also forgets a message that was begun.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from simulators.faults import SILENCE, HangupError
from simulators.modbus import FramingError
from simulators.ports import TextPort
from simulators.xdr import Procedure, Reader, RecordError, RecordFraming, framed, opaque, reply, unsigned

PROGRAM, VERSION = 0x0607AF, 1
DEVICE = b"inst0"
MAX_RECEIVE = 16384
MAX_RECORD = MAX_RECEIVE + 1024
MAX_MESSAGE = 4 * MAX_RECEIVE
MAX_LINKS = 16

NULL = 0
CREATE_LINK, DEVICE_WRITE, DEVICE_READ, DEVICE_READ_STB, DEVICE_TRIGGER, DEVICE_CLEAR = range(10, 16)
DEVICE_REMOTE, DEVICE_LOCAL, DEVICE_LOCK, DEVICE_UNLOCK, DEVICE_ENABLE_SRQ = range(16, 21)
DEVICE_DO_COMMAND, DESTROY_LINK = 22, 23
CREATE_INTERRUPT, DESTROY_INTERRUPT = 25, 26
UNSUPPORTED = (DEVICE_TRIGGER, DEVICE_REMOTE, DEVICE_LOCAL, DEVICE_ENABLE_SRQ, CREATE_INTERRUPT, DESTROY_INTERRUPT)

NO_ERROR, NOT_ACCESSIBLE, INVALID_LINK, PARAMETER_ERROR = 0, 3, 4, 5
NOT_SUPPORTED, OUT_OF_RESOURCES, LOCKED, NO_LOCK_HELD, TIMED_OUT = 8, 9, 11, 12, 15

FLAG_END, FLAG_TERMINATOR = 0x08, 0x80
REASON_COUNT, REASON_TERMINATOR, REASON_END = 1, 2, 4
STATUS_MESSAGE_AVAILABLE = 0x10


class DeviceError(Exception):
    """A call that is answered with an error number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"error {number}")
        self.number = number


class Link:
    """One client's conversation with the instrument."""

    def __init__(self, port: TextPort) -> None:
        self._port = port
        self.clear()

    def clear(self) -> None:
        self._conversation = self._port.open()
        self._answer = b""
        self._begun = 0

    def write(self, data: bytes, end: bool) -> None:
        """The end of a message also ends its line."""
        if self._begun == 0:
            self._answer = b""
        self._begun += len(data)
        if self._begun > MAX_MESSAGE:
            self.clear()
            raise DeviceError(PARAMETER_ERROR)
        terminator = self._port.device.terminator
        if end:
            self._begun = 0
            if not data.endswith(terminator):
                data += terminator
        self._answer += self._conversation.receive(data)

    def read(self, size: int, terminator: bytes) -> tuple[int, bytes]:
        """Up to `size` bytes, up to the terminator where one is given, and the reasons why they end there."""
        if not self._answer:
            raise DeviceError(TIMED_OUT)
        data = self._answer[:size]
        found = data.find(terminator) if terminator else -1
        if found >= 0:
            data = data[: found + 1]
        self._answer = self._answer[len(data) :]
        reason = REASON_COUNT if len(data) == size else 0
        reason |= REASON_TERMINATOR if found >= 0 else 0
        return reason | (0 if self._answer else REASON_END), data

    def status_byte(self) -> int:
        self._port.timeline.catch_up()
        return self._port.device.status_byte() | (STATUS_MESSAGE_AVAILABLE if self._answer else 0)


class Vxi11Device:
    """What all connections to one instrument share: the numbers of their links, and who has locked it."""

    def __init__(self, port: TextPort) -> None:
        self.port = port
        self.lock_holder: int | None = None
        self._links = 0

    def next_link(self) -> int:
        self._links += 1
        return self._links


class Vxi11Stream:
    """One connection: bytes in, bytes out. Raises HangupError, and FramingError for what is not RPC."""

    def __init__(self, device: Vxi11Device) -> None:
        self._device = device
        self._framing = RecordFraming(MAX_RECORD)
        self._links: dict[int, Link] = {}
        self._procedures: dict[int, Procedure] = {
            NULL: lambda _: b"",
            CREATE_LINK: _answering(self._create_link, after_error=unsigned(0, 0, 0)),
            DEVICE_WRITE: _answering(self._write, after_error=unsigned(0)),
            DEVICE_READ: _answering(self._read, after_error=unsigned(0) + opaque(b"")),
            DEVICE_READ_STB: _answering(self._read_status_byte, after_error=unsigned(0)),
            DEVICE_CLEAR: _answering(self._clear),
            DEVICE_LOCK: _answering(self._lock),
            DEVICE_UNLOCK: _answering(self._unlock),
            DESTROY_LINK: _answering(self._destroy_link),
            DEVICE_DO_COMMAND: _answering(_unsupported, after_error=opaque(b"")),
            **{number: _answering(_unsupported) for number in UNSUPPORTED},
        }

    def receive(self, data: bytes) -> bytes:
        port = self._device.port
        port.timeline.catch_up()
        if port.board.unreachable:
            raise HangupError("closed by a simulated fault")
        try:
            records = list(self._framing.feed(data))
            answers = (
                [] if not port.board.active.isdisjoint(SILENCE) else [self._carry_out(record) for record in records]
            )
        except RecordError as error:
            raise FramingError(str(error)) from None
        return b"".join(answers)

    def _carry_out(self, record: bytes) -> bytes:
        return framed(reply(record, PROGRAM, VERSION, self._procedures.get))

    def silence(self) -> None:
        """A record waits for its end however long that takes."""

    def close(self) -> None:
        """The connection is gone, and its links with their locks."""
        if self._device.lock_holder in self._links:
            self._device.lock_holder = None
        self._links.clear()

    # --- procedures --------------------------------------------------------------------------------------------

    def _create_link(self, call: Reader) -> bytes:
        """clientId, lockDevice, lock_timeout, device -> lid, abortPort, maxRecvSize."""
        _, lock, _ = (call.unsigned() for _ in range(3))
        if call.opaque(MAX_RECEIVE).lower() != DEVICE:
            raise DeviceError(NOT_ACCESSIBLE)
        if len(self._links) >= MAX_LINKS:
            raise DeviceError(OUT_OF_RESOURCES)
        if lock and self._device.lock_holder is not None:
            raise DeviceError(LOCKED)
        link = self._device.next_link()
        if lock:
            self._device.lock_holder = link
        self._links[link] = Link(self._device.port)
        return unsigned(link, 0, MAX_RECEIVE)

    def _write(self, call: Reader) -> bytes:
        """lid, io_timeout, lock_timeout, flags, data -> size."""
        number, _, _, flags = (call.unsigned() for _ in range(4))
        data = call.opaque(MAX_RECORD)
        link = self._unlocked(number)
        if len(data) > MAX_RECEIVE:
            raise DeviceError(PARAMETER_ERROR)
        link.write(data, bool(flags & FLAG_END))
        return unsigned(len(data))

    def _read(self, call: Reader) -> bytes:
        """lid, requestSize, io_timeout, lock_timeout, flags, termChar -> reason, data."""
        number, size, _, _, flags, terminator = (call.unsigned() for _ in range(6))
        link = self._unlocked(number)
        ends = bytes([terminator & 0xFF]) if flags & FLAG_TERMINATOR else b""
        reason, data = link.read(min(size, MAX_RECEIVE), ends)
        return unsigned(reason) + opaque(data)

    def _read_status_byte(self, call: Reader) -> bytes:
        """lid, flags, lock_timeout, io_timeout -> stb."""
        return unsigned(self._addressed(call).status_byte())

    def _clear(self, call: Reader) -> bytes:
        """lid, flags, lock_timeout, io_timeout."""
        self._addressed(call).clear()
        return b""

    def _lock(self, call: Reader) -> bytes:
        """lid, flags, lock_timeout."""
        number, _, _ = (call.unsigned() for _ in range(3))
        self._unlocked(number)
        if self._device.lock_holder == number:
            raise DeviceError(LOCKED)
        self._device.lock_holder = number
        return b""

    def _unlock(self, call: Reader) -> bytes:
        """lid."""
        number = call.unsigned()
        self._link(number)
        if self._device.lock_holder != number:
            raise DeviceError(NO_LOCK_HELD)
        self._device.lock_holder = None
        return b""

    def _destroy_link(self, call: Reader) -> bytes:
        """lid; its lock goes with it."""
        number = call.unsigned()
        self._link(number)
        del self._links[number]
        if self._device.lock_holder == number:
            self._device.lock_holder = None
        return b""

    def _addressed(self, call: Reader) -> Link:
        number, _, _, _ = (call.unsigned() for _ in range(4))
        return self._unlocked(number)

    def _unlocked(self, number: int) -> Link:
        """The link, unless another one has locked the device."""
        link = self._link(number)
        if self._device.lock_holder not in (None, number):
            raise DeviceError(LOCKED)
        return link

    def _link(self, number: int) -> Link:
        if number not in self._links:
            raise DeviceError(INVALID_LINK)
        return self._links[number]


def _answering(carry_out: Callable[[Reader], bytes], after_error: bytes = b"") -> Procedure:
    """Every answer begins with an error number; the rest of it is there in any case."""
    return partial(_answer, carry_out, after_error)


def _answer(carry_out: Callable[[Reader], bytes], after_error: bytes, call: Reader) -> bytes:
    try:
        return unsigned(NO_ERROR) + carry_out(call)
    except DeviceError as error:
        return unsigned(error.number) + after_error


def _unsupported(call: Reader) -> bytes:
    raise DeviceError(NOT_SUPPORTED)
