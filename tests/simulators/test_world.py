"""The world every simulated instrument of a station looks at: exact accounts, honest regulation, no surprises."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.world import Source, World
from tests.simulators.live_world import CHARGE_15A, DISCHARGE_30A, connected, hold, line

# --- the circuit ---------------------------------------------------------------------------------------------------


def test_without_a_source_nothing_flows_and_the_battery_is_seen() -> None:
    it = connected()
    it.wait(60)
    at = it.world.terminal()
    assert (at.current, at.regulation) == (0.0, "off")
    assert at.voltage == it.world.battery_voltage() == pytest.approx(it.world.cell_voltages().sum())


@pytest.mark.parametrize("opened", ["contactor", "plug"])
def test_an_open_circuit_carries_no_current(opened: str) -> None:
    it = connected()
    if opened == "contactor":
        it.world.set_contactor(False)
    else:
        it.world.plugged = False
    it.world.drive(hold(400.0))
    it.wait(60)
    at = it.world.terminal()
    assert (at.voltage, at.current, at.power) == (400.0, 0.0, 0.0)
    assert it.world.charged_ah == it.world.discharged_ah == 0
    it.world.drive(None)
    assert it.world.terminal().voltage == 0.0
    assert it.world.battery_voltage() > 300


@pytest.mark.parametrize("opening", [lambda w: w.set_contactor(False), lambda w: setattr(w, "plugged", False)])
def test_opening_under_current_is_counted_and_ends_it(opening: Callable[[World], None]) -> None:
    it = connected()
    it.world.drive(CHARGE_15A)
    it.wait(10)
    opening(it.world)
    assert it.world.current == 0.0
    assert it.world.hot_openings == 1
    opening(it.world)
    assert it.world.hot_openings == 1


def test_opening_without_current_is_no_hot_opening() -> None:
    it = connected()
    it.world.drive(CHARGE_15A)
    it.wait(10)
    it.world.drive(None)
    it.world.set_contactor(False)
    assert it.world.hot_openings == 0


def test_closing_onto_a_live_source_starts_the_current_at_once() -> None:
    it = line()
    it.world.drive(CHARGE_15A)
    assert it.world.current == 0.0
    it.world.set_contactor(True)
    assert it.world.current == 15.0


# --- regulation ----------------------------------------------------------------------------------------------------


def test_constant_current_is_exact() -> None:
    it = connected()
    it.world.drive(DISCHARGE_30A)
    it.wait(100)
    at = it.world.terminal()
    assert (at.current, at.regulation) == (-30.0, "CC")
    assert it.world.discharged_ah == pytest.approx(30 * 100 / 3600, rel=1e-12)


def test_constant_voltage_is_held_within_1_mv() -> None:
    it = connected(soc=0.8)
    it.world.drive(hold(400.0))
    seen = set()
    for _ in range(400):
        it.wait(5)
        at = it.world.terminal()
        seen.add(at.regulation)
        assert at.voltage <= 400.001
        if at.regulation == "CV":
            assert at.voltage == pytest.approx(400.0, abs=1e-3)
            assert abs(at.current) <= 30.0
    assert seen == {"CC", "CV"}


def test_a_voltage_below_the_batterys_own_draws_current() -> None:
    it = connected(soc=0.8)
    it.world.drive(hold(370.0))
    assert it.world.current == -30.0
    it.wait(3600)
    at = it.world.terminal()
    assert at.current < 0
    assert at.regulation in ("CC", "CV")


@pytest.mark.parametrize(("voltage", "sign"), [(450.0, 1), (0.0, -1)])
def test_a_power_limit_is_held(voltage: float, sign: int) -> None:
    it = connected()
    it.world.drive(hold(voltage, current=80.0, power=5000.0))
    for _ in range(20):
        it.wait(7)
        at = it.world.terminal()
        assert at.regulation == "CP"
        assert at.power == pytest.approx(sign * 5000.0, abs=0.01)
        assert at.power == pytest.approx(at.voltage * at.current)


def test_a_source_without_current_in_the_wanted_direction_rests() -> None:
    it = connected()
    it.world.drive(Source(450.0, 0.0, 30.0, 30e3, 30e3))
    it.wait(100)
    assert it.world.current == 0.0


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_no_limit_of_the_source_is_ever_passed(data: st.DataObject) -> None:
    it = connected(dut_cells=4, soc=0.5)
    for _ in range(data.draw(st.integers(1, 6))):
        source = Source(
            voltage=data.draw(st.floats(10.0, 17.5)),
            charge_current=data.draw(st.floats(0, 100)),
            discharge_current=data.draw(st.floats(0, 100)),
            charge_power=data.draw(st.floats(0, 1500)),
            discharge_power=data.draw(st.floats(0, 1500)),
        )
        it.world.drive(source)
        for _ in range(5):
            it.wait(data.draw(st.floats(0.05, 20)))
            at = it.world.terminal()
            assert -source.discharge_current - 1e-9 <= at.current <= source.charge_current + 1e-9
            assert -source.discharge_power - 1e-3 <= at.power <= source.charge_power + 1e-3
            assert at.current <= 1e-6 or at.voltage <= source.voltage + 2e-4
            assert at.current >= -1e-6 or at.voltage >= source.voltage - 2e-4


# --- accounts ------------------------------------------------------------------------------------------------------


def test_what_was_charged_is_in_the_cells() -> None:
    it = connected(self_discharge=0.0)
    before = it.world.pack.cell_socs() * it.world.pack.cell_capacities_ah
    it.world.drive(CHARGE_15A)
    it.wait(1200)
    it.world.drive(DISCHARGE_30A)
    it.wait(900)
    it.world.advance()
    after = it.world.pack.cell_socs() * it.world.pack.cell_capacities_ah
    assert after - before == pytest.approx(it.world.charged_ah - it.world.discharged_ah, abs=1e-9)
    assert (it.world.charged_ah, it.world.discharged_ah) == pytest.approx((5.0, 7.5))


def test_a_round_trip_costs_energy_and_warms_the_cells() -> None:
    it = connected()
    it.world.drive(hold(450.0))
    it.wait(600)
    charged = it.world.charged_wh
    it.world.drive(DISCHARGE_30A)
    it.wait(600)
    assert it.world.charged_ah == pytest.approx(it.world.discharged_ah)
    assert 0 < it.world.discharged_wh < charged
    assert (it.world.cell_temperatures() > 25).all()


def test_energy_lost_is_heat_in_joints_and_cells() -> None:
    """Joints: I^2 R; cells: heat kept and heat given to the surroundings, from their temperatures."""
    it = connected(dut_cells=4, contact_resistance_ohm=0.002)
    rise_seconds = 0.0
    for source in (hold(17.5), DISCHARGE_30A):
        it.world.drive(source)
        for _ in range(600):
            before = it.world.cell_temperatures()
            it.wait(1)
            rise_seconds += float((before + it.world.cell_temperatures()).sum() / 2 - 4 * 25)
    it.world.drive(None)
    kept = float((it.world.cell_temperatures() - 25).sum()) * 0.8 * 1600 / 33 * 60
    given_off = rise_seconds * 9.5 * 0.068 / 33 * 60
    joints = 30**2 * 0.002 * 1200
    lost = (it.world.charged_wh - it.world.discharged_wh) * 3600
    assert lost == pytest.approx(kept + given_off + joints, rel=0.02)


def test_asking_often_or_seldom_gives_the_same_battery() -> None:
    often, seldom = connected(soc=0.8), connected(soc=0.8)
    for source, seconds in ((CHARGE_15A, 300), (hold(400.0), 1500), (DISCHARGE_30A, 600), (None, 600)):
        for it in (often, seldom):
            it.world.drive(source)
        for _ in range(seconds):
            often.wait(1)
            often.world.cell_voltages()
        for _ in range(seconds // 10):
            seldom.wait(10)
            seldom.world.terminal()
    assert seldom.world.charged_ah == pytest.approx(often.world.charged_ah, rel=1e-6)
    assert seldom.world.discharged_wh == pytest.approx(often.world.discharged_wh, rel=1e-6)
    assert seldom.world.battery_voltage() == pytest.approx(often.world.battery_voltage(), abs=1e-3)


def test_the_same_calls_give_the_same_numbers() -> None:
    results = []
    for _ in range(2):
        it = connected(seed=5)
        it.world.drive(hold(360.0, power=4000.0))
        it.wait(333.3)
        results.append((it.world.terminal(), it.world.cell_voltages().tolist(), it.world.charged_wh))
    assert results[0] == results[1]


def test_extremes_remember_what_is_over() -> None:
    it = connected()
    it.world.drive(hold(450.0, current=60.0))
    it.wait(120)
    highest = float(it.world.cell_voltages().max())
    it.world.drive(DISCHARGE_30A)
    it.wait(10)
    lowest = float(it.world.cell_voltages().min())
    it.world.drive(None)
    it.wait(36000)
    seen = it.world.extremes
    assert seen.current_max == 60.0
    assert seen.cell_voltage_max == pytest.approx(highest, abs=1e-3)
    assert seen.cell_voltage_min <= lowest
    assert seen.temperature_max > 25.2 > it.world.cell_temperatures().max()


def test_the_surroundings_set_the_temperature_and_the_cold_shows() -> None:
    cold, warm = connected(ambient_degc=5.0), connected(ambient_degc=35.0)
    rises = []
    for it, degc in ((cold, 5.0), (warm, 35.0)):
        assert it.world.cell_temperatures() == pytest.approx(degc)
        before = it.world.battery_voltage()
        it.world.drive(CHARGE_15A)
        it.wait(10)
        rises.append(it.world.battery_voltage() - before)
        it.world.drive(None)
    assert rises[0] > rises[1]
    cold.world.ambient_degc = 20.0
    cold.wait(1e6)
    assert cold.world.cell_temperatures() == pytest.approx(20.0)


# --- what meters and the BMS see -------------------------------------------------------------------------------------


def test_parts_of_the_pack_can_be_measured() -> None:
    it = line()
    cells = it.world.cell_voltages()
    assert it.world.voltage_between(12, 23) == pytest.approx(cells[12:24].sum())
    assert it.world.voltage_between(0, 95) == pytest.approx(it.world.battery_voltage())
    modules = [it.world.ac_resistance(first, first + 11) for first in range(0, 96, 12)]
    assert sum(modules) == pytest.approx(it.world.ac_resistance(0, 95))
    for first, last in ((-1, 3), (5, 4), (90, 96)):
        with pytest.raises(IndexError):
            it.world.voltage_between(first, last)
        with pytest.raises(IndexError):
            it.world.ac_resistance(first, last)


def test_ac_resistance_is_less_than_dc_resistance() -> None:
    it = connected()
    before = it.world.battery_voltage()
    it.world.drive(DISCHARGE_30A)
    it.wait(10)
    assert 0 < it.world.ac_resistance(0, 95) < (before - it.world.battery_voltage()) / 30


def test_the_bms_counts_in_its_own_capacity() -> None:
    it = connected(bms_capacity_factor=1.1)
    exact = connected(bms_capacity_factor=1.0)
    assert it.world.bms_capacity_ah() == pytest.approx(1.1 * exact.world.bms_capacity_ah())
    assert it.world.bms_soh() == pytest.approx(it.world.bms_capacity_ah() / 60)
    start = it.world.bms_soc()
    assert start == pytest.approx(it.world.pack.soc)
    it.world.drive(CHARGE_15A)
    it.wait(3600)
    assert it.world.bms_soc() - start == pytest.approx(15 / it.world.bms_capacity_ah())
    assert it.world.bms_soc() < it.world.pack.soc
