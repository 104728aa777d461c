"""Bad input gets one clear line and an exit code, never a traceback, and nothing is lost."""

from __future__ import annotations

import socket
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from config import load_line
from drivers import CATALOG
from tests.cli.plant import CODE, PACED, REST, Data, Here, Plant, as_yaml, recipe


def station(line: Data) -> Data:
    found: Data = line["stations"]["st01"]
    return found


def instrument(line: Data, name: str) -> Data:
    found: Data = station(line)["instruments"][name]
    return found


def impatient(line: Data) -> None:
    """Silence is known after half a second."""
    for entry in station(line)["instruments"].values():
        entry["link"]["timeout_s"] = 0.5


# -------------------------------------------------------------------------------------------------- the line file


KNOWN = ", ".join(sorted(CATALOG))


@pytest.mark.parametrize(
    ("change", "at", "said"),
    [
        (
            lambda line: station(line).update(scan_periods_s=1),
            "scan_periods_s:",
            "stations.st01.scan_periods_s: unknown key; did you mean 'scan_period_s'?",
        ),
        (
            lambda line: station(line).update(scan_period_s="1 s"),
            "scan_period_s: 1 s",
            "stations.st01.scan_period_s: must be a number",
        ),
        (
            lambda line: instrument(line, "cycler")["link"].update(adress="x"),
            "adress:",
            "stations.st01.instruments.cycler.link.visa.adress: unknown key; did you mean 'address'?",
        ),
        (
            lambda line: instrument(line, "cycler").update(driver="ea_psb9000"),
            "driver: ea_psb9000",
            f"there is no driver 'ea_psb9000'; known are {KNOWN}",
        ),
        (
            lambda line: instrument(line, "cycler").update(driver="plc_interlock"),
            "driver: plc_interlock",
            "the driver plc_interlock is for the interlock, this is the cycler",
        ),
        (
            lambda line: instrument(line, "cycler").update(settings={"volume": 11}),
            "cycler:",
            "st01/cycler: unknown setting 'volume' of driver ea_psb10000; known: none",
        ),
        (
            lambda line: instrument(line, "temperature_scanner").update(settings={}),
            "temperature_scanner:",
            "st01/temperature_scanner: driver icpdas_tm_th8 needs the setting 'units' (integers)",
        ),
        (
            lambda line: instrument(line, "cycler").update(link={"kind": "modbus_tcp", "host": "127.0.0.1"}),
            "cycler:",
            "st01/cycler: driver ea_psb10000 talks over a visa, serial or xml_tcp link; correct link.kind",
        ),
    ],
    ids=["key", "type", "link key", "driver", "role", "setting", "missing setting", "link kind"],
)
def test_a_mistake_in_the_line_file_is_named_with_its_place(
    plant: Plant, here: Here, change: Callable[[Data], None], at: str, said: str
) -> None:
    file = plant.write_line(change)
    rows = file.read_text(encoding="utf-8").splitlines()
    line, row = next((number, row) for number, row in enumerate(rows, 1) if row.strip().startswith(at))
    here("serve", "--config", file).says(3, f"evaline: {file}:{line}:{row.index(at) + 1}: {said} [E-CONFIG]")
    assert not plant.state.exists(), "nothing was touched"


def misspelt(line: Data) -> None:
    station(line).update(scan_period_s="1 s", watchdogs_s=3)
    instrument(line, "interlock")["link"].update(port=70000)


def misdriven(line: Data) -> None:
    instrument(line, "cycler").update(driver="ea_psb9000")
    instrument(line, "temperature_scanner").update(settings={})


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        (
            misspelt,
            [
                ("scan_period_s: 1 s", "stations.st01.scan_period_s: must be a number"),
                (
                    "port: 70000",
                    "stations.st01.instruments.interlock.link.modbus_tcp.port: must be less than or equal to 65535",
                ),
                ("watchdogs_s:", "stations.st01.watchdogs_s: unknown key; did you mean 'watchdog_s'?"),
            ],
        ),
        (
            misdriven,
            [
                ("driver: ea_psb9000", f"there is no driver 'ea_psb9000'; known are {KNOWN}"),
                (
                    "temperature_scanner:",
                    "st01/temperature_scanner: driver icpdas_tm_th8 needs the setting 'units' (integers)",
                ),
            ],
        ),
    ],
)
def test_several_mistakes_in_the_line_file_are_a_line_each(
    plant: Plant, here: Here, change: Callable[[Data], None], faults: list[tuple[str, str]]
) -> None:
    file = plant.write_line(change)
    rows = file.read_text(encoding="utf-8").splitlines()
    first = next(number for number, row in enumerate(rows) if row == "stations:")
    lines = []
    for at, said in faults:
        line, row = next((n, row) for n, row in enumerate(rows, 1) if n > first and row.strip().startswith(at))
        lines.append(f"evaline: {file}:{line}:{row.index(at) + 1}: {said} [E-CONFIG]")
    here("serve", "--config", file).says(3, *lines)
    told = here("serve", "--config", file, "--json")
    assert told.json["errors"] == [line.removeprefix("evaline: ") for line in lines]


