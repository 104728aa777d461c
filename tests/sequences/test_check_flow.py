"""The way through a recipe: routes, loops, times, branches and roles."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sequences.checking import (
    DUT,
    ROLES,
    STATION,
    acir,
    capacity,
    eis,
    found,
    hppc,
    insulate,
    loop,
    one,
    one_pulse,
    profile,
    pulse,
    recipe,
    soak,
    sound,
    wait,
    when,
)
from tests.sequences.playing import Data, call, cc, cccv, compute, document, group, parallel, prompt, repeat, rest

Path = tuple[str | int, ...]


def ending(then: str, name: str = "step", **more: Any) -> Data:
    """A step with an end that may come and goes somewhere."""
    return cc(name, ends=[{"when": "depth >= 20 %", "then": then}], **more)


# -------------------------------------------------------------------------------------------------------- routes


@pytest.mark.parametrize(
    ("steps", "code", "path"),
    [
        ([ending("goto nowhere")], "E-ROUTE-UNKNOWN", (0, "ends", 0, "then")),
        ([cc("a", on_fail="goto nowhere")], "E-ROUTE-UNKNOWN", (0, "on_fail")),
        ([cc("a", on_error="goto nowhere")], "E-ROUTE-UNKNOWN", (0, "on_error")),
        ([ending("goto inner"), group("g", rest("inner"))], "E-ROUTE-INTO", (0, "ends", 0, "then")),
        ([ending("goto hppc_rest"), hppc()], "E-ROUTE-UNKNOWN", (0, "ends", 0, "then")),
        (
            [when("soc > 50 %", ending("goto other"), otherwise=[rest("other")])],
            "E-ROUTE-INTO",
            (0, "then", 0, "ends", 0, "then"),
        ),
        (
            [parallel("p", [ending("goto other")], [rest("other")])],
            "E-ROUTE-INTO",
            (0, "branches", 0, "steps", 0, "ends", 0, "then"),
        ),
        ([rest("a"), ending("goto a")], "E-ROUTE-ENDLESS", (1, "ends", 0, "then")),
        ([ending("goto step")], "E-ROUTE-ENDLESS", (0, "ends", 0, "then")),
        ([rest("a"), ending("goto a max 0")], "E-ROUTE-ENDLESS", (1, "ends", 0, "then")),
        ([rest("a"), group("g", ending("goto a"))], "E-ROUTE-ENDLESS", (1, "steps", 0, "ends", 0, "then")),
        ([group("g", ending("goto g"))], "E-ROUTE-ENDLESS", (0, "steps", 0, "ends", 0, "then")),
        ([cc("a", on_fail="retry 0")], "E-ROUTE-RETRY", (0, "on_fail")),
        ([ending("goto b max 2"), rest("b")], "E-ROUTE-MAX", (0, "ends", 0, "then")),
        ([group("g", cc("a", on_fail="goto b max 1")), rest("b")], "E-ROUTE-MAX", (0, "steps", 0, "on_fail")),
    ],
)
def test_every_route_leads_somewhere_and_every_way_back_is_counted(steps: list[Data], code: str, path: Path) -> None:
    assert found(recipe(*steps))[code].path == ("steps", *path)


@pytest.mark.parametrize(
    "steps",
    [
        [ending("goto last"), rest("between"), rest("last")],
        [rest("a"), ending("goto a max 3")],
        [ending("retry 2", on_error="retry 1")],
        [group("g", ending("goto last")), rest("between"), rest("last")],
        [ending("hold"), ending("fail", "b"), ending("abort", "c")],
        [parallel("p", [ending("goto last")], [prompt()]), rest("between"), rest("last")],
    ],
)
def test_routes_that_lead_somewhere_are_sound(steps: list[Data]) -> None:
    assert sound(recipe(*steps))


@pytest.mark.parametrize(
    ("steps", "path"),
    [
        ([cccv("a", ends=[{"when": "current <= C/10", "then": "goto last"}]), rest("b"), rest("last")], (1,)),
        ([cccv("a", ends=[{"when": "current <= C/10", "then": "fail"}]), rest("b")], (1,)),
        ([group("g", cccv("a", ends=[{"when": "current <= C/10", "then": "abort"}])), rest("b")], (1,)),
        ([group("g", cccv("a", ends=[{"when": "current <= C/10", "then": "fail"}]), rest("b"))], (0, "steps", 1)),
    ],
)
def test_a_step_that_no_way_leads_to_is_found(steps: list[Data], path: Path) -> None:
    assert found(recipe(*steps))["E-STEP-UNREACHABLE"].path == ("steps", *path)


def test_only_the_first_of_the_steps_that_are_cut_off_is_named() -> None:
    cut_off = [cccv("a", ends=[{"when": "current <= C/10", "then": "goto last"}]), rest("b"), rest("c"), rest("last")]
    assert one(recipe(*cut_off)).path == ("steps", 1)


def test_some_way_comes_to_the_end() -> None:
    assert one(recipe(cccv(ends=[{"when": "current <= C/10", "then": "fail"}]))).code == "E-ROUTE-NO-END"
    assert one(recipe(cccv(ends=[{"when": "current <= C/10", "then": "abort"}]))).code == "E-ROUTE-NO-END"
    assert sound(recipe(cccv(ends=[{"when": "current <= C/10", "then": "fail"}], on_fail="next")))


def test_loops_jumps_and_retries_together_are_bounded() -> None:
    assert sound(recipe(repeat("r", 1000, rest(duration="1 s"))))
    jumping = repeat("r", 1000, rest("a", duration="1 s"), ending("goto a max 99"))
    assert one(recipe(jumping)).code == "E-LOOP-SIZE"
    assert one(recipe(repeat("r", 1000, ending("next", on_fail="retry 99")))).code == "E-LOOP-SIZE"
    ladder = [ending("goto a max 999", f"s{number}") for number in range(20)]
    assert one(recipe(rest("a"), *ladder)).code == "E-LOOP-SIZE"


# --------------------------------------------------------------------------------------------------------- times


@pytest.mark.parametrize(
    ("step", "path"),
    [
        (rest(duration="0 s"), ("duration",)),
        (cc(max_time="0 min"), ("max_time",)),
        (wait("soc > 50 %", max_time="0 s"), ("max_time",)),
        (prompt(max_time="0 s"), ("max_time",)),
        (pulse(one_pulse(), one_pulse(duration="0 s")), ("pulses", 1, "duration")),
        (hppc(pulses=[one_pulse(duration="0 s")]), ("pulses", 0, "duration")),
        (hppc(rest="0 s"), ("rest",)),
        (capacity(rest_charged="0 s"), ("rest_charged",)),
        (capacity(discharge_max_time="0 s"), ("discharge_max_time",)),
    ],
)
def test_nothing_lasts_no_time(step: Data, path: Path) -> None:
    assert found(recipe(step))["E-STEP-ZERO"].path == ("steps", 0, *path)


@pytest.mark.parametrize(
    "step",
    [
        insulate(duration="1 min", max_time="1 min"),
        soak(soak="2 h", max_time="1 h"),
        eis(lowest="1 mHz", max_time="10 min"),
        {"step": "ocv", "name": "ocv", "settle": "1 mV/min", "max_time": "30 s"},
    ],
)
def test_what_cannot_be_done_in_its_time_is_found(step: Data) -> None:
    guard = "has_chamber and has_insulation_tester and has_spectrum_meter"
    finding = one(recipe(when(guard, step)))
    assert (finding.code, finding.path) == ("E-STEP-TIME", ("steps", 0, "then", 0, "max_time"))


@pytest.mark.parametrize(
    ("step", "code", "path"),
    [
        (pulse(sample="3 s"), "E-PULSE-SAMPLE", ("sample",)),
        (pulse(sample="0 s"), "E-PULSE-SAMPLE", ("sample",)),
        (hppc(sample="3 s"), "E-PULSE-SAMPLE", ("sample",)),
        (pulse(one_pulse(), one_pulse(duration="1 s"), sample="300 ms"), "E-PULSE-SAMPLE", ("sample",)),
        (profile(sample="11 s"), "E-SAMPLE", ("sample",)),
        (profile(sample="0 s"), "E-SAMPLE", ("sample",)),
        (rest(record={"every": "1 s", "burst_every": "0 s"}), "E-SAMPLE", ("record", "burst_every")),
    ],
)
def test_no_sampling_period_is_too_long_to_see_or_too_short_to_keep(step: Data, code: str, path: Path) -> None:
    finding = one(recipe(step))
    assert (finding.code, finding.path) == (code, ("steps", 0, *path))


LONG = {"total_time": {"warn": "30 min", "trip": "1 h"}}


@pytest.mark.parametrize(
    ("steps", "fits"),
    [
        ([rest(duration="61 min")], False),
        ([rest(duration="59 min")], True),
        ([rest("a", "31 min"), rest("b", "31 min")], False),
        ([repeat("r", 3, rest(duration="21 min"))], False),
        ([loop("soc > 50 %", rest(duration="61 min"))], True),  # not even one round
        ([when("soc > 50 %", rest(duration="61 min"))], True),
        ([when("soc > 50 %", rest("a", "61 min"), otherwise=[rest("b", "62 min")])], False),
        ([parallel("p", [rest("a", "31 min")], [rest("b", "31 min")])], True),
        ([parallel("p", [rest("a", "61 min")], [rest("b", "1 min")])], False),
        ([parallel("p", [rest("a", "61 min")], [rest("b", "1 min")], join="any")], True),
        ([group("g", rest("a", "31 min"), last=[rest("b", "31 min")])], False),
        ([hppc(rest="31 min")], False),
        ([capacity(rest_charged="20 min")], False),
        ([ending("goto last"), rest("a", "61 min"), rest("last")], True),  # it may be left out
        ([rest(duration="61 min", ends=["cell_max <= 4 V"])], True),  # it may end before
        ([profile(("0 s", "-1 A"), ("4000 s", "0 A"))], False),
        ([pulse(one_pulse(rest="61 min"))], False),
    ],
)
def test_the_shortest_run_fits_into_its_own_limit(steps: list[Data], fits: bool, library_recipe: Any) -> None:
    checked = recipe(*steps, safety={**library_recipe["safety"], **LONG})
    assert ("E-TIME-TOTAL" not in found(checked)) == fits


def test_a_called_recipe_counts_into_the_time(library_recipe: Any) -> None:
    library = {"called": {**document(rest(duration="61 min"), roles=ROLES), "id": "called"}}
    checked = recipe(call("c", "called"), library=library, safety={**library_recipe["safety"], **LONG})
    assert one(checked).code == "E-TIME-TOTAL"


# ------------------------------------------------------------------------------------------------------ branches


def test_one_branch_lets_current_flow_and_no_more() -> None:
    twice = found(recipe(parallel("p", [cc("a")], [prompt("b")], [group("g", cc("c"))])))
    assert twice["E-PARALLEL-DRIVE"].path == ("steps", 0, "branches", 2)
    library = {"called": {**document(cc("inside"), roles=ROLES), "id": "called"}}
    through = one(recipe(parallel("p", [cc("a")], [call("b", "called")]), library=library))
    assert (through.code, through.path) == ("E-PARALLEL-DRIVE", ("steps", 0, "branches", 1))


OCV = {"step": "ocv", "name": "ocv", "settle": "1 mV/min", "max_time": "1 h"}


@pytest.mark.parametrize("step", [acir(), eis(), insulate(), rest("off"), OCV], ids=lambda step: str(step["step"]))
def test_what_needs_the_output_off_has_no_place_beside_a_branch_that_drives(step: Data) -> None:
    every_role = {**ROLES, "spectrum_meter": {}, "insulation_tester": {}}
    findings = found(recipe(parallel("p", [cc()], [group("g", step)]), roles=every_role), DUT, None)
    assert findings.keys() == {"E-PARALLEL-OFF"}
    assert findings["E-PARALLEL-OFF"].path == ("steps", 0, "branches", 1, "steps", 0, "steps", 0)
    assert sound(recipe(parallel("p", [rest("other")], [step]), roles=every_role), DUT, None)


def test_beside_a_branch_that_drives_current_is_not_known_to_be_none() -> None:
    assert one(recipe(wait("current >= 1 A"))).code == "E-END-UNREACHABLE"
    assert sound(recipe(parallel("p", [cc()], [wait("current >= 1 A")])))


# --------------------------------------------------------------------------------------------------------- roles


@pytest.mark.parametrize("role", ["cycler", "interlock", "battery_monitor", "temperature_scanner"])
def test_what_the_limits_need_is_declared_and_not_optional(role: str) -> None:
    without = {name: need for name, need in ROLES.items() if name != role}
    assert one(recipe(rest(), roles=without)).code == "E-ROLE-UNDECLARED"
    finding = one(recipe(rest(), roles={**ROLES, role: {"optional": True}}))
    assert (finding.code, finding.path) == ("E-ROLE-OPTIONAL", ("roles", role, "optional"))


BARE = {role: {} for role in ("cycler", "interlock", "battery_monitor", "temperature_scanner")}


@pytest.mark.parametrize(
    ("step", "path"),
    [
        (acir(), ()),
        (eis(), ()),
        (insulate(), ()),
        (soak(), ()),
        ({"step": "set", "name": "set", "chamber": "25 degC"}, ("chamber",)),
        (wait("chamber_temperature <= 30 degC"), ("condition",)),
        (when("has_voltmeter", rest()), ("condition",)),
    ],
)
def test_a_role_that_is_used_is_declared(step: Data, path: Path) -> None:
    finding = one(recipe(step, roles=BARE))
    assert (finding.code, finding.path) == ("E-ROLE-UNDECLARED", ("steps", 0, *path))


def test_an_optional_role_is_looked_for_before_it_is_used() -> None:
    assert one(recipe(soak())).code == "E-ROLE-OPTIONAL"
    assert one(recipe(when("not has_chamber", soak()))).code == "E-ROLE-OPTIONAL"
    assert one(recipe(when("has_chamber", rest(), otherwise=[soak()]))).code == "E-ROLE-OPTIONAL"
    assert one(recipe(when("has_chamber or soc > 50 %", soak()))).code == "E-ROLE-OPTIONAL"
    assert sound(recipe(when("has_chamber and soc > 50 %", group("g", soak()))))
    assert sound(recipe({"step": "identify", "name": "identify"})), "no code reader is an answer, too"


def test_the_roles_of_a_called_recipe_are_its_callers_too() -> None:
    library = {"called": {**document(soak(), roles={**BARE, "chamber": {}}), "id": "called"}}
    assert one(recipe(call("c", "called"), library=library, roles=BARE), DUT, None).path == ("steps", 0, "recipe")
    assert one(recipe(call("c", "called"), library=library), DUT, None).code == "E-ROLE-OPTIONAL"
    assert sound(recipe(when("has_chamber", call("c", "called")), library=library), DUT, None)
    inside = {"called": {**document(soak(), roles=ROLES), "id": "called"}}
    assert sound(recipe(when("has_chamber", call("c", "called")), library=inside)), "looked for around the call"


def test_only_what_can_be_left_out_may_be_missing_at_a_station() -> None:
    assert sound(recipe(rest()), DUT, STATION), "the optional ones are not there"
    finding = one(recipe(rest(), roles={**ROLES, "voltmeter": {}}))
    assert (finding.code, finding.path) == ("E-ROLE-MISSING", ("roles", "voltmeter"))


def test_variables_of_other_branches_do_no_harm() -> None:
    assert sound(recipe(parallel("p", [compute("a", "cell_min", "x")], [rest()])))
