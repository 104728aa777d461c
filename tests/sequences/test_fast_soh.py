"""Fast SOH: when it answers, when it refuses, and that what is committed is what the data give.

The first half needs no data. The second repeats the fit and its cross-validation where the measured cells are at hand.
"""

from __future__ import annotations

import math
from dataclasses import astuple, fields, replace
from functools import cache
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sequences.fast_soh import (
    ALLOWED,
    FAMILIES,
    POWERS,
    VOLTAGES,
    Array,
    Family,
    FastPulse,
    chebyshev,
    describe,
    estimate,
)
from sequences.fast_soh_coefficients import FIGURES
from tests.fits import fast_soh as fitting
from tests.fits.pulsebat import DENSE, interpolate

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "pulsebat"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the measured cells (shared/data/pulsebat) are not here")
EVERY_FAMILY = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)

volts = st.floats(2.0, 4.5)
anything = st.none() | st.floats(allow_nan=True, allow_infinity=True)


def usual(family: Family, ocv: float | None = None) -> Array:
    """The features the family's cells take on average at this open-circuit voltage."""
    x = family.centre.copy()
    x[0] = x[0] if ocv is None else ocv
    course = chebyshev(family.standardise(x[None, :])[:, 0], len(family.course) - 1) @ family.course
    x[1:] += course[0] * family.scale[1:]
    return x


def pulse_of(x: Array, rate: float = 1.0) -> FastPulse:
    """A test with these features; what `describe` undoes."""
    ocv, rise, resistance, asymmetry, charge_left, discharge_left = (float(value) for value in x)
    charge, discharge = resistance * rate * (1 + asymmetry), resistance * rate * (1 - asymmetry)
    charge_rested = ocv + charge_left * charge
    return FastPulse(
        ocv_before=ocv,
        charge_end=ocv + charge,
        charge_rested=charge_rested,
        discharge_end=charge_rested - discharge,
        discharge_rested=charge_rested - discharge_left * discharge,
        ocv_after=ocv + rise,
        rest_before=3600.0,
        pulse_rate=rate,
        pulse_time=5.0,
        pulse_rest=75.0,
        charged=0.1,
        rest_after=600.0,
        temperature=25.0,
        resolution=1e-4,
    )


# ---- answers


@EVERY_FAMILY
@pytest.mark.parametrize("where", [-0.5, 0.0, 0.5])
def test_a_cell_like_the_trained_ones_is_answered_by_its_family(family: Family, where: float) -> None:
    found = estimate(family.chemistry, pulse_of(usual(family, family.centre[0] + where * family.scale[0])))
    assert (found.family, found.reasons, found.in_envelope) == (family.name, (), True)
    assert found.soh is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.soh < found.high
    assert family.soh_range[0] <= found.soh <= family.soh_range[1]
    assert found.soh - found.low == pytest.approx(found.high - found.soh)


@EVERY_FAMILY
def test_resistance_is_current_free_so_the_answer_does_not_depend_on_the_rate_of_the_pulses(family: Family) -> None:
    exact, faster = (estimate(family.chemistry, pulse_of(usual(family), rate)) for rate in (1.0, 1.04))
    assert exact.soh is not None
    assert faster.soh == pytest.approx(exact.soh)


@given(st.tuples(volts, st.floats(-0.5, 0.5), st.floats(0.01, 0.3), st.floats(-0.5, 0.5), volts, volts))
def test_features_are_the_voltages_seen_otherwise(x: tuple[float, ...]) -> None:
    pulse = pulse_of(np.array(x))
    assert describe(np.array([[getattr(pulse, name)] for name in VOLTAGES]), 1.0)[0] == pytest.approx(x, abs=1e-9)


@pytest.mark.parametrize(
    ("limits", "certain"),
    [([], True), ([0.5], True), ([0.999], True), ([0.5, 0.8], False), ([0.77], False), ([0.83], False)],
)
def test_a_grade_limit_inside_the_interval_or_on_its_edge_makes_the_answer_uncertain(
    limits: list[float], certain: bool
) -> None:
    family = FAMILIES[0]
    answer = replace(estimate(family.chemistry, pulse_of(usual(family))), soh=0.8, low=0.77, high=0.83)
    assert answer.certain(limits) is certain


def test_no_answer_is_never_certain() -> None:
    refused = estimate("LMO", replace(pulse_of(usual(FAMILIES[0])), temperature=None))
    assert not refused.certain([])


# ---- refusals


def refusal(chemistry: str, pulse: FastPulse) -> str:
    """The reasons of a test that must not be answered."""
    found = estimate(chemistry, pulse)
    assert (found.soh, found.low, found.high, found.in_envelope) == (None, None, None, False)
    assert found.reasons
    assert all("\n" not in reason for reason in found.reasons)
    return "; ".join(found.reasons)


