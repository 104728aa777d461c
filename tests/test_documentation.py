"""What the pages promise is what is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("controller", "drivers", "sequences", "config", "simulators")
CODE = re.compile(r"\b[EW]-[A-Z0-9]+(?:-[A-Z0-9]+)*\b")
# words of SCPI and of exponents that look like codes
NOT_CODES = re.compile(r"E-\d+")


def sources() -> list[Path]:
    return [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]


def test_every_error_code_is_on_its_page_and_every_code_on_the_page_exists() -> None:
    used = {code for path in sources() for code in CODE.findall(path.read_text(encoding="utf-8"))}
    used = {code for code in used if not NOT_CODES.fullmatch(code)}
    documented = set(CODE.findall((ROOT / "docs" / "errors.md").read_text(encoding="utf-8")))
    assert used == documented


def test_every_file_the_pages_link_to_exists() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
        named = re.findall(r"`((?:controller|drivers|sequences|config|simulators|tests)/[\w/]+\.(?:py|yaml))`", text)
        for path in named:
            assert (ROOT / path).exists(), f"{page.name} names {path}"


def test_every_runtime_dependency_has_its_reason() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    names = re.findall(r'^    "([A-Za-z0-9_-]+)[<>=;]', project.split("[project.optional-dependencies]")[0], re.M)
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").lower()
    assert names
    for name in names:
        assert name.lower() in page, f"{name} has no reason in docs/dependencies.md"


def test_every_pin_is_a_name_and_a_version() -> None:
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line), line
