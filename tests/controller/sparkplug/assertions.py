"""The assertions of the Sparkplug 3.0 specification that a trace can show, by their ids (without `tck-id-`)."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

import pytest

from controller.sparkplug.payload import DataType, ProtobufPayload, Quality
from tests.controller.sparkplug.trace import GROUP, HOST, NBIRTH, NCMD, NDATA, NDEATH, NODE, STATE, Packet, Trace

CHECKS: dict[str, Callable[[Trace], None]] = {}
ASSERTED: set[str] = set()
"""Assertions that tests of their own check, beside those of a trace."""

BIRTHS, DATA = ("NBIRTH", "DBIRTH"), ("NDATA", "DDATA")
DEVICE_VERBS = ("DBIRTH", "DDATA", "DDEATH")
COUNTED = ("NBIRTH", "DBIRTH", "NDATA", "DDATA", "DDEATH")
CONTROL = ("bdSeq", "Node Control/Rebirth")
# every time of a trace lies in these years: ms since 1970 in UTC, not seconds, nor local time of a far zone
EARLIEST, LATEST = 1_700_000_000_000, 2_000_000_000_000


def checks(*ids: str) -> Callable[[Callable[[Trace], None]], Callable[[Trace], None]]:
    def register(check: Callable[[Trace], None]) -> Callable[[Trace], None]:
        for id in ids:
            assert id not in CHECKS, id
            CHECKS[id] = check
        return check

    return register


def asserts(*ids: str) -> pytest.MarkDecorator:
    """The test that carries it checks these assertions; they are in its name."""
    ASSERTED.update(ids)
    return pytest.mark.parametrize("assertion", ids)


# ------------------------------------------------------------------------------------------- topics


@checks("topic-structure", "topic-structure-namespace-a")
def _(trace: Trace) -> None:
    for packet in trace.said("NBIRTH", "NDEATH", "DBIRTH", "DDEATH", "NDATA", "DDATA"):
        assert re.fullmatch(rf"spBv1\.0/{GROUP}/[ND](BIRTH|DEATH|DATA)/{NODE}(/st\d\d)?", packet.topic)


@checks(
    "topic-structure-namespace-device-id-associated-message-types",
    "topics-dbirth-topic",
    "topics-ddata-topic",
    "topics-ddeath-topic",
    "message-flow-device-birth-publish-dbirth-topic",
    "message-flow-device-birth-publish-dbirth-match-edge-node-topic",
)
def _(trace: Trace) -> None:
    for verb in DEVICE_VERBS:
        for packet in trace.said(verb):
            assert re.fullmatch(rf"spBv1\.0/{GROUP}/{verb}/{NODE}/st\d\d", packet.topic)


@checks("topic-structure-namespace-device-id-non-associated-message-types")
def _(trace: Trace) -> None:
    assert {packet.device for packet in trace.said("NBIRTH", "NDEATH", "NDATA")} == {""}


@checks("topics-nbirth-topic", "message-flow-edge-node-birth-publish-nbirth-topic")
def _(trace: Trace) -> None:
    assert {packet.topic for packet in trace.said("NBIRTH")} == {NBIRTH}


@checks("topics-ndata-topic")
def _(trace: Trace) -> None:
    assert {packet.topic for packet in trace.said("NDATA")} == {NDATA}


@checks("topics-ndeath-topic", "message-flow-edge-node-birth-publish-will-message-topic")
def _(trace: Trace) -> None:
    assert {packet.topic for packet in trace.said("NDEATH")} == {NDEATH}
    assert {session[0].topic for session in trace.sessions()} == {NDEATH}


@checks("topic-structure-namespace-unique-device-id")
def _(trace: Trace) -> None:
    for birth in trace.births():
        alive: set[str] = set()
        for packet in birth:
            if packet.verb == "DBIRTH":
                assert packet.device not in alive
                alive.add(packet.device)
            elif packet.verb == "DDEATH":
                alive.remove(packet.device)


@checks("case-sensitivity-metric-names")
def _(trace: Trace) -> None:
    for packet in trace.said(*BIRTHS):
        names = [metric.name.lower() for metric in packet.decoded.metrics]
        assert len(set(names)) == len(names)


@checks("case-sensitivity-sparkplug-ids")
def _(trace: Trace) -> None:
    devices = {packet.device for packet in trace.said("DBIRTH")}
    assert len({device.lower() for device in devices}) == len(devices) > 0


# ------------------------------------------------------------------------------------------- QoS and retain


def _quality_of_service(verb: str, *ids: str) -> None:
    @checks(*ids)
    def _(trace: Trace) -> None:
        assert {(packet.qos, packet.retain) for packet in trace.said(verb)} == {(0, False)}


_quality_of_service(
    "NBIRTH",
    "topics-nbirth-mqtt",
    "payloads-nbirth-qos",
    "payloads-nbirth-retain",
    "message-flow-edge-node-birth-publish-nbirth-qos",
    "message-flow-edge-node-birth-publish-nbirth-retained",
)
_quality_of_service(
    "DBIRTH",
    "topics-dbirth-mqtt",
    "payloads-dbirth-qos",
    "payloads-dbirth-retain",
    "message-flow-device-birth-publish-dbirth-qos",
    "message-flow-device-birth-publish-dbirth-retained",
)
_quality_of_service("NDATA", "topics-ndata-mqtt", "payloads-ndata-qos", "payloads-ndata-retain")
_quality_of_service("DDATA", "topics-ddata-mqtt", "payloads-ddata-qos", "payloads-ddata-retain")
_quality_of_service("DDEATH", "topics-ddeath-mqtt")


# ------------------------------------------------------------------------------------------- sequence numbers


@checks("topics-nbirth-seq-num", "payloads-sequence-num-req-nbirth", "payloads-nbirth-seq")
def _(trace: Trace) -> None:
    assert {packet.decoded.seq for packet in trace.said("NBIRTH")} == {0}


@checks("message-flow-edge-node-birth-publish-nbirth-payload-seq")
def _(trace: Trace) -> None:
    for packet in trace.said("NBIRTH"):
        assert packet.decoded.seq in range(256)


def _counts_by_one(trace: Trace, *verbs: str) -> None:
    """Each of these is one more than the message before it, whatever that was, and 0 after 255."""
    trace.said(*verbs)
    for birth in trace.births():
        counted = [packet for packet in birth if packet.verb in COUNTED]
        for before, packet in pairwise(counted):
            if packet.verb in verbs:
                assert before.decoded.seq is not None
                assert packet.decoded.seq == (before.decoded.seq + 1) % 256


@checks("payloads-sequence-num-incrementing")
def _(trace: Trace) -> None:
    _counts_by_one(trace, *COUNTED)


@checks("payloads-sequence-num-always-included")
def _(trace: Trace) -> None:
    for packet in trace.said(*COUNTED):
        assert packet.decoded.seq is not None


@checks(
    "topics-dbirth-seq",
    "payloads-dbirth-seq",
    "payloads-dbirth-seq-inc",
    "message-flow-device-birth-publish-dbirth-payload-seq",
)
def _(trace: Trace) -> None:
    _counts_by_one(trace, "DBIRTH")


@checks("topics-ndata-seq-num", "payloads-ndata-seq", "payloads-ndata-seq-inc")
def _(trace: Trace) -> None:
    _counts_by_one(trace, "NDATA")


@checks("topics-ddata-seq-num", "payloads-ddata-seq", "payloads-ddata-seq-inc")
def _(trace: Trace) -> None:
    _counts_by_one(trace, "DDATA")


@checks("topics-ddeath-seq-num", "payloads-ddeath-seq", "payloads-ddeath-seq-inc", "payloads-ddeath-seq-number")
def _(trace: Trace) -> None:
    _counts_by_one(trace, "DDEATH")


@checks("topics-ndeath-seq", "payloads-ndeath-seq")
def _(trace: Trace) -> None:
    for packet in (*trace.said("NDEATH"), *(session[0] for session in trace.sessions())):
        assert packet.decoded.seq is None


# ------------------------------------------------------------------------------------------- timestamps


def _has_timestamp(verb: str, *ids: str) -> None:
    @checks(*ids)
    def _(trace: Trace) -> None:
        times = [packet.decoded.timestamp for packet in trace.said(verb)]
        assert all(time is not None and EARLIEST < time < LATEST for time in times)


_has_timestamp("NBIRTH", "topics-nbirth-timestamp", "payloads-nbirth-timestamp")
_has_timestamp("DBIRTH", "topics-dbirth-timestamp", "payloads-dbirth-timestamp")
_has_timestamp("NDATA", "topics-ndata-timestamp", "payloads-ndata-timestamp")
_has_timestamp("DDATA", "topics-ddata-timestamp", "payloads-ddata-timestamp")
_has_timestamp("DDEATH", "payloads-ddeath-timestamp")


@checks("payloads-timestamp-in-UTC")
def _(trace: Trace) -> None:
    for packet in trace.said(*COUNTED):
        assert EARLIEST < (packet.decoded.timestamp or 0) < LATEST


@checks("payloads-name-birth-data-requirement", "payloads-metric-timestamp-in-UTC")
def _(trace: Trace) -> None:
    for packet in trace.said(*BIRTHS, *DATA):
        for metric in packet.decoded.metrics:
            assert EARLIEST < (metric.timestamp or 0) < LATEST


# ------------------------------------------------------------------------------------------- metrics


@checks(
    "topics-nbirth-metric-reqs",
    "topics-nbirth-metrics",
    "message-flow-edge-node-birth-publish-nbirth-payload",
    "payloads-name-requirement",
)
def _(trace: Trace) -> None:
    _complete(trace.said("NBIRTH"))


@checks("topics-dbirth-metric-reqs", "topics-dbirth-metrics", "message-flow-device-birth-publish-dbirth-payload")
def _(trace: Trace) -> None:
    _complete(trace.said("DBIRTH"))


def _complete(births: list[Packet]) -> None:
    for packet in births:
        assert packet.decoded.metrics
        for metric in packet.decoded.metrics:
            assert metric.name
            assert metric.datatype is not None


@checks("payloads-metric-datatype-req", "payloads-metric-datatype-value-type", "payloads-metric-datatype-value")
def _(trace: Trace) -> None:
    for packet in trace.said(*BIRTHS):
        for metric in packet.decoded.metrics:
            assert metric.datatype is not None  # the decoder refuses numbers that are none of the enumeration


@checks("payloads-metric-datatype-not-req")
def _(trace: Trace) -> None:
    for packet in trace.said(*DATA):
        assert {metric.datatype for metric in packet.decoded.metrics} == {None}


@checks("payloads-alias-uniqueness")
def _(trace: Trace) -> None:
    for birth in trace.births():
        names: dict[int, tuple[str, str]] = {}
        for packet in birth:
            for metric in packet.decoded.metrics if packet.verb in BIRTHS else ():
                if metric.alias is not None:
                    assert names.setdefault(metric.alias, (packet.device, metric.name)) == (packet.device, metric.name)


@checks("payloads-alias-birth-requirement")
def _(trace: Trace) -> None:
    for packet in trace.said(*BIRTHS):
        for metric in packet.decoded.metrics:
            assert metric.name
            assert (metric.alias is None) == (metric.name == "Node Control/Rebirth")


@checks("payloads-alias-data-cmd-requirement")
def _(trace: Trace) -> None:
    for packet in trace.said(*DATA):
        for metric in packet.decoded.metrics:
            assert metric.alias is not None
            assert not metric.name


@checks("operational-behavior-data-publish-nbirth", "topics-ndata-payload")
def _(trace: Trace) -> None:
    _only_what_was_born(trace, "NBIRTH", "NDATA")


@checks("operational-behavior-data-publish-dbirth", "topics-ddata-payload")
def _(trace: Trace) -> None:
    _only_what_was_born(trace, "DBIRTH", "DDATA")


def _only_what_was_born(trace: Trace, birth_verb: str, data_verb: str) -> None:
    trace.said(data_verb)
    for birth in trace.births():
        born: dict[str, set[int | None]] = {}
        for packet in birth:
            aliases = {metric.alias for metric in packet.decoded.metrics}
            if packet.verb == birth_verb:
                born[packet.device] = aliases
            elif packet.verb == data_verb:
                assert aliases
                assert aliases <= born[packet.device]


@checks("operational-behavior-data-publish-nbirth-values")
def _(trace: Trace) -> None:
    """The value that was sent last is the one of the next birth of the same session."""
    _births_have_current_values(trace, "NBIRTH", "NDATA")


@checks("operational-behavior-data-publish-dbirth-values")
def _(trace: Trace) -> None:
    _births_have_current_values(trace, "DBIRTH", "DDATA")


def _births_have_current_values(trace: Trace, birth_verb: str, data_verb: str) -> None:
    compared = 0
    for session in trace.sessions():
        known: dict[tuple[str, int | None], object] = {}
        for packet in session:
            if packet.told or packet.verb not in (birth_verb, data_verb, "DDEATH"):
                continue
            if packet.verb == "DDEATH":
                known = {key: value for key, value in known.items() if key[0] != packet.device}
                continue
            for metric in packet.decoded.metrics:
                key = (packet.device, metric.alias)
                if packet.verb == data_verb and not metric.historical:
                    known[key] = metric.value
                elif packet.verb == birth_verb and key in known and not isinstance(known[key], float):
                    compared += 1
                    assert metric.value == known[key]  # floats may have moved within their deadband since
    assert compared or birth_verb == "NBIRTH"  # the node's own values hardly ever change


@checks("operational-behavior-data-publish-nbirth-change")
def _(trace: Trace) -> None:
    _only_what_changed(trace, "NBIRTH", "NDATA")


@checks("operational-behavior-data-publish-dbirth-change", "principles-rbe-recommended")
def _(trace: Trace) -> None:
    _only_what_changed(trace, "DBIRTH", "DDATA")


def _only_what_changed(trace: Trace, birth_verb: str, data_verb: str) -> None:
    trace.said(data_verb)
    for birth in trace.births():
        known: dict[tuple[str, int | None], object] = {}
        for packet in birth:
            for metric in packet.decoded.metrics if packet.verb in (birth_verb, data_verb) else ():
                key = (packet.device, metric.alias)
                if packet.verb == data_verb and not metric.historical:
                    assert metric.value != known[key]
                if not metric.historical:
                    known[key] = metric.value


@checks("operational-behavior-data-publish-nbirth-order")
def _(trace: Trace) -> None:
    _chronological(trace, "NBIRTH", "NDATA")


@checks("operational-behavior-data-publish-dbirth-order")
def _(trace: Trace) -> None:
    _chronological(trace, "DBIRTH", "DDATA")


def _chronological(trace: Trace, *verbs: str) -> None:
    for packet in trace.said(*verbs):
        times = [metric.timestamp or 0 for metric in packet.decoded.metrics if not metric.historical]
        assert times == sorted(times)


# ------------------------------------------------------------------------------------------- properties


@checks(
    "payloads-propertyset-quality-value-type",
    "payloads-propertyset-quality-value-value",
    "payloads-metric-propertyvalue-type-type",
    "payloads-metric-propertyvalue-type-value",
    "payloads-metric-propertyvalue-type-req",
    "payloads-propertyset-keys-array-size",
    "payloads-propertyset-values-array-size",
)
def _(trace: Trace) -> None:
    """Every property of a birth as its bytes are, since our decoder reads the two that it knows alone."""
    seen = 0
    for packet in trace.said(*BIRTHS, *DATA):
        for metric in ProtobufPayload.FromString(packet.payload).metrics:
            keys, values = list(metric.properties.keys), list(metric.properties.values)
            assert len(keys) == len(values)
            for key, value in zip(keys, values, strict=True):
                assert value.HasField("type")
                assert DataType(value.type)
                if key == "Quality":
                    assert (value.type, value.WhichOneof("value")) == (DataType.INT32, "int_value")
                    assert value.int_value in tuple(Quality)
                    seen += 1
    assert seen


# ------------------------------------------------------------------------------------------- the node's own metrics


@checks("topics-nbirth-bdseq-included", "payloads-nbirth-bdseq")
def _(trace: Trace) -> None:
    for packet in trace.said("NBIRTH"):
        metric = packet.metric("bdSeq")
        assert metric.datatype is DataType.INT64
        assert metric.value in range(256)


@checks(
    "topics-nbirth-bdseq-matching",
    "payloads-nbirth-bdseq-repeat",
    "payloads-ndeath-bdseq",
    "message-flow-edge-node-birth-publish-nbirth-payload-bdSeq",
    "operational-behavior-data-commands-rebirth-action-3",
)
def _(trace: Trace) -> None:
    for session in trace.sessions():
        will = session[0].metric("bdSeq").value
        said = [packet for packet in session if packet.verb in ("NBIRTH", "NDEATH") and not packet.told]
        assert said
        assert {packet.metric("bdSeq").value for packet in said} == {will}


@checks("topics-nbirth-bdseq-increment", "message-flow-edge-node-birth-publish-will-message-payload-bdSeq")
def _(trace: Trace) -> None:
    metrics = [session[0].metric("bdSeq") for session in trace.sessions()]
    assert {metric.datatype for metric in metrics} == {DataType.INT64}
    for before, metric in pairwise(metrics):
        assert isinstance(before.value, int)
        assert metric.value == (before.value + 1) % 256


@checks(
    "topics-nbirth-rebirth-metric",
    "payloads-nbirth-rebirth-req",
    "operational-behavior-data-commands-rebirth-name",
    "operational-behavior-data-commands-rebirth-name-aliases",
    "operational-behavior-data-commands-rebirth-datatype",
    "operational-behavior-data-commands-rebirth-value",
)
def _(trace: Trace) -> None:
    for packet in trace.said("NBIRTH"):
        metric = packet.metric("Node Control/Rebirth")
        assert (metric.datatype, metric.value, metric.alias) == (DataType.BOOLEAN, False, None)


# ------------------------------------------------------------------------------------------- connection


@checks("principles-persistence-clean-session-311")
def _(trace: Trace) -> None:
    assert {(session[0].level, session[0].clean) for session in trace.sessions()} == {(4, True)}


@checks(
    "message-flow-edge-node-birth-publish-will-message",
    "payloads-ndeath-will-message",
    "message-flow-edge-node-birth-publish-will-message-payload",
    "topics-ndeath-payload",
)
def _(trace: Trace) -> None:
    for packet in (*trace.said("NDEATH"), *(session[0] for session in trace.sessions())):
        assert [metric.name for metric in packet.decoded.metrics] == ["bdSeq"]


@checks("message-flow-edge-node-birth-publish-will-message-qos", "payloads-ndeath-will-message-qos")
def _(trace: Trace) -> None:
    assert {session[0].qos for session in trace.sessions()} == {1}


@checks("message-flow-edge-node-birth-publish-will-message-will-retained", "payloads-ndeath-will-message-retain")
def _(trace: Trace) -> None:
    assert {session[0].retain for session in trace.sessions()} == {False}


def _subscribed(trace: Trace, topic: str) -> None:
    """In every session, with QoS 1, before the birth."""
    for session in trace.sessions():
        birth = next((n for n, packet in enumerate(session) if packet.verb == "NBIRTH"), len(session))
        assert ("SUBSCRIBE", topic, 1) in {(packet.kind, packet.topic, packet.qos) for packet in session[:birth]}


@checks("message-flow-edge-node-ncmd-subscribe")
def _(trace: Trace) -> None:
    _subscribed(trace, NCMD)


@checks("message-flow-device-dcmd-subscribe")
def _(trace: Trace) -> None:
    _subscribed(trace, f"spBv1.0/{GROUP}/DCMD/{NODE}/+")


@checks("operational-behavior-primary-application-state-with-multiple-servers-state-subs")
def _(trace: Trace) -> None:
    _subscribed(trace, STATE)


@checks("message-flow-edge-node-birth-publish-connect")
def _(trace: Trace) -> None:
    first = next(n for n, packet in enumerate(trace.packets) if packet.verb in BIRTHS)
    assert any(packet.kind == "CONNECT" for packet in trace.packets[:first])


@checks("operational-behavior-primary-application-state-with-multiple-servers-single-server")
def _(trace: Trace) -> None:
    for session in trace.sessions()[:-1]:
        said = [packet for packet in session if not packet.told]
        assert said[-1].kind == "DISCONNECT"
        assert len({packet.server for packet in said}) == 1


# ------------------------------------------------------------------------------------------- births and deaths


@checks("principles-birth-certificates-order", "message-flow-device-birth-publish-nbirth-wait")
def _(trace: Trace) -> None:
    trace.said("NBIRTH")
    for session in trace.sessions():
        said = [packet.verb for packet in session if packet.verb and not packet.told]
        assert said[:1] in ([], ["NBIRTH"])


def _births_first(verb: str, *ids: str) -> None:
    @checks(*ids)
    def _(trace: Trace) -> None:
        """Of each device that lives at the NBIRTH, the DBIRTH comes before any data."""
        trace.said(verb)
        for birth in trace.births():
            first = next((n for n, packet in enumerate(birth) if packet.verb == verb), len(birth))
            after = birth[first:]
            dead = {packet.device for packet in after if packet.verb == "DDEATH"}
            late = {packet.device for packet in after if packet.verb == "DBIRTH"}
            assert late <= dead


_births_first("NDATA", "payloads-ndata-order")
_births_first("DDATA", "payloads-ddata-order")


@checks("payloads-dbirth-order")
def _(trace: Trace) -> None:
    for birth in trace.births():
        verbs = [packet.verb for packet in birth]
        first_data = next((n for n, verb in enumerate(verbs) if verb in DATA), len(verbs))
        assert set(verbs[1:first_data]) <= {"DBIRTH", "DDEATH", "NDEATH"}
        assert "DBIRTH" in verbs[:first_data]


@checks("operational-behavior-device-ddeath")
def _(trace: Trace) -> None:
    """After it nothing of the device but its next birth."""
    trace.said("DDEATH")
    for birth in trace.births():
        dead: set[str] = set()
        for packet in birth:
            if packet.verb == "DDEATH":
                dead.add(packet.device)
            elif packet.verb == "DBIRTH":
                dead.discard(packet.device)
            assert packet.verb != "DDATA" or packet.device not in dead


@checks(
    "operational-behavior-edge-node-intentional-disconnect-ndeath",
    "payloads-ndeath-will-message-publisher",
    "payloads-ndeath-will-message-publisher-disconnect-mqtt311",
    "operational-behavior-edge-node-intentional-disconnect-packet",
)
def _(trace: Trace) -> None:
    seen = 0
    for session in trace.sessions():
        said = [packet for packet in session if not packet.told]
        if any(packet.verb == "NBIRTH" for packet in said) and said[-1].kind == "DISCONNECT":
            assert said[-2].verb == "NDEATH"
            seen += 1
    assert seen


# ------------------------------------------------------------------------------------------- rebirth


@checks(
    "operational-behavior-data-commands-rebirth-action-1",
    "operational-behavior-data-commands-rebirth-action-2",
    "operational-behavior-data-commands-ncmd-rebirth-verb",
    "operational-behavior-data-commands-ncmd-rebirth-name",
    "operational-behavior-data-commands-ncmd-rebirth-value",
)
def _(trace: Trace) -> None:
    """What follows the request is the whole birth: no data, the NBIRTH, and every device that lives. On a wire data may
    pass it on its way; the node has it when it acknowledges it."""
    asked = [n for n, packet in enumerate(trace.packets) if packet.told and packet.topic == NCMD]
    assert asked
    for place in asked:
        rest = trace.packets[place:]
        if rest[0].qos:
            rest = rest[[packet.kind == "PUBACK" and not packet.told for packet in rest].index(True) :]
        alive: set[str] = set()
        for packet in trace.packets[:place]:
            if packet.verb == "DBIRTH":
                alive.add(packet.device)
            elif packet.verb in ("DDEATH", "NBIRTH"):
                alive = alive - {packet.device} if packet.verb == "DDEATH" else set()
        after = [packet for packet in rest if packet.verb and not packet.told]
        assert after[0].verb == "NBIRTH"
        assert {packet.device for packet in after[1 : 1 + len(alive)] if packet.verb == "DBIRTH"} == alive


# ------------------------------------------------------------------------------------------- the primary host


def _host_said(packet: Packet) -> bool | None:
    if not packet.told or packet.topic != f"spBv1.0/STATE/{HOST}":
        return None
    return b"true" in packet.payload


@checks(
    "message-flow-edge-node-birth-publish-phid-wait",
    "message-flow-edge-node-birth-publish-phid-wait-online",
    "operational-behavior-edge-node-birth-sequence-wait",
)
def _(trace: Trace) -> None:
    for session in trace.sessions():
        online = False
        for packet in session:
            online = _host_said(packet) if _host_said(packet) is not None else online
            assert packet.verb != "NBIRTH" or online


@checks(
    "message-flow-edge-node-birth-publish-phid-offline",
    "operational-behavior-edge-node-termination-host-offline",
    "operational-behavior-edge-node-termination-host-offline-reconnect",
)
def _(trace: Trace) -> None:
    """The host's offline ends a session that is born: death, DISCONNECT, and a new connection. On a wire something may
    pass it on its way."""
    seen = 0
    for session in trace.sessions()[:-1]:
        born = next((n for n, packet in enumerate(session) if packet.verb == "NBIRTH"), None)
        if born is None:
            continue
        offline = [n for n, packet in enumerate(session) if _host_said(packet) is False and n > born]
        if offline:
            after = [packet for packet in session[offline[0] :] if not packet.told]
            if session[offline[0]].qos:
                after = [packet for packet in after if packet.verb not in DATA and packet.kind != "UNSUBSCRIBE"]
            assert [packet.verb or packet.kind for packet in after][-2:] == ["NDEATH", "DISCONNECT"]
            assert len(after) == 2
            seen += 1
    assert seen
