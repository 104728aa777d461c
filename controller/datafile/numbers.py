"""From the cells of a data file to numbers, and which of them were empty or something else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from controller.datafile.columns import TEXT_TIMES, Column

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_CLOCK = r"^(?:(?P<d>\d+)\s*(?:d\s*|-|\s))?(?P<h>\d+):(?P<m>\d{1,2}):(?P<s>\d{1,2}(?:\.\d+)?)$"
_DATE = (
    r"^(?P<y>\d{4})[-/.](?P<mo>\d{1,2})[-/.](?P<day>\d{1,2})[ T](?P<h>\d{1,2}):(?P<m>\d{1,2}):(?P<s>\d{1,2}(?:\.\d+)?)"
)


@dataclass(frozen=True)
class Numbers:
    """A column as numbers (n,), NaN where there is none; which cells were empty, and which held something else."""

    values: Array
    empty: Mask
    wrong: Mask


def numbers(column: Column, values: Any, decimal_comma: bool) -> Numbers:
    """The numbers in an Arrow column, in inner units. Texts may have decimal commas."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    empty = mask(values.is_null())
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        empty |= mask(pc.equal(values, pa.scalar("")))
        texts = pc.utf8_trim(values, " ")
        parsed = _times(texts, column.unit) if column.unit in TEXT_TIMES else _parsed(texts, decimal_comma)
    elif pa.types.is_timestamp(kind) or pa.types.is_duration(kind):
        parsed = _array(pc.cast(pc.cast(values, _in_ns(kind)), pa.int64())) / 1e9
    else:
        try:
            parsed = _array(pc.cast(values, pa.float64(), safe=False))
        except pa.ArrowException:
            parsed = np.full(len(values), np.nan)
    finite = np.isfinite(parsed)
    return Numbers(column.factor * (np.where(finite, parsed, np.nan) + column.before), empty, ~finite & ~empty)


def _in_ns(kind: Any) -> Any:
    return pa.duration("ns") if pa.types.is_duration(kind) else pa.timestamp("ns", getattr(kind, "tz", None))


def _array(values: Any) -> Array:
    return np.asarray(values.to_numpy(), dtype=np.float64)


def mask(values: Any) -> Mask:
    """An Arrow column of booleans as an array; null is false."""
    return np.asarray(pc.fill_null(values, False).to_numpy(), dtype=bool)


def _parsed(texts: Any, decimal_comma: bool) -> Array:
    if decimal_comma:
        texts = pc.replace_substring(texts, ",", ".")
    try:
        return _array(pc.cast(texts, pa.float64()))
    except pa.ArrowException:
        number = pc.match_substring_regex(texts, r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$")
        return _array(pc.cast(pc.if_else(number, texts, pa.scalar(None, pa.string())), pa.float64()))


def _times(texts: Any, unit: str) -> Array:
    """Seconds from texts: `[days ]h:m:s` since the test began, or a date and time."""
    parts = pc.extract_regex(texts, _CLOCK if unit == "h:m:s" else _DATE)

    def part(name: str) -> Array:
        column = pc.struct_field(parts, name)
        return _array(pc.cast(pc.if_else(pc.equal(column, pa.scalar("")), pa.scalar("0"), column), pa.float64()))

    clock = 3600 * part("h") + 60 * part("m") + part("s")
    if unit == "h:m:s":
        return 86400 * part("d") + clock
    months = 12 * (part("y") - 1970) + part("mo") - 1
    good = np.isfinite(months)
    days = np.where(good, months, 0).astype("datetime64[M]").astype("datetime64[D]").astype(np.float64)
    return np.where(good, 86400 * (days + part("day") - 1) + clock, np.nan)


def held(step: Array) -> Array:
    """A step whose number is missing goes on."""
    rows = np.where(np.isfinite(step), np.arange(len(step)), 0)
    held = step[np.maximum.accumulate(rows)]
    return np.where(np.isfinite(held), held, -1.0)


def falls(time: Array, usable: Mask) -> tuple[Mask, float]:
    """Rows whose time lies before an earlier one's, and by how much at most; one row far ahead is itself the fault."""
    rows = np.flatnonzero(usable)
    t = time[rows]
    ahead = np.zeros(len(t), dtype=bool)
    ahead[1:-1] = (t[1:-1] > t[2:]) & (t[2:] >= t[:-2])
    latest = np.maximum.accumulate(np.where(ahead, -np.inf, t))
    behind = ~ahead & (t < latest)
    found = np.zeros(len(time), dtype=bool)
    found[rows[ahead | behind]] = True
    steps = t[:-1] - t[1:]
    return found, float(steps.max(initial=0.0))
