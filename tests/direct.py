"""A recipe played on a simulated battery with nothing between: no instruments, no wires, no daemon.

For what needs hundreds of batteries. Readings have the resolution of the demo station's instruments; sampling is as
coarse as the step allows. Everything else is the production's: the program, the analysis, the grading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from config import DutModel
from config.simulation import SimulatedBattery
from controller.run import COLUMNS, dut_of, run_data
from sequences import (
    Answer,
    Ask,
    Begun,
    Context,
    Counters,
    Drive,
    Finish,
    Graded,
    GradeRules,
    Measured,
    MeasurementResult,
    Moment,
    NoCurrent,
    Program,
    Provisional,
    Quality,
    ReadCodes,
    Recipe,
    Request,
    Sample,
    SetChamber,
    StepRecord,
    TakeReadings,
    TakeSpectrum,
    TestInsulation,
    Turn,
    Value,
    Verdict,
    WorkOut,
    analyse,
    analyse_some,
    grade,
    integrate,
    is_certain,
    worst,
)
from simulators.pack import Pack
from simulators.world import Source, World
from tests.virtual import agreeable

CYCLER_VOLTS, CYCLER_AMPERES, CELL_VOLTS, DEGREES = 0.1, 0.1, 1e-3, 0.1  # what instruments resolve
HOLDING, DRIVING, RESTING = 5.0, 10.0, 60.0  # s between two samples
FIRST = 3.0  # s of a step that are sampled each second
UNLIMITED = 1e6  # W
LONGEST = 400_000  # samples


@dataclass(frozen=True)
class Played:
    """How a recipe ended on a battery: what it measured, and its verdict, grade and reasons."""

    finish: Finish
    results: Mapping[str, MeasurementResult]
    verdict: Verdict
    graded: Graded
    hours: float
    records: tuple[StepRecord, ...]
    truth: Mapping[str, Any]
    lag: float  # of the lowest cell behind the median one before the run, as a share of the rated capacity


def play(
    recipe: Recipe, model: DutModel, battery: SimulatedBattery, rules: GradeRules,
    roles: frozenset[str] = frozenset(), seed: int = 1, ambient: float = 25.0, rate_c: float = 1 / 3,
    end_rate_c: float = 1 / 20, rest_s: float = 1800.0,
) -> Played:  # fmt: skip
    """Evaluate one simulated battery; `roles` are what the station has besides what every recipe needs, the
    truth discharges at `rate_c` after a charge that ends at `end_rate_c`, with rests of `rest_s`."""
    return _Player(recipe, model, battery, rules, roles, seed, ambient, (rate_c, end_rate_c, rest_s)).play()


class _Player:
    def __init__(
        self, recipe: Recipe, model: DutModel, battery: SimulatedBattery, rules: GradeRules, roles: frozenset[str],
        seed: int, ambient: float, tested: tuple[float, float, float],
    ) -> None:  # fmt: skip
        self._t = 0.0
        self._world = World(Pack.used(model, battery, seed, ambient), lambda: self._t, ambient, max_step_s=5.0)
        self._world.set_contactor(True)
        self._truth, self._lag = self._world.truth(*tested), _lag(self._world.pack)
        self._dut, self._rules, self._recipe = dut_of(model), rules, recipe
        basic = {"cycler", "interlock", "battery_monitor", "temperature_scanner"}
        capacity = self._world.bms_capacity_ah()
        self._context = Context(self._dut, capacity, self._world.bms_soc(), frozenset(basic | roles))
        self._program = Program(recipe, self._context)
        self._rows: list[list[float]] = []
        self._counters, self._last = Counters(), None
        self._records: list[StepRecord] = []
        self._due: dict[int, tuple[float, Answer]] = {}
        self._interim: dict[str, MeasurementResult] = {}

    def play(self) -> Played:
        turn = self._program.start(Moment(self._sample(), self._t))
        while turn.finish is None:
            assert len(self._rows) < LONGEST, f"no end after {self._t / 3600:g} h"
            answers = self._carry_out(turn)
            turn = self._program.update(Moment(self._sample(), self._t, answers))
        self._note(turn)
        results = analyse(self._recipe, self._context, self._data())
        verdict = worst([turn.finish.verdict, *(result.verdict for result in results)])
        graded = grade(self._rules, _measured(results), verdict)
        by_name = {result.measurement.name: result for result in results}
        return Played(
            turn.finish, by_name, verdict, graded, self._t / 3600, tuple(self._records), self._truth, self._lag
        )

    def _carry_out(self, turn: Turn) -> dict[int, Answer]:
        self._note(turn)
        acted = False
        for directive in turn.directives:
            if directive.cancel:
                self._due.pop(directive.key, None)
            elif isinstance(directive.action, Drive | NoCurrent):
                self._drive(directive.action)
                acted = True
            else:
                self._due[directive.key] = self._answer(directive.action)
        if acted:
            return {}
        self._t += self._next_step()
        ready = {key: answer for key, (at, answer) in self._due.items() if at <= self._t + 1e-9}
        for key in ready:
            del self._due[key]
        return ready

    def _next_step(self) -> float:
        step = RESTING if self._world.current == 0 else DRIVING
        for leaf in self._program.active:
            elapsed = leaf.step_time(self._t)
            duration = getattr(leaf.step, "duration", None)
            if leaf.phase == "hold voltage":
                step = min(step, HOLDING)
            if leaf.sample_period is not None:
                step = min(step, leaf.sample_period)
            if elapsed < FIRST:
                step = min(step, 1.0)
            if duration is not None and elapsed < duration:
                step = min(step, duration - elapsed)
        if self._due:
            step = min(step, max(0.0, min(at for at, _ in self._due.values()) - self._t))
        return max(step, 1e-3)

    def _drive(self, action: Drive | NoCurrent) -> None:
        if isinstance(action, NoCurrent):
            self._world.drive(None)
            return
        charge, discharge = max(action.current, 0.0), max(-action.current, 0.0)
        self._world.drive(Source(action.voltage, charge, discharge, UNLIMITED, UNLIMITED))

    def _sample(self) -> Sample:
        world, terminal = self._world, self._world.terminal()
        volts = _resolved(world.battery_voltage(), CYCLER_VOLTS)
        amperes = _resolved(terminal.current, CYCLER_AMPERES)
        cells = tuple(_resolved(float(cell), CELL_VOLTS) for cell in world.cell_voltages())
        degrees = [_resolved(float(degc), DEGREES) for degc in world.cell_temperatures()]
        low, high, cold, hot = min(cells), max(cells), min(degrees), max(degrees)
        now = (self._t, amperes, volts)
        if self._last is not None:
            self._counters = integrate(self._counters, *self._last, *now)
        self._last = now
        values = {
            "voltage": volts, "current": amperes, "power": volts * amperes, "output_on": 1.0, "cell_min": low,
            "cell_max": high, "cell_spread": high - low, "temperature_min": cold, "temperature_max": hot,
            "temperature_rise": 0.0, "insulation": world.insulation_ohm, "soc": world.bms_soc(),
            "battery_voltage": volts, "chamber_temperature": world.ambient_degc, "bms_faults": 0.0,
        }  # fmt: skip
        c, active = self._counters, self._program.active
        row = {
            "t": self._t, "test_time": self._t, "step": active[0].index if active else -1,
            "charged_ah": c.charged_ah, "discharged_ah": c.discharged_ah, "charged_wh": c.charged_wh,
            "discharged_wh": c.discharged_wh,
        } | values  # fmt: skip
        self._rows.append([row[name] for name in COLUMNS] + list(cells))
        good = {name: Value(value, self._t, Quality.GOOD, "direct") for name, value in values.items()}
        return Sample(self._t, good, cells, tuple(degrees), self._counters)

    def _note(self, turn: Turn) -> None:
        self._records += [event for event in turn.events if isinstance(event, StepRecord)]
        for event in turn.events:
            if isinstance(event, Begun) and event.step.drives and self._rows:
                self._rows[-1][2] = event.index  # the sample in hand is this step's first

    def _data(self) -> Any:
        cells = tuple(f"cell_{n:03d}" for n in range(1, self._dut.series_cells + 1))
        return run_data(COLUMNS + cells, np.array(self._rows), self._records)

    # ---- answers

    def _answer(self, request: Request) -> tuple[float, Answer]:
        match request:
            case TakeReadings():
                ohm = self._world.ac_resistance(0, min(11, self._dut.series_cells - 1))
                return self._t + request.count, Answer([(ohm, None)] * request.count)
            case TakeSpectrum():
                points = [(f, self._world.impedance(0, self._dut.series_cells - 1, f)) for f in request.frequencies]
                takes = sum(2 / f for f in request.frequencies)
                return self._t + takes, Answer([(f, z.real, z.imag) for f, z in points])
            case TestInsulation():
                return self._t + request.seconds, Answer(self._world.insulation_ohm)
            case ReadCodes():
                return self._t + 1.0, Answer((self._world.code_label or "", self._world.bms_code or "", self._code))
            case Ask():
                return self._t, Answer(agreeable(request))
            case SetChamber():
                self._world.set_chamber(request.temperature)
                return self._t, Answer()
            case WorkOut():
                results = analyse_some(self._recipe, self._context, self._data(), request.scope, request.measurements)
                self._interim |= {result.measurement.name: result for result in results}
                return self._t, Answer({result.measurement.name: result.value for result in results})
            case Provisional():
                measured = _measured(list(self._interim.values()))
                certain = is_certain(self._rules, measured, Verdict.PASS)
                return self._t, Answer((grade(self._rules, measured, Verdict.PASS).grade, certain))
            case _:
                return self._t, Answer({})

    @property
    def _code(self) -> str:
        return self._world.bms_code or self._world.code_label or "unknown"


def _measured(results: list[MeasurementResult]) -> dict[str, Measured]:
    return {
        result.measurement.name: Measured(result.value, result.uncertainty or 0.0, result.measurement.source.kind)
        for result in results
        if result.value is not None
    }


def _lag(pack: Pack) -> float:
    socs, share = pack.cell_socs(), pack.cell_capacities_ah / pack.dut.rated_capacity_ah
    return float((np.median(socs) - socs.min()) * share[int(np.argmin(socs))])


def _resolved(value: float, resolution: float) -> float:
    return round(round(value / resolution) * resolution, 6)
