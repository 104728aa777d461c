"""A station as the edge node keeps it: its newest readings, what of them was reported, and what waits for its host."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from controller.sparkplug.payload import DataType, Metric, MetricValue, Quality

BATCH = 200  # stored values in one message


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """What a metric is. It is reported when it has moved by more than `deadband` (in its unit), or changed if it is no
    float. A `measured` one has a quality; a `writable` one can be commanded and reads false or empty."""

    name: str
    datatype: DataType
    unit: str = ""
    deadband: float = 0.0
    measured: bool = False
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """What moved at one time (unix ms): places among the device's metrics, with their values."""

    time: int
    values: tuple[tuple[int, MetricValue], ...]


@dataclass
class Device:
    """Readings in the order of `specs`, the alias of the first of which is `first_alias`."""

    specs: tuple[MetricSpec, ...]
    first_alias: int
    alive: bool = False
    time: int = 0  # ms, of the newest readings; 0 before the first ones
    newest: tuple[MetricValue, ...] = field(init=False)
    reported: list[MetricValue] = field(init=False)
    stored: deque[Change] = field(default_factory=deque)
    stored_count: int = 0

    def __post_init__(self) -> None:
        self.newest = (None,) * len(self.specs)
        self.reported = list(self.newest)

    # ------------------------------------------------------------------------------------------- readings

    def read(self, values: Sequence[MetricValue], time: int) -> Change:
        """Take readings of this time (ms) in; returns what moved beyond its deadband since it was reported."""
        self.newest = tuple(
            None if isinstance(value, float) and not math.isfinite(value) else value for value in values
        )
        self.time = max(time, self.time)
        trios = enumerate(zip(self.specs, self.reported, self.newest, strict=True))
        return Change(self.time, tuple((place, new) for place, (spec, old, new) in trios if _moved(spec, old, new)))

    def is_reported(self, change: Change) -> None:
        """The change is sent or stored: what follows is held against it."""
        for place, value in change.values:
            self.reported[place] = value

    def birth(self, time: int) -> tuple[Metric, ...]:
        """Every metric with its newest value, all of which is reported with it."""
        self.reported = list(self.newest)
        metrics = enumerate(zip(self.specs, self.newest, strict=True), self.first_alias)
        return tuple(
            Metric(value, spec.datatype, spec.name, alias, time, False, _quality(spec, value), spec.unit)
            for alias, (spec, value) in metrics
        )

    def data(self, change: Change, *, historical: bool = False) -> tuple[Metric, ...]:
        """The change as metrics; a quality is told when it is another one than was reported."""
        metrics = []
        for place, value in change.values:
            spec, quality = self.specs[place], None
            if historical or (value is None) != (self.reported[place] is None):
                quality = _quality(spec, value)
            alias = self.first_alias + place
            metrics.append(Metric(value, spec.datatype, "", alias, change.time, historical, quality))
        return tuple(metrics)

    # ------------------------------------------------------------------------------------------- store and forward

    def store(self, change: Change, keep: int) -> int:
        """Keep the newest change for later; returns how many of the oldest values went, beyond `keep` of them."""
        self.stored.append(change)
        self.stored_count += len(change.values)
        return self._bound(keep)

    def put_back(self, changes: Iterable[Change], keep: int) -> int:
        """Keep changes of any age; returns what `store` does."""
        self.stored = deque(sorted((*self.stored, *changes), key=lambda change: change.time))
        self.stored_count = sum(len(change.values) for change in self.stored)
        return self._bound(keep)

    def _bound(self, keep: int) -> int:
        before = self.stored_count
        while self.stored_count > keep:
            self.stored_count -= len(self.stored.popleft().values)
        return before - self.stored_count

    def next_stored(self) -> tuple[Change, ...]:
        """The oldest changes, which are kept no longer: about `BATCH` values of them."""
        changes, count = [], 0
        while self.stored and count < BATCH:
            changes.append(self.stored.popleft())
            count += len(changes[-1].values)
        self.stored_count -= count
        return tuple(changes)


def _moved(spec: MetricSpec, old: MetricValue, new: MetricValue) -> bool:
    if spec.deadband and isinstance(old, float) and isinstance(new, float):
        return abs(new - old) > spec.deadband
    return old != new


def _quality(spec: MetricSpec, value: MetricValue) -> Quality | None:
    if not spec.measured:
        return None
    return Quality.BAD if value is None else Quality.GOOD
