"""The simulators behind the drivers of a line file, and how each is set up from an instrument's settings."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from config.documents import DocumentError
from config.dut import DutModel
from config.line import InstrumentConfig, ModbusRtuLinkConfig, StationConfig
from config.simulation import DrawnFaults, FaultKind
from simulators.bms_gateway import MAX_CELLS, BmsGateway
from simulators.bt3562 import MODELS, Bt3562Instrument
from simulators.bt4560 import CATALOGUE_VOLTAGE, ORDERED_RANGES, Bt4560Instrument
from simulators.bt4560 import MODELS as BT4560_MODELS
from simulators.bt4560 import Meter as Ordered
from simulators.bt20000_modbus import BtInstrument
from simulators.daq6510 import CHANNELS
from simulators.daq6510_scpi import DaqInstrument
from simulators.espec_p300 import P300, P300Bus
from simulators.faults import WIRE, WIRE_OF_REGISTERS, WIRE_OF_RTU, Draw, Texts
from simulators.gpt9800 import MODELS as GPT_MODELS
from simulators.gpt9800 import GptInstrument
from simulators.julabo_cf import MODELS as JULABO_MODELS
from simulators.julabo_cf import JulaboCf
from simulators.keysight_34461a import KeysightInstrument
from simulators.leads import Leads
from simulators.neware_bts import CREDENTIALS, Address, NewareBts, address_of
from simulators.neware_channel import Channel
from simulators.plc import PlcInterlock
from simulators.psb10000_scpi import PsbInstrument
from simulators.single_cells import bench_of
from simulators.sm15k import DEFAULT_MODEL as DEFAULT_SM15K
from simulators.sm15k_scpi import Sm15kInstrument
from simulators.sr1000 import NOT_READ, Sr1000
from simulators.tm_th8 import Th8Bus
from simulators.watlow_f4t import EVENTS, LOOPS, SERIAL, F4t
from simulators.world import World

Meter = Bt3562Instrument | Bt4560Instrument | DaqInstrument | KeysightInstrument | GptInstrument
TextInstrument = PsbInstrument | Sm15kInstrument | Meter | P300Bus | JulaboCf | NewareBts | Sr1000
Acting = (
    PsbInstrument
    | Sm15kInstrument
    | BtInstrument
    | Bt4560Instrument
    | GptInstrument
    | NewareBts
    | PlcInterlock
    | Sr1000
)
Device = TextInstrument | BtInstrument | Th8Bus | F4t | PlcInterlock | BmsGateway

# the simulator of each driver, as line files name them
DEVICES: Mapping[str, type[Device]] = {
    "ea_psb10000": PsbInstrument,
    "ea_bt20000": BtInstrument,
    "delta_sm15k": Sm15kInstrument,
    "hioki_bt3562": Bt3562Instrument,
    "hioki_bt4560": Bt4560Instrument,
    "keithley_daq6510": DaqInstrument,
    "keysight_34461a": KeysightInstrument,
    "gwinstek_gpt9800": GptInstrument,
    "espec_p300": P300Bus,
    "watlow_f4t": F4t,
    "julabo_cf": JulaboCf,
    "neware_bts": NewareBts,
    "keyence_sr1000": Sr1000,
    "icpdas_tm_th8": Th8Bus,
    "plc_interlock": PlcInterlock,
    "bms_gateway": BmsGateway,
}

DEFAULT_SERIAL = "2023120002"
DEFAULT_DAQ_SERIAL = "04340543"
DEFAULT_GPT_SERIAL = "GEW824711000"
DEFAULT_DMM_SERIAL = "MY53219001"
# of a sub-device of a cell cycler
CHANNELS_EACH = 8


class Equipment:
    """Makes the devices of one station. Raises DocumentError (E-SIMULATION) for what cannot be simulated."""

    def __init__(
        self, station: str, config: StationConfig, model: DutModel, now: Callable[[], float], seed: Callable[[str], int]
    ) -> None:
        """`seed` draws a number for each name."""
        self.name = station
        self.model = model
        self._config = config
        self._now = now
        self._seed_of = seed

    def device(self, key: str, world: World, leads: Callable[[World], World]) -> Device:
        """An instrument around a world, which it sees through `leads`."""
        whole, world = world, leads(world)
        instrument, where = self._config.instruments[key], f"{self.name}/{key}"
        match instrument.driver:
            case "ea_psb10000":
                return PsbInstrument(world, instrument.serial or DEFAULT_SERIAL)
            case "ea_bt20000":
                return BtInstrument(world, instrument.serial or DEFAULT_SERIAL)
            case "delta_sm15k":
                units = _setting(instrument, where, "units", 10) or 1
                return _sm15k(world, instrument, where, units)
            case "hioki_bt3562":
                model = instrument.model if instrument.model in MODELS else "BT3562"
                return Bt3562Instrument(world, self._probed(), self._seed_of(key), model)
            case "hioki_bt4560":
                model = instrument.model if instrument.model in BT4560_MODELS else BT4560_MODELS[0]
                cells = self._probed() or (0, self.model.series_cells - 1)
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
                return self._cell_cycler(whole, leads, instrument, where)
            case "keyence_sr1000":
                return Sr1000(world, str(instrument.settings.get("read_error", NOT_READ)))
            case "icpdas_tm_th8":
                return Th8Bus(world, _units(instrument, where))
            case "plc_interlock":
                return PlcInterlock(world)
            case "bms_gateway":
                if self.model.series_cells > MAX_CELLS:
                    text = f"{self.model.id} has more than the {MAX_CELLS} cells of the gateway's map"
                    raise DocumentError("E-SIMULATION", where, text)
                return BmsGateway(world, self.model)
            case driver:
                raise DocumentError("E-SIMULATION", where, f"there is no simulator for {driver!r}")

    def _probed(self) -> tuple[int, int] | None:
        """First and last cell between the impedance probes, from 0; None when the line file names none."""
        probes = self._config.impedance_probe_cells
        if probes and not 1 <= probes[0] <= probes[1] <= self.model.series_cells:
            text = f"impedance_probe_cells {list(probes)} are not cells 1..{self.model.series_cells}"
            raise DocumentError("E-SIMULATION", f"station {self.name}", text)
        return (probes[0] - 1, probes[1] - 1) if probes else None

    def _cell_cycler(
        self, world: World, leads: Callable[[World], World], instrument: InstrumentConfig, where: str
    ) -> NewareBts:
        """A battery of one cell is at the channel that is addressed, behind the station's contactor; of another, each
        cell is on a channel of its own: 1 to 8 on the first sub-device, 9 to 16 on the second."""
        settings = instrument.settings
        try:
            own = address_of(str(settings.get("address", "")))
        except ValueError:
            text = f"settings.address must be DEVICE-SUBDEVICE-CHANNEL, like 21-1-4, not {settings.get('address')!r}"
            raise DocumentError("E-SIMULATION", where, text) from None
        device, sub, number = own
        cells = self.model.series_cells
        channels: dict[Address, Channel] = {}
        if cells == 1:
            channels[own] = Channel(leads(world))
        else:
            first = CHANNELS_EACH * (sub - 1)
            for cell in range(first, min(first + CHANNELS_EACH, cells)):
                at = (device, sub, cell - first + 1)
                bench = bench_of(world.pack, cell, self._now, world.ambient_degc)
                channels[at] = Channel(leads(bench) if at == own else bench)
        if own not in channels:
            text = f"no cell on channel {number} of sub-device {sub}: of {cells} cells, eight are on each"
            raise DocumentError("E-SIMULATION", where, text)
        user, password = CREDENTIALS
        credentials = str(settings.get("user", user)), str(settings.get("password", password))
        return NewareBts(channels, own, _step_files(settings), credentials)


def hold_cells(cycler: NewareBts, world: World, now: Callable[[], float]) -> None:
    """The cells of another battery on the channels; what runs on them ends."""
    first = min(CHANNELS_EACH * (sub - 1) for _, sub, _ in cycler.channels)
    for cell, channel in enumerate(cycler.channels.values(), first):
        channel.forget()
        bench = bench_of(world.pack, cell, now, world.ambient_degc)
        if isinstance(channel.world, Leads):
            channel.world.connect(bench)
        else:
            channel.world = bench


def kinds_of(instrument: InstrumentConfig) -> Texts:
    """The faults that an instrument can have where it is, and what they are."""
    device = DEVICES[instrument.driver]
    kinds = {**WIRE, **device.FAULTS}
    if not issubclass(device, TextInstrument):
        kinds |= WIRE_OF_REGISTERS
    return {**kinds, **WIRE_OF_RTU} if isinstance(instrument.link, ModbusRtuLinkConfig) else kinds


def check_kind(where: str, instrument: InstrumentConfig, kind: str) -> FaultKind:
    """The kind, when this instrument can have that fault."""
    kinds = kinds_of(instrument)
    for known in kinds:
        if known == kind:
            return known
    elsewhere = {**WIRE_OF_REGISTERS, **WIRE_OF_RTU}
    why = f" on a {instrument.link.kind} link" if kind in elsewhere else ""
    raise DocumentError("E-SIMULATION", where, f"no fault {kind!r}{why}; it can have {', '.join(sorted(kinds))}")


def draw_of(drawn: DrawnFaults, instrument: InstrumentConfig) -> Draw:
    """Of the kinds that are named, those that this instrument can have; in an order that never changes."""
    kinds = sorted(kind for kind in kinds_of(instrument) if not drawn.kinds or kind in drawn.kinds)
    return Draw(kinds, drawn.mean_interval_s, drawn.mean_duration_s)


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


def _sm15k(world: World, instrument: InstrumentConfig, where: str, units: int) -> Sm15kInstrument:
    try:
        return Sm15kInstrument(world, instrument.serial or DEFAULT_SERIAL, instrument.model or DEFAULT_SM15K, units)
    except ValueError as error:
        raise DocumentError("E-SIMULATION", where, str(error)) from None


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
