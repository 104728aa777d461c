"""Driver calls: deadlines, faults by name, cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from config import LineConfig
from drivers import InstrumentError
from tests.virtual import Virtual, in_virtual_time

LineWith = Callable[..., LineConfig]


def test_an_instrument_that_was_never_reached_says_why_at_once(line_with: LineWith) -> None:
    async def work(virtual: Virtual) -> None:
        instruments = virtual.station.instruments
        with pytest.raises(InstrumentError, match="cycler") as error:
            await instruments.call("cycler", instruments.cycler.read)
        assert error.value.code == "E-LINK-TIMEOUT"

    in_virtual_time(line_with({"instrument": "cycler", "kind": "silent"}), work)


def test_a_fault_is_forgotten_when_the_instrument_answers_again(line_with: LineWith) -> None:
    async def work(virtual: Virtual) -> None:
        instruments = virtual.station.instruments
        virtual.simulated.set_fault("cycler", "silent")
        await virtual.clock.sleep(3)
        assert "cycler" in instruments.faults
        virtual.simulated.set_fault("cycler", "silent", False)
        await virtual.clock.sleep(3)
        assert instruments.faults == {}

    in_virtual_time(line_with(), work)


def test_a_cancellation_that_meets_a_result_is_not_lost(line_with: LineWith) -> None:
    async def work(virtual: Virtual) -> None:
        instruments = virtual.station.instruments
        answered = asyncio.Event()

        async def swallows() -> int:
            """As asyncio.wait_for does on Python 3.11 when answer and cancellation come together."""
            try:
                await answered.wait()
            except asyncio.CancelledError:
                return 1
            return 0

        calling = asyncio.create_task(instruments.call("cycler", swallows))
        await virtual.clock.sleep(0)
        calling.cancel()
        await asyncio.wait({calling})
        assert calling.cancelled()

    in_virtual_time(line_with(), work)
