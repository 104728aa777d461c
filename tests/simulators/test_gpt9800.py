"""The GW Instek GPT-9800: a test voltage that takes its time, and a result in whole megohms."""

from __future__ import annotations

import math

import pytest

from simulators.gpt9800 import GptFace, GptInstrument
from tests.simulators.conftest import Stage

SERIAL = "GEW123456789"


class Bench:
    """The tester on a stage, its IR mode chosen."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.world = stage, stage.world
        self.world.insulation_ohm = 24e6
        self.tester = GptInstrument(stage.world, SERIAL)  # type: ignore[arg-type]
        self.face: GptFace = self.tester.face()
        stage.play(self.tester)
        self.say("MANU:EDIT:MODE IR")

    def say(self, *lines: str) -> str:
        answers = [self.face.receive(line.encode() + b"\r\n") for line in lines]
        return answers[-1].decode()

    def start(self, kilovolts: float = 0.5, seconds: float = 5) -> None:
        self.say(f"MANU:IR:VOLT {kilovolts}", f"MANU:IR:TTIM {seconds}", "FUNC:TEST ON")

    def set_faults(self, *kinds: str) -> None:
        self.tester.faults = frozenset(kinds)  # type: ignore[assignment]
        self.stage.timeline.settle()


@pytest.fixture
def bench(stage: Stage) -> Bench:
    return Bench(stage)


def fields(answer: str) -> list[str]:
    return [field.strip() for field in answer.removesuffix("\r\n").split(",")]


def test_identity(bench: Bench) -> None:
    assert bench.say("*IDN?") == f"GPT-9803,{SERIAL},V1.00\r\n"


@pytest.mark.parametrize("line", [b"*IDN?\n", b"*IDN?\r\n", b"*idn?\r\n"])
def test_lines_end_in_lf_or_cr_lf(bench: Bench, line: bytes) -> None:
    assert bench.face.receive(line).endswith(b"V1.00\r\n")


@pytest.mark.parametrize(
    ("command", "query", "answer"),
    [
        ("MANU:IR:VOLT 0.1", "MANU:IR:VOLTAGE?", "0.100kV"),
        ("MANU:IR:TTIME 1", "MANU:IR:TTIM?", "001.0 S"),
        ("MANU:IR:RLOS 20", "MANU:IR:RLOS?", "0020M ohm"),
        ("MANU:IR:RHISET 9999", "manu:ir:rhis?", "9999M ohm"),
        ("MANU:IR:REF 0", "MANU:IR:REF?", "0000M ohm"),
        ("MANU:RTIM 0.5", "MANU:RTIM?", "000.5 S"),
        ("MANU:STEP 3", "MANU:STEP?", "003"),
        ("MAIN:FUNC MANU", "MAIN:FUNC?", "MANU MODE"),
        ("MANU:EDIT:MODE IR", "MANU:EDIT:MODE?", "IR"),
        ("TEST:RET ON", "TEST:RET?", "ON"),
    ],
)
def test_settings_are_answered_with_their_unit(bench: Bench, command: str, query: str, answer: str) -> None:
    assert bench.say(command) == ""
    assert bench.say(query) == f"{answer}\r\n"
    assert bench.say("SYST:ERR?") == "0,No Error\r\n"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("NONSENSE", "0x14"),
        ("MANUAL:IR:VOLT 0.5", "0x14"),
        ("MANU:IR:VOLT", "0x14"),
        ("MANU:IR:VOLT much", "0x14"),
        ("MANU:IR:VOLT nan", "0x15"),
        ("MANU:IR:VOLT 1.1", "0x15"),
        ("MANU:IR:VOLT 0.04", "0x15"),
        ("MANU:IR:RLOS 0", "0x15"),
        ("MANU:IR:TTIM 0.9", "0x15"),
        ("FUNC:TEST MAYBE", "0x14"),
        ("*IDN? 1", "0x14"),
    ],
)
def test_what_is_refused_has_no_answer_and_changes_nothing(bench: Bench, line: str, error: str) -> None:
    kept = ("MANU:IR:VOLT?", "MANU:IR:RLOS?", "MANU:IR:TTIM?", "FUNC:TEST?")
    before = [bench.say(query) for query in kept]
    assert bench.say(line) == ""
    assert bench.say("SYST:ERR?").startswith(f"{error},")
    assert bench.say("SYST:ERR?") == "0,No Error\r\n", "reading clears"
    assert [bench.say(query) for query in kept] == before


def test_settings_of_insulation_need_its_mode(bench: Bench) -> None:
    assert bench.say("MANU:EDIT:MODE ACW", "MANU:IR:VOLT 0.5", "SYST:ERR?").startswith("0x18")


@pytest.mark.parametrize("command", ["MANU:EDIT:MODE ACW", "MANU:EDIT:MODE GB", "MAIN:FUNC AUTO"])
def test_only_a_manual_insulation_test_can_be_started(bench: Bench, command: str) -> None:
    assert bench.say(command, "FUNC:TEST ON", "SYST:ERR?").startswith("0x18")
    assert bench.say("FUNC:TEST?") == "TEST OFF\r\n"


def test_before_a_test_there_is_no_result(bench: Bench) -> None:
    assert fields(bench.say("MEAS?"))[:2] == [">IR", "VIEW"]


def test_a_test_from_start_to_end(bench: Bench) -> None:
    bench.say("MANU:RTIM 1.0")
    bench.start(0.5, 5)
    assert bench.say("FUNC:TEST?") == "TEST ON\r\n"
    bench.stage.at(0.5)
    function, status, voltage, resistance, time = fields(bench.say("MEAS?"))
    assert (function, status, time) == (">IR", "TEST", "R=000.5S")
    assert float(voltage.removesuffix("kV")) == pytest.approx(0.25, rel=0.1), "lags a little"
    assert int(resistance.removesuffix("M ohm")) < 24, "the Y capacitors take current"
    bench.stage.at(3.0)
    assert fields(bench.say("MEAS?")) == [">IR", "TEST", "0.498kV", "0024M ohm", "T=002.0S"]
    bench.stage.at(6.0)
    assert fields(bench.say("MEAS?")) == [">IR", "PASS", "0.498kV", "0024M ohm", "T=005.0S"]
    assert bench.say("FUNC:TEST?") == "TEST OFF\r\n"


def test_the_reading_rises_while_the_y_capacitors_charge(bench: Bench) -> None:
    bench.world.y_capacitance = 5e-6
    bench.start(0.5, 20)
    seen = []
    for tenths in range(1, 200, 10):
        bench.stage.at(tenths / 10)
        seen.append(int(fields(bench.say("MEAS?"))[3][:4]))
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert seen[-1] == 24


def test_the_result_is_that_of_the_end_however_late_somebody_asks(bench: Bench) -> None:
    bench.start(0.5, 5)
    bench.stage.at(100.0)
    bench.world.insulation_ohm = 1e6
    assert fields(bench.say("MEAS?"))[1:] == ["PASS", "0.498kV", "0024M ohm", "T=005.0S"]


@pytest.mark.parametrize(
    ("ohm", "low", "high", "shown", "status"),
    [
        (2.4e6, 1, 9999, "0002M ohm", "PASS"),
        (24e6, 25, 9999, "0024M ohm", "FAIL"),
        (24e6, 1, 23, "0024M ohm", "FAIL"),
        (24e6, 24, 24, "0024M ohm", "PASS"),
        (0.4e6, 1, 9999, "0000M ohm", "FAIL"),
        (20e9, 1, 9999, "9999M ohm", "PASS"),
        (math.inf, 1, 9999, "9999M ohm", "PASS"),
        (math.inf, 1, 9998, "9999M ohm", "FAIL"),
    ],
)
def test_the_limits_are_judged_at_the_end(
    bench: Bench, ohm: float, low: int, high: int, shown: str, status: str
) -> None:
    bench.world.insulation_ohm = ohm
    bench.say(f"MANU:IR:RLOS {low}", f"MANU:IR:RHIS {high}")
    bench.start(0.5, 5)
    bench.stage.at(5.0)
    assert fields(bench.say("MEAS?"))[1] == "TEST"
    bench.stage.at(5.1)
    assert fields(bench.say("MEAS?"))[1::2] == [status, shown]


def test_a_reference_is_taken_off(bench: Bench) -> None:
    bench.say("MANU:IR:REF 4")
    bench.start()
    bench.stage.at(10)
    assert fields(bench.say("MEAS?"))[3] == "0020M ohm"


def test_a_dead_short_breaks_the_voltage_down_and_ends_the_test(bench: Bench) -> None:
    bench.world.insulation_ohm = 5e3
    bench.start(0.5, 60)
    bench.stage.at(0.05)
    assert fields(bench.say("MEAS?"))[1] == "TEST"
    bench.stage.at(0.2)
    assert fields(bench.say("MEAS?")) == [">IR", "FAIL", "0.023kV", "0000M ohm", "R=000.1S"]
    assert bench.say("FUNC:TEST?") == "TEST OFF\r\n"


def test_a_flashover_in_the_middle_ends_the_test(bench: Bench) -> None:
    bench.start(0.5, 60)
    bench.stage.at(30.0)
    bench.set_faults("breakdown")
    assert fields(bench.say("MEAS?"))[1::2] == ["FAIL", "0000M ohm"]
    assert bench.say("FUNC:TEST?") == "TEST OFF\r\n"


def test_lifted_leads_look_like_perfect_insulation(bench: Bench) -> None:
    bench.set_faults("nan")
    bench.start()
    bench.stage.at(10)
    assert fields(bench.say("MEAS?"))[1:4] == ["PASS", "0.500kV", "9999M ohm"]


def test_stopping_leaves_no_result(bench: Bench) -> None:
    bench.start(0.5, 60)
    bench.stage.at(30.0)
    assert bench.say("FUNC:TEST OFF", "FUNC:TEST?") == "TEST OFF\r\n"
    assert fields(bench.say("MEAS?"))[1] == "VIEW"
    bench.stage.at(100.0)
    assert fields(bench.say("MEAS?"))[1] == "VIEW", "what was stopped does not end again"


@pytest.mark.parametrize(
    "line", ["MANU:IR:VOLT 1", "MANU:RTIM 2", "MANU:EDIT:MODE ACW", "MAIN:FUNC AUTO", "FUNC:TEST ON"]
)
def test_a_running_test_cannot_be_changed(bench: Bench, line: str) -> None:
    bench.start(0.5, 5)
    assert bench.say(line, "SYST:ERR?").startswith("0x18")
    bench.stage.at(5.1)
    assert fields(bench.say("MEAS?"))[:3] == [">IR", "PASS", "0.498kV"]


def test_an_output_that_refuses_off_stays_on_until_the_fault_is_gone(bench: Bench) -> None:
    bench.start(0.5, 5)
    bench.set_faults("output_refuses_off")
    bench.stage.at(100.0)
    assert bench.say("FUNC:TEST OFF", "FUNC:TEST?") == "TEST ON\r\n"
    assert fields(bench.say("MEAS?"))[2] == "0.498kV"
    bench.set_faults()
    assert bench.say("FUNC:TEST?") == "TEST OFF\r\n"


def test_the_end_is_announced_to_those_who_asked_for_it(bench: Bench) -> None:
    bench.start(0.5, 5)
    bench.stage.at(6.0)
    assert bench.face.receive(b"") == b"", "off after power-on"
    bench.say("TEST:RET ON")
    bench.start(0.5, 5)
    bench.stage.at(12.0)
    late = bench.tester.face()
    assert bench.face.receive(b"FUNC:TEST?\n") == b"OK\r\nTEST OFF\r\n"
    assert bench.face.receive(b"") == b"", "said once"
    assert late.receive(b"") == b"", "who connects later has missed it"


def test_another_model(bench: Bench) -> None:
    bench.set_faults("wrong_identity")
    assert "GPT-9803" not in bench.say("*IDN?")
