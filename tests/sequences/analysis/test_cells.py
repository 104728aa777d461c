"""Which cell ends a charge and a discharge, and whether for its charge, its capacity or its resistance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from config.dut import shipped_dut_models
from config.simulation import HighJoint, Imbalance, SimulatedBattery, WeakCell
from sequences.analysis import (
    CellComparison,
    Pulse,
    TimeSeries,
    UnmeasurableError,
    cell_resistances,
    cell_spread,
    compare_cells,
    find_pulses,
    find_segments,
    find_sweeps,
)
from simulators.cells import CellString, discharged_ah
from simulators.pack import Pack
from tests.sequences.analysis.batteries import Array, Cell, profile

NORMAL = Cell(lli=0.05)
COUNT = 12


def string(*special: Cell, ahead: dict[int, float] | None = None, noise: float = 3e-4) -> TimeSeries:
    """Twelve cells, the first ones special, charged until the first is full and discharged until the first is empty,
    a pulse at half; `ahead` are Ah by which a cell is fuller than the others."""
    cells = [*special, *[NORMAL] * (COUNT - len(special))]
    missing = [2.0 - (ahead or {}).get(k, 0.0) for k in range(COUNT)]
    to_top = min(missing)  # Ah until the first cell is full
    to_bottom = min(cell.usable - gone for cell, gone in zip(cells, missing, strict=True)) + to_top
    half = to_bottom / 2
    time, current = profile(
        (0.0, 600.0), (2.0, to_top / 2 * 3600), (0.0, 900.0), (-2.0, half / 2 * 3600), (0.0, 900.0), (-5.0, 12.0),
        (0.0, 900.0), (-2.0, (half - 5 * 12 / 3600 - 0.06) / 2 * 3600), (0.0, 900.0), period=4.0,
    )  # fmt: skip
    random = np.random.default_rng(1)
    volts = [cell.voltages(time, current, gone) for cell, gone in zip(cells, missing, strict=True)]
    read = np.round(np.stack(volts, axis=1) + random.normal(0, noise, (len(time), COUNT)), 3)
    return TimeSeries(time, read.sum(axis=1), current, cells=read)


def compared(series: TimeSeries) -> CellComparison:
    segments = find_segments(series)
    discharge = next(sweep for sweep in find_sweeps(segments) if sweep.direction < 0)
    pulse = max(find_pulses(segments), key=lambda pulse: abs(pulse.current))
    return compare_cells(segments, discharge, pulse)


def test_a_cell_with_less_capacity_ends_both_and_is_the_weakest() -> None:
    small = replace(NORMAL, lli=0.15)
    ahead = (NORMAL.usable - small.usable) / 2  # as far from the others at the top as at the bottom
    found = compared(string(small, ahead={0: ahead}))
    assert (found.limits_discharge.cell, found.limits_discharge.cause) == (1, "capacity")
    assert found.limits_charge is not None
    assert (found.limits_charge.cell, found.limits_charge.cause) == (1, "capacity")
    assert found.weakest.detail["cell"] == 1
    true = small.usable / NORMAL.usable
    assert found.weakest.value == pytest.approx(true, abs=3 * found.weakest.uncertainty)
    assert found.weakest.uncertainty < 0.03


def test_a_cell_that_is_behind_ends_the_discharge_for_imbalance() -> None:
    found = compared(string(NORMAL, NORMAL, NORMAL, ahead={2: -0.4}))
    limit = found.limits_discharge
    assert (limit.cell, limit.cause) == (3, "imbalance")
    assert limit.parts["imbalance"].value == pytest.approx(0.4, abs=0.06)
    assert limit.parts["capacity"].value == pytest.approx(0.0, abs=0.06)
    assert abs(found.capacity_ratio[2] - 1) < 3 * found.capacity_ratio_uncertainty[2]


def test_a_cell_that_is_ahead_ends_the_charge_for_imbalance() -> None:
    found = compared(string(NORMAL, ahead={0: 0.4}))
    assert found.limits_charge is not None
    assert (found.limits_charge.cell, found.limits_charge.cause) == (1, "imbalance")
    assert found.limits_charge.parts["imbalance"].value == pytest.approx(0.4, abs=0.06)
    assert found.limits_discharge.cell != 1


def test_a_cell_with_a_bad_joint_ends_the_discharge_for_resistance() -> None:
    found = compared(string(replace(NORMAL, ohmic=0.150)))
    limit = found.limits_discharge
    assert (limit.cell, limit.cause) == (1, "resistance")
    assert found.highest_resistance == 1
    assert found.resistance[0] - np.median(found.resistance) == pytest.approx(0.130, abs=0.005)
    assert limit.parts["capacity"].value == pytest.approx(0.0, abs=0.05)


def test_the_weakest_cell_is_not_the_one_with_the_highest_resistance() -> None:
    small, resistive = replace(NORMAL, lli=0.15), replace(NORMAL, ohmic=0.026)
    found = compared(string(small, resistive))
    assert (found.weakest.detail["cell"], found.highest_resistance) == (1, 2)
    assert (found.limits_discharge.cell, found.limits_discharge.cause) == (1, "capacity")


def test_among_equal_cells_one_ends_the_discharge_for_no_reason() -> None:
    assert compared(string()).limits_discharge.cause == "none"


def test_cells_without_good_readings_are_left_out() -> None:
    series = string(replace(NORMAL, lli=0.15))
    assert series.cells is not None
    cells = series.cells.copy()
    cells[:, 5] = np.nan
    cells[100:110, 7] = np.nan
    found = compared(replace(series, cells=cells))
    assert np.isnan(found.capacity_ratio[5])
    assert np.isfinite(found.capacity_ratio[7])
    assert found.weakest.detail["cell"] == 1
    with pytest.raises(UnmeasurableError, match="three cells"):
        compared(replace(series, cells=cells[:, :2]))
    with pytest.raises(UnmeasurableError, match="no cell voltages"):
        compared(replace(series, cells=None))


def test_the_spread_names_the_cells() -> None:
    cells = np.array([[3.701, 3.695, 3.710]] * 3)
    series = TimeSeries(np.arange(3.0), cells.sum(axis=1), np.zeros(3), cells=cells)
    spread = cell_spread(series, 1)
    assert (spread.value, spread.rows) == (pytest.approx(0.015), ((1, 1),))
    assert spread.detail == {"lowest_cell": 2, "highest_cell": 3, "lowest_v": 3.695}
    cells[1, 0] = np.nan
    with pytest.raises(UnmeasurableError):
        cell_spread(series, 1)


def test_cells_are_compared_at_one_time_after_the_current_began() -> None:
    series = string(replace(NORMAL, ohmic=0.150))
    pulse = max(find_pulses(find_segments(series)), key=lambda pulse: abs(pulse.current))
    ohms, at = cell_resistances(series, pulse, at=10.0)
    assert (len(ohms), at) == (COUNT, 8.0)  # the pulse ended
    still = Pulse(10, 11, 12, 100.0, 0.0)
    with pytest.raises(UnmeasurableError, match="did not change"):
        cell_resistances(series, still)


# ----------------------------------------------------------------------------------- against the simulated used pack


def discharged(pack: Pack, rated: float) -> TimeSeries:
    """Charge the pack at C/2 until the first cell is full, discharge it until the first is empty, a pulse between."""
    cells, rows, now = pack.cells, [], 0.0

    def go(ampere: float, seconds: float) -> float:
        nonlocal now
        cells.attempt(ampere, seconds)
        cells.accept()
        now += seconds
        rows.append((now, ampere, *cells.voltages))
        return float(cells.voltages.max() if ampere > 0 else cells.voltages.min())

    def rest(seconds: float) -> None:
        for _ in range(int(seconds / 10)):
            go(0.0, 10.0)

    rest(600)
    while go(rated / 2, 10.0) < 4.2:
        pass
    rest(600)
    for step in range(2000):
        if go(-rated / 2, 10.0) < 2.7:
            break
        if step == 200:
            rest(600)
            go(-rated, 1.0)
            go(-rated, 9.0)
            rest(600)
    rest(600)
    table = np.array(rows)
    return TimeSeries(table[:, 0], table[:, 2:].sum(axis=1), table[:, 1], cells=np.round(table[:, 2:], 3))


def capacities(pack: Pack) -> Array:
    """Each cell's own, at C/2 between its own limits."""
    full = CellString(pack.cells.cells, pack.full, 25.0)
    return discharged_ah(full, pack.dut.rated_capacity_ah / 2, pack.dut.cell_voltage_min_v)


@pytest.mark.parametrize(
    ("defect", "cell", "cause"),
    [
        ({"weak_cell": WeakCell(index=40, extra_lli=0.08)}, 41, "capacity"),
        ({"imbalance": [Imbalance(index=10, soc_offset=-0.06)]}, 11, "imbalance"),
        ({"high_joint": HighJoint(index=20, extra_ohm=0.008)}, 21, "resistance"),
    ],
)
def test_the_simulated_packs_defect_is_named(defect: dict[str, object], cell: int, cause: str) -> None:
    dut = shipped_dut_models()["nmc_96s_60ah"]
    pack = Pack.used(dut, SimulatedBattery(model=dut.id, code="PHE96-000001", **defect), seed=3)  # type: ignore[arg-type]
    true = capacities(pack)
    found = compared(discharged(pack, dut.rated_capacity_ah))
    assert (found.limits_discharge.cell, found.limits_discharge.cause) == (cell, cause)
    if cause != "resistance":  # which ends the discharge before the knee
        error = found.capacity_ratio - true / np.median(true)
        assert np.sqrt(np.mean(error**2)) < 0.007
        assert np.sqrt(np.mean((error / found.capacity_ratio_uncertainty) ** 2)) < 1.5
