"""VXI-11 by PyVISA-py's messages and our own waiting: instruments at `TCPIP::host,port::inst0::INSTR`.

Source: VXI-11 rev. 1.0 (VXIbus TCP/IP Instrument Protocol) over ONC RPC, RFC 1831 with its record marks (section 10).
PyVISA-py 0.8.1 spins on a peer that hung up until a second after its timeout, waits five seconds for the link of a
silent one whatever its timeout, needs descriptors below 1024 and cannot be interrupted. So its packers and unpackers
are used, and the records travel on our own stream. Service requests are never enabled.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

from pyvisa_py.protocols import rpc, vxi11

from drivers.errors import CLOSED, REFUSED, TIMEOUT, AnswerError, LinkError
from drivers.links.stream import Stream
from drivers.links.text import LONGEST_LINE

_LAST_FRAGMENT = 0x8000_0000
_LONGEST_RECORD = LONGEST_LINE + 1024  # an answer and the heads around it
_LOCKED_BY_ANOTHER = 11
_IO_TIMEOUT = 15
_GOODBYE = 0.2  # s for a healthy peer to confirm the end of a link


class Vxi11Session:
    """One link of the core channel."""

    def __init__(self, address: str, host: str, port: int, device: str, timeout: float) -> None:
        """timeout of connecting, of each line sent and of each answer, in s."""
        self._address = address
        self._timeout = timeout
        self._records = _Records(address, Stream(address, host, port, timeout))
        self._client = _CoreClient(self._records)
        self._is_healthy = True
        try:
            self._records.start(timeout)
            error, self._link, _, self._longest_write = self._call(
                self._client.create_link, os.getpid() & 0x7FFF_FFFF, False, 0, device
            )
            if error:
                raise LinkError(REFUSED, f"{address} gives no link to {device}: {_name(error)}; check the address")
        except BaseException:
            self._records.close()
            raise

    def usable(self) -> bool:
        # Readable while nobody asked: the peer hung up, or an answer came late.
        self._is_healthy = self._is_healthy and not self._records.readable()
        return self._is_healthy

    def waiting(self) -> bool:
        return self._records.readable()  # only the end of the connection: VXI-11 speaks when it is asked

    def send(self, data: bytes) -> None:
        self._records.start(self._timeout)
        while data:
            block = data[: max(1, self._longest_write)]
            end = vxi11.OP_FLAG_END if len(block) == len(data) else 0
            error, written = self._call(self._client.device_write, self._link, self._milliseconds, 0, end, block)
            self._check(error, "write")
            if not 0 < written <= len(block):
                raise AnswerError(f"{self._address}: {written} of {len(block)} bytes written")
            data = data[written:]

    def receive(self) -> bytes:
        self._records.start(self._timeout)
        line, reason = bytearray(), 0
        while not reason & vxi11.RX_END:
            if len(line) >= LONGEST_LINE:
                raise AnswerError(f"no end of message in {len(line)} bytes", bytes(line))
            room = LONGEST_LINE - len(line)
            error, reason, data = self._call(self._client.device_read, self._link, room, self._milliseconds, 0, 0, 0)
            self._check(error, "read")
            line += data
        if b"\n" in line[:-1]:
            raise AnswerError("more than one line in an answer", bytes(line))
        return bytes(line)

    def interrupt(self) -> None:
        self._is_healthy = False
        self._records.interrupt()

    def close(self) -> None:
        if self._is_healthy:
            with contextlib.suppress(Exception):  # the end of the connection ends the link as well
                self._records.start(min(self._timeout, _GOODBYE))
                self._call(self._client.destroy_link, self._link)
        self._records.close()

    @property
    def _milliseconds(self) -> int:
        return max(1, round(self._timeout * 1000))

    def _call(self, procedure: Callable[..., Any], *arguments: object) -> Any:
        was_healthy, self._is_healthy = self._is_healthy, False
        try:
            answer = procedure(*arguments)
        except (rpc.RPCError, rpc.xdrlib.Error, EOFError) as error:
            raise AnswerError(f"{self._address}: no VXI-11 answer ({error or type(error).__name__})") from error
        self._is_healthy = was_healthy
        return answer

    def _check(self, error: int, what: str) -> None:
        if not error:
            return
        self._is_healthy = False
        if error == _IO_TIMEOUT:
            raise LinkError(TIMEOUT, f"{self._address}: no answer in {self._timeout} s ({what})")
        if error == _LOCKED_BY_ANOTHER:
            raise LinkError(REFUSED, f"{self._address} is locked by another client; release it there")
        raise LinkError(CLOSED, f"{self._address}: {what} failed: {_name(error)}; check the instrument")


class _CoreClient(vxi11.CoreClient):  # type: ignore[misc]
    """PyVISA-py's calls of the core channel over our records."""

    def __init__(self, records: _Records) -> None:
        self.packer, self.unpacker = vxi11.Vxi11Packer(), vxi11.Vxi11Unpacker(b"")
        rpc.Client.__init__(self, "", vxi11.DEVICE_CORE_PROG, vxi11.DEVICE_CORE_VERS, 0)
        self._records = records

    def make_call(self, *call: Any) -> Any:
        return rpc.Client.make_call(self, *call)  # without the timeouts of RawTCPClient

    def do_call(self) -> None:
        self._records.send(self.packer.get_buf())
        self.unpacker.reset(self._records.receive())
        number, _ = self.unpacker.unpack_replyheader()
        if number != self.lastxid:
            raise rpc.RPCError(f"answer {number} to call {self.lastxid}")


class _Records:
    """Messages of RPC, each with what is left of one deadline."""

    def __init__(self, address: str, stream: Stream) -> None:
        self._address = address
        self._stream = stream
        self.start, self.readable = stream.start, stream.readable
        self.interrupt, self.close = stream.interrupt, stream.close

    def send(self, record: bytes) -> None:
        self._stream.send((len(record) | _LAST_FRAGMENT).to_bytes(4, "big") + record)

    def receive(self) -> bytes:
        record, last = b"", False
        while not last:
            mark = int.from_bytes(self._stream.exactly(4), "big")
            last, length = bool(mark & _LAST_FRAGMENT), mark & ~_LAST_FRAGMENT
            if len(record) + length > _LONGEST_RECORD:
                raise AnswerError(f"{self._address}: a record of {len(record) + length} bytes is no VXI-11 answer")
            record += self._stream.exactly(length)
        return record


def _name(error: int) -> str:
    known = {code.value: code.name.replace("_", " ") for code in vxi11.ErrorCodes}
    return f"VXI-11 error {error}{f', {known[error]}' if error in known else ''}"
