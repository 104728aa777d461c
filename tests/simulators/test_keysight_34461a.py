"""Keysight 34461A: commands and readings as the meter's guide has them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.keysight_34461a import KeysightInstrument
from simulators.scpi_interface import ERRORS
from tests.simulators.conftest import Talk
from tests.simulators.fake_world import FakeWorld


@pytest.fixture
def meter(world: FakeWorld) -> KeysightInstrument:
    return KeysightInstrument(world, "MY12345678", seed=1)  # type: ignore[arg-type]


@pytest.fixture
def talk(meter: KeysightInstrument) -> Talk:
    face = meter.face()

    def ask(line: str) -> str:
        return face.receive(line.encode() + b"\n").decode()

    return ask


def test_identity(talk: Talk) -> None:
    assert talk("*IDN?") == "Keysight Technologies,34461A,MY12345678,A.02.17-02.40-02.17-00.52-04-02\n"


@pytest.mark.parametrize(
    ("setting", "query", "answer"),
    [
        ("*RST", "FUNC?", '"VOLT"'),
        ('FUNC "VOLT:DC"', "SENSE:FUNCTION?", '"VOLT"'),
        ("*RST", "VOLT:RANG:AUTO?", "1"),
        ("VOLT:RANG 10", "VOLT:RANG?", "+1.00000000E+01"),
        ("VOLT:RANG 10", "VOLT:RANG:AUTO?", "0"),
        ("VOLT:RANG 11", "VOLT:RANG?", "+1.00000000E+02"),
        ("VOLT:RANG 0.1", "SENS:VOLT:DC:RANG:UPP?", "+1.00000000E-01"),
        ("VOLT:RANG 10;:VOLT:RANG:AUTO ON", "VOLT:RANG:AUTO?", "1"),
        ("*RST", "VOLT:NPLC?", "+1.00000000E+01"),
        ("VOLT:NPLC 0.02", "VOLT:NPLC?", "+2.00000000E-02"),
        ("VOLT:NPLC 5", "VOLT:NPLC?", "+1.00000000E+01"),
        ("*RST", "VOLT:ZERO:AUTO?", "1"),
        ("VOLT:ZERO:AUTO OFF", "VOLT:ZERO:AUTO?", "0"),
        ("*RST", "VOLT:IMP:AUTO?", "0"),
        ("VOLT:IMP:AUTO 1", "VOLT:IMP:AUTO?", "1"),
        ("TRIG:SOUR BUS", "TRIG:SOUR?", "BUS"),
        ("TRIG:SOUR BUS;*RST", "TRIG:SOUR?", "IMM"),
        ("TRIG:COUN 3", "TRIG:COUN?", "+3"),
        ("SAMP:COUN 5", "SAMP:COUN?", "+5"),
    ],
)
def test_settings_are_answered_as_they_were_taken(talk: Talk, setting: str, query: str, answer: str) -> None:
    assert talk(setting) == ""
    assert talk(query) == answer + "\n"
    assert talk("SYST:ERR?") == '+0,"No error"\n'


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("BOGUS?", -113),
        ("FUNC VOLT", -104),
        ('FUNC "RES"', -224),
        ("VOLT:RANG 1001", -222),
        ("VOLT:RANG", -109),
        ("VOLT:RANG nan", -222),
        ("VOLT:NPLC 0.01", -222),
        ("VOLT:NPLC many", -104),
        ("VOLT:ZERO:AUTO MAYBE", -224),
        ("TRIG:SOUR EARTH", -224),
        ("SAMP:COUN 0", -222),
        ("SAMP:COUN 1,2", -108),
        ("READ? 1", -108),
        ("FETC?", -230),
        ("*TRG", -211),
        ("TRIG:SOUR BUS;:READ?", -214),
        ("TRIG:SOUR EXT;:INIT;:INIT", -213),
    ],
)
def test_what_is_refused_has_no_answer_and_waits_in_the_queue(talk: Talk, command: str, code: int) -> None:
    assert talk(command) == ""
    assert talk("SYST:ERR?") == f'{code},"{ERRORS[code]}"\n'
    assert talk("SYST:ERR?") == '+0,"No error"\n'


def test_the_queue_holds_twenty(talk: Talk) -> None:
    for _ in range(25):
        talk("BOGUS")
    errors = [talk("SYST:ERR?") for _ in range(21)]
    assert errors[18:] == ['-113,"Undefined header"\n', '-350,"Queue overflow"\n', '+0,"No error"\n']


class TestReadings:
    def test_the_battery(self, talk: Talk, world: FakeWorld) -> None:
        world.cells[:] = 3.85012345
        answer = talk("READ?")
        assert len(answer) == len("+3.69611851E+02\n")
        assert float(answer) == pytest.approx(96 * 3.85012345, abs=1e-3)
        assert talk("VOLT:RANG?") == "+1.00000000E+03\n", "autorange"

    def test_noise_is_small_and_repeatable(self, talk: Talk, world: FakeWorld) -> None:
        talk("SAMP:COUN 100")
        values = [float(value) for value in talk("READ?").split(",")]
        assert len(values) == 100
        assert len(set(values)) > 50
        assert max(abs(value - world.battery_voltage()) for value in values) < 5e-7 * 1000
        again = KeysightInstrument(world, "1", seed=1).face()  # type: ignore[arg-type]
        again.receive(b"SAMP:COUN 100\n")
        assert [float(value) for value in again.receive(b"READ?\n").split(b",")] == values

    def test_autorange_goes_down_too(self, talk: Talk, world: FakeWorld) -> None:
        for volts, expected in ((3.7, 10.0), (0.9, 1.0), (0.0, 0.1), (11.9, 10.0), (12.1, 100.0)):
            world.cells[:] = volts / 96
            talk("READ?")
            assert float(talk("VOLT:RANG?")) == expected

    @pytest.mark.parametrize(("volts", "overloads"), [(11.99, False), (12.01, True), (-12.01, True)])
    def test_a_fixed_range_overloads_above_120_percent(
        self, talk: Talk, world: FakeWorld, volts: float, overloads: bool
    ) -> None:
        world.cells[:] = volts / 96
        talk("VOLT:RANG 10")
        answer = talk("READ?")
        assert (abs(float(answer)) > 9e37) == overloads
        if overloads:
            assert answer == ("+" if volts > 0 else "-") + "9.90000000E+37\n"

    def test_the_highest_range_ends_at_1000_v(self, talk: Talk, world: FakeWorld) -> None:
        world.cells[:] = 1001 / 96
        assert talk("READ?") == "+9.90000000E+37\n"

    def test_a_plug_that_is_pulled(self, talk: Talk, world: FakeWorld) -> None:
        world.plugged = False
        assert abs(float(talk("READ?"))) < 1e-6

    def test_an_open_input(self, talk: Talk, meter: KeysightInstrument) -> None:
        meter.faults = frozenset({"nan"})
        assert talk("READ?") == "+9.90000000E+37\n"

    def test_another_meter(self, talk: Talk, meter: KeysightInstrument) -> None:
        meter.faults = frozenset({"wrong_identity"})
        assert "MY12345678" not in talk("*IDN?")

    def test_the_bus_trigger(self, talk: Talk) -> None:
        assert talk("TRIG:SOUR BUS;:SAMP:COUN 2;:INIT") == ""
        assert talk("FETC?") == ""
        talk("*TRG")
        assert len(talk("FETC?").split(",")) == 2

    def test_the_external_trigger_never_comes(self, talk: Talk) -> None:
        assert talk("TRIG:SOUR EXT") == ""
        assert talk("READ?") == ""
        assert talk("READ?") == ""
        talk("ABOR;:TRIG:SOUR IMM")
        assert talk("READ?") != ""

    def test_measure_and_configure_reset_what_came_before(self, talk: Talk) -> None:
        talk("SAMP:COUN 5;:TRIG:SOUR EXT")
        assert len(talk("MEAS:VOLT:DC? 1000,DEF").split(",")) == 1
        assert talk("VOLT:RANG?;RANG:AUTO?") == "+1.00000000E+03;0\n"
        talk("CONF:VOLT:DC DEF")
        assert talk("VOLT:RANG:AUTO?") == "1\n"

    def test_memory_is_bounded(self, talk: Talk) -> None:
        talk("SAMP:COUN 1000000;:TRIG:COUN 1000000")
        assert len(talk("READ?").split(",")) == 10_000


headers = st.sampled_from(["VOLT:RANG", "VOLT:NPLC", "TRIG:SOUR", "CONF:VOLT", "READ?", "INIT", "*TRG", "FETC?"])
values = st.one_of(
    st.floats(allow_nan=False).map(str), st.sampled_from(["IMM", "BUS", "EXT", "DEF", "ON", "", ",", '"'])
)


@given(st.lists(st.builds(lambda *parts: " ".join(parts), headers, values), max_size=15))
def test_any_settings_end_in_numbers(lines: list[str]) -> None:
    meter = KeysightInstrument(FakeWorld(), "1", 1)  # type: ignore[arg-type]
    face = meter.face()
    for line in lines:
        answer = face.receive(line.encode() + b"\n")
        assert answer == b"" or answer.endswith(b"\n")
    face.receive(b"*RST\n")
    assert math.isfinite(float(face.receive(b"READ?\n")))
    assert all(code in ERRORS for code in meter.errors)
