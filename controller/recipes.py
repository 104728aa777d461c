"""From a recipe's text to a recipe: the library it may call, the tables it names, its parameters."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from config import DocumentError
from config.documents import Document, Words, parse_document, read_document, validation_errors
from sequences import Dut, FaultError, Recipe
from sequences.check import Finding

LIBRARY = Path(__file__).parents[1] / "sequences" / "library"

_ID = re.compile(r"[a-z][a-z0-9_]{0,47}")
_TABLE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}\.csv")
_UNITS = {"time_s": "s", "current_a": "A", "power_w": "W"}
MAX_TABLE_BYTES = 1_000_000
MAX_TABLES = 5  # of one recipe

# rows of a time and a value, and what the values are
_Table = tuple[list[list[str]], str]
# the text of a table by its file name; raises OSError
Tables = Callable[[str], str]


class FaultyRecipeError(DocumentError):
    """A document that is no recipe: every fault at its place; as one line it tells the first."""

    def __init__(self, faults: list[DocumentError]) -> None:
        self.faults = faults
        first = faults[0]
        super().__init__(first.code, first.source, first.text.en, first.line, first.column, first.text.ko)


def library_ids() -> list[str]:
    """The ids of the shipped recipes."""
    return sorted(path.stem for path in LIBRARY.glob("*.yaml") if not path.stem.startswith("grades_"))


def library_data(recipe: str) -> Any:
    """The document of a shipped recipe; raises LookupError."""
    path = LIBRARY / f"{recipe}.yaml"
    if not _ID.fullmatch(recipe) or recipe.startswith("grades_") or not path.exists():
        raise LookupError(recipe)
    return read_document(path).data


def load_recipe(
    text: str, source: str, parameters: Mapping[str, Any] | None = None, tables: Tables | None = None,
    dut: Dut | None = None,
) -> tuple[Recipe, Document]:  # fmt: skip
    """Parse and validate a recipe with these parameters for a battery.

    Raises DocumentError for what is no document and FaultyRecipeError for one that is no recipe.
    """
    document = parse_document(text, source)
    _bring_tables(document, document.data, (), tables, {})
    try:
        return Recipe.from_data(document.data, parameters, library_data, dut), document
    except (ValidationError, FaultError) as error:
        raise FaultyRecipeError(validation_errors(document, error, "E-RECIPE", Recipe)) from None


def tables_beside(directory: Path) -> Tables:
    """Tables that lie beside a recipe file."""

    def read(name: str) -> str:
        path = directory / name
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise OSError(f"larger than {MAX_TABLE_BYTES} bytes")
        return path.read_text(encoding="utf-8")

    return read


def tables_sent(document: Document, directory: Path) -> dict[str, str]:
    """The tables that a recipe names, as they lie beside it, for whoever cannot read them; raises DocumentError.

    A name that is no table's is left to be refused where the recipe is read.
    """
    read = tables_beside(directory)
    texts = {}
    for name in sorted(tables_named(document.data)):
        if _TABLE.fullmatch(name):
            try:
                texts[name] = read(name)
            except (OSError, UnicodeDecodeError) as error:
                why = getattr(error, "strerror", None) or error
                raise DocumentError("E-TABLE", str(directory / name), f"cannot be read: {why}") from None
    return texts


def tables_of(texts: Mapping[str, str]) -> Tables:
    """Tables that came with the recipe's text."""

    def read(name: str) -> str:
        if name not in texts:
            raise OSError("it was not sent with the recipe")
        return texts[name]

    return read


def tables_named(data: Any) -> set[str]:
    """The tables that a document's profile steps name."""
    if isinstance(data, list):
        return set().union(*map(tables_named, data)) if data else set()
    if not isinstance(data, dict):
        return set()
    own = {data["file"]} if data.get("step") == "profile" and isinstance(data.get("file"), str) else set()
    return own.union(*map(tables_named, data.values()))


def _bring_tables(
    document: Document, data: Any, path: tuple[str | int, ...], tables: Tables | None, brought: dict[str, _Table]
) -> None:
    """Put the rows of every table that a profile names beside its name: they belong to the recipe and its hash."""
    if isinstance(data, list):
        for index, item in enumerate(data):
            _bring_tables(document, item, (*path, index), tables, brought)
    elif isinstance(data, dict):
        name = data.get("file")
        if data.get("step") == "profile" and isinstance(name, str):
            if name not in brought:
                brought[name] = _table(document, (*path, "file"), name, tables, len(brought))
            data["rows"], data["of"] = brought[name]
        for key, value in data.items():
            if key != "rows":
                _bring_tables(document, value, (*path, key), tables, brought)


def _table(document: Document, path: tuple[str | int, ...], name: str, tables: Tables | None, others: int) -> _Table:
    def fault(en: str, ko: str) -> DocumentError:
        return document.error("E-TABLE", path, Words(f"table {name!r:.80}: {en}", f"표 {name!r:.80}: {ko}"))

    if not _TABLE.fullmatch(name):
        raise fault(
            "a table is a CSV file beside the recipe, named with a-z 0-9 _ - only",
            "표는 레시피 옆의 CSV 파일이며 이름에는 a-z 0-9 _ - 만 쓸 수 있습니다",
        )
    if tables is None:
        raise fault("no tables can be read here; write its rows into the recipe", "여기서는 표를 읽을 수 없습니다")
    if others == MAX_TABLES:
        raise fault(f"more than {MAX_TABLES} tables", f"표가 {MAX_TABLES}개를 넘습니다")
    try:
        rows = list(csv.reader(io.StringIO(tables(name))))
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise fault(f"cannot be read: {why}", f"읽을 수 없습니다: {why}") from None
    header = [cell.strip() for cell in rows[0]] if rows else []
    if len(header) != 2 or header[0] != "time_s" or header[1] not in ("current_a", "power_w"):
        raise fault(
            "its first row must be time_s,current_a or time_s,power_w",
            "첫 행은 time_s,current_a 또는 time_s,power_w 이어야 합니다",
        )
    number = re.compile(r"-?\d{1,9}(\.\d{1,9})?")
    table = []
    for line, row in enumerate(rows[1:], 2):
        if len(row) != 2 or not all(number.fullmatch(cell.strip()) for cell in row):
            raise fault(f"row {line} is not two plain numbers", f"{line}번째 행이 두 개의 숫자가 아닙니다")
        table.append([f"{cell.strip()} {_UNITS[column]}" for cell, column in zip(row, header, strict=True)])
    return table, "current" if header[1] == "current_a" else "power"


def finding_line(document: Document, finding: Finding, lang: str = "en") -> str:
    """`file:line:column: message; hint [code]`."""
    line, column = document.position(finding.path)
    text, hint = finding.text.in_language(lang), finding.hint.in_language(lang)
    return f"{document.source}:{line}:{column}: {text}; {hint} [{finding.code}]"
