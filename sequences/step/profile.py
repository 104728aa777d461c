"""The step that plays a table, and the table: rows of the recipe, or a CSV file's text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from sequences.quantity import Duration, amount, dimension_ko, parse_quantity
from sequences.step.base import CellVoltage, StepBase, example
from sequences.text import FaultError

MAX_TABLE = 20_000  # rows
MAX_CSV = 1_000_000  # characters
_HEADERS = {"time_s,current_a": "current", "time_s,power_w": "power"}
_CSV_ROW = re.compile(r"\s*(-?\d{1,9}(?:\.\d{1,9})?)\s*,\s*(-?\d{1,9}(?:\.\d{1,9})?)\s*", re.ASCII)


def _no_table(file: str | None, en: str, ko: str) -> FaultError:
    """A fault of a table, at its file's name or, where there is none, at the step."""
    if file is None:
        return FaultError(en, ko, "E-TABLE")
    return FaultError(f"table {file!r:.80}: {en}", f"표 {file!r:.80}: {ko}", "E-TABLE", ("file",))


class Profile(StepBase):
    """A table of times and currents or powers, played with the cells clipped to a voltage window.

    Rows are (time, value) with the value held until the next row's time; + charges. Long tables are CSV, with the
    columns `time_s` and `current_a` or `power_w`: `csv` is its text, `file` names one beside the recipe, whose text
    then belongs to the recipe and its hash.
    """

    model_config = example(
        step="profile", name="drive", of="current", rows=[["0 s", "-30 A"], ["10 s", "15 A"], ["20 s", "0 A"]],
        cell_voltage_min="2.8 V", cell_voltage_max="4.15 V",
    )  # fmt: skip
    drives: ClassVar[bool] = True

    step: Literal["profile"] = "profile"
    of: Annotated[Literal["current", "power"], Field(description="What the table gives.")] = "current"
    file: Annotated[
        str | None, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}\.csv$", description="A CSV file beside the recipe.")
    ] = None
    rows: Annotated[
        list[Annotated[tuple[str, str], Field(strict=False)]],
        Field(default_factory=list, max_length=MAX_TABLE, description="The table, times rising."),
    ]
    csv: Annotated[str | None, Field(max_length=MAX_CSV, description="The table as a CSV file's text.")] = None
    sample: Annotated[Duration, Field(description="Sampling period.")] = amount("1 s")
    cell_voltage_min: CellVoltage
    cell_voltage_max: CellVoltage

    @model_validator(mode="before")
    @classmethod
    def named_by_its_header(cls, data: Any) -> Any:
        """What a CSV table gives stands in its first row."""
        if not isinstance(data, dict) or not isinstance(data.get("csv"), str):
            return data
        header = data["csv"].partition("\n")[0]
        of = _HEADERS.get(",".join(cell.strip() for cell in header.split(",")))
        if of is None:
            raise _no_table(
                data.get("file"),
                "its first row must be time_s,current_a or time_s,power_w",
                "첫 행은 time_s,current_a 또는 time_s,power_w 이어야 합니다",
            )
        if data.get("rows") or data.get("of", of) != of:
            raise _no_table(
                data.get("file"),
                f"a CSV table has its own rows and gives {of}; leave out `rows` and `of`",
                f"CSV 표에는 자체 행이 있고 그 값은 {of} 입니다. `rows` 와 `of` 를 빼십시오",
            )
        return data | {"of": of}

    @model_validator(mode="after")
    def a_table(self) -> Profile:
        times = [time for time, _ in self.table]
        if len(times) < 2:
            raise _no_table(
                self.file,
                "a table has two rows at least; give `rows`, or a `file`",
                "표에는 두 행 이상이 필요합니다. `rows` 또는 `file` 을 지정하십시오",
            )
        if any(later <= earlier for earlier, later in pairwise(times)) or times[0] != 0.0:
            raise _no_table(
                self.file,
                "the table's times must begin at 0 s and rise",
                "표의 시간은 0 s에서 시작해 증가해야 합니다",
            )
        return self

    @cached_property
    def table(self) -> list[tuple[float, float]]:
        """(s, A or W, + charges)."""
        if self.csv is not None:
            return list(self._csv_rows(self.csv))
        rows = []
        for time, value in self.rows:
            t, x = parse_quantity(time), parse_quantity(value)
            if t.dimension != "time" or x.dimension != self.of:
                raise FaultError(
                    f"a row of the table is a time and a {self.of}, not {time!r} and {value!r}",
                    f"표의 행은 시간과 {dimension_ko(self.of)}이어야 합니다: {time!r}, {value!r}",
                    "E-TABLE",
                )
            rows.append((t.value, x.value))
        return rows

    def _csv_rows(self, text: str) -> Iterator[tuple[float, float]]:
        for number, line in enumerate(text.splitlines()[1:], 2):
            match = _CSV_ROW.fullmatch(line)
            if match is None or number > MAX_TABLE + 1:
                en, ko = f"row {number} is not two plain numbers", f"{number}번째 행이 두 개의 숫자가 아닙니다"
                if match is not None:
                    en, ko = f"more than {MAX_TABLE} rows", f"{MAX_TABLE}행을 넘습니다"
                raise _no_table(self.file, en, ko)
            yield float(match[1]), float(match[2])

    @property
    def duration(self) -> float:
        return self.table[-1][0]
