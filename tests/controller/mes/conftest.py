from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from config import LineConfig
from tests.virtual import Virtual, in_virtual_time


@pytest.fixture
def finished(line_with: Callable[..., LineConfig], short_recipe: Callable[..., str]) -> Path:
    """The journal of a line on which one short run has ended."""

    async def work(virtual: Virtual) -> Path:
        await virtual.result(await virtual.start(short_recipe()))
        return virtual.journal.path

    return in_virtual_time(line_with(), work)
