"""What is refused: told with its reasons, and kept from filling the audit trail or taking the processor."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any

import structlog

from controller.clock import Clock
from controller.journal import AuditEntry, Journal
from controller.mes.messages import ReasonData
from controller.states import DONE, State

AUDIT_RATE, AUDIT_BURST = 1.0, 20.0  # refusals that get an entry of their own in the audit trail; the rest is summed up
SUMMARY_EVERY = 5.0  # s of line time
NOWHERE = "no station here"  # in a summary: names that others make up are not counted one by one

log = structlog.get_logger()


class RefusalError(Exception):
    """Why a command is not carried out: all reasons."""

    def __init__(self, *reasons: ReasonData) -> None:
        self.reasons = list(reasons)
        super().__init__("; ".join(f"{reason.message} [{reason.code}]" for reason in reasons))

    @classmethod
    def of(cls, code: str, message: str, hint: str = "") -> RefusalError:
        return cls(ReasonData(code=code, message=message, hint=hint))


@dataclass
class Bucket:
    """So many a second of line time, and so many at once."""

    rate: float
    burst: float
    tokens: float = field(init=False)
    at: float = 0.0

    def __post_init__(self) -> None:
        self.tokens = self.burst

    def take(self, now: float, cost: float = 1) -> bool:
        self.tokens = min(self.burst, self.tokens + max(0.0, now - self.at) * self.rate)
        self.at = now
        if self.tokens < min(cost, self.burst):
            return False
        self.tokens -= min(cost, self.burst)
        return True


class Refusals:
    """The audit trail of what is refused: an entry each, and beyond a bound one for all of some seconds."""

    def __init__(self, journal: Journal, clock: Clock, stations: Container[str]) -> None:
        self._journal, self._clock, self._stations = journal, clock, stations
        self._audits = Bucket(AUDIT_RATE, AUDIT_BURST)
        self._codes: Counter[str] = Counter()
        self._places: Counter[str] = Counter()
        self._any_untold = asyncio.Event()

    def tell(
        self, code: str, why: str, station: str, *,
        actor: str = "mes", cmd_id: str | None = None, command: str | None = None, summed: bool = False,
    ) -> None:  # fmt: skip
        """One refusal; `summed` leaves it to the next summary whatever there is room for."""
        if not summed and self._audits.take(self._clock.now()):
            self._audit(actor, why, {"station": station, "cmd_id": cmd_id, "command": command, "code": code})
        else:
            self._codes[code] += 1
            self._places[station if station in self._stations else NOWHERE] += 1
            self._any_untold.set()

    async def run(self) -> None:
        """Sum up now and then until cancelled, and then once more."""
        try:
            while True:
                await self._any_untold.wait()
                await self._clock.sleep(SUMMARY_EVERY)
                self._sum_up()
        finally:
            self._sum_up()

    def _sum_up(self) -> None:
        self._any_untold.clear()
        codes, self._codes = self._codes, Counter()
        places, self._places = self._places, Counter()
        if codes:
            told = f"{_listed(codes)}; for {_listed(places)}"
            log.warning("commands refused", count=codes.total(), told=told)
            detail = {"codes": dict(codes), "stations": dict(places)}
            self._audit("mes", f"{codes.total()} more commands were refused: {told}", detail)

    def _audit(self, actor: str, why: str, detail: dict[str, Any]) -> None:
        self._journal.audit(AuditEntry(self._clock.now(), actor, "command refused", why[:500], detail))


def way_out(state: State) -> str:
    """What to do when a station's state refuses a command."""
    match state:
        case State.COMPLETE | State.STOPPED:
            return "reset the station: it is ready for the next battery then"
        case State.ABORTED:
            return "clear the station, then reset it"
        case State.HELD | State.SUSPENDED:
            return "resume its run, or stop or abort it"
        case State.EXECUTE:
            return "wait for the end of its run, or hold, suspend, stop or abort it"
        case State.IDLE:
            return "nothing runs: start an order first"
        case _:
            return f"wait until its state is {DONE[state].name}"


def _listed(counts: Counter[str]) -> str:
    first = ", ".join(f"{count} x {name}" for name, count in counts.most_common(8))
    return first + (f" and {len(counts) - 8} more" if len(counts) > 8 else "")
