"""Used packs: cells that aged apart, drawn from a seed, with the joints and the insulation around them.

Each cell's state of health is drawn first; lost active material of both electrodes takes random shares of the loss,
and lost lithium is solved from the electrode balance so that the capacity between the model's voltage limits comes out
as drawn. Open-circuit curve, incremental capacity and resistance then follow. The correlation of resistance with health
is that of retired cells (PulseBat: S. Tao et al., Nat. Commun. 2024, s41467-024-54454-0: -0.4 to -0.9 by type).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np

from config.dut import DutModel
from config.simulation import SimulatedBattery
from simulators.cells import CellSet, CellString, charge_fully, discharged_ah
from simulators.electrodes import (
    HYSTERESIS_OF_CHEMISTRY,
    PARAMETERS_OF_CHEMISTRY,
    Array,
    CellParameters,
    balance,
    balance_with_slope,
    rising_root,
)

T = TypeVar("T")

HOURS_PER_MONTH = 720.0
# ISO 6469-1 and UN R100 ask this much of a battery beside an AC circuit, and 100 ohm/V of one alone
SOUND_INSULATION_OHM_PER_V = 500.0
_HEALTH_RESISTANCE_CORRELATION = -0.6
# each electrode's lost material as a share of the lost capacity: less than one, so that lithium remains the limit
_LAM_SHARE = (0.2, 0.5)
_JOINT_OHM = 0.004 / 96
_LEAST_HEALTH = 0.3
_MOST_LITHIUM_LOSS = 0.8


@dataclass(frozen=True)
class Ageing:
    """What happened to each cell; fractions (n,) of the new cell's lithium, active material and resistance."""

    lli: Array
    lam_negative: Array
    lam_positive: Array
    resistance_factor: Array


@dataclass(frozen=True)
class Insulation:
    """Resistance in ohm from each pole to the chassis, and the capacitance in F beside each (the Y capacitors)."""

    positive: float
    negative: float
    y_capacitance: float

    @property
    def both(self) -> float:
        """The two poles in parallel, which is what a leak of either is limited by."""
        return 1 / (1 / self.positive + 1 / self.negative)


