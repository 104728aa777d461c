"""Parameters: what a run may change of a recipe, and how `$name` in its text becomes a value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import Field, model_validator

from sequences.condition import Identifier, Strict
from sequences.dut import Dut
from sequences.flow import Path
from sequences.quantity import parse_quantity
from sequences.text import FaultError, Text

Kind = Literal["pack", "module", "cell"]
Chemistry = Literal["NMC", "NCA", "LMO", "LFP"]
Value = str | int | bool
_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
_REFERENCE = re.compile(r"\$([a-z][a-z0-9_]*)")


class Parameter(Strict):
    """A value that may be changed for a run; `$name` stands for it anywhere in the recipe.

    Its type is its default's: a quantity of that dimension, a whole number, true and false, or the id of a recipe to
    call. Where batteries differ, the default may be another one by chemistry or by kind.
    """

    title: Annotated[Text | None, Field(description="For people.")] = None
    default: Annotated[Value, Field(description="A quantity with its unit, a whole number, a truth, or a recipe's id.")]
    by_chemistry: Annotated[
        dict[Chemistry, Value], Field(default_factory=dict, description="Another default for batteries of a chemistry.")
    ]
    by_kind: Annotated[
        dict[Kind, Value], Field(default_factory=dict, description="Another default for packs, modules or cells.")
    ]
    min: Annotated[str | int | None, Field(description="Lowest value allowed.")] = None
    max: Annotated[str | int | None, Field(description="Highest value allowed.")] = None

    @model_validator(mode="after")
    def defaults_allowed(self) -> Parameter:
        if self.by_chemistry and self.by_kind:
            raise FaultError(
                "its default goes by chemistry or by kind, not by both",
                "기본값은 by_chemistry 와 by_kind 중 하나로만 나눕니다",
                "E-PARAMETER",
            )
        for value in (self.default, *self.by_chemistry.values(), *self.by_kind.values()):
            self.accept(value)
        return self

    def default_for(self, dut: Dut | None) -> str | int | bool:
        """The default for a battery, or the general one."""
        if dut is None:
            return self.default
        chemistry, kind = cast(Chemistry, dut.chemistry), cast(Kind, dut.kind)
        return self.by_chemistry.get(chemistry, self.by_kind.get(kind, self.default))

    def accept(self, value: Any) -> str | int | bool:
        """The value, if it is of this parameter's type and range; raises FaultError (E-PARAMETER)."""
        if _kind(value) != _kind(self.default):
            raise FaultError(
                f"{value!r:.60} is not of the kind of {self.default!r}",
                f"{value!r:.60} 은(는) {self.default!r} 와 같은 종류가 아닙니다",
                "E-PARAMETER",
            )
        for bound, sign in ((self.min, 1), (self.max, -1)):
            if bound is not None and self._scalar(bound) * sign > self._scalar(value) * sign:
                word = "below" if sign > 0 else "above"
                raise FaultError(
                    f"{value!r} is {word} {bound!r}",
                    f"{value!r} 은(는) {'최솟값' if sign > 0 else '최댓값'} {bound!r} 을(를) 벗어납니다",
                    "E-PARAMETER",
                )
        return value  # type: ignore[no-any-return]

    def _scalar(self, value: Any) -> float:
        kind = _kind(self.default)
        if _kind(value) != kind or kind in ("truth", "name"):
            raise FaultError(
                f"{value!r} is no bound for {self.default!r}",
                f"{value!r} 은(는) {self.default!r} 의 한계값으로 쓸 수 없습니다",
                "E-PARAMETER",
            )
        return parse_quantity(value).value if isinstance(value, str) else float(value)


def _kind(value: Any) -> str:
    """What sort of value: truth, number, name, or a quantity's dimension; raises FaultError for none of these."""
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, int):
        return "number"
    if isinstance(value, str) and _NAME.fullmatch(value):
        return "name"
    return parse_quantity(value).dimension


Parameters = Annotated[
    dict[Identifier, Parameter], Field(default_factory=dict, max_length=50, description="What a run may change.")
]


class _Declared(Strict):
    parameters: Parameters


def bind(data: Any, given: Mapping[str, Any], dut: Dut | None = None) -> dict[str, Any]:
    """The value of every parameter for a battery; raises FaultError for one that is not declared or does not fit.

    A declaration at fault raises pydantic.ValidationError, before anything is replaced by it.
    """
    parameters = data.get("parameters", {}) if isinstance(data, dict) else {}
    declared = _Declared.model_validate({"parameters": parameters}).parameters
    for name in given:
        if name not in declared:
            raise _no_parameter(f"{name!r:.60}", name, declared, ("parameters",))
    values: dict[str, Any] = {}
    for name, parameter in declared.items():
        values[name] = parameter.default_for(dut)
        if name in given:
            try:
                values[name] = parameter.accept(given[name])
            except FaultError as fault:
                text = fault.text
                raise FaultError(f"{name}: {text.en}", f"{name}: {text.ko}", fault.code, ("parameters", name)) from None
    return values


def _no_parameter(where: str, name: str, declared: Mapping[str, Any], path: Path) -> FaultError:
    known = ", ".join(declared) or "-"
    return FaultError(
        f"{where}: there is no parameter {name!r:.60}; known are {known}",
        f"{where}: 매개변수 {name!r:.60} 이(가) 없습니다. 사용할 수 있는 매개변수: {known}",
        "E-PARAMETER",
        path,
    )


def substitute(data: Any, values: Mapping[str, Any], path: Path = ()) -> Any:
    """The document with `$name` replaced; raises FaultError for a name that is not declared."""
    if isinstance(data, dict):
        return {
            # a call's parameters may be the caller's own
            key: value
            if key in ("title", "text") or (key, path) == ("parameters", ())
            else substitute(value, values, (*path, key))
            for key, value in data.items()
        }
    if isinstance(data, list):
        return [substitute(value, values, (*path, index)) for index, value in enumerate(data)]
    if not isinstance(data, str) or "$" not in data:
        return data
    for name in _REFERENCE.findall(data):
        if name not in values:
            raise _no_parameter(f"{data!r:.60}", name, values, path)
    if whole := _REFERENCE.fullmatch(data):
        return values[whole[1]]
    return _REFERENCE.sub(lambda match: _text(values[match[1]]), data)


def _text(value: Any) -> str:
    """As a document has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
