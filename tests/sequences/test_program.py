from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sequences import Dut, Recipe, estimate_durations, expand

Build = Callable[[dict[tuple[str | int, ...], Any]], Recipe]


def test_a_repeat_runs_its_steps_times_in_total(recipe_with: Build) -> None:
    labels = [planned.label for planned in expand(recipe_with({}))]
    assert [label for label in labels if label.startswith("pulse")] == ["pulse (1/3)", "pulse (2/3)", "pulse (3/3)"]
    assert labels[:3] == ["arrival", "acir", "charge"]
    assert [planned.index for planned in expand(recipe_with({}))] == list(range(len(labels)))


def test_the_estimate_follows_the_charge_that_is_moved(recipe_with: Build, dut: Dut) -> None:
    plan = expand(recipe_with({}))
    hours = {p.label: s / 3600 for p, s in zip(plan, estimate_durations(plan, dut, 0.4, 50.0), strict=True)}
    assert hours["charge"] == pytest.approx(0.6 * 50 / 30, rel=0.3)
    assert hours["discharge_to_80"] == pytest.approx(0.2 * 50 / 30)
    assert hours["discharge_30 (3/3)"] == pytest.approx(0.2 * 50 / 30), "only 20 % are left"
    assert hours["discharge_to_empty"] == pytest.approx(0.0, abs=1e-9)
