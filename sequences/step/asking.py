"""The steps that ask instruments and people: what each may say."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from sequences.condition import Identifier, Strict
from sequences.quantity import Duration, Frequency, Temperature, TemperatureDifference, Voltage, VoltageRate, amount
from sequences.step.base import Into, MaxTime, StepBase, example
from sequences.text import FaultError, Text


class Identify(StepBase):
    """Read the battery's code from its label and from its BMS, and compare both with the one given at the start.

    The result is 1 when label and BMS agree with it, 0 when one of them says nothing: without traceability. A code
    that differs fails.
    """

    model_config = example(step="identify", name="identify", into="traceable", max_time="30 s")

    step: Literal["identify"] = "identify"
    into: Into = None
    max_time: MaxTime = amount("30 s")


class Prompt(StepBase):
    """Ask the operator. A confirmation that is refused fails; a number or a choice becomes a value."""

    model_config = example(
        step="prompt", name="weigh", text={"en": "Weight of the pack?", "ko": "팩의 무게는?"}, answer="number",
        into="weight_kg", max_time="10 min",
    )  # fmt: skip

    step: Literal["prompt"] = "prompt"
    text: Annotated[Text, Field(description="The question.")]
    answer: Annotated[Literal["confirm", "number", "choice"], Field(description="What is asked for.")] = "confirm"
    choices: Annotated[
        list[Text], Field(default_factory=list, max_length=20, description="Of a choice; the value is its number.")
    ]
    into: Into = None
    max_time: MaxTime

    @model_validator(mode="after")
    def choices_fit(self) -> Prompt:
        if (self.answer == "choice") != (len(self.choices) >= 2):
            raise FaultError(
                "a choice needs two or more choices, and nothing else has any",
                "choice 에는 두 개 이상의 choices 가 필요하며, 다른 종류에는 쓸 수 없습니다",
                "E-PROMPT",
            )
        return self


class InspectItem(Strict):
    """One thing to look at."""

    name: Annotated[Identifier, Field(description="Its name in the answer.")]
    text: Annotated[Text, Field(description="The question; yes is good.")]


class Inspect(StepBase):
    """Questions about the battery's looks that an operator or a camera system answers good or bad; one bad one fails.

    The result is the number of bad answers.
    """

    model_config = example(
        step="inspect",
        name="looks",
        items=[{"name": "leak", "text": {"en": "Free of leaks?", "ko": "누액이 없습니까?"}}],
        max_time="10 min",
    )

    step: Literal["inspect"] = "inspect"
    items: Annotated[list[InspectItem], Field(min_length=1, max_length=30, description="What to look at.")]
    into: Into = None
    max_time: MaxTime


class Insulate(StepBase):
    """Put a test voltage between battery and chassis; the result is the insulation resistance per volt (ohm/V).

    The contactors stay closed, the output is off, and the battery's own insulation monitor must not be measuring.
    """

    model_config = example(step="insulation", name="insulation", voltage="500 V", duration="10 s")
    role: ClassVar[str] = "insulation_tester"

    step: Literal["insulation"] = "insulation"
    voltage: Annotated[Voltage, Field(description="Test voltage.")]
    duration: Annotated[Duration, Field(description="How long it is applied before the reading counts.")]
    into: Into = None
    max_time: MaxTime = amount("60 s")


class Ocv(StepBase):
    """Rest until the cells have settled, then take the open-circuit voltage of the whole battery.

    Settled means that the mean cell drifts by no more than `settle`. A voltmeter is used where the station has one.
    """

    model_config = example(step="ocv", name="ocv", settle="0.5 mV/min", max_time="30 min")

    step: Literal["ocv"] = "ocv"
    settle: Annotated[VoltageRate, Field(description="Drift of the mean cell that counts as settled.")]
    readings: Annotated[int, Field(ge=1, le=100, description="Readings to average.")] = 5
    into: Into = None
    max_time: MaxTime


class Acir(StepBase):
    """The 1 kHz resistance by the impedance meter, output off; the mean of the good readings."""

    model_config = example(step="acir", name="acir", readings=5)
    role: ClassVar[str] = "impedance_meter"

    step: Literal["acir"] = "acir"
    readings: Annotated[int, Field(ge=1, le=100, description="How many.")] = 5
    into: Into = None
    max_time: MaxTime = amount("5 min")


class Eis(StepBase):
    """An impedance spectrum, output off, from the highest frequency to the lowest."""

    model_config = example(step="eis", name="eis", highest="1 kHz", lowest="100 mHz", points_per_decade=6)
    role: ClassVar[str] = "spectrum_meter"

    step: Literal["eis"] = "eis"
    highest: Annotated[Frequency, Field(description="Where it begins.")]
    lowest: Annotated[Frequency, Field(description="Where it ends.")]
    points_per_decade: Annotated[int, Field(ge=1, le=20, description="Frequencies in a decade.")] = 6
    max_time: MaxTime = amount("20 min")

    @model_validator(mode="after")
    def downwards(self) -> Eis:
        if self.lowest >= self.highest:
            raise FaultError("`lowest` must be below `highest`", "`lowest` 는 `highest` 보다 낮아야 합니다", "E-EIS")
        return self

    @property
    def frequencies(self) -> list[float]:
        """Hz, falling, both ends included."""
        points = max(1, math.ceil(math.log10(self.highest / self.lowest) * self.points_per_decade - 1e-9))
        return [float(self.highest * (self.lowest / self.highest) ** (k / points)) for k in range(points + 1)]


class SetTemperature(StepBase):
    """Set the chamber and wait until air, battery or both have been within `tolerance` for the time of `soak`."""

    model_config = example(
        step="set_temperature", name="soak", temperature="25 degC", tolerance="2 K", soak="30 min", max_time="12 h"
    )
    role: ClassVar[str] = "chamber"

    step: Literal["set_temperature"] = "set_temperature"
    temperature: Annotated[Temperature, Field(description="Set point of the chamber.")]
    tolerance: Annotated[TemperatureDifference, Field(description="How near is near enough.")] = amount("2 K")
    soak: Annotated[Duration, Field(description="How long it must have been so.")]
    of: Annotated[Literal["chamber", "battery", "both"], Field(description="What must have got there.")] = "both"
    max_time: MaxTime
