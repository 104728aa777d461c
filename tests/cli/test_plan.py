"""What the command line tells of a recipe without a daemon: its plan, its faults, its export, its schema."""

from __future__ import annotations

import copy
import json

import pytest

from controller.reference import SCHEMAS, reference
from tests.cli.plant import DISCHARGE, LIBRARY_RECIPE, REST, Data, Here, Plant, recipe

DUT = ("--dut", "nmc_96s_60ah")
QUESTION = {
    "name": "weigh", "step": "prompt", "text": {"en": "Weight?", "ko": "무게는?"}, "answer": "number",
    "into": "weight", "max_time": "10 min",
}  # fmt: skip
MODULE = {"kind": ["module"], "chemistry": ["NMC"]}


def rows(out: str) -> dict[str, list[str]]:
    """The table's lines by the step they tell of."""
    return {line.split()[0]: line.split() for line in out.splitlines() if line}


# ------------------------------------------------------------------------------------------------------------ plan


def test_a_plan_shows_every_step_run_with_what_it_takes_and_where_it_trips(here: Here) -> None:
    shown = here("plan", "quick_capacity_dcir", *DUT, "--soc", "50%", "--soh", "80 %")
    assert (shown.code, shown.err) == (0, "")
    lines = shown.out.splitlines()
    assert lines[0] == "quick_capacity_dcir 1.0.0  on nmc_96s_60ah  at 50 % SOC, 48.0 Ah"
    charge = rows(shown.out)["charge"]
    assert charge[1] == "cccv"
    assert charge[3] == "4:00:00", "its maximum time"
    assert charge[-4:] == ["2.55–4.25", "−66", "+36", "5–50"], "cells, currents, temperatures of the safety block"
    assert sum(line.startswith("pulse (") for line in lines) == 3, "loops are written out"
    assert rows(shown.out)["rest_full"][2:4] == ["0:10:00", "0:10:00"]
    assert lines[-2].endswith("; at 10:00:00 total_time trips")


def test_its_figures_follow_the_battery(here: Here) -> None:
    full, half = (here("plan", "quick_capacity_dcir", *DUT, "--soh", soh, "--json").json for soh in ("100 %", "50 %"))
    assert full["capacity_ah"] == 60.0
    assert half["capacity_ah"] == 30.0
    assert half["seconds"] < full["seconds"]
    assert full["discharged_ah"] == pytest.approx(60, rel=0.05)
    assert sum(step["seconds"] for step in full["steps"]) == pytest.approx(full["seconds"])
    charge = next(step for step in full["steps"] if step["step"] == "charge")
    assert charge["cell_max_v"] == pytest.approx(4.2, abs=0.01)
    assert charge["limits"]["cell_voltage_max"] == {"warn": 4.22, "trip": 4.25, "delay_s": 1.0, "unit": "V"}


def test_a_step_that_narrows_the_safety_block_trips_earlier(plant: Plant, here: Here) -> None:
    narrow = {"temperature_max": {"warn": "30 degC", "trip": "35 degC", "delay": "2 s"}}
    file = plant.write("narrow.yaml", recipe(REST, DISCHARGE | {"safety": narrow}))
    shown = rows(here("plan", file, *DUT).out)
    assert shown["rest"][-1] == "5–50"
    assert shown["discharge"][-1] == "5–35"


def test_a_station_that_stands_less_trips_earlier(plant: Plant, here: Here) -> None:
    def weak(line: Data) -> None:
        line["stations"]["st01"]["ratings"]["max_discharge_current_a"] = 40

    line = plant.write_line(weak)
    file = plant.write("short.yaml", recipe())
    shown = rows(here("plan", file, *DUT, "--station", "st01", "--config", line).out)
    assert shown["discharge"][-3:-1] == ["−44", "+36"], "a tenth above the rating"


