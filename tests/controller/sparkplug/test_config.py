"""The `sparkplug` section of a line file, and what a station has by its instruments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config.documents import DocumentError
from config.line import SparkplugConfig
from controller.sparkplug.metrics import COMMANDS, MESSAGE, station_specs
from tests.controller.sparkplug.assertions import asserts
from tests.virtual import demo_line

SECTION: dict[str, Any] = {"group_id": "Pohang", "edge_node_id": "line1"}


def section(tmp_path: Path, **changes: Any) -> SparkplugConfig:
    def change(line: dict[str, Any]) -> None:
        line["sparkplug"] = {**SECTION, **changes}

    config = demo_line(tmp_path, change).sparkplug
    assert config is not None
    return config


def test_a_line_file_has_none_unless_it_says_so(tmp_path: Path) -> None:
    assert demo_line(tmp_path).sparkplug is None
    config = section(tmp_path)
    assert (config.primary_host, config.datatype_in_data, config.broker) == (None, False, None)


@asserts(
    "intro-group-id-string",
    "intro-group-id-chars",
    "topic-structure-namespace-valid-group-id",
    "intro-edge-node-id-string",
    "intro-edge-node-id-chars",
    "topic-structure-namespace-valid-edge-node-id",
)
@pytest.mark.parametrize("id", ["a/b", "a+", "#", "", "a b", "a\u0000b", "\ufffe", "a\n", "x" * 65, 7, None])
def test_an_id_that_no_topic_can_carry_is_refused(assertion: str, id: Any, tmp_path: Path) -> None:
    key = "group_id" if "group" in assertion else "edge_node_id"
    with pytest.raises(DocumentError) as refused:
        section(tmp_path, **{key: id})
    assert refused.value.code == "E-CONFIG"


@asserts("intro-device-id-string", "intro-device-id-chars", "topic-structure-namespace-valid-device-id")
@pytest.mark.parametrize("id", ["a/b", "a+", "#", "", "St01", "a b"])
def test_a_station_whose_name_no_topic_can_carry_is_refused(assertion: str, id: str, tmp_path: Path) -> None:
    def rename(line: dict[str, Any]) -> None:
        line["stations"][id] = line["stations"].pop("st01")

    with pytest.raises(DocumentError):
        demo_line(tmp_path, rename)


@pytest.mark.parametrize(
    "changes",
    [
        {"broker": {"url": "mqtt://127.0.0.1", "insecure": True, "results": {"closed_by": "puback"}}},
        {"stored_values": -1},
        {"primary_hosts": "scada"},
    ],
)
def test_a_wish_that_would_not_be_met_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DocumentError):
        section(tmp_path, **changes)


def test_without_any_broker_there_is_no_node(tmp_path: Path) -> None:
    def change(line: dict[str, Any]) -> None:
        line["broker"], line["sparkplug"] = {"kind": "none"}, dict(SECTION)

    with pytest.raises(DocumentError, match="sparkplug needs a broker"):
        demo_line(tmp_path, change)


def test_a_station_has_the_metrics_of_its_instruments_and_a_command_for_each_word(tmp_path: Path) -> None:
    station = demo_line(tmp_path).stations["st01"]
    names = [spec.name for spec in station_specs(station)]
    assert len(set(names)) == len(names)
    assert {"Live/Voltage", "Interlock/Ready", "Battery/Temperature Max"} <= set(names)
    assert "Chamber/Temperature" not in names
    writable = {spec.name for spec in station_specs(station) if spec.writable}
    assert writable == {MESSAGE, *(f"Command/{name}" for name in COMMANDS)}
    bare = station.model_copy(update={"instruments": {"cycler": station.instruments["cycler"]}})
    assert not any(spec.name.startswith(("Battery/", "Interlock/")) for spec in station_specs(bare))


def test_deadbands_follow_what_the_station_stands(tmp_path: Path) -> None:
    station = demo_line(tmp_path).stations["st01"]
    bands = {spec.name: spec.deadband for spec in station_specs(station)}
    assert bands["Live/Voltage"] == pytest.approx(0.001 * station.ratings.max_voltage_v)
    assert bands["Live/Current"] == pytest.approx(0.001 * station.ratings.max_charge_current_a)
    assert all(band > 0 for name, band in bands.items() if name in ("Run/Charged", "Battery/Cell Voltage Min"))
