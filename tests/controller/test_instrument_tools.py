"""What people may do with one instrument by hand, directly and through the daemon that has it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import shipped_dut_models
from controller.api import build_api
from controller.client import ApiError, Client
from controller.clock import PacedClock
from controller.instruments import Instruments
from controller.instruments import api as instrument_api
from controller.instruments.api import batches
from controller.instruments.tools import (
    NoInstrumentError,
    RegisterQuestion,
    ToolError,
    ask,
    decode,
    parse_question,
    resolve,
    set_by_hand,
)
from controller.start import StartRefusedError
from drivers.errors import AnswerError, InstrumentError
from simulators.station import SimulatedStation
from tests.virtual import Virtual, bench_line, demo_line, in_virtual_time, memory_links

BATTERY = {"model": "nmc_96s_60ah", "code": "PHE96-004713", "soc": 0.4, "soh_mean": 0.84}


# ---------------------------------------------------------------------------------------------------- questions


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("read holding 40001", RegisterQuestion("holding", 0, 1, "u16", True, -1)),
        ("read holding 40001 2 float", RegisterQuestion("holding", 0, 2, "float", True, -1)),
        ("read holding 0x9C41 2 u16", RegisterQuestion("holding", 40001, 2, "u16", True, -1)),
        ("read holding 10888", RegisterQuestion("holding", 10888, 1, "u16", True, -1)),
        ("read input 30009 i16 unit 3", RegisterQuestion("input", 8, 1, "i16", True, 3)),
        ("read discrete 10001 8", RegisterQuestion("discrete", 0, 8, "u16", True, -1)),
        ("read coil 405", RegisterQuestion("coil", 405, 1, "u16", True, -1)),
        ("read coil 00001", RegisterQuestion("coil", 1, 1, "u16", True, -1)),
        ("  READ  holding 2820 float LITTLE unit 1 ", RegisterQuestion("holding", 2820, 1, "float", False, 1)),
    ],
)
def test_questions_about_registers(text: str, asked: RegisterQuestion) -> None:
    assert parse_question(text) == asked


@pytest.mark.parametrize(
    "text",
    [
        "", "read", "write holding 1 2", "read holding", "read holding -1", "read holding 65536", "read holding 1 0",
        "read holding 1 126", "read holding 1 63 float", "read holding 65535 1 u32", "read coil 1 1 float",
        "read holding 1 1 double", "read holding 1 1 u16 middle", "read holding 1e3", "read holding 1_0", "*IDN?",
        "read holding ١", "read holding 40000",
    ],
)  # fmt: skip
def test_what_is_no_question_about_registers(text: str) -> None:
    with pytest.raises(ToolError):
        parse_question(text)


@settings(max_examples=50)
@given(st.text(max_size=40))
def test_any_text_is_a_question_or_a_mistake(text: str) -> None:
    try:
        asked = parse_question(text)
    except ToolError:
        return
    assert 0 <= asked.address <= 65535


def test_values_of_every_type() -> None:
    assert decode([0x42A0, 0], "float", True) == decode([0, 0x42A0], "float", False) == [80.0]
    assert decode([0xFFFF, 0xFFFE], "i32", True) == [-2]
    assert decode([0xFFFF, 0xFFFE, 0, 1], "u32", True) == [0xFFFFFFFE, 1]
    assert decode([0x8000, 7], "i16", True) == [-32768, 7]
    assert decode([0x4254, 0x2032, 0], "text", True) == ["BT 2"]
    for registers, kind in (([0x7FC0, 0], "float"), ([0xFF00], "text")):
        with pytest.raises(AnswerError):
            decode(registers, kind, True)  # type: ignore[arg-type]


def test_names() -> None:
    stations = {"st01": ["cycler", "chamber"], "st02": ["cycler"]}
    assert resolve("st02/cycler", stations) == ("st02", "cycler")
    assert resolve("chamber", stations) == ("st01", "chamber")
    with pytest.raises(NoInstrumentError, match="several instruments are 'cycler': st01/cycler, st02/cycler"):
        resolve("cycler", stations)
    with pytest.raises(NoInstrumentError, match="no instrument 'toaster': st01/cycler, st01/chamber, st02/cycler"):
        resolve("toaster", stations)


# ----------------------------------------------------------------------------------------------------- settings


def by_hand(tmp_path: Path, work: Callable[[Instruments, SimulatedStation], Awaitable[None]]) -> None:
    """The bench's simulated instruments without a daemon."""
    config = bench_line(tmp_path, BATTERY)
    simulated = SimulatedStation(config, "st01", shipped_dut_models(), lambda: 0.0)

    async def run() -> None:
        instruments = Instruments(config.stations["st01"], PacedClock(), memory_links(simulated))
        await instruments.connect()
        await work(instruments, simulated)
        await instruments.close()

    asyncio.run(run())


