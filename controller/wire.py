"""A line file and the wires it names: its drivers exist, take their settings, and get the links it describes."""

from __future__ import annotations

from pathlib import Path

from config import InstrumentConfig, LineConfig, read_document, validate_line
from config.line import ModbusRtuLinkConfig, ModbusTcpLinkConfig, SerialLinkConfig, VisaLinkConfig
from drivers import CATALOG
from drivers.errors import ConfigError
from drivers.links import Link, ModbusRtuLink, ModbusTcpLink, SerialLink, VisaLink


def wire_links(key: str, instrument: InstrumentConfig) -> Link:
    """The link of one instrument; not opened yet."""
    match instrument.link:
        case VisaLinkConfig(address=address, terminator=terminator, timeout_s=timeout, spacing_s=spacing):
            return VisaLink(address, terminator=terminator, timeout=timeout, spacing=spacing)
        case SerialLinkConfig(port=port, baudrate=baudrate, timeout_s=timeout):
            return SerialLink(port, baudrate=baudrate, timeout=timeout)
        case ModbusTcpLinkConfig(host=host, port=number, timeout_s=timeout):
            return ModbusTcpLink(host, number, timeout=timeout)
        case ModbusRtuLinkConfig(port=port, baudrate=baudrate, timeout_s=timeout):
            return ModbusRtuLink(port, baudrate=baudrate, timeout=timeout)


def load_wired_line(path: Path) -> LineConfig:
    """A line file whose instruments can all be made; raises DocumentError with line and column. Opens nothing."""
    document = read_document(path)
    line = validate_line(document)
    for station, config in line.stations.items():
        for key, instrument in config.instruments.items():
            place = ("stations", station, "instruments", key)
            entry = CATALOG.get(instrument.driver)
            if entry is None:
                known = ", ".join(sorted(CATALOG))
                message = f"there is no driver {instrument.driver!r}; known are {known}"
                raise document.error("E-CONFIG", (*place, "driver"), message)
            if entry.role != key:
                message = f"the driver {entry.name} is for the {entry.role}, this is the {key}"
                raise document.error("E-CONFIG", (*place, "driver"), message)
            try:
                entry.make(wire_links(key, instrument), instrument.model, instrument.serial, instrument.settings)
            except ConfigError as error:
                raise document.error("E-CONFIG", place, f"{station}/{key}: {error}") from None
    return line
