"""The one thread of a link whose library blocks."""

from __future__ import annotations

import asyncio
import gc
import threading
from threading import Event

import pytest

from drivers.links.worker import Worker


def threads_of(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


async def test_all_calls_are_made_in_order_by_one_thread_of_its_own() -> None:
    worker = Worker("one")
    assert threads_of("one") == [], "none before it is needed"
    done: list[int] = []
    names = await asyncio.gather(
        *(worker.run(lambda n=n: done.append(n) or threading.current_thread().name) for n in range(50))  # type: ignore[misc]
    )
    assert done == list(range(50))
    assert set(names) == {"one"}


async def test_what_a_call_raises_reaches_its_caller_and_nobody_else() -> None:
    worker = Worker("raises")
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 // 0)
    assert await worker.run(lambda: 7) == 7


async def test_a_call_is_made_though_nobody_waits_any_more() -> None:
    worker, may_go = Worker("cancelled"), Event()
    done: list[bool] = []
    abandoned = worker.run(lambda: done.append(may_go.wait(10)))
    abandoned.cancel()
    may_go.set()
    assert await worker.run(lambda: len(done)) == 1
    assert abandoned.cancelled()


async def test_the_thread_ends_with_the_worker() -> None:
    worker = Worker("ends")
    await worker.run(lambda: None)
    (thread,) = threads_of("ends")
    del worker
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


def test_a_result_that_comes_after_the_loop_has_ended_harms_nobody() -> None:
    worker, may_go = Worker("late"), Event()

    async def leave() -> None:
        worker.run(lambda: may_go.wait(10))

    asyncio.run(leave())
    may_go.set()

    async def again() -> int:
        return await worker.run(lambda: 7)

    assert asyncio.run(again()) == 7
