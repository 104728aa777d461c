"""The impedance spectrum: the same cell that the time steps show, seen at one frequency."""

import numpy as np
import pytest

from config.dut import DutModel, shipped_dut_models
from config.simulation import SimulatedBattery
from simulators.cells import CellString
from simulators.impedance import impedances
from simulators.pack import Pack
from simulators.world import Source, World

MODELS = shipped_dut_models()
ALL = pytest.mark.parametrize(
    "dut", [MODELS[name] for name in ("nmc_96s_60ah", "lfp_100s_72ah", "lmo_96s_66ah")], ids=lambda dut: dut.chemistry
)
SOCS = pytest.mark.parametrize("soc", [0.2, 0.5, 0.8])


def used(dut: DutModel, soc: float = 0.5, **of_battery: object) -> Pack:
    battery = {"model": dut.id, "code": "X", "soc": soc, "self_discharge": 0.0, "hysteresis_v": 0.0, **of_battery}
    return Pack.used(dut, SimulatedBattery.model_validate(battery), 1)


def world_of(pack: Pack) -> World:
    return World(pack, lambda: 0.0)


def response(cells: CellString, frequency: float, amplitude: float) -> complex:
    """What the first cell's voltage answers to a sine of current in time steps, by least squares over two periods."""
    per_period, periods = 200, 4
    half_step = 0.5 / frequency / per_period
    angles = 2 * np.pi / per_period * (np.arange(per_period * periods) + 0.5)
    voltages = []
    for current in amplitude * np.cos(angles):
        cells.attempt(current, half_step)
        cells.accept()
        voltages.append(cells.voltages[0])
        cells.attempt(current, half_step)
        cells.accept()
    terms = np.column_stack((np.cos(angles), -np.sin(angles), np.ones_like(angles), angles))
    late = slice(2 * per_period, None)
    real, imaginary, *_ = np.linalg.lstsq(terms[late], np.array(voltages)[late])[0]
    return complex(real, imaginary) / amplitude


@ALL
@SOCS
@pytest.mark.parametrize("frequency", [0.003, 0.02])
def test_the_voltage_in_time_has_the_impedance_that_is_computed(dut: DutModel, soc: float, frequency: float) -> None:
    pack = used(dut, soc)
    expected = impedances(pack.cells, frequency)[0]
    measured = response(pack.cells, frequency, 0.01 * dut.rated_capacity_ah)
    assert abs(measured - expected) < 0.02 * abs(expected)


@ALL
@SOCS
def test_at_1_khz_the_ohmic_part_is_left(dut: DutModel, soc: float) -> None:
    world, last = world_of(used(dut, soc)), dut.series_cells - 1
    at_1_khz, ohmic = world.impedance(0, last, 1000.0), world.ac_resistance(0, last)
    assert 1.0 < at_1_khz.real / ohmic < 1.01
    assert 1.0 < abs(at_1_khz) / ohmic < 1.02


@ALL
@SOCS
def test_a_small_pulse_of_10_s_finds_the_magnitude_at_its_frequency(dut: DutModel, soc: float) -> None:
    """Within 8 %; a pulse of 1C finds up to a third less, since reactions ease with the current."""
    pack = used(dut, soc)
    current = 0.05 * dut.rated_capacity_ah
    pulse = (pack.attempt(0.0, 0.0) - pack.attempt(-current, 10.0)) / current
    magnitude = abs(world_of(pack).impedance(0, dut.series_cells - 1, 1 / (2 * np.pi * 10)))
    assert pulse == pytest.approx(magnitude, rel=0.08)


@ALL
def test_the_spectrum_has_an_arc_and_then_a_warburg_tail(dut: DutModel) -> None:
    world = world_of(used(dut))
    spectrum = [world.impedance(0, 0, frequency) for frequency in np.geomspace(1e4, 1e-4, 200)]
    reactance = [-z.imag for z in spectrum]
    turns = np.flatnonzero(np.diff(np.sign(np.diff(reactance))))
    assert all(value > 0 for value in reactance)
    assert len(turns) >= 2
    assert 1 < np.geomspace(1e4, 1e-4, 200)[turns[0]] < 100
    assert reactance[-1] > reactance[turns[1]]
    assert (np.diff([z.real for z in spectrum]) > 0).all()


def test_a_high_joint_shows_in_its_part_of_the_pack_at_every_frequency() -> None:
    dut = MODELS["nmc_96s_60ah"]
    sound, bad = (world_of(used(dut, **more)) for more in ({}, {"high_joint": {"index": 7, "extra_ohm": 5e-4}}))
    for frequency in (0.01, 1.0, 1000.0):
        assert bad.impedance(0, 11, frequency) - sound.impedance(0, 11, frequency) == pytest.approx(5e-4)
        assert bad.impedance(12, 95, frequency) == sound.impedance(12, 95, frequency)
    assert bad.ac_resistance(0, 11) - sound.ac_resistance(0, 11) == pytest.approx(5e-4)


def test_modules_add_up_and_no_cell_is_outside() -> None:
    world = world_of(used(MODELS["nmc_96s_60ah"]))
    modules = [world.impedance(first, first + 11, 0.1) for first in range(0, 96, 12)]
    assert sum(modules) == pytest.approx(world.impedance(0, 95, 0.1))
    with pytest.raises(IndexError):
        world.impedance(90, 96, 1.0)


def test_a_colder_and_a_loaded_cell_have_other_arcs() -> None:
    time = [0.0]
    dut = MODELS["nmc_96s_60ah"]
    cold, warm = (abs(World(used(dut), lambda: 0.0, degc).impedance(0, 0, 0.1)) for degc in (5.0, 25.0))
    assert cold > 1.5 * warm
    world = World(used(dut), lambda: time[0])
    world.set_contactor(True)
    world.drive(Source(450.0, 60.0, 0.0, 30e3, 0.0))
    time[0] = 1.0
    assert abs(world.impedance(0, 0, 0.1)) < 0.9 * warm
