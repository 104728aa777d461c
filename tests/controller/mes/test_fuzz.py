"""Any bytes on the command topic: nothing crashes, nothing moves, and what has an id is answered exactly once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.clock import JumpingClock
from tests.controller.mes.commanding import Mes
from tests.controller.mes.test_contract import COMMAND, JSON
from tests.virtual import demo_line, virtual_line


class Served:
    """A virtual line that stays up over many examples; each begins a minute of line time after the one before."""

    def __init__(self, runner: asyncio.Runner, mes: Mes) -> None:
        self._runner, self.mes = runner, mes

    def receive(self, payload: bytes, retained: bool = False) -> list[dict[str, Any]]:
        """The replies to it."""

        async def received() -> list[dict[str, Any]]:
            before = len(self.mes.replies())
            await self.mes.door.receive(self.mes.topic, payload, retained=retained)
            await self.mes.virtual.clock.sleep(60)
            return self.mes.replies()[before:]

        return self._runner.run(received())


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    clock, config = JumpingClock(), demo_line(tmp_path_factory.mktemp("fuzz"))
    stack = AsyncExitStack()
    with asyncio.Runner(loop_factory=clock.new_event_loop) as runner:
        virtual = runner.run(stack.enter_async_context(virtual_line(clock, config)))
        yield Served(runner, Mes(virtual))
        runner.run(stack.aclose())


FEW = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


def quiet(served: Served) -> bool:
    station = served.mes.virtual.station
    return station.state.name == "IDLE" and station.run_now is None and not served.mes.virtual.line.orders.open


@given(payload=st.binary(max_size=400) | JSON.map(json.dumps).map(str.encode))
@FEW
def test_bytes_that_are_no_command_are_refused(served: Served, payload: bytes) -> None:
    assert all(reply["data"]["status"] in ("rejected", "duplicate") for reply in served.receive(payload))
    assert quiet(served)


@given(data=st.data())
@FEW
def test_a_command_with_broken_bytes_is_refused_or_the_same_command(served: Served, data: st.DataObject) -> None:
    """Bytes changed, cut, doubled and put in: whatever is still a command is a hold, which an idle station refuses."""
    times = {"issued_at": "2026-01-01T00:00:00Z", "expires_at": "2027-01-01T00:00:00Z"}  # the same in every example
    payload = bytearray(json.dumps(served.mes.message("hold", cmd_id="hold-1", **times)).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(payload) - 1))
        match data.draw(st.sampled_from(["change", "cut", "double", "insert"])):
            case "change":
                payload[at] = data.draw(st.integers(0, 255))
            case "cut":
                del payload[at : at + data.draw(st.integers(1, 20))]
            case "double":
                payload[at:at] = payload[at : at + 10]
            case "insert":
                payload[at:at] = data.draw(st.binary(min_size=1, max_size=5))
        payload = payload or bytearray(b"x")
    replies = served.receive(bytes(payload))
    assert len(replies) <= 1
    assert all(reply["data"]["status"] in ("rejected", "duplicate") for reply in replies)
    assert quiet(served)


@given(data=COMMAND)
@FEW
def test_commands_of_wrong_content_are_answered_where_they_have_an_id(served: Served, data: dict[str, Any]) -> None:
    message = served.mes.message("hold")
    wanted = message["data"]["cmd_id"]
    replies = served.receive(json.dumps(message | {"data": data | {"cmd_id": wanted}}).encode())
    (reply,) = replies
    assert reply["data"]["cmd_id"] == wanted
    assert reply["data"]["status"] == "rejected", "its time is not now, whatever it says"
    assert quiet(served)


def test_the_journal_of_all_that_is_sound(served: Served) -> None:
    from controller.journal.check import verify

    assert verify(Path(served.mes.virtual.journal.path)).ok
