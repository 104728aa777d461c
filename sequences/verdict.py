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
    def ko(self) -> str:
        return _KOREAN[self]

    @property
    def rank(self) -> int:
        return list(Verdict).index(self)


_KOREAN = {
    Verdict.PASS: "합격",
    Verdict.MARGINAL: "경계",
    Verdict.INCONCLUSIVE: "판정 불가",
    Verdict.FAIL: "불합격",
    Verdict.ABORTED: "중단",
    Verdict.ERROR: "오류",
}


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The highest verdict; pass when there is none to judge."""
    return max(verdicts, key=lambda verdict: verdict.rank, default=Verdict.PASS)
