"""A TCP connection whose exchanges have one deadline each, for the protocols that travel on it.

The libraries' timeouts begin anew with every piece, so a peer that dribbles never ends them; their select() needs
descriptors below 1024; and no other thread can end their wait.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time

from drivers.errors import ADDRESS, CLOSED, REFUSED, TIMEOUT, AnswerError, LinkError


class Stream:
    """Bytes out, bytes in; `address` is what messages show. Raises LinkError."""

    def __init__(self, address: str, host: str, port: int, timeout: float) -> None:
        """Connect within timeout s."""
        self._address = address
        self._socket = _connected(address, host, port, timeout)
        self._received = bytearray()
        self._timeout = 0.0
        self._deadline = 0.0

    def start(self, timeout: float) -> None:
        """Whatever is sent and received from now on has timeout s together."""
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout

    def send(self, data: bytes) -> None:
        while data:
            self._wait(select.POLLOUT)
            data = data[self._socket.send(data) :]

    def exactly(self, count: int) -> bytes:
        while len(self._received) < count:
            self._receive(count - len(self._received))
        return self._take(count)

    def until(self, end: bytes, longest: int) -> bytes:
        """What comes up to `end`, with it; raises AnswerError when longest bytes have none."""
        while (found := self._received.find(end, 0, longest)) < 0:
            if len(self._received) >= longest:
                raise AnswerError(f"no end of message in {longest} bytes", bytes(self._received))
            self._receive(4096)
        return self._take(found + len(end))

    def readable(self) -> bool:
        """Something waits to be read, or the peer hung up."""
        return bool(self._received) or self._poll(select.POLLIN, 0.0)

    def interrupt(self) -> None:
        """Called from another thread: whoever waits fails at once."""
        with contextlib.suppress(OSError):  # already closed: nothing blocks
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()

    def _receive(self, count: int) -> None:
        self._wait(select.POLLIN)
        if not (more := self._socket.recv(count)):
            raise LinkError(CLOSED, f"{self._address} closed the connection; check the instrument")
        self._received += more

    def _take(self, count: int) -> bytes:
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken

    def _wait(self, event: int) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0 or not self._poll(event, left):
            raise LinkError(TIMEOUT, f"{self._address}: no answer in {self._timeout} s")

    def _poll(self, event: int, seconds: float) -> bool:
        poller = select.poll()
        poller.register(self._socket, event)
        return bool(poller.poll(seconds * 1000))


class MessageSession:
    """Session over a Stream whose messages end with `end`, `longest` bytes at most."""

    def __init__(self, address: str, host: str, port: int, timeout: float, end: bytes, longest: int) -> None:
        """timeout of connecting, of each message sent and of each answer, in s."""
        self._timeout, self._end, self._longest = timeout, end, longest
        self._stream = Stream(address, host, port, timeout)
        self.waiting, self.interrupt, self.close = self._stream.readable, self._stream.interrupt, self._stream.close

    def usable(self) -> bool:
        # Readable while nobody asked: the peer hung up, or an answer came late.
        return not self._stream.readable()

    def send(self, data: bytes) -> None:
        self._stream.start(self._timeout)
        self._stream.send(data)

    def receive(self) -> bytes:
        self._stream.start(self._timeout)
        return self._stream.until(self._end, self._longest)


def _connected(address: str, host: str, port: int, timeout: float) -> socket.socket:
    try:
        connection = socket.create_connection((host, port), timeout)
    except TimeoutError as error:
        raise LinkError(TIMEOUT, f"{address} does not answer the connection; check power and network") from error
    except socket.gaierror as error:
        raise LinkError(ADDRESS, f"{address}: {error.strerror}; check the address") from error
    except OSError as error:
        raise LinkError(REFUSED, f"{address}: {error.strerror}; is the instrument on and the port right?") from error
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection
