"""A run whose daemon died in it: what `on_interrupt` of its steps says happens, and nothing flows by itself."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from config import LineConfig
from controller.journal import AuditEntry, Event, Journal, JournalReader
from controller.journal.check import verify
from controller.recipes import load_grade_rules
from controller.start import StartRefusedError
from tests.controller.conftest import LIBRARY_RECIPE
from tests.controller.dying import Plant, durable, over
from tests.virtual import CODE, demo_line

LineWith = Callable[..., LineConfig]
Data = dict[str, Any]

REST: Data = {"step": "rest", "name": "rest", "duration": "10 s"}
DISCHARGE: Data = {
    "step": "cc", "name": "discharge", "direction": "discharge", "current": "C/2", "cell_voltage": "2.70 V",
    "ends": ["charge >= 0.5 Ah"], "max_time": "10 min",
}  # fmt: skip
MOVED: Data = {
    "name": "moved", "title": {"en": "Charge moved", "ko": "이동 전하량"},
    "from": {"kind": "capacity", "after": "rest", "until": "discharge"},
}  # fmt: skip


def recipe(*steps: Data, mode: str = "resume", measurements: list[Data] | None = None, **safety: Any) -> str:
    """The library's envelope around these steps, all of which say the same of an interruption unless they say else."""
    data = copy.deepcopy(LIBRARY_RECIPE)
    data["id"] = "short"
    data["steps"] = [{"on_interrupt": mode} | step for step in steps or (REST, DISCHARGE, REST | {"name": "after"})]
    data["measurements"] = [MOVED] if measurements is None else measurements
    data["safety"] |= safety
    return yaml.safe_dump(data, allow_unicode=True, sort_keys=False)


async def die_in(plant: Plant, text: str, *, after: float) -> str:
    """Start a recipe; its daemon dies after seconds of line time. The run's id."""
    async with plant.daemon() as virtual:
        run = await virtual.start(text)
        await virtual.clock.sleep(after)
        await durable(virtual)
    return run


async def resumed(plant: Plant, run: str) -> Data:
    """The next daemon takes the run up, people resume it, and it comes to its end."""
    async with plant.daemon() as virtual:
        assert virtual.station.state.name == "HELD"
        await virtual.station.resume("operator", "looked at it")
        assert virtual.station.state.name == "EXECUTE"
        await virtual.result(run)
        await durable(virtual)
    return await plant.result(run)


def labels(result: Data) -> list[str]:
    return [step["label"] for step in result["steps"]]


def samples(plant: Plant, run: str) -> dict[str, Any]:
    reader = JournalReader(plant.journal_file)
    columns, rows = reader.samples(run)
    reader.close_reads()
    return dict(zip(columns, rows.T, strict=True))


def is_off(plant: Plant) -> bool:
    truth = plant.simulated.truth()
    return not truth["output_on"] and not plant.simulated.world.contactor_closed and plant.simulated.world.current == 0


# ----------------------------------------------------------------------------------------- what a step's word means


@pytest.mark.parametrize("seed", range(8))
def test_a_resumed_run_moves_the_same_charge_whenever_and_however_long_the_daemon_was_dead(
    seed: int, line_with: LineWith
) -> None:
    draw = random.Random(seed)

    async def work(plant: Plant) -> None:
        run = await die_in(plant, recipe(), after=draw.uniform(1.0, 80.0))
        await plant.clock.sleep(draw.choice([0.2, 1.0, 4.0, 60.0, 7200.0]))
        result = await resumed(plant, run)
        assert result["verdict"] == "pass"
        assert labels(result) == ["rest", "discharge", "after"]
        truth = plant.discharged
        assert result["measurements"]["moved"]["value"] == pytest.approx(truth, rel=1e-3)
        # it ends at the sample after the charge is reached, or what flowed after the death went beyond it
        assert 0.5 <= truth <= 0.5 + 30 * 6 / 3600
        assert is_off(plant)
        seen = samples(plant, run)
        assert (np.diff(seen["t"]) >= 0).all()
        assert (np.diff(seen["test_time"]) >= 0).all()
        assert np.unique(seen["step"]).tolist() == [0.0, 1.0, 2.0]
        assert (np.diff(seen["discharged_ah"]) >= 0).all()
        assert verify(plant.journal_file).ok

    over(line_with(), work)


