"""A capacity and pulse recipe of 62 steps, written with the Python models, and one simulated cell that it runs on.

The cell is driven as a cycler drives it, without wires: a set point goes to the simulated world, and what its terminals
show then goes to the program.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from config import shipped_dut_models
from sequences import (
    AppliesTo,
    Cc,
    Context,
    Counters,
    Cv,
    Drive,
    Dut,
    Finish,
    Moment,
    NoCurrent,
    Program,
    Quality,
    Recipe,
    Repeat,
    Rest,
    RoleNeed,
    Safety,
    Sample,
    StepRecord,
    Text,
    Turn,
    Value,
)
from sequences.safety import (
    CurrentBound,
    InsulationBound,
    PackVoltageBound,
    TemperatureBound,
    TemperatureRateBound,
    ThroughputBound,
    TimeBound,
    VoltageBound,
)
from simulators.cells import CellSet, CellString
from simulators.electrodes import CHEN2020, balance
from simulators.pack import Ageing, Insulation, Pack
from simulators.world import Source, World

CELL = Dut(
    model="lg_m50", kind="cell", chemistry="NMC", series_cells=1, rated_capacity=5.0, rated_energy=18.2,
    nominal_voltage=3.63, cell_voltage_min=2.5, cell_voltage_max=4.2, cell_voltage_hard_min=2.4,
    cell_voltage_hard_max=4.25, max_charge_current=5.0, max_discharge_current=10.0, temperature_min=5.0,
    temperature_max=60.0, initial_dcir=0.033, capacity_factor_c2_to_c3=1.0,
)  # fmt: skip

SAFETY = Safety(
    cell_voltage_max=VoltageBound(warn="4.22 V", trip="4.25 V", delay="1 s"),
    cell_voltage_min=VoltageBound(warn="2.48 V", trip="2.4 V", delay="1 s"),
    cell_spread=VoltageBound(warn="0.5 V", trip="1 V", delay="5 s"),
    voltage_max=PackVoltageBound(warn="4.22 V/cell", trip="4.25 V/cell", delay="1 s"),
    voltage_min=PackVoltageBound(warn="2.48 V/cell", trip="2.4 V/cell", delay="1 s"),
    charge_current=CurrentBound(warn="0.8C", trip="0.9C", delay="2 s"),
    discharge_current=CurrentBound(warn="1.05C", trip="1.1C", delay="2 s"),
    temperature_max=TemperatureBound(warn="45 degC", trip="50 degC", delay="2 s"),
    temperature_min=TemperatureBound(warn="10 degC", trip="5 degC", delay="2 s"),
    temperature_rise=TemperatureRateBound(warn="1 K/min", trip="2 K/min", delay="10 s"),
    insulation=InsulationBound(warn="500 ohm/V", trip="100 ohm/V", delay="5 s"),
    total_throughput=ThroughputBound(warn="700 %", trip="800 %"),
    total_time=TimeBound(warn="30 h", trip="40 h"),
)


def charge(name: str) -> list[Cc | Cv | Rest]:
    """Constant current, held voltage, rest."""
    return [
        Cc(name=f"{name}_cc", direction="charge", current="C/3", cell_voltage="4.2 V", max_time="5 h"),
        Cv(name=f"{name}_cv", current="C/3", cell_voltage="4.2 V", ends=["current <= C/20"], max_time="3 h"),
        Rest(name=f"{name}_rest", duration="30 min"),
    ]


def pulse(name: str, direction: str, current: str) -> list[Cc | Rest]:
    voltage = "4.2 V" if direction == "charge" else "2.5 V"
    return [
        Cc(name=name, direction=direction, current=current, cell_voltage=voltage, ends=["step_time >= 10 s"],
           max_time="10 s"),
        Rest(name=f"{name}_rest", duration="40 s"),
    ]  # fmt: skip


REFERENCE = Recipe(
    id="capacity_and_pulses",
    version="1.0.0",
    title=Text(en="Capacity and pulses", ko="용량 및 펄스"),
    author="Evaline",
    references=["the 62 steps that PyBaMM's full-order model was run with"],
    applies_to=AppliesTo(kind=["cell"], chemistry=["NMC"]),
    roles={"cycler": RoleNeed()},
    safety=SAFETY,
    steps=[
        Rest(name="arrival", duration="60 s"),
        Repeat(
            name="capacities",
            times=2,
            steps=[
                *charge("fill"),
                Cc(name="discharge", direction="discharge", current="C/3", cell_voltage="2.5 V", max_time="5 h"),
                Rest(name="empty_rest", duration="30 min"),
            ],
        ),
        *charge("last"),
        Repeat(
            name="points",
            times=8,
            steps=[
                Cc(name="down", direction="discharge", current="0.5C", cell_voltage="2.5 V",
                   ends=["step_time >= 12 min"], max_time="12 min"),
                Rest(name="settle", duration="30 min"),
                *pulse("out", "discharge", "1C"),
                *pulse("back", "charge", "0.75C"),
            ],
        ),
    ],
)  # fmt: skip


def new_cell(soc: float) -> Pack:
    """A new cell of the reference's parameters, so heavy that it stays at 25 degC as the reference does."""
    none, one = np.zeros(1), np.ones(1)
    lithium = np.full(1, CHEN2020.lithium_ah)
    full, empty = (balance(CHEN2020, volts, lithium, none, none) for volts in (4.2, 2.5))
    cells = CellString(CellSet(CHEN2020, 1.0, 1e9, none, none, one), empty + soc * (full - empty), 25.0)
    return Pack(
        dut=shipped_dut_models()["nmc_1s_60ah"], ageing=Ageing(none, none, none, one), full=full, empty=empty,
        cells=cells, contact_resistance=0.0, insulation=Insulation(1e9, 1e9, 0.0), code_label=None, bms_code="",
        broken_thermistor=None, open_tap=None, swapped_taps=None, defects=(), bms_capacity_ah=5.0, bms_soc_offset=0.0,
    )  # fmt: skip


