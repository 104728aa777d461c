"""VisaLink against peers that misbehave, over loopback sockets and ptys."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from drivers.errors import AnswerError, InstrumentError
from drivers.links import TextLink, VisaLink
from drivers.links.text import LONGEST_LINE
from tests.drivers.peers import Pty, answering, low_descriptors_taken, pty_peer, tcp_peer

TIMEOUT = 0.2
EA = {b"*IDN?\n": b"EA\n", b"MEAS:ARR?\n": b"12.5V, 33.3A, 420W\n"}


def visa(port: int, **options: float) -> VisaLink:
    return VisaLink(f"TCPIP::127.0.0.1::{port}::SOCKET", **{"timeout": TIMEOUT, **options})


async def code_of(request: object) -> str:
    with pytest.raises(InstrumentError) as caught:
        await request  # type: ignore[misc]
    assert "\n" not in str(caught.value)
    return caught.value.code


async def polled(link: TextLink) -> str:
    """The next line that comes without a question."""
    while (line := await link.poll()) is None:
        pass
    return line


async def test_asks_and_answers() -> None:
    async with tcp_peer(answering(EA)) as port:
        link: TextLink = visa(port)
        await link.open()
        assert await link.query("*IDN?") == "EA"
        assert await link.query_many(["MEAS:ARR?", "*IDN?"]) == ["12.5V, 33.3A, 420W", "EA"]
        assert link.reopened == 0
        await link.close()


async def test_lines_end_as_the_instrument_wants_them() -> None:
    async with tcp_peer(answering({b"*IDN?\r\n": b"HIOKI,BT3562A,0,V1.00\r\n"})) as port:
        link = VisaLink(f"TCPIP::127.0.0.1::{port}::SOCKET", terminator="CRLF", timeout=TIMEOUT)
        await link.open()
        assert await link.query("*IDN?") == "HIOKI,BT3562A,0,V1.00"
        await link.close()


async def test_a_refused_port_is_found_at_open() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening
        assert await code_of(visa(taken.getsockname()[1]).open()) == "E-LINK-REFUSED"


@pytest.mark.parametrize("address", ["TCPIP::127.0.0.1::hislip0,port::INSTR", "GPIB::1::INSTR", "nonsense"])
async def test_an_address_of_another_kind_is_refused(address: str) -> None:
    assert await code_of(VisaLink(address).open()) == "E-LINK-ADDRESS"


async def test_a_link_that_is_not_open_says_so() -> None:
    link = visa(1)
    assert await code_of(link.query("*IDN?")) == "E-LINK-CLOSED"
    await link.close()


async def test_silence_is_a_timeout_and_the_late_answer_reaches_nobody() -> None:
    asked = asyncio.Event()
    late = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        asked.set()
        await late.wait()
        writer.write(b"LATE\n")
        await reader.read()

    async with tcp_peer(slow, answering(EA)) as port:
        link = visa(port)
        await link.open()
        assert await code_of(link.query("SLOW?")) == "E-LINK-TIMEOUT"
        assert asked.is_set()
        late.set()
        assert await link.query("*IDN?") == "EA"
        assert link.reopened == 1
        await link.close()


async def test_an_answer_nobody_asked_for_is_never_the_next_answer() -> None:
    async def talkative(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"ONE\nTWO\n")
        await reader.read()

    async with tcp_peer(talkative, answering(EA)) as port:
        link = visa(port)
        await link.open()
        assert await link.query("A?") == "ONE"
        assert await link.query("*IDN?") == "EA"
        assert link.reopened == 1
        await link.close()


async def test_a_peer_that_hung_up_while_idle_is_noticed_before_sending() -> None:
    lines: list[bytes] = []
    gone = asyncio.Event()

    async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        await writer.wait_closed()
        gone.set()

    async def records(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            lines.append(line)
            writer.write(b"EA\n" if b"?" in line else b"")

    async with tcp_peer(hangs_up, records) as port:
        link = visa(port)
        await link.open()
        await gone.wait()
        await link.write("OUTP OFF")
        assert await link.query("*IDN?") == "EA"
        assert lines == [b"OUTP OFF\n", b"*IDN?\n"]
        assert link.reopened == 1
        await link.close()


async def test_a_query_whose_peer_hangs_up_is_asked_again_once() -> None:
    async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()

    async with tcp_peer(hangs_up, answering(EA)) as port:
        link = visa(port)
        await link.open()
        assert await link.query("*IDN?") == "EA"
        await link.close()
    async with tcp_peer(hangs_up) as port:
        link = visa(port)
        await link.open()
        assert await code_of(link.query("*IDN?")) == "E-LINK-CLOSED"
        assert link.reopened == 1
        await link.close()


@pytest.mark.parametrize(
    "answer", [b"\n", b"\r\n", b"\xff\xfe\n", b"x" * 1_000_000], ids=["empty", "crlf", "binary", "1MB"]
)
async def test_garbage_is_an_answer_error_and_leaves_a_clean_link(answer: bytes) -> None:
    async with tcp_peer(answering({b"A?\n": answer}), answering(EA)) as port:
        link = visa(port, timeout=2.0)
        await link.open()
        with pytest.raises(AnswerError) as caught:
            await link.query("A?")
        assert len(str(caught.value)) < 200
        assert LONGEST_LINE < 1_000_000
        assert await link.query("*IDN?") == "EA"
        await link.close()


async def test_a_peer_that_stops_reading_cannot_block_a_write() -> None:
    release = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await release.wait()

    async with tcp_peer(deaf) as port:
        link = visa(port, timeout=0.05)
        await link.open()

        async def write_for_ever() -> None:
            while True:
                await link.write("X" * 1000)

        assert await code_of(write_for_ever()) == "E-LINK-TIMEOUT"
        release.set()
        await link.close()


async def test_two_tasks_get_their_own_answers() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)

    async with tcp_peer(echo) as port:
        link = visa(port, timeout=5.0)
        await link.open()
        questions = [f"Q{number}?" for number in range(100)]
        assert await asyncio.gather(*map(link.query, questions)) == questions
        await link.close()


async def test_a_silent_instrument_holds_up_none_of_64_others() -> None:
    """They all have an answer while the silent one's is still awaited: each session has a thread of its own."""
    async with tcp_peer(answering(EA)) as port:
        silent, *others = (visa(port, timeout=3600.0) for _ in range(65))
        await asyncio.gather(*(link.open() for link in (silent, *others)))
        waiting = asyncio.create_task(silent.query("SILENT?"))
        assert await asyncio.gather(*(link.query("*IDN?") for link in others)) == ["EA"] * 64
        assert not waiting.done()
        await silent.close()
        assert await code_of(waiting) == "E-LINK-CLOSED"
        await asyncio.gather(*(link.close() for link in others))


