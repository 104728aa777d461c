"""One recipe for several chemistries: a parameter's default may go by the battery."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from pydantic import ValidationError

from sequences import Dut, FaultError, Recipe
from tests.sequences.playing import cc, document


def recipe_with(parameter: dict[str, Any], dut: Dut | None, **given: Any) -> Recipe:
    return Recipe.from_data(document(cc(cell_voltage="$empty"), parameters={"empty": parameter}), given, dut=dut)


def empty(recipe: Recipe) -> float:
    (step,) = recipe.steps
    return float(step.cell_voltage)  # type: ignore[union-attr]


EMPTY = {"default": "2.70 V", "by_chemistry": {"LFP": "2.50 V", "LMO": "3.00 V"}, "min": "2.4 V"}


@pytest.mark.parametrize(("chemistry", "volts"), [("NMC", 2.7), ("LFP", 2.5), ("LMO", 3.0)])
def test_a_default_goes_by_the_batterys_chemistry(dut: Dut, chemistry: str, volts: float) -> None:
    assert empty(recipe_with(EMPTY, dataclasses.replace(dut, chemistry=chemistry))) == volts


def test_without_a_battery_the_general_default_counts() -> None:
    assert empty(recipe_with(EMPTY, None)) == 2.7


def test_what_a_run_gives_counts_before_every_default(dut: Dut) -> None:
    assert empty(recipe_with(EMPTY, dataclasses.replace(dut, chemistry="LFP"), empty="2.6 V")) == 2.6


def test_a_default_may_go_by_kind(dut: Dut) -> None:
    by_kind = {"default": "2.70 V", "by_kind": {"module": "2.80 V"}}
    assert empty(recipe_with(by_kind, dataclasses.replace(dut, kind="module"))) == 2.8
    assert empty(recipe_with(by_kind, dut)) == 2.7


@pytest.mark.parametrize(
    "change",
    [
        {"by_chemistry": {"LFP": "2.3 V"}},  # below its own min
        {"by_chemistry": {"LFP": "2.5 A"}},  # another quantity
        {"by_chemistry": {"NiMH": "1.0 V"}},  # no such chemistry
        {"by_kind": {"pack": "2.6 V"}},  # by both
    ],
)
def test_a_default_that_no_run_might_give_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        recipe_with(EMPTY | change, None)


def test_a_called_recipe_gets_the_defaults_of_the_same_battery(dut: Dut) -> None:
    inner = document(cc(cell_voltage="$empty"), parameters={"empty": EMPTY})
    outer = document({"step": "call", "name": "inner", "recipe": "inner"})
    lfp = dataclasses.replace(dut, chemistry="LFP")
    (call,) = Recipe.from_data(outer, library={"inner": inner}.__getitem__, dut=lfp).steps
    assert empty(call.body) == 2.5  # type: ignore[union-attr]


def test_which_recipe_is_called_may_go_by_the_battery(dut: Dut) -> None:
    library = {name: document(cc(name=name)) for name in ("full_capacity", "lfp_capacity")}
    outer = document(
        {"step": "call", "name": "test", "recipe": "$which"},
        parameters={"which": {"default": "full_capacity", "by_chemistry": {"LFP": "lfp_capacity"}}},
    )

    def called(battery: Dut, **given: Any) -> str:
        (call,) = Recipe.from_data(outer, given, library.__getitem__, battery).steps
        return call.body.steps[0].name  # type: ignore[union-attr,no-any-return]

    assert called(dut) == "full_capacity"
    assert called(dataclasses.replace(dut, chemistry="LFP")) == "lfp_capacity"
    assert called(dut, which="lfp_capacity") == "lfp_capacity"
    with pytest.raises(FaultError, match="no recipe 'recipe_of_another_library'"):
        called(dut, which="recipe_of_another_library")
    with pytest.raises(FaultError, match="not of the kind"):
        called(dut, which="4.2 V")


def test_a_recipes_id_has_no_range() -> None:
    with pytest.raises(ValidationError, match="no bound"):
        recipe_with({"default": "full_capacity", "min": "a"}, None)


def test_the_content_hash_does_not_depend_on_the_battery(dut: Dut) -> None:
    lfp = dataclasses.replace(dut, chemistry="LFP")
    assert recipe_with(EMPTY, dut).content_hash == recipe_with(EMPTY, lfp).content_hash
