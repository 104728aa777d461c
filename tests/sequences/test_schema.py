"""The schemas that editors complete, explain and check files with: true to what is read, and explaining all of it."""

from __future__ import annotations

import copy
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from pydantic import ValidationError

from config import read_document
from controller.reference import SCHEMAS
from sequences import CcCv, If, Recipe, Rest
from sequences.flow import STEP_TYPES
from sequences.quantity import PARAMETER
from sequences.schema import objects
from tests.sequences.playing import cc, cccv, document, recipe_of, repeat, rest
from tests.sequences.reference_recipe import REFERENCE

ROOT = Path(__file__).parents[2]
LIBRARY = (ROOT / "sequences" / "library").glob("*.yaml")
FILES = {
    **{path: "grades" if path.name.startswith("grades_") else "recipe" for path in LIBRARY},
    **dict.fromkeys((ROOT / "config" / "lines").glob("*.yaml"), "line"),
    **dict.fromkeys((ROOT / "config" / "duts").glob("*.yaml"), "dut"),
}
KINDS = {kind.model_fields["step"].default: kind for kind in STEP_TYPES}

with warnings.catch_warnings():
    warnings.simplefilter("error")  # a default that JSON cannot say would only be warned of
    SCHEMA = {name: make() for name, make in SCHEMAS.items()}
RECIPE = Draft7Validator(SCHEMA["recipe"])


def complaints(data: Any, kind: str = "recipe") -> list[tuple[str, str]]:
    """What an independent validator says of a document: where, and what."""
    return [(error.json_path, error.message) for error in Draft7Validator(SCHEMA[kind]).iter_errors(data)]


# -------------------------------------------------------------------------------------------- true to what is read


@pytest.mark.parametrize("kind", SCHEMAS)
def test_each_is_a_valid_draft_7_schema_in_plain_json(kind: str) -> None:
    assert SCHEMA[kind]["$schema"] == "http://json-schema.org/draft-07/schema#"
    Draft7Validator.check_schema(json.loads(json.dumps(SCHEMA[kind])))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_shipped_file_validates(path: Path) -> None:
    assert complaints(read_document(path).data, FILES[path]) == []


@pytest.mark.parametrize("step", KINDS)
def test_every_example_validates_and_is_a_step(step: str) -> None:
    for example in KINDS[step].model_config["json_schema_extra"]["examples"]:
        assert complaints(document(example)) == []
        if step == "call":  # needs the recipe that it calls
            assert KINDS[step].model_validate(example).recipe == example["recipe"]
        else:
            assert recipe_of(example).steps[0].step == step


def test_a_recipe_made_with_python_validates_as_the_document_it_is() -> None:
    assert complaints(REFERENCE.to_data()) == []
    assert Recipe.from_data(REFERENCE.to_data()) == REFERENCE


@pytest.mark.parametrize(
    ("step", "where", "what"),
    [
        (cc() | {"curent": "C/2"}, "$.steps[0]", "'curent' was unexpected"),
        ({k: v for k, v in cc().items() if k != "current"}, "$.steps[0]", "'current' is a required property"),
        (cc(current="30"), "$.steps[0].current", "does not match"),
        (cc(current=30), "$.steps[0].current", "is not of type 'string'"),
        (cc(current="30 V"), "$.steps[0].current", "does not match"),
        (cc(cell_voltage="-2.7 V"), "$.steps[0].cell_voltage", "does not match"),
        (cc(direction="in"), "$.steps[0].direction", "is not one of ['charge', 'discharge']"),
        (cc(on_fail="goto"), "$.steps[0].on_fail", "does not match"),
        (cccv(ends=[{"when": "current <= C/10", "holds": "5 s"}]), "$.steps[0].ends[0]", "not valid under any"),
        (rest(duration="10 minutes"), "$.steps[0].duration", "does not match"),
        ({"step": "reste", "name": "r"}, "$.steps[0].step", "is not one of ['identify', 'prompt'"),
        ({"name": "r", "duration": "5 s"}, "$.steps[0]", "'step' is a required property"),
        (repeat("r", 0, rest()), "$.steps[0].times", "not valid under any"),
        (repeat("r", 2, repeat("s", 2, rest(duration="5"))), "$.steps[0].steps[0].steps[0].duration", "does not match"),
        ({"step": "call", "name": "c", "recipe": "other", "called": {}}, "$.steps[0]", "'called' was unexpected"),
    ],
)
def test_a_broken_step_is_marked_where_it_is_broken_and_nowhere_else(step: Any, where: str, what: str) -> None:
    found = complaints(document(step))
    assert len(found) == 1, found
    assert found[0][0] == where
    assert what in found[0][1]


def test_a_document_without_its_safety_block_or_with_a_key_too_many_is_marked() -> None:
    data = document(rest())
    del data["safety"]["insulation"]
    data["note"] = "x"
    assert {where for where, _ in complaints(data)} == {"$", "$.safety"}


def test_a_parameter_may_stand_for_any_quantity_number_truth_and_in_expressions() -> None:
    charge = cccv(current="$rate", ends=["current <= $cutoff"], max_time="$hours h")
    data = document(
        {"step": "repeat", "name": "cycles", "times": "$cycles", "steps": [charge]},
        rest(duration="$pause"),
        cc(current="C/$divisor", on_fail="retry $tries"),
        parameters={
            name: {"default": default}
            for name, default in {
                "rate": "C/2", "cutoff": "C/20", "hours": 4, "cycles": 2, "pause": "10 min", "divisor": 3, "tries": 1,
                "full": "4.2 V", "bare": True,
            }.items()
        },
        destructive="$bare",
    )  # fmt: skip
    data["safety"]["voltage_max"]["warn"] = "$full/cell"
    assert complaints(data) == []
    assert Recipe.from_data(data).steps[1].duration == 600.0
    assert complaints(document(rest(duration="$Pause"))) != []


