"""What a recipe is: envelope, safety block, steps, measurements. Data only, checked strictly, never code.

Reading a file is somebody else's job (this package does no I/O): `Recipe.from_data` takes the parsed document.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from sequences.condition import End
from sequences.quantity import (
    Current,
    CurrentMagnitude,
    Duration,
    Fraction,
    Insulation,
    Temperature,
    TemperatureRate,
    Voltage,
    VoltagePerCell,
)
from sequences.verdict import Limits

Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,47}$")]
MeasurementName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z][a-zA-Z0-9_]{0,63}$")]
Role = Literal["cycler", "impedance_meter", "temperature_scanner", "battery_monitor", "interlock"]
Direction = Literal["charge", "discharge"]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Text(Strict):
    """The same words in English and Korean."""

    en: str
    ko: str


# ---------------------------------------------------------------------------------------------------- safety


class VoltageBound(Strict):
    """Warn and trip level, V, and how long a level must be passed before it counts, s."""

    warn: Voltage
    trip: Voltage
    delay: Duration


class PackVoltageBound(Strict):
    """Voltage of the whole battery, written per series cell so that it fits packs and modules alike."""

    warn: VoltagePerCell
    trip: VoltagePerCell
    delay: Duration


class CurrentBound(Strict):
    warn: CurrentMagnitude
    trip: CurrentMagnitude
    delay: Duration


class TemperatureBound(Strict):
    warn: Temperature
    trip: Temperature
    delay: Duration


class TemperatureRateBound(Strict):
    warn: TemperatureRate
    trip: TemperatureRate
    delay: Duration


class InsulationBound(Strict):
    """In ohm per volt of the battery's nominal voltage."""

    warn: Insulation
    trip: Insulation
    delay: Duration


class ThroughputBound(Strict):
    """Charge moved in both directions together, as a fraction of the rated capacity."""

    warn: Fraction
    trip: Fraction


class TimeBound(Strict):
    warn: Duration
    trip: Duration


class Safety(Strict):
    """Mandatory in every recipe: what must never be passed while it runs. Judged outside the steps' reach."""

    cell_voltage_max: VoltageBound
    cell_voltage_min: VoltageBound
    cell_spread: VoltageBound
    voltage_max: PackVoltageBound
    voltage_min: PackVoltageBound
    charge_current: CurrentBound
    discharge_current: CurrentBound
    temperature_max: TemperatureBound
    temperature_min: TemperatureBound
    temperature_rise: TemperatureRateBound
    insulation: InsulationBound
    total_throughput: ThroughputBound
    total_time: TimeBound


# ----------------------------------------------------------------------------------------------------- steps


class Rest(Strict):
    """No current for a duration; the output is off and the contactors stay closed."""

    step: Literal["rest"]
    name: Identifier
    duration: Duration
    ends: list[End] = []


class ConstantCurrent(Strict):
    """A constant current until the first cell reaches `cell_voltage`, or an earlier end."""

    step: Literal["cc"]
    name: Identifier
    direction: Direction
    current: CurrentMagnitude
    cell_voltage: Voltage
    ends: list[End] = []
    max_time: Duration


class ConstantCurrentConstantVoltage(Strict):
    """Charge at a constant current until the first cell reaches `cell_voltage`, then hold that cell there.

    Its ends are judged while the voltage is held; at least one must look at the current.
    """

    step: Literal["cccv"]
    name: Identifier
    current: CurrentMagnitude
    cell_voltage: Voltage
    ends: Annotated[list[End], Field(min_length=1)]
    max_time: Duration

    @model_validator(mode="after")
    def ends_on_current(self) -> ConstantCurrentConstantVoltage:
        if not any(end.when.signal == "current" and end.when.operator in ("<=", "<") for end in self.ends):
            raise ValueError("a cccv step needs an end on falling current, like 'current <= C/10'")
        return self


