"""What people see of the outbox over the API, and how they send again what was refused; no new run when it is full."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx
import pytest
from fastapi import FastAPI

from controller.api_outbox import outbox_routes
from controller.cli.broker import _lines
from controller.journal import Journal
from controller.line import Line
from controller.mes.connection import BrokerSettings, Endpoint
from controller.mes.publisher import Publisher
from controller.mes.topics import Topics
from controller.start import StartRefusedError
from tests.controller.mes.brokers import LINE, T0, delivery, finish
from tests.virtual import Virtual, demo_line, in_virtual_time


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    journal = Journal.open(tmp_path / "j.db")
    for number in (1, 2):
        finish(journal, "st01", f"r{number}")
    await journal.flush()
    journal.outbox_refused(1, T0, "MES", "unknown order")
    await journal.flush()
    yield journal
    await journal.close()


@pytest.fixture
async def api(journal: Journal) -> AsyncIterator[httpx.AsyncClient]:
    settings = BrokerSettings((Endpoint("127.0.0.1", 1),))
    publisher = Publisher(journal, settings, Topics(LINE), lambda: T0, delivery())
    line = SimpleNamespace(journal=journal, delivery=publisher, durable=journal.flush)
    app = FastAPI()
    app.include_router(outbox_routes(cast(Line, line)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://line") as client:
        yield client


async def test_refused_messages_are_listed_with_their_reason(api: httpx.AsyncClient) -> None:
    answer = (await api.get("/api/outbox")).json()
    (refused,) = answer["refused"]
    assert refused == {
        "number": 1,
        "id": "r1.result",
        "topic": "evaline/pohang/evaluation/line1/st01/result",
        "refused": "2023-11-14T22:13:20.000Z",
        "by": "MES",
        "reason": "unknown order",
    }
    outbox = answer["mes"]["outbox"]
    assert (outbox["messages"], outbox["refused"]) == (1, 1)
    shown = "\n".join(_lines(answer))
    assert "MES: unknown order" in shown
    assert "W-OUTBOX-REFUSED" in shown


async def test_a_resent_message_waits_again_and_the_trail_says_who_wanted_it(
    api: httpx.AsyncClient, journal: Journal
) -> None:
    body = {"numbers": [1], "author": "kim", "reason": "order was added"}
    assert (await api.post("/api/outbox/resend", json=body)).json() == {"resent": [1]}
    assert list(journal.outbox.waiting) == [2, 1]
    assert [message.id for message in journal.pending_outbox()] == ["r1.result", "r2.result"]
    entry = journal.events(kind="audit")[-1].body
    assert (entry["author"], entry["action"], entry["reason"]) == ("kim", "message resent", "order was added")


async def test_a_message_that_nobody_refused_cannot_be_resent(api: httpx.AsyncClient) -> None:
    answer = await api.post("/api/outbox/resend", json={"numbers": [2], "author": "kim"})
    assert (answer.status_code, answer.json()["code"]) == (409, "E-OUTBOX-MESSAGE")


def test_a_full_outbox_refuses_a_start_and_says_why(tmp_path: Path) -> None:
    async def work(virtual: Virtual) -> None:
        virtual.journal.outbox.max_messages = 1
        finish(virtual.journal, "st01", "former")
        with pytest.raises(StartRefusedError, match=r"the outbox is full: . messages wait for the MES, 1 may"):
            await virtual.start()
        virtual.journal.outbox.max_messages = 1000
        await virtual.start()

    in_virtual_time(demo_line(tmp_path), work)
