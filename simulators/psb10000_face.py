"""The port of the EA PSB 10000 that takes SCPI text and Modbus RTU frames, told apart by a message's first byte.

Source: EA programming guide, as collected in the project's instrument notes: 0x00 and 0x01 begin a frame, text begins
at `*`, what is between is a Modbus error; a wrong check sum is answered by exception 5; in the Limited compliance
(factory setting) the slave byte must be 0, another one is exception 2.

Choices where it is silent: in Full compliance the device is slave 1, and carries out what is for slave 0, the
broadcast, without an answer; white space before a text belongs to it; of what cannot be understood, all that was
received is lost.
"""

from __future__ import annotations

from collections.abc import Callable

from simulators.ea_modbus import EaRegisters
from simulators.modbus import IllegalAddressError, crc16, rtu_frame, rtu_length
from simulators.psb10000 import MODEL

SOCKET_TIMEOUT = 10573
IDENTITY = {
    1: MODEL,
    21: "EA Elektro-Automatik GmbH&Co.KG",
    131: "simulated",
    191: "V3.06 24.05.2023",
    211: "V3.03 05.10.2022",
    231: "V1.0.0",
}
SLAVES = (0x00, 0x01)
FIRST_OF_TEXT = ord("*")
WHITE = b" \t\r\n"
CRC_ERROR = 5
LONGEST_FRAME = 256


class PsbFace:
    """One connection: text and frames in any order, partial ones kept."""

    def __init__(self, message: Callable[[bytes], bytes], registers: EaRegisters) -> None:
        """`message` carries out one line of text and returns the bytes of its answer."""
        self._message, self._registers = message, registers
        self._buffer = bytearray()

    def receive(self, data: bytes) -> bytes:
        self._buffer += data
        answers = b""
        while self._buffer:
            answer = self._frame() if self._is_frame() else self._line()
            if answer is None:
                break
            answers += answer
        return answers

    def _is_frame(self) -> bool:
        first = self._buffer[0]
        return first < FIRST_OF_TEXT and first not in WHITE

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\n")
        if end < 0:
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return self._message(line)

    def _frame(self) -> bytes | None:
        """The framed answer to what is at the head of the buffer; None while it is not whole."""
        slave = self._buffer[0]
        if slave not in SLAVES:
            self._buffer.clear()
            return _refusal(slave, 0, IllegalAddressError.code)
        length = rtu_length(self._buffer)
        if length is None and len(self._buffer) >= LONGEST_FRAME:
            length = len(self._buffer)
        if length is None or len(self._buffer) < length:
            return None
        frame = bytes(self._buffer[:length])
        del self._buffer[:length]
        function = frame[1]
        if crc16(frame[:-2]) != frame[-2:]:
            return _refusal(slave, function, CRC_ERROR)
        full = self._registers.full_compliance
        if slave == 1 and not full:
            return _refusal(slave, function, IllegalAddressError.code)
        answer = rtu_frame(slave, self._registers.answer(frame[1:-2]))
        return b"" if slave == 0 and full else answer


def _refusal(slave: int, function: int, code: int) -> bytes:
    return rtu_frame(slave, bytes([function | 0x80, code]))
