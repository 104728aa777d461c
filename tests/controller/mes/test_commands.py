"""Commands and work orders of the MES: each answered once, refused with its reason, and never done twice."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from config import LineConfig
from controller.journal import Event
from controller.journal.check import verify
from controller.mes.commands import BURST, MAX_ELSEWHERE, CommandDoor
from controller.mes.messages import Mode
from controller.mes.orders import MAX_OPEN
from controller.mes.refusals import AUDIT_BURST, NOWHERE, way_out
from controller.mes.topics import rfc3339
from controller.start import StartRefusedError
from controller.states import DONE, TRANSITIONS, Command, State, after
from tests.controller.mes.commanding import Mes, codes, order
from tests.virtual import CODE, Virtual, in_virtual_time

Short = Callable[..., str]
Play = Callable[[Callable[[Mes], Awaitable[Any]]], Any]


@pytest.fixture
def config(line_with: Callable[..., LineConfig], short_recipe: Short, tmp_path: Path) -> LineConfig:
    """The demo line, whose site has a recipe of its own that takes a minute."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "short.yaml").write_text(short_recipe(), encoding="utf-8")

    def change(data: dict[str, Any]) -> None:
        data["mes"] = {"recipes": str(tmp_path / "site"), "actors": {"mes": list(ALL), "viewer": ["acknowledge"]}}

    return line_with(change=change)


ALL = (
    "store", "start", "store_and_start", "hold", "resume", "suspend", "abort", "stop", "cancel", "acknowledge",
    "reset", "clear",
)  # fmt: skip


@pytest.fixture
def play(config: LineConfig) -> Play:
    """Run a play with the MES over a fresh start of the daemon's line; again goes on where the last one stopped."""

    def run(work: Callable[[Mes], Awaitable[Any]]) -> Any:
        async def on_line(virtual: Virtual) -> Any:
            return await work(Mes(virtual, config.mes))

        return in_virtual_time(config, on_line)

    return run


async def remote(mes: Mes) -> None:
    mes.virtual.station.set_mode(Mode.REMOTE, "kim", "shift of the MES")


# ------------------------------------------------------------------------------------------------- work orders


def test_an_order_goes_its_way_from_store_to_its_result(play: Play) -> None:
    async def work(mes: Mes) -> None:
        await remote(mes)
        place = {"parent": "PACK-7", "batch": "L-2026-47", "carrier": "TRAY-3", "position": "B2"}
        wanted = order(operation="OP-30", **place)
        stored = await mes.says("store", order=wanted)
        assert (stored["status"], stored["order"], stored["run"]) == ("accepted", "WO-1", None)
        assert [(o.order, o.state, o.run) for o in mes.virtual.line.orders.data.orders] == [
            ("WO-1", "NotAllowedToStart", None)
        ]
        started = await mes.says("start", order_id="WO-1")
        assert started["status"] == "accepted"
        await mes.virtual.until(lambda: mes.virtual.station.state.name == "EXECUTE")
        held = await mes.says("hold", order_id="WO-1", reason="AGV late")
        assert (held["status"], held["run"]) == ("accepted", started["run"])
        await mes.virtual.until(lambda: mes.virtual.station.state.name == "HELD")
        await mes.says("resume")
        result = await mes.virtual.result(started["run"])
        assert result["order"] == {"id": "WO-1", "operation": "OP-30"}
        assert {key: result["dut"][key] for key in place} == place
        assert result["dut"]["code"] == CODE
        assert (result["mode"], result["author"], result["job_state"]) == ("REMOTE", "mes", "Ended")
        states = ["NotAllowedToStart", "AllowedToStart", "Running", "Interrupted", "Running", "Ended"]
        assert mes.jobs() == [("WO-1", state) for state in states]
        assert mes.virtual.line.orders.data.orders == []

    play(work)


def test_the_start_its_order_and_its_reply_are_one_transaction(play: Play) -> None:
    async def work(mes: Mes) -> None:
        await remote(mes)
        reply = await mes.says("store_and_start", order=order())
        events = mes.virtual.journal.events(run=reply["run"])
        place = {event.kind: event.seq for event in events}
        covered = {row for event in events for row, _ in event.body.get("covers", {}).get("outbox", [])}
        assert place["command"] - place["run.started"] <= 3
        begun = next(event for event in events if event.kind == "command")
        assert len(begun.body["covers"]["outbox"]) == 3, "job, reply and run.started hang on one event"
        assert covered
        await mes.virtual.result(reply["run"])

    play(work)


