"""`evaline analyse`: what a data file tells of a battery, by the functions a run is evaluated with."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:  # the command line starts without numpy and pyarrow
    from controller.datafile import DataFile, Lines
    from sequences.analysis import Battery, Differential, Estimate, Evaluation, Limiting, Segments

FILE_WIDTH = 180
KINDS = ("cell", "module", "pack")


def analyse(
    file: Annotated[Path, typer.Argument(help="CSV (also .gz) or Parquet; Battery Data Format, or columns mapped.")],
    rated_capacity: Annotated[str | None, typer.Option(help="Like '60 Ah'.")] = None,
    rated_energy: Annotated[str | None, typer.Option(help="Like '20.7 kWh'.")] = None,
    chemistry: Annotated[str | None, typer.Option(help="NMC, NMC811, LFP, ...")] = None,
    cells: Annotated[int | None, typer.Option(min=1, max=1000, help="Cells in series.")] = None,
    kind: Annotated[str, typer.Option(help="cell, module or pack: how many discharges have to agree.")] = "cell",
    column: Annotated[
        list[str] | None,
        typer.Option("--map", help="FIELD=COLUMN [in UNIT], like 'current=-I in mA'. May be repeated."),
    ] = None,
    voltage_min: Annotated[str | None, typer.Option(help="Where full discharges end, at the terminals.")] = None,
    voltage_max: Annotated[str | None, typer.Option(help="Where full charges end, at the terminals.")] = None,
    min_rest: Annotated[str, typer.Option(help="Shortest rest before a resistance.")] = "5 min",
    rest_current: Annotated[str | None, typer.Option(help="Below it the battery rests; found from the data.")] = None,
    voltage_accuracy: Annotated[str, typer.Option(help="Limit of the voltmeter's gain error.")] = "0 %",
    current_accuracy: Annotated[str, typer.Option(help="Limit of the ammeter's gain error.")] = "0 %",
    lang: Annotated[str | None, typer.Option(help="en or ko. [env: EVALINE_LANG]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")] = False,
) -> None:
    """Analyse a data file. Exit: 0 analysed, 5 too defective for results, 3 wrong call."""
    from controller.cli.options import UsageError, settings
    from controller.datafile import read_data_file
    from controller.datafile.columns import Mapping, MappingError
    from sequences.analysis import (
        CELLS_AND_MODULES,
        CHEMISTRIES,
        PACKS,
        Battery,
        Instrument,
        Window,
        evaluate,
        find_defects,
        find_segments,
    )

    known = settings(lang=lang)
    if chemistry is not None and chemistry.upper() not in CHEMISTRIES:
        raise UsageError(f"--chemistry {chemistry!r}: there are {', '.join(sorted(CHEMISTRIES))} [E-QUANTITY]")
    if kind not in KINDS:
        raise UsageError(f"--kind {kind!r}: there are {', '.join(KINDS)} [E-QUANTITY]")
    low, high = _quantity("voltage-min", voltage_min, "voltage"), _quantity("voltage-max", voltage_max, "voltage")
    if (low is None) != (high is None) or (low is not None and high is not None and low >= high):
        raise UsageError("give --voltage-min and --voltage-max together, the lower one first [E-QUANTITY]")
    battery = Battery(
        rated_capacity=_quantity("rated-capacity", rated_capacity, "charge"),
        rated_energy=_quantity("rated-energy", rated_energy, "energy"),
        chemistry=chemistry.upper() if chemistry else None,
        window=None if low is None or high is None else Window(low, high, stated=True),
        convergence=PACKS if kind == "pack" else CELLS_AND_MODULES,
        min_rest=_quantity("min-rest", min_rest, "time") or 0.0,
    )
    # a data sheet's limit is taken as rectangular
    accuracies = (("voltage-accuracy", voltage_accuracy), ("current-accuracy", current_accuracy))
    gains = [(_quantity(name, text, "fraction") or 0.0) / math.sqrt(3) for name, text in accuracies]
    threshold = _quantity("rest-current", rest_current, "current")
    try:
        data = read_data_file(file, [Mapping.parse(text) for text in column or []], Instrument(*gains))
    except MappingError as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror or error} [E-FILE]") from None

    segments = evaluation = None
    if data.series is not None:
        found = data.series.cells
        battery = _with_cells(battery, cells or (found.shape[1] if found is not None else 1))
        segments = find_segments(data.series, threshold)
        for defect in find_defects(segments, battery.cells):
            data.flag(defect.code, defect.count, _line(data.lines, defect.first), **defect.figures)
        if not any(defect.withholds for defect in data.defects):
            evaluation = evaluate(segments, battery)
    if as_json:
        print(json.dumps(_document(file, data, segments, evaluation, known.lang), ensure_ascii=False, allow_nan=False))
    else:
        _show(file, data, segments, evaluation, known.lang)
    if evaluation is None:
        raise typer.Exit(5)


def _quantity(option: str, text: str | None, dimension: str) -> float | None:
    from controller.cli.options import UsageError
    from sequences.quantity import parse_quantity

    if text is None:
        return None
    try:
        quantity = parse_quantity(text)
    except ValueError as error:
        raise UsageError(f"--{option}: {error} [E-QUANTITY]") from None
    if quantity.dimension != dimension or quantity.value < 0:
        raise UsageError(f"--{option}: {text!r} is no {dimension} of zero and above [E-QUANTITY]")
    if quantity.value == 0 and option.startswith("rated"):
        raise UsageError(f"--{option}: must be above zero [E-QUANTITY]")
    return quantity.value


def _with_cells(battery: Battery, cells: int) -> Battery:
    from dataclasses import replace

    return replace(battery, cells=cells)


def _line(lines: Lines, row: int) -> int:
    return int(lines[row]) if row >= 0 else -1


# --------------------------------------------------------------------------------------------------------- JSON


def _document(
    file: Path, data: DataFile, segments: Segments | None, evaluation: Evaluation | None, lang: str
) -> dict[str, Any]:
    from controller.cli.analyse_words import sentence

    lines = data.lines
    found: dict[str, Any] = {
        "schema": "evaline/analysis/1",
        "file": str(file),
        "kind": data.kind,
        "rows": data.rows,
        "samples": len(lines),
        "columns": {column.field: {"name": column.name, "unit": column.unit} for column in data.columns},
        "defects": [
            {
                "code": defect.code,
                "count": defect.count,
                "line": defect.first if defect.first >= 0 else None,
                "withholds": defect.withholds,
                "text": sentence(defect, lang),
                "figures": {key: _finite(value) for key, value in defect.figures.items()},
            }
            for defect in data.defects
        ],
    }
    if segments is None or evaluation is None:
        return found
    series = segments.series
    found["segments"] = [
        {
            "kind": segment.kind,
            "lines": [_line(lines, segment.first), _line(lines, segment.last)],
            "seconds": float(series.time[segment.last] - series.time[segment.first]),
            "current_a": segment.current,
            "end_v": float(series.voltage[segment.last]),
        }
        for segment in segments
    ]
    found["sweeps"] = [
        {
            "kind": "charge" if result.sweep.direction > 0 else "discharge",
            "full": result.full,
            "rate_per_h": _finite(result.rate),
            "charge": _estimate(result.charge, lines),
            "energy": _estimate(result.energy, lines),
            "incremental_capacity_peaks": _peaks(result.incremental, lines),
            "differential_voltage_peaks": _peaks(result.differential, lines),
        }
        for result in evaluation.sweeps
    ]
    found["results"] = {name: _estimate(estimate, lines) for name, estimate in evaluation.results.items()}
    found["pulses"] = [
        {
            "line": _line(lines, result.pulse.first),
            "current_a": result.pulse.current,
            "rest_s": result.pulse.rest,
            "soc": result.soc,
            "ohms": [_estimate(ohm, lines) for ohm in result.ohms.values()],
            "refused": [{"at_s": at, "why": why} for at, why in result.refused.items()],
        }
        for result in evaluation.pulses
    ]
    found["rests"] = [
        {
            "voltage": _estimate(rest.relaxation.voltage, lines),
            "drift": _estimate(rest.relaxation.drift, lines),
            "open_circuit": _estimate(rest.relaxation.open_circuit, lines),
            "relaxed": _estimate(rest.relaxation.relaxed, lines),
            "cell_spread": rest.spread and _estimate(rest.spread, lines),
            "self_discharge": rest.self_discharge
            and {
                "voltage": _estimate(rest.self_discharge.voltage, lines),
                "charge": rest.self_discharge.charge and _estimate(rest.self_discharge.charge, lines),
            },
        }
        for rest in evaluation.rests
    ]
    cells = evaluation.cells
    found["cells"] = cells and {
        "capacity_ratio": [_finite(float(value)) for value in cells.capacity_ratio],
        "offset_ah": [_finite(float(value)) for value in cells.offset_ah],
        "resistance_ohm": [_finite(float(value)) for value in cells.resistance],
        "resistance_at_s": cells.resistance_at_s,
        "highest_resistance": cells.highest_resistance,
        "weakest": _estimate(cells.weakest, lines),
        "limits_discharge": _limiting(cells.limits_discharge, lines),
        "limits_charge": cells.limits_charge and _limiting(cells.limits_charge, lines),
    }
    found["metals"] = {symbol: _estimate(estimate, lines) for symbol, estimate in evaluation.metals.items()}
    found["withheld"] = evaluation.withheld
    return found


def _finite(value: float | str) -> float | str | None:
    return value if isinstance(value, str) or math.isfinite(value) else None


def _estimate(estimate: Estimate, lines: Lines) -> dict[str, Any]:
    return {
        "value": _finite(estimate.value),
        "uncertainty": _finite(estimate.uncertainty),
        "unit": estimate.unit,
        "lines": [[_line(lines, first), _line(lines, last)] for first, last in estimate.rows],
        "detail": {key: _finite(value) for key, value in estimate.detail.items()},
    }


def _peaks(curve: Differential | None, lines: Lines) -> list[dict[str, Any]]:
    return [] if curve is None else [_estimate(peak, lines) for peak in curve.peaks]


def _limiting(limiting: Limiting, lines: Lines) -> dict[str, Any]:
    parts = {name: _estimate(part, lines) for name, part in limiting.parts.items()}
    return {"cell": limiting.cell, "cause": limiting.cause, "voltage_v": limiting.voltage, "parts": parts}


# ------------------------------------------------------------------------------------------------------- screen


def _show(file: Path, data: DataFile, segments: Segments | None, evaluation: Evaluation | None, lang: str) -> None:
    from rich.console import Console

    from controller.cli.analyse_tables import Tables

    # a file or a pipe has no width, and a table that wraps cannot be searched
    console = Console() if sys.stdout.isatty() or "COLUMNS" in os.environ else Console(width=FILE_WIDTH)
    tables = Tables(console, data, lang)
    tables.heading(file)
    tables.defects()
    if segments is None or evaluation is None:
        console.print(f"\n{tables.words['withheld']}", markup=False, highlight=False)
        return
    tables.segments(segments)
    tables.sweeps(evaluation)
    tables.results(evaluation)
    tables.resistances(evaluation)
    tables.rests(evaluation)
    tables.peaks(evaluation)
    tables.cells(evaluation)
    tables.metals(evaluation)
    tables.withheld(evaluation)
