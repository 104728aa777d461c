"""Set points: currents, powers, voltages and temperatures against the recipe's own safety, the battery, the station."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sequences.checks.subject import Place, Subject
from sequences.dut import Dut, StationLimits
from sequences.findings import Finding, finding
from sequences.flow import Call, CapacityTest, Hppc, Path
from sequences.quantity import Current, Power
from sequences.step import Cc, CcCv, Cp, Cr, Cv, GoToSoc, Insulate, OnePulse, Profile, Pulse, SetPoint, SetTemperature

MOST_INSULATION_VOLTAGE = 1000.0
# a test voltage may exceed what the battery itself puts on its insulation by this, and may always be as much as usual
OVER_BATTERY, USUAL_INSULATION_VOLTAGE = 1.5, 500.0


@dataclass(frozen=True, slots=True)
class Demand:
    """A current or a power that a step asks for at a path, and the lowest voltage of a cell at which it may flow."""

    path: Path
    charging: bool
    current: Current | None = None
    power: Power | None = None
    lowest: float | None = None


def demands(step: Any) -> list[Demand]:
    """Every current and power that a step sets; one of either direction where the direction is the battery's to say."""
    match step:
        case Cc() | Cv() | CcCv():
            return [Demand(("current",), step.direction == "charge", step.current)]
        case Cp():
            charging = step.direction == "charge"
            return [Demand(("power",), charging, power=step.power, lowest=None if charging else step.cell_voltage)]
        case Pulse():
            return _of_pulses(step.pulses)
        case GoToSoc():
            return [Demand(("current",), charging, step.current) for charging in (True, False)]
        case Hppc():
            return [
                *(Demand(("current",), charging, step.current) for charging in (True, False)),
                *_of_pulses(step.pulses),
            ]
        case CapacityTest():
            charge = Demand(("charge_current",), True, step.charge_current)
            return [charge, Demand(("discharge_current",), False, step.discharge_current)]
        case Profile():
            return _of_table(step)
        case _:
            return []


def _of_pulses(pulses: list[OnePulse]) -> list[Demand]:
    return [Demand(("pulses", i, "current"), p.direction == "charge", p.current) for i, p in enumerate(pulses)]


def _of_table(step: Profile) -> list[Demand]:
    """The greatest of each direction."""
    values = [value for _, value in step.table]
    found = []
    for charging, value in ((True, max(values)), (False, -min(values))):
        if value > 0:
            path: Path = ("rows", values.index(value if charging else -value), 1)
            current = Current(value, per_rated_capacity=False) if step.of == "current" else None
            power = Power(value, per_rated_energy=False) if step.of == "power" else None
            found.append(Demand(path, charging, current, power, step.cell_voltage_min))
    return found


def voltages(step: Any) -> list[tuple[str, float, bool | None]]:
    """The voltages of a cell that a step drives to: key, V, and whether it charges (None: it only stays inside)."""
    match step:
        case Cc() | Cv() | CcCv() | Cp():
            return [("cell_voltage", step.cell_voltage, step.direction == "charge")]
        case Cr():
            return [("cell_voltage", step.cell_voltage, False)]
        case Pulse() | GoToSoc() | Hppc() | Profile():
            return [
                ("cell_voltage_min", step.cell_voltage_min, None),
                ("cell_voltage_max", step.cell_voltage_max, None),
            ]
        case CapacityTest():
            charge = "charge_cell_voltage", step.charge_cell_voltage, True
            return [charge, ("discharge_cell_voltage", step.discharge_cell_voltage, False)]
        case _:
            return []


def check_setpoints(subject: Subject) -> Iterator[Finding]:
    for place in subject.places:
        for demand in [*demands(place.step), *_of_resistor(place, subject.dut)]:
            yield from _current(demand, place, subject)
        for key, volts, charging in voltages(place.step):
            yield from _voltage(place.at(key), volts, charging, place, subject)
        yield from _window(place)
        yield from _soc(place)
        yield from _temperature(place, subject.dut)
        yield from _insulation(place, subject.dut)
    if subject.dut is not None and subject.station is not None:
        yield from _battery_on_station(subject.dut, subject.station)
    yield from _destructive(subject)


# ------------------------------------------------------------------------------------------------------ currents


def _of_resistor(place: Place, dut: Dut | None) -> list[Demand]:
    """A resistor takes what the voltage gives it, and no more than its `current`."""
    step = place.step
    if not isinstance(step, Cr) or dut is None:
        return []
    highest = dut.cell_voltage_hard_max * dut.series_cells / step.resistance
    amperes = min(highest, step.current.amperes(dut.rated_capacity))
    return [Demand(("current",), False, Current(amperes, per_rated_capacity=False))]


