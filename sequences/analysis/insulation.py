"""Insulation resistance by the two-voltmeter method, and what it is a volt."""

from __future__ import annotations

import math

from sequences.analysis.estimate import Estimate, UnmeasurableError

LIMIT_DC = 100.0  # ohm/V, UN R100 and ISO 6469-1 for a DC circuit
LIMIT_AC = 500.0  # ohm/V, where it is connected with an AC circuit
SUM_TOLERANCE = 0.05


def two_voltmeters(
    total: float, negative: float, positive: float, inserted: float, known: float,
    *, voltage_uncertainty: float = 0.0, known_uncertainty: float = 0.0, meter: float = math.inf,
) -> Estimate:  # fmt: skip
    """Insulation resistance in ohm of the weaker pole (UN R100 Annex 5B, ISO 6469-1).

    `total` between the poles, `negative` and `positive` from that pole to the chassis, all in V; `inserted` is the
    higher of the two again with the `known` resistance (ohm) beside it: V1' on the negative side when V1 >= V2, V2' on
    the positive side otherwise. Ri = R0 (Vb/V' - Vb/V), of the pole opposite the higher voltage. The meter's own
    resistance lies beside V and V' alike and cancels; the other pole's resistance, in `detail`, is corrected for it.
    Uncertainties are standard ones (k = 1), in V for each reading and in ohm.

    Raises UnmeasurableError when the readings contradict each other.
    """
    higher, lower = max(negative, positive), min(negative, positive)
    side = "positive" if negative >= positive else "negative"
    if not (total > 0 and higher > 0 and lower >= 0 and inserted > 0 and known > 0):
        raise UnmeasurableError("voltages and the known resistance must be above zero")
    if negative + positive > (1 + SUM_TOLERANCE) * total + 3 * voltage_uncertainty:
        raise UnmeasurableError("the two voltages to the chassis are more than the voltage between the poles")
    if inserted >= higher:
        raise UnmeasurableError("the known resistance did not lower the voltage it lies beside")
    difference = 1 / inserted - 1 / higher
    value = known * total * difference
    spread = math.hypot(
        value * known_uncertainty / known,
        known * difference * voltage_uncertainty,
        known * total * voltage_uncertainty / inserted**2,
        known * total * voltage_uncertainty / higher**2,
    )
    # the voltage divider of both poles, the higher side with the meter beside it
    beside = value * higher / (total - higher) if total > higher else math.inf
    other = beside if math.isinf(meter) else _without(beside, meter)
    return Estimate(value, spread, "ohm", (), {"weaker_pole": side, "other_pole_ohm": other, "known_ohm": known})


def _without(both: float, meter: float) -> float:
    """What lies beside the meter, from the two in parallel."""
    return math.inf if both >= meter else both * meter / (meter - both)


def per_volt(resistance: Estimate, voltage: float, limits: tuple[float, float] = (LIMIT_DC, LIMIT_AC)) -> Estimate:
    """Insulation in ohm/V at the highest working voltage in V; `detail` says which of the two limits it keeps.

    A limit is kept when the value less twice its uncertainty lies above it.
    """
    if not voltage > 0:
        raise UnmeasurableError("the working voltage must be above zero")
    value, spread = resistance.value / voltage, resistance.uncertainty / voltage
    dc, ac = limits
    sure = value - 2 * spread
    keeps = "AC" if sure >= ac else "DC" if sure >= dc else "none"
    return Estimate(value, spread, "ohm/V", resistance.rows, {"keeps": keeps, "limit_dc": dc, "limit_ac": ac})
