"""Ways to spoil a trace: a check that finds nothing wrong with any of them checks nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from controller.sparkplug.payload import ProtobufPayload
from tests.controller.sparkplug.trace import Packet, Trace

Spoil = Callable[[Packet], Packet]


def mutations(trace: Trace) -> Iterator[Trace]:
    """Of each: our own packets of one kind at a time, changed in one respect."""
    kinds = {(packet.kind, packet.verb) for packet in trace.packets if not packet.told}
    for kind in sorted(kinds):
        yield Trace([p for p in trace.packets if p.told or (p.kind, p.verb) != kind])
        yield Trace([q for p in trace.packets for q in ([p] if p.told or (p.kind, p.verb) != kind else [p, p])])
        yield Trace(sorted(trace.packets, key=lambda p, kind=kind: p.kind != "CONNECT" and (p.kind, p.verb) != kind))
        yield Trace(sorted(trace.packets, key=lambda p, kind=kind: (p.kind, p.verb) != kind))
        for spoil in _spoils():
            yield Trace([p if p.told or (p.kind, p.verb) != kind else spoil(p) for p in trace.packets])
    for told in (
        [p for p in trace.packets if not p.told],
        [replace(p, payload=b"{}") if p.told else p for p in trace.packets],
    ):
        yield Trace(told)


def _spoils() -> Iterator[Spoil]:
    yield lambda p: replace(p, qos=2)
    yield lambda p: replace(p, retain=not p.retain)
    yield lambda p: replace(p, clean=not p.clean)
    yield lambda p: replace(p, level=5)
    yield lambda p: replace(p, topic=p.topic.replace("Pohang", "Ulsan"))
    yield lambda p: replace(p, topic=p.topic + "/st09")
    yield lambda p: replace(p, topic=p.topic.replace("st02", "ST01"))
    yield lambda p: replace(p, topic=p.topic.replace("st02", "st01"))
    yield lambda p: replace(p, payload=p.payload + b"\x0a")
    yield _payload(lambda m: m.ClearField("seq"))
    yield _payload(lambda m: setattr(m, "seq", 256))
    yield _payload(lambda m: m.ClearField("timestamp"))
    yield _payload(lambda m: setattr(m, "timestamp", m.timestamp // 1000))
    yield _payload(lambda m: m.ClearField("metrics"))
    for field in ("name", "alias", "timestamp", "datatype"):
        yield _metrics(lambda m, field=field: m.ClearField(field))
    yield _metrics(lambda m: setattr(m, "name", "x"))
    yield _metrics(lambda m: setattr(m, "alias", 7))
    yield _metrics(lambda m: setattr(m, "datatype", 99))
    yield _metrics(lambda m: setattr(m, "datatype", 10) if m.HasField("double_value") else None)
    yield _metrics(lambda m: setattr(m, "long_value", 9) if m.name == "bdSeq" else None)
    yield _metrics(lambda m: setattr(m, "string_value", "?") if m.HasField("string_value") else None)
    yield _metrics(lambda m: setattr(m, "double_value", 1.0) if m.HasField("double_value") else None)
    yield _metrics(lambda m: setattr(m, "int_value", 1))
    yield _metrics(lambda m: m.properties.keys.append("x"))
    yield _payload(_reverse_times)


def _payload(change: Callable[[Any], object]) -> Spoil:
    def spoil(packet: Packet) -> Packet:
        made = ProtobufPayload.FromString(packet.payload)
        change(made)
        return replace(packet, payload=made.SerializeToString())

    return spoil


def _metrics(change: Callable[[Any], object]) -> Spoil:
    return _payload(lambda made: [change(metric) for metric in made.metrics])


def _reverse_times(made: Any) -> None:
    for place, metric in enumerate(made.metrics):
        metric.timestamp -= place
