"""The result as the MES gets it: what traces it, what failed first, and a signature that checks without our code."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

from config import LineConfig
from controller.mes.contract import message_model, schema
from controller.mes.face import info_of, state_of
from controller.mes.recipes import recipe_infos
from controller.mes.record import UNITS
from controller.mes.signing import Signer
from controller.recipes import LIBRARY, library_ids, load_recipe
from controller.records import StationRecords
from controller.results import Outcome, bare_result
from sequences import Verdict
from sequences.measurement import SHOWN, Source, shown
from tests.contract import assert_in_contract
from tests.virtual import CODE, Virtual, in_virtual_time

GUIDE = Path(__file__).parents[3] / "docs" / "mes.md"
Short = Callable[..., str]
LineWith = Callable[..., LineConfig]


def calibrated(data: dict[str, Any]) -> None:
    data["stations"]["st01"]["instruments"]["cycler"]["calibration_due"] = "2027-03-31"


def run_twice(config: LineConfig, recipe: str) -> list[dict[str, Any]]:
    async def work(virtual: Virtual) -> list[dict[str, Any]]:
        results = []
        for _ in range(2):
            results.append(await virtual.result(await virtual.start(recipe)))
            await virtual.until(lambda: virtual.station.state.name in ("COMPLETE", "STOPPED"))
            await virtual.station.reset("operator")
        return results

    return in_virtual_time(config, work)


def test_a_result_traces_what_it_came_from(line_with: LineWith, short_recipe: Short) -> None:
    config = line_with(change=calibrated)
    first, second = run_twice(config, short_recipe())
    assert (first["attempt"], second["attempt"]) == (1, 2)
    assert first["dut"]["code"] == CODE
    assert first["order"] is None
    assert (first["mode"], first["author"], first["job_state"], first["clock"]) == (
        "LOCAL", "tester", "Ended", "simulated",
    )  # fmt: skip
    cycler = first["instruments"]["cycler"]
    assert (cycler["serial"], cycler["calibration_due"]) == ("2023120002", "2027-03-31")
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in first["traceability"].values())
    file = Path(first["data_file"]["path"]).read_bytes()
    assert first["data_file"]["sha256"] == hashlib.sha256(file).hexdigest()
    assert first["data_file"]["bytes"] == len(file)
    state = Path(config.state_dir)
    assert (state / first["data_file"]["reference"]).read_bytes() == file
    assert state / first["report_reference"] == Path(first["report"])
    assert first["host"] == platform.node()
    assert first["failure"] is None
    hottest = first["measurements"]["temperatureMax"]
    assert (hottest["comparison"], hottest["unit"], hottest["verdict"]) == ("LE", "degC", "pass")
    assert (hottest["type"], type(hottest["value"])) == ("numeric", float)
    assert [step["index"] for step in first["steps"]] == [0, 1]
    assert first["steps"][1]["charge_ah"] < 0


def test_every_unit_that_a_recipe_can_give_is_in_the_contract_with_its_ucum_code() -> None:
    given = {
        shown(measurement.source.kind, recipe.names()[measurement.name])[0]
        for recipe in (load_recipe((LIBRARY / f"{id}.yaml").read_text(encoding="utf-8"), id)[0] for id in library_ids())
        for measurement in recipe.measurements
    }
    assert {"Ah", "kWh", "mohm", "mV", "kg", "1"} < given
    kinds = [kind.model_fields["kind"].default for kind in get_args(get_args(Source)[0])]
    possible = {shown(kind, dimension)[0] for kind in kinds for dimension in SHOWN}
    assert given <= possible == set(UNITS)
    assert schema("result")["$defs"]["Measurement"]["properties"]["unit"]["x-ucum"] == UNITS


def test_what_failed_first_is_named(line_with: LineWith, short_recipe: Short) -> None:
    cold = short_recipe().replace("max: 50 degC", "max: 1 degC")
    result = run_twice(line_with(), cold)[0]
    assert result["verdict"] == "fail"
    assert result["failure"] == {
        "code": "E-RESULT-LIMIT",
        "reason": "temperatureMax is fail",
        "step": None,
        "measurement": "temperatureMax",
    }


def test_a_run_that_could_not_be_analysed_has_a_signed_result_in_the_contract(tmp_path: Path) -> None:
    outcome = Outcome(Verdict.ERROR, "E-DAEMON", "the daemon ended while the run was active")
    for known in ({}, {"recipe": "r", "dut": CODE, "order": "WO-1", "operation": "OP", "mode": "REMOTE"}):
        record = Signer.of(tmp_path).sign(bare_result("st01-000001", "st01", 0.0, 1.0, outcome, known))
        data = message_model("result").model_fields["data"].annotation
        assert data is not None
        said = data.model_validate(record).model_dump(mode="json", by_alias=True, exclude_unset=True)
        assert said == record, "it says nothing that is not declared"


def test_who_ended_a_run_is_in_its_result_and_in_the_end_of_its_job(line_with: LineWith, short_recipe: Short) -> None:
    async def work(virtual: Virtual) -> tuple[Any, Any]:
        run_id = await virtual.start(short_recipe())
        run = virtual.station.run_now
        assert run is not None
        records = StationRecords("st01", virtual.clock, virtual.journal, virtual.line.topics)
        aborted = Outcome(Verdict.ABORTED, "E-ABORTED", "aborted by kim: smoke", author="kim")
        result = bare_result(run_id, "st01", run.started, virtual.clock.now(), aborted, run.identity)
        records.result(run, virtual.clock.now(), virtual.line.signer.sign(result))
        await virtual.journal.flush()
        messages = {message.id: json.loads(message.payload) for message in virtual.journal.pending_outbox()}
        (ended,) = [message for id, message in messages.items() if id.startswith(f"{run_id}.job.ended")]
        return result, ended

    result, ended = in_virtual_time(line_with(), work)
    assert result["outcome"]["author"] == ended["actor"] == "kim"
    assert (ended["data"]["state"], ended["data"]["reason"]) == ("Aborted", "aborted by kim: smoke")


def test_the_example_of_the_guide_checks_a_result_without_our_code(finished: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(finished)) as connection:
        ((text,),) = connection.execute("SELECT payload FROM outbox WHERE topic LIKE '%/result'").fetchall()
        ((key,),) = connection.execute("SELECT body FROM events WHERE kind = 'signing key'").fetchall()
    named = json.loads(key)
    info = {"data": {"key": {"key_id": named["key"], "public_key": named["public_key"]}}}
    script = re.search(r"```python\n(# check_result.py.*?)```", GUIDE.read_text(encoding="utf-8"), re.S)
    assert script is not None
    assert len(script[1].splitlines()) <= 20
    (tmp_path / "info.json").write_text(json.dumps(info), encoding="utf-8")

    def check(result: dict[str, Any]) -> tuple[int, str]:
        (tmp_path / "result.json").write_text(json.dumps(result), encoding="utf-8")
        arguments = [sys.executable, "-c", script[1], "result.json", "info.json"]
        done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr

    message = json.loads(text)
    assert check(message)[1].startswith("run st01-000001: pass, grade ")
    message["data"]["grade"] = "A+"
    assert check(message) == (1, "run st01-000001: the signature does not fit the content\n")


def test_state_and_info_say_what_the_station_is_and_does(line_with: LineWith, short_recipe: Short) -> None:
    async def work(virtual: Virtual) -> None:
        await virtual.start(short_recipe())
        await virtual.until(lambda: virtual.simulated.world.current < -29)
        state = state_of(virtual.station)
        assert (state.state, state.number, state.job_state, state.step) == ("EXECUTE", 6, "Running", "discharge")
        assert (state.stack_light.green, state.mode, state.dut) == (True, "LOCAL", CODE)
        info = info_of(virtual.station, recipe_infos(None), virtual.line)
        assert {recipe.id for recipe in info.recipes} == set(library_ids())
        assert info.instruments["cycler"].serial == "2023120002"
        assert info.key == virtual.line.signer.public_key
        topics = virtual.line.topics
        for kind, data in (("state", state), ("info", info)):
            assert_in_contract(topics.retained("st01", kind, virtual.clock.now(), data))  # type: ignore[arg-type]
        await virtual.station.abort("operator")

    in_virtual_time(line_with(change=calibrated), work)
