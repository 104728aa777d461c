"""The pytest plugin, as a project uses it that has nothing of ours but the installed package; and its documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from config import DocumentError
from simulators.bench import Bench
from simulators.reference import fault_tables

pytest_plugins = ["pytester"]

PAGE = (Path(__file__).parents[2] / "docs" / "simulators.md").read_text(encoding="utf-8")


def test_the_example_passes_as_printed(pytester: pytest.Pytester) -> None:
    name, example = re.search(r"<!-- example: (\S+) -->\n```python\n(.*?)```", PAGE, re.DOTALL).groups()  # type: ignore[union-attr]
    pytester.makefile(".py", **{name.removesuffix(".py"): example})
    result = pytester.runpytest_subprocess("-q", "--strict-markers", "-p", "no:xdist", "-p", "no:hypothesispytest")
    result.assert_outcomes(passed=example.count("def test_"))


def test_the_page_has_the_tables_of_the_declarations() -> None:
    assert PAGE.split("<!-- kinds -->\n")[1] == fault_tables() + "\n"


def test_a_mark_with_a_mistake_is_told(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.evaline("demo")
        def test_it(evaline_station): ...

        @pytest.mark.evaline(station="st09", wires=False)
        def test_another(evaline_station): ...
        """
    )
    result = pytester.runpytest_inprocess("-q", "-p", "no:xdist", "-p", "no:asyncio")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*takes keywords only*", "*no simulated station 'st09'; there are: st01*"])


class TestBench:
    def test_in_memory_line_time_stands_still(self, tmp_path: Path) -> None:
        with Bench(tmp_path, wires=False) as bench:
            before = bench.time
            bench.wait(3600)
            assert bench.time == before + 3600
            assert bench.truth()["time"] == bench.time

    def test_a_door_of_the_wrong_kind(self, tmp_path: Path) -> None:
        with Bench(tmp_path, wires=False) as bench:
            with pytest.raises(TypeError, match="use respond"):
                bench.ask("interlock", b"")
            with pytest.raises(TypeError, match="use ask"):
                bench.respond("cycler", 1, b"")
            with pytest.raises(ValueError, match="not understood"):
                bench.control("launch")

    def test_the_same_seed_is_the_same_battery(self, tmp_path: Path) -> None:
        def voltage(seed: int) -> float:
            with Bench(tmp_path, wires=False, seed=seed) as bench:
                return bench.simulated.world.battery_voltage()

        assert voltage(1) == voltage(1) != voltage(2)

    def test_a_line_that_is_not_simulated(self, tmp_path: Path) -> None:
        with pytest.raises(DocumentError, match="E-FILE"):
            Bench(tmp_path, tmp_path / "nothing.yaml")
