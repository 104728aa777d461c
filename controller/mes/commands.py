"""Commands of the MES: judged, journalled with their one reply in one transaction, and carried out.

A command is durable before `receive` returns, so the broker may forget it then. Its id makes it once: what comes again,
also after a restart, is answered `duplicate` and does nothing. In LOCAL mode the MES may only make things safer (hold,
suspend, abort, stop), lift its own suspension, and keep orders; what lets current flow is the operator's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from pydantic import TypeAdapter, ValidationError

from config import DocumentError
from config.line import MesConfig
from controller.clock import Clock
from controller.journal import AuditEntry, Event, Journal, OutboxMessage
from controller.mes.messages import Id, Mode, ReasonData, ReplyData
from controller.mes.orders import OrderError, Orders, StoredOrder
from controller.mes.reading import PayloadError, read_message
from controller.mes.recipes import read_recipe, recipe_files
from controller.mes.requests import (
    Acknowledge,
    Cancel,
    Command,
    CommandMessage,
    Control,
    Start,
    Store,
    StoreAndStart,
    WorkOrder,
    seconds_of,
)
from controller.mes.topics import Topics
from controller.run import Job, Run
from controller.start import RecipeError, StartRefusedError, StartRequest
from controller.states import Command as StateCommand
from controller.states import RefusedCommandError, State
from controller.station import Station

COMMAND = "command"  # the kind of event; its key is the cmd_id

RATE, BURST = 20.0, 500.0  # commands of one station: a second, and at once
LARGE = 4096  # bytes; a longer command counts as several
AUDIT_RATE, AUDIT_BURST = 1.0, 20.0  # refusals that get an entry of their own in the audit trail; the rest is summed up
SUMMARY_EVERY = 5.0  # s of line time

log = structlog.get_logger()

_ID: TypeAdapter[str] = TypeAdapter(Id)
_STATE_COMMANDS = {
    "hold": StateCommand.HOLD,
    "suspend": StateCommand.SUSPEND,
    "abort": StateCommand.ABORT,
    "stop": StateCommand.STOP,
    "reset": StateCommand.RESET,
    "clear": StateCommand.CLEAR,
}
SAFER = ("hold", "suspend", "abort", "stop")


class RefusalError(Exception):
    """Why a command is not carried out: all reasons."""

    def __init__(self, *reasons: ReasonData) -> None:
        self.reasons = list(reasons)
        super().__init__("; ".join(f"{reason.message} [{reason.code}]" for reason in reasons))

    @classmethod
    def of(cls, code: str, message: str, hint: str = "") -> RefusalError:
        return cls(ReasonData(code=code, message=message, hint=hint))


@dataclass
class _Bucket:
    """So many a second of line time, and so many at once."""

    rate: float
    burst: float
    tokens: float = field(init=False)
    at: float = 0.0

    def __post_init__(self) -> None:
        self.tokens = self.burst

    def take(self, now: float, cost: float = 1) -> bool:
        self.tokens = min(self.burst, self.tokens + max(0.0, now - self.at) * self.rate)
        self.at = now
        if self.tokens < min(cost, self.burst):
            return False
        self.tokens -= min(cost, self.burst)
        return True


class CommandDoor:
    """Where commands come in. `run` it beside the stations; it sums up what was refused too often to tell each."""

    def __init__(
        self, stations: Mapping[str, Station], orders: Orders, journal: Journal, topics: Topics, clock: Clock,
        config: MesConfig, wall: Callable[[], float] | None = None,
    ) -> None:  # fmt: skip
        """`wall` is the clock that commands are stamped by, unix s: not line time, which may run ahead; else that."""
        self._wall = wall or clock.now
        self._stations, self._orders, self._journal = stations, orders, journal
        self._topics, self._clock, self._config = topics, clock, config
        self._buckets = {name: _Bucket(RATE, BURST) for name in stations}
        self._audits = _Bucket(AUDIT_RATE, AUDIT_BURST)
        self._untold: Counter[str] = Counter()
        self._any_untold = asyncio.Event()
        self._handling: dict[str, asyncio.Event] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._any_untold.wait()
            await self._clock.sleep(SUMMARY_EVERY)
            self._any_untold.clear()
            counted, self._untold = self._untold, Counter()
            told = ", ".join(f"{count} x {code}" for code, count in counted.most_common())
            log.warning("commands refused", count=counted.total(), codes=told)
            self._audit("mes", f"{counted.total()} more commands were refused: {told}", dict(counted))

    async def receive(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """Take what came on a command topic; returns when command and reply are durable, or it is refused for good.

        Never raises for what is in it; raises JournalError when nothing can be made durable any more.
        """
        name = self._topics.station_of(topic)
        station = self._stations.get(name)
        if station is None or topic != self._topics.command(name):
            self._refuse_silently("E-CMD-STATION", f"{topic[:200]!r} is no command topic of this line")
            return
        if not self._buckets[name].take(self._clock.now(), 1 + len(payload) // LARGE):
            self._refuse_silently("E-CMD-RATE", f"more than {RATE:g} commands a second for {name}")
            return
        # what the broker kept while the daemon was away is judged by the station that comes up, not by one on its way
        await station.is_up()
        try:
            message = read_message(payload, CommandMessage)
        except PayloadError as error:
            cmd_id, command = _readable(error.data)
            await self._once(station, cmd_id, command, None, RefusalError.of(error.code, error.message))
            return
        try:
            self._judge(station, message.data, retained)
        except RefusalError as refusal:
            await self._once(station, message.data.cmd_id, message.data.command, message.data, refusal)
            return
        await self._once(station, message.data.cmd_id, message.data.command, message.data, None)

    # one reply each

    async def _once(
        self,
        station: Station,
        cmd_id: str | None,
        command: str | None,
        asked: Command | None,
        refusal: RefusalError | None,
    ) -> None:
        """Carry out or refuse, and answer; what has been answered before is a duplicate."""
        if cmd_id is None:
            assert refusal is not None
            self._refuse_silently(refusal.reasons[0].code, refusal.reasons[0].message, station.name)
            return
        while cmd_id in self._handling:
            await self._handling[cmd_id].wait()
        self._handling[cmd_id] = asyncio.Event()
        try:
            before = self._journal.newest(COMMAND, cmd_id)
            if before is not None:
                self._answer_duplicate(station, cmd_id, command, before.body)
            elif refusal is None and asked is not None:
                await self._carry_out(station, asked)
            elif refusal is not None:
                self._reject(station, cmd_id, command, asked, refusal)
            with self._clock.hold():
                await self._journal.flush()
        finally:
            self._handling.pop(cmd_id).set()

    def _judge(self, station: Station, asked: Command, retained: bool) -> None:
        """What is wrong with a command whatever it asks for; raises RefusalError."""
        now, skew = self._wall(), self._config.clock_skew_s
        issued, expires = seconds_of(asked.issued_at), seconds_of(asked.expires_at)
        if retained:
            raise RefusalError.of(
                "E-CMD-RETAINED", "a retained command would come again for ever", "publish it unretained"
            )
        if asked.station not in (None, station.name):
            raise RefusalError.of("E-CMD-STATION", f"it is for {asked.station}, this is {station.name}")
        if issued > now + skew:
            late = f"it was issued {issued - now:.0f} s from now; {skew:g} s are allowed"
            raise RefusalError.of("E-CMD-FUTURE", late, "set the clocks of MES and line")
        if expires + skew < now or expires < issued:
            raise RefusalError.of("E-CMD-EXPIRED", f"it expired {now - expires:.0f} s ago", "issue a new one")
        actors = self._config.actors
        if actors and asked.command not in actors.get(asked.actor, ()):
            raise RefusalError.of(
                "E-CMD-ACTOR", f"{asked.actor} may not {asked.command}", "see mes.actors in the line file"
            )

    async def _carry_out(self, station: Station, asked: Command) -> None:
        try:
            match asked:
                case Store():
                    self._store(station, asked)
                case Start():
                    stored = self._orders.of(station.name, asked.order_id)
                    await self._start(station, asked, stored.order, stored)
                case StoreAndStart():
                    self._orders.check_new(station.name, asked.order)
                    await self._start(station, asked, asked.order, None)
                case Cancel():
                    events, messages = self._orders.cancel(station.name, asked.order_id, asked.actor, asked.reason)
                    self._accept(station, asked, events, messages, order=asked.order_id)
                case Acknowledge():
                    self._acknowledge(station, asked)
                case Control():
                    await self._control(station, asked)
        except RefusalError as refusal:
            self._reject(station, asked.cmd_id, asked.command, asked, refusal)
        except OrderError as error:
            why = RefusalError.of(error.code, error.message, error.hint)
            self._reject(station, asked.cmd_id, asked.command, asked, why)

    # what is asked for

    def _store(self, station: Station, asked: Store) -> None:
        self._check_order(station, asked.order)
        events, messages = self._orders.store(station.name, asked.order, asked.actor)
        self._accept(station, asked, events, messages, order=asked.order.order_id)

    def _check_order(self, station: Station, order: WorkOrder) -> None:
        """What can be known of an order before its battery is there; raises RefusalError or OrderError."""
        self._orders.check_new(station.name, order)
        try:
            station.model_of(order.dut)
        except StartRefusedError as error:
            raise RefusalError(*(ReasonData(**reason) for reason in error.as_json())) from None
        self._recipe_file(order)

    def _recipe_file(self, order: WorkOrder) -> Path:
        path = recipe_files(self._config.recipes).get(order.recipe)
        if path is None:
            raise RefusalError.of("E-RECIPE-UNKNOWN", f"there is no recipe {order.recipe}", "`info` lists them")
        return path

    async def _start(
        self, station: Station, asked: Start | StoreAndStart, order: WorkOrder, stored: StoredOrder | None
    ) -> None:
        if stored is None:
            self._check_order(station, order)
        elif stored.run is not None:
            raise RefusalError.of("E-ORDER-STATE", f"order {order.order_id} is {stored.state}", "it has begun already")
        try:
            recipe = await asyncio.to_thread(read_recipe, self._recipe_file(order))
        except (DocumentError, OSError) as error:
            raise RefusalError.of(getattr(error, "code", "E-FILE"), str(error)) from None
        request = StartRequest(
            recipe_text=recipe.text,
            recipe_source=order.recipe,
            tables=recipe.tables,
            code=order.dut,
            author=asked.actor,
            reason=asked.reason,
            parameters=order.parameters,
            job=Job(Mode.REMOTE, order.order_id, order.operation, order.parent),
            recipe_hash=order.recipe_hash,
        )

        def also(run: Run) -> tuple[list[Event], list[OutboxMessage]]:
            """With the start, in its transaction: the order, the command and its reply."""
            events: list[Event] = []
            messages: list[OutboxMessage] = []
            if stored is not None and self._orders.open.get(order.order_id) is not stored:
                raise RefusalError.of("E-ORDER-STATE", f"order {order.order_id} was changed meanwhile")
            if stored is None:
                events, messages = self._orders.store(station.name, order, asked.actor)
            event, reply = self._answer(station, asked, run=run.id, order=order.order_id)
            return [*events, event], [*messages, reply]

        try:
            await station.start(request, also)
        except StartRefusedError as error:
            reasons = [ReasonData(**reason) for reason in error.as_json()]
            raise RefusalError(*reasons) from None
        except RecipeError as error:
            raise RefusalError(
                *(ReasonData(code="E-RECIPE", message=line[:500]) for line in error.lines[:20])
            ) from None

    def _acknowledge(self, station: Station, asked: Acknowledge) -> None:
        standing = {alarm["code"] for alarm in station.alarms}
        if unknown := sorted(set(asked.codes) - standing):
            raise RefusalError.of("E-ALARM-UNKNOWN", f"no alarm stands of {', '.join(unknown)}")
        station.acknowledge(asked.codes, asked.actor)
        self._accept(station, asked)

    async def _control(self, station: Station, asked: Control) -> None:
        run = station.run_now
        if asked.order_id is not None and (run is None or run.job.order_id != asked.order_id):
            running = run.job.order_id if run else None
            raise RefusalError.of(
                "E-ORDER-STATE", f"{asked.order_id} does not run on {station.name}: {running or 'nothing'}"
            )
        own = asked.command == "resume" and station.state is State.SUSPENDED
        if station.mode is Mode.LOCAL and asked.command not in SAFER and not own:
            hint = f"an operator does it, or gives the station away: evaline mode remote --station {station.name}"
            raise RefusalError.of("E-MODE", f"{asked.command} by the MES is not allowed in LOCAL mode", hint)
        try:
            if asked.command == "resume":
                await station.judge_resume(asked.actor, asked.reason)
                command = station.resuming
            else:
                command = _STATE_COMMANDS[asked.command]
            # carried out first: a crash before the reply leaves a command that comes again, not one that is forgotten
            station.take(command, asked.actor, asked.reason)
        except RefusedCommandError as error:
            raise RefusalError.of(error.code, str(error).removesuffix(f" [{error.code}]")) from None
        except StartRefusedError as error:
            raise RefusalError(*(ReasonData(**reason) for reason in error.as_json())) from None
        self._accept(station, asked, run=run.id if run else None, order=run.job.order_id if run else None)

    # what is answered

    def _accept(
        self, station: Station, asked: Command, events: list[Event] | None = None,
        messages: list[OutboxMessage] | None = None, *, run: str | None = None, order: str | None = None,
    ) -> None:  # fmt: skip
        event, reply = self._answer(station, asked, run=run, order=order)
        self._journal.append_together([*(events or []), event], [*(messages or []), reply])

    def _answer(
        self, station: Station, asked: Command, *, run: str | None = None, order: str | None = None
    ) -> tuple[Event, OutboxMessage]:
        t = self._clock.now()
        body: dict[str, Any] = {
            "key": asked.cmd_id, "command": asked.command, "status": "accepted", "actor": asked.actor,
            "asked": asked.model_dump(mode="json"), "run": run, "order": order, "codes": [],
        }  # fmt: skip
        data = ReplyData(
            cmd_id=asked.cmd_id, command=asked.command, status="accepted", reasons=[], run=run, order=order
        )
        reply = self._topics.reply_message(station.name, f"{asked.cmd_id}.reply", t, data, correlation=asked.cmd_id)
        return Event(t, station.name, run or "", COMMAND, body), reply

    def _reject(
        self, station: Station, cmd_id: str, command: str | None, asked: Command | None, refusal: RefusalError
    ) -> None:
        t, codes = self._clock.now(), [reason.code for reason in refusal.reasons]
        body: dict[str, Any] = {
            "key": cmd_id, "command": command, "status": "rejected", "actor": asked.actor if asked else None,
            "codes": codes, "why": str(refusal)[:500],
        }  # fmt: skip
        order = _order_of(asked)
        data = ReplyData(
            cmd_id=cmd_id, command=command, status="rejected", reasons=refusal.reasons, run=None, order=order
        )
        reply = self._topics.reply_message(station.name, f"{cmd_id}.reply", t, data, correlation=cmd_id)
        self._journal.append(Event(t, station.name, "", COMMAND, body), [reply])
        self._tell_refusal(codes[0], str(refusal), station.name, asked.actor if asked else "mes", cmd_id)

    def _answer_duplicate(self, station: Station, cmd_id: str, command: str | None, before: dict[str, Any]) -> None:
        t = self._clock.now()
        reason = ReasonData(code="E-CMD-DUPLICATE", message=f"{cmd_id} was {before['status']} before")
        data = ReplyData(
            cmd_id=cmd_id, command=command, status="duplicate", original=before["status"], reasons=[reason],
            run=before.get("run"), order=before.get("order"),
        )  # fmt: skip
        id = f"{cmd_id}.duplicate.{t:.6f}"
        reply = self._topics.reply_message(station.name, id, t, data, correlation=cmd_id)
        self._journal.append(Event(t, station.name, "", "command.duplicate", {"cmd_id": cmd_id}), [reply])
        self._tell_refusal("E-CMD-DUPLICATE", reason.message, station.name, "mes", cmd_id)

    def _refuse_silently(self, code: str, why: str, station: str = "") -> None:
        """Nobody can be answered: there is no id, no station, or too much of it."""
        self._tell_refusal(code, why, station, "mes", None)

    def _tell_refusal(self, code: str, why: str, station: str, actor: str, cmd_id: str | None) -> None:
        """One line in the audit trail; beyond a bound, one for all together."""
        if code != "E-CMD-RATE" and self._audits.take(self._clock.now()):
            self._audit(actor, why, {"station": station, "cmd_id": cmd_id, "code": code})
        else:
            self._untold[code] += 1
            self._any_untold.set()

    def _audit(self, actor: str, why: str, detail: dict[str, Any]) -> None:
        self._journal.audit(AuditEntry(self._clock.now(), actor, "command refused", why[:500], detail))


def _readable(data: Any) -> tuple[str | None, str | None]:
    """The cmd_id and the command of what is otherwise no command, as far as they are ones."""
    inner = data.get("data") if isinstance(data, dict) else None
    if not isinstance(inner, dict):
        return None, None
    try:
        cmd_id = _ID.validate_python(inner.get("cmd_id"), strict=True)
    except ValidationError:
        return None, None
    command = inner.get("command")
    return cmd_id, command if isinstance(command, str) and command.isascii() and len(command) <= 20 else None


def _order_of(asked: Command | None) -> str | None:
    match asked:
        case Store() | StoreAndStart():
            return asked.order.order_id
        case Start() | Cancel() | Control():
            return asked.order_id
        case _:
            return None
