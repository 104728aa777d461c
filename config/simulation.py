"""What is simulated when there is no hardware: the battery at each station, its surroundings and its faults."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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
    """A used battery as it is described, its cells drawn from the line's seed; or the next one of a population, where
    `drawn` is given. Fractions are 0..1."""

    model: Annotated[str, Field(description="Its battery model.")]
    drawn: Annotated[
        Annotated[int, Field(ge=0)] | None,
        Field(
            description="Seed of a population of 200 used batteries, some with a defect: it is the next one of them, "
            "but for the keys that are given besides. After the last comes the first again."
        ),
    ] = None
    code: Annotated[
        str,
        Field(description="The code on its label; needed unless it is drawn and has one.", validate_default=True),
    ] = ""
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
    open_tap: Annotated[
        Annotated[int, Field(ge=0)] | None,
        Field(
            description="The cell, from 0, behind which the BMS's sense lead is open: it reads nothing, the next both."
        ),
    ] = None
    swapped_taps: Annotated[
        Annotated[int, Field(ge=0)] | None,
        Field(description="The cell, from 0, whose sense lead is exchanged with the next cell's."),
    ] = None
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

    @field_validator("code")
    @classmethod
    def some_code(cls, code: str, others: ValidationInfo) -> str:
        if not code and others.data.get("drawn", 0) is None:
            raise ValueError("must be given, unless `drawn` is")
        return code


# of the wire, of what an instrument measures, of the instrument itself; docs/simulators.md tells what each of them is
FaultKind = Literal[
    "silent",
    "lost",
    "late",
    "delay",
    "slow",
    "duplicate",
    "truncated",
    "garbage",
    "drop",
    "refuse",
    "moved",
    "wrong_unit",
    "crc",
    "busy",
    "stuck",
    "drift",
    "sign_flip",
    "polarity_reversed",
    "open_lead",
    "range_clip",
    "overrange",
    "nan",
    "wrong_identity",
    "reboot",
    "watchdog_trip",
    "error_overflow",
    "output_refuses_off",
    "contactor_welded",
    "estop",
    "door",
    "breakdown",
    "alarm",
    "protected",
    "hand_trigger",
    "word_order",
    "fahrenheit",
]

FaultEvent = Literal[
    "query",
    "output_on",
    "output_off",
    "charge",
    "discharge",
    "contactor_closed",
    "contactor_open",
]

Seconds = Annotated[float, Field(ge=0)]


class Fault(Strict):
    """One misbehaviour of one simulated instrument, from a moment of line time on or from an event on."""

    instrument: Annotated[str, Field(description="Which instrument, by its role.")]
    kind: Annotated[FaultKind, Field(description="What it does.")]
    at_s: Annotated[Seconds, Field(description="When it begins, s of line time after the start, or after `on`.")] = 0.0
    on: Annotated[
        FaultEvent | None,
        Field(description="What it waits for: a `query` to this instrument, or something that happens at the station."),
    ] = None
    nth: Annotated[int, Field(ge=1, description="At which time that this happens, from 1.")] = 1
    duration_s: Annotated[
        Annotated[float, Field(gt=0)] | None,
        Field(description="How long it lasts, s; for good when not given, but a reboot takes 10 s."),
    ] = None
    value: Annotated[
        float | None,
        Field(description="How much, for kinds that have a size; see docs/simulators.md."),
    ] = None


class DrawnFaults(Strict):
    """Faults drawn from the line's seed: each instrument has its own, one after the other."""

    mean_interval_s: Annotated[float, Field(gt=0, description="From the end of one to the next, s of line time, mean.")]
    mean_duration_s: Annotated[float, Field(gt=0, description="How long one lasts, s of line time, mean.")] = 10.0
    kinds: Annotated[
        list[FaultKind], Field(description="Which, of those that an instrument can have; all of them when empty.")
    ] = []
    instruments: Annotated[list[str], Field(description="Which instruments, by role; all when empty.")] = []


class SimulatedStation(Strict):
    """What is behind the instruments of one station."""

    battery: Annotated[SimulatedBattery, Field(description="The battery on it.")]
    ambient_degc: Annotated[float, Field(description="Air around it, degC.")] = 25.0
    faults: Annotated[list[Fault], Field(description="What goes wrong.")] = []
    drawn_faults: Annotated[DrawnFaults | None, Field(description="What goes wrong by chance.")] = None


class SimulationConfig(Strict):
    """The simulated side of a line; the instruments and their addresses are the line's own."""

    seed: Annotated[int, Field(description="Draws the batteries; the same seed, the same line.")] = 1
    stations: Annotated[dict[str, SimulatedStation], Field(description="By the stations' names.")]
