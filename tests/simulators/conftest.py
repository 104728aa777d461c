from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from simulators.timeline import Timeline
from tests.simulators.fake_world import FakeWorld


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


@dataclass
class Stage:
    """A fake world whose time is a real timeline, so that devices meet their deadlines on the way."""

    world: FakeWorld
    timeline: Timeline
    line_time: float = 0.0

    def play(self, *actors: object) -> None:
        self.timeline.attach(self.world.advance, actors)  # type: ignore[arg-type]

    def at(self, seconds: float) -> None:
        """Let line time be so late, and let happen what happens until then."""
        self.line_time = seconds
        self.timeline.catch_up()


@pytest.fixture
def stage(world: FakeWorld) -> Stage:
    clock: list[Stage] = []
    timeline = Timeline(lambda: clock[0].line_time if clock else 0.0)
    clock.append(Stage(world, timeline))
    world.now = timeline.now  # type: ignore[method-assign]
    return clock[0]


Talk = Callable[[str], str]