def test_of_many_mistakes_twenty_are_told_and_that_there_are_more(plant: Plant, here: Here) -> None:
    file = plant.write_line(lambda line: line.update({f"key_{number}": 0 for number in range(21)}))
    refused = here("serve", "--config", file)
    *told, last = refused.err.splitlines()
    assert (refused.code, len(told)) == (3, 20)
    assert all(f"key_{number}: unknown key" in line for number, line in enumerate(told))
    assert last == f"evaline: {file}: and more; correct these first [E-CONFIG]"


def test_a_key_that_stands_twice_in_the_line_file_is_named_with_its_place(plant: Plant, here: Here) -> None:
    file = plant.write_line()
    lines = file.read_text(encoding="utf-8").splitlines()
    plant.write(file.name, "\n".join([*lines, "state_dir: elsewhere"]))
    here("serve", "--config", file).says(
        3,
        f"evaline: {file}:{len(lines) + 1}:1: the key 'state_dir' stands here a second time [E-YAML-DUPLICATE]",
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe", "not UTF-8 at byte 0 [E-FILE-UTF8]"),
        (b"", "the file is empty [E-YAML-EMPTY]"),
        (None, "cannot be read: No such file or directory [E-FILE]"),
    ],
    ids=["not text", "empty", "absent"],
)
def test_a_line_file_that_is_none_is_one_line(plant: Plant, here: Here, content: bytes | None, said: str) -> None:
    file = plant.directory / "bad.yaml"
    if content is not None:
        file.write_bytes(content)
    here("serve", "--config", file).says(3, f"evaline: {file}: {said}")


def test_a_directory_is_no_line_file_and_a_line_file_no_clock_page(plant: Plant) -> None:
    plant.command("serve", "--config", plant.directory).says(
        3, f"evaline: {plant.directory}: cannot be read: Is a directory [E-FILE]"
    )
    plant.command("serve", "--config", plant.write_line(), "--jump", "absent").says(
        3, "evaline: absent is no clock page: [Errno 2] No such file or directory: 'absent' [E-CLOCK-PAGE]"
    )


GRADES = """\
schema: evaline/grades/1
id: site
source: nobody
rejects: []
classes:
  - grade: A
    title: {en: good, ko: 좋음}
    needs:
      - stateOfHealth >= 80 bananas
otherwise: D
"""


def test_grade_rules_that_cannot_be_used_are_named_with_their_place(plant: Plant) -> None:
    rules = plant.write("grades.yaml", GRADES)
    refused = plant.command("serve", "--config", plant.write_line(lambda line: line.update(grade_rules=str(rules))))
    assert refused.code == 3
    assert refused.err.startswith(f"evaline: {rules}:9:9: classes.0.needs.0")
    assert "bananas" in refused.err
    assert refused.err.endswith("[E-GRADES]\n")
    assert refused.err.count("\n") == 1

    plant.command("serve", "--config", plant.write_line(lambda line: line.update(grade_rules="none.yaml"))).says(
        3, "evaline: none.yaml: cannot be read: No such file or directory [E-FILE]"
    )


# ------------------------------------------------------------------------------------------ what somebody else has


def test_a_port_in_use_is_named_with_what_to_change(plant: Plant) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        http = plant.write_line(lambda line: line.update(http={"port": port}))
        plant.command("serve", "--config", http).says(
            1,
            f"evaline: http port {port} on 127.0.0.1: Address already in use; is another daemon running? "
            "Change `http.port` [E-HTTP-PORT]",
        )
        broker = plant.write_line(lambda line: line.update(broker={"kind": "embedded", "port": port}))
        plant.command("serve", "--config", broker).says(
            1,
            f"evaline: port {port} on 127.0.0.1 is in use: stop the other program "
            "or set broker.port in the line file [E-BROKER-PORT]",
        )


