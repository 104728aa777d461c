"""HiSLIP sessions, spoken to in the bytes of IVI-6.1."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.faults import FaultBoard, HangupError
from simulators.hislip import FatalError, HislipDevice, HislipStream
from simulators.keysight_34461a import KeysightInstrument
from simulators.ports import TextPort
from simulators.timeline import Timeline
from tests.simulators.conftest import Stage
from tests.simulators.fake_world import FakeWorld

INITIALIZE, INITIALIZE_RESPONSE, FATAL, ERROR, LOCK, LOCK_RESPONSE, DATA, DATA_END = range(8)
CLEAR_COMPLETE, CLEAR_ACKNOWLEDGE, REMOTE, REMOTE_RESPONSE, TRIGGER, INTERRUPTED, ASYNC_INTERRUPTED = range(8, 15)
MAX_SIZE, MAX_SIZE_RESPONSE, ASYNC_INITIALIZE, ASYNC_INITIALIZE_RESPONSE, ASYNC_CLEAR = range(15, 20)
STATUS, STATUS_RESPONSE, ASYNC_CLEAR_ACKNOWLEDGE, LOCK_INFO, LOCK_INFO_RESPONSE = range(21, 26)
FIRST = 0xFFFFFF00
IDENTITY = b"Keysight Technologies,34461A,MY1,A.02.17-02.40-02.17-00.52-04-02\n"

Said = tuple[int, int, int, bytes]


def message(kind: int, control: int = 0, parameter: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">2sBBIQ", b"HS", kind, control, parameter, len(payload)) + payload


def messages(data: bytes) -> list[Said]:
    """What an answer consists of: type, control, parameter and payload."""
    found = []
    while data:
        prologue, kind, control, parameter, size = struct.unpack_from(">2sBBIQ", data)
        assert prologue == b"HS"
        assert len(data) >= 16 + size
        found.append((kind, control, parameter, data[16 : 16 + size]))
        data = data[16 + size :]
    return found


class Client:
    """The two connections of one session."""

    def __init__(self, device: HislipDevice) -> None:
        self.sync, self.async_ = HislipStream(device), HislipStream(device)
        ((kind, control, parameter, _),) = messages(
            self.sync.receive(message(INITIALIZE, 0, 0x0100 << 16 | 0x4556, b"hislip0"))
        )
        assert (kind, control, parameter >> 16) == (INITIALIZE_RESPONSE, 0, 0x0100), "synchronized, version 1.0"
        self.session = parameter & 0xFFFF
        self.number = FIRST - 2

    def opened(self) -> Client:
        assert self.tell(ASYNC_INITIALIZE, parameter=self.session)[0][0] == ASYNC_INITIALIZE_RESPONSE
        return self

    def tell(self, kind: int, control: int = 0, parameter: int = 0, payload: bytes = b"") -> list[Said]:
        """On the asynchronous connection."""
        return messages(self.async_.receive(message(kind, control, parameter, payload)))

    def send(self, payload: bytes, kind: int = DATA_END, read: bool = True) -> list[Said]:
        """On the synchronous connection; `read` says that the answer before was."""
        self.number += 2
        return messages(self.sync.receive(message(kind, int(read), self.number, payload)))

    def ask(self, payload: bytes) -> bytes:
        ((kind, control, parameter, answer),) = self.send(payload)
        assert (kind, control, parameter) == (DATA_END, 0, self.number)
        return answer

    def status(self, read: bool = False) -> int:
        ((kind, control, _, _),) = self.tell(STATUS, int(read), self.number + 2)
        assert kind == STATUS_RESPONSE
        return control


@pytest.fixture
def device(stage: Stage) -> HislipDevice:
    meter = KeysightInstrument(stage.world, "MY1", seed=1)  # type: ignore[arg-type]
    board = FaultBoard(meter, [], stage.timeline.now, seed=1)
    stage.play(board)
    return HislipDevice(TextPort(meter, board, stage.timeline))


@pytest.fixture
def client(device: HislipDevice) -> Client:
    return Client(device).opened()


class TestConversation:
    def test_an_answer_carries_the_number_of_its_question(self, client: Client) -> None:
        assert client.send(b"*IDN?\n") == [(DATA_END, 0, FIRST, IDENTITY)]
        assert client.send(b"FUNC?\n") == [(DATA_END, 0, FIRST + 2, b'"VOLT"\n')]

    def test_the_end_of_a_message_ends_its_line(self, client: Client) -> None:
        assert client.ask(b"*IDN?") == IDENTITY

    def test_a_message_in_pieces_and_dribbling_bytes(self, client: Client) -> None:
        assert client.send(b"*ID", DATA) == []
        assert client.ask(b"N?") == IDENTITY
        whole = message(DATA_END, 1, FIRST, b"*IDN?\n")
        assert b"".join(client.sync.receive(bytes([byte])) for byte in whole).endswith(IDENTITY)

    def test_a_long_answer_comes_in_pieces_of_the_clients_size(self, client: Client) -> None:
        ((kind, _, _, size),) = client.tell(MAX_SIZE, payload=struct.pack(">Q", 16 + 20))
        assert (kind, int.from_bytes(size, "big")) == (MAX_SIZE_RESPONSE, 65536)
        answer = client.send(b"*IDN?\n")
        assert [kind for kind, *_ in answer] == [DATA, DATA, DATA, DATA_END]
        assert {number for _, _, number, _ in answer} == {client.number}
        assert [len(payload) for *_, payload in answer] == [20, 20, 20, len(IDENTITY) - 60]
        assert b"".join(payload for *_, payload in answer) == IDENTITY

    def test_the_status_byte_says_that_an_answer_waits_and_that_errors_do(self, client: Client) -> None:
        client.send(b"*IDN?\n")
        assert client.status() == 0x10
        assert client.status(read=True) == 0
        assert client.send(b"BOGUS?\n") == []
        assert client.status() == 4

    def test_a_message_before_the_answer_was_read_interrupts_it_on_both_connections(self, client: Client) -> None:
        client.send(b"*IDN?\n")
        answer = client.send(b"FUNC?\n", read=False)
        assert answer == [(INTERRUPTED, 0, client.number, b""), (DATA_END, 0, client.number, b'"VOLT"\n')]
        assert messages(client.async_.unasked()) == [(ASYNC_INTERRUPTED, 0, client.number, b"")]
        assert client.async_.unasked() == b""
        assert len(client.send(b"FUNC?\n", read=True)) == 1

    def test_a_clear_forgets_what_was_begun_and_not_read(self, client: Client) -> None:
        client.send(b"*IDN?\n")
        client.send(b"BOG", DATA)
        assert client.tell(ASYNC_CLEAR) == [(ASYNC_CLEAR_ACKNOWLEDGE, 0, 0, b"")]
        assert messages(client.sync.receive(message(CLEAR_COMPLETE))) == [(CLEAR_ACKNOWLEDGE, 0, 0, b"")]
        assert client.status() == 0
        assert client.ask(b"*IDN?\n") == IDENTITY

    def test_a_trigger_is_the_buss(self, client: Client) -> None:
        client.send(b"TRIG:SOUR BUS;:INIT\n")
        assert client.send(b"", TRIGGER) == []
        assert float(client.ask(b"FETC?\n")) == pytest.approx(96 * 3.7, rel=1e-4)

    def test_remote_control_is_acknowledged(self, client: Client) -> None:
        assert client.tell(REMOTE, 1) == [(REMOTE_RESPONSE, 0, 0, b"")]

    def test_messages_are_bounded(self, client: Client) -> None:
        ((kind, control, _, text),) = client.send(b"x" * 65537)
        assert (kind, control, text) == (ERROR, 4, b"Message too large")
        assert client.send(b"x" * 65536, DATA) == []
        assert client.send(b"x", DATA)[0][:2] == (ERROR, 4)
        assert client.ask(b"*IDN?\n") == IDENTITY

    def test_more_than_fits_a_message_is_skipped_however_long(self, client: Client) -> None:
        huge = struct.pack(">2sBBIQ", b"HS", DATA_END, 0, FIRST, 200_000)
        assert client.sync.receive(huge + b"x" * 100_000)[:3] == b"HS\x03"
        assert client.sync.receive(b"x" * 100_000) == b""
        assert client.ask(b"*IDN?\n") == IDENTITY


class TestSessions:
    def test_each_client_has_its_own(self, device: HislipDevice, client: Client) -> None:
        other = Client(device).opened()
        assert other.session != client.session
        client.send(b"*IDN?\n")
        assert (client.status(), other.status()) == (0x10, 0)

    def test_messages_need_both_connections(self, device: HislipDevice) -> None:
        with pytest.raises(FatalError) as error:
            Client(device).send(b"*IDN?\n")
        assert messages(error.value.farewell)[0][:2] == (FATAL, 2)

    @pytest.mark.parametrize(
        "first",
        [
            message(INITIALIZE, 0, 0x01004556, b"hislip1"),
            message(ASYNC_INITIALIZE, 0, 999),
            message(DATA_END, 0, FIRST, b"*IDN?\n"),
        ],
    )
    def test_what_does_not_begin_a_session(self, device: HislipDevice, first: bytes) -> None:
        with pytest.raises(FatalError) as error:
            HislipStream(device).receive(first)
        assert messages(error.value.farewell) == [(FATAL, 3, 0, b"Invalid initialization sequence")]

    def test_a_third_connection_does_not_fit(self, device: HislipDevice, client: Client) -> None:
        with pytest.raises(FatalError):
            HislipStream(device).receive(message(ASYNC_INITIALIZE, 0, client.session))

    def test_their_number_is_bounded(self, device: HislipDevice) -> None:
        clients = [Client(device) for _ in range(16)]
        with pytest.raises(FatalError) as error:
            Client(device)
        assert messages(error.value.farewell)[0][:2] == (FATAL, 4)
        clients[0].sync.close()
        Client(device).opened()

    def test_one_connection_ends_with_the_other(self, client: Client) -> None:
        client.sync.close()
        with pytest.raises(HangupError):
            client.async_.unasked()
        with pytest.raises(HangupError):
            client.tell(STATUS)

    def test_a_locked_device_does_not_hear_others(self, device: HislipDevice, client: Client) -> None:
        other = Client(device).opened()
        assert client.tell(LOCK, 1) == [(LOCK_RESPONSE, 1, 0, b"")]
        assert other.tell(LOCK, 1) == [(LOCK_RESPONSE, 0, 0, b"")]
        assert other.tell(LOCK_INFO) == [(LOCK_INFO_RESPONSE, 1, 1, b"")]
        assert other.send(b"*IDN?\n") == []
        assert client.ask(b"*IDN?\n") == IDENTITY
        assert other.tell(LOCK, 0) == [(LOCK_RESPONSE, 3, 0, b"")]
        assert client.tell(LOCK, 0) == [(LOCK_RESPONSE, 1, 0, b"")]
        assert other.ask(b"*IDN?\n") == IDENTITY

    def test_a_lock_ends_with_its_session(self, device: HislipDevice, client: Client) -> None:
        client.tell(LOCK, 1)
        client.async_.close()
        assert Client(device).opened().tell(LOCK, 1) == [(LOCK_RESPONSE, 1, 0, b"")]

    def test_there_are_no_shared_locks(self, client: Client) -> None:
        assert client.tell(LOCK, 1, payload=b"ours") == [(LOCK_RESPONSE, 3, 0, b"")]

    @pytest.mark.parametrize("kind", [STATUS, ASYNC_CLEAR, 26, 77, 200])
    def test_messages_that_are_not_this_connections(self, client: Client, kind: int) -> None:
        ((answer, control, _, text),) = messages(client.sync.receive(message(kind)))
        assert (answer, control, text) == (ERROR, 1, b"Unrecognized message type")
        assert client.ask(b"*IDN?\n") == IDENTITY

    @pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"*IDN?\n" * 3])
    def test_what_is_not_hislip_is_told_so_and_hung_up_on(self, client: Client, data: bytes) -> None:
        with pytest.raises(FatalError) as error:
            client.sync.receive(data)
        assert messages(error.value.farewell)[0][:2] == (FATAL, 1)


class TestFaults:
    def test_a_late_answer_keeps_its_number(self, device: HislipDevice, client: Client) -> None:
        device.port.board.set("late")
        assert client.send(b"*IDN?\n") == []
        assert client.send(b"FUNC?\n") == [(DATA_END, 0, FIRST, IDENTITY)]
        device.port.board.set("late", False)
        assert [number for _, _, number, _ in client.send(b"VOLT:NPLC?\n")] == [FIRST + 2, FIRST + 4]

    def test_garbage_is_in_a_whole_message(self, device: HislipDevice, client: Client) -> None:
        device.port.board.set("garbage")
        answer = client.ask(b"*IDN?\n")
        assert answer != IDENTITY
        assert (len(answer), answer[-1:]) == (len(IDENTITY), b"\n")

    def test_a_silent_device(self, device: HislipDevice, client: Client) -> None:
        device.port.board.set("silent")
        assert client.send(b"VOLT:NPLC 1\n") == []
        assert client.tell(STATUS) == []
        device.port.board.set("silent", False)
        assert client.ask(b"VOLT:NPLC?\n") == b"+1.00000000E+01\n"

    @pytest.mark.parametrize("kind", ["drop", "refuse"])
    def test_a_connection_that_is_closed(self, device: HislipDevice, client: Client, kind: str) -> None:
        device.port.board.set(kind)  # type: ignore[arg-type]
        for stream in (client.sync, client.async_, HislipStream(device)):
            with pytest.raises(HangupError):
                stream.receive(message(STATUS))


def fuzzed() -> HislipDevice:
    timeline = Timeline(lambda: 0.0)
    meter = KeysightInstrument(FakeWorld(), "1", 1)  # type: ignore[arg-type]
    return HislipDevice(TextPort(meter, FaultBoard(meter, [], timeline.now, seed=1), timeline))


parts = st.lists(
    st.tuples(
        st.booleans(),
        st.one_of(
            st.binary(max_size=40),
            st.builds(
                message,
                st.integers(0, 30),
                st.integers(0, 255),
                st.integers(0, 0xFFFFFFFF),
                st.one_of(st.binary(max_size=40), st.sampled_from([b"*IDN?\n", b"hislip0", b"READ?"])),
            ),
        ),
    ),
    max_size=20,
)


@given(parts, st.booleans())
def test_any_bytes_are_answered_in_messages_or_hung_up_on(pieces: list[tuple[bool, bytes]], is_open: bool) -> None:
    device = fuzzed()
    client = Client(device).opened()
    streams = (client.sync, client.async_) if is_open else (HislipStream(device), HislipStream(device))
    for is_sync, data in pieces:
        try:
            messages(streams[is_sync].receive(data))
        except FatalError as error:
            messages(error.farewell)
            return
