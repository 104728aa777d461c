"""Grade rules are data: hard rejects win, the worst reason decides, and every grade says why in two languages."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from config import read_document
from sequences import Dut, FaultError, GradeRules, Measured, Verdict, grade, is_certain

DATA = read_document(Path(__file__).parents[2] / "sequences" / "library" / "grades_default.yaml").data
RULES = GradeRules.from_data(DATA)
GOOD = {
    "stateOfHealth": 0.9, "internalResistanceIncrease": 0.2, "cellSpread": 0.01, "insulationResistance": 2000.0,
    "traceability": 1.0,
}  # fmt: skip
NEEDED = sorted(GOOD.keys() - {"traceability"})


def measured(changes: dict[str, Any] | None = None) -> dict[str, Measured]:
    """A good battery, with these values instead; None is not measured."""
    found = {**GOOD, **(changes or {})}
    return {
        name: value if isinstance(value, Measured) else Measured(value)
        for name, value in found.items()
        if value is not None
    }


def texts(changes: dict[str, Any], rules: GradeRules = RULES) -> tuple[str, str]:
    reasons = grade(rules, measured(changes), Verdict.PASS).reasons
    return "; ".join(reason.en for reason in reasons), "; ".join(reason.ko for reason in reasons)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "A"),
        ({"stateOfHealth": 0.79}, "B"),
        ({"cellSpread": 0.04}, "B"),
        ({"stateOfHealth": 0.6}, "C"),
        ({"internalResistanceIncrease": 1.2}, "C"),
        ({"insulationResistance": 200.0}, "C"),
        ({"stateOfHealth": 0.4}, "D"),
        ({"insulationResistance": 99.0}, "Q"),
        ({"lowestCellVoltage": 0.9}, "D"),
        ({"traceability": 0.0}, "D"),
    ],
)
def test_the_worst_reason_wins(change: dict[str, float], expected: str) -> None:
    graded = grade(RULES, measured(change), Verdict.PASS)
    assert graded.grade == expected
    assert graded.reasons, "every grade comes with its reasons"


def test_the_best_grade_says_what_it_rests_on() -> None:
    english, korean = texts({})
    assert english.startswith("A, remanufacture for vehicles: state of health 90 % (at least 80 %)")
    assert korean.startswith("A, 재제조 (차량용): 건전성(SOH) 90 % (80 % 이상)")


def test_a_lower_grade_says_what_the_better_one_missed() -> None:
    english, korean = texts({"stateOfHealth": 0.79, "cellSpread": 0.0312})
    assert "not A: state of health 79 % (at least 80 %), spread of cell voltages 31.2 mV (at most 30 mV)" in english
    assert "A 아님: 건전성(SOH) 79 % (80 % 이상), 셀 전압 편차 31.2 mV (30 mV 이하)" in korean


def test_a_measurement_without_words_goes_by_its_name() -> None:
    rules = GradeRules.from_data({**DATA, "words": {}})
    assert "not A: stateOfHealth 79 % (at least 80 %)" in texts({"stateOfHealth": 0.79}, rules)[0]


@pytest.mark.parametrize("verdict", [Verdict.INCONCLUSIVE, Verdict.ABORTED, Verdict.ERROR])
def test_a_run_that_did_not_measure_everything_gets_no_grade(verdict: Verdict) -> None:
    assert grade(RULES, measured(), verdict).grade is None


def test_a_reject_counts_even_when_the_run_was_aborted() -> None:
    assert grade(RULES, {"insulationResistance": Measured(50.0)}, Verdict.ABORTED).grade == "Q"


def test_a_safety_trip_quarantines() -> None:
    graded = grade(RULES, measured(), Verdict.ABORTED, trip="temperature_rise: 3 K/min")
    assert graded.grade == "Q"
    assert "temperature_rise" in graded.reasons[0].en


@given(st.sets(st.sampled_from(NEEDED), min_size=1))
def test_what_was_not_measured_is_never_guessed(missing: set[str]) -> None:
    graded = grade(RULES, measured(dict.fromkeys(missing)), Verdict.PASS)
    assert graded.grade is None
    assert all(RULES.called(name).en in graded.reasons[0].en for name in missing)


def test_a_failed_limit_leaves_only_the_last_resort() -> None:
    assert grade(RULES, measured(), Verdict.FAIL).grade == "D"


# ---------------------------------------------------------------------------------- what only some recipes measure


def test_a_rule_on_what_a_recipe_does_not_measure_denies_no_grade() -> None:
    assert "selfDischarge" not in measured()
    assert grade(RULES, measured(), Verdict.PASS).grade == "A"


@pytest.mark.parametrize(("a_month", "expected"), [(0.02, "A"), (0.059, "A"), (0.061, "D"), (0.2, "D")])
def test_where_it_is_measured_it_counts(a_month: float, expected: str) -> None:
    assert grade(RULES, measured({"selfDischarge": a_month}), Verdict.PASS).grade == expected


# -------------------------------------------------------------------------------------------- near a threshold


def test_near_a_threshold_a_battery_is_graded_down_and_told_so() -> None:
    near = {"stateOfHealth": Measured(0.81, 0.01)}
    assert grade(RULES, measured(near), Verdict.PASS).grade == "B"
    assert "not A: state of health 81 ± 1.6 % (at least 80 %)" in texts(near)[0]
    assert grade(RULES, measured({"stateOfHealth": Measured(0.82, 0.01)}), Verdict.PASS).grade == "A"


def test_a_grade_is_certain_when_the_whole_uncertainty_gives_it() -> None:
    assert is_certain(RULES, measured({"stateOfHealth": Measured(0.83, 0.01)}), Verdict.PASS)
    assert not is_certain(RULES, measured({"stateOfHealth": Measured(0.81, 0.01)}), Verdict.PASS)
    assert not is_certain(RULES, measured({"stateOfHealth": None}), Verdict.PASS)


@pytest.mark.parametrize(("soh", "certain"), [(0.84, True), (0.82, False), (0.78, False), (0.76, True)])
def test_an_estimate_is_never_surer_than_its_guard_band(soh: float, certain: bool) -> None:
    estimate = {"stateOfHealth": Measured(soh, 0.001, "fast_soh")}
    assert is_certain(RULES, measured(estimate), Verdict.PASS) is certain


def test_an_estimate_that_is_less_sure_than_its_guard_band_stays_so() -> None:
    assert not is_certain(RULES, measured({"stateOfHealth": Measured(0.85, 0.05, "fast_soh")}), Verdict.PASS)


def test_a_measured_capacity_has_no_guard_band() -> None:
    assert is_certain(RULES, measured({"stateOfHealth": Measured(0.815, 0.002, "state_of_health")}), Verdict.PASS)


def test_lfp_has_a_wider_guard_band(dut: Dut) -> None:
    estimate = measured({"stateOfHealth": Measured(0.84, 0.001, "fast_soh")})
    lfp = RULES.for_battery(dataclasses.replace(dut, chemistry="LFP"))
    assert is_certain(RULES.for_battery(dut), estimate, Verdict.PASS)
    assert not is_certain(lfp, estimate, Verdict.PASS)
    assert grade(lfp, estimate, Verdict.PASS).grade == "B"


def test_a_module_whose_cells_lie_apart_is_not_dismantled_any_further(dut: Dut) -> None:
    spread = measured({"cellSpread": 0.07})
    assert grade(RULES.for_battery(dut), spread, Verdict.PASS).grade == "C"
    assert grade(RULES.for_battery(dataclasses.replace(dut, kind="module")), spread, Verdict.PASS).grade == "D"


def test_a_sites_threshold_holds_for_every_battery(dut: Dut) -> None:
    rules = GradeRules.from_data(DATA, {"guard_band": "1 %"})
    lfp = rules.for_battery(dataclasses.replace(dut, chemistry="LFP"))
    assert is_certain(lfp, measured({"stateOfHealth": Measured(0.82, 0.001, "fast_soh")}), Verdict.PASS)


@given(st.floats(0, 1.1), st.floats(0, 0.2), st.floats(0, 2), st.floats(0, 0.2), st.floats(0, 3000), st.floats(0, 0.3))
def test_a_worse_value_never_gives_a_better_grade(
    soh: float, worse: float, resistance: float, spread: float, insulation: float, loss: float
) -> None:
    values = {
        "stateOfHealth": soh, "internalResistanceIncrease": resistance, "cellSpread": spread,
        "insulationResistance": insulation, "selfDischarge": loss,
    }  # fmt: skip
    order = "ABCDQ"
    before = grade(RULES, measured(values), Verdict.PASS).grade
    after = grade(RULES, measured(values | {"stateOfHealth": soh - worse}), Verdict.PASS).grade
    assert before is not None
    assert after is not None
    assert order.index(after) >= order.index(before)


@pytest.mark.parametrize("rule", ["stateOfHealth", "stateOfHealth >= 80 X", "a.b >= 1 V", "x == 1 V", 5])
def test_a_rule_that_is_no_comparison_is_refused(rule: Any) -> None:
    data = {
        "schema": "evaline/grades/1", "id": "x", "source": "test", "rejects": [], "otherwise": "D",
        "classes": [{"grade": "A", "title": {"en": "a", "ko": "a"}, "needs": [rule]}],
    }  # fmt: skip
    with pytest.raises(ValidationError):
        GradeRules.from_data(data)


# ------------------------------------------------------------------------------------- the unfavourable end, and caps


@pytest.mark.parametrize(("ohm_per_volt", "expected"), [(105.0, "Q"), (120.0, "C")])
def test_a_reject_counts_when_it_may_hold(ohm_per_volt: float, expected: str) -> None:
    """Of 105 +- 8 ohm/V nobody can say that it is not below 100."""
    unsure = measured({"insulationResistance": Measured(ohm_per_volt, 5.0)})
    assert grade(RULES, unsure, Verdict.PASS).grade == expected


@pytest.mark.parametrize(("increase", "expected"), [(Measured(0.48, 0.005), "A"), (Measured(0.48, 0.05), "B")])
def test_an_upper_threshold_is_held_against_the_upper_end(increase: Measured, expected: str) -> None:
    assert grade(RULES, measured({"internalResistanceIncrease": increase}), Verdict.PASS).grade == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"cellLag": Measured(0.03)}, "A"),
        ({"cellLag": Measured(0.03, 0.01)}, "D"),
        ({"cellLag": Measured(0.05)}, "D"),
        ({"cellLag": Measured(0.05), "selfDischarge": Measured(0.05)}, "A"),
        ({"cellLag": Measured(0.05), "selfDischarge": Measured(0.05, 0.01)}, "D"),
        ({"traceability": None}, "D"),
    ],
)
def test_a_cap_is_lifted_by_what_is_known_and_by_nothing_else(change: dict[str, Any], expected: str) -> None:
    assert grade(RULES, measured(change), Verdict.PASS).grade == expected


def test_a_cap_says_why_and_what_the_battery_would_be() -> None:
    english, korean = texts({"traceability": 0.0})
    assert english.startswith("not traceable by its codes: no reuse")
    assert "A, remanufacture for vehicles" in english
    assert korean.startswith("코드로 추적할 수 없음")


def test_a_cap_lifts_nothing() -> None:
    best_b = {**DATA, "caps": [{"best": "B", "unless": ["traceability >= 1"], "reason": {"en": "x", "ko": "x"}}]}
    rules = GradeRules.from_data(best_b)
    untraceable = {"traceability": 0.0}
    assert grade(rules, measured(untraceable), Verdict.PASS).grade == "B"
    assert grade(rules, measured(untraceable | {"stateOfHealth": 0.6}), Verdict.PASS).grade == "C"
    assert grade(rules, measured(untraceable | {"insulationResistance": 50.0}), Verdict.PASS).grade == "Q"


values = st.fixed_dictionaries({
    "stateOfHealth": st.builds(Measured, st.floats(0, 1.1), st.floats(0, 0.05)),
    "internalResistanceIncrease": st.builds(Measured, st.floats(0, 2), st.floats(0, 0.2)),
    "cellSpread": st.builds(Measured, st.floats(0, 0.2), st.floats(0, 0.01)),
    "insulationResistance": st.builds(Measured, st.floats(0, 3000), st.floats(0, 100)),
    "traceability": st.sampled_from([Measured(0.0), Measured(1.0)]),
})  # fmt: skip


@given(values, st.dictionaries(st.sampled_from(sorted(GOOD)), st.floats(-1, 1)))
def test_of_a_certain_grade_no_value_within_its_uncertainty_gives_another(
    found: dict[str, Measured], moved: dict[str, float]
) -> None:
    k = RULES.confidence
    if not is_certain(RULES, found, Verdict.PASS):
        return
    elsewhere = {
        name: dataclasses.replace(value, value=value.value + moved.get(name, 0.0) * k * value.uncertainty)
        for name, value in found.items()
    }
    assert grade(RULES, elsewhere, Verdict.PASS, confidence=0.0).grade == grade(RULES, found, Verdict.PASS).grade


@given(values, st.sampled_from(list(Verdict)))
def test_every_reason_is_in_english_and_in_korean(found: dict[str, Measured], verdict: Verdict) -> None:
    for reason in grade(RULES, found, verdict).reasons:
        assert reason.en.isascii() or "±" in reason.en
        assert any("가" <= letter <= "힣" for letter in reason.ko)
        assert "(at least" not in reason.ko


# ------------------------------------------------------------------------------------------------- a site's thresholds


def test_a_site_may_set_its_thresholds_within_their_range() -> None:
    stricter = GradeRules.from_data(DATA, {"remanufacture": "92 %"})
    assert grade(stricter, measured(), Verdict.PASS).grade == "B"
    assert "(at least 92 %)" in texts({}, stricter)[0]


@pytest.mark.parametrize(
    "given_", [{"remanufacture": "60 %"}, {"remanufacture": "0.8"}, {"reuse": 65}, {"resue": "65 %"}]
)
def test_what_a_site_may_not_set_is_refused(given_: dict[str, Any]) -> None:
    with pytest.raises(FaultError):
        GradeRules.from_data(DATA, given_)
