"""Line time where it runs faster than the wall: a daemon that starts again goes on from where the last one was."""

from __future__ import annotations

import signal
from pathlib import Path

from controller.journal.reader import JournalReader
from tests.cli.plant import REST, a_plant, recipe

RATE = 10.0


def test_line_time_does_not_go_back_when_the_daemon_starts_again(tmp_path: Path) -> None:
    with a_plant(tmp_path) as plant:
        plant.up(rate=RATE)
        assert plant.run(recipe(REST | {"duration": "30 s"})).code == 0
        plant.daemon.end(signal.SIGKILL)
        reader = JournalReader(plant.journal)
        ahead, before = reader.newest_time(), len(reader.events(limit=100_000))
        plant.serve(rate=1.0)
        times = [event.t for event in reader.events(limit=100_000)]
        reader.close_reads()
    assert ahead is not None
    assert len(times) > before, "the daemon said something when it started"
    assert min(times[before:]) >= ahead
