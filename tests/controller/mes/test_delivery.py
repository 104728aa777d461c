"""Results reach the MES whatever dies: nothing is lost, a station's order is kept, what comes twice has one id."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller.journal import Journal
from tests.controller.mes.brokers import (
    BROKERS,
    Mes,
    RunningBroker,
    finish,
    mes_at,
    pause,
    publishing,
    running,
    until,
)

pytestmark = pytest.mark.timeout(180)  # real brokers, and as long as a busy machine takes
STATIONS = [f"st{number:02d}" for number in range(1, 65)]
RATE = 300  # results a second


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    journal = Journal.open(tmp_path / "j.db", tick=0.005)
    yield journal
    await journal.close()


@pytest.fixture(params=BROKERS)
async def broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RunningBroker]:
    async with running(request.param, tmp_path) as broker:
        yield broker


async def produce(journal: Journal, count: int) -> list[tuple[str, str]]:
    """Results of all stations in turn, at RATE; their stations and runs in order."""
    loop, produced = asyncio.get_running_loop(), list[tuple[str, str]]()
    begin = loop.time()
    for number, station in zip(range(count), itertools.cycle(STATIONS)):
        run = f"{station}-{number:06d}"
        finish(journal, station, run)
        produced.append((station, run))
        if (ahead := begin + number / RATE - loop.time()) > 0.005:
            await pause(ahead)
    return produced


async def come_and_go(mes: Mes, there: float, away: float) -> None:
    while True:
        await pause(there)
        await mes.go()
        await pause(away)
        mes.come()


async def kill_in_turn(broker: RunningBroker, times: int, every: float) -> None:
    for _ in range(times):
        await pause(every)
        await broker.kill()
        await broker.revive()


async def prove(broker: RunningBroker, journal: Journal, count: int, kills: int) -> Mes:
    """`count` results at RATE; the broker is killed so many times, the MES is away a third of the time."""
    seconds = count / RATE
    async with mes_at(broker.settings) as mes, publishing(journal, broker.settings):
        moving = asyncio.create_task(come_and_go(mes, seconds / 4.5, seconds / 9))
        killing = asyncio.create_task(kill_in_turn(broker, kills, seconds / (kills + 1)))
        produced = await produce(journal, count)
        await killing
        await until(lambda: not journal.outbox.waiting, journal, 120)
        moving.cancel()
        await asyncio.wait({moving})
        if mes._serving is None or mes._serving.done():
            mes.come()
    assert len(mes.stored) == count, "lost"
    for station in STATIONS:
        assert mes.of_station(station) == [run for where, run in produced if where == station]
    assert not journal.outbox.refused
    return mes


async def test_kills_of_the_broker_and_absences_of_the_mes_lose_nothing(
    broker: RunningBroker, journal: Journal
) -> None:
    await prove(broker, journal, 600, 1)


@pytest.mark.proof
async def test_4000_results_with_three_kills(
    broker: RunningBroker, journal: Journal, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    begin = asyncio.get_running_loop().time()
    mes = await prove(broker, journal, 4000, 3)
    with capsys.disabled():
        took = asyncio.get_running_loop().time() - begin
        print(f"\n{request.node.name}: 4000 of 4000 stored in {took:.1f} s, {mes.duplicates} duplicates")
