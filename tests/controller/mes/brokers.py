"""Real brokers to hold the delivery against, a MES that behaves as one should, and the results it is to get."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import aiomqtt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from config.line import Delivery, LineIdentity, ResultDelivery
from config.line import EmbeddedBroker as EmbeddedBrokerConfig
from controller.journal import AuditEntry, Event, Journal, OutboxMessage
from controller.mes.broker import EmbeddedBroker
from controller.mes.connection import V5, V311, BrokerSettings, Connector, Endpoint, MqttClient
from controller.mes.messages import StepCompleted
from controller.mes.publisher import CommandDoor, Publisher, settings_of
from controller.mes.signing import Signer
from controller.mes.topics import Topics
from controller.results import Outcome, bare_result
from sequences import Verdict
from tests.contract import assert_in_contract
from tests.independent import program

LINE = LineIdentity(enterprise="evaline", site="pohang", area="evaluation", name="line1")
T0 = 1.7e9
BROKERS = ("nats", "mosquitto-5", "mosquitto-3.1.1")
AUDIT = AuditEntry(T0, "kim", "finish", "end of recipe", {})


def answer(ids: Any = ("r1.result",), status: str = "stored", error: str | None = None, **envelope: Any) -> bytes:
    """What a MES says on `result/ack`; with another envelope, what it must not say."""
    data = {"ids": list(ids) if isinstance(ids, tuple) else ids, "status": status} | ({"error": error} if error else {})
    whole = {"specversion": "1.0", "id": "ack.1", "source": "/mes", "type": "evaline.ack.v1", "data": data}
    return json.dumps(whole | envelope).encode()


async def pause(seconds: float) -> None:
    """Wall time that load needs to be a rate; never to wait for something to happen."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """A Mosquitto of our own, which can be killed and comes back at the same port."""

    def __init__(self, directory: Path, config: str = "allow_anonymous true", port: int = 0) -> None:
        self.directory, self.port, self._text = directory, port or free_port(), config
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        text = self._text if "listener " in self._text else f"listener {self.port} 127.0.0.1\n{self._text}"
        config = self.directory / "mosquitto.conf"
        config.write_text(f"user {os.environ.get('USER', 'root')}\nset_tcp_nodelay true\n{text}\n")
        with (self.directory / "mosquitto.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                program("mosquitto"), "-v", "-c", str(config), cwd=self.directory, stdout=log, stderr=log
            )
        async with asyncio.timeout(15):
            while True:
                with suppress(OSError):
                    (await asyncio.open_connection("127.0.0.1", self.port))[1].close()
                    return
                await pause(0.02)

    async def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(how)
            await self.process.wait()

    async def __aenter__(self) -> Mosquitto:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()


@dataclass
class RunningBroker:
    """A broker by one of BROKERS' names: how to reach it, how to kill it, how it comes back."""

    settings: BrokerSettings
    kill: Callable[[], Any]
    revive: Callable[[], Any]
    forget: Callable[[], Any]
    """Kill it, and bring it back without anything it knew."""


@asynccontextmanager
async def running(name: str, directory: Path) -> AsyncIterator[RunningBroker]:
    async with AsyncExitStack() as stack:
        if name == "nats":
            nats = await stack.enter_async_context(EmbeddedBroker(EmbeddedBrokerConfig(port=0), directory))

            async def kill() -> None:
                assert nats.pid is not None
                os.kill(nats.pid, signal.SIGKILL)
                assert nats._process is not None
                await nats._process.wait()

            async def forget() -> None:
                await kill()
                (directory / "broker" / "store").rename(directory / f"gone-{free_port()}")
                await nats._start()

            settings = settings_of(EmbeddedBrokerConfig(), nats)
            yield RunningBroker(settings, kill, nats._start, forget)
        else:
            text = "allow_anonymous true\npersistence true\nautosave_interval 1\nmax_queued_messages 100000"
            mosquitto = await stack.enter_async_context(Mosquitto(directory / "mosquitto", text))

            async def forget() -> None:
                await mosquitto.kill()
                (mosquitto.directory / "mosquitto.db").unlink(missing_ok=True)
                await mosquitto.start()

            versions = (V5,) if name == "mosquitto-5" else (V311,)
            settings = BrokerSettings((Endpoint("127.0.0.1", mosquitto.port),), versions=versions)
            yield RunningBroker(settings, mosquitto.kill, mosquitto.start, forget)


