"""What a perfect test bench would find: capacity, resistances and spread on a copy of the battery, and its defects."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np

from simulators.cells import CellString, charge_fully, discharged_ah
from simulators.electrodes import Array
from simulators.pack import HOURS_PER_MONTH, Pack

_STEP_S = 5.0
# between the points where resistance is measured only the heat needs steps, which a minute resolves
_LONG_STEP_S = 60.0
_PULSE_S = 10.0
_PULSE_SOCS = (0.8, 0.5, 0.2)


def measure(
    pack: Pack, rate_c: float, ambient_degc: float, end_rate_c: float = 0.1, rest_s: float = 600.0
) -> dict[str, Any]:
    """Charge at `rate_c` of the rated capacity, the highest cell then held until `end_rate_c`; rest; discharge at
    `rate_c` until the lowest cell is at its limit, once for the capacity and once with rests and discharge pulses of
    10 s at 1C where 80, 50 and 20 % of it are left. Every rest takes `rest_s`.

    Cell voltages are those that the BMS's taps show; cells are counted from 0. The battery is left alone; its copy
    starts at the surroundings' temperature. Returns

    - capacity_ah, energy_wh: of the discharge at the terminals; soh, soce: as a fraction of the rated ones
    - weakest_cell: the one that ended the discharge
    - cell_capacity_mean_ah, cell_capacity_sd_ah: each cell on its own at that rate, from rest at its upper limit
    - soc: now, at rest
    - dcir_10s_ohm (the pack's at 50 % SOC), dcir_10s_80_ohm, dcir_10s_20_ohm; dcir_increase: of the new battery's
    - cell_dcir_ratio, cell_dcir_cell: the highest cell's 10 s resistance over the median at 50 % SOC, and that cell
    - cell_spread_v: highest less lowest cell at the end of the rest at 50 % SOC; cell_spread_full_v and
      cell_spread_empty_v: after the rest at the ends; soc_spread: highest less lowest cell's state of charge, now
    - insulation_ohm: both poles in parallel; insulation_ohm_per_v: over the nominal voltage
    - self_discharge_percent_per_month, leaking_cell: of the worst cell at 50 % SOC, in rated capacities
    - traceable: whether the label or the BMS tells a code; defects: the names of those present
    """
    soc, soc_spread = pack.soc, float(np.ptp(pack.cell_socs()))
    pack = copy.deepcopy(pack)
    pack.cells.soak(ambient_degc)
    dut = pack.dut
    rated = dut.rated_capacity_ah
    current = rate_c * rated

    charge_fully(pack.cells, current, end_rate_c * rated, dut.cell_voltage_max_v)
    _rest(pack, rest_s)
    spread_full = _spread(pack)
    pulsed = copy.deepcopy(pack)
    capacity, energy, weakest = _discharge(pack, current)
    _rest(pack, rest_s)
    spread_empty = _spread(pack)

    dcir, left = {}, 1.0
    for point in _PULSE_SOCS:
        _discharge_for(pulsed, current, (left - point) * capacity / current * 3600)
        _rest(pulsed, rest_s)
        left = point
        if point == 0.5:
            spread = _spread(pulsed)
            leaks = pulsed.cells.leaks()
        dcir[point], ohms = _pulse(pulsed)
        if point == 0.5:
            cell_ohms = ohms

    rested = CellString(pack.cells.cells, pack.full, ambient_degc, pulsed.cells.hysteresis)
    each = discharged_ah(rested, current, dut.cell_voltage_min_v)
    return {
        "capacity_ah": capacity,
        "energy_wh": energy,
        "soh": capacity / rated,
        "soce": energy / dut.rated_energy_wh,
        "weakest_cell": weakest,
        "cell_capacity_mean_ah": float(each.mean()),
        "cell_capacity_sd_ah": float(each.std()),
        "soc": soc,
        "dcir_10s_ohm": dcir[0.5],
        "dcir_10s_80_ohm": dcir[0.8],
        "dcir_10s_20_ohm": dcir[0.2],
        "dcir_increase": dcir[0.5] / dut.initial_dcir_ohm - 1,
        "cell_dcir_ratio": float(cell_ohms.max() / np.median(cell_ohms)),
        "cell_dcir_cell": int(np.argmax(cell_ohms)),
        "cell_spread_v": spread,
        "cell_spread_full_v": spread_full,
        "cell_spread_empty_v": spread_empty,
        "soc_spread": soc_spread,
        "insulation_ohm": pack.insulation.both,
        "insulation_ohm_per_v": pack.insulation.both / dut.nominal_voltage_v,
        "self_discharge_percent_per_month": float(100 * leaks.max() * HOURS_PER_MONTH / rated),
        "leaking_cell": int(np.argmax(leaks)),
        "traceable": pack.code_label is not None or pack.bms_code != "",
        "defects": list(pack.defects),
    }


def _rest(pack: Pack, seconds: float) -> None:
    pack.attempt(0.0, seconds)
    pack.cells.accept()


def _spread(pack: Pack) -> float:
    return float(np.ptp(pack.cells.voltages))


def _discharge_for(pack: Pack, current: float, seconds: float) -> None:
    steps = math.ceil(seconds / _LONG_STEP_S)
    for _ in range(steps):
        pack.attempt(-current, seconds / steps)
        pack.cells.accept()


def _pulse(pack: Pack) -> tuple[float, Array]:
    """Resistance of the pack and of each cell (n,) after 10 s at 1C, in ohm; changes nothing."""
    current = pack.dut.rated_capacity_ah
    cells = pack.cells.voltages.copy()
    before = float(cells.sum())
    after = pack.attempt(-current, _PULSE_S)
    return (before - after) / current, np.asarray((cells - pack.cells.attempted) / current)


def _discharge(pack: Pack, current: float) -> tuple[float, float, int]:
    """Charge in Ah and energy in Wh until the lowest cell is empty, and which one it was; ends within the last step."""
    cells, limit = pack.cells, pack.dut.cell_voltage_min_v
    charge = energy = 0.0
    voltage = pack.attempt(-current, 0.0)
    cells.accept()
    while True:
        lowest = float(cells.voltages.min())
        moved = pack.attempt(-current, _STEP_S)
        weakest = int(np.argmin(cells.attempted))
        part = min(1.0, (lowest - limit) / (lowest - float(cells.attempted[weakest])))
        step_charge = current * part * _STEP_S / 3600
        charge += step_charge
        energy += step_charge * (voltage + part * (moved - voltage) / 2)
        if part < 1.0:
            pack.attempt(-current, part * _STEP_S)
            cells.accept()
            return charge, energy, weakest
        voltage = moved
        cells.accept()
