"""How each step behaves that asks instruments or people, thinks, or tells: one request, its answer, an end."""

from __future__ import annotations

import math
from typing import Any

import pytest

from sequences import Dut, NoCurrent, Text, Verdict, actions
from sequences.actions import (
    Ask,
    CallFunction,
    Provisional,
    ReadCodes,
    SetChamber,
    TakeReadings,
    TakeSpectrum,
    Tell,
    WorkOut,
)
from tests.sequences.playing import Data, Player, check, compute, group, prompt, recipe_of, rest

QUIET = (3.6,) * 96


def run(dut: Dut, *steps: Data, roles: frozenset[str] = frozenset(), **more: Any) -> Player:
    player = Player(dut, recipe_of(*steps, **more), roles=roles)
    player.cells = QUIET
    return player


def ask(dut: Dut, step: Data, **more: Any) -> Player:
    """A step that has asked for something, with a rest after it."""
    player = run(dut, {"name": "s", **step}, rest("after"), **more).start()
    assert player.asked
    return player


@pytest.mark.parametrize(
    ("step", "request_"),
    [
        ({"step": "acir", "readings": 3}, TakeReadings("impedance_meter", 3)),
        ({"step": "insulation", "voltage": "500 V", "duration": "10 s"}, actions.TestInsulation(500.0, 10.0)),
        ({"step": "identify"}, ReadCodes()),
        ({"step": "set", "chamber": "25 degC"}, SetChamber(25.0)),
        ({"step": "grade"}, Provisional()),
        ({"step": "publish", "event": "told"}, Tell("told", {})),
        ({"step": "python", "function": "f", "max_time": "30 s"}, CallFunction("f", {})),
        (prompt(), Ask("confirm", Text(en="?", ko="?"))),
    ],
)
def test_a_step_asks_once_and_an_error_is_its_end(dut: Dut, step: Data, request_: Any) -> None:
    player = ask(dut, step)
    assert list(player.asked.values()) == [request_]
    player.after(1.0).after(1.0)
    assert list(player.asked.values()) == [request_], "asked once"
    player.answer(error="no reply", code="E-TIMEOUT")
    record = player.records[0]
    assert record.verdict is Verdict.ERROR
    assert not record.complete
    assert record.reason == "no reply [E-TIMEOUT]"
    assert player.ended.verdict is Verdict.ERROR


@pytest.mark.parametrize(
    "step",
    [{"step": "acir"}, {"step": "insulation", "voltage": "500 V", "duration": "10 s"}, {"step": "eis",
     "highest": "1 kHz", "lowest": "1 Hz"}, prompt()],
)  # fmt: skip
def test_what_needs_a_battery_at_rest_switches_off_before_it_asks(dut: Dut, step: Data) -> None:
    player = ask(dut, step)
    assert player.actions[0] == NoCurrent()


# ------------------------------------------------------------------------------------------------------- instruments


def test_the_resistance_is_the_mean_of_the_good_readings(dut: Dut) -> None:
    player = ask(dut, {"step": "acir", "into": "r"}).answer([(0.005, 43.0), (None, None), (0.007, 43.1)])
    record = player.record("s")
    assert record.readings == {"resistance": (0.005, None, 0.007), "voltage": (43.0, None, 43.1)}
    assert record.values == {"r": pytest.approx(0.006)}
    assert player.context.variables["r"] == [pytest.approx(0.006)]


def test_readings_that_all_failed_leave_the_value_unknown(dut: Dut) -> None:
    steps = [{"step": "acir", "name": "a", "into": "r"}, {"step": "acir", "name": "b", "into": "r"}]
    player = run(dut, *steps, check("k", "r <= 10 mohm")).start().answer([(0.005, 43.0)]).answer([(None, None)])
    assert player.record("b").values == {"r": None}
    assert player.ended.verdict is Verdict.INCONCLUSIVE, "the first reading does not stand for the second"


def test_a_spectrum_goes_down_through_its_decades_both_ends_included(dut: Dut) -> None:
    player = ask(dut, {"step": "eis", "highest": "1 kHz", "lowest": "100 mHz", "points_per_decade": 2})
    (request,) = player.asked.values()
    assert isinstance(request, TakeSpectrum)
    assert request.frequencies == pytest.approx([10 ** (3 - k / 2) for k in range(9)])
    player.answer([(1000.0, 0.001, -0.002), (0.1, 0.003, None)])
    assert player.record("s").readings == {
        "frequency": (1000.0, 0.1), "real": (0.001, 0.003), "imaginary": (-0.002, None),
    }  # fmt: skip


