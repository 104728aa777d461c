"""`python -m simulators` as a process."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import struct
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from config import load_line, read_document, shipped_dut_models
from config.line import VisaLinkConfig
from simulators.control import Control
from simulators.population import draw
from simulators.station import SimulatedStation

DEMO = Path(__file__).parents[2] / "config" / "lines" / "demo.yaml"
Start = Callable[..., Awaitable[Process]]


@pytest.fixture
def line_file(tmp_path: Path) -> Path:
    """The demo line with a state directory of this test's own."""
    path = tmp_path / "line.yaml"
    path.write_text(DEMO.read_text(encoding="utf-8").replace("state_dir: var", f"state_dir: {tmp_path}"))
    return path


@pytest.fixture
async def start(line_file: Path) -> AsyncIterator[Start]:
    started: list[Process] = []

    async def run(*options: str) -> Process:
        command = (sys.executable, "-m", "simulators", "--config", str(line_file), *options)
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        started.append(process)
        return process

    yield run
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def event(process: Process, command: str = "") -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    if command:
        process.stdin.write(command.encode() + b"\n")
    answer: dict[str, Any] = json.loads(await process.stdout.readline())
    return answer


def ask_cycler(ready: dict[str, Any], message: bytes) -> bytes:
    _, host, port, _ = ready["addresses"]["st01"]["cycler"]["address"].split("::")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(message)
        return client.recv(4096)


async def test_it_is_ready_answers_and_ends_with_its_input(start: Start) -> None:
    process = await start("--json", "--free-ports", "--control", "0", "--fault", "interlock:door=1@query#3+60")
    ready = await event(process)
    assert ready["event"] == "ready"
    reader, writer = await asyncio.open_connection("127.0.0.1", ready["control"])
    writer.write(b"get st01\n")
    assert json.loads(await reader.readline())["faults"] == {}
    assert set(ready["addresses"]["st01"]) == {
        "cycler",
        "impedance_meter",
        "temperature_scanner",
        "interlock",
        "battery_monitor",
    }
    assert b"PSB 10500-90" in await asyncio.to_thread(ask_cycler, ready, b"*IDN?\n")
    truth = await event(process, "truth st01")
    assert truth["event"] == "truth"
    assert {"capacity_ah", "charged_ah", "discharged_ah", "hot_openings", "contactor_closed", "output_on"} <= set(truth)
    assert (await event(process, "fault st01 cycler nan on"))["active"] is True
    assert b"NaNV" in await asyncio.to_thread(ask_cycler, ready, b"MEAS:VOLT?\n")
    assert (await event(process, "fault st01 cycler door on"))["event"] == "error"
    assert (await event(process, "what?"))["event"] == "error"
    assert process.stdin is not None
    process.stdin.close()
    assert await process.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_cleanly(start: Start, number: signal.Signals, tmp_path: Path) -> None:
    process = await start("--free-ports")
    assert process.stdout is not None
    lines = [(await process.stdout.readline()).decode() for _ in range(6)]
    assert "lxi scpi" in lines[0]
    assert sum("mbpoll" in line for line in lines) == 3
    process.send_signal(number)
    _, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")
    assert not [path for path in tmp_path.rglob("*") if path.is_symlink()]


async def test_it_writes_a_line_file_that_a_daemon_can_start_on(start: Start, tmp_path: Path) -> None:
    written = tmp_path / "written.yaml"
    process = await start("--json", "--free-ports", "--write-config", str(written), "--seed", "5")
    ready = await event(process)
    line = load_line(written)
    cycler = line.stations["st01"].instruments["cycler"].link
    assert isinstance(cycler, VisaLinkConfig)
    assert cycler.address == ready["addresses"]["st01"]["cycler"]["address"]
    assert line.simulation is not None
    assert line.simulation.seed == 5


