"""Reading the journal: from any thread, beside a running writer, without its lock."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from controller.journal.format import (
    COLUMNS,
    KEYED,
    SAMPLES,
    UNREADABLE,
    PendingMessage,
    RefusedMessage,
    RunSummary,
    StoredEvent,
    explain,
    read_only,
)

_MESSAGE = "seq, topic, payload, qos, retain, id"

P = ParamSpec("P")
T = TypeVar("T")


def _explained(read: Callable[Concatenate[JournalReader, P], T]) -> Callable[Concatenate[JournalReader, P], T]:
    """Damage that opening did not look for shows when it is read: say so instead of failing somewhere in decoding."""

    def explained(self: JournalReader, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return read(self, *args, **kwargs)
        except UNREADABLE as error:
            raise explain(self.path, error) from error

    return explained


class JournalReader:
    """Committed content only. Each thread gets a read-only connection of its own, so a long export blocks nobody."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mine = threading.local()
        self._connections: list[sqlite3.Connection] = []

    def close_reads(self) -> None:
        """Close the connections of all threads; no read may be under way."""
        while self._connections:
            self._connections.pop().close()

    def _query(self, sql: str, *parameters: Any) -> list[Any]:
        connection: sqlite3.Connection | None = getattr(self._mine, "connection", None)
        if connection is None:
            connection = self._mine.connection = read_only(self.path)
            self._connections.append(connection)
        return connection.execute(sql, parameters).fetchall()

    @_explained
    def events(
        self, run: str | None = None, after_seq: int = 0, limit: int = 1000, kind: str | None = None
    ) -> list[StoredEvent]:
        """Events after a cursor in order, optionally of one run and of one kind."""
        where, parameters = "seq > ?", [after_seq]
        named = [(name, value) for name, value in (("run", run), ("kind", kind)) if value is not None]
        where += "".join(f" AND {name} = ?" for name, _ in named)
        rows = self._query(
            f"SELECT t, station, run, kind, body, seq, hash FROM events WHERE {where} ORDER BY seq LIMIT ?",
            *parameters,
            *(value for _, value in named),
            limit,
        )
        return [
            StoredEvent(t, station, of_run, of_kind, json.loads(body), seq, value.hex())
            for t, station, of_run, of_kind, body, seq, value in rows
        ]

    @_explained
    def newest_time(self) -> float | None:
        """Line time of the newest events; None where there are none."""
        ((newest,),) = self._query("SELECT max(t) FROM (SELECT t FROM events ORDER BY seq DESC LIMIT 100)")
        return None if newest is None else float(newest)

    @_explained
    def history(self, run: str) -> list[StoredEvent]:
        """Everything a run has but its samples, in order."""
        told = "SELECT t, station, run, kind, body, seq, hash FROM events WHERE run = ? AND kind NOT IN (?, ?)"
        rows = self._query(f"{told} ORDER BY seq", run, SAMPLES, COLUMNS)
        return [
            StoredEvent(t, station, of_run, kind, json.loads(body), seq, value.hex())
            for t, station, of_run, kind, body, seq, value in rows
        ]

    @_explained
    def newest_sample(self, run: str) -> tuple[int, dict[str, float]] | None:
        """The place of a run's newest sample in the journal, and its values; those that were bad are absent."""
        newest = "SELECT seq, body, data FROM events JOIN chunks USING (seq) WHERE run = ? AND kind = ?"
        for seq, text, data in self._query(f"{newest} ORDER BY seq DESC LIMIT 1", run, SAMPLES):
            body = json.loads(text)
            ((columns,),) = self._query("SELECT body FROM events WHERE seq = ?", body["columns"])
            row = np.frombuffer(data, "<f8").reshape(body["rows"], -1)[-1]
            values = zip(json.loads(columns)["columns"], row.tolist(), strict=True)
            return seq, {name: value for name, value in values if np.isfinite(value)}
        return None

    @_explained
    def samples(self, run: str) -> tuple[tuple[str, ...], NDArray[np.float64]]:
        """All samples of a run in order: column names and an (n, columns) array; NaN: bad or absent."""
        names: dict[int, tuple[str, ...]] = {}
        for seq, body in self._query(
            "SELECT seq, body FROM events WHERE run = ? AND kind = ? ORDER BY seq", run, COLUMNS
        ):
            names[seq] = tuple(json.loads(body)["columns"])
        columns = tuple(dict.fromkeys(name for group in names.values() for name in group))
        place = {name: index for index, name in enumerate(columns)}
        chunks = self._query(
            "SELECT body, data FROM events JOIN chunks USING (seq) WHERE run = ? AND kind = ? ORDER BY seq",
            run,
            SAMPLES,
        )
        parts = [(names[body["columns"]], body["rows"], data) for body, data in ((json.loads(b), d) for b, d in chunks)]
        table = np.full((sum(count for _, count, _ in parts), len(columns)), np.nan)
        at = 0
        for group, count, data in parts:
            table[at : at + count, [place[name] for name in group]] = np.frombuffer(data, "<f8").reshape(count, -1)
            at += count
        return columns, table

    @_explained
    def result(self, run: str) -> dict[str, Any] | None:
        """The final result of a run, if it has one."""
        rows = self._query("SELECT body FROM results WHERE run = ?", run)
        return json.loads(rows[0][0]) if rows else None

    @_explained
    def runs(self, limit: int = 100) -> list[RunSummary]:
        """The latest runs, newest first."""
        rows = self._query(
            "SELECT runs.run, station, t, results.body FROM runs JOIN events ON events.seq = runs.seq"
            " LEFT JOIN results ON results.run = runs.run ORDER BY runs.seq DESC LIMIT ?",
            limit,
        )
        return [RunSummary(run, station, t, json.loads(body) if body else None) for run, station, t, body in rows]

    @_explained
    def unfinished_runs(self) -> list[RunSummary]:
        """Runs without a final result, oldest first."""
        rows = self._query(
            "SELECT runs.run, station, t FROM runs JOIN events ON events.seq = runs.seq"
            " LEFT JOIN results ON results.run = runs.run WHERE results.run IS NULL ORDER BY runs.seq"
        )
        return [RunSummary(run, station, t, None) for run, station, t in rows]

    def count_runs(self) -> int:
        """How many runs the journal knows."""
        return int(self._query("SELECT count(*) FROM runs")[0][0])

    @_explained
    def pending_outbox(self, limit: int = 100, after_seq: int = 0) -> list[PendingMessage]:
        """Messages that are not known to be delivered and that nobody refused, oldest first."""
        rows = self._query(
            f"SELECT {_MESSAGE} FROM outbox WHERE sent IS NOT id AND refused IS NULL AND seq > ? ORDER BY seq LIMIT ?",
            after_seq,
            limit,
        )
        return [_pending(*row) for row in rows]

    @_explained
    def outbox_message(self, seq: int) -> PendingMessage:
        """The message of an outbox row."""
        (row,) = self._query(f"SELECT {_MESSAGE} FROM outbox WHERE seq = ?", seq)
        return _pending(*row)

    @_explained
    def refused_outbox(self, limit: int = 1000) -> list[RefusedMessage]:
        """Messages that broker or MES refused, oldest first, each with the reason."""
        columns = ", ".join(f"outbox.{name}" for name in _MESSAGE.split(", "))
        rows = self._query(
            f"SELECT {columns}, t, body FROM outbox JOIN events ON events.seq = refused"
            " WHERE sent IS NOT id ORDER BY outbox.seq LIMIT ?",
            limit,
        )
        return [_refused(*row) for row in rows]

    @_explained
    def newest(self, kind: str, key: str, station: str | None = None) -> StoredEvent | None:
        """The newest event of one of the KEYED kinds with this key in its body, optionally of one station."""
        rows = self._query(
            f"SELECT t, station, run, kind, body, seq, hash FROM events WHERE {KEYED} AND kind = ?"
            " AND json_extract(body, '$.key') = ? AND coalesce(station = ?, TRUE) ORDER BY seq DESC LIMIT 1",
            kind,
            key,
            station,
        )
        return next((_stored(*row) for row in rows), None)

    @_explained
    def newest_of_each(self, kind: str, unless: Sequence[str] = ()) -> list[StoredEvent]:
        """The newest event for every key of one of the KEYED kinds, unless its body's `state` is one of these; in the
        order of the keys' first events."""
        rows = self._query(
            "SELECT t, station, run, kind, body, seq, hash, min(first) FROM events JOIN"
            f" (SELECT max(seq) AS last, min(seq) AS first FROM events WHERE {KEYED} AND kind = ?"
            " GROUP BY json_extract(body, '$.key')) ON seq = last"
            f" WHERE coalesce(json_extract(body, '$.state'), '') NOT IN ({', '.join('?' * len(unless))})"
            " GROUP BY seq ORDER BY first",
            kind,
            *unless,
        )
        return [_stored(*row[:7]) for row in rows]

    @_explained
    def outbox_numbers(self, root: str, stations: Iterable[str]) -> dict[str, int]:
        """The sequence number of each station's newest message through the outbox; 0 where there was none."""
        numbers = {}
        for station in stations:
            rows = self._query(
                "SELECT json_extract(payload, '$.sequence') FROM outbox WHERE seq ="
                " (SELECT max(seq) FROM outbox WHERE topic > ? AND topic < ?"
                " AND json_extract(payload, '$.sequence') IS NOT NULL)",
                f"{root}/{station}/",
                f"{root}/{station}0",  # the character after the slash
            )
            numbers[station] = int(rows[0][0] or 0) if rows else 0
        return numbers

    @_explained
    def attempt(self, run: str, dut: str | None, recipe: str | None) -> int:
        """Which run of this recipe on this battery a run is, from 1."""
        ((count,),) = self._query(
            "SELECT count(*) FROM runs JOIN events USING (seq) WHERE json_extract(body, '$.dut') = ?"
            " AND json_extract(body, '$.recipe') = ? AND runs.seq <= (SELECT seq FROM runs WHERE run = ?)",
            dut,
            recipe,
            run,
        )
        return max(1, int(count))

    @_explained
    def totals(self) -> tuple[dict[str, int], dict[str, int]]:
        """How many runs ended with each verdict, and with each grade."""
        rows = self._query(
            "SELECT json_extract(events.body, '$.verdict'), json_extract(events.body, '$.grade'), count(*)"
            " FROM results JOIN events USING (seq) GROUP BY 1, 2"
        )
        verdicts, grades = Counter[str](), Counter[str]()
        for verdict, grade, count in rows:
            verdicts[verdict] += count
            if grade is not None:
                grades[grade] += count
        return dict(verdicts), dict(grades)


def _stored(t: float, station: str, run: str, kind: str, body: str, seq: int, value: bytes) -> StoredEvent:
    return StoredEvent(t, station, run, kind, json.loads(body), seq, value.hex())


def _pending(seq: int, topic: str, payload: str, qos: int, retain: int, id: str) -> PendingMessage:
    return PendingMessage(seq, topic, payload, qos, bool(retain), id)


def _refused(
    seq: int, topic: str, payload: str, qos: int, retain: int, id: str, t: float, entry: str
) -> RefusedMessage:
    body = json.loads(entry)
    return RefusedMessage(seq, topic, payload, qos, bool(retain), id, t, body["author"], body["reason"])
