"""Values of several kinds in the 16-bit registers of an EA device; the high word comes first.

Source: EA programming guide, ModBus chapter, as collected in the project's instrument notes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simulators.ea_quantities import Quantity

TEXT_WORDS = 20

Words = Sequence[int]


@dataclass(frozen=True)
class Value:
    """The registers of one value. `write` None is read-only; `alone` is written by function 6, others by 16."""

    size: int
    read: Callable[[], Words]
    write: Callable[[Words], None] | None = None
    alone: bool = False


@dataclass(frozen=True)
class Coil:
    """`read` None is a trigger, which can only be written."""

    read: Callable[[], bool] | None
    write: Callable[[bool], None]


def word(read: Callable[[], int], write: Callable[[int], None]) -> Value:
    return Value(1, lambda: [int(read())], lambda words: write(words[0]), alone=True)


def percent(q: Quantity, read: Callable[[Quantity], float], write: Callable[[Quantity, float], None]) -> Value:
    """A setting of 0xCCCC at the nominal value, one step a unit."""
    return word(lambda: round(read(q) / q.step), lambda count: write(q, count * q.step))


def text(read: Callable[[], str], write: Callable[[str], None] | None = None) -> Value:
    """40 characters, filled up with zeros."""

    def words() -> Words:
        return struct.unpack(f">{TEXT_WORDS}H", read().encode("latin-1")[: 2 * TEXT_WORDS].ljust(2 * TEXT_WORDS, b"\0"))

    if write is None:
        return Value(TEXT_WORDS, words)
    return Value(
        TEXT_WORDS,
        words,
        lambda words: write(struct.pack(f">{len(words)}H", *words).decode("latin-1").rstrip("\0")),
    )


def long(value: int) -> Words:
    return divmod(value, 0x10000)


def single(read: Callable[[], float], write: Callable[[float], None] | None = None) -> Value:
    """A single-precision float."""

    def words() -> Words:
        return struct.unpack(">HH", struct.pack(">f", read()))

    if write is None:
        return Value(2, words)
    return Value(2, words, lambda words: write(struct.unpack(">f", struct.pack(">HH", *words))[0]))
