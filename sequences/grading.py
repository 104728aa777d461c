"""From measurements to a grade, by rules that are data. Every grade comes with its reasons.

Rules are held against the unfavourable end of each measurement's uncertainty, so that a battery near a limit is graded
down, never up. How wide that is at least, for what was only estimated, the rules say too: their guard bands.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, PrivateAttr
from pydantic_core import CoreSchema, core_schema

from sequences.condition import Identifier, Strict
from sequences.dut import Dut
from sequences.parameters import Parameter, bind, substitute
from sequences.quantity import UNITS, Fraction, parse_quantity
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
_NEEDED = {
    ">=": Text(en="at least {}", ko="{} 이상"),
    ">": Text(en="more than {}", ko="{} 초과"),
    "<=": Text(en="at most {}", ko="{} 이하"),
    "<": Text(en="less than {}", ko="{} 미만"),
}
_FORM = re.compile(r"\s*([a-zA-Z][a-zA-Z0-9_]{0,63})\s*(<=|>=|<|>)\s*(.{1,40})")


@dataclass(frozen=True, slots=True)
class Measured:
    """A measurement for grading: value and standard uncertainty (k = 1) in its inner unit, and how it was found."""

    value: float
    uncertainty: float = 0.0
    kind: str = ""
    guard: float = 0.0  # what it is moved at least, to either side

    def moved(self, confidence: float) -> float:
        """To the unfavourable side of a rule, or with a negative confidence to the favourable one."""
        return math.copysign(max(abs(confidence) * self.uncertainty, self.guard), confidence) if confidence else 0.0


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
        return OPERATORS[self.operator](found.value + unfavourable * found.moved(confidence), self.value)

    @property
    def bound(self) -> str:
        return self.text.split(self.operator, 1)[1].strip()

    def in_words(self, name: Text, found: Measured, confidence: float) -> Text:
        """What was measured, in the rule's own unit, and what the rule asks for."""
        unit = re.sub(r"^[-\d.]+ *", "", self.bound)
        factor = UNITS[unit][1] if unit else 1.0
        value, moved = found.value / factor, found.moved(abs(confidence)) / factor
        shown = f"{value:.4g}{f' ± {moved:.2g}' if moved else ''} {unit}".strip()
        needed = _NEEDED[self.operator]
        return Text(
            en=f"{name.en} {shown} ({needed.en.format(self.bound)})",
            ko=f"{name.ko} {shown} ({needed.ko.format(self.bound)})",
        )

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


class Guard(Strict):
    """A measurement that was found in this way is held to be no surer than this, whatever its own uncertainty."""

    measurement: Annotated[str, Field(pattern=r"^[a-zA-Z][a-zA-Z0-9_]{0,63}$", description="Which measurement.")]
    kind: Annotated[Identifier, Field(description="How it was found: the kind of its source.")]
    at_least: Annotated[Fraction, Field(description="Half the width of the band around a threshold.")]


class Reject(Strict):
    """A hard reject: when its rule holds, the grade is this one whatever else was measured."""

    grade: Grade
    when: Annotated[Rule, Field(description="What rejects.")]
    reason: Reason


class Cap(Strict):
    """The best grade that is left unless one of some rules is known to hold."""

    best: Annotated[Grade, Field(description="No better grade than this.")]
    unless: Annotated[
        list[Rule], Field(min_length=1, description="One of these must be known to hold for a better one.")
    ]
    where_measured: Annotated[
        str | None, Field(pattern=r"^[a-zA-Z][a-zA-Z0-9_]{0,63}$", description="Only for runs that measure this.")
    ] = None
    reason: Reason

    def limits(self, measured: Mapping[str, Measured], confidence: float) -> bool:
        """Whether a battery of which this was measured gets no better grade."""
        if self.where_measured is not None and self.where_measured not in measured:
            return False
        return not any(rule.holds(measured, confidence, needed=True) for rule in self.unless)


