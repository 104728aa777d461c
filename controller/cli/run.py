"""Starting a run on a daemon and following it to its result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from config import DocumentError
from controller.cli.display import RunDisplay
from controller.client import ApiError, Client
from controller.daemon import LIBRARY

EXIT_OF_VERDICT = {"pass": 0, "marginal": 0, "fail": 5, "inconclusive": 5, "aborted": 6, "error": 1}


def recipe_path(name: str) -> Path:
    """A recipe file, or one of the library by its id; raises DocumentError."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    shipped = LIBRARY / f"{name}.yaml"
    if not shipped.exists() or name.startswith("grades_"):
        known = ", ".join(sorted(p.stem for p in LIBRARY.glob("*.yaml") if not p.stem.startswith("grades_")))
        raise DocumentError("E-RECIPE-UNKNOWN", name, f"is no file and no recipe of the library; known are {known}")
    return shipped


def recipe_text(path: Path) -> str:
    """The recipe's text for the daemon; raises DocumentError."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise DocumentError("E-FILE", str(path), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DocumentError("E-FILE-UTF8", str(path), f"not UTF-8 at byte {error.start}") from None


async def start_and_follow(
    client: Client, station: str, recipe: str, dut: str, author: str, reason: str, display: RunDisplay
) -> dict[str, Any]:
    """Start a run and show it until its result is there; returns the result. A COMPLETE station is reset first."""
    path = recipe_path(recipe)
    text = recipe_text(path)
    known = (await client.status())["stations"].get(station)
    if known and known["state"] in ("COMPLETE", "STOPPED"):
        await client.command(station, "reset", author, "next battery")
    body = {"recipe": text, "source": str(path), "dut": dut, "author": author, "reason": reason}
    run_id = await client.start(station, body)
    with display.showing():
        async for status in client.follow(station):
            display.update(status)
            if status["last_run"] == run_id:
                return await client.result(run_id)
    raise ApiError(1, "E-DAEMON-GONE", [f"the daemon ended before run {run_id} did; its result is in the journal"])
