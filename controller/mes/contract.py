"""The contract as other programs read it: JSON Schemas and an AsyncAPI 3 document, from the models of the messages."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, create_model
from pydantic.json_schema import models_json_schema

from controller.mes import messages, requests
from controller.mes.messages import SCHEMA_OF, VERSION, Envelope
from controller.mes.record import Result
from controller.software import software_version

DRAFT = "https://json-schema.org/draft/2020-12/schema"
LINE = "{enterprise}/{site}/{area}/{line}"
STATION = f"{LINE}/{{station}}"
LEVELS = {
    "enterprise": "First level, from the line file.",
    "site": "Second level.",
    "area": "Third level.",
    "line": "The line.",
    "station": "The station.",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of message: where it goes, what `data` holds, and how it is published. `taken`: from the MES to us;
    `station_address`: where each station says it of itself, beside the line."""

    name: str
    address: str
    data: type[BaseModel] | Any
    summary: str
    qos: Literal[0, 1] = 1
    retain: bool = False
    taken: bool = False
    station_address: str = ""


KINDS = (
    Kind("connection", f"{LINE}/connection", messages.ConnectionData,
         "Whether the line, or the station, is there; the last will says `broken`.", retain=True,
         station_address=f"{STATION}/connection"),
    Kind("info", f"{STATION}/info", messages.InfoData, "What a station is and can.", retain=True),
    Kind("state", f"{STATION}/state", messages.StateData, "What a station does now.", retain=True),
    Kind("run", f"{STATION}/event/run", messages.RunStarted, "A run has begun."),
    Kind("step", f"{STATION}/event/step", messages.StepCompleted, "A step of a run has ended."),
    Kind("job", f"{STATION}/event/job", messages.JobChanged, "A job came into another state."),
    Kind("alarm", f"{STATION}/event/alarm", messages.AlarmData, "Something passed its level."),
    Kind("acknowledged", f"{STATION}/event/acknowledged", messages.AlarmsAcknowledged,
         "Somebody has taken note of alarms."),
    Kind("mode", f"{STATION}/event/mode", messages.ModeChanged, "Who starts runs from now on."),
    Kind("recipe", f"{STATION}/event/recipe", messages.RecipeEvent, "What a recipe tells."),
    Kind("result", f"{STATION}/result", Result, "The one final result of a run."),
    Kind("ack", f"{STATION}/result/ack", messages.Acknowledgement, "What the MES has done with results.", taken=True),
    Kind("cmd", f"{STATION}/cmd", requests.Command, "A command or a work order.", taken=True),
    Kind("reply", f"{STATION}/cmd/reply", messages.ReplyData, "The one answer to a command."),
    Kind("telemetry", f"{STATION}/telemetry", messages.TelemetryData, "Live values; loss is allowed.", qos=0),
    Kind("orders", f"{LINE}/orders", messages.OrdersData, "All work orders that have not ended.", retain=True),
    Kind("wip", f"{LINE}/wip", messages.WipData, "The batteries that are being evaluated.", retain=True),
    Kind("totals", f"{LINE}/totals", messages.TotalsData, "Finished runs by verdict and grade.", retain=True),
)  # fmt: skip


@cache
def message_model(name: str) -> type[BaseModel]:
    """The whole message: envelope and data."""
    kind = next(kind for kind in KINDS if kind.name == name)
    if name == "cmd":
        return requests.CommandMessage
    if name == "ack":
        return requests.AcknowledgementMessage
    type_ = f"evaline.{name}.v1"
    fields: dict[str, Any] = {
        "type": (Literal[type_], ...),
        "dataschema": (Literal[SCHEMA_OF[type_]], ...),
        "data": (kind.data, ...),
    }
    return create_model(f"{name.capitalize()}Message", __base__=Envelope, __doc__=kind.summary, **fields)


@cache
def schema(name: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a kind of message."""
    found: dict[str, Any] = _plain(message_model(name).model_json_schema(by_alias=True))
    return {"$schema": DRAFT, "$id": SCHEMA_OF[f"evaline.{name}.v1"]} | found


def channels() -> list[tuple[str, str, Kind]]:
    """Name, address and kind of message of each."""
    own = [(kind.name, kind.address, kind) for kind in KINDS]
    return own + [(f"station_{kind.name}", kind.station_address, kind) for kind in KINDS if kind.station_address]


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3 document."""
    models = [(message_model(kind.name), "validation") for kind in KINDS]
    _, definitions = models_json_schema(models, by_alias=True, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Evaline",
            "version": VERSION,
            "description": "What a line of evaluation stations says to the factory over MQTT, and what it listens to. "
            "CloudEvents 1.0 in structured JSON everywhere; MQTT 3.1.1 suffices. See docs/mes.md.",
            "license": {"name": "see the repository"},
            "x-software": software_version(),
        },
        "defaultContentType": "application/cloudevents+json",
        "channels": {name: _channel(kind, address) for name, address, kind in channels()},
        "operations": {name: _operation(kind, name) for name, _, kind in channels()},
        "components": {
            "messages": {
                kind.name: {
                    "name": f"evaline.{kind.name}.v1",
                    "summary": kind.summary,
                    "contentType": "application/cloudevents+json",
                    "payload": {"$ref": f"#/components/schemas/{message_model(kind.name).__name__}"},
                }
                for kind in KINDS
            },
            "schemas": _plain(definitions["$defs"]),
        },
    }


def files() -> dict[str, str]:
    """Every file of the contract by its name, as it is committed."""
    texts = {f"schemas/{kind.name}.json": _text(schema(kind.name)) for kind in KINDS}
    return texts | {"asyncapi.json": _text(asyncapi())}


def write(directory: Path) -> list[Path]:
    """Write the contract; returns the files."""
    written = []
    for name, text in files().items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def _channel(kind: Kind, address: str) -> dict[str, Any]:
    levels = [level for level in LEVELS if f"{{{level}}}" in address]
    return {
        "address": address,
        "description": kind.summary,
        "parameters": {level: {"description": LEVELS[level]} for level in levels},
        "messages": {kind.name: {"$ref": f"#/components/messages/{kind.name}"}},
    }


def _operation(kind: Kind, channel: str) -> dict[str, Any]:
    return {
        "action": "receive" if kind.taken else "send",
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": kind.summary,
        "messages": [{"$ref": f"#/channels/{channel}/messages/{kind.name}"}],
        "bindings": {"mqtt": {"qos": kind.qos, "retain": kind.retain, "bindingVersion": "0.2.0"}},
    }


def _plain(node: Any) -> Any:
    """Without what only pydantic means by it: discriminators, and null as the default of what is absent."""
    if isinstance(node, list):
        return [_plain(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    drop = {"discriminator"} if isinstance(node.get("discriminator"), dict) else set[str]()
    if "default" in node and node["default"] is None:
        drop.add("default")
    return {key: _plain(value) for key, value in node.items() if key not in drop}


def _text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