@pytest.mark.parametrize("after", [5.4, 30.4, 73.4])
def test_a_repeated_step_begins_anew_and_the_broken_one_counts_for_nothing(after: float, line_with: LineWith) -> None:
    async def work(plant: Plant) -> None:
        run = await die_in(plant, recipe(mode="repeat"), after=after)
        await plant.clock.sleep(60)
        lost = plant.discharged
        result = await resumed(plant, run)
        assert (result["verdict"], labels(result)) == ("pass", ["rest", "discharge", "after"])
        told = [event.body for event in plant.history(run) if event.kind == "step.started"]
        assert len(told) == 4, "one of them twice"
        assert [body["step"] for body in told] == [0, 1, 2, 3]
        moved = next(e.body["charge_ah"] for e in plant.history(run) if e.body.get("reason") == "charge >= 0.5 Ah")
        assert -moved == pytest.approx(0.5, abs=30 * 1.1 / 3600), "in the one that ended"
        if 10 < after < 70:
            assert plant.discharged == pytest.approx(lost - moved, abs=1e-3)

    over(line_with(), work)


@pytest.mark.parametrize("after", [5.4, 30.4, 73.4])
def test_a_restarted_recipe_begins_anew_in_the_same_run(after: float, line_with: LineWith) -> None:
    async def work(plant: Plant) -> None:
        run = await die_in(plant, recipe(mode="restart"), after=after)
        begun = sum(event.kind == "step.started" for event in plant.history(run))
        await plant.clock.sleep(60)
        result = await resumed(plant, run)
        assert (result["verdict"], labels(result)) == ("pass", ["rest", "discharge", "after"])
        told = [event.body["step"] for event in plant.history(run) if event.kind == "step.started"]
        assert told == list(range(begun + 3)), "under numbers of their own"
        assert result["measurements"]["moved"]["value"] == pytest.approx(0.5, abs=30 * 1.1 / 3600)
        whole = samples(plant, run)["discharged_ah"][-1]
        assert whole == pytest.approx(plant.discharged, rel=1e-3)

    over(line_with(), work)


def test_without_a_word_the_run_ends_and_the_station_is_free(line_with: LineWith) -> None:
    async def work(plant: Plant) -> None:
        run = await die_in(plant, recipe(mode="abort"), after=30.4)
        async with plant.daemon() as virtual:
            assert virtual.station.state.name == "IDLE"
            assert virtual.station.alarms == []
        result = await plant.result(run)
        assert result["verdict"] == "error"
        assert result["outcome"] == {"code": "E-DAEMON", "reason": "the daemon ended while the run was active"}

    over(line_with(), work)


def test_of_several_steps_at_work_the_most_careful_counts(line_with: LineWith) -> None:
    def both(one: str, other: str) -> str:
        branches = [
            {"name": "a", "steps": [REST | {"name": "long", "duration": "60 s", "on_interrupt": one}]},
            {"name": "b", "steps": [REST | {"name": "longer", "duration": "90 s", "on_interrupt": other}]},
        ]
        return recipe(
            {"step": "parallel", "name": "both", "branches": branches, "on_interrupt": "abort"}, measurements=[]
        )

    async def work(plant: Plant) -> None:
        run = await die_in(plant, both("resume", "abort"), after=30.4)
        async with plant.daemon() as virtual:
            assert virtual.station.state.name == "IDLE"
        assert "daemon ended" in (await plant.result(run))["outcome"]["reason"]
        run = await die_in(plant, both("resume", "repeat"), after=30.4)
        result = await resumed(plant, run)
        assert labels(result) == ["long", "longer"]
        told = [event.body["label"] for event in plant.history(run) if event.kind == "step.started"]
        assert told == ["long", "longer", "long", "longer"]

    over(line_with(), work)


# ------------------------------------------------------------------------------------ nothing happens by itself


