"""How each step behaves that lets current flow or waits, shown samples one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import TypeAdapter

from sequences import Context, Counters, Drive, Dut, NoCurrent, Quality, Sample, Value, View
from sequences.actions import Ended
from sequences.flow import Step
from sequences.leaf import run_of
from sequences.runs import StepRun
from sequences.view import Rates

STEP: TypeAdapter[Any] = TypeAdapter(Step)
CC = {"step": "cc", "name": "s", "direction": "discharge", "current": "C/2", "cell_voltage": "2.7 V", "max_time": "1 h"}
CCCV = {
    "step": "cccv", "name": "s", "current": "C/2", "cell_voltage": "4.2 V", "max_time": "4 h",
    "ends": [{"when": "current <= C/10", "hold": "5 s"}],
}  # fmt: skip
CP = {"step": "cp", "name": "s", "direction": "discharge", "power": "7 kW", "cell_voltage": "2.7 V", "max_time": "4 h"}
CR = {
    "step": "cr", "name": "s", "resistance": "40 ohm", "current": "C/10", "cell_voltage": "1 V", "max_time": "4 h",
}  # fmt: skip
GO_TO = {
    "step": "go_to_soc", "name": "s", "soc": "50 %", "current": "C/2", "max_time": "4 h",
    "cell_voltage_min": "2.7 V", "cell_voltage_max": "4.2 V",
}  # fmt: skip
PULSE = {
    "step": "pulse", "name": "s", "cell_voltage_min": "2.7 V", "cell_voltage_max": "4.2 V",
    "pulses": [{"direction": "discharge", "current": "1C", "duration": "10 s", "rest": "40 s"}],
}  # fmt: skip
TRAIN = PULSE | {
    "pulses": [
        {"direction": "discharge", "current": "1C", "duration": "10 s", "rest": "40 s"},
        {"direction": "charge", "current": "0.75C", "duration": "5 s", "rest": "20 s"},
    ]
}
PROFILE = {
    "step": "profile", "name": "s", "of": "current", "cell_voltage_min": "2.8 V", "cell_voltage_max": "4.15 V",
    "rows": [["0 s", "-30 A"], ["10 s", "15 A"], ["20 s", "0 A"], ["30 s", "-60 A"], ["40 s", "0 A"]],
}  # fmt: skip
DEAD: dict[str, float | None] = dict.fromkeys(
    ("voltage", "current", "power", "cell_min", "cell_max", "temperature_min", "temperature_max"), None
)


class Bench:
    """Shows a step samples one after another, as the program would."""

    def __init__(self, dut: Dut, data: dict[str, Any], *, soc: float = 0.5, capacity: float = 50.0) -> None:
        self.context = Context(dut, capacity, soc)
        self.run: StepRun = run_of(STEP.validate_python(data))

    def view(self, t: float, net_ah: float = 0.0, **values: float | None) -> View:
        measured = {
            name: Value(value or 0.0, t, Quality.BAD if value is None else Quality.GOOD, "test")
            for name, value in values.items()
        }
        counters = Counters(charged_ah=max(net_ah, 0.0), discharged_ah=max(-net_ah, 0.0))
        return View(Sample(t, measured, counters=counters), t, t, Counters(), self.context, Rates())

    def start(self, **values: float | None) -> Any:
        return self.run.start(self.view(0.0, **values))

    def show(self, t: float, net_ah: float = 0.0, **values: float | None) -> Any:
        return self.run.update(self.view(t, net_ah, **values))


@pytest.mark.parametrize("data", [CC, CCCV, CP, CR, GO_TO, PROFILE | {"rows": [["0 s", "-30 A"], ["1 h", "0 A"]]}])
def test_bad_values_never_end_a_step_and_never_change_its_set_point(dut: Dut, data: dict[str, Any]) -> None:
    bench = Bench(dut, data, soc=0.8)
    assert isinstance(bench.start(**DEAD), Drive)
    for t in range(1, 60):
        assert bench.show(float(t), **DEAD) is None


# -------------------------------------------------------------------------------------------------------- rest, cc


def test_rest_lasts_its_duration_with_the_output_off(dut: Dut) -> None:
    bench = Bench(dut, {"step": "rest", "name": "s", "duration": "10 min"})
    assert bench.start() == NoCurrent()
    assert bench.show(599.0) is None
    assert bench.show(600.0) == Ended("duration")


def test_a_discharge_is_driven_by_its_c_rate_down_to_the_pack_voltage_of_its_cells(dut: Dut) -> None:
    assert Bench(dut, CC).start() == Drive(current=-30.0, voltage=pytest.approx(2.7 * 96))


def test_a_charge_is_driven_up_to_the_pack_voltage_of_its_cells(dut: Dut) -> None:
    charge = CC | {"direction": "charge", "current": "20 A", "cell_voltage": "4.1 V"}
    assert Bench(dut, charge).start() == Drive(current=20.0, voltage=pytest.approx(4.1 * 96))


def test_a_discharge_ends_when_its_first_cell_is_empty(dut: Dut) -> None:
    bench = Bench(dut, CC)
    assert bench.show(10.0, cell_min=2.701) is None
    assert bench.show(11.0, cell_min=2.700) == Ended("cell voltage 2.7 V")


def test_a_charge_ends_when_its_first_cell_is_full_whatever_the_lowest_does(dut: Dut) -> None:
    bench = Bench(dut, CC | {"direction": "charge", "cell_voltage": "4.1 V"})
    assert bench.show(10.0, cell_min=2.0, cell_max=4.099) is None
    assert bench.show(11.0, cell_min=2.0, cell_max=4.100) == Ended("cell voltage 4.1 V")


def test_a_bad_cell_voltage_does_not_end_a_discharge(dut: Dut) -> None:
    assert Bench(dut, CC).show(10.0, cell_min=None) is None


@pytest.mark.parametrize("data", [CC, CP | {"power": "7.776 kW"}, GO_TO | {"soc": "0 %"}])
def test_a_discharge_ends_when_the_supply_holds_the_bound_microvolts_short_of_it(
    dut: Dut, data: dict[str, Any]
) -> None:
    """The bound of the pack is the sum of its cells' bounds: alike cells never get there one by one."""
    bench = Bench(dut, data)
    bench.start(voltage=259.2)
    bound = 2.7 * 96
    assert bench.show(10.0, cell_min=2.70001, voltage=bound + 0.001, current=-29.9) is None, "it still drives"
    assert bench.show(11.0, cell_min=2.70001, voltage=bound + 0.2, current=-20.0) is None, "not at the bound"
    assert bench.show(12.0, cell_min=2.70001, voltage=None, current=-20.0) is None
    assert bench.show(13.0, cell_min=2.70001, voltage=bound + 0.001, current=None) is None
    assert bench.show(14.0, cell_min=2.70001, voltage=bound + 0.001, current=-26.0) == Ended("cell voltage 2.7 V")


