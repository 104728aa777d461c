"""Off means: ramp to zero, verify, output off, verify, contactor open, verify. In this order, all of it, always."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from config import LineConfig
from controller.clock import Clock
from controller.instruments import Instruments
from controller.instruments.wire import Wires
from drivers import InstrumentError

RAMP_STEPS = (0.5, 0.2)  # shares of the present current on the way to zero
RAMP_PAUSE = 0.1  # s
QUIET_CURRENT = 0.5  # A below which a cycler counts as carrying none
CONFIRM_WITHIN = 1.0  # s of line time for the current to vanish, and for the contactors to follow
POLL = 0.05  # s
# wall s from the start by which each part is over; what an earlier part leaves is the next one's, so a cycler that does
# not answer still gets its OUTP OFF, and the contactors open within the 5 s that abort promises
RAMPED_BY, QUIET_BY, OFF_BY, OPEN_BY = 1.2, 1.7, 3.2, 4.7


@dataclass(frozen=True, slots=True)
class OffStep:
    """One part of the sequence: whether it was confirmed, and if not, why."""

    name: str
    confirmed: bool
    detail: str = ""


async def switch_off(instruments: Instruments, clock: Clock) -> list[OffStep]:
    """Bring a station to the safe state. Never raises for an instrument: a part that fails does not stop the rest.

    A silent cycler costs at most OFF_BY before the contactors open all the same.
    """
    began = asyncio.get_running_loop().time()
    return [
        await _attempt("ramp to zero", _ramp_down(instruments, clock), began + RAMPED_BY),
        await _attempt("current is zero", _verify_no_current(instruments, clock), began + QUIET_BY),
        await _attempt("output off", _output_off(instruments), began + OFF_BY),
        await _attempt("contactor open", _open_contactor(instruments, clock), began + OPEN_BY),
    ]


async def _attempt(name: str, work: Coroutine[Any, Any, str], until: float) -> OffStep:
    try:
        async with asyncio.timeout_at(until):
            problem = await work
    except TimeoutError:
        problem = "no answer in time"
    except InstrumentError as error:
        problem = f"{error} [{error.code}]"
    return OffStep(name, not problem, problem)


async def _ramp_down(instruments: Instruments, clock: Clock) -> str:
    cycler = instruments.cycler
    reading = await instruments.call("cycler", cycler.read)
    if not reading.output_on:
        return ""
    if abs(reading.current) > QUIET_CURRENT:
        for share in RAMP_STEPS:
            await instruments.call("cycler", cycler.drive, share * reading.current, reading.voltage)
            await clock.sleep(RAMP_PAUSE)
    await instruments.call("cycler", cycler.drive, 0.0, reading.voltage)
    return ""


async def _verify_no_current(instruments: Instruments, clock: Clock) -> str:
    deadline = clock.now() + CONFIRM_WITHIN
    while True:
        reading = await instruments.call("cycler", instruments.cycler.read)
        if abs(reading.current) <= QUIET_CURRENT:
            return ""
        if clock.now() >= deadline:
            return f"{reading.current:g} A still flow"
        await clock.sleep(POLL)


async def _output_off(instruments: Instruments) -> str:
    refused = ""
    try:
        await instruments.call("cycler", instruments.cycler.output, False)
    except InstrumentError as error:
        refused = f" ({error})"  # a cycler that has left remote control by itself refuses, yet may be off: look
    reading = await instruments.call("cycler", instruments.cycler.read)
    return f"the cycler still says on{refused}" if reading.output_on else ""


async def _open_contactor(instruments: Instruments, clock: Clock) -> str:
    interlock = instruments.interlock
    await instruments.call("interlock", interlock.request_contactor, False)
    return await await_contactor(instruments, clock, closed=False)


async def await_contactor(instruments: Instruments, clock: Clock, *, closed: bool) -> str:
    """Wait for the contactors' feedback; empty when it came, else what is wrong."""
    deadline = clock.now() + CONFIRM_WITHIN
    while True:
        reading = await instruments.call("interlock", instruments.interlock.read)
        if reading.contactor_closed is closed and reading.contactors_agree:
            return ""
        if clock.now() >= deadline:
            if not reading.contactors_agree:
                return "one contactor is closed and the other open: welded, or its feedback is broken"
            return f"the contactors are still {'open' if closed else 'closed'}"
        await clock.sleep(POLL)


async def line_to_safe_state(config: LineConfig, clock: Clock) -> dict[str, list[OffStep]]:
    """Every station of a line off, over connections of our own; what cannot be reached is not confirmed."""
    wires = Wires()

    async def station(name: str) -> tuple[str, list[OffStep]]:
        instruments = Instruments(config.stations[name], clock, wires)
        await instruments.connect(("cycler", "interlock"))
        steps = await switch_off(instruments, clock)
        await instruments.close()
        return name, steps

    return dict(await asyncio.gather(*(station(name) for name in config.stations)))
