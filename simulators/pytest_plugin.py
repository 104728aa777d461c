"""For tests of other projects: simulated instruments as pytest fixtures. Nothing is imported until one is used.

    def test_my_driver(evaline_station):
        address = evaline_station.links["cycler"].address

`evaline_station` is one station on wires of its own, at free ports; `@pytest.mark.evaline(...)` says which one and how,
`evaline_line` makes more of them. See docs/simulators.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from simulators.bench import Bench

MARK = (
    "evaline(line='demo', station=None, wires=True, rate=None, seed=None, faults=[], battery={}, ambient_degc=None): "
    "which simulated station the fixture evaline_station is"
)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARK)


@pytest.fixture
def evaline_line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Bench]]:
    """Makes simulated stations, each with the arguments of `simulators.bench.Bench`; they end with the test."""
    from simulators.bench import Bench

    with ExitStack() as benches:
        yield lambda **how: benches.enter_context(Bench(tmp_path_factory.mktemp("evaline"), **how))


@pytest.fixture
def evaline_station(request: pytest.FixtureRequest, evaline_line: Callable[..., Bench]) -> Bench:
    """One simulated station, as the mark `evaline` says."""
    how: dict[str, Any] = {}
    for mark in request.node.iter_markers("evaline"):
        if mark.args:
            raise pytest.UsageError(f"@pytest.mark.evaline takes keywords only: {MARK}")
        how = {**mark.kwargs, **how}
    return evaline_line(**how)
