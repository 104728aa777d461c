"""The simulated cell against a full-order (DFN) model of the same cell, and against what must hold for any cell."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.cells import CellSet, CellString, charge_fully, discharged_ah
from simulators.electrodes import CHEN2020, DOYLE1996, PRADA2013, Array, CellParameters, balance

REFERENCE = Path(__file__).parents[2].parent / "shared" / "data" / "pybamm_reference"
BOTH = pytest.mark.parametrize("parameters", [CHEN2020, PRADA2013], ids=lambda p: p.name)
ALL = pytest.mark.parametrize("parameters", [CHEN2020, PRADA2013, DOYLE1996], ids=lambda p: p.name)

needs_reference = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason="the full-order reference curves (shared/data/pybamm_reference) are not here"
)


def new_cells(
    parameters: CellParameters, n: int = 1, voltage: float | None = None, rated_ah: float = 5.0, **of_cells: Any
) -> CellString:
    none = np.zeros(n)
    rest = balance(
        parameters,
        parameters.voltage_max if voltage is None else voltage,
        np.full(n, parameters.lithium_ah),
        none,
        none,
    )
    return CellString(CellSet(parameters, 1.0, rated_ah, none, none, np.ones(n), **of_cells), rest, 25.0)


def isothermal(parameters: CellParameters, voltage: float) -> CellString:
    """A cell with so much thermal mass that it stays at 25 degC, as the reference does."""
    return new_cells(parameters, voltage=voltage, rated_ah=1e9)


@dataclass
class Run:
    """Samples of one reference run; current turned to our sign, `jumps` the time of the jump after sample k."""

    time: Array
    current: Array
    voltage: Array
    jumps: dict[int, float]

    def masked(self, seconds: float = 1.0) -> Array:
        """Which samples are not within `seconds` of a current jump."""
        keep = np.ones(len(self.time), dtype=bool)
        for moment in self.jumps.values():
            keep &= np.abs(self.time - moment) > seconds
        return keep


def reference(parameters: CellParameters, name: str) -> Run:
    data = np.load(REFERENCE / f"DFN_{parameters.name}.npz")
    time, current, voltage = (data[f"{name}_{key}"].astype(np.float64) for key in "tIV")
    current = -current
    jumps = {}
    rest_start = 0.0
    for k in np.flatnonzero(np.abs(np.diff(current)) > 0.05 * np.abs(current).max()):
        before, after = time[k], time[k + 1]
        if name in ("hppc", "drive"):
            # these change at multiples of 10 s; the record, thinned from 1 s, shows the sample on one side of it
            moment = before if round(before) % 10 == 0 else after
        elif current[k] < 0:
            # a discharge ends at its voltage, and the samples of the rest are whole seconds after that
            slope = (voltage[k] - voltage[k - 1]) / (time[k] - time[k - 1])
            crossing = before + (parameters.voltage_min - voltage[k]) / slope
            candidates = after - np.arange(20)
            moment = rest_start = float(candidates[np.argmin(np.abs(candidates - crossing))])
        elif current[k] == 0:
            moment = rest_start + 3600
        else:
            moment = (before + after) / 2
        jumps[int(k)] = float(min(max(moment, before), after))
    return Run(time, current, voltage, jumps)


def replay(run: Run, cell: CellString) -> Array:
    """The cell's voltage at the run's samples, under the run's current."""
    voltage = np.empty_like(run.voltage)
    voltage[0] = cell.attempt(run.current[0], 0.0)
    for k, seconds in enumerate(np.diff(run.time)):
        if k in run.jumps:
            first = run.jumps[k] - run.time[k]
            cell.attempt(run.current[k], first)
            cell.accept()
            voltage[k + 1] = cell.attempt(run.current[k + 1], seconds - first)
        else:
            voltage[k + 1] = cell.attempt((run.current[k] + run.current[k + 1]) / 2, seconds)
        cell.accept()
    return voltage


def start_of(parameters: CellParameters, name: str, run: Run) -> CellString:
    if name == "hppc":
        return isothermal(parameters, run.voltage[0])
    if name != "drive":
        return isothermal(parameters, parameters.voltage_max)
    # the drive ends in a long rest: its start is what was charged before that end
    cell = isothermal(parameters, run.voltage[-1])
    charged = float(np.sum(np.diff(run.time) * run.current[:-1]))
    cell.attempt(-charged, 1.0)
    cell.accept()
    return CellString(cell.cells, cell.stoichiometries(), 25.0)


