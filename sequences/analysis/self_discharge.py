"""Self-discharge from two open-circuit voltages days apart."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sequences.analysis.estimate import Estimate, UnmeasurableError

DAY = 86400.0
MONTH = 30 * DAY
MIN_DAYS = 0.5
# V/K a cell: the entropic part of a lithium-ion cell's open-circuit voltage stays within it over most states of charge;
# with both temperatures known it is the error that their difference can make
TEMPERATURE_COEFFICIENT = 0.3e-3


@dataclass(frozen=True, slots=True)
class RestVoltage:
    """An open-circuit voltage in V of one cell, when it was taken (s), and the temperature (degC) if anybody knows."""

    voltage: Estimate
    time: float
    temperature: float | None = None


@dataclass(frozen=True, slots=True)
class SelfDischarge:
    """Loss of voltage in V/day, and of charge as a fraction a month of 30 days where dOCV/dSOC is known."""

    voltage: Estimate
    charge: Estimate | None


def from_voltages(
    before: RestVoltage, after: RestVoltage, slope: Estimate | None = None, min_days: float = MIN_DAYS
) -> SelfDischarge:
    """Self-discharge between two rests without current between them; positive is a loss.

    `slope` is dOCV/dSOC in V per unit of state of charge at that voltage. The uncertainty takes in both voltages, and
    0.3 mV/K times the difference of the temperatures, or times 2 K where one is unknown. Raises UnmeasurableError for
    less than `min_days` between, and for a plateau, where the voltage does not tell the charge.
    """
    days = (after.time - before.time) / DAY
    if days < min_days:
        raise UnmeasurableError(f"{days:.2f} days between two voltages, {min_days:g} are asked for")
    lost = before.voltage.value - after.voltage.value
    detail: dict[str, float | str] = {"days": days}
    if before.temperature is None or after.temperature is None:
        kelvin = 2.0
        detail["temperature"] = "unknown"
    else:
        kelvin = abs(after.temperature - before.temperature)
        detail |= {"before_degc": before.temperature, "after_degc": after.temperature}
    spread = math.hypot(before.voltage.uncertainty, after.voltage.uncertainty, TEMPERATURE_COEFFICIENT * kelvin)
    rows = before.voltage.rows + after.voltage.rows
    voltage = Estimate(lost / days, spread / days, "V/day", rows, detail)
    if slope is None:
        return SelfDischarge(voltage, None)
    if slope.value <= 2 * slope.uncertainty:
        raise UnmeasurableError("the open-circuit voltage does not tell the state of charge here")
    share, months = lost / slope.value, days * DAY / MONTH
    share_spread = math.hypot(spread / slope.value, share * slope.relative)
    return SelfDischarge(voltage, Estimate(share / months, share_spread / months, "1/month", rows + slope.rows, detail))
