"""HiSLIP without I/O: a text instrument behind the two connections of a High-Speed LAN Instrument Protocol session.

Source: IVI-6.1, version 1.0, as far as pyvisa-py speaks it, whose client the numbers were checked with. The instrument
is called `hislip0`. A session is a synchronous connection, which carries messages and answers, and an asynchronous one
beside it; both are opened to the same port. Sessions are synchronized: answers carry the number of the message that
asked, and a message sent before the answer to the one before was read interrupts that (Interrupted, AsyncInterrupted).

Choices where the specification leaves them: there are exclusive locks only (a shared one is an error), and one that
another session holds is refused at once, whatever time the request allows; messages of a session that is locked out
are lost; there are no service requests, encryption and authentication; when one connection of a session ends, the
other one is closed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import partial

from simulators.faults import SILENCE, HangupError
from simulators.modbus import FramingError
from simulators.ports import TextConversation, TextPort

PROTOCOL_VERSION = 0x0100
VENDOR = int.from_bytes(b"EV", "big")
SUB_ADDRESS = b"hislip0"
MAX_SESSIONS = 16
MAX_MESSAGE = 1 << 16
HEADER = struct.Struct(">2sBBIQ")
PROLOGUE = b"HS"
STATUS_MESSAGE_AVAILABLE = 0x10


class Type(IntEnum):
    """Message types, IVI-6.1 table 4."""

    INITIALIZE = 0
    INITIALIZE_RESPONSE = 1
    FATAL_ERROR = 2
    ERROR = 3
    ASYNC_LOCK = 4
    ASYNC_LOCK_RESPONSE = 5
    DATA = 6
    DATA_END = 7
    DEVICE_CLEAR_COMPLETE = 8
    DEVICE_CLEAR_ACKNOWLEDGE = 9
    ASYNC_REMOTE_LOCAL_CONTROL = 10
    ASYNC_REMOTE_LOCAL_RESPONSE = 11
    TRIGGER = 12
    INTERRUPTED = 13
    ASYNC_INTERRUPTED = 14
    ASYNC_MAXIMUM_MESSAGE_SIZE = 15
    ASYNC_MAXIMUM_MESSAGE_SIZE_RESPONSE = 16
    ASYNC_INITIALIZE = 17
    ASYNC_INITIALIZE_RESPONSE = 18
    ASYNC_DEVICE_CLEAR = 19
    ASYNC_STATUS_QUERY = 21
    ASYNC_STATUS_RESPONSE = 22
    ASYNC_DEVICE_CLEAR_ACKNOWLEDGE = 23
    ASYNC_LOCK_INFO = 24
    ASYNC_LOCK_INFO_RESPONSE = 25


FATAL_HEADER, FATAL_NO_CHANNELS, FATAL_INITIALIZATION, FATAL_TOO_MANY = 1, 2, 3, 4
FATAL_TEXTS = {
    FATAL_HEADER: b"Poorly formed message header",
    FATAL_NO_CHANNELS: b"Attempt to use connection without both channels established",
    FATAL_INITIALIZATION: b"Invalid initialization sequence",
    FATAL_TOO_MANY: b"Server refused connection due to maximum number of clients exceeded",
}
ERROR_TYPE, ERROR_TOO_LARGE = 1, 4
ERROR_TEXTS = {ERROR_TYPE: b"Unrecognized message type", ERROR_TOO_LARGE: b"Message too large"}
LOCK_REFUSED, LOCK_DONE, LOCK_ERROR = 0, 1, 3


class FatalError(FramingError):
    """The connection cannot go on; `farewell` is what it still says."""

    def __init__(self, number: int) -> None:
        super().__init__(f"fatal error {number}")
        self.farewell = framed(Type.FATAL_ERROR, number, 0, FATAL_TEXTS[number])


@dataclass(frozen=True)
class Message:
    type: int
    control: int
    parameter: int
    payload: bytes


def framed(kind: Type, control: int = 0, parameter: int = 0, payload: bytes = b"") -> bytes:
    return HEADER.pack(PROLOGUE, kind, control, parameter, len(payload)) + payload


class Framing:
    """Messages out of a TCP byte stream. `feed` raises FatalError when the header cannot be one.

    Of a message that is too large nothing is kept but its header.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._skipped = 0

    def feed(self, data: bytes) -> Iterator[Message | None]:
        """None stands for a message that was too large."""
        skipped = min(self._skipped, len(data))
        self._skipped -= skipped
        self._buffer += data[skipped:]
        while len(self._buffer) >= HEADER.size:
            prologue, kind, control, parameter, size = HEADER.unpack_from(self._buffer)
            if prologue != PROLOGUE:
                raise FatalError(FATAL_HEADER)
            end = HEADER.size + size
            if size > MAX_MESSAGE:
                self._skipped = max(0, end - len(self._buffer))
                del self._buffer[:end]
                yield None
                continue
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[HEADER.size : end])
            del self._buffer[:end]
            yield Message(kind, control, parameter, payload)


