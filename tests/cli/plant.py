"""A line as its users have it: simulators, daemon and commands are processes of their own, joined by real wires alone.

Nothing here sleeps: a test waits for a line of output, a snapshot of the daemon's stream or a process's end, each with
a deadline that is generous, since it bounds a hang and measures nothing.
"""

from __future__ import annotations

import copy
import json
import os
import queue
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx
import yaml

from config import read_document
from controller.clock import create_page
from controller.recipes import LIBRARY
from tests.contract import assert_outbox_in_contract

DEMO_LINE = Path(__file__).parents[2] / "config" / "lines" / "demo.yaml"
CODE = "PHE96-004711"
# line time per wall time where a test needs little of it: the daemon leaves the processor to others, and what must
# happen within seconds of line time has room enough on a busy machine
PACED = 2.0
WITHIN = 40.0  # wall s for anything to happen

Data = dict[str, Any]
Change = Callable[[Data], None]

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("EVALINE_", "_TYPER"))} | {
    "COLUMNS": "250",
    "LINES": "60",
    "TERM": "dumb",
    "EVALINE_AUTHOR": "tester",
}
EVALINE = [sys.executable, "-m", "controller.cli"]


# --------------------------------------------------------------------------------------------------- what to run

LIBRARY_RECIPE = read_document(LIBRARY / "quick_capacity_dcir.yaml").data
REST = {"name": "rest", "step": "rest", "duration": "5 s"}
DISCHARGE = {
    "name": "discharge", "step": "cc", "direction": "discharge", "current": "C/2", "cell_voltage": "2.70 V",
    "ends": ["step_time >= 20 s"], "max_time": "1 h",
}  # fmt: skip
# long enough that whatever a test does to it happens in its middle
LONG_DISCHARGE = DISCHARGE | {"ends": ["step_time >= 30 min"]}
TEMPERATURE = {
    "name": "temperatureMax",
    "title": {"en": "Highest temperature", "ko": "최고 온도"},
    "from": {"kind": "temperature_max"},
    "limits": {"max": "50 degC"},
}


def recipe(*steps: Data, limits: Data | None = None, **other: Any) -> Data:
    """The library's envelope and safety block around other steps; a short discharge when none are given."""
    data = copy.deepcopy(LIBRARY_RECIPE)
    data |= {"id": "short", "steps": [*steps] or [REST, DISCHARGE]}
    data["measurements"] = [TEMPERATURE | {"limits": limits or TEMPERATURE["limits"]}]
    return data | other


def as_yaml(data: Data) -> str:
    return yaml.safe_dump(data, allow_unicode=True, sort_keys=False)


# ----------------------------------------------------------------------------------------------------- processes


@dataclass(frozen=True)
class Ended:
    """A command that has ended, as its user sees it."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output is one JSON object and nothing else."""
        assert self.out.count("\n") == 1, self
        return json.loads(self.out)

    def says(self, code: int, *lines: str) -> None:
        """It ended with this exit code and told exactly these lines on standard error."""
        assert (self.code, self.err.splitlines()) == (code, list(lines))


class Here(Protocol):
    """`evaline ...` in this process: the same from the arguments to the exit code, without the second for a start."""

    def __call__(self, *arguments: str | Path) -> Ended: ...


class Child:
    """A process of ours, its lines of standard output in a queue and its standard error in a file."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        self.log = log
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True,
                cwd=log.parent, env=ENVIRONMENT, start_new_session=True,
            )  # fmt: skip
        self._lines: queue.Queue[str] = queue.Queue()
        self._everything: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._everything.append(line)
            self._lines.put(line)
        self._lines.put("")

    @property
    def err(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def event(self) -> Data:
        """The next line, which is a JSON object."""
        line = self._lines.get(timeout=WITHIN)
        assert line, f"{self.log.stem} ended: {self.err}"
        event: Data = json.loads(line)
        return event

    def line(self) -> str:
        """The next line of text, without its end; empty when there is none any more."""
        return self._lines.get(timeout=WITHIN).rstrip("\n")

    def ask(self, question: str) -> Data:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{question}\n")
        self.process.stdin.flush()
        return self.event()

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def ended(self) -> Ended:
        """Wait for its end."""
        code = self.process.wait(WITHIN)
        self._reader.join(WITHIN)
        return Ended(code, "".join(self._everything), self.err)

    def end(self, number: int = signal.SIGTERM) -> Ended:
        """Ask it to end and wait; one that does not is killed, and the test fails."""
        with suppress(ProcessLookupError):
            self.send(number)
        return self.ended()

    def close(self) -> None:
        """Leave nothing behind, whatever happened."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self._reader.join(10)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()


