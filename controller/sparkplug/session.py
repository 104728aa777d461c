"""The edge node without its wires: bytes and readings in, messages out, in the order in which they must be sent.

Chapters 4 to 6 of the Sparkplug 3.0 specification. One `EdgeNode` lives as long as the daemon; `connecting` begins a
session of it. Nothing here waits, and nothing here asks for the time. Whoever owns it sends what `take` returns, one
message after another: a sequence number is spent when its message is made, so none may be left out. It tells with
`reached` what the server is known to have; what it has not when a session ends is sent again as history.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from controller.sparkplug.device import Change, Device, MetricSpec
from controller.sparkplug.incoming import (
    REBIRTH,
    Event,
    HostOffline,
    Refused,
    device_command,
    node_refusal,
    read_command,
    read_state,
)
from controller.sparkplug.payload import DataType, Metric, MetricValue, Payload, encode

NAMESPACE = "spBv1.0"
BDSEQ = "bdSeq"
REBIRTH_PAUSE = 1.0  # s at least between two birth sequences of a session, whoever asks for them however often
NUMBERS = 256  # sequence numbers, and birth and death sequence numbers, count modulo this


@dataclass(frozen=True, slots=True)
class Message:
    """A message to publish; none is ever retained."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are, and the primary host we wait for, if any."""

    group: str
    node: str
    host: str | None = None

    def topic(self, kind: str, device: str | None = None) -> str:
        topic = f"{NAMESPACE}/{self.group}/{kind}/{self.node}"
        return topic if device is None else f"{topic}/{device}"


@dataclass(frozen=True, slots=True)
class _Outgoing:
    """A message, and which changes of which device only it tells."""

    message: Message
    device: str = ""
    changes: tuple[Change, ...] = ()


