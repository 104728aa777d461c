"""What a probe makes of devices that no driver knows. Those that a driver knows: tests/cli/test_instrument.py."""

from __future__ import annotations

import pytest

from controller.instruments.probing import Probed, probe
from tests.drivers.peers import tcp_peer
from tests.drivers.test_modbus_links import SAID, tcp_server

ILLEGAL_ADDRESS = 2


async def probed(identification: bytes, units: list[int]) -> tuple[Probed, list[bytes]]:
    """Of a Modbus TCP server that has unit 1 alone, no register at all, and this answer to who it is."""
    requests: list[bytes] = []

    def answer(unit: int, pdu: bytes) -> bytes | None:
        if unit != 1:
            return None
        requests.append(pdu)
        return identification if pdu[0] == 0x2B else bytes([pdu[0] | 0x80, ILLEGAL_ADDRESS])

    async with tcp_peer(tcp_server(answer)) as port:
        return await probe(f"127.0.0.1:{port}", 0.05, units, lambda what: None), requests


@pytest.mark.parametrize("units", [[], [1, 2]])
async def test_a_device_that_no_driver_knows_is_asked_for_its_own_words(units: list[int]) -> None:
    """Once each unit that answered at all, and nothing is written."""
    found, requests = await probed(SAID, units)
    assert found.findings == []
    said = [(question, answer) for _, question, answer in found.answers if "identification" in question]
    assert said == [("unit 1 identification", "Company identification Product code XX V2.11")]
    assert requests.count(bytes.fromhex("2b 0e 01 00")) == 1
    assert {request[0] for request in requests} <= {1, 2, 3, 4, 0x2B}


async def test_one_that_refuses_to_say_is_shown_by_what_it_answered() -> None:
    found, _ = await probed(bytes.fromhex("ab 01"), [])
    assert found.answers
    assert not any("identification" in question for _, question, _ in found.answers)
    assert all("Modbus exception 2" in answer for _, _, answer in found.answers)
