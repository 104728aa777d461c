"""Every driver by the name that line files use: ours, and those of other packages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from drivers.bms_gateway import BmsGateway
from drivers.delta_sm15k import DeltaSm15k
from drivers.ea_bt20000 import EaBt20000
from drivers.ea_psb10000 import EaPsb10000
from drivers.errors import ConfigError
from drivers.espec_p300 import EspecP300
from drivers.gwinstek_gpt9800 import GwInstekGpt9800
from drivers.hioki_bt3562 import HiokiBt3562
from drivers.hioki_bt4560 import HiokiBt4560
from drivers.icpdas_tm_th8 import IcpdasTmTh8
from drivers.julabo_cf import JulaboCf
from drivers.keithley_daq6510 import KeithleyDaq6510
from drivers.keyence_sr1000 import KeyenceSr1000
from drivers.keysight_34461a import Keysight34461A
from drivers.links import Link
from drivers.neware_bts import NewareBts
from drivers.plc_interlock import PlcInterlock
from drivers.roles import Instrument
from drivers.watlow_f4t import WatlowF4t

GROUP = "evaline.drivers"  # of the entry points that other packages offer, each a DriverEntry
LINK_KINDS = {"text": "visa, serial or xml_tcp", "registers": "modbus_tcp or modbus_rtu"}
SettingKind = Literal["number", "integer", "text", "integers", "text or integers"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of `settings:` in a line file, with its unit, and the driver's parameter without it."""

    parameter: str
    kind: SettingKind
    required: bool = False


@dataclass(frozen=True, slots=True)
class Probe:
    """How to look for an instrument where nobody knows what is there; the driver's identify() recognises it.

    link is what a line file has under `link:`, without the place; `address` of a visa link may name {host} and {port}.
    settings are what the driver needs to be made for the question, bus is the setting that takes a number on a bus.
    """

    link: Mapping[str, Any]
    settings: Mapping[str, object] = field(default_factory=dict)
    bus: str = ""


@dataclass(frozen=True, slots=True)
class DriverEntry:
    """role is the key that a station gives the instrument; link says which kind of link the driver talks over.

    capabilities: what it can do of the things a recipe may need of its role. Without probes it is never looked for.
    unit: on Modbus, the one that it has where no setting says so.
    """

    name: str
    role: str
    link: Literal["text", "registers"]
    driver: Callable[..., Instrument]
    settings: Mapping[str, Setting] = field(default_factory=dict)
    capabilities: frozenset[str] = frozenset()
    probes: tuple[Probe, ...] = ()
    unit: int = 1

    def make(self, link: Link, model: str, serial: str, settings: Mapping[str, object]) -> Instrument:
        """The driver over its link. Raises ConfigError for an unknown, missing or misfitting setting.

        model and serial are what connect() must find (IdentityError); empty means not checked.
        """
        if not hasattr(link, "query" if self.link == "text" else "read_coils"):
            raise ConfigError(f"driver {self.name} talks over a {LINK_KINDS[self.link]} link; correct link.kind")
        options: dict[str, Any] = {}
        for key, value in settings.items():
            if key not in self.settings:
                known = ", ".join(self.settings) or "none"
                raise ConfigError(f"unknown setting {key!r} of driver {self.name}; known: {known}")
            setting = self.settings[key]
            if not _fits(setting.kind, value):
                raise ConfigError(f"setting {key} of driver {self.name} must be {setting.kind}, not {value!r}")
            options[setting.parameter] = value
        for key, setting in self.settings.items():
            if setting.required and key not in settings:
                raise ConfigError(f"driver {self.name} needs the setting {key!r} ({setting.kind})")
        return self.driver(link, model, serial, **options)


def _fits(kind: SettingKind, value: object) -> bool:
    match kind:
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "text":
            return isinstance(value, str)
        case "integer":
            return type(value) is int
        case "integers":
            return isinstance(value, list | tuple) and all(type(item) is int for item in value)
        case "text or integers":
            return _fits("text", value) or _fits("integers", value)


