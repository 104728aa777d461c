"""A daemon that is killed in the middle of a capacity test, on real wires: the next one takes the test up."""

from __future__ import annotations

import signal
import struct
from pathlib import Path

import pytest

from controller.journal import JournalReader
from controller.journal.check import verify
from tests.cli.plant import LONG_DISCHARGE, REST, WITHIN, Plant, recipe
from tests.cli.test_stopping import cycler_first

MOVED = {
    "name": "moved",
    "title": {"en": "Charge moved", "ko": "이동 전하량"},
    "from": {"kind": "capacity", "after": "rest", "until": "discharge"},
}
CAPACITY_TEST = recipe(
    REST, LONG_DISCHARGE | {"ends": ["step_time >= 30 min"], "max_time": "1 h", "on_interrupt": "resume"},
    measurements=[MOVED],
)  # fmt: skip


def kill_in_mid_request(plant: Plant) -> None:
    """The instruments do not answer for a moment, so line time stands still as it hardly moves at the wall's speed
    while a record is written; then the daemon dies."""
    plant.simulators.send(signal.SIGSTOP)
    (now,) = struct.unpack("<d", plant.page.read_bytes())
    reader = JournalReader(plant.journal)
    for _ in range(int(WITHIN * 1000)):  # a query takes a millisecond or so
        seen = reader.newest_sample("st01-000001")
        (later,) = struct.unpack("<d", plant.page.read_bytes())
        if seen is not None and later == now and seen[1]["t"] > now - 1.5:
            break
        now = later
    else:
        raise AssertionError("the newest samples did not get to the disk")
    reader.close_reads()
    plant.daemon.end(signal.SIGKILL)
    plant.simulators.send(signal.SIGCONT)


def test_a_capacity_test_killed_in_its_middle_and_resumed_gives_the_same_ampere_hours(plant: Plant) -> None:
    plant.up(change=cycler_first)
    follower = plant.begin(CAPACITY_TEST, "--json")
    plant.daemon.until(lambda station: (station["live"].get("discharged_ah") or 0) > 7)
    kill_in_mid_request(plant)
    assert follower.ended().code == 1
    plant.let_pass(600)
    plant.simulators.assert_off()

    plant.daemon = plant.start_daemon()
    plant.daemon.ready = plant.daemon.event()
    held = plant.daemon.until_state("HELD", "IDLE", "STOPPED")
    assert (held["state"], held["run_id"]) == ("HELD", "st01-000001")
    assert "in discharge; resume goes on in it" in held["alarms"][0]["message"]
    told = (
        "    경보 실행 st01-000001 의 discharge 중에 데몬이 종료됨. 재개(resume) 또는 중단(abort)하십시오 [W-RECOVERY]"
    )
    assert told in plant.command("status", "--lang", "ko").out.splitlines()
    plant.simulators.assert_off()

    resumed = plant.command("resume", "--station", "st01", "--reason", "looked at it")
    assert (resumed.code, resumed.out) == (0, "st01 EXECUTE\n")
    plant.daemon.until_state("COMPLETE", "ABORTED")
    result = plant.daemon.result("st01-000001")
    assert result["verdict"] == "pass"
    assert [step["label"] for step in result["steps"]] == ["rest", "discharge"]
    truth = plant.simulators.truth()["discharged_ah"]
    assert result["measurements"]["moved"]["value"] == pytest.approx(truth, rel=1e-3)
    assert Path(result["data_file"]["path"]).exists()
    plant.simulators.assert_off()
    assert plant.daemon.end().code == 0
    assert Path(result["report"]).exists()
    assert verify(plant.journal).ok
