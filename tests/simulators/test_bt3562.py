"""The Hioki BT3562 and BT3562A: fixed-width answers, and silence for whatever it does not understand."""

from __future__ import annotations

import pytest

from simulators.bt3562 import RESISTANCE_RANGES, VOLTAGE_RANGES, Bt3562Instrument
from simulators.hioki import HiokiFace
from tests.simulators.fake_world import FakeWorld

CELLS = (0, 11)  # 12 cells of the fake battery: 44.4 V, 14.4 mohm


@pytest.fixture
def meter(world: FakeWorld) -> Bt3562Instrument:
    return Bt3562Instrument(world, CELLS, seed=1)  # type: ignore[arg-type]


@pytest.fixture
def face(meter: Bt3562Instrument) -> HiokiFace:
    return meter.face()


def say(face: HiokiFace, *lines: str) -> str:
    answers = [face.receive(line.encode() + b"\r\n") for line in lines]
    return answers[-1].decode()


def ready(face: HiokiFace) -> HiokiFace:
    say(face, ":TRIG:SOUR IMM", ":INIT:CONT OFF")
    return face


def test_identity_has_no_serial_number(face: HiokiFace) -> None:
    assert say(face, "*IDN?") == "HIOKI,BT3562,0,V1.00\r\n"


@pytest.mark.parametrize("line", [b"*IDN?\r", b"*IDN?\r\n", b"\n*IDN?\r", b"*idn?\r\n"])
def test_lines_end_in_cr_and_an_lf_may_follow(face: HiokiFace, line: bytes) -> None:
    assert face.receive(line).startswith(b"HIOKI")


def test_bytes_that_dribble_in(face: HiokiFace) -> None:
    answers = [face.receive(bytes([byte])) for byte in b"*IDN?\r\n*TST?\r\n"]
    assert b"".join(answers) == b"HIOKI,BT3562,0,V1.00\r\n0\r\n"


@pytest.mark.parametrize("line", ["*IDN", "NONSENSE?", ":RES:RANG", ":RES:RANG much", ":FUNC WATT", "*IDN? 1"])
def test_a_wrong_command_gets_no_answer_and_sets_the_command_error(face: HiokiFace, line: str) -> None:
    say(face, "*CLS")
    assert say(face, line) == ""
    assert say(face, "*ESR?") == "32\r\n"
    assert say(face, "*ESR?") == "0\r\n", "reading clears"


def test_power_on_shows_in_the_event_status(face: HiokiFace) -> None:
    assert say(face, "*ESR?") == "128\r\n"


def test_an_error_discards_the_rest_of_its_line(face: HiokiFace) -> None:
    assert say(face, ":FUNC RES;NONSENSE;:FUNC VOLT") == ""
    assert say(face, ":FUNC?") == "RESISTANCE\r\n"


def test_read_needs_triggering_by_the_host(face: HiokiFace) -> None:
    say(face, "*CLS")
    assert say(face, ":READ?") == "", "measures continuously after power-on"
    assert say(face, "*ESR?") == "16\r\n"
    assert say(ready(face), ":READ?") != ""
    say(face, ":TRIG:SOUR EXT")
    assert say(face, ":READ?") == ""


def test_reading_of_module_1(face: HiokiFace) -> None:
    resistance, voltage = say(ready(face), ":READ?").removesuffix("\r\n").split(",")
    assert (len(resistance), len(voltage)) == (11, 11)
    assert resistance[0] == " "
    assert resistance.endswith("E-3")
    assert float(resistance) == pytest.approx(14.4e-3, abs=5e-6)
    assert voltage.startswith(" 44.")
    assert float(voltage) == pytest.approx(44.4, abs=5e-4)


def test_readings_are_noisy_and_repeatable(world: FakeWorld) -> None:
    def readings() -> list[str]:
        face = ready(Bt3562Instrument(world, CELLS, seed=7).face())  # type: ignore[arg-type]
        return [say(face, ":READ?") for _ in range(20)]

    assert readings() == readings()
    assert len(set(readings())) > 1


@pytest.mark.parametrize(
    ("index", "value", "shown"),
    [
        (0, 1.2345e-3, "  1.2345E-3"),
        (1, 1.234e-3, "   1.234E-3"),
        (1, 30.123e-3, "  30.123E-3"),
        (2, 300.12e-3, "  300.12E-3"),
        (3, 3.0012, "  3.0012E+0"),
        (6, 2500.1, "  2.5001E+3"),
        (0, 3.2e-3, " 10.0000E+8"),
        (1, 0.032, " 100.000E+7"),
        (2, 0.32, " 1000.00E+6"),
    ],
)
def test_resistance_formats(index: int, value: float, shown: str) -> None:
    assert RESISTANCE_RANGES[index].shown(value) == shown


