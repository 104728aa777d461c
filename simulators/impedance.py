"""Impedance of the cells over frequency: the single-particle model of `simulators.cells`, linearised where it stands.

Per cell, Z(w) = Rs + Re/(1 + jw t_e) + sum over the electrodes of [(Rct + Zd)^-1 + jw Cdl]^-1 with

    Rct = d/dI 2RT/F asinh(I/2I0) = RT/F / I0 / sqrt(1 + (I/2I0)^2)
    Zd  = |dU/ds| B R^2/(3D) tanh(u)/(u - tanh(u)),  u = sqrt(jw R^2/D)

where Zd, the finite-space Warburg impedance of a sphere, is the transfer function that the model's modes expand, and
B = 1/(electrode capacity). The double layer is what the model's time steps are too long to see: 0.2 F/m2 of particle
surface (Chen2020's in PyBaMM). It shorts the reactions at 1 kHz, where Rs is left, and is open below 0.1 Hz, where the
voltage the cells show in time has the same impedance. Hysteresis has no small signal and is left out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulators.cells import CellString
from simulators.electrodes import Electrode

DOUBLE_LAYER_F_PER_M2 = 0.2


def impedances(string: CellString, frequency: float) -> NDArray[np.complex128]:
    """Complex impedance (n,) in ohm of each cell, joints not included, at a frequency in Hz > 0."""
    cells, parameters = string.cells, string.cells.parameters
    jw = 2j * np.pi * frequency
    electrolyte = parameters.electrolyte_resistance / cells.scale / (1 + jw * parameters.electrolyte_time)
    total = string.series_resistance + cells.resistance_factor * electrolyte
    area = parameters.area * cells.scale
    surface, reaction = string.surface(), string.reaction_resistances()
    for row, (electrode, lost) in enumerate(
        ((parameters.negative, cells.lam_negative), (parameters.positive, cells.lam_positive))
    ):
        slope = electrode.open_circuit.slope_at(surface[row])
        diffusion = np.abs(slope * string.per_coulomb[row]) * _surface_response(electrode, jw)
        layer = jw * DOUBLE_LAYER_F_PER_M2 * electrode.particle_surface(area) * (1 - lost)
        total = total + 1 / (1 / (reaction[row] + diffusion) + layer)
    return np.asarray(total)


def _surface_response(electrode: Electrode, jw: complex) -> complex:
    """Surface deviation of a sphere per current into it, in s: 1/jw + R^2/(15 D) at low frequency, to 0 at high."""
    time = electrode.particle_radius**2 / electrode.diffusivity
    u = np.sqrt(jw * time)
    tanh = np.tanh(u)
    return complex(time / 3 * tanh / (u - tanh))
