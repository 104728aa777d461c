"""When a step ends: conditions as they are written, and how they are watched."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sequences import End, FaultError, Route
from sequences.condition import Watch

MET, NOT_MET, UNKNOWN = 2.0, 0.0, None


class Present:
    """One signal, `voltage`."""

    rated_capacity = 60.0

    def __init__(self, volts: float | None) -> None:
        self._volts = volts

    def value(self, name: str) -> float | None:
        return self._volts

    def history(self, name: str) -> list[float] | None:
        return None


def watch(**end: Any) -> Watch:
    return Watch(End.model_validate({"when": "voltage >= 1 V", **end}))


def shown(watched: Watch, *moments: tuple[float, float | None]) -> list[bool]:
    return [watched.met(Present(volts), t) for t, volts in moments]


def test_an_end_may_be_written_as_plain_text() -> None:
    assert End.model_validate("voltage >= 1 V") == End.model_validate({"when": "voltage >= 1 V"})
    assert End.model_validate("voltage >= 1 V").then == Route("next")


def test_what_is_true_at_once_counts_at_once() -> None:
    assert shown(watch(), (0.0, NOT_MET), (1.0, UNKNOWN), (2.0, MET)) == [False, False, True]


def test_a_hold_is_broken_by_what_is_false_or_unknown() -> None:
    moments = [(0.0, MET), (4.0, MET), (5.0, UNKNOWN), (6.0, MET), (10.9, MET), (11.0, MET)]
    assert shown(watch(hold="5 s"), *moments) == [False] * 5 + [True]
    moments[2] = (5.0, NOT_MET)
    assert shown(watch(hold="5 s"), *moments) == [False] * 5 + [True]
    moments[2] = (5.0, MET)
    assert shown(watch(hold="5 s"), *moments)[2], "and not by nothing"


@pytest.mark.parametrize(("volts", "met"), [(MET, True), (NOT_MET, False), (UNKNOWN, False)])
def test_at_a_time_is_judged_once_at_the_first_sample_from_then_on(volts: float | None, met: bool) -> None:
    assert shown(watch(at="5 s"), (4.9, MET), (5.1, volts), (6.0, MET), (7.0, MET)) == [False, met, False, False]


def test_before_a_time_it_counts_and_then_never() -> None:
    assert shown(watch(before="5 s"), (4.9, MET), (5.0, MET)) == [True, False]
    assert shown(watch(before="5 s", hold="3 s"), (3.0, MET), (4.0, MET), (6.0, MET)) == [False, False, False]


def test_after_a_time_it_counts_and_its_hold_begins_there() -> None:
    assert shown(watch(after="5 s"), (4.9, MET), (5.0, MET)) == [False, True]
    moments = [(4.0, MET), (6.0, MET), (7.9, MET), (8.0, MET)]
    assert shown(watch(after="5 s", hold="2 s"), *moments) == [False, False, False, True]


def test_between_two_times() -> None:
    moments = [(4.0, MET), (5.0, MET), (9.9, MET), (10.0, MET)]
    assert shown(watch(after="5 s", before="10 s"), *moments) == [False, True, True, False]


@given(
    st.lists(st.tuples(st.floats(0.01, 5.0), st.sampled_from([MET, NOT_MET, UNKNOWN])), max_size=60),
    st.integers(0, 20),
)
def test_a_hold_is_met_exactly_when_every_sample_of_its_time_was(
    walk: list[tuple[float, float | None]], hold: int
) -> None:
    watched, t, since = watch(hold=f"{hold} s"), 0.0, None
    for gap, volts in walk:
        t += gap
        since = (t if since is None else since) if volts == MET else None
        assert watched.met(Present(volts), t) == (since is not None and round(t - since, 6) >= hold)


@pytest.mark.parametrize(
    "end",
    [
        {"at": "5 s", "hold": "1 s"},
        {"at": "5 s", "before": "9 s"},
        {"at": "5 s", "after": "1 s"},
        {"after": "9 s", "before": "5 s"},
        {"after": "5 s", "before": "5 s"},
        {"when": "voltage >= "},
        {"when": 5},
        {"hold": 5},
        {"hold": "5 V"},
        {"hold": "-5 s"},
        {"then": "stop"},
        {"until": "5 s"},
    ],
)
def test_an_end_that_cannot_be_meant_is_refused(end: dict[str, Any]) -> None:
    with pytest.raises((ValidationError, FaultError)):
        watch(**end)


@pytest.mark.parametrize(
    ("text", "route"),
    [
        ("next", Route("next")),
        ("fail", Route("fail")),
        ("hold", Route("hold")),
        ("abort", Route("abort")),
        ("retry 2", Route("retry", count=2)),
        ("goto charge", Route("goto", "charge")),
        ("goto charge max 12", Route("goto", "charge", 12)),
    ],
)
def test_routes_read_as_they_are_written(text: str, route: Route) -> None:
    assert Route.parse(text) == route
    assert route.text == text


@pytest.mark.parametrize(
    "text",
    ["", "Next", "next ", "retry", "retry x", "retry -1", "retry 100", "goto", "goto Charge", "goto a max", "goto a 3",
     "goto a max 1000", "goto a max -1", "next\n", 3, None, ["next"]],
)  # fmt: skip
def test_what_is_no_route_is_refused_with_its_code(text: Any) -> None:
    with pytest.raises(FaultError) as refused:
        Route.parse(text)
    assert refused.value.code == "E-ROUTE"
    assert refused.value.text.ko
