"""What several registers say together, high word first: texts, 32-bit integers and floats."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from drivers.errors import AnswerError


def text(registers: Sequence[int], what: str) -> str:
    """ASCII, two characters a register, padded with NUL or spaces; raises AnswerError for anything else."""
    raw = _bytes(registers).rstrip(b"\0")
    decoded = raw.decode("ascii", "replace")
    if not decoded.isascii() or not decoded.isprintable():
        raise AnswerError(f"the {what} is not printable ASCII", raw)
    return decoded.strip()


def integer(registers: Sequence[int]) -> int:
    """An unsigned integer."""
    return int.from_bytes(_bytes(registers), "big")


def number(registers: Sequence[int]) -> float:
    """An IEEE 754 float of two registers; raises AnswerError for what is not a number."""
    (value,) = struct.unpack(">f", _bytes(registers))
    if not math.isfinite(value):
        raise AnswerError("expected a number", value)
    return float(value)


def from_number(value: float) -> list[int]:
    """The two registers of an IEEE 754 float."""
    return list(struct.unpack(">HH", struct.pack(">f", value)))


def _bytes(registers: Sequence[int]) -> bytes:
    return b"".join(register.to_bytes(2, "big") for register in registers)
