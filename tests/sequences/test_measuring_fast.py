"""The fast estimate from a run's samples: what the model is given, when it is not asked, and the cell that counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from sequences import MeasurementResult, RunData, StepRecord
from sequences.fast_soh import FAMILIES, VOLTAGES, FastPulse, estimate
from sequences.fast_soh import FastSoh as Estimated
from tests.sequences.measured import BEGAN, DUT, measured
from tests.sequences.test_fast_soh import pulse_of, usual

LMO = next(family for family in FAMILIES if family.chemistry == "LMO")
RATED = 10.0
MODULE = replace(DUT, chemistry="LMO", series_cells=3, rated_capacity=RATED)
SOURCES: dict[str, dict[str, Any]] = {
    of: {"kind": "fast_soh", "pulse": "pulse", "charge": "charge", "rest": "rest", "of": of}
    for of in ("estimate", "lower", "upper", "in_envelope")
}


def cell(where: float = 0.0) -> FastPulse:
    """A test of a cell as the family's cells are at this place of its voltages, -1 to 1."""
    return pulse_of(usual(LMO, LMO.centre[0] + where * LMO.scale[0]))


def answer(pulse: FastPulse) -> Estimated:
    return estimate("LMO", pulse)


def run(
    cells: Sequence[FastPulse], *, soc: float = 0.2, rested: float = 700.0, degc: float = 25.0, rate: float = 1.0,
    step: float = 1e-5,
) -> RunData:  # fmt: skip
    """The procedure, twice a second, with voltages that stay where the next moment of the test finds them.

    They come down to the first by one step a reading, which tells in which steps they are made.
    """
    ampere = rate * RATED
    parts = [
        ("wait", 0.0, rested, "ocv_before"),
        ("pulse", ampere, 5.0, "charge_end"), ("pulse", 0.0, 75.0, "charge_rested"),
        ("pulse", -ampere, 5.0, "discharge_end"), ("pulse", 0.0, 75.0, "discharge_rested"),
        ("charge", RATED, 360.0, "ocv_after"), ("rest", 0.0, 600.0, "ocv_after"),
    ]  # fmt: skip
    names = list(dict.fromkeys(name for name, *_ in parts))
    t, current, index, volts, now = [], [], [], [], 0.0
    for name, amperes, seconds, moment in parts:
        times = now + np.concatenate(([1e-3], np.arange(0.5, seconds + 0.25, 0.5)))
        t.append(times)
        current.append(np.full(len(times), amperes))
        index.append(np.full(len(times), float(names.index(name))))
        volts.append(np.tile([float(getattr(pulse, moment)) for pulse in cells], (len(times), 1)))
        now += seconds
    cell_volts = np.round(np.concatenate(volts) / step) * step
    cell_volts[:20] += step * np.arange(20, 0, -1)[:, None]
    amperes_ = np.concatenate(current)
    time = np.concatenate(t)
    moved = np.concatenate(([0.0], np.cumsum((amperes_[1:] + amperes_[:-1]) / 2 * np.diff(time)))) / 3600
    columns = {
        "t": BEGAN + time, "step": np.concatenate(index), "current": amperes_, "voltage": cell_volts.sum(axis=1),
        "charged_ah": moved, "discharged_ah": np.zeros_like(moved), "charged_wh": moved,
        "discharged_wh": np.zeros_like(moved), "soc": np.full(len(time), soc),
        "temperature_min": np.full(len(time), degc), "temperature_max": np.full(len(time), degc),
    }  # fmt: skip
    records = [
        StepRecord(k, name, name, BEGAN, BEGAN, "end", True, charge=RATED * 0.1 if name == "charge" else 0.0)
        for k, name in enumerate(names)
    ]
    return RunData(columns, cell_volts, tuple(records))


def found(data: RunData) -> dict[str, MeasurementResult]:
    return measured(data, SOURCES, dut=MODULE)


