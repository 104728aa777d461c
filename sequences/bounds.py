"""The limits a run is held to: the recipe's safety block cut down to what battery and station stand."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sequences.dut import Dut, StationLimits
from sequences.safety import Safety


@dataclass(frozen=True, slots=True)
class Bound:
    """One limit on one signal of a sample, inner units; `side` is +1 for an upper limit and -1 for a lower one."""

    name: str
    signal: str
    side: int
    warn: float
    trip: float
    delay: float
    unit: str

    def passed(self, value: float, level: float) -> bool:
        return value > level if self.side > 0 else value < level


def effective_bounds(safety: Safety, dut: Dut, station: StationLimits, *, takes_empty: bool = False) -> list[Bound]:
    """Every bound of a run, each the tightest of recipe, battery and station. Steps cannot reach these.

    With `takes_empty` the recipe's own lower voltage limits stand in place of the battery's.
    """
    cells, rated = dut.series_cells, dut.rated_capacity
    lowest = 0.0 if takes_empty else dut.cell_voltage_hard_min

    def upper(name: str, signal: str, warn: float, trip: float, delay: float, unit: str, *most: float) -> Bound:
        ceiling = min([trip, *most])
        return Bound(name, signal, +1, min(warn, ceiling), ceiling, delay, unit)

    def lower(name: str, signal: str, warn: float, trip: float, delay: float, unit: str, *least: float) -> Bound:
        floor = max([trip, *least])
        return Bound(name, signal, -1, max(warn, floor), floor, delay, unit)

    s = safety
    charge, discharge = s.charge_current, s.discharge_current
    high, low = s.voltage_max, s.voltage_min
    hot, cold, rise = s.temperature_max, s.temperature_min, s.temperature_rise
    cell_high, cell_low, spread = s.cell_voltage_max, s.cell_voltage_min, s.cell_spread
    # bounds on currents may exceed the rating by the instrument's accuracy before they count as passed
    overshoot = 1.1
    return [
        upper("cell_voltage_max", "cell_max", cell_high.warn, cell_high.trip, cell_high.delay, "V",
              dut.cell_voltage_hard_max),
        lower("cell_voltage_min", "cell_min", cell_low.warn, cell_low.trip, cell_low.delay, "V",
              lowest),
        upper("cell_spread", "cell_spread", spread.warn, spread.trip, spread.delay, "V"),
        upper("voltage_max", "voltage", high.warn * cells, high.trip * cells, high.delay, "V",
              dut.cell_voltage_hard_max * cells, station.max_voltage),
        lower("voltage_min", "voltage", low.warn * cells, low.trip * cells, low.delay, "V",
              lowest * cells),
        upper("charge_current", "charge_current", charge.warn.amperes(rated), charge.trip.amperes(rated),
              charge.delay, "A", overshoot * dut.max_charge_current, overshoot * station.max_charge_current),
        upper("discharge_current", "discharge_current", discharge.warn.amperes(rated), discharge.trip.amperes(rated),
              discharge.delay, "A", overshoot * dut.max_discharge_current, overshoot * station.max_discharge_current),
        upper("temperature_max", "temperature_max", hot.warn, hot.trip, hot.delay, "degC", dut.temperature_max),
        lower("temperature_min", "temperature_min", cold.warn, cold.trip, cold.delay, "degC", dut.temperature_min),
        upper("temperature_rise", "temperature_rise", rise.warn, rise.trip, rise.delay, "K/s"),
        lower("insulation", "insulation", s.insulation.warn * dut.nominal_voltage,
              s.insulation.trip * dut.nominal_voltage, s.insulation.delay, "ohm"),
        upper("total_throughput", "throughput", s.total_throughput.warn * rated, s.total_throughput.trip * rated,
              s.total_throughput.delay, "Ah"),
        upper("total_time", "total_time", s.total_time.warn, s.total_time.trip, s.total_time.delay, "s"),
    ]  # fmt: skip


# what counts from the start of the run: a recipe called in its middle cannot limit it
OF_THE_RUN = ("total_throughput", "total_time")


def tightest(bounds: list[Bound], others: list[Bound]) -> list[Bound]:
    """Bound by bound the tighter of a run's and those of a part of it, which name the same ones."""
    by_name = {bound.name: bound for bound in others}

    def tighter(a: Bound, b: Bound) -> Bound:
        if a.name in OF_THE_RUN:
            return a
        pick = min if a.side > 0 else max
        return replace(a, warn=pick(a.warn, b.warn), trip=pick(a.trip, b.trip), delay=min(a.delay, b.delay))

    return [tighter(bound, by_name[bound.name]) for bound in bounds]
