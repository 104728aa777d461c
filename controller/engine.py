"""Runs a recipe's program on a station: shows it samples, does what it asks, records what happened."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from controller.clock import Clock
from controller.instruments import Instruments
from controller.journal import Event, Journal, JournalError
from controller.requests import Requests, Surroundings
from controller.run import Recorder, Run
from controller.sampler import Sampler
from controller.step_events import step_event
from drivers import InstrumentError
from sequences import (
    Answer,
    Directive,
    Drive,
    Finish,
    GradeRules,
    Moment,
    NoCurrent,
    Request,
    Sample,
    StandStill,
    StepRecord,
    Turn,
    Verdict,
)

_SetPoint = Drive | NoCurrent
HOLD_BEGAN, HOLD_ENDED = "hold.began", "hold.ended"


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


@dataclass(frozen=True)
class Interrupted:
    """Where a former daemon left a run: it is taken up as if out of a hold that began when it died.

    `since` is unix s, `held` the time of the holds before, s; `prepare` makes the station ready for current and is
    awaited when people resume. `finish` is set when only the end was left to be recorded.
    """

    how: Literal["resume", "repeat", "restart"]
    since: float
    held: float
    prepare: Callable[[], Awaitable[None]]
    finish: Finish | None = None


@dataclass(frozen=True, slots=True)
class _Answered:
    key: int
    answer: Answer


class Engine:
    """The only one who drives the cycler while a run executes. `feed` gets every sample of the station, in order."""

    def __init__(
        self, instruments: Instruments, sampler: Sampler, clock: Clock, journal: Journal, run: Run,
        rules: GradeRules, surroundings: Surroundings, interrupted: Interrupted | None = None,
    ) -> None:  # fmt: skip
        self._instruments, self._sampler, self._clock = instruments, sampler, clock
        self._journal, self._run, self._surroundings = journal, run, surroundings
        self._requests = Requests(instruments, sampler, clock, journal, run, rules, surroundings)
        self._recorder = Recorder(journal, run)
        self._queue: asyncio.Queue[Sample | _Answered | None] = asyncio.Queue()
        self._group: asyncio.TaskGroup | None = None
        self._pending: dict[int, tuple[Request, asyncio.Task[None] | None]] = {}
        self._held = _Held()
        self._held_total = 0.0
        self._set_point: _SetPoint = NoCurrent()
        self._output_on = False
        self._finished = False
        self.progress = Progress(count=len(run.forecast.steps), estimated_total=run.forecast.seconds)
        self._interrupted = interrupted
        if interrupted is not None:
            self._held_total, self._held.requested = interrupted.held, True
            self.progress.step = ", ".join(leaf.label for leaf in run.program.active)

    def feed(self, sample: Sample) -> None:
        self._queue.put_nowait(sample)

    # ---- hold and resume, asked for by the station

    async def hold(self) -> None:
        """Stop the current; returns when the output is off. The step's clock stands still until `resume`."""
        if self._finished:
            return  # nothing flows any more
        self._held.requested = True
        self._queue.put_nowait(None)  # do not wait for the next scan
        await self._held.reached.wait()

    async def resume(self) -> None:
        """Take up the interrupted step where it was; returns when it runs again."""
        held = self._held
        if not held.requested:
            return
        held.requested = False
        self._queue.put_nowait(None)
        await held.ended.wait()

    # ---- running

    async def execute(self) -> Finish:
        """Run the recipe to its end, its own or a failure's; outputs are left to the station.

        Raises InstrumentError, JournalError or RunFailedError for what no route of a recipe can mend.
        """
        failure: Exception | None = None
        finish = Finish(Verdict.ERROR)
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                finish = await self._play()
            except (InstrumentError, JournalError, RunFailedError) as error:
                failure = error  # an ExceptionGroup around it would tell nobody anything
            for _, task in self._pending.values():
                if task is not None:
                    task.cancel()
        if failure is not None:
            raise failure
        return finish

    async def _play(self) -> Finish:
        if self._interrupted is not None and self._interrupted.finish is not None:
            self._finished = True
            return self._interrupted.finish
        turn, sample = await self._first_turn()
        program = self._run.program
        while turn.finish is None:
            sample, answers = await self._carry_out(turn, sample)
            turn = program.update(self._moment(sample, answers))
            self._show(sample)
        await self._carry_out(turn, sample)
        await self._do(NoCurrent())
        if self._held.requested:  # asked for while the last step was ending
            await self._serve_hold(NoCurrent())
        self._finished = True
        return turn.finish

    async def _first_turn(self) -> tuple[Turn, Sample]:
        interrupted = self._interrupted
        if interrupted is None:
            sample = await self._do(NoCurrent())
            return self._run.program.start(self._moment(sample)), sample
        while self._held.requested:
            await self._queue.get()  # what is seen meanwhile belongs to no step
        await interrupted.prepare()
        self._follow_steps()
        self._surroundings.hold_to(self._run)
        sample = await self._do(NoCurrent())
        self._end_hold(interrupted.since, sample)
        program, moment = self._run.program, self._moment(sample)
        if interrupted.how == "restart":
            return program.start(moment), sample
        return program.take_up(moment, interrupted.how), sample

    def _moment(self, sample: Sample, answers: dict[int, Answer] | None = None) -> Moment:
        return Moment(sample, sample.t - self._run.started - self._held_total, answers or {})

    async def _carry_out(self, turn: Turn, sample: Sample) -> tuple[Sample, dict[int, Answer]]:
        """Record what began and ended, do what is asked; then the next sample or answer for the program."""
        await self._record(turn)
        acted = False
        answers: dict[int, Answer] = {}
        for directive in turn.directives:
            if directive.cancel:
                self._withdraw(directive.key)
            elif isinstance(directive.action, Drive | NoCurrent):
                if self._held.requested:  # before the new step switches anything on
                    sample, answers = await self._serve_hold(NoCurrent())
                sample, acted = await self._do(directive.action), True
                self._recorder.add(sample)
            else:
                self._begin(directive)
        if acted or turn.finish is not None:
            return sample, answers
        return await self._next(sample)

    async def _record(self, turn: Turn) -> None:
        """Events to the journal, those of a turn as one; they are durable before anything is switched."""
        if not turn.events:
            return
        ended = [event for event in turn.events if isinstance(event, StepRecord)]
        if ended:
            self._recorder.end()
            self._run.records += ended
        run, now = self._run, self._clock.now()
        events = [step_event(event, run.station, run.id, now) for event in turn.events]
        self._journal.append_together(events, self._surroundings.messages_of(ended))
        self._follow_steps()
        self._surroundings.hold_to(self._run)
        with self._clock.hold():
            await self._journal.flush()

    def _follow_steps(self) -> None:
        """Samples, their period and which are kept follow the steps that run now."""
        active = self._run.program.active
        if active:
            self._recorder.begin(active[0].index, active[0].record)
        self._adapt_period()

    def _adapt_period(self) -> None:
        wanted = [leaf.sample_period for leaf in self._run.program.active] + [self._recorder.burst_period]
        self._sampler.sample_every(min((period for period in wanted if period is not None), default=None))

    async def _next(self, latest: Sample) -> tuple[Sample, dict[int, Answer]]:
        """The next sample or answer for the program; a hold is served here and hides its samples from the steps."""
        while True:
            if self._held.requested:
                return await self._serve_hold(self._set_point)
            item = await self._queue.get()
            if isinstance(item, _Answered):
                if self._pending.pop(item.key, None) is not None:
                    return latest, {item.key: item.answer}
            elif item is not None:
                self._recorder.add(item)
                self._adapt_period()
                if isinstance(self._set_point, Drive) and item.good("output_on") == 0:
                    reason = "the cycler's output went off while it should drive"
                    raise RunFailedError("E-OUTPUT-LOST", reason, Verdict.ERROR)
                return item, {}

    async def _serve_hold(self, interrupted: _SetPoint) -> tuple[Sample, dict[int, Answer]]:
        """Output off until `resume`; returns the sample that shows the interrupted set point at work again."""
        since, held = self._clock.now(), self._held
        self._note(HOLD_BEGAN, {"since": since})
        await self._sampler.scan(fresh=True)  # so that the edge of the current is counted where it is
        sample = await self._do(NoCurrent())
        self._recorder.add(sample)
        interrupted_requests = self._interrupt_requests()
        parked = any(leaf.parks for leaf in self._run.program.active)
        if parked:
            await self._surroundings.park()
        held.reached.set()
        answered: list[_Answered] = []  # meanwhile: the steps hear of it after the hold
        while held.requested:
            waited = await self._queue.get()
            if isinstance(waited, Sample):
                self._recorder.add(waited)
            elif waited is not None:
                answered.append(waited)
        if parked:
            await self._surroundings.unpark()
        await self._sampler.scan(fresh=True)
        sample = await self._do(interrupted)
        self._recorder.add(sample)
        self._end_hold(since, sample)
        for item in answered:
            self._queue.put_nowait(item)
        for key, request in interrupted_requests.items():
            self._ask(key, request)
        answers = {key: Answer() for key, (request, _) in self._pending.items() if isinstance(request, StandStill)}
        for key in answers:
            del self._pending[key]
        return sample, answers

    def _end_hold(self, since: float, sample: Sample) -> None:
        """The clocks of run and steps go on from here."""
        self._held_total += sample.t - since
        self._note(HOLD_ENDED, {"held_s": self._held_total})
        held, self._held = self._held, _Held()
        held.ended.set()

    # ---- requests

    def _begin(self, directive: Directive) -> None:
        request = directive.action
        assert not isinstance(request, Drive | NoCurrent)
        if isinstance(request, StandStill):
            self._pending[directive.key] = (request, None)
            self._surroundings.stand_still(request.reason)
        else:
            self._ask(directive.key, request)

    def _ask(self, key: int, request: Request) -> None:
        assert self._group is not None
        self._pending[key] = (request, self._group.create_task(self._answer(key, request)))

    async def _answer(self, key: int, request: Request) -> None:
        answer = await self._requests.answer(request)
        if answer.error:
            self._note("request.failed", {"request": type(request).__name__, "code": answer.code, "why": answer.error})
        self._queue.put_nowait(_Answered(key, answer))

    def _withdraw(self, key: int) -> None:
        _, task = self._pending.pop(key, (None, None))
        if task is not None:
            task.cancel()

    def _interrupt_requests(self) -> dict[int, Request]:
        """Stop what instruments are measuring; what was stopped is to be asked again."""
        stopped = {key: r for key, (r, task) in self._pending.items() if task and self._requests.interruptible(r)}
        for key in stopped:
            self._withdraw(key)
        return stopped

    # ---- doing what a step asks

    async def _do(self, action: _SetPoint) -> Sample:
        """Carry out a set point: intent to the journal, act, look. Returns the first sample taken after it; those taken
        before belong to what went on until then, and no step sees them."""
        self._set_point = action
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
        after = await self._sampler.scan(fresh=True)
        self._drop_samples_before(after)
        reading = self._sampler.cycler
        if reading is not None:
            done = {"current_a": reading.current, "voltage_v": reading.voltage, "output_on": reading.output_on}
            self._note("setpoint.readback", done)
        return after

    def _drop_samples_before(self, after: Sample) -> None:
        """Record the samples of the queue and keep the answers in it."""
        answers = []
        while not self._queue.empty():
            item = self._queue.get_nowait()
            if isinstance(item, _Answered):
                answers.append(item)
            elif item is not None and item is not after:
                self._recorder.add(item)
        for item in answers:
            self._queue.put_nowait(item)

    def _last_voltage(self) -> float:
        reading = self._sampler.cycler
        return reading.voltage if reading is not None else self._run.dut.nominal_voltage

    def _show(self, sample: Sample) -> None:
        active, progress, forecast = self._run.program.active, self.progress, self._run.forecast
        if not active:
            return
        leaf, now = active[0], self._moment(sample)
        progress.step, progress.phase, progress.index = leaf.label, leaf.phase, leaf.index
        progress.elapsed = now.t
        remaining = forecast.remaining(leaf.label, leaf.step_time(now.t))
        if remaining is not None:
            progress.estimated_total = now.t + remaining

    def _note(self, kind: str, body: dict[str, Any], t: float | None = None) -> None:
        at = self._clock.now() if t is None else t
        self._journal.append(Event(at, self._run.station, self._run.id, kind, body))
