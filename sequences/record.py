"""What a run has done so far, as its program tells it and as a journal gives it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sequences.condition import NEXT, Route
from sequences.sample import Counters
from sequences.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What a run holds to be so: Ah, a fraction 0..1, net Ah at which it was so; see `sequences.view.Context`."""

    capacity: float
    soc: float
    soc_at: float
    full_at: float | None
    grade_certain: bool | None


@dataclass(frozen=True, slots=True)
class StepStart:
    """A step run that began: line time `at` in unix s, time `t` of the run in s (holds excluded), counters then."""

    index: int
    label: str
    at: float
    t: float
    counters: Counters


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One finished step run: line times in unix s, net charge and energy moved in it (Ah, Wh, + charges).

    `scope` names the calls around it, `readings` hold what instruments read, `values` the variables it set, in inner
    units; `measured` what a measure step worked out, in coherent units; `counters` and `known` are as it ended.
    """

    index: int
    name: str
    label: str
    started: float
    ended: float
    reason: str
    complete: bool
    readings: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    kind: str = ""
    scope: str = ""
    verdict: Verdict = Verdict.PASS
    charge: float = 0.0
    energy: float = 0.0
    values: Mapping[str, float | None] = field(default_factory=dict)
    route: Route = NEXT
    counters: Counters = field(default_factory=Counters)
    measured: Mapping[str, float | None] = field(default_factory=dict)
    known: Knowledge | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What a run took between steps: an `if` or `while` its way, or a step's hold its end."""

    label: str
    taken: bool
