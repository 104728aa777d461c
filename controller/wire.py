"""Links on real wires, as the line file names them."""

from __future__ import annotations

from config import InstrumentConfig
from config.line import ModbusRtuLinkConfig, ModbusTcpLinkConfig, SerialLinkConfig, VisaLinkConfig
from drivers.links import Link, ModbusRtuLink, ModbusTcpLink, SerialLink, VisaLink


def wire_links(key: str, instrument: InstrumentConfig) -> Link:
    """The link of one instrument; not opened yet."""
    match instrument.link:
        case VisaLinkConfig(address=address, timeout_s=timeout, spacing_s=spacing):
            return VisaLink(address, timeout=timeout, spacing=spacing)
        case SerialLinkConfig(port=port, baudrate=baudrate, timeout_s=timeout):
            return SerialLink(port, baudrate=baudrate, timeout=timeout)
        case ModbusTcpLinkConfig(host=host, port=number, timeout_s=timeout):
            return ModbusTcpLink(host, number, timeout=timeout)
        case ModbusRtuLinkConfig(port=port, baudrate=baudrate, timeout_s=timeout):
            return ModbusRtuLink(port, baudrate=baudrate, timeout=timeout)
