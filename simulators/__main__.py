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
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NoReturn, get_args

from config.documents import DocumentError
from config.dut import shipped_dut_models
from config.line import LineConfig, LinkConfig, load_line
from config.simulation import DrawnFaults, Fault, FaultEvent
from simulators.clock_page import ClockPage
from simulators.control import HOST, Control, controlled, reach_of
from simulators.faults import KINDS
from simulators.line import serving_line
from simulators.population import Populations
from simulators.reference import fault_tables
from simulators.servers import ListenError
from simulators.station import SimulatedStation

EXIT_STOPPED, EXIT_LISTEN, EXIT_CONFIG = 0, 1, 3
PR_SET_PDEATHSIG = 1

CONTROL_PORT = 8479
_NUMBER = r"\d{1,12}(?:\.\d+)?"
_FAULT = re.compile(
    rf"(?:(?P<station>[^/:@]+)/)?(?P<instrument>[^/:@]+):(?P<kind>[a-z_]+)(?:=(?P<value>-?{_NUMBER}))?"
    rf"(?:@(?:(?P<at>{_NUMBER})|(?P<on>[a-z_]+)(?:#(?P<nth>[1-9]\d{{0,8}}))?)(?:\+(?P<duration>{_NUMBER}))?)?"
)
_FAULT_GRAMMAR = "[STATION/]INSTRUMENT:KIND[=VALUE][@SECONDS|@EVENT[#N]][+DURATION]"

EVENTS: tuple[FaultEvent, ...] = get_args(FaultEvent)
Links = dict[str, dict[str, LinkConfig]]


def main(arguments: list[str] | None = None) -> int:
    try:
        options = _parser().parse_args(arguments)
        if options.kinds:
            print(fault_tables(), flush=True)
            return EXIT_STOPPED
        line = _with_overrides(load_line(options.config), options)
        now = _line_clock(options)
        models, populations = shipped_dut_models(), Populations()
        stations = {name: SimulatedStation(line, name, models, now, populations) for name in line.stations}
        asyncio.run(_run(line, stations, options))
    except DocumentError as error:
        print(*(f"evaline: {line}" for line in error.lines()), sep="\n", file=sys.stderr)
        return EXIT_CONFIG
    except ListenError as error:
        print(f"evaline: {error} [E-LISTEN]", file=sys.stderr)
        return EXIT_LISTEN
    except BrokenPipeError:
        # who reads has enough; the interpreter flushes once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        # before the loop listens to signals
        pass
    return EXIT_STOPPED


class _Parser(argparse.ArgumentParser):
    """A wrong call is an error like every other."""

    def error(self, message: str) -> NoReturn:
        raise DocumentError("E-SIMULATION", "simulate", f"{message}; see `python -m simulators --help`")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m simulators", description="Simulate the instruments of a line file.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", type=Path, metavar="FILE", help="the line file")
    what.add_argument("--kinds", action="store_true", help="print every fault that instruments can have, as Markdown")
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
        metavar=_FAULT_GRAMMAR,
        help=f"a fault after so many seconds of line time, or at the Nth time of an event ({', '.join(EVENTS)}); "
        f"kinds: {', '.join(KINDS)}",
    )
    parser.add_argument(
        "--drawn-faults",
        type=float,
        metavar="SECONDS",
        help="faults by chance, from the seed: to each instrument one in so many seconds of line time",
    )
    parser.add_argument(
        "--control",
        type=_port,
        nargs="?",
        const=CONTROL_PORT,
        metavar="PORT",
        help=f"take commands on this port of this machine ({CONTROL_PORT}; 0: any free one); `evaline simulated` sends "
        "them",
    )
    parser.add_argument("--free-ports", action="store_true", help="any free TCP ports, ptys in the state directory")
    parser.add_argument("--write-config", type=Path, metavar="PATH", help="write the line file with the real addresses")
    parser.add_argument("--json", action="store_true", help="talk in lines of JSON; ends when standard input ends")
    return parser


def _port(text: str) -> int:
    if not re.fullmatch(r"\d{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port 0..65535")
    return int(text)


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
        changed = dict(simulation.stations)
        for name in chosen:
            changed[name] = changed[name].model_copy(update={"faults": [*changed[name].faults, fault]})
        simulation = simulation.model_copy(update={"stations": changed})
    if options.drawn_faults is not None:
        if not 0 < options.drawn_faults < float("inf"):
            where = f"--drawn-faults {options.drawn_faults:g}"
            raise DocumentError("E-SIMULATION", where, "must be above 0 s, and finite")
        drawn = DrawnFaults(mean_interval_s=options.drawn_faults)
        everywhere = {n: s.model_copy(update={"drawn_faults": drawn}) for n, s in simulation.stations.items()}
        simulation = simulation.model_copy(update={"stations": everywhere})
    return line.model_copy(update={"simulation": simulation})


def _has(line: LineConfig, station: str, fault: Fault) -> bool:
    return station in line.stations and fault.instrument in line.stations[station].instruments


def _fault(text: str) -> tuple[str | None, Fault]:
    match = _FAULT.fullmatch(text)
    if match is None or match["kind"] not in KINDS or match["on"] not in (None, *EVENTS):
        raise DocumentError(
            "E-SIMULATION",
            f"--fault {text}",
            f"not {_FAULT_GRAMMAR} with KIND one of {', '.join(KINDS)} and EVENT one of {', '.join(EVENTS)}",
        )
    duration, value = (float(match[name]) if match[name] else None for name in ("duration", "value"))
    if duration == 0:
        raise DocumentError("E-SIMULATION", f"--fault {text}", "a fault must last longer than 0 s")
    fault = {
        "instrument": match["instrument"],
        "kind": match["kind"],
        "at_s": float(match["at"] or 0),
        "on": match["on"],
        "nth": int(match["nth"] or 1),
        "duration_s": duration,
        "value": value,
    }
    return match["station"], Fault.model_validate(fault)


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
    async with AsyncExitStack() as wires:
        wiring = [station.wiring for station in stations.values()]
        links = await wires.enter_async_context(serving_line(wiring, options.free_ports))
        control = Control(line, stations, links)
        port = None
        if options.control is not None:
            port = await wires.enter_async_context(controlled(control.obey, options.control))
        if options.write_config:
            _write_config(line, links, options.write_config)
        if options.json:
            addresses = {
                name: {key: link.model_dump(mode="json") for key, link in of_station.items()}
                for name, of_station in links.items()
            }
            _say({"event": "ready", "addresses": addresses, "control": port})
            _listen(loop, stop, lambda command: _say(control.obey(command)))
        else:
            _die_with_parent()
            _print_addresses(line, links, port)
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


def _say(event: dict[str, Any]) -> None:
    print(json.dumps(event), flush=True)


def _print_addresses(line: LineConfig, links: Links, control: int | None) -> None:
    for station, of_station in links.items():
        for key, link in of_station.items():
            instrument = line.stations[station].instruments[key]
            print(f"{station}/{key:22} {reach_of(instrument, link)}")
    if control is not None:
        print(f"control: evaline simulated --control {HOST}:{control} list   or   echo list | nc {HOST} {control}")
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
    served = line.model_copy(update={"stations": stations})
    # what is not said stays unsaid: with every default, 64 stations are larger than a line file may be
    written = served.model_dump(mode="json", by_alias=True, exclude_unset=True)
    try:
        path.write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise DocumentError("E-FILE", str(path), f"cannot be written: {error.strerror}") from None


if __name__ == "__main__":
    sys.exit(main())