def test_orders_outlive_the_daemon(play: Play) -> None:
    async def before(mes: Mes) -> None:
        await mes.says("store", order=order("WO-1"))
        await mes.says("store", order=order("WO-2"))
        await mes.says("cancel", order_id="WO-1", reason="sold")

    async def after(mes: Mes) -> None:
        assert [o.order for o in mes.virtual.line.orders.data.orders] == ["WO-2"]
        assert codes(await mes.says("store", order=order("WO-1"))) == ["E-ORDER-KNOWN"]
        assert codes(await mes.says("cancel", order_id="WO-1")) == ["E-ORDER-UNKNOWN"]

    play(before)
    play(after)


def test_an_order_whose_run_the_daemon_left_is_aborted_with_it(play: Play) -> None:
    async def before(mes: Mes) -> None:
        await remote(mes)
        await mes.says("store_and_start", order=order())
        await mes.virtual.until(lambda: mes.virtual.station.state.name == "EXECUTE")

    async def after(mes: Mes) -> None:
        assert mes.virtual.line.orders.data.orders == []
        assert mes.jobs()[-1] == ("WO-1", "Aborted")

    play(before)  # ends while the run does not
    play(after)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"recipe": "no_such"}, "E-RECIPE-UNKNOWN"),
        ({"dut": "nobody-knows-it"}, "E-DUT-CODE"),
        ({"recipe_hash": "0" * 64}, "E-RECIPE-HASH"),
        ({"dut": "PHE96-000001"}, "E-DUT-MISMATCH"),
        ({"parameters": {"no_such": 1}}, "E-RECIPE"),
    ],
)
def test_a_start_that_cannot_be_says_why_and_stores_nothing(play: Play, changed: dict[str, Any], code: str) -> None:
    async def work(mes: Mes) -> None:
        await remote(mes)
        reply = await mes.says("store_and_start", order=order(**changed))
        assert (reply["status"], codes(reply)) == ("rejected", [code])
        assert mes.virtual.line.orders.data.orders == []
        assert mes.virtual.station.run_now is None

    play(work)


def test_what_runs_is_not_cancelled_and_not_begun_again(play: Play) -> None:
    async def work(mes: Mes) -> None:
        await remote(mes)
        run = (await mes.says("store_and_start", order=order()))["run"]
        assert codes(await mes.says("cancel", order_id="WO-1")) == ["E-ORDER-STATE"]
        assert codes(await mes.says("start", order_id="WO-1")) == ["E-ORDER-STATE"]
        assert codes(await mes.says("start", order_id="WO-9")) == ["E-ORDER-UNKNOWN"]
        await mes.says("store", order=order("WO-2"))
        assert "E-STATE" in codes(await mes.says("start", order_id="WO-2"))
        assert codes(await mes.says("abort", order_id="WO-2")) == ["E-ORDER-STATE"], "it is another one that runs"
        aborted = await mes.says("abort", order_id="WO-1", reason="recall")
        assert aborted["status"] == "accepted"
        result = await mes.virtual.result(run)
        assert (result["verdict"], result["job_state"], result["failure"]["code"]) == (
            "aborted", "Aborted", "E-ABORTED",
        )  # fmt: skip
        assert mes.jobs()[-1] == ("WO-1", "Aborted")

    play(work)


def test_a_station_keeps_a_bounded_number_of_orders(play: Play) -> None:
    async def work(mes: Mes) -> None:
        for number in range(MAX_OPEN):
            assert (await mes.says("store", order=order(f"WO-{number}")))["status"] == "accepted"
        assert codes(await mes.says("store", order=order("WO-more"))) == ["E-ORDER-FULL"]

    play(work)


# ------------------------------------------------------------------------------------------------------- modes


def test_in_local_mode_the_mes_makes_things_safer_and_lets_no_current_flow(play: Play) -> None:
    async def work(mes: Mes) -> None:
        virtual, station = mes.virtual, mes.virtual.station
        assert station.mode is Mode.LOCAL
        await mes.says("store", order=order())
        assert codes(await mes.says("start", order_id="WO-1")) == ["E-MODE"]
        text = (virtual.line.config.mes.recipes or "") + "/short.yaml"
        run = await virtual.start(Path(text).read_text(encoding="utf-8"))
        await virtual.until(lambda: station.state.name == "EXECUTE")
        assert (await mes.says("suspend"))["status"] == "accepted"
        await virtual.until(lambda: station.state.name == "SUSPENDED")
        assert (await mes.says("resume"))["status"] == "accepted", "its own suspension"
        await virtual.until(lambda: station.state.name == "EXECUTE")
        await station.hold("kim", "hand in the machine")
        assert codes(await mes.says("resume")) == ["E-MODE"], "not the operator's hold"
        assert station.state.name == "HELD"
        assert codes(await mes.says("reset")) == ["E-MODE"]
        assert (await mes.says("abort"))["status"] == "accepted"
        assert (await virtual.result(run))["mode"] == "LOCAL"

    play(work)


