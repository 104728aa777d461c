"""JSON Schema of a file that people write, for editors: to complete, to explain and to check it while it is typed.

Draft 7, which is what the editors' YAML support knows. Where the value of one key decides what others there may be (the
kind of a step), the schema says so with if and then: an editor then offers and refuses the keys of that kind alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from sequences.quantity import PARAMETER

DIALECT = "http://json-schema.org/draft-07/schema#"
_REF = "#/definitions/"
_PARAMETER: dict[str, Any] = {"type": "string", "pattern": rf"^{PARAMETER}$"}


def json_schema(model: type[BaseModel], title: str, *, parameters: bool = False) -> dict[str, Any]:
    """The schema of a document that `model` validates, in plain JSON.

    With `parameters`, the name of one (`$rounds`) may stand for any number or truth, as it may for any quantity.
    """
    generator = _WithParameters if parameters else _Generator
    schema = model.model_json_schema(ref_template=_REF + "{model}", schema_generator=generator)
    schema["definitions"] = schema.pop("$defs", {})
    _explain_kinds(schema)
    _share(schema)
    _word_complaints(schema)
    return {"$schema": DIALECT, **schema, "title": title}


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Every description of a mapping in a schema: the document, its definitions, and what stands inside them."""
    if isinstance(schema, list):
        for part in schema:
            yield from objects(part)
    elif isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
            yield schema
        for part in schema.values():
            yield from objects(part)


class _Generator(GenerateJsonSchema):
    """Pydantic's, without what only a Python programmer wants to know."""

    schema_dialect = DIALECT

    def sort(self, value: JsonSchemaValue, parent_key: str | None = None) -> JsonSchemaValue:
        """Keys stay in the order in which they are declared: that is the order in which people write them."""
        return value

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        described = super().model_schema(schema)
        if described.get("title") == schema["cls"].__name__:
            del described["title"]
        return described

    def encode_default(self, dft: Any) -> Any:
        """Quantities, routes and expressions as a file has them."""
        text = getattr(dft, "text", None)
        return text if isinstance(text, str) else super().encode_default(dft)

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        described = super().default_schema(schema)
        if described.get("default", ...) is None:
            del described["default"]
        return described

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """What is not given is left out: an editor shall not offer `null`."""
        return self.generate_inner(schema["schema"])

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        described = super().dict_schema(schema)
        if "patternProperties" in described:
            described["additionalProperties"] = False
        return described

    def tuple_schema(self, schema: core_schema.TupleSchema) -> JsonSchemaValue:
        described = super().tuple_schema(schema)
        described["items"] = described.pop("prefixItems")
        return described

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        key = str(schema["discriminator"])
        kinds = {str(kind): self.generate_inner(choice) for kind, choice in schema["choices"].items()}
        return {
            "type": "object",
            "required": [key],
            "properties": {key: {"description": "Which kind; it decides the other keys.", "enum": list(kinds)}},
            "allOf": [
                {"if": {"properties": {key: {"const": kind}}, "required": [key]}, "then": described}
                for kind, described in kinds.items()
            ],
        }


class _WithParameters(_Generator):
    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        return {"anyOf": [super().int_schema(schema), _PARAMETER]}

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        return {"anyOf": [super().float_schema(schema), _PARAMETER]}

    def bool_schema(self, schema: core_schema.BoolSchema) -> JsonSchemaValue:
        return {"anyOf": [super().bool_schema(schema), _PARAMETER]}


def _explain_kinds(schema: dict[str, Any]) -> None:
    """Say beside each kind's name what that kind is."""
    definitions = schema["definitions"]
    for union in [part for part in objects(schema) if "allOf" in part]:
        (key, kind) = next(iter(union["properties"].items()))
        described = [definitions[branch["then"]["$ref"].removeprefix(_REF)] for branch in union["allOf"]]
        kind["enumDescriptions"] = [_first_sentence(one["description"]) for one in described]
        for one in described:
            one["required"] = [*dict.fromkeys([key, *one.get("required", [])])]
            one["properties"][key] = {"const": one["properties"][key]["const"], "description": one["description"]}


def _share(schema: dict[str, Any]) -> None:
    """Define once what stands in many places: every list of steps takes the same kinds."""
    found: dict[str, list[dict[str, Any]]] = {}
    for union in [part for part in objects(schema) if "allOf" in part]:
        found.setdefault(json.dumps(union), []).append(union)
    for text, places in found.items():
        if len(places) > 1:
            name = f"Any{next(iter(places[0]['properties'])).title()}"
            schema["definitions"][name] = json.loads(text)
            for place in places:
                place.clear()
                place["$ref"] = _REF + name


def _word_complaints(part: Any) -> None:
    """What an editor says of a text that does not fit: what would, instead of a regular expression."""
    for inner in part if isinstance(part, list) else part.values() if isinstance(part, dict) else []:
        _word_complaints(inner)
    if isinstance(part, dict) and isinstance(part.get("pattern"), str) and part.get("examples"):
        part["patternErrorMessage"] = f"not a {part['title']}; write it like {part['examples'][0]!r}"


def _first_sentence(text: str) -> str:
    return " ".join(text.split()).split(". ")[0].rstrip(".") + "."