def test_a_missing_password_file_of_a_broker_is_one_line(plant: Plant) -> None:
    broker = {"kind": "external", "url": "mqtt://127.0.0.1", "username": "mes", "password_file": "absent"}
    plant.command("serve", "--config", plant.write_line(lambda line: line.update(broker=broker))).says(
        3, "evaline: absent: cannot be read: No such file or directory [E-FILE]"
    )


def test_two_daemons_cannot_share_a_journal(plant: Plant) -> None:
    plant.up(rate=PACED)
    second = plant.refusal_to_serve()
    second.says(
        1,
        f"evaline: {plant.journal} is in use by another daemon, process {plant.daemon.process.pid} [E-JOURNAL-LOCKED]",
    )
    assert plant.command("status").code == 0, "the first one goes on"


def test_a_damaged_journal_is_refused_and_verify_says_where(plant: Plant) -> None:
    plant.up().run(recipe())
    plant.daemon.end()
    damage(plant)
    refused = plant.refusal_to_serve()
    assert refused.code == 1
    assert refused.err.startswith(f"evaline: {plant.journal} is damaged: ")
    assert refused.err.endswith("run `evaline journal verify` [E-JOURNAL-DAMAGED]\n")
    assert refused.err.count("\n") == 1

    verified = plant.command("journal", "verify", plant.journal)
    assert verified.code == 1
    assert verified.out == ""
    assert all(
        line.startswith(f"evaline: {plant.journal}: ") and line.endswith("[E-JOURNAL-DAMAGED]")
        for line in verified.err.splitlines()
    )
    assert "event 5" in verified.err
    report = plant.command("journal", "verify", plant.journal, "--json")
    assert (report.code, report.json["ok"]) == (1, False)


def damage(plant: Plant) -> None:
    """Somebody who knows SQLite rewrites history."""
    with closing(sqlite3.connect(plant.journal)) as connection, connection:
        connection.execute("UPDATE events SET body = replace(body, 'tester', 'nobody') WHERE seq >= 1")
        connection.execute("UPDATE events SET t = t + 1 WHERE seq = 5")


def test_what_is_no_journal_is_refused_and_left_as_it_is(plant: Plant) -> None:
    plant.state.mkdir()
    plant.journal.write_bytes(b"no database" * 1000)
    refused = plant.command("serve", "--config", plant.write_line())
    refused.says(
        1,
        f"evaline: {plant.journal} is damaged: DatabaseError: file is not a database; "
        "run `evaline journal verify` [E-JOURNAL-DAMAGED]",
    )
    plant.command("journal", "verify", plant.journal).says(
        1, f"evaline: {plant.journal}: file: cannot be read: file is not a database [E-JOURNAL-DAMAGED]"
    )
    assert plant.journal.read_bytes() == b"no database" * 1000


# ---------------------------------------------------------------------------------------------------- instruments

KEEPS_TRYING = "make it answer; the station keeps trying"


def reasons(plant: Plant) -> dict[str, str]:
    """The lines of a refused start, by the instrument that each begins with."""
    refused = plant.run(recipe())
    assert refused.code == 4, refused
    return {line.removeprefix("evaline: ").split(":")[0]: line for line in refused.err.splitlines()}


def address(plant: Plant, key: str) -> Data:
    link: Data = load_line(plant.line_file).stations["st01"].instruments[key].link.model_dump()
    return link


def test_instruments_that_are_absent_are_named_and_the_daemon_serves_all_the_same(plant: Plant) -> None:
    plant.simulate(rate=PACED)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, and not listening
        port = nobody.getsockname()[1]

        def change(line: Data) -> None:
            instrument(line, "cycler")["link"]["address"] = f"TCPIP::127.0.0.1::{port}::SOCKET"
            instrument(line, "battery_monitor")["link"]["port"] = port
            instrument(line, "impedance_meter")["link"]["port"] = "/dev/ttyEvaline9"

        plant.change_line(change)
        plant.serve(PACED)
        said = reasons(plant)
    assert said["cycler"] == (
        f"evaline: cycler: TCPIP::127.0.0.1::{port}::SOCKET: Connection refused (ECONNREFUSED); "
        f"is the instrument on and the port right?; {KEEPS_TRYING} [E-LINK-REFUSED]"
    )
    assert f"127.0.0.1:{port}" in said["battery_monitor"]
    assert said["battery_monitor"].endswith("[E-LINK-REFUSED]")
    assert said["impedance_meter"].startswith("evaline: impedance_meter: cannot open /dev/ttyEvaline9: ")
    assert said["impedance_meter"].endswith(f"check that the port exists and its rights; {KEEPS_TRYING} [E-LINK-PORT]")
    assert "temperature_scanner" not in said, "the others are there"

    shown = plant.command("status").out
    assert f"    cycler               cycler: TCPIP::127.0.0.1::{port}::SOCKET: Connection refused" in shown
    assert "    temperature_scanner  ok" in shown
    assert plant.daemon.end().code == 1, "a cycler that never answered is not confirmed off"


