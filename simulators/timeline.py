"""The present of one simulated station.

Line time may jump by hours between two requests. What should have happened on the way - a watchdog that runs out, a
contactor that falls - must happen at its own moment, not when somebody asks next. So a station's present stops at
every deadline on the way to the line's present, and stands still while a request is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol


class Timed(Protocol):
    """Something that acts by itself as line time passes."""

    def deadline(self) -> float:
        """Line time [s] at which it must be looked at next; inf when nothing is pending."""
        ...

    def elapse(self) -> None:
        """Do what is due at the present moment; moves the deadline beyond it."""
        ...


class Timeline:
    """`advance` moves the physics to the present, before those that act at this moment see it."""

    def __init__(self, line_now: Callable[[], float]) -> None:
        self._line_now = line_now
        self._present = line_now()
        self._advance: Callable[[], None] = lambda: None
        self._actors: Sequence[Timed] = ()
        self._watch: Callable[[], None] | None = None

    def attach(self, advance: Callable[[], None], actors: Sequence[Timed]) -> None:
        self._advance, self._actors = advance, tuple(actors)

    def watch(self, look: Callable[[], None] | None) -> None:
        """Look whenever something may have happened: after time has passed, and after a request."""
        self._watch = look

    def noticed(self) -> None:
        """A request was carried out."""
        if self._watch is not None:
            self._watch()

    def now(self) -> float:
        """The station's present, in seconds of line time."""
        return self._present

    def catch_up(self) -> None:
        """Move the present to the line's, by way of every deadline in between."""
        target = self._line_now()
        if target <= self._present:
            return
        while (due := min((actor.deadline() for actor in self._actors), default=target)) < target:
            self._stop_at(max(due, self._present))
        self._stop_at(target)

    def settle(self) -> None:
        """Let everything act at this moment, after something was changed by hand."""
        self._stop_at(self._present)

    def _stop_at(self, moment: float) -> None:
        self._present = moment
        self._advance()
        for actor in self._actors:
            actor.elapse()
        self.noticed()