class Pulse(Strict):
    """A rested battery, one current pulse, and its recovery; sampled every `sample` seconds."""

    step: Literal["pulse"]
    name: Identifier
    direction: Direction
    current: CurrentMagnitude
    duration: Duration
    recovery: Duration
    sample: Duration = 0.1
    cell_voltage_min: Voltage
    cell_voltage_max: Voltage


class Measure(Strict):
    """Ask an instrument for readings with the output off; the mean of `readings` good ones is the result."""

    step: Literal["measure"]
    name: Identifier
    role: Literal["impedance_meter"]
    readings: Annotated[int, Field(ge=1, le=100)] = 5


class Repeat(Strict):
    """Run the inner steps `times` times in total."""

    step: Literal["repeat"]
    name: Identifier
    times: Annotated[int, Field(ge=1, le=1000)]
    steps: Annotated[list[Step], Field(min_length=1, max_length=100)]


LeafStep = Rest | ConstantCurrent | ConstantCurrentConstantVoltage | Pulse | Measure
Step = Annotated[
    Rest | ConstantCurrent | ConstantCurrentConstantVoltage | Pulse | Measure | Repeat, Field(discriminator="step")
]


# ---------------------------------------------------------------------------------------------- measurements


class Capacity(Strict):
    """Net charge discharged from the end of step `after` to the end of step `until`, Ah."""

    kind: Literal["capacity"]
    after: Identifier
    until: Identifier


class CapacityFade(Strict):
    """Lost share of the rated capacity."""

    kind: Literal["capacity_fade"]
    after: Identifier
    until: Identifier


class StateOfHealth(Strict):
    """Remaining share of the rated capacity."""

    kind: Literal["state_of_health"]
    after: Identifier
    until: Identifier


class CapacityAtC3(Strict):
    """The capacity at C/2 corrected to C/3 with the battery model's factor, Ah."""

    kind: Literal["capacity_at_c3"]
    after: Identifier
    until: Identifier


class Energy(Strict):
    """Net energy discharged from the end of step `after` to the end of step `until`, Wh."""

    kind: Literal["energy"]
    after: Identifier
    until: Identifier


class CertifiedEnergy(Strict):
    """That energy as a share of the rated energy: the state of certified energy."""

    kind: Literal["certified_energy"]
    after: Identifier
    until: Identifier


class PulseAt(Strict):
    """Which pulse: the run of step `pulse` nearest to this state of charge, and at which time in it."""

    pulse: Identifier
    soc: Fraction
    at: Duration


class Resistance(PulseAt):
    """DC resistance of the whole battery, (V before - V(at)) / |I|, ohm."""

    kind: Literal["resistance"]


class ResistanceIncrease(PulseAt):
    """Its increase over the new battery's, as a fraction."""

    kind: Literal["resistance_increase"]


class CellResistanceRatio(PulseAt):
    """Highest cell resistance over the median of the cells."""

    kind: Literal["cell_resistance_ratio"]


class CellSpread(Strict):
    """Highest minus lowest cell voltage at the end of the run of `rest` nearest to this SOC, V."""

    kind: Literal["cell_spread"]
    rest: Identifier
    soc: Fraction


class WeakestCell(Strict):
    """Number, from 1, of the cell with the lowest voltage at the end of step `until`."""

    kind: Literal["weakest_cell"]
    until: Identifier


class InsulationPerVolt(Strict):
    """Lowest insulation resistance seen in step `during`, per volt of nominal voltage, ohm/V."""

    kind: Literal["insulation"]
    during: Identifier


class AcResistance(Strict):
    """Mean AC resistance that measure step `from` read, ohm."""

    kind: Literal["ac_resistance"]
    measured_in: Identifier


class TemperatureMax(Strict):
    """Highest temperature of the whole run, degC."""

    kind: Literal["temperature_max"]


Source = Annotated[
    Capacity
    | CapacityFade
    | StateOfHealth
    | CapacityAtC3
    | Energy
    | CertifiedEnergy
    | Resistance
    | ResistanceIncrease
    | CellResistanceRatio
    | CellSpread
    | WeakestCell
    | InsulationPerVolt
    | AcResistance
    | TemperatureMax,
    Field(discriminator="kind"),
]

