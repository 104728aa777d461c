"""The air around the battery, and the cells that follow it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.dut import shipped_dut_models
from config.simulation import SimulatedBattery
from simulators.air import MAX_RAMP_K_PER_S, Air
from simulators.pack import Pack
from simulators.world import World

MODULE = shipped_dut_models()["nmc_12s_60ah"]
DEGC = st.floats(-40, 100)


class Clock:
    def __init__(self) -> None:
        self.time = 0.0
        battery = SimulatedBattery(model=MODULE.id, code="PHM12-000001")
        self.world = World(Pack.used(MODULE, battery, 1), lambda: self.time)


def test_without_a_chamber_the_air_stays_as_it_is() -> None:
    it = Clock()
    it.time = 1e6
    assert it.world.ambient_degc == it.world.chamber_degc == 25.0


@given(room=DEGC, set_point=st.none() | DEGC, parts=st.lists(st.floats(0, 5000), max_size=6))
def test_the_way_to_a_set_point_does_not_depend_on_the_steps(
    room: float, set_point: float | None, parts: list[float]
) -> None:
    air = Air(room)
    air.degc, air.set_point = 20.0, set_point
    expected = air.after(sum(parts))
    for seconds in parts:
        air.pass_time(seconds)
    assert air.degc == pytest.approx(expected, abs=2e-3)


@given(start=DEGC, set_point=DEGC)
def test_the_air_never_passes_its_set_point_nor_the_ramp(start: float, set_point: float) -> None:
    air = Air(start)
    air.set_point = set_point
    for _ in range(200):
        before = air.degc
        air.pass_time(60.0)
        assert abs(air.degc - before) <= 60 * MAX_RAMP_K_PER_S + 1e-9
        assert min(start, set_point) <= air.degc <= max(start, set_point)
    assert not air.moving
    assert air.degc == set_point


def test_a_chamber_switched_off_drifts_back_to_the_room() -> None:
    it = Clock()
    it.world.set_chamber(45.0)
    it.time = 3600.0
    assert it.world.chamber_degc == pytest.approx(45.0, abs=0.01)
    it.world.set_chamber(None)
    it.time += 3600.0
    assert 30.0 < it.world.chamber_degc < 45.0
    it.time += 2e5
    assert it.world.chamber_degc == 25.0


def test_cells_follow_the_chamber_slower_than_its_air() -> None:
    """A pouch cell's heat capacity over its heat loss is 33 min: three hours leave less than 1 % of the step."""
    it = Clock()
    it.world.set_chamber(5.0)
    it.time = 1800.0
    assert it.world.chamber_degc == pytest.approx(5.0, abs=0.5)
    assert (it.world.cell_temperatures() > 12.0).all()
    it.time += 3 * 3600
    assert it.world.cell_temperatures() == pytest.approx(5.0, abs=0.15)


def test_asking_often_gives_the_same_temperatures() -> None:
    often, once = Clock(), Clock()
    for it in (often, once):
        it.world.set_chamber(45.0)
    for _ in range(2400):
        often.time += 1.0
        often.world.advance()
    once.time = 2400.0
    assert once.world.chamber_degc == pytest.approx(often.world.chamber_degc, abs=1e-6)
    assert once.world.cell_temperatures() == pytest.approx(np.asarray(often.world.cell_temperatures()), abs=1e-3)
