from __future__ import annotations

import os

import pytest
from hypothesis import settings

# no wall-clock verdicts on a busy machine; on CI the same examples every time, so that red means a change
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow files first, the demos first of all: with two workers the last file decides when all is done."""
    order = {"test_demo.py": 0, "test_virtual_run.py": 1, "cli": 2}
    items.sort(key=lambda item: order.get(item.path.name, order.get(item.path.parent.name, 3)))
