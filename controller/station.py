"""One station: its PackML state, its instruments, its run. The only owner of all three."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from config import DutModel, StationConfig
from controller.arming import arm_cycler, close_contactors
from controller.clock import Clock
from controller.engine import Engine, Interrupted, Progress, RunFailedError
from controller.instruments import Instruments, LinkFactory
from controller.journal import AuditEntry, Event, Journal, JournalError
from controller.mes.topics import Topics
from controller.outputs import QUIET_CURRENT, OffStep, switch_off
from controller.records import StationRecords
from controller.recovery import RECIPE, RECOVERED, RESTARTED, LeftRun, reasons_against_going_on, recipe_body
from controller.results import COMPLETED, Outcome, result_within
from controller.run import Run, forecast_of
from controller.safety import Alarm, Safety
from controller.sampler import Sampler
from controller.start import (
    Reason,
    RecipeError,
    StartRefusedError,
    StartRequest,
    battery_model,
    checked_recipe,
    reasons_against,
    station_limits,
    tolerated_faults,
)
from controller.states import DEADLINE, DONE, TRANSITIONS, Command, RefusedCommandError, State, after
from controller.surroundings import AnswerRefusedError, Question, RunSurroundings
from controller.tower import tower_of
from drivers import InstrumentError
from sequences import Counters, GradeRules, Sample, Verdict

log = structlog.get_logger()

RECONNECT_EVERY = 5.0  # s between attempts to reach instruments that do not answer
RESULT_WITHIN = 55.0  # wall s for analysis and data file; a run whose result takes longer gets one without them
# states in which no current may flow and nobody is switching anything
QUIET_STATES = (State.IDLE, State.COMPLETE, State.STOPPED)


@dataclass(frozen=True, slots=True)
class StationServices:
    """What a station needs of the daemon."""

    clock: Clock
    journal: Journal
    models: Mapping[str, DutModel]
    grade_rules: GradeRules
    topics: Topics
    data_dir: Path
    report_dir: Path
    changed: Callable[[Station], None]


@dataclass
class _ActiveRun:
    """A run and everything that ends with it, so that nothing stale can touch the next one."""

    run: Run
    engine: Engine
    surroundings: RunSurroundings
    left: LeftRun | None = None  # how a former daemon left it, until people resume it
    attempt: asyncio.Task[Outcome] | None = None
    acting: asyncio.Task[None] | None = None
    interruption: Outcome | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Station:
    """`phase` (0..1) is the station's place in the line's scan period: see Sampler.run_in."""

    def __init__(
        self, name: str, config: StationConfig, services: StationServices, make_link: LinkFactory, phase: float = 0.0
    ) -> None:
        self.name, self.config, self._services, self._phase = name, config, services, phase
        self._clock, self._journal = services.clock, services.journal
        self.instruments = Instruments(config, services.clock, make_link)
        self.sampler = Sampler(self.instruments, services.clock, self._on_sample)
        own_periods = {key: i.scan_period_s for key, i in config.instruments.items() if i.scan_period_s is not None}
        self._safety = Safety(self.sampler, own_periods)
        self.state = State.RESETTING
        self.last_result: dict[str, Any] | None = None
        self.alarms: list[dict[str, Any]] = []
        self.latest: Sample | None = None
        self._records = StationRecords(name, services.clock, services.journal, services.topics)
        self._active: _ActiveRun | None = None
        self.left: LeftRun | None = None  # what a former daemon left, until the station is ready for it
        self._group: asyncio.TaskGroup | None = None
        self._moves = 0  # transitions so far: tells whether something has overtaken an acting state's work
        self._moved = asyncio.Event()  # set by the next transition, and then replaced
        self._switching_off = asyncio.Lock()

    @property
    def run_now(self) -> Run | None:
        return self._active.run if self._active is not None else None

    @property
    def progress(self) -> Progress | None:
        return self._active.engine.progress if self._active is not None else None

    @property
    def question(self) -> Question | None:
        """What the running recipe asks people now."""
        return self._active.surroundings.question if self._active is not None else None

    def answer(self, number: int, value: Any, author: str) -> None:
        """Answer the running recipe's question; raises AnswerRefusedError."""
        if self._active is None:
            raise AnswerRefusedError("no recipe runs on this station")
        self._active.surroundings.answer(number, value, author)

    @property
    def now(self) -> float:
        return self._clock.now()

    # ------------------------------------------------------------------------------------------- its life

    async def serve(self) -> None:
        """Connect, become IDLE, scan, and carry out commands until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._enter(State.RESETTING, "evaline", "daemon started")
            self.sampler.run_in(group, self._phase)
            group.create_task(self._show_on_tower())
            await self._made_ready(self._act(self._reset))
            group.create_task(self._keep_connected())

    async def _keep_connected(self) -> None:
        while True:
            await self._clock.sleep(RECONNECT_EVERY)
            await self.instruments.connect()

    async def _show_on_tower(self) -> None:
        while True:
            moved = self._moved
            again: float | None = RECONNECT_EVERY
            if "interlock" in self.instruments.identities:
                with suppress(InstrumentError):  # shown in faults; a dark tower must not end a run
                    interlock = self.instruments.interlock
                    await self.instruments.call("interlock", interlock.set_tower, tower_of(self.state))
                    again = None
            with suppress(TimeoutError):
                async with asyncio.timeout(again):
                    await moved.wait()

    def _enter(self, state: State, author: str, reason: str = "") -> None:
        before, self.state = self.state, state
        self._moves += 1
        body = {"from": before.name, "to": state.name, "author": author, "reason": reason}
        self._records.note(self.run_now, "state", body)
        self._moved.set()
        self._moved = asyncio.Event()
        self._services.changed(self)

    def _command(self, command: Command, author: str, reason: str) -> None:
        """Take the transition a command asks for, and note who asked; raises RefusedCommandError."""
        state = after(self.state, command)
        self._records.audit(self.run_now, author, str(command), reason, {"station": self.name})
        self._enter(state, author, reason)

    def _accept(self, command: Command, author: str, reason: str) -> None:
        """A command from outside: only while the station serves."""
        if self._group is None:
            raise RefusedCommandError(self.state, command)
        self._command(command, author, reason)

    async def _owned(self, work: Coroutine[Any, Any, None], active: _ActiveRun | None = None) -> None:
        """Work that goes on even when whoever asked for it goes away; a run's work ends with the run."""
        assert self._group is not None, "the station does not serve"
        task = self._group.create_task(work)
        if active is not None:
            active.acting = task
        await asyncio.wait({task})

    def _act(self, work: Callable[[], Coroutine[Any, Any, None]]) -> Coroutine[Any, Any, None]:
        """Do the work of the acting state just entered, within its deadline; then enter what follows, unless
        something has overtaken it."""
        return self._acting(self.state, self._moves, work)

    async def _acting(self, state: State, move: int, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self._moves != move:
            return
        try:
            async with asyncio.timeout(DEADLINE[state]):
                await work()
        except TimeoutError:
            if self._moves == move:
                await self._missed(state)
            return
        if self._moves == move:
            self._enter(DONE[state], "evaline")

    async def _missed(self, state: State) -> None:
        message = f"{state.name} took over {DEADLINE[state]:g} s"
        self._raise_alarm(Alarm("E-DEADLINE", message, trip=True))
        if self._active is not None:
            self._interrupt(Outcome(Verdict.ERROR, "E-DEADLINE", message))
        elif state in (State.ABORTING, State.STOPPING):
            self._enter(DONE[state], "evaline", message)
        else:
            self._command(Command.ABORT, "evaline", message)
            await self._act(self._off)

    # ------------------------------------------------------------------------------------------ commands

    async def start(self, request: StartRequest) -> str:
        """Begin a run; returns its id. Raises StartRefusedError with every reason, or RecipeError."""
        try:
            run, reasons = await self.plan(request)
            if reasons:
                raise StartRefusedError(reasons)
        except (RecipeError, StartRefusedError) as refused:
            codes = refused.codes if isinstance(refused, StartRefusedError) else ["E-RECIPE"]
            detail = {"station": self.name, "code": request.code, "reasons": codes}
            self._records.audit(self.run_now, request.author, "start refused", request.reason, detail)
            raise
        body = run.identity
        message = self._services.topics.event_message(self.name, "run", f"{run.id}.started", run.started, body)
        self._journal.append(Event(run.started, self.name, run.id, "run.started", body), [message])
        self._records.note(run, RECIPE, recipe_body(run, request))
        active = self._activate(run)
        self._command(Command.START, request.author, request.reason)
        self._go_to_end(active)
        return run.id

    def _activate(self, run: Run, left: LeftRun | None = None) -> _ActiveRun:
        """The run is this station's from here on."""
        surroundings = RunSurroundings(
            run, self.instruments, self._clock, self._safety, self._journal, self._services.topics,
            self._hold_for_recipe, lambda: self._services.changed(self), told=left.told if left else 0,
        )  # fmt: skip
        rules, interrupted = self._services.grade_rules.for_battery(run.dut), None
        if left is not None:
            position = left.position
            prepare = partial(self._prepare_left, left)
            interrupted = Interrupted(left.how, position.since, position.held, prepare, left.finish)
        parts = (self.instruments, self.sampler, self._clock, self._journal, run, rules, surroundings, interrupted)
        self._active, self.alarms = _ActiveRun(run, Engine(*parts), surroundings, left), []
        return self._active

    def _go_to_end(self, active: _ActiveRun) -> None:
        assert self._group is not None
        self._group.create_task(self._run_to_end(active))

    async def plan(self, request: StartRequest) -> tuple[Run, list[Reason]]:
        """The run that is asked for, with its forecast, and everything that is against its start now; starts nothing.

        Raises RecipeError, or StartRefusedError for a code of no known battery model.
        """
        model = battery_model(request.code, dict(self._services.models))
        limits = station_limits(self.config, self.instruments)
        soc, capacity = self._believed(model)
        with self._clock.hold():  # a hostile recipe must not hold up the scans of other stations
            recipe = await asyncio.to_thread(checked_recipe, request, model, limits, self._services.grade_rules)
            forecast = await asyncio.to_thread(forecast_of, recipe, model, limits, soc, capacity)
        # judged last: what is so now is what the start relies on
        reasons = reasons_against(request, model, recipe, self.config, self.instruments, self.sampler, self.latest)
        if self.state is not State.IDLE or self._group is None:
            hint = "reset the station" if self._active is None else "wait for its end"
            reasons.insert(0, Reason("E-STATE", f"station {self.name} is {self.state.name}, not IDLE", hint))
        run = Run(
            id=f"{self.name}-{self._journal.count_runs() + 1:06d}",
            station=self.name,
            code=request.code,
            model=model,
            recipe=recipe,
            author=request.author,
            reason=request.reason,
            limits=limits,
            started=self._clock.now(),
            capacity_estimate=capacity,
            soc=soc,
            forecast=forecast,
        )
        return run, reasons

    def _believed(self, model: DutModel) -> tuple[float, float]:
        """State of charge and capacity in Ah as the BMS has them; one far off is no better than none."""
        battery, rated = self.sampler.battery, model.rated_capacity_ah
        if battery is None:
            return 0.5, rated
        believed = battery.full_charge_capacity
        return battery.soc, believed if 0.3 * rated <= believed <= 1.2 * rated else rated

    async def hold(self, author: str, reason: str = "") -> None:
        """Stop the current and stand still: the cause is inside (operator, alarm)."""
        await self._pause(Command.HOLD, author, reason)

    def _hold_for_recipe(self, reason: str) -> None:
        """A step's route says hold: as if an operator had."""
        assert self._group is not None
        self._group.create_task(self._hold_when_possible(reason))

    async def _hold_when_possible(self, reason: str) -> None:
        """A hold in progress will do; after one that is ending comes another; a run that is ending needs none."""
        while self.state in (State.UNHOLDING, State.UNSUSPENDING):
            await self._moved.wait()
        if (self.state, Command.HOLD) in TRANSITIONS:
            await self.hold("recipe", reason)

    async def suspend(self, author: str, reason: str = "") -> None:
        """The same for a cause outside (MES, chamber, material)."""
        await self._pause(Command.SUSPEND, author, reason)

    async def _pause(self, command: Command, author: str, reason: str) -> None:
        self._accept(command, author, reason)
        assert self._active is not None
        await self._owned(self._act(self._active.engine.hold), self._active)

    async def resume(self, author: str, reason: str = "") -> None:
        """Go on where the run was held or suspended. One that a former daemon left is judged like a start before it
        goes on; raises StartRefusedError with every reason."""
        if self.state is State.HELD and self._active is not None and self._active.left is not None:
            await self._judge_left(self._active.left, author, reason)
        self._accept(Command.UNSUSPEND if self.state is State.SUSPENDED else Command.UNHOLD, author, reason)
        assert self._active is not None
        await self._owned(self._act(self._active.engine.resume), self._active)

    async def abort(self, author: str, reason: str = "") -> None:
        """Everything off at once; returns when it is confirmed, or known not to be."""
        self._accept(Command.ABORT, author, reason)
        await self._halt(Outcome(Verdict.ABORTED, "E-ABORTED", f"aborted by {author}: {reason or 'no reason given'}"))

    async def stop(self, author: str, reason: str = "") -> None:
        """End the run in an orderly way; the station is then STOPPED."""
        self._accept(Command.STOP, author, reason)
        await self._halt(Outcome(Verdict.ABORTED, "E-STOPPED", f"stopped by {author}: {reason or 'no reason given'}"))

    async def _halt(self, outcome: Outcome) -> None:
        active = self._active
        if active is not None:
            self._interrupt(outcome)
            await active.ended.wait()
        else:
            await self._owned(self._act(self._off))

    async def clear(self, author: str, reason: str = "") -> None:
        """Acknowledge an abort: latched trips whose cause is gone are reset."""
        self._accept(Command.CLEAR, author, reason)
        await self._owned(self._act(self._clear))

    async def _clear(self) -> None:
        await self._reset_interlock()
        self.alarms = []

    async def reset(self, author: str, reason: str = "") -> None:
        """Make ready for the next battery: outputs confirmed off, then IDLE; else STOPPED with an alarm."""
        self._accept(Command.RESET, author, reason)
        await self._owned(self._made_ready(self._act(self._reset)))

    async def _made_ready(self, resetting: Coroutine[Any, Any, None]) -> None:
        """After a reset: a run that a former daemon left comes before any other."""
        await resetting
        if self.state is State.IDLE and self.left is not None:
            self._take_up(self.left)

    async def _reset(self) -> None:
        self.alarms = []
        await self.instruments.connect()
        await self._reset_interlock()
        if self.left is not None and "cycler" in self.instruments.identities:
            with suppress(InstrumentError):  # then it is not confirmed off either, and the next reset looks again
                reading = await self.instruments.call("cycler", self.instruments.cycler.read)
                self.left.estimate(reading.output_on, self._clock.now(), self.config.watchdog_s)
        off = await self._switch_off()
        await self.sampler.beat()  # the PLC is ready only while it hears from us
        await self.sampler.scan()  # IDLE means that a start can be judged
        if not all(step.confirmed for step in off) and self.state is State.RESETTING:
            self._command(Command.STOP, "evaline", "outputs are not confirmed off")
            self._enter(State.STOPPED, "evaline")

    async def _reset_interlock(self) -> None:
        if "interlock" in self.instruments.identities:
            with suppress(InstrumentError):  # it stays latched, and the next start says so
                await self.instruments.call("interlock", self.instruments.interlock.reset)

    # ---------------------------------------------------------------------------- a run that a former daemon left

    def _take_up(self, left: LeftRun) -> None:
        """It stands HELD, everything off, until people resume it or abort it; one at its end gets its result."""
        run, self.left = left.run, None
        left.estimate(False, self._clock.now(), self.config.watchdog_s)  # if it could not be looked at: it is off now
        active = self._activate(run, left)
        self._records.note(run, RECOVERED, left.body)
        if left.finish is None:
            self._raise_alarm(Alarm("W-RECOVERY", left.notice, trip=False))
        self._enter(State.HELD if left.finish is None else State.EXECUTE, "evaline", "left by a former daemon")
        self._go_to_end(active)

    async def _judge_left(self, left: LeftRun, author: str, reason: str) -> None:
        """As before a start, and whether the battery is still as it was left."""
        run, request = left.run, left.request
        await self.sampler.beat()
        await self._reset_interlock()  # whoever resumes has looked, as whoever resets
        await self.sampler.scan(fresh=True)
        run.limits = station_limits(self.config, self.instruments)
        arguments = (request, run.model, run.limits, self._services.grade_rules)
        reasons: list[Reason] = []
        try:
            with self._clock.hold():
                await asyncio.to_thread(checked_recipe, *arguments)
        except RecipeError as error:
            hint = "the station is another one than the run was started on: abort it"
            reasons += [Reason("E-RECIPE", line, hint) for line in error.lines]
        reasons += reasons_against(
            request, run.model, run.recipe, self.config, self.instruments, self.sampler, self.latest
        )
        reasons += reasons_against_going_on(left, self.latest)
        if reasons:
            refused = StartRefusedError(reasons)
            detail = {"station": self.name, "code": run.code, "reasons": refused.codes}
            self._records.audit(run, author, "resume refused", reason, detail)
            raise refused

    async def _prepare_left(self, left: LeftRun) -> None:
        """As before its start; counters and bounds go on from where they were."""
        left.run.bind_to_limits()
        await self._prepare(left.run, left.counters, left.elapsed)
        if left.how == "restart":
            self._records.note(left.run, RESTARTED, left.begin_anew())
        assert self._active is not None
        self._active.left = None

    # ------------------------------------------------------------------------------------------- the run

    async def _run_to_end(self, active: _ActiveRun) -> None:
        """The life of a run; the only one who ends it, whatever interrupts it."""
        assert self._group is not None
        outcome = COMPLETED
        if active.interruption is None:  # it may have been aborted before it got here
            active.attempt = self._group.create_task(self._execute(active))
            await asyncio.wait({active.attempt})
            if not active.attempt.cancelled():
                outcome = active.attempt.result()
            if outcome is not COMPLETED and active.acting is not None:
                active.acting.cancel()  # there is nothing to hold or resume any more
            active.attempt = None
        outcome = active.interruption or outcome
        if outcome is not COMPLETED and self.state not in (State.ABORTING, State.STOPPING, State.COMPLETING):
            stops = outcome.verdict is Verdict.INCONCLUSIVE
            self._command(Command.STOP if stops else Command.ABORT, "evaline", outcome.reason)
        try:
            async with asyncio.timeout(DEADLINE[self.state]):
                await self._conclude(active, outcome)
        except TimeoutError:
            self._raise_alarm(Alarm("E-DEADLINE", f"{self.state.name} took over {DEADLINE[self.state]:g} s", trip=True))
        self._active = None
        self._enter(DONE[self.state], "evaline", outcome.reason)
        active.ended.set()

    async def _execute(self, active: _ActiveRun) -> Outcome:
        """STARTING and EXECUTE; every way a run can end by itself, as its outcome."""
        if active.left is None and (failed := await self._start(active.run)) is not None:
            return failed
        try:
            finish = await active.engine.execute()
        except RunFailedError as error:
            return Outcome(error.verdict, error.code, str(error))
        except InstrumentError as error:
            return self._instrument_failed(error)
        while self.state is not State.EXECUTE:  # held while it ended: complete when it is resumed
            await self._moved.wait()
        if finish.aborted:
            return Outcome(finish.verdict, "E-STEP-ABORTED", f"{finish.step}: {finish.reason}")
        self._command(Command.COMPLETE, "evaline", "recipe ended")
        if not finish.reason:
            return Outcome(finish.verdict, "", "")  # it came to its end, whatever single steps found
        code = "E-STEP-OVERDUE" if finish.verdict is Verdict.INCONCLUSIVE else "E-STEP-FAILED"
        return Outcome(finish.verdict, code, f"{finish.step}: {finish.reason}")

    def _instrument_failed(self, error: InstrumentError) -> Outcome:
        self._raise_alarm(Alarm(error.code, str(error), trip=True))
        return Outcome(Verdict.ERROR, error.code, str(error))

    async def _start(self, run: Run) -> Outcome | None:
        """STARTING; how the run ends when that fails."""
        try:
            async with asyncio.timeout(DEADLINE[State.STARTING]):
                await self._prepare(run)
        except TimeoutError:
            return Outcome(Verdict.ERROR, "E-DEADLINE", f"STARTING took over {DEADLINE[State.STARTING]:g} s")
        except InstrumentError as error:
            return self._instrument_failed(error)
        self._enter(State.EXECUTE, "evaline")
        return None

    async def _prepare(self, run: Run, counters: Counters | None = None, elapsed: float = 0.0) -> None:
        """Everything armed, contactors closed and seen closed; the safety watches from before they close. An
        interrupted run has counters already, and a time (s) that its safety counts."""
        volts = (self.latest.good("battery_voltage") if self.latest else None) or run.dut.nominal_voltage
        await arm_cycler(self.instruments, run, self.config.watchdog_s, volts)
        self.sampler.reset_counters(counters)
        tolerated = tolerated_faults(run.recipe, self.sampler.battery)
        self._safety.arm(run.bounds, self._clock.now(), tolerated, elapsed)
        await close_contactors(self.instruments, self._clock)
        await self.sampler.scan(fresh=True)
        self._safety.expect_contactors(closed=True)

    def _interrupt(self, outcome: Outcome) -> None:
        """End the run with this outcome; the first one counts."""
        active = self._active
        if active is None or active.interruption is not None:
            return
        active.interruption = outcome
        if (self.state, Command.ABORT) in TRANSITIONS and self.state is not State.STOPPING:
            self._command(Command.ABORT, "evaline", outcome.reason)
        for task in (active.attempt, active.acting):
            if task is not None and task is not asyncio.current_task():
                task.cancel()

    def _on_sample(self, sample: Sample) -> None:
        """Safety first, then the step."""
        self.latest = sample
        for alarm in self._safety.judge(sample):
            self._raise_alarm(alarm)
            if alarm.trip:
                trip = alarm.message if alarm.quarantine else ""
                self._interrupt(Outcome(Verdict.ABORTED, alarm.code, alarm.message, trip))
        active = self._active
        if active is not None:
            active.engine.feed(sample)
        if self.state in QUIET_STATES if active is None else self.state is State.HELD and active.left is not None:
            self._refuse_stray_current(sample)
        self._services.changed(self)

    def _refuse_stray_current(self, sample: Sample) -> None:
        """No current without a run that may, whoever switched it on."""
        current, output_on = sample.good("current") or 0.0, sample.good("output_on") == 1
        if not output_on and abs(current) <= QUIET_CURRENT:
            return
        message = f"the output is {'on' if output_on else 'off'} and {current:g} A flow without a run"
        self._raise_alarm(Alarm("E-STRAY-CURRENT", message, trip=True))
        if self._active is not None:
            self._interrupt(Outcome(Verdict.ERROR, "E-STRAY-CURRENT", message))
            return
        self._command(Command.ABORT, "evaline", message)
        assert self._group is not None
        self._group.create_task(self._act(self._off))

    # --------------------------------------------------------------------------------------- off, and results

    async def _off(self) -> None:
        await self._switch_off()

    async def _switch_off(self) -> list[OffStep]:
        """The off sequence, journalled; one at a time."""
        async with self._switching_off:
            off = await switch_off(self.instruments, self._clock)
        self._note_off(off)
        return off

    def _raise_alarm(self, alarm: Alarm) -> None:
        self.alarms.append(self._records.alarm(self.run_now, alarm))

    def _note_off(self, off: list[OffStep]) -> None:
        """What is not confirmed off is an alarm of the highest priority."""
        steps = [{"step": step.name, "confirmed": step.confirmed, "detail": step.detail} for step in off]
        self._records.note(self.run_now, "outputs.off", {"steps": steps})
        for step in off:
            if not step.confirmed:
                self._raise_alarm(Alarm("E-NOT-OFF", f"{step.name} is not confirmed: {step.detail}", trip=True))

    async def _conclude(self, active: _ActiveRun, outcome: Outcome) -> None:
        self.sampler.sample_every(None)
        self._safety.expect_contactors(closed=False)
        off = await self._switch_off()
        self._safety.disarm()
        with suppress(InstrumentError):  # its watchdog may stay armed: that is the safe side
            await self.instruments.call("cycler", self.instruments.cycler.release)
        await self._finish(active, outcome, off)

    async def _finish(self, active: _ActiveRun, outcome: Outcome, off: list[OffStep]) -> None:
        """Analyse, export, and commit the one final result; only then anyone is told."""
        run, ended = active.run, self._clock.now()
        with self._clock.hold():
            await self._journal.flush()
            decided = active.interruption or outcome
            result = await self._result(run, decided, ended, off)
            if (active.interruption or outcome) is not decided:  # aborted meanwhile: the verdict must say so
                result = await self._result(run, active.interruption or outcome, ended, off)
            body = {"verdict": result["verdict"], "grade": result["grade"]}
            message = self._services.topics.result_message(self.name, run.id, ended, result)
            audit = AuditEntry(ended, run.author, "result", run.reason, {"run": run.id, **body})
            self._journal.commit_result(Event(ended, self.name, run.id, "run.ended", body), result, [message], audit)
            await self._journal.flush()
        self.last_result = result

    async def _result(self, run: Run, outcome: Outcome, ended: float, off: list[OffStep]) -> dict[str, Any]:
        services = self._services
        result, problem = await result_within(
            RESULT_WITHIN, run, outcome, ended, off, self.instruments, services.grade_rules.for_battery(run.dut),
            self._journal, services.data_dir, services.report_dir,
        )  # fmt: skip
        if problem:
            self._raise_alarm(Alarm("E-RESULT", problem, trip=True))
        return result

    async def shut_down(self, outcome: Outcome) -> bool:
        """After `serve` has ended, however it ended: outputs off, and a run that was active gets its result.

        True when everything is confirmed off. Everything that could interfere has been cancelled before.
        """
        self._group = None
        off = await switch_off(self.instruments, self._clock)  # before anything that could fail
        self._safety.disarm()
        try:
            await self._settle(outcome, off)
        except JournalError as error:
            log.error("shutdown not journalled", station=self.name, error=str(error))
        return all(step.confirmed for step in off)

    async def _settle(self, outcome: Outcome, off: list[OffStep]) -> None:
        if (self.state, Command.ABORT) in TRANSITIONS:
            self._command(Command.ABORT, "evaline", outcome.reason)
        self._note_off(off)
        active = self._active
        if active is not None:
            if self.last_result is None or self.last_result["run_id"] != active.run.id:
                await self._finish(active, outcome, off)
            self._active = None
            active.ended.set()
        if self.state is State.ABORTING:
            self._enter(State.ABORTED, "evaline")
        await self._journal.flush()


__all__ = ["RefusedCommandError", "Station", "StationServices"]
