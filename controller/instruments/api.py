"""Instruments by hand, through the daemon that has them: no two sessions talk to one instrument."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, StringConstraints

from controller.instruments.tools import BusyError, NoInstrumentError, ToolError, ask, described, set_by_hand
from controller.journal import AuditEntry
from controller.line import Line
from controller.states import State
from controller.station import Station
from drivers import InstrumentError
from drivers.links import WatchedRegisterLink
from drivers.links.metrics import Trace

STATUS = {NoInstrumentError.code: 404, BusyError.code: 409, ToolError.code: 422}
FREE = (State.STOPPED, State.IDLE, State.COMPLETE, State.ABORTED)

Short = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class QueryBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, StringConstraints(min_length=1, max_length=4000)]
    author: Short


class SettingBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    setting: Short
    value: Short
    author: Short
    reason: Annotated[str, StringConstraints(max_length=1000)] = ""


def instrument_routes(line: Line) -> APIRouter:
    """The routes over a line's own instruments."""
    routes = APIRouter()

    def found(station: str, role: str) -> Station:
        if station not in line.stations or role not in line.stations[station].config.instruments:
            raise NoInstrumentError(f"there is no instrument {station}/{role}")
        return line.stations[station]

    async def audited(
        station: Station, role: str, author: str, action: str, reason: str, detail: dict[str, Any],
        work: Callable[[], Awaitable[dict[str, Any]]],
    ) -> JSONResponse:  # fmt: skip
        """Do it, and leave in the audit trail that it was tried, by whom and with which end."""
        outcome = "done"
        try:
            return JSONResponse(await work())
        except InstrumentError as error:
            outcome = error.code
            return _problem(error)
        finally:
            entry = {"station": station.name, "instrument": role, **detail, "outcome": outcome}
            line.journal.audit(AuditEntry(line.clock.now(), author, action, reason, entry), station.name, "")
            await line.durable()

    @routes.get("/api/instruments")
    async def instruments() -> dict[str, Any]:
        rows = [described(name, station.instruments) for name, station in line.stations.items()]
        return {"instruments": [row for station in rows for row in station]}

    @routes.post("/api/stations/{name}/instruments/{role}/query")
    async def query(name: str, role: str, body: QueryBody) -> JSONResponse:
        """Registers can be read at any time; a line of text may do anything, so it waits until no run is on."""
        try:
            station = found(name, role)
        except NoInstrumentError as error:
            return _problem(error)

        async def work() -> dict[str, Any]:
            if isinstance(station.instruments.links[role], WatchedRegisterLink):
                return await ask(station.instruments, role, body.text)
            check_free(station)
            with station.instruments.held(role, body.author):
                return await ask(station.instruments, role, body.text)

        return await audited(station, role, body.author, "instrument query", "", {"text": body.text}, work)

    @routes.post("/api/stations/{name}/instruments/{role}/settings")
    async def change(name: str, role: str, body: SettingBody) -> JSONResponse:
        try:
            station = found(name, role)
        except NoInstrumentError as error:
            return _problem(error)

        async def work() -> dict[str, Any]:
            check_free(station)
            with station.instruments.held(role, body.author):
                return await set_by_hand(station.instruments, role, body.setting, body.value)

        detail = {"setting": body.setting, "value": body.value}
        return await audited(station, role, body.author, "instrument set", body.reason, detail, work)

    @routes.get("/api/stations/{name}/instruments/{role}/trace")
    async def trace(name: str, role: str) -> Any:
        """Every request and answer while somebody listens, as server-sent events."""
        try:
            link = found(name, role).instruments.links[role]
        except NoInstrumentError as error:
            return _problem(error)

        async def entries() -> AsyncIterator[str]:
            with link.traced() as trace:
                yield "data: {}\n\n"  # it is on from here
                async for batch in batches(trace, line.stopping):
                    yield f"data: {json.dumps(batch)}\n\n"

        return StreamingResponse(entries(), media_type="text/event-stream")

    return routes


def check_free(station: Station) -> None:
    """Raise BusyError while a run owns the station's instruments, or waits for its station to be taken up again."""
    run = station.run_now or (station.left.run if station.left is not None else None)
    if run is not None:
        raise BusyError(f"run {run.id} owns the instruments of {station.name}; wait for its end, or abort it")
    if station.state not in FREE:
        raise BusyError(f"{station.name} is {station.state.name} and uses its instruments; wait until it is not")


async def batches(trace: Trace, stopping: asyncio.Event) -> AsyncIterator[dict[str, Any]]:
    """What a trace recorded, as it comes, until the line stops."""
    stop = asyncio.ensure_future(stopping.wait())
    try:
        while not stop.done():
            arrived = asyncio.ensure_future(trace.arrived.wait())
            try:
                await asyncio.wait({stop, arrived}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                arrived.cancel()
            if entries := trace.take():
                yield {"entries": [asdict(entry) for entry in entries], "lost": trace.lost}
    finally:
        stop.cancel()


def _problem(error: InstrumentError) -> JSONResponse:
    status = STATUS.get(error.code, 502)
    return JSONResponse({"code": error.code, "message": f"{error} [{error.code}]"}, status)
