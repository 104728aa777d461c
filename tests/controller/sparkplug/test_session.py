"""The core of the edge node when things go otherwise: wrong hosts, wrong commands, hosts away."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.sparkplug.commands import as_command
from controller.sparkplug.incoming import HostOffline, Refused, Write
from controller.sparkplug.payload import DataType, Metric, Payload, Quality, encode
from tests.controller.sparkplug.assertions import asserts
from tests.controller.sparkplug.trace import (
    GROUP,
    NCMD,
    NODE,
    REBIRTH,
    STATE,
    Driven,
    born,
    command,
    state,
    station_values,
    values,
    verbs,
)

DCMD = f"spBv1.0/{GROUP}/DCMD/{NODE}/st01"


# ------------------------------------------------------------------------------------------- report by exception


def test_nothing_is_sent_while_nothing_moves_beyond_its_deadband() -> None:
    node = born()
    for n in range(100):
        assert node.read(volts=350.0 + 0.4 * (n % 2), amps=0.09 * (n % 2)) == []


def test_a_slow_drift_is_reported_when_it_has_come_beyond_the_deadband() -> None:
    node = born()
    reports = [packet for n in range(1, 101) for packet in node.read(volts=350.0 + 0.1 * n)]
    assert [values(packet)[0] for packet in reports] == pytest.approx(
        [350.0 + 0.6 * n for n in range(1, len(reports) + 1)]
    )
    assert len(reports) >= 16


def test_only_what_moved_is_in_the_message() -> None:
    (packet,) = born().read(volts=360.0)
    assert values(packet) == [360.0]


def test_a_value_that_is_no_longer_good_is_null_with_a_bad_quality_and_comes_back_good() -> None:
    node = born()
    for volts, quality in ((None, Quality.BAD), (350.0, Quality.GOOD), (float("nan"), Quality.BAD)):
        ((metric,),) = (packet.decoded.metrics for packet in node.read(volts=volts))
        assert metric.quality is quality
        assert metric.value == (350.0 if quality is Quality.GOOD else None)


@asserts("payloads-metric-datatype-not-req")
def test_data_types_go_with_the_data_only_where_a_host_needs_them(assertion: str) -> None:
    for wanted, expected in ((False, None), (True, DataType.DOUBLE)):
        (packet,) = born(datatype_in_data=wanted).read(volts=360.0)
        assert [metric.datatype for metric in packet.decoded.metrics] == [expected]


# ------------------------------------------------------------------------------------------- the primary host


@asserts("message-flow-edge-node-birth-publish-phid-wait-id")
def test_another_host_is_not_the_one_to_wait_for(assertion: str) -> None:
    node = Driven()
    node.read()
    node.connect(0)
    for topic in ("spBv1.0/STATE/scada2", "spBv1.0/STATE/scad", "spBv1.0/STATE/SCADA", "STATE/scada", STATE + "/x"):
        assert node.told(topic, state(True, 1000)) == []
    assert verbs(node.told(STATE, state(True, 1000))) == ["NBIRTH", "DBIRTH"]


@asserts(
    "message-flow-edge-node-birth-publish-phid-wait-timestamp",
    "operational-behavior-edge-node-termination-host-offline-timestamp",
)
def test_a_host_is_believed_unless_it_is_older_than_what_it_said_before(assertion: str) -> None:
    node = born(host="scada")  # online at 1000
    assert node.told(STATE, state(False, 999)) == []
    assert node.events == []
    assert node.core.born
    assert verbs(node.told(STATE, state(False, 1000))) == ["NDEATH"]
    assert node.events == [HostOffline()]
    node.connect(8)
    assert node.told(STATE, state(True, 999)) == []
    assert verbs(node.told(STATE, state(True, 1000)))[0] == "NBIRTH"


@pytest.mark.parametrize(
    "payload",
    [
        b"ONLINE",
        b"\xff",
        b"[]",
        b"{}",
        b'{"online": true}',
        b'{"online": "true", "timestamp": 1}',
        b'{"online": 1, "timestamp": 1}',
        b'{"online": true, "timestamp": true}',
        b'{"online": true, "timestamp": 1.5}',
        b'{"online": true, "timestamp": -1}',
        b'{"online": true, "timestamp": NaN}',
        b'{"online": false, "online": true, "timestamp": 1}',
        b'{"online": true, "timestamp": 1, "x": "' + b"x" * 1024 + b'"}',
        b"[" * 1000,
    ],
)
def test_a_state_that_is_none_changes_nothing(payload: bytes) -> None:
    node = Driven()
    node.read()
    node.connect(0)
    assert node.told(STATE, payload) == []
    assert not node.core.host_online


def test_a_host_that_comes_back_before_we_are_gone_gets_no_birth_in_the_dying_session() -> None:
    node = born(host="scada")
    assert verbs(node.told(STATE, state(False, 2000))) == ["NDEATH"]
    assert node.told(STATE, state(True, 3000)) == []


# ------------------------------------------------------------------------------------------- commands


@asserts(
    "topics-dcmd-topic",
    "topics-dcmd-payload",
    "operational-behavior-data-commands-dcmd-verb",
    "operational-behavior-data-commands-dcmd-metric-name",
)
def test_a_writable_metric_of_a_station_is_a_command_by_name_and_by_alias(assertion: str) -> None:
    node = born()
    births = [packet for packet in node.trace.packets if packet.verb == "DBIRTH"]
    alias = births[0].metric("Command/Hold").alias
    expected = [Write("st01", "Command/Hold", True, 1_767_225_600.0)]
    for metric in (Metric(True, DataType.BOOLEAN, "Command/Hold"), Metric(True, DataType.BOOLEAN, "", alias)):
        for with_datatypes in (True, False):
            data = encode(Payload(1_767_225_600_000, (metric,)), with_datatypes=with_datatypes)
            assert node.told(DCMD, data) == []
            assert node.events == expected


def refused(node: Driven, topic: str, payload: bytes, *, retained: bool = False) -> str:
    """The code of the one refusal that a command gets, and nothing is sent."""
    assert node.told(topic, payload, retained=retained) == []
    (event,) = node.events
    assert isinstance(event, Refused)
    assert event.why
    return event.code


@asserts("topics-dcmd-mqtt", "payloads-dcmd-retain", "topics-ncmd-mqtt", "payloads-ncmd-retain")
def test_a_retained_command_is_refused(assertion: str) -> None:
    topic, name = (DCMD, "Command/Hold") if "dcmd" in assertion else (NCMD, REBIRTH)
    assert refused(born(), topic, command(name, True), retained=True) == "E-SPARKPLUG-RETAINED"


@asserts("topics-dcmd-timestamp", "payloads-dcmd-timestamp", "topics-ncmd-timestamp", "payloads-ncmd-timestamp")
def test_a_command_without_its_time_is_refused(assertion: str) -> None:
    topic, name = (DCMD, "Command/Hold") if "dcmd" in assertion else (NCMD, REBIRTH)
    data = encode(Payload(None, (Metric(True, DataType.BOOLEAN, name),)))
    assert refused(born(), topic, data) == "E-SPARKPLUG-PAYLOAD"


@asserts(
    "operational-behavior-data-commands-dcmd-metric-value",
    "operational-behavior-data-commands-ncmd-metric-value",
)
def test_a_value_that_does_not_fit_is_refused(assertion: str) -> None:
    if "ncmd" in assertion:
        assert refused(born(), NCMD, command(REBIRTH, False)) == "E-SPARKPLUG-VALUE"
        assert refused(born(), NCMD, command(REBIRTH, "true")) == "E-SPARKPLUG-VALUE"
        return
    for metric in (
        Metric("true", DataType.STRING, "Command/Hold"),
        Metric(1, DataType.INT32, "Command/Hold"),
        Metric(None, DataType.BOOLEAN, "Command/Hold"),
        Metric(True, DataType.BOOLEAN, "Command/Message"),
    ):
        assert refused(born(), DCMD, encode(Payload(1, (metric,)))) == "E-SPARKPLUG-VALUE"


@asserts(
    "topics-ncmd-topic",
    "topics-ncmd-payload",
    "operational-behavior-data-commands-ncmd-verb",
    "operational-behavior-data-commands-ncmd-metric-name",
)
def test_nothing_of_the_node_can_be_written_but_its_rebirth(assertion: str) -> None:
    node = born()
    for name in ("bdSeq", "Properties/Software", "Node Control/Reboot", "Command/Hold"):
        assert refused(node, NCMD, command(name, True)) == "E-SPARKPLUG-METRIC"
    assert verbs(node.told(NCMD, command(REBIRTH, True))) == ["NBIRTH", "DBIRTH", "DBIRTH"]


@pytest.mark.parametrize("name", ["Live/Voltage", "Command/Fly", "command/hold", REBIRTH, ""])
def test_what_a_station_does_not_let_write_is_refused(name: str) -> None:
    assert refused(born(), DCMD, command(name, True)) == "E-SPARKPLUG-METRIC"


def test_a_name_and_an_alias_that_disagree_are_refused() -> None:
    data = encode(Payload(1, (Metric(True, DataType.BOOLEAN, "Command/Hold", 3),)))
    assert refused(born(), DCMD, data) == "E-SPARKPLUG-METRIC"


def test_commands_to_who_is_not_born_are_refused() -> None:
    node = born(host="scada")
    assert refused(node, DCMD.replace("st01", "st09"), command("Command/Hold", True)) == "E-SPARKPLUG-DEVICE"
    node.core.lost("st01", node.t)
    node.sent()
    assert refused(node, DCMD, command("Command/Hold", True)) == "E-SPARKPLUG-DEVICE"
    node.told(STATE, state(False, 2000))
    assert refused(node, NCMD, command(REBIRTH, True)) == "E-SPARKPLUG-DEVICE"


def test_a_flood_of_rebirths_gets_one_a_second() -> None:
    node = born()
    node.t += 2.0
    births = 0
    for _ in range(1000):
        node.t += 0.01
        node.core.received(NCMD, command(REBIRTH, True), False, node.t)
        births += verbs(node.sent()).count("NBIRTH")
    assert 9 <= births <= 11


def test_data_stands_still_between_the_request_and_the_rebirth() -> None:
    node = born()
    node.core.received(NCMD, command(REBIRTH, True), False, node.t)
    node.core.update("st01", station_values(volts=900.0), node.t)
    assert node.sent() == []
    node.t += 1.0
    sent = node.sent()
    assert verbs(sent)[:3] == ["NBIRTH", "DBIRTH", "DBIRTH"]
    assert sent[1].metric("Live/Voltage").value == 900.0


# ------------------------------------------------------------------------------------------- hostile input

TOPICS = (
    st.sampled_from([NCMD, DCMD, STATE, DCMD + "/x", DCMD[:-4], NCMD + "/", "", "spBv1.0", "\x00", "+/#"]) | st.text()
)
METRICS = st.builds(
    Metric,
    st.none() | st.booleans(),
    st.just(DataType.BOOLEAN),
    st.sampled_from([REBIRTH, "Command/Hold", "Command/Message", "bdSeq", ""]),
    st.none() | st.integers(0, 20),
)
COMMANDS = st.builds(Payload, st.none() | st.integers(0, 2**64 - 1), st.lists(METRICS, max_size=4).map(tuple))
BYTES = st.binary(max_size=200) | COMMANDS.map(encode) | st.builds(state, st.booleans(), st.integers(-1, 5000))


@given(st.lists(st.tuples(TOPICS, BYTES, st.booleans()), max_size=20))
@settings(max_examples=200)
def test_whatever_comes_is_carried_out_or_refused_and_the_node_goes_on(
    messages: list[tuple[str, bytes, bool]],
) -> None:
    """Each command of a payload is one event or a rebirth; what is sent keeps counting; nothing is ever raised."""
    node = born(host="scada")
    for topic, data, retained in messages:
        before = node.core.born
        sent = node.told(topic, data, retained=retained)
        for event in node.events:
            if isinstance(event, Write):
                assert (topic, retained, before) == (DCMD, False, True)
                # false asks for nothing, which is judged where it would become a command
                assert event.name == "Command/Hold"
                assert event.value is True or isinstance(as_command(event, "sparkplug:scada", "/scada"), Refused)
        is_command = topic in (NCMD, DCMD) or topic.startswith(DCMD[:-4])
        assert node.events or sent or not is_command
    if node.core.born:
        (packet,) = node.read(volts=12345.0)
        assert packet.verb == "DDATA"
    else:
        node.connect(8)
        assert "NBIRTH" in verbs(node.told(STATE, json.dumps({"online": True, "timestamp": 10**15}).encode()))