class GradeClass(Strict):
    """A grade and everything that must hold for it."""

    grade: Grade
    title: Annotated[Text, Field(description="What is done with such batteries.")]
    needs: Annotated[list[Rule], Field(min_length=1, description="All of them must hold, so all must be measured.")]
    where_measured: Annotated[
        list[Rule], Field(default_factory=list, description="Must hold too, for runs that measure it.")
    ]

    def rules(self, measured: Mapping[str, Measured]) -> list[Rule]:
        """Those that a battery of which this was measured is held to."""
        return [*self.needs, *(rule for rule in self.where_measured if rule.measurement in measured)]


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
    words: Annotated[
        dict[str, Text], Field(default_factory=dict, description="What measurements are called in the reasons.")
    ]
    guards: Annotated[list[Guard], Field(default_factory=list, description="Least widths of what is only estimated.")]
    rejects: Annotated[list[Reject], Field(default_factory=list, description="Win over everything.")]
    caps: Annotated[list[Cap], Field(default_factory=list, description="What limits the best grade.")]
    classes: Annotated[list[GradeClass], Field(min_length=1, description="From best to worst.")]
    otherwise: Annotated[Grade, Field(description="When no class fits.")]
    _source: tuple[Any, Mapping[str, Any]] | None = PrivateAttr(None)

    @classmethod
    def from_data(cls, data: Any, parameters: Mapping[str, Any] | None = None, dut: Dut | None = None) -> GradeRules:
        """Validate a parsed document with a site's thresholds; raises pydantic.ValidationError or FaultError."""
        values = bind(data, parameters or {}, dut)
        bound = substitute(data, values) if isinstance(data, dict) else data
        rules = cls.model_validate(bound, by_alias=True, by_name=False)
        rules._source = data, parameters or {}
        return rules

    def for_battery(self, dut: Dut) -> GradeRules:
        """The same rules with the thresholds for this battery's chemistry and kind."""
        return self if self._source is None else self.from_data(*self._source, dut)

    def rules(self) -> list[Rule]:
        return [
            *(reject.when for reject in self.rejects),
            *(rule for cap in self.caps for rule in cap.unless),
            *(rule for c in self.classes for rule in [*c.needs, *c.where_measured]),
        ]

    def called(self, measurement: str) -> Text:
        """A measurement in words."""
        return self.words.get(measurement, Text(en=measurement, ko=measurement))


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
    measured = _guarded(rules, measured)
    if trip:
        return Graded("Q", (Text(en=f"safety limit tripped: {trip}", ko=f"안전 한계 초과: {trip}"),))
    for reject in rules.rejects:
        if reject.when.holds(measured, k, needed=False):
            return Graded(reject.grade, (reject.reason,))
    if verdict in (Verdict.ABORTED, Verdict.ERROR, Verdict.INCONCLUSIVE):
        return Graded(None, (Text(en=f"no grade: the run is {verdict}", ko=f"등급 없음: 판정 {verdict.ko}"),))
    missing = sorted({rule.measurement for c in rules.classes for rule in c.needs} - set(measured))
    if missing:
        names = _joined([rules.called(name) for name in missing])
        why = Text(en=f"no grade: not measured: {names.en}", ko=f"등급 없음: 측정되지 않음: {names.ko}")
        return Graded(None, (why,))
    if verdict is Verdict.FAIL:
        failed = Text(en="a limit of the recipe is failed", ko="레시피 한계 불합격")
        return Graded(rules.otherwise, (failed,))
    best, missed = _by_class(rules, measured, k)
    for cap in rules.caps:
        if cap.limits(measured, k) and _rank(rules, best) < _rank(rules, cap.best):
            best, missed = cap.best, [cap.reason, *missed]
    return Graded(best, tuple(missed))


def is_certain(rules: GradeRules, measured: Mapping[str, Measured], verdict: Verdict) -> bool:
    """Whether the whole uncertainty of the measurements gives the same grade."""
    unfavourable, favourable = (grade(rules, measured, verdict, confidence=s * rules.confidence) for s in (1, -1))
    return unfavourable.grade is not None and unfavourable.grade == favourable.grade


def _guarded(rules: GradeRules, measured: Mapping[str, Measured]) -> dict[str, Measured]:
    """The measurements with the guard bands that apply to how they were found."""
    found = dict(measured)
    for guard in rules.guards:
        value = found.get(guard.measurement)
        if value is not None and value.kind == guard.kind:
            found[guard.measurement] = replace(value, guard=max(value.guard, guard.at_least))
    return found


def _by_class(rules: GradeRules, measured: Mapping[str, Measured], k: float) -> tuple[Grade, list[Text]]:
    missed: list[Text] = []
    for candidate in rules.classes:
        asked = candidate.rules(measured)
        failing = [rule for rule in asked if not rule.holds(measured, k, needed=True)]
        named = [
            rule.in_words(rules.called(rule.measurement), measured[rule.measurement], k) for rule in failing or asked
        ]
        what, title = _joined(named), candidate.title
        if not failing:
            met = Text(en=f"{candidate.grade}, {title.en}: {what.en}", ko=f"{candidate.grade}, {title.ko}: {what.ko}")
            return candidate.grade, [met, *missed]
        missed.append(Text(en=f"not {candidate.grade}: {what.en}", ko=f"{candidate.grade} 아님: {what.ko}"))
    return rules.otherwise, missed


def _joined(texts: list[Text]) -> Text:
    return Text(en=", ".join(text.en for text in texts), ko=", ".join(text.ko for text in texts))


def _rank(rules: GradeRules, what: Grade) -> int:
    """0 is best; what is in no class comes last."""
    order = [c.grade for c in rules.classes]
    return order.index(what) if what in order else len(order) + (what == "Q")
