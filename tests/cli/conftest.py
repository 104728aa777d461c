from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.cli import main
from tests.cli.plant import Ended, Here, Plant, a_plant


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    """A line of the test's own; nothing runs yet."""
    with a_plant(tmp_path) as plant:
        yield plant


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """A command that ends before it starts anything."""

    monkeypatch.delenv("COLUMNS", raising=False)  # parallel workers of pytest are given one

    def command(*arguments: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["evaline", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return Ended(int(end.value.code or 0), out, err)

    return command