class Simulators(Child):
    """The simulated instruments, which know what is really the case."""

    def truth(self) -> Data:
        return self.ask("truth st01")

    def fault(self, instrument: str, kind: str, on: bool = True) -> None:
        answer = self.ask(f"fault st01 {instrument} {kind} {'on' if on else 'off'}")
        assert answer["event"] == "fault", answer

    def assert_off(self, hot_openings: int = 0) -> None:
        """No current, output off, contactors open; and they were opened without current."""
        truth = self.truth()
        found = {key: truth[key] for key in ("current", "output_on", "contactor_closed", "hot_openings")}
        assert found == {"current": 0, "output_on": False, "contactor_closed": False, "hot_openings": hot_openings}


class Daemon(Child):
    """A serving daemon."""

    ready: Data

    @property
    def url(self) -> str:
        return f"http://{self.ready['http']['host']}:{self.ready['http']['port']}"

    def snapshots(self) -> Iterator[Data]:
        """The station at every change."""
        with httpx.stream("GET", f"{self.url}/api/stations/st01/stream", timeout=WITHIN, trust_env=False) as response:
            for line in response.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    def until(self, what: Callable[[Data], bool]) -> Data:
        """The first snapshot of which something is true."""
        snapshots = self.snapshots()
        try:
            for snapshot in snapshots:
                if what(snapshot):
                    return snapshot
        finally:
            snapshots.close()  # type: ignore[attr-defined]
        raise AssertionError(f"the daemon ended before: {self.err}")

    def until_state(self, *states: str) -> Data:
        return self.until(lambda station: station["state"] in states)

    def until_scanned(self) -> None:
        """Every instrument has been read since now."""
        now = self.until(lambda station: True)["time"]
        self.until(lambda station: station["time"] > now + 2.5)

    def until_current_flows(self) -> Data:
        """In the middle of a discharge at C/2."""
        return self.until(lambda station: (station["live"].get("current") or 0) < -29)

    def result(self, run: str) -> Data:
        response = httpx.get(f"{self.url}/api/runs/{run}", timeout=WITHIN, trust_env=False)
        assert response.is_success, response.text
        result: Data = response.json()
        return result


# ----------------------------------------------------------------------------------------------------- the plant


