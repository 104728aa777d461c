"""A running recipe's questions, put to whoever sits at the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import termios
from types import TracebackType
from typing import Any

from rich.console import Console

from controller.cli.answer import WORDS, answer_of, how_to_answer, item_lines, question_text
from controller.client import ApiError, Client


class Asker:
    """Asks what is asked now, until it is answered here or elsewhere. An input that ends leaves it to elsewhere."""

    def __init__(self, client: Client, station: str, author: str, console: Console, lang: str) -> None:
        self._client, self._station, self._author = client, station, author
        self._console, self._lang, self._words = console, lang, WORDS[lang]
        self._number = 0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Asker:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def follow(self, question: dict[str, Any] | None) -> None:
        """To be called with every snapshot of the station."""
        number = 0 if question is None else question["number"]
        if number == self._number:
            return
        await self._stop()
        self._number = number
        if question is not None:
            self._task = asyncio.create_task(self._ask(question), name=f"question {number}")

    async def _stop(self) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        if not task.done():
            self._say("")  # the line that was begun
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    def _say(self, line: str, end: str = "\n") -> None:
        self._console.print(line, end=end, highlight=False, markup=False)

    async def _ask(self, question: dict[str, Any]) -> None:
        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)  # what was typed before is no answer to this
        self._say(question_text(question, self._lang))
        try:
            value = await self._inspected(question) if question["answer"] == "inspect" else await self._one(question)
        except EOFError:
            self._say(how_to_answer(self._station, question, self._lang))
            return
        try:
            await self._client.answer(self._station, question["number"], value, self._author)
        except ApiError as error:  # answered elsewhere, or given up, at this moment
            self._say("\n".join(error.in_language(self._lang)))

    async def _one(self, question: dict[str, Any]) -> Any:
        for line in item_lines(question, self._lang):
            self._say(line)
        while True:
            words = (await self._typed(self._words[question["answer"]])).split()
            try:
                return answer_of(question, words, self._station, self._lang)
            except ApiError as error:
                self._say("\n".join(error.lines))

    async def _inspected(self, question: dict[str, Any]) -> dict[str, bool]:
        """Each thing to look at is a question of its own."""
        found: dict[str, bool] = {}
        for item in question["items"]:
            one = {**question, "items": [item]}
            while item["name"] not in found:
                said = await self._typed(f"{item['text'][self._lang]} {self._words['item']}")
                try:
                    found |= answer_of(one, [f"{item['name']}={said}"], self._station, self._lang)
                except ApiError:
                    self._say(self._words["no_item"].format(said=said))
        return found

    async def _typed(self, what: str) -> str:
        """A line from the terminal, which hands over whole lines; raises EOFError."""
        self._say(f"  {what}: ", end="")
        loop, fd = asyncio.get_running_loop(), sys.stdin.fileno()
        ready: asyncio.Future[None] = loop.create_future()

        def there_is_input() -> None:
            if not ready.done():
                ready.set_result(None)

        loop.add_reader(fd, there_is_input)
        try:
            await ready
        finally:
            loop.remove_reader(fd)
        typed = os.read(fd, 4096)
        if not typed:
            raise EOFError
        return typed.decode(errors="replace").strip()
