"""Topic names are what every broker takes, and every message says who, what, when, and which in its order."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import DocumentError, LineConfig
from config.line import LineIdentity
from controller.journal import Event, Journal, OutboxMessage
from controller.mes.topics import Topics, rfc3339
from tests.virtual import demo_line

TOPICS = Topics(LineIdentity(enterprise="acme", site="p1", area="formation", name="l1"), {"st01": 41})


@pytest.mark.parametrize("name", ["Pohang", "a b", "a/b", "a.b", "포항", "+", "#", "", "-x", "a\0", "x" * 33])
def test_a_name_that_some_broker_would_choke_on_is_refused_when_the_line_is_loaded(name: str, tmp_path: Path) -> None:
    def levels() -> LineConfig:
        return demo_line(tmp_path, lambda data: data["line"].update(site=name))

    def stations() -> LineConfig:
        return demo_line(tmp_path, lambda data: data.update(stations={name: data["stations"]["st01"]}))

    for load in (levels, stations):
        with pytest.raises(DocumentError, match=r"cannot be a level of a topic.*\[E-TOPIC\]"):
            load()


@pytest.mark.parametrize("name", ["connection", "orders", "wip", "totals"])
def test_a_station_cannot_have_the_name_of_a_topic_of_the_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"the line's own topics have that name \[E-TOPIC\]"):
        demo_line(tmp_path, lambda data: data.update(stations={name: data["stations"]["st01"]}))


def test_numbers_go_on_from_the_journals_for_each_station() -> None:
    def number(station: str) -> str:
        event = {"mode": "LOCAL", "author": "kim", "reason": ""}
        return str(TOPICS.event_message(station, "mode", "x", 0.0, event).payload["sequence"])

    assert [number("st01"), number("st02"), number("st01")] == ["0000000042", "0000000001", "0000000043"]
    online = TOPICS.connection_payload("online", 1.5)
    assert "sequence" not in online
    assert (online["source"], online["time"]) == ("/acme/p1/formation/l1", "1970-01-01T00:00:01.500Z")


async def test_an_answer_without_a_number_does_not_make_a_station_count_anew(tmp_path: Path) -> None:
    """A station that is not there is answered without one, and may be there later."""
    line = LineIdentity(enterprise="acme", site="p1", area="formation", name="l1")
    journal = Journal.open(tmp_path / "j.db")
    topics, mode = Topics(line, {"st09": 7}), {"mode": "LOCAL", "author": "kim", "reason": ""}
    numbered = topics.event_message("st09", "mode", "x", 0.0, mode)
    bare = OutboxMessage(topics.reply("st09"), {"id": "y"}, 1, False, "y")
    journal.append(Event(1.0, "", "", "mode", {"key": "st09"}), [numbered, bare])
    await journal.flush()
    assert journal.outbox_numbers(topics.root, ["st09", "st10"]) == {"st09": 8, "st10": 0}
    await journal.close()


async def test_a_journal_that_replaces_a_lost_one_gives_no_message_an_id_that_was_given_before(tmp_path: Path) -> None:
    line, said = LineIdentity(enterprise="acme", site="p1", area="formation", name="l1"), []
    for path, t in (("lost.db", 1.0), ("new.db", 2.0), ("new.db", 3.0)):
        journal = Journal.open(tmp_path / path)
        journal.append(Event(t, "", "", "signing_key", {"key": "the same"}))
        topics = Topics(line, None, journal.identity)
        mode = {"mode": "LOCAL", "author": "kim", "reason": ""}
        said.append(topics.event_message("st01", "mode", "st01-000001.mode", t, mode).id)
        await journal.close()
    assert len(set(said)) == 2
    assert said[1] == said[2], "a restart is no new journal"
    assert all(id.startswith("st01-000001.mode.") for id in said)


@pytest.mark.parametrize(
    ("topic", "station"),
    [
        ("acme/p1/formation/l1/st01/cmd", "st01"),
        ("acme/p1/formation/l1/connection", ""),
        ("acme/p1/formation/l2/st01/cmd", ""),
        ("acme/p1/formation/l1", ""),
        ("", ""),
    ],
)
def test_a_topic_tells_its_station(topic: str, station: str) -> None:
    assert TOPICS.station_of(topic) == station


def test_moments_have_milliseconds_and_are_utc() -> None:
    assert rfc3339(1_700_000_000.0004) == "2023-11-14T22:13:20.000Z"
