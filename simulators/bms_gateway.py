"""The battery's own BMS behind a CAN to Modbus TCP gateway, from `docs/registers.md`.

Where the map leaves freedom: one temperature sensor a module, on its middle cell; a CAN frame every 100 ms; cell
voltage faults 50 mV over and 200 mV under the model's limits (4.25 V and 2.5 V for the NMC pack), temperature faults
5 degC beyond them, overcurrent 10 % beyond them, and insulation below 100 ohm/V of the fullest battery (ISO 6469-1).
The capacity throughput before the test is not known to the simulation: 25 full cycles for each percent of health lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from config.dut import DutModel
from simulators.faults import Faults, Texts, measured
from simulators.modbus import IllegalAddressError, Registers, answer
from simulators.world import World

UNIT = 1
MAP_VERSION, OTHER_MAP_VERSION = 0x0101, 0x0201
NO_CELL, NO_TEMPERATURE = 0xFFFF, 0x8000
MAX_CELLS, MAX_SENSORS = 128, 32
FRAME_PERIOD_MS = 100

CAN_ALIVE, BMS_AWAKE = 1 << 0, 1 << 2
CELL_OVERVOLTAGE, CELL_UNDERVOLTAGE, OVERTEMPERATURE, UNDERTEMPERATURE, OVERCURRENT = (1 << bit for bit in range(5))
INSULATION, CAN_TIMEOUT, CONTACTOR_WELDED, SENSOR_BROKEN = (1 << bit for bit in range(5, 9))

OVERVOLTAGE_MARGIN_V, UNDERVOLTAGE_MARGIN_V = 0.05, 0.2
TEMPERATURE_MARGIN_DEGC = 5.0
OVERCURRENT_FACTOR = 1.1
INSULATION_OHM_PER_V = 100.0
CYCLES_PER_LOST_PERCENT = 25.0

STATE, CODE = range(20), range(20, 36)
CELLS = range(100, 228)
TEMPERATURES = range(300, 332)


class BmsGateway(Registers):
    """The gateway in front of the battery's BMS."""

    FAULTS: ClassVar[Texts] = {
        **measured("stuck", "drift", "sign_flip", "open_lead", "range_clip", "overrange"),
        "nan": "The battery's CAN has gone quiet.",
        "wrong_identity": "Another map version.",
        "contactor_welded": "The BMS reports a welded contactor; nothing is.",
    }
    idle_timeout_s = 0.0

    def __init__(self, world: World, model: DutModel) -> None:
        self.world = world
        self.faults: Faults = frozenset()
        self.connect(model)

    def connect(self, model: DutModel) -> None:
        """The battery that is there now."""
        world = self.world
        self.model = model
        self.cell_count = model.series_cells
        sensors = min(MAX_SENSORS, max(1, model.series_cells // model.cells_per_module))
        self.broken_sensors = {index for index in range(sensors) if index == world.broken_thermistor}
        self._sensor_cells = [(2 * index + 1) * model.series_cells // (2 * sensors) for index in range(sensors)]
        padded = world.bms_code.encode("ascii", "replace").ljust(2 * len(CODE), b"\0")
        self._code = [int.from_bytes(padded[i : i + 2], "big") for i in range(0, 2 * len(CODE), 2)]

    def respond(self, unit: int, pdu: bytes) -> bytes | None:
        return answer(self, pdu) if unit == UNIT else None

    def inputs(self, address: int, count: int) -> list[int]:
        """Words of one or two neighbouring areas; IllegalAddressError for anything undefined among them."""
        words: list[int] = []
        for span, read in self._areas():
            first, last = max(address, span.start), min(address + count, span.stop)
            if first < last:
                words += read()[first - span.start : last - span.start]
        if len(words) != count:
            raise IllegalAddressError
        return words

    def _areas(self) -> tuple[tuple[range, Callable[[], Sequence[int]]], ...]:
        return (
            (STATE, self._state),
            (CODE, lambda: self._code),
            (CELLS, self._cell_words),
            (TEMPERATURES, self._temperature_words),
        )

    # --- areas -------------------------------------------------------------------------------------------------

    @property
    def _quiet(self) -> bool:
        """No CAN frames: the gateway only knows what it is itself."""
        return "nan" in self.faults or not self.world.plugged

    def _state(self) -> list[int]:
        world = self.world
        version = OTHER_MAP_VERSION if "wrong_identity" in self.faults else MAP_VERSION
        head = [version, self.cell_count, len(self._sensor_cells)]
        if self._quiet:
            # the lowest and highest cell are unknown as cells are; their indices have no such value and read 0
            return [*head, 0, 0xFFFF, 0, 0, 0, 0, 0, 0xFFFF, 0, 0, 0, *_u32(CAN_TIMEOUT), NO_CELL, NO_CELL, 0, 0]
        cells = world.tap_voltages()
        lowest, highest = int(np.argmin(cells)), int(np.argmax(cells))
        throughput = self._throughput_ah()
        return [
            *head,
            CAN_ALIVE | BMS_AWAKE,
            int(world.now() * 1000) % FRAME_PERIOD_MS,
            _u16(world.battery_voltage() * 10),
            _i16(world.current * 10),
            _u16(world.bms_soc() * 1000),
            _u16(world.bms_soh() * 1000),
            _u16(world.bms_capacity_ah() * 100),
            min(_u16(world.insulation_ohm / 1000), 0xFFFE),
            *_u32(round(throughput)),
            round(throughput / (2 * self.model.rated_capacity_ah)),
            *_u32(self._fault_bits(cells)),
            _u16(cells[lowest] * 1000),
            _u16(cells[highest] * 1000),
            lowest,
            highest,
        ]

    def _cell_words(self) -> list[int]:
        millivolts = np.rint(self.world.tap_voltages() * 1000).clip(0, NO_CELL - 1).astype(int)
        known = [] if self._quiet else millivolts.tolist()
        return (known + [NO_CELL] * MAX_CELLS)[:MAX_CELLS]

    def _temperature_words(self) -> list[int]:
        if self._quiet:
            return [NO_TEMPERATURE] * MAX_SENSORS
        words = [_i16(float(degc) * 10) for degc in self._temperatures()]
        for index in self.broken_sensors:
            words[index] = NO_TEMPERATURE
        return words + [NO_TEMPERATURE] * (MAX_SENSORS - len(words))

    # --- values ------------------------------------------------------------------------------------------------

    def _temperatures(self) -> np.ndarray:
        temperatures: np.ndarray = self.world.cell_temperatures()[self._sensor_cells]
        return temperatures

    def _throughput_ah(self) -> float:
        """Charged and discharged Ah over the battery's life."""
        cycles = 100 * max(0.0, 1 - self.world.bms_soh()) * CYCLES_PER_LOST_PERCENT
        return 2 * cycles * self.model.rated_capacity_ah + self.world.charged_ah + self.world.discharged_ah

    def _fault_bits(self, cells: np.ndarray) -> int:
        model, world = self.model, self.world
        temperatures = self._temperatures()
        current = world.current
        most = model.max_charge_current_a if current > 0 else model.max_discharge_current_a
        insulation_limit = INSULATION_OHM_PER_V * model.series_cells * model.cell_voltage_max_v
        found = {
            CELL_OVERVOLTAGE: cells.max() > model.cell_voltage_max_v + OVERVOLTAGE_MARGIN_V,
            CELL_UNDERVOLTAGE: cells.min() < model.cell_voltage_min_v - UNDERVOLTAGE_MARGIN_V,
            OVERTEMPERATURE: temperatures.max() > model.temperature_max_degc + TEMPERATURE_MARGIN_DEGC,
            UNDERTEMPERATURE: temperatures.min() < model.temperature_min_degc - TEMPERATURE_MARGIN_DEGC,
            OVERCURRENT: abs(current) > OVERCURRENT_FACTOR * most,
            INSULATION: world.insulation_ohm < insulation_limit,
            CONTACTOR_WELDED: "contactor_welded" in self.faults,
            SENSOR_BROKEN: bool(self.broken_sensors),
        }
        return sum(bit for bit, present in found.items() if present)


def _u16(value: float) -> int:
    return min(max(round(value), 0), 0xFFFF)


def _i16(value: float) -> int:
    return min(max(round(value), -0x7FFF), 0x7FFF) & 0xFFFF


def _u32(value: int) -> tuple[int, int]:
    """High word first."""
    return value >> 16 & 0xFFFF, value & 0xFFFF
