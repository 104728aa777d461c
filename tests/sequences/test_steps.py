from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from sequences import (
    Counters,
    Drive,
    Dut,
    Ended,
    NoCurrent,
    Quality,
    Sample,
    StepRun,
    TakeReadings,
    Value,
    View,
    run_of,
)
from sequences.recipe import Step

STEP: TypeAdapter[Any] = TypeAdapter(Step)
CC = {
    "step": "cc", "name": "s", "direction": "discharge", "current": "C/2", "cell_voltage": "2.7 V", "max_time": "1 h",
}  # fmt: skip
CCCV = {
    "step": "cccv", "name": "s", "current": "C/2", "cell_voltage": "4.2 V", "max_time": "4 h",
    "ends": [{"when": "current <= C/10", "hold": "5 s"}],
}  # fmt: skip
PULSE = {
    "step": "pulse", "name": "s", "direction": "discharge", "current": "1C", "duration": "10 s", "recovery": "40 s",
    "cell_voltage_min": "2.7 V", "cell_voltage_max": "4.2 V",
}  # fmt: skip


class Bench:
    """Shows a step samples one after another, as the engine would."""

    def __init__(self, dut: Dut, data: dict[str, Any]) -> None:
        self.dut = dut
        self.run: StepRun = run_of(STEP.validate_python(data), dut)

    def view(self, t: float, net_ah: float = 0.0, **values: float | None) -> View:
        measured = {
            name: Value(value or 0.0, t, Quality.BAD if value is None else Quality.GOOD, "test")
            for name, value in values.items()
        }
        counters = Counters(charged_ah=max(net_ah, 0.0), discharged_ah=max(-net_ah, 0.0))
        return View(Sample(t, measured, counters=counters), t, t, Counters(), self.dut, capacity_estimate=50.0)

    def start(self) -> Any:
        return self.run.start(self.view(0.0))

    def show(self, t: float, net_ah: float = 0.0, **values: float | None) -> Any:
        return self.run.update(self.view(t, net_ah, **values))


def test_rest_lasts_its_duration_with_the_output_off(dut: Dut) -> None:
    bench = Bench(dut, {"step": "rest", "name": "s", "duration": "10 min"})
    assert bench.start() == NoCurrent()
    assert bench.show(599.0) is None
    assert bench.show(600.0) == Ended("duration")


def test_a_discharge_is_driven_by_its_c_rate_down_to_the_pack_voltage_of_its_cells(dut: Dut) -> None:
    assert Bench(dut, CC).start() == Drive(current=-30.0, voltage=pytest.approx(2.7 * 96))


def test_a_discharge_ends_when_its_first_cell_is_empty(dut: Dut) -> None:
    bench = Bench(dut, CC)
    assert bench.show(10.0, cell_min=2.701) is None
    assert bench.show(11.0, cell_min=2.700) == Ended("cell voltage 2.7 V")


def test_a_bad_cell_voltage_does_not_end_a_discharge(dut: Dut) -> None:
    assert Bench(dut, CC).show(10.0, cell_min=None) is None


def test_ends_are_ored_and_their_reason_is_recorded(dut: Dut) -> None:
    bench = Bench(dut, CC | {"ends": ["temperature_max >= 45 degC", "depth >= 20 %"]})
    assert bench.show(10.0, net_ah=-9.99, temperature_max=30.0) is None
    assert bench.show(11.0, net_ah=-10.0, temperature_max=30.0) == Ended("depth >= 20 %")
    assert bench.show(11.0, net_ah=-1.0, temperature_max=45.0) == Ended("temperature_max >= 45 degC")


def test_an_end_counts_only_after_its_hold_without_a_gap(dut: Dut) -> None:
    bench = Bench(dut, CC | {"ends": [{"when": "temperature_max >= 45 degC", "hold": "2 s"}]})
    assert bench.show(1.0, temperature_max=46.0) is None
    assert bench.show(2.0, temperature_max=None) is None, "a bad value breaks the streak"
    assert bench.show(3.0, temperature_max=46.0) is None
    assert bench.show(4.0, temperature_max=46.0) is None
    assert bench.show(5.0, temperature_max=46.0) == Ended("temperature_max >= 45 degC")


def test_the_maximum_time_ends_a_step_as_incomplete(dut: Dut) -> None:
    ended = Bench(dut, CC).show(3600.0, cell_min=3.5)
    assert isinstance(ended, Ended)
    assert not ended.complete
    assert "maximum time" in ended.reason


def test_cccv_holds_the_pack_where_its_highest_cell_is_full(dut: Dut) -> None:
    bench = Bench(dut, CCCV)
    assert bench.start() == Drive(30.0, pytest.approx(4.2 * 96))
    assert bench.show(10.0, cell_max=4.199, voltage=399.0, current=30.0) is None
    assert bench.show(11.0, cell_max=4.200, voltage=399.4, current=30.0) == Drive(30.0, 399.4)


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


def test_cccv_judges_its_current_only_while_it_holds_the_voltage(dut: Dut) -> None:
    bench = Bench(dut, CCCV)
    for t in range(10):  # the current has not risen yet: no end
        assert bench.show(float(t), cell_max=3.9, voltage=380.0, current=0.0) is None
    bench.show(10.0, cell_max=4.2, voltage=399.0, current=30.0)
    assert not isinstance(bench.show(20.0, cell_max=4.2, voltage=399.0, current=5.9), Ended)
    assert bench.show(25.0, cell_max=4.2, voltage=399.0, current=5.9) == Ended("current <= C/10")


def test_a_pulse_is_followed_by_its_recovery(dut: Dut) -> None:
    bench = Bench(dut, PULSE)
    assert bench.run.sample_period == 0.1
    assert bench.start() == Drive(-60.0, pytest.approx(2.7 * 96))
    assert bench.show(9.9, cell_min=3.4, cell_max=3.5) is None
    assert bench.show(10.0, cell_min=3.4, cell_max=3.5) == NoCurrent()
    assert bench.show(49.9) is None
    assert bench.show(50.0) == Ended("duration")


def test_a_pulse_that_empties_a_cell_is_cut_short_and_says_so(dut: Dut) -> None:
    bench = Bench(dut, PULSE)
    assert bench.show(3.0, cell_min=2.69, cell_max=3.5) == NoCurrent()
    assert bench.show(50.0) == Ended("cut short by cell voltage 2.7 V")


def test_measure_asks_once_for_its_readings(dut: Dut) -> None:
    bench = Bench(dut, {"step": "measure", "name": "s", "role": "impedance_meter", "readings": 3})
    assert bench.start() == NoCurrent()
    assert bench.show(1.0) == TakeReadings("impedance_meter", 3)
    assert bench.show(2.0) == Ended("readings taken")
