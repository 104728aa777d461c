"""`evaline instrument`: one instrument by hand, through the daemon that has it or, without one, directly."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperGroup

from controller.cli.options import Author, Json, Lang, ReasonText, Url, UsageError, settings

if TYPE_CHECKING:  # the command line starts without the instruments' libraries
    from controller.instruments.access import Access
    from controller.instruments.probing import Probed

T = TypeVar("T")

WORDS = {
    "en": {
        "identity": "identity", "address": "address", "driver": "driver", "link": "link", "ok": "ok",
        "requests": "{requests} requests, {errors} errors, {reconnects} reconnects, {mean} ms, p99 {p99} ms",
        "nothing": "{address}: nothing that answered is known to a driver",
        "fits": "driver {driver} fits, role {role}: {identity}", "no_identity": "it does not tell its name",
        "line_file": "for the line file:", "answers": "it answered:", "trying": "trying {what}", "reads": "it reads",
        "on": "recording; Ctrl-C stops", "lost": "{count} entries were lost", "reopened": "connected again",
        "owned": "{address} is {name} of the line that runs; see `evaline instrument list`",
    },
    "ko": {
        "identity": "식별", "address": "주소", "driver": "드라이버", "link": "링크", "ok": "정상",
        "requests": "요청 {requests}, 오류 {errors}, 재접속 {reconnects}, {mean} ms, p99 {p99} ms",
        "nothing": "{address}: 응답한 것 중 드라이버가 아는 기기가 없습니다",
        "fits": "드라이버 {driver} 이(가) 맞습니다, 역할 {role}: {identity}",
        "no_identity": "이름을 알려 주지 않습니다",
        "line_file": "라인 파일에 쓸 내용:", "answers": "응답:", "trying": "시도 중: {what}", "reads": "현재 값",
        "on": "기록 중입니다. Ctrl-C 로 끝냅니다", "lost": "{count} 건이 누락되었습니다", "reopened": "다시 연결됨",
        "owned": "{address} 은(는) 가동 중인 라인의 {name} 입니다. `evaline instrument list` 를 보십시오",
    },
}  # fmt: skip

Name = Annotated[str, typer.Argument(help="station/role, or the role where one station has it.")]
LineFile = Annotated[
    Path | None, typer.Option("--config", help="Line file: its daemon, or its instruments where none runs.")
]


class _Group(TyperGroup):
    """Takes `evaline instrument NAME --trace` for `evaline instrument trace NAME`."""

    def parse_args(self, context: Any, arguments: list[str]) -> list[str]:
        if "--trace" in arguments:
            arguments = ["trace", *(argument for argument in arguments if argument != "--trace")]
        return super().parse_args(context, arguments)


app = typer.Typer(
    cls=_Group, help="Look at instruments, ask and set them by hand.", no_args_is_help=True, rich_markup_mode=None
)


def _with_access(url: str, config: Path | None, work: Callable[[Access], Awaitable[T]]) -> T:
    from controller.instruments.access import access

    async def run() -> T:
        async with access(url, config) as instruments:
            return await work(instruments)

    try:
        return asyncio.run(run())
    except Exception as error:
        raise _told(error) from error


def _told(error: Exception) -> Exception:
    """An instrument's error as the daemon would tell it: the same words and exit code on either way."""
    from controller.client import EXIT_CODES, ApiError
    from drivers import InstrumentError

    if isinstance(error, InstrumentError):
        return ApiError(EXIT_CODES.get(error.code, 1), error.code, [f"{error} [{error.code}]"])
    return error


@app.command("list")
def list_instruments(url: Url = None, config: LineFile = None, lang: Lang = None, as_json: Json = False) -> None:
    """Every instrument: who answers, where, how it is, and what its link did. Exit 1 when one is not well."""
    known = settings(url, lang=lang)
    rows = _with_access(known.url, config, lambda instruments: instruments.rows())
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
    else:
        for row in rows:
            print("\n".join(_row_lines(row, WORDS[known.lang])))
    if any(row["health"] != "ok" for row in rows):
        raise typer.Exit(1)


