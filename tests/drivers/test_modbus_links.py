"""ModbusTcpLink and ModbusRtuLink against peers that misbehave, over loopback sockets and ptys."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest
from pymodbus.framer.rtu import FramerRTU

from drivers.errors import AnswerError, DeviceError, RefusedError
from drivers.links import ModbusRtuLink, ModbusTcpLink, RegisterLink
from drivers.roles import Identity
from tests.drivers.peers import Handler, Pty, pty_peer, tcp_peer
from tests.drivers.test_visa_link import code_of

TIMEOUT = 0.2
READ_200 = bytes.fromhex("03 00c8 0002")
ANSWER_200 = bytes.fromhex("03 04 00c8 00c9")

Answer = Callable[[int, bytes], bytes | None]


def tcp(port: int, timeout: float = TIMEOUT) -> ModbusTcpLink:
    return ModbusTcpLink("127.0.0.1", port, timeout=timeout)


async def tcp_request(reader: asyncio.StreamReader) -> tuple[bytes, int, bytes]:
    """Transaction id, unit and PDU of one Modbus TCP request; what is none ends the connection."""
    header = await reader.readexactly(7)
    length = int.from_bytes(header[4:6], "big")
    if header[2:4] != b"\0\0" or length < 2:
        raise asyncio.IncompleteReadError(header, None)
    return header[:2], header[6], await reader.readexactly(length - 1)


def tcp_frame(transaction: bytes, unit: int, pdu: bytes) -> bytes:
    return transaction + b"\0\0" + (len(pdu) + 1).to_bytes(2, "big") + bytes([unit]) + pdu


def tcp_server(answer: Answer, requests: list[bytes] | None = None) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                transaction, unit, pdu = await tcp_request(reader)
                if requests is not None:
                    requests.append(pdu)
                if (reply := answer(unit, pdu)) is not None:
                    writer.write(tcp_frame(transaction, unit, reply))
        except asyncio.IncompleteReadError:
            return

    return handler


def rtu_frame(unit: int, pdu: bytes) -> bytes:
    frame = bytes([unit]) + pdu
    return frame + FramerRTU.compute_CRC(frame).to_bytes(2, "big")


def rtu_slave(*answers: bytes) -> Callable[[Pty], Awaitable[None]]:
    """Gives these bytes in turn, each after a request for two registers (8 bytes)."""

    async def slave(pty: Pty) -> None:
        for answer in answers:
            await pty.receive(8)
            pty.send(answer)
        await asyncio.Event().wait()

    return slave


MEMORY = {
    bytes.fromhex("01 0000 0003"): bytes.fromhex("01 01 05"),
    bytes.fromhex("02 0000 0009"): bytes.fromhex("02 02 01 01"),
    READ_200: ANSWER_200,
    bytes.fromhex("04 0000 0001"): bytes.fromhex("04 02 8000"),
    bytes.fromhex("05 0000 ff00"): bytes.fromhex("05 0000 ff00"),
    bytes.fromhex("06 0001 001e"): bytes.fromhex("06 0001 001e"),
    bytes.fromhex("10 0001 0002 04 0001 0002"): bytes.fromhex("10 0001 0002"),
}


async def test_every_request_of_the_interface() -> None:
    async with tcp_peer(tcp_server(lambda unit, pdu: MEMORY[pdu])) as port:
        link: RegisterLink = tcp(port)
        await link.open()
        assert await link.read_coils(1, 0, 3) == [True, False, True]
        assert await link.read_discrete_inputs(1, 0, 9) == [True] + [False] * 7 + [True]
        assert await link.read_holding_registers(1, 200, 2) == [200, 201]
        assert await link.read_input_registers(1, 0, 1) == [0x8000]
        await link.write_coil(1, 0, True)
        await link.write_register(1, 1, 30)
        await link.write_registers(1, 1, [1, 2])
        await link.close()


@pytest.mark.parametrize(("answer", "state"), [("ff00", True), ("0000", False)])
async def test_one_coil_may_come_in_two_bytes(answer: str, state: bool) -> None:
    """EA's "limited" Modbus compliance."""
    async with tcp_peer(tcp_server(lambda unit, pdu: bytes.fromhex(f"01 02 {answer}"))) as port:
        link = tcp(port)
        await link.open()
        assert await link.read_coils(0, 402, 1) == [state]
        await link.close()


