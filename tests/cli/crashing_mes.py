"""`evaline` that is killed between a hold, done and durable, and its reply; the arguments are the command line."""

from __future__ import annotations

import os
import signal
from typing import Any

from controller.cli import main
from controller.mes.commands import CommandDoor
from controller.states import State

control = CommandDoor._control


async def killed(self: CommandDoor, station: Any, came: Any, asked: Any) -> None:
    """Carry it out without its reply; once the journal has that the station is held, die."""
    self._accept = lambda *arguments, **names: None  # type: ignore[method-assign]
    await control(self, station, came, asked)
    with self._journal.commits() as committed:
        while station.state is not State.HELD:
            committed.clear()
            await committed.wait()
    await self._journal.flush()
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    CommandDoor._control = killed  # type: ignore[method-assign]
    main()
