"""Runs in virtual time among faults drawn from a seed, on every instrument at once: what the design promises holds.

The invariants by their numbers in the design: no current without a run (1), outputs confirmed off or an alarm that
says which is not (2), one result with one verdict (3), a journal that verifies (6), and nothing that hangs (8). The
same seed replays the same faults: `SEED=17` in a failure is all there is to know.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from config import LineConfig
from controller.journal.check import verify
from controller.start import StartRefusedError
from controller.states import RefusedCommandError
from sequences import Verdict
from simulators.faults import Window
from tests.virtual import Virtual, demo_line, in_virtual_time

# a run of 80 s meets about three faults on five instruments
MEAN_INTERVAL_S, MEAN_DURATION_S = 150.0, 6.0
TRIES = 3
RUNS_WITHIN_S = 3600.0
# how long current may flow after the state that allowed it: watchdogs of 5 s, a scan of 1 s, an off sequence
REACTION_S = 15.0
LET_IT_FLOW = {"STARTING", "EXECUTE", "HOLDING", "UNHOLDING", "COMPLETING", "STOPPING", "ABORTING"}


def among_faults(directory: Path, seed: int) -> LineConfig:
    def change(data: dict[str, Any]) -> None:
        data["simulation"]["seed"] = seed
        drawn = {"mean_interval_s": MEAN_INTERVAL_S, "mean_duration_s": MEAN_DURATION_S}
        data["simulation"]["stations"]["st01"]["drawn_faults"] = drawn

    return demo_line(directory, change)


async def watch_current(virtual: Virtual, wrong: list[str]) -> None:
    """Notes current that flows for longer than the reaction time without a run, and without an alarm that says so."""
    since: float | None = None
    while True:
        state, alarms = virtual.station.state.name, {alarm["code"] for alarm in virtual.station.alarms}
        flows = abs(virtual.simulated.world.current) > 0.1
        if not flows or state in LET_IT_FLOW or "E-NOT-OFF" in alarms:
            since = None
        else:
            since = virtual.clock.now() if since is None else since
            if virtual.clock.now() - since > REACTION_S:
                wrong.append(f"{virtual.simulated.world.current:.1f} A in {state} at {virtual.clock.now():.1f} s")
                return
        await virtual.clock.sleep(0.5)


async def one_run(virtual: Virtual, recipe: str) -> str | None:
    """Start a run, if it is let; its number."""
    try:
        return await virtual.start(recipe)
    except (StartRefusedError, RefusedCommandError):
        return None


@dataclass
class Life:
    """A few tries to evaluate a battery: what was wrong, how runs ended, the faults there were, the journal's head."""

    wrong: list[str] = field(default_factory=list)
    verdicts: list[str] = field(default_factory=list)
    drawn: dict[str, list[Window]] = field(default_factory=dict)
    head: tuple[int, str] = (0, "")


def live(directory: Path, seed: int, recipe: str) -> Life:
    life = Life()
    wrong = life.wrong

    async def work(virtual: Virtual) -> None:
        watching = asyncio.create_task(watch_current(virtual, wrong))
        started = []
        for _ in range(TRIES):
            run = await one_run(virtual, recipe)
            if run is not None:
                started.append(run)
                result = await virtual.result(run, within=RUNS_WITHIN_S)
                _check_outputs(virtual, wrong)
                life.verdicts.append(Verdict(result["verdict"]))
            await _make_ready(virtual)
        life.drawn = {key: list(port.board.history) for key, port in virtual.simulated.devices.items()}
        virtual.simulated.clear_faults()
        for _ in range(4):
            await _make_ready(virtual)
        if virtual.station.state.name != "IDLE":
            wrong.append(f"{virtual.station.state.name}, not IDLE, although everything is in order again")
        watching.cancel()
        await virtual.journal.flush()
        ended = [event.run for event in virtual.journal.events(limit=1_000_000) if event.kind == "run.ended"]
        if sorted(ended) != sorted(started):
            wrong.append(f"started {started}, ended {ended}")
        life.head = virtual.journal.head()

    in_virtual_time(among_faults(directory, seed), work)
    if not (checked := verify(directory / "journal.db")).ok:
        wrong.append(f"the journal does not verify: {checked.problems[0]}")
    return life


def _check_outputs(virtual: Virtual, wrong: list[str]) -> None:
    truth, alarms = virtual.simulated.truth(), {alarm["code"] for alarm in virtual.station.alarms}
    if (truth["output_on"] or truth["contactor_closed"]) and "E-NOT-OFF" not in alarms:
        wrong.append(f"a run has ended with {truth['output_on']=} {truth['contactor_closed']=} and no alarm")


async def _make_ready(virtual: Virtual) -> None:
    """What an operator does before the next battery, whatever happened to the one before."""
    for command in ("clear", "reset"):
        await virtual.clock.sleep(5)
        with contextlib.suppress(RefusedCommandError):
            await getattr(virtual.station, command)("operator")


def check(directory: Path, seed: int, recipe: str) -> None:
    life = live(directory, seed, recipe)
    told = [f"{w.start:.1f}..{w.end:.1f} {key} {w.kind}" for key, windows in life.drawn.items() for w in windows]
    assert not life.wrong, "\n".join(
        [f"SEED={seed}", *life.wrong, *sorted(told, key=lambda text: float(text.split("..")[0]))]
    )


@pytest.mark.parametrize("seed", range(16))
def test_what_the_design_promises_holds_among_faults(
    seed: int, tmp_path: Path, short_recipe: Callable[..., str]
) -> None:
    check(tmp_path, seed, short_recipe())


def test_the_same_seed_is_the_same_life(tmp_path: Path, short_recipe: Callable[..., str]) -> None:
    first = live(tmp_path / "line", 3, short_recipe())
    (tmp_path / "line").rename(tmp_path / "kept")
    assert live(tmp_path / "line", 3, short_recipe()) == first
    assert {"pass", "aborted"} <= set(first.verdicts)


@pytest.mark.matrix
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("hundred", range(10))
def test_it_holds_for_a_thousand_seeds(hundred: int, tmp_path: Path, short_recipe: Callable[..., str]) -> None:
    for seed in range(1000 + 100 * hundred, 1100 + 100 * hundred):
        check(tmp_path / str(seed), seed, short_recipe())
