"""Names and expressions: everything that is named exists once, is of the right kind, and is known when it is used."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sequences.checking import (
    ROLES,
    acir,
    capacity,
    found,
    hppc,
    loop,
    measure,
    measurement,
    one,
    publish,
    pulse,
    recipe,
    sound,
    wait,
    when,
)
from tests.sequences.playing import Data, call, cc, cccv, check, compute, document, group, parallel, prompt, rest

Path = tuple[str | int, ...]
MEASURED = ("measurements", 0, "title")


def python(into: dict[str, str], **arguments: str) -> Data:
    step = {"step": "python", "name": "python", "function": "site_model", "max_time": "10 s"}
    return {**step, "into": into, "arguments": arguments}


def formula(value: str, name: str = "measured", **more: Any) -> Data:
    return measurement("formula", name, value=value, **more)


# --------------------------------------------------------------------------------------------------------- twice


@pytest.mark.parametrize(
    ("steps", "path"),
    [
        ([rest("a"), rest("a")], ("steps", 1, "name")),
        ([rest("a"), group("g", rest("a"))], ("steps", 1, "steps", 0, "name")),
        ([rest("a"), when("soc > 50 %", cc("x"), otherwise=[rest("a")])], ("steps", 1, "else", 0, "name")),
        ([rest("hppc_pulse"), hppc()], ("steps", 1, "name")),
        ([capacity(), rest("capacity_rest_charged")], ("steps", 1, "name")),
        ([group("a", rest("a"))], ("steps", 0, "steps", 0, "name")),
    ],
)
def test_no_two_steps_have_one_name_also_when_a_standard_makes_them(steps: list[Data], path: Path) -> None:
    finding = found(recipe(*steps))["E-NAME-TWICE"]
    assert finding.path == path


def test_branches_items_and_measurements_have_names_of_their_own() -> None:
    twins = parallel("p", [rest("a")], [rest("b")])
    twins["branches"][1]["name"] = "branch1"  # the second would take the first one's place
    assert found(recipe(twins))["E-NAME-TWICE"].path == ("steps", 0, "branches", 1, "name")
    item = {"name": "leak", "text": {"en": "?", "ko": "?"}}
    looks = {"step": "inspect", "name": "looks", "items": [item, item], "max_time": "1 min"}
    assert one(recipe(looks)).path == ("steps", 0, "items", 1, "name")
    twice = [formula("rated_capacity"), formula("rated_energy")]
    assert found(recipe(rest(), measurements=twice))["E-NAME-TWICE"].path == ("measurements", 1, "name")


@pytest.mark.parametrize("word", ["voltage", "rated_capacity", "has_chamber", "grade_certain", "max", "and"])
def test_no_variable_and_no_measurement_takes_a_word_of_the_language(word: str) -> None:
    assert found(recipe(compute("c", "rated_capacity", word)))["E-NAME-TAKEN"].path == ("steps", 0, "into")
    assert found(recipe(acir(into=word)))["E-NAME-TAKEN"].path == ("steps", 0, "into")
    assert found(recipe(python({word: "V"})))["E-NAME-TAKEN"].path == ("steps", 0, "into", word)
    named = [formula("rated_capacity", word)]
    assert found(recipe(rest(), measurements=named))["E-NAME-TAKEN"].path == ("measurements", 0, "name")


def test_a_variable_is_no_measurement_and_of_one_kind() -> None:
    step = compute("c", "rated_capacity", "measured")
    assert found(recipe(step, measurements=[formula("rated_energy")]))["E-NAME-TAKEN"].path == ("steps", 0, "into")
    finding = one(recipe(compute("a", "cell_min", "x"), compute("b", "rated_capacity", "x")))
    assert (finding.code, finding.path) == ("E-NAME-TAKEN", ("steps", 1, "into"))
    assert "a voltage elsewhere and a charge here" in finding.text.en
    assert sound(recipe(compute("a", "cell_min", "x"), compute("b", "cell_max", "x"))), "each round has its value"


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"title": {"en": "A recipe", "ko": " "}}, ("title", "ko")),
        ({"author": "   "}, ("author",)),
        ({"references": ["IEC 62660-1", ""]}, ("references", 1)),
        ({"measurements": [{**measurement("temperature_max"), "title": {"en": "", "ko": "온도"}}]}, (*MEASURED, "en")),
        ({"steps": [prompt(text={"en": "?", "ko": ""})]}, ("steps", 0, "text", "ko")),
        ({"steps": [check("c", "soc > 1 %", text={"en": "", "ko": "값"})]}, ("steps", 0, "text", "en")),
    ],
)
def test_what_people_read_is_there_to_be_read(more: Data, path: Path) -> None:
    finding = one(recipe(*more.get("steps", [rest()]), **{key: value for key, value in more.items() if key != "steps"}))
    assert (finding.code, finding.path) == ("E-TEXT-EMPTY", path)


# --------------------------------------------------------------------------------------------------- expressions

NOWHERE = "nowhere > 3 V"


@pytest.mark.parametrize(
    ("step", "path"),
    [
        (rest(ends=[NOWHERE]), ("ends", 0, "when")),
        (cccv(ends=["current <= C/10", {"when": NOWHERE, "then": "fail"}]), ("ends", 1, "when")),
        (wait(NOWHERE), ("condition",)),
        (when(NOWHERE, rest()), ("condition",)),
        (loop(NOWHERE, rest()), ("condition",)),
        (check("c", NOWHERE), ("that",)),
        (compute("c", "nowhere + 3 V", "x"), ("value",)),
        (python({"x": "V"}, given="nowhere"), ("arguments", "given")),
    ],
)
def test_a_name_that_is_none_is_found_wherever_it_stands(step: Data, path: Path) -> None:
    finding = one(recipe(step))
    assert (finding.code, finding.path) == ("E-EXPR-NAME", ("steps", 0, *path))


def test_a_slip_of_the_pen_gets_what_was_meant() -> None:
    assert one(recipe(wait("cell_mx > 3 V"))).hint.en == "did you mean 'cell_max'?"


@pytest.mark.parametrize(
    ("step", "path"),
    [
        (rest(ends=["cell_max >= 4 A"]), ("ends", 0, "when")),
        (rest(ends=["cell_max"]), ("ends", 0, "when")),
        (wait("cell_max - cell_min"), ("condition",)),
        (when("has_chamber and soc", rest()), ("condition",)),
        (check("c", "cell_spread"), ("that",)),
        (compute("c", "cell_max > 3 V", "x"), ("value",)),
        (compute("c", "cell_max * cell_max", "x"), ("value",)),  # V2 has no name here
        (compute("c", "temperature_max * 2", "x"), ("value",)),
        (python({"x": "V"}, given="cell_max + soc"), ("arguments", "given")),
    ],
)
def test_kinds_that_do_not_fit_are_found_wherever_they_stand(step: Data, path: Path) -> None:
    finding = one(recipe(step))
    assert (finding.code, finding.path) == ("E-EXPR-UNIT", ("steps", 0, *path))


@pytest.mark.parametrize("counted", ["step_time > 5 s", "depth > 5 %", "charge > 1 Ah", "energy > 1 Wh"])
def test_what_counts_from_the_start_of_a_step_is_nothing_between_steps(counted: str) -> None:
    assert found(recipe(when(counted, rest())))["E-EXPR-STEP"].path == ("steps", 0, "condition")
    assert found(recipe(check("c", counted)))["E-EXPR-STEP"].path == ("steps", 0, "that")
    value = counted.split(" > ")[0]
    assert found(recipe(compute("c", value, "x")))["E-EXPR-STEP"].path == ("steps", 0, "value")
    assert sound(recipe(cc(ends=[counted])))


# -------------------------------------------------------------------------------------------------- measurements


@pytest.mark.parametrize(
    ("faulty", "code", "path"),
    [
        (formula("nowhere"), "E-EXPR-NAME", ("from", "value")),
        (formula("cell_max"), "E-EXPR-NAME", ("from", "value")),  # signals are gone when the run is over
        (formula("rated_capacity > 3 Ah"), "E-EXPR-UNIT", ("from", "value")),
        (measurement("at_end", signal="cell_mx", step="rest"), "E-EXPR-NAME", ("from", "signal")),
        (measurement("temperature_max", limits={"max": "50 K"}), "E-EXPR-UNIT", ("limits", "max")),
        (
            measurement("temperature_max", limits={"max": "50 degC", "marginal": "5 degC"}),
            "E-EXPR-UNIT",
            ("limits", "marginal"),
        ),
        (measurement("temperature_max", limits={"max": "nowhere"}), "E-EXPR-NAME", ("limits", "max")),
        (measurement("temperature_max", limits={"max": "measured + 1 K"}), "E-LIMITS", ("limits", "max")),
        (
            measurement("temperature_max", limits={"max": "50 degC", "by_model": {"m": {"max": "50 V"}}}),
            "E-EXPR-UNIT",
            ("limits", "by_model", "m", "max"),
        ),
        (formula("rated_capacity", unit="V"), "E-UNIT", ("unit",)),
        (formula("rated_capacity", unit="kg"), "E-UNIT", ("unit",)),
        (
            measurement("power_capability", pulse="pulse", at="10 s", cell_voltage="3 A"),
            "E-EXPR-UNIT",
            ("from", "cell_voltage"),
        ),
    ],
)  # fmt: skip
def test_measurements_hold_expressions_that_can_be_worked_out(faulty: Data, code: str, path: Path) -> None:
    finding = found(recipe(rest(), pulse(), measurements=[faulty]))[code]
    assert finding.path == ("measurements", 0, *path)


def test_measurements_whose_kinds_fit_are_sound() -> None:
    measurements = [
        measurement("temperature_max", limits={"max": "50 degC", "marginal": "5 K"}),
        measurement("power_capability", "available", pulse="pulse", at="10 s", cell_voltage="lowest"),
        formula("rated_capacity / 2", "half", unit="mAh"),
        formula("half / rated_capacity * 1", "share", limits={"min": "10 %"}),
        measurement("metal", "nickel", element="Ni", unit="kg"),
    ]
    assert sound(recipe(compute("c", "nominal_voltage / 96", "lowest"), pulse(), measurements=measurements))


def test_formulas_are_worked_out_in_their_order() -> None:
    later = [formula("second * 2", "first"), formula("rated_capacity", "second")]
    finding = one(recipe(rest(), measurements=later))
    assert (finding.code, finding.path) == ("E-NAME-LATER", ("measurements", 0, "from", "value"))
    assert sound(recipe(rest(), measurements=later[::-1]))
    itself = one(recipe(rest(), measurements=[formula("measured * 2")]))
    assert itself.code == "E-NAME-LATER"


# --------------------------------------------------------------------------------------------------------- order

SETS = compute("sets", "cell_min", "x")
USES = check("uses", "x >= 3 V")


@pytest.mark.parametrize(
    "steps",
    [
        [USES, SETS],
        [group("g", USES, SETS)],
        [when("soc > 50 %", SETS, otherwise=[USES])],
        [when("x > 3 V", SETS)],
        [wait("x > 3 V"), SETS],
        [publish("x"), SETS],
        [when("grade_certain", rest()), SETS],
    ],
)
def test_a_value_is_not_used_before_a_step_can_have_given_it(steps: list[Data]) -> None:
    assert found(recipe(*steps)).keys() == {"E-NAME-LATER"}


@pytest.mark.parametrize(
    "steps",
    [
        [SETS, USES],
        [when("soc > 50 %", SETS), USES],  # it may not have; then it is unknown, and says so
        [loop("soc > 50 %", when("soc > 80 %", USES), SETS)],  # the round before
        [{"step": "repeat", "name": "r", "times": 2, "steps": [when("x > 3 V", rest()), SETS]}],
        [when("x > 3 V", rest()), SETS, cc(ends=[{"when": "soc <= 5 %", "then": "goto if max 2"}])],
        [parallel("p", [SETS], [wait("x > 3 V")])],
        [{**group("g", SETS), "setup": [rest()]}, USES],
        [{"step": "grade", "name": "now"}, when("grade_certain", rest())],
    ],
)
def test_a_value_may_come_from_a_round_before_or_from_a_branch_beside(steps: list[Data]) -> None:
    assert sound(recipe(*steps))


CAPACITY = measurement("capacity", "remaining", after="charge", until="empty")


def test_a_measurement_is_not_worked_out_before_its_steps_have_run() -> None:
    steps = [cccv("charge"), measure("remaining"), cc("empty")]
    finding = one(recipe(*steps, measurements=[CAPACITY]))
    assert (finding.code, finding.path) == ("E-NAME-LATER", ("steps", 1, "measurements", 0))
    assert "'empty', which comes later" in finding.text.en
    steps = [cccv("charge"), cc("empty"), measure("remaining", "half"), check("enough", "half > 10 Ah")]
    half = formula("remaining / 2", "half")
    assert sound(recipe(*steps, measurements=[CAPACITY, half]))
    early = [cccv("charge"), measure("half"), cc("empty")]
    assert one(recipe(*early, measurements=[CAPACITY, half])).code == "E-NAME-LATER", "also through a formula"


def test_a_measurement_is_known_to_expressions_once_it_was_worked_out() -> None:
    steps = [cccv("charge"), cc("empty"), check("enough", "remaining > 10 Ah")]
    assert one(recipe(*steps, measurements=[CAPACITY])).code == "E-NAME-LATER"


def test_what_is_measured_or_published_exists() -> None:
    assert one(recipe(measure("nothing"))).path == ("steps", 0, "measurements", 0)
    for name in ("nothing", "voltage", "has_chamber"):
        finding = one(recipe(publish("rated_energy", name)))
        assert (finding.code, finding.path) == ("E-NAME-UNKNOWN", ("steps", 0, "values", 1))


# --------------------------------------------------------------------------------------------------------- calls


def called(*steps: Data, **more: Any) -> Data:
    return {**document(*steps, roles=ROLES, **more), "id": "called"}


def test_a_called_recipes_faults_stand_where_it_is_called() -> None:
    faulty = called(cc(current="2C"), rest("a"), rest("a"))
    findings = found(recipe(rest(), call("c", "called"), library={"called": faulty}))
    assert findings.keys() == {
        "E-CURRENT-DUT",
        "E-CURRENT-STATION",
        "E-CURRENT-SAFETY",
        "E-POWER-STATION",
        "E-NAME-TWICE",
    }
    assert {finding.path for finding in findings.values()} == {("steps", 1, "recipe")}
    assert findings["E-NAME-TWICE"].text.en.startswith("called: steps.2.name: ")


def test_a_called_recipe_works_on_the_same_variables_and_measurements() -> None:
    sets = called(compute("theirs", "cell_max", "x"))
    clash = one(recipe(SETS, call("c", "called"), library={"called": sets}))
    assert (clash.code, clash.path) == ("E-NAME-TAKEN", ("steps", 1, "recipe"))
    other = called(rest(), measurements=[formula("rated_energy")])
    mixed = one(recipe(call("c", "called"), library={"called": other}, measurements=[formula("rated_capacity")]))
    assert mixed.code == "E-NAME-TAKEN"


def test_a_called_recipe_is_held_to_the_callers_limits_too(library_recipe: Any) -> None:
    tight = {"discharge_current": {"warn": "0.3C", "trip": "0.4C", "delay": "1 s"}}
    library = {"called": called(cc())}
    assert sound(recipe(call("c", "called"), library=library))
    assert one(recipe(call("c", "called"), library=library, safety={**library_recipe["safety"], **tight})).code == (
        "E-CURRENT-SAFETY"
    )
    assert one(recipe({**call("c", "called"), "safety": tight}, library=library)).code == "E-CURRENT-SAFETY"


def test_a_recipe_that_is_not_destructive_calls_none_that_is() -> None:
    library = {"called": called(cc(), destructive=True)}
    assert one(recipe(call("c", "called"), library=library)).code == "E-DESTRUCTIVE"
    assert sound(recipe(call("c", "called"), library=library, destructive=True))


def test_what_a_destructive_recipe_calls_does_not_charge_either() -> None:
    library = {"called": called(cccv())}
    assert one(recipe(cc(), call("c", "called"), library=library, destructive=True)).code == "E-DESTRUCTIVE"
