"""How bytes and registers reach an instrument. The instrument libraries live here and nowhere else."""

from drivers.links.memory import MemoryRegisterLink, MemoryTextLink, script
from drivers.links.modbus import ModbusRtuLink, ModbusTcpLink
from drivers.links.registers import RegisterLink
from drivers.links.serial_port import SerialLink
from drivers.links.shared import SharedTextLink
from drivers.links.text import TextLink
from drivers.links.visa import VisaLink
from drivers.links.watched import WatchedLink, WatchedRegisterLink, WatchedTextLink, watched
from drivers.links.xml_tcp import XmlTcpLink

Link = TextLink | RegisterLink

__all__ = [
    "Link",
    "MemoryRegisterLink",
    "MemoryTextLink",
    "ModbusRtuLink",
    "ModbusTcpLink",
    "RegisterLink",
    "SerialLink",
    "SharedTextLink",
    "TextLink",
    "VisaLink",
    "WatchedLink",
    "WatchedRegisterLink",
    "WatchedTextLink",
    "XmlTcpLink",
    "script",
    "watched",
]
