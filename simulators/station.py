"""One simulated station: the battery, the instruments on it, their faults, and the present they share."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from config.documents import DocumentError
from config.dut import DutModel
from config.line import InstrumentConfig, LineConfig, LinkConfig, ModbusRtuLinkConfig, ModbusTcpLinkConfig
from config.simulation import Fault, FaultKind
from simulators.bms_gateway import MAX_CELLS, BmsGateway
from simulators.bt3562 import MODELS, Bt3562Instrument
from simulators.bt4560 import CATALOGUE_VOLTAGE, ORDERED_RANGES, Bt4560Instrument, Meter
from simulators.bt4560 import MODELS as BT4560_MODELS
from simulators.bt20000_modbus import BtInstrument
from simulators.daq6510 import CHANNELS
from simulators.daq6510_scpi import DaqInstrument
from simulators.endpoints import endpoint_of
from simulators.espec_p300 import P300, P300Bus
from simulators.faults import FaultBoard, kinds_of
from simulators.gpt9800 import MODELS as GPT_MODELS
from simulators.gpt9800 import GptInstrument
from simulators.pack import Pack
from simulators.plc import PlcInterlock
from simulators.ports import Port, RegisterPort, TextPort
from simulators.psb10000_scpi import PsbInstrument
from simulators.servers import free_endpoint, serving
from simulators.sr1000 import NOT_READ, Sr1000
from simulators.timeline import Timed, Timeline
from simulators.tm_th8 import Th8Bus
from simulators.world import World

TextInstrument = PsbInstrument | Bt3562Instrument | Bt4560Instrument | DaqInstrument | GptInstrument | P300Bus | Sr1000
Acting = PsbInstrument | BtInstrument | Bt4560Instrument | GptInstrument | PlcInterlock | Sr1000
Device = TextInstrument | BtInstrument | Th8Bus | PlcInterlock | BmsGateway

DEFAULT_SERIAL = "2023120002"
DEFAULT_DAQ_SERIAL = "04340543"
DEFAULT_GPT_SERIAL = "GEW824711000"


class SimulatedStation:
    """A station of a line file without its hardware.

    `devices` are the ports that links talk to, by instrument; `now` is the line's time in seconds. Raises
    DocumentError (E-SIMULATION) for a station that cannot be simulated as it is described.
    """

    def __init__(
        self, line: LineConfig, station: str, models: Mapping[str, DutModel], now: Callable[[], float]
    ) -> None:
        where = f"station {station}"
        if line.simulation is None or station not in line.simulation.stations:
            raise DocumentError("E-SIMULATION", where, "the line file has no simulation of it")
        setup = line.simulation.stations[station]
        model = models.get(setup.battery.model)
        if model is None:
            known = ", ".join(sorted(models))
            raise DocumentError("E-SIMULATION", where, f"no battery model {setup.battery.model!r}; known are {known}")
        self.name = station
        self._config = line.stations[station]
        self._state_dir = Path(line.state_dir)
        self._model = model
        self._seed = f"{line.simulation.seed}/{station}"
        self._timeline = Timeline(now)
        try:
            pack = Pack.used(model, setup.battery, self._seed_of("battery"), setup.ambient_degc)
        except ValueError as error:
            raise DocumentError("E-SIMULATION", where, str(error)) from None
        self.world = World(pack, self._timeline.now, setup.ambient_degc)
        self.devices: dict[str, Port] = {}
        for key, instrument in self._config.instruments.items():
            faults = [fault for fault in setup.faults if fault.instrument == key]
            self.devices[key] = self._port(key, instrument, faults)
        unknown = {fault.instrument for fault in setup.faults} - self.devices.keys()
        if unknown:
            known = ", ".join(self.devices)
            raise DocumentError("E-SIMULATION", where, f"a fault of {unknown.pop()!r}; its instruments are {known}")
        boards = [port.board for port in self.devices.values()]
        acting: list[Timed] = [port.device for port in self.devices.values() if isinstance(port.device, Acting)]
        # faults first: what they break must be seen by the devices at the same moment
        self._timeline.attach(self.world.advance, [*boards, *acting])

    def _seed_of(self, what: str) -> int:
        return zlib.crc32(f"{self._seed}/{what}".encode())

    def _port(self, key: str, instrument: InstrumentConfig, faults: list[Fault]) -> Port:
        where = f"{self.name}/{key}"
        device = self._device(key, instrument)
        for fault in faults:
            _check_kind(where, instrument.driver, fault.kind)
        board = FaultBoard(device, faults, self._timeline.now, self._seed_of(f"{key}/faults"))
        if isinstance(device, TextInstrument):
            return TextPort(device, board, self._timeline)
        return RegisterPort(device, board, self._timeline)

    def _device(self, key: str, instrument: InstrumentConfig) -> Device:
        """Drivers are named as in the line file; the simulator behind each is this table."""
        world = self.world
        match instrument.driver:
            case "ea_psb10000":
                return PsbInstrument(world, instrument.serial or DEFAULT_SERIAL)
            case "ea_bt20000":
                return BtInstrument(world, instrument.serial or DEFAULT_SERIAL)
            case "hioki_bt3562":
                model = instrument.model if instrument.model in MODELS else "BT3562"
                return Bt3562Instrument(world, self._probed(), self._seed_of(key), model)
            case "hioki_bt4560":
                model = instrument.model if instrument.model in BT4560_MODELS else BT4560_MODELS[0]
                cells = self._probed() or (0, self._model.series_cells - 1)
                return Bt4560Instrument(
                    world, cells, self._seed_of(key), _meter(instrument, f"{self.name}/{key}"), model
                )
            case "keithley_daq6510":
                channels = _channels(instrument, f"{self.name}/{key}")
                return DaqInstrument(world, instrument.serial or DEFAULT_DAQ_SERIAL, channels)
            case "gwinstek_gpt9800":
                model = instrument.model if instrument.model in GPT_MODELS else GPT_MODELS[0]
                return GptInstrument(world, instrument.serial or DEFAULT_GPT_SERIAL, model)
            case "espec_p300":
                return P300Bus({_address(instrument, f"{self.name}/{key}"): P300(world)})
            case "keyence_sr1000":
                return Sr1000(world, str(instrument.settings.get("read_error", NOT_READ)))
            case "icpdas_tm_th8":
                return Th8Bus(world, _units(instrument, f"{self.name}/{key}"))
            case "plc_interlock":
                return PlcInterlock(world)
            case "bms_gateway":
                if self._model.series_cells > MAX_CELLS:
                    text = f"{self._model.id} has more than the {MAX_CELLS} cells of the gateway's map"
                    raise DocumentError("E-SIMULATION", f"{self.name}/{key}", text)
                return BmsGateway(world, self._model)
            case driver:
                raise DocumentError("E-SIMULATION", f"{self.name}/{key}", f"there is no simulator for {driver!r}")

    def _probed(self) -> tuple[int, int] | None:
        """First and last cell between the impedance probes, from 0; None when the line file names none."""
        probes = self._config.impedance_probe_cells
        if probes and not 1 <= probes[0] <= probes[1] <= self._model.series_cells:
            text = f"impedance_probe_cells {list(probes)} are not cells 1..{self._model.series_cells}"
            raise DocumentError("E-SIMULATION", f"station {self.name}", text)
        return (probes[0] - 1, probes[1] - 1) if probes else None

    def set_fault(self, instrument: str, kind: str, active: bool = True) -> None:
        """Switch a fault on or off now, besides those of the line file; raises DocumentError (E-SIMULATION)."""
        where = f"{self.name}/{instrument}"
        port = self.devices.get(instrument)
        if port is None:
            raise DocumentError("E-SIMULATION", where, f"no such instrument; there are {', '.join(self.devices)}")
        checked = _check_kind(where, self._config.instruments[instrument].driver, kind)
        self._timeline.catch_up()
        port.board.set(checked, active)
        self._timeline.settle()

    def truth(self) -> dict[str, Any]:
        """What is really the case: the battery, its counters and its switches, at the line's present."""
        self._timeline.catch_up()
        world = self.world
        devices = [port.device for port in self.devices.values()]
        return {
            **world.truth(),
            "time": self._timeline.now(),
            "charged_ah": world.charged_ah,
            "discharged_ah": world.discharged_ah,
            "charged_wh": world.charged_wh,
            "discharged_wh": world.discharged_wh,
            "current": world.current,
            "extremes": dataclasses.asdict(world.extremes),
            "hot_openings": world.hot_openings,
            "contactor_closed": world.contactor_closed,
            "output_on": any(
                isinstance(device, PsbInstrument | BtInstrument) and device.device.output_on for device in devices
            ),
        }

    def serve(self, free_ports: bool = False) -> AbstractAsyncContextManager[dict[str, LinkConfig]]:
        """Start the servers; yields the links that lead to them. Raises ListenError."""
        return self._serving(free_ports)

    @asynccontextmanager
    async def _serving(self, free_ports: bool) -> AsyncIterator[dict[str, LinkConfig]]:
        addresses = {}
        for key, port in self.devices.items():
            link = self._config.instruments[key].link
            endpoint = endpoint_of(link, f"{self.name}/{key}")
            if free_ports:
                endpoint = free_endpoint(endpoint, (self._state_dir / "pty" / self.name / key).absolute())
            _check_link(link, port, f"{self.name}/{key}")
            addresses[key] = (endpoint, port)
        async with serving(addresses, self._timeline.catch_up, self.name) as links:
            yield links


