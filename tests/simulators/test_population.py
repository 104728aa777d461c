"""Populations of used batteries: drawn from a seed, spread as retired ones are, with the defects asked for."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from config.dut import model_of_code
from config.simulation import SimulatedBattery
from simulators.pack import Pack
from simulators.population import SHARES, draw
from tests.simulators.live_world import MODELS, NMC

LFP, MODULE = MODELS["lfp_100s_72ah"], MODELS["nmc_12s_60ah"]


def defect_of(battery: SimulatedBattery) -> str:
    present = {
        "weak_cell": battery.weak_cell,
        "soft_short": battery.soft_short,
        "imbalance": battery.imbalance and not battery.soft_short,
        "high_joint": battery.high_joint,
        "insulation": min(battery.insulation_positive_kohm, battery.insulation_negative_kohm) < 500,
        "no_traceability": not battery.label_readable and battery.bms_code == "",
        "broken_thermistor": battery.broken_thermistor is not None,
    }
    (found,) = [name for name, is_present in present.items() if is_present] or [""]
    return found


def test_the_same_seed_draws_the_same_batteries_and_another_seed_others() -> None:
    assert draw(3, 20, NMC) == draw(3, 20, NMC)
    assert draw(3, 20, NMC) != draw(4, 20, NMC)


def test_a_larger_population_begins_with_the_smaller_one() -> None:
    fields = {"code"}
    small, large = ([b.model_dump(exclude=fields) for b in draw(3, n, NMC)] for n in (10, 50))
    assert large[:10] == small


@pytest.mark.parametrize("model", sorted(MODELS))
def test_codes_are_the_models_own_and_none_twice(model: str) -> None:
    codes = [battery.code for seed in (1, 2) for battery in draw(seed, 100, MODELS[model])]
    assert len(set(codes)) == 200
    assert {model_of_code(code, MODELS).id for code in codes} == {model}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_defect_occurs_in_200_at_about_its_share(seed: int) -> None:
    found = Counter(defect_of(battery) for battery in draw(seed, 200, NMC))
    for name, share in SHARES.items():
        assert 1 <= found[name] <= 200 * share + 4 * np.sqrt(200 * share)
    assert found[""] > 80


def test_a_share_of_one_makes_all_batteries_so_and_none_makes_them_sound() -> None:
    assert {defect_of(battery) for battery in draw(1, 20, NMC, {"soft_short": 1.0})} == {"soft_short"}
    assert {defect_of(battery) for battery in draw(1, 20, NMC, {})} == {""}


def test_shares_above_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"add up to 1\.2"):
        draw(1, 1, NMC, {"soft_short": 0.6, "insulation": 0.6})


def test_a_model_without_numbered_codes_is_refused() -> None:
    with pytest.raises(ValueError, match="no codes can be made"):
        draw(1, 1, NMC.model_copy(update={"code_pattern": "PHE96-.*"}))


def test_health_spreads_over_the_range_and_resistance_grows_as_it_falls() -> None:
    batteries = draw(1, 400, NMC)
    health = np.array([battery.soh_mean for battery in batteries])
    resistance = np.array([battery.resistance_factor_mean for battery in batteries])
    assert 0.55 <= health.min() < 0.65
    assert 0.95 < health.max() <= 0.98
    assert -0.97 < np.corrcoef(health, np.log(resistance))[0, 1] < -0.85


def test_lfp_resists_less_for_its_health_and_its_bms_knows_its_charge_worse() -> None:
    nmc, lfp = draw(1, 300, NMC), draw(1, 300, LFP)
    for field, more, less in (("resistance_factor_mean", nmc, lfp), ("bms_soc_offset", lfp, nmc)):
        wide, narrow = (np.std([getattr(battery, field) for battery in batteries]) for batteries in (more, less))
        assert wide > 1.5 * narrow


@pytest.mark.parametrize("dut", [NMC, LFP, MODULE], ids=lambda dut: dut.id)
def test_cells_within_a_battery_spread_as_drawn(dut: object) -> None:
    for battery in draw(5, 4, dut, {}):  # type: ignore[arg-type]
        pack = Pack.used(dut, battery, 1)  # type: ignore[arg-type]
        spread = pack.cell_capacities_ah.std() / pack.cell_capacities_ah.mean()
        assert 0.005 < spread < 0.05
        assert 0.02 < pack.ageing.resistance_factor.std() / pack.ageing.resistance_factor.mean() < 0.16


@pytest.mark.parametrize("model", sorted(MODELS))
def test_every_drawn_battery_can_be_made(model: str) -> None:
    for battery in draw(9, 15, MODELS[model], {name: 1 / len(SHARES) for name in SHARES}):
        assert np.isfinite(Pack.used(MODELS[model], battery, 1).cells.voltages).all()
