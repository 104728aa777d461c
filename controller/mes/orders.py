"""Work orders and their job states, by the names of OPC 10031-4 (ISA-95 job control). Durable in the journal.

    store            -> NotAllowedToStart
    start            -> AllowedToStart (STARTING), Running (EXECUTE), Interrupted (held or suspended)
    the run's end    -> Ended at its recipe's end, whatever it found; else Aborted
    cancel           -> Aborted, without a run

A run that an operator started without an order goes through the same states, with events and without an entry here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from controller.clock import Clock
from controller.journal import Event, Journal, OutboxMessage
from controller.mes.messages import JobChanged, JobState, OrdersData, OrderSummary
from controller.mes.requests import WorkOrder
from controller.mes.topics import Topics, rfc3339
from controller.states import State

ORDER = "order"
FINAL = (JobState.ENDED, JobState.ABORTED)
MAX_OPEN = 100  # work orders of one station that have not ended

JOB_STATE: dict[State, JobState] = {
    State.STARTING: JobState.ALLOWED_TO_START,
    State.EXECUTE: JobState.RUNNING,
    State.UNHOLDING: JobState.RUNNING,
    State.UNSUSPENDING: JobState.RUNNING,
    State.COMPLETING: JobState.RUNNING,
    State.HOLDING: JobState.INTERRUPTED,
    State.HELD: JobState.INTERRUPTED,
    State.SUSPENDING: JobState.INTERRUPTED,
    State.SUSPENDED: JobState.INTERRUPTED,
}
"""What a station's state means for the job that it runs; other states leave the job's as it is."""


class OrderError(Exception):
    """Why an order is not taken; `code` is stable."""

    def __init__(self, code: str, message: str, hint: str) -> None:
        self.code, self.message, self.hint = code, message, hint
        super().__init__(f"{message} [{code}]")


@dataclass(frozen=True, slots=True)
class StoredOrder:
    """A work order and where it stands; `stored` is line time in unix s."""

    station: str
    order: WorkOrder
    state: JobState
    run: str | None
    actor: str
    stored: float

    def body(self, reason: str) -> dict[str, Any]:
        """For the journal."""
        return {
            "key": self.order.order_id,
            "state": str(self.state),
            "run": self.run,
            "actor": self.actor,
            "stored": self.stored,
            "reason": reason,
            "order": self.order.model_dump(mode="json"),
        }

    @property
    def summary(self) -> OrderSummary:
        """As people and the MES see it."""
        order = self.order
        return OrderSummary(
            order=order.order_id, station=self.station, operation=order.operation, dut=order.dut, parent=order.parent,
            recipe=order.recipe, state=self.state, run=self.run, stored=rfc3339(self.stored), actor=self.actor,
        )  # fmt: skip


class Orders:
    """The work orders of a line that have not ended, as the journal has them."""

    def __init__(self, journal: Journal, topics: Topics, clock: Clock) -> None:
        self._journal, self._topics, self._clock = journal, topics, clock
        self.changed: Callable[[], None] = lambda: None
        self.open: dict[str, StoredOrder] = {}
        for event in journal.newest_of_each(ORDER, unless=FINAL):
            body = event.body
            order = WorkOrder.model_validate(body["order"])
            state, run = JobState(body["state"]), body["run"]
            self.open[order.order_id] = StoredOrder(event.station, order, state, run, body["actor"], body["stored"])

    def settle(self) -> None:
        """After a crash: the orders whose runs have their result have ended."""
        for stored in list(self.open.values()):
            result = self._journal.result(stored.run) if stored.run else None
            if result is not None:
                self.ended(stored.order.order_id, JobState(result.get("job_state", JobState.ABORTED)))

    def known(self, order_id: str) -> bool:
        """Whether the line has or had an order of this id."""
        return order_id in self.open or self._journal.newest(ORDER, order_id) is not None

    def of(self, station: str, order_id: str) -> StoredOrder:
        """An open order of a station; raises OrderError."""
        stored = self.open.get(order_id)
        if stored is None or stored.station != station:
            raise OrderError("E-ORDER-UNKNOWN", f"no order {order_id} waits or runs on {station}", "store it first")
        return stored

    def check_new(self, station: str, order: WorkOrder) -> None:
        """Raises OrderError when it cannot be stored."""
        if self.known(order.order_id):
            message = f"order {order.order_id} is known already"
            raise OrderError("E-ORDER-KNOWN", message, "an order is stored once; give a new one a new id")
        if sum(stored.station == station for stored in self.open.values()) >= MAX_OPEN:
            message = f"{MAX_OPEN} orders wait on {station}"
            raise OrderError("E-ORDER-FULL", message, "let some of them end, or cancel some")

    def store(self, station: str, order: WorkOrder, actor: str) -> tuple[list[Event], list[OutboxMessage]]:
        """Take a new order; what tells of it must be appended to the journal at once. Raises OrderError."""
        self.check_new(station, order)
        now = self._clock.now()
        stored = StoredOrder(station, order, JobState.NOT_ALLOWED_TO_START, None, actor, now)
        return self._put(stored, "stored", actor)

    def cancel(self, station: str, order_id: str, actor: str, reason: str) -> tuple[list[Event], list[OutboxMessage]]:
        """Give up an order that has not begun; appended like a stored one. Raises OrderError."""
        stored = self.of(station, order_id)
        if stored.run is not None:
            message = f"order {order_id} is {stored.state}"
            raise OrderError("E-ORDER-STATE", message, "abort the station to end its run")
        return self._put(replace(stored, state=JobState.ABORTED), reason or "cancelled", actor)

    def moved(
        self, station: str, run: str, order_id: str | None, state: JobState, reason: str, actor: str | None = None
    ) -> tuple[list[Event], list[OutboxMessage]]:
        """A run came into a job state because `actor` wanted it, where somebody did; what tells of it must be appended
        to the journal at once."""
        stored = self.open.get(order_id or "")
        if stored is not None:
            return self._put(replace(stored, state=state, run=run), reason, actor)
        return [], [self._message(station, order_id, run, state, reason, actor)]

    def ended(self, order_id: str, state: JobState) -> None:
        """The run of an order has its result, which tells of it: note that here."""
        stored = self.open.pop(order_id, None)
        if stored is not None:
            ended = replace(stored, state=state)
            run = stored.run or ""
            self._journal.append(Event(self._clock.now(), stored.station, run, ORDER, ended.body("run ended")))
            self.changed()

    @property
    def data(self) -> OrdersData:
        """For the topic of the line's orders."""
        return OrdersData(orders=[stored.summary for stored in self.open.values()])

    def _put(self, stored: StoredOrder, reason: str, actor: str | None) -> tuple[list[Event], list[OutboxMessage]]:
        order_id = stored.order.order_id
        if stored.state in FINAL:
            self.open.pop(order_id, None)
        else:
            self.open[order_id] = stored
        event = Event(self._clock.now(), stored.station, stored.run or "", ORDER, stored.body(reason))
        message = self._message(stored.station, order_id, stored.run, stored.state, reason, actor)
        self.changed()
        return [event], [message]

    def _message(
        self, station: str, order_id: str | None, run: str | None, state: JobState, reason: str, actor: str | None
    ) -> OutboxMessage:
        t = self._clock.now()
        data = JobChanged(order=order_id, run=run, state=state, reason=reason)
        id = f"{order_id or run}.job.{state}.{t:.3f}"
        return self._topics.event_message(station, "job", id, t, data, correlation=order_id or run, actor=actor)
