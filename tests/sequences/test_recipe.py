"""What a recipe is: written as a document or built with Python, with parameters, with recipes that it calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from sequences import FaultError, Recipe
from sequences.flow import STEP_TYPES, Step
from sequences.recipe import MAX_CALL_DEPTH, MAX_CALLS, MAX_STEP_RUNS, walk
from sequences.schema import json_schema
from tests.sequences.playing import SHIPPED, Data, call, cc, check, choice, compute, document, group, repeat, rest

Build = Callable[..., Recipe]
STEP: TypeAdapter[Any] = TypeAdapter(Step)


def read(data: Data, library: Mapping[str, Data] | None = None, **parameters: Any) -> Recipe:
    return Recipe.from_data(data, parameters, None if library is None else library.__getitem__)


# ------------------------------------------------------------------------------------------------- any step, as written

names = st.integers(0, 99).map("n{}".format)
texts = st.fixed_dictionaries({"en": st.text(max_size=10), "ko": st.sampled_from(["질문", "", "a b"])})


def quantity(*units: str, least: int = 1) -> st.SearchStrategy[str]:
    return st.builds(lambda n, unit: f"{n} {unit}", st.integers(least, 999), st.sampled_from(units))


times, volts, amperes = quantity("s", "min", "ms", "h"), quantity("V", "mV"), quantity("A", "mA", "C")
currents = amperes | st.sampled_from(["C/3", "C/20", "0.5C"])
shares, degrees = quantity("%"), quantity("degC")
rates, ohms, watts = quantity("mV/min"), quantity("ohm", "mohm"), quantity("W", "kW")
conditions = st.sampled_from(
    ["voltage >= 4 V", "current <= C/10 and cell_max > 4.1 V", "not (soc < 20 % or step_time >= 2 h)", "has_chamber",
     "max(cell_spread) - min(cell_spread) <= 10 mV", "temperature_max - -5 degC > 3 K"],
)  # fmt: skip
formulas = st.sampled_from(["rated_capacity / 2", "avg(voltage)", "-1.5", "3 * 20 %", "C/3 * 2 h"])
routes = st.sampled_from(["next", "fail", "hold", "abort", "retry 2", "goto there", "goto there max 3"])
directions = st.sampled_from(["charge", "discharge"])


def some(**fields: st.SearchStrategy[Any]) -> dict[str, st.SearchStrategy[Any]]:
    return fields


long_ends = st.fixed_dictionaries(
    {"when": conditions}, optional=some(hold=times, then=routes)
) | st.fixed_dictionaries({"when": conditions, "at": times}, optional=some(then=routes))  # fmt: skip
ends = st.lists(conditions | long_ends, max_size=3)
cutoffs = st.just(["current <= C/20"]) | st.just([{"when": "current <= 2 A", "hold": "5 s"}, "step_time >= 2 h"])
record = st.fixed_dictionaries({"every": times}, optional=some(voltage=volts, current=currents, burst=times))
narrowing = st.just({"temperature_max": {"warn": "35 degC", "trip": "40 degC", "delay": "2 s"}})
window = some(cell_voltage_min=volts, cell_voltage_max=volts)
pulses = st.lists(
    st.fixed_dictionaries(some(direction=directions, current=currents, duration=times, rest=times)),
    min_size=1, max_size=3,
)  # fmt: skip
falling = st.lists(st.integers(1, 99), min_size=1, max_size=4, unique=True).map(
    lambda found: [f"{share} %" for share in sorted(found, reverse=True)]
)
table = st.lists(st.integers(-90, 90), min_size=2, max_size=5).map(
    lambda found: [[f"{10 * k} s", f"{amps} A"] for k, amps in enumerate(found)]
)
power_table = table.map(lambda rows: [[time, value.replace("A", "kW")] for time, value in rows])

# kind -> (what it must say, what it may)
LEAVES: dict[str, tuple[dict[str, st.SearchStrategy[Any]], dict[str, st.SearchStrategy[Any]]]] = {
    "rest": (some(duration=times), some(ends=ends)),
    "cc": (some(direction=directions, current=currents, cell_voltage=volts, max_time=times), some(ends=ends)),
    "cv": (some(current=currents, cell_voltage=volts, max_time=times, ends=cutoffs), some(direction=directions)),
    "cccv": (some(current=currents, cell_voltage=volts, max_time=times, ends=cutoffs), some(direction=directions)),
    "cp": (some(direction=directions, power=watts, cell_voltage=volts, max_time=times), some(ends=ends)),
    "cr": (some(resistance=ohms, current=currents, cell_voltage=volts, max_time=times), some(ends=ends)),
    "pulse": (window | some(pulses=pulses), some(sample=times)),
    "go_to_soc": (window | some(soc=shares, current=currents, max_time=times), {}),
    "profile": (window | some(rows=table), some(of=st.just("current"), sample=times)),
    "identify": ({}, some(into=names, max_time=times)),
    "prompt": (some(text=texts, max_time=times), some(answer=st.sampled_from(["confirm", "number"]), into=names)),
    "inspect": (
        some(items=st.lists(st.fixed_dictionaries(some(name=names, text=texts)), min_size=1, max_size=2),
             max_time=times),
        some(into=names),
    ),
    "insulation": (some(voltage=volts, duration=times), some(into=names, max_time=times)),
    "ocv": (some(settle=rates, max_time=times), some(readings=st.integers(1, 100), into=names)),
    "acir": ({}, some(readings=st.integers(1, 100), into=names, max_time=times)),
    "eis": (some(highest=quantity("kHz"), lowest=quantity("mHz")), some(points_per_decade=st.integers(1, 20))),
    "set_temperature": (
        some(temperature=degrees, soak=times, max_time=times),
        some(tolerance=quantity("K"), of=st.sampled_from(["chamber", "battery", "both"])),
    ),
    "measure": (some(measurements=st.lists(st.sampled_from(["stateOfHealth", "a"]), min_size=1, max_size=3)), {}),
    "set": (some(chamber=degrees), some(soc=shares)),
    "wait_until": (some(condition=conditions, max_time=times), {}),
    "compute": (some(value=formulas, into=names), {}),
    "check": (some(that=conditions, text=texts), {}),
    "grade": ({}, {}),
    "publish": (some(event=names), some(values=st.lists(names, max_size=3))),
    "python": (
        some(function=names, max_time=times),
        some(arguments=st.dictionaries(names, formulas, max_size=2),
             into=st.dictionaries(names, st.sampled_from(["1", "Ah", "mV", "%"]), max_size=2)),
    ),
    "capacity": (
        some(charge_current=currents, charge_cell_voltage=volts, cutoff=currents, charge_max_time=times,
             discharge_current=currents, discharge_cell_voltage=volts, discharge_max_time=times, rest_charged=times,
             rest_discharged=times),
        some(rounds=st.integers(3, 10), agree=st.integers(1, 3), within=shares, into=names),
    ),
    "hppc": (window | some(soc=falling, current=currents, rest=times, pulses=pulses, max_time=times), {}),
}  # fmt: skip
common = some(
    on_fail=routes, on_error=routes, pause=st.sampled_from(["stay", "park"]), record=record, safety=narrowing
)  # fmt: skip


def leaf(kind: str) -> st.SearchStrategy[Data]:
    must, may = LEAVES[kind]
    may = may | some(on_interrupt=st.sampled_from(["abort", "restart"]))
    return st.fixed_dictionaries({"step": st.just(kind), "name": names} | must, optional=common | may)


def flow(inner: st.SearchStrategy[Data]) -> st.SearchStrategy[Data]:
    def step(kind: str, may: Mapping[str, Any] | None = None, **must: Any) -> st.SearchStrategy[Data]:
        return st.fixed_dictionaries({"step": st.just(kind), "name": names} | must, optional=common | dict(may or {}))

    steps = st.lists(inner, min_size=1, max_size=2)
    branches = st.lists(steps, min_size=2, max_size=3).map(
        lambda found: [{"name": f"b{k}", "steps": inner} for k, inner in enumerate(found)]
    )
    return st.one_of(
        step("repeat", times=st.integers(1, 5), steps=steps),
        step("while", condition=conditions, max_rounds=st.integers(1, 5), steps=steps),
        step("if", {"else": steps}, condition=conditions, then=steps),
        step("group", {"setup": steps, "finally": steps}, steps=steps),
        step("parallel", {"join": st.sampled_from(["all", "any"])}, branches=branches),
    )


any_step = st.recursive(st.sampled_from(sorted(LEAVES)).flatmap(leaf), flow, max_leaves=6)


def test_every_kind_of_step_is_tried_here() -> None:
    kinds = {kind.model_fields["step"].default for kind in STEP_TYPES}
    assert kinds == {*LEAVES, "repeat", "while", "if", "group", "parallel", "call"}


@given(any_step)
def test_a_step_built_with_python_is_the_step_as_it_is_written(data: Data) -> None:
    """Both ways: what Python writes is read as the same, and what is read is written as the same."""
    step = STEP.validate_python(data, by_alias=True, by_name=False)
    built = Recipe(**{**ENVELOPE, "steps": [step]})
    written = built.to_data()
    assert json.loads(json.dumps(written)) == written, "plain data"
    again = Recipe.from_data(written)
    assert again == built
    assert again.steps == [step]
    assert Recipe.from_data(document(data)) == built
    assert again.content_hash == built.content_hash


def envelope() -> dict[str, Any]:
    recipe = Recipe.from_data(document(rest()))
    fields = ("id", "version", "title", "author", "references", "applies_to", "roles", "safety")
    return {name: getattr(recipe, name) for name in fields}


ENVELOPE = envelope()


def test_the_shipped_recipe_comes_back_the_same(recipe_with: Build) -> None:
    shipped = recipe_with({})
    fields = {name: getattr(shipped, name) for name in Recipe.model_fields if name != "schema_version"}
    built = Recipe(**fields)
    assert built == shipped
    assert Recipe.from_data(built.to_data()) == shipped
    assert shipped.to_data() == SHIPPED, "and its document is the one that was read"


@pytest.mark.parametrize("value", [600, 600.0, "600", "10 V", "600 s ec", None, True])
def test_python_may_not_leave_out_the_unit_either(value: Any) -> None:
    from sequences import Rest

    with pytest.raises((ValidationError, FaultError)):
        Rest(name="rest", duration=value)


# --------------------------------------------------------------------------------------------------------- content hash


def test_the_hash_is_of_what_is_said_and_not_of_its_layout() -> None:
    data = document(rest("a"), rest("b"))
    shuffled = {key: data[key] for key in sorted(data, reverse=True)}
    shuffled["steps"] = [dict(reversed(step.items())) for step in data["steps"]]
    assert read(shuffled).content_hash == read(data).content_hash
    swapped = document(rest("b"), rest("a"))
    assert read(swapped).content_hash != read(data).content_hash
    assert read(document(rest("a"), rest("b", "11 s"))).content_hash != read(data).content_hash


def test_the_hash_changes_with_a_called_recipe_wherever_it_is_called() -> None:
    nested = document(group("g", repeat("r", 2, call("c", "sub"))))
    one, other = document(rest("a"), id="sub"), document(rest("a", "11 s"), id="sub")
    assert read(nested, {"sub": one}).content_hash != read(nested, {"sub": other}).content_hash
    twice = document(call("c", "mid"))
    mid = document(call("c", "sub"), id="mid")
    hashes = {read(twice, {"mid": mid, "sub": sub}).content_hash for sub in (one, other)}
    assert len(hashes) == 2


def test_the_hash_is_of_the_recipe_and_not_of_a_runs_parameters() -> None:
    data = document(rest("a", "$how_long"), parameters={"how_long": {"default": "10 min"}})
    assert read(data).content_hash == read(data, how_long="20 min").content_hash
    assert read(data) != read(data, how_long="20 min")
    assert read(data, how_long="20 min").parameter_values == {"how_long": "20 min"}
    assert read(data, how_long="20 min").to_data() == data


# ----------------------------------------------------------------------------------------------------------- parameters


def declared(**parameters: Any) -> Data:
    steps = [rest("a", "$time"), repeat("r", "$times", check("k", "voltage >= $low + 1 V or $low < 0 V"))]  # type: ignore[arg-type]
    defaults = {
        "time": {"default": "10 min", "min": "1 min", "max": "1 h"},
        "times": {"default": 2, "min": 1, "max": 3},
    }
    return document(*steps, parameters=defaults | {"low": {"default": "300 V"}} | parameters)


def first(recipe: Recipe) -> Any:
    return recipe.steps[0]


def second(recipe: Recipe) -> Any:
    return recipe.steps[1]


def test_parameters_stand_for_quantities_numbers_and_parts_of_expressions() -> None:
    recipe = read(declared(), time="20 min", times=3, low="-5 mV")
    assert first(recipe).duration == 1200.0
    assert second(recipe).times == 3
    assert second(recipe).steps[0].that.text == "voltage >= -5 mV + 1 V or -5 mV < 0 V"
    assert read(declared()).parameter_values == {"time": "10 min", "times": 2, "low": "300 V"}


@pytest.mark.parametrize(
    ("given_", "code"),
    [
        ({"time": "59 s"}, "E-PARAMETER"),
        ({"time": "61 min"}, "E-PARAMETER"),
        ({"time": "10 V"}, "E-PARAMETER"),
        ({"time": 600}, "E-PARAMETER"),
        ({"time": True}, "E-PARAMETER"),
        ({"times": 0}, "E-PARAMETER"),
        ({"times": 4}, "E-PARAMETER"),
        ({"times": "2"}, None),
        ({"times": 2.0}, None),
        ({"times": True}, "E-PARAMETER"),
        ({"tmie": "10 min"}, "E-PARAMETER"),
        ({"low": "$time"}, None),
        ({"low": "C/3"}, "E-PARAMETER"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_its_place(given_: dict[str, Any], code: str | None) -> None:
    with pytest.raises(FaultError) as refused:
        read(declared(), **given_)
    if code is not None:
        assert refused.value.code == code
    assert refused.value.path[0] == "parameters"


@pytest.mark.parametrize("inside", ["60 s", "1 min", "60 min", "1 h"])
def test_a_bound_itself_is_allowed(inside: str) -> None:
    assert first(read(declared(), time=inside)).duration in (60.0, 3600.0)


@pytest.mark.parametrize(
    "declaration",
    [
        {"default": "10"},
        {"default": 1.5},
        {"default": None},
        {"default": ["10 min"]},
        {"default": "10 min", "min": "20 min"},
        {"default": "10 min", "max": "5 min"},
        {"default": "10 min", "max": 5},
        {"default": "10 min", "max": "5 V"},
        {"default": 3, "min": "1 s"},
        {"default": True, "min": 0},
        {"min": "1 s"},
        {"default": "10 min", "unit": "s"},
    ],
)
def test_a_declaration_that_cannot_be_meant_is_refused(declaration: Data) -> None:
    with pytest.raises((ValidationError, FaultError)):
        read(declared(time=declaration))


def test_a_name_that_is_not_declared_is_refused_where_it_stands() -> None:
    with pytest.raises(FaultError) as refused:
        read(document(rest("a"), check("k", "voltage >= $low")))
    assert refused.value.code == "E-PARAMETER"
    assert refused.value.path == ("steps", 1, "that")


def test_what_people_read_is_not_replaced() -> None:
    step = {**check("k", "1 > 0"), "text": {"en": "costs $5 or $low", "ko": "$low"}}
    assert first(read(document(step))).text.en == "costs $5 or $low"


def test_a_parameter_may_be_a_truth() -> None:
    data = document(rest("a"), parameters={"deep": {"default": False}}, destructive="$deep")
    assert read(data).destructive is False
    assert read(data, deep=True).destructive is True
    for wrong in ("true", 1, "yes"):
        with pytest.raises(FaultError):
            read(data, deep=wrong)


@pytest.mark.parametrize("rate", ["0.5C", "0.5 C", "C/2"])
def test_a_rate_is_written_alike_in_a_key_and_in_an_expression(rate: str) -> None:
    """As the cutoff of a capacity test is: a key whose text becomes part of an end."""
    data = document(cc(current="$p", ends=["current <= $p"]), parameters={"p": {"default": rate}})
    step = first(read(data))
    (found,) = step.ends[0].when.comparisons
    assert (
        (found.value, found.per_rated_capacity) == (step.current.value, step.current.per_rated_capacity) == (0.5, True)
    )


@given(st.integers(-9999, 9999), st.sampled_from(["V", "mV"]))
def test_a_quantity_in_an_expression_means_what_it_means_alone(number: int, unit: str) -> None:
    data = document(check("k", "voltage - $p <= 1 V"), parameters={"p": {"default": "1 V"}})
    alone = document(check("k", f"voltage - {number} {unit} <= 1 V"))
    assert first(read(data, p=f"{number} {unit}")).that.root == first(read(alone)).that.root


def test_a_truth_may_decide_as_a_condition_or_as_a_part_of_one() -> None:
    steps = [choice("whole", "$deep", [rest("a")]), check("part", "not $deep or soc > 10 %")]
    data = document(*steps, parameters={"deep": {"default": True}})
    for deep in (True, False):
        whole, part = read(data, deep=deep).steps
        assert whole.condition.text == str(deep).lower()  # type: ignore[union-attr]
        assert part.that.text == f"not {str(deep).lower()} or soc > 10 %"  # type: ignore[union-attr]


def test_a_document_says_which_schema_it_follows() -> None:
    data = document(rest())
    del data["schema"]
    with pytest.raises(FaultError, match="missing key") as refused:
        read(data)
    assert refused.value.path == ("schema",)
    schema = json_schema(Recipe, "recipe")
    assert "schema" in schema["required"]
    assert schema["properties"]["schema"]["const"] == "evaline/recipe/1"


# ------------------------------------------------------------------------------------------------------ called recipes


def test_a_called_recipe_gets_its_parameters_and_its_own_defaults() -> None:
    sub = document(rest("a", "$time"), id="sub", parameters={"time": {"default": "10 min"}})
    recipe = read(document(call("one", "sub"), call("two", "sub", time="5 min")), {"sub": sub})
    assert [step.body.steps[0].duration for step in recipe.steps] == [600.0, 300.0]  # type: ignore[union-attr]


def test_a_caller_may_hand_on_its_own_parameters() -> None:
    sub = document(rest("a", "$time"), id="sub", parameters={"time": {"default": "10 min", "max": "1 h"}})
    data = document(call("c", "sub", time="$long"), parameters={"long": {"default": "20 min"}})
    assert first(read(data, {"sub": sub})).body.steps[0].duration == 1200.0
    assert first(read(data, {"sub": sub}, long="30 min")).body.steps[0].duration == 1800.0
    with pytest.raises(FaultError) as refused:
        read(data, {"sub": sub}, long="2 h")
    assert refused.value.code == "E-PARAMETER"


def test_the_callers_parameters_are_not_the_called_recipes() -> None:
    sub = document(rest("a", "$time"), id="sub")
    data = document(call("c", "sub"), parameters={"time": {"default": "10 min"}})
    with pytest.raises(FaultError) as refused:
        read(data, {"sub": sub})
    assert refused.value.path == ("steps", 0, "recipe")


@pytest.mark.parametrize(
    "library",
    [None, {}, {"sub": document(rest("a", "10"), id="sub")}, {"sub": {"id": "sub"}}, {"sub": None}, {"sub": []}],
)
def test_a_recipe_that_is_not_there_or_not_in_order_cannot_be_called(library: dict[str, Data] | None) -> None:
    with pytest.raises(FaultError) as refused:
        read(document(group("g", call("c", "sub"))), library)
    assert refused.value.code == "E-CALL"
    assert refused.value.path[:5] == ("steps", 0, "steps", 0, "recipe")


def test_nobody_brings_a_called_recipe_along() -> None:
    smuggled = {**call("c", "sub"), "called": document(rest("a"))}
    with pytest.raises((ValidationError, FaultError)):
        read(document(smuggled), {"sub": document(rest("a"), id="sub")})


def test_recipes_that_call_each_other_in_a_circle_are_refused() -> None:
    library = {"a": document(call("c", "b"), id="a"), "b": document(call("c", "a"), id="b")}
    with pytest.raises(FaultError) as refused:
        read(library["a"], library)
    assert refused.value.code == "E-CALL"
    with pytest.raises(FaultError):
        read(document(call("c", "self"), id="self"), {"self": document(call("c", "self"), id="self")})


def test_calls_go_as_deep_as_they_may_and_no_deeper() -> None:
    library = {f"r{n}": document(call("c", f"r{n + 1}"), id=f"r{n}") for n in range(MAX_CALL_DEPTH + 1)}
    bottom = MAX_CALL_DEPTH - 1
    deep = library | {f"r{bottom}": document(rest("a"), id=f"r{bottom}")}
    recipe = read(document(call("c", "r0")), deep)
    for _ in range(MAX_CALL_DEPTH):
        recipe = first(recipe).body
    assert [step.name for step in recipe.steps] == ["a"]
    deeper = library | {f"r{bottom + 1}": document(rest("a"), id=f"r{bottom + 1}")}
    with pytest.raises(FaultError):
        read(document(call("c", "r0")), deeper)


def test_calls_that_multiply_are_counted_in_all() -> None:
    """Ten calls of ten calls of ten would be a thousand documents."""
    library = {
        "a": document(*[call(f"c{n}", "b") for n in range(10)], id="a"),
        "b": document(*[call(f"c{n}", "leaf") for n in range(10)], id="b"),
        "leaf": document(rest("r"), id="leaf"),
    }
    with pytest.raises(FaultError) as refused:
        read(document(*[call(f"c{n}", "a") for n in range(10)]), library)
    assert refused.value.code == "E-CALL"
    assert str(MAX_CALLS) in str(refused.value)


def test_a_measurement_of_a_called_recipe_is_known_to_its_caller() -> None:
    title = {"en": "h", "ko": "h"}
    hottest = {"name": "hottest", "title": title, "from": {"kind": "temperature_max"}}
    sub = document(rest("a"), id="sub", measurements=[hottest])
    recipe = read(document(call("c", "sub"), check("k", "hottest <= 30 degC")), {"sub": sub})
    assert recipe.names()["hottest"] == "temperature"
    own = {"name": "hottest", "title": title, "from": {"kind": "formula", "value": "1 V"}}
    again = read(document(call("c", "sub"), measurements=[own]), {"sub": sub})
    assert again.names()["hottest"] == "voltage", "its own name is its own"


# --------------------------------------------------------------------------------------------------------- names, sizes


def test_names_have_the_dimension_of_what_sets_them() -> None:
    steps = [
        {"step": "acir", "name": "a", "into": "ohms"},
        {"step": "insulation", "name": "b", "voltage": "500 V", "duration": "10 s", "into": "iso"},
        {"step": "ocv", "name": "c", "settle": "1 mV/min", "max_time": "1 h", "into": "rested"},
        compute("d", "rested / ohms", "amps"),
        compute("e", "amps * 2 h", "moved"),
        {"step": "python", "name": "f", "function": "f", "max_time": "1 s", "into": {"index": "1", "left": "kWh"}},
        {"step": "identify", "name": "g", "into": "traceable"},
    ]
    variables = read(document(*steps)).variables
    assert variables == {
        "ohms": "resistance", "iso": "insulation", "rested": "voltage", "amps": "current", "moved": "charge",
        "index": "number", "left": "energy", "traceable": "number",
    }  # fmt: skip


def test_formulas_may_use_each_other_in_any_order() -> None:
    title = {"en": "x", "ko": "x"}
    measurements = [
        {"name": "c", "title": title, "from": {"kind": "formula", "value": "b * 2 h"}},
        {"name": "b", "title": title, "from": {"kind": "formula", "value": "a / 2 ohm"}},
        {"name": "a", "title": title, "from": {"kind": "formula", "value": "nominal_voltage"}},
    ]
    names_ = read(document(rest("r"), measurements=measurements)).names()
    assert (names_["a"], names_["b"], names_["c"]) == ("voltage", "current", "charge")


def test_a_formula_without_meaning_is_held_for_a_number_until_it_is_checked() -> None:
    assert read(document(compute("x", "nothing + 1 V", "x"))).variables == {"x": "number"}


@pytest.mark.parametrize(
    ("step", "fits"),
    [
        (repeat("r", 1000, *[rest(f"a{n}") for n in range(10)]), True),
        (repeat("r", 1000, *[rest(f"a{n}") for n in range(11)]), False),
        (repeat("r", 100, repeat("q", 100, rest("a"))), True),
        (repeat("r", 101, repeat("q", 100, rest("a"))), False),
        ({"step": "while", "name": "w", "condition": "1 > 0", "max_rounds": 1000,
          "steps": [repeat("q", 11, rest("a"))]}, False),
    ],
)  # fmt: skip
def test_loops_that_unroll_beyond_measure_are_refused(step: Data, fits: bool) -> None:
    if fits:
        assert sum(1 for _ in walk(read(document(step)).steps)) < MAX_STEP_RUNS
        return
    with pytest.raises((ValidationError, FaultError), match=r"unroll|E-LOOP-SIZE"):
        read(document(step))


def test_a_called_recipes_steps_count_in_the_callers_loops() -> None:
    sub = document(repeat("r", 1000, rest("a")), id="sub")
    read(document(repeat("q", 10, call("c", "sub"))), {"sub": sub})
    with pytest.raises((ValidationError, FaultError)):
        read(document(repeat("q", 11, call("c", "sub"))), {"sub": sub})


def test_steps_may_be_nested_as_deep_as_a_document_can() -> None:
    """Documents are read 40 levels deep at most, and a step in a step takes two."""
    step = rest("a")
    for level in range(40):
        step = group(f"g{level}", step)
    assert sum(1 for _ in walk(read(document(step)).steps)) == 41


def test_keys_that_nobody_knows_are_refused() -> None:
    for data in (document(rest("a"), extra=1), document({**rest("a"), "durations": "1 s"}), document(cc(curent="1 A"))):
        with pytest.raises(ValidationError):
            read(data)


@pytest.mark.parametrize("data", [None, [], "text", 5, {}, {"steps": None}, {"parameters": 5}, {"parameters": []}])
def test_what_is_no_recipe_is_refused(data: Any) -> None:
    with pytest.raises((ValidationError, FaultError)):
        Recipe.from_data(data)