def test_in_remote_mode_the_operator_starts_nothing_and_may_always_abort(play: Play, short_recipe: Short) -> None:
    async def work(mes: Mes) -> None:
        await remote(mes)
        with pytest.raises(StartRefusedError, match=r"REMOTE mode: the MES starts its runs \[E-MODE\]"):
            await mes.virtual.start(short_recipe())
        run = (await mes.says("store_and_start", order=order()))["run"]
        await mes.virtual.until(lambda: mes.virtual.station.state.name == "EXECUTE")
        await mes.virtual.station.abort("kim", "smoke")
        assert (await mes.virtual.result(run))["verdict"] == "aborted"

    play(work)


def test_the_mode_outlives_the_daemon_and_its_change_is_told(play: Play) -> None:
    play(remote)

    async def after(mes: Mes) -> None:
        assert mes.virtual.station.mode is Mode.REMOTE
        (told,) = mes.sent("/event/mode")
        assert told["data"] == {"mode": "REMOTE", "author": "kim", "reason": "shift of the MES"}
        entries = mes.virtual.journal.events(kind="audit", limit=10_000)
        assert ("kim", "mode REMOTE") in {(entry.body["author"], entry.body["action"]) for entry in entries}

    play(after)


def test_alarms_are_acknowledged_by_their_codes(play: Play) -> None:
    async def work(mes: Mes) -> None:
        await remote(mes)
        assert (await mes.says("acknowledge"))["status"] == "accepted"
        assert mes.sent("/event/acknowledged") == [], "no alarm stood, so there is nothing to tell"
        run = (await mes.says("store_and_start", order=order()))["run"]
        await mes.virtual.until(lambda: mes.virtual.station.state.name == "EXECUTE")
        mes.virtual.simulated.set_fault("interlock", "estop")
        await mes.virtual.result(run)
        standing = {alarm["code"] for alarm in mes.virtual.station.alarms}
        assert standing
        assert codes(await mes.says("acknowledge", codes=["E-NO-SUCH"])) == ["E-ALARM-UNKNOWN"]
        assert (await mes.says("acknowledge"))["status"] == "accepted"
        assert {alarm["acknowledged_by"] for alarm in mes.virtual.station.alarms} == {"mes"}
        (told,) = mes.sent("/event/acknowledged")
        assert set(told["data"]["codes"]) == standing

    play(work)


# ------------------------------------------------------------------------------------------------ once, and when


def test_a_command_that_comes_again_is_a_duplicate_also_after_a_restart(play: Play) -> None:
    payload: list[bytes] = []

    async def before(mes: Mes) -> None:
        payload.append(json.dumps(mes.message("store", order=order(), cmd_id="again")).encode())
        assert (await mes.sends(payload[0]))["status"] == "accepted"
        again = await mes.sends(payload[0])
        assert (again["status"], again["original"], again["order"]) == ("duplicate", "accepted", "WO-1")

    async def after(mes: Mes) -> None:
        again = await mes.sends(payload[0])
        assert (again["status"], again["original"], codes(again)) == ("duplicate", "accepted", ["E-CMD-DUPLICATE"])
        assert len(mes.virtual.line.orders.data.orders) == 1

    play(before)
    play(after)


def test_two_of_one_id_at_once_are_one_command(play: Play) -> None:
    async def work(mes: Mes) -> None:
        await remote(mes)
        payload = json.dumps(mes.message("store_and_start", order=order())).encode()
        both = (mes.door.receive(mes.topic, payload, retained=False) for _ in range(2))
        await asyncio.gather(*both)
        assert [reply["data"]["status"] for reply in mes.replies()] == ["accepted", "duplicate"]
        await mes.virtual.until(lambda: mes.virtual.station.last_result is not None)

    play(work)


def test_a_copy_that_the_broker_repeats_is_not_answered_again_also_after_a_restart(play: Play) -> None:
    payload: list[bytes] = []

    async def before(mes: Mes) -> None:
        payload.append(json.dumps(mes.message("store", order=order())).encode())
        assert (await mes.sends(payload[0]))["status"] == "accepted"
        await mes.is_not_answered(payload[0], redelivered=True)
        assert mes.refusals() == []

    async def after(mes: Mes) -> None:
        await mes.is_not_answered(payload[0], redelivered=True)
        assert mes.refusals() == []
        assert (await mes.sends(payload[0]))["status"] == "duplicate", "the MES asks again"

    play(before)
    play(after)


