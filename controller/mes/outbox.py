"""Emptying the outbox: one message of a lane at a time, again and again until somebody has it.

A lane is what must stay in order: the results of one station, its events, its replies. Lanes do not wait for each
other. A result is done when the MES says so on its `result/ack`; a PUBACK only says that the broker has it, and brokers
lose things. Everything else is done at its PUBACK. What broker or MES refuse is kept apart, for people.

A broker that does not want a message may end the connection instead of refusing it, and no message may stop a line. So
what is larger than any broker must take is not sent at all; and after a loss, whatever was under way is sent by itself,
until it is known over which message the connection was lost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from controller.journal import Journal, PendingMessage
from controller.mes.connection import MqttClient, PublishRefusedError

MAX_PAUSE_S = 60.0
MAX_PAYLOAD = 8 * 1024 * 1024  # bytes; our brokers are set to it, and NATS advises against more
MAX_LOSSES = 3  # connections in a row that are lost over one message

log = structlog.get_logger()


@dataclass(slots=True)
class _Lane:
    """The open messages of one lane, oldest first; how often the first was tried on this connection, and whether the
    broker has it and the MES is awaited."""

    queue: deque[int] = field(default_factory=deque)
    attempts: int = 0
    sent: int = 0  # the newest row that was published
    awaits_mes: bool = False
    sender: asyncio.Task[None] | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class OutboxSender:
    """Follows the journal's outbox. `by_ack` closes results by `acknowledged` alone, which may come at any time."""

    def __init__(
        self,
        journal: Journal,
        now: Callable[[], float],
        on_sent: Callable[[], None],
        *,
        by_ack: bool,
        ack_within: float,
    ) -> None:
        """`now` is line time; `on_sent` is called when `all_sent` may have become true; `ack_within` is in s."""
        self._journal, self._now, self.on_sent = journal, now, on_sent
        self._by_ack, self._ack_within = by_ack, ack_within
        self._lanes: dict[str, _Lane] = {}
        self._taken_up = 0  # every outbox row up to here is in its lane
        self._waited = 0  # every row up to here had to wait for the connection
        self._under_way: set[int] = set()  # published, and no answer yet; what the loss of a connection leaves here
        self._suspects: set[int] = set()  # were under way when a connection was lost, and have no answer yet
        self._losses = (0, 0)  # a row, and how many connections in a row were lost while it alone was under way
        self._turn = asyncio.Lock()  # to send, while there are suspects
        self.sent = 0
        """Publishes that the broker has confirmed; the same message may be among them more than once."""
        self.resent = 0
        """How often a message was published again because nobody had confirmed it in time."""

    def needs_ack(self, topic: str) -> bool:
        """Whether messages on this topic wait for the MES."""
        return self._by_ack and topic.endswith("/result")

    @property
    def all_sent(self) -> bool:
        """Every lane is empty or waits for the MES."""
        if self._journal.outbox_head > self._taken_up:
            return False
        return all(self._first(lane) is None or lane.awaits_mes for lane in self._lanes.values())

    async def run(self, client: MqttClient, committed: asyncio.Event) -> None:
        """Send until cancelled; `committed` is set when the journal may hold more. Raises MqttError with the client."""
        self._waited = self._journal.outbox_head
        for lane in self._lanes.values():
            lane.attempts, lane.awaits_mes, lane.sender = 0, False, None
        self._suspect()
        async with asyncio.TaskGroup() as group:
            while True:
                committed.clear()
                self._take_up()
                for lane in self._lanes.values():
                    if lane.sender is None and lane.queue:
                        lane.sender = group.create_task(self._empty(lane, client))
                await committed.wait()

    def resend(self, seqs: list[int], author: str, reason: str) -> None:
        """Refused messages get in line again, in their old order; raises KeyError for one that nobody refused."""
        self._journal.outbox_resend(seqs, self._now(), author, reason)
        for seq in seqs:
            lane = self._lane(self._journal.outbox.waiting[seq].topic)
            lane.queue = deque(sorted({*lane.queue, seq}))
            lane.changed.set()

    def acknowledged(self, topic: str, ids: list[str], error: str | None) -> None:
        """The MES has stored these messages of a topic, or has rejected them with an error. Unknown ids are repeats."""
        for id in ids:
            seq = self._journal.outbox.find(topic, id)
            if seq is None or seq > self._journal.outbox_head:
                continue
            if error is None:
                self._journal.outbox_sent(seq)
            elif seq in self._journal.outbox.waiting:
                self._refuse(seq, "MES", error)
            self._lane(topic).changed.set()
        for lane in self._lanes.values():  # the MES is back: who waits for it by now need not wait longer
            if lane.attempts > 1:
                lane.attempts = 0
                lane.changed.set()

    def _suspect(self) -> None:
        """Look at what was under way when the last connection was lost; what cost MAX_LOSSES of them is set aside."""
        lost, self._under_way = self._under_way, set()
        self._suspects |= lost
        self._turn = asyncio.Lock()
        alone = next(iter(lost)) if len(lost) == 1 else 0
        self._losses = (alone, self._losses[1] + 1 if alone == self._losses[0] else 1) if alone else (0, 0)
        if self._losses[1] >= MAX_LOSSES and alone in self._journal.outbox.waiting:
            size = len(self._journal.outbox_message(alone).payload.encode())
            self._refuse(
                alone, "broker", f"the connection was lost {MAX_LOSSES} times while this alone was sent: {size} bytes"
            )

    @property
    def _suspecting(self) -> bool:
        return any(seq in self._journal.outbox.waiting for seq in self._suspects)

    def _take_up(self) -> None:
        head = self._journal.outbox_head
        for seq in range(self._taken_up + 1, head + 1) if self._taken_up else sorted(self._journal.outbox.waiting):
            message = self._journal.outbox.waiting.get(seq)
            if message is not None and seq <= head:
                self._lane(message.topic).queue.append(seq)
        self._taken_up = head

    def _lane(self, topic: str) -> _Lane:
        return self._lanes.setdefault(lane_of(topic), _Lane())

    def _first(self, lane: _Lane) -> int | None:
        """The next row of a lane that is still open."""
        while lane.queue and lane.queue[0] not in self._journal.outbox.waiting:
            lane.queue.popleft()
            lane.attempts = 0
        return lane.queue[0] if lane.queue else None

    async def _empty(self, lane: _Lane, client: MqttClient) -> None:
        while (seq := self._first(lane)) is not None:
            await self._attempt(lane, client, self._journal.outbox_message(seq))
        lane.sender = None
        self.on_sent()

    async def _attempt(self, lane: _Lane, client: MqttClient, message: PendingMessage) -> None:
        """Send a message once, and wait for its end or for the time to send it again."""
        lane.changed.clear()
        lane.attempts += 1
        self.resent += lane.attempts > 1
        pause = min(self._ack_within * 2 ** (lane.attempts - 1), MAX_PAUSE_S)
        text = message.payload
        if message.seq <= max(self._waited, lane.sent):
            text = f'{text[:-1]},"replayed":true}}'
        payload = text.encode()
        if len(payload) > MAX_PAYLOAD:
            reason = f"its {len(payload)} bytes are more than the {MAX_PAYLOAD} that a broker is to take"
            self._refuse(message.seq, "line", reason)
            return
        lane.sent = max(lane.sent, message.seq)
        turn = self._turn if self._suspecting else asyncio.Lock()
        await turn.acquire()
        self._under_way.add(message.seq)
        try:
            await client.publish(message.topic, payload, message.qos, message.retain, client.mirror(text))
        except PublishRefusedError as error:
            self._answered(message.seq, turn)
            if message.seq in self._journal.outbox.waiting:
                self._refuse(message.seq, "broker", str(error))
            return
        self._answered(message.seq, turn)
        self.sent += 1
        if not self.needs_ack(message.topic):
            self._journal.outbox_sent(message.seq)
            return
        lane.attempts = max(1, lane.attempts)
        lane.awaits_mes = True
        self.on_sent()
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                while message.seq in self._journal.outbox.waiting and lane.attempts:
                    await lane.changed.wait()
                    lane.changed.clear()
        lane.awaits_mes = False

    def _answered(self, seq: int, turn: asyncio.Lock) -> None:
        turn.release()  # not when the connection is lost: what is next would be blamed with it
        self._under_way.discard(seq)
        self._suspects.discard(seq)
        if seq == self._losses[0]:
            self._losses = (0, 0)

    def _refuse(self, seq: int, by: str, reason: str) -> None:
        message = self._journal.outbox.waiting[seq]
        log.warning("message refused", by=by, topic=message.topic, id=message.id, reason=reason)
        self._journal.outbox_refused(seq, self._now(), by, reason)


def lane_of(topic: str) -> str:
    """The lane of a topic: all events of a station share one, any other topic is its own."""
    return topic.split("/event/", 1)[0] + "/event" if "/event/" in topic else topic