class Catalog(Mapping[str, DriverEntry]):
    """Drivers by name. Other packages' are imported when they are asked for; what is wrong with one is a ConfigError.

    Two of one name are an error for whoever asks for it: which of them would talk to the instrument must not depend on
    the order of installation.
    """

    def __init__(self, own: Iterable[DriverEntry]) -> None:
        self._own = {entry.name: entry for entry in own}

    def __getitem__(self, name: str) -> DriverEntry:
        offered = _offered(tuple(sys.path)).get(name, ())
        packages = sorted(_package(point) for point in offered)
        if name in self._own:
            if offered:
                raise ConfigError(f"the package {packages[0]} offers a driver {name!r}, which is ours; remove it")
            return self._own[name]
        if not offered:
            raise KeyError(name)
        if len(offered) > 1:
            raise ConfigError(f"the packages {' and '.join(packages)} both offer a driver {name!r}; remove one")
        return self._loaded(offered[0])

    def __iter__(self) -> Iterator[str]:
        yield from self._own
        yield from _offered(tuple(sys.path)).keys() - self._own.keys()

    def __len__(self) -> int:
        return len(set(self))

    def _loaded(self, point: EntryPoint) -> DriverEntry:
        where = f"driver {point.name!r} of the package {_package(point)}"
        try:
            entry = point.load()
        except Exception as error:  # whatever a package does when it is imported
            raise ConfigError(
                f"the {where} cannot be imported: {type(error).__name__}: {error}; update or remove the package"
            ) from error
        roles = {entry.role for entry in self._own.values()}
        if not isinstance(entry, DriverEntry) or entry.name != point.name or entry.role not in roles:
            raise ConfigError(
                f"the {where} must be a DriverEntry of that name for one of the roles {', '.join(sorted(roles))}, "
                f"not {entry!r}"
            )
        return entry


