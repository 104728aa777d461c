"""Lost lithium and lost material are found again in cells that were made without them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sequences.analysis import (
    CHEN2020,
    PRADA2013,
    Estimate,
    UnmeasurableError,
    degradation_modes,
    fit_electrodes,
    new_electrodes,
)
from tests.sequences.analysis.batteries import Cell

MODES = ("LLI", "LAM_PE", "LAM_NE")


def measured(cell: Cell, noise: float = 3e-4, samples: int = 5000, drop: float = 0.0, seed: int = 1):  # type: ignore[no-untyped-def]
    moved, voltage = cell.curve(samples)
    return moved, voltage - drop + np.random.default_rng(seed).normal(0, noise, samples)


@given(st.floats(0, 0.3), st.floats(0, 0.15), st.floats(0, 0.15), st.integers(0, 100))
@settings(max_examples=40)
def test_the_modes_of_a_made_cell_are_found(lli: float, lam_pe: float, lam_ne: float, seed: int) -> None:
    cell = Cell(lli=lli, lam_pe=lam_pe, lam_ne=lam_ne)
    negative, positive, lithium = cell.electrodes
    # a full negative electrode plates, and an emptied positive one has another curve: no cell is balanced so
    x_full, x_empty = cell.stoichiometry_at(cell.upper), cell.stoichiometry_at(cell.lower)
    y_full, y_empty = ((lithium - x * negative) / positive for x in (x_full, x_empty))
    assume(x_full < 0.99 and y_full > 0.05 and y_empty < 0.99)
    modes = degradation_modes(fit_electrodes(*measured(cell, seed=seed), CHEN2020), new_electrodes(CHEN2020, 5.0))
    for name, true in zip(MODES, (lli, lam_pe, lam_ne), strict=True):
        assert modes[name].value == pytest.approx(true, abs=2e-3), name
        assert abs(modes[name].value - true) < 6 * modes[name].uncertainty + 1e-4, name


def test_iron_phosphate_tells_little_of_its_positive_electrode() -> None:
    cell = Cell(new=PRADA2013, capacity=2.3, upper=3.6, lower=2.0, lli=0.1, lam_pe=0.05, lam_ne=0.05)
    modes = degradation_modes(fit_electrodes(*measured(cell), PRADA2013), new_electrodes(PRADA2013, 2.3))
    for name, true in zip(MODES, (0.1, 0.05, 0.05), strict=True):
        assert modes[name].value == pytest.approx(true, abs=5e-3), name
    assert modes["LAM_PE"].uncertainty > 3 * modes["LLI"].uncertainty


def test_another_chemistrys_curves_are_refused() -> None:
    with pytest.raises(UnmeasurableError, match=r"Prada2013 leave \d+ mV rms: another chemistry\?"):
        fit_electrodes(*measured(Cell()), PRADA2013)


def test_what_the_curves_do_not_explain_makes_the_modes_uncertain() -> None:
    """5 mV of slow deviation is no noise that averages out over the samples."""
    moved, voltage = measured(Cell(lli=0.1))
    wavy = voltage + 5e-3 * np.sin(moved * 5)
    clean, rough = (fit_electrodes(moved, curve, CHEN2020) for curve in (voltage, wavy))
    modes = degradation_modes(rough, new_electrodes(CHEN2020, 5.0))
    assert rough.residual == pytest.approx(5e-3 / np.sqrt(2), rel=0.3)
    assert abs(modes["LLI"].value - 0.1) < 3 * modes["LLI"].uncertainty
    assert np.sqrt(rough.covariance[2, 2]) > 20 * np.sqrt(clean.covariance[2, 2])


def test_polarisation_is_taken_off_and_its_uncertainty_is_kept() -> None:
    cell, new = Cell(lli=0.1), new_electrodes(CHEN2020, 5.0)
    moved, voltage = measured(cell, drop=0.02)
    known = degradation_modes(fit_electrodes(moved, voltage, CHEN2020, Estimate(0.02, 0.005, "V")), new)
    unknown = degradation_modes(fit_electrodes(moved, voltage, CHEN2020), new)
    for name, true in zip(MODES, (0.1, 0.0, 0.0), strict=True):
        assert known[name].value == pytest.approx(true, abs=2e-3)
        assert abs(known[name].value - true) < known[name].uncertainty
    assert max(abs(unknown[name].value - true) for name, true in zip(MODES, (0.1, 0.0, 0.0), strict=True)) > 0.005


@pytest.mark.parametrize("samples", [3, 50])
def test_a_curve_of_a_few_samples_is_refused(samples: int) -> None:
    moved, voltage = measured(Cell(), samples=samples)
    with pytest.raises(UnmeasurableError):
        fit_electrodes(moved, voltage, CHEN2020)
