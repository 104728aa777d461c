"""The core of the edge node when things go otherwise: wrong hosts, wrong commands, hosts away, too much to store."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.sparkplug.commands import as_command
from controller.sparkplug.incoming import HostOffline, Refused, Write
from controller.sparkplug.payload import DataType, Metric, Payload, Quality, encode
from tests.controller.sparkplug.assertions import asserts
from tests.controller.sparkplug.trace import GROUP, NCMD, NODE, STATE, Driven, Packet, command, state, station_values

DCMD = f"spBv1.0/{GROUP}/DCMD/{NODE}/st01"
REBIRTH = "Node Control/Rebirth"


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


# ------------------------------------------------------------------------------------------- store and forward


def test_what_happened_without_the_host_follows_the_births_as_history_in_its_order() -> None:
    node = born(host="scada")
    node.told(STATE, state(False, 2000))
    times = []
    for n in range(3):
        assert node.read(volts=400.0 + n) == []
        times.append(round(node.t * 1000))
    node.connect(8)
    sent = node.told(STATE, state(True, 3000))
    assert verbs(sent) == ["NBIRTH", "DBIRTH", "DBIRTH", "DDATA"]
    stored = sent[-1].decoded.metrics
    assert [(metric.value, metric.timestamp, metric.historical) for metric in stored] == [
        (400.0 + n, time, True) for n, time in enumerate(times)
    ]
    (live,) = node.read(volts=500.0)
    assert [metric.historical for metric in live.decoded.metrics] == [False]


def queued(node: Driven, *volts: float) -> None:
    """Readings of st01, 1 s apart, whose messages are still to be taken."""
    for value in volts:
        node.t += 1
        node.core.update("st01", station_values(volts=value), node.t)


def told(packet: Packet) -> list[tuple[object, int | None, bool]]:
    """Value, time in ms, and whether it is history."""
    return [(metric.value, metric.timestamp, metric.historical) for metric in packet.decoded.metrics]


def ms(node: Driven, seconds: float = 0.0) -> int:
    """So many seconds from now, as a metric's timestamp."""
    return round((node.t + seconds) * 1000)


def test_what_a_lost_connection_left_unsent_comes_before_what_happened_after_it() -> None:
    node = born()
    queued(node, 400.0, 401.0)
    node.core.disconnected()
    queued(node, 402.0)
    node.connect(8)
    sent = node.trace.packets[-4:]
    assert verbs(sent) == ["NBIRTH", "DBIRTH", "DBIRTH", "DDATA"]
    assert told(sent[-1]) == [(400.0, ms(node, -2), True), (401.0, ms(node, -1), True), (402.0, ms(node), True)]


def test_what_was_sent_and_is_not_known_to_have_arrived_is_sent_again_as_history() -> None:
    node = born()
    node.read(volts=400.0)
    queued(node, 401.0)
    assert [values(packet) for packet in node.under_way()] == [[401.0]]
    half = node.core.taken
    queued(node, 402.0)
    assert [values(packet) for packet in node.under_way()] == [[402.0]]
    node.core.reached(half)
    node.core.disconnected()
    node.connect(8)
    assert told(node.trace.packets[-1]) == [(402.0, ms(node), True)]


def test_history_that_did_not_arrive_is_sent_again_in_its_order() -> None:
    node = born(host="scada")
    node.told(STATE, state(False, 2000))
    queued(node, *(400.0 + n for n in range(450)))
    node.connect(8)
    node.core.received(STATE, state(True, 3000), False, node.t)
    for _ in range(5):  # the births, and two of the three messages of history
        node.core.take(node.t)
    queued(node, 900.0)
    node.connect(9)
    history = [metric for packet in node.told(STATE, state(True, 4000))[3:] for metric in packet.decoded.metrics]
    assert [metric.value for metric in history] == [*(400.0 + n for n in range(450)), 900.0]
    assert all(metric.historical for metric in history)


def test_a_station_that_came_back_unheard_tells_what_it_was_then() -> None:
    node = born()
    node.core.lost("st01", node.t)
    node.sent()
    node.core.update("st01", station_values(state="ABORTED"), node.t)
    node.core.disconnected()
    node.core.lost("st01", node.t)
    node.read(state="STOPPED")
    node.read(state="IDLE")
    node.connect(8)
    assert [value for value, _, _ in told(node.trace.packets[-1])] == ["ABORTED", "STOPPED", "IDLE"]


def test_what_a_host_gone_offline_left_unsent_is_stored_and_the_acknowledged_death_clears_what_was_sent() -> None:
    node = born(host="scada")
    queued(node, 400.0)
    node.under_way()
    queued(node, 401.0)
    assert verbs(node.told(STATE, state(False, 2000))) == ["NDEATH"]
    node.connect(8)
    assert values(node.told(STATE, state(True, 3000))[-1]) == [401.0]


def test_unsent_values_beyond_the_bound_are_counted() -> None:
    node = born(keep=10)
    queued(node, *(400.0 + n for n in range(25)))
    node.core.disconnected()
    assert node.core.dropped == 15
    node.connect(8)
    assert values(node.trace.packets[-1]) == [400.0 + n for n in range(15, 25)]


