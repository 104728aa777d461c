"""The publisher: what the journal has committed goes to the broker, in order; ids make "at least once" into once.

One connection at a time, a new client object for each: so the outbox is the only one who ever sends anything again.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiomqtt
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from config.line import ExternalBroker, LineIdentity
from controller.journal import Journal
from controller.mes.broker import EmbeddedBroker
from controller.mes.topics import Connection, Topics

IO_TIMEOUT_S = 5.0
KEEPALIVE_S = 10
FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 10.0
BATCH = 100

_V311, _V5 = aiomqtt.ProtocolVersion.V311, aiomqtt.ProtocolVersion.V5


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """Where the broker is and who we are there. Versions are tried in turn until one is accepted."""

    host: str
    port: int
    username: str | None = None
    password: str | None = None
    versions: tuple[aiomqtt.ProtocolVersion, ...] = (_V311,)

    @classmethod
    def of_embedded(cls, broker: EmbeddedBroker) -> BrokerSettings:
        """Settings for the broker we started."""
        return cls(broker.host, broker.port, broker.username, broker.password)

    @classmethod
    def of_external(cls, config: ExternalBroker) -> BrokerSettings:
        """Settings for a foreign broker; MQTT 5 first, since only it can refuse a message. OSError: no password."""
        password = Path(config.password_file).read_text(encoding="utf-8").strip() if config.password_file else None
        return cls(config.host, config.port, config.username, password, (_V5, _V311))


class _Client(aiomqtt.Client):
    """aiomqtt takes a negative PUBACK (MQTT 5) for a delivery; here it ends the connection as an error."""

    def _on_publish(
        self, client: Any, userdata: Any, mid: int, reason_code: ReasonCode, properties: Properties
    ) -> None:
        if reason_code.is_failure:
            if not self._disconnected.done():
                self._disconnected.set_exception(aiomqtt.MqttCodeError(reason_code, "publish refused"))
            self._client.disconnect()
            return  # without the confirmation, publish() does not return
        super()._on_publish(client, userdata, mid, reason_code, properties)

    @property
    def lost(self) -> asyncio.Future[None]:
        """Done when the connection is gone or was refused something."""
        return self._disconnected


class Publisher:
    """Follows the journal's outbox and the stations' states; `run` it in a TaskGroup and cancel it to stop cleanly."""

    def __init__(self, journal: Journal, broker: BrokerSettings, line: LineIdentity) -> None:
        self._journal, self._broker, self._topics = journal, broker, Topics(line)
        # the same on every connection: a broker that still holds our last one drops it, and its will cannot come later
        self._identifier = "evaline-" + self._topics.root.replace("/", "-")
        self._version = 0
        self._states: dict[str, bytes] = {}
        self._unsent: set[str] = set()
        self._cursor = 0  # every outbox row up to here was delivered
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._accepted = self._settled = False  # how far the present connection came
        self._stopping = False
        self.connected = False
        self.sent = 0
        self.last_error = ""

    def publish_state(self, station: str, payload: Mapping[str, Any]) -> None:
        """Retain a station's state at the broker; only the newest counts."""
        self._states[station] = _json(payload)
        self._unsent.add(station)
        self._wake.set()

    async def drained(self, timeout: float) -> bool:
        """Wait until everything appended and every state so far is delivered; False if the timeout (s) came first."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._journal.flush()
                self._idle.clear()
                self._wake.set()
                await self._idle.wait()
                await self._journal.flush()  # the marks that it was sent
                return True
        return False

    async def run(self) -> None:
        """Connect, deliver and reconnect until cancelled; then say `offline` and go."""
        with self._journal.commits() as committed:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow(committed))
                group.create_task(self._stay_connected())

    async def _follow(self, committed: asyncio.Event) -> None:
        while await committed.wait():
            committed.clear()
            if self._journal.outbox_head > self._cursor:
                self._wake.set()

    async def _stay_connected(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            self._accepted = self._settled = False
            try:
                await self._connection()
            except* (aiomqtt.MqttError, OSError) as errors:
                self.last_error = _first(errors)
            if self._stopping:
                raise asyncio.CancelledError  # an error of the disconnection took its place
            if not self._accepted:
                self._version += 1
            if self._settled:  # not merely accepted: a broker that refuses a message must not be hammered with it
                pause = FIRST_PAUSE_S
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await asyncio.Event().wait()
            pause = min(2 * pause, MAX_PAUSE_S)

    async def _connection(self) -> None:
        """One connection, from `online` to its loss or to `offline`."""
        will = aiomqtt.Will(self._topics.connection, _json(Connection(state="broken").model_dump()), qos=1, retain=True)
        async with _Client(
            self._broker.host,
            self._broker.port,
            username=self._broker.username,
            password=self._broker.password,
            identifier=self._identifier,
            protocol=self._broker.versions[self._version % len(self._broker.versions)],
            will=will,
            timeout=IO_TIMEOUT_S,
            keepalive=KEEPALIVE_S,
            socket_options=((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),),  # or 88 ms per message, by delayed ACKs
        ) as client:
            self._accepted = True
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(_until_lost(client))
                    group.create_task(self._deliver(client))
            except asyncio.CancelledError:
                self._stopping = True
                raise
            finally:
                self.connected = False
                if not client.lost.done():
                    with suppress(aiomqtt.MqttError):
                        await self._say(client, Connection(state="offline"))

    async def _deliver(self, client: _Client) -> None:
        await self._say(client, Connection(state="online"))
        self.connected = True
        self._unsent = set(self._states)
        while True:
            self._wake.clear()
            for station in sorted(self._unsent):
                self._unsent.discard(station)
                await client.publish(self._topics.state(station), self._states[station], qos=1, retain=True)
            await self._empty_outbox(client)
            self._settled = True
            if not self._wake.is_set():
                self._idle.set()
            await self._wake.wait()

    async def _empty_outbox(self, client: _Client) -> None:
        while (head := self._journal.outbox_head) > self._cursor:
            messages = self._journal.pending_outbox(BATCH, self._cursor)
            for message in messages:
                await client.publish(message.topic, message.payload.encode(), message.qos, message.retain)
                self._journal.outbox_sent(message.seq)
                self._cursor = message.seq
                self.sent += 1
            if len(messages) < BATCH:
                self._cursor = max(self._cursor, head)

    async def _say(self, client: _Client, connection: Connection) -> None:
        await client.publish(self._topics.connection, _json(connection.model_dump()), qos=1, retain=True)


async def _until_lost(client: _Client) -> None:
    await asyncio.wait({client.lost})
    raise aiomqtt.MqttError("the broker closed the connection") from client.lost.exception()


def _first(error: BaseException) -> str:
    """The text of the first error inside a group, or of what caused it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error.__cause__ or error)


def _json(payload: Mapping[str, Any]) -> bytes:
    return json.dumps(payload, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()
