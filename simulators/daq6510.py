"""Keithley DAQ6510: a multimeter that scans the channels of its cards, here thermocouples on the battery's cells.

Source: the command lists of PyMeasure's KeithleyDAQ6510, as collected in the project's instrument notes. Values are in
degC for temperature and V for DC voltage; an open sensor, an open channel too, reads 9.9E37.

Choices where it is silent:
- the cards have 20 channels each: 101..120 and 201..220; a channel without a thermocouple is open;
- a scan takes no line time; starting one empties the buffer it fills, so the buffer holds the newest scans;
- with a scan list a reading is that of its last channel, without one that of the closed channel;
- a voltage is a thermocouple's of 41 uV/K against a terminal at 23 degC; nothing that is wired has a current or a
  resistance to measure: 0 A, and 9.9E37 ohm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simulators.faults import Faults
from simulators.world import World

CHANNELS = (*range(101, 121), *range(201, 221))
OPEN = 9.9e37
SEEBECK_V_PER_K, TERMINAL_DEGC = 41e-6, 23.0
BUFFER_POINTS = 100_000
MAX_SCANS = 1000

VOLTAGE, TEMPERATURE, CURRENT, RESISTANCE = "VOLT:DC", "TEMP", "CURR:DC", "RES"
UNITS = {VOLTAGE: "V", TEMPERATURE: "C", CURRENT: "A", RESISTANCE: "Ohm"}


@dataclass(frozen=True)
class Reading:
    """One line of a buffer; `at` is line time in s."""

    channel: int
    value: float
    unit: str
    at: float


class Daq6510:
    """The multimeter; `wired` channels have thermocouples on cells spread evenly over the battery, in order.

    `broken` channels read open.
    """

    def __init__(self, world: World, serial: str, wired: Sequence[int]) -> None:
        self.world = world
        self.serial = serial
        self.faults: Faults = frozenset()
        self._wired = tuple(wired)
        self.connect()
        self.broken: set[int] = set()
        self.reset()

    def connect(self) -> None:
        """Glue the sensors to the battery that is there now."""
        last_cell = len(self.world.cell_temperatures()) - 1
        cells = np.linspace(0, last_cell, len(self._wired)).round().astype(int)
        self._cells = dict(zip(self._wired, cells.tolist(), strict=True))

    def reset(self) -> None:
        self.functions = dict.fromkeys(CHANNELS, VOLTAGE)
        self.function = VOLTAGE
        self.scan_list: list[int] = []
        self.scan_count = 1
        self.closed: int | None = None
        self.buffer: list[Reading] = []

    def scan(self) -> None:
        """Scan the list as often as is set, into an empty buffer."""
        self.buffer = [self._measure(channel) for _ in range(self.scan_count) for channel in self.scan_list]
        del self.buffer[:-BUFFER_POINTS]

    def read(self) -> Reading:
        """Measure once and add it to the buffer; with a scan list, scan it."""
        if self.scan_list:
            self.scan()
        else:
            self.buffer.append(self._measure(self.closed))
            del self.buffer[:-BUFFER_POINTS]
        return self.buffer[-1]

    def _measure(self, channel: int | None) -> Reading:
        now = self.world.now()
        function = self.function if channel is None else self.functions[channel]
        unit = UNITS[function]
        if function in (CURRENT, RESISTANCE):
            return Reading(channel or 0, 0.0 if function == CURRENT else OPEN, unit, now)
        if channel is None or channel not in self._cells or channel in self.broken or "nan" in self.faults:
            return Reading(channel or 0, OPEN, unit, now)
        temperature = float(self.world.cell_temperatures()[self._cells[channel]])
        temperature = min(temperature, OPEN)
        value = SEEBECK_V_PER_K * (temperature - TERMINAL_DEGC) if function == VOLTAGE else temperature
        return Reading(channel, value, unit, now)
