"""What can be set on an EA supply of 500 V, 90 A, 30 kW, its ratings, and the grid on which settings are held."""

from __future__ import annotations

from enum import StrEnum

FULL_SCALE = 52428  # 0xCCCC is 100 % of nominal
SETTING_SPAN = 1.02  # 0xD0E5
PROTECTION_SPAN = 1.10  # 0xE147


class OutOfRangeError(Exception):
    """Beyond the rating, or beyond an adjustment limit."""


class Quantity(StrEnum):
    """A set value, by its unit; it has a protection and adjustment limits of the same name."""

    VOLTAGE = "V"
    CURRENT = "A"
    POWER = "W"
    SINK_CURRENT = "sink A"
    SINK_POWER = "sink W"

    @property
    def nominal(self) -> float:
        return {"V": 500.0, "A": 90.0, "W": 30000.0}[self.unit]

    @property
    def unit(self) -> str:
        return self.value[-1]

    @property
    def is_sink(self) -> bool:
        return self.value.startswith("sink")

    @property
    def step(self) -> float:
        """The least difference of two settings."""
        return self.nominal / FULL_SCALE

    def on_grid(self, value: float) -> float:
        return round(value / self.step) * self.step

    def between(self, low: float, high: float, value: float) -> float:
        """The value on the grid; raises OutOfRangeError. Half a step of tolerance, for round limits."""
        if not low - self.step / 2 <= value <= high + self.step / 2:
            raise OutOfRangeError
        return self.on_grid(value)