@pytest.mark.parametrize(
    ("index", "value", "shown"),
    [
        (0, 3.7, " 3.70000E+0"),
        (0, -3.7, "-3.70000E+0"),
        (0, 6.1, " 1.00000E+9"),
        (1, 44.4, " 44.4000E+0"),
        (1, 3.7, "  3.7000E+0"),
        (1, 61.0, " 10.0000E+8"),
        (1, -61.0, "-10.0000E+8"),
    ],
)
def test_voltage_formats(index: int, value: float, shown: str) -> None:
    assert VOLTAGE_RANGES[index].shown(value) == shown


def test_open_probes_read_1e10(world: FakeWorld) -> None:
    face = ready(Bt3562Instrument(world, None, seed=1).face())  # type: ignore[arg-type]
    assert say(face, ":READ?") == "+10.0000E+9,+1.00000E+10\r\n"
    say(face, ":RES:RANG 30E-3", ":VOLT:RANG 60")
    assert say(face, ":READ?") == "+100.000E+8,+10.0000E+9\r\n"


def test_more_than_60_volts_overflow(world: FakeWorld) -> None:
    face = ready(Bt3562Instrument(world, (0, 95), seed=1).face())  # type: ignore[arg-type]
    assert say(face, ":READ?").endswith(", 10.0000E+8\r\n")


def test_the_bt3562a_reads_up_to_100_volts(world: FakeWorld) -> None:
    face = ready(Bt3562Instrument(world, (0, 23), seed=1, model="BT3562A").face())  # type: ignore[arg-type]
    assert say(face, "*IDN?") == "HIOKI,BT3562A,0,V1.00\r\n"
    assert say(face, ":READ?").split(",")[1].startswith("  88.80")
    assert say(face, ":VOLT:RANG?") == "100.000E+0\r\n"
    say(face, ":VOLT:RANG 60")
    assert say(face, ":READ?").endswith(", 10.0000E+8\r\n")
    world.cells[:] = 4.2
    assert say(face, ":VOLT:RANG 100", ":READ?").endswith(", 100.000E+7\r\n")


def test_a_range_that_is_set_is_kept(face: HiokiFace) -> None:
    say(ready(face), ":RES:RANG 0.003", ":VOLT:RANG 50")
    assert say(face, ":AUT?") == "OFF\r\n"
    assert say(face, ":RES:RANG?") == "3.0000E-3\r\n"
    assert say(face, ":VOLT:RANG?") == "60.0000E+0\r\n"
    assert say(face, ":READ?").startswith(" 10.0000E+8,")


@pytest.mark.parametrize("line", [":VOLT:RANG 100", ":RES:RANG 3200", ":RES:RANG -1"])
def test_a_range_beyond_the_instrument_is_an_execution_error(face: HiokiFace, line: str) -> None:
    say(face, "*CLS", line)
    assert say(face, "*ESR?") == "16\r\n"


@pytest.mark.parametrize(("function", "fields"), [("RV", 2), ("RES", 1), ("VOLTAGE", 1)])
def test_functions(face: HiokiFace, function: str, fields: int) -> None:
    assert len(say(ready(face), f":FUNC {function}", ":READ?").split(",")) == fields


def test_headers_are_off_until_asked_for(face: HiokiFace) -> None:
    assert say(face, ":SAMP:RATE?") == "SLOW\r\n"
    say(face, ":SYST:HEAD ON")
    assert say(face, ":SAMP:RATE?") == ":SAMPLE:RATE SLOW\r\n"
    say(face, "*RST")
    assert say(face, ":SAMP:RATE?") == "SLOW\r\n"


def test_fetch_repeats_the_last_reading(face: HiokiFace) -> None:
    reading = say(ready(face), ":READ?")
    assert say(face, ":FETC?") == reading
    assert say(face, ":ESR0?") == "1\r\n", "end of measurement"


def test_an_external_trigger_measures_for_fetch(face: HiokiFace) -> None:
    say(face, "*CLS", ":INIT:CONT OFF", "*TRG")
    assert say(face, "*ESR?") == "16\r\n", "the trigger source is immediate"
    say(face, ":TRIG:SOUR EXT", "*TRG")
    assert "," in say(face, ":FETC?")


@pytest.mark.parametrize(
    ("command", "query", "answer"),
    [
        (":SYST:KLOC ON", ":SYST:KLOC?", "ON"),
        (":SYST:LFR 50", ":SYST:LFR?", "50"),
        (":SYST:ERR SYNC", ":SYST:ERR?", "SYNCHRONOUS"),
        (":CALC:AVER:STAT ON", ":CALC:AVER:STAT?", "ON"),
        (":SAMP:RATE EXF", ":SAMP:RATE?", "EXFAST"),
    ],
)
def test_settings_without_effect_are_kept(face: HiokiFace, command: str, query: str, answer: str) -> None:
    assert say(face, command, query) == f"{answer}\r\n"


def test_faults(meter: Bt3562Instrument) -> None:
    face = ready(meter.face())
    meter.faults = frozenset({"nan"})
    assert float(say(face, ":READ?").split(",")[0]) == 1e10
    meter.faults = frozenset({"wrong_identity"})
    assert "BT3562" not in say(face, "*IDN?")
