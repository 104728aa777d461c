"""What comes from the MES, before anything believes it: bounded, strict JSON, and checked against its declaration."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

MAX_PAYLOAD = 256 * 1024  # bytes
MAX_DEPTH = 16
MAX_TEXT = 300  # characters of a complaint

M = TypeVar("M", bound=BaseModel)


class PayloadError(Exception):
    """Why a payload is not taken, in one line; `code` is stable. `data` is what could be read of it, `hint` how to put
    it right."""

    def __init__(self, code: str, message: str, data: Any = None, hint: str = "") -> None:
        self.code, self.message, self.data, self.hint = code, message, data, hint
        super().__init__(f"{message} [{code}]")


def read_json(payload: bytes) -> Any:
    """The value, as every reader would understand it; raises PayloadError.

    Python's reader alone takes NaN, a key that stands twice (the last wins), and numbers that become infinite.
    """
    if len(payload) > MAX_PAYLOAD:
        raise PayloadError("E-MSG-SIZE", f"more than {MAX_PAYLOAD // 1024} kB")
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PayloadError("E-MSG-UTF8", f"not UTF-8 at byte {error.start}") from None
    try:
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite, parse_int=_bounded
        )
    except RecursionError:
        raise PayloadError("E-MSG-DEPTH", f"nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise PayloadError("E-MSG-JSON", f"not JSON: {error}"[:MAX_TEXT]) from None
    if _deeper_than(value, MAX_DEPTH):
        raise PayloadError("E-MSG-DEPTH", f"nested deeper than {MAX_DEPTH} levels")
    return value


def read_message(payload: bytes, model: type[M]) -> M:
    """A message of this kind; raises PayloadError, with what could be read of it."""
    value = read_json(payload)
    kind = value.get("type") if isinstance(value, dict) else None
    known = model.model_fields["type"].annotation.__args__[0]  # type: ignore[union-attr]
    if isinstance(kind, str) and kind != known and kind.rpartition(".v")[0] == known.rpartition(".v")[0]:
        hint = f"send {known}; `schemas` in a station's `info` lists what is spoken"
        raise PayloadError("E-MSG-VERSION", f"{kind[:80]} is not known here; this is {known}", value, hint)
    try:
        return model.model_validate(value, strict=True)
    except ValidationError as error:
        hint = f"contract/schemas/{known.split('.')[1]}.json declares it, and docs/mes.md explains it"
        raise PayloadError("E-MSG-SCHEMA", _complaint(error), value, hint) from None


def _complaint(error: ValidationError) -> str:
    first, *others = error.errors(include_url=False, include_input=False, include_context=False)
    where = ".".join(map(str, first["loc"])) or "message"
    more = f" (and {len(others)} more)" if others else ""
    return f"{where[:100]}: {first['msg'][:150]}{more}"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise PayloadError("E-MSG-DUPLICATE-KEY", f"the key {twice[:80]!r} stands twice")
    return value


def _no_constant(name: str) -> float:
    raise PayloadError("E-MSG-NUMBER", f"{name} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise PayloadError("E-MSG-NUMBER", f"{text[:40]} is too large")
    return value


def _bounded(text: str) -> int:
    # beyond 2^53 readers disagree on what it is; its length is looked at before it is made a number of
    if len(text) > 17 or abs(int(text)) > 2**53:
        raise PayloadError("E-MSG-NUMBER", f"{text[:40]} is too large")
    return int(text)


def _deeper_than(value: Any, levels: int) -> bool:
    layer = [value]
    for _ in range(levels):
        layer = [
            inner
            for outer in layer
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not layer:
            return False
    return True