@dataclass(frozen=True)
class Done:
    """One step run: its record, and the voltage of the cell at its last sample, V."""

    record: StepRecord
    voltage: float


class OneCell:
    """Runs a recipe on one simulated cell, sampled every second while a current flows."""

    PERIOD, AT_REST = 1.0, 10.0  # s

    def __init__(self, recipe: Recipe, soc: float) -> None:
        self._t = 0.0
        self._world = World(new_cell(soc), lambda: self._t)
        self._world.set_contactor(True)
        self._program = Program(recipe, Context(CELL, 5.0, soc, frozenset({"cycler"})))
        self._driven = False
        self.steps: list[Done] = []

    def run(self) -> Finish:
        """To the recipe's end."""
        turn = self._program.start(self._now())
        while turn.finish is None:
            if not self._obey(turn):
                self._t += self.PERIOD if self._driven else self.AT_REST
            now = self._now()
            turn = self._program.update(now)
            volts = now.sample.good("cell_min") or 0.0
            self.steps += [Done(event, volts) for event in turn.events if isinstance(event, StepRecord)]
        return turn.finish

    def _obey(self, turn: Turn) -> bool:
        for directive in turn.directives:
            match directive.action:
                case NoCurrent():
                    self._world.drive(None)
                    self._driven = False
                case Drive(current=current, voltage=voltage):
                    most, least = max(current, 0.0), max(-current, 0.0)
                    self._world.drive(Source(voltage, most, least, 1e3, 1e3))
                    self._driven = True
                case other:
                    raise AssertionError(f"this recipe asks for nothing: {other}")
        return bool(turn.directives)

    def _now(self) -> Moment:
        world, terminal = self._world, self._world.terminal()
        cell = float(world.cell_voltages()[0])
        values = {"voltage": terminal.voltage, "current": terminal.current, "cell_min": cell, "cell_max": cell}
        good = {name: Value(value, self._t, Quality.GOOD, "world") for name, value in values.items()}
        counters = Counters(world.charged_ah, world.discharged_ah, world.charged_wh, world.discharged_wh)
        return Moment(Sample(self._t, good, (cell,), (25.0,), counters), self._t)
