"""The world of one simulated station: the battery, the contactors, the air around, and what the cycler does to them.

Every simulated instrument of the station looks at the same World. It stands still until somebody asks and then
integrates to the present, so any rate of time works and the same calls give the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from simulators.air import Air
from simulators.electrodes import Array
from simulators.impedance import impedances
from simulators.pack import Pack
from simulators.truth import measure

# how well the source holds its voltage, and its current at a power limit
_VOLTAGE_TOLERANCE = 1e-4
_CURRENT_TOLERANCE = 1e-6
# a search takes one to five attempts; this many say that it would never end
_SEARCH_LENGTH = 200
# an opening below this current does a contactor no harm
_HOT_CURRENT = 1.0
# while the air's temperature changes; each step sees the temperature of its middle
_AIR_STEP_S = 30.0
# a dead battery must not make a power limit an infinite current limit's quotient
_LEAST_VOLTAGE = 1e-3

Regulation = Literal["off", "CV", "CC", "CP"]


@dataclass(frozen=True)
class Source:
    """A bidirectional supply: holds `voltage` (V) within these magnitudes of current (A) and power (W)."""

    voltage: float
    charge_current: float
    discharge_current: float
    charge_power: float
    discharge_power: float


@dataclass(frozen=True)
class Terminal:
    """What the cycler sees at its terminals; current (A) and power (W) are positive when they charge."""

    voltage: float
    current: float
    power: float
    regulation: Regulation


@dataclass(frozen=True)
class Extremes:
    """The furthest any cell ever went, in V and degC, and the largest current in A of either sign."""

    cell_voltage_max: float
    cell_voltage_min: float
    temperature_max: float
    current_max: float


class World:
    """One battery and the cycler's output on it. Time comes from `now`, in seconds; SI units, degC, Ah and Wh."""

    def __init__(
        self, pack: Pack, now: Callable[[], float], ambient_degc: float = 25.0, max_step_s: float = 1.0
    ) -> None:
        self.now = now
        self._max_step = max_step_s
        self._source: Source | None = None
        self._contactor_closed = False
        self._welded = 0
        self._charged_ah = self._discharged_ah = self._charged_wh = self._discharged_wh = 0.0
        self._hot_openings = 0
        self._air = Air(ambient_degc)
        self._place(pack)

    def _place(self, pack: Pack) -> None:
        """The battery comes into the station's air, rested; the charge is counted on."""
        self.pack = pack
        self._time = self.now()
        self._plugged = True
        self._current = 0.0
        self._regulation: Regulation = "off"
        # dI/dt in A/s and dV/dI in ohm: where the regulator looks first; both learnt on the way
        self._drift = 0.0
        self._slope = 3 * float(pack.cells.series_resistance.sum()) + pack.contact_resistance
        self._current_max = 0.0
        pack.cells.soak(self._air.degc)
        self._voltage = pack.attempt(0.0, 0.0)
        pack.cells.accept()
        self._highest = pack.cells.voltages.copy()
        self._lowest = pack.cells.voltages.copy()
        self._hottest = pack.cells.temperatures.copy()
        self._bms_soc_at_start = pack.soc + pack.bms_soc_offset
        self._counted_at_start = self._charged_ah - self._discharged_ah

    # --- what acts on the battery ------------------------------------------------------------------------------

    def advance(self) -> None:
        """Integrate to the present."""
        seconds = self.now() - self._time
        if seconds <= 0:
            return
        self._time += seconds
        # without current the model is exact over such steps, as long as the air stands still
        limit = self.pack.cells.longest_step if self._source is None or not self._connected else self._max_step
        if self._air.moving:
            limit = min(limit, _AIR_STEP_S)
        self.pack.cells.ambient_degc = self._air.degc
        steps = max(1, math.ceil(seconds / limit - 1e-9))
        for _ in range(steps):
            self._step(seconds / steps)

    def drive(self, source: Source | None) -> None:
        """Replace what the cycler's output does from now on; None switches it off."""
        self.advance()
        self._source = source
        self._switch()

    def replace(self, pack: Pack) -> None:
        """Another battery in this one's place, plugged in. Raises ValueError while the circuit is closed."""
        self.advance()
        if self._contactor_closed or self._welded > 1:
            raise ValueError("the contactors are closed: open them before the battery is taken away")
        self._place(pack)
        self._switch()

    def set_contactor(self, closed: bool) -> None:
        """Switch both contactors; one that is welded stays closed."""
        self.advance()
        self._contactor_closed = closed
        self._switch()

    @property
    def output_on(self) -> bool:
        """Whether a cycler's output is on, whatever it is connected to."""
        return self._source is not None

    @property
    def contactor_closed(self) -> bool:
        """Whether both are switched on, or would be if they were not welded."""
        return self._contactor_closed

    @property
    def welded(self) -> int:
        """How many of the two contactors are welded: 1 leaves the other one to open the circuit, 2 nobody."""
        return self._welded

    def weld(self, count: int) -> None:
        """Weld so many of them in their closed position; 0 repairs them."""
        self.advance()
        self._welded = min(max(count, 0), 2)
        self._switch()

    @property
    def feedback(self) -> tuple[bool, bool]:
        """Whether the contactors of the positive and the negative pole are closed."""
        return self._contactor_closed or self._welded > 0, self._contactor_closed or self._welded > 1

    @property
    def plugged(self) -> bool:
        """Whether the battery's connectors sit in their sockets; unplugged, it carries no current."""
        return self._plugged

    @plugged.setter
    def plugged(self, plugged: bool) -> None:
        self.advance()
        self._plugged = plugged
        self._switch()

    @property
    def ambient_degc(self) -> float:
        """The air around the battery: the room's, or the chamber's."""
        self.advance()
        return self._air.degc

    @ambient_degc.setter
    def ambient_degc(self, degc: float) -> None:
        """Move the battery into a room of this temperature."""
        self.advance()
        self._air = Air(degc)
        self.pack.cells.ambient_degc = degc

    def set_chamber(self, set_point: float | None) -> None:
        """Let a chamber bring the air to a set point in degC; None ends that, and the air drifts back to the room's."""
        self.advance()
        self._air.set_point = set_point

    @property
    def chamber_degc(self) -> float:
        """Air temperature in the chamber, which is the ambient of the cells."""
        return self.ambient_degc

    # --- what instruments see ----------------------------------------------------------------------------------

    def terminal(self) -> Terminal:
        """The cycler's terminals: the battery's where they are connected, else the cycler's own voltage."""
        self.advance()
        own = 0.0 if self._source is None else self._source.voltage
        voltage = self._voltage if self._connected else own
        return Terminal(voltage, self._current, voltage * self._current, self._regulation)

    @property
    def current(self) -> float:
        self.advance()
        return self._current

    def battery_voltage(self) -> float:
        """At the pack's terminals, joints included."""
        self.advance()
        return self._voltage

    def cell_voltages(self) -> Array:
        """(n,) in V."""
        self.advance()
        return self.pack.cells.voltages.copy()

    def tap_voltages(self) -> Array:
        """(n,) in V, what the BMS reads between its sense leads; never below zero, as its converter has no sign.

        A lead that is open floats to the cell below it; with two exchanged, three cells read wrong.
        """
        cells, pack = self.cell_voltages(), self.pack
        if pack.open_tap is None and pack.swapped_taps is None:
            return cells
        taps = np.concatenate(([0.0], np.cumsum(cells)))
        if pack.open_tap is not None:
            taps[pack.open_tap + 1] = taps[pack.open_tap]
        if pack.swapped_taps is not None:
            pair = [pack.swapped_taps + 1, pack.swapped_taps + 2]
            taps[pair] = taps[pair[::-1]]
        return np.maximum(np.diff(taps), 0.0)

    def cell_temperatures(self) -> Array:
        """(n,) in degC."""
        self.advance()
        return self.pack.cells.temperatures.copy()

    def measured_degc(self, true: float) -> float:
        """A temperature inside an instrument, as its own sensor reads it."""
        return true

    def voltage_between(self, first: int, last: int) -> float:
        """Sum of the voltages of cells first..last, both included, counted from 0. Raises IndexError."""
        self._check_cells(first, last)
        return float(self.cell_voltages()[first : last + 1].sum())

    def ac_resistance(self, first: int, last: int) -> float:
        """Resistance at 1 kHz of cells first..last and their joints, in ohm: the ohmic part, before any reaction."""
        self._check_cells(first, last)
        return float(self.pack.cells.series_resistance[first : last + 1].sum()) + self._joints(first, last)

    def impedance(self, first: int, last: int, frequency: float) -> complex:
        """Of cells first..last and their joints, in ohm, at a frequency in Hz > 0 and at the present state.

        Above `ac_resistance` at 1 kHz by less than 2 % (the reactions' rest), real part and magnitude. Raises
        IndexError.
        """
        self._check_cells(first, last)
        self.advance()
        return complex(impedances(self.pack.cells, frequency)[first : last + 1].sum()) + self._joints(first, last)

    @property
    def insulation_ohm(self) -> float:
        """Between the battery and its chassis: both poles in parallel."""
        return self.pack.insulation.both

    @property
    def y_capacitance(self) -> float:
        """In F, from each pole to the chassis."""
        return self.pack.insulation.y_capacitance

    @property
    def code_label(self) -> str | None:
        """The code on the battery's label; None for a label that is gone or cannot be read."""
        return self.pack.code_label

    # --- what the battery's own BMS believes -------------------------------------------------------------------

    @property
    def broken_thermistor(self) -> int | None:
        """Index of the temperature sensor it cannot read, from 0."""
        return self.pack.broken_thermistor

    @property
    def bms_code(self) -> str:
        """The code it tells; empty when it knows none."""
        return self.pack.bms_code

    def bms_capacity_ah(self) -> float:
        return self.pack.bms_capacity_ah

    def bms_soh(self) -> float:
        """0..1 of the rated capacity."""
        return self.pack.bms_capacity_ah / self.pack.dut.rated_capacity_ah

    def bms_soc(self) -> float:
        """0..1, counted in its own idea of the capacity from a start it knew."""
        self.advance()
        counted = self._charged_ah - self._discharged_ah - self._counted_at_start
        return min(1.0, max(0.0, self._bms_soc_at_start + counted / self.pack.bms_capacity_ah))

    # --- the truth, for those who check the instruments ---------------------------------------------------------

    @property
    def charged_ah(self) -> float:
        self.advance()
        return self._charged_ah

    @property
    def discharged_ah(self) -> float:
        self.advance()
        return self._discharged_ah

    @property
    def charged_wh(self) -> float:
        """At the pack's terminals."""
        self.advance()
        return self._charged_wh

    @property
    def discharged_wh(self) -> float:
        """At the pack's terminals."""
        self.advance()
        return self._discharged_wh

    @property
    def extremes(self) -> Extremes:
        self.advance()
        return Extremes(
            float(self._highest.max()), float(self._lowest.min()), float(self._hottest.max()), self._current_max
        )

    @property
    def hot_openings(self) -> int:
        """How often the circuit was opened, by contactor or plug, under more than 1 A."""
        return self._hot_openings

    def truth(self, rate_c: float = 0.5, end_rate_c: float = 0.1, rest_s: float = 600.0) -> dict[str, Any]:
        """What a perfect test at `rate_c` of the rated capacity would find that ends its charge at `end_rate_c` and
        rests for so long, see simulators.truth; disturbs nothing."""
        self.advance()
        return measure(self.pack, rate_c, self.ambient_degc, end_rate_c, rest_s)

    # --- inside -------------------------------------------------------------------------------------------------

    @property
    def _connected(self) -> bool:
        return self._plugged and (self._contactor_closed or self._welded > 1)

    def _check_cells(self, first: int, last: int) -> None:
        if not 0 <= first <= last < self.pack.cells.count:
            raise IndexError(f"cells {first}..{last} of a pack with cells 0..{self.pack.cells.count - 1}")

    def _joints(self, first: int, last: int) -> float:
        return self.pack.contact_resistance * (last - first + 1) / self.pack.cells.count

    def _switch(self) -> None:
        """Let the current answer at this moment to what was just changed."""
        before = self._current
        self._drift = 0.0
        self._regulate(0.0)
        self._settle()
        if not self._connected and abs(before) > _HOT_CURRENT:
            self._hot_openings += 1

    def _step(self, seconds: float) -> None:
        voltage_before, current_before = self._voltage, self._current
        if self._air.moving:
            self.pack.cells.ambient_degc = self._air.after(seconds / 2)
            self._air.pass_time(seconds)
        self._regulate(seconds)
        self._drift = (self._current - current_before) / seconds
        charge = self._current * seconds / 3600
        energy = charge * (voltage_before + self._voltage) / 2
        if charge > 0:
            self._charged_ah += charge
            self._charged_wh += energy
        else:
            self._discharged_ah -= charge
            self._discharged_wh -= energy
        self._settle()

    def _settle(self) -> None:
        cells = self.pack.cells
        cells.accept()
        np.maximum(self._highest, cells.voltages, out=self._highest)
        np.minimum(self._lowest, cells.voltages, out=self._lowest)
        np.maximum(self._hottest, cells.temperatures, out=self._hottest)
        self._current_max = max(self._current_max, abs(self._current))

    def _regulate(self, seconds: float) -> None:
        """Find the current of the next `seconds` that puts the source where it regulates at their end.

        The terminal voltage rises with the current, so Newton's steps are kept inside the bracket seen so far and
        inside the source's limits; a current that the limits hold back is the answer.
        """
        source, attempt = self._source, self.pack.attempt
        if source is None or not self._connected:
            self._current = 0.0
            self._voltage = attempt(0.0, seconds)
            self._regulation = "off" if source is None else "CV"
            return
        most = source.charge_current if source.charge_power > 0 else 0.0
        least = -source.discharge_current if source.discharge_power > 0 else 0.0
        below, above = -math.inf, math.inf
        current = min(max(self._current + self._drift * seconds, least), most)
        voltage = attempt(current, seconds)
        for _ in range(_SEARCH_LENGTH):
            lift = max(voltage, _LEAST_VOLTAGE)
            ceiling = min(most, source.charge_power / lift)
            floor = max(least, -source.discharge_power / lift)
            error = source.voltage - voltage
            if abs(error) <= _VOLTAGE_TOLERANCE and floor <= current <= ceiling:
                self._regulation = "CV"
                break
            if error > 0:
                below = current
            else:
                above = current
            wanted = current + error / self._slope
            if not below < wanted < above and above - below < math.inf:
                wanted = (below + above) / 2
            wanted = min(max(wanted, floor), ceiling)
            if wanted == current or (abs(wanted - current) <= _CURRENT_TOLERANCE and least < wanted < most):
                self._regulation = "CC" if wanted in (least, most) else "CP"
                break
            moved = attempt(wanted, seconds)
            self._slope = max((moved - voltage) / (wanted - current), 1e-9)
            current, voltage = wanted, moved
        else:
            raise ArithmeticError(f"no current of the battery fits {source} at {self._time} s")
        self._current, self._voltage = current, voltage