def _row_lines(row: dict[str, Any], words: dict[str, str]) -> list[str]:
    health = words["ok"] if row["health"] == "ok" else row["health"]
    link = row["link"]
    counted = words["requests"].format(
        requests=link["requests"], errors=sum(link["errors"].values()), reconnects=link["reconnects"],
        mean=_milliseconds(link["latency_mean_ms"]), p99=_milliseconds(link["latency_p99_ms"]),
    )  # fmt: skip
    return [
        f"{row['station']}/{row['name']:<20} {health}",
        f"  {words['driver']} {row['driver']}, {words['address']} {row['address']}",
        f"  {words['identity']} {_identity(row['identity'])}",
        f"  {words['link']} {counted}",
    ]


def _identity(identity: dict[str, str] | None) -> str:
    return " ".join(filter(None, (identity or {}).values())) or "-"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


@app.command()
def query(
    name: Name,
    text: Annotated[list[str], typer.Argument(help="A line for the instrument, or: read holding 40001 2 float.")],
    url: Url = None,
    config: LineFile = None,
    author: Author = None,
    as_json: Json = False,
) -> None:
    """Ask an instrument in its own words; registers by `read TABLE ADDRESS [COUNT] [TYPE] [ORDER] [unit N]`."""
    known = settings(url, author)
    answer = _with_access(known.url, config, lambda use: use.query(name, " ".join(text), known.author))
    if as_json:
        print(json.dumps(answer, ensure_ascii=False))
    else:
        values = answer["answer"]
        print(values if isinstance(values, str) else "\n".join(map(str, values)))


@app.command("set")
def set_setting(
    name: Name,
    setting: Annotated[str, typer.Argument(help="Like temperature, conditioning, output, protection, tower.")],
    value: Annotated[str, typer.Argument(help="Its value, like 25, off, or red+buzzer.")],
    url: Url = None,
    config: LineFile = None,
    author: Author = None,
    reason: ReasonText = "",
    lang: Lang = None,
    as_json: Json = False,
) -> None:
    """Change a setting through its driver, which reads it back. Exit 4 while a run owns the instrument."""
    known = settings(url, author, lang)
    done = _with_access(known.url, config, lambda use: use.set(name, setting, value, known.author, reason))
    if as_json:
        print(json.dumps(done, ensure_ascii=False))
        return
    print(f"{name} {done['setting']} {done['value']}")
    if done["reading"] is not None:
        print(f"{WORDS[known.lang]['reads']}: {', '.join(f'{key} {value}' for key, value in done['reading'].items())}")


@app.command()
def trace(
    name: Name,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after so many requests.")] = None,
    url: Url = None,
    config: LineFile = None,
    lang: Lang = None,
    as_json: Json = False,
) -> None:
    """Show every request and answer of an instrument while this command runs."""
    known = settings(url, lang=lang)
    words = WORDS[known.lang]

    async def work(use: Access) -> None:
        def begun() -> None:
            print(f"evaline: {name}: {words['on']}", file=sys.stderr, flush=True)

        shown = 0
        async for entry, lost in _entries(use.trace(name), begun):
            if lost:
                print(f"evaline: {words['lost'].format(count=lost)}", file=sys.stderr)
            print(json.dumps(entry) if as_json else "\n".join(_trace_lines(entry, words)), flush=True)
            shown += 1
            if shown == count:
                return

    with suppress(KeyboardInterrupt):  # how it is meant to end
        _with_access(known.url, config, work)


async def _entries(
    batches: AsyncIterator[dict[str, Any]], begun: Callable[[], None]
) -> AsyncIterator[tuple[dict[str, Any], int]]:
    """Each entry with how many were lost since the one before; `begun` is called once the recording is on."""
    told, on = 0, False
    async for batch in batches:
        if not on:
            on = True
            begun()
        for entry in batch.get("entries", ()):
            yield entry, batch["lost"] - told
            told = batch["lost"]