def test_a_pack_is_as_healthy_as_its_weakest_cell() -> None:
    cells = [cell(0.3), cell(-0.2), cell(0.05)]
    answers = [answer(pulse) for pulse in cells]
    results = found(run(cells))
    lowest = min(answers, key=lambda each: each.soh or 0.0)
    assert lowest.soh is not None
    assert lowest.low is not None
    assert results["estimate"].value == pytest.approx(lowest.soh, abs=2e-3)
    assert results["estimate"].detail["cell"] == answers.index(lowest) + 1
    assert results["in_envelope"].value == 1
    half = (results["upper"].value or 0) - (results["estimate"].value or 0)
    assert half == pytest.approx(lowest.soh - lowest.low, abs=1e-3)
    assert results["estimate"].uncertainty == pytest.approx(half / 1.645)
    assert (results["lower"].uncertainty, results["in_envelope"].uncertainty) == (None, None)


def test_what_the_model_is_given_is_what_the_run_did(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[FastPulse] = []

    def spy(chemistry: str, pulse: FastPulse) -> Estimated:
        asked.append(pulse)
        return estimate(chemistry, pulse)

    monkeypatch.setattr("sequences.measuring.fast.estimate", spy)
    given = cell(0.1)
    found(run([given] * 3, rested=800.0))
    seen = asked[-1]
    for name in VOLTAGES:
        assert getattr(seen, name) == pytest.approx(getattr(given, name), abs=1e-5), name
    expected = {"rest_before": 800.0, "pulse_rate": 1.0, "pulse_time": 5.0, "pulse_rest": 75.0, "charged": 0.1,
                "rest_after": 600.0, "temperature": 25.0}  # fmt: skip
    assert {name: getattr(seen, name) for name in expected} == pytest.approx(expected, rel=2e-3)
    assert {field.name for field in fields(FastPulse)} == {*expected, *VOLTAGES, "resolution"}


@pytest.mark.parametrize(
    ("change", "en", "ko"),
    [
        ({"soc": 0.55}, "state of charge by the BMS 55%, the model needs 5% to 40%", "모델 조건은 5% ~ 40%"),
        ({"soc": float("nan")}, "state of charge by the BMS unknown", "알 수 없음"),
        ({"rested": 60.0}, "cell 1: rest_before 60 s, the model needs 600 to inf", "1번 셀"),
        ({"degc": 19.0}, "temperature 19 degC, the model needs 24 to 26", "모델 조건은 24 ~ 26"),
        ({"rate": 0.5}, "pulse_rate 0.5 1/h, the model needs 0.95 to 1.05", "모델 조건은 0.95 ~ 1.05"),
        ({"step": 1e-3}, "cell 1: resolution 0.001 V, the model needs 0 to 0.0007", "1번 셀"),
    ],
)  # fmt: skip
def test_another_procedure_is_outside_the_envelope_with_its_reason(change: dict[str, Any], en: str, ko: str) -> None:
    results = found(run([cell()] * 3, **change))
    assert results["in_envelope"].value == 0
    assert en in str(results["in_envelope"].detail["why"])
    assert ko in str(results["in_envelope"].detail["why_ko"])
    for of in ("estimate", "lower", "upper"):
        assert results[of].value is None
        assert results[of].detail["missing"] == results["in_envelope"].detail["why"]


def test_a_rest_before_the_run_counts_unless_the_run_had_current_before() -> None:
    known = {"estimate": {**SOURCES["estimate"], "rested": "10 min"}}
    assert measured(run([cell()] * 3, rested=60.0), known, dut=MODULE)["estimate"].value is not None
    data = run([cell()] * 3, rested=60.0)
    data.columns["current"][:5] = 1.0
    assert "rest_before 5" in str(measured(data, known, dut=MODULE)["estimate"].detail["missing"])


def test_one_cell_unlike_the_trained_ones_refuses_the_battery() -> None:
    strange = replace(cell(), discharge_rested=(cell().discharge_rested or 0.0) + 0.05)
    results = found(run([cell(), strange, cell()]))
    assert results["in_envelope"].value == 0
    assert str(results["estimate"].detail["missing"]).startswith("cell 2: ")


def test_a_procedure_that_did_not_run_is_not_measured_at_all() -> None:
    data = run([cell()] * 3)
    results = found(replace(data, steps=data.steps[:2]))
    assert results["in_envelope"].value is None
    assert "step charge did not run" in str(results["in_envelope"].detail["missing"])