@pytest.mark.parametrize("data", [CC | {"direction": "charge", "cell_voltage": "4.2 V"}, GO_TO | {"soc": "100 %"}])
def test_so_does_a_charge(dut: Dut, data: dict[str, Any]) -> None:
    bench = Bench(dut, data)
    bench.start()
    assert bench.show(10.0, cell_max=4.1999, voltage=4.2 * 96 - 0.01, current=27.5) is None
    assert bench.show(11.0, cell_max=4.1999, voltage=4.2 * 96 - 0.01, current=26.0) == Ended("cell voltage 4.2 V")


# -------------------------------------------------------------------------------------------------- held voltages


def test_cccv_holds_the_pack_where_its_highest_cell_is_full(dut: Dut) -> None:
    bench = Bench(dut, CCCV)
    assert bench.start() == Drive(30.0, pytest.approx(4.2 * 96))
    assert bench.run.phase == "charge"
    assert bench.show(10.0, cell_max=4.199, voltage=399.0, current=30.0) is None
    assert bench.show(11.0, cell_max=4.200, voltage=399.4, current=30.0) == Drive(30.0, 399.4)
    assert bench.run.phase == "hold voltage"


def test_cccv_trims_the_voltage_towards_the_cells_bound_and_never_beyond_the_packs(dut: Dut) -> None:
    bench = Bench(dut, CCCV)
    bench.show(0.0, cell_max=4.2, voltage=399.4, current=30.0)
    assert bench.show(4.9, cell_max=4.205, voltage=399.4, current=29.0) is None, "not before the trim period"
    lower = bench.show(5.0, cell_max=4.205, voltage=399.4, current=29.0)
    assert isinstance(lower, Drive)
    assert 398.5 < lower.voltage < 399.4
    higher = bench.show(10.0, cell_max=4.0, voltage=398.0, current=29.0)
    assert isinstance(higher, Drive)
    assert higher.voltage <= 4.2 * 96 + 0.05


