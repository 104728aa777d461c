"""Every kind of measurement on batteries whose answer is known beforehand; and in words what could not be measured."""

from __future__ import annotations

import ast
import inspect
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sequences.analysis
from sequences import Context, RunData, analyse, analyse_some
from sequences.measurement import FormulaOf, Source
from sequences.measuring import KINDS
from sequences.measuring.reasons import in_words
from sequences.record import Knowledge
from tests.sequences.analysis.batteries import Cell
from tests.sequences.measured import BEGAN, CELLS, DUT, Bench, measured, one, recipe

HOUR = 3600.0


def cycle(ampere: float = 2.5, **more: Any) -> Bench:
    """A charge by 1 Ah to full, a rest, and a discharge of four fifths, from and to rests."""
    bench = Bench(removed=1.0, **more)
    bench.does("arrival", 0, 600).does("charge", ampere, HOUR * 1.0 / ampere).does("rest_full", 0, 600)
    return bench.does("discharge", -ampere, HOUR * 4.0 / ampere).does("rest_empty", 0, 600)


def test_every_kind_is_worked_out() -> None:
    union = get_args(Source)[0]
    assert set(get_args(union)) == {*KINDS, FormulaOf}


# ------------------------------------------------------------------------------------------- charge and energy


def test_a_capacity_has_the_uncertainty_of_its_current_and_the_time_it_came_from() -> None:
    found = one(cycle().data(), kind="capacity", after="charge", until="discharge")
    assert found.value == pytest.approx(4.0, abs=2e-3)
    assert found.uncertainty is not None
    assert 0 < found.uncertainty < 4e-3
    assert found.samples == (BEGAN + 600 + 1440, BEGAN + 600 + 1440 + 600 + 5760)


def test_the_gain_of_the_instrument_is_in_a_capacity_and_not_in_an_efficiency() -> None:
    run = cycle(scatter=1e-3).data()
    known = replace(run, instrument=sequences.analysis.Instrument(voltage_gain=1e-3, current_gain=2e-3))
    capacity = one(known, kind="capacity", after="charge", until="discharge")
    assert capacity.uncertainty == pytest.approx(2e-3 * 4.0, rel=0.05)
    efficiency: dict[str, Any] = {"kind": "efficiency", "of": "charge", "charge": "charge", "discharge": "discharge"}
    found = one(known, **efficiency)
    assert found.uncertainty is not None
    assert 0 < found.uncertainty < 1e-4
    assert found.uncertainty == one(run, **efficiency).uncertainty


def test_efficiency_is_what_the_discharge_gave_of_what_the_charge_took() -> None:
    bench = Bench(removed=2.0).does("in", 2.0, HOUR).does("rest", 0, 600).does("out", -1.0, 1.9 * HOUR)
    found = one(bench.data(), kind="efficiency", of="charge", charge="in", discharge="out")
    assert found.value == pytest.approx(0.95)


def test_a_converged_capacity_is_the_mean_of_the_newest_that_agree() -> None:
    bench = Bench(removed=0.5, period=5.0)
    for ah in (3.9, 3.5, 3.52):
        bench.does("capacity_charge", 2.5, 720).does("capacity_rest_charged", 0, 300)
        bench.does("capacity_discharge", -2.5, HOUR * ah / 2.5).does("capacity_rest_discharged", 0, 300)
        bench.does("back", 2.5, HOUR * (ah - 0.5) / 2.5)
    step = {
        "step": "capacity", "name": "capacity", "charge_current": "C/2", "charge_cell_voltage": "4.2 V",
        "cutoff": "C/20", "charge_max_time": "5 h", "discharge_current": "C/2", "discharge_cell_voltage": "2.7 V",
        "discharge_max_time": "4 h", "rest_charged": "5 min", "rest_discharged": "5 min", "rounds": 5, "agree": 2,
    }  # fmt: skip
    sources = {of: {"kind": "converged_capacity", "test": "capacity", "of": of} for of in
               ("capacity", "spread", "rounds")}  # fmt: skip
    found = measured(bench.data(), sources, step)
    assert found["capacity"].value == pytest.approx(3.51, abs=1e-3)
    # the two that agree lie 0.02 Ah apart: their mean scatters by half of that
    assert found["capacity"].uncertainty == pytest.approx(0.01, rel=0.05)
    assert found["spread"].value == pytest.approx(0.02, abs=1e-3)
    assert found["rounds"].value == 3


