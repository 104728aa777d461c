"""The result of a run as the MES gets it: one signed record per battery and run.

Names of measurements are the battery passport's where it has one (remainingCapacity, capacityFade,
stateOfCertifiedEnergy, internalResistanceIncrease, ...). Measurements carry their unit; other units are in the names.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import Field

from controller.mes.messages import AlarmData, Id, JobState, Mode, Moment, Said
from sequences import Verdict

Comparison = Literal["GELE", "GE", "LE", "LOG"]

UNITS = {
    "V": "V", "mV": "mV", "A": "A", "kW": "kW", "Ah": "A.h", "kWh": "kW.h", "mohm": "mOhm", "ohm/V": "Ohm/V",
    "degC": "Cel", "K": "K", "s": "s", "Hz": "Hz", "kg": "kg", "%": "%", "1": "1", "V/cell": "V/{cell}",
    "mV/min": "mV/min", "A/s": "A/s", "K/min": "K/min",
}  # fmt: skip
"""Every unit that a measurement can have, with its code in UCUM (ucum.org, case sensitive)."""


class Words(Said):
    """A text for people."""

    en: str
    ko: str


class Order(Said):
    """The work order that the run was for."""

    id: Id
    operation: str | None


class Recipe(Said):
    """What was run. Everything but `id` and `hash` is absent where the run could not be analysed."""

    id: str | None
    hash: Annotated[str | None, Field(description="SHA-256 over its content.")]
    version: str | None = None
    parameters: dict[str, Any] | None = None
    title: Words | None = None
    references: list[Any] | None = None


class Battery(Said):
    """What it was run on."""

    code: str | None
    parent: Annotated[str | None, Field(description="What it was taken from, or lies in, by the work order.")] = None
    batch: Annotated[str | None, Field(description="The lot it came with, by the work order.")] = None
    carrier: Annotated[str | None, Field(description="The tray that brought it, by the work order.")] = None
    position: Annotated[str | None, Field(description="Its place in the tray, by the work order.")] = None
    model: str | None = None
    title: str | None = None


class Limits(Said):
    """In the measurement's unit; within `marginal` of a limit the verdict is marginal."""

    min: float | None
    max: float | None
    marginal: float | None


class Measurement(Said):
    """A value with its standard uncertainty (k = 1), None where not known; its limits and its verdict."""

    value: float | None
    uncertainty: float | None
    unit: Annotated[
        str,
        Field(
            description=f"One of {', '.join(UNITS)}; `x-ucum` has their codes in UCUM.",
            json_schema_extra={"x-ucum": UNITS},
        ),
    ]
    type: Annotated[
        Literal["numeric", "bool", "string"] | None,
        Field(description="Of `value`. All that is measured today is numeric, 0 or 1 where it answers a question."),
    ] = None
    step: Annotated[str | None, Field(description="The step it comes from, where it is one.")]
    limits: Limits | None
    comparison: Annotated[
        Comparison, Field(description="GELE: from min to max; GE: at least min; LE: at most max; LOG: not judged.")
    ]
    verdict: Verdict
    title: Words
    detail: Annotated[dict[str, Any], Field(description="Conditions that a comparison needs.")]
    samples: Annotated[
        list[float] | None,
        Field(min_length=2, max_length=2, description="Line times, unix s, of the first and last sample behind it."),
    ]


class Step(Said):
    """A step of the run as it ended."""

    index: int
    label: str
    kind: str
    started: Moment
    seconds: float
    reason: str
    complete: bool
    verdict: Verdict
    charge_ah: Annotated[float, Field(description="Net charge moved, + into the battery.")]
    energy_wh: float
    measurements: Annotated[list[str], Field(description="Names of the measurements that come from it.")]


class Failure(Said):
    """What failed first, when the verdict is not pass or marginal."""

    code: Annotated[str, Field(description="As in docs/errors.md; E-RESULT-LIMIT for a measurement.")]
    reason: str
    step: Annotated[str | None, Field(description="The first step that did not pass.")]
    measurement: Annotated[str | None, Field(description="The first measurement that did not pass.")]


class Outcome(Said):
    """How a run ended short of its recipe's end; empty texts when it did not."""

    code: str
    reason: str
    author: Annotated[str | None, Field(description="Who ended it, where somebody did.")] = None


class Bound(Said):
    """A limit of the safety as it was in force."""

    name: str
    warn: float | None
    trip: float
    delay_s: float
    unit: str


class OffStep(Said):
    """One confirmation that the station was off at the end."""

    step: str
    confirmed: bool
    detail: str


class Instrument(Said):
    """What was measured with."""

    driver: str
    manufacturer: str
    model: str
    serial: str
    firmware: str
    calibration_due: date | None


class Traceability(Said):
    """What it was measured and judged by; each is a SHA-256."""

    software_sha256: Annotated[str, Field(description="Over the program's files.")]
    grade_rules_sha256: str | None = None
    station_sha256: Annotated[str | None, Field(description="Over the station's part of the line file.")] = None


class Attachment(Said):
    """The samples, by reference: a Parquet file in the Battery Data Format."""

    path: Annotated[str | None, Field(description="On the line's computer.")]
    reference: Annotated[
        str | None, Field(description="Relative URI reference, from wherever the line's state directory can be read.")
    ] = None
    sha256: str | None = None
    bytes: int | None = None
    samples: int
    error: str | None = None


class Signature(Said):
    """Ed25519 over the canonical JSON (RFC 8785) of the record without its `signature`."""

    algorithm: Literal["Ed25519"]
    canonicalization: Literal["RFC8785"]
    key_id: str
    value: Annotated[str, Field(description="64 bytes, base64.")]


class Result(Said):
    """The one final result of a run. What is null or absent could not be known, as of a run that a crash has cut."""

    schema_version: Annotated[Literal["evaline/result/1"], Field(alias="schema")]
    run_id: str
    station: str
    order: Order | None
    recipe: Recipe
    dut: Battery
    attempt: Annotated[int, Field(ge=1, description="Which run of this recipe on this battery it is on this line.")]
    author: Annotated[str | None, Field(description="Who started it.")]
    mode: Annotated[Mode | None, Field(description="LOCAL: an operator started it; REMOTE: the MES.")]
    reason: str = ""
    started: Moment
    ended: Moment
    line_seconds: Annotated[float | None, Field(description="Between the two, by the clock of the line.")] = None
    clock: Annotated[
        Literal["monotonic", "system", "simulated"],
        Field(
            description="What times them. monotonic: nobody can set it; system: it may have been set, since another "
            "daemon has ended the run; simulated: it does not run with wall time."
        ),
    ]
    job_state: Literal[JobState.ENDED, JobState.ABORTED]
    verdict: Verdict
    failure: Failure | None
    grade: str | None
    grade_reasons: list[Words]
    grade_rules: str | None = None
    outcome: Outcome
    measurements: Annotated[dict[str, Measurement], Field(description="By name.")]
    measurement_order: list[str]
    steps: tuple[Step, ...] = ()
    safety: tuple[Bound, ...] = ()
    alarms: tuple[AlarmData, ...] = ()
    outputs_off: tuple[OffStep, ...] = ()
    instruments: Annotated[dict[str, Instrument], Field(default_factory=dict, description="By role.")]
    software: Annotated[str, Field(description="Name and version.")]
    host: Annotated[str | None, Field(description="The computer that the daemon runs on.")] = None
    traceability: Traceability
    data_file: Attachment | None = None
    report: Annotated[str | None, Field(description="Path of the report on the line's computer.")] = None
    report_reference: Annotated[str | None, Field(description="As that of the data file.")] = None
    signature: Signature
