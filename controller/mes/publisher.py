"""The line's one connection to the MES: what the journal committed goes out, commands and acknowledgements come in.

Each connection begins from nothing, whatever the broker still knows: it subscribes, says `online`, retains the newest
states, and sends what is open in the outbox.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiomqtt
import structlog
from pydantic import ValidationError

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
    TlsFiles,
    pause_for,
)
from controller.mes.messages import Acknowledgement
from controller.mes.outbox import OutboxSender
from controller.mes.presence import Presence, Presences
from controller.mes.reading import PayloadError, read_json
from controller.mes.topics import Topics, encoded

LOOK_EVERY_S = 10.0  # how often alarms are looked at when nobody asks
SESSION_S = 24 * 3600  # how long the broker keeps commands and acknowledgements for a line that is away
MAX_COMMANDS = 64  # being dealt with at once

log = structlog.get_logger()


class CommandDoor(Protocol):
    """Who takes commands."""

    async def receive(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """Return once the command is durable: then the broker forgets it."""
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
        self._unsent: set[str] = set()
        self._committed, self._wake, self._progress = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._client: MqttClient | None = None
        self._alarmed: frozenset[str] = frozenset()
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
        if reason := waiting.full:
            found.append(("E-OUTBOX", f"the outbox is full: {reason}; new runs are refused"))
        elif max(len(waiting) / self._limits.max_messages, waiting.bytes / self._max_bytes) > 0.5:
            found.append(("W-OUTBOX-DEPTH", f"the outbox is more than half full: {len(waiting)} messages"))
        if (age := waiting.age(self._now())) > self._limits.alarm_after_s:
            why = "the MES does not answer" if self.connected else "no broker"
            found.append(("W-OUTBOX-AGE", f"a message has been waiting for {age:.0f} s: {why}"))
        if waiting.refused:
            found.append(("W-OUTBOX-REFUSED", f"{len(waiting.refused)} messages were refused: `evaline outbox list`"))
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
        """Log each alarm when it comes and when it goes."""
        while True:
            now = dict(self.alarms())
            for code in now.keys() - self._alarmed:
                log.warning(f"{now[code]} [{code}]")
            for code in self._alarmed - now.keys():
                log.info(f"over [{code}]")
            self._alarmed = frozenset(now)
            await pause_for(LOOK_EVERY_S)

    async def _connection(self) -> None:
        """One connection, from `online` to its loss or to `offline`."""
        async with self._connector.connected(self._presence.will, SESSION_S) as client:
            try:
                async with self._presences.beside(client, self._connector), asyncio.TaskGroup() as group:
                    group.create_task(client.until_lost())
                    group.create_task(self._serve(client))
            finally:
                self._client = None
                await self._presence.leave(client, orderly=self._connector.ending)

    async def _serve(self, client: MqttClient) -> None:
        topics = [self._topics.result_ack("+")] if self._by_ack else []
        topics += [self._topics.command("+")] if self._door is not None else []
        if topics:
            await client.subscribe_all(*topics)
        await self._presence.say(client, "online")
        self._unsent = set(self._retained)
        self._client = client
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_retained(client))
            group.create_task(self.outbox.run(client, self._committed))
            group.create_task(self._receive(client))

    async def _keep_retained(self, client: MqttClient) -> None:
        while True:
            self._wake.clear()
            for topic in sorted(self._unsent):
                payload = self._retained[topic]
                await client.publish(topic, payload, retain=True, properties=client.mirror(payload))
                if self._retained[topic] is payload:
                    self._unsent.discard(topic)
            self._connector.served.set()
            self._progressed()
            await self._wake.wait()

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
                await arrived.put((message, work))
                if client.dropped > dropped and not client.waiting:
                    count, dropped = client.dropped - dropped, client.dropped
                    self._audit("messages dropped", f"{count} came faster than they could be read", {})

    async def _command(self, message: aiomqtt.Message, before: asyncio.Task[None] | None) -> None:
        assert self._door is not None
        if before is not None:
            await asyncio.wait({before})
        await self._door.receive(str(message.topic), bytes(message.payload), retained=bool(message.retain))

    async def _acknowledge(
        self, client: MqttClient, arrived: asyncio.Queue[tuple[aiomqtt.Message, asyncio.Task[None] | None]]
    ) -> None:
        while True:
            message, work = await arrived.get()
            if work is not None:
                await work
            client.acknowledge(message)

    def _take_acknowledgement(self, topic: str, message: aiomqtt.Message) -> None:
        """Close what the MES has stored. A retained one is nobody's answer; a malformed one is audited."""
        if message.retain:
            return
        try:
            said = read_json(bytes(message.payload))
            bare = said.get("data", said) if isinstance(said, dict) else said  # in an envelope or without
            data = Acknowledgement.model_validate(bare, strict=True)
        except (PayloadError, ValidationError) as error:
            self._audit("result/ack refused", "it cannot be understood", {"topic": topic, "why": str(error)[:300]})
            return
        error_text = None if data.status == "stored" else data.error or "rejected without a reason"
        self.outbox.acknowledged(topic.removesuffix("/ack"), list(data.ids), error_text)

    def _audit(self, action: str, reason: str, detail: dict[str, Any]) -> None:
        log.warning(action, reason=reason, **detail)
        self._journal.audit(AuditEntry(self._now(), "MES", action, reason, detail))
