"""What a cell is made of: open-circuit curves, geometry and kinetics from published parameter sets.

Chen2020: graphite-SiOx | NMC811, LG M50 21700, 5 Ah. C.-H. Chen et al., J. Electrochem. Soc. 167 (2020) 080534.
Prada2013: graphite | LFP, A123 26650, 2.3 Ah. E. Prada et al., J. Electrochem. Soc. 160 (2013) A616; positive
open-circuit curve of Afshar et al. (2017); the graphite curve is Chen's, since Prada gives none.
Doyle1996: graphite | LMO, no cell ever built but a sensible one: positive electrode of M. Doyle et al., J. Electrochem.
Soc. 143 (1996) 1890; kinetics of the MCMB graphite in Dualfoil, as S. Marquis et al., J. Electrochem. Soc. 166 (2019)
A3693, list it, with Chen's graphite curve, and as much of it as takes x to 0.85 at 4.2 V. The published LMO curve has
powers; here it is a sum of exponentials that keeps within 0.9 mV of it for 0.14 < y < 0.985.
SI units; stoichiometry is the lithium fraction of an electrode, 0..1; capacities in Ah where the name says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FARADAY = 96485.33212  # C/mol
GAS_CONSTANT = 8.314462618  # J/(mol K)
# a root is found when a step towards it is as short as this; halving alone would need 40 of them
_SHORTEST_STEP, _MOST_STEPS = 1e-12, 200


@dataclass(frozen=True)
class OpenCircuit:
    """U(s) = offset + slope s + sum w tanh(a s + b) + sum w exp(a s + b), in V against lithium; terms are (w, a, b)."""

    offset: float
    slope: float
    tanh_terms: tuple[tuple[float, float, float], ...]
    exp_terms: tuple[tuple[float, float, float], ...]

    def __call__(self, stoichiometry: Array) -> Array:
        return self.with_slope(stoichiometry)[0]

    def slope_at(self, stoichiometry: Array) -> Array:
        """dU/ds in V."""
        return self.with_slope(stoichiometry)[1]

    def with_slope(self, stoichiometry: Array) -> tuple[Array, Array]:
        """U and dU/ds in V."""
        potential = self.offset + self.slope * stoichiometry
        slope = np.full_like(stoichiometry, self.slope)
        for weight, gain, shift in self.tanh_terms:
            value = np.tanh(gain * stoichiometry + shift)
            potential = potential + weight * value
            slope = slope + weight * gain * (1 - value * value)
        for weight, gain, shift in self.exp_terms:
            value = weight * np.exp(gain * stoichiometry + shift)
            potential = potential + value
            slope = slope + gain * value
        return potential, slope


@dataclass(frozen=True)
class Electrode:
    """One electrode of the single-particle model; `reaction_rate` in A/m2 (m3/mol)^1.5."""

    open_circuit: OpenCircuit
    thickness: float
    active_fraction: float
    particle_radius: float
    diffusivity: float
    concentration_max: float
    reaction_rate: float
    stoichiometry_full: float
    stoichiometry_empty: float

    def capacity_ah(self, area: float) -> float:
        """Charge between stoichiometry 0 and 1 for an electrode area in m2."""
        return FARADAY * area * self.thickness * self.active_fraction * self.concentration_max / 3600

    def particle_surface(self, area: float) -> float:
        """Surface of all particles in m2."""
        return area * self.thickness * 3 * self.active_fraction / self.particle_radius

    def exchange_current(self, area: float, electrolyte_concentration: float) -> float:
        """Exchange current in A at s (1 - s) = 1: j0 = m sqrt(ce cs (cmax - cs)) on the surface of all particles."""
        current_density = self.reaction_rate * sqrt(electrolyte_concentration) * self.concentration_max
        return self.particle_surface(area) * current_density


@dataclass(frozen=True)
class CellParameters:
    """A new cell. `series_resistance`, `electrolyte_resistance` (ohm) and `electrolyte_time` (s) stand for what a
    single-particle model leaves out; they are fitted to the HPPC run of a full-order (DFN) model of the same cell.
    """

    name: str
    negative: Electrode
    positive: Electrode
    area: float
    electrolyte_concentration: float
    voltage_max: float
    voltage_min: float
    series_resistance: float
    electrolyte_resistance: float
    electrolyte_time: float

    @property
    def lithium_ah(self) -> float:
        """Cyclable lithium of the new cell, in Ah."""
        return self.negative.capacity_ah(self.area) * self.negative.stoichiometry_full + (
            self.positive.capacity_ah(self.area) * self.positive.stoichiometry_full
        )


def balance(
    parameters: CellParameters, voltage: float, lithium: Array, lam_negative: Array, lam_positive: Array
) -> Array:
    """Stoichiometries (2, n), negative first, of n resting cells at an open-circuit voltage.

    Lithium is conserved, x Qn + y Qp = lithium, and Up(y) - Un(x) = voltage. `lithium` (n,) in Ah, `lam_*` (n,) the
    lost fraction of each electrode.
    """
    return balance_with_slope(parameters, voltage, lithium, lam_negative, lam_positive)[0]


def balance_with_slope(
    parameters: CellParameters, voltage: float, lithium: Array, lam_negative: Array, lam_positive: Array
) -> tuple[Array, Array]:
    """The same, and by how much x (n,) rises for each Ah of lithium."""
    capacity_n = parameters.negative.capacity_ah(parameters.area) * (1 - lam_negative)
    capacity_p = parameters.positive.capacity_ah(parameters.area) * (1 - lam_positive)
    share = capacity_n / capacity_p

    def excess(x: Array) -> tuple[Array, Array]:
        """The cell voltage less the wanted one, which rises with x at constant lithium."""
        positive, slope_p = parameters.positive.open_circuit.with_slope((lithium - x * capacity_n) / capacity_p)
        negative, slope_n = parameters.negative.open_circuit.with_slope(x)
        return positive - negative - voltage, -(slope_p * share + slope_n)

    low = np.maximum(0.0, (lithium - capacity_p) / capacity_n)
    high = np.minimum(1.0, lithium / capacity_n)
    x = rising_root(excess, low, high)
    y = (lithium - x * capacity_n) / capacity_p
    slope_p, slope_n = parameters.positive.open_circuit.slope_at(y), parameters.negative.open_circuit.slope_at(x)
    return np.stack((x, y)), slope_p / capacity_p / (slope_p * share + slope_n)


def rising_root(function: Callable[[Array], tuple[Array, Array]], low: Array, high: Array) -> Array:
    """Where a rising function (its value and slope at (n,)) is zero between `low` and `high`, for each of n.

    Newton's steps as long as they stay in the bracket and shrink to half each time, else the bracket is halved.
    """
    x = (low + high) / 2
    length = high - low
    for _ in range(_MOST_STEPS):
        value, slope = function(x)
        above = value > 0
        high, low = np.where(above, x, high), np.where(above, low, x)
        step = -value / np.maximum(slope, 1e-30)
        newton = (low <= x + step) & (x + step <= high) & (np.abs(step) <= length / 2)
        moved = np.where(newton, x + step, (low + high) / 2)
        length = np.abs(moved - x)
        x = moved
        if length.max() <= _SHORTEST_STEP:
            break
    return np.asarray(x)


_GRAPHITE = OpenCircuit(
    offset=0.2482,
    slope=0.0,
    tanh_terms=(
        (-0.0909, 29.8538, -29.8538 * 0.1234),
        (-0.04478, 14.9159, -14.9159 * 0.2769),
        (-0.0205, 30.4444, -30.4444 * 0.6103),
    ),
    exp_terms=((1.9793, -39.3631, 0.0),),
)

CHEN2020 = CellParameters(
    name="Chen2020",
    negative=Electrode(
        open_circuit=_GRAPHITE,
        thickness=85.2e-6,
        active_fraction=0.75,
        particle_radius=5.86e-6,
        diffusivity=3.3e-14,
        concentration_max=33133.0,
        reaction_rate=6.48e-7,
        stoichiometry_full=0.91061805,
        stoichiometry_empty=0.02634579,
    ),
    positive=Electrode(
        open_circuit=OpenCircuit(
            offset=4.4875,
            slope=-0.8090,
            tanh_terms=(
                (-0.0428, 18.5138, -18.5138 * 0.5542),
                (-17.7326, 15.7890, -15.7890 * 0.3117),
                (17.5842, 15.9308, -15.9308 * 0.3120),
            ),
            exp_terms=(),
        ),
        thickness=75.6e-6,
        active_fraction=0.665,
        particle_radius=5.22e-6,
        diffusivity=4e-15,
        concentration_max=63104.0,
        reaction_rate=3.42e-6,
        stoichiometry_full=0.26384522,
        stoichiometry_empty=0.85397467,
    ),
    area=0.065 * 1.58,
    electrolyte_concentration=1000.0,
    voltage_max=4.2,
    voltage_min=2.5,
    series_resistance=3.66e-3,
    electrolyte_resistance=6.61e-3,
    electrolyte_time=30.0,
)

PRADA2013 = CellParameters(
    name="Prada2013",
    negative=Electrode(
        open_circuit=_GRAPHITE,
        thickness=34e-6,
        active_fraction=0.58,
        particle_radius=5e-6,
        diffusivity=3e-15,
        concentration_max=30555.0,
        reaction_rate=6.48e-7,
        stoichiometry_full=0.81004350,
        stoichiometry_empty=0.01761793,
    ),
    positive=Electrode(
        open_circuit=OpenCircuit(
            offset=3.4077,
            slope=-0.020269,
            tanh_terms=(),
            exp_terms=((0.5, -150.0, 0.0), (-0.9, 30.0, -30.0)),
        ),
        thickness=80e-6,
        active_fraction=0.374,
        particle_radius=50e-9,
        diffusivity=5.9e-18,
        concentration_max=22806.0,
        reaction_rate=6e-7,
        stoichiometry_full=0.00376159,
        stoichiometry_empty=0.70350202,
    ),
    area=0.6 * 0.3,
    electrolyte_concentration=1200.0,
    voltage_max=3.6,
    voltage_min=2.0,
    # the full-order model has next to no ohmic part; 1 mohm is set for an AC meter to see, the rest fitted around it
    series_resistance=1.0e-3,
    electrolyte_resistance=1.76e-3,
    electrolyte_time=200.0,
)

DOYLE1996 = CellParameters(
    name="Doyle1996",
    negative=Electrode(
        open_circuit=_GRAPHITE,
        thickness=76.86511592859678e-6,
        active_fraction=0.6,
        particle_radius=10e-6,
        diffusivity=3.9e-14,
        concentration_max=24983.2619938437,
        reaction_rate=2e-5,
        stoichiometry_full=0.85,
        stoichiometry_empty=0.03327156,
    ),
    positive=Electrode(
        open_circuit=OpenCircuit(
            offset=4.0668018,
            slope=-0.01631793,
            tanh_terms=((0.0565661, -14.5546, 8.60942),),
            exp_terms=(
                (0.810239, -40.0, 40.0 * 0.133875),
                (-0.05773051, 5.41527105, -5.41527105),
                (-0.11121445, 26.28753162, -26.28753162),
                (-0.24453146, 103.54105508, -103.54105508),
            ),
        ),
        thickness=183e-6,
        active_fraction=0.297,
        particle_radius=8e-6,
        diffusivity=1e-13,
        concentration_max=22860.0,
        reaction_rate=2e-11 * FARADAY,
        stoichiometry_full=0.17260298,
        stoichiometry_empty=0.93,
    ),
    area=0.4,
    electrolyte_concentration=1000.0,
    voltage_max=4.2,
    voltage_min=3.0,
    # set so that the 5 s resistance at 1C and 50 % SOC is 86 mohm Ah, the value of the retired LMO cells of PulseBat
    # (S. Tao et al., Nat. Commun. 2024, s41467-024-54454-0) extrapolated to a new one
    series_resistance=3.1e-3,
    electrolyte_resistance=2.3e-3,
    electrolyte_time=30.0,
)

# NMC811 stands in for NCA, its neighbour in nickel
PARAMETERS_OF_CHEMISTRY = {"NMC": CHEN2020, "NCA": CHEN2020, "LMO": DOYLE1996, "LFP": PRADA2013}

# half the gap in V between the open-circuit voltages after long charge and after long discharge. LFP: 41 mV between the
# branches of a measured cathode at C/50, its polarisation included; 20 mV between them at rest (W. Dreyer et al.,
# Nat. Mater. 9 (2010) 448), and graphite adds to that
HYSTERESIS_OF_CHEMISTRY = {"NMC": 0.0, "NCA": 0.0, "LMO": 0.0, "LFP": 0.015}
