from __future__ import annotations

import copy
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
        (("stations", "st01", "impedance_probe_cells"), "Line 1", "impedance_probe_cells: "),
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


def test_of_several_mistakes_one_line_tells_the_first_and_how_many_more() -> None:
    with pytest.raises(DocumentError) as error:
        validate_line(changed(lambda data: data.update(state_dir=1, http=2)))
    assert "state_dir: must be text (and 1 more) [E-CONFIG]" in str(error.value)
    assert error.value.in_language("ko").endswith("(외 1건) [E-CONFIG]")
    assert [line.split(": ", 1)[1] for line in error.value.lines()] == [
        "state_dir: must be text [E-CONFIG]",
        "http: must be a mapping [E-CONFIG]",
    ]


def test_a_station_that_nothing_can_switch_off_is_refused() -> None:
    with pytest.raises(DocumentError, match="nothing can be switched off without them"):
        validate_line(changed(lambda data: data["stations"]["st01"]["instruments"].pop("interlock")))


def test_no_two_stations_own_an_instrument() -> None:
    def twin(data: dict[str, Any]) -> None:
        data["stations"]["st02"] = data["stations"]["st01"]

    with pytest.raises(DocumentError, match="st02/cycler and st01/cycler have one address"):
        validate_line(changed(twin))


Change = Callable[[dict[str, Any], dict[str, Any]], None]
BUS = {"kind": "serial", "port": "/dev/ttyRS485", "spacing_s": 0.5}
SERVER = {"kind": "xml_tcp", "host": "127.0.0.1", "port": 5020}


def neighbours(link: dict[str, Any], change: Change = lambda first, second: None) -> Document:
    """A line of two stations whose chambers are on one link, at the addresses 1 and 2."""

    def put(data: dict[str, Any]) -> None:
        first = data["stations"]["st01"]["instruments"]
        second = {key: copy.deepcopy(first[key]) for key in ("cycler", "interlock")}
        for instrument in second.values():
            instrument["link"] = {"kind": "modbus_tcp", "host": "127.0.0.1", "port": 0}
        data["stations"]["st02"] = {**data["stations"]["st01"], "instruments": second}
        for number, instruments in enumerate((first, second), 1):
            settings = {"address": number}
            instruments["chamber"] = {"driver": "espec_p300", "link": dict(link), "settings": settings}
        change(first["chamber"], second["chamber"])

    return changed(put)


@pytest.mark.parametrize("link", [BUS, SERVER])
def test_instruments_with_addresses_of_their_own_share_a_bus(link: dict[str, Any]) -> None:
    line = validate_line(neighbours(link))
    assert [station.instruments["chamber"].is_shared for station in line.stations.values()] == [True, True]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda first, second: second["settings"].update(address=1), "have one address 1 on one bus"),
        (lambda first, second: second.pop("settings"), "each with a settings.address of its own"),
        (lambda first, second: second["link"].update(baudrate=19200), "baudrate cannot be 19200 for one and 9600"),
        (lambda first, second: first["link"].update(spacing_s=0.3), "spacing_s cannot be 0.5 for one and 0.3"),
        (lambda first, second: first["link"].update(terminator="CR"), "terminator cannot be CRLF for one and CR"),
        (
            lambda first, second: second.update(link={"kind": "modbus_rtu", "port": "/dev/ttyRS485"}),
            "no two sessions own an instrument",
        ),
    ],
    ids=["same address", "no address", "baud rate", "spacing", "terminator", "another protocol"],
)
def test_what_cannot_share_a_bus_is_told_by_name(change: Change, said: str) -> None:
    with pytest.raises(DocumentError, match="st02/chamber and st01/chamber") as error:
        validate_line(neighbours(BUS, change))
    assert said in str(error.value)


def test_an_address_does_not_let_two_share_a_link_that_is_no_bus() -> None:
    visa = {"kind": "visa", "address": "ASRL/dev/ttyRS485::INSTR"}
    with pytest.raises(DocumentError, match="no two sessions own an instrument"):
        validate_line(neighbours(visa))


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
