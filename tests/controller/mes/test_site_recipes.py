"""A site's own recipes: those that can be started are offered, of the others the log tells why they are not."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from controller.mes.recipes import recipe_infos
from controller.recipes import LIBRARY, library_ids


def offered(directory: Path) -> tuple[set[str], list[dict[str, object]]]:
    """Ids of the recipes offered, and what was logged."""
    with capture_logs() as logged:
        found = {info.id for info in recipe_infos(str(directory))}
    return found, [dict(line) for line in logged]


@pytest.mark.parametrize("content", [b"steps: [", b"name: only a name\n", b"\xff\xfe"])
def test_a_faulty_recipe_is_left_out_with_one_line_that_says_why(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "faulty.yaml").write_bytes(content)
    ids, logged = offered(tmp_path)
    assert ids == set(library_ids())
    (line,) = logged
    assert line["log_level"] == "warning"
    assert line["file"] == str(tmp_path / "faulty.yaml")
    assert line["why"]
    assert "\n" not in str(line["why"])


def test_a_sound_recipe_is_offered_without_a_word(tmp_path: Path) -> None:
    name = library_ids()[0]
    for table in LIBRARY.glob("*.csv"):
        (tmp_path / table.name).write_bytes(table.read_bytes())
    (tmp_path / "our_own.yaml").write_bytes((LIBRARY / f"{name}.yaml").read_bytes())
    ids, logged = offered(tmp_path)
    assert ids == {*library_ids(), "our_own"}
    assert logged == []