def _check_kind(where: str, driver: str, kind: str) -> FaultKind:
    """The kind, when an instrument of this driver can have that fault."""
    kinds = kinds_of(driver)
    for known in kinds:
        if known == kind:
            return known
    raise DocumentError("E-SIMULATION", where, f"no fault {kind!r}; it can have {', '.join(sorted(kinds))}")


def _check_link(link: LinkConfig, port: Port, where: str) -> None:
    """Registers travel over Modbus links, text over the others."""
    if isinstance(link, ModbusTcpLinkConfig | ModbusRtuLinkConfig) != isinstance(port, RegisterPort):
        raise DocumentError("E-SIMULATION", where, f"this instrument does not speak over a {link.kind} link")


def _channels(instrument: InstrumentConfig, where: str) -> list[int]:
    """The channels with thermocouples, from `settings: {channels: [101, 102]}`."""
    channels = instrument.settings.get("channels", list(CHANNELS[:16]))
    if not isinstance(channels, list) or not channels or not all(type(c) is int and c in CHANNELS for c in channels):
        text = f"settings.channels must be a list of channels 101..120 and 201..220, not {channels!r}"
        raise DocumentError("E-SIMULATION", where, text)
    if len(set(channels)) != len(channels):
        raise DocumentError("E-SIMULATION", where, f"settings.channels names a channel twice: {channels!r}")
    return channels


