"""The published C/10 test of an LG M50 cell, against what its tester counted and what others found in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from controller.datafile import DataFile, read_data_file
from controller.datafile.columns import Mapping
from sequences.analysis import Battery, Evaluation, charge_moved, energy_moved, evaluate, find_defects, find_segments
from sequences.analysis.segments import Segments

FILE = Path(__file__).parents[3].parent / "shared" / "data" / "lgm50" / "LGM50_cellC_BoL_RPT0_pOCV.parquet"
pytestmark = pytest.mark.skipif(not FILE.is_file(), reason="the LG M50 data (shared/data/lgm50) are not here")

COLUMNS = (
    "time=Time [s]", "voltage=Voltage [V]", "current=Current [A]", "net_ah=Capacity [Ah]", "step=Step",
    "temperature=Temperature [C]",
)  # fmt: skip


@pytest.fixture(scope="module")
def data() -> DataFile:
    return read_data_file(FILE, [Mapping.parse(text) for text in COLUMNS])


@pytest.fixture(scope="module")
def segments(data: DataFile) -> Segments:
    assert data.series is not None
    return find_segments(data.series)


@pytest.fixture(scope="module")
def evaluation(segments: Segments) -> Evaluation:
    return evaluate(segments, Battery(5.0, 18.2, "NMC811"))


def test_the_capacity_is_the_testers_to_a_tenth_of_a_milliamperehour(data: DataFile, segments: Segments) -> None:
    assert data.series is not None
    step = data.series.step
    assert step is not None
    for number, counted in ((5, 4.81367), (8, 4.73205)):
        rows = np.flatnonzero(step == number)
        assert charge_moved(segments, int(rows[0]), int(rows[-1])).value == pytest.approx(counted, abs=1e-4)
    discharge = np.flatnonzero(step == 5)
    assert energy_moved(segments, int(discharge[0]), int(discharge[-1])).value == pytest.approx(17.6253, abs=4e-4)


def test_the_capacity_is_found_without_the_testers_steps(data: DataFile, evaluation: Evaluation) -> None:
    assert evaluation.results["remainingCapacity"].value == pytest.approx(4.81367, abs=1e-4)
    assert data.series is not None
    from dataclasses import replace

    alone = evaluate(find_segments(replace(data.series, step=None)), Battery())
    assert alone.results["remainingCapacity"].value == pytest.approx(4.81367, abs=1e-4)


def test_the_peaks_of_the_discharge_are_within_10_mv(evaluation: Evaluation) -> None:
    discharge = evaluation.sweeps[1]
    assert discharge.incremental is not None
    found = [peak.value for peak in discharge.incremental.peaks]
    assert found == pytest.approx([3.370, 3.453, 3.598, 3.879, 4.060], abs=0.010)
    area = float(discharge.incremental.curve.sum() * discharge.incremental.width)
    assert area == pytest.approx(4.8137, abs=5e-4)


def test_the_testers_habits_are_told(segments: Segments) -> None:
    """Its counter agrees; but the last sample of a rest has the voltage of the load."""
    assert [defect.code for defect in find_defects(segments)] == ["W-DATA-LATE-CURRENT"]


def test_resistance_does_not_begin_at_that_sample(evaluation: Evaluation) -> None:
    ohms = evaluation.pulses[1].ohms
    assert ohms[0.0].value == pytest.approx(0.0289, abs=0.001)  # 3.5 mohm from the wrong sample
    assert ohms[10.0].value == pytest.approx(0.038, abs=0.002)
    assert "baseline" in ohms[10.0].detail


def test_a_new_cell_has_lost_little_lithium(evaluation: Evaluation) -> None:
    """Against another cell's published curves, so only as good as they fit: 8 mV rms."""
    lost = evaluation.results["LLI"]
    assert 0.0 < lost.value < 0.08
    assert 0.003 < lost.uncertainty < 0.02
    assert float(lost.detail["residual_v"]) < 0.010
    assert evaluation.results["LAM_NE"].uncertainty > 2 * lost.uncertainty
