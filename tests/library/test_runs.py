"""Every recipe of the library run to its end on simulated instruments, and every defect found by one of them.

Virtual time, production daemon, memory links. All combinations: tests/library/test_matrix.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sequences import Ask
from tests.library.batteries import (
    AGED,
    CODES,
    HIGH_JOINT,
    IMBALANCE,
    IMBALANCED,
    ISOLATION_FAULT,
    JOINT,
    LFP_PACK,
    NMC_MODULE,
    NMC_PACK,
    NO_TRACEABILITY,
    SHORT,
    SOFT_SHORT,
    WEAK,
    WEAK_CELL,
    battery,
)
from tests.library.running import Ran, run
from tests.virtual import Virtual, agreeable, bench_line, in_virtual_time

pytestmark = pytest.mark.timeout(300)

FORECAST = 0.10  # of the duration


def foreseen(ran: Ran) -> bool:
    return abs(ran.foreseen / (3600 * ran.hours) - 1) <= FORECAST


# ------------------------------------------------------------------------------------------------------ incoming


@pytest.fixture(scope="module")
def arrived() -> Ran:
    return run("incoming", NMC_PACK, scan_period=1.0)


def test_incoming_looks_at_a_battery_within_ten_minutes_and_moves_no_energy(arrived: Ran) -> None:
    assert arrived.result["verdict"] == "pass"
    assert arrived.hours * 60 < 10
    assert foreseen(arrived)
    assert arrived.truth["charged_ah"] == arrived.truth["discharged_ah"] == 0
    assert {"insulation_test", "acir", "ocv"} <= set(arrived.steps())


def test_incoming_gives_no_grade_since_it_measures_no_health(arrived: Ran) -> None:
    assert arrived.grade is None
    assert "no grade: not measured" in arrived.reasons
    assert "state of health" in arrived.reasons


def test_an_isolation_fault_is_what_incoming_is_to_find() -> None:
    ran = run("incoming", NMC_PACK, ISOLATION_FAULT, scan_period=1.0)
    assert ran.result["verdict"] == "fail"
    assert ran.grade == "Q"
    assert "insulation below 100 ohm/V" in ran.reasons
    assert ran.value("insulationResistance") < 100
    assert ran.value("bmsFaults") == 1


def test_no_other_recipe_starts_on_an_isolation_fault() -> None:
    assert set(run("quick_capacity_dcir", NMC_MODULE, ISOLATION_FAULT).refused) == {"E-BMS-FAULT", "E-INSULATION"}


def test_what_the_inspection_finds_fails_the_battery_but_all_the_rest_is_measured() -> None:
    def sees_a_leak(question: Ask) -> Any:
        answer = agreeable(question)
        return answer | {"leak": False} if question.answer == "inspect" else answer

    ran = run("incoming", LFP_PACK, scan_period=1.0, operator=sees_a_leak)
    assert ran.result["verdict"] == "fail"
    assert ran.value("defectsSeen") == 1
    assert ran.value("insulationResistance") > 500


def test_incoming_does_without_meters_what_it_can() -> None:
    without = ("insulation_tester", "impedance_meter", "spectrum_meter", "chamber", "code_reader")
    ran = run("incoming", NMC_MODULE, scan_period=1.0, without=without)
    assert ran.result["verdict"] == "pass"
    assert "acResistance" not in ran.result["measurements"]
    assert ran.value("insulationResistance") == pytest.approx(ran.truth["insulation_ohm_per_v"], rel=0.02)


# ------------------------------------------------------------------------------------- pulses, capacity, resistance


def test_the_fast_estimate_is_there_or_refused_within_twenty_minutes(tmp_path: Path) -> None:
    """Of a battery that comes rested: from the start to the decision whether the full test must follow."""

    async def work(virtual: Virtual) -> float:
        started = virtual.clock.now()
        run_id = await virtual.start("fast_pulse", CODES[NMC_PACK])
        active = virtual.station.run_now
        assert active is not None
        await virtual.until(lambda: any(record.name == "provisional" for record in active.records), 4000)
        decided = virtual.clock.now()
        await virtual.station.abort("tester", "seen enough")
        assert (await virtual.result(run_id))["verdict"] == "aborted"
        return decided - started

    assert in_virtual_time(bench_line(tmp_path, battery(NMC_PACK)), work) <= 20 * 60


@pytest.fixture(scope="module")
def pulsed() -> Ran:
    return run("fast_pulse", NMC_MODULE, AGED, agree=1, ambient=22.0)


def test_an_estimate_for_cells_it_was_not_fitted_on_is_refused_and_the_full_test_decides(pulsed: Ran) -> None:
    """The simulator's cells are textbook cells: whatever the estimate says of them would be worth nothing."""
    assert pulsed.value("fastSohInEnvelope") == 0
    assert "rest_before" not in pulsed.detail("fastSohInEnvelope")["why"], "the store knows how long it rested"
    assert "full_test/capacity_discharge (1/4)" in pulsed.steps()
    assert pulsed.value("stateOfHealth") == pytest.approx(100 * pulsed.truth["soh"], abs=1.0)
    assert pulsed.result["verdict"] == "pass"
    assert foreseen(pulsed)


