from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from config import read_document
from sequences import GradeRules, Verdict, grade

RULES = GradeRules.model_validate(
    read_document(Path(__file__).parents[2] / "sequences" / "library" / "grades_default.yaml").data
)
GOOD: dict[str, float | None] = {
    "stateOfHealth": 0.9, "internalResistanceIncrease": 0.2, "cellSpread": 0.01, "insulationResistance": 2000.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "A"),
        ({"stateOfHealth": 0.79}, "B"),
        ({"cellSpread": 0.04}, "B"),
        ({"stateOfHealth": 0.6}, "C"),
        ({"internalResistanceIncrease": 1.2}, "C"),
        ({"stateOfHealth": 0.4}, "D"),
        ({"insulationResistance": 99.0}, "Q"),
    ],
)
def test_the_worst_reason_wins(change: dict[str, float], expected: str) -> None:
    graded = grade(RULES, GOOD | change, Verdict.PASS)
    assert graded.grade == expected
    assert graded.reasons, "every grade comes with its reasons"


def test_a_lower_grade_says_what_the_better_one_missed() -> None:
    reasons = grade(RULES, GOOD | {"stateOfHealth": 0.79}, Verdict.PASS).reasons
    assert any("not A: stateOfHealth < 80 %" in reason.en for reason in reasons)
    assert any("A 아님" in reason.ko for reason in reasons)


@pytest.mark.parametrize("verdict", [Verdict.INCONCLUSIVE, Verdict.ABORTED, Verdict.ERROR])
def test_a_run_that_did_not_measure_everything_gets_no_grade(verdict: Verdict) -> None:
    assert grade(RULES, GOOD, verdict).grade is None


def test_a_reject_counts_even_when_the_run_was_aborted() -> None:
    assert grade(RULES, {"insulationResistance": 50.0}, Verdict.ABORTED).grade == "Q"


def test_a_safety_trip_quarantines() -> None:
    graded = grade(RULES, GOOD, Verdict.ABORTED, trip="temperature_rise: 3 K/min")
    assert graded.grade == "Q"
    assert "temperature_rise" in graded.reasons[0].en


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), st.none(), min_size=1))
def test_what_was_not_measured_is_never_guessed(missing: dict[str, None]) -> None:
    graded = grade(RULES, GOOD | missing, Verdict.PASS)
    assert graded.grade is None
    assert all(name in graded.reasons[0].en for name in missing)


def test_a_failed_limit_leaves_only_the_last_resort() -> None:
    assert grade(RULES, GOOD, Verdict.FAIL).grade == "D"


@pytest.mark.parametrize("rule", ["stateOfHealth", "stateOfHealth >= 80", "a.b >= 1 V", "x == 1 V", 5])
def test_a_rule_that_is_no_comparison_is_refused(rule: Any) -> None:
    data = {
        "schema": "evaline/grades/1", "id": "x", "source": "test", "rejects": [], "otherwise": "D",
        "classes": [{"grade": "A", "title": {"en": "a", "ko": "a"}, "needs": [rule]}],
    }  # fmt: skip
    with pytest.raises(ValidationError):
        GradeRules.model_validate(data)
