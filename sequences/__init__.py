"""What an evaluation is: recipes, steps, limits, measurements, grades. Pure: no I/O, no clock, no asyncio."""

from sequences.measuring import MeasurementResult, RunData, StepRecord, analyse
from sequences.bounds import Bound, effective_bounds
from sequences.check import Finding, check, check_rules
from sequences.dut import Dut, StationLimits
from sequences.grading import Graded, GradeRules, grade
from sequences.program import PlannedStep, estimate_durations, expand
from sequences.recipe import Recipe, Text
from sequences.sample import Counters, Quality, Sample, Value, integrate
from sequences.steps import Action, Drive, Ended, NoCurrent, StepRun, TakeReadings, View, run_of
from sequences.verdict import Limits, Verdict, worst

__all__ = [
    "Action",
    "Bound",
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
    "check_rules",
    "effective_bounds",
    "estimate_durations",
    "expand",
    "grade",
    "integrate",
    "run_of",
    "worst",
]
