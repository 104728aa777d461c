"""The steps that let current flow or rest between them: what each may say."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from sequences.condition import Strict
from sequences.quantity import CurrentMagnitude, Duration, Fraction, PowerMagnitude, Resistance, amount
from sequences.step.base import (
    RESUMED,
    CellVoltage,
    Direction,
    Ends,
    EnergyStep,
    Interrupt,
    MaxTime,
    SetCurrent,
    StepBase,
    example,
)
from sequences.text import FaultError


class Rest(StepBase):
    """No current for a duration; the output is off and the contactors stay closed."""

    model_config = example(step="rest", name="rest_full", duration="10 min")
    interrupts: ClassVar[tuple[Interrupt, ...]] = RESUMED

    step: Literal["rest"] = "rest"
    duration: Annotated[Duration, Field(description="How long.")]
    ends: Ends


class Cc(EnergyStep):
    """A constant current until the first cell reaches `cell_voltage`, or an earlier end."""

    model_config = example(
        step="cc", name="discharge", direction="discharge", current="C/3", cell_voltage="2.7 V", max_time="4 h"
    )
    interrupts: ClassVar[tuple[Interrupt, ...]] = RESUMED

    step: Literal["cc"] = "cc"
    direction: Direction
    current: SetCurrent
    cell_voltage: CellVoltage


def _needs_end_on_current(step: Any) -> None:
    falling = [c for end in step.ends for c in end.when.comparisons if c.name == "current" and not c.rising]
    if not falling:
        raise FaultError(
            f"a {step.step} step needs an end on falling current, like 'current <= C/10'",
            f"{step.step} 스텝에는 'current <= C/10' 같은 전류 감소 종료 조건이 필요합니다",
            "E-END-MISSING",
        )


class Cv(EnergyStep):
    """The extreme cell held at `cell_voltage` with at most `current`, until an end on the falling current."""

    model_config = example(
        step="cv", name="hold_full", cell_voltage="4.2 V", current="C/3", ends=["current <= C/20"], max_time="1 h"
    )
    interrupts: ClassVar[tuple[Interrupt, ...]] = RESUMED

    step: Literal["cv"] = "cv"
    direction: Direction = "charge"
    current: Annotated[CurrentMagnitude, Field(description="The most current it may take.")]
    cell_voltage: CellVoltage

    @model_validator(mode="after")
    def ends_on_current(self) -> Cv:
        _needs_end_on_current(self)
        return self


class CcCv(EnergyStep):
    """A constant current until the first cell reaches `cell_voltage`, then that cell held there: one step, one clock.

    Its ends are judged while the voltage is held; at least one must look at the current.
    """

    model_config = example(
        step="cccv", name="charge", current="C/2", cell_voltage="4.2 V", ends=["current <= C/10"], max_time="4 h"
    )
    interrupts: ClassVar[tuple[Interrupt, ...]] = RESUMED

    step: Literal["cccv"] = "cccv"
    direction: Direction = "charge"
    current: SetCurrent
    cell_voltage: CellVoltage

    @model_validator(mode="after")
    def ends_on_current(self) -> CcCv:
        _needs_end_on_current(self)
        return self


class Cp(EnergyStep):
    """A constant power until the first cell reaches `cell_voltage`, or an earlier end."""

    model_config = example(
        step="cp", name="discharge", direction="discharge", power="0.5P", cell_voltage="2.8 V", max_time="4 h"
    )
    interrupts: ClassVar[tuple[Interrupt, ...]] = RESUMED

    step: Literal["cp"] = "cp"
    direction: Direction
    power: Annotated[
        PowerMagnitude, Field(description="At the battery's terminals, in W or as a multiple of the rated energy.")
    ]
    cell_voltage: CellVoltage


class Cr(EnergyStep):
    """A discharge as through a resistor, until the first cell reaches `cell_voltage`, or an earlier end."""

    model_config = example(
        step="cr", name="bleed", resistance="40 ohm", cell_voltage="1 V", current="C/10", max_time="4 h"
    )
    interrupts: ClassVar[tuple[Interrupt, ...]] = RESUMED

    step: Literal["cr"] = "cr"
    resistance: Annotated[Resistance, Field(description="The resistor, across the whole battery.")]
    current: Annotated[CurrentMagnitude, Field(description="The most current it may take.")]
    cell_voltage: CellVoltage


class OnePulse(Strict):
    """One pulse of a train and the rest after it."""

    direction: Direction
    current: SetCurrent
    duration: Annotated[Duration, Field(description="How long the current flows.")]
    rest: Annotated[Duration, Field(description="How long the battery recovers after it.")]


class Pulse(StepBase):
    """A train of current pulses, each with its recovery, sampled every `sample`; at a voltage limit a pulse is cut."""

    model_config = example(
        step="pulse",
        name="pulse",
        pulses=[{"direction": "discharge", "current": "1C", "duration": "10 s", "rest": "40 s"}],
        cell_voltage_min="2.7 V",
        cell_voltage_max="4.2 V",
    )
    drives: ClassVar[bool] = True

    step: Literal["pulse"] = "pulse"
    pulses: Annotated[list[OnePulse], Field(min_length=1, max_length=50, description="The train, in order.")]
    sample: Annotated[Duration, Field(description="Sampling period.")] = amount("100 ms")
    cell_voltage_min: CellVoltage
    cell_voltage_max: CellVoltage


class GoToSoc(StepBase):
    """Charge or discharge at a constant current to a state of charge, counted from the last known point."""

    model_config = example(
        step="go_to_soc", name="to_half", soc="50 %", current="C/3", cell_voltage_min="2.7 V",
        cell_voltage_max="4.2 V", max_time="4 h",
    )  # fmt: skip
    drives: ClassVar[bool] = True
    interrupts: ClassVar[tuple[Interrupt, ...]] = RESUMED

    step: Literal["go_to_soc"] = "go_to_soc"
    soc: Annotated[Fraction, Field(description="The state of charge to reach.")]
    current: SetCurrent
    cell_voltage_min: CellVoltage
    cell_voltage_max: CellVoltage
    max_time: MaxTime
