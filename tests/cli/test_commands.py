"""Commands to a running daemon: what each answers, and the exit code it ends with."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import shipped_dut_models
from controller.recipes import library_ids
from tests.cli.plant import CODE, DISCHARGE, LONG_DISCHARGE, PACED, REST, Plant, a_plant, recipe

OPTIONS = ("--station", "st01", "--reason", "test")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """One line for all tests here; each leaves its station ready, or in a state that `run` brings to IDLE."""
    with a_plant(tmp_path_factory.mktemp("plant")) as plant:
        yield plant.up(rate=PACED)


def test_status_shows_stations_and_instruments(served: Plant) -> None:
    shown = served.command("status")
    assert shown.code == 0
    assert shown.out.splitlines()[0] == "evaline/pohang/evaluation/line1"
    for instrument in ("cycler", "impedance_meter", "temperature_scanner", "interlock", "battery_monitor"):
        assert f"    {instrument:<20} ok" in shown.out.splitlines()

    assert any(line.startswith("  MES") for line in shown.out.splitlines())
    assert "  st01  IDLE  LOCAL" in shown.out.splitlines()

    station = served.command("status", "--json").json["stations"]["st01"]
    assert set(station["instruments"].values()) == {"ok"}
    assert {"state", "run_id", "progress", "live", "alarms"} <= station.keys()


def test_hold_resume_and_stop_a_run(served: Plant) -> None:
    run, follower = served.begin_discharge()

    assert served.command("hold", *OPTIONS, "--json").json["state"] == "HELD"
    assert served.simulators.truth()["current"] == 0
    assert served.command("status", "--json").json["stations"]["st01"]["run_id"] == run

    assert served.command("resume", *OPTIONS, "--json").json["state"] == "EXECUTE"
    served.daemon.until_current_flows()

    assert served.command("stop", *OPTIONS, "--json").json["state"] == "STOPPED"
    ended = follower.ended()
    assert ended.code == 6
    assert ended.json["verdict"] == "aborted"
    assert ended.json["outcome"] == {"code": "E-STOPPED", "reason": "stopped by tester: test"}
    served.simulators.assert_off()
    assert served.command("reset", *OPTIONS).out == "st01 IDLE\n"


def test_ctrl_c_leaves_the_run_alone_and_says_how_to_end_it(served: Plant) -> None:
    run, follower = served.begin_discharge()
    left = follower.end(signal.SIGINT)
    told = "evaline: interrupted; a run that was started goes on, `evaline abort --station st01` ends it"
    assert (left.code, left.err.splitlines()[-1]) == (130, told)
    assert served.command("status", "--json").json["stations"]["st01"]["run_id"] == run
    assert served.command("stop", *OPTIONS).code == 0
    assert served.command("reset", *OPTIONS).code == 0


def test_abort_ends_a_run_with_everything_off_and_is_cleared_by_hand(served: Plant) -> None:
    run, follower = served.begin_discharge()

    assert served.command("abort", *OPTIONS).out == "st01 ABORTED\n"
    served.simulators.assert_off()
    ended = follower.ended()
    assert ended.code == 6
    assert ended.json["run_id"] == run
    assert ended.json["verdict"] == "aborted"
    assert ended.json["outcome"] == {"code": "E-ABORTED", "reason": "aborted by tester: test"}
    assert [step["confirmed"] for step in ended.json["outputs_off"]] == [True] * 4

    refused = "evaline: station st01 is ABORTED, not IDLE; clear the station, then reset it [E-STATE]"
    served.run(recipe()).says(4, refused)
    assert served.command("clear", *OPTIONS, "--json").json["state"] == "STOPPED"
    assert served.command("reset", *OPTIONS, "--json").json["state"] == "IDLE"


def test_people_see_steps_limits_verdict_and_where_the_report_is(served: Plant) -> None:
    done = served.run(recipe(REST, DISCHARGE | {"ends": ["step_time >= 3 s"]}))
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert any(line.split()[:3] == ["st01", "EXECUTE", "discharge"] for line in lines), done.out
    assert any(line.split() == ["temperatureMax", "25", "degC", "≤", "50", "pass"] for line in lines), done.out
    assert any(line.startswith("verdict pass   grade —") for line in lines)
    assert Path(lines[-1]).parent == served.state / "reports"


def test_a_failed_limit_ends_with_5(served: Plant) -> None:
    done = served.run(recipe(REST | {"duration": "1 s"}, limits={"max": "20 degC"}), "--json")
    assert done.code == 5
    assert done.json["verdict"] == "fail"
    assert done.json["measurements"]["temperatureMax"]["verdict"] == "fail"


def test_a_step_that_hits_its_maximum_time_ends_with_5_and_no_grade(served: Plant) -> None:
    overdue = DISCHARGE | {"ends": ["cell_min <= 2.9 V"], "max_time": "3 s"}
    done = served.run(recipe(overdue))
    assert done.code == 5
    assert "verdict inconclusive   grade —" in done.out
    assert "ended by: discharge: maximum time of 3 s [E-STEP-OVERDUE]" in done.out
    served.simulators.assert_off()


def test_a_tripped_safety_limit_ends_with_6_and_quarantine(served: Plant) -> None:
    data = recipe(LONG_DISCHARGE)
    data["safety"] = data["safety"] | {"temperature_max": {"warn": "20 degC", "trip": "22 degC", "delay": "2 s"}}
    done = served.run(data, "--json")
    assert done.code == 6
    assert (done.json["verdict"], done.json["grade"]) == ("aborted", "Q")
    assert done.json["outcome"]["code"] == "E-SAFETY-TRIP"
    served.simulators.assert_off()
    served.command("clear", *OPTIONS)


def test_a_refused_start_ends_with_4_and_every_reason(served: Plant) -> None:
    served.simulators.fault("interlock", "door")
    served.daemon.until_scanned()
    refused = served.run(recipe(), "--json", dut="PHE96-004712")
    served.simulators.fault("interlock", "door", on=False)
    refused.says(
        4,
        "evaline: the door is open; close it, then reset [E-INTERLOCK]",
        f"evaline: scanned PHE96-004712, but the BMS says {CODE}; "
        "scan the battery that is on this station [E-DUT-MISMATCH]",
    )
    assert refused.json["code"] == "E-REFUSED"
    assert [reason["code"] for reason in refused.json["reasons"]] == ["E-INTERLOCK", "E-DUT-MISMATCH"]


def test_every_reason_against_a_start_is_told_in_the_language_asked_for(served: Plant) -> None:
    served.simulators.fault("interlock", "door")
    served.daemon.until_scanned()
    refused = served.run(recipe(), "--json", "--lang", "ko", dut="PHE96-004712")
    planned = served.run(recipe(), "--dry", "--lang", "ko", dut="PHE96-004712")
    served.simulators.fault("interlock", "door", on=False)
    door = "도어가 열려 있습니다; 닫은 뒤 리셋하십시오 [E-INTERLOCK]"
    battery = (
        f"스캔한 코드는 PHE96-004712 이지만 BMS 의 코드는 {CODE} 입니다; "
        "이 스테이션에 있는 배터리를 스캔하십시오 [E-DUT-MISMATCH]"
    )
    refused.says(4, f"evaline: {door}", f"evaline: {battery}")
    assert refused.json["errors"] == [door, battery]
    assert refused.json["reasons"][0]["message"] == "the door is open", "with the English beside"
    assert planned.out.splitlines()[-3:] == ["지금 시작하면 거부됩니다:", f"  {door}", f"  {battery}"]
    known = ", ".join(shipped_dut_models())
    served.run(recipe(), "--lang", "ko", dut="XYZ").says(
        4,
        f"evaline: 스캔한 코드 'XYZ': 해당하는 배터리 모델이 없습니다. 사용할 수 있는 모델: {known}; "
        "라벨을 확인하거나 배터리 모델을 추가하십시오 [E-DUT-CODE]",
    )


def test_commands_that_are_refused_are_told_in_the_language_asked_for(served: Plant) -> None:
    if served.command("status", "--json").json["stations"]["st01"]["state"] != "IDLE":
        served.command("reset", *OPTIONS)
    for command in ("hold", "resume", "clear", "reset"):
        served.command(command, *OPTIONS, "--lang", "ko").says(
            4,
            f"evaline: IDLE 상태에서는 {command} 을(를) 할 수 없습니다. 지금 가능한 명령: abort, start, stop [E-STATE]",
        )
    nowhere = "evaline: 스테이션 'st09' 이(가) 없습니다. 사용할 수 있는 스테이션: st01 [E-STATION]"
    for command in (["hold"], ["mode", "local"], ["answer", "yes"], ["run", "quick_capacity_dcir", "--dut", CODE]):
        served.command(*command, "--station", "st09", "--lang", "ko").says(4, nowhere)
    served.command("mode", "remote", *OPTIONS)
    refused = served.run(recipe(), "--lang=ko")
    served.command("mode", "local", *OPTIONS)
    refused.says(
        4,
        "evaline: 스테이션 st01 은(는) REMOTE 모드로, MES가 실행을 시작합니다; "
        "변경하려면: evaline mode local --station st01 [E-MODE]",
    )


def test_a_recipe_that_is_refused_is_told_in_the_language_asked_for(served: Plant) -> None:
    broken = served.run(recipe(REST | {"duraton": "1 s"}, DISCHARGE | {"current": "9C"}), "--lang", "ko")
    assert (broken.code, broken.err.count("\n")) == (3, 1)
    assert "알 수 없는 키입니다" in broken.err
    hot = served.run(recipe(DISCHARGE | {"current": "2C"}), "--lang", "ko")
    assert hot.code == 3
    assert all(re.search("[가-힣]", line) for line in hot.err.splitlines())


def test_a_battery_of_no_known_model_is_refused(served: Plant) -> None:
    refused = served.run(recipe(), dut="XYZ")
    assert refused.code == 4
    known = ", ".join(shipped_dut_models())
    assert f"code 'XYZ' fits no battery model; known are {known}; check the label" in refused.err
    assert refused.err.count("E-DUT-CODE") == 1


def test_a_command_that_the_state_forbids_ends_with_4_and_what_is_possible(served: Plant) -> None:
    if served.command("status", "--json").json["stations"]["st01"]["state"] != "IDLE":
        served.command("reset", *OPTIONS)
    forbidden = served.command("hold", *OPTIONS, "--json")
    forbidden.says(4, "evaline: hold is not possible in IDLE; possible now: abort, start, stop [E-STATE]")
    assert forbidden.json["code"] == "E-STATE"


@pytest.mark.parametrize("command", ["hold", "run"])
def test_a_station_that_is_not_there_ends_with_4(served: Plant, command: str) -> None:
    arguments = ["run", "quick_capacity_dcir", "--dut", CODE] if command == "run" else [command]
    served.command(*arguments, "--station", "st09").says(
        4, "evaline: there is no station 'st09'; known are st01 [E-STATION]"
    )


# ------------------------------------------------------------------------------------------- recipes, refused with 3


def place_of(plant: Plant, key: str) -> str:
    """Where a key of the first step stands in the recipe that was run last."""
    rows = (plant.directory / "recipe.yaml").read_text(encoding="utf-8").splitlines()
    return f"{next(n for n, row in enumerate(rows, 1) if row.startswith(f'  {key}: '))}:3"


def test_a_current_that_cannot_be_is_found_before_anything_moves(served: Plant) -> None:
    served.run(recipe(DISCHARGE | {"current": "2C"})).says(
        3,
        *(
            f"evaline: {served.directory}/recipe.yaml:{place_of(served, 'current')}: discharge: {said}"
            for said in (
                "120 A would trip the recipe's own discharge limit of 1.1C; "
                "lower it, or correct the safety block [E-CURRENT-SAFETY]",
                "120 A is above the 90 A discharge rating of nmc_96s_60ah; set at most 90 A [E-CURRENT-DUT]",
                "120 A is above the station's 80 A; set at most 80 A [E-CURRENT-STATION]",
                "48.4 kW is above the station's 30 kW; lower it [E-POWER-STATION]",
            )
        ),
    )


def test_a_quantity_without_its_unit_is_named_with_its_place(served: Plant) -> None:
    served.run(recipe(DISCHARGE | {"current": "30"})).says(
        3,
        f"evaline: {served.directory}/recipe.yaml:{place_of(served, 'current')}: steps.0.cc.current: "
        "'30': write a number and a unit, like '50 mV' [E-RECIPE]",
    )


def test_a_key_that_no_recipe_has_is_named_with_its_place(served: Plant) -> None:
    file = served.write("twice.yaml", "schema: evaline/recipe/1\nid: one\nid: two\n")
    served.command("run", file, "--station", "st01", "--dut", CODE).says(
        3, f"evaline: {file}:3:1: the key 'id' stands here a second time [E-YAML-DUPLICATE]"
    )


def test_a_recipe_that_cannot_be_read_is_one_line(served: Plant) -> None:
    target = ("--station", "st01", "--dut", CODE)
    not_text = served.write("latin.yaml", b"schema: caf\xe9\n")
    served.command("run", not_text, *target).says(3, f"evaline: {not_text}: not UTF-8 at byte 11 [E-FILE-UTF8]")
    served.command("run", "absent.yaml", *target).says(
        3, "evaline: absent.yaml: cannot be read: No such file or directory [E-FILE]"
    )
    served.command("run", "absent", *target).says(
        3,
        "evaline: absent: is no file and no recipe of the library; "
        f"known are {', '.join(library_ids())} [E-RECIPE-UNKNOWN]",
    )
