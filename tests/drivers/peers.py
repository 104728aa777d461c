"""Peers that tests talk to over real sockets and ptys, and that misbehave on purpose."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import tty
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def tcp_peer(*handlers: Handler) -> AsyncIterator[int]:
    """Listen on a free port; the n-th connection gets the n-th handler, the last handler gets all further ones."""
    connections = 0
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        handler = handlers[min(connections, len(handlers) - 1)]
        connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):  # the link dropped us, as tests want
                await handler(reader, writer)
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=1 << 20)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Pty:
    """A serial line: `port` for the link, reads and writes of the peer here."""

    def __init__(self) -> None:
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self.master, False)
        self.port = os.ttyname(self._slave)
        self._received = bytearray()
        self.arrived = asyncio.Event()
        asyncio.get_running_loop().add_reader(self.master, self._read)

    def _read(self) -> None:
        self._received += os.read(self.master, 4096)
        self.arrived.set()

    async def receive(self, count: int) -> bytes:
        """Exactly count bytes."""
        while len(self._received) < count:
            self.arrived.clear()
            await self.arrived.wait()
        data = bytes(self._received[:count])
        del self._received[:count]
        return data

    async def receive_line(self) -> bytes:
        while b"\n" not in self._received:
            self.arrived.clear()
            await self.arrived.wait()
        return await self.receive(self._received.index(b"\n") + 1)

    def send(self, data: bytes) -> None:
        os.write(self.master, data)

    async def stream(self, byte: bytes) -> None:
        """Send the byte for ever, as fast as it is taken."""
        loop = asyncio.get_running_loop()
        while True:
            room = asyncio.Event()
            loop.add_writer(self.master, room.set)
            try:
                await room.wait()
            finally:
                loop.remove_writer(self.master)
            with contextlib.suppress(BlockingIOError):
                self.send(byte * 1024)

    def unplug(self) -> None:
        """Both ends of the cable are gone; the port's name with them."""
        if self.master >= 0:
            asyncio.get_running_loop().remove_reader(self.master)
            os.close(self.master)
            os.close(self._slave)
            self.master = -1


@asynccontextmanager
async def pty_peer(handler: Callable[[Pty], Awaitable[None]]) -> AsyncIterator[Pty]:
    pty = Pty()
    task = asyncio.ensure_future(handler(pty))
    try:
        yield pty
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        pty.unplug()


@contextmanager
def low_descriptors_taken() -> Iterator[None]:
    """Whatever is opened meanwhile gets a file descriptor that select() cannot take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip("the system allows too few descriptors to show it")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    held: list[int] = []
    try:
        while not held or held[-1] < 1030:
            held.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def answering(answers: dict[bytes, bytes]) -> Handler:
    """Answer known lines, stay silent on others."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(answers.get(line, b""))

    return handler
