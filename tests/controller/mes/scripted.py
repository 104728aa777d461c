"""A broker that answers each packet as a test wants it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

PUBLISH, PUBACK, CONNECT, CONNACK, SUBSCRIBE, SUBACK = 0x30, 0x40, 0x10, 0x20, 0x80, 0x90

Scripted = Callable[[int, bytes, asyncio.StreamWriter], None]


@asynccontextmanager
async def scripted(answer: Scripted) -> AsyncIterator[int]:
    """A broker on a free port that does what `answer` does to each packet: its type, its body, and where to write."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while not writer.is_closing():
                kind, length, shift = (await reader.readexactly(1))[0], 0, 0
                while True:
                    byte = (await reader.readexactly(1))[0]
                    length |= (byte & 0x7F) << shift
                    shift += 7
                    if byte < 0x80:
                        break
                answer(kind & 0xF0, await reader.readexactly(length), writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def message_id(body: bytes) -> bytes:
    size = int.from_bytes(body[:2], "big")
    return body[2 + size : 4 + size]
