"""`evaline contract`: what a MES developer's tools read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def contract(
    out: Annotated[Path, typer.Option("--out", help="Directory for asyncapi.json and schemas/.")],
) -> None:
    """Write the AsyncAPI 3 document and the JSON Schemas of every message to and from the MES."""
    from controller.mes.contract import write

    for path in write(out):
        print(path)
