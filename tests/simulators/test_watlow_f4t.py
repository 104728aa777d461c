"""Watlow F4T: the guide's registers, low word first, and what the chamber does."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.watlow_f4t import F4t
from tests.simulators.fake_world import FakeWorld

AUTO, MANUAL, OFF, ON = 10, 54, 62, 63
MODE, SET_POINT, ACTIVE, PROCESS, ALARM, UNIT, PROFILE = 2730, 2782, 2810, 2820, 1356, 6730, 16568


@dataclass
class Client:
    """Registers by their type, and refusals by their exception."""

    f4t: F4t
    unit: int = 1

    def ask(self, pdu: bytes) -> bytes:
        answer = self.f4t.respond(self.unit, pdu)
        assert answer is not None
        return answer

    def words(self, address: int, count: int) -> tuple[int, ...]:
        answer = self.ask(struct.pack(">BHH", 3, address, count))
        assert answer[:2] == bytes([3, 2 * count]), answer
        return struct.unpack(f">{count}H", answer[2:])

    def word(self, address: int) -> int:
        return self.words(address, 1)[0]

    def float(self, address: int) -> float:
        low, high = self.words(address, 2)
        value: float = struct.unpack(">f", struct.pack(">HH", high, low))[0]
        return value

    def write_word(self, address: int, value: int) -> int:
        """0, or the exception."""
        answer = self.ask(struct.pack(">BHH", 6, address, value))
        return answer[1] if answer[0] == 0x86 else 0

    def write_float(self, address: int, value: float) -> int:
        high, low = struct.unpack(">HH", struct.pack(">f", value))
        answer = self.ask(struct.pack(">BHHBHH", 16, address, 2, 4, low, high))
        return answer[1] if answer[0] == 0x90 else 0


@pytest.fixture
def client(world: FakeWorld) -> Client:
    return Client(F4t(world))  # type: ignore[arg-type]


def test_25_degrees_have_their_low_word_first(client: Client, world: FakeWorld) -> None:
    world.chamber_degc = 25.0
    assert client.ask(bytes.fromhex("03 0B04 0002")) == bytes.fromhex("03 04 0000 41C8")
    assert client.ask(bytes.fromhex("10 0ADE 0002 04 0000 41C8")) == bytes.fromhex("10 0ADE 0002")
    assert client.float(SET_POINT) == 25.0


def test_who_it_is(client: Client) -> None:
    assert client.words(0, 2) == (124, 0)
    assert bytes(client.words(16, 15)) == b"F4T1L1AAA1B1AAA"
    assert (client.word(90), client.word(UNIT), client.word(PROFILE)) == (138, 15, 251)


def test_nobody_answers_for_another_unit(client: Client) -> None:
    assert client.f4t.respond(2, bytes.fromhex("03 0000 0002")) is None


class TestConditioning:
    def test_a_chamber_at_rest(self, client: Client, world: FakeWorld) -> None:
        assert (client.word(MODE), client.word(2814)) == (OFF, OFF)
        assert (client.float(2774), client.float(2776)) == (-70.0, 180.0)
        assert world.set_point is None

    def test_it_follows_its_set_point_in_auto(self, client: Client, world: FakeWorld) -> None:
        client.write_float(SET_POINT, 35.5)
        assert world.set_point is None, "a set point alone does nothing"
        assert client.write_word(MODE, AUTO) == 0
        assert (world.set_point, client.float(ACTIVE)) == (35.5, 35.5)
        client.write_float(SET_POINT, -10.0)
        assert world.set_point == -10.0
        client.write_word(MODE, OFF)
        assert world.set_point is None

    def test_manual_power_is_not_conditioning(self, client: Client, world: FakeWorld) -> None:
        client.write_word(MODE, MANUAL)
        assert (client.word(MODE), world.set_point) == (MANUAL, None)

    def test_a_machine_that_an_event_enables(self, world: FakeWorld) -> None:
        client = Client(F4t(world, event=5))  # type: ignore[arg-type]
        client.write_word(MODE, AUTO)
        assert world.set_point is None
        assert client.write_word(16822, ON) == 0
        assert (client.word(16822), client.word(16594), world.set_point) == (ON, OFF, 23.0)
        client.write_word(16822, OFF)
        assert world.set_point is None

    def test_one_of_four_loops_heats(self, world: FakeWorld) -> None:
        client = Client(F4t(world, unit=7, loop=2), unit=7)  # type: ignore[arg-type]
        client.write_word(MODE, AUTO)
        assert world.set_point is None
        client.write_float(SET_POINT + 160, 40.0)
        client.write_word(MODE + 160, AUTO)
        assert world.set_point == 40.0
        assert client.float(PROCESS + 480) == client.float(PROCESS) == 25.0


class TestRefusals:
    @pytest.mark.parametrize(
        ("pdu", "exception"),
        [
            ("03 0001 0002", 2),
            ("03 0020 0001", 2),
            ("03 0AAA 0002", 2),
            ("06 0ADE 41C8", 2),
            ("06 0ADF 41C8", 2),
            ("06 0B04 0000", 2),
            ("06 0000 0000", 2),
            ("10 0ADE 0001 02 0000", 2),
            ("06 0AAA 0000", 3),
            ("06 40D2 0001", 3),
            ("10 0ADE 0002 04 0000 7FC0", 3),
            ("10 0ADE 0002 04 0000 4348", 3),
            ("04 0000 0002", 1),
            ("01 0000 0001", 1),
        ],
    )
    def test_what_is_refused_changes_nothing(self, client: Client, pdu: str, exception: int) -> None:
        before = client.word(MODE), client.float(SET_POINT)
        function = bytes.fromhex(pdu)[0]
        assert client.ask(bytes.fromhex(pdu)) == bytes([function | 0x80, exception])
        assert (client.word(MODE), client.float(SET_POINT)) == before


class TestProfile:
    def test_it_holds_every_loop_until_it_is_terminated(self, client: Client, world: FakeWorld) -> None:
        client.write_float(SET_POINT, 40.0)
        client.write_word(MODE, AUTO)
        assert client.write_word(16562, 1782) == 3, "no number yet"
        assert client.write_word(16558, 1) == 0
        assert client.write_word(16562, 1782) == 0
        assert (client.word(PROFILE), client.float(ACTIVE), world.set_point) == (149, 23.0, 23.0)
        assert client.float(SET_POINT) == 40.0
        assert client.write_word(16562, 1782) == 3, "it runs"
        assert (client.write_word(16566, 146), client.word(PROFILE)) == (0, 146)
        assert (client.write_word(16564, 147), client.word(PROFILE)) == (0, 149)
        assert (client.write_word(16566, 148), client.word(PROFILE)) == (0, 251)
        assert world.set_point == 40.0
        assert client.write_word(16566, 148) == 3

    def test_there_is_one(self, client: Client) -> None:
        assert client.write_word(16558, 2) == 3


class TestFaults:
    def test_an_alarm_cuts_the_outputs_for_as_long_as_it_is_there(self, client: Client, world: FakeWorld) -> None:
        client.write_word(MODE, AUTO)
        client.f4t.faults = frozenset({"alarm"})
        assert (client.word(ALARM), client.word(MODE), world.set_point) == (7, AUTO, None)
        client.f4t.faults = frozenset()
        assert (client.word(ALARM), world.set_point) == (61, 23.0)

    def test_other_alarms_are_unused(self, client: Client) -> None:
        client.f4t.faults = frozenset({"alarm"})
        assert [client.word(ALARM + 100 * number) for number in range(6)] == [7, 61, 61, 61, 61, 61]

    def test_a_broken_sensor(self, client: Client, world: FakeWorld) -> None:
        client.write_word(MODE, AUTO)
        client.f4t.faults = frozenset({"nan"})
        assert math.isnan(client.float(PROCESS))
        assert (client.word(ALARM), world.set_point) == (28, None)

    def test_the_other_order_of_words(self, client: Client, world: FakeWorld) -> None:
        client.f4t.faults = frozenset({"word_order"})
        assert client.words(PROCESS, 2) == (0x41C8, 0x0000)
        assert client.words(0, 2) == (0, 124)
        assert client.ask(bytes.fromhex("10 0ADE 0002 04 420C 0000"))[0] == 16
        client.write_word(MODE, AUTO)
        assert world.set_point == 35.0

    def test_fahrenheit(self, client: Client, world: FakeWorld) -> None:
        client.f4t.faults = frozenset({"fahrenheit"})
        assert (client.word(UNIT), client.float(PROCESS), client.float(2774)) == (30, 77.0, -94.0)
        client.write_float(SET_POINT, 95.0)
        client.write_word(MODE, AUTO)
        assert world.set_point == pytest.approx(35.0)

    def test_another_controller(self, client: Client) -> None:
        client.f4t.faults = frozenset({"wrong_identity"})
        assert client.words(0, 2) != (124, 0)
        assert not bytes(client.words(16, 15)).startswith(b"F4T")


writes = st.one_of(
    st.builds(
        lambda address, word: struct.pack(">BHH", 6, address, word),
        st.sampled_from([MODE, MODE + 160, 16594, 16558, 16562, 16564, 16566, SET_POINT]),
        st.one_of(st.integers(0, 0xFFFF), st.sampled_from([AUTO, OFF, ON, 1, 1782, 146, 147, 148])),
    ),
    st.builds(
        lambda address, raw: struct.pack(">BHHB", 16, address, 2, 4) + raw,
        st.sampled_from([SET_POINT, SET_POINT + 160, ACTIVE]),
        st.binary(min_size=4, max_size=4),
    ),
)


@given(st.lists(writes, max_size=20))
def test_any_settings_keep_the_air_inside_the_range(pdus: list[bytes]) -> None:
    world = FakeWorld()
    f4t = F4t(world, event=1)  # type: ignore[arg-type]
    for pdu in pdus:
        answer = f4t.respond(1, pdu)
        assert answer is not None
        assert answer[0] == pdu[0] or answer[1] in (2, 3)
        assert world.set_point is None or -70 <= world.set_point <= 180
        assert (world.set_point is None) == (f4t.loops[0].mode != AUTO or f4t.events[0] != ON)
