"""One station: its PackML state, its instruments, its run. The only owner of all three."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from config import DutModel, StationConfig
from controller.clock import Clock
from controller.engine import Engine, IncompleteError, Progress
from controller.instruments import Instruments, LinkFactory
from controller.journal import AuditEntry, Event, Journal, JournalError
from controller.outputs import OffStep, await_contactor, switch_off
from controller.results import COMPLETED, Outcome, final_result
from controller.run import Run
from controller.safety import Alarm, Safety
from controller.sampler import Sampler
from controller.start import (
    Reason,
    StartRefusedError,
    StartRequest,
    battery_model,
    checked_recipe,
    reasons_against,
    station_limits,
)
from controller.states import DEADLINE, DONE, TRANSITIONS, Command, RefusedCommandError, State, after
from controller.topics import Topics
from controller.tower import tower_of
from drivers import InstrumentError
from drivers.roles import Protection
from sequences import GradeRules, Sample, Verdict

log = structlog.get_logger()

RECONNECT_EVERY = 5.0  # s between attempts to reach instruments that do not answer
# the cycler's own protections stand this far outside the run's trip levels: they are the second layer, not the first
PROTECTION_MARGIN = 1.05


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


class Station:
    """`phase` (0..1) is the station's place in the line's scan period: see Sampler.run."""

    def __init__(
        self, name: str, config: StationConfig, services: StationServices, make_link: LinkFactory, phase: float = 0.0
    ) -> None:
        self.name, self.config, self._services, self._phase = name, config, services, phase
        self._clock, self._journal = services.clock, services.journal
        self.instruments = Instruments(config, services.clock, make_link)
        self.sampler = Sampler(self.instruments, services.clock, self._on_sample)
        self._safety = Safety(self.sampler)
        self.state = State.STOPPED
        self.run_now: Run | None = None
        self.last_result: dict[str, Any] | None = None
        self.alarms: list[dict[str, Any]] = []
        self.latest: Sample | None = None
        self._engine: Engine | None = None
        self._attempt: asyncio.Task[Outcome] | None = None
        self._run_ended = asyncio.Event()
        self._interruption: Outcome | None = None
        self._group: asyncio.TaskGroup | None = None
        self._state_changed = asyncio.Event()

    # ------------------------------------------------------------------------------------------- its life

    async def serve(self) -> None:
        """Connect, become IDLE, scan, and carry out commands until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._command(Command.RESET, "evaline", "daemon started")
            group.create_task(self._show_on_tower())
            await self.instruments.connect()
            await self._reset()
            group.create_task(self.sampler.run(self._phase))
            group.create_task(self._keep_connected())

    async def _keep_connected(self) -> None:
        while True:
            await self._clock.sleep(RECONNECT_EVERY)
            await self.instruments.connect()

    async def _show_on_tower(self) -> None:
        while True:
            self._state_changed.clear()
            tower = tower_of(self.state)
            if "interlock" in self.instruments.identities:
                with suppress(InstrumentError):  # shown in faults; a dark tower must not end a run
                    await self.instruments.call("interlock", self.instruments.interlock.set_tower, tower)
            await self._state_changed.wait()

    def _enter(self, state: State, author: str, reason: str = "") -> None:
        before, self.state = self.state, state
        run = self.run_now.id if self.run_now else ""
        body = {"from": before.name, "to": state.name, "author": author, "reason": reason}
        self._journal.append(Event(self._clock.now(), self.name, run, "state", body))
        self._state_changed.set()
        self._services.changed(self)

    def _command(self, command: Command, author: str, reason: str) -> None:
        """Take the transition a command asks for, and note who asked; raises RefusedCommandError."""
        state = after(self.state, command)
        entry = AuditEntry(self._clock.now(), author, str(command), reason, {"station": self.name})
        self._journal.audit(entry, self.name, self.run_now.id if self.run_now else "")
        self._enter(state, author, reason)

    async def _owned(self, work: Coroutine[Any, Any, None]) -> None:
        """Work that must go on even when whoever asked for it goes away."""
        assert self._group is not None, "the station does not serve"
        await asyncio.shield(self._group.create_task(work))

    # ------------------------------------------------------------------------------------------ commands

    async def start(self, request: StartRequest) -> str:
        """Begin a run; returns its id. Raises StartRefusedError with every reason, or RecipeError."""
        model = battery_model(request.code, dict(self._services.models))
        limits = station_limits(self.config, self.instruments)
        recipe = checked_recipe(request, model, limits)
        reasons = reasons_against(request, model, recipe, self.config, self.instruments, self.sampler)
        if self.state is not State.IDLE:
            hint = "reset the station" if self.run_now is None else "wait for its end"
            reasons.insert(0, Reason("E-STATE", f"station {self.name} is {self.state.name}, not IDLE", hint))
        if reasons:
            detail = {"station": self.name, "code": request.code, "reasons": [reason.code for reason in reasons]}
            self._journal.audit(
                AuditEntry(self._clock.now(), request.author, "start refused", request.reason, detail), self.name
            )
            raise StartRefusedError(reasons)
        battery = self.sampler.battery
        believed = battery.full_charge_capacity if battery else 0.0
        rated = model.rated_capacity_ah
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
            # a BMS far off is no better than none
            capacity_estimate=believed if 0.3 * rated <= believed <= 1.2 * rated else rated,
            soc=battery.soc if battery else 0.5,
        )
        self.run_now, self.alarms, self._interruption = run, [], None
        self._engine = Engine(self.instruments, self.sampler, self._clock, self._journal, run)
        self._run_ended.clear()
        body = {"recipe": recipe.id, "hash": recipe.content_hash, "dut": request.code, "author": request.author}
        message = self._services.topics.event_message(self.name, "run", f"{run.id}.started", run.started, body)
        self._journal.append(Event(run.started, self.name, run.id, "run.started", body), [message])
        self._command(Command.START, request.author, request.reason)
        assert self._group is not None
        self._group.create_task(self._run_to_end(run, self._engine))
        return run.id

    async def hold(self, author: str, reason: str = "") -> None:
        """Stop the current and stand still: the cause is inside (operator, alarm)."""
        await self._pause(Command.HOLD, author, reason)

    async def suspend(self, author: str, reason: str = "") -> None:
        """The same for a cause outside (MES, chamber, material)."""
        await self._pause(Command.SUSPEND, author, reason)

    async def _pause(self, command: Command, author: str, reason: str) -> None:
        self._command(command, author, reason)
        assert self._engine is not None
        await self._owned(self._acting(self._engine.hold()))

    async def resume(self, author: str, reason: str = "") -> None:
        """Go on where the run was held or suspended."""
        suspended = self.state is State.SUSPENDED
        self._command(Command.UNSUSPEND if suspended else Command.UNHOLD, author, reason)
        assert self._engine is not None
        await self._owned(self._acting(self._engine.resume()))

    async def _acting(self, work: Coroutine[Any, Any, None]) -> None:
        """Do an acting state's work within its deadline; missing it aborts the run."""
        state = self.state
        try:
            async with asyncio.timeout(DEADLINE[state]):
                await work
        except TimeoutError:
            if self.state is state:
                self._interrupt(Outcome(Verdict.ERROR, "E-DEADLINE", f"{state.name} took over {DEADLINE[state]:g} s"))
            return
        if self.state is state:  # an abort may have overtaken it
            self._enter(DONE[state], "evaline")

    async def abort(self, author: str, reason: str = "") -> None:
        """Everything off at once; returns when it is confirmed, or known not to be."""
        self._command(Command.ABORT, author, reason)
        await self._halt(Outcome(Verdict.ABORTED, "E-ABORTED", f"aborted by {author}: {reason or 'no reason given'}"))

    async def stop(self, author: str, reason: str = "") -> None:
        """End the run in an orderly way; the station is then STOPPED."""
        self._command(Command.STOP, author, reason)
        await self._halt(Outcome(Verdict.ABORTED, "E-STOPPED", f"stopped by {author}: {reason or 'no reason given'}"))

    async def _halt(self, outcome: Outcome) -> None:
        if self.run_now is not None:
            self._interrupt(outcome)
            await self._run_ended.wait()
        else:
            await self._owned(self._off_without_run())

    async def _off_without_run(self) -> None:
        await self._switch_off()
        self._enter(DONE[self.state], "evaline")

    async def clear(self, author: str, reason: str = "") -> None:
        """Acknowledge an abort: latched trips whose cause is gone are reset."""
        self._command(Command.CLEAR, author, reason)
        await self._owned(self._clear())

    async def _clear(self) -> None:
        try:
            await self.instruments.call("interlock", self.instruments.interlock.reset)
        except InstrumentError as error:
            self._raise_alarm(Alarm(error.code, str(error), trip=False))
        self.alarms = []
        self._enter(DONE[self.state], "evaline")

    async def reset(self, author: str, reason: str = "") -> None:
        """Make ready for the next battery: outputs confirmed off, then IDLE; else STOPPED with an alarm."""
        self._command(Command.RESET, author, reason)
        await self._owned(self._reset())

    async def _reset(self) -> None:
        self.run_now, self._engine = None, None
        if "cycler" in self.instruments.identities and "interlock" in self.instruments.identities:
            await self._switch_off()
        await self.sampler.scan()  # IDLE means that a start can be judged
        if self.state is State.RESETTING:
            self._enter(State.IDLE, "evaline")

    # ------------------------------------------------------------------------------------------- the run

    async def _run_to_end(self, run: Run, engine: Engine) -> None:
        assert self._group is not None
        outcome = COMPLETED
        if self._interruption is None:  # it may have been aborted before it got here
            self._attempt = self._group.create_task(self._execute(run, engine))
            await asyncio.wait({self._attempt})
            if not self._attempt.cancelled():
                outcome = self._attempt.result()
            self._attempt = None
        outcome = self._interruption or outcome
        if outcome is COMPLETED:
            self._command(Command.COMPLETE, "evaline", "recipe ended")
        elif self.state not in (State.ABORTING, State.STOPPING):
            stops = outcome.verdict is Verdict.INCONCLUSIVE
            self._command(Command.STOP if stops else Command.ABORT, "evaline", outcome.reason)
        off = await self._switch_off()
        self._safety.disarm()
        self.sampler.sample_every(None)
        await self._release()
        await self._finish(run, self._interruption or outcome, off)
        self.run_now = None
        self._enter(DONE[self.state], "evaline", outcome.reason)
        self._run_ended.set()

    async def _execute(self, run: Run, engine: Engine) -> Outcome:
        """STARTING and EXECUTE; every way a run can end by itself, as its outcome."""
        try:
            async with asyncio.timeout(DEADLINE[State.STARTING]):
                await self._prepare(run)
            self._enter(State.EXECUTE, "evaline")
            await engine.execute()
        except IncompleteError as error:
            return Outcome(Verdict.INCONCLUSIVE, error.code, str(error))
        except InstrumentError as error:
            self._raise_alarm(Alarm(error.code, str(error), trip=False))
            return Outcome(Verdict.ERROR, error.code, str(error))
        except TimeoutError:
            return Outcome(Verdict.ERROR, "E-DEADLINE", f"STARTING took over {DEADLINE[State.STARTING]:g} s")
        return COMPLETED

    async def _prepare(self, run: Run) -> None:
        """Protections and watchdog armed and read back, safety armed, contactors closed and seen closed."""
        trips = {bound.name: bound.trip for bound in run.bounds}
        nominal = self.instruments.cycler.ratings
        margin = PROTECTION_MARGIN
        protection = Protection(
            voltage=min(margin * trips["voltage_max"], nominal.voltage),
            charge_current=min(margin * trips["charge_current"], nominal.current),
            discharge_current=min(margin * trips["discharge_current"], nominal.current),
            power=min(margin * run.limits.max_power, nominal.power),
        )
        cycler, interlock = self.instruments.cycler, self.instruments.interlock
        await self.instruments.call("cycler", cycler.arm, protection, self.config.watchdog_s)
        await self.instruments.call("cycler", cycler.drive, 0.0, self._battery_voltage(run))
        await self.instruments.call("interlock", interlock.request_contactor, True)
        problem = await await_contactor(self.instruments, self._clock, closed=True)
        if problem:
            raise InstrumentError(problem, instrument="interlock")
        self.sampler.reset_counters()
        self._safety.arm(run.bounds, self._clock.now())

    def _battery_voltage(self, run: Run) -> float:
        return (self.latest.good("battery_voltage") if self.latest else None) or run.dut.nominal_voltage

    def _interrupt(self, outcome: Outcome) -> None:
        """End the run with this outcome; the first one counts."""
        if self._interruption is not None or self.run_now is None:
            return
        self._interruption = outcome
        if self.state not in (State.ABORTING, State.STOPPING):
            self._command(Command.ABORT, "evaline", outcome.reason)
        if self._attempt is not None:
            self._attempt.cancel()

    def _on_sample(self, sample: Sample) -> None:
        """Safety first, then the step."""
        self.latest = sample
        for alarm in self._safety.judge(sample):
            self._raise_alarm(alarm)
            if alarm.trip:
                quarantine = alarm.message if alarm.code == "E-SAFETY-TRIP" else ""
                self._interrupt(Outcome(Verdict.ABORTED, alarm.code, alarm.message, quarantine))
        if self._engine is not None and self._attempt is not None:
            self._engine.feed(sample)
        self._services.changed(self)

    def _raise_alarm(self, alarm: Alarm) -> None:
        t = self._clock.now()
        body = {"code": alarm.code, "message": alarm.message, "trip": alarm.trip, "t": t}
        run = self.run_now
        self.alarms.append(body)
        if run is not None:
            run.alarms.append(body)
        message_id = f"{run.id if run else self.name}.alarm.{t:.3f}.{alarm.code}"
        message = self._services.topics.event_message(self.name, "alarm", message_id, t, body)
        self._journal.append(Event(t, self.name, run.id if run else "", "alarm", body), [message])

    async def _switch_off(self) -> list[OffStep]:
        """The off sequence, journalled."""
        off = await switch_off(self.instruments, self._clock)
        self._note_off(off)
        return off

    def _note_off(self, off: list[OffStep]) -> None:
        """What is not confirmed off is an alarm of the highest priority."""
        steps = [{"step": step.name, "confirmed": step.confirmed, "detail": step.detail} for step in off]
        run = self.run_now.id if self.run_now else ""
        self._journal.append(Event(self._clock.now(), self.name, run, "outputs.off", {"steps": steps}))
        for step in off:
            if not step.confirmed:
                self._raise_alarm(Alarm("E-NOT-OFF", f"{step.name} is not confirmed: {step.detail}", trip=True))

    async def _release(self) -> None:
        try:
            await self.instruments.call("cycler", self.instruments.cycler.release)
        except InstrumentError as error:
            self._raise_alarm(Alarm(error.code, str(error), trip=False))

    async def _finish(self, run: Run, outcome: Outcome, off: list[OffStep]) -> None:
        """Analyse, export, and commit the one final result; only then anyone is told."""
        ended, services = self._clock.now(), self._services
        with self._clock.hold():
            await self._journal.flush()
            result = await asyncio.to_thread(
                final_result, run, outcome, ended, off, self.instruments, services.grade_rules,
                self._journal, services.data_dir, services.report_dir,
            )  # fmt: skip
            body = {"verdict": result["verdict"], "grade": result["grade"]}
            message = services.topics.result_message(self.name, run.id, ended, result)
            audit = AuditEntry(ended, run.author, "result", run.reason, {"run": run.id, **body})
            self._journal.commit_result(Event(ended, self.name, run.id, "run.ended", body), result, [message], audit)
            await self._journal.flush()
        self.last_result = result

    async def shut_down(self, outcome: Outcome) -> bool:
        """After `serve` has ended, however it ended: outputs off, and a run that was active gets its result.

        True when everything is confirmed off. Everything that could interfere has been cancelled before.
        """
        self._group = None
        if not {"cycler", "interlock"} <= self.instruments.identities.keys():
            return self.run_now is None
        off = await switch_off(self.instruments, self._clock)  # before anything that could fail
        confirmed = all(step.confirmed for step in off)
        self._safety.disarm()
        try:
            await self._settle(outcome, off)
        except JournalError as error:
            log.error("shutdown not journalled", station=self.name, error=str(error))
        return confirmed

    async def _settle(self, outcome: Outcome, off: list[OffStep]) -> None:
        if (self.state, Command.ABORT) in TRANSITIONS:
            self._command(Command.ABORT, "evaline", outcome.reason)
        self._note_off(off)
        run = self.run_now
        if run is not None and (self.last_result is None or self.last_result["run_id"] != run.id):
            await self._finish(run, outcome, off)
        self.run_now = None
        if self.state is State.ABORTING:
            self._enter(State.ABORTED, "evaline")
        await self._journal.flush()

    @property
    def progress(self) -> Progress | None:
        return self._engine.progress if self._engine is not None else None

    @property
    def now(self) -> float:
        return self._clock.now()


__all__ = ["RefusedCommandError", "Station", "StationServices"]
