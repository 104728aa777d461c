"""Where the fast SOH models stop being true: the warning tables of docs/fast-soh.md, printed by tests.fits.fast_soh."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from sequences.fast_soh import Array
from tests.fits.fast_soh import SETS, Result, answers, fit, judge, left_out_answers, left_out_families, rivals_of
from tests.fits.pulsebat import DENSE, MEASURED, Rows, noise, read_batteries, rows_of

# J/mol, of the 5 s resistance: an assumption of the table, nothing the models use
ACTIVATION_ENERGY, GAS_CONSTANT = 35e3, 8.314


def warmer(kelvin: float) -> Callable[[Array], Array]:
    """Resistance changed as an Arrhenius law has it; the open-circuit voltages stay."""
    factor = float(np.exp(ACTIVATION_ENERGY / GAS_CONSTANT * (1 / (298.15 + kelvin) - 1 / 298.15)))

    def disturb(volts: Array) -> Array:
        moved = volts.copy()
        moved[1:5] = volts[0] + factor * (volts[1:5] - volts[0])
        return moved

    return disturb


def charged_more(share: float) -> Callable[[Array], Array]:
    def disturb(volts: Array) -> Array:
        moved = volts.copy()
        moved[5] = volts[0] + (1 + share) * (volts[5] - volts[0])
        return moved

    return disturb


DISTURBANCES: tuple[tuple[str, Callable[[], Callable[[Array], Array]]], ...] = (
    ("as measured", lambda: lambda volts: volts),
    ("noise 0.1 mV rms", lambda: noise(0.1e-3)),
    ("noise 0.2 mV rms", lambda: noise(0.2e-3)),
    ("noise 0.3 mV rms", lambda: noise(0.3e-3)),
    ("noise 0.5 mV rms", lambda: noise(0.5e-3)),
    ("all voltages 1 mV high", lambda: lambda volts: volts + 1e-3),
    ("all voltages 3 mV high", lambda: lambda volts: volts + 3e-3),
    ("1 % too much charged", lambda: charged_more(0.01)),
    ("cells 1 K colder", lambda: warmer(-1.0)),
    ("cells 1 K warmer", lambda: warmer(1.0)),
    ("cells 2 K colder", lambda: warmer(-2.0)),
    ("cells 5 K colder", lambda: warmer(-5.0)),
    ("cells 5 K warmer", lambda: warmer(5.0)),
)


def studies(data: Path, results: dict[str, Result]) -> list[str]:
    return [
        *_by_start(results),
        *_beyond(results),
        *_other_cells(results),
        *_controls(results),
        *_disturbed(data, results),
    ]


def _by_start(results: dict[str, Result]) -> list[str]:
    """Error and coverage of the answers over the state of charge the test began at."""
    lines = ["", "| started at | " + " | ".join(f"{start:.0f} %" for start in MEASURED) + " |"]
    lines.append("|---|" + "---:|" * len(MEASURED))
    for name, result in results.items():
        tests = result.measured
        found = left_out_answers(result.left_out, tests, rivals_of(name, results))
        error, row = np.abs(found.soh - tests.soh), []
        for k in range(len(MEASURED)):
            here = found.given & (np.arange(len(error)) % len(MEASURED) == k)
            row.append(f"{100 * error[here].mean():.1f}, {np.mean(error[here] <= found.half_width[here]):.0%}")
        lines.append(f"| {name} | " + " | ".join(row) + " |")
    return lines


def _beyond(results: dict[str, Result]) -> list[str]:
    """Starts above those fitted: fitted on starts up to 30 %, asked about 35 and 40 %, without the cell as always."""
    lines = [
        "",
        "| fitted up to 30 %, asked about | refused | MAE of the answers | interval covers |",
        "|---|---:|---:|---:|",
    ]
    for name, result in results.items():
        low = np.resize(DENSE, len(result.dense.soh)) <= 30, np.resize(MEASURED, len(result.measured.soh)) <= 30
        families = left_out_families(result.dense.where(low[0]), result.measured.where(low[1]))
        for start in MEASURED[MEASURED > 30]:
            tests = result.measured.where(np.resize(MEASURED, len(result.measured.soh)) == start)
            found = left_out_answers(families, tests)
            error, given = np.abs(found.soh - tests.soh), found.given
            covered = (error <= found.half_width)[given]
            answered = f"{100 * error[given].mean():.1f} | {covered.mean():.0%}" if given.any() else "none | "
            lines.append(f"| {name} at {start:.0f} % | {1 - given.mean():.0%} | {answered} |")
    return lines


def _other_cells(results: dict[str, Result]) -> list[str]:
    """Every family asked about cells of the other sets: how many it refuses, and how wrong it is on the rest."""
    names = list(results)
    lines = ["", "| model, asked about | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for model, result in results.items():
        row = []
        for name, other in results.items():
            if name == model:
                row.append("")
                continue
            found = answers(result.family, other.measured.x)
            error = 100 * np.abs(found.soh - other.measured.soh)
            answered = f", {error[found.given].mean():.1f} of the rest" if found.given.any() else ""
            row.append(f"{1 - found.given.mean():.1%} refused; MAE {error.mean():.1f} of all{answered}")
        lines.append(f"| {model} | " + " | ".join(row) + " |")
    for name, result in results.items():
        tests = result.measured
        for rival in rivals_of(name, results):
            theirs, nearer = answers(rival, tests.x).given, np.zeros(len(tests.soh), dtype=bool)
            for cell, own in result.left_out.items():
                mine = tests.cell == cell
                nearer[mine] = rival.distance(tests.x[mine]) < own.distance(tests.x[mine])
            lines.append(
                f"{name}: {nearer.sum()} of {len(nearer)} tests are nearer to {rival.name}, "
                f"which would answer {np.sum(nearer & theirs)} of them"
            )
    return lines


def _controls(results: dict[str, Result]) -> list[str]:
    """What a model without the pulses and the charge finds, and what happens below the trained SOH."""
    lines = [
        "",
        "| cells | guessing the mean | open-circuit voltage alone "
        "| lowest tenth of SOH left out: MAE there | bias | refused |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, result in results.items():
        tests = result.measured
        guess = [tests.soh[tests.cell != cell].mean() for cell in tests.cell]
        blind = [_blind(rows) for rows in (result.dense, tests)]
        alone = left_out_answers(left_out_families(*blind), blind[1])
        low = np.quantile(tests.soh, 0.1)
        lowest = tests.where(tests.soh <= low)
        family = fit(result.dense.where(result.dense.soh > low), tests.where(tests.soh > low))
        found = answers(family, lowest.x)
        lines.append(
            f"| {name} | {_mae(np.array(guess), tests):.2f} | {_mae(alone.soh, tests):.2f} "
            f"| {_mae(found.soh, lowest):.1f} | {100 * np.mean(found.soh - lowest.soh):+.1f} "
            f"| {1 - found.given.mean():.0%} |"
        )
    together = [name for _, name, chemistry in SETS if chemistry == "NMC"]
    first, second = (results[name] for name in together)
    dense, tests = first.dense + second.dense, first.measured + second.measured
    shared = left_out_answers(left_out_families(dense, tests), tests)
    for name, result in zip(together, (first, second), strict=True):
        mine = np.isin(tests.cell, result.measured.cell)
        lines.append(f"one model for both NMC: MAE {_mae(shared.soh[mine], tests.where(mine)):.2f} of {name}")
    return lines


def _mae(soh: Array, tests: Rows) -> float:
    return float(100 * np.mean(np.abs(soh - tests.soh)))


def _blind(rows: Rows) -> Rows:
    """The same rows with nothing but noise in every feature beside the open-circuit voltage."""
    x = np.random.default_rng(0).standard_normal(rows.x.shape)
    x[:, 0] = rows.x[:, 0]
    return Rows(x, rows.soh, rows.cell, rows.battery)


def _disturbed(data: Path, results: dict[str, Result]) -> list[str]:
    """What the left-out models make of measurements that are not as good as those they were fitted on."""
    lines = ["", "| MAE of the answers, what the interval covers, refused | " + " | ".join(results) + " |"]
    lines.append("|---|" + "---:|" * len(results))
    for what, disturbance in DISTURBANCES:
        row = []
        for file, name, _ in SETS:
            tests = rows_of(read_batteries(data / f"{file}.csv"), MEASURED, disturbance())
            found = judge(tests, left_out_answers(results[name].left_out, tests, rivals_of(name, results)))
            row.append(f"{found.mae:.2f}, {found.coverage:.0%}, {found.refused:.0%}")
        lines.append(f"| {what} | " + " | ".join(row) + " |")
    return lines