def test_a_held_voltage_stays_as_it_is_while_its_cell_is_not_known(dut: Dut) -> None:
    bench = Bench(dut, CCCV)
    bench.show(0.0, cell_max=4.2, voltage=399.4, current=30.0)
    assert bench.show(60.0, cell_max=None, voltage=399.4, current=20.0) is None
    assert isinstance(bench.show(61.0, cell_max=4.19, voltage=399.4, current=20.0), Drive)


def test_the_hold_begins_where_the_supply_stands_at_the_packs_bound_with_every_cell_short_of_its_own(dut: Dut) -> None:
    bench = Bench(dut, CCCV)
    assert bench.show(10.0, cell_max=4.1995, voltage=4.2 * 96 * 0.9994, current=30.0) is None
    assert not bench.run.ends_apply
    assert isinstance(bench.show(11.0, cell_max=4.1995, voltage=4.2 * 96 * 0.9996, current=30.0), Drive)
    assert bench.run.ends_apply


def test_a_held_discharge_lowers_the_voltage_to_the_lowest_cells_bound_and_never_below_the_packs(dut: Dut) -> None:
    bench = Bench(dut, CCCV | {"direction": "discharge", "cell_voltage": "2.7 V"})
    assert bench.start() == Drive(-30.0, pytest.approx(2.7 * 96))
    assert bench.show(9.0, cell_min=2.75, voltage=275.0, current=-30.0) is None
    assert bench.show(10.0, cell_min=2.70, voltage=270.0, current=-30.0) == Drive(-30.0, 270.0)
    lower = bench.show(15.0, cell_min=2.71, voltage=270.0, current=-25.0)
    assert isinstance(lower, Drive)
    assert 269.0 < lower.voltage < 270.0
    higher = bench.show(20.0, cell_min=2.68, voltage=269.5, current=-25.0)
    assert isinstance(higher, Drive)
    assert higher.voltage > lower.voltage, "a cell below its bound is relieved"
    lowest = bench.show(25.0, cell_min=3.2, voltage=269.5, current=-25.0)
    assert isinstance(lowest, Drive)
    assert lowest.voltage >= 2.7 * 96 - 0.05


@pytest.mark.parametrize(("cells", "error"), [(1, 0.002), (12, 0.002), (96, 0.002)])
def test_a_module_or_a_cell_is_trimmed_as_finely_per_cell_as_a_pack(dut: Dut, cells: int, error: float) -> None:
    """0.1 V is one millivolt per cell of a pack and eight of a module."""
    bench = Bench(replace(dut, series_cells=cells), CCCV)
    bench.show(0.0, cell_max=4.2, voltage=4.195 * cells, current=30.0)
    trimmed = bench.show(5.0, cell_max=4.2 + error, voltage=4.195 * cells, current=29.0)
    assert isinstance(trimmed, Drive)
    assert trimmed.voltage == pytest.approx((4.195 - error / 2) * cells, abs=0.0006 * cells)
    assert bench.show(10.0, cell_max=4.2, voltage=trimmed.voltage, current=29.0) is None, "no change, no command"


