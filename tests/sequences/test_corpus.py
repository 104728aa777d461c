"""Hostile and broken recipes: each gets its named error at its place, in both languages, for little work and memory.

The files in `corpus/` say on their first line what is expected of them. They go the way of `evaline check`: file,
document, recipe, findings for a battery and a station.
"""

from __future__ import annotations

import re
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from pydantic import ValidationError

from config import DocumentError, read_document
from config.documents import validation_errors
from controller.recipes import library_data
from sequences import FaultError, Recipe
from sequences.check import MAX_FINDINGS, check
from tests.sequences.checking import DUT, HANGUL, STATION

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.yaml"))
EXPECTED = re.compile(r"# expects: (?:nothing|([A-Z][A-Z0-9-]+) (\d+):(\d+))")
Fault = tuple[str, int, int]


def faults(file: Path) -> list[DocumentError]:
    """What is wrong with a file, as `evaline check` finds it."""
    try:
        document = read_document(file)
    except DocumentError as error:
        return [error]
    try:
        recipe = Recipe.from_data(document.data, library=library_data, dut=DUT)
    except (ValidationError, FaultError) as error:
        return validation_errors(document, error, "E-RECIPE", Recipe)
    return [document.error(f.code, f.path, f.text) for f in check(recipe, DUT, STATION)]


def expected(file: Path) -> Fault | None:
    said = EXPECTED.match(file.read_text(encoding="utf-8"))
    assert said, f"{file.name} does not say what is expected of it"
    return (said[1], int(said[2]), int(said[3])) if said[1] else None


def places(found: list[DocumentError]) -> list[Fault]:
    return [(fault.code, fault.line, fault.column) for fault in found]


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: str(file.stem))
def test_every_broken_recipe_gets_its_error_at_its_place_in_both_languages(file: Path) -> None:
    found = faults(file)
    fault = expected(file)
    if fault is None:
        assert found == []
        return
    assert fault in places(found)
    for error in found:
        english, korean = error.in_language("en"), error.in_language("ko")
        assert "\n" not in english + korean
        assert not HANGUL.search(english)
        assert HANGUL.search(korean), korean
        assert len(english) < 1000


def test_the_corpus_is_worth_its_name() -> None:
    assert len(CORPUS) >= 60
    codes = {fault[0] for fault in map(expected, CORPUS) if fault}
    assert len(codes) >= 50


# --------------------------------------------------------------------------------------- work and memory are bounded

VALID = next(file for file in CORPUS if file.stem == "valid").read_text(encoding="utf-8")
STEPS, MEASUREMENTS = VALID.index("steps:\n"), VALID.index("measurements:\n")
ENVELOPE = VALID[:STEPS]
REST = "{step: rest, name: %s, duration: 1 s}"


def steps(*lines: str) -> str:
    return "steps:\n" + "".join(f"  - {line}\n" for line in lines)


def groups(lines: list[str]) -> str:
    """As many steps as a list and its lists may hold."""
    rows = [", ".join(lines[k : k + 100]) for k in range(0, len(lines), 100)]
    return steps(*(f"{{step: group, name: g{k}, steps: [{row}]}}" for k, row in enumerate(rows)))


def rests(count: int) -> list[str]:
    return [REST % f"r{k}" for k in range(count)]


def formulas(count: int, value: Callable[[int], str]) -> str:
    return "measurements:\n" + "".join(
        f"  - {{name: m{k}, title: {{en: m, ko: 값}}, from: {{kind: formula, value: {value(k)}}}}}\n"
        for k in range(count)
    )


def nested(depth: int) -> str:
    opened = "".join(f"{{step: repeat, name: r{k}, times: 2, steps: [" for k in range(depth))
    return steps(opened + REST % "inner" + "]}" * depth)


