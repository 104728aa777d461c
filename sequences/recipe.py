"""What a recipe is: envelope, parameters, safety block, steps, measurements. Data only, checked strictly, never code.

Reading a file is somebody else's job (this package does no I/O): `Recipe.from_data` takes the parsed document, and a
function that finds the data of the recipes it calls.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field, PrivateAttr, StringConstraints, ValidationError, model_validator

from sequences.condition import CONSTANTS, SIGNALS, Identifier, Strict
from sequences.dut import Dut
from sequences.flow import Call, CapacityTest, Hppc, Path, Repeat, Step, While, bodies, written
from sequences.measurement import FormulaOf, Measurement
from sequences.parameters import Chemistry, Kind, Parameters, bind, substitute
from sequences.quantity import parse_quantity
from sequences.safety import Safety
from sequences.step import Compute, Role, says
from sequences.text import FaultError, Text

MAX_STEP_RUNS = 10_000
MAX_CALL_DEPTH = 4
MAX_CALLS = 20  # of one recipe and all that it calls
CAPABILITIES: dict[str, tuple[str, ...]] = {
    "impedance_meter": ("acir",),
    "spectrum_meter": ("eis",),
    "insulation_tester": ("insulation",),
    "battery_monitor": ("cell_voltages", "insulation"),
}

Library = Callable[[str], Any]


class RoleNeed(Strict):
    """What a recipe needs of a role."""

    needs: Annotated[list[str], Field(default_factory=list, description="What its instrument must be able to do.")]
    optional: Annotated[bool, Field(description="Whether a station without it will do; `has_ROLE` tells.")] = False


class AppliesTo(Strict):
    """What batteries the recipe is for."""

    kind: Annotated[list[Kind], Field(min_length=1, description="Packs, modules, cells.")]
    chemistry: Annotated[list[Chemistry], Field(min_length=1, description="Which cathodes.")]
    model: Annotated[
        list[str], Field(default_factory=list, max_length=200, description="Battery models; any when empty.")
    ]


def _must_say_its_schema(schema: dict[str, Any]) -> None:
    """In a document nothing tells it but its own word; the default is for Python alone."""
    schema["required"].insert(0, "schema")
    del schema["properties"]["schema"]["default"]


class Recipe(Strict):
    """A complete evaluation recipe."""

    model_config = ConfigDict(json_schema_extra=_must_say_its_schema)

    schema_version: Annotated[
        Literal["evaline/recipe/1"], Field(alias="schema", description="What this file is, and which version of that.")
    ] = "evaline/recipe/1"
    id: Annotated[Identifier, Field(description="Its name in the library.")]
    version: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+$"), Field(description="Of the recipe.")]
    title: Annotated[Text, Field(description="For people.")]
    author: Annotated[str, StringConstraints(min_length=1, max_length=200), Field(description="Who answers for it.")]
    references: Annotated[
        list[str], Field(min_length=1, max_length=50, description="Which clause of which standard it follows.")
    ]
    applies_to: Annotated[AppliesTo, Field(description="What batteries it is for.")]
    destructive: Annotated[
        bool, Field(description="Whether it may empty cells below what a battery for use stands (recycling).")
    ] = False
    parameters: Parameters
    roles: Annotated[dict[Role, RoleNeed], Field(min_length=1, description="The instruments it needs, by role.")]
    safety: Annotated[Safety, Field(description="What must never be passed.")]
    steps: Annotated[list[Step], Field(min_length=1, max_length=200, description="What is done.")]
    measurements: Annotated[
        list[Measurement], Field(default_factory=list, max_length=200, description="What comes out.")
    ]
    _data: dict[str, Any] | None = PrivateAttr(None)
    _values: dict[str, Any] = PrivateAttr(default_factory=dict)

    @classmethod
    def from_data(
        cls,
        data: Any,
        parameters: Mapping[str, Any] | None = None,
        library: Library | None = None,
        dut: Dut | None = None,
        depth: int = 0,
    ) -> Recipe:
        """Validate a parsed document, with these parameters in place of the defaults for a battery.

        `library` gives the data of a recipe by its id, or raises LookupError. Raises pydantic.ValidationError, or
        FaultError with a path for a parameter or a call that is at fault.
        """
        if library is not None and not isinstance(library, _Counted):
            library = _Counted(library)
        if isinstance(data, dict) and "schema" not in data:
            raise FaultError("missing key", "필수 키가 없습니다", path=("schema",))
        values = bind(data, parameters or {}, dut)
        bound = substitute(data, values) if isinstance(data, dict) else data
        recipe = cls.model_validate(_resolve_calls(bound, library, dut, depth), by_alias=True, by_name=False)
        recipe._data, recipe._values = data, values
        return recipe

    def to_data(self) -> dict[str, Any]:
        """The document: `Recipe.from_data(recipe.to_data())` is equal to the recipe."""
        if self._data is not None:
            return self._data
        return {"schema": self.schema_version, **super().to_data()}

    def __eq__(self, other: object) -> bool:
        """Equal by what it says, wherever it came from."""
        if not isinstance(other, Recipe):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in type(self).model_fields)

    def __hash__(self) -> int:
        return hash((self.id, self.version))

    @cached_property
    def drives(self) -> bool:
        """Whether it lets current flow, itself or through a recipe it calls; else it only looks at the battery."""
        steps = [step for step, _ in walk(self.steps, parts=False)]
        return any(step.body.drives if isinstance(step, Call) else step.drives for step in steps)

    @property
    def takes_empty(self) -> bool:
        """Whether cells may stand below the battery's lowest limit: it recycles them, or lets no current flow."""
        return self.destructive or not self.drives

    @property
    def parameter_values(self) -> dict[str, Any]:
        """What the parameters are in this recipe, defaults included."""
        return dict(self._values)

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over the document and those of the recipes it calls, whatever their layout."""
        called = [step.body.content_hash for step, _ in walk(self.steps, parts=False) if isinstance(step, Call)]
        content = [self.to_data(), *called] if called else self.to_data()
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @model_validator(mode="after")
    def bounded(self) -> Recipe:
        count = _runs(self.steps)
        if count > MAX_STEP_RUNS:
            raise FaultError(
                f"its loops may unroll to {count} step runs, more than {MAX_STEP_RUNS}",
                f"반복이 {count}개의 스텝 실행으로 펼쳐집니다. 최대 {MAX_STEP_RUNS}개입니다",
                "E-LOOP-SIZE",
            )
        return self

    @model_validator(mode="after")
    def capabilities_known(self) -> Recipe:
        for role, need in self.roles.items():
            for capability in need.needs:
                if capability not in CAPABILITIES.get(role, ()):
                    known = ", ".join(CAPABILITIES.get(role, ())) or "-"
                    raise FaultError(
                        f"{role} has no capability {capability!r}; known are {known}",
                        f"{role} 에는 {capability!r} 기능이 없습니다. 사용할 수 있는 기능: {known}",
                        "E-CAPABILITY",
                    )
        return self

    @property
    def variables(self) -> dict[str, str]:
        """Dimension of every variable that a step of this recipe may set, in the order they are set."""
        return dict(self._dimensions[0])

    def names(self, *, signals: bool = True) -> dict[str, str]:
        """Dimension of every name that an expression may use; what a formula at fault gives is held for a number."""
        variables, measured = self._dimensions
        names = _given_names() | (signal_dimensions() if signals else {}) | variables | measured
        for step, _ in walk(self.steps, parts=False):
            if isinstance(step, Call):
                called = step.body.names()
                for measurement in step.body.measurements:
                    names.setdefault(measurement.name, called[measurement.name])
        return names

    @cached_property
    def _dimensions(self) -> tuple[dict[str, str], dict[str, str]]:
        """Of variables and of measurements. Either may be worked out from the other."""
        names = _given_names() | signal_dimensions()
        variables: dict[str, str] = {}
        measured: dict[str, str] = {}
        steps = [step for step, _ in walk(self.steps, parts=False) if says(step, "into")]
        measurements = sorted(self.measurements, key=lambda m: isinstance(m.source, FormulaOf))

        def settled(found: dict[str, str], work_out: Callable[[dict[str, str]], dict[str, str]]) -> bool:
            try:
                new = work_out(names)
            except FaultError:
                return False
            found.update(new)
            names.update(new)
            return True

        for _ in range(3):
            measurements = [m for m in measurements if not settled(measured, partial(_measures, m))]
            steps = [s for s in steps if not settled(variables, partial(sets, s))]
        # at fault, and reported where they are checked
        variables |= {step.into: "number" for step in steps if isinstance(step, Compute)}
        measured |= {measurement.name: "number" for measurement in measurements}
        return variables, measured


def _given_names() -> dict[str, str]:
    """What every recipe may use besides signals."""
    constants = {name: dimension for name, (dimension, _) in CONSTANTS.items()}
    return constants | {f"has_{role}": "truth" for role in get_args(Role)} | {"grade_certain": "truth"}


def signal_dimensions() -> dict[str, str]:
    """Dimension of every signal."""
    return {name: dimension for name, (dimension, _) in SIGNALS.items()}


def walk(steps: list[Step], path: Path = ("steps",), *, parts: bool = True) -> Iterator[tuple[Step, Path]]:
    """Every step with its path in the document, steps inside steps after the one that holds them.

    Without `parts` those that are written there, not those that a standard's step is made of.
    """
    for index, step in enumerate(steps):
        here = (*path, index)
        yield step, here
        for below, inner in written(step):
            yield from walk(inner, (*here, *below), parts=parts)
        if parts and isinstance(step, CapacityTest | Hppc):
            yield from ((part, here) for _, inner in bodies(step) for part in inner)


def _measures(measurement: Measurement, names: dict[str, str]) -> dict[str, str]:
    return {measurement.name: measurement.dimension(names)}


def sets(step: Any, names: dict[str, str]) -> dict[str, str]:
    """The variables a step sets, with their dimensions; raises FaultError for a formula at fault."""
    if step.step == "compute":
        return {step.into: step.value.dimension(names)}
    if step.step == "python":
        return {
            name: "number" if unit == "1" else parse_quantity(f"1 {unit}").dimension for name, unit in step.into.items()
        }
    into = step.into if says(step, "into") else None
    kinds = {"acir": "resistance", "insulation": "insulation", "ocv": "voltage", "capacity": "charge"}
    return {into: kinds.get(step.step, "number")} if into else {}


def _runs(steps: list[Step]) -> int:
    """Step runs at most, jumps back apart."""
    count = 0
    for step in steps:
        inner = sum(_runs(body) for _, body in written(step))
        match step:
            case Repeat():
                count += step.times * inner
            case While():
                count += step.max_rounds * inner
            case CapacityTest():
                count += step.rounds * len(step.steps)
            case Hppc():
                count += len(step.soc) * len(step.at(step.soc[0]))
            case Call():
                count += _runs(step.body.steps)
            case _:
                count += max(inner, 1)
        if count > 100 * MAX_STEP_RUNS:
            break
    return count


# ----------------------------------------------------------------------------------------------- called recipes


def _resolve_calls(data: Any, library: Library | None, dut: Dut | None, depth: int, path: Path = ()) -> Any:
    """The document with every call's recipe beside it; raises FaultError (E-CALL)."""
    if isinstance(data, list):
        return [_resolve_calls(value, library, dut, depth, (*path, index)) for index, value in enumerate(data)]
    if not isinstance(data, dict):
        return data
    resolved = {key: _resolve_calls(value, library, dut, depth, (*path, key)) for key, value in data.items()}
    if data.get("step") != "call" or not isinstance(data.get("recipe"), str):
        return resolved
    if "called" in data:
        raise FaultError("unknown key", "알 수 없는 키", "E-CALL", (*path, "called"))
    return {**resolved, "called": _called(data, library, dut, depth, (*path, "recipe"))}


