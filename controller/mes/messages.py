"""What a line says over MQTT: one declaration of every message feeds validation, JSON Schema, AsyncAPI and the docs.

Readers must expect further keys in later versions. Units: V, A, W, Ah, degC, s; moments are RFC 3339 in UTC.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.json_schema import SkipJsonSchema

from sequences import Verdict

VERSION = "1.1"
"""Of the contract. Within a major version every change is compatible; a minor version adds."""
SCHEMA_VERSION = "1.0"
"""In `dataschema`, which the schemas fix: it stays within a major version, since what is added breaks no reader."""

Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")]
Moment = Annotated[
    str,
    StringConstraints(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$"
    ),
    Field(json_schema_extra={"format": "date-time"}),
]
StateName = Literal[
    "CLEARING", "STOPPED", "STARTING", "IDLE", "SUSPENDED", "EXECUTE", "STOPPING", "ABORTING", "ABORTED", "HOLDING",
    "HELD", "UNHOLDING", "SUSPENDING", "UNSUSPENDING", "RESETTING", "COMPLETING", "COMPLETE",
]  # fmt: skip
ConnectionState = Literal["online", "offline", "broken"]
EventType = Literal["run", "step", "job", "alarm", "acknowledged", "mode", "recipe"]


Absent = SkipJsonSchema[None]
"""In Python None; in JSON there is no such key, since CloudEvents knows no null."""


class Mode(StrEnum):
    """Who starts runs on a station: the operator, or the MES."""

    LOCAL = "LOCAL"
    REMOTE = "REMOTE"


class JobState(StrEnum):
    """The states of a job order, by their names in OPC 10031-4 (ISA-95 job control)."""

    NOT_ALLOWED_TO_START = "NotAllowedToStart"
    ALLOWED_TO_START = "AllowedToStart"
    RUNNING = "Running"
    INTERRUPTED = "Interrupted"
    ENDED = "Ended"
    ABORTED = "Aborted"


class Said(BaseModel):
    """A part of a message of ours."""

    model_config = ConfigDict(frozen=True)


class Envelope(Said):
    """CloudEvents 1.0 in structured JSON. `source` and `id` together name a message once and for all: every repetition
    carries the same. Attributes that do not apply are absent."""

    specversion: Literal["1.0"]
    id: Annotated[str, Field(min_length=1, description="The same on every repetition.")]
    source: Annotated[str, Field(description="`/` and the topic of the station, or of the line.")]
    type: str
    time: Annotated[Moment, Field(description="Line time at which it happened.")]
    datacontenttype: Literal["application/json"]
    dataschema: Annotated[str, Field(description="`urn:evaline:<message>:<major>.0`: the schema of `data`.")]
    sequence: Annotated[
        str | Absent,
        Field(
            pattern=r"^[0-9]{10}$",
            description="Counts a station's messages by one, over restarts: a gap is a loss. On `info` and `state`: "
            "the newest one given by then.",
        ),
    ] = None
    correlationid: Annotated[
        str | Absent, Field(description="What it belongs to: the `cmd_id` of a command, the order, or else the run.")
    ] = None
    expirytime: Annotated[Moment | Absent, Field(description="After this moment it means nothing any more.")] = None
    actor: Annotated[str | Absent, Field(description="Who caused it.")] = None
    replayed: Annotated[
        bool | Absent, Field(description="True when it had to wait for the broker or the MES, or is sent once more.")
    ] = None


# ------------------------------------------------------------------------------------------------- connection, info


class ConnectionData(Said):
    """Whether a line, or a station, is there: `offline` after a clean stop, `broken` (last will) when it vanished."""

    state: ConnectionState


class InstrumentInfo(Said):
    """One instrument; empty texts where it says nothing of itself or was not reached yet."""

    driver: str
    manufacturer: str
    model: str
    serial: str
    firmware: str
    calibration_due: Annotated[date | None, Field(description="By the line file.")]
    capabilities: list[str]


class RatingsInfo(Said):
    """What the station stands."""

    max_voltage_v: float
    max_charge_current_a: float
    max_discharge_current_a: float
    max_power_w: float


class RecipeInfo(Said):
    """A recipe that work orders can name."""

    id: str
    version: str
    hash: Annotated[str, Field(description="SHA-256 over its content; a work order may demand it.")]


class PublicKey(Said):
    """What results are signed with."""

    algorithm: Literal["Ed25519"]
    key_id: Annotated[str, Field(description="First 16 hex digits of the SHA-256 of the key.")]
    public_key: Annotated[str, Field(description="The 32 bytes of the key, base64.")]


class InfoData(Said):
    """What a station is and can."""

    software: str
    contract: Annotated[str, Field(description="Version of this contract.")]
    instruments: Annotated[dict[str, InstrumentInfo], Field(description="By role.")]
    ratings: RatingsInfo
    commands: Annotated[list[str], Field(description="Commands it knows.")]
    recipes: list[RecipeInfo]
    schemas: Annotated[dict[str, str], Field(description="Schema of each type of message.")]
    key: PublicKey


# --------------------------------------------------------------------------------------------------------- state


class ReasonData(Said):
    """Why something is so, or is refused, and what to do about it."""

    code: str
    message: str
    hint: str = ""


class AlarmData(Said):
    """Something passed its level; `trip` has ended the run."""

    code: str
    message: str
    trip: bool
    t: Annotated[float, Field(description="Line time, unix s.")]
    acknowledged_by: str | None = None


class ProgressData(Said):
    """How far a run is."""

    index: Annotated[int, Field(description="Number of the step run, from 0.")]
    count: Annotated[int, Field(description="How many the forecast has; loops may add.")]
    elapsed_s: float
    estimated_s: Annotated[float, Field(description="Of the whole run.")]


class StackLight(Said):
    """What the signal tower shows."""

    red: bool
    yellow: bool
    green: bool
    buzzer: bool


class StateData(Said):
    """What a station does now. State and number are PackML's (ISA-TR88.00.02)."""

    state: StateName
    number: Annotated[int, Field(ge=1, le=17)]
    mode: Mode
    reason: Annotated[str, Field(description="Why it is in this state; may be empty.")]
    reasons: Annotated[list[ReasonData], Field(description="What stands against its work now: alarms and faults.")]
    run: str | None
    order: str | None
    job_state: JobState | None
    dut: str | None
    recipe: str | None
    step: str | None
    progress: ProgressData | None
    question: Annotated[str | None, Field(description="What the recipe asks people now.")]
    alarms: list[AlarmData]
    stack_light: StackLight


