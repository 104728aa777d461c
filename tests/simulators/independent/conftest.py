"""Shipped lines on their wires, at free ports, in a line time that stands still until a test moves it."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from config import LineConfig, load_line, shipped_dut_models
from simulators.station import SimulatedStation
from tests.simulators.test_servers import Plant

LINES = Path(__file__).parents[3] / "config" / "lines"

Serve = Callable[..., Awaitable[Plant]]
Shell = Callable[..., Awaitable[str]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """`await serve("demo", cycler={"link": ...})`: a line by its file's name, with keys of its instruments replaced."""
    async with AsyncExitStack() as stack:

        async def started(name: str, **changes: dict[str, Any]) -> Plant:
            data = load_line(LINES / f"{name}.yaml").model_dump(mode="json", by_alias=True)
            for key, change in changes.items():
                data["stations"]["st01"]["instruments"][key] |= change
            line = LineConfig.model_validate(data | {"state_dir": str(tmp_path)})
            clock = [0.0]
            station = SimulatedStation(line, "st01", shipped_dut_models(), lambda: clock[0])
            links = await stack.enter_async_context(station.serve(free_ports=True))
            return Plant(station, links, clock)

        yield started


@pytest.fixture
def shell() -> Shell:
    """`await shell(program, ...)`: what a program prints, on either stream."""

    async def run(*command: str | Path | int) -> str:
        process = await asyncio.create_subprocess_exec(*map(str, command), stdout=PIPE, stderr=STDOUT)
        out, _ = await process.communicate()
        return out.decode()

    return run
