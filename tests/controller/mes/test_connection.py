"""What aiomqtt takes for a delivery and is none: each trap, sprung."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import aiomqtt
import pytest

from controller.mes import connection
from controller.mes.connection import (
    MAX_PAYLOAD,
    MAX_WAITING,
    V5,
    V311,
    BrokerSettings,
    Connector,
    Endpoint,
    PublishRefusedError,
    SubscribeRefusedError,
    TlsFiles,
)
from controller.mes.publisher import endpoint_of
from controller.mes.topics import rfc3339
from tests.controller.mes.brokers import BROKERS, T0, Mosquitto, RunningBroker, pause, running
from tests.controller.mes.scripted import CONNACK, CONNECT, PUBACK, PUBLISH, SUBACK, SUBSCRIBE, message_id, scripted

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=BROKERS)
async def broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RunningBroker]:
    async with running(request.param, tmp_path) as broker:
        yield broker


def at(port: int, *versions: aiomqtt.ProtocolVersion) -> Connector:
    return Connector(BrokerSettings((Endpoint("127.0.0.1", port),), versions=versions or (V5,)), "test")


async def test_a_negative_puback_raises_and_the_connection_goes_on() -> None:
    def answer(kind: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        if kind == CONNECT:
            writer.write(bytes([CONNACK, 3, 0, 0, 0]))
        elif kind == PUBLISH:
            writer.write(bytes([PUBACK, 4, *message_id(body), 0x87 if b"denied" in body else 0, 0]))

    async with scripted(answer) as port, at(port).connected() as client:
        with pytest.raises(PublishRefusedError, match="denied refused: Not authorized"):
            await client.publish("denied", b"x")
        await client.publish("allowed", b"x")


async def test_mosquitto_refuses_what_its_access_list_forbids(tmp_path: Path) -> None:
    (tmp_path / "acl").write_text("topic write allowed\n")
    text = f"allow_anonymous true\nacl_file {tmp_path / 'acl'}"
    async with Mosquitto(tmp_path / "m", text) as mosquitto, at(mosquitto.port).connected() as client:
        await client.publish("allowed", b"x")
        with pytest.raises(PublishRefusedError):
            await client.publish("forbidden", b"x")


@pytest.mark.parametrize("granted", [0x80, 0x87, 0])
async def test_a_subscription_that_is_not_granted_as_asked_raises(granted: int) -> None:
    def answer(kind: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        if kind == CONNECT:
            writer.write(bytes([CONNACK, 3, 0, 0, 0]))
        elif kind == SUBSCRIBE:
            writer.write(bytes([SUBACK, 5, *body[:2], 0, 1, granted]))

    async with scripted(answer) as port, at(port).connected() as client:
        with pytest.raises(SubscribeRefusedError, match="b/# refused"):
            await client.subscribe_all("a/+", "b/#")


async def test_a_publish_without_puback_ends_with_the_connection_at_once() -> None:
    """aiomqtt would wait for its time-out."""

    def answer(kind: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        if kind == CONNECT:
            writer.write(bytes([CONNACK, 3, 0, 0, 0]))
        elif kind == PUBLISH:
            writer.close()

    async with scripted(answer) as port, at(port).connected() as client:
        client.timeout = 1000.0
        async with asyncio.timeout(20):
            with pytest.raises(aiomqtt.MqttError, match="connection is lost"):
                await client.publish("a", b"x")
            with pytest.raises(aiomqtt.MqttError):
                await client.received()


async def test_a_socket_that_is_closed_before_there_was_room_to_write_troubles_nobody() -> None:
    """Its number may be another connection's by then, whose writing would be waited for without end."""

    def answer(kind: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        if kind == CONNECT:
            writer.write(bytes([CONNACK, 3, 0, 0, 0]))

    troubles: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: troubles.append(context))
    async with scripted(answer) as port, at(port).connected() as client:
        closed = socket.socket()
        client._on_socket_register_write(client._client, None, closed)
        closed.close()
        await pause(0.01)
    assert troubles == []


async def test_an_error_at_its_end_does_not_keep_a_connection_that_is_cancelled() -> None:
    """A TaskGroup tells of the errors and not of the cancellation."""
    connector, begun = at(1), asyncio.Event()

    async def session() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            assert connector.ending
            raise aiomqtt.MqttError("the broker is gone as well")

    keeping = asyncio.create_task(connector.keep_connected(session))
    await begun.wait()
    keeping.cancel()
    async with asyncio.timeout(20):
        await asyncio.wait({keeping})
    assert keeping.cancelled()
    assert connector.last_error == "the broker is gone as well"


