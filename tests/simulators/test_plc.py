"""The PLC as `docs/registers.md` defines it."""

from __future__ import annotations

import struct

import pytest

from simulators.plc import PlcInterlock
from tests.simulators.conftest import Stage

ESTOP, DOOR, PLUS, MINUS, GAS, CLAMP, READY, HOST = range(8)
REQUEST, RED, YELLOW, GREEN, BUZZER, RESET = range(6)


class Host:
    """A host that speaks Modbus PDUs to a PLC on a stage."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.plc = PlcInterlock(stage.world)  # type: ignore[arg-type]
        stage.play(self.plc)
        self.beats = 0

    def call(self, pdu: bytes) -> bytes:
        self.stage.timeline.catch_up()
        answer = self.plc.respond(1, pdu)
        assert answer is not None
        return answer

    def inputs(self) -> list[bool]:
        bits = self.call(bytes.fromhex("0200000008"))[2]
        return [bool(bits >> index & 1) for index in range(8)]

    def registers(self, function: int, address: int, count: int) -> list[int]:
        answer = self.call(struct.pack(">BHH", function, address, count))
        assert answer[0] == function, answer.hex()
        return list(struct.unpack(f">{count}H", answer[2:]))

    def coil(self, address: int, on: bool) -> None:
        assert self.call(struct.pack(">BHH", 5, address, 0xFF00 if on else 0))[0] == 5

    def beat(self) -> None:
        self.beats += 1
        assert self.call(struct.pack(">BHH", 6, 0, self.beats))[0] == 6

    def closed(self, at: float = 0.0) -> Host:
        """With its contactors closed 100 ms later."""
        self.stage.at(at)
        self.beat()
        self.coil(REQUEST, True)
        self.stage.at(at + 0.1)
        assert self.inputs() == [True] * 8
        return self

    @property
    def trip(self) -> int:
        return self.registers(4, 2, 1)[0]


@pytest.fixture
def host(stage: Stage) -> Host:
    return Host(stage)


def test_at_power_up_only_the_host_is_missing(host: Host) -> None:
    assert host.inputs() == [True, True, False, False, True, True, False, False]
    assert host.registers(3, 0, 2) == [0, 30]
    assert host.registers(4, 0, 4) == [0, 0x0101, 0, 0]


def test_only_unit_1_answers(host: Host) -> None:
    assert host.plc.respond(2, bytes.fromhex("0200000008")) is None


@pytest.mark.parametrize(
    ("pdu", "answer"),
    [
        ("0200080001", "8202"),
        ("0100060001", "8102"),
        ("0300020001", "8302"),
        ("0400040001", "8402"),
        ("050006FF00", "8502"),
        ("0600020001", "8602"),
        ("0600010004", "8603"),  # a timeout of 0.4 s
        ("0600010259", "8603"),  # 60.1 s
        ("100000000102 0001", "9001"),  # the map has no function 16
    ],
)
def test_what_the_map_does_not_have(host: Host, pdu: str, answer: str) -> None:
    assert host.call(bytes.fromhex(pdu)).hex().upper() == answer


def test_its_own_heartbeat_follows_line_time(host: Host) -> None:
    host.stage.at(0.49)
    assert host.registers(4, 0, 1) == [0]
    host.stage.at(10.0)
    assert host.registers(4, 0, 1) == [20]
    host.stage.at(65536 * 0.5)
    assert host.registers(4, 0, 1) == [0]


def test_contactors_follow_within_100_ms(host: Host) -> None:
    host.beat()
    assert host.inputs()[READY]
    host.coil(REQUEST, True)
    assert not host.inputs()[PLUS]
    host.stage.at(0.1)
    assert host.inputs()[PLUS]
    assert host.inputs()[MINUS]
    host.coil(REQUEST, False)
    host.stage.at(0.2)
    assert not host.inputs()[PLUS]
    assert host.trip == 0
    assert host.registers(4, 3, 1) == [1]


def test_nothing_closes_without_a_heartbeat(host: Host) -> None:
    host.coil(REQUEST, True)
    host.stage.at(10)
    assert not host.inputs()[PLUS]


def test_a_missing_beat_before_closing_latches_nothing(host: Host) -> None:
    host.beat()
    host.stage.at(3.0)
    assert not host.inputs()[HOST]
    assert not host.inputs()[READY]
    assert host.trip == 0
    host.beat()
    assert host.inputs()[READY]


def test_writing_the_same_number_is_no_beat(host: Host) -> None:
    host.beat()
    host.stage.at(2)
    host.call(struct.pack(">BHH", 6, 0, host.beats))
    host.stage.at(3)
    assert not host.inputs()[HOST]


def test_a_lost_host_opens_the_contactors_at_its_timeout(host: Host) -> None:
    moments: list[float] = []
    host.closed()
    host.stage.world.set_contactor = lambda on: (  # type: ignore[method-assign, assignment]
        moments.append(host.stage.timeline.now()),
        setattr(host.stage.world, "contactor_closed", on),
    )
    host.stage.at(1000)
    assert moments == [3.0]
    assert host.trip == 3
    assert host.call(bytes.fromhex("0100000001"))[2] == 0, "the request is cleared"


def test_a_longer_timeout(host: Host) -> None:
    host.call(struct.pack(">BHH", 6, 1, 600))
    host.closed()
    host.stage.at(59.9)
    assert host.inputs()[PLUS]
    host.stage.at(60.0)
    assert not host.inputs()[PLUS]


@pytest.mark.parametrize(
    ("what", "cause", "index"), [("estop", 1, ESTOP), ("door", 2, DOOR), ("gas", 4, GAS), ("plug", 5, CLAMP)]
)
def test_a_broken_chain_trips_and_latches(host: Host, what: str, cause: int, index: int) -> None:
    def put(broken: bool) -> None:
        if what == "gas":
            host.plc.gas_clear = not broken
        elif what == "plug":
            host.stage.world.plugged = not broken
        else:
            host.plc.faults = frozenset({what} if broken else ())  # type: ignore[arg-type]
        host.stage.timeline.settle()

    host.closed()
    put(True)
    assert host.inputs() == [bit not in (index, PLUS, MINUS, READY) for bit in range(8)]
    assert host.trip == cause
    host.coil(RESET, True)
    assert host.trip == cause, "the cause is still there"
    put(False)
    host.coil(REQUEST, True)
    host.stage.at(1.0)
    assert not host.inputs()[PLUS], "nothing closes before a reset"
    host.coil(RESET, True)
    host.stage.at(1.1)
    assert host.trip == 0
    assert host.inputs()[PLUS]


def test_a_broken_chain_while_open_latches_nothing(host: Host) -> None:
    host.beat()
    host.plc.faults = frozenset({"door"})
    host.stage.timeline.settle()
    assert not host.inputs()[READY]
    host.plc.faults = frozenset()
    assert host.inputs()[READY]
    assert host.trip == 0


def test_tower_and_buzzer_keep_what_is_written_and_reset_reads_zero(host: Host) -> None:
    for coil in (RED, GREEN, BUZZER, RESET):
        host.coil(coil, True)
    assert host.call(bytes.fromhex("0100000006"))[2] == 0b011010
    assert host.plc.tower == {"red": True, "yellow": False, "green": True, "buzzer": True}


def test_another_map_is_told_by_its_version(host: Host) -> None:
    host.plc.faults = frozenset({"wrong_identity"})
    assert host.registers(4, 1, 1) != [0x0101]
