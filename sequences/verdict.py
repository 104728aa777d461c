"""Verdicts."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Verdict(StrEnum):
    """In rising order; a run's verdict is the highest of its parts, so nothing hides an error."""

    PASS = "pass"
    MARGINAL = "marginal"
    INCONCLUSIVE = "inconclusive"
    FAIL = "fail"
    ABORTED = "aborted"
    ERROR = "error"

    @property
    def rank(self) -> int:
        return list(Verdict).index(self)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The highest verdict; pass when there is none to judge."""
    return max(verdicts, key=lambda verdict: verdict.rank, default=Verdict.PASS)
