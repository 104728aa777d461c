"""A result with its uncertainty and where it came from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

Detail = Mapping[str, float | str]
Rows = tuple[tuple[int, int], ...]

ROOT_12 = math.sqrt(12.0)  # a rectangular distribution of full width w has the standard deviation w / sqrt 12


@dataclass(frozen=True, slots=True)
class Estimate:
    """`value` and its standard uncertainty (k = 1), both in `unit`; inside that is V, A, W, Ah, Wh, ohm, degC, s or 1.

    `rows` are the sample ranges the value was computed from, first and last included; empty when it came from single
    readings. `detail` holds the conditions a comparison needs: times, currents, ends.
    """

    value: float
    uncertainty: float
    unit: str
    rows: Rows = ()
    detail: Detail = field(default_factory=dict)

    @property
    def relative(self) -> float:
        """Relative standard uncertainty; infinite where the value is zero."""
        return self.uncertainty / abs(self.value) if self.value else math.inf


class UnmeasurableError(ValueError):
    """The samples do not hold what a quantity needs; the message says what is missing."""


def ratio(above: Estimate, below: Estimate, unit: str = "1", **detail: float | str) -> Estimate:
    """`above / below` of two independent estimates. Raises UnmeasurableError when the divisor is not above zero."""
    if not below.value > 0:
        raise UnmeasurableError("divided by something that is not above zero")
    value = above.value / below.value
    uncertainty = math.hypot(above.uncertainty, value * below.uncertainty) / below.value
    return Estimate(value, uncertainty, unit, above.rows + below.rows, detail)
