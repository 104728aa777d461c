"""The instruments of one station: opened from the line file, called with a deadline, one place for their errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from config import InstrumentConfig, StationConfig
from controller.clock import Clock
from drivers import CATALOG, InstrumentError, LinkError
from drivers.identity import check_identity
from drivers.links import Link, WatchedLink, watched
from drivers.roles import (
    BatteryMonitor,
    Chamber,
    CodeReader,
    Cycler,
    Identity,
    ImpedanceMeter,
    Instrument,
    InsulationTester,
    Interlock,
    SpectrumMeter,
    TemperatureScanner,
    Voltmeter,
)

T = TypeVar("T")

# how a link is made from an instrument's configuration; tests put memory links here
LinkFactory = Callable[[str, InstrumentConfig], Link]

CALL_DEADLINE = 5.0  # wall seconds for one driver call, whatever its link's own timeouts


def capabilities_of(config: StationConfig) -> dict[str, frozenset[str]]:
    """What each role's driver can do beyond its role's methods."""
    return {key: frozenset(CATALOG[i.driver].capabilities) for key, i in config.instruments.items()}


class Instruments:
    """Drivers by role. A call holds line time, ends within its deadline, and names the instrument in its error."""

    def __init__(self, config: StationConfig, clock: Clock, make_link: LinkFactory) -> None:
        self._clock = clock
        self.config = config
        self._drivers: dict[str, Instrument] = {}
        self.links: dict[str, WatchedLink] = {}
        self.identities: dict[str, Identity] = {}
        self.faults: dict[str, InstrumentError] = {}
        self._in_hand: list[str] = []
        for key, instrument in config.instruments.items():
            entry = CATALOG[instrument.driver]
            link = self.links[key] = watched(make_link(key, instrument))
            self._drivers[key] = entry.make(link, instrument.model, instrument.serial, instrument.settings)

    @property
    def capabilities(self) -> dict[str, frozenset[str]]:
        """What each role's driver can do beyond its role's methods."""
        return capabilities_of(self.config)

    @property
    def cycler(self) -> Cycler:
        return cast(Cycler, self._drivers["cycler"])

    @property
    def interlock(self) -> Interlock:
        return cast(Interlock, self._drivers["interlock"])

    @property
    def battery_monitor(self) -> BatteryMonitor | None:
        return cast("BatteryMonitor | None", self._drivers.get("battery_monitor"))

    @property
    def temperature_scanner(self) -> TemperatureScanner | None:
        return cast("TemperatureScanner | None", self._drivers.get("temperature_scanner"))

    @property
    def impedance_meter(self) -> ImpedanceMeter | None:
        return cast("ImpedanceMeter | None", self._drivers.get("impedance_meter"))

    # what a step asks for by itself: a station without one is an error where it is asked

    @property
    def spectrum_meter(self) -> SpectrumMeter:
        return cast(SpectrumMeter, self._asked_for("spectrum_meter"))

    @property
    def insulation_tester(self) -> InsulationTester:
        return cast(InsulationTester, self._asked_for("insulation_tester"))

    @property
    def voltmeter(self) -> Voltmeter:
        return cast(Voltmeter, self._asked_for("voltmeter"))

    @property
    def chamber(self) -> Chamber:
        return cast(Chamber, self._asked_for("chamber"))

    @property
    def code_reader(self) -> CodeReader:
        return cast(CodeReader, self._asked_for("code_reader"))

    @property
    def in_hand(self) -> list[str]:
        """Who sets or asks which instrument by hand now, as `role (author)`; no run starts meanwhile."""
        return list(self._in_hand)

    @contextmanager
    def held(self, key: str, author: str) -> Iterator[None]:
        """One instrument is in somebody's hand until the block ends."""
        hand = f"{key} ({author})"
        self._in_hand.append(hand)
        try:
            yield
        finally:
            self._in_hand.remove(hand)

    def driver(self, key: str) -> Instrument:
        """The driver of a role that the station has."""
        return self._drivers[key]

    def _asked_for(self, key: str) -> Instrument:
        if key not in self._drivers:
            raise LinkError("E-LINK-CLOSED", "the station has none", instrument=key)
        return self._drivers[key]

    async def connect(self, only: Container[str] | None = None) -> None:
        """Connect every instrument that is not; those that fail are in `faults` with their error, none is fatal."""
        waiting = [key for key in self._drivers if key not in self.identities and (only is None or key in only)]
        await asyncio.gather(*(self._connect(key) for key in waiting))

    async def look(self, key: str) -> None:
        """Reach one instrument as connect() does, but only ask who it is: none of its settings changes."""
        driver, link, config = self._drivers[key], self.links[key], self.config.instruments[key]

        async def identified() -> Identity:
            await link.open()
            return check_identity(await driver.identify(), config.model, config.serial)

        await self._reach(key, identified)

    async def _connect(self, key: str) -> None:
        await self._reach(key, self._drivers[key].connect)

    async def _reach(self, key: str, reach: Callable[[], Awaitable[Identity]]) -> None:
        driver, link = self._drivers[key], self.links[key]
        session = link.reopened
        try:
            self.identities[key] = identity = await self._within_deadline(key, reach)
        except InstrumentError as error:
            self.faults[key] = error
        else:
            link.expect(identity, driver.identify, session)
            self.faults.pop(key, None)

    async def call(self, key: str, method: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Await one driver call. Raises InstrumentError that names the instrument; the newest one stays in `faults`.

        An instrument that was never reached raises at once, with the reason why it was not.
        """
        try:
            result = await self.use(key, method, *args)
        except InstrumentError as error:
            self.faults[key] = error
            raise
        self.faults.pop(key, None)
        return result

    async def use(self, key: str, method: Callable[..., Awaitable[T]], *args: Any) -> T:
        """As call(), for what a person asks: an error is told to that person and says nothing of the instrument."""
        if key not in self.identities:
            raise self.faults.get(key) or LinkError("E-LINK-CLOSED", "it was not reached yet", instrument=key)
        return await self._within_deadline(key, method, *args)

    async def _within_deadline(self, key: str, method: Callable[..., Awaitable[T]], *args: Any) -> T:
        try:
            with self._clock.hold():
                async with asyncio.timeout(CALL_DEADLINE):
                    result = await method(*args)
        except TimeoutError:
            message = f"no answer within {CALL_DEADLINE:g} s"
            raise LinkError("E-LINK-TIMEOUT", message, instrument=key) from None
        except InstrumentError as error:
            error.instrument = error.instrument or key
            raise
        if (task := asyncio.current_task()) is not None and task.cancelling():
            # asyncio.wait_for, which the libraries use, loses a cancellation that meets its result (Python 3.11)
            raise asyncio.CancelledError
        return result

    async def close(self) -> None:
        for driver in self._drivers.values():
            await driver.close()
