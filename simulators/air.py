"""The air around the battery: the room's, or a climatic chamber's on its way to a set point.

A chamber's air follows its set point with a first-order lag, and no faster than the machine can heat and cool the
chamber with a battery in it. Switched off, it drifts back to the room's temperature through the chamber's walls.
"""

from __future__ import annotations

import math

# a walk-in chamber loaded with a pack
LAG_S = 180.0
MAX_RAMP_K_PER_S = 1.0 / 60
WALL_LAG_S = 7200.0
# nearer than this, the air has arrived: less than any sensor here resolves
_ARRIVED_K = 1e-3


class Air:
    """Temperatures in degC. `set_point` None: nothing conditions the air."""

    def __init__(self, room_degc: float) -> None:
        self.room_degc = room_degc
        self.degc = room_degc
        self.set_point: float | None = None

    @property
    def moving(self) -> bool:
        """Whether the air is still on its way."""
        return self.degc != self._target

    def after(self, seconds: float) -> float:
        """Temperature `seconds` from now: linear while the ramp limits it, exponential from there; exact."""
        target = self._target
        lag = WALL_LAG_S if self.set_point is None else LAG_S
        gap = target - self.degc
        limited_gap = min(abs(gap), MAX_RAMP_K_PER_S * lag)
        ramp_seconds = (abs(gap) - limited_gap) / MAX_RAMP_K_PER_S
        if seconds <= ramp_seconds:
            return self.degc + math.copysign(MAX_RAMP_K_PER_S * seconds, gap)
        left = limited_gap * math.exp(-(seconds - ramp_seconds) / lag)
        return target if left < _ARRIVED_K else target - math.copysign(left, gap)

    def pass_time(self, seconds: float) -> None:
        self.degc = self.after(seconds)

    @property
    def _target(self) -> float:
        return self.room_degc if self.set_point is None else self.set_point
