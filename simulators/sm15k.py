"""Delta Elektronika SM15K: a bidirectional DC supply of 15 kW, or several of them in parallel. The device itself.

Source: "Ethernet & Sequencer Programming SM15K", rev. Aug. 2019. Choices where it is silent: a limit that is switched
on below what is set takes the setting with it; a setting beyond a limit is refused; remote shutdown switches the output
off and keeps it from being switched on; several units are one of so many times the current and the power.
"""

from __future__ import annotations

import math
import re
from enum import Enum
from typing import ClassVar

from simulators.faults import Faults, Texts, measured
from simulators.world import Source, World

POWER_W = 15000.0
WATCHDOG_MS = (20, 10_000)
WATCHDOG_OFF = -1.0

_MODEL = re.compile(r"SM([0-9]+)-CP-([0-9]+)")
DEFAULT_MODEL = "SM500-CP-90"


class RefusedError(Exception):
    """The device cannot do that, or not now."""


class Setting(Enum):
    """What can be set, by its header under SOURce and SYSTem:LIMits; NEGative values are negative numbers."""

    VOLTAGE = "VOLtage"
    CURRENT = "CURrent"
    SINK_CURRENT = "CURrent:NEGative"
    POWER = "POWer"
    SINK_POWER = "POWer:NEGative"

    @property
    def control(self) -> str:
        """Which of the three controls it belongs to."""
        return {"V": "CV", "C": "CC", "P": "CP"}[self.value[0]]


class Counter:
    """The Ah or Wh instrument: what flowed in and out since it was switched on."""

    def __init__(self) -> None:
        self.since: float | None = None
        self._start = (0.0, 0.0)

    def switch(self, on: bool, now: float, totals: tuple[float, float]) -> None:
        """Switching it on again begins anew."""
        self.since, self._start = (now, totals) if on else (None, (0.0, 0.0))

    def read(self, totals: tuple[float, float]) -> tuple[float, float]:
        """Positive and negative; zero while it is off."""
        if self.since is None:
            return 0.0, 0.0
        return totals[0] - self._start[0], -(totals[1] - self._start[1])


class Sm15k:
    """The device at the terminals of a simulated battery. Volts, amperes and watts; positive charges the battery."""

    FAULTS: ClassVar[Texts] = {
        **measured("stuck", "drift", "sign_flip", "polarity_reversed", "open_lead", "range_clip", "overrange"),
        "wrong_identity": "Another serial number.",
        "output_refuses_off": "The output stays on although it is told to switch off.",
        "watchdog_trip": "The watchdog runs out, whatever traffic there is: the output goes off.",
    }

    def __init__(self, world: World, serial: str, model: str = DEFAULT_MODEL, units: int = 1) -> None:
        """Raises ValueError for a model that is none of the family."""
        match = _MODEL.fullmatch(model)
        if match is None:
            raise ValueError(f"{model!r} is no SM15K, like {DEFAULT_MODEL}")
        volts, amperes = float(match[1]), float(match[2]) * units
        self.world, self.serial, self.model, self.units = world, serial, model, units
        self.ratings = {
            Setting.VOLTAGE: volts,
            Setting.CURRENT: amperes,
            Setting.SINK_CURRENT: -amperes,
            Setting.POWER: POWER_W * units,
            Setting.SINK_POWER: -POWER_W * units,
        }
        self.levels = dict.fromkeys(Setting, 0.0)
        self.limits = {setting: (rating, False) for setting, rating in self.ratings.items()}
        self.controls = {"CV": "Front", "CC": "Front", "CP": "Front"}
        self.output_on = self.shut_down = False
        self.counters = {"AH": Counter(), "WH": Counter()}
        self.watchdog_ms = 0
        self._watchdog_ends = math.inf
        self._ran_out = False
        self._faults: Faults = frozenset()

    @property
    def faults(self) -> Faults:
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        trips = "watchdog_trip" in faults - self._faults
        self._faults = faults
        if trips:
            self._run_out()

    def power_off(self) -> None:
        """Nothing holds the output any more."""
        self.output_on = False
        self.world.drive(None)

    # --- settings ----------------------------------------------------------------------------------------------

    def set_level(self, setting: Setting, value: float) -> None:
        if self.controls[setting.control] != "Ethernet":
            raise RefusedError("not controlled from Ethernet")
        limit, on = self.limits[setting]
        bound = limit if on else self.ratings[setting]
        if not min(0.0, bound) <= value <= max(0.0, bound):
            raise RefusedError("outside the limits")
        self.levels[setting] = value
        self._drive()

    def set_limit(self, setting: Setting, value: float, on: bool) -> None:
        rating = self.ratings[setting]
        if not min(0.0, rating) <= value <= max(0.0, rating):
            raise RefusedError("outside the ratings")
        self.limits[setting] = (value, on)
        if on and abs(self.levels[setting]) > abs(value):
            self.levels[setting] = value
            self._drive()

    # --- output ------------------------------------------------------------------------------------------------

    def switch_output(self, on: bool) -> None:
        if on and self.shut_down:
            raise RefusedError("remote shutdown is active")
        if not on and "output_refuses_off" in self.faults:
            raise RefusedError("simulated fault")
        self._switch(on)

    def set_shut_down(self, active: bool) -> None:
        self.shut_down = active
        if active:
            self._switch(False)

    def _switch(self, on: bool) -> None:
        self.output_on = on
        self._drive()

    def _drive(self) -> None:
        levels = self.levels
        source = Source(
            voltage=levels[Setting.VOLTAGE],
            charge_current=levels[Setting.CURRENT],
            discharge_current=-levels[Setting.SINK_CURRENT],
            charge_power=levels[Setting.POWER],
            discharge_power=-levels[Setting.SINK_POWER],
        )
        self.world.drive(source if self.output_on else None)

    # --- counters ----------------------------------------------------------------------------------------------

    def totals(self, counter: str) -> tuple[float, float]:
        """What flowed into the battery and out of it so far, Ah or Wh."""
        world = self.world
        if counter == "AH":
            return world.charged_ah, world.discharged_ah
        return world.charged_wh, world.discharged_wh

    # --- watchdog ----------------------------------------------------------------------------------------------

    def traffic(self) -> None:
        """A valid command came: the watchdog starts anew."""
        if self._watchdog_ends < math.inf:
            self._watchdog_ends = self.world.now() + self.watchdog_ms / 1000

    def set_watchdog(self, milliseconds: float) -> None:
        self.watchdog_ms, self._ran_out = int(milliseconds), False
        self._watchdog_ends = self.world.now() + milliseconds / 1000

    def stop_watchdog(self) -> None:
        self.watchdog_ms, self._ran_out, self._watchdog_ends = 0, False, math.inf

    def take_watchdog_state(self) -> int:
        """ms left; 0 once after it ran out; -1 while it is off."""
        if self._watchdog_ends < math.inf:
            return math.ceil(1000 * (self._watchdog_ends - self.world.now()))
        ran_out, self._ran_out = self._ran_out, False
        return 0 if ran_out else int(WATCHDOG_OFF)

    def deadline(self) -> float:
        return self._watchdog_ends

    def elapse(self) -> None:
        if self.world.now() >= self._watchdog_ends:
            self._run_out()

    def _run_out(self) -> None:
        self._watchdog_ends, self._ran_out = math.inf, True
        self._switch(False)
