"""What an instrument says without being asked: a code that somebody scanned, the end of a test."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

KEPT = 64


class Unasked:
    """Lines for everybody who is connected when they are said; of more than 64 that nobody fetched, the newest."""

    def __init__(self) -> None:
        self._newest: deque[bytes] = deque(maxlen=KEPT)
        self._said = 0

    def say(self, line: bytes) -> None:
        self._newest.append(line)
        self._said += 1

    def listener(self) -> Callable[[], bytes]:
        """For one connection: a function that returns what was said since it was called last."""
        heard = self._said

        def fetch() -> bytes:
            nonlocal heard
            new, heard = self._said - heard, self._said
            return b"".join(list(self._newest)[-new:]) if new else b""

        return fetch
