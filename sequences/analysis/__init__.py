"""From recorded samples to what they say of a battery: arrays in, estimates with uncertainty and origin out. Pure."""

from sequences.analysis.capacity import (
    CELLS_AND_MODULES,
    PACKS,
    Convergence,
    Window,
    charge_moved,
    coulombic_efficiency,
    energy_efficiency,
    energy_moved,
    is_full,
    settled_capacity,
    voltage_window,
)
from sequences.analysis.cells import CellComparison, Limiting, cell_resistances, cell_spread, compare_cells
from sequences.analysis.defects import Defect, find_defects
from sequences.analysis.degradation import Electrodes, degradation_modes, fit_electrodes, new_electrodes
from sequences.analysis.differential import Differential, differential_voltage, incremental_capacity
from sequences.analysis.estimate import Estimate, UnmeasurableError, ratio
from sequences.analysis.evaluation import Battery, Evaluation, PulseResult, RestResult, SweepResult, evaluate
from sequences.analysis.halfcells import CHEN2020, NEW_CELL_OF, PRADA2013, NewCell
from sequences.analysis.impedance import SpectrumFit, ac_resistance, fit_spectrum
from sequences.analysis.insulation import per_volt, two_voltmeters
from sequences.analysis.metals import CHEMISTRIES, metals
from sequences.analysis.relaxation import Relaxation, relaxation
from sequences.analysis.resistance import TIMES, Pulse, dc_resistance, find_pulses, resistance_increase
from sequences.analysis.segments import Segment, Segments, Sweep, find_segments, find_sweeps
from sequences.analysis.self_discharge import RestVoltage, SelfDischarge, from_voltages
from sequences.analysis.series import Instrument, TimeSeries

__all__ = [
    "CELLS_AND_MODULES", "CHEMISTRIES", "CHEN2020", "NEW_CELL_OF", "PACKS", "PRADA2013", "TIMES", "Battery",
    "CellComparison", "Convergence", "Defect", "Differential", "Electrodes", "Estimate", "Evaluation", "Instrument",
    "Limiting", "NewCell", "Pulse", "PulseResult", "Relaxation", "RestResult", "RestVoltage", "Segment", "Segments",
    "SelfDischarge", "SpectrumFit", "Sweep", "SweepResult", "TimeSeries", "UnmeasurableError", "Window",
    "ac_resistance", "cell_resistances", "cell_spread", "charge_moved", "compare_cells", "coulombic_efficiency",
    "dc_resistance", "degradation_modes", "differential_voltage", "energy_efficiency", "energy_moved", "evaluate",
    "find_defects", "find_pulses", "find_segments", "find_sweeps", "fit_electrodes", "fit_spectrum", "from_voltages",
    "incremental_capacity", "is_full", "metals", "new_electrodes", "per_volt", "ratio", "relaxation",
    "resistance_increase", "settled_capacity", "two_voltmeters", "voltage_window",
]  # fmt: skip
