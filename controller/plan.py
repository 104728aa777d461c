"""What a run would come to, in plain JSON: the same for the command line's own dry run and for the daemon's."""

from __future__ import annotations

from typing import Any

from sequences import Forecast, ForecastStep, Recipe
from sequences.dry_run import ASKING


def plan_body(recipe: Recipe, forecast: Forecast) -> dict[str, Any]:
    """Keys carry their unit; + charges. `early_s` is what it takes where the step `early_by` skips what was planned of
    it, `longest_s` what the recipe's own limit on its time allows."""
    return {
        "recipe": recipe.id,
        "version": recipe.version,
        "title": recipe.title.model_dump(),
        "parameters": recipe.parameter_values,
        "dut": forecast.dut,
        "soc": forecast.soc,
        "capacity_ah": forecast.capacity,
        "seconds": forecast.seconds,
        "early_s": forecast.early.seconds if forecast.early is not None else None,
        "early_by": forecast.early.step if forecast.early is not None else None,
        "longest_s": float(recipe.safety.total_time.trip),
        "questions": sum(step.kind in ASKING for step in forecast.steps),
        "for_people_s": forecast.for_people,
        "charged_ah": forecast.charged,
        "discharged_ah": forecast.discharged,
        "verdict": str(forecast.finish.verdict),
        "reason": forecast.finish.reason,
        "ends_in": forecast.finish.step,
        "steps": [_step(step) for step in forecast.steps],
    }


def _step(step: ForecastStep) -> dict[str, Any]:
    return {
        "step": step.label,
        "kind": step.kind,
        "seconds": step.seconds,
        "longest_s": step.longest,
        "charge_ah": step.charge,
        "energy_wh": step.energy,
        "cell_min_v": step.cell_min,
        "cell_max_v": step.cell_max,
        "current_a": step.current,
        "temperature_degc": step.temperature,
        "ends": step.reason,
        "limits": {
            bound.name: {"warn": bound.warn, "trip": bound.trip, "delay_s": bound.delay, "unit": bound.unit}
            for bound in step.bounds
        },
    }
