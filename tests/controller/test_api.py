"""The API over a line in virtual time: plans, answers, parameters and tables, as a client gets them."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from config import read_document
from controller.api import build_api
from controller.client import ApiError, Client
from controller.recipes import LIBRARY
from tests.virtual import CODE, Virtual, demo_line, in_virtual_time

SHIPPED = read_document(LIBRARY / "quick_capacity_dcir.yaml").data
REST = {"name": "rest", "step": "rest", "duration": "5 s"}
QUESTIONS: dict[str, dict[str, Any]] = {
    "confirm": {"step": "prompt", "answer": "confirm", "text": {"en": "Clamped?", "ko": "고정했습니까?"}},
    "number": {"step": "prompt", "answer": "number", "text": {"en": "Weight?", "ko": "무게?"}, "into": "weight"},
    "choice": {
        "step": "prompt", "answer": "choice", "text": {"en": "Colour?", "ko": "색?"},
        "choices": [{"en": "red", "ko": "빨강"}, {"en": "blue", "ko": "파랑"}],
    },
    "inspect": {
        "step": "inspect",
        "items": [{"name": name, "text": {"en": f"{name}?", "ko": f"{name}?"}} for name in ("leak", "dent")],
    },
}  # fmt: skip


def recipe(*steps: dict[str, Any], **other: Any) -> str:
    data = copy.deepcopy(SHIPPED) | {"id": "short", "steps": list(steps), "measurements": []} | other
    return yaml.safe_dump(data, allow_unicode=True, sort_keys=False)


def body(text: str, **other: Any) -> dict[str, Any]:
    return {"recipe": text, "source": "test.yaml", "dut": CODE, "author": "tester", "reason": "test"} | other


def over_api(tmp_path: Path, work: Callable[[Virtual, Client], Awaitable[None]]) -> None:
    async def with_client(line: Virtual) -> None:
        transport = httpx.ASGITransport(app=build_api(line.line))
        async with httpx.AsyncClient(transport=transport, base_url="http://line") as http:
            await work(line, Client("http://line", http))

    in_virtual_time(demo_line(tmp_path), with_client)


async def asked(line: Virtual) -> dict[str, Any]:
    """The question that the running recipe asks, as the status shows it."""
    await line.until(lambda: line.station.question is not None, 60)
    question: dict[str, Any] = line.line.status()["stations"]["st01"]["question"]
    return question


# ------------------------------------------------------------------------------------------------------------ plan


def test_a_plan_tells_what_the_battery_that_is_there_would_take_and_starts_nothing(tmp_path: Path) -> None:
    async def work(line: Virtual, client: Client) -> None:
        text = (LIBRARY / "quick_capacity_dcir.yaml").read_text(encoding="utf-8")
        plan = await client.plan("st01", body(text))
        battery = line.station.sampler.battery
        assert battery is not None
        assert (plan["soc"], plan["capacity_ah"]) == (battery.soc, battery.full_charge_capacity)
        assert plan["reasons"] == []
        assert [step["step"] for step in plan["steps"]][:4] == ["arrival", "identify", "acir", "charge"]
        assert plan["verdict"] == "pass"
        assert line.station.state.name == "IDLE"
        assert line.journal.runs() == []

    over_api(tmp_path, work)


def test_a_plan_lists_what_is_against_a_start_and_shows_the_rest_all_the_same(tmp_path: Path) -> None:
    async def work(line: Virtual, client: Client) -> None:
        line.simulated.set_fault("interlock", "door", True)
        await line.clock.sleep(5)
        plan = await client.plan("st01", body(recipe(REST), dut="PHE96-000001"))
        assert [reason["code"] for reason in plan["reasons"]] == ["E-INTERLOCK", "E-DUT-MISMATCH"]
        assert plan["seconds"] == 5.0

    over_api(tmp_path, work)


def test_a_plan_while_a_run_is_on_says_so(tmp_path: Path) -> None:
    async def work(line: Virtual, client: Client) -> None:
        current = {"name": "out", "step": "cc", "direction": "discharge", "current": "C/3", "cell_voltage": "2.70 V"}
        await client.start("st01", body(recipe(current | {"max_time": "1 h"})))
        await line.until(lambda: line.station.sampler.cycler is not None and line.station.sampler.cycler.output_on)
        plan = await client.plan("st01", body(recipe(REST)))
        assert [reason["code"] for reason in plan["reasons"]] == ["E-STATE"], "contactors and output are the run's own"
        assert len(line.journal.runs()) == 1

    over_api(tmp_path, work)


def test_a_plan_of_a_broken_recipe_is_refused_with_every_finding(tmp_path: Path) -> None:
    async def work(line: Virtual, client: Client) -> None:
        with pytest.raises(ApiError) as refused:
            await client.plan("st01", body(recipe(REST | {"duraton": "1 s"}, {"step": "rest", "name": "b"})))
        assert (refused.value.exit_code, refused.value.code) == (3, "E-RECIPE")
        assert len(refused.value.lines) == 2
        korean = refused.value.in_language("ko")
        assert ["E-RECIPE" in line for line in korean] == [True, True]
        assert "알 수 없는 키입니다" in korean[0]
        with pytest.raises(ApiError, match="E-DUT-CODE") as unknown:
            await client.plan("st01", body(recipe(REST), dut="XYZ"))
        assert unknown.value.exit_code == 4
        with pytest.raises(ApiError, match="there is no station 'st09'"):
            await client.plan("st09", body(recipe(REST)))

    over_api(tmp_path, work)


def test_of_two_starts_at_once_one_runs_and_the_other_is_refused(tmp_path: Path) -> None:
    async def work(line: Virtual, client: Client) -> None:
        starts = (client.start("st01", body(recipe(REST))) for _ in range(2))
        answers = await asyncio.gather(*starts, return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, ApiError)]
        assert len(refused) == 1
        assert [reason["code"] for reason in refused[0].reasons] == ["E-STATE"]
        (run,) = [answer for answer in answers if isinstance(answer, str)]
        assert (await line.result(run))["verdict"] == "pass"
        assert [summary.run for summary in line.journal.runs()] == [run]

    over_api(tmp_path, work)


# ------------------------------------------------------------------------------------------- parameters and tables


def test_parameters_and_tables_come_with_the_start(tmp_path: Path) -> None:
    drive = {"step": "profile", "name": "drive", "file": "drive.csv", "cell_voltage_min": "2.8 V",
             "cell_voltage_max": "4.15 V"}  # fmt: skip
    text = recipe(REST | {"duration": "$pause"}, drive, parameters={"pause": {"default": "5 s"}})
    table = "time_s,current_a\n0,-30\n10,0\n20,0\n"

    async def work(line: Virtual, client: Client) -> None:
        sent = body(text, parameters={"pause": "7 s"}, tables={"drive.csv": table})
        plan = await client.plan("st01", sent)
        assert plan["parameters"] == {"pause": "7 s"}
        assert [round(step["seconds"]) for step in plan["steps"]] == [7, 20]
        assert plan["steps"][1]["charge_ah"] == pytest.approx(-30 * 10 / 3600, rel=0.05)

        with pytest.raises(ApiError, match="it was not sent with the recipe"):
            await client.plan("st01", sent | {"tables": {}})
        with pytest.raises(ApiError, match=r"there is no parameter 'paus'.*E-PARAMETER"):
            await client.plan("st01", sent | {"parameters": {"paus": "7 s"}})

    over_api(tmp_path, work)


@pytest.mark.parametrize(
    "too_much",
    [
        {"tables": {"big.csv": "x" * 1_000_001}},
        {"tables": {f"t{n}.csv": "" for n in range(9)}},
        {"parameters": {f"p{n}": 1 for n in range(51)}},
        {"parameters": {"p": "x" * 201}},
        {"parameters": {"p": [1]}},
        {"parameters": {"p": 1.5}},
    ],
    ids=["a large table", "many tables", "many parameters", "a long value", "a list", "a bare number"],
)
def test_what_comes_with_a_start_is_bounded(tmp_path: Path, too_much: dict[str, Any]) -> None:
    async def work(line: Virtual, client: Client) -> None:
        with pytest.raises(ApiError, match="refused the request"):
            await client.start("st01", body(recipe(REST), **too_much))
        assert line.journal.runs() == []

    over_api(tmp_path, work)


# --------------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("kind", "value", "verdict"),
    [
        ("confirm", True, "pass"),
        ("confirm", False, "fail"),
        ("number", 412.5, "pass"),
        ("choice", 2, "pass"),
        ("inspect", {"leak": True, "dent": True}, "pass"),
        ("inspect", {"leak": True, "dent": False}, "fail"),
    ],
)
def test_an_answer_lets_the_run_go_on(tmp_path: Path, kind: str, value: Any, verdict: str) -> None:
    text = recipe({"name": "ask", "max_time": "10 min"} | QUESTIONS[kind])

    async def work(line: Virtual, client: Client) -> None:
        run = await client.start("st01", body(text))
        question = await asked(line)
        assert question["answer"] == kind
        assert (await client.status())["stations"]["st01"]["question"] == question
        await client.answer("st01", question["number"], value, "kim")
        assert (await line.result(run))["verdict"] == verdict
        (event,) = line.journal.events(run=run, kind="answer")
        assert (event.body["answer"], event.body["author"]) == (value, "kim")

    over_api(tmp_path, work)


def test_what_is_no_answer_is_refused_and_the_question_stands(tmp_path: Path) -> None:
    text = recipe({"name": "ask", "max_time": "10 min"} | QUESTIONS["choice"])

    async def work(line: Virtual, client: Client) -> None:
        async def refused(number: int, value: Any) -> str:
            with pytest.raises(ApiError) as error:
                await client.answer("st01", number, value, "kim")
            assert (error.value.exit_code, error.value.code) == (4, "E-ANSWER-REFUSED")
            return error.value.lines[0]

        assert "no recipe runs on this station" in await refused(1, True)
        await client.start("st01", body(text))
        number = (await asked(line))["number"]
        assert "it takes a number from 1 to 2 [E-ANSWER-REFUSED]" in await refused(number, 3)
        assert "it takes a number from 1 to 2" in await refused(number, True)
        assert f"question {number + 1} is not asked (any more)" in await refused(number + 1, 1)
        assert (await asked(line))["number"] == number
        await client.answer("st01", number, 1, "kim")
        assert "is not asked (any more)" in await refused(number, 1)

    over_api(tmp_path, work)
