"""What has to do with the MES: the contract, work orders, who starts runs, and the journal's signed results."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from config import DocumentError
from controller.cli.options import Author, Json, Lang, ReasonText, StationName, Url, settings, with_client


def contract(
    out: Annotated[Path, typer.Option("--out", help="Directory for asyncapi.json and schemas/.")],
) -> None:
    """Write the AsyncAPI 3 document and the JSON Schemas of every message to and from the MES."""
    from controller.mes.contract import write

    for path in write(out):
        print(path)


def mode(
    mode: Annotated[Literal["local", "remote"], typer.Argument(help="local: operators start runs; remote: the MES.")],
    station: StationName,
    reason: ReasonText = "",
    url: Url = None,
    author: Author = None,
    lang: Lang = None,
    as_json: Json = False,
) -> None:
    """Say who starts a station's runs; what runs goes on."""
    known = settings(url, author, lang)
    answer = with_client(known, lambda client: client.mode(station, mode.upper(), known.author, reason))
    print(json.dumps(answer, ensure_ascii=False) if as_json else f"{station} {answer['mode']}")


def orders(url: Url = None, as_json: Json = False) -> None:
    """List the work orders of the MES that have not ended."""
    answer = with_client(settings(url), lambda client: client.orders())
    if as_json:
        print(json.dumps(answer, ensure_ascii=False))
        return
    for order in answer:
        run = order["run"] or "-"
        print(
            f"{order['order']:<24} {order['station']:<10} {order['state']:<18} {order['recipe']} {order['dut']}  {run}"
        )


def journal_verify(
    path: Annotated[Path, typer.Argument(help="The journal file.")] = Path("var/journal.db"), as_json: Json = False
) -> None:
    """Check every event, sample chunk and result against the hash chain, and every result's signature. Exit 1 when
    anything is damaged, 3 when there is no such file."""
    from controller.journal.check import verify
    from controller.mes.signing import signature_problems

    try:
        path.open("rb").close()
    except OSError as error:
        raise DocumentError("E-FILE", str(path), f"cannot be read: {error.strerror}; name the journal file") from None
    report = verify(path)
    forged = signature_problems(path)
    problems = [(problem, "E-JOURNAL-DAMAGED") for problem in report.problems]
    problems += [(problem, "E-SIGNATURE") for problem in forged]
    if as_json:
        listed = [{"where": problem.where, "what": problem.what} for problem, _ in problems]
        print(json.dumps({"ok": not problems, "events": report.events, "runs": report.runs, "samples": report.samples,
                          "head": report.head, "problems": listed}))  # fmt: skip
    elif not problems:
        counted = f"{report.events} events, {report.runs} runs, {report.samples} samples"
        print(f"{path}: intact: {counted}; head {report.head[0]} {report.head[1]}")
    for problem, code in problems:
        print(f"evaline: {path}: {problem.where}: {problem.what} [{code}]", file=sys.stderr)
    if problems:
        raise typer.Exit(1)
