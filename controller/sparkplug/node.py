"""The edge node on its wires: one MQTT 3.1.1 connection beside the one to the MES, fed by the stations' samples.

MQTT 3.1.1 on purpose: in MQTT 5 an intentional disconnection needs a reason code that the client library hides.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import aiomqtt
import structlog

from config.line import SparkplugConfig
from controller.journal import AuditEntry
from controller.line import Line
from controller.mes.connection import IO_TIMEOUT_S, V311, BrokerSettings, Connector, MqttClient, first_error, pause_for
from controller.sparkplug.commands import as_command
from controller.sparkplug.incoming import Refused, Write
from controller.sparkplug.metrics import NODE_SPECS, StationMetrics, node_values
from controller.sparkplug.session import NUMBERS, EdgeNode, Identity

FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 10.0
LOOK_AGAIN_S = 5.0  # without a word of the primary host
ASK_S = 2.0  # between two questions whether all that was sent has arrived
BURST = 20  # messages, after which others have their turn: a store of hours must not hold up the line
BURST_PAUSE_S = 0.05
REFUSALS_EVERY = 1.0  # s of line time between two audit lines of one station, however many refusals they count

log = structlog.get_logger()


class Receive(Protocol):
    """Takes a command as the MES would send it; returns when it is durable, or refused for good."""

    async def __call__(self, topic: str, payload: bytes, *, retained: bool) -> None: ...


class _HostGoneError(Exception):
    """The primary host is offline: the session ends."""


class BirthCounter:
    """The birth and death sequence number, in a file: it goes on where the last daemon was. One with each CONNECT."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = -1
        with suppress(OSError, ValueError):  # none yet, or damaged: then it begins anew
            self._last = int(path.read_text(encoding="ascii"))

    def next(self) -> int:
        """The number for the next connection, durable before it is used; raises OSError."""
        number = (self._last + 1) % NUMBERS
        new = self._path.with_name(f"{self._path.name}.new")
        with new.open("w", encoding="ascii") as file:
            file.write(str(number))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        self._last = number
        return number

    def unused(self, number: int) -> None:
        """The number was given to a server that cannot have seen it: it is the next one again."""
        self._last = number - 1