@lru_cache(1)
def _offered(path: tuple[str, ...]) -> Mapping[str, tuple[EntryPoint, ...]]:
    """What the installed packages on sys.path offer, by name."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=GROUP):
        found[point.name] = (*found.get(point.name, ()), point)
    return found


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.module


SOCKET = "TCPIP::{host}::{port}::SOCKET"
HISLIP = "TCPIP::{host}::hislip0,{port}::INSTR"
VXI11 = "TCPIP::{host},{port}::inst0::INSTR"


def _visa(address: str, terminator: str = "LF") -> dict[str, Any]:
    return {"kind": "visa", "address": address, "terminator": terminator}


def _serial(*baudrates: int, terminator: str = "CRLF") -> list[dict[str, Any]]:
    return [{"kind": "serial", "baudrate": baudrate, "terminator": terminator} for baudrate in baudrates]


MODBUS_TCP, MODBUS_RTU = {"kind": "modbus_tcp"}, {"kind": "modbus_rtu", "baudrate": 9600}

CATALOG = Catalog(
    (
        DriverEntry(
            "ea_bt20000",
            "cycler",
            "registers",
            EaBt20000,
            {"unit": Setting("unit", "integer")},
            probes=(Probe(MODBUS_TCP, bus="unit"),),
            unit=0,
        ),
        DriverEntry(
            "delta_sm15k",
            "cycler",
            "text",
            DeltaSm15k,
            {"units": Setting("units", "integer")},
            probes=(Probe(_visa(SOCKET)),),
        ),
        DriverEntry("ea_psb10000", "cycler", "text", EaPsb10000, probes=(Probe(_visa(SOCKET)),)),
        DriverEntry(
            "hioki_bt3562",
            "impedance_meter",
            "text",
            HiokiBt3562,
            {
                "resistance_ohm": Setting("resistance", "number"),
                "voltage_v": Setting("voltage", "number"),
                "rate": Setting("rate", "text"),
            },
            frozenset({"acir"}),
            (Probe(_visa(SOCKET, "CRLF")), *map(Probe, _serial(9600, 19200, 38400))),
        ),
        DriverEntry(
            "hioki_bt4560",
            "spectrum_meter",
            "text",
            HiokiBt4560,
            {
                "range_ohm": Setting("resistance_range", "number"),
                "max_voltage_v": Setting("max_voltage", "number"),
                "rate": Setting("rate", "text"),
            },
            frozenset({"eis"}),
            tuple(map(Probe, _serial(9600, 19200, 38400))),
        ),
        DriverEntry(
            "gwinstek_gpt9800",
            "insulation_tester",
            "text",
            GwInstekGpt9800,
            {"max_voltage_v": Setting("max_voltage", "number", required=True)},
            frozenset({"insulation"}),
            tuple(Probe(link, {"max_voltage_v": 50}) for link in _serial(115200, 9600)),
        ),
        DriverEntry(
            "espec_p300",
            "chamber",
            "text",
            EspecP300,
            {"address": Setting("address", "integer")},
            probes=tuple(Probe(link, bus="address") for link in _serial(9600, 19200)),
        ),
        DriverEntry(
            "watlow_f4t",
            "chamber",
            "registers",
            WatlowF4t,
            {
                "unit": Setting("unit", "integer"),
                "loop": Setting("loop", "integer"),
                "event": Setting("event", "integer"),
            },
            probes=(Probe(MODBUS_TCP, bus="unit"),),
        ),
        DriverEntry(
            "julabo_cf",
            "chiller",
            "text",
            JulaboCf,
            {"address": Setting("address", "integer")},
            probes=tuple(Probe(link, bus="address") for link in _serial(4800, terminator="CR")),
        ),
        DriverEntry(
            "neware_bts",
            "cell_cycler",
            "text",
            NewareBts,
            {
                "address": Setting("address", "text", required=True),
                "folder": Setting("folder", "text", required=True),
                "bts_folder": Setting("bts_folder", "text"),
                "user": Setting("user", "text"),
                "password": Setting("password", "text"),
            },
            probes=(Probe({"kind": "xml_tcp"}, {"address": "0-0-0", "folder": "."}),),
        ),
        DriverEntry(
            "keysight_34461a",
            "voltmeter",
            "text",
            Keysight34461A,
            {"range_v": Setting("voltage_range", "number"), "nplc": Setting("cycles", "number")},
            probes=(Probe(_visa(HISLIP)), Probe(_visa(SOCKET))),
        ),
        DriverEntry(
            "keyence_sr1000",
            "code_reader",
            "text",
            KeyenceSr1000,
            {"read_error": Setting("read_error", "text")},
            probes=(Probe(_visa(SOCKET, "CR")),),
        ),
        DriverEntry(
            "icpdas_tm_th8",
            "temperature_scanner",
            "registers",
            IcpdasTmTh8,
            {"units": Setting("units", "integers", required=True)},
            probes=(Probe(MODBUS_RTU, {"units": [1]}, bus="units"),),
        ),
        DriverEntry(
            "keithley_daq6510",
            "temperature_scanner",
            "text",
            KeithleyDaq6510,
            {
                "channels": Setting("channels", "text or integers", required=True),
                "thermocouple": Setting("thermocouple", "text"),
                "thermistor_ohm": Setting("thermistor", "number"),
            },
            probes=tuple(Probe(_visa(address), {"channels": "101"}) for address in (SOCKET, VXI11)),
        ),
        DriverEntry(
            "plc_interlock",
            "interlock",
            "registers",
            PlcInterlock,
            {"heartbeat_timeout_s": Setting("heartbeat_timeout", "number")},
            probes=(Probe(MODBUS_TCP),),
        ),
        DriverEntry(
            "bms_gateway",
            "battery_monitor",
            "registers",
            BmsGateway,
            capabilities=frozenset({"cell_voltages", "insulation"}),
            probes=(Probe(MODBUS_TCP),),
        ),
    )
)