# --------------------------------------------------------------------------------------------------------- events


class RunStarted(Said):
    """A run has begun."""

    run: str
    order: str | None
    operation: str | None
    dut: str
    parent: str | None
    batch: str | None = None
    carrier: str | None = None
    position: str | None = None
    recipe: str
    hash: str
    parameters: dict[str, Any]
    author: str
    mode: Mode


class StepCompleted(Said):
    """A step of a run has ended."""

    run: str
    index: int
    label: str
    kind: str
    seconds: float
    reason: Annotated[str, Field(description="Which of its ends was met.")]
    complete: bool
    verdict: Verdict


class JobChanged(Said):
    """A job order, or a run without one, came into a state of OPC 10031-4."""

    order: str | None
    run: str | None
    state: JobState
    reason: str


class AlarmsAcknowledged(Said):
    """Somebody has taken note of alarms."""

    codes: list[str]
    author: str


class ModeChanged(Said):
    """Who starts runs from now on."""

    mode: Mode
    author: str
    reason: str


class PublishedValue(Said):
    value: float | None
    unit: str


class RecipeEvent(Said):
    """What a `publish` step of a recipe tells."""

    run: str
    event: Annotated[str, Field(description="The name that the recipe gives it.")]
    values: dict[str, PublishedValue]


# ------------------------------------------------------------------------------------------------------ the rest


class ReplyData(Said):
    """The one answer to a command."""

    cmd_id: str
    command: Annotated[str | None, Field(description="What was asked for, where that could be read.")]
    status: Literal["accepted", "rejected", "duplicate"]
    original: Annotated[
        Literal["accepted", "rejected"] | None, Field(description="Of a duplicate: what was answered the first time.")
    ] = None
    reasons: Annotated[list[ReasonData], Field(description="Why it is rejected: all reasons, each with its code.")]
    run: Annotated[str | None, Field(description="The run that it started, or that it is about.")]
    order: str | None


class TelemetryData(Said):
    """Live values of a station; null where there is no good one."""

    run: str | None
    values: Annotated[dict[str, float | None], Field(description="V, A, W, degC, Ah; state of charge from 0 to 1.")]


class OrderSummary(Said):
    """A work order that is known to the line and has not ended."""

    order: str
    station: str
    operation: str | None
    dut: str
    parent: str | None
    recipe: str
    state: JobState
    run: str | None
    stored: Moment
    actor: str


class OrdersData(Said):
    """All work orders that have not ended, in the order in which they came."""

    orders: list[OrderSummary]


class WorkInProgress(Said):
    """A battery on a station."""

    station: str
    run: str
    order: str | None
    dut: str
    recipe: str
    state: JobState
    started: Moment


class WipData(Said):
    """The batteries that are being evaluated now."""

    runs: list[WorkInProgress]


class TotalsData(Said):
    """Finished runs since the beginning of the journal."""

    runs: int
    verdicts: dict[str, int]
    grades: Annotated[dict[str, int], Field(description="By grade; runs without one are not in it.")]


class Acknowledgement(BaseModel):
    """From the MES: what it has done with results, once that is durable at its side."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ids: Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(min_length=1, max_length=1000)]
    status: Literal["stored", "rejected"]
    error: Annotated[str, Field(max_length=1000)] = ""


def schema_urn(name: str) -> str:
    """Which schema `data` follows."""
    return f"urn:evaline:{name}:{SCHEMA_VERSION}"


SENT = ("connection", "info", "state", *EventType.__args__, "result", "reply", "telemetry", "orders", "wip", "totals")  # type: ignore[attr-defined]
TAKEN = ("cmd", "ack")
SCHEMA_OF = {f"evaline.{name}.v1": schema_urn(name) for name in (*SENT, *TAKEN)}
"""The schema of each type of message."""
