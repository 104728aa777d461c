"""What others say to the edge node, judged by what it says alone: the primary host's state, and commands."""

from __future__ import annotations

from dataclasses import dataclass

from controller.mes.reading import PayloadError as UnreadableError
from controller.mes.reading import read_json
from controller.sparkplug.device import Device
from controller.sparkplug.payload import DataType, Metric, MetricValue, Payload, PayloadError, decode

REBIRTH = "Node Control/Rebirth"
MAX_STATE_BYTES = 1024
LAST_TIME = 4_102_444_800_000  # ms: the year 2100


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
    """The primary host is not there: send what `take` still has, disconnect, and connect anew."""


Event = Write | Refused | HostOffline


def read_state(data: bytes) -> tuple[bool, int] | None:
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


def read_command(name: str, data: bytes) -> tuple[float, tuple[Metric, ...]] | Refused:
    """When a command to the device of this name (empty for the node) was sent, unix s, and the metrics it writes."""
    try:
        payload: Payload = decode(data)
    except PayloadError as error:
        return Refused(name, error.code, str(error))
    if payload.timestamp is None or payload.timestamp > LAST_TIME or not payload.metrics:
        return Refused(name, PayloadError.code, "a command has a timestamp and at least one metric")
    return payload.timestamp / 1000, payload.metrics


def node_refusal(metric: Metric) -> Refused | None:
    """Why the node does not do what this asks for; None for the one thing it does, a rebirth."""
    if metric.name != REBIRTH or metric.alias is not None:
        return Refused("", "E-SPARKPLUG-METRIC", f"{_shown(metric)} of the node cannot be written")
    if metric.value is not True:
        return Refused("", "E-SPARKPLUG-VALUE", f"{REBIRTH} takes true")
    return None


def device_command(name: str, device: Device, metric: Metric, sent: float) -> Write | Refused:
    """What is asked of a device by a metric, which has a name, an alias, or both where they agree."""
    for place, spec in enumerate(device.specs):
        named = not metric.name or metric.name == spec.name
        aliased = metric.alias is None or metric.alias == device.first_alias + place
        if not (metric.name or metric.alias is not None) or not (named and aliased and spec.writable):
            continue
        wanted: type[object] = bool if spec.datatype is DataType.BOOLEAN else str
        if not isinstance(metric.value, wanted) or metric.datatype not in (None, spec.datatype):
            return Refused(name, "E-SPARKPLUG-VALUE", f"{spec.name} takes a {spec.datatype.name.lower()}")
        return Write(name, spec.name, metric.value, sent)
    return Refused(name, "E-SPARKPLUG-METRIC", f"{_shown(metric)} cannot be written")


def _shown(metric: Metric) -> str:
    return repr(metric.name[:80] or f"alias {metric.alias}")
