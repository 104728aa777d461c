"""How the steps behave that let current flow, or just wait: samples in, set points and an end out. Pure.

A run is started once and then shown every sample. It answers with an action for the engine, with Ended, or with
nothing. It never sees an instrument, and a value that is not good never ends it. A step's ends and its maximum time are
judged by whoever shows it samples (`sequences.program`).
"""

from __future__ import annotations

import math
from typing import Protocol

from sequences.actions import Action, Drive, Ended, NoCurrent
from sequences.dut import Dut
from sequences.quantity import Current
from sequences.step import Cc, CcCv, Cp, Cr, Cv, GoToSoc, Profile, Pulse, Rest, WaitUntil
from sequences.view import View

# share of a voltage bound at which a supply counts as regulating it: its accuracy and resolution
BOUND_REACHED = 0.9995
STILL_FLOWING = 0.9  # of the set current: less of it at the bound says that the supply holds the bound
REGULATE_EVERY = 5.0  # s; slower than the supply's own regulation, faster than the cells move
POWER_TOLERANCE = 0.005  # of the power or resistance asked for, before the current is set anew
SOC_REACHED = 0.001  # nearer than a state of charge is known
Reaction = Action | Ended | None


class StepRun(Protocol):
    """One run of one step."""

    @property
    def phase(self) -> str:
        """What it is doing now, for people."""
        ...

    @property
    def sample_period(self) -> float | None:
        """Period it wants to be sampled at, s; None for the station's own."""
        ...

    @property
    def ends_apply(self) -> bool:
        """Whether its ends may end it now."""
        ...

    def start(self, view: View) -> Reaction: ...

    def update(self, view: View) -> Reaction: ...


class _Plain:
    """What most runs have in common."""

    phase = ""
    sample_period: float | None = None
    ends_apply = True


class RestRun(_Plain):
    phase = "rest"

    def __init__(self, step: Rest) -> None:
        self._duration = step.duration

    def start(self, view: View) -> Reaction:
        return NoCurrent()

    def update(self, view: View) -> Reaction:
        return Ended("duration") if view.step_time >= self._duration else None


class WaitUntilRun(_Plain):
    """The wait's condition is watched like an end."""

    phase = "wait"

    def __init__(self, step: WaitUntil) -> None:
        pass

    def start(self, view: View) -> Reaction:
        return NoCurrent()

    def update(self, view: View) -> Reaction:
        return None


class _Driving(_Plain):
    """A current in one direction until the first cell reaches its bound."""

    def __init__(self, charging: bool, cell_voltage: float) -> None:
        self._charging, self._cell_voltage = charging, cell_voltage
        self.phase = "charge" if charging else "discharge"

    def _drive(self, amperes: float, dut: Dut) -> Drive:
        return Drive(amperes if self._charging else -amperes, self._cell_voltage * dut.series_cells)

    def _cell(self, view: View) -> float | None:
        """Voltage of the cell that will be there first."""
        return view.sample.good("cell_max" if self._charging else "cell_min")

    def _bound_reached(self, view: View) -> bool:
        cell = self._cell(view)
        if cell is None:
            return False
        return cell >= self._cell_voltage if self._charging else cell <= self._cell_voltage

    def _at_pack_bound(self, volts: float, dut: Dut) -> bool:
        bound = self._cell_voltage * dut.series_cells
        return volts >= BOUND_REACHED * bound if self._charging else volts <= bound / BOUND_REACHED

    def _held_back(self, view: View, amperes: float) -> bool:
        """Whether the supply holds the bound with less than the current: cells all alike stay just short of it."""
        volts, current = view.sample.good("voltage"), view.sample.good("current")
        if volts is None or current is None:
            return False
        return self._at_pack_bound(volts, view.dut) and abs(current) < STILL_FLOWING * amperes

    def _stopped(self, view: View, amperes: float) -> Ended | None:
        """The end by the bound, reached by a cell or held by the supply against this current."""
        if self._bound_reached(view) or self._held_back(view, amperes):
            return Ended(f"cell voltage {self._cell_voltage:g} V")
        return None


class CcRun(_Driving):
    def __init__(self, step: Cc) -> None:
        super().__init__(step.direction == "charge", step.cell_voltage)
        self._current = step.current

    def start(self, view: View) -> Reaction:
        return self._drive(self._current.amperes(view.dut.rated_capacity), view.dut)

    def update(self, view: View) -> Reaction:
        return self._stopped(view, self._current.amperes(view.dut.rated_capacity))


