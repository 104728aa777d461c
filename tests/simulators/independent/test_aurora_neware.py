"""aurora-neware's client, written against real BTS servers, on the simulated one."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from config.line import XmlTcpLinkConfig
from tests.independent import python_package
from tests.simulators.independent.conftest import Serve
from tests.simulators.test_neware_steps import limit, step_file


async def test_it_runs_a_program_and_downloads_what_was_measured(serve: Serve, tmp_path: Path) -> None:
    neware = python_package("aurora_neware", "aurora-neware")
    plant = await serve("demo_bench2")
    link = plant.links["cell_cycler"]
    assert isinstance(link, XmlTcpLinkConfig)
    file = tmp_path / "21-1-4.xml"
    file.write_bytes(step_file((4, limit(Time=60_000)), (2, limit(Curr=30000, Time=1_800_000))))

    def begin(client: Any) -> dict[str, Any]:
        client.connect()
        assert list(client.channel_map) == [f"21-1-{number}" for number in range(1, 9)]
        before: dict[str, Any] = client.inquire("21-1-4")["21-1-4"]
        assert client.start("21-1-4", "CELL-4", file)[0]["start"] == "ok"
        with pytest.raises(ValueError, match="blocked states"):
            client.start("21-1-4", "CELL-4", file)
        return before

    def look(client: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return client.inquire("21-1-4")["21-1-4"], client.getchlstatus()["21-1-4"]

    def end(client: Any) -> tuple[list[dict[str, Any]], dict[str, Any], int]:
        steps, data = client.get_steps("21-1-4"), client.download("21-1-4", last_n_points=5)
        assert client.stop("21-1-4")[0]["stop"] == "false"
        assert len(client.downloadlog("21-1-4")) == 2
        assert client.light("21-1-4")[0]["light"] == "ok"
        return steps, data, client.get_testid("21-1-4")["21-1-4"]["test_id"]

    with contextlib.closing(_Closing(neware.NewareAPI(link.host, link.port))) as held:
        before = await asyncio.to_thread(begin, held.client)
        assert (before["workstatus"], before["step_type"]) == ("finish", None)
        # the fourth cell of the module, taken out of it
        assert before["voltage"] == pytest.approx(plant.station.world.cell_voltages()[3], abs=1e-4)
        plant.clock[0] = 600.0
        working, status = await asyncio.to_thread(look, held.client)
        assert (working["step_type"], working["current"], status["status"]) == ("dc", -30, "working")
        plant.clock[0] = 3600.0
        steps, data, test = await asyncio.to_thread(end, held.client)
    assert [step["steptype"] for step in steps] == ["rest", "dc"]
    assert steps[1]["cap"] == pytest.approx(15.0, abs=1e-6)
    assert steps[1]["endvolt"] == data["volt"][-1] < before["voltage"]
    assert (data["seqid"][-1], data["testtime"][-1], test) == (
        len(data["seqid"]) - 5 + data["seqid"][-1],
        1_800_000,
        1,
    )


class _Closing:
    def __init__(self, client: Any) -> None:
        self.client = client
        self.close = client.disconnect