@needs_reference
@BOTH
@pytest.mark.parametrize("name", ["hppc", "c20", "d0.33", "d1.00", "drive"])
def test_voltage_follows_the_full_order_model_within_5_mv_rms(parameters: CellParameters, name: str) -> None:
    """Resistances were fitted to hppc alone; the others are predictions. Samples within 1 s of a jump do not count.

    LFP counts all the way down its knee, where the largest deviation is 170 mV for a moment; its rms at 1C is 4.1 mV.
    """
    run = reference(parameters, name)
    error = replay(run, start_of(parameters, name, run)) - run.voltage
    assert np.sqrt(np.mean(error[run.masked()] ** 2)) < 5e-3


@needs_reference
@BOTH
@pytest.mark.parametrize(("name", "rate"), [("c20", 1 / 20), ("d0.33", 1 / 3), ("d1.00", 1.0)])
def test_capacity_agrees_with_the_full_order_model_within_02_percent(
    parameters: CellParameters, name: str, rate: float
) -> None:
    run = reference(parameters, name)
    current = -run.current[0]
    expected = min(run.jumps.values()) * current / 3600
    capacity = discharged_ah(isothermal(parameters, parameters.voltage_max), current, parameters.voltage_min)[0]
    assert capacity == pytest.approx(expected, rel=2e-3)


@needs_reference
@BOTH
def test_pulse_resistance_agrees_with_the_full_order_model_within_5_percent(parameters: CellParameters) -> None:
    """Last sample of each 10 s discharge pulse against the last before it, for NMC from full to empty.

    For LFP above 20 % SOC: below, on the knee, one particle falls faster than a thick electrode, by 15 to 33 %.
    """
    lowest = {CHEN2020: 2.5, PRADA2013: 3.15}[parameters]
    run = reference(parameters, "hppc")
    simulated = replay(run, start_of(parameters, "hppc", run))
    pulses = [k for k in run.jumps if run.current[k] == 0 and run.current[k + 1] == run.current.min()]
    starts = [k for k in pulses if run.voltage[k] > lowest]
    ends = [max(j for j in range(k, k + 12) if run.current[j] == run.current.min()) for k in starts]
    assert len(starts) >= 16
    for start, end in zip(starts, ends, strict=True):
        expected = run.voltage[start] - run.voltage[end]
        assert simulated[start] - simulated[end] == pytest.approx(expected, rel=0.05), run.time[start]


@ALL
def test_a_resting_cell_shows_its_open_circuit_voltage(parameters: CellParameters) -> None:
    for voltage in np.linspace(parameters.voltage_min, parameters.voltage_max, 5):
        assert new_cells(parameters, voltage=float(voltage)).voltages[0] == pytest.approx(voltage, abs=1e-6)


@ALL
def test_the_published_windows_come_out_of_the_balance(parameters: CellParameters) -> None:
    none, lithium = np.zeros(1), np.full(1, parameters.lithium_ah)
    x_empty, y_empty = balance(parameters, parameters.voltage_min, lithium, none, none)[:, 0]
    assert x_empty == pytest.approx(parameters.negative.stoichiometry_empty, abs=2e-4)
    assert y_empty == pytest.approx(parameters.positive.stoichiometry_empty, abs=2e-4)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0.1, 300)), min_size=1, max_size=8))
def test_lithium_is_conserved_whatever_flows(steps: list[tuple[float, float]]) -> None:
    cell = new_cells(CHEN2020, voltage=3.7)
    before = cell.stoichiometries()
    for current, seconds in steps:
        cell.attempt(current, seconds)
        cell.accept()
    moved = (cell.stoichiometries() - before)[:, 0]
    coulombs = sum(current * seconds for current, seconds in steps)
    capacities = np.array([CHEN2020.negative.capacity_ah(CHEN2020.area), CHEN2020.positive.capacity_ah(CHEN2020.area)])
    assert moved * capacities * 3600 == pytest.approx([coulombs, -coulombs], abs=1e-6)


def test_a_constant_current_gives_the_same_voltage_in_any_steps() -> None:
    whole, parts = isothermal(CHEN2020, 3.7), isothermal(CHEN2020, 3.7)
    whole.attempt(2.0, 100.0)
    whole.accept()
    for _ in range(400):
        parts.attempt(2.0, 0.25)
        parts.accept()
    assert parts.voltages[0] == pytest.approx(whole.voltages[0], abs=1e-10)