# ----------------------------------------------------------------------------------------------------- resistance

PULSES: dict[str, Any] = {"kind": "resistance", "pulse": "pulse", "at": "10 s"}


def pulsed(seconds: float = 600, **more: Any) -> Bench:
    """A pulse of 5 A for 10 s after a rest; the cells have 20 mohm and 10 mohm more with 20 s."""
    bench = Bench(removed=2.0, **more)
    return bench.does("rest", 0, seconds).does("pulse", -5.0, 10.0, 0.1).does("after", 0, 40.0)


TRUE_OHM = 4 * (0.020 + 0.010 * (1 - math.exp(-10 / 20)))


def test_a_resistance_is_that_of_the_cells_within_its_uncertainty() -> None:
    found = one(pulsed(noise=1e-4).data(), **PULSES)
    assert found.value is not None
    assert found.uncertainty is not None
    # what the open-circuit voltage falls in 10 s belongs to a resistance
    without = pulsed(cells=(Cell(ohmic=0.0, slow=0.0),) * 4).data().columns["voltage"]
    fallen = float(without[600] - without[701]) / 5.0
    assert abs(found.value - TRUE_OHM - fallen) < 3 * found.uncertainty
    assert found.uncertainty < 0.01 * TRUE_OHM
    assert (found.detail["at_s"], found.detail["rest_s"]) == (10.0, 600)


def test_a_resistance_after_too_short_a_rest_is_refused_in_both_languages() -> None:
    found = one(pulsed(120).data(), **PULSES)
    assert found.value is None
    assert found.detail["missing"] == "rested for 120 s only, 300 s are asked for"
    assert found.detail["missing_ko"] == "휴지가 120 s 로, 300 s 이상이어야 함"


def test_a_resistance_below_the_resolution_is_refused() -> None:
    run = pulsed().data()
    coarse = dict(run.columns) | {"voltage": np.round(run.columns["voltage"] / 0.1) * 0.1}
    # enough different readings that the step between them shows
    coarse["voltage"][:20] = 14.0 + 0.1 * np.arange(20)
    assert "steps of 100 mV" in str(one(replace(run, columns=coarse), **PULSES).detail["missing"])


def test_an_increase_at_another_time_than_the_new_batterys_is_refused() -> None:
    found = one(pulsed().data(), kind="resistance_increase", pulse="pulse", at="5 s")
    assert "known at 10 s, not at 5 s" in str(found.detail["missing"])
    grown, ohm = (
        one(pulsed().data(), kind="resistance_increase", pulse="pulse", at="10 s"),
        one(pulsed().data(), **PULSES),
    )
    assert ohm.value is not None
    assert grown.value == pytest.approx(ohm.value / 0.1 - 1)


def test_the_pulses_of_a_train_are_told_apart() -> None:
    train = Bench(removed=2.0).does("rest", 0, 600)
    run = train.does("pulse", -5.0, 10.0, 0.1).does("x", 0, 40, 0.1).does("y", 2.5, 10.0, 0.1).does("z", 0, 40).data()
    # one step run of four parts, as a program records a train
    step = np.minimum(run.columns["step"], 1.0)
    whole = RunData(dict(run.columns) | {"step": step}, run.cells, run.steps[:2])
    assert one(whole, **PULSES).detail["current_a"] == -5.0
    second = one(whole, **PULSES, number=2)
    assert (second.detail["current_a"], second.detail["rest_s"]) == (2.5, 40)
    assert "had 2 pulses" in str(one(whole, **PULSES, number=3).detail["missing"])


def test_a_pulse_away_from_the_state_of_charge_asked_for_is_less_sure() -> None:
    bench = Bench(removed=0.0, period=5.0).does("full", 1e-9, 5)
    for ampere in (5.0, 5.0, 5.0):
        bench.does("move", -ampere, 0.24 * HOUR).does("rest", 0, 600).does("pulse", -5.0, 10.0, 0.1)
    bench.does("empty", -5.0, 0.16 * HOUR)
    capacity = {"kind": "capacity", "after": "full", "until": "empty"}
    run = bench.data()
    near = measured(run, {"c": capacity, "r": {**PULSES, "soc": "46 %"}})["r"]
    far = measured(run, {"c": capacity, "r": {**PULSES, "soc": "55 %"}})["r"]
    assert near.value == far.value
    assert near.uncertainty is not None
    assert far.uncertainty is not None
    assert far.uncertainty > near.uncertainty


