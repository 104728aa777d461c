"""What is simulated when there is no hardware: the battery at each station, its surroundings and its faults."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WeakCell(Strict):
    """One cell that lost more lithium than its neighbours; index from 0."""

    index: Annotated[int, Field(ge=0, description="Which cell, from 0.")]
    extra_lli: Annotated[float, Field(ge=0, le=0.5, description="Share of the lithium that it lost besides.")]


class Imbalance(Strict):
    """One cell whose state of charge differs from its neighbours'; index from 0, difference as a fraction."""

    index: Annotated[int, Field(ge=0, description="Which cell, from 0.")]
    soc_offset: Annotated[
        float, Field(ge=-0.5, le=0.5, description="How far its state of charge is off, as a fraction.")
    ]


class HighJoint(Strict):
    """A busbar with too much resistance beside a cell; the BMS's tap of that cell reads its voltage drop too."""

    index: Annotated[int, Field(ge=0, description="Which cell, from 0.")]
    extra_ohm: Annotated[float, Field(gt=0, le=0.1, description="Resistance besides that of a good joint, ohm.")]


class SoftShort(Strict):
    """A cell that discharges itself through a resistance inside; index from 0."""

    index: Annotated[int, Field(ge=0, description="Which cell, from 0.")]
    ohm: Annotated[float, Field(ge=1, description="Resistance of the short, ohm.")]


class SimulatedBattery(Strict):
    """A used battery drawn from the line's seed, with its defects. Fractions are 0..1."""

    model: Annotated[str, Field(description="Its battery model.")]
    code: Annotated[str, Field(description="The code on its label.")]
    soc: Annotated[float, Field(ge=0.02, le=0.98, description="State of charge at the start.")] = 0.35
    soh_mean: Annotated[float, Field(ge=0.4, le=1.0, description="Mean state of health of its cells.")] = 0.85
    soh_sd: Annotated[float, Field(ge=0, le=0.1, description="Spread (standard deviation) of that.")] = 0.015
    resistance_factor_mean: Annotated[
        float, Field(ge=0.8, le=5, description="Mean resistance of its cells over a new one's.")
    ] = 1.3
    resistance_factor_cv: Annotated[float, Field(ge=0, le=0.5, description="Spread of that, relative.")] = 0.07
    soc_offset_sd: Annotated[float, Field(ge=0, le=0.1, description="Spread of the cells' state of charge.")] = 0.005
    self_discharge: Annotated[
        float, Field(ge=0, le=0.5, description="Share of the rated capacity that every cell loses in a month.")
    ] = 0.02
    hysteresis_v: Annotated[
        Annotated[float, Field(ge=0, le=0.05)] | None,
        Field(description="Hysteresis of a rest voltage at most, V; the chemistry's own when not given."),
    ] = None
    weak_cell: Annotated[WeakCell | None, Field(description="One cell that lost more than the others.")] = None
    imbalance: Annotated[list[Imbalance], Field(description="Cells whose state of charge is off.")] = []
    high_joint: Annotated[HighJoint | None, Field(description="A bad busbar.")] = None
    soft_short: Annotated[SoftShort | None, Field(description="A cell that discharges itself.")] = None
    broken_thermistor: Annotated[
        Annotated[int, Field(ge=0)] | None, Field(description="The BMS's temperature sensor that is broken, from 0.")
    ] = None
    contact_resistance_ohm: Annotated[
        Annotated[float, Field(ge=0)] | None,
        Field(description="Of all joints together, ohm; 42 uohm a cell when not given."),
    ] = None
    insulation_positive_kohm: Annotated[
        float,
        Field(
            gt=0, description="From the positive pole to the chassis; the battery's value is both poles' in parallel."
        ),
    ] = 4800.0
    insulation_negative_kohm: Annotated[float, Field(gt=0, description="From the negative pole to the chassis.")] = (
        4800.0
    )
    y_capacitance_uf: Annotated[
        float, Field(ge=0, description="From each pole to the chassis: an insulation tester has to charge it first.")
    ] = 0.2
    label_readable: Annotated[bool, Field(description="Whether a code reader can read the label.")] = True
    bms_code: Annotated[
        str | None,
        Field(
            description="The code that the BMS tells when it is not the battery's own; empty for a BMS that knows none."
        ),
    ] = None
    bms_capacity_factor: Annotated[
        float,
        Field(
            gt=0,
            le=2,
            description="What the BMS believes of the capacity, over the truth.",
        ),
    ] = 1.03
    bms_soc_offset: Annotated[
        float, Field(ge=-0.5, le=0.5, description="What the BMS adds to the true state of charge, at the start.")
    ] = 0.0


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

    instrument: Annotated[str, Field(description="Which instrument, by its role.")]
    kind: Annotated[FaultKind, Field(description="What it does.")]
    at_s: Annotated[float, Field(ge=0, description="When it begins, s of line time after the start.")] = 0.0
    duration_s: Annotated[
        Annotated[float, Field(gt=0)] | None, Field(description="How long it lasts, s; for good when not given.")
    ] = None


class SimulatedStation(Strict):
    """What is behind the instruments of one station."""

    battery: Annotated[SimulatedBattery, Field(description="The battery on it.")]
    ambient_degc: Annotated[float, Field(description="Air around it, degC.")] = 25.0
    faults: Annotated[list[Fault], Field(description="What goes wrong.")] = []


class SimulationConfig(Strict):
    """The simulated side of a line; the instruments and their addresses are the line's own."""

    seed: Annotated[int, Field(description="Draws the batteries; the same seed, the same line.")] = 1
    stations: Annotated[dict[str, SimulatedStation], Field(description="By the stations' names.")]
