"""What can be known about a recipe before a volt is applied.

Every finding has a code, the path of the faulty value in the document, a message and a hint. A recipe with findings
does not run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from sequences.condition import Comparison
from sequences.dut import Dut, StationLimits
from sequences.program import estimate_durations, expand
from sequences.recipe import (
    ConstantCurrent,
    ConstantCurrentConstantVoltage,
    Measure,
    Pulse,
    PulseAt,
    Recipe,
    Repeat,
    Rest,
    Step,
)

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of a recipe."""

    code: str
    path: Path
    message: str
    hint: str


def check(recipe: Recipe, dut: Dut | None = None, station: StationLimits | None = None) -> list[Finding]:
    """Everything wrong with a recipe; for a battery and a station too where they are given."""
    findings = [*_names(recipe), *_safety_order(recipe), *_steps_alone(recipe), *_measurements(recipe)]
    if dut is not None:
        findings += [*_applies(recipe, dut), *_safety_within(recipe, dut), *_steps_for(recipe, dut)]
        findings += _total_time(recipe, dut)
    if dut is not None and station is not None:
        findings += _station(recipe, dut, station)
    return findings


def _walk(steps: Iterable[Step], path: Path) -> Iterator[tuple[Step, Path]]:
    for index, step in enumerate(steps):
        here = (*path, index)
        yield step, here
        if isinstance(step, Repeat):
            yield from _walk(step.steps, (*here, "steps"))


def _all_steps(recipe: Recipe) -> list[tuple[Step, Path]]:
    return list(_walk(recipe.steps, ("steps",)))


# ------------------------------------------------------------------------------------------ the recipe alone


def _names(recipe: Recipe) -> Iterator[Finding]:
    named: list[tuple[str, Path]] = [(step.name, (*path, "name")) for step, path in _all_steps(recipe)]
    seen: set[str] = set()
    for name, path in named:
        if name in seen:
            yield Finding("E-NAME-TWICE", path, f"the step name {name!r} is used twice", "give every step its own name")
        seen.add(name)
    seen = set()
    for index, measurement in enumerate(recipe.measurements):
        if measurement.name in seen:
            path = ("measurements", index, "name")
            yield Finding("E-NAME-TWICE", path, f"the measurement {measurement.name!r} stands here twice", "rename one")
        seen.add(measurement.name)


# safety bounds whose trip lies above the warn level; for the others it lies below
_RISING = (
    "cell_voltage_max",
    "cell_spread",
    "voltage_max",
    "charge_current",
    "discharge_current",
    "temperature_max",
    "temperature_rise",
    "total_throughput",
    "total_time",
)


def _safety_order(recipe: Recipe) -> Iterator[Finding]:
    for name in type(recipe.safety).model_fields:
        bound = getattr(recipe.safety, name)
        warn, trip = bound.warn, bound.trip
        if hasattr(warn, "amperes"):
            if warn.per_rated_capacity != trip.per_rated_capacity:
                path: Path = ("safety", name)
                yield Finding(
                    "E-SAFETY-UNITS", path, f"{name}: warn and trip use different units", "use C or A in both"
                )
                continue
            warn, trip = warn.value, trip.value
        if warn > trip if name in _RISING else warn < trip:
            yield Finding(
                "E-SAFETY-ORDER",
                ("safety", name),
                f"{name}: the trip level comes before the warn level",
                "warn first, trip beyond it",
            )


def _steps_alone(recipe: Recipe) -> Iterator[Finding]:
    for step, path in _all_steps(recipe):
        if isinstance(step, Rest | Pulse) and step.duration <= 0:
            yield Finding("E-STEP-ZERO", (*path, "duration"), f"{step.name}: lasts no time", "give it a duration")
        if isinstance(step, ConstantCurrent | ConstantCurrentConstantVoltage):
            if step.max_time <= 0:
                yield Finding("E-STEP-ZERO", (*path, "max_time"), f"{step.name}: may last no time", "raise max_time")
            for index, end in enumerate(step.ends):
                yield from _end_reachable(step, end.when, (*path, "ends", index))
        if isinstance(step, Pulse) and not 0.01 <= step.sample <= step.duration / 5:
            hint = f"between 10 ms and {step.duration / 5:g} s"
            message = f"{step.name}: {step.sample:g} s is no sampling period for a pulse of {step.duration:g} s"
            yield Finding("E-PULSE-SAMPLE", (*path, "sample"), message, hint)
        if isinstance(step, Measure) and step.role not in recipe.roles:
            message = f"{step.name}: the role {step.role!r} is not declared"
            yield Finding("E-ROLE-UNDECLARED", (*path, "role"), message, "add it to `roles`")
    for role in ("cycler", "interlock", "battery_monitor"):
        moves_current = any(not isinstance(step, Rest | Measure | Repeat) for step, _ in _all_steps(recipe))
        if moves_current and role not in recipe.roles:
            message = f"current flows, but the role {role!r} is not declared"
            yield Finding("E-ROLE-UNDECLARED", ("roles",), message, "add it to `roles`")


