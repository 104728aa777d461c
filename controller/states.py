"""The states of a station and what may follow: PackML (ISA-TR88.00.02), as one table."""

from __future__ import annotations

from enum import IntEnum, StrEnum

from sequences.text import Text


class State(IntEnum):
    """Numbers as in PackML's StateCurrent."""

    CLEARING = 1
    STOPPED = 2
    STARTING = 3
    IDLE = 4
    SUSPENDED = 5
    EXECUTE = 6
    STOPPING = 7
    ABORTING = 8
    ABORTED = 9
    HOLDING = 10
    HELD = 11
    UNHOLDING = 12
    SUSPENDING = 13
    UNSUSPENDING = 14
    RESETTING = 15
    COMPLETING = 16
    COMPLETE = 17


class Command(StrEnum):
    RESET = "reset"
    START = "start"
    STOP = "stop"
    HOLD = "hold"
    UNHOLD = "unhold"
    SUSPEND = "suspend"
    UNSUSPEND = "unsuspend"
    ABORT = "abort"
    CLEAR = "clear"
    COMPLETE = "complete"


# what an acting state turns into when its work is done
DONE: dict[State, State] = {
    State.CLEARING: State.STOPPED,
    State.STARTING: State.EXECUTE,
    State.STOPPING: State.STOPPED,
    State.ABORTING: State.ABORTED,
    State.HOLDING: State.HELD,
    State.UNHOLDING: State.EXECUTE,
    State.SUSPENDING: State.SUSPENDED,
    State.UNSUSPENDING: State.EXECUTE,
    State.RESETTING: State.IDLE,
    State.COMPLETING: State.COMPLETE,
}

# wall seconds an acting state may take. A run that misses one is aborted; the ends of a run (5 s for the outputs, the
# rest for its result) raise an alarm and go on to what follows
DEADLINE: dict[State, float] = {
    State.CLEARING: 10,
    State.STARTING: 30,
    State.STOPPING: 65,
    State.ABORTING: 65,
    State.HOLDING: 5,
    State.UNHOLDING: 10,
    State.SUSPENDING: 5,
    State.UNSUSPENDING: 10,
    State.RESETTING: 30,
    State.COMPLETING: 65,
}

_RUNNING = (
    State.STARTING,
    State.EXECUTE,
    State.HOLDING,
    State.HELD,
    State.UNHOLDING,
    State.SUSPENDING,
    State.SUSPENDED,
    State.UNSUSPENDING,
    State.COMPLETING,
)
_STOPPABLE = (*_RUNNING, State.COMPLETE, State.RESETTING, State.IDLE)
_ABORTABLE = (*_STOPPABLE, State.STOPPING, State.STOPPED, State.CLEARING)

TRANSITIONS: dict[tuple[State, Command], State] = {
    (State.STOPPED, Command.RESET): State.RESETTING,
    (State.COMPLETE, Command.RESET): State.RESETTING,
    (State.IDLE, Command.START): State.STARTING,
    (State.EXECUTE, Command.HOLD): State.HOLDING,
    (State.HELD, Command.UNHOLD): State.UNHOLDING,
    (State.EXECUTE, Command.SUSPEND): State.SUSPENDING,
    (State.SUSPENDED, Command.UNSUSPEND): State.UNSUSPENDING,
    (State.EXECUTE, Command.COMPLETE): State.COMPLETING,
    (State.ABORTED, Command.CLEAR): State.CLEARING,
    **{(state, Command.STOP): State.STOPPING for state in _STOPPABLE},
    **{(state, Command.ABORT): State.ABORTING for state in _ABORTABLE},
}


class RefusedCommandError(Exception):
    """A command that the station's state does not allow; told in English and Korean."""

    code = "E-STATE"

    def __init__(self, state: State, command: Command) -> None:
        allowed = ", ".join(sorted({_in_words(c) for (s, c) in TRANSITIONS if s is state})) or "none"
        self.text = Text(
            en=f"{_in_words(command)} is not possible in {state.name}; possible now: {allowed}",
            ko=f"{state.name} 상태에서는 {_in_words(command)} 을(를) 할 수 없습니다. 지금 가능한 명령: {allowed}",
        )
        super().__init__(f"{self.text.en} [{self.code}]")


def _in_words(command: Command) -> str:
    """As people ask for it: what ends a hold and what ends a suspension is one word to them."""
    return "resume" if command in (Command.UNHOLD, Command.UNSUSPEND) else str(command)


def after(state: State, command: Command) -> State:
    """The state a command leads to; raises RefusedCommandError."""
    try:
        return TRANSITIONS[state, command]
    except KeyError:
        raise RefusedCommandError(state, command) from None
