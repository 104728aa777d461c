"""The worked frames of EA's programming guide with their check sums, on a serial line: what it prints is what we send.

Guide 35400100, Modbus RTU, unit 1. The registers are those of both series. The values are those of a unit of 80 V,
1000 A, 30 kW.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from drivers.ea import from_percent
from drivers.ea_bt20000 import is_remote, regulation
from drivers.errors import RefusedError
from drivers.links import ModbusRtuLink
from drivers.roles import Regulation
from drivers.words import integer, number
from tests.drivers.peers import Pty, pty_peer

UNIT = 1


def speaking(*exchanges: tuple[str, str]) -> Callable[[Pty], Awaitable[None]]:
    """An instrument that takes exactly the guide's requests and gives its answers."""

    async def handler(pty: Pty) -> None:
        for request, answer in exchanges:
            expected = bytes.fromhex(request)
            assert (await pty.receive(len(expected))).hex(" ") == expected.hex(" ")
            pty.send(bytes.fromhex(answer))

    return handler


def link(pty: Pty) -> ModbusRtuLink:
    return ModbusRtuLink(pty.port, timeout=5.0)


async def test_remote_control_on_and_off() -> None:
    on, off = "01 05 01 92 FF 00 2C 2B", "01 05 01 92 00 00 6D DB"
    async with pty_peer(speaking((on, on), (off, off))) as pty:
        ea = link(pty)
        await ea.open()
        await ea.write_coil(UNIT, 402, True)
        await ea.write_coil(UNIT, 402, False)
        await ea.close()


@pytest.mark.parametrize(
    ("answer", "code"), [("01 85 17 02 9E", 0x17), ("01 85 07 03 52", 0x07)], ids=["in local", "access denied"]
)
async def test_refusals(answer: str, code: int) -> None:
    async with pty_peer(speaking(("01 05 01 92 FF 00 2C 2B", answer))) as pty:
        ea = link(pty)
        await ea.open()
        with pytest.raises(RefusedError) as refused:
            await ea.write_coil(UNIT, 402, True)
        assert refused.value.exception_code == code
        await ea.close()


async def test_half_the_current_is_0x6666() -> None:
    frame = "01 06 01 F5 66 66 33 8E"
    async with pty_peer(speaking((frame, frame))) as pty:
        ea = link(pty)
        await ea.open()
        await ea.write_register(UNIT, 501, 0x6666)
        await ea.close()


async def test_actual_values_nominal_voltage_and_device_state() -> None:
    asked = [
        ("01 03 01 FB 00 03 75 C6", "01 03 06 26 20 0C 9B 09 1B 93 50"),
        ("01 03 00 79 00 02 15 D2", "01 03 04 42 A0 00 00 EE 69"),
        ("01 03 01 F9 00 02 15 C6", "01 03 04 00 00 04 83 B9 52"),
    ]
    async with pty_peer(speaking(*asked)) as pty:
        ea = link(pty)
        await ea.open()
        voltage, current, power = await ea.read_holding_registers(UNIT, 507, 3)
        nominal = number(await ea.read_holding_registers(UNIT, 121, 2))
        state = integer(await ea.read_holding_registers(UNIT, 505, 2))
        await ea.close()
    assert nominal == 80.0
    assert from_percent(voltage, nominal) == pytest.approx(14.89, abs=0.01)
    assert from_percent(current, 1000.0) == pytest.approx(61.6, abs=0.1)
    assert from_percent(power, 30000.0) == pytest.approx(1334, abs=1)
    assert regulation(state) is Regulation.CURRENT
    assert state >> 7 & 1, "DC on"
    assert not is_remote(state), "bit 11; the location bits say USB"
