"""What the language must know of a battery and of a station to check and to run a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dut:
    """Ratings of a battery model: V, A, Ah, Wh, ohm, degC; cell values are per series cell."""

    model: str
    kind: str
    chemistry: str
    series_cells: int
    rated_capacity: float
    rated_energy: float
    nominal_voltage: float
    cell_voltage_min: float
    cell_voltage_max: float
    cell_voltage_hard_min: float
    cell_voltage_hard_max: float
    max_charge_current: float
    max_discharge_current: float
    temperature_min: float
    temperature_max: float
    initial_dcir: float
    capacity_factor_c2_to_c3: float


@dataclass(frozen=True, slots=True)
class StationLimits:
    """What a station stands, the tightest of its wiring and its cycler: V, A, A, W; and what each of its roles can."""

    max_voltage: float
    max_charge_current: float
    max_discharge_current: float
    max_power: float
    capabilities: Mapping[str, frozenset[str]]

    @property
    def roles(self) -> frozenset[str]:
        return frozenset(self.capabilities)
