"""SCPI's command headers: long and short forms, optional nodes, any case.

A pattern is written as in a manual, `[SOURce:]VOLTage:PROTection[:LEVel]?`: capitals are the short form, brackets are
optional, `|` separates alternatives of a whole header, a final `?` makes it a query.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import product

Handler = Callable[[str], "str | None"]

_OPTIONAL = re.compile(r"\[([^\]]*)\]")
_MNEMONIC = re.compile(r"[A-Za-z0-9]+")


class CommandTable:
    """Handlers by header. A handler takes the text after the header and returns its answer, None for a command."""

    def __init__(self, patterns: Mapping[str, Handler]) -> None:
        self._handlers = {header: handler for pattern, handler in patterns.items() for header in _headers(pattern)}

    def find(self, command: str) -> tuple[Handler | None, str]:
        """The handler of one command (None when there is no such header) and its stripped argument."""
        head, _, argument = command.strip().partition(" ")
        return self._handlers.get(head.upper().removeprefix(":")), argument.strip()


@cache
def _headers(pattern: str) -> tuple[str, ...]:
    """Every spelling of a pattern, upper case, without a leading colon."""
    return tuple(spelling for alternative in pattern.split("|") for spelling in _spellings(alternative))


def _spellings(pattern: str) -> Iterator[str]:
    optional = _OPTIONAL.search(pattern)
    if optional:
        before, after = pattern[: optional.start()], pattern[optional.end() :]
        yield from _spellings(before + after)
        yield from _spellings(before + optional.group(1) + after)
        return
    words = _MNEMONIC.findall(pattern)
    shape = _MNEMONIC.sub("{}", pattern).removeprefix(":")
    for forms in product(*({word.upper(), _short(word)} for word in words)):
        yield shape.format(*forms)


def _short(word: str) -> str:
    return "".join(letter for letter in word if not letter.islower())


class LineBuffer:
    """Whole lines out of a byte stream."""

    def __init__(self, terminator: bytes) -> None:
        self._terminator = terminator
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + data).split(self._terminator)
        return lines


class MessageFace:
    """One connection to an instrument whose messages end with LF."""

    def __init__(self, message: Callable[[bytes], bytes]) -> None:
        """`message` carries out one line and returns the bytes of its answer, none for none."""
        self._message = message
        self._lines = LineBuffer(b"\n")

    def receive(self, data: bytes) -> bytes:
        return b"".join(self._message(line) for line in self._lines.feed(data))