class CalledRecipeError(FaultError):
    """A called recipe that is none, with these parameters. `names` are the calls down to it; what pydantic complains
    of in it, `error`, is for whoever has words for that in the reader's language."""

    def __init__(self, names: list[str], error: ValidationError, path: Path) -> None:
        self.names, self.error = names, error
        calls, first = " -> ".join(f"{name!r:.60}" for name in names), error.errors(include_url=False)[0]
        where = f"{calls}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        super().__init__(f"the called recipe is at fault: {where}", f"호출한 레시피 오류: {where}", "E-CALL", path)


class _Counted:
    """A library that counts what it lends: each recipe that is called may call as many again."""

    def __init__(self, library: Library) -> None:
        self._library, self.lent = library, 0

    def __call__(self, name: str) -> Any:
        self.lent += 1
        return self._library(name)


def _called(data: Any, library: Library | None, dut: Dut | None, depth: int, path: Path) -> Recipe:
    name = f"{data['recipe']!r:.60}"
    if depth >= MAX_CALL_DEPTH:
        en, ko = f"more than {MAX_CALL_DEPTH} deep", f"{MAX_CALL_DEPTH}단계보다 깊습니다"
        raise FaultError(f"{name}: recipes call each other {en}", f"{name}: 레시피 호출이 {ko}", "E-CALL", path)
    if isinstance(library, _Counted) and library.lent >= MAX_CALLS:
        en, ko = f"more than {MAX_CALLS} calls in all", f"호출이 모두 {MAX_CALLS}개를 넘습니다"
        raise FaultError(f"{name}: {en}", f"{name}: {ko}", "E-CALL", path)
    try:
        called = library(data["recipe"]) if library is not None else None
    except LookupError:
        called = None
    if called is None:
        raise FaultError(f"there is no recipe {name} to call", f"호출할 레시피 {name} 이(가) 없습니다", "E-CALL", path)
    parameters = data.get("parameters")
    try:
        return Recipe.from_data(called, parameters if isinstance(parameters, dict) else {}, library, dut, depth + 1)
    except ValidationError as error:
        raise CalledRecipeError([data["recipe"]], error, path) from None
    except CalledRecipeError as fault:
        raise CalledRecipeError([data["recipe"], *fault.names], fault.error, path) from None
    except FaultError as fault:
        text = fault.text
        raise FaultError(f"{name}: {text.en}", f"{name}: {text.ko}", fault.code or "E-CALL", path) from None
