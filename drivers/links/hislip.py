"""HiSLIP with our own waiting: instruments at `TCPIP::host::hislip0,port::INSTR`, two connections each.

Source: IVI-6.1, High-Speed LAN Instrument Protocol 1.0. PyVISA-py 0.8.1 waits five seconds to connect whatever its
timeout, begins its timeout anew with every piece of an answer, spins for ever when the peer hangs up inside a message
it discards, overlooks the instrument's error messages and cannot be interrupted; its messages are sixteen bytes and a
payload. Only the synchronized mode is spoken, and service requests are never enabled: whatever comes on the
asynchronous channel without a question ends the session.
"""

from __future__ import annotations

import struct

from drivers.errors import CLOSED, REFUSED, AnswerError, LinkError
from drivers.links.stream import Stream
from drivers.links.text import LONGEST_LINE

# Message types
INITIALIZE, INITIALIZE_RESPONSE = 0, 1
FATAL_ERROR, ERROR = 2, 3
DATA, DATA_END = 6, 7
DEVICE_CLEAR_COMPLETE, DEVICE_CLEAR_ACKNOWLEDGE = 8, 9
ASYNC_MAX_SIZE, ASYNC_MAX_SIZE_RESPONSE = 15, 16
ASYNC_INITIALIZE, ASYNC_INITIALIZE_RESPONSE = 17, 18
ASYNC_DEVICE_CLEAR, ASYNC_DEVICE_CLEAR_ACKNOWLEDGE = 19, 23

VERSION_AND_VENDOR = 0x0100 << 16 | int.from_bytes(b"EV", "big")
FIRST_ID, ANY_ID = 0xFFFF_FF00, 0xFFFF_FFFF
OVERLAP = 1
SYNCHRONIZED = 0

_HEADER = struct.Struct(">2sBBIQ")  # prologue, type, control code, parameter, length of the payload


class HislipSession:
    """A synchronous channel for the lines and an asynchronous one, which only has to be there."""

    def __init__(self, address: str, host: str, port: int, device: str, timeout: float) -> None:
        """timeout of connecting each channel, of each line sent and of each answer, in s."""
        self._address = address
        self._timeout = timeout
        self._next_id, self._sent_id = FIRST_ID, ANY_ID
        self._delivered = False
        self._sync = Stream(address, host, port, timeout)
        self._streams = [self._sync]
        try:
            self._sync.start(timeout)
            overlap, session, _ = self._ask(
                self._sync, INITIALIZE, VERSION_AND_VENDOR, device.encode("ascii"), INITIALIZE_RESPONSE
            )
            self._async = Stream(address, host, port, timeout)
            self._streams.append(self._async)
            self._async.start(timeout)
            self._ask(self._async, ASYNC_INITIALIZE, session & 0xFFFF, b"", ASYNC_INITIALIZE_RESPONSE)
            _, _, size = self._ask(
                self._async, ASYNC_MAX_SIZE, 0, LONGEST_LINE.to_bytes(8, "big"), ASYNC_MAX_SIZE_RESPONSE
            )
            # some count the header in, some do not
            self._longest = max(1, int.from_bytes(size, "big") - _HEADER.size)
            if overlap & OVERLAP:
                self._synchronize()
        except BaseException:
            self.close()
            raise

    def usable(self) -> bool:
        # Readable while nobody asked: the peer hung up, wants service, or an answer came late.
        return not (self._sync.readable() or self._async.readable())

    def waiting(self) -> bool:
        return self._sync.readable()  # only the end of the connection: HiSLIP speaks when it is asked

    def send(self, data: bytes) -> None:
        self._sync.start(self._timeout)
        while data:
            block, data = data[: self._longest], data[self._longest :]
            self._sent_id = self._next_id
            self._next_id = (self._next_id + 2) & 0xFFFF_FFFF
            self._say(self._sync, DATA if data else DATA_END, self._sent_id, block, control=int(self._delivered))
            self._delivered = False

    def receive(self) -> bytes:
        self._sync.start(self._timeout)
        line, kind = bytearray(), DATA
        while kind != DATA_END:
            kind, _, number, payload = self._hear(self._sync, LONGEST_LINE - len(line))
            if kind not in (DATA, DATA_END):
                raise AnswerError(f"{self._address}: HiSLIP message {kind} instead of an answer")
            if number in (self._sent_id, ANY_ID):
                line += payload
            else:
                kind = DATA  # the answer to an earlier line; the standard has it discarded
        self._delivered = True
        if b"\n" in line[:-1]:
            raise AnswerError("more than one line in an answer", bytes(line))
        return bytes(line)

    def interrupt(self) -> None:
        for stream in self._streams:
            stream.interrupt()

    def close(self) -> None:
        for stream in self._streams:
            stream.close()

    def _synchronize(self) -> None:
        """A device clear, which settles the mode: some instruments begin in the overlapped one."""
        self._ask(self._async, ASYNC_DEVICE_CLEAR, 0, b"", ASYNC_DEVICE_CLEAR_ACKNOWLEDGE)
        self._sync.start(self._timeout)
        mode, _, _ = self._ask(self._sync, DEVICE_CLEAR_COMPLETE, 0, b"", DEVICE_CLEAR_ACKNOWLEDGE)
        if mode & OVERLAP != SYNCHRONIZED:
            raise LinkError(REFUSED, f"{self._address} insists on HiSLIP's overlapped mode; set it to synchronized")

    def _ask(self, stream: Stream, kind: int, parameter: int, payload: bytes, answer: int) -> tuple[int, int, bytes]:
        self._say(stream, kind, parameter, payload)
        heard, control, value, content = self._hear(stream, LONGEST_LINE)
        if heard != answer:
            raise AnswerError(f"{self._address}: HiSLIP message {heard} in answer to message {kind}")
        return control, value, content

    def _say(self, stream: Stream, kind: int, parameter: int, payload: bytes, *, control: int = 0) -> None:
        stream.send(_HEADER.pack(b"HS", kind, control, parameter, len(payload)) + payload)

    def _hear(self, stream: Stream, longest: int) -> tuple[int, int, int, bytes]:
        """Type, control code, parameter and payload of the next message."""
        header = stream.exactly(_HEADER.size)
        prologue, kind, control, parameter, length = _HEADER.unpack(header)
        if prologue != b"HS" or length > longest:
            raise AnswerError(f"{self._address}: no HiSLIP message, or too long", header)
        payload = stream.exactly(length)
        if kind == FATAL_ERROR:
            code = CLOSED if self._sent_id != ANY_ID else REFUSED
            raise LinkError(code, f"{self._address} ends the session: HiSLIP error {control} {_text(payload)}")
        if kind == ERROR:
            raise AnswerError(f"{self._address} reports HiSLIP error {control} {_text(payload)}")
        return kind, control, parameter, payload


def _text(payload: bytes) -> str:
    return payload[:100].decode("ascii", "replace")