def test_a_copy_of_what_was_not_answered_yet_is_the_command(play: Play) -> None:
    async def work(mes: Mes) -> None:
        payload = json.dumps(mes.message("store", order=order())).encode()
        assert (await mes.sends(payload, redelivered=True))["status"] == "accepted"
        refused = json.dumps(mes.message("store", order=order("WO-1"))).encode()
        assert codes(await mes.sends(refused, redelivered=True)) == ["E-ORDER-KNOWN"]
        await mes.is_not_answered(refused, redelivered=True)
        assert len(mes.refusals()) == 1

    play(work)


def test_copies_that_come_while_the_first_is_judged_are_not_answered(play: Play) -> None:
    async def work(mes: Mes) -> None:
        await remote(mes)
        payload = json.dumps(mes.message("store_and_start", order=order())).encode()
        first = mes.door.receive(mes.topic, payload, retained=False)
        copies = [mes.door.receive(mes.topic, payload, retained=False, redelivered=True) for _ in range(3)]
        await asyncio.gather(first, *copies)
        assert [reply["data"]["status"] for reply in mes.replies()] == ["accepted"]
        await mes.virtual.until(lambda: mes.virtual.station.last_result is not None)

    play(work)


def test_a_retained_command_that_was_answered_is_only_audited(play: Play) -> None:
    async def work(mes: Mes) -> None:
        payload = json.dumps(mes.message("store", order=order())).encode()
        assert (await mes.sends(payload))["status"] == "accepted", "the broker passes it on without the flag"
        await mes.is_not_answered(payload, retained=True)
        assert [refusal["detail"]["code"] for refusal in mes.refusals()] == ["E-CMD-RETAINED"]

    play(work)


def test_an_id_that_asks_for_something_else_is_refused_and_not_called_a_duplicate(play: Play) -> None:
    async def work(mes: Mes) -> None:
        await remote(mes)
        run = (await mes.says("store_and_start", order=order(), cmd_id="one"))["run"]
        await mes.virtual.until(lambda: mes.virtual.station.state.name == "EXECUTE")
        payload = json.dumps(mes.message("abort", cmd_id="one")).encode()
        reused = await mes.sends(payload)
        assert (reused["status"], codes(reused), reused["command"]) == ("rejected", ["E-CMD-REUSED"], "abort")
        assert reused["reasons"][0]["hint"]
        assert mes.virtual.station.state.name == "EXECUTE"
        await mes.is_not_answered(payload, redelivered=True)
        assert codes(await mes.sends(payload)) == ["E-CMD-REUSED"], "the MES asks again"
        again = await mes.says("store_and_start", order=order(), cmd_id="one")
        assert (again["status"], again["original"], again["run"]) == ("duplicate", "accepted", run)
        (unreadable,) = codes(await mes.says("fly", cmd_id="one"))
        assert unreadable == "E-CMD-REUSED"
        await mes.says("abort")

    play(work)


def test_who_repeats_may_stamp_anew_and_spell_out_what_is_the_default(play: Play) -> None:
    async def work(mes: Mes) -> None:
        await mes.says("store", order=order(), cmd_id="one")
        await mes.virtual.clock.sleep(10)
        again = await mes.says("store", order=order(parent=None, parameters={}), cmd_id="one", reason="")
        assert again["status"] == "duplicate"

    play(work)


def test_one_id_at_two_stations_is_two_commands(play: Play, config: LineConfig) -> None:
    async def work(mes: Mes) -> None:
        line, other = mes.virtual.line, "st02"
        stations = {**line.stations, other: mes.virtual.station}  # the same under both names: only the names count
        door = CommandDoor(stations, line.orders, line.journal, line.topics, line.clock, config.mes)
        for name in ("st01", other):
            payload = json.dumps(mes.message("acknowledge", cmd_id="one")).encode()
            await door.receive(line.topics.command(name), payload, retained=False)
        line.journal.append(Event(line.clock.now(), "st03", "", "command", {"key": "two", "status": "accepted"}))
        await line.journal.flush()
        await mes.says("acknowledge", cmd_id="two")
        assert [(reply["source"][-4:], reply["data"]["status"]) for reply in mes.replies()] == [
            ("st01", "accepted"), ("st02", "accepted"), ("st01", "accepted"),
        ]  # fmt: skip

    play(work)


def test_what_a_former_version_answered_without_a_digest_counts_as_the_same(play: Play) -> None:
    async def work(mes: Mes) -> None:
        body = {"key": "old", "command": "hold", "status": "rejected", "actor": "mes", "codes": ["E-STATE"]}
        mes.virtual.journal.append(Event(mes.virtual.clock.now(), "st01", "", "command", body))
        await mes.virtual.journal.flush()
        again = await mes.says("hold", cmd_id="old")
        assert (again["status"], again["original"]) == ("duplicate", "rejected")

    play(work)


