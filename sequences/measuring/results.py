"""The measurements of a recipe: worked out in the order they need each other, judged, and as people see them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from sequences.analysis import Estimate, UnmeasurableError
from sequences.expression import Evaluation, Scalar, coherent
from sequences.flow import Call
from sequences.limits import Bounds
from sequences.measurement import (
    AcResistance,
    FormulaOf,
    InsulationPerVolt,
    Measurement,
    Spectrum,
    shown,
)
from sequences.measuring.kinds import KINDS
from sequences.measuring.reasons import in_words
from sequences.measuring.samples import MissingError, RunData, Samples
from sequences.recipe import Recipe, walk
from sequences.verdict import Verdict
from sequences.view import Context, value_of

Detail = Mapping[str, float | str]


@dataclass(frozen=True, slots=True)
class MeasurementResult:
    """A measurement's value and standard uncertainty (k = 1) in its inner unit, None where not known; its verdict.

    `samples` are the line times, unix s, of the first and the last sample it came from. `detail` holds the conditions
    that a comparison needs, and `missing` and `missing_ko` where there is no value.
    """

    measurement: Measurement
    dimension: str
    value: float | None
    uncertainty: float | None
    verdict: Verdict
    bounds: Bounds | None
    detail: Detail
    samples: tuple[float, float] | None = None

    def as_json(self) -> dict[str, Any]:
        """In the unit shown to people and sent to the MES."""
        unit, scale = shown(self.measurement.source.kind, self.dimension)

        def scaled(value: float | None) -> float | None:
            return None if value is None else value * scale

        bounds = self.bounds and {
            "min": scaled(self.bounds.min),
            "max": scaled(self.bounds.max),
            "marginal": scaled(self.bounds.marginal),
        }
        return {
            "value": scaled(self.value),
            "uncertainty": scaled(self.uncertainty),
            "unit": unit,
            "limits": bounds,
            "verdict": str(self.verdict),
            "title": self.measurement.title.model_dump(),
            "detail": dict(self.detail),
            "samples": None if self.samples is None else list(self.samples),
        }


def analyse(recipe: Recipe, context: Context, run: RunData) -> list[MeasurementResult]:
    """Every measurement of the recipe and of those it called, in their order, judged against its limits.

    A called recipe's measurement replaces one of the same name.
    """
    results = {result.measurement.name: result for result in _measured(recipe, context, run, "")}
    _replace_by_called(recipe, context, run, "", results)
    return list(results.values())


def _replace_by_called(
    recipe: Recipe, context: Context, run: RunData, scope: str, results: dict[str, MeasurementResult]
) -> None:
    for step, _ in walk(recipe.steps):
        inner = f"{scope}/{step.name}" if scope else step.name
        if isinstance(step, Call) and any(record.scope == inner for record in run.steps):
            results |= {result.measurement.name: result for result in _measured(step.body, context, run, inner)}
            _replace_by_called(step.body, context, run, inner, results)


def analyse_some(
    recipe: Recipe, context: Context, run: RunData, scope: str, names: Collection[str]
) -> list[MeasurementResult]:
    """Some of the measurements of the recipe that runs in a scope, and what they need, from the samples so far."""
    body = recipe
    for name in filter(None, scope.split("/")):
        body = next(step.body for step, _ in walk(body.steps) if isinstance(step, Call) and step.name == name)
    return _measured(body, context, run, scope, names)


def _measured(
    recipe: Recipe, context: Context, run: RunData, scope: str, names: Collection[str] | None = None
) -> list[MeasurementResult]:
    asked = [m for m in recipe.measurements if names is None or m.name in names]
    if not asked:
        return []
    work = _Work(recipe, context, run, scope)
    found = [(measurement, work.found(measurement.name)) for measurement in asked]
    return [work.judged(m, what) for m, what in found if not m.optional or what.value is not None]


@dataclass(frozen=True, slots=True)
class _Found:
    value: float | None
    uncertainty: float | None
    detail: Detail
    samples: tuple[float, float] | None = None


_NOT_YET = _Found(None, None, {})


def _missing(en: str, ko: str) -> _Found:
    return _Found(None, None, {"missing": en, "missing_ko": ko})


@dataclass
class _Work:
    """Measurements worked out when they are asked for, once. It is also what formulas and limits see."""

    recipe: Recipe
    context: Context
    run: RunData
    scope: str
    shifted: dict[str, float] = field(default_factory=dict)  # in coherent units, while partial derivatives are taken

    def __post_init__(self) -> None:
        self._dimensions = self.recipe.names()
        self._measurements = {measurement.name: measurement for measurement in self.recipe.measurements}
        self._found: dict[str, _Found] = {}
        self._samples = Samples(self.context.dut, self.run, self.recipe, self.scope, self)

    # ---- as the scope of expressions

    @property
    def rated_capacity(self) -> float:
        return self.context.dut.rated_capacity

    def value(self, name: str) -> Scalar:
        if name in self.shifted:
            return self.shifted[name]
        if name not in self._measurements:
            return value_of(name, self.context)
        value = self.found(name).value
        return None if value is None else value * coherent(self._dimensions[name])

    def history(self, name: str) -> list[float] | None:
        return self.context.variables.get(name)

    # ---- working out

    def found(self, name: str) -> _Found:
        if name not in self._found:
            self._found[name] = _NOT_YET  # a formula over itself finds nothing
            source = self._measurements[name].source
            self._found[name] = self._formula(name, source) if isinstance(source, FormulaOf) else self._estimate(source)
        return self._found[name]

    def _estimate(self, source: Any) -> _Found:
        try:
            estimate = KINDS[type(source)](self._samples, source)
        except MissingError as missing:
            return _missing(missing.text.en, missing.text.ko)
        except UnmeasurableError as error:
            text = in_words(str(error))
            return _missing(text.en, text.ko)
        if not math.isfinite(estimate.value):
            return _missing("samples were not good", "정상이 아닌 샘플이 있음")
        return _Found(estimate.value, _known(estimate.uncertainty), estimate.detail, self._came_from(source, estimate))

    def _came_from(self, source: Any, estimate: Estimate) -> tuple[float, float] | None:
        if estimate.rows:
            t = self.run.columns["t"]
            return float(t[min(a for a, _ in estimate.rows)]), float(t[max(b for _, b in estimate.rows)])
        if isinstance(source, AcResistance | Spectrum | InsulationPerVolt):  # an instrument's own, while the step ran
            record = self._samples.last(next(iter(source.steps.values())))
            return record.started, record.ended
        return None

    def _formula(self, name: str, source: FormulaOf) -> _Found:
        factor = coherent(self._dimensions[name])
        worked = Evaluation(source.value).now(self)
        if worked is None:
            unknown = sorted(n for n in source.value.names if self.value(n) is None)
            return _missing(
                f"not known: {', '.join(unknown) or source.value.text}",
                f"알 수 없음: {', '.join(unknown) or source.value.text}",
            )
        spans = [found.samples for n in source.value.names if n in self._measurements and (found := self.found(n))]
        times = [t for span in spans if span is not None for t in span]
        samples = (min(times), max(times)) if times else None
        return _Found(float(worked) / factor, _known(self._propagated(source) / factor), {}, samples)

    def _propagated(self, source: FormulaOf) -> float:
        """Standard uncertainty by the linear law: half of what each value's moving by +-u makes, added in squares.

        The values are taken as independent; those without uncertainty, as variables are, as exact.
        """
        parts = []
        for name in source.value.names:
            if name not in self._measurements:
                continue
            found = self.found(name)
            if found.value is None or found.uncertainty is None:
                continue
            factor = coherent(self._dimensions[name])
            ends = []
            for sign in (1.0, -1.0):
                self.shifted[name] = (found.value + sign * found.uncertainty) * factor
                ends.append(Evaluation(source.value).now(self))
            del self.shifted[name]
            if None not in ends:
                parts.append((float(ends[0] or 0.0) - float(ends[1] or 0.0)) / 2)
        return math.hypot(*parts)

    def judged(self, measurement: Measurement, found: _Found) -> MeasurementResult:
        dimension = self._dimensions[measurement.name]
        bounds = None
        verdict = Verdict.INCONCLUSIVE if found.value is None else Verdict.PASS
        if measurement.limits is not None:
            bounds = measurement.limits.of_model(self.context.dut.model).bounds(self, dimension)
            verdict = bounds.judge(found.value)
        return MeasurementResult(
            measurement, dimension, found.value, found.uncertainty, verdict, bounds, found.detail, found.samples
        )


def _known(uncertainty: float) -> float | None:
    """Nothing is exact: where no source of uncertainty is known, neither is the uncertainty."""
    return uncertainty if math.isfinite(uncertainty) and uncertainty > 0 else None
