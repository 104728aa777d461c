"""The line's side of the MQTT bench, as `python -m tests.bench.mqtt_line WHAT DIRECTORY URL USER PASSWORD`.

WHAT is `stations`: 64 of them on memory links, scanned each second, wired to the broker as the daemon does it, until a
line comes on stdin; the simulated instruments live in this process. Or `results`: a journal and its publisher alone,
which send results for as many seconds as the line on stdin says. Each says a line of JSON when ready and at the end.
"""

from __future__ import annotations

import asyncio
import copy
import json
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from config import LineConfig, shipped_dut_models
from controller.cli.app import _fast_loop
from controller.clock import PacedClock
from controller.daemon import load_grade_rules
from controller.journal import Journal
from controller.line import Line
from controller.mes.commands import CommandDoor
from controller.mes.connection import V5, V311, BrokerSettings
from controller.mes.face import Face
from controller.mes.publisher import Publisher, endpoint_of
from simulators.station import SimulatedStation
from tests.controller.mes.brokers import delivery, finish, pause, publishing
from tests.virtual import demo_line, memory_links

STATIONS = [f"st{number:02d}" for number in range(1, 65)]
RESULTS_PER_S = 2000 / 60
READY_WITHIN = 60.0  # s


def config_of(directory: Path) -> LineConfig:
    """The demo line with so many stations like its own."""

    def change(data: dict[str, Any]) -> None:
        for part in (data, data["simulation"]):
            part["stations"] = {name: copy.deepcopy(part["stations"]["st01"]) for name in STATIONS}
        for number, name in enumerate(STATIONS):
            for link in (instrument["link"] for instrument in data["stations"][name]["instruments"].values()):
                if link["kind"] == "visa":
                    link["address"] = f"TCPIP::127.0.0.1::{20000 + number}::SOCKET"
                elif isinstance(link["port"], int):
                    link["port"] = 30000 + 1000 * (link["port"] % 10) + number
                else:
                    link["port"] += name

    return demo_line(directory, change)


@asynccontextmanager
async def served(directory: Path, settings: BrokerSettings) -> AsyncIterator[Journal]:
    """A ready line with its door, publisher and face."""
    config, clock = config_of(directory), PacedClock()
    models = shipped_dut_models()
    simulated = {name: SimulatedStation(config, name, models, clock.now) for name in STATIONS}
    journal = Journal.open(directory / "journal.db")
    line = Line(
        config, clock, journal, lambda name: memory_links(simulated[name]), models, load_grade_rules("default"),
        directory,
    )  # fmt: skip
    door = CommandDoor(line.stations, line.orders, journal, line.topics, clock, config.mes)
    publisher = Publisher(journal, settings, line.topics, clock.now, delivery(), door)
    line.delivery = publisher
    parts = (line.serve(), publisher.run(), Face(line, publisher).run(), door.run())
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        async with asyncio.timeout(READY_WITHIN):
            while any(station.state.name != "IDLE" for station in line.stations.values()):
                await pause(0.1)
            await publisher.drained(READY_WITHIN)
        yield journal
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await line.shut_down()
        await journal.close()


async def results(journal: Journal, seconds: float) -> dict[str, Any]:
    """2,000 results a minute for so long; the CPU this process took, of one core."""
    loop, number = asyncio.get_running_loop(), 0
    begin, used = loop.time(), _cpu()
    while (now := loop.time() - begin) < seconds:
        while number < now * RESULTS_PER_S:
            finish(journal, STATIONS[number % 64], f"r{number}", events=2)
            number += 1
        await pause(0.03)
    return {"results": number, "seconds": now, "cpu": (_cpu() - used) / now, "waiting": len(journal.outbox.waiting)}


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def main(what: str, directory: str, url: str, user: str, password: str) -> None:
    settings = BrokerSettings((endpoint_of(url),), user or None, password or None, versions=(V5, V311))
    asked = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    if what == "stations":
        async with served(Path(directory), settings):
            begin, used = asyncio.get_running_loop().time(), _cpu()
            print("{}", flush=True)
            await asked
            seconds = asyncio.get_running_loop().time() - begin
            print(json.dumps({"line_cpu": (_cpu() - used) / seconds}), flush=True)
        return
    journal = Journal.open(Path(directory) / "j.db")
    async with publishing(journal, settings) as publisher:
        await publisher.drained(30)
        print("{}", flush=True)
        print(json.dumps(await results(journal, float(await asked))), flush=True)
    await journal.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=_fast_loop()) as runner:  # as `evaline serve` has it
        runner.run(main(*sys.argv[1:]))
