"""A running line: its stations over one journal, and who watches them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from config import DutModel, LineConfig
from controller.clock import Clock
from controller.instruments import LinkFactory
from controller.journal import AuditEntry, Event, Journal, RunSummary
from controller.mes.orders import Orders
from controller.mes.publisher import Publisher
from controller.mes.signing import SIGNING_KEY, Signer
from controller.mes.topics import Topics, rfc3339
from controller.recovery import NotTakenUpError, left_run
from controller.results import Outcome, bare_result
from controller.station import Station, StationServices
from controller.status import status_of
from sequences import GradeRules, Verdict

log = structlog.get_logger()

DAEMON_ENDED = Outcome(Verdict.ERROR, "E-DAEMON", "the daemon ended while the run was active")


class Line:
    """Owns the stations. The same with real links and at wall speed as on memory links in virtual time."""

    def __init__(
        self, config: LineConfig, clock: Clock, journal: Journal, make_link: Callable[[str], LinkFactory],
        models: Mapping[str, DutModel], grade_rules: GradeRules, state_dir: Path,
    ) -> None:  # fmt: skip
        self.config, self.clock, self.journal = config, clock, journal
        self.signer = Signer.of(state_dir)
        self._note_key()
        root = Topics(config.line).root
        self.topics = Topics(config.line, journal.outbox_numbers(root, config.stations), journal.identity)
        self.orders = Orders(journal, self.topics, clock)
        self.stopping = asyncio.Event()
        self._watchers: dict[str, set[asyncio.Event]] = {name: set() for name in config.stations}
        self._sinks: list[Callable[[Station], None]] = []
        self.delivery: Publisher | None = None
        services = StationServices(
            clock=clock,
            journal=journal,
            models=models,
            grade_rules=grade_rules,
            topics=self.topics,
            orders=self.orders,
            signer=self.signer,
            data_dir=state_dir / "data",
            report_dir=state_dir / "reports",
            changed=self._changed,
        )
        self._models, self._rules = models, grade_rules
        count = len(config.stations)
        self.stations = {
            name: Station(name, station, services, make_link(name), phase=index / count)
            for index, (name, station) in enumerate(config.stations.items())
        }

    def _note_key(self) -> None:
        """The journal names every key that it holds signatures of."""
        key = self.signer.public_key
        if self.journal.newest(SIGNING_KEY, key.key_id) is None:
            body = {"key": key.key_id, "algorithm": key.algorithm, "public_key": key.public_key}
            self.journal.append(Event(self.clock.now(), "", "", SIGNING_KEY, body))

    def publish_states_to(self, sink: Callable[[Station], None]) -> None:
        """Call `sink` whenever a station changes; it must not block."""
        self._sinks.append(sink)

    async def serve(self) -> None:
        """Run every station until cancelled. Leaves outputs as they are: `shut_down` is what follows."""
        await self._settle_orphans()
        async with asyncio.TaskGroup() as group:
            for station in self.stations.values():
                group.create_task(station.serve())

    async def shut_down(self, outcome: Outcome = DAEMON_ENDED) -> bool:
        """All stations to the safe state at once; True when every output is confirmed off."""
        self.stopping.set()
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.set()
        stations = self.stations.values()
        # one station's trouble must not cost another its off sequence
        confirmed = await asyncio.gather(*(station.shut_down(outcome) for station in stations), return_exceptions=True)
        for name, result in zip(self.stations, confirmed, strict=True):
            if isinstance(result, BaseException):
                log.error("shutdown failed", station=name, exc_info=result)
        await asyncio.gather(*(station.instruments.close() for station in stations), return_exceptions=True)
        return all(result is True for result in confirmed)

    async def _settle_orphans(self) -> None:
        """Runs a former daemon left are taken up by their stations, or get their result now: every run has one."""
        for summary in reversed(self.journal.unfinished_runs()):
            station = self.stations.get(summary.station)
            try:
                if station is None or station.left is not None:
                    raise NotTakenUpError("its station has no place for it")
                with self.clock.hold():
                    arguments = (self.journal, summary, self._models, self._rules, self.clock.now())
                    station.left = await asyncio.to_thread(left_run, *arguments)
            except NotTakenUpError as why:
                reason = ": ".join(filter(None, (DAEMON_ENDED.reason, str(why))))
                self._settle(summary, replace(DAEMON_ENDED, reason=reason))
        self.orders.settle()
        await self.journal.flush()

    def _settle(self, summary: RunSummary, outcome: Outcome) -> None:
        t = self.clock.now()
        starts = self.journal.events(run=summary.run, kind="run.started", limit=1)
        known = starts[0].body if starts else {}
        attempt = self.journal.attempt(summary.run, known.get("dut"), known.get("recipe"))
        bare = bare_result(summary.run, summary.station, summary.started, t, outcome, known, attempt)
        result = self.signer.sign(bare)
        body = {"verdict": str(outcome.verdict), "grade": None}
        message = self.topics.result_message(summary.station, summary.run, t, result, known.get("order"))
        audit = AuditEntry(t, "evaline", "result", outcome.reason, {"run": summary.run})
        self.journal.commit_result(Event(t, summary.station, summary.run, "run.ended", body), result, [message], audit)

    # ------------------------------------------------------------------------------------------ watching

    def _changed(self, station: Station) -> None:
        for watcher in self._watchers[station.name]:
            watcher.set()
        for sink in self._sinks:
            sink(station)

    @contextmanager
    def watching(self, station: str) -> Iterator[asyncio.Event]:
        """An event that is set at every change of the station."""
        changed = asyncio.Event()
        self._watchers[station].add(changed)
        try:
            yield changed
        finally:
            self._watchers[station].discard(changed)

    async def durable(self) -> None:
        """Return once all that happened so far is in the journal: what a client is told of must outlive a power cut."""
        with self.clock.hold():
            await self.journal.flush()

    def status(self) -> dict[str, Any]:
        return {
            "line": self.topics.root,
            "time": self.clock.now(),
            "stations": {name: status_of(station) for name, station in self.stations.items()},
            "mes": self.delivery.status() if self.delivery is not None else None,
        }

    def run_list(self) -> list[dict[str, Any]]:
        """The newest runs with their verdicts; blocking."""
        return [
            {
                "run_id": summary.run,
                "station": summary.station,
                "started": rfc3339(summary.started),
                "verdict": summary.result["verdict"] if summary.result else None,
                "grade": summary.result["grade"] if summary.result else None,
            }
            for summary in self.journal.runs()
        ]
