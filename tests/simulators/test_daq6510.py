"""The Keithley DAQ6510: thermocouples on the battery's cells, scanned into a buffer."""

from __future__ import annotations

import pytest

from simulators.daq6510_scpi import DaqInstrument
from simulators.scpi import MessageFace
from tests.simulators.fake_world import FakeWorld

CHANNELS = list(range(101, 117))
LIST = "(@101:116)"
NO_ERROR = '0,"No error;0;0 0"'


class Bench:
    def __init__(self, world: FakeWorld) -> None:
        self.world = world
        self.instrument = DaqInstrument(world, "04340543", CHANNELS)  # type: ignore[arg-type]
        self.face: MessageFace = self.instrument.face()

    def say(self, *messages: str) -> str:
        """The answer to the last message, without its line feed; "" for none."""
        answers = [self.face.receive(message.encode() + b"\n") for message in messages]
        return answers[-1].decode().removesuffix("\n")

    def error(self) -> int:
        return int(self.say(":SYST:ERR:NEXT?").split(",")[0])

    def scanning(self) -> Bench:
        self.say(f':SENS:FUNC "TEMP",{LIST}', f":ROUT:SCAN:CRE {LIST}")
        return self


@pytest.fixture
def bench(world: FakeWorld) -> Bench:
    return Bench(world)


def test_identity_and_language(bench: Bench) -> None:
    assert bench.say("*IDN?") == "KEITHLEY INSTRUMENTS,MODEL DAQ6510,04340543,1.7.12b"
    assert bench.say("*LANG?") == "SCPI"
    bench.say("*LANG TSP")
    assert bench.error() == -224


def test_channels_see_the_cells_spread_evenly_over_the_battery(bench: Bench) -> None:
    answer = bench.scanning().say(":INIT", '*WAI;:TRAC:DATA? 1,16,"defbuffer1"')
    # the fake battery rises evenly from 20 to 30 degC over its 96 cells
    readings = [float(field) for field in answer.split(",")]
    assert readings == pytest.approx([20 + 10 * index / 15 for index in range(16)], abs=0.06)
    assert answer.split(",")[0] == "2.000000E+01"
    assert bench.error() == 0


def test_a_buffer_tells_more_than_readings(bench: Bench) -> None:
    bench.world.time = 12.5
    bench.scanning().say("INIT")
    assert bench.say('TRAC:DATA? 1,2,"defbuffer1",CHAN,READ,UNIT,REL').split(",")[:4] == [
        "101",
        "2.000000E+01",
        "C",
        "12.500000",
    ]
    assert bench.say("TRAC:DATA? 16,16,'defbuffer1', CHANnel") == "116"


def test_read_answers_the_last_reading(bench: Bench) -> None:
    assert float(bench.scanning().say(":READ?")) == pytest.approx(30)
    assert bench.say(":TRAC:ACT?") == "16"
    assert bench.say(":FETC?") == bench.say('FETC? "defbuffer1"') == "3.000000E+01"


def test_a_scan_replaces_the_one_before(bench: Bench) -> None:
    bench.scanning().say("INIT", "ROUT:SCAN:COUN:SCAN 3", "INIT")
    assert bench.say('TRAC:ACT? "defbuffer1"') == "48"
    bench.say("TRAC:CLE")
    assert bench.say("TRAC:ACT?") == "0"


def test_one_closed_channel(bench: Bench) -> None:
    bench.say(f':SENS:FUNC "TEMP",{LIST}', ":ROUT:CLOS (@101)", ":ROUT:CLOS (@116)")
    assert bench.say(":ROUT:CLOS?") == "(@116)"
    assert float(bench.say("READ?")) == pytest.approx(30)
    bench.say(":ROUT:OPEN (@116)")
    assert bench.say("READ?") == "9.9E+37"


def test_without_a_function_channels_read_volts(bench: Bench) -> None:
    bench.say(":ROUT:SCAN:CRE (@116)")
    assert float(bench.say("READ?")) == pytest.approx(7 * 41e-6)


@pytest.mark.parametrize(
    ("lists", "answer"),
    [
        (["(@101:116)"], "(@101:116)"),
        (["(@101,103, 105:107)"], "(@101,103,105:107)"),
        (["(@101:103)", "(@)"], "(@)"),
    ],
)
def test_scan_lists(bench: Bench, lists: list[str], answer: str) -> None:
    bench.say(*(f"ROUT:SCAN:CRE {text}" for text in lists))
    assert bench.say(":ROUT:SCAN?") == bench.say("ROUT:SCAN:CRE?") == answer


