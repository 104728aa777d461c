from __future__ import annotations

from pathlib import Path

import pytest

from controller.states import DEADLINE, DONE, TRANSITIONS, Command, RefusedCommandError, State, after

PAIRS = [(state, command) for state in State for command in Command]
ACTING = [state for state in State if state.name.endswith("ING")]

# PackML's table, written from the standard's diagram and not from ours
ALLOWED = {
    Command.RESET: {"STOPPED": "RESETTING", "COMPLETE": "RESETTING"},
    Command.START: {"IDLE": "STARTING"},
    Command.HOLD: {"EXECUTE": "HOLDING"},
    Command.UNHOLD: {"HELD": "UNHOLDING"},
    Command.SUSPEND: {"EXECUTE": "SUSPENDING"},
    Command.UNSUSPEND: {"SUSPENDED": "UNSUSPENDING"},
    Command.COMPLETE: {"EXECUTE": "COMPLETING"},
    Command.CLEAR: {"ABORTED": "CLEARING"},
    Command.STOP: dict.fromkeys(
        {s.name for s in State} - {"STOPPED", "STOPPING", "CLEARING", "ABORTING", "ABORTED"}, "STOPPING"
    ),
    Command.ABORT: dict.fromkeys({s.name for s in State} - {"ABORTING", "ABORTED"}, "ABORTING"),
}


@pytest.mark.parametrize(("state", "command"), PAIRS, ids=lambda value: value.name)
def test_every_command_in_every_state_does_what_packml_says(state: State, command: Command) -> None:
    expected = ALLOWED[command].get(state.name)
    if expected is None:
        asked = "resume" if command in (Command.UNHOLD, Command.UNSUSPEND) else command
        with pytest.raises(RefusedCommandError, match=f"{asked} is not possible in {state.name}"):
            after(state, command)
    else:
        assert after(state, command) is State[expected]


def test_every_acting_state_ends_in_a_waiting_one_within_a_deadline() -> None:
    assert set(DONE) == set(ACTING) == set(DEADLINE)
    assert not set(DONE.values()) & set(ACTING) - {State.EXECUTE}


def test_a_refusal_says_what_is_possible() -> None:
    with pytest.raises(RefusedCommandError, match="possible now: abort, start, stop"):
        after(State.IDLE, Command.HOLD)


def test_the_table_names_no_state_twice() -> None:
    assert len(TRANSITIONS) == sum(len(states) for states in ALLOWED.values())


def test_the_documented_table_is_this_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "states.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    header, table = rows[0], {row[0]: row for row in rows if row[0] in State.__members__ and len(row) == len(rows[0])}
    assert set(table) == set(State.__members__)
    for state, command in PAIRS:
        documented = table[state.name][header.index(str(command))]
        expected = TRANSITIONS.get((state, command))
        assert documented == (expected.name if expected else "")
