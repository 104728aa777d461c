"""Step files of Neware's BTS 8.0: the program of a channel, as XML.

Source: step files as EmpaEconversion's aurora-unicycler writes them, collected in the project's instrument notes.
Values are in mA, 0.1 mV and ms. Step types: 1 constant current charge, 2 the same as discharge (its current positive
too), 3 constant voltage charge, 19 the same as discharge, 4 rest, 5 cycle, 6 end. A step ends at its first limit.

Choices where they are silent: a step file without an end, with other step types, with a value that is no number or
above the channel's 5 V and 120 A, is not a step file; a cycle goes back until it was reached as often as it says;
protections of capacity and their delay are not simulated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

MAX_V, MAX_A = 5.0, 120.0
FACTORY_RECORD_S = 30.0
MAX_STEPS = 500

Kind = Literal["cc", "dc", "cv", "dv", "rest", "cycle", "end"]
KINDS: dict[str, Kind] = {"1": "cc", "2": "dc", "3": "cv", "19": "dv", "4": "rest", "5": "cycle", "6": "end"}


class StepFileError(Exception):
    """This is not a step file that a channel can run."""


@dataclass(frozen=True)
class Step:
    """One step; V, A (magnitudes) and s. What is not given is None, and no limit of time is inf."""

    number: int
    kind: Kind
    seconds: float = math.inf
    current: float | None = None
    voltage: float | None = None
    stop_voltage: float | None = None
    stop_current: float | None = None
    back_to: int = 1
    cycles: int = 1


@dataclass(frozen=True)
class Program:
    """`volts` and `amperes` are the protections, lowest and highest; a record is made every `record_s`."""

    steps: tuple[Step, ...]
    volts: tuple[float, float]
    amperes: tuple[float, float]
    record_s: float

    def at(self, number: int) -> Step:
        return self.steps[number - 1]


def parse(data: bytes) -> Program:
    """The program of a step file; raises StepFileError."""
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError):
        raise StepFileError("not XML") from None
    config = root.find("config")
    information = None if config is None else config.find("Step_Info")
    if config is None or information is None or not 1 <= len(information) <= MAX_STEPS:
        raise StepFileError("no steps")
    steps = tuple(_step(number, element, len(information)) for number, element in enumerate(information, 1))
    if steps[-1].kind != "end":
        raise StepFileError("no end")
    if any(step.kind == "cycle" and steps[step.back_to - 1].kind == "cycle" for step in steps):
        raise StepFileError("a cycle without a step")
    volts = _limits(config.find("Whole_Prt/Protect/Main/Volt"), 1e-4)
    amperes = _limits(config.find("Whole_Prt/Protect/Main/Curr"), 1e-3)
    record = _value(config, "Whole_Prt/Record/Main/Time", 1e-3)
    return Program(steps, volts, amperes, max(1.0, FACTORY_RECORD_S if record is None else record))


def _step(number: int, element: ElementTree.Element, count: int) -> Step:
    kind = KINDS.get(element.get("Step_Type", ""))
    if element.tag != f"Step{number}" or element.get("Step_ID") != str(number) or kind is None:
        raise StepFileError(f"step {number} is none")
    main = "Limit/Main"
    seconds = _value(element, f"{main}/Time", 1e-3)
    step = Step(
        number,
        kind,
        math.inf if seconds is None else seconds,
        _value(element, f"{main}/Curr", 1e-3, MAX_A),
        _value(element, f"{main}/Volt", 1e-4, MAX_V),
        _value(element, f"{main}/Stop_Volt", 1e-4, MAX_V),
        _value(element, f"{main}/Stop_Curr", 1e-3, MAX_A),
        round(_value(element, "Limit/Other/Start_Step", 1) or 1),
        round(_value(element, "Limit/Other/Cycle_Count", 1) or 1),
    )
    missing = {
        "cc": step.current is None,
        "dc": step.current is None,
        "cv": step.voltage is None,
        "dv": step.voltage is None,
        "rest": seconds is None,
        "cycle": not 1 <= step.back_to < number,
        "end": number != count,
    }
    if missing[kind]:
        raise StepFileError(f"step {number} lacks what a {kind} step needs")
    return step


def _limits(element: ElementTree.Element | None, unit: float) -> tuple[float, float]:
    if element is None:
        return -math.inf, math.inf
    low = _value(element, "Lower", unit, signed=True)
    high = _value(element, "Upper", unit, signed=True)
    return -math.inf if low is None else low, math.inf if high is None else high


def _value(
    element: ElementTree.Element, path: str, unit: float, most: float = 1e9, signed: bool = False
) -> float | None:
    """The value at a path in SI units, None where there is none."""
    found = element.find(path)
    if found is None:
        return None
    try:
        value = float(found.get("Value", "")) * unit
    except ValueError:
        raise StepFileError(f"{path} is no number") from None
    if not (-most if signed else 0.0) <= value <= most:
        raise StepFileError(f"{path} is out of range")
    return value
