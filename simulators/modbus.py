"""A Modbus server without I/O: register tables, PDUs, and the two framings (MBAP on TCP, RTU with CRC on serial lines).

Source: MODBUS Application Protocol V1.1b3, MODBUS Messaging on TCP/IP V1.0b, MODBUS over Serial Line V1.02.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

READ_COILS, READ_DISCRETE_INPUTS, READ_HOLDING, READ_INPUT = 1, 2, 3, 4
WRITE_COIL, WRITE_REGISTER, WRITE_REGISTERS = 5, 6, 16

MAX_REGISTERS = 125
MAX_BITS = 2000
MAX_WRITTEN_REGISTERS = 123


class ModbusError(Exception):
    """Becomes an exception answer."""

    code = 0


class IllegalFunctionError(ModbusError):
    code = 1


class IllegalAddressError(ModbusError):
    code = 2


class IllegalValueError(ModbusError):
    code = 3


class Registers:
    """The tables of one unit. A table that is not overridden does not exist: its functions answer exception 1.

    Addresses are zero-based protocol addresses; words are 0..65535. Methods raise ModbusError.
    """

    def coils(self, address: int, count: int) -> Sequence[bool]:
        raise IllegalFunctionError

    def discrete_inputs(self, address: int, count: int) -> Sequence[bool]:
        raise IllegalFunctionError

    def holding(self, address: int, count: int) -> Sequence[int]:
        raise IllegalFunctionError

    def inputs(self, address: int, count: int) -> Sequence[int]:
        raise IllegalFunctionError

    def write_coil(self, address: int, value: bool) -> None:
        raise IllegalFunctionError

    def write_register(self, address: int, value: int) -> None:
        raise IllegalFunctionError

    def write_registers(self, address: int, values: Sequence[int]) -> None:
        raise IllegalFunctionError


def answer(registers: Registers, pdu: bytes) -> bytes:
    """The answer PDU to a request PDU; errors of the map become exception answers."""
    function = pdu[0] if pdu else 0
    try:
        return bytes([function]) + _execute(registers, function, pdu[1:])
    except ModbusError as error:
        return bytes([function | 0x80, error.code])


def _execute(registers: Registers, function: int, data: bytes) -> bytes:
    if function in (READ_COILS, READ_DISCRETE_INPUTS):
        address, count = _two_words(data, 4)
        _check_count(count, MAX_BITS)
        read_bits = registers.coils if function == READ_COILS else registers.discrete_inputs
        packed = _pack_bits(read_bits(address, count))
        return bytes([len(packed)]) + packed
    if function in (READ_HOLDING, READ_INPUT):
        address, count = _two_words(data, 4)
        _check_count(count, MAX_REGISTERS)
        read_words = registers.holding if function == READ_HOLDING else registers.inputs
        return bytes([2 * count]) + struct.pack(f">{count}H", *read_words(address, count))
    if function == WRITE_COIL:
        address, value = _two_words(data, 4)
        if value not in (0x0000, 0xFF00):
            raise IllegalValueError
        registers.write_coil(address, value == 0xFF00)
        return data
    if function == WRITE_REGISTER:
        registers.write_register(*_two_words(data, 4))
        return data
    if function == WRITE_REGISTERS:
        if len(data) < 5:
            raise IllegalValueError
        address, count, size = struct.unpack_from(">HHB", data)
        _check_count(count, MAX_WRITTEN_REGISTERS)
        if size != 2 * count or len(data) != 5 + size:
            raise IllegalValueError
        registers.write_registers(address, struct.unpack(f">{count}H", data[5:]))
        return data[:4]
    raise IllegalFunctionError


def _two_words(data: bytes, length: int) -> tuple[int, int]:
    if len(data) != length:
        raise IllegalValueError
    first, second = struct.unpack(">HH", data)
    return first, second


def _check_count(count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise IllegalValueError


def _pack_bits(bits: Sequence[bool]) -> bytes:
    packed = bytearray((len(bits) + 7) // 8)
    for index, bit in enumerate(bits):
        packed[index // 8] |= bool(bit) << index % 8
    return bytes(packed)


@dataclass(frozen=True)
class Request:
    """One request taken off the wire; `framed` puts the answer back into the frame it belongs to."""

    unit: int
    pdu: bytes
    transaction: int | None = None

    def framed(self, pdu: bytes) -> bytes:
        if self.transaction is None:
            return rtu_frame(self.unit, pdu)
        return struct.pack(">HHHB", self.transaction, 0, len(pdu) + 1, self.unit) + pdu


class FramingError(Exception):
    """The stream is not Modbus; nothing after this point can be understood."""


class MbapFraming:
    """Requests out of a TCP byte stream. `feed` raises FramingError when the header cannot be one."""

    HEADER = 7

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Request]:
        self._buffer += data
        while len(self._buffer) >= self.HEADER:
            transaction, protocol, length, unit = struct.unpack_from(">HHHB", self._buffer)
            if protocol != 0 or not 2 <= length <= 254:
                raise FramingError(f"protocol {protocol}, length {length}")
            end = 6 + length
            if len(self._buffer) < end:
                return
            pdu = bytes(self._buffer[self.HEADER : end])
            del self._buffer[:end]
            yield Request(unit, pdu, transaction)


class RtuFraming:
    """Requests out of a serial line. A frame with a wrong CRC is not answered, as on a real bus.

    Without bit timing the end of a request is found from its function code; `silence` says that the line has been
    quiet, which ends whatever was begun.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def silence(self) -> None:
        self._buffer.clear()

    def feed(self, data: bytes) -> Iterator[Request]:
        self._buffer += data
        while (length := rtu_length(self._buffer)) is not None and len(self._buffer) >= length:
            frame = bytes(self._buffer[:length])
            if crc16(frame[:-2]) != frame[-2:]:
                self._buffer.clear()
                return
            del self._buffer[:length]
            yield Request(frame[0], frame[1:-2])


def rtu_length(buffer: bytearray) -> int | None:
    """Bytes of the request at the head of a buffer; None when it cannot be known yet, or ever."""
    if len(buffer) < 2:
        return None
    function = buffer[1]
    if READ_COILS <= function <= WRITE_REGISTER:
        return 8
    if function == WRITE_REGISTERS:
        return 9 + buffer[6] if len(buffer) > 6 else None
    # an unknown function: the shortest frame whose CRC fits, so that it can be refused with exception 1
    for length in range(4, len(buffer) + 1):
        if crc16(buffer[: length - 2]) == buffer[length - 2 : length]:
            return length
    return None


def rtu_frame(unit: int, pdu: bytes) -> bytes:
    body = bytes([unit]) + pdu
    return body + crc16(body)


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC = _crc_table()


def crc16(data: bytes | bytearray) -> bytes:
    """CRC-16/MODBUS, low byte first as it goes over the wire."""
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc.to_bytes(2, "little")
