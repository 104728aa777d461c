"""The EA BT 20000 as its programming guide and its register list describe it."""

from __future__ import annotations

import math
import struct

import pytest

from simulators.bt20000_modbus import BtInstrument
from simulators.modbus import MbapFraming
from simulators.world import Terminal
from tests.simulators.conftest import Stage

DENIED, LOCAL, ADDRESS, VALUE, EXECUTION = 0x07, 0x17, 0x02, 0x03, 0x04


class Bench:
    """A BT on a fake battery, spoken to in PDUs, on a timeline of its own."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.world = stage.world
        self.instrument = BtInstrument(stage.world, "2023120002")  # type: ignore[arg-type]
        self.device = self.instrument.device
        stage.play(self.instrument)

    def call(self, pdu: bytes) -> bytes:
        self.stage.timeline.catch_up()
        answer = self.instrument.respond(0, pdu)
        assert answer is not None
        return answer

    def read(self, address: int, count: int = 1) -> list[int]:
        answer = self.call(struct.pack(">BHH", 3, address, count))
        assert answer[0] == 3, answer.hex()
        return list(struct.unpack(f">{count}H", answer[2:]))

    def text(self, address: int) -> str:
        return struct.pack(">20H", *self.read(address, 20)).rstrip(b"\0").decode()

    def number(self, address: int) -> float:
        value: float = struct.unpack(">f", struct.pack(">2H", *self.read(address, 2)))[0]
        return value

    def state(self, address: int = 505) -> int:
        high, low = self.read(address, 2)
        return high << 16 | low

    def bit(self, number: int, address: int = 505) -> bool:
        return bool(self.state(address) >> number & 1)

    def error(self, pdu: bytes) -> int:
        """The exception code of a refusal, 0 for none."""
        answer = self.call(pdu)
        return answer[1] if answer[0] & 0x80 else 0

    def coil(self, address: int, on: bool = True) -> int:
        return self.error(struct.pack(">BHH", 5, address, 0xFF00 if on else 0))

    def coil_reads(self, address: int) -> bool:
        answer = self.call(struct.pack(">BHH", 1, address, 1))
        assert answer[0] == 1
        return answer[2] != 0

    def write(self, address: int, word: int) -> int:
        return self.error(struct.pack(">BHH", 6, address, word))

    def write_float(self, address: int, value: float) -> int:
        return self.error(struct.pack(">BHHBf", 16, address, 2, 4, value))

    def volts(self, address: int, value: float) -> int:
        return self.write(address, round(value / 500 * 0xCCCC))

    def amperes(self, address: int, value: float) -> int:
        return self.write(address, round(value / 90 * 0xCCCC))

    def supplying(self) -> Bench:
        """A power supply in remote, contactor closed, 10 A of charge ready to flow into 355.2 V."""
        self.world.contactor_closed = True
        assert self.coil(402) == self.volts(500, 400) == self.amperes(501, 10) == self.amperes(499, 10) == 0
        return self

    def testing(self, amperes: float = 30.0) -> Bench:
        """A battery tester in remote, contactor closed, between 300 V and 400 V."""
        self.world.contactor_closed = True
        assert self.coil(402) == self.coil(431) == 0
        assert self.write_float(490, amperes) == self.write_float(492, 400) == self.write_float(494, 300) == 0
        return self


@pytest.fixture
def bench(stage: Stage) -> Bench:
    return Bench(stage)


class TestFramesOfTheGuide:
    def test_remote_control(self, bench: Bench) -> None:
        assert bench.call(bytes.fromhex("050192FF00")) == bytes.fromhex("050192FF00")
        assert bench.coil_reads(402)
        assert bench.call(bytes.fromhex("0501920000")) == bytes.fromhex("0501920000")
        assert not bench.coil_reads(402)

    def test_half_of_the_nominal_current(self, bench: Bench) -> None:
        bench.coil(402)
        assert bench.call(bytes.fromhex("0601F56666")) == bytes.fromhex("0601F56666")
        assert bench.read(501) == [0x6666]
        assert bench.device.levels["A"] == pytest.approx(45, abs=1e-3)  # type: ignore[index]

    def test_denied_without_remote_control_and_because_of_local(self, bench: Bench) -> None:
        assert bench.call(bytes.fromhex("0601F56666")) == bytes.fromhex("8607")
        assert bench.call(bytes.fromhex("050195FF00")) == bytes.fromhex("8507")
        bench.device.lock_local(True)
        assert bench.call(bytes.fromhex("050192FF00")) == bytes.fromhex("8517")

    def test_actual_values_in_one_snapshot(self, bench: Bench) -> None:
        raw = (0x2620, 0x0C9B, 0x091B)
        volts, amperes, watts = (v * n / 0xCCCC for v, n in zip(raw, (500, 90, 30000), strict=True))
        bench.world.terminal = lambda: Terminal(volts, amperes, watts, "CC")  # type: ignore[method-assign]
        assert bench.call(bytes.fromhex("0301FB0003")) == bytes.fromhex("030626200C9B091B")

    def test_nominal_voltage_on_the_wire(self, bench: Bench) -> None:
        (request,) = MbapFraming().feed(bytes.fromhex("4711 0000 0006 00 03 0079 0002"))
        answer = bench.instrument.respond(request.unit, request.pdu)
        assert answer is not None
        assert request.framed(answer) == bytes.fromhex("4711 0000 0007 00 03 04 43FA0000")

    def test_state_of_a_running_output(self, bench: Bench) -> None:
        bench.supplying().coil(405)
        # the guide's 0x483 on USB: Ethernet has another location, and the list adds that it is remote
        assert bench.state() == 0x14 | 0x80 | 0x400 | 0x800


class TestModbus:
    def test_only_unit_0_answers(self, bench: Bench) -> None:
        assert [bench.instrument.respond(unit, bytes.fromhex("0300000001")) for unit in (1, 2, 255)] == [None] * 3

    def test_limited_compliance_answers_a_coil_in_two_bytes(self, bench: Bench) -> None:
        assert bench.call(bytes.fromhex("0101920001")) == bytes.fromhex("01020000")
        bench.coil(402)
        assert bench.call(bytes.fromhex("0101920001")) == bytes.fromhex("0102FF00")

    def test_full_compliance_answers_it_in_one(self, bench: Bench) -> None:
        assert bench.coil(10013) == DENIED
        bench.coil(402)
        assert bench.coil(10013) == 0
        assert bench.call(bytes.fromhex("0101920001")) == bytes.fromhex("010101")

    @pytest.mark.parametrize("function", [2, 4, 15, 43])
    def test_other_functions(self, bench: Bench, function: int) -> None:
        assert bench.error(struct.pack(">BHH", function, 0, 1)) == 1

    @pytest.mark.parametrize("pdu", ["0301FA0005", "0300020100", "0101920002", "0100010001", "01019B0001"])
    def test_what_cannot_be_read(self, bench: Bench, pdu: str) -> None:
        assert bench.error(bytes.fromhex(pdu)) in (ADDRESS, VALUE)

    @pytest.mark.parametrize(
        ("pdu", "code"),
        [
            ("0601FB0001", DENIED),  # actual voltage is read-only
            ("0601FC0001", DENIED),
            ("0600790001", DENIED),  # a nominal value too
            ("0603FF0001", ADDRESS),
            ("0601EA0001", ADDRESS),  # a float by function 6
            ("1001F4000102 6666", ADDRESS),  # a set value by function 16
            ("1001EA000102 0000", VALUE),  # half a float
            ("1001EB000204 00000000", ADDRESS),
            ("0501FFFF00", ADDRESS),
            ("0501921234", VALUE),
        ],
    )
    def test_what_cannot_be_written(self, bench: Bench, pdu: str, code: int) -> None:
        bench.coil(402)
        assert bench.error(bytes.fromhex(pdu)) == code

    def test_a_text_of_the_user(self, bench: Bench) -> None:
        bench.coil(402)
        assert bench.error(struct.pack(">BHHB8s", 16, 171, 4, 8, b"line1/st")) == 0
        assert bench.text(171) == "line1/st"
        assert bench.error(struct.pack(">BHHB42s", 16, 171, 21, 42, b"x" * 42)) == VALUE


class TestIdentity:
    def test_texts(self, bench: Bench) -> None:
        assert bench.text(1) == "BT 20500-90"
        assert bench.text(21).startswith("EA Elektro-Automatik")
        assert bench.text(151) == "2023120002"

    def test_nominal_values(self, bench: Bench) -> None:
        assert [bench.number(address) for address in (121, 123, 125)] == [500.0, 90.0, 30000.0]


class TestSettings:
    @pytest.mark.parametrize(("address", "most"), [(498, 0xD0E5), (500, 0xD0E5), (502, 0xD0E5), (550, 0xE147)])
    def test_ranges(self, bench: Bench, address: int, most: int) -> None:
        bench.coil(402)
        assert bench.write(address, most) == 0
        assert bench.read(address) == [most]
        assert bench.write(address, most + 1) == VALUE
        assert bench.read(address) == [most]

    def test_an_adjustment_limit_rejects_what_is_beyond(self, bench: Bench) -> None:
        bench.coil(402)
        assert bench.amperes(9002, 60) == 0
        assert bench.amperes(501, 61) == VALUE
        assert bench.amperes(501, 60) == 0
        assert bench.amperes(9003, 61) == VALUE, "it would exclude the present setting"

    @pytest.mark.parametrize(("address", "value"), [(490, 90.1), (490, -90.1), (492, 501.0), (494, -1.0)])
    def test_ranges_of_the_battery_tester(self, bench: Bench, address: int, value: float) -> None:
        bench.coil(402)
        for wrong in (value, math.nan, math.inf):
            assert bench.write_float(address, wrong) == VALUE
        assert bench.number(address) == 0.0

    def test_limits_of_the_battery_current(self, bench: Bench) -> None:
        bench.coil(402)
        assert [bench.number(9010), bench.number(9012)] == [90.0, -90.0]
        assert bench.write_float(9010, 60) == bench.write_float(9012, -50) == 0
        assert bench.write_float(490, 61) == bench.write_float(490, -51) == VALUE
        assert bench.write_float(490, -50) == 0
        assert bench.write_float(9012, -40) == VALUE

    @pytest.mark.parametrize(
        ("address", "good", "bad"),
        [(408, 0xFFFE, 1), (427, 2, 3), (436, 1, 2), (577, 1, 2), (560, 3, 4), (538, 2, 3), (539, 3, 1), (542, 1, 2)],
    )
    def test_settings_of_a_few_values(self, bench: Bench, address: int, good: int, bad: int) -> None:
        bench.coil(402)
        assert bench.write(address, good) == 0
        assert bench.write(address, bad) == VALUE
        assert bench.read(address) == [good]

    def test_resistance_mode_is_refused(self, bench: Bench) -> None:
        bench.coil(402)
        assert bench.coil(409) == EXECUTION
        assert not bench.coil_reads(409)


class TestPowerSupply:
    def test_charging(self, bench: Bench) -> None:
        bench.supplying()
        assert bench.coil(405) == 0
        assert bench.coil_reads(405)
        volts, amperes, watts = bench.read(507, 3)
        assert volts * 500 / 0xCCCC == pytest.approx(357.2, abs=0.01)
        assert amperes * 90 / 0xCCCC == pytest.approx(10, abs=0.002)
        assert watts * 30000 / 0xCCCC == pytest.approx(3572, abs=1)
        assert bench.read(514, 3) == [0, 0, volts]

    def test_sinking_shows_in_the_state_alone(self, bench: Bench) -> None:
        bench.supplying().volts(500, 300)
        bench.coil(405)
        assert bench.read(508)[0] * 90 / 0xCCCC == pytest.approx(10, abs=0.002)
        assert bench.bit(12)

    def test_leaving_remote_control_switches_off(self, bench: Bench) -> None:
        bench.supplying().coil(405)
        bench.coil(402, False)
        assert bench.world.source is None
        assert bench.state() == 0

    def test_unless_the_output_is_to_stay(self, bench: Bench) -> None:
        bench.supplying().coil(405)
        bench.coil(425)
        bench.coil(402, False)
        assert bench.world.source is not None
        assert bench.state() & 0x880 == 0x80


class TestBatteryTester:
    def test_one_signed_current_charges_and_discharges(self, bench: Bench) -> None:
        bench.testing(30).coil(405)
        assert bench.world.terminal().current == pytest.approx(30)
        assert not bench.bit(12)
        bench.write_float(490, -45)
        assert bench.world.terminal().current == pytest.approx(-45)
        assert bench.bit(12)

    def test_it_charges_up_to_the_charge_voltage_and_never_back(self, bench: Bench) -> None:
        bench.testing(30).coil(405)
        bench.write_float(492, 356.2)
        assert bench.world.terminal().voltage == pytest.approx(356.2)
        assert bench.state() >> 9 & 3 == 0, "constant voltage"
        bench.write_float(492, 350)
        assert bench.world.terminal().current == 0

    def test_the_power_set_values_hold(self, bench: Bench) -> None:
        bench.testing(30).write(498, 0x1000)
        bench.coil(405)
        assert bench.world.source is not None
        assert bench.world.source.discharge_power == pytest.approx(0x1000 / 0xCCCC * 30000)

    def test_the_mode_is_not_changed_under_an_output_that_is_on(self, bench: Bench) -> None:
        bench.testing(30).coil(405)
        assert bench.coil(431, False) == EXECUTION
        assert bench.coil(431, True) == 0
        assert bench.coil_reads(431)


class TestProtections:
    @pytest.mark.parametrize(
        ("address", "raw", "bit", "counter", "sink"),
        [
            (550, 356.5 / 500, 16, 520, False),
            (553, 9.5 / 90, 17, 521, False),
            (556, 3000 / 30000, 18, 522, False),
            (569, 9.5 / 90, 17, 525, True),
            (570, 3000 / 30000, 18, 526, True),
        ],
    )
    def test_trip_switch_off_latch_and_count(
        self, bench: Bench, address: int, raw: float, bit: int, counter: int, sink: bool
    ) -> None:
        bench.supplying()
        if sink:
            bench.volts(500, 300)
        bench.coil(405)
        assert bench.write(address, round(raw * 0xCCCC)) == 0
        assert bench.world.source is None
        assert bench.bit(bit)
        assert bench.bit(15)
        assert bench.bit(31) == sink
        assert bench.read(520, 8) == [int(520 + index == counter) for index in range(8)]
        assert bench.coil(405) == EXECUTION, "not before it is acknowledged"
        assert bench.coil(411) == 0
        assert bench.state() & 0xFFFF8000 == 0
        bench.write(address, 0xE147)
        assert bench.coil(405) == 0

    def test_they_trip_between_requests(self, bench: Bench) -> None:
        bench.supplying().coil(405)
        bench.volts(550, 360)
        bench.stage.at(10)
        bench.world.cells[:] = 3.8
        bench.stage.at(11.5)
        assert bench.world.source is None

    def test_an_event_with_an_alarm(self, bench: Bench) -> None:
        bench.supplying().volts(559, 350)
        bench.write(560, 3)
        bench.coil(405)
        bench.world.cells[:] = 3.5
        bench.stage.at(2)
        assert bench.world.source is None
        assert bench.bit(24)


class TestAhCounter:
    def test_it_counts_while_it_is_on(self, bench: Bench) -> None:
        bench.testing().world.charged_ah = 5.0
        bench.coil(435)
        bench.world.charged_ah, bench.world.discharged_ah = 7.0, 0.5
        assert [bench.number(address) for address in (534, 536, 543)] == [2.0, 0.5, 1.5]
        bench.coil(435, False)
        bench.world.charged_ah = 9.0
        assert bench.number(534) == 2.0
        bench.coil(541)
        assert bench.number(534) == bench.number(543) == 0.0

    def test_automatic_reset(self, bench: Bench) -> None:
        bench.testing().coil(435)
        bench.write(538, 2)
        bench.world.charged_ah = 3.0
        bench.coil(405)
        assert bench.number(534) == 0.0

    def test_a_setpoint_shows_and_switches_off_if_wanted(self, bench: Bench) -> None:
        bench.testing().coil(435)
        bench.write_float(532, 2.0)
        bench.coil(405)
        bench.world.discharged_ah = 2.5
        bench.stage.at(5)
        assert bench.bit(18, 511)
        assert bench.coil_reads(405)
        bench.write(539, 3)
        bench.stage.at(10)
        assert not bench.coil_reads(405)
        assert bench.bit(15)
        assert bench.coil(411) == 0
        assert bench.bit(15), "the cause is still there"
        bench.coil(541)
        bench.coil(411)
        assert not bench.bit(15)

    def test_delta_or_separate(self, bench: Bench) -> None:
        bench.testing().coil(435)
        bench.write_float(530, 2.0)
        bench.world.charged_ah, bench.world.discharged_ah = 3.0, 2.0
        assert not bench.bit(17, 511)
        bench.write(542, 1)
        assert bench.bit(17, 511)


class TestSupervision:
    def test_silence_leaves_remote_control_and_switches_off(self, bench: Bench) -> None:
        bench.testing().coil(405)
        bench.write(10800, 7)
        bench.write(10801, 1)
        assert bench.read(10800, 2) == [7, 1]
        bench.stage.at(6.9)
        assert bench.world.source is not None
        bench.stage.at(7.0)
        assert bench.world.source is None
        assert bench.state() == 0x1C
        bench.coil(402)
        assert bench.state() & 0x1F == 0x14

    def test_any_request_is_traffic(self, bench: Bench) -> None:
        bench.testing().coil(405)
        bench.write(10801, 1)
        for second in range(1, 30, 4):
            bench.stage.at(second)
            bench.read(0)
        assert bench.world.source is not None

    @pytest.mark.parametrize(("address", "bad"), [(10800, 0), (10800, 36001), (10801, 2), (10889, 4)])
    def test_ranges(self, bench: Bench, address: int, bad: int) -> None:
        assert bench.write(address, 5) == DENIED
        bench.coil(402)
        assert bench.write(address, bad) == VALUE

    def test_a_silent_socket_is_closed_unless_told_otherwise(self, bench: Bench) -> None:
        assert bench.instrument.idle_timeout_s == 5
        bench.coil(402)
        bench.write(10889, 60)
        assert bench.instrument.idle_timeout_s == 60
        bench.coil(10007)
        assert bench.instrument.idle_timeout_s == 0


def test_faults(bench: Bench) -> None:
    bench.testing().coil(405)
    bench.instrument.faults = frozenset({"wrong_identity", "nan", "output_refuses_off"})
    assert bench.text(151) != "2023120002"
    assert bench.read(507, 3) == [0xFFFF] * 3
    assert math.isnan(bench.number(534))
    assert bench.coil(405, False) == EXECUTION
    assert bench.coil_reads(405)
