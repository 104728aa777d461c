"""ICP DAS tM-TH8: eight thermistor channels a unit, several units on one RS-485 bus, Modbus RTU.

Source: tM-TH8 user manual, as collected in the project's instrument notes; "00129" there is coil 128 on the wire,
"40001" holding register 0. Readings are in the engineering format: signed, in 0.1 degC, the step of the documented
temperature offset; -32768 is under range and 32767 over range, which is what an open or a shorted thermistor reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from simulators.faults import Faults, Texts, measured
from simulators.modbus import IllegalAddressError, IllegalValueError, Registers, answer
from simulators.world import World

CHANNELS = 8
UNDER_RANGE, OVER_RANGE = -32768, 32767
# of its thermistors
LOWEST_DEGC, HIGHEST_DEGC = -80.0, 240.0
TYPE_CODE, OTHER_TYPE_CODE = 0x60, 0x61

READINGS = range(8)
TYPE_CODES = range(256, 264)
RESISTANCE_OFFSETS = range(384, 392)
TEMPERATURE_OFFSETS = range(448, 456)
OUT_OF_RANGE_COILS = range(128, 136)
# protocol is Modbus, host watchdog off, data format is engineering, host watchdog not tripped, not reset since
STATE_COILS = {256: True, 260: False, 268: True, 269: False, 272: False}
WATCHDOG_COIL = 269
SCALE_COIL = 266  # temperature scale: 0 Celsius

Break = Literal["under", "over"]


class Th8Unit(Registers):
    """One module; `cells` are the cells its thermistors are glued to. `broken` channels (0..7) read out of range."""

    def __init__(self, bus: Th8Bus) -> None:
        self._bus = bus
        self.cells: list[int] = []
        self.broken: dict[int, Break] = {}
        self._offsets = [0] * CHANNELS

    def _broken(self) -> dict[int, Break]:
        if "nan" in self._bus.faults:
            return {channel: "over" if channel % 2 else "under" for channel in range(CHANNELS)}
        seen = self._bus.world.cell_temperatures()[self.cells]
        beyond: dict[int, Break] = {
            channel: "over" if degc > HIGHEST_DEGC else "under"
            for channel, degc in enumerate(seen)
            if not LOWEST_DEGC <= degc <= HIGHEST_DEGC
        }
        return beyond | self.broken

    def _readings(self) -> list[int]:
        """Engineering format of all channels, as unsigned words."""
        temperatures = self._bus.world.cell_temperatures()[self.cells]
        temperatures = temperatures.clip(LOWEST_DEGC, HIGHEST_DEGC)
        values = [round(10 * float(t)) + offset for t, offset in zip(temperatures, self._offsets, strict=True)]
        for channel, side in self._broken().items():
            values[channel] = OVER_RANGE if side == "over" else UNDER_RANGE
        return [value & 0xFFFF for value in values]

    def holding(self, address: int, count: int) -> list[int]:
        words: dict[range, list[int]] = {
            READINGS: self._readings(),
            TYPE_CODES: [OTHER_TYPE_CODE if "wrong_identity" in self._bus.faults else TYPE_CODE] * CHANNELS,
            RESISTANCE_OFFSETS: [0] * CHANNELS,
            TEMPERATURE_OFFSETS: [offset & 0xFFFF for offset in self._offsets],
        }
        for span, values in words.items():
            if address in span and address + count <= span.stop:
                return values[address - span.start : address - span.start + count]
        raise IllegalAddressError

    def inputs(self, address: int, count: int) -> list[int]:
        if address + count > READINGS.stop:
            raise IllegalAddressError
        return self.holding(address, count)

    def coils(self, address: int, count: int) -> list[bool]:
        bits = {coil: coil - OUT_OF_RANGE_COILS.start in self._broken() for coil in OUT_OF_RANGE_COILS}
        bits |= STATE_COILS | {SCALE_COIL: False, WATCHDOG_COIL: "watchdog_trip" in self._bus.faults}
        try:
            return [bits[coil] for coil in range(address, address + count)]
        except KeyError:
            raise IllegalAddressError from None

    def write_register(self, address: int, value: int) -> None:
        self.write_registers(address, [value])

    def write_registers(self, address: int, values: Sequence[int]) -> None:
        """Temperature offsets in 0.1 degC, -12.8..12.7 degC; nothing else can be written."""
        if address not in TEMPERATURE_OFFSETS or address + len(values) > TEMPERATURE_OFFSETS.stop:
            raise IllegalAddressError
        signed = [value - 0x10000 if value > 0x7FFF else value for value in values]
        if not all(-128 <= value <= 127 for value in signed):
            raise IllegalValueError
        first = address - TEMPERATURE_OFFSETS.start
        self._offsets[first : first + len(signed)] = signed


class Th8Bus:
    """The modules at their addresses; their channels see cells spread evenly over the battery, in order."""

    FAULTS: ClassVar[Texts] = {
        **measured("stuck", "drift", "sign_flip", "range_clip", "overrange"),
        "nan": "Every sensor is broken: under range where it is open, over range where it is shorted.",
        "wrong_identity": "Another thermistor type.",
        "watchdog_trip": "Coil 269 says that the host watchdog has run out.",
    }

    idle_timeout_s = 0.0

    def __init__(self, world: World, units: Sequence[int]) -> None:
        self.world = world
        self.faults: Faults = frozenset()
        self.units = {unit: Th8Unit(self) for unit in units}
        self.connect()

    def connect(self) -> None:
        """Glue the sensors to the battery that is there now."""
        last_cell, count = len(self.world.cell_temperatures()) - 1, len(self.units)
        cells = np.linspace(0, last_cell, CHANNELS * count).round().astype(int).reshape(count, CHANNELS)
        for unit, row in zip(self.units.values(), cells, strict=True):
            unit.cells = row.tolist()

    def respond(self, unit: int, pdu: bytes) -> bytes | None:
        """None for an address nobody has, as on a real bus."""
        module = self.units.get(unit)
        return answer(module, pdu) if module is not None else None