@pytest.mark.parametrize(("highest", "lowest", "points"), [("1 kHz", "999 Hz", 2), ("1 Hz", "10 mHz", 3)])
def test_a_spectrum_has_at_least_its_two_ends(dut: Dut, highest: str, lowest: str, points: int) -> None:
    player = ask(dut, {"step": "eis", "highest": highest, "lowest": lowest, "points_per_decade": 1})
    (request,) = player.asked.values()
    assert isinstance(request, TakeSpectrum)
    assert len(request.frequencies) == points
    assert request.frequencies[-1] == pytest.approx({"999 Hz": 999.0, "10 mHz": 0.01}[lowest])


def test_insulation_is_per_volt_of_the_nominal_voltage(dut: Dut) -> None:
    step = {"step": "insulation", "voltage": "500 V", "duration": "10 s", "into": "iso"}
    player = ask(dut, step).answer(700_000.0)
    assert player.record("s").values == {"iso": pytest.approx(2000.0)}
    assert player.record("s").readings == {"resistance": (700_000.0,)}


def test_insulation_without_a_value_is_unknown_and_not_good(dut: Dut) -> None:
    step = {"step": "insulation", "name": "s", "voltage": "500 V", "duration": "10 s", "into": "iso"}
    player = run(dut, step, check("k", "iso >= 100 ohm/V")).start().answer(None)
    assert player.record("s").values == {"iso": None}
    assert player.ended.verdict is Verdict.INCONCLUSIVE


# ------------------------------------------------------------------------------------------------ open-circuit voltage

OCV: Data = {"step": "ocv", "settle": "0.5 mV/min", "readings": 3, "into": "rested", "max_time": "30 min"}


def settled(dut: Dut, **more: Any) -> Player:
    """An ocv step that has just seen a quiet minute."""
    player = run(dut, {"name": "s", **OCV}, rest("after"), **more).start()
    for _ in range(59):
        player.after(1.0)
        assert player.at_work == ["s"]
    return player


def test_without_a_voltmeter_the_cyclers_voltage_is_read_once_a_sample(dut: Dut) -> None:
    player = settled(dut).after(1.0, voltage=350.0).after(1.0, voltage=None).after(1.0, voltage=350.2)
    assert player.at_work == ["s"], "a bad value is no reading"
    player.after(1.0, voltage=350.4)
    assert player.record("s").readings == {"voltage": (350.0, 350.2, 350.4)}
    assert player.record("s").values == {"rested": pytest.approx(350.2)}


def test_a_voltmeter_is_asked_where_the_station_has_one(dut: Dut) -> None:
    player = settled(dut, roles=frozenset({"voltmeter"})).after(1.0)
    assert list(player.asked.values()) == [TakeReadings("voltmeter", 3)]
    player.after(1.0).answer([(None, 351.0), (None, 351.2), (None, None)])
    assert player.record("s").values == {"rested": pytest.approx(351.1)}


def test_a_voltmeter_that_fails_is_an_error(dut: Dut) -> None:
    player = settled(dut, roles=frozenset({"voltmeter"})).after(1.0).answer(error="no reply", code="E-TIMEOUT")
    assert player.ended.verdict is Verdict.ERROR


def test_cells_that_drift_are_waited_for(dut: Dut) -> None:
    player = run(dut, {"name": "s", **OCV}, rest("after")).start()
    for minute in range(1, 30):
        player.cells = (3.6 + 0.001 * minute,) * 96
        player.after(60.0)
    assert player.at_work == ["s"]
    player.after(60.0)
    assert player.ended.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("cells", [(), (3.6,) * 95 + (None,)])
def test_cells_that_are_not_known_never_count_as_settled(dut: Dut, cells: tuple[float | None, ...]) -> None:
    player = run(dut, {"name": "s", **OCV}, rest("after"))
    player.cells = cells
    player.start()
    for _ in range(29):
        player.after(60.0)
    assert player.at_work == ["s"]


# ----------------------------------------------------------------------------------------------------------- the codes

CODE = "PHE96-004711"


