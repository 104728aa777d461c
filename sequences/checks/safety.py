"""The safety block: warn before trip, no level out of reach, no step and no recipe that widens what holds around it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sequences.checks.subject import Place, Subject
from sequences.findings import Finding, finding
from sequences.flow import Path
from sequences.recipe import Recipe
from sequences.safety import RISING, CurrentBound, Safety

# no recipe may switch a limit off by setting it where it never trips in time; inner units, and as written
LONGEST_DELAY = 60.0  # s
HIGHEST: dict[str, tuple[float, str]] = {
    "cell_voltage_max": (4.5, "4.5 V"),  # no chemistry that recipes know is charged to more
    "voltage_max": (4.5, "4.5 V/cell"),
    "cell_spread": (2.0, "2 V"),
    "temperature_max": (80.0, "80 degC"),  # separators shut down above
    "temperature_rise": (5.0 / 60.0, "5 K/min"),
    "total_time": (7 * 86400.0, "168 h"),
    "total_throughput": (20.0, "2000 %"),
}
LOWEST: dict[str, tuple[float, str]] = {
    "temperature_min": (-40.0, "-40 degC"),
    "insulation": (100.0, "100 ohm/V"),  # UN R100 and ISO 6469-1 for DC circuits
}
WINDOWS = (
    ("cell_voltage_min", "cell_voltage_max"),
    ("voltage_min", "voltage_max"),
    ("temperature_min", "temperature_max"),
)


def check_safety(subject: Subject) -> Iterator[Finding]:
    safety = subject.recipe.safety
    for name in Safety.model_fields:
        yield from _order(name, getattr(safety, name), ("safety", name))
        yield from _reach(name, getattr(safety, name), ("safety", name), subject.recipe)
    yield from _windows(safety)
    for place in subject.places:
        yield from _narrowing(place)
    if subject.dut is not None:
        yield from _within_battery(subject)


def _order(name: str, bound: Any, path: Path) -> Iterator[Finding]:
    warn, trip = bound.warn, bound.trip
    if isinstance(bound, CurrentBound):
        if warn.per_rated_capacity != trip.per_rated_capacity:
            text = f"{name}: warn and trip use different units", f"{name}: warn 과 trip 의 단위가 다릅니다"
            yield finding("E-SAFETY-UNITS", path, text, ("use C or A in both", "둘 다 C 또는 둘 다 A 로 쓰십시오"))
            return
        warn, trip = warn.value, trip.value
    if warn > trip if name in RISING else warn < trip:
        text = (
            f"{name}: the trip level comes before the warn level",
            f"{name}: 차단(trip) 수준이 경고(warn) 수준보다 먼저 옵니다",
        )
        yield finding("E-SAFETY-ORDER", path, text, ("warn first, trip beyond it", "warn 다음에 trip 이 오게 하십시오"))


def _reach(name: str, bound: Any, path: Path, recipe: Recipe) -> Iterator[Finding]:
    if bound.delay > LONGEST_DELAY:
        text = (
            f"{name}: a delay of {bound.delay:g} s switches the limit off",
            f"{name}: 지연 {bound.delay:g} s 은(는) 한계를 무력하게 만듭니다",
        )
        hint = f"at most {LONGEST_DELAY:g} s", f"최대 {LONGEST_DELAY:g} s"
        yield finding("E-SAFETY-REACH", (*path, "delay"), text, hint)
    if name in HIGHEST and bound.trip > HIGHEST[name][0]:
        most = HIGHEST[name][1]
        text = f"{name}: trips at a level that comes too late", f"{name}: 너무 늦은 수준에서 차단합니다"
        yield finding("E-SAFETY-REACH", (*path, "trip"), text, (f"at most {most}", f"최대 {most}"))
    # a recipe that lets no current flow may be there to find a battery that is not insulated
    found_here = name == "insulation" and not recipe.drives
    if name in LOWEST and bound.trip < LOWEST[name][0] and not found_here:
        least = LOWEST[name][1]
        text = f"{name}: trips below {least} only", f"{name}: {least} 미만에서야 차단합니다"
        yield finding("E-SAFETY-REACH", (*path, "trip"), text, (f"at least {least}", f"최소 {least}"))


def _windows(safety: Safety) -> Iterator[Finding]:
    for low, high in WINDOWS:
        if getattr(safety, low).warn >= getattr(safety, high).warn:
            text = f"{low} is not below {high}", f"{low} 이(가) {high} 보다 낮지 않습니다"
            yield finding("E-SAFETY-ORDER", ("safety", low), text, ("leave a window", "그 사이에 범위를 두십시오"))


def _narrowing(place: Place) -> Iterator[Finding]:
    """A step's own bounds against all that hold around it."""
    own = place.step.safety
    if own is None:
        return
    for name in Safety.model_fields:
        bound = getattr(own, name)
        if bound is None:
            continue
        path = place.at("safety", name)
        yield from _order(name, bound, path)
        outer = [other for block in place.around[:-1] if (other := getattr(block, name)) is not None]
        if isinstance(bound, CurrentBound) and any(_mixed(bound, other) for other in outer):
            text = (
                f"{place.name}: {name} has another unit than the bound it narrows",
                f"{place.name}: {name} 의 단위가 좁히려는 한계의 단위와 다릅니다",
            )
            yield finding("E-SAFETY-UNITS", path, text, ("use the same one", "같은 단위를 쓰십시오"))
            continue
        for key in ("warn", "trip", "delay"):
            if any(_wider(name, key, bound, other) for other in outer):
                text = (
                    f"{place.name}: {name}.{key} is wider than what holds around the step",
                    f"{place.name}: {name}.{key} 이(가) 스텝을 둘러싼 한계보다 넓습니다",
                )
                hint = "a step may narrow limits, never widen", "스텝은 한계를 좁힐 수만 있습니다"
                yield finding("E-SAFETY-WIDENED", (*path, key), text, hint)


