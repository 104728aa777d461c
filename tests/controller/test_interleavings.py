"""Commands at awkward moments. None may end the daemon, strand a caller, or let a run pass that should not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from config import LineConfig
from controller.states import RefusedCommandError
from drivers.roles import CyclerReading, InterlockReading
from tests.virtual import Virtual, in_virtual_time

Short = Callable[..., str]
LineWith = Callable[..., LineConfig]

LONG_REST = {"name": "rest", "step": "rest", "duration": "60 s"}
PULSE = {
    "name": "pulse", "step": "pulse", "sample": "100 ms", "cell_voltage_min": "2.70 V", "cell_voltage_max": "4.20 V",
    "pulses": [{"direction": "discharge", "current": "1C", "duration": "10 s", "rest": "10 s"}],
}  # fmt: skip


def flowing(virtual: Virtual) -> Callable[[], bool]:
    return lambda: virtual.simulated.world.current < -29


def test_an_abort_overtakes_a_stop_without_a_run(line_with: LineWith) -> None:
    async def work(virtual: Virtual) -> None:
        await asyncio.gather(virtual.station.stop("a"), virtual.station.abort("b"))
        assert virtual.station.state.name == "ABORTED"

    in_virtual_time(line_with(), work)


def test_an_abort_overtakes_a_clear(line_with: LineWith) -> None:
    async def work(virtual: Virtual) -> None:
        await virtual.station.abort("a")
        await asyncio.gather(virtual.station.clear("a"), virtual.station.abort("b"))
        assert virtual.station.state.name == "ABORTED"
        await virtual.station.clear("a")
        await virtual.station.reset("a")
        assert virtual.station.state.name == "IDLE"

    in_virtual_time(line_with(), work)


@pytest.mark.parametrize("after", [0.0, 1.0, 9.0, 9.9, 10.0, 10.1, 69.0, 70.0, 70.1, 71.0])
def test_a_hold_at_any_moment_is_taken_or_refused_and_the_run_ends(
    after: float, line_with: LineWith, short_recipe: Short
) -> None:
    async def work(virtual: Virtual) -> None:
        run = await virtual.start(short_recipe())
        await virtual.clock.sleep(after)
        try:
            await virtual.station.hold("operator")
        except RefusedCommandError:
            pass
        else:
            if virtual.station.state.name == "HELD":
                assert virtual.simulated.world.current == 0
                await virtual.station.resume("operator")
        result = await virtual.result(run)
        assert result["verdict"] == "pass"
        assert virtual.station.state.name == "COMPLETE"

    in_virtual_time(line_with(), work)


@pytest.mark.parametrize("command", ["abort", "stop"])
def test_an_abort_or_stop_while_holding_ends_both_callers(
    command: str, line_with: LineWith, short_recipe: Short
) -> None:
    async def work(virtual: Virtual) -> None:
        run = await virtual.start(short_recipe())
        await virtual.until(flowing(virtual))
        await asyncio.gather(virtual.station.hold("a"), getattr(virtual.station, command)("b"))
        assert (await virtual.result(run))["verdict"] == "aborted"
        assert virtual.simulated.world.current == 0

    in_virtual_time(line_with(), work)


def test_a_hold_of_an_ended_run_cannot_touch_the_next(line_with: LineWith, short_recipe: Short) -> None:
    async def work(virtual: Virtual) -> None:
        await virtual.start(short_recipe())
        await virtual.until(flowing(virtual))
        await asyncio.gather(virtual.station.hold("a"), virtual.station.abort("b"))
        await virtual.station.clear("a")
        await virtual.station.reset("a")
        run = await virtual.start(short_recipe())
        await virtual.until(flowing(virtual))
        await virtual.station.hold("a")
        await virtual.clock.sleep(100)
        assert virtual.station.state.name == "HELD"
        await virtual.station.resume("a")
        assert (await virtual.result(run))["verdict"] == "pass"

    in_virtual_time(line_with(), work)


def test_a_hold_between_two_steps_switches_nothing_on(line_with: LineWith, short_recipe: Short) -> None:
    rest = {"name": "rest", "step": "rest", "duration": "10 s"}

    async def work(virtual: Virtual) -> None:
        run = await virtual.start(short_recipe([rest, PULSE]))
        await virtual.until(lambda: virtual.station.progress is not None and virtual.station.progress.elapsed >= 9.0)
        engine = virtual.station._active.engine  # type: ignore[union-attr]
        engine._held.requested = True  # as a hold that arrives exactly while the rest ends
        await virtual.clock.sleep(30)
        assert virtual.simulated.world.discharged_ah == 0
        engine._held.requested = False
        engine._queue.put_nowait(None)
        result = await virtual.result(run)
        assert result["verdict"] == "pass", result["outcome"]

    in_virtual_time(line_with(), work)


def test_a_pulse_lasts_exactly_its_duration(line_with: LineWith, short_recipe: Short) -> None:
    async def work(virtual: Virtual) -> None:
        await virtual.result(await virtual.start(short_recipe([LONG_REST, PULSE])))
        assert virtual.simulated.world.discharged_ah * 3600 / 60 == pytest.approx(10.0, abs=0.001)

    in_virtual_time(line_with(), work)


def test_an_output_that_goes_off_by_itself_is_not_a_full_battery(
    line_with: LineWith, short_recipe: Short, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(virtual: Virtual) -> None:
        run = await virtual.start(short_recipe())
        await virtual.until(flowing(virtual))
        cycler = virtual.station.instruments.cycler
        read = cycler.read

        async def inhibited() -> CyclerReading:  # as by the supply's inhibit input, which raises no alarm
            return replace(await read(), current=0.0, power=0.0, output_on=False)

        monkeypatch.setattr(cycler, "read", inhibited)
        result = await virtual.result(run)
        assert result["verdict"] == "error"
        assert result["outcome"]["code"] == "E-OUTPUT-LOST"

    in_virtual_time(line_with(), work)


@pytest.mark.parametrize("wrong", [{"contactor_closed": False}, {"contactors_agree": False}])
def test_a_contactor_that_opens_during_a_run_ends_it(
    wrong: dict[str, bool], line_with: LineWith, short_recipe: Short, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(virtual: Virtual) -> None:
        run = await virtual.start(short_recipe())
        await virtual.until(flowing(virtual))
        interlock = virtual.station.instruments.interlock
        read = interlock.read

        async def broken() -> InterlockReading:
            return replace(await read(), **wrong)

        monkeypatch.setattr(interlock, "read", broken)
        result = await virtual.result(run)
        assert result["outcome"]["code"] == "E-CONTACTOR"

    in_virtual_time(line_with(), work)


def test_contactors_that_disagree_are_not_confirmed_open(line_with: LineWith, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(virtual: Virtual) -> None:
        interlock = virtual.station.instruments.interlock
        read = interlock.read

        async def welded() -> InterlockReading:
            return replace(await read(), contactors_agree=False)

        monkeypatch.setattr(interlock, "read", welded)
        await virtual.station.abort("operator")
        assert any("welded" in alarm["message"] for alarm in virtual.station.alarms)

    in_virtual_time(line_with(), work)


def test_a_station_whose_outputs_are_not_confirmed_off_does_not_become_idle(line_with: LineWith) -> None:
    async def work(virtual: Virtual) -> None:
        virtual.simulated.set_fault("cycler", "silent")
        await virtual.station.stop("operator")
        await virtual.station.reset("operator")
        assert virtual.station.state.name == "STOPPED"
        assert any(alarm["code"] == "E-NOT-OFF" for alarm in virtual.station.alarms)
        virtual.simulated.set_fault("cycler", "silent", False)
        await virtual.station.reset("operator")
        assert virtual.station.state.name == "IDLE"

    in_virtual_time(line_with(), work)


def test_current_without_a_run_is_switched_off(line_with: LineWith) -> None:
    async def work(virtual: Virtual) -> None:
        port = virtual.simulated.devices["cycler"]
        for line in (b"SYST:LOCK ON\n", b"VOLT 300\n", b"SINK:CURR 10\n", b"OUTP ON\n"):
            port.receive(line)  # as somebody at the front panel might
        await virtual.until(lambda: virtual.station.state.name == "ABORTED", 60)
        assert any(alarm["code"] == "E-STRAY-CURRENT" for alarm in virtual.station.alarms)
        assert not virtual.simulated.truth()["output_on"]

    in_virtual_time(line_with(), work)


def test_a_latched_trip_is_reset_as_the_hint_says(line_with: LineWith, short_recipe: Short) -> None:
    async def work(virtual: Virtual) -> None:
        run = await virtual.start(short_recipe())
        await virtual.until(flowing(virtual))
        virtual.simulated.set_fault("interlock", "estop")
        await virtual.result(run)
        await virtual.station.clear("operator")
        virtual.simulated.set_fault("interlock", "estop", False)
        await virtual.station.reset("operator")
        assert (await virtual.result(await virtual.start(short_recipe())))["verdict"] == "pass"

    in_virtual_time(line_with(), work)


def test_one_lost_answer_of_a_slow_instrument_costs_nothing(line_with: LineWith, short_recipe: Short) -> None:
    async def work(virtual: Virtual) -> None:
        run = await virtual.start(short_recipe())
        await virtual.until(flowing(virtual))
        virtual.simulated.set_fault("temperature_scanner", "silent")
        await virtual.clock.sleep(6)
        virtual.simulated.set_fault("temperature_scanner", "silent", False)
        assert (await virtual.result(run))["verdict"] == "pass"

    in_virtual_time(line_with(), work)


def test_an_analysis_that_fails_costs_its_numbers_but_not_the_result(
    line_with: LineWith, short_recipe: Short, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> dict[str, Any]:
        raise ZeroDivisionError("nothing to divide by")

    monkeypatch.setattr("controller.results.final_result", broken)

    async def work(virtual: Virtual) -> None:
        result = await virtual.result(await virtual.start(short_recipe()))
        assert result["verdict"] == "error"
        assert result["outcome"]["code"] == "E-RESULT"
        assert virtual.station.state.name == "COMPLETE"

    in_virtual_time(line_with(), work)


def test_alarms_have_ids_of_their_own(line_with: LineWith) -> None:
    async def work(virtual: Virtual) -> None:
        virtual.simulated.set_fault("cycler", "silent")
        virtual.simulated.set_fault("interlock", "silent")
        await virtual.station.abort("operator")
        await virtual.journal.flush()
        ids = [message.id for message in virtual.journal.pending_outbox() if ".alarm." in message.id]
        assert len(ids) == len(set(ids)) >= 4

    in_virtual_time(line_with(), work)


def test_one_stations_trouble_does_not_cost_another_its_off_sequence(
    line_with: LineWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(virtual: Virtual) -> None:
        async def broken(*args: Any) -> bool:
            raise ValueError("a bug")

        good, virtual.station.shut_down = virtual.station.shut_down, broken  # type: ignore[method-assign]
        assert await virtual.line.shut_down() is False
        virtual.station.shut_down = good  # type: ignore[method-assign]

    in_virtual_time(line_with(), work)
