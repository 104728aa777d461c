"""`evaline serve`: broker, publisher, API and line in one process, and how all of it ends.

However the daemon ends, by a signal or by an exception in any task, the same sequence follows: the line's tasks are
cancelled, every output is switched off and verified, active runs get their result, the outbox is drained, and only then
broker and journal close.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog
import uvicorn

from config import LineConfig, shipped_dut_models
from config.documents import DocumentError
from config.line import EmbeddedBroker as EmbeddedBrokerConfig
from config.line import ExternalBroker, HttpConfig, NoBroker, SparkplugConfig
from controller.api import build_api
from controller.clock import Clock, wall_time
from controller.instruments.wire import Wires
from controller.journal import Journal
from controller.line import Line
from controller.mes.broker import EmbeddedBroker
from controller.mes.commands import CommandDoor
from controller.mes.connection import BrokerSettings
from controller.mes.face import Face
from controller.mes.publisher import Publisher, settings_of
from controller.recipes import load_grade_rules
from controller.report import write_report

DRAIN_WITHIN = 3.0  # wall s to hand the last messages to the broker

log = structlog.get_logger()

Announce = Callable[[dict[str, Any]], None]


class PortInUseError(Exception):
    """The API's port belongs to somebody else."""

    code = "E-HTTP-PORT"


async def serve(config: LineConfig, clock: Clock, announce: Announce) -> bool:
    """Serve the line until SIGTERM or SIGINT; True when it ended with every output confirmed off.

    Raises DocumentError, JournalError, BrokerError or PortInUseError when it cannot start.
    """
    state_dir = Path(config.state_dir)
    models, rules = shipped_dut_models(), load_grade_rules(config.grade_rules, config.grade_parameters)
    async with AsyncExitStack() as stack:
        stop = stack.enter_context(_stop_signals())
        listener = stack.enter_context(_listener(config.http))
        journal = Journal.open(state_dir / "journal.db")
        stack.push_async_callback(journal.close)
        _go_on_from(journal, clock)
        wires = Wires()
        line = Line(config, clock, journal, lambda name: wires, models, rules, state_dir)
        settings, broker = await _broker(config, state_dir, stack)
        background = await stack.enter_async_context(_background())  # ends before the broker does: `offline` gets out
        if broker is not None:
            background.start("broker", broker.supervise())
        publisher = None
        door = CommandDoor(line.stations, line.orders, journal, line.topics, clock, config.mes, wall_time)
        if config.sparkplug is not None:
            background.start("sparkplug", _sparkplug(config.sparkplug, settings, line, state_dir, door))
        if settings is not None and not isinstance(config.broker, NoBroker):
            publisher = Publisher(journal, settings, line.topics, clock.now, config.broker, door, line.stations)
            background.start("publisher", publisher.run())
            background.start("face", Face(line, publisher).run())
            line.delivery = publisher
        background.start("commands", door.run())
        background.start("api", _serve_api(line, listener))
        reports = _Reports(journal)
        background.start("reports", reports.follow())
        host, port = listener.getsockname()[:2]
        log.info("ready", http=f"http://{host}:{port}", stations=list(line.stations), pid=os.getpid())
        announce(
            {
                "event": "ready",
                "http": {"host": host, "port": port},
                "mqtt": settings and asdict(settings.endpoints[0]) | {"topics": f"{line.topics.root}/#"},
                "stations": list(line.stations),
                "pid": os.getpid(),
            }
        )
        crashed = await _serve_line(line, stop, background)
        off = await line.shut_down()
        if publisher is not None:
            await publisher.drained(DRAIN_WITHIN)
        await reports.catch_up()
        log.info("stopped", outputs_off=off)
        return off and not crashed


def _go_on_from(journal: Journal, clock: Clock) -> None:
    """Line time never goes back, though a rate or a jump had it ahead of the wall, or somebody set the wall back."""
    newest, now = journal.newest_time(), clock.now()
    if newest is not None and newest > now:
        log.warning("line time goes on from the journal, ahead of the clock", seconds=round(newest - now, 3))
        clock.not_before(newest)


