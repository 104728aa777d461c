"""The wires of a whole simulated line: an instrument each, or a bus that several share, from one station or several."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from config.documents import DocumentError
from config.line import InstrumentConfig, LinkConfig, ModbusRtuLinkConfig, ModbusTcpLinkConfig
from simulators.buses import on_one_wire
from simulators.endpoints import endpoint_of
from simulators.ports import Port, RegisterPort, TextPort
from simulators.servers import Served, free_endpoint, serving
from simulators.timeline import Timeline


@dataclass(frozen=True)
class Wiring:
    """A station's instruments with the ports behind them; `state_dir` holds its free serial ports."""

    station: str
    instruments: Mapping[str, InstrumentConfig]
    ports: Mapping[str, Port]
    timeline: Timeline
    state_dir: Path


@asynccontextmanager
async def serving_line(stations: Sequence[Wiring], free_ports: bool) -> AsyncIterator[dict[str, dict[str, LinkConfig]]]:
    """Start the servers of these stations; yields the links that lead to them, by station and instrument, as they
    change when an instrument moves.

    Raises ListenError, and DocumentError (E-SIMULATION) for a link that an instrument cannot be on.
    """
    wires: dict[object, list[tuple[Wiring, str]]] = {}
    for station in stations:
        for key, instrument in station.instruments.items():
            _check_link(instrument.link, station.ports[key], f"{station.station}/{key}")
            wire = (instrument.link.kind, instrument.link.where) if instrument.is_shared else (station.station, key)
            wires.setdefault(wire, []).append((station, key))
    addresses = {}
    for members in wires.values():
        station, key = members[0]
        name = f"{station.station}/{key}"
        endpoint = endpoint_of(station.instruments[key].link, name)
        if free_ports:
            endpoint = free_endpoint(endpoint, (station.state_dir / "pty" / name).absolute())
        addresses[name] = (endpoint, _served([station.ports[key] for station, key in members]))

    def catch_up() -> None:
        for station in stations:
            station.timeline.catch_up()

    links: dict[str, dict[str, LinkConfig]] = {station.station: {} for station in stations}
    on_wire = dict(zip(addresses, wires.values(), strict=True))

    def lead(name: str, link: LinkConfig) -> None:
        for station, key in on_wire[name]:
            links[station.station][key] = link

    async with serving(addresses, catch_up, lead) as served:
        for name, link in served.items():
            lead(name, link)
        yield links


def _served(ports: Sequence[Port]) -> Served:
    texts = [port for port in ports if isinstance(port, TextPort)]
    return on_one_wire(texts) if len(texts) > 1 else ports[0]


def _check_link(link: LinkConfig, port: Port, where: str) -> None:
    """Registers travel over Modbus links, text over the others."""
    if isinstance(link, ModbusTcpLinkConfig | ModbusRtuLinkConfig) != isinstance(port, RegisterPort):
        raise DocumentError("E-SIMULATION", where, f"this instrument does not speak over a {link.kind} link")
