from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sequences import Verdict, worst


@given(st.lists(st.sampled_from(list(Verdict)), min_size=1))
def test_nothing_hides_an_error(verdicts: list[Verdict]) -> None:
    assert worst(verdicts).rank == max(verdict.rank for verdict in verdicts)
    assert worst([*verdicts, Verdict.ERROR]) is Verdict.ERROR


def test_verdicts_rise_from_pass_to_error() -> None:
    rising = [Verdict(name) for name in ("pass", "marginal", "inconclusive", "fail", "aborted", "error")]
    assert rising == list(Verdict)
    assert [verdict.rank for verdict in rising] == sorted(verdict.rank for verdict in rising)


def test_with_nothing_to_judge_a_run_passes() -> None:
    assert worst([]) is Verdict.PASS
