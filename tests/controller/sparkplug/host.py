"""Primary hosts at a real broker: one made of our own client, and programs of another maker's packages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from controller.mes.connection import BrokerSettings, Connector, Endpoint, MqttClient
from tests.controller.sparkplug.trace import GROUP, STATE, Packet, command, state
from tests.independent import node_package, program


@dataclass
class Host:
    """A client that hears everything, and speaks as the primary host."""

    client: MqttClient
    heard: list[Packet] = field(default_factory=list)

    async def next(self, verb: str, that: Callable[[Packet], bool] = lambda packet: True) -> Packet:
        """The next message of a kind; those before it are in `heard`."""
        try:
            async with asyncio.timeout(60):
                while True:
                    packet = await self._received()
                    if packet.verb == verb and that(packet):
                        return packet
        except TimeoutError:
            raise AssertionError(f"no {verb}; heard {[packet.verb for packet in self.heard]}") from None

    async def _received(self) -> Packet:
        message = await self.client.received()
        assert isinstance(message.payload, bytes)
        self.heard.append(Packet("PUBLISH", str(message.topic), message.payload, message.qos, message.retain))
        self.client.acknowledge(message)
        return self.heard[-1]

    async def says(self, online: bool, timestamp: int) -> None:
        await self.client.publish(STATE, state(online, timestamp), 1, True)

    async def commands(self, topic: str, name: str, value: Any = True, qos: int = 0, **how: Any) -> None:
        await self.client.publish(topic, command(name, value, **how), qos)


@asynccontextmanager
async def host_at(broker: BrokerSettings) -> AsyncIterator[Host]:
    async with Connector(broker, "scada").connected() as client:
        await client.subscribe_all(f"spBv1.0/{GROUP}/#")
        yield Host(client)


def at_port(broker: BrokerSettings, port: int) -> BrokerSettings:
    return replace(broker, endpoints=(Endpoint("127.0.0.1", port),))


def has(packet: Packet, value: object) -> bool:
    return value in [metric.value for metric in packet.decoded.metrics]


async def node_js(script: str, broker: BrokerSettings, *arguments: str) -> str:
    """Run it to its end; returns what it printed."""
    folder = node_package("sparkplug-client")
    (endpoint,) = broker.endpoints
    where = (f"mqtt://{endpoint.host}:{endpoint.port}", broker.username or "", broker.password or "")
    process = await asyncio.create_subprocess_exec(
        *(program("node", "nodejs"), "-e", script, "--", *where, *arguments),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0
    return printed.decode()
