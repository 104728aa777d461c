"""What a driver talks over: sure who is at the other end of every new connection, counted, and traced on request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from drivers.errors import AnswerError, IdentityError, InstrumentError, LinkError
from drivers.identity import parse_idn
from drivers.links import (
    MemoryRegisterLink,
    MemoryTextLink,
    ModbusRtuLink,
    ModbusTcpLink,
    SerialLink,
    SharedTextLink,
    TextLink,
    VisaLink,
    WatchedRegisterLink,
    WatchedTextLink,
    watched,
)
from drivers.links.metrics import LONGEST_TRACE, REMEMBERED, LinkMetrics
from drivers.plc_interlock import PlcInterlock
from drivers.roles import Identity
from tests.drivers.peers import Handler, Pty, pty_peer, tcp_peer
from tests.drivers.test_modbus_links import rtu_frame, tcp_frame, tcp_request, tcp_server
from tests.drivers.test_visa_link import code_of

ONE, TWO = b"ACME,V1,1,1.0\n", b"ACME,V1,2,1.0\n"


def meter(identity: bytes, lines: list[bytes], stays_for: int = 1000) -> Handler:
    """A voltmeter that hangs up after so many lines."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(stays_for):
            if not (line := await reader.readline()):
                return
            lines.append(line)
            if line.endswith(b"?\n"):
                writer.write(identity if line == b"*IDN?\n" else b"3.7\n")

    return handler


def visa(port: int) -> WatchedTextLink:
    return WatchedTextLink(VisaLink(f"TCPIP::127.0.0.1::{port}::SOCKET", timeout=0.5))


async def known(link: WatchedTextLink) -> Callable[[], Awaitable[Identity]]:
    """Open the link and remember who answers, as the controller does."""

    async def identify() -> Identity:
        return parse_idn(await link.query("*IDN?"))

    await link.open()
    link.expect(await identify(), identify, link.reopened)
    return identify


# -------------------------------------------------------------------------------------- who is at the other end


@pytest.mark.parametrize(("method", "argument"), [("query", "A?"), ("query_many", ["A?"]), ("write", "A")])
async def test_a_new_connection_is_used_once_the_same_instrument_was_found_on_it(method: str, argument: Any) -> None:
    first: list[bytes] = []
    second: list[bytes] = []
    async with tcp_peer(meter(ONE, first, stays_for=1), meter(ONE, second)) as port:
        link = visa(port)
        await known(link)
        await getattr(link, method)(argument)
        assert await link.query("READ?") == "3.7"
        assert first == [b"*IDN?\n"]
        assert second == [b"*IDN?\n", b"A\n" if method == "write" else b"A?\n", b"READ?\n"]
        await link.close()


@pytest.mark.parametrize("command", ["OUTP ON", "READ?"])
async def test_nothing_but_the_question_who_it_is_ever_reaches_another_instrument(command: str) -> None:
    other: list[bytes] = []
    async with tcp_peer(meter(ONE, [], stays_for=1), meter(TWO, other)) as port:
        link = visa(port)
        await known(link)
        for _ in range(3):
            with pytest.raises(IdentityError, match="expected serial '1', it answered '2'; check the wiring"):
                await (link.query(command) if command.endswith("?") else link.write(command))
        assert set(other) == {b"*IDN?\n"}
        await link.close()


async def test_the_right_instrument_is_used_again_when_it_is_back() -> None:
    async with tcp_peer(meter(ONE, [], 1), meter(TWO, [], 1), meter(ONE, [])) as port:
        link = visa(port)
        await known(link)
        assert await code_of(link.query("READ?")) == "E-IDENTITY"
        assert await link.query("READ?") == "3.7"
        await link.close()


async def test_a_question_that_the_peer_hung_up_on_is_asked_again_after_its_identity() -> None:
    async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"*IDN?\n"
        writer.write(ONE)
        assert await reader.readline() == b"READ?\n"

    lines: list[bytes] = []
    async with tcp_peer(hangs_up, meter(ONE, lines)) as port:
        link = visa(port)
        await known(link)
        assert await link.query("READ?") == "3.7"
        assert lines == [b"*IDN?\n", b"READ?\n"]
        await link.close()


