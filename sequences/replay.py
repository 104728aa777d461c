"""Going through what a run did before: the program walks the same way again, without a sample or an instrument."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from sequences.record import Decision, StepRecord, StepStart

Event = StepStart | StepRecord | Decision


class ReplayError(Exception):
    """What is told of a run cannot have happened to its recipe."""


class Story:
    """The events of a run in their order, each taken once, by whom it happened to."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._left = deque(events)

    def __len__(self) -> int:
        return len(self._left)

    @property
    def next_label(self) -> str:
        return self._left[0].label

    def start_of(self, label: str) -> StepStart:
        event = self._next(label)
        if not isinstance(event, StepStart) or event.label != label:
            raise ReplayError(f"{label} began, but {event.label} is told of instead")
        return event

    def starts_again(self, label: str) -> bool:
        """Whether a step that was at work begins anew here: it was interrupted."""
        return bool(self._left) and isinstance(self._left[0], StepStart) and self._left[0].label == label

    def end_of(self, index: int) -> StepRecord | None:
        """The record of a step run, if it ended here."""
        if self._left and isinstance(event := self._left[0], StepRecord) and event.index == index:
            self._left.popleft()
            return event
        return None

    def decision(self, label: str) -> bool:
        event = self._next(label)
        if not isinstance(event, Decision) or event.label != label:
            raise ReplayError(f"{label} was decided, but {event.label} is told of instead")
        return event.taken

    def decides(self, label: str) -> bool:
        """Whether what is told next is this decision."""
        return bool(self._left) and isinstance(self._left[0], Decision) and self._left[0].label == label

    def _next(self, label: str) -> Event:
        if not self._left:
            raise ReplayError(f"nothing is told of {label}, which came at the same moment as what is told last")
        return self._left.popleft()