async def test_closing_one_link_leaves_the_others_open() -> None:
    """PyVISA's sessions belong to a resource manager; there is one for the process, and it is never closed."""
    async with tcp_peer(answering(EA)) as port:
        first, second = visa(port), visa(port)
        for link in (first, second):
            await link.open()
        await first.close()
        assert await second.query("*IDN?") == "EA"
        assert second.reopened == 0
        await second.close()


async def test_cancelling_frees_the_thread_at_once() -> None:
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        asked.set()
        await reader.read()

    async with tcp_peer(silent, answering(EA)) as port:
        link = visa(port, timeout=3600.0)
        await link.open()
        task = asyncio.create_task(link.query("SLOW?"))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await link.query("*IDN?") == "EA"  # would wait an hour behind a busy thread
        await link.close()


async def test_closing_fails_the_request_under_way() -> None:
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        asked.set()
        await reader.read()

    async with tcp_peer(silent) as port:
        link = visa(port, timeout=3600.0)
        await link.open()
        task = asyncio.create_task(link.query("SLOW?"))
        await asked.wait()
        await link.close()
        assert await code_of(task) == "E-LINK-CLOSED"


async def test_a_query_right_after_a_write_is_not_delayed_by_nagle() -> None:
    async with tcp_peer(answering(EA)) as port:
        link = visa(port)
        await link.open()
        session = link._session
        assert session._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)  # type: ignore[union-attr]
        await link.close()


