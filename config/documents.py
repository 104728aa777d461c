"""Strict YAML documents that remember where every value stood.

YAML as Evaline accepts it: one document, safe types only, no duplicate keys, no anchors or aliases, no merge keys, and
scalars typed as in JSON, so that `no`, `1_000`, `12:30` and `2026-11-22` stay the text they are.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

MAX_BYTES = 256_000
MAX_DEPTH = 40

# libyaml's parser where PyYAML has it: the same events, several times as fast
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Location = tuple[str | int, ...]


class DocumentError(Exception):
    """A file that cannot be used: one line with file, line, column and what to do."""

    def __init__(self, code: str, source: str, message: str, line: int = 0, column: int = 0) -> None:
        self.code, self.source, self.message, self.line, self.column = code, source, message, line, column
        where = f"{source}:{line}:{column}" if line else source
        super().__init__(f"{where}: {message} [{code}]")


@dataclass(frozen=True)
class Document:
    """Parsed data and the (line, column) of every key path in it, both counted from 1."""

    source: str
    data: Any
    positions: dict[Location, tuple[int, int]]

    def position(self, location: Location) -> tuple[int, int]:
        """Line and column of a path, or of its nearest parent."""
        while location and location not in self.positions:
            location = location[:-1]
        return self.positions.get(location, (1, 1))

    def error(self, code: str, location: Location, message: str) -> DocumentError:
        return DocumentError(code, self.source, message, *self.position(location))


_BOOL = re.compile(r"true|false")
_INT = re.compile(r"-?(0|[1-9]\d{0,17})")
_FLOAT = re.compile(r"-?(0|[1-9]\d{0,17})(\.\d{1,18})?([eE][-+]?\d{1,3})?")


def _scalar(node: yaml.ScalarNode) -> Any:
    """JSON's types for plain scalars, text for everything else."""
    text = str(node.value)
    if node.style:  # quoted or block; libyaml says "" for plain, Python None
        return text
    if text in ("", "null", "~"):
        return None
    if _BOOL.fullmatch(text):
        return text == "true"
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return text


def _place(node: yaml.Node) -> tuple[int, int]:
    mark = node.start_mark
    assert mark is not None  # compose() always sets it
    return mark.line + 1, mark.column + 1


class _Builder:
    def __init__(self, source: str) -> None:
        self.source = source
        self.positions: dict[Location, tuple[int, int]] = {}

    def fail(self, node: yaml.Node, code: str, message: str) -> DocumentError:
        return DocumentError(code, self.source, message, *_place(node))

    def build(self, node: yaml.Node, path: Location) -> Any:
        self.positions.setdefault(path, _place(node))
        if isinstance(node, yaml.ScalarNode):
            if node.tag not in _KNOWN_TAGS:
                raise self.fail(node, "E-YAML-TAG", f"the tag {node.tag} is not allowed")
            return _scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, yaml.MappingNode)
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.fail(key_node, "E-YAML-KEY", "a key must be plain text")
            key = str(key_node.value)
            if key in result:
                raise self.fail(key_node, "E-YAML-DUPLICATE", f"the key {key!r} stands here a second time")
            self.positions[(*path, key)] = _place(key_node)
            result[key] = self.build(value_node, (*path, key))
        return result


_KNOWN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp", "merge")}


def _refuse_aliases_and_depth(text: str, source: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        mark = event.start_mark
        assert mark is not None  # the parser always sets it
        anchored = isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None)
        if anchored:
            raise DocumentError(
                "E-YAML-ALIAS", source, "anchors and aliases are not allowed", mark.line + 1, mark.column + 1
            )
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise DocumentError(
                    "E-YAML-DEPTH", source, f"nested deeper than {MAX_DEPTH} levels", mark.line + 1, mark.column + 1
                )
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def parse_document(text: str, source: str) -> Document:
    """Parse strict YAML; raises DocumentError with the position of the first fault."""
    try:
        _refuse_aliases_and_depth(text, source)
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise DocumentError("E-YAML-SYNTAX", source, f"not valid YAML: {error.problem}", line, column) from None
    except yaml.YAMLError as error:
        raise DocumentError("E-YAML-SYNTAX", source, f"not valid YAML: {str(error).splitlines()[0]}") from None
    if node is None:
        raise DocumentError("E-YAML-EMPTY", source, "the file is empty")
    builder = _Builder(source)
    data = builder.build(node, ())
    return Document(source, data, builder.positions)


def read_document(path: Path) -> Document:
    """Read and parse one file; raises DocumentError also for a missing, unreadable, oversized or non-UTF-8 file."""
    source = str(path)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DocumentError("E-FILE", source, f"cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise DocumentError("E-FILE-SIZE", source, f"larger than {MAX_BYTES} bytes")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DocumentError("E-FILE-UTF8", source, f"not UTF-8 at byte {error.start}") from None
    return parse_document(text, source)


def first_validation_error(document: Document, error: ValidationError, code: str) -> DocumentError:
    """Pydantic's first complaint as one line at its place in the file."""
    first = error.errors()[0]
    location: Location = tuple(first["loc"])
    name = ".".join(str(part) for part in location) or "document"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "unknown key"
    elif first["type"] == "missing":
        message = "missing key"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return document.error(code, _without_tags(document, location), f"{name}: {message}{more}")


def _without_tags(document: Document, location: Location) -> Location:
    """Where a complaint stands in the file: the path of pydantic holds the kind of a step or link besides."""
    place: Location = ()
    for part in location:
        if (*place, part) in document.positions:
            place = (*place, part)
    return place
