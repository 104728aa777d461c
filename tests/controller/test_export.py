"""An exported run is a valid BDF file, or there is no file."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from controller.export import ExportError, write_bdf
from controller.journal import Journal
from controller.journal.reader import JournalReader

# fmt: off
COLUMNS = (
    "t", "test_time", "step", "voltage", "current", "power", "charged_ah", "cell_min", "cell_001", "cell_002",
    "temperature_max", "temperature_01", "soc",
)
# fmt: on


async def journal_with(path: Path, columns: tuple[str, ...], rows: list[list[float]]) -> JournalReader:
    journal = Journal.open(path / "j.db")
    for row in rows:
        journal.append_samples(row[0], "st01", "r1", columns, np.array([row]))
    await journal.close()
    return JournalReader(path / "j.db")


def rows(count: int) -> list[list[float]]:
    return [
        [1.7e9 + n, float(n), n // 3, 350.0 + n, -5.0, -1750.0, 0.1 * n, 3.5, 3.6, 3.7, 28.0, 27.5, 0.4]
        for n in range(count)
    ]


async def test_a_run_reads_back_under_bdf_labels(tmp_path: Path) -> None:
    samples = rows(9)
    samples[4][3] = float("nan")  # a bad voltage
    samples[5][2] = float("nan")
    journal = await journal_with(tmp_path, COLUMNS, samples)
    path = tmp_path / "data" / "r1.bdf.parquet"
    sha256 = write_bdf(journal, "r1", path, {"run": "r1", "recipe": {"id": "r4"}, "note": "시험"})
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    table = parquet.read_table(path)
    assert table.column_names == [
        "Test Time / s",
        "Unix Time / s",
        "Step Count / 1",
        "Voltage / V",
        "Current / A",
        "Power / W",
        "Charging Capacity / Ah",
        "Minimum Cell Voltage / V",
        "Maximum Surface Temperature / degC",
        "State of Charge / 1",
        "Cell 001 Voltage / V",
        "Cell 002 Voltage / V",
        "Surface Temperature T1 / degC",
    ]
    times = table["Test Time / s"].to_pylist()
    assert times == [float(n) for n in range(9)]
    assert table["Voltage / V"].to_pylist() == [350.0, 351.0, 352.0, 353.0, None, 355.0, 356.0, 357.0, 358.0]
    assert table["Step Count / 1"].to_pylist() == [0, 0, 0, 1, 1, None, 2, 2, 2]
    assert str(table.schema.field("Step Count / 1").type) == "int64"
    kept = table.schema.metadata
    assert kept[b"run"] == b"r1"
    assert json.loads(kept[b"recipe"]) == {"id": "r4"}
    beside = json.loads((tmp_path / "data" / "r1.metadata.json").read_text("utf-8"))
    assert (beside["sha256"], beside["file"], beside["note"]) == (sha256, "r1.bdf.parquet", "시험")
    assert beside["columns"]["Voltage / V"] == "voltage"
    assert sorted(p.name for p in path.parent.iterdir()) == ["r1.bdf.parquet", "r1.metadata.json"]


async def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    journal = await journal_with(tmp_path, COLUMNS, rows(5))
    first, second = (write_bdf(journal, "r1", tmp_path / f"{name}.bdf.parquet", {}) for name in "ab")
    assert first == second


async def test_test_time_is_made_from_the_clock_when_it_was_not_recorded(tmp_path: Path) -> None:
    journal = await journal_with(tmp_path, ("t", "voltage", "current"), [[1.7e9 + n, 3.7, 1.0] for n in range(3)])
    write_bdf(journal, "r1", tmp_path / "r1.bdf.parquet", {})
    assert parquet.read_table(tmp_path / "r1.bdf.parquet")["Test Time / s"].to_pylist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("columns", "samples", "code"),
    [
        (("t", "voltage", "current"), [], "E-EXPORT-EMPTY"),
        (("t", "voltage"), [[0.0, 1.0]], "E-EXPORT-COLUMNS"),
        (("t", "voltage", "current"), [[1.0, 1.0, 1.0], [0.0, 1.0, 1.0]], "E-EXPORT-TIME"),
    ],
)
async def test_what_would_be_no_bdf_file_is_refused(
    tmp_path: Path, columns: tuple[str, ...], samples: list[list[float]], code: str
) -> None:
    journal = await journal_with(tmp_path, columns, samples)
    with pytest.raises(ExportError, match=code):
        write_bdf(journal, "r1", tmp_path / "out" / "r1.bdf.parquet", {})
    assert not (tmp_path / "out").exists()
    with pytest.raises(ExportError, match="E-EXPORT-NAME"):
        write_bdf(journal, "r1", tmp_path / "r1.parquet", {})


@pytest.mark.parametrize("crash_in", ["os, 'fsync'", "Path, 'replace'", "parquet, 'write_table'"])
async def test_a_crash_in_the_middle_leaves_nothing_under_the_final_name(tmp_path: Path, crash_in: str) -> None:
    await journal_with(tmp_path, COLUMNS, rows(5))
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom pyarrow import parquet\n"
        "from controller.export import write_bdf\nfrom controller.journal.reader import JournalReader\n"
        "def die(*arguments, **options):\n"
        " for value in arguments:\n  if str(value).endswith('.new'): Path(value).write_bytes(b'half')\n"
        " os.kill(os.getpid(), signal.SIGKILL)\n"
        f"setattr({crash_in}, die)\n"
        "write_bdf(JournalReader(Path(sys.argv[1]) / 'j.db'), 'r1', Path(sys.argv[1]) / 'r1.bdf.parquet', {})"
    )
    child = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)  # noqa: ASYNC221
    assert child.returncode < 0
    path = tmp_path / "r1.bdf.parquet"
    assert not path.exists()
    write_bdf(JournalReader(tmp_path / "j.db"), "r1", path, {})  # leftovers do not disturb the next try
    assert parquet.read_table(path).num_rows == 5


async def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = await journal_with(tmp_path, COLUMNS, rows(5))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_bdf(journal, "r1", tmp_path / "out" / "r1.bdf.parquet", {})
    assert list((tmp_path / "out").iterdir()) == []
