"""One thread for the calls of a library that blocks.

Leaner than a ThreadPoolExecutor of one, whose two futures a call cost more than most of the calls themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")

_Job = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class Worker:
    """Calls one after another, in the order asked for. The thread starts with the first and ends with the worker."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._started = False

    def run(self, call: Callable[[], T]) -> asyncio.Future[T]:
        """Result or exception of the call; it is made whether or not anybody still waits for it."""
        if not self._started:
            self._started = True
            Thread(target=_work, args=(self._jobs,), name=self._name, daemon=True).start()
            weakref.finalize(self, self._jobs.put, None)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put((call, loop, future))
        return future


def _work(jobs: SimpleQueue[_Job | None]) -> None:
    while (job := jobs.get()) is not None:
        call, loop, future = job
        result, error = None, None
        try:
            result = call()
        except BaseException as raised:  # noqa: BLE001 - the caller's, who gets it in another thread
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop ended meanwhile, and nobody waits
            loop.call_soon_threadsafe(_settle, future, result, error)
        del job, call, future, result, error  # nothing is kept alive while waiting for the next


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
