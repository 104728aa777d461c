from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from config import DocumentError, parse_document, read_document
from config.documents import MAX_BYTES


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("1.10", 1.1),
        ("'1.10'", "1.10"),
        ("12:30", "12:30"),
        ("2026-11-22", "2026-11-22"),
        ("1_000", "1_000"),
        ("0o17", "0o17"),
        ("0x1F", "0x1F"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("1e400", "1e400"),
        ("~", None),
        ("true", True),
        ("-3", -3),
        ("007", "007"),
    ],
)
def test_plain_scalars_are_typed_as_in_json_and_nothing_else(text: str, value: object) -> None:
    assert parse_document(f"a: {text}", "x.yaml").data == {"a": value}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", r"x.yaml:2:1: the key 'a' stands here a second time \[E-YAML-DUPLICATE\]"),
        ("a: &x 1\nb: *x\n", r"x.yaml:1:4: anchors and aliases are not allowed \[E-YAML-ALIAS\]"),
        ("a: !!python/object:os.system x", r"x.yaml:1:4: the tag .* is not allowed \[E-YAML-TAG\]"),
        ("a: [1, 2", r"x.yaml:\d+:\d+: not valid YAML: .* \[E-YAML-SYNTAX\]"),
        ("a:\n\t- 1", r"x.yaml:2:1: not valid YAML: .* \[E-YAML-SYNTAX\]"),
        ("? [1]\n: 2", r"x.yaml:1:3: a key must be plain text \[E-YAML-KEY\]"),
        ("", r"x.yaml: the file is empty \[E-YAML-EMPTY\]"),
        ("a: 1\n---\nb: 2", r"E-YAML-SYNTAX"),
        ("[" * 100, r"nested deeper than 40 levels \[E-YAML-DEPTH\]"),
        ("a: \x07", r"E-YAML-SYNTAX"),
    ],
)
def test_what_is_not_strict_yaml_is_one_line_with_its_place(text: str, message: str) -> None:
    with pytest.raises(DocumentError, match=message) as error:
        parse_document(text, "x.yaml")
    assert "\n" not in str(error.value)


def test_every_value_knows_where_it_stood() -> None:
    document = parse_document("a:\n  - b: 1\n    c: 2\n", "x.yaml")
    assert document.position(("a", 0, "c")) == (3, 5)
    assert document.position(("a", 0, "missing")) == (2, 5), "the nearest parent"
    assert str(document.error("E-X", ("a", 0, "c"), "wrong")) == "x.yaml:3:5: wrong [E-X]"


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="No such file"):
        read_document(tmp_path / "none.yaml")
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: \xe9\n")
    with pytest.raises(DocumentError, match="not UTF-8 at byte 3"):
        read_document(latin)
    large = tmp_path / "large.yaml"
    large.write_bytes(b"a" * (MAX_BYTES + 1))
    with pytest.raises(DocumentError, match="larger than"):
        read_document(large)


scalars = st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text(max_size=20)
documents = st.dictionaries(st.text(min_size=1, max_size=10), scalars | st.lists(scalars, max_size=4), min_size=1)


@given(documents)
def test_what_json_can_say_is_read_back_unchanged(data: dict[str, object]) -> None:
    assert parse_document(yaml.dump(data, Dumper=_Quoting), "x.yaml").data == data


class _Quoting(yaml.SafeDumper):
    """Texts in quotes, everything else plain, as in JSON."""


_Quoting.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


@given(st.text(max_size=200))
def test_no_text_crashes_the_parser(text: str) -> None:
    with suppress(DocumentError):
        parse_document(text, "x.yaml")
