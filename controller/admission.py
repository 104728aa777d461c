"""May a run begin, or go on, on this station: the run that is asked for, and everything that is against it now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from config import DutModel, StationConfig
from controller.clock import Clock
from controller.instruments import Instruments
from controller.journal import JournalReader
from controller.recovery import LeftRun, reasons_against_going_on
from controller.run import Run, forecast_of
from controller.sampler import Sampler
from controller.start import (
    Reason,
    RecipeError,
    StartRequest,
    battery_model,
    checked_recipe,
    reason,
    reasons_against,
    station_limits,
)
from sequences import GradeRules, Sample


class Admission:
    """One station's. `latest` is its newest sample, `standing` what its own state has against any start now."""

    def __init__(
        self, name: str, config: StationConfig, clock: Clock, journal: JournalReader, models: Mapping[str, DutModel],
        rules: GradeRules, instruments: Instruments, sampler: Sampler,
        latest: Callable[[], Sample | None], standing: Callable[[StartRequest], list[Reason]],
        at_work: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._name, self._config, self._clock, self._journal = name, config, clock, journal
        self._models, self._rules = models, rules
        self._instruments, self._sampler = instruments, sampler
        self._latest, self._standing, self._at_work = latest, standing, at_work

    async def plan(self, request: StartRequest) -> tuple[Run, list[Reason]]:
        """The run that is asked for, with its forecast, and everything that is against its start now.

        Raises RecipeError, or StartRefusedError for a code of no known battery model.
        """
        model = battery_model(request.code, dict(self._models))
        limits = station_limits(self._config, self._instruments)
        soc, capacity = self._believed(model)
        with self._clock.hold():  # a hostile recipe must not hold up the scans of other stations
            recipe = await asyncio.to_thread(checked_recipe, request, model, limits, self._rules)
            forecast = await asyncio.to_thread(forecast_of, recipe, model, limits, soc, capacity, rules=self._rules)
        # judged last: what is so now is what the start relies on
        parts = (self._config, self._instruments, self._sampler, self._latest())
        now = reasons_against(request, model, recipe, *parts, at_work=self._at_work())
        reasons = [*self._standing(request), *now]
        run = Run(
            id=f"{self._name}-{self._journal.count_runs() + 1:06d}",
            station=self._name,
            code=request.code,
            model=model,
            recipe=recipe,
            author=request.author,
            reason=request.reason,
            limits=limits,
            started=self._clock.now(),
            capacity_estimate=capacity,
            soc=soc,
            forecast=forecast,
            job=request.job,
        )
        return run, reasons

    async def against_going_on(self, left: LeftRun) -> list[Reason]:
        """As before a start, and whether the battery is still as a daemon left it that died."""
        run, request = left.run, left.request
        run.limits = station_limits(self._config, self._instruments)
        reasons: list[Reason] = []
        try:
            with self._clock.hold():
                await asyncio.to_thread(checked_recipe, request, run.model, run.limits, self._rules)
        except RecipeError as error:
            hint = (
                "the station is another one than the run was started on: abort it",
                "실행을 시작한 때와 스테이션 조건이 다릅니다. 실행을 중단(abort)하십시오",
            )
            reasons += [reason("E-RECIPE", line, hint) for line in zip(error.lines, error.lines_ko, strict=True)]
        parts = (self._config, self._instruments, self._sampler, self._latest())
        reasons += reasons_against(request, run.model, run.recipe, *parts)
        reasons += reasons_against_going_on(left, self._latest())
        return reasons

    def _believed(self, model: DutModel) -> tuple[float, float]:
        """State of charge and capacity in Ah as the BMS has them; one far off is no better than none."""
        battery, rated = self._sampler.battery, model.rated_capacity_ah
        if battery is None:
            return 0.5, rated
        believed = battery.full_charge_capacity
        return battery.soc, believed if 0.3 * rated <= believed <= 1.2 * rated else rated