def test_a_cv_step_is_limited_to_its_current_from_the_start(dut: Dut) -> None:
    bench = Bench(
        dut,
        {
            "step": "cv", "name": "s", "current": "C/3", "cell_voltage": "4.2 V", "max_time": "1 h",
            "ends": ["current <= C/20"],
        },
    )  # fmt: skip
    assert bench.start() == Drive(20.0, pytest.approx(4.2 * 96))


# ------------------------------------------------------------------------------------- currents that follow a voltage


def test_a_constant_power_sets_its_current_anew_when_the_voltage_has_moved(dut: Dut) -> None:
    bench = Bench(dut, CP)
    assert bench.start(voltage=350.0) == Drive(-20.0, pytest.approx(2.7 * 96))
    assert bench.show(1.0, voltage=349.0, cell_min=3.6) is None, "within its tolerance"
    assert bench.show(2.0, voltage=340.0, cell_min=3.5) == Drive(pytest.approx(-7000 / 340), pytest.approx(259.2))
    assert bench.show(3.0, voltage=340.1, cell_min=3.5) is None
    assert bench.show(4.0, voltage=0.0, cell_min=3.5) is None, "no power is had from nothing"
    assert bench.show(5.0, voltage=300.0, cell_min=2.7) == Ended("cell voltage 2.7 V")


def test_a_constant_power_never_asks_for_more_than_the_battery_stands(dut: Dut) -> None:
    assert Bench(dut, CP | {"power": "90 kW"}).start(voltage=350.0) == Drive(-90.0, pytest.approx(259.2))
    charge = CP | {"power": "90 kW", "direction": "charge", "cell_voltage": "4.2 V"}
    assert Bench(dut, charge).start(voltage=350.0) == Drive(60.0, pytest.approx(403.2))


def test_a_power_begins_with_the_best_voltage_there_is(dut: Dut) -> None:
    """While the output is off the supply may read nothing at all."""
    assert Bench(dut, CP).start(voltage=None, battery_voltage=320.0).current == pytest.approx(-7000 / 320)
    assert Bench(dut, CP).start(voltage=0.0, battery_voltage=None).current == pytest.approx(-20.0), "nominal"


def test_a_resistor_takes_less_as_the_voltage_falls_and_never_more_than_its_current(dut: Dut) -> None:
    bench = Bench(dut, CR)
    assert bench.start(voltage=350.0) == Drive(-6.0, pytest.approx(96.0))
    assert bench.show(1.0, voltage=300.0, cell_min=3.0) is None
    assert bench.show(2.0, voltage=200.0, cell_min=2.0) == Drive(pytest.approx(-5.0), pytest.approx(96.0))
    assert bench.show(3.0, voltage=100.0, cell_min=0.9) == Ended("cell voltage 1 V")


# -------------------------------------------------------------------------------------------------------- pulses


def test_a_pulse_is_followed_by_its_recovery(dut: Dut) -> None:
    bench = Bench(dut, PULSE)
    assert bench.run.sample_period == 0.1
    assert bench.start() == Drive(-60.0, pytest.approx(2.7 * 96))
    assert bench.show(9.9, cell_min=3.4, cell_max=3.5) is None
    assert bench.show(10.0, cell_min=3.4, cell_max=3.5) == NoCurrent()
    assert bench.show(49.9) is None
    assert bench.show(50.0) == Ended("duration")


def test_a_train_goes_through_its_pulses_in_order_and_says_where_it_is(dut: Dut) -> None:
    bench = Bench(dut, TRAIN)
    bench.start()
    assert bench.run.phase == "pulse 1/2"
    assert bench.show(10.0, cell_min=3.4, cell_max=3.5) == NoCurrent()
    assert bench.run.phase == "recovery 1/2"
    assert bench.show(50.0, cell_min=3.5, cell_max=3.5) == Drive(45.0, pytest.approx(4.2 * 96))
    assert bench.run.phase == "pulse 2/2"
    assert bench.show(54.9, cell_min=3.5, cell_max=3.6) is None
    assert bench.show(55.0, cell_min=3.5, cell_max=3.6) == NoCurrent()
    assert bench.show(74.9) is None
    assert bench.show(75.0) == Ended("duration")


