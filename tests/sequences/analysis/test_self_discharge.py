"""Self-discharge in mV a day and % a month, with the temperatures it was taken at."""

from __future__ import annotations

import pytest

from sequences.analysis import Estimate, RestVoltage, UnmeasurableError, from_voltages

DAY = 86400.0
SLOPE = Estimate(1.2, 0.12, "V")


def at(volts: float, day: float, degc: float | None = 25.0) -> RestVoltage:
    return RestVoltage(Estimate(volts, 1e-4, "V", ((int(day), int(day)),)), day * DAY, degc)


def test_a_voltage_that_fell_in_three_days() -> None:
    found = from_voltages(at(3.7000, 0), at(3.6964, 3), SLOPE)
    assert (found.voltage.value, found.voltage.unit) == (pytest.approx(1.2e-3), "V/day")
    assert found.voltage.uncertainty == pytest.approx(1.4142e-4 / 3, rel=1e-3)
    assert found.charge is not None
    assert found.charge.value == pytest.approx(3.6e-3 / 1.2 * 10)  # 0.3 % in three days, 3 % a month
    assert found.charge.relative == pytest.approx((0.1**2 + (1.4142e-4 / 3.6e-3) ** 2) ** 0.5, rel=1e-3)
    assert found.voltage.detail == {"days": 3.0, "before_degc": 25.0, "after_degc": 25.0}
    assert found.charge.rows == ((0, 0), (3, 3))


def test_without_the_slope_there_is_no_charge() -> None:
    assert from_voltages(at(3.7, 0), at(3.69, 3)).charge is None


def test_a_difference_of_temperature_is_uncertainty() -> None:
    warm = from_voltages(at(3.7, 0, 25.0), at(3.6964, 3, 30.0))
    assert warm.voltage.uncertainty == pytest.approx(5 * 0.3e-3 / 3, rel=0.01)
    unknown = from_voltages(at(3.7, 0, None), at(3.6964, 3, 25.0))
    assert unknown.voltage.detail["temperature"] == "unknown"
    assert unknown.voltage.uncertainty > from_voltages(at(3.7, 0), at(3.6964, 3)).voltage.uncertainty


def test_hours_are_not_days() -> None:
    with pytest.raises(UnmeasurableError, match=r"0\.25 days between two voltages, 0\.5 are asked for"):
        from_voltages(at(3.7, 0), at(3.6999, 0.25))


def test_a_plateau_does_not_tell_the_charge() -> None:
    with pytest.raises(UnmeasurableError, match="does not tell the state of charge"):
        from_voltages(at(3.33, 0), at(3.3299, 3), Estimate(0.01, 0.02, "V"))
