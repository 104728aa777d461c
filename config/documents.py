"""Strict YAML documents that remember where every value stood.

YAML as Evaline accepts it: one document, no tags, no duplicate keys, no anchors or aliases, no merge keys, and scalars
typed as in JSON, so that `no`, `1_000`, `12:30` and `2026-11-22` stay the text they are. It is built from the parser's
events in one pass and with counted values, so that no text costs more than its size.
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, get_args

import yaml
from pydantic import BaseModel, ValidationError

MAX_BYTES = 256_000
MAX_DEPTH = 40
MAX_VALUES = 8_000  # keys and values; the largest recipes of the library have a fifth of it
MAX_LINE_VALUES = 60_000  # of a line file: some two hundred a station
MAX_TOLD = 20  # faults of one file that a person is told at once

# libyaml's parser where PyYAML has it: the same events, several times as fast
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Location = tuple[str | int, ...]


class Words(NamedTuple):
    """The same words in English and Korean."""

    en: str
    ko: str

    def in_language(self, lang: str) -> str:
        return self.ko if lang == "ko" else self.en


class Speaks(Protocol):
    """Anything that has its words in both languages."""

    @property
    def en(self) -> str: ...

    @property
    def ko(self) -> str: ...


class DocumentError(Exception):
    """A file that cannot be used: one line with file, line, column and what to do."""

    def __init__(self, code: str, source: str, message: str, line: int = 0, column: int = 0, ko: str = "") -> None:
        self.code, self.source, self.message, self.line, self.column = code, source, message, line, column
        self.text = Words(message, ko or message)
        super().__init__(self.in_language("en"))

    def in_language(self, lang: str) -> str:
        """`file:line:column: what is wrong [code]`."""
        where = f"{self.source}:{self.line}:{self.column}" if self.line else self.source
        return f"{where}: {self.text.in_language(lang)} [{self.code}]"

    def lines(self) -> list[str]:
        """Everything that is wrong, a line each."""
        return [str(self)]


class FaultyDocumentError(DocumentError):
    """A document with faults, each at its place; as one line it tells the first and how many more there are."""

    def __init__(self, faults: list[DocumentError]) -> None:
        self.faults = faults
        first, others = faults[0], len(faults) - 1
        en, ko = (f" (and {others} more)", f" (외 {others}건)") if others else ("", "")
        text = first.text
        super().__init__(first.code, first.source, text.en + en, first.line, first.column, text.ko + ko)

    def lines(self) -> list[str]:
        """A line for each fault, MAX_TOLD at most."""
        told = [str(fault) for fault in self.faults[:MAX_TOLD]]
        more = len(self.faults) > MAX_TOLD
        return [*told, f"{self.source}: and more; correct these first [{self.code}]"] if more else told


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

    def error(self, code: str, location: Location, message: str | Speaks) -> DocumentError:
        en, ko = (message, "") if isinstance(message, str) else (message.en, message.ko)
        return DocumentError(code, self.source, en, *self.position(location), ko)


_BOOL = re.compile(r"true|false")
_INT = re.compile(r"-?(0|[1-9]\d{0,17})")
_FLOAT = re.compile(r"-?(0|[1-9]\d{0,17})(\.\d{1,18})?([eE][-+]?\d{1,3})?")


def _scalar(event: yaml.ScalarEvent) -> Any:
    """JSON's types for plain scalars, text for everything else."""
    text = str(event.value)
    if event.style:  # quoted or block; libyaml says "" for plain, Python None
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


