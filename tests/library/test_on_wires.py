"""A recipe of the library on the wires of the bench line, with every instrument it can make use of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from config import read_document
from tests.cli.plant import EVALINE, Child, Data, Plant, a_plant

BENCH = Path(__file__).parents[2] / "config" / "lines" / "demo_bench.yaml"
CODE = "PHE96-004713"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Plant]:
    def its_line(line: Data) -> None:
        ours = {key: line[key] for key in ("state_dir", "http", "broker")}
        line.clear()
        line.update(read_document(BENCH).data | ours)

    with a_plant(tmp_path) as plant:
        yield plant.up(change=its_line)


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
