"""What a step may ask of the engine, and what comes back. The engine owns instruments and time, steps own neither."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sequences.condition import NEXT, Route
from sequences.text import Text
from sequences.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Drive:
    """Regulate to a current (A, + charges) until a voltage (V, of the whole battery) bounds it."""

    current: float
    voltage: float


@dataclass(frozen=True, slots=True)
class NoCurrent:
    """Output off."""


@dataclass(frozen=True, slots=True)
class TakeReadings:
    """Ask the instrument of a role for `count` readings: a tuple of (value, voltage) pairs, None where not good."""

    role: str
    count: int


@dataclass(frozen=True, slots=True)
class TakeSpectrum:
    """Impedance at these frequencies, Hz: a tuple of (frequency, real, imaginary) in ohm."""

    frequencies: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TestInsulation:
    """Insulation at a test voltage, V, after seconds: ohm, None where there was no value."""

    voltage: float
    seconds: float


@dataclass(frozen=True, slots=True)
class ReadCodes:
    """The codes of label, BMS and start: three texts, empty where there is no code, None without an instrument."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask people (or a camera system): `answer` is confirm, number, choice or inspect; items are what to answer.

    What comes back: a truth, a number, the number of a choice from 1, or a mapping of items to truths.
    """

    answer: str
    text: Text
    items: tuple[tuple[str, Text], ...] = ()


@dataclass(frozen=True, slots=True)
class SetChamber:
    """Condition the air at a set point, degC, without waiting for it."""

    temperature: float


@dataclass(frozen=True, slots=True)
class WorkOut:
    """Measurements from the samples so far: a mapping of names to values in inner units, None where not measured.

    `scope` names the calls around the step that asks.
    """

    measurements: tuple[str, ...]
    scope: str = ""


@dataclass(frozen=True, slots=True)
class Provisional:
    """The grade by what was measured so far: whether the whole uncertainty gives the same, as a truth."""


@dataclass(frozen=True, slots=True)
class Tell:
    """An event for the MES with these values, each with its unit."""

    event: str
    values: Mapping[str, tuple[float | None, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CallFunction:
    """A function installed as an entry point, with its arguments: the mapping it returned."""

    function: str
    arguments: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StandStill:
    """Hold the run until people resume it."""

    reason: str


Request = (
    TakeReadings | TakeSpectrum | TestInsulation | ReadCodes | Ask | SetChamber | WorkOut | Provisional | Tell
    | CallFunction | StandStill
)  # fmt: skip
Action = Drive | NoCurrent | Request


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request: its value, or the code and words of an error."""

    value: Any = None
    error: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """The step is over, and why. `complete` is False when it ran into its maximum time.

    `values` are variables it sets, in inner units; `readings` what instruments read in it, for the record.
    """

    reason: str
    complete: bool = True
    verdict: Verdict = Verdict.PASS
    route: Route = NEXT
    values: Mapping[str, float | None] = field(default_factory=dict)
    readings: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
