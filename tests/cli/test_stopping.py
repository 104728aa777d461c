"""However it ends, everything is off, as the simulated instruments themselves tell, and the run has its result."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from controller.journal import JournalReader
from tests.cli.plant import LONG_DISCHARGE, PACED, WITHIN, Child, Data, Plant, recipe

CRASHING = Path(__file__).with_name("crashing_daemon.py")


def result_in(journal: Path, run: str) -> Data:
    """The run's result in the journal of a daemon that has ended."""
    reader = JournalReader(journal)
    result = reader.result(run)
    reader.close_reads()
    assert result is not None
    return result


def events_in(log: str) -> list[Data]:
    """A daemon with `--json` logs lines of JSON and nothing else, whatever happens to it."""
    return [json.loads(line) for line in log.splitlines()]


def assert_ended_by_the_daemon(plant: Plant, run: str, follower: Child) -> None:
    plant.simulators.assert_off()
    result = result_in(plant.journal, run)
    assert result["verdict"] == "error"
    assert result["grade"] is None
    assert result["outcome"] == {"code": "E-DAEMON", "reason": "the daemon ended while the run was active"}
    assert {step["step"]: step["confirmed"] for step in result["outputs_off"]} == {
        "ramp to zero": True,
        "current is zero": True,
        "output off": True,
        "contactor open": True,
    }
    assert Path(result["data_file"]["path"]).exists()
    assert Path(result["report"]).exists()
    assert plant.command("journal", "verify", plant.journal).code == 0
    told = follower.ended()
    assert told.code == 1
    assert told.err.splitlines()[-1].endswith("[E-DAEMON-GONE]")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_mid_run_switches_everything_off_and_ends_with_0(plant: Plant, number: int) -> None:
    run, follower = plant.up(rate=PACED).begin_discharge()
    ended = plant.daemon.end(number)
    assert ended.code == 0
    assert events_in(ended.err)[-1] == {"event": "stopped", "level": "info", "outputs_off": True}
    assert_ended_by_the_daemon(plant, run, follower)


def test_further_signals_do_not_break_the_off_sequence(plant: Plant) -> None:
    run, follower = plant.up(rate=PACED).begin_discharge()
    snapshots = plant.daemon.snapshots()
    next(snapshots)
    plant.daemon.send(signal.SIGTERM)
    for _ in snapshots:  # the stream ends where the off sequence begins
        pass
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        if plant.daemon.process.poll() is None:
            plant.daemon.send(number)
    assert plant.daemon.ended().code == 0
    assert_ended_by_the_daemon(plant, run, follower)


@pytest.mark.parametrize("task", ["station", "reports"])
def test_a_crash_in_any_task_switches_everything_off_and_ends_with_1(plant: Plant, task: str) -> None:
    plant.up(command=[sys.executable, str(CRASHING), task])
    follower = plant.begin(recipe(LONG_DISCHARGE), "--json")
    ended = plant.daemon.ended()
    assert ended.code == 1
    failed = [event for event in events_in(ended.err) if event["event"] == "task failed"]
    assert "BugError" in failed[0]["exception"]
    assert_ended_by_the_daemon(plant, "st01-000001", follower)


def test_outputs_that_cannot_be_confirmed_off_end_the_daemon_with_1(plant: Plant) -> None:
    run, follower = plant.up(rate=PACED).begin_discharge()
    plant.simulators.fault("cycler", "output_refuses_off")
    assert plant.daemon.end().code == 1
    confirmed = {step["step"]: step["confirmed"] for step in result_in(plant.journal, run)["outputs_off"]}
    assert not confirmed["output off"]
    assert confirmed["contactor open"], "what one instrument does not do, the next one does"
    truth = plant.simulators.truth()
    assert (truth["current"], truth["contactor_closed"]) == (0, False)
    assert follower.ended().code == 1


# ------------------------------------------------------------------------------------------------ a killed daemon


def cycler_first(line: dict[str, Any]) -> None:
    """The PLC waits longer than the cycler, so that contactors do not open under current."""
    line["stations"]["st01"]["instruments"]["interlock"]["settings"] = {"heartbeat_timeout_s": 8}


def test_after_a_kill_watchdog_and_heartbeat_switch_off_each_in_its_time(plant: Plant) -> None:
    run, follower = plant.up(change=cycler_first).begin_discharge()
    plant.daemon.end(signal.SIGKILL)
    assert follower.ended().code == 1

    def state() -> tuple[bool, bool, bool]:
        truth = plant.simulators.truth()
        return truth["current"] != 0, truth["output_on"], truth["contactor_closed"]

    assert state() == (True, True, True)
    plant.let_pass(5.1)
    assert state() == (False, False, True), "the cycler's watchdog after 5 s"
    plant.let_pass(4)
    assert state() == (False, False, False), "the PLC's heartbeat supervision after 8 s"
    plant.simulators.assert_off()

    plant.serve()
    refused = plant.run(recipe())
    assert refused.code == 4, "somebody has to look first"
    assert "[E-INTERLOCK]" in refused.err
    assert_orphan_has_its_result(plant, run)


def test_after_a_kill_everything_is_off_within_seconds_of_wall_time_too(plant: Plant) -> None:
    rate = 4.0
    run, follower = plant.up(change=cycler_first, rate=rate).begin_discharge()
    plant.daemon.end(signal.SIGKILL)
    killed = plant.simulators.truth()["time"]
    truth = plant.simulators.truth()
    while truth["contactor_closed"] and truth["time"] < killed + WITHIN * rate:  # every question takes its time
        truth = plant.simulators.truth()
    plant.simulators.assert_off()
    assert follower.ended().code == 1

    plant.serve(rate)
    assert_orphan_has_its_result(plant, run)


def assert_orphan_has_its_result(plant: Plant, run: str) -> None:
    result = plant.daemon.result(run)
    assert result["verdict"] == "error"
    assert result["outcome"] == {"code": "E-DAEMON", "reason": "the daemon ended while the run was active"}
    assert plant.daemon.end().code == 0
    said = [event["event"] for event in events_in(plant.daemon.err)]
    # after a daemon that ran faster than the wall
    assert [event for event in said if not event.startswith("line time goes on")] == ["ready", "stopped"]
    assert plant.command("journal", "verify", plant.journal).code == 0
