"""Which function works out which kind of measurement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sequences import measurement as m
from sequences.analysis import Estimate
from sequences.measuring import cells, charge, curves, fast, readings, resistance, self_discharge
from sequences.measuring.samples import Samples

KINDS: Mapping[type, Callable[[Samples, Any], Estimate]] = {
    m.Capacity: charge.capacity,
    m.CapacityFade: charge.capacity_fade,
    m.StateOfHealth: charge.state_of_health,
    m.CapacityAtC3: charge.capacity_at_c3,
    m.ConvergedCapacity: charge.converged_capacity,
    m.Energy: charge.energy,
    m.CertifiedEnergy: charge.certified_energy,
    m.Efficiency: charge.efficiency,
    m.Resistance: resistance.resistance,
    m.ResistanceIncrease: resistance.increase,
    m.CellResistanceRatio: resistance.cell_ratio,
    m.PowerCapability: resistance.power_capability,
    m.CellSpread: cells.spread,
    m.WeakestCell: cells.weakest,
    m.CellLag: cells.lag,
    m.SelfDischarge: self_discharge.self_discharge,
    m.Slippage: self_discharge.slippage,
    m.InsulationPerVolt: readings.insulation,
    m.TwoVoltmeters: readings.two_voltmeters,
    m.AcResistance: readings.ac_resistance,
    m.Spectrum: readings.spectrum,
    m.Metal: readings.metal,
    m.TemperatureMax: readings.temperature_max,
    m.AtEnd: readings.at_end,
    m.FastSoh: fast.fast_soh,
    m.Degradation: curves.degradation,
    m.IcaPeak: curves.ica_peak,
}
