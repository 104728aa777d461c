"""How soon a sample is durable, and how many rows a second become so, beside raw write + fdatasync."""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import numpy as np

from controller.clock import PacedClock
from controller.journal import Journal
from controller.run import COLUMNS
from tests.bench.child import Measured, Say, interleaved, measure
from tests.bench.table import Row, problem

CELLS, CHANNELS = 96, 16
NAMES = COLUMNS + tuple(f"cell_{n:03d}" for n in range(1, CELLS + 1)) + tuple(f"t_{n:02d}" for n in range(1, 17))
STORED = ("seq", "t", "station", "channel", *(f"value_{n}" for n in range(8)))
BATCH = 256  # rows a commit
DURABLE_WITHIN = 0.020  # s


@contextmanager
def _raw_file(directory: Path) -> Iterator[int]:
    file = os.open(directory / "raw", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        yield file
    finally:
        os.close(file)


def _write(file: int, data: bytes) -> float:
    began = perf_counter()
    os.write(file, data)
    os.fdatasync(file)
    return perf_counter() - began


def latency(count: int) -> Measured:
    """Seconds from append to durable, a station's sample each: on the tick, when waited for, and for raw writes."""
    return asyncio.run(_latency(count))


async def _latency(count: int) -> Measured:
    clock, phases = PacedClock(), random.Random(1)
    rows = np.random.default_rng(1).random((1, len(NAMES)))
    on_tick, awaited, raw = [], [], []
    with tempfile.TemporaryDirectory() as directory, _raw_file(Path(directory)) as file:
        journal = Journal.open(Path(directory) / "journal.db")
        with journal.commits() as committed:
            for _ in range(count):
                await clock.sleep(phases.uniform(0.005, 0.02))
                before = journal.head()
                began = perf_counter()
                journal.append_samples(clock.now(), "st01", "run", NAMES, rows)
                while journal.head() == before:
                    await committed.wait()
                    committed.clear()
                on_tick.append(perf_counter() - began)

                began = perf_counter()
                journal.append_samples(clock.now(), "st01", "run", NAMES, rows)
                await journal.flush()
                awaited.append(perf_counter() - began)

                raw.append(_write(file, rows.tobytes()))
        await journal.close()
    found = {"tick": on_tick, "flush": awaited, "raw": raw}
    return {f"{name}_p{p}": float(np.percentile(times, p)) for name, times in found.items() for p in (50, 99)}


def throughput(batches: int) -> Measured:
    """Durable rows a second of twelve numbers, a batch a commit; the journal and the raw file in turn."""
    return asyncio.run(_throughput(batches))


async def _throughput(batches: int) -> Measured:
    block = np.random.default_rng(1).random((BATCH, len(STORED)))
    journalled = raw = 0.0
    with tempfile.TemporaryDirectory() as directory, _raw_file(Path(directory)) as file:
        journal = Journal.open(Path(directory) / "journal.db")
        for number in range(batches):
            began = perf_counter()
            journal.append_samples(float(number), "st01", "run", STORED, block)
            await journal.flush()
            journalled += perf_counter() - began
            raw += _write(file, block.tobytes())
        await journal.close()
    return {"rate": batches * BATCH / journalled, "raw": batches * BATCH / raw}


def measured(say: Say) -> list[Row]:
    found = interleaved(
        {
            "sample to durable": lambda: measure("durability", "latency", count=150),
            "rows a second": lambda: measure("durability", "throughput", batches=1000),
        },
        repeats=3,
        budget=20,
        say=say,
    )
    late, store = found.values()
    return [*_latency_rows(late), _store_row(store)]


def _latency_rows(late: Measured) -> list[Row]:
    aim = f"p99 at most {1e3 * DURABLE_WITHIN:g} ms"
    if row := problem("sample to durable", aim, late):
        return [row]
    beside = f"write + fdatasync p50 {1e3 * late['raw_p50']:.2f}, p99 {1e3 * late['raw_p99']:.2f} ms"
    return [
        Row(
            label,
            f"p50 {1e3 * late[f'{kind}_p50']:.2f}, p99 {1e3 * late[f'{kind}_p99']:.2f} ms",
            beside,
            late[f"{kind}_p99"] / late["raw_p99"],
            aim,
            late[f"{kind}_p99"] <= DURABLE_WITHIN,
        )
        for label, kind in (("sample to durable, 10 ms tick", "tick"), ("sample to durable, waited for", "flush"))
    ]


def _store_row(store: Measured) -> Row:
    label, aim = f"store, {BATCH} rows of {len(STORED)} numbers a commit", "at least 0.5"
    if row := problem(label, aim, store):
        return row
    ratio = store["rate"] / store["raw"]
    ours = f"{store['rate'] / 1e3:.0f} k rows/s"
    return Row(label, ours, f"write + fdatasync {store['raw'] / 1e3:.0f} k rows/s", ratio, aim, ratio >= 0.5)
