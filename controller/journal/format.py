"""The journal's format: its records, its tables, and what the hash chain covers.

hash(n) = sha256(hash(n-1) || canonical JSON of [seq, t, station, run, kind, body]). Only line time is hashed, never
wall time, so one seed in virtual time gives one head. Chunks, results and outbox rows are covered through their digests
in an event's body.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

APPLICATION_ID = 0x45564C4E  # "EVLN", in SQLite's header
VERSION = 2
FORMER = (1,)  # versions that opening for writing brings up to this one
GENESIS = hashlib.sha256(b"evaline/journal/1").digest()

# what reading damaged content raises: SQLite's errors, its messages with undecodable text inside, our own decoding
UNREADABLE = (sqlite3.Error, ValueError, LookupError, TypeError, AttributeError)

# kinds that only the journal itself writes, and the body key under which it keeps digests
SAMPLES, COLUMNS, AUDIT = "samples", "columns", "audit"
COVERS = "covers"

# kinds of events that are found again by their body's `key`: a command's cmd_id, an order's id, a station, a key's id
KEYED = "kind IN ('command', 'order', 'mode', 'signing key')"
INDEXES = f"""
CREATE INDEX events_by_key ON events(kind, json_extract(body, '$.key')) WHERE {KEYED};
CREATE INDEX outbox_by_topic ON outbox(topic);
"""

# `sent` repeats the id instead of being a flag: no single damaged bit can turn a waiting message into a sent one.
# `event` is the event that vouches for a message, `refused` the entry of the audit trail that tells why nobody took it.
SCHEMA = f"""
CREATE TABLE events(seq INTEGER PRIMARY KEY, t REAL NOT NULL, station TEXT NOT NULL, run TEXT NOT NULL,
                    kind TEXT NOT NULL, body TEXT NOT NULL, hash BLOB NOT NULL) STRICT;
CREATE INDEX events_of_run ON events(run);
CREATE TABLE runs(seq INTEGER PRIMARY KEY, run TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE chunks(seq INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
CREATE TABLE results(run TEXT PRIMARY KEY, seq INTEGER NOT NULL, body TEXT NOT NULL) STRICT;
CREATE TABLE outbox(seq INTEGER PRIMARY KEY, id TEXT NOT NULL, topic TEXT NOT NULL, payload TEXT NOT NULL,
                    qos INTEGER NOT NULL, retain INTEGER NOT NULL, sent TEXT,
                    event INTEGER NOT NULL DEFAULT 0, refused INTEGER) STRICT;
CREATE INDEX outbox_waiting ON outbox(seq) WHERE sent IS NOT id;
{INDEXES}
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""


class JournalError(Exception):
    """What is wrong with the journal and what to do, in one line; `code` is stable."""

    def __init__(self, code: str, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(f"{message} [{code}]")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: t is line time in unix seconds; the body is plain JSON without NaN."""

    t: float
    station: str
    run: str
    kind: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredEvent(Event):
    """An event as read back, with its place in the chain."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """An MQTT message to be delivered at least once; the id makes it once."""

    topic: str
    payload: dict[str, Any]
    qos: int
    retain: bool
    id: str


@dataclass(frozen=True, slots=True)
class PendingMessage:
    """An outbox row that is not known to be delivered; payload is the JSON text to send."""

    seq: int
    topic: str
    payload: str
    qos: int
    retain: bool
    id: str


@dataclass(frozen=True, slots=True)
class RefusedMessage(PendingMessage):
    """An outbox row that broker or MES refused: when (line time, unix seconds), who, and their reason."""

    t: float
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what and why; t is line time in unix seconds."""

    t: float
    author: str
    action: str
    reason: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run as lists show it; result is None while it has none."""

    run: str
    station: str
    started: float
    result: dict[str, Any] | None


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, ASCII, shortest floats; ValueError for NaN."""
    return _encode(value)


def link(previous: bytes, seq: int, t: float, station: str, run: str, kind: str, body: str) -> bytes:
    """The hash of an event whose body is canonical already."""
    head = canonical([seq, t, station, run, kind])[:-1]
    return hashlib.sha256(previous + f"{head},{body}]".encode(errors="replace")).digest()


def digest(text: str) -> str:
    """The digest by which an event covers a result or an outbox row."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def outbox_digest(message_id: str, topic: str, payload: str, qos: int, retain: int) -> str:
    """The digest of an outbox row; whether it was sent is not part of it."""
    return digest(canonical([message_id, topic, payload, qos, int(retain)]))


def read_only(path: Path) -> sqlite3.Connection:
    """A connection that cannot write; usable from any one thread at a time."""
    uri = f"{path.resolve().as_uri()}?mode=ro"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=10)


def explain(path: Path, error: Exception) -> JournalError:
    """An UNREADABLE error in our words: damaged content, or a disk that will not."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
        return damaged(path, f"{type(error).__name__}: {error}")
    return JournalError("E-JOURNAL-IO", f"{path}: {error}")


def damaged(path: Path, what: str) -> JournalError:
    """The error for content that cannot be trusted."""
    return JournalError("E-JOURNAL-DAMAGED", f"{path} is damaged: {what}; run `evaline journal verify`")
