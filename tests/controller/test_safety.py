"""Limits judged on samples, without a station around them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from controller.safety import BLIND_AFTER, PLC_SILENT_AFTER, Alarm, Safety
from controller.sampler import Sampler
from drivers.roles import CyclerReading, InterlockReading, Regulation
from sequences import Bound, Counters, Quality, Sample, Value

HOT = Bound("temperature_max", "temperature_max", +1, warn=45.0, trip=50.0, delay=2.0, unit="degC")
CELL = Bound("cell_voltage_min", "cell_min", -1, warn=2.65, trip=2.55, delay=1.0, unit="V")
CHARGE = Bound("charge_current", "charge_current", +1, warn=31.0, trip=36.0, delay=0.0, unit="A")
CLOSED = InterlockReading(True, True, True, True, True, True, True, 1, "")


class Watch:
    """A Safety armed at time 0, shown samples that are good in everything that is not said otherwise."""

    def __init__(self, *bounds: Bound, interlock: InterlockReading | None = CLOSED) -> None:
        self.sampler = SimpleNamespace(interlock=interlock, cycler=None, battery=None)
        self.safety = Safety(cast(Sampler, self.sampler), {"slow": 5.0})
        self.safety.arm([HOT, CELL, *bounds], 0.0)
        self.safety.expect_contactors(closed=True)

    def at(self, t: float, counters: Counters | None = None, **values: float | None) -> list[Alarm]:
        quiet = {"temperature_max": 25.0, "cell_min": 3.6, "current": 0.0, "ready": 1.0, "plc_beat": t}
        shown: dict[str, Any] = quiet | values
        measured = {
            name: Value(value or 0.0, t, Quality.BAD if value is None else Quality.GOOD, "test")
            for name, value in shown.items()
        }
        return self.safety.judge(Sample(t, measured, counters=counters or Counters()))

    def codes(self, t: float, **values: float | None) -> list[str]:
        return [alarm.code for alarm in self.at(t, **values)]


def test_a_level_trips_once_it_has_been_passed_for_its_delay() -> None:
    watch = Watch()
    assert watch.codes(1.0, temperature_max=50.1) == []
    assert watch.codes(2.9, temperature_max=50.1) == []
    assert watch.codes(3.0, temperature_max=50.1) == ["W-SAFETY-LIMIT", "E-SAFETY-TRIP"]
    assert watch.codes(4.0, temperature_max=50.1) == [], "once, until its cause is gone"


def test_a_level_that_is_left_in_time_does_not_trip() -> None:
    watch = Watch()
    for t in range(0, 20, 2):
        assert watch.codes(float(t), temperature_max=50.1) == []
        assert watch.codes(t + 1.0, temperature_max=44.0) == []


def test_a_value_that_is_not_good_neither_passes_nor_clears_a_level() -> None:
    watch = Watch()
    watch.at(0.0, temperature_max=50.1)
    assert watch.codes(1.0, temperature_max=None) == []
    assert "E-SAFETY-TRIP" in watch.codes(2.0, temperature_max=50.1)


def test_each_direction_of_current_has_its_own_limit() -> None:
    watch = Watch(CHARGE)
    assert watch.codes(1.0, current=-100.0) == []
    assert watch.codes(2.0, current=36.1) == ["W-SAFETY-LIMIT", "E-SAFETY-TRIP"]


def test_blindness_trips_after_its_time_and_names_the_signal() -> None:
    watch = Watch()
    assert watch.codes(BLIND_AFTER, cell_min=None) == []
    alarms = watch.at(BLIND_AFTER + 0.1, cell_min=None)
    assert [alarm.code for alarm in alarms] == ["E-SAFETY-BLIND"]
    assert "cell_min" in alarms[0].message


def test_a_plc_whose_heartbeat_stands_still_trips() -> None:
    watch = Watch()
    watch.at(0.0, plc_beat=7.0)
    assert watch.codes(PLC_SILENT_AFTER, plc_beat=7.0) == []
    assert watch.codes(PLC_SILENT_AFTER + 0.1, plc_beat=7.0) == ["E-PLC-SILENT"]


def test_an_open_chain_trips_and_says_why() -> None:
    opened = InterlockReading(False, True, True, True, False, False, True, 1, "E-stop")
    alarms = Watch(interlock=opened).at(1.0)
    assert [alarm.code for alarm in alarms] == ["E-INTERLOCK", "E-CONTACTOR"]
    assert "E-stop" in alarms[0].message


def test_an_alarm_of_the_cycler_itself_trips() -> None:
    watch = Watch()
    watch.sampler.cycler = CyclerReading(380.0, 0.0, 0.0, False, Regulation.OFF, ("OVP",))
    alarms = watch.at(1.0)
    assert [alarm.code for alarm in alarms] == ["E-CYCLER-ALARM"]
    assert watch.codes(2.0) == [], "once, until its cause is gone"
    assert "OVP" in alarms[0].message


def test_throughput_counts_both_directions() -> None:
    bound = Bound("total_throughput", "throughput", +1, warn=150.0, trip=180.0, delay=0.0, unit="Ah")
    assert [a.trip for a in Watch(bound).at(1.0, Counters(charged_ah=100.0, discharged_ah=81.0))] == [False, True]


@given(st.lists(st.tuples(st.floats(0.05, 2.0), st.floats(0, 100)), min_size=1, max_size=40))
def test_no_limit_is_passed_for_longer_than_its_delay_without_a_trip(steps: list[tuple[float, float]]) -> None:
    watch, t, since, tripped = Watch(), 0.0, None, False
    for dt, celsius in steps:
        t += dt
        tripped = tripped or "E-SAFETY-TRIP" in watch.codes(t, temperature_max=celsius)
        since = (since if since is not None else t) if celsius > HOT.trip else None
        if since is not None and t - since >= HOT.delay:
            assert tripped
