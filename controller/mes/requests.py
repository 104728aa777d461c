"""What the MES says: work orders, commands, and what it has done with results.

Unknown keys of `data` are refused, since a key that is ignored would be a wish that is silently not met.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from controller.mes.messages import Acknowledgement, Id, Moment
from controller.mes.reading import PayloadError, read_message
from controller.mes.refusals import RefusalError

# no control characters: they have no business in the audit trail
Line = Annotated[str, StringConstraints(pattern=r"^[^\u0000-\u001f\u007f]*$")]
Label = Annotated[Line, Field(min_length=1, max_length=200)]
Key = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z][a-zA-Z0-9_]{0,63}$")]
ParameterText = Annotated[Line, Field(max_length=200)]

_ID: TypeAdapter[str] = TypeAdapter(Id)


def seconds_of(moment: str) -> float:
    """Unix seconds of a moment of RFC 3339; raises ValueError, as for the 30th of February."""
    try:
        return datetime.fromisoformat(moment).timestamp()
    except OverflowError as error:
        raise ValueError(str(error)) from None


def _real(moment: str) -> str:
    seconds_of(moment)
    return moment


RealMoment = Annotated[Moment, AfterValidator(_real)]


class Asked(BaseModel):
    """A part of a message to us."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class WorkOrder(Asked):
    """What to run on which battery."""

    order_id: Annotated[Id, Field(description="Unique in the plant.")]
    dut: Annotated[Label, Field(description="The code on the battery.")]
    recipe: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,47}$", description="Id of a recipe of the station.")]
    recipe_hash: Annotated[
        str | None, Field(pattern=r"^[0-9a-f]{64}$", description="The recipe must have this content, or is refused.")
    ] = None
    parameters: Annotated[
        dict[Key, ParameterText | int | bool], Field(max_length=50, description="Of the recipe.")
    ] = {}
    operation: Annotated[Label | None, Field(description="Step of the route at the MES.")] = None
    parent: Annotated[Label | None, Field(description="What the battery was taken from, or lies in.")] = None
    batch: Annotated[Label | None, Field(description="The lot that the battery came with.")] = None
    carrier: Annotated[Label | None, Field(description="The tray that brings it.")] = None
    position: Annotated[Label | None, Field(description="Its place in the tray.")] = None


class _Command(Asked):
    cmd_id: Annotated[Id, Field(description="Unique; the same when the command is repeated.")]
    issued_at: RealMoment
    expires_at: Annotated[RealMoment, Field(description="After it the command is refused.")]
    actor: Annotated[Label, Field(description="Who commands, for authority and audit.")]
    reason: Annotated[Line, Field(max_length=1000, description="Why, for the audit.")] = ""
    station: Annotated[Label | None, Field(description="When given, it must be the station of the topic.")] = None


class Store(_Command):
    """Keep a work order for the station; nothing moves."""

    command: Literal["store"]
    order: WorkOrder


class Start(_Command):
    """Begin a stored work order now; only in REMOTE mode."""

    command: Literal["start"]
    order_id: Id


class StoreAndStart(_Command):
    """Both, or neither."""

    command: Literal["store_and_start"]
    order: WorkOrder


class Cancel(_Command):
    """Give up a work order that has not begun."""

    command: Literal["cancel"]
    order_id: Id


class Acknowledge(_Command):
    """Take note of the station's alarms: of these codes, or of all."""

    command: Literal["acknowledge"]
    codes: Annotated[list[Annotated[str, Field(pattern=r"^[EW]-[A-Z0-9-]{1,40}$")]], Field(max_length=50)] = []


class Control(_Command):
    """Hold, resume, suspend, abort or stop what runs; reset or clear the station. With `order_id`: only if it runs."""

    command: Literal["hold", "resume", "suspend", "abort", "stop", "reset", "clear"]
    order_id: Id | None = None


Command = Annotated[Store | Start | StoreAndStart | Cancel | Acknowledge | Control, Field(discriminator="command")]
COMMANDS = (
    "store", "start", "store_and_start", "hold", "resume", "suspend", "abort", "stop", "cancel", "acknowledge",
    "reset", "clear",
)  # fmt: skip


class _Received(BaseModel):
    """CloudEvents 1.0 in structured JSON; further attributes are allowed, as CloudEvents has it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    specversion: Literal["1.0"]
    id: Annotated[str, Field(min_length=1, max_length=200)]
    source: Annotated[str, Field(min_length=1, max_length=200)]


class CommandMessage(_Received):
    """On `<station>/cmd`."""

    type: Literal["evaline.cmd.v1"]
    data: Command


class AcknowledgementMessage(_Received):
    """On `<station>/result/ack`."""

    type: Literal["evaline.ack.v1"]
    data: Acknowledgement


@dataclass(frozen=True)
class Came:
    """A command as far as it could be read, and how it came.

    `asked` is None when it is none. `digest` is of what was asked for, without when: who repeats may stamp anew.
    """

    station: str
    cmd_id: str
    command: str | None
    digest: str
    asked: Command | None
    retained: bool
    redelivered: bool

    @property
    def actor(self) -> str:
        return self.asked.actor if self.asked else "mes"

    @property
    def order(self) -> str | None:
        """The order that it names."""
        match self.asked:
            case Store() | StoreAndStart() as asked:
                return asked.order.order_id
            case Start() | Cancel() | Control() as asked:
                return asked.order_id
            case _:
                return None

    @property
    def is_copy(self) -> bool:
        """The broker repeats it, not the MES."""
        return self.retained or self.redelivered

    @property
    def key_of_reuse(self) -> str:
        """Under which the journal has that this content was refused for its used id; no id has a space in it."""
        return f"{self.cmd_id} {self.digest}"


def read_command(
    station: str, payload: bytes, retained: bool, redelivered: bool
) -> tuple[Came | None, RefusalError | None]:
    """A command, or what can be read of one and why it is none; without a readable cmd_id there is only the reason."""
    try:
        asked = read_message(payload, CommandMessage).data
    except PayloadError as error:
        refusal = RefusalError.of(error.code, error.message, error.hint)
        inner = error.data.get("data") if isinstance(error.data, dict) else None
        if not isinstance(inner, dict):
            return None, refusal
        try:
            cmd_id = _ID.validate_python(inner.get("cmd_id"), strict=True)
        except ValidationError:
            return None, refusal
        command = inner.get("command")
        readable = command if isinstance(command, str) and command.isascii() and len(command) <= 20 else None
        return Came(station, cmd_id, readable, _digest(inner), None, retained, redelivered), refusal
    # a default that is added later must not make another command of the same bytes
    content = asked.model_dump(mode="json", exclude_defaults=True)
    return Came(station, asked.cmd_id, asked.command, _digest(content), asked, retained, redelivered), None


def _digest(content: Mapping[str, Any]) -> str:
    told = {name: value for name, value in content.items() if name not in ("issued_at", "expires_at")}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
