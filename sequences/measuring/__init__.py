"""From the samples of a run to its measurements, each with its uncertainty and where it came from. Pure.

What is known of a battery in general is worked out by `sequences.analysis`; here is what a recipe adds: which step runs
a measurement names, the counters of its run, and its limits. What cannot be measured is None, with the reason in words.
"""

from sequences.measuring.kinds import KINDS
from sequences.measuring.results import MeasurementResult, analyse, analyse_some
from sequences.measuring.samples import RunData

__all__ = ["KINDS", "MeasurementResult", "RunData", "analyse", "analyse_some"]
