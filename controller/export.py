"""A run's samples as a Battery Data Format file (`<name>.bdf.parquet`) with its `<name>.metadata.json` beside it.

BDF knows one cell per file; the cells of a pack follow as extra columns. Current is positive when it charges.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controller.journal.reader import JournalReader

SUFFIX = ".bdf.parquet"

# sample column -> BDF's preferred label
LABELS = {
    "test_time": "Test Time / s",
    "t": "Unix Time / s",
    "step": "Step Count / 1",
    "voltage": "Voltage / V",
    "current": "Current / A",
    "power": "Power / W",
    "charged_ah": "Charging Capacity / Ah",
    "discharged_ah": "Discharging Capacity / Ah",
    "charged_wh": "Charging Energy / Wh",
    "discharged_wh": "Discharging Energy / Wh",
    "ambient": "Ambient Temperature / degC",
    # BDF has no words for these
    "cell_min": "Minimum Cell Voltage / V",
    "cell_max": "Maximum Cell Voltage / V",
    "temperature_min": "Minimum Surface Temperature / degC",
    "temperature_max": "Maximum Surface Temperature / degC",
    "insulation": "Insulation Resistance / ohm",
    "soc": "State of Charge / 1",
}
_NUMBERED = (
    (re.compile(r"cell_(\d+)"), "Cell {:03d} Voltage / V"),
    (re.compile(r"temperature_(\d+)"), "Surface Temperature T{:d} / degC"),
)
_REQUIRED = ("test_time", "voltage", "current")


class ExportError(Exception):
    """Why a run cannot be a BDF file; `code` is stable."""

    def __init__(self, code: str, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(f"{message} [{code}]")


def label(column: str) -> str:
    """The label of a sample column; one we have no label for keeps its name."""
    for pattern, text in _NUMBERED:
        if match := pattern.fullmatch(column):
            return text.format(int(match[1]))
    return LABELS.get(column, column)


def write_bdf(journal: JournalReader, run: str, path: Path, metadata: Mapping[str, Any]) -> str:
    """Write both files and return the data file's sha256 in hex. Blocking: call it in a thread.

    Bad values become nulls. The name appears only when the content is complete and on the disk.
    Raises ExportError: E-EXPORT-EMPTY, E-EXPORT-COLUMNS, E-EXPORT-TIME; OSError when the disk cannot take it.
    """
    if not path.name.endswith(SUFFIX):
        raise ExportError("E-EXPORT-NAME", f"{path.name} must end with {SUFFIX}")
    columns = _checked(run, *journal.samples(run))
    labels = {label(name): name for name in columns}
    about = {**metadata, "columns": labels}
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name.removesuffix(SUFFIX) + ".metadata.json")
    new, new_beside = (target.with_name(f".{target.name}.new") for target in (path, beside))
    try:
        _write_parquet(new, columns, about)
        sha256 = _sync_and_hash(new)
        text = json.dumps({**about, "file": path.name, "sha256": sha256}, indent=2, sort_keys=True, ensure_ascii=False)
        new_beside.write_text(f"{text}\n", encoding="utf-8")
        _sync(new_beside)
        new_beside.replace(beside)
        new.replace(path)  # last: where the data is, its metadata is too
    finally:
        for leftover in (new, new_beside):
            leftover.unlink(missing_ok=True)
    _sync(path.parent)
    return sha256


def _checked(run: str, names: tuple[str, ...], rows: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The columns in BDF's order, with what no BDF file may lack and what its validator does not see."""
    if not len(rows):
        raise ExportError("E-EXPORT-EMPTY", f"run {run} has no samples")
    columns = {name: rows[:, index] for index, name in enumerate(names)}
    if "test_time" not in columns and "t" in columns:
        columns["test_time"] = columns["t"] - columns["t"][0]
    if missing := [name for name in _REQUIRED if name not in columns]:
        raise ExportError("E-EXPORT-COLUMNS", f"run {run} has no samples of {', '.join(missing)}")
    if not np.isfinite(columns["test_time"]).all() or (np.diff(columns["test_time"]) < 0).any():
        raise ExportError("E-EXPORT-TIME", f"the test time of run {run} stands out of order")
    order = [name for name in LABELS if name in columns]
    return {name: columns[name] for name in (*order, *(name for name in columns if name not in LABELS))}


def _write_parquet(path: Path, columns: Mapping[str, NDArray[np.float64]], about: Mapping[str, Any]) -> None:
    import pyarrow as pa  # 100 ms and 40 MB that only an export needs
    from pyarrow import parquet

    arrays = [pa.array(values, mask=~np.isfinite(values)) for values in columns.values()]
    table = pa.table(arrays, names=[label(name) for name in columns])
    if "step" in columns:
        place = list(columns).index("step")
        table = table.set_column(place, label("step"), table.column(place).cast(pa.int64()))
    texts = {
        key: value if isinstance(value, str) else json.dumps(value, sort_keys=True) for key, value in about.items()
    }
    parquet.write_table(table.replace_schema_metadata(texts), path, compression="zstd")


def _sync_and_hash(path: Path) -> str:
    _sync(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
