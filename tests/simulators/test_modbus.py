"""Frames from the specifications and from vendors' documents, and what must not be answered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.modbus import FramingError, MbapFraming, Registers, Request, RtuFraming, answer, crc16, rtu_frame


class Table(Registers):
    """Holding registers 0..9 that hold ten times their address; coils 0..9, of which the even ones are set."""

    def __init__(self) -> None:
        self.written: dict[int, int] = {}

    def holding(self, address: int, count: int) -> list[int]:
        return [10 * register for register in range(address, address + count)]

    def coils(self, address: int, count: int) -> list[bool]:
        return [coil % 2 == 0 for coil in range(address, address + count)]

    def write_registers(self, address: int, values: list[int]) -> None:  # type: ignore[override]
        self.written |= dict(enumerate(values, address))


def test_crc_of_the_vendors_worked_frames() -> None:
    for frame in ("01050192FF002C2B", "010301FB000375C6", "01040300010002", "0103007900 0215D2"):
        data = bytes.fromhex(frame.replace(" ", ""))
        if len(data) == 8:
            assert crc16(data[:-2]) == data[-2:]


def test_read_holding_registers() -> None:
    assert answer(Table(), bytes.fromhex("0300030002")) == bytes.fromhex("0304001E0028")


def test_read_coils_packs_the_first_into_the_lowest_bit() -> None:
    assert answer(Table(), bytes.fromhex("010000000A")) == bytes.fromhex("01025501")


def test_write_registers_answers_address_and_count() -> None:
    table = Table()
    assert answer(table, bytes.fromhex("10 0002 0002 04 0007 0009")) == bytes.fromhex("10 0002 0002")
    assert table.written == {2: 7, 3: 9}


@pytest.mark.parametrize(
    ("request_pdu", "exception"),
    [
        ("0400000001", "8401"),  # no input registers here
        ("2B0E0100", "AB01"),  # no such function
        ("0300000000", "8303"),  # nothing asked for
        ("030000007E", "8303"),  # 126 registers
        ("0500001234", "8503"),  # neither on nor off
        ("10000200020300070009", "9003"),  # byte count does not fit
        ("0300", "8303"),  # too short
    ],
)
def test_exceptions(request_pdu: str, exception: str) -> None:
    assert answer(Table(), bytes.fromhex(request_pdu)) == bytes.fromhex(exception)


def test_mbap_requests_in_pieces_and_in_one_piece() -> None:
    stream = bytes.fromhex("471100000006020300790002") + bytes.fromhex("471200000006010300000001")
    framing = MbapFraming()
    whole = list(MbapFraming().feed(stream))
    pieces = [request for byte in stream for request in framing.feed(bytes([byte]))]
    assert (
        whole
        == pieces
        == [
            Request(2, bytes.fromhex("0300790002"), 0x4711),
            Request(1, bytes.fromhex("0300000001"), 0x4712),
        ]
    )
    assert whole[0].framed(bytes.fromhex("030443FA0000")) == bytes.fromhex("47110000000702030443FA0000")


def test_what_is_not_modbus_tcp_ends_the_conversation() -> None:
    with pytest.raises(FramingError):
        list(MbapFraming().feed(b"GET / HTTP/1.1\r\n"))


def test_rtu_request_with_a_bad_crc_is_not_seen_and_the_next_one_is() -> None:
    framing = RtuFraming()
    good = rtu_frame(1, bytes.fromhex("0300000008"))
    bad = good[:-1] + bytes([good[-1] ^ 1])
    assert list(framing.feed(bad)) == []
    assert list(framing.feed(good)) == [Request(1, bytes.fromhex("0300000008"))]


def test_silence_ends_a_frame_that_was_begun() -> None:
    framing = RtuFraming()
    good = rtu_frame(1, bytes.fromhex("0300000008"))
    assert list(framing.feed(good[:3])) == []
    framing.silence()
    assert len(list(framing.feed(good))) == 1


def test_an_unknown_function_is_framed_so_that_it_can_be_refused() -> None:
    assert list(RtuFraming().feed(rtu_frame(1, bytes.fromhex("4600")))) == [Request(1, bytes.fromhex("4600"))]


@given(st.binary(max_size=300))
def test_no_bytes_upset_the_rtu_framing_or_the_server(data: bytes) -> None:
    for request in RtuFraming().feed(data):
        answer(Table(), request.pdu)
    assert answer(Table(), data)[0] == (data[0] if data else 0) | 0x80 or data[0] in (1, 3, 16)
