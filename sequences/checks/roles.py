"""Roles and capabilities: what steps and limits need is declared, there, and looked for before it is used."""

from __future__ import annotations

from collections.abc import Iterator

from sequences.checks.subject import Place, Subject, drive, uses
from sequences.findings import Finding, finding
from sequences.flow import Call, Parallel, Path
from sequences.recipe import Recipe
from sequences.step import Acir, Eis, Insulate, Ocv, Rest, SetPoint

ALWAYS = ("cycler", "interlock", "battery_monitor", "temperature_scanner")
# what means nothing while a branch beside it lets current flow
NEEDS_REST = (Acir, Eis, Insulate, Ocv, Rest)
DECLARE = "add it to `roles`", "`roles` 에 추가하십시오"


def check_roles(subject: Subject) -> Iterator[Finding]:
    roles = subject.recipe.roles
    for role in ALWAYS:
        if role not in roles:
            text = (
                f"the safety limits need the role {role!r}, which is not declared",
                f"안전 한계에 필요한 역할 {role!r} 이(가) 선언되지 않았습니다",
            )
            yield finding("E-ROLE-UNDECLARED", ("roles",), text, DECLARE)
        elif roles[role].optional:
            text = (
                f"the safety limits need the role {role!r}: it cannot be optional",
                f"안전 한계에 필요한 역할 {role!r} 은(는) optional 일 수 없습니다",
            )
            yield finding(
                "E-ROLE-OPTIONAL", ("roles", role, "optional"), text, ("leave `optional` out", "`optional` 을 빼십시오")
            )
    for place in subject.places:
        for role, path in _needed(place):
            yield from _declared(role, path, place, subject.recipe)
        yield from _looked_at(place, subject.recipe)
    yield from _station(subject)


def _needed(place: Place) -> Iterator[tuple[str, Path]]:
    """The roles that a step cannot do without."""
    step = place.step
    if step.role:
        yield step.role, place.path
    if isinstance(step, SetPoint) and step.chamber is not None:
        yield "chamber", place.at("chamber")
    if isinstance(step, Call):
        for role, need in step.body.roles.items():
            if not need.optional:
                yield role, place.at("recipe")


def _declared(role: str, path: Path, place: Place, recipe: Recipe) -> Iterator[Finding]:
    need = recipe.roles.get(role)  # type: ignore[call-overload]
    if need is None:
        text = (
            f"{place.name}: the role {role!r} is not declared",
            f"{place.name}: 역할 {role!r} 이(가) 선언되지 않았습니다",
        )
        yield finding("E-ROLE-UNDECLARED", path, text, DECLARE)
    elif need.optional and role not in place.present and role not in ALWAYS:
        text = (
            f"{place.name}: needs the role {role!r}, which is optional",
            f"{place.name}: optional 로 선언된 역할 {role!r} 이(가) 필요합니다",
        )
        hint = f"put it into an `if` on has_{role}", f"has_{role} 을(를) 조건으로 하는 `if` 안에 두십시오"
        yield finding("E-ROLE-OPTIONAL", path, text, hint)


def _looked_at(place: Place, recipe: Recipe) -> Iterator[Finding]:
    """Roles that expressions look at."""
    for use in uses(place.step):
        looked = {name.removeprefix("has_") for name in use.expression.names if name.startswith("has_")}
        if "chamber_temperature" in use.expression.names:
            looked.add("chamber")
        for role in sorted(looked - recipe.roles.keys()):
            text = (
                f"{place.name}: {use.expression.text!r:.80} looks at the role {role!r}, which is not declared",
                f"{place.name}: {use.expression.text!r:.80} 에 쓰인 역할 {role!r} 이(가) 선언되지 않았습니다",
            )
            yield finding("E-ROLE-UNDECLARED", place.at(*use.path), text, DECLARE)


def _station(subject: Subject) -> Iterator[Finding]:
    if subject.station is None:
        return
    hint = "choose a station that has it", "그것을 갖춘 스테이션을 고르십시오"
    for role, need in subject.recipe.roles.items():
        can = subject.station.capabilities.get(role)
        if can is None:
            if not need.optional:
                text = f"the station has no {role}", f"스테이션에 {role} 이(가) 없습니다"
                yield finding("E-ROLE-MISSING", ("roles", role), text, hint)
            continue
        for index, capability in enumerate(need.needs):
            if capability not in can:
                text = (
                    f"the station's {role} cannot do {capability!r}",
                    f"스테이션의 {role} 에는 {capability!r} 기능이 없습니다",
                )
                yield finding("E-CAPABILITY-MISSING", ("roles", role, "needs", index), text, hint)


# ------------------------------------------------------------------------------------------------------ branches


def check_branches(subject: Subject) -> Iterator[Finding]:
    """One cycler: one branch may let current flow, and what needs it off has no place beside that one."""
    for place in subject.places:
        if not isinstance(place.step, Parallel):
            continue
        driving = [drive(branch.steps) for branch in place.step.branches]
        for index in [index for index, drives in enumerate(driving) if drives][1:]:
            name = place.step.branches[index].name
            text = (
                f"{place.name}: branch {name!r} lets current flow, and another one does too",
                f"{place.name}: 분기 {name!r} 와(과) 다른 분기가 함께 전류를 흘립니다",
            )
            hint = "one branch may, put the others behind it", "한 분기만 가능합니다. 나머지는 그 뒤에 두십시오"
            yield finding("E-PARALLEL-DRIVE", place.at("branches", index), text, hint)
    for place in subject.places:
        if place.beside and isinstance(place.step, NEEDS_REST):
            text = (
                f"{place.name}: needs the output off, while a branch beside it lets current flow",
                f"{place.name}: 출력이 꺼져야 하지만 옆 분기에서 전류가 흐릅니다",
            )
            hint = "put it before or behind the parallel step", "parallel 스텝의 앞이나 뒤에 두십시오"
            yield finding("E-PARALLEL-OFF", place.path, text, hint)