def test_an_abort_does_not_wait_for_a_start_that_is_being_judged(play: Play) -> None:
    async def work(mes: Mes) -> None:
        await remote(mes)
        starting = asyncio.create_task(
            mes.door.receive(mes.topic, json.dumps(mes.message("store_and_start", order=order())).encode(),
                             retained=False)
        )  # fmt: skip
        abort = json.dumps(mes.message("abort", reason="stop all")).encode()
        await mes.door.receive(mes.topic, abort, retained=False)
        assert [reply["data"]["command"] for reply in mes.replies()] == ["abort"]
        await starting
        second = mes.replies()[1]["data"]
        assert (second["command"], second["status"]) == ("store_and_start", "rejected")
        assert "E-STATE" in codes(second)

    play(work)


def test_commands_out_of_their_time_are_refused(play: Play) -> None:
    async def work(mes: Mes) -> None:
        now = mes.virtual.clock.now()
        skew = mes.virtual.line.config.mes.clock_skew_s

        def times(issued: float, expires: float) -> dict[str, str]:
            return {"issued_at": rfc3339(now + issued), "expires_at": rfc3339(now + expires)}

        late = await mes.says("store", order=order("WO-1"), **times(-100, -skew - 1))
        assert codes(late) == ["E-CMD-EXPIRED"]
        early = await mes.says("store", order=order("WO-1"), **times(skew + 1, 1000))
        assert codes(early) == ["E-CMD-FUTURE"]
        never = await mes.says("store", order=order("WO-1"), **times(0, -1))
        assert codes(never) == ["E-CMD-EXPIRED"], "it expires before it was issued"
        within = await mes.says("store", order=order("WO-1"), **times(skew - 1, 1000))
        assert within["status"] == "accepted", "the clocks may be apart by the skew"

    play(work)


@pytest.mark.parametrize("step", [3600.0, -3600.0])
def test_commands_are_judged_by_the_wall_clock_as_it_was_set(play: Play, config: LineConfig, step: float) -> None:
    async def work(mes: Mes) -> None:
        line, skew, set_by = mes.virtual.line, config.mes.clock_skew_s, 0.0
        mes.door = CommandDoor(line.stations, line.orders, line.journal, line.topics, line.clock, config.mes,
                               lambda: line.clock.now() + set_by)  # fmt: skip

        async def answer(issued: float, order_id: str) -> list[str]:
            """To an order that is stamped so many s after the new time."""
            t = line.clock.now() + set_by + issued
            times = {"issued_at": rfc3339(t), "expires_at": rfc3339(t + 60)}
            return codes(await mes.says("store", order=order(order_id), **times))

        assert await answer(0, "WO-before") == []
        set_by = step
        assert await answer(0, "WO-after") == []
        assert await answer(-step, "WO-old") == ["E-CMD-EXPIRED" if step > 0 else "E-CMD-FUTURE"]
        assert await answer(-60 - skew + 1, "WO-late") == []
        assert await answer(-60 - skew - 1, "WO-later") == ["E-CMD-EXPIRED"]
        assert await answer(skew - 1, "WO-early") == []
        assert await answer(skew + 1, "WO-earlier") == ["E-CMD-FUTURE"]
        assert len(mes.virtual.line.orders.open) == 4

    play(work)


def test_a_repeat_over_a_step_of_the_clock_is_still_a_duplicate(play: Play, config: LineConfig) -> None:
    async def work(mes: Mes) -> None:
        line, set_by = mes.virtual.line, 0.0
        mes.door = CommandDoor(line.stations, line.orders, line.journal, line.topics, line.clock, config.mes,
                               lambda: line.clock.now() + set_by)  # fmt: skip
        payload = json.dumps(mes.message("store", order=order())).encode()
        assert (await mes.sends(payload))["status"] == "accepted"
        for step in (3600.0, -3600.0):
            set_by = step
            again = await mes.sends(payload)
            assert (again["status"], again["original"]) == ("duplicate", "accepted"), "not expired, not of the future"

    play(work)


def test_retained_foreign_and_unauthorised_commands_are_answered_and_audited_once(play: Play) -> None:
    async def work(mes: Mes) -> None:
        assert codes(await mes.says("hold", retained=True)) == ["E-CMD-RETAINED"]
        assert codes(await mes.says("hold", station="st02")) == ["E-CMD-STATION"]
        assert codes(await mes.says("hold", actor="viewer")) == ["E-CMD-ACTOR"]
        assert codes(await mes.says("hold", actor="stranger")) == ["E-CMD-ACTOR"]
        assert codes(await mes.says("acknowledge", actor="viewer")) == []
        refusals = mes.refusals()
        assert [(r["author"], r["detail"]["code"]) for r in refusals] == [
            ("mes", "E-CMD-RETAINED"), ("mes", "E-CMD-STATION"), ("viewer", "E-CMD-ACTOR"), ("stranger", "E-CMD-ACTOR"),
        ]  # fmt: skip
        assert [r["detail"]["command"] for r in refusals] == ["hold"] * 4
        assert not any("\n" in refusal["reason"] for refusal in refusals)

    play(work)


