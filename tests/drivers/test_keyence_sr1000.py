"""Transcripts of the Keyence SR-1000: lines end with CR, and some come without a question."""

from __future__ import annotations

import asyncio

import pytest

from drivers.errors import AnswerError, DeviceError, IdentityError, InstrumentError, LinkError
from drivers.keyence_sr1000 import LONGEST_CODE, KeyenceSr1000, check_code, parse_refusal, parse_version
from drivers.links import MemoryTextLink, VisaLink, script
from drivers.roles import CodeReader
from tests.drivers.peers import tcp_peer

Transcript = list[tuple[bytes, bytes]]

CONNECT: Transcript = [(b"KEYENCE\r", b"OK,KEYENCE,SR-1000,1.12\r")]
IDLE = (b"LOFF\r", b"ER,LOFF,20\r")
LON = (b"LON\r", b"OK,LON\r")
CODE = "PHE96-004711"


async def connected(transcript: Transcript, *unasked: bytes, read_error: str = "ERROR") -> KeyenceSr1000:
    """unasked is what the reader sends by itself, a poll at a time, once it was triggered."""
    left = list(unasked)
    triggered = False
    conversation = script([*CONNECT, *transcript])

    def receive(sent: bytes) -> bytes:
        nonlocal triggered
        triggered = triggered or sent == b"LON\r"
        return conversation(sent)

    link = MemoryTextLink(receive, terminator=b"\r", unasked=lambda: left.pop(0) if triggered and left else b"")
    reader = KeyenceSr1000(link, read_error=read_error)
    await reader.connect()
    return reader


async def triggered(*unasked: bytes, read_error: str = "ERROR") -> KeyenceSr1000:
    reader = await connected([IDLE, LON], *unasked, read_error=read_error)
    await reader.trigger()
    return reader


async def until_code(driver: KeyenceSr1000) -> str:
    while (code := await driver.code()) is None:
        pass
    return code


async def test_a_code_is_asked_for_until_it_is_there() -> None:
    reader: CodeReader = await triggered(b"", b"", b"PHE96-004711\r")
    assert [await reader.code(), await reader.code(), await reader.code()] == [None, None, CODE]
    assert await reader.code() == CODE
    await reader.close()


async def test_a_code_that_comes_with_the_answer_is_read() -> None:
    reader = await connected([IDLE, (b"LON\r", b"OK,LON\rPHE96-004711\r")])
    await reader.trigger()
    assert await reader.code() == CODE


async def test_a_code_from_before_the_trigger_is_not_the_new_one() -> None:
    reader = await connected([(b"LOFF\r", b"ER,LOFF,20\rOLD-1\r"), LON], b"", b"PHE96-004711\r")
    await reader.trigger()
    assert [await reader.code(), await reader.code()] == [None, CODE]


async def test_a_code_between_the_trigger_and_its_answer_is_not_the_new_one() -> None:
    reader = await connected([IDLE, (b"LON\r", b"OLD-1\r")], b"OLD-2\r", b"OK,LON\r", b"PHE96-004711\r")
    await reader.trigger()
    assert await until_code(reader) == CODE


async def test_a_second_trigger_forgets_the_code() -> None:
    reader = await connected([IDLE, (b"LON\r", b"OK,LON\rPHE96-004711\r"), IDLE, LON])
    await reader.trigger()
    assert await reader.code() == CODE
    await reader.trigger()
    assert await reader.code() is None


async def test_the_reader_gives_up() -> None:
    reader = await triggered(b"", b"ERROR\r")
    assert await reader.code() is None
    with pytest.raises(DeviceError, match="no code"):
        await reader.code()
    with pytest.raises(DeviceError, match="trigger it first"):
        await reader.code()


async def test_the_read_error_string_is_a_setting() -> None:
    reader = await triggered(b"NG\r", read_error="NG")
    with pytest.raises(DeviceError, match="no code"):
        await reader.code()


async def test_the_error_string_of_an_earlier_trigger_is_not_the_new_one() -> None:
    reader = await connected([(b"LOFF\r", b"OK,LOFF\rERROR\r"), (b"LON\r", b"ERROR\r")], b"OK,LON\r", b"", b"A-1\r")
    await reader.trigger()
    assert [await reader.code(), await reader.code()] == [None, "A-1"]


@pytest.mark.parametrize(
    "line",
    [b"PHE96-\xc3\xa9\r", b"\xff\xfe\r", b"PHE96\x07\r", b"X" * (LONGEST_CODE + 1) + b"\r", b"\r"],
    ids=["not ASCII", "not text", "control character", "too long", "empty"],
)
async def test_what_no_label_carries_is_an_error(line: bytes) -> None:
    reader = await triggered(line)
    with pytest.raises(AnswerError):
        await reader.code()


async def test_half_a_code_is_an_error_not_a_code() -> None:
    reader = await triggered(b"PHE96-00")
    with pytest.raises(LinkError) as caught:
        await reader.code()
    assert caught.value.code == "E-LINK-TIMEOUT"


async def test_a_refused_trigger_is_told() -> None:
    reader = await connected([IDLE, (b"LON\r", b"ER,LON,23\r")])
    with pytest.raises(DeviceError, match=r"error 23 \(its setup tool is connected"):
        await reader.trigger()
    with pytest.raises(DeviceError, match="trigger it first"):
        await reader.code()


