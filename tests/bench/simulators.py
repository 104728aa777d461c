"""How soon two hundred simulated instruments of a line answer in one process, beside as many bare servers."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from config import read_document
from tests.bench.child import Measured, Say, interleaved, measure
from tests.bench.daemon import resident, running
from tests.bench.table import Row, problem
from tests.virtual import DEMO_LINE

LINE = DEMO_LINE.with_name("demo_bench2.yaml")
INSTRUMENTS = 200
START_AIM, RSS_AIM = 3.0, 300.0  # s, MB
BARE = """
import asyncio, numpy, pydantic, yaml
async def serve():
    servers = [await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0) for _ in range({count})]
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")))
asyncio.run(serve())
"""


def simulate() -> Measured:
    """Seconds from the start of the process until all addresses are served, CPU seconds and MB by then, how many."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "line.json"
        file.write_text(json.dumps(_line(name)), encoding="utf-8")
        began = perf_counter()
        with running(["-m", "simulators", "--config", str(file), "--free-ports", "--json"]) as (process, ready):
            wall = perf_counter() - began
            served = sum(len(of_station) for of_station in ready["addresses"].values())
            return {"wall": wall, "cpu": _cpu(process.pid), "rss": resident(process.pid), "served": served}


def bare(count: int) -> Measured:
    """The same of asyncio servers that do nothing, after the imports that a line file needs."""
    began = perf_counter()
    program = BARE.format(count=count)
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return {"wall": perf_counter() - began, "rss": int(done.stdout) / 1024}


def _cpu(pid: int) -> float:
    """Seconds of a process in user and kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _line(directory: str) -> dict[str, Any]:
    """As many stations of the line with most wires as have so many instruments; each has an address of its own."""
    data = read_document(LINE).data
    (station,), (simulated,) = data["stations"].values(), data["simulation"]["stations"].values()
    data |= {"state_dir": directory, "stations": {}}
    data["simulation"]["stations"] = {}
    for number in range(1, -(-INSTRUMENTS // len(station["instruments"])) + 1):
        name = f"st{number}"
        host = f"127.0.{number}.1"
        data["stations"][name] = json.loads(json.dumps(station).replace("127.0.0.1", host))
        data["simulation"]["stations"][name] = copy.deepcopy(simulated)
        data["simulation"]["stations"][name]["battery"]["code"] = f"PHM12-{number:06}"
    plain: dict[str, Any] = json.loads(json.dumps(data))
    return plain


def measured(say: Say) -> list[Row]:
    found = interleaved(
        {
            "simulated instruments": lambda: measure("simulators", "simulate"),
            "bare servers": lambda: measure("simulators", "bare", count=INSTRUMENTS),
        },
        repeats=3,
        budget=20,
        say=say,
    )
    ours, servers = found.values()
    aim = f"at most {START_AIM:g} s and {RSS_AIM:g} MB"
    if row := problem("simulated instruments in one process", aim, ours, servers):
        return [row]
    return [
        Row(
            f"{ours['served']:.0f} simulated instruments in one process",
            f"served after {ours['wall']:.2f} s (CPU {ours['cpu']:.2f} s), {ours['rss']:.0f} MB",
            f"as many bare servers {servers['wall']:.2f} s, {servers['rss']:.0f} MB",
            ours["wall"] / servers["wall"],
            aim,
            ours["wall"] <= START_AIM and ours["rss"] <= RSS_AIM,
        )
    ]
