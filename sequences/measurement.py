"""What a recipe measures: where each named result comes from, and its limits. Worked out in `sequences.measuring`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from sequences.condition import Identifier, Strict
from sequences.expression import Formula
from sequences.limits import Limits
from sequences.quantity import Duration, Fraction, amount
from sequences.text import FaultError, Text

MeasurementName = Annotated[str, Field(pattern=r"^[a-zA-Z][a-zA-Z0-9_]{0,63}$", title="name")]
StepName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$", title="name of a step")]
After = Annotated[StepName, Field(description="It counts from the end of this step.")]
Until = Annotated[StepName, Field(description="It counts until the end of this step.")]


class SourceBase(Strict):
    """Where a measurement comes from. `dimension` is that of its limits."""

    dimension: ClassVar[str] = ""

    @model_serializer(mode="wrap")
    def say_kind(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The kind comes first, and comes always: a document is read by it."""
        return {"kind": getattr(self, "kind", ""), **serialize(self)}

    @property
    def steps(self) -> dict[str, str]:
        """The steps it names, by the key that names them."""
        return {key: value for key in STEP_KEYS if isinstance(value := getattr(self, key, None), str)}


class Capacity(SourceBase):
    """Net charge discharged from the end of step `after` to the end of step `until`."""

    dimension: ClassVar[str] = "charge"
    kind: Literal["capacity"] = "capacity"
    after: After
    until: Until


class CapacityFade(SourceBase):
    """Lost share of the rated capacity."""

    dimension: ClassVar[str] = "fraction"
    kind: Literal["capacity_fade"] = "capacity_fade"
    after: After
    until: Until


class StateOfHealth(SourceBase):
    """Remaining share of the rated capacity."""

    dimension: ClassVar[str] = "fraction"
    kind: Literal["state_of_health"] = "state_of_health"
    after: After
    until: Until


class CapacityAtC3(SourceBase):
    """The capacity at C/2 corrected to C/3 with the battery model's factor."""

    dimension: ClassVar[str] = "charge"
    kind: Literal["capacity_at_c3"] = "capacity_at_c3"
    after: After
    until: Until


class ConvergedCapacity(SourceBase):
    """What a `capacity` step found: the mean of its newest rounds that agree."""

    dimension: ClassVar[str] = "charge"
    kind: Literal["converged_capacity"] = "converged_capacity"
    test: Annotated[StepName, Field(description="The `capacity` step.")]
    of: Annotated[Literal["capacity", "spread", "rounds"], Field(description="Its mean, how far apart, how many.")] = (
        "capacity"
    )


class Energy(SourceBase):
    """Net energy discharged from the end of step `after` to the end of step `until`."""

    dimension: ClassVar[str] = "energy"
    kind: Literal["energy"] = "energy"
    after: After
    until: Until


class CertifiedEnergy(SourceBase):
    """That energy as a share of the rated energy: the state of certified energy."""

    dimension: ClassVar[str] = "fraction"
    kind: Literal["certified_energy"] = "certified_energy"
    after: After
    until: Until


class Efficiency(SourceBase):
    """What a discharge gave back of what the charge before it took, in charge (coulombic) or energy."""

    dimension: ClassVar[str] = "fraction"
    kind: Literal["efficiency"] = "efficiency"
    of: Annotated[Literal["charge", "energy"], Field(description="Coulombic or energy efficiency.")]
    charge: Annotated[StepName, Field(description="The step that charged.")]
    discharge: Annotated[StepName, Field(description="The step that discharged.")]


class PulseAt(SourceBase):
    """A pulse: of step `pulse`, the run nearest to this state of charge, pulse `number`, `at` a time in it."""

    pulse: Annotated[StepName, Field(description="The `pulse` step, or NAME_pulse of an `hppc` step.")]
    soc: Annotated[Fraction | None, Field(description="State of charge; the newest run when not given.")] = None
    at: Annotated[Duration, Field(description="Time in the pulse; never compared with another time's.")]
    number: Annotated[int, Field(ge=1, le=50, description="Which pulse of the train.")] = 1


