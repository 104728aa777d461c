"""`evaline demo`: a simulated line on real wires, its daemon, and one battery evaluated from scan to grade.

Three processes, as in a plant: the simulators, the daemon with its broker, and this one, which plays operator and MES.
They share nothing but the wires and a line time that stands still while a request is in flight.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from config import read_document, validate_line
from controller.cli.display import RunDisplay, show_result
from controller.cli.run import run_body, start_and_follow
from controller.client import connect
from controller.clock import Clock, PacedClock, create_page
from controller.mes.connection import V311, BrokerSettings, Connector, Endpoint
from controller.mes.topics import Topics

READY_WITHIN = 30.0  # wall s
END_WITHIN = 15.0  # wall s
RECIPE = "quick_capacity_dcir"


class DemoError(Exception):
    """A part of the demo did not come up or did not end."""

    code = "E-DEMO"


@dataclass
class Mes:
    """A stand-in for the factory's MES: counts what it is told, keeps results, and says so."""

    topics: Topics
    clock: Clock = field(default_factory=PacedClock)
    messages: int = 0
    results: list[dict[str, Any]] = field(default_factory=list)
    got_result: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self, broker: BrokerSettings, ready: asyncio.Event) -> None:
        async with Connector(broker, "demo-mes").connected() as client:
            await client.subscribe_all(f"{self.topics.root}/#")
            ready.set()
            while True:
                message = await client.received()
                topic = str(message.topic)
                self.messages += 1
                if topic.endswith("/result"):
                    result = json.loads(message.payload)
                    self.results.append(result["data"])
                    stored = self.topics.acknowledgement([result["id"]], self.clock.now())
                    await client.publish(f"{topic}/ack", json.dumps(stored).encode())
                    self.got_result.set()
                client.acknowledge(message)


async def demo(console: Console, lang: str, directory: Path, line: Path) -> dict[str, Any]:
    """Run the demo of a simulated `line` in `directory`, on the line's first station.

    Returns the object that `--json` prints. Raises DemoError, ApiError, DocumentError.
    """
    began = time.monotonic()
    directory.mkdir(parents=True, exist_ok=True)
    line_file, page = directory / "line.yaml", directory / "clock"
    wanted = directory / "demo.yaml"
    station = _write_demo_line(line, wanted, directory)
    create_page(page)
    console.print(f"[dim]simulated station, broker and daemon start in {directory}[/]")
    simulate = ["-m", "simulators", "--config", str(wanted), "--clock", str(page), "--free-ports",
                "--write-config", str(line_file), "--json"]  # fmt: skip
    serve = ["-m", "controller.cli", "serve", "--config", str(line_file), "--jump", str(page), "--json"]
    async with (
        _child("simulators", simulate, directory) as (simulators, _),
        _child("daemon", serve, directory) as (_daemon, ready),
    ):
        mes = Mes(Topics(validate_line(read_document(line_file)).line))
        password = (directory / "broker" / "password").read_text().strip()
        endpoint = Endpoint(ready["mqtt"]["host"], ready["mqtt"]["port"])
        subscribed = asyncio.Event()
        listening = asyncio.create_task(
            mes.listen(BrokerSettings((endpoint,), "evaline", password, versions=(V311,)), subscribed)
        )
        try:
            async with asyncio.timeout(READY_WITHIN):
                await subscribed.wait()
            async with connect(f"http://{ready['http']['host']}:{ready['http']['port']}") as client:
                code = (await _ask(simulators, f"get {station}"))["battery"]
                body = run_body(RECIPE, code, "demo", "demonstration")
                result = await start_and_follow(client, station, body, RunDisplay(console, lang))
            async with asyncio.timeout(END_WITHIN):
                await mes.got_result.wait()
        except TimeoutError:
            raise DemoError(f"nothing came over MQTT; see {directory}/daemon.log [{DemoError.code}]") from None
        finally:
            listening.cancel()
            await asyncio.wait({listening})
        truth = await _ask(simulators, f"truth {station}")
    report = Path(result["report"])  # the daemon has ended, so it is there now or never
    answer = {
        "run_id": result["run_id"],
        "recipe": result["recipe"]["id"],
        "dut": result["dut"]["code"],
        "verdict": result["verdict"],
        "grade": result["grade"],
        "measurements": {
            name: {key: result["measurements"][name][key] for key in ("value", "unit", "limits", "verdict")}
            for name in result["measurement_order"]
        },
        "truth": {key: value for key, value in truth.items() if key not in ("event", "station")},
        "journal": str(directory / "journal.db"),
        "data_file": result["data_file"] and result["data_file"]["path"],
        "report": str(report) if report.exists() else None,
        "mqtt_messages": mes.messages,
        "line_seconds": round(result["line_seconds"], 1),
        "wall_seconds": round(time.monotonic() - began, 1),
    }
    show_result(console, result, lang)
    _show_comparison(console, answer)
    return answer


