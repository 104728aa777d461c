"""What files may say, out of the declarations that read them: schemas for editors, and the pages of the reference."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from inspect import cleandoc
from typing import Any

import yaml

from config import DutModel, LineConfig
from drivers import CATALOG
from sequences import GradeRules, Recipe, Route
from sequences.condition import CONSTANTS, SIGNALS
from sequences.flow import STEP_TYPES
from sequences.quantity import UNITS
from sequences.schema import json_schema
from sequences.step import StepBase

Schema = dict[str, Any]

_JSON_TYPES = {
    "number": {"type": "number"},
    "integer": {"type": "integer"},
    "text": {"type": "string"},
    "integers": {"type": "array", "items": {"type": "integer"}},
    "text or integers": {"type": ["string", "array"], "items": {"type": "integer"}},
}


def recipe_schema() -> Schema:
    return json_schema(Recipe, "Evaline recipe", parameters=True)


def grades_schema() -> Schema:
    return json_schema(GradeRules, "Evaline grade rules", parameters=True)


def dut_schema() -> Schema:
    return json_schema(DutModel, "Evaline battery model")


def line_schema() -> Schema:
    """The line file's, with the drivers there are and the settings that each of them takes."""
    schema = json_schema(LineConfig, "Evaline line")
    instrument = schema["definitions"]["InstrumentConfig"]
    instrument["properties"]["driver"] |= {
        "enum": sorted(CATALOG),
        "enumDescriptions": [f"For the {CATALOG[name].role}." for name in sorted(CATALOG)],
    }
    instrument["allOf"] = [
        {
            "if": {"properties": {"driver": {"const": entry.name}}, "required": ["driver"]},
            "then": {
                "properties": {
                    "settings": {
                        "properties": {key: _JSON_TYPES[setting.kind] for key, setting in entry.settings.items()},
                        "required": [key for key, setting in entry.settings.items() if setting.required],
                        "additionalProperties": False,
                    }
                }
            },
        }
        for entry in CATALOG.values()
    ]
    # a broker with a url is an external one, with or without its kind
    broker, external = schema["properties"]["broker"], schema["definitions"]["ExternalBroker"]
    del broker["required"]
    external["required"] = ["url"]
    branch = broker["allOf"][1]
    branch["if"] = {"anyOf": [branch["if"], {"required": ["url"]}]}
    return schema


SCHEMAS: dict[str, Callable[[], Schema]] = {
    "recipe": recipe_schema,
    "line": line_schema,
    "grades": grades_schema,
    "dut": dut_schema,
}

# ---------------------------------------------------------------------------------------------------- the reference

_PARTS = (
    "End", "OnePulse", "InspectItem", "Branch", "Record", "Narrowing", "Text", "Parameter", "RoleNeed", "AppliesTo",
)  # fmt: skip
_HEAD = """# {title}: reference

Every key of the file, out of the declarations that read it: `evaline reference {kind}` prints this page.
"""
_RECIPE_HEAD = """How to write one is in
[recipes.md](recipes.md). What a key takes is a quantity with one of its units, or `$name` of a parameter in its place.
"""
_EXPRESSIONS = """## Expressions

Names, quantities, numbers, `true`, `false`, `+ - * /`, `<= >= < >`, `and`, `or`, `not`, parentheses, and the functions
`abs(x)`, `min(x, ...)`, `max(x, ...)`; `min(x)`, `max(x)`, `avg(x)` and `last(x)` of one value look back, over every
value that a variable has had or over all that was seen of a signal. Units are checked before anything runs. What is not
known is neither true nor false: it ends no step and passes no check.
"""


def reference(kind: str) -> str:
    """The page of one kind of file, in Markdown."""
    schema = SCHEMAS[kind]()
    head = _HEAD.format(title=schema["title"], kind=kind)
    return "\n".join([head, *(_recipe(schema) if kind == "recipe" else _file(schema))]).rstrip("\n") + "\n"


def _file(schema: Schema) -> Iterator[str]:
    yield "## The document\n"
    yield _table(schema)
    for name, part in schema["definitions"].items():
        yield f"## {name}\n\n{part['description']}\n"
        yield _table(part)


