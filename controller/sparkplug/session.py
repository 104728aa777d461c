"""The edge node without its wires: bytes and readings in, messages out, in the order in which they must be sent.

Chapters 4 to 6 of the Sparkplug 3.0 specification. One `EdgeNode` lives as long as the daemon; `connecting` begins a
session of it. Nothing here waits, and nothing here asks for the time. Whoever owns it sends what `take` returns, one
message after another: a sequence number is spent when its message is made, so none may be left out.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from controller.mes.reading import PayloadError as UnreadableError
from controller.mes.reading import read_json
from controller.sparkplug.payload import DataType, Metric, MetricValue, Payload, PayloadError, Quality, decode, encode

NAMESPACE = "spBv1.0"
BDSEQ = "bdSeq"
REBIRTH = "Node Control/Rebirth"
BATCH = 200  # stored values in one message
REBIRTH_PAUSE = 1.0  # s at least between two birth sequences of a session, whoever asks for them however often
MAX_STATE_BYTES = 1024
LAST_TIME = 4_102_444_800_000  # ms: the year 2100
NUMBERS = 256  # sequence numbers, and birth and death sequence numbers, count modulo this


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """What a metric is. It is reported when it has moved by more than `deadband` (in its unit), or changed if it is no
    float. A `measured` one has a quality; a `writable` one can be commanded and reads false or empty."""

    name: str
    datatype: DataType
    unit: str = ""
    deadband: float = 0.0
    measured: bool = False
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """A message to publish; none is ever retained."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Write:
    """A command to one of our devices: a value for a writable metric. `time` is the sender's, unix s."""

    device: str
    name: str
    value: MetricValue
    time: float


@dataclass(frozen=True, slots=True)
class Refused:
    """A command that is not carried out: to which device (empty for the node), with a code, and why."""

    device: str
    code: str
    why: str


@dataclass(frozen=True, slots=True)
class HostOffline:
    """The primary host went away: send what `take` still has, disconnect, and connect anew."""