def test_an_attempt_changes_nothing_until_it_is_accepted() -> None:
    tried, untouched = new_cells(CHEN2020, voltage=3.7), new_cells(CHEN2020, voltage=3.7)
    for current in (5.0, -5.0, 1.0):
        tried.attempt(current, 30.0)
    assert tried.attempt(2.0, 1.0) == untouched.attempt(2.0, 1.0)
    assert tried.voltages[0] == untouched.voltages[0]


def test_a_copy_goes_its_own_way() -> None:
    cell = new_cells(CHEN2020, voltage=3.7)
    cell.attempt(2.0, 60.0)
    cell.accept()
    twin = copy.deepcopy(cell)
    twin.attempt(-5.0, 600.0)
    twin.accept()
    before = cell.voltages[0], cell.temperatures[0]
    assert copy.deepcopy(cell).attempt(2.0, 1.0) == cell.attempt(2.0, 1.0)
    assert (cell.voltages[0], cell.temperatures[0]) == before


def test_a_loaded_cell_warms_and_a_resting_one_cools_to_its_surroundings() -> None:
    cell = new_cells(CHEN2020, voltage=3.9)
    for _ in range(600):
        cell.attempt(-5.0, 1.0)
        cell.accept()
    warm = cell.temperatures[0]
    assert 26 < warm < 45
    cell.attempt(0.0, 1e6)
    cell.accept()
    assert cell.temperatures[0] == pytest.approx(25.0, abs=1e-6)


def test_a_cold_cell_resists_more() -> None:
    drops = []
    for degc in (0.0, 25.0, 45.0):
        cell = new_cells(CHEN2020, voltage=3.7)
        cell.soak(degc)
        drops.append(3.7 - cell.attempt(-5.0, 1.0))
    assert drops[0] > drops[1] > drops[2]


@ALL
def test_charging_fully_ends_at_the_end_current_with_the_cell_at_its_limit(parameters: CellParameters) -> None:
    cell = new_cells(parameters, voltage=(parameters.voltage_min + parameters.voltage_max) / 2)
    charge_fully(cell, 1.5, 0.25, parameters.voltage_max)
    assert cell.voltages[0] == pytest.approx(parameters.voltage_max, abs=1e-4)
    assert cell.attempt(0.5, 5.0) > parameters.voltage_max + 1e-3


@ALL
def test_capacity_falls_with_the_rate(parameters: CellParameters) -> None:
    current = parameters.lithium_ah / 2
    capacities = [
        discharged_ah(new_cells(parameters), rate * current, parameters.voltage_min)[0] for rate in (0.2, 0.5, 1.0, 2.0)
    ]
    assert capacities == sorted(capacities, reverse=True)


# --- hysteresis ----------------------------------------------------------------------------------------------------


def after(cell: CellString, *steps: tuple[float, float]) -> float:
    """Rest voltage of the first cell once each current has flowed for its seconds, its diffusion over."""
    for current, seconds in (*steps, (0.0, 1e7)):
        cell.attempt(current, seconds)
        cell.accept()
    return float(cell.voltages[0])


def hysteretic(millivolts: float = 15.0) -> CellString:
    return new_cells(PRADA2013, voltage=3.3, rated_ah=2.3, hysteresis=millivolts / 1e3)


def test_a_rest_after_charging_lies_above_one_after_discharging_at_the_same_charge() -> None:
    charged = after(hysteretic(), (-2.3, 600.0), (2.3, 600.0))
    discharged = after(hysteretic(), (2.3, 600.0), (-2.3, 600.0))
    assert charged - discharged == pytest.approx(0.030, abs=0.001)


def test_without_hysteresis_the_history_leaves_no_trace() -> None:
    charged = after(hysteretic(0.0), (-2.3, 600.0), (2.3, 600.0))
    assert charged == pytest.approx(after(hysteretic(0.0), (2.3, 600.0), (-2.3, 600.0)), abs=1e-9)


def test_a_small_reversal_turns_hysteresis_only_in_part() -> None:
    """2 % of the capacity back after a full branch, of which 10 % would turn it to 95 %."""
    branch, turned = hysteretic(), hysteretic()
    full = after(branch, (-2.3, 600.0), (2.3, 600.0))
    partly = after(turned, (-2.3, 600.0), (2.3, 600.0), (-2.3, 72.0))
    ocv = new_cells(PRADA2013, voltage=3.3, rated_ah=2.3)
    drop = after(copy.deepcopy(ocv)) - after(ocv, (-2.3, 72.0))
    assert 0.010 < full - partly - drop < 0.020


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0.1, 300)), min_size=1, max_size=8))
def test_hysteresis_never_adds_more_than_its_most(steps: list[tuple[float, float]]) -> None:
    cell = hysteretic()
    for current, seconds in steps:
        cell.attempt(current, seconds)
        cell.accept()
        assert -1 <= cell.hysteresis <= 1


