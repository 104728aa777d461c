"""What of the outbox is open, in memory: how much, how old, and what is next, without asking the disk."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OpenMessage:
    """A message that waits for its delivery, or that somebody refused; t is line time, size its bytes of JSON."""

    seq: int
    id: str
    topic: str
    t: float
    size: int


class OpenMessages:
    """The open rows of the outbox in order. Kept by the journal; others only read.

    `max_messages` and `max_bytes` bound them: beyond, `full` says so, and nothing new may begin. What has begun still
    gets its messages in, since a bound that loses something would be worse than none.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.max_messages = self.max_bytes = 0  # no bound
        self.bytes = 0
        self.waiting: dict[int, OpenMessage] = {}
        self.refused: dict[int, OpenMessage] = {}
        self._by_id: dict[tuple[str, str], int] = {}
        rows = connection.execute(
            "SELECT outbox.seq, id, topic, coalesce(t, 0), length(payload), refused FROM outbox"
            " LEFT JOIN events ON events.seq = event WHERE sent IS NOT id ORDER BY outbox.seq"
        )
        for *row, refusal in rows:
            self._add(OpenMessage(*row), self.waiting if refusal is None else self.refused)

    def __len__(self) -> int:
        return len(self.waiting) + len(self.refused)

    def add(self, messages: Iterable[OpenMessage]) -> None:
        for message in messages:
            self._add(message, self.waiting)

    def close(self, seq: int) -> None:
        """A message that was delivered; one that is not open is none of our business."""
        message = self.waiting.pop(seq, None) or self.refused.pop(seq, None)
        if message is not None:
            self.bytes -= message.size
            self._by_id.pop((message.topic, message.id), None)

    def refuse(self, seq: int) -> None:
        self.refused[seq] = self.waiting.pop(seq)

    def reopen(self, seq: int) -> None:
        self.waiting[seq] = self.refused.pop(seq)

    def find(self, topic: str, id: str) -> int | None:
        """The open row of this message."""
        return self._by_id.get((topic, id))

    def age(self, now: float) -> float:
        """How long the oldest waiting message has been waiting, s of line time; 0 when none waits."""
        oldest = min(self.waiting, default=None)
        return max(0.0, now - self.waiting[oldest].t) if oldest is not None else 0.0

    @property
    def full(self) -> str:
        """Why nothing new may begin; empty when it may."""
        if self.max_messages and len(self) >= self.max_messages:
            return f"{len(self)} messages wait for the MES, {self.max_messages} may"
        if self.max_bytes and self.bytes >= self.max_bytes:
            return f"{self.bytes / 1e6:.1f} MB wait for the MES, {self.max_bytes / 1e6:g} MB may"
        return ""

    def _add(self, message: OpenMessage, where: dict[int, OpenMessage]) -> None:
        where[message.seq] = message
        self._by_id[message.topic, message.id] = message.seq
        self.bytes += message.size