def test_power_is_what_brings_the_first_cell_to_its_lowest_voltage() -> None:
    cells = (Cell(), Cell(), Cell(ohmic=0.12), Cell())
    run = pulsed(cells=cells).data()
    found = one(run, kind="power_capability", pulse="pulse", at="10 s", cell_voltage="3.0 V")
    rested = run.cells[600]
    pulse = run.cells[600] - run.cells[701]
    ampere = float(np.min((rested - 3.0) / (pulse / 5.0)))
    assert found.detail["cell"] == 3
    assert found.detail["limit_a"] == pytest.approx(ampere, rel=1e-3)
    assert ampere < DUT.max_discharge_current
    assert found.value == pytest.approx(ampere * (rested.sum() - ampere * pulse.sum() / 5.0), rel=1e-3)


def test_power_is_not_promised_beyond_the_current_the_battery_may_give() -> None:
    found = one(pulsed().data(), kind="power_capability", pulse="pulse", at="10 s", cell_voltage="2.5 V")
    assert (found.detail["limit_a"], found.detail["limited_by"]) == (15.0, "rated current")


# ---------------------------------------------------------------------------------------------------------- cells


def test_the_cell_that_ends_a_discharge_is_told_with_its_cause() -> None:
    small = Cell(lli=0.15)
    run = Bench(cells=(Cell(), small, Cell(), Cell()), period=5.0).does("wait", 0, 600).does("discharge", -2.5, 5900)
    found = one(run.does("after", 0, 600).data(), kind="weakest_cell", until="discharge")
    assert (found.value, found.detail["cause"], found.uncertainty) == (2.0, "capacity", None)
    lacking = Bench(offsets=(0.0, 0.0, -0.5, 0.0), period=5.0).does("wait", 0, 600).does("discharge", -2.5, 5900)
    found = one(lacking.does("after", 0, 600).data(), kind="weakest_cell", until="discharge")
    assert (found.value, found.detail["cause"]) == (3.0, "imbalance")
    assert found.detail["imbalance_ah"] == pytest.approx(0.5, abs=0.05)


def stored(leak: float, hours: float = 24.0, step: float = 0.0, between: float = 0.0) -> RunData:
    bench = Bench(leaks=(0.0, leak, 0.0, 0.0), period=10.0, removed=0.0, step=step)
    bench.does("first_rest", 0, 300).does("discharge", -0.5, 9 * HOUR, 20.0).does("settle", 0, HOUR)
    bench.does("half", 1.0, 2 * HOUR).does("first", 0, 4 * HOUR, 30.0)
    if between:
        bench.does("pulse", -between, 60)
    return bench.does("store", 0, hours * HOUR, 600.0).does("second", 0, 600).data()


SELF: dict[str, Any] = {"kind": "self_discharge", "first": "first", "second": "second"}


def test_self_discharge_is_that_of_the_worst_cell_over_its_neighbours() -> None:
    leak = 1e-3  # A
    found = one(stored(leak), **SELF)
    true = leak * 720 / DUT.rated_capacity  # of the rated capacity in 30 days of 24 h
    assert found.detail["cell"] == 2
    assert found.value is not None
    assert found.value == pytest.approx(true, rel=0.15)
    assert found.uncertainty is not None
    assert abs(found.value - true) < 2 * found.uncertainty
    assert found.samples is not None


def test_a_month_is_told_no_surer_than_the_cells_are_read() -> None:
    exact, coarse = one(stored(1e-3), **SELF), one(stored(1e-3, step=1e-3), **SELF)
    assert exact.uncertainty is not None
    assert coarse.uncertainty is not None
    reading = (
        math.sqrt(2) * 1e-3 / math.sqrt(12) / float(coarse.detail["slope_v"]) * 720 / float(coarse.detail["hours"])
    )
    assert coarse.uncertainty >= 0.95 * reading


def test_current_between_the_rests_and_too_short_a_time_are_refused() -> None:
    assert "flowed between first and second" in str(one(stored(1e-3, between=2.0), **SELF).detail["missing"])
    assert "3600 s are asked for" in str(one(stored(1e-3, hours=0.5), **SELF).detail["missing"])


