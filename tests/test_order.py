"""In which order the tests run: two workers end together when what takes long has begun first."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import SLOW, TESTS


@pytest.mark.parametrize("name", SLOW)
def test_a_file_that_is_to_start_first_exists(name: str) -> None:
    assert (TESTS / name).is_file()


def test_slow_files_are_collected_first_however_few_tests_they_have() -> None:
    files = [str(TESTS / name) for name in ("config/test_documents.py", "cli/test_demo.py", "cli/test_stopping.py")]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", *files]
    collected = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, check=True).stdout
    order = dict.fromkeys(line.split("::")[0] for line in collected.splitlines() if "::" in line)
    assert list(order) == ["tests/cli/test_demo.py", "tests/cli/test_stopping.py", "tests/config/test_documents.py"]


def test_workers_are_handed_files_in_that_order() -> None:
    """xdist sorts files by their number of tests unless it is told not to."""
    parallel = [
        line for line in (TESTS.parent / "Makefile").read_text("utf-8").splitlines() if "--dist loadfile" in line
    ]
    assert parallel
    assert all("--no-loadscope-reorder" in line for line in parallel)
