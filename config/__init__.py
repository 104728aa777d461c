"""What a line is: strict YAML documents, line files, battery models, simulation settings."""

from config.documents import Document, DocumentError, parse_document, read_document
from config.dut import DutModel, load_dut_model, model_of_code, shipped_dut_models
from config.line import Accuracy, InstrumentConfig, LineConfig, StationConfig, load_line, validate_line
from config.simulation import Fault, SimulatedBattery, SimulatedStation, SimulationConfig, WeakCell

__all__ = [
    "Accuracy",
    "Document",
    "DocumentError",
    "DutModel",
    "Fault",
    "InstrumentConfig",
    "LineConfig",
    "SimulatedBattery",
    "SimulatedStation",
    "SimulationConfig",
    "StationConfig",
    "WeakCell",
    "load_dut_model",
    "load_line",
    "model_of_code",
    "parse_document",
    "read_document",
    "shipped_dut_models",
    "validate_line",
]
