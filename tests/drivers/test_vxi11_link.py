"""VisaLink at VXI-11 addresses against peers that misbehave, over loopback sockets."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import struct
import time

import pytest

from drivers.errors import AnswerError
from drivers.links import TextLink, VisaLink
from drivers.links.text import LONGEST_LINE
from tests.drivers.peers import tcp_peer
from tests.drivers.test_visa_link import TIMEOUT, code_of
from tests.drivers.vxi11_peer import (
    CREATE_LINK,
    DESTROY_LINK,
    DEVICE_READ,
    DEVICE_WRITE,
    LINK,
    Vxi11Peer,
    next_call,
    record,
    reply,
)

DAQ = {b"*IDN?\n": b"DAQ\n", b":READ?\n": b"2.5E+01,2.6E+01\n"}


def visa(port: int, *, device: str = "inst0", timeout: float = TIMEOUT) -> VisaLink:
    return VisaLink(f"TCPIP::127.0.0.1,{port}::{device}::INSTR", timeout=timeout)


async def test_asks_and_answers_and_gives_its_link_back() -> None:
    peer = Vxi11Peer(DAQ)
    async with tcp_peer(peer) as port:
        link: TextLink = visa(port, device="inst3")
        await link.open()
        await link.write("*CLS")
        assert await link.query_many(["*IDN?", ":READ?"]) == ["DAQ", "2.5E+01,2.6E+01"]
        assert link.reopened == 0
        await link.close()
    read = [DEVICE_WRITE, DEVICE_READ]
    assert peer.calls == [CREATE_LINK, DEVICE_WRITE, *read, *read, DESTROY_LINK]
    assert peer.devices == [b"inst3"]
    assert peer.lines == [b"*CLS\n", b"*IDN?\n", b":READ?\n"]


@pytest.mark.parametrize(
    "address",
    [
        "TCPIP::127.0.0.1::inst0::INSTR",  # the portmapper would have to be asked
        "TCPIP::127.0.0.1,4880::hislip0::INSTR",
        "TCPIP::127.0.0.1,port::inst0::INSTR",
    ],
)
async def test_an_address_of_another_kind_is_refused(address: str) -> None:
    assert await code_of(VisaLink(address).open()) == "E-LINK-ADDRESS"


async def test_a_host_that_does_not_exist() -> None:
    assert await code_of(VisaLink("TCPIP::no.such.host.invalid,1024::inst0::INSTR").open()) == "E-LINK-ADDRESS"


async def test_a_refused_port_is_found_at_open() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening
        assert await code_of(visa(taken.getsockname()[1]).open()) == "E-LINK-REFUSED"


@pytest.mark.parametrize("error", [3, 9, 11, 99])
async def test_a_refused_link_is_found_at_open(error: int) -> None:
    async with tcp_peer(Vxi11Peer(DAQ, errors={CREATE_LINK: error})) as port:
        assert await code_of(visa(port).open()) == "E-LINK-REFUSED"


async def test_a_peer_that_gives_no_link_is_a_timeout_in_our_time() -> None:
    async with tcp_peer(Vxi11Peer(DAQ, silent={CREATE_LINK})) as port:
        began = time.monotonic()
        assert await code_of(visa(port).open()) == "E-LINK-TIMEOUT"
        assert time.monotonic() - began < 2.0  # PyVISA-py waits five seconds


async def test_long_lines_and_answers_come_in_pieces() -> None:
    question, answer = b"A" * 700 + b"?\n", b"B" * 9000 + b"\n"
    peer = Vxi11Peer({question: answer}, longest_write=512, chunk=4000, fragments=3)
    async with tcp_peer(peer) as port:
        link = visa(port, timeout=2.0)
        await link.open()
        assert await link.query("A" * 700 + "?") == "B" * 9000
        await link.close()
    assert peer.calls == [CREATE_LINK, *[DEVICE_WRITE] * 2, *[DEVICE_READ] * 3, DESTROY_LINK]


@pytest.mark.parametrize("procedure", [DEVICE_WRITE, DEVICE_READ])
async def test_silence_is_a_timeout_and_the_next_question_has_a_clean_session(procedure: int) -> None:
    async with tcp_peer(Vxi11Peer(DAQ, silent={procedure}), Vxi11Peer(DAQ)) as port:
        link = visa(port)
        await link.open()
        assert await code_of(link.query("*IDN?")) == "E-LINK-TIMEOUT"
        assert await link.query("*IDN?") == "DAQ"
        assert link.reopened == 1
        await link.close()


async def test_the_instruments_own_timeout_is_one() -> None:
    async with tcp_peer(Vxi11Peer(DAQ)) as port:
        link = visa(port, timeout=5.0)
        await link.open()
        assert await code_of(link.query("NOTHING?")) == "E-LINK-TIMEOUT"
        assert await link.query("*IDN?") == "DAQ"
        await link.close()


async def test_a_late_answer_reaches_nobody() -> None:
    late = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(Vxi11Peer(DAQ, silent={DEVICE_READ})(reader, writer))
        await late.wait()
        writer.write(record(reply(3, struct.pack(">3I", 0, 4, 5) + b"LATE\n\0\0\0")))
        await task

    async with tcp_peer(slow, Vxi11Peer(DAQ)) as port:
        link = visa(port)
        await link.open()
        assert await code_of(link.query("SLOW?")) == "E-LINK-TIMEOUT"
        late.set()
        assert await link.query("*IDN?") == "DAQ"
        assert link.reopened == 1
        await link.close()


@pytest.mark.parametrize("procedure", [DEVICE_WRITE, DEVICE_READ])
async def test_a_query_whose_peer_hangs_up_is_asked_again_once(procedure: int) -> None:
    async with tcp_peer(Vxi11Peer(DAQ, drops={procedure})) as port:
        link = visa(port, timeout=5.0)
        await link.open()
        began = time.process_time()
        assert await link.query("*IDN?") == "DAQ"
        assert time.process_time() - began < 1.0  # PyVISA-py spins until its timeout
        assert link.reopened == 1
        await link.close()
    async with tcp_peer(Vxi11Peer(DAQ, drops={procedure}), Vxi11Peer(DAQ, drops={procedure})) as port:
        link = visa(port)
        await link.open()
        assert await code_of(link.query("*IDN?")) == "E-LINK-CLOSED"
        await link.close()


async def test_a_write_is_never_sent_twice() -> None:
    peer = Vxi11Peer(DAQ, drops={DEVICE_WRITE})
    async with tcp_peer(peer) as port:
        link = visa(port)
        await link.open()
        assert await code_of(link.write(":INIT")) == "E-LINK-CLOSED"
        assert peer.calls == [CREATE_LINK, DEVICE_WRITE]
        await link.close()


async def test_a_peer_that_hung_up_while_idle_is_noticed_before_sending() -> None:
    gone = asyncio.Event()

    async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = await next_call(reader)
        writer.write(record(reply(call.number, struct.pack(">4I", 0, LINK, 0, 1024))))
        writer.close()
        await writer.wait_closed()
        gone.set()

    peer = Vxi11Peer(DAQ)
    async with tcp_peer(hangs_up, peer) as port:
        link = visa(port)
        await link.open()
        await gone.wait()
        await link.write(":INIT")
        assert peer.lines == [b":INIT\n"]
        assert link.reopened == 1
        await link.close()


@pytest.mark.parametrize("error", [4, 17, 23])
async def test_an_error_of_the_instrument_ends_the_session(error: int) -> None:
    async with tcp_peer(Vxi11Peer(DAQ, errors={DEVICE_WRITE: error}), Vxi11Peer(DAQ)) as port:
        link = visa(port)
        await link.open()
        assert await link.query("*IDN?") == "DAQ"
        assert link.reopened == 1
        await link.close()


async def test_an_instrument_locked_by_another_client_is_refused() -> None:
    async with tcp_peer(Vxi11Peer(DAQ, errors={DEVICE_WRITE: 11})) as port:
        link = visa(port)
        await link.open()
        assert await code_of(link.query("*IDN?")) == "E-LINK-REFUSED"
        await link.close()


@pytest.mark.parametrize(
    "answer",
    [
        record(b"nonsense"),
        record(b""),
        record(reply(99, struct.pack(">2I", 0, 4) + b"\0\0\0\4DAQ\n")),  # of another call
        record(struct.pack(">6I", 3, 1, 0, 0, 0, 3)),  # procedure unavailable
        record(struct.pack(">5I", 3, 1, 1, 1, 2)),  # denied
        record(reply(3, struct.pack(">2I", 0, 4) + b"\0\0\1\0DAQ\n")),  # shorter than it says
        record(reply(3, struct.pack(">2I", 0, 4) + b"\0\0\0\6A\nB\nC\n\0\0")),
        record(reply(3, struct.pack(">2I", 0, 4) + b"\0\0\0\0")),
        record(reply(3, struct.pack(">2I", 0, 4) + b"\0\0\0\2\xff\xfe\0\0")),
        struct.pack(">I", 0xFFFF_FFFF) + b"x" * 1000,
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
)
async def test_garbage_is_an_answer_error_and_leaves_a_clean_link(answer: bytes) -> None:
    async with tcp_peer(Vxi11Peer(DAQ, replies={DEVICE_READ: answer}), Vxi11Peer(DAQ)) as port:
        link = visa(port, timeout=2.0)
        await link.open()
        with pytest.raises(AnswerError) as caught:
            await link.query("*IDN?")
        assert len(str(caught.value)) < 300
        assert await link.query("*IDN?") == "DAQ"
        assert link.reopened == 1
        await link.close()


async def test_an_answer_without_end_is_bounded() -> None:
    endless = {b"A?\n": b"x" * (LONGEST_LINE + 100)}
    async with tcp_peer(Vxi11Peer(endless, chunk=5000), Vxi11Peer(DAQ)) as port:
        link = visa(port, timeout=2.0)
        await link.open()
        with pytest.raises(AnswerError):
            await link.query("A?")
        assert await link.query("*IDN?") == "DAQ"
        await link.close()


async def test_cancelling_frees_the_thread_at_once() -> None:
    silent = Vxi11Peer(DAQ, silent={DEVICE_READ})
    async with tcp_peer(silent, Vxi11Peer(DAQ)) as port:
        link = visa(port, timeout=3600.0)
        await link.open()
        task = asyncio.create_task(link.query("SLOW?"))
        await silent.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await link.query("*IDN?") == "DAQ"  # would wait an hour behind a busy thread
        await link.close()


async def test_closing_fails_the_request_under_way() -> None:
    silent = Vxi11Peer(DAQ, silent={DEVICE_READ})
    async with tcp_peer(silent) as port:
        link = visa(port, timeout=3600.0)
        await link.open()
        task = asyncio.create_task(link.query("SLOW?"))
        await silent.asked.wait()
        await link.close()
        assert await code_of(task) == "E-LINK-CLOSED"


async def test_a_peer_that_does_not_say_goodbye_cannot_delay_closing() -> None:
    async with tcp_peer(Vxi11Peer(DAQ, silent={DESTROY_LINK})) as port:
        link = visa(port, timeout=3600.0)
        await link.open()
        began = time.monotonic()
        await link.close()
        assert time.monotonic() - began < 2.0


async def test_two_tasks_get_their_own_answers() -> None:
    questions = [f"Q{number}?" for number in range(50)]
    async with tcp_peer(Vxi11Peer({f"{text}\n".encode(): f"{text}\n".encode() for text in questions})) as port:
        link = visa(port, timeout=5.0)
        await link.open()
        assert await asyncio.gather(*map(link.query, questions)) == questions
        await link.close()


async def test_descriptors_above_1023_work() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip("the system allows too few descriptors to show it")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    held: list[int] = []
    try:
        async with tcp_peer(Vxi11Peer(DAQ)) as port:
            while not held or held[-1] < 1030:
                held.append(os.open(os.devnull, os.O_RDONLY))
            link = visa(port)
            await link.open()
            assert await link.query("*IDN?") == "DAQ"
            await link.close()
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
