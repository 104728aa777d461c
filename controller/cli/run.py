"""Starting a run on a daemon and following it to its result."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from config import DocumentError
from config.documents import parse_document
from controller.cli.display import RunDisplay
from controller.client import ApiError, Client
from controller.recipes import LIBRARY, library_ids, tables_sent

SETTLE_WITHIN = 30.0  # wall s for a station to finish what it is doing before a start

RESET_FIRST = ("COMPLETE", "STOPPED")  # states of a station whose last battery is done

EXIT_OF_VERDICT = {"pass": 0, "marginal": 0, "fail": 5, "inconclusive": 5, "aborted": 6, "error": 1}


def recipe_path(name: str) -> Path:
    """A recipe file, or one of the library by its id; raises DocumentError."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    if name not in library_ids():
        known = ", ".join(library_ids())
        raise DocumentError("E-RECIPE-UNKNOWN", name, f"is no file and no recipe of the library; known are {known}")
    return LIBRARY / f"{name}.yaml"


def recipe_text(path: Path) -> str:
    """The recipe's text for the daemon; raises DocumentError."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise DocumentError("E-FILE", str(path), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DocumentError("E-FILE-UTF8", str(path), f"not UTF-8 at byte {error.start}") from None


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
    """Start a run and show it until its result is there; returns the result. A COMPLETE station is reset first."""
    await _become_idle(client, station, body["author"])
    run_id = await client.start(station, body)
    with display.showing():
        async for status in client.follow(station):
            display.update(status)
            if status["last_run"] == run_id:
                return await client.result(run_id)
    message = f"the daemon ended before run {run_id} did; its result is in the journal, at its next start at the latest"
    raise ApiError(1, "E-DAEMON-GONE", [f"{message} [E-DAEMON-GONE]"])


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