def _recipe(schema: Schema) -> Iterator[str]:
    definitions = schema["definitions"]
    steps = [definitions[kind.__name__] for kind in STEP_TYPES]
    common = list(StepBase.model_fields)
    yield _RECIPE_HEAD
    yield "## The document\n"
    yield _table(schema)
    yield "## Steps\n"
    yield ", ".join(f"[`{_kind(step)}`](#step-{_kind(step)})" for step in steps) + ".\n"
    yield "Every step may say:\n"
    yield _table(steps[0], only=common)
    for step in steps:
        yield f"### Step `{_kind(step)}`\n\n{step['description']}\n"
        yield _table(step, without=[*common, "step"])
        yield _yaml(step["examples"][0])
    yield "## Parts of steps and of the document\n"
    for name in _PARTS:
        part = definitions[name]
        yield f"### {name}\n\n{part['description']}\n"
        yield _table(next((form for form in part.get("anyOf", []) if "properties" in form), part))
    yield "## Safety\n"
    yield f"{definitions['Safety']['description']}\n"
    yield _table(definitions["Safety"])
    for name in [name for name in definitions if name.endswith("Bound")]:
        yield f"### {name}\n\n{definitions[name]['description']}\n"
        yield _table(definitions[name])
    yield "## Measurements\n"
    yield f"{definitions['Measurement']['description']}\n"
    yield _table(definitions["Measurement"])
    for branch in definitions["Measurement"]["properties"]["from"]["allOf"]:
        source = definitions[_name(branch["then"])]
        kind = source["properties"]["kind"]["const"]
        yield f"### Measurement `{kind}`\n\n{source['description']}\n"
        yield _table(source, without=["kind"])
    for name in ("Limits", "Band"):
        yield f"### {name}\n\n{definitions[name]['description']}\n"
        yield _table(definitions[name])
    yield f"## Routes\n\n{cleandoc(Route.__doc__ or '')}\n"
    yield _EXPRESSIONS
    yield _rows(("signal", "unit", "what it is"), [_named(name, *what) for name, what in SIGNALS.items()])
    yield _rows(("constant", "unit", "what it is"), [_named(name, *what) for name, what in CONSTANTS.items()])
    yield "Besides: variables set by `into`, measurements once worked out, `has_ROLE`, and `grade_certain`.\n"
    yield "## Units\n"
    yield _rows(("quantity", "units"), [(kind.replace("_", " "), ", ".join(_units(kind))) for kind in _dimensions()])


def _named(name: str, dimension: str, text: Any) -> tuple[str, str, str]:
    return f"`{name}`", next(iter(_units(dimension)), ""), str(text)


def _units(dimension: str) -> list[str]:
    units = [f"`{unit}`" for unit, (kind, _) in UNITS.items() if kind == dimension]
    rates = {"current": ["`C`", "`C/n`"], "power": ["`P`", "`P/n`"]}
    return [*units, *rates.get(dimension, [])]


def _dimensions() -> list[str]:
    return list(dict.fromkeys(kind for kind, _ in UNITS.values()))


def _kind(step: Schema) -> str:
    return str(step["properties"]["step"]["const"])


def _name(reference: Schema) -> str:
    return str(reference["$ref"]).rsplit("/", 1)[1]


def _table(described: Schema, only: list[str] | None = None, without: list[str] | None = None) -> str:
    """Key, what it takes, what it is when not given, what it means."""
    required = described.get("required", [])
    rows = []
    for key, value in described["properties"].items():
        if (only is not None and key not in only) or key in (without or []):
            continue
        default = "needed" if key in required else _default(value.get("default"))
        rows.append((f"`{key}`", _takes(value), default, " ".join(value["description"].split())))
    rows.sort(key=lambda row: row[2] != "needed")
    return _rows(("key", "takes", "when not given", "meaning"), rows) if rows else "No keys of its own.\n"


def _default(value: Any) -> str:
    if value is None or value == [] or value == {}:
        return ""
    return f"`{json.dumps(value) if not isinstance(value, str) else value}`"


def _rows(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _yaml(example: Any) -> str:
    text = yaml.safe_dump([example], allow_unicode=True, sort_keys=False, default_flow_style=None, width=110)
    return f"```yaml\n{text}```\n"


def _takes(value: Schema) -> str:
    """What a key takes, in words."""
    match value:
        case {"$ref": _}:
            name = _name(value)
            return "[step](#steps)" if name == "AnyStep" else f"[{name}](#{name.lower()})"
        case {"title": title}:
            return str(title)
        case {"const": const}:
            return f"`{const}`"
        case {"enum": options}:
            return ", ".join(f"`{option}`" for option in options)
        case {"anyOf": options}:
            return " or ".join(dict.fromkeys(_takes(option) for option in options if not _is_parameter(option)))
        case {"items": [*cells]}:
            return f"list of {len(cells)}: {', '.join(_takes(cell) for cell in cells)}"
        case {"items": item}:
            return f"list of {_takes(item)}"
        case {"allOf": [*kinds]}:
            return " or ".join(_takes(kind["then"]) for kind in kinds) if len(kinds) < 6 else "one of the kinds below"
        case {"patternProperties": inner}:
            return f"mapping of names to {_takes(next(iter(inner.values())))}"
        case {"type": "object", "additionalProperties": dict(inner)}:
            return f"mapping of names to {_takes(inner)}"
        case {"type": "integer"}:
            return f"whole number{_range(value)}"
        case {"type": "number"}:
            return f"number{_range(value)}"
        case {"type": "boolean"}:
            return "`true` or `false`"
        case _:
            return "text"


def _range(value: Schema) -> str:
    low, high = value.get("minimum"), value.get("maximum")
    return f", {low} to {high}" if low is not None and high is not None else ""


def _is_parameter(option: Schema) -> bool:
    return str(option.get("pattern", "")).startswith("^\\$") and "title" not in option
