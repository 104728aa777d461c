"""What can be known about a recipe before a volt is applied.

Every finding has a code, the path of the faulty value in the document, a message and a hint. A recipe with findings
does not run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from sequences.condition import Comparison
from sequences.dut import Dut, StationLimits
from sequences.grading import GradeRules
from sequences.program import estimate_durations, expand
from sequences.recipe import (
    MEASUREMENT_UNITS,
    Capacity,
    CapacityAtC3,
    CapacityFade,
    ConstantCurrent,
    ConstantCurrentConstantVoltage,
    Measure,
    Pulse,
    PulseAt,
    Recipe,
    Repeat,
    Rest,
    StateOfHealth,
    Step,
)

Path = tuple[str | int, ...]

_CAPACITIES = (Capacity, CapacityAtC3, CapacityFade, StateOfHealth)


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of a recipe."""

    code: str
    path: Path
    message: str
    hint: str


def check(recipe: Recipe, dut: Dut | None = None, station: StationLimits | None = None) -> list[Finding]:
    """Everything wrong with a recipe; for a battery and a station too where they are given."""
    findings = [*_names(recipe), *_safety_order(recipe), *_safety_reach(recipe), *_steps_alone(recipe)]
    findings += _measurements(recipe)
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


def check_rules(recipe: Recipe, rules: GradeRules) -> list[Finding]:
    """Grade rules that compare a measurement of this recipe with a quantity of another kind."""
    findings = []
    for index, measurement in enumerate(recipe.measurements):
        needed = MEASUREMENT_UNITS[measurement.source.kind][2]
        for rule in rules.rules():
            if rule.measurement == measurement.name and rule.dimension != needed:
                message = f"grade rule {rule.text!r} compares {measurement.name} with a {rule.dimension}"
                findings.append(Finding("E-GRADES", ("measurements", index), message, f"correct the rules {rules.id}"))
    return findings


# ------------------------------------------------------------------------------------------ the recipe alone

# no recipe may switch a limit off by setting it out of reach; inner units, s for the delay
LONGEST_DELAY = 60.0
CEILINGS: dict[str, tuple[float, str]] = {
    "cell_spread": (2.0, "2 V"),
    "temperature_rise": (5.0 / 60.0, "5 K/min"),
    "total_time": (7 * 86400.0, "168 h"),
    "total_throughput": (20.0, "2000 %"),
}
LEAST_INSULATION = 100.0  # ohm/V, UN R100 and ISO 6469-1 for DC circuits


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


def _safety_reach(recipe: Recipe) -> Iterator[Finding]:
    for name in type(recipe.safety).model_fields:
        bound = getattr(recipe.safety, name)
        if getattr(bound, "delay", 0.0) > LONGEST_DELAY:
            message = f"{name}: a delay of {bound.delay:g} s switches the limit off"
            yield Finding("E-SAFETY-REACH", ("safety", name, "delay"), message, f"at most {LONGEST_DELAY:g} s")
        if name in CEILINGS and bound.trip > CEILINGS[name][0]:
            message = f"{name}: trips at a level that no battery reaches in time"
            yield Finding("E-SAFETY-REACH", ("safety", name, "trip"), message, f"at most {CEILINGS[name][1]}")
    if recipe.safety.insulation.trip < LEAST_INSULATION:
        message = f"insulation: trips below {LEAST_INSULATION:g} ohm/V only"
        yield Finding(
            "E-SAFETY-REACH", ("safety", "insulation", "trip"), message, f"at least {LEAST_INSULATION:g} ohm/V"
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
        if isinstance(step, Rest):
            for index, end in enumerate(step.ends):
                if end.when.signal in ("current", "power", "charge", "energy", "depth"):
                    message = f"{step.name}: {end.when.text!r}: no current flows in a rest"
                    yield Finding(
                        "E-END-AT-ONCE", (*path, "ends", index), message, "end it by time, voltage or temperature"
                    )
        if isinstance(step, Pulse) and step.cell_voltage_min >= step.cell_voltage_max:
            message = f"{step.name}: cell_voltage_min is not below cell_voltage_max"
            yield Finding("E-STEP-ZERO", (*path, "cell_voltage_min"), message, "give it a window")
        if isinstance(step, Pulse) and not 0.01 <= step.sample <= step.duration / 5:
            hint = f"between 10 ms and {step.duration / 5:g} s"
            message = f"{step.name}: {step.sample:g} s is no sampling period for a pulse of {step.duration:g} s"
            yield Finding("E-PULSE-SAMPLE", (*path, "sample"), message, hint)
        if isinstance(step, Measure) and step.role not in recipe.roles:
            message = f"{step.name}: the role {step.role!r} is not declared"
            yield Finding("E-ROLE-UNDECLARED", (*path, "role"), message, "add it to `roles`")
    for role in ("cycler", "interlock", "battery_monitor", "temperature_scanner"):
        if role not in recipe.roles:
            message = f"the safety limits need the role {role!r}, which is not declared"
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


# key of a source -> the kinds of step it may name
_NAMED: dict[str, tuple[type, ...]] = {
    "after": (Rest, ConstantCurrent, ConstantCurrentConstantVoltage, Pulse, Measure),
    "until": (Rest, ConstantCurrent, ConstantCurrentConstantVoltage, Pulse, Measure),
    "during": (Rest, ConstantCurrent, ConstantCurrentConstantVoltage, Pulse, Measure),
    "pulse": (Pulse,),
    "rest": (Rest,),
    "measured_in": (Measure,),
}


def _measurements(recipe: Recipe) -> Iterator[Finding]:
    steps: dict[str, Step] = {step.name: step for step, _ in _all_steps(recipe)}
    order = {planned.name: planned.index for planned in expand(recipe)}
    measures_capacity = any(isinstance(m.source, _CAPACITIES) for m in recipe.measurements)
    for index, measurement in enumerate(recipe.measurements):
        source, path = measurement.source, ("measurements", index, "from")
        for key, kinds in _NAMED.items():
            name = getattr(source, key, None)
            if name is None:
                continue
            if name not in steps:
                message = f"{measurement.name}: there is no step {name!r}"
                yield Finding("E-STEP-UNKNOWN", (*path, key), message, f"steps are {', '.join(steps)}")
            elif not isinstance(steps[name], kinds):
                message = f"{measurement.name}: {name!r} is a {steps[name].step} step"
                yield Finding("E-STEP-KIND", (*path, key), message, f"name one that fits {key!r}")
        first, last = getattr(source, "after", None), getattr(source, "until", None)
        if first in order and last in order and order[first] >= order[last]:
            message = f"{measurement.name}: {last!r} does not come after {first!r}"
            yield Finding("E-STEP-ORDER", (*path, "until"), message, "name the step that ends the discharge")
        if getattr(source, "soc", None) is not None and not measures_capacity:
            message = f"{measurement.name}: a state of charge is counted with the capacity, which is not measured"
            yield Finding("E-STEP-UNKNOWN", (*path, "soc"), message, "add a measurement of kind capacity")
        if isinstance(source, PulseAt):
            pulse = steps.get(source.pulse)
            if isinstance(pulse, Pulse) and not 0 < source.at <= pulse.duration:
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
