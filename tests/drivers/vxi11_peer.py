"""A VXI-11 instrument that tests talk to, and that misbehaves on purpose.

Written from RFC 1831 (RPC version 2, record marks), RFC 1832 (XDR) and the core channel of VXI-11 rev. 1.0:
create_link, device_write, device_read, destroy_link. Like an instrument it answers the last line it was sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

CORE_CHANNEL, CORE_VERSION = 0x0607AF, 1
CREATE_LINK, DEVICE_WRITE, DEVICE_READ, DESTROY_LINK = 10, 11, 12, 23
END_FLAG, END_REASON = 8, 4
LINK = 7
NO_ERROR, IO_TIMEOUT = 0, 15


def opaque(data: bytes) -> bytes:
    """Counted bytes, padded to four."""
    return struct.pack(">I", len(data)) + data + b"\0" * (-len(data) % 4)


def record(message: bytes, fragments: int = 1) -> bytes:
    """A message in so many fragments, the last one marked."""
    size = max(1, -(-len(message) // fragments))
    parts = [message[start : start + size] for start in range(0, max(1, len(message)), size)]
    marks = [0] * (len(parts) - 1) + [0x8000_0000]
    return b"".join(struct.pack(">I", mark | len(part)) + part for mark, part in zip(marks, parts, strict=True))


def reply(number: int, results: bytes) -> bytes:
    """An accepted call that succeeded, without credentials."""
    return struct.pack(">IIIIII", number, 1, 0, 0, 0, 0) + results


@dataclass
class Call:
    """One call of the core channel."""

    number: int
    procedure: int
    arguments: bytes

    def integer(self, index: int) -> int:
        (value,) = struct.unpack_from(">I", self.arguments, 4 * index)
        return int(value)

    def counted(self, index: int) -> bytes:
        start = 4 * index + 4
        return self.arguments[start : start + self.integer(index)]


async def next_call(reader: asyncio.StreamReader) -> Call:
    message, last = b"", False
    while not last:
        (mark,) = struct.unpack(">I", await reader.readexactly(4))
        last = bool(mark & 0x8000_0000)
        message += await reader.readexactly(mark & 0x7FFF_FFFF)
    number, kind, rpc, program, version, procedure, *credentials = struct.unpack_from(">10I", message)
    assert (kind, rpc, program, version, credentials) == (0, 2, CORE_CHANNEL, CORE_VERSION, [0, 0, 0, 0])
    return Call(number, procedure, message[40:])


@dataclass
class Vxi11Peer:
    """Handles one connection after the other; what it is made to do wrong is set before."""

    answers: Mapping[bytes, bytes]
    fragments: int = 1
    longest_write: int = 1024
    chunk: int = 1 << 20  # of an answer, for one device_read
    errors: dict[int, int] = field(default_factory=dict)  # by procedure
    silent: set[int] = field(default_factory=set)  # procedures without an answer
    drops: set[int] = field(default_factory=set)  # procedures at which it hangs up, once each
    replies: dict[int, bytes] = field(default_factory=dict)  # whole records instead of the right ones, by procedure
    lines: list[bytes] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    devices: list[bytes] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)  # a read has come

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._received, self._waiting = b"", b""
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                call = await next_call(reader)
                self.calls.append(call.procedure)
                if call.procedure == DEVICE_READ:
                    self.asked.set()
                if call.procedure in self.drops:
                    self.drops.remove(call.procedure)
                    return
                if call.procedure in self.silent:
                    continue
                if call.procedure in self.replies:
                    writer.write(self.replies[call.procedure])
                    continue
                writer.write(record(reply(call.number, self._results(call)), self.fragments))

    def _results(self, call: Call) -> bytes:
        error = self.errors.get(call.procedure, NO_ERROR)
        match call.procedure:
            case 10:  # clientId, lockDevice, lock_timeout, device
                self.devices.append(call.counted(3))
                return struct.pack(">4I", error, LINK, 0, self.longest_write)
            case 11:  # lid, io_timeout, lock_timeout, flags, data
                assert call.integer(0) == LINK
                data = call.counted(4)
                self._received += data
                if call.integer(3) & END_FLAG:
                    self.lines.append(self._received)
                    self._waiting, self._received = self.answers.get(self._received, b""), b""
                return struct.pack(">2I", error, len(data))
            case 12:  # lid, requestSize, io_timeout, lock_timeout, flags, termChar
                assert call.integer(0) == LINK
                size = min(call.integer(1), self.chunk)
                data, self._waiting = self._waiting[:size], self._waiting[size:]
                if not data and not error:
                    error = IO_TIMEOUT
                return struct.pack(">2I", error, 0 if self._waiting else END_REASON) + opaque(data)
            case 23:  # lid
                return struct.pack(">I", error)
        raise AssertionError(f"procedure {call.procedure} was not expected")
