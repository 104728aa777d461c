"""The command line: thin, since every command is something the daemon or a pure function does."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Coroutine, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

import structlog
import typer

from config import DocumentError, LineConfig
from controller.cli import broker, instrument, language, simulate
from controller.cli.analyse import analyse
from controller.cli.contract import contract, journal_verify, mode, orders
from controller.cli.options import (
    DEFAULT_LINE,
    Author,
    ConfigFile,
    Json,
    Lang,
    ReasonText,
    RecipeName,
    SetParameters,
    StationName,
    Url,
    UsageError,
    language_asked_for,
    no_station,
    parameters_of,
    settings,
    with_client,
)
from controller.cli.settings import Settings

T = TypeVar("T")

app = typer.Typer(
    name="evaline",
    help="Evaluate used EV batteries: drive instruments, run recipes, grade, publish.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
journal_app = typer.Typer(help="Look after the journal.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(journal_app, name="journal")
app.add_typer(instrument.app, name="instrument")
app.add_typer(broker.outbox_app, name="outbox")
app.add_typer(broker.broker_app, name="broker")
app.add_typer(language.commands)
app.add_typer(simulate.commands)
app.command()(analyse)
for command in (contract, mode, orders):
    app.command()(command)
journal_app.command("verify")(journal_verify)


def main() -> None:
    """Run the command; a user's mistake is one clear line and an exit code, never a traceback."""
    sys.exit(_exit_code())


def _exit_code() -> int:
    from controller.client import ApiError

    try:
        app(prog_name="evaline")
    except SystemExit as done:  # a wrong call has been explained by then; its 2 is not one of our exit codes
        code = done.code if isinstance(done.code, int) else 1
        return 1 if code == 2 else code
    except ApiError as error:
        return _refused(error.exit_code, error.code, *error.in_language(language_asked_for()), reasons=error.reasons)
    except DocumentError as error:
        faults = getattr(error, "faults", [error])
        lines = [fault.in_language("ko") for fault in faults] if language_asked_for() == "ko" else error.lines()
        return _refused(3, error.code, *lines)
    except UsageError as error:
        return _refused(error.exit_code, error.code, error.in_language(language_asked_for()))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _refused(1, "E-OS", f"{where}{error.strerror or error} [E-OS]")
    except Exception as error:
        if not hasattr(error, "code"):
            raise
        return _refused(1, str(error.code), str(error))  # an error of ours: its message says it all
    return 0


def _refused(exit_code: int, code: str, *lines: str, reasons: Sequence[dict[str, str]] = ()) -> int:
    _fail(exit_code, *lines)
    if "--json" in sys.argv:
        print(json.dumps({"code": code, "errors": lines, "reasons": reasons}, ensure_ascii=False))
    return exit_code


def _fail(code: int, *lines: str) -> int:
    for line in lines:
        print(f"evaline: {line}", file=sys.stderr)
    return code


# ------------------------------------------------------------------------------------------------ the daemon


@app.command()
def serve(
    config: ConfigFile = DEFAULT_LINE,
    rate: Annotated[float, typer.Option(min=0.5, max=20, help="Line time per wall time; for simulators.")] = 1.0,
    jump: Annotated[Path | None, typer.Option(help="Clock page shared with simulators: as fast as the wire.")] = None,
    as_json: Json = False,
) -> None:
    """Run the daemon of a line until SIGTERM or SIGINT."""
    from controller.clock import JumpingClock, PacedClock
    from controller.daemon import serve as run_daemon
    from controller.instruments.wire import load_wired_line

    line = load_wired_line(config)
    plain = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    renderer = structlog.processors.JSONRenderer() if as_json else plain
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )

    def announce(event: dict[str, Any]) -> None:
        if as_json:
            print(json.dumps(event), flush=True)

    if jump is not None:
        try:
            clock = JumpingClock(page=jump)
        except (OSError, ValueError) as error:
            raise UsageError(f"{jump} is no clock page: {error} [E-CLOCK-PAGE]") from None
        runner = asyncio.Runner(loop_factory=clock.new_event_loop)
        work = run_daemon(line, clock, announce)
    else:
        runner = asyncio.Runner(loop_factory=_fast_loop())
        work = run_daemon(line, PacedClock(rate), announce)
    with runner:
        if not runner.run(work):
            raise typer.Exit(1)


