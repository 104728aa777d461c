"""Julabo circulators: queries that answer, settings that do not, and the status that tells what became of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.julabo_cf import JulaboCf
from tests.simulators.fake_world import FakeWorld


class Line:
    """One end of a serial line."""

    def __init__(self, circulator: JulaboCf) -> None:
        self.circulator = circulator
        self.face = circulator.face()

    def say(self, *commands: str) -> str:
        """What the last command is answered, without flow control and line end."""
        answers = [self.face.receive(command.encode() + b"\r") for command in commands]
        assert answers[-1] == b"" or answers[-1].endswith(b"\r\n")
        return answers[-1].translate(None, b"\x11\x13").decode().removesuffix("\r\n")


@pytest.fixture
def line(world: FakeWorld) -> Line:
    return Line(JulaboCf(world))  # type: ignore[arg-type]


def test_a_circulator_at_rest(line: Line) -> None:
    assert line.say("VERSION") == "JULABO CRYOCOMPACT CF31 VERSION 5.0"
    assert line.say("STATUS") == "02 REMOTE STOP"
    assert line.say("IN_PV_00") == "25.00"
    assert [line.say(f"IN_SP_0{number}") for number in range(5)] == ["25.00", "25.00", "25.00", "100.00", "-20.00"]
    assert (line.say("IN_MODE_01"), line.say("IN_MODE_05")) == ("0", "0")


def test_small_letters_and_line_feeds_are_understood(line: Line) -> None:
    assert line.say("\nin_pv_00") == "25.00"


def test_a_command_ends_in_cr_however_it_dribbles_in(line: Line) -> None:
    answers = [line.face.receive(bytes([byte])) for byte in b"IN_SP_00\rIN_SP_0\n"]
    assert b"".join(answers) == b"25.00\r\n"


def test_settings_have_no_answer_and_hold_up_the_next(line: Line) -> None:
    assert line.face.receive(b"OUT_SP_00 15.5\r") == b""
    assert line.face.receive(b"IN_SP_00\r") == b"\x13\x1115.50\r\n"
    assert line.face.receive(b"IN_SP_00\r") == b"15.50\r\n"


class TestBath:
    def test_it_follows_the_selected_set_point_in_line_time(self, line: Line, world: FakeWorld) -> None:
        line.say("OUT_SP_00 35", "OUT_SP_01 5", "OUT_MODE_05 1")
        assert (line.say("STATUS"), line.say("IN_MODE_05")) == ("03 REMOTE START", "1")
        world.time = 60.0
        assert line.say("IN_PV_00") == "26.00", "as fast as it can"
        world.time = 3600.0
        assert line.say("IN_PV_00") == "35.00"
        line.say("OUT_MODE_01 1")
        world.time = 7200.0
        assert line.say("IN_PV_00") == "5.00"

    def test_stopped_it_drifts_to_the_temperature_around_it(self, line: Line, world: FakeWorld) -> None:
        line.say("OUT_SP_00 35", "OUT_MODE_05 1")
        world.time = 3600.0
        line.say("OUT_MODE_05 0")
        assert line.say("STATUS") == "02 REMOTE STOP"
        world.time = 7200.0
        assert 25.0 < float(line.say("IN_PV_00")) < 35.0

    def test_a_new_set_point_does_not_change_what_was(self, line: Line, world: FakeWorld) -> None:
        line.say("OUT_SP_00 35", "OUT_MODE_05 1")
        world.time = 60.0
        line.say("OUT_SP_00 5")
        assert line.say("IN_PV_00") == "26.00"
        world.time = 120.0
        assert line.say("IN_PV_00") == "25.00"


class TestRefusals:
    @pytest.mark.parametrize(
        ("command", "told"),
        [
            ("BOGUS", "-08 INVALID COMMAND"),
            ("IN_PV_09", "-08 INVALID COMMAND"),
            ("OUT_PAR_06 1", "-08 INVALID COMMAND"),
            ("OUT_SP_00", "-08 INVALID COMMAND"),
            ("OUT_SP_00 warm", "-08 INVALID COMMAND"),
            ("OUT_SP_00 100.01", "-11 VALUE TOO LARGE"),
            ("OUT_SP_00 -20.01", "-10 VALUE TOO SMALL"),
            ("OUT_SP_00 nan", "-11 VALUE TOO LARGE"),
            ("OUT_SP_03 24.99", "-10 VALUE TOO SMALL"),
            ("OUT_SP_03 200.01", "-11 VALUE TOO LARGE"),
            ("OUT_SP_04 25.01", "-11 VALUE TOO LARGE"),
            ("OUT_MODE_01 3", "-11 VALUE TOO LARGE"),
            ("OUT_MODE_05 2", "-11 VALUE TOO LARGE"),
        ],
    )
    def test_the_next_status_tells_the_reason_once(self, line: Line, command: str, told: str) -> None:
        assert line.say(command) == ""
        assert line.say("STATUS") == told
        assert line.say("STATUS") == "02 REMOTE STOP"
        assert [line.say(f"IN_SP_0{number}") for number in range(5)] == ["25.00", "25.00", "25.00", "100.00", "-20.00"]

    def test_warning_limits_bound_the_set_points(self, line: Line) -> None:
        line.say("OUT_SP_03 40", "OUT_SP_04 10", "OUT_SP_00 41")
        assert line.say("STATUS") == "-11 VALUE TOO LARGE"
        assert line.say("OUT_SP_00 40", "IN_SP_00") == "40.00"


class TestFaults:
    def test_too_little_liquid_stops_it_until_somebody_starts_it_again(self, line: Line, world: FakeWorld) -> None:
        line.say("OUT_SP_00 35", "OUT_MODE_05 1")
        line.circulator.faults = frozenset({"alarm"})
        assert (line.say("STATUS"), line.say("IN_MODE_05")) == ("-01 LOW LEVEL ALARM", "0")
        assert line.say("OUT_MODE_05 1", "IN_MODE_05") == "0"
        line.circulator.faults = frozenset()
        assert line.say("STATUS").startswith("-09"), "what was refused meanwhile"
        assert line.say("STATUS") == "02 REMOTE STOP"
        assert line.say("OUT_MODE_05 1", "STATUS") == "03 REMOTE START"

    def test_a_broken_sensor(self, line: Line) -> None:
        line.say("OUT_MODE_05 1")
        line.circulator.faults = frozenset({"nan"})
        assert line.say("STATUS") == "-05 WORKING SENSOR ALARM"
        assert line.say("IN_MODE_05") == "0"
        assert line.say("IN_PV_00") == "999.99"

    def test_out_of_remote_control_it_answers_and_takes_nothing(self, line: Line) -> None:
        line.say("OUT_MODE_05 1")
        line.circulator.faults = frozenset({"protected"})
        assert line.say("STATUS") == "01 MANUAL START"
        assert line.say("OUT_MODE_05 0", "STATUS") == "-09 COMMAND NOT ALLOWED IN CURRENT OPERATING MODE"
        assert line.say("OUT_SP_00 30", "IN_SP_00") == "25.00"
        assert line.say("IN_MODE_05") == "1"

    def test_fahrenheit_shows_nowhere_but_in_the_numbers(self, line: Line) -> None:
        line.circulator.faults = frozenset({"fahrenheit"})
        assert line.say("IN_PV_00") == "77.00"
        assert line.say("OUT_SP_00 20", "IN_SP_00") == "20.00"
        line.circulator.faults = frozenset()
        assert line.say("IN_SP_00") == "-6.67"

    def test_another_circulator(self, line: Line) -> None:
        line.circulator.faults = frozenset({"wrong_identity"})
        assert "CF31" not in line.say("VERSION")


class TestAddress:
    @pytest.fixture
    def on_bus(self, world: FakeWorld) -> Line:
        return Line(JulaboCf(world, address=32))  # type: ignore[arg-type]

    def test_it_stands_before_commands_and_answers(self, on_bus: Line) -> None:
        assert on_bus.say("A032_OUT_SP_00 55.5") == ""
        assert on_bus.say("A032_IN_SP_00") == "A032_55.50"

    @pytest.mark.parametrize("command", ["IN_SP_00", "A033_IN_SP_00", "A32_IN_SP_00", "A032IN_SP_00", "A033_BOGUS"])
    def test_what_is_meant_for_others_is_nothing_to_it(self, on_bus: Line, command: str) -> None:
        assert on_bus.say(command) == ""
        assert on_bus.say("A032_STATUS") == "A032_02 REMOTE STOP"

    def test_alone_it_has_none(self, line: Line) -> None:
        assert line.say("A032_IN_SP_00") == ""
        assert line.say("STATUS") == "-08 INVALID COMMAND"


commands = st.builds(
    lambda *parts: " ".join(parts),
    st.sampled_from(["OUT_SP_00", "OUT_SP_01", "OUT_SP_03", "OUT_SP_04", "OUT_MODE_01", "OUT_MODE_05", "IN_PV_00"]),
    st.one_of(st.floats().map(str), st.integers(-60, 220).map(str), st.sampled_from(["", "on", "1"])),
)


@given(st.lists(commands, max_size=20), st.binary(max_size=100))
def test_any_settings_keep_the_set_points_between_the_warnings(lines: list[str], noise: bytes) -> None:
    circulator = JulaboCf(FakeWorld())  # type: ignore[arg-type]
    line = Line(circulator)
    line.face.receive(noise + b"\r")
    for command in lines:
        line.say(command)
        *set_points, high, low = circulator.levels
        assert -50 <= low <= min(set_points) <= max(set_points) <= high <= 200
        assert circulator.selected in (0, 1, 2)
    assert line.say("STATUS")[:3] in ("02 ", "03 ", "-08", "-09", "-10", "-11")
