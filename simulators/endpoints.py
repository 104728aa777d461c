"""Where a simulated instrument listens, from the link that a line file gives to its driver."""

from __future__ import annotations

import re
import termios
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from config.documents import DocumentError
from config.line import (
    LinkConfig,
    ModbusRtuLinkConfig,
    ModbusTcpLinkConfig,
    SerialLinkConfig,
    VisaLinkConfig,
    XmlTcpLinkConfig,
)

_VISA_SOCKET = re.compile(r"TCPIP\d*::(?P<host>[^:\[\]]+)::(?P<port>\d+)::SOCKET", re.IGNORECASE)
_VISA_VXI11 = re.compile(r"TCPIP\d*::(?P<host>[^:\[\],]+),(?P<port>\d+)::inst0::INSTR", re.IGNORECASE)
_VISA_HISLIP = re.compile(r"TCPIP\d*::(?P<host>[^:\[\],]+)::hislip0(,(?P<port>\d+))?(::INSTR)?", re.IGNORECASE)
_VISA_SERIAL = re.compile(r"ASRL(?P<port>.+?)(::INSTR)?", re.IGNORECASE)
VISA_BAUDRATE = 9600
HISLIP_PORT = 4880


@dataclass(frozen=True)
class TcpEndpoint:
    """A TCP address and the link that leads to it; what a text instrument says is in messages of the protocol."""

    link: LinkConfig
    host: str
    port: int
    protocol: Literal["bytes", "vxi11", "hislip"] = "bytes"

    def link_to(self, port: int) -> LinkConfig:
        """The same link with the port that is really listened on."""
        if isinstance(self.link, ModbusTcpLinkConfig | XmlTcpLinkConfig):
            return self.link.model_copy(update={"host": self.host, "port": port})
        if isinstance(self.link, VisaLinkConfig):
            if self.protocol == "vxi11":
                return self.link.model_copy(update={"address": f"TCPIP::{self.host},{port}::inst0::INSTR"})
            if self.protocol == "hislip":
                return self.link.model_copy(update={"address": f"TCPIP::{self.host}::hislip0,{port}::INSTR"})
            is_serial = self.link.address.upper().startswith("ASRL")
            address = f"ASRLsocket://{self.host}:{port}::INSTR" if is_serial else f"TCPIP::{self.host}::{port}::SOCKET"
            return self.link.model_copy(update={"address": address})
        return self.link.model_copy(update={"port": f"socket://{self.host}:{port}"})


@dataclass(frozen=True)
class PtyEndpoint:
    """A pseudo terminal behind a symbolic link at `path`; `speed` is termios' constant for the device's baud rate."""

    link: LinkConfig
    path: Path
    speed: int

    def link_to(self, path: Path) -> LinkConfig:
        if isinstance(self.link, VisaLinkConfig):
            return self.link.model_copy(update={"address": f"ASRL{path}::INSTR"})
        return self.link.model_copy(update={"port": str(path)})


Endpoint = TcpEndpoint | PtyEndpoint


def endpoint_of(link: LinkConfig, where: str) -> Endpoint:
    """The place to listen at; raises DocumentError (E-SIMULATION) for a link that cannot be simulated."""
    if isinstance(link, ModbusTcpLinkConfig | XmlTcpLinkConfig):
        return TcpEndpoint(link, link.host, link.port)
    if isinstance(link, VisaLinkConfig):
        socket = _VISA_SOCKET.fullmatch(link.address)
        if socket:
            return TcpEndpoint(link, socket["host"], int(socket["port"]))
        vxi11 = _VISA_VXI11.fullmatch(link.address)
        if vxi11:
            return TcpEndpoint(link, vxi11["host"], int(vxi11["port"]), "vxi11")
        hislip = _VISA_HISLIP.fullmatch(link.address)
        if hislip:
            return TcpEndpoint(link, hislip["host"], int(hislip["port"] or HISLIP_PORT), "hislip")
        serial = _VISA_SERIAL.fullmatch(link.address)
        if not serial:
            raise DocumentError(
                "E-SIMULATION",
                where,
                f"{link.address} cannot be simulated; use TCPIP::HOST::PORT::SOCKET, TCPIP::HOST,PORT::inst0::INSTR, "
                "TCPIP::HOST::hislip0,PORT::INSTR or ASRLPATH",
            )
        return _serial_endpoint(link, serial["port"], VISA_BAUDRATE, where)
    return _serial_endpoint(link, link.port, link.baudrate, where)


def _serial_endpoint(link: LinkConfig, port: str, baudrate: int, where: str) -> Endpoint:
    if port.startswith("socket://") and not isinstance(link, ModbusRtuLinkConfig):
        url = urlsplit(port)
        if not url.hostname or url.port is None:
            raise DocumentError("E-SIMULATION", where, f"{port} is not socket://HOST:PORT")
        return TcpEndpoint(link, url.hostname, url.port)
    if "://" in port:
        raise DocumentError("E-SIMULATION", where, f"{port} cannot be simulated; use the path of a serial port")
    speed = getattr(termios, f"B{baudrate}", None)
    if speed is None:
        raise DocumentError("E-SIMULATION", where, f"{baudrate} is not a baud rate of a serial port")
    return PtyEndpoint(link, Path(port), speed)


def reach(link: LinkConfig, unit: int = 1, table: int = 3) -> str:
    """A line for a shell that talks to this address with a public tool; table 3 is input registers, 4 holding ones."""
    if isinstance(link, ModbusTcpLinkConfig):
        return f"mbpoll -m tcp -p {link.port} -a {unit} -0 -t {table} -r 0 -c 2 -1 {link.host}"
    if isinstance(link, ModbusRtuLinkConfig):
        return f"mbpoll -m rtu -b {link.baudrate} -P none -a {unit} -0 -t 3 -r 0 -c 8 -1 {link.port}"
    endpoint = endpoint_of(link, "")
    if isinstance(endpoint, PtyEndpoint):
        return f"screen {endpoint.path} {link.baudrate if isinstance(link, SerialLinkConfig) else VISA_BAUDRATE}"
    if isinstance(link, VisaLinkConfig) and endpoint.protocol != "bytes":
        return f"pyvisa-shell -b py   then   open {link.address}   and   query *IDN?"
    if isinstance(link, XmlTcpLinkConfig):
        login = "<username>admin</username><password>neware</password><type>bfgs</type>"
        messages = (f"<bts><cmd>connect</cmd>{login}</bts>", "<bts><cmd>getdevinfo</cmd></bts>")
        text = "".join(f"{message}\\n\\n#\\r\\n" for message in messages)
        return f"printf '{text}' | nc -w 2 {endpoint.host} {endpoint.port}"
    if link.terminator == "CR":
        # only code readers and circulators end their lines so
        word = "LON" if isinstance(link, VisaLinkConfig) else "STATUS"
        return f"printf '{word}\\r' | nc -w 2 {endpoint.host} {endpoint.port}"
    if link.terminator == "CRLF":
        # lxi ends lines with LF alone, which such an instrument does not take for an end
        return f"printf '*IDN?\\r\\n' | nc -w 2 {endpoint.host} {endpoint.port}"
    return f"lxi scpi -a {endpoint.host} -r -p {endpoint.port} '*IDN?'   or   nc {endpoint.host} {endpoint.port}"
