"""`python -m simulators`: every station of a line file on real TCP ports and pseudo terminals, until told to stop.

Exit codes: 0 stopped, 1 an address cannot be served, 3 a configuration that cannot be simulated.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from config.documents import DocumentError
from config.dut import shipped_dut_models
from config.line import LineConfig, LinkConfig, load_line
from config.simulation import Fault
from simulators.clock_page import ClockPage
from simulators.endpoints import reach
from simulators.faults import KINDS
from simulators.line import serving_line
from simulators.servers import ListenError
from simulators.station import SimulatedStation

EXIT_STOPPED, EXIT_LISTEN, EXIT_CONFIG = 0, 1, 3
PR_SET_PDEATHSIG = 1

_FAULT = re.compile(
    r"(?:(?P<station>[^/:@]+)/)?(?P<instrument>[^/:@]+):(?P<kind>[a-z_]+)"
    r"(?:@(?P<at>\d+(?:\.\d+)?)(?:\+(?P<duration>\d+(?:\.\d+)?))?)?"
)

Links = dict[str, dict[str, LinkConfig]]


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        line = _with_overrides(load_line(options.config), options)
        now = _line_clock(options)
        stations = {name: SimulatedStation(line, name, shipped_dut_models(), now) for name in line.stations}
        asyncio.run(_run(line, stations, options))
    except DocumentError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    except ListenError as error:
        print(error, file=sys.stderr)
        return EXIT_LISTEN
    except KeyboardInterrupt:
        # before the loop listens to signals
        pass
    return EXIT_STOPPED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m simulators", description="Simulate the instruments of a line file."
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the line file")
    clock = parser.add_mutually_exclusive_group()
    clock.add_argument("--rate", type=float, default=1.0, metavar="N", help="seconds of line time per second")
    clock.add_argument(
        "--clock", type=Path, metavar="PATH", help="read line time from this file (a double, in seconds)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="instead of the line file's seed")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="[STATION/]INSTRUMENT:KIND[@SECONDS[+DURATION]]",
        help=f"a fault after so many seconds of line time; kinds: {', '.join(KINDS)}",
    )
    parser.add_argument("--free-ports", action="store_true", help="any free TCP ports, ptys in the state directory")
    parser.add_argument("--write-config", type=Path, metavar="PATH", help="write the line file with the real addresses")
    parser.add_argument("--json", action="store_true", help="talk in lines of JSON; ends when standard input ends")
    return parser


def _with_overrides(line: LineConfig, options: argparse.Namespace) -> LineConfig:
    """The line with the seed and the additional faults of the command line."""
    simulation = line.simulation
    if simulation is None:
        raise DocumentError("E-SIMULATION", str(options.config), "the line file has no simulation section")
    if options.seed is not None:
        simulation = simulation.model_copy(update={"seed": options.seed})
    for text in options.fault:
        station, fault = _fault(text)
        chosen = [name for name in simulation.stations if station in (None, name) and _has(line, name, fault)]
        if not chosen:
            raise DocumentError("E-SIMULATION", f"--fault {text}", "no simulated station has this instrument")
        changed = {name: simulation.stations[name] for name in simulation.stations}
        for name in chosen:
            changed[name] = changed[name].model_copy(update={"faults": [*changed[name].faults, fault]})
        simulation = simulation.model_copy(update={"stations": changed})
    return line.model_copy(update={"simulation": simulation})


def _has(line: LineConfig, station: str, fault: Fault) -> bool:
    return station in line.stations and fault.instrument in line.stations[station].instruments


def _fault(text: str) -> tuple[str | None, Fault]:
    match = _FAULT.fullmatch(text)
    if match is None or match["kind"] not in KINDS:
        raise DocumentError(
            "E-SIMULATION",
            f"--fault {text}",
            f"not [STATION/]INSTRUMENT:KIND[@SECONDS[+DURATION]] with KIND one of {', '.join(KINDS)}",
        )
    duration = float(match["duration"]) if match["duration"] else None
    if duration == 0:
        raise DocumentError("E-SIMULATION", f"--fault {text}", "a fault must last longer than 0 s")
    at = float(match["at"] or 0)
    window = {"instrument": match["instrument"], "kind": match["kind"], "at_s": at, "duration_s": duration}
    return match["station"], Fault.model_validate(window)


def _line_clock(options: argparse.Namespace) -> Callable[[], float]:
    """Line time in seconds: another process's, or this one's at a rate."""
    if options.clock is not None:
        try:
            return ClockPage(options.clock).now
        except (OSError, ValueError) as error:
            raise DocumentError("E-SIMULATION", str(options.clock), f"not a clock page: {error}") from None
    rate = options.rate
    if not 0 < rate < float("inf"):
        raise DocumentError("E-SIMULATION", f"--rate {rate:g}", "must be a positive number")
    start = time.monotonic()
    return lambda: (time.monotonic() - start) * rate


async def _run(line: LineConfig, stations: dict[str, SimulatedStation], options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serving_line([station.wiring for station in stations.values()], options.free_ports) as links:
        if options.write_config:
            _write_config(line, links, options.write_config)
        if options.json:
            addresses = {
                name: {key: link.model_dump(mode="json") for key, link in of_station.items()}
                for name, of_station in links.items()
            }
            _say({"event": "ready", "addresses": addresses})
            _listen(loop, stop, lambda command: _say(_obey(stations, command)))
        else:
            _die_with_parent()
            _print_addresses(line, links)
        await stop.wait()


def _die_with_parent() -> None:
    """Linux ends this process when its parent ends, however that happens; elsewhere it must be stopped."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _listen(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, obey: Callable[[str], None]) -> None:
    """Commands from standard input until it ends. A thread reads, since a file or a null device cannot be polled."""

    def read() -> None:
        rest = b""
        while data := os.read(0, 4096):
            *lines, rest = (rest + data).split(b"\n")
            for command in lines:
                loop.call_soon_threadsafe(obey, command.decode("utf-8", "replace").strip())
        loop.call_soon_threadsafe(stop.set)

    def guarded() -> None:
        # the loop may be closed while this thread still waits for input
        with contextlib.suppress(RuntimeError, OSError):
            read()

    threading.Thread(target=guarded, daemon=True).start()