def test_settings_are_read_back(tmp_path: Path) -> None:
    async def work(instruments: Instruments, simulated: SimulatedStation) -> None:
        done = await set_by_hand(instruments, "chamber", "temperature", "31.5 degC")
        assert (done["reading"]["set_point"], done["reading"]["running"]) == (31.5, True)
        assert not (await set_by_hand(instruments, "chamber", "conditioning", "off"))["reading"]["running"]
        protection = "voltage=400,charge=50,discharge=40,power=20000"
        await set_by_hand(instruments, "cycler", "protection", protection)
        assert (await ask(instruments, "cycler", "SINK:CURR:PROT?"))["answer"].startswith("40")
        assert (await ask(instruments, "cycler", "SYST:LOCK:OWN?"))["answer"] == "NONE", "it is given back"
        await set_by_hand(instruments, "interlock", "tower", "red+buzzer")
        lights = await ask(instruments, "interlock", "read coil 1 4")
        assert lights["answer"] == [True, False, False, True]
        assert not (await set_by_hand(instruments, "interlock", "contactor", "open"))["reading"]["contactor_closed"]
        assert not (await set_by_hand(instruments, "cycler", "output", "off"))["reading"]["output_on"]
        await set_by_hand(instruments, "insulation_tester", "test", "off")
        await set_by_hand(instruments, "interlock", "trip", "reset")
        await set_by_hand(instruments, "code_reader", "trigger", "off")

    by_hand(tmp_path, work)


@pytest.mark.parametrize(
    ("role", "setting", "value", "reason"),
    [
        ("cycler", "output", "on", "'off' alone, not 'on': the rest is for a run"),
        ("interlock", "contactor", "closed", "'open' alone"),
        ("insulation_tester", "test", "500", "'off' alone"),
        ("chamber", "temperature", "NaN", "no temperature"),
        ("chamber", "temperature", "1_0", "no temperature"),
        ("chamber", "temperature", "900", "outside the chamber's"),
        ("chamber", "colour", "red", "is temperature, conditioning"),
        ("battery_monitor", "soc", "1", "the battery_monitor has no setting 'soc'; nothing of it can be set"),
        ("interlock", "tower", "blue", "name lights like"),
        ("cycler", "protection", "400", "write it like voltage="),
        ("cycler", "protection", "voltage=400,charge=inf,discharge=40,power=1", "expected a number"),
        ("cycler", "protection", "voltage=4000,charge=5,discharge=40,power=1", "outside 0"),
    ],
)
def test_what_cannot_be_set_by_hand(tmp_path: Path, role: str, setting: str, value: str, reason: str) -> None:
    async def work(instruments: Instruments, simulated: SimulatedStation) -> None:
        with pytest.raises(InstrumentError, match=reason):
            await set_by_hand(instruments, role, setting, value)
        assert (await instruments.cycler.read()).output_on is False
        assert instruments.faults == {}, "a person's mistake is no fault of an instrument"

    by_hand(tmp_path, work)


def test_a_line_that_is_none_is_not_sent(tmp_path: Path) -> None:
    async def work(instruments: Instruments, simulated: SimulatedStation) -> None:
        before = instruments.links["cycler"].metrics.requests
        for line in ("", "  ", "A\nB", "전압", "A" * 5000):
            with pytest.raises(ToolError, match="no line of"):
                await ask(instruments, "cycler", line)
        assert instruments.links["cycler"].metrics.requests == before

    by_hand(tmp_path, work)


# ------------------------------------------------------------------------------------------- through the daemon


def over_api(tmp_path: Path, work: Callable[[Virtual, Client], Awaitable[None]]) -> None:
    async def with_client(line: Virtual) -> None:
        transport = httpx.ASGITransport(app=build_api(line.line))
        async with httpx.AsyncClient(transport=transport, base_url="http://line") as http:
            await work(line, Client("http://line", http))

    in_virtual_time(demo_line(tmp_path), with_client)


CYCLER = "/api/stations/st01/instruments/cycler"
ASKED = {"text": "*IDN?", "author": "kim"}


def test_the_list_and_the_status_show_what_the_links_did(tmp_path: Path) -> None:
    async def work(line: Virtual, client: Client) -> None:
        rows = {row["name"]: row for row in (await client.ask("GET", "/api/instruments"))["instruments"]}
        assert rows["cycler"]["identity"]["model"] == "PSB 10500-90"
        assert rows["cycler"]["address"] == "TCPIP::127.0.0.1::15025::SOCKET"
        assert rows["battery_monitor"]["address"] == "127.0.0.1:15021"
        assert {row["health"] for row in rows.values()} == {"ok"}
        links = (await client.status())["stations"]["st01"]["links"]
        assert links.keys() == rows.keys()
        assert links["cycler"]["requests"] >= rows["cycler"]["link"]["requests"] > 0

    over_api(tmp_path, work)


