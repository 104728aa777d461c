from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from config import read_document
from sequences import Dut, Recipe, StationLimits

LIBRARY = Path(__file__).parents[2] / "sequences" / "library"


@pytest.fixture(scope="session")
def dut() -> Dut:
    return Dut(
        model="pack_96s", kind="pack", chemistry="NMC", series_cells=96, rated_capacity=60.0, rated_energy=20900.0,
        nominal_voltage=350.0, cell_voltage_min=2.7, cell_voltage_max=4.2, cell_voltage_hard_min=2.5,
        cell_voltage_hard_max=4.25, max_charge_current=60.0, max_discharge_current=90.0, temperature_min=5.0,
        temperature_max=50.0, initial_dcir=0.18, capacity_factor_c2_to_c3=1.004,
    )  # fmt: skip


@pytest.fixture(scope="session")
def station() -> StationLimits:
    capabilities = {
        "cycler": frozenset[str](),
        "interlock": frozenset[str](),
        "battery_monitor": frozenset({"cell_voltages", "insulation"}),
        "temperature_scanner": frozenset[str](),
        "impedance_meter": frozenset({"acir"}),
    }
    return StationLimits(450.0, 80.0, 80.0, 30000.0, capabilities)


@pytest.fixture(scope="session")
def library_recipe() -> Any:
    """The data of the shipped recipe; copy before changing."""
    return read_document(LIBRARY / "quick_capacity_dcir.yaml").data


@pytest.fixture
def recipe_with(library_recipe: Any) -> Callable[..., Recipe]:
    """The shipped recipe with values replaced: recipe_with({("steps", 2, "current"): "2C"})."""

    def build(changes: dict[tuple[str | int, ...], Any]) -> Recipe:
        data = copy.deepcopy(library_recipe)
        for path, value in changes.items():
            place = data
            for part in path[:-1]:
                place = place[part]
            if value is None:
                del place[path[-1]]
            else:
                place[path[-1]] = value
        return Recipe.from_data(data)

    return build
