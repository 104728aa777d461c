"""Commands of the MES: judged, journalled with their one reply in one transaction, and carried out.

A command is durable before `receive` returns, so the broker may forget it then. Its id makes it once: what comes again,
also after a restart, is answered `duplicate` and does nothing. In LOCAL mode the MES may only make things safer (hold,
suspend, abort, stop), lift its own suspension, and keep orders; what lets current flow is the operator's.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from config import DocumentError
from config.line import MesConfig
from controller.clock import Clock
from controller.journal import Event, Journal, OutboxMessage
from controller.mes.messages import Mode, ReasonData, ReplyData
from controller.mes.orders import OrderError, Orders, StoredOrder
from controller.mes.recipes import read_recipe, recipe_files
from controller.mes.refusals import AUDIT_BURST, AUDIT_RATE, Bucket, RefusalError, Refusals, way_out
from controller.mes.requests import (
    Acknowledge,
    Came,
    Cancel,
    Command,
    Control,
    Start,
    Store,
    StoreAndStart,
    WorkOrder,
    read_command,
    seconds_of,
)
from controller.mes.topics import Topics
from controller.run import OF_DUT, Job, Run
from controller.start import RecipeError, StartRefusedError, StartRequest
from controller.states import Command as StateCommand
from controller.states import RefusedCommandError, State
from controller.station import Station

COMMAND = "command"  # the kind of event; its key is the cmd_id

RATE, BURST = 20.0, 500.0  # commands of one station: a second, and at once; as many again that make things safer
LARGE = 4096  # bytes; a longer command counts as several
LOOKED_THROUGH = 16 * 1024  # bytes; what makes things safer is shorter, also with the longest reason in escapes
MAX_ELSEWHERE = 64  # names that are no station's and that are answered, in the life of a daemon

Status = Literal["accepted", "rejected", "duplicate"]
Original = Literal["accepted", "rejected"]

_LEVEL = re.compile(r"[a-z0-9_-]{1,64}")
_STATE_COMMANDS = {
    "hold": StateCommand.HOLD,
    "suspend": StateCommand.SUSPEND,
    "abort": StateCommand.ABORT,
    "stop": StateCommand.STOP,
    "reset": StateCommand.RESET,
    "clear": StateCommand.CLEAR,
}
SAFER = ("hold", "suspend", "abort", "stop")
_SAFER_WORDS = tuple(f'"{command}"'.encode() for command in SAFER)


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
        self._buckets = {name: Bucket(RATE, BURST) for name in stations}
        self._safer = {name: Bucket(RATE, BURST) for name in stations}
        self._elsewhere, self._names_elsewhere = Bucket(AUDIT_RATE, AUDIT_BURST), set[str]()
        self._refusals = Refusals(journal, clock, stations)
        self._handling: dict[tuple[str, str], asyncio.Event] = {}

    async def run(self) -> None:
        """Until cancelled."""
        await self._refusals.run()

    async def receive(self, topic: str, payload: bytes, *, retained: bool, redelivered: bool = False) -> None:
        """Take what came on a command topic; returns when command and reply are durable, or it is refused for good.

        `redelivered` is MQTT's DUP flag: such a copy is not answered again. Never raises for what is in it; raises
        JournalError when nothing can be made durable any more.
        """
        name = self._topics.station_of(topic)
        if topic != self._topics.command(name) or not _LEVEL.fullmatch(name):
            self._refusals.tell("E-CMD-STATION", f"{topic[:200]!r} is no command topic of this line", "")
            return
        station = self._stations.get(name)
        if station is None:
            await self._answer_elsewhere(name, payload, retained, redelivered)
            return
        # told apart before anything is parsed, so that what empties the one bucket does not stand against the other
        safer = len(payload) <= LOOKED_THROUGH and any(word in payload for word in _SAFER_WORDS)
        if not (self._safer if safer else self._buckets)[name].take(self._clock.now(), 1 + len(payload) // LARGE):
            self._refusals.tell("E-CMD-RATE", f"more than {RATE:g} commands a second", name, summed=True)
            return
        # what the broker kept while the daemon was away is judged by the station that comes up, not by one on its way
        await station.is_up()
        came, refusal = read_command(name, payload, retained, redelivered)
        if came is None:
            assert refusal is not None
            self._refusals.tell(refusal.reasons[0].code, refusal.reasons[0].message, name)
            return
        if came.asked is not None:
            refusal = self._judge(station, came.asked, retained)
        await self._once(came, station, refusal)

    async def _answer_elsewhere(self, name: str, payload: bytes, retained: bool, redelivered: bool) -> None:
        """What is for a station that is not here is refused where its reply is looked for, as long as there are few."""
        known = ", ".join([*self._stations][:8]) + (", ..." if len(self._stations) > 8 else "")
        refusal = RefusalError.of(
            "E-CMD-STATION", f"this line has no station {name}", f"publish it on a station's topic: {known}"
        )
        came = None
        has_room = name in self._names_elsewhere or len(self._names_elsewhere) < MAX_ELSEWHERE
        if has_room and self._elsewhere.take(self._clock.now(), 1 + len(payload) // LARGE):
            came, _ = read_command(name, payload, retained, redelivered)
        if came is None:
            self._refusals.tell("E-CMD-STATION", refusal.reasons[0].message, name)
            return
        self._names_elsewhere.add(name)
        await self._once(came, None, refusal)

    # one reply each

    async def _once(self, came: Came, station: Station | None, refusal: RefusalError | None) -> None:
        """Carry out or refuse, and answer; what has been answered before is a duplicate, or a copy of the broker's."""
        place = came.station, came.cmd_id
        while place in self._handling:
            await self._handling[place].wait()
        self._handling[place] = asyncio.Event()
        try:
            before = self._journal.newest(COMMAND, came.cmd_id, came.station)
            reused = before is not None and before.body.get("digest", came.digest) != came.digest
            if reused and came.is_copy:
                before = self._journal.newest(COMMAND, came.key_of_reuse, came.station)
                reused = before is None
            if before is not None and came.is_copy:
                if came.retained:
                    self._tell(came, "E-CMD-RETAINED", "it was answered before, and the broker still keeps it")
            elif reused:
                self._reject_reuse(came)
            elif before is not None:
                self._answer_duplicate(came, before.body)
            elif refusal is not None:
                self._reject(came, refusal)
            elif station is not None and came.asked is not None:
                await self._carry_out(station, came, came.asked)
            with self._clock.hold():
                await self._journal.flush()
        finally:
            self._handling.pop(place).set()

    def _judge(self, station: Station, asked: Command, retained: bool) -> RefusalError | None:
        """What is wrong with a command whatever it asks for."""
        now, skew = self._wall(), self._config.clock_skew_s
        issued, expires = seconds_of(asked.issued_at), seconds_of(asked.expires_at)
        if retained:
            return RefusalError.of(
                "E-CMD-RETAINED", "a retained command would come again for ever", "publish it unretained"
            )
        if asked.station not in (None, station.name):
            return RefusalError.of(
                "E-CMD-STATION", f"it is for {asked.station}, this is {station.name}",
                "publish it on the topic of its station, or leave `station` out",
            )  # fmt: skip
        if issued > now + skew:
            late = f"it was issued {issued - now:.0f} s from now; {skew:g} s are allowed"
            return RefusalError.of("E-CMD-FUTURE", late, "set the clocks of MES and line")
        if expires + skew < now or expires < issued:
            return RefusalError.of("E-CMD-EXPIRED", f"it expired {now - expires:.0f} s ago", "issue a new one")
        actors = self._config.actors
        if actors and asked.command not in actors.get(asked.actor, ()):
            return RefusalError.of(
                "E-CMD-ACTOR", f"{asked.actor} may not {asked.command}", "see mes.actors in the line file"
            )
        return None

    async def _carry_out(self, station: Station, came: Came, asked: Command) -> None:
        try:
            match asked:
                case Store():
                    self._store(station, came, asked)
                case Start():
                    stored = self._orders.of(station.name, asked.order_id)
                    await self._start(station, came, asked, stored.order, stored)
                case StoreAndStart():
                    self._orders.check_new(station.name, asked.order)
                    await self._start(station, came, asked, asked.order, None)
                case Cancel():
                    events, messages = self._orders.cancel(station.name, asked.order_id, asked.actor, asked.reason)
                    self._accept(came, events, messages, order=asked.order_id)
                case Acknowledge():
                    self._acknowledge(station, came, asked)
                case Control():
                    await self._control(station, came, asked)
        except RefusalError as refusal:
            self._reject(came, refusal)
        except OrderError as error:
            self._reject(came, RefusalError.of(error.code, error.message, error.hint))

    # what is asked for

    def _store(self, station: Station, came: Came, asked: Store) -> None:
        self._check_order(station, asked.order)
        events, messages = self._orders.store(station.name, asked.order, asked.actor)
        self._accept(came, events, messages, order=asked.order.order_id)

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
        self,
        station: Station,
        came: Came,
        asked: Start | StoreAndStart,
        order: WorkOrder,
        stored: StoredOrder | None,
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
            job=Job(Mode.REMOTE, order.order_id, order.operation, **{key: getattr(order, key) for key in OF_DUT}),
            recipe_hash=order.recipe_hash,
        )

        def also(run: Run) -> tuple[list[Event], list[OutboxMessage]]:
            """With the start, in its transaction: the order, the command and its reply."""
            events: list[Event] = []
            messages: list[OutboxMessage] = []
            if stored is not None and self._orders.open.get(order.order_id) is not stored:
                raise RefusalError.of("E-ORDER-STATE", f"order {order.order_id} was changed meanwhile", "see `orders`")
            if stored is None:
                events, messages = self._orders.store(station.name, order, asked.actor)
            event, reply = self._accepted(came, run=run.id, order=order.order_id)
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

    def _acknowledge(self, station: Station, came: Came, asked: Acknowledge) -> None:
        standing = {alarm["code"] for alarm in station.alarms}
        if unknown := sorted(set(asked.codes) - standing):
            raise RefusalError.of("E-ALARM-UNKNOWN", f"no alarm stands of {', '.join(unknown)}", "see `state`")
        station.acknowledge(asked.codes, asked.actor)
        self._accept(came)

    async def _control(self, station: Station, came: Came, asked: Control) -> None:
        run = station.run_now
        if asked.order_id is not None and (run is None or run.job.order_id != asked.order_id):
            running = run.job.order_id if run else None
            raise RefusalError.of(
                "E-ORDER-STATE", f"{asked.order_id} does not run on {station.name}: {running or 'nothing'}",
                "leave `order_id` out to mean whatever runs",
            )  # fmt: skip
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
            raise RefusalError.of(error.code, error.text.en, way_out(station.state)) from None
        except StartRefusedError as error:
            raise RefusalError(*(ReasonData(**reason) for reason in error.as_json())) from None
        self._accept(came, run=run.id if run else None, order=run.job.order_id if run else None)

    # what is answered

    def _accept(
        self, came: Came, events: list[Event] | None = None,
        messages: list[OutboxMessage] | None = None, *, run: str | None = None, order: str | None = None,
    ) -> None:  # fmt: skip
        event, reply = self._accepted(came, run=run, order=order)
        self._journal.append_together([*(events or []), event], [*(messages or []), reply])

    def _accepted(self, came: Came, *, run: str | None = None, order: str | None = None) -> tuple[Event, OutboxMessage]:
        assert came.asked is not None
        asked = came.asked.model_dump(mode="json")
        event = self._event(came, came.cmd_id, "accepted", [], run or "", asked=asked, run=run, order=order)
        return event, self._reply(came, "reply", "accepted", [], run=run, order=order)

    def _reject(self, came: Came, refusal: RefusalError, key: str = "", name: str = "reply") -> None:
        codes = [reason.code for reason in refusal.reasons]
        event = self._event(came, key or came.cmd_id, "rejected", codes, why=str(refusal)[:500])
        reply = self._reply(came, name, "rejected", refusal.reasons, order=came.order)
        self._journal.append(event, [reply])
        self._tell(came, codes[0], str(refusal))

    def _reject_reuse(self, came: Came) -> None:
        message = f"{came.cmd_id} asked for something else before; nothing was done"
        refusal = RefusalError.of("E-CMD-REUSED", message, "give every command an id of its own")
        self._reject(came, refusal, came.key_of_reuse, f"reused.{self._clock.now():.6f}")

    def _answer_duplicate(self, came: Came, before: dict[str, Any]) -> None:
        t = self._clock.now()
        reason = ReasonData(code="E-CMD-DUPLICATE", message=f"{came.cmd_id} was {before['status']} before")
        reply = self._reply(
            came, f"duplicate.{t:.6f}", "duplicate", [reason],
            original=before["status"], run=before.get("run"), order=before.get("order"),
        )  # fmt: skip
        self._journal.append(Event(t, came.station, "", "command.duplicate", {"cmd_id": came.cmd_id}), [reply])
        self._tell(came, reason.code, reason.message)

    def _event(self, came: Came, key: str, status: str, codes: list[str], of_run: str = "", **more: Any) -> Event:
        body = {
            "key": key, "command": came.command, "status": status, "actor": came.asked and came.asked.actor,
            "digest": came.digest, "codes": codes, **more,
        }  # fmt: skip
        return Event(self._clock.now(), came.station, of_run, COMMAND, body)

    def _reply(
        self, came: Came, name: str, status: Status, reasons: list[ReasonData], *,
        original: Original | None = None, run: str | None = None, order: str | None = None,
    ) -> OutboxMessage:  # fmt: skip
        t, id = self._clock.now(), f"{came.cmd_id}.{name}"
        data = ReplyData(
            cmd_id=came.cmd_id, command=came.command, status=status, original=original, reasons=reasons, run=run,
            order=order,
        )  # fmt: skip
        if came.station in self._stations:
            return self._topics.reply_message(came.station, id, t, data, correlation=came.cmd_id)
        # a name that others make up gets no sequence: there is no end of such names
        source, id = f"/{self._topics.root}/{came.station}", f"{id}.{t:.6f}"
        payload = self._topics.envelope(source, id, "evaline.reply.v1", t, data, None, correlation=came.cmd_id)
        return OutboxMessage(self._topics.reply(came.station), payload, qos=1, retain=False, id=id)

    def _tell(self, came: Came, code: str, why: str) -> None:
        self._refusals.tell(code, why, came.station, actor=came.actor, cmd_id=came.cmd_id, command=came.command)
