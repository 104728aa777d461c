"""A whole line in virtual time: the production daemon over memory links, the simulated station behind them.

One event loop whose clock jumps from sleeper to sleeper: hours pass in seconds, and a seed decides everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Container
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from config import InstrumentConfig, LineConfig, read_document, shipped_dut_models, validate_line
from config.documents import Document
from controller.clock import Clock, JumpingClock
from controller.daemon import load_grade_rules
from controller.instruments import LinkFactory
from controller.journal import Journal
from controller.line import Line
from controller.mes.signing import KEY_FILE
from controller.recipes import LIBRARY
from controller.start import StartRequest
from controller.station import Station
from drivers.links import Link, MemoryRegisterLink, MemoryTextLink
from sequences import Ask
from simulators.ports import TextPort
from simulators.station import SimulatedStation

T = TypeVar("T")

LINES = Path(__file__).parents[1] / "config" / "lines"
DEMO_LINE = LINES / "demo.yaml"
CODE = "PHE96-004711"
# how a link ends what it sends
TERMINATORS = {"LF": b"\n", "CRLF": b"\r\n", "CR": b"\r"}

Operator = Callable[[Ask], Any]


def agreeable(question: Ask) -> Any:
    """An operator who finds everything in order."""
    match question.answer:
        case "inspect":
            return {name: True for name, _ in question.items}
        case "confirm":
            return True
        case _:
            return 1


@dataclass
class Virtual:
    """A served line and what is really behind its instruments."""

    line: Line
    station: Station
    simulated: SimulatedStation
    clock: Clock
    journal: Journal

    async def start(self, recipe: str = "quick_capacity_dcir", code: str = CODE, **parameters: Any) -> str:
        """Start a recipe of the library, or one given as text."""
        is_text = "\n" in recipe
        text = recipe if is_text else (LIBRARY / f"{recipe}.yaml").read_text(encoding="utf-8")
        source = "test.yaml" if is_text else recipe
        request = StartRequest(text, source, code, author="tester", reason="test", parameters=parameters)
        return await self.station.start(request)

    async def until(self, what: Callable[[], bool], within: float = 100_000.0) -> None:
        """Wait in line time until something is so."""
        deadline = self.clock.now() + within
        with self.line.watching(self.station.name) as changed:
            while not what():
                assert self.clock.now() < deadline, f"not within {within:g} s of line time"
                changed.clear()
                await changed.wait()

    async def result(self, run: str, operator: Operator = agreeable, within: float = 500_000.0) -> dict[str, Any]:
        """Wait for a run's result, and answer what its recipe asks meanwhile."""

        def ended() -> bool:
            question = self.station.question
            if question is not None and not question.answer.done():
                self.station.answer(question.number, operator(question.ask), "operator")
            return self.station.last_result is not None and self.station.last_result["run_id"] == run

        await self.until(ended, within)
        assert self.station.last_result is not None
        return self.station.last_result


def demo_line(state_dir: Path, change: Callable[[dict[str, Any]], None] | None = None) -> LineConfig:
    """The shipped demo line, with its state in a directory of the test's own."""
    document = read_document(DEMO_LINE)
    document.data["state_dir"] = str(state_dir)
    if change is not None:
        change(document.data)
    return validate_line(Document("line.yaml", document.data, document.positions))


def bench_line(
    state_dir: Path,
    battery: dict[str, Any],
    *,
    scan_period: float = 1.0,
    without: Container[str] = (),
    ambient: float = 25.0,
    seed: int = 4713,
    file: str = "demo_bench.yaml",
) -> LineConfig:
    """A shipped line that has every instrument, with this battery on it and without some of its instruments.

    A longer scan period makes long runs cheaper; the cycler's watchdog grows with it.
    """
    document = read_document(LINES / file)
    document.data["state_dir"] = str(state_dir)
    document.data["simulation"]["seed"] = seed
    station = document.data["stations"]["st01"]
    station["scan_period_s"], station["watchdog_s"] = scan_period, max(5, 2 * scan_period)
    model = shipped_dut_models()[battery["model"]]
    station["impedance_probe_cells"] = [1, min(12, model.series_cells)]
    station["instruments"] = {key: value for key, value in station["instruments"].items() if key not in without}
    for instrument in station["instruments"].values():
        if "scan_period_s" in instrument:
            instrument["scan_period_s"] = max(instrument["scan_period_s"], scan_period)
    document.data["simulation"]["stations"]["st01"] = {"ambient_degc": ambient, "battery": battery}
    return validate_line(Document("bench.yaml", document.data, document.positions))


def write_signing_key(state_dir: Path) -> None:
    """A key that is always the same: a seed decides everything, the signatures of results too."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (state_dir / KEY_FILE).write_bytes(pem)


async def _at_once(seconds: float) -> None:
    """What a link pauses for takes no time in memory."""
    return


def memory_links(simulated: SimulatedStation) -> LinkFactory:
    """Links that end in the simulated devices, with nothing between."""

    def make(key: str, instrument: InstrumentConfig) -> Link:
        port = simulated.devices[key]
        if isinstance(port, TextPort):
            terminator = TERMINATORS[instrument.link.terminator] if instrument.link.kind == "visa" else b"\r\n"
            return MemoryTextLink(port.receive, terminator=terminator, sleep=_at_once, unasked=port.unasked)
        return MemoryRegisterLink(port.respond)

    return make


@asynccontextmanager
async def virtual_line(clock: Clock, config: LineConfig) -> AsyncIterator[Virtual]:
    """Serve the line until the block ends, then bring it to the safe state."""
    state_dir = Path(config.state_dir)
    models = shipped_dut_models()
    simulated = SimulatedStation(config, "st01", models, clock.now)
    journal = Journal.open(state_dir / "journal.db")
    write_signing_key(state_dir)
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