def _fast_loop() -> Any:
    """uvloop where it is installed: half the CPU time a message."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


@app.command()
def run(
    recipe: RecipeName,
    station: StationName,
    dut: Annotated[str, typer.Option(help="The code scanned from the battery.")],
    reason: ReasonText = "",
    given: SetParameters = None,
    dry: Annotated[bool, typer.Option("--dry", help="Start nothing: show what it would come to.")] = False,
    url: Url = None,
    author: Author = None,
    lang: Lang = None,
    as_json: Json = False,
) -> None:
    """Start a run and follow it. Exit: 0 pass or marginal, 3 recipe error, 4 refused, 5 fail, 6 aborted, 130 Ctrl-C
    (the run goes on), 1 other."""
    from rich.console import Console

    from controller.cli.display import RunDisplay, show_result, stdout
    from controller.cli.run import EXIT_OF_VERDICT, INTERRUPTED, run_body, start_and_follow

    known = settings(url, author, lang)
    body = run_body(recipe, dut, known.author, reason, parameters_of(given))
    if dry:
        raise typer.Exit(_show_plan(known, station, body, as_json))
    console = Console(stderr=True) if as_json else stdout()

    async def work(client: Any) -> dict[str, Any]:
        return await start_and_follow(client, station, body, RunDisplay(console, known.lang))

    try:
        result = with_client(known, work)
    except KeyboardInterrupt:
        raise typer.Exit(_fail(130, INTERRUPTED[known.lang].format(station=station))) from None
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        show_result(console, result, known.lang)
        console.print(f"\n{result['report']}", highlight=False)
    raise typer.Exit(EXIT_OF_VERDICT[result["verdict"]])


def _show_plan(known: Settings, station: str, body: dict[str, Any], as_json: bool) -> int:
    """What a run would come to on that station's battery; 4 when its start would be refused."""
    from controller.cli.plan import plan_lines, refusal_lines
    from controller.cli.run import rehearse

    answer = with_client(known, lambda client: rehearse(client, station, body))
    lines = [*plan_lines(answer, known.lang), *refusal_lines(answer, known.lang)]
    print(json.dumps(answer, ensure_ascii=False) if as_json else "\n".join(lines))
    return 4 if answer["reasons"] else 0


@app.command()
def answer(
    words: Annotated[list[str], typer.Argument(help="yes, no, a number, a choice, or NAME=good NAME=bad.")],
    station: StationName,
    url: Url = None,
    author: Author = None,
    lang: Lang = None,
    as_json: Json = False,
) -> None:
    """Answer what the running recipe asks."""
    from controller.cli.answer import answer_of

    known = settings(url, author, lang)

    async def work(client: Any) -> dict[str, Any]:
        stations = (await client.status())["stations"]
        if station not in stations:
            raise no_station(station, stations)
        question = stations[station]["question"]
        value = answer_of(question, words, station, known.lang)
        return dict(await client.answer(station, question["number"], value, known.author))

    answered = with_client(known, work)
    print(json.dumps(answered, ensure_ascii=False) if as_json else f"{station} {answered['state']}")


@app.command()
def status(url: Url = None, lang: Lang = None, as_json: Json = False) -> None:
    """Show every station of the line."""
    known = settings(url, lang=lang)
    answer = with_client(known, lambda client: client.status())
    if as_json:
        print(json.dumps(answer, ensure_ascii=False))
        return
    from controller.cli.answer import question_lines
    from controller.cli.display import WORDS, alarm_message, clock, mes_line, stdout

    console = stdout()
    console.print(answer["line"])
    console.print(f"  {mes_line(answer['mes'], known.lang)}", highlight=False, markup=False)
    for alarm in (answer["mes"] or {}).get("alarms", []):
        console.print(f"  {alarm['message']} [{alarm['code']}]", highlight=False, markup=False)
    for name, station in answer["stations"].items():
        progress = station["progress"] or {}
        doing = f"  {station['dut']}  {progress.get('step', '')}" if station["run_id"] else ""
        left = f"  {clock(progress['elapsed_s'])} / ~{clock(progress['estimated_s'])}" if station["run_id"] else ""
        console.print(f"  {name}  {station['state']}  {station['mode']}{doing}{left}", highlight=False)
        if station["question"]:
            for line in question_lines(name, station["question"], known.lang):
                console.print(f"    {line}", highlight=False, markup=False)
        for key, health in station["instruments"].items():
            console.print(f"    {key:<20} {health}", highlight=False, markup=False)
        for alarm in station["alarms"]:
            message = f"{WORDS[known.lang]['alarm']} {alarm_message(alarm, known.lang)}"
            console.print(f"    {message} [{alarm['code']}]", highlight=False, markup=False)


