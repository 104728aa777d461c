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
    Action,
    Drive,
    Ended,
    NoCurrent,
    PlannedStep,
    Sample,
    StepRecord,
    StepRun,
    TakeReadings,
    Verdict,
    View,
    run_of,
)


class RunFailedError(Exception):
    """Why a run cannot go on, and the verdict that gives it."""

    def __init__(self, code: str, message: str, verdict: Verdict) -> None:
        self.code, self.verdict = code, verdict
        super().__init__(message)


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
        self._action: Action = NoCurrent()
        self._output_on = False
        self._index = 0
        self._finished = False
        self.progress = Progress(count=len(run.plan), estimated_total=sum(run.expected))

    def feed(self, sample: Sample) -> None:
        self._samples.put_nowait(sample)

    # ---- hold and resume, asked for by the station

    async def hold(self) -> None:
        """Stop the current; returns when the output is off. The step's clock stands still until `resume`."""
        if self._finished:
            return  # nothing flows any more
        self._held.requested = True
        self._samples.put_nowait(None)  # do not wait for the next scan
        await self._held.reached.wait()

    async def resume(self) -> None:
        """Take up the interrupted step where it was; returns when it runs again."""
        held = self._held
        if not held.requested:
            return
        held.requested = False
        self._samples.put_nowait(None)
        await held.ended.wait()

    # ---- running

    async def execute(self) -> None:
        """Run every step; raises InstrumentError, JournalError, or RunFailedError. Outputs are left to the station."""
        last = await self._do(NoCurrent())
        for planned in self._run.plan:
            record, last = await self._run_step(planned, last)
            self._run.records.append(record)
            with self._clock.hold():
                await self._journal.flush()
            if not record.complete:
                reason = f"step {record.label} ran into its {record.reason}"
                raise RunFailedError("E-STEP-OVERDUE", reason, Verdict.INCONCLUSIVE)
        await self._do(NoCurrent())
        if self._held.requested:  # asked for while the last step was ending
            await self._serve_hold(NoCurrent())
        self._finished = True

    async def _run_step(self, planned: PlannedStep, last: Sample) -> tuple[StepRecord, Sample]:
        """Run one step; `last` ended the one before, and the charge counted since then is this step's."""
        logic = run_of(planned.step, self._run.dut)
        self._sampler.sample_every(logic.sample_period)
        if self._held.requested:
            await self._serve_hold(NoCurrent())  # before the new step switches anything on
        at_start = last.counters
        started = last.t
        self._held_in_step = 0.0
        readings: dict[str, tuple[float | None, ...]] = {}

        def view(sample: Sample) -> View:
            step_time = round(sample.t - started - self._held_in_step, 6)  # Unix seconds in a double: 0.2 us
            total = sample.t - self._run.started - self._held_total
            self._show(planned, logic, step_time, total)
            return View(sample, step_time, total, at_start, self._run.dut, self._run.capacity_estimate)

        self._note("step.started", {"step": planned.index, "label": planned.label, "kind": planned.step.step})
        sample = await self._do(logic.start(view(last)))
        started = sample.t  # the step's clock starts when its current flows
        self._index = planned.index
        self._recorder.add(sample, planned.index)
        while not isinstance(answer := logic.update(view(sample)), Ended):
            match answer:
                case None:
                    sample = await self._next()
                case TakeReadings():
                    readings = await self._take_readings(answer)
                    sample = await self._next()
                case _:
                    sample = await self._do(answer)
                    self._recorder.add(sample, planned.index)
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
        return record, sample

    async def _next(self) -> Sample:
        """The next sample for the running step; a hold is served here and hides its samples from the step."""
        while True:
            if self._held.requested:
                return await self._serve_hold(self._action)
            sample = await self._samples.get()
            if sample is not None:
                self._recorder.add(sample, self._index)
                if isinstance(self._action, Drive) and sample.good("output_on") == 0:
                    reason = "the cycler's output went off while it should drive"
                    raise RunFailedError("E-OUTPUT-LOST", reason, Verdict.ERROR)
                return sample

    async def _serve_hold(self, interrupted: Action) -> Sample:
        """Output off until `resume`; returns the sample that shows the interrupted action at work again."""
        since, held = self._clock.now(), self._held
        sample = await self._do(NoCurrent())
        self._recorder.add(sample, self._index)
        held.reached.set()
        while held.requested:
            if (waited := await self._samples.get()) is not None:
                self._recorder.add(waited, self._index)
        sample = await self._do(interrupted)
        self._recorder.add(sample, self._index)
        self._held_in_step += sample.t - since
        self._held_total += sample.t - since
        self._held = _Held()
        held.ended.set()
        return sample

    # ---- doing what a step asks

    async def _do(self, action: Action) -> Sample:
        """Carry out an action: intent to the journal, act, look. Returns the first sample taken after it; those taken
        before belong to what went on until then, and no step sees them."""
        self._action = action
        cycler = self._instruments.cycler
        match action:
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
        after = await self._sampler.scan(fresh=True)
        while not self._samples.empty():
            sample = self._samples.get_nowait()
            if sample is not None and sample is not after:
                self._recorder.add(sample, self._index)
        reading = self._sampler.cycler
        if reading is not None:
            done = {"current_a": reading.current, "voltage_v": reading.voltage, "output_on": reading.output_on}
            self._note("setpoint.readback", done)
        return after

    def _last_voltage(self) -> float:
        reading = self._sampler.cycler
        return reading.voltage if reading is not None else self._run.dut.nominal_voltage

    async def _take_readings(self, wanted: TakeReadings) -> dict[str, tuple[float | None, ...]]:
        meter = self._instruments.impedance_meter
        assert meter is not None  # checked before the start
        taken = []
        for _ in range(wanted.count):
            taken.append(await self._instruments.call(wanted.role, meter.measure))
            if self._held.requested:
                await self._serve_hold(NoCurrent())
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