# kind -> (unit shown, factor from the inner unit, dimension of its limits)
MEASUREMENT_UNITS: dict[str, tuple[str, float, str]] = {
    "capacity": ("Ah", 1.0, "charge"),
    "capacity_fade": ("%", 100.0, "fraction"),
    "state_of_health": ("%", 100.0, "fraction"),
    "capacity_at_c3": ("Ah", 1.0, "charge"),
    "energy": ("kWh", 1e-3, "energy"),
    "certified_energy": ("%", 100.0, "fraction"),
    "resistance": ("mohm", 1e3, "resistance"),
    "resistance_increase": ("%", 100.0, "fraction"),
    "cell_resistance_ratio": ("%", 100.0, "fraction"),
    "cell_spread": ("mV", 1e3, "voltage"),
    "weakest_cell": ("1", 1.0, ""),
    "insulation": ("ohm/V", 1.0, "insulation"),
    "ac_resistance": ("mohm", 1e3, "resistance"),
    "temperature_max": ("degC", 1.0, "temperature"),
}


class Measurement(Strict):
    """A named result: where it comes from and, when it is judged, its limits."""

    name: MeasurementName
    title: Text
    source: Source = Field(alias="from")
    limits: Limits | None = None

    @model_validator(mode="after")
    def limits_fit(self) -> Measurement:
        needed = MEASUREMENT_UNITS[self.source.kind][2]
        if self.limits is not None and self.limits.dimension != needed:
            raise ValueError(f"limits of {self.name} are a {self.limits.dimension}, a {needed or 'number'} is needed")
        return self

    @property
    def unit(self) -> str:
        return MEASUREMENT_UNITS[self.source.kind][0]

    @property
    def scale(self) -> float:
        """Factor from the inner unit to the unit shown."""
        return MEASUREMENT_UNITS[self.source.kind][1]


# --------------------------------------------------------------------------------------------------- envelope


MAX_STEP_RUNS = 10_000


def _runs(steps: list[Step]) -> int:
    return sum(step.times * _runs(step.steps) if isinstance(step, Repeat) else 1 for step in steps)


class AppliesTo(Strict):
    kind: Annotated[list[Literal["pack", "module", "cell"]], Field(min_length=1)]
    chemistry: Annotated[list[Literal["NMC", "NCA", "LMO", "LFP"]], Field(min_length=1)]


class Recipe(Strict):
    """A complete evaluation recipe."""

    schema_version: Literal["evaline/recipe/1"] = Field(alias="schema")
    id: Identifier
    version: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+$")]
    title: Text
    author: str
    references: Annotated[list[str], Field(min_length=1)]
    applies_to: AppliesTo
    roles: Annotated[list[Role], Field(min_length=1)]
    safety: Safety
    steps: Annotated[list[Step], Field(min_length=1, max_length=200)]
    measurements: list[Measurement] = []
    content_hash: str = Field(default="", exclude=True)

    @classmethod
    def from_data(cls, data: Any) -> Recipe:
        """Validate a parsed document; raises pydantic.ValidationError. The hash covers the data, not its layout."""
        recipe = cls.model_validate(data)
        canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return recipe.model_copy(update={"content_hash": hashlib.sha256(canonical.encode()).hexdigest()})

    @model_validator(mode="after")
    def bounded(self) -> Recipe:
        count = _runs(self.steps)
        if count > MAX_STEP_RUNS:
            raise ValueError(f"its repeats unroll to {count} step runs, more than {MAX_STEP_RUNS}")
        return self

    @model_validator(mode="after")
    def no_hash_from_outside(self) -> Recipe:
        if self.content_hash:
            raise ValueError("content_hash is computed, not written")
        return self


__all__ = ["Current", "LeafStep", "Measurement", "Recipe", "Safety", "Step", "Text"]
