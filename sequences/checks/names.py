"""Names and words: each name once, none of the language's own, every expression over names that exist and kinds that
fit, and no words left empty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import get_args

from sequences.checks.subject import Place, Subject, Use, parts_of, uses
from sequences.condition import CONSTANTS, SIGNALS
from sequences.expression import FUNCTIONS, WORDS, Expression
from sequences.findings import Finding, finding, nearest
from sequences.flow import Call, Parallel, Path
from sequences.measurement import AtEnd, FormulaOf, Measurement, PowerCapability, TwoVoltmeters
from sequences.quantity import UNITS, dimension_ko
from sequences.recipe import sets
from sequences.step import Check, Inspect, Measure, Prompt, Publish, Python, Role
from sequences.text import FaultError, Text

OWN_WORDS = frozenset(
    {*SIGNALS, *CONSTANTS, *FUNCTIONS, *WORDS, "grade_certain", *(f"has_{r}" for r in get_args(Role))}
)
# signals that count from the start of a step: between two steps they are nothing yet
SINCE_START = frozenset({"step_time", "charge", "energy", "depth"})


def check_names(subject: Subject) -> Iterator[Finding]:
    yield from _twice(subject)
    yield from _taken(subject)
    yield from _of_calls(subject)


def check_expressions(subject: Subject) -> Iterator[Finding]:
    for place in subject.places:
        for use in uses(place.step):
            yield from _use(use, place, subject)
        yield from _listed(place, subject)
    outside = subject.recipe.names(signals=False)
    for index, measurement in enumerate(subject.recipe.measurements):
        yield from _measurement(measurement, ("measurements", index), outside)


# --------------------------------------------------------------------------------------------------------- names


def _twice(subject: Subject) -> Iterator[Finding]:
    steps = [(name, place.at("name")) for place in subject.places for name in _step_names(place)]
    yield from _repeated(steps, "step", "스텝")
    measurements = subject.recipe.measurements
    yield from _repeated(
        [(m.name, ("measurements", i, "name")) for i, m in enumerate(measurements)], "measurement", "측정"
    )
    for place in subject.places:
        step = place.step
        if isinstance(step, Parallel):
            branches = [(branch.name, place.at("branches", i, "name")) for i, branch in enumerate(step.branches)]
            yield from _repeated(branches, "branch", "분기")
        elif isinstance(step, Inspect):
            items = [(item.name, place.at("items", i, "name")) for i, item in enumerate(step.items)]
            yield from _repeated(items, "item", "항목")


def _step_names(place: Place) -> list[str]:
    """A step's own name, and those of the steps that a standard makes of it."""
    return list(dict.fromkeys([place.name, *(part.name for part in parts_of(place.step))]))


def _repeated(named: list[tuple[str, Path]], what: str, what_ko: str) -> Iterator[Finding]:
    seen: set[str] = set()
    for name, path in named:
        if name in seen:
            text = f"the {what} name {name!r} is used twice", f"{what_ko} 이름 {name!r} 이(가) 두 번 쓰였습니다"
            yield finding("E-NAME-TWICE", path, text, ("give each its own name", "서로 다른 이름을 쓰십시오"))
        seen.add(name)


def _taken(subject: Subject) -> Iterator[Finding]:
    measurements = {measurement.name: index for index, measurement in enumerate(subject.recipe.measurements)}
    hint = "choose another name", "다른 이름을 쓰십시오"
    for name, index in measurements.items():
        if name in OWN_WORDS:
            text = f"{name!r} is a word of the language", f"{name!r} 은(는) 레시피 언어의 예약어입니다"
            yield finding("E-NAME-TAKEN", ("measurements", index, "name"), text, hint)
    kinds: dict[str, str] = {}
    for place in subject.places:
        for name, dimension in _variables(place, subject).items():
            path = place.at("into", name) if isinstance(place.step, Python) else place.at("into")
            if name in OWN_WORDS:
                text = f"{name!r} is a word of the language", f"{name!r} 은(는) 레시피 언어의 예약어입니다"
                yield finding("E-NAME-TAKEN", path, text, hint)
            elif name in measurements:
                text = f"{name!r} is the name of a measurement", f"{name!r} 은(는) 측정 항목의 이름입니다"
                yield finding("E-NAME-TAKEN", path, text, hint)
            elif kinds.setdefault(name, dimension) != dimension:
                before = kinds[name]
                text = (
                    f"{name!r} is a {before} elsewhere and a {dimension} here",
                    f"{name!r} 은(는) 다른 곳에서는 {dimension_ko(before)}, 여기서는 {dimension_ko(dimension)}입니다",
                )
                yield finding("E-NAME-TAKEN", path, text, hint)


