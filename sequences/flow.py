"""The steps that hold other steps: what each may say. How the run goes through them is in `sequences.program`.

Every loop has a bound, so that every recipe ends.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, WithJsonSchema, model_validator
from pydantic.json_schema import SkipJsonSchema

from sequences.condition import End, Identifier, Strict
from sequences.expression import Condition, parse_expression
from sequences.quantity import PARAMETER, CurrentMagnitude, Duration, Fraction, amount
from sequences.step import (
    RESUMED,
    Acir,
    Cc,
    CcCv,
    CellVoltage,
    Check,
    Compute,
    Cp,
    Cr,
    Cv,
    Eis,
    GoToSoc,
    GradeNow,
    Identify,
    Inspect,
    Insulate,
    Interrupt,
    Into,
    MaxTime,
    Measure,
    Ocv,
    OnePulse,
    Profile,
    Prompt,
    Publish,
    Pulse,
    Python,
    Rest,
    SetPoint,
    SetTemperature,
    StepBase,
    WaitUntil,
    example,
)
from sequences.text import FaultError

if TYPE_CHECKING:
    from sequences.recipe import Recipe

LeafStep = (
    Identify | Prompt | Inspect | Insulate | Ocv | Acir | Eis | Rest | Cc | Cv | CcCv | Cp | Cr | Pulse | GoToSoc
    | Profile | SetTemperature | Measure | SetPoint | WaitUntil | Compute | Check | GradeNow | Publish | Python
)  # fmt: skip

# a parameter may name it
RecipeId = Annotated[
    Identifier,
    WithJsonSchema({"type": "string", "title": "recipe", "pattern": rf"^[a-z][a-z0-9_]{{0,47}}$|{PARAMETER}"}),
]
Steps = Annotated[list["Step"], Field(min_length=1, max_length=100)]
_REST = {"step": "rest", "name": "rest", "duration": "10 min"}
_INSIDE: tuple[Interrupt, ...] = ("abort",)  # what follows an interruption is said by the steps inside


class Repeat(StepBase):
    """The inner steps, `times` times in total."""

    model_config = example(step="repeat", name="cycles", times=3, steps=[_REST])
    interrupts: ClassVar[tuple[Interrupt, ...]] = _INSIDE

    step: Literal["repeat"] = "repeat"
    times: Annotated[int, Field(ge=1, le=1000, description="How often in total, not how often more.")]
    steps: Annotated[Steps, Field(description="What is repeated.")]


class While(StepBase):
    """The inner steps as long as a condition is known to be true before each round, at most `max_rounds` times."""

    model_config = example(
        step="while", name="cool_down", condition="temperature_max > 30 degC", max_rounds=10, steps=[_REST]
    )
    interrupts: ClassVar[tuple[Interrupt, ...]] = _INSIDE

    step: Literal["while"] = "while"
    condition: Annotated[Condition, Field(description="What must be true for another round.")]
    max_rounds: Annotated[int, Field(ge=1, le=1000, description="After so many rounds it ends and fails.")]
    steps: Annotated[Steps, Field(description="What is repeated.")]


class If(StepBase):
    """One branch or the other. An unknown condition takes `else`: what is not known is never assumed."""

    model_config = example(step="if", name="if_warm", condition="temperature_max > 30 degC", then=[_REST])
    interrupts: ClassVar[tuple[Interrupt, ...]] = _INSIDE

    step: Literal["if"] = "if"
    condition: Annotated[Condition, Field(description="What decides.")]
    then: Annotated[Steps, Field(description="When it is known to be true.")]
    otherwise: Annotated[
        list[Step], Field(default_factory=list, max_length=100, alias="else", description="When it is not.")
    ]


class Branch(Strict):
    """One of the branches that run at the same time."""

    name: Annotated[Identifier, Field(description="Its name in this step.")]
    steps: Annotated[Steps, Field(description="What is done in it.")]


class Parallel(StepBase):
    """Branches at the same time; only one of them may let current flow.

    `join: all` waits for all of them and fails when one fails; `any` ends with the first, and stops the others.
    """

    model_config = example(
        step="parallel",
        name="rest_and_look",
        branches=[
            {"name": "resting", "steps": [_REST]},
            {"name": "looking", "steps": [{"step": "acir", "name": "acir", "readings": 5}]},
        ],
    )
    interrupts: ClassVar[tuple[Interrupt, ...]] = _INSIDE

    step: Literal["parallel"] = "parallel"
    branches: Annotated[list[Branch], Field(min_length=2, max_length=4, description="What runs at the same time.")]
    join: Annotated[Literal["all", "any"], Field(description="When it ends.")] = "all"


class Group(StepBase):
    """Steps that belong together. Once `setup` has passed, `finally` runs however `steps` ended.

    After an abort or a safety trip nothing of a recipe runs any more, `finally` neither.
    """

    model_config = example(
        step="group",
        name="conditioned",
        setup=[
            {"step": "set_temperature", "name": "soak", "temperature": "25 degC", "soak": "30 min", "max_time": "12 h"}
        ],
        steps=[_REST],
    )
    interrupts: ClassVar[tuple[Interrupt, ...]] = _INSIDE

    step: Literal["group"] = "group"
    setup: Annotated[list[Step], Field(default_factory=list, max_length=100, description="First.")]
    steps: Annotated[Steps, Field(description="Then.")]
    last: Annotated[list[Step], Field(default_factory=list, max_length=100, alias="finally", description="Always.")]


class Call(StepBase):
    """Another recipe of the library, with parameters; its safety limits hold besides the caller's.

    Its measurements become this run's; one of the same name replaces the caller's.
    """

    model_config = example(step="call", name="full_test", recipe="full_capacity", parameters={"rounds": 3})
    interrupts: ClassVar[tuple[Interrupt, ...]] = _INSIDE

    step: Literal["call"] = "call"
    recipe: Annotated[RecipeId, Field(description="Its id.")]
    parameters: Annotated[
        dict[Identifier, str | int | bool], Field(default_factory=dict, max_length=30, description="Its parameters.")
    ]
    called: SkipJsonSchema[Annotated[Any, Field(exclude=True, repr=False)]] = None

    @property
    def body(self) -> Recipe:
        """The called recipe, bound."""
        assert self.called is not None, f"call of {self.recipe} is not resolved"
        recipe: Recipe = self.called
        return recipe


# ------------------------------------------------------------------------------------- what standards prescribe


class CapacityTest(StepBase):
    """The standards' repeat rule: charge, rest, discharge, rest, until the last discharges agree.

    It ends when the `agree` newest capacities lie within `within` of the rated capacity; the result is their mean.
    After `rounds` without that it fails, and the result is their mean all the same (GB/T 34015, GB 38031).
    """

    model_config = example(
        step="capacity", name="capacity", charge_current="C/3", charge_cell_voltage="4.2 V", cutoff="C/20",
        charge_max_time="5 h", discharge_current="C/3", discharge_cell_voltage="2.7 V", discharge_max_time="4 h",
        rest_charged="30 min", rest_discharged="30 min", rounds=5, agree=2, within="3 %", into="capacity_ah",
    )  # fmt: skip
    drives: ClassVar[bool] = True
    interrupts: ClassVar[tuple[Interrupt, ...]] = RESUMED

    step: Literal["capacity"] = "capacity"
    charge_current: Annotated[CurrentMagnitude, Field(description="Of the charge.")]
    charge_cell_voltage: CellVoltage
    cutoff: Annotated[CurrentMagnitude, Field(description="Current at which the charge ends.")]
    charge_max_time: MaxTime
    rest_charged: Annotated[Duration, Field(description="Rest after the charge.")]
    discharge_current: Annotated[CurrentMagnitude, Field(description="Of the discharge.")]
    discharge_cell_voltage: CellVoltage
    discharge_max_time: MaxTime
    rest_discharged: Annotated[Duration, Field(description="Rest after the discharge.")]
    rounds: Annotated[int, Field(ge=1, le=10, description="At most so many.")] = 5
    agree: Annotated[int, Field(ge=1, le=5, description="How many of the newest must agree.")] = 3
    within: Annotated[Fraction, Field(description="Of the rated capacity.")] = amount("3 %")
    into: Into = None

    @model_validator(mode="after")
    def can_agree(self) -> CapacityTest:
        if self.agree > self.rounds:
            raise FaultError(
                f"{self.agree} rounds cannot agree when there are {self.rounds}",
                f"{self.rounds}회 중 {self.agree}회가 일치할 수 없습니다",
                "E-CAPACITY",
            )
        return self

    @cached_property
    def steps(self) -> list[Step]:
        """One round; the steps are called NAME_charge, NAME_rest_charged, NAME_discharge, NAME_rest_discharged."""
        common: dict[str, Any] = {"on_interrupt": self.on_interrupt}
        cutoff = parse_expression(f"current <= {self.cutoff.text}")
        return [
            CcCv(name=f"{self.name}_charge", current=self.charge_current, cell_voltage=self.charge_cell_voltage,
                 ends=[End(when=cutoff, hold=amount("5 s"))], max_time=self.charge_max_time, **common),
            Rest(name=f"{self.name}_rest_charged", duration=self.rest_charged, **common),
            Cc(name=f"{self.name}_discharge", direction="discharge", current=self.discharge_current,
               cell_voltage=self.discharge_cell_voltage, max_time=self.discharge_max_time, **common),
            Rest(name=f"{self.name}_rest_discharged", duration=self.rest_discharged, **common),
        ]  # fmt: skip


class Hppc(StepBase):
    """Hybrid pulse power characterization: down to each state of charge in turn, a rest, and the pulse train there.

    The battery must have been charged fully before. The steps are called NAME_move, NAME_rest and NAME_pulse.
    """

    model_config = example(
        step="hppc", name="hppc", soc=["80 %", "50 %", "20 %"], current="C/3", rest="30 min",
        pulses=[{"direction": "discharge", "current": "1C", "duration": "10 s", "rest": "40 s"}],
        cell_voltage_min="2.7 V", cell_voltage_max="4.2 V", max_time="4 h",
    )  # fmt: skip
    drives: ClassVar[bool] = True
    interrupts: ClassVar[tuple[Interrupt, ...]] = RESUMED

    step: Literal["hppc"] = "hppc"
    soc: Annotated[list[Fraction], Field(min_length=1, max_length=20, description="States of charge, falling.")]
    current: Annotated[CurrentMagnitude, Field(description="Of the discharge between them.")]
    rest: Annotated[Duration, Field(description="Before each pulse train.")]
    pulses: Annotated[list[OnePulse], Field(min_length=1, max_length=50, description="The train, in order.")]
    sample: Annotated[Duration, Field(description="Sampling period of the pulses.")] = amount("100 ms")
    cell_voltage_min: CellVoltage
    cell_voltage_max: CellVoltage
    max_time: Annotated[Duration, Field(description="Of each discharge.")]

    @model_validator(mode="after")
    def falling(self) -> Hppc:
        if any(after >= before for before, after in zip(self.soc, self.soc[1:], strict=False)) or self.soc[0] >= 1:
            raise FaultError(
                "`soc` must fall from below 100 %", "`soc` 는 100 % 미만에서 감소해야 합니다", "E-HPPC-SOC"
            )
        return self

    @cached_property
    def rounds(self) -> list[list[Step]]:
        """The steps at each state of charge."""
        return [self.at(soc) for soc in self.soc]

    def at(self, soc: float) -> list[Step]:
        """The steps at one state of charge."""
        common: dict[str, Any] = {"on_interrupt": self.on_interrupt}
        return [
            GoToSoc(name=f"{self.name}_move", soc=soc, current=self.current, max_time=self.max_time,
                    cell_voltage_min=self.cell_voltage_min, cell_voltage_max=self.cell_voltage_max, **common),
            Rest(name=f"{self.name}_rest", duration=self.rest, **common),
            Pulse(name=f"{self.name}_pulse", pulses=self.pulses, sample=self.sample,
                  cell_voltage_min=self.cell_voltage_min, cell_voltage_max=self.cell_voltage_max,
                  **common | {"on_interrupt": "repeat" if self.on_interrupt == "resume" else self.on_interrupt}),
        ]  # fmt: skip


FlowStep = Repeat | While | If | Parallel | Group | Call | CapacityTest | Hppc
Step = Annotated[LeafStep | FlowStep, Field(discriminator="step")]

for _model in (Repeat, While, If, Branch, Parallel, Group):
    _model.model_rebuild()

STEP_TYPES: tuple[type[StepBase], ...] = (
    Rest, Cc, Cv, CcCv, Cp, Cr, Pulse, GoToSoc, Profile, CapacityTest, Hppc,
    Identify, Prompt, Inspect, Insulate, Ocv, Acir, Eis, SetTemperature,
    Measure, SetPoint, WaitUntil, Compute, Check, GradeNow, Publish, Python,
    Repeat, While, If, Parallel, Group, Call,
)  # fmt: skip

Path = tuple[str | int, ...]


def written(step: Any) -> list[tuple[Path, list[Step]]]:
    """The lists of steps that are written inside a step, each with its path below the step."""
    match step:
        case Repeat() | While():
            return [(("steps",), step.steps)]
        case If():
            return [(("then",), step.then), (("else",), step.otherwise)]
        case Parallel():
            return [(("branches", index, "steps"), branch.steps) for index, branch in enumerate(step.branches)]
        case Group():
            return [(("setup",), step.setup), (("steps",), step.steps), (("finally",), step.last)]
        case _:
            return []


def bodies(step: Any) -> list[tuple[Path, list[Step]]]:
    """The lists of steps inside a step, each with its path below the step; empty for a step that holds none.

    What a standard's step is made of stands at the step's own place; a called recipe is not looked into.
    """
    match step:
        case CapacityTest():
            return [((), step.steps)]
        case Hppc():
            return [((), steps) for steps in step.rounds]
        case _:
            return written(step)
