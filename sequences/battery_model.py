"""A battery to plan on: one average cell as a single-particle model, scaled to the whole battery.

Each electrode is a sphere whose lithium profile is a polynomial of fourth order in the radius, so diffusion has one
state beside the mean: with u the current over the charge of the published window (1/s) and T = R^2/D,

    surface - mean = T/105 u + w,   dw/dt = 30/T (2/35 T u - w)

(V. Subramanian et al., J. Electrochem. Soc. 152 (2005) A2002), exact for a current held over a step. On it
come Butler-Volmer with transfer coefficient 1/2, an ohmic resistance and one lumped temperature. Published parameters
give the shape; size and resistance are the battery's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from sequences.dut import Dut
from sequences.sample import Counters, integrate

_FARADAY = 96485.33212  # C/mol
_GAS_CONSTANT = 8.314462618  # J/(mol K)
_ZERO_DEGC = 273.15
_REFERENCE_DEGC = 25.0
_REFERENCE_KELVIN = _REFERENCE_DEGC + _ZERO_DEGC
_ACTIVATION_ENERGY = 35e3  # J/mol, of the exchange currents (Chen2020)
# keeps the exchange current finite when a surface runs empty or full
_LEAST_OCCUPANCY = 1e-6

# a 33 Ah pouch cell: 0.8 kg of 1600 J/(kg K), 0.068 m2 of 9.5 W/(m2 K) in still air; other cells have as much per Ah
_HEAT_CAPACITY_PER_AH = 0.8 * 1600 / 33
_HEAT_LOSS_PER_AH = 9.5 * 0.068 / 33

# growth of the pulse resistance per lost capacity: retired cells of four types show 0.3 to 2.8, 1.6 in the mean
# (5 s, 1C, 50 % SOC; PulseBat: S. Tao et al., Nat. Commun. 2024, s41467-024-54454-0)
RESISTANCE_PER_LOST_HEALTH = 1.5

# a held voltage is cut into parts (s) in each of which its current changes by about this share of the set current
_SHORTEST_PART, _LONGEST_PART, _MUCH = 0.25, 60.0, 0.01
# shares of a voltage bound: regulated this far beyond it, so that a step that waits for the bound itself sees it, and
# this close
_BEYOND, _CLOSENESS = 2e-6, 1e-6
_SEARCH_LENGTH = 100


@dataclass(frozen=True, slots=True)
class _Electrode:
    """`potential` in V over the lithium fraction; SI units. `exchange_current` in A/m2 is that of s (1 - s) = 1.

    `full` and `empty` are lithium fractions at the ends of the window that the published cell was characterised in.
    """

    potential: Callable[[float], float]
    particle_radius: float
    diffusivity: float
    concentration_max: float
    exchange_current: float
    full: float
    empty: float

    @property
    def span(self) -> float:
        return self.full - self.empty

    @property
    def diffusion_time(self) -> float:
        """R^2/D in s."""
        return self.particle_radius**2 / self.diffusivity

    @property
    def reaction_time(self) -> float:
        """u times this over sqrt(s (1 - s)) is I/(2 I0): surface and charge of a sphere give a F c R / (6 i0), s."""
        return abs(self.span) * _FARADAY * self.concentration_max * self.particle_radius / (6 * self.exchange_current)

    def at(self, filling: float) -> float:
        """Lithium fraction where `filling` (0..1) of the window is charged."""
        return self.empty + self.span * filling


# graphite-SiOx and NMC811 of the LG M50: C.-H. Chen et al., J. Electrochem. Soc. 167 (2020) 080534
def _graphite(x: float) -> float:
    return (
        0.2482
        + 1.9793 * math.exp(-39.3631 * x)
        - 0.0909 * math.tanh(29.8538 * (x - 0.1234))
        - 0.04478 * math.tanh(14.9159 * (x - 0.2769))
        - 0.0205 * math.tanh(30.4444 * (x - 0.6103))
    )


def _nmc(y: float) -> float:
    return (
        4.4875
        - 0.8090 * y
        - 0.0428 * math.tanh(18.5138 * (y - 0.5542))
        - 17.7326 * math.tanh(15.7890 * (y - 0.3117))
        + 17.5842 * math.tanh(15.9308 * (y - 0.3120))
    )


# A. Afshar et al. (2017) for the LFP of E. Prada et al., J. Electrochem. Soc. 160 (2013) A616
def _lfp(y: float) -> float:
    return 3.4077 - 0.020269 * y + 0.5 * math.exp(-150 * y) - 0.9 * math.exp(-30 * (1 - y))


# graphite and NCA of G.-H. Kim et al., J. Electrochem. Soc. 158 (2011) A955
def _graphite_of_nca(x: float) -> float:
    steps = (
        (-0.0351, 0.286, 0.083), (-0.0045, 0.9, 0.119), (-0.035, 0.99, 0.05), (-0.0147, 0.5, 0.034),
        (-0.102, 0.194, 0.142), (-0.022, 0.98, 0.0164), (-0.011, 0.124, 0.0226), (0.0155, 0.105, 0.029),
    )  # fmt: skip
    return 0.124 + 1.5 * math.exp(-70 * x) + sum(height * math.tanh((x - at) / width) for height, at, width in steps)


_NCA_POWERS = (1.638, -2.222, 15.056, -23.488, 81.246, -344.566, 621.3475, -554.774, 264.427, -66.3691, 11.8058)


def _nca(y: float) -> float:
    y = min(max(y, 0.0), 1.0)
    polynomial = 0.0
    for factor in _NCA_POWERS:
        polynomial = polynomial * y + factor
    return polynomial - 0.61386 * math.exp(5.8201 * math.pow(y, 136.4))


# LiMn2O4 of M. Doyle et al., J. Electrochem. Soc. 143 (1996) 1890
def _lmo(y: float) -> float:
    y = min(max(y, 0.0), 0.998)
    return (
        4.19829
        + 0.0565661 * math.tanh(-14.5546 * y + 8.60942)
        - 0.0275479 * (math.pow(0.998432 - y, -0.492465) - 1.90111)
        - 0.157123 * math.exp(-0.04738 * y**8)
        + 0.810239 * math.exp(-40 * (y - 0.133875))
    )


# negative, positive. Prada gives no graphite curve and gets Chen's. Doyle's negative is a coke that no car has, so LMO
# gets Chen's curve on the graphite listed by S. Marquis et al., J. Electrochem. Soc. 166 (2019) A3693, used to x = 0.85
_CHEMISTRIES = {
    "NMC": (
        _Electrode(_graphite, 5.86e-6, 3.3e-14, 33133.0, 0.679, 0.91062, 0.02635),
        _Electrode(_nmc, 5.22e-6, 4e-15, 63104.0, 6.825, 0.26385, 0.85397),
    ),
    "NCA": (
        _Electrode(_graphite_of_nca, 0.5083e-6, 9e-14, 28700.0, 75.0, 0.69655, 0.06820),
        _Electrode(_nca, 1.633e-6, 3e-15, 49000.0, 8.13, 0.34212, 0.98304),
    ),
    "LMO": (
        _Electrode(_graphite, 10e-6, 3.9e-14, 24983.0, 15.8, 0.85, 0.03327),
        _Electrode(_lmo, 8.5e-6, 1e-13, 22860.0, 1.395, 0.17260, 0.93),
    ),
    "LFP": (
        _Electrode(_graphite, 5e-6, 3e-15, 30555.0, 0.686, 0.81004, 0.01762),
        _Electrode(_lfp, 50e-9, 5.9e-18, 22806.0, 0.474, 0.00376, 0.70350),
    ),
}


class BatteryModel:
    """A battery of the ratings of `dut`, at rest at `soc` (0..1 between its cell voltage limits at rest).

    `capacity` in Ah is what it is believed to give at C/3 and 25 degC when fully charged; over the rated one it is the
    state of health. `resistance_factor` is its 10 s pulse resistance (1C, 50 % SOC, 25 degC) over a new battery's,
    estimated from the health where None. `cell_spread` in V is what its highest and lowest cell always differ by.

    Raises ValueError for a battery that cannot be.
    """

    ambient: float  # degC; may be set at any time
    temperature: float  # degC, of all cells
    current: float  # A, + charges
    cell_voltage: float  # V, mean
    counters: Counters  # since the start, at the terminals
    _resting: float  # V, open-circuit
    _part: float  # s

    def __init__(
        self,
        dut: Dut,
        soc: float,
        capacity: float,
        temperature: float = _REFERENCE_DEGC,
        resistance_factor: float | None = None,
        cell_spread: float = 0.0,
    ) -> None:
        if not 0 <= soc <= 1 or not 0 < capacity < math.inf:
            raise ValueError(f"no such battery: a state of charge of {soc:g}, a capacity of {capacity:g} Ah")
        if resistance_factor is None:
            resistance_factor = 1 + RESISTANCE_PER_LOST_HEALTH * max(0.0, 1 - capacity / dut.rated_capacity)
        self._dut = dut
        self._negative, self._positive = _CHEMISTRIES[dut.chemistry]
        self._empty, self._full = self._filling_at(dut.cell_voltage_min), self._filling_at(dut.cell_voltage_max)
        self._heat_capacity = _HEAT_CAPACITY_PER_AH * dut.rated_capacity
        self._heat_loss = _HEAT_LOSS_PER_AH * dut.rated_capacity
        self._fit(capacity, dut.initial_dcir * resistance_factor / dut.series_cells)
        self._spread = cell_spread
        self._rest_at(soc, temperature)

    @property
    def voltage(self) -> float:
        return self.cell_voltage * self._dut.series_cells

    @property
    def cell_min(self) -> float:
        return self.cell_voltage - self._spread / 2

    @property
    def cell_max(self) -> float:
        return self.cell_voltage + self._spread / 2

    @property
    def soc(self) -> float:
        return (self._filling - self._empty) / (self._full - self._empty)

    def advance(self, seconds: float, current: float = 0.0, voltage: float = 0.0) -> float:
        """Drive with `current` (A, + charges, 0 rests) until `voltage` (V, of the battery) bounds it; then hold that.

        Returns the seconds that passed: fewer than asked where the bound is reached on the way, by the battery or by
        its highest (lowest) cell at its share of it, so that no caller steps over that moment. Zero seconds show what
        a new current does at once. A bound on the wrong side of the resting voltage lets no current flow. Up to 60 s
        it does not matter how a time is divided; a rest may be of any length.
        """
        rate, bound = current / self._charge, voltage / self._dut.series_cells
        sign = math.copysign(1.0, current)
        stop = bound - sign * self._spread / 2
        # an unchanged current goes on from where it is: computed anew at a new temperature, a bound would be left again
        unchanged = rate * self._charge == self.current
        before = self.cell_voltage if unchanged else self._attempt(rate, 0.0)
        if rate != 0.0 and sign * (before - stop) >= 0:
            self._hold(rate, seconds, bound, sign)
            return seconds
        target = stop * (1 + sign * _BEYOND)
        if rate != 0.0 and sign * (self._attempt(rate, seconds) - target) > 0:
            seconds = _root(lambda time: sign * (self._attempt(rate, time) - target), seconds, _CLOSENESS * bound)
        self._accept(rate, seconds, before)
        self._part = _SHORTEST_PART
        return seconds

    def _hold(self, rate: float, seconds: float, bound: float, sign: float) -> None:
        """Hold the bound with as much of the rate as it takes; the current of each part is that of its end."""
        left = seconds
        while True:
            part, before = min(self._part, left), self.current
            self._accept(self._holding(rate, part, bound, sign), part, self.cell_voltage)
            change = abs(self.current - before) / abs(rate * self._charge)
            if change > _MUCH:
                self._part = max(part / 2, _SHORTEST_PART)
            elif change < _MUCH / 3 and part == self._part:
                self._part = min(part * 2, _LONGEST_PART)
            left -= part
            if left < _SHORTEST_PART * 1e-6:
                return

    def _holding(self, rate: float, seconds: float, bound: float, sign: float) -> float:
        """The rate that ends a time at the bound, between none and `rate`."""
        target = bound * (1 + sign * _BEYOND)
        if sign * (self._attempt(rate, seconds) - target) <= 0:
            return rate
        if sign * (self._attempt(0.0, seconds) - target) >= 0:
            return 0.0
        return _root(lambda tried: sign * (self._attempt(tried, seconds) - target), rate, _CLOSENESS * bound)

    def _attempt(self, rate: float, seconds: float) -> float:
        """Cell voltage after `seconds` more of a rate (in 1/s of the window's charge); changes nothing."""
        filling, slow_negative, slow_positive = self._moved(rate, seconds)
        x = self._negative.at(filling + slow_negative + self._negative.diffusion_time * rate / 105)
        y = self._positive.at(filling + slow_positive + self._positive.diffusion_time * rate / 105)
        voltage = self._positive.potential(y) - self._negative.potential(x)
        if rate == 0.0:
            return voltage
        kelvin = self.temperature + _ZERO_DEGC
        slowed = math.exp(_ACTIVATION_ENERGY / _GAS_CONSTANT * (1 / kelvin - 1 / _REFERENCE_KELVIN)) * rate
        reaction = math.asinh(slowed * self._negative.reaction_time / _occupancy(x))
        reaction += math.asinh(slowed * self._positive.reaction_time / _occupancy(y))
        overpotential = 2 * _GAS_CONSTANT * kelvin / _FARADAY * reaction
        return voltage + self._kinetic_share * overpotential + self._ohmic * rate * self._charge

    def _moved(self, rate: float, seconds: float) -> tuple[float, float, float]:
        """Filling and the slow states of both electrodes after a constant rate."""
        slow = []
        for electrode, present in ((self._negative, self._slow[0]), (self._positive, self._slow[1])):
            settled = electrode.diffusion_time * rate * 2 / 35
            slow.append(settled + (present - settled) * math.exp(-30 * seconds / electrode.diffusion_time))
        return self._filling + rate * seconds, slow[0], slow[1]

    def _accept(self, rate: float, seconds: float, before: float) -> None:
        """Let that time pass, from a cell voltage on, with its heat I (V - OCV) and its Ah and Wh."""
        after = self._attempt(rate, seconds)
        self._filling, *self._slow = self._moved(rate, seconds)
        self.cell_voltage, self.current = after, rate * self._charge
        resting, self._resting = self._resting, self._open_circuit(self._filling)
        polarisation = (before + after - resting - self._resting) / 2
        settled = self.ambient + self.current * polarisation / self._heat_loss
        kept = math.exp(-seconds * self._heat_loss / self._heat_capacity)
        self.temperature = settled + (self.temperature - settled) * kept
        series = self._dut.series_cells
        ends = self.current, before * series, seconds, self.current, after * series
        self.counters = integrate(self.counters, 0.0, *ends)

    def _open_circuit(self, filling: float) -> float:
        at_negative, at_positive = self._negative.at(filling), self._positive.at(filling)
        return self._positive.potential(at_positive) - self._negative.potential(at_negative)

    def _filling_at(self, voltage: float) -> float:
        """The filling whose open-circuit voltage this is, by bisection: it rises with the filling."""
        low, high = -0.5, 1.5
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (low, middle) if self._open_circuit(middle) > voltage else (middle, high)
        return (low + high) / 2

    def _rest_at(self, soc: float, temperature: float) -> None:
        self._filling = self._empty + soc * (self._full - self._empty)
        self._slow = [0.0, 0.0]
        self.ambient = self.temperature = temperature
        self.current, self._part = 0.0, _SHORTEST_PART
        self.cell_voltage = self._resting = self._open_circuit(self._filling)
        self.counters = Counters()

    def _fit(self, capacity: float, dcir: float) -> None:
        """Give the cell the size and the resistance of one that delivers a capacity (Ah) and has a 10 s dcir (ohm).

        Between two rests there is more than a discharge gives, by what the resistance leaves behind; a resistance in
        turn belongs to a cell of some size. Two rounds settle both.
        """
        self._spread = 0.0
        self._charge = capacity * 3600 / (self._full - self._empty)
        for _ in range(2):
            self._fit_resistance(dcir)
            self._charge *= capacity / self._delivered()
        self._fit_resistance(dcir)

    def _fit_resistance(self, dcir: float) -> None:
        """Kinetics as published and an ohmic resistance make up the dcir; where that is too much, less kinetics."""
        amperes = self._dut.rated_capacity
        self._rest_at(0.5, _REFERENCE_DEGC)
        self._kinetic_share = self._ohmic = 0.0
        diffusion = self.cell_voltage - self._attempt(-amperes / self._charge, 10.0)
        self._kinetic_share = 1.0
        kinetics = self.cell_voltage - self._attempt(-amperes / self._charge, 10.0) - diffusion
        left = dcir * amperes - diffusion
        self._kinetic_share = min(max(left / kinetics, 0.0), 1.0)
        self._ohmic = max(left - kinetics, 0.0) / amperes

    def _delivered(self) -> float:
        """Ah that a discharge at C/3 gives after a charge at C/3, held until C/10, and a rest."""
        dut, minute = self._dut, 60.0
        amperes = dut.rated_capacity / 3
        self._rest_at(0.9, _REFERENCE_DEGC)
        self.advance(0.0, amperes, dut.cell_voltage_max * dut.series_cells)
        while self.current > dut.rated_capacity / 10:
            self.advance(minute, amperes, dut.cell_voltage_max * dut.series_cells)
        self.advance(10 * minute)
        while self.cell_voltage > dut.cell_voltage_min:
            self.advance(minute, -amperes, dut.cell_voltage_min * dut.series_cells)
        if self.counters.discharged_ah < amperes / 10:
            raise ValueError(f"{dut.model} has too much resistance to give its capacity: check initial_dcir")
        return self.counters.discharged_ah


def _occupancy(fraction: float) -> float:
    return math.sqrt(max(fraction * (1 - fraction), _LEAST_OCCUPANCY))


def _root(function: Callable[[float], float], high: float, tolerance: float) -> float:
    """Where a function that is negative at 0 and positive at `high` is within the tolerance of 0 (regula falsi,
    Illinois variant: the end that stays counts half)."""
    low, below, above = 0.0, function(0.0), function(high)
    side = 0
    for _ in range(_SEARCH_LENGTH):
        tried = (low * above - high * below) / (above - below)
        value = function(tried)
        if abs(value) <= tolerance:
            return tried
        if value > 0:
            high, above = tried, value
            below = below / 2 if side > 0 else below
            side = 1
        else:
            low, below = tried, value
            above = above / 2 if side < 0 else above
            side = -1
    return tried
