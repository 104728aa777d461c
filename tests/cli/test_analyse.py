"""`evaline analyse`: a data file in, defects and results out; and a run's own file gives the run's own results."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controller.cli.analyse_words import DEFECTS, RESULTS, WITHHELD, WORDS, sentence, why
from sequences.analysis import Defect, evaluation
from tests.cli.plant import DISCHARGE, REST, Data, Here, as_yaml, recipe
from tests.sequences.analysis.batteries import Cell, full_cycles, record
from tests.virtual import Virtual, demo_line, in_virtual_time

HEADER = "Test Time / s,Voltage / V,Current / A"
KNOWN = ("--rated-capacity", "5 Ah", "--rated-energy", "18 Wh", "--chemistry", "nmc811")


def table(cell: Cell, *parts: tuple[float, float], **options: Any) -> list[str]:
    series = record(cell, *parts, **options)
    columns = zip(series.time, series.voltage, series.current, strict=True)
    return [HEADER, *(f"{t:g},{v:.4f},{i:.4f}" for t, v, i in columns)]


@pytest.fixture(scope="module")
def cycled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four discharges of one cell at 0.4C, a sample every 5 s, as a spotless file."""
    cell = Cell(ohmic=0.002, slow=0.001)
    parts = full_cycles([cell.usable - 0.05] * 4, ampere=2.0)
    path = tmp_path_factory.mktemp("cycled") / "cycled.csv"
    path.write_text("\n".join(table(cell, *parts, period=5.0, noise=1e-4, removed=0.02)) + "\n", encoding="utf-8")
    return path


def results(shown: Any) -> dict[str, float]:
    return {name: entry["value"] for name, entry in shown.json["results"].items()}


def test_the_screen_shows_every_subject(here: Here, cycled: Path) -> None:
    shown = here("analyse", cycled, *KNOWN)
    assert (shown.code, shown.err) == (0, "")
    lines = shown.out.splitlines()
    rows = len(cycled.read_text("utf-8").splitlines()) - 1
    assert lines[0] == f"{cycled}: {rows} samples of {rows} rows"
    for heading in (
        "defects: none", "segment  ", "charge and discharge  ", "result  ", "remaining capacity  ",
        "coulombic efficiency  ", "DC resistance in mohm by the time after the current began", "rests",
        "peaks of dQ/dV", "metals, kg of the rated energy", "not measured",
    ):  # fmt: skip
        assert any(line.startswith(heading) for line in lines), heading
    assert any("mean of 3 that agree" in line for line in lines)
    assert "  degradation modes: no uninterrupted full discharge was as slow as C/10" in lines


def test_json_has_every_number_with_uncertainty_and_lines(here: Here, cycled: Path) -> None:
    shown = here("analyse", cycled, *KNOWN, "--json")
    found = shown.json
    assert (shown.code, found["schema"], found["defects"]) == (0, "evaline/analysis/1", [])
    capacity = found["results"]["remainingCapacity"]
    assert capacity["value"] == pytest.approx(Cell().usable - 0.05, abs=2e-3)
    assert capacity["uncertainty"] > 0
    assert capacity["detail"]["settled"] == "yes"
    assert len(capacity["lines"]) == 3
    assert found["results"]["coulombicEfficiency"]["value"] == pytest.approx(1.0, abs=1e-3)
    assert {pulse["ohms"][0]["unit"] for pulse in found["pulses"]} == {"ohm"}
    assert found["metals"]["Ni"]["value"] == pytest.approx(18e-3 * 0.608)
    assert [sweep["kind"] for sweep in found["sweeps"]] == ["discharge", *["charge", "discharge"] * 3]


def test_a_pack_has_settled_after_two(here: Here, cycled: Path) -> None:
    settled = here("analyse", cycled, *KNOWN, "--kind", "pack", "--json").json["results"]["remainingCapacity"]
    assert (settled["detail"]["discharges"], settled["detail"]["settled"]) == (2, "yes")


def test_korean(here: Here, cycled: Path) -> None:
    shown = here("analyse", cycled, *KNOWN, "--lang", "ko")
    assert shown.code == 0
    assert "결함: 없음" in shown.out
    assert "잔존 용량" in shown.out
    assert "일치하는 3회의 평균" in shown.out


def test_accuracies_are_in_the_uncertainty(here: Here, cycled: Path) -> None:
    found = here("analyse", cycled, "--current-accuracy", "0.1 %", "--voltage-accuracy", "0.1 %", "--json").json
    capacity = found["results"]["remainingCapacity"]
    assert capacity["uncertainty"] / capacity["value"] == pytest.approx(1e-3 / 3**0.5, rel=0.1)


# -------------------------------------------------------------------------------------------------- untidy and useless


