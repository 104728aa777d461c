"""Populations of used batteries, as an evaluation centre receives them: aged unequally, and some with a defect.

Resistance grows with lost health as it does in retired cells (PulseBat: S. Tao et al., Nat. Commun. 2024,
s41467-024-54454-0; 5 s pulses at 50 % SOC, log-linear fit over SOH), and 7 % of scatter around that remains.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from config.dut import DutModel
from config.simulation import SimulatedBattery

# shares of batteries with each defect; a battery has one at most
SHARES: Mapping[str, float] = MappingProxyType(
    {
        "weak_cell": 0.08,
        "imbalance": 0.08,
        "high_joint": 0.06,
        "soft_short": 0.06,
        "insulation": 0.07,
        "no_traceability": 0.05,
        "broken_thermistor": 0.03,
    }
)
SIZE = 200  # of a population that `drawn` names
_HEALTH = (0.55, 0.98)
# of a beta distribution over that range: mean 0.84, standard deviation 0.09
_HEALTH_SHAPE = (2.6, 1.3)
_RESISTANCE_GROWTH = {"NMC": 2.2, "NCA": 2.2, "LMO": 1.5, "LFP": 0.8}
_RESISTANCE_SCATTER = 0.07
# a BMS that counts charge loses its way where the open-circuit voltage is flat
_BMS_SOC_ERROR = {"NMC": 0.02, "NCA": 0.02, "LMO": 0.03, "LFP": 0.06}


def draw(seed: int, n: int, dut: DutModel, shares: Mapping[str, float] = SHARES) -> list[SimulatedBattery]:
    """n used batteries of a model, the same for the same seed; `shares` says how many have which defect.

    Raises ValueError for shares above 1 or a model whose codes do not end in a number of `[0-9]{k}` digits.
    """
    kinds = [*shares, ""]
    healthy = 1 - sum(shares.values())
    if healthy < -1e-9:
        raise ValueError(f"shares of defects add up to {1 - healthy:g}")
    random = np.random.Generator(np.random.PCG64(seed))
    batteries = []
    for number in range(n):
        kind = str(random.choice(kinds, p=[*shares.values(), max(healthy, 0.0)]))
        battery = _sound(random, dut) | (_DEFECTS[kind](random, dut) if kind else {})
        code = _code(dut, seed * n + number)
        batteries.append(SimulatedBattery.model_validate({"model": dut.id, "code": code, **battery}))
    return batteries


class Populations:
    """Used batteries by seed and model, one after the other."""

    def __init__(self) -> None:
        self._taken: Counter[tuple[int | None, str]] = Counter()

    def battery(self, wanted: SimulatedBattery, dut: DutModel) -> SimulatedBattery:
        """The battery itself or, where it is to be drawn, the next one but for the keys that are given besides.

        It is the next one until one is taken. Raises ValueError as `draw` does.
        """
        if wanted.drawn is None:
            return wanted
        population = draw(wanted.drawn, SIZE, dut)
        given = wanted.model_dump(exclude_unset=True, exclude={"drawn"})
        next_one = population[self._taken[wanted.drawn, wanted.model] % SIZE]
        return SimulatedBattery.model_validate(next_one.model_dump() | given)

    def take(self, wanted: SimulatedBattery) -> None:
        self._taken[wanted.drawn, wanted.model] += 1


def _code(dut: DutModel, number: int) -> str:
    match = re.fullmatch(r"([\w-]+)\[0-9\]\{(\d+)\}", dut.code_pattern)
    if match is None:
        raise ValueError(f"{dut.id}: no codes can be made for the pattern {dut.code_pattern!r}")
    digits = int(match[2])
    return f"{match[1]}{number % 10**digits:0{digits}}"


Fields = dict[str, Any]


def _sound(random: np.random.Generator, dut: DutModel) -> Fields:
    low, high = _HEALTH
    soh = low + (high - low) * random.beta(*_HEALTH_SHAPE)
    growth = np.exp(_RESISTANCE_GROWTH[dut.chemistry] * (1 - soh) + _RESISTANCE_SCATTER * random.standard_normal())
    positive, negative = np.exp(random.uniform(np.log(1000), np.log(20000), 2))
    return {
        "soc": random.uniform(0.3, 0.6),
        "soh_mean": soh,
        "soh_sd": random.uniform(0.01, 0.03),
        "resistance_factor_mean": float(np.clip(growth, 0.8, 5)),
        "resistance_factor_cv": random.uniform(0.05, 0.10),
        "soc_offset_sd": random.uniform(0.002, 0.006),
        "insulation_positive_kohm": positive,
        "insulation_negative_kohm": negative,
        "bms_capacity_factor": random.normal(1.03, 0.03),
        "bms_soc_offset": float(np.clip(random.normal(0, _BMS_SOC_ERROR[dut.chemistry]), -0.2, 0.2)),
    }


def _weak_cell(random: np.random.Generator, dut: DutModel) -> Fields:
    return {"weak_cell": {"index": _cell(random, dut), "extra_lli": random.uniform(0.08, 0.15)}}


def _imbalance(random: np.random.Generator, dut: DutModel) -> Fields:
    """One to three cells, all to one side."""
    cells = random.choice(dut.series_cells, size=min(int(random.integers(1, 4)), dut.series_cells), replace=False)
    side = random.choice((-1, 1))
    offsets = side * random.uniform(0.03, 0.10, cells.size)
    pairs = zip(cells.tolist(), offsets.tolist(), strict=True)
    return {"imbalance": [{"index": cell, "soc_offset": offset} for cell, offset in pairs]}


def _high_joint(random: np.random.Generator, dut: DutModel) -> Fields:
    """0.2 to 1 mohm at a cell of 60 Ah; as much for the current of other cells."""
    ohm = np.exp(random.uniform(np.log(0.2e-3), np.log(1e-3))) * 60 / dut.rated_capacity_ah
    return {"high_joint": {"index": _cell(random, dut), "extra_ohm": ohm}}


def _soft_short(random: np.random.Generator, dut: DutModel) -> Fields:
    """50 to 500 ohm, after standing so long that the cell has fallen 5 to 25 % behind the others."""
    cell, ohm = _cell(random, dut), np.exp(random.uniform(np.log(50), np.log(500)))
    behind = {"index": cell, "soc_offset": -random.uniform(0.05, 0.25)}
    return {"soft_short": {"index": cell, "ohm": ohm}, "imbalance": [behind]}


def _insulation(random: np.random.Generator, dut: DutModel) -> Fields:
    """One pole at 10 to 400 ohm/V: most below the 100 ohm/V of ISO 6469-1, some only below its 500."""
    kohm = np.exp(random.uniform(np.log(10), np.log(400))) * dut.nominal_voltage_v / 1e3
    return {random.choice(("insulation_positive_kohm", "insulation_negative_kohm")): kohm}


def _no_traceability(random: np.random.Generator, dut: DutModel) -> Fields:
    return {"label_readable": False, "bms_code": ""}


def _broken_thermistor(random: np.random.Generator, dut: DutModel) -> Fields:
    return {"broken_thermistor": int(random.integers(max(1, dut.series_cells // dut.cells_per_module)))}


def _cell(random: np.random.Generator, dut: DutModel) -> int:
    return int(random.integers(dut.series_cells))


_DEFECTS = {
    "weak_cell": _weak_cell,
    "imbalance": _imbalance,
    "high_joint": _high_joint,
    "soft_short": _soft_short,
    "insulation": _insulation,
    "no_traceability": _no_traceability,
    "broken_thermistor": _broken_thermistor,
}
