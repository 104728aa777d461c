"""Questions to instruments over loopback: Evaline's links beside the raw libraries, for 1, 32 and 64 instruments.

The instruments are one process that answers at once, so that the client's side is what is measured. Evaline's links are
watched, as drivers have them: counted, and sure of who is there. CPU time is of the client's process, all its threads.
"""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import count as counting
from multiprocessing.connection import Connection
from time import perf_counter, process_time
from typing import Any

import numpy as np

from drivers import InstrumentError
from drivers.links import ModbusTcpLink, VisaLink, watched
from drivers.roles import Identity
from tests.bench.child import Measured, Say, interleaved, measure, medians
from tests.bench.table import Row, problem

QUESTION, ANSWER = "MEAS:ARR?", b"12.345V, 33.3A, 420W\n"
REGISTERS = 10
MODBUS_QUESTION = bytes([3, 0, 0, 0, REGISTERS])
MODBUS_ANSWER = bytes([3, 2 * REGISTERS]) + bytes(2 * REGISTERS)
COUNTS = (1, 32, 64)
QUERIES = {1: 4000, 32: 8000, 64: 8000}
TURNS = 8
RATE, PACED_FOR, PACED_CPU = 20.0, 4.0, 0.35
RATIO = 1.3
TIMEOUT = 2.0
SILENT_RATIO, SILENT_TURNS, SILENT_TURN = 1.5, 20, 0.5
SILENT_TIMEOUT = 0.25  # one ends, and is followed by a new connection, in every turn
SILENT = b"SILENT?\n"

Ask = Callable[[], Awaitable[object]]


# ------------------------------------------------------------------------------------------------ the instruments