def _mixed(bound: CurrentBound, other: CurrentBound) -> bool:
    units = {level.per_rated_capacity for b in (bound, other) for level in (b.warn, b.trip)}
    return len(units) > 1


def _wider(name: str, key: str, bound: Any, other: Any) -> bool:
    own, outer = (getattr(b, key) for b in (bound, other))
    if isinstance(bound, CurrentBound) and key != "delay":
        own, outer = own.value, outer.value
    return bool(own > outer if key == "delay" or name in RISING else own < outer)


def _within_battery(subject: Subject) -> Iterator[Finding]:
    safety, dut = subject.recipe.safety, subject.dut
    assert dut is not None
    rules: list[tuple[str, float, str]] = [
        ("cell_voltage_max", dut.cell_voltage_hard_max, "V"),
        ("voltage_max", dut.cell_voltage_hard_max, "V/cell"),
        ("temperature_max", dut.temperature_max, "degC"),
        ("temperature_min", dut.temperature_min, "degC"),
    ]
    if not subject.recipe.takes_empty:
        rules += [
            ("cell_voltage_min", dut.cell_voltage_hard_min, "V"),
            ("voltage_min", dut.cell_voltage_hard_min, "V/cell"),
        ]
    for name, bound, unit in rules:
        trip = getattr(safety, name).trip
        if trip > bound if name in RISING else trip < bound:
            text = (
                f"{name} trips at {trip:g} {unit}, beyond the {bound:g} {unit} of {dut.model}",
                f"{name} 이(가) {trip:g} {unit} 에서 차단합니다. {dut.model} 의 한계는 {bound:g} {unit} 입니다",
            )
            hint = "a recipe may narrow limits, never widen", "레시피는 한계를 좁힐 수만 있습니다"
            yield finding("E-SAFETY-WIDENED", ("safety", name, "trip"), text, hint)
