"""Which links the instruments of a line get: one each, and one for all that share a bus."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from config import InstrumentConfig
from controller.instruments.wire import Wires
from drivers.espec_p300 import EspecP300
from drivers.links import Link, ModbusRtuLink, ModbusTcpLink, SerialLink, TextLink, VisaLink, XmlTcpLink
from tests.drivers.peers import Pty, pty_peer


def instrument(link: dict[str, Any], **settings: object) -> InstrumentConfig:
    return InstrumentConfig.model_validate({"driver": "any", "link": link, "settings": settings})


@pytest.mark.parametrize(
    ("link", "kind", "name"),
    [
        ({"kind": "visa", "address": "TCPIP::10.0.0.7::hislip0::INSTR"}, VisaLink, "TCPIP::10.0.0.7::hislip0::INSTR"),
        (
            {"kind": "serial", "port": "socket://10.0.0.7:4001", "terminator": "CR"},
            SerialLink,
            "socket://10.0.0.7:4001",
        ),
        ({"kind": "xml_tcp", "host": "10.0.0.7"}, XmlTcpLink, "10.0.0.7:502"),
        ({"kind": "modbus_tcp", "host": "10.0.0.7", "port": 1502}, ModbusTcpLink, "10.0.0.7:1502"),
        ({"kind": "modbus_rtu", "port": "/dev/ttyS0"}, ModbusRtuLink, "/dev/ttyS0"),
    ],
)
def test_every_kind_of_link(link: dict[str, Any], kind: type[Link], name: str) -> None:
    wires = Wires()
    made = wires("any", instrument(link))
    assert isinstance(made, kind)
    assert made.name == name  # type: ignore[attr-defined]
    assert wires("any", instrument(link)) is not made


async def test_two_stations_chambers_share_one_port_and_other_lines_do_not() -> None:
    async def chambers(pty: Pty) -> None:
        while True:
            pty.send(await pty.receive_line())  # whoever is asked answers with the question

    def member(wires: Wires, address: int, port: str) -> TextLink:
        link = wires("chamber", instrument({"kind": "serial", "port": port, "timeout_s": 5}, address=address))
        assert EspecP300(link, address=address)  # type: ignore[arg-type]
        return link  # type: ignore[return-value]

    async with pty_peer(chambers) as pty:
        wires = Wires()
        first, second = (member(wires, address, pty.port) for address in (1, 2))
        await asyncio.gather(first.open(), second.open())
        assert await asyncio.gather(first.query("1,TYPE?"), second.query("2,TYPE?")) == ["1,TYPE?", "2,TYPE?"]
        stranger = member(Wires(), 3, pty.port)
        with pytest.raises(Exception, match="another program uses it"):
            await stranger.open()
        await first.close()
        await second.close()
        await stranger.open()
        await stranger.close()
