"""Faults come and go in line time, and spoil the wire without the device knowing."""

from __future__ import annotations

import pytest

from config.simulation import Fault
from simulators.faults import FaultBoard, HangupError
from simulators.modbus import Request
from simulators.plc import PlcInterlock
from simulators.ports import RegisterPort, TextPort
from simulators.psb10000_scpi import PsbInstrument
from tests.simulators.conftest import Stage


def psb_port(stage: Stage, *faults: Fault) -> TextPort:
    instrument = PsbInstrument(stage.world, "1")  # type: ignore[arg-type]
    board = FaultBoard(instrument, faults, stage.timeline.now, seed=1)
    stage.play(board, instrument)
    return TextPort(instrument, board, stage.timeline)


def plc_port(stage: Stage, *faults: Fault) -> RegisterPort:
    plc = PlcInterlock(stage.world)  # type: ignore[arg-type]
    board = FaultBoard(plc, faults, stage.timeline.now, seed=1)
    stage.play(board, plc)
    return RegisterPort(plc, board, stage.timeline)


def test_a_window_of_line_time(stage: Stage) -> None:
    port = psb_port(stage, Fault(instrument="cycler", kind="silent", at_s=10, duration_s=5))
    answers = {}
    for seconds in (9.9, 10.0, 14.9, 15.0):
        stage.line_time = seconds
        answers[seconds] = port.receive(b"OUTP?\n")
    assert answers == {9.9: b"OFF\n", 10.0: b"", 14.9: b"", 15.0: b"OFF\n"}


def test_a_silent_device_does_not_hear_either(stage: Stage) -> None:
    port = psb_port(stage)
    port.board.set("silent")
    port.receive(b"SYST:LOCK ON\n")
    port.board.set("silent", False)
    assert port.receive(b"SYST:LOCK:OWN?\n") == b"NONE\n"


def test_a_cut_cable_lets_the_watchdog_run_out(stage: Stage) -> None:
    port = psb_port(stage, Fault(instrument="cycler", kind="silent", at_s=10))
    port.receive(b"SYST:LOCK ON\nSYST:COMM:MON:TIM 5\nSYST:COMM:MON:ACT ON\nOUTP ON\n")
    for second in range(1, 30):
        stage.line_time = float(second)
        port.receive(b"OUTP?\n")
    assert not port.device.device.output_on  # type: ignore[attr-defined]


def test_garbage_is_repeatable_and_not_the_answer(stage: Stage) -> None:
    def answer() -> bytes:
        port = psb_port(stage, Fault(instrument="cycler", kind="garbage"))
        return port.receive(b"MEAS:ARR?\n")

    assert answer() == answer()
    assert answer().endswith(b"\n")
    assert b"V, " not in answer()


def test_late_answers_come_with_the_next_request(stage: Stage) -> None:
    port = psb_port(stage)
    port.board.set("late")
    assert port.receive(b"VOLT?\n") == b""
    assert port.receive(b"CURR?\n") == b"0.0V\n"
    port.board.set("late", False)
    assert port.receive(b"OUTP?\n") == b"0.00A\nOFF\n"


def test_a_late_modbus_answer_keeps_its_transaction(stage: Stage) -> None:
    port = plc_port(stage)
    port.board.set("late")
    conversation = port.open()
    assert conversation.answer(Request(1, bytes.fromhex("0300010001"), 7)) == b""
    late = conversation.answer(Request(1, bytes.fromhex("0400010001"), 8))
    assert late == bytes.fromhex("0007 0000 0005 01 03 02 001E")


@pytest.mark.parametrize("kind", ["drop", "refuse"])
def test_a_connection_that_is_closed(stage: Stage, kind: str) -> None:
    port = psb_port(stage, Fault(instrument="cycler", kind=kind))  # type: ignore[arg-type]
    with pytest.raises(HangupError):
        port.receive(b"OUTP?\n")


def test_the_plc_falls_at_the_moment_of_the_fault(stage: Stage) -> None:
    port = plc_port(stage, Fault(instrument="interlock", kind="estop", at_s=1.25, duration_s=0.5))
    port.respond(1, bytes.fromhex("0600000001"))
    port.respond(1, bytes.fromhex("050000FF00"))
    stage.at(1.0)
    assert stage.world.contactor_closed
    stage.at(100.0)
    assert not stage.world.contactor_closed
    assert port.respond(1, bytes.fromhex("0400020001")) == bytes.fromhex("04020001"), "E-stop, not the host's loss"
