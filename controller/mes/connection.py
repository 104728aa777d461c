"""One MQTT connection: aiomqtt, with what it takes for a delivery that is none taken away.

What a caller can rely on here and not in aiomqtt 2.5 itself: a negative PUBACK or SUBACK raises; a publish fails when
the connection is lost, at once; a message is acknowledged to the broker by the caller, once it is dealt with, and comes
again after a reconnection until then; what comes in cannot fill the memory; a refused connection says so at once; no
message waits for a delayed TCP acknowledgement. A client serves one connection: what an old one still holds in its own
queue would be sent beside the outbox.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NoReturn

import aiomqtt
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

IO_TIMEOUT_S = 5.0
KEEPALIVE_S = 10
FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 10.0
IN_FLIGHT = 64  # QoS 1 messages without their PUBACK, each way
MAX_PAYLOAD = 256 * 1024  # bytes; a longer one is cut to one byte more, so that whoever reads it sees that it is
MAX_PACKET = (
    16 * 1024 * 1024
)  # bytes; MQTT 5 brokers keep what is longer from us, with 3.1.1 it is the broker's to limit
MAX_WAITING = 1000  # QoS 0 messages are dropped beyond so many; of QoS 1 the broker sends no more than IN_FLIGHT

_SILENT = logging.getLogger(__name__)
_SILENT.setLevel(logging.CRITICAL)  # what paho and aiomqtt would log is raised here

V311, V5 = aiomqtt.ProtocolVersion.V311, aiomqtt.ProtocolVersion.V5


class PublishRefusedError(aiomqtt.MqttError):
    """The broker answered a publish with a negative PUBACK (MQTT 5); the connection goes on."""


class SubscribeRefusedError(aiomqtt.MqttError):
    """The broker does not grant a subscription."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of a broker."""

    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: whom we trust (the system's authorities when None), and our certificate with its key."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def context(self) -> ssl.SSLContext:
        """Raises OSError (ssl.SSLError is one) for files that cannot be used."""
        context = ssl.create_default_context(cafile=self.ca)
        if self.cert:
            context.load_cert_chain(self.cert, self.key)
        return context


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """Where the broker is and who we are there. Endpoints and versions are tried in turn until one serves."""

    endpoints: tuple[Endpoint, ...]
    username: str | None = None
    password: str | None = None
    tls: TlsFiles = TlsFiles()
    versions: tuple[aiomqtt.ProtocolVersion, ...] = (V5, V311)
    context: ssl.SSLContext | None = None
    """In place of one that is made of the files at each connection, which takes 30 ms with the system's authorities."""


class ReceivedMessage(aiomqtt.Message):
    """A message, and whether the broker says that it has sent it before (MQTT's DUP flag)."""

    redelivered = False


class MqttClient(aiomqtt.Client):
    """A client for one connection. Publishing raises PublishRefusedError, subscribing SubscribeRefusedError."""

    def __init__(
        self,
        endpoint: Endpoint,
        version: aiomqtt.ProtocolVersion,
        identifier: str,
        settings: BrokerSettings,
        *,
        will: aiomqtt.Will | None = None,
        session_s: int = 0,
        timeout: float = IO_TIMEOUT_S,
    ) -> None:
        """With `session_s` the broker keeps subscriptions and messages for us so many seconds (3.1.1: for ever)."""
        is_v5 = version is V5
        context = (settings.context or settings.tls.context()) if endpoint.tls else None
        self._place = replace(settings, endpoints=(endpoint,), versions=(version,), context=context)
        properties = None
        if is_v5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = session_s
            properties.ReceiveMaximum = IN_FLIGHT
            properties.MaximumPacketSize = MAX_PACKET
        super().__init__(
            endpoint.host,
            endpoint.port,
            username=settings.username,
            password=settings.password,
            identifier=identifier,
            protocol=version,
            will=will,
            clean_session=None if is_v5 else not session_s,
            clean_start=MQTT_CLEAN_START_FIRST_ONLY if not (is_v5 and session_s) else False,
            timeout=timeout,
            keepalive=KEEPALIVE_S,
            max_inflight_messages=IN_FLIGHT,
            properties=properties,
            logger=_SILENT,
            tls_context=context,
            # with Nagle's algorithm against delayed acknowledgements a command's round trip takes 90 ms instead of 1
            socket_options=((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),),
        )
        self.version = version
        self.dropped = 0
        """QoS 0 messages that were not taken, for there were too many; and messages whose topic is none."""
        self._client.manual_ack_set(True)
        self._client.connect_timeout = timeout
        self._acknowledged: dict[int, asyncio.Future[ReasonCode]] = {}
        self._received: deque[ReceivedMessage] = deque()
        self._arrived = asyncio.Event()
        self._abandoned = False
        self._disconnected.add_done_callback(self._fail_all)

    @property
    def lost(self) -> asyncio.Future[None]:
        """Done when the connection is gone."""
        return self._disconnected

    async def until_lost(self) -> NoReturn:
        """Raises MqttError when the connection is gone."""
        await asyncio.wait({self._disconnected})
        raise aiomqtt.MqttError("the broker closed the connection") from self._disconnected.exception()

    @property
    def place(self) -> BrokerSettings:
        """How another client connects to just where this one is."""
        return self._place

    async def __aenter__(self) -> MqttClient:
        try:
            await super().__aenter__()
        except BaseException:
            self._abandoned = True
            self._client.disconnect()  # or its socket would be open, and pinged, until its keep-alive ends
            raise
        return self

    async def publish(  # type: ignore[override]  # positional only
        self, topic: str, payload: bytes, qos: int = 1, retain: bool = False, properties: Properties | None = None
    ) -> None:
        """Return once the broker has it: QoS 1 after a PUBACK. Raises PublishRefusedError, MqttError without an answer.

        An error other than PublishRefusedError does not mean that the message was not delivered.
        """
        sent = self._client.publish(topic, payload, qos, retain, properties)
        if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise aiomqtt.MqttCodeError(sent.rc, "Could not publish message")
        if qos == 0:
            return
        done = self._acknowledged[sent.mid] = self._loop.create_future()
        try:
            async with asyncio.timeout(self.timeout):
                code = await done
        except TimeoutError:
            raise aiomqtt.MqttError(f"no PUBACK within {self.timeout:g} s") from None
        finally:
            self._acknowledged.pop(sent.mid, None)
        if code.is_failure:
            raise PublishRefusedError(f"publish to {topic} refused: {code}")

    def mirror(self, envelope: str | bytes) -> Properties | None:
        """What MQTT 5 can say of a CloudEvents message beside it; None in 3.1.1, where the message must do."""
        if self.version is not V5:
            return None
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ContentType = "application/cloudevents+json"
        said = json.loads(envelope)
        if "correlationid" in said:
            properties.CorrelationData = str(said["correlationid"]).encode()
        if "expirytime" in said:
            lasts = datetime.fromisoformat(said["expirytime"]) - datetime.fromisoformat(said["time"])
            properties.MessageExpiryInterval = round(lasts.total_seconds())
        properties.UserProperty = [
            (name, value if isinstance(value, str) else json.dumps(value))
            for name, value in said.items()
            if isinstance(value, str | bool)
        ]
        return properties

    async def subscribe_all(self, *topics: str, qos: int = 1) -> None:
        """Subscribe; raises SubscribeRefusedError unless the broker grants every one with this QoS.

        With MQTT 5 a message that was published as a retained one says so also when it comes at once.
        """
        if self.version is V5:
            options = SubscribeOptions(qos=qos, retainAsPublished=True)
            codes = await self.subscribe([(topic, options) for topic in topics])
        else:
            codes = await self.subscribe([(topic, qos) for topic in topics])
        for topic, code in zip(topics, codes, strict=True):
            granted = code.value if isinstance(code, ReasonCode) else code
            if granted != qos:
                raise SubscribeRefusedError(f"subscription to {topic} refused: {code}")

    @property
    def waiting(self) -> int:
        """How many messages wait for `received`."""
        return len(self._received)

    async def received(self) -> ReceivedMessage:
        """The next message; `acknowledge` it when it is dealt with. Raises MqttError when the connection is lost."""
        while not self._received:
            if self._disconnected.done():
                raise aiomqtt.MqttError("the connection is lost")
            self._arrived.clear()
            await self._arrived.wait()
        return self._received.popleft()

    def acknowledge(self, message: aiomqtt.Message) -> None:
        """Tell the broker that it need not send this message again."""
        if not self._disconnected.done():
            self._client.ack(message.mid, message.qos)

    def drop(self) -> None:
        """Break the connection off, so that the broker publishes our will."""
        connected = self._client.socket()
        if isinstance(connected, socket.socket):
            with suppress(OSError):  # it is gone already
                connected.shutdown(socket.SHUT_RDWR)

    async def close(self) -> None:
        """Disconnect; never raises for a connection that is lost already."""
        with suppress(aiomqtt.MqttError):
            await self.__aexit__(None, None, None)
        self._client.disconnect()  # closes a socket that broke rather than ended

    # what paho calls

    def _client_connect(self) -> None:
        super()._client_connect()
        if self._abandoned:  # this thread could not be stopped when the connection was given up
            self._loop.call_soon_threadsafe(self._client.disconnect)

    def _on_socket_register_write(self, client: Any, userdata: Any, connected: Any) -> None:
        self._loop.call_soon_threadsafe(self._watch_for_room, connected)

    def _watch_for_room(self, connected: Any) -> None:
        if connected.fileno() >= 0:  # closed by now, its number would be nobody's or another connection's
            self._loop.add_writer(connected.fileno(), self._write)

    def _write(self) -> None:
        try:
            self._client.loop_write()
        except OSError as error:
            if not self._disconnected.done():
                self._disconnected.set_exception(error)

    def _on_publish(
        self, client: Any, userdata: Any, mid: int, reason_code: ReasonCode, properties: Properties
    ) -> None:
        done = self._acknowledged.get(mid)
        if done is not None and not done.done():
            done.set_result(reason_code)

    def _on_disconnect(
        self, client: Any, userdata: Any, flags: Any, reason_code: ReasonCode, properties: Properties | None = None
    ) -> None:
        if self._connected.cancelled():
            return  # given up before there was an answer
        if not self._connected.done():  # closed without an answer: aiomqtt would wait for its time-out
            self._connected.set_exception(aiomqtt.MqttCodeError(reason_code, "connection refused"))
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    def _on_message(self, client: Any, userdata: Any, message: Any) -> None:
        try:
            taken = ReceivedMessage._from_paho_message(message)
        except (ValueError, TypeError):  # a topic that is no text; not acknowledged it would come again for ever
            self.dropped += 1
            self._client.ack(message.mid, message.qos)
            return
        if taken.qos == 0 and len(self._received) >= MAX_WAITING:
            self.dropped += 1
            return
        taken.redelivered = bool(message.dup)
        if len(taken.payload) > MAX_PAYLOAD:
            taken.payload = taken.payload[: MAX_PAYLOAD + 1]
        self._received.append(taken)
        self._arrived.set()

    def _fail_all(self, lost: asyncio.Future[None]) -> None:
        cause = None if lost.cancelled() else lost.exception()
        if not self._connected.done():
            self._connected.set_exception(aiomqtt.MqttError(f"connection refused: {cause}"))
        self._arrived.set()
        for waiting in self._acknowledged.values():
            if not waiting.done():
                waiting.set_exception(aiomqtt.MqttError(f"the connection is lost: {cause or 'closed'}"))


class Connector:
    """Connects to a broker again and again: each time a new client, at what served last or else at the next place."""

    def __init__(self, settings: BrokerSettings, identifier: str) -> None:
        self._settings, self._identifier = settings, identifier
        self._places = [(endpoint, version) for endpoint in settings.endpoints for version in settings.versions]
        self._turn = 0
        self.accepted = False
        """Whether the latest attempt got a connection."""
        self.served = asyncio.Event()
        """Set by the latest session once the broker has done all that it was asked for."""
        self.ending = False
        """Whether `keep_connected` is being cancelled: then a session ends in order."""
        self.last_error = ""
        """What ended the latest session that failed."""

    @property
    def endpoint(self) -> Endpoint:
        """Where the present connection is, or where the next attempt goes."""
        return self._places[self._turn][0]

    @property
    def is_first(self) -> bool:
        """Every place was tried once more: time for a pause."""
        return self._turn == 0

    @asynccontextmanager
    async def connected(self, will: aiomqtt.Will | None = None, session_s: int = 0) -> AsyncIterator[MqttClient]:
        """One connection. Raises MqttError when it is refused; OSError for TLS files that cannot be used."""
        endpoint, version = self._places[self._turn]
        self.accepted = False
        try:
            client = MqttClient(endpoint, version, self._identifier, self._settings, will=will, session_s=session_s)
            await client.__aenter__()
        except (aiomqtt.MqttError, OSError):
            self._turn = (self._turn + 1) % len(self._places)
            raise
        self.accepted = True
        try:
            yield client
        finally:
            await client.close()

    async def keep_connected(self, session: Callable[[], Coroutine[Any, Any, None]]) -> NoReturn:
        """Hold one session after another until cancelled; an MqttError or OSError is the end of one.

        Each is to use `connected`, and to set `served`. Between them are pauses, which double up to 10 s until one was
        served, and for ten times as long: a broker that refuses us something, or a second daemon that takes our place
        as often as we take it, must not be hammered.
        """
        pause, loop = FIRST_PAUSE_S, asyncio.get_running_loop()
        while True:
            self.served.clear()
            begun, holding = loop.time(), asyncio.create_task(session())
            try:
                await asyncio.wait({holding})
            except asyncio.CancelledError:  # in a task of its own: only here is it known who cancelled what
                self.ending = True
                holding.cancel()
                await asyncio.wait({holding})
            try:
                holding.result()
            except* (aiomqtt.MqttError, OSError) as errors:
                self.last_error = first_error(errors)
            if self.ending:
                raise asyncio.CancelledError  # an error of the disconnection took its place
            if self.served.is_set() and loop.time() - begun > 10 * pause:
                pause = FIRST_PAUSE_S
            elif not self.accepted and not self.is_first:
                continue  # another address, or another version of MQTT, may serve
            await pause_for(pause)
            pause = min(2 * pause, MAX_PAUSE_S)


async def pause_for(seconds: float) -> None:
    """Wait so many seconds of the machine's time, whatever clock the line has."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()


def first_error(error: BaseException) -> str:
    """The text of the first error inside a group, or of what caused it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error.__cause__ or error)
