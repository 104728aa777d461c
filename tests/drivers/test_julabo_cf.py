"""Transcripts of Julabo circulators, from the CF31 manual and what a public client hears of a CF31."""

from __future__ import annotations

import asyncio
import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import (
    AnswerError,
    ConfigError,
    DeviceError,
    IdentityError,
    InstrumentError,
    LinkError,
    SettingError,
)
from drivers.julabo_cf import JulaboCf, parse_status, parse_switch, parse_version
from drivers.links import MemoryTextLink, SerialLink, SharedTextLink, script
from drivers.roles import Chiller, ChillerReading
from tests.drivers.peers import tcp_peer

Transcript = list[tuple[bytes, bytes]]

CONNECT: Transcript = [
    (b"VERSION\r", b"JULABO CRYOCOMPACT CF31 VERSION 5.0\r\n"),
    (b"IN_SP_03\r", b"80.00\r\n"),
    (b"IN_SP_04\r", b"-30.00\r\n"),
]
REMOTE_STOP = (b"STATUS\r", b"02 REMOTE STOP\r\n")
REMOTE_START = (b"STATUS\r", b"03 REMOTE START\r\n")
FIRST: Transcript = [(b"OUT_MODE_01 0\r", b""), (b"IN_MODE_01\r", b"0\r\n")]
SET: Transcript = [(b"OUT_SP_00 25.00\r", b""), (b"IN_SP_00\r", b"25.00\r\n")]
START: Transcript = [(b"OUT_MODE_05 1\r", b""), (b"IN_MODE_05\r", b"1\r\n")]


def memory(transcript: Transcript) -> MemoryTextLink:
    return MemoryTextLink(script(transcript), terminator=b"\r", line_end=b"\n")


async def connected(transcript: Transcript) -> JulaboCf:
    chiller = JulaboCf(memory([*CONNECT, *transcript]))
    await chiller.connect()
    return chiller


def readings(status: bytes, bath: bytes, set_point: bytes, switch: bytes) -> Transcript:
    answers = [(b"STATUS", status), (b"IN_PV_00", bath), (b"IN_SP_00", set_point), (b"IN_MODE_05", switch)]
    return [(question + b"\r", answer + b"\r\n") for question, answer in answers]


async def test_connect_asks_who_is_there_and_changes_nothing() -> None:
    chiller: Chiller = JulaboCf(memory(CONNECT), "CF31")
    identity = await chiller.connect()
    assert (identity.manufacturer, identity.model, identity.firmware) == ("JULABO", "CF31", "5.0")
    assert chiller.temperatures == (-30.0, 80.0)
    await chiller.close()


async def test_the_limits_are_unknown_before() -> None:
    with pytest.raises(DeviceError, match="before connect"):
        _ = JulaboCf(memory([])).temperatures


@pytest.mark.parametrize(
    "answer",
    [
        b"JULABO HIGHTECH FL HL/SL VERSION 1.0\r\n",
        b"JULABO CRYOCOMPACT CF40 VERSION 5.0\r\n",
        b"P300 1.02\r\n",
        b"V 5.0\r\n",
    ],
)
async def test_another_model_is_refused(answer: bytes) -> None:
    with pytest.raises(IdentityError, match="CF31 or CF41"):
        await JulaboCf(memory([(b"VERSION\r", answer)])).connect()


async def test_the_model_of_the_line_file_is_checked() -> None:
    with pytest.raises(IdentityError, match="CF41"):
        await JulaboCf(memory(CONNECT), "CF41").connect()


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ((b"03 REMOTE START", b"24.98", b"25.00", b"1"), ChillerReading(24.98, 25.0, True, ())),
        ((b"02 REMOTE STOP", b"-12.50", b"55.5", b"0"), ChillerReading(-12.5, 55.5, False, ())),
        ((b"00 MANUAL STOP", b"20.1", b"25", b"0"), ChillerReading(20.1, 25.0, False, ())),
        ((b"-01 LOW LEVEL ALARM", b"24.98", b"25.00", b"1"), ChillerReading(24.98, 25.0, True, ("LOW LEVEL ALARM",))),
        ((b"\x1103 REMOTE START", b"24\x13.98\x11", b"\x1325.00", b"\x111"), ChillerReading(24.98, 25.0, True, ())),
    ],
    ids=["started", "stopped", "by hand", "alarm", "flow control within"],
)
async def test_read(answers: tuple[bytes, bytes, bytes, bytes], expected: ChillerReading) -> None:
    assert await (await connected(readings(*answers))).read() == expected


async def test_a_set_point_is_written_read_back_and_started() -> None:
    chiller = await connected([REMOTE_STOP, *FIRST, *SET, *START, REMOTE_START])
    await chiller.condition(25.0)