def test_what_was_left_stands_held_and_off_until_people_say_so(line_with: LineWith) -> None:
    async def work(plant: Plant) -> None:
        run = await die_in(plant, recipe(), after=30.4)
        await plant.clock.sleep(60)
        moved = plant.discharged
        async with plant.daemon() as virtual:
            await virtual.clock.sleep(600)
            assert virtual.station.state.name == "HELD"
            assert is_off(plant)
            assert plant.discharged == moved
            (alarm,) = virtual.station.alarms
            assert alarm["code"] == "W-RECOVERY"
            assert alarm["message"].startswith(f"the daemon died in run {run} in discharge; resume goes on in it")
            assert virtual.station.progress is not None
            assert virtual.station.progress.step == "discharge"
            with pytest.raises(StartRefusedError, match="HELD, not IDLE"):
                await virtual.start(recipe())
            await virtual.station.resume("operator")
            result = await virtual.result(run)
        assert [alarm["code"] for alarm in result["alarms"]] == ["W-RECOVERY"]

    over(line_with(), work)


def test_abort_out_of_it_gives_the_run_its_result_with_what_was_measured(line_with: LineWith) -> None:
    async def work(plant: Plant) -> None:
        run = await die_in(plant, recipe(), after=75.4)
        async with plant.daemon() as virtual:
            await virtual.station.abort("operator", "the battery goes back")
            assert virtual.station.state.name == "ABORTED"
            await virtual.station.clear("operator")
            await virtual.station.reset("operator")
            assert virtual.station.state.name == "IDLE"
            await durable(virtual)
        result = await plant.result(run)
        assert result["verdict"] == "aborted"
        assert "the battery goes back" in result["outcome"]["reason"]
        assert result["measurements"]["moved"]["value"] == pytest.approx(0.5, abs=0.02)
        assert all(step["confirmed"] for step in result["outputs_off"])

    over(line_with(), work)


def test_another_battery_in_its_place_cannot_be_resumed(line_with: LineWith) -> None:
    async def work(plant: Plant) -> None:
        run = await die_in(plant, recipe(), after=30.4)
        plant.swap_battery("PHE96-009999")
        async with plant.daemon() as virtual:
            with pytest.raises(StartRefusedError) as refused:
                await virtual.station.resume("operator")
            assert refused.value.codes == ["E-DUT-MISMATCH"]
            assert virtual.station.state.name == "HELD"
            assert is_off(plant)
            plant.swap_battery(CODE)
            await virtual.clock.sleep(5)
            await virtual.station.resume("operator")
            assert (await virtual.result(run))["verdict"] == "pass"
            await durable(virtual)
        audit = [event.body for event in plant.history(run) if event.kind == "audit"]
        assert "resume refused" in [body["action"] for body in audit]

    over(line_with(), work)


def test_a_battery_without_a_code_is_known_by_its_voltage(tmp_path: Path, line_with: LineWith) -> None:
    """Another battery, nearly full, of which nothing else can be told."""
    fuller = demo_line(tmp_path, lambda d: d["simulation"]["stations"]["st01"]["battery"].update(soc=0.95))

    async def die(plant: Plant) -> str:
        plant.swap_battery("")
        return await die_in(plant, recipe(), after=30.4)

    async def come_back(plant: Plant) -> None:
        plant.swap_battery("")
        async with plant.daemon() as virtual:
            with pytest.raises(StartRefusedError, match="when the daemon died") as refused:
                await virtual.station.resume("operator")
            assert set(refused.value.codes) == {"E-DUT-MISMATCH"}

    config = line_with()
    over(config, die)
    over(fuller, come_back, start=2e9)


def test_an_open_door_refuses_the_resume_until_it_is_closed(line_with: LineWith) -> None:
    async def work(plant: Plant) -> None:
        run = await die_in(plant, recipe(), after=30.4)
        plant.simulated.set_fault("interlock", "door")
        async with plant.daemon() as virtual:
            with pytest.raises(StartRefusedError, match="the door is open"):
                await virtual.station.resume("operator")
            plant.simulated.set_fault("interlock", "door", False)
            await virtual.station.resume("operator")
            assert (await virtual.result(run))["verdict"] == "pass"

    over(line_with(), work)


