"""`make bench`: every figure beside a peer or the raw limit measured in the same run, in under four minutes."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import gettempdir
from time import perf_counter

from rich.console import Console

from tests.bench import analysis, battery, daemon, durability, links, mqtt, scan, simulators, steps, virtual_day
from tests.bench.table import Row, show

SUBJECTS = {
    "steps": steps.measured,
    "durability": durability.measured,
    "scan": scan.measured,
    "links": links.measured,
    "day": virtual_day.measured,
    "daemon": daemon.measured,
    "mqtt": mqtt.measured,
    "simulators": simulators.measured,
    "battery": battery.measured,
    "analysis": analysis.measured,
}
FILE_WIDTH = 180  # columns of the table in a file or a pipe
PACKAGES = ("numpy", "pydantic", "pymodbus", "uvloop", "openhtf", "pybamm")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("subjects", nargs="*", help=f"some of {', '.join(SUBJECTS)}; all without any")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args()
    if unknown := set(options.subjects) - SUBJECTS.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(SUBJECTS)}")

    console, progress = Console(), Console(stderr=True, highlight=False)
    if not console.is_terminal:
        console.width = FILE_WIDTH
    machine = _machine()
    progress.print(machine)
    rows: list[Row] = []
    began = perf_counter()
    for name in options.subjects or SUBJECTS:
        with progress.status(name) as status:

            def say(doing: str, name: str = name) -> None:
                status.update(f"{name}: {doing}")
                if not progress.is_terminal:
                    progress.print(f"{perf_counter() - began:5.0f} s  {name}: {doing}")

            rows += SUBJECTS[name](say)
        progress.print(f"{perf_counter() - began:5.0f} s  {name} done")
    show(console, rows, options.markdown)
    console.print(f"{machine}\ndone in {perf_counter() - began:.0f} s", highlight=False)


def _machine() -> str:
    versions = ", ".join(f"{package} {_version(package)}" for package in PACKAGES)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{_processor()}, {os.cpu_count()} cores, load {load}; {platform.system()} {platform.release()},"
        f" temporary files on {_file_system(gettempdir())}; Python {sys.version.split()[0]}; {versions}"
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.machine())


def _file_system(directory: str) -> str:
    """The kind of file system that the durable figures are measured on; on tmpfs they mean nothing."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "an unknown file system"
    inside = [(point, kind) for point, kind in mounts if Path(directory).is_relative_to(point)]
    return max(inside, key=lambda mount: len(mount[0]))[1] if inside else "an unknown file system"


if __name__ == "__main__":
    main()
