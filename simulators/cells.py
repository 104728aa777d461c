"""Cells in series as reduced single-particle models, all at once in numpy.

Each electrode is one spherical particle. The deviation of its surface from its mean follows the eigenmodes of
diffusion in a sphere, l = tan l, discretised exactly for a current held over a step; the faster modes answer at once:

    s_surf - s = B R^2/(3 D) [ sum_k (2/l_k^2) z_k + (1/5 - sum_k 2/l_k^2) I ],   dz_k/dt = (I - z_k) l_k^2 D/R^2

with B = 1/(electrode capacity). Cells in series carry the same current and differ in capacity, resistance and
temperature only, so charge, modes and electrolyte voltage are the string's, and each cell scales them: a step costs the
same few array operations for one cell or for a hundred. On top come Butler-Volmer with transfer coefficient 1/2,
2RT/F asinh(I/2I0) with I0 of Arrhenius, an ohmic resistance and one RC for the electrolyte.

Where a chemistry has hysteresis, one state h of the string adds M h: after G. L. Plett, Battery Management Systems,
vol. 1 (2015), dh/dt = |I| g/Q (sign I - h), which is exact for a constant current. Self-discharge takes charge from the
cells without passing the terminals, too slowly to polarise anything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from simulators.electrodes import FARADAY, GAS_CONSTANT, Array, CellParameters, Electrode

# four modes leave too much to the instant where diffusion is slow (graphite of Prada2013: mode 4 takes 42 s); they are
# the string's, so more of them cost nothing
_MODE_COUNT = 16


def _roots_of_tan(count: int) -> Array:
    """The first positive roots (count,) of tan l = l, by the fixed point l = k pi + atan l."""
    k_pi = np.pi * np.arange(1, count + 1, dtype=np.float64)
    roots: Array = k_pi + np.pi / 2
    for _ in range(20):
        roots = k_pi + np.arctan(roots)
    return roots


_MODES = _roots_of_tan(_MODE_COUNT)
_REMAINDER = 0.2 - float((2 / _MODES**2).sum())
_ACTIVATION_ENERGY = 35e3  # J/mol, of the exchange currents (Chen2020)
_REFERENCE_KELVIN = 298.15
_ZERO_DEGC = 273.15
# keeps the exchange current finite when a surface runs empty or full
_LEAST_OCCUPANCY = 1e-6

# a 33 Ah pouch cell: 0.8 kg of 1600 J/(kg K), 0.068 m2 of 9.5 W/(m2 K); other cells have as much per Ah
_HEAT_CAPACITY_PER_AH = 0.8 * 1600 / 33
_HEAT_LOSS_PER_AH = 9.5 * 0.068 / 33

# Plett's g: a reversed current has turned the hysteresis around to 95 % after 10 % of the capacity
_HYSTERESIS_RATE = 37.0
# a soft short is taken as a constant current over a step in which it takes less than this share of the capacity
_SHORT_STEP = 2e-4

# the test bench: its step, and how close it holds the highest cell to its limit
_TEST_STEP_S = 5.0
_HOLD_TOLERANCE_V = 2e-5


@dataclass(frozen=True)
class CellSet:
    """How n cells differ; arrays (n,). `scale` is the electrode area over that of the published cell.

    `hysteresis` in V is the most that h adds, `self_discharge` in A flows in every cell; `shorts` in ohm lie across
    single cells and `joints` in ohm between a cell and the tap that reads its voltage, both (index from 0, value).
    """

    parameters: CellParameters
    scale: float
    rated_capacity_ah: float
    lam_negative: Array
    lam_positive: Array
    resistance_factor: Array
    hysteresis: float = 0.0
    self_discharge: float = 0.0
    shorts: tuple[tuple[int, float], ...] = ()
    joints: tuple[tuple[int, float], ...] = ()


class CellString:
    """n cells in series with their state. Current in A is positive when it charges; temperatures in degC.

    Voltages are those of the BMS's taps: a cell's own, and the joint's that its tap includes.

    `attempt` computes the voltages at the end of a step of constant current and changes nothing that lasts; `accept`
    makes the last attempt the state. So a regulating source can try currents until its terminal voltage fits.
    """

    def __init__(self, cells: CellSet, stoichiometry: Array, ambient_degc: float, hysteresis: float = 0.0) -> None:
        """`stoichiometry` (2, n): lithium fraction of the negative and positive electrodes at rest.

        `hysteresis` is h, from -1 after a long discharge to 1 after a long charge.
        """
        parameters = cells.parameters
        negative, positive = parameters.negative, parameters.positive
        area = parameters.area * cells.scale
        n = cells.resistance_factor.size
        self.cells = cells
        self.count = n
        self.ambient_degc = ambient_degc

        self._rest = stoichiometry.astype(np.float64, copy=True)
        # stoichiometry per coulomb of charge: lithium enters the negative electrode and leaves the positive one
        self.per_coulomb = np.stack(
            (
                1 / (3600 * negative.capacity_ah(area) * (1 - cells.lam_negative)),
                -1 / (3600 * positive.capacity_ah(area) * (1 - cells.lam_positive)),
            )
        )
        # reaction resistance grows with the cell's resistance factor, as films on the particles make it do
        self._reaction = cells.resistance_factor / np.stack(
            (
                2 * negative.exchange_current(area, parameters.electrolyte_concentration) * (1 - cells.lam_negative),
                2 * positive.exchange_current(area, parameters.electrolyte_concentration) * (1 - cells.lam_positive),
            )
        )
        self.series_resistance = cells.resistance_factor * parameters.series_resistance / cells.scale
        for index, ohm in cells.joints:
            self.series_resistance[index] += ohm
        self._hysteresis = self._next_hysteresis = hysteresis
        self._hysteresis_rate = _HYSTERESIS_RATE / (3600 * cells.rated_capacity_ah)
        self._short_currents = [0.0] * len(cells.shorts)

        # the modes of the negative electrode, those of the positive, then the electrolyte
        self._rates = np.concatenate((_mode_rates(negative), _mode_rates(positive), [1 / parameters.electrolyte_time]))
        modes = 2 * _MODE_COUNT + 1
        weights = np.zeros((3, modes))
        weights[0, :_MODE_COUNT] = 2 / _MODES**2 * _diffusion_time(negative)
        weights[1, _MODE_COUNT:-1] = 2 / _MODES**2 * _diffusion_time(positive)
        weights[2, -1] = parameters.electrolyte_resistance / cells.scale
        self._weights = weights
        self._instant = np.array(
            [
                _REMAINDER * _diffusion_time(negative),
                _REMAINDER * _diffusion_time(positive),
                parameters.series_resistance / cells.scale,
            ]
        )
        self._charge = 0.0
        self._modes = np.zeros(modes)
        self._mode_step = np.empty(modes)
        self._instant_step = np.empty(3)
        self._next_charge = 0.0
        self._next_modes = np.zeros(modes)
        self._current = self._next_current = 0.0
        self._step = -1.0
        self._decay = np.ones(modes)
        self._gain = np.zeros(modes)

        # U_p - U_n = weights @ basis; basis rows: tanh and exp of (slopes @ stoichiometries + shift), one linear row
        un, up = negative.open_circuit, positive.open_circuit
        tanh_rows = [(-w, a, 0.0, b) for w, a, b in un.tanh_terms] + [(w, 0.0, a, b) for w, a, b in up.tanh_terms]
        exp_rows = [(-w, a, 0.0, b) for w, a, b in un.exp_terms] + [(w, 0.0, a, b) for w, a, b in up.exp_terms]
        linear_row = (1.0, -un.slope, up.slope, up.offset - un.offset)
        rows = np.array([*tanh_rows, *exp_rows, linear_row])
        self._curve_weights = rows[:, 0].copy()
        self._curve_slopes = rows[:, 1:3].copy()
        self._curve_shift = np.repeat(rows[:, 3:4], n, axis=1)
        self._basis = np.empty((len(rows), n))
        # views made once: slicing costs as much as the arithmetic at this size
        self._tanh_part = self._basis[: len(tanh_rows)]
        self._exp_part = self._basis[len(tanh_rows) : -1]

        self._surface = np.empty((2, n))
        self._kinetics = np.empty((2, n))
        self._kinetics_negative, self._kinetics_positive = self._kinetics
        self._work = np.empty(n)
        self._ones = np.ones(n)
        self._polarisation = np.zeros(3)
        self._shift = np.empty((2, 1))
        self._shift_column = self._shift[:, 0]

        # what accept() settles
        self.temperatures = np.full(n, ambient_degc)
        self._heat_capacity = _HEAT_CAPACITY_PER_AH * cells.rated_capacity_ah
        self._heat_loss = _HEAT_LOSS_PER_AH * cells.rated_capacity_ah
        self._thermal_step = -1.0
        self._thermal_gain = 0.0
        self._reaction_now = np.empty((2, n))
        self._thermal_voltage = np.empty(n)
        self._apply_temperature()

        self.voltages = np.empty(n)
        self._next_voltages = np.empty(n)
        self.attempt(0.0, 0.0)
        self.accept()

    def __deepcopy__(self, memo: dict[int, object]) -> CellString:
        """A string of its own in the same state; copied attribute by attribute, the views would lose their arrays."""
        twin = CellString(self.cells, self._rest, self.ambient_degc, self._hysteresis)
        twin._charge = self._charge
        twin._current = self._current
        twin._modes[:] = self._modes
        twin.voltages[:] = self.voltages
        twin.temperatures[:] = self.temperatures
        twin._apply_temperature()
        twin._short_currents[:] = self._short_currents
        return twin

    def soak(self, ambient_degc: float) -> None:
        """Let the cells take the temperature of their surroundings."""
        self.ambient_degc = ambient_degc
        self.temperatures.fill(ambient_degc)
        self._apply_temperature()

    @property
    def attempted(self) -> Array:
        """Cell voltages (n,) of the last attempt; a view, overwritten by the next."""
        return self._next_voltages

    @property
    def longest_step(self) -> float:
        """In s, the longest step without current that is exact; inf without shorts."""
        ohm = min((ohm for _, ohm in self.cells.shorts), default=math.inf)
        return _SHORT_STEP * 3600 * self.cells.rated_capacity_ah * ohm / self.cells.parameters.voltage_max

    @property
    def hysteresis(self) -> float:
        """h, -1..1."""
        return self._hysteresis

    def leaks(self) -> Array:
        """Self-discharge (n,) in A, shorts included."""
        leaks = np.full(self.count, self.cells.self_discharge)
        for (index, _), amperes in zip(self.cells.shorts, self._short_currents, strict=True):
            leaks[index] += amperes
        return leaks

    def stoichiometries(self) -> Array:
        """Mean lithium fractions (2, n)."""
        return self._rest + self.per_coulomb * self._charge

    def surface(self) -> Array:
        """Lithium fractions (2, n) at the particles' surfaces, under the present current."""
        deviation = self._weights[:2] @ self._modes + self._instant[:2] * self._current
        return self._rest + self.per_coulomb * (self._charge + deviation[:, None])

    def reaction_resistances(self) -> Array:
        """d(overpotential)/dI (2, n) in ohm of each electrode's reaction, under the present current."""
        occupancy = self.surface()
        occupancy = np.sqrt(np.maximum(occupancy * (1 - occupancy), _LEAST_OCCUPANCY))
        reaction = self._reaction_now / occupancy
        return np.asarray(self._thermal_voltage * reaction / np.sqrt(1 + (reaction * self._current) ** 2))

    def attempt(self, current: float, seconds: float) -> float:
        """The string's voltage after `seconds` more of `current`; with 0 s, the voltage at the instant it flows."""
        if seconds != self._step:
            np.multiply(self._rates, -seconds, out=self._decay)
            np.exp(self._decay, out=self._decay)
            np.subtract(1.0, self._decay, out=self._gain)
            self._step = seconds
        modes, polarisation, surface, kinetics = self._next_modes, self._polarisation, self._surface, self._kinetics
        charge = self._charge + (current - self.cells.self_discharge) * seconds
        np.multiply(self._modes, self._decay, out=modes)
        np.multiply(self._gain, current, out=self._mode_step)
        np.add(modes, self._mode_step, out=modes)
        np.dot(self._weights, modes, out=polarisation)
        np.multiply(self._instant, current, out=self._instant_step)
        np.add(polarisation, self._instant_step, out=polarisation)
        np.add(polarisation[:2], charge, out=self._shift_column)
        np.multiply(self.per_coulomb, self._shift, out=surface)
        np.add(surface, self._rest, out=surface)
        for (index, _), amperes in zip(self.cells.shorts, self._short_currents, strict=True):
            surface[:, index] -= self.per_coulomb[:, index] * (amperes * seconds)

        voltages = self._next_voltages
        self._open_circuit(surface, voltages)
        if current != 0.0:
            np.multiply(surface, surface, out=kinetics)
            np.subtract(surface, kinetics, out=kinetics)
            np.maximum(kinetics, _LEAST_OCCUPANCY, out=kinetics)
            np.sqrt(kinetics, out=kinetics)
            np.divide(self._reaction_now, kinetics, out=kinetics)
            np.multiply(kinetics, current, out=kinetics)
            np.arcsinh(kinetics, out=kinetics)
            np.add(self._kinetics_negative, self._kinetics_positive, out=self._work)
            np.multiply(self._work, self._thermal_voltage, out=self._work)
            np.add(voltages, self._work, out=voltages)
        np.multiply(self.cells.resistance_factor, polarisation[2], out=self._work)
        np.add(voltages, self._work, out=voltages)
        if self.cells.hysteresis:
            goal = math.copysign(1.0, current)
            kept = math.exp(-abs(current) * seconds * self._hysteresis_rate)
            self._next_hysteresis = goal + (self._hysteresis - goal) * kept
            np.add(voltages, self.cells.hysteresis * self._next_hysteresis, out=voltages)
        for index, ohm in self.cells.joints:
            voltages[index] += ohm * current
        self._next_charge = charge
        self._next_current = current
        return float(np.dot(self._ones, voltages))

    def accept(self) -> None:
        """Make the last attempt the state, with the heat I (V - OCV) it gave."""
        self._charge, self._next_charge = self._next_charge, self._charge
        self._modes, self._next_modes = self._next_modes, self._modes
        self.voltages, self._next_voltages = self._next_voltages, self.voltages
        seconds, current = self._step, self._next_current
        self._current = current
        self._hysteresis = self._next_hysteresis
        for number, (index, ohm) in enumerate(self.cells.shorts):
            self._rest[:, index] -= self.per_coulomb[:, index] * (self._short_currents[number] * seconds)
            self._short_currents[number] = max(float(self.voltages[index]), 0.0) / ohm
        if seconds == 0.0:
            return
        if seconds != self._thermal_step:
            self._thermal_gain = 1 - math.exp(-seconds * self._heat_loss / self._heat_capacity)
            self._thermal_step = seconds
        target, temperatures = self._work, self.temperatures
        if current == 0.0:
            target.fill(self.ambient_degc)
        else:
            np.multiply(self.per_coulomb, self._charge, out=self._surface)
            np.add(self._surface, self._rest, out=self._surface)
            self._open_circuit(self._surface, target)
            np.subtract(self.voltages, target, out=target)
            np.multiply(target, current / self._heat_loss, out=target)
            np.add(target, self.ambient_degc, out=target)
        np.subtract(target, temperatures, out=target)
        np.multiply(target, self._thermal_gain, out=target)
        np.add(temperatures, target, out=temperatures)
        self._apply_temperature()

    def _open_circuit(self, stoichiometries: Array, out: Array) -> None:
        np.matmul(self._curve_slopes, stoichiometries, out=self._basis)
        np.add(self._basis, self._curve_shift, out=self._basis)
        np.tanh(self._tanh_part, out=self._tanh_part)
        np.exp(self._exp_part, out=self._exp_part)
        np.matmul(self._curve_weights, self._basis, out=out)

    def _apply_temperature(self) -> None:
        """Arrhenius on the exchange currents, and 2RT/F, at the cells' temperatures."""
        work, thermal = self._work, self._thermal_voltage
        np.add(self.temperatures, _ZERO_DEGC, out=thermal)
        np.divide(_ACTIVATION_ENERGY / GAS_CONSTANT, thermal, out=work)
        np.subtract(work, _ACTIVATION_ENERGY / GAS_CONSTANT / _REFERENCE_KELVIN, out=work)
        np.exp(work, out=work)
        np.multiply(self._reaction, work, out=self._reaction_now)
        np.multiply(thermal, 2 * GAS_CONSTANT / FARADAY, out=thermal)


