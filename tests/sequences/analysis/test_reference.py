"""Degradation modes of cells nobody aged: the C/20 discharges of a full-order model, which knows no half-cell fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sequences.analysis import (
    CHEN2020,
    PRADA2013,
    Estimate,
    NewCell,
    degradation_modes,
    fit_electrodes,
    new_electrodes,
)

REFERENCE = Path(__file__).parents[3].parent / "shared" / "data" / "pybamm_reference"
pytestmark = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason="the full-order reference curves (shared/data/pybamm_reference) are not here"
)


@pytest.mark.parametrize(("new", "rated", "least"), [(CHEN2020, 5.154, 0.003), (PRADA2013, 2.304, 0.010)])
def test_a_new_cell_has_lost_nothing(new: NewCell, rated: float, least: float) -> None:
    data = np.load(REFERENCE / f"DFN_{new.name}.npz")
    time, current, voltage = (data[f"c20_{key}"].astype(np.float64) for key in "tIV")
    charge = np.concatenate(([0.0], np.cumsum((current[1:] + current[:-1]) / 2 * np.diff(time)))) / 3600
    under_load = current > 0.01
    drop = 0.03 * current[0]  # 30 mohm at this current
    fitted = fit_electrodes(charge[under_load], voltage[under_load], new, Estimate(drop, drop / 2, "V"))
    for name, mode in degradation_modes(fitted, new_electrodes(new, rated)).items():
        # what even C/20 leaves in a cell counts as lost: of iron phosphate 0.9 %
        assert abs(mode.value) < 3 * mode.uncertainty + least, name
    assert fitted.residual < 2e-3
