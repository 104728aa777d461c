"""The planning model against the simulated pack, a measured cell, and what must hold for any battery."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import DutModel, shipped_dut_models
from config.simulation import SimulatedBattery, WeakCell
from controller.run import dut_of
from sequences import Counters, Dut
from sequences.battery_model import RESISTANCE_PER_LOST_HEALTH, BatteryModel
from simulators.pack import Pack
from simulators.world import Source, World

RETIRED_CELLS = Path(__file__).parents[2].parent / "shared" / "data" / "pulsebat"

DUTS = shipped_dut_models()
NMC, LMO, LFP = DUTS["nmc_96s_60ah"], DUTS["lmo_96s_66ah"], DUTS["lfp_100s_72ah"]
NCA = NMC.model_copy(update={"chemistry": "NCA"})
NEW = {
    "soh_mean": 1.0, "soh_sd": 0.0, "resistance_factor_mean": 1.0, "resistance_factor_cv": 0.0, "soc_offset_sd": 0.0,
    "contact_resistance_ohm": 0.0, "bms_capacity_factor": 1.0,
}  # fmt: skip
# with a weak cell, and a BMS that believes in 3 % more than there is
USED = {"soh_mean": 0.8, "weak_cell": WeakCell(index=7, extra_lli=0.03)}

PACK = dut_of(NMC)
FULL, EMPTY = PACK.cell_voltage_max * 96, PACK.cell_voltage_min * 96


# --- the same test on the model and on the simulated pack ----------------------------------------------------------


class Battery(Protocol):
    """What a test bench drives and sees."""

    @property
    def voltage(self) -> float: ...
    @property
    def current(self) -> float: ...
    @property
    def cell_min(self) -> float: ...
    @property
    def cell_max(self) -> float: ...
    @property
    def temperature(self) -> float: ...
    @property
    def counters(self) -> Counters: ...
    def advance(self, seconds: float, current: float = 0.0, voltage: float = 0.0) -> float: ...


class Simulated:
    """The simulated pack behind the same face."""

    def __init__(self, dut: DutModel, soc: float, **battery: object) -> None:
        self.time = 0.0
        wanted = SimulatedBattery.model_validate({"model": dut.id, "code": "PHE96-000001", "soc": soc, **battery})
        self.world = World(Pack.used(dut, wanted, seed=1), lambda: self.time, max_step_s=10.0)
        self.world.set_contactor(True)

    @property
    def voltage(self) -> float:
        return self.world.battery_voltage()

    @property
    def current(self) -> float:
        return self.world.current

    @property
    def cell_min(self) -> float:
        return float(self.world.cell_voltages().min())

    @property
    def cell_max(self) -> float:
        return float(self.world.cell_voltages().max())

    @property
    def temperature(self) -> float:
        return float(self.world.cell_temperatures().max())

    @property
    def counters(self) -> Counters:
        world = self.world
        return Counters(world.charged_ah, world.discharged_ah, world.charged_wh, world.discharged_wh)

    def advance(self, seconds: float, current: float = 0.0, voltage: float = 0.0) -> float:
        source = Source(voltage, max(current, 0.0), max(-current, 0.0), 1e6, 1e6)
        self.world.drive(source if current else None)
        self.time += seconds
        self.world.advance()
        return seconds


@dataclass(frozen=True)
class Outcome:
    """s, Ah, Wh, degC."""

    duration: float
    charge: float
    energy: float
    temperature: float


def charge(battery: Battery, dut: Dut, rate: float, step: float) -> Outcome:
    """Constant current, then the highest cell held at its limit by trimming the pack's voltage, until C/10."""
    limit, n, amperes = dut.cell_voltage_max, dut.series_cells, rate * dut.rated_capacity
    before, duration, hottest = battery.counters, 0.0, battery.temperature
    held = limit * n
    holding = False
    while True:
        duration += battery.advance(step, amperes, held)
        hottest = max(hottest, battery.temperature)
        if not holding and (battery.cell_max >= limit or battery.voltage >= 0.9995 * limit * n):
            holding, held = True, battery.voltage
        if holding:
            held = min(held + 0.5 * n * (limit - battery.cell_max), limit * n)
            if battery.current <= dut.rated_capacity / 10:
                after = battery.counters
                return Outcome(
                    duration, after.charged_ah - before.charged_ah, after.charged_wh - before.charged_wh, hottest
                )


def discharge(battery: Battery, dut: Dut, rate: float, step: float) -> Outcome:
    """Constant current until the lowest cell is at its limit."""
    amperes, bound = rate * dut.rated_capacity, dut.cell_voltage_min * dut.series_cells
    before, duration, hottest = battery.counters, 0.0, battery.temperature
    # a source holds equal cells at their common bound, some microvolts before the first passes its own
    while battery.cell_min > dut.cell_voltage_min + 1e-4:
        duration += battery.advance(step, -amperes, bound)
        hottest = max(hottest, battery.temperature)
    after = battery.counters
    return Outcome(
        duration, after.discharged_ah - before.discharged_ah, after.discharged_wh - before.discharged_wh, hottest
    )


