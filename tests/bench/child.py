"""One measurement in one fresh process, so that nobody pays for another's imports, heap or threads.

`python -m tests.bench.child subject function '{"argument": 1}'` prints the returned object as its last line.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

Measured = dict[str, Any]
Say = Callable[[str], None]

ROOT = Path(__file__).parents[2]
CHILD_WITHIN = 120.0  # s
PEERS = ("openhtf", "pybamm", "uvloop")


def measure(subject: str, function: str, **arguments: Any) -> Measured:
    """Call tests.bench.<subject>.<function> in a process of its own. A peer that is not installed is `missing`."""
    call = [sys.executable, "-m", "tests.bench.child", subject, function, json.dumps(arguments)]
    quiet = os.environ | {"PYBAMM_DISABLE_TELEMETRY": "true"}
    try:
        done = subprocess.run(call, cwd=ROOT, env=quiet, capture_output=True, text=True, timeout=CHILD_WITHIN)
    except subprocess.TimeoutExpired:
        return {"failed": f"not done within {CHILD_WITHIN:g} s"}
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no message"]
        return {"failed": said[-1]}
    result: Measured = json.loads(done.stdout.splitlines()[-1])
    return result


def interleaved(
    measures: Mapping[str, Callable[[], Measured]], repeats: int, budget: float, say: Say
) -> dict[str, Measured]:
    """Every measure in turn, `repeats` rounds as far as the budget (s) allows; medians of the numbers."""
    rounds: dict[str, list[Measured]] = {name: [] for name in measures}
    began = perf_counter()
    for done in range(repeats):
        if done and (perf_counter() - began) * (done + 1) / done > budget:
            say(f"{done} of {repeats} rounds fit into {budget:g} s")
            break
        for name, work in measures.items():
            say(f"round {done + 1} of {repeats}: {name}")
            rounds[name].append(work())
    return {name: medians(results) for name, results in rounds.items()}


def medians(results: list[Measured]) -> Measured:
    """The median of every number; the first problem instead, if there was one."""
    for result in results:
        if "missing" in result or "failed" in result:
            return result
    numbers = {key for key, value in results[0].items() if isinstance(value, int | float)}
    return {key: median(r[key] for r in results) if key in numbers else results[0][key] for key in results[0]} | {
        "rounds": len(results)
    }


def main() -> None:
    _, subject, function, arguments = sys.argv
    work = getattr(importlib.import_module(f"tests.bench.{subject}"), function)
    try:
        result = work(**json.loads(arguments))
    except ModuleNotFoundError as error:
        if error.name not in PEERS:
            raise
        result = {"missing": error.name}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
