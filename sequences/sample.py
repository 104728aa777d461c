"""One scan of a station: values with their time, quality and source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Quality(StrEnum):
    """GOOD: measured in this scan. STALE: the newest good value, from an earlier scan. BAD: there is none."""

    GOOD = "good"
    STALE = "stale"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Value:
    """One measured value in inner units, the line time it was taken, and the instrument it came from."""

    value: float
    t: float
    quality: Quality
    source: str


@dataclass(frozen=True, slots=True)
class Counters:
    """Charge and energy since the run began: Ah and Wh, each direction apart, never reset."""

    charged_ah: float = 0.0
    discharged_ah: float = 0.0
    charged_wh: float = 0.0
    discharged_wh: float = 0.0

    @property
    def net_ah(self) -> float:
        return self.charged_ah - self.discharged_ah

    @property
    def net_wh(self) -> float:
        return self.charged_wh - self.discharged_wh


@dataclass(frozen=True, slots=True)
class Sample:
    """A scan at line time t (unix s). Scalars by name, cell voltages in V and temperatures in degC by position.

    Names: voltage, current, power, output_on, cell_min, cell_max, cell_spread, temperature_min, temperature_max,
    temperature_rise (K/s), insulation (ohm), soc, and the interlock's inputs as 0 or 1.
    """

    t: float
    values: Mapping[str, Value]
    cells: tuple[float | None, ...] = ()
    temperatures: tuple[float | None, ...] = ()
    counters: Counters = field(default_factory=Counters)

    def good(self, name: str) -> float | None:
        """The value if it is good, else None: a bad or stale value never decides anything in a recipe."""
        value = self.values.get(name)
        return value.value if value is not None and value.quality is Quality.GOOD else None


def integrate(before: Counters, t0: float, i0: float, v0: float, t1: float, i1: float, v1: float) -> Counters:
    """Add the charge and energy between two measured points; the one place where Ah and Wh are made.

    Trapezoidal in current and power over the time stamps; where the current changes sign both parts are counted in
    their own direction. Currents in A (+ charges), voltages in V, times in s.
    """
    hours = (t1 - t0) / 3600.0
    charged, discharged = _halves(i0, i1)
    charged_w, discharged_w = _halves(i0 * v0, i1 * v1)
    return Counters(
        before.charged_ah + charged * hours,
        before.discharged_ah + discharged * hours,
        before.charged_wh + charged_w * hours,
        before.discharged_wh + discharged_w * hours,
    )


def _halves(a: float, b: float) -> tuple[float, float]:
    """Mean positive and mean negative part of a line from a to b, both as magnitudes."""
    if a >= 0 and b >= 0:
        return (a + b) / 2, 0.0
    if a <= 0 and b <= 0:
        return 0.0, -(a + b) / 2
    crossing = a / (a - b)  # share of the interval before the line crosses zero
    first, second = abs(a) * crossing / 2, abs(b) * (1 - crossing) / 2
    return (first, second) if a > 0 else (second, first)
