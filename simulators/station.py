"""One simulated station: the battery, the instruments on it, their faults, and the present they share."""

from __future__ import annotations

import dataclasses
import re
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from config.documents import DocumentError
from config.dut import DutModel
from config.line import InstrumentConfig, LineConfig, LinkConfig
from config.simulation import Fault, FaultKind
from simulators.bms_gateway import MAX_CELLS, BmsGateway
from simulators.bt3562 import MODELS, Bt3562Instrument
from simulators.bt4560 import CATALOGUE_VOLTAGE, ORDERED_RANGES, Bt4560Instrument
from simulators.bt4560 import MODELS as BT4560_MODELS
from simulators.bt4560 import Meter as Ordered
from simulators.bt20000_modbus import BtInstrument
from simulators.daq6510 import CHANNELS
from simulators.daq6510_scpi import DaqInstrument
from simulators.espec_p300 import P300, P300Bus
from simulators.faults import FaultBoard, kinds_of
from simulators.gpt9800 import MODELS as GPT_MODELS
from simulators.gpt9800 import GptInstrument
from simulators.julabo_cf import MODELS as JULABO_MODELS
from simulators.julabo_cf import JulaboCf
from simulators.keysight_34461a import KeysightInstrument
from simulators.line import Wiring, serving_line
from simulators.neware_bts import CREDENTIALS, Address, NewareBts, address_of
from simulators.neware_channel import Channel
from simulators.pack import Pack
from simulators.plc import PlcInterlock
from simulators.ports import Port, RegisterPort, TextPort
from simulators.psb10000_scpi import PsbInstrument
from simulators.single_cells import bench_of
from simulators.sr1000 import NOT_READ, Sr1000
from simulators.timeline import Timed, Timeline
from simulators.tm_th8 import Th8Bus
from simulators.watlow_f4t import EVENTS, LOOPS, SERIAL, F4t
from simulators.world import World

Meter = Bt3562Instrument | Bt4560Instrument | DaqInstrument | KeysightInstrument | GptInstrument
TextInstrument = PsbInstrument | Meter | P300Bus | JulaboCf | NewareBts | Sr1000
Acting = PsbInstrument | BtInstrument | Bt4560Instrument | GptInstrument | NewareBts | PlcInterlock | Sr1000
Device = TextInstrument | BtInstrument | Th8Bus | F4t | PlcInterlock | BmsGateway

DEFAULT_SERIAL = "2023120002"
DEFAULT_DAQ_SERIAL = "04340543"
DEFAULT_GPT_SERIAL = "GEW824711000"
DEFAULT_DMM_SERIAL = "MY53219001"
# of a sub-device of a cell cycler
CHANNELS_EACH = 8


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
        world, where = self.world, f"{self.name}/{key}"
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
                return Bt4560Instrument(world, cells, self._seed_of(key), _meter(instrument, where), model)
            case "keithley_daq6510":
                return DaqInstrument(world, instrument.serial or DEFAULT_DAQ_SERIAL, _channels(instrument, where))
            case "keysight_34461a":
                return KeysightInstrument(world, instrument.serial or DEFAULT_DMM_SERIAL, self._seed_of(key))
            case "gwinstek_gpt9800":
                model = instrument.model if instrument.model in GPT_MODELS else GPT_MODELS[0]
                return GptInstrument(world, instrument.serial or DEFAULT_GPT_SERIAL, model)
            case "espec_p300":
                return P300Bus({_setting(instrument, where, "address", 16): P300(world)})
            case "watlow_f4t":
                unit = _setting(instrument, where, "unit", 247) or 1
                loop = _setting(instrument, where, "loop", LOOPS) or 1
                serial = int(instrument.serial[:9]) if instrument.serial.isdecimal() else SERIAL
                return F4t(world, serial, unit, loop, _setting(instrument, where, "event", len(EVENTS)))
            case "julabo_cf":
                model = instrument.model if instrument.model in JULABO_MODELS else JULABO_MODELS[0]
                return JulaboCf(world, _setting(instrument, where, "address", 127), model)
            case "neware_bts":
                return self._cell_cycler(instrument, where)
            case "keyence_sr1000":
                return Sr1000(world, str(instrument.settings.get("read_error", NOT_READ)))
            case "icpdas_tm_th8":
                return Th8Bus(world, _units(instrument, where))
            case "plc_interlock":
                return PlcInterlock(world)
            case "bms_gateway":
                if self._model.series_cells > MAX_CELLS:
                    text = f"{self._model.id} has more than the {MAX_CELLS} cells of the gateway's map"
                    raise DocumentError("E-SIMULATION", where, text)
                return BmsGateway(world, self._model)
            case driver:
                raise DocumentError("E-SIMULATION", where, f"there is no simulator for {driver!r}")

    def _probed(self) -> tuple[int, int] | None:
        """First and last cell between the impedance probes, from 0; None when the line file names none."""
        probes = self._config.impedance_probe_cells
        if probes and not 1 <= probes[0] <= probes[1] <= self._model.series_cells:
            text = f"impedance_probe_cells {list(probes)} are not cells 1..{self._model.series_cells}"
            raise DocumentError("E-SIMULATION", f"station {self.name}", text)
        return (probes[0] - 1, probes[1] - 1) if probes else None

    def _cell_cycler(self, instrument: InstrumentConfig, where: str) -> NewareBts:
        """A battery of one cell is at the channel that is addressed, behind the station's contactor; of another, each
        cell is on a channel of its own: 1 to 8 on the first sub-device, 9 to 16 on the second."""
        settings = instrument.settings
        try:
            own = address_of(str(settings.get("address", "")))
        except ValueError:
            text = f"settings.address must be DEVICE-SUBDEVICE-CHANNEL, like 21-1-4, not {settings.get('address')!r}"
            raise DocumentError("E-SIMULATION", where, text) from None
        device, sub, number = own
        cells = self._model.series_cells
        channels: dict[Address, Channel] = {}
        if cells == 1:
            channels[own] = Channel(self.world)
        else:
            first = CHANNELS_EACH * (sub - 1)
            for cell in range(first, min(first + CHANNELS_EACH, cells)):
                at = (device, sub, cell - first + 1)
                channels[at] = Channel(bench_of(self.world.pack, cell, self._timeline.now, self.world.ambient_degc))
        if own not in channels:
            text = f"no cell on channel {number} of sub-device {sub}: of {cells} cells, eight are on each"
            raise DocumentError("E-SIMULATION", where, text)
        user, password = CREDENTIALS
        credentials = str(settings.get("user", user)), str(settings.get("password", password))
        return NewareBts(channels, own, _step_files(settings), credentials)

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

    @property
    def wiring(self) -> Wiring:
        """What the servers of a line need of this station."""
        return Wiring(self.name, self._config.instruments, self.devices, self._timeline, self._state_dir)

    @asynccontextmanager
    async def serve(self, free_ports: bool = False) -> AsyncIterator[dict[str, LinkConfig]]:
        """Start the servers of this station alone; yields the links that lead to them. Raises as serving_line does."""
        async with serving_line([self.wiring], free_ports) as links:
            yield links[self.name]


