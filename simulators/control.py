"""What may be done to a simulated line while it runs: lines of words in, a line of JSON out for each.

    list                                      stations, instruments, where they are, faults they can have and have
    get STATION                               the world around the battery
    set STATION NAME VALUE                    ambient_degc, plugged, welded, soc, insulation_..._kohm, estop, door
    battery STATION KEY=VALUE ...             another battery, by the keys of the line file; drawn=SEED for the next
                                              used one of a population
    fault STATION INSTRUMENT KIND [on|off] [KEY=VALUE ...]    keys: value, duration_s, at_s, on, nth
    clear STATION [INSTRUMENT]                end all faults, and those to come
    truth STATION                             what a perfect test would find

Words are quoted as in a shell. The same words are taken from standard input with `--json`, and on a TCP port of this
machine with `--control`.
"""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from config.documents import Document, DocumentError, validation_errors
from config.line import InstrumentConfig, LineConfig, LinkConfig
from config.simulation import Fault, SimulatedBattery
from simulators.endpoints import reach
from simulators.pack import Insulation
from simulators.servers import ListenError
from simulators.station import SimulatedStation

HOST = "127.0.0.1"
LONGEST_LINE = 64 * 1024
COLDEST_DEGC, HOTTEST_DEGC = -60.0, 100.0  # of air that people and chambers make
NUMBERS = ("ambient_degc", "soc", "insulation_positive_kohm", "insulation_negative_kohm")
SWITCHES = ("plugged", "estop", "door")

T = TypeVar("T", bound=BaseModel)
Links = Mapping[str, Mapping[str, LinkConfig]]


class Control:
    """Obeys commands for the stations of a line; `links` are where their instruments are."""

    def __init__(self, line: LineConfig, stations: Mapping[str, SimulatedStation], links: Links) -> None:
        self._line, self._stations, self._links = line, stations, links

    def obey(self, text: str) -> dict[str, Any]:
        """Carry out one line; an answer whose `event` is `error` says what was wrong with it."""
        try:
            return self._obey(shlex.split(text))
        except DocumentError as error:
            return {"event": "error", "message": str(error)}
        except ValueError as error:
            return {"event": "error", "message": f"{text}: {error} [E-SIMULATION]"}

    def _obey(self, words: list[str]) -> dict[str, Any]:
        match words:
            case ["list"]:
                return {"event": "list", "stations": {name: self._listed(name) for name in self._stations}}
            case ["get", name]:
                return {"event": "state", "station": name, **self._state(self._station(name))}
            case ["truth", name]:
                return {"event": "truth", "station": name, **self._station(name).truth()}
            case ["set", name, what, value]:
                _set(self._station(name), what, _value(value))
                return {"event": "state", "station": name, **self._state(self._station(name))}
            case ["battery", name, *pairs]:
                keys = _tree(pairs)
                if "drawn" in keys:
                    keys = {"model": self._station(name).battery.model} | keys
                self._station(name).replace_battery(_checked(SimulatedBattery, keys))
                return {"event": "state", "station": name, **self._state(self._station(name))}
            case ["fault", name, instrument, kind, *rest]:
                return self._fault(name, instrument, kind, rest)
            case ["clear", name, *instruments] if len(instruments) < 2:
                self._station(name).clear_faults(*instruments)
                return {"event": "cleared", "station": name, "instruments": instruments or [*self._links[name]]}
        raise ValueError("not understood; one of list, get, set, battery, fault, clear, truth")

    def _station(self, name: str) -> SimulatedStation:
        if name not in self._stations:
            raise ValueError(f"no simulated station {name!r}; there are {', '.join(self._stations)}")
        return self._stations[name]

    def _listed(self, name: str) -> dict[str, Any]:
        station = self._stations[name]
        return {
            "battery": station.battery.code,
            "model": station.battery.model,
            "instruments": {
                key: {
                    "driver": instrument.driver,
                    "link": self._links[name][key].model_dump(mode="json"),
                    "reach": reach_of(instrument, self._links[name][key]),
                    "faults": sorted(station.devices[key].board.active),
                    "kinds": sorted(station.kinds(key)),
                }
                for key, instrument in self._line.stations[name].instruments.items()
            },
        }

    def _state(self, station: SimulatedStation) -> dict[str, Any]:
        world, battery = station.world, station.battery
        station.catch_up()
        return {
            "battery": battery.code,
            "model": battery.model,
            "time": world.now(),
            "ambient_degc": world.ambient_degc,
            "plugged": world.plugged,
            "contactor_closed": world.contactor_closed,
            "welded": world.welded,
            "output_on": world.output_on,
            "voltage": world.battery_voltage(),
            "current": world.current,
            "soc": world.pack.soc,
            "insulation_ohm": world.insulation_ohm,
            "faults": {key: sorted(port.board.active) for key, port in station.devices.items() if port.board.active},
        }

    def _fault(self, name: str, instrument: str, kind: str, rest: list[str]) -> dict[str, Any]:
        station = self._station(name)
        state = rest.pop(0) if rest[:1] in (["on"], ["off"]) else "on"
        given = _tree(rest)
        if state == "off" and given:
            raise ValueError("off ends it now: it takes no KEY=VALUE")
        if twice := [key for key in ("instrument", "kind") if key in given]:
            raise ValueError(f"{twice[0]} is said before the keys, not among them")
        station.check_fault(instrument, kind)
        fault = _checked(Fault, {"instrument": instrument, "kind": kind, **given})
        if given.keys() & {"at_s", "on", "nth"}:
            station.add_fault(fault)
        else:
            station.set_fault(instrument, kind, state == "on", fault.value, fault.duration_s)
        active = kind in station.devices[instrument].board.active
        return {"event": "fault", "station": name, "instrument": instrument, "kind": kind, "active": active}