def test_a_current_that_somebody_switches_on_meanwhile_ends_the_run(line_with: LineWith) -> None:
    async def work(plant: Plant) -> None:
        run = await die_in(plant, recipe(), after=30.4)
        async with plant.daemon() as virtual:
            port: Any = plant.simulated.devices["cycler"]
            for line in (b"SYST:LOCK ON\n", b"OUTP ON\n"):
                port.receive(line)
            result = await virtual.result(run)
            assert result["outcome"]["code"] == "E-STRAY-CURRENT"
            assert virtual.station.state.name == "ABORTED"
            assert is_off(plant)

    over(line_with(), work)


def test_a_cycler_that_comes_up_later_than_the_daemon_costs_a_reset_but_not_the_run(line_with: LineWith) -> None:
    async def work(plant: Plant) -> None:
        run = await die_in(plant, recipe(), after=30.4)
        await plant.clock.sleep(600)
        plant.simulated.set_fault("cycler", "silent")
        async with plant.daemon() as virtual:
            assert virtual.station.state.name == "STOPPED"
            plant.simulated.set_fault("cycler", "silent", False)
            await virtual.clock.sleep(10)
            await virtual.station.reset("operator")
            assert virtual.station.state.name == "HELD"
            await virtual.station.resume("operator")
            result = await virtual.result(run)
            truth = plant.discharged
            assert result["measurements"]["moved"]["value"] == pytest.approx(truth, rel=1e-3)

    over(line_with(), work)


# ------------------------------------------------------------------------------------------ wherever it dies


TINY = (
    REST | {"duration": "2 s"},
    {"step": "if", "name": "warm", "condition": "temperature_max > 0 degC", "on_interrupt": "abort",
     "then": [DISCHARGE | {"ends": ["step_time >= 4 s"], "on_interrupt": "resume"}]},
    {"step": "compute", "name": "sum", "value": "rated_capacity / 2", "into": "half", "on_interrupt": "repeat"},
    {"step": "acir", "name": "acir", "readings": 2, "into": "ohms", "on_interrupt": "repeat"},
    REST | {"name": "after", "duration": "2 s"},
)  # fmt: skip


def test_whatever_record_the_power_fails_after_the_run_has_one_result(tmp_path: Path, line_with: LineWith) -> None:
    """Each record of a whole run in turn is the last; what is left is taken up or ended, and the journal is whole."""
    places: list[tuple[int, str, Path]] = []

    async def run_whole(plant: Plant) -> None:
        async with plant.daemon() as virtual:
            run = await virtual.start(recipe(*TINY, measurements=[]))
            await virtual.result(run)
            await durable(virtual)
            everything = virtual.journal.events(limit=10_000)
        kinds = [event.kind for event in everything]
        first, ended = kinds.index("run.started"), kinds.index("run.ended")
        for before, event in pairwise(everything[first - 1 : ended]):
            if event.kind != before.kind or event.kind.startswith("step."):  # of many alike the first
                path = tmp_path / "cut" / f"{event.seq}"
                plant.cut_after(event.seq, path)
                places.append((event.seq, event.kind, path))

    async def come_back(plant: Plant) -> str:
        async with plant.daemon() as virtual:
            state, run = virtual.station.state.name, virtual.journal.runs()[0].run
            if state == "HELD":
                await virtual.station.resume("operator")
                await virtual.result(run)
            elif state == "EXECUTE":
                await virtual.result(run)
            await durable(virtual)
        result = await plant.result(run)
        assert verify(plant.journal_file).ok
        assert (result["verdict"] == "pass") == (state != "IDLE"), result["outcome"]
        assert is_off(plant)
        return state

    over(line_with(), run_whole)
    found: dict[str, list[str]] = {}
    for _, kind, path in places:
        found.setdefault(over(demo_line(path), come_back, start=2e9), []).append(kind)
    before_the_first_step, taken_up, at_its_end = found["IDLE"], found["HELD"], found["COMPLETE"]
    assert before_the_first_step[:2] == ["run.started", "run.recipe"]
    assert {"step.started", "setpoint", "setpoint.readback", "samples", "measured"} - set(taken_up) <= {"measured"}
    assert at_its_end[-1] == "outputs.off"