class _Builder:
    """Makes data of the parser's events. `_open` holds the collections around the next value, with their paths."""

    def __init__(self, source: str, most_values: int) -> None:
        self._source, self._most_values = source, most_values
        self._open: list[tuple[Any, Location]] = []
        self._keys: list[str | None] = []  # of each open mapping the key that waits for its value
        self._values = 0
        self.documents = 0
        self.data: Any = None
        self.positions: dict[Location, tuple[int, int]] = {}

    def _fault(self, event: yaml.Event, code: str, en: str, ko: str) -> DocumentError:
        return DocumentError(code, self._source, en, *_place(event), ko)

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._admit(event)
            if self._waits_for_key():
                self._key(event)
            else:
                self._put(_scalar(event), event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._admit(event)
            if self._waits_for_key():
                raise self._fault(event, "E-YAML-KEY", "a key must be plain text", "키는 일반 텍스트여야 합니다")
            if len(self._open) == MAX_DEPTH:
                en, ko = f"nested deeper than {MAX_DEPTH} levels", f"{MAX_DEPTH}단계보다 깊게 중첩되었습니다"
                raise self._fault(event, "E-YAML-DEPTH", en, ko)
            collection: Any = [] if isinstance(event, yaml.SequenceStartEvent) else {}
            self._open.append((collection, self._put(collection, event)))
            self._keys.append(None)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._open.pop()
            self._keys.pop()
        elif isinstance(event, yaml.AliasEvent):
            raise self._no_anchors(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                en, ko = "not valid YAML: a second document begins here", "올바른 YAML이 아닙니다: 두 번째 문서입니다"
                raise self._fault(event, "E-YAML-SYNTAX", en, ko)

    def _no_anchors(self, event: yaml.Event) -> DocumentError:
        en, ko = "anchors and aliases are not allowed", "앵커와 별칭은 쓸 수 없습니다"
        return self._fault(event, "E-YAML-ALIAS", en, ko)

    def _admit(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        self._values += 1
        if self._values > self._most_values:
            en, ko = f"more than {self._most_values} keys and values", f"키와 값이 {self._most_values}개를 넘습니다"
            raise self._fault(event, "E-YAML-SIZE", en, ko)
        if event.anchor:
            raise self._no_anchors(event)
        if event.tag:
            tag = f"{event.tag:.60}"
            raise self._fault(event, "E-YAML-TAG", f"the tag {tag} is not allowed", f"태그 {tag} 은(는) 쓸 수 없습니다")

    def _waits_for_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1][0], dict) and self._keys[-1] is None

    def _key(self, event: yaml.ScalarEvent) -> None:
        collection, path = self._open[-1]
        key = str(event.value)
        if key in collection:
            en, ko = f"the key {key!r:.60} stands here a second time", f"키 {key!r:.60} 이(가) 두 번 있습니다"
            raise self._fault(event, "E-YAML-DUPLICATE", en, ko)
        self._keys[-1] = key
        self.positions[(*path, key)] = _place(event)

    def _put(self, value: Any, event: yaml.Event) -> Location:
        """Put a value where it belongs; returns its path."""
        here: Location = ()
        if not self._open:
            self.data = value
        else:
            collection, path = self._open[-1]
            key = self._keys[-1] if isinstance(collection, dict) else len(collection)
            assert key is not None  # _waits_for_key() was asked before
            here = (*path, key)
            if isinstance(collection, dict):
                collection[key], self._keys[-1] = value, None
            else:
                collection.append(value)
        self.positions.setdefault(here, _place(event))
        return here


def _place(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    assert mark is not None  # the parser always sets it
    return mark.line + 1, mark.column + 1


def parse_document(text: str, source: str, most_values: int = MAX_VALUES) -> Document:
    """Parse strict YAML; raises DocumentError with the position of the first fault."""
    if len(text) > MAX_BYTES:
        raise _too_large(source)
    builder = _Builder(source, most_values)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise _not_yaml(source, str(error.problem), line, column) from None
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        raise _not_yaml(source, str(error).splitlines()[0]) from None
    if not builder.documents:
        raise DocumentError("E-YAML-EMPTY", source, "the file is empty", ko="파일이 비어 있습니다")
    return Document(source, builder.data, builder.positions)


def _not_yaml(source: str, problem: str, line: int = 0, column: int = 0) -> DocumentError:
    en, ko = f"not valid YAML: {problem:.200}", f"올바른 YAML이 아닙니다: {problem:.200}"
    return DocumentError("E-YAML-SYNTAX", source, en, line, column, ko)


def _too_large(source: str) -> DocumentError:
    en, ko = f"larger than {MAX_BYTES} bytes", f"{MAX_BYTES} 바이트보다 큽니다"
    return DocumentError("E-FILE-SIZE", source, en, ko=ko)


def read_document(path: Path, most_values: int = MAX_VALUES) -> Document:
    """Read and parse one file; raises DocumentError also for a missing, unreadable, oversized or non-UTF-8 file."""
    source = str(path)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        en, ko = f"cannot be read: {error.strerror}", f"읽을 수 없습니다: {error.strerror}"
        raise DocumentError("E-FILE", source, en, ko=ko) from None
    if len(raw) > MAX_BYTES:
        raise _too_large(source)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        en, ko = f"not UTF-8 at byte {error.start}", f"{error.start}번째 바이트가 UTF-8이 아닙니다"
        raise DocumentError("E-FILE-UTF8", source, en, ko=ko) from None
    return parse_document(text, source, most_values)


# --------------------------------------------------------------------------------- what is wrong with its content

MAX_ERRORS = 50
_SIMPLE = re.compile(r"[\w.\-/\[\]]{1,64}")

# what pydantic complains of -> our words; {names} are the complaint's own
_COMPLAINTS: dict[str, Words] = {
    "missing": Words("missing key", "필수 키가 없습니다"),
    "extra_forbidden": Words("unknown key", "알 수 없는 키입니다"),
    "literal_error": Words("must be {expected}", "다음 중 하나여야 합니다: {expected}"),
    "union_tag_invalid": Words("there is no {tag!r:.60}", "{tag!r:.60} 은(는) 없습니다"),
    "union_tag_not_found": Words("the key {discriminator} is missing", "키 {discriminator} 이(가) 없습니다"),
    "string_pattern_mismatch": Words("must match {pattern}", "형식이 맞지 않습니다: {pattern}"),
    "string_too_short": Words("must not be empty", "비어 있으면 안 됩니다"),
    "string_too_long": Words("has more than {max_length} characters", "{max_length}자를 넘습니다"),
    "too_short": Words("needs {min_length} or more", "{min_length}개 이상이어야 합니다"),
    "too_long": Words("has more than {max_length}", "{max_length}개를 넘습니다"),
    "greater_than": Words("must be greater than {gt}", "{gt} 보다 커야 합니다"),
    "greater_than_equal": Words("must be greater than or equal to {ge}", "{ge} 이상이어야 합니다"),
    "less_than": Words("must be less than {lt}", "{lt} 보다 작아야 합니다"),
    "less_than_equal": Words("must be less than or equal to {le}", "{le} 이하여야 합니다"),
    "finite_number": Words("must be a finite number", "유한한 수여야 합니다"),
}
# kinds of value that pydantic misses, by the beginning of its complaint
_KINDS: dict[str, Words] = {
    "string": Words("text", "텍스트"),
    "int": Words("a whole number", "정수"),
    "float": Words("a number", "숫자"),
    "bool": Words("true or false", "true/false"),
    "list": Words("a list", "목록"),
    "tuple": Words("a list", "목록"),
    "dict": Words("a mapping", "매핑"),
    "model": Words("a mapping", "매핑"),
}


class Fault(Protocol):
    """An error of ours about a document's content; the code may be empty."""

    @property
    def text(self) -> Speaks: ...

    @property
    def code(self) -> str: ...

    @property
    def path(self) -> Location: ...


def validation_errors(
    document: Document, error: ValidationError | Fault, code: str, model: type[BaseModel] | None = None
) -> list[DocumentError]:
    """Every fault of a document's content, in the order of the file, MAX_ERRORS at most.

    `error` is pydantic's, or one with `text`, `code` and `path`; `code` is for a fault that has none of its own, and
    from `model`, which the document was validated as, come the keys that an unknown one may have been meant for.
    """
    if not isinstance(error, ValidationError):
        return [document.error(error.code or code, error.path, _at(error.path, error.text))]
    found: dict[Location, list[Any]] = {}
    for complaint in error.errors(include_url=False, include_input=False):
        found.setdefault(_location(document, complaint), []).append(complaint)
    first = sorted(found, key=document.position)[:MAX_ERRORS]
    return [document.error(*_fault(found[location], code, location, model)) for location in first]


def _fault(
    complaints: list[Any], code: str, location: Location, model: type[BaseModel] | None
) -> tuple[str, Location, Words]:
    """What pydantic complains of at one place: the members of a union each miss a kind of their own."""
    kinds = [kind for complaint in complaints if (kind := _kind(complaint["type"]))]
    if len(kinds) == len(complaints):
        en, ko = (dict.fromkeys(words) for words in zip(*kinds, strict=True))
        words = Words(f"must be {' or '.join(en)}", f"{' 또는 '.join(ko)}(이)어야 합니다")
        return code, location, _at(location, words)
    complaint = next(complaint for complaint in complaints if not _kind(complaint["type"]))
    own = complaint.get("ctx", {}).get("error")
    words = getattr(own, "text", None) or _words(complaint, model)
    return getattr(own, "code", "") or code, location, _at(complaint["loc"], words)


def _location(document: Document, complaint: Any) -> Location:
    """Where a complaint stands in the file: the path of pydantic holds the kind of a step or link besides."""
    own = complaint.get("ctx", {}).get("error")
    path: Location = (*complaint["loc"], *getattr(own, "path", ()))
    if complaint["type"] == "union_tag_invalid":
        path = (*path, complaint["ctx"]["discriminator"].strip("'"))
    if not document.positions:  # no file holds it
        return path
    place: Location = ()
    for part in path:
        if (*place, part) in document.positions:
            place = (*place, part)
    return (*place, path[-1]) if complaint["type"] == "missing" else place


def _at(location: Location, words: Speaks) -> Words:
    parts = [str(part) if _SIMPLE.fullmatch(str(part)) else f"{part!r:.60}" for part in location]
    name = ".".join(parts)
    return Words(f"{name or 'document'}: {words.en}", f"{name or '문서'}: {words.ko}")


def _kind(complaint: str) -> Words | None:
    if not complaint.endswith(("_type", "_parsing", "_from_float")):
        return None
    return _KINDS.get(complaint.split("_")[0])


def _words(complaint: Any, model: type[BaseModel] | None) -> Words:
    kind, context = complaint["type"], complaint.get("ctx", {})
    if kind not in _COMPLAINTS:
        said = complaint["msg"].removeprefix("Value error, ")
        return Words(said, f"잘못된 값입니다: {said}")
    known: list[str] = []
    if kind == "extra_forbidden" and model is not None:
        known = _keys_at(model, complaint["loc"])
    elif kind == "union_tag_invalid":
        known = re.findall(r"'(\w+)'", context["expected_tags"])
    en, ko = (words.format(**context) for words in _COMPLAINTS[kind])
    meant = _meant(str(context.get("tag", complaint["loc"][-1] if complaint["loc"] else "")), known)
    return Words(f"{en}{meant.en}", f"{ko}{meant.ko}")


def _meant(name: str, known: list[str]) -> Words:
    """What may have been meant; nothing when nothing is known."""
    if not known:
        return Words("", "")
    close = difflib.get_close_matches(name[:64], known, 1)
    if close:
        return Words(f"; did you mean {close[0]!r}?", f"; {close[0]!r} 을(를) 뜻했습니까?")
    return Words(f"; known are {', '.join(sorted(known))}", f"; 사용할 수 있는 이름: {', '.join(sorted(known))}")


def _keys_at(model: type[BaseModel], location: Location) -> list[str]:
    """The keys of the mapping that a path of pydantic leads into, its last part apart."""
    models = [model]
    for part in location[:-1]:
        tagged = [m for m in models if len(models) > 1 and part in _constants(m)]
        fields = [f for m in models for name, f in m.model_fields.items() if part == (f.alias or name)]
        if tagged:
            models = tagged
        elif fields:
            models = [m for field in fields for m in _models_in(field.annotation)]
    return [f.alias or name for m in models for name, f in m.model_fields.items() if not f.exclude]


def _constants(model: type[BaseModel]) -> list[Any]:
    """Values of the fields that can have one only: they tell members of a union apart."""
    return [
        get_args(field.annotation)[0] for field in model.model_fields.values() if len(get_args(field.annotation)) == 1
    ]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
