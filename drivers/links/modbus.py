"""Modbus TCP and RTU by pymodbus 3.16, the only module that talks to its clients.

pymodbus sends every silent write four times, reconnects behind our back, waits the full timeout on a connection that
is gone and, on RTU, takes a late answer for the answer to the next request. So it packs and unpacks, while this module
waits for the answers; its reconnects are off, and every error or cancellation closes the client: each request starts on
a connection known to be clean.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import select
import time
from typing import TYPE_CHECKING, Any

from drivers.errors import CLOSED, PORT, REFUSED, TIMEOUT, AnswerError, InstrumentError, LinkError
from drivers.links.registers import RegisterConversation
from drivers.links.sessions import EXPECTED, check_session

if TYPE_CHECKING:
    from pymodbus.client.base import ModbusBaseClient
    from pymodbus.pdu.pdu import ModbusPDU


class _ModbusLink(RegisterConversation):
    """Connect, one request at a time, one retry of reads, reopening. `name` is the address shown in messages."""

    def __init__(self, name: str, timeout: float, quarantine: float) -> None:
        self.name = name
        self.reopened = 0
        self._timeout = timeout
        self._quarantine = quarantine
        self._failed_at: float | None = None
        self._client: ModbusBaseClient | None = None
        self._is_open = False
        self._waiting = False
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        async with self._lock:
            if not self._is_open:
                self._client = await self._connected()
                self._is_open = True

    async def close(self) -> None:
        self._is_open = False
        self._lost()
        async with self._lock:
            self._drop()

    async def _exchange(self, request: ModbusPDU, *, repeatable: bool) -> ModbusPDU:
        problem: InstrumentError | None = None
        async with self._lock:
            for last in (False, True) if repeatable else (True,):
                client = await self._clean_client()
                check_session(self.name, self.reopened, EXPECTED.get(), problem)
                try:
                    return await self._send(client, request)
                except (LinkError, AnswerError) as error:
                    if last or not self._is_open:
                        raise
                    problem = error
        raise AssertionError("unreachable")

    async def _clean_client(self) -> ModbusBaseClient:
        if not self._is_open:
            raise LinkError(CLOSED, f"{self.name} is not open; connect first")
        # readable before we asked: the peer hung up, or it is an answer nobody waits for
        if self._client is None or not self._client.connected or self._poller.poll(0):
            self._drop()
            self._client = await self._connected()
            self.reopened += 1
        return self._client

    async def _send(self, client: ModbusBaseClient, request: ModbusPDU) -> ModbusPDU:
        self._waiting = True
        try:
            return await self._answer(client, request)
        except BaseException as error:
            from pymodbus.exceptions import ConnectionException

            # a late answer must find nobody: cancelled, timed out or lost, this connection is over
            self._drop()
            self._failed_at = time.monotonic()
            if isinstance(error, TimeoutError):
                raise LinkError(TIMEOUT, f"{self._who(request)}: no answer in {self._timeout} s") from error
            if isinstance(error, ConnectionException):
                raise LinkError(CLOSED, f"{self._who(request)}: connection lost; check the instrument") from error
            raise
        finally:
            self._waiting = False

    async def _answer(self, client: ModbusBaseClient, request: ModbusPDU) -> ModbusPDU:
        """client.execute() without its lock (ours is held), its retries and its wait_for(): a sixth of a query's CPU.

        The framer leaves out what is another unit's or transaction's answer.
        """
        context, loop = client.ctx, asyncio.get_running_loop()
        request.transaction_id = context.getNextTID()
        answer: asyncio.Future[ModbusPDU] = loop.create_future()
        context.response_future = answer
        context.pdu_send(request)
        deadline = loop.call_later(self._timeout, _expire, answer)
        try:
            return await answer
        finally:
            deadline.cancel()

    def _who(self, request: ModbusPDU) -> str:
        return f"{self.name} unit {request.dev_id}"

    async def _connected(self) -> ModbusBaseClient:
        # pymodbus logs as errors what is raised here anyway, every time
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
        if self._failed_at is not None:
            await asyncio.sleep(self._failed_at + self._quarantine - time.monotonic())
            self._failed_at = None
        client = self._new_client()
        try:
            async with asyncio.timeout(self._timeout):
                # client.connect() would hide the reason in a bool
                client.ctx.transport, _ = await client.ctx.call_create()
                await asyncio.sleep(0)  # a serial transport starts reading in the next turn of the loop
                self._poller = _poller(client)
        except BaseException as error:
            client.close()
            if isinstance(error, TimeoutError):
                raise LinkError(TIMEOUT, f"{self.name} does not answer the connection; check power, address") from error
            if isinstance(error, (OSError, ValueError)):
                raise self._connect_error(error) from error
            raise
        return client

    def _connect_error(self, error: Exception) -> InstrumentError:
        return LinkError(REFUSED, f"cannot connect to {self.name}: {error}; is it on and the address right?")

    def _new_client(self) -> ModbusBaseClient:
        raise NotImplementedError

    def _client_options(self) -> dict[str, Any]:
        return {
            "timeout": self._timeout,
            "reconnect_delay": 0,
            "trace_connect": lambda connected: None if connected else self._lost(),
        }

    def _lost(self) -> None:
        """Fail the request under way: pymodbus would let it wait for its timeout on a closed connection."""
        from pymodbus.exceptions import ConnectionException

        if self._waiting and self._client is not None and not self._client.ctx.response_future.done():
            self._client.ctx.response_future.set_exception(ConnectionException("closed"))

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()


class ModbusTcpLink(_ModbusLink):
    """A Modbus TCP server. Late answers are told apart by their transaction id."""

    def __init__(self, host: str, port: int = 502, *, timeout: float = 2.0) -> None:
        """timeout of connecting and of each answer in s; a read is tried twice."""
        super().__init__(f"{host}:{port}", timeout, quarantine=0.0)
        self._host, self._port = host, port

    def _new_client(self) -> ModbusBaseClient:
        from pymodbus.client import AsyncModbusTcpClient

        return AsyncModbusTcpClient(self._host, port=self._port, **self._client_options())


class ModbusRtuLink(_ModbusLink):
    """A Modbus RTU bus on a serial port, 8N1, or behind a serial server (`socket://host:port`).

    RTU answers carry no number, so after a failed request the bus is left alone for `quarantine` s (one more timeout
    unless told otherwise) with the port closed; opening it discards what came late.
    """

    def __init__(
        self, port: str, *, baudrate: int = 9600, timeout: float = 1.0, quarantine: float | None = None
    ) -> None:
        """timeout of each answer and quarantine in s; a read is tried twice."""
        super().__init__(port, timeout, timeout if quarantine is None else quarantine)
        self._baudrate = baudrate

    def _new_client(self) -> ModbusBaseClient:
        from pymodbus import FramerType
        from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient

        if self.name.startswith("socket://"):  # not by pyserial, which would block the loop while it connects
            host, _, port = self.name.removeprefix("socket://").rpartition(":")
            return AsyncModbusTcpClient(host, port=int(port), framer=FramerType.RTU, **self._client_options())
        return AsyncModbusSerialClient(
            self.name, baudrate=self._baudrate, bytesize=8, parity="N", stopbits=1, **self._client_options()
        )

    def _connect_error(self, error: Exception) -> InstrumentError:
        if self.name.startswith("socket://"):
            return super()._connect_error(error)
        number = error.errno if isinstance(error, OSError) else None
        busy = number in (errno.EAGAIN, errno.EBUSY)
        advice = "another program uses it; close it there" if busy else "check that the port exists and its rights"
        return LinkError(PORT, f"cannot open {self.name}: {error}; {advice}")


def _expire(answer: asyncio.Future[ModbusPDU]) -> None:
    if not answer.done():
        answer.set_exception(TimeoutError())


def _poller(client: ModbusBaseClient) -> select.poll:
    transport = client.ctx.transport
    port = getattr(transport, "sync_serial", None) or transport.get_extra_info("socket")
    poller = select.poll()
    poller.register(port.fileno(), select.POLLIN)
    return poller