@pytest.mark.parametrize("second", ["held", "unholding", "executing"])
@pytest.mark.parametrize("mode", ["resume", "repeat", "restart"])
def test_a_daemon_that_dies_again_is_no_other_case(mode: str, second: str, line_with: LineWith) -> None:
    async def work(plant: Plant) -> None:
        run = await die_in(plant, recipe(mode=mode), after=30.4)
        await plant.clock.sleep(20)
        for _ in range(2):
            async with plant.daemon() as virtual:
                assert virtual.station.state.name == "HELD"
                if second == "unholding":
                    resuming = asyncio.create_task(virtual.station.resume("operator"))
                    await virtual.until(lambda: virtual.station.state.name == "UNHOLDING")
                elif second == "executing":
                    await virtual.station.resume("operator")
                    await virtual.clock.sleep(7.4)
                await durable(virtual)
            if second == "unholding":
                with suppress(asyncio.CancelledError):
                    await resuming
            await plant.clock.sleep(20)
        result = await resumed(plant, run)
        assert (result["verdict"], labels(result)) == ("pass", ["rest", "discharge", "after"])
        whole = samples(plant, run)["discharged_ah"][-1]
        assert whole == pytest.approx(plant.discharged, rel=1e-3), "nothing is counted twice"

    over(line_with(), work)


# -------------------------------------------------------------------------------------------- what goes on counting


def test_a_charge_that_holds_its_voltage_goes_on_to_the_same_end(tmp_path: Path) -> None:
    charge = {
        "step": "cccv", "name": "charge", "current": "C/2", "cell_voltage": "4.15 V", "max_time": "1 h",
        "ends": [{"when": "current <= C/10", "hold": "5 s"}],
    }  # fmt: skip

    def nearly_full(data: Data) -> None:
        data["simulation"]["stations"]["st01"]["battery"]["soc"] = 0.9

    async def work(plant: Plant, *, dies: bool) -> float:
        async with plant.daemon() as virtual:
            run = await virtual.start(recipe(REST, charge, measurements=[]))
            if not dies:
                await virtual.result(run)
                return float(plant.simulated.truth()["charged_ah"])
            await virtual.until(lambda: virtual.station.progress.phase == "hold voltage")  # type: ignore[union-attr]
            await virtual.clock.sleep(60.4)
            await durable(virtual)
        await plant.clock.sleep(600)
        result = await resumed(plant, run)
        assert result["steps"][-1]["reason"] == "current <= C/10"
        truth = plant.simulated.truth()["charged_ah"]
        # sampled once a second, the current's fall where the voltage takes over is 0.1 % of so short a charge
        assert samples(plant, run)["charged_ah"][-1] == pytest.approx(truth, rel=2e-3)
        return float(truth)

    whole = over(demo_line(tmp_path / "a", nearly_full), lambda plant: work(plant, dies=False))
    broken = over(demo_line(tmp_path / "b", nearly_full), lambda plant: work(plant, dies=True))
    assert broken == pytest.approx(whole, rel=0.02), "but for what ten minutes of rest let flow besides"


def test_where_few_samples_are_kept_the_charge_is_counted_all_the_same(line_with: LineWith) -> None:
    seldom = DISCHARGE | {"ends": ["charge >= 2 Ah"], "record": {"every": "10 min"}}

    async def work(plant: Plant) -> None:
        run = await die_in(plant, recipe(REST, seldom), after=207.4)
        await plant.clock.sleep(60)
        result = await resumed(plant, run)
        # up to five seconds of current were not on the disk, which is 0.04 Ah
        assert result["measurements"]["moved"]["value"] == pytest.approx(plant.discharged, abs=0.042)
        assert len(samples(plant, run)["t"]) < 40

    over(line_with(), work)


