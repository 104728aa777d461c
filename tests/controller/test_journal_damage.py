"""Damage to a journal is found and named; it never becomes a traceback or a wrong answer."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from controller.journal import AuditEntry, Event, Journal, JournalError, OutboxMessage
from controller.journal.check import verify

RUNS = ("r1", "r2")


async def fill(path: Path) -> None:
    journal = Journal.open(path)
    for run in RUNS:
        for number in range(6):
            journal.append(Event(float(number), "st01", run, "step.ended", {"number": number, "reason": "time"}))
            rows = np.arange(30.0).reshape(10, 3) + number
            journal.append_samples(float(number), "st01", run, ("t", "voltage", "current"), rows)
        journal.commit_result(
            Event(9.0, "st01", run, "result", {}),
            {"verdict": "pass", "capacity": 51.3},
            [OutboxMessage("evaline/result", {"run": run}, 1, False, f"{run}.result")],
            AuditEntry(9.0, "kim", "finish", "end", {}),
        )
    await journal.flush()
    journal.outbox_sent(1)
    await journal.close()


def content(path: Path) -> list[Any]:
    """Everything a reader can be told."""

    async def read() -> list[Any]:
        journal = Journal.open(path)
        try:
            samples = [(columns, rows.tolist()) for columns, rows in map(journal.samples, RUNS)]
            results = [journal.result(run) for run in RUNS]
            return [journal.events(), samples, results, journal.runs(), journal.pending_outbox(), journal.head()]
        finally:
            await journal.close()

    return asyncio.run(read())


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[Any]]:
    path = tmp_path_factory.mktemp("good") / "j.db"
    asyncio.run(fill(path))
    data = path.read_bytes()
    return data, content(path)


@settings(max_examples=250, deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@example(where=0.0, bit=0)
def test_every_flipped_bit_is_found_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, good: tuple[bytes, list[Any]], where: float, bit: int
) -> None:
    data, expected = good
    damaged = bytearray(data)
    damaged[int(where * len(data))] ^= 1 << bit
    path = tmp_path_factory.mktemp("flip") / "j.db"
    path.write_bytes(damaged)
    if verify(path).ok:
        assert content(path) == expected
    else:
        with suppress(JournalError):
            content(path)


@pytest.mark.parametrize("keep", [0, 1, 99, 100, 5000, -4096, -1])
def test_a_truncated_file_is_a_problem(tmp_path: Path, good: tuple[bytes, list[Any]], keep: int) -> None:
    path = tmp_path / "j.db"
    path.write_bytes(good[0][:keep])
    report = verify(path)
    assert not report.ok
    assert report.problems[0].where == "file"
    with pytest.raises(JournalError, match="E-JOURNAL-DAMAGED"):
        Journal.open(path)


def test_a_foreign_a_missing_and_an_overwritten_file_are_problems(
    tmp_path: Path, good: tuple[bytes, list[Any]]
) -> None:
    path = tmp_path / "j.db"
    assert not verify(path).ok
    path.write_text("a text of somebody else " * 50)
    assert not verify(path).ok
    with pytest.raises(JournalError, match="E-JOURNAL-DAMAGED"):
        Journal.open(path)
    path.write_bytes(good[0][:8192] + b"\0" * 8192 + good[0][16384:])
    assert not verify(path).ok
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE notes(text)")
    other.close()
    assert verify(path).problems[0].what == "it is not an Evaline journal"


@pytest.mark.parametrize(
    ("sql", "where"),
    [
        ("UPDATE events SET body = '{}' WHERE seq = 5", "event 5"),
        ("UPDATE events SET t = t + 1e-6 WHERE seq = 7", "event 7"),
        ("DELETE FROM events WHERE seq = 4", "event 4"),
        ("UPDATE chunks SET data = zeroblob(240) WHERE seq = 3", "samples of event 3"),
        ("UPDATE results SET body = '{\"verdict\":\"fail\"}' WHERE run = 'r1'", "result of event 14"),
        ("UPDATE outbox SET payload = '{}' WHERE seq = 1", "outbox 1 of event 14"),
        ("UPDATE outbox SET sent = '1' WHERE seq = 2", "outbox 2 of event 29"),
        ("INSERT INTO results VALUES ('r3', 30, '{}')", "table results"),
        ("DELETE FROM runs WHERE run = 'r2'", "table runs"),
    ],
)
def test_verify_says_where_the_first_damage_is(
    tmp_path: Path, good: tuple[bytes, list[Any]], sql: str, where: str
) -> None:
    path = tmp_path / "j.db"
    path.write_bytes(good[0])
    assert verify(path).ok
    with sqlite3.connect(path) as hand:
        hand.execute(sql)
    hand.close()
    assert verify(path).problems[0].where == where
    if not where.startswith("table"):
        with pytest.raises(JournalError, match="E-JOURNAL-DAMAGED") as caught:
            Journal.open(path)
        assert where in caught.value.message
        assert "evaline journal verify" in caught.value.message


@pytest.fixture(scope="module")
def power_cut(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes, list[tuple[int, int]]]:
    """A journal's file and its log as they lie on the disk of a running daemon, and what was acknowledged when."""
    path = tmp_path_factory.mktemp("cut") / "j.db"
    log = path.with_name("j.db-wal")

    async def write() -> tuple[bytes, bytes, list[tuple[int, int]]]:
        journal = Journal.open(path)
        acknowledged = []
        for number in range(12):
            for _ in range(number + 1):
                journal.append(Event(1.0, "st01", "r1", "tick", {"number": number, "pad": "x" * 200 * (number % 4)}))
            journal.append_samples(1.0, "st01", "r1", ("t",), np.full((50, 1), float(number)))
            await journal.flush()
            acknowledged.append((log.stat().st_size, journal.head()[0]))
        found = path.read_bytes(), log.read_bytes(), acknowledged
        await journal.close()
        return found

    return asyncio.run(write())