SLIPPAGE: dict[str, Any] = {"kind": "slippage", "discharge": "discharge"}


def cycled(
    leak: float, *, cells: tuple[Cell, ...] = CELLS, cycles: int = 2, step: float = 1e-3, **more: Any
) -> RunData:
    """Cycles at C/2 between a tenth and the end of the charge; the third cell leaks, A."""
    empty = 0.97 * min(cell.usable for cell in cells)
    leaks = tuple(leak if n == 2 else 0.0 for n in range(len(cells)))
    bench = Bench(cells=cells, leaks=leaks, removed=empty, period=10.0, step=step, **more).does("wait", 0, 300)
    seconds = HOUR * 0.9 * empty / 2.5
    for _ in range(cycles):
        bench.does("charge", 2.5, seconds).does("rest", 0, 600).does("discharge", -2.5, seconds).does("rest", 0, 600)
    return bench.data()


def a_month(leak: float) -> float:
    return leak * 720 / DUT.rated_capacity


@pytest.mark.parametrize("leak", [0.5e-3, 2e-3, 10e-3])
def test_a_cell_that_leaks_moves_along_the_charge_from_cycle_to_cycle(leak: float) -> None:
    found = one(cycled(leak), **SLIPPAGE)
    assert found.detail["cell"] == 3
    assert found.value == pytest.approx(a_month(leak), rel=0.15, abs=0.01)
    assert found.uncertainty is not None
    assert found.value is not None
    assert abs(found.value - a_month(leak)) < 2 * found.uncertainty


def test_cells_that_merely_lie_apart_or_are_smaller_do_not_leak() -> None:
    cells = (Cell(), Cell(lli=0.06), Cell(ohmic=0.06), Cell(lli=0.03, slow=0.05))
    run = cycled(0.0, cells=cells, offsets=(0.0, 0.1, -0.05, 0.2))
    found = one(run, **SLIPPAGE)
    assert found.value is not None
    assert found.uncertainty is not None
    assert found.value < 0.01 + 2 * found.uncertainty < 0.06


def test_what_moves_every_cell_alike_is_not_a_leak() -> None:
    run = cycled(2e-3)
    drifting = {name: column.copy() for name, column in run.columns.items()}
    drifting["discharged_ah"] += 3e-6 * (drifting["t"] - drifting["t"][0])  # the counter runs 11 mA high
    later = run.cells + 1e-7 * (run.columns["t"] - run.columns["t"][0])[:, None]  # and the cells become warmer
    found = one(RunData(drifting, later, run.steps), **SLIPPAGE)
    assert found.detail["cell"] == 3
    assert found.value == pytest.approx(a_month(2e-3), rel=0.2)


def test_one_discharge_tells_no_slippage() -> None:
    assert "came to its end only once" in str(one(cycled(1e-3, cycles=1), **SLIPPAGE).detail["missing"])
    alone = one(cycled(1e-3, cells=CELLS[:2], offsets=(0.0, 0.0)), dut=replace(DUT, series_cells=2), **SLIPPAGE)
    assert "fewer than three cells" in str(alone.detail["missing"])


# --------------------------------------------------------------------------------------------------------- curves


@pytest.mark.parametrize("charging", [False, True])
def test_degradation_modes_are_found_from_a_slow_discharge_or_charge(charging: bool) -> None:
    cell = Cell(lli=0.12, lam_pe=0.06, ohmic=0.002, slow=0.001)
    moved = cell.usable - 0.02
    ampere = 0.25
    bench = Bench(cells=(cell,) * 4, period=20.0, removed=moved + 0.01 if charging else 0.01)
    bench.does("wait", 0, 600).does("slow", ampere if charging else -ampere, HOUR * moved / ampere)
    run = bench.does("after", 0, 600).data()
    sources = {mode: {"kind": "degradation", "during": "slow", "mode": mode} for mode in ("lli", "lam_pe", "lam_ne")}
    found = measured(run, sources)
    for mode, true in (("lli", 0.12), ("lam_pe", 0.06), ("lam_ne", 0.0)):
        value, uncertainty = found[mode].value, found[mode].uncertainty
        assert value is not None
        assert uncertainty is not None
        assert abs(value - true) < max(3 * uncertainty, 0.01), mode