@pytest.mark.parametrize(
    ("label", "battery", "traceable", "reason"),
    [
        (CODE, CODE, 1.0, "codes agree"),
        (CODE, None, 1.0, "codes agree"),
        (None, CODE, 1.0, "codes agree"),
        (CODE, "", 0.0, "no code from BMS"),
        ("", CODE, 0.0, "no code from label"),
        ("", "", 0.0, "no code from label and BMS"),
        ("", None, 0.0, "no code from label"),
        (None, None, 0.0, "no code from label and BMS"),
    ],
)
def test_a_battery_is_traceable_when_its_codes_say_so(
    dut: Dut, label: str | None, battery: str | None, traceable: float, reason: str
) -> None:
    player = ask(dut, {"step": "identify", "into": "traceable"}).answer((label, battery, CODE))
    record = player.record("s")
    assert record.verdict is Verdict.PASS
    assert record.values == {"traceable": traceable}
    assert record.readings == {"traceable": (traceable,)}
    assert record.reason == reason


@pytest.mark.parametrize(("label", "battery"), [("OTHER", CODE), (CODE, "OTHER"), ("OTHER", ""), (None, "OTHER")])
def test_another_batterys_code_fails(dut: Dut, label: str | None, battery: str | None) -> None:
    player = ask(dut, {"step": "identify", "into": "traceable"}).answer((label, battery, CODE))
    assert player.ended.verdict is Verdict.FAIL
    assert "OTHER" in player.ended.reason
    assert player.record("s").values == {"traceable": 0.0}


# -------------------------------------------------------------------------------------------------------------- people


@pytest.mark.parametrize(("answer", "verdict"), [(True, Verdict.PASS), (False, Verdict.FAIL)])
def test_a_confirmation_that_is_refused_fails(dut: Dut, answer: bool, verdict: Verdict) -> None:
    player = ask(dut, prompt(into="sure")).answer(answer)
    assert player.records[0].verdict is verdict
    assert player.records[0].values == {"sure": float(answer)}
    assert (player.finish is None) == answer


def test_a_number_or_a_choice_becomes_a_value_and_zero_is_one_too(dut: Dut) -> None:
    player = ask(dut, prompt(answer="number", into="weight")).answer(0)
    assert player.records[0].verdict is Verdict.PASS
    assert player.records[0].reason == "answered 0"
    assert player.context.variables == {"weight": [0.0]}
    choices = [{"en": "a", "ko": "a"}, {"en": "b", "ko": "b"}]
    player = ask(dut, prompt(answer="choice", choices=choices, into="which"))
    (request,) = player.asked.values()
    assert isinstance(request, Ask)
    assert [name for name, _ in request.items] == ["1", "2"]
    player.answer(2)
    assert player.context.variables == {"which": [2.0]}


LOOKS: Data = {
    "step": "inspect", "into": "faults", "max_time": "10 min",
    "items": [{"name": name, "text": {"en": name, "ko": name}} for name in ("leak", "dent", "rust")],
}  # fmt: skip


@pytest.mark.parametrize(
    ("answers", "verdict", "reason", "faults"),
    [
        ({"leak": True, "dent": True, "rust": True}, Verdict.PASS, "all good", 0.0),
        ({"leak": True, "dent": False, "rust": True}, Verdict.FAIL, "bad: dent", 1.0),
        ({"leak": False, "dent": False, "rust": False}, Verdict.FAIL, "bad: leak, dent, rust", 3.0),
        ({"leak": True, "dent": True}, Verdict.FAIL, "bad: rust", 1.0),
    ],
)
def test_one_bad_answer_fails_an_inspection_and_a_missing_one_is_bad(
    dut: Dut, answers: dict[str, bool], verdict: Verdict, reason: str, faults: float
) -> None:
    player = ask(dut, LOOKS).answer(answers)
    record = player.record("s")
    assert (record.verdict, record.reason) == (verdict, reason)
    assert record.values == {"faults": faults}
    assert set(record.readings) == {"leak", "dent", "rust"}
    assert record.readings["dent"] == (float(answers["dent"]),)


# ------------------------------------------------------------------------------------------------------------- chamber

SOAK: Data = {
    "step": "set_temperature", "temperature": "25 degC", "tolerance": "2 K", "soak": "60 s", "max_time": "2 h",
}  # fmt: skip


def soaking(dut: Dut, of: str = "both", **signals: float | None) -> Player:
    return ask(dut, {**SOAK, "of": of}).answer().after(0.0, **signals)


def test_a_soak_is_as_long_as_asked_with_the_output_off(dut: Dut) -> None:
    player = soaking(dut)
    assert player.actions == [NoCurrent(), SetChamber(25.0)]
    player.after(59.9)
    assert player.at_work == ["s"]
    player.after(0.1)
    assert player.record("s").reason == "soaked"