async def test_line_time_from_a_clock_page(start: Start, tmp_path: Path) -> None:
    page = tmp_path / "clock"
    page.write_bytes(struct.pack("<d", 1000.0))
    process = await start("--json", "--free-ports", "--clock", str(page), "--fault", "cycler:nan@50+10")
    ready = await event(process)
    assert (await event(process, "truth st01"))["time"] == 1000.0
    with page.open("r+b") as file:
        file.write(struct.pack("<d", 1055.0))
    assert (await event(process, "truth st01"))["time"] == 1055.0
    assert b"NaNV" in await asyncio.to_thread(ask_cycler, ready, b"MEAS:VOLT?\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--fault", "cycler"), "not [STATION/]INSTRUMENT:KIND"),
        (("--fault", "cycler:lazy"), "KIND one of"),
        (("--fault", "cycler:nan@lunch"), "EVENT one of"),
        (("--drawn-faults", "0"), "must be above 0 s"),
        (("--drawn-faults", "inf"), "must be above 0 s, and finite"),
        (("--fault", f"cycler:nan@{'9' * 400}"), "not [STATION/]INSTRUMENT:KIND"),
        (("--control", "99999"), "argument --control: 99999 is no port 0..65535"),
        (("--free-ports", "--write-config", "/no/such/file"), "/no/such/file: cannot be written: No such file"),
        (("--fault", "oven:silent"), "no simulated station has this instrument"),
        (("--fault", "cycler:estop"), "no fault 'estop'"),
        (("--fault", "cycler:nan@1+0"), "longer than 0 s"),
        (("--rate", "0"), "must be a positive number"),
        (("--rate", "abc"), "simulate: argument --rate: invalid float value: 'abc'"),
        (("--clock", "/no/such/page"), "not a clock page"),
        (("--config", "/no/such/file"), "cannot be read"),
    ],
)
async def test_a_mistake_is_one_line_and_exit_code_3(start: Start, options: tuple[str, ...], message: str) -> None:
    process = await start(*options)
    _, errors = await process.communicate()
    assert process.returncode == 3
    assert message in errors.decode()
    assert errors.count(b"\n") == 1


async def test_stations_with_one_seed_get_a_battery_each_of_its_population(start: Start, line_file: Path) -> None:
    data = read_document(line_file).data
    battery = {"model": "nmc_96s_60ah", "drawn": 7}
    data["simulation"]["stations"] = {name: {"battery": battery} for name in ("st01", "st02")}
    text = json.dumps(data["stations"]["st01"]).replace(":15025:", ":25025:").replace(": 1502", ": 2502")
    data["stations"]["st02"] = json.loads(text.replace("/pty/", "/pty/st02/"))
    line_file.write_text(json.dumps(data), encoding="utf-8")
    process = await start("--json", "--free-ports")
    await event(process)
    codes = [(await event(process, f"get {name}"))["battery"] for name in ("st01", "st02")]
    population = draw(7, 200, shipped_dut_models()["nmc_96s_60ah"])
    assert codes == [battery.code for battery in population[:2]]
    assert (await event(process, "battery st01 drawn=7"))["battery"] == population[2].code


async def test_several_mistakes_in_the_line_file_are_a_line_each(start: Start, line_file: Path) -> None:
    text = line_file.read_text(encoding="utf-8")
    line_file.write_text(text.replace("ambient_degc:", "ambient_c:").replace("soc: 0.35", "soc: 35"))
    process = await start()
    _, errors = await process.communicate()
    assert process.returncode == 3
    first, second = errors.decode().splitlines()
    assert "simulation.stations.st01.ambient_c: unknown key; did you mean 'ambient_degc'? [E-CONFIG]" in first
    assert "simulation.stations.st01.battery.soc: must be less than or equal to 0.98 [E-CONFIG]" in second


async def test_a_port_in_use_is_one_line_and_exit_code_1(start: Start, line_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupant:
        port = occupant.getsockname()[1]
        line_file.write_text(line_file.read_text().replace("::15025::", f"::{port}::"))
        process = await start()
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors.decode().startswith("evaline: st01/cycler: cannot listen on 127.0.0.1:")
    assert errors.decode().endswith(" [E-LISTEN]\n")
    assert errors.count(b"\n") == 1


def test_who_reads_the_kinds_may_stop_reading() -> None:
    kinds = subprocess.Popen([sys.executable, "-m", "simulators", "--kinds"], stdout=PIPE, stderr=PIPE)
    assert kinds.stdout is not None
    assert kinds.stderr is not None
    kinds.stdout.close()
    assert (kinds.stderr.read(), kinds.wait()) == (b"", 0)
    kinds.stderr.close()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("set st01 ambient 35", "'ambient' cannot be set; what can is ambient_degc, "),
        ("set st01 ambient_degc 9999", "set st01 ambient_degc 9999: must be within -60 and 100 degC"),
        ("battery st01 modl=nmc", "modl: unknown key; did you mean 'model'?"),
    ],
)
def test_what_cannot_be_is_named(line_file: Path, words: str, why: str) -> None:
    line = load_line(line_file)
    station = SimulatedStation(line, "st01", shipped_dut_models(), lambda: 0.0)
    answer = Control(line, {"st01": station}, {"st01": {}}).obey(words)
    assert answer["event"] == "error"
    assert why in answer["message"]
    assert station.world.ambient_degc == 25.0