class Resistance(PulseAt):
    """DC resistance of the whole battery, (V before - V(at)) / |I|."""

    dimension: ClassVar[str] = "resistance"
    kind: Literal["resistance"] = "resistance"


class ResistanceIncrease(PulseAt):
    """Its increase over the new battery's, as a fraction."""

    dimension: ClassVar[str] = "fraction"
    kind: Literal["resistance_increase"] = "resistance_increase"


class CellResistanceRatio(PulseAt):
    """Highest cell resistance over the median of the cells."""

    dimension: ClassVar[str] = "fraction"
    kind: Literal["cell_resistance_ratio"] = "cell_resistance_ratio"


class PowerCapability(PulseAt):
    """Power the battery can give at this state of charge until its first cell is at `cell_voltage`, after that time.

    At most with the current that the battery model allows.
    """

    dimension: ClassVar[str] = "power"
    kind: Literal["power_capability"] = "power_capability"
    cell_voltage: Annotated[Formula, Field(description="Lowest voltage of a cell.")]


class CellSpread(SourceBase):
    """Highest minus lowest cell voltage at the end of the run of `rest` nearest to `soc`, or the newest."""

    dimension: ClassVar[str] = "voltage"
    kind: Literal["cell_spread"] = "cell_spread"
    rest: Annotated[StepName, Field(description="A step without current.")]
    soc: Annotated[Fraction | None, Field(description="State of charge; the newest run when not given.")] = None


class WeakestCell(SourceBase):
    """Number, from 1, of the cell with the lowest voltage at the end of step `until`, and why it is that one."""

    dimension: ClassVar[str] = "number"
    kind: Literal["weakest_cell"] = "weakest_cell"
    until: Until


class CellLag(SourceBase):
    """How far the lowest cell lies behind the median cell at the end of a rest, as a share of the rated capacity.

    Through the battery's own voltage curve in this run's slowest discharge. Cells that were left alone lie together;
    one with an internal short has fallen behind.
    """

    dimension: ClassVar[str] = "fraction"
    kind: Literal["cell_lag"] = "cell_lag"
    rest: Annotated[StepName, Field(description="A step without current; the rest on arrival tells most.")]


class SelfDischarge(SourceBase):
    """Charge that the worst cell loses in 30 days more than the median cell, as a share of the rated capacity.

    From the cells' voltages at the ends of two rests, through their own voltage curve in this run's slowest discharge.
    """

    dimension: ClassVar[str] = "fraction"
    kind: Literal["self_discharge"] = "self_discharge"
    first: Annotated[StepName, Field(description="A rest after which the cells have settled.")]
    second: Annotated[StepName, Field(description="A later one; hours to days lie between.")]


class Slippage(SourceBase):
    """Charge that the worst cell loses in 30 days more than the median cell, as a share of the rated capacity.

    From repeated cycles: one current flows through all cells, so a cell whose discharge curve has moved against the
    others' from the first discharge to the last one has lost charge by itself. Hours tell what else takes a day.
    """

    dimension: ClassVar[str] = "fraction"
    kind: Literal["slippage"] = "slippage"
    discharge: Annotated[StepName, Field(description="A discharge that is run at least twice.")]


class InsulationPerVolt(SourceBase):
    """Insulation resistance per volt of nominal voltage: of an insulation test, else the lowest the BMS reported."""

    dimension: ClassVar[str] = "insulation"
    kind: Literal["insulation"] = "insulation"
    during: Annotated[StepName, Field(description="Any step.")]


