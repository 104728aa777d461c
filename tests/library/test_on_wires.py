"""The library's recipes on real wires: with every instrument they can make use of, and on another maker's cycler."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from config import read_document
from tests.cli.plant import DISCHARGE, EVALINE, REST, Child, Data, Plant, a_plant, recipe

LINES = Path(__file__).parents[2] / "config" / "lines"
BENCH, DELTA = LINES / "demo_bench.yaml", LINES / "demo_delta.yaml"
CODE = "PHE96-004713"


def up(plant: Plant, file: Path) -> Plant:
    def its_line(line: Data) -> None:
        ours = {key: line[key] for key in ("state_dir", "http", "broker")}
        line.clear()
        line.update(read_document(file).data | ours)

    return plant.up(change=its_line)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Plant]:
    with a_plant(tmp_path) as plant:
        yield up(plant, BENCH)


@pytest.fixture
def delta(tmp_path: Path) -> Iterator[Plant]:
    with a_plant(tmp_path) as plant:
        yield up(plant, DELTA)


def test_incoming_meets_tester_meter_and_reader_on_their_wires(bench: Plant) -> None:
    arguments = ["run", "incoming", "--station", "st01", "--dut", CODE, "--url", bench.daemon.url, "--json"]
    child = Child([*EVALINE, *arguments], bench.directory / "run.log")
    bench.stack.callback(child.close)
    bench.daemon.until(lambda station: station["question"] is not None)
    answered = bench.command("answer", "good", "--station", "st01")
    assert answered.code == 0, answered
    result = child.event()
    truth = bench.simulators.truth()
    measured = result["measurements"]
    assert result["verdict"] == "pass"
    assert measured["traceability"]["value"] == 1
    assert measured["insulationResistance"]["value"] == pytest.approx(truth["insulation_ohm_per_v"], rel=0.05)
    assert 0 < measured["acResistance"]["value"] < 10
    assert {"insulation_tester", "impedance_meter", "code_reader"} <= result["instruments"].keys()
    bench.simulators.assert_off()


def test_another_makers_cycler_discharges_the_battery_over_its_socket(delta: Plant) -> None:
    """The envelope and the safety block of a library recipe around a short discharge; whole ones: test_makes.py."""
    acir = {"name": "acir", "step": "acir", "readings": 3}
    done = delta.run(recipe(REST, acir, DISCHARGE), "--json", dut="PHE96-004715")
    assert (done.code, done.json["verdict"]) == (0, "pass"), done
    truth = delta.simulators.truth()
    cycler = done.json["instruments"]["cycler"]
    assert (cycler["driver"], cycler["model"], cycler["serial"]) == ("delta_sm15k", "SM500-CP-90", "000012345678")
    # 20 s at C/2
    assert truth["discharged_ah"] == pytest.approx(20 * 30 / 3600, rel=0.1)
    delta.simulators.assert_off()