class _Following(_Driving):
    """A current that follows the voltage: set anew when what it should hold has drifted off."""

    def __init__(self, charging: bool, cell_voltage: float) -> None:
        super().__init__(charging, cell_voltage)
        self._amperes = 0.0

    def _wanted(self, view: View, volts: float) -> float:
        raise NotImplementedError

    def start(self, view: View) -> Reaction:
        volts = view.sample.good("voltage") or view.sample.good("battery_voltage") or view.dut.nominal_voltage
        self._amperes = self._wanted(view, volts)
        return self._drive(self._amperes, view.dut)

    def update(self, view: View) -> Reaction:
        if stopped := self._stopped(view, self._amperes):
            return stopped
        volts = view.sample.good("voltage")
        if volts is None or volts <= 0:
            return None
        wanted = self._wanted(view, volts)
        if abs(wanted - self._amperes) <= POWER_TOLERANCE * self._amperes:
            return None
        self._amperes = wanted
        return self._drive(wanted, view.dut)


class CpRun(_Following):
    def __init__(self, step: Cp) -> None:
        super().__init__(step.direction == "charge", step.cell_voltage)
        self._power = step.power

    def _wanted(self, view: View, volts: float) -> float:
        rating = view.dut.max_charge_current if self._charging else view.dut.max_discharge_current
        return min(self._power.watts(view.dut.rated_energy) / volts, rating)


class CrRun(_Following):
    def __init__(self, step: Cr) -> None:
        super().__init__(False, step.cell_voltage)
        self._resistance, self._most = step.resistance, step.current

    def _wanted(self, view: View, volts: float) -> float:
        return min(volts / self._resistance, self._most.amperes(view.dut.rated_capacity))


class CcCvRun(_Driving):
    """The supply regulates the battery's voltage, the step trims that voltage so the extreme cell stays at its bound.

    In a worn pack the cells differ, so the pack voltage at which the first cell is full is not known beforehand and
    moves while the current falls. A cv step is the same from a current that may be less than its own from the start.
    """

    TRIM_SHARE = 0.5  # of the error per trim; below 1 so that the loop cannot ring
    FINENESS = 1e-3  # V per cell: the power of ten nearest to it is the step of the trims

    def __init__(self, step: CcCv | Cv) -> None:
        super().__init__(step.direction == "charge", step.cell_voltage)
        self._current: Current = step.current
        self._held: float | None = None
        self._trimmed_at = 0.0
        self._moving = self.phase

    @property
    def ends_apply(self) -> bool:  # type: ignore[override]
        return self._held is not None

    def _at(self, view: View, voltage: float) -> Drive:
        amperes = self._current.amperes(view.dut.rated_capacity)
        return Drive(amperes if self._charging else -amperes, voltage)

    def start(self, view: View) -> Reaction:
        return self._at(view, self._held or self._cell_voltage * view.dut.series_cells)

    def update(self, view: View) -> Reaction:
        cell, voltage = self._cell(view), view.sample.good("voltage")
        extreme = self._cell_voltage * view.dut.series_cells
        if self._held is None:
            if cell is None or voltage is None:
                return None
            # the supply may hold the pack's bound already, with every cell a little short of its own
            if not self._bound_reached(view) and not self._at_pack_bound(voltage, view.dut):
                return None
            self._held, self._trimmed_at = voltage, view.step_time
            self.phase = "hold voltage"
            return self._at(view, voltage)
        if cell is None or view.step_time - self._trimmed_at < REGULATE_EVERY:
            return None
        self._trimmed_at = view.step_time
        cells = view.dut.series_cells
        digits = round(-math.log10(self.FINENESS * cells))
        trimmed = self._held + self.TRIM_SHARE * cells * (self._cell_voltage - cell)
        trimmed = round(min(trimmed, extreme) if self._charging else max(trimmed, extreme), digits)
        if trimmed == round(self._held, digits):
            return None
        self._held = trimmed
        return self._at(view, trimmed)