def test_wrong_silent_and_garbled_instruments_are_told_apart(plant: Plant) -> None:
    plant.up(
        *("--fault", "cycler:wrong_identity"),
        *("--fault", "impedance_meter:garbage"),
        *("--fault", "battery_monitor:silent"),
        *("--fault", "temperature_scanner:garbage"),
        *("--fault", "interlock:wrong_identity"),
        change=impatient,
        rate=PACED,
    )
    said = reasons(plant)
    assert said["cycler"] == (
        "evaline: cycler: expected serial '2023120002', it answered '9999999999'; "
        f"check the wiring or the line file; {KEEPS_TRYING} [E-IDENTITY]"
    )
    assert said["impedance_meter"].startswith(
        "evaline: impedance_meter: the answer is not text; check baud rate and wiring: b'"
    )
    assert said["impedance_meter"].endswith(f"{KEEPS_TRYING} [E-ANSWER]")
    assert said["battery_monitor"] == (
        f"evaline: battery_monitor: 127.0.0.1:{address(plant, 'battery_monitor')['port']} unit 1: "
        f"no answer in 0.5 s; {KEEPS_TRYING} [E-LINK-TIMEOUT]"
    )
    assert said["temperature_scanner"] == (
        f"evaline: temperature_scanner: {address(plant, 'temperature_scanner')['port']} unit 1: "
        f"no answer in 0.5 s; {KEEPS_TRYING} [E-LINK-TIMEOUT]"
    ), "a frame whose check sum is wrong is none"
    assert said["interlock"] == (
        "evaline: interlock: expected register map '0x0101', it answered '0x0201'; "
        f"check the wiring or the line file; {KEEPS_TRYING} [E-IDENTITY]"
    )
    assert said["the interlock was not read; check the PLC [E-INTERLOCK]"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("silent", r"{address}: no answer in 0.5 s (0 bytes of one)"),
        ("garbage", "the answer is not text; check baud rate and wiring: "),
        ("drop", "{address} closed the connection; check the instrument"),
    ],
)
def test_a_cycler_that_does_not_answer_as_one_refuses_the_start(plant: Plant, fault: str, said: str) -> None:
    plant.up("--fault", f"cycler:{fault}", change=impatient, rate=PACED)
    expected = said.format(address=address(plant, "cycler")["address"])
    assert reasons(plant)["cycler"].startswith(f"evaline: cycler: {expected}")


def test_an_instrument_that_comes_back_is_used_again(plant: Plant) -> None:
    plant.simulate(change=impatient, rate=PACED)
    plant.simulators.fault("cycler", "silent")
    plant.serve(PACED)
    assert "cycler" in reasons(plant)
    plant.simulators.fault("cycler", "silent", on=False)
    plant.daemon.until(lambda seen: set(seen["instruments"].values()) == {"ok"})
    assert plant.run(recipe(REST)).code == 0


# -------------------------------------------------------------------------------------------------------- no daemon


@pytest.mark.parametrize("command", [["status"], ["abort", "--station", "st01"], ["run"]], ids=lambda c: c[0])
def test_without_a_daemon_every_command_says_so(plant: Plant, command: list[str]) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        if command == ["run"]:
            file = plant.write("recipe.yaml", as_yaml(recipe()))
            command = ["run", str(file), "--station", "st01", "--dut", CODE]
        plant.command(*command, "--url", url).says(
            1,
            f"evaline: no daemon at {url}: All connection attempts failed; is `evaline serve` running? "
            "Another address: --url or EVALINE_URL [E-DAEMON-UNREACHABLE]",
        )


def test_somebody_elses_server_is_not_taken_for_the_daemon(plant: Plant) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            plant.command("status", "--url", url).says(1, f"evaline: {url} answered 200: is it Evaline?")
        finally:
            server.shutdown()
            thread.join()