def _check_kind(where: str, driver: str, kind: str) -> FaultKind:
    """The kind, when an instrument of this driver can have that fault."""
    kinds = kinds_of(driver)
    for known in kinds:
        if known == kind:
            return known
    raise DocumentError("E-SIMULATION", where, f"no fault {kind!r}; it can have {', '.join(sorted(kinds))}")


def _channels(instrument: InstrumentConfig, where: str) -> list[int]:
    """The channels with thermocouples, from `settings: {channels: [101, 102]}`."""
    channels = instrument.settings.get("channels", list(CHANNELS[:16]))
    if not isinstance(channels, list) or not channels or not all(type(c) is int and c in CHANNELS for c in channels):
        text = f"settings.channels must be a list of channels 101..120 and 201..220, not {channels!r}"
        raise DocumentError("E-SIMULATION", where, text)
    if len(set(channels)) != len(channels):
        raise DocumentError("E-SIMULATION", where, f"settings.channels names a channel twice: {channels!r}")
    return channels


def _setting(instrument: InstrumentConfig, where: str, name: str, most: int) -> int | None:
    """A whole number from 1 of the settings, like an address on RS-485; None without one."""
    value = instrument.settings.get(name)
    if value is not None and not (type(value) is int and 1 <= value <= most):
        raise DocumentError("E-SIMULATION", where, f"settings.{name} must be a whole number 1..{most}, not {value!r}")
    return value


def _step_files(settings: Mapping[str, Any]) -> Callable[[str], bytes]:
    """Reads a step file by the path that the server's own computer has for it: `bts_folder` is `folder` there."""
    folder, there = (str(settings.get(name, "")) for name in ("folder", "bts_folder"))

    def read(path: str) -> bytes:
        if there and path.startswith(there):
            return (Path(folder) / re.split(r"[\\/]", path)[-1]).read_bytes()
        return Path(path).read_bytes()

    return read


def _meter(instrument: InstrumentConfig, where: str) -> Ordered:
    """What was ordered, from `settings: {range_ohm: 0.3, max_voltage_v: 450}`; without them, the catalogue's meter."""
    voltage = instrument.settings.get("max_voltage_v", CATALOGUE_VOLTAGE)
    if type(voltage) not in (int, float) or not voltage > 0:
        raise DocumentError("E-SIMULATION", where, f"settings.max_voltage_v must be a voltage above 0, not {voltage!r}")
    to_order = voltage > CATALOGUE_VOLTAGE or instrument.settings.get("range_ohm") in ORDERED_RANGES
    return Ordered(ORDERED_RANGES, voltage) if to_order else Ordered()


def _units(instrument: InstrumentConfig, where: str) -> list[int]:
    """The module addresses on the bus, from `settings: {units: [1, 2]}`."""
    units = instrument.settings.get("units", [1])
    if not isinstance(units, list) or not units or not all(type(u) is int and 1 <= u <= 247 for u in units):
        raise DocumentError("E-SIMULATION", where, f"settings.units must be a list of addresses 1..247, not {units!r}")
    if len(set(units)) != len(units):
        raise DocumentError("E-SIMULATION", where, f"settings.units names an address twice: {units!r}")
    return units
