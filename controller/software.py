"""Which program this is: what a result names so that it can be told what measured and judged it."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

NAME = "evaline"
ROOMS = ("config", "controller", "drivers", "sequences")


@cache
def software_version() -> str:
    """The installed version, as it was at the first call: reading it takes a millisecond."""
    return version(NAME)


@cache
def software_digest() -> str:
    """SHA-256 in hex over the program's files and the library, by name and content; those of the running process as
    they were at the first call."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(path for room in ROOMS for path in (root / room).rglob("*") if path.suffix in (".py", ".yaml")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