def test_the_line_schema_knows_the_drivers_and_their_settings() -> None:
    data = read_document(ROOT / "config/lines/demo.yaml").data
    instruments = data["stations"]["st01"]["instruments"]
    broken = copy.deepcopy(data)
    key, instrument = next((k, i) for k, i in instruments.items() if i.get("settings"))
    broken["stations"]["st01"]["instruments"][key]["settings"]["unknown"] = 1
    broken["stations"]["st01"]["instruments"]["cycler"]["driver"] = "ea_psb9000"
    found = dict(complaints(broken, "line"))
    assert "'unknown' was unexpected" in found[f"$.stations.st01.instruments.{key}.settings"]
    assert "'ea_psb9000' is not one of" in found["$.stations.st01.instruments.cycler.driver"]
    assert instrument["driver"] in SCHEMA["line"]["definitions"]["InstrumentConfig"]["properties"]["driver"]["enum"]


# ------------------------------------------------------------------------------------------------- explaining it


@pytest.mark.parametrize("kind", SCHEMAS)
def test_every_key_is_explained(kind: str) -> None:
    unexplained = [
        f"{described.get('description', '?')[:40]}: {key}"
        for described in objects(SCHEMA[kind])
        for key, value in described["properties"].items()
        if not value.get("description", "").strip() and "if" not in described
    ]
    assert unexplained == []


@pytest.mark.parametrize("step", KINDS)
def test_every_step_has_a_text_an_example_and_units(step: str) -> None:
    """A step that is added without them fails here."""
    described = SCHEMA["recipe"]["definitions"][KINDS[step].__name__]
    assert len(described["description"]) > 20
    assert [example["step"] for example in described["examples"]] == [step]
    assert {"step", "name"} <= set(described["required"])
    for key, value in described["properties"].items():
        for quantity in [taken for taken in quantities(value) if taken["title"] != "route"]:
            assert re.search(r" in \S", quantity["title"]), f"{step}.{key} has no units"
            assert re.search(quantity["pattern"], quantity["examples"][0])


def quantities(value: Any) -> Iterator[dict[str, Any]]:
    """What takes text of a number and its unit, wherever in a key's description it stands."""
    if isinstance(value, list):
        for part in value:
            yield from quantities(part)
    elif isinstance(value, dict):
        if str(value.get("pattern", "")).endswith(PARAMETER) and r"\d{1,9}" in value["pattern"]:
            yield value
        for part in value.values():
            yield from quantities(part)


def test_no_key_of_a_recipe_takes_a_bare_number_but_counts() -> None:
    def numbers(value: Any) -> Iterator[Any]:
        if isinstance(value, list | dict):
            for part in value if isinstance(value, list) else value.values():
                yield from numbers(part)
        if isinstance(value, dict) and value.get("type") == "number":
            yield value

    assert list(numbers(SCHEMA["recipe"])) == []


def test_an_editor_offers_each_kind_of_step_with_what_it_is() -> None:
    kinds = SCHEMA["recipe"]["definitions"]["AnyStep"]["properties"]["step"]
    offered = dict(zip(kinds["enum"], kinds["enumDescriptions"], strict=True))
    assert set(offered) == set(KINDS)
    assert offered["cccv"].startswith("A constant current until the first cell reaches `cell_voltage`, then")


def test_an_editor_says_what_would_fit_instead_of_a_pattern() -> None:
    duration = SCHEMA["recipe"]["definitions"]["Rest"]["properties"]["duration"]
    assert duration["patternErrorMessage"] == "not a time in s, ms, min, h; write it like '10 min'"


def test_defaults_are_written_as_a_file_has_them() -> None:
    definitions = SCHEMA["recipe"]["definitions"]
    assert definitions["SetTemperature"]["properties"]["tolerance"]["default"] == "2 K"
    assert definitions["Rest"]["properties"]["on_fail"]["default"] == "fail"
    assert definitions["End"]["anyOf"][1]["properties"]["hold"]["default"] == "0 s"


# ----------------------------------------------------------------------------------------------------- from Python


def test_what_python_builds_is_the_document_that_people_would_write() -> None:
    built = If(
        name="if_warm",
        condition="temperature_max > 30 degC",
        then=[Rest(name="long", duration="1 h")],
        otherwise=[CcCv(name="charge", current="C/3", cell_voltage="4.2 V", ends=["current <= C/20"], max_time="6 h")],
    )
    written = {
        "step": "if", "name": "if_warm", "condition": "temperature_max > 30 degC",
        "then": [{"step": "rest", "name": "long", "duration": "1 h"}],
        "else": [{
            "step": "cccv", "name": "charge", "current": "C/3", "cell_voltage": "4.2 V",
            "ends": [{"when": "current <= C/20"}], "max_time": "6 h",
        }],
    }  # fmt: skip
    assert built.to_data() == written
    assert list(built.to_data())[:2] == ["step", "name"]
    assert recipe_of(written).steps == [built]


@pytest.mark.parametrize(
    "step",
    [
        {"step": "if", "name": "i", "condition": "soc > 3 %", "then": [rest()], "otherwise": [rest("b")]},
        {"step": "group", "name": "g", "steps": [rest()], "last": [rest("b")]},
    ],
)
def test_names_that_only_python_needs_are_no_keys_of_a_document(step: Any) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        recipe_of(step)
