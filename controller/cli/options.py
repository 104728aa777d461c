"""Options that several commands take, and what they mean."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import urlsplit

import typer
from pydantic import ValidationError

from config import DutModel, shipped_dut_models
from controller.cli.settings import Settings

if TYPE_CHECKING:
    from controller.client import Client

T = TypeVar("T")

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")]
Url = Annotated[str | None, typer.Option(help="Address of the daemon. [env: EVALINE_URL]")]
Author = Annotated[str | None, typer.Option(help="Who asks, for the audit trail. [env: EVALINE_AUTHOR]")]
Lang = Annotated[str | None, typer.Option(help="en or ko. [env: EVALINE_LANG]")]
StationName = Annotated[str, typer.Option("--station", help="Name of the station.")]
ConfigFile = Annotated[Path, typer.Option("--config", help="The line file.")]
ReasonText = Annotated[str, typer.Option("--reason", help="Why, for the audit trail.")]
RecipeName = Annotated[str, typer.Argument(help="A recipe of the library by its id, or a file.")]
SetParameters = Annotated[
    list[str] | None, typer.Option("--set", help="name=value of a parameter of the recipe; may be given again.")
]

DEFAULT_LINE = Path(__file__).parents[2] / "config" / "lines" / "demo.yaml"


class UsageError(Exception):
    """A mistake in the call: one line that ends with its code, in Korean too where people at a station may read it.
    Exit code 3, and 4 for a station that is not there."""

    def __init__(self, en: str, ko: str = "") -> None:
        self._ko = ko or en
        super().__init__(en)

    def in_language(self, lang: str) -> str:
        return self._ko if lang == "ko" else str(self)

    @property
    def code(self) -> str:
        return str(self).rpartition("[")[2].removesuffix("]")

    @property
    def exit_code(self) -> int:
        return 4 if self.code == "E-STATION" else 3


def language_asked_for() -> str:
    """By --lang or EVALINE_LANG, for errors, which may come before either is judged; English for what is neither."""
    lang = os.environ.get("EVALINE_LANG", "en")
    for word, following in zip(sys.argv, [*sys.argv[1:], ""], strict=True):
        if word == "--lang":
            lang = following
        elif word.startswith("--lang="):
            lang = word.removeprefix("--lang=")
    return "ko" if lang == "ko" else "en"


def no_station(station: str, known: Iterable[str]) -> UsageError:
    names = ", ".join(known)
    return UsageError(
        f"there is no station {station!r}; known are {names} [E-STATION]",
        f"스테이션 {station!r} 이(가) 없습니다. 사용할 수 있는 스테이션: {names} [E-STATION]",
    )


def settings(url: str | None = None, author: str | None = None, lang: str | None = None) -> Settings:
    given = {key: value for key, value in (("url", url), ("author", author), ("lang", lang)) if value is not None}
    try:
        known = Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:  # the others take any text
        wrong = error.errors()[0]["input"]
        raise UsageError(f"language {wrong!r}: give en or ko by --lang or EVALINE_LANG [E-SETTINGS]") from None
    if not _is_address(known.url):
        raise UsageError(
            f"daemon's address {known.url!r}: write --url or EVALINE_URL like http://127.0.0.1:8470 [E-SETTINGS]",
            f"데몬 주소 {known.url!r}: --url 또는 EVALINE_URL 을 http://127.0.0.1:8470 처럼 쓰십시오 [E-SETTINGS]",
        )
    return known


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def parameters_of(texts: list[str] | None) -> dict[str, Any]:
    """`name=value` as a recipe takes it: a whole number, a truth, or a quantity's text; raises UsageError."""
    values: dict[str, Any] = {}
    for text in texts or []:
        name, sign, value = (part.strip() for part in text.partition("="))
        if not name or not sign or not value:
            raise UsageError(
                f"--set {text}: write it like --set rounds=3 or --set 'rest=30 min' [E-SETTINGS]",
                f"--set {text}: --set rounds=3 또는 --set 'rest=30 min' 처럼 쓰십시오 [E-SETTINGS]",
            )
        if value in ("true", "false"):
            values[name] = value == "true"
        else:
            values[name] = int(value) if re.fullmatch(r"-?\d{1,18}", value) else value
    return values


def battery_model(name: str) -> DutModel:
    """A shipped battery model; raises UsageError."""
    models = shipped_dut_models()
    if name not in models:
        known = ", ".join(models)
        raise UsageError(
            f"there is no battery model {name!r}; known are {known} [E-DUT-UNKNOWN]",
            f"배터리 모델 {name!r} 이(가) 없습니다. 사용할 수 있는 모델: {known} [E-DUT-UNKNOWN]",
        )
    return models[name]


def with_client(settings: Settings, work: Callable[[Client], Awaitable[T]]) -> T:
    """The work's answer, with a connection to the daemon; raises ApiError."""
    from controller.client import connect

    async def call() -> T:
        async with connect(settings.url) as client:
            return await work(client)

    return asyncio.run(call())