class TwoVoltmeters(SourceBase):
    """Insulation resistance per volt of nominal voltage of the weaker pole, by the two-voltmeter method.

    UN R100 Annex 5B, ISO 6469-1: from readings with a voltmeter, where a station has no tester. `v_total * 1 V` makes a
    voltage of a number that the operator was asked for.
    """

    dimension: ClassVar[str] = "insulation"
    kind: Literal["two_voltmeters"] = "two_voltmeters"
    total: Annotated[Formula, Field(description="Voltage between the poles.")]
    negative: Annotated[Formula, Field(description="Voltage from the negative pole to the chassis.")]
    positive: Annotated[Formula, Field(description="Voltage from the positive pole to the chassis.")]
    inserted: Annotated[Formula, Field(description="The higher of the two again, the known resistance beside it.")]
    known: Annotated[Formula, Field(description="The known resistance.")]
    reading: Annotated[Formula, Field(description="Standard uncertainty (k = 1) of each voltage.")]

    @property
    def voltages(self) -> dict[str, Formula]:
        return {name: getattr(self, name) for name in ("total", "negative", "positive", "inserted", "reading")}


class AcResistance(SourceBase):
    """Mean AC resistance that step `measured_in` read."""

    dimension: ClassVar[str] = "resistance"
    kind: Literal["ac_resistance"] = "ac_resistance"
    measured_in: Annotated[StepName, Field(description="An `acir` step.")]


class Spectrum(SourceBase):
    """A parameter of the circuit R0 + (Rct || CPE) + Warburg fitted to an impedance spectrum."""

    dimension: ClassVar[str] = "resistance"
    kind: Literal["spectrum"] = "spectrum"
    eis: Annotated[StepName, Field(description="An `eis` step.")]
    of: Annotated[Literal["r0", "rct", "warburg"], Field(description="Which; Warburg's at 1 rad/s.")]


class FastSoh(SourceBase):
    """State of health of the weakest cell, estimated from one pulse pair and a partial charge (docs/fast-soh.md).

    There is an estimate only inside the envelope that it was fitted in; a cell outside refuses the battery.
    """

    dimension: ClassVar[str] = "fraction"
    kind: Literal["fast_soh"] = "fast_soh"
    pulse: Annotated[StepName, Field(description="The `pulse` step: + then - 1C for 5 s.")]
    charge: Annotated[StepName, Field(description="The step that charged 10 % at 1C.")]
    rest: Annotated[StepName, Field(description="The 10 min rest after it.")]
    rested: Annotated[
        Duration, Field(description="How long the battery is known to have rested before the run began.")
    ] = amount("0 s")
    of: Annotated[
        Literal["estimate", "lower", "upper", "in_envelope"], Field(description="The value, its interval, or 1 or 0.")
    ] = "estimate"


class Degradation(SourceBase):
    """A mode of degradation, as a share of the new battery, from the voltage curve of a slow charge or discharge."""

    dimension: ClassVar[str] = "fraction"
    kind: Literal["degradation"] = "degradation"
    during: Annotated[StepName, Field(description="A step at C/10 or slower.")]
    mode: Annotated[Literal["lli", "lam_pe", "lam_ne"], Field(description="Lithium, or either electrode's material.")]


class IcaPeak(SourceBase):
    """Voltage per cell of the highest peak of dQ/dV, for C/2 and slower."""

    dimension: ClassVar[str] = "voltage"
    kind: Literal["ica_peak"] = "ica_peak"
    during: Annotated[StepName, Field(description="A slow charge or discharge.")]


class Metal(SourceBase):
    """Mass of a metal in the battery, kg, from its rated energy and chemistry."""

    dimension: ClassVar[str] = "number"
    kind: Literal["metal"] = "metal"
    element: Annotated[Literal["Li", "Ni", "Co", "Mn", "Cu", "graphite"], Field(description="Which.")]


class TemperatureMax(SourceBase):
    """Highest temperature of the whole run, or of a step."""

    dimension: ClassVar[str] = "temperature"
    kind: Literal["temperature_max"] = "temperature_max"
    during: Annotated[StepName | None, Field(description="The run when not given.")] = None


