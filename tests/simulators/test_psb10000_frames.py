"""RTU frames on the PSB's SCPI port, by the guide's own worked frames; text beside them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus import FramerType
from pymodbus.client import AsyncModbusTcpClient

from simulators.bench import Bench
from simulators.modbus import rtu_frame
from simulators.psb10000_scpi import PsbInstrument
from tests.simulators.fake_world import FakeWorld
from tests.simulators.scenes import SCENES, Act

FULL = rtu_frame(0, bytes.fromhex("05 271D FF00"))


class Talk:
    def __init__(self, full: bool = True) -> None:
        self.instrument = PsbInstrument(FakeWorld(), "2023120002")  # type: ignore[arg-type]
        self.face = self.instrument.face()
        if full:
            self.frame(0, "05 0192 FF00")
            assert self.face.receive(FULL) == FULL

    def frame(self, slave: int, pdu: str) -> str:
        """The PDU of the answer."""
        answer = self.face.receive(rtu_frame(slave, bytes.fromhex(pdu)))
        return answer[1:-2].hex() if answer else ""


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        ("01 05 01 92 FF 00 2C 2B", "01 05 01 92 FF 00 2C 2B"),
        ("01 05 01 92 00 00 6D DB", "01 05 01 92 00 00 6D DB"),
        ("01 06 01F5 6666 338E", "01 06 01F5 6666 338E"),
    ],
)
def test_the_guides_worked_frames(sent: str, received: str) -> None:
    assert Talk().face.receive(bytes.fromhex(sent)) == bytes.fromhex(received)


def test_access_denied_is_the_guides_frame() -> None:
    talk = Talk()
    talk.frame(1, "05 0192 0000")
    assert talk.face.receive(bytes.fromhex("01 05 01 95 FF 00 9D EA"))[:3] == bytes.fromhex("01 85 07")
    talk.instrument.device.local = True
    assert talk.face.receive(bytes.fromhex("01 05 01 92 FF 00 2C 2B")) == bytes.fromhex("01 85 17 02 9E")


def test_the_nominal_voltage_is_a_float() -> None:
    assert Talk().frame(1, "03 0079 0002") == "030443fa0000"


def test_text_and_frames_see_one_device() -> None:
    talk = Talk(full=False)
    assert talk.face.receive(b"SYST:LOCK ON\nVOLT 250;VOLT?\n") == b"250.0V\n"
    assert talk.frame(0, "03 01F4 0001") == "03026666"
    talk.frame(0, "05 0195 FF00")
    assert talk.face.receive(b"OUTP?\n") == b"ON\n"


def test_a_frame_and_a_text_in_one_packet_and_in_single_bytes() -> None:
    packet = rtu_frame(0, bytes.fromhex("03 01F4 0001")) + b"OUTP?\n" + rtu_frame(0, bytes.fromhex("03 0079 0002"))
    expected = rtu_frame(0, bytes.fromhex("03020000")) + b"OFF\n" + rtu_frame(0, bytes.fromhex("030443fa0000"))
    assert Talk(full=False).face.receive(packet) == expected
    slow = Talk(full=False).face
    assert b"".join(slow.receive(packet[i : i + 1]) for i in range(len(packet))) == expected


def test_in_limited_compliance_the_slave_is_zero_and_a_coil_is_two_bytes() -> None:
    talk = Talk(full=False)
    assert talk.frame(1, "03 0079 0002") == "8302"
    assert talk.frame(0, "01 0192 0001") == "01020000"


def test_in_full_compliance_the_slave_is_one_and_zero_is_everybody() -> None:
    talk = Talk()
    assert talk.frame(0, "05 0195 FF00") == ""
    assert talk.frame(1, "01 0195 0001") == "010101"


def test_a_wrong_check_sum_is_an_answer() -> None:
    assert Talk().face.receive(bytes.fromhex("01 03 0079 0002 0000"))[:3] == bytes.fromhex("01 83 05")


def test_what_is_neither_is_a_modbus_error_and_does_no_harm() -> None:
    talk = Talk(full=False)
    assert talk.face.receive(b"\x05hello\n")[1:3] == bytes.fromhex("8002")
    assert talk.face.receive(b"\r\nOUTP?\r\n") == b"OFF\n"


def test_the_socket_timeout_is_another_register_than_the_testers() -> None:
    talk = Talk()
    assert talk.frame(1, "06 294D 0000") == "06294d0000"
    assert talk.instrument.idle_timeout_s == 0
    assert talk.frame(1, "03 2A89 0001") == "8302"


def test_faults_of_the_wire_spoil_frames_too() -> None:
    act = Act(SCENES["ea_psb10000"])
    frame = rtu_frame(0, bytes.fromhex("03 0079 0002"))
    assert act.port.receive(frame) == rtu_frame(0, bytes.fromhex("030443fa0000"))  # type: ignore[union-attr]
    act.station.set_fault("cycler", "silent")
    assert act.port.receive(frame) == b""  # type: ignore[union-attr]


async def test_a_public_client_speaks_rtu_over_tcp(tmp_path: Path) -> None:
    with Bench(tmp_path) as bench:
        _, host, port, _ = bench.links["cycler"].address.split("::")  # type: ignore[union-attr]
        async with AsyncModbusTcpClient(host, port=int(port), framer=FramerType.RTU, retries=0) as client:
            nominal = await client.read_holding_registers(0x79, count=2, device_id=0)
            assert nominal.registers == [0x43FA, 0x0000]
            refused = await client.write_coil(405, True, device_id=0)
            assert refused.exception_code == 7


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_any_bytes_leave_it_alive(chunks: list[bytes]) -> None:
    talk = Talk(full=False)
    for chunk in chunks:
        talk.face.receive(chunk)
    fresh = talk.instrument.face()
    assert fresh.receive(b"*IDN?\n").startswith(b"EA Elektro-Automatik")