async def test_a_refusal_behind_an_old_code_is_told() -> None:
    reader = await connected([IDLE, (b"LON\r", b"OLD-1\r")], b"", b"ER,LON,99\r")
    await reader.trigger()
    assert await reader.code() is None
    with pytest.raises(DeviceError, match="the reader is faulty"):
        await reader.code()


@pytest.mark.parametrize("silent", [[(b"LOFF\r", b"")], [IDLE, (b"LON\r", b"")]])
async def test_a_reader_that_does_not_answer_commands_is_explained(silent: Transcript) -> None:
    reader = await connected(silent)
    with pytest.raises(LinkError, match="set to answer") as caught:
        await reader.trigger()
    assert caught.value.code == "E-LINK-TIMEOUT"


async def test_stop_is_confirmed_also_when_nothing_runs() -> None:
    reader = await connected([IDLE, LON, (b"LOFF\r", b"OK,LOFF\rERROR\r"), IDLE])
    await reader.trigger()
    await reader.stop()
    with pytest.raises(DeviceError, match="trigger it first"):
        await reader.code()
    await reader.stop()


async def test_stop_while_a_code_arrives() -> None:
    reader = await connected([IDLE, LON, (b"LOFF\r", b"PHE96-004711\rER,LOFF,20\r"), IDLE])
    await reader.trigger()
    await reader.stop()


@pytest.mark.parametrize(
    ("answers", "error"),
    [([b"ER,LOFF,99\r"], DeviceError), ([b"A-1\r", b"A-2\r"], AnswerError)],
)
async def test_stop_that_is_not_confirmed_is_an_error(answers: list[bytes], error: type[InstrumentError]) -> None:
    reader = await connected([(b"LOFF\r", answer) for answer in answers])
    with pytest.raises(error):
        await reader.stop()


async def test_connect_sees_through_a_code_that_comes_by_itself() -> None:
    reader = KeyenceSr1000(MemoryTextLink(script([(b"KEYENCE\r", b"OLD-1\r"), *CONNECT]), terminator=b"\r"))
    identity = await reader.connect()
    assert (identity.manufacturer, identity.model, identity.firmware) == ("KEYENCE", "SR-1000", "1.12")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"OK,KEYENCE,IV-500,1.00\r", IdentityError),
        (b"OK,KEYENCE\r", AnswerError),
        (b"ER,KEYENCE,00\r", AnswerError),
    ],
)
async def test_another_device_is_refused(answer: bytes, error: type[InstrumentError]) -> None:
    with pytest.raises(error):
        await KeyenceSr1000(MemoryTextLink(script([(b"KEYENCE\r", answer)]), terminator=b"\r")).connect()
    with pytest.raises(IdentityError):
        await KeyenceSr1000(MemoryTextLink(script(CONNECT), terminator=b"\r"), "SR-2000").connect()


def test_lines() -> None:
    assert parse_version("OK,KEYENCE,SR-700,1.12").model == "SR-700"
    assert [parse_refusal(line, "LON") for line in ("ER,LON,20", "ER,LOFF,20", "A-1")] == ["20", None, None]
    assert check_code("X" * LONGEST_CODE) == "X" * LONGEST_CODE


async def test_over_tcp_with_an_external_trigger_that_interferes() -> None:
    read = asyncio.Event()

    async def device(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers = {b"KEYENCE\r": b"OK,KEYENCE,SR-1000,1.12\r", b"LOFF\r": b"ER,LOFF,20\r", b"LON\r": b"OLD-1\rOK,LON\r"}
        while command := await reader.readuntil(b"\r"):
            writer.write(answers[command])
            if command == b"LON\r":
                await read.wait()
                writer.write(b"PHE96-004711\r")

    async with tcp_peer(device) as port:
        link = VisaLink(f"TCPIP::127.0.0.1::{port}::SOCKET", terminator="CR", timeout=0.5)
        driver = KeyenceSr1000(link)
        await driver.connect()
        await driver.trigger()
        assert await driver.code() is None
        read.set()
        assert await until_code(driver) == CODE
        await driver.close()


async def test_a_connection_lost_while_it_looks_is_an_error_until_the_next_trigger() -> None:
    async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (b"OK,KEYENCE,SR-1000,1.12\r", b"ER,LOFF,20\r", b"OK,LON\r"):
            await reader.readuntil(b"\r")
            writer.write(answer)

    async def reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (b"ER,LOFF,20\r", b"OK,LON\rPHE96-004711\r"):
            await reader.readuntil(b"\r")
            writer.write(answer)
        await reader.read()

    async with tcp_peer(hangs_up, reads) as port:
        driver = KeyenceSr1000(VisaLink(f"TCPIP::127.0.0.1::{port}::SOCKET", terminator="CR", timeout=0.5))
        await driver.connect()
        await driver.trigger()
        with pytest.raises(LinkError) as caught:
            await until_code(driver)
        assert caught.value.code == "E-LINK-CLOSED"
        await driver.trigger()
        assert await until_code(driver) == CODE
        await driver.close()