async def _serve_line(line: Line, stop: asyncio.Event, background: Background) -> bool:
    """Until a stop is asked for or anything fails; True for a failure. Nothing of the line runs afterwards."""
    serving = asyncio.create_task(line.serve())
    stopping = asyncio.create_task(stop.wait())
    settling = asyncio.create_task(_freeze_once_up(line))
    watched = {serving, stopping, *background.tasks}
    try:
        await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ours: set[asyncio.Task[Any]] = {serving, stopping, settling}
        for task in ours:
            task.cancel()
        await asyncio.wait(ours)
    failed = [task for task in watched if task.done() and not task.cancelled() and task.exception()]
    for task in failed:
        log.error("task failed", task=task.get_name(), exc_info=task.exception())
    return bool(failed)


async def _freeze_once_up(line: Line) -> None:
    """What is there once all stations are up stays: a full garbage collection that looks through it again finds
    nothing, and holds everything up, for 0.1 s at 64 stations."""
    for station in line.stations.values():
        await station.is_up()
    gc.freeze()


class Background:
    """Tasks beside the line, in the order they were started; owned and ended by `_background`."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, name: str, work: Any) -> None:
        self.tasks.append(asyncio.create_task(work, name=name))


@asynccontextmanager
async def _background() -> AsyncIterator[Background]:
    """A failing task does not cancel the daemon mid-way as in a TaskGroup: `_serve_line` sees it and ends in order."""
    background = Background()
    try:
        yield background
    finally:
        for task in background.tasks:
            task.cancel()
        await asyncio.gather(*background.tasks, return_exceptions=True)


async def _broker(
    config: LineConfig, state_dir: Path, stack: AsyncExitStack
) -> tuple[BrokerSettings | None, EmbeddedBroker | None]:
    """How to reach the configured broker, and the one that we started ourselves."""
    if isinstance(config.broker, NoBroker):
        return None, None
    broker = None
    if isinstance(config.broker, EmbeddedBrokerConfig):
        broker = await stack.enter_async_context(EmbeddedBroker(config.broker, state_dir))
    return _settings(config.broker, broker), broker


def _settings(config: ExternalBroker | EmbeddedBrokerConfig, embedded: EmbeddedBroker | None) -> BrokerSettings:
    try:
        return settings_of(config, embedded)
    except OSError as error:
        where, why = error.filename or "broker: ca_file, cert_file, key_file", error.strerror or error
        raise DocumentError("E-FILE", str(where), f"cannot be read: {why}") from None


def _sparkplug(
    config: SparkplugConfig, settings: BrokerSettings | None, line: Line, state_dir: Path, door: CommandDoor
) -> Coroutine[Any, Any, None]:
    """The edge node, which brings a library that no other part of the daemon needs."""
    from controller.sparkplug.node import SparkplugNode

    if config.broker is not None:
        settings = _settings(config.broker, None)
    assert settings is not None, "the line file has been checked for a broker"
    return SparkplugNode(config, settings, line, state_dir, door.receive).run()


class _Reports:
    """A report for every result, after its commit, from the journal alone."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._seq = journal.head()[0]
        self._writing = asyncio.Lock()

    async def follow(self) -> None:
        with self._journal.commits() as committed:
            while True:
                await committed.wait()
                committed.clear()
                if self._journal.result_head > self._seq:
                    await self.catch_up()

    async def catch_up(self) -> None:
        """Write those of the results that were committed since the last look."""
        async with self._writing:
            for event in self._journal.events(after_seq=self._seq, kind="run.ended"):
                self._seq = event.seq
                try:
                    await asyncio.to_thread(write_report, self._journal, event.run)
                except Exception as error:  # a report must not cost the line its daemon
                    log.error("report not written", run=event.run, exc_info=error)


# ------------------------------------------------------------------------------------------------- the edges


@contextmanager
def _stop_signals() -> Iterator[asyncio.Event]:
    """SIGTERM and SIGINT set the event; further ones change nothing, neither the off sequence nor the exit code."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)  # the process is about to end as it should


@contextmanager
def _listener(http: HttpConfig) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if http.host == "::1" else socket.AF_INET
    try:
        listener = socket.create_server((http.host, http.port), family=family)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)  # its own text repeats the address
        message = f"http port {http.port} on {http.host}: {reason}; is another daemon running? Change `http.port`"
        raise PortInUseError(f"{message} [{PortInUseError.code}]") from None
    with listener:
        yield listener


class _Server(uvicorn.Server):
    """Signals are the daemon's: uvicorn must not take them."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve_api(line: Line, listener: socket.socket) -> None:
    settings = uvicorn.Config(
        build_api(line), log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1
    )
    await _Server(settings).serve(sockets=[listener])


__all__ = ["DocumentError", "PortInUseError", "load_grade_rules", "serve"]
