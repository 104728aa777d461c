"""Two ways to an instrument for people: through the daemon that has it, or over a connection of our own.

Both have the same methods and give the same plain data, so that commands need not know which it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from config import LineConfig
from controller.client import ApiError, Client, connect
from controller.clock import PacedClock
from controller.instruments import Instruments
from controller.instruments.tools import ask, described, resolve, set_by_hand
from controller.instruments.wire import Wires, load_wired_line
from controller.mes.topics import Topics

ASK_EVERY = 1.0  # wall s between two questions that a trace without a daemon shows


class Access(Protocol):
    """Instruments by `station/role`, or by role where that is enough. Raises ApiError or InstrumentError."""

    async def rows(self) -> list[dict[str, Any]]:
        """Every instrument with its identity, health and what its link did."""
        ...

    async def query(self, name: str, text: str, author: str) -> dict[str, Any]: ...

    async def set(self, name: str, setting: str, value: str, author: str, reason: str) -> dict[str, Any]: ...

    def trace(self, name: str) -> AsyncIterator[dict[str, Any]]:
        """Batches of {entries, lost} as they come, for ever."""
        ...


@asynccontextmanager
async def access(url: str, config: Path | None) -> AsyncIterator[Access]:
    """The daemon at `url`; with a line file the daemon of that line, or its instruments where none runs."""
    if config is None:
        async with connect(url) as client:
            yield _ThroughDaemon(client)
        return
    line = load_wired_line(config)
    async with connect(f"http://{line.http.host}:{line.http.port}") as client:
        if await _serves(client, line):
            yield _ThroughDaemon(client)
            return
    own = _OnOurOwn(line)
    try:
        yield own
    finally:
        await own.close()


async def _serves(client: Client, line: LineConfig) -> bool:
    try:
        return bool((await client.status())["line"] == Topics(line.line).root)
    except (ApiError, KeyError):
        return False


class _ThroughDaemon:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def rows(self) -> list[dict[str, Any]]:
        return list((await self._client.ask("GET", "/api/instruments"))["instruments"])

    async def query(self, name: str, text: str, author: str) -> dict[str, Any]:
        return await self._client.ask("POST", f"{await self._path(name)}/query", {"text": text, "author": author})

    async def set(self, name: str, setting: str, value: str, author: str, reason: str) -> dict[str, Any]:
        body = {"setting": setting, "value": value, "author": author, "reason": reason}
        return await self._client.ask("POST", f"{await self._path(name)}/settings", body)

    async def trace(self, name: str) -> AsyncIterator[dict[str, Any]]:
        async for batch in self._client.events(f"{await self._path(name)}/trace"):
            yield batch

    async def _path(self, name: str) -> str:
        stations: dict[str, list[str]] = {}
        for row in await self.rows():
            stations.setdefault(row["station"], []).append(row["name"])
        station, role = resolve(name, stations)
        return f"/api/stations/{station}/instruments/{role}"


class _OnOurOwn:
    """A line without a daemon: each instrument is reached when it is first needed."""

    def __init__(self, line: LineConfig) -> None:
        self._clock, wires = PacedClock(), Wires()
        self._stations = {name: Instruments(config, self._clock, wires) for name, config in line.stations.items()}

    async def close(self) -> None:
        for instruments in self._stations.values():
            await instruments.close()

    async def rows(self) -> list[dict[str, Any]]:
        everyone = [(of, role) for of in self._stations.values() for role in of.config.instruments]
        await asyncio.gather(*(of.look(role) for of, role in everyone))
        return [row for name, of in self._stations.items() for row in described(name, of)]

    async def query(self, name: str, text: str, author: str) -> dict[str, Any]:
        instruments, role = self._found(name)
        await instruments.look(role)
        return await ask(instruments, role, text)

    async def set(self, name: str, setting: str, value: str, author: str, reason: str) -> dict[str, Any]:
        instruments, role = self._found(name)
        await instruments.connect((role,))
        return await set_by_hand(instruments, role, setting, value)

    async def trace(self, name: str) -> AsyncIterator[dict[str, Any]]:
        """Nobody talks to it but us: it is asked who it is, again and again."""
        instruments, role = self._found(name)
        with instruments.links[role].traced() as trace:
            while True:
                await instruments.look(role)
                yield {"entries": [asdict(entry) for entry in trace.take()], "lost": trace.lost}
                await self._clock.sleep(ASK_EVERY)

    def _found(self, name: str) -> tuple[Instruments, str]:
        roles = {station: list(of.config.instruments) for station, of in self._stations.items()}
        station, role = resolve(name, roles)
        return self._stations[station], role