def test_an_untidy_file_is_analysed_with_its_defects_told(here: Here, cycled: Path, tmp_path: Path) -> None:
    """Rest noise, repeated headers, a step back, a lost row: the capacity stays, and all is said."""
    clean = here("analyse", cycled, "--json")
    random = np.random.default_rng(1)
    rows = []
    for line in cycled.read_text("utf-8").splitlines()[1:]:
        t, v, i = line.split(",")
        rows.append(f"{t},{v},{float(i) + random.normal(0, 0.01):.4f}" if float(i) == 0 else line)
    rows[5000] = rows[5000].replace(",", ",ERR", 1)
    untidy = [HEADER, *rows[:3000], HEADER, *rows[3000:7000], rows[6000], *rows[7000:]]
    path = tmp_path / "untidy.csv"
    path.write_text("\n".join(untidy), encoding="utf-8")
    shown = here("analyse", path, "--json")
    assert shown.code == 0
    told = {defect["code"]: (defect["count"], defect["line"]) for defect in shown.json["defects"]}
    assert told["W-DATA-HEADER-REPEATED"] == (1, 3002)
    assert told["W-DATA-CELL"] == (1, 5003)
    assert told["W-DATA-TIME-BACK"] == (1, 7003)
    assert "W-DATA-REST-NOISE" in told
    assert len(told) == 4
    for name, value in results(shown).items():
        assert value == pytest.approx(results(clean)[name], rel=2e-4), name
    screen = here("analyse", path).out
    assert "W-DATA-HEADER-REPEATED      1       3002  the header again inside the data; left out" in screen


def test_a_turned_sign_withholds_every_result(here: Here, tmp_path: Path) -> None:
    rows = table(Cell(), (0.0, 60.0), (-5.0, 900.0), (0.0, 60.0), (5.0, 900.0), (0.0, 60.0))
    turned = [
        rows[0],
        *(row.replace(",-5", ",+5") if ",-5" in row else row.replace(",5.0", ",-5.0") for row in rows[1:]),
    ]
    path = tmp_path / "turned.csv"
    path.write_text("\n".join(turned), encoding="utf-8")
    shown = here("analyse", path)
    assert shown.code == 5
    assert "E-DATA-SIGN" in shown.out
    assert "results are withheld" in shown.out
    assert "remaining capacity" not in shown.out
    assert "results" not in here("analyse", path, "--json").json
    again = here("analyse", path, "--map", "current=-Current / A in A", "--json")
    assert again.code == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "there are no data"),
        (b"\x89PNG\r\n\x1a\n", "no column for time, voltage, current"),
        (b"1,2,3\n2,3,4\n", "the header is missing; name the 3 columns by position"),
        (b"PAR1 not really", "cannot be read: "),
    ],
)
def test_a_useless_file_is_exit_5_and_a_sentence(here: Here, tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "useless"
    path.write_bytes(content)
    shown = here("analyse", path)
    assert (shown.code, shown.err) == (5, "")
    assert said in shown.out
    as_json = here("analyse", path, "--json")
    assert (as_json.code, as_json.json["samples"]) == (5, 0)
    assert as_json.json["defects"][-1]["withholds"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--rated-capacity", "60"), "--rated-capacity: '60': write a number and a unit"),
        (("--rated-capacity", "60 V"), "--rated-capacity: '60 V' is no charge of zero and above [E-QUANTITY]"),
        (("--rated-energy", "0 Wh"), "--rated-energy: must be above zero [E-QUANTITY]"),
        (("--voltage-min", "2.5 V"), "give --voltage-min and --voltage-max together"),
        (("--voltage-min", "4.2 V", "--voltage-max", "2.5 V"), "the lower one first [E-QUANTITY]"),
        (("--kind", "car"), "--kind 'car': there are cell, module, pack [E-QUANTITY]"),
        (("--map", "voltage=U"), "--map voltage: there is no column 'U'; the file has 'Test Time / s'"),
        (("--map", "speed=U"), "there is no field 'speed'"),
    ],
)
def test_a_wrong_call_is_exit_3_and_one_line(here: Here, cycled: Path, options: tuple[str, ...], said: str) -> None:
    shown = here("analyse", cycled, *options)
    assert shown.code == 3
    assert said in shown.err
    assert shown.err.count("\n") == 1


def test_a_file_that_is_not_there(here: Here, tmp_path: Path) -> None:
    here("analyse", tmp_path / "absent").says(
        3, f"evaline: {tmp_path}/absent: cannot be read: No such file or directory [E-FILE]"
    )


def test_every_word_is_in_both_languages() -> None:
    assert WORDS["en"].keys() == WORDS["ko"].keys()
    assert all(pair.en and pair.ko for pair in (*DEFECTS.values(), *RESULTS.values()))
    figures = {"counter": "net_ah", "counted": 1.0, "integral": 2.0, "apart_percent": 3.0}
    for lang in ("en", "ko"):
        assert "net_ah" in sentence(Defect("W-DATA-COUNTER", 1, 0, figures), lang)