def pulse_resistance(battery: Battery, dut: Dut) -> float:
    """10 s at 1C, ohm."""
    before = battery.voltage
    battery.advance(10.0, -dut.rated_capacity, 1.0)
    return (before - battery.voltage) / dut.rated_capacity


def full_and_rested(battery: Battery, dut: Dut) -> None:
    charge(battery, dut, 0.5, 10.0)
    battery.advance(600.0)


# an NCA pack is simulated with NMC cells, so the model's NCA cells are others than the simulated ones
BATTERIES = pytest.mark.parametrize(
    ("dut", "state", "tolerance"),
    [(dut, NEW, 0.10 if dut is NCA else 0.03) for dut in (NMC, NCA, LMO, LFP)]
    + [(dut, USED, 0.10) for dut in (NMC, NCA, LMO, LFP)],
    ids=[f"{name} {state}" for state in ("new", "used") for name in ("NMC", "NCA", "LMO", "LFP")],
)


def model_of(simulated: Simulated, dut: DutModel) -> BatteryModel:
    """What can be planned with: what the battery's BMS believes."""
    return BatteryModel(dut_of(dut), simulated.world.bms_soc(), simulated.world.bms_capacity_ah())


def assert_agrees(planned: Outcome, run: Outcome, tolerance: float) -> None:
    assert planned.duration == pytest.approx(run.duration, rel=tolerance)
    assert planned.charge == pytest.approx(run.charge, rel=tolerance)
    assert planned.energy == pytest.approx(run.energy, rel=tolerance)
    assert planned.temperature == pytest.approx(run.temperature, abs=4.0)


@BATTERIES
def test_a_charge_takes_what_the_simulated_charge_takes(
    dut: DutModel, state: dict[str, object], tolerance: float
) -> None:
    simulated = Simulated(dut, 0.1, **state)
    planned = charge(model_of(simulated, dut), dut_of(dut), 0.5, 10.0)
    assert_agrees(planned, charge(simulated, dut_of(dut), 0.5, 5.0), tolerance)


@BATTERIES
@pytest.mark.parametrize("rate", [1 / 20, 1 / 3, 1.0], ids=["C/20", "C/3", "1C"])
def test_a_discharge_gives_what_the_simulated_discharge_gives(
    dut: DutModel, state: dict[str, object], tolerance: float, rate: float
) -> None:
    simulated = Simulated(dut, 0.9, **state)
    model = model_of(simulated, dut)
    for battery in (model, simulated):
        full_and_rested(battery, dut_of(dut))
    planned = discharge(model, dut_of(dut), rate, 10.0)
    assert_agrees(planned, discharge(simulated, dut_of(dut), rate, 10.0), tolerance)


@BATTERIES
def test_pulse_resistance_is_within_15_percent_of_the_simulated(
    dut: DutModel, state: dict[str, object], tolerance: float
) -> None:
    simulated = Simulated(dut, 0.5, **state)
    planned = pulse_resistance(model_of(simulated, dut), dut_of(dut))
    assert planned == pytest.approx(pulse_resistance(simulated, dut_of(dut)), rel=0.15)


# --- against measurements ------------------------------------------------------------------------------------------


def test_a_measured_cell_gives_the_planned_energy_at_c10() -> None:
    """LG M50, 25 degC, C/10 from 4.2 to 2.5 V: 4.81367 Ah, 17.6253 Wh (Imperial College London)."""
    cell = NMC.model_copy(update={"series_cells": 1, "rated_capacity_ah": 5.0, "cell_voltage_min_v": 2.5,
                                  "initial_dcir_ohm": 0.03})  # fmt: skip
    planned = discharge(BatteryModel(dut_of(cell), 1.0, 4.8), dut_of(cell), 0.1, 60.0)
    assert planned.energy / planned.charge == pytest.approx(17.6253 / 4.81367, rel=0.02)


@pytest.mark.skipif(not RETIRED_CELLS.is_dir(), reason="the retired cells (shared/data/pulsebat) are not here")
def test_resistance_grows_with_lost_health_as_in_retired_cells() -> None:
    slopes = []
    for path in RETIRED_CELLS.glob("*.csv"):
        with path.open() as lines:
            rows = [row for row in csv.DictReader(lines) if row["SOC"] == "50"]
        lost = [1 - float(row["SOH"]) for row in rows]
        drop = [float(row["U13"]) - float(row["U15"]) for row in rows]
        slope, new = np.polyfit(lost, drop, 1)
        slopes.append(slope / new)
    assert pytest.approx(np.mean(slopes), abs=0.2) == RESISTANCE_PER_LOST_HEALTH


