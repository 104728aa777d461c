"""Commands about recipes and the other files that people write. None needs a daemon or an instrument."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from config import DocumentError, load_line
from controller.cli.options import (
    DEFAULT_LINE,
    ConfigFile,
    Json,
    Lang,
    RecipeName,
    SetParameters,
    UsageError,
    battery_model,
    no_station,
    parameters_of,
    settings,
)

if TYPE_CHECKING:  # the command line starts without numpy
    from sequences import Dut, GradeRules, Recipe, StationLimits

commands = typer.Typer()


class File(StrEnum):
    """What people write."""

    RECIPE = "recipe"
    LINE = "line"
    GRADES = "grades"
    DUT = "dut"


class Target(StrEnum):
    """Where recipes are exported to."""

    UNICYCLER = "unicycler"
    PYBAMM = "pybamm"


@commands.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="Recipe files, or recipes of the library by their ids.")],
    dut: Annotated[str | None, typer.Option(help="Check for this battery model too.")] = None,
    given: SetParameters = None,
    lang: Lang = None,
    as_json: Json = False,
) -> None:
    """Find what is wrong with recipes before anything moves. Exit 3 when anything is."""
    from controller.recipes import LIBRARY, library_ids
    from controller.run import dut_of

    language = settings(lang=lang).lang
    battery = dut_of(battery_model(dut)) if dut else None
    parameters = parameters_of(given)
    library = {Path(name): LIBRARY / f"{name}.yaml" for name in library_ids()}
    findings = {
        str(file): _read(file if file.exists() else library.get(file, file), parameters, battery, None, language)[1]
        for file in files
    }
    if as_json:
        print(json.dumps(findings, ensure_ascii=False))
    else:
        for source, lines in findings.items():
            print("\n".join(lines) if lines else f"{source}: ok")
    if any(findings.values()):
        raise typer.Exit(3)


def _read(
    file: Path, parameters: Mapping[str, Any], dut: Dut | None, limits: StationLimits | None, lang: str
) -> tuple[Recipe | None, list[str]]:
    """A recipe, if the file holds one, and everything that is wrong with it, a line each."""
    from controller.cli.run import recipe_text
    from controller.recipes import FaultyRecipeError, finding_line, load_recipe, tables_beside
    from sequences.check import check as check_recipe

    try:
        recipe, document = load_recipe(recipe_text(file), str(file), parameters, tables_beside(file.parent), dut)
    except FaultyRecipeError as error:
        return None, [fault.in_language(lang) for fault in error.faults]
    except DocumentError as error:
        return None, [error.in_language(lang)]
    return recipe, [finding_line(document, finding, lang) for finding in check_recipe(recipe, dut, limits)]


def _faultless(
    name: str, parameters: Mapping[str, Any], dut: Dut | None, limits: StationLimits | None, lang: str
) -> Recipe:
    """A recipe that nothing is wrong with; everything that is ends the command with 3."""
    from controller.cli.run import recipe_path
    from controller.client import ApiError

    recipe, findings = _read(recipe_path(name), parameters, dut, limits, lang)
    if recipe is None or findings:
        raise ApiError(3, "E-RECIPE", findings)
    return recipe


@commands.command()
def plan(
    recipe: RecipeName,
    dut: Annotated[str, typer.Option(help="The battery model.")],
    station: Annotated[str | None, typer.Option("--station", help="Hold it to what this station stands.")] = None,
    config: ConfigFile = DEFAULT_LINE,
    soc: Annotated[str, typer.Option(help="State of charge at the start.")] = "50 %",
    soh: Annotated[str, typer.Option(help="Capacity, as a share of the rated one.")] = "100 %",
    given: SetParameters = None,
    lang: Lang = None,
    as_json: Json = False,
) -> None:
    """Show every step with its time, charge, energy and limits, from a run on the model of the battery."""
    from controller.cli.plan import plan_lines
    from controller.plan import plan_body
    from controller.recipes import load_grade_rules
    from controller.run import dut_of, forecast_of

    language = settings(lang=lang).lang
    model = battery_model(dut)
    limits = _limits(config, station) if station else None
    made = _faultless(recipe, parameters_of(given), dut_of(model), limits, language)
    charge = _quantity("--soc", soc, "fraction", "50 %", 0.0, 1.0)
    capacity = _quantity("--soh", soh, "fraction", "80 %", 0.1, 1.2) * model.rated_capacity_ah
    rules = _grade_rules(config) if station else load_grade_rules("default")
    body = plan_body(made, forecast_of(made, model, limits, charge, capacity, rules=rules))
    print(json.dumps(body, ensure_ascii=False) if as_json else "\n".join(plan_lines(body, language)))


def _limits(config: Path, station: str) -> StationLimits:
    from controller.start import rated_limits

    line = load_line(config)
    if station not in line.stations:
        raise no_station(station, line.stations)
    return rated_limits(line.stations[station])


def _grade_rules(config: Path) -> GradeRules:
    from controller.recipes import load_grade_rules

    line = load_line(config)
    return load_grade_rules(line.grade_rules, line.grade_parameters)


def _quantity(option: str, text: str, dimension: str, example: str, least: float, most: float) -> float:
    """What an option gives, in its inner unit; raises UsageError with an example for what is not in this range."""
    from sequences import FaultError
    from sequences.quantity import parse_quantity

    try:
        quantity = parse_quantity(text)
    except FaultError as fault:
        raise UsageError(f"{option}: {fault} [E-SETTINGS]") from None
    if quantity.dimension != dimension or not least <= quantity.value <= most:
        raise UsageError(f"{option} {text}: write it like {example!r} [E-SETTINGS]")
    return quantity.value


@commands.command()
def export(
    recipe: RecipeName,
    to: Annotated[Target, typer.Option(help="A protocol of aurora-unicycler, or strings for PyBaMM.")],
    dut: Annotated[str | None, typer.Option(help="For this battery model; a single cell when not given.")] = None,
    capacity: Annotated[str | None, typer.Option(help="What C-rates are multiples of, like '5 Ah'.")] = None,
    given: SetParameters = None,
    lang: Lang = None,
) -> None:
    """Print a recipe for another tool, as JSON. Exit 3 names what that tool cannot say."""
    from controller.cli.run import recipe_path
    from controller.run import dut_of
    from sequences import FaultError
    from sequences.export import to_pybamm, to_unicycler

    model = battery_model(dut) if dut else None
    language, battery = settings(lang=lang).lang, dut_of(model) if model else None
    made = _faultless(recipe, parameters_of(given), battery, None, language)
    rated = model.rated_capacity_ah if model else None
    if capacity is not None:
        rated = _quantity("--capacity", capacity, "charge", "5 Ah", 1e-6, 1e6)
    try:
        if to is Target.PYBAMM:
            exported: Any = to_pybamm(made)
        else:
            cells, name = (model.series_cells, model.id) if model else (1, "$NAME")
            exported = to_unicycler(made, capacity=rated, series_cells=cells, sample=name)
    except FaultError as fault:
        words = fault.text.in_language(language)
        raise UsageError(f"{recipe_path(recipe)}: {words} [{fault.code}]") from None
    print(json.dumps(exported, ensure_ascii=False, indent=2))
    left_out = "safety limits other than of voltage and current" if to is Target.UNICYCLER else "safety limits"
    print(f"evaline: not exported: {left_out}, records, measurements", file=sys.stderr)


@commands.command()
def schema(file: Annotated[File, typer.Argument(help="Which file's.")]) -> None:
    """Print the JSON Schema of a file, with which an editor completes, explains and checks it."""
    from controller.reference import SCHEMAS

    print(json.dumps(SCHEMAS[file](), ensure_ascii=False, indent=1))


@commands.command()
def reference(file: Annotated[File, typer.Argument(help="Which file's.")]) -> None:
    """Print the reference of a file, in Markdown: every key, what it takes, and what it means."""
    from controller.reference import reference as page

    print(page(file), end="")