async def test_a_peer_that_always_hangs_up_is_an_error_and_no_endless_loop() -> None:
    async with tcp_peer(meter(ONE, [], stays_for=1)) as port:  # every connection lasts for one line
        link = visa(port)
        await known(link)
        assert await code_of(link.query("READ?")) == "E-LINK-CLOSED"
        assert link.reopened <= 3
        await link.close()


async def test_two_tasks_wait_for_one_look() -> None:
    lines: list[bytes] = []
    async with tcp_peer(meter(ONE, [], stays_for=1), meter(ONE, lines)) as port:
        link = visa(port)
        await known(link)
        assert await asyncio.gather(*(link.query("READ?") for _ in range(5))) == ["3.7"] * 5
        assert lines == [b"*IDN?\n"] + [b"READ?\n"] * 5
        await link.close()


async def test_a_port_plugged_elsewhere_and_the_instrument_at_its_place(tmp_path: Path) -> None:
    """A USB adapter keeps its name by a link of the system's; behind the name is another instrument now."""

    def instrument(identity: bytes) -> Callable[[Pty], Awaitable[None]]:
        async def answer(pty: Pty) -> None:
            while True:
                line = await pty.receive_line()
                pty.send(identity if line == b"*IDN?\r\n" else b"3.7\n")

        return answer

    name = tmp_path / "ttyUSB0"
    async with (
        pty_peer(instrument(ONE)) as ours,
        pty_peer(instrument(ONE)) as elsewhere,
        pty_peer(instrument(TWO)) as other,
    ):
        name.symlink_to(ours.port)
        link = WatchedTextLink(SerialLink(str(name), timeout=0.5, quarantine=0.0))
        await known(link)
        ours.unplug()
        name.unlink()
        assert await code_of(link.query("READ?")) == "E-LINK-PORT"
        name.symlink_to(other.port)
        assert await code_of(link.query("READ?")) == "E-IDENTITY"
        other.unplug()
        name.unlink()
        name.symlink_to(elsewhere.port)
        assert await link.query("READ?") == "3.7"
        await link.close()


async def test_on_a_bus_each_member_looks_for_its_own_instrument() -> None:
    """One reopened for all: what one member verified says nothing of the other."""
    lines: list[bytes] = []
    hung_up = False

    def receive(line: bytes) -> bytes:
        nonlocal hung_up
        if hung_up:
            hung_up = False
            raise ConnectionError("gone")
        lines.append(line)
        return ONE if b"IDN" in line else b"3.7\n"

    bus = SharedTextLink(MemoryTextLink(receive), rest=0.0)
    members = [WatchedTextLink(bus.member()) for _ in range(2)]
    for member in members:
        await known(member)
    hung_up, lines[:] = True, []
    assert await code_of(members[0].query("A?")) == "E-LINK-CLOSED"
    assert [await member.query("A?") for member in members] == ["3.7", "3.7"]
    assert lines == [b"*IDN?\n", b"A?\n"] * 2


async def test_a_write_to_a_swapped_plc_is_not_sent() -> None:
    requests: list[bytes] = []

    def plc(version: int) -> Callable[[int, bytes], bytes]:
        return lambda unit, pdu: (
            bytes([pdu[0]]) + (pdu[1:] if pdu[0] in (5, 6) else b"\x02" + version.to_bytes(2, "big"))
        )

    async def leaves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            transaction, unit, pdu = await tcp_request(reader)
            writer.write(tcp_frame(transaction, unit, plc(0x0101)(unit, pdu)))

    async with tcp_peer(leaves, tcp_server(plc(0x0200), requests)) as port:
        link = WatchedRegisterLink(ModbusTcpLink("127.0.0.1", port, timeout=0.5))
        driver = PlcInterlock(link)
        link.expect(await driver.connect(), driver.identify, link.reopened)
        await driver.beat(1)
        for counter in (2, 3):
            with pytest.raises(IdentityError, match="register map"):
                await driver.beat(counter)
        assert {pdu[0] for pdu in requests} == {4}, "it was read, and never written"
        await link.close()


async def test_a_silent_unit_costs_two_timeouts_and_says_that_it_is_silent() -> None:
    """As without the look: the second attempt of a read is the question who it is."""
    frames = 0

    def respond(unit: int, pdu: bytes) -> bytes | None:
        nonlocal frames
        frames += 1
        return bytes.fromhex("04 02 0101") if frames == 1 else None

    async with tcp_peer(tcp_server(respond)) as port:
        link = WatchedRegisterLink(ModbusTcpLink("127.0.0.1", port, timeout=0.05))
        driver = PlcInterlock(link)
        link.expect(await driver.connect(), driver.identify, link.reopened)
        assert await code_of(driver.read()) == "E-LINK-TIMEOUT"
        assert frames == 3
        await link.close()


