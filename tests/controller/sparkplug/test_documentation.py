"""The list of assertions in docs/sparkplug.md is whole, and says what the tests do."""

from __future__ import annotations

import re
from pathlib import Path

from controller.sparkplug.metrics import COMMANDS, NODE_SPECS, station_specs
from tests.controller.sparkplug import test_config, test_servers, test_session  # noqa: F401  # they register theirs
from tests.controller.sparkplug.assertions import ASSERTED, CHECKS
from tests.virtual import bench_line

PAGE = (Path(__file__).parents[3] / "docs" / "sparkplug.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([a-zA-Z0-9-]+) \| (checked|not applicable|open) \|(.*)\|$", PAGE, re.M)
STATUS = {id: status for id, status, _ in ROWS}


def test_the_list_has_every_assertion_of_the_specification_once() -> None:
    """299 of them, by chapter, as the specification's text counts."""
    assert len(ROWS) == len(STATUS) == 299
    chapters = [len(re.findall(r"^\| [a-z]", part, re.M)) - 1 for part in PAGE.split("\n### ")[1:]]
    assert sum(chapters) == 299


def test_what_is_called_checked_has_a_test_and_what_has_a_test_is_called_checked() -> None:
    checked = {id for id, status in STATUS.items() if status == "checked"}
    assert checked == {*CHECKS, *ASSERTED}
    assert len(checked) == 181


def test_none_is_open() -> None:
    assert set(STATUS.values()) == {"checked", "not applicable"}


def test_what_is_not_checked_says_why() -> None:
    assert [id for id, status, why in ROWS if (status != "checked") != bool(why.strip())] == []


def test_every_metric_is_on_the_page(tmp_path: Path) -> None:
    battery = {"model": "nmc_96s_60ah", "code": "PHE96-004711"}
    station = bench_line(tmp_path, battery).stations["st01"]
    for spec in (*NODE_SPECS, *station_specs(station)):
        folder, _, name = spec.name.partition("/")
        if folder in ("Properties", "Command"):
            continue
        assert folder in PAGE
        assert name.removesuffix(" Max").removesuffix(" Min") in PAGE, spec.name
    for command in COMMANDS:
        assert command in PAGE


def test_it_is_not_called_what_only_the_test_kit_may_say() -> None:
    assert "compatible" not in PAGE.lower()
