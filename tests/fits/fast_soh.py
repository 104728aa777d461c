"""Fit the fast SOH models and measure how far they can be trusted: `python -m tests.fits.fast_soh DATA_DIR [--write]`.

DATA_DIR holds the PulseBat tables. Prints the tables of docs/fast-soh.md; --write also writes
sequences/fast_soh_coefficients.py. Every figure is of cells the polynomial, its penalties, its interval and its
envelope have not seen: one physical cell is left out, everything is made anew from the others, and the measured rows of
that cell are judged.
"""

from __future__ import annotations

import argparse
import math
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sequences.fast_soh import POWERS, TERMS, Array, Family, basis, chebyshev
from tests.fits.pulsebat import DENSE, MEASURED, Rows, noise, read_batteries, rows_of

Indices = NDArray[np.intp]

# file, family, chemistry
SETS = (
    ("LMO_10Ah", "LMO 10 Ah", "LMO"),
    ("NMC_21Ah", "NMC 21 Ah", "NMC"),
    ("NMC_2.1Ah", "NMC 2.1 Ah", "NMC"),
    ("LFP_35Ah", "LFP 35 Ah", "LFP"),
)
TARGET = Path(__file__).parents[2] / "sequences" / "fast_soh_coefficients.py"

# V, on the rows fitted, once as drawn and once mirrored: so that no weight relies on what a station cannot measure
TRAINING_NOISE = 0.15e-3
# ridge polynomials of different reach are averaged, each with the penalty that suits it best; terms count the less the
# higher their order
FORMS = ((5, 3, 1), (7, 4, 1), (6, 4, 2), (8, 6, 3))
PENALTIES = 10.0 ** np.arange(-4, 1.1)
ORDER_WEIGHT = 1 / 3
ORDERS = np.array([len(term) for term in TERMS for _ in range(POWERS[len(term)] + 1)][1:])
POWER = np.array([power for term in TERMS for power in range(POWERS[len(term)] + 1)][1:])
LEVEL = 0.9
COURSE_DEGREE = 5
ENVELOPE_QUANTILE = 0.975


@dataclass(frozen=True)
class Figures:
    """What was found on left-out cells. Shares 0..1, errors and half width in SOH points; `_error`: standard error by
    cell. `_all`: of all tests, also those the envelope refuses; the others: of the answers.
    """

    cells: int
    tests: int
    soh_low: float
    soh_high: float
    mae_all: float
    mae_all_error: float
    p95_all: float
    within_3_all: float
    coverage_all: float
    refused: float
    mae: float
    p95: float
    largest: float
    within_3: float
    coverage: float
    coverage_error: float
    half_width: float


def fit(rows: Rows, measured: Rows, name: str = "", chemistry: str = "") -> Family:
    """A family from its cells alone: the polynomial from interpolated rows; penalties, interval and envelope from what
    it makes of the measured rows of each cell when it has not seen that cell.
    """
    low, high = rows.x[:, 0].min(), rows.x[:, 0].max()
    centre, scale = rows.x.mean(axis=0), rows.x.std(axis=0)
    centre[0], scale[0] = (low + high) / 2, (high - low) / 2
    scale[scale == 0] = 1.0
    z, tests = (rows.x - centre) / scale, (measured.x - centre) / scale
    cells = [(np.flatnonzero(rows.cell == c), np.flatnonzero(measured.cell == c)) for c in np.unique(rows.cell)]
    soh_range = (float(rows.soh.min()), float(rows.soh.max()))

    constant, weights, left_out = _polynomial(basis(z), rows.soh, basis(tests), measured.soh, cells, soh_range)
    residual = np.abs(np.clip(left_out, *soh_range) - measured.soh)
    width, width_min = _interval(chebyshev(tests[:, 0], 2), residual, len(np.unique(rows.battery)))
    course, covariance, distance_limit = _envelope(z, tests, cells)
    return Family(
        name,
        chemistry,
        centre,
        scale,
        constant,
        weights,
        soh_range,
        course,
        covariance,
        distance_limit,
        width,
        width_min,
    )


Cells = list[tuple[Indices, Indices]]


