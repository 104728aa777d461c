"""One simulated station for a program that is not ours: on wires in a thread of its own, or in memory."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from config.documents import Document, DocumentError, read_document
from config.dut import shipped_dut_models
from config.line import LinkConfig, validate_line
from config.simulation import Fault
from simulators.control import Control
from simulators.line import serving_line
from simulators.ports import RegisterPort, TextPort
from simulators.servers import ListenError
from simulators.station import SimulatedStation

T = TypeVar("T")

LINES = Path(__file__).parents[1] / "config" / "lines"
READY_WITHIN = 30.0


class Bench:
    """A simulated station with its instruments by their roles: a context manager.

    On wires `links[role]` is where an instrument is reached (`address`, or `host` and `port`, or `port`), at any free
    port of this machine. In memory `ask` and `respond` are the only doors. Everything here may be called from any
    thread. Line time runs at `rate` (1 on wires, 0 in memory), and jumps with `wait`.
    """

    def __init__(
        self,
        directory: Path,
        line: str | Path = "demo",
        station: str | None = None,
        *,
        wires: bool = True,
        rate: float | None = None,
        seed: int | None = None,
        faults: Sequence[Mapping[str, Any]] = (),
        battery: Mapping[str, Any] | None = None,
        ambient_degc: float | None = None,
    ) -> None:
        """`line` is a line file or the name of a shipped one; its first station unless `station` names another.

        `faults` are added to the line file's, `battery` replaces keys of its battery. Raises DocumentError for what
        cannot be simulated so.
        """
        path = LINES / f"{line}.yaml" if isinstance(line, str) and (LINES / f"{line}.yaml").exists() else Path(line)
        document = read_document(path)
        simulation = document.data.get("simulation") or {"stations": {}}
        if seed is not None:
            simulation["seed"] = seed
        self.name = station or next(iter(simulation["stations"]), "")
        if self.name not in simulation["stations"]:
            known = ", ".join(simulation["stations"]) or "none"
            raise DocumentError("E-SIMULATION", str(path), f"no simulated station {self.name!r}; there are: {known}")
        setup = simulation["stations"][self.name]
        setup["battery"] = {**setup["battery"], **(battery or {})}
        setup["faults"] = [*setup.get("faults", []), *faults]
        if ambient_degc is not None:
            setup["ambient_degc"] = ambient_degc
        document.data["state_dir"] = str(directory)
        self._config = validate_line(Document(document.source, document.data, document.positions))
        self._rate, self._began, self._waited = (1.0 if wires else 0.0) if rate is None else rate, time.monotonic(), 0.0
        self._lock = threading.RLock()
        self.simulated = SimulatedStation(self._config, self.name, shipped_dut_models(), self._line_time)
        self._thread = _Wires(self.simulated) if wires else None
        instruments = self._config.stations[self.name].instruments
        self.links: dict[str, LinkConfig] = {key: instrument.link for key, instrument in instruments.items()}

    def __enter__(self) -> Bench:
        if self._thread is not None:
            self.links = self._thread.serve()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.end()

    # --- time --------------------------------------------------------------------------------------------------

    def _line_time(self) -> float:
        return (time.monotonic() - self._began) * self._rate + self._waited

    @property
    def time(self) -> float:
        """Line time in s since the start."""
        return self._line_time()

    def wait(self, seconds: float) -> None:
        """Let so much line time pass at once."""
        self._do(lambda: self._pass(seconds))

    def _pass(self, seconds: float) -> None:
        self._waited += seconds
        self.simulated.catch_up()

    # --- instruments in memory ---------------------------------------------------------------------------------

    def ask(self, instrument: str, request: bytes) -> bytes:
        """What a text instrument answers to these bytes, its terminator included; b"" for none. Raises
        ConnectionError when it hangs up, KeyError, and TypeError for one that speaks Modbus."""
        port = self.simulated.devices[instrument]
        if not isinstance(port, TextPort):
            raise TypeError(f"{instrument} speaks Modbus: use respond")
        return self._do(lambda: port.receive(request))

    def respond(self, instrument: str, unit: int, pdu: bytes) -> bytes | None:
        """What a Modbus instrument answers to a request PDU, without a frame; None for silence. Raises as `ask`."""
        port = self.simulated.devices[instrument]
        if not isinstance(port, RegisterPort):
            raise TypeError(f"{instrument} speaks text: use ask")
        return self._do(lambda: port.respond(unit, pdu))

    # --- the world and its faults ------------------------------------------------------------------------------

    def fault(
        self,
        instrument: str,
        kind: str,
        active: bool = True,
        *,
        value: float | None = None,
        duration_s: float | None = None,
    ) -> None:
        """Begin or end a fault now; raises DocumentError."""
        self._do(lambda: self.simulated.set_fault(instrument, kind, active, value, duration_s))

    def fault_later(self, instrument: str, kind: str, **when: Any) -> None:
        """A fault with the keys of the line file (`at_s`, `on`, `nth`, `duration_s`, `value`), counted from now.

        Raises pydantic's ValidationError and DocumentError.
        """
        fault = Fault.model_validate({"instrument": instrument, "kind": kind, **when})
        self._do(lambda: self.simulated.add_fault(fault))

    def clear(self) -> None:
        """End all faults, and forget those to come."""
        self._do(self.simulated.clear_faults)

    def control(self, words: str) -> dict[str, Any]:
        """What `evaline simulated` would be answered: `set st01 soc 0.8`. Raises ValueError for what is refused."""
        control = Control(self._config, {self.name: self.simulated}, {self.name: self.links})
        answer = self._do(lambda: control.obey(words))
        if answer["event"] == "error":
            raise ValueError(answer["message"])
        return answer

    def truth(self) -> dict[str, Any]:
        """What a perfect test of the battery would find, and what is really switched on."""
        return self._do(self.simulated.truth)

    def _do(self, work: Callable[[], T]) -> T:
        """In the thread that the servers are in, or one caller at a time."""
        if self._thread is not None:
            return self._thread.do(work)
        with self._lock:
            return work()


class _Wires:
    """A thread with an event loop that serves one station."""

    def __init__(self, station: SimulatedStation) -> None:
        self._station = station
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=f"simulated {station.name}", daemon=True)
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._failed: BaseException | None = None
        self._links: dict[str, LinkConfig] = {}

    def serve(self) -> dict[str, LinkConfig]:
        """Start; raises ListenError and DocumentError."""
        self._thread.start()
        if not self._ready.wait(READY_WITHIN):
            raise TimeoutError(f"the simulated station is not there after {READY_WITHIN:g} s")
        if self._failed is not None:
            raise self._failed
        return self._links

    def do(self, work: Callable[[], T]) -> T:
        async def carry_out() -> T:
            return work()

        return asyncio.run_coroutine_threadsafe(carry_out(), self._loop).result()

    def end(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        try:
            async with serving_line([self._station.wiring], free_ports=True) as links:
                self._links = links[self._station.name]
                self._ready.set()
                await self._stop.wait()
        except (ListenError, DocumentError, OSError) as error:
            self._failed = error
        finally:
            self._ready.set()
