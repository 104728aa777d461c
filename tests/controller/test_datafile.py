"""Whatever a tester wrote, the reader tells every defect, corrects none unsaid, and never crashes."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from controller.datafile import DataFile, read_data_file, reading
from controller.datafile.columns import Mapping, MappingError
from sequences.analysis import Battery, Defect, evaluate, find_defects, find_segments

HEADER = "Test Time / s,Voltage / V,Current / A"
ROWS = [f"{second},{3.7 + second / 1000:.4f},{1.0 if second > 5 else 0.0}" for second in range(20)]
Read = Callable[..., DataFile]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Write a file and read it."""

    def work(content: str | bytes | Sequence[str], *mappings: str) -> DataFile:
        text = content if isinstance(content, str | bytes) else "\n".join(content) + "\n"
        path = tmp_path / "data"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_data_file(path, [Mapping.parse(mapping) for mapping in mappings])

    return work


def codes(data: DataFile) -> list[str]:
    return [defect.code for defect in data.defects]


def only(data: DataFile, code: str) -> Defect:
    """The one defect, with a series in spite of it or none because of it."""
    assert codes(data) == [code]
    assert (data.series is None) == data.defects[0].withholds
    return data.defects[0]


# ------------------------------------------------------------------------------------------------------- what it reads


@pytest.mark.parametrize(
    "header",
    [
        HEADER,
        "test_time_second,voltage_volt,current_ampere",
        '"Test Time / s","Voltage / V","Current / A"',
        "﻿" + HEADER,
    ],
)
def test_battery_data_format_under_both_its_names(read: Read, header: str) -> None:
    data = read([header, *ROWS])
    assert codes(data) == []
    assert data.series is not None
    assert data.series.time.tolist() == list(range(20))
    assert data.series.voltage[3] == 3.703
    assert data.lines.tolist() == list(range(2, 22))


def test_units_in_the_format_are_understood(read: Read) -> None:
    data = read(["Test Time / min,Voltage / mV,Current / mA,Ambient Temperature / K", "0,3700,500,298.15",
                 "1,3701,500,298.15", "2,3702,500,298.15"])  # fmt: skip
    assert data.series is not None
    assert data.series.time.tolist() == [0, 60, 120]
    assert (data.series.voltage[0], data.series.current[0]) == (pytest.approx(3.7), pytest.approx(0.5))
    assert data.series.temperature is not None
    assert data.series.temperature[0] == pytest.approx(25)


def test_every_known_column(read: Read) -> None:
    names = (
        "Test Time / s,Voltage / V,Current / A,Step Index / 1,Step Count / 1,Charging Capacity / Ah,"
        "Discharging Capacity / Ah,Net Capacity / Ah,Charging Energy / Wh,Discharging Energy / Wh,"
        "Surface Temperature / degC,Cell 001 Voltage / V,Cell 002 Voltage / V,Unix Time / s,Cycle Count / 1"
    )
    data = read([names, *(f"{k},7.4,1,9,{k // 5},1,2,3,4,5,25.5,3.6,3.8,1.7e9,1" for k in range(10))])
    assert codes(data) == []
    series = data.series
    assert series is not None
    assert series.step is not None
    assert series.step[-1] == 1  # the step count is preferred to the index
    assert {name: column[0] for name, column in series.counters.items()} == {
        "charged_ah": 1, "discharged_ah": 2, "net_ah": 3, "charged_wh": 4, "discharged_wh": 5,
    }  # fmt: skip
    assert series.cells is not None
    assert series.cells[0].tolist() == [3.6, 3.8]


def test_columns_are_mapped_with_their_unit_and_sign(read: Read) -> None:
    rows = ["t(ms);U [mV];I;Zelle1;Zelle2", *(f"{1000 * k};{3700 + k};-500;1800;1900" for k in range(5))]
    data = read(rows, "time=t(ms)", "voltage=U [mV]", "current=-I in mA", "cells=Zelle* in mV")
    assert codes(data) == []
    assert data.series is not None
    assert data.series.time.tolist() == [0, 1, 2, 3, 4]
    assert data.series.current.tolist() == [0.5] * 5
    assert data.series.cells is not None
    assert data.series.cells[0] == pytest.approx([1.8, 1.9])


def test_a_mapping_wins_over_the_formats_name(read: Read) -> None:
    data = read([HEADER + ",I2", *(f"{row},7" for row in ROWS)], "current=I2 in A")
    assert data.series is not None
    assert data.series.current.tolist() == [7.0] * 20


