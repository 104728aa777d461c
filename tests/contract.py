"""Every message that leaves in any test follows the contract: its schema, and nothing in it that is not declared."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from controller.mes.contract import message_model, schema


@cache
def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(schema(name))


def assert_in_contract(message: dict[str, Any]) -> None:
    """One message as JSON; raises AssertionError that says where it is not as declared."""
    name = message["type"].removeprefix("evaline.").removesuffix(".v1")
    faults = [f"{error.json_path}: {error.message[:300]}" for error in _validator(name).iter_errors(message)]
    assert not faults, f"{message['type']} {message['id']}: {faults}"
    model = message_model(name).model_validate(message)
    declared = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
    undeclared = _more(message, declared, "$")
    assert not undeclared, f"{message['type']} {message['id']} says what the contract does not: {undeclared}"


def assert_outbox_in_contract(journal: Path) -> int:
    """Every message in a journal's outbox; returns how many."""
    with closing(sqlite3.connect(f"{journal.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        payloads = [json.loads(text) for (text,) in connection.execute("SELECT payload FROM outbox")]
    for payload in payloads:
        assert_in_contract(payload)
    return len(payloads)


def _more(said: Any, declared: Any, where: str) -> list[str]:
    if isinstance(said, dict) and isinstance(declared, dict):
        extra = [f"{where}.{key}" for key in said.keys() - declared.keys()]
        return extra + [fault for key in said.keys() & declared.keys()
                        for fault in _more(said[key], declared[key], f"{where}.{key}")]  # fmt: skip
    if isinstance(said, list) and isinstance(declared, list):
        return [
            fault for n, pair in enumerate(zip(said, declared, strict=True)) for fault in _more(*pair, f"{where}[{n}]")
        ]
    return []
