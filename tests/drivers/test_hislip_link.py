"""VisaLink at HiSLIP addresses against peers that misbehave, over loopback sockets."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from pyvisa_py.protocols import hislip

from drivers.errors import AnswerError, LinkError
from drivers.links import TextLink, VisaLink
from drivers.links.text import LONGEST_LINE
from tests.drivers.hislip_peer import (
    ASYNC_CLEAR,
    ASYNC_INITIALIZE,
    CLEAR_COMPLETE,
    DATA,
    DATA_END,
    INITIALIZE,
    MAX_SIZE,
    SESSION,
    HislipPeer,
    message,
)
from tests.drivers.peers import tcp_peer
from tests.drivers.test_visa_link import TIMEOUT, code_of

DMM = {b"*IDN?\n": b"DMM\n", b"READ?\n": b"+3.85012345E+00\n"}
FIRST_ID = 0xFFFF_FF00
OPENING = [INITIALIZE, ASYNC_INITIALIZE, MAX_SIZE]


def visa(port: int, *, device: str = "hislip0", timeout: float = TIMEOUT) -> VisaLink:
    return VisaLink(f"TCPIP::127.0.0.1::{device},{port}::INSTR", timeout=timeout)


async def test_asks_and_answers_on_two_channels() -> None:
    peer = HislipPeer(DMM)
    async with tcp_peer(peer) as port:
        link: TextLink = visa(port, device="hislip3")
        await link.open()
        await link.write("*CLS")
        assert await link.query_many(["*IDN?", "READ?"]) == ["DMM", "+3.85012345E+00"]
        assert link.reopened == 0
        await link.close()
    opening, lines = peer.heard[:3], peer.heard[3:]
    assert [heard.kind for heard in opening] == OPENING
    assert opening[0].payload == b"hislip3"
    assert opening[0].parameter >> 16 == 0x0100  # version 1.0
    assert opening[1].parameter == SESSION
    assert [heard.payload for heard in lines] == [b"*CLS\n", b"*IDN?\n", b"READ?\n"]
    assert {heard.kind for heard in lines} == {DATA_END}
    assert [heard.parameter for heard in lines] == [FIRST_ID, FIRST_ID + 2, FIRST_ID + 4]
    assert [heard.control for heard in lines] == [0, 0, 1]  # the answer before the last one was received


@pytest.mark.parametrize(
    "address", ["TCPIP::127.0.0.1::hislip0,x::INSTR", "TCPIP::127.0.0.1::hislip0", "TCPIP::::hislip0::INSTR"]
)
async def test_an_address_that_is_none_is_refused(address: str) -> None:
    assert await code_of(VisaLink(address).open()) == "E-LINK-ADDRESS"


async def test_without_a_port_it_is_4880(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def refuse(address: tuple[str, int], timeout: float) -> socket.socket:
        asked.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "create_connection", refuse)
    assert await code_of(VisaLink("TCPIP0::10.0.0.8::hislip0::INSTR").open()) == "E-LINK-REFUSED"
    assert asked == [("10.0.0.8", 4880)]


async def test_a_host_that_does_not_exist() -> None:
    assert await code_of(VisaLink("TCPIP::no.such.host.invalid::hislip0::INSTR").open()) == "E-LINK-ADDRESS"


async def test_a_refused_port_is_found_at_open() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening
        assert await code_of(visa(taken.getsockname()[1]).open()) == "E-LINK-REFUSED"


@pytest.mark.parametrize("kind", OPENING)
async def test_a_session_that_is_refused_is_found_at_open(kind: int) -> None:
    full = message(2, 4, 0, b"too many clients")
    async with tcp_peer(HislipPeer(DMM, replies={kind: full})) as port:
        with pytest.raises(LinkError, match="too many clients") as caught:
            await visa(port).open()
        assert caught.value.code == "E-LINK-REFUSED"


@pytest.mark.parametrize("kind", OPENING)
async def test_a_session_that_nobody_answers_is_a_timeout_in_our_time(kind: int) -> None:
    async with tcp_peer(HislipPeer(DMM, silent={kind})) as port:
        began = time.monotonic()
        assert await code_of(visa(port).open()) == "E-LINK-TIMEOUT"
        assert time.monotonic() - began < 2.0  # PyVISA-py waits five seconds


@pytest.mark.parametrize("kind", OPENING)
async def test_a_peer_that_hangs_up_at_the_opening(kind: int) -> None:
    async with tcp_peer(HislipPeer(DMM, drops={kind})) as port:
        assert await code_of(visa(port).open()) == "E-LINK-CLOSED"


async def test_an_instrument_in_overlapped_mode_is_asked_for_the_synchronized_one() -> None:
    peer = HislipPeer(DMM, overlap=1)
    async with tcp_peer(peer) as port:
        link = visa(port)
        await link.open()
        assert await link.query("*IDN?") == "DMM"
        await link.close()
    assert [heard.kind for heard in peer.heard] == [*OPENING, ASYNC_CLEAR, CLEAR_COMPLETE, DATA_END]
    async with tcp_peer(HislipPeer(DMM, overlap=1, overlap_after_clear=1)) as port:
        assert await code_of(visa(port).open()) == "E-LINK-REFUSED"


async def test_long_lines_and_answers_come_in_pieces() -> None:
    question, answer = b"A" * 700 + b"?\n", b"B" * 9000 + b"\n"
    peer = HislipPeer({question: answer}, max_size=16 + 512, chunk=4000)
    async with tcp_peer(peer) as port:
        link = visa(port, timeout=2.0)
        await link.open()
        assert await link.query("A" * 700 + "?") == "B" * 9000
        await link.close()
    assert [heard.kind for heard in peer.heard[3:]] == [DATA, DATA_END]
    assert peer.lines == [question]


async def test_an_answer_without_a_number_is_taken_and_an_older_one_is_not() -> None:
    async with tcp_peer(HislipPeer(DMM, any_id=True)) as port:
        link = visa(port)
        await link.open()
        assert await link.query("*IDN?") == "DMM"
        await link.close()
    stale = message(DATA, 0, FIRST_ID - 2, b"OL") + message(DATA_END, 0, FIRST_ID - 2, b"D\n")
    peer = HislipPeer(DMM)
    async with tcp_peer(peer) as port:
        link = visa(port)
        await link.open()
        peer.before = stale
        assert await link.query("*IDN?") == "DMM"
        assert link.reopened == 0
        await link.close()


async def test_silence_is_a_timeout_and_the_next_question_has_a_clean_session() -> None:
    silent = HislipPeer(DMM, silent={DATA_END})
    async with tcp_peer(silent, silent, HislipPeer(DMM)) as port:
        link = visa(port)
        await link.open()
        assert await code_of(link.query("*IDN?")) == "E-LINK-TIMEOUT"
        assert await link.query("*IDN?") == "DMM"
        assert link.reopened == 1
        await link.close()


async def test_a_peer_that_dribbles_ends_at_the_deadline() -> None:
    async def dribbles(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(peer(reader, writer))
        await peer.asked.wait()
        writer.write(message(DATA_END, 0, FIRST_ID, b"x" * 1000)[:16])
        dribble(writer)
        await task

    def dribble(writer: asyncio.StreamWriter) -> None:
        if not writer.is_closing():
            writer.write(b"x")
            asyncio.get_running_loop().call_later(TIMEOUT / 4, dribble, writer)

    peer = HislipPeer(DMM, silent={DATA_END})
    async with tcp_peer(dribbles, peer) as port:
        link = visa(port)
        await link.open()
        assert await code_of(link.query("*IDN?")) == "E-LINK-TIMEOUT"
        await link.close()


async def test_a_late_answer_reaches_nobody() -> None:
    silent = HislipPeer(DMM, silent={DATA_END})
    async with tcp_peer(silent, silent, HislipPeer(DMM)) as port:
        link = visa(port)
        await link.open()
        assert await code_of(link.query("SLOW?")) == "E-LINK-TIMEOUT"
        silent.writers[0].write(message(DATA_END, 0, FIRST_ID, b"LATE\n"))
        assert await link.query("*IDN?") == "DMM"
        assert link.reopened == 1
        await link.close()


async def test_a_query_whose_peer_hangs_up_is_asked_again_once() -> None:
    async with tcp_peer(HislipPeer(DMM, drops={DATA_END})) as port:
        link = visa(port, timeout=5.0)
        await link.open()
        began = time.process_time()
        assert await link.query("*IDN?") == "DMM"
        assert time.process_time() - began < 1.0
        assert link.reopened == 1
        await link.close()
    first, second = HislipPeer(DMM, drops={DATA_END}), HislipPeer(DMM, drops={DATA_END})
    async with tcp_peer(first, first, second) as port:
        link = visa(port)
        await link.open()
        assert await code_of(link.query("*IDN?")) == "E-LINK-CLOSED"
        await link.close()


async def test_a_write_is_never_sent_twice() -> None:
    peer = HislipPeer(DMM, drops={DATA_END})
    async with tcp_peer(peer) as port:
        link = visa(port)
        await link.open()
        await link.write("*RST")
        assert await link.query("*IDN?") == "DMM"
        assert peer.lines == [b"*RST\n", b"*IDN?\n"]
        assert link.reopened == 1
        await link.close()


@pytest.mark.parametrize("index", [0, 1], ids=["synchronous", "asynchronous"])
async def test_a_channel_that_closed_while_idle_is_noticed_before_sending(index: int) -> None:
    first, second = HislipPeer(DMM), HislipPeer(DMM)
    async with tcp_peer(first, first, second) as port:
        link = visa(port)
        await link.open()
        first.writers[index].close()
        await first.writers[index].wait_closed()
        await link.write("*RST")
        assert await link.query("*IDN?") == "DMM"
        assert (first.lines, second.lines) == ([], [b"*RST\n", b"*IDN?\n"])
        assert link.reopened == 1
        await link.close()


async def test_a_service_request_ends_the_session_and_nothing_else() -> None:
    first, second = HislipPeer(DMM), HislipPeer(DMM)
    async with tcp_peer(first, first, second) as port:
        link = visa(port)
        await link.open()
        first.writers[1].write(message(20, 0x40))
        await first.writers[1].drain()
        assert await link.query("*IDN?") == "DMM"
        assert await link.query("READ?") == "+3.85012345E+00"
        assert link.reopened == 1
        await link.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        message(3, 1, 0, b"Unrecognized Message Type"),
        message(13),  # interrupted
        message(99),
        message(DATA_END, 0, FIRST_ID, b"A\nB\n"),
        message(DATA_END, 0, FIRST_ID, b""),
        message(DATA_END, 0, FIRST_ID, b"\xff\xfe\n"),
        message(DATA_END, 0, FIRST_ID, b"x")[:8] + (1 << 60).to_bytes(8, "big"),
    ],
)
async def test_garbage_is_an_answer_error_and_leaves_a_clean_link(answer: bytes) -> None:
    peer = HislipPeer(DMM, replies={DATA_END: answer})
    async with tcp_peer(peer, peer, HislipPeer(DMM)) as port:
        link = visa(port, timeout=2.0)
        await link.open()
        with pytest.raises(AnswerError) as caught:
            await link.query("*IDN?")
        assert len(str(caught.value)) < 300
        assert await link.query("*IDN?") == "DMM"
        assert link.reopened == 1
        await link.close()


async def test_a_fatal_error_ends_the_session_and_the_question_is_asked_again() -> None:
    peer = HislipPeer(DMM, replies={DATA_END: message(2, 1, 0, b"Poorly formed message header")})
    async with tcp_peer(peer, peer, HislipPeer(DMM)) as port:
        link = visa(port)
        await link.open()
        assert await link.query("*IDN?") == "DMM"
        assert link.reopened == 1
        await link.close()


async def test_an_answer_cut_off_by_the_end_of_the_connection() -> None:
    async def cuts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(peer(reader, writer))
        await peer.asked.wait()
        writer.write(message(DATA_END, 0, FIRST_ID, b"+3.85012345E+00\n")[:-8])
        writer.close()
        await task

    peer = HislipPeer(DMM, silent={DATA_END})
    async with tcp_peer(cuts, peer) as port:
        link = visa(port)
        await link.open()
        assert await code_of(link.query("READ?")) in ("E-LINK-CLOSED", "E-LINK-TIMEOUT")
        await link.close()


async def test_an_answer_without_end_is_bounded() -> None:
    endless = HislipPeer({b"A?\n": b"x" * (LONGEST_LINE + 100)}, chunk=5000)
    async with tcp_peer(endless, endless, HislipPeer(DMM)) as port:
        link = visa(port, timeout=2.0)
        await link.open()
        with pytest.raises(AnswerError):
            await link.query("A?")
        assert await link.query("*IDN?") == "DMM"
        await link.close()


async def _cancel(link: TextLink, task: asyncio.Task[str]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def _close(link: TextLink, task: asyncio.Task[str]) -> None:
    await link.close()
    assert await code_of(task) == "E-LINK-CLOSED"
    await link.open()


@pytest.mark.parametrize("end", [_cancel, _close])
async def test_a_request_under_way_ends_at_once(
    end: Callable[[TextLink, asyncio.Task[str]], Coroutine[Any, Any, None]],
) -> None:
    silent = HislipPeer(DMM, silent={DATA_END})
    async with tcp_peer(silent, silent, HislipPeer(DMM)) as port:
        link = visa(port, timeout=3600.0)
        await link.open()
        task = asyncio.create_task(link.query("SLOW?"))
        await silent.asked.wait()
        await end(link, task)
        assert await link.query("*IDN?") == "DMM"
        await link.close()


async def test_polling_hears_nothing_until_the_connection_ends() -> None:
    peer = HislipPeer(DMM)
    async with tcp_peer(peer) as port:
        link = visa(port)
        await link.open()
        assert await link.poll() is None
        peer.writers[0].close()
        await peer.writers[0].wait_closed()
        assert await code_of(link.poll()) == "E-LINK-CLOSED"
        await link.close()


async def test_descriptors_above_1023_are_no_trouble() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip("the system allows too few descriptors to show it")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    held: list[int] = []
    try:
        async with tcp_peer(HislipPeer(DMM)) as port:
            while not held or held[-1] < 1030:
                held.append(os.open(os.devnull, os.O_RDONLY))
            link = visa(port)
            await link.open()
            assert await link.query("*IDN?") == "DMM"
            await link.close()
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_public_client_takes_the_peer_of_these_tests_for_an_instrument() -> None:
    def ask(port: int) -> bytes:
        instrument = hislip.Instrument("127.0.0.1", timeout=2.0, port=port)
        try:
            instrument.send(b"*IDN?\n")
            return bytes(instrument.receive())
        finally:
            instrument.close()

    async with tcp_peer(HislipPeer(DMM)) as port:
        assert await asyncio.to_thread(ask, port) == b"DMM\n"
