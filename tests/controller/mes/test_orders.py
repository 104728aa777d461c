"""Work orders as the journal keeps them, and what operators see and do of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from config import LineConfig
from controller.api import build_api
from controller.client import ApiError, Client
from controller.journal import AuditEntry, Event, Journal
from controller.mes.messages import JobState
from controller.mes.orders import JOB_STATE, Orders
from controller.mes.requests import WorkOrder
from controller.mes.topics import Topics
from controller.states import State
from tests.controller.mes.brokers import LINE
from tests.controller.mes.commanding import Mes, order
from tests.virtual import Virtual, in_virtual_time

WANTED = WorkOrder(order_id="WO-1", dut="PHE96-004711", recipe="quick_capacity_dcir")


class AtRest:
    """A clock that stands."""

    source = "simulated"

    def now(self) -> float:
        return 1.7e9


def over(config: LineConfig, work: Callable[[Virtual, Client], Awaitable[None]]) -> None:
    async def with_client(virtual: Virtual) -> None:
        transport = httpx.ASGITransport(app=build_api(virtual.line))
        async with httpx.AsyncClient(transport=transport, base_url="http://line") as http:
            await work(virtual, Client("http://line", http))

    in_virtual_time(config, with_client)


@pytest.mark.parametrize("order_id", ["WO-1", None])
@pytest.mark.parametrize("actor", ["kim", None])
async def test_a_job_event_names_who_wanted_it_where_somebody_did(
    tmp_path: Path, order_id: str | None, actor: str | None
) -> None:
    journal = Journal.open(tmp_path / "j.db")
    orders = Orders(journal, Topics(LINE), AtRest())  # type: ignore[arg-type]
    journal.append_together(*orders.store("st01", WANTED, "mes"))
    _, (message,) = orders.moved("st01", "r1", order_id, JobState.INTERRUPTED, "lunch", actor)
    assert message.payload["data"]["state"] == "Interrupted"
    assert message.payload.get("actor") == actor
    await journal.close()


async def test_an_order_whose_run_got_its_result_just_before_a_crash_has_ended(tmp_path: Path) -> None:
    """The result and the order's end are two commits: what is between them must not leave the order open."""
    from config.line import LineIdentity

    topics = Topics(LineIdentity(enterprise="e", site="s", area="a", name="l"))
    journal = Journal.open(tmp_path / "j.db")
    orders = Orders(journal, topics, AtRest())  # type: ignore[arg-type]
    journal.append_together(*orders.store("st01", WANTED, "mes"))
    journal.append_together(*orders.moved("st01", "r1", "WO-1", JobState.RUNNING, ""))
    result = {"job_state": "Ended"}
    audit = AuditEntry(1.7e9, "mes", "result", "", {})
    journal.commit_result(Event(1.7e9, "st01", "r1", "run.ended", {}), result, [], audit)
    await journal.close()

    again = Journal.open(tmp_path / "j.db")
    reopened = Orders(again, topics, AtRest())  # type: ignore[arg-type]
    assert reopened.open["WO-1"].state is JobState.RUNNING
    reopened.settle()
    assert reopened.open == {}
    await again.flush()
    newest = again.newest("order", "WO-1")
    assert newest is not None
    assert newest.body["state"] == "Ended"
    await again.close()


def test_every_state_in_which_a_run_goes_on_is_one_of_its_job() -> None:
    without = {
        State.CLEARING, State.STOPPED, State.IDLE, State.STOPPING, State.ABORTING, State.ABORTED, State.RESETTING,
        State.COMPLETE,
    }  # fmt: skip
    assert set(State) - set(JOB_STATE) == without


def test_operators_see_orders_and_change_the_mode(line_with: Callable[..., LineConfig]) -> None:
    async def work(virtual: Virtual, client: Client) -> None:
        assert await client.orders() == []
        await Mes(virtual).says("store", order=order(recipe="quick_capacity_dcir", operation="OP-1"))
        (listed,) = await client.orders()
        assert (listed["order"], listed["state"], listed["operation"]) == ("WO-1", "NotAllowedToStart", "OP-1")
        assert (await client.mode("st01", "REMOTE", "kim", "night shift"))["mode"] == "REMOTE"
        assert virtual.line.status()["stations"]["st01"]["mode"] == "REMOTE"
        with pytest.raises(ApiError, match="no station 'st09'"):
            await client.mode("st09", "LOCAL", "kim", "")

    over(line_with(), work)


def test_a_plan_says_that_an_operators_start_would_be_refused_in_remote_mode(
    line_with: Callable[..., LineConfig], short_recipe: Callable[..., str]
) -> None:
    async def work(virtual: Virtual, client: Client) -> None:
        await client.mode("st01", "REMOTE", "kim", "")
        body: dict[str, Any] = {
            "recipe": short_recipe(), "source": "t.yaml", "dut": "PHE96-004711", "author": "kim", "reason": "",
        }  # fmt: skip
        with pytest.raises(ApiError) as refused:
            await client.start("st01", body)
        assert [reason["code"] for reason in refused.value.reasons] == ["E-MODE"]
        assert [reason["code"] for reason in (await client.plan("st01", body))["reasons"]] == ["E-MODE"]

    over(line_with(), work)
