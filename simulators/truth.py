"""What a perfect test bench would find: the capacity test and the resistance pulse, on a copy of the battery."""

from __future__ import annotations

import copy

import numpy as np

from simulators.cells import CellString, charge_fully, discharged_ah
from simulators.pack import Pack

_STEP_S = 5.0
_REST_S = 600.0
_PULSE_REST_S = 1800.0
_PULSE_S = 10.0
# charging ends at C/10
_END_RATE_C = 0.1


def measure(pack: Pack, rate_c: float, ambient_degc: float) -> dict[str, float]:
    """Charge at `rate_c` of the rated capacity, the highest cell then held at its limit until C/10; rest 10 min;
    discharge at `rate_c` until the lowest cell is at its limit; charge to 50 % SOC, rest 30 min, discharge 10 s at 1C.

    Returns capacity_ah and energy_wh of the discharge at the terminals, soh and soce (of the rated ones), weakest_cell
    (the one that ended the discharge, from 0), cell_capacity_mean_ah and cell_capacity_sd_ah (each cell on its own at
    that rate, from rest at its upper limit), soc (now, at rest), dcir_10s_ohm of the pack. The battery is left alone;
    its copy starts from the surroundings' temperature.
    """
    soc = pack.soc
    pack = copy.deepcopy(pack)
    pack.cells.soak(ambient_degc)
    dut = pack.dut
    current = rate_c * dut.rated_capacity_ah

    charge_fully(pack.cells, current, _END_RATE_C * dut.rated_capacity_ah, dut.cell_voltage_max_v)
    pack.attempt(0.0, _REST_S)
    pack.cells.accept()
    capacity, energy, weakest = _discharge(pack, current)

    pack.attempt(current, capacity / 2 / current * 3600)
    pack.cells.accept()
    pack.cells.soak(ambient_degc)
    before = pack.attempt(0.0, _PULSE_REST_S)
    pack.cells.accept()
    dcir = (before - pack.attempt(-dut.rated_capacity_ah, _PULSE_S)) / dut.rated_capacity_ah

    rested = CellString(pack.cells.cells, pack.full, ambient_degc)
    each = discharged_ah(rested, current, dut.cell_voltage_min_v)
    return {
        "capacity_ah": capacity,
        "energy_wh": energy,
        "soh": capacity / dut.rated_capacity_ah,
        "soce": energy / dut.rated_energy_wh,
        "weakest_cell": weakest,
        "cell_capacity_mean_ah": float(each.mean()),
        "cell_capacity_sd_ah": float(each.std()),
        "soc": soc,
        "dcir_10s_ohm": dcir,
    }


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