def _trace_lines(entry: dict[str, Any], words: dict[str, str]) -> list[str]:
    """`>` to the instrument, `<` from it, `!` an error."""
    when = datetime.fromtimestamp(entry["time"]).astimezone().strftime("%H:%M:%S.%f")[:-3]
    took = f"  ({1e3 * entry['seconds']:.3g} ms{', ' + words['reopened'] if entry['reopened'] else ''})"
    lines = [f"> {sent}" for sent in entry["sent"]] + [f"< {received}" for received in entry["received"]]
    if entry["error"]:
        lines.append(f"! {entry['error']}")
    lines[-1] += took
    return [f"{when} {line}" for line in lines]


@app.command()
def probe(
    address: Annotated[str, typer.Argument(help="host:port, a serial port, socket://host:port, or a VISA address.")],
    units: Annotated[str, typer.Option(help="Numbers on the bus to ask, like 1-8 or 1,5.")] = "",
    timeout: Annotated[float, typer.Option(min=0.05, max=10, help="For each connection and answer, s.")] = 0.5,
    url: Url = None,
    lang: Lang = None,
    as_json: Json = False,
) -> None:
    """Find out what answers at an address and which driver fits. Only asks, never sets. Exit 1 when none fits."""
    from controller.instruments.probing import probe as look
    from controller.instruments.tools import BusyError

    known = settings(url, lang=lang)
    words = WORDS[known.lang]
    if (owner := _owner(known.url, address)) is not None:
        raise _told(BusyError(words["owned"].format(address=address, name=owner)))

    def progress(what: str) -> None:
        print(f"evaline: {words['trying'].format(what=what)}", file=sys.stderr, flush=True)

    try:
        probed = asyncio.run(look(address, timeout, _numbers(units), progress))
    except Exception as error:
        raise _told(error) from error
    for broken in probed.faulty_drivers:
        print(f"evaline: {broken} [E-CONFIG]", file=sys.stderr)
    print(_as_json(probed) if as_json else "\n".join(_probe_lines(address, probed, words)))
    if not probed.findings:
        raise typer.Exit(1)


def _owner(url: str, address: str) -> str | None:
    """The instrument that a running daemon has there: it would not share its line with us."""
    from controller.client import ApiError
    from controller.instruments.access import access

    async def rows() -> list[dict[str, Any]]:
        async with access(url, None) as instruments:
            return await instruments.rows()

    try:
        found = asyncio.run(rows())
    except ApiError:
        return None
    place = address.removeprefix("socket://")
    for row in found:
        its = row["address"].removeprefix("socket://")
        if place == its or f"::{place.replace(':', '::')}::" in its:
            return f"{row['station']}/{row['name']}"
    return None


def _numbers(text: str) -> list[int]:
    numbers: list[int] = []
    for part in filter(None, text.replace(" ", "").split(",")):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise UsageError(f"--units {text}: write it like 1-8 or 1,5 [E-SETTINGS]")
        numbers += range(int(first), int(last or first) + 1)
    if any(number > 247 for number in numbers):
        raise UsageError(f"--units {text}: numbers on a bus go up to 247 [E-SETTINGS]")
    return numbers


def _probe_lines(address: str, probed: Probed, words: dict[str, str]) -> list[str]:
    if not probed.findings:
        answers = [f"  {link}: {question} -> {answer}" for link, question, answer in probed.answers]
        return [words["nothing"].format(address=address), *([words["answers"], *answers] if answers else [])]
    lines = []
    for found in probed.findings:
        who = _identity(asdict(found.identity)) if found.identity else found.note
        lines.append(words["fits"].format(driver=found.driver, role=found.role, identity=_named(who, words)))
        lines += [words["line_file"], f"  {found.role}:", f"    driver: {found.driver}"]
        lines.append(f"    link: {json.dumps(dict(found.link))}")
        if found.settings:
            lines.append(f"    settings: {json.dumps(dict(found.settings))}")
    return lines


def _named(who: str, words: dict[str, str]) -> str:
    return words["no_identity"] if who == "-" else who


def _as_json(probed: Probed) -> str:
    answers = [dict(zip(("link", "question", "answer"), answer, strict=True)) for answer in probed.answers]
    return json.dumps({"findings": [asdict(found) for found in probed.findings], "answers": answers})
