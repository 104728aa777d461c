"""What is known when: a name that is used before any step can have given it a value is a mistake."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sequences.checks.subject import Subject, all_routes, parts_of, uses
from sequences.findings import Finding, Pair, finding
from sequences.flow import Call, Group, If, Parallel, Path, Repeat, Step, While, written
from sequences.measurement import FormulaOf
from sequences.step import GradeNow, Measure, Publish, Python, says

# ("name", a variable or a measurement) and ("step", one that has run)
Fact = tuple[str, str]
HINT = "move it behind the step that gives it", "값을 주는 스텝 뒤로 옮기십시오"


def check_order(subject: Subject) -> Iterator[Finding]:
    yield from _formulas(subject)
    yield from _Order(subject).sequence(subject.recipe.steps, ("steps",), set())


def _formulas(subject: Subject) -> Iterator[Finding]:
    """Formulas are worked out in their order."""
    later = {m.name for m in subject.recipe.measurements if isinstance(m.source, FormulaOf)}
    for index, measurement in enumerate(subject.recipe.measurements):
        if not isinstance(measurement.source, FormulaOf):
            continue
        for name in sorted(measurement.source.value.names & later):
            text = (
                f"{measurement.name}: {name!r} is worked out after it, or from it",
                f"{measurement.name}: {name!r} 은(는) 이보다 나중에 계산됩니다",
            )
            hint = "put formulas in the order in which they use each other", "수식을 쓰는 순서대로 나열하십시오"
            yield finding("E-NAME-LATER", ("measurements", index, "from", "value"), text, hint)
        later.discard(measurement.name)


class _Order:
    """Walks the steps with everything that may be known at each of them."""

    def __init__(self, subject: Subject) -> None:
        recipe = subject.recipe
        self._later = {*recipe.variables, *(m.name for m in recipe.measurements), "grade_certain"}
        self._all = _facts(recipe.steps)
        # what must be there for a measurement to be worked out
        self._needs: dict[str, set[Fact]] = {}
        for measurement in sorted(recipe.measurements, key=lambda m: isinstance(m.source, FormulaOf)):
            source = measurement.source
            if isinstance(source, FormulaOf):
                needs = {("name", name) for name in source.value.names & recipe.variables.keys()}
                needs |= {fact for name in source.value.names for fact in self._needs.get(name, ())}
            else:
                needs = {("step", name) for name in source.steps.values()}
            self._needs[measurement.name] = needs

    def sequence(self, steps: list[Step], path: Path, known: set[Fact]) -> Iterator[Finding]:
        if _jumps_back(steps):
            known |= _facts(steps)
        for index, step in enumerate(steps):
            yield from self._step(step, (*path, index), known)

    def _step(self, step: Step, path: Path, known: set[Fact]) -> Iterator[Finding]:
        for use in uses(step):
            for name in sorted(use.expression.names & self._later):
                if ("name", name) not in known:
                    yield _later(step, name, (*path, *use.path))
        yield from self._listed(step, path, known)
        match step:
            case Repeat() | While():
                known |= _facts(step.steps)
                yield from self.sequence(step.steps, (*path, "steps"), known)
            case If():
                known_otherwise = set(known)
                yield from self.sequence(step.then, (*path, "then"), known)
                yield from self.sequence(step.otherwise, (*path, "else"), known_otherwise)
                known |= known_otherwise
            case Parallel():
                known |= _facts([part for branch in step.branches for part in branch.steps])
                for index, branch in enumerate(step.branches):
                    yield from self.sequence(branch.steps, (*path, "branches", index, "steps"), known)
            case Group():
                for below, inner in written(step):
                    yield from self.sequence(inner, (*path, *below), known)
        known |= _given(step)

    def _listed(self, step: Step, path: Path, known: set[Fact]) -> Iterator[Finding]:
        if isinstance(step, Publish):
            for index, name in enumerate(step.values):
                if name in self._later and ("name", name) not in known:
                    yield _later(step, name, (*path, "values", index))
        elif isinstance(step, Measure):
            for index, name in enumerate(step.measurements):
                for _, missing in sorted((self._needs.get(name, set()) & self._all) - known):
                    text = (
                        f"{step.name}: {name} needs {missing!r}, which comes later",
                        f"{step.name}: {name} 에는 나중에 나오는 {missing!r} 이(가) 필요합니다",
                    )
                    yield finding("E-NAME-LATER", (*path, "measurements", index), text, HINT)


def _later(step: Step, name: str, path: Path) -> Finding:
    text: Pair = (
        f"{step.name}: {name!r} has no value here yet",
        f"{step.name}: 여기서는 {name!r} 의 값이 아직 없습니다",
    )
    return finding("E-NAME-LATER", path, text, HINT)


def _jumps_back(steps: list[Step]) -> bool:
    places = {step.name: index for index, step in enumerate(steps)}
    return any(
        route.kind == "goto" and places.get(route.target, len(steps)) <= index
        for index, step in enumerate(steps)
        for route in all_routes(step)
    )


def _facts(steps: list[Step]) -> set[Fact]:
    """Everything that these steps give, and those inside them."""
    facts: set[Fact] = set()
    for step in steps:
        facts |= _given(step)
        for _, inner in written(step):
            facts |= _facts(inner)
    return facts


def _given(step: Any) -> set[Fact]:
    """What a step gives once it has run, the steps inside it apart."""
    facts: set[Fact] = {("step", step.name), *(("step", part.name) for part in parts_of(step))}
    match step:
        case Measure():
            facts |= {("name", name) for name in step.measurements}
        case GradeNow():
            facts.add(("name", "grade_certain"))
        case Python():
            facts |= {("name", name) for name in step.into}
        case Call():
            facts |= {fact for fact in _facts(step.body.steps) if fact[0] == "name"}
        case _:
            if says(step, "into") and step.into:
                facts.add(("name", step.into))
    return facts
