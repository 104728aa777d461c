"""What works without a daemon: help, completion, check, safe-state, simulate."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from config import shipped_dut_models
from controller.recipes import LIBRARY
from tests.cli.plant import DISCHARGE, ENVIRONMENT, EVALINE, PACED, WITHIN, Child, Data, Ended, Here, Plant, recipe

QUICK = LIBRARY / "quick_capacity_dcir.yaml"


def evaline_in(shell_environment: dict[str, str], *arguments: str) -> Ended:
    """The installed command itself."""
    done = subprocess.run(
        [Path(sys.executable).with_name("evaline"), *arguments], env=ENVIRONMENT | shell_environment, text=True,
        stdin=subprocess.DEVNULL, capture_output=True, timeout=WITHIN, check=False,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr)


def test_help_lists_every_command() -> None:
    shown = evaline_in({}, "--help")
    assert shown.code == 0
    assert shown.out.startswith("Usage: evaline ")
    listed = [line.split()[0] for line in shown.out.split("Commands:")[1].splitlines() if line.strip()]
    promised = "serve run answer status hold resume abort stop clear reset simulate safe-state journal demo"
    promised += " check plan export schema reference analyse"
    assert set(promised.split()) <= set(listed)


def test_a_wrong_call_is_explained_and_ends_with_1() -> None:
    wrong = evaline_in({}, "fly")
    assert wrong.code == 1
    assert "No such command 'fly'." in wrong.err
    assert "Traceback" not in wrong.err


def test_the_shell_completes_commands() -> None:
    script = evaline_in({"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}, "--show-completion", "bash")
    assert script.code == 0
    assert "complete -o default -F _evaline_completion evaline" in script.out
    completed = evaline_in({"_EVALINE_COMPLETE": "complete_bash", "COMP_WORDS": "evaline s", "COMP_CWORD": "1"})
    assert completed.out.split() == ["serve", "status", "stop", "safe-state", "schema", "simulate", "simulated"]


# -------------------------------------------------------------------------------------------------------- check


def test_check_passes_the_library_and_says_so(here: Here) -> None:
    checked = here("check", QUICK, "--dut", "nmc_96s_60ah")
    assert (checked.code, checked.out, checked.err) == (0, f"{QUICK}: ok\n", "")
    assert here("check", QUICK, "--json").json == {str(QUICK): []}


def test_check_finds_what_is_wrong_in_every_file_and_ends_with_3(plant: Plant, here: Here) -> None:
    too_much = plant.write("too_much.yaml", recipe(DISCHARGE | {"current": "2C"}))
    no_unit = plant.write("no_unit.yaml", "schema: evaline/recipe/1\nid: no unit\n")
    latin = plant.write("latin.yaml", b"\xe9")
    checked = here(
        "check", QUICK, too_much, no_unit, latin, plant.directory / "absent.yaml", "--dut", "nmc_96s_60ah", "--json"
    )
    assert checked.code == 3
    findings = checked.json
    assert findings[str(QUICK)] == []
    above = "discharge: 120 A is above the 90 A discharge rating of nmc_96s_60ah; set at most 90 A [E-CURRENT-DUT]"
    assert any(line.startswith(f"{too_much}:") and line.endswith(above) for line in findings[str(too_much)])
    assert findings[str(no_unit)][0].startswith(f"{no_unit}:")
    assert findings[str(latin)] == [f"{latin}: not UTF-8 at byte 0 [E-FILE-UTF8]"]
    assert findings[f"{plant.directory}/absent.yaml"] == [
        f"{plant.directory}/absent.yaml: cannot be read: No such file or directory [E-FILE]"
    ]

    plain = here("check", too_much, "--dut", "nmc_96s_60ah")
    assert plain.code == 3
    assert above in plain.out


def test_check_for_a_battery_that_is_not_known(here: Here) -> None:
    here("check", QUICK, "--dut", "leaf").says(
        3, f"evaline: there is no battery model 'leaf'; known are {', '.join(shipped_dut_models())} [E-DUT-UNKNOWN]"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_check_of_a_file_that_may_not_be_read(plant: Plant, here: Here) -> None:
    file = plant.write("secret.yaml", recipe())
    file.chmod(0)
    checked = here("check", file)
    assert (checked.code, checked.out) == (3, f"{file}: cannot be read: Permission denied [E-FILE]\n")


# --------------------------------------------------------------------------------------------------- safe-state


def patient(line: Data) -> None:
    """Neither watchdog nor heartbeat supervision is to help."""
    station = line["stations"]["st01"]
    station["watchdog_s"] = 60
    station["instruments"]["interlock"]["settings"] = {"heartbeat_timeout_s": 60}


STEPS = ("ramp to zero", "current is zero", "output off", "contactor open")


def test_safe_state_after_a_killed_daemon_is_confirmed(plant: Plant) -> None:
    """As the service manager calls it: at once, with the current still flowing."""
    plant.up(change=patient, rate=PACED).begin_discharge()
    plant.daemon.end(signal.SIGKILL)
    assert plant.simulators.truth()["current"] != 0

    done = plant.command("safe-state", "--config", plant.line_file)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [f"st01  {step:<18} confirmed" for step in STEPS]
    plant.simulators.assert_off()


def test_safe_state_beside_a_daemon_says_whose_runs_it_ends_and_acts(plant: Plant) -> None:
    plant.up(rate=PACED)
    run, _ = plant.begin_discharge()
    done = plant.command("safe-state", "--config", plant.line_file, "--json")
    pid = plant.daemon.process.pid
    warning = (
        f"the daemon with pid {pid} holds this line: its runs will be aborted, and instruments that take one "
        "connection only may refuse; the usual way is `evaline abort --station NAME` [W-LINE-HELD]"
    )
    done.says(0, f"evaline: {warning}")
    assert done.json["_daemon"] == {"pid": pid, "warning": warning}
    assert [(step["name"], step["confirmed"]) for step in done.json["st01"]] == [(name, True) for name in STEPS]
    plant.daemon.until_state("ABORTED")
    assert plant.daemon.result(run)["verdict"] in ("aborted", "error")
    plant.simulators.assert_off()
    plant.daemon.end()
    assert plant.command("safe-state", "--config", plant.line_file).err == "", "nobody holds it any more"


def test_safe_state_acts_though_nobody_can_tell_who_holds_the_line(plant: Plant) -> None:
    plant.simulate(rate=PACED)
    plant.state.mkdir(exist_ok=True)
    plant.state.joinpath("journal.db.lock").symlink_to("journal.db.lock")  # no file can be opened there
    done = plant.command("safe-state", "--config", plant.line_file)
    assert (done.code, done.err) == (0, "")
    plant.simulators.assert_off()


def test_safe_state_without_instruments_is_not_confirmed_and_says_why(plant: Plant) -> None:
    plant.simulate(rate=PACED)
    plant.simulators.end()
    done = plant.command("safe-state", "--config", plant.line_file)
    assert (done.code, done.err) == (1, "")
    lines = done.out.splitlines()
    assert [line[:24].rstrip() for line in lines] == [f"st01  {step}" for step in STEPS]
    assert all("NOT CONFIRMED: " in line and line.endswith("[E-LINK-REFUSED]") for line in lines)

    steps = plant.command("safe-state", "--config", plant.line_file, "--json").json["st01"]
    assert [(step["name"], step["confirmed"]) for step in steps] == [(name, False) for name in STEPS]


# ----------------------------------------------------------------------------------------------------- simulate


def test_simulate_prints_where_its_instruments_are_and_ends_when_told(plant: Plant) -> None:
    log = plant.directory / "simulate.log"
    simulators = Child([*EVALINE, "simulate", "--config", str(plant.write_line()), "--free-ports"], log)
    plant.stack.callback(simulators.close)
    printed = []
    while (line := simulators.line()) != "Ctrl-C stops.":
        printed.append(line)
    assert [line.split()[0] for line in printed] == [
        f"st01/{key}" for key in ("cycler", "impedance_meter", "temperature_scanner", "interlock", "battery_monitor")
    ]
    assert "127.0.0.1" in printed[0]
    assert str(plant.state / "pty") in printed[1]
    ended = simulators.end()
    assert (ended.code, ended.err) == (0, "")
