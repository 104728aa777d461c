"""Measurements from a run made by hand, whose answers are known on paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sequences import Context, Dut, MeasurementResult, Recipe, RunData, StepRecord, Verdict, analyse

Build = Callable[[dict[tuple[str | int, ...], Any]], Recipe]

CELLS = 96
PACK_OHM, CELL_OHM = 0.24, 0.0025


class Script:
    """Builds a run step by step: a battery with a constant resistance, sampled every second."""

    def __init__(self) -> None:
        self.t, self.net, self.rows, self.steps = 1000.0, 0.0, [], []  # type: ignore[var-annotated]

    def step(self, name: str, amperes: float, seconds: int, *, complete: bool = True, **readings: Any) -> Script:
        index, started = len(self.steps), self.t
        for second in range(seconds + 1):
            if second:
                self.t += 1.0
                self.net += amperes / 3600
            self._row(index, amperes)
        record = StepRecord(index, name, name, started, self.t, "end", complete, readings)
        self.steps.append(record)
        return self

    def _row(self, index: int, amperes: float) -> None:
        cells = 3.6 + 0.001 * np.arange(CELLS) / CELLS + amperes * CELL_OHM
        cells[7] += amperes * CELL_OHM * 0.5  # one cell with half as much again
        cells[41] -= 0.1
        voltage = 350.0 + amperes * PACK_OHM
        charged, discharged = max(self.net, 0.0) + 100.0, 100.0 - min(self.net, 0.0)
        self.rows.append((index, self.t, voltage, amperes, charged, discharged, cells))

    def data(self) -> RunData:
        index, t, voltage, current, charged, discharged, cells = zip(*self.rows, strict=True)
        columns = {
            "t": np.array(t), "step": np.array(index, float),
            "voltage": np.array(voltage), "current": np.array(current),
            "charged_ah": np.array(charged), "discharged_ah": np.array(discharged),
            "charged_wh": 350 * np.array(charged), "discharged_wh": 350 * np.array(discharged),
            "insulation": np.full(len(t), 700_000.0), "temperature_max": np.linspace(25, 31, len(t)),
        }  # fmt: skip
        return RunData(columns, np.array(cells), tuple(self.steps))


def whole_run() -> Script:
    """The shipped recipe's steps on a battery of 45 Ah, with pulses at exactly 80, 50 and 20 %."""
    script = Script().step("arrival", 0, 60).step("acir", 0, 1, resistance=(0.005, None, 0.0052), voltage=(43.0,) * 3)
    script.step("charge", 30, 3600).step("rest_full", 0, 60).step("discharge_to_80", -30, 1080)
    for seconds in (1610, 1610, 1070):
        script.step("rest_soc", 0, 600).step("pulse", -60, 10).step("discharge_30", -30, seconds)
    return script.step("discharge_to_empty", -30, 0).step("rest_empty", 0, 60).step("charge_to_shipping", 30, 600)


def measured(run: RunData, recipe: Recipe, dut: Dut) -> dict[str, MeasurementResult]:
    return {result.measurement.name: result for result in analyse(recipe, Context(dut, dut.rated_capacity, 0.5), run)}


@pytest.fixture(scope="module")
def script() -> Script:
    return whole_run()


def test_capacity_and_energy_are_the_net_discharge_between_full_and_empty(
    script: Script, recipe_with: Build, dut: Dut
) -> None:
    results = measured(script.data(), recipe_with({}), dut)
    capacity = (30 * (1080 + 1610 + 1610 + 1070) + 60 * 30) / 3600
    assert results["remainingCapacity"].value == pytest.approx(capacity)
    assert results["stateOfHealth"].value == pytest.approx(capacity / 60)
    assert results["capacityFade"].value == pytest.approx(1 - capacity / 60)
    assert results["remainingCapacityC3"].value == pytest.approx(capacity * 1.004)
    assert results["remainingEnergy"].value == pytest.approx(350 * capacity)
    assert results["stateOfCertifiedEnergy"].value == pytest.approx(350 * capacity / 20900)


