"""XmlTcpLink against servers that misbehave, over loopback sockets."""

from __future__ import annotations

import asyncio
import socket

import pytest

from drivers.errors import AnswerError
from drivers.links import MemoryTextLink, TextLink, XmlTcpLink, script
from drivers.links.xml_tcp import LONGEST_MESSAGE
from tests.drivers.peers import Handler, tcp_peer
from tests.drivers.test_visa_link import TIMEOUT, code_of

END = b"\n\n#\r\n"
ANSWER = b"<bts>\r\n  <cmd>x_resp</cmd>\r\n</bts>"


def xml(port: int, timeout: float = TIMEOUT) -> XmlTcpLink:
    return XmlTcpLink("127.0.0.1", port, timeout=timeout)


def saying(*answers: bytes, close: bool = False) -> Handler:
    """A server that gives these bytes, one after each message, whole messages or not."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(END)
            writer.write(answer)
        if not close:
            await reader.read()

    return handler


async def test_a_message_of_many_lines_is_one_answer() -> None:
    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            assert await reader.readuntil(b"\r\n") == b"<bts><cmd>x</cmd></bts>" + END
            writer.write(ANSWER + END)

    async with tcp_peer(server) as port:
        link: TextLink = xml(port)
        await link.open()
        question = "<bts><cmd>x</cmd></bts>"
        assert await link.query_many([question, question]) == [ANSWER.decode()] * 2
        assert link.reopened == 0
        await link.close()


async def test_an_answer_in_pieces_and_one_larger_than_any_line() -> None:
    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(END)
        for byte in ANSWER + END:
            writer.write(bytes([byte]))
            await writer.drain()
        await reader.readuntil(END)
        writer.write(b"x" * (LONGEST_MESSAGE - 100) + END)
        await reader.read()

    async with tcp_peer(server) as port:
        link = xml(port, timeout=5.0)
        await link.open()
        assert await link.query("a") == ANSWER.decode()
        assert len(await link.query("b")) == LONGEST_MESSAGE - 100
        await link.close()


async def test_an_answer_without_end_is_bounded() -> None:
    async with tcp_peer(saying(b"x" * (LONGEST_MESSAGE + 1)), saying(ANSWER + END)) as port:
        link = xml(port, timeout=5.0)
        await link.open()
        with pytest.raises(AnswerError, match="no end of message") as caught:
            await link.query("a")
        assert len(str(caught.value)) < 300
        assert await link.query("a") == ANSWER.decode()
        await link.close()


async def test_a_refused_port_and_a_host_that_does_not_exist() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening
        assert await code_of(xml(taken.getsockname()[1]).open()) == "E-LINK-REFUSED"
    assert await code_of(XmlTcpLink("no.such.host.invalid", 502).open()) == "E-LINK-ADDRESS"


@pytest.mark.parametrize("unfinished", [b"", ANSWER, ANSWER + b"\n\n#"])
async def test_silence_and_half_an_answer_are_timeouts_and_the_late_rest_reaches_nobody(unfinished: bytes) -> None:
    async with tcp_peer(saying(unfinished), saying(b"<second/>" + END)) as port:
        link = xml(port)
        await link.open()
        assert await code_of(link.query("a")) == "E-LINK-TIMEOUT"
        assert await link.query("b") == "<second/>"
        assert link.reopened == 1
        await link.close()


async def test_a_second_answer_to_one_question_is_never_taken_for_the_next_one() -> None:
    async with tcp_peer(saying(b"<one/>" + END + b"<two/>" + END), saying(b"<three/>" + END)) as port:
        link = xml(port)
        await link.open()
        assert await link.query("a") == "<one/>"
        assert await link.query("b") == "<three/>"
        assert link.reopened == 1
        await link.close()


async def test_a_server_that_hangs_up_in_mid_answer_is_asked_again_once() -> None:
    cut = saying(ANSWER[:10], close=True)
    async with tcp_peer(cut, saying(ANSWER + END)) as port:
        link = xml(port)
        await link.open()
        assert await link.query("a") == ANSWER.decode()
        assert link.reopened == 1
        await link.close()
    async with tcp_peer(cut) as port:
        link = xml(port)
        await link.open()
        assert await code_of(link.query("a")) == "E-LINK-CLOSED"
        await link.close()


@pytest.mark.parametrize("answer", [END, b"\xff\xfe" + END])
async def test_garbage_is_an_answer_error(answer: bytes) -> None:
    async with tcp_peer(saying(answer), saying(ANSWER + END)) as port:
        link = xml(port)
        await link.open()
        with pytest.raises(AnswerError):
            await link.query("a")
        assert await link.query("b") == ANSWER.decode()
        await link.close()


async def test_cancelling_frees_the_thread_at_once() -> None:
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(END)
        asked.set()
        await reader.read()

    async with tcp_peer(silent, saying(ANSWER + END)) as port:
        link = xml(port, timeout=3600.0)
        await link.open()
        task = asyncio.create_task(link.query("a"))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await link.query("b") == ANSWER.decode()
        await link.close()


async def test_the_same_on_a_memory_link() -> None:
    exchanges = [(b"a" + END, ANSWER + END), (b"b" + END, ANSWER), (b"c" + END, b"<x/>" + END + b"<y/>" + END)]
    link: TextLink = MemoryTextLink(script(exchanges), terminator=END, line_end=b"#\r\n")
    await link.open()
    assert await link.query("a") == ANSWER.decode()
    assert await code_of(link.query("b")) == "E-LINK-TIMEOUT"
    assert [await link.query("c"), await link.poll(), await link.poll()] == ["<x/>", "<y/>", None]
