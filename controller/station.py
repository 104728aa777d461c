"""One station: its PackML state, its instruments, its run. The only owner of all three."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from config import DutModel, StationConfig
from controller.admission import Admission
from controller.arming import arm_cycler, close_contactors
from controller.clock import Clock
from controller.engine import Engine, Interrupted, Progress, RunFailedError
from controller.instruments import Instruments, LinkFactory
from controller.journal import Event, Journal, JournalError, OutboxMessage
from controller.mes.messages import JobState, Mode, ModeChanged, RunStarted
from controller.mes.orders import JOB_STATE, Orders
from controller.mes.signing import Signer
from controller.mes.topics import Topics
from controller.outputs import QUIET_CURRENT, OffStep, switch_off
from controller.records import StationRecords
from controller.recovery import RECIPE, RECOVERED, RESTARTED, LeftRun, recipe_body
from controller.results import COMPLETED, Outcome, ResultNeeds, result_within
from controller.run import Run
from controller.safety import Alarm, Safety
from controller.sampler import Sampler
from controller.start import (
    Reason,
    RecipeError,
    StartRefusedError,
    StartRequest,
    battery_model,
    reason,
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
# states that somebody has put it into, and that last until somebody acts
STANDING_STATES = (State.HELD, State.SUSPENDED, State.ABORTED, State.STOPPED)
MODE = "mode"
Work = Callable[[], Coroutine[Any, Any, Any]]
# what goes on with a start in one transaction: further events, and messages to the MES
Also = Callable[[Run], tuple[list[Event], list[OutboxMessage]]]


@dataclass(frozen=True, slots=True)
class StationServices:
    """What a station needs of the daemon."""

    clock: Clock
    journal: Journal
    models: Mapping[str, DutModel]
    grade_rules: GradeRules
    topics: Topics
    orders: Orders
    signer: Signer
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
    job_state: JobState | None = None
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
        self.state, self.reason = State.RESETTING, ""
        told = services.journal.newest(MODE, name)
        self.mode = Mode(told.body["mode"]) if told is not None else Mode.LOCAL
        self.last_result: dict[str, Any] | None = None
        self.alarms: list[dict[str, Any]] = []
        self.latest: Sample | None = None
        self._records = StationRecords(name, services.clock, services.journal, services.topics)
        self._admission = Admission(
            name, config, services.clock, services.journal, services.models, services.grade_rules, self.instruments,
            self.sampler, lambda: self.latest, self._standing, lambda: self._active is not None,
        )  # fmt: skip
        self._active: _ActiveRun | None = None
        self.left: LeftRun | None = None  # what a former daemon left, until the station is ready for it
        self._group: asyncio.TaskGroup | None = None
        self._is_up = asyncio.Event()
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
    def job_state(self) -> JobState | None:
        """Of the run that is active."""
        return self._active.job_state if self._active is not None else None

    @property
    def question(self) -> Question | None:
        """What the running recipe asks people now."""
        return self._active.surroundings.question if self._active is not None else None

    def answer(self, number: int, value: Any, author: str) -> None:
        """Answer the running recipe's question; raises AnswerRefusedError."""
        if self._active is None:
            raise AnswerRefusedError("no recipe runs on this station", "이 스테이션에는 실행 중인 레시피가 없습니다")
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
            self._is_up.set()
            group.create_task(self._keep_connected())

    async def is_up(self) -> None:
        """Return once the station has come up, to IDLE or to the run that a former daemon left, or has failed to."""
        await self._is_up.wait()

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
        before, self.state, self.reason = self.state, state, reason
        self._moves += 1
        body = {"from": before.name, "to": state.name, "author": author, "reason": reason}
        self._records.note(self.run_now, "state", body, *self._job_moved(state, reason))
        self._moved.set()
        self._moved = asyncio.Event()
        self._services.changed(self)

    def _job_moved(self, state: State, reason: str) -> tuple[list[Event], list[OutboxMessage]]:
        """What tells that the active run's job has come into another state of its own."""
        active, job_state = self._active, JOB_STATE.get(state)
        if active is None or job_state is None or active.job_state is job_state:
            return [], []
        active.job_state = job_state
        run = active.run
        return self._services.orders.moved(self.name, run.id, run.job.order_id, job_state, reason)

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

    def _owned(self, work: Coroutine[Any, Any, None], active: _ActiveRun | None = None) -> Work:
        """Work that goes on even when whoever asked for it goes away; a run's work ends with the run. Returns what to
        await for its end."""
        assert self._group is not None, "the station does not serve"
        task = self._group.create_task(work)
        if active is not None:
            active.acting = task
        return partial(asyncio.wait, {task})

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
            # who looks at a station that stands still wants to know why it does
            self._enter(DONE[state], "evaline", self.reason if DONE[state] in STANDING_STATES else "")

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

    def set_mode(self, mode: Mode, author: str, reason: str = "") -> None:
        """Who starts runs from now on; what runs goes on."""
        t, body = self._clock.now(), {"key": self.name, "mode": str(mode), "author": author, "reason": reason}
        data = ModeChanged(mode=mode, author=author, reason=reason)
        id = f"{self.name}.mode.{t:.3f}.{self._moves}"
        message = self._services.topics.event_message(self.name, "mode", id, t, data, actor=author)
        self._journal.append(Event(t, self.name, "", MODE, body), [message])
        self._records.audit(self.run_now, author, f"mode {mode}", reason, {"station": self.name})
        self.mode = mode
        self._services.changed(self)

    def acknowledge(self, codes: Collection[str], author: str) -> None:
        """Take note of the alarms with these codes, or of all."""
        noted = [alarm for alarm in self.alarms if not codes or alarm["code"] in codes]
        if not noted:
            return
        for alarm in noted:
            alarm["acknowledged_by"] = author
        self._records.acknowledged(self.run_now, [alarm["code"] for alarm in noted], author)
        self._services.changed(self)

    async def start(self, request: StartRequest, also: Also | None = None) -> str:
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
        events, messages = also(run) if also is not None else ([], [])
        message = self._services.topics.event_message(
            self.name, "run", f"{run.id}.started", run.started, RunStarted(run=run.id, **body),
            correlation=run.job.order_id or run.id, actor=run.author,
        )  # fmt: skip
        started = Event(run.started, self.name, run.id, "run.started", body)
        recipe = Event(run.started, self.name, run.id, RECIPE, recipe_body(run, request))
        self._journal.append_together([started, recipe, *events], [*messages, message])
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
        return await self._admission.plan(request)

    def model_of(self, code: str) -> DutModel:
        """The battery model a scanned code belongs to; raises StartRefusedError."""
        return battery_model(code, dict(self._services.models))

    def _standing(self, request: StartRequest) -> list[Reason]:
        """What the station's own state has against a start."""
        reasons = []
        outbox = self._journal.outbox
        if full := outbox.full:
            message = (
                f"the outbox is full: {full}",
                f"발신함이 가득 찼습니다: MES 로 보낼 메시지 {len(outbox)}개, {outbox.bytes / 1e6:.1f} MB 대기 중",
            )
            hint = (
                "bring broker and MES back, or raise broker.outbox in the line file",
                "브로커와 MES 를 복구하거나 라인 파일의 broker.outbox 를 늘리십시오",
            )
            reasons.append(reason("E-OUTBOX", message, hint))
        if self.state is not State.IDLE or self._group is None:
            message = (
                f"station {self.name} is {self.state.name}, not IDLE",
                f"스테이션 {self.name} 이(가) IDLE 이 아니라 {self.state.name} 상태입니다",
            )
            hint = ("reset the station", "스테이션을 리셋하십시오")
            if self.state is State.ABORTED:
                hint = ("clear the station, then reset it", "스테이션을 클리어한 다음 리셋하십시오")
            if self._active is not None:
                hint = ("wait for its end", "끝날 때까지 기다리십시오")
            reasons.append(reason("E-STATE", message, hint))
        for hand in self.instruments.in_hand:
            message = f"in use by hand: {hand}", f"수동으로 사용 중: {hand}"
            hint = "start again in a moment", "잠시 후 다시 시작하십시오"
            reasons.append(reason("E-INSTRUMENT-BUSY", message, hint))
        if request.job.mode is not self.mode:
            remote = self.mode is Mode.REMOTE
            message = (
                f"station {self.name} is in {self.mode} mode: {'the MES' if remote else 'an operator'} starts its runs",
                f"스테이션 {self.name} 은(는) {self.mode} 모드로, {'MES' if remote else '작업자'}가 실행을 시작합니다",
            )
            change = f"evaline mode {'local' if remote else 'remote'} --station {self.name}"
            reasons.append(reason("E-MODE", message, (f"to change that: {change}", f"변경하려면: {change}")))
        return reasons

    def take(self, command: Command, author: str, reason: str = "") -> Work:
        """Begin at once what a command asks for; raises RefusedCommandError. Returns what to await for its end.

        A resume of a run that a former daemon left must have been judged before, by `judge_resume`.
        """
        self._accept(command, author, reason)
        active = self._active
        match command:
            case Command.HOLD | Command.SUSPEND:
                assert active is not None
                return self._owned(self._act(active.engine.hold), active)
            case Command.UNHOLD | Command.UNSUSPEND:
                assert active is not None
                return self._owned(self._act(active.engine.resume), active)
            case Command.ABORT | Command.STOP:
                aborts = command is Command.ABORT
                code, word = ("E-ABORTED", "aborted") if aborts else ("E-STOPPED", "stopped")
                why = f"{word} by {author}: {reason or 'no reason given'}"
                return self._halt(Outcome(Verdict.ABORTED, code, why))
            case Command.CLEAR:
                return self._owned(self._act(self._clear))
            case Command.RESET:
                return self._owned(self._made_ready(self._act(self._reset)))
            case _:
                raise ValueError(f"{command} is not asked for from outside")

    async def hold(self, author: str, reason: str = "") -> None:
        """Stop the current and stand still: the cause is inside (operator, alarm)."""
        await self.take(Command.HOLD, author, reason)()

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
        await self.take(Command.SUSPEND, author, reason)()

    async def resume(self, author: str, reason: str = "") -> None:
        """Go on where the run was held or suspended. One that a former daemon left is judged like a start before it
        goes on; raises StartRefusedError with every reason."""
        await self.judge_resume(author, reason)
        await self.take(self.resuming, author, reason)()

    @property
    def resuming(self) -> Command:
        """What ends the present hold or suspension."""
        return Command.UNSUSPEND if self.state is State.SUSPENDED else Command.UNHOLD

    async def judge_resume(self, author: str, reason: str) -> None:
        """What a resume needs before it; raises StartRefusedError."""
        if self.state is State.HELD and self._active is not None and self._active.left is not None:
            await self._judge_left(self._active.left, author, reason)

    async def abort(self, author: str, reason: str = "") -> None:
        """Everything off at once; returns when it is confirmed, or known not to be."""
        await self.take(Command.ABORT, author, reason)()

    async def stop(self, author: str, reason: str = "") -> None:
        """End the run in an orderly way; the station is then STOPPED."""
        await self.take(Command.STOP, author, reason)()

    def _halt(self, outcome: Outcome) -> Work:
        active = self._active
        if active is None:
            return self._owned(self._act(self._off))
        self._interrupt(outcome)
        return active.ended.wait

    async def clear(self, author: str, reason: str = "") -> None:
        """Acknowledge an abort: latched trips whose cause is gone are reset."""
        await self.take(Command.CLEAR, author, reason)()

    async def _clear(self) -> None:
        await self._reset_interlock()
        self.alarms = []

    async def reset(self, author: str, reason: str = "") -> None:
        """Make ready for the next battery: outputs confirmed off, then IDLE; else STOPPED with an alarm."""
        await self.take(Command.RESET, author, reason)()

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
        await self.sampler.beat()
        await self._reset_interlock()  # whoever resumes has looked, as whoever resets
        await self.sampler.scan(fresh=True)
        reasons = await self._admission.against_going_on(left)
        if reasons:
            refused = StartRefusedError(reasons)
            detail = {"station": self.name, "code": left.run.code, "reasons": refused.codes}
            self._records.audit(left.run, author, "resume refused", reason, detail)
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
            if active.interruption is not None:  # by a sample that the engine itself had asked for
                return active.interruption
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
            # the engine may be the one that took the sample which ends its run: then it is ended at its next await
            if task is not None and (task is active.attempt or task is not asyncio.current_task()):
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
            self._records.result(run, ended, result)
            if run.job.order_id is not None:
                self._services.orders.ended(run.job.order_id, JobState(result["job_state"]))
            await self._journal.flush()
        self.last_result = result

    async def _result(self, run: Run, outcome: Outcome, ended: float, off: list[OffStep]) -> dict[str, Any]:
        services = self._services
        needs = ResultNeeds(
            self.instruments, services.grade_rules.for_battery(run.dut), self._journal, services.signer,
            services.data_dir, services.report_dir, self._clock.source,
        )  # fmt: skip
        result, problem = await result_within(RESULT_WITHIN, run, outcome, ended, off, needs)
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
