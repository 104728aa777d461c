"""The recipes that work orders can name: those of the library, and those that a site keeps in a directory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import structlog

from config import DocumentError
from config.documents import parse_document
from controller.mes.messages import RecipeInfo
from controller.recipes import LIBRARY, library_ids, load_recipe, tables_beside, tables_sent

_ID = re.compile(r"[a-z][a-z0-9_]{0,47}")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RecipeText:
    """A recipe and its tables as a start wants them."""

    text: str
    tables: dict[str, str]


def recipe_files(directory: str | None) -> dict[str, Path]:
    """The file of each recipe by its id, which is its name without `.yaml`; a site's come before the library's."""
    own = Path(directory).glob("*.yaml") if directory else ()
    library = {name: LIBRARY / f"{name}.yaml" for name in library_ids()}
    return library | {path.stem: path for path in own if _ID.fullmatch(path.stem)}


def read_recipe(path: Path) -> RecipeText:
    """Raises DocumentError, or OSError; blocking."""
    text = _read(path)
    return RecipeText(text, tables_sent(parse_document(text, path.name), path.parent))


def recipe_infos(directory: str | None) -> list[RecipeInfo]:
    """As `info` lists them, without those that are at fault, which are logged; blocking."""
    found = []
    for name, path in sorted(recipe_files(directory).items()):
        try:
            text = _read(path)
            recipe, _ = load_recipe(text, path.name, tables=tables_beside(path.parent))
        except (DocumentError, OSError) as error:
            log.warning("recipe not offered", file=str(path), why=str(error))
            continue
        found.append(RecipeInfo(id=name, version=str(recipe.version), hash=recipe.content_hash))
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        en, ko = f"not UTF-8 at byte {error.start}", f"{error.start}번째 바이트가 UTF-8이 아닙니다"
        raise DocumentError("E-FILE-UTF8", path.name, en, ko=ko) from None
