"""What the pages promise is what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from config import shipped_dut_models
from controller.recipes import finding_line, load_recipe
from controller.reference import SCHEMAS, reference
from controller.run import dut_of
from sequences import Verdict, dry_run
from sequences.check import check

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


@pytest.mark.parametrize("kind", SCHEMAS)
def test_the_reference_pages_are_those_of_the_declarations(kind: str) -> None:
    page = (ROOT / "docs" / f"{kind}-reference.md").read_text(encoding="utf-8")
    assert page == reference(kind), "run `make docs`, and commit what it writes"


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


GUIDE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")


def test_the_recipe_of_the_guide_is_a_recipe() -> None:
    """Its blocks, one after another: nothing is wrong with it, and it runs to its end on the model of a battery."""
    chapter = GUIDE.split("## A recipe from nothing")[1].split("Now check it")[0]
    recipe, document = load_recipe("".join(blocks(chapter, "yaml")), "my_capacity.yaml")
    model = shipped_dut_models()["nmc_96s_60ah"]
    assert [finding_line(document, finding) for finding in check(recipe, dut_of(model))] == []
    assert not list(Draft7Validator(SCHEMAS["recipe"]()).iter_errors(document.data))
    forecast = dry_run(recipe, dut_of(model), soc=0.5, capacity=48.0)
    assert forecast.finish.verdict is Verdict.PASS
    for step in forecast.steps:
        assert f"\n{step.label} " in GUIDE, f"the plan of the guide does not show {step.label}"


def test_the_python_of_the_guide_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    chapter = GUIDE.split("## From Python")[1]
    exec(blocks(chapter, "python")[0], {})
    assert capsys.readouterr().out == blocks(chapter, "yaml")[0]


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
