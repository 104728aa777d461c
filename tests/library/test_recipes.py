"""The library's recipes, before anything moves: whole, clean for their batteries, and foreseen to their end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from config import read_document
from config.documents import Document
from controller.daemon import load_grade_rules
from controller.instruments import capabilities_of
from controller.recipes import LIBRARY, library_ids, load_recipe
from controller.run import dut_of
from sequences import Recipe, StationLimits, Verdict, dry_run
from sequences.check import check, check_rules
from tests.library.batteries import LFP_PACK, LMO_PACK, MODELS, NMC_CELL, NMC_MODULE, NMC_PACK, battery
from tests.virtual import bench_line

OPTIONAL = ("impedance_meter", "spectrum_meter", "insulation_tester", "chamber", "code_reader")
# which batteries each recipe is for, of those that ship
FOR = {
    "incoming": (NMC_PACK, LFP_PACK, NMC_MODULE, LMO_PACK, NMC_CELL),
    "fast_pulse": (NMC_PACK, LFP_PACK, NMC_MODULE, LMO_PACK, NMC_CELL),
    "full_capacity": (NMC_PACK, NMC_MODULE, LMO_PACK, NMC_CELL),
    "quick_capacity_dcir": (NMC_PACK, NMC_MODULE),
    "lfp_capacity": (LFP_PACK,),
    "module_sort": (NMC_MODULE,),
    "ess_acceptance": (NMC_PACK, LFP_PACK, NMC_MODULE, LMO_PACK),
    "recycle_discharge": (NMC_PACK, LFP_PACK, NMC_MODULE, LMO_PACK, NMC_CELL),
}
PAIRS = [(recipe, model) for recipe, models in FOR.items() for model in models]
RULES = load_grade_rules("default")


def text_of(recipe: str) -> str:
    return (LIBRARY / f"{recipe}.yaml").read_text(encoding="utf-8")


def loaded(recipe: str, model: str) -> Recipe:
    found, _ = load_recipe(text_of(recipe), recipe, dut=dut_of(MODELS[model]))
    return found


def limits(tmp_path: Any, model: str, without: tuple[str, ...] = ()) -> StationLimits:
    """What the bench line's station stands and can."""
    station = bench_line(tmp_path, battery(model), without=without).stations["st01"]
    ratings = station.ratings
    return StationLimits(
        max_voltage=ratings.max_voltage_v,
        max_charge_current=ratings.max_charge_current_a,
        max_discharge_current=ratings.max_discharge_current_a,
        max_power=ratings.max_power_w,
        capabilities=capabilities_of(station),
    )


def test_the_library_holds_these_recipes() -> None:
    assert library_ids() == sorted(FOR)


@pytest.mark.parametrize("recipe", FOR)
def test_a_recipe_is_called_as_its_file_and_says_whom_it_follows(recipe: str) -> None:
    found, _ = load_recipe(text_of(recipe), recipe)
    assert found.id == recipe
    assert found.references
    assert Recipe.from_data(found.to_data(), library=_library).content_hash == found.content_hash


def _library(name: str) -> Any:
    return read_document(LIBRARY / f"{name}.yaml").data


@pytest.mark.parametrize("recipe", FOR)
def test_a_recipe_can_be_read_in_one_sitting(recipe: str) -> None:
    lines = text_of(recipe).splitlines()
    assert len(lines) <= 300
    assert all(len(line) <= 160 for line in lines)


@pytest.mark.parametrize(("recipe", "model"), PAIRS)
def test_nothing_is_wrong_with_a_recipe_for_its_batteries(recipe: str, model: str, tmp_path: Any) -> None:
    found, dut = loaded(recipe, model), dut_of(MODELS[model])
    assert check(found, dut, limits(tmp_path, model)) == []
    assert check_rules(found, RULES.for_battery(dut)) == []


@pytest.mark.parametrize(("recipe", "model"), PAIRS)
def test_a_station_without_what_is_optional_will_do(recipe: str, model: str, tmp_path: Any) -> None:
    found = loaded(recipe, model)
    needed = {role for role, need in found.roles.items() if not need.optional}
    without = tuple(role for role in OPTIONAL if role not in needed)
    assert check(found, dut_of(MODELS[model]), limits(tmp_path, model, without)) == []


@pytest.mark.parametrize("recipe", FOR)
def test_a_recipe_refuses_every_other_battery(recipe: str) -> None:
    for model in MODELS.keys() - set(FOR[recipe]):
        codes = [finding.code for finding in check(loaded(recipe, model), dut_of(MODELS[model]))]
        assert "E-NOT-FOR-DUT" in codes, model


@pytest.mark.parametrize(("recipe", "model"), PAIRS)
def test_on_a_battery_in_order_it_is_foreseen_to_pass(recipe: str, model: str, tmp_path: Any) -> None:
    found, dut = loaded(recipe, model), dut_of(MODELS[model])
    station = limits(tmp_path, model)
    forecast = dry_run(found, dut, station, soc=0.35, capacity=0.92 * dut.rated_capacity, rules=RULES)
    assert forecast.finish.verdict is Verdict.PASS, forecast.finish
    assert forecast.seconds < found.safety.total_time.warn
    throughput = forecast.charged + forecast.discharged
    assert throughput <= found.safety.total_throughput.warn * dut.rated_capacity


def texts(data: Any) -> Iterator[dict[str, str]]:
    """Every text in a document."""
    if isinstance(data, dict):
        if data.keys() & {"en", "ko"}:
            yield data
        for value in data.values():
            yield from texts(value)
    elif isinstance(data, list):
        for value in data:
            yield from texts(value)


@pytest.mark.parametrize("name", [*FOR, "grades_default"])
def test_every_text_is_in_both_languages(name: str) -> None:
    document: Document = read_document(LIBRARY / f"{name}.yaml")
    for text in texts(document.data):
        assert text.keys() == {"en", "ko"}
        assert not any("가" <= letter <= "힣" for letter in text["en"]), text
        assert any("가" <= letter <= "힣" for letter in text["ko"]), text


@pytest.mark.parametrize("recipe", FOR)
def test_current_flows_only_where_a_recipe_is_for_that(recipe: str) -> None:
    found, _ = load_recipe(text_of(recipe), recipe)
    assert found.drives == (recipe != "incoming")
    assert found.destructive == (recipe == "recycle_discharge")


@pytest.mark.parametrize("recipe", [recipe for recipe in FOR if recipe != "quick_capacity_dcir"])
def test_long_steps_keep_few_samples(recipe: str) -> None:
    """A journal of days at a second each would be gigabytes, and say nothing more."""

    def unruled(steps: list[Any], ruled: bool = False) -> Iterator[str]:
        for step in steps:
            longest = max(getattr(step, "max_time", 0.0) or 0.0, getattr(step, "duration", 0.0) or 0.0)
            follows = ruled or step.record is not None  # a rule goes for the steps inside too
            if longest > 1800 and not follows and step.step in ("rest", "cc", "cccv", "cp", "go_to_soc"):
                yield step.name
            for part in ("steps", "then", "otherwise", "setup", "last"):
                yield from unruled(getattr(step, part, []) or [], follows)

    found, _ = load_recipe(text_of(recipe), recipe)
    assert list(unruled(found.steps)) == []