def _polynomial(
    terms: Array, soh: Array, test_terms: Array, test_soh: Array, cells: Cells, soh_range: tuple[float, float]
) -> tuple[float, Array, Array]:
    """Constant, weights, and for each test the estimate of the model that has not seen its cell.

    Leaving out a cell needs no new fit: the weights change by A^-1 X' (1 - H)^-1 r, where X, r and H are the rows of
    the cell, their residuals and their block of the hat matrix.
    """
    importance = ORDER_WEIGHT ** (ORDERS + POWER / 2)
    mean_terms, mean_soh = terms.mean(axis=0), float(soh.mean())
    weights, left_out = np.zeros(terms.shape[1]), np.zeros(len(test_soh))
    for form in FORMS:
        chosen = np.flatnonzero(np.array(form)[ORDERS] >= POWER)
        x, tests = ((t - mean_terms)[:, chosen] * importance[chosen] for t in (terms, test_terms))
        u, s, vt = np.linalg.svd(x, full_matrices=False)
        target, test_u = u.T @ (soh - mean_soh), tests @ vt.T
        best: tuple[float, Array, Array] | None = None
        for penalty in PENALTIES:
            gain = s / (s**2 + penalty)
            residual, test_guess = soh - mean_soh - u @ (s * gain * target), mean_soh + test_u @ (gain * target)
            for own, its_tests in cells:
                hat = u[own] * (s * gain) @ u[own].T + 1 / len(soh)
                pull = np.linalg.solve(np.eye(len(own)) - hat, residual[own])
                test_guess[its_tests] -= (test_u[its_tests] * gain @ u[own].T + 1 / len(soh)) @ pull
            error = float(np.mean(np.abs(np.clip(test_guess, *soh_range) - test_soh)))
            if best is None or error < best[0]:
                best = error, importance[chosen] * (vt.T @ (gain * target)), test_guess
        assert best is not None
        weights[chosen] += best[1] / len(FORMS)
        left_out += best[2] / len(FORMS)
    return mean_soh - float(mean_terms @ weights), weights, left_out


def _interval(over_voltage: Array, residual: Array, batteries: int) -> tuple[Array, float]:
    """Jackknife: the quantile of left-out residuals over their usual size at this open-circuit voltage."""
    usual = _least_squares(over_voltage, np.minimum(residual, np.quantile(residual, 0.98)))
    least = 0.4 * float(residual.mean())
    level = min(1.0, LEVEL * (batteries + 1) / batteries)
    factor = float(np.quantile(residual / np.maximum(over_voltage @ usual, least), level))
    return factor * usual, factor * least


def _envelope(z: Array, tests: Array, cells: Cells) -> tuple[Array, Array, float]:
    """Course, covariance around it, and the squared distance that few tests of left-out cells exceed."""

    def learn(keep: Array) -> tuple[Array, Array]:
        voltage, others = chebyshev(keep[:, 0], COURSE_DEGREE), keep[:, 1:]
        course = _least_squares(voltage, others)
        return course, np.cov((others - voltage @ course).T)

    distances = []
    for own, its_tests in cells:
        course, covariance = learn(np.delete(z, own, axis=0))
        away = tests[its_tests, 1:] - chebyshev(tests[its_tests, 0], COURSE_DEGREE) @ course
        distances.append(np.sum(away * np.linalg.solve(covariance, away.T).T, axis=1))
    course, covariance = learn(z)
    return course, covariance, float(np.quantile(np.concatenate(distances), ENVELOPE_QUANTILE))


def _least_squares(x: Array, y: Array) -> Array:
    return np.asarray(np.linalg.lstsq(x, y, rcond=None)[0], dtype=np.float64)


@dataclass(frozen=True)
class Answers:
    """One family's answers for n tests: estimate and half width of SOH, and whether it would give them."""

    soh: Array
    half_width: Array
    given: NDArray[np.bool_]


def answers(family: Family, x: Array) -> Answers:
    given = np.array([not family.outside(row) for row in x])
    return Answers(np.clip(family.soh(x), *family.soh_range), family.half_width(x), given)


def left_out_families(dense: Rows, measured: Rows) -> dict[str, Family]:
    """For each physical cell the family fitted without it."""
    return {
        str(cell): fit(dense.where(dense.cell != cell), measured.where(measured.cell != cell))
        for cell in np.unique(dense.cell)
    }


def left_out_answers(families: dict[str, Family], tests: Rows, rivals: Sequence[Family] = ()) -> Answers:
    """Each test answered by the family without its cell, unless a rival of the same chemistry is nearer."""
    found = Answers(np.empty(len(tests.soh)), np.empty(len(tests.soh)), np.empty(len(tests.soh), dtype=bool))
    for cell, family in families.items():
        mine = tests.cell == cell
        part = answers(family, tests.x[mine])
        for rival in rivals:
            part.given[rival.distance(tests.x[mine]) < family.distance(tests.x[mine])] = False
        found.soh[mine], found.half_width[mine], found.given[mine] = part.soh, part.half_width, part.given
    return found


def judge(tests: Rows, found: Answers) -> Figures:
    error = 100 * np.abs(found.soh - tests.soh)
    given = found.given
    covered = np.abs(found.soh - tests.soh) <= found.half_width

    def by_cell(values: Array, cell: NDArray[np.str_]) -> float:
        means = [values[cell == c].mean() for c in np.unique(cell)]
        return float(np.std(means, ddof=1) / math.sqrt(len(means)))

    return Figures(
        cells=len(np.unique(tests.cell)),
        tests=len(tests.soh),
        soh_low=float(tests.soh.min()),
        soh_high=float(tests.soh.max()),
        mae_all=float(error.mean()),
        mae_all_error=by_cell(error, tests.cell),
        p95_all=float(np.quantile(error, 0.95)),
        within_3_all=float(np.mean(error < 3)),
        coverage_all=float(covered.mean()),
        refused=float(1 - given.mean()),
        mae=float(error[given].mean()),
        p95=float(np.quantile(error[given], 0.95)),
        largest=float(error[given].max()),
        within_3=float(np.mean(error[given] < 3)),
        coverage=float(covered[given].mean()),
        coverage_error=by_cell(covered[given].astype(float), tests.cell[given]),
        half_width=float(100 * found.half_width[given].mean()),
    )


