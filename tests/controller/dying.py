"""A station whose daemon dies as by SIGKILL and comes back: instruments, battery and time go on without it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from config import DutModel, LineConfig, shipped_dut_models
from controller.clock import JumpingClock
from controller.daemon import load_grade_rules
from controller.journal import Journal, JournalReader, StoredEvent
from controller.line import Line
from simulators.station import SimulatedStation
from tests.virtual import Virtual, memory_links

T = TypeVar("T")
RESTING = ("IDLE", "STOPPED", "HELD", "COMPLETE", "ABORTED")


@dataclass
class Plant:
    """What outlives a daemon."""

    config: LineConfig
    clock: JumpingClock
    models: Mapping[str, DutModel] = field(default_factory=shipped_dut_models)
    simulated: SimulatedStation = field(init=False)

    def __post_init__(self) -> None:
        self.simulated = SimulatedStation(self.config, "st01", self.models, self.clock.now)

    @property
    def discharged(self) -> float:
        """Ah that have really left the battery, by now."""
        return float(self.simulated.truth()["discharged_ah"])

    def swap_battery(self, code: str) -> None:
        """What the BMS says from now on."""
        board: Any = self.simulated.devices["battery_monitor"]
        padded = code.encode().ljust(2 * len(board.device._code), b"\0")
        board.device._code = [int.from_bytes(padded[i : i + 2], "big") for i in range(0, len(padded), 2)]

    @property
    def journal_file(self) -> Path:
        return Path(self.config.state_dir) / "journal.db"

    @asynccontextmanager
    async def daemon(self) -> AsyncIterator[Virtual]:
        """A daemon, once its station has got ready; it dies where the block ends."""
        journal = Journal.open(self.journal_file)
        links = memory_links(self.simulated)
        rules = load_grade_rules("default")
        line = Line(self.config, self.clock, journal, lambda _: links, self.models, rules, self.journal_file.parent)
        virtual = Virtual(line, line.stations["st01"], self.simulated, self.clock, journal)
        serving = asyncio.create_task(line.serve())
        try:
            waiting = asyncio.create_task(virtual.until(lambda: virtual.station.state.name in RESTING, 60))
            await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if serving.done():
                serving.result()
            yield virtual
        finally:
            _lose_what_is_not_committed(journal)
            serving.cancel()
            await asyncio.wait({serving})
            await virtual.station.instruments.close()
            _lose_what_is_not_committed(journal)
            await journal.close()

    async def result(self, run: str) -> dict[str, Any]:
        """The one final result that the journal has of a run; the journal itself is whole."""
        with sqlite3.connect(self.journal_file) as hand:
            ((count,),) = hand.execute("SELECT count(*) FROM events WHERE run = ? AND kind = 'run.ended'", (run,))
        hand.close()
        assert count == 1, "exactly one result"
        journal = Journal.open(self.journal_file)
        try:
            result = journal.result(run)
            assert result is not None
            return result
        finally:
            await journal.close()

    def history(self, run: str) -> list[StoredEvent]:
        reader = JournalReader(self.journal_file)
        try:
            return reader.history(run)
        finally:
            reader.close_reads()

    def cut_after(self, seq: int, to: Path) -> Path:
        """A journal in another place that the power failed at after this event."""
        to.mkdir(parents=True)
        path = to / "journal.db"
        with sqlite3.connect(self.journal_file) as whole, sqlite3.connect(path) as cut:
            whole.backup(cut)
            for table in ("events", "chunks", "results", "runs"):
                cut.execute(f"DELETE FROM {table} WHERE seq > ?", (seq,))
            covered = [json.loads(body).get("covers", {}) for (body,) in cut.execute("SELECT body FROM events")]
            newest = max((row for covers in covered for row, _ in covers.get("outbox", [])), default=0)
            cut.execute("DELETE FROM outbox WHERE seq > ?", (newest,))
        for connection in (whole, cut):
            connection.close()
        return path


async def durable(virtual: Virtual) -> None:
    """What was recorded so far is on the disk, as it is within hundredths of a second at the wall's speed."""
    with virtual.clock.hold():
        await virtual.journal.flush()


def over(config: LineConfig, work: Callable[[Plant], Awaitable[T]], start: float | None = None) -> T:
    """Run a test's coroutine over a plant, on a loop of its own."""
    clock = JumpingClock() if start is None else JumpingClock(start)

    async def main() -> T:
        return await work(Plant(config, clock))

    with asyncio.Runner(loop_factory=clock.new_event_loop) as runner:
        return runner.run(main())


def _lose_what_is_not_committed(journal: Journal) -> None:
    with journal._changed:
        journal._events.clear()
        journal._statements.clear()
