"""The batteries that the library's recipes are tried on: three kinds, each in order or with one thing wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from config import DutModel, shipped_dut_models

MODELS = shipped_dut_models()
NMC_PACK, LFP_PACK, NMC_MODULE, LMO_PACK, NMC_CELL = (
    "nmc_96s_60ah", "lfp_100s_72ah", "nmc_12s_60ah", "lmo_96s_66ah", "nmc_1s_60ah",
)  # fmt: skip
CODES = {
    NMC_PACK: "PHE96-004713",
    LFP_PACK: "PHL100-004713",
    NMC_MODULE: "PHM12-004713",
    LMO_PACK: "PHO96-004713",
    NMC_CELL: "PHC01-004713",
}
WEAK, IMBALANCED, JOINT, SHORT = 7, 3, 5, 9  # cells, from 0: every battery but the single cell has them


@dataclass(frozen=True)
class Condition:
    """What a battery is like: fields of the simulation, by its model."""

    name: str
    fields: Callable[[DutModel], dict[str, Any]]

    def __str__(self) -> str:
        return self.name


def _ohm(milliohm: float, dut: DutModel) -> float:
    """As much for its current as so much is for the current of 60 Ah."""
    return milliohm * 1e-3 * 60 / dut.rated_capacity_ah


GOOD = Condition("good", lambda dut: {})
AGED = Condition("aged", lambda dut: {"soh_mean": 0.72, "soh_sd": 0.015, "resistance_factor_mean": 1.7})
WEAK_CELL = Condition("weak cell", lambda dut: {"weak_cell": {"index": WEAK, "extra_lli": 0.10}})
IMBALANCE = Condition("imbalanced", lambda dut: {"imbalance": [{"index": IMBALANCED, "soc_offset": -0.06}]})
HIGH_JOINT = Condition("high joint", lambda dut: {"high_joint": {"index": JOINT, "extra_ohm": _ohm(1.5, dut)}})
SOFT_SHORT = Condition(
    "soft short",
    lambda dut: {
        "soft_short": {"index": SHORT, "ohm": 100.0},
        "imbalance": [{"index": SHORT, "soc_offset": -0.05}],
    },
)
# 50 ohm/V: half of what UN R100 and ISO 6469-1 ask for
ISOLATION_FAULT = Condition(
    "isolation fault", lambda dut: {"insulation_positive_kohm": 50 * dut.nominal_voltage_v / 1e3}
)
NO_TRACEABILITY = Condition("no traceability", lambda dut: {"label_readable": False, "bms_code": ""})
CONDITIONS = (GOOD, AGED, WEAK_CELL, IMBALANCE, HIGH_JOINT, SOFT_SHORT, ISOLATION_FAULT, NO_TRACEABILITY)


def battery(model: str, condition: Condition = GOOD) -> dict[str, Any]:
    """The simulated battery as a line file has it: a used one in order, but for its condition."""
    sound = {
        "model": model, "code": CODES[model], "soc": 0.35, "soh_mean": 0.92, "soh_sd": 0.008, "soc_offset_sd": 0.002,
        "resistance_factor_mean": 1.1, "resistance_factor_cv": 0.05,
    }  # fmt: skip
    return sound | condition.fields(MODELS[model])
