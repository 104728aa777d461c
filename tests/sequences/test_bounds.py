"""The limits a run is held to: the tightest of recipe, battery, station, and the steps at work."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequences import Bound, Dut, Narrowing, Recipe, Safety, StationLimits, effective_bounds, tightest
from sequences.safety import RISING
from tests.sequences.playing import SHIPPED, document, rest

SAFETY = Safety.model_validate(SHIPPED["safety"])


def by_name(safety: Safety, dut: Dut, station: StationLimits, **more: bool) -> dict[str, Bound]:
    return {bound.name: bound for bound in effective_bounds(safety, dut, station, **more)}


def test_every_bound_of_the_safety_block_is_watched_once(dut: Dut, station: StationLimits) -> None:
    names = [bound.name for bound in effective_bounds(SAFETY, dut, station)]
    assert names == list(Safety.model_fields)


def test_upper_bounds_are_those_that_rise(dut: Dut, station: StationLimits) -> None:
    for bound in effective_bounds(SAFETY, dut, station):
        assert (bound.side > 0) == (bound.name in RISING)


def test_levels_are_the_recipes_in_inner_units(dut: Dut, station: StationLimits) -> None:
    bounds = by_name(SAFETY, dut, station)
    assert (bounds["cell_voltage_max"].warn, bounds["cell_voltage_max"].trip) == (4.22, 4.25)
    assert bounds["voltage_max"].trip == pytest.approx(4.25 * 96)
    assert bounds["charge_current"].trip == pytest.approx(0.6 * 60)
    assert bounds["temperature_rise"].trip == pytest.approx(2 / 60)
    assert bounds["insulation"].trip == pytest.approx(100 * 350)
    assert bounds["total_throughput"].trip == pytest.approx(3 * 60)
    assert bounds["total_time"].trip == 36000.0
    assert bounds["cell_spread"].delay == 5.0


@pytest.mark.parametrize(
    ("name", "changes", "trip"),
    [
        ("cell_voltage_max", {"cell_voltage_hard_max": 4.23}, 4.23),
        ("cell_voltage_min", {"cell_voltage_hard_min": 2.6}, 2.6),
        ("voltage_max", {"cell_voltage_hard_max": 4.1}, 4.1 * 96),
        ("voltage_min", {"cell_voltage_hard_min": 2.65}, 2.65 * 96),
        ("charge_current", {"max_charge_current": 20.0}, 22.0),
        ("discharge_current", {"max_discharge_current": 30.0}, 33.0),
        ("temperature_max", {"temperature_max": 40.0}, 40.0),
        ("temperature_min", {"temperature_min": 12.0}, 12.0),
    ],
)
def test_the_battery_cuts_down_what_the_recipe_allows(
    dut: Dut, station: StationLimits, name: str, changes: dict[str, float], trip: float
) -> None:
    bound = by_name(SAFETY, replace(dut, **changes), station)[name]
    assert bound.trip == pytest.approx(trip)
    assert bound.warn <= bound.trip if bound.side > 0 else bound.warn >= bound.trip, "a warning never comes too late"


@pytest.mark.parametrize(
    ("name", "changes", "trip"),
    [
        ("voltage_max", {"max_voltage": 390.0}, 390.0),
        ("charge_current", {"max_charge_current": 10.0}, 11.0),
        ("discharge_current", {"max_discharge_current": 10.0}, 11.0),
    ],
)
def test_so_does_the_station(
    dut: Dut, station: StationLimits, name: str, changes: dict[str, float], trip: float
) -> None:
    assert by_name(SAFETY, dut, replace(station, **changes))[name].trip == pytest.approx(trip)


def test_what_takes_cells_empty_has_its_own_lower_voltages_in_place_of_the_batterys(
    dut: Dut, station: StationLimits
) -> None:
    low = {"warn": "1 V", "trip": "500 mV", "delay": "1 s"}
    pack = {"warn": "1 V/cell", "trip": "0.5 V/cell", "delay": "1 s"}
    deep = Safety.model_validate(SHIPPED["safety"] | {"cell_voltage_min": low, "voltage_min": pack})
    usual, taken = by_name(deep, dut, station), by_name(deep, dut, station, takes_empty=True)
    assert (usual["cell_voltage_min"].trip, taken["cell_voltage_min"].trip) == (2.5, 0.5)
    assert (usual["voltage_min"].trip, taken["voltage_min"].trip) == (pytest.approx(240.0), pytest.approx(48.0))
    others = set(usual) - {"cell_voltage_min", "voltage_min"}
    assert all(usual[name] == taken[name] for name in others), "and nothing else"


def test_a_level_is_passed_beyond_it_and_not_at_it(dut: Dut, station: StationLimits) -> None:
    bounds = by_name(SAFETY, dut, station)
    high, low = bounds["temperature_max"], bounds["temperature_min"]
    assert [high.passed(value, high.trip) for value in (49.9, 50.0, 50.1)] == [False, False, True]
    assert [low.passed(value, low.trip) for value in (5.1, 5.0, 4.9)] == [False, False, True]


# ------------------------------------------------------------------------------------------------------------ narrowing


def test_a_narrowing_replaces_its_bounds_and_leaves_the_others() -> None:
    narrowing = Narrowing.model_validate({"temperature_max": {"warn": "35 degC", "trip": "40 degC", "delay": "1 s"}})
    narrowed = SAFETY.narrowed(narrowing)
    assert narrowed.temperature_max.trip == 40.0
    assert narrowed.temperature_min == SAFETY.temperature_min
    assert SAFETY.narrowed(None) is SAFETY


def test_a_narrowing_has_no_bounds_that_the_safety_block_lacks() -> None:
    assert set(Narrowing.model_fields) == set(Safety.model_fields)


# a number for each bound's level; the trip of an upper bound lies above its warning
levels = st.tuples(st.floats(1, 100), st.floats(0, 50), st.floats(0, 10))


def bound(name: str, side: int, level: tuple[float, float, float]) -> Bound:
    warn, beyond, delay = level
    return Bound(name, name, side, warn, warn + side * beyond, delay, "V")


@given(levels, levels, st.sampled_from([1, -1]))
def test_the_tightest_of_two_warns_and_trips_where_either_does(
    a: tuple[float, float, float], b: tuple[float, float, float], side: int
) -> None:
    one, other = bound("x", side, a), bound("x", side, b)
    (found,) = tightest([one], [other])
    for value in [level for x in (one, other) for level in (x.warn, x.trip)]:
        for beyond in (value - 1e-6, value + 1e-6):
            assert found.passed(beyond, found.trip) == (
                one.passed(beyond, one.trip) or other.passed(beyond, other.trip)
            )
            assert found.passed(beyond, found.warn) == (
                one.passed(beyond, one.warn) or other.passed(beyond, other.warn)
            )
    assert found.delay == min(one.delay, other.delay)
    assert tightest([other], [one]) == [found]
    assert tightest([found], [one]) == [found]


def test_whatever_a_step_says_the_runs_own_bounds_hold_besides(dut: Dut, station: StationLimits) -> None:
    """The check refuses a narrowing that is wider than the recipe's; should one get through, it widens nothing."""
    wide: Any = {"temperature_max": {"warn": "70 degC", "trip": "80 degC", "delay": "60 s"}}
    recipe = Recipe.from_data(document(rest("a", safety=wide)))
    own = effective_bounds(recipe.safety.narrowed(recipe.steps[0].safety), dut, station)
    (found,) = [b for b in tightest(effective_bounds(recipe.safety, dut, station), own) if b.name == "temperature_max"]
    assert (found.trip, found.delay) == (50.0, 2.0)
