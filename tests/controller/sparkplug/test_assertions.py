"""The specification's assertions, each on the whole life of the core and on bytes tapped from real connections."""

from __future__ import annotations

import pytest

from tests.controller.sparkplug.assertions import CHECKS
from tests.controller.sparkplug.trace import Trace, whole_life


@pytest.fixture(scope="module")
def core() -> Trace:
    return whole_life()


@pytest.mark.parametrize("assertion", CHECKS)
def test_the_core(assertion: str, core: Trace) -> None:
    CHECKS[assertion](core)
