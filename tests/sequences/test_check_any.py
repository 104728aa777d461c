"""Whatever a recipe says: it is refused in words, or it asks for nothing that battery, station and limits do not stand.

What a recipe asks for is not worked out here from its words again: its steps are run, and their set points looked at.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from config import DocumentError, parse_document, read_document
from config.documents import MAX_ERRORS, validation_errors
from controller.recipes import library_data
from sequences import (
    Bound,
    Call,
    Context,
    Counters,
    Drive,
    FaultError,
    Quality,
    Recipe,
    Safety,
    Sample,
    Value,
    View,
    effective_bounds,
    tightest,
)
from sequences.actions import Ended
from sequences.check import MAX_FINDINGS, check
from sequences.flow import bodies
from sequences.leaf import run_of
from sequences.view import Rates
from tests.sequences.checking import (
    DUT,
    HANGUL,
    STATION,
    capacity,
    cp,
    cr,
    go_to_soc,
    hppc,
    one_pulse,
    profile,
    pulse,
    recipe,
    spoken,
    when,
)
from tests.sequences.playing import SHIPPED, Data, cc, cccv, compute, group, parallel, repeat, rest
from tests.sequences.playing import check as checks

# ------------------------------------------------------------------------------------------------ what steps ask for


def leaves(checked: Recipe) -> Iterator[tuple[Any, list[Safety]]]:
    """Every step that runs, with the safety blocks that hold meanwhile."""

    def inside(steps: list[Any], of: Recipe, around: list[Safety]) -> Iterator[tuple[Any, list[Safety]]]:
        for step in steps:
            own = [*around, of.safety.narrowed(step.safety)]
            if isinstance(step, Call):
                yield from inside(step.body.steps, step.body, [*own, step.body.safety])
            elif lists := bodies(step):
                for _, inner in lists:
                    yield from inside(inner, of, own)
            else:
                yield step, own

    return inside(checked.steps, checked, [checked.safety])


def view(cell: float, soc: float, step_time: float) -> View:
    volts = cell * DUT.series_cells
    values = {"voltage": volts, "cell_min": cell, "cell_max": cell, "current": 1.0}
    good = {name: Value(value, step_time, Quality.GOOD, "test") for name, value in values.items()}
    sample = Sample(step_time, good, (cell,) * DUT.series_cells)
    return View(sample, step_time, step_time, Counters(), Context(DUT, 50.0, soc), Rates())


def set_points(step: Any) -> Iterator[tuple[Drive, float]]:
    """What a step drives, and the battery's voltage then, on batteries from empty to full."""
    for cell, soc in ((2.72, 0.02), (3.6, 0.5), (4.18, 0.98)):
        run = run_of(step)
        reaction = run.start(view(cell, soc, 0.0))
        for second in range(80):
            if isinstance(reaction, Drive):
                yield reaction, cell * DUT.series_cells
            if isinstance(reaction, Ended):
                break
            reaction = run.update(view(cell, soc, float(second)))


def violations(checked: Recipe) -> list[str]:
    """What a recipe would do that it may not."""
    found = []
    for step, safeties in leaves(checked):
        if not step.drives:
            continue
        bounds = effective_bounds(checked.safety, DUT, STATION, takes_empty=checked.takes_empty)
        for safety in safeties:
            bounds = tightest(bounds, effective_bounds(safety, DUT, STATION, takes_empty=checked.takes_empty))
        by_name = {bound.name: bound for bound in bounds}
        found += [
            f"{step.name}: {fault}"
            for drive, volts in set_points(step)
            for fault in _faults(drive, volts, by_name, checked)
        ]
    return found


def _faults(drive: Drive, volts: float, bounds: dict[str, Bound], checked: Recipe) -> Iterator[str]:
    amperes, cell = abs(drive.current), drive.voltage / DUT.series_cells
    charging = drive.current > 0
    if volts >= drive.voltage if charging else volts <= drive.voltage:
        return  # no current flows past its bound
    if amperes >= bounds["charge_current" if charging else "discharge_current"].trip:
        yield f"{amperes:g} A trips"
    if amperes > (DUT.max_charge_current if charging else DUT.max_discharge_current) + 1e-9:
        yield f"{amperes:g} A is more than the battery stands"
    if amperes > (STATION.max_charge_current if charging else STATION.max_discharge_current) + 1e-9:
        yield f"{amperes:g} A is more than the station stands"
    if amperes * volts > STATION.max_power * (1 + 1e-9):
        yield f"{amperes * volts:g} W is more than the station stands"
    if charging and checked.destructive:
        yield "an emptied battery is charged"
    if charging and (cell >= bounds["cell_voltage_max"].trip or drive.voltage >= bounds["voltage_max"].trip):
        yield f"{cell:g} V a cell trips"
    if charging and cell > DUT.cell_voltage_max + 1e-9:
        yield f"{cell:g} V a cell is more than the battery stands"
    if not charging and (cell <= bounds["cell_voltage_min"].trip or drive.voltage <= bounds["voltage_min"].trip):
        yield f"{cell:g} V a cell trips"
    if not charging and cell < DUT.cell_voltage_min - 1e-9 and not checked.destructive:
        yield f"{cell:g} V a cell is less than the battery stands"


