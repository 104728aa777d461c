"""The EA BT 20000 as its programming guide and its register list describe it."""

from __future__ import annotations

import math
import struct

import pytest

from simulators.modbus import MbapFraming
from simulators.world import Terminal
from tests.simulators.bt20000_bench import ADDRESS, DENIED, EXECUTION, VALUE, Bench
from tests.simulators.conftest import Stage


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
        bench.device.local = True
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
