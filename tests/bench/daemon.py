"""How soon the daemon is ready and how much memory it holds, beside a process that only imports what it imports."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import yaml

from config import read_document
from tests.bench.child import Measured, Say, interleaved, measure
from tests.bench.table import Row, problem
from tests.virtual import DEMO_LINE

IDLE_FOR, IDLE_WITHIN, END_WITHIN = 2.0, 20.0, 15.0  # s
READY_AIM, RSS_AIM, IMPORT_AIM = 1.0, 100.0, 1.0  # s, MB, s
# the libraries that a served line cannot do without
LIBRARIES = "asyncio, sqlite3, numpy, pydantic, yaml, fastapi, uvicorn, httpx, aiomqtt, pyvisa, serial, pymodbus.client"


def serve() -> Measured:
    """Seconds until the daemon says that it is ready, and until its station is IDLE; MB resident 2 s later."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        wanted, served = directory / "wanted.yaml", directory / "line.yaml"
        wanted.write_text(yaml.safe_dump(_line(directory)), encoding="utf-8")
        simulate = ["-m", "simulators", "--config", str(wanted), "--free-ports", "--write-config", str(served)]
        with running([*simulate, "--json"]) as (_, _ready):
            began = perf_counter()
            with running(["-m", "controller.cli", "serve", "--config", str(served), "--json"]) as (daemon, ready):
                said = perf_counter() - began
                http = ready["http"]
                _await_idle(f"http://{http['host']}:{http['port']}/api/status")
                idle = perf_counter() - began
                _let_pass(IDLE_FOR)
                children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
                broker = sum(resident(int(pid)) for pid in children)
                return {"ready": said, "idle": idle, "rss": resident(daemon.pid), "broker": broker}


def importing(what: str) -> Measured:
    """Seconds that a process takes to import this and end, and the MB it holds then."""
    show = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmRSS')))"
    began = perf_counter()
    done = subprocess.run([sys.executable, "-c", f"import {what}\n{show}"], check=True, capture_output=True, text=True)
    return {"wall": perf_counter() - began, "rss": int(done.stdout) / 1024}


def _line(directory: Path) -> dict[str, Any]:
    """The demo line with its state in this directory and no port that could be taken."""
    data = read_document(DEMO_LINE).data
    data |= {"state_dir": str(directory), "http": {"port": 0}, "broker": {"kind": "embedded", "port": 0}}
    for instrument in data["stations"]["st01"]["instruments"].values():
        if isinstance(instrument["link"].get("port"), str):
            instrument["link"]["port"] = str(directory / Path(instrument["link"]["port"]).name)
    plain: dict[str, Any] = json.loads(json.dumps(data))
    return plain


@contextmanager
def running(arguments: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    """A process of ours and the event by which it says that it is ready; ended by SIGTERM."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
        assert process.stdout is not None
        try:
            said = process.stdout.readline()
            if not said:
                log.seek(0)
                raise RuntimeError(f"python {' '.join(arguments[:3])}: {log.read().decode().strip().splitlines()[-1:]}")
            yield process, json.loads(said)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.communicate(timeout=END_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def _await_idle(url: str) -> None:
    began = perf_counter()
    while perf_counter() - began < IDLE_WITHIN:
        with urllib.request.urlopen(url, timeout=5) as answer:
            if json.load(answer)["stations"]["st01"]["state"] == "IDLE":
                return
        _let_pass(0.02)
    raise TimeoutError(f"the station was not IDLE within {IDLE_WITHIN:g} s")


def _let_pass(seconds: float) -> None:
    threading.Event().wait(seconds)


def resident(pid: int) -> float:
    """MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def measured(say: Say) -> list[Row]:
    found = interleaved(
        {
            "evaline serve": lambda: measure("daemon", "serve"),
            "import of the libraries": lambda: measure("daemon", "importing", what=LIBRARIES),
            "import of controller.daemon": lambda: measure("daemon", "importing", what="controller.daemon"),
        },
        repeats=3,
        budget=25,
        say=say,
    )
    daemon, libraries, package = found.values()
    if row := problem("daemon", "", *found.values()):
        return [row]
    beside = f"importing its libraries {libraries['wall']:.2f} s"

    def timed(label: str, seconds: float, aim: float) -> Row:
        return Row(label, f"{seconds:.2f} s", beside, seconds / libraries["wall"], f"at most {aim:g} s", seconds <= aim)

    return [
        timed("daemon ready, broker and API up", daemon["ready"], READY_AIM),
        timed("station IDLE, five instruments connected", daemon["idle"], READY_AIM),
        Row(
            "daemon resident, idle",
            f"{daemon['rss']:.0f} MB (and its broker {daemon['broker']:.0f} MB)",
            f"its libraries imported {libraries['rss']:.0f} MB",
            daemon["rss"] / libraries["rss"],
            f"at most {RSS_AIM:g} MB",
            daemon["rss"] <= RSS_AIM,
        ),
        timed("import of controller.daemon", package["wall"], IMPORT_AIM),
    ]