def _write_demo_line(line: Path, path: Path, directory: Path) -> str:
    """The line with its state in this directory, and no fixed port that could be taken; its station."""
    document = read_document(line)
    simulation = validate_line(document).simulation
    if simulation is None:
        raise document.error("E-SIMULATION", (), "the line file has no simulation section")
    data = document.data
    data |= {"state_dir": str(directory), "http": {"port": 0}, "broker": {"kind": "embedded", "port": 0}}
    for station in data["stations"].values():
        for instrument in station["instruments"].values():
            if isinstance(port := instrument["link"].get("port"), str):
                instrument["link"]["port"] = str(directory / Path(port).name)
    path.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return next(iter(simulation.stations))


def _show_comparison(console: Console, answer: dict[str, Any]) -> None:
    truth, measured = answer["truth"], answer["measurements"]
    capacity, energy = measured["remainingCapacity"]["value"], measured["stateOfCertifiedEnergy"]["value"]
    if capacity is not None and energy is not None:
        off = 100 * (capacity / truth["capacity_ah"] - 1)
        off_energy = energy - 100 * truth["soce"]
        console.print(
            f"\nthe simulator's truth: {truth['capacity_ah']:.3f} Ah ({off:+.2f} %), SOCE {100 * truth['soce']:.2f} %"
            f" ({off_energy:+.2f} points), weakest cell {truth['weakest_cell'] + 1}",
            highlight=False,
        )
    console.print(
        f"{answer['line_seconds'] / 3600:.2f} h of line time in {answer['wall_seconds']:.0f} s,"
        f" {answer['mqtt_messages']} MQTT messages",
        highlight=False,
    )
    for name in ("journal", "data_file", "report"):
        console.print(f"{name.replace('_', ' '):<10}{answer[name]}", highlight=False, soft_wrap=True)


# ------------------------------------------------------------------------------------------------- processes


@asynccontextmanager
async def _child(
    name: str, arguments: list[str], directory: Path
) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """A process of ours that says when it is ready; ended by SIGTERM, with its stderr in a log file."""
    log = directory / f"{name}.log"
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=stderr, start_new_session=True,
            preexec_fn=_end_with_parent,
        )  # fmt: skip
        try:
            yield process, await _event(process, name, log)
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(END_WITHIN):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


def _end_with_parent() -> None:
    """In the child: SIGTERM when the demo dies, however it dies (Linux; elsewhere its orderly end must do)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


async def _event(process: asyncio.subprocess.Process, name: str, log: Path) -> dict[str, Any]:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(READY_WITHIN):
            line = await process.stdout.readline()
    except TimeoutError:
        line = b""
    event: dict[str, Any] = json.loads(line) if line else {}
    if "event" not in event:  # nothing, or the error that it ended with
        said = log.read_text(errors="replace").strip().splitlines()
        raise DemoError(
            f"the {name} did not start: {said[-1] if said else 'no message'} (see {log}) [{DemoError.code}]"
        )
    return event


async def _ask(process: asyncio.subprocess.Process, question: str) -> dict[str, Any]:
    assert process.stdin is not None
    process.stdin.write(f"{question}\n".encode())
    await process.stdin.drain()
    return await _event(process, "simulators", Path("simulators.log"))