def _obey(stations: dict[str, SimulatedStation], command: str) -> dict[str, Any]:
    """`truth STATION`, or `fault STATION INSTRUMENT KIND on|off`."""
    match command.split():
        case ["truth", name] if name in stations:
            return {"event": "truth", "station": name, **stations[name].truth()}
        case ["fault", name, instrument, kind, ("on" | "off") as state] if name in stations:
            try:
                stations[name].set_fault(instrument, kind, state == "on")
            except DocumentError as error:
                return {"event": "error", "message": str(error)}
            return {"event": "fault", "station": name, "instrument": instrument, "kind": kind, "active": state == "on"}
    return {"event": "error", "message": f"not understood: {command}; try: truth {next(iter(stations))}"}


def _say(event: dict[str, Any]) -> None:
    print(json.dumps(event), flush=True)


def _print_addresses(line: LineConfig, links: Links) -> None:
    for station, of_station in links.items():
        for key, link in of_station.items():
            instrument = line.stations[station].instruments[key]
            # these have holding registers alone, the battery tester at unit 0
            unit, table = {
                "ea_bt20000": (0, 4),
                "watlow_f4t": (instrument.settings.get("unit", 1), 4),
            }.get(instrument.driver, (instrument.settings.get("units", [1])[0], 3))
            print(f"{station}/{key:22} {reach(link, unit, table)}")
    print("Ctrl-C stops.", flush=True)


def _write_config(line: LineConfig, links: Links, path: Path) -> None:
    """The line file with the links that are really served. It is written as JSON, which is YAML too."""
    stations = {
        name: station.model_copy(
            update={
                "instruments": {
                    key: instrument.model_copy(update={"link": links[name][key]})
                    for key, instrument in station.instruments.items()
                }
            }
        )
        for name, station in line.stations.items()
    }
    served = line.model_copy(update={"stations": stations}).model_dump(mode="json", by_alias=True)
    path.write_text(json.dumps(served, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