def _end_reachable(
    step: ConstantCurrent | ConstantCurrentConstantVoltage, end: Comparison, path: Path
) -> Iterator[Finding]:
    signal, sign, value = end.signal, end.operator, end.value
    text = end.text
    rising = sign in (">=", ">")
    set_current = step.current
    hint = "an end must lie between where the step starts and its maximum time"
    if signal == "step_time" and (not rising or value >= step.max_time):
        yield Finding("E-END-UNREACHABLE", path, f"{step.name}: {text!r} cannot come before max_time", hint)
    if signal in ("depth", "charge", "energy", "total_time") and not rising:
        yield Finding("E-END-AT-ONCE", path, f"{step.name}: {text!r} is met before the step begins", hint)
    if signal == "depth" and rising and value > 1.2:
        yield Finding("E-END-UNREACHABLE", path, f"{step.name}: {text!r} is more than the battery holds", hint)
    if signal == "current" and set_current.per_rated_capacity == end.per_rated_capacity:
        if sign in ("<=", "<") and value >= set_current.value:
            yield Finding("E-END-AT-ONCE", path, f"{step.name}: {text!r} is met at the set current", "lower it")
        if rising and value > set_current.value:
            yield Finding("E-END-UNREACHABLE", path, f"{step.name}: {text!r} is above the set current", "lower it")
    if signal == "cell_max" and rising and value > step.cell_voltage:
        yield Finding("E-END-UNREACHABLE", path, f"{step.name}: {text!r} is beyond the step's own cell voltage", hint)


def _measurements(recipe: Recipe) -> Iterator[Finding]:
    kinds: dict[str, Step] = {step.name: step for step, _ in _all_steps(recipe)}
    for index, measurement in enumerate(recipe.measurements):
        source, path = measurement.source, ("measurements", index, "from")
        for key in ("after", "until", "pulse", "rest", "during", "measured_in"):
            name = getattr(source, key, None)
            if name is not None and name not in kinds:
                message = f"{measurement.name}: there is no step {name!r}"
                yield Finding("E-STEP-UNKNOWN", (*path, key), message, f"steps are {', '.join(kinds)}")
        if isinstance(source, PulseAt):
            pulse = kinds.get(source.pulse)
            if pulse is not None and not isinstance(pulse, Pulse):
                message = f"{measurement.name}: {source.pulse!r} is not a pulse step"
                yield Finding("E-STEP-KIND", (*path, "pulse"), message, "name a pulse step")
            elif isinstance(pulse, Pulse) and not 0 < source.at <= pulse.duration:
                message = f"{measurement.name}: {source.at:g} s is outside the pulse of {pulse.duration:g} s"
                yield Finding("E-PULSE-TIME", (*path, "at"), message, "read within the pulse")


# --------------------------------------------------------------------------------------------- for a battery


def _applies(recipe: Recipe, dut: Dut) -> Iterator[Finding]:
    allowed: tuple[tuple[str, str, list[str]], ...] = (
        ("kind", dut.kind, list(recipe.applies_to.kind)),
        ("chemistry", dut.chemistry, list(recipe.applies_to.chemistry)),
    )
    for what, value, accepted in allowed:
        if value not in accepted:
            path = ("applies_to", what)
            yield Finding(
                "E-NOT-FOR-DUT", path, f"not for {value} batteries such as {dut.model}", "choose another recipe"
            )


def _safety_within(recipe: Recipe, dut: Dut) -> Iterator[Finding]:
    safety = recipe.safety
    rules: tuple[tuple[str, float, float, Callable[[float, float], bool], str], ...] = (
        ("cell_voltage_max", safety.cell_voltage_max.trip, dut.cell_voltage_hard_max, float.__gt__, "V"),
        ("cell_voltage_min", safety.cell_voltage_min.trip, dut.cell_voltage_hard_min, float.__lt__, "V"),
        ("voltage_max", safety.voltage_max.trip, dut.cell_voltage_hard_max, float.__gt__, "V/cell"),
        ("voltage_min", safety.voltage_min.trip, dut.cell_voltage_hard_min, float.__lt__, "V/cell"),
        ("temperature_max", safety.temperature_max.trip, dut.temperature_max, float.__gt__, "degC"),
        ("temperature_min", safety.temperature_min.trip, dut.temperature_min, float.__lt__, "degC"),
    )
    for name, trip, bound, beyond, unit in rules:
        if beyond(float(trip), float(bound)):
            message = f"{name} trips at {trip:g} {unit}, beyond the {bound:g} {unit} of {dut.model}"
            yield Finding(
                "E-SAFETY-WIDENED", ("safety", name, "trip"), message, "a recipe may narrow limits, never widen"
            )


