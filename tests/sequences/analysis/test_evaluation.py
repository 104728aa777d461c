"""A whole test of one cell, evaluated at once: every result with its uncertainty, and a reason for what is missing."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sequences.analysis import (
    CHEN2020,
    Battery,
    TimeSeries,
    Window,
    evaluate,
    evaluation,
    find_segments,
    new_electrodes,
)
from tests.sequences.analysis.batteries import Cell, record

CELL = Cell(lli=0.10, lam_ne=0.03, ohmic=0.02, slow=0.01)
USABLE = CELL.usable
# empty, then two full cycles at C/10 with rests, sampled every 10 s
DOWN, UP = (-0.5, 7200 * (USABLE - 0.03)), (0.5, 7200 * (USABLE - 0.035))
PARTS = ((0.0, 1200.0), DOWN, (0.0, 3600.0), UP, (0.0, 3600.0), DOWN, (0.0, 2 * 86400.0))
SERIES = record(CELL, *PARTS, period=10.0, noise=1e-4, removed=0.02)
KNOWN = Battery(5.0, 18.2, "NMC811", window=Window(2.5, 4.2, stated=True))


def test_every_result_is_there_with_its_uncertainty_and_its_samples() -> None:
    found = evaluate(find_segments(SERIES), KNOWN)
    assert found.withheld == {}
    assert list(found.results) == [
        "remainingCapacity", "remainingEnergy", "stateOfHealth", "capacityFade", "stateOfCertifiedEnergy",
        "coulombicEfficiency", "energyEfficiency", "LLI", "LAM_PE", "LAM_NE",
    ]  # fmt: skip
    for name, estimate in found.results.items():
        assert estimate.uncertainty > 0, name
        assert estimate.rows, name


def test_the_results_are_the_cells() -> None:
    found = evaluate(find_segments(SERIES), KNOWN)
    capacity = found.results["remainingCapacity"]
    assert capacity.value == pytest.approx(USABLE - 0.03, abs=2e-3)
    assert capacity.detail["settled"] == "too few"
    assert found.results["stateOfHealth"].value == pytest.approx(capacity.value / 5)
    assert found.results["capacityFade"].value == pytest.approx(1 - capacity.value / 5)
    assert found.results["coulombicEfficiency"].value == pytest.approx((USABLE - 0.03) / (USABLE - 0.035), abs=1e-3)
    assert found.results["LLI"].value == pytest.approx(0.10, abs=3 * found.results["LLI"].uncertainty + 0.005)
    assert [result.full for result in found.sweeps] == [True, True, True]
    assert found.metals["Ni"].value == pytest.approx(18.2e-3 * 0.608)


def test_a_rest_of_days_gives_a_self_discharge() -> None:
    leak = replace(SERIES, voltage=SERIES.voltage - 1e-3 / 86400 * SERIES.time)
    rests = evaluate(find_segments(leak), KNOWN).rests
    assert [rest.self_discharge is not None for rest in rests] == [False, False, False, True]
    lost = rests[-1].self_discharge
    assert lost is not None
    assert lost.voltage.value == pytest.approx(1e-3, abs=3 * lost.voltage.uncertainty)
    assert lost.voltage.detail["temperature"] == "unknown"


def test_resistances_are_at_stated_times_with_the_state_of_charge() -> None:
    pulses = evaluate(find_segments(SERIES), KNOWN).pulses
    assert [round(pulse.soc or 0, 2) for pulse in pulses] == [1.0, 0.0, 1.0]
    assert set(pulses[0].ohms) == {0.0, 10.0, 30.0}
    assert pulses[0].refused[1.0] == "there is no sample near 1 s"


def test_nothing_known_is_no_reason_to_guess() -> None:
    found = evaluate(find_segments(SERIES), Battery())
    assert found.results.keys() == {"remainingCapacity", "remainingEnergy", "coulombicEfficiency", "energyEfficiency"}
    assert found.withheld.keys() == {"degradation"}
    assert found.metals == {}
    assert [result.full for result in found.sweeps] == [False, True, True]  # nobody saw the first one begin


@pytest.mark.parametrize(
    ("parts", "missing"),
    [
        (((0.0, 3600.0),), {"remainingCapacity", "internalResistance", "degradation"}),
        (((0.0, 600.0), (-5.0, 60.0)), {"remainingCapacity", "degradation"}),
        (((-5.0, 600.0),), {"remainingCapacity", "internalResistance", "degradation"}),
    ],
)
def test_what_cannot_be_measured_has_a_reason(parts: tuple[tuple[float, float], ...], missing: set[str]) -> None:
    found = evaluate(find_segments(record(Cell(), *parts, removed=1.0)), KNOWN)
    assert found.withheld.keys() == missing
    assert all(found.withheld.values())


def test_a_chemistry_that_nobody_knows() -> None:
    found = evaluate(find_segments(SERIES), replace(KNOWN, chemistry="LTO"))
    assert "no metal table for LTO" in found.withheld["metals"]
    assert "needs the rated capacity and the chemistry; half-cell curves: NMC811" in found.withheld["degradation"]


@given(st.integers(0, 60), st.integers(0, 10_000))
@settings(max_examples=150)
def test_no_numbers_whatever_make_it_crash(count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    time = np.cumsum(random.choice([0.0, 1.0, 10.0, 1e5], count))
    voltage = random.choice([0.0, 3.7, 1e5, -1e5], count) + random.normal(0, 1, count)
    current = random.choice([0.0, 0.01, 5.0, -5.0, 1e5], count)
    cells = random.choice([np.nan, 3.7, 4.2], (count, 4)) if seed % 2 else None
    series = TimeSeries(time, voltage, current, cells=cells, temperature=np.full(count, np.nan))
    found = evaluate(find_segments(series), replace(KNOWN, cells=4))
    assert all(estimate.unit for estimate in found.results.values())


def test_of_very_many_pulses_the_first_are_evaluated_and_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "_LONGEST_STORY", 2)
    found = evaluate(find_segments(SERIES), KNOWN)
    assert (len(found.pulses), len(found.rests)) == (2, 2)
    assert found.withheld["internalResistance"] == "only the first 2 of 3 are evaluated"
    assert found.withheld["relaxation"] == "only the first 2 rests are evaluated"


def test_scipy_is_loaded_by_fits_alone() -> None:
    """The daemon stays light."""
    script = "import sys, sequences, sequences.analysis; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_the_new_cell_is_the_rated_one() -> None:
    assert new_electrodes(CHEN2020, 5.0).capacities[2] == pytest.approx(7.384, abs=1e-3)