@dataclass
class Pack:
    """Cells in series behind their joints. `full`, `empty` (2, n): stoichiometries at rest at the voltage limits."""

    dut: DutModel
    ageing: Ageing
    full: Array
    empty: Array
    cells: CellString
    contact_resistance: float
    insulation: Insulation
    code_label: str | None
    bms_code: str
    broken_thermistor: int | None
    open_tap: int | None
    swapped_taps: int | None
    defects: tuple[str, ...]
    bms_capacity_ah: float
    bms_soc_offset: float

    @classmethod
    def used(cls, dut: DutModel, battery: SimulatedBattery, seed: int, ambient_degc: float = 25.0) -> Pack:
        """The used battery that a seed and a battery code stand for, at rest. Raises ValueError."""
        random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed % 2**64, *battery.code.encode()])))
        parameters = PARAMETERS_OF_CHEMISTRY[dut.chemistry]
        n = dut.series_cells

        health_deviation, resistance_noise, soc_deviation = random.standard_normal((3, n))
        lam_shares = random.uniform(*_LAM_SHARE, (2, n))
        hysteresis = random.uniform(-1, 1)
        _check_cells(battery, n)
        weak, short, joint = battery.weak_cell, battery.soft_short, battery.high_joint
        # defects sit on otherwise average cells, so that they are as deep as configured
        if weak is not None:
            health_deviation[weak.index] = 0.0
        offsets = np.zeros(n)
        for imbalance in battery.imbalance:
            soc_deviation[imbalance.index] = 0.0
            offsets[imbalance.index] = imbalance.soc_offset
        health = np.clip(battery.soh_mean + battery.soh_sd * health_deviation, _LEAST_HEALTH, 1.0)
        lam_negative, lam_positive = lam_shares * (1 - health)
        lli = _lithium_loss(parameters, dut, health, lam_negative, lam_positive)
        if weak is not None:
            lli[weak.index] += weak.extra_lli

        rho = _HEALTH_RESISTANCE_CORRELATION
        deviation = rho * health_deviation + np.sqrt(1 - rho**2) * resistance_noise
        log_variance = np.log1p(battery.resistance_factor_cv**2)
        factor = battery.resistance_factor_mean * np.exp(np.sqrt(log_variance) * deviation - log_variance / 2)

        lithium = parameters.lithium_ah * (1 - lli)
        full = balance(parameters, dut.cell_voltage_max_v, lithium, lam_negative, lam_positive)
        empty = balance(parameters, dut.cell_voltage_min_v, lithium, lam_negative, lam_positive)
        soc = np.clip(battery.soc + battery.soc_offset_sd * soc_deviation + offsets, 0.005, 0.995)
        new = _new_cell(parameters, dut.cell_voltage_max_v, dut.cell_voltage_min_v)
        cells = CellSet(
            parameters,
            dut.rated_capacity_ah / new.delivered_ah,
            dut.rated_capacity_ah,
            lam_negative,
            lam_positive,
            factor,
            hysteresis=_or_default(battery.hysteresis_v, HYSTERESIS_OF_CHEMISTRY[dut.chemistry]),
            self_discharge=battery.self_discharge * dut.rated_capacity_ah / HOURS_PER_MONTH,
            shorts=() if short is None else ((short.index, short.ohm),),
            joints=() if joint is None else ((joint.index, joint.extra_ohm),),
        )
        pack = cls(
            dut=dut,
            ageing=Ageing(lli, lam_negative, lam_positive, factor),
            full=full,
            empty=empty,
            cells=CellString(cells, empty + soc * (full - empty), ambient_degc, hysteresis),
            contact_resistance=_or_default(battery.contact_resistance_ohm, _JOINT_OHM * n),
            insulation=_insulation(battery),
            code_label=battery.code if battery.label_readable else None,
            bms_code=_or_default(battery.bms_code, battery.code),
            broken_thermistor=battery.broken_thermistor,
            open_tap=battery.open_tap,
            swapped_taps=battery.swapped_taps,
            defects=_defects(battery, dut),
            bms_capacity_ah=0.0,
            bms_soc_offset=battery.bms_soc_offset,
        )
        # a BMS learns what a real discharge gives, which is less than the charge between two rests
        pack.bms_capacity_ah = battery.bms_capacity_factor * pack.capacity_ah * new.delivered_ah / new.resting_ah
        return pack

    @property
    def cell_capacities_ah(self) -> Array:
        """Charge (n,) between the voltage limits at vanishing current."""
        return np.asarray((self.full[0] - self.empty[0]) / (self.cells.per_coulomb[0] * 3600))

    def cell_socs(self) -> Array:
        """State of charge (n,) between the voltage limits at rest."""
        present = self.cells.stoichiometries()[0]
        return np.asarray((present - self.empty[0]) / (self.full[0] - self.empty[0]))

    @property
    def capacity_ah(self) -> float:
        """Charge of the pack at vanishing current: the first cell to be full and the first to be empty bound it."""
        to_empty, to_full = self._to_empty_and_full_ah()
        return to_empty + to_full

    @property
    def soc(self) -> float:
        to_empty, to_full = self._to_empty_and_full_ah()
        return to_empty / (to_empty + to_full)

    def attempt(self, current: float, seconds: float) -> float:
        """Terminal voltage after `seconds` more of `current` (+ charges); see CellString.attempt."""
        return self.cells.attempt(current, seconds) + self.contact_resistance * current

    def _to_empty_and_full_ah(self) -> tuple[float, float]:
        socs, capacities = self.cell_socs(), self.cell_capacities_ah
        return float((socs * capacities).min()), float(((1 - socs) * capacities).min())


def _insulation(battery: SimulatedBattery) -> Insulation:
    return Insulation(
        battery.insulation_positive_kohm * 1e3, battery.insulation_negative_kohm * 1e3, battery.y_capacitance_uf * 1e-6
    )


