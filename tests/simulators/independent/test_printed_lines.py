"""The lines that the simulators print for a shell, in a shell: each gets an answer from the instrument it is for."""

from __future__ import annotations

import pytest

from simulators.endpoints import reach
from tests.independent import program
from tests.simulators.independent.conftest import Serve, Shell


@pytest.mark.parametrize(
    ("line", "instrument", "answer"),
    [
        ("demo_bt20000", "impedance_meter", "HIOKI,BT3562A"),
        ("demo_bench", "code_reader", "OK,LON"),
        ("demo_bench2", "chiller", "02 REMOTE STOP"),
        ("demo_bench2", "cell_cycler", "<result>ok</result>"),
    ],
)
async def test_netcat_gets_an_answer(shell: Shell, serve: Serve, line: str, instrument: str, answer: str) -> None:
    program("nc", "netcat-openbsd")
    plant = await serve(line)
    told = reach(plant.links[instrument]).replace("-w 2", "-w 1")
    assert answer in await shell("sh", "-c", told)


async def test_lxi_gets_an_answer(shell: Shell, serve: Serve) -> None:
    program("lxi", "lxi-tools")
    told, _ = reach((await serve("demo")).links["cycler"]).split("   or   ")
    assert "PSB 10500-90" in await shell("sh", "-c", told)


@pytest.mark.parametrize(("line", "instrument", "unit"), [("demo", "interlock", 1), ("demo", "temperature_scanner", 2)])
async def test_mbpoll_gets_an_answer(shell: Shell, serve: Serve, line: str, instrument: str, unit: int) -> None:
    program("mbpoll")
    printed = await shell("sh", "-c", reach((await serve(line)).links[instrument], unit))
    assert "[0]:" in printed
