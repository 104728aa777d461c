from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from controller.mes.topics import Topics
from tests.contract import assert_in_contract

# no wall-clock verdicts on a busy machine; on CI the same examples every time, so that red means a change
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow files first, the demos first of all: with two workers the last file decides when all is done."""
    order = {"test_demo.py": 0, "test_virtual_run.py": 1, "cli": 2}
    items.sort(key=lambda item: order.get(item.path.name, order.get(item.path.parent.name, 3)))


@pytest.fixture(autouse=True, scope="session")
def every_message_is_in_the_contract() -> Iterator[None]:
    """Whatever a test makes a line say: all of it passes through this one method."""
    made = Topics.envelope

    def checked(self: Topics, *arguments: Any, **options: Any) -> dict[str, Any]:
        message = made(self, *arguments, **options)
        assert_in_contract(message)
        return message

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Topics, "envelope", checked)
        yield
