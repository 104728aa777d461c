"""Somebody who listens to all that a line says, and holds it against the contract as it comes over the wire.

What a daemon in a process of its own retains and tells is in no outbox: here alone is it seen.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import aiomqtt

from config.line import LineIdentity
from controller.mes.connection import BrokerSettings, Connector, MqttClient
from controller.mes.contract import Kind, channels
from tests.contract import assert_in_contract
from tests.controller.mes.brokers import LINE

ALWAYS = frozenset({"connection", "station_connection", "info", "state", "telemetry", "orders", "wip", "totals"})
"""The channels on which a served line says something whatever it does."""


def address(of_channel: str, station: str, line: LineIdentity = LINE) -> str:
    return of_channel.format(
        enterprise=line.enterprise, site=line.site, area=line.area, line=line.name, station=station
    )


@cache
def channel(topic: str) -> tuple[str, Kind]:
    """The name of the contract's channel that a topic of LINE is, and what messages it has; raises AssertionError."""
    for name, of_channel, kind in channels():
        if re.fullmatch(address(of_channel, "[^/]+"), topic):
            return name, kind
    raise AssertionError(f"{topic} is none of the contract")


def assert_declared(topic: str, message: dict[str, Any]) -> str:
    """The message is of the kind that the contract has for its topic, and as that is declared; the channel's name."""
    name, kind = channel(topic)
    assert message["type"] == f"evaline.{kind.name}.v1", topic
    assert_in_contract(message)
    return name


@dataclass
class Overheard:
    """What came, by topic."""

    messages: list[tuple[str, bytes]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self, client: MqttClient) -> None:
        with suppress(aiomqtt.MqttError):  # the broker has ended
            while True:
                message = await client.received()
                client.acknowledge(message)
                self.messages.append((str(message.topic), message.payload))
                self.news.set()

    @property
    def count(self) -> Counter[str]:
        """How many there were on each channel of the contract."""
        return Counter(channel(topic)[0] for topic, _ in self.messages)

    async def has(self, channels: Iterable[str]) -> None:
        """Return once there was a message on each of these channels."""
        async with asyncio.timeout(60):
            while not self.count.keys() >= set(channels):
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def overhearing(settings: BrokerSettings, *expects: str) -> AsyncIterator[Overheard]:
    """Listen to LINE while the block runs, and until there was a message on each channel of ALWAYS and of these."""
    heard = Overheard()
    async with Connector(settings, "listener").connected() as client:
        said = {address(of_channel, "+") for _, of_channel, kind in channels() if not kind.taken}
        await client.subscribe_all(*sorted(said))
        listening = asyncio.create_task(heard.listen(client))
        try:
            yield heard
            await heard.has(ALWAYS.union(expects))
        finally:
            listening.cancel()
            await asyncio.wait({listening})
    for topic, payload in heard.messages:
        assert_declared(topic, json.loads(payload))
