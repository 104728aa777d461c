"""A process that has a journal and sends its outbox, to be killed: `sender JOURNAL URL USER PASSWORD WHERE`.

There it says something on stdout and stands still: `connect` when connected; `commit` when runs are committed and
nothing is published; `publish` when the broker has the first result and the MES has not answered.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from controller.journal import Journal
from controller.mes.connection import V5, V311, BrokerSettings
from controller.mes.publisher import endpoint_of
from tests.controller.mes.brokers import finish, publishing

RUNS = 8
STATIONS = ("st01", "st02", "st03")


async def main(path: Path, url: str, user: str, password: str, where: str) -> None:
    journal = Journal.open(path, tick=0.001)
    if where in ("commit", "publish"):
        for number in range(RUNS):
            finish(journal, "st01", f"r{number}")
        await journal.flush()
    if where == "commit":
        print("committed", flush=True)
        await asyncio.Event().wait()
    settings = BrokerSettings((endpoint_of(url),), user or None, password or None, versions=(V5, V311))
    async with publishing(journal, settings, stations=STATIONS) as publisher:
        await publisher.drained(60)
        print({"connect": "connected", "publish": "published"}[where], flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
