"""What every step may say, and the kinds of field that many steps have."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from sequences.condition import ABORT, FAIL, SIGNALS, End, Identifier, Route, Strict
from sequences.expression import Name, Node, Operation
from sequences.quantity import CurrentMagnitude, Duration, TemperatureDifference, Voltage, amount
from sequences.safety import Narrowing
from sequences.text import FaultError

Direction = Annotated[Literal["charge", "discharge"], Field(description="Which way the current flows.")]
Role = Literal[
    "cycler", "impedance_meter", "spectrum_meter", "insulation_tester", "voltmeter", "temperature_scanner",
    "battery_monitor", "chamber", "interlock", "code_reader",
]  # fmt: skip

Interrupt = Literal["abort", "resume", "repeat", "restart"]
SetCurrent = Annotated[CurrentMagnitude, Field(description="The current, in A or as a multiple of the rated capacity.")]
CellVoltage = Annotated[Voltage, Field(description="Voltage of a single cell, not of the battery.")]
MaxTime = Annotated[Duration, Field(description="When it gives up; what was not reached then is inconclusive.")]
Into = Annotated[Identifier | None, Field(description="Name under which expressions find the result.")]
Ends = Annotated[
    list[End],
    Field(default_factory=list, max_length=20, description="Alternatives that end the step; the first that holds."),
]


def example(**values: Any) -> ConfigDict:
    """A step as a recipe writes it; shown in the reference, and checked there."""
    return ConfigDict(json_schema_extra={"examples": [values]})


class Record(Strict):
    """Which of a step's samples go to the journal. Ah and Wh are counted from all of them in any case.

    A sample is kept when `every` has passed since the last one kept, or when a signal has moved by so much since then.
    Around an edge of the current, `burst` before and after it is kept at `burst_every`.
    """

    every: Annotated[Duration, Field(description="Longest time between two samples kept.")]
    voltage: Annotated[Voltage | None, Field(description="Change of a cell's voltage that keeps a sample.")] = None
    current: Annotated[CurrentMagnitude | None, Field(description="Change of current that keeps a sample.")] = None
    temperature: Annotated[
        TemperatureDifference | None, Field(description="Change of the hottest sensor that keeps a sample.")
    ] = None
    burst: Annotated[Duration, Field(description="Time around an edge of the current.")] = amount("0 s")
    burst_every: Annotated[Duration, Field(description="Sampling period in a burst.")] = amount("100 ms")


class StepBase(Strict):
    """What every step may say."""

    role: ClassVar[str] = ""  # the role it cannot do without, besides the cycler's
    drives: ClassVar[bool] = False  # whether it lets current flow
    interrupts: ClassVar[tuple[Interrupt, ...]] = ("abort", "repeat", "restart")

    name: Annotated[Identifier, Field(description="Its name in this recipe; routes and measurements refer to it.")]
    on_fail: Annotated[Route, Field(description="Where the run goes when it fails or overruns.")] = FAIL
    on_error: Annotated[Route, Field(description="Where the run goes when its instrument fails.")] = ABORT
    pause: Annotated[
        Literal["stay", "park"],
        Field(description="In a hold: contactors stay closed, or open (park); also in the steps inside."),
    ] = "stay"
    on_interrupt: Annotated[
        Interrupt,
        Field(description="After the daemon died in it: end the run, go on in it, repeat it, or restart the recipe."),
    ] = "abort"
    record: Annotated[
        Record | None,
        Field(description="Which samples to keep, also of the steps inside that do not say it themselves; else all."),
    ] = None
    safety: Annotated[Narrowing | None, Field(description="Tighter bounds while it runs.")] = None

    @model_serializer(mode="wrap")
    def say_kind(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The kind comes first, and comes always: a document is read by it."""
        return {"step": getattr(self, "step", ""), **serialize(self)}

    @model_validator(mode="after")
    def interrupt_fits(self) -> Self:
        """What a step remembers of its past besides its clock and its charge is lost with the daemon."""
        kind, allowed = getattr(self, "step", ""), ", ".join(self.interrupts)
        if self.on_interrupt not in self.interrupts:
            where = "; say it in the steps inside" if self.interrupts == ("abort",) else ""
            raise FaultError(
                f"after an interruption a {kind} step takes {allowed}, not {self.on_interrupt}{where}",
                f"중단 후 {kind} 스텝에는 {allowed} 만 쓸 수 있습니다: {self.on_interrupt}",
                "E-INTERRUPT",
            )
        if self.on_interrupt != "resume":
            return self
        ends = [end.when for end in getattr(self, "ends", [])] + [getattr(self, "condition", None)]
        if any(looks_back(when.root) for when in ends if when is not None):
            raise FaultError(
                "an end that looks back over its step cannot be resumed: what it has seen is lost; repeat the step",
                "스텝의 과거를 보는 종료 조건은 resume 할 수 없습니다. repeat 를 쓰십시오",
                "E-INTERRUPT",
            )
        return self


@cache
def _keys(kind: type[StepBase]) -> frozenset[str]:
    return frozenset(kind.model_fields)


def says(step: StepBase, key: str) -> bool:
    """Whether its kind of step has a key."""
    return key in _keys(type(step))


def looks_back(node: Node) -> bool:
    """Whether an expression remembers signals: a function of one value over every moment it was shown."""
    if not isinstance(node, Operation):
        return False
    (first, *others) = node.operands
    remembers = node.sign in ("min", "max", "avg", "last") and not others
    if remembers and not (isinstance(first, Name) and first.name not in SIGNALS):
        return True
    return any(looks_back(operand) for operand in node.operands)


RESUMED: tuple[Interrupt, ...] = ("abort", "resume", "repeat", "restart")


class EnergyStep(StepBase):
    """A step that lets current flow."""

    drives: ClassVar[bool] = True

    ends: Ends
    max_time: MaxTime