def test_resistance_is_taken_at_its_stated_time_against_the_rest_before(
    script: Script, recipe_with: Build, dut: Dut
) -> None:
    results = measured(script.data(), recipe_with({}), dut)
    for soc in (80, 50, 20):
        result = results[f"internalResistance{soc}"]
        assert result.value == pytest.approx(PACK_OHM)
        assert result.detail["soc_percent"] == pytest.approx(soc, abs=1)
        assert result.detail["at_s"] == 10.0
    assert results["internalResistanceIncrease"].value == pytest.approx(PACK_OHM / dut.initial_dcir - 1)


def test_a_cell_with_more_resistance_than_the_others_is_found(script: Script, recipe_with: Build, dut: Dut) -> None:
    result = measured(script.data(), recipe_with({}), dut)["cellResistanceRatio"]
    assert result.value == pytest.approx(1.5)
    assert result.detail["cell"] == 8


def test_the_weakest_cell_is_the_lowest_at_the_end_and_counted_from_one(
    script: Script, recipe_with: Build, dut: Dut
) -> None:
    assert measured(script.data(), recipe_with({}), dut)["weakestCell"].value == 42


def test_readings_that_failed_do_not_enter_a_mean(script: Script, recipe_with: Build, dut: Dut) -> None:
    result = measured(script.data(), recipe_with({}), dut)["acResistanceModule1"]
    assert result.value == pytest.approx(0.0051)
    assert result.detail["readings"] == 2


def test_insulation_is_per_volt_of_the_nominal_voltage(script: Script, recipe_with: Build, dut: Dut) -> None:
    assert measured(script.data(), recipe_with({}), dut)["insulationResistance"].value == pytest.approx(2000)


def test_a_step_that_did_not_run_makes_its_measurements_inconclusive_and_says_which(
    recipe_with: Build, dut: Dut
) -> None:
    run = Script().step("arrival", 0, 60).step("charge", 30, 600).data()
    results = measured(run, recipe_with({}), dut)
    assert results["remainingCapacity"].value is None
    assert results["remainingCapacity"].verdict is Verdict.INCONCLUSIVE
    assert "discharge_to_empty did not run" in str(results["remainingCapacity"].detail["missing"])
    assert results["insulationResistance"].verdict is Verdict.PASS, "what was measured stands"


def test_a_discharge_that_was_cut_short_is_no_capacity(script: Script, recipe_with: Build, dut: Dut) -> None:
    run = script.data()
    cut = tuple(replace(s, complete=False) if s.name == "discharge_to_empty" else s for s in run.steps)
    results = measured(RunData(run.columns, run.cells, cut), recipe_with({}), dut)
    assert results["stateOfHealth"].verdict is Verdict.INCONCLUSIVE


def test_bad_samples_never_become_a_number(script: Script, recipe_with: Build, dut: Dut) -> None:
    run = script.data()
    columns = dict(run.columns) | {"voltage": np.full_like(run.columns["voltage"], np.nan)}
    cells = run.cells.copy()
    cells[:, 3] = np.nan
    results = measured(RunData(columns, cells, run.steps), recipe_with({}), dut)
    for name in ("internalResistance50", "cellResistanceRatio", "cellSpread", "weakestCell"):
        assert results[name].value is None
        assert results[name].verdict is Verdict.INCONCLUSIVE


def test_a_pulse_far_from_the_asked_state_of_charge_is_not_taken_for_it(
    script: Script, recipe_with: Build, dut: Dut
) -> None:
    recipe = recipe_with({("measurements", 7, "from", "soc"): "65 %"})
    result = measured(script.data(), recipe, dut)["internalResistance50"]
    assert result.value is None
    assert "no pulse near 65% SOC" in str(result.detail["missing"])


def test_a_pulse_without_rest_before_it_is_no_resistance(recipe_with: Build, dut: Dut) -> None:
    script = Script().step("charge", 30, 3600).step("discharge_to_80", -30, 1080).step("pulse", -60, 10)
    script.step("discharge_to_empty", -30, 4300)
    result = measured(script.data(), recipe_with({}), dut)["internalResistance80"]
    assert "not at rest before" in str(result.detail["missing"])


def test_results_are_shown_in_the_units_of_the_report(script: Script, recipe_with: Build, dut: Dut) -> None:
    shown = measured(script.data(), recipe_with({}), dut)["stateOfHealth"].as_json()
    assert shown["unit"] == "%"
    assert shown["limits"] == {"min": 50.0, "max": None, "marginal": 3.0}
    assert shown["value"] == pytest.approx(75.6, abs=1)