@dataclass(frozen=True)
class Result:
    """One set: its rows, the family of all its cells, and those that lack one cell each."""

    dense: Rows
    measured: Rows
    family: Family
    left_out: dict[str, Family]


def examine(data: Path) -> dict[str, Result]:
    """All sets, by family."""
    results: dict[str, Result] = {}
    for file, name, chemistry in SETS:
        batteries = read_batteries(data / f"{file}.csv")
        dense = rows_of(batteries, DENSE, noise(TRAINING_NOISE)) + rows_of(batteries, DENSE, noise(-TRAINING_NOISE))
        measured = rows_of(batteries, MEASURED)
        family = fit(dense, measured, name, chemistry)
        results[name] = Result(dense, measured, family, left_out_families(dense, measured))
    return results


def rivals_of(name: str, results: dict[str, Result]) -> list[Family]:
    families = [result.family for result in results.values()]
    return [f for f in families if f.chemistry == results[name].family.chemistry and f.name != name]


def figures_of(name: str, results: dict[str, Result]) -> dict[str, float]:
    """The fields of Figures, as they are committed."""
    result = results[name]
    figures = judge(result.measured, left_out_answers(result.left_out, result.measured, rivals_of(name, results)))
    return {key: round(value, 4) for key, value in asdict(figures).items()}


def rendered(results: dict[str, Result], figures: dict[str, dict[str, float]]) -> str:
    """The text of sequences/fast_soh_coefficients.py."""

    def show(value: object) -> str:
        if isinstance(value, np.ndarray | tuple | list):
            inner = [show(item) for item in value]
            return f"({', '.join(inner)})" if isinstance(value, tuple) else f"[{', '.join(inner)}]"
        return repr(value) if isinstance(value, str | int) else f"{value:.9g}"

    lines = [
        '"""Written by `python -m tests.fits.fast_soh`, from PulseBat (Tao et al., Nat. Commun. 2024; MIT licence)."""',
        "",
        "# fmt: off",
        "from typing import Any",
        "",
        "# what sequences.fast_soh.Family holds",
        "COEFFICIENTS: tuple[dict[str, Any], ...] = (",
    ]
    for result in results.values():
        entries = [f"{field.name!r}: {show(getattr(result.family, field.name))}," for field in fields(result.family)]
        body = [line for entry in entries for line in textwrap.wrap(entry, 110, break_long_words=False)]
        lines += ["    {", *(f"        {line}" for line in body), "    },"]
    lines += [")", "", "# what tests.fits.fast_soh.Figures holds, by family, of cells the fit has not seen"]
    lines.append("FIGURES: dict[str, dict[str, float]] = {")
    for name, found in figures.items():
        text = ", ".join(f"{key!r}: {value}" for key, value in found.items())
        wrapped = textwrap.wrap(text, 110, break_long_words=False)
        lines += [f"    {name!r}: {{", *(f"        {line}" for line in wrapped), "    },"]
    return "\n".join([*lines, "}", ""])


def accuracy_table(figures: dict[str, dict[str, float]]) -> list[str]:
    """The first table of docs/fast-soh.md."""
    lines = [
        "| cells | physical cells, tests | SOH | refused | MAE of all tests | p95 | < 3 points | MAE of the answers "
        "| p95 | largest | < 3 points | interval | covers, of all | covers, of the answers |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, f in figures.items():
        lines.append(
            f"| {name} | {f['cells']}, {f['tests']} | {f['soh_low']:.0%} to {f['soh_high']:.0%} | {f['refused']:.1%} "
            f"| {f['mae_all']:.2f} +- {f['mae_all_error']:.2f} | {f['p95_all']:.1f} | {f['within_3_all']:.0%} "
            f"| {f['mae']:.2f} | {f['p95']:.1f} | {f['largest']:.1f} | {f['within_3']:.0%} | +- {f['half_width']:.1f} "
            f"| {f['coverage_all']:.1%} | {f['coverage']:.1%} +- {f['coverage_error']:.1%} |"
        )
    return lines


def main() -> None:
    from tests.fits.fast_soh_studies import studies

    parser = argparse.ArgumentParser(description="Fit the fast SOH models and measure how far they can be trusted.")
    parser.add_argument("data", type=Path, help="folder of the PulseBat tables")
    parser.add_argument("--write", action="store_true", help=f"write {TARGET.name}")
    options = parser.parse_args()
    results = examine(options.data)
    figures = {name: figures_of(name, results) for name in results}
    print("\n".join(accuracy_table(figures)), flush=True)
    if options.write:
        TARGET.write_text(rendered(results, figures), encoding="utf-8")
    print("\n".join(studies(options.data, results)))


if __name__ == "__main__":
    main()