def _steps_for(recipe: Recipe, dut: Dut) -> Iterator[Finding]:
    safety = recipe.safety
    for step, path in _all_steps(recipe):
        if not isinstance(step, ConstantCurrent | ConstantCurrentConstantVoltage | Pulse):
            continue
        charging = isinstance(step, ConstantCurrentConstantVoltage) or step.direction == "charge"
        amperes = step.current.amperes(dut.rated_capacity)
        rating = dut.max_charge_current if charging else dut.max_discharge_current
        bound = (safety.charge_current if charging else safety.discharge_current).trip.amperes(dut.rated_capacity)
        what = "charge" if charging else "discharge"
        here = (*path, "current")
        if amperes > rating:
            message = f"{step.name}: {amperes:g} A is above the {rating:g} A {what} rating of {dut.model}"
            yield Finding("E-CURRENT-DUT", here, message, f"set at most {rating:g} A")
        if amperes >= bound:
            message = f"{step.name}: {amperes:g} A would trip the recipe's own {what} limit of {bound:g} A"
            yield Finding("E-CURRENT-SAFETY", here, message, "lower the current or correct the safety block")
        for key in ("cell_voltage", "cell_voltage_min", "cell_voltage_max"):
            volts = getattr(step, key, None)
            if volts is None:
                continue
            if not dut.cell_voltage_min <= volts <= dut.cell_voltage_max:
                window = f"{dut.cell_voltage_min:g} to {dut.cell_voltage_max:g} V"
                message = f"{step.name}: {volts:g} V a cell is outside the {window} of {dut.model}"
                yield Finding("E-VOLTAGE-DUT", (*path, key), message, f"stay within {window}")
            if not safety.cell_voltage_min.trip < volts < safety.cell_voltage_max.trip:
                message = f"{step.name}: {volts:g} V a cell would trip the recipe's own safety limits"
                yield Finding("E-VOLTAGE-SAFETY", (*path, key), message, "correct the step or the safety block")


def _total_time(recipe: Recipe, dut: Dut) -> Iterator[Finding]:
    expected = sum(estimate_durations(expand(recipe), dut, soc=0.5, capacity=dut.rated_capacity))
    if expected > recipe.safety.total_time.trip:
        message = f"takes about {expected / 3600:.1f} h, more than its own limit"
        yield Finding("E-TIME-TOTAL", ("safety", "total_time"), message, "raise total_time or shorten the steps")


# --------------------------------------------------------------------------------------------- for a station


def _station(recipe: Recipe, dut: Dut, station: StationLimits) -> Iterator[Finding]:
    for index, role in enumerate(recipe.roles):
        if role not in station.roles:
            message = f"the station has no {role}"
            yield Finding("E-ROLE-MISSING", ("roles", index), message, "choose a station that has one")
    for step, path in _all_steps(recipe):
        if not isinstance(step, ConstantCurrent | ConstantCurrentConstantVoltage | Pulse):
            continue
        charging = isinstance(step, ConstantCurrentConstantVoltage) or step.direction == "charge"
        rating = station.max_charge_current if charging else station.max_discharge_current
        amperes = step.current.amperes(dut.rated_capacity)
        volts = dut.cell_voltage_max * dut.series_cells
        if amperes > rating:
            message = f"{step.name}: {amperes:g} A is above the station's {rating:g} A"
            yield Finding("E-CURRENT-STATION", (*path, "current"), message, f"set at most {rating:g} A")
        if amperes * volts > station.max_power:
            message = (
                f"{step.name}: {amperes * volts / 1000:.1f} kW is above the station's {station.max_power / 1000:g} kW"
            )
            yield Finding("E-POWER-STATION", (*path, "current"), message, "lower the current")
    if dut.cell_voltage_max * dut.series_cells > station.max_voltage:
        volts = dut.cell_voltage_max * dut.series_cells
        message = f"{dut.model} reaches {volts:g} V, the station stands {station.max_voltage:g} V"
        yield Finding("E-VOLTAGE-STATION", ("applies_to",), message, "choose another station")
