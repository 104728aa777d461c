"""What a running recipe reaches of its station besides instruments: people, the MES, the safety, the contactors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from controller.arming import close_contactors
from controller.clock import Clock
from controller.instruments import Instruments
from controller.journal import Event, Journal, OutboxMessage
from controller.mes.messages import StepCompleted
from controller.mes.topics import Topics
from controller.outputs import await_contactor
from controller.run import Run
from controller.safety import Safety
from drivers import InstrumentError
from sequences import Ask, StepRecord
from sequences.text import Text


class AnswerRefusedError(Exception):
    """Nobody asked, or this is no answer to the question; told in English and Korean."""

    code = "E-ANSWER-REFUSED"

    def __init__(self, en: str, ko: str) -> None:
        self.text = Text(en=en, ko=ko)
        super().__init__(en)


@dataclass
class Question:
    """What people are asked now; the answer ends it."""

    number: int
    ask: Ask
    since: float
    answer: asyncio.Future[Any] = field(repr=False)

    def as_json(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "answer": self.ask.answer,
            "text": self.ask.text.model_dump(),
            "items": [{"name": name, "text": text.model_dump()} for name, text in self.ask.items],
            "since": self.since,
        }


class RunSurroundings:
    """One run's. `stand_still` asks the station for a hold; `changed` tells who watches it; `told` is how many events
    for the MES it has behind it."""

    def __init__(
        self, run: Run, instruments: Instruments, clock: Clock, safety: Safety, journal: Journal, topics: Topics,
        stand_still: Callable[[str], None], changed: Callable[[], None], told: int = 0,
    ) -> None:  # fmt: skip
        self._run, self._instruments, self._clock, self._safety = run, instruments, clock, safety
        self._journal, self._topics, self._changed = journal, topics, changed
        self._told, self._asked = told, 0
        self.stand_still = stand_still
        self.question: Question | None = None

    async def ask(self, question: Ask) -> Any:
        self._asked += 1
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.question = Question(self._asked, question, self._clock.now(), answer)
        self._changed()
        try:
            return await answer
        finally:
            self.question = None
            self._changed()

    def answer(self, number: int, value: Any, author: str) -> None:
        """An answer from outside; raises AnswerRefusedError."""
        question = self.question
        if question is None or question.number != number or question.answer.done():
            raise AnswerRefusedError(
                f"question {number} is not asked (any more)", f"질문 {number} 은(는) 답할 때가 지났습니다"
            )
        question.answer.set_result(_accepted(question.ask, value))
        body = {"question": number, "text": question.ask.text.en, "answer": value, "author": author}
        self._journal.append(Event(self._clock.now(), self._run.station, self._run.id, "answer", body))

    def tell(self, event: str, values: Mapping[str, tuple[float | None, str]]) -> None:
        t, run = self._clock.now(), self._run
        self._told += 1
        body = {
            "run": run.id,
            "event": event,
            "values": {name: {"value": value, "unit": unit} for name, (value, unit) in values.items()},
        }
        id, order = f"{run.id}.{event}.{self._told}", run.job.order_id or run.id
        message = self._topics.event_message(run.station, "recipe", id, t, body, correlation=order)
        self._journal.append(Event(t, run.station, run.id, f"told.{event}", body), [message])

    def messages_of(self, ended: Sequence[StepRecord]) -> list[OutboxMessage]:
        """For the MES: what has ended; to be appended to the journal at once."""
        run = self._run
        return [
            self._topics.event_message(
                run.station, "step", f"{run.id}.step.{record.index}", record.ended, completed(run.id, record),
                correlation=run.job.order_id or run.id,
            )
            for record in ended
        ]  # fmt: skip

    def hold_to(self, run: Run) -> None:
        self._safety.hold_to(run.bounds_now())

    async def park(self) -> None:
        self._safety.expect_contactors(closed=False)
        await self._instruments.call("interlock", self._instruments.interlock.request_contactor, False)
        problem = await await_contactor(self._instruments, self._clock, closed=False)
        if problem:
            raise InstrumentError(problem, instrument="interlock")

    async def unpark(self) -> None:
        await close_contactors(self._instruments, self._clock)
        self._safety.expect_contactors(closed=True)


def completed(run: str, record: StepRecord) -> StepCompleted:
    """A step that has ended, as the MES is told."""
    return StepCompleted(
        run=run, index=record.index, label=record.label, kind=record.kind, seconds=record.ended - record.started,
        reason=record.reason, complete=record.complete, verdict=record.verdict,
    )  # fmt: skip


def _accepted(ask: Ask, value: Any) -> Any:
    """The value, if it answers the question; raises AnswerRefusedError saying what would."""
    match ask.answer:
        case "confirm" if isinstance(value, bool):
            return value
        case "number" if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12:
            return float(value)
        case "choice" if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= len(ask.items):
            return value
        case "inspect" if isinstance(value, dict):
            names = [name for name, _ in ask.items]
            if set(value) == set(names) and all(isinstance(good, bool) for good in value.values()):
                return value
            each = ", ".join(names)
            raise AnswerRefusedError(
                f"answer true or false for each of {each}", f"항목 {each} 마다 true 또는 false 로 답하십시오"
            )
    count = len(ask.items)
    wanted = {
        "confirm": ("true or false", "true 또는 false"),
        "number": ("a number", "숫자"),
        "choice": (f"a number from 1 to {count}", f"1부터 {count} 까지의 번호"),
    }
    en, ko = wanted.get(ask.answer, ("a mapping of items", "항목별 답"))
    raise AnswerRefusedError(
        f"{value!r:.60} is no answer: it takes {en}", f"{value!r:.60} 은(는) 답이 될 수 없습니다. 답할 내용: {ko}"
    )
