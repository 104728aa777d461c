"""Which session of a link a request is meant for.

Links reopen by themselves. Whoever has made sure who is at the other end (`watched.py`) says for which session that
holds, and a request that would go out on a newer one is handed back before anything is sent.
"""

from __future__ import annotations

from contextvars import ContextVar

from drivers.errors import CLOSED, InstrumentError, LinkError

# `reopened` of the session that a request is meant for; None is any
EXPECTED: ContextVar[int | None] = ContextVar("expected session", default=None)


class ReopenedError(LinkError):
    """The session is a new one and nothing was sent on it; `reason` is what ended the one before during this request.

    Never leaves the link that the driver sees.
    """

    def __init__(self, name: str, reason: InstrumentError | None = None) -> None:
        super().__init__(CLOSED, f"{name}: the connection was opened again; ask again")
        self.reason = reason


def check_session(name: str, reopened: int, expected: int | None, reason: InstrumentError | None = None) -> None:
    """Raise ReopenedError on another session than the expected one."""
    if expected is not None and reopened != expected:
        raise ReopenedError(name, reason)
