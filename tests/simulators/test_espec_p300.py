"""ESPEC chambers with the P-300: settings that answer, refusals with their reason, and silence for nobody."""

from __future__ import annotations

import pytest

from simulators.espec_p300 import P300, P300Bus
from tests.simulators.fake_world import FakeWorld


class Line:
    """One end of a serial line."""

    def __init__(self, bus: P300Bus) -> None:
        self.bus = bus
        self.face = bus.face()

    def say(self, *commands: str) -> str:
        answers = [self.face.receive(command.encode() + b"\r\n") for command in commands]
        return answers[-1].decode()


@pytest.fixture
def alone(world: FakeWorld) -> Line:
    """A chamber on RS-232."""
    return Line(P300Bus({None: P300(world)}))  # type: ignore[arg-type]


def test_a_chamber_that_stands_by(alone: Line, world: FakeWorld) -> None:
    world.chamber_degc = 23.44
    assert alone.say("TYPE?") == "T,P300,170.0\r\n"
    assert alone.say("MODE?") == "STANDBY\r\n"
    assert alone.say("MON?") == "23.4,,STANDBY,0\r\n"
    assert alone.say("TEMP?") == "23.4,23.0,100.0,-40.0\r\n"
    assert alone.say("ALARM?") == "0\r\n"
    assert world.set_point is None


def test_conditioning_starts_and_follows_the_set_point(alone: Line, world: FakeWorld) -> None:
    assert alone.say("TEMP, S35.0") == "OK:TEMP, S35.0\r\n"
    assert world.set_point is None, "a set point alone does nothing"
    assert alone.say("MODE, CONSTANT") == "OK:MODE, CONSTANT\r\n"
    assert world.set_point == 35.0
    alone.say("TEMP, S-10.0")
    assert world.set_point == -10.0
    assert alone.say("MON?,DETAIL") == "25.0,,CONSTANT,0\r\n"


@pytest.mark.parametrize(("command", "mode"), [("MODE,STANDBY", "STANDBY"), ("MODE,OFF", "OFF"), ("POWER,OFF", "OFF")])
def test_conditioning_ends(alone: Line, world: FakeWorld, command: str, mode: str) -> None:
    alone.say("MODE,CONSTANT", command)
    assert alone.say("MODE?") == f"{mode}\r\n"
    assert world.set_point is None


def test_power_on_leads_to_standby_and_disturbs_nothing(alone: Line, world: FakeWorld) -> None:
    assert alone.say("POWER,OFF", "POWER,ON", "MODE?") == "STANDBY\r\n"
    assert alone.say("MODE,CONSTANT", "POWER,ON", "MODE?") == "CONSTANT\r\n"
    assert world.set_point == 23.0


def test_set_point_and_limits_in_one_line(alone: Line) -> None:
    assert alone.say("TEMP, S25.0 H60.0 L-20.0") == "OK:TEMP, S25.0 H60.0 L-20.0\r\n"
    assert alone.say("TEMP?") == "25.0,25.0,60.0,-20.0\r\n"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("NONSENSE?", "CMD ERR"),
        ("NONSENSE,1", "CMD ERR"),
        ("", "CMD ERR"),
        ("TEMP", "PARA ERR"),
        ("TEMP, S", "PARA ERR"),
        ("TEMP, Smuch", "PARA ERR"),
        ("TEMP, X25", "PARA ERR"),
        ("TEMP?,ALL", "PARA ERR"),
        ("TEMP, S100.1", "DATA OUT OF RANGE"),
        ("TEMP, S-40.1", "DATA OUT OF RANGE"),
        ("TEMP, Snan", "DATA OUT OF RANGE"),
        ("TEMP, S1e999", "DATA OUT OF RANGE"),
        ("TEMP, H170.1", "DATA OUT OF RANGE"),
        ("TEMP, S50 H40", "DATA OUT OF RANGE"),
        ("MODE,WARM", "PARA ERR"),
        ("MODE,RUN3", "DATA NOT READY"),
        ("PRGM,RUN,RAM:1,STEP1", "DATA NOT READY"),
        ("PRGM,PAUSE", "CONT NOT READY-2"),
        ("PRGM MON?", "CONT NOT READY-2"),
        ("HUMI?", "CONT NOT READY-1"),
        ("HUMI,S50", "CONT NOT READY-1"),
        ("POWER,MAYBE", "PARA ERR"),
        ("1,TEMP?", "ADDR ERR"),
    ],
)
def test_refusals_give_their_reason_and_change_nothing(alone: Line, command: str, reason: str) -> None:
    before = alone.say("TEMP?"), alone.say("MODE?")
    assert alone.say(command) == f"NA:{reason}\r\n"
    assert (alone.say("TEMP?"), alone.say("MODE?")) == before