def test_a_pulse_that_empties_a_cell_is_cut_short_and_says_so(dut: Dut) -> None:
    bench = Bench(dut, PULSE)
    assert bench.show(3.0, cell_min=2.69, cell_max=3.5) == NoCurrent()
    assert bench.show(50.0) == Ended("cut short: pulse 1 by cell voltage 2.7 V")


def test_after_a_cut_the_recovery_is_whole_and_the_train_goes_on(dut: Dut) -> None:
    bench = Bench(dut, TRAIN)
    bench.start()
    assert bench.show(3.0, cell_min=2.69, cell_max=3.5) == NoCurrent()
    assert bench.show(42.9) is None
    assert isinstance(bench.show(43.0), Drive)
    assert bench.show(45.0, cell_min=3.5, cell_max=4.21) == NoCurrent()
    reason = "cut short: pulse 1 by cell voltage 2.7 V, pulse 2 by cell voltage 4.2 V"
    assert bench.show(65.0) == Ended(reason)


def test_a_pulse_is_as_long_as_asked_when_its_cells_are_not_known(dut: Dut) -> None:
    bench = Bench(dut, PULSE)
    bench.start()
    assert bench.show(5.0, **DEAD) is None
    assert bench.show(10.0, **DEAD) == NoCurrent()


# -------------------------------------------------------------------------------------------------- state of charge


@pytest.mark.parametrize(("soc", "current", "bound"), [(0.8, -30.0, 2.7), (0.2, 30.0, 4.2)])
def test_it_charges_or_discharges_to_a_state_of_charge(dut: Dut, soc: float, current: float, bound: float) -> None:
    bench = Bench(dut, GO_TO, soc=soc)
    assert bench.start() == Drive(current, pytest.approx(bound * 96))
    moved = (0.5 - soc) * 50.0
    assert bench.show(10.0, net_ah=moved * 0.999, cell_min=3.4, cell_max=3.5) is None
    assert bench.show(20.0, net_ah=moved, cell_min=3.4, cell_max=3.5) == Ended("soc 50.0%")


def test_a_battery_that_is_there_already_is_not_driven(dut: Dut) -> None:
    assert Bench(dut, GO_TO, soc=0.5).start() == Ended("soc 50.0%")
    assert isinstance(Bench(dut, GO_TO, soc=0.51).start(), Drive)
    assert isinstance(Bench(dut, GO_TO, soc=0.49).start(), Drive)


@pytest.mark.parametrize(("soc", "cells"), [(0.8, {"cell_min": 2.7, "cell_max": 3.0}), (0.2, {"cell_max": 4.2})])
def test_it_stops_at_a_cells_bound_on_the_way(dut: Dut, soc: float, cells: dict[str, float]) -> None:
    bench = Bench(dut, GO_TO, soc=soc)
    bench.start()
    ended = bench.show(10.0, **cells)
    assert isinstance(ended, Ended)
    assert ended.reason.startswith("cell voltage")


# --------------------------------------------------------------------------------------------------------- profile


def test_a_table_is_played_row_by_row_and_its_last_row_ends_it(dut: Dut) -> None:
    bench = Bench(dut, PROFILE)
    assert bench.run.sample_period == 1.0
    assert bench.start() == Drive(-30.0, pytest.approx(2.8 * 96))
    assert bench.show(9.0) is None
    assert bench.show(10.0) == Drive(15.0, pytest.approx(4.15 * 96))
    assert bench.show(20.0) == NoCurrent()
    assert bench.show(39.0) == Drive(-60.0, pytest.approx(2.8 * 96)), "a late sample plays the row that is due"
    assert bench.show(40.0) == Ended("duration")


