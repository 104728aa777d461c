"""Each defect of a battery shows where an instrument would find it, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from simulators.bms_gateway import BmsGateway
from tests.simulators.live_world import DISCHARGE_30A, MODELS, NMC, Line, connected, line


def test_an_aged_battery_without_a_defect_names_none() -> None:
    assert line().world.truth()["defects"] == []


@pytest.mark.parametrize(
    ("defect", "name"),
    [
        ({"weak_cell": {"index": 4, "extra_lli": 0.1}}, "weak_cell"),
        ({"imbalance": [{"index": 4, "soc_offset": -0.05}]}, "imbalance"),
        ({"high_joint": {"index": 4, "extra_ohm": 5e-4}}, "high_joint"),
        ({"soft_short": {"index": 4, "ohm": 100.0}}, "soft_short"),
        ({"insulation_negative_kohm": 20.0}, "insulation"),
        ({"label_readable": False, "bms_code": ""}, "no_traceability"),
        ({"broken_thermistor": 3}, "broken_thermistor"),
    ],
)
def test_every_defect_is_named_alone(defect: dict[str, object], name: str) -> None:
    assert line(dut_cells=12, **defect).world.truth()["defects"] == [name]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "defect",
    [
        {"weak_cell": {"index": 12, "extra_lli": 0.1}},
        {"imbalance": [{"index": 0, "soc_offset": 0.05}, {"index": 12, "soc_offset": 0.05}]},
        {"high_joint": {"index": 12, "extra_ohm": 5e-4}},
        {"soft_short": {"index": 12, "ohm": 100.0}},
    ],
)
def test_a_defect_of_a_cell_that_is_not_there_is_refused(defect: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"12 of battery PHE96-000001: .* has cells 0\.\.11"):
        line(dut_cells=12, **defect)  # type: ignore[arg-type]


# --- cells ---------------------------------------------------------------------------------------------------------


def test_imbalanced_cells_lie_where_they_were_put_and_cost_capacity() -> None:
    offsets = [{"index": 3, "soc_offset": -0.06}, {"index": 8, "soc_offset": 0.05}]
    sound, bad = (line(soc_offset_sd=0.0, soh_sd=0.0, imbalance=imbalance) for imbalance in ([], offsets))
    moved = bad.world.pack.cell_socs() - sound.world.pack.cell_socs()
    assert moved[[3, 8]] == pytest.approx([-0.06, 0.05], abs=1e-9)
    assert np.delete(moved, [3, 8]) == pytest.approx(0.0, abs=1e-12)
    assert bad.world.truth()["soh"] == pytest.approx(0.89 * sound.world.truth()["soh"], rel=0.01)
    assert bad.world.truth()["soc_spread"] == pytest.approx(0.11)


def test_on_lfps_plateau_imbalance_hides_until_the_ends() -> None:
    it = line(dut=MODELS["lfp_100s_72ah"], imbalance=[{"index": 3, "soc_offset": -0.1}], soh_sd=0.0, soc_offset_sd=0.0)
    truth = it.world.truth()
    assert truth["cell_spread_v"] < 0.015
    assert truth["cell_spread_full_v"] > 0.1
    assert truth["weakest_cell"] == 3


def test_a_soft_short_falls_behind_while_the_battery_stands() -> None:
    it = line(dut_cells=12, soc=0.5, soft_short={"index": 4, "ohm": 100.0}, soc_offset_sd=0.0)
    before = it.world.cell_voltages()
    it.wait(24 * 3600)
    fallen = before - it.world.cell_voltages()
    assert fallen.argmax() == 4
    assert fallen[4] == pytest.approx(0.0145, rel=0.1)
    assert np.delete(fallen, 4).max() < 0.001


@pytest.mark.parametrize("waits", [[30 * 86400], [3600] * 24 * 30])
def test_a_month_on_the_shelf_costs_what_is_configured(waits: list[int]) -> None:
    it = line(dut_cells=4, soc=0.5, self_discharge=0.03)
    before = it.world.pack.cell_socs() * it.world.pack.cell_capacities_ah
    for seconds in waits:
        it.wait(seconds)
        it.world.advance()
    after = it.world.pack.cell_socs() * it.world.pack.cell_capacities_ah
    assert before - after == pytest.approx(0.03 * 60, rel=1e-9)
    assert it.world.charged_ah == it.world.discharged_ah == 0.0


def test_a_short_loses_the_same_however_often_one_asks() -> None:
    often, once = (line(dut_cells=4, soc=0.5, soft_short={"index": 1, "ohm": 60.0}) for _ in range(2))
    for _ in range(1000):
        often.wait(60)
        often.world.advance()
    once.wait(60_000)
    assert once.world.cell_voltages() == pytest.approx(often.world.cell_voltages(), abs=1e-5)


def test_a_high_joint_is_read_by_its_tap_only_while_current_flows() -> None:
    sound, bad = (connected(high_joint=joint) for joint in (None, {"index": 7, "extra_ohm": 5e-4}))
    assert bad.world.cell_voltages() == pytest.approx(sound.world.cell_voltages(), abs=1e-12)
    for it in (sound, bad):
        it.world.drive(DISCHARGE_30A)
        it.wait(10)
    seen = sound.world.cell_voltages() - bad.world.cell_voltages()
    assert seen[7] == pytest.approx(30 * 5e-4, rel=1e-3)
    assert np.delete(seen, 7) == pytest.approx(0.0, abs=1e-9)
    assert sound.world.battery_voltage() - bad.world.battery_voltage() == pytest.approx(30 * 5e-4, rel=1e-3)


def test_a_high_joint_ends_a_discharge_early() -> None:
    sound, bad = (
        line(dut_cells=12, soh_sd=0.0, soc_offset_sd=0.0, high_joint=joint).world.truth(1.0)
        for joint in (None, {"index": 7, "extra_ohm": 2e-3})
    )
    assert bad["weakest_cell"] == bad["cell_dcir_cell"] == 7
    assert bad["capacity_ah"] < sound["capacity_ah"]


# --- around the cells ----------------------------------------------------------------------------------------------


def test_insulation_is_both_poles_in_parallel() -> None:
    it = line(insulation_positive_kohm=3000.0, insulation_negative_kohm=20.0)
    world = it.world
    assert (world.pack.insulation.positive, world.pack.insulation.negative) == (3e6, 20e3)
    assert world.insulation_ohm == pytest.approx(19_867.5, rel=1e-5)
    assert world.truth()["insulation_ohm_per_v"] == pytest.approx(19_867.5 / 350, rel=1e-5)


def test_a_label_and_a_bms_can_tell_different_codes_or_none() -> None:
    agreeing = line().world
    assert agreeing.code_label == agreeing.bms_code == "PHE96-000001"
    swapped = line(bms_code="PHE96-999999").world
    assert (swapped.code_label, swapped.bms_code) == ("PHE96-000001", "PHE96-999999")
    half, untraceable = line(label_readable=False).world, line(label_readable=False, bms_code="").world
    assert (half.code_label, half.bms_code) == (None, "PHE96-000001")
    assert (untraceable.code_label, untraceable.bms_code) == (None, "")
    assert [it.truth()["traceable"] for it in (agreeing, swapped, half, untraceable)] == [True, True, True, False]


# --- as the BMS tells it -------------------------------------------------------------------------------------------


def words(it: Line, address: int, count: int) -> list[int]:
    return BmsGateway(it.world, NMC).inputs(address, count)


def test_the_bms_tells_no_code_when_it_has_none() -> None:
    assert words(line(label_readable=False, bms_code=""), 20, 16) == [0] * 16


def test_a_broken_thermistor_reads_not_available_and_is_a_fault() -> None:
    it = line(broken_thermistor=3)
    assert [index for index, word in enumerate(words(it, 300, 8)) if word == 0x8000] == [3]
    assert words(it, 15, 1) == [1 << 8]
    assert words(line(), 15, 1) == [0]


def test_bad_insulation_is_a_fault() -> None:
    it = line(insulation_positive_kohm=30.0)
    assert words(it, 10, 1) == [30]
    assert words(it, 15, 1) == [1 << 5]


def test_a_bms_can_be_wrong_about_the_charge_it_starts_with() -> None:
    it = line(soc=0.5, bms_soc_offset=-0.08)
    assert it.world.bms_soc() == pytest.approx(it.world.pack.soc - 0.08)
    assert words(it, 7, 1) == [round(1000 * it.world.bms_soc())]
