"""From a run's journal to its one final result: measurements, verdict, grade, data file."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog

from controller.export import ExportError, write_bdf
from controller.instruments import Instruments
from controller.journal import JournalError, JournalReader
from controller.journal.format import canonical, digest
from controller.mes.signing import Signer
from controller.mes.topics import rfc3339
from controller.outputs import OffStep
from controller.run import OF_DUT, Run, run_data
from controller.software import NAME, software_digest, software_version
from drivers.roles import Identity
from sequences import GradeRules, MeasurementResult, StepRecord, Verdict, analyse, grade, worst

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended short of its recipe's end; `trip` is set when a safety limit ended it, `author` when somebody
    did."""

    verdict: Verdict
    code: str
    reason: str
    trip: str = ""
    author: str | None = None


COMPLETED = Outcome(Verdict.PASS, "", "")

SOUND = (Verdict.PASS, Verdict.MARGINAL)
ENDS_OF_RECIPE = ("E-STEP-FAILED", "E-STEP-OVERDUE")  # a step's route led to the end
UNKNOWN = Identity("", "", "", "")
# as in IEEE 1671 (ATML), by whether there is a lower and an upper limit
COMPARISON = {(True, True): "GELE", (True, False): "GE", (False, True): "LE", (False, False): "LOG"}
# under which keys a measurement names its step
STEP_KEYS = ("until", "test", "discharge", "pulse", "charge", "rest", "during", "measured_in", "eis", "step")


@dataclass(frozen=True, slots=True)
class ResultNeeds:
    """What a station's results are made with; `clock` is what its times are worth."""

    instruments: Instruments
    rules: GradeRules
    journal: JournalReader
    signer: Signer
    data_dir: Path
    report_dir: Path
    clock: str


def bare_result(
    run_id: str, station: str, started: float, ended: float, outcome: Outcome, known: Mapping[str, Any],
    attempt: int = 1, clock: str = "system",
) -> dict[str, Any]:  # fmt: skip
    """The result of a run that could not be analysed: what its start recorded (`known`), and how it ended."""
    order = known.get("order")
    return {
        "schema": "evaline/result/1",
        "run_id": run_id,
        "station": station,
        "order": order and {"id": order, "operation": known.get("operation")},
        "recipe": {"id": known.get("recipe"), "hash": known.get("hash")},
        "dut": {"code": known.get("dut")} | {key: known.get(key) for key in OF_DUT},
        "attempt": attempt,
        "author": known.get("author"),
        "mode": known.get("mode"),
        "started": rfc3339(started),
        "ended": rfc3339(ended),
        "clock": clock,
        "job_state": _job_state(outcome),
        "verdict": str(outcome.verdict),
        "failure": {"code": outcome.code, "reason": outcome.reason, "step": None, "measurement": None},
        "grade": None,
        "grade_reasons": [],
        "outcome": _ended(outcome),
        "measurements": {},
        "measurement_order": [],
        "software": f"{NAME} {software_version()}",
        "host": platform.node(),
        "traceability": {"software_sha256": software_digest()},
    }


def final_result(run: Run, outcome: Outcome, ended: float, off: list[OffStep], needs: ResultNeeds) -> dict[str, Any]:
    """Analyse the run's samples and write its data file. Blocking: call it in a thread."""
    instruments, rules, journal, job = needs.instruments, needs.rules, needs.journal, run.job
    report = needs.report_dir / f"{run.id}.html"
    columns, rows = journal.samples(run.id)
    data = run_data(columns, rows, run.records, instruments.config)
    run.results = analyse(run.recipe, run.program.context, data) if len(rows) else []
    verdict = worst([outcome.verdict, *(result.verdict for result in run.results)])
    graded = grade(rules, run.measured(run.results), verdict, outcome.trip)
    return {
        "schema": "evaline/result/1",
        "run_id": run.id,
        "station": run.station,
        "order": job.order_id and {"id": job.order_id, "operation": job.operation},
        "recipe": {
            "id": run.recipe.id,
            "version": run.recipe.version,
            "hash": run.recipe.content_hash,
            "parameters": run.recipe.parameter_values,
            "title": run.recipe.title.model_dump(),
            "references": run.recipe.references,
        },
        "dut": {"code": run.code, **job.of_dut, "model": run.model.id, "title": run.model.title},
        "attempt": journal.attempt(run.id, run.code, run.recipe.id),
        "author": run.author,
        "mode": str(job.mode),
        "reason": run.reason,
        "started": rfc3339(run.started),
        "ended": rfc3339(ended),
        "line_seconds": ended - run.started,
        "clock": "system" if run.was_left else needs.clock,
        "job_state": _job_state(outcome),
        "verdict": str(verdict),
        "failure": _failure(run, outcome, verdict),
        "grade": graded.grade,
        "grade_reasons": [reason.model_dump() for reason in graded.reasons],
        "grade_rules": rules.id,
        "outcome": _ended(outcome),
        "measurements": {result.measurement.name: _measurement(result) for result in run.results},
        "measurement_order": [result.measurement.name for result in run.results],
        "steps": [_step(record, run.results) for record in run.records],
        "safety": [
            {"name": b.name, "warn": b.warn, "trip": b.trip, "delay_s": b.delay, "unit": b.unit} for b in run.bounds
        ],
        "alarms": run.alarms,
        "outputs_off": [{"step": step.name, "confirmed": step.confirmed, "detail": step.detail} for step in off],
        "instruments": {key: described(instruments, key) for key in instruments.identities},
        "software": f"{NAME} {software_version()}",
        "host": platform.node(),
        "traceability": {
            "software_sha256": software_digest(),
            "grade_rules_sha256": digest(canonical(rules.model_dump(mode="json"))),
            "station_sha256": digest(canonical(instruments.config.model_dump(mode="json"))),
        },
        "data_file": _data_file(run, journal, needs.data_dir, len(rows)),
        "report": str(report),
        "report_reference": _reference(report),
    }