async def test_rtu_an_answer_later_than_the_quarantine_meets_the_look_and_not_the_next_reading() -> None:
    """The look is the sentinel: what comes late is of another function, and ends that connection too."""

    async def slave(pty: Pty) -> None:
        assert (await pty.receive(8))[1] == 1
        pty.send(rtu_frame(1, bytes.fromhex("01 01 01")))
        assert (await pty.receive(8))[1] == 4  # asked for register 200: silence
        assert (await pty.receive(8))[1] == 1
        pty.send(rtu_frame(1, bytes.fromhex("04 02 00c8")))  # the answer of then
        while True:
            request = await pty.receive(8)
            pty.send(rtu_frame(1, bytes.fromhex("01 01 01" if request[1] == 1 else "04 02 0007")))

    async with pty_peer(slave) as pty:
        link = WatchedRegisterLink(ModbusRtuLink(pty.port, timeout=0.1, quarantine=0.0))

        async def identify() -> Identity:
            await link.read_coils(1, 268, 1)
            return Identity("", "", "", "")

        await link.open()
        link.expect(await identify(), identify, link.reopened)
        with pytest.raises(InstrumentError):
            await link.read_input_registers(1, 200, 1)
        for _ in range(3):
            try:
                assert await link.read_input_registers(1, 7, 1) == [7]
                break
            except (LinkError, AnswerError):
                continue
        else:
            pytest.fail("no reading")
        await link.close()


# ------------------------------------------------------------------------------------------------- in numbers


def test_the_p99_is_of_the_newest_requests_and_the_memory_bounded() -> None:
    metrics = LinkMetrics()
    assert metrics.as_json(0)["latency_p99_ms"] is None
    metrics.latencies.append(0.25)
    assert metrics.as_json(0)["latency_p99_ms"] == 250
    for milliseconds in range(1, 2 * REMEMBERED + 1):
        metrics.latencies.append(milliseconds / 1000)
    shown = metrics.as_json(7)
    assert len(metrics.latencies) == REMEMBERED
    assert shown["latency_p99_ms"] == pytest.approx(REMEMBERED + 0.99 * REMEMBERED)
    assert shown["latency_max_ms"] == pytest.approx(2 * REMEMBERED)
    assert shown["latency_mean_ms"] == pytest.approx(1.5 * REMEMBERED + 0.5)
    assert shown["reconnects"] == 7


async def test_requests_bytes_errors_and_reconnects_are_counted() -> None:
    answers = {b"A?\n": b"12.5\n", b"BAD?\n": b"\xff\n", b"SILENT?\n": b""}
    link = watched(MemoryTextLink(lambda line: answers.get(line, b"")))
    assert isinstance(link, WatchedTextLink)
    await link.open()
    assert await link.query("A?") == "12.5"
    assert await link.query_many(["A?", "A?"]) == ["12.5", "12.5"]
    await link.write("GO")
    assert await code_of(link.query("BAD?")) == "E-ANSWER"
    assert await code_of(link.query("SILENT?")) == "E-LINK-TIMEOUT"
    assert await code_of(link.query("SILENT?")) == "E-LINK-TIMEOUT"
    shown = link.metrics.as_json(link.reopened)
    assert shown["requests"] == 6
    assert shown["errors"] == {"E-ANSWER": 1, "E-LINK-TIMEOUT": 2}
    assert (shown["bytes_sent"], shown["bytes_received"]) == (3 * 2 + 2 + 4 + 2 * 7, 3 * 4)
    assert shown["reconnects"] == 1
    assert len(link.metrics.latencies) == 3, "of what succeeded"


async def test_registers_and_coils_are_counted_too() -> None:
    link = watched(MemoryRegisterLink(lambda unit, pdu: bytes.fromhex("01 01 05") if pdu[0] == 1 else pdu[:5]))
    assert isinstance(link, WatchedRegisterLink)
    await link.open()
    assert await link.read_coils(1, 0, 3) == [True, False, True]
    await link.write_registers(1, 0, [1, 2])
    await link.write_coil(1, 0, True)
    shown = link.metrics.as_json(0)
    assert (shown["requests"], shown["bytes_received"], shown["bytes_sent"]) == (3, 1, 5)


