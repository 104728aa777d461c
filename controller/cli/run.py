"""Starting a run on a daemon and following it to its result."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from config import DocumentError
from config.documents import parse_document
from controller.cli.ask import Asker
from controller.cli.display import RunDisplay
from controller.client import ApiError, Client
from controller.recipes import LIBRARY, library_ids, tables_sent

SETTLE_WITHIN = 30.0  # wall s for a station to finish what it is doing before a start

RESET_FIRST = ("COMPLETE", "STOPPED")  # states of a station whose last battery is done

INTERRUPTED = {
    "en": "interrupted; a run that was started goes on, `evaline abort --station {station}` ends it",
    "ko": "중단했습니다. 시작된 실행은 계속되며 `evaline abort --station {station}` 로 끝낼 수 있습니다",
}

EXIT_OF_VERDICT = {"pass": 0, "marginal": 0, "fail": 5, "inconclusive": 5, "aborted": 6, "error": 1}


def recipe_path(name: str) -> Path:
    """A recipe file, or one of the library by its id; raises DocumentError."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    if name not in library_ids():
        known = ", ".join(library_ids())
        message = f"is no file and no recipe of the library; known are {known}"
        korean = f"파일도 라이브러리 레시피도 아닙니다. 사용할 수 있는 레시피: {known}"
        raise DocumentError("E-RECIPE-UNKNOWN", name, message, ko=korean)
    return LIBRARY / f"{name}.yaml"


def recipe_text(path: Path) -> str:
    """The recipe's text for the daemon; raises DocumentError."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        why = error.strerror
        raise DocumentError("E-FILE", str(path), f"cannot be read: {why}", ko=f"읽을 수 없습니다: {why}") from None
    except UnicodeDecodeError as error:
        message, korean = f"not UTF-8 at byte {error.start}", f"{error.start} 번째 바이트가 UTF-8 이 아닙니다"
        raise DocumentError("E-FILE-UTF8", str(path), message, ko=korean) from None


def run_body(
    recipe: str, dut: str, author: str, reason: str, parameters: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What a daemon is asked to run: the recipe's text, and the tables that lie beside it. Raises DocumentError."""
    path = recipe_path(recipe)
    text = recipe_text(path)
    try:
        tables = tables_sent(parse_document(text, str(path)), path.parent)
    except DocumentError as error:
        if error.code == "E-TABLE":
            raise
        tables = {}  # the daemon says what is wrong with it
    return {
        "recipe": text, "source": str(path), "dut": dut, "author": author, "reason": reason,
        "parameters": dict(parameters or {}), "tables": tables,
    }  # fmt: skip


async def start_and_follow(client: Client, station: str, body: dict[str, Any], display: RunDisplay) -> dict[str, Any]:
    """Start a run and show it until its result is there; returns the result. A COMPLETE station is reset first.

    What the recipe asks is asked here, where somebody sits at the terminal.
    """
    await _become_idle(client, station, body["author"])
    run_id = await client.start(station, body)
    async with Asker(client, station, body["author"], display.console, display.lang) as asker:
        with display.showing():
            async for status in client.follow(station):
                display.update(status)
                if status["last_run"] == run_id:
                    break
                if display.asks:
                    await asker.follow(status["question"])
            else:
                raise _gone(run_id, display.lang)
    return await client.result(run_id)


def _gone(run_id: str, lang: str) -> ApiError:
    message = {
        "en": f"the daemon ended before run {run_id} did; when it is served again, the run stands HELD to be resumed, "
        "or has its one result, as `on_interrupt` of its step says",
        "ko": f"실행 {run_id} 이(가) 끝나기 전에 데몬이 종료되었습니다. 데몬을 다시 시작하면 스텝의 "
        "`on_interrupt` 에 따라 실행이 HELD 상태로 재개를 기다리거나 결과가 확정됩니다",
    }[lang]
    return ApiError(1, "E-DAEMON-GONE", [f"{message} [E-DAEMON-GONE]"])


async def rehearse(client: Client, station: str, body: dict[str, Any]) -> dict[str, Any]:
    """What a run would come to, and what is against its start: not a state that `start_and_follow` would reset."""
    plan = await client.plan(station, body)
    if (await client.status())["stations"][station]["state"] in RESET_FIRST:
        plan["reasons"] = [reason for reason in plan["reasons"] if reason["code"] != "E-STATE"]
    return plan


async def _become_idle(client: Client, station: str, author: str) -> None:
    """Wait for an acting state to end, and reset a station whose last battery is done. Other states are the start's."""
    was_reset = False
    try:
        async with asyncio.timeout(SETTLE_WITHIN):
            async for status in client.follow(station):
                if status["state"] in RESET_FIRST and not was_reset:
                    was_reset = True  # once: if it stays STOPPED, the start's refusal says why
                    await client.command(station, "reset", author, "next battery")
                elif not status["state"].endswith("ING"):
                    return
    except TimeoutError:
        return  # the start is refused with the state it is in