def test_holds_and_dead_time_do_not_count_in_a_step(line_with: LineWith) -> None:
    timed = DISCHARGE | {"ends": ["step_time >= 60 s"]}

    async def work(plant: Plant) -> None:
        async with plant.daemon() as virtual:
            run = await virtual.start(recipe(REST, timed))
            await virtual.clock.sleep(30.4)
            await virtual.station.hold("operator")
            await virtual.clock.sleep(500)
            await virtual.station.resume("operator")
            await virtual.clock.sleep(10.4)
            await virtual.station.hold("operator")
            await virtual.clock.sleep(100)
            await durable(virtual)
        await plant.clock.sleep(1000)
        result = await resumed(plant, run)
        assert result["steps"][-1]["reason"] == "step_time >= 60 s"
        assert plant.discharged == pytest.approx(30 * 60 / 3600, rel=0.05)
        assert result["measurements"]["moved"]["value"] == pytest.approx(plant.discharged, rel=1e-3)

    over(line_with(), work)


WAIT: Data = {"step": "wait_until", "name": "wait", "condition": "temperature_max >= 44 degC", "max_time": "10 min"}


def test_a_recipe_that_stood_still_goes_on_when_people_resume_it(line_with: LineWith) -> None:
    looks = {"step": "check", "name": "looks", "that": "temperature_max < 0 degC", "on_fail": "hold",
             "text": {"en": "cold", "ko": "cold"}, "on_interrupt": "repeat"}  # fmt: skip

    async def work(plant: Plant) -> None:
        async with plant.daemon() as virtual:
            run = await virtual.start(recipe(looks, REST, measurements=[]))
            await virtual.until(lambda: virtual.station.state.name == "HELD")
            await durable(virtual)
        result = await resumed(plant, run)
        assert labels(result) == ["looks", "rest"]
        assert result["verdict"] == "fail"

    over(line_with(), work)


@pytest.mark.parametrize(
    ("step", "bound", "said"),
    [
        (WAIT, {"total_time": {"warn": "50 s", "trip": "60 s"}}, "total_time"),
        (DISCHARGE, {"total_throughput": {"warn": "0.5 %", "trip": "0.6 %"}}, "throughput"),
    ],
)
def test_what_the_safety_counts_over_a_run_goes_on_from_where_it_was(
    step: Data, bound: Data, said: str, line_with: LineWith
) -> None:
    async def work(plant: Plant) -> None:
        text = recipe(REST, step, measurements=[], **bound)
        run = await die_in(plant, text, after=35.4)
        await plant.clock.sleep(3000)
        async with plant.daemon() as virtual:
            await virtual.station.resume("operator")
            began = virtual.clock.now()
            result = await virtual.result(run)
            assert virtual.clock.now() - began < 30
        assert result["outcome"]["code"] == "E-SAFETY-TRIP"
        assert said in result["outcome"]["reason"]

    over(line_with(), work)


def test_a_resumed_step_keeps_its_own_tighter_bounds(line_with: LineWith) -> None:
    narrow = DISCHARGE | {"safety": {"temperature_max": {"warn": "40 degC", "trip": "44 degC", "delay": "2 s"}}}

    async def work(plant: Plant) -> None:
        run = await die_in(plant, recipe(REST, narrow), after=30.4)
        async with plant.daemon() as virtual:
            await virtual.station.resume("operator")
            bounds = {bound.name: bound.trip for bound in virtual.station._safety._bounds}
            assert bounds["temperature_max"] == 44.0
            await virtual.result(run)

    over(line_with(), work)


def test_a_recipe_keeps_the_defaults_that_it_has_for_its_battery(line_with: LineWith) -> None:
    """What the battery's chemistry says, not what goes for others: the journal holds what was given alone."""
    moves = {"moves": {"default": "5 Ah", "by_chemistry": {"NMC": "0.5 Ah"}}}

    async def work(plant: Plant) -> None:
        data = yaml.safe_load(recipe(REST, DISCHARGE | {"ends": ["charge >= $moves"], "max_time": "1 h"}))
        text = yaml.safe_dump(data | {"parameters": moves}, sort_keys=False)
        result = await resumed(plant, await die_in(plant, text, after=30.4))
        assert result["steps"][-1]["reason"] == "charge >= 0.5 Ah"

    over(line_with(), work)


