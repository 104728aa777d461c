"""The specification's assertions, each on the whole life of the core and on bytes tapped from real connections."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf.message import DecodeError

from controller.sparkplug.payload import PayloadError
from tests.controller.sparkplug.assertions import CHECKS
from tests.controller.sparkplug.mutations import mutations
from tests.controller.sparkplug.trace import Trace, whole_life


@pytest.fixture(scope="module")
def core() -> Trace:
    return whole_life()


@pytest.mark.parametrize("assertion", CHECKS)
def test_the_core(assertion: str, core: Trace) -> None:
    CHECKS[assertion](core)


def test_every_check_finds_something_wrong_with_a_spoilt_trace(core: Trace) -> None:
    spoilt = list(mutations(core))
    blind = {check for check in set(CHECKS.values()) if not any(_fails(check, trace) for trace in spoilt)}
    assert not [id for id, check in CHECKS.items() if check in blind]


def _fails(check: Callable[[Trace], None], trace: Trace) -> bool:
    """Whether it finds what it looks for, and finds it wrong; one that lacks it or cannot be read proves nothing."""
    try:
        check(trace)
    except AssertionError as error:
        return "the trace has no" not in str(error) and "one connection" not in str(error)
    except (PayloadError, DecodeError, KeyError, ValueError, IndexError):
        return False
    return False
