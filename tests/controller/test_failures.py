"""What happens when things break in the middle of a run; the page is docs/failures.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from config import LineConfig
from controller.journal import Journal
from controller.start import StartRefusedError
from tests.virtual import Virtual, in_virtual_time

Short = Callable[..., str]
LineWith = Callable[..., LineConfig]


def alarm_codes(result: dict[str, Any]) -> list[str]:
    return [alarm["code"] for alarm in result["alarms"]]


def confirmed(result: dict[str, Any]) -> dict[str, bool]:
    return {step["step"]: step["confirmed"] for step in result["outputs_off"]}


async def run_into(virtual: Virtual, recipe: str, instrument: str, fault: str) -> dict[str, Any]:
    """Start a run, break something once current flows, and wait for the result."""
    run = await virtual.start(recipe)
    await virtual.until(lambda: virtual.simulated.world.current < -29)
    virtual.simulated.set_fault(instrument, fault)
    return await virtual.result(run)


def test_an_emergency_stop_aborts_and_everything_is_off(line_with: LineWith, short_recipe: Short) -> None:
    async def work(virtual: Virtual) -> None:
        result = await run_into(virtual, short_recipe(), "interlock", "estop")
        assert result["verdict"] == "aborted"
        assert alarm_codes(result)[0] == "E-INTERLOCK"
        assert all(confirmed(result).values())
        assert virtual.simulated.world.current == 0
        assert virtual.station.state.name == "ABORTED"

    in_virtual_time(line_with(), work)


def test_a_blind_safety_aborts_within_its_time(line_with: LineWith, short_recipe: Short) -> None:
    async def work(virtual: Virtual) -> None:
        result = await run_into(virtual, short_recipe(), "battery_monitor", "silent")
        assert result["outcome"]["code"] == "E-SAFETY-BLIND"
        assert "cell_min" in result["outcome"]["reason"]
        discharged = virtual.simulated.world.discharged_ah * 3600 / 30
        assert discharged < 10, "seconds of current after contact was lost"
        assert all(confirmed(result).values())

    in_virtual_time(line_with(), work)


def test_readings_that_are_not_numbers_never_end_a_step_and_never_pass_a_limit(
    line_with: LineWith, short_recipe: Short
) -> None:
    async def work(virtual: Virtual) -> None:
        result = await run_into(virtual, short_recipe(), "battery_monitor", "nan")
        assert result["outcome"]["code"] in ("E-SAFETY-BLIND", "E-BMS-FAULT")
        assert all(step["label"] != "discharge" for step in result["steps"]), "the step did not end by a bad value"

    in_virtual_time(line_with(), work)


def test_a_silent_cycler_costs_its_confirmation_but_not_the_contactors(
    line_with: LineWith, short_recipe: Short
) -> None:
    async def work(virtual: Virtual) -> None:
        result = await run_into(virtual, short_recipe(), "cycler", "silent")
        assert result["verdict"] in ("aborted", "error")
        assert confirmed(result)["contactor open"]
        assert not confirmed(result)["output off"]
        assert "E-NOT-OFF" in alarm_codes(result)
        assert virtual.simulated.world.current == 0

    in_virtual_time(line_with(), work)


def test_an_output_that_refuses_to_go_off_is_an_alarm_and_the_contactors_open(
    line_with: LineWith, short_recipe: Short
) -> None:
    async def work(virtual: Virtual) -> None:
        result = await run_into(virtual, short_recipe(), "cycler", "output_refuses_off")
        assert not confirmed(result)["output off"]
        assert confirmed(result)["contactor open"]
        assert any(a["code"] == "E-NOT-OFF" and "output off" in a["message"] for a in result["alarms"])

    in_virtual_time(line_with(), work)


@pytest.mark.parametrize("instrument", ["cycler", "interlock"])
def test_garbage_from_an_instrument_never_hangs_or_passes(
    instrument: str, line_with: LineWith, short_recipe: Short
) -> None:
    async def work(virtual: Virtual) -> None:
        result = await run_into(virtual, short_recipe(), instrument, "garbage")
        assert result["verdict"] in ("aborted", "error")
        assert virtual.station.state.name == "ABORTED"

    in_virtual_time(line_with(), work)


def test_a_safety_limit_trips_quarantines_and_says_which(line_with: LineWith, short_recipe: Short) -> None:
    narrow = {"temperature_max": {"warn": "20 degC", "trip": "22 degC", "delay": "2 s"}}

    async def work(virtual: Virtual) -> None:
        result = await virtual.result(await virtual.start(short_recipe(safety=narrow)))
        assert alarm_codes(result)[:2] == ["W-SAFETY-LIMIT", "E-SAFETY-TRIP"]
        assert "temperature_max: 25" in result["outcome"]["reason"]
        assert result["grade"] == "Q"

    in_virtual_time(line_with(), work)


def test_an_exception_in_any_task_ends_with_outputs_off_and_a_result(
    line_with: LineWith, short_recipe: Short, monkeypatch: pytest.MonkeyPatch
) -> None:
    class BugError(Exception):
        pass

    async def work(virtual: Virtual) -> str:
        run = await virtual.start(short_recipe())
        await virtual.until(lambda: virtual.simulated.world.current < -29)

        def broken(sample: object) -> list[object]:
            raise BugError

        monkeypatch.setattr(virtual.station._safety, "judge", broken)
        await virtual.clock.sleep(5)
        await virtual.line.shut_down()
        assert virtual.simulated.world.current == 0
        assert not virtual.simulated.world.contactor_closed
        result = virtual.journal.result(run)
        assert result is not None
        assert result["verdict"] == "error"
        assert result["outcome"]["code"] == "E-DAEMON"
        return run

    in_virtual_time(line_with(), work)


def test_a_run_that_a_dead_daemon_left_behind_gets_its_result_at_the_next_start(
    line_with: LineWith, short_recipe: Short
) -> None:
    config = line_with()

    async def die(virtual: Virtual) -> str:
        run = await virtual.start(short_recipe())
        await virtual.until(lambda: virtual.simulated.world.current < -29)
        await virtual.journal.flush()

        async def nothing(*args: object) -> bool:
            return True

        virtual.station.shut_down = nothing  # type: ignore[method-assign]  # as after a SIGKILL
        return run

    async def live(virtual: Virtual) -> dict[str, Any] | None:
        return virtual.journal.result(run)

    run = in_virtual_time(config, die)
    result = in_virtual_time(config, live)
    assert result is not None
    assert result["verdict"] == "error"
    assert "daemon ended" in result["outcome"]["reason"]


def test_a_journal_that_cannot_be_written_ends_the_run_with_outputs_off(
    line_with: LineWith, short_recipe: Short, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(virtual: Virtual) -> None:
        await virtual.start(short_recipe())
        await virtual.until(lambda: virtual.simulated.world.current < -29)
        connection = virtual.journal._connection
        connection.execute("PRAGMA max_page_count = 1")  # the disk is full
        await virtual.clock.sleep(200)
        await virtual.line.shut_down()
        assert virtual.simulated.world.current == 0
        assert not virtual.simulated.world.contactor_closed

    with pytest.raises(Exception, match="E-JOURNAL-WRITE"):
        in_virtual_time(line_with(), work)


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        ("silent", "E-LINK-TIMEOUT", "no answer"),
        ("garbage", "E-ANSWER", "cycler"),
        ("wrong_identity", "E-IDENTITY", "expected"),
        ("drop", "E-LINK-CLOSED", "connection"),
    ],
)
def test_an_instrument_that_is_not_what_it_should_be_refuses_the_start_by_name(
    fault: str, code: str, said: str, line_with: LineWith, short_recipe: Short
) -> None:
    async def work(virtual: Virtual) -> None:
        with pytest.raises(StartRefusedError) as refused:
            await virtual.start(short_recipe())
        reason = next(r for r in refused.value.reasons if r.message.startswith("cycler"))
        assert reason.code == code
        assert said in reason.message

    in_virtual_time(line_with({"instrument": "cycler", "kind": fault}), work)


def test_an_instrument_that_comes_back_is_used_again(line_with: LineWith, short_recipe: Short) -> None:
    async def work(virtual: Virtual) -> None:
        with pytest.raises(StartRefusedError):
            await virtual.start(short_recipe())
        await virtual.until(lambda: "battery_monitor" in virtual.station.instruments.identities)
        await virtual.clock.sleep(2)
        assert (await virtual.result(await virtual.start(short_recipe())))["verdict"] == "pass"

    in_virtual_time(line_with({"instrument": "battery_monitor", "kind": "silent", "duration_s": 30}), work)


def test_two_journals_cannot_be_one(line_with: LineWith) -> None:
    config = line_with()

    async def work(virtual: Virtual) -> None:
        with pytest.raises(Exception, match="E-JOURNAL-LOCKED"):
            Journal.open(virtual.journal.path)

    in_virtual_time(config, work)


def test_a_protection_of_the_cycler_that_trips_ends_the_run(line_with: LineWith, short_recipe: Short) -> None:
    async def work(virtual: Virtual) -> None:
        run = await virtual.start(short_recipe())
        await virtual.until(lambda: virtual.simulated.world.current < -29)
        port = virtual.simulated.devices["cycler"]
        port.receive(b"SINK:CURR:PROT 10\n")  # as somebody at the front panel might
        result = await virtual.result(run)
        assert result["outcome"]["code"] == "E-CYCLER-ALARM"
        assert "OCP" in result["outcome"]["reason"]
        assert virtual.simulated.world.current == 0

    in_virtual_time(line_with(), work)