def _current(demand: Demand, place: Place, subject: Subject) -> Iterator[Finding]:
    name, path, dut = place.name, place.at(*demand.path), subject.dut
    what, what_ko = ("charge", "충전") if demand.charging else ("discharge", "방전")
    bound = "charge_current" if demand.charging else "discharge_current"
    current = demand.current or _at_lowest_voltage(demand, dut)
    if current is None:
        return
    for level in place.levels.currents.get(bound, ()):
        if subject.beyond(current, level):
            said = level.text or f"{level.value:g} A"
            text = (
                f"{name}: {_said(current, subject)} would trip the recipe's own {what} limit of {said}",
                f"{name}: {_said(current, subject)} 은(는) 레시피의 {what_ko} 전류 한계 {said} 에서 차단됩니다",
            )
            hint = "lower it, or correct the safety block", "낮추거나 안전 한계를 바로잡으십시오"
            yield finding("E-CURRENT-SAFETY", path, text, hint)
            break
    if dut is None:
        return
    amperes, station = current.amperes(dut.rated_capacity), subject.station
    rating = dut.max_charge_current if demand.charging else dut.max_discharge_current
    if amperes > rating:
        text = (
            f"{name}: {amperes:g} A is above the {rating:g} A {what} rating of {dut.model}",
            f"{name}: {amperes:g} A 은(는) {dut.model} 의 {what_ko} 정격 {rating:g} A 보다 큽니다",
        )
        yield finding("E-CURRENT-DUT", path, text, (f"set at most {rating:g} A", f"최대 {rating:g} A 로 하십시오"))
    if station is None:
        return
    rating = station.max_charge_current if demand.charging else station.max_discharge_current
    if amperes > rating:
        text = (
            f"{name}: {amperes:g} A is above the station's {rating:g} A",
            f"{name}: {amperes:g} A 은(는) 스테이션의 {rating:g} A 보다 큽니다",
        )
        yield finding("E-CURRENT-STATION", path, text, (f"set at most {rating:g} A", f"최대 {rating:g} A 로 하십시오"))
    highest = dut.cell_voltage_max * dut.series_cells
    power = amperes * highest if demand.power is None else demand.power.watts(dut.rated_energy)
    if power > station.max_power:
        have, most = power / 1000, station.max_power / 1000
        text = (
            f"{name}: {have:.1f} kW is above the station's {most:g} kW",
            f"{name}: {have:.1f} kW 은(는) 스테이션의 {most:g} kW 보다 큽니다",
        )
        yield finding("E-POWER-STATION", path, text, ("lower it", "낮추십시오"))


def _at_lowest_voltage(demand: Demand, dut: Dut | None) -> Current | None:
    """The most current that a power comes to; None for a battery that is not known."""
    if demand.power is None or dut is None:
        return None
    lowest = dut.cell_voltage_min if demand.lowest is None else demand.lowest
    watts = demand.power.watts(dut.rated_energy)
    return Current(watts / (lowest * dut.series_cells) if lowest else math.inf, per_rated_capacity=False)


def _said(current: Current, subject: Subject) -> str:
    amperes = subject.amperes(current)
    return f"{amperes:g} A" if amperes is not None else current.text


# ------------------------------------------------------------------------------------------------------ voltages


def _voltage(path: Path, volts: float, charging: bool | None, place: Place, subject: Subject) -> Iterator[Finding]:
    name, trips, dut = place.name, place.levels.trips, subject.dut
    low = max(trips["cell_voltage_min"], trips["voltage_min"])
    high = min(trips["cell_voltage_max"], trips["voltage_max"])
    if not low < volts < high:
        text = (
            f"{name}: {volts:g} V a cell would trip the recipe's own safety limits",
            f"{name}: 셀당 {volts:g} V 은(는) 레시피의 안전 한계에서 차단됩니다",
        )
        hint = f"stay between {low:g} and {high:g} V", f"{low:g} V 와 {high:g} V 사이로 하십시오"
        yield finding("E-VOLTAGE-SAFETY", path, text, hint)
    if dut is None:
        return
    lowest = 0.0 if subject.recipe.destructive else dut.cell_voltage_min
    if not lowest <= volts <= dut.cell_voltage_max:
        window = f"{lowest:g} to {dut.cell_voltage_max:g} V"
        text = (
            f"{name}: {volts:g} V a cell is outside the {window} of {dut.model}",
            f"{name}: 셀당 {volts:g} V 은(는) {dut.model} 의 {lowest:g}~{dut.cell_voltage_max:g} V 범위 밖입니다",
        )
        hint = f"stay within {window}", "그 범위 안으로 하십시오"
        yield finding("E-VOLTAGE-DUT", path, text, hint)
    elif charging is not None and (volts <= dut.cell_voltage_min if charging else volts >= dut.cell_voltage_max):
        word, word_ko = ("charges", "충전은") if charging else ("discharges", "방전은")
        text = (
            f"{name}: {word} to {volts:g} V a cell, where every battery is already",
            f"{name}: 셀당 {volts:g} V 까지의 {word_ko} 시작하자마자 끝납니다",
        )
        yield finding(
            "E-END-AT-ONCE", path, text, ("correct the voltage or the direction", "전압이나 방향을 바로잡으십시오")
        )


