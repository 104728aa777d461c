"""What the EA BT 20000 watches by itself: protections, the Ah counter, silence; and its faults."""

from __future__ import annotations

import math

import pytest

from tests.simulators.bt20000_bench import DENIED, EXECUTION, VALUE, Bench
from tests.simulators.conftest import Stage


@pytest.fixture
def bench(stage: Stage) -> Bench:
    return Bench(stage)


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
