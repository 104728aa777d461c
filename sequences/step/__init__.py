"""The steps that do one thing: what each may say. How each behaves is in `sequences.runs` and `sequences.inquiries`.

A step's docstring, its fields' descriptions and its example make its page of the reference and its help in an editor.
"""

from sequences.step.asking import Acir, Eis, Identify, Inspect, Insulate, Ocv, Prompt, SetTemperature
from sequences.step.base import (
    RESUMED,
    CellVoltage,
    Interrupt,
    Into,
    MaxTime,
    Record,
    Role,
    StepBase,
    example,
    looks_back,
    says,
)
from sequences.step.current import Cc, CcCv, Cp, Cr, Cv, GoToSoc, OnePulse, Pulse, Rest
from sequences.step.profile import MAX_CSV, Profile
from sequences.step.thinking import Check, Compute, GradeNow, Measure, Publish, Python, SetPoint, WaitUntil

__all__ = [
    "MAX_CSV", "RESUMED", "Acir", "Cc", "CcCv", "CellVoltage", "Check", "Compute", "Cp", "Cr", "Cv", "Eis", "GoToSoc",
    "GradeNow", "Identify", "Inspect", "Insulate", "Interrupt", "Into", "MaxTime", "Measure", "Ocv", "OnePulse",
    "Profile", "Prompt", "Publish", "Pulse", "Python", "Record", "Rest", "Role", "SetPoint", "SetTemperature",
    "StepBase", "WaitUntil", "example", "looks_back", "says",
]  # fmt: skip
