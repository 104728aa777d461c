from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from controller.mes.topics import Topics
from tests.contract import assert_in_contract

# no wall-clock verdicts on a busy machine; on CI the same examples every time, so that red means a change
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


TESTS = Path(__file__).parent
# what takes 20 s and more, the longest first: with two workers the last file decides when all is done
SLOW = (
    "library/test_runs.py",
    "controller/sparkplug/test_wire.py",
    "cli/test_bad_input.py",
    "cli/test_commands.py",
    "cli/test_demo.py",
    "sequences/test_fast_soh.py",
    "cli/test_stopping.py",
    "controller/test_virtual_run.py",
    "controller/test_recovery.py",
    "cli/test_instrument.py",
    "controller/mes/test_publisher.py",
    "cli/test_hostile_mqtt.py",
    "cli/test_killed_mqtt.py",
    "library/test_grades.py",
    "cli/test_questions.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow files first. Workers keep this order with `--no-loadscope-reorder` (Makefile) only: by itself
    `--dist loadfile` hands out the files with most tests first, and the demo, which is one test, last."""
    place = {TESTS / name: number for number, name in enumerate(SLOW)}
    items.sort(key=lambda item: place.get(item.path, len(SLOW)))


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
