"""The catalog builds every driver of a line file and refuses settings it does not know."""

from __future__ import annotations

import subprocess
import sys

import pytest

from drivers import CATALOG, ConfigError, InstrumentError, LinkError
from drivers.links import Link, MemoryRegisterLink, MemoryTextLink


def link(kind: str) -> Link:
    return MemoryTextLink(lambda sent: b"") if kind == "text" else MemoryRegisterLink(lambda unit, pdu: None)


@pytest.mark.parametrize(
    ("name", "role", "settings"),
    [
        ("ea_bt20000", "cycler", {"unit": 1}),
        ("ea_psb10000", "cycler", {}),
        ("delta_sm15k", "cycler", {"units": 2}),
        ("hioki_bt3562", "impedance_meter", {"resistance_ohm": 0.03, "voltage_v": 45, "rate": "SLOW"}),
        ("hioki_bt4560", "spectrum_meter", {}),
        ("hioki_bt4560", "spectrum_meter", {"range_ohm": 0.3, "max_voltage_v": 20, "rate": "SLOW"}),
        ("gwinstek_gpt9800", "insulation_tester", {"max_voltage_v": 500}),
        ("espec_p300", "chamber", {}),
        ("espec_p300", "chamber", {"address": 2}),
        ("watlow_f4t", "chamber", {}),
        ("watlow_f4t", "chamber", {"unit": 2, "loop": 2, "event": 1}),
        ("julabo_cf", "chiller", {}),
        ("julabo_cf", "chiller", {"address": 32}),
        ("neware_bts", "cell_cycler", {"address": "21-1-4", "folder": "/steps"}),
        (
            "neware_bts",
            "cell_cycler",
            {"address": "21-1-4", "folder": "/steps", "bts_folder": "D:\\steps", "user": "line", "password": "secret"},
        ),
        ("keysight_34461a", "voltmeter", {}),
        ("keysight_34461a", "voltmeter", {"range_v": 10, "nplc": 0.2}),
        ("keyence_sr1000", "code_reader", {"read_error": "NG"}),
        ("icpdas_tm_th8", "temperature_scanner", {"units": [1, 2]}),
        ("keithley_daq6510", "temperature_scanner", {"channels": "101:108", "thermistor_ohm": 5000}),
        ("keithley_daq6510", "temperature_scanner", {"channels": [101, 102], "thermocouple": "T"}),
        ("plc_interlock", "interlock", {"heartbeat_timeout_s": 3}),
        ("bms_gateway", "battery_monitor", {}),
    ],
)
async def test_every_driver_by_name(name: str, role: str, settings: dict[str, object]) -> None:
    entry = CATALOG[name]
    assert entry.role == role
    driver = entry.make(link(entry.link), "", "", settings)
    with pytest.raises(LinkError):
        await driver.connect()
    await driver.close()


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("ea_psb10000", {"unit": 1}, "unknown setting 'unit' of driver ea_psb10000; known: none"),
        ("icpdas_tm_th8", {"unit": 1}, "unknown setting 'unit' of driver icpdas_tm_th8; known: units"),
        ("icpdas_tm_th8", {}, "driver icpdas_tm_th8 needs the setting 'units' (integers)"),
        ("icpdas_tm_th8", {"units": [1, True]}, "setting units of driver icpdas_tm_th8 must be integers"),
        ("hioki_bt3562", {"rate": 3}, "setting rate of driver hioki_bt3562 must be text, not 3"),
        ("ea_bt20000", {"unit": 1.0}, "must be integer, not 1.0"),
        ("keithley_daq6510", {"channels": 101}, "must be text or integers, not 101"),
        ("plc_interlock", {"heartbeat_timeout_s": "3"}, "must be number"),
        ("gwinstek_gpt9800", {}, "driver gwinstek_gpt9800 needs the setting 'max_voltage_v' (number)"),
        ("espec_p300", {"address": "2"}, "must be integer, not '2'"),
        ("julabo_cf", {"address": "A032"}, "must be integer, not 'A032'"),
        ("neware_bts", {"address": "21-1-4"}, "driver neware_bts needs the setting 'folder' (text)"),
        ("neware_bts", {"folder": "/steps"}, "driver neware_bts needs the setting 'address' (text)"),
        ("keysight_34461a", {"range": 10}, "unknown setting 'range' of driver keysight_34461a; known: range_v, nplc"),
    ],
)
def test_settings_are_strict(name: str, settings: dict[str, object], message: str) -> None:
    entry = CATALOG[name]
    with pytest.raises(ConfigError) as caught:
        entry.make(link(entry.link), "", "", settings)
    assert message in str(caught.value)


def test_a_link_of_the_wrong_kind_is_named() -> None:
    with pytest.raises(ConfigError, match="modbus_tcp or modbus_rtu"):
        CATALOG["plc_interlock"].make(link("text"), "", "", {})
    with pytest.raises(ConfigError, match="visa, serial or xml_tcp"):
        CATALOG["ea_psb10000"].make(link("registers"), "", "", {})


def test_an_error_names_its_instrument_in_one_line() -> None:
    error = InstrumentError("first\nsecond", instrument="cycler")
    assert str(error) == "cycler: first second"


def test_importing_drivers_loads_no_instrument_library() -> None:
    check = "import sys, drivers; print([m for m in ('pyvisa', 'serial', 'pymodbus') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