def test_degradation_from_a_fast_or_short_discharge_is_refused() -> None:
    fast = cycle(5.0).data()
    assert "was at 1C" in str(one(fast, kind="degradation", during="discharge", mode="lli").detail["missing"])
    short = Bench(period=20.0).does("wait", 0, 600).does("slow", -0.25, HOUR).data()
    assert "moved 0.25 Ah" in str(one(short, kind="degradation", during="slow", mode="lli").detail["missing"])
    lmo = one(fast, kind="degradation", during="discharge", mode="lli", dut=replace(DUT, chemistry="LMO"))
    assert lmo.value is None


def test_the_highest_peak_of_incremental_capacity_is_that_of_the_cell() -> None:
    cell = Cell(ohmic=0.0, slow=0.0)
    run = Bench(cells=(cell,) * 4, period=5.0, removed=0.01).does("wait", 0, 600)
    run.does("slow", -0.5, HOUR * (cell.usable - 0.02) / 0.5).does("after", 0, 600)
    found = one(run.data(), kind="ica_peak", during="slow")
    charge, volts = cell.curve(4000)
    inner = slice(100, -100)
    peak = float(volts[inner][np.argmax(-np.gradient(charge, volts)[inner])])
    assert found.value == pytest.approx(peak, abs=0.01)
    assert found.as_json()["unit"] == "V"


# ------------------------------------------------------------------------------------------------------- readings


def looked(kind: str, **readings: tuple[float | None, ...]) -> RunData:
    return Bench().does("look", 0, 100, kind=kind, readings=readings).data()


VOLTMETER: dict[str, Any] = {
    "kind": "two_voltmeters", "total": "total * 1 V", "negative": "negative * 1 V", "positive": "100 V",
    "inserted": "200 V", "known": "200 kohm", "reading": "0.1 V",
}  # fmt: skip


def test_two_voltmeters_give_the_insulation_of_the_weaker_pole() -> None:
    found = one(looked("rest"), **VOLTMETER | {"total": "400 V", "negative": "300 V"})
    ohm = 200e3 * 400 * (1 / 200 - 1 / 300)  # UN R100 Annex 5B
    assert found.value == pytest.approx(ohm / DUT.nominal_voltage)
    assert found.as_json()["unit"] == "ohm/V"
    assert found.detail == {"kohm": pytest.approx(ohm / 1e3), "weaker_pole": "positive"}
    assert found.uncertainty is not None
    assert 0 < found.uncertainty < 0.01 * found.value
    contradicting = one(looked("rest"), **VOLTMETER | {"total": "400 V", "negative": "150 V"})
    assert contradicting.value is None
    assert "did not lower the voltage" in str(contradicting.detail["missing"])


def test_a_spectrum_gives_its_circuit_back() -> None:
    f = np.geomspace(0.05, 1000, 30)
    w = 2 * np.pi * f
    z = 2e-3 + 3e-3 / (1 + (1j * w * 0.02) ** 0.85) + 4e-4 * (1 - 1j) / np.sqrt(w)
    noisy = z * (1 + 1e-3 * np.random.default_rng(1).normal(size=(len(z), 2)) @ (1, 1j))
    run = looked("eis", frequency=(*f, 1.0), real=(*noisy.real, None), imaginary=(*noisy.imag, None))
    sources: dict[str, dict[str, Any]] = {
        of: {"kind": "spectrum", "eis": "look", "of": of} for of in ("r0", "rct", "warburg")
    }
    found = measured(run, sources)
    for of, true in (("r0", 2e-3), ("rct", 3e-3), ("warburg", 4e-4)):
        value, uncertainty = found[of].value, found[of].uncertainty
        assert value is not None
        assert value == pytest.approx(true, rel=0.1)
        assert uncertainty is not None
        assert abs(value - true) < 5 * uncertainty
        assert found[of].samples == (BEGAN, BEGAN + 100)
    few = one(looked("eis", frequency=(1.0,), real=(2e-3,), imaginary=(-1e-3,)), **sources["r0"])
    assert few.detail["missing_ko"] == "스펙트럼 점이 1개로, 8개 이상이어야 함"


def test_an_insulation_test_counts_before_what_the_bms_says() -> None:
    by_tester = one(looked("insulation", resistance=(2e6,)), kind="insulation", during="look")
    assert by_tester.value == pytest.approx(2e6 / 14.8)
    assert one(looked("rest"), kind="insulation", during="look").value == pytest.approx(1e6 / 14.8)
    assert one(looked("insulation", resistance=(None,)), kind="insulation", during="look").value is None