def test_an_aged_battery_goes_to_storage(pulsed: Ran) -> None:
    assert pulsed.grade == "B"
    assert "not A: state of health" in pulsed.reasons


def test_the_chamber_conditions_the_battery_and_is_let_go(pulsed: Ran) -> None:
    assert {"full_test/soak", "full_test/chamber_to_store"} <= set(pulsed.steps())
    assert pulsed.value("temperatureMax") > 25


def test_quick_capacity_finds_the_weak_cell() -> None:
    ran = run("quick_capacity_dcir", NMC_PACK, WEAK_CELL, rate=1 / 2)
    assert ran.value("weakestCell") == WEAK + 1 == ran.truth["weakest_cell"] + 1
    assert ran.value("stateOfHealth") == pytest.approx(100 * ran.truth["soh"], abs=1.0)
    assert ran.result["verdict"] in ("pass", "marginal")
    assert foreseen(ran)


def test_full_capacity_sees_an_imbalance_in_the_spread_and_in_the_capacity() -> None:
    ran = run("full_capacity", NMC_MODULE, IMBALANCE, agree=1)
    assert ran.detail("cellSpread")["lowest_cell"] == IMBALANCED + 1
    assert ran.value("cellSpread") > 30
    assert ran.detail("weakestCell")["cause"] == "imbalance"
    assert ran.grade in ("B", "C", "D")
    assert "spread of cell voltages" in ran.reasons
    assert foreseen(ran)


def test_lfp_capacity_finds_the_joint_with_too_much_resistance() -> None:
    ran = run("lfp_capacity", LFP_PACK, HIGH_JOINT, agree=1)
    assert ran.detail("cellResistanceRatio")["cell"] == JOINT + 1
    assert ran.value("cellResistanceRatio") > 130
    assert ran.value("remainingCapacity") == pytest.approx(ran.truth["capacity_ah"], rel=0.01)
    assert ran.grade in ("B", "C", "D")
    assert foreseen(ran)


# --------------------------------------------------------------------------------- modules, storage, recycling


def test_module_sort_finds_the_soft_short_in_the_store() -> None:
    ran = run("module_sort", NMC_MODULE, SOFT_SHORT, agree=1, store="12 h")
    found = ran.detail("selfDischarge")
    assert found["cell"] == SHORT + 1
    assert ran.value("selfDischarge") > 15
    assert ran.result["verdict"] == "fail"
    assert ran.grade == "D"
    assert foreseen(ran)


def test_a_battery_without_traceability_is_recycled_however_good_it_is() -> None:
    ran = run("quick_capacity_dcir", NMC_MODULE, NO_TRACEABILITY)
    assert ran.value("traceability") == 0
    assert ran.result["verdict"] == "pass"
    assert ran.grade == "D"
    assert "no reuse (IEC 63338)" in ran.reasons


@pytest.fixture(scope="module")
def accepted() -> Ran:
    return run("ess_acceptance", NMC_MODULE, cycles=1)


def test_a_good_module_is_accepted_for_storage(accepted: Ran) -> None:
    assert accepted.result["verdict"] == "pass"
    assert accepted.value("roundTripEfficiency") > 90
    assert accepted.value("functionalSafety") == 1
    assert accepted.grade in ("A", "B")
    assert foreseen(accepted)


def test_days_of_cycling_leave_few_samples(accepted: Ran) -> None:
    assert accepted.samples / accepted.hours < 200, "a sample each second would be 3600"


def test_a_failed_functional_safety_record_fails_the_acceptance() -> None:
    def failed(question: Ask) -> Any:
        return 2 if question.answer == "choice" else agreeable(question)

    ran = run("ess_acceptance", LFP_PACK, operator=failed)
    assert ran.result["verdict"] == "fail"
    assert "functional safety of the BMS" in ran.result["outcome"]["reason"]
    assert "charge" not in ran.steps(), "and no day is spent on cycling it"


def test_recycling_empties_below_what_any_other_recipe_may() -> None:
    ran = run("recycle_discharge", NMC_PACK, AGED, scan_period=5.0)
    assert ran.result["verdict"] == "marginal", "empty, and at a voltage still"
    assert 0.4 < ran.truth["extremes"]["cell_voltage_min"] < 0.6
    assert ran.value("highestCellVoltage") < 2.7
    assert ran.value("lithium") > 1
    assert ran.grade == "D"
    assert "recycle only" in ran.reasons
    assert ran.result["alarms"] == []
    assert foreseen(ran)


def test_what_is_damaged_is_not_discharged_at_all() -> None:
    def swollen(question: Ask) -> Any:
        return agreeable(question) | {"swelling": False}

    ran = run("recycle_discharge", NMC_MODULE, operator=swollen, scan_period=5.0)
    assert ran.result["verdict"] == "fail"
    assert "discharge" not in ran.steps()
    assert ran.truth["discharged_ah"] == 0
