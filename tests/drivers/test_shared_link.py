"""Several instruments on one bus: one connection, one request at a time, and one that is silent costs others little."""

from __future__ import annotations

import asyncio
import time

import pytest

from drivers.errors import InstrumentError, LinkError
from drivers.espec_p300 import EspecP300
from drivers.links import MemoryTextLink, SerialLink, SharedTextLink, TextLink
from tests.drivers.peers import Pty, pty_peer
from tests.drivers.test_visa_link import code_of

TYPES = {b"1,TYPE?\r\n": b"T,P300,170.0\r\n", b"2,TYPE?\r\n": b"T,P300,150.0\r\n"}
ANSWERS = TYPES | {
    line: answer
    for number in (b"1", b"2")
    for line, answer in {
        number + b",ROM?\r\n": b"1.00\r\n",
        number + b",TEMP?\r\n": number + b"5.0,25.0,100.0,-40.0\r\n",
        number + b",MON?\r\n": number + b"5.0,,CONSTANT,0\r\n",
    }.items()
}


class Bus:
    """Two chambers on RS-485; an address that nobody has gets no answer."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.under_way = 0

    async def __call__(self, pty: Pty) -> None:
        while True:
            line = await pty.receive_line()
            assert not pty._received, "two requests at once"
            self.lines.append(line)
            pty.send(ANSWERS.get(line, b""))


def shared(port: str, *, timeout: float = 0.1, rest: float = 0.0) -> SharedTextLink:
    return SharedTextLink(SerialLink(port, timeout=timeout, quarantine=0.0), rest=rest)


async def test_two_chambers_at_once_on_one_port() -> None:
    bus = Bus()
    async with pty_peer(bus) as pty:
        link = shared(pty.port, timeout=5.0)
        first, second = (EspecP300(link.member(), address=address) for address in (1, 2))
        await asyncio.gather(first.connect(), second.connect())
        readings = await asyncio.gather(*(chamber.read() for chamber in (first, second) * 5))
        assert [reading.temperature for reading in readings] == [15.0, 25.0] * 5
        await first.close()
        assert (await second.read()).temperature == 25.0
        await second.close()


async def test_the_first_opens_and_the_last_closes_the_port() -> None:
    async with pty_peer(Bus()) as pty:
        link = shared(pty.port)
        first, second = link.member(), link.member()
        other = SerialLink(pty.port, timeout=0.1)
        await first.open()
        await second.open()
        assert await code_of(other.open()) == "E-LINK-PORT"
        await first.close()
        await first.close()
        assert await code_of(other.open()) == "E-LINK-PORT"
        assert await code_of(first.query("1,TYPE?")) == "E-LINK-CLOSED"
        await second.close()
        await other.open()
        await other.close()
        await first.open()
        assert await first.query("1,TYPE?") == "T,P300,170.0"
        await first.close()


async def test_a_port_that_is_missing_is_so_for_each_and_leaves_nobody_inside() -> None:
    link = shared("/dev/evaline-missing")
    first, second = link.member(), link.member()
    assert await code_of(first.open()) == "E-LINK-PORT"
    assert await code_of(second.open()) == "E-LINK-PORT"
    assert not link.members
    assert await code_of(first.query("1,TYPE?")) == "E-LINK-CLOSED"


async def test_one_that_does_not_answer_is_left_alone_and_the_others_are_not() -> None:
    bus = Bus()
    async with pty_peer(bus) as pty:
        link = shared(pty.port, rest=3600.0)
        present, absent = link.member(), link.member()
        await present.open()
        await absent.open()
        assert await code_of(absent.query("3,TYPE?")) == "E-LINK-TIMEOUT"
        asked = len(bus.lines)
        with pytest.raises(LinkError, match="its bus is left to the others") as caught:
            await absent.query("3,TYPE?")
        assert caught.value.code == "E-LINK-TIMEOUT"
        assert len(bus.lines) == asked
        assert await present.query("1,TYPE?") == "T,P300,170.0"
        await present.close()
        await absent.close()


async def test_after_its_rest_it_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [b"", b"T,P300,170.0\r\n"]
    link = SharedTextLink(MemoryTextLink(lambda line: answers.pop(0), terminator=b"\r\n"), rest=10.0)
    member: TextLink = link.member()
    await member.open()
    assert await code_of(member.query("1,TYPE?")) == "E-LINK-TIMEOUT"
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 9.0)
    assert await code_of(member.query("1,TYPE?")) == "E-LINK-TIMEOUT"
    assert len(answers) == 1
    monkeypatch.setattr(time, "monotonic", lambda: now + 11.0)
    assert await member.query("1,TYPE?") == "T,P300,170.0"


async def test_a_refusal_is_no_silence() -> None:
    link = SharedTextLink(MemoryTextLink(lambda line: b"\xff\r\n", terminator=b"\r\n"), rest=3600.0)
    member = link.member()
    await member.open()
    for _ in range(2):
        with pytest.raises(InstrumentError, match="not text"):
            await member.query("1,TYPE?")


async def test_one_that_joins_while_the_last_leaves_has_an_open_link() -> None:
    async with pty_peer(Bus()) as pty:
        link = shared(pty.port, timeout=5.0)
        leaving, joining = link.member(), link.member()
        await leaving.open()
        await asyncio.gather(leaving.close(), joining.open())
        assert await joining.query("2,TYPE?") == "T,P300,150.0"
        await joining.close()
        await joining.open()
        await asyncio.gather(joining.close(), leaving.open())
        assert await leaving.query("1,TYPE?") == "T,P300,170.0"
        await leaving.close()


async def test_unplugging_is_an_error_for_each_of_them() -> None:
    async with pty_peer(Bus()) as pty:
        link = shared(pty.port)
        members = [link.member(), link.member()]
        for member in members:
            await member.open()
        pty.unplug()
        assert [await code_of(member.query("1,TYPE?")) for member in members] == ["E-LINK-PORT"] * 2
        for member in members:
            await member.close()