HOSTILE: dict[str, tuple[bytes | str, str]] = {
    "ten megabytes": (b"a: " + b"x" * 10_000_000, "E-FILE-SIZE"),
    "latin 1": (b"author: Se\xf1or\n" + ENVELOPE.encode(), "E-FILE-UTF8"),
    "utf 16": (VALID.encode("utf-16"), "E-FILE-UTF8"),
    "random bytes": (bytes(range(256)) * 100, "E-FILE-UTF8"),
    "a null byte": (VALID.replace("Evaline", "Eva\0line"), "E-YAML-SYNTAX"),
    "an escape sequence": (VALID.replace("Evaline", "Eva\x1b[2Jline"), "E-YAML-SYNTAX"),
    "nothing": ("", "E-YAML-EMPTY"),
    "a comment": ("# nothing here\n", "E-YAML-EMPTY"),
    "brackets": ("[" * 200_000, "E-YAML-DEPTH"),
    "braces": ("{a: " * 50_000, "E-YAML-DEPTH"),
    "lists in lists": ("- " * 100_000 + "x", "E-YAML-DEPTH"),
    "steps in steps": (ENVELOPE + nested(60), "E-YAML-DEPTH"),
    "values": ("[" + "a," * 120_000 + "]", "E-YAML-SIZE"),
    "keys": ("".join(f"k{k}: 1\n" for k in range(20_000)), "E-YAML-SIZE"),
    "one key again and again": ("a: 1\n" * 50_000, "E-YAML-DUPLICATE"),
    "anchors": ("".join(f"- &a{k} x\n" for k in range(20_000)), "E-YAML-ALIAS"),
    "a long word": (VALID.replace("author: Evaline", "author: " + "x" * 200_000), "E-RECIPE"),
    "a long key": (VALID.replace("author:", "x" * 200_000 + ":"), "E-YAML-SYNTAX"),
    "a long expression": (ENVELOPE + steps(f"{{step: check, name: c, that: {'(' * 200_000}}}"), "E-EXPR-SIZE"),
    "a long quoted expression": (
        ENVELOPE + steps(f"{{step: compute, name: c, value: '{'(' * 200_000}', into: x}}"),
        "E-EXPR-SIZE",
    ),
    "unknown keys": (VALID + "".join(f"k{k}: 1\n" for k in range(3_500)), "E-RECIPE"),
    "no step is one": (ENVELOPE + steps(*["{step: rset, name: x}"] * 190), "E-RECIPE"),
    "every step has every fault": (
        ENVELOPE + groups([f"{{step: cc, name: '{k}!', current: 1 V, cell_voltage: 5, what: 1}}" for k in range(700)]),
        "E-RECIPE",
    ),
    "one name for all": (ENVELOPE + groups([REST % "same"] * 900), "E-NAME-TWICE"),
    "unknown names": (
        ENVELOPE + groups([f"{{step: compute, name: c{k}, value: no{k} + cell_max, into: v{k}}}" for k in range(700)]),
        "E-EXPR-NAME",
    ),
    "names of nothing": (
        ENVELOPE + groups([f"{{step: publish, name: p{k}, event: e, values: [n{k}]}}" for k in range(600)]),
        "E-NAME-UNKNOWN",
    ),
    "formulas upside down": (
        ENVELOPE + steps(*rests(1)) + formulas(200, lambda k: f"m{k + 1} + m{(k + 2) % 200}"),
        "E-NAME-LATER",
    ),
    "jumps": (
        ENVELOPE
        + groups([f"{{step: rest, name: r{k}, duration: 1 s, on_fail: goto g0 max 999}}" for k in range(800)]),
        "E-LOOP-SIZE",
    ),
    "loops in loops": (
        ENVELOPE + steps("".join(f"{{step: repeat, name: r{k}, times: 1000, steps: [" for k in range(9)) + REST % "x"
                         + "]}" * 9),
        "E-LOOP-SIZE",
    ),
    "standards": (
        ENVELOPE
        + steps(*(
            f"{{step: hppc, name: h{k}, soc: [{', '.join(f'{99 - n} %' for n in range(20))}], current: 1C, rest: 1 h, "
            "max_time: 4 h, pulses: [{direction: charge, current: 9C, duration: 1 s, rest: 1 s}], "
            "cell_voltage_min: 1 V, cell_voltage_max: 9 V}"
            for k in range(100)
        )),
        "E-CURRENT-SAFETY",
    ),
    "a bomb of parameters": (
        VALID.replace("rate: {default: C/2,", f"x: {{default: '{'1' * 100_000} V'}}\n  rate: {{default: C/2,")
        .replace("[\"IEC", f"['{'$x' * 50_000}', \"IEC"),
        "E-RECIPE",
    ),
    "calls": (
        ENVELOPE + steps(*(f"{{step: call, name: c{k}, recipe: quick_capacity_dcir}}" for k in range(190))),
        "E-CALL",
    ),
}  # fmt: skip


class Work:
    """How many functions were called: what a text costs, on any machine."""

    def __enter__(self) -> Work:
        self.calls = 0
        sys.setprofile(self._count)
        return self

    def _count(self, frame: FrameType, event: str, argument: Any) -> None:
        if event in ("call", "c_call"):
            self.calls += 1

    def __exit__(self, *error: object) -> None:
        sys.setprofile(None)


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    """What is made once for all recipes is none of one's cost."""
    faults(next(file for file in CORPUS if file.stem == "valid"))


@pytest.mark.parametrize("name", HOSTILE)
def test_no_text_costs_much_work_or_memory(name: str, tmp_path: Path) -> None:
    content, code = HOSTILE[name]
    file = tmp_path / "hostile.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    tracemalloc.start()
    try:
        found = faults(file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found[0].code == code or code in {fault.code for fault in found}
    assert len(found) <= MAX_FINDINGS
    assert all(len(fault.in_language(lang)) < 2_000 for fault in found for lang in ("en", "ko"))
    assert peak < 25e6
    with Work() as work:
        faults(file)
    assert work.calls < MOST_CALLS


MOST_CALLS = 500_000  # some 100 ms; the parser and the validator are C and Rust


def test_the_largest_recipe_that_is_accepted_costs_little(tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    file.write_text(ENVELOPE + groups(rests(1_080)), encoding="utf-8")
    with Work() as work:
        assert faults(file) == []
    assert work.calls < MOST_CALLS