def test_columns_by_position_where_there_is_no_header(read: Read) -> None:
    data = read(ROWS, "time=#1 in s", "voltage=#2 in V", "current=#3 in A")
    assert only(data, "W-DATA-HEADER").first == 1
    assert len(data.lines) == 20


@pytest.mark.parametrize(
    ("texts", "unit", "seconds"),
    [
        (("0:00:00", "0:01:00.5", "26:00:00"), "h:m:s", (0, 60.5, 93600)),
        (("0d 23:59:59", "1d 00:00:00", "2-00:00:01"), "h:m:s", (86399, 86400, 172801)),
        (("2024-02-28 23:59:59.5", "2024/02/29T00:00:00", "2024-03-01 00:00:00"), "datetime", (0, 0.5, 86400.5)),
    ],
)
def test_clock_times_and_dates(read: Read, texts: tuple[str, ...], unit: str, seconds: tuple[float, ...]) -> None:
    rows = ["when,Voltage / V,Current / A", *(f"{text},3.7,0" for text in texts)]
    data = read(rows, f"time=when in {unit}")
    assert data.series is not None
    assert data.series.time - data.series.time[0] == pytest.approx(np.array(seconds) - seconds[0])


def arrow(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    names = {"t": "Test Time / s", "v": "Voltage / V", "i": "Current / A"}
    parquet.write_table(pa.table({names.get(name, name): values for name, values in columns.items()}), buffer)
    return buffer.getvalue()


TIME, VOLTS, AMPERES = [float(k) for k in range(9)], [3.7] * 9, [0.0] * 9


@pytest.mark.parametrize(
    ("t", "v"),
    [
        (pa.array(range(9), pa.int32()), pa.array(VOLTS, pa.float32())),
        (pa.array([f"{k}" for k in range(9)]), pa.array(VOLTS).cast(pa.decimal128(10, 4))),
        (pa.array([k * 1000 for k in range(9)], pa.timestamp("ms")), pa.array(["3.7"] * 9).dictionary_encode()),
        (pa.array([k * 10**9 for k in range(9)], pa.duration("ns")), VOLTS),
    ],
)
def test_parquet_of_other_types(read: Read, t: Any, v: Any) -> None:
    data = read(arrow(t=t, v=v, i=AMPERES))
    assert (data.kind, codes(data)) == ("parquet", [])
    assert data.series is not None
    assert data.series.time.tolist() == TIME
    assert data.series.voltage == pytest.approx(VOLTS)
    assert data.lines.tolist() == list(range(1, 10))


def test_a_packed_csv(read: Read) -> None:
    data = read(gzip.compress("\n".join([HEADER, *ROWS]).encode()))
    assert data.series is not None
    assert only(read(gzip.compress(b"x" * 5000)[:-20]), "E-DATA-FORMAT").figures["said"]


# ------------------------------------------------------------------------------------------------------- what it tells


def test_repeated_headers_are_left_out_and_counted(read: Read) -> None:
    data = read([HEADER, *ROWS[:5], HEADER, *ROWS[5:10], HEADER, *ROWS[10:]])
    defect = only(data, "W-DATA-HEADER-REPEATED")
    assert (defect.count, defect.first) == (2, 7)
    assert data.series is not None
    assert len(data.series) == 20
    assert data.lines[5] == 8


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("5,overflow,0", "W-DATA-CELL"),
        ("5,3.7V,0", "W-DATA-CELL"),
        ("5,inf,0", "W-DATA-CELL"),
        ("5,,0", "W-DATA-MISSING"),
        ("", "W-DATA-MISSING"),
        ("5,3.7", "W-DATA-ROW"),
        ("5,3.7,0,0", "W-DATA-ROW"),
        ("5,1e9,0", "W-DATA-RANGE"),
        ("1,3.7,0", "W-DATA-TIME-BACK"),
        ("900,3.7,0", "W-DATA-TIME-BACK"),
        ('5,"3.7,0', "W-DATA-CELL"),  # and the open quote swallows nothing
    ],
)
def test_a_row_that_cannot_be_used_is_left_out_alone(read: Read, row: str, code: str) -> None:
    data = read([HEADER, *ROWS[:5], row, *ROWS[5:]])
    defect = only(data, code)
    assert (defect.count, defect.first) == (1, 7)
    assert data.lines.tolist() == [2, 3, 4, 5, 6, *range(8, 23)]
    assert data.rows == 21


