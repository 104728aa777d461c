from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sequences import Limits, Verdict, worst


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (0.49, Verdict.FAIL),
        (0.50, Verdict.MARGINAL),
        (0.52, Verdict.MARGINAL),
        (0.53, Verdict.PASS),
        (0.90, Verdict.PASS),
        (0.98, Verdict.MARGINAL),
        (1.01, Verdict.FAIL),
        (None, Verdict.INCONCLUSIVE),
        (float("nan"), Verdict.INCONCLUSIVE),
    ],
)
def test_limits_judge_with_a_marginal_band_inside_each_bound(value: float | None, verdict: Verdict) -> None:
    limits = Limits.model_validate({"min": "50 %", "max": "100 %", "marginal": "3 %"})
    assert limits.judge(value) is verdict


@given(st.lists(st.sampled_from(list(Verdict)), min_size=1))
def test_nothing_hides_an_error(verdicts: list[Verdict]) -> None:
    assert worst(verdicts).rank == max(verdict.rank for verdict in verdicts)
    assert worst([*verdicts, Verdict.ERROR]) is Verdict.ERROR


def test_a_marginal_band_around_a_temperature_is_in_kelvin() -> None:
    assert Limits.model_validate({"max": "50 degC", "marginal": "5 K"}).judge(46.0) is Verdict.MARGINAL


@pytest.mark.parametrize(
    "data",
    [{}, {"min": "2 V", "max": "1 V"}, {"min": "1 V", "max": "2 A"}, {"min": 1}, {"marginal": "1 V"}, {"mim": "1 V"}],
)
def test_limits_that_make_no_sense_are_refused(data: object) -> None:
    with pytest.raises(ValidationError):
        Limits.model_validate(data)
