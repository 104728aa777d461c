"""The committed contract is that of the models, other programs can read it, and it grows without breaking anybody."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from config.line import LineIdentity, MesCommand
from controller.mes.contract import KINDS, channels, files, message_model, schema, write
from controller.mes.messages import VERSION, StateName
from controller.mes.requests import COMMANDS
from controller.mes.topics import Topics
from controller.states import State
from tests.compatibility import breaking_changes
from tests.contract import assert_in_contract
from tests.independent import node_package

CONTRACT = Path(__file__).parents[3] / "docs" / "contract"
RELEASES = CONTRACT / "releases"
TOPICS = Topics(LineIdentity(enterprise="e", site="s", area="a", name="l"))


def committed(directory: Path) -> dict[str, str]:
    return {
        path.relative_to(directory).as_posix(): path.read_text(encoding="utf-8")
        for path in directory.rglob("*.json")
        if RELEASES not in path.parents
    }


def test_the_committed_contract_is_that_of_the_models(tmp_path: Path) -> None:
    write(tmp_path)
    assert committed(tmp_path) == files()
    assert committed(CONTRACT) == files(), "run `make docs`, and commit what it writes"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_schema_is_one(kind: Any) -> None:
    Draft202012Validator.check_schema(schema(kind.name))


def test_the_asyncapi_document_is_valid_to_its_own_parser(tmp_path: Path) -> None:
    script = (
        'const {Parser} = require("@asyncapi/parser");'
        'new Parser().parse(require("fs").readFileSync(process.argv[1], "utf8")).then(({document, diagnostics}) => {'
        "const faults = diagnostics.filter(d => d.severity < 2).map(d => d.path.join('.') + ': ' + d.message);"
        "console.log(JSON.stringify({valid: !!document, faults, channels: document && document.channels().length}))})"
    )

    def parsed(path: Path) -> dict[str, Any]:
        done = subprocess.run(
            ["node", "-e", script, str(path)], cwd=node_package("@asyncapi/parser"), capture_output=True, text=True,
            timeout=100, check=True,
        )  # fmt: skip
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    assert parsed(CONTRACT / "asyncapi.json") == {"valid": True, "faults": [], "channels": len(channels())}
    wrong = json.loads((CONTRACT / "asyncapi.json").read_text(encoding="utf-8"))
    wrong["operations"]["cmd"]["bindings"]["mqtt"]["qos"] = 7
    (tmp_path / "wrong.json").write_text(json.dumps(wrong), encoding="utf-8")
    assert not parsed(tmp_path / "wrong.json")["valid"], "it would say so"


def test_the_words_of_the_contract_are_those_of_the_line() -> None:
    assert set(StateName.__args__) == set(State.__members__)  # type: ignore[attr-defined]
    assert MesCommand.__args__ == COMMANDS  # type: ignore[attr-defined]
    commands = json.dumps(schema("cmd"))
    assert all(f'"{command}"' in commands for command in COMMANDS)


@pytest.mark.parametrize(
    "topic", ["station_connection", "state", "info", "telemetry", "result", "result_ack", "command", "reply"]
)
def test_topics_are_those_of_the_document(topic: str) -> None:
    name = getattr(TOPICS, topic)("st")
    levels = {"{enterprise}": "e", "{site}": "s", "{area}": "a", "{line}": "l", "{station}": "st"}
    addresses = {address for _, address, _ in channels()}
    for word, value in levels.items():
        addresses = {address.replace(word, value) for address in addresses}
    assert name in addresses


def test_a_message_that_says_more_or_less_than_declared_is_found() -> None:
    good = TOPICS.connection_payload("online", 0.0)
    assert_in_contract(good)
    for broken in (
        good | {"colour": "red"},
        good | {"data": {"state": "sleeping"}},
        good | {"data": {}},
        good | {"data": {"state": "online", "since": 1}},
        {key: value for key, value in good.items() if key != "source"},
        good | {"sequence": 7},
    ):
        with pytest.raises(AssertionError):
            assert_in_contract(broken)


# ------------------------------------------------------------------------------------------------- compatibility


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_within_a_major_version_every_change_is_compatible(kind: Any) -> None:
    major = VERSION.split(".")[0]
    released = sorted(RELEASES.glob(f"{major}.*"), key=lambda path: int(path.name.split(".")[1]))
    assert released, "there is a first release"
    for release in released:
        path = release / "schemas" / f"{kind.name}.json"
        if path.exists():
            old = json.loads(path.read_text(encoding="utf-8"))
            assert breaking_changes(old, schema(kind.name), taken=kind.taken) == []


def test_every_released_topic_is_still_there_and_serves_alike() -> None:
    now = json.loads(files()["asyncapi.json"])
    for release in RELEASES.glob(f"{VERSION.split('.')[0]}.*"):
        then = json.loads((release / "asyncapi.json").read_text(encoding="utf-8"))
        for name, channel in then["channels"].items():
            assert now["channels"][name]["address"] == channel["address"]
            for key in ("action", "channel", "messages", "bindings"):
                assert now["operations"][name][key] == then["operations"][name][key]


OLD = {
    "type": "object",
    "required": ["a", "word"],
    "properties": {
        "a": {"type": "number", "maximum": 10},
        "b": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "word": {"enum": ["on", "off"]},
        "inner": {"$ref": "#/$defs/Inner"},
        "list": {"type": "array", "items": {"type": "string", "maxLength": 5}},
        "map": {"type": "object", "additionalProperties": {"type": "integer"}},
        "text": {"type": "string", "pattern": "^a"},
    },
    "$defs": {"Inner": {"type": "object", "required": ["x"], "properties": {"x": {"const": 1}, "y": {}}}},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    new = copy.deepcopy(OLD)
    *way, last = path.split("/")
    place: Any = new
    for key in way:
        place = place[int(key)] if isinstance(place, list) else place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return new


SENT, TAKEN, BOTH, NEITHER = {False}, {True}, {False, True}, set[bool]()


@pytest.mark.parametrize(
    ("path", "value", "breaks"),
    [
        ("properties/more", {"type": "string"}, NEITHER),
        ("properties/b", None, BOTH),
        ("$defs/Inner/properties/y", None, BOTH),
        ("required", ["a"], SENT),
        ("required", ["a", "word", "b"], TAKEN),
        ("$defs/Inner/required", ["x", "y"], TAKEN),
        ("$defs/Inner/required", [], SENT),
        ("additionalProperties", False, TAKEN),
        ("properties/word/enum", ["on"], TAKEN),
        ("properties/word/enum", ["on", "off", "broken"], SENT),
        ("properties/word", {"type": "string"}, SENT),
        ("properties/a/type", "string", BOTH),
        ("properties/a/type", "integer", TAKEN),
        ("properties/a/maximum", 5, TAKEN),
        ("properties/a/maximum", 50, SENT),
        ("properties/a/maximum", None, SENT),
        ("properties/a/minimum", 0, TAKEN),
        ("properties/b/anyOf", [{"type": "string"}], TAKEN),
        ("properties/b/anyOf", [{"type": "string"}, {"type": "null"}, {"type": "number"}], SENT),
        ("properties/list/items/maxLength", 3, TAKEN),
        ("properties/list/items/type", "number", BOTH),
        ("properties/map/additionalProperties/type", "string", BOTH),
        ("properties/text/pattern", "^b", BOTH),
        ("$defs/Inner/properties/x", {"const": 2}, BOTH),
    ],
)
def test_the_comparison_finds_every_kind_of_breaking_change(path: str, value: Any, breaks: set[bool]) -> None:
    new = changed(path, value)
    found = {taken for taken in (False, True) if breaking_changes(OLD, new, taken=taken)}
    assert found == breaks


def test_nothing_changed_is_nothing_broken() -> None:
    for kind in KINDS:
        for taken in (False, True):
            assert breaking_changes(schema(kind.name), schema(kind.name), taken=taken) == []


# ------------------------------------------------------------------------------------------- models and schemas

# Python's `$` matches before a last line feed, ECMAScript's, by which schemas are written, does not
TEXT = st.text(st.characters(exclude_characters="\n"), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT | st.sampled_from(["hold", "start", "c1", "2026-01-01T00:00:00Z", "evaline.cmd.v1", "1.0"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=5) | st.sampled_from(["data", "command", "cmd_id", "order"]), inner, max_size=6),
    max_leaves=15,
)  # fmt: skip
COMMAND = st.fixed_dictionaries(
    {"command": st.sampled_from(COMMANDS) | JSON, "cmd_id": JSON | st.just("c1"), "actor": st.just("mes") | JSON},
    optional={
        "issued_at": st.just("2026-01-01T00:00:00Z") | JSON, "expires_at": st.just("2026-01-01T00:00:00Z") | JSON,
        "order_id": st.just("WO-1") | JSON, "codes": JSON, "reason": JSON, "station": JSON,
        "order": st.fixed_dictionaries({"order_id": st.just("WO-1") | JSON, "dut": st.just("d"), "recipe": JSON})
        | JSON,
    },
)  # fmt: skip
ENVELOPE = {"specversion": "1.0", "id": "m", "source": "/mes", "type": "evaline.cmd.v1"}


@given(data=COMMAND | JSON)
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_the_schema_of_commands_refuses_what_the_model_refuses(data: Any) -> None:
    """Apart from moments that no calendar has: what the schema takes, the model takes, and the other way round."""
    message = ENVELOPE | {"data": data}
    by_schema = Draft202012Validator(schema("cmd")).is_valid(message)
    by_model = _accepts(lambda: message_model("cmd").model_validate(message, strict=True))
    assert by_schema == by_model


def _accepts(validate: Callable[[], Any]) -> bool:
    try:
        validate()
    except ValueError:
        return False
    return True