def test_a_birth_that_was_never_sent_has_no_death() -> None:
    node = Driven()
    node.read()
    node.connect(0)
    node.core.received(STATE, state(True, 1000), False, node.t)
    assert node.told(STATE, state(False, 2000)) == []
    assert node.events == [HostOffline()]


STATIONS = st.sampled_from(["st01", "st02"])
STEPS = st.one_of(
    st.tuples(st.just("read"), STATIONS, st.integers(36, 41)),
    st.tuples(st.just("lost"), STATIONS),
    st.tuples(st.sampled_from(["take", "take", "reach", "rebirth", "cut", "leave", "connect"])),
)


@given(st.lists(STEPS, max_size=60), st.sampled_from([0, 3, 1000]))
@settings(max_examples=300)
def test_whatever_happens_every_change_reaches_the_server_or_is_counted(
    steps: list[tuple[Any, ...]], keep: int
) -> None:
    """And what is known to have reached it is not sent again."""
    node = born(keep=keep)
    made: set[tuple[str, float, int]] = set()
    last = {"st01": 350.0, "st02": 350.0}
    under_way, reached = list[Packet](), list[Packet]()

    def read(station: str, volts: float) -> None:
        node.core.update(station, station_values(volts=volts), node.t)
        if volts != last[station]:
            made.add((station, volts, ms(node)))
            last[station] = volts

    for step, *what in [*steps, ("cut",), ("connect",)]:
        node.t += 1.0
        match step:
            case "read":
                read(what[0], 10.0 * what[1])
            case "lost":
                node.core.lost(what[0], node.t)
            case "take":
                if (message := node.core.take(node.t)) is not None:
                    under_way.append(Packet("PUBLISH", message.topic, message.payload))
            case "reach":
                node.core.reached(node.core.taken)
                reached, under_way = reached + under_way, []
            case "rebirth":
                node.core.received(NCMD, command(REBIRTH, True), False, node.t)
            case "leave":
                node.core.leaving()
                reached, under_way = reached + under_way + node.sent(), []
                node.core.disconnected()
            case "cut":
                node.core.disconnected()
                under_way = []
            case "connect" if not node.core.connected:
                node.core.connecting(8)
                node.core.subscribed(node.t)
    for station, volts in last.items():  # the history of a station that is away comes with its birth
        read(station, volts)
    reached += node.sent()
    told = [
        (packet.device, metric.value, metric.timestamp)
        for packet in reached
        if packet.verb == "DDATA"
        for metric in packet.decoded.metrics
    ]
    born_with = {
        (packet.device, metric.value, metric.timestamp)
        for packet in reached
        if packet.verb == "DBIRTH"
        for metric in packet.decoded.metrics
    }
    assert len(set(told)) == len(told)
    assert len(made - set(told) - born_with) <= node.core.dropped
    assert keep < 1000 or node.core.dropped == 0


def test_a_store_of_hours_goes_out_in_bounded_messages() -> None:
    node = born(host="scada")
    node.told(STATE, state(False, 2000))
    for n in range(450):
        node.read(volts=400.0 + n)
    node.connect(8)
    sent = node.told(STATE, state(True, 3000))[3:]
    assert [len(packet.decoded.metrics) for packet in sent] == [200, 200, 50]


def test_beyond_its_bound_the_oldest_is_dropped_and_counted() -> None:
    node = born(host="scada", keep=10)
    node.told(STATE, state(False, 2000))
    for n in range(25):
        node.read(volts=400.0 + n)
    assert node.core.dropped == 15
    node.connect(8)
    sent = node.told(STATE, state(True, 3000))
    assert values(sent[-1]) == [400.0 + n for n in range(15, 25)]


def test_the_history_of_a_station_that_is_lost_waits_for_its_birth() -> None:
    node = born(host="scada")
    node.told(STATE, state(False, 2000))
    node.read(volts=400.0)
    node.core.lost("st01", node.t)
    node.connect(8)
    assert verbs(node.told(STATE, state(True, 3000))) == ["NBIRTH", "DBIRTH"]
    assert verbs(node.read(volts=401.0)) == ["DBIRTH", "DDATA"]


def test_news_do_not_wait_for_history() -> None:
    node = born(host="scada")
    node.told(STATE, state(False, 2000))
    for n in range(450):
        node.read(volts=400.0 + n)
    node.connect(8)
    node.core.received(STATE, state(True, 3000), False, node.t)
    taken = [node.core.take(node.t) for _ in range(4)]  # the births, and the first of the history
    node.core.update("st01", station_values(volts=900.0), node.t)
    message = node.core.take(node.t)
    assert all(taken)
    assert message is not None
    assert values(Packet("PUBLISH", message.topic, message.payload)) == [900.0]


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


def test_what_was_to_be_sent_before_a_rebirth_follows_it_as_history() -> None:
    node = born()
    node.core.received(NCMD, command(REBIRTH, True), False, node.t)
    queued(node, 400.0, 401.0)
    node.t += 1.0
    sent = node.sent()
    assert verbs(sent) == ["NBIRTH", "DBIRTH", "DBIRTH", "DDATA"]
    assert [packet.decoded.seq for packet in sent] == [0, 1, 2, 3]
    assert told(sent[-1]) == [(400.0, ms(node, -2), True), (401.0, ms(node, -1), True)]


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