class Session:
    """What the two connections of one client share."""

    def __init__(self, port: TextPort) -> None:
        self.port = port
        self.has_async = False
        self.ended = False
        self.client_size = MAX_MESSAGE
        # what the asynchronous connection has to say without being asked
        self.unasked = b""
        self.clear()

    def clear(self) -> None:
        self.conversation: TextConversation = self.port.open()
        self.begun = b""
        self.unread = False


class HislipDevice:
    """What all sessions with one instrument share: their numbers, and which of them has locked it."""

    def __init__(self, port: TextPort) -> None:
        self.port = port
        self.sessions: dict[int, Session] = {}
        self.lock_holder: Session | None = None
        self._last = 0

    def open(self) -> tuple[int, Session]:
        """Raises FatalError when there are too many."""
        if len(self.sessions) >= MAX_SESSIONS:
            raise FatalError(FATAL_TOO_MANY)
        while self._last == 0 or self._last in self.sessions:
            self._last = (self._last + 1) & 0xFFFF
        self.sessions[self._last] = session = Session(self.port)
        return self._last, session

    def end(self, session: Session) -> None:
        session.ended = True
        self.sessions = {number: other for number, other in self.sessions.items() if other is not session}
        if self.lock_holder is session:
            self.lock_holder = None


Handler = Callable[[Session, Message], bytes]


