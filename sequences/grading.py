"""From measurements to a grade, by rules that are data. Every grade comes with its reasons.

Rules are held against the unfavourable end of each measurement's uncertainty, so that a battery near a limit is graded
down, never up.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from sequences.condition import Identifier, Strict
from sequences.quantity import parse_quantity
from sequences.recipe import Parameter, bind, substitute
from sequences.text import FaultError, Text
from sequences.verdict import Verdict

Grade = Annotated[
    Literal["A", "B", "C", "D", "Q"],
    Field(description="A remanufacture, B and C reuse, D recycle, Q quarantine."),
]
Reason = Annotated[Text, Field(description="What people are told when it applies.")]

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_OPPOSITE = {"<=": ">", ">=": "<", "<": ">=", ">": "<="}
_FORM = re.compile(r"\s*([a-zA-Z][a-zA-Z0-9_]{0,63})\s*(<=|>=|<|>)\s*(.{1,40})")


@dataclass(frozen=True, slots=True)
class Measured:
    """A measurement for grading: value and standard uncertainty (k = 1) in its inner unit."""

    value: float
    uncertainty: float = 0.0


@dataclass(frozen=True, slots=True)
class Rule:
    """`measurement operator quantity`, in inner units."""

    measurement: str
    operator: str
    value: float
    dimension: str
    text: str

    @property
    def rising(self) -> bool:
        return self.operator in (">=", ">")

    def holds(self, measured: Mapping[str, Measured], confidence: float, *, needed: bool) -> bool:
        """A need must hold, and a reject counts, at the unfavourable end; what is missing satisfies nothing."""
        found = measured.get(self.measurement)
        if found is None:
            return False
        unfavourable = -1.0 if self.rising == needed else 1.0
        return OPERATORS[self.operator](found.value + unfavourable * confidence * found.uncertainty, self.value)

    @property
    def bound(self) -> str:
        return self.text.split(self.operator, 1)[1].strip()

    @classmethod
    def parse(cls, text: Any) -> Rule:
        if isinstance(text, Rule):
            return text
        match = _FORM.fullmatch(text) if isinstance(text, str) else None
        if not match:
            raise FaultError(
                f"{text!r:.60} is not a rule: write it like 'stateOfHealth >= 80 %'",
                f"{text!r:.60} 은(는) 규칙이 아닙니다: 'stateOfHealth >= 80 %' 처럼 쓰십시오",
                "E-GRADES",
            )
        name, sign, quantity = match.groups()
        if re.fullmatch(r"\d{1,4}", quantity.strip()):
            value, dimension = float(quantity), "number"
        else:
            parsed = parse_quantity(quantity)
            value, dimension = parsed.value, parsed.dimension
        return cls(name, sign, value, dimension, f"{name} {sign} {quantity.strip()}")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        serialize = core_schema.plain_serializer_function_ser_schema(lambda rule: rule.text)
        return core_schema.no_info_plain_validator_function(cls.parse, serialization=serialize)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {
            "title": "rule",
            "type": "string",
            "pattern": f"^{_FORM.pattern}$",
            "examples": ["stateOfHealth >= 80 %"],
        }


class Reject(Strict):
    """A hard reject: when its rule holds, the grade is this one whatever else was measured."""

    grade: Grade
    when: Annotated[Rule, Field(description="What rejects.")]
    reason: Reason


class Cap(Strict):
    """The best grade that is left unless a rule is known to hold."""

    best: Annotated[Grade, Field(description="No better grade than this.")]
    unless: Annotated[Rule, Field(description="What must be known to hold for a better one.")]
    reason: Reason


class GradeClass(Strict):
    """A grade and everything that must hold for it."""

    grade: Grade
    title: Annotated[Text, Field(description="What is done with such batteries.")]
    needs: Annotated[list[Rule], Field(min_length=1, description="All of them must hold.")]


class GradeRules(Strict):
    """A rule file: rejects first, then classes from best to worst with their caps, else the last resort."""

    schema_version: Annotated[
        Literal["evaline/grades/1"], Field(alias="schema", description="What this file is, and which version of that.")
    ] = "evaline/grades/1"
    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", description="By which line files name it.")]
    source: Annotated[str, Field(description="Where the thresholds come from.")]
    parameters: Annotated[
        dict[Identifier, Parameter], Field(default_factory=dict, description="Thresholds that a site may set.")
    ]
    confidence: Annotated[
        float, Field(ge=0, le=5, description="Standard uncertainties that a value is moved to its unfavourable side.")
    ] = 1.645
    rejects: Annotated[list[Reject], Field(default_factory=list, description="Win over everything.")]
    caps: Annotated[list[Cap], Field(default_factory=list, description="What limits the best grade.")]
    classes: Annotated[list[GradeClass], Field(min_length=1, description="From best to worst.")]
    otherwise: Annotated[Grade, Field(description="When no class fits.")]

    @classmethod
    def from_data(cls, data: Any, parameters: Mapping[str, Any] | None = None) -> GradeRules:
        """Validate a parsed document with a site's thresholds; raises pydantic.ValidationError or FaultError."""
        values = bind(data, parameters or {})
        return cls.model_validate(substitute(data, values) if isinstance(data, dict) else data)

    def rules(self) -> list[Rule]:
        return [
            *(reject.when for reject in self.rejects),
            *(cap.unless for cap in self.caps),
            *(rule for c in self.classes for rule in c.needs),
        ]


