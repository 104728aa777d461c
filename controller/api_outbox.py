"""The part of the API about messages that broker or MES refused."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from controller.line import Line
from controller.mes.topics import rfc3339


class ResendBody(BaseModel):
    """Which refused messages are sent again, by their numbers; all of them when none is named."""

    model_config = ConfigDict(extra="forbid")

    numbers: Annotated[list[int], Field(max_length=10_000)] = []
    author: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    reason: Annotated[str, StringConstraints(max_length=1000)] = ""


def outbox_routes(line: Line) -> APIRouter:
    """`/api/outbox` and `/api/outbox/resend`."""
    routes = APIRouter()

    @routes.get("/api/outbox")
    async def outbox() -> dict[str, Any]:
        """How the delivery stands, and the refused messages, oldest first."""
        refused = await asyncio.to_thread(line.journal.refused_outbox)
        return {
            "mes": line.delivery.status() if line.delivery is not None else None,
            "refused": [
                {
                    "number": message.seq,
                    "id": message.id,
                    "topic": message.topic,
                    "refused": rfc3339(message.t),
                    "by": message.by,
                    "reason": message.reason,
                }
                for message in refused
            ],
        }

    @routes.post("/api/outbox/resend")
    async def resend(body: ResendBody) -> JSONResponse:
        refused = line.journal.outbox.refused
        numbers = sorted(set(body.numbers) or refused)
        unknown = [number for number in numbers if number not in refused]
        if unknown or line.delivery is None:
            what = f"nobody refused message {unknown[0]}" if unknown else "this line has no broker to send to"
            message = f"{what}; see `evaline outbox list` [E-OUTBOX-MESSAGE]"
            return JSONResponse({"code": "E-OUTBOX-MESSAGE", "message": message}, 409)
        line.delivery.outbox.resend(numbers, body.author, body.reason)
        await line.durable()
        return JSONResponse({"resent": numbers})

    return routes