def test_what_is_left_of_a_run_is_foreseen_as_it_was_at_its_start(line_with: LineWith) -> None:
    """By the line's grade rules: without them a provisional grade would be held for certain."""
    values = {"fraction": "100 %", "number": "1", "insulation": "500 ohm/V", "voltage": "10 mV"}
    needed = {
        rule.measurement: values[rule.dimension]
        for grade in load_grade_rules("default").classes
        for rule in grade.needs
    }
    measurements = [
        {"name": name, "title": {"en": name, "ko": name}, "from": {"kind": "formula", "value": value}}
        for name, value in needed.items()
    ]
    decided = {
        "step": "if", "name": "decided", "condition": "grade_certain", "on_interrupt": "abort",
        "then": [REST | {"name": "short", "duration": "1 min"}], "else": [REST | {"name": "long", "duration": "2 h"}],
    }  # fmt: skip
    steps = [REST | {"duration": "1 min"}, {"step": "grade", "name": "now", "on_interrupt": "abort"}, decided]

    async def work(plant: Plant) -> None:
        async with plant.daemon() as virtual:
            await virtual.start(recipe(*steps, measurements=measurements))
            await virtual.clock.sleep(30.4)
            at_start = virtual.station.run_now.forecast  # type: ignore[union-attr]
            await durable(virtual)
        async with plant.daemon() as virtual:
            taken_up = virtual.station.run_now.forecast  # type: ignore[union-attr]
        assert [step.label for step in taken_up.steps] == ["rest", "now", "long"]
        assert taken_up == at_start

    over(line_with(), work)


def test_what_was_measured_set_and_told_is_remembered(line_with: LineWith) -> None:
    steps: list[Data] = [
        REST,
        {"step": "compute", "name": "half", "value": "rated_capacity / 2", "into": "half"},
        DISCHARGE | {"ends": ["charge >= 0.2 Ah"]},
        {"step": "measure", "name": "evaluate", "measurements": ["moved"]},
        {"step": "publish", "name": "tell", "event": "provisional", "values": ["moved", "half"]},
        REST | {"name": "waiting", "duration": "60 s"},
        {"step": "check", "name": "known", "that": "moved > 0.1 Ah and half > 29 Ah",
         "text": {"en": "known", "ko": "known"}},
        {"step": "publish", "name": "again", "event": "provisional", "values": ["moved", "half"]},
    ]  # fmt: skip
    steps = [step | {"on_interrupt": "resume" if step["step"] in ("rest", "cc") else "repeat"} for step in steps]

    async def work(plant: Plant) -> None:
        run = await die_in(plant, recipe(*steps), after=60.4)
        assert any(event.kind == "told.provisional" for event in plant.history(run))
        async with plant.daemon() as virtual:
            await virtual.station.resume("operator")
            grades = virtual.station.run_now.interim["moved"]  # type: ignore[union-attr]
            assert grades is not None
            assert (await virtual.result(run))["verdict"] == "pass"
            await durable(virtual)
            messages = [m for m in virtual.journal.pending_outbox(limit=1000) if "provisional" in m.id]
            ids = [f"{run}.provisional.{number}.{virtual.journal.identity}" for number in (1, 2)]
        assert [m.id for m in messages] == ids, "no id twice"

    over(line_with(), work)


# ------------------------------------------------------------------------------------------ what cannot be taken up


async def reason_after(plant: Plant, run: str) -> str:
    async with plant.daemon() as virtual:
        assert virtual.station.state.name == "IDLE"
    result = await plant.result(run)
    assert (result["verdict"], result["outcome"]["code"]) == ("error", "E-DAEMON")
    return str(result["outcome"]["reason"])


def test_a_run_that_was_being_aborted_stays_aborted(line_with: LineWith) -> None:
    async def work(plant: Plant) -> None:
        async with plant.daemon() as virtual:
            run = await virtual.start(recipe())
            await virtual.clock.sleep(30.4)
            aborting = asyncio.create_task(virtual.station.abort("operator", "smoke"))
            await virtual.until(lambda: virtual.station.state.name == "ABORTING")
            await durable(virtual)
            aborting.cancel()
        assert await reason_after(plant, run) == (
            "the daemon ended while the run was active: it was being ended: smoke"
        )

    over(line_with(), work)