@dataclass(frozen=True, slots=True)
class Graded:
    """A grade, None where the run allows none, and why, in English and Korean."""

    grade: Grade | None
    reasons: tuple[Text, ...]


def grade(
    rules: GradeRules,
    measured: Mapping[str, Measured],
    verdict: Verdict,
    trip: str = "",
    confidence: float | None = None,
) -> Graded:
    """Grade a run from its measurements.

    A safety trip quarantines, and a reject rejects, whatever else was measured. A run that was aborted, failed by an
    error, or did not measure what the classes need gets no grade. A failed limit leaves only the last resort.
    """
    k = rules.confidence if confidence is None else confidence
    if trip:
        return Graded("Q", (Text(en=f"safety limit tripped: {trip}", ko=f"안전 한계 초과: {trip}"),))
    for reject in rules.rejects:
        if reject.when.holds(measured, k, needed=False):
            return Graded(reject.grade, (reject.reason,))
    if verdict in (Verdict.ABORTED, Verdict.ERROR, Verdict.INCONCLUSIVE):
        return Graded(None, (Text(en=f"no grade: the run is {verdict}", ko=f"등급 없음: 판정 {verdict}"),))
    missing = sorted({rule.measurement for c in rules.classes for rule in c.needs} - set(measured))
    if missing:
        names = ", ".join(missing)
        return Graded(None, (Text(en=f"no grade: not measured: {names}", ko=f"등급 없음: 측정되지 않음: {names}"),))
    if verdict is Verdict.FAIL:
        failed = Text(en="a limit of the recipe is failed", ko="레시피 한계 불합격")
        return Graded(rules.otherwise, (failed,))
    best, missed = _by_class(rules, measured, k)
    for cap in rules.caps:
        if not cap.unless.holds(measured, k, needed=True) and _rank(rules, best) < _rank(rules, cap.best):
            best, missed = cap.best, [cap.reason, *missed]
    return Graded(best, tuple(missed))


def is_certain(rules: GradeRules, measured: Mapping[str, Measured], verdict: Verdict) -> bool:
    """Whether the whole uncertainty of the measurements gives the same grade."""
    unfavourable, favourable = (grade(rules, measured, verdict, confidence=s * rules.confidence) for s in (1, -1))
    return unfavourable.grade is not None and unfavourable.grade == favourable.grade


def _by_class(rules: GradeRules, measured: Mapping[str, Measured], k: float) -> tuple[Grade, list[Text]]:
    missed: list[Text] = []
    for candidate in rules.classes:
        failing = [rule for rule in candidate.needs if not rule.holds(measured, k, needed=True)]
        if not failing:
            needs = ", ".join(rule.text for rule in candidate.needs)
            met = Text(
                en=f"{candidate.grade}: {candidate.title.en}: {needs}",
                ko=f"{candidate.grade}: {candidate.title.ko}: {needs}",
            )
            return candidate.grade, [met, *missed]
        what = ", ".join(_failure(rule, measured, k) for rule in failing)
        missed.append(Text(en=f"not {candidate.grade}: {what}", ko=f"{candidate.grade} 아님: {what}"))
    return rules.otherwise, missed


def _failure(rule: Rule, measured: Mapping[str, Measured], k: float) -> str:
    """What is wrong; a value that misses the rule only by its uncertainty says so."""
    missed = f"{rule.measurement} {_OPPOSITE[rule.operator]} {rule.bound}"
    return f"{missed} within its uncertainty" if rule.holds(measured, 0.0, needed=True) else missed


def _rank(rules: GradeRules, what: Grade) -> int:
    """0 is best; what is in no class comes last."""
    order = [c.grade for c in rules.classes]
    return order.index(what) if what in order else len(order) + (what == "Q")