def test_text_in_a_column_nobody_needs_is_no_defect(read: Read) -> None:
    data = read([HEADER + ",Power / W", *(f"{row},n/a" for row in ROWS)])
    assert codes(data) == []


def test_a_time_that_falls_again_and_again_is_another_clock(read: Read) -> None:
    data = read([HEADER, *ROWS, *ROWS])
    assert codes(data) == ["W-DATA-TIME-BACK", "E-DATA-TIME"]
    assert data.series is None
    assert data.defects[1].figures == {"rows": 19, "of": 40}
    assert data.defects[0].figures["most_s"] == 19


def test_unknown_columns_and_double_ones_are_named(read: Read) -> None:
    data = read([HEADER + ",Foo,Bar [x],Voltage / V", *(f"{row},1,2,9" for row in ROWS)])
    assert codes(data) == ["W-DATA-COLUMN", "W-DATA-COLUMN-TWICE"]
    assert data.defects[0].figures["names"] == "'Foo', 'Bar [x]'"
    assert data.series is not None
    assert data.series.voltage[0] == 3.7


def test_several_batteries_in_one_file_are_withheld(read: Read) -> None:
    data = read([HEADER + ",Cell ID", *(f"{row},{'AB'[k % 2]}" for k, row in enumerate(ROWS))])
    assert data.defects[0].code == "E-DATA-CELLS"
    assert data.defects[0].figures == {"column": "Cell ID", "values": "'A', 'B'"}
    assert codes(read([HEADER + ",Cell ID", *(f"{row},A" for row in ROWS)])) == []


def test_lines_before_the_header(read: Read) -> None:
    data = read(["Tester 7", "", "made, of, three, commas", HEADER, *ROWS])
    defect = only(data, "W-DATA-PREAMBLE")
    assert (defect.count, defect.first) == (3, 1)
    assert data.lines[0] == 5


@pytest.mark.parametrize(
    ("content", "read_as"),
    [
        ("\n".join(["시험기", HEADER, *ROWS]).encode("cp949"), "cp949"),
        (b"\xe9\xff\n" + "\n".join([HEADER, *ROWS]).encode(), "latin-1"),
        ("\n".join([HEADER, *ROWS]).encode("utf-16"), "UTF-16"),
    ],
)
def test_other_encodings_are_read_and_told(read: Read, content: bytes, read_as: str) -> None:
    data = read(content)
    assert data.defects[0].code == "W-DATA-ENCODING"
    assert data.defects[0].figures["read_as"] == read_as
    assert len(data.lines) == 20


def test_decimal_commas_are_told(read: Read) -> None:
    rows = [HEADER.replace(",", ";"), *(row.replace(",", ";").replace(".", ",") for row in ROWS)]
    data = read(rows)
    only(data, "W-DATA-DECIMAL-COMMA")
    assert data.series is not None
    assert data.series.voltage[3] == 3.703


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
def test_line_ends_and_trailing_delimiters(read: Read, end: str) -> None:
    data = read(end.join([HEADER, *(row + "," for row in ROWS)]) + end)
    assert codes(data) == []
    assert len(data.lines) == 20


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("", "E-DATA-EMPTY"),
        ("\n \n\n", "E-DATA-EMPTY"),
        (HEADER, "E-DATA-EMPTY"),
        (HEADER + "\n", "E-DATA-EMPTY"),
        ("\n".join([HEADER, *ROWS[:2]]), "E-DATA-ROWS"),
        ("\n".join(ROWS), "E-DATA-HEADER"),
        ("\n".join(["a,b,c", *ROWS]), "E-DATA-COLUMNS"),
        ("\n".join(["Test Time / s,Voltage / A,Current / A", *ROWS]), "E-DATA-COLUMNS"),
        (arrow(t=TIME, v=VOLTS), "E-DATA-COLUMNS"),
        (arrow(t=TIME, v=VOLTS, i=AMPERES)[:-9], "E-DATA-FORMAT"),
        (arrow(t=TIME, v=VOLTS, i=AMPERES)[:50], "E-DATA-FORMAT"),
        (b"PAR1", "E-DATA-FORMAT"),
        (arrow(t=[], v=[], i=[]), "E-DATA-EMPTY"),
    ],
)
def test_a_file_that_holds_nothing_usable_says_why(read: Read, content: str | bytes, code: str) -> None:
    only(read(content), code)


