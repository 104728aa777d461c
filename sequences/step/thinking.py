"""The steps that think and tell, and wait for it: what each may say."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from sequences.condition import Identifier
from sequences.expression import Condition, Formula
from sequences.quantity import UNITS, Fraction, Temperature
from sequences.step.base import RESUMED, Interrupt, MaxTime, StepBase, example
from sequences.text import FaultError, Text


class Measure(StepBase):
    """Work out measurements of the recipe now, from the samples so far; expressions find them by their names."""

    model_config = example(step="measure", name="evaluate", measurements=["stateOfHealth"])

    step: Literal["measure"] = "measure"
    measurements: Annotated[
        list[Annotated[str, Field(pattern=r"^[a-zA-Z][a-zA-Z0-9_]{0,63}$")]],
        Field(min_length=1, max_length=100, description="Which ones."),
    ]


class SetPoint(StepBase):
    """Set something and go on: the chamber, or what is held to be the state of charge."""

    model_config = example(step="set", name="known_full", soc="100 %")

    step: Literal["set"] = "set"
    chamber: Annotated[Temperature | None, Field(description="Set point of the chamber, without waiting.")] = None
    soc: Annotated[Fraction | None, Field(description="The state of charge that the battery is known to be at.")] = None

    @model_validator(mode="after")
    def sets_something(self) -> SetPoint:
        if self.chamber is None and self.soc is None:
            raise FaultError("sets nothing: give `chamber` or `soc`", "`chamber` 또는 `soc` 를 지정하십시오", "E-SET")
        return self


class WaitUntil(StepBase):
    """Wait without current until a condition is true."""

    model_config = example(step="wait_until", name="cooled", condition="temperature_max <= 30 degC", max_time="2 h")
    interrupts: ClassVar[tuple[Interrupt, ...]] = RESUMED

    step: Literal["wait_until"] = "wait_until"
    condition: Annotated[Condition, Field(description="What is waited for.")]
    max_time: MaxTime


class Compute(StepBase):
    """Give a name to the value of an expression; each value it ever had is remembered."""

    model_config = example(step="compute", name="half", value="rated_capacity / 2", into="half_capacity")

    step: Literal["compute"] = "compute"
    value: Annotated[Formula, Field(description="What is worked out.")]
    into: Annotated[Identifier, Field(description="Name under which expressions find it.")]


class Check(StepBase):
    """Fail unless a condition is known to be true."""

    model_config = example(
        step="check", name="spread_ok", that="cell_spread <= 300 mV", text={"en": "cells apart", "ko": "셀 편차 과다"}
    )

    step: Literal["check"] = "check"
    that: Annotated[Condition, Field(description="What must be true.")]
    text: Annotated[Text, Field(description="What it means when it fails.")]


class GradeNow(StepBase):
    """Grade by what has been measured; `grade_certain` is then true when the whole uncertainty gives the same grade.

    The final grade is worked out again when the run ends.
    """

    model_config = example(step="grade", name="provisional")

    step: Literal["grade"] = "grade"


class Publish(StepBase):
    """Tell the MES now: an event with these values."""

    model_config = example(step="publish", name="told", event="provisional", values=["stateOfHealth"])

    step: Literal["publish"] = "publish"
    event: Annotated[Identifier, Field(description="The event's name.")]
    values: Annotated[
        list[Annotated[str, Field(pattern=r"^[a-zA-Z][a-zA-Z0-9_]{0,63}$")]],
        Field(default_factory=list, max_length=30, description="Names of measurements and variables."),
    ]


class Python(StepBase):
    """A function that engineers installed as an entry point of the group `evaline.steps`; recipes cannot bring code.

    It gets the values of `with` as keyword arguments (SI) and returns a mapping with the names of `into`.
    """

    model_config = example(
        step="python", name="site_model", function="site_model", arguments={"spread": "cell_spread"},
        into={"site_index": "1"}, max_time="30 s",
    )  # fmt: skip

    step: Literal["python"] = "python"
    function: Annotated[Identifier, Field(description="Name of the entry point.")]
    arguments: Annotated[
        dict[Identifier, Formula], Field(default_factory=dict, max_length=20, description="What it is given.")
    ]
    into: Annotated[
        dict[Identifier, str],
        Field(default_factory=dict, max_length=20, description="Names it returns, with their units; '1' for none."),
    ]
    max_time: MaxTime

    @model_validator(mode="after")
    def units_known(self) -> Python:
        for name, unit in self.into.items():
            if unit != "1" and unit not in UNITS:
                raise FaultError(f"{name}: unknown unit {unit!r}", f"{name}: 알 수 없는 단위 {unit!r}", "E-UNIT")
        return self