@pytest.mark.parametrize("bad", [None, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", [field.name for field in fields(FastPulse)])
def test_what_was_not_measured_is_named(name: str, bad: float | None) -> None:
    pulse = replace(pulse_of(usual(FAMILIES[0])), **{name: bad})
    assert refusal("LMO", pulse) == f"not measured: {name}"


@pytest.mark.parametrize("name", ALLOWED)
def test_a_procedure_other_than_the_trained_one_is_refused_on_both_sides(name: str) -> None:
    unit, low, high = ALLOWED[name]
    for value in (low - 0.01 * abs(low) - 1e-6, high * 1.01 + 1e-6):
        if math.isfinite(value):
            reasons = refusal("LMO", replace(pulse_of(usual(FAMILIES[0])), **{name: value}))
            assert reasons.startswith(name)
            assert unit in reasons


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"charge_end": "ocv_before"}, "did not rise in the charge pulse"),
        ({"discharge_end": "charge_rested"}, "did not fall in the discharge pulse"),
    ],
)
@EVERY_FAMILY
def test_a_pulse_that_moved_nothing_is_refused(family: Family, changes: dict[str, str], reason: str) -> None:
    pulse = pulse_of(usual(family))
    same = {name: getattr(pulse, other) for name, other in changes.items()}
    assert reason in refusal(family.chemistry, replace(pulse, **same))


@EVERY_FAMILY
def test_swapping_any_two_voltages_that_matter_is_noticed(family: Family) -> None:
    """But for the two rests after the pulses, which differ by less than cells differ from each other."""
    pulse = pulse_of(usual(family))
    for one, other in permutations(VOLTAGES, 2):
        a, b = getattr(pulse, one), getattr(pulse, other)
        if abs(a - b) > 0.015:
            refusal(family.chemistry, replace(pulse, **{one: b, other: a}))


@EVERY_FAMILY
def test_a_wrong_chemistry_on_the_order_is_noticed(family: Family) -> None:
    for chemistry in {other.chemistry for other in FAMILIES} - {family.chemistry}:
        refusal(chemistry, pulse_of(usual(family)))


def test_a_chemistry_without_a_model_is_told() -> None:
    assert refusal("NCA", pulse_of(usual(FAMILIES[0]))) == "no fast SOH model for NCA cells"


@EVERY_FAMILY
@pytest.mark.parametrize("side", [-1.1, 1.1])
def test_a_state_of_charge_outside_the_trained_range_is_refused(family: Family, side: float) -> None:
    x = usual(family)
    x[0] += side * family.scale[0]
    assert family.outside(x).startswith("open-circuit voltage")
    refusal(family.chemistry, pulse_of(x))


@EVERY_FAMILY
def test_a_cell_off_the_trained_course_is_refused_and_the_feature_named(family: Family) -> None:
    x = usual(family)
    x[2] *= 3
    assert "5 s resistance" in refusal(family.chemistry, pulse_of(x))


@EVERY_FAMILY
def test_an_estimate_outside_the_trained_soh_is_refused(family: Family) -> None:
    x = usual(family)
    soh = float(family.soh(x[None, :])[0])
    assert family.outside(x) == ""
    assert "outside the trained SOH" in replace(family, soh_range=(soh + 0.021, soh + 0.1)).outside(x)
    assert "outside the trained SOH" in replace(family, soh_range=(soh - 0.1, soh - 0.021)).outside(x)


@settings(max_examples=300)
@given(st.sampled_from(FAMILIES), st.lists(anything, min_size=14, max_size=14))
def test_whatever_is_measured_there_is_a_number_or_a_reason(family: Family, values: list[float | None]) -> None:
    found = estimate(family.chemistry, FastPulse(*values))
    assert (found.soh is None) == bool(found.reasons)


@settings(max_examples=300)
@given(st.sampled_from(FAMILIES), st.lists(st.floats(-6, 6), min_size=6, max_size=6), st.floats(-1e300, 1e300))
def test_an_answer_lies_in_its_interval_and_in_the_trained_range(
    family: Family, shifts: list[float], wild: float
) -> None:
    spread = np.concatenate([[0.1], np.sqrt(np.diag(family.covariance))]) * family.scale
    near = pulse_of(usual(family) + np.array(shifts) * spread)
    for pulse in (near, replace(near, ocv_after=wild)):
        found = estimate(family.chemistry, pulse)
        if found.soh is None or found.low is None or found.high is None:
            assert found.reasons
            continue
        answering = next(candidate for candidate in FAMILIES if candidate.name == found.family)
        assert found.low < found.soh < found.high
        assert answering.soh_range[0] <= found.soh <= answering.soh_range[1]


