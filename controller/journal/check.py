"""Verifying a journal: is everything in it what was once written, and where does the first damage lie?

Needs no lock, so it works on a journal in use as well as on a closed one, and turns any damage into a problem.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from controller.journal.format import (
    APPLICATION_ID,
    AUDIT,
    COVERS,
    FORMER,
    GENESIS,
    SAMPLES,
    UNREADABLE,
    VERSION,
    digest,
    link,
    outbox_digest,
    read_only,
)

MAX_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class Problem:
    """One place where the journal is not what was written."""

    where: str
    what: str


@dataclass(frozen=True, slots=True)
class Report:
    """What verify found; head is the last event's (seq, hash in hex), samples the number of sample rows."""

    ok: bool
    events: int
    runs: int
    samples: int
    head: tuple[int, str]
    problems: list[Problem]


class ChainCheck:
    """Walks the chain from an event on; afterwards it knows what the other tables must hold."""

    def __init__(self, connection: sqlite3.Connection, after_seq: int = 0) -> None:
        self._connection = connection
        self.seq, self.hash = after_seq, GENESIS
        if after_seq:
            (self.hash,) = connection.execute("SELECT hash FROM events WHERE seq = ?", (after_seq,)).fetchone()
        self.runs: dict[str, int] = {}
        self.rows = 0
        self.covered: Counter[str] = Counter()

    def problems(self) -> Iterator[Problem]:
        """Every event that breaks the chain, and every row an event covers that is not as it was."""
        rows = self._connection.execute(
            "SELECT seq, t, station, run, kind, body, hash FROM events WHERE seq > ? ORDER BY seq", (self.seq,)
        )
        try:
            for seq, t, station, run, kind, body, stored in rows:
                if seq != self.seq + 1:
                    yield Problem(f"event {self.seq + 1}", f"missing; the next one is {seq}")
                if link(self.hash, seq, t, station, run, kind, body) != stored:
                    yield Problem(f"event {seq}", "its content does not match its hash")
                self.seq, self.hash = seq, stored if isinstance(stored, bytes) else b""
                if run:
                    self.runs.setdefault(run, seq)
                if kind == SAMPLES or f'"{COVERS}"' in body:
                    yield from self._covered(seq, run, kind, json.loads(body))
        except UNREADABLE as error:
            yield Problem(f"event {self.seq + 1}", f"cannot be read: {error}")

    def _covered(self, seq: int, run: str, kind: str, body: dict[str, Any]) -> Iterator[Problem]:
        if kind == SAMPLES:
            self.rows += body["rows"]
            self.covered["chunks"] += 1
            chunk = self._one("SELECT data FROM chunks WHERE seq = ?", seq)
            if chunk is None or hashlib.sha256(chunk[0]).hexdigest() != body["sha256"]:
                yield Problem(f"samples of event {seq}", "missing or not what was recorded")
            return
        covers = body.get(COVERS, {})
        if "result" in covers:
            self.covered["results"] += 1
            result = self._one("SELECT body FROM results WHERE run = ? AND seq = ?", run, seq)
            if result is None or digest(result[0]) != covers["result"]:
                yield Problem(f"result of event {seq}", f"missing or not what was decided for run {run}")
        for row, expected in covers.get("outbox", []):
            self.covered["outbox"] += 1
            message = self._one(
                "SELECT id, topic, payload, qos, retain, sent, event, refused FROM outbox WHERE seq = ?", row
            )
            if message is None or outbox_digest(*message[:5]) != expected:
                yield Problem(f"outbox {row} of event {seq}", "missing or not what was to be sent")
            elif message[5] not in (None, message[0]):
                yield Problem(f"outbox {row} of event {seq}", "its delivery mark is damaged; it will be sent again")
            elif message[6] != seq or not self._tells_refusal(message[7], row):
                yield Problem(f"outbox {row} of event {seq}", "the mark of its event or of its refusal is damaged")

    def _tells_refusal(self, entry: int | None, row: int) -> bool:
        """Whether an entry of the audit trail says that a row was refused; None: it was not."""
        if entry is None:
            return True
        event = self._one("SELECT kind, body FROM events WHERE seq = ?", entry)
        return event is not None and event[0] == AUDIT and json.loads(event[1])["detail"].get("outbox") == row

    def _one(self, sql: str, *parameters: Any) -> Any:
        return self._connection.execute(sql, parameters).fetchone()


def check_format(connection: sqlite3.Connection) -> str:
    """Why this file is not a journal this program reads; empty if it is one."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        return "it is not an Evaline journal"
    if version in FORMER:
        return f"it has format {version}; start the daemon once, which brings it to format {VERSION}"
    return "" if version == VERSION else f"it has format {version}; this program reads format {VERSION}"


def first_problem(connection: sqlite3.Connection, tail: int) -> Problem | None:
    """What opening checks: SQLite's own quick check and the last events of the chain."""
    (page,) = connection.execute("PRAGMA page_size").fetchone()
    if Path(connection.execute("PRAGMA database_list").fetchone()[2]).stat().st_size % page:
        return Problem("file", "its last page is cut off")
    (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if answer != "ok":
        return Problem("file", " ".join(str(answer).split()))
    (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()
    return next(ChainCheck(connection, max(0, last - tail)).problems(), None)


def verify(path: Path) -> Report:
    """Check the whole file; never raises for what is in it."""
    problems: list[Problem] = []
    check: ChainCheck | None = None
    try:
        with closing(read_only(path)) as connection:
            # undecodable text must fail its hash, not stop the walk
            connection.text_factory = lambda raw: raw.decode(errors="replace")
            connection.execute("BEGIN")
            if wrong := check_format(connection):
                problems.append(Problem("file", wrong))
            else:
                answers = [row[0] for row in connection.execute(f"PRAGMA integrity_check({MAX_PROBLEMS})")]
                problems += [Problem("file", " ".join(str(answer).split())) for answer in answers if answer != "ok"]
                check = ChainCheck(connection)
                problems += islice(check.problems(), MAX_PROBLEMS)
                problems += _strangers(connection, check)
    except UNREADABLE as error:
        problems.append(Problem("file", f"cannot be read: {error}"))
    if check is None:
        return Report(False, 0, 0, 0, (0, GENESIS.hex()), problems)
    return Report(not problems, check.seq, len(check.runs), check.rows, (check.seq, check.hash.hex()), problems)


def _strangers(connection: sqlite3.Connection, check: ChainCheck) -> Iterator[Problem]:
    """Rows that no event vouches for, and indexes that lead elsewhere; SQLite's own check decodes no index entry."""
    for table in ("chunks", "results", "outbox"):
        (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        if count != check.covered[table]:
            yield Problem(f"table {table}", f"holds {count} rows, the events vouch for {check.covered[table]}")
    if dict(connection.execute("SELECT run, seq FROM runs")) != check.runs:
        yield Problem("table runs", "is not what the events say")
    by_run = "SELECT run, min(seq) FROM events INDEXED BY events_of_run WHERE run != '' GROUP BY run"
    if dict(connection.execute(by_run)) != check.runs:
        yield Problem("index events_of_run", "is not what the events say")
    waiting = [
        connection.execute(f"SELECT seq FROM outbox {how} WHERE sent IS NOT id ORDER BY seq").fetchall()
        for how in ("NOT INDEXED", "INDEXED BY outbox_waiting")
    ]
    if waiting[0] != waiting[1]:
        yield Problem("index outbox_waiting", "is not what the outbox says")
