"""How the Keithley DAQ6510 reads parameters and writes values; what it cannot read is a numbered error.

Source: the SCPI standard, as collected in the project's instrument notes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from simulators.daq6510 import CHANNELS, OPEN
from simulators.scpi import Handler

ERRORS = {
    -104: "Data type error",
    -108: "Parameter not allowed",
    -109: "Missing parameter",
    -113: "Undefined header",
    -221: "Settings conflict",
    -222: "Parameter data out of range",
    -224: "Illegal parameter value",
    -230: "Data corrupt or stale",
    -350: "Queue overflow",
}
LONG_WORDS = {"ASCII": "ASC", "CELSIUS": "CELS", "THERMISTOR": "THER", "TCOUPLE": "TC", "INTERNAL": "INT"}
LONG_WORDS |= {"EXTERNAL": "EXT", "SIMULATED": "SIM", "ON": "1", "OFF": "0"}

_PARAMETER = re.compile(r"""\s*("[^"]*"|'[^']*'|\(@[^)]*\)|[^,"'()]*)\s*(?:,|$)""")
_SPAN = re.compile(r"(\d{1,4})(?::(\d{1,4}))?")


class ScpiError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(ERRORS[code])
        self.code = code


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


def parameters(argument: str, least: int, most: int) -> list[str]:
    """The parameters of a command: words, quoted names and channel lists."""
    found: list[str] = []
    position = 0
    while position < len(argument):
        match = _PARAMETER.match(argument, position)
        if match is None or match.end() == position:
            raise ScpiError(-104)
        found.append(match[1].strip())
        position = match.end()
    if len(found) < least:
        raise ScpiError(-109)
    if len(found) > most:
        raise ScpiError(-108)
    return found


def one_of(words: Sequence[str], text: str) -> str:
    word = text.upper()
    word = LONG_WORDS.get(word, word)
    if word not in words:
        raise ScpiError(-224)
    return word


def number_between(low: float, high: float, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ScpiError(-104) from None
    if not low <= value <= high:
        raise ScpiError(-222)
    return value


def whole_between(low: int, high: int, text: str) -> int:
    value = number_between(low, high, text)
    if value != int(value):
        raise ScpiError(-104)
    return int(value)


def query(answer: Callable[[], str]) -> Handler:
    def handle(argument: str) -> str:
        parameters(argument, 0, 0)
        return answer()

    return handle


def action(act: Callable[[], object]) -> Handler:
    def handle(argument: str) -> None:
        parameters(argument, 0, 0)
        act()

    return handle