@pytest.mark.parametrize(
    "step",
    [
        cc(current="1.2C"),
        cc(cell_voltage="2.55 V"),
        cccv(current="61 A"),
        cccv(cell_voltage="4.25 V"),
        cr(current="2C", resistance="1 ohm"),
        cp(power="31 kW"),
        pulse(one_pulse(current="1.5C")),
        go_to_soc(current="0.7C"),
        hppc(cell_voltage_min="2 V"),
        capacity(charge_current="1C"),
        profile(("0 s", "-80 A"), ("10 s", "0 A")),
        group("g", repeat("r", 2, cc(current="2C"))),
    ],
    ids=lambda step: str(step["step"]),
)  # fmt: skip
def test_what_is_unsafe_is_seen_to_be_so(step: Data) -> None:
    """The measure itself: recipes that nobody checked do what they may not."""
    assert violations(recipe(step))


# ------------------------------------------------------------------------------------------------- any steps at all


def mostly(*sane: str, seldom: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.sampled_from([*sane * 4, *seldom])


currents = mostly("C/3", "C/2", "30 A", seldom=("0.55C", "0.59C", "1C", "1.09C", "1.2C", "59 A", "61 A", "85 A", "2C"))
lows = mostly("2.7 V", "2.8 V", seldom=("0 V", "2 V", "2.56 V", "2.61 V", "2.69 V", "4.2 V"))
highs = mostly("4.2 V", "4.1 V", seldom=("2.7 V", "4.21 V", "4.24 V", "4.26 V", "5.5 V"))
powers = mostly("5 kW", "0.3P", seldom=("1 W", "16 kW", "17.1 kW", "18 kW", "29 kW", "31 kW", "1P", "2P"))
resistances = mostly("20 ohm", "40 ohm", seldom=("0.1 ohm", "4 ohm", "6.2 ohm", "400 ohm"))
directions = st.sampled_from(["charge", "discharge"])
durations = mostly("10 s", "2 s", seldom=("0 s", "100 ms"))
socs = mostly("50 %", "30 %", seldom=("0 %", "100 %", "130 %"))
ends = st.lists(
    mostly(
        "soc <= 20 %", "current <= C/10", "depth >= 30 %", seldom=("soc >= 90 % and cell_min <= 3 V", "cell_max > 9 V")
    ),
    min_size=1,
    max_size=2,
)
pulses = st.lists(
    st.builds(one_pulse, direction=directions, current=currents, duration=durations, rest=st.just("2 s")),
    min_size=1,
    max_size=3,
)
rows = st.lists(
    mostly("-30 A", "15 A", "0 A", seldom=("-65 A", "-67 A", "35 A", "37 A", "90 A")), min_size=2, max_size=5
)


@st.composite
def driving(draw: st.DrawFn, name: str) -> Data:
    """A step that lets current flow, with values that may be anything."""
    window = {"cell_voltage_min": draw(lows), "cell_voltage_max": draw(highs), "name": name}
    direction = draw(directions)
    voltage = draw(highs if direction == "charge" else lows)
    kinds: list[Data] = [
        cc(name, direction=direction, current=draw(currents), cell_voltage=voltage, ends=draw(ends)),
        cccv(name, direction=direction, current=draw(currents), cell_voltage=voltage),
        cp(name=name, direction=direction, power=draw(powers), cell_voltage=voltage),
        cr(name=name, resistance=draw(resistances), current=draw(currents), cell_voltage=draw(lows)),
        pulse(*draw(pulses), **window),
        go_to_soc(soc=draw(socs), current=draw(currents), **window),
        hppc(current=draw(currents), pulses=draw(pulses), **window),
        profile(*((f"{10 * k} s", value) for k, value in enumerate(draw(rows))), **window),
        capacity(
            name=name, charge_current=draw(currents), discharge_current=draw(currents),
            charge_cell_voltage=draw(highs), discharge_cell_voltage=draw(lows),
        ),
    ]  # fmt: skip
    return draw(st.sampled_from(kinds))


narrowings = st.none() | st.builds(
    lambda charge, discharge, high: {
        "charge_current": {"warn": charge, "trip": charge, "delay": "1 s"},
        "discharge_current": {"warn": discharge, "trip": discharge, "delay": "1 s"},
        "cell_voltage_max": {"warn": high, "trip": high, "delay": "1 s"},
    },
    st.sampled_from(["0.51C", "0.4C", "0.1C"]),
    st.sampled_from(["1.01C", "0.4C", "0.1C"]),
    st.sampled_from(["4.21 V", "4.1 V", "3.9 V"]),
)


@st.composite
def any_steps(draw: st.DrawFn) -> list[Data]:
    """A few steps, one inside another at times."""
    first, second = draw(driving("first")), draw(driving("second"))
    if (narrowing := draw(narrowings)) is not None:
        first["safety"] = narrowing
    shape = draw(st.integers(0, 5))
    match shape:
        case 0:
            return [first]
        case 1:
            return [rest("before"), first, second]
        case 2:
            return [repeat("rounds", 2, first), second]
        case 3:
            around = group("around", first, second)
            return [around if (n := draw(narrowings)) is None else {**around, "safety": n}]
        case 4:
            return [when("soc > 50 %", first, otherwise=[second])]
        case _:
            return [parallel("both", [first], [compute("sees", "cell_min", "x")]), checks("sane", "x > 1 V")]


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(any_steps())
def test_no_recipe_is_accepted_that_asks_for_what_something_does_not_stand(steps: list[Data]) -> None:
    try:
        checked = recipe(*steps)
    except (ValidationError, FaultError):
        event("no recipe")
        return
    findings = spoken(check(checked, DUT, STATION))
    event("refused" if findings else "accepted")
    if not findings:
        assert violations(checked) == []
    assert len(check(checked)) <= MAX_FINDINGS


# ------------------------------------------------------------------------------------------------- any broken recipe

LIBRARY: list[Data] = [library_data("quick_capacity_dcir")]
TRAPS: list[Any] = [
    None, True, False, 0, -1, 10**17, 1.5, "", "no", "1 V", "1C", "-1 A", "0 s", "9999 h", "$x", "goto charge",
    "retry 99", "100 %", "1000 %", "current <= C/10", "not has_chamber", "(" * 300, "\0", "\ud7ff", "../x", [], {},
    [[]], ["x"] * 300, {"x": {}}, {"step": "rest"},
]  # fmt: skip


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def at(data: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        data = data[part]
    return data


@st.composite
def broken(draw: st.DrawFn) -> Data:
    """A recipe of the library with a few of its values replaced, removed, or put where they do not belong."""
    data = copy.deepcopy(draw(st.sampled_from(LIBRARY)))
    for _ in range(draw(st.integers(1, 4))):
        everywhere = list(places(data))
        path = draw(st.sampled_from(everywhere))
        holder, key = at(data, path[:-1]), path[-1]
        match draw(st.integers(0, 3)):
            case 0:
                del holder[key]
            case 1:
                holder[key] = copy.deepcopy(draw(st.sampled_from(TRAPS)))
            case 2:
                holder[key] = copy.deepcopy(at(data, draw(st.sampled_from(everywhere))))
            case _ if isinstance(holder, dict):
                holder[draw(st.sampled_from(["step", "name", "called", "$x", "x" * 100]))] = holder.pop(key)
        if not data:
            break
    return data


def told(text: str) -> list[DocumentError]:
    """What is wrong with a recipe's text; every way through ends here in words."""
    try:
        document = parse_document(text, "x.yaml")
    except DocumentError as error:
        return [error]
    try:
        checked = Recipe.from_data(document.data, library=library_data, dut=DUT)
    except (ValidationError, FaultError) as error:
        return validation_errors(document, error, "E-RECIPE", Recipe)
    findings = spoken(check(checked, DUT, STATION))
    if not findings:
        assert violations(checked) == []
    return [document.error(finding.code, finding.path, finding.text) for finding in findings]


def heard(faults: list[DocumentError]) -> None:
    assert len(faults) <= max(MAX_ERRORS, MAX_FINDINGS)
    for fault in faults:
        for lang in ("en", "ko"):
            assert "\n" not in fault.in_language(lang)
        assert HANGUL.search(fault.text.ko)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(broken())
def test_a_broken_recipe_is_told_what_is_wrong_and_never_crashes(data: Data) -> None:
    heard(told(json.dumps(data, ensure_ascii=False)))


VALID = (Path(__file__).parent / "corpus" / "valid.yaml").read_text(encoding="utf-8")
slips = st.tuples(
    st.integers(0, len(VALID) - 1), st.sampled_from(["", " ", ":", "-", "0", "9", "{", "]", "'", "#", "\n", "é"])
)


@settings(max_examples=150)
@given(st.lists(slips, min_size=1, max_size=3))
def test_slips_of_the_pen_are_told_and_never_crash(edits: list[tuple[int, str]]) -> None:
    text = VALID
    for where, what in edits:
        text = text[:where] + what + text[where + 1 :]
    heard(told(text))


def test_the_recipe_that_slips_is_sound_without_them() -> None:
    assert told(VALID) == []
    assert read_document(Path(__file__).parent / "corpus" / "valid.yaml").data["id"] == "small"
    assert told(json.dumps(SHIPPED, ensure_ascii=False)) == []
