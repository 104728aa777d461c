"""The steps that do one thing: what each may say. How each behaves is in `sequences.runs`.

A step's docstring, its fields' descriptions and its example make its page of the reference and its help in an editor.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import cache, cached_property
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from sequences.condition import ABORT, FAIL, SIGNALS, End, Identifier, Route, Strict
from sequences.expression import Condition, Formula, Name, Node, Operation
from sequences.quantity import (
    UNITS,
    CurrentMagnitude,
    Duration,
    Fraction,
    Frequency,
    PowerMagnitude,
    Resistance,
    Temperature,
    TemperatureDifference,
    Voltage,
    VoltageRate,
    amount,
    dimension_ko,
    parse_quantity,
)
from sequences.safety import Narrowing
from sequences.text import FaultError, Text

Direction = Annotated[Literal["charge", "discharge"], Field(description="Which way the current flows.")]
Role = Literal[
    "cycler", "impedance_meter", "spectrum_meter", "insulation_tester", "voltmeter", "temperature_scanner",
    "battery_monitor", "chamber", "interlock", "code_reader",
]  # fmt: skip

Interrupt = Literal["abort", "resume", "repeat", "restart"]
MAX_TABLE = 20_000  # rows
MAX_CSV = 1_000_000  # characters
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


# ------------------------------------------------------------------------------------------ current and voltage


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


_HEADERS = {"time_s,current_a": "current", "time_s,power_w": "power"}
_CSV_ROW = re.compile(r"\s*(-?\d{1,9}(?:\.\d{1,9})?)\s*,\s*(-?\d{1,9}(?:\.\d{1,9})?)\s*", re.ASCII)


def _no_table(file: str | None, en: str, ko: str) -> FaultError:
    """A fault of a table, at its file's name or, where there is none, at the step."""
    if file is None:
        return FaultError(en, ko, "E-TABLE")
    return FaultError(f"table {file!r:.80}: {en}", f"표 {file!r:.80}: {ko}", "E-TABLE", ("file",))


class Profile(StepBase):
    """A table of times and currents or powers, played with the cells clipped to a voltage window.

    Rows are (time, value) with the value held until the next row's time; + charges. Long tables are CSV, with the
    columns `time_s` and `current_a` or `power_w`: `csv` is its text, `file` names one beside the recipe, whose text
    then belongs to the recipe and its hash.
    """

    model_config = example(
        step="profile", name="drive", of="current", rows=[["0 s", "-30 A"], ["10 s", "15 A"], ["20 s", "0 A"]],
        cell_voltage_min="2.8 V", cell_voltage_max="4.15 V",
    )  # fmt: skip
    drives: ClassVar[bool] = True

    step: Literal["profile"] = "profile"
    of: Annotated[Literal["current", "power"], Field(description="What the table gives.")] = "current"
    file: Annotated[
        str | None, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}\.csv$", description="A CSV file beside the recipe.")
    ] = None
    rows: Annotated[
        list[Annotated[tuple[str, str], Field(strict=False)]],
        Field(default_factory=list, max_length=MAX_TABLE, description="The table, times rising."),
    ]
    csv: Annotated[str | None, Field(max_length=MAX_CSV, description="The table as a CSV file's text.")] = None
    sample: Annotated[Duration, Field(description="Sampling period.")] = amount("1 s")
    cell_voltage_min: CellVoltage
    cell_voltage_max: CellVoltage

    @model_validator(mode="before")
    @classmethod
    def named_by_its_header(cls, data: Any) -> Any:
        """What a CSV table gives stands in its first row."""
        if not isinstance(data, dict) or not isinstance(data.get("csv"), str):
            return data
        header = data["csv"].partition("\n")[0]
        of = _HEADERS.get(",".join(cell.strip() for cell in header.split(",")))
        if of is None:
            raise _no_table(
                data.get("file"),
                "its first row must be time_s,current_a or time_s,power_w",
                "첫 행은 time_s,current_a 또는 time_s,power_w 이어야 합니다",
            )
        if data.get("rows") or data.get("of", of) != of:
            raise _no_table(
                data.get("file"),
                f"a CSV table has its own rows and gives {of}; leave out `rows` and `of`",
                f"CSV 표에는 자체 행이 있고 그 값은 {of} 입니다. `rows` 와 `of` 를 빼십시오",
            )
        return data | {"of": of}

    @model_validator(mode="after")
    def a_table(self) -> Profile:
        times = [time for time, _ in self.table]
        if len(times) < 2:
            raise _no_table(
                self.file,
                "a table has two rows at least; give `rows`, or a `file`",
                "표에는 두 행 이상이 필요합니다. `rows` 또는 `file` 을 지정하십시오",
            )
        if any(later <= earlier for earlier, later in pairwise(times)) or times[0] != 0.0:
            raise _no_table(
                self.file,
                "the table's times must begin at 0 s and rise",
                "표의 시간은 0 s에서 시작해 증가해야 합니다",
            )
        return self

    @cached_property
    def table(self) -> list[tuple[float, float]]:
        """(s, A or W, + charges)."""
        if self.csv is not None:
            return list(self._csv_rows(self.csv))
        rows = []
        for time, value in self.rows:
            t, x = parse_quantity(time), parse_quantity(value)
            if t.dimension != "time" or x.dimension != self.of:
                raise FaultError(
                    f"a row of the table is a time and a {self.of}, not {time!r} and {value!r}",
                    f"표의 행은 시간과 {dimension_ko(self.of)}이어야 합니다: {time!r}, {value!r}",
                    "E-TABLE",
                )
            rows.append((t.value, x.value))
        return rows

    def _csv_rows(self, text: str) -> Iterator[tuple[float, float]]:
        for number, line in enumerate(text.splitlines()[1:], 2):
            match = _CSV_ROW.fullmatch(line)
            if match is None or number > MAX_TABLE + 1:
                en, ko = f"row {number} is not two plain numbers", f"{number}번째 행이 두 개의 숫자가 아닙니다"
                if match is not None:
                    en, ko = f"more than {MAX_TABLE} rows", f"{MAX_TABLE}행을 넘습니다"
                raise _no_table(self.file, en, ko)
            yield float(match[1]), float(match[2])

    @property
    def duration(self) -> float:
        return self.table[-1][0]


# ---------------------------------------------------------------------------------------- asking instruments


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


# --------------------------------------------------------------------------------------- thinking and telling


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
