"""PyVISA with the PyVISA-py backend: raw TCP sockets, VXI-11, HiSLIP and serial ports by VISA address.

The waiting is ours: PyVISA-py's own read spins on a closed peer until the timeout, its write ignores the timeout, and
its open reports success for a refused port. So we wait with poll() first and call the library when it cannot block.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import socket
import struct
import time
from functools import partial
from threading import Lock
from typing import Any, Literal

from drivers.errors import ADDRESS, CLOSED, PORT, REFUSED, TIMEOUT, AnswerError, LinkError
from drivers.links.serial_port import SerialSession, check_descriptor
from drivers.links.stream import MessageSession
from drivers.links.text import LONGEST_LINE, TERMINATORS, Session, ThreadedTextLink

# the port is written out: without it the portmapper would have to be asked
_VXI11 = re.compile(r"TCPIP\d*::(?P<host>[^:,]+),(?P<port>\d{1,5})::(?P<device>(?!hislip)[^:]+)::INSTR", re.IGNORECASE)

_HISLIP = re.compile(r"TCPIP\d*::(?P<host>[^:,]+)::(?P<device>hislip\d+)(,(?P<port>\d{1,5}))?::INSTR", re.IGNORECASE)
_HISLIP_PORT = 4880
_SOCKET = re.compile(r"TCPIP\d*::(?P<host>[^:,]+)::(?P<port>\d{1,5})::SOCKET", re.IGNORECASE)

_manager: Any = None
_manager_lock = Lock()


def _resource_manager() -> Any:
    """The only one of the process, never closed: closing a second one would invalidate the sessions of the first."""
    global _manager
    with _manager_lock:
        if _manager is None:
            import pyvisa  # 0.2 s: paid by lines that use it

            _manager = pyvisa.ResourceManager("@py")
        return _manager


class VisaLink(ThreadedTextLink):
    """`TCPIP::host::port::SOCKET`, `TCPIP::host,port::inst0::INSTR` (VXI-11), `TCPIP::host::hislip0,port::INSTR`
    (port 4880 unless told) or `ASRL/dev/ttyS0::INSTR` (9600 8N1)."""

    def __init__(
        self,
        address: str,
        *,
        terminator: Literal["LF", "CRLF", "CR"] = "LF",
        timeout: float = 2.0,
        spacing: float = 0.0,
    ) -> None:
        """timeout of connecting, of each send and of each answer, and least distance of two messages, in s.

        The terminator ends what is sent; answers may end with LF or CR+LF, and with CR alone where it is CR.
        """
        sent = TERMINATORS[terminator]
        super().__init__(
            address,
            partial(_open_session, address, timeout, sent[-1:]),
            terminator=sent,
            spacing=spacing,
            quarantine=timeout if address.upper().startswith("ASRL") else 0.0,
        )


def _open_session(address: str, timeout: float, line_end: bytes) -> Session:
    if (vxi11 := _VXI11.fullmatch(address)) is not None:
        from drivers.links.vxi11 import Vxi11Session

        return Vxi11Session(address, vxi11["host"], int(vxi11["port"]), vxi11["device"], timeout)
    if (hislip := _HISLIP.fullmatch(address)) is not None:
        from drivers.links.hislip import HislipSession

        port = int(hislip["port"] or _HISLIP_PORT)
        return HislipSession(address, hislip["host"], port, hislip["device"].lower(), timeout)
    is_socket = address.upper().startswith("TCPIP") and address.upper().endswith("::SOCKET")
    if not is_socket and not address.upper().startswith("ASRL"):
        forms = "TCPIP::host::port::SOCKET, ::host,port::inst0::INSTR, ::host::hislip0,port::INSTR or ASRLport::INSTR"
        raise LinkError(ADDRESS, f"{address} is not of the form {forms}")
    milliseconds = max(1, round(timeout * 1000))
    try:
        resource = _resource_manager().open_resource(
            address,
            open_timeout=milliseconds,
            timeout=milliseconds,
            read_termination=line_end.decode(),
            write_termination=line_end.decode(),
        )
    except ValueError as error:
        # select() inside PyVISA-py with a descriptor above 1023: the daemon has that many files open
        if (place := _SOCKET.fullmatch(address)) is not None:
            return MessageSession(address, place["host"], int(place["port"]), timeout, line_end, LONGEST_LINE)
        raise _open_error(address, is_socket, error) from error
    except Exception as error:  # PyVISA-py raises plain Exception, VisaIOError and SerialException here
        raise _open_error(address, is_socket, error) from error
    try:
        return _wrapped(address, timeout, line_end, is_socket, resource)
    except BaseException:
        resource.close()
        raise


def _wrapped(address: str, timeout: float, line_end: bytes, is_socket: bool, resource: Any) -> Session:
    interface = resource.visalib.sessions[resource.session].interface
    if is_socket:
        return _SocketSession(address, timeout, line_end, resource, interface)
    check_descriptor(address, interface.fileno())
    try:
        interface.exclusive = True
    except OSError as error:
        raise LinkError(PORT, f"{address} is in use by another program; close it there") from error
    return SerialSession(address, interface, resource.close, line_end)


def _open_error(address: str, is_socket: bool, error: Exception) -> LinkError:
    if not is_socket:
        return LinkError(PORT, f"cannot open {address}: {error}; check that the port exists and is free")
    if "VI_ERROR_TMO" in str(error) or "error_timeout" in str(error):
        return LinkError(TIMEOUT, f"{address} does not answer the connection; check power, network and address")
    return LinkError(ADDRESS, f"cannot open {address}: {error}; check the address")


class _SocketSession:
    """A PyVISA-py socket resource."""

    def __init__(self, address: str, timeout: float, line_end: bytes, resource: Any, interface: socket.socket) -> None:
        self._address = address
        self._timeout = timeout
        self._line_end = line_end
        self._resource = resource
        self._socket = interface
        self._received = bytearray()
        self._poller = select.poll()
        self._poller.register(interface, select.POLLIN)
        self._sender = select.poll()
        self._sender.register(interface, select.POLLIN | select.POLLOUT)
        self._writable = False
        if refused := interface.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            name = errno.errorcode.get(refused, "")
            code = TIMEOUT if refused == errno.ETIMEDOUT else REFUSED
            raise LinkError(
                code, f"{address}: {os.strerror(refused)} ({name}); is the instrument on and the port right?"
            )
        # Nagle delays a query behind a write by 40 ms; PyVISA-py knows no attribute for it.
        interface.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # bounds the rest of a send that poll() found room for only in part
        interface.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", *_seconds(timeout)))

    def usable(self) -> bool:
        # Readable while nobody asked: the peer hung up (EA does after 5 s of silence), or an answer came late.
        events = self._sender.poll(0)
        self._writable = bool(events) and events[0][1] == select.POLLOUT
        return not self._received and (self._writable or not events)

    def waiting(self) -> bool:
        return bool(self._received) or bool(self._poller.poll(0))

    def send(self, data: bytes) -> None:
        if not self._writable and not self._wait_for_room():
            raise LinkError(TIMEOUT, f"{self._address} takes no data for {self._timeout} s; restart the instrument")
        self._writable = False
        self._resource.write_raw(data)

    def receive(self) -> bytes:
        # not by PyVISA-py's read, which spins on a peer that hung up and waits for more than there is
        deadline = time.monotonic() + self._timeout
        received = self._received
        while (end := received.find(self._line_end)) < 0:
            if len(received) >= LONGEST_LINE:
                raise AnswerError(f"no end of line in {len(received)} bytes", bytes(received))
            left = max(0.0, deadline - time.monotonic())
            if not self._poller.poll(left * 1000):
                size = len(received)
                raise LinkError(TIMEOUT, f"{self._address}: no answer in {self._timeout} s ({size} bytes of one)")
            if not (more := self._socket.recv(4096)):
                raise LinkError(CLOSED, f"{self._address} closed the connection; check the instrument")
            received += more
        line = bytes(received[: end + 1])  # what came together with it waits for the next
        del received[: end + 1]
        return line

    def interrupt(self) -> None:
        with contextlib.suppress(OSError):  # already closed: nothing blocks
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._resource.close()

    def _wait_for_room(self) -> bool:
        poller = select.poll()
        poller.register(self._socket, select.POLLOUT)
        return bool(poller.poll(self._timeout * 1000))


def _seconds(duration: float) -> tuple[int, int]:
    """A timeval: whole seconds and microseconds, never zero (which would mean for ever)."""
    microseconds = max(1, round(duration * 1e6))
    return divmod(microseconds, 1_000_000)