def _diffusion_time(electrode: Electrode) -> float:
    """R^2/(3 D) in s."""
    return electrode.particle_radius**2 / (3 * electrode.diffusivity)


def _mode_rates(electrode: Electrode) -> Array:
    """Decay rates (4,) in 1/s of the diffusion modes."""
    return _MODES**2 * electrode.diffusivity / electrode.particle_radius**2


def charge_fully(cells: CellString, current: float, end_current: float, voltage_max: float) -> None:
    """Charge at `current`, then with what keeps the highest cell at `voltage_max`, until that is `end_current`."""
    present = current
    slope = 3 * float(cells.series_resistance.max())
    while True:
        below, above = 0.0, math.inf
        cells.attempt(present, _TEST_STEP_S)
        highest = float(cells.attempted.max())
        while highest > voltage_max + _HOLD_TOLERANCE_V or (
            present < current and highest < voltage_max - _HOLD_TOLERANCE_V
        ):
            if highest > voltage_max:
                above = present
            else:
                below = present
            wanted = min(present + (voltage_max - highest) / slope, current)
            if not below < wanted < above:
                wanted = (below + min(above, current)) / 2
            cells.attempt(wanted, _TEST_STEP_S)
            moved = float(cells.attempted.max())
            if moved != highest and wanted != present:
                slope = (moved - highest) / (wanted - present)
            present, highest = wanted, moved
            if present < end_current:
                return
        cells.accept()


def discharged_ah(cells: CellString, current: float, voltage_min: float) -> Array:
    """Charge (n,) in Ah that each cell gives at `current` > 0 until it alone reaches `voltage_min`.

    All cells go on until the last is empty; what a cell does beyond its own end is not looked at.
    """
    given = np.full(cells.count, np.nan)
    drawn = 0.0
    before = cells.voltages.copy()
    while np.isnan(given).any():
        cells.attempt(-current, _TEST_STEP_S)
        cells.accept()
        drawn += current * _TEST_STEP_S
        ended = np.isnan(given) & (cells.voltages <= voltage_min)
        beyond = (voltage_min - cells.voltages[ended]) / (before[ended] - cells.voltages[ended])
        given[ended] = (drawn - beyond * _TEST_STEP_S * current) / 3600
        before = cells.voltages.copy()
    return given