def described(instruments: Instruments, key: str) -> dict[str, Any]:
    """An instrument with what makes it traceable; empty texts where it was not reached yet."""
    config, identity = instruments.config.instruments[key], instruments.identities.get(key, UNKNOWN)
    due = config.calibration_due
    return {"driver": config.driver} | asdict(identity) | {"calibration_due": due and due.isoformat()}


def _ended(outcome: Outcome) -> dict[str, str]:
    author = {"author": outcome.author} if outcome.author is not None else {}
    return {"code": outcome.code, "reason": outcome.reason} | author


def _job_state(outcome: Outcome) -> str:
    """By OPC 10031-4: a run that came to its recipe's end has ended, whatever it found; any other was aborted."""
    return "Ended" if not outcome.code or outcome.code in ENDS_OF_RECIPE else "Aborted"


def _failure(run: Run, outcome: Outcome, verdict: Verdict) -> dict[str, Any] | None:
    """What failed first; None for a run that passed."""
    if verdict in SOUND:
        return None
    step = next((record for record in run.records if record.verdict not in SOUND), None)
    found = next((result for result in run.results if result.verdict not in SOUND), None)
    if outcome.code:
        code, reason = outcome.code, outcome.reason
    elif found is not None:
        code = "E-RESULT-LIMIT" if found.verdict is Verdict.FAIL else "E-RESULT-MISSING"
        reason = f"{found.measurement.name} is {found.verdict}"
    else:
        code, reason = "E-STEP-FAILED", f"{step.label}: {step.reason}" if step else ""
    return {
        "code": code,
        "reason": reason,
        "step": step and step.label,
        "measurement": found and found.measurement.name,
    }


def _measurement(result: MeasurementResult) -> dict[str, Any]:
    bounds = result.bounds
    low, high = (bounds.min, bounds.max) if bounds is not None else (None, None)
    comparison = COMPARISON[low is not None, high is not None]
    return result.as_json() | {"type": "numeric", "step": _step_of(result), "comparison": comparison}


def _step_of(result: MeasurementResult) -> str | None:
    """The step that a measurement comes from; the last of several."""
    source = result.measurement.source
    return next((name for key in STEP_KEYS if isinstance(name := getattr(source, key, None), str)), None)


def _step(record: StepRecord, results: list[MeasurementResult]) -> dict[str, Any]:
    return {
        "index": record.index,
        "label": record.label,
        "kind": record.kind,
        "started": rfc3339(record.started),
        "seconds": record.ended - record.started,
        "reason": record.reason,
        "complete": record.complete,
        "verdict": str(record.verdict),
        "charge_ah": record.charge,
        "energy_wh": record.energy,
        "measurements": [result.measurement.name for result in results if _step_of(result) == record.name],
    }


async def result_within(
    seconds: float, run: Run, outcome: Outcome, ended: float, off: list[OffStep], needs: ResultNeeds
) -> tuple[dict[str, Any], str]:
    """The signed final result, computed in a thread, and an empty text; or a bare result and why it is one.

    A fault of the analysis must not cost a run its one result; only a journal that cannot be read raises.
    """

    def signed() -> dict[str, Any]:
        return needs.signer.sign(final_result(run, outcome, ended, off, needs))

    try:
        async with asyncio.timeout(seconds):
            return await asyncio.to_thread(signed), ""
    except JournalError:
        raise
    except Exception as error:
        log.error("result without analysis", run=run.id, exc_info=error)
        problem = f"the result could not be computed: {type(error).__name__}: {error}"
        failed = Outcome(Verdict.ERROR, "E-RESULT", problem)
        attempt = needs.journal.attempt(run.id, run.code, run.recipe.id)
        bare = bare_result(run.id, run.station, run.started, ended, failed, run.identity, attempt, needs.clock)
        return needs.signer.sign(bare), problem


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
    return {
        "path": str(path),
        "reference": _reference(path),
        "sha256": sha256,
        "bytes": path.stat().st_size,
        "samples": samples,
    }


def _reference(path: Path) -> str:
    """From the state directory, in which data and reports have a directory each."""
    return f"{path.parent.name}/{path.name}"