@dataclass
class Plant:
    """One line in a directory of its own. Everything it starts ends with it."""

    directory: Path
    stack: ExitStack = field(default_factory=ExitStack)
    simulators: Simulators = field(init=False, repr=False)
    daemon: Daemon = field(init=False, repr=False)
    _children: int = 0

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def journal(self) -> Path:
        return self.state / "journal.db"

    @property
    def line_file(self) -> Path:
        """The line with the addresses that are really served."""
        return self.directory / "line.yaml"

    @property
    def page(self) -> Path:
        return self.directory / "clock"

    # ---- files

    def write(self, name: str, content: str | bytes | Data) -> Path:
        path = self.directory / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else as_yaml(content), encoding="utf-8")
        return path

    def write_line(self, change: Change | None = None, name: str = "wanted.yaml") -> Path:
        """The shipped line with its state here, no broker and no fixed port."""
        data = read_document(DEMO_LINE).data
        data |= {"state_dir": str(self.state), "http": {"port": 0}, "broker": {"kind": "none"}}
        if change is not None:
            change(data)
        return self.write(name, data)

    def change_line(self, change: Change) -> None:
        """Rewrite the served line, as a user edits the file before the daemon starts."""
        data = json.loads(self.line_file.read_text(encoding="utf-8"))
        change(data)
        self.write(self.line_file.name, data)

    # ---- processes

    def _log(self, name: str) -> Path:
        self._children += 1
        return self.directory / f"{self._children:02}-{name}.log"

    def simulate(self, *options: str, change: Change | None = None, rate: float | None = None) -> Simulators:
        """Start the simulated instruments, on a clock page of the plant unless at a rate of wall time."""
        create_page(self.page)
        clock = ["--clock", str(self.page)] if rate is None else ["--rate", str(rate)]
        files = ["--config", str(self.write_line(change)), "--write-config", str(self.line_file)]
        arguments = [sys.executable, "-m", "simulators", *files, *clock, "--free-ports", "--json", *options]
        self.simulators = Simulators(arguments, self._log("simulators"))
        self.stack.callback(self.simulators.close)
        assert self.simulators.event()["event"] == "ready"
        return self.simulators

    def start_daemon(self, rate: float | None = None, command: list[str] | None = None) -> Daemon:
        """Start a daemon without waiting for it."""
        clock = ["--jump", str(self.page)] if rate is None else ["--rate", str(rate)]
        arguments = [*(command or EVALINE), "serve", "--config", str(self.line_file), *clock, "--json"]
        daemon = Daemon(arguments, self._log("daemon"))
        self.stack.callback(daemon.close)
        return daemon

    def serve(self, rate: float | None = None, command: list[str] | None = None) -> Daemon:
        """Start the daemon, until its station has done what it can to get ready for a battery."""
        self.daemon = self.start_daemon(rate, command)
        self.daemon.ready = self.daemon.event()
        self.daemon.until_state("IDLE", "STOPPED")
        return self.daemon

    def refusal_to_serve(self) -> Ended:
        """A daemon that is expected not to start."""
        return self.start_daemon().ended()

    def up(
        self,
        *options: str,
        change: Change | None = None,
        rate: float | None = None,
        command: list[str] | None = None,
    ) -> Plant:
        """Simulators and daemon, ready."""
        self.simulate(*options, change=change, rate=rate)
        self.serve(rate, command)
        return self

    def command(self, *arguments: str | Path, cwd: Path | None = None) -> Ended:
        """`evaline ...` to its end."""
        url = {"EVALINE_URL": self.daemon.url} if hasattr(self, "daemon") else {}
        done = subprocess.run(
            [*EVALINE, *map(str, arguments)], cwd=cwd or self.directory, env=ENVIRONMENT | url, text=True,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=WITHIN, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return Ended(done.returncode, done.stdout, done.stderr)

    def run(self, data: Data, *options: str, dut: str = CODE) -> Ended:
        """`evaline run` of a recipe, to its end."""
        return self.command("run", self.write("recipe.yaml", data), "--station", "st01", "--dut", dut, *options)

    def begin(self, data: Data, *options: str) -> Child:
        """`evaline run` of a recipe, left running."""
        file = str(self.write("recipe.yaml", data))
        arguments = ["run", file, "--station", "st01", "--dut", CODE, "--url", self.daemon.url, *options]
        child = Child([*EVALINE, *arguments], self._log("run"))
        self.stack.callback(child.close)
        return child

    def begin_discharge(self) -> tuple[str, Child]:
        """A long discharge, once its current flows: the run's id and its `evaline run --json`."""
        child = self.begin(recipe(LONG_DISCHARGE), "--json")
        return self.daemon.until_current_flows()["run_id"], child

    def let_pass(self, seconds: float) -> None:
        """Line time goes on although the daemon, which used to write it, is dead."""
        (now,) = struct.unpack("<d", self.page.read_bytes())
        with self.page.open("r+b") as file:
            file.write(struct.pack("<d", now + seconds))


@contextmanager
def a_plant(directory: Path) -> Iterator[Plant]:
    plant = Plant(directory)
    with plant.stack:
        yield plant
    if plant.journal.exists():
        with suppress(sqlite3.DatabaseError):  # one that the test has damaged
            assert_outbox_in_contract(plant.journal)