def test_it_says_how_long_people_may_take(plant: Plant, here: Here) -> None:
    file = plant.write(
        "asking.yaml", recipe(QUESTION, REST, copy.deepcopy(QUESTION) | {"name": "again", "max_time": "5 min"})
    )
    shown = here("plan", file, *DUT)
    assert "questions to people: 2, with 0:15:00 at most for the answers besides" in shown.out
    plan = here("plan", file, *DUT, "--json").json
    assert (plan["questions"], plan["for_people_s"]) == (2, 900.0)
    assert plan["seconds"] == pytest.approx(5, abs=0.1), "the model answers at once"


def test_a_fast_estimate_is_planned_with_and_without_the_test_that_may_follow(here: Here) -> None:
    shown = here("plan", "fast_pulse", *DUT, "--soc", "20 %").out.splitlines()
    assert "only 0:20:02 if what it measures is enough at decided" in shown
    plan = here("plan", "fast_pulse", *DUT, "--soc", "20 %", "--json").json
    assert (plan["early_s"], plan["early_by"]) == (pytest.approx(1202, abs=2), "decided")
    assert plan["seconds"] > 10 * 3600
    above = here("plan", "fast_pulse", *DUT, "--soc", "50 %", "--json").json
    assert above["early_s"] is None, "the estimate is not for that charge, so the test follows"


def test_a_route_that_ends_in_failure_is_told(plant: Plant, here: Here) -> None:
    fails = {"name": "cold", "step": "check", "that": "temperature_max <= 6 degC", "text": {"en": "cold?", "ko": "?"}}
    shown = here("plan", plant.write("fails.yaml", recipe(REST, fails)), *DUT)
    assert shown.code == 0
    assert shown.out.splitlines()[-1] == (
        "on a battery in order it ends fail: cold: cold?: not so: temperature_max <= 6 degC"
    )


def test_parameters_are_set_by_name(plant: Plant, here: Here) -> None:
    data = recipe(REST | {"duration": "$pause"}, parameters={"pause": {"default": "5 s", "max": "1 h"}})
    file = plant.write("paused.yaml", data)
    assert here("plan", file, *DUT, "--json").json["seconds"] == 5.0
    shown = here("plan", file, *DUT, "--set", "pause=10 min")
    assert shown.out.splitlines()[1] == "parameters: pause=10 min"
    assert rows(shown.out)["rest"][2] == "0:10:00"

    refused = here("plan", file, *DUT, "--set", "pause=2 h")
    assert refused.code == 3
    assert refused.err.endswith("pause: '2 h' is above '1 h' [E-PARAMETER]\n")
    assert here("check", file, "--set", "pase=2 h").out.endswith("[E-PARAMETER]\n")
    here("plan", file, *DUT, "--set", "pause").says(
        3, "evaline: --set pause: write it like --set rounds=3 or --set 'rest=30 min' [E-SETTINGS]"
    )


def test_a_recipe_with_faults_has_no_plan(plant: Plant, here: Here) -> None:
    file = plant.write("hot.yaml", recipe(DISCHARGE | {"current": "2C"}))
    refused = here("plan", file, *DUT)
    assert (refused.code, refused.out) == (3, "")
    assert "[E-CURRENT-DUT]" in refused.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--soc", "50"), "--soc: '50': write a number and a unit, like '50 mV' [E-SETTINGS]"),
        (("--soc", "130 %"), "--soc 130 %: write it like '50 %' [E-SETTINGS]"),
        (("--soh", "0 %"), "--soh 0 %: write it like '80 %' [E-SETTINGS]"),
        (("--soh", "2 V"), "--soh 2 V: write it like '80 %' [E-SETTINGS]"),
        (("--lang", "fr"), "language 'fr': give en or ko by --lang or EVALINE_LANG [E-SETTINGS]"),
    ],
)
def test_a_wrong_option_is_one_line(here: Here, options: tuple[str, ...], said: str) -> None:
    here("plan", "quick_capacity_dcir", *DUT, *options).says(3, f"evaline: {said}")


def test_a_plan_for_a_station_that_is_not_there_ends_with_4_and_in_json(here: Here) -> None:
    said = "there is no station 'st09'; known are st01 [E-STATION]"
    refused = here("plan", "quick_capacity_dcir", *DUT, "--station", "st09", "--json")
    refused.says(4, f"evaline: {said}")
    assert refused.json == {"code": "E-STATION", "errors": [said], "reasons": []}