def test_readings_that_agree_to_the_last_digit_do_not_make_an_exact_value() -> None:
    found = one(looked("acir", resistance=(5e-3, 5e-3, None)), kind="ac_resistance", measured_in="look")
    assert (found.value, found.uncertainty, found.detail["readings"]) == (5e-3, None, 2)


def test_metals_come_from_the_rated_energy_and_only_where_there_is_a_figure() -> None:
    found = one(looked("rest"), kind="metal", element="Ni", dut=replace(DUT, chemistry="NMC811"))
    assert found.value == pytest.approx(0.074 * 0.608)
    assert found.uncertainty == pytest.approx(0.074 * (0.669 - 0.608) / math.sqrt(3))
    missing = one(looked("rest"), kind="metal", element="Ni", dut=replace(DUT, chemistry="LFP"))
    assert (missing.value, missing.detail["missing"]) == (None, "no figure for Ni in LFP")


@pytest.mark.parametrize(
    ("signal", "value"),
    [("current", 2.5), ("charge", 2.5), ("depth", 0.5), ("soc", 0.45), ("temperature_max", 25.0),
     ("insulation", 1e6 / 14.8), ("cell_rate", None), ("chamber_temperature", None)],
)  # fmt: skip
def test_a_signal_at_a_steps_end_is_what_conditions_see(signal: str, value: float | None) -> None:
    known = Knowledge(capacity=5.0, soc=1.0, soc_at=0.25, full_at=None, grade_certain=None)
    run = Bench().does("out", -2.5, HOUR, known=known).data()
    found = one(run, kind="at_end", signal=signal, step="out").value
    if signal == "cell_rate":
        assert found == pytest.approx(float(run.cells[-1].mean() - run.cells[-61].mean()) / 60, rel=1e-3)
    else:
        assert found == (None if value is None else pytest.approx(value))


# ------------------------------------------------------------------------------------------------------- formulas

CHARGE: dict[str, Any] = {"kind": "capacity", "after": "charge", "until": "discharge"}


def test_a_formula_has_the_uncertainty_of_what_it_is_made_of() -> None:
    sources = {
        "c": CHARGE,
        "e": {"kind": "energy", "after": "charge", "until": "discharge"},
        "volts": {"kind": "formula", "value": "e / c"},
        "double": {"kind": "formula", "value": "2 * volts"},
        "plain": {"kind": "formula", "value": "rated_energy / rated_capacity"},
    }
    found = measured(cycle().data(), sources)
    c, e, volts, double = (found[name] for name in ("c", "e", "volts", "double"))
    assert volts.value == pytest.approx(e.value / c.value)  # type: ignore[operator]
    relative = math.hypot(c.uncertainty / c.value, e.uncertainty / e.value)  # type: ignore[operator]
    assert volts.uncertainty == pytest.approx(relative * volts.value, rel=1e-3)  # type: ignore[operator]
    assert double.uncertainty == pytest.approx(2 * volts.uncertainty)  # type: ignore[operator]
    assert found["plain"].value == pytest.approx(14.8)
    assert found["plain"].uncertainty is None
    assert volts.samples == c.samples


def test_a_formula_names_what_it_lacks() -> None:
    found = measured(cycle().data(), {"c": {**CHARGE, "until": "never"}, "f": {"kind": "formula", "value": "c * 2"}})
    assert found["f"].detail == {"missing": "not known: c", "missing_ko": "알 수 없음: c"}


def test_some_measurements_bring_what_they_need_and_nothing_else() -> None:
    sources = {"c": CHARGE, "t": {"kind": "temperature_max"}, "f": {"kind": "formula", "value": "c / rated_capacity"}}
    context = Context(DUT, 5.0, 0.5)
    found = analyse_some(recipe(sources), context, cycle().data(), "", ["f"])
    assert [result.measurement.name for result in found] == ["f"]
    assert found[0].value == pytest.approx(0.8, abs=1e-3)


# ---------------------------------------------------------------------------------------------- what is not there