class SparkplugNode:
    """`run` it beside the line, and cancel it to end its session as it should: with a death certificate."""

    def __init__(
        self, config: SparkplugConfig, broker: BrokerSettings, line: Line, state_dir: Path, receive: Receive
    ) -> None:
        self._line, self._receive = line, receive
        identity = Identity(config.group_id, config.edge_node_id, config.primary_host)
        self._stations = {name: StationMetrics(station) for name, station in line.stations.items()}
        self.core = EdgeNode(
            identity,
            NODE_SPECS,
            {name: metrics.specs for name, metrics in self._stations.items()},
            datatype_in_data=config.datatype_in_data,
            keep=config.stored_values,
            walks=len(broker.endpoints) > 1,
        )
        identifier = f"evaline-sparkplug-{config.group_id}-{config.edge_node_id}"
        places = [replace(broker, endpoints=(endpoint,), versions=(V311,)) for endpoint in broker.endpoints]
        self._servers = [Connector(place, identifier) for place in places]
        self._births = BirthCounter(state_dir / "sparkplug_bdseq")
        self._actor = f"sparkplug:{config.primary_host or config.group_id}"
        self._refused: dict[str, _Refusals] = {}
        self._wake = asyncio.Event()
        self.last_error = ""

    async def run(self) -> None:
        """Follow the stations, connect and reconnect until cancelled."""
        self.core.update_node(node_values(self._line, 0), self._now)
        async with asyncio.TaskGroup() as group:
            for name in self._stations:
                group.create_task(self._follow(name))
            group.create_task(self._stay_connected())

    @property
    def _now(self) -> float:
        return self._line.clock.now()

    # ------------------------------------------------------------------------------------------- readings

    async def _follow(self, name: str) -> None:
        metrics = self._stations[name]
        with self._line.watching(name) as changed:
            while True:
                changed.clear()
                t = self._now
                if metrics.is_there():
                    self.core.update(name, metrics.read(), t)
                else:
                    self.core.lost(name, t)
                self.core.update_node(node_values(self._line, self.core.dropped), t)
                self._audit_refusals()
                self._wake.set()
                await changed.wait()

    # ------------------------------------------------------------------------------------------- connections

    async def _stay_connected(self) -> None:
        """One session after the other, each at the next server of the list; a pause when none of them was of use."""
        pause, in_vain = FIRST_PAUSE_S, 0
        for server in itertools.cycle(self._servers):
            taken = self.core.taken
            session = asyncio.create_task(self._session(server))
            try:
                await asyncio.wait({session})
            except asyncio.CancelledError:  # known here alone: inside, an error of the disconnection may take its place
                session.cancel()
                await asyncio.gather(session, return_exceptions=True)
                raise
            try:
                session.result()
            except* _HostGoneError:
                log.info("sparkplug host offline", host=self.core.identity.host, server=str(server.endpoint))
            except* (aiomqtt.MqttError, OSError) as errors:
                self.last_error = first_error(errors)
            self.core.disconnected()
            if self.core.taken > taken:
                pause, in_vain = FIRST_PAUSE_S, 0
            else:
                in_vain += 1
                if in_vain % len(self._servers):
                    continue
            await pause_for(pause)
            pause = min(2 * pause, MAX_PAUSE_S)

    async def _session(self, server: Connector) -> None:
        bdseq = await asyncio.to_thread(self._births.next)
        death = self.core.connecting(bdseq, str(server.endpoint))
        will = aiomqtt.Will(death.topic, death.payload, death.qos, death.retain)
        try:
            async with server.connected(will) as client:
                await self._serve(client)
        except (aiomqtt.MqttError, OSError) as error:
            why = error.__context__ or error
            # a server that kept silent may have our CONNECT, and may publish its will
            if not server.accepted and isinstance(why, OSError) and not isinstance(why, TimeoutError):
                self._births.unused(bdseq)
            raise

    async def _serve(self, client: MqttClient) -> None:
        await client.subscribe_all(*self.core.subscriptions)
        self.core.subscribed(self._now)
        self._wake.set()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._take_in(client))
                group.create_task(self._send(client))
                group.create_task(self._ask(client))
                if self.core.identity.host is not None:
                    group.create_task(self._look_for_host(client))
        finally:
            self.core.leaving()
            while not client.lost.done() and (message := self.core.take(self._now)) is not None:
                await client.publish(message.topic, message.payload, message.qos, message.retain)
                self.core.reached(self.core.taken)  # it is the death, which is acknowledged

    async def _send(self, client: MqttClient) -> None:
        """The only one who sends: sequence numbers go out in the order in which they were given."""
        sent = 0
        while True:
            self._wake.clear()
            while (message := self.core.take(self._now)) is not None:
                await client.publish(message.topic, message.payload, message.qos, message.retain)
                sent += 1
                if sent % BURST == 0:
                    await pause_for(BURST_PAUSE_S)
            if self.core.rebirth_asked:
                await pause_for(BURST_PAUSE_S)
            else:
                await self._wake.wait()

    async def _ask(self, client: MqttClient) -> None:
        """QoS 0 is not acknowledged. A server answers in order, though: to take back a subscription that was never
        made asks nothing of it, and its answer says that it has all that was sent before."""
        while True:
            await pause_for(ASK_S)
            if not self.core.under_way:
                continue
            taken = self.core.taken
            try:
                async with asyncio.timeout(IO_TIMEOUT_S):  # aiomqtt's own can lose a cancellation
                    await client.unsubscribe(self.core.identity.topic("NDEATH"), timeout=math.inf)
            except TimeoutError:
                raise aiomqtt.MqttError(f"no answer within {IO_TIMEOUT_S:g} s") from None
            self.core.reached(taken)

    async def _look_for_host(self, client: MqttClient) -> None:
        """A STATE that a broker lost would leave us waiting for ever: it is looked for at the next server, and where
        there is none, subscribing again brings the retained one."""
        while True:
            await pause_for(LOOK_AGAIN_S)
            if self.core.connected and not self.core.born:
                if len(self._servers) > 1:
                    raise _HostGoneError
                await client.subscribe_all(self.core.state_topic)

    async def _take_in(self, client: MqttClient) -> None:
        while True:
            message = await client.received()
            payload = message.payload if isinstance(message.payload, bytes) else b""
            for event in self.core.received(str(message.topic), payload, message.retain, self._now):
                match event:
                    case Write():
                        await self._carry_out(event)
                    case Refused():
                        self._refuse(event)
                    case _:
                        raise _HostGoneError
            client.acknowledge(message)
            self._wake.set()

    # ------------------------------------------------------------------------------------------- commands

    async def _carry_out(self, write: Write) -> None:
        command = as_command(write, self._actor, self.core.identity.topic("DCMD", write.device))
        if isinstance(command, Refused):
            self._refuse(command)
        else:
            await self._receive(self._line.topics.command(write.device), command, retained=False)

    def _refuse(self, refused: Refused) -> None:
        self._refused.setdefault(refused.device if refused.device in self._stations else "", _Refusals()).add(refused)
        self._audit_refusals()

    def _audit_refusals(self) -> None:
        for station, refusals in self._refused.items():
            if refusals.codes and self._now >= refusals.next_line:
                detail = {"station": station, "codes": dict(refusals.codes)}
                entry = AuditEntry(self._now, self._actor, "sparkplug command refused", refusals.newest, detail)
                self._line.journal.audit(entry, station)
                refusals.codes.clear()
                refusals.next_line = self._now + REFUSALS_EVERY


class _Refusals:
    """Refusals of one station that are still to be written down."""

    def __init__(self) -> None:
        self.codes: Counter[str] = Counter()
        self.newest = ""
        self.next_line = 0.0

    def add(self, refused: Refused) -> None:
        self.codes[refused.code] += 1
        self.newest = refused.why
