"""One channel of a Neware cell cycler: it runs the step file it was started with, by itself, on one cell.

Source: answers recorded from a BTS 8.0 in the tests of EmpaEconversion's aurora-neware, as collected in the project's
instrument notes. Capacity in Ah and energy in Wh are those of the step and never negative; the current is negative
while it discharges.

Choices where they are silent: limits are looked at once a second of line time, and where a step's time ends; in a rest
with every record. A constant current that reaches its voltage is held there until it is looked at. A record is made at
the beginning and the end of every step besides. A step takes a tenth of a second at least. The newest test is kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from simulators.faults import Faults
from simulators.neware_steps import MAX_A, MAX_V, Program, Step
from simulators.world import Source, World

LOOK_S, LEAST_S = 1.0, 0.1
# how close to its voltage the source holds a cell
REACHED_V = 2e-4
STARTED, FINISHED = 100000, 100001

Status = Literal["working", "finish", "stop", "protect"]


@dataclass(frozen=True)
class Record:
    """One line of a test; `at` is line time in s, `seconds` that of the step."""

    step: int
    cycle: int
    kind: str
    seconds: float
    at: float
    voltage: float
    current: float
    capacity: float
    energy: float


@dataclass
class Layer:
    """One step that has begun: its records by their number from 1, both included."""

    first: int
    last: int


class Channel:
    """A channel with a cell at its terminals, which are those of `world`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.faults: Faults = frozenset()
        self.status: Status = "finish"
        self.forget()

    def forget(self) -> None:
        """As it is when power comes: nothing runs, and there was no test."""
        if self.status == "working":
            self.world.drive(None)
        self.status = "finish"
        self.barcode = ""
        self.test = 0
        self.records: list[Record] = []
        self.layers: list[Layer] = []
        self.log: list[tuple[int, int, float]] = []
        self._program: Program | None = None
        self._began = 0.0
        self._record_due = math.inf

    # --- commands ----------------------------------------------------------------------------------------------

    def start(self, program: Program, barcode: str) -> bool:
        """False while another test runs."""
        if self.status == "working":
            return False
        self.barcode = barcode
        self.test += 1
        self.records, self.layers, self.log = [], [], []
        self._program = program
        self._began = self.world.now()
        self.cycle, self._counts = 1, dict.fromkeys(range(1, len(program.steps) + 1), 0)
        self._note(STARTED)
        self.status = "working"
        self._enter(1)
        return True

    def stop(self) -> bool:
        """False when nothing runs."""
        if self.status != "working":
            return False
        if "output_refuses_off" not in self.faults:
            self._end("stop")
        return True

    # --- what it shows -----------------------------------------------------------------------------------------

    @property
    def step(self) -> Step | None:
        """The one that is driven now."""
        return self._step if self.status == "working" else None

    @property
    def total_seconds(self) -> float:
        return self.world.now() - self._began if self.status == "working" else 0.0

    def reading(self) -> Record:
        """The present values; of no step when none is driven."""
        at, now = self.world.terminal(), self.world.now()
        if self.status != "working":
            return Record(0, 1, "--", 0.0, now, at.voltage, 0.0, 0.0, 0.0)
        capacity, energy = (now - then for now, then in zip(self._counters(), self._counted, strict=True))
        step = self._step
        return Record(
            step.number, self.cycle, step.kind, now - self._entered, now, at.voltage, at.current, capacity, energy
        )

    # --- time --------------------------------------------------------------------------------------------------

    def deadline(self) -> float:
        if self.status != "working":
            return math.inf
        now = self.world.now()
        due = min(self._entered + self._step.seconds, self._record_due)
        if self._step.kind != "rest":
            due = min(due, (now // LOOK_S + 1) * LOOK_S)
        return max(due, self._entered + LEAST_S)

    def elapse(self) -> None:
        if self.status != "working" or self.world.now() < self._entered + LEAST_S:
            return
        assert self._program is not None
        reading = self.reading()
        (low_v, high_v), (low_a, high_a) = self._program.volts, self._program.amperes
        if "alarm" in self.faults or not (low_v <= reading.voltage <= high_v and low_a <= reading.current <= high_a):
            self._end("protect")
        elif self._is_over(reading):
            self._enter(self._step.number + 1)
        elif self.world.now() >= self._record_due:
            self._record()

    def _is_over(self, reading: Record) -> bool:
        step = self._step
        reached = False
        match step.kind:
            case "cc" if step.stop_voltage is not None:
                reached = reading.voltage >= step.stop_voltage - REACHED_V
            case "dc" if step.stop_voltage is not None:
                reached = reading.voltage <= step.stop_voltage + REACHED_V
            case "cv" | "dv" if step.stop_current is not None:
                reached = abs(reading.current) <= step.stop_current
        return reached or self.world.now() >= self._entered + step.seconds

    # --- steps -------------------------------------------------------------------------------------------------

    def _enter(self, number: int) -> None:
        """Begin the step with this number, after what is left of the one before."""
        assert self._program is not None
        if self.layers:
            self._record()
        step = self._program.at(number)
        while step.kind == "cycle":
            step = self._program.at(self._next_after(step))
        if step.kind == "end":
            self._end("finish")
            return
        self._step = step
        self._entered = self.world.now()
        self.world.drive(_source(step))
        self._counted = self._counters()
        self.layers.append(Layer(len(self.records) + 1, 0))
        self._record()

    def _next_after(self, cycle: Step) -> int:
        """Back, as often as the cycle says; the cycles inside it begin anew."""
        self._counts[cycle.number] += 1
        if self._counts[cycle.number] < cycle.cycles:
            for number in range(cycle.back_to, cycle.number):
                self._counts[number] = 0
            self.cycle += 1
            return cycle.back_to
        return cycle.number + 1

    def _end(self, status: Status) -> None:
        """Switch off; the last record is of the moment before."""
        if status != "finish":
            self._record()
        self.world.drive(None)
        self._record_due = math.inf
        self.status = status
        self._note(FINISHED)

    def _record(self) -> None:
        assert self._program is not None
        self.records.append(self.reading())
        self.layers[-1].last = len(self.records)
        self._record_due = self.world.now() + self._program.record_s

    def _note(self, code: int) -> None:
        self.log.append((max(1, len(self.records)), code, self.world.now()))

    def _counters(self) -> tuple[float, float]:
        """Ah and Wh that have passed in either direction."""
        world = self.world
        return world.charged_ah + world.discharged_ah, world.charged_wh + world.discharged_wh


def _source(step: Step) -> Source | None:
    """What drives a step; None for a rest."""
    power = MAX_V * MAX_A
    current = MAX_A if step.current is None else step.current
    match step.kind:
        case "cc":
            return Source(MAX_V if step.stop_voltage is None else step.stop_voltage, current, 0.0, power, 0.0)
        case "dc":
            return Source(step.stop_voltage or 0.0, 0.0, current, 0.0, power)
        case "cv":
            return Source(step.voltage or 0.0, current, 0.0, power, 0.0)
        case "dv":
            return Source(step.voltage or 0.0, 0.0, current, 0.0, power)
    return None
