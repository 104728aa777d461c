"""`evaline demo`: the proof a visitor runs first, held to the simulator's truth."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.plant import ENVIRONMENT, EVALINE

KEYS = (
    "run_id", "recipe", "dut", "verdict", "grade", "measurements", "truth", "journal", "data_file", "report",
    "mqtt_messages", "line_seconds", "wall_seconds",
)  # fmt: skip


@pytest.mark.timeout(240)
def test_the_demo_measures_what_is_true_and_leaves_its_evidence(tmp_path: Path) -> None:
    done = subprocess.run(
        [*EVALINE, "demo", "--json", "--directory", str(tmp_path / "demo")], cwd=tmp_path, env=ENVIRONMENT,
        text=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=220, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    answer = json.loads(done.stdout)
    assert tuple(answer) == KEYS
    assert answer["recipe"] == "quick_capacity_dcir"
    assert answer["dut"] == "PHE96-004711"
    assert answer["verdict"] in ("pass", "marginal")
    assert answer["grade"] in ("A", "B", "C")

    measured, truth = answer["measurements"], answer["truth"]
    for measurement in measured.values():
        assert set(measurement) == {"value", "unit", "limits", "verdict"}
    assert measured["remainingCapacity"]["value"] == pytest.approx(truth["capacity_ah"], rel=0.005)
    assert measured["stateOfCertifiedEnergy"]["value"] == pytest.approx(100 * truth["soce"], rel=0.01)
    assert measured["weakestCell"]["value"] == truth["weakest_cell"] + 1, "people count cells from 1"

    assert answer["mqtt_messages"] > 0
    for evidence in ("journal", "data_file", "report"):
        assert Path(answer[evidence]).stat().st_size > 0
