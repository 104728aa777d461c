"""Which of a step's samples are kept."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequences import Keeper, Quality, Record, Sample, Value

RATED = 60.0


def sample(t: float, **values: float | None) -> Sample:
    shown = {"current": 0.0, "cell_min": 3.6, "cell_max": 3.7, "temperature_max": 25.0} | values
    measured = {
        name: Value(value or 0.0, t, Quality.BAD if value is None else Quality.GOOD, "test")
        for name, value in shown.items()
    }
    return Sample(t, measured)


def rule(**given_: str) -> Record:
    return Record.model_validate({"every": "10 s", **given_})


def kept(record: Record | None, samples: Iterable[Sample], *, settle: bool = True) -> list[float]:
    """Times of the samples of a step that are kept, in the order they are."""
    keeper = Keeper(RATED)
    keeper.use(record)
    times = [sample.t for shown in samples for sample in keeper.keep(shown)]
    return times + ([sample.t for sample in keeper.settle()] if settle else [])


def test_without_a_rule_every_sample_is_kept() -> None:
    assert kept(None, [sample(float(t)) for t in range(5)]) == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_an_interval_keeps_the_first_one_each_and_the_last() -> None:
    assert kept(rule(), [sample(float(t)) for t in range(26)]) == [0.0, 10.0, 20.0, 25.0]


def test_the_last_sample_is_kept_once() -> None:
    assert kept(rule(), [sample(float(t)) for t in range(21)]) == [0.0, 10.0, 20.0]


def test_a_step_of_one_sample_has_one() -> None:
    assert kept(rule(), [sample(3.0)]) == [3.0]


def test_an_interval_counts_from_the_last_one_kept() -> None:
    times = [0.0, 7.0, 12.0, 19.0, 21.9, 22.0]
    assert kept(rule(), [sample(t) for t in times]) == [0.0, 12.0, 22.0]


@pytest.mark.parametrize(
    ("change", "signal", "small", "large"),
    [
        ({"voltage": "5 mV"}, "cell_min", 3.604, 3.606),
        ({"voltage": "5 mV"}, "cell_max", 3.704, 3.694),
        ({"temperature": "1 K"}, "temperature_max", 25.9, 26.0),
        ({"current": "1 A"}, "current", 0.9, 1.0),
        ({"current": "C/60"}, "current", 0.9, -1.0),
    ],
)
def test_a_change_keeps_a_sample(change: dict[str, str], signal: str, small: float, large: float) -> None:
    samples = [sample(0.0), sample(1.0, **{signal: small}), sample(2.0, **{signal: large})]
    assert kept(rule(**change), samples, settle=False) == [0.0, 2.0]
    assert kept(rule(), samples, settle=False) == [0.0], "only where the rule asks for it"


def test_changes_add_up_since_the_last_one_kept() -> None:
    samples = [sample(float(t), cell_min=3.6 + 0.002 * t) for t in range(7)]
    assert kept(rule(voltage="5 mV"), samples, settle=False) == [0.0, 3.0, 6.0]


def test_a_signal_that_goes_bad_or_comes_back_is_a_change() -> None:
    values = (3.6, None, None, 3.6, 3.6)
    samples = [sample(float(t), cell_min=value) for t, value in enumerate(values)]
    assert kept(rule(voltage="5 mV"), samples, settle=False) == [0.0, 1.0, 3.0]


# -------------------------------------------------------------------------------------------------------------- bursts

BURST = {"burst": "3 s", "burst_every": "500 ms"}


def stepped(edge: float, until: float, period: float = 1.0, amperes: float = 30.0) -> list[Sample]:
    """A current that is switched on at a moment."""
    count = round(until / period)
    return [sample(k * period, current=amperes if k * period >= edge else 0.0) for k in range(count + 1)]


def test_around_an_edge_of_the_current_every_sample_is_kept() -> None:
    assert kept(rule(**BURST), stepped(15.0, 28.0)) == [0.0, 10.0, 12.0, 13.0, 14.0, 15.0, 16.0, 17.0, 18.0, 28.0]


def test_before_the_end_of_a_step_too_since_its_edge_comes_with_the_next_one() -> None:
    assert kept(rule(**BURST), stepped(99.0, 19.0)) == [0.0, 10.0, 16.0, 17.0, 18.0, 19.0]


def test_a_burst_wants_its_own_sampling_period_until_it_is_over() -> None:
    keeper = Keeper(RATED)
    keeper.use(rule(**BURST))
    wanted = {}
    for shown in stepped(5.0, 12.0):
        list(keeper.keep(shown))
        wanted[shown.t] = keeper.bursting
    assert wanted == {t: 0.5 if 5.0 <= t <= 8.0 else None for t in wanted}


def test_a_rule_without_a_burst_keeps_no_more_around_an_edge() -> None:
    assert kept(rule(), stepped(15.0, 30.0)) == [0.0, 10.0, 20.0, 30.0]


def test_a_current_that_drifts_has_no_edge() -> None:
    samples = [sample(float(t), current=30.0 - t) for t in range(20)]
    assert kept(rule(**BURST), samples, settle=False) == [0.0, 10.0]


def test_a_bad_current_is_no_edge_and_hides_none() -> None:
    samples = [sample(float(t), current=(0.0, None, None, 0.0)[min(t, 3)]) for t in range(9)]
    assert kept(rule(**BURST), samples, settle=False) == [0.0]
    samples = [sample(float(t), current=(0.0, None, None, 30.0)[min(t, 3)]) for t in range(9)]
    assert kept(rule(**BURST), samples, settle=False) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def test_the_edge_at_which_a_step_begins_is_one() -> None:
    """A rest that kept everything, then a pulse with a rule: the last current of the rest is known."""
    keeper = Keeper(RATED)
    for t in range(5):
        list(keeper.keep(sample(float(t))))
    keeper.use(rule(**BURST))
    times = [s.t for t in range(5, 12) for s in keeper.keep(sample(float(t), current=30.0))]
    assert times == [5.0, 6.0, 7.0, 8.0]


def test_the_current_of_a_step_long_ago_is_no_edge() -> None:
    keeper = Keeper(RATED)
    keeper.use(rule(**BURST))
    list(keeper.keep(sample(0.0)))
    keeper.use(None)
    for t in range(1, 5):
        list(keeper.keep(sample(float(t), current=30.0)))
    keeper.use(rule(**BURST))
    assert [s.t for t in range(5, 12) for s in keeper.keep(sample(float(t), current=30.0))] == []


def test_what_waits_when_the_rule_ends_comes_before_what_follows() -> None:
    """Branches that run at the same time change the rule without a step's end."""
    keeper = Keeper(RATED)
    keeper.use(rule())
    times = [s.t for t in range(4) for s in keeper.keep(sample(float(t)))]
    keeper.use(None)
    times += [s.t for t in range(4, 6) for s in keeper.keep(sample(float(t)))]
    times += [s.t for s in keeper.settle()]
    assert times == sorted(times)