async def test_descriptors_above_1023_work() -> None:
    async with tcp_peer(answering(EA)) as port:
        with low_descriptors_taken():
            link = visa(port)
            await link.open()
            assert await link.query("*IDN?") == "EA"
            assert await code_of(link.query("SILENT?")) == "E-LINK-TIMEOUT"
            assert await link.query("*IDN?") == "EA"
            assert await link.poll() is None
            await link.close()


async def test_messages_keep_their_distance() -> None:
    link = visa(1, spacing=0.01)
    waits: list[float] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            return False

    link._keep_distance(Stop())
    link._keep_distance(Stop())
    assert len(waits) == 1
    assert 0 < waits[0] <= 0.01


async def test_a_serial_port_by_visa_address() -> None:
    async def instrument(pty: Pty) -> None:
        while True:
            assert await pty.receive_line() == b"*IDN?\n"
            pty.send(b"HIOKI\n")

    async with pty_peer(instrument) as pty:
        link = VisaLink(f"ASRL{pty.port}::INSTR", timeout=TIMEOUT)
        await link.open()
        assert await link.query("*IDN?") == "HIOKI"
        second = VisaLink(f"ASRL{pty.port}::INSTR", timeout=TIMEOUT)
        assert await code_of(second.open()) == "E-LINK-PORT"
        await link.close()
        await second.open()
        assert await second.query("*IDN?") == "HIOKI"
        await second.close()


async def test_lines_nobody_asked_for_are_polled_and_none_is_waited_for() -> None:
    more = asyncio.Event()

    async def reader(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r")
        writer.write(b"OK,LON\rFIRST\rSECOND\r")
        await more.wait()
        writer.write(b"THIRD\r")
        await reader.read()

    async with tcp_peer(reader) as port:
        link = VisaLink(f"TCPIP::127.0.0.1::{port}::SOCKET", terminator="CR", timeout=TIMEOUT)
        await link.open()
        assert await link.poll() is None
        assert await link.query("LON") == "OK,LON"
        assert [await link.poll(), await link.poll(), await link.poll()] == ["FIRST", "SECOND", None]
        more.set()
        assert await polled(link) == "THIRD"
        assert link.reopened == 0
        await link.close()


async def test_a_question_forgets_the_lines_before_it() -> None:
    answered = asyncio.Event()

    async def talkative(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"UNASKED\r")
        answered.set()
        await reader.read()

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r")
        writer.write(b"OK,LON\r")
        await reader.read()

    async with tcp_peer(talkative, answers) as port:
        link = VisaLink(f"TCPIP::127.0.0.1::{port}::SOCKET", terminator="CR", timeout=TIMEOUT)
        await link.open()
        await answered.wait()
        assert await link.query("LON") == "OK,LON"
        assert await link.poll() is None
        await link.close()


async def test_polling_reports_a_lost_connection_until_the_next_question() -> None:
    async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"ONE\n")

    async with tcp_peer(hangs_up, answering(EA)) as port:
        link = visa(port)
        await link.open()
        assert await link.query("A?") == "ONE"
        assert await code_of(polled(link)) == "E-LINK-CLOSED"
        assert await code_of(link.poll()) == "E-LINK-CLOSED"
        assert await link.query("*IDN?") == "EA"
        assert await link.poll() is None
        await link.close()


async def test_half_a_line_is_not_a_line() -> None:
    sent = asyncio.Event()

    async def stutters(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HALF")
        sent.set()
        await reader.read()

    async with tcp_peer(stutters) as port:
        link = visa(port)
        await link.open()
        await sent.wait()
        assert await code_of(polled(link)) == "E-LINK-TIMEOUT"
        await link.close()
    assert await code_of(link.poll()) == "E-LINK-CLOSED"
