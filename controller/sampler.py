"""One scan loop per station: every instrument at its period, all of them concurrently, one sample per scan.

A slow or silent instrument delays nobody: a scan waits for it a part of a period only, and its values come when it
answers. The heartbeat to the PLC has a loop of its own for the same reason.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from controller.clock import Clock
from controller.instruments import Instruments
from drivers import InstrumentError
from drivers.roles import BatteryReading, CyclerReading, InterlockReading
from sequences import Counters, Quality, Sample, Value, integrate

RISE_WINDOW = 60.0  # s over which dT/dt is taken: sensors resolve 0.1 K
STALE_AFTER = 2.0  # periods without a new value after which the newest one is stale
PATIENCE = 0.5  # of a period, in wall time, that a scan waits for the instruments it asked
BEAT_PERIOD = 1.0  # s between two heartbeats to the PLC; it opens the contactors after 3 s without
ACTUATORS = ("cycler", "interlock")  # what commands change

Read = Callable[[], Coroutine[Any, Any, None]]


class Sampler:
    """Owns the newest values of a station. `on_sample` sees every sample, in order, before anyone else."""

    def __init__(self, instruments: Instruments, clock: Clock, on_sample: Callable[[Sample], None]) -> None:
        self._instruments = instruments
        self._clock = clock
        self._on_sample = on_sample
        self._group: asyncio.TaskGroup | None = None
        self._values: dict[str, Value] = {}
        self._cells: tuple[float | None, ...] = ()
        self._temperatures: tuple[float | None, ...] = ()
        self._counters = Counters()
        self._last_power: tuple[float, float, float] | None = None
        self._beats = 0
        self._next_due: dict[str, float] = {}
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._hottest: deque[tuple[float, float]] = deque()
        self._scanning = asyncio.Lock()
        self._wanted_period: float | None = None
        self._waiting: asyncio.Future[None] | None = None
        self.battery: BatteryReading | None = None
        self.interlock: InterlockReading | None = None
        self.cycler: CyclerReading | None = None

    @property
    def period(self) -> float:
        return self._wanted_period or self._instruments.config.scan_period_s

    def sample_every(self, period: float | None) -> None:
        """Scan at this period from now on; None for the station's own. An instrument's own period stays."""
        if period != self._wanted_period:
            self._wanted_period = period
            if self._waiting is not None:
                self._waiting.cancel()  # do not sleep out the old period

    def reset_counters(self, counters: Counters | None = None) -> None:
        """A run begins: Ah and Wh count from zero, or from where an interrupted run had come."""
        self._counters = counters or Counters()
        self._last_power = None

    def run_in(self, group: asyncio.TaskGroup, phase: float = 0.0) -> None:
        """Scan and beat for ever, in the station's task group. `phase` (0..1 of a period) keeps stations apart:
        scans that are due at once wait for each other."""
        self._group = group
        group.create_task(self._beat_for_ever())
        group.create_task(self._scan_on_schedule(phase))

    async def _beat_for_ever(self) -> None:
        while True:
            await self.beat()
            await self._clock.sleep(BEAT_PERIOD)

    async def beat(self) -> None:
        """One heartbeat to the PLC, if it is connected."""
        if "interlock" in self._instruments.identities:
            self._beats = (self._beats + 1) % 65536
            with suppress(InstrumentError):  # the PLC notices, and so does the next read of it
                await self._instruments.call("interlock", self._instruments.interlock.beat, self._beats)

    async def _scan_on_schedule(self, phase: float) -> None:
        """On a schedule that a late scan does not shift; a scan that was missed is not made up for."""
        origin, count = self._clock.now() + phase * self.period, 0
        while True:
            if await self._slept_until(origin + count * self.period):
                await self.scan()
                count = max(count + 1, math.ceil((self._clock.now() - origin) / self.period))
            else:
                origin, count = self._clock.now(), 1

    async def _slept_until(self, due: float) -> bool:
        """False when the period has changed meanwhile."""
        self._waiting = asyncio.ensure_future(self._clock.sleep_until(due))
        try:
            await asyncio.wait({self._waiting})
            return not self._waiting.cancelled()
        finally:
            self._waiting.cancel()
            self._waiting = None

    async def scan(self, *, fresh: bool = False) -> Sample:
        """One scan now; concurrent callers take turns. With `fresh` cycler and interlock are asked after this call,
        whatever that takes: their values then show what a command has done."""
        async with self._scanning:
            if fresh:
                await self._answered(ACTUATORS)
            asked = {self._ask(key, read) for key, read in self._readers() if self._is_due(key)}
            if asked:
                await asyncio.wait(asked, timeout=PATIENCE * self.period)
            if fresh:
                await self._answered(ACTUATORS)
            sample = self._sample(self._clock.now())
            self._on_sample(sample)
            return sample

    async def _answered(self, keys: tuple[str, ...]) -> None:
        """Wait for those of these instruments that have been asked."""
        if running := {self._reading[key] for key in keys if key in self._reading}:
            await asyncio.wait(running)

    # ---- reading

    def _readers(self) -> list[tuple[str, Read]]:
        connected = self._instruments.identities
        readers = {
            "cycler": self._read_cycler,
            "interlock": self._read_interlock,
            "battery_monitor": self._read_battery,
            "temperature_scanner": self._read_temperatures,
            "chamber": self._read_chamber,
        }
        return [(key, read) for key, read in readers.items() if key in connected]

    def _is_due(self, key: str) -> bool:
        if key in self._reading:
            return False  # it has not answered yet
        period = self._own_period(key)
        t = self._clock.now()
        if period is None:
            return True
        if t + 1e-6 < self._next_due.get(key, t):
            return False
        self._next_due[key] = t + period
        return True

    def _own_period(self, key: str) -> float | None:
        return self._instruments.config.instruments[key].scan_period_s

    def _ask(self, key: str, read: Read) -> asyncio.Task[None]:
        assert self._group is not None, "the sampler does not run"
        task = self._group.create_task(read())
        self._reading[key] = task
        task.add_done_callback(lambda _: self._reading.pop(key))
        return task

    def _put_bad(self, source: str, names: tuple[str, ...]) -> None:
        """The instrument did not answer. One that is read seldom is asked again at once, and its values age."""
        if self._own_period(source) is None:
            self._put(source, dict.fromkeys(names))
        else:
            self._next_due.pop(source, None)

    def _put(self, source: str, values: dict[str, float | None]) -> float:
        """Take over the values of an answer that has just come, and say when that was."""
        t = self._clock.now()
        for name, value in values.items():
            if value is None:
                self._values[name] = Value(0.0, t, Quality.BAD, source)
            else:
                self._values[name] = Value(value, t, Quality.GOOD, source)
        return t

    async def _read_cycler(self) -> None:
        names = ("voltage", "current", "power", "output_on")
        try:
            reading = await self._instruments.call("cycler", self._instruments.cycler.read)
        except InstrumentError:
            self._put_bad("cycler", names)
            self.cycler = None
            return
        self.cycler = reading
        values = (reading.voltage, reading.current, reading.power, float(reading.output_on))
        t = self._put("cycler", dict(zip(names, values, strict=True)))
        now = (t, reading.current, reading.voltage)
        if self._last_power is not None:
            self._counters = integrate(self._counters, *self._last_power, *now)
        self._last_power = now

    async def _read_interlock(self) -> None:
        names = ("ready", "contactor", "plc_beat")
        interlock = self._instruments.interlock
        try:
            reading = await self._instruments.call("interlock", interlock.read)
        except InstrumentError:
            self._put_bad("interlock", names)
            self.interlock = None
            return
        self.interlock = reading
        values = (float(reading.ready), float(reading.contactor_closed), float(reading.heartbeat))
        self._put("interlock", dict(zip(names, values, strict=True)))

    async def _read_battery(self) -> None:
        names = ("cell_min", "cell_max", "cell_spread", "insulation", "soc", "battery_voltage", "bms_faults")
        monitor = self._instruments.battery_monitor
        assert monitor is not None  # it is connected
        try:
            reading = await self._instruments.call("battery_monitor", monitor.read)
        except InstrumentError:
            self._put_bad("battery_monitor", names)
            self._cells, self.battery = (), None
            return
        self.battery, self._cells = reading, reading.cell_voltages
        cells = [cell for cell in reading.cell_voltages if cell is not None]
        complete = reading.alive and len(cells) == len(reading.cell_voltages) and cells
        low, high = (min(cells), max(cells)) if complete else (None, None)
        spread = None if low is None or high is None else high - low
        faults = float(len(reading.faults))
        values = (low, high, spread, reading.insulation, reading.soc, reading.voltage, faults)
        self._put("battery_monitor", dict(zip(names, values, strict=True)))

    async def _read_temperatures(self) -> None:
        scanner = self._instruments.temperature_scanner
        assert scanner is not None  # it is connected
        names = ("temperature_min", "temperature_max", "temperature_rise")
        try:
            channels = await self._instruments.call("temperature_scanner", scanner.read)
        except InstrumentError:
            self._put_bad("temperature_scanner", names)
            return
        self._temperatures = channels
        known = [channel for channel in channels if channel is not None]
        if len(known) < len(channels) or not known:  # the open sensor may sit on the hottest cell
            self._put("temperature_scanner", dict.fromkeys(names))
            return
        high = max(known)
        values = (min(known), high, self._rise(self._clock.now(), high))
        self._put("temperature_scanner", dict(zip(names, values, strict=True)))

    async def _read_chamber(self) -> None:
        names = ("chamber_temperature",)
        try:
            reading = await self._instruments.call("chamber", self._instruments.chamber.read)
        except InstrumentError:
            self._put_bad("chamber", names)
            return
        self._put("chamber", {"chamber_temperature": reading.temperature})

    def _rise(self, t: float, hottest: float) -> float:
        """dT/dt of the hottest channel over the window, K/s; 0 until the window has filled."""
        self._hottest.append((t, hottest))
        while len(self._hottest) > 1 and self._hottest[1][0] <= t - RISE_WINDOW:
            self._hottest.popleft()
        t0, first = self._hottest[0]
        return (hottest - first) / (t - t0) if t - t0 >= RISE_WINDOW else 0.0

    def _sample(self, t: float) -> Sample:
        values = dict(self._values)
        for name, value in values.items():
            if value.quality is Quality.GOOD and t > value.t:
                own = self._instruments.config.instruments[value.source].scan_period_s
                if t - value.t > STALE_AFTER * (own or self._instruments.config.scan_period_s):
                    values[name] = Value(value.value, value.t, Quality.STALE, value.source)
        return Sample(t, values, self._cells, self._temperatures, self._counters)
