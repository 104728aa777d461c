"""Safety and set points: nothing is accepted that a limit of the recipe, the battery or the station forbids."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from sequences import GradeRules, Recipe
from sequences.check import check, check_rules
from tests.sequences.checking import (
    DUT,
    STATION,
    capacity,
    cp,
    cr,
    found,
    go_to_soc,
    hppc,
    insulate,
    one,
    one_pulse,
    profile,
    pulse,
    recipe,
    soak,
    sound,
    spoken,
    when,
)
from tests.sequences.playing import Data, cc, cccv, group, rest

Path = tuple[str | int, ...]
Build = Callable[[dict[Path, Any]], Recipe]
CHARGE, TO_80, POINTS = ("steps", 3), ("steps", 5), ("steps", 6)
PULSE = (*POINTS, "steps", 1)
SAFETY = "safety"


def test_the_shipped_recipe_has_no_findings(recipe_with: Build) -> None:
    assert check(recipe_with({}), DUT, STATION) == []
    assert check(recipe_with({})) == []


@pytest.mark.parametrize(
    ("changes", "code", "path", "said"),
    [
        ({(*CHARGE, "current"): "2C"}, "E-CURRENT-DUT", (*CHARGE, "current"), "120 A is above the 60 A charge rating"),
        ({(*CHARGE, "current"): "80.5 A"}, "E-CURRENT-STATION", (*CHARGE, "current"), "station's 80 A"),
        (
            {(*PULSE, "pulses", 0, "current"): "1.3C"},
            "E-POWER-STATION",
            (*PULSE, "pulses", 0, "current"),
            "31.4 kW is above the station's 30 kW",
        ),
        ({(*TO_80, "current"): "1.1C"}, "E-CURRENT-SAFETY", (*TO_80, "current"), "would trip the recipe's own"),
        ({(*CHARGE, "cell_voltage"): "4.25 V"}, "E-VOLTAGE-DUT", (*CHARGE, "cell_voltage"), "outside the 2.7 to 4.2 V"),
        ({(*TO_80, "cell_voltage"): "2.5 V"}, "E-VOLTAGE-DUT", (*TO_80, "cell_voltage"), "outside the 2.7 to 4.2 V"),
        (
            {("safety", "cell_voltage_max", "trip"): "4.4 V"},
            "E-SAFETY-WIDENED",
            ("safety", "cell_voltage_max", "trip"),
            "4.4 V, beyond the 4.25 V",
        ),
        (
            {("safety", "temperature_max", "trip"): "80 degC"},
            "E-SAFETY-WIDENED",
            ("safety", "temperature_max", "trip"),
            "beyond the 50 degC",
        ),
        (
            {("safety", "cell_voltage_max", "warn"): "4.3 V"},
            "E-SAFETY-ORDER",
            ("safety", "cell_voltage_max"),
            "trip level comes before",
        ),
        (
            {("safety", "charge_current", "warn"): "31 A"},
            "E-SAFETY-UNITS",
            ("safety", "charge_current"),
            "different units",
        ),
        ({(*TO_80, "ends"): ["depth <= 20 %"]}, "E-END-AT-ONCE", (*TO_80, "ends", 0), "is met at once"),
        ({(*TO_80, "ends"): ["step_time >= 2 h"]}, "E-END-UNREACHABLE", (*TO_80, "ends", 0), "can never come"),
        ({(*TO_80, "ends"): ["depth >= 200 %"]}, "E-END-UNREACHABLE", (*TO_80, "ends", 0), "can never come"),
        ({(*CHARGE, "ends"): ["current <= 1C"]}, "E-END-AT-ONCE", (*CHARGE, "ends", 0), "is met at once"),
        ({(*CHARGE, "max_time"): "0 s"}, "E-STEP-ZERO", (*CHARGE, "max_time"), "lasts no time"),
        ({("steps", 0, "duration"): "0 s"}, "E-STEP-ZERO", ("steps", 0, "duration"), "lasts no time"),
        ({(*PULSE, "sample"): "5 s"}, "E-PULSE-SAMPLE", (*PULSE, "sample"), "no sampling period"),
        ({("steps", 0, "name"): "charge"}, "E-NAME-TWICE", (*CHARGE, "name"), "'charge' is used twice"),
        ({("roles", "impedance_meter"): None}, "E-ROLE-UNDECLARED", ("steps", 2), "not declared"),
        ({("roles", "temperature_scanner"): None}, "E-ROLE-UNDECLARED", ("roles",), "limits need the role 'temp"),
        (
            {("measurements", 0, "from", "after"): "nowhere"},
            "E-STEP-UNKNOWN",
            ("measurements", 0, "from", "after"),
            "no step 'nowhere'",
        ),
        (
            {("measurements", 6, "from", "pulse"): "charge"},
            "E-STEP-KIND",
            ("measurements", 6, "from", "pulse"),
            "'charge' is a cccv step",
        ),
        (
            {("measurements", 6, "from", "at"): "30 s"},
            "E-PULSE-TIME",
            ("measurements", 6, "from", "at"),
            "outside the pulse",
        ),
        (
            {("measurements", 0, "from", "until"): "arrival"},
            "E-STEP-ORDER",
            ("measurements", 0, "from", "until"),
            "does not come after",
        ),
        ({("applies_to", "chemistry"): ["LFP"]}, "E-NOT-FOR-DUT", ("applies_to", "chemistry"), "not for NMC"),
        ({("applies_to", "model"): ["other"]}, "E-NOT-FOR-DUT", ("applies_to", "model"), "not for pack_96s"),
        (
            {("safety", "total_time"): {"warn": "10 min", "trip": "30 min"}},
            "E-TIME-TOTAL",
            ("safety", "total_time"),
            "takes 0.9 h at least",
        ),
        (
            {("safety", "cell_voltage_max", "delay"): "100 h"},
            "E-SAFETY-REACH",
            ("safety", "cell_voltage_max", "delay"),
            "switches the limit off",
        ),
        (
            {("safety", "insulation"): {"warn": "500 ohm/V", "trip": "0 ohm/V", "delay": "5 s"}},
            "E-SAFETY-REACH",
            ("safety", "insulation", "trip"),
            "below 100 ohm/V only",
        ),
        (
            {("safety", "cell_spread", "trip"): "999 V"},
            "E-SAFETY-REACH",
            ("safety", "cell_spread", "trip"),
            "comes too late",
        ),
        (
            {("safety", "cell_voltage_max", "trip"): "5.5 V"},
            "E-SAFETY-REACH",
            ("safety", "cell_voltage_max", "trip"),
            "comes too late",
        ),
        ({("steps", 0, "ends"): ["current <= 1 A"]}, "E-END-AT-ONCE", ("steps", 0, "ends", 0), "is met at once"),
    ],
)
def test_a_faulty_recipe_gets_its_finding_at_its_place(
    changes: dict[Path, Any], code: str, path: Path, said: str, recipe_with: Build
) -> None:
    findings = found(recipe_with(changes))
    assert code in findings
    assert findings[code].path == path
    assert said in findings[code].text.en


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({(*CHARGE, "curent"): "C/2"}, "Extra inputs"),
        ({(*CHARGE, "current"): 30}, "needs a unit"),
        ({(*CHARGE, "current"): "4.2 V"}, "a current is needed"),
        ({(*CHARGE, "current"): "-30 A"}, "above zero"),
        ({(*CHARGE, "max_time"): None}, "Field required"),
        ({("safety",): None}, "Field required"),
        ({("safety", "insulation"): None}, "Field required"),
        ({(*CHARGE, "ends"): []}, "end on falling current"),
        ({(*CHARGE, "ends"): ["cell_max >= 4.2 V"]}, "end on falling current"),
        ({(*CHARGE, "ends"): ["__class__ <= 5 V"]}, "nothing that an expression may hold"),
        ({(*CHARGE, "ends"): ["current <= C/10 and 9**9**9"]}, "a value is missing"),
        ({(*CHARGE, "ends"): ["(" * 399]}, "longer than 120 words"),
        ({(*CHARGE, "ends"): ["(" * 20000]}, "longer than 400 characters"),
        ({(*POINTS, "times"): 0}, "greater than or equal to 1"),
        ({(*POINTS, "times"): "no"}, "valid integer"),
        ({(*POINTS, "times"): True}, "valid integer"),
        ({("roles", "code_reader", "optional"): "yes"}, "valid boolean"),
        ({(*POINTS, "steps"): []}, "at least 1"),
        ({("steps", 0, "step"): "rset"}, "does not match any of the expected tags"),
        ({("steps", 0, "name"): "../etc"}, "should match pattern"),
        ({("schema",): "evaline/recipe/2"}, "evaline/recipe/1"),
        ({("content_hash",): "x"}, "Extra inputs"),
        (
            {
                (*POINTS, "times"): 1000,
                (*POINTS, "steps"): [
                    {
                        "name": "inner",
                        "step": "repeat",
                        "times": 1000,
                        "steps": [{"name": "r", "step": "rest", "duration": "1 s"}],
                    }
                ],
            },
            "unroll to 1000006 step runs",
        ),
    ],
)
def test_a_recipe_that_is_not_well_formed_is_refused(changes: dict[Path, Any], said: str, recipe_with: Build) -> None:
    with pytest.raises(ValidationError, match=said):
        recipe_with(changes)


def test_the_hash_follows_the_content_and_nothing_else(recipe_with: Build, library_recipe: Any) -> None:
    reordered = dict(reversed(library_recipe.items()))
    assert Recipe.from_data(reordered).content_hash == recipe_with({}).content_hash
    assert recipe_with({(*CHARGE, "current"): "C/3"}).content_hash != recipe_with({}).content_hash


# ------------------------------------------------------------------------------------------ battery and station


def test_a_station_without_a_role_is_found(recipe_with: Build) -> None:
    poor = {role: can for role, can in STATION.capabilities.items() if role != "impedance_meter"}
    assert one(recipe_with({}), DUT, dataclasses.replace(STATION, capabilities=poor)).code == "E-ROLE-MISSING"


def test_a_station_whose_instrument_cannot_do_it_is_found(recipe_with: Build) -> None:
    poor = {**STATION.capabilities, "battery_monitor": frozenset({"cell_voltages"})}
    finding = one(recipe_with({}), DUT, dataclasses.replace(STATION, capabilities=poor))
    assert (finding.code, finding.path) == ("E-CAPABILITY-MISSING", ("roles", "battery_monitor", "needs", 1))


def test_a_battery_beyond_the_stations_voltage_is_found(recipe_with: Build) -> None:
    assert one(recipe_with({}), DUT, dataclasses.replace(STATION, max_voltage=400.0)).code == "E-VOLTAGE-STATION"


# ------------------------------------------------------------------------------------------------------- grades


def rules(needs: str, **more: Any) -> GradeRules:
    classes = [{"grade": "A", "title": {"en": "a", "ko": "a"}, "needs": [needs]}]
    return GradeRules.from_data(
        {"schema": "evaline/grades/1", "id": "x", "source": "test", "otherwise": "D", "classes": classes, **more}
    )


REASON = {"en": "why", "ko": "이유"}


@pytest.mark.parametrize(
    "faulty",
    [
        rules("stateOfHealth >= 80 V"),
        rules("capacityFade <= 10 %", rejects=[{"grade": "Q", "when": "stateOfHealth >= 80 V", "reason": REASON}]),
        rules("capacityFade <= 10 %", caps=[{"best": "D", "unless": ["stateOfHealth >= 80 V"], "reason": REASON}]),
    ],
    ids=["need", "reject", "cap"],
)
def test_grade_rules_that_compare_apples_with_volts_are_found(faulty: GradeRules, recipe_with: Build) -> None:
    (finding,) = spoken(check_rules(recipe_with({}), faulty))
    assert finding.code == "E-GRADES"
    assert "compares stateOfHealth with a voltage" in finding.text.en


def test_a_recipe_that_grades_on_the_way_must_measure_what_the_rules_need() -> None:
    grading = recipe(rest(), {"step": "grade", "name": "provisional"})
    (finding,) = spoken(check_rules(grading, rules("stateOfHealth >= 80 %")))
    assert (finding.code, finding.path) == ("E-GRADES", ("steps", 1))
    assert check_rules(recipe(rest()), rules("stateOfHealth >= 80 %")) == [], "a run that is not graded is no fault"


# ------------------------------------------------------------------------------------------------------ currents


@pytest.mark.parametrize(
    ("step", "code", "path"),
    [
        (cc(current="1.2C"), "E-CURRENT-SAFETY", ("current",)),
        (cc(direction="charge", current="0.6C"), "E-CURRENT-SAFETY", ("current",)),
        (cccv(current="0.6C"), "E-CURRENT-SAFETY", ("current",)),
        ({**cccv(), "step": "cv", "current": "36 A"}, "E-CURRENT-SAFETY", ("current",)),
        (pulse(one_pulse(), one_pulse(direction="charge")), "E-CURRENT-SAFETY", ("pulses", 1, "current")),
        (pulse(one_pulse(current="100 A")), "E-CURRENT-DUT", ("pulses", 0, "current")),
        (go_to_soc(current="0.7C"), "E-CURRENT-SAFETY", ("current",)),  # it may have to charge
        (hppc(current="0.7C"), "E-CURRENT-SAFETY", ("current",)),
        (hppc(pulses=[one_pulse(current="1.2C")]), "E-CURRENT-SAFETY", ("pulses", 0, "current")),
        (capacity(charge_current="1C"), "E-CURRENT-SAFETY", ("charge_current",)),
        (capacity(discharge_current="2C"), "E-CURRENT-DUT", ("discharge_current",)),
        (cp(power="20 kW"), "E-CURRENT-SAFETY", ("power",)),  # 74 A at 2.8 V a cell
        (cp(power="1P"), "E-CURRENT-SAFETY", ("power",)),
        (cp(direction="charge", power="10 kW", cell_voltage="4.2 V"), "E-CURRENT-SAFETY", ("power",)),
        (cp(power="31 kW"), "E-POWER-STATION", ("power",)),
        (cr(resistance="2 ohm", current="1.2C"), "E-CURRENT-SAFETY", ("current",)),
        (profile(("0 s", "-70 A"), ("10 s", "0 A")), "E-CURRENT-SAFETY", ("rows", 0, 1)),
        (profile(("0 s", "0 A"), ("10 s", "40 A"), ("20 s", "0 A")), "E-CURRENT-SAFETY", ("rows", 1, 1)),
        (profile(("0 s", "-95 A"), ("10 s", "0 A")), "E-CURRENT-DUT", ("rows", 0, 1)),
        (profile(("0 s", "-20 kW"), ("10 s", "0 W"), of="power"), "E-CURRENT-SAFETY", ("rows", 0, 1)),
    ],
)
def test_no_step_asks_for_more_current_than_every_limit_stands(step: Data, code: str, path: Path) -> None:
    finding = found(recipe(step))[code]
    assert finding.path == ("steps", 0, *path)


@pytest.mark.parametrize(
    "step",
    [
        cp(), cr(), cr(resistance="2000 ohm", current="5C"), pulse(), go_to_soc(), hppc(), capacity(), profile(),
        cc(direction="charge"), cccv(), insulate() | {"name": "x"},
    ],
    ids=lambda step: str(step["step"]),
)  # fmt: skip
def test_steps_within_every_limit_are_sound(step: Data) -> None:
    guarded = when("has_insulation_tester", step) if step["step"] == "insulation" else step
    assert sound(recipe(guarded))
    assert sound(recipe(guarded), None, None)


def test_what_needs_no_battery_is_known_without_one() -> None:
    assert found(recipe(cc(current="1.2C")), None)["E-CURRENT-SAFETY"].path == ("steps", 0, "current")
    assert found(recipe(cccv(cell_voltage="5.5 V")), None)["E-VOLTAGE-SAFETY"].path == ("steps", 0, "cell_voltage")
    assert sound(recipe(cc(current="200 A")), None, None), "amperes against a C-rate need a battery"


def test_a_step_is_held_to_the_bounds_of_everything_around_it() -> None:
    tight = {"discharge_current": {"warn": "0.3C", "trip": "0.4C", "delay": "1 s"}}
    assert one(recipe(cc(safety=tight))).code == "E-CURRENT-SAFETY"
    assert one(recipe(group("g", cc(), safety=tight))).code == "E-CURRENT-SAFETY"
    assert one(recipe(hppc(safety=tight))).path == ("steps", 0, "pulses", 0, "current")
    warm = {"temperature_max": {"warn": "28 degC", "trip": "30 degC", "delay": "1 s"}}
    assert one(recipe(cc(ends=["temperature_max >= 40 degC"], safety=warm))).code == "E-END-UNREACHABLE"


# ------------------------------------------------------------------------------------------------------ voltages


@pytest.mark.parametrize(
    ("step", "code", "path"),
    [
        (cccv(cell_voltage="4.25 V"), "E-VOLTAGE-SAFETY", ("cell_voltage",)),
        (cc(cell_voltage="2.55 V"), "E-VOLTAGE-SAFETY", ("cell_voltage",)),
        (cc(cell_voltage="2.60 V"), "E-VOLTAGE-SAFETY", ("cell_voltage",)),  # the whole battery would trip
        (cc(cell_voltage="2.65 V"), "E-VOLTAGE-DUT", ("cell_voltage",)),
        (cp(cell_voltage="0 V"), "E-VOLTAGE-DUT", ("cell_voltage",)),
        (cr(cell_voltage="1 V"), "E-VOLTAGE-DUT", ("cell_voltage",)),
        (pulse(cell_voltage_max="4.3 V"), "E-VOLTAGE-DUT", ("cell_voltage_max",)),
        (go_to_soc(cell_voltage_min="2 V"), "E-VOLTAGE-DUT", ("cell_voltage_min",)),
        (hppc(cell_voltage_max="4.3 V"), "E-VOLTAGE-DUT", ("cell_voltage_max",)),
        (profile(cell_voltage_min="2 V"), "E-VOLTAGE-DUT", ("cell_voltage_min",)),
        (capacity(charge_cell_voltage="4.3 V"), "E-VOLTAGE-DUT", ("charge_cell_voltage",)),
        (capacity(discharge_cell_voltage="2 V"), "E-VOLTAGE-DUT", ("discharge_cell_voltage",)),
        (pulse(cell_voltage_min="4.2 V"), "E-VOLTAGE-WINDOW", ("cell_voltage_min",)),
        (profile(cell_voltage_min="4.2 V"), "E-VOLTAGE-WINDOW", ("cell_voltage_min",)),
        (capacity(discharge_cell_voltage="4.2 V"), "E-VOLTAGE-WINDOW", ("discharge_cell_voltage",)),
        (cc(cell_voltage="4.2 V"), "E-END-AT-ONCE", ("cell_voltage",)),  # discharges to where it comes from
        (cc(direction="charge", cell_voltage="2.7 V"), "E-END-AT-ONCE", ("cell_voltage",)),
    ],
)
def test_no_step_drives_a_cell_out_of_every_window(step: Data, code: str, path: Path) -> None:
    assert found(recipe(step))[code].path == ("steps", 0, *path)


# -------------------------------------------------------------------------------- states of charge, heat, insulation


@pytest.mark.parametrize(
    ("step", "code", "path"),
    [
        (go_to_soc(soc="120 %"), "E-SOC-RANGE", ("soc",)),
        ({"step": "set", "name": "full", "soc": "101 %"}, "E-SOC-RANGE", ("soc",)),
        (when("has_chamber", soak(temperature="60 degC")), "E-TEMPERATURE-DUT", ("then", 0, "temperature")),
        (when("has_chamber", soak(temperature="50 degC")), "E-TEMPERATURE-SAFETY", ("then", 0, "temperature")),
        (
            when("has_chamber", {"step": "set", "name": "s", "chamber": "-20 degC"}),
            "E-TEMPERATURE-DUT",
            ("then", 0, "chamber"),
        ),
        (when("has_insulation_tester", insulate(voltage="1001 V")), "E-INSULATION-VOLTAGE", ("then", 0, "voltage")),
        (when("has_insulation_tester", insulate(voltage="650 V")), "E-INSULATION-VOLTAGE", ("then", 0, "voltage")),
        (when("has_insulation_tester", insulate(voltage="0 V")), "E-INSULATION-VOLTAGE", ("then", 0, "voltage")),
    ],
)
def test_no_set_point_lies_where_battery_or_sense_do_not_follow(step: Data, code: str, path: Path) -> None:
    assert found(recipe(step))[code].path == ("steps", 0, *path)


# ------------------------------------------------------------------------------------------------------- safety


@pytest.mark.parametrize(
    ("bound", "values", "code", "path"),
    [
        ("temperature_max", {"warn": "40 degC", "trip": "51 degC"}, "E-SAFETY-WIDENED", ("trip",)),
        ("temperature_max", {"warn": "46 degC", "trip": "49 degC"}, "E-SAFETY-WIDENED", ("warn",)),
        ("temperature_min", {"warn": "12 degC", "trip": "4 degC"}, "E-SAFETY-WIDENED", ("trip",)),
        ("temperature_max", {"delay": "3 s"}, "E-SAFETY-WIDENED", ("delay",)),
        ("charge_current", {"warn": "0.5C", "trip": "0.7C"}, "E-SAFETY-WIDENED", ("trip",)),
        ("charge_current", {"warn": "10 A", "trip": "20 A"}, "E-SAFETY-UNITS", ()),
        ("charge_current", {"warn": "10 A", "trip": "0.5C"}, "E-SAFETY-UNITS", ()),
        ("temperature_max", {"warn": "44 degC", "trip": "43 degC"}, "E-SAFETY-ORDER", ()),
        ("insulation", {"trip": "50 ohm/V"}, "E-SAFETY-WIDENED", ("trip",)),
    ],
)
def test_a_step_narrows_and_never_widens(
    bound: str, values: dict[str, str], code: str, path: Path, library_recipe: Any
) -> None:
    own = {bound: {**library_recipe["safety"][bound], **values}}
    finding = found(recipe(rest(safety=own)))[code]
    assert finding.path == ("steps", 0, "safety", bound, *path)


def test_a_step_may_not_widen_what_a_step_around_it_narrowed() -> None:
    def hottest(trip: str) -> Data:
        return {"temperature_max": {"warn": "28 degC", "trip": trip, "delay": "1 s"}}

    inside = group("g", rest(safety=hottest("40 degC")), safety=hottest("30 degC"))
    finding = one(recipe(inside))
    assert (finding.code, finding.path) == (
        "E-SAFETY-WIDENED",
        ("steps", 0, "steps", 0, "safety", "temperature_max", "trip"),
    )
    assert sound(recipe(group("g", rest(safety=hottest("29 degC")), safety=hottest("30 degC"))))


def test_windows_that_are_none_are_found(library_recipe: Any) -> None:
    closed = {**library_recipe["safety"], "temperature_min": {"warn": "45 degC", "trip": "44 degC", "delay": "1 s"}}
    finding = one(recipe(rest(), safety=closed))
    assert (finding.code, finding.path) == ("E-SAFETY-ORDER", ("safety", "temperature_min"))


# -------------------------------------------------------------------------------------------------- destruction


def empties(library_recipe: Any, **more: Any) -> Data:
    """Safety that lets cells be emptied to 0.5 V."""
    low = {
        "cell_voltage_min": {"warn": "0.8 V", "trip": "0.5 V", "delay": "1 s"},
        "voltage_min": {"warn": "0.8 V/cell", "trip": "0.5 V/cell", "delay": "1 s"},
    }
    return {**library_recipe["safety"], **low, **more}


def test_only_a_destructive_recipe_empties_cells_below_what_a_battery_for_use_stands(library_recipe: Any) -> None:
    safety, deep = empties(library_recipe), cc(cell_voltage="1 V", current="C/10")
    assert {*found(recipe(deep, safety=safety))} == {"E-SAFETY-WIDENED", "E-VOLTAGE-DUT"}
    assert sound(recipe(deep, safety=safety, destructive=True))
    assert sound(recipe(cr(cell_voltage="1 V"), safety=safety, destructive=True))
    too_deep = one(recipe(cc(cell_voltage="0.4 V"), safety=safety, destructive=True))
    assert too_deep.code == "E-VOLTAGE-SAFETY", "its own limits hold all the same"


def test_a_destructive_recipe_neither_charges_nor_touches_an_upper_limit(library_recipe: Any) -> None:
    safety = empties(library_recipe)
    for step in (cccv(), cc(direction="charge"), go_to_soc(), pulse(one_pulse(direction="charge", current="C/3"))):
        assert one(recipe(step, safety=safety, destructive=True)).code == "E-DESTRUCTIVE"
    high = empties(library_recipe, cell_voltage_max={"warn": "4.22 V", "trip": "4.3 V", "delay": "1 s"})
    assert one(recipe(cc(), safety=high, destructive=True)).code == "E-SAFETY-WIDENED"


def test_a_recipe_that_lets_no_current_flow_may_find_a_battery_that_is_not_insulated(library_recipe: Any) -> None:
    bare = {**library_recipe["safety"], "insulation": {"warn": "500 ohm/V", "trip": "0 ohm/V", "delay": "5 s"}}
    assert sound(recipe(rest(), safety=bare))
    assert one(recipe(cc(), safety=bare)).code == "E-SAFETY-REACH"
