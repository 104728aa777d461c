"""The open-circuit curves against what was published and measured of the materials."""

import csv
from pathlib import Path

import numpy as np
import pytest

from simulators.cells import CellSet, CellString
from simulators.electrodes import (
    CHEN2020,
    DOYLE1996,
    HYSTERESIS_OF_CHEMISTRY,
    PRADA2013,
    Array,
    CellParameters,
    OpenCircuit,
    balance,
)

DATA = Path(__file__).parents[2].parent / "shared" / "data"
needs_halfcells = pytest.mark.skipif(
    not (DATA / "halfcell_ocp").is_dir(), reason="the measured half-cell curves (shared/data/halfcell_ocp) are not here"
)
needs_retired_cells = pytest.mark.skipif(
    not (DATA / "pulsebat").is_dir(), reason="the retired cells (shared/data/pulsebat) are not here"
)


def doyle1996(y: Array) -> Array:
    """Open-circuit potential of LiyMn2O4 as M. Doyle et al., J. Electrochem. Soc. 143 (1996) 1890, give it."""
    return np.asarray(
        4.19829
        + 0.0565661 * np.tanh(-14.5546 * y + 8.60942)
        - 0.0275479 * (1 / (0.998432 - y) ** 0.492465 - 1.90111)
        - 0.157123 * np.exp(-0.04738 * y**8)
        + 0.810239 * np.exp(-40 * (y - 0.133875))
    )


def test_the_lmo_curve_keeps_within_1_mv_of_the_published_one() -> None:
    y = np.linspace(0.14, 0.985, 2000)
    assert np.abs(DOYLE1996.positive.open_circuit(y) - doyle1996(y)).max() < 0.9e-3
    assert y[0] < DOYLE1996.positive.stoichiometry_full
    assert y[-1] > DOYLE1996.positive.stoichiometry_empty


@pytest.mark.parametrize(
    "curve",
    [CHEN2020.negative.open_circuit]
    + [parameters.positive.open_circuit for parameters in (CHEN2020, PRADA2013, DOYLE1996)],
)
def test_slopes_are_the_derivative_of_the_curve(curve: OpenCircuit) -> None:
    s, h = np.linspace(0.05, 0.95, 300), 1e-6
    assert curve.slope_at(s) == pytest.approx((curve(s + h) - curve(s - h)) / (2 * h), abs=1e-6)


@pytest.mark.parametrize("parameters", [CHEN2020, PRADA2013, DOYLE1996], ids=lambda p: p.name)
def test_the_potential_falls_as_lithium_enters(parameters: CellParameters) -> None:
    for electrode in (parameters.negative, parameters.positive):
        ends = sorted((electrode.stoichiometry_full, electrode.stoichiometry_empty))
        assert (np.diff(electrode.open_circuit(np.linspace(*ends, 1000))) < 0).all()


@needs_retired_cells
def test_a_new_lmo_cell_resists_as_retired_ones_extrapolate() -> None:
    """5 s at 1C and 50 % SOC; log-linear over SOH, in ohm Ah."""
    with (DATA / "pulsebat" / "LMO_10Ah.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if abs(float(row["SOC"]) - 50) < 1]
    health = np.array([float(row["SOH"]) for row in rows])
    drop = np.array([float(row["U13"]) - float(row["U15"]) for row in rows])
    of_new = float(np.exp(np.polyval(np.polyfit(health - 1, np.log(drop), 1), 0.0)))

    none, lithium = np.zeros(1), np.full(1, DOYLE1996.lithium_ah)
    full, empty = (balance(DOYLE1996, voltage, lithium, none, none) for voltage in (4.2, 3.0))
    capacity = float(full[0, 0] - empty[0, 0]) * DOYLE1996.negative.capacity_ah(DOYLE1996.area)
    cell = CellString(CellSet(DOYLE1996, 1.0, capacity, none, none, np.ones(1)), (full + empty) / 2, 25.0)
    assert cell.attempt(0.0, 0.0) - cell.attempt(-capacity, 5.0) == pytest.approx(of_new, rel=0.03)


@needs_halfcells
def test_the_hysteresis_of_lfp_fits_into_the_measured_gap_of_its_cathode() -> None:
    """The branches at C/50 lie further apart than at rest, since polarisation adds to hysteresis."""
    loadmat = pytest.importorskip("scipy.io", reason="reading the measured curves takes scipy").loadmat

    def branch(direction: str) -> tuple[Array, Array]:
        path = DATA / "halfcell_ocp" / f"HAIDI18650_Cathode_{direction}_0C02.mat"
        data = loadmat(path, squeeze_me=True, struct_as_record=False)["batteryData"]
        order = np.argsort(data.normalizedCapacity)
        return data.normalizedCapacity[order], data.voltage[order]

    capacity = np.linspace(0.2, 0.8, 61)
    gap = np.interp(capacity, *branch("Delithiation")) - np.interp(capacity, *branch("Lithiation"))
    assert np.median(gap) == pytest.approx(0.041, abs=0.001)
    assert 0.5 * np.median(gap) / 2 < HYSTERESIS_OF_CHEMISTRY["LFP"] < np.median(gap) / 2