def test_a_soak_begins_anew_when_it_leaves_the_band_or_is_not_known(dut: Dut) -> None:
    player = soaking(dut).after(59.0).after(0.5, temperature_max=27.1).after(1.0, temperature_max=27.0).after(59.9)
    assert player.at_work == ["s"]
    player.after(0.1)
    assert player.at_work == ["after"]
    player = soaking(dut).after(59.0).after(0.5, temperature_min=None).after(1.0, temperature_min=25.0).after(59.9)
    assert player.at_work == ["s"]


@pytest.mark.parametrize(
    ("of", "signals", "counts"),
    [
        ("chamber", {"temperature_min": 10.0, "temperature_max": None}, True),
        ("chamber", {"chamber_temperature": 22.9}, False),
        ("battery", {"chamber_temperature": None}, True),
        ("battery", {"temperature_min": 22.9}, False),
        ("battery", {"temperature_max": 27.1}, False),
        ("both", {"chamber_temperature": 22.9}, False),
        ("both", {"temperature_min": 22.9}, False),
        ("both", {"temperature_min": 23.0, "temperature_max": 27.0, "chamber_temperature": 23.0}, True),
    ],
)
def test_what_must_have_got_there(dut: Dut, of: str, signals: dict[str, float | None], counts: bool) -> None:
    player = soaking(dut, of, **signals).after(60.0)
    assert (player.at_work == ["after"]) == counts


def test_no_soak_counts_before_the_chamber_has_taken_its_set_point(dut: Dut) -> None:
    player = ask(dut, SOAK).after(120.0)
    assert player.at_work == ["s"]
    player.answer().after(60.0)
    assert player.at_work == ["after"]


def test_a_soak_that_is_never_reached_is_inconclusive(dut: Dut) -> None:
    player = soaking(dut, temperature_max=30.0).after(7200.0)
    assert player.ended.verdict is Verdict.INCONCLUSIVE


def test_setting_the_chamber_waits_for_its_answer_only(dut: Dut) -> None:
    player = ask(dut, {"step": "set", "chamber": "45 degC", "soc": "30 %"})
    assert player.context.soc == 0.3
    player.answer()
    assert player.at_work == ["after"]


# ------------------------------------------------------------------------------------------------------------ thinking

MEASUREMENTS = [
    {"name": name, "title": {"en": name, "ko": name}, "from": {"kind": "temperature_max"}} for name in ("warm", "hot")
]


def test_measurements_are_found_by_their_names_from_then_on(dut: Dut) -> None:
    step = {"step": "measure", "name": "s", "measurements": ["warm", "hot"]}
    steps = [step, check("k", "warm <= 30 degC"), check("u", "hot <= 30 degC")]
    player = run(dut, *steps, measurements=MEASUREMENTS).start()
    assert list(player.asked.values()) == [WorkOut(("warm", "hot"), "")]
    player.answer({"warm": 29.0, "hot": None})
    assert player.record("s").reason == "not measured: hot"
    assert player.record("k").verdict is Verdict.PASS
    assert player.ended.verdict is Verdict.INCONCLUSIVE
    assert player.ended.step == "u"


def test_a_measurement_that_is_not_to_be_had_any_more_is_unknown_again(dut: Dut) -> None:
    one = {"step": "measure", "name": "one", "measurements": ["warm"]}
    player = run(dut, one, {**one, "name": "two"}, check("k", "warm <= 30 degC"), measurements=MEASUREMENTS).start()
    player.answer({"warm": 29.0}).answer({})
    assert player.ended.verdict is Verdict.INCONCLUSIVE


def test_charges_and_energies_are_measured_in_their_own_units(dut: Dut) -> None:
    capacity = {"kind": "capacity", "after": "s", "until": "s"}
    measured = [{"name": "remaining", "title": {"en": "r", "ko": "r"}, "from": capacity}]
    step = {"step": "measure", "name": "s", "measurements": ["remaining"]}
    player = run(dut, step, check("k", "remaining >= 45.9 Ah and remaining <= 46.1 Ah"), measurements=measured)
    assert player.start().answer({"remaining": 46.0}).ended.verdict is Verdict.PASS


def test_a_grade_is_certain_or_not_and_unknown_before(dut: Dut) -> None:
    step = {"step": "grade", "name": "s"}
    for certain in (True, False):
        player = run(dut, step, check("k", "grade_certain"), rest("after")).start()
        assert player.answer(("B", certain)).at_work == (["after"] if certain else [])
        assert player.record("s").reason == f"grade B, {'certain' if certain else 'not certain'}"
    assert run(dut, check("k", "grade_certain")).start().ended.verdict is Verdict.INCONCLUSIVE
    assert run(dut, step).start().answer((None, False)).record("s").reason == "grade none, not certain"