def test_a_channel_is_added_to_a_scan(bench: Bench) -> None:
    bench.say("ROUT:SCAN (@101)", "ROUT:SCAN:ADD (@105)")
    assert bench.say("ROUT:SCAN?") == "(@101,105)"


def test_functions_and_settings_of_channels_read_back(bench: Bench) -> None:
    bench.say(":SENS:FUNC 'TEMPerature',(@102)", "TEMP:TRAN TC,(@101,102)", "TEMP:TC:TYPE J, (@102)")
    bench.say("SENS1:TEMP:NPLC 0.5,(@101)", "TEMP:ODET ON, (@101)")
    assert bench.say("FUNC? (@101:102)") == '"VOLT:DC","TEMP"'
    assert bench.say("SENS:TEMP:TRAN? (@101:103)") == "TC,TC,TC"
    assert bench.say("TEMP:TC:TYPE? (@101,102)") == "K,J"
    assert bench.say("TEMP:NPLC? (@101:102)") == "0.5,1"
    assert bench.say("TEMP:ODET? (@101)") == "1"
    assert bench.say("TEMP:UNIT?") == "CELS"
    bench.say("*RST")
    assert bench.say("FUNC? (@102)") == '"VOLT:DC"'
    assert bench.say("TEMP:TC:TYPE? (@102)") == "K"


def test_a_header_continues_at_the_node_of_the_one_before(bench: Bench) -> None:
    assert bench.say("ROUT:SCAN:CRE (@101);COUN:SCAN 2;:ROUT:SCAN?;COUN:SCAN?") == "(@101)"
    assert bench.error() == -113, "after a colon the node is ROUT"
    assert bench.say("ROUT:SCAN:COUN:SCAN?;*OPC?;SCAN?") == "2;1;2"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("BOGUS 1", -113),
        (":ROUT:SCAN:CRE", -109),
        (":ROUT:SCAN:CRE 101", -104),
        (":ROUT:SCAN:CRE (@101:)", -104),
        (":ROUT:SCAN:CRE (@199)", -222),
        (":ROUT:SCAN:CRE (@101:201)", -222),
        (":ROUT:SCAN:CRE (@110:101)", -222),
        (":ROUT:CLOS (@101,102)", -221),
        (":INIT", -221),
        (":INIT 1", -108),
        (":FETC?", -230),
        (':SENS:FUNC "POWER"', -224),
        (":SENS:FUNC TEMP", -104),
        ("TEMP:UNIT KELV", -224),
        ("TEMP:NPLC 16", -222),
        ("TEMP:NPLC much", -104),
        ('TRAC:DATA? 1,1,"defbuffer1"', -222),
        ('TRAC:ACT? "mine"', -224),
        ("*ESE 256", -222),
    ],
)
def test_errors(bench: Bench, message: str, code: int) -> None:
    assert bench.say(message) == ""
    assert bench.error() == code
    assert bench.say("SYST:ERR?") == NO_ERROR


def test_readings_that_are_not_there(bench: Bench) -> None:
    bench.scanning().say("INIT")
    for span in ("1,17", "0,16", "5,4"):
        assert bench.say(f'TRAC:DATA? {span},"defbuffer1"') == ""
        assert bench.error() == -222


def test_twenty_errors_are_kept_and_the_last_says_that_there_were_more(bench: Bench) -> None:
    bench.say(*["BOGUS"] * 25)
    assert bench.say("SYST:ERR:COUN?") == "20"
    assert [bench.error() for _ in range(21)] == [-113] * 19 + [-350, 0]


def test_errors_show_in_the_status(bench: Bench) -> None:
    assert bench.say("*ESR?") == "128", "power on"
    bench.say("*ESE 32", "*SRE 32", "BOGUS")
    assert bench.say("*STB?") == str(4 | 32 | 64)
    assert bench.say("*ESR?") == "32"
    bench.say("*CLS", "*OPC")
    assert bench.say("*STB?;*ESR?") == "0;1"


def test_an_open_sensor_reads_9_9e37(bench: Bench) -> None:
    bench.instrument.device.broken = {102}
    bench.scanning().say("INIT")
    assert bench.say('TRAC:DATA? 1,3,"defbuffer1"').split(",")[1] == "9.9E+37"
    bench.say("ROUT:SCAN (@117)")
    assert bench.say("READ?") == "9.9E+37", "nothing is wired to it"


def test_faults(bench: Bench) -> None:
    bench.instrument.faults = frozenset({"nan", "wrong_identity"})
    bench.scanning().say("INIT")
    assert set(bench.say('TRAC:DATA? 1,16,"defbuffer1"').split(",")) == {"9.9E+37"}
    assert "04340543" not in bench.say("*IDN?")