# ------------------------------------------------------------------------------------------------------- the line


def delivery(closed_by: str = "ack", ack_within: float = 1.0, **outbox: Any) -> Delivery:
    config = Delivery(results=ResultDelivery.model_validate({"closed_by": closed_by, "ack_within_s": ack_within}))
    return config.model_copy(update={"outbox": config.outbox.model_copy(update=outbox)})


@asynccontextmanager
async def publishing(
    journal: Journal, settings: BrokerSettings, config: Delivery | None = None, door: CommandDoor | None = None,
    now: Callable[[], float] = lambda: T0, line: LineIdentity = LINE, stations: Iterable[str] = (),
) -> AsyncIterator[Publisher]:  # fmt: skip
    publisher = Publisher(journal, settings, Topics(line), now, config or delivery(), door, stations)
    task = asyncio.create_task(publisher.run())
    try:
        yield publisher
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


_SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(32)))
_NUMBERS: WeakKeyDictionary[Journal, Counter[str]] = WeakKeyDictionary()


@cache
def _made(line: LineIdentity) -> tuple[OutboxMessage, OutboxMessage]:
    """A result and a step's end, as the line makes them, and so as they were held against the contract when made."""
    topics = Topics(line)
    unfinished = Outcome(Verdict.ERROR, "E-DAEMON", "the daemon ended while the run was active")
    result = _SIGNER.sign(bare_result("run", "station", T0 - 60, T0, unfinished, {"author": "kim"}))
    step = StepCompleted(
        run="run", index=0, label="rest", kind="rest", seconds=60, reason="duration", complete=True,
        verdict=Verdict.PASS,
    )  # fmt: skip
    return (
        topics.result_message("station", "run", T0, result),
        topics.event_message("station", "step", "run.event0", T0, step, correlation="run"),
    )


def finish(journal: Journal, station: str, run: str, events: int = 0, line: LineIdentity = LINE, size: int = 0) -> str:
    """A run's end in the journal, as a station writes it, with so many ends of steps; `size` bytes are added to its
    result. Returns the id of the result.

    Only what differs from run to run is made anew, the signature too, so that thousands cost little; whoever gets them
    holds them against the contract.
    """
    topics, numbers = Topics(line), _NUMBERS.setdefault(journal, Counter())
    result, step = _made(line)

    def message(made: OutboxMessage, id: str, topic: str, **data: Any) -> OutboxMessage:
        numbers[station] += 1
        envelope = {"id": id, "source": f"/{topics.root}/{station}", "sequence": f"{numbers[station]:010d}"}
        body = made.payload["data"] | data
        return OutboxMessage(topic, made.payload | envelope | {"correlationid": run, "data": body}, 1, False, id)

    record = _SIGNER.sign(result.payload["data"] | {"run_id": run, "station": station, "reason": "x" * size})
    where = topics.event(station, "step")
    messages = [message(step, f"{run}.event{number}", where, run=run, index=number) for number in range(events)]
    messages.append(message(result, f"{run}.result", topics.result(station), **record))
    journal.commit_result(Event(T0, station, run, "run.ended", {}), record, messages, AUDIT)
    return messages[-1].id


async def until(what: Callable[[], bool], journal: Journal, within: float = 60.0) -> None:
    """Wait for something that a commit brings about."""
    async with asyncio.timeout(within):
        with journal.commits() as committed:
            while not what():
                committed.clear()
                await committed.wait()


# -------------------------------------------------------------------------------------------------------- the MES


