"""What is proven of a recipe before a volt is applied.

Every finding has a code, the path of the faulty value in the document, words and a hint. A recipe with findings does
not run: there are no warnings to get used to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

from sequences.checks.ends import check_conditions, check_ends
from sequences.checks.measurements import check_measurements
from sequences.checks.names import check_expressions, check_names, check_words
from sequences.checks.order import check_order
from sequences.checks.roles import check_branches, check_roles
from sequences.checks.routes import check_routes
from sequences.checks.safety import check_safety
from sequences.checks.setpoints import check_setpoints
from sequences.checks.subject import Place, Subject
from sequences.checks.times import check_times
from sequences.dut import Dut, StationLimits
from sequences.findings import Finding, finding
from sequences.flow import Call
from sequences.grading import GradeRules
from sequences.quantity import dimension_ko
from sequences.recipe import Recipe
from sequences.step import GradeNow

__all__ = ["Finding", "check", "check_rules"]

MAX_FINDINGS = 50

_CHECKS: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    check_safety,
    check_setpoints,
    check_names,
    check_words,
    check_expressions,
    check_order,
    check_routes,
    check_times,
    check_ends,
    check_conditions,
    check_branches,
    check_roles,
    check_measurements,
)


def check(recipe: Recipe, dut: Dut | None = None, station: StationLimits | None = None) -> list[Finding]:
    """Everything wrong with a recipe, MAX_FINDINGS at most; for a battery and a station too where they are given."""
    return list(islice(_findings(Subject(recipe, dut, station)), MAX_FINDINGS))


def _findings(subject: Subject) -> Iterator[Finding]:
    wrong_battery = list(_applies(subject))
    yield from wrong_battery
    if wrong_battery:  # what else it does not stand is beside the point
        subject = replace(subject, dut=None)
    for one in _CHECKS:
        yield from one(subject)
    for place in subject.places:
        if isinstance(place.step, Call):
            yield from _called(place, place.step, subject)


def _called(place: Place, call: Call, subject: Subject) -> Iterator[Finding]:
    """A called recipe is held to its own limits and to those of its place; its faults stand where it is called."""
    emptied = subject.emptied or subject.recipe.destructive
    body = Subject(
        call.body, subject.dut, subject.station, place.levels, place.present, place.beside, emptied, place.record
    )
    for fault in _findings(body):
        where = f"{call.recipe}: {'.'.join(map(str, fault.path))}"
        text = f"{where}: {fault.text.en}", f"{where}: {fault.text.ko}"
        yield finding(fault.code, place.at("recipe"), text, (fault.hint.en, fault.hint.ko))


def _applies(subject: Subject) -> Iterator[Finding]:
    dut, applies = subject.dut, subject.recipe.applies_to
    if dut is None:
        return
    for what, value, accepted in (
        ("kind", dut.kind, list[str](applies.kind)),
        ("chemistry", dut.chemistry, list[str](applies.chemistry)),
        ("model", dut.model, applies.model or [dut.model]),
    ):
        if value not in accepted:
            text = (
                f"not for {value} batteries such as {dut.model}" if what != "model" else f"not for {dut.model}",
                f"{value} 배터리({dut.model})용이 아닙니다" if what != "model" else f"{dut.model} 용이 아닙니다",
            )
            hint = "choose another recipe", "다른 레시피를 고르십시오"
            yield finding("E-NOT-FOR-DUT", ("applies_to", what), text, hint)


def check_rules(recipe: Recipe, rules: GradeRules) -> list[Finding]:
    """Grade rules that do not fit a recipe: they compare a measurement with a quantity of another kind, or the recipe
    grades on the way without measuring what the classes need."""
    findings = []
    names = recipe.names()
    places = {measurement.name: ("measurements", index) for index, measurement in enumerate(recipe.measurements)}
    hint = f"correct the rules {rules.id}", f"등급 규칙 {rules.id} 을(를) 바로잡으십시오"
    for rule in rules.rules():
        dimension = names.get(rule.measurement)
        if dimension is not None and dimension != rule.dimension:
            text = (
                f"grade rule {rule.text!r} compares {rule.measurement} with a {rule.dimension}",
                f"등급 규칙 {rule.text!r}: {rule.measurement} 을(를) {dimension_ko(rule.dimension)}와(과) 비교합니다",
            )
            findings.append(finding("E-GRADES", places.get(rule.measurement, ("measurements",)), text, hint))
    needed = {rule.measurement for grade in rules.classes for rule in grade.needs}
    missing = sorted(needed - names.keys())
    for place in Subject(recipe).places:
        if isinstance(place.step, GradeNow) and missing:
            text = (
                f"{place.name}: the rules {rules.id} need {', '.join(missing)}, which the recipe does not measure",
                f"{place.name}: 등급 규칙 {rules.id} 에 필요한 {', '.join(missing)} 을(를) 측정하지 않습니다",
            )
            findings.append(finding("E-GRADES", place.path, text, hint))
    return findings
