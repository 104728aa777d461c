"""The Keyence SR-1000: codes come when they are found, and sometimes because somebody pulled the trigger."""

from __future__ import annotations

import pytest

from simulators.sr1000 import Sr1000
from tests.simulators.conftest import Stage

CODE = b"PHE96-004711\r"


class Bench:
    def __init__(self, stage: Stage) -> None:
        self.stage, self.world = stage, stage.world
        self.reader = Sr1000(stage.world)  # type: ignore[arg-type]
        self.face = self.reader.face()
        stage.play(self.reader)

    def say(self, data: bytes) -> bytes:
        return self.face.receive(data)

    def heard(self) -> bytes:
        return self.face.receive(b"")

    def set_faults(self, *kinds: str) -> None:
        self.reader.faults = frozenset(kinds)  # type: ignore[assignment]
        self.stage.timeline.settle()


@pytest.fixture
def bench(stage: Stage) -> Bench:
    return Bench(stage)


def test_a_code_comes_by_itself_when_it_is_found(bench: Bench) -> None:
    assert bench.say(b"LON\r") == b"OK,LON\r"
    assert bench.heard() == b""
    bench.stage.at(0.29)
    assert bench.heard() == b""
    bench.stage.at(0.3)
    assert bench.heard() == CODE
    bench.stage.at(10.0)
    assert bench.heard() == b"", "it is read once"
    assert bench.say(b"LOFF\r") == b"OK,LOFF\r"


def test_what_was_found_meanwhile_precedes_the_next_answer(bench: Bench) -> None:
    bench.say(b"LON\r")
    bench.stage.at(1.0)
    assert bench.say(b"LOFF\r") == CODE + b"OK,LOFF\r"


def test_the_code_is_that_of_the_moment_when_it_was_read(bench: Bench) -> None:
    bench.say(b"LON\r")
    bench.stage.at(1.0)
    bench.world.code_label = "ANOTHER"
    assert bench.heard() == CODE


@pytest.mark.parametrize("reason", ["no label", "unreadable"])
def test_without_a_readable_code_it_looks_until_it_is_told_to_stop(bench: Bench, reason: str) -> None:
    if reason == "no label":
        bench.world.code_label = None
    else:
        bench.set_faults("nan")
    bench.say(b"LON\r")
    bench.stage.at(3600.0)
    assert bench.heard() == b""
    assert bench.say(b"LOFF\r") == b"OK,LOFF\rERROR\r"
    assert bench.say(b"LOFF\r") == b"OK,LOFF\r", "it is not looking any more"


def test_it_can_be_set_to_another_error(stage: Stage) -> None:
    reader = Sr1000(stage.world, "NOREAD")  # type: ignore[arg-type]
    assert reader.face().receive(b"LON\rLOFF\r") == b"OK,LON\rOK,LOFF\rNOREAD\r"


def test_a_label_that_comes_into_view_is_read(bench: Bench) -> None:
    bench.set_faults("nan")
    bench.say(b"LON\r")
    bench.stage.at(60.0)
    bench.set_faults()
    assert bench.heard() == CODE


def test_it_can_read_again_and_again(bench: Bench) -> None:
    for second in range(3):
        bench.stage.at(float(second))
        assert bench.say(b"LON\r") == b"OK,LON\r"
        bench.stage.at(second + 0.5)
        assert bench.heard() == CODE


def test_it_does_not_begin_twice(bench: Bench) -> None:
    bench.say(b"LON\r")
    bench.stage.at(0.2)
    assert bench.say(b"LON\r") == b"ER,LON,20\r"
    bench.stage.at(0.3)
    assert bench.heard() == CODE


def test_a_pulled_trigger_sends_a_code_that_nobody_asked_for(bench: Bench) -> None:
    bench.set_faults("hand_trigger")
    bench.stage.at(5.0)
    assert bench.heard() == CODE
    bench.stage.at(60.0)
    assert bench.heard() == b"", "one pull, one code"
    bench.set_faults()
    bench.set_faults("hand_trigger")
    bench.stage.at(70.0)
    assert bench.heard() == CODE


def test_a_trigger_pulled_before_an_unreadable_label_says_so(bench: Bench) -> None:
    bench.world.code_label = None
    bench.set_faults("hand_trigger")
    bench.stage.at(0.9)
    assert bench.heard() == b""
    assert bench.say(b"LON\r") == b"ER,LON,20\r"
    assert bench.say(b"LOFF\r") == b"OK,LOFF\r", "that is not what ends a pull"
    bench.stage.at(1.0)
    assert bench.heard() == b"ERROR\r"


def test_a_trigger_pulled_while_it_looks_changes_nothing(bench: Bench) -> None:
    bench.world.code_label = None
    bench.say(b"LON\r")
    bench.set_faults("hand_trigger")
    bench.stage.at(10.0)
    assert bench.heard() == b""


def test_everybody_connected_hears_a_code_and_nobody_later(bench: Bench) -> None:
    other = bench.reader.face()
    bench.say(b"LON\r")
    bench.stage.at(1.0)
    late = bench.reader.face()
    assert [face.receive(b"") for face in (bench.face, other, late)] == [CODE, CODE, b""]


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"LON\r", b"OK,LON\r"),
        (b"LON\r\n", b"OK,LON\r"),
        (b"\x02LON\x03", b"\x02OK,LON\x03"),
        (b"rubbish\x1bLON\r", b"OK,LON\r"),
        (b"rubbish\x02LON\x03", b"\x02OK,LON\x03"),
        (b"NONSENSE\r", b"ER,NONSENSE,00\r"),
        (b"lon\r", b"ER,lon,00\r"),
        (b"\r\r", b""),
        (b"KEYENCE\r", b"OK,KEYENCE,SR-1000,1.00\r"),
    ],
)
def test_frames(bench: Bench, sent: bytes, answer: bytes) -> None:
    assert bench.say(sent) == answer


def test_bytes_that_dribble_in(bench: Bench) -> None:
    assert b"".join(bench.say(bytes([byte])) for byte in b"LON\rLOFF\r") == b"OK,LON\rOK,LOFF\rERROR\r"


def test_ten_seconds_without_a_character_forget_the_beginning(bench: Bench) -> None:
    bench.say(b"LO")
    bench.stage.at(9.9)
    assert bench.say(b"N\r") == b"OK,LON\r"
    bench.say(b"LO")
    bench.stage.at(20.0)
    assert bench.say(b"FF\r").endswith(b"ER,FF,00\r")


def test_another_model(bench: Bench) -> None:
    bench.set_faults("wrong_identity")
    assert b"SR-1000" not in bench.say(b"KEYENCE\r")
