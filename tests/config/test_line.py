from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from config import (
    DocumentError,
    load_dut_model,
    load_line,
    model_of_code,
    read_document,
    shipped_dut_models,
    validate_line,
)
from config.documents import Document

LINES = sorted((Path(__file__).parents[2] / "config" / "lines").glob("*.yaml"))
DEMO = Path(__file__).parents[2] / "config" / "lines" / "demo.yaml"
CYCLER = ("stations", "st01", "instruments", "cycler")


def changed(change: Callable[[dict[str, Any]], None]) -> Document:
    document = read_document(DEMO)
    change(document.data)
    return document


@pytest.mark.parametrize("path", LINES, ids=lambda path: path.name)
def test_every_shipped_line_loads(path: Path) -> None:
    assert load_line(path).stations


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("stattions",), {}, "stattions: unknown key; did you mean 'stations'?"),
        (("schema",), "evaline/line/9", "schema: must be 'evaline/line/1'"),
        (("line", "name"), "Line 1", "line.name: must match "),
        (("stations",), {}, "at least one station"),
        ((*CYCLER, "link", "kind"), "gpib", "link: there is no 'gpib'; known are modbus_rtu"),
        ((*CYCLER, "link", "timeout_s"), 0, "greater than 0"),
        (("http", "host"), "0.0.0.0", "http.host"),
        (("stations", "st01", "ratings", "max_power_w"), -1, "greater than 0"),
        (("stations", "st01", "watchdog_s"), 1000, "less than or equal to 60"),
        (("stations", "st01", "impedance_probe_cells"), [96, 1], "from the first to the last cell, not 96 to 1"),
        (("stations", "st01", "scan_period_s"), 4, "would trip the cycler's watchdog of 5 s"),
        (("broker",), {"kind": "kafka"}, "broker: there is no 'kafka'; known are embedded"),
    ],
)
def test_a_faulty_line_file_is_one_line_with_its_place(path: tuple[str, ...], value: Any, said: str) -> None:
    def change(data: dict[str, Any]) -> None:
        place = data
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = value

    with pytest.raises(DocumentError, match=r"demo.yaml:\d+:\d+: .*\[E-CONFIG\]") as error:
        validate_line(changed(change))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_station_that_nothing_can_switch_off_is_refused() -> None:
    with pytest.raises(DocumentError, match="nothing can be switched off without them"):
        validate_line(changed(lambda data: data["stations"]["st01"]["instruments"].pop("interlock")))


def test_no_two_stations_own_an_instrument() -> None:
    def twin(data: dict[str, Any]) -> None:
        data["stations"]["st02"] = data["stations"]["st01"]

    with pytest.raises(DocumentError, match="st02/cycler and st01/cycler have one address"):
        validate_line(changed(twin))


def test_a_scanned_code_belongs_to_exactly_one_model() -> None:
    models = shipped_dut_models()
    assert model_of_code("PHE96-000001", models).id == "nmc_96s_60ah"
    with pytest.raises(DocumentError, match="fits no battery model"):
        model_of_code("PHE96-1", models)
    twins = {"a": models["nmc_96s_60ah"], "b": models["nmc_96s_60ah"].model_copy(update={"id": "twin"})}
    with pytest.raises(DocumentError, match="several battery models: nmc_96s_60ah, twin"):
        model_of_code("PHE96-000001", twins)


def test_a_model_whose_code_pattern_is_no_pattern_is_refused(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "config" / "duts" / "nmc_96s_60ah.yaml"
    broken = tmp_path / "broken.yaml"
    broken.write_text(shipped.read_text().replace("PHE96-[0-9]{6}", "PHE96-["))
    with pytest.raises(DocumentError, match=r"broken.yaml:4:1: code_pattern: not a regular expression.*E-DUT"):
        load_dut_model(broken)
