"""The oracle: what it says is what a test on the same battery finds, and asking disturbs nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from config.dut import DutModel
from simulators.electrodes import Array
from simulators.world import Source
from tests.simulators.live_world import CHARGE_15A, MODELS, Line, connected, line, shortened

CHEMISTRIES = pytest.mark.parametrize("model", ["nmc_96s_60ah", "lfp_100s_72ah", "lmo_96s_66ah"])


@dataclass
class Bench:
    """A capacity test with resistance pulses, cell by cell as the BMS shows them, with steps of seconds."""

    it: Line
    dut: DutModel

    def flow(self, current: float) -> None:
        away = Source(0.0, 0.0, -current, 0.0, 1e6) if current < 0 else Source(1e3, current, 0.0, 1e6, 0.0)
        self.it.world.drive(away if current else None)

    def rest(self, seconds: float) -> Array:
        """Cell voltages (n,) at its end."""
        self.flow(0.0)
        self.it.wait(seconds)
        return self.it.world.cell_voltages()

    def charge_fully(self, current: float) -> None:
        world, limit, present = self.it.world, self.dut.cell_voltage_max_v, current
        per_cell = 2 * self.dut.initial_dcir_ohm / self.dut.series_cells
        while present > 0.1 * self.dut.rated_capacity_ah:
            self.flow(present)
            self.it.wait(2)
            present = min(current, present + (limit - float(world.cell_voltages().max())) / per_cell)

    def discharge(self, current: float, ah: float = np.inf) -> None:
        world = self.it.world
        goal = world.discharged_ah + ah
        self.flow(-current)
        while world.cell_voltages().min() > self.dut.cell_voltage_min_v and world.discharged_ah < goal:
            self.it.wait(1)
        self.flow(0.0)

    def pulse(self) -> tuple[float, Array]:
        """Resistance of the battery and of each cell (n,) after 10 s at 1C, in ohm."""
        world, current = self.it.world, self.dut.rated_capacity_ah
        before, cells = world.battery_voltage(), world.cell_voltages()
        self.flow(-current)
        self.it.wait(10)
        ohms = (cells - world.cell_voltages()) / current
        ohm = (before - world.battery_voltage()) / current
        self.flow(0.0)
        return ohm, ohms


@CHEMISTRIES
def test_the_truth_is_what_a_test_on_the_battery_finds(model: str) -> None:
    """Aged cells that differ, one behind, one joint loose; the joint is seen as its cell's resistance."""
    dut = shortened(MODELS[model], 8)
    defects = {"imbalance": [{"index": 2, "soc_offset": -0.04}], "high_joint": {"index": 5, "extra_ohm": 1e-3}}
    it = connected(dut=MODELS[model], dut_cells=8, soc=0.8, soh_sd=0.02, **defects)
    truth = it.world.truth(0.5)
    bench, current = Bench(it, dut), dut.rated_capacity_ah / 2

    bench.charge_fully(current)
    spread_full = float(np.ptp(bench.rest(600)))
    charge, energy = it.world.discharged_ah, it.world.discharged_wh
    bench.discharge(current)
    capacity, energy = it.world.discharged_ah - charge, it.world.discharged_wh - energy
    weakest = int(it.world.cell_voltages().argmin())
    spread_empty = float(np.ptp(bench.rest(600)))

    bench.rest(20_000)
    bench.charge_fully(current)
    bench.rest(600)
    points = {}
    for left, ah in ((80, 0.2), (50, 0.3), (20, 0.3)):
        bench.discharge(current, ah * capacity)
        cells = bench.rest(600)
        points[left] = (*bench.pulse(), float(np.ptp(cells)))

    assert truth["capacity_ah"] == pytest.approx(capacity, rel=2e-3)
    assert truth["energy_wh"] == pytest.approx(energy, rel=3e-3)
    assert truth["soh"] == truth["capacity_ah"] / dut.rated_capacity_ah
    assert truth["soce"] == truth["energy_wh"] / dut.rated_energy_wh
    assert truth["weakest_cell"] == weakest
    # the pulses before the last two took some charge, which moves LFP along the steep foot of its curve
    for key, left, tolerance in (
        ("dcir_10s_80_ohm", 80, 0.01),
        ("dcir_10s_ohm", 50, 0.015),
        ("dcir_10s_20_ohm", 20, 0.03),
    ):
        assert truth[key] == pytest.approx(points[left][0], rel=tolerance), key
    ohms = points[50][1]
    assert truth["cell_dcir_cell"] == ohms.argmax() == 5
    assert truth["cell_dcir_ratio"] == pytest.approx(ohms.max() / np.median(ohms), rel=0.01)
    assert truth["cell_spread_v"] == pytest.approx(points[50][2], abs=1e-3)
    assert truth["cell_spread_full_v"] == pytest.approx(spread_full, abs=2e-3)
    assert truth["cell_spread_empty_v"] == pytest.approx(spread_empty, rel=0.05)


