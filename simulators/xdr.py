"""XDR and ONC RPC over TCP, as far as a server of short calls needs them. No I/O.

Source: RFC 4506 (XDR), RFC 5531 (RPC version 2 and its record marking).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

CALL, REPLY = 0, 1
RPC_VERSION = 2
ACCEPTED, DENIED = 0, 1
SUCCESS, PROGRAM_UNAVAILABLE, PROGRAM_MISMATCH, PROCEDURE_UNAVAILABLE, GARBAGE_ARGUMENTS = range(5)
RPC_MISMATCH = 0
NO_AUTHENTICATION = struct.pack(">II", 0, 0)
MAX_AUTHENTICATION = 400
LAST_FRAGMENT = 0x80000000


class RecordError(Exception):
    """The stream is not RPC; nothing after this point can be understood."""


class XdrError(Exception):
    """These bytes are not the arguments that were expected."""


class Reader:
    """Takes values off the front of some bytes; raises XdrError when they end too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def unsigned(self) -> int:
        value: int = struct.unpack(">I", self._take(4))[0]
        return value

    def opaque(self, most: int) -> bytes:
        """Bytes of a stated length, filled up to a multiple of four."""
        size = self.unsigned()
        if size > most:
            raise XdrError
        return self._take(size + -size % 4)[:size]

    def _take(self, size: int) -> bytes:
        if len(self._data) < size:
            raise XdrError
        taken, self._data = self._data[:size], self._data[size:]
        return taken


def unsigned(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def opaque(data: bytes) -> bytes:
    return unsigned(len(data)) + data + bytes(-len(data) % 4)


class RecordFraming:
    """Records out of a TCP byte stream. `feed` raises RecordError when one is longer than `most` bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._buffer = bytearray()
        self._record = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._buffer += data
        while len(self._buffer) >= 4:
            (mark,) = struct.unpack_from(">I", self._buffer)
            size = mark & ~LAST_FRAGMENT
            if len(self._record) + size > self._most:
                raise RecordError(f"a record of more than {self._most} bytes")
            if len(self._buffer) < 4 + size:
                return
            self._record += self._buffer[4 : 4 + size]
            del self._buffer[: 4 + size]
            if mark & LAST_FRAGMENT:
                record = bytes(self._record)
                self._record.clear()
                yield record


def framed(record: bytes) -> bytes:
    """The record in one fragment."""
    return unsigned(LAST_FRAGMENT | len(record)) + record


Procedure = Callable[[Reader], bytes]


def reply(record: bytes, program: int, version: int, procedure: Callable[[int], Procedure | None]) -> bytes:
    """The reply to one call of a program; raises RecordError for a record that is no call."""
    call = Reader(record)
    try:
        transaction, kind = call.unsigned(), call.unsigned()
        if kind != CALL:
            raise RecordError("not a call")
        rpc_version, wanted, wanted_version, number = (call.unsigned() for _ in range(4))
        if rpc_version != RPC_VERSION:
            return unsigned(transaction, REPLY, DENIED, RPC_MISMATCH, RPC_VERSION, RPC_VERSION)
        for _ in ("credentials", "verifier"):
            call.unsigned()
            call.opaque(MAX_AUTHENTICATION)
    except XdrError:
        raise RecordError("not a call") from None
    head = unsigned(transaction, REPLY, ACCEPTED) + NO_AUTHENTICATION
    if wanted != program:
        return head + unsigned(PROGRAM_UNAVAILABLE)
    if wanted_version != version:
        return head + unsigned(PROGRAM_MISMATCH, version, version)
    carry_out = procedure(number)
    if carry_out is None:
        return head + unsigned(PROCEDURE_UNAVAILABLE)
    try:
        return head + unsigned(SUCCESS) + carry_out(call)
    except XdrError:
        return head + unsigned(GARBAGE_ARGUMENTS)
