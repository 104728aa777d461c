"""What is simulated when there is no hardware: the battery at each station, its surroundings and its faults."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WeakCell(Strict):
    """One cell that lost more lithium than its neighbours; index from 0."""

    index: Annotated[int, Field(ge=0)]
    extra_lli: Annotated[float, Field(ge=0, le=0.5)]


class Imbalance(Strict):
    """One cell whose state of charge differs from its neighbours'; index from 0, difference as a fraction."""

    index: Annotated[int, Field(ge=0)]
    soc_offset: Annotated[float, Field(ge=-0.5, le=0.5)]


class HighJoint(Strict):
    """A busbar with too much resistance beside a cell; the BMS's tap of that cell reads its voltage drop too."""

    index: Annotated[int, Field(ge=0)]
    extra_ohm: Annotated[float, Field(gt=0, le=0.1)]


class SoftShort(Strict):
    """A cell that discharges itself through a resistance inside; index from 0."""

    index: Annotated[int, Field(ge=0)]
    ohm: Annotated[float, Field(ge=1)]


class SimulatedBattery(Strict):
    """A used battery drawn from the line's seed, with its defects. Fractions are 0..1."""

    model: str
    code: str
    soc: Annotated[float, Field(ge=0.02, le=0.98)] = 0.35
    soh_mean: Annotated[float, Field(ge=0.4, le=1.0)] = 0.85
    soh_sd: Annotated[float, Field(ge=0, le=0.1)] = 0.015
    resistance_factor_mean: Annotated[float, Field(ge=0.8, le=5)] = 1.3
    resistance_factor_cv: Annotated[float, Field(ge=0, le=0.5)] = 0.07
    soc_offset_sd: Annotated[float, Field(ge=0, le=0.1)] = 0.005
    # of the rated capacity a month, by every cell
    self_discharge: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    # most that the history of the current adds to or takes from a cell's rest voltage; None: the chemistry's own
    hysteresis_v: Annotated[float, Field(ge=0, le=0.05)] | None = None
    weak_cell: WeakCell | None = None
    imbalance: list[Imbalance] = []
    high_joint: HighJoint | None = None
    soft_short: SoftShort | None = None
    # the BMS's temperature sensor that is broken, index from 0
    broken_thermistor: Annotated[int, Field(ge=0)] | None = None
    # of all joints together; None: 42 uohm a cell, 4 mohm for 96 of them
    contact_resistance_ohm: Annotated[float, Field(ge=0)] | None = None
    # from each pole to the chassis; the value of the whole battery is the two in parallel
    insulation_positive_kohm: Annotated[float, Field(gt=0)] = 4800.0
    insulation_negative_kohm: Annotated[float, Field(gt=0)] = 4800.0
    # from each pole to the chassis: an insulation tester has to charge it first
    y_capacitance_uf: Annotated[float, Field(ge=0)] = 0.2
    label_readable: bool = True
    # the code the BMS tells, when that is not the battery's own; empty for a BMS that knows none
    bms_code: str | None = None
    # what the BMS believes, as a factor on the true capacity: a used battery's BMS is never quite right
    bms_capacity_factor: Annotated[float, Field(gt=0, le=2)] = 1.03
    # what it adds to the true state of charge, at the start
    bms_soc_offset: Annotated[float, Field(ge=-0.5, le=0.5)] = 0.0


FaultKind = Literal[
    "silent",
    "garbage",
    "wrong_identity",
    "refuse",
    "drop",
    "nan",
    "output_refuses_off",
    "estop",
    "door",
    "late",
    "breakdown",
    "alarm",
    "protected",
    "hand_trigger",
    "word_order",
    "fahrenheit",
]


class Fault(Strict):
    """One misbehaviour of one simulated instrument from a moment on, in seconds of line time after the start."""

    instrument: str
    kind: FaultKind
    at_s: Annotated[float, Field(ge=0)] = 0.0
    duration_s: Annotated[float, Field(gt=0)] | None = None


class SimulatedStation(Strict):
    battery: SimulatedBattery
    ambient_degc: float = 25.0
    faults: list[Fault] = []


class SimulationConfig(Strict):
    """The simulated side of a line; the instruments and their addresses are the line's own."""

    seed: int = 1
    stations: dict[str, SimulatedStation]
