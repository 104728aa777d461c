"""The HTTP API of the daemon: what the command line and the operator page use. Loopback only, JSON in and out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import FastAPI
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, StringConstraints

from controller.line import Line
from controller.start import RecipeError, StartRefusedError, StartRequest
from controller.states import RefusedCommandError
from controller.status import status_of

STREAM_INTERVAL = 0.1  # wall s between two snapshots of a stream, at least

Short = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class RunBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    recipe: Annotated[str, StringConstraints(max_length=256_000)]
    source: Short
    dut: Short
    author: Short
    reason: Annotated[str, StringConstraints(max_length=1000)] = ""


class CommandBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    author: Short
    reason: Annotated[str, StringConstraints(max_length=1000)] = ""


CommandName = Literal["hold", "resume", "suspend", "abort", "stop", "clear", "reset"]


def build_api(line: Line) -> FastAPI:
    """The application over a line; it owns nothing and cleans nothing up."""
    app = FastAPI(title="Evaline", docs_url=None, redoc_url=None)

    def unknown(station: str) -> JSONResponse:
        known = ", ".join(line.stations)
        return _problem(404, "E-STATION", f"there is no station {station!r}; known are {known} [E-STATION]")

    @app.get("/api/status")
    async def status() -> dict[str, Any]:
        return line.status()

    @app.post("/api/stations/{name}/runs")
    async def start(name: str, body: RunBody) -> JSONResponse:
        station = line.stations.get(name)
        if station is None:
            return unknown(name)
        request = StartRequest(body.recipe, body.source, body.dut, body.author, body.reason)
        try:
            run_id = await station.start(request)
        except StartRefusedError as error:
            return JSONResponse({"code": "E-REFUSED", "reasons": error.as_json()}, 409)
        except RecipeError as error:
            return JSONResponse({"code": "E-RECIPE", "findings": error.lines}, 422)
        return JSONResponse({"run_id": run_id}, 201)

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
            return _problem(409, error.code, str(error))
        return JSONResponse(status_of(station))

    @app.get("/api/runs")
    async def runs() -> list[dict[str, Any]]:
        return await asyncio.to_thread(line.run_list)

    @app.get("/api/runs/{run_id}")
    async def run(run_id: str) -> JSONResponse:
        result = await asyncio.to_thread(line.journal.result, run_id)
        if result is None:
            return _problem(404, "E-RUN", f"run {run_id!r} has no result")
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


def _problem(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"code": code, "message": message}, status)