# ---------------------------------------------------------------------------------------------------- whatever happens

values = st.floats(2.5, 4.3) | st.none()
walks = st.lists(
    st.tuples(st.floats(0.05, 30.0), st.floats(-90.0, 90.0) | st.none(), values, values, st.floats(0, 60) | st.none()),
    min_size=1,
    max_size=60,
)
rules = st.builds(
    lambda every, voltage, burst: Record.model_validate({
        "every": f"{every:.1f} s",
        **({} if voltage is None else {"voltage": f"{voltage} mV"}),
        **({} if burst is None else {"burst": f"{burst} s"}),
    }),
    st.floats(0.1, 60.0), st.none() | st.integers(1, 500), st.none() | st.integers(1, 60),
)  # fmt: skip


@given(rules, walks)
def test_samples_are_kept_in_order_each_once_and_the_ends_always(
    record: Record, walk: list[tuple[float, float | None, float | None, float | None, float | None]]
) -> None:
    t, samples = 0.0, []
    for gap, current, low, high, temperature in walk:
        t += gap
        samples.append(sample(t, current=current, cell_min=low, cell_max=high, temperature_max=temperature))
    times = kept(record, samples)
    assert times == sorted(set(times))
    assert times[0] == samples[0].t
    assert times[-1] == samples[-1].t
    assert set(times) <= {shown.t for shown in samples}
    gaps = [after - before for before, after in pairwise(times)]
    widest = max((gap for gap, *_ in walk), default=0.0)
    assert all(gap < record.every + widest + 1e-6 for gap in gaps)


@given(walks)
def test_a_burst_loses_no_sample_within_its_time_of_an_edge(
    walk: list[tuple[float, float | None, float | None, float | None, float | None]],
) -> None:
    record = rule(every="1 h", burst="20 s")
    t, samples = 0.0, []
    for gap, current, *_ in walk:
        t += gap
        samples.append(sample(t, current=current))
    times = set(kept(record, samples))
    previous: float | None = None
    for shown in samples:
        current = shown.good("current")
        if current is None:
            continue
        if previous is not None and abs(current - previous) > 0.02 * RATED:
            near = {other.t for other in samples if abs(other.t - shown.t) <= 20.0}
            assert near <= times
        previous = current
