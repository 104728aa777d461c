"""A result is signed so that anybody can check it; a change of it, or of who signed, shows."""

from __future__ import annotations

import copy
import json
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.journal.check import verify
from controller.mes.signing import KEY_FILE, Signer, SigningError, key_id, signature_problems, verified

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)  # fmt: skip


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer.of(tmp_path_factory.mktemp("key"))


def keys(signer: Signer) -> dict[str, bytes]:
    import base64

    return {signer.public_key.key_id: base64.b64decode(signer.public_key.public_key)}


@given(record=st.dictionaries(st.text(max_size=8).filter(lambda name: name != "signature"), VALUES, max_size=4))
def test_a_signature_holds_over_the_journals_json_and_for_this_content_alone(
    signer: Signer, record: dict[str, Any]
) -> None:
    signed = signer.sign(record)
    through_the_wire = json.loads(json.dumps(signed, sort_keys=True))
    assert verified(through_the_wire, keys(signer)) == ""
    assert verified(signed | {"verdict changed": 1}, keys(signer)) == "its signature does not fit its content"


def test_what_is_not_signed_or_by_a_stranger_is_told(signer: Signer, tmp_path: Path) -> None:
    signed = signer.sign({"verdict": "pass"})
    assert "not known here" in verified(Signer.of(tmp_path).sign({"verdict": "pass"}), keys(signer))
    assert verified({"verdict": "pass"}, keys(signer)) == "it is not signed"
    assert verified(signed | {"signature": signed["signature"] | {"value": "xx"}}, keys(signer)) != ""
    assert verified(signed | {"signature": {}}, keys(signer)) != ""


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53 + 1])
def test_what_json_does_not_carry_exactly_is_not_signed(signer: Signer, value: float) -> None:
    with pytest.raises(ValueError):
        signer.sign({"x": value})


def test_the_key_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    first, second = Signer.of(tmp_path / "state"), Signer.of(tmp_path / "state")
    assert first.public_key == second.public_key
    assert stat.S_IMODE((tmp_path / "state" / KEY_FILE).stat().st_mode) == 0o600
    assert first.public_key.key_id == key_id(next(iter(keys(first).values())))


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_key_that_is_none_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / KEY_FILE).write_bytes(content)
    with pytest.raises(SigningError, match=r"signing_key.pem: is no private key \[E-SIGNING\]$"):
        Signer.of(tmp_path)


def change_result(journal: Path, change: Any) -> None:
    """As somebody with the disk in his hands."""
    with closing(sqlite3.connect(journal)) as connection:
        ((run, text),) = connection.execute("SELECT run, body FROM results").fetchall()
        record = json.loads(text)
        change(record)
        connection.execute("UPDATE results SET body = ? WHERE run = ?", (json.dumps(record), run))
        connection.commit()


def test_verify_finds_results_that_were_changed_or_robbed_of_their_signature(finished: Path) -> None:
    assert signature_problems(finished) == []
    assert verify(finished).ok
    change_result(finished, lambda record: record.update(grade="A"))
    (problem,) = signature_problems(finished)
    assert (problem.where, problem.what) == ("result of run st01-000001", "its signature does not fit its content")
    change_result(finished, lambda record: record.pop("signature"))
    assert [problem.what for problem in signature_problems(finished)] == ["it is not signed"]


def test_the_order_of_keys_and_the_form_of_numbers_do_not_matter(signer: Signer) -> None:
    record = {"b": 1.0, "a": -0.0, "c": 1e21, "d": "é\u2028"}
    signed = signer.sign(record)
    other = json.loads('{"d":"\\u00e9\\u2028","c":1000000000000000000000.0,"a":0,"b":1}')
    assert verified(copy.deepcopy(other) | {"signature": signed["signature"]}, keys(signer)) == ""