# ---------------------------------------------------------------------------------------------------- bad input

DEEP = b'{"a":' * 100_000
MALFORMED = {
    "10 MB": (b" " * 10_000_000, "E-MSG-SIZE"),
    "larger than allowed": (b" " * (256 * 1024 + 1), "E-MSG-SIZE"),
    "not UTF-8": (b'{"data": "\xff"}', "E-MSG-UTF8"),
    "not JSON": (b"hold!", "E-MSG-JSON"),
    "nothing": (b"", "E-MSG-JSON"),
    "NaN": (b'{"data": {"x": NaN}}', "E-MSG-NUMBER"),
    "infinite": (b'{"data": {"x": 1e999}}', "E-MSG-NUMBER"),
    "an integer of 5000 digits": (b'{"data": {"x": ' + b"9" * 5000 + b"}}", "E-MSG-NUMBER"),
    "a key twice": (b'{"data": 1, "data": 2}', "E-MSG-DUPLICATE-KEY"),
    "deep": (DEEP[:250_000], "E-MSG-DEPTH"),
    "17 levels": (b"[" * 17 + b"]" * 17, "E-MSG-DEPTH"),
    "a list": (b"[]", "E-MSG-SCHEMA"),
    "a newer version": (b'{"type": "evaline.cmd.v2"}', "E-MSG-VERSION"),
    "no id": (b'{"type": "evaline.cmd.v1", "data": {"cmd_id": "a b"}}', "E-MSG-SCHEMA"),
}


def test_what_cannot_be_answered_is_audited_and_does_nothing(play: Play) -> None:
    async def work(mes: Mes) -> None:
        for payload, _ in MALFORMED.values():
            await mes.is_not_answered(payload)
            await mes.virtual.clock.sleep(60)
        found = [refusal["detail"]["code"] for refusal in mes.refusals()]
        assert found == [code for _, code in MALFORMED.values()]
        assert mes.virtual.station.state.name == "IDLE"

    play(work)


@pytest.mark.parametrize(
    "topic",
    [
        "{root}/ST01/cmd",
        "{root}/a+b/cmd",
        "{root}//cmd",
        "{root}/" + 65 * "s" + "/cmd",
        "{root}/st01/state",
        "{root}/cmd",
        "x/y",
        "",
        "{root}/st01/cmd/\0",
    ],
)
def test_what_is_on_no_command_topic_is_audited(play: Play, topic: str) -> None:
    async def work(mes: Mes) -> None:
        topic_ = topic.format(root=mes.virtual.line.topics.root)
        await mes.is_not_answered(json.dumps(mes.message("hold")).encode(), topic=topic_ or "/")
        assert [refusal["detail"]["code"] for refusal in mes.refusals()] == ["E-CMD-STATION"]

    play(work)


@pytest.mark.parametrize(
    "changed",
    [
        {"command": "fly"},
        {"command": None},
        {"command": "hold", "speed": 3},
        {"command": "hold", "expires_at": "tomorrow"},
        {"command": "hold", "expires_at": "2026-02-30T00:00:00Z"},
        {"command": "hold", "expires_at": 1.5},
        {"command": "hold", "actor": ""},
        {"command": "hold", "reason": "line\nbreak"},
        {"command": "start"},
        {"command": "start", "order_id": 7},
        {"command": "store", "order": {"order_id": "WO-1"}},
        {"command": "store", "order": order(colour="red")},
        {"command": "store", "order": order(parameters={"x": 1.5})},
        {"command": "store", "order": order(recipe="../../etc/passwd")},
    ],
)
def test_what_is_no_command_is_answered_where_it_has_an_id(play: Play, changed: dict[str, Any]) -> None:
    async def work(mes: Mes) -> None:
        reply = await mes.sends(json.dumps(mes.message(**changed)).encode())
        assert (reply["status"], codes(reply)) == ("rejected", ["E-MSG-SCHEMA"])
        assert len(mes.refusals()) == 1
        assert mes.virtual.station.state.name == "IDLE"

    play(work)