def test_who_asked_and_who_set_what_is_in_the_audit_trail(tmp_path: Path) -> None:
    async def work(line: Virtual, client: Client) -> None:
        answer = await client.ask("POST", f"{CYCLER}/query", ASKED)
        assert "PSB 10500-90" in answer["answer"]
        body = {"setting": "output", "value": "on", "author": "lee", "reason": "curious"}
        with pytest.raises(ApiError) as caught:
            await client.ask("POST", f"{CYCLER}/settings", body)
        assert (caught.value.exit_code, caught.value.code) == (3, "E-INSTRUMENT-REQUEST")
        entries = [event.body for event in line.journal.events(kind="audit")]
        told = [(entry["author"], entry["action"], entry["detail"]["outcome"]) for entry in entries[-2:]]
        assert told == [("kim", "instrument query", "done"), ("lee", "instrument set", "E-INSTRUMENT-REQUEST")]
        assert entries[-1]["reason"] == "curious"

    over_api(tmp_path, work)


def test_while_a_run_owns_them_instruments_are_neither_set_nor_told_anything(tmp_path: Path) -> None:
    async def work(line: Virtual, client: Client) -> None:
        run = await line.start()
        await line.until(lambda: line.station.state.name == "EXECUTE", 60)
        setting = {"setting": "output", "value": "off", "author": "kim"}
        for path, body in ((f"{CYCLER}/settings", setting), (f"{CYCLER}/query", ASKED)):
            with pytest.raises(ApiError, match=f"run {run} owns the instruments of st01") as caught:
                await client.ask("POST", path, body)
            assert (caught.value.exit_code, caught.value.code) == (4, "E-INSTRUMENT-BUSY")
        registers = {"text": "read input 1", "author": "kim"}
        answer = await client.ask("POST", "/api/stations/st01/instruments/interlock/query", registers)
        assert answer["answer"] == [0x0101], "reading registers changes nothing"
        assert line.station.state.name == "EXECUTE"

    over_api(tmp_path, work)


@pytest.mark.parametrize(
    ("path", "body"),
    [("settings", {"setting": "output", "value": "off", "author": "kim"}), ("query", ASKED)],
)
def test_no_run_starts_while_an_instrument_is_in_somebodys_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, str]
) -> None:
    """The instrument takes its time to answer, and a start comes just then."""

    async def work(line: Virtual, client: Client) -> None:
        asked, answer = asyncio.Event(), asyncio.Event()
        name = {"settings": "set_by_hand", "query": "ask"}[path]
        whole: Callable[..., Awaitable[dict[str, object]]] = getattr(instrument_api, name)

        async def slow(*arguments: object) -> dict[str, object]:
            asked.set()
            await answer.wait()
            return await whole(*arguments)

        monkeypatch.setattr(instrument_api, name, slow)
        by_hand = asyncio.create_task(client.ask("POST", f"{CYCLER}/{path}", body))
        await asked.wait()
        with pytest.raises(StartRefusedError, match=r"in use by hand: cycler \(kim\)") as caught:
            await line.start()
        assert caught.value.codes == ["E-INSTRUMENT-BUSY"]
        answer.set()
        await by_hand
        run = await line.start()
        with pytest.raises(ApiError, match=f"run {run} owns the instruments"):
            await client.ask("POST", f"{CYCLER}/{path}", body)

    over_api(tmp_path, work)


def test_what_is_in_hand_is_let_go_of_when_it_fails(tmp_path: Path) -> None:
    async def work(line: Virtual, client: Client) -> None:
        with pytest.raises(ApiError, match="no answer"):
            await client.ask("POST", f"{CYCLER}/query", {"text": "NONSENSE?", "author": "kim"})
        with pytest.raises(ApiError, match="'off' alone"):
            await client.ask("POST", f"{CYCLER}/settings", {"setting": "output", "value": "on", "author": "kim"})
        await line.start()

    over_api(tmp_path, work)


@pytest.mark.parametrize("path", ["/api/stations/st09/instruments/cycler", "/api/stations/st01/instruments/toaster"])
def test_an_instrument_that_the_line_has_not(tmp_path: Path, path: str) -> None:
    async def work(line: Virtual, client: Client) -> None:
        with pytest.raises(ApiError) as caught:
            await client.ask("POST", f"{path}/query", ASKED)
        assert (caught.value.exit_code, caught.value.code) == (3, "E-INSTRUMENT-NAME")

    over_api(tmp_path, work)


def test_a_question_that_is_not_answered_says_so_and_leaves_the_station_well(tmp_path: Path) -> None:
    async def work(line: Virtual, client: Client) -> None:
        with pytest.raises(ApiError, match="no answer") as caught:
            await client.ask("POST", f"{CYCLER}/query", {"text": "NONSENSE?", "author": "kim"})
        assert (caught.value.exit_code, caught.value.code) == (1, "E-LINK-TIMEOUT")
        assert "cycler" not in line.station.instruments.faults

    over_api(tmp_path, work)


def test_a_trace_shows_what_the_station_asks_and_ends_with_the_line(tmp_path: Path) -> None:
    async def work(line: Virtual, client: Client) -> None:
        link = line.station.instruments.links["cycler"]
        stopping = asyncio.Event()
        with link.traced() as trace:
            async for batch in batches(trace, stopping):
                assert batch["lost"] == 0
                entry = json.loads(json.dumps(batch["entries"][0]))
                assert entry["sent"]
                assert entry["received"]
                stopping.set()
        assert link._traces == (), "nobody watches any more"

    over_api(tmp_path, work)
