"""The HTTP API of the daemon: what the command line and the operator page use. Loopback only, JSON in and out.

What is refused is told in both languages: beside each text in English stands its Korean, under the same key with `_ko`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import FastAPI
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from controller.api_outbox import outbox_routes, problem
from controller.instruments.api import instrument_routes
from controller.line import Line
from controller.mes.messages import Mode
from controller.plan import plan_body
from controller.start import RecipeError, StartRefusedError, StartRequest
from controller.states import RefusedCommandError
from controller.status import status_of
from controller.surroundings import AnswerRefusedError
from sequences.step import MAX_CSV
from sequences.text import Text

STREAM_INTERVAL = 0.1  # wall s between two snapshots of a stream, at least

Short = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Key = Annotated[str, StringConstraints(min_length=1, max_length=80)]


class RunBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    recipe: Annotated[str, StringConstraints(max_length=256_000)]
    source: Short
    dut: Short
    author: Short
    reason: Annotated[str, StringConstraints(max_length=1000)] = ""
    parameters: Annotated[dict[Key, Short | int | bool], Field(max_length=50)] = {}
    tables: Annotated[dict[Key, Annotated[str, StringConstraints(max_length=MAX_CSV)]], Field(max_length=8)] = {}

    @property
    def request(self) -> StartRequest:
        return StartRequest(self.recipe, self.source, self.dut, self.author, self.reason, self.parameters, self.tables)


class CommandBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    author: Short
    reason: Annotated[str, StringConstraints(max_length=1000)] = ""


class ModeBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    mode: Mode
    author: Short
    reason: Annotated[str, StringConstraints(max_length=1000)] = ""


class AnswerBody(BaseModel):
    """`question` is the number of the one that is answered: another one may be asked meanwhile."""

    model_config = ConfigDict(extra="forbid")

    question: int
    value: bool | int | float | Annotated[dict[Key, bool], Field(max_length=50)]
    author: Short


CommandName = Literal["hold", "resume", "suspend", "abort", "stop", "clear", "reset"]


def build_api(line: Line) -> FastAPI:
    """The application over a line; it owns nothing and cleans nothing up."""
    app = FastAPI(title="Evaline", docs_url=None, redoc_url=None)
    app.include_router(instrument_routes(line))

    def unknown(station: str) -> JSONResponse:
        known = ", ".join(line.stations)
        en = f"there is no station {station!r}; known are {known}"
        ko = f"스테이션 {station!r} 이(가) 없습니다. 사용할 수 있는 스테이션: {known}"
        return problem(404, "E-STATION", Text(en=en, ko=ko))

    app.include_router(outbox_routes(line))

    @app.get("/api/status")
    async def status() -> dict[str, Any]:
        return line.status()

    @app.post("/api/stations/{name}/runs")
    async def start(name: str, body: RunBody) -> JSONResponse:
        station = line.stations.get(name)
        if station is None:
            return unknown(name)
        try:
            run_id = await station.start(body.request)
        except (StartRefusedError, RecipeError) as error:
            return _not_started(error)
        await line.durable()
        return JSONResponse({"run_id": run_id}, 201)

    @app.post("/api/stations/{name}/plan")
    async def plan(name: str, body: RunBody) -> JSONResponse:
        """What the run would come to on the battery that is there, and what is against its start; starts nothing."""
        station = line.stations.get(name)
        if station is None:
            return unknown(name)
        try:
            planned, reasons = await station.plan(body.request)
        except (StartRefusedError, RecipeError) as error:
            return _not_started(error)
        found = {"reasons": [asdict(reason) for reason in reasons]}
        return JSONResponse(plan_body(planned.recipe, planned.forecast) | found)

    @app.post("/api/stations/{name}/answers")
    async def answer(name: str, body: AnswerBody) -> JSONResponse:
        station = line.stations.get(name)
        if station is None:
            return unknown(name)
        try:
            station.answer(body.question, body.value, body.author)
        except AnswerRefusedError as error:
            return problem(409, error.code, error.text)
        await line.durable()
        return JSONResponse(status_of(station))

    @app.post("/api/stations/{name}/commands/{command}")
    async def command(name: str, command: CommandName, body: CommandBody) -> JSONResponse:
        station = line.stations.get(name)
        if station is None:
            return unknown(name)
        commands = {
            "hold": station.hold,
            "resume": station.resume,
            "suspend": station.suspend,
            "abort": station.abort,
            "stop": station.stop,
            "clear": station.clear,
            "reset": station.reset,
        }
        try:
            await commands[command](body.author, body.reason)
        except RefusedCommandError as error:
            return problem(409, error.code, error.text)
        except StartRefusedError as error:  # a run that a former daemon left is judged like a start
            return _not_started(error)
        await line.durable()
        return JSONResponse(status_of(station))

    @app.post("/api/stations/{name}/mode")
    async def mode(name: str, body: ModeBody) -> JSONResponse:
        """Who starts the station's runs: LOCAL an operator, REMOTE the MES."""
        station = line.stations.get(name)
        if station is None:
            return unknown(name)
        station.set_mode(body.mode, body.author, body.reason)
        await line.durable()
        return JSONResponse(status_of(station))

    @app.get("/api/orders")
    async def orders() -> dict[str, Any]:
        """The work orders that have not ended."""
        return line.orders.data.model_dump(mode="json")

    @app.get("/api/runs")
    async def runs() -> list[dict[str, Any]]:
        return await asyncio.to_thread(line.run_list)

    @app.get("/api/runs/{run_id}")
    async def run(run_id: str) -> JSONResponse:
        result = await asyncio.to_thread(line.journal.result, run_id)
        if result is None:
            text = Text(en=f"run {run_id!r} has no result", ko=f"실행 {run_id!r} 의 결과가 없습니다")
            return problem(404, "E-RUN", text)
        return JSONResponse(result)

    @app.get("/api/stations/{name}/stream")
    async def stream(name: str) -> Any:
        station = line.stations.get(name)
        if station is None:
            return unknown(name)

        async def snapshots() -> AsyncIterator[str]:
            with line.watching(name) as changed:
                while not line.stopping.is_set():
                    changed.clear()  # before looking: what changes while this is sent comes with the next
                    yield f"data: {json.dumps(status_of(station))}\n\n"
                    await changed.wait()
                    try:  # rest between snapshots, unless the daemon stops
                        async with asyncio.timeout(STREAM_INTERVAL):
                            await line.stopping.wait()
                    except TimeoutError:
                        continue

        return StreamingResponse(snapshots(), media_type="text/event-stream")

    return app


def _not_started(error: StartRefusedError | RecipeError) -> JSONResponse:
    if isinstance(error, StartRefusedError):
        return JSONResponse({"code": "E-REFUSED", "reasons": error.as_json()}, 409)
    return JSONResponse({"code": "E-RECIPE", "findings": error.lines, "findings_ko": error.lines_ko}, 422)