def device_information(*objects: bytes) -> bytes:
    """The answer to 2B 0E 01 00 as in 6.21 of the application protocol."""
    listed = b"".join(bytes([number, len(words)]) + words for number, words in enumerate(objects))
    return bytes.fromhex("2b 0e 01 01 00 00") + bytes([len(objects)]) + listed


SAID = device_information(b"Company identification", b"Product code XX", b"V2.11")


async def test_a_device_says_what_it_is() -> None:
    async def slave(pty: Pty) -> None:
        assert await pty.receive(7) == rtu_frame(3, bytes.fromhex("2b 0e 01 00"))
        pty.send(rtu_frame(3, SAID))
        await asyncio.Event().wait()

    said = Identity("Company identification", "Product code XX", "", "V2.11")
    requests: list[bytes] = []
    async with tcp_peer(tcp_server(lambda unit, pdu: SAID, requests)) as port, pty_peer(slave) as pty:
        for link in (tcp(port), ModbusRtuLink(pty.port, timeout=TIMEOUT)):
            await link.open()
            assert await link.read_identification(3) == said
            await link.close()
    assert requests == [bytes.fromhex("2b 0e 01 00")]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (bytes.fromhex("ab 01"), RefusedError),
        (device_information(), AnswerError),
        (device_information(b"ACME", b"P1"), AnswerError),
        (device_information(b"ACME", b"P1", b"\xff"), AnswerError),
        (SAID[:-1].replace(b"\x0e", b"\x0d", 1), AnswerError),
        (bytes.fromhex("2b 0e 01 01 00 00 04 00 01 41 00 01 42 01 01 43 02 01 44"), AnswerError),
    ],
)
async def test_what_is_no_identification(answer: bytes, error: type[Exception]) -> None:
    async with tcp_peer(tcp_server(lambda unit, pdu: answer)) as port:
        link = tcp(port)
        await link.open()
        with pytest.raises(error):
            await link.read_identification(1)
        await link.close()


async def test_refused_and_not_open() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        link = tcp(taken.getsockname()[1])
        assert await code_of(link.open()) == "E-LINK-REFUSED"
        assert await code_of(link.read_coils(1, 0, 1)) == "E-LINK-CLOSED"


async def test_an_open_that_failed_succeeds_once_the_server_is_up() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        link = tcp(port)
        assert await code_of(link.open()) == "E-LINK-REFUSED"
    server = await asyncio.start_server(tcp_server(lambda unit, pdu: MEMORY[pdu]), "127.0.0.1", port)
    await link.open()
    assert await link.read_holding_registers(1, 200, 2) == [200, 201]
    await link.close()
    server.close()


async def test_a_silent_write_is_sent_once_and_a_silent_read_twice() -> None:
    requests: list[bytes] = []
    async with tcp_peer(tcp_server(lambda unit, pdu: None, requests)) as port:
        link = tcp(port, timeout=0.05)
        await link.open()
        assert await code_of(link.write_coil(1, 0, True)) == "E-LINK-TIMEOUT"
        assert requests == [bytes.fromhex("05 0000 ff00")]
        requests.clear()
        assert await code_of(link.read_holding_registers(1, 200, 2)) == "E-LINK-TIMEOUT"
        assert requests == [READ_200, READ_200]
        await link.close()


async def test_an_exception_answer_is_raised_with_its_name_and_not_repeated() -> None:
    requests: list[bytes] = []
    async with tcp_peer(tcp_server(lambda unit, pdu: bytes([pdu[0] | 0x80, 2]), requests)) as port:
        link = tcp(port)
        await link.open()
        with pytest.raises(RefusedError, match="exception 2, illegal data address") as caught:
            await link.read_holding_registers(1, 200, 2)
        assert caught.value.exception_code == 2
        with pytest.raises(DeviceError):
            await link.write_register(1, 0, 1)
        assert len(requests) == 2
        assert link.reopened == 0
        await link.close()


