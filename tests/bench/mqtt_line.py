"""The line's side of the MQTT bench: a journal, its publisher, and a door that answers each command through the outbox.

`python -m tests.bench.mqtt_line DIRECTORY URL USER PASSWORD`; each line on stdin is `results SECONDS` or `end`; answers
with a line of JSON. What a station does beside is not part of it.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from pathlib import Path
from typing import Any

from controller.journal import Event, Journal, OutboxMessage
from controller.mes.connection import V5, V311, BrokerSettings
from controller.mes.publisher import endpoint_of
from controller.mes.topics import Topics
from tests.controller.mes.brokers import LINE, T0, finish, pause, publishing

STATIONS = [f"st{number:02d}" for number in range(1, 65)]
RESULTS_PER_S = 2000 / 60


class Door:
    """Command and reply in one transaction, durable before the broker is told."""

    def __init__(self, journal: Journal) -> None:
        self._journal, self._topics = journal, Topics(LINE)

    async def receive(self, topic: str, payload: bytes, *, retained: bool) -> None:
        station, id = self._topics.station_of(topic), json.loads(payload)["id"]
        reply = OutboxMessage(self._topics.reply(station), {"id": f"{id}.reply", "to": id}, 1, False, f"{id}.reply")
        self._journal.append(Event(T0, station, "", "command", {"id": id}), [reply])
        await self._journal.flush()


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


async def main(directory: str, url: str, user: str, password: str) -> None:
    journal = Journal.open(Path(directory) / "j.db")
    settings = BrokerSettings((endpoint_of(url),), user or None, password or None, versions=(V5, V311))
    async with publishing(journal, settings, door=Door(journal)) as publisher:
        await publisher.drained(30)
        print("{}", flush=True)
        while (asked := (await asyncio.to_thread(sys.stdin.readline)).split()) and asked[0] == "results":
            print(json.dumps(await results(journal, float(asked[1]))), flush=True)
    await journal.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
