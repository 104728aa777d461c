"""What an evaluation is: recipes, steps, limits, measurements, grades. Pure: no I/O, no clock, no asyncio."""

from sequences.analysis import MeasurementResult, RunData, StepRecord, analyse
from sequences.check import Finding, check
from sequences.dut import Dut, StationLimits
from sequences.grading import Graded, GradeRules, grade
from sequences.program import PlannedStep, estimate_durations, expand
from sequences.recipe import Recipe, Text
from sequences.safety import Bound, effective_bounds
from sequences.sample import Counters, Quality, Sample, Value, integrate
from sequences.steps import Command, Drive, Ended, NoCurrent, StepRun, TakeReadings, View, run_of
from sequences.verdict import Limits, Verdict, worst

__all__ = [
    "Bound",
    "Command",
    "Counters",
    "Drive",
    "Dut",
    "Ended",
    "Finding",
    "GradeRules",
    "Graded",
    "Limits",
    "MeasurementResult",
    "NoCurrent",
    "PlannedStep",
    "Quality",
    "Recipe",
    "RunData",
    "Sample",
    "StationLimits",
    "StepRecord",
    "StepRun",
    "TakeReadings",
    "Text",
    "Value",
    "Verdict",
    "View",
    "analyse",
    "check",
    "effective_bounds",
    "estimate_durations",
    "expand",
    "grade",
    "integrate",
    "run_of",
    "worst",
]
