"""`evaline simulate` runs a line's simulated instruments; `evaline simulated` changes their world while they run."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import sys
from typing import Annotated, Any

import typer
from rich.cells import cell_len

from controller.cli.options import DEFAULT_LINE, ConfigFile, Json, Lang, UsageError, settings

CONTROL = "127.0.0.1:8479"
ANSWERS_WITHIN = 60.0  # wall s; a truth of a large pack takes seconds

WORDS = {
    "en": {
        "battery": "battery", "time": "line time", "ambient_degc": "air", "plugged": "plugged", "welded": "welded",
        "contactor_closed": "contactors closed", "output_on": "output on", "voltage": "battery voltage",
        "current": "current", "soc": "state of charge", "insulation_ohm": "insulation", "faults": "faults",
        "none": "none", "yes": "yes", "no": "no", "begun": "{kind} of {instrument}: on",
        "ended": "{kind} of {instrument}: off", "waits": "{kind} of {instrument}: waits",
        "cleared": "no faults: {instruments}",
    },
    "ko": {
        "battery": "배터리", "time": "라인 시간", "ambient_degc": "주위 온도", "plugged": "커넥터 연결",
        "welded": "융착",
        "contactor_closed": "컨택터 닫힘", "output_on": "출력 켜짐", "voltage": "배터리 전압",
        "current": "전류", "soc": "충전 상태", "insulation_ohm": "절연 저항", "faults": "고장",
        "none": "없음", "yes": "예", "no": "아니요", "begun": "{instrument}의 {kind}: 발생",
        "ended": "{instrument}의 {kind}: 해제", "waits": "{instrument}의 {kind}: 대기",
        "cleared": "고장 없음: {instruments}",
    },
}  # fmt: skip
SHOWN = {
    "time": "{:.1f} s", "ambient_degc": "{:.1f} degC", "voltage": "{:.2f} V", "current": "{:+.2f} A", "soc": "{:.1%}",
    "insulation_ohm": "{:.0f} ohm", "welded": "{}",
}  # fmt: skip

Control = Annotated[
    str, typer.Option("--control", help="Where the simulators take commands.", envvar="EVALINE_CONTROL")
]
Station = Annotated[str, typer.Argument(help="Name of a simulated station.")]
Pairs = Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="Keys of the line file, parts with a point.")]

commands = typer.Typer(rich_markup_mode=None)
simulated = typer.Typer(
    name="simulated", help="Look at simulated instruments that run, and change their world.", no_args_is_help=True,
    rich_markup_mode=None,
)  # fmt: skip
commands.add_typer(simulated)


@commands.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def simulate(context: typer.Context, config: ConfigFile = DEFAULT_LINE) -> None:
    """Run the simulated instruments of a line file alone; `python -m simulators --help` lists the options."""
    arguments = [sys.executable, "-m", "simulators", "--config", str(config), *context.args]
    sys.stdout.flush()
    os.execv(sys.executable, arguments)


@simulated.command("list")
def list_instruments(control: Control = CONTROL, lang: Lang = None, as_json: Json = False) -> None:
    """Every simulated instrument: how to reach it with a public tool, its faults, and those it can have."""
    answer = _ask(control, "list")
    if as_json:
        return _print_json(answer)
    words = WORDS[settings(lang=lang).lang]
    for name, station in answer["stations"].items():
        print(f"{name}  {words['battery']} {station['battery']} ({station['model']})")
        for key, instrument in station["instruments"].items():
            faults = ", ".join(instrument["faults"]) or words["none"]
            print(f"  {key:<20} {instrument['driver']:<18} {instrument['reach']}")
            print(f"  {'':<20} {words['faults']}: {faults}; ({' '.join(instrument['kinds'])})")
    return None


@simulated.command()
def get(station: Station, control: Control = CONTROL, lang: Lang = None, as_json: Json = False) -> None:
    """Show the world of a station."""
    _show_state(_ask(control, "get", station), lang, as_json)


@simulated.command("set", context_settings={"ignore_unknown_options": True})  # -10 is a temperature
def set_world(
    station: Station,
    name: Annotated[str, typer.Argument(help="ambient_degc, plugged, welded, soc, insulation_..._kohm, estop, door.")],
    value: Annotated[str, typer.Argument(help="A number, true or false.")],
    control: Control = CONTROL,
    lang: Lang = None,
    as_json: Json = False,
) -> None:
    """Change the world of a station."""
    _show_state(_ask(control, "set", station, name, value), lang, as_json)


@simulated.command()
def battery(
    station: Station, keys: Pairs, control: Control = CONTROL, lang: Lang = None, as_json: Json = False
) -> None:
    """Put another battery there: model=nmc_96s_60ah code=PHE96-000007 weak_cell.index=3 weak_cell.extra_lli=0.1."""
    _show_state(_ask(control, "battery", station, *keys), lang, as_json)


@simulated.command()
def fault(
    station: Station,
    instrument: Annotated[str, typer.Argument(help="Its role.")],
    kind: Annotated[str, typer.Argument(help="One of those that `list` names.")],
    how: Annotated[
        list[str] | None,
        typer.Argument(metavar="[on|off] [KEY=VALUE...]", help="value=, duration_s=, at_s=, on=EVENT, nth="),
    ] = None,
    control: Control = CONTROL,
    lang: Lang = None,
    as_json: Json = False,
) -> None:
    """Begin or end a fault, now or when something happens."""
    answer = _ask(control, "fault", station, instrument, kind, *(how or []))
    if as_json:
        return _print_json(answer)
    state = "begun" if answer["active"] else "ended" if how and how[0] == "off" else "waits"
    print(WORDS[settings(lang=lang).lang][state].format(**answer))
    return None


@simulated.command()
def clear(
    station: Station,
    instrument: Annotated[str | None, typer.Argument(help="Its role; all of them without one.")] = None,
    control: Control = CONTROL,
    lang: Lang = None,
    as_json: Json = False,
) -> None:
    """End faults, and forget those to come."""
    answer = _ask(control, "clear", station, *([instrument] if instrument else []))
    if as_json:
        return _print_json(answer)
    print(WORDS[settings(lang=lang).lang]["cleared"].format(instruments=", ".join(answer["instruments"])))
    return None


@simulated.command()
def truth(station: Station, control: Control = CONTROL, as_json: Json = False) -> None:
    """Show what a perfect test of the battery would find."""
    answer = _ask(control, "truth", station)
    if as_json:
        return _print_json(answer)
    for name, value in answer.items():
        if name not in ("event", "station"):
            print(f"{name:<36} {value}")
    return None


def _show_state(answer: dict[str, Any], lang: str | None, as_json: bool) -> None:
    if as_json:
        return _print_json(answer)
    words = WORDS[settings(lang=lang).lang]
    print(f"{answer['station']}  {words['battery']} {answer['battery']} ({answer['model']})")
    for name, value in answer.items():
        if name == "faults":
            value = "; ".join(f"{key}: {', '.join(kinds)}" for key, kinds in value.items()) or words["none"]
        elif name in SHOWN:
            value = SHOWN[name].format(value)
        elif isinstance(value, bool):
            value = words["yes" if value else "no"]
        else:
            continue
        print(f"  {words[name]}{' ' * (22 - cell_len(words[name]))}{value}")
    return None


def _print_json(answer: dict[str, Any]) -> None:
    print(json.dumps(answer, ensure_ascii=False))


def _ask(control: str, *words: str) -> dict[str, Any]:
    """The simulators' answer to one command; raises UsageError for what they refuse and when they are not there."""
    host, _, port = control.rpartition(":")
    if not re.fullmatch(r"\d{1,5}", port) or not 0 < int(port) < 65536:
        raise UsageError(f"--control {control}: write it like {CONTROL} [E-SETTINGS]")
    try:
        with socket.create_connection((host, int(port)), timeout=ANSWERS_WITHIN) as connection:
            connection.sendall(shlex.join(words).encode() + b"\n")
            line = connection.makefile("rb").readline()
    except (OSError, UnicodeError) as error:
        why = "no such host" if isinstance(error, UnicodeError) else error.strerror or error
        raise UsageError(
            f"no simulators take commands at {control}: {why}; start them with `evaline simulate --control` "
            "[E-SIMULATION]"
        ) from None
    if not line:
        raise UsageError(f"the simulators at {control} ended without an answer [E-SIMULATION]")
    try:
        answer: dict[str, Any] = json.loads(line)
        is_error = answer["event"] == "error"
    except (ValueError, LookupError, TypeError):
        raise UsageError(f"what answers at {control} is no simulator; correct --control [E-SIMULATION]") from None
    if is_error:
        raise UsageError(answer["message"])
    return answer
