"""The part of the API about messages that broker or MES refused."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from controller.line import Line
from controller.mes.topics import rfc3339
from sequences.text import Text


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
            en, ko = "this line has no broker to send to", "이 라인에는 보낼 브로커가 없습니다"
            if unknown:
                en, ko = f"nobody refused message {unknown[0]}", f"메시지 {unknown[0]} 은(는) 거부된 적이 없습니다"
            see = Text(en=f"{en}; see `evaline outbox list`", ko=f"{ko}. `evaline outbox list` 를 확인하십시오")
            return problem(409, "E-OUTBOX-MESSAGE", see)
        line.delivery.outbox.resend(numbers, body.author, body.reason)
        await line.durable()
        return JSONResponse({"resent": numbers})

    return routes


def problem(status: int, code: str, text: Text) -> JSONResponse:
    """Why a request is refused."""
    return JSONResponse({"code": code, "message": f"{text.en} [{code}]", "message_ko": f"{text.ko} [{code}]"}, status)
