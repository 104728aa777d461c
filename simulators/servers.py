"""The wires of a simulated station: TCP servers and pseudo terminals around its ports.

Only here do wall time, sockets and asyncio appear. A sweep every 50 ms of wall time lets line time act on instruments
nobody talks to, sends what instruments say by themselves, closes sockets that were silent too long in line time, and
unplugs serial ports. Answers that a fault delays are sent in order, after so much wall time, as timeouts are of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import termios
import tty
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from config.line import LinkConfig
from simulators.buses import Bus
from simulators.endpoints import Endpoint, PtyEndpoint, TcpEndpoint
from simulators.faults import HangupError
from simulators.hislip import FatalError, HislipDevice, HislipStream
from simulators.modbus import FramingError, MbapFraming, RtuFraming
from simulators.ports import RegisterPort, TextPort
from simulators.vxi11 import Vxi11Device, Vxi11Stream

SWEEP_S = 0.05
# a pause that ends an RTU frame; 3.5 characters at 9600 baud are 4 ms, schedulers are slower
RTU_SILENCE_S = 0.02
# what the path of a serial port ends in that was plugged in elsewhere
MOVED = ".moved"

Served = TextPort | RegisterPort | Bus


class ListenError(Exception):
    """An address that cannot be served: one line with what to do."""


class Stream(Protocol):
    """One connection: bytes in, bytes out; raises HangupError or FramingError when it must be closed."""

    def receive(self, data: bytes) -> bytes: ...

    def silence(self) -> None: ...

    def close(self) -> None:
        """The connection is gone."""
        ...


class TextStream:
    def __init__(self, port: TextPort | Bus) -> None:
        conversation = port.open()
        self.receive = conversation.receive
        self.unasked = conversation.unasked

    def silence(self) -> None:
        """A text line waits for its end however long that takes."""

    def close(self) -> None:
        """What is only half a line is nothing."""


class ModbusStream:
    """Frames around the answers of a Modbus port."""

    def __init__(self, port: RegisterPort, framing: MbapFraming | RtuFraming) -> None:
        self._conversation = port.open()
        self._framing = framing

    def receive(self, data: bytes) -> bytes:
        return b"".join(self._conversation.answer(request) for request in self._framing.feed(data))

    def silence(self) -> None:
        if isinstance(self._framing, RtuFraming):
            self._framing.silence()

    def close(self) -> None:
        """What is only half a frame is nothing."""


class Outgoing:
    """What is sent on one connection, late when a fault says so, and then in order."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._free_at = 0.0
        self._queue: deque[bytes] = deque()

    def send(self, data: bytes, delay_s: float) -> None:
        loop = asyncio.get_running_loop()
        due = max(loop.time() + delay_s, self._free_at)
        if due <= loop.time():
            self._send(data)
            return
        self._free_at = due
        self._queue.append(data)
        loop.call_at(due, self._next)

    def close(self) -> None:
        self._queue.clear()

    def _next(self) -> None:
        if self._queue:
            self._send(self._queue.popleft())


class Server(Protocol):
    """One instrument's address."""

    async def open(self) -> LinkConfig:
        """Listen; the link that leads here. Raises ListenError."""
        ...

    async def sweep(self) -> LinkConfig | None:
        """Let time act; the link to where it has gone, if it has."""
        ...

    async def close(self) -> None: ...


