"""Used packs: what the configuration asks for is what the cells are."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.dut import DutModel, shipped_dut_models
from config.simulation import SimulatedBattery, WeakCell
from simulators.electrodes import balance
from simulators.pack import Pack

NMC = shipped_dut_models()["nmc_96s_60ah"]
LFP = NMC.model_copy(
    update={"chemistry": "LFP", "series_cells": 16, "cell_voltage_min_v": 2.5, "cell_voltage_max_v": 3.6}
)
BOTH = pytest.mark.parametrize("dut", [NMC, LFP], ids=lambda dut: dut.chemistry)


def used(dut: DutModel = NMC, seed: int = 1, code: str = "PHE96-000001", **of_battery: object) -> Pack:
    return Pack.used(dut, SimulatedBattery.model_validate({"model": dut.id, "code": code, **of_battery}), seed)


def new_capacity_ah(dut: DutModel) -> float:
    """Between the voltage limits at rest."""
    pack = used(dut, soh_mean=1.0, soh_sd=0.0, resistance_factor_mean=1.0, resistance_factor_cv=0.0, soc_offset_sd=0.0)
    return float(pack.cell_capacities_ah.mean())


def test_the_same_seed_and_code_are_the_same_battery() -> None:
    first, second = used(seed=7), used(seed=7)
    assert np.array_equal(first.cells.voltages, second.cells.voltages)
    assert np.array_equal(first.ageing.resistance_factor, second.ageing.resistance_factor)


@pytest.mark.parametrize("other", [{"seed": 8}, {"code": "PHE96-000002"}])
def test_another_seed_or_code_is_another_battery(other: dict[str, object]) -> None:
    first = used(seed=7)
    second = used(**{"seed": 7, **other})  # type: ignore[arg-type]
    assert not np.array_equal(first.cells.voltages, second.cells.voltages)


@BOTH
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), mean=st.floats(0.65, 0.92))
def test_health_is_drawn_as_configured(dut: DutModel, seed: int, mean: float) -> None:
    pack = used(dut, seed, soh_mean=mean, soh_sd=0.02)
    health = pack.cell_capacities_ah / new_capacity_ah(dut)
    tolerance = 4 * 0.02 / np.sqrt(dut.series_cells)
    assert health.mean() == pytest.approx(mean, abs=tolerance)
    assert health.std() == pytest.approx(0.02, abs=tolerance)


@BOTH
def test_lost_lithium_and_material_explain_the_lost_capacity(dut: DutModel) -> None:
    """Rebuild one cell's balance from its ageing alone."""
    pack = used(dut, soh_mean=0.8)
    parameters, ageing = pack.cells.cells.parameters, pack.ageing
    lithium = parameters.lithium_ah * (1 - ageing.lli)
    full = balance(parameters, dut.cell_voltage_max_v, lithium, ageing.lam_negative, ageing.lam_positive)
    empty = balance(parameters, dut.cell_voltage_min_v, lithium, ageing.lam_negative, ageing.lam_positive)
    area = parameters.area * pack.cells.cells.scale
    capacity = (full[0] - empty[0]) * parameters.negative.capacity_ah(area) * (1 - ageing.lam_negative)
    assert pack.cell_capacities_ah == pytest.approx(capacity)
    assert (ageing.lli > 0).all()
    assert (ageing.lam_negative > 0).all()
    assert (ageing.lam_positive > 0).all()


def test_resistance_is_lognormal_and_higher_in_weaker_cells() -> None:
    many = NMC.model_copy(update={"series_cells": 400})
    pack = used(many, resistance_factor_mean=1.4, resistance_factor_cv=0.1)
    factor = pack.ageing.resistance_factor
    assert factor.mean() == pytest.approx(1.4, rel=0.02)
    assert factor.std() / factor.mean() == pytest.approx(0.1, rel=0.15)
    assert np.corrcoef(np.log(factor), pack.cell_capacities_ah)[0, 1] == pytest.approx(-0.6, abs=0.12)


@pytest.mark.parametrize("index", [0, 40, 95])
def test_the_weak_cell_is_where_it_was_put(index: int) -> None:
    pack = used(weak_cell=WeakCell(index=index, extra_lli=0.05))
    assert int(np.argmin(pack.cell_capacities_ah)) == index


def test_a_weak_cell_outside_the_pack_is_refused() -> None:
    with pytest.raises(ValueError, match="has cells"):
        used(weak_cell=WeakCell(index=96, extra_lli=0.05))


@BOTH
@pytest.mark.parametrize("soc", [0.05, 0.35, 0.9])
def test_the_state_of_charge_is_as_configured(dut: DutModel, soc: float) -> None:
    pack = used(dut, soc=soc, soc_offset_sd=0.01)
    assert pack.cell_socs().mean() == pytest.approx(soc, abs=0.01)
    assert pack.cell_socs().std() == pytest.approx(0.01, abs=0.005)


@BOTH
def test_full_and_empty_cells_show_the_models_limits(dut: DutModel) -> None:
    parameters = used(dut).cells.cells.parameters
    for stoichiometry, voltage in ((used(dut).full, dut.cell_voltage_max_v), (used(dut).empty, dut.cell_voltage_min_v)):
        shown = parameters.positive.open_circuit(stoichiometry[1]) - parameters.negative.open_circuit(stoichiometry[0])
        assert shown == pytest.approx(voltage, abs=1e-6)


def test_the_pack_holds_no_more_than_its_weakest_cell() -> None:
    balanced = used(soc_offset_sd=0.0)
    imbalanced = used(soc_offset_sd=0.03)
    assert balanced.capacity_ah == pytest.approx(balanced.cell_capacities_ah.min(), rel=0.01)
    assert imbalanced.capacity_ah < balanced.capacity_ah


def test_joints_add_their_resistance() -> None:
    loose, tight = used(contact_resistance_ohm=0.02), used(contact_resistance_ohm=0.0)
    assert loose.attempt(10.0, 1.0) - tight.attempt(10.0, 1.0) == pytest.approx(0.2, abs=1e-9)


def test_a_copied_pack_goes_its_own_way() -> None:
    pack = used()
    before = pack.cells.voltages.copy()
    twin = copy.deepcopy(pack)
    twin.attempt(-60.0, 600.0)
    twin.cells.accept()
    assert np.array_equal(pack.cells.voltages, before)
    assert twin.soc < pack.soc