@pytest.mark.parametrize(
    ("reply", "request_of"),
    [
        (b"\x03\x02\0\1", lambda link: link.read_holding_registers(1, 200, 2)),  # fewer registers than asked
        (b"\x04\x04\0\1\0\2", lambda link: link.read_holding_registers(1, 200, 2)),  # another function
        (b"\x01\x02\1\0", lambda link: link.read_coils(1, 0, 3)),  # more bits than asked
        (b"\x06\0\1\0\2", lambda link: link.write_register(1, 1, 1)),  # another value confirmed
        (b"\x05\0\1\xff\0", lambda link: link.write_coil(1, 0, True)),  # another address confirmed
        (b"\x10\0\1\0\1", lambda link: link.write_registers(1, 1, [1, 2])),  # fewer values confirmed
    ],
)
async def test_an_answer_that_does_not_fit_the_request(
    reply: bytes, request_of: Callable[[RegisterLink], Awaitable[object]]
) -> None:
    async with tcp_peer(tcp_server(lambda unit, pdu: reply)) as port:
        link = tcp(port)
        await link.open()
        with pytest.raises(AnswerError):
            await request_of(link)
        await link.close()


async def test_the_wrong_unit_and_the_wrong_transaction_are_no_answers() -> None:
    async def confused(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transaction, unit, _ = await tcp_request(reader)
        writer.write(tcp_frame(transaction, unit + 1, ANSWER_200))
        writer.write(tcp_frame(b"\x70\x00", unit, ANSWER_200))
        await reader.read()

    async with tcp_peer(confused) as port:
        link = tcp(port, timeout=0.05)
        await link.open()
        assert await code_of(link.read_holding_registers(1, 200, 2)) == "E-LINK-TIMEOUT"
        await link.close()


async def test_a_peer_that_hung_up_while_idle_gets_the_write_on_a_new_connection() -> None:
    gone = asyncio.Event()
    requests: list[bytes] = []

    async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        await writer.wait_closed()
        gone.set()

    async with tcp_peer(hangs_up, tcp_server(lambda unit, pdu: MEMORY[pdu], requests)) as port:
        link = tcp(port)
        await link.open()
        await gone.wait()
        await link.write_coil(1, 0, True)
        assert len(requests) == 1
        assert link.reopened == 1
        await link.close()


async def test_a_peer_that_hangs_up_on_a_request_fails_it_without_waiting() -> None:
    async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await tcp_request(reader)

    async with tcp_peer(hangs_up) as port:
        link = tcp(port, timeout=3600.0)
        await link.open()
        assert await code_of(link.write_coil(1, 0, True)) == "E-LINK-CLOSED"
        assert await code_of(link.read_coils(1, 0, 1)) == "E-LINK-CLOSED"
        await link.close()
    async with tcp_peer(hangs_up, tcp_server(lambda unit, pdu: MEMORY[pdu])) as port:
        link = tcp(port, timeout=3600.0)
        await link.open()
        assert await link.read_holding_registers(1, 200, 2) == [200, 201]
        await link.close()


async def test_two_tasks_get_their_own_answers() -> None:
    async with tcp_peer(tcp_server(lambda unit, pdu: b"\x03\x02" + pdu[1:3])) as port:
        link = tcp(port, timeout=5.0)
        await link.open()
        answers = await asyncio.gather(*(link.read_holding_registers(1, address, 1) for address in range(50)))
        assert answers == [[address] for address in range(50)]
        await link.close()


async def test_cancelling_frees_the_link_and_closing_fails_the_request_under_way() -> None:
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await tcp_request(reader)
        asked.set()
        await reader.read()

    async with tcp_peer(silent, tcp_server(lambda unit, pdu: MEMORY[pdu]), silent) as port:
        link = tcp(port, timeout=3600.0)
        await link.open()
        task = asyncio.create_task(link.read_holding_registers(1, 200, 2))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await link.read_holding_registers(1, 200, 2) == [200, 201]
        await link.close()
        await link.open()
        asked.clear()
        task = asyncio.create_task(link.read_holding_registers(1, 200, 2))
        await asked.wait()
        await link.close()
        assert await code_of(task) == "E-LINK-CLOSED"


async def test_rtu_on_a_pty() -> None:
    async with pty_peer(rtu_slave(rtu_frame(1, ANSWER_200), rtu_frame(2, b"\x83\x04"))) as pty:
        link = ModbusRtuLink(pty.port, timeout=TIMEOUT)
        await link.open()
        assert await code_of(ModbusRtuLink(pty.port).open()) == "E-LINK-PORT"
        assert await link.read_holding_registers(1, 200, 2) == [200, 201]
        with pytest.raises(DeviceError, match="server device failure"):
            await link.read_holding_registers(2, 200, 2)
        await link.close()
    assert await code_of(link.open()) == "E-LINK-PORT"


async def test_rtu_a_late_answer_is_never_the_answer_to_the_next_request() -> None:
    late = asyncio.Event()

    async def slow(pty: Pty) -> None:
        assert await pty.receive(8) == rtu_frame(1, bytes.fromhex("06 0001 001e"))
        await late.wait()
        pty.send(rtu_frame(1, bytes.fromhex("03 04 0064 0065")))  # fits the next request: same function and count
        await pty.receive(8)
        pty.send(rtu_frame(1, ANSWER_200))
        await asyncio.Event().wait()

    async with pty_peer(slow) as pty:
        link = ModbusRtuLink(pty.port, timeout=0.05, quarantine=0.5)
        await link.open()
        assert await code_of(link.write_register(1, 1, 30)) == "E-LINK-TIMEOUT"
        asyncio.get_running_loop().call_later(0.05, late.set)
        assert await link.read_holding_registers(1, 200, 2) == [200, 201]
        assert link.reopened == 1
        await link.close()


async def test_rtu_a_cancelled_request_is_quarantined_too() -> None:
    async with pty_peer(rtu_slave(b"", rtu_frame(1, ANSWER_200))) as pty:
        link = ModbusRtuLink(pty.port, timeout=3600.0, quarantine=0.05)
        await link.open()
        task = asyncio.create_task(link.read_holding_registers(1, 100, 2))
        await pty.arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        pty.send(rtu_frame(1, bytes.fromhex("03 04 0064 0065")))
        assert await link.read_holding_registers(1, 200, 2) == [200, 201]
        await link.close()


@pytest.mark.parametrize(
    "garbled",
    [
        rtu_frame(1, ANSWER_200)[:-1] + b"\0",  # bad CRC
        b"\xa5" + rtu_frame(1, ANSWER_200),  # noise in front
        rtu_frame(2, ANSWER_200),  # another unit
        rtu_frame(1, ANSWER_200)[:5],  # torn
    ],
    ids=["crc", "noise", "unit", "torn"],
)
async def test_rtu_a_garbled_answer_is_asked_for_again(garbled: bytes) -> None:
    async with pty_peer(rtu_slave(garbled, rtu_frame(1, ANSWER_200))) as pty:
        link = ModbusRtuLink(pty.port, timeout=0.1)
        await link.open()
        assert await link.read_holding_registers(1, 200, 2) == [200, 201]
        await link.close()


async def test_rtu_unplugging() -> None:
    async with pty_peer(rtu_slave(b"", b"")) as pty:
        link = ModbusRtuLink(pty.port, timeout=3600.0, quarantine=0.0)
        await link.open()
        task = asyncio.create_task(link.write_register(1, 1, 1))
        await pty.arrived.wait()
        pty.unplug()
        assert await code_of(task) == "E-LINK-CLOSED"
        assert await code_of(link.read_holding_registers(1, 200, 2)) == "E-LINK-PORT"
        await link.close()


async def test_rtu_a_busy_port_is_named_and_not_kept_locked_by_the_failed_attempt() -> None:
    async with pty_peer(rtu_slave(rtu_frame(1, ANSWER_200))) as pty:
        owner, other = ModbusRtuLink(pty.port, timeout=TIMEOUT), ModbusRtuLink(pty.port, timeout=TIMEOUT)
        await owner.open()
        assert await code_of(other.open()) == "E-LINK-PORT"
        await owner.close()
        await other.open()
        assert await other.read_holding_registers(1, 200, 2) == [200, 201]
        await other.close()


async def test_rtu_behind_a_serial_server() -> None:
    async def slave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(rtu_frame(1, ANSWER_200))
        await reader.read()

    async with tcp_peer(slave) as port:
        link = ModbusRtuLink(f"socket://127.0.0.1:{port}", timeout=TIMEOUT)
        await link.open()
        assert await link.read_holding_registers(1, 200, 2) == [200, 201]
        await link.close()