class TcpServer:
    def __init__(self, name: str, endpoint: TcpEndpoint, port: Served) -> None:
        self.name, self.endpoint, self.port = name, endpoint, port
        self.connections: set[TcpConnection] = set()
        self.stream = _streams(endpoint, port)
        self._server: asyncio.Server | None = None
        self._port = endpoint.port
        self._away = False

    async def open(self) -> LinkConfig:
        self._port = await self._listen(self.endpoint.port)
        return self.endpoint.link_to(self._port)

    async def _listen(self, port: int) -> int:
        host = self.endpoint.host
        try:
            self._server = await asyncio.get_running_loop().create_server(lambda: TcpConnection(self), host, port)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            raise ListenError(
                f"{self.name}: cannot listen on {host}:{port}: {reason}; "
                "stop the program that uses it, give the link another port, or use --free-ports"
            ) from None
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def sweep(self) -> LinkConfig | None:
        timeout = self.port.idle_timeout_s
        now = self.port.present
        for connection in list(self.connections):
            if self.refused or connection.is_stale or (timeout and now - connection.last_traffic >= timeout):
                connection.close()
            else:
                connection.speak()
        if self.port.moved == self._away:
            return None
        self._away = self.port.moved
        await self.close()
        return self.endpoint.link_to(await self._listen(0 if self._away else self._port))

    @property
    def refused(self) -> bool:
        return self.port.refused or self.port.restarting

    async def close(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for connection in list(self.connections):
            connection.close()
        await self._server.wait_closed()
        # transports close their sockets in the next turn of the loop
        await asyncio.sleep(0)


class TcpConnection(asyncio.Protocol):
    _transport: asyncio.Transport

    def __init__(self, server: TcpServer) -> None:
        self._server = server
        self._stream = server.stream()
        self._starts = server.port.starts
        self.last_traffic = 0.0

    @property
    def is_stale(self) -> bool:
        """Whether the instrument was started again since."""
        return self._starts != self._server.port.starts

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._outgoing = Outgoing(transport.write)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server.connections.add(self)
        self.last_traffic = self._server.port.now()
        if self._server.refused:
            self.close()

    def data_received(self, data: bytes) -> None:
        try:
            answer = self._stream.receive(data)
        except FatalError as error:
            self._transport.write(error.farewell)
            self._transport.close()
            return
        except (HangupError, FramingError):
            self.close()
            return
        self.last_traffic = self._server.port.present
        if self.is_stale:
            self.close()
        elif answer:
            self._outgoing.send(answer, self._server.port.delay_s)

    def speak(self) -> None:
        """Send what nobody asked for."""
        if not isinstance(self._stream, TextStream | HislipStream):
            return
        try:
            said = self._stream.unasked()
        except HangupError:
            self.close()
            return
        if said:
            self._outgoing.send(said, self._server.port.delay_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._outgoing.close()
        self._server.connections.discard(self)
        self._stream.close()

    def close(self) -> None:
        """Close at once; what is not sent yet is lost."""
        self._transport.abort()


class PtyServer:
    """A serial port. The slave side stays open here, so that clients may come and go.

    A client at another baud rate reads bytes that mean nothing, and what it sends is not understood.
    """

    def __init__(self, name: str, endpoint: PtyEndpoint, port: Served) -> None:
        self.name, self.endpoint, self.port = name, endpoint, port
        self._fds: tuple[int, int] | None = None
        self._path = endpoint.path
        self._target = ""
        self._stream: Stream
        self._last_read = 0.0

    async def open(self) -> LinkConfig:
        path = self.endpoint.path
        if path.exists() and not path.is_symlink():
            raise ListenError(
                f"{self.name}: {path} exists and is not a serial port of a simulator. "
                "Remove it, or give the link another port"
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._plug()
        except OSError as error:
            raise ListenError(
                f"{self.name}: cannot make the serial port {path}: {error.strerror}; give the link another port"
            ) from None
        return self.endpoint.link_to(path)

    def _plug(self) -> None:
        port = self.port
        self._stream = ModbusStream(port, RtuFraming()) if isinstance(port, RegisterPort) else TextStream(port)
        master, slave = os.openpty()
        self._fds = master, slave
        tty.setraw(slave)
        os.set_blocking(master, False)
        self._target = os.ttyname(slave)
        self._outgoing = Outgoing(self._write)
        self._path.unlink(missing_ok=True)
        self._path.symlink_to(self._target)
        asyncio.get_running_loop().add_reader(master, self._readable)

    def _unplug(self) -> None:
        if self._fds is None:
            return
        asyncio.get_running_loop().remove_reader(self._fds[0])
        for fd in self._fds:
            os.close(fd)
        self._fds = None
        self._outgoing.close()
        with contextlib.suppress(OSError):
            if os.readlink(self._path) == self._target:
                self._path.unlink()

    def _readable(self) -> None:
        assert self._fds is not None
        master = self._fds[0]
        try:
            data = os.read(master, 4096)
        except BlockingIOError:
            return
        now = asyncio.get_running_loop().time()
        if now - self._last_read > RTU_SILENCE_S:
            self._stream.silence()
        self._last_read = now
        if termios.tcgetattr(master)[5] != self.endpoint.speed:
            answer = bytes(byte ^ 0xA5 for byte in data)
        else:
            try:
                answer = self._stream.receive(data)
            except HangupError:
                self._unplug()
                return
        if answer:
            self._outgoing.send(answer, self.port.delay_s)

    def _write(self, data: bytes) -> None:
        assert self._fds is not None
        # a full buffer loses bytes, as a serial line without flow control does
        with contextlib.suppress(BlockingIOError):
            os.write(self._fds[0], data)

    async def sweep(self) -> LinkConfig | None:
        path = self.endpoint.path
        if self.port.moved:
            path = path.with_name(f"{path.name}{MOVED}")
        has_moved = path != self._path
        if has_moved:
            self._unplug()
            self._path = path
        if self.port.refused:
            self._unplug()
        elif self._fds is None:
            self._plug()
        elif isinstance(self._stream, TextStream) and (said := self._stream.unasked()):
            self._outgoing.send(said, self.port.delay_s)
        return self.endpoint.link_to(path) if has_moved else None

    async def close(self) -> None:
        self._unplug()


def _streams(endpoint: TcpEndpoint, port: Served) -> Callable[[], Stream]:
    """What makes the stream of a new connection."""
    if isinstance(port, RegisterPort):
        return lambda: ModbusStream(port, MbapFraming())
    if isinstance(port, TextPort) and endpoint.protocol == "vxi11":
        return partial(Vxi11Stream, Vxi11Device(port))
    if isinstance(port, TextPort) and endpoint.protocol == "hislip":
        return partial(HislipStream, HislipDevice(port))
    return partial(TextStream, port)


def _server(name: str, endpoint: Endpoint, port: Served) -> Server:
    return TcpServer(name, endpoint, port) if isinstance(endpoint, TcpEndpoint) else PtyServer(name, endpoint, port)


@asynccontextmanager
async def serving(
    addresses: Mapping[str, tuple[Endpoint, Served]],
    catch_up: Callable[[], None],
    moved: Callable[[str, LinkConfig], None] = lambda name, link: None,
) -> AsyncIterator[dict[str, LinkConfig]]:
    """Serve instruments, by their names, at their endpoints while the context lasts; yields the links there.

    `moved` is told when one of them is reached by another link from now on.
    """
    servers = {name: _server(name, endpoint, port) for name, (endpoint, port) in addresses.items()}
    sweeper: asyncio.Task[None] | None = None
    try:
        links = {name: await server.open() for name, server in servers.items()}
        sweeper = asyncio.create_task(_sweep(servers, catch_up, moved))
        yield links
    finally:
        if sweeper is not None:
            sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sweeper
        for server in servers.values():
            await server.close()


async def _sweep(
    servers: Mapping[str, Server], catch_up: Callable[[], None], moved: Callable[[str, LinkConfig], None]
) -> None:
    while True:
        await asyncio.sleep(SWEEP_S)
        catch_up()
        for name, server in servers.items():
            link = await server.sweep()
            if link is not None:
                moved(name, link)


def free_endpoint(endpoint: Endpoint, directory: Path) -> Endpoint:
    """The same instrument at any free TCP port of this machine, or at a pty in a directory of its own."""
    if isinstance(endpoint, TcpEndpoint):
        return replace(endpoint, host="127.0.0.1", port=0)
    return PtyEndpoint(endpoint.link, directory, endpoint.speed)
