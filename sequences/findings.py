"""Findings: what is wrong with a recipe, where, and what to do about it, in English and Korean."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from sequences.flow import Path
from sequences.text import Text

Pair = tuple[str, str]  # English, Korean
MANY = 200


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of a recipe at a path of its document. A recipe with findings does not run."""

    code: str
    path: Path
    text: Text
    hint: Text


def finding(code: str, path: Path, text: Pair, hint: Pair) -> Finding:
    return Finding(code, path, Text(en=text[0], ko=text[1]), Text(en=hint[0], ko=hint[1]))


def nearest(name: str, known: Iterable[str]) -> Pair:
    """What may have been meant: the nearest of the known names, or the first of them."""
    names = sorted(set(known) - {name})
    if len(names) > MANY:  # a look at each would take its time
        names = [known for known in names if known[0] == name[0]][:MANY]
    if close := difflib.get_close_matches(name, names, 1):
        return f"did you mean {close[0]!r}?", f"{close[0]!r} 을(를) 뜻했습니까?"
    few = ", ".join(names[:15]) + (", ..." if len(names) > 15 else "") or "-"
    return f"known are {few}", f"사용할 수 있는 이름: {few}"