# ---- what is committed


@EVERY_FAMILY
def test_a_family_is_a_small_table(family: Family) -> None:
    assert sum(np.size(value) for value in astuple(family)) < 200


@pytest.mark.parametrize(
    ("name", "mae"), [("LMO 10 Ah", 1.6), ("NMC 21 Ah", 1.1), ("NMC 2.1 Ah", 2.6), ("LFP 35 Ah", 3.2)]
)
def test_the_committed_figures_reach_their_aims(name: str, mae: float) -> None:
    figures = FIGURES[name]
    assert figures["mae_all"] < mae
    assert 0.88 <= figures["coverage_all"] <= 0.92
    assert 0.88 <= figures["coverage"] <= 0.92


def test_the_page_shows_the_committed_figures() -> None:
    page = (ROOT / "docs" / "fast-soh.md").read_text(encoding="utf-8")
    for line in fitting.accuracy_table(FIGURES):
        assert line in page


# ---- the fit


def test_interpolation_keeps_measured_rows_and_is_exact_for_a_cubic() -> None:
    soc = np.arange(5.0, 50.1, 5.0)
    table = np.stack([soc**power for power in range(4)], axis=1)
    wanted = np.array([5.0, 7.3, 22.5, 35.0, 48.9, 50.0])
    expected = np.stack([wanted**power for power in range(4)], axis=1)
    assert interpolate(soc, table, wanted) == pytest.approx(expected)


def test_starts_fitted_are_no_lattice_the_measured_ones_lie_on() -> None:
    assert len({start % 5 for start in DENSE.round(6)}) > 10


def test_leaving_a_cell_out_in_closed_form_is_fitting_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "FORMS", (POWERS,))
    monkeypatch.setattr(fitting, "PENALTIES", np.array([0.03]))
    random = np.random.default_rng(1)
    weight = fitting.ORDER_WEIGHT ** (fitting.ORDERS + fitting.POWER / 2)
    terms, tests = random.normal(size=(60, len(weight))), random.normal(size=(12, len(weight)))
    soh, test_soh = random.uniform(0.6, 1.0, 60), random.uniform(0.6, 1.0, 12)
    cells = [(np.arange(k * 10, k * 10 + 10), np.arange(k * 2, k * 2 + 2)) for k in range(6)]
    _, _, left_out = fitting._polynomial(terms, soh, tests, test_soh, cells, (0.0, 2.0))

    centred = (terms - terms.mean(axis=0)) * weight
    for own, its_tests in cells:
        x, y = np.delete(centred, own, axis=0), np.delete(soh, own)
        mean = x.mean(axis=0)
        beta = np.linalg.solve((x - mean).T @ (x - mean) + 0.03 * np.eye(len(weight)), (x - mean).T @ (y - y.mean()))
        alone = y.mean() + ((tests[its_tests] - terms.mean(axis=0)) * weight - mean) @ beta
        assert left_out[its_tests] == pytest.approx(alone)


@cache
def examined() -> dict[str, fitting.Result]:
    return fitting.examine(DATA)


@needs_data
@pytest.mark.timeout(300)
@EVERY_FAMILY
def test_the_data_give_the_committed_coefficients(family: Family) -> None:
    again = examined()[family.name].family
    for field in fields(Family):
        committed, found = getattr(family, field.name), getattr(again, field.name)
        if isinstance(committed, str):
            assert committed == found
        else:
            assert np.asarray(committed) == pytest.approx(np.asarray(found), rel=1e-4, abs=1e-6)


@needs_data
@pytest.mark.timeout(300)
@EVERY_FAMILY
def test_the_data_give_the_committed_figures(family: Family) -> None:
    figures = fitting.figures_of(family.name, examined())
    assert figures == pytest.approx(FIGURES[family.name], rel=1e-3, abs=2e-4)


@needs_data
@pytest.mark.timeout(300)
@EVERY_FAMILY
def test_a_measured_cell_is_answered_as_in_the_figures(family: Family) -> None:
    """The path a station takes, voltage by voltage, agrees with the one the figures were made on."""
    result = examined()[family.name]
    everywhere = dict.fromkeys(result.left_out, family)
    expected = fitting.left_out_answers(everywhere, result.measured, fitting.rivals_of(family.name, examined()))
    for k in range(0, len(result.measured.soh), 7):
        found = estimate(family.chemistry, pulse_of(result.measured.x[k]))
        assert found.in_envelope == expected.given[k]
        if found.soh is not None and found.high is not None:
            assert found.soh == pytest.approx(expected.soh[k])
            assert found.high - found.soh == pytest.approx(expected.half_width[k])