def test_a_plan_in_korean(here: Here) -> None:
    lines = here("plan", "quick_capacity_dcir", *DUT, "--lang", "ko").out.splitlines()
    assert lines[2].split()[:3] == ["스텝", "예상", "최대"]
    assert lines[-2].endswith("; 총 시간(total_time) 10:00:00 초과 시 차단")


# ------------------------------------------------------------------------------------------------- check in Korean


def test_check_prints_every_finding_in_the_language_asked_for(plant: Plant, here: Here) -> None:
    file = plant.write("broken.yaml", recipe(REST | {"duraton": "5 s"}, {**DISCHARGE, "current": 30}))
    english, korean = (here("check", file, "--lang", lang) for lang in ("en", "ko"))
    assert (english.code, korean.code) == (3, 3)
    assert "unknown key; did you mean 'duration'?" in english.out
    assert "알 수 없는 키입니다" in korean.out
    assert len(english.out.splitlines()) == len(korean.out.splitlines()) == 2, "every fault, not the first alone"


# ---------------------------------------------------------------------------------------------------------- export


def test_export_prints_what_the_other_tool_reads_and_says_what_is_left_out(plant: Plant, here: Here) -> None:
    file = plant.write("short.yaml", recipe(REST, DISCHARGE | {"ends": ["step_time >= 20 s"]}))
    done = here("export", file, "--to", "pybamm")
    assert done.code == 0
    assert json.loads(done.out) == ["Rest for 5.0 seconds", "Discharge at 0.5C for 20.0 seconds or until 2.7 V"]
    assert done.err == "evaline: not exported: safety limits, records, measurements\n"

    protocol = json.loads(here("export", file, "--to", "unicycler", *DUT).out)
    assert protocol["sample"] == {"name": "nmc_96s_60ah", "capacity_mAh": 60000.0}
    assert protocol["method"][1]["until_voltage_V"] == pytest.approx(96 * 2.7)
    cell = json.loads(here("export", file, "--to", "unicycler", "--capacity", "5 Ah").out)
    assert cell["sample"]["capacity_mAh"] == 5000.0
    assert cell["method"][1]["until_voltage_V"] == 2.7


def test_what_cannot_be_exported_is_named(here: Here) -> None:
    refused = here("export", "quick_capacity_dcir", "--to", "pybamm")
    assert (refused.code, refused.out) == (3, "")
    assert refused.err.endswith("identify (identify) cannot be exported: there is nothing like it there [E-EXPORT]\n")


# ----------------------------------------------------------------------------------------------------- the schemas


@pytest.mark.parametrize("kind", SCHEMAS)
def test_schema_and_reference_print_what_a_file_may_say(here: Here, kind: str) -> None:
    assert json.loads(here("schema", kind).out) == SCHEMAS[kind]()
    assert here("reference", kind).out == reference(kind)


def test_the_line_that_the_readme_shows_switches_an_editor_on(plant: Plant, here: Here) -> None:
    """A comment to everybody else: the recipe is the same with it."""
    plain = plant.write("plain.yaml", LIBRARY_RECIPE)
    line = "# yaml-language-server: $schema=recipe.schema.json\n"
    commented = plant.write("commented.yaml", line + plain.read_text(encoding="utf-8"))
    assert here("check", commented, *DUT).out == f"{commented}: ok\n"


def test_a_plan_grades_by_the_rules_that_a_run_is_graded_by(plant: Plant, here: Here) -> None:
    """Nothing is measured, so no rule can be sure of a grade."""
    decide = {
        "name": "decide", "step": "if", "condition": "grade_certain", "then": [REST | {"name": "sure"}],
        "else": [REST | {"name": "unsure"}],
    }  # fmt: skip
    file = plant.write("grading.yaml", recipe({"name": "now", "step": "grade"}, decide))
    for station in ((), ("--station", "st01")):
        shown = rows(here("plan", file, *DUT, *station).out)
        assert "unsure" in shown
        assert "sure" not in shown
