"""A VXI-11 core channel, spoken to in the bytes of its specification."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.daq6510_scpi import DaqInstrument
from simulators.faults import FaultBoard, HangupError
from simulators.modbus import FramingError
from simulators.ports import TextPort
from simulators.timeline import Timeline
from simulators.vxi11 import Vxi11Device, Vxi11Stream
from tests.simulators.conftest import Stage
from tests.simulators.fake_world import FakeWorld

CREATE, WRITE, READ, STATUS, TRIGGER, CLEAR, LOCK, UNLOCK, COMMAND, DESTROY = 10, 11, 12, 13, 14, 15, 18, 19, 22, 23
END, TERMINATOR = 8, 0x80
IDENTITY = b"KEITHLEY INSTRUMENTS,MODEL DAQ6510,1,1.7.12b\n"


def padded(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data + bytes(-len(data) % 4)


def record(body: bytes) -> bytes:
    return struct.pack(">I", 0x80000000 | len(body)) + body


def call(procedure: int, arguments: bytes, program: int = 0x0607AF, version: int = 1, rpc: int = 2) -> bytes:
    """A record with one call, transaction 7, without authentication."""
    return record(struct.pack(">10I", 7, 0, rpc, program, version, procedure, 0, 0, 0, 0) + arguments)


@dataclass
class Client:
    """One connection with one link on it."""

    stream: Vxi11Stream
    link: int = field(default=0)

    def ask(self, procedure: int, arguments: bytes) -> tuple[int, bytes]:
        """The error number and the rest of an accepted answer."""
        answer = self.stream.receive(call(procedure, arguments))
        assert answer[:4] == struct.pack(">I", 0x80000000 | len(answer) - 4)
        assert struct.unpack(">6I", answer[4:28]) == (7, 1, 0, 0, 0, 0)
        (error,) = struct.unpack(">I", answer[28:32])
        return error, answer[32:]

    def create(self, name: bytes = b"inst0", lock: int = 0) -> int:
        """The error; the link is kept."""
        error, rest = self.ask(CREATE, struct.pack(">3I", 1, lock, 0) + padded(name))
        self.link, abort_port, size = struct.unpack(">3I", rest)
        assert abort_port == 0
        assert error or size >= 1024
        return error

    def linked(self) -> Client:
        assert self.create() == 0
        return self

    def write(self, data: bytes, flags: int = END) -> tuple[int, int]:
        """The error and how many bytes were taken."""
        error, rest = self.ask(WRITE, struct.pack(">4I", self.link, 0, 0, flags) + padded(data))
        return error, struct.unpack(">I", rest)[0]

    def read(self, size: int = 1000, flags: int = 0, terminator: int = 0) -> tuple[int, int, bytes]:
        """The error, the reason and the data."""
        error, rest = self.ask(READ, struct.pack(">6I", self.link, size, 0, 0, flags, terminator))
        reason, length = struct.unpack(">2I", rest[:8])
        assert len(rest) == 8 + length + -length % 4
        return error, reason, rest[8 : 8 + length]

    def simple(self, procedure: int, words: int = 4) -> int:
        return self.ask(procedure, struct.pack(f">{words}I", self.link, *[0] * (words - 1)))[0]

    def status(self) -> int:
        error, rest = self.ask(STATUS, struct.pack(">4I", self.link, 0, 0, 0))
        assert error == 0
        return int(struct.unpack(">I", rest)[0])


@pytest.fixture
def device(stage: Stage) -> Vxi11Device:
    daq = DaqInstrument(stage.world, "1", [101])  # type: ignore[arg-type]
    board = FaultBoard(daq, [], stage.timeline.now, seed=1)
    stage.play(board)
    return Vxi11Device(TextPort(daq, board, stage.timeline))


@pytest.fixture
def client(device: Vxi11Device) -> Client:
    return Client(Vxi11Stream(device)).linked()


class TestConversation:
    def test_a_query(self, client: Client) -> None:
        assert client.write(b"*IDN?\n") == (0, 6)
        assert client.status() & 0x10, "a message is available"
        assert client.read() == (0, 4, IDENTITY)
        assert not client.status() & 0x10

    def test_the_end_of_a_message_ends_its_line(self, client: Client) -> None:
        client.write(b"*IDN?")
        assert client.read() == (0, 4, IDENTITY)

    def test_a_message_in_pieces(self, client: Client) -> None:
        client.write(b"*ID", flags=0)
        assert client.read()[0] == 15
        client.write(b"N?")
        assert client.read()[2] == IDENTITY

    def test_an_answer_in_pieces(self, client: Client) -> None:
        client.write(b"*IDN?\n")
        assert client.read(size=8) == (0, 1, b"KEITHLEY")
        assert client.read(flags=TERMINATOR, terminator=ord(",")) == (0, 2, b" INSTRUMENTS,")
        rest = IDENTITY[21:]
        assert client.read(size=len(rest)) == (0, 1 | 4, rest)

    def test_nothing_to_read_is_a_timeout(self, client: Client) -> None:
        client.write(b"BOGUS\n")
        assert client.read() == (15, 0, b"")
        assert client.status() & 4, "an error waits"

    def test_a_new_message_discards_the_answer_before(self, client: Client) -> None:
        client.write(b"*IDN?\n")
        client.write(b"*LANG?\n")
        assert client.read()[2] == b"SCPI\n"

    def test_a_clear_forgets_what_was_begun_and_not_read(self, client: Client) -> None:
        client.write(b"*IDN?\n")
        client.write(b"BOG", flags=0)
        assert client.simple(CLEAR) == 0
        assert client.read()[0] == 15
        client.write(b"*LANG?\n")
        assert client.read()[2] == b"SCPI\n"

    def test_messages_are_bounded(self, client: Client) -> None:
        assert client.write(b"x" * 16384, flags=0)[0] == 0
        assert client.write(b"x" * 16385)[0] == 5
        assert [client.write(b"x" * 16384, flags=0)[0] for _ in range(4)] == [0, 0, 0, 5]
        client.write(b"*LANG?\n")
        assert client.read()[2] == b"SCPI\n"


class TestLinks:
    def test_another_name_is_not_accessible(self, client: Client) -> None:
        assert client.create(b"gpib0,5") == 3

    def test_a_link_that_is_not_there(self, client: Client) -> None:
        assert client.simple(DESTROY, 1) == 0
        assert client.simple(DESTROY, 1) == 4
        assert (client.write(b"x")[0], client.read()[0], client.simple(CLEAR)) == (4, 4, 4)

    def test_their_number_is_bounded(self, client: Client) -> None:
        assert [client.create() for _ in range(16)] == [0] * 15 + [9]

    def test_a_locked_device_refuses_others(self, device: Vxi11Device, client: Client) -> None:
        other = Client(Vxi11Stream(device)).linked()
        assert client.simple(UNLOCK, 1) == 12
        assert client.simple(LOCK, 3) == 0
        assert client.simple(LOCK, 3) == 11
        assert (other.write(b"x")[0], other.read()[0], other.simple(LOCK, 3), other.create(lock=1)) == (11, 11, 11, 11)
        assert client.write(b"*LANG?")[0] == 0
        assert client.simple(UNLOCK, 1) == 0
        assert other.linked().simple(LOCK, 3) == 0

    def test_a_lock_ends_with_its_connection(self, device: Vxi11Device, client: Client) -> None:
        assert client.create(lock=1) == 0
        client.stream.close()
        assert Client(Vxi11Stream(device)).linked().simple(LOCK, 3) == 0

    @pytest.mark.parametrize("procedure", [TRIGGER, 16, 17, 20, COMMAND, 25, 26])
    def test_what_is_not_supported(self, client: Client, procedure: int) -> None:
        assert client.simple(procedure) == 8


class TestRpc:
    @pytest.mark.parametrize(
        ("request_", "tail"),
        [
            (call(0, b""), (1, 0, 0, 0, 0)),
            (call(99, b""), (1, 0, 0, 0, 3)),
            (call(READ, b"\0\0\0\1"), (1, 0, 0, 0, 4)),
            (call(WRITE, struct.pack(">5I", 1, 0, 0, 8, 0xFFFFFFFF)), (1, 0, 0, 0, 4)),
            (call(0, b"", program=100000), (1, 0, 0, 0, 1)),
            (call(0, b"", version=2), (1, 0, 0, 0, 2, 1, 1)),
            (call(0, b"", rpc=3), (1, 1, 0, 2, 2)),
        ],
    )
    def test_what_is_refused(self, client: Client, request_: bytes, tail: tuple[int, ...]) -> None:
        assert client.stream.receive(request_) == record(struct.pack(f">{1 + len(tail)}I", 7, *tail))

    def test_fragments_and_dribbling_bytes(self, client: Client) -> None:
        whole = call(0, b"")[4:]
        fragments = struct.pack(">I", 20) + whole[:20] + struct.pack(">I", 0x80000000 | 20) + whole[20:]
        answers = [client.stream.receive(bytes([byte])) for byte in fragments]
        assert b"".join(answers) == client.stream.receive(call(0, b""))

    @pytest.mark.parametrize(
        "data", [b"GET / HTTP/1.1\r\n\r\n", record(b"\0" * 8), record(struct.pack(">2I", 7, 1)), b"\x7f\xff\xff\xff"]
    )
    def test_what_is_not_rpc_is_hung_up_on(self, client: Client, data: bytes) -> None:
        with pytest.raises(FramingError):
            client.stream.receive(data)


class TestFaults:
    def test_a_silent_device(self, device: Vxi11Device, client: Client) -> None:
        device.port.board.set("silent")
        assert client.stream.receive(call(0, b"")) == b""
        device.port.board.set("silent", False)
        assert client.write(b"*LANG?") == (0, 6)

    @pytest.mark.parametrize("kind", ["drop", "refuse"])
    def test_a_connection_that_is_closed(self, device: Vxi11Device, client: Client, kind: str) -> None:
        device.port.board.set(kind)  # type: ignore[arg-type]
        with pytest.raises(HangupError):
            client.stream.receive(call(0, b""))

    def test_a_late_answer(self, device: Vxi11Device, client: Client) -> None:
        device.port.board.set("late")
        client.write(b"*LANG?")
        assert client.read()[0] == 15
        client.write(b"*IDN?")
        assert client.read()[2] == b"SCPI\n"


def fuzzed() -> Vxi11Stream:
    timeline = Timeline(lambda: 0.0)
    daq = DaqInstrument(FakeWorld(), "1", [101])  # type: ignore[arg-type]
    return Vxi11Stream(Vxi11Device(TextPort(daq, FaultBoard(daq, [], timeline.now, seed=1), timeline)))


words = st.one_of(st.integers(0, 0xFFFFFFFF), st.integers(0, 30))
arguments = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda numbers, data: struct.pack(f">{len(numbers)}I", *numbers) + padded(data), st.lists(words), st.binary()
    ),
)
calls = st.builds(call, st.integers(0, 30), arguments)
pieces = st.lists(st.one_of(st.binary(max_size=300), st.builds(record, st.binary(max_size=300)), calls), max_size=20)


@given(pieces)
def test_any_bytes_are_answered_or_hung_up_on(parts: list[bytes]) -> None:
    stream = fuzzed()
    answers = b""
    try:
        stream.receive(call(CREATE, struct.pack(">3I", 1, 0, 0) + padded(b"inst0")))
        for part in parts:
            answers += stream.receive(part)
    except FramingError:
        pass
    while answers:
        (mark,) = struct.unpack(">I", answers[:4])
        assert mark & 0x80000000
        size = mark & 0x7FFFFFFF
        assert len(answers) >= 4 + size
        answers = answers[4 + size :]
