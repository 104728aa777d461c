"""What the line shows of itself beside the journal: retained states and lists of which only the newest counts, and live
values. Whatever is published here is read from the stations; nothing waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from controller.instruments import capabilities_of
from controller.line import Line
from controller.mes.messages import (
    SCHEMA_OF,
    VERSION,
    AlarmData,
    InfoData,
    InstrumentInfo,
    JobState,
    ProgressData,
    RatingsInfo,
    ReasonData,
    RecipeInfo,
    StackLight,
    StateData,
    TelemetryData,
    TotalsData,
    WipData,
    WorkInProgress,
)
from controller.mes.recipes import recipe_infos
from controller.mes.requests import COMMANDS
from controller.mes.topics import rfc3339
from controller.results import described
from controller.software import NAME, software_version
from controller.station import Station
from controller.status import LIVE
from controller.tower import tower_of

TELEMETRY_EVERY = 1.0  # s of line time, at most; and only when something is new
PROGRESS_STEPS = 50  # a run's progress is told so many times, beside everything else that changes its state


class Outlet(Protocol):
    """How to reach the broker."""

    def retain(self, topic: str, payload: Mapping[str, Any]) -> None:
        """Retain a message, now and on every connection."""
        ...

    async def tell(self, topic: str, payload: Mapping[str, Any]) -> None:
        """Publish at QoS 0."""
        ...


class Face:
    """`run` it beside the outlet; `show` is called whenever a station changes."""

    def __init__(self, line: Line, outlet: Outlet) -> None:
        self._line, self._outlet = line, outlet
        self._shown: dict[str, object] = {}
        self._sampled: dict[str, float] = {}
        self._recipes: list[RecipeInfo] = []
        line.publish_states_to(self.show)
        line.orders.changed = self._show_orders

    async def run(self) -> None:
        """Show everything there is, and live values from then on."""
        self._recipes = await asyncio.to_thread(recipe_infos, self._line.config.mes.recipes)
        self._show_orders()
        for station in self._line.stations.values():
            self.show(station)
        self._show_wip()
        newest: list[object] | None = None
        while True:
            await self._line.clock.sleep(TELEMETRY_EVERY)
            results: list[object] = [station.last_result for station in self._line.stations.values()]
            if results != newest:
                newest = results
                await self._show_totals()
            for station in self._line.stations.values():
                await self._tell_live(station)

    def show(self, station: Station) -> None:
        """Retain what is new about a station."""
        topics, now = self._line.topics, station.now
        state = state_of(station)
        coarse = state.model_dump(exclude={"progress": {"elapsed_s", "estimated_s"}})
        if progress := state.progress:
            coarse["done"] = int(PROGRESS_STEPS * progress.elapsed_s / max(progress.estimated_s, 1.0))
        if self._new(topics.state(station.name), coarse):
            self._outlet.retain(topics.state(station.name), topics.retained(station.name, "state", now, state))
            self._show_wip()
        # a station's info changes with these alone, and this is called at every sample
        if self._new(topics.info(station.name), (dict(station.instruments.identities), self._recipes)):
            info = info_of(station, self._recipes, self._line)
            self._outlet.retain(topics.info(station.name), topics.retained(station.name, "info", now, info))

    def _new(self, topic: str, content: object) -> bool:
        if self._shown.get(topic) == content:
            return False
        self._shown[topic] = content
        return True

    def _show_orders(self) -> None:
        topics, now, data = self._line.topics, self._line.clock.now(), self._line.orders.data
        if self._new(topics.orders, data):
            self._outlet.retain(topics.orders, topics.retained(None, "orders", now, data))

    def _show_wip(self) -> None:
        topics, now = self._line.topics, self._line.clock.now()
        runs = [
            WorkInProgress(
                station=station.name, run=run.id, order=run.job.order_id, dut=run.code, recipe=run.recipe.id,
                state=station.job_state or JobState.ALLOWED_TO_START, started=rfc3339(run.started),
            )
            for station in self._line.stations.values()
            if (run := station.run_now) is not None
        ]  # fmt: skip
        data = WipData(runs=runs)
        if self._new(topics.wip, data):
            self._outlet.retain(topics.wip, topics.retained(None, "wip", now, data))

    async def _show_totals(self) -> None:
        topics, line = self._line.topics, self._line
        verdicts, grades = await asyncio.to_thread(line.journal.totals)
        data = TotalsData(runs=sum(verdicts.values()), verdicts=verdicts, grades=grades)
        if self._new(topics.totals, data):
            self._outlet.retain(topics.totals, topics.retained(None, "totals", line.clock.now(), data))

    async def _tell_live(self, station: Station) -> None:
        sample = station.latest
        if sample is None or self._sampled.get(station.name) == sample.t:
            return
        self._sampled[station.name] = sample.t
        counters = sample.counters
        values = {name: sample.good(name) for name in LIVE}
        values |= {"charged_ah": counters.charged_ah, "discharged_ah": counters.discharged_ah}
        run, topics = station.run_now, self._line.topics
        data = TelemetryData(run=run.id if run else None, values=values)
        await self._outlet.tell(topics.telemetry(station.name), topics.telemetry_payload(station.name, sample.t, data))


def state_of(station: Station) -> StateData:
    """What a station does now, as it is retained for the MES."""
    run, progress, question = station.run_now, station.progress, station.question
    light = tower_of(station.state)
    reasons = [ReasonData(code=alarm["code"], message=alarm["message"]) for alarm in station.alarms]
    reasons += [
        ReasonData(code=fault.code, message=str(fault), hint="make it answer; the station keeps trying")
        for fault in station.instruments.faults.values()
    ]
    return StateData(
        state=station.state.name,  # a test holds the names equal
        number=int(station.state),
        mode=station.mode,
        reason=station.reason,
        reasons=reasons,
        run=run.id if run else None,
        order=run.job.order_id if run else None,
        job_state=station.job_state,
        dut=run.code if run else None,
        recipe=run.recipe.id if run else None,
        step=progress.step if run and progress else None,
        progress=ProgressData(
            index=progress.index,
            count=progress.count,
            elapsed_s=progress.elapsed,
            estimated_s=progress.estimated_total,
        )
        if run and progress
        else None,
        question=question.ask.text.en if question is not None else None,
        alarms=[AlarmData.model_validate(alarm) for alarm in station.alarms],
        stack_light=StackLight(red=light.red, yellow=light.yellow, green=light.green, buzzer=light.buzzer),
    )


def info_of(station: Station, recipes: list[RecipeInfo], line: Line) -> InfoData:
    """What a station is and can, as it is retained for the MES."""
    ratings, able = station.config.ratings, capabilities_of(station.config)
    instruments = {
        role: InstrumentInfo.model_validate(described(station.instruments, role) | {"capabilities": sorted(able[role])})
        for role in station.config.instruments
    }
    return InfoData(
        software=f"{NAME} {software_version()}",
        contract=VERSION,
        instruments=instruments,
        ratings=RatingsInfo(
            max_voltage_v=ratings.max_voltage_v,
            max_charge_current_a=ratings.max_charge_current_a,
            max_discharge_current_a=ratings.max_discharge_current_a,
            max_power_w=ratings.max_power_w,
        ),
        commands=list(COMMANDS),
        recipes=recipes,
        schemas=SCHEMA_OF,
        key=line.signer.public_key,
    )