class EdgeNode:
    """`keep` bounds how many values of each device wait for the primary host; the oldest go first, and are counted.

    With `walks` there are other servers: one where the host is offline is left at once, else it is waited for there.
    """

    def __init__(
        self,
        identity: Identity,
        node_specs: Sequence[MetricSpec],
        device_specs: Mapping[str, Sequence[MetricSpec]],
        *,
        datatype_in_data: bool = False,
        keep: int = 10_000,
        walks: bool = False,
    ) -> None:
        self.identity, self._datatype_in_data, self._keep, self._walks = identity, datatype_in_data, keep, walks
        # 0 is bdSeq's; aliases are unique over the node and its devices
        self._node = Device(tuple(node_specs), first_alias=1, alive=True)
        self._devices: dict[str, Device] = {}
        alias = 1 + len(node_specs)
        for name, specs in device_specs.items():
            self._devices[name] = Device(tuple(specs), alias)
            alias += len(specs)
        self._outgoing: deque[_Outgoing] = deque()
        self._under_way: deque[tuple[int, _Outgoing]] = deque()  # taken and not known to have reached the server
        self._bdseq = self._seq = self._taken_before = 0
        self._birth_time = -math.inf
        self._server = ""
        self._host_times: dict[str, int] = {}  # hosts count the time of their state at each server
        self.rebirth_asked = False
        """A rebirth that waits for its moment: `take` again within a second."""
        self.host_online = False
        self.connected = False
        self.born = False
        self.taken = 0
        """How many messages were taken, ever."""
        self.dropped = 0
        """Stored values that were given up for newer ones."""

    # ------------------------------------------------------------------------------------------- the session

    def connecting(self, bdseq: int, server: str = "") -> Message:
        """Begin a session with this birth and death sequence number; returns the will for its CONNECT packet."""
        self.disconnected()
        self._bdseq, self._server, self._taken_before = bdseq, server, self.taken
        return self._death()

    def _death(self) -> Message:
        payload = Payload(None, (Metric(self._bdseq, DataType.INT64, BDSEQ),))
        return Message(self.identity.topic("NDEATH"), encode(payload), qos=1)

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """Topics to subscribe to with QoS 1, and to see granted, before `subscribed`."""
        topics = (self.identity.topic("NCMD"), self.identity.topic("DCMD", "+"))
        return topics if self.identity.host is None else (*topics, self.state_topic)

    @property
    def state_topic(self) -> str:
        """Where the primary host says whether it is there."""
        return f"{NAMESPACE}/STATE/{self.identity.host}"

    def subscribed(self, t: float) -> None:
        """The subscriptions stand, at unix time t: births follow, unless a primary host must be seen first."""
        self.connected = True
        if self.identity.host is None:
            self._give_birth(t)

    def leaving(self) -> None:
        """A disconnection of our own will: the death of what was born goes first, after it nothing."""
        if self.born:
            self._store_unsent()
            if self.taken > self._taken_before:  # or there is no birth to take back
                self._outgoing.append(_Outgoing(self._death()))
        self.connected = self.born = self.rebirth_asked = False

    def disconnected(self) -> None:
        """The connection is gone; what did not reach the server, and what happens from here on, is stored. The next
        session learns anew of the host."""
        self._store_unsent()
        self._put_back(outgoing for _, outgoing in self._under_way)
        self._under_way.clear()
        self.connected = self.born = self.host_online = self.rebirth_asked = False

    def take(self, t: float) -> Message | None:
        """The next message to send at unix time t: what happened, and when that is all sent, what was stored."""
        if self.rebirth_asked:
            if t - self._birth_time < REBIRTH_PAUSE:
                return None
            self._give_birth(t)
        if self._outgoing:
            outgoing = self._outgoing.popleft()
        elif (stored := self._next_stored(t)) is not None:
            outgoing = stored
        else:
            return None
        self.taken += 1
        if outgoing.changes:
            self._under_way.append((self.taken, outgoing))
        return outgoing.message

    @property
    def under_way(self) -> bool:
        """Whether any value that was taken is not known to have reached the server."""
        return bool(self._under_way)

    def reached(self, taken: int) -> None:
        """The server has what `take` returned until `taken` was this number."""
        while self._under_way and self._under_way[0][0] <= taken:
            self._under_way.popleft()

    # ------------------------------------------------------------------------------------------- readings

    def update_node(self, values: Sequence[MetricValue], t: float) -> None:
        """The node's own metrics, in the order of their specs, at unix time t. They are not stored: totals and names,
        of which a birth has all."""
        change = self._node.read(values, _ms(t))
        if self.born and change.values:
            self._say("NDATA", None, self._node.data(change), t)
        self._node.is_reported(change)

    def update(self, name: str, values: Sequence[MetricValue], t: float) -> None:
        """A device's readings, in the order of its specs, taken at unix time t. The first ones are its birth."""
        device = self._devices[name]
        appears, is_first = not device.alive, not device.time
        device.alive = True
        change = device.read(values, _ms(t))
        if self.born and appears:
            self._device_birth(name, device, t, change)
        elif self.born and change.values:
            self._say("DDATA", name, device.data(change), t, (change,))
        elif not self.born and change.values and not is_first:
            self.dropped += device.store(change, self._keep)
        device.is_reported(change)

    def lost(self, name: str, t: float) -> None:
        """A device cannot be reached any more."""
        device = self._devices[name]
        if device.alive and self.born:
            self._say("DDEATH", name, (), t)
        device.alive = False

    # ------------------------------------------------------------------------------------------- what is sent

    def _give_birth(self, t: float) -> None:
        """The whole birth sequence; what was to be sent before it follows as history."""
        self._store_unsent()
        self._seq, self._birth_time = 0, t
        self.born, self.rebirth_asked = True, False
        now = _ms(t)
        own = (
            Metric(self._bdseq, DataType.INT64, BDSEQ, 0, now),
            Metric(False, DataType.BOOLEAN, REBIRTH, None, now),
        )
        self._say("NBIRTH", None, (*own, *self._node.birth(now)), t)
        for name, device in self._devices.items():
            if device.alive:
                self._device_birth(name, device, t)

    def _device_birth(self, name: str, device: Device, t: float, news: Change | None = None) -> None:
        self._say("DBIRTH", name, device.birth(device.time), t, (news,) if news and news.values else ())

    def _say(
        self, kind: str, device: str | None, metrics: tuple[Metric, ...], t: float, changes: tuple[Change, ...] = ()
    ) -> None:
        self._outgoing.append(_Outgoing(self._message(kind, device, metrics, t), device or "", changes))

    def _message(self, kind: str, device: str | None, metrics: tuple[Metric, ...], t: float) -> Message:
        payload = Payload(_ms(t), metrics, self._seq)
        self._seq = (self._seq + 1) % NUMBERS
        data = encode(payload, with_datatypes=self._datatype_in_data or not kind.endswith("DATA"))
        return Message(self.identity.topic(kind, device), data)

    # ------------------------------------------------------------------------------------------- store and forward

    def _store_unsent(self) -> None:
        self._put_back(self._outgoing)
        self._outgoing.clear()

    def _put_back(self, messages: Iterable[_Outgoing]) -> None:
        changes: defaultdict[str, list[Change]] = defaultdict(list)
        for outgoing in messages:
            changes[outgoing.device] += outgoing.changes
        for name, device in self._devices.items():
            if changes[name]:
                self.dropped += device.put_back(changes[name], self._keep)

    def _next_stored(self, t: float) -> _Outgoing | None:
        for name, device in self._devices.items():
            if self.born and device.alive and device.stored:
                changes = device.next_stored()
                metrics = tuple(metric for change in changes for metric in device.data(change, historical=True))
                return _Outgoing(self._message("DDATA", name, metrics, t), name, changes)
        return None

    # ------------------------------------------------------------------------------------------- what is received

    def received(self, topic: str, data: bytes, retained: bool, t: float) -> Sequence[Event]:
        """What a message from outside, come at unix time t, asks of us; never raises, whatever it holds."""
        if self.identity.host is not None and topic == self.state_topic:
            return self._host_said(data, t)
        if topic == self.identity.topic("NCMD"):
            return self._commanded(None, data, retained)
        prefix = self.identity.topic("DCMD", "")
        if topic.startswith(prefix):
            return self._commanded(topic.removeprefix(prefix), data, retained)
        return []

    def _host_said(self, data: bytes, t: float) -> list[Event]:
        state = read_state(data)
        if state is None or state[1] < self._host_times.get(self._server, -1):
            return []
        self.host_online, self._host_times[self._server] = state
        if self.host_online:
            if self.connected and not self.born:
                self._give_birth(t)
            return []
        if not self.born and not self._walks:
            return []
        self.leaving()
        return [HostOffline()]

    def _commanded(self, device: str | None, data: bytes, retained: bool) -> Sequence[Event]:
        name = device or ""
        if retained:
            return [Refused(name, "E-SPARKPLUG-RETAINED", "a retained command would be repeated at every connection")]
        known = self._devices.get(name)
        if not self.born or (device is not None and (known is None or not known.alive)):
            return [Refused(name, "E-SPARKPLUG-DEVICE", f"{name or 'the node'} is not born")]
        asked = read_command(name, data)
        if isinstance(asked, Refused):
            return [asked]
        sent, metrics = asked
        if known is not None:
            return [device_command(name, known, metric, sent) for metric in metrics]
        refusals = [node_refusal(metric) for metric in metrics]
        self.rebirth_asked |= None in refusals
        return [refused for refused in refusals if refused is not None]


def _ms(t: float) -> int:
    return round(t * 1000)
