"""Read a data file, CSV or Parquet, as a time series, and tell every defect it has.

Rows that cannot be used are left out and counted, nothing else is touched: no value is filled in, no time shifted, no
sign turned. Line numbers are those of the text file, or count the rows of a Parquet file from 1.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv, parquet

from controller.datafile.columns import (
    COUNTERS,
    REQUIRED,
    Column,
    Mapping,
    MappingError,
    choose,
    is_identity,
    is_unknown,
)
from controller.datafile.numbers import Array, Mask, falls, held, mask, numbers
from sequences.analysis import Defect, Instrument, TimeSeries

Lines = NDArray[np.int64]

MAX_BYTES = 512 * 2**20
MAX_VALUES = 100_000_000
_HEADER_WITHIN = 100  # lines
_HEAD_BYTES = 256 * 1024
_DELIMITERS = (",", ";", "\t", "|")
_FEWEST_ROWS = 3
_USABLE_SHARE = 0.5
_TIME_BACK_SHARE = 0.1  # more than that is another clock, not a glitch
# beyond what any battery tester reads; keeps sums finite
_LARGEST = {"time": 1e11, "voltage": 1e5, "current": 1e5}
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")


@dataclass
class DataFile:
    """What a file holds. `series` is None when nothing can be computed from it; a defect says why.

    `lines` (n,) is where each sample stands in the file; `defects` count in those lines too.
    """

    kind: str
    rows: int = 0
    series: TimeSeries | None = None
    lines: Lines = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    columns: list[Column] = field(default_factory=list)
    defects: list[Defect] = field(default_factory=list)

    def flag(self, code: str, count: int = 1, first: int = -1, **figures: float | str) -> None:
        self.defects.append(Defect(code, count, first, figures))


@dataclass
class _Table:
    """Columns as they stand in the file, and the line of each row."""

    names: list[str]
    columns: list[Column]
    values: dict[int, Any]
    lines: Lines
    decimal_comma: bool = False


class _UnreadableError(Exception):
    """The file as a whole cannot be read; what to flag."""

    def __init__(self, code: str, first: int = -1, **figures: float | str) -> None:
        self.code, self.first, self.figures = code, first, figures
        super().__init__(code)


def read_data_file(path: Path, mappings: Sequence[Mapping] = (), instrument: Instrument | None = None) -> DataFile:
    """Read a file of whatever content. Raises OSError when it cannot be opened, and MappingError."""
    with path.open("rb") as file:
        start = file.read(4)
    found = DataFile("parquet" if start == b"PAR1" else "csv")
    try:
        table = _parquet(path, mappings, found) if found.kind == "parquet" else _csv(path, mappings, found)
        _fill(found, table, instrument or Instrument())
    except _UnreadableError as error:
        found.flag(error.code, 1, error.first, **error.figures)
    return found


# ------------------------------------------------------------------------------------------------------ Parquet


def _parquet(path: Path, mappings: Sequence[Mapping], found: DataFile) -> _Table:
    try:
        with parquet.ParquetFile(path) as file:
            rows = file.metadata.num_rows
            schema = file.schema_arrow
            names = list(schema.names)
            columns = _chosen(names, mappings, found)
            wanted = _wanted(names, columns)
            if rows * len(wanted) > MAX_VALUES:
                raise _UnreadableError("E-DATA-SIZE", values=rows * len(wanted), most=MAX_VALUES)
            read = file.read(columns=[names[index] for index in wanted])
    except MappingError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, OverflowError, MemoryError) as error:
        raise _UnreadableError("E-DATA-FORMAT", said=_first_line(error)) from None
    found.rows = rows
    if read.num_rows != rows or any(len(read.column(index)) != rows for index in range(read.num_columns)):
        raise _UnreadableError("E-DATA-FORMAT", said="its columns differ in length")
    values = {index: read.column(names[index]) for index in wanted if names.count(names[index]) == 1}
    for column in columns:
        if column.index not in values:
            raise _UnreadableError("E-DATA-COLUMNS", missing=f"one {column.name!r} only")
    return _Table(names, columns, values, np.arange(1, rows + 1, dtype=np.int64))


# ---------------------------------------------------------------------------------------------------------- CSV


def _csv(path: Path, mappings: Sequence[Mapping], found: DataFile) -> _Table:
    data = _text(_bytes(path), found)
    head = data[:_HEAD_BYTES].decode("utf-8", errors="replace").split("\n")
    if not data.strip():
        raise _UnreadableError("E-DATA-EMPTY")
    at, delimiter, names = _header(head[:_HEADER_WITHIN], mappings)
    columns = _chosen(names, mappings, found)
    if names[0] == "#1":
        found.flag("W-DATA-HEADER", 1, at + 2)
    elif at > 0:
        found.flag("W-DATA-PREAMBLE", at, 1)
    wanted = _wanted(names, columns)
    width = _width(head[at + 1 : at + 20], delimiter, len(names))
    invalid: list[int] = []

    def skip(row: csv.InvalidRow) -> Literal["skip"]:
        invalid.append(row.number or 0)
        return "skip"

    labels = [f"c{index}" for index in range(width)]
    try:
        table = csv.read_csv(
            io.BytesIO(data),
            read_options=csv.ReadOptions(
                use_threads=False, skip_rows=at + 1, column_names=labels, block_size=min(len(data) + 1, 2**24)
            ),
            parse_options=csv.ParseOptions(
                delimiter=delimiter,
                quote_char='"' if _quotes_close(data) else False,
                ignore_empty_lines=False,
                invalid_row_handler=skip,
            ),
            convert_options=csv.ConvertOptions(
                column_types={f"c{index}": pa.string() for index in wanted},
                include_columns=[f"c{index}" for index in wanted],
                strings_can_be_null=False,
                check_utf8=False,
            ),
        )
    except pa.ArrowException as error:
        if "Empty CSV file" in str(error):
            raise _UnreadableError("E-DATA-EMPTY") from None
        raise _UnreadableError("E-DATA-FORMAT", said=_first_line(error)) from None
    found.rows = table.num_rows + len(invalid)
    lines = np.arange(at + 2, at + 2 + found.rows, dtype=np.int64)
    if invalid:
        found.flag("W-DATA-ROW", len(invalid), invalid[0], expected=width)
        lines = np.setdiff1d(lines, np.array(invalid, dtype=np.int64))[: table.num_rows]
    if table.num_rows > len(lines):
        raise _UnreadableError("E-DATA-FORMAT", said="the rows cannot be counted")
    values = {index: pc.utf8_trim(table.column(f"c{index}"), " \t") for index in wanted}
    return _Table(names, columns, values, lines, decimal_comma=delimiter != ",")


def _bytes(path: Path) -> bytes:
    """The file's content, unpacked when it is gzip, and never more than we can hold."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if data[:2] == b"\x1f\x8b":
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
                data = packed.read(MAX_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise _UnreadableError("E-DATA-FORMAT", said=_first_line(error)) from None
    if len(data) > MAX_BYTES:
        raise _UnreadableError("E-DATA-SIZE", values=len(data), most=MAX_BYTES)
    return data


def _text(data: bytes, found: DataFile) -> bytes:
    """The content as UTF-8 with plain line ends."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        found.flag("W-DATA-ENCODING", read_as="UTF-16")
        data = data.decode("utf-16", errors="replace").encode()
    else:
        data = data.removeprefix(b"\xef\xbb\xbf")
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:
            first = data.count(b"\n", 0, error.start) + 1
            for encoding in ("cp949", "latin-1"):  # Korean testers, then anything
                try:
                    data = data.decode(encoding).encode()
                except UnicodeDecodeError:
                    continue
                found.flag("W-DATA-ENCODING", 1, first, read_as=encoding)
                break
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data if data.endswith(b"\n") else data + b"\n"


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip().strip('"').strip() for cell in line.split(delimiter)]


def _header(head: list[str], mappings: Sequence[Mapping]) -> tuple[int, str, list[str]]:
    """Line (from 0), delimiter and names of the header: the first line that names time, voltage and current.

    A file without a header can be read by positions alone; then the line is -1.
    """
    error: MappingError | None = None
    for number, line in enumerate(head):
        for delimiter in _DELIMITERS:
            names = _cells(line, delimiter)
            if len(names) < len(REQUIRED) or all(_is_number(name) for name in names if name):
                continue
            try:
                columns = choose(names, mappings)
            except MappingError as problem:
                if error is None or (problem.found and not error.found):
                    error = problem
                continue
            if {column.field for column in columns} >= set(REQUIRED):
                return number, delimiter, names
    first, line = next(((n, line) for n, line in enumerate(head) if line.strip()), (0, ""))
    delimiter = max(_DELIMITERS, key=line.count)
    names = _cells(line, delimiter)
    if all(_is_number(name) or ":" in name for name in names if name):
        positions = [f"#{index + 1}" for index in range(len(names))]
        if any(mapping.column.lstrip("-").startswith("#") for mapping in mappings):
            return first - 1, delimiter, positions
        raise _UnreadableError("E-DATA-HEADER", first + 1, columns=len(names))
    if error is not None:
        raise error
    raise _no_columns(names, choose(names, mappings), first + 1)


def _is_number(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text))


def _no_columns(names: Sequence[str], columns: Sequence[Column], line: int = -1) -> _UnreadableError:
    missing = [name for name in REQUIRED if name not in {column.field for column in columns}]
    seen = ", ".join(repr(name[:40]) for name in names[:12])
    return _UnreadableError("E-DATA-COLUMNS", line, missing=", ".join(missing), seen=seen)


def _width(lines: Sequence[str], delimiter: str, names: int) -> int:
    """Fields a row: one more than the header has where testers end every row with a delimiter."""
    ended = [line for line in lines if line.strip()]
    extra = [line for line in ended if len(_cells(line, delimiter)) == names + 1 and not _cells(line, delimiter)[-1]]
    return names + 1 if ended and 2 * len(extra) > len(ended) else names


def _quotes_close(data: bytes) -> bool:
    """Whether every line's quotes come in pairs; one that stays open would swallow what follows."""
    return b'"' not in data or all(line.count(b'"') % 2 == 0 for line in data.split(b"\n"))


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


# ------------------------------------------------------------------------------------------------------ columns


def _chosen(names: Sequence[str], mappings: Sequence[Mapping], found: DataFile) -> list[Column]:
    columns = choose(names, mappings)
    if not {column.field for column in columns} >= set(REQUIRED):
        raise _no_columns(names, columns)
    found.columns = columns
    used = {column.index for column in columns}
    unknown = [name for index, name in enumerate(names) if index not in used and is_unknown(name)]
    if unknown:
        found.flag("W-DATA-COLUMN", len(unknown), names=", ".join(repr(name[:40]) for name in unknown[:8]))
    twice = sorted({name for name in names if name and list(names).count(name) > 1})
    if twice:
        found.flag("W-DATA-COLUMN-TWICE", len(twice), names=", ".join(repr(name[:40]) for name in twice[:8]))
    return columns


def _wanted(names: Sequence[str], columns: Sequence[Column]) -> list[int]:
    """Indices to read: what was chosen, and what tells several batteries apart."""
    identities = {index for index, name in enumerate(names) if is_identity(name)}
    return sorted({column.index for column in columns} | identities)


# --------------------------------------------------------------------------------------------------------- rows


def _fill(found: DataFile, table: _Table, instrument: Instrument) -> None:
    """Leave out what cannot be used, tell it, and make the time series of the rest."""
    _one_battery(found, table)
    read = {column.field: numbers(column, table.values[column.index], table.decimal_comma)
            for column in table.columns if column.field != "cells"}  # fmt: skip
    cells = [numbers(column, table.values[column.index], table.decimal_comma).values
             for column in table.columns if column.field == "cells"]  # fmt: skip
    lines, required = table.lines, [read[name] for name in REQUIRED]
    if not len(lines):
        raise _UnreadableError("E-DATA-EMPTY")

    usable = np.ones(len(lines), dtype=bool)

    def leave_out(code: str, where: Mask, **figures: float | str) -> None:
        nonlocal usable
        where = where & usable
        if where.any():
            found.flag(code, int(where.sum()), int(lines[np.argmax(where)]), **figures)
            usable = usable & ~where

    wrong = np.any([numbers.wrong for numbers in required], axis=0)
    leave_out("W-DATA-HEADER-REPEATED", wrong & _repeats_header(table))
    leave_out("W-DATA-CELL", wrong)
    leave_out("W-DATA-MISSING", np.any([numbers.empty for numbers in required], axis=0))
    with np.errstate(invalid="ignore"):
        beyond = np.any([np.abs(read[name].values) > _LARGEST[name] for name in REQUIRED], axis=0)
    leave_out("W-DATA-RANGE", beyond)
    time = read["time"].values
    back, by = falls(time, usable)
    leave_out("W-DATA-TIME-BACK", back, most_s=by)
    left = int(usable.sum())
    if back.sum() > _TIME_BACK_SHARE * len(lines):
        raise _UnreadableError("E-DATA-TIME", int(lines[np.argmax(back)]), rows=int(back.sum()), of=len(lines))
    if left < _FEWEST_ROWS or left < _USABLE_SHARE * found.rows:
        raise _UnreadableError("E-DATA-ROWS", left=left, of=found.rows)
    if table.decimal_comma and _has_comma(table):
        found.flag("W-DATA-DECIMAL-COMMA")

    def column(name: str) -> Array | None:
        values = read[name].values[usable] if name in read else None
        return None if values is None or not np.isfinite(values).any() else values

    step = column("step")
    found.lines = lines[usable]
    found.series = TimeSeries(
        time[usable],
        read["voltage"].values[usable],
        read["current"].values[usable],
        None if step is None else held(step),
        np.stack(cells, axis=1)[usable] if cells else None,
        column("temperature"),
        {name: values for name in COUNTERS if (values := column(name)) is not None},
        instrument,
    )


def _repeats_header(table: _Table) -> Mask:
    """Rows in which the name of a needed column stands."""
    rows = np.zeros(len(table.lines), dtype=bool)
    for column in table.columns:
        values = table.values[column.index]
        if column.field in REQUIRED and pa.types.is_string(values.type):
            rows |= mask(pc.equal(values, pa.scalar(column.name)))
    return rows


def _has_comma(table: _Table) -> bool:
    return any(
        bool(pc.any(pc.match_substring(table.values[column.index], ",")).as_py())
        for column in table.columns
        if column.field in REQUIRED
    )


def _one_battery(found: DataFile, table: _Table) -> None:
    for index, values in table.values.items():
        name = table.names[index]
        if is_identity(name) and len(table.lines):
            different = pc.unique(values).drop_null().to_pylist()
            different = [value for value in different if value not in ("", name)]
            if len(different) > 1:
                shown = ", ".join(repr(value)[:40] for value in different[:4])
                found.flag("E-DATA-CELLS", len(different), column=name, values=shown)