def test_what_is_told_has_the_units_of_the_report_and_what_is_unknown_none(dut: Dut) -> None:
    steps = [
        compute("a", "rated_capacity / 2", "half"), compute("b", "cell_spread", "spread"), compute("c", "3", "count"),
        {"step": "publish", "name": "s", "event": "told", "values": ["half", "spread", "count"]},
    ]  # fmt: skip
    player = run(dut, *steps).start(cell_spread=None)
    assert list(player.asked.values()) == [
        Tell("told", {"half": (30.0, "Ah"), "spread": (None, "V"), "count": (3.0, "1")})
    ]
    assert player.answer().record("s").reason == "told"


def test_a_value_is_computed_in_its_own_unit(dut: Dut) -> None:
    steps = [
        compute("energy", "rated_capacity * nominal_voltage", "e"),
        compute("ohm", "voltage / 10 A", "r"),
        compute("share", "rated_capacity / 2 / rated_capacity", "x"),
    ]
    player = run(dut, *steps).start(voltage=350.0)
    assert player.record("energy").values == {"e": pytest.approx(21000.0)}, "Wh"
    assert player.record("energy").reason == "e = 21000"
    assert player.record("ohm").values == {"r": pytest.approx(35.0)}
    assert player.record("share").values == {"x": pytest.approx(0.5)}


# ----------------------------------------------------------------------------------------------------------- functions

PYTHON: Data = {
    "step": "python", "function": "site_model", "arguments": {"q": "rated_capacity", "v": "voltage"},
    "into": {"index": "1", "left": "Ah", "sag": "mV"}, "max_time": "30 s",
}  # fmt: skip


def test_a_function_gets_si_units_and_what_is_unknown_as_none(dut: Dut) -> None:
    player = run(dut, {"name": "s", **PYTHON}).start(voltage=None)
    assert list(player.asked.values()) == [CallFunction("site_model", {"q": 60.0 * 3600, "v": None})]


def test_what_a_function_returns_is_in_the_units_it_declared(dut: Dut) -> None:
    after = check("k", "left >= 1.9 Ah and left <= 2.1 Ah and sag >= 4 mV and sag <= 6 mV and index <= 7")
    player = run(dut, {"name": "s", **PYTHON}, after).start().answer({"index": 7, "left": 2.0, "sag": 5.0, "more": "x"})
    assert player.record("s").values == {"index": 7.0, "left": pytest.approx(2.0), "sag": pytest.approx(0.005)}
    assert player.ended.verdict is Verdict.PASS


def test_what_a_function_does_not_return_is_unknown(dut: Dut) -> None:
    player = run(dut, {"name": "s", **PYTHON}, rest("after")).start().answer({"index": None, "left": math.nan})
    assert player.record("s").values == {"index": None, "left": None, "sag": None}


@pytest.mark.parametrize("garbage", ["a lot", [1.0], {"nested": 1.0}, object()])
def test_a_function_that_returns_no_number_is_an_error_of_its_step(dut: Dut, garbage: Any) -> None:
    """What engineers install must not take the run down with it."""
    player = run(dut, {"name": "s", **PYTHON, "on_error": "next"}, rest("after")).start().answer({"index": garbage})
    assert player.record("s").verdict is Verdict.ERROR
    assert "E-PYTHON-STEP" in player.record("s").reason
    assert player.at_work == ["after"]


# -------------------------------------------------------------------------------------------------------------- checks


def test_a_check_says_what_it_means_when_it_fails(dut: Dut) -> None:
    text = {"en": "cells apart", "ko": "셀 편차 과다"}
    step = {"step": "check", "name": "k", "that": "cell_spread <= 300 mV", "text": text}
    assert run(dut, step).start(cell_spread=0.4).ended.reason == "cells apart: not so: cell_spread <= 300 mV"
    assert run(dut, step).start(cell_spread=None).ended.reason == "cells apart: unknown: cell_spread <= 300 mV"
    assert run(dut, step).start(cell_spread=0.2).record("k").reason == "cell_spread <= 300 mV"


def test_a_refused_confirmation_lets_finally_tidy_up(dut: Dut) -> None:
    player = run(dut, group("g", prompt(), last=[rest("tidy")])).start().answer(False)
    assert player.at_work == ["tidy"]
