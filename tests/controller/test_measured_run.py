"""What a run measured against what is really in the simulated battery, and against its own exported file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controller.datafile import read_data_file
from sequences.analysis import PACKS, Battery, Evaluation, evaluate, find_segments
from tests.virtual import Virtual, demo_line, in_virtual_time

Data = dict[str, Any]


@pytest.fixture(scope="module")
def a_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Data, Data]:
    """The result of the quick capacity test and the truth, with a cycler whose accuracy is stated."""

    def change(line: Data) -> None:
        station = line["stations"]["st01"]
        station["scan_period_s"] = 2.0
        station["instruments"]["cycler"]["accuracy"] = {"voltage_percent": 0.1, "current_percent": 0.1}
        line["simulation"]["stations"]["st01"]["battery"]["soc"] = 0.9

    async def work(virtual: Virtual) -> tuple[Data, Data]:
        result = await virtual.result(await virtual.start())
        return result, virtual.simulated.truth()

    return in_virtual_time(demo_line(tmp_path_factory.mktemp("run"), change), work)


@pytest.fixture(scope="module")
def analysed(a_run: tuple[Data, Data]) -> Evaluation:
    data = read_data_file(Path(a_run[0]["data_file"]["path"]))
    assert data.series is not None
    battery = Battery(rated_capacity=60.0, rated_energy=20720.0, chemistry="NMC", cells=96, convergence=PACKS)
    return evaluate(find_segments(data.series), battery)


@pytest.mark.parametrize(
    ("name", "true", "factor"),
    [
        ("remainingCapacity", "capacity_ah", 1.0),
        ("remainingEnergy", "energy_wh", 1e-3),
        ("stateOfHealth", "soh", 100.0),
        ("internalResistance80", "dcir_10s_80_ohm", 1e3),
        ("internalResistance50", "dcir_10s_ohm", 1e3),
        ("cellResistanceRatio", "cell_dcir_ratio", 100.0),
        ("cellSpread", "cell_spread_v", 1e3),
    ],
)
def test_the_truth_lies_within_three_uncertainties(
    a_run: tuple[Data, Data], name: str, true: str, factor: float
) -> None:
    result, truth = a_run
    measured = result["measurements"][name]
    assert abs(measured["value"] - factor * truth[true]) < 3 * measured["uncertainty"], (measured, truth[true])
    assert measured["uncertainty"] < 0.1 * measured["value"]


def test_the_weakest_cell_is_the_true_one_and_its_cause_the_true_one(a_run: tuple[Data, Data]) -> None:
    result, truth = a_run
    found = result["measurements"]["weakestCell"]
    assert found["value"] == truth["weakest_cell"] + 1
    assert found["detail"]["cause"] == "capacity"  # the demo's pack has one cell that lost lithium


def test_the_stated_accuracy_of_the_cycler_is_in_the_capacity(a_run: tuple[Data, Data]) -> None:
    capacity = a_run[0]["measurements"]["remainingCapacity"]
    assert capacity["uncertainty"] / capacity["value"] == pytest.approx(1e-3 / 3**0.5, rel=0.1)


def test_the_exported_file_says_the_same(a_run: tuple[Data, Data], analysed: Evaluation) -> None:
    measured = a_run[0]["measurements"]
    for name, factor in (("remainingCapacity", 1.0), ("remainingEnergy", 1e-3), ("stateOfHealth", 100.0)):
        assert factor * analysed.results[name].value == pytest.approx(measured[name]["value"], rel=5e-4), name
    assert analysed.results["temperatureMax"].value == measured["temperatureMax"]["value"]
    assert analysed.cells is not None
    limiting = analysed.cells.limits_discharge
    assert limiting.cell == measured["weakestCell"]["value"]
    assert limiting.cause == measured["weakestCell"]["detail"]["cause"]
    pulses = [1e3 * pulse.ohms[10.0].value for pulse in analysed.pulses if pulse.pulse.current == -60.0]
    by_run = [measured[f"internalResistance{soc}"]["value"] for soc in (80, 50, 20)]
    assert pulses == pytest.approx(by_run, rel=1e-6)


def test_samples_lie_in_the_run(a_run: tuple[Data, Data]) -> None:
    for name, found in a_run[0]["measurements"].items():
        if name == "traceability":
            assert found["samples"] is None, "a variable has none"
            continue
        first, last = found["samples"]
        assert first <= last
