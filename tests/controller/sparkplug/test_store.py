"""What the core of the edge node stores: for a host that is away, and for what was on its way when a session ended."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.sparkplug.incoming import HostOffline
from tests.controller.sparkplug.trace import (
    NCMD,
    REBIRTH,
    STATE,
    Driven,
    Packet,
    born,
    command,
    state,
    station_values,
    values,
    verbs,
)


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


def test_what_was_to_be_sent_before_a_rebirth_follows_it_as_history() -> None:
    node = born()
    node.core.received(NCMD, command(REBIRTH, True), False, node.t)
    queued(node, 400.0, 401.0)
    node.t += 1.0
    sent = node.sent()
    assert verbs(sent) == ["NBIRTH", "DBIRTH", "DBIRTH", "DDATA"]
    assert [packet.decoded.seq for packet in sent] == [0, 1, 2, 3]
    assert told(sent[-1]) == [(400.0, ms(node, -2), True), (401.0, ms(node, -1), True)]


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
