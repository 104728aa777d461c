"""What a link talks to: a device with its faults, in the station's present. Still no sockets and no asyncio."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Generic, Protocol, TypeVar, cast

from simulators.faults import BUSY, FaultBoard, Faulty, HangupError, Pending, Wire, readdressed
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
        self._device = port.device
        self._face = self._device.face()
        self._wire = Wire(port.board)

    def receive(self, data: bytes, framed: Callable[[bytes], bytes] = bytes) -> bytes:
        """Answer what these bytes complete, in a frame where there is one; raises HangupError."""
        self._port.timeline.catch_up()
        self._port.board.queried()
        said = self._said()
        answer = self._wire.exchange(lambda: said + self._face.receive(data), self._port.device.terminator, framed)
        self._port.timeline.noticed()
        return answer

    def unasked(self) -> bytes:
        """What the instrument has said by itself until the present; a wire that is cut at that moment loses it."""
        said = self._said()
        if not said or self._port.board.unreachable:
            return b""
        return self._wire.exchange(lambda: said, self._port.device.terminator)

    def _said(self) -> bytes:
        if self._port.device is not self._device:
            # it was started again, and knows nothing of the half of a line that it was sent before
            self._device = self._port.device
            self._face = self._device.face()
        return self._face.receive(b"")


Device = TypeVar("Device", bound=Faulty)


class PortState(Generic[Device]):
    """What a server has to know of the instrument behind it."""

    def __init__(self, device: Device, board: FaultBoard, timeline: Timeline) -> None:
        """`board` has the device, and may put another one in its place when it is started again."""
        assert board.device is device
        self.board, self.timeline = board, timeline

    @property
    def device(self) -> Device:
        return cast(Device, self.board.device)

    @property
    def refused(self) -> bool:
        """Whether connections are closed as soon as they are made, and a serial port is gone."""
        return "refuse" in self.board.active

    @property
    def restarting(self) -> bool:
        """Whether it is off: nothing listens, but its serial port is the computer's own."""
        return "reboot" in self.board.active

    @property
    def starts(self) -> int:
        """How often it was started again."""
        return self.board.starts

    @property
    def moved(self) -> bool:
        return "moved" in self.board.active

    def _check_reachable(self) -> None:
        """For memory links, which have no other address."""
        self.timeline.catch_up()
        if self.board.active and self.moved:
            raise HangupError("moved by a simulated fault")

    @property
    def delay_s(self) -> float:
        """How late its answers are sent, in s."""
        return self.board.delay_s

    def now(self) -> float:
        self.timeline.catch_up()
        return self.present

    @property
    def present(self) -> float:
        """When it was last looked at: coming to now costs a step of the physics."""
        return self.timeline.now()


class TextPort(PortState[TextDevice]):
    """A text instrument as its link sees it; `receive` and `unasked` use one lasting connection, for memory links."""

    def __init__(self, device: TextDevice, board: FaultBoard, timeline: Timeline) -> None:
        super().__init__(device, board, timeline)
        self._lasting: TextConversation | None = None
        self._pending = Pending(board, timeline.now)

    @property
    def idle_timeout_s(self) -> float:
        return self.device.idle_timeout_s

    def open(self) -> TextConversation:
        return TextConversation(self)

    def receive(self, data: bytes) -> bytes:
        try:
            self._check_reachable()
            answer = self._connection().receive(data)
        except HangupError:
            self._lasting = None
            raise
        return self._pending.passed(answer)

    def unasked(self) -> bytes:
        self.timeline.catch_up()
        return self._pending.passed(self._connection().unasked())

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
        return self._exchange(request.unit, request.pdu, lambda pdu: self._framed(request, pdu))

    def respond(self, unit: int, pdu: bytes) -> bytes:
        """The answer without a frame, b"" for silence and for one that no client would take; raises HangupError."""
        answer = self._exchange(unit, pdu, bytes)
        active = self._port.board.active
        return b"" if "wrong_unit" in active or "crc" in active else answer

    def _framed(self, request: Request, pdu: bytes) -> bytes:
        """The frame of an answer; none for none."""
        if not pdu:
            return b""
        active = self._port.board.active
        if "wrong_unit" in active:
            request = replace(request, unit=readdressed(request.unit))
        frame = request.framed(pdu)
        return frame[:-1] + bytes([frame[-1] ^ 0xFF]) if "crc" in active else frame

    def _exchange(self, unit: int, pdu: bytes, framed: Callable[[bytes], bytes]) -> bytes:
        self._port.timeline.catch_up()
        self._port.board.queried()

        def carry_out() -> bytes:
            if "busy" in self._port.board.active:
                return bytes([pdu[0] | 0x80, BUSY]) if pdu else b""
            return self._port.device.respond(unit, pdu) or b""

        answer = self._wire.exchange(carry_out, framed=framed)
        self._port.timeline.noticed()
        return answer


class RegisterPort(PortState[RegisterDevice]):
    """A Modbus instrument as its link sees it. `respond` works without frames, for memory links."""

    def __init__(self, device: RegisterDevice, board: FaultBoard, timeline: Timeline) -> None:
        super().__init__(device, board, timeline)
        self._lasting = RegisterConversation(self)
        self._pending = Pending(board, timeline.now)

    @property
    def idle_timeout_s(self) -> float:
        return self.device.idle_timeout_s

    def open(self) -> RegisterConversation:
        return RegisterConversation(self)

    def respond(self, unit: int, pdu: bytes) -> bytes | None:
        self._check_reachable()
        answer = self._lasting.respond(unit, pdu)
        return self._pending.passed(answer) or None


Port = TextPort | RegisterPort
