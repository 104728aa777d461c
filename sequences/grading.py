"""From measurements to a grade, by rules that are data. Every grade comes with its reasons."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from sequences.condition import OPERATORS
from sequences.quantity import parse_quantity
from sequences.recipe import MeasurementName, Text
from sequences.verdict import Verdict

Grade = Literal["A", "B", "C", "D", "Q"]

_FORM = re.compile(r"\s*([a-zA-Z][a-zA-Z0-9_]{0,63})\s*(<=|>=|<|>)\s*(.{1,40})")
_OPPOSITE = {"<=": ">", ">=": "<", "<": ">=", ">": "<="}


@dataclass(frozen=True, slots=True)
class Rule:
    """`measurement operator quantity`, in inner units."""

    measurement: MeasurementName
    operator: str
    value: float
    dimension: str
    text: str

    def holds(self, values: Mapping[str, float | None]) -> bool:
        """A measurement that is missing satisfies nothing."""
        value = values.get(self.measurement)
        return value is not None and OPERATORS[self.operator](value, self.value)


def _parse_rule(text: Any) -> Rule:
    if isinstance(text, Rule):
        return text
    match = _FORM.fullmatch(text) if isinstance(text, str) else None
    if not match:
        raise ValueError(f"{text!r} is not a rule: write it like 'stateOfHealth >= 80 %'")
    name, sign, quantity = match.groups()
    parsed = parse_quantity(quantity)
    return Rule(name, sign, parsed.value, parsed.dimension, f"{name} {sign} {quantity.strip()}")


RuleField = Annotated[Rule, BeforeValidator(_parse_rule)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Reject(_Strict):
    """A hard reject: when its rule holds, the grade is this one whatever else was measured."""

    grade: Grade
    when: RuleField
    reason: Text


class GradeClass(_Strict):
    """A grade and everything that must hold for it."""

    grade: Grade
    title: Text
    needs: Annotated[list[RuleField], Field(min_length=1)]


class GradeRules(_Strict):
    """A rule file: rejects first, then classes from best to worst, else the last resort."""

    schema_version: Literal["evaline/grades/1"] = Field(alias="schema")
    id: str
    source: str
    rejects: list[Reject]
    classes: Annotated[list[GradeClass], Field(min_length=1)]
    otherwise: Grade

    def rules(self) -> list[Rule]:
        return [reject.when for reject in self.rejects] + [rule for c in self.classes for rule in c.needs]


@dataclass(frozen=True, slots=True)
class Graded:
    """A grade, None where the run allows none, and why, in English and Korean."""

    grade: Grade | None
    reasons: tuple[Text, ...]


def grade(rules: GradeRules, values: Mapping[str, float | None], verdict: Verdict, trip: str = "") -> Graded:
    """Grade a run from its measurements in inner units.

    A safety trip quarantines, and a reject rejects, whatever else was measured. A run that was aborted, failed by an
    error, or did not measure what the rules need gets no grade. A failed limit leaves only the last resort.
    """
    if trip:
        return Graded("Q", (Text(en=f"safety limit tripped: {trip}", ko=f"안전 한계 초과: {trip}"),))
    for reject in rules.rejects:
        if reject.when.holds(values):
            return Graded(reject.grade, (reject.reason,))
    if verdict in (Verdict.ABORTED, Verdict.ERROR, Verdict.INCONCLUSIVE):
        return Graded(None, (Text(en=f"no grade: the run is {verdict}", ko=f"등급 없음: 판정 {verdict}"),))
    missing = sorted({rule.measurement for rule in rules.rules() if values.get(rule.measurement) is None})
    if missing:
        names = ", ".join(missing)
        return Graded(None, (Text(en=f"no grade: not measured: {names}", ko=f"등급 없음: 측정되지 않음: {names}"),))
    if verdict is Verdict.FAIL:
        failed = Text(en="a limit of the recipe is failed", ko="레시피 한계 불합격")
        return Graded(rules.otherwise, (failed,))
    missed: list[Text] = []
    for candidate in rules.classes:
        failing = [rule for rule in candidate.needs if not rule.holds(values)]
        if not failing:
            met = Text(
                en=f"{candidate.grade}: {candidate.title.en}: " + ", ".join(rule.text for rule in candidate.needs),
                ko=f"{candidate.grade}: {candidate.title.ko}: " + ", ".join(rule.text for rule in candidate.needs),
            )
            return Graded(candidate.grade, (met, *missed))
        what = ", ".join(_failure(rule) for rule in failing)
        missed.append(Text(en=f"not {candidate.grade}: {what}", ko=f"{candidate.grade} 아님: {what}"))
    return Graded(rules.otherwise, tuple(missed))


def _failure(rule: Rule) -> str:
    bound = rule.text.split(rule.operator, 1)[1].strip()
    return f"{rule.measurement} {_OPPOSITE[rule.operator]} {bound}"


__all__ = ["Grade", "GradeRules", "Graded", "grade"]
