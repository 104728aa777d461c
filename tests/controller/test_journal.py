"""The journal keeps what it acknowledged, in order, once, whatever happens to the process or to the disk."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.journal import AuditEntry, Event, Journal, JournalError, OutboxMessage, holder
from controller.journal.check import verify

T0 = 1.7e9


def event(number: int, run: str = "r1", kind: str = "step.ended", **body: Any) -> Event:
    return Event(T0 + number, "st01", run, kind, {"number": number, **body})


def message(run: str = "r1", key: str = "result") -> OutboxMessage:
    return OutboxMessage("evaline/x/result", {"run": run}, 1, False, f"{run}.{key}")


AUDIT = AuditEntry(T0, "kim", "finish", "end of recipe", {"grade": "B"})


def finish(journal: Journal, run: str = "r1") -> None:
    journal.commit_result(event(9, run, "result"), {"run": run, "verdict": "pass"}, [message(run)], AUDIT)


def crash_child(path: Path, *script: str) -> subprocess.Popen[str]:
    """A process that appends events for ever and prints each number once it is acknowledged."""
    lines = [
        "import asyncio, resource, sys",
        "from pathlib import Path",
        "from controller.journal import Event, Journal, JournalError",
        "async def main():",
        "    journal = Journal.open(Path(sys.argv[1]), tick=0.001)",
        *(f"    {line}" for line in script),
        "    number = 0",
        "    while True:",
        "        for _ in range(7):",
        "            number += 1",
        "            journal.append(Event(float(number), 'st01', 'r1', 'tick', {'number': number, 'pad': 'x' * 300}))",
        "        await journal.flush()",
        "        print(number, flush=True)",
        "try:",
        "    asyncio.run(main())",
        "except JournalError as error:",
        "    print(error.code, flush=True)",
    ]
    return subprocess.Popen([sys.executable, "-c", "\n".join(lines), str(path)], stdout=subprocess.PIPE, text=True)


async def test_what_was_appended_is_read_back_in_order(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "j.db")
    for number in range(5):
        journal.append(event(number, run="r1" if number % 2 else "r2"))
    await journal.flush()
    assert [e.body["number"] for e in journal.events()] == [0, 1, 2, 3, 4]
    assert [e.seq for e in journal.events("r1")] == [2, 4]
    assert [e.seq for e in journal.events(after_seq=3, limit=1)] == [4]
    assert [(s.run, s.station, s.started) for s in journal.runs()] == [("r1", "st01", T0 + 1), ("r2", "st01", T0)]
    assert journal.count_runs() == 2
    await journal.close()
    assert verify(tmp_path / "j.db").ok


async def test_nothing_is_visible_before_its_commit(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "j.db", tick=60)
    journal.append(event(1))
    assert journal.events() == []
    assert journal.head()[0] == 0
    await journal.flush()
    assert journal.head() == (1, journal.events()[0].hash)
    await journal.close()


async def test_one_commit_for_everything_appended_in_a_tick(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "j.db", tick=60)
    for number in range(500):
        journal.append(event(number, run=f"r{number % 8}"))
    await asyncio.gather(*(journal.flush() for _ in range(8)))
    assert journal.commit_count == 1
    await journal.flush()
    assert journal.commit_count == 1, "nothing to write, nothing written"
    await journal.close()


async def test_the_tick_commits_without_a_flush_and_wakes_followers(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "j.db", tick=0.001)
    with journal.commits() as committed:
        journal.append(event(1))
        async with asyncio.timeout(10):
            await committed.wait()
    assert len(journal.events()) == 1
    await journal.close()


async def test_samples_of_a_run_come_back_as_one_table(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "j.db")
    first = np.array([[1.0, 2.0], [3.0, np.nan]])
    journal.append_samples(T0, "st01", "r1", ("t", "voltage"), first)
    journal.append_samples(T0, "st01", "r1", ("t", "voltage"), first + 10)
    journal.append_samples(T0, "st01", "r1", ("t", "current"), np.array([[5.0, 6.0]]))
    first[:] = 0  # what is appended is a copy
    await journal.flush()
    columns, rows = journal.samples("r1")
    assert columns == ("t", "voltage", "current")
    nan = np.nan
    np.testing.assert_array_equal(
        rows, [[1, 2, nan], [3, nan, nan], [11, 12, nan], [13, nan, nan], [5, nan, 6]], strict=False
    )
    assert journal.samples("nobody")[1].shape == (0, 0)
    assert [e.kind for e in journal.events("r1")] == ["columns", "samples", "samples", "columns", "samples"]
    await journal.close()
    assert verify(tmp_path / "j.db").samples == 5


async def test_a_result_its_messages_and_its_audit_entry_are_one_transaction(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "j.db", tick=60)
    finish(journal)
    assert journal.result("r1") is None
    await journal.flush()
    assert journal.commit_count == 1
    assert journal.result("r1") == {"run": "r1", "verdict": "pass"}
    assert journal.runs()[0].result == {"run": "r1", "verdict": "pass"}
    (waiting,) = journal.pending_outbox()
    assert (waiting.id, waiting.payload, waiting.qos, waiting.retain) == ("r1.result", '{"run":"r1"}', 1, False)
    (audit,) = journal.events(kind="audit")
    assert audit.body == {"author": "kim", "action": "finish", "reason": "end of recipe", "detail": {"grade": "B"}}
    journal.outbox_sent(waiting.seq)
    await journal.flush()
    assert journal.pending_outbox() == []
    await journal.close()
    assert verify(tmp_path / "j.db").ok


async def test_a_run_has_one_final_result(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "j.db")
    finish(journal)
    with pytest.raises(JournalError, match="E-JOURNAL-RESULT"):
        finish(journal)
    await journal.close()
    journal = Journal.open(tmp_path / "j.db")
    with pytest.raises(JournalError, match="E-JOURNAL-RESULT"):
        finish(journal)
    finish(journal, "r2")
    await journal.close()


@pytest.mark.parametrize(
    "bad",
    [
        Event(T0, "st01", "r1", "x", {"value": float("nan")}),
        Event(float("nan"), "st01", "r1", "x", {}),
        Event(T0, "st01", "\ud800", "x", {}),
        Event(T0, "st01", "r1", "x", {"value": object()}),
        Event(T0, "st01", "r1", "samples", {}),
        Event(T0, "st01", "r1", "x", {"covers": {}}),
    ],
)
async def test_what_cannot_be_kept_is_refused_at_once_and_harms_nothing(tmp_path: Path, bad: Event) -> None:
    journal = Journal.open(tmp_path / "j.db")
    with pytest.raises(JournalError, match="E-JOURNAL-VALUE"):
        journal.append(bad)
    with pytest.raises(JournalError, match="E-JOURNAL-VALUE"):
        journal.commit_result(bad, {}, [message()], AUDIT)
    finish(journal)
    await journal.close()
    report = verify(tmp_path / "j.db")
    assert report.ok
    assert report.events == 2


async def test_samples_must_fit_their_columns(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "j.db")
    with pytest.raises(JournalError, match="E-JOURNAL-VALUE"):
        journal.append_samples(T0, "st01", "r1", ("t",), np.zeros((3, 2)))
    await journal.close()


async def test_reads_work_from_any_thread_while_the_writer_writes(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "j.db", tick=0.0)
    seen: list[list[int]] = []

    def follow() -> None:
        seq, mine = 0, []
        while seq < 300:
            for found in journal.events(after_seq=seq):
                mine.append(seq := found.seq)
        seen.append(mine)

    threads = [threading.Thread(target=follow) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(300):
        journal.append(event(number))
        if number % 10 == 0:
            await journal.flush()
    await journal.flush()
    for thread in threads:
        await asyncio.to_thread(thread.join, 20)
    assert seen == [list(range(1, 301))] * 3
    await journal.close()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
events = st.builds(
    Event,
    t=st.floats(allow_nan=False, allow_infinity=False),
    station=texts,
    run=texts,
    kind=texts.filter(lambda kind: kind not in ("samples", "columns")),
    body=st.dictionaries(st.text().filter(lambda key: key != "covers"), json_values, max_size=4),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(events, max_size=12), st.data())
def test_any_events_survive_closing_and_the_chain_ignores_commit_timing(
    tmp_path_factory: pytest.TempPathFactory, all_events: list[Event], data: st.DataObject
) -> None:
    flush_after = data.draw(st.sets(st.integers(0, 11)))
    folder = tmp_path_factory.mktemp("journal")

    async def write(path: Path, pauses: set[int]) -> tuple[int, str]:
        journal = Journal.open(path, tick=0.0)
        for index, item in enumerate(all_events):
            journal.append(item)
            if index in pauses:
                await journal.flush()
        await journal.close()
        return journal.head()

    heads = {asyncio.run(write(folder / "a.db", flush_after)), asyncio.run(write(folder / "b.db", set()))}
    assert len(heads) == 1

    async def read() -> list[Event]:
        journal = Journal.open(folder / "a.db")
        found = [Event(e.t, e.station, e.run, e.kind, e.body) for e in journal.events()]
        await journal.close()
        return found

    assert asyncio.run(read()) == all_events
    report = verify(folder / "a.db")
    assert report.problems == []
    assert {report.head} == heads


async def test_a_second_daemon_is_told_who_holds_the_journal(tmp_path: Path) -> None:
    child = crash_child(tmp_path / "j.db")
    assert child.stdout is not None
    child.stdout.readline()
    with pytest.raises(JournalError, match=f"process {child.pid} ") as caught:
        Journal.open(tmp_path / "j.db")
    assert caught.value.code == "E-JOURNAL-LOCKED"
    assert verify(tmp_path / "j.db").ok, "verify needs no lock"
    assert holder(tmp_path / "j.db") == str(child.pid)
    child.kill()
    child.communicate()
    assert (tmp_path / "j.db.lock").exists()
    assert holder(tmp_path / "j.db") is None, "what it left is a file, no lock"
    assert holder(tmp_path / "other.db") is None
    await Journal.open(tmp_path / "j.db").close()


@pytest.mark.parametrize("acknowledged", [1, 30])
async def test_sigkill_loses_nothing_acknowledged(tmp_path: Path, acknowledged: int) -> None:
    child = crash_child(tmp_path / "j.db")
    assert child.stdout is not None
    for _ in range(acknowledged):
        child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    rest, _ = child.communicate()
    last = int(([line for line in rest.split("\n")[:-1] if line] or [str(7 * acknowledged)])[-1])
    assert verify(tmp_path / "j.db").ok
    journal = Journal.open(tmp_path / "j.db")
    numbers = [e.body["number"] for e in journal.events(limit=10**6)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= last
    journal.append(event(1))
    await journal.close()
    assert verify(tmp_path / "j.db").ok


async def test_a_full_disk_stops_the_journal_and_loses_nothing_acknowledged(tmp_path: Path) -> None:
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))"
    child = crash_child(tmp_path / "j.db", limit)
    output, _ = child.communicate(timeout=30)
    *numbers, code = output.split()
    assert code == "E-JOURNAL-WRITE"
    assert verify(tmp_path / "j.db").ok
    journal = Journal.open(tmp_path / "j.db")
    assert len(journal.events(limit=10**6)) >= int(numbers[-1]) > 0
    await journal.close()


async def test_after_a_failed_write_every_call_says_so(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "j.db", tick=60)
    journal.append(event(1))
    await journal.flush()
    with sqlite3.connect(tmp_path / "j.db") as other:  # a foreign hand breaks the schema under us
        other.execute("DROP TABLE outbox")
    other.close()
    finish(journal)
    waits = await asyncio.gather(journal.flush(), journal.flush(), return_exceptions=True)
    assert [getattr(wait, "code", wait) for wait in waits] == ["E-JOURNAL-WRITE"] * 2
    with pytest.raises(JournalError, match="E-JOURNAL-WRITE"):
        journal.append(event(2))
    with pytest.raises(JournalError, match="E-JOURNAL-WRITE"):
        await journal.flush()
    assert [e.body["number"] for e in journal.events()] == [1]
    with pytest.raises(JournalError, match="E-JOURNAL-WRITE"):
        await journal.close()
    await journal.close()


async def test_a_cancelled_flush_disturbs_nobody(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "j.db", tick=60)
    journal.append(event(1))
    first, second = asyncio.ensure_future(journal.flush()), asyncio.ensure_future(journal.flush())
    await asyncio.wait([first], timeout=0)
    first.cancel()
    await second
    await journal.close()
    with pytest.raises(JournalError, match="E-JOURNAL-CLOSED"):
        journal.append(event(2))
