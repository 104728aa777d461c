"""A whole line in virtual time: the production daemon over memory links, the simulated station behind them.

One event loop whose clock jumps from sleeper to sleeper: hours pass in seconds, and a seed decides everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from config import InstrumentConfig, LineConfig, read_document, shipped_dut_models, validate_line
from config.documents import Document
from controller.clock import Clock, JumpingClock
from controller.daemon import load_grade_rules
from controller.instruments import LinkFactory
from controller.journal import Journal
from controller.line import Line
from controller.recipes import LIBRARY
from controller.start import StartRequest
from controller.station import Station
from drivers.links import Link, MemoryRegisterLink, MemoryTextLink
from simulators.ports import TextPort
from simulators.station import SimulatedStation

T = TypeVar("T")

DEMO_LINE = Path(__file__).parents[1] / "config" / "lines" / "demo.yaml"
CODE = "PHE96-004711"


@dataclass
class Virtual:
    """A served line and what is really behind its instruments."""

    line: Line
    station: Station
    simulated: SimulatedStation
    clock: Clock
    journal: Journal

    async def start(self, recipe: str = "quick_capacity_dcir", code: str = CODE) -> str:
        """Start a recipe of the library, or one given as text."""
        is_text = "\n" in recipe
        text = recipe if is_text else (LIBRARY / f"{recipe}.yaml").read_text(encoding="utf-8")
        source = "test.yaml" if is_text else recipe
        return await self.station.start(StartRequest(text, source, code, author="tester", reason="test"))

    async def until(self, what: Callable[[], bool], within: float = 100_000.0) -> None:
        """Wait in line time until something is so."""
        deadline = self.clock.now() + within
        with self.line.watching(self.station.name) as changed:
            while not what():
                assert self.clock.now() < deadline, f"not within {within:g} s of line time"
                changed.clear()
                await changed.wait()

    async def result(self, run: str) -> dict[str, Any]:
        """Wait for a run's result."""
        await self.until(lambda: self.station.last_result is not None and self.station.last_result["run_id"] == run)
        assert self.station.last_result is not None
        return self.station.last_result


def demo_line(state_dir: Path, change: Callable[[dict[str, Any]], None] | None = None) -> LineConfig:
    """The shipped demo line, with its state in a directory of the test's own."""
    document = read_document(DEMO_LINE)
    document.data["state_dir"] = str(state_dir)
    if change is not None:
        change(document.data)
    return validate_line(Document("line.yaml", document.data, document.positions))


def memory_links(simulated: SimulatedStation) -> LinkFactory:
    """Links that end in the simulated devices, with nothing between."""

    def make(key: str, instrument: InstrumentConfig) -> Link:
        port = simulated.devices[key]
        if isinstance(port, TextPort):
            terminator = b"\n" if instrument.link.kind == "visa" else b"\r\n"
            return MemoryTextLink(port.receive, terminator=terminator)
        return MemoryRegisterLink(port.respond)

    return make


@asynccontextmanager
async def virtual_line(clock: Clock, config: LineConfig) -> AsyncIterator[Virtual]:
    """Serve the line until the block ends, then bring it to the safe state."""
    state_dir = Path(config.state_dir)
    models = shipped_dut_models()
    simulated = SimulatedStation(config, "st01", models, clock.now)
    journal = Journal.open(state_dir / "journal.db")
    line = Line(
        config, clock, journal, lambda name: memory_links(simulated), models, load_grade_rules("default"), state_dir
    )
    serving = asyncio.create_task(line.serve())
    virtual = Virtual(line, line.stations["st01"], simulated, clock, journal)
    try:
        await virtual.until(lambda: virtual.station.state.name in ("IDLE", "STOPPED"), 60)
        yield virtual
    finally:
        serving.cancel()
        await asyncio.wait({serving})
        await line.shut_down()
        await journal.close()


def in_virtual_time(config: LineConfig, work: Callable[[Virtual], Awaitable[T]]) -> T:
    """Run a test's coroutine over a served line, on a loop of its own."""
    clock = JumpingClock()

    async def main() -> T:
        async with virtual_line(clock, config) as virtual:
            return await work(virtual)

    with asyncio.Runner(loop_factory=clock.new_event_loop) as runner:
        return runner.run(main())
