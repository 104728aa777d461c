"""Two hundred seeded used packs, evaluated and graded: against the grade that the simulator's truth deserves."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from config import shipped_dut_models
from config.simulation import SimulatedBattery
from controller.daemon import load_grade_rules
from controller.recipes import LIBRARY, load_recipe
from controller.run import dut_of
from sequences import GradeRules, Measured, Recipe, Verdict, grade
from simulators.population import draw
from tests.direct import Played, play

MODEL = shipped_dut_models()["nmc_96s_60ah"]
PACKS, SEED = 200, 2026
REUSABLE = ("A", "B", "C")
LEAST_INSULATION = 100.0  # ohm/V: below it nobody may touch the battery
SHORT = 12  # packs of the 200 that every test run evaluates; `make matrix` evaluates them all
ORDER = "ABCDQ"


@lru_cache
def recipe() -> Recipe:
    return load_recipe((LIBRARY / "full_capacity.yaml").read_text(encoding="utf-8"), "full_capacity")[0]


@lru_cache
def rules() -> GradeRules:
    return load_grade_rules("default").for_battery(dut_of(MODEL))


def deserved(truth: Mapping[str, Any], lag: float) -> str | None:
    """The grade of a battery whose every value is known exactly."""
    measured = {
        "stateOfHealth": truth["soh"],
        "internalResistanceIncrease": truth["dcir_increase"],
        "cellSpread": truth["cell_spread_v"],
        "cellResistanceRatio": truth["cell_dcir_ratio"],
        "cellLag": lag,
        "selfDischarge": truth["self_discharge_percent_per_month"] / 100,
        "insulationResistance": truth["insulation_ohm_per_v"],
        "traceability": 1.0 if truth["traceable"] else 0.0,
    }
    return grade(rules(), {name: Measured(float(value)) for name, value in measured.items()}, Verdict.PASS).grade


def within_uncertainty(played: Played) -> bool:
    """Whether the grade is one that some battery within the stated uncertainties deserves."""
    measured = {
        name: Measured(result.value, result.uncertainty or 0.0)
        for name, result in played.results.items()
        if result.value is not None
    }
    worst = grade(rules(), measured, Verdict.PASS, confidence=rules().confidence).grade
    best = grade(rules(), measured, Verdict.PASS, confidence=-rules().confidence).grade
    given = played.graded.grade
    known = None not in (worst, best, given)
    return known and ORDER.index(str(best)) <= ORDER.index(str(given)) <= ORDER.index(str(worst))


def evaluated(battery: SimulatedBattery) -> tuple[Played, str | None]:
    played = play(recipe(), MODEL, battery, rules(), frozenset({"impedance_meter"}), seed=SEED)
    return played, deserved(played.truth, played.lag)


def judged(batteries: list[SimulatedBattery]) -> tuple[int, list[str]]:
    """How many got exactly the grade they deserve, and what is wrong about the others and with safety."""
    exact, wrong = 0, []
    for battery in batteries:
        played, grade_deserved = evaluated(battery)
        given, truth = played.graded.grade, played.truth
        if given == grade_deserved:
            exact += 1
        elif ORDER.index(str(given)) < ORDER.index(str(grade_deserved)) or not within_uncertainty(played):
            wrong.append(f"{battery.code}: {given} for {grade_deserved}: {[r.en for r in played.graded.reasons]}")
        unsafe = "soft_short" in truth["defects"] or truth["insulation_ohm_per_v"] < LEAST_INSULATION
        if unsafe and given in REUSABLE:
            wrong.append(f"{battery.code}: {given} in spite of {truth['defects']}")
        if not played.graded.reasons or not all(reason.en and reason.ko for reason in played.graded.reasons):
            wrong.append(f"{battery.code}: no reasons")
    return exact, wrong


@pytest.mark.timeout(600)
def test_used_packs_get_the_grade_they_deserve_or_a_lower_one_and_unsafe_ones_are_not_reused() -> None:
    exact, wrong = judged(draw(SEED, PACKS, MODEL)[:SHORT])
    assert not wrong
    assert exact >= SHORT - 1


@pytest.mark.matrix
@pytest.mark.timeout(3600)
def test_of_two_hundred_packs_95_percent_get_exactly_the_grade_they_deserve() -> None:
    batteries = draw(SEED, PACKS, MODEL)
    exact, wrong = judged(batteries)
    assert not wrong
    assert exact >= 0.95 * PACKS


def test_the_two_hundred_hold_every_defect_and_every_kind_of_battery() -> None:
    batteries = draw(SEED, PACKS, MODEL)
    assert sum(battery.soft_short is not None for battery in batteries) >= 5
    assert sum(battery.weak_cell is not None for battery in batteries) >= 5
    assert sum(battery.high_joint is not None for battery in batteries) >= 5
    assert sum(not battery.label_readable for battery in batteries) >= 5
    assert np.ptp([battery.soh_mean for battery in batteries]) > 0.3