async def test_who_gave_up_waiting_is_counted_as_cancelled() -> None:
    arrived = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        arrived.set()
        await asyncio.Event().wait()

    async with tcp_peer(silent) as port:
        link = visa(port)
        await link.open()
        task = asyncio.create_task(link.query("A?"))
        await arrived.wait()
        task.cancel()
        await asyncio.wait({task})
        assert link.metrics.errors == {"cancelled": 1}
        await link.close()


# --------------------------------------------------------------------------------------------------- the trace


async def test_a_trace_shows_what_went_out_what_came_back_and_what_went_wrong() -> None:
    answers = {b"A?\n": b"1\x112\n", b"BAD?\n": b"\xff\n"}
    link = WatchedTextLink(MemoryTextLink(lambda line: answers.get(line, b""), unasked=lambda: b"CODE\n"))
    await link.open()
    await link.query("A?")
    with link.traced() as trace:
        await link.query("A?")
        await code_of(link.query("BAD?"))
        await link.write("GO")
        assert await link.poll() == "CODE"
    await link.query("A?")
    told = [(entry.sent, entry.received) for entry in trace.take()]
    assert told == [(("A?",), ("1\\x112",)), (("BAD?",), ()), (("GO",), ()), ((), ("CODE",))]
    assert trace.take() == []


async def test_a_trace_tells_errors_and_new_connections() -> None:
    link = WatchedTextLink(MemoryTextLink(lambda line: b""))
    await link.open()
    with link.traced() as trace:
        for _ in range(2):
            await code_of(link.query("A?"))
        first, second = trace.take()
    assert first.error == second.error == "memory: no answer"
    assert (first.reopened, second.reopened) == (False, True)


async def test_registers_are_shown_in_words() -> None:
    answers = {3: bytes.fromhex("03 04 42a0 0000"), 1: bytes.fromhex("01 01 05"), 6: bytes.fromhex("06 0001 001e")}
    link = WatchedRegisterLink(MemoryRegisterLink(lambda unit, pdu: answers[pdu[0]]))
    await link.open()
    with link.traced() as trace:
        await link.read_holding_registers(2, 121, 2)
        await link.read_coils(2, 0, 3)
        await link.write_register(2, 1, 30)
        told = [(entry.sent, entry.received) for entry in trace.take()]
    assert told == [
        (("unit 2 read holding 121 2",), ("42A0 0000",)),
        (("unit 2 read coil 0 3",), ("1 0 1",)),
        (("unit 2 write holding 1 001E",), ("confirmed",)),
    ]


async def test_a_trace_that_nobody_fetches_keeps_the_newest_and_counts_the_rest() -> None:
    link = WatchedTextLink(MemoryTextLink(lambda line: line))
    await link.open()
    with link.traced() as slow, link.traced() as quick:
        for number in range(LONGEST_TRACE + 5):
            await link.query(f"{number}?")
            if number == LONGEST_TRACE // 2:
                quick.take()
        kept = slow.take()
    assert (len(kept), slow.lost, quick.lost) == (LONGEST_TRACE, 5, 0)
    assert kept[-1].sent == (f"{LONGEST_TRACE + 4}?",)


async def test_a_message_without_end_is_shown_cut() -> None:
    link = WatchedTextLink(MemoryTextLink(lambda line: b"x" * 10_000 + b"\n"))
    await link.open()
    with link.traced() as trace:
        await link.query("A?")
        (entry,) = trace.take()
    assert len(entry.received[0]) < 2100
    assert entry.received[0].endswith("... (10000 characters)")


def test_every_link_can_be_watched() -> None:
    links: list[Any] = [
        VisaLink("TCPIP::127.0.0.1::1::SOCKET"),
        SerialLink("unused"),
        ModbusTcpLink("127.0.0.1"),
        ModbusRtuLink("unused"),
        SharedTextLink(SerialLink("unused"), rest=1.0).member(),
    ]
    text = [isinstance(watched(link), WatchedTextLink) for link in links]
    assert text == [True, True, False, False, True]
    kind: type[TextLink] = WatchedTextLink  # it is itself a link
    assert kind