def test_columns_of_structures_hold_no_numbers(read: Read) -> None:
    data = read(arrow(t=TIME, v=[{"a": 1.0}] * 9, i=AMPERES))
    assert codes(data) == ["W-DATA-CELL", "E-DATA-ROWS"]


def test_a_huge_file_is_refused_before_it_is_read(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_BYTES", 100)
    only(read([HEADER, *ROWS]), "E-DATA-SIZE")
    only(read(gzip.compress(b"0" * 10_000)), "E-DATA-SIZE")
    monkeypatch.setattr(reading, "MAX_VALUES", 20)
    only(read(arrow(t=TIME, v=VOLTS, i=AMPERES)), "E-DATA-SIZE")


def test_half_of_the_rows_is_too_few(read: Read) -> None:
    data = read([HEADER, *ROWS, *["x,y,z"] * 21])
    assert codes(data) == ["W-DATA-CELL", "E-DATA-ROWS"]
    assert data.defects[1].figures == {"left": 20, "of": 41}


# ------------------------------------------------------------------------------------------------------ wrong mappings


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ("voltage", "is not FIELD=COLUMN"),
        ("volts=U", "there is no field 'volts'; there are time, voltage, current"),
        ("voltage=U", "there is no column 'U'; the file has 'Test Time / s'"),
        ("voltage=#9 in V", "there is no column '#9 in V'"),
        ("voltage=V2", "say the unit of 'V2', like 'voltage=V2 in UNIT'"),
        ("voltage=V2 in parsec", "say the unit of 'V2'"),
        ("voltage=V2 in mA", "'V2' is in mA, which is no voltage"),
    ],
)
def test_a_mapping_that_does_not_fit_is_explained(read: Read, mapping: str, said: str) -> None:
    with pytest.raises(MappingError, match=r"\[E-MAP\]") as wrong:
        read([HEADER + ",V2", *(f"{row},1" for row in ROWS)], mapping)
    assert said in str(wrong.value)


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        read_data_file(tmp_path)


# ----------------------------------------------------------------------------------------------------------- anything


def survives(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    data = read_data_file(path)
    assert data.series is not None or any(defect.withholds for defect in data.defects)
    for defect in data.defects:
        assert defect.count >= 1
        assert defect.first == -1 or defect.first >= 1
    if data.series is not None:
        assert len(data.lines) == len(data.series) <= data.rows
        segments = find_segments(data.series)
        find_defects(segments)
        evaluate(segments, Battery(1.0, 3.0, "NMC811"))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any") / "file"


@given(st.binary(max_size=400))
@settings(max_examples=150)
def test_any_bytes_are_read_or_refused(scratch: Path, content: bytes) -> None:
    survives(scratch, content)


CSV = "\n".join([HEADER, *ROWS]).encode()
PARQUET = arrow(t=TIME, v=VOLTS, i=AMPERES)
damages = st.lists(
    st.tuples(st.sampled_from(["set", "cut", "insert", "copy"]), st.floats(0, 1), st.binary(min_size=1, max_size=30)),
    min_size=1, max_size=6,
)  # fmt: skip


def damaged(content: bytes, how: list[tuple[str, float, bytes]]) -> bytes:
    for kind, where, more in how:
        at = int(where * len(content))
        rest = {"set": content[at + len(more) :], "cut": content[at + 3 * len(more) :], "insert": content[at:]}
        content = content[:at] + (b"" if kind == "cut" else more) + rest.get(kind, content[at // 2 :])
    return content


@given(st.sampled_from([CSV, PARQUET]), damages)
@settings(max_examples=300)
def test_damaged_files_are_read_or_refused(scratch: Path, content: bytes, how: list[tuple[str, float, bytes]]) -> None:
    survives(scratch, damaged(content, how))


words = st.sampled_from(["", "1", "2.5", "-3", "1e5", "nan", "x", '"', "1,2", "Voltage / V", "0:01:00", " 4 ", "1e400"])


@given(st.lists(st.lists(words, max_size=5), max_size=30), st.sampled_from([",", ";", "\t"]))
@settings(max_examples=200)
def test_any_table_under_the_header_is_read_or_refused(scratch: Path, table: list[list[str]], delimiter: str) -> None:
    lines = [HEADER.replace(",", delimiter), *(delimiter.join(row) for row in table)]
    survives(scratch, "\n".join(lines).encode())
