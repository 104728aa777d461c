"""A journal of the version before is brought up to this one: nothing of it changes, and what waited still waits."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

import pytest

from controller.journal import AuditEntry, Event, Journal, JournalError, OutboxMessage
from controller.journal.check import verify

FORMAT_1 = """
DROP INDEX IF EXISTS outbox_waiting; DROP INDEX IF EXISTS outbox_by_topic; DROP INDEX IF EXISTS events_by_key;
CREATE TABLE old(seq INTEGER PRIMARY KEY, id TEXT NOT NULL, topic TEXT NOT NULL, payload TEXT NOT NULL,
                 qos INTEGER NOT NULL, retain INTEGER NOT NULL, sent TEXT) STRICT;
INSERT INTO old SELECT seq, id, topic, payload, qos, retain, sent FROM outbox;
DROP TABLE outbox; ALTER TABLE old RENAME TO outbox;
CREATE INDEX outbox_waiting ON outbox(seq) WHERE sent IS NOT id;
PRAGMA user_version = 1;
"""


@pytest.fixture
async def former(tmp_path: Path) -> Path:
    """A journal as version 1 wrote it: two runs, one delivered."""
    path = tmp_path / "j.db"
    journal = Journal.open(path)
    for number in (1, 2):
        journal.append(Event(float(number), "st01", f"r{number}", "run.started", {}))
        message = OutboxMessage("evaline/st01/result", {"run": number}, 1, False, f"r{number}.result")
        end = Event(10.0 * number, "st01", f"r{number}", "run.ended", {})
        journal.commit_result(end, {"verdict": "pass"}, [message], AuditEntry(0.0, "kim", "finish", "", {}))
    await journal.flush()
    journal.outbox_sent(1)
    await journal.close()
    with sqlite3.connect(path) as hand:
        hand.executescript(FORMAT_1)
    hand.close()
    return path


async def test_what_it_holds_stays_and_what_waited_waits(former: Path) -> None:
    with sqlite3.connect(former) as hand:
        before = hand.execute("SELECT seq, hash FROM events").fetchall()
    hand.close()
    assert "format 1; start the daemon once" in verify(former).problems[0].what
    journal = Journal.open(former)
    assert [(message.id, message.t) for message in journal.outbox.waiting.values()] == [("r2.result", 20.0)]
    assert [message.id for message in journal.pending_outbox()] == ["r2.result"]
    journal.append(Event(30.0, "st01", "r3", "run.started", {}))
    await journal.close()
    report = verify(former)
    assert report.ok, report.problems
    with sqlite3.connect(former) as hand:
        assert hand.execute("SELECT seq, hash FROM events").fetchall()[: len(before)] == before
    hand.close()


async def test_a_damaged_former_journal_is_left_as_it_is(former: Path) -> None:
    with sqlite3.connect(former) as hand:
        hand.execute("""UPDATE events SET body = '{"covers":' WHERE seq = 2""")
    hand.close()
    before = hashlib.sha256(former.read_bytes()).hexdigest()
    with pytest.raises(JournalError, match="E-JOURNAL-DAMAGED"):
        Journal.open(former)
    assert hashlib.sha256(former.read_bytes()).hexdigest() == before


async def test_a_refusal_is_kept_told_and_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    journal = Journal.open(path)
    for number in (1, 2):
        message = OutboxMessage("evaline/st01/result", {"run": number}, 1, False, f"r{number}.result")
        journal.append(Event(float(number), "st01", f"r{number}", "run.ended", {}), [message])
    await journal.flush()
    journal.outbox_refused(1, 5.0, "MES", "unknown order")
    await journal.close()
    assert verify(path).ok
    journal = Journal.open(path)
    assert list(journal.outbox.refused) == [1]
    assert [message.id for message in journal.pending_outbox()] == ["r2.result"]
    (refused,) = journal.refused_outbox()
    assert (refused.id, refused.by, refused.reason, refused.t) == ("r1.result", "MES", "unknown order", 5.0)
    journal.outbox_resend([1], 6.0, "kim", "order was added")
    await journal.flush()
    assert [message.id for message in journal.pending_outbox()] == ["r1.result", "r2.result"]
    told = [(event.body["action"], event.body["author"]) for event in journal.events(kind="audit")]
    assert told == [("message refused", "MES"), ("message resent", "kim")]
    await journal.close()
    assert verify(path).ok


async def test_a_refusal_that_no_entry_tells_of_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    journal = Journal.open(path)
    journal.append(Event(1.0, "st01", "r1", "run.ended", {}), [OutboxMessage("a/result", {}, 1, False, "r1.result")])
    await journal.close()
    with sqlite3.connect(path) as hand:
        hand.execute("UPDATE outbox SET refused = 1")
    hand.close()
    (problem,) = verify(path).problems
    assert problem.where == "outbox 1 of event 1"
