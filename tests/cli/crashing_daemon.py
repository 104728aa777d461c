"""`evaline` with a bug that strikes in mid-run: the first argument says in which task, the rest is the command line."""

from __future__ import annotations

import asyncio
import itertools
import sys
from typing import Any

from controller import daemon
from controller.cli import main
from controller.safety import Safety
from controller.station import Station


class BugError(Exception):
    """What nobody thought of."""


def in_a_task_of_the_station() -> None:
    judge, samples = Safety.judge, itertools.count()

    def broken(self: Safety, sample: Any) -> Any:
        if (sample.good("current") or 0.0) < -29 and next(samples) == 5:
            raise BugError("safety")
        return judge(self, sample)

    Safety.judge = broken  # type: ignore[method-assign]


def in_a_task_beside_the_line() -> None:
    current_flows = asyncio.Event()
    on_sample = Station._on_sample

    def watching(self: Station, sample: Any) -> None:
        if (sample.good("current") or 0.0) < -29:
            current_flows.set()
        on_sample(self, sample)

    async def broken(self: Any) -> None:
        await current_flows.wait()
        raise BugError("reports")

    Station._on_sample = watching  # type: ignore[method-assign]
    daemon._Reports.follow = broken  # type: ignore[method-assign]


if __name__ == "__main__":
    {"station": in_a_task_of_the_station, "reports": in_a_task_beside_the_line}[sys.argv.pop(1)]()
    main()