class AtEnd(SourceBase):
    """A signal at the end of the newest run of a step."""

    kind: Literal["at_end"] = "at_end"
    signal: Annotated[Identifier, Field(description="A signal of the conditions.")]
    step: Annotated[StepName, Field(description="Any step.")]


class FormulaOf(SourceBase):
    """An expression over variables, constants and other measurements."""

    kind: Literal["formula"] = "formula"
    value: Annotated[Formula, Field(description="What is worked out.")]


Source = Annotated[
    Capacity | CapacityFade | StateOfHealth | CapacityAtC3 | ConvergedCapacity | Energy | CertifiedEnergy | Efficiency
    | Resistance | ResistanceIncrease | CellResistanceRatio | PowerCapability | CellSpread | WeakestCell
    | CellLag | SelfDischarge | Slippage | InsulationPerVolt | TwoVoltmeters | AcResistance | Spectrum | FastSoh
    | Degradation | IcaPeak | Metal | TemperatureMax | AtEnd | FormulaOf,
    Field(discriminator="kind"),
]  # fmt: skip
STEP_KEYS = (
    "after", "until", "test", "charge", "discharge", "pulse", "rest", "first", "second", "during", "measured_in", "eis",
    "step",
)  # fmt: skip

# dimension -> (unit shown to people and sent to the MES, factor from the inner unit)
SHOWN: dict[str, tuple[str, float]] = {
    "voltage": ("V", 1.0),
    "current": ("A", 1.0),
    "power": ("kW", 1e-3),
    "charge": ("Ah", 1.0),
    "energy": ("kWh", 1e-3),
    "resistance": ("mohm", 1e3),
    "insulation": ("ohm/V", 1.0),
    "temperature": ("degC", 1.0),
    "temperature_difference": ("K", 1.0),
    "time": ("s", 1.0),
    "fraction": ("%", 100.0),
    "number": ("1", 1.0),
    "cell_multiple": ("V/cell", 1.0),
    "voltage_rate": ("mV/min", 60e3),
    "current_rate": ("A/s", 1.0),
    "temperature_rate": ("K/min", 60.0),
    "frequency": ("Hz", 1.0),
}
# kinds that are shown in another unit than their dimension's
_OWN_UNIT: dict[str, tuple[str, float]] = {"cell_spread": ("mV", 1e3), "metal": ("kg", 1.0)}


class Measurement(Strict):
    """A named result: where it comes from and, when it is judged, its limits."""

    name: Annotated[MeasurementName, Field(description="The passport's name where it has one.")]
    title: Annotated[Text, Field(description="For people.")]
    source: Annotated[Source, Field(alias="from", description="Where it comes from.")]
    limits: Annotated[Limits | None, Field(description="Judged when given.")] = None
    optional: Annotated[
        bool, Field(description="Whether it is left out where it was not measured; else that is inconclusive.")
    ] = False
    unit: Annotated[
        str | None, Field(description="Unit of a formula or a signal, when it is not its dimension's usual one.")
    ] = None

    @model_validator(mode="before")
    @classmethod
    def is_mapping(cls, data: Any) -> Any:
        if not isinstance(data, dict | Measurement):
            raise FaultError("a measurement is a mapping", "측정 항목은 매핑이어야 합니다", "E-RECIPE")
        return data

    def dimension(self, names: dict[str, str]) -> str:
        """Of its value; names are the dimensions of what a formula may use. Raises FaultError."""
        match self.source:
            case FormulaOf():
                return self.source.value.dimension(names)
            case AtEnd():
                return names.get(self.source.signal, "number")
            case ConvergedCapacity(of="rounds"):
                return "number"
            case FastSoh(of="in_envelope"):
                return "number"
            case source:
                return source.dimension


def shown(kind: str, dimension: str) -> tuple[str, float]:
    """Unit shown for a measurement of this kind and dimension, and the factor from the inner unit to it."""
    return _OWN_UNIT.get(kind) or SHOWN[dimension]
