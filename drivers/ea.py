"""What the 10000 and 20000 series of EA Elektro-Automatik have in common, whatever protocol they are asked in.

Source: "Programming guide ModBus & SCPI for 10000 and 20000 series" (35400100). Settings are resolved to
nominal / 0xCCCC and go to 102 % of nominal, protections to 110 %, actual values to 125 % (0xFFFF).
"""

from __future__ import annotations

import math
from typing import TypeVar

from drivers.errors import SettingError

STEPS = 0xCCCC
SETTING_HEADROOM = 1.02
PROTECTION_HEADROOM = 1.10
REMOTE_LOST = "REMOTE LOST"

T = TypeVar("T")


def to_percent(value: float, nominal: float) -> int:
    """The register for a value in the unit of its nominal, 0xCCCC for 100 %, naturally rounded."""
    return round(value / nominal * STEPS)


def from_percent(register: int, nominal: float) -> float:
    """The value of a register in the unit of its nominal."""
    return nominal * register / STEPS


def is_close(read_back: float, written: float, nominal: float, resolution: float = 0.0) -> bool:
    """Whether a setting was taken: to a step of the instrument, or to the `resolution` of its answer if coarser."""
    return abs(read_back - written) <= max(resolution, nominal / STEPS) * (1 + 1e-9)


def watchdog_seconds(watchdog: float) -> int:
    """The setting of the communication watchdog in whole seconds, rather early than late; raises SettingError."""
    if not 1 <= watchdog <= 36000:
        raise SettingError(f"the communication watchdog takes 1 to 36000 s, not {watchdog:g} s")
    return math.floor(watchdog)


def check_range(name: str, value: float, unit: str, nominal: float, headroom: float) -> None:
    """Raise SettingError for a value that the instrument would not take, before it is sent."""
    if not 0 <= value <= nominal * headroom:
        raise SettingError(
            f"{name} {value:g} {unit} is outside 0..{nominal * headroom:g} {unit}, "
            f"{headroom:.0%} of nominal; check the recipe against the instrument"
        )


def compare(name: str, written: T, read_back: T) -> None:
    """Raise SettingError where a setting reads back differently."""
    if read_back != written:
        raise SettingError(f"{name}: wrote {written}, reads back {read_back}; check the instrument's limits")
