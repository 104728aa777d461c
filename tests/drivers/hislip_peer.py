"""A HiSLIP instrument that tests talk to, and that misbehaves on purpose.

Written from IVI-6.1: a synchronous and an asynchronous connection to one port, told apart by their first message.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

SESSION = 0x1234
INITIALIZE, DATA, DATA_END, CLEAR_COMPLETE, MAX_SIZE, ASYNC_INITIALIZE, ASYNC_CLEAR = 0, 6, 7, 8, 15, 17, 19
ANSWERS = {INITIALIZE: 1, CLEAR_COMPLETE: 9, MAX_SIZE: 16, ASYNC_INITIALIZE: 18, ASYNC_CLEAR: 23}


def message(kind: int, control: int = 0, parameter: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">2sBBIQ", b"HS", kind, control, parameter, len(payload)) + payload


@dataclass
class Heard:
    kind: int
    control: int
    parameter: int
    payload: bytes


async def next_message(reader: asyncio.StreamReader) -> Heard:
    prologue, kind, control, parameter, length = struct.unpack(">2sBBIQ", await reader.readexactly(16))
    assert prologue == b"HS"
    return Heard(kind, control, parameter, await reader.readexactly(length))


@dataclass
class HislipPeer:
    """Handles both connections of one session after the other; what it is made to do wrong is set before."""

    answers: Mapping[bytes, bytes]
    max_size: int = 1 << 20
    chunk: int = 1 << 20  # of an answer, for one message
    overlap: int = 0
    overlap_after_clear: int = 0
    any_id: bool = False
    silent: set[int] = field(default_factory=set)  # messages without an answer
    drops: set[int] = field(default_factory=set)  # messages at which it hangs up, once each
    replies: dict[int, bytes] = field(default_factory=dict)  # bytes instead of the right ones
    before: bytes = b""  # sent in front of every answer
    heard: list[Heard] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)  # a line has come
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        line = b""
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                said = await next_message(reader)
                self.heard.append(said)
                if said.kind in (DATA, DATA_END):
                    line += said.payload
                    if said.kind == DATA:
                        continue
                    self.lines.append(line)
                    self.asked.set()
                if said.kind in self.drops:
                    self.drops.remove(said.kind)
                    return
                if said.kind not in self.silent:
                    writer.write(self.before + self.replies.get(said.kind, self._answer(said, line)))
                if said.kind == DATA_END:
                    line = b""

    def _answer(self, said: Heard, line: bytes) -> bytes:
        match said.kind:
            case 0:
                return message(1, self.overlap, 0x0100 << 16 | SESSION)
            case 17:
                assert said.parameter == SESSION
                return message(18, 0, int.from_bytes(b"XX", "big"))
            case 15:
                return message(16, 0, 0, struct.pack(">Q", self.max_size))
            case 19:
                return message(23)
            case 8:
                return message(9, self.overlap_after_clear)
            case 7:
                answer = self.answers.get(line, b"")
                number = 0xFFFF_FFFF if self.any_id else said.parameter
                parts = [answer[start : start + self.chunk] for start in range(0, len(answer), self.chunk)]
                return b"".join(
                    message(DATA_END if index == len(parts) - 1 else DATA, 0, number, part)
                    for index, part in enumerate(parts)
                )
        raise AssertionError(f"message {said.kind} was not expected")
