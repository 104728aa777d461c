"""From a run's journal to its one final result: measurements, verdict, grade, data file."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog

from controller.export import ExportError, write_bdf
from controller.instruments import Instruments
from controller.journal import JournalError, JournalReader
from controller.mes.topics import rfc3339
from controller.outputs import OffStep
from controller.run import Run, run_data
from sequences import GradeRules, Verdict, analyse, grade, worst

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended short of its recipe's end; `trip` is set when a safety limit ended it."""

    verdict: Verdict
    code: str
    reason: str
    trip: str = ""


COMPLETED = Outcome(Verdict.PASS, "", "")


def bare_result(
    run_id: str, station: str, started: float, ended: float, outcome: Outcome, known: Mapping[str, Any]
) -> dict[str, Any]:
    """The result of a run that could not be analysed: what its start recorded (`known`), and how it ended."""
    return {
        "schema": "evaline/result/1",
        "run_id": run_id,
        "station": station,
        "recipe": {"id": known.get("recipe"), "hash": known.get("hash")},
        "dut": {"code": known.get("dut")},
        "author": known.get("author"),
        "started": rfc3339(started),
        "ended": rfc3339(ended),
        "verdict": str(outcome.verdict),
        "grade": None,
        "grade_reasons": [],
        "outcome": {"code": outcome.code, "reason": outcome.reason},
        "measurements": {},
        "measurement_order": [],
    }


def final_result(
    run: Run, outcome: Outcome, ended: float, off: list[OffStep], instruments: Instruments,
    rules: GradeRules, journal: JournalReader, data_dir: Path, report_dir: Path,
) -> dict[str, Any]:  # fmt: skip
    """Analyse the run's samples and write its data file. Blocking: call it in a thread."""
    columns, rows = journal.samples(run.id)
    data = run_data(columns, rows, run.records, instruments.config)
    run.results = analyse(run.recipe, run.program.context, data) if len(rows) else []
    verdict = worst([outcome.verdict, *(result.verdict for result in run.results)])
    graded = grade(rules, run.measured(run.results), verdict, outcome.trip)
    return {
        "schema": "evaline/result/1",
        "run_id": run.id,
        "station": run.station,
        "recipe": {
            "id": run.recipe.id,
            "version": run.recipe.version,
            "hash": run.recipe.content_hash,
            "parameters": run.recipe.parameter_values,
            "title": run.recipe.title.model_dump(),
            "references": run.recipe.references,
        },
        "dut": {"code": run.code, "model": run.model.id, "title": run.model.title},
        "author": run.author,
        "reason": run.reason,
        "started": rfc3339(run.started),
        "ended": rfc3339(ended),
        "line_seconds": ended - run.started,
        "verdict": str(verdict),
        "grade": graded.grade,
        "grade_reasons": [reason.model_dump() for reason in graded.reasons],
        "grade_rules": rules.id,
        "outcome": {"code": outcome.code, "reason": outcome.reason},
        "measurements": {result.measurement.name: result.as_json() for result in run.results},
        "measurement_order": [result.measurement.name for result in run.results],
        "steps": [
            {
                "label": record.label,
                "seconds": record.ended - record.started,
                "reason": record.reason,
                "complete": record.complete,
                "verdict": str(record.verdict),
            }
            for record in run.records
        ],
        "safety": [
            {"name": b.name, "warn": b.warn, "trip": b.trip, "delay_s": b.delay, "unit": b.unit} for b in run.bounds
        ],
        "alarms": run.alarms,
        "outputs_off": [{"step": step.name, "confirmed": step.confirmed, "detail": step.detail} for step in off],
        "instruments": {
            key: {"driver": instruments.config.instruments[key].driver} | asdict(identity)
            for key, identity in instruments.identities.items()
        },
        "software": f"evaline {version('evaline')}",
        "data_file": _data_file(run, journal, data_dir, len(rows)),
        "report": str(report_dir / f"{run.id}.html"),
    }


async def result_within(
    seconds: float, run: Run, outcome: Outcome, ended: float, off: list[OffStep], instruments: Instruments,
    rules: GradeRules, journal: JournalReader, data_dir: Path, report_dir: Path,
) -> tuple[dict[str, Any], str]:  # fmt: skip
    """The final result, computed in a thread, and an empty text; or a bare result and why it is one.

    A fault of the analysis must not cost a run its one result; only a journal that cannot be read raises.
    """
    arguments = (run, outcome, ended, off, instruments, rules, journal, data_dir, report_dir)
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.to_thread(final_result, *arguments), ""
    except JournalError:
        raise
    except Exception as error:
        log.error("result without analysis", run=run.id, exc_info=error)
        problem = f"the result could not be computed: {type(error).__name__}: {error}"
        failed = Outcome(Verdict.ERROR, "E-RESULT", problem)
        return bare_result(run.id, run.station, run.started, ended, failed, run.identity), problem


def _data_file(run: Run, journal: JournalReader, data_dir: Path, samples: int) -> dict[str, Any] | None:
    """The samples as a BDF file; a disk that cannot take it must not cost the result."""
    if not samples:
        return None
    path = data_dir / f"{run.id}.bdf.parquet"
    metadata = {"run": run.id, "dut": run.code, "recipe": run.recipe.id, "recipe_hash": run.recipe.content_hash}
    try:
        sha256 = write_bdf(journal, run.id, path, metadata)
    except (OSError, ExportError) as error:
        return {"path": None, "error": f"not written: {error}", "samples": samples}
    return {"path": str(path), "sha256": sha256, "samples": samples}