@app.command()
def runs(url: Url = None, as_json: Json = False) -> None:
    """List the newest runs with their verdicts and grades."""
    answer = with_client(settings(url), lambda client: client.runs())
    if as_json:
        print(json.dumps(answer, ensure_ascii=False))
        return
    for entry in answer:
        verdict = entry["verdict"] or "running"
        print(f"{entry['run_id']:<20} {entry['started']}  {verdict:<12} {entry['grade'] or '-'}")


def _station_command(name: str, doc: str) -> None:
    def command(
        station: StationName,
        reason: ReasonText = "",
        url: Url = None,
        author: Author = None,
        lang: Lang = None,
        as_json: Json = False,
    ) -> None:
        known = settings(url, author, lang)
        answer = with_client(known, lambda client: client.command(station, name, known.author, reason))
        print(json.dumps(answer, ensure_ascii=False) if as_json else f"{station} {answer['state']}")
        if any(alarm["code"] == "E-NOT-OFF" for alarm in answer["alarms"]):
            from controller.cli.display import alarm_message

            not_off = [alarm_message(a, known.lang) for a in answer["alarms"] if a["code"] == "E-NOT-OFF"]
            raise typer.Exit(_fail(1, *(f"{station}: {message} [E-NOT-OFF]" for message in not_off)))

    app.command(name, help=doc)(command)


_station_command("hold", "Stop the current and stand still.")
_station_command("resume", "Go on where the run was held.")
_station_command("abort", "Everything off at once; returns when it is confirmed.")
_station_command("stop", "End the run in an orderly way.")
_station_command("clear", "Acknowledge an abort.")
_station_command("reset", "Make a stopped or complete station ready for the next battery.")


# -------------------------------------------------------------------------------------------- without a daemon


@app.command("safe-state")
def safe_state(config: ConfigFile = DEFAULT_LINE, as_json: Json = False) -> None:
    """Switch every output off over own connections, as a service manager's last step. Exit 1 if not confirmed."""
    from controller.clock import PacedClock
    from controller.instruments.wire import load_wired_line
    from controller.outputs import line_to_safe_state

    line = load_wired_line(config)
    daemon = _daemon_of(line)
    if daemon is not None:  # said before anything is done: this may take its seconds
        _fail(1, daemon["warning"])
    steps = _run(line_to_safe_state(line, PacedClock()))
    if as_json:
        told: dict[str, Any] = {name: [asdict(step) for step in station] for name, station in steps.items()}
        print(json.dumps(told if daemon is None else told | {"_daemon": daemon}))  # no station may be called so
    else:
        for name, station in steps.items():
            for step in station:
                word = "confirmed" if step.confirmed else f"NOT CONFIRMED: {step.detail}"
                print(f"{name}  {step.name:<18} {word}")
    if not all(step.confirmed for station in steps.values() for step in station):
        raise typer.Exit(1)


def _daemon_of(line: LineConfig) -> dict[str, Any] | None:
    """The daemon that holds a line, and what that means for whoever switches its outputs off beside it."""
    from controller.journal import holder

    try:
        pid = holder(Path(line.state_dir) / "journal.db")
    except OSError:  # who cannot be told must not keep anything on
        return None
    if pid is None:
        return None
    warning = (
        f"the daemon with pid {pid} holds this line: its runs will be aborted, and instruments that take one "
        "connection only may refuse; the usual way is `evaline abort --station NAME` [W-LINE-HELD]"
    )
    return {"pid": int(pid) if pid.isdigit() else None, "warning": warning}


@app.command()
def demo(
    directory: Annotated[Path | None, typer.Option(help="Where its journal, data and report go.")] = None,
    line: Annotated[Path, typer.Option(help="The simulated line to run.")] = DEFAULT_LINE,
    lang: Lang = None,
    as_json: Json = False,
) -> None:
    """Evaluate one simulated used battery, from scan to grade, over real wires."""
    from rich.console import Console

    from controller.cli.demo import demo as run_demo
    from controller.cli.display import stdout
    from controller.cli.run import EXIT_OF_VERDICT

    known = settings(lang=lang)
    console = Console(stderr=True, quiet=True) if as_json else stdout()
    place = (directory or _next_demo_directory()).resolve()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end the children in order, as for Ctrl-C
    answer = _run(run_demo(console, known.lang, place, line))
    if as_json:
        print(json.dumps(answer, ensure_ascii=False))
    raise typer.Exit(EXIT_OF_VERDICT[answer["verdict"]])


def _next_demo_directory() -> Path:
    root = Path("var")
    number = 1 + max((int(p.name[5:]) for p in root.glob("demo-*") if p.name[5:].isdigit()), default=0)
    return root / f"demo-{number}"


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)
