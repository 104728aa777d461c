"""The line's one connection to the MES: what the journal committed goes out, commands and acknowledgements come in.

Each connection begins from nothing, whatever the broker still knows: it subscribes, says `online`, retains the newest
states, and sends what is open in the outbox.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiomqtt
import structlog

from config.line import Delivery, ExternalBroker
from config.line import EmbeddedBroker as EmbeddedBrokerConfig
from controller.journal import AuditEntry, Journal
from controller.mes.broker import EmbeddedBroker
from controller.mes.connection import (
    V311,
    BrokerSettings,
    Connector,
    Endpoint,
    MqttClient,
    PublishRefusedError,
    ReceivedMessage,
    TlsFiles,
)
from controller.mes.outbox import OutboxSender
from controller.mes.presence import Presence, Presences
from controller.mes.reading import PayloadError, read_message
from controller.mes.requests import AcknowledgementMessage
from controller.mes.topics import Topics, encoded

LOOK_EVERY_S = 10.0  # how often alarms are looked at when nobody asks
SESSION_S = 24 * 3600  # how long the broker keeps commands and acknowledgements for a line that is away
MAX_COMMANDS = 64  # being dealt with at once

log = structlog.get_logger()


class CommandDoor(Protocol):
    """Who takes commands."""

    async def receive(self, topic: str, payload: bytes, *, retained: bool, redelivered: bool = False) -> None:
        """Return once the command is durable: then the broker forgets it. What it sends again is `redelivered`."""
        ...


def settings_of(config: ExternalBroker | EmbeddedBrokerConfig, embedded: EmbeddedBroker | None) -> BrokerSettings:
    """How to reach the configured broker, or the one that we started. Raises OSError for a file that is not there."""
    if embedded is not None:
        endpoint = Endpoint(embedded.host, embedded.port)
        return BrokerSettings((endpoint,), embedded.username, embedded.password, versions=(V311,))
    assert isinstance(config, ExternalBroker)
    password = Path(config.password_file).read_text(encoding="utf-8").strip() if config.password_file else None
    settings = BrokerSettings(
        tuple(endpoint_of(url) for url in config.urls),
        config.username,
        password,
        TlsFiles(config.ca_file, config.cert_file, config.key_file),
    )
    if any(endpoint.tls for endpoint in settings.endpoints):
        settings.tls.context()  # so that a wrong file is told at the start
    return settings


def endpoint_of(url: str) -> Endpoint:
    """`mqtt://host:1883` or `mqtts://host:8883`; these ports when none is given."""
    parts = urlsplit(url)
    tls = parts.scheme == "mqtts"
    return Endpoint(parts.hostname or "", parts.port or (8883 if tls else 1883), tls)


class Publisher:
    """Runs until cancelled, then says `offline`. Everything else about it is called on its event loop."""

    def __init__(
        self, journal: Journal, broker: BrokerSettings, topics: Topics, now: Callable[[], float], delivery: Delivery,
        door: CommandDoor | None = None, stations: Iterable[str] = (),
    ) -> None:  # fmt: skip
        """`now` is line time; without a door nobody takes commands; `stations` get a presence each."""
        self._journal, self._topics, self._now, self._door = journal, topics, now, door
        self._limits, results = delivery.outbox, delivery.results
        journal.outbox.max_messages, journal.outbox.max_bytes = self._limits.max_messages, self._max_bytes
        # the same on every connection: a broker that still holds our last one drops it, and its will cannot come later
        self._connector = Connector(broker, topics.client_id)
        self._presence, self._presences = Presence(topics, now), Presences(topics, now, stations)
        self.outbox = OutboxSender(
            journal, now, self._progressed, by_ack=results.closed_by == "ack", ack_within=results.ack_within_s
        )
        self._by_ack = results.closed_by == "ack"
        self._retained: dict[str, bytes] = {}
        self._refused: dict[str, str] = {}  # why, by topic, of what the broker does not let us retain
        self._unsent: set[str] = set()
        self._committed, self._wake, self._progress = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._client: MqttClient | None = None
        self._alarmed: dict[str, str] = {}
        self._look_now = asyncio.Event()
        self._bad_acks = 0  # since the last look
        if not self._by_ack:
            log.warning(
                "results count as delivered when the broker has them (closed_by: puback):"
                " what it loses, or what a MES never stores, is lost [W-RESULTS-PUBACK]"
            )

    @property
    def _max_bytes(self) -> int:
        return int(self._limits.max_mb * 1e6)

    @property
    def connected(self) -> bool:
        return self._client is not None

    def retain(self, topic: str, payload: Mapping[str, Any]) -> None:
        """Retain a message at the broker, now and on every connection; only the newest of a topic counts."""
        self._retained[topic] = encoded(payload)
        self._unsent.add(topic)
        self._wake.set()

    async def tell(self, topic: str, payload: Mapping[str, Any]) -> None:
        """Publish at QoS 0; it is lost when nobody is there."""
        if self._client is not None:
            data = encoded(payload)
            with suppress(aiomqtt.MqttError):
                await self._client.publish(topic, data, 0, properties=self._client.mirror(data))

    async def drained(self, timeout: float) -> bool:
        """Wait until the broker has everything appended and every state so far, but for results that must wait for the
        MES to store the one before; False if the timeout (s) came first."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._journal.flush()
                while not (self._connector.served.is_set() and not self._unsent and self.outbox.all_sent):
                    self._progress.clear()
                    await self._progress.wait()
                await self._journal.flush()  # the marks that it was sent
                return True
        return False

    def status(self) -> dict[str, Any]:
        """What people see of it: ages in s of line time, sizes in bytes."""
        waiting = self._journal.outbox
        return {
            "broker": str(self._connector.endpoint),
            "connected": self.connected,
            "last_error": self._connector.last_error,
            "outbox": {
                "messages": len(waiting.waiting),
                "refused": len(waiting.refused),
                "bytes": waiting.bytes,
                "oldest_s": waiting.age(self._now()),
                "max_messages": self._limits.max_messages,
                "max_bytes": self._max_bytes,
            },
            "sent": self.outbox.sent,
            "resent": self.outbox.resent,
            "alarms": [{"code": code, "message": message} for code, message in self.alarms()],
        }

    def alarms(self) -> list[tuple[str, str]]:
        """What is wrong with the delivery now: codes and messages."""
        waiting, found = self._journal.outbox, []
        if not self.connected and self._connector.last_error:
            where, why = self._connector.endpoint, self._connector.last_error
            found.append(("W-BROKER-AWAY", f"not connected to {where}: {why}"))
        if reason := waiting.full:
            found.append(("E-OUTBOX", f"the outbox is full: {reason}; new runs are refused"))
        elif max(len(waiting) / self._limits.max_messages, waiting.bytes / self._max_bytes) > 0.5:
            found.append(("W-OUTBOX-DEPTH", f"the outbox is more than half full: {len(waiting)} messages"))
        if (age := waiting.age(self._now())) > self._limits.alarm_after_s:
            why = "the MES does not answer" if self.connected else "no broker"
            found.append(("W-OUTBOX-AGE", f"a message has been waiting for {age:.0f} s: {why}"))
        if waiting.refused:
            found.append(("W-OUTBOX-REFUSED", f"{len(waiting.refused)} messages were refused: `evaline outbox list`"))
        if self._refused:
            topic, why = min(self._refused.items())
            more = f" and {len(self._refused) - 1} more" if len(self._refused) > 1 else ""
            found.append(("W-RETAINED", f"the broker does not take {topic}{more}: {why}"))
        if refused := self._presences.refused:
            name, why = min(refused.items())
            more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
            found.append(("W-PRESENCE", f"the MES does not see the connection of {name}{more}: {why}"))
        return found

    async def run(self) -> None:
        """Connect, deliver, take commands and reconnect until cancelled; then say `offline` and go."""
        with self._journal.commits() as self._committed:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._look())
                group.create_task(self._connector.keep_connected(self._connection))

    async def _look(self) -> None:
        """Note each alarm when it comes and when it goes; and how many bad acknowledgements came."""
        while True:
            now = dict(self.alarms())
            for code in now.keys() - self._alarmed.keys():
                self._audit("evaline", "delivery alarm", now[code], {"code": code})
            for code in self._alarmed.keys() - now.keys():
                self._audit("evaline", "delivery alarm over", self._alarmed[code], {"code": code})
            self._alarmed = now
            if self._bad_acks > 1:
                self._audit("MES", "result/ack refused", f"{self._bad_acks - 1} more were refused", {})
            self._bad_acks = 0
            self._look_now.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._look_now.wait()

    async def _connection(self) -> None:
        """One connection, from `online` to its loss or to `offline`."""
        async with self._connector.connected(self._presence.will, SESSION_S) as client:
            try:
                async with self._presences.beside(client, self._connector), asyncio.TaskGroup() as group:
                    group.create_task(client.until_lost())
                    group.create_task(self._serve(client))
            finally:
                self._client = None
                self._look_now.set()
                await self._presence.leave(client, orderly=self._connector.ending)

    async def _serve(self, client: MqttClient) -> None:
        topics = [self._topics.result_ack("+")] if self._by_ack else []
        topics += [self._topics.command("+")] if self._door is not None else []
        if topics:
            await client.subscribe_all(*topics)
        self._refused = {}
        with self._refusal_of(self._topics.connection):
            await self._presence.say(client, "online")
        self._unsent = set(self._retained)
        self._client = client
        self._look_now.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_retained(client))
            group.create_task(self.outbox.run(client, self._committed))
            group.create_task(self._receive(client))

    async def _keep_retained(self, client: MqttClient) -> None:
        while True:
            self._wake.clear()
            for topic in sorted(self._unsent):
                payload = self._retained[topic]
                with self._refusal_of(topic):
                    await client.publish(topic, payload, retain=True, properties=client.mirror(payload))
                if self._retained[topic] is payload:
                    self._unsent.discard(topic)
            self._connector.served.set()
            self._progressed()
            await self._wake.wait()

    @contextmanager
    def _refusal_of(self, topic: str) -> Iterator[None]:
        """What the broker does not take of us is told; everything else goes on."""
        try:
            yield
            self._refused.pop(topic, None)
        except PublishRefusedError as error:
            self._refused[topic] = str(error)

    def _progressed(self) -> None:
        self._progress.set()

    # what comes in

    async def _receive(self, client: MqttClient) -> None:
        """Commands of one station in their order, of several at once; the broker is told in the order of arrival, as
        MQTT wants it, and only of what is durable."""
        newest: dict[str, asyncio.Task[None]] = {}
        arrived: asyncio.Queue[tuple[aiomqtt.Message, asyncio.Task[None] | None]] = asyncio.Queue(MAX_COMMANDS)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._acknowledge(client, arrived))
            dropped = 0
            while True:
                message = await client.received()
                topic, work = str(message.topic), None
                if topic.endswith("/result/ack"):
                    self._take_acknowledgement(topic, message)
                elif self._door is not None:
                    work = newest[topic] = group.create_task(self._command(message, newest.get(topic)))
                    work.add_done_callback(partial(_forget, newest, topic))
                await arrived.put((message, work))
                if client.dropped > dropped and not client.waiting:
                    count, dropped = client.dropped - dropped, client.dropped
                    self._audit("MES", "messages dropped", f"{count} came too fast, or on a topic that is none", {})

    async def _command(self, message: ReceivedMessage, before: asyncio.Task[None] | None) -> None:
        assert self._door is not None
        if before is not None:
            await asyncio.wait({before})
        topic, payload = str(message.topic), bytes(message.payload)
        await self._door.receive(topic, payload, retained=message.retain, redelivered=message.redelivered)

    async def _acknowledge(
        self, client: MqttClient, arrived: asyncio.Queue[tuple[aiomqtt.Message, asyncio.Task[None] | None]]
    ) -> None:
        while True:
            message, work = await arrived.get()
            if work is not None:
                await work
            client.acknowledge(message)

    def _take_acknowledgement(self, topic: str, message: aiomqtt.Message) -> None:
        """Close what the MES has stored. What is no answer is audited, the first at once and the rest as a number."""
        try:
            if message.retain:
                raise PayloadError("E-CMD-RETAINED", "a retained answer would come again for ever")
            data = read_message(bytes(message.payload), AcknowledgementMessage).data
        except PayloadError as error:
            self._bad_acks += 1
            if self._bad_acks == 1:
                self._audit("MES", "result/ack refused", str(error)[:300], {"topic": topic[:200]})
            return
        error_text = None if data.status == "stored" else data.error or "rejected without a reason"
        self.outbox.acknowledged(topic.removesuffix("/ack"), list(data.ids), error_text)

    def _audit(self, author: str, action: str, reason: str, detail: dict[str, Any]) -> None:
        log.warning(action, reason=reason, **detail)
        self._journal.audit(AuditEntry(self._now(), author, action, reason, detail))


def _forget(newest: dict[str, asyncio.Task[None]], topic: str, done: asyncio.Task[None]) -> None:
    """Nobody waits for the newest command of a topic once it is done: topics may be invented without end."""
    if newest.get(topic) is done:
        del newest[topic]
