"""MemoryTextLink does with unasked lines what the real links do."""

from __future__ import annotations

import pytest

from drivers.errors import InstrumentError
from drivers.links import MemoryTextLink, script
from tests.drivers.test_visa_link import code_of


async def test_lines_behind_an_answer_and_lines_without_a_question_are_polled() -> None:
    unasked = [b"", b"", b"LATER\r"]
    link = MemoryTextLink(
        script([(b"LON\r", b"OK,LON\rCODE\r")]), terminator=b"\r", unasked=lambda: unasked.pop(0) if unasked else b""
    )
    await link.open()
    assert await link.query("LON") == "OK,LON"
    assert [await link.poll(), await link.poll(), await link.poll()] == ["CODE", "LATER", None]
    assert link.reopened == 0


async def test_a_question_forgets_the_lines_before_it() -> None:
    link = MemoryTextLink(script([(b"A?\n", b"ONE\nTWO\n"), (b"B?\n", b"THREE\n")]))
    await link.open()
    assert [await link.query("A?"), await link.query("B?"), await link.poll()] == ["ONE", "THREE", None]
    assert link.reopened == 1


@pytest.mark.parametrize("answer", [b"", b"HALF"])
async def test_polling_after_silence_reports_the_lost_connection(answer: bytes) -> None:
    link = MemoryTextLink(script([(b"A?\n", answer), (b"B?\n", b"ONE\n")]))
    await link.open()
    assert await code_of(link.query("A?")) == "E-LINK-TIMEOUT"
    assert await code_of(link.poll()) == "E-LINK-CLOSED"
    assert await link.query("B?") == "ONE"
    assert link.reopened == 1
    await link.close()
    with pytest.raises(InstrumentError, match="not open"):
        await link.poll()