def test_a_flood_neither_fills_the_journal_nor_disturbs_the_station(play: Play) -> None:
    async def work(mes: Mes) -> None:
        summing = asyncio.create_task(mes.door.run())
        size = mes.virtual.journal.head()[0]
        scanned = mes.virtual.station.latest
        flood = [json.dumps(mes.message("hold")).encode() for _ in range(5000)] + [b"{"] * 5000
        for payload in flood:
            await mes.door.receive(mes.topic, payload, retained=False)
        await mes.virtual.clock.sleep(30)
        summing.cancel()
        await mes.virtual.journal.flush()
        answered = len(mes.replies())
        assert answered <= BURST + 1
        refusals = mes.refusals()
        assert len(refusals) <= AUDIT_BURST + 10
        told = Counter[str]()
        for refusal in refusals:
            told += Counter(refusal["detail"].get("codes") or {refusal["detail"]["code"]: 1})
        assert told.total() == len(flood), "every one of them is accounted for"
        assert mes.virtual.journal.head()[0] - size < 3 * BURST
        assert mes.virtual.station.latest is not scanned
        assert (await mes.says("store", order=order()))["status"] == "accepted", "served again"

    play(work)


def test_rubbish_does_not_silence_what_makes_things_safer(play: Play) -> None:
    async def work(mes: Mes) -> None:
        summing = asyncio.create_task(mes.door.run())
        await remote(mes)
        run = (await mes.says("store_and_start", order=order()))["run"]
        await mes.virtual.until(lambda: mes.virtual.station.state.name == "EXECUTE")
        for _ in range(3000):
            await mes.door.receive(mes.topic, b"{x", retained=False)
        await mes.is_not_answered(json.dumps(mes.message("acknowledge")).encode())
        assert (await mes.says("abort", reason="연" * 1000))["status"] == "accepted", "the longest reason there is"
        assert (await mes.virtual.result(run))["verdict"] == "aborted"
        await mes.virtual.clock.sleep(10)
        summing.cancel()
        await mes.virtual.journal.flush()
        told = mes.refusals()[-1]
        count = sum(told["detail"]["codes"].values())
        assert told["detail"]["stations"] == {"st01": count}
        assert told["reason"].endswith(f"x E-MSG-JSON; for {count} x st01")

    play(work)


def test_what_is_summed_up_is_told_at_the_end_too(play: Play) -> None:
    async def work(mes: Mes) -> None:
        summing = asyncio.create_task(mes.door.run())
        for _ in range(100):
            await mes.door.receive(mes.topic, b"{x", retained=False)
        await mes.virtual.clock.sleep(1)
        summing.cancel()
        await asyncio.wait({summing})
        await mes.virtual.journal.flush()
        told = mes.refusals()[-1]["detail"]
        assert told == {"codes": {"E-MSG-JSON": 100 - AUDIT_BURST}, "stations": {"st01": 100 - AUDIT_BURST}}

    play(work)


def test_what_makes_things_safer_is_bounded_too(play: Play) -> None:
    async def work(mes: Mes) -> None:
        for _ in range(int(BURST) + 200):
            await mes.door.receive(mes.topic, b'{"abort"', retained=False)
        await mes.is_not_answered(json.dumps(mes.message("abort")).encode())
        assert (await mes.says("store", order=order()))["status"] == "accepted", "the other bucket is full"

    play(work)


def test_a_command_to_a_station_that_is_not_here_is_answered_there(play: Play) -> None:
    async def work(mes: Mes) -> None:
        topic = mes.virtual.line.topics.command("st99")
        payload = json.dumps(mes.message("hold")).encode()
        reply = await mes.sends(payload, topic=topic)
        assert (reply["status"], codes(reply), reply["command"]) == ("rejected", ["E-CMD-STATION"], "hold")
        assert "st01" in reply["reasons"][0]["hint"]
        (message,) = mes.sent("/st99/cmd/reply")
        assert "sequence" not in message
        assert message["source"].endswith("/st99")
        assert (await mes.sends(payload, topic=topic))["status"] == "duplicate"
        await mes.is_not_answered(payload, topic=topic, redelivered=True)
        await mes.is_not_answered(b'{"data": {}}', topic=topic)
        assert [r["detail"]["code"] for r in mes.refusals()] == ["E-CMD-STATION", "E-CMD-DUPLICATE", "E-CMD-STATION"]
        assert mes.refusals()[0]["detail"]["command"] == "hold"

    play(work)


