"""A battery for device tests: a voltage source behind a resistance, with everything else set by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from simulators.world import Source, Terminal


class FakeWorld:
    """The interface of `simulators.world.World` that devices use, without physics."""

    def __init__(self, cells: int = 96) -> None:
        self.time = 0.0
        self.cells = np.full(cells, 3.7)
        self.temperatures = np.linspace(20.0, 30.0, cells)
        self.resistance = 0.2
        self.plugged = True
        self.contactor_closed = False
        self.welded = 0
        self.insulation_ohm = 2.4e6
        self.y_capacitance = 2e-7
        self.code_label: str | None = "PHE96-004711"
        self.bms_code = "PHE96-004711"
        self.broken_thermistor: int | None = None
        self.set_point: float | None = None
        self.chamber_degc = 25.0
        self.source: Source | None = None
        self.charged_ah = self.discharged_ah = 0.0
        self.hot_openings = 0
        self.advances = 0

    def now(self) -> float:
        return self.time

    def advance(self) -> None:
        self.advances += 1

    def drive(self, source: Source | None) -> None:
        self.source = source

    def set_contactor(self, closed: bool) -> None:
        self.contactor_closed = closed

    def terminal(self) -> Terminal:
        source, ocv = self.source, float(self.cells.sum())
        if source is None:
            return Terminal(ocv if self.contactor_closed else 0.0, 0.0, 0.0, "off")
        if not self.contactor_closed:
            return Terminal(source.voltage, 0.0, 0.0, "CV")
        wanted = (source.voltage - ocv) / self.resistance
        current = min(max(wanted, -source.discharge_current), source.charge_current)
        voltage = ocv + current * self.resistance
        return Terminal(voltage, current, voltage * current, "CV" if current == wanted else "CC")

    def battery_voltage(self) -> float:
        return float(self.cells.sum())

    @property
    def current(self) -> float:
        return self.terminal().current

    def cell_voltages(self) -> np.ndarray:
        return self.cells

    def tap_voltages(self) -> np.ndarray:
        return self.cells

    def measured_degc(self, true: float) -> float:
        return true

    def weld(self, count: int) -> None:
        self.welded = count

    @property
    def feedback(self) -> tuple[bool, bool]:
        return self.contactor_closed or self.welded > 0, self.contactor_closed or self.welded > 1

    def cell_temperatures(self) -> np.ndarray:
        return self.temperatures

    def voltage_between(self, first: int, last: int) -> float:
        return float(self.cells[first : last + 1].sum())

    def ac_resistance(self, first: int, last: int) -> float:
        return 0.0012 * (last - first + 1)

    def impedance(self, first: int, last: int, frequency: float) -> complex:
        """Series resistance and an arc with its top at 10 Hz."""
        return (last - first + 1) * (0.0012 + 0.0015 / (1 + 0.1j * frequency))

    def set_chamber(self, set_point: float | None) -> None:
        self.set_point = set_point

    def bms_soc(self) -> float:
        return 0.5

    def bms_soh(self) -> float:
        return 0.9

    def bms_capacity_ah(self) -> float:
        return 54.0

    def truth(self, rate_c: float = 0.5) -> dict[str, Any]:
        return {"rate_c": rate_c}