class PulseRun(_Plain):
    def __init__(self, step: Pulse) -> None:
        self._step = step
        self.sample_period = step.sample
        self._number = 0
        self._recovering = False
        self._began = 0.0  # step time at which this pulse or its recovery began
        self._cut: list[str] = []

    @property
    def phase(self) -> str:  # type: ignore[override]
        of = f" {self._number + 1}/{len(self._step.pulses)}" if len(self._step.pulses) > 1 else ""
        return ("recovery" if self._recovering else "pulse") + of

    def start(self, view: View) -> Reaction:
        pulse = self._step.pulses[self._number]
        amperes = pulse.current.amperes(view.dut.rated_capacity)
        if pulse.direction == "charge":
            return Drive(amperes, self._step.cell_voltage_max * view.dut.series_cells)
        return Drive(-amperes, self._step.cell_voltage_min * view.dut.series_cells)

    def update(self, view: View) -> Reaction:
        pulse = self._step.pulses[self._number]
        elapsed = round(view.step_time - self._began, 6)
        if not self._recovering:
            low, high = view.sample.good("cell_min"), view.sample.good("cell_max")
            if low is not None and low < self._step.cell_voltage_min:
                self._cut.append(f"pulse {self._number + 1} by cell voltage {self._step.cell_voltage_min:g} V")
            elif high is not None and high > self._step.cell_voltage_max:
                self._cut.append(f"pulse {self._number + 1} by cell voltage {self._step.cell_voltage_max:g} V")
            elif elapsed < pulse.duration:
                return None
            self._recovering, self._began = True, view.step_time
            return NoCurrent()
        if elapsed < pulse.rest:
            return None
        self._number += 1
        if self._number < len(self._step.pulses):
            self._recovering, self._began = False, view.step_time
            return self.start(view)
        return Ended("cut short: " + ", ".join(self._cut) if self._cut else "duration")


class GoToSocRun(_Driving):
    """Which way it goes is known when it starts."""

    def __init__(self, step: GoToSoc) -> None:
        super().__init__(False, step.cell_voltage_min)
        self._step = step

    def start(self, view: View) -> Reaction:
        step, now = self._step, view.context.state_of_charge(view.sample.counters)
        if abs(now - step.soc) < SOC_REACHED:
            return self._reached()
        if now < step.soc:
            super().__init__(True, step.cell_voltage_max)
        return self._drive(step.current.amperes(view.dut.rated_capacity), view.dut)

    def update(self, view: View) -> Reaction:
        step, now = self._step, view.context.state_of_charge(view.sample.counters)
        if now >= step.soc if self._charging else now <= step.soc:
            return self._reached()
        return self._stopped(view, step.current.amperes(view.dut.rated_capacity))

    def _reached(self) -> Ended:
        return Ended(f"soc {self._step.soc:.1%}")


class ProfileRun(_Plain):
    """Each row's value is held until the next row's time; at a voltage limit no current flows until a row relieves."""

    phase = "profile"

    def __init__(self, step: Profile) -> None:
        self._step, self._table = step, step.table
        self.sample_period = step.sample
        self._row = 0
        self._full = self._empty = False  # a cell is at its limit
        self._clips = 0
        self._volts: float | None = None
        self._amperes = 0.0

    def start(self, view: View) -> Reaction:
        return self._play(self._wanted(view), view)

    def _wanted(self, view: View) -> float:
        """The current of this row now, A."""
        value = self._table[self._row][1]
        if (value > 0 and self._full) or (value < 0 and self._empty):
            return 0.0
        if self._step.of == "current":
            return value
        measured = view.sample.good("voltage") or self._volts or view.sample.good("battery_voltage")
        self._volts = measured or view.dut.nominal_voltage
        return value / max(self._volts, 1.0)

    def _play(self, amperes: float, view: View) -> Reaction:
        self._amperes = amperes
        if amperes == 0:
            return NoCurrent()
        bound = self._step.cell_voltage_max if amperes > 0 else self._step.cell_voltage_min
        return Drive(amperes, bound * view.dut.series_cells)

    def update(self, view: View) -> Reaction:
        row = self._row
        while row + 1 < len(self._table) and self._table[row + 1][0] <= view.step_time + 1e-6:
            row += 1
        if row == len(self._table) - 1:
            return Ended(f"duration, clipped {self._clips} times" if self._clips else "duration")
        anew, self._row = row != self._row, row
        low, high = view.sample.good("cell_min"), view.sample.good("cell_max")
        full = self._at_limit(self._full, None if high is None else high >= self._step.cell_voltage_max, anew)
        empty = self._at_limit(self._empty, None if low is None else low <= self._step.cell_voltage_min, anew)
        self._clips += (full and not self._full) + (empty and not self._empty)
        self._full, self._empty = full, empty
        wanted = self._wanted(view)
        drift = abs(wanted - self._amperes)
        if drift == 0 or (not anew and drift <= POWER_TOLERANCE * abs(self._amperes)):
            return None
        return self._play(wanted, view)

    @staticmethod
    def _at_limit(was: bool, now: bool | None, anew: bool) -> bool:
        """Whether a cell counts as at its limit: relieved by a new row only, and not while it is unknown."""
        return was if now is None else now or (was and not anew)
