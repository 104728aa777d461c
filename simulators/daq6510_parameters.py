"""How the Keithley DAQ6510 reads channels and words and writes values; what it cannot read is a numbered error.

Source: the SCPI standard, as collected in the project's instrument notes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from simulators.daq6510 import CHANNELS, OPEN
from simulators.scpi_interface import ScpiError

LONG_WORDS = {"ASCII": "ASC", "CELSIUS": "CELS", "THERMISTOR": "THER", "TCOUPLE": "TC", "INTERNAL": "INT"}
LONG_WORDS |= {"EXTERNAL": "EXT", "SIMULATED": "SIM", "ON": "1", "OFF": "0"}

_SPAN = re.compile(r"(\d{1,4})(?::(\d{1,4}))?")


def value_text(value: float) -> str:
    return "9.9E+37" if value == OPEN else f"{value:.6E}"


def number_text(value: float) -> str:
    return f"{value:g}"


def channel_text(channels: Sequence[int]) -> str:
    """`(@101:103,105)`."""
    spans: list[list[int]] = []
    for channel in channels:
        if spans and channel == spans[-1][-1] + 1:
            spans[-1].append(channel)
        else:
            spans.append([channel])
    return "(@" + ",".join(f"{span[0]}:{span[-1]}" if len(span) > 1 else str(span[0]) for span in spans) + ")"


def channel_list(text: str) -> list[int]:
    """The channels of `(@101:103,105)`; raises ScpiError for one that no card has."""
    if not (text.startswith("(@") and text.endswith(")")):
        raise ScpiError(-104)
    channels: list[int] = []
    for part in text[2:-1].replace(" ", "").split(",") if text[2:-1].strip() else []:
        span = _SPAN.fullmatch(part)
        if span is None:
            raise ScpiError(-104)
        first, last = int(span[1]), int(span[2] or span[1])
        channels += range(first, last + 1)
        if last < first or not {first, last} <= set(CHANNELS) or len(channels) > len(CHANNELS):
            raise ScpiError(-222)
    if not set(channels) <= set(CHANNELS):
        raise ScpiError(-222)
    return channels


def one_of(words: Sequence[str], text: str) -> str:
    word = text.upper()
    word = LONG_WORDS.get(word, word)
    if word not in words:
        raise ScpiError(-224)
    return word
