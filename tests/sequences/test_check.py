from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from sequences import Dut, GradeRules, Recipe, StationLimits, check, check_rules

Build = Callable[[dict[tuple[str | int, ...], Any]], Recipe]
CHARGE, TO_80, POINTS = ("steps", 2), ("steps", 4), ("steps", 5)
PULSE = (*POINTS, "steps", 1)


def test_the_shipped_recipe_has_no_findings(recipe_with: Build, dut: Dut, station: StationLimits) -> None:
    assert check(recipe_with({}), dut, station) == []


@pytest.mark.parametrize(
    ("changes", "code", "path", "said"),
    [
        ({(*CHARGE, "current"): "2C"}, "E-CURRENT-DUT", (*CHARGE, "current"), "120 A is above the 60 A charge rating"),
        ({(*CHARGE, "current"): "80.5 A"}, "E-CURRENT-STATION", (*CHARGE, "current"), "station's 80 A"),
        ({(*PULSE, "current"): "1.3C"}, "E-POWER-STATION", (*PULSE, "current"), "31.4 kW is above the station's 30 kW"),
        ({(*TO_80, "current"): "1.1C"}, "E-CURRENT-SAFETY", (*TO_80, "current"), "would trip the recipe's own"),
        ({(*CHARGE, "cell_voltage"): "4.25 V"}, "E-VOLTAGE-DUT", (*CHARGE, "cell_voltage"), "outside the 2.7 to 4.2 V"),
        ({(*TO_80, "cell_voltage"): "2.5 V"}, "E-VOLTAGE-DUT", (*TO_80, "cell_voltage"), "outside the 2.7 to 4.2 V"),
        (
            {("safety", "cell_voltage_max", "trip"): "5.5 V"},
            "E-SAFETY-WIDENED",
            ("safety", "cell_voltage_max", "trip"),
            "5.5 V, beyond the 4.25 V",
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
        ({(*TO_80, "ends"): ["depth <= 20 %"]}, "E-END-AT-ONCE", (*TO_80, "ends", 0), "met before the step begins"),
        ({(*TO_80, "ends"): ["step_time >= 2 h"]}, "E-END-UNREACHABLE", (*TO_80, "ends", 0), "cannot come before"),
        (
            {(*TO_80, "ends"): ["depth >= 200 %"]},
            "E-END-UNREACHABLE",
            (*TO_80, "ends", 0),
            "more than the battery holds",
        ),
        ({(*CHARGE, "ends"): ["current <= 1C"]}, "E-END-AT-ONCE", (*CHARGE, "ends", 0), "met at the set current"),
        ({(*CHARGE, "max_time"): "0 s"}, "E-STEP-ZERO", (*CHARGE, "max_time"), "may last no time"),
        ({("steps", 0, "duration"): "0 s"}, "E-STEP-ZERO", ("steps", 0, "duration"), "lasts no time"),
        ({(*PULSE, "sample"): "5 s"}, "E-PULSE-SAMPLE", (*PULSE, "sample"), "no sampling period"),
        ({("steps", 0, "name"): "charge"}, "E-NAME-TWICE", (*CHARGE, "name"), "'charge' is used twice"),
        (
            {("roles",): ["cycler", "interlock", "battery_monitor", "temperature_scanner"]},
            "E-ROLE-UNDECLARED",
            ("steps", 1, "role"),
            "not declared",
        ),
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
        ({("applies_to", "chemistry"): ["LFP"]}, "E-NOT-FOR-DUT", ("applies_to", "chemistry"), "not for NMC"),
        (
            {("safety", "total_time"): {"warn": "1 h", "trip": "1 h"}},
            "E-TIME-TOTAL",
            ("safety", "total_time"),
            "takes about",
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
            "no battery reaches",
        ),
        (
            {("roles",): ["cycler", "interlock", "battery_monitor", "impedance_meter"]},
            "E-ROLE-UNDECLARED",
            ("roles",),
            "safety limits need the role 'temperature_scanner'",
        ),
        (
            {("steps", 0, "ends"): ["current <= 1 A"]},
            "E-END-AT-ONCE",
            ("steps", 0, "ends", 0),
            "no current flows in a rest",
        ),
        (
            {("measurements", 0, "from", "until"): "arrival"},
            "E-STEP-ORDER",
            ("measurements", 0, "from", "until"),
            "does not come after",
        ),
    ],
)
def test_a_faulty_recipe_gets_its_finding_at_its_place(
    changes: dict[tuple[str | int, ...], Any], code: str, path: tuple[str | int, ...], said: str,
    recipe_with: Build, dut: Dut, station: StationLimits,
) -> None:  # fmt: skip
    found = {finding.code: finding for finding in check(recipe_with(changes), dut, station)}
    assert code in found
    assert found[code].path == path
    assert said in found[code].message
    assert found[code].hint


def test_grade_rules_that_compare_apples_with_volts_are_found(recipe_with: Build) -> None:
    data = {
        "schema": "evaline/grades/1", "id": "x", "source": "test", "rejects": [], "otherwise": "D",
        "classes": [{"grade": "A", "title": {"en": "a", "ko": "a"}, "needs": ["stateOfHealth >= 80 V"]}],
    }  # fmt: skip
    (finding,) = check_rules(recipe_with({}), GradeRules.model_validate(data))
    assert finding.code == "E-GRADES"
    assert "compares stateOfHealth with a voltage" in finding.message


def test_a_station_without_a_role_is_found(recipe_with: Build, dut: Dut, station: StationLimits) -> None:
    poor = StationLimits(450.0, 80.0, 80.0, 30000.0, station.roles - {"impedance_meter"})
    assert [f.code for f in check(recipe_with({}), dut, poor)] == ["E-ROLE-MISSING"]


def test_a_battery_beyond_the_stations_voltage_is_found(recipe_with: Build, dut: Dut, station: StationLimits) -> None:
    low = StationLimits(400.0, 80.0, 80.0, 30000.0, station.roles)
    assert [f.code for f in check(recipe_with({}), dut, low)] == ["E-VOLTAGE-STATION"]


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
        ({(*CHARGE, "ends"): []}, "at least 1"),
        ({(*CHARGE, "ends"): ["cell_max >= 4.2 V"]}, "end on falling current"),
        ({(*CHARGE, "ends"): ["current <= 5 V"]}, "compares a current with a voltage"),
        ({(*CHARGE, "ends"): ["__class__ <= 5 V"]}, "unknown signal"),
        ({(*CHARGE, "ends"): ["current <= C/10 and 9**9**9"]}, "not a quantity"),
        ({(*CHARGE, "ends"): ["(" * 20000]}, "not a comparison"),
        ({(*POINTS, "times"): 0}, "greater than or equal to 1"),
        ({(*POINTS, "times"): "no"}, "valid integer"),
        ({(*POINTS, "steps"): []}, "at least 1"),
        ({("steps", 0, "step"): "rset"}, "does not match any of the expected tags"),
        ({("steps", 0, "name"): "../etc"}, "should match pattern"),
        ({("schema",): "evaline/recipe/2"}, "evaline/recipe/1"),
        ({("content_hash",): "x"}, "computed"),
        ({("measurements", 2, "limits"): {"min": "50 V"}}, "a fraction is needed"),
        ({("measurements", 15, "limits"): {"max": "50 K"}}, "a temperature is needed"),
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
            "unroll to 1000008 step runs",
        ),
    ],
)
def test_a_recipe_that_is_not_well_formed_is_refused(
    changes: dict[tuple[str | int, ...], Any], said: str, recipe_with: Build
) -> None:
    with pytest.raises(ValidationError, match=said):
        recipe_with(changes)


def test_the_hash_follows_the_content_and_nothing_else(recipe_with: Build, library_recipe: Any) -> None:
    reordered = dict(reversed(library_recipe.items()))
    assert Recipe.from_data(reordered).content_hash == recipe_with({}).content_hash
    assert recipe_with({(*CHARGE, "current"): "C/3"}).content_hash != recipe_with({}).content_hash