def _defects(battery: SimulatedBattery, dut: DutModel) -> tuple[str, ...]:
    """What is wrong with the battery besides its age, by the names of the configuration."""
    present = {
        "weak_cell": battery.weak_cell,
        "imbalance": battery.imbalance,
        "high_joint": battery.high_joint,
        "soft_short": battery.soft_short,
        "insulation": _insulation(battery).both < SOUND_INSULATION_OHM_PER_V * dut.nominal_voltage_v,
        "no_traceability": not (battery.label_readable or _or_default(battery.bms_code, battery.code)),
        "broken_thermistor": battery.broken_thermistor is not None,
        "open_tap": battery.open_tap is not None,
        "swapped_taps": battery.swapped_taps is not None,
    }
    return tuple(name for name, is_present in present.items() if is_present)


def _or_default(value: T | None, default: T) -> T:
    return default if value is None else value


def _check_cells(battery: SimulatedBattery, n: int) -> None:
    """Raises ValueError for a defect of a cell that the battery does not have."""
    defects = {"weak cell": battery.weak_cell, "high joint": battery.high_joint, "soft short": battery.soft_short}
    if battery.open_tap is not None and battery.open_tap >= n:
        raise ValueError(f"open tap {battery.open_tap} of battery {battery.code}: {battery.model} has cells 0..{n - 1}")
    if battery.swapped_taps is not None and battery.swapped_taps + 1 >= n:
        text = f"swapped taps {battery.swapped_taps} of battery {battery.code}: the last of {n} cells has no next one"
        raise ValueError(text)
    for name, defect in [*defects.items(), *(("imbalance", imbalance) for imbalance in battery.imbalance)]:
        if defect is not None and defect.index >= n:
            raise ValueError(f"{name} {defect.index} of battery {battery.code}: {battery.model} has cells 0..{n - 1}")


@dataclass(frozen=True)
class _NewCell:
    """Capacity in Ah of the published cell between two voltages: at rest, and as ratings are made: charged at C/3 and
    held until C/10, rested 10 min, discharged at C/3."""

    resting_ah: float
    delivered_ah: float


@lru_cache(maxsize=16)
def _new_cell(parameters: CellParameters, voltage_max: float, voltage_min: float) -> _NewCell:
    none, one = np.zeros(1), np.ones(1)
    lithium = np.full(1, parameters.lithium_ah)
    full = balance(parameters, voltage_max, lithium, none, none)
    empty = balance(parameters, voltage_min, lithium, none, none)
    resting = float(full[0, 0] - empty[0, 0]) * parameters.negative.capacity_ah(parameters.area)
    string = CellString(CellSet(parameters, 1.0, resting, none, none, one), empty, 25.0)
    charge_fully(string, resting / 3, resting / 10, voltage_max)
    string.attempt(0.0, 600.0)
    string.accept()
    return _NewCell(resting, float(discharged_ah(string, resting / 3, voltage_min)[0]))


def _lithium_loss(
    parameters: CellParameters, dut: DutModel, health: Array, lam_negative: Array, lam_positive: Array
) -> Array:
    """Lost lithium (n,) as a fraction, so that each cell keeps `health` of a new cell's resting capacity."""
    capacity_n = parameters.negative.capacity_ah(parameters.area) * (1 - lam_negative)
    new = _new_cell(parameters, dut.cell_voltage_max_v, dut.cell_voltage_min_v).resting_ah

    def lost(lli: Array) -> tuple[Array, Array]:
        """How far the cell's capacity is below what is wanted, in Ah, and by how much that grows with lost lithium."""
        lithium = parameters.lithium_ah * (1 - lli)
        full, full_slope = balance_with_slope(parameters, dut.cell_voltage_max_v, lithium, lam_negative, lam_positive)
        empty, empty_slope = balance_with_slope(parameters, dut.cell_voltage_min_v, lithium, lam_negative, lam_positive)
        slope = parameters.lithium_ah * (full_slope - empty_slope) * capacity_n
        return health * new - (full[0] - empty[0]) * capacity_n, slope

    return rising_root(lost, np.zeros_like(health), np.full_like(health, _MOST_LITHIUM_LOSS))