def _variables(place: Place, subject: Subject) -> Mapping[str, str]:
    try:
        return sets(place.step, subject.names)
    except FaultError:  # its formula is reported as such
        return {place.step.into: subject.recipe.variables.get(place.step.into, "number")}


def _of_calls(subject: Subject) -> Iterator[Finding]:
    """A called recipe works on the variables and measurements of the same run."""
    own = subject.recipe
    dimensions = {m.name: subject.names[m.name] for m in own.measurements}
    hint = "rename it in one of the recipes", "한쪽 레시피에서 이름을 바꾸십시오"
    for place in subject.places:
        if not isinstance(place.step, Call):
            continue
        body = place.step.body
        for name in sorted(own.variables.keys() & body.variables.keys()):
            text = (
                f"{body.id} sets {name!r}, which this recipe sets too",
                f"{body.id} 레시피도 이 레시피의 {name!r} 값을 설정합니다",
            )
            yield finding("E-NAME-TAKEN", place.at("recipe"), text, hint)
        called = body.names()
        for measurement in body.measurements:
            dimension = called[measurement.name]
            if dimensions.setdefault(measurement.name, dimension) != dimension:
                name, kind_ko = measurement.name, dimension_ko(dimension)
                text = (
                    f"{body.id} measures {name!r} as a {dimension}, others as another kind",
                    f"{body.id} 레시피의 {name!r} 은(는) {kind_ko}이고 다른 곳에서는 다릅니다",
                )
                yield finding("E-NAME-TAKEN", place.at("recipe"), text, hint)


def check_words(subject: Subject) -> Iterator[Finding]:
    """What people read is there to be read."""
    recipe = subject.recipe
    texts: list[tuple[Path, str]] = [(("author",), recipe.author)]
    texts += [(("references", index), reference) for index, reference in enumerate(recipe.references)]
    texts += _both(("title",), recipe.title)
    for index, measurement in enumerate(recipe.measurements):
        texts += _both(("measurements", index, "title"), measurement.title)
    for place in subject.places:
        match place.step:
            case Prompt() | Check():
                texts += _both(place.at("text"), place.step.text)
            case Inspect():
                for index, item in enumerate(place.step.items):
                    texts += _both(place.at("items", index, "text"), item.text)
        for index, choice in enumerate(place.step.choices if isinstance(place.step, Prompt) else ()):
            texts += _both(place.at("choices", index), choice)
    for path, words in texts:
        if not words.strip():
            text = "there is nothing to read", "읽을 내용이 없습니다"
            yield finding("E-TEXT-EMPTY", path, text, ("say it in words", "내용을 쓰십시오"))


def _both(path: Path, text: Text) -> list[tuple[Path, str]]:
    return [((*path, "en"), text.en), ((*path, "ko"), text.ko)]


# --------------------------------------------------------------------------------------------------- expressions


def _use(use: Use, place: Place, subject: Subject) -> Iterator[Finding]:
    wants = None if use.truth is None else "truth" if use.truth else "quantity"
    yield from judged(use.expression, subject.names, place.at(*use.path), wants)
    if not use.running and (counted := sorted(use.expression.names & SINCE_START)):
        text = (
            f"{place.name}: {counted[0]!r} counts from the start of a step, here it is always zero",
            f"{place.name}: {counted[0]!r} 은(는) 스텝 시작부터 셉니다. 여기서는 항상 0입니다",
        )
        hint = (
            "use it in the ends of a step, or measure it at the end of one (kind at_end)",
            "스텝의 종료 조건에 쓰거나, 스텝 끝의 값을 측정하십시오 (kind at_end)",
        )
        yield finding("E-EXPR-STEP", place.at(*use.path), text, hint)


