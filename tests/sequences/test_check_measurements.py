"""Measurements name steps that exist, are of the right kind, follow each other, and keep what is read."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sequences.checking import (
    ROLES,
    acir,
    capacity,
    cr,
    eis,
    found,
    go_to_soc,
    hppc,
    loop,
    measurement,
    one,
    one_pulse,
    pulse,
    recipe,
    sound,
    when,
)
from tests.sequences.playing import Data, call, cc, cccv, check, compute, document, group, parallel, repeat, rest

STEPS = [
    rest("arrival"),
    acir(),
    cccv("charge"),
    rest("rest_full"),
    pulse(),
    cc("discharge"),
    rest("rest_empty"),
    compute("thinks", "cell_min", "x"),
    capacity(name="twice"),
    hppc(name="points"),
    cc("slow", direction="charge", current="C/20", max_time="20 h"),
]
COUNTED = measurement("capacity", "remaining", after="charge", until="discharge")


def measuring(kind: str, *steps: Data, **source: Any) -> Any:
    checked = [measurement(kind, "measured", **source), COUNTED]
    return recipe(*(steps or STEPS), measurements=checked)


@pytest.mark.parametrize(
    ("kind", "source", "code", "key"),
    [
        ("capacity", {"after": "charge", "until": "nowhere"}, "E-STEP-UNKNOWN", "until"),
        ("capacity", {"after": "thinks", "until": "discharge"}, "E-STEP-KIND", "after"),
        ("capacity", {"after": "twice", "until": "slow"}, "E-STEP-KIND", "after"),
        ("capacity", {"after": "discharge", "until": "charge"}, "E-STEP-ORDER", "until"),
        ("capacity", {"after": "charge", "until": "charge"}, "E-STEP-ORDER", "until"),
        ("capacity", {"after": "arrival", "until": "rest_full"}, "E-STEP-KIND", "until"),  # nothing discharges
        ("energy", {"after": "discharge", "until": "rest_empty"}, "E-STEP-KIND", "until"),
        ("converged_capacity", {"test": "charge"}, "E-STEP-KIND", "test"),
        ("converged_capacity", {"test": "points"}, "E-STEP-UNKNOWN", "test"),
        ("efficiency", {"of": "charge", "charge": "discharge", "discharge": "discharge"}, "E-STEP-KIND", "charge"),
        ("efficiency", {"of": "charge", "charge": "charge", "discharge": "rest_full"}, "E-STEP-KIND", "discharge"),
        ("efficiency", {"of": "energy", "charge": "slow", "discharge": "discharge"}, "E-STEP-ORDER", "discharge"),
        ("resistance", {"pulse": "charge", "at": "10 s"}, "E-STEP-KIND", "pulse"),
        ("resistance", {"pulse": "points", "at": "10 s"}, "E-STEP-UNKNOWN", "pulse"),
        ("resistance", {"pulse": "pulse", "at": "11 s"}, "E-PULSE-TIME", "at"),
        ("resistance", {"pulse": "pulse", "at": "0 s"}, "E-PULSE-TIME", "at"),
        ("resistance", {"pulse": "pulse", "at": "10 s", "number": 2}, "E-PULSE-NUMBER", "number"),
        ("resistance", {"pulse": "points_pulse", "at": "10 s", "soc": "20 %"}, "E-SOC-RANGE", "soc"),
        ("resistance", {"pulse": "pulse", "at": "10 s", "soc": "120 %"}, "E-SOC-RANGE", "soc"),
        ("cell_spread", {"rest": "charge"}, "E-STEP-KIND", "rest"),
        ("weakest_cell", {"until": "thinks"}, "E-STEP-KIND", "until"),
        ("self_discharge", {"first": "rest_empty", "second": "rest_full"}, "E-STEP-ORDER", "second"),
        ("self_discharge", {"first": "charge", "second": "rest_full"}, "E-STEP-KIND", "first"),
        ("slippage", {"discharge": "rest_full"}, "E-STEP-KIND", "discharge"),
        ("insulation", {"during": "thinks"}, "E-STEP-KIND", "during"),
        ("ac_resistance", {"measured_in": "arrival"}, "E-STEP-KIND", "measured_in"),
        ("spectrum", {"eis": "acir", "of": "r0"}, "E-STEP-KIND", "eis"),
        ("degradation", {"during": "discharge", "mode": "lli"}, "E-STEP-KIND", "during"),  # too fast
        ("ica_peak", {"during": "rest_full"}, "E-STEP-KIND", "during"),
        ("temperature_max", {"during": "nowhere"}, "E-STEP-UNKNOWN", "during"),
        ("at_end", {"signal": "voltage", "step": "nowhere"}, "E-STEP-UNKNOWN", "step"),
    ],
)
def test_a_measurement_names_steps_that_can_give_it(kind: str, source: Data, code: str, key: str) -> None:
    finding = found(measuring(kind, **source))[code]
    assert finding.path == ("measurements", 0, "from", key)


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("capacity", {"after": "twice_charge", "until": "twice_discharge"}),
        ("certified_energy", {"after": "rest_full", "until": "rest_empty"}),
        ("converged_capacity", {"test": "twice"}),
        ("efficiency", {"of": "charge", "charge": "twice_charge", "discharge": "twice_discharge"}),
        ("resistance", {"pulse": "points_pulse", "at": "10 s", "soc": "55 %"}),
        ("resistance_increase", {"pulse": "pulse", "at": "100 ms"}),
        ("cell_spread", {"rest": "points_rest", "soc": "50 %"}),
        ("self_discharge", {"first": "rest_full", "second": "rest_empty"}),
        ("slippage", {"discharge": "twice_discharge"}),
        ("insulation", {"during": "charge"}),
        ("degradation", {"during": "slow", "mode": "lli"}),
        ("ica_peak", {"during": "slow"}),
        ("ica_peak", {"during": "discharge"}),  # at C/2
        ("at_end", {"signal": "temperature_max", "step": "discharge"}),
    ],
)
def test_measurements_whose_steps_fit_are_sound(kind: str, source: Data, library_recipe: Any) -> None:
    safety = {**library_recipe["safety"], "total_time": {"warn": "90 h", "trip": "100 h"}}
    assert sound(recipe(*STEPS, measurements=[measurement(kind, **source), COUNTED], safety=safety))


def test_readings_of_a_voltmeter_are_voltages_of_what_was_asked() -> None:
    prompt = {
        "step": "prompt",
        "name": "p",
        "answer": "number",
        "text": {"en": "V?", "ko": "V?"},
        "into": "v",
        "max_time": "5 min",
    }
    readings = dict.fromkeys(("total", "negative", "positive", "inserted"), "v * 1 V") | {"reading": "10 mV"}
    whole = readings | {"known": "200 kohm"}
    assert sound(recipe(prompt, measurements=[measurement("two_voltmeters", **whole)]))
    for key, wrong, code in (
        ("total", "v", "E-EXPR-UNIT"),
        ("known", "1 V", "E-EXPR-UNIT"),
        ("inserted", "w * 1 V", "E-EXPR-NAME"),
    ):
        found_ = found(recipe(prompt, measurements=[measurement("two_voltmeters", **whole | {key: wrong})]))
        assert found_[code].path == ("measurements", 0, "from", key)


def test_a_state_of_charge_is_counted_with_a_capacity_that_is_measured() -> None:
    at_half = measurement("resistance", pulse="pulse", at="10 s", soc="50 %")
    finding = one(recipe(*STEPS, measurements=[at_half]))
    assert (finding.code, finding.path) == ("E-STEP-UNKNOWN", ("measurements", 0, "from", "soc"))


def test_steps_of_a_called_recipe_are_its_own_to_measure() -> None:
    library = {
        "called": {**document(cccv("inside"), cc("empty"), roles=recipe(rest()).to_data()["roles"]), "id": "called"}
    }
    outside = measurement("capacity", after="inside", until="empty")
    finding = found(recipe(call("c", "called"), library=library, measurements=[outside]))["E-STEP-UNKNOWN"]
    assert finding.path == ("measurements", 0, "from", "after")


@pytest.mark.parametrize(
    ("steps", "fits"),
    [
        ([when("soc > 50 %", cccv("charge"), otherwise=[cc("discharge")])], False),
        ([parallel("p", [cccv("charge")], [cc("discharge")])], False),
        ([loop("soc > 50 %", when("soc > 80 %", cccv("charge"), otherwise=[cc("discharge")]))], True),
        ([when("soc > 50 %", cccv("charge"), cc("discharge"))], True),
        ([when("soc > 50 %", cccv("charge")), cc("discharge")], True),
        ([repeat("r", 2, cccv("charge"), cc("discharge"))], True),
    ],
)
def test_two_steps_that_are_measured_together_run_together(steps: list[Data], fits: bool) -> None:
    assert ("E-STEP-ORDER" not in found(recipe(*steps, measurements=[COUNTED]))) == fits


@pytest.mark.parametrize(
    ("step", "flows"),
    [
        (cr(name="discharge"), True),
        (go_to_soc(name="discharge"), True),
        (pulse(name="discharge"), True),
        (eis(name="discharge"), False),
    ],
)
def test_whatever_discharges_between_two_steps_is_counted(step: Data, flows: bool) -> None:
    checked = recipe(cccv("charge"), when("has_spectrum_meter", step), measurements=[COUNTED])
    assert ("E-STEP-KIND" not in found(checked)) == flows


def test_what_a_battery_can_give_is_read_in_a_discharge() -> None:
    both = pulse(one_pulse(), one_pulse(direction="charge", current="C/2"))
    source = {"pulse": "pulse", "at": "10 s", "cell_voltage": "2.7 V"}
    assert sound(recipe(both, measurements=[measurement("power_capability", number=1, **source)]))
    assert one(recipe(both, measurements=[measurement("power_capability", number=2, **source)])).code == "E-STEP-KIND"


@pytest.mark.parametrize(
    ("record", "kept"),
    [
        ({"every": "1 min"}, False),
        ({"every": "1 min", "burst": "5 s"}, False),
        ({"every": "1 min", "burst": "10 s"}, True),
        ({"every": "100 ms"}, True),
    ],
)
def test_a_record_rule_keeps_what_a_pulse_is_read_at(record: Data, kept: bool) -> None:
    checked = recipe(pulse(record=record), measurements=[measurement("resistance", pulse="pulse", at="10 s")])
    assert ("E-RECORD-PULSE" not in found(checked)) == kept


def test_a_record_rule_around_a_pulse_is_the_pulses_unless_it_has_its_own() -> None:
    coarse, fine = {"every": "1 min"}, {"every": "100 ms"}
    resistance = [measurement("resistance", pulse="pulse", at="10 s")]
    assert "E-RECORD-PULSE" in found(recipe(group("g", pulse(), record=coarse), measurements=resistance))
    assert "E-RECORD-PULSE" not in found(recipe(group("g", pulse(record=fine), record=coarse), measurements=resistance))
    called = {**document(pulse(), roles=ROLES, measurements=resistance), "id": "called"}
    calling = recipe({**call("c", "called"), "record": coarse}, library={"called": called})
    assert "E-RECORD-PULSE" in found(calling)


def test_checks_are_no_steps_to_measure() -> None:
    checked = recipe(rest(), check("c", "soc > 1 %"), measurements=[measurement("insulation", during="c")])
    assert one(checked).code == "E-STEP-KIND"
