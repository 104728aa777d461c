"""The Hioki BT4560: one frequency at a time, whose waves take line time that nobody waits for."""

from __future__ import annotations

import pytest

from simulators.bt4560 import ORDERED_RANGES, Bt4560Instrument, Meter
from tests.simulators.conftest import Stage

CELL = (0, 0)
FAULT = [1e10, 1e10, 1e10]


class Bench:
    """A meter on the fake battery's first cell, triggered as a program does."""

    def __init__(self, stage: Stage, cells: tuple[int, int] = CELL, meter: Meter | None = None) -> None:
        self.stage, self.world = stage, stage.world
        self.meter = Bt4560Instrument(stage.world, cells, 1, meter)  # type: ignore[arg-type]
        self.face = self.meter.face()
        stage.play(self.meter)
        self.say("*CLS", ":TRIG:SOUR EXT", ":SAMP:RATE Z,MED", ":SAMP:RATE V,FAST", ":RANG 0.01")

    def say(self, *lines: str) -> str:
        answers = [self.face.receive(line.encode() + b"\r\n") for line in lines]
        return answers[-1].decode().removesuffix("\r\n")

    def ended(self) -> bool:
        return self.say(":ESR0?") == "1"

    def values(self) -> list[float]:
        return [float(value) for value in self.say(":FETC?").split(",")]

    def measure(self, hertz: float) -> list[float]:
        self.say(f":FREQ {hertz}", "*TRG")
        self.stage.at(self.stage.line_time + 200)
        assert self.ended()
        return self.values()


@pytest.fixture
def bench(stage: Stage) -> Bench:
    return Bench(stage)


def test_identity(bench: Bench) -> None:
    assert bench.say("*IDN?") == "HIOKI,BT4560,0,V1.00"


@pytest.mark.parametrize("line", [b"*IDN?\r", b"*IDN?\r\n", b"\n*IDN?\r", b"FREQ?\r", b":FREQUENCY?\r\n"])
def test_lines_end_in_cr_and_a_leading_colon_may_be_missing(bench: Bench, line: bytes) -> None:
    assert bench.face.receive(line).endswith(b"\r\n")


def test_after_power_on(stage: Stage) -> None:
    meter = Bt4560Instrument(stage.world, CELL, 1)  # type: ignore[arg-type]
    answers = meter.face().receive(b"*ESR?;:FUNC?;:FREQ?;:RANG?;:TRIG:SOUR?;:INIT:CONT?;:SYST:HEAD?;:AUT?\r")
    assert answers == b"128;RV;+1.00000E+03;+1.00000E-01;IMMEDIATE;ON;OFF;OFF\r\n"


@pytest.mark.parametrize(
    ("rate", "hertz", "seconds"),
    [
        ("Z,FAST", 0.1, 10.1),
        ("Z,MED", 0.1, 20.1),
        ("Z,SLOW", 0.1, 80.1),
        ("Z,MED", 1, 2.1),
        ("Z,MED", 100, 0.18),
        ("Z,MED", 1000, 0.132),
        ("V,SLOW", 1, 3.0),
    ],
)
def test_a_measurement_takes_its_waves(bench: Bench, rate: str, hertz: float, seconds: float) -> None:
    bench.say(f":SAMP:RATE {rate}", f":FREQ {hertz}", "*TRG")
    bench.stage.at(seconds - 0.001)
    assert not bench.ended()
    bench.stage.at(seconds + 0.001)
    assert bench.ended()
    assert not bench.ended(), "reading clears"


def test_averages_take_their_time(bench: Bench) -> None:
    bench.say(":CALC:AVER 3", ":FREQ 1", "*TRG")
    bench.stage.at(6.2)
    assert not bench.ended()
    bench.stage.at(6.4)
    assert bench.ended()


def test_nothing_blocks_while_it_measures(bench: Bench) -> None:
    bench.say(":FREQ 0.1", "*TRG")
    assert bench.say("*IDN?") == "HIOKI,BT4560,0,V1.00"
    assert bench.values() == FAULT, "nothing was measured yet"


@pytest.mark.parametrize("hertz", [0.1, 1.0, 10.0, 100.0, 1000.0])
def test_it_finds_the_impedance_of_its_cells(bench: Bench, hertz: float) -> None:
    resistance, reactance, volts = bench.measure(hertz)
    true = bench.world.impedance(0, 0, hertz)
    assert resistance == pytest.approx(true.real, abs=1e-6)
    assert reactance == pytest.approx(true.imag, abs=1e-6)
    assert reactance < 0, "a battery is capacitive"
    assert volts == pytest.approx(3.7)


def test_values_have_six_digits_and_a_sign(bench: Bench) -> None:
    bench.measure(10)
    assert [len(value) for value in bench.say(":FETC?").split(",")] == [12, 12, 12]
    assert bench.say(":FETC?").endswith(",+3.70000E+00")


@pytest.mark.parametrize(
    ("function", "expected"),
    [("R", (1.95e-3, -0.75e-3)), ("Z", (2.089e-3, -21.04)), ("V", (3.7,)), ("ZV", (2.089e-3, -21.04, 3.7))],
)
def test_functions(bench: Bench, function: str, expected: tuple[float, ...]) -> None:
    bench.say(f":FUNC {function}")
    assert bench.measure(10) == pytest.approx(expected, rel=1e-3)


