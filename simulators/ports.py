"""What a link talks to: a device with its faults, in the station's present. Still no sockets and no asyncio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from simulators.faults import FaultBoard, Faulty, HangupError, Wire
from simulators.modbus import Request
from simulators.timeline import Timeline


class TextFace(Protocol):
    """The protocol face of a text instrument for one connection: bytes in, bytes out, partial lines kept."""

    def receive(self, data: bytes) -> bytes:
        """The answer to what these bytes complete, after what the instrument has to say by itself."""
        ...


class TextDevice(Faulty, Protocol):
    """A text instrument. `terminator` ends its answers; a socket silent for `idle_timeout_s` is closed (0: never)."""

    terminator: bytes

    @property
    def idle_timeout_s(self) -> float: ...

    def status_byte(self) -> int:
        """What *STB? would answer, for a serial poll."""
        ...

    def face(self) -> TextFace:
        """A face for a new connection; all of them share the device."""
        ...


class RegisterDevice(Faulty, Protocol):
    """A Modbus instrument or a bus of several. A socket silent for `idle_timeout_s` is closed (0: never)."""

    @property
    def idle_timeout_s(self) -> float: ...

    def respond(self, unit: int, pdu: bytes) -> bytes | None:
        """The answer PDU; None is silence."""
        ...


class Conversation(Protocol):
    """One connection to what speaks text."""

    def receive(self, data: bytes) -> bytes:
        """Answer what these bytes complete; raises HangupError."""
        ...

    def unasked(self) -> bytes:
        """What it says by itself."""
        ...


class TextConversation:
    """One connection to a text instrument."""

    def __init__(self, port: TextPort) -> None:
        self._port = port
        self._face = port.device.face()
        self._wire = Wire(port.board)

    def receive(self, data: bytes, framed: Callable[[bytes], bytes] = bytes) -> bytes:
        """Answer what these bytes complete, in a frame where there is one; raises HangupError."""
        said = self._said()
        return self._wire.exchange(lambda: said + self._face.receive(data), self._port.device.terminator, framed)

    def unasked(self) -> bytes:
        """What the instrument says by itself; a wire that is cut at that moment loses it."""
        said = self._said()
        if not said or self._port.board.unreachable:
            return b""
        return self._wire.exchange(lambda: said, self._port.device.terminator)

    def _said(self) -> bytes:
        self._port.timeline.catch_up()
        return self._face.receive(b"")


class PortState:
    """What a server has to know of the instrument behind it."""

    def __init__(self, device: TextDevice | RegisterDevice, board: FaultBoard, timeline: Timeline) -> None:
        self.board, self.timeline = board, timeline
        self._behind = device

    @property
    def refused(self) -> bool:
        """Whether connections are closed as soon as they are made, and a serial port is gone."""
        return "refuse" in self.board.active

    @property
    def idle_timeout_s(self) -> float:
        return self._behind.idle_timeout_s

    def now(self) -> float:
        self.timeline.catch_up()
        return self.timeline.now()


class TextPort(PortState):
    """A text instrument as its link sees it; `receive` and `unasked` use one lasting connection, for memory links."""

    def __init__(self, device: TextDevice, board: FaultBoard, timeline: Timeline) -> None:
        super().__init__(device, board, timeline)
        self.device = device
        self._lasting: TextConversation | None = None

    def open(self) -> TextConversation:
        return TextConversation(self)

    def receive(self, data: bytes) -> bytes:
        try:
            return self._connection().receive(data)
        except HangupError:
            self._lasting = None
            raise

    def unasked(self) -> bytes:
        return self._connection().unasked()

    def _connection(self) -> TextConversation:
        if self._lasting is None:
            self._lasting = self.open()
        return self._lasting


class RegisterConversation:
    """One connection to a Modbus instrument."""

    def __init__(self, port: RegisterPort) -> None:
        self._port = port
        self._wire = Wire(port.board)

    def answer(self, request: Request) -> bytes:
        """The framed answer, b"" for silence; raises HangupError."""
        return self._exchange(request.unit, request.pdu, request.framed)

    def respond(self, unit: int, pdu: bytes) -> bytes:
        return self._exchange(unit, pdu, bytes)

    def _exchange(self, unit: int, pdu: bytes, framed: Callable[[bytes], bytes]) -> bytes:
        self._port.timeline.catch_up()

        def carry_out() -> bytes:
            answer = self._port.device.respond(unit, pdu)
            return framed(answer) if answer is not None else b""

        return self._wire.exchange(carry_out)


class RegisterPort(PortState):
    """A Modbus instrument as its link sees it. `respond` works without frames, for memory links."""

    def __init__(self, device: RegisterDevice, board: FaultBoard, timeline: Timeline) -> None:
        super().__init__(device, board, timeline)
        self.device = device
        self._lasting = RegisterConversation(self)

    def open(self) -> RegisterConversation:
        return RegisterConversation(self)

    def respond(self, unit: int, pdu: bytes) -> bytes | None:
        return self._lasting.respond(unit, pdu) or None


Port = TextPort | RegisterPort