EVERY: dict[str, dict[str, Any]] = {
    "capacity": CHARGE,
    "c3": {**CHARGE, "kind": "capacity_at_c3"},
    "soh": {**CHARGE, "kind": "state_of_health"},
    "fade": {**CHARGE, "kind": "capacity_fade"},
    "energy": {**CHARGE, "kind": "energy"},
    "soce": {**CHARGE, "kind": "certified_energy"},
    "efficiency": {"kind": "efficiency", "of": "energy", "charge": "charge", "discharge": "discharge"},
    "resistance": {**PULSES, "pulse": "discharge"},
    "increase": {"kind": "resistance_increase", "pulse": "discharge", "soc": "90 %", "at": "10 s"},
    "ratio": {"kind": "cell_resistance_ratio", "pulse": "discharge", "at": "10 s"},
    "power": {"kind": "power_capability", "pulse": "discharge", "at": "10 s", "cell_voltage": "2.7 V"},
    "spread": {"kind": "cell_spread", "rest": "rest_full"},
    "weakest": {"kind": "weakest_cell", "until": "discharge"},
    "self": {"kind": "self_discharge", "first": "rest_full", "second": "rest_empty"},
    "slippage": SLIPPAGE,
    "insulation": {"kind": "insulation", "during": "arrival"},
    "voltmeters": VOLTMETER,
    "acir": {"kind": "ac_resistance", "measured_in": "arrival"},
    "spectrum": {"kind": "spectrum", "eis": "arrival", "of": "r0"},
    "fast": {"kind": "fast_soh", "pulse": "discharge", "charge": "charge", "rest": "rest_full"},
    "modes": {"kind": "degradation", "during": "discharge", "mode": "lli"},
    "peak": {"kind": "ica_peak", "during": "discharge"},
    "metal": {"kind": "metal", "element": "graphite"},
    "temperature": {"kind": "temperature_max"},
    "end": {"kind": "at_end", "signal": "cell_spread", "step": "rest_empty"},
    "rate": {"kind": "at_end", "signal": "voltage_rate", "step": "rest_empty"},
    "converged": {"kind": "converged_capacity", "test": "charge"},
    "formula": {"kind": "formula", "value": "capacity / rated_capacity"},
}
WHOLE = cycle(5.0, period=10.0).data()


def test_without_steps_nothing_is_measured_and_every_reason_is_in_both_languages() -> None:
    empty = RunData({name: column[:0] for name, column in WHOLE.columns.items()}, WHOLE.cells[:0], ())
    for name, found in measured(empty, EVERY).items():
        if name == "metal":
            continue  # it needs none
        assert found.value is None, name
        assert found.detail["missing"] != found.detail["missing_ko"], name


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_whatever_samples_fail_there_is_a_number_or_a_reason(data: st.DataObject) -> None:
    n = len(WHOLE.columns["t"])
    columns = {name: column.copy() for name, column in WHOLE.columns.items()}
    for name in ("voltage", "current", "temperature_max", "insulation"):
        first = data.draw(st.integers(0, n), label=name)
        columns[name][first : data.draw(st.integers(first, n), label=f"{name} until")] = np.nan
    cells = WHOLE.cells.copy()
    cells[data.draw(st.integers(0, n), label="cells from") :, data.draw(st.integers(0, 3), label="cell")] = np.nan
    steps = tuple(replace(s, complete=data.draw(st.booleans(), label=s.name)) for s in WHOLE.steps)
    for found in analyse(recipe(EVERY), Context(DUT, 5.0, 0.5), RunData(columns, cells, steps)):
        if found.value is None:
            assert found.detail["missing"]
            assert found.detail["missing_ko"]
        else:
            assert math.isfinite(found.value)
            assert found.uncertainty is None or 0 < found.uncertainty < math.inf


def test_every_reason_of_the_analysis_has_its_korean() -> None:
    """Read from its source, with figures where figures go."""
    said = 0
    for path in Path(inspect.getfile(sequences.analysis)).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)):
                continue
            if getattr(node.exc.func, "id", "") != "UnmeasurableError":
                continue
            (message,) = node.exc.args
            parts = message.values if isinstance(message, ast.JoinedStr) else [message]
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "1.5" for part in parts)
            assert in_words(text).ko != text, text
            said += 1
    assert said > 30


def test_a_step_at_rest_is_no_pulse() -> None:
    run = Bench(cells=CELLS).does("rest", 0, 600).does("pulse", 0, 20).data()
    assert "had 0 pulses" in str(one(run, **PULSES).detail["missing"])
