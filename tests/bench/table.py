"""The table at the end: every figure beside a peer or the raw limit of the same run."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from tests.bench.child import Measured


@dataclass(frozen=True)
class Row:
    """`ratio` is Evaline's figure over the other one; `met` is None where there is no aim."""

    subject: str
    evaline: str
    beside: str
    ratio: float | None
    aim: str
    met: bool | None


def problem(subject: str, aim: str, *measured: Measured) -> Row | None:
    """The row that says why there is no figure, if there is none."""
    for one in measured:
        if "missing" in one:
            return Row(subject, "-", f"{one['missing']} is not installed", None, aim, None)
        if "failed" in one:
            return Row(subject, "-", one["failed"], None, aim, None)
    return None


def show(console: Console, rows: list[Row], markdown: bool) -> None:
    if markdown:
        console.print(_markdown(rows), highlight=False, soft_wrap=True, markup=False)
        return
    table = Table(title="Evaline beside its peers and limits, measured in this run", show_lines=False)
    for name in ("what", "Evaline", "beside"):
        table.add_column(name)
    table.add_column("ratio", justify="right", no_wrap=True)
    table.add_column("aim")
    table.add_column("met", no_wrap=True)
    for row in rows:
        colour = {True: "green", False: "red", None: "dim"}[row.met]
        table.add_row(row.subject, row.evaline, row.beside, _ratio(row.ratio), row.aim, f"[{colour}]{_met(row.met)}[/]")
    console.print(table)


def _markdown(rows: list[Row]) -> str:
    lines = ["| what | Evaline | beside | ratio | aim | met |", "|---|---|---|---:|---|---|"]
    lines += [
        f"| {row.subject} | {row.evaline} | {row.beside} | {_ratio(row.ratio)} | {row.aim} | {_met(row.met)} |"
        for row in rows
    ]
    return "\n".join(lines)


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.3g}"


def _met(met: bool | None) -> str:
    return {True: "yes", False: "no", None: ""}[met]
