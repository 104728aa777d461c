"""Hold, resume, abort, stop, and what a station refuses; in virtual time over the simulated station."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from config import LineConfig
from controller.start import RecipeError, StartRefusedError
from controller.states import RefusedCommandError
from tests.virtual import Virtual, in_virtual_time

Short = Callable[..., str]
LineWith = Callable[..., LineConfig]


def current(virtual: Virtual) -> float:
    return float(virtual.simulated.world.current)


def discharging(virtual: Virtual) -> Callable[[], bool]:
    return lambda: current(virtual) < -29


def test_hold_stops_the_current_and_resume_takes_the_step_up_where_it_was(
    line_with: LineWith, short_recipe: Short
) -> None:
    async def work(virtual: Virtual) -> None:
        run = await virtual.start(short_recipe())
        await virtual.until(discharging(virtual))
        await virtual.station.hold("operator", "look at the clamps")
        assert virtual.station.state.name == "HELD"
        assert virtual.station.reason == "look at the clamps", "as long as it stands"
        assert current(virtual) == 0
        await virtual.clock.sleep(1000)
        assert current(virtual) == 0
        await virtual.station.resume("operator")
        assert virtual.station.state.name == "EXECUTE"
        assert virtual.station.reason == ""
        assert current(virtual) == pytest.approx(-30, abs=0.1)
        result = await virtual.result(run)
        discharge = result["steps"][-1]
        assert discharge["reason"] == "step_time >= 60 s"
        assert discharge["seconds"] == pytest.approx(1060, abs=3), "the hold is in the record"
        assert virtual.simulated.world.discharged_ah == pytest.approx(30 * 60 / 3600, rel=0.05), "but not in the step"

    in_virtual_time(line_with(), work)


def test_suspend_is_the_same_for_a_cause_outside(line_with: LineWith, short_recipe: Short) -> None:
    async def work(virtual: Virtual) -> None:
        run = await virtual.start(short_recipe())
        await virtual.until(discharging(virtual))
        await virtual.station.suspend("mes", "chamber not ready")
        assert virtual.station.state.name == "SUSPENDED"
        assert virtual.station.reason == "chamber not ready"
        assert current(virtual) == 0
        await virtual.station.resume("mes")
        assert (await virtual.result(run))["verdict"] == "pass"

    in_virtual_time(line_with(), work)


@pytest.mark.parametrize("when", ["executing", "held", "starting"])
def test_abort_at_any_moment_ends_with_everything_confirmed_off(
    when: str, line_with: LineWith, short_recipe: Short
) -> None:
    async def work(virtual: Virtual) -> None:
        run = await virtual.start(short_recipe())
        if when != "starting":
            await virtual.until(discharging(virtual))
        if when == "held":
            await virtual.station.hold("operator")
        await virtual.station.abort("operator", "smell of solvent")
        assert virtual.station.state.name == "ABORTED"
        assert current(virtual) == 0
        assert not virtual.simulated.truth()["output_on"]
        assert not virtual.simulated.world.contactor_closed
        assert virtual.simulated.world.hot_openings == 0, "the current was ramped down before the contactors opened"
        result = await virtual.result(run)
        assert result["verdict"] == "aborted"
        assert result["grade"] is None
        assert "smell of solvent" in result["outcome"]["reason"]
        assert all(step["confirmed"] for step in result["outputs_off"])

    in_virtual_time(line_with(), work)


def test_after_an_abort_clear_and_reset_make_the_station_ready_again(line_with: LineWith, short_recipe: Short) -> None:
    async def work(virtual: Virtual) -> None:
        await virtual.start(short_recipe())
        await virtual.station.abort("operator")
        with pytest.raises(RefusedCommandError):
            await virtual.station.reset("operator")
        await virtual.station.clear("operator")
        await virtual.station.reset("operator")
        assert virtual.station.state.name == "IDLE"
        run = await virtual.start(short_recipe())
        assert (await virtual.result(run))["verdict"] == "pass"

    in_virtual_time(line_with(), work)


def test_a_stop_leaves_the_station_stopped_and_the_run_aborted(line_with: LineWith, short_recipe: Short) -> None:
    async def work(virtual: Virtual) -> None:
        run = await virtual.start(short_recipe())
        await virtual.until(discharging(virtual))
        await virtual.station.stop("mes", "line change")
        assert virtual.station.state.name == "STOPPED"
        assert (await virtual.result(run))["outcome"]["code"] == "E-STOPPED"

    in_virtual_time(line_with(), work)


def test_a_second_start_is_refused_while_a_run_is_active(line_with: LineWith, short_recipe: Short) -> None:
    async def work(virtual: Virtual) -> None:
        await virtual.start(short_recipe())
        with pytest.raises(StartRefusedError, match="not IDLE"):
            await virtual.start(short_recipe())

    in_virtual_time(line_with(), work)


def test_a_refused_start_says_every_reason_and_leaves_an_audit_entry(line_with: LineWith, short_recipe: Short) -> None:
    async def work(virtual: Virtual) -> None:
        await virtual.clock.sleep(2)
        with pytest.raises(StartRefusedError) as refused:
            await virtual.start(short_recipe(), code="PHE96-000001")
        codes = [reason.code for reason in refused.value.reasons]
        assert codes == ["E-INTERLOCK", "E-DUT-MISMATCH"]
        assert "the door is open" in str(refused.value)
        assert "scanned PHE96-000001, but the BMS says PHE96-004711" in str(refused.value)
        await virtual.journal.flush()
        audit = [event.body for event in virtual.journal.events(kind="audit")]
        assert audit[-1]["action"] == "start refused"
        assert audit[-1]["detail"]["reasons"] == codes

    in_virtual_time(line_with({"instrument": "interlock", "kind": "door"}), work)


def test_a_code_of_no_known_battery_is_refused(line_with: LineWith, short_recipe: Short) -> None:
    async def work(virtual: Virtual) -> None:
        with pytest.raises(StartRefusedError, match=r"fits no battery model; known are .*nmc_96s_60ah"):
            await virtual.start(short_recipe(), code="no such code")

    in_virtual_time(line_with(), work)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"current": "2C"}, r"test.yaml:\d+:\d+: discharge: 120 A is above the 90 A discharge rating of nmc_96s_60ah"),
        ({"current": 30}, r"test.yaml:\d+:\d+: steps.1.cc.current: needs a unit"),
        ({"curent": "C/2"}, r"test.yaml:\d+:\d+: steps.1.cc.curent: unknown key"),
    ],
)
def test_a_faulty_recipe_is_an_error_with_its_line(
    change: dict[str, Any], said: str, line_with: LineWith, short_recipe: Short
) -> None:
    step = {"name": "discharge", "step": "cc", "direction": "discharge", "current": "C/2", "cell_voltage": "2.70 V",
            "max_time": "5 min"} | change  # fmt: skip
    rest = {"name": "rest", "step": "rest", "duration": "10 s"}

    async def work(virtual: Virtual) -> None:
        with pytest.raises(RecipeError, match=said):
            await virtual.start(short_recipe([rest, step]))
        assert virtual.station.state.name == "IDLE"

    in_virtual_time(line_with(), work)


def test_a_current_above_the_stations_rating_is_an_error(line_with: LineWith, short_recipe: Short) -> None:
    def weak_station(data: dict[str, Any]) -> None:
        data["stations"]["st01"]["ratings"]["max_discharge_current_a"] = 20

    async def work(virtual: Virtual) -> None:
        with pytest.raises(RecipeError, match="30 A is above the station's 20 A"):
            await virtual.start(short_recipe())

    in_virtual_time(line_with(change=weak_station), work)


def test_a_step_that_runs_into_its_maximum_time_ends_the_run_inconclusive(
    line_with: LineWith, short_recipe: Short
) -> None:
    endless = {"name": "discharge", "step": "cc", "direction": "discharge", "current": "C/2",
               "cell_voltage": "2.70 V", "max_time": "30 s"}  # fmt: skip

    async def work(virtual: Virtual) -> None:
        result = await virtual.result(await virtual.start(short_recipe([endless])))
        assert result["verdict"] == "inconclusive"
        assert result["outcome"]["code"] == "E-STEP-OVERDUE"
        assert result["grade"] is None
        assert virtual.station.state.name == "COMPLETE"

    in_virtual_time(line_with(), work)


def test_two_runs_in_a_row_have_two_results(line_with: LineWith, short_recipe: Short) -> None:
    async def work(virtual: Virtual) -> None:
        first = await virtual.start(short_recipe())
        await virtual.result(first)
        await virtual.station.reset("operator")
        second = await virtual.start(short_recipe())
        await virtual.result(second)
        assert first != second
        assert [summary.run for summary in virtual.journal.runs()] == [second, first]

    in_virtual_time(line_with(), work)