async def test_pauses_between_sessions_grow_though_one_was_served_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def no_pause(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(connection, "pause_for", no_pause)
    connector = at(1)

    async def session() -> None:
        assert not connector.ending
        assert not connector.served.is_set()
        if len(pauses) == 9:
            raise ValueError("a fault of ours ends it all")
        if len(pauses) > 2:
            connector.served.set()
        raise aiomqtt.MqttError("refused")

    with pytest.raises(ValueError, match="a fault of ours"):
        await connector.keep_connected(session)
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


async def test_after_a_session_that_was_served_the_first_pause_is_short_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def no_pause(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(connection, "pause_for", no_pause)
    monkeypatch.setattr(connection, "FIRST_PAUSE_S", 0.001)
    connector = at(1)

    async def session() -> None:
        if len(pauses) == 3:
            raise ValueError("enough")
        if len(pauses) == 2:
            connector.served.set()
            await pause(0.1)
        raise aiomqtt.MqttError("lost")

    with pytest.raises(ValueError, match="enough"):
        await connector.keep_connected(session)
    assert pauses == [0.001, 0.002, 0.001]


async def test_a_broker_that_answers_nothing_is_given_up() -> None:
    def deaf(kind: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        if kind == CONNECT:
            writer.write(bytes([CONNACK, 3, 0, 0, 0]))

    async with scripted(deaf) as port, at(port).connected() as client:
        client.timeout = 0.1
        with pytest.raises(aiomqtt.MqttError, match="no PUBACK"):
            await client.publish("a", b"x")


async def test_a_connection_closed_without_an_answer_is_refused_at_once() -> None:
    def close(kind: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with scripted(close) as port:
        async with asyncio.timeout(4):  # the time-out of an answer is 5 s
            with pytest.raises(aiomqtt.MqttError):
                async with at(port).connected():
                    pass


async def test_what_a_failed_connection_could_not_send_is_not_sent_by_the_next(broker: RunningBroker) -> None:
    """paho's own queue would deliver it, beside the outbox: so each connection has a client of its own."""
    connector = Connector(broker.settings, "sender")
    async with connector.connected() as client:
        await broker.kill()
        for _ in range(3):
            with pytest.raises(aiomqtt.MqttError):
                await client.publish("evaline/x", b"ghost")
    await broker.revive()
    async with Connector(broker.settings, "reader").connected() as reader:
        await reader.subscribe_all("evaline/x")
        async with connector.connected() as client:
            await client.publish("evaline/x", b"real")
        assert (await reader.received()).payload == b"real"


async def test_what_was_not_acknowledged_comes_again(broker: RunningBroker) -> None:
    connector = Connector(broker.settings, "reader")
    async with connector.connected(session_s=60) as reader:
        await reader.subscribe_all("evaline/x")
    async with Connector(broker.settings, "sender").connected() as sender:
        for number in range(5):
            await sender.publish("evaline/x", b"%d" % number)
    async with connector.connected(session_s=60) as reader:
        for number in range(5):
            message = await reader.received()
            assert not message.redelivered
            if number < 2:
                reader.acknowledge(message)
    async with asyncio.timeout(30), connector.connected(session_s=60) as reader:
        again = [await reader.received() for _ in range(3)]
    assert [(bytes(message.payload), message.redelivered) for message in again] == [
        (b"2", True), (b"3", True), (b"4", True),
    ]  # fmt: skip


async def test_a_message_that_was_published_as_a_retained_one_says_so_when_mqtt_can(broker: RunningBroker) -> None:
    async with Connector(broker.settings, "reader").connected() as reader:
        await reader.subscribe_all("evaline/x")
        async with Connector(broker.settings, "sender").connected() as sender:
            await sender.publish("evaline/x", b"1", retain=True)
            await sender.publish("evaline/x", b"2")
        flags = [(await reader.received()).retain for _ in range(2)]
        assert flags == [reader.version is V5, False], "3.1.1 tells only those who subscribe later"


async def test_no_message_waits_for_a_delayed_acknowledgement(broker: RunningBroker) -> None:
    async with Connector(broker.settings, "test").connected() as client:
        connected = client._client.socket()
        assert isinstance(connected, socket.socket)
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_what_comes_in_is_bounded(broker: RunningBroker) -> None:
    """A payload that is too long is cut where a reader still sees it, and a flood does not end the connection."""
    async with (
        Connector(broker.settings, "reader").connected() as reader,
        Connector(broker.settings, "sender").connected() as sender,
    ):
        await reader.subscribe_all("evaline/#")
        for _ in range(MAX_WAITING + 50):
            await sender.publish("evaline/flood", b"x", 0)
        await sender.publish("evaline/long", b"x" * (2 * MAX_PAYLOAD))
        async with asyncio.timeout(30):
            while True:
                message = await reader.received()
                reader.acknowledge(message)
                if str(message.topic) == "evaline/long":
                    break
        assert len(message.payload) == MAX_PAYLOAD + 1


async def test_a_flood_that_nobody_reads_is_dropped_and_counted() -> None:
    def flood(kind: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        if kind == CONNECT:
            writer.write(bytes([CONNACK, 2, 0, 0]))
        elif kind == PUBLISH:
            writer.write(b"\x30\x04\x00\x01a1" * (MAX_WAITING + 50) + bytes([PUBACK, 2, *message_id(body)]))

    async with scripted(flood) as port, at(port, V311).connected() as client:
        await client.publish("go", b"x")  # its PUBACK comes after the flood
        assert (client.waiting, client.dropped) == (MAX_WAITING, 50)


@pytest.mark.parametrize("topic", [b"\xff\xfe", b"a/#", b"a/+/b"])
async def test_a_message_on_a_topic_that_is_none_is_acknowledged_and_dropped(topic: bytes) -> None:
    """Unacknowledged it would come again, and end every connection anew."""
    acknowledged = asyncio.Event()
    packet = len(topic).to_bytes(2, "big") + topic + b"\x00\x07hello"

    def answer(kind: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        if kind == CONNECT:
            writer.write(bytes([CONNACK, 2, 0, 0]))
            writer.write(bytes([PUBLISH | 2, len(packet)]) + packet)
        elif kind == PUBACK:
            acknowledged.set()

    async with asyncio.timeout(20), scripted(answer) as port, at(port, V311).connected() as client:
        await acknowledged.wait()
        assert (client.waiting, client.dropped) == (0, 1)
        assert not client.lost.done()


async def test_addresses_and_versions_are_tried_in_turn(broker: RunningBroker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    nobody = Endpoint("127.0.0.1", port)
    settings = BrokerSettings((nobody, *broker.settings.endpoints), broker.settings.username, broker.settings.password)
    connector, tries = Connector(settings, "test"), 0
    while not connector.accepted:
        tries += 1
        with suppress(aiomqtt.MqttError):
            async with connector.connected() as client:
                await client.publish("evaline/x", b"")
                assert connector.endpoint == broker.settings.endpoints[0]
    assert tries in (3, 4)  # two at the dead address, then MQTT 5, then 3.1.1 where the broker has no 5


@pytest.mark.parametrize("version", [V311, V5])
async def test_only_mqtt_5_is_told_beside_the_message_what_is_in_it(version: aiomqtt.ProtocolVersion) -> None:
    def answer(kind: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        if kind == CONNECT:
            writer.write(bytes([CONNACK, 3, 0, 0, 0] if version is V5 else [CONNACK, 2, 0, 0]))

    async with scripted(answer) as port, at(port, version).connected() as client:
        said = {"id": "r1.result", "correlationid": "c1", "time": rfc3339(T0), "expirytime": rfc3339(T0 + 10)}
        properties = client.mirror(json.dumps(said | {"replayed": True, "data": {"id": "x"}}))
        if version is V311:
            assert properties is None
        else:
            assert properties is not None
            assert properties.ContentType == "application/cloudevents+json"
            assert properties.CorrelationData == b"c1"
            assert properties.MessageExpiryInterval == 10
            assert properties.UserProperty == [*said.items(), ("replayed", "true")]


def test_urls_are_read_as_they_are_written() -> None:
    assert endpoint_of("mqtt://broker") == Endpoint("broker", 1883)
    assert endpoint_of("mqtts://broker") == Endpoint("broker", 8883, tls=True)
    assert endpoint_of("mqtts://[::1]:99") == Endpoint("::1", 99, tls=True)


def test_tls_files_that_are_none_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    for path in ("ca.pem", "missing.pem"):
        with pytest.raises(OSError):
            TlsFiles(str(tmp_path / path)).context()