Event = Write | Refused | HostOffline


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are, and the primary host we wait for, if any."""

    group: str
    node: str
    host: str | None = None

    def topic(self, kind: str, device: str | None = None) -> str:
        topic = f"{NAMESPACE}/{self.group}/{kind}/{self.node}"
        return topic if device is None else f"{topic}/{device}"


@dataclass
class _Device:
    """A station, its newest readings, and what of them was reported."""

    specs: tuple[MetricSpec, ...]
    first_alias: int
    alive: bool = False
    time: int = 0  # ms, of the newest readings
    newest: tuple[MetricValue, ...] = field(init=False)
    reported: list[MetricValue] = field(init=False)
    stored: deque[tuple[int, tuple[tuple[int, MetricValue], ...]]] = field(default_factory=deque)
    stored_count: int = 0

    def __post_init__(self) -> None:
        self.newest = (None,) * len(self.specs)
        self.reported = list(self.newest)

    def changed(self) -> tuple[int, ...]:
        """Places of the metrics that moved beyond their deadband since they were reported."""
        pairs = zip(self.specs, self.reported, self.newest, strict=True)
        return tuple(place for place, (spec, old, new) in enumerate(pairs) if _moved(spec, old, new))


def _moved(spec: MetricSpec, old: MetricValue, new: MetricValue) -> bool:
    if spec.deadband and isinstance(old, float) and isinstance(new, float):
        return abs(new - old) > spec.deadband
    return old != new


class EdgeNode:
    """`keep` bounds how many values of each device wait for the primary host; the oldest go first, and are counted."""

    def __init__(
        self,
        identity: Identity,
        node_specs: Sequence[MetricSpec],
        device_specs: Mapping[str, Sequence[MetricSpec]],
        *,
        datatype_in_data: bool = False,
        keep: int = 10_000,
    ) -> None:
        self.identity, self._datatype_in_data, self._keep = identity, datatype_in_data, keep
        # 0 is bdSeq's; aliases are unique over the node and its devices
        self._node = _Device(tuple(node_specs), first_alias=1, alive=True)
        self._devices: dict[str, _Device] = {}
        alias = 1 + len(node_specs)
        for name, specs in device_specs.items():
            self._devices[name] = _Device(tuple(specs), alias)
            alias += len(specs)
        self._outgoing: deque[Message] = deque()
        self._bdseq = self._seq = 0
        self._birth_time = -math.inf
        self.rebirth_asked = False
        """A rebirth that waits for its moment: `take` again within a second."""
        self._host_time = -1
        self.host_online = False
        self.connected = False
        self.born = False
        self.dropped = 0
        """Stored values that were given up for newer ones."""

    # ------------------------------------------------------------------------------------------- the session

    def connecting(self, bdseq: int) -> Message:
        """Begin a session with this birth and death sequence number; returns the will for its CONNECT packet."""
        self.disconnected()
        self._bdseq = bdseq
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

    def disconnected(self) -> None:
        """The connection is gone; what happens from here on is stored. The next session learns anew of the host."""
        self._outgoing.clear()
        self.connected = self.born = self.host_online = self.rebirth_asked = False

    def leaving(self) -> None:
        """A disconnection of our own will: the death goes first, after it nothing."""
        if self.born:
            self._outgoing.clear()
            self._outgoing.append(self._death())
        self.connected = self.born = self.rebirth_asked = False

    def take(self, t: float) -> Message | None:
        """The next message to send at unix time t: what happened, and when that is all sent, what was stored."""
        if self.rebirth_asked:
            if t - self._birth_time < REBIRTH_PAUSE:
                return None
            self._give_birth(t)
        if self._outgoing:
            return self._outgoing.popleft()
        return self._next_stored(t) if self.born else None

    # ------------------------------------------------------------------------------------------- readings

    def update_node(self, values: Sequence[MetricValue], t: float) -> None:
        """The node's own metrics, in the order of their specs, at unix time t."""
        self._update(None, self._node, values, t)

    def update(self, name: str, values: Sequence[MetricValue], t: float) -> None:
        """A device's readings, in the order of its specs, taken at unix time t. The first ones are its birth."""
        device = self._devices[name]
        if device.alive:
            self._update(name, device, values, t)
            return
        device.alive = True
        device.newest, device.time = _clean(values), _ms(t)
        if self.born:
            self._device_birth(name, device, t)
        else:
            device.reported = list(device.newest)

    def _update(self, name: str | None, device: _Device, values: Sequence[MetricValue], t: float) -> None:
        device.newest, device.time = _clean(values), max(_ms(t), device.time)
        places = device.changed()
        if not places:
            return
        if self.born:
            metrics = tuple(self._data_metric(device, place, device.newest[place], device.time) for place in places)
            self._say("DDATA" if name else "NDATA", name, metrics, t)
        elif name is not None:
            self._store(device, tuple((place, device.newest[place]) for place in places))
        for place in places:
            device.reported[place] = device.newest[place]

    def lost(self, name: str, t: float) -> None:
        """A device cannot be reached any more."""
        device = self._devices[name]
        if device.alive and self.born:
            self._say("DDEATH", name, (), t)
        device.alive = False

    # ------------------------------------------------------------------------------------------- what is sent

    def _give_birth(self, t: float) -> None:
        """The whole birth sequence. What was not sent yet is in it, so nothing must be sent before."""
        self._outgoing.clear()
        self._seq, self._birth_time = 0, t
        self.born, self.rebirth_asked = True, False
        now = _ms(t)
        own = (
            Metric(self._bdseq, DataType.INT64, BDSEQ, 0, now),
            Metric(False, DataType.BOOLEAN, REBIRTH, None, now),
        )
        self._say("NBIRTH", None, (*own, *self._birth_metrics(self._node, now)), t)
        for name, device in self._devices.items():
            if device.alive:
                self._device_birth(name, device, t)

    def _device_birth(self, name: str, device: _Device, t: float) -> None:
        self._say("DBIRTH", name, tuple(self._birth_metrics(device, device.time)), t)

    def _birth_metrics(self, device: _Device, time: int) -> Iterator[Metric]:
        device.reported = list(device.newest)
        for place, (spec, value) in enumerate(zip(device.specs, device.newest, strict=True)):
            alias = device.first_alias + place
            yield Metric(value, spec.datatype, spec.name, alias, time, False, _quality(spec, value), spec.unit)

    def _data_metric(
        self, device: _Device, place: int, value: MetricValue, time: int, *, historical: bool = False
    ) -> Metric:
        spec, quality = device.specs[place], None
        if historical or (value is None) != (device.reported[place] is None):
            quality = _quality(spec, value)
        return Metric(value, spec.datatype, "", device.first_alias + place, time, historical, quality)

    def _say(self, kind: str, device: str | None, metrics: tuple[Metric, ...], t: float) -> None:
        self._outgoing.append(self._message(kind, device, metrics, t))

    def _message(self, kind: str, device: str | None, metrics: tuple[Metric, ...], t: float) -> Message:
        payload = Payload(_ms(t), metrics, self._seq)
        self._seq = (self._seq + 1) % NUMBERS
        data = encode(payload, with_datatypes=self._datatype_in_data or not kind.endswith("DATA"))
        return Message(self.identity.topic(kind, device), data)

    # ------------------------------------------------------------------------------------------- store and forward

    def _store(self, device: _Device, values: tuple[tuple[int, MetricValue], ...]) -> None:
        device.stored.append((device.time, values))
        device.stored_count += len(values)
        while device.stored_count > self._keep:
            oldest = len(device.stored.popleft()[1])
            device.stored_count -= oldest
            self.dropped += oldest

    def _next_stored(self, t: float) -> Message | None:
        for name, device in self._devices.items():
            if device.stored and device.alive:
                metrics: list[Metric] = []
                while device.stored and len(metrics) < BATCH:
                    time, values = device.stored.popleft()
                    device.stored_count -= len(values)
                    metrics += (self._data_metric(device, place, v, time, historical=True) for place, v in values)
                return self._message("DDATA", name, tuple(metrics), t)
        return None

    # ------------------------------------------------------------------------------------------- what is received

    def received(self, topic: str, data: bytes, retained: bool, t: float) -> list[Event]:
        """What a message from outside, come at unix time t, asks of us; never raises, whatever it holds."""
        if self.identity.host is not None and topic == self.state_topic:
            return self._host_said(data, t)
        if topic == self.identity.topic("NCMD"):
            return self._commanded(None, data, retained, t)
        prefix = self.identity.topic("DCMD", "")
        if topic.startswith(prefix):
            return self._commanded(topic.removeprefix(prefix), data, retained, t)
        return []

    def _host_said(self, data: bytes, t: float) -> list[Event]:
        state = _host_state(data)
        if state is None or state[1] < self._host_time:
            return []
        self.host_online, self._host_time = state
        if self.host_online:
            if self.connected and not self.born:
                self._give_birth(t)
            return []
        if not self.born:
            return []
        self.leaving()
        return [HostOffline()]

    def _commanded(self, device: str | None, data: bytes, retained: bool, t: float) -> list[Event]:
        name = device or ""
        if retained:
            return [Refused(name, "E-SPARKPLUG-RETAINED", "a retained command would be repeated at every connection")]
        if not self.born or (device is not None and not self._is_alive(device)):
            return [Refused(name, "E-SPARKPLUG-DEVICE", f"{name or 'the node'} is not born")]
        try:
            payload = decode(data)
        except PayloadError as error:
            return [Refused(name, error.code, str(error))]
        if payload.timestamp is None or payload.timestamp > LAST_TIME or not payload.metrics:
            return [Refused(name, PayloadError.code, "a command has a timestamp and at least one metric")]
        if device is None:
            return [refused for metric in payload.metrics for refused in self._node_command(metric)]
        sent = payload.timestamp / 1000
        return [self._device_command(device, metric, sent) for metric in payload.metrics]

    def _is_alive(self, device: str) -> bool:
        return device in self._devices and self._devices[device].alive

    def _node_command(self, metric: Metric) -> list[Event]:
        if metric.name != REBIRTH or metric.alias is not None:
            shown = metric.name[:80] or f"alias {metric.alias}"
            return [Refused("", "E-SPARKPLUG-METRIC", f"{shown!r} of the node cannot be written")]
        if metric.value is not True:
            return [Refused("", "E-SPARKPLUG-VALUE", f"{REBIRTH} takes true")]
        self.rebirth_asked = True
        return []

    def _device_command(self, name: str, metric: Metric, sent: float) -> Event:
        device = self._devices[name]
        for place, spec in enumerate(device.specs):
            named = not metric.name or metric.name == spec.name
            aliased = metric.alias is None or metric.alias == device.first_alias + place
            if not (metric.name or metric.alias is not None) or not (named and aliased and spec.writable):
                continue
            wanted: type[object] = bool if spec.datatype is DataType.BOOLEAN else str
            if not isinstance(metric.value, wanted) or metric.datatype not in (None, spec.datatype):
                return Refused(name, "E-SPARKPLUG-VALUE", f"{spec.name} takes a {spec.datatype.name.lower()}")
            return Write(name, spec.name, metric.value, sent)
        shown = metric.name[:80] or f"alias {metric.alias}"
        return Refused(name, "E-SPARKPLUG-METRIC", f"{shown!r} cannot be written")


def _clean(values: Sequence[MetricValue]) -> tuple[MetricValue, ...]:
    return tuple(None if isinstance(value, float) and not math.isfinite(value) else value for value in values)


def _quality(spec: MetricSpec, value: MetricValue) -> Quality | None:
    if not spec.measured:
        return None
    return Quality.BAD if value is None else Quality.GOOD


def _ms(t: float) -> int:
    return round(t * 1000)


def _host_state(data: bytes) -> tuple[bool, int] | None:
    """(online, timestamp) of a STATE message; None for anything else."""
    if len(data) > MAX_STATE_BYTES:
        return None
    try:
        state = read_json(data)
    except UnreadableError:
        return None
    if not isinstance(state, dict):
        return None
    online, timestamp = state.get("online"), state.get("timestamp")
    if not isinstance(online, bool) or isinstance(timestamp, bool) or not isinstance(timestamp, int) or timestamp < 0:
        return None
    return online, timestamp
