"""Who the MQTT bench measures beside a line.

`python -m tests.bench.mqtt_peer WHAT DIRECTORY URL USER PASSWORD VERSION`, where WHAT is `echo`: a client that sends
back what it gets, with nobody behind. Or `results`: a journal and its publisher alone, which send results for as many
seconds as the line on stdin says. Each says a line of JSON when it is ready, and `results` one at its end.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from pathlib import Path
from typing import Any

import aiomqtt

from controller.cli.app import _fast_loop
from controller.journal import Journal
from controller.mes.connection import BrokerSettings, Connector
from controller.mes.publisher import endpoint_of
from tests.controller.mes.brokers import finish, pause, publishing

STATIONS = [f"st{number:02d}" for number in range(1, 65)]
ECHO, ECHOED = "echo", "echoed"
RESULTS_PER_S = 2000 / 60


async def echo(settings: BrokerSettings) -> None:
    """Until killed."""
    async with Connector(settings, "echo").connected() as client, asyncio.TaskGroup() as group:
        await client.subscribe_all(ECHO)
        print("{}", flush=True)
        while True:
            message = await client.received()
            client.acknowledge(message)
            group.create_task(client.publish(ECHOED, bytes(message.payload)))


async def results(settings: BrokerSettings, directory: Path) -> None:
    journal = Journal.open(directory / "j.db")
    async with publishing(journal, settings) as publisher:
        await publisher.drained(30)
        print("{}", flush=True)
        seconds = float(await asyncio.to_thread(sys.stdin.readline))
        print(json.dumps(await _finishing(journal, seconds)), flush=True)
    await journal.close()


async def _finishing(journal: Journal, seconds: float) -> dict[str, Any]:
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


async def main(what: str, directory: str, url: str, user: str, password: str, version: str) -> None:
    versions = (aiomqtt.ProtocolVersion(int(version)),)
    settings = BrokerSettings((endpoint_of(url),), user or None, password or None, versions=versions)
    await (echo(settings) if what == "echo" else results(settings, Path(directory)))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=_fast_loop()) as runner:  # as `evaline serve` has it
        runner.run(main(*sys.argv[1:]))
