"""What only some stations can measure is left out of a result, instead of making it inconclusive."""

from __future__ import annotations

import numpy as np

from sequences import Context, Dut, RunData, StepRecord, Verdict, analyse
from tests.sequences.playing import recipe_of, rest

TITLE = {"en": "Spread", "ko": "편차"}


def analysed(dut: Dut, *, optional: bool, ran: bool) -> dict[str, Verdict]:
    """A recipe with one measurement in a step that ran, or did not."""
    source = {"kind": "cell_spread", "rest": "looked"}
    measurement = {"name": "spread", "title": TITLE, "from": source, "optional": optional}
    recipe = recipe_of(rest("arrival"), rest("looked"), measurements=[measurement])
    columns = {
        name: np.zeros(2)
        for name in ("t", "step", "current", "charged_ah", "discharged_ah", "charged_wh", "discharged_wh")
    }
    name = "looked" if ran else "arrival"
    data = RunData(
        columns, np.full((2, dut.series_cells), 3.6), (StepRecord(0, name, name, 0.0, 10.0, "duration", True),)
    )
    results = analyse(recipe, Context(dut, dut.rated_capacity, 0.5), data)
    return {result.measurement.name: result.verdict for result in results}


def test_a_measurement_that_is_missing_is_inconclusive(dut: Dut) -> None:
    assert analysed(dut, optional=False, ran=False) == {"spread": Verdict.INCONCLUSIVE}


def test_an_optional_one_is_left_out(dut: Dut) -> None:
    assert analysed(dut, optional=True, ran=False) == {}


def test_an_optional_one_that_was_measured_is_like_any_other(dut: Dut) -> None:
    assert analysed(dut, optional=True, ran=True) == {"spread": Verdict.PASS}