@dataclass
class Mes:
    """Stores every result once, by its id, and says so afterwards; its session outlives its absence.

    `answer` decides about each new result: None stores it, a text rejects it with that error, "silent" says nothing.
    """

    settings: BrokerSettings
    name: str = "mes"
    answer: Callable[[str], str | None] = lambda id: None
    topics: Topics = field(default_factory=lambda: Topics(LINE))
    stored: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    taken: list[bytes] = field(default_factory=list)
    """Every message as it came; held against the contract once the MES is gone, so that it costs no time before."""
    duplicates: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)
    is_there: asyncio.Event = field(default_factory=asyncio.Event)
    _serving: asyncio.Task[None] | None = None

    @property
    def filters(self) -> tuple[str, str]:
        return f"{self.topics.root}/+/result", f"{self.topics.root}/+/event/#"

    def come(self) -> None:
        self._serving = asyncio.create_task(self._serve())

    async def go(self) -> None:
        assert self._serving is not None
        self._serving.cancel()
        with suppress(asyncio.CancelledError):
            await self._serving
        self.is_there.clear()

    async def _serve(self) -> None:
        connector = Connector(replace(self.settings), self.name)
        while True:
            with suppress(aiomqtt.MqttError, OSError):
                async with connector.connected(session_s=3600) as client:
                    await client.subscribe_all(*self.filters)
                    self.is_there.set()
                    while True:
                        await self._take(client)
            await pause(0.05)

    async def _take(self, client: MqttClient) -> None:
        message = await client.received()
        topic, payload = str(message.topic), json.loads(message.payload)
        self.taken.append(message.payload)
        if "/event/" in topic:
            self.events.append(payload["id"])
        else:
            await self._store(client, topic, payload)
        client.acknowledge(message)
        self.news.set()

    async def _store(self, client: MqttClient, topic: str, payload: dict[str, Any]) -> None:
        id, wrong = payload["id"], self.answer(payload["id"])
        if wrong == "silent":
            return
        if id in self.stored:
            self.duplicates += 1
            assert self.stored[id] == (topic, payload["data"]), "one id, two contents"
        elif wrong is None:
            self.stored[id] = (topic, payload["data"])
        said = answer([id]) if wrong is None else answer([id], status="rejected", error=wrong)
        await client.publish(f"{topic}/ack", said)

    async def has(self, enough: Callable[[], bool], within: float = 60.0) -> None:
        async with asyncio.timeout(within):
            while not enough():
                self.news.clear()
                await self.news.wait()

    def of_station(self, station: str) -> list[str]:
        """The runs of a station in the order in which they were stored first."""
        return [data["run_id"] for _, data in self.stored.values() if data["station"] == station]


@asynccontextmanager
async def mes_at(settings: BrokerSettings, line: LineIdentity = LINE, **how: Any) -> AsyncIterator[Mes]:
    mes = Mes(settings, topics=Topics(line), **how)
    mes.come()
    try:
        async with asyncio.timeout(30):
            await mes.is_there.wait()
        yield mes
    finally:
        await mes.go()
    for payload in mes.taken:
        assert_in_contract(json.loads(payload))


# ---------------------------------------------------------------------------------------------------- the stations


class Reader:
    """Follows what the stations of LINE say of themselves, from what is retained on."""

    def __init__(self, client: MqttClient) -> None:
        self._client = client
        self.said: dict[str, list[str]] = {}
        self.messages: dict[str, dict[str, Any]] = {}

    async def sees(self, state: str, stations: Iterable[str]) -> None:
        """Return once the newest word of each is this one."""
        await self._until(lambda: all(self._newest(station) == state for station in stations))

    async def sees_of(self, state: str, count: int) -> None:
        """Return once this is the newest word of so many."""
        await self._until(lambda: sum(self._newest(station) == state for station in self.said) >= count)

    def _newest(self, station: str) -> str:
        return self.said.get(station, [""])[-1]

    async def _until(self, enough: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not enough():
                message = await self._client.received()
                self._client.acknowledge(message)
                payload = json.loads(message.payload)
                station = Topics(LINE).station_of(str(message.topic))
                self.messages[station] = payload
                self.said.setdefault(station, []).append(payload["data"]["state"])


@asynccontextmanager
async def reading(settings: BrokerSettings, name: str = "reader") -> AsyncIterator[Reader]:
    async with Connector(settings, name).connected() as client:
        await client.subscribe_all(Topics(LINE).station_connection("+"))
        yield Reader(client)
