"""What a recipe asks beside the cycler, through the whole controller in virtual time: people, holds, site functions."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from config import LineConfig
from controller import requests
from controller.surroundings import AnswerRefusedError
from tests.virtual import Virtual, in_virtual_time

LineWith = Callable[..., LineConfig]
Short = Callable[..., str]

REST: dict[str, Any] = {"name": "rest", "step": "rest", "duration": "10 s"}
DISCHARGE: dict[str, Any] = {
    "name": "discharge", "step": "cc", "direction": "discharge", "current": "C/2", "cell_voltage": "2.70 V",
    "ends": ["step_time >= 60 s"], "max_time": "5 min",
}  # fmt: skip
QUESTION: dict[str, Any] = {
    "name": "ask", "step": "prompt", "text": {"en": "Clamped?", "ko": "고정?"}, "max_time": "10 min",
}  # fmt: skip


def asked(virtual: Virtual) -> Callable[[], bool]:
    return lambda: virtual.station.question is not None


def test_a_question_is_shown_and_its_answer_goes_on_record(line_with: LineWith, short_recipe: Short) -> None:
    async def work(virtual: Virtual) -> None:
        run = await virtual.start(short_recipe([QUESTION, DISCHARGE]))
        await virtual.until(asked(virtual))
        question = virtual.station.question
        assert question is not None
        assert question.as_json()["text"]["ko"] == "고정?"
        assert virtual.simulated.world.discharged_ah == 0
        virtual.station.answer(question.number, True, "kim")
        assert (await virtual.result(run))["verdict"] == "pass"
        (answer,) = virtual.journal.events(run, kind="answer")
        assert answer.body == {"question": 1, "text": "Clamped?", "answer": True, "author": "kim"}

    in_virtual_time(line_with(), work)


@pytest.mark.parametrize("answer", [1, "yes", None, {"a": True}])
def test_what_does_not_answer_the_question_is_refused_and_it_stays_asked(
    answer: Any, line_with: LineWith, short_recipe: Short
) -> None:
    async def work(virtual: Virtual) -> None:
        await virtual.start(short_recipe([QUESTION]))
        await virtual.until(asked(virtual))
        with pytest.raises(AnswerRefusedError, match="true or false"):
            virtual.station.answer(1, answer, "kim")
        with pytest.raises(AnswerRefusedError, match="question 7 is not asked"):
            virtual.station.answer(7, True, "kim")
        assert virtual.station.question is not None

    in_virtual_time(line_with(), work)


def test_nobody_answers_and_the_run_ends_inconclusive_with_the_question_gone(
    line_with: LineWith, short_recipe: Short
) -> None:
    async def work(virtual: Virtual) -> None:
        await virtual.start(short_recipe([QUESTION, DISCHARGE]))
        await virtual.until(lambda: virtual.station.state.name == "COMPLETE")
        result = virtual.station.last_result
        assert result is not None
        assert result["outcome"]["code"] == "E-STEP-OVERDUE"
        assert result["verdict"] == "inconclusive"
        assert virtual.station.question is None
        assert virtual.simulated.world.discharged_ah == 0

    in_virtual_time(line_with(), work)


def test_an_abort_takes_the_question_back(line_with: LineWith, short_recipe: Short) -> None:
    async def work(virtual: Virtual) -> None:
        await virtual.start(short_recipe([QUESTION]))
        await virtual.until(asked(virtual))
        await virtual.station.abort("operator")
        assert virtual.station.question is None
        with pytest.raises(AnswerRefusedError):
            virtual.station.answer(1, True, "kim")

    in_virtual_time(line_with(), work)


def test_a_route_that_says_hold_stands_still_until_people_resume(line_with: LineWith, short_recipe: Short) -> None:
    halting = DISCHARGE | {"ends": [{"when": "step_time >= 20 s", "then": "hold"}]}
    after = DISCHARGE | {"name": "after"}

    async def work(virtual: Virtual) -> None:
        run = await virtual.start(short_recipe([halting, after]))
        await virtual.until(lambda: virtual.station.state.name == "HELD")
        moved = virtual.simulated.world.discharged_ah
        await virtual.clock.sleep(300)
        assert virtual.simulated.world.discharged_ah == moved
        await virtual.station.resume("operator")
        result = await virtual.result(run)
        assert result["verdict"] == "pass"
        assert [step["label"] for step in result["steps"]] == ["discharge", "after"]
        assert virtual.simulated.world.discharged_ah == pytest.approx(30 * 80 / 3600, rel=0.02)

    in_virtual_time(line_with(), work)


def test_a_parked_hold_opens_the_contactors_and_closes_them_again(line_with: LineWith, short_recipe: Short) -> None:
    async def work(virtual: Virtual) -> None:
        run = await virtual.start(short_recipe([DISCHARGE | {"pause": "park"}]))
        await virtual.until(lambda: virtual.simulated.world.current < -29)
        await virtual.station.hold("operator")
        assert not virtual.simulated.world.contactor_closed
        assert virtual.simulated.world.hot_openings == 0
        await virtual.clock.sleep(60)
        await virtual.station.resume("operator")
        assert virtual.simulated.world.contactor_closed
        result = await virtual.result(run)
        assert result["verdict"] == "pass"
        assert virtual.simulated.world.discharged_ah == pytest.approx(30 * 60 / 3600, rel=0.02)

    in_virtual_time(line_with(), work)


def test_a_plain_hold_leaves_the_contactors_closed(line_with: LineWith, short_recipe: Short) -> None:
    async def work(virtual: Virtual) -> None:
        await virtual.start(short_recipe([DISCHARGE]))
        await virtual.until(lambda: virtual.simulated.world.current < -29)
        await virtual.station.hold("operator")
        assert virtual.simulated.world.contactor_closed
        assert virtual.simulated.world.current == 0

    in_virtual_time(line_with(), work)


def test_readings_are_taken_beside_a_rest_in_parallel(line_with: LineWith, short_recipe: Short) -> None:
    both = {
        "name": "both", "step": "parallel", "branches": [
            {"name": "resting", "steps": [REST]},
            {"name": "reading", "steps": [{"name": "acir", "step": "acir", "readings": 3}]},
        ],
    }  # fmt: skip

    async def work(virtual: Virtual) -> None:
        result = await virtual.result(await virtual.start(short_recipe([both, DISCHARGE])))
        assert result["verdict"] == "pass"
        assert [step["label"] for step in result["steps"]] == ["acir", "rest", "discharge"]

    in_virtual_time(line_with(), work)


def test_an_impedance_meter_that_dies_ends_its_step_by_on_error(line_with: LineWith, short_recipe: Short) -> None:
    going_on = {"name": "acir", "step": "acir", "readings": 3, "on_error": "next"}
    silent = {"instrument": "impedance_meter", "kind": "silent", "at_s": 5}

    async def work(virtual: Virtual) -> None:
        result = await virtual.result(await virtual.start(short_recipe([REST, going_on, DISCHARGE])))
        assert result["verdict"] == "error"  # a verdict never hides an error
        assert [step["label"] for step in result["steps"]] == ["rest", "acir", "discharge"]
        assert virtual.station.state.name == "COMPLETE"

    in_virtual_time(line_with(silent), work)


def test_a_dead_impedance_meter_aborts_the_run_unless_the_recipe_says_otherwise(
    line_with: LineWith, short_recipe: Short
) -> None:
    silent = {"instrument": "impedance_meter", "kind": "silent", "at_s": 5}
    reading = {"name": "acir", "step": "acir", "readings": 3}

    async def work(virtual: Virtual) -> None:
        result = await virtual.result(await virtual.start(short_recipe([REST, reading, DISCHARGE])))
        assert result["verdict"] == "error"
        assert result["outcome"]["code"] == "E-STEP-ABORTED"
        assert virtual.station.state.name == "ABORTED"
        assert virtual.simulated.world.discharged_ah == 0

    in_virtual_time(line_with(silent), work)


# ------------------------------------------------------------------------------------------------ site functions


def doubled(**arguments: float) -> dict[str, float]:
    return {"twice": 2 * arguments["rated"]}


def broken(**arguments: float) -> dict[str, float]:
    raise RuntimeError("site model missing")


@pytest.fixture
def site_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(group: str) -> list[EntryPoint]:
        assert group == "evaline.steps"
        return [EntryPoint(name, f"{__name__}:{name}", group) for name in ("doubled", "broken")]

    monkeypatch.setattr(requests, "entry_points", installed)


def site_step(function: str) -> dict[str, Any]:
    return {
        "name": "site", "step": "python", "function": function, "arguments": {"rated": "rated_capacity"},
        "into": {"twice": "Ah"}, "max_time": "30 s",
    }  # fmt: skip


@pytest.mark.usefixtures("site_functions")
def test_a_site_function_gets_si_values_and_gives_named_ones(line_with: LineWith, short_recipe: Short) -> None:
    verified = {"name": "ok", "step": "check", "that": "twice > 60 Ah", "text": {"en": "twice", "ko": "두 배"}}

    async def work(virtual: Virtual) -> None:
        result = await virtual.result(await virtual.start(short_recipe([site_step("doubled"), verified])))
        assert result["verdict"] == "pass", result

    in_virtual_time(line_with(), work)


@pytest.mark.usefixtures("site_functions")
@pytest.mark.parametrize(("function", "said"), [("broken", "site model missing"), ("absent", "no function 'absent'")])
def test_a_site_function_that_fails_is_an_error_in_its_step_not_in_the_daemon(
    function: str, said: str, line_with: LineWith, short_recipe: Short
) -> None:
    async def work(virtual: Virtual) -> None:
        result = await virtual.result(await virtual.start(short_recipe([site_step(function)])))
        assert result["verdict"] == "error"
        assert said in result["outcome"]["reason"]
        assert "E-PYTHON-STEP" in result["outcome"]["reason"]

    in_virtual_time(line_with(), work)