def _address(instrument: InstrumentConfig, where: str) -> int | None:
    """The address on RS-485, from `settings: {address: 1}`; without one the chamber is alone on its line."""
    address = instrument.settings.get("address")
    if address is not None and not (type(address) is int and 1 <= address <= 16):
        raise DocumentError("E-SIMULATION", where, f"settings.address must be a whole number 1..16, not {address!r}")
    return address


def _meter(instrument: InstrumentConfig, where: str) -> Meter:
    """What was ordered, from `settings: {range_ohm: 0.3, max_voltage_v: 450}`; without them, the catalogue's meter."""
    voltage = instrument.settings.get("max_voltage_v", CATALOGUE_VOLTAGE)
    if type(voltage) not in (int, float) or not voltage > 0:
        raise DocumentError("E-SIMULATION", where, f"settings.max_voltage_v must be a voltage above 0, not {voltage!r}")
    to_order = voltage > CATALOGUE_VOLTAGE or instrument.settings.get("range_ohm") in ORDERED_RANGES
    return Meter(ORDERED_RANGES, voltage) if to_order else Meter()


def _units(instrument: InstrumentConfig, where: str) -> list[int]:
    """The module addresses on the bus, from `settings: {units: [1, 2]}`."""
    units = instrument.settings.get("units", [1])
    if not isinstance(units, list) or not units or not all(type(u) is int and 1 <= u <= 247 for u in units):
        raise DocumentError("E-SIMULATION", where, f"settings.units must be a list of addresses 1..247, not {units!r}")
    if len(set(units)) != len(units):
        raise DocumentError("E-SIMULATION", where, f"settings.units names an address twice: {units!r}")
    return units
