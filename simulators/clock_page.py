"""Line time shared between processes: one little-endian double in a file, written by whoever owns the clock.

An aligned store of eight bytes is seen whole or not at all, so a reader needs no lock.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

_TIME = struct.Struct("<d")


class ClockPage:
    """Reads the line time [s] another process writes. Raises OSError or ValueError when the file cannot be mapped."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._page = mmap.mmap(file.fileno(), _TIME.size, access=mmap.ACCESS_READ)

    def now(self) -> float:
        return float(_TIME.unpack_from(self._page)[0])

    def close(self) -> None:
        self._page.close()