def test_a_row_is_never_played_after_its_time(dut: Dut) -> None:
    bench = Bench(dut, PROFILE)
    bench.start()
    assert bench.show(25.0) == NoCurrent(), "the row of 10 s is gone by"
    assert bench.show(100.0) == Ended("duration")


def test_at_the_lower_limit_no_discharge_flows_until_a_row_relieves_it(dut: Dut) -> None:
    rows = [["0 s", "-30 A"], ["10 s", "-20 A"], ["20 s", "15 A"], ["30 s", "-10 A"], ["40 s", "0 A"]]
    bench = Bench(dut, PROFILE | {"rows": rows})
    bench.start()
    assert bench.show(5.0, cell_min=2.8, cell_max=3.0) == NoCurrent()
    assert bench.show(6.0, cell_min=2.9, cell_max=3.0) is None, "no chatter within a row"
    assert bench.show(10.0, cell_min=2.8, cell_max=3.0) is None, "still at the limit"
    assert bench.show(20.0, cell_min=2.8, cell_max=3.0) == Drive(15.0, pytest.approx(4.15 * 96)), "a charge relieves"
    assert bench.show(30.0, cell_min=2.9, cell_max=3.0) == Drive(-10.0, pytest.approx(2.8 * 96))
    assert bench.show(40.0, cell_min=2.9, cell_max=3.0) == Ended("duration, clipped 1 times")


def test_at_the_upper_limit_no_charge_flows(dut: Dut) -> None:
    rows = [["0 s", "30 A"], ["10 s", "20 A"], ["20 s", "-15 A"], ["30 s", "0 A"]]
    bench = Bench(dut, PROFILE | {"rows": rows})
    bench.start()
    assert bench.show(5.0, cell_min=4.0, cell_max=4.15) == NoCurrent()
    assert bench.show(10.0, cell_min=4.0, cell_max=None) is None, "nothing says that it is relieved"
    assert bench.show(20.0, cell_min=4.0, cell_max=4.15) == Drive(-15.0, pytest.approx(2.8 * 96))
    assert bench.show(30.0, cell_min=4.0, cell_max=4.0) == Ended("duration, clipped 1 times")


def test_cells_at_both_limits_at_once_are_driven_neither_way(dut: Dut) -> None:
    rows = [["0 s", "30 A"], ["10 s", "-15 A"], ["20 s", "15 A"], ["30 s", "0 A"]]
    bench = Bench(dut, PROFILE | {"rows": rows})
    bench.start()
    assert bench.show(5.0, cell_min=2.8, cell_max=4.15) == NoCurrent()
    assert bench.show(10.0, cell_min=2.8, cell_max=4.15) is None
    assert bench.show(20.0, cell_min=2.8, cell_max=4.15) is None


def test_a_table_of_powers_is_driven_by_currents_that_follow_the_voltage(dut: Dut) -> None:
    powers = PROFILE | {"of": "power", "rows": [["0 s", "-7 kW"], ["60 s", "3.5 kW"], ["70 s", "0 W"]]}
    bench = Bench(dut, powers)
    assert bench.start(voltage=350.0) == Drive(pytest.approx(-20.0), pytest.approx(2.8 * 96))
    assert bench.show(1.0, voltage=349.5) is None, "within its tolerance"
    assert bench.show(30.0, voltage=335.0) == Drive(pytest.approx(-7000 / 335), pytest.approx(2.8 * 96))
    assert bench.show(31.0, voltage=None) is None
    assert bench.show(60.0, voltage=340.0) == Drive(pytest.approx(3500 / 340), pytest.approx(4.15 * 96))


# ---------------------------------------------------------------------------------------------------------- waiting


def test_a_wait_is_without_current_and_its_end_is_judged_elsewhere(dut: Dut) -> None:
    wait = {"step": "wait_until", "name": "s", "condition": "temperature_max <= 30 degC", "max_time": "2 h"}
    bench = Bench(dut, wait)
    assert bench.start() == NoCurrent()
    assert bench.show(1.0, temperature_max=20.0) is None