def test_self_discharge_is_what_standing_shows() -> None:
    it = line(soc=0.5, dut_cells=12, soft_short={"index": 4, "ohm": 300.0}, soc_offset_sd=0.0)
    truth = it.world.truth()
    before = it.world.pack.cell_socs() * it.world.pack.cell_capacities_ah
    it.wait(10 * 86400)
    it.world.advance()
    lost = (before - it.world.pack.cell_socs() * it.world.pack.cell_capacities_ah) * 3 / 60 * 100
    assert truth["leaking_cell"] == lost.argmax() == 4
    assert truth["self_discharge_percent_per_month"] == pytest.approx(lost[4], rel=0.02)
    assert np.delete(lost, 4) == pytest.approx(2.0)


def test_resistance_is_stated_against_the_new_battery() -> None:
    truth = line(dut=MODELS["nmc_12s_60ah"], dut_cells=12).world.truth()
    assert truth["dcir_increase"] == pytest.approx(truth["dcir_10s_ohm"] / 0.02887 - 1)


@pytest.mark.parametrize("model", sorted(MODELS))
def test_a_new_battery_has_its_models_ratings(model: str) -> None:
    """Capacity at C/3; energy and its ratio of capacities at C/2; resistance of cells that are 25 degC warm."""
    dut = MODELS[model]
    new = line(
        dut=dut,
        dut_cells=dut.series_cells,
        soh_mean=1.0,
        soh_sd=0,
        resistance_factor_mean=1,
        resistance_factor_cv=0,
        soc_offset_sd=0,
    )
    slow, fast = new.world.truth(1 / 3), new.world.truth(0.5)
    assert slow["soh"] == pytest.approx(1.0, abs=0.006)
    assert fast["soce"] == pytest.approx(1.0, abs=1e-3)
    assert slow["capacity_ah"] / fast["capacity_ah"] == pytest.approx(dut.capacity_factor_c2_to_c3, abs=1e-4)
    # the discharge to 50 % has warmed them
    assert -0.04 < fast["dcir_increase"] < 0


@pytest.mark.parametrize("index", [0, 40, 95])
def test_the_weak_cell_limits_the_pack(index: int) -> None:
    it = line(weak_cell={"index": index, "extra_lli": 0.06})
    healthy = line()
    truth = it.world.truth()
    assert truth["weakest_cell"] == index
    assert truth["capacity_ah"] < healthy.world.truth()["capacity_ah"] - 1.0


def test_capacity_falls_with_rate() -> None:
    it = line(dut_cells=12)
    capacities = [it.world.truth(rate)["capacity_ah"] for rate in (0.1, 1 / 3, 0.5, 1.0)]
    assert capacities == sorted(capacities, reverse=True)


def test_capacity_follows_the_health_asked_for() -> None:
    good, bad = line(soh_mean=0.92).world.truth(), line(soh_mean=0.72).world.truth()
    assert good["cell_capacity_mean_ah"] / 60 == pytest.approx(0.92, abs=0.04)
    assert bad["cell_capacity_mean_ah"] / 60 == pytest.approx(0.72, abs=0.04)
    assert good["capacity_ah"] < good["cell_capacity_mean_ah"]


def test_resistance_grows_with_the_resistance_factor() -> None:
    light, heavy = (line(dut_cells=12, resistance_factor_mean=f).world.truth()["dcir_10s_ohm"] for f in (1.0, 2.0))
    assert 1.3 * light < heavy < 2.0 * light


def test_the_oracle_does_not_depend_on_the_moment_and_disturbs_nothing() -> None:
    asked, left_alone = connected(), connected()
    first = asked.world.truth()
    for it in (asked, left_alone):
        it.world.drive(CHARGE_15A)
        it.wait(100)
    second = asked.world.truth()
    for it in (asked, left_alone):
        it.wait(100)
    assert asked.world.terminal() == left_alone.world.terminal()
    assert np.array_equal(asked.world.cell_voltages(), left_alone.world.cell_voltages())
    assert np.array_equal(asked.world.cell_temperatures(), left_alone.world.cell_temperatures())
    assert asked.world.charged_wh == left_alone.world.charged_wh
    assert second["capacity_ah"] == pytest.approx(first["capacity_ah"], rel=1e-3)