def judged(expression: Expression, names: Mapping[str, str], path: Path, wants: str | None) -> Iterator[Finding]:
    """What is wrong with an expression that must come out as a truth, any quantity, or a dimension."""
    try:
        found = expression.dimension(names)
    except FaultError as fault:
        unknown = sorted(expression.names - names.keys())
        hint = nearest(unknown[0], names) if unknown else ("correct its units", "단위를 바로잡으십시오")
        if unknown and unknown[0] in SIGNALS:
            hint = (
                "signals are known while a step runs only; keep the value with a step",
                "신호는 스텝이 실행되는 동안에만 알 수 있습니다. 스텝으로 값을 저장하십시오",
            )
        yield finding(fault.code, path, (fault.text.en, fault.text.ko), hint)
        return
    if wants is None or found == wants or (wants == "quantity" and found != "truth"):
        return
    wanted = {"truth": ("a comparison", "비교식"), "quantity": ("a quantity", "양")}
    en, ko = wanted.get(wants, (f"a {wants}", dimension_ko(wants)))
    is_en, is_ko = wanted.get(found, (f"a {found}", dimension_ko(found)))
    text = (
        f"{expression.text!r:.80} is {is_en}, {en} is needed here",
        f"{expression.text!r:.80} 은(는) {is_ko}입니다. 여기에는 {ko}이(가) 필요합니다",
    )
    yield finding("E-EXPR-UNIT", path, text, ("correct its units", "단위를 바로잡으십시오"))


def _listed(place: Place, subject: Subject) -> Iterator[Finding]:
    """The names that a step lists to be measured or published."""
    step = place.step
    if isinstance(step, Measure):
        known = {measurement.name for measurement in subject.recipe.measurements}
        for index, name in enumerate(step.measurements):
            if name not in known:
                text = (
                    f"{place.name}: there is no measurement {name!r}",
                    f"{place.name}: 측정 항목 {name!r} 이(가) 없습니다",
                )
                yield finding("E-NAME-UNKNOWN", place.at("measurements", index), text, nearest(name, known))
    elif isinstance(step, Publish):
        known = {name for name, kind in subject.names.items() if name not in SIGNALS and kind != "truth"}
        for index, name in enumerate(step.values):
            if name not in known:
                text = (
                    f"{place.name}: {name!r} is no measurement, variable or constant",
                    f"{place.name}: {name!r} 은(는) 측정 항목, 변수, 상수가 아닙니다",
                )
                yield finding("E-NAME-UNKNOWN", place.at("values", index), text, nearest(name, known))


# -------------------------------------------------------------------------------------------------- measurements


def _measurement(measurement: Measurement, path: Path, names: dict[str, str]) -> Iterator[Finding]:
    source, dimension = measurement.source, names[measurement.name]
    match source:
        case FormulaOf():
            yield from judged(source.value, names, (*path, "from", "value"), "quantity")
        case PowerCapability():
            yield from judged(source.cell_voltage, names, (*path, "from", "cell_voltage"), "voltage")
        case TwoVoltmeters():
            for key, formula in source.voltages.items():
                yield from judged(formula, names, (*path, "from", key), "voltage")
            yield from judged(source.known, names, (*path, "from", "known"), "resistance")
        case AtEnd() if source.signal not in SIGNALS:
            text = (
                f"{measurement.name}: there is no signal {source.signal!r}",
                f"{measurement.name}: 신호 {source.signal!r} 이(가) 없습니다",
            )
            yield finding("E-EXPR-NAME", (*path, "from", "signal"), text, nearest(source.signal, SIGNALS))
    yield from _unit(measurement, dimension, path)
    if measurement.limits is None:
        return
    for model, band in measurement.limits.bands().items():
        where = (*path, "limits", "by_model", model) if model else (*path, "limits")
        for key, expression in band.expressions().items():
            difference = key == "marginal" and dimension == "temperature"
            wanted = "temperature_difference" if difference else dimension
            yield from judged(expression, names, (*where, key), wanted)
            if measurement.name in expression.names:
                text = f"{measurement.name}: its limit is itself", f"{measurement.name}: 자기 자신이 한계입니다"
                yield finding(
                    "E-LIMITS", (*where, key), text, ("compare it with something else", "다른 값과 비교하십시오")
                )


def _unit(measurement: Measurement, dimension: str, path: Path) -> Iterator[Finding]:
    """A unit of its own must be one of its dimension; a bare number may be called anything."""
    unit = measurement.unit
    if unit is None or dimension == "number" or UNITS.get(unit, ("", 0.0))[0] == dimension:
        return
    units = [known for known, (kind, _) in UNITS.items() if kind == dimension]
    text = (
        f"{measurement.name}: {unit!r:.30} is no unit of a {dimension}",
        f"{measurement.name}: {unit!r:.30} 은(는) {dimension_ko(dimension)}의 단위가 아닙니다",
    )
    hint = f"one of {', '.join(units)}", f"다음 중 하나: {', '.join(units)}"
    yield finding("E-UNIT", (*path, "unit"), text, hint)