def test_a_line_ends_in_cr_and_lf_however_it_dribbles_in(alone: Line) -> None:
    answers = [alone.face.receive(bytes([byte])) for byte in b"MODE?\r\nMODE?\n"]
    assert b"".join(answers) == b"STANDBY\r\n"


def test_an_alarm_stops_the_chamber_until_it_is_gone(alone: Line, world: FakeWorld) -> None:
    alone.say("MODE,CONSTANT")
    alone.bus.faults = frozenset({"alarm"})
    assert world.set_point is None
    assert alone.say("MON?") == "25.0,,STANDBY,1\r\n"
    assert alone.say("ALARM?") == "1,8\r\n"
    assert alone.say("MODE,CONSTANT") == "NA:CHB NOT READY\r\n"
    assert alone.say("TEMP, S30") == "OK:TEMP, S30\r\n"
    alone.bus.faults = frozenset()
    assert world.set_point is None, "it does not start again by itself"
    assert alone.say("MODE,CONSTANT") == "OK:MODE,CONSTANT\r\n"


def test_a_chamber_that_is_off_stays_off_in_an_alarm(alone: Line) -> None:
    alone.say("POWER,OFF")
    alone.bus.faults = frozenset({"alarm"})
    assert alone.say("MODE?") == "OFF\r\n"


def test_a_protected_panel_answers_and_takes_nothing(alone: Line, world: FakeWorld) -> None:
    alone.bus.faults = frozenset({"protected"})
    for command in ("TEMP, S30", "MODE,CONSTANT", "POWER,OFF", "PRGM,PAUSE"):
        assert alone.say(command) == "NA:PROTECT ON\r\n"
    assert alone.say("TEMP?") == "25.0,23.0,100.0,-40.0\r\n"
    assert world.set_point is None


def test_another_controller(alone: Line) -> None:
    alone.bus.faults = frozenset({"wrong_identity"})
    assert "P300" not in alone.say("TYPE?")


class TestBus:
    @pytest.fixture
    def worlds(self) -> tuple[FakeWorld, FakeWorld]:
        warm, cold = FakeWorld(), FakeWorld()
        warm.chamber_degc, cold.chamber_degc = 45.0, -10.0
        return warm, cold

    @pytest.fixture
    def bus(self, worlds: tuple[FakeWorld, FakeWorld]) -> Line:
        return Line(P300Bus({1: P300(worlds[0]), 12: P300(worlds[1])}))  # type: ignore[arg-type]

    def test_each_answers_to_its_address(self, bus: Line) -> None:
        assert bus.say("1,MON?") == "45.0,,STANDBY,0\r\n"
        assert bus.say("12,MON?") == "-10.0,,STANDBY,0\r\n"

    def test_each_conditions_its_own_air(self, bus: Line, worlds: tuple[FakeWorld, FakeWorld]) -> None:
        assert bus.say("12,TEMP, S-20.0") == "OK:TEMP, S-20.0\r\n"
        assert bus.say("12,MODE,CONSTANT") == "OK:MODE,CONSTANT\r\n"
        assert bus.say("1,MODE?") == "STANDBY\r\n"
        assert [world.set_point for world in worlds] == [None, -20.0]

    @pytest.mark.parametrize("command", ["2,MON?", "MON?", "0,MON?", ",MON?", "x,MON?", "9999999,MON?", "-1,MON?"])
    def test_nobody_answers_for_an_address_that_is_not_there(self, bus: Line, command: str) -> None:
        assert bus.say(command) == ""
        assert bus.say("1,MODE?") == "STANDBY\r\n"
