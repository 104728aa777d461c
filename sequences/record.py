"""What is kept of a step run that has ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sequences.verdict import Verdict


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One finished step run: line times in unix s, net charge and energy moved in it (Ah, Wh, + charges).

    `scope` names the calls around it, `readings` hold what instruments read, `values` the variables it set.
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
