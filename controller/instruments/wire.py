"""A line file and the wires it names: its drivers exist, take their settings, and get the links it describes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from config import Document, DocumentError, InstrumentConfig, LineConfig, read_document, validate_line
from config.documents import MAX_LINE_VALUES, FaultyDocumentError
from config.line import (
    ModbusRtuLinkConfig,
    ModbusTcpLinkConfig,
    SerialLinkConfig,
    VisaLinkConfig,
    XmlTcpLinkConfig,
)
from drivers import CATALOG
from drivers.errors import ConfigError
from drivers.links import (
    Link,
    ModbusRtuLink,
    ModbusTcpLink,
    SerialLink,
    SharedTextLink,
    TextLink,
    VisaLink,
    XmlTcpLink,
)

BUS_REST = 5  # timeouts that a bus is left to the others when one instrument on it does not answer


class Wires:
    """The links of one line, not opened yet: one an instrument, and one for all that share a bus."""

    def __init__(self) -> None:
        self._buses: dict[object, SharedTextLink] = {}

    def __call__(self, key: str, instrument: InstrumentConfig) -> Link:
        link = instrument.link
        match link:
            case VisaLinkConfig(address=address, terminator=terminator, timeout_s=timeout, spacing_s=spacing):
                return VisaLink(address, terminator=terminator, timeout=timeout, spacing=spacing)
            case ModbusTcpLinkConfig(host=host, port=number, timeout_s=timeout):
                return ModbusTcpLink(host, number, timeout=timeout)
            case ModbusRtuLinkConfig(port=port, baudrate=baudrate, timeout_s=timeout):
                return ModbusRtuLink(port, baudrate=baudrate, timeout=timeout)
            case SerialLinkConfig() | XmlTcpLinkConfig():
                if not instrument.is_shared:
                    return _text_link(link)
                bus = self._buses.get(link.where)
                if bus is None:
                    bus = self._buses[link.where] = SharedTextLink(_text_link(link), rest=BUS_REST * link.timeout_s)
                return bus.member()


def _text_link(link: SerialLinkConfig | XmlTcpLinkConfig) -> TextLink:
    if isinstance(link, XmlTcpLinkConfig):
        return XmlTcpLink(link.host, link.port, timeout=link.timeout_s)
    return SerialLink(
        link.port,
        baudrate=link.baudrate,
        terminator=link.terminator,
        timeout=link.timeout_s,
        spacing=link.spacing_s,
    )


def load_wired_line(path: Path) -> LineConfig:
    """A line file whose instruments can all be made; raises DocumentError with line and column. Opens nothing."""
    document = read_document(path, MAX_LINE_VALUES)
    line = validate_line(document)
    if faults := list(_faults(document, line)):
        raise FaultyDocumentError(faults)
    return line


def _faults(document: Document, line: LineConfig) -> Iterator[DocumentError]:
    wires = Wires()
    for station, config in line.stations.items():
        for key, instrument in config.instruments.items():
            place = ("stations", station, "instruments", key)
            try:
                entry = CATALOG.get(instrument.driver)
            except ConfigError as error:  # another package's, and something is wrong with it
                yield document.error("E-CONFIG", (*place, "driver"), str(error))
                continue
            if entry is None:
                known = ", ".join(sorted(CATALOG))
                message = f"there is no driver {instrument.driver!r}; known are {known}"
                yield document.error("E-CONFIG", (*place, "driver"), message)
            elif entry.role != key:
                message = f"the driver {entry.name} is for the {entry.role}, this is the {key}"
                yield document.error("E-CONFIG", (*place, "driver"), message)
            else:
                try:
                    entry.make(wires(key, instrument), instrument.model, instrument.serial, instrument.settings)
                except ConfigError as error:
                    yield document.error("E-CONFIG", place, f"{station}/{key}: {error}")
