"""The journal: the one durable truth of a line. What is not in it did not happen.

Appending is synchronous and never touches the disk: an event is numbered, hashed and queued. One writer thread
commits what all stations appended, once per tick or at once when somebody waits in `flush`. So the chain depends on the
order of appending alone, and nobody may be told about anything before `flush` has returned.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controller.journal.check import check_format, first_problem
from controller.journal.format import (
    AUDIT,
    COLUMNS,
    COVERS,
    GENESIS,
    SAMPLES,
    SCHEMA,
    UNREADABLE,
    AuditEntry,
    Event,
    JournalError,
    OutboxMessage,
    canonical,
    damaged,
    digest,
    explain,
    link,
    outbox_digest,
)
from controller.journal.migration import migrate
from controller.journal.outbox import OpenMessage, OpenMessages
from controller.journal.reader import JournalReader

MARKS_WITHIN = 0.1  # s until marks of delivery are written though nothing else happens
TAIL = 1000  # events checked at every opening; `verify` checks all

_INSERT_EVENT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)"
_INSERT_OUTBOX = "INSERT INTO outbox VALUES (?, ?, ?, ?, ?, ?, NULL, ?, NULL)"

_EventRow = tuple[int, float, str, str, str, str, bytes]


class Journal(JournalReader):
    """A journal open for writing, by this process alone. Reads see committed content only."""

    def __init__(self, path: Path, lock: int, connection: sqlite3.Connection, tick: float) -> None:
        super().__init__(path)
        self._lock, self._connection, self._tick = lock, connection, tick
        seq, last = connection.execute("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone() or (
            0,
            GENESIS,
        )
        self._seq, self._hash = seq, last
        first = connection.execute("SELECT hash FROM events ORDER BY seq LIMIT 1").fetchone()
        self._first: bytes = first[0] if first else b""
        self._committed: tuple[int, bytes] = (seq, last)
        self._outbox_seq = int(connection.execute("SELECT coalesce(max(seq), 0) FROM outbox").fetchone()[0])
        self.outbox = OpenMessages(connection)
        self._runs = {run for (run,) in connection.execute("SELECT run FROM runs")}
        self._final = {run for (run,) in connection.execute("SELECT run FROM results")}
        self._columns: dict[str, tuple[tuple[str, ...], int]] = {}

        self.commit_count = 0
        self.outbox_head = self._outbox_seq
        """The newest committed outbox row; readers of the outbox need not look before it moves."""
        self._result_seq = self.result_head = 0
        """The committed event of the newest result since the opening, for those who follow results."""

        # all below is guarded by the condition
        self._changed = threading.Condition()
        self._events: list[_EventRow] = []
        self._statements: list[tuple[str, tuple[Any, ...]]] = []
        self._waiters: list[Future[None]] = []
        self._served: list[Future[None]] = []  # those whose batch is being written
        self._busy = False
        self._closing = False
        self._failure: JournalError | None = None
        self._listeners: tuple[tuple[asyncio.AbstractEventLoop, asyncio.Event], ...] = ()
        self._thread = threading.Thread(target=self._write_until_closed, name="journal", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, path: Path, *, tick: float = 0.01) -> Journal:
        """Open or create; raises JournalError E-JOURNAL-LOCKED, -DAMAGED, -VERSION or -IO. The tick is in seconds."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = _lock(path)
        except OSError as error:
            raise JournalError("E-JOURNAL-IO", f"{path}: {error.strerror}") from error
        try:
            return cls(path, lock, _connect(path), tick)
        except UNREADABLE as error:
            os.close(lock)
            raise explain(path, error) from error
        except OSError as error:
            os.close(lock)
            raise JournalError("E-JOURNAL-IO", f"{path}: {error.strerror}") from error
        except BaseException:
            os.close(lock)
            raise

    # appending

    def append(self, event: Event, outbox: Sequence[OutboxMessage] = ()) -> None:
        """Queue an event, with messages that become pending in the same transaction."""
        with self._changed:
            self._check_usable()
            self._seal(event, outbox=outbox)

    def append_together(self, events: Sequence[Event], outbox: Sequence[OutboxMessage] = ()) -> None:
        """Queue events of one moment, with messages: none of them becomes durable without the others."""
        with self._changed:
            self._check_usable()
            for event in events[:-1]:
                self._seal(event)
            for event in events[-1:]:
                self._seal(event, outbox=outbox)

    def append_samples(
        self, t: float, station: str, run: str, columns: tuple[str, ...], rows: NDArray[np.float64]
    ) -> None:
        """Queue an (n, len(columns)) block of samples; NaN marks a bad value."""
        if rows.ndim != 2 or rows.shape[1] != len(columns):
            raise JournalError("E-JOURNAL-VALUE", f"samples of shape {rows.shape} do not fit {len(columns)} columns")
        data = np.ascontiguousarray(rows, dtype="<f8").tobytes()
        with self._changed:
            self._check_usable()
            # a run's columns hardly ever change: they are recorded once, and each chunk points to them
            known, place = self._columns.get(run, ((), 0))
            if known != columns:
                place = self._add(t, station, run, COLUMNS, canonical({"columns": columns}))
                self._columns[run] = (columns, place)
            body = {"columns": place, "rows": len(rows), "sha256": hashlib.sha256(data).hexdigest()}
            seq = self._add(t, station, run, SAMPLES, canonical(body))
            self._statements.append(("INSERT INTO chunks VALUES (?, ?)", (seq, data)))

    def commit_result(
        self, event: Event, result: Mapping[str, Any], outbox: Sequence[OutboxMessage], audit: AuditEntry
    ) -> None:
        """Queue a run's one final result with its event, messages and audit entry, as one transaction."""
        with self._changed:
            self._check_usable()
            if event.run in self._final:
                raise JournalError("E-JOURNAL-RESULT", f"run {event.run} has its final result already")
            self._seal(event, result=result, outbox=outbox, audit=audit)
            self._final.add(event.run)
            self._columns.pop(event.run, None)

    def audit(self, entry: AuditEntry, station: str = "", run: str = "") -> None:
        """Queue an entry of the audit trail; it reads back as an event of kind `audit`."""
        with self._changed:
            self._check_usable()
            self._add(entry.t, station, run, AUDIT, _audit_body(entry))

    def outbox_sent(self, seq: int) -> None:
        """Queue the mark that a message was delivered."""
        with self._changed:
            self._check_usable()
            self.outbox.close(seq)
            self._statements.append(("UPDATE outbox SET sent = id WHERE seq = ?", (seq,)))
            self._changed.notify()

    def outbox_refused(self, seq: int, t: float, by: str, reason: str) -> None:
        """Queue the mark that broker or MES refused a waiting message, with an audit entry; nothing sends it again."""
        message = self.outbox.waiting[seq]
        detail = {"outbox": seq, "id": message.id, "topic": message.topic}
        with self._changed:
            self._check_usable()
            entry = self._add(t, "", "", AUDIT, _audit_body(AuditEntry(t, by, "message refused", reason, detail)))
            self.outbox.refuse(seq)
            self._statements.append(("UPDATE outbox SET refused = ? WHERE seq = ?", (entry, seq)))

    def outbox_resend(self, seqs: Sequence[int], t: float, author: str, reason: str) -> None:
        """Queue that refused messages wait for their delivery again, each with an audit entry."""
        with self._changed:
            self._check_usable()
            for seq in seqs:
                message = self.outbox.refused[seq]
                detail = {"outbox": seq, "id": message.id, "topic": message.topic}
                self._add(t, "", "", AUDIT, _audit_body(AuditEntry(t, author, "message resent", reason, detail)))
                self.outbox.reopen(seq)
                self._statements.append(("UPDATE outbox SET refused = NULL WHERE seq = ?", (seq,)))

    async def flush(self) -> None:
        """Return once everything appended before is durable; raises JournalError E-JOURNAL-WRITE if it cannot be."""
        with self._changed:
            self._check_usable()
            if not (self._events or self._statements or self._busy):
                return
            done: Future[None] = Future()
            self._waiters.append(done)
            self._changed.notify()
        await asyncio.wrap_future(done)

    async def close(self) -> None:
        """Commit the rest and let go of the file; raises JournalError if anything appended could not be written."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)
        if self._lock >= 0:
            self.close_reads()
            self._connection.close()
            os.close(self._lock)
            self._lock = -1
            if self._failure is not None:
                raise self._failure

    @property
    def identity(self) -> str:
        """What tells this journal from any other, one that replaced a lost one too: the beginning of its first event's
        hash, in hex; empty before there is an event."""
        return self._first.hex()[:12]

    def head(self) -> tuple[int, str]:
        """The last committed event: its number and its hash in hex."""
        seq, value = self._committed
        return seq, value.hex()

    @contextmanager
    def commits(self) -> Iterator[asyncio.Event]:
        """An event that is set after every commit, for those who follow the journal with a cursor; use on the loop."""
        listener = (asyncio.get_running_loop(), asyncio.Event())
        with self._changed:
            self._listeners += (listener,)
        try:
            yield listener[1]
        finally:
            with self._changed:
                self._listeners = tuple(other for other in self._listeners if other is not listener)

    # all under the condition

    def _check_usable(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._closing:
            raise JournalError("E-JOURNAL-CLOSED", f"{self.path} is closed")

    def _seal(
        self,
        event: Event,
        *,
        result: Mapping[str, Any] | None = None,
        outbox: Sequence[OutboxMessage] = (),
        audit: AuditEntry | None = None,
    ) -> None:
        """Add an event whose body covers the rows that go with it. Either all of it is queued or nothing."""
        if event.kind in (SAMPLES, COLUMNS) or COVERS in event.body:
            raise JournalError(
                "E-JOURNAL-VALUE", f"kinds {SAMPLES!r}, {COLUMNS!r} and key {COVERS!r} are the journal's own"
            )
        body, covers = event.body, dict[str, Any]()
        try:
            result_text = canonical(result)
            audit_body = _audit_body(audit) if audit else ""
            canonical([event.t, audit.t if audit else 0.0])
            if result is not None:
                covers["result"] = digest(result_text)
            messages = [
                (row, m.id, m.topic, canonical(m.payload), m.qos, m.retain)
                for row, m in enumerate(outbox, self._outbox_seq + 1)
            ]
            if messages:
                covers["outbox"] = [
                    (row, outbox_digest(key, topic, payload, qos, retain))
                    for row, key, topic, payload, qos, retain in messages
                ]
            text = canonical(body | {COVERS: covers} if covers else body)
        except (ValueError, TypeError) as error:
            raise JournalError("E-JOURNAL-VALUE", f"event {event.kind} of run {event.run!r}: {error}") from error
        seq = self._add(event.t, event.station, event.run, event.kind, text)
        if result is not None:
            self._statements.append(("INSERT INTO results VALUES (?, ?, ?)", (event.run, seq, result_text)))
            self._result_seq = seq
        self._statements += [(_INSERT_OUTBOX, (*message, seq)) for message in messages]
        self._outbox_seq += len(messages)
        self.outbox.add(OpenMessage(row, id, topic, event.t, len(text)) for row, id, topic, text, *_ in messages)
        if audit:
            self._add(audit.t, event.station, event.run, AUDIT, audit_body)

    def _add(self, t: float, station: str, run: str, kind: str, body: str) -> int:
        t = float(t) + 0.0  # SQLite does not keep the sign of a zero
        seq = self._seq + 1
        try:
            for text in (station, run, kind):
                text.encode()
            value = link(self._hash, seq, t, station, run, kind, body)
        except (ValueError, TypeError) as error:
            raise JournalError("E-JOURNAL-VALUE", f"event {kind!r} of run {run!r}: {error}") from error
        self._seq, self._hash, self._first = seq, value, self._first or value
        self._events.append((seq, t, station, run, kind, body, value))
        if run and run not in self._runs:
            self._runs.add(run)
            self._statements.append(("INSERT INTO runs VALUES (?, ?)", (seq, run)))
        if len(self._events) == 1:
            self._changed.notify()
        return seq

    # the writer thread

    def _write_until_closed(self) -> None:
        try:
            while self._write_batch():
                pass
        except sqlite3.Error as error:
            self._fail(error)
        except BaseException as error:
            self._fail(error)
            raise

    def _write_batch(self) -> bool:
        with self._changed:
            # marks of delivery alone wait for company: losing one costs a repetition, syncing each delays commands
            until: float | None = None
            while not (self._events or self._waiters or self._closing) and (until is None or monotonic() < until):
                if self._statements and until is None:
                    until = monotonic() + MARKS_WITHIN
                self._changed.wait(until and until - monotonic())
            self._changed.wait_for(lambda: self._waiters or self._closing, self._tick)
            events, self._events = self._events, []
            statements, self._statements = self._statements, []
            self._served, self._waiters = self._waiters, []
            self._busy = bool(events or statements)
            outbox_head, result_head = self._outbox_seq, self._result_seq
            if not self._busy and not self._served:
                return not self._closing
        if self._busy:
            self._commit(events, statements)
        with self._changed:
            self._busy = False
            if events:
                self._committed = (events[-1][0], events[-1][-1])
            self.outbox_head, self.result_head = outbox_head, result_head
            served, self._served = self._served, []
            listeners = self._listeners
        for waiter in served:
            if waiter.set_running_or_notify_cancel():
                waiter.set_result(None)
        for loop, event in listeners:
            with suppress(RuntimeError):  # a loop that was closed has no readers left
                loop.call_soon_threadsafe(event.set)
        return True

    def _commit(self, events: list[_EventRow], statements: list[tuple[str, tuple[Any, ...]]]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(_INSERT_EVENT, events)
        for sql, parameters in statements:
            self._connection.execute(sql, parameters)
        self._connection.execute("COMMIT")
        self.commit_count += 1

    def _fail(self, error: BaseException) -> None:
        """Never write again: after a failed commit only what is on the disk is known. Everybody who waits is told."""
        with suppress(sqlite3.Error):
            self._connection.rollback()
        with self._changed:
            self._failure = JournalError("E-JOURNAL-WRITE", f"{self.path} cannot be written: {error}")
            waiters, self._waiters = self._served + self._waiters, []
        for waiter in waiters:
            if waiter.set_running_or_notify_cancel():
                waiter.set_exception(self._failure)


def _audit_body(entry: AuditEntry) -> str:
    return canonical({"author": entry.author, "action": entry.action, "reason": entry.reason, "detail": entry.detail})


def holder(path: Path) -> str | None:
    """The pid of the daemon that has the journal open, "unknown" at the moment it opens; None when there is none.

    A daemon that dies leaves the lock file, not the lock. Raises OSError where the file cannot be read.
    """
    try:
        lock = os.open(_lock_file(path), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _named_in(lock)
    finally:
        os.close(lock)
    return None


def _lock_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _named_in(lock: int) -> str:
    return os.pread(lock, 20, 0).decode(errors="replace").strip() or "unknown"


def _lock(path: Path) -> int:
    """Hold the lock file beside the journal; the kernel lets go of it when this process dies, however it dies."""
    lock = os.open(_lock_file(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        message = f"{path} is in use by another daemon, process {_named_in(lock)}"
        os.close(lock)
        raise JournalError("E-JOURNAL-LOCKED", message) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _connect(path: Path) -> sqlite3.Connection:
    if not path.exists():
        _create(path)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        migrate(connection)
        if wrong := check_format(connection):
            code = "E-JOURNAL-VERSION" if "format" in wrong else "E-JOURNAL-DAMAGED"
            raise JournalError(code, f"{path}: {wrong}; nothing was changed")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 4000")  # pages; SQLite's 1000 triples the slowest commits
        if problem := first_problem(connection, TAIL):
            raise damaged(path, f"{problem.where}: {problem.what}")
    except BaseException:
        connection.close()
        raise
    return connection


def _create(path: Path) -> None:
    """Make an empty journal under another name first: a file of this name is complete or damaged, never unfinished."""
    if path.with_name(f"{path.name}-wal").exists():
        raise damaged(path, "its write-ahead log is there, the file itself is gone")
    new = path.with_name(f"{path.name}.new")
    for leftover in (new, path.with_name(f"{new.name}-journal")):
        leftover.unlink(missing_ok=True)
    connection = sqlite3.connect(new, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(f"BEGIN; {SCHEMA} COMMIT;")
    finally:
        connection.close()
    new.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
