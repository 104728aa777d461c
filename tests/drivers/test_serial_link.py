"""SerialLink against ptys and a serial server that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from threading import Event

import pytest

from drivers.errors import AnswerError
from drivers.links import SerialLink, VisaLink
from tests.drivers.peers import Pty, answering, low_descriptors_taken, pty_peer, tcp_peer
from tests.drivers.test_visa_link import code_of, polled

TIMEOUT = 0.2


def answering_in_turn(*answers: bytes) -> Callable[[Pty], Awaitable[None]]:
    """A handler that gives these answers in turn."""

    async def instrument(pty: Pty) -> None:
        for answer in answers:
            await pty.receive_line()
            pty.send(answer)
        await asyncio.Event().wait()

    return instrument


async def test_lines_end_with_cr_lf_both_ways() -> None:
    async def instrument(pty: Pty) -> None:
        assert await pty.receive_line() == b"*IDN?\r\n"
        pty.send(b"HIOKI,BT3562,0,V1.00\r\n")

    async with pty_peer(instrument) as pty:
        link = SerialLink(pty.port, timeout=TIMEOUT)
        await link.open()
        assert await link.query("*IDN?") == "HIOKI,BT3562,0,V1.00"
        await link.close()


async def test_commands_may_end_with_cr_alone_and_answers_with_lf_alone() -> None:
    async def instrument(pty: Pty) -> None:
        assert await pty.receive(8) == b"VERSION\r"
        pty.send(b"JULABO\n")

    async with pty_peer(instrument) as pty:
        link = SerialLink(pty.port, terminator="CR", timeout=TIMEOUT)
        await link.open()
        assert await link.query("VERSION") == "JULABO"
        await link.close()


def test_the_silence_between_exchanges_counts_from_the_end_of_the_last_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    waits: list[float] = []
    monkeypatch.setattr("drivers.links.text.time.monotonic", lambda: now)

    class Stop(Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            return False

    class Slow:
        def usable(self) -> bool:
            return True

        def send(self, data: bytes) -> None:
            pass

        def receive(self) -> bytes:
            nonlocal now
            now += 5.0
            return b"1\r\n"

    link = SerialLink("unused", spacing=0.5)
    link._session = Slow()  # type: ignore[assignment]
    link._transact(Stop(), b"A?\r\n", None, answered=True)
    now += 0.2
    link._transact(Stop(), b"A?\r\n", None, answered=True)
    assert waits == [pytest.approx(0.3)]


async def test_a_missing_port_is_named() -> None:
    assert await code_of(SerialLink("/dev/evaline-missing").open()) == "E-LINK-PORT"
    assert await code_of(SerialLink("rubbish://x").open()) == "E-LINK-PORT"


async def test_a_descriptor_above_1023_is_refused_at_open_and_not_found_by_a_lost_answer() -> None:
    async with pty_peer(answering_in_turn(b"1\r\n")) as pty:
        for link in (SerialLink(pty.port, timeout=TIMEOUT), VisaLink(f"ASRL{pty.port}::INSTR", timeout=TIMEOUT)):
            with low_descriptors_taken():
                assert await code_of(link.open()) == "E-LINK-DESCRIPTORS"
            await link.open()
            await link.close()


async def test_a_port_belongs_to_one_link_until_it_closes() -> None:
    async with pty_peer(answering_in_turn(b"1\r\n")) as pty:
        first, second = SerialLink(pty.port, timeout=TIMEOUT), SerialLink(pty.port, timeout=TIMEOUT)
        await first.open()
        assert await code_of(second.open()) == "E-LINK-PORT"
        await first.close()
        await second.open()
        assert await second.query("A?") == "1"
        await second.close()


async def test_a_late_answer_is_discarded() -> None:
    async with pty_peer(answering_in_turn(b"", b"TWO\r\n")) as pty:
        link = SerialLink(pty.port, timeout=TIMEOUT)
        await link.open()
        assert await code_of(link.query("ONE?")) == "E-LINK-TIMEOUT"
        pty.send(b"ONE\r\n")
        assert await link.query("TWO?") == "TWO"
        assert link.reopened == 1
        await link.close()


async def test_an_answer_later_than_the_next_question_is_discarded_too() -> None:
    late = asyncio.Event()

    async def slow(pty: Pty) -> None:
        await pty.receive_line()
        await late.wait()
        pty.send(b"ONE\r\n")
        await pty.receive_line()
        pty.send(b"TWO\r\n")
        await asyncio.Event().wait()

    async with pty_peer(slow) as pty:
        link = SerialLink(pty.port, timeout=0.05, quarantine=0.5)
        await link.open()
        assert await code_of(link.query("ONE?")) == "E-LINK-TIMEOUT"
        asyncio.get_running_loop().call_later(0.05, late.set)
        assert await link.query("TWO?") == "TWO"
        await link.close()


async def test_unplugging_is_a_link_error_and_stays_one_until_the_port_is_back() -> None:
    async with pty_peer(answering_in_turn(b"1\r\n")) as pty:
        link = SerialLink(pty.port, timeout=TIMEOUT)
        await link.open()
        assert await link.query("A?") == "1"
        pty.unplug()
        assert await code_of(link.query("A?")) == "E-LINK-PORT"
        assert await code_of(link.write("A")) == "E-LINK-PORT"
        await link.close()


async def test_unplugging_while_an_answer_is_due_ends_the_wait() -> None:
    async with pty_peer(answering_in_turn(b"")) as pty:
        link = SerialLink(pty.port, timeout=3600.0, quarantine=0.0)
        await link.open()
        task = asyncio.create_task(link.query("A?"))
        await pty.arrived.wait()
        pty.unplug()
        assert await code_of(task) in ("E-LINK-CLOSED", "E-LINK-PORT")
        await link.close()


@pytest.mark.parametrize("answer", [b"\r\n", b"\xff\xfe\r\n"], ids=["empty", "binary"])
async def test_garbage_is_an_answer_error(answer: bytes) -> None:
    async with pty_peer(answering_in_turn(answer, b"OK\r\n")) as pty:
        link = SerialLink(pty.port, timeout=TIMEOUT, quarantine=0.0)
        await link.open()
        with pytest.raises(AnswerError):
            await link.query("A?")
        assert await link.query("B?") == "OK"
        await link.close()


async def test_a_stream_without_line_ends_is_bounded() -> None:
    async def babbles(pty: Pty) -> None:
        await pty.receive_line()
        await pty.stream(b"x")

    async with pty_peer(babbles) as pty:
        link = SerialLink(pty.port, timeout=30.0)
        await link.open()
        with pytest.raises(AnswerError, match="no end of line"):
            await link.query("A?")
        await link.close()


async def test_cancelling_frees_the_thread_at_once() -> None:
    async with pty_peer(answering_in_turn(b"", b"OK\r\n")) as pty:
        link = SerialLink(pty.port, timeout=3600.0, quarantine=0.0)
        await link.open()
        task = asyncio.create_task(link.query("A?"))
        await pty.arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await link.query("B?") == "OK"
        await link.close()


async def test_a_serial_server() -> None:
    async with tcp_peer(answering({b"A?\r\n": b"1\r\n"})) as port:
        link = SerialLink(f"socket://127.0.0.1:{port}", timeout=TIMEOUT)
        await link.open()
        assert await link.query("A?") == "1"
        assert await code_of(link.query("SILENT?")) == "E-LINK-TIMEOUT"
        assert await link.query("A?") == "1"
        await link.close()
    assert await code_of(link.open()) == "E-LINK-REFUSED"


async def test_lines_nobody_asked_for_are_polled() -> None:
    async with pty_peer(answering_in_turn(b"1\r\nUNASKED\r\n")) as pty:
        link = SerialLink(pty.port, timeout=TIMEOUT)
        await link.open()
        assert await link.poll() is None
        assert await link.query("A?") == "1"
        assert await polled(link) == "UNASKED"
        pty.unplug()
        assert await code_of(link.poll()) == "E-LINK-CLOSED"
        await link.close()


async def test_visa_ends_lines_of_a_serial_port_with_cr_alone() -> None:
    async def reader(pty: Pty) -> None:
        assert await pty.receive(4) == b"LON\r"
        pty.send(b"OK,LON\r")

    async with pty_peer(reader) as pty:
        link = VisaLink(f"ASRL{pty.port}::INSTR", terminator="CR", timeout=TIMEOUT)
        await link.open()
        assert await link.query("LON") == "OK,LON"
        await link.close()