async def _text(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        if line != SILENT:
            writer.write(ANSWER)
    writer.close()


async def _modbus(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readexactly(7)
            await reader.readexactly(int.from_bytes(head[4:6], "big") - 1)
            writer.write(head[:4] + (len(MODBUS_ANSWER) + 1).to_bytes(2, "big") + head[6:7] + MODBUS_ANSWER)
    except asyncio.IncompleteReadError:
        writer.close()


def _instruments(pipe: Connection) -> None:
    async def serve() -> None:
        servers = [await asyncio.start_server(kind, "127.0.0.1", 0) for kind in (_text, _modbus)]
        pipe.send([server.sockets[0].getsockname()[1] for server in servers])
        await asyncio.Event().wait()

    asyncio.run(serve())


@contextmanager
def _served() -> Iterator[tuple[int, int]]:
    """The ports of the text and of the Modbus instruments, any number of connections each."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_instruments, args=(there,), daemon=True)
    process.start()
    try:
        text, modbus = here.recv()
        yield text, modbus
    finally:
        process.terminate()
        process.join()


# --------------------------------------------------------------------------------------------------- the clients


async def _evaline_visa(text: int, modbus: int) -> Ask:
    link: Any = watched(VisaLink(f"TCPIP::127.0.0.1::{text}::SOCKET", timeout=TIMEOUT))
    return await _known(link, functools.partial(link.query, QUESTION))


async def _evaline_modbus(text: int, modbus: int) -> Ask:
    link: Any = watched(ModbusTcpLink("127.0.0.1", modbus, timeout=TIMEOUT))
    return await _known(link, functools.partial(link.read_holding_registers, 1, 0, REGISTERS))


async def _known(link: Any, ask: Ask) -> Ask:
    async def identify() -> Identity:
        await ask()
        return Identity("", "", "", "")

    await link.open()
    link.expect(await identify(), identify, link.reopened)
    return ask


def _raw_session(port: int) -> Any:
    import pyvisa

    manager = pyvisa.ResourceManager("@py")
    return manager.open_resource(
        f"TCPIP::127.0.0.1::{port}::SOCKET", read_termination="\n", write_termination="\n", timeout=int(1000 * TIMEOUT)
    )


async def _raw_pyvisa(text: int, modbus: int) -> Ask:
    """From asyncio, a thread an instrument: what anybody does who uses PyVISA in a daemon."""
    session, loop, thread = _raw_session(text), asyncio.get_running_loop(), ThreadPoolExecutor(1)
    return lambda: loop.run_in_executor(thread, session.query, QUESTION)


async def _raw_pymodbus(text: int, modbus: int) -> Ask:
    from pymodbus.client import AsyncModbusTcpClient

    client = AsyncModbusTcpClient("127.0.0.1", port=modbus, timeout=TIMEOUT)
    await client.connect()
    return lambda: client.read_holding_registers(0, count=REGISTERS)


async def _raw_asyncio(text: int, modbus: int) -> Ask:
    reader, writer = await asyncio.open_connection("127.0.0.1", text)

    async def ask() -> bytes:
        writer.write(QUESTION.encode() + b"\n")
        return await reader.readline()

    return ask


CLIENTS = {
    "visa": _evaline_visa,
    "modbus": _evaline_modbus,
    "pyvisa": _raw_pyvisa,
    "pymodbus": _raw_pymodbus,
    "asyncio": _raw_asyncio,
}


def queries(instruments: int) -> Measured:
    """For each client queries a second, p99 (s), CPU seconds a query; every instrument is asked as soon as it answered.

    The clients take short turns in one process, so that a busy machine is busy for all of them; medians of the turns.
    """
    each = QUERIES[instruments] // instruments // TURNS

    async def run(ports: tuple[int, int]) -> dict[str, list[Measured]]:
        asks = {name: [await client(*ports) for _ in range(instruments)] for name, client in CLIENTS.items()}
        found: dict[str, list[Measured]] = {name: [] for name in (*CLIENTS, "threads")}
        sessions = [_raw_session(ports[0]) for _ in range(instruments)]
        with ThreadPoolExecutor(instruments) as pool:
            for _ in range(TURNS + 1):  # the first is to get warm
                for name in CLIENTS:
                    found[name].append(await _turn(asks[name], each))
                found["threads"].append(_turn_of_threads(pool, sessions, each))
        return found

    with _served() as ports:
        found = asyncio.run(run(ports))
    return {f"{name} {key}": value for name, turns in found.items() for key, value in medians(turns[1:]).items()}


async def _turn(asks: list[Ask], each: int) -> Measured:
    took: list[float] = []

    async def one(ask: Ask) -> None:
        for _ in range(each):
            began = perf_counter()
            await ask()
            took.append(perf_counter() - began)

    began, cpu = perf_counter(), process_time()
    await asyncio.gather(*map(one, asks))
    return _figures(took, perf_counter() - began, process_time() - cpu)


def _turn_of_threads(pool: ThreadPoolExecutor, sessions: list[Any], each: int) -> Measured:
    """PyVISA with a thread an instrument, each in a loop of its own, and no event loop at all."""
    took: list[float] = []

    def one(session: Any) -> None:
        for _ in range(each):
            began = perf_counter()
            session.query(QUESTION)
            took.append(perf_counter() - began)

    began, cpu = perf_counter(), process_time()
    list(pool.map(one, sessions))
    return _figures(took, perf_counter() - began, process_time() - cpu)


@asynccontextmanager
async def _paced_line(asks: list[Ask]) -> AsyncIterator[list[float]]:
    """Every instrument asked at RATE, spread over the period, until the block ends. Yields how long (s) each took."""
    took: list[float] = []
    for ask in asks:
        await ask()
    start = perf_counter()

    async def one(ask: Ask, phase: float) -> None:
        for number in counting():
            await asyncio.sleep(max(0.0, start + (phase + number) / RATE - perf_counter()))  # noqa: TID251
            began = perf_counter()
            await ask()
            took.append(perf_counter() - began)

    tasks = [asyncio.ensure_future(one(ask, index / len(asks))) for index, ask in enumerate(asks)]
    await asyncio.sleep(0.5)  # noqa: TID251
    yield took
    await _ended(tasks)


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _window(took: list[float], seconds: float) -> Measured:
    took.clear()
    began, cpu = perf_counter(), process_time()
    await asyncio.sleep(seconds)  # noqa: TID251
    return _figures(took, perf_counter() - began, process_time() - cpu)


def paced(client: str) -> Measured:
    """CPU share and p99 (s) of 64 instruments at 20 Hz each."""

    async def run(ports: tuple[int, int]) -> Measured:
        async with _paced_line([await CLIENTS[client](*ports) for _ in range(max(COUNTS))]) as took:
            return await _window(took, PACED_FOR)

    with _served() as ports:
        return asyncio.run(run(ports))


def beside_a_silent_one(client: str) -> Measured:
    """63 instruments at 20 Hz each, in turns alone and beside one that is asked all the time and never answers.

    p50 and p99 (s) are lower quartiles over the turns: what else the machine does only ever adds, and to either kind of
    turn, while a silent instrument that held up others would do so in every turn. Which kind is first alternates.
    """

    async def run(ports: tuple[int, int]) -> Measured:
        mute: Any = watched(VisaLink(f"TCPIP::127.0.0.1::{ports[0]}::SOCKET", timeout=SILENT_TIMEOUT))
        found: dict[bool, list[Measured]] = {False: [], True: []}
        async with _paced_line([await CLIENTS[client](*ports) for _ in range(max(COUNTS) - 1)]) as took:
            for turn in range(2 * SILENT_TURNS):
                silent = turn % 4 in (1, 2)
                tasks = [asyncio.ensure_future(_ask_in_vain(mute))] if silent else []
                found[silent].append(await _window(took, SILENT_TURN))
                await _ended(tasks)
        names = {False: "alone", True: "beside"}
        quiet = {
            f"{names[silent]} {key}": float(np.percentile([turn[key] for turn in turns], 25))
            for silent, turns in found.items()
            for key in ("p50", "p99")
        }
        return quiet | {"unanswered": mute.metrics.errors["E-LINK-TIMEOUT"]}

    with _served() as ports:
        return asyncio.run(run(ports))


async def _ask_in_vain(link: Any) -> None:
    await link.open()
    while True:
        with suppress(InstrumentError):
            await link.query(SILENT.decode().strip())


def _figures(took: list[float], wall: float, cpu: float) -> Measured:
    p50, p99 = np.percentile(took, [50, 99])
    return {"rate": len(took) / wall, "p50": float(p50), "p99": float(p99), "cpu": cpu / len(took), "share": cpu / wall}


# ------------------------------------------------------------------------------------------------------ the rows

ROUNDS, BUDGET = 3, 45.0


def measured(say: Say) -> list[Row]:
    """Rows: each kind of link beside its library for each number of instruments, the paced line, the silent one."""
    works: dict[str, Callable[[], Measured]] = {}
    for number in COUNTS:
        works[f"{number} instruments"] = functools.partial(measure, "links", "queries", instruments=number)
    works["paced"] = functools.partial(measure, "links", "paced", client="visa")
    found = interleaved(works, ROUNDS, BUDGET, say)
    say("beside a silent one")
    silent = measure("links", "beside_a_silent_one", client="visa")
    beside = (("visa", "pyvisa"), ("modbus", "pymodbus"), ("visa", "threads"), ("visa", "asyncio"))
    rows = [_beside(*pair, number, found[f"{number} instruments"]) for pair in beside for number in COUNTS]
    return [*rows, _paced(found["paced"]), _silent(silent)]


def _beside(kind: str, library: str, number: int, found: Measured) -> Row:
    names = {
        "pyvisa": "PyVISA from asyncio",
        "threads": "PyVISA, no loop",
        "pymodbus": "pymodbus",
        "asyncio": "streams",
    }
    subject = f"a {kind} query beside {names[library]}, {number} at once"
    aim = f"at most {RATIO} of its CPU" if library in ("pyvisa", "pymodbus") else "shown"
    if (trouble := problem(subject, aim, found)) is not None:
        return trouble
    ours, theirs = ({key: found[f"{name} {key}"] for key in ("rate", "p99", "cpu")} for name in (kind, library))
    ratio = ours["cpu"] / theirs["cpu"]
    return Row(subject, _told(ours), _told(theirs), ratio, aim, ratio <= RATIO if aim != "shown" else None)


def _told(one: Measured) -> str:
    return f"{one['rate']:,.0f}/s, p99 {1e3 * one['p99']:.2g} ms, {1e6 * one['cpu']:.0f} us CPU"


def _paced(one: Measured) -> Row:
    subject, aim = f"{max(COUNTS)} VISA instruments at {RATE:g} Hz", f"under {PACED_CPU:.0%} of a core"
    if (trouble := problem(subject, aim, one)) is not None:
        return trouble
    due = max(COUNTS) * RATE
    told = f"{one['share']:.0%} of a core, p99 {1e3 * one['p99']:.2g} ms"
    return Row(subject, told, f"{one['rate']:,.0f} of {due:,.0f}/s", None, aim, one["share"] < PACED_CPU)


def _silent(one: Measured) -> Row:
    subject, aim = "one silent instrument of 64: p50 and p99 of the others", f"p99 at most {SILENT_RATIO} of without"
    if (trouble := problem(subject, aim, one)) is not None:
        return trouble
    beside, alone = (
        f"p50 {1e3 * one[f'{name} p50']:.2g} ms, p99 {1e3 * one[f'{name} p99']:.2g} ms" for name in ("beside", "alone")
    )
    told = f"{beside}, it silent {one['unanswered']} times"
    ratio = one["beside p99"] / one["alone p99"]
    return Row(subject, told, f"{alone} without", ratio, aim, ratio <= SILENT_RATIO)