def _set(station: SimulatedStation, name: str, value: Any) -> None:
    """Raises ValueError for a name or a value that cannot be."""
    _check_kind(name, value)
    station.catch_up()
    world = station.world
    match name:
        case "ambient_degc":
            if not COLDEST_DEGC <= value <= HOTTEST_DEGC:
                raise ValueError(f"must be within {COLDEST_DEGC:g} and {HOTTEST_DEGC:g} degC")
            world.ambient_degc = float(value)
        case "plugged":
            world.plugged = value
        case "welded":
            world.weld(value)
        case "estop" | "door":
            for key in station.interlocks:
                station.set_fault(key, name, value)
        case "soc":
            station.replace_battery(_battery_with(station, name, value))
        case _:
            station.battery = battery = _battery_with(station, name, value)
            positive, negative = battery.insulation_positive_kohm, battery.insulation_negative_kohm
            world.pack.insulation = Insulation(positive * 1e3, negative * 1e3, world.pack.insulation.y_capacitance)
    station.settle()


def _check_kind(name: str, value: Any) -> None:
    """Raises ValueError for what nobody can set, and for a value of another kind."""
    if name in SWITCHES:
        if not isinstance(value, bool):
            raise ValueError("must be true or false")
    elif name == "welded":
        if type(value) is not int or not 0 <= value <= 2:
            raise ValueError("must be 0, 1 or 2: so many contactors")
    elif name not in NUMBERS:
        raise ValueError(f"{name!r} cannot be set; what can is {', '.join([*NUMBERS, 'welded', *SWITCHES])}")
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")


def _battery_with(station: SimulatedStation, name: str, value: float) -> SimulatedBattery:
    return _checked(SimulatedBattery, station.battery.model_dump() | {name: value})


def _value(text: str) -> Any:
    """JSON where it is JSON, else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _given(text: str) -> Any:
    """The same for a key whose kind is known: a number stays text, since a code may look like one."""
    value = _value(text)
    return text if isinstance(value, int | float) and not isinstance(value, bool) else value


def _tree(pairs: Sequence[str]) -> dict[str, Any]:
    """`soc=0.4 weak_cell.index=3` as a tree. Raises ValueError."""
    tree: dict[str, Any] = {}
    for pair in pairs:
        path, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"{pair!r} is not KEY=VALUE")
        *parents, last = path.split(".")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ValueError(f"{path!r} is below a value")
        place[last] = _given(value)
    return tree


def _checked(model: type[T], data: dict[str, Any]) -> T:
    """Raises ValueError, in one line."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        faults = validation_errors(Document("", data, {}), error, "E-SIMULATION", model)
        raise ValueError("; ".join(fault.text.en for fault in faults)) from None


def reach_of(instrument: InstrumentConfig, link: LinkConfig) -> str:
    """A line for a shell that talks to it with a public tool."""
    settings = instrument.settings
    match instrument.driver:
        # these have holding registers alone
        case "ea_bt20000":
            return reach(link, 0, 4)
        case "watlow_f4t":
            return reach(link, settings.get("unit", 1), 4)
        case "icpdas_tm_th8":
            return reach(link, settings.get("units", [1])[0], 3)
    return reach(link)


@asynccontextmanager
async def controlled(obey: Callable[[str], dict[str, Any]], port: int) -> AsyncIterator[int]:
    """Take commands on a port of this machine (0: any free one) while the context lasts; yields the port.

    Raises ListenError.
    """
    open_writers: set[asyncio.StreamWriter] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_writers.add(writer)
        try:
            while line := await reader.readline():
                answer = obey(line.decode("utf-8", "replace").strip())
                writer.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            # gone, or a line longer than any command
            return
        finally:
            open_writers.discard(writer)
            writer.close()

    try:
        server = await asyncio.start_server(converse, HOST, port, limit=LONGEST_LINE)
    except OSError as error:
        raise ListenError(
            f"control: cannot listen on {HOST}:{port}: {error.strerror}; give --control another port"
        ) from None
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in list(open_writers):
            writer.close()
        await server.wait_closed()