# -------------------------------------------------------------------------------------------------- a run's own file


CHARGE = {"name": "charge", "step": "cccv", "current": "C/2", "cell_voltage": "4.20 V", "ends": ["current <= C/5"],
          "max_time": "1 h"}  # fmt: skip
PULSE = {"name": "pulse", "step": "pulse", "sample": "500 ms", "cell_voltage_min": "2.70 V",
         "cell_voltage_max": "4.20 V",
         "pulses": [{"direction": "discharge", "current": "1C", "duration": "10 s", "rest": "40 s"}]}  # fmt: skip
WHOLE = recipe(
    CHARGE,
    REST | {"name": "rest_full", "duration": "10 min"},
    DISCHARGE | {"name": "half", "current": "1C", "ends": ["depth >= 50 %"]},
    REST | {"name": "rest_half", "duration": "10 min"},
    PULSE,
    DISCHARGE | {"name": "empty", "current": "1C", "ends": ["step_time >= 50 min"]},
    REST | {"name": "rest_empty", "duration": "2 min"},
) | {
    "measurements": [
        {"name": name, "title": {"en": name, "ko": name}, "from": source}
        for name, source in {
            "remainingCapacity": {"kind": "capacity", "after": "charge", "until": "empty"},
            "remainingEnergy": {"kind": "energy", "after": "charge", "until": "empty"},
            "stateOfHealth": {"kind": "state_of_health", "after": "charge", "until": "empty"},
            "internalResistance50": {"kind": "resistance", "pulse": "pulse", "soc": "50 %", "at": "10 s"},
            "weakestCell": {"kind": "weakest_cell", "until": "empty"},
            "temperatureMax": {"kind": "temperature_max"},
        }.items()
    ]
}


@pytest.fixture(scope="module")
def a_run(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """The result of a short capacity test of the demo's pack, in virtual time."""

    def nearly_full(line: Data) -> None:
        line["stations"]["st01"]["scan_period_s"] = 2.0
        line["simulation"]["stations"]["st01"]["battery"]["soc"] = 0.9

    async def work(virtual: Virtual) -> Data:
        return await virtual.result(await virtual.start(as_yaml(WHOLE)))

    return in_virtual_time(demo_line(tmp_path_factory.mktemp("run"), nearly_full), work)


def test_the_exported_file_of_a_run_gives_the_runs_results(here: Here, a_run: Data) -> None:
    assert a_run["verdict"] == "pass", a_run["outcome"]
    measured = {name: entry["value"] for name, entry in a_run["measurements"].items()}
    shown = here("analyse", a_run["data_file"]["path"], "--rated-capacity", "60 Ah", "--kind", "pack", "--json")
    assert shown.code == 0
    found = shown.json
    analysed = results(shown)
    assert analysed["remainingCapacity"] == pytest.approx(measured["remainingCapacity"], rel=1e-4)
    assert analysed["remainingEnergy"] / 1e3 == pytest.approx(measured["remainingEnergy"], rel=2e-4)
    assert 100 * analysed["stateOfHealth"] == pytest.approx(measured["stateOfHealth"], rel=1e-4)
    assert analysed["temperatureMax"] == measured["temperatureMax"]
    assert found["cells"]["limits_discharge"]["cell"] == measured["weakestCell"]
    ten_seconds = [
        ohm["value"]
        for pulse in found["pulses"]
        for ohm in pulse["ohms"]
        if ohm["detail"]["at_s"] == 10.0 and pulse["current_a"] == -60.0 and 0.4 < pulse["soc"] < 0.6
    ]
    assert ten_seconds == [pytest.approx(measured["internalResistance50"] / 1e3, rel=1e-3)]


def test_the_runs_own_counters_agree_with_its_file(here: Here, a_run: Data) -> None:
    told = {defect["code"] for defect in here("analyse", a_run["data_file"]["path"], "--json").json["defects"]}
    assert not told & {"W-DATA-COUNTER", "W-DATA-COUNTER-RESET", "W-DATA-GAP", "W-DATA-COLUMN", "E-DATA-SIGN"}


def test_every_reason_that_an_evaluation_withholds_something_for_speaks_korean() -> None:
    source = Path(evaluation.__file__).read_text(encoding="utf-8")
    withheld = re.findall(r'withheld\["\w+"\] = \(?\s*f?"(.+?)"', source)
    assert len(withheld) == len(WITHHELD)
    for text in withheld:
        filled = re.sub(r"\{[^}]*\}", "7", text)
        said = next(reason for reason in (filled, f"{filled}the rest") if re.search("[가-힣]", why(reason, "ko")))
        assert why(said, "en") == said