def test_the_result_is_that_of_the_end(bench: Bench) -> None:
    bench.say(":FREQ 10", "*TRG")
    bench.stage.at(100.0)
    bench.world.cells[0] = 4.0
    assert bench.values()[2] == 3.7


def test_readings_scatter_and_repeat(stage: Stage) -> None:
    def readings() -> list[float]:
        bench = Bench(stage)
        return [bench.measure(1000)[0] for _ in range(5)]

    assert readings() == readings()
    assert len(set(readings())) > 1


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("0.1", 0.1), ("0.17", 0.17), ("0.666", 0.67), ("7.64", 7.6), ("33.4", 33), ("584", 580), ("1050", 1050)],
)
def test_frequencies_have_two_digits(bench: Bench, sent: str, kept: float) -> None:
    assert float(bench.say(f":FREQ {sent}", ":FREQ?")) == kept


@pytest.mark.parametrize(
    "line", [":FREQ 0.09", ":FREQ 1100", ":FREQ nan", ":RANG 0.2", ":RANG -1", ":CALC:AVER 0", "*TRG;*TRG", ":INIT"]
)
def test_what_cannot_be_carried_out_is_an_execution_error(bench: Bench, line: str) -> None:
    assert bench.say("*CLS", line) == ""
    assert bench.say("*ESR?") == "16"


@pytest.mark.parametrize("line", ["NONSENSE", ":FREQ", ":FREQ high", ":FUNC WATT", ":SAMP:RATE MED", ":READ?"])
def test_what_is_not_understood_is_a_command_error(bench: Bench, line: str) -> None:
    assert bench.say("*CLS", line) == ""
    assert bench.say("*ESR?") == "32"


def test_an_error_discards_the_rest_of_its_line(bench: Bench) -> None:
    assert bench.say("*CLS;:FREQ 0;:FREQ 10", ":FREQ?") == "+1.00000E+03"


@pytest.mark.parametrize("line", [":FREQ 10", ":RANG 0.1", ":SAMP:RATE Z,FAST", ":FUNC RV", ":SYST:HEAD OFF"])
def test_a_setting_ends_the_measurement_without_a_result(bench: Bench, line: str) -> None:
    bench.say(":FREQ 0.1", "*TRG", line)
    bench.stage.at(200.0)
    assert not bench.ended()
    assert bench.values() == FAULT


def test_one_measurement_at_a_time(bench: Bench) -> None:
    bench.say("*CLS", ":FREQ 1", "*TRG")
    bench.stage.at(2.0)
    assert bench.say("*TRG", "*ESR?") == "16"
    bench.stage.at(2.2)
    assert bench.ended(), "the first one went on"


def test_a_single_measurement_waits_for_its_trigger(bench: Bench) -> None:
    bench.say("*CLS", ":INIT:CONT OFF", ":FREQ 100", "*TRG")
    assert bench.say("*ESR?") == "16"
    bench.say(":INIT", "*TRG")
    bench.stage.at(1.0)
    assert bench.ended()
    bench.say(":TRIG:SOUR IMM", ":INIT")
    bench.stage.at(2.0)
    assert bench.ended()
    assert bench.say("*ESR?") == "0"


def test_left_alone_it_measures_all_the_time(stage: Stage) -> None:
    meter = Bt4560Instrument(stage.world, CELL, 1)  # type: ignore[arg-type]
    answer = meter.face().receive(b":FETC?\r").decode().split(",")
    assert float(answer[2]) == 3.7


def test_an_impedance_beyond_the_range(bench: Bench) -> None:
    bench.say(":RANG 0.003")
    assert bench.measure(1000)[0] == pytest.approx(1.2e-3, abs=1e-6)
    bench.world.impedance = lambda *_: 3.7e-3 - 1e-3j  # type: ignore[method-assign, assignment]
    assert bench.measure(1000) == [1e9, 1e9, 3.7]
    bench.say(":AUT ON")
    assert bench.measure(1000)[:2] == pytest.approx([3.7e-3, -1e-3], abs=1e-6)
    assert bench.say(":AUT?;:RANG?") == "ON;+1.00000E-02"


def test_the_meter_of_the_catalogue_cannot_measure_a_module(stage: Stage) -> None:
    bench = Bench(stage, cells=(0, 11))
    assert bench.measure(1000) == [1e9, 1e9, 1e9]


def test_the_meter_made_to_order_can(stage: Stage) -> None:
    bench = Bench(stage, cells=(0, 11), meter=Meter(ORDERED_RANGES, 450.0))
    assert bench.say(":RANG 300E-3", ":RANG?") == "+3.00000E-01"
    resistance, _, volts = bench.measure(1000)
    assert (resistance, volts) == pytest.approx((14.4e-3, 44.4), rel=1e-2)


@pytest.mark.parametrize("cause", ["fault", "unplugged"])
def test_lifted_probes_end_in_a_measurement_fault(bench: Bench, cause: str) -> None:
    if cause == "fault":
        bench.meter.faults = frozenset({"nan"})
    bench.world.plugged = cause != "unplugged"
    assert bench.measure(10) == FAULT


def test_another_model(bench: Bench) -> None:
    bench.meter.faults = frozenset({"wrong_identity"})
    assert "BT4560" not in bench.say("*IDN?")
