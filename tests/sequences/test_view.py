"""What a running step sees: signals, constants, variables, and what the run holds to be so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequences import Context, Counters, Dut, Quality, Sample, Value, View
from sequences.condition import CONSTANTS, SIGNALS
from sequences.view import RATE_WINDOW, Rates, named, value_of

MEASURED = {
    "voltage": 350.0, "current": -30.0, "power": -10500.0, "cell_min": 3.6, "cell_max": 3.7, "cell_spread": 0.1,
    "temperature_min": 20.0, "temperature_max": 30.0, "temperature_rise": 0.01, "chamber_temperature": 25.0,
    "insulation": 700_000.0, "battery_voltage": 351.0, "bms_faults": 2.0,
}  # fmt: skip


def view(dut: Dut, quality: Quality = Quality.GOOD, **more: Any) -> View:
    values = {name: Value(value, 100.0, quality, "test") for name, value in MEASURED.items()}
    sample = Sample(100.0, values, counters=Counters(12.0, 2.0, 4200.0, 700.0))
    at_start = Counters(12.0, 0.0, 4200.0, 0.0)
    return View(sample, 10.0, 60.0, at_start, Context(dut, 50.0, 0.5), Rates(), **more)


@pytest.mark.parametrize(
    ("signal", "value"),
    [
        ("voltage", 350.0),
        ("current", 30.0),
        ("power", 10500.0),
        ("charge", 2.0),
        ("energy", 700.0),
        ("depth", 0.04),
        ("soc", 0.7),
        ("cell_min", 3.6),
        ("cell_max", 3.7),
        ("cell_spread", 0.1),
        ("temperature_min", 20.0),
        ("temperature_max", 30.0),
        ("temperature_rate", 0.01),
        ("chamber_temperature", 25.0),
        ("insulation", 2000.0),
        ("battery_voltage", 351.0),
        ("bms_faults", 2.0),
        ("step_time", 10.0),
        ("total_time", 60.0),
        ("voltage_rate", None),
        ("cell_rate", None),
        ("current_rate", None),
    ],
)
def test_every_signal_has_its_value_in_its_inner_unit(dut: Dut, signal: str, value: float | None) -> None:
    assert signal in SIGNALS
    found = view(dut).signal(signal)
    assert found == (None if value is None else pytest.approx(value))


def test_no_signal_is_without_a_case_here(dut: Dut) -> None:
    """A signal that is added must show what is measured under its name, or something of its own."""
    known = view(dut)
    never_at_once = {"voltage_rate", "cell_rate", "current_rate"}
    assert {name for name in SIGNALS if known.signal(name) is None} == never_at_once


def test_charges_and_energies_are_in_coherent_units_for_expressions(dut: Dut) -> None:
    assert view(dut).value("charge") == pytest.approx(2.0 * 3600)
    assert view(dut).value("energy") == pytest.approx(700.0 * 3600)
    assert view(dut).value("rated_capacity") == pytest.approx(60.0 * 3600)
    assert view(dut).value("rated_energy") == pytest.approx(20900.0 * 3600)
    assert view(dut).value("nominal_voltage") == 350.0
    assert set(CONSTANTS) == {"rated_capacity", "rated_energy", "nominal_voltage"}


@pytest.mark.parametrize("quality", [Quality.STALE, Quality.BAD])
def test_what_is_not_good_is_unknown_and_what_is_counted_is_not(dut: Dut, quality: Quality) -> None:
    counted = {"charge", "energy", "depth", "soc", "step_time", "total_time"}
    seen = view(dut, quality)
    assert {name for name in SIGNALS if seen.signal(name) is not None} == counted
    assert all(seen.value(name) is None for name in set(SIGNALS) - counted)


# ----------------------------------------------------------------------------------------------------- names and values


def test_names_are_looked_up_as_signals_constants_roles_variables_and_measurements(dut: Dut) -> None:
    context = Context(dut, 50.0, 0.5, frozenset({"chamber"}))
    context.know("x", 1.0)
    context.measured["stateOfHealth"] = 0.8
    assert value_of("x", context) == 1.0
    assert value_of("stateOfHealth", context) == 0.8
    assert value_of("has_chamber", context) is True
    assert value_of("has_voltmeter", context) is False
    assert value_of("grade_certain", context) is None
    assert value_of("never_set", context) is None


def test_a_variable_is_its_newest_value_and_remembers_the_others(dut: Dut) -> None:
    seen = view(dut)
    for value in (1.0, 3.0, 2.0):
        seen.context.know("x", value)
    assert seen.value("x") == 2.0
    assert seen.history("x") == [1.0, 3.0, 2.0]
    seen.context.know("x", None)
    assert seen.value("x") is None
    assert seen.history("x") == [1.0, 3.0, 2.0]
    seen.context.know("x", 4.0)
    assert seen.value("x") == 4.0
    assert seen.history("voltage") is None, "a signal has no history of the run"


def test_a_variable_that_never_could_be_had_is_unknown(dut: Dut) -> None:
    context = Context(dut, 50.0, 0.5)
    context.know("x", None)
    assert value_of("x", context) is None


def test_a_name_is_given_out_in_its_inner_unit(dut: Dut) -> None:
    context = Context(dut, 50.0, 0.5)
    context.know("q", 3600.0)
    assert named(context, {"q": "charge"}, "q") == 1.0
    assert named(context, {"q": "resistance"}, "q") == 3600.0
    assert named(context, {}, "nothing") is None


# ------------------------------------------------------------------------------------------------------ state of charge


def net(ah: float) -> Counters:
    return Counters(charged_ah=500.0 + max(ah, 0.0), discharged_ah=500.0 - min(ah, 0.0))


def test_the_state_of_charge_is_counted_from_where_it_was_known(dut: Dut) -> None:
    context = Context(dut, 50.0, 0.5)
    assert context.state_of_charge(net(10.0)) == pytest.approx(0.7)
    context.know_soc(0.2, net(10.0))
    assert context.state_of_charge(net(10.0)) == pytest.approx(0.2)
    assert context.state_of_charge(net(15.0)) == pytest.approx(0.3)


def test_only_from_full_to_empty_a_capacity_is_learnt(dut: Dut) -> None:
    context = Context(dut, 50.0, 0.5)
    context.know_soc(0.0, net(0.0))
    context.know_soc(1.0, net(47.0))
    assert context.capacity == 50.0, "a charge takes more than a discharge gives"
    context.know_soc(0.0, net(3.0))
    assert context.capacity == pytest.approx(44.0)
    context.know_soc(0.0, net(-5.0))
    assert context.capacity == pytest.approx(44.0), "empty twice says nothing more"


@pytest.mark.parametrize("net_at_empty", [99.0, 100.0, 104.0, 94.1])
def test_what_cannot_be_a_capacity_is_none(dut: Dut, net_at_empty: float) -> None:
    context = Context(dut, 50.0, 0.5)
    context.know_soc(1.0, net(100.0))
    context.know_soc(0.0, net(net_at_empty))
    assert context.capacity == 50.0


@given(st.lists(st.tuples(st.floats(0, 1.0), st.floats(-200, 200)), max_size=20))
def test_whatever_becomes_known_the_capacity_stays_one(dut: Dut, known: list[tuple[float, float]]) -> None:
    context = Context(dut, 50.0, 0.5)
    for soc, ah in known:
        context.know_soc(soc, net(ah))
        assert context.capacity > 0
        assert context.state_of_charge(net(ah)) == pytest.approx(soc)


# ---------------------------------------------------------------------------------------------------------------- rates


def shown(t: float, volts: float | None, cells: tuple[float | None, ...] = ()) -> Sample:
    quality = Quality.BAD if volts is None else Quality.GOOD
    values = {
        "voltage": Value(volts or 0.0, t, quality, "test"),
        "current": Value(1.0, t, Quality.GOOD, "test"),
        "cell_min": Value(3.6, t, Quality.GOOD, "test"),
    }
    return Sample(t, values, cells)


def test_a_rate_is_the_slope_over_the_last_minute() -> None:
    rates = Rates()
    for t in range(300):
        rates.show(shown(float(t), 300.0 + (t / 100.0 if t > 200 else 0.0)))
    assert rates.of("voltage") == pytest.approx(0.01)
    assert rates.of("current") == 0.0


def test_samples_further_apart_than_a_minute_still_have_a_rate() -> None:
    """As in a dry run, or on a slow station: the slope between the last two."""
    rates = Rates()
    for minute in range(4):
        rates.show(shown(75.0 * minute, 300.0 + 75.0 * minute))
    assert rates.of("voltage") == pytest.approx(1.0)


def test_cells_that_are_bad_as_a_whole_have_no_rate() -> None:
    rates = Rates()
    for t in range(61):
        sample = shown(float(t), 300.0, (3.6, 3.7))
        stale = Value(3.6, float(t), Quality.STALE, "test")
        rates.show(replace(sample, values={**sample.values, "cell_min": stale}))
    assert rates.of("cell") is None
    assert rates.of("voltage") == 0.0


@given(st.lists(st.tuples(st.floats(0.1, 200.0), st.none() | st.floats(0, 500)), max_size=80))
def test_a_known_rate_spans_at_least_a_minute_and_ends_now(walk: list[tuple[float, float | None]]) -> None:
    rates, t, good = Rates(), 0.0, list[tuple[float, float]]()
    for gap, volts in walk:
        t += gap
        rates.show(shown(t, volts))
        if volts is not None:
            good.append((t, volts))
        rate = rates.of("voltage")
        if volts is None:
            assert rate is None
        if rate is not None:
            slopes = [(volts - v) / (t - at) for at, v in good if t - at >= RATE_WINDOW - 1e-9 and volts is not None]
            assert any(rate == pytest.approx(slope, abs=1e-9) for slope in slopes)
