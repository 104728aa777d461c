"""Commands about the way to the MES: messages that were refused, and configurations for brokers."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from config import load_line
from config.line import LineIdentity
from controller.cli.options import (
    DEFAULT_LINE,
    Author,
    ConfigFile,
    Json,
    ReasonText,
    Url,
    UsageError,
    settings,
    with_client,
)

outbox_app = typer.Typer(help="Messages that wait for the MES.", no_args_is_help=True, rich_markup_mode=None)
broker_app = typer.Typer(help="Brokers.", no_args_is_help=True, rich_markup_mode=None)


class BrokerKind(StrEnum):
    """Brokers that examples are written for."""

    MOSQUITTO = "mosquitto"
    NATS = "nats"


@outbox_app.command("list")
def show(url: Url = None, as_json: Json = False) -> None:
    """What waits for broker and MES, and every message that one of them refused, with the reason."""
    answer = with_client(settings(url=url), lambda client: client.outbox())
    if as_json:
        print(json.dumps(answer, ensure_ascii=False))
        return
    for line in _lines(answer):
        print(line)


def _lines(answer: dict[str, Any]) -> list[str]:
    lines, mes = [], answer["mes"]
    if mes is None:
        lines.append("this line has no broker")
    else:
        waiting, state = mes["outbox"], "connected" if mes["connected"] else f"not connected: {mes['last_error']}"
        oldest = f", the oldest for {waiting['oldest_s']:.0f} s" if waiting["messages"] else ""
        lines.append(f"{mes['broker']}: {state}")
        lines.append(f"{waiting['messages']} messages wait{oldest}; {waiting['bytes'] / 1e6:.1f} MB in all")
        lines += [f"{alarm['message']} [{alarm['code']}]" for alarm in mes["alarms"]]
    for message in answer["refused"]:
        lines.append(f"{message['number']:>8}  {message['refused']}  {message['by']}: {message['reason']}")
        lines.append(f"          {message['id']} on {message['topic']}")
    return lines


@outbox_app.command()
def resend(
    numbers: Annotated[list[int] | None, typer.Argument(help="Numbers of refused messages.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All refused messages.")] = False,
    author: Author = None,
    reason: ReasonText = "",
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Send refused messages again, in their old order, once the cause is gone."""
    if bool(numbers) == everything:
        raise UsageError("name messages by their numbers, or say --all [E-SETTINGS]")
    known = settings(url=url, author=author)
    body = {"numbers": numbers or [], "author": known.author, "reason": reason}
    answer = with_client(known, lambda client: client.resend(body))
    print(json.dumps(answer) if as_json else f"{len(answer['resent'])} messages wait for their delivery again")


@broker_app.command("example")
def example(
    kind: Annotated[BrokerKind, typer.Option("--for", help="Which broker.")],
    out: Annotated[Path, typer.Option(help="A directory that does not exist yet.")],
    config: ConfigFile = DEFAULT_LINE,
    host: Annotated[
        list[str] | None,
        typer.Option(
            help="The broker's name or address, as its clients call it; three of them make a NATS cluster.",
            show_default="localhost",
        ),
    ] = None,
    also: Annotated[list[str] | None, typer.Option(help="Another line of the area that is to use it.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Its TCP port.")] = 8883,
) -> None:
    """Write a configuration with TLS, access lists and a certificate authority to try them with."""
    from controller.clock import PacedClock
    from controller.mes.acl import write_example

    line = load_line(config)
    # an edge node with a broker of its own is no client of this one
    sparkplug = None if line.sparkplug is None or line.sparkplug.broker is not None else line.sparkplug
    try:
        others = tuple(LineIdentity.model_validate({**line.line.model_dump(), "name": name}) for name in also or ())
        hosts, now = tuple(host or ["localhost"]), PacedClock().now()
        written = write_example(kind.value, out, line.line, hosts, port, now, sparkplug, others)
    except ValidationError:
        raise UsageError(f"--also {' '.join(also or ())}: a line's name is a-z, 0-9, _ and - [E-SETTINGS]") from None
    except ValueError as error:
        raise UsageError(f"--host: {error} [E-SETTINGS]") from None
    except FileExistsError:
        raise UsageError(f"{out} exists; name a directory that does not exist yet by --out [E-OS]") from None
    for path in written:
        print(path)
