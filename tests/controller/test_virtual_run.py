"""The main job in virtual time: hours in seconds, the same for the same seed, and true to the simulated battery."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from controller.journal import StoredEvent
from controller.journal.check import verify
from tests.virtual import Virtual, demo_line, in_virtual_time


@dataclass
class Evaluated:
    """What one whole evaluation left behind."""

    result: dict[str, Any]
    truth: dict[str, Any]
    events: list[StoredEvent]
    head: tuple[int, str]
    journal: Path
    extremes: Any


def evaluate(directory: Path) -> Evaluated:
    async def work(virtual: Virtual) -> Evaluated:
        run = await virtual.start()
        result = await virtual.result(run)
        await virtual.journal.flush()
        events = virtual.journal.events(limit=1_000_000)
        path = Path(virtual.journal.path)
        world = virtual.simulated.world
        return Evaluated(result, virtual.simulated.truth(), events, virtual.journal.head(), path, world.extremes)

    return in_virtual_time(demo_line(directory), work)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluated")


@pytest.fixture(scope="module")
def evaluated(directory: Path) -> Evaluated:
    return evaluate(directory)


def test_the_capacity_is_the_simulated_batterys_within_half_a_percent(evaluated: Evaluated) -> None:
    measured = evaluated.result["measurements"]["remainingCapacity"]["value"]
    assert measured == pytest.approx(evaluated.truth["capacity_ah"], rel=0.005)


def test_the_certified_energy_is_within_one_percent(evaluated: Evaluated) -> None:
    measured = evaluated.result["measurements"]["stateOfCertifiedEnergy"]["value"]
    assert measured == pytest.approx(100 * evaluated.truth["soce"], rel=0.01)


def test_the_weakest_cell_is_found(evaluated: Evaluated) -> None:
    assert evaluated.result["measurements"]["weakestCell"]["value"] == evaluated.truth["weakest_cell"] + 1


def test_the_resistance_is_the_simulated_batterys(evaluated: Evaluated) -> None:
    measured = evaluated.result["measurements"]["internalResistance50"]
    assert measured["detail"]["at_s"] == 10.0
    assert measured["value"] / 1e3 == pytest.approx(evaluated.truth["dcir_10s_ohm"], rel=0.05)


def test_pulses_were_made_near_80_50_and_20_percent(evaluated: Evaluated) -> None:
    for soc in (80, 50, 20):
        detail = evaluated.result["measurements"][f"internalResistance{soc}"]["detail"]
        assert detail["soc_percent"] == pytest.approx(soc, abs=10)


def test_charge_and_energy_agree_with_the_batterys_own_count(evaluated: Evaluated) -> None:
    last = [event for event in evaluated.events if event.kind == "step.ended"][-1]
    moved = sum(event.body["charge_ah"] for event in evaluated.events if event.kind == "step.ended")
    assert last.body["complete"]
    assert moved == pytest.approx(evaluated.truth["charged_ah"] - evaluated.truth["discharged_ah"], abs=0.05)


def test_no_current_flowed_outside_the_run_and_no_contactor_opened_under_load(evaluated: Evaluated) -> None:
    assert evaluated.truth["hot_openings"] == 0
    assert evaluated.truth["current"] == 0
    assert not evaluated.truth["contactor_closed"]
    assert not evaluated.truth["output_on"]


def test_the_station_went_through_packmls_states(evaluated: Evaluated) -> None:
    states = [event.body["to"] for event in evaluated.events if event.kind == "state"]
    assert states == ["RESETTING", "IDLE", "STARTING", "EXECUTE", "COMPLETING", "COMPLETE"]


def test_every_setpoint_has_its_readback(evaluated: Evaluated) -> None:
    kinds = [event.kind for event in evaluated.events]
    assert 0 < kinds.count("setpoint") <= kinds.count("setpoint.readback")


def test_there_is_one_result_with_one_verdict_a_grade_and_its_reasons(evaluated: Evaluated) -> None:
    assert [event.kind for event in evaluated.events].count("run.ended") == 1
    assert evaluated.result["verdict"] == "pass"
    assert evaluated.result["grade"] == "C"  # its spread of 49 mV is not surely below the 50 mV of grade B
    assert all(set(reason) == {"en", "ko"} for reason in evaluated.result["grade_reasons"])


def test_the_run_has_an_author_and_a_place_in_the_audit_trail(evaluated: Evaluated) -> None:
    audit = [event.body for event in evaluated.events if event.kind == "audit"]
    assert ("tester", "start") in [(entry["author"], entry["action"]) for entry in audit]


def test_the_data_file_holds_every_sample_in_the_battery_data_format(evaluated: Evaluated) -> None:
    table = pq.read_table(evaluated.result["data_file"]["path"])
    assert {"Test Time / s", "Voltage / V", "Current / A"} <= set(table.column_names)
    assert table.num_rows == evaluated.result["data_file"]["samples"] > 10_000


def test_the_journal_verifies(evaluated: Evaluated) -> None:
    assert verify(evaluated.journal).ok


def test_the_same_seed_leaves_the_same_journal(
    directory: Path, evaluated: Evaluated, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Paths are part of a result, so the second run gets the first one's directory, emptied."""
    first = evaluated.journal.parent
    first.rename(tmp_path_factory.mktemp("kept") / "first")
    assert evaluate(directory).head == evaluated.head