# --- what it is given ----------------------------------------------------------------------------------------------

ALL_CHEMISTRIES = pytest.mark.parametrize(
    "dut", [dut_of(dut) for dut in (NMC, NCA, LMO, LFP)], ids=lambda dut: dut.chemistry
)


@ALL_CHEMISTRIES
def test_a_resting_battery_rises_from_its_lower_to_its_upper_limit(dut: Dut) -> None:
    resting = [BatteryModel(dut, soc, 60.0).cell_voltage for soc in np.linspace(0, 1, 26)]
    assert resting == sorted(set(resting))
    assert (resting[0], resting[-1]) == pytest.approx((dut.cell_voltage_min, dut.cell_voltage_max), abs=1e-6)


@ALL_CHEMISTRIES
@pytest.mark.parametrize("capacity", [30.0, 60.0])
def test_it_gives_the_capacity_it_is_believed_to_have(dut: Dut, capacity: float) -> None:
    model = BatteryModel(dut, 0.2, capacity)
    charge(model, dut, 1 / 3, 10.0)
    model.advance(600.0)
    assert discharge(model, dut, 1 / 3, 10.0).charge == pytest.approx(capacity, rel=0.01)


@ALL_CHEMISTRIES
@pytest.mark.parametrize("dcir", [0.08, 0.231, 0.8])
def test_it_has_the_resistance_it_is_rated_for(dut: Dut, dcir: float) -> None:
    """At 0.08 ohm there is less than the published kinetics alone would make of most of them."""
    dut = replace(dut, initial_dcir=dcir)
    for factor in (1.0, 2.0):
        model = BatteryModel(dut, 0.5, dut.rated_capacity, resistance_factor=factor)
        assert pulse_resistance(model, dut) == pytest.approx(factor * dcir, rel=0.03)


def test_a_cold_battery_resists_more_and_gives_less() -> None:
    given_off = [discharge(BatteryModel(PACK, 1.0, 60.0, degc), PACK, 1.0, 10.0).charge for degc in (5.0, 25.0, 40.0)]
    assert given_off == sorted(given_off)


@pytest.mark.parametrize(("soc", "capacity"), [(1.01, 60.0), (-0.1, 60.0), (0.5, 0.0), (0.5, float("nan"))])
def test_an_impossible_battery_is_refused(soc: float, capacity: float) -> None:
    with pytest.raises(ValueError, match="no such battery"):
        BatteryModel(PACK, soc, capacity)


def test_a_resistance_that_leaves_no_discharge_is_refused() -> None:
    with pytest.raises(ValueError, match="initial_dcir"):
        BatteryModel(PACK, 0.5, 60.0, resistance_factor=1000.0)


# --- how it is driven ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dut", [PACK, dut_of(LFP)], ids=lambda dut: dut.chemistry)
@pytest.mark.parametrize(("test", "soc", "rate"), [(charge, 0.0, 0.5), (discharge, 1.0, 1.0)])
def test_no_outcome_depends_on_the_step_by_more_than_1_percent(
    dut: Dut, test: Callable[[Battery, Dut, float, float], Outcome], soc: float, rate: float
) -> None:
    fine, *coarse = (test(BatteryModel(dut, soc, 48.0), dut, rate, step) for step in (0.1, 10.0, 60.0))
    for outcome in coarse:
        assert outcome.duration == pytest.approx(fine.duration, rel=0.01)
        assert outcome.charge == pytest.approx(fine.charge, rel=0.01)
        assert outcome.energy == pytest.approx(fine.energy, rel=0.01)
        assert outcome.temperature == pytest.approx(fine.temperature, rel=0.01)


@ALL_CHEMISTRIES
def test_a_held_voltage_lets_the_current_fall_as_fast_in_any_steps(dut: Dut) -> None:
    """Within 0.5 % of the current it falls from."""
    bound = dut.cell_voltage_max * dut.series_cells
    falls: list[list[float]] = []
    for step in (0.1, 10.0, 60.0):
        model = BatteryModel(dut, 0.5, 48.0)
        while model.advance(step, 60.0, bound) == step:
            pass
        falls.append([])
        for _ in range(4):
            for _ in range(round(60.0 / step)):
                model.advance(step, 60.0, bound)
            falls[-1].append(model.current)
    for fall in falls[1:]:
        assert fall == pytest.approx(falls[0], abs=0.005 * 60.0)


