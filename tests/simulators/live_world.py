"""A simulated battery with its world, in a line time that tests move on by hand."""

from __future__ import annotations

from dataclasses import dataclass, field

from config.dut import DutModel, shipped_dut_models
from config.simulation import SimulatedBattery
from simulators.pack import Pack
from simulators.world import Source, World

MODELS = shipped_dut_models()
NMC = MODELS["nmc_96s_60ah"]
CHARGE_15A = Source(voltage=450.0, charge_current=15.0, discharge_current=0.0, charge_power=30e3, discharge_power=0.0)
DISCHARGE_30A = Source(voltage=0.0, charge_current=0.0, discharge_current=30.0, charge_power=0.0, discharge_power=30e3)


@dataclass
class Line:
    """A world and the line time it lives in."""

    world: World
    time: list[float] = field(default_factory=lambda: [0.0])

    def wait(self, seconds: float) -> None:
        self.time[0] += seconds


def shortened(dut: DutModel, cells: int) -> DutModel:
    """The same model with fewer cells in series, its ratings in proportion."""
    part = cells / dut.series_cells
    return dut.model_copy(
        update={
            "series_cells": cells,
            "rated_energy_wh": dut.rated_energy_wh * part,
            "nominal_voltage_v": dut.nominal_voltage_v * part,
            "initial_dcir_ohm": dut.initial_dcir_ohm * part,
        }
    )


def line(
    dut_cells: int = 96, seed: int = 1, ambient_degc: float = 25.0, dut: DutModel = NMC, **of_battery: object
) -> Line:
    dut = shortened(dut, dut_cells)
    battery = SimulatedBattery.model_validate({"model": dut.id, "code": "PHE96-000001", **of_battery})
    time = [0.0]
    return Line(World(Pack.used(dut, battery, seed), lambda: time[0], ambient_degc), time)


def connected(**options: object) -> Line:
    it = line(**options)  # type: ignore[arg-type]
    it.world.set_contactor(True)
    return it


def hold(voltage: float, current: float = 30.0, power: float = 30e3) -> Source:
    return Source(voltage, current, current, power, power)