def test_a_flood_to_stations_that_are_not_here_leaves_little_behind(play: Play) -> None:
    async def work(mes: Mes) -> None:
        summing = asyncio.create_task(mes.door.run())
        size = mes.virtual.journal.head()[0]
        for number in range(3000):
            topic = mes.virtual.line.topics.command(f"x{number}")
            await mes.door.receive(topic, json.dumps(mes.message("hold")).encode(), retained=False)
        await mes.virtual.clock.sleep(30)
        assert len(mes.replies()) <= AUDIT_BURST
        assert mes.virtual.journal.head()[0] - size < 10 * AUDIT_BURST
        await mes.virtual.journal.flush()
        assert mes.refusals()[-1]["detail"]["stations"].keys() == {NOWHERE}
        for number in range(MAX_ELSEWHERE + 20):
            topic = mes.virtual.line.topics.command(f"slow{number}")
            await mes.door.receive(topic, json.dumps(mes.message("hold")).encode(), retained=False)
            await mes.virtual.clock.sleep(2)
        summing.cancel()
        assert len({message["source"] for message in mes.replies()}) == MAX_ELSEWHERE
        assert mes.virtual.line.topics._numbers.keys() <= {"st01"}
        assert (await mes.says("store", order=order()))["status"] == "accepted"

    play(work)


# ------------------------------------------------------------------------------------------------------------ hints


def test_every_refusal_says_what_to_do(play: Play) -> None:
    async def work(mes: Mes) -> None:
        async def hint(command: str, **data: Any) -> tuple[str, str]:
            (reason,) = (await mes.says(command, **data))["reasons"]
            return reason["code"], reason["hint"]

        await remote(mes)
        station = mes.virtual.station
        assert await hint("hold") == ("E-STATE", "nothing runs: start an order first")
        assert await hint("fly") == (
            "E-MSG-SCHEMA", "contract/schemas/cmd.json declares it, and docs/mes.md explains it",
        )  # fmt: skip
        new = mes.message("hold") | {"type": "evaline.cmd.v2"}
        (reason,) = (await mes.sends(json.dumps(new).encode()))["reasons"]
        assert (reason["code"], "send evaline.cmd.v1" in reason["hint"]) == ("E-MSG-VERSION", True)
        code, what = await hint("hold", station="st02")
        assert (code, "leave `station` out" in what) == ("E-CMD-STATION", True)
        run = (await mes.says("store_and_start", order=order()))["run"]
        await mes.virtual.until(lambda: station.state.name == "EXECUTE")
        assert await hint("reset") == (
            "E-STATE", "wait for the end of its run, or hold, suspend, stop or abort it",
        )  # fmt: skip
        assert await hint("abort", order_id="WO-7") == ("E-ORDER-STATE", "leave `order_id` out to mean whatever runs")
        await mes.says("hold")
        assert await hint("hold") in (
            ("E-STATE", "wait until its state is HELD"), ("E-STATE", "resume its run, or stop or abort it"),
        )  # fmt: skip
        await mes.virtual.until(lambda: station.state.name == "HELD")
        assert await hint("suspend") == ("E-STATE", "resume its run, or stop or abort it")
        await mes.says("resume")
        await mes.virtual.result(run)
        await mes.virtual.until(lambda: station.state.name == "COMPLETE")
        complete = "reset the station: it is ready for the next battery then"
        assert await hint("hold") == ("E-STATE", complete)
        await mes.says("abort")
        await mes.virtual.until(lambda: station.state.name == "ABORTED")
        assert await hint("reset") == ("E-STATE", "clear the station, then reset it")

    play(work)


@pytest.mark.parametrize("state", State)
def test_the_way_out_of_a_state_names_commands_that_it_allows(state: State) -> None:
    named = {word.strip(",:;") for word in way_out(state).split()}
    allowed = {"resume" if command in ("unhold", "unsuspend") else str(command)
               for of, command in TRANSITIONS if of is state}  # fmt: skip
    commands = named & {"clear", "reset", "resume", "stop", "abort", "hold", "suspend"}
    if state is State.ABORTED:  # two steps
        commands -= {"reset"}
        assert (DONE[after(state, Command.CLEAR)], Command.RESET) in TRANSITIONS
    assert commands <= allowed
    assert commands or "wait until" in way_out(state) or state is State.IDLE


# ------------------------------------------------------------------------------------------------ sequence numbers


def test_sequence_numbers_of_a_station_have_no_gap_over_restarts(play: Play, config: LineConfig) -> None:
    async def work(mes: Mes) -> None:
        await mes.says("store", order=order(f"WO-{mes.virtual.clock.now():.0f}-{mes.virtual.journal.head()[0]}"))
        await mes.says("hold")
        await mes.says("hold")

    async def look(mes: Mes) -> list[int]:
        return [int(message["sequence"]) for message in mes.sent("")]

    for _ in range(3):
        play(work)
    numbers = play(look)
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) == 12
    assert verify(Path(config.state_dir) / "journal.db").ok
