"""What an edge node said and was told, in its order: from its core alone, or tapped from a real connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property

from controller.sparkplug.device import MetricSpec
from controller.sparkplug.incoming import Event
from controller.sparkplug.payload import DataType, Metric, MetricValue, Payload, decode, encode
from controller.sparkplug.session import EdgeNode, Identity

GROUP, NODE, HOST = "Pohang", "line1", "scada"
NBIRTH, NDEATH, NDATA, NCMD = (f"spBv1.0/{GROUP}/{kind}/{NODE}" for kind in ("NBIRTH", "NDEATH", "NDATA", "NCMD"))
STATE = f"spBv1.0/STATE/{HOST}"
REBIRTH = "Node Control/Rebirth"


@dataclass(frozen=True)
class Packet:
    """One MQTT packet; of a CONNECT, topic to retain are its will's. `told` came from the broker, one of several with a
    name for it."""

    kind: str  # CONNECT SUBSCRIBE UNSUBSCRIBE PUBLISH PUBACK DISCONNECT
    topic: str = ""
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    clean: bool = False
    level: int = 4
    told: bool = False
    server: str = ""

    @property
    def verb(self) -> str:
        """NBIRTH, DDATA ...; empty for what is no Sparkplug message of the node's."""
        parts = self.topic.split("/")
        return parts[2] if self.kind == "PUBLISH" and len(parts) > 3 else ""

    @property
    def device(self) -> str:
        return "/".join(self.topic.split("/")[4:])

    @cached_property
    def decoded(self) -> Payload:
        return decode(self.payload)

    def metric(self, name: str) -> Metric:
        (found,) = (metric for metric in self.decoded.metrics if metric.name == name)
        return found


@dataclass
class Trace:
    packets: list[Packet] = field(default_factory=list)

    def said(self, *verbs: str) -> list[Packet]:
        """What the node published; there must be some, or a check of it would say nothing."""
        found = [packet for packet in self.packets if not packet.told and packet.verb in verbs]
        assert found, f"the trace has no {verbs}"
        return found

    def sessions(self) -> list[list[Packet]]:
        """The packets of each connection, from its CONNECT on."""
        sessions: list[list[Packet]] = []
        for packet in self.packets:
            if packet.kind == "CONNECT":
                sessions.append([])
            sessions[-1].append(packet)
        assert len(sessions) > 1, "one connection proves nothing about two"
        return sessions

    def births(self) -> Iterator[list[Packet]]:
        """What was published from each NBIRTH to the next, or to the end of its session."""
        for session in self.sessions():
            current: list[Packet] | None = None
            for packet in session:
                if packet.told or packet.kind != "PUBLISH":
                    continue
                if packet.verb == "NBIRTH":
                    if current:
                        yield current
                    current = []
                if current is not None:
                    current.append(packet)
            if current:
                yield current


# ------------------------------------------------------------------------------------------- the core alone

NODE_SPECS = (MetricSpec("Properties/Software", DataType.STRING), MetricSpec("Store/Dropped Values", DataType.INT64))
STATION_SPECS = (
    MetricSpec("State/Name", DataType.STRING),
    MetricSpec("Run/Id", DataType.STRING),
    MetricSpec("Live/Voltage", DataType.DOUBLE, "V", 0.5, measured=True),
    MetricSpec("Live/Current", DataType.DOUBLE, "A", 0.1, measured=True),
    MetricSpec("Command/Hold", DataType.BOOLEAN, writable=True),
    MetricSpec("Command/Message", DataType.STRING, writable=True),
)


def station_values(
    state: str = "IDLE", run: str | None = None, volts: float | None = 350.0, amps: float | None = 0.0
) -> tuple[MetricValue, ...]:
    return (state, run, volts, amps, False, "")


def state(online: bool, timestamp: int) -> bytes:
    return json.dumps({"online": online, "timestamp": timestamp}).encode()


def command(name: str, value: MetricValue, t: float = 1_767_225_600.0) -> bytes:
    datatype = DataType.BOOLEAN if isinstance(value, bool) else DataType.STRING
    return encode(Payload(round(t * 1000), (Metric(value, datatype, name),)))


class Driven:
    """The core with a clock of its own, and everything that goes through it written down."""

    def __init__(self, *, host: str | None = HOST, datatype_in_data: bool = False, keep: int = 1000) -> None:
        specs = {"st01": STATION_SPECS, "st02": STATION_SPECS}
        self.core = EdgeNode(
            Identity(GROUP, NODE, host), NODE_SPECS, specs, datatype_in_data=datatype_in_data, keep=keep
        )
        self.t = 1_767_225_600.0
        self.trace = Trace()
        self.events: Sequence[Event] = []
        self.core.update_node(("1.0", 0), self.t)

    def connect(self, bdseq: int) -> None:
        will = self.core.connecting(bdseq)
        self.trace.packets.append(Packet("CONNECT", will.topic, will.payload, will.qos, will.retain, clean=True))
        for topic in self.core.subscriptions:
            self.trace.packets.append(Packet("SUBSCRIBE", topic, qos=1))
        self.core.subscribed(self.t)
        self.sent()

    def sent(self) -> list[Packet]:
        """Let it send what it has, which the server gets; returns that."""
        found = self.under_way()
        self.core.reached(self.core.taken)
        return found

    def under_way(self) -> list[Packet]:
        """What it sends, without a word from the server."""
        found = []
        while (message := self.core.take(self.t)) is not None:
            found.append(Packet("PUBLISH", message.topic, message.payload, message.qos, message.retain))
        self.trace.packets += found
        return found

    def told(self, topic: str, payload: bytes, *, retained: bool = False) -> list[Packet]:
        self.t += 2.0
        self.trace.packets.append(Packet("PUBLISH", topic, payload, retain=retained, told=True))
        self.events = self.core.received(topic, payload, retained, self.t)
        return self.sent()

    def read(self, station: str = "st01", **values: str | float | None) -> list[Packet]:
        self.t += 1.0
        self.core.update(station, station_values(**values), self.t)  # type: ignore[arg-type]
        return self.sent()

    def leave(self) -> None:
        self.core.leaving()
        self.sent()
        self.trace.packets.append(Packet("DISCONNECT"))


