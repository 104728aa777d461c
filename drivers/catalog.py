"""Every driver by the name that line files use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from drivers.bms_gateway import BmsGateway
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

LINK_KINDS = {"text": "visa, serial or xml_tcp", "registers": "modbus_tcp or modbus_rtu"}
SettingKind = Literal["number", "integer", "text", "integers", "text or integers"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of `settings:` in a line file, with its unit, and the driver's parameter without it."""

    parameter: str
    kind: SettingKind
    required: bool = False


@dataclass(frozen=True, slots=True)
class DriverEntry:
    """role is the key that a station gives the instrument; link says which kind of link the driver talks over.

    capabilities: what it can do of the things a recipe may need of its role.
    """

    name: str
    role: str
    link: Literal["text", "registers"]
    driver: Callable[..., Instrument]
    settings: Mapping[str, Setting] = field(default_factory=dict)
    capabilities: frozenset[str] = frozenset()

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


CATALOG: Mapping[str, DriverEntry] = {
    entry.name: entry
    for entry in (
        DriverEntry("ea_bt20000", "cycler", "registers", EaBt20000, {"unit": Setting("unit", "integer")}),
        DriverEntry("ea_psb10000", "cycler", "text", EaPsb10000),
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
        ),
        DriverEntry(
            "gwinstek_gpt9800",
            "insulation_tester",
            "text",
            GwInstekGpt9800,
            {"max_voltage_v": Setting("max_voltage", "number", required=True)},
            frozenset({"insulation"}),
        ),
        DriverEntry("espec_p300", "chamber", "text", EspecP300, {"address": Setting("address", "integer")}),
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
        ),
        DriverEntry("julabo_cf", "chiller", "text", JulaboCf, {"address": Setting("address", "integer")}),
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
        ),
        DriverEntry(
            "keysight_34461a",
            "voltmeter",
            "text",
            Keysight34461A,
            {"range_v": Setting("voltage_range", "number"), "nplc": Setting("cycles", "number")},
        ),
        DriverEntry(
            "keyence_sr1000", "code_reader", "text", KeyenceSr1000, {"read_error": Setting("read_error", "text")}
        ),
        DriverEntry(
            "icpdas_tm_th8",
            "temperature_scanner",
            "registers",
            IcpdasTmTh8,
            {"units": Setting("units", "integers", required=True)},
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
        ),
        DriverEntry(
            "plc_interlock",
            "interlock",
            "registers",
            PlcInterlock,
            {"heartbeat_timeout_s": Setting("heartbeat_timeout", "number")},
        ),
        DriverEntry(
            "bms_gateway",
            "battery_monitor",
            "registers",
            BmsGateway,
            capabilities=frozenset({"cell_voltages", "insulation"}),
        ),
    )
}