@settings(max_examples=80, deadline=None)
@given(where=st.floats(0, 1), garbage=st.binary(max_size=40))
def test_wherever_the_power_fails_nothing_acknowledged_is_lost(
    tmp_path_factory: pytest.TempPathFactory,
    power_cut: tuple[bytes, bytes, list[tuple[int, int]]],
    where: float,
    garbage: bytes,
) -> None:
    data, log, acknowledged = power_cut
    cut = int(where * len(log))
    path = tmp_path_factory.mktemp("cut") / "j.db"
    path.write_bytes(data)
    path.with_name("j.db-wal").write_bytes(log[:cut] + garbage)

    async def reopen() -> int:
        journal = Journal.open(path)
        seq = journal.head()[0]
        journal.append(Event(2.0, "st01", "r1", "after", {}))
        await journal.close()
        return seq

    assert asyncio.run(reopen()) >= max((seq for size, seq in acknowledged if size <= cut), default=0)
    assert verify(path).problems == []


def test_another_format_version_is_refused_by_name(tmp_path: Path, good: tuple[bytes, list[Any]]) -> None:
    path = tmp_path / "j.db"
    path.write_bytes(good[0])
    with sqlite3.connect(path) as hand:
        hand.execute("PRAGMA user_version = 7")
    hand.close()
    with pytest.raises(JournalError, match="format 7; this program reads format 2") as caught:
        Journal.open(path)
    assert caught.value.code == "E-JOURNAL-VERSION"


def test_a_log_without_its_file_and_an_unwritable_place_are_refused(tmp_path: Path) -> None:
    (tmp_path / "j.db-wal").write_bytes(b"x")
    with pytest.raises(JournalError, match="E-JOURNAL-DAMAGED"):
        Journal.open(tmp_path / "j.db")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(JournalError, match="E-JOURNAL-IO"):
        Journal.open(tmp_path / "file" / "j.db")
