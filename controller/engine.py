"""Runs a recipe's steps on a station: shows them samples, does what they ask, records what happened."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from controller.clock import Clock
from controller.instruments import Instruments
from controller.journal import Event, Journal
from controller.run import Recorder, Run
from controller.sampler import Sampler
from sequences import (
    Command,
    Drive,
    Ended,
    NoCurrent,
    PlannedStep,
    Sample,
    StepRecord,
    StepRun,
    TakeReadings,
    View,
    run_of,
)


class IncompleteError(Exception):
    """A step ran into its maximum time: what follows would measure nonsense."""

    code = "E-STEP-OVERDUE"


@dataclass
class Progress:
    """Where a run is, for people: times in s of line time."""

    step: str = ""
    phase: str = ""
    index: int = 0
    count: int = 0
    elapsed: float = 0.0
    estimated_total: float = 0.0


@dataclass
class _Held:
    """A hold in progress: requested, reached, and its end requested."""

    requested: bool = False
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    since: float = 0.0


class Engine:
    """The only one who drives the cycler while a run executes. `feed` gets every sample of the station, in order."""

    def __init__(self, instruments: Instruments, sampler: Sampler, clock: Clock, journal: Journal, run: Run) -> None:
        self._instruments, self._sampler, self._clock = instruments, sampler, clock
        self._journal, self._run = journal, run
        self._recorder = Recorder(journal, run)
        self._samples: asyncio.Queue[Sample | None] = asyncio.Queue()
        self._held = _Held()
        self._held_in_step = 0.0
        self._held_total = 0.0
        self._command: Command = NoCurrent()
        self._output_on = False
        self._last: Sample
        self.progress = Progress(count=len(run.plan), estimated_total=sum(run.expected))

    def feed(self, sample: Sample) -> None:
        self._samples.put_nowait(sample)

    # ---- hold and resume, asked for by the station

    async def hold(self) -> None:
        """Stop the current; returns when the output is off. The step's clock stands still until `resume`."""
        self._held.requested = True
        self._samples.put_nowait(None)  # do not wait for the next scan
        await self._held.reached.wait()

    async def resume(self) -> None:
        """Take up the interrupted step where it was; returns when it runs again."""
        self._held.requested = False
        self._samples.put_nowait(None)
        await self._held.ended.wait()

    # ---- running

    async def execute(self) -> None:
        """Run every step; raises InstrumentError, JournalError, or IncompleteError. Outputs are left to the station."""
        while not self._samples.empty():
            self._samples.get_nowait()  # from before the contactors closed
        self._last = await self._sampler.scan()
        for planned in self._run.plan:
            record = await self._run_step(planned)
            self._run.records.append(record)
            with self._clock.hold():
                await self._journal.flush()
            if not record.complete:
                raise IncompleteError(f"step {record.label} ran into its {record.reason}")
        await self._do(NoCurrent())
        if self._held.requested:  # asked for while the last step was ending
            await self._serve_hold(self._run.plan[-1])

    async def _run_step(self, planned: PlannedStep) -> StepRecord:
        logic = run_of(planned.step, self._run.dut)
        self._sampler.sample_every(logic.sample_period)
        first = self._last  # the sample that ended the step before: no moment is lost between them
        at_start, started = first.counters, first.t
        self._held_in_step = 0.0
        self._note("step.started", {"step": planned.index, "label": planned.label, "kind": planned.step.step}, started)
        readings: dict[str, tuple[float | None, ...]] = {}

        def view(sample: Sample) -> View:
            step_time = round(sample.t - started - self._held_in_step, 6)  # Unix seconds in a double: 0.2 us
            total = sample.t - self._run.started - self._held_total
            self._show(planned, logic, step_time, total)
            return View(sample, step_time, total, at_start, self._run.dut, self._run.capacity_estimate)

        await self._do(logic.start(view(first)))
        while True:
            sample = await self._next(planned)
            answer = logic.update(view(sample))
            match answer:
                case None:
                    pass
                case Ended():
                    break
                case TakeReadings():
                    readings = await self._take_readings(answer)
                case _:
                    await self._do(answer)
        record = StepRecord(
            planned.index, planned.name, planned.label, started, sample.t, answer.reason, answer.complete, readings
        )
        counters = sample.counters
        body = {
            "step": planned.index,
            "label": planned.label,
            "reason": answer.reason,
            "complete": answer.complete,
            "charge_ah": counters.net_ah - at_start.net_ah,
            "energy_wh": counters.net_wh - at_start.net_wh,
            "readings": {name: list(values) for name, values in readings.items()},
        }
        self._note("step.ended", body, sample.t)
        return record

    async def _next(self, planned: PlannedStep) -> Sample:
        """The next sample for the running step; a hold is served here and hides its samples from the step."""
        while True:
            if self._held.requested:
                await self._serve_hold(planned)
            sample = await self._samples.get()
            if sample is not None:
                self._recorder.add(sample, planned.index)
                self._last = sample
                return sample

    async def _serve_hold(self, planned: PlannedStep) -> None:
        interrupted, held = self._command, self._held
        held.since = self._clock.now()
        await self._do(NoCurrent())
        held.reached.set()
        while held.requested:
            sample = await self._samples.get()
            if sample is not None:
                self._recorder.add(sample, planned.index)
        await self._do(interrupted)
        lasted = self._clock.now() - held.since
        self._held_in_step += lasted
        self._held_total += lasted
        self._held = _Held()
        held.ended.set()

    # ---- doing what a step asks

    async def _do(self, command: Command) -> None:
        """Carry out a command: intent to the journal, act, look."""
        self._command = command
        cycler = self._instruments.cycler
        match command:
            case Drive(current, voltage):
                self._note("setpoint", {"current_a": current, "voltage_v": voltage})
                await self._instruments.call("cycler", cycler.drive, current, voltage)
                if not self._output_on:
                    await self._instruments.call("cycler", cycler.output, True)
                    self._output_on = True
            case NoCurrent():
                if self._output_on:
                    self._note("setpoint", {"current_a": 0.0, "voltage_v": 0.0})
                    await self._instruments.call("cycler", cycler.drive, 0.0, self._last_voltage())
                    await self._instruments.call("cycler", cycler.output, False)
                    self._output_on = False
            case TakeReadings():
                raise AssertionError("readings are taken where they are recorded")
        await self._sampler.scan()
        reading = self._sampler.cycler
        if reading is not None:
            done = {"current_a": reading.current, "voltage_v": reading.voltage, "output_on": reading.output_on}
            self._note("setpoint.readback", done)

    def _last_voltage(self) -> float:
        reading = self._sampler.cycler
        return reading.voltage if reading is not None else self._run.dut.nominal_voltage

    async def _take_readings(self, command: TakeReadings) -> dict[str, tuple[float | None, ...]]:
        meter = self._instruments.impedance_meter
        assert meter is not None  # checked before the start
        taken = [await self._instruments.call(command.role, meter.measure) for _ in range(command.count)]
        return {
            "resistance": tuple(reading.resistance for reading in taken),
            "voltage": tuple(reading.voltage for reading in taken),
        }

    def _show(self, planned: PlannedStep, logic: StepRun, step_time: float, total: float) -> None:
        remaining = sum(self._run.expected[planned.index + 1 :])
        remaining += max(0.0, self._run.expected[planned.index] - step_time)
        progress = self.progress
        progress.step, progress.phase, progress.index = planned.label, logic.phase, planned.index
        progress.elapsed, progress.estimated_total = total, total + remaining

    def _note(self, kind: str, body: dict[str, Any], t: float | None = None) -> None:
        at = self._clock.now() if t is None else t
        self._journal.append(Event(at, self._run.station, self._run.id, kind, body))
