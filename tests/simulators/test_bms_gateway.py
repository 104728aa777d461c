"""The BMS gateway as `docs/registers.md` defines it."""

from __future__ import annotations

import struct

import pytest

from config.dut import shipped_dut_models
from simulators.bms_gateway import BmsGateway
from simulators.world import Source
from tests.simulators.fake_world import FakeWorld

MODEL = shipped_dut_models()["nmc_96s_60ah"]


@pytest.fixture
def bms(world: FakeWorld) -> BmsGateway:
    return BmsGateway(world, MODEL)  # type: ignore[arg-type]


def words(bms: BmsGateway, address: int, count: int, kind: str = "H") -> list[int]:
    answer = bms.respond(1, struct.pack(">BHH", 4, address, count))
    assert answer is not None
    assert answer[0] == 4, answer.hex()
    return list(struct.unpack(f">{count}{kind}", answer[2:]))


def fault_bits(bms: BmsGateway) -> set[int]:
    high, low = words(bms, 14, 2)
    return {bit for bit in range(32) if (high << 16 | low) >> bit & 1}


def test_the_head_of_the_map(bms: BmsGateway) -> None:
    assert words(bms, 0, 4) == [0x0101, 96, 8, 0b101]
    assert words(bms, 5, 6) == [3552, 0, 500, 900, 5400, 2400]
    assert words(bms, 16, 2) == [3700, 3700]


def test_the_battery_code(bms: BmsGateway) -> None:
    code = struct.pack(">16H", *words(bms, 20, 16))
    assert code.rstrip(b"\0") == b"PHE96-004711"


def test_cell_voltages_in_millivolts(bms: BmsGateway, world: FakeWorld) -> None:
    world.cells[40] = 3.61249
    world.cells[7] = 3.80051
    cells = words(bms, 100, 96)
    assert (cells[40], cells[7], cells[0]) == (3612, 3801, 3700)
    assert words(bms, 16, 4) == [3612, 3801, 40, 7]
    assert words(bms, 196, 32) == [0xFFFF] * 32


def test_temperatures_of_one_cell_a_module(bms: BmsGateway, world: FakeWorld) -> None:
    world.temperatures[:] = -5.04
    world.temperatures[6] = 21.26
    assert words(bms, 300, 32, "h") == [213] + [-50] * 7 + [-32768] * 24


def test_charging_current_is_positive(bms: BmsGateway, world: FakeWorld) -> None:
    world.contactor_closed = True
    world.drive(Source(400, 12.34, 30, 30000, 30000))
    assert words(bms, 6, 1, "h") == [123]
    world.drive(Source(300, 12.34, 30, 30000, 30000))
    assert words(bms, 6, 1, "h") == [-300]


def test_throughput_and_cycles_of_an_aged_battery(bms: BmsGateway, world: FakeWorld) -> None:
    # 10 % of health lost at 25 cycles a percent are 250 cycles of 2 x 60 Ah
    assert words(bms, 11, 3) == [0, 30000, 250]
    world.charged_ah = world.discharged_ah = 60.0
    assert words(bms, 11, 3) == [0, 30120, 251]


def test_the_newest_frame_is_never_older_than_100_ms(bms: BmsGateway, world: FakeWorld) -> None:
    for milliseconds in range(0, 1000, 7):
        world.time = milliseconds / 1000
        assert words(bms, 4, 1)[0] <= 100


@pytest.mark.parametrize(("volts", "bits"), [(4.249, set()), (4.251, {0}), (2.501, set()), (2.499, {1})])
def test_cell_voltage_faults(bms: BmsGateway, world: FakeWorld, volts: float, bits: set[int]) -> None:
    world.cells[95] = volts
    assert fault_bits(bms) == bits


def test_other_faults(bms: BmsGateway, world: FakeWorld) -> None:
    world.temperatures[:] = 56
    world.temperatures[6] = -1
    world.insulation_ohm = 40_000
    bms.broken_sensors = {3}
    world.contactor_closed = True
    world.drive(Source(500, 70, 0, 30000, 0))
    assert fault_bits(bms) == {2, 3, 4, 5, 8}
    assert words(bms, 303, 1, "h") == [-32768]


def test_a_battery_that_went_quiet(bms: BmsGateway) -> None:
    bms.faults = frozenset({"nan"})
    assert words(bms, 0, 5) == [0x0101, 96, 8, 0, 0xFFFF]
    assert fault_bits(bms) == {6}
    assert set(words(bms, 100, 125)) == {0xFFFF}
    assert set(words(bms, 300, 32, "h")) == {-32768}


@pytest.mark.parametrize(("address", "count"), [(36, 1), (99, 1), (99, 2), (35, 2), (228, 1), (332, 1), (299, 2)])
def test_undefined_addresses(bms: BmsGateway, address: int, count: int) -> None:
    assert bms.respond(1, struct.pack(">BHH", 4, address, count)) == bytes.fromhex("8402")


@pytest.mark.parametrize("pdu", ["0300000001", "0600000001", "0100000001"])
def test_nothing_but_input_registers(bms: BmsGateway, pdu: str) -> None:
    answer = bms.respond(1, bytes.fromhex(pdu))
    assert answer is not None
    assert answer[1] == 1


def test_only_unit_1_answers(bms: BmsGateway) -> None:
    assert bms.respond(2, bytes.fromhex("0400000001")) is None
