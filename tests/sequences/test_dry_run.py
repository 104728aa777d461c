"""A recipe run against the model of a battery: what is foreseen before a volt is applied."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sequences import Dut, Forecast, GradeRules, Recipe, StationLimits, Verdict, dry_run
from tests.sequences.playing import Data, call, cc, cccv, check, compute, document, parallel, prompt, recipe_of, rest

Build = Callable[..., Recipe]


def foreseen(dut: Dut, *steps: Data, soc: float = 0.5, capacity: float = 50.0, **more: Any) -> Forecast:
    return dry_run(recipe_of(*steps, **more), dut, soc=soc, capacity=capacity)


def hours(forecast: Forecast) -> dict[str, float]:
    return {step.label: step.seconds / 3600 for step in forecast.steps}


@pytest.fixture(scope="module")
def whole(dut: Dut, library_recipe: Any) -> Forecast:
    """The shipped recipe on a battery of 50 Ah that stands at 40 %."""
    return dry_run(Recipe.from_data(library_recipe), dut, soc=0.4, capacity=50.0)


# ------------------------------------------------------------------------------------------------------ a whole recipe


def test_every_step_is_foreseen_in_its_order_and_the_recipe_passes(whole: Forecast) -> None:
    assert [step.label for step in whole.steps] == [
        "arrival", "identify", "acir", "charge", "rest_full", "discharge_to_80",
        *[f"{name} ({round_}/3)" for round_ in (1, 2, 3) for name in ("rest_soc", "pulse", "discharge_30")],
        "discharge_to_empty", "rest_empty", "charge_to_shipping",
    ]  # fmt: skip
    assert whole.finish.verdict is Verdict.PASS
    assert whole.finish.reason == ""


def test_the_hours_follow_the_charge_that_is_moved(whole: Forecast) -> None:
    took = hours(whole)
    assert took["charge"] == pytest.approx(0.6 * 50 / 30, rel=0.3)
    assert took["discharge_to_80"] == pytest.approx(0.2 * 50 / 30, rel=0.01)
    assert took["discharge_30 (1/3)"] == pytest.approx(0.3 * 50 / 30, rel=0.01)
    assert took["discharge_30 (3/3)"] == pytest.approx(0.2 * 50 / 30, rel=0.15), "only 20 % are left"
    assert took["discharge_to_empty"] == pytest.approx(0.0, abs=1e-3)
    assert took["rest_soc (2/3)"] == pytest.approx(1 / 6)
    assert took["pulse (1/3)"] == pytest.approx(50 / 3600)


def test_charge_adds_up_to_the_capacity_that_the_battery_is_believed_to_have(whole: Forecast) -> None:
    moved = {step.label: step.charge for step in whole.steps}
    assert moved["charge"] == pytest.approx(30.0, rel=0.03), "from 40 % to full"
    after_full = [step for step in whole.steps if step.label.startswith(("discharge", "pulse"))]
    assert -sum(step.charge for step in after_full) == pytest.approx(50.0, rel=0.03)
    assert whole.discharged == pytest.approx(-sum(step.charge for step in after_full))
    assert whole.charged == pytest.approx(moved["charge"] + moved["charge_to_shipping"])
    assert whole.charged - whole.discharged == pytest.approx(sum(moved.values()))


def test_energy_is_charge_times_the_voltage_in_between(whole: Forecast) -> None:
    for step in whole.steps:
        assert step.charge == pytest.approx(0.0, abs=1e-9) or (
            step.cell_min * 96 <= step.energy / step.charge <= step.cell_max * 96
        )


def test_extremes_are_those_of_the_step(whole: Forecast) -> None:
    steps = {step.label: step for step in whole.steps}
    assert steps["charge"].current == pytest.approx(30.0)
    assert steps["charge"].cell_max == pytest.approx(4.2, abs=0.002)
    assert steps["pulse (2/3)"].current == pytest.approx(60.0)
    assert steps["rest_full"].current == 0.0
    assert steps["discharge_30 (3/3)"].cell_min == pytest.approx(2.7, abs=0.001)
    assert steps["discharge_30 (3/3)"].reason == "cell voltage 2.7 V"
    assert all(25.0 <= step.temperature < 35.0 for step in whole.steps)


def test_times_follow_one_another_without_a_gap(whole: Forecast) -> None:
    end = 0.0
    for step in whole.steps:
        assert step.started == pytest.approx(end, abs=1e-6)
        end = step.started + step.seconds
    assert whole.seconds == pytest.approx(end)


def test_what_remains_falls_from_the_whole_to_nothing(whole: Forecast) -> None:
    assert whole.remaining("arrival", 0.0) == pytest.approx(whole.seconds)
    middle = next(step for step in whole.steps if step.label == "rest_soc (2/3)")
    assert whole.remaining("rest_soc (2/3)", 100.0) == pytest.approx(whole.seconds - middle.started - 100.0)
    last = whole.steps[-1]
    assert whole.remaining(last.label, last.seconds) == pytest.approx(0.0, abs=1e-6)
    assert whole.remaining(last.label, 1e6) == pytest.approx(0.0, abs=1e-6), "a step that takes longer leaves the rest"
    assert whole.remaining("rest_soc (2/3)", 1e6) == pytest.approx(whole.seconds - middle.started - middle.seconds)
    assert whole.remaining("never foreseen", 0.0) is None


def test_the_same_battery_is_foreseen_the_same(whole: Forecast, dut: Dut, library_recipe: Any) -> None:
    assert dry_run(Recipe.from_data(library_recipe), dut, soc=0.4, capacity=50.0) == whole


def test_another_battery_takes_another_time(whole: Forecast, dut: Dut, library_recipe: Any) -> None:
    recipe = Recipe.from_data(library_recipe)
    fuller = dry_run(recipe, dut, soc=0.8, capacity=50.0)
    larger = dry_run(recipe, dut, soc=0.4, capacity=60.0)
    assert fuller.seconds < whole.seconds < larger.seconds


# ------------------------------------------------------------------------------------------------------ time and charge


def test_steps_at_the_same_time_are_counted_once(dut: Dut) -> None:
    drive = cc("drive", ends=["step_time >= 1 h"])
    forecast = foreseen(
        dut, parallel("p", [drive], [rest("beside", "30 min"), rest("more", "30 min")]), rest("r"), soc=0.9
    )
    assert forecast.seconds == pytest.approx(3600 + 10, abs=15)
    assert forecast.discharged == pytest.approx(30.0, rel=0.01)
    assert forecast.charged == 0.0
    assert forecast.remaining("more", 600.0) == pytest.approx(1200 + 10, abs=15)
    assert forecast.remaining("drive", 600.0) == pytest.approx(3000 + 10, abs=15)


def test_both_directions_of_a_train_count(dut: Dut) -> None:
    pulses = [
        {"direction": direction, "current": "1C", "duration": "30 s", "rest": "30 s"}
        for direction in ("discharge", "charge")
    ]
    step = {
        "step": "pulse", "name": "p", "pulses": pulses, "cell_voltage_min": "2.7 V", "cell_voltage_max": "4.2 V",
    }  # fmt: skip
    forecast = foreseen(dut, step)
    assert forecast.charged == pytest.approx(0.5, rel=0.01)
    assert forecast.discharged == pytest.approx(0.5, rel=0.01)
    assert forecast.steps[0].charge == pytest.approx(0.0, abs=0.005)


def test_readings_spectra_and_insulation_take_their_time(dut: Dut) -> None:
    steps = [
        {"step": "acir", "name": "acir", "readings": 5},
        {"step": "eis", "name": "eis", "highest": "10 Hz", "lowest": "1 Hz", "points_per_decade": 1},
        {"step": "insulation", "name": "iso", "voltage": "500 V", "duration": "20 s"},
        {"step": "identify", "name": "identify"},
        prompt("ask"),
    ]
    took = {step.label: step.seconds for step in foreseen(dut, *steps).steps}
    assert took["acir"] == pytest.approx(5.0)
    assert took["eis"] == pytest.approx(2 / 10 + 2 / 1 + 2 * 0.3)
    assert took["iso"] == pytest.approx(20.0)
    assert took["identify"] == pytest.approx(1.0)
    assert took["ask"] == pytest.approx(0.0, abs=0.01)


def test_a_chamber_takes_its_time_and_the_battery_follows(dut: Dut) -> None:
    def soak(of: str) -> Data:
        return {
            "step": "set_temperature", "name": "soak", "temperature": "45 degC", "soak": "10 min", "of": of,
            "max_time": "24 h",
        }  # fmt: skip

    air = hours(foreseen(dut, soak("chamber")))["soak"]
    battery = hours(foreseen(dut, soak("both")))["soak"]
    assert air == pytest.approx((18 * 60 + 600) / 3600, abs=2 / 60), "a kelvin a minute to within 2 K, and the soak"
    assert battery > air + 1.0


# ----------------------------------------------------------------------------------------------------- what never ends


@pytest.mark.parametrize(
    ("step", "seconds"),
    [
        ({"step": "wait_until", "name": "s", "condition": "temperature_max >= 90 degC", "max_time": "2 h"}, 7200),
        (cc("s", ends=["step_time < 0 s"], current="1 mA", max_time="3 h"), 10800),
        (cccv("s", ends=["current <= 1 mA and temperature_max >= 90 degC"], max_time="5 h"), 18000),
        ({"step": "ocv", "name": "s", "settle": "0.001 mV/min", "max_time": "3 min"}, 180),
    ],
)
def test_what_does_not_end_by_itself_ends_by_its_maximum_time(dut: Dut, step: Data, seconds: float) -> None:
    forecast = foreseen(dut, cc("before", ends=["step_time >= 1 min"]), step)
    assert forecast.finish.verdict is Verdict.INCONCLUSIVE
    assert "maximum time" in forecast.finish.reason
    assert forecast.steps[-1].seconds == pytest.approx(seconds, abs=61)


def test_what_would_take_for_ever_is_given_up(dut: Dut, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["sequences.dry_run"], "MAX_SAMPLES", 1000)
    forecast = foreseen(dut, {"step": "repeat", "name": "r", "times": 1000, "steps": [rest("a", "1 h")]})
    assert forecast.finish.verdict is Verdict.INCONCLUSIVE
    assert "dry run" in forecast.finish.reason
    assert forecast.steps


@pytest.mark.parametrize("soc", [0.0, 1.0, -0.2, 1.3])
def test_a_battery_at_its_ends_or_beyond_is_foreseen_too(dut: Dut, library_recipe: Any, soc: float) -> None:
    forecast = dry_run(Recipe.from_data(library_recipe), dut, soc=soc, capacity=50.0)
    assert forecast.steps[-1].label == "charge_to_shipping"


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ({"step": "cp", "name": "s", "direction": "discharge", "power": "10 kW", "cell_voltage": "2.8 V",
          "max_time": "10 h"}, "cell voltage 2.8 V"),
        ({"step": "cp", "name": "s", "direction": "charge", "power": "10 kW", "cell_voltage": "4.1 V",
          "max_time": "10 h"}, "cell voltage 4.1 V"),
        ({"step": "cr", "name": "s", "resistance": "10 ohm", "current": "1C", "cell_voltage": "2.8 V",
          "max_time": "10 h"}, "cell voltage 2.8 V"),
        ({"step": "go_to_soc", "name": "s", "soc": "80 %", "current": "C/2", "cell_voltage_min": "2.7 V",
          "cell_voltage_max": "4.2 V", "max_time": "10 h"}, "soc 80.0%"),
        ({"step": "go_to_soc", "name": "s", "soc": "100 %", "current": "C/2", "cell_voltage_min": "2.7 V",
          "cell_voltage_max": "4.0 V", "max_time": "10 h"}, "cell voltage 4 V"),
        ({"step": "cv", "name": "s", "current": "C/2", "cell_voltage": "3.9 V", "ends": ["current <= C/20"],
          "max_time": "10 h"}, "current <= C/20"),
        (cccv("s", direction="discharge", cell_voltage="3 V", ends=["current <= C/20"]), "current <= C/20"),
        ({"step": "profile", "name": "s", "of": "power", "rows": [["0 s", "-5 kW"], ["10 min", "5 kW"],
          ["20 min", "0 W"]], "cell_voltage_min": "2.8 V", "cell_voltage_max": "4.15 V"}, "duration"),
    ],
)  # fmt: skip
def test_every_way_to_drive_ends_by_what_it_is_for(dut: Dut, step: Data, reason: str) -> None:
    forecast = foreseen(dut, step)
    assert forecast.finish.verdict is Verdict.PASS
    assert forecast.steps[0].reason == reason


def test_a_constant_power_is_one(dut: Dut) -> None:
    step = {
        "step": "cp", "name": "s", "direction": "discharge", "power": "10 kW", "cell_voltage": "3 V",
        "max_time": "10 h",
    }  # fmt: skip
    (found,) = foreseen(dut, step).steps
    assert -found.energy / (found.seconds / 3600) == pytest.approx(10_000, rel=0.006)


# ------------------------------------------------------------------------------------------------ what a run would find


def test_a_capacity_test_finds_the_capacity_and_what_counts_on_it_follows(dut: Dut) -> None:
    capacity = {
        "step": "capacity", "name": "test", "charge_current": "C/3", "charge_cell_voltage": "4.2 V", "cutoff": "C/20",
        "charge_max_time": "8 h", "discharge_current": "C/3", "discharge_cell_voltage": "2.7 V",
        "discharge_max_time": "4 h", "rest_charged": "10 min", "rest_discharged": "10 min", "rounds": 3, "agree": 2,
        "into": "found",
    }  # fmt: skip
    judged = check("judged", "found >= 49 Ah and found <= 51 Ah")
    hppc = {
        "step": "hppc", "name": "h", "soc": ["80 %", "50 %"], "current": "C/2", "rest": "10 min", "max_time": "2 h",
        "pulses": [{"direction": "discharge", "current": "1C", "duration": "10 s", "rest": "40 s"}],
        "cell_voltage_min": "2.7 V", "cell_voltage_max": "4.2 V",
    }  # fmt: skip
    forecast = foreseen(dut, capacity, judged, cccv("fill"), hppc)
    assert forecast.finish.verdict is Verdict.PASS
    moved = {step.label: step.charge for step in forecast.steps}
    assert "test_discharge (2/3)" in moved
    assert "test_discharge (3/3)" not in moved, "two alike suffice"
    assert moved["h_move (1/2)"] == pytest.approx(-10.0, rel=0.03)
    assert moved["h_move (2/2)"] == pytest.approx(-14.8, rel=0.03)


def test_routes_go_where_a_battery_in_order_sends_them(dut: Dut) -> None:
    steps: list[Data] = [
        prompt("sure"),
        {"step": "inspect", "name": "looks", "items": [{"name": "leak", "text": {"en": "?", "ko": "?"}}],
         "max_time": "1 min"},
        {"step": "identify", "name": "codes", "into": "traceable"},
        check("known", "traceable >= 1"),
        {"step": "acir", "name": "acir", "into": "r"},
        check("measured", "r > 0 ohm"),
        check("weighed", "1 > 0", on_fail="goto bad"),
        {"step": "publish", "name": "tell", "event": "told", "values": ["r"]},
        {"step": "grade", "name": "grade"},
        check("certain", "grade_certain"),
        rest("good"),
        check("end", "1 > 0", on_fail="next"),
        rest("bad"),
    ]  # fmt: skip
    forecast = foreseen(dut, *steps, roles={"cycler": {}, "impedance_meter": {}})
    assert forecast.finish.verdict is Verdict.PASS
    assert "good" in hours(forecast)


def test_a_branch_goes_by_the_roles_of_the_station(dut: Dut, station: StationLimits) -> None:
    step = {
        "step": "if", "name": "if", "condition": "has_impedance_meter", "then": [rest("with")],
        "else": [rest("without")],
    }  # fmt: skip
    recipe = recipe_of(step)
    assert [s.label for s in dry_run(recipe, dut, station, soc=0.5, capacity=50.0).steps] == ["with"]
    bare = replace(station, capabilities={"cycler": frozenset()})
    assert [s.label for s in dry_run(recipe, dut, bare, soc=0.5, capacity=50.0).steps] == ["without"]


def test_measurements_are_worked_out_on_the_model(dut: Dut) -> None:
    capacity = {
        "name": "remaining", "title": {"en": "r", "ko": "r"},
        "from": {"kind": "capacity", "after": "fill", "until": "empty"},
    }  # fmt: skip
    steps = [
        cccv("fill"), rest("r"), cc("empty", max_time="3 h"),
        {"step": "measure", "name": "m", "measurements": ["remaining"]},
        check("judged", "remaining >= 45 Ah and remaining <= 51 Ah"),
    ]  # fmt: skip
    assert foreseen(dut, *steps, measurements=[capacity]).finish.verdict is Verdict.PASS
    sub = {"sub": document(*steps, id="sub", measurements=[capacity])}
    forecast = foreseen(dut, call("c", "sub"), check("after", "remaining >= 45 Ah"), library=sub)
    assert forecast.finish.verdict is Verdict.PASS
    assert [step.label for step in forecast.steps][:3] == ["c/fill", "c/r", "c/empty"]


def test_a_grade_in_between_is_by_the_rules_that_will_hold(dut: Dut) -> None:
    soh = {
        "name": "stateOfHealth", "title": {"en": "s", "ko": "s"},
        "from": {"kind": "state_of_health", "after": "fill", "until": "empty"},
    }  # fmt: skip
    rules = GradeRules.from_data({
        "schema": "evaline/grades/1", "id": "x", "source": "test", "otherwise": "D",
        "classes": [{"grade": "A", "title": {"en": "a", "ko": "a"}, "needs": ["stateOfHealth >= 50 %"]}],
    })  # fmt: skip
    steps = [
        cccv("fill"), rest("r"), cc("empty", max_time="3 h"),
        {"step": "measure", "name": "m", "measurements": ["stateOfHealth"]},
        {"step": "grade", "name": "grade"},
    ]  # fmt: skip
    recipe = recipe_of(*steps, measurements=[soh])
    found = dry_run(recipe, dut, soc=0.5, capacity=50.0, rules=rules).steps[-1]
    assert found.reason == "grade A, certain"


def test_where_a_provisional_grade_may_decide_the_shorter_run_is_foreseen_too(dut: Dut) -> None:
    """The plan is the longer one; without what the grade needs nothing can be decided, and there is no shorter one."""
    rise = {
        "name": "resistance", "title": {"en": "r", "ko": "r"}, "optional": True,
        "from": {"kind": "resistance", "pulse": "push", "at": "10 s"},
    }  # fmt: skip
    rules = GradeRules.from_data({
        "schema": "evaline/grades/1", "id": "x", "source": "test", "otherwise": "D",
        "classes": [{"grade": "A", "title": {"en": "a", "ko": "a"}, "needs": ["resistance <= 1 mohm", "other >= 1"]}],
    })  # fmt: skip
    push = {
        "step": "pulse", "name": "push", "cell_voltage_min": "2.7 V", "cell_voltage_max": "4.2 V",
        "pulses": [{"direction": "discharge", "current": "1C", "duration": "10 s", "rest": "40 s"}],
    }  # fmt: skip
    told = {"step": "publish", "name": "told", "event": "estimated"}
    long = [rest("full", "2 h"), call("test", "sub")]
    library = {"sub": document(rest("more", "1 h"), id="sub")}

    def early(condition: str, *quick: Data, then: list[Data], otherwise: list[Data]) -> tuple[float, float | None]:
        decided = {"step": "if", "name": "decided", "condition": condition, "then": then, "else": otherwise}
        steps = [rest("a", "10 min"), *quick, {"step": "grade", "name": "now"}, decided, rest("z", "1 min")]
        recipe = recipe_of(*steps, measurements=[rise], library=library)
        forecast = dry_run(recipe, dut, soc=0.5, capacity=50.0, rules=rules)
        if forecast.early is not None:
            assert forecast.early.step == "decided"
        return forecast.seconds, forecast.early.seconds if forecast.early is not None else None

    measured = (push, {"step": "measure", "name": "m", "measurements": ["resistance"]})
    by_both = "grade_certain and resistance <= 1 mohm"
    assert early(by_both, *measured, then=[told], otherwise=long) == pytest.approx((11510.0, 710.0), abs=0.01)
    assert early(f"not ({by_both})", *measured, then=long, otherwise=[]) == pytest.approx((11510.0, 710.0), abs=0.01)
    assert early(by_both, then=[told], otherwise=long)[1] is None, "it was not measured"
    assert early("grade_certain", then=[told], otherwise=long)[1] is None, "nothing was"
    assert early("resistance <= 1 mohm", *measured, then=[told], otherwise=long)[1] is None, "the model tells that"
    assert early(by_both, *measured, then=[rest("short")], otherwise=long)[1] is None, "nor is the other way none"
    assert early(by_both, *measured, then=[told], otherwise=[told | {"name": "no"}])[1] is None, "nothing is shorter"


def test_a_failing_recipe_says_where_and_why(dut: Dut) -> None:
    forecast = foreseen(dut, rest("a"), check("never", "voltage >= 500 V"), rest("b"))
    assert forecast.finish.verdict is Verdict.FAIL
    assert forecast.finish.step == "never"
    assert [step.label for step in forecast.steps] == ["a", "never"]


def test_bounds_of_a_step_are_the_tightest_that_hold_in_it(dut: Dut) -> None:
    tight = {"temperature_max": {"warn": "35 degC", "trip": "40 degC", "delay": "2 s"}}
    steps = foreseen(dut, rest("a"), {"step": "group", "name": "g", "steps": [rest("b")], "safety": tight}).steps
    trips = [next(bound.trip for bound in step.bounds if bound.name == "temperature_max") for step in steps]
    assert trips == [50.0, 40.0]


def test_the_longest_a_step_may_take_is_said(dut: Dut) -> None:
    train = {
        "step": "pulse", "name": "p", "cell_voltage_min": "2.7 V", "cell_voltage_max": "4.2 V",
        "pulses": [{"direction": "discharge", "current": "1C", "duration": "10 s", "rest": "40 s"}] * 2,
    }  # fmt: skip
    steps = [rest("a"), cc("b", ends=["depth >= 1 %"]), train, prompt("ask"), compute("c", "1", "x")]
    forecast = foreseen(dut, *steps)
    assert [step.longest for step in forecast.steps] == [10.0, 3600.0, 100.0, 600.0, None]
    assert forecast.for_people == 600.0
