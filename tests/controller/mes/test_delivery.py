"""Results reach the MES whatever dies: nothing is lost, a station's order is kept, what comes twice has one id."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
from tests.controller.mes.sender import RUNS

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


# ----------------------------------------------------------------------------------------------------- killed daemons


@asynccontextmanager
async def sender(journal: Path, broker: RunningBroker, where: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A daemon's journal and publisher in a process of their own, once it says that it is there; killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.controller.mes.sender", str(journal), str(broker.settings.endpoints[0]),
        broker.settings.username or "", broker.settings.password or "", where, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            assert await process.stdout.readline()
        yield process
    finally:
        process.kill()
        await process.communicate()


@pytest.mark.parametrize(
    ("name", "where"),
    [("nats", "commit"), ("nats", "publish"), ("mosquitto-5", "commit"), ("mosquitto-3.1.1", "publish")],
)
async def test_a_daemon_killed_after_its_commit_or_after_its_publish_leaves_the_rest_to_the_next(
    tmp_path: Path, name: str, where: str
) -> None:
    """After the commit nothing was published; after the publish the MES, which was away, had acknowledged nothing."""
    path = tmp_path / "j.db"
    async with running(name, tmp_path) as broker:
        async with mes_at(broker.settings):
            pass  # its session exists from now on
        async with sender(path, broker, where):
            pass
        journal = Journal.open(path)
        assert len(journal.outbox.waiting) == RUNS
        async with mes_at(broker.settings) as mes, publishing(journal, broker.settings):
            await until(lambda: not journal.outbox.waiting, journal)
        await journal.close()
    assert mes.of_station("st01") == [f"r{number}" for number in range(RUNS)]
    assert mes.duplicates <= (where == "publish")  # none when its answer to the first one is there before the next


FILL = """
import asyncio, resource, shutil, sys
from pathlib import Path
from controller.journal import Journal, JournalError
from tests.controller.mes.brokers import finish
async def main(path, how):
    journal = Journal.open(path, tick=0.001)
    if how == "file":
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))  # the disk takes no more of a file
    number = 0
    try:
        while True:
            finish(journal, "st01", f"r{number}")
            await journal.flush()
            number += 1
            print(number, flush=True)
    except JournalError as error:
        if how == "volume":  # which is gone with this process
            for part in path.parent.iterdir():
                shutil.copy(part, sys.argv[3])
        print(error, flush=True)
        await asyncio.Event().wait()
asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


def on_a_small_volume(directory: Path) -> list[str]:
    """What to call a program with, so that there is a volume of 2 MB at this directory for it alone."""
    call = ["unshare", "-Urm", "sh", "-c", 'mount -t tmpfs -o size=2m none "$0" && exec "$@"', str(directory)]
    if subprocess.run([*call, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a volume of their own")
    return call


@pytest.mark.parametrize(("how", "told"), [("file", "disk I/O error"), ("volume", "database or disk is full")])
async def test_a_full_disk_costs_nothing_that_was_committed(tmp_path: Path, how: str, told: str) -> None:
    """The writer learns of it before it tells anybody; what was committed is delivered once there is room again."""
    small, path = tmp_path / "small", tmp_path / "j.db"
    small.mkdir()
    where, written = ([], path) if how == "file" else (on_a_small_volume(small), small / path.name)
    process = await asyncio.create_subprocess_exec(
        *where, sys.executable, "-c", FILL, str(written), how, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    said: list[str] = []
    async with asyncio.timeout(60):
        while not said or said[-1].isdecimal():
            said.append((await process.stdout.readline()).decode().strip())
    process.kill()
    await process.communicate()
    assert told in said[-1]
    assert "E-JOURNAL-WRITE" in said[-1]
    committed = int(said[-2])
    assert committed > 10
    journal = Journal.open(path)
    async with (
        running("nats", tmp_path) as broker,
        mes_at(broker.settings) as mes,
        publishing(journal, broker.settings),
    ):
        await until(lambda: not journal.outbox.waiting, journal)
    await journal.close()
    assert mes.of_station("st01")[:committed] == [f"r{number}" for number in range(committed)]
    assert len(mes.stored) - committed in (0, 1)  # one may have been written and not been told of


# ---------------------------------------------------------------------------------------------------------- outages


async def test_64_runs_that_end_without_a_broker_are_told_when_it_is_back(
    broker: RunningBroker, journal: Journal
) -> None:
    """It comes back with all sessions lost: whatever it had promised to keep is the outbox's to send again."""
    async with publishing(journal, broker.settings) as publisher:
        assert await publisher.drained(30)
        await broker.kill()
        for station in STATIONS:
            finish(journal, station, f"{station}-1", events=3)
        await journal.flush()
        assert len(journal.outbox.waiting) == 4 * 64
        await broker.revive()
        await broker.forget()
        async with mes_at(broker.settings) as mes:
            await until(lambda: not journal.outbox.waiting, journal)
    assert sorted(mes.stored) == sorted(f"{station}-1.result" for station in STATIONS)


async def drain(broker: RunningBroker, journal: Journal, results: int, events: int) -> float:
    """Seconds to deliver what 64 stations have left in an outage, each so many results with so many events each."""
    for number in range(results):
        for station in STATIONS:
            finish(journal, station, f"{station}-{number}", events)
        await journal.flush()
    loop = asyncio.get_running_loop()
    async with mes_at(broker.settings) as mes:
        begin = loop.time()
        async with publishing(journal, broker.settings):
            await until(lambda: not journal.outbox.waiting, journal, 120)
            await mes.has(lambda: len(set(mes.events)) == 64 * results * events)
        took = loop.time() - begin
    assert len(mes.stored) == 64 * results
    for station in STATIONS:
        assert mes.of_station(station) == [f"{station}-{number}" for number in range(results)]
    return took


async def test_what_an_outage_left_drains_in_order(broker: RunningBroker, journal: Journal) -> None:
    await drain(broker, journal, results=3, events=2)


@pytest.mark.proof
async def test_an_hour_of_outage_at_64_stations_drains_within_a_minute(
    broker: RunningBroker, journal: Journal, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    """A run a minute at each station: 3,840 results with three events each, as short runs have."""
    took = await drain(broker, journal, results=60, events=3)
    with capsys.disabled():
        print(f"\n{request.node.name}: 3840 results and 11520 events in {took:.1f} s")
    assert took < 60
