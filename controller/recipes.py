"""From a recipe's text to a recipe: the library it may call, the tables it names, its parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from config import DocumentError
from config.documents import (
    Document,
    FaultyDocumentError,
    Words,
    parse_document,
    read_document,
    validation_errors,
)
from sequences import Dut, FaultError, GradeRules, Recipe
from sequences.check import Finding
from sequences.recipe import CalledRecipeError
from sequences.step import MAX_CSV

LIBRARY = Path(__file__).parents[1] / "sequences" / "library"

_ID = re.compile(r"[a-z][a-z0-9_]{0,47}")
_TABLE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}\.csv")
MAX_TABLES = 5  # of one recipe

# the text of a table by its file name; raises OSError
Tables = Callable[[str], str]


class FaultyRecipeError(FaultyDocumentError):
    """A document that is no recipe."""


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
    _Profiles(document, tables).complete(document.data)
    try:
        return Recipe.from_data(document.data, parameters, library_data, dut), document
    except CalledRecipeError as error:
        raise FaultyRecipeError([document.error(error.code, error.path, _in_call(error))]) from None
    except (ValidationError, FaultError) as error:
        raise FaultyRecipeError(validation_errors(document, error, "E-RECIPE", Recipe)) from None


def _in_call(error: CalledRecipeError) -> Words:
    """The first complaint of a recipe that is called, in our words; its places are not of the caller's file."""
    first = validation_errors(Document("", None, {}), error.error, error.code, Recipe)[0].text
    calls = " -> ".join(f"{name!r:.60}" for name in error.names)
    where = ".".join(map(str, error.path))
    return Words(
        f"{where}: the called recipe {calls} is at fault: {first.en}",
        f"{where}: 호출한 레시피 {calls} 오류: {first.ko}",
    )


def load_grade_rules(name: str, parameters: Mapping[str, Any] | None = None) -> GradeRules:
    """The shipped rules of this name, or a file, with a site's thresholds; raises DocumentError."""
    shipped = LIBRARY / f"grades_{name}.yaml"
    document = read_document(shipped if shipped.exists() else Path(name))
    try:
        return GradeRules.from_data(document.data, parameters)
    except (ValidationError, FaultError) as error:
        raise FaultyDocumentError(validation_errors(document, error, "E-GRADES", GradeRules)) from None


def tables_beside(directory: Path) -> Tables:
    """Tables that lie beside a recipe file."""

    def read(name: str) -> str:
        path = directory / name
        if path.stat().st_size > MAX_CSV:
            raise OSError(f"larger than {MAX_CSV} bytes")
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
                message, korean = f"cannot be read: {why}", f"읽을 수 없습니다: {why}"
                raise DocumentError("E-TABLE", str(directory / name), message, ko=korean) from None
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


class _Profiles:
    """Puts the text of every table that a profile names beside its name: it belongs to the recipe and its hash."""

    def __init__(self, document: Document, tables: Tables | None) -> None:
        self._document, self._tables = document, tables
        self._texts: dict[str, str] = {}
        self._characters = 0

    def complete(self, data: Any, path: tuple[str | int, ...] = ()) -> None:
        if isinstance(data, list):
            for index, item in enumerate(data):
                self.complete(item, (*path, index))
        elif isinstance(data, dict):
            if data.get("step") == "profile" and isinstance(data.get("file"), str):
                data["csv"] = self._text(data["file"], (*path, "file"))
            for key, value in data.items():
                if key != "rows":
                    self.complete(value, (*path, key))

    def _text(self, name: str, path: tuple[str | int, ...]) -> str:
        def fault(en: str, ko: str) -> DocumentError:
            words = Words(f"table {name!r:.80}: {en}", f"표 {name!r:.80}: {ko}")
            return self._document.error("E-TABLE", path, words)

        if not _TABLE.fullmatch(name):
            raise fault(
                "a table is a CSV file beside the recipe, named with a-z 0-9 _ - only",
                "표는 레시피 옆의 CSV 파일이며 이름에는 a-z 0-9 _ - 만 쓸 수 있습니다",
            )
        if self._tables is None:
            raise fault(
                "no tables can be read here; write its rows into the recipe",
                "여기서는 표 파일을 읽을 수 없습니다. 레시피에 행을 직접 쓰십시오",
            )
        if name not in self._texts and len(self._texts) == MAX_TABLES:
            raise fault(f"more than {MAX_TABLES} tables", f"표가 {MAX_TABLES}개를 넘습니다")
        try:
            text = self._texts[name] if name in self._texts else self._tables(name)
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise fault(f"cannot be read: {why}", f"읽을 수 없습니다: {why}") from None
        self._texts[name] = text
        self._characters += len(text)
        if self._characters > MAX_CSV:  # each profile reads its own
            raise fault(
                f"the tables of all profiles have more than {MAX_CSV} characters",
                f"모든 profile 의 표를 합하면 {MAX_CSV}자를 넘습니다",
            )
        return text


def finding_line(document: Document, finding: Finding, lang: str = "en") -> str:
    """`file:line:column: message; hint [code]`."""
    line, column = document.position(finding.path)
    text, hint = finding.text.in_language(lang), finding.hint.in_language(lang)
    return f"{document.source}:{line}:{column}: {text}; {hint} [{finding.code}]"