def _window(place: Place) -> Iterator[Finding]:
    step = place.step
    low_key, high_key = "cell_voltage_min", "cell_voltage_max"
    if isinstance(step, CapacityTest):
        low_key, high_key = "discharge_cell_voltage", "charge_cell_voltage"
    elif not isinstance(step, Pulse | GoToSoc | Hppc | Profile):
        return
    if getattr(step, low_key) >= getattr(step, high_key):
        text = (
            f"{place.name}: {low_key} is not below {high_key}",
            f"{place.name}: {low_key} 이(가) {high_key} 보다 낮지 않습니다",
        )
        yield finding("E-VOLTAGE-WINDOW", place.at(low_key), text, ("give it a window", "범위를 두십시오"))


def _battery_on_station(dut: Dut, station: StationLimits) -> Iterator[Finding]:
    volts = dut.cell_voltage_max * dut.series_cells
    if volts > station.max_voltage:
        text = (
            f"{dut.model} reaches {volts:g} V, the station stands {station.max_voltage:g} V",
            f"{dut.model} 은(는) {volts:g} V 에 이르지만 스테이션은 {station.max_voltage:g} V 까지 견딥니다",
        )
        yield finding(
            "E-VOLTAGE-STATION", ("applies_to",), text, ("choose another station", "다른 스테이션을 고르십시오")
        )


def _destructive(subject: Subject) -> Iterator[Finding]:
    """Cells that were emptied below what a battery stands are never charged again: copper has gone into solution."""
    for place in subject.places:
        step = place.step
        charges = [demand for demand in demands(step) if demand.charging]
        if charges and (subject.recipe.destructive or subject.emptied):
            text = (
                f"{place.name}: a destructive recipe does not charge",
                f"{place.name}: 방전 폐기용(destructive) 레시피에서는 충전할 수 없습니다",
            )
            hint = "discharge only, or drop `destructive`", "방전만 하거나 `destructive` 를 빼십시오"
            yield finding("E-DESTRUCTIVE", place.at(*charges[0].path), text, hint)
        elif isinstance(step, Call) and step.body.destructive and not subject.recipe.destructive:
            text = (
                f"{place.name}: calls a destructive recipe, and is not one itself",
                f"{place.name}: 방전 폐기용(destructive)이 아닌 레시피가 방전 폐기용 레시피를 호출합니다",
            )
            hint = "set `destructive: true`", "`destructive: true` 를 쓰십시오"
            yield finding("E-DESTRUCTIVE", place.at("recipe"), text, hint)


# ------------------------------------------------------------------------- states of charge, temperatures, insulation


def _soc(place: Place) -> Iterator[Finding]:
    if isinstance(place.step, GoToSoc | SetPoint) and (place.step.soc or 0.0) > 1.0:
        text = f"{place.name}: there is no state of charge above 100 %", f"{place.name}: SOC는 100 %를 넘을 수 없습니다"
        yield finding("E-SOC-RANGE", place.at("soc"), text, ("between 0 % and 100 %", "0 %와 100 % 사이로 하십시오"))


def _temperature(place: Place, dut: Dut | None) -> Iterator[Finding]:
    match place.step:
        case SetTemperature():
            key, wanted = "temperature", place.step.temperature
        case SetPoint(chamber=float() as wanted):
            key = "chamber"
        case _:
            return
    low, high = place.levels.trips["temperature_min"], place.levels.trips["temperature_max"]
    if not low < wanted < high:
        text = (
            f"{place.name}: {wanted:g} degC would trip the recipe's own safety limits",
            f"{place.name}: {wanted:g} degC 은(는) 레시피의 안전 한계에서 차단됩니다",
        )
        hint = f"stay between {low:g} and {high:g} degC", f"{low:g} degC 와 {high:g} degC 사이로 하십시오"
        yield finding("E-TEMPERATURE-SAFETY", place.at(key), text, hint)
    if dut is not None and not dut.temperature_min <= wanted <= dut.temperature_max:
        window = f"{dut.temperature_min:g} to {dut.temperature_max:g} degC"
        window_ko = f"{dut.temperature_min:g}~{dut.temperature_max:g} degC"
        text = (
            f"{place.name}: {wanted:g} degC is outside the {window} of {dut.model}",
            f"{place.name}: {wanted:g} degC 은(는) {dut.model} 의 {window_ko} 범위 밖입니다",
        )
        yield finding("E-TEMPERATURE-DUT", place.at(key), text, (f"stay within {window}", "그 범위 안으로 하십시오"))


def _insulation(place: Place, dut: Dut | None) -> Iterator[Finding]:
    step = place.step
    if not isinstance(step, Insulate):
        return
    most = MOST_INSULATION_VOLTAGE
    if dut is not None:
        most = min(most, max(OVER_BATTERY * dut.cell_voltage_max * dut.series_cells, USUAL_INSULATION_VOLTAGE))
    if not 0.0 < step.voltage <= most:
        text = (
            f"{place.name}: {step.voltage:g} V is no test voltage for this insulation",
            f"{place.name}: {step.voltage:g} V 은(는) 이 절연에 맞는 시험 전압이 아닙니다",
        )
        yield finding("E-INSULATION-VOLTAGE", place.at("voltage"), text, (f"up to {most:g} V", f"최대 {most:g} V"))
