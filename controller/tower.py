"""What the signal tower shows in each state."""

from __future__ import annotations

from controller.states import State
from drivers.roles import Tower

TOWER: dict[State, Tower] = {
    State.EXECUTE: Tower(green=True),
    State.STARTING: Tower(green=True),
    State.HELD: Tower(yellow=True),
    State.SUSPENDED: Tower(yellow=True),
    State.ABORTING: Tower(red=True, buzzer=True),
    State.ABORTED: Tower(red=True, buzzer=True),
    State.STOPPED: Tower(red=True),
}


def tower_of(state: State) -> Tower:
    """All lights off where the table says nothing: nothing moves and nobody is needed."""
    return TOWER.get(state, Tower())