def born(*, host: str | None = None, keep: int = 1000, datatype_in_data: bool = False) -> Driven:
    """A node with two stations that live, its births sent."""
    node = Driven(host=host, keep=keep, datatype_in_data=datatype_in_data)
    node.read("st01")
    node.read("st02")
    node.connect(7)
    if host is not None:
        node.told(STATE, state(True, 1000))
    assert node.core.born
    return node


def verbs(packets: list[Packet]) -> list[str]:
    return [packet.verb for packet in packets]


def values(packet: Packet) -> list[object]:
    return [metric.value for metric in packet.decoded.metrics]


def whole_life() -> Trace:
    """Two connections with everything that can happen in them."""
    node = Driven()
    node.read("st01")
    node.read("st02")
    node.connect(0)
    node.told(STATE, state(True, 1000))
    for n in range(300):  # beyond the last sequence number
        node.read("st01", volts=350.0 + n)
    node.read("st01", volts=None)
    node.read("st01", volts=360.0)
    node.core.update_node(("1.0", 7), node.t)
    node.sent()
    node.core.lost("st02", node.t)
    node.sent()
    node.read("st02", state="ABORTED")
    node.read("st01", state="EXECUTE", run="st01-000001")
    node.told(NCMD, command(REBIRTH, True))
    node.read("st01", state="HELD", run="st01-000001")
    node.told(STATE, state(False, 2000))
    node.leave()
    for n in range(4):
        node.read("st01", volts=300.0 + n, state="EXECUTE", run="st01-000001")
    node.connect(1)
    node.told(STATE, state(False, 2000))
    node.read("st01", volts=200.0, state="EXECUTE", run="st01-000001")
    node.told(STATE, state(True, 3000))
    node.read("st01", volts=400.0)
    node.leave()
    return node.trace


# --------------------------------------------------------------------------------------------- a tapped connection


@asynccontextmanager
async def tap(
    host: str, port: int, trace: Trace, lose: Callable[[Packet], bool] = lambda packet: False, server: str = ""
) -> AsyncIterator[int]:
    """A port that leads to the broker and writes down every packet of MQTT 3.1.1 on its way, unless it loses it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, to_broker = await asyncio.open_connection(host, port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(forward(reader, to_broker, told=False))
                group.create_task(forward(theirs, writer, told=True))
        except* (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            to_broker.close()

    async def forward(source: asyncio.StreamReader, target: asyncio.StreamWriter, *, told: bool) -> None:
        while True:
            head = await source.readexactly(1)
            length, shift, size = 0, 0, b""
            while True:
                byte = await source.readexactly(1)
                size += byte
                length |= (byte[0] & 0x7F) << shift
                shift += 7
                if byte[0] < 0x80:
                    break
            body = await source.readexactly(length)
            packets = [replace(packet, server=server) for packet in _packets(head[0], body, told)]
            if any(map(lose, packets)):
                continue
            trace.packets += packets
            target.write(head + size + body)
            await target.drain()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


def _packets(head: int, body: bytes, told: bool) -> list[Packet]:
    def text(at: int) -> tuple[bytes, int]:
        end = at + 2 + int.from_bytes(body[at : at + 2], "big")
        return body[at + 2 : end], end

    kind, qos = head >> 4, (head >> 1) & 3
    if kind == 1:
        _, at = text(0)
        level, flags = body[at], body[at + 1]
        _, at = text(at + 4)
        topic, payload = b"", b""
        if flags & 4:
            topic, at = text(at)
            payload, at = text(at)
        will = (topic.decode(), payload, flags >> 3 & 3, bool(flags & 32))
        return [Packet("CONNECT", *will, clean=bool(flags & 2), level=level)]
    if kind == 8:
        found, at = [], 2
        while at < len(body):
            topic, at = text(at)
            found.append(Packet("SUBSCRIBE", topic.decode(), qos=body[at]))
            at += 1
        return found
    if kind == 3:
        topic, at = text(0)
        at += 2 if qos else 0
        return [Packet("PUBLISH", topic.decode(), body[at:], qos, bool(head & 1), told=told)]
    names = {4: "PUBACK", 10: "UNSUBSCRIBE", 14: "DISCONNECT"}
    return [Packet(names[kind], told=told)] if kind in names else []