@pytest.mark.parametrize(
    ("transcript", "message"),
    [
        ([REMOTE_STOP, FIRST[0], (b"IN_MODE_01\r", b"2\r\n"), REMOTE_STOP], "MODE_01: wrote 0, reads back 2"),
        (
            [REMOTE_STOP, *FIRST, SET[0], (b"IN_SP_00\r", b"20.00\r\n"), (b"STATUS\r", b"-11 VALUE TOO LARGE\r\n")],
            "SP_00: wrote 25.00, reads back 20; it reports VALUE TOO LARGE",
        ),
        (
            [REMOTE_STOP, *FIRST, *SET, START[0], (b"IN_MODE_05\r", b"0\r\n"), REMOTE_STOP],
            "MODE_05: wrote 1, reads back 0; check the chiller",
        ),
        ([(b"STATUS\r", b"00 MANUAL STOP\r\n")], "MANUAL STOP; choose remote control at its panel"),
        (
            [REMOTE_STOP, *FIRST, *SET, *START, (b"STATUS\r", b"01 MANUAL START\r\n")],
            "MANUAL START; choose remote control",
        ),
    ],
    ids=["set point channel", "set point", "start", "by hand", "taken over by hand"],
)
async def test_what_does_not_read_back_is_an_error(transcript: Transcript, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        await (await connected(transcript)).condition(25.0)


@pytest.mark.parametrize("before", [[], [REMOTE_STOP, *FIRST, *SET, *START]], ids=["before", "after"])
async def test_a_fault_is_told(before: Transcript) -> None:
    chiller = await connected([*before, (b"STATUS\r", b"-01 LOW LEVEL ALARM\r\n")])
    with pytest.raises(DeviceError, match="-01 LOW LEVEL ALARM"):
        await chiller.condition(25.0)


@pytest.mark.parametrize("temperature", [-30.1, 80.1, math.nan, math.inf])
async def test_set_points_outside_are_refused_before_they_are_sent(temperature: float) -> None:
    with pytest.raises(SettingError, match="outside the chiller's -30 to 80 degC"):
        await (await connected([])).condition(temperature)


async def test_stop_is_confirmed() -> None:
    chiller = await connected([(b"IN_MODE_05\r", b"1\r\n"), (b"OUT_MODE_05 0\r", b""), (b"IN_MODE_05\r", b"0\r\n")])
    await chiller.stop()


async def test_stop_when_it_stands_changes_nothing() -> None:
    await (await connected([(b"IN_MODE_05\r", b"0\r\n")])).stop()


async def test_stop_that_is_not_confirmed_is_an_error() -> None:
    running = (b"IN_MODE_05\r", b"1\r\n")
    chiller = await connected([running, (b"OUT_MODE_05 0\r", b""), running, (b"STATUS\r", b"01 MANUAL START\r\n")])
    with pytest.raises(SettingError, match="MODE_05: wrote 0, reads back 1"):
        await chiller.stop()


async def test_on_rs485_both_sides_say_the_address() -> None:
    transcript = [(b"A032_" + question, b"A032_" + answer) for question, answer in CONNECT]
    chiller = JulaboCf(memory([*transcript, (b"A032_IN_MODE_05\r", b"A032_0\r\n")]), address=32)
    await chiller.connect()
    await chiller.stop()


@pytest.mark.parametrize("answer", [b"55.5\r\n", b"A033_55.5\r\n"])
async def test_the_answer_of_another_address_is_an_error(answer: bytes) -> None:
    with pytest.raises(AnswerError, match="A032_"):
        await JulaboCf(memory([(b"A032_VERSION\r", answer)]), address=32).connect()


@pytest.mark.parametrize("address", [0, 128, -1])
def test_an_address_that_no_circulator_has(address: int) -> None:
    with pytest.raises(ConfigError, match="1 to 127"):
        JulaboCf(memory([]), address=address)


async def test_silence_is_a_timeout() -> None:
    with pytest.raises(LinkError) as caught:
        await (await connected([(b"STATUS\r", b"")])).read()
    assert caught.value.code == "E-LINK-TIMEOUT"


@pytest.mark.parametrize("answer", [b"25.00\r\n", b"\x11\r\n", b"\xff\xfe\r\n", b"03\r\n"])
async def test_garbage_and_answers_late_by_one_are_noticed(answer: bytes) -> None:
    with pytest.raises(AnswerError):
        await (await connected([(b"STATUS\r", answer)])).read()


@pytest.mark.parametrize("bath", [b"NaN", b"---", b"9.9E37", b"24,98", b"03 REMOTE START"])
async def test_what_is_no_temperature_is_an_error(bath: bytes) -> None:
    with pytest.raises(AnswerError):
        await (await connected(readings(b"03 REMOTE START", bath, b"25.00", b"1")[:2])).read()


async def test_two_on_one_serial_server() -> None:
    answers = {
        b"A%03d_%b" % (address, question): b"A%03d_%b" % (address, answer)
        for address, limit in ((1, b"80.00\r\n"), (2, b"60.00\r\n"))
        for question, answer in [CONNECT[0], (b"IN_SP_03\r", limit), CONNECT[2]]
    }

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(answers[await reader.readuntil(b"\r")])

    async with tcp_peer(server) as port:
        bus = SharedTextLink(SerialLink(f"socket://127.0.0.1:{port}", terminator="CR", timeout=5.0), rest=0.0)
        first, second = (JulaboCf(bus.member(), address=address) for address in (1, 2))
        await asyncio.gather(first.connect(), second.connect())
        assert (first.temperatures, second.temperatures) == ((-30.0, 80.0), (-30.0, 60.0))
        await first.close()
        await second.close()


def test_answers_of_the_manual() -> None:
    assert parse_version("JULABO CRYOCOMPACT CF31 VERSION 5.0") == ("CF31", "5.0")
    assert parse_status("-06 SENSOR DIFFERENCE ALARM") == (-6, "SENSOR DIFFERENCE ALARM")
    assert (parse_switch("0"), parse_switch("1")) == (False, True)


@given(st.text(max_size=30))
def test_no_answer_makes_a_parser_fail_in_another_way(text: str) -> None:
    for parse in (parse_version, parse_status, parse_switch):
        with contextlib.suppress(InstrumentError):
            parse(text)