def test_a_run_of_an_older_daemon_ends_as_it_always_did(line_with: LineWith) -> None:
    async def work(plant: Plant) -> None:
        journal = Journal.open(plant.journal_file)
        body = {"recipe": "short", "hash": "0" * 64, "dut": CODE, "author": "kim"}
        journal.append(Event(1.0, "st01", "st01-000001", "run.started", body))
        journal.append(Event(2.0, "st01", "st01-000001", "step.started", {"step": 0, "label": "rest"}))
        journal.audit(AuditEntry(2.0, "kim", "start", "", {}), "st01", "st01-000001")
        await journal.close()
        assert (await reason_after(plant, "st01-000001")).endswith("the journal does not have its recipe")

    over(line_with(), work)


def test_a_changed_battery_model_or_called_recipe_ends_the_run(
    line_with: LineWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = copy.deepcopy(LIBRARY_RECIPE) | {"id": "inner", "steps": [REST], "measurements": []}
    monkeypatch.setattr("controller.recipes.library_data", lambda name: called)
    text = recipe({"step": "call", "name": "full", "recipe": "inner", "on_interrupt": "abort"}, REST, measurements=[])
    called["steps"] = [REST | {"name": "inside", "duration": "60 s", "on_interrupt": "resume"}]

    async def work(plant: Plant) -> None:
        run = await die_in(plant, text, after=30.4)
        called["version"] = "9.9.9"
        assert (await reason_after(plant, run)).endswith("a recipe that it calls is another one now")
        run = await die_in(plant, recipe(), after=30.4)
        (name,) = {event.body["model"] for event in plant.history(run) if event.kind == "run.recipe"}
        models = dict(plant.models)
        plant.models = models | {name: models[name].model_copy(update={"rated_capacity_ah": 61.0})}
        assert (await reason_after(plant, run)).endswith(f"the battery model {name} is another one now")
        plant.models = models
        run = await die_in(plant, recipe(), after=30.4)
        plant.models = {key: model for key, model in models.items() if key != name}
        assert (await reason_after(plant, run)).endswith(f"there is no battery model {name} any more")

    over(line_with(), work)


def test_a_clock_that_stands_before_the_runs_records_ends_it(line_with: LineWith) -> None:
    config = line_with()
    run = over(config, lambda plant: die_in(plant, recipe(), after=30.4))

    async def earlier(plant: Plant) -> str:
        return await reason_after(plant, run)

    assert over(config, earlier).endswith("the clock stands before its newest records")


def test_a_station_whose_ratings_were_lowered_meanwhile_refuses_the_resume(tmp_path: Path) -> None:
    config = demo_line(tmp_path)
    run = over(config, lambda plant: die_in(plant, recipe(), after=30.4))
    weak = demo_line(tmp_path, lambda d: d["stations"]["st01"]["ratings"].update(max_discharge_current_a=20))

    async def come_back(plant: Plant) -> None:
        async with plant.daemon() as virtual:
            with pytest.raises(StartRefusedError, match="20 A") as refused:
                await virtual.station.resume("operator")
            assert "E-RECIPE" in refused.value.codes
            await virtual.station.abort("operator")
            await durable(virtual)
        assert (await plant.result(run))["verdict"] == "aborted"

    over(weak, come_back, start=2e9)


def test_a_daemon_that_is_asked_to_end_gives_what_is_left_its_result(line_with: LineWith) -> None:
    async def work(plant: Plant) -> None:
        run = await die_in(plant, recipe(), after=30.4)
        async with plant.daemon() as virtual:
            assert await virtual.line.shut_down()
            await durable(virtual)
        result = await plant.result(run)
        assert result["outcome"] == {"code": "E-DAEMON", "reason": "the daemon ended while the run was active"}
        assert result["steps"], "with what was measured"

    over(line_with(), work)