@pytest.mark.parametrize(("current", "bound", "soc"), [(30.0, FULL, 0.9), (-30.0, EMPTY, 0.1)])
def test_it_stops_where_the_bound_is_reached_and_then_holds_it(current: float, bound: float, soc: float) -> None:
    model = BatteryModel(PACK, soc, 60.0)
    passed = model.advance(60.0, current, bound)
    while passed == 60.0:
        assert model.current == pytest.approx(current)
        passed = model.advance(60.0, current, bound)
    assert abs(model.current) == pytest.approx(30.0)
    for _ in range(10):
        before = abs(model.current)
        assert model.advance(60.0, current, bound) == 60.0
        assert model.cell_max >= PACK.cell_voltage_max if current > 0 else model.cell_min <= PACK.cell_voltage_min
        assert model.voltage == pytest.approx(bound, rel=5e-6)
        assert abs(model.current) < before


def test_it_stops_where_the_first_of_unequal_cells_reaches_its_share_of_the_bound() -> None:
    equal, unequal = BatteryModel(PACK, 1.0, 60.0), BatteryModel(PACK, 1.0, 60.0, cell_spread=0.1)
    outcomes = [discharge(model, PACK, 0.5, 60.0) for model in (equal, unequal)]
    assert unequal.cell_min == pytest.approx(PACK.cell_voltage_min, abs=1e-4)
    assert unequal.cell_max - unequal.cell_min == pytest.approx(0.1)
    assert outcomes[1].duration < outcomes[0].duration
    assert charge(unequal, PACK, 0.5, 10.0).charge < charge(equal, PACK, 0.5, 10.0).charge
    assert unequal.cell_max == pytest.approx(PACK.cell_voltage_max, abs=1e-3)


@pytest.mark.parametrize(("current", "bound"), [(30.0, EMPTY), (-30.0, FULL)])
def test_a_bound_on_the_wrong_side_lets_no_current_flow(current: float, bound: float) -> None:
    model = BatteryModel(PACK, 0.5, 60.0)
    before = model.voltage
    assert model.advance(60.0, current, bound) == 60.0
    assert (model.current, model.counters) == (0.0, Counters())
    assert (model.soc, model.voltage) == pytest.approx((0.5, before))


def test_no_time_shows_what_a_current_does_at_once() -> None:
    model = BatteryModel(PACK, 0.5, 60.0)
    resting = model.voltage
    assert model.advance(0.0, -60.0, EMPTY) == 0.0
    assert (model.current, model.soc) == pytest.approx((-60.0, 0.5))
    assert model.counters == Counters()
    loaded = model.voltage
    model.advance(10.0, -60.0, EMPTY)
    assert resting > loaded > model.voltage


def test_a_rest_of_any_length_is_one_step() -> None:
    models = []
    for parts in (1, 100):
        model = BatteryModel(PACK, 0.5, 60.0)
        model.advance(60.0, -60.0, EMPTY)
        for _ in range(parts):
            model.advance(6000.0 / parts)
        models.append(model)
    whole, parted = models
    assert (whole.voltage, whole.temperature) == pytest.approx((parted.voltage, parted.temperature))
    whole.advance(1e6)
    assert whole.voltage == pytest.approx(BatteryModel(PACK, whole.soc, 60.0).voltage, abs=1e-6)
    assert whole.temperature == pytest.approx(25.0)


def test_it_takes_the_temperature_of_new_surroundings() -> None:
    model = BatteryModel(PACK, 0.5, 60.0)
    model.ambient = 10.0
    model.advance(1800.0)
    assert 10.0 < model.temperature < 25.0
    model.advance(1e6)
    assert model.temperature == pytest.approx(10.0)


@ALL_CHEMISTRIES
@settings(max_examples=25)
@given(data=st.data())
def test_no_bound_is_passed_and_every_ampere_is_counted(dut: Dut, data: st.DataObject) -> None:
    model = BatteryModel(dut, data.draw(st.floats(0.1, 0.9)), data.draw(st.floats(20, 70)))
    start = model.soc
    model.advance(60.0, -1.0, dut.cell_voltage_min * dut.series_cells)
    ah_per_soc = model.counters.net_ah / (model.soc - start)
    for _ in range(data.draw(st.integers(1, 8))):
        current = data.draw(st.sampled_from([-120.0, -30.0, -1.0, 0.0, 1.0, 30.0, 120.0]))
        seconds = data.draw(st.floats(0.1, 60))
        bound = (dut.cell_voltage_max if current > 0 else dut.cell_voltage_min) * dut.series_cells
        passed = model.advance(seconds, current, bound)
        assert 0 < passed <= seconds
        assert 0 <= model.current * np.sign(current) <= abs(current) * (1 + 1e-12)
        if model.current > 0:
            assert model.voltage <= bound * (1 + 5e-6)
        elif model.current < 0:
            assert model.voltage >= bound * (1 - 5e-6)
    assert model.counters.net_ah == pytest.approx((model.soc - start) * ah_per_soc, abs=1e-9)
