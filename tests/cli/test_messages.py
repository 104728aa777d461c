"""What people read when something is not there or not right: one line with what, where and what to do, also in JSON."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from controller.cli.display import alarm_message, mes_line, show_result
from controller.recipes import library_ids
from tests.cli.plant import Here


def test_an_error_is_json_too_where_json_was_asked_for(here: Here) -> None:
    said = "absent.yaml: cannot be read: No such file or directory [E-FILE]"
    refused = here("run", "absent.yaml", "--station", "st01", "--dut", "X", "--json")
    refused.says(3, f"evaline: {said}")
    assert refused.json == {"code": "E-FILE", "errors": [said], "reasons": []}


def test_a_journal_that_is_not_there_is_not_called_damaged(here: Here, tmp_path: Path) -> None:
    missing = tmp_path / "journal.db"
    here("journal", "verify", missing).says(
        3, f"evaline: {missing}: cannot be read: No such file or directory; name the journal file [E-FILE]"
    )
    assert not missing.exists()


def test_an_example_never_goes_into_a_directory_that_exists(here: Here, tmp_path: Path) -> None:
    here("broker", "example", "--for", "mosquitto", "--out", tmp_path).says(
        3, f"evaline: {tmp_path} exists; name a directory that does not exist yet by --out [E-OS]"
    )
    assert list(tmp_path.iterdir()) == []


def test_check_takes_recipes_of_the_library_by_their_ids(here: Here) -> None:
    checked = here("check", *library_ids())
    assert (checked.code, checked.out.splitlines()) == (0, [f"{name}: ok" for name in library_ids()])


@pytest.mark.parametrize("url", ["foo", "http://", "ftp://host", "http://host:port", "http://host:99999"])
def test_an_address_that_is_none_is_named(here: Here, url: str) -> None:
    here("status", "--url", url).says(
        3,
        f"evaline: daemon's address {url!r}: write --url or EVALINE_URL like http://127.0.0.1:8470 [E-SETTINGS]",
    )


def test_an_unknown_chemistry_is_refused_with_the_known_ones(here: Here, tmp_path: Path) -> None:
    refused = here("analyse", tmp_path / "data.csv", "--chemistry", "FOO")
    assert refused.code == 3
    assert refused.err.startswith("evaline: --chemistry 'FOO': there are LFP, LMO, NCA, ")


@pytest.mark.parametrize(
    ("lang", "line"), [("en", "r10: not measured: no pulse"), ("ko", "저항: 측정 불가: 펄스 없음")]
)
def test_a_missing_measurement_says_why(lang: str, line: str) -> None:
    entry = {
        "value": None, "unit": "ohm", "limits": None, "verdict": "inconclusive", "title": {"en": "r10", "ko": "저항"},
        "detail": {"missing": "no pulse", "missing_ko": "펄스 없음"},
    }  # fmt: skip
    result = {
        "measurements": {"r10": entry}, "measurement_order": ["r10"], "verdict": "inconclusive", "grade": None,
        "outcome": {"reason": "", "code": ""},
    }  # fmt: skip
    shown = io.StringIO()
    show_result(Console(file=shown, width=120), result, lang)
    assert f"  {line}" in shown.getvalue().splitlines()


def test_an_alarm_is_told_in_the_language_asked_for() -> None:
    alarm = {"message": "temperature_max: 51 degC is above 50 degC", "code": "E-SAFETY-TRIP"}
    assert alarm_message(alarm, "en") == alarm["message"]
    assert alarm_message(alarm, "ko") == "최고 온도: 51 degC, 상한 50 degC 초과"
    assert alarm_message({"message": "cycler: no answer within 2 s"}, "ko") == "cycler: no answer within 2 s"


def test_the_mes_is_shown_as_it_is() -> None:
    mes = {"broker": "mqtt://b:1883", "connected": False, "last_error": "refused"}
    assert mes_line(mes, "en") == "MES mqtt://b:1883: not connected: refused"
    assert mes_line(mes | {"connected": True}, "ko") == "MES mqtt://b:1883: 연결됨"
    assert mes_line(None, "en") == "MES: this line has no broker"
