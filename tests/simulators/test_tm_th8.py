"""The ICP DAS tM-TH8: eight thermistors a unit, several units on one bus."""

from __future__ import annotations

import struct

import pytest

from simulators.modbus import IllegalAddressError, IllegalValueError
from simulators.tm_th8 import Th8Bus
from tests.simulators.fake_world import FakeWorld


@pytest.fixture
def bus(world: FakeWorld) -> Th8Bus:
    return Th8Bus(world, [1, 2])  # type: ignore[arg-type]


def read(bus: Th8Bus, function: int, address: int, count: int, unit: int = 1) -> list[int]:
    """Signed words of functions 3 and 4."""
    answer = bus.respond(unit, struct.pack(">BHH", function, address, count))
    assert answer is not None
    assert answer[0] == function, answer.hex()
    return list(struct.unpack(f">{count}h", answer[2:]))


def test_channels_see_the_cells_spread_evenly_over_the_battery(bus: Th8Bus) -> None:
    readings = read(bus, 4, 0, 8, unit=1) + read(bus, 4, 0, 8, unit=2)
    # the fake battery rises evenly from 20 to 30 degC over its 96 cells
    expected = [200 + 100 * index / 15 for index in range(16)]
    assert readings == pytest.approx(expected, abs=1.1)
    assert (readings[0], readings[-1]) == (200, 300)


def test_holding_registers_show_the_same(bus: Th8Bus) -> None:
    assert read(bus, 3, 2, 3) == read(bus, 4, 2, 3) == read(bus, 4, 0, 8)[2:5]


def test_frost_is_negative(bus: Th8Bus, world: FakeWorld) -> None:
    world.temperatures[:] = -12.34
    assert read(bus, 4, 0, 1) == [-123]


def test_an_absent_unit_is_silent(bus: Th8Bus) -> None:
    assert bus.respond(3, bytes.fromhex("0400000008")) is None
    assert bus.respond(0, bytes.fromhex("0400000008")) is None


def test_a_broken_sensor_reads_out_of_range(bus: Th8Bus) -> None:
    bus.units[2].broken = {1: "under", 6: "over"}
    readings = read(bus, 4, 0, 8, unit=2)
    assert (readings[1], readings[6]) == (-32768, 32767)
    assert bus.respond(2, bytes.fromhex("0100800008")) == bytes([1, 1, 0b01000010])
    assert bus.respond(1, bytes.fromhex("0100800008")) == bytes([1, 1, 0])


def test_type_codes(bus: Th8Bus) -> None:
    assert read(bus, 3, 256, 8) == [0x60] * 8


def test_data_format_is_engineering(bus: Th8Bus) -> None:
    assert bus.units[1].coils(268, 1) == [True]


def test_a_temperature_offset_moves_its_channel(bus: Th8Bus) -> None:
    before = read(bus, 4, 0, 8)
    bus.respond(1, struct.pack(">BHh", 6, 449, -15))
    assert read(bus, 3, 448, 2) == [0, -15]
    after = read(bus, 4, 0, 8)
    assert after[1] == before[1] - 15
    assert after[0] == before[0]


def test_a_temperature_offset_has_one_signed_byte(bus: Th8Bus) -> None:
    with pytest.raises(IllegalValueError):
        bus.units[1].write_register(448, 128)


@pytest.mark.parametrize("address", [8, 255, 264, 392, 500])
def test_there_is_nothing_else(bus: Th8Bus, address: int) -> None:
    with pytest.raises(IllegalAddressError):
        bus.units[1].holding(address, 1)


def test_faults(bus: Th8Bus) -> None:
    bus.faults = frozenset({"nan", "wrong_identity"})
    assert set(read(bus, 4, 0, 8)) == {-32768, 32767}
    assert 0x60 not in read(bus, 3, 256, 8)
