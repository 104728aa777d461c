"""May a new schema take the place of a released one within a major version? Every change that may break somebody.

What we send: readers rely on what the released schema promises, so nothing may be removed, become optional, or take a
value that was not possible before. What we take: senders rely on what it allows, so nothing may become required, be
refused, or lose a value. Keys may be added to both; new enum members only to what we take.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]
# keywords that narrow what is allowed as they grow, and as they shrink
LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems")
UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
EXACT = ("pattern", "format", "const")


def breaking_changes(old: Schema, new: Schema, *, taken: bool) -> list[str]:
    """Each as `path: what`; `taken`: the message comes from the MES to us."""
    return list(_changes(old, new, old, new, "$", taken, frozenset()))


def _changes(
    old: Schema, new: Schema, old_root: Schema, new_root: Schema, at: str, taken: bool, seen: frozenset[str]
) -> Iterator[str]:
    if "$ref" in old:
        if old["$ref"] in seen:
            return
        seen |= {old["$ref"]}
    old, new = _resolved(old, old_root), _resolved(new, new_root)
    wider, narrower = (new, old) if not taken else (old, new)
    # what holds for values: new values of ours must be allowed by the old schema; old values of theirs by the new one
    yield from _alternatives(old, new, old_root, new_root, at, taken, seen)
    if _types(wider) - _types(narrower) and _types(narrower):
        yield f"{at}: type was {sorted(_types(old))}, is {sorted(_types(new)) or 'any'}"
    if "enum" in narrower or "const" in narrower:
        allowed = _members(narrower)
        if not _members(wider) or _members(wider) - allowed:
            yield f"{at}: values {sorted(map(str, _members(wider) - allowed)) or 'any'} are new to a reader"
    for word in LOWER:
        if word in narrower and wider.get(word, float("-inf")) < narrower[word]:
            yield f"{at}: {word} was {old.get(word)}, is {new.get(word)}"
    for word in UPPER:
        if word in narrower and wider.get(word, float("inf")) > narrower[word]:
            yield f"{at}: {word} was {old.get(word)}, is {new.get(word)}"
    for word in EXACT:
        if word in narrower and word != "const" and wider.get(word) != narrower[word]:
            yield f"{at}: {word} was {old.get(word)}, is {new.get(word)}"
    yield from _objects(old, new, old_root, new_root, at, taken, seen)
    if isinstance(old.get("items"), dict):
        inner = new.get("items", {})
        yield from _changes(old["items"], inner, old_root, new_root, f"{at}[]", taken, seen)


def _objects(
    old: Schema, new: Schema, old_root: Schema, new_root: Schema, at: str, taken: bool, seen: frozenset[str]
) -> Iterator[str]:
    had, has = old.get("properties", {}), new.get("properties", {})
    for key in had.keys() - has.keys():
        yield f"{at}.{key}: was removed"
    must, had_to = set(new.get("required", ())), set(old.get("required", ()))
    if taken:
        for key in must - had_to:
            yield f"{at}.{key}: is required now"
        if old.get("additionalProperties", True) is not False and new.get("additionalProperties", True) is False:
            yield f"{at}: further keys are refused now"
    else:
        for key in had_to - must:
            yield f"{at}.{key}: may be absent now"
    for key in had.keys() & has.keys():
        yield from _changes(had[key], has[key], old_root, new_root, f"{at}.{key}", taken, seen)
    for word in ("additionalProperties", "propertyNames"):
        if isinstance(old.get(word), dict):
            inner = new.get(word)
            inner = inner if isinstance(inner, dict) else {}
            yield from _changes(old[word], inner, old_root, new_root, f"{at}.{{{word}}}", taken, seen)


def _alternatives(
    old: Schema, new: Schema, old_root: Schema, new_root: Schema, at: str, taken: bool, seen: frozenset[str]
) -> Iterator[str]:
    """Of a union, each alternative of the narrower side must have its like on the wider one."""
    had, has = _union(old), _union(new)
    if len(had) <= 1 and len(has) <= 1:
        return
    must, may = (had, has) if taken else (has, had)
    for number, one in enumerate(must):
        pairs = [(one, other) if taken else (other, one) for other in may]
        if not any(not list(_changes(a, b, old_root, new_root, at, taken, seen)) for a, b in pairs):
            yield f"{at}: alternative {number + 1} ({_name(one)}) {'is gone' if taken else 'is new to a reader'}"


def _union(schema: Schema) -> list[Schema]:
    return list(schema.get("anyOf") or schema.get("oneOf") or [schema])


def _name(schema: Schema) -> str:
    return str(schema.get("$ref") or schema.get("type") or schema)[-60:]


def _resolved(schema: Schema, root: Schema) -> Schema:
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema


def _types(schema: Schema) -> set[str]:
    kind = schema.get("type")
    found = {kind} if isinstance(kind, str) else set(kind or ())
    return found | ({"integer"} if "number" in found else set())


def _members(schema: Schema) -> set[Any]:
    return set(schema.get("enum", ())) | ({schema["const"]} if "const" in schema else set())
