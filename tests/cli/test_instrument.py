"""`evaline instrument`: one instrument by hand, on the wires of simulated ones, without a daemon and through it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from tests.cli.plant import PACED, Data, Here, Plant, a_plant

DRIVERS = {
    "cycler": "ea_psb10000",
    "impedance_meter": "hioki_bt3562",
    "temperature_scanner": "icpdas_tm_th8",
    "interlock": "plc_interlock",
    "battery_monitor": "bms_gateway",
}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """Simulated instruments that no daemon has."""
    with a_plant(tmp_path_factory.mktemp("plant")) as plant:
        plant.simulate(rate=PACED)
        yield plant


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """A line that runs, and its file with the port at which its daemon really listens."""
    with a_plant(tmp_path_factory.mktemp("plant")) as plant:
        plant.up(rate=PACED)
        plant.change_line(lambda data: data["http"].update(port=plant.daemon.ready["http"]["port"]))
        yield plant


@pytest.fixture(autouse=True)
def no_daemon_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens there
        monkeypatch.setenv("EVALINE_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("EVALINE_AUTHOR", "tester")


# --------------------------------------------------------------------------------------------- without a daemon


def test_the_list_tells_who_answers_where(simulated: Plant, here: Here) -> None:
    shown = here("instrument", "list", "--config", simulated.line_file)
    assert (shown.code, shown.err) == (0, "")
    lines = shown.out.splitlines()
    assert [line.split()[0] for line in lines[::4]] == [f"st01/{role}" for role in DRIVERS]
    assert lines[2].startswith("  identity EA Elektro-Automatik GmbH&Co.KG PSB 10500-90 2023120002 V3.06 24.05.2023")
    assert lines[3].startswith("  link 1 requests, 0 errors, 0 reconnects, ")
    korean = here("instrument", "list", "--config", simulated.line_file, "--lang", "ko")
    assert "  링크 요청 1, 오류 0, 재접속 0" in korean.out


def test_an_instrument_that_is_silent_is_told_apart_from_those_that_are_well(simulated: Plant, here: Here) -> None:
    simulated.simulators.fault("battery_monitor", "silent")
    ended = here("instrument", "list", "--config", simulated.line_file, "--json")
    simulated.simulators.fault("battery_monitor", "silent", on=False)
    assert ended.code == 1
    health = {row["name"]: row["health"] for row in ended.json}
    assert "no answer in" in health.pop("battery_monitor")
    assert set(health.values()) == {"ok"}


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (("cycler", "*IDN?"), "PSB 10500-90"),
        (("st01/cycler", "MEAS:VOLT?"), "V"),
        (("interlock", "read input 1"), str(0x0101)),
        (("interlock", "read", "discrete", "10001", "2"), "True\nTrue"),
        (("battery_monitor", "read input 20 16 text"), "PHE96-004711"),
        (("temperature_scanner", "read input 30001 1 i16 unit 2"), "25"),
    ],
)
def test_a_question_in_its_own_words(simulated: Plant, here: Here, question: tuple[str, ...], answer: str) -> None:
    ended = here("instrument", "query", *question, "--config", simulated.line_file)
    assert (ended.code, ended.err) == (0, "")
    assert answer in ended.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("query", "toaster", "*IDN?"), 3, "there is no instrument 'toaster': st01/cycler, "),
        (("query", "interlock", "*IDN?"), 3, "'*IDN?' is no question about registers; write it like"),
        (("query", "cycler", "NONSENSE?"), 1, "no answer in 2.0 s"),
        (("set", "cycler", "output", "on"), 3, "it takes 'off' alone, not 'on'"),
        (("set", "battery_monitor", "soc", "1"), 3, "has no setting 'soc'; nothing of it can be set by hand"),
        (("set", "interlock", "lamp", "red"), 3, "what can be set by hand is contactor, trip, tower"),
        (("set", "interlock", "tower", "blue"), 3, "name lights like red+buzzer"),
    ],
)
def test_mistakes_are_one_line(
    simulated: Plant, here: Here, arguments: tuple[str, ...], code: int, message: str
) -> None:
    ended = here("instrument", *arguments, "--config", simulated.line_file)
    assert ended.code == code
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("evaline: ")
    assert message in ended.err


def test_a_setting_is_read_back(simulated: Plant, here: Here) -> None:
    ended = here("instrument", "set", "interlock", "tower", "red+buzzer", "--config", simulated.line_file)
    assert ended.code == 0
    assert ended.out.startswith("interlock tower red+buzzer\nit reads: estop_ok True, ")
    lights = here("instrument", "query", "interlock", "read coil 1 4", "--config", simulated.line_file, "--json")
    assert lights.json["answer"] == [True, False, False, True]


def test_a_trace_without_a_daemon_shows_our_own_questions(simulated: Plant, here: Here) -> None:
    ended = here("instrument", "cycler", "--trace", "--count", "1", "--config", simulated.line_file)
    assert ended.code == 0
    asked, answered = ended.out.splitlines()
    assert asked.endswith(" > *IDN?")
    assert " < EA Elektro-Automatik" in answered
    assert answered.endswith(" ms)")


@pytest.mark.parametrize("role", DRIVERS)
def test_probing_an_address_finds_the_driver_of_the_line_file(simulated: Plant, here: Here, role: str) -> None:
    """What it prints can be put into a line file as it is."""
    config: Data = json.loads(simulated.line_file.read_text(encoding="utf-8"))["stations"]["st01"]["instruments"][role]
    link = config["link"]
    if link["kind"] == "visa":
        _, host, port, _ = link["address"].split("::")
        address = f"{host}:{port}"
    else:
        address = link["port"] if "host" not in link else f"{link['host']}:{link['port']}"
    ended = here("instrument", "probe", address, "--timeout", "0.15", "--units", "1-3", "--json")
    assert ended.code == 0, ended.err
    found = ended.json["findings"]
    assert {(one["driver"], one["role"]) for one in found} == {(DRIVERS[role], role)}
    expected = {key: value for key, value in link.items() if key != "timeout_s"}
    assert {key: found[0]["link"].get(key, expected[key]) for key in expected} == expected
    if role == "temperature_scanner":
        assert [one["settings"] for one in found] == [{"units": [1]}, {"units": [2]}], "unit 3 is not there"
    assert "evaline: trying " in ended.err


def test_probing_tells_when_nobody_listens_or_nobody_knows(here: Here) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        ended = here("instrument", "probe", address)
        assert (ended.code, ended.err.count("\n")) == (1, 1)
        assert f"{address}: Connection refused (ECONNREFUSED)" in ended.err
        listening.listen()  # and never says a word
        silent = here("instrument", "probe", address, "--timeout", "0.05")
    assert silent.code == 1
    assert silent.out == f"{address}: nothing that answered is known to a driver\n"
    assert here("instrument", "probe", address, "--units", "1-x").code == 3


FORMS = "write the path of one, or host:port, socket://host:port or TCPIP::host::port::SOCKET"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("foo", f"'foo' is no serial port of this machine; {FORMS} [E-LINK-PORT]"),
        ("", f"'' is no serial port of this machine; {FORMS} [E-LINK-PORT]"),
        ("foo..bar:5025", "no host is known by the name 'foo..bar'; check it, or write its number [E-LINK-ADDRESS]"),
        ("foo:65536", f"'foo:65536' is no serial port of this machine; {FORMS} [E-LINK-PORT]"),
        ("socket://foo", f"'socket://foo' is no serial port of this machine; {FORMS} [E-LINK-PORT]"),
        ("/dev/absent", f"'/dev/absent' is no serial port of this machine; {FORMS} [E-LINK-PORT]"),
        ("/dev/null", "cannot open /dev/null: Could not configure port: "),
        ("GPIB::12::INSTR", "GPIB::12::INSTR is not of the form TCPIP::host::port::SOCKET, "),
    ],
)
def test_what_is_no_address_is_said_once(here: Here, address: str, said: str) -> None:
    ended = here("instrument", "probe", address)
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert ended.err.startswith(f"evaline: {said}")


def test_without_a_daemon_and_without_a_line_file_there_is_nothing_to_list(here: Here) -> None:
    ended = here("instrument", "list")
    assert ended.code == 1
    assert "E-DAEMON-UNREACHABLE" in ended.err


# ----------------------------------------------------------------------------------------------- through a daemon


def test_a_line_file_leads_to_its_daemon_where_one_runs(served: Plant, here: Here) -> None:
    """No second session: the numbers are those of the links that the daemon has."""
    served.daemon.until_scanned()
    rows = here("instrument", "list", "--config", served.line_file, "--json").json
    assert {row["health"] for row in rows} == {"ok"}
    by_name = {row["name"]: row["link"] for row in rows}
    assert by_name["cycler"]["requests"] > 5
    assert by_name["cycler"]["latency_p99_ms"] >= by_name["cycler"]["latency_mean_ms"] > 0


def test_a_trace_of_a_daemons_instrument_shows_what_the_station_asks(served: Plant, here: Here) -> None:
    ended = here("instrument", "trace", "st01/interlock", "--count", "4", "--url", served.daemon.url)
    assert ended.code == 0
    assert any("> unit 1 read discrete 0 8" in line for line in ended.out.splitlines())


def test_the_daemons_instruments_are_not_probed_behind_its_back(served: Plant, here: Here) -> None:
    rows = here("instrument", "list", "--url", served.daemon.url, "--json").json
    (address,) = [row["address"] for row in rows if row["name"] == "interlock"]
    ended = here("instrument", "probe", address, "--url", served.daemon.url)
    whose = f"{address} is st01/interlock of the line that runs; see `evaline instrument list`"
    ended.says(4, f"evaline: {whose} [E-INSTRUMENT-BUSY]")


def test_a_run_keeps_its_instruments_to_itself(served: Plant, here: Here) -> None:
    run, follower = served.begin_discharge()
    for arguments in (("set", "cycler", "output", "off"), ("query", "cycler", "OUTP OFF")):
        ended = here("instrument", *arguments, "--url", served.daemon.url)
        assert ended.code == 4
        assert f"run {run} owns the instruments of st01" in ended.err
    assert served.simulators.truth()["output_on"] is True
    assert served.command("abort", "--station", "st01").code == 0
    assert follower.ended().code == 6
    served.simulators.assert_off()
