"""The Delta SM15K as its Ethernet manual describes it, at a world that is only a battery's terminals."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.sm15k import Setting
from simulators.sm15k_scpi import Sm15kInstrument
from simulators.world import Source, World
from tests.simulators.conftest import Stage
from tests.simulators.fake_world import FakeWorld

NOTHING = "0,None"


class Bench:
    def __init__(self, world: FakeWorld, units: int = 1) -> None:
        self.world = world
        self.instrument = Sm15kInstrument(cast(World, world), "000012345678", units=units)
        self.device = self.instrument.device
        self._face = self.instrument.face()

    def __call__(self, *lines: str) -> str:
        """Say these lines; what was answered to all of them."""
        return self._face.receive("".join(f"{line}\n" for line in lines).encode()).decode().rstrip("\n")

    def remote(self) -> Bench:
        self(*(f"SYST:REM:{control} eth" for control in ("CV", "CC", "CP")))
        return self


@pytest.fixture
def supply(world: FakeWorld) -> Bench:
    return Bench(world)


# ------------------------------------------------------------------------------------------------------- conventions


@pytest.mark.parametrize(
    "line", ["sour:vol 5", "source:volt 5", "source:voltage 5", "sour:voltage 5", "SoUrCe:VoLt 5", "SOURce:VOLtage 5\r"]
)
def test_every_spelling_of_the_manual_sets_the_voltage(supply: Bench, line: str) -> None:
    assert supply.remote()(line, "SOURce:VOLtage?", "SYSTem:ERRor?") == f"5.0000\n{NOTHING}"


@pytest.mark.parametrize("line", ["so:vol 5", "source:volts 5", "voltage 5", "SOURce:VOLtage", "SOURce:VOLtage 1,2"])
def test_what_is_none_of_them_is_an_error_and_sets_nothing(supply: Bench, line: str) -> None:
    supply.remote()
    assert supply(line, "SOURce:VOLtage?") == "0.0000"
    assert supply("SYSTem:ERRor?") != NOTHING
    assert supply("SYSTem:ERRor?") == NOTHING


def test_a_query_with_an_error_gets_no_answer(supply: Bench) -> None:
    assert supply("SOURce:VOLTS?") == ""


def test_the_queue_holds_ten_errors_and_loses_the_newest(supply: Bench) -> None:
    supply(*["BOGUS"] * 10, "OUTPut 7", "OUTPut 7")
    told = [supply("SYSTem:ERRor?") for _ in range(11)]
    assert told == ["-113,Unknown command"] * 10 + [NOTHING]


def test_cls_empties_the_queue(supply: Bench) -> None:
    assert supply("BOGUS", "*CLS", "SYSTem:ERRor?") == NOTHING


# ---------------------------------------------------------------------------------------------------------- settings


def test_maxima_are_whole_numbers_and_negative_where_current_flows_in(supply: Bench) -> None:
    asked = [f"SOURce:{setting.value}:MAXimum?" for setting in Setting]
    assert supply(*asked).split("\n") == ["500", "90", "-90", "15000", "-15000"]


def test_units_in_parallel_carry_their_sum(world: FakeWorld) -> None:
    three = Bench(world, units=3)
    assert three("SYSTem:INTerface:MASterslave:STAtus UNITS?", "SOUR:CUR:MAX?", "SOUR:POW:MAX?") == "3\n270\n45000"


@pytest.mark.parametrize("line", ["SOUR:VOL 500.1", "SOUR:CUR 90.1", "SOUR:CUR:NEG 5", "SOUR:CUR:NEG -90.1"])
def test_what_is_beyond_a_rating_is_refused(supply: Bench, line: str) -> None:
    assert supply.remote()(line, "SYSTem:ERRor?").startswith("-221,")


def test_nothing_is_set_from_ethernet_while_the_front_panel_has_control(supply: Bench) -> None:
    assert supply("SOUR:VOL 5", "SYSTem:REMote:CV?", "SOUR:VOL?", "SYST:ERR?").split("\n") == [
        "Front",
        "0.0000",
        "-221,Illegal setting: not controlled from Ethernet",
    ]


def test_a_limit_holds_what_is_set_and_what_is_set_later(supply: Bench) -> None:
    supply.remote()("SOUR:VOL 400", "SYST:LIM:VOL 380,ON")
    assert supply("SOUR:VOL?", "SYST:LIM:VOL?") == "380.0000\n380.0000,1"
    assert supply("SOUR:VOL 390", "SOUR:VOL?") == "380.0000"
    assert supply("SYST:LIM:VOL 380,OFF", "SOUR:VOL 390", "SOUR:VOL?") == "390.0000"


# ------------------------------------------------------------------------------------------------------------ output


def test_the_output_drives_what_is_set(supply: Bench, world: FakeWorld) -> None:
    supply.remote()("SOUR:VOL 400", "SOUR:CUR 20", "SOUR:CUR:NEG -5", "SOUR:POW 9000", "SOUR:POW:NEG -8000")
    assert world.source is None
    assert supply("OUTPut ON", "OUTPut?") == "1"
    assert world.source == Source(400.0, 20.0, 5.0, 9000.0, 8000.0)
    assert supply("OUTPut 0", "OUTPut?") == "0"
    assert world.source is None


def test_remote_shutdown_switches_off_and_keeps_off(supply: Bench, world: FakeWorld) -> None:
    supply.remote()("SOUR:VOL 400", "OUTPut 1", "SYSTem:RSD:STAtus 1")
    assert world.source is None
    assert supply("OUTPut 1", "OUTPut?", "SYST:ERR?") == "0\n-221,Illegal setting: remote shutdown is active"
    assert supply("SYSTem:RSD 0", "OUTPut 1", "OUTPut?") == "1"


# ---------------------------------------------------------------------------------------------------------- watchdog


def test_the_manuals_example_of_the_watchdog(world: FakeWorld, stage: Stage) -> None:
    """Paragraph 5.6.10, marks A to Q."""
    supply = Bench(world)
    stage.play(supply.instrument)
    state, output = "SYSTem:COMmunicate:WATchdog?", "OUTPut?"
    assert supply.remote()(state) == "-1", "B: off after power-on"
    supply("OUTPut 1", "SYSTem:COMmunicate:WATchdog set,1000")
    stage.at(0.177)
    assert supply(state) == "823", "D"
    assert supply("SYSTem:COMmunicate:WATchdog set?") == "1000", "E: and any valid command starts it anew"
    stage.at(1.1)
    assert supply(output) == "1"
    stage.at(2.2)
    assert supply(output, state, state) == "0\n0\n-1", "F, P, Q: it ran out, says so once, and is off"
    supply("OUTPut 1", "SYSTem:COMmunicate:WATchdog set,500", "SYSTem:COMmunicate:WATchdog stop")
    stage.at(10.0)
    assert supply(output, state) == "1\n-1", "I, J"
    supply("SYSTem:COMmunicate:WATchdog set,850", "SYSTem:COMmunicate:WATchdog test")
    stage.at(10.01)
    assert supply(output, state) == "0\n0", "O: tested, it runs out within 2.5 ms"


def test_what_is_no_valid_command_does_not_feed_it(world: FakeWorld, stage: Stage) -> None:
    supply = Bench(world)
    stage.play(supply.instrument)
    supply.remote()("OUTPut 1", "SYSTem:COMmunicate:WATchdog SET,1000")
    for moment in (0.4, 0.8, 1.2):
        stage.at(moment)
        supply("BOGUS")
    assert supply("OUTPut?") == "0"


@pytest.mark.parametrize("text", ["SET,19", "SET,10001", "SET,NaN", "SET", "ON", ""])
def test_times_it_does_not_take(supply: Bench, text: str) -> None:
    assert supply(f"SYSTem:COMmunicate:WATchdog {text}", "SYST:ERR?").startswith("-224,")


# ------------------------------------------------------------------------------------------------------------ faults


def test_after_a_trip_the_output_is_off_and_it_says_so(supply: Bench) -> None:
    supply.remote()("OUTPut 1", "SYST:COM:WAT SET,5000")
    supply.instrument.faults = frozenset({"watchdog_trip"})
    assert supply("OUTPut?", "SYST:COM:WAT?") == "0\n0"


def test_an_output_that_refuses_stays_on(supply: Bench) -> None:
    supply.remote()("OUTPut 1")
    supply.instrument.faults = frozenset({"output_refuses_off"})
    assert supply("OUTPut 0", "OUTPut?") == "1"


@given(st.binary(max_size=60))
def test_no_bytes_bring_it_down(data: bytes) -> None:
    supply = Bench(FakeWorld())
    supply.instrument.face().receive(data + b"\n")
    assert supply("OUTPut?") == "0"