# --- self-discharge ------------------------------------------------------------------------------------------------


def test_self_discharge_is_exact_over_any_step() -> None:
    """2 mA over 30 days are 1.44 Ah."""
    once, often = (new_cells(CHEN2020, voltage=3.9, self_discharge=2e-3) for _ in range(2))
    before = once.stoichiometries()
    once.attempt(0.0, 30 * 86400.0)
    once.accept()
    for _ in range(720):
        often.attempt(0.0, 3600.0)
        often.accept()
    assert once.voltages[0] == pytest.approx(often.voltages[0], abs=1e-9)
    moved = (before - once.stoichiometries())[0, 0] * CHEN2020.negative.capacity_ah(CHEN2020.area)
    assert moved == pytest.approx(1.44, rel=1e-9)


def test_a_short_discharges_its_cell_alone_by_ohms_law() -> None:
    """Its voltage falls by 60 mV on the way, so the mean of the ends is what drove the current."""
    cells = new_cells(CHEN2020, n=3, voltage=3.9, shorts=((1, 400.0),))
    before, at_start, steps = cells.stoichiometries(), float(cells.voltages[1]), 1000
    for _ in range(steps):
        cells.attempt(0.0, cells.longest_step)
        cells.accept()
    moved = (before - cells.stoichiometries())[0] * CHEN2020.negative.capacity_ah(CHEN2020.area)
    mean_voltage = (at_start + float(cells.voltages[1])) / 2
    assert moved[1] == pytest.approx(mean_voltage / 400 * steps * cells.longest_step / 3600, rel=2e-3)
    assert moved[[0, 2]] == pytest.approx(0.0, abs=1e-12)


def test_a_short_takes_the_same_in_steps_as_short_as_you_like() -> None:
    coarse, fine = (new_cells(CHEN2020, voltage=3.4, shorts=((0, 50.0),)) for _ in range(2))
    for _ in range(200):
        coarse.attempt(0.0, coarse.longest_step)
        coarse.accept()
        for _ in range(10):
            fine.attempt(0.0, fine.longest_step / 10)
            fine.accept()
    assert coarse.voltages[0] == pytest.approx(fine.voltages[0], abs=1e-4)
    assert coarse.voltages[0] < 3.31


def test_a_shorted_cell_ends_at_0_v_and_stays_there() -> None:
    cells = new_cells(CHEN2020, voltage=3.0, shorts=((0, 5.0),))
    for _ in range(20_000):
        cells.attempt(0.0, cells.longest_step)
        cells.accept()
    assert -1e-3 < cells.voltages[0] < 0.2
    assert (cells.leaks() < 0.05).all()


def test_a_short_drains_its_cell_under_current_too() -> None:
    shorted, sound = new_cells(CHEN2020, n=2, voltage=3.9, shorts=((0, 20.0),)), new_cells(CHEN2020, n=2, voltage=3.9)
    for cells in (shorted, sound):
        for _ in range(600):
            cells.attempt(-1.0, 1.0)
            cells.accept()
    taken = (sound.stoichiometries() - shorted.stoichiometries())[0] * CHEN2020.negative.capacity_ah(CHEN2020.area)
    assert taken == pytest.approx([3.85 / 20 * 600 / 3600, 0.0], rel=0.02)


# --- joints --------------------------------------------------------------------------------------------------------


def test_a_joint_shows_in_its_tap_by_ohms_law_and_warms_its_cell() -> None:
    sound, bad = (new_cells(CHEN2020, n=3, voltage=3.7, joints=joints) for joints in ((), ((1, 0.01),)))
    for cells in (sound, bad):
        assert cells.voltages == pytest.approx(3.7, abs=1e-6)
        cells.attempt(-4.0, 60.0)
    assert bad.attempted - sound.attempted == pytest.approx([0.0, -0.04, 0.0], abs=1e-12)
    for cells in (sound, bad):
        cells.accept()
    assert bad.temperatures[1] > sound.temperatures[1]
    assert bad.temperatures[0] == sound.temperatures[0]
