"""An edge node with a whole line behind it, to be watched or killed: simulated instruments in memory, time 20 times as
fast as the wall's.

    python -m tests.controller.sparkplug.living HOST PORT USER PASSWORD STATE_DIR
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from config.line import SparkplugConfig
from controller.clock import PacedClock
from controller.mes.commands import CommandDoor
from controller.mes.connection import BrokerSettings, Endpoint
from controller.sparkplug.node import SparkplugNode
from tests.controller.sparkplug.trace import GROUP, NODE
from tests.virtual import Virtual, demo_line, virtual_line

RATE = 20.0


class Door:
    """Where commands come in: written down, and handed on to the `real` one if there is one."""

    def __init__(self) -> None:
        self.received: list[tuple[str, bytes, bool]] = []
        self.real: CommandDoor | None = None

    async def receive(self, topic: str, payload: bytes, *, retained: bool) -> None:
        self.received.append((topic, payload, retained))
        if self.real is not None:
            await self.real.receive(topic, payload, retained=retained)


@asynccontextmanager
async def living_node(
    broker: BrokerSettings, state_dir: Path, door: Door, *, host: str | None = None
) -> AsyncIterator[tuple[SparkplugNode, Virtual]]:
    """A node that runs until the block ends, and then leaves as it should."""
    config = SparkplugConfig(group_id=GROUP, edge_node_id=NODE, primary_host=host)
    async with virtual_line(PacedClock(RATE), demo_line(state_dir)) as virtual:
        node = SparkplugNode(config, broker, virtual.line, state_dir, door.receive)
        running = asyncio.create_task(node.run())
        try:
            yield node, virtual
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


async def _live(host: str, port: str, user: str, password: str, state_dir: str) -> None:
    broker = BrokerSettings((Endpoint(host, int(port)),), user or None, password or None)
    async with living_node(broker, Path(state_dir), Door()):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_live(*sys.argv[1:]))
