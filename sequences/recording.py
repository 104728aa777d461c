"""Which samples of a step are kept: an interval, changes, and bursts around the current's edges. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from sequences.sample import Sample
from sequences.step import Record

EDGE = 0.02  # of the rated capacity per hour: a change of current that is an edge


class Keeper:
    """Decides for the samples of one station, in order; `None` as a rule keeps them all."""

    def __init__(self, rated_capacity: float) -> None:
        self._rated_capacity = rated_capacity
        self._rule: Record | None = None
        self._kept: Sample | None = None
        self._waiting: deque[Sample] = deque()  # not kept so far, but a burst may still want them
        self._edge: float | None = None
        self._previous: float | None = None

    def use(self, rule: Record | None) -> None:
        self._rule = rule

    @property
    def bursting(self) -> float | None:
        """Sampling period that a burst wants now, s."""
        rule = self._rule
        if rule is None or self._edge is None or self._previous is None or not rule.burst:
            return None
        return rule.burst_every

    def keep(self, sample: Sample) -> Iterator[Sample]:
        """The samples to record now, oldest first: this one, some before it, or none."""
        rule = self._rule
        current = sample.good("current")
        if current is not None:
            if self._previous is not None and abs(current - self._previous) > EDGE * self._rated_capacity:
                self._edge = sample.t
            self._previous = current
        if rule is None:
            self._waiting.clear()
            self._kept = sample
            yield sample
            return
        if self._edge is not None and sample.t - self._edge > rule.burst:
            self._edge = None
        if self._edge is not None and rule.burst:
            while self._waiting:
                earlier = self._waiting.popleft()
                if earlier.t >= self._edge - rule.burst:
                    yield earlier
        elif not self._due(sample, rule):
            self._waiting.append(sample)
            while self._waiting and self._waiting[0].t < sample.t - rule.burst:
                self._waiting.popleft()
            return
        self._waiting.clear()
        self._kept = sample
        yield sample

    def settle(self) -> Iterator[Sample]:
        """The newest sample, if it was not kept: a step ends with it. And what a burst would want before it, since an
        edge comes with most ends."""
        while self._waiting:
            self._kept = self._waiting.popleft()
            yield self._kept

    def _due(self, sample: Sample, rule: Record) -> bool:
        kept = self._kept
        if kept is None or sample.t - kept.t >= rule.every - 1e-6:
            return True
        current = rule.current.amperes(self._rated_capacity) if rule.current is not None else None
        changes = (
            ("cell_min", rule.voltage),
            ("cell_max", rule.voltage),
            ("current", current),
            ("temperature_max", rule.temperature),
        )
        return any(step is not None and _moved(kept.good(name), sample.good(name), step) for name, step in changes)


def _moved(before: float | None, after: float | None, step: float) -> bool:
    if before is None or after is None:
        return before is not after
    return abs(after - before) >= step