class HislipStream:
    """One connection: bytes in, bytes out. Raises HangupError, and FatalError with its farewell."""

    def __init__(self, device: HislipDevice) -> None:
        self._device = device
        self._framing = Framing()
        self._session: Session | None = None
        self._handlers: dict[int, Handler] = {}
        self._synchronous: dict[int, Handler] = {
            Type.DATA: partial(self._data, False),
            Type.DATA_END: partial(self._data, True),
            Type.TRIGGER: self._trigger,
            Type.DEVICE_CLEAR_COMPLETE: self._clear_complete,
        }
        self._asynchronous: dict[int, Handler] = {
            Type.ASYNC_MAXIMUM_MESSAGE_SIZE: self._maximum_message_size,
            Type.ASYNC_STATUS_QUERY: self._status_query,
            Type.ASYNC_DEVICE_CLEAR: lambda session, message: framed(Type.ASYNC_DEVICE_CLEAR_ACKNOWLEDGE),
            Type.ASYNC_LOCK: self._lock,
            Type.ASYNC_LOCK_INFO: self._lock_info,
            Type.ASYNC_REMOTE_LOCAL_CONTROL: lambda session, message: framed(Type.ASYNC_REMOTE_LOCAL_RESPONSE),
        }

    def receive(self, data: bytes) -> bytes:
        port = self._device.port
        port.timeline.catch_up()
        if port.board.unreachable or (self._session is not None and self._session.ended):
            raise HangupError("closed by a simulated fault, or with the other connection of its session")
        if not port.board.active.isdisjoint(SILENCE):
            return b""
        return b"".join(self._answer(message) for message in self._framing.feed(data))

    def unasked(self) -> bytes:
        """Raises HangupError when the session has ended."""
        session = self._session
        if session is None:
            return b""
        if session.ended:
            raise HangupError("closed with the other connection of its session")
        if self._handlers is not self._asynchronous:
            return b""
        said, session.unasked = session.unasked, b""
        return said

    def silence(self) -> None:
        """A message waits for its end however long that takes."""

    def close(self) -> None:
        """The connection is gone, and its session with its lock."""
        if self._session is not None:
            self._device.end(self._session)

    def _answer(self, message: Message | None) -> bytes:
        if message is None:
            return framed(Type.ERROR, ERROR_TOO_LARGE, 0, ERROR_TEXTS[ERROR_TOO_LARGE])
        if self._session is None:
            return self._initialize(message)
        handler = self._handlers.get(message.type)
        if handler is None:
            return framed(Type.ERROR, ERROR_TYPE, 0, ERROR_TEXTS[ERROR_TYPE])
        if not self._session.has_async:
            raise FatalError(FATAL_NO_CHANNELS)
        return handler(self._session, message)

    def _initialize(self, message: Message) -> bytes:
        """The first message says which of the two connections this is."""
        if message.type == Type.INITIALIZE and message.payload.lower() in (b"", SUB_ADDRESS):
            number, self._session = self._device.open()
            self._handlers = self._synchronous
            return framed(Type.INITIALIZE_RESPONSE, 0, PROTOCOL_VERSION << 16 | number)
        session = self._device.sessions.get(message.parameter)
        if message.type != Type.ASYNC_INITIALIZE or session is None or session.has_async:
            raise FatalError(FATAL_INITIALIZATION)
        self._session, session.has_async = session, True
        self._handlers = self._asynchronous
        return framed(Type.ASYNC_INITIALIZE_RESPONSE, 0, VENDOR)

    # --- the synchronous connection ----------------------------------------------------------------------------

    def _data(self, is_end: bool, session: Session, message: Message) -> bytes:
        """Part of a message, whose end also ends its line."""
        interrupted = self._interrupted(session, message)
        if len(session.begun) + len(message.payload) > MAX_MESSAGE:
            session.begun = b""
            return interrupted + framed(Type.ERROR, ERROR_TOO_LARGE, 0, ERROR_TEXTS[ERROR_TOO_LARGE])
        session.begun += message.payload
        if not is_end:
            return interrupted
        line, session.begun = session.begun, b""
        return interrupted + self._carry_out(session, line, message.parameter)

    def _trigger(self, session: Session, message: Message) -> bytes:
        return self._interrupted(session, message) + self._carry_out(session, b"*TRG", message.parameter)

    def _carry_out(self, session: Session, line: bytes, number: int) -> bytes:
        if self._device.lock_holder not in (None, session):
            return b""
        terminator = self._device.port.device.terminator
        if not line.endswith(terminator):
            line += terminator
        answer = session.conversation.receive(line, partial(_in_messages, session.client_size, number))
        session.unread = bool(answer)
        return answer

    def _interrupted(self, session: Session, message: Message) -> bytes:
        """Tell both connections when an answer was not read (RMT-delivered, bit 0) before this message."""
        unread, session.unread = session.unread and not message.control & 1, False
        if not unread:
            return b""
        session.unasked += framed(Type.ASYNC_INTERRUPTED, 0, message.parameter)
        return framed(Type.INTERRUPTED, 0, message.parameter)

    def _clear_complete(self, session: Session, message: Message) -> bytes:
        session.clear()
        return framed(Type.DEVICE_CLEAR_ACKNOWLEDGE)

    # --- the asynchronous connection ---------------------------------------------------------------------------

    def _maximum_message_size(self, session: Session, message: Message) -> bytes:
        session.client_size = max(HEADER.size + 1, int.from_bytes(message.payload[:8], "big"))
        return framed(Type.ASYNC_MAXIMUM_MESSAGE_SIZE_RESPONSE, 0, 0, struct.pack(">Q", MAX_MESSAGE))

    def _status_query(self, session: Session, message: Message) -> bytes:
        """Its bit 0 says that the last answer was read."""
        if message.control & 1:
            session.unread = False
        status = self._device.port.device.status_byte()
        return framed(Type.ASYNC_STATUS_RESPONSE, status | (STATUS_MESSAGE_AVAILABLE if session.unread else 0))

    def _lock(self, session: Session, message: Message) -> bytes:
        """Control 1 asks for the lock and 0 returns it; a payload names a shared one."""
        holder = self._device.lock_holder
        if message.control == 1:
            free = holder is None and not message.payload
            self._device.lock_holder = session if free else holder
            result = LOCK_DONE if free else LOCK_REFUSED if holder not in (None, session) else LOCK_ERROR
        else:
            result = LOCK_DONE if holder is session else LOCK_ERROR
            self._device.lock_holder = None if holder is session else holder
        return framed(Type.ASYNC_LOCK_RESPONSE, result)

    def _lock_info(self, session: Session, message: Message) -> bytes:
        locked = self._device.lock_holder is not None
        return framed(Type.ASYNC_LOCK_INFO_RESPONSE, int(locked), int(locked))


def _in_messages(size: int, number: int, answer: bytes) -> bytes:
    """An answer in as many messages as the client's size makes of it; none for no answer."""
    if not answer:
        return b""
    most = size - HEADER.size
    *parts, last = [answer[start : start + most] for start in range(0, len(answer), most)]
    return b"".join(framed(Type.DATA, 0, number, part) for part in parts) + framed(Type.DATA_END, 0, number, last)
