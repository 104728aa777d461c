"""What a link did so far, in numbers, and its conversation while somebody watches."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

REMEMBERED = 1000  # newest requests that the latencies are of
LONGEST_TRACE = 1000  # entries kept for one who does not fetch them
LONGEST_SHOWN = 2000  # characters of one message


@dataclass(slots=True)
class LinkMetrics:
    """Requests with answer and without, errors by code, bytes of payload; latencies in s, of the newest requests."""

    requests: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    bytes_sent: int = 0
    bytes_received: int = 0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    def as_json(self, reopened: int) -> dict[str, Any]:
        """For the API; latencies in ms, None before the first answer."""
        ordered = sorted(self.latencies)
        count = len(ordered)
        return {
            "requests": self.requests,
            "errors": dict(self.errors),
            "reconnects": reopened,
            "bytes_sent": self.bytes_sent,
            "bytes_received": self.bytes_received,
            "latency_mean_ms": 1e3 * sum(ordered) / count if count else None,
            "latency_p99_ms": 1e3 * ordered[(99 * count + 99) // 100 - 1] if count else None,
            "latency_max_ms": 1e3 * ordered[-1] if count else None,
        }


@dataclass(frozen=True, slots=True)
class TraceEntry:
    """One request with its answer: when it began, unix s of wall time, how long it took, s; messages as text.

    `reopened` tells that the connection was opened again for it.
    """

    time: float
    seconds: float
    sent: tuple[str, ...]
    received: tuple[str, ...] = ()
    error: str = ""
    reopened: bool = False


class Trace:
    """The newest entries that its watcher has not taken yet; older ones are dropped and counted in `lost`."""

    def __init__(self) -> None:
        self.lost = 0
        self.arrived = asyncio.Event()
        self._entries: deque[TraceEntry] = deque(maxlen=LONGEST_TRACE)

    def add(self, entry: TraceEntry) -> None:
        self.lost += len(self._entries) == LONGEST_TRACE
        self._entries.append(entry)
        self.arrived.set()

    def take(self) -> list[TraceEntry]:
        """All entries since the last call, oldest first."""
        taken = list(self._entries)
        self._entries.clear()
        self.arrived.clear()
        return taken


def shown(message: str) -> str:
    """A message on one line: what is not printable is escaped, what is too long is cut."""
    escaped = message.encode("unicode_escape").decode("ascii")
    return escaped if len(escaped) <= LONGEST_SHOWN else f"{escaped[:LONGEST_SHOWN]}... ({len(message)} characters)"
