"""Who is there, retained at the broker: `online`, `offline` after an orderly end, and else `broken`, by the last will.

A connection has one will, so each station has a connection of its own that carries nothing else. These live inside the
life of the line's: a station whose commands nobody hears is not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import aiomqtt

from controller.mes.connection import Connector, MqttClient
from controller.mes.messages import ConnectionState
from controller.mes.topics import Topics, encoded

CONNECTING = 4  # stations at once: each blocks a thread of those that everybody shares


class Presence:
    """What a line, or a station of it, retains about its connection."""

    def __init__(self, topics: Topics, now: Callable[[], float], station: str | None = None) -> None:
        """`now` is line time."""
        self._topics, self._now, self._station = topics, now, station
        self._topic = topics.station_connection(station) if station else topics.connection

    @property
    def will(self) -> aiomqtt.Will:
        """For a connection that begins now."""
        return aiomqtt.Will(self._topic, self._payload("broken"), qos=1, retain=True)

    async def say(self, client: MqttClient, state: ConnectionState) -> None:
        """Raises MqttError unless the broker has it."""
        payload = self._payload(state)
        await client.publish(self._topic, payload, retain=True, properties=client.mirror(payload))

    async def leave(self, client: MqttClient, *, orderly: bool) -> None:
        """The last word of a connection that has its will: `offline`, or else the will; it is to be closed then."""
        if orderly and not client.lost.done():
            with suppress(aiomqtt.MqttError):
                await self.say(client, "offline")
                return
        client.drop()

    def _payload(self, state: ConnectionState) -> bytes:
        return encoded(self._topics.connection_payload(state, self._now(), self._station))


class Presences:
    """The stations of a line, each with its own connection."""

    def __init__(self, topics: Topics, now: Callable[[], float], stations: Iterable[str]) -> None:
        """`now` is line time."""
        self._presences = {station: Presence(topics, now, station) for station in stations}
        # a colon, which no name has: a line `line1-st01` is somebody else. NATS takes no dot
        self._identifiers = {name: f"{topics.client_id}:{name}" for name in self._presences}
        self._connectors: dict[str, Connector] = {}
        self._connecting = asyncio.Semaphore(CONNECTING)

    @property
    def refused(self) -> dict[str, str]:
        """Why not, by station, of those that could not say that they are there when they last tried."""
        return {
            name: connector.last_error
            for name, connector in self._connectors.items()
            if connector.last_error and not connector.served.is_set()
        }

    @asynccontextmanager
    async def beside(self, client: MqttClient, line: Connector) -> AsyncIterator[None]:
        """With the line's client and its connector: from when the line is served until the block ends, which it must do
        by an exception, the stations are there. They leave as `offline` when the line is ending, else as `broken`."""
        self._connectors = {name: Connector(client.place, self._identifiers[name]) for name in self._presences}
        try:
            async with asyncio.TaskGroup() as group:
                for name in self._presences:
                    group.create_task(self._stay(name, line))
                yield
        finally:
            self._connectors = {}

    async def _stay(self, name: str, line: Connector) -> None:
        await line.served.wait()
        await self._connectors[name].keep_connected(lambda: self._session(name, line))

    async def _session(self, name: str, line: Connector) -> None:
        connector, presence = self._connectors[name], self._presences[name]
        async with AsyncExitStack() as stack:
            async with self._connecting:
                client = await stack.enter_async_context(connector.connected(presence.will))
            try:
                await presence.say(client, "online")
                connector.served.set()
                await client.until_lost()
            finally:
                await presence.leave(client, orderly=line.ending)
