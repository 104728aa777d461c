"""What one instrument sees of its station's world, through leads of its own.

Faults of what is measured act here, once for all instruments: what a device reads passes through `Leads`, what it does
to the world does not. They act on the device's own protections too, which look at the same readings.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from simulators.electrodes import Array
from simulators.faults import MEASURED, FaultBoard
from simulators.world import Terminal, World

# beyond what every display shows, and still a single-precision float
BEYOND = 9.9e37
KINDS = frozenset(MEASURED)
# which readings a reversed sense lead and a wrong sign turn around
VOLTAGES = frozenset({"voltage", "cells"})
SIGNED = frozenset({"current", "temperature"})

Reading = Any  # a float, a complex impedance, or an array of cells


class Leads:
    """A `World` to the device at their end; all but the readings below is the world's own."""

    def __init__(self, world: World) -> None:
        self._borrowed: set[str] = set()
        self.connect(world)
        self.board: FaultBoard | None = None
        self._frozen: dict[tuple[float, str], Reading] = {}
        self._clipped: dict[tuple[float, str], float] = {}

    def connect(self, world: World) -> None:
        """Lead to this world from now on."""
        self.world = world
        self.now = world.now
        for name in self._borrowed:
            delattr(self, name)
        self._borrowed.clear()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.world, name)
        if callable(found):
            # methods are borrowed for good, since they are asked for at every scan
            self._borrowed.add(name)
            setattr(self, name, found)
        return found

    # --- readings ----------------------------------------------------------------------------------------------

    def terminal(self) -> Terminal:
        at = self.world.terminal()
        if self.board is None or self.board.active.isdisjoint(KINDS):
            return at
        voltage = self._seen("voltage", "terminal voltage", at.voltage)
        current = self._seen("current", "terminal current", at.current)
        return dataclasses.replace(at, voltage=voltage, current=current, power=voltage * current)

    @property
    def current(self) -> float:
        return float(self._seen("current", "current", self.world.current))

    def battery_voltage(self) -> float:
        return float(self._seen("voltage", "battery", self.world.battery_voltage()))

    def cell_voltages(self) -> Array:
        return np.asarray(self._seen("cells", "cells", self.world.cell_voltages()))

    def tap_voltages(self) -> Array:
        return np.asarray(self._seen("cells", "taps", self.world.tap_voltages()))

    def cell_temperatures(self) -> Array:
        return np.asarray(self._seen("temperature", "temperatures", self.world.cell_temperatures()))

    def voltage_between(self, first: int, last: int) -> float:
        return float(self._seen("voltage", f"{first}..{last}", self.world.voltage_between(first, last)))

    def ac_resistance(self, first: int, last: int) -> float:
        return float(self._seen("resistance", f"ohm {first}..{last}", self.world.ac_resistance(first, last)))

    def impedance(self, first: int, last: int, frequency: float) -> complex:
        true = self.world.impedance(first, last, frequency)
        return complex(self._seen("resistance", f"ohm {first}..{last} {frequency}", true))

    @property
    def insulation_ohm(self) -> float:
        return float(self._seen("resistance", "insulation", self.world.insulation_ohm))

    @property
    def chamber_degc(self) -> float:
        return float(self._seen("temperature", "air", self.world.chamber_degc))

    def measured_degc(self, true: float) -> float:
        """What a sensor of the instrument's own reads."""
        return float(self._seen("temperature", "own", true))

    # --- what is wrong with them -------------------------------------------------------------------------------

    def _seen(self, sort: str, name: str, value: Reading) -> Reading:
        board = self.board
        if board is None or board.active.isdisjoint(KINDS):
            return value
        active = board.active
        if "stuck" in active and (board.since("stuck"), name) in self._frozen:
            return self._frozen[board.since("stuck"), name]
        if "open_lead" in active and sort in VOLTAGES:
            value = _without_tap(value, board.value("open_lead")) if sort == "cells" else 0.0
        if ("polarity_reversed" in active and sort in VOLTAGES) or ("sign_flip" in active and sort in SIGNED):
            value = -value
        if "drift" in active:
            value = value * (1 + (board.value("drift") or 0.0) * (self.now() - board.since("drift")))
        if "range_clip" in active:
            value = self._clip(name, value)
        if "overrange" in active:
            value = np.full_like(value, BEYOND) if isinstance(value, np.ndarray) else BEYOND
        if "stuck" in active:
            self._frozen = {key: kept for key, kept in self._frozen.items() if key[0] == board.since("stuck")}
            self._frozen[board.since("stuck"), name] = value
        return value

    def _clip(self, name: str, value: Reading) -> Reading:
        assert self.board is not None
        bound = self.board.value("range_clip")
        if bound is None:
            key = (self.board.since("range_clip"), name)
            bound = self._clipped.setdefault(key, float(np.max(np.abs(value))) / 2)
        if isinstance(value, complex):
            return value if abs(value) <= bound else value * bound / abs(value)
        return np.clip(value, -abs(bound), abs(bound))


def _without_tap(cells: Array, index: float | None) -> Array:
    """Behind cell `index` the lead is open: it reads nothing, the next cell both."""
    at = min(max(int(len(cells) // 2 if index is None else index), 0), len(cells) - 1)
    seen = cells.copy()
    if at + 1 < len(cells):
        seen[at + 1] += seen[at]
    seen[at] = 0.0
    return seen
