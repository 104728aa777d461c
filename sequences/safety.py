"""The safety block of a recipe: what must never be passed while it runs. Judged outside the steps' reach."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, create_model

from sequences.condition import Strict
from sequences.quantity import (
    CurrentMagnitude,
    Duration,
    Fraction,
    Insulation,
    Temperature,
    TemperatureRate,
    Voltage,
    VoltagePerCell,
    amount,
)

_NONE = amount("0 s")
_WARN = Field(description="From here on people are warned.")
_TRIP = Field(description="Here the run ends and everything goes off.")
Delay = Annotated[Duration, Field(description="How long a level must be passed before it counts.")]


class VoltageBound(Strict):
    """Warn and trip level, V, and how long a level must be passed before it counts, s."""

    warn: Annotated[Voltage, _WARN]
    trip: Annotated[Voltage, _TRIP]
    delay: Delay


class PackVoltageBound(Strict):
    """Voltage of the whole battery, written per series cell so that it fits packs and modules alike."""

    warn: Annotated[VoltagePerCell, _WARN]
    trip: Annotated[VoltagePerCell, _TRIP]
    delay: Delay


class CurrentBound(Strict):
    """Magnitude of the current in one direction."""

    warn: Annotated[CurrentMagnitude, _WARN]
    trip: Annotated[CurrentMagnitude, _TRIP]
    delay: Delay


class TemperatureBound(Strict):
    """Of the hottest or the coldest sensor on the battery."""

    warn: Annotated[Temperature, _WARN]
    trip: Annotated[Temperature, _TRIP]
    delay: Delay


class TemperatureRateBound(Strict):
    """Of the hottest sensor, over a minute."""

    warn: Annotated[TemperatureRate, _WARN]
    trip: Annotated[TemperatureRate, _TRIP]
    delay: Delay


class InsulationBound(Strict):
    """In ohm per volt of the battery's nominal voltage."""

    warn: Annotated[Insulation, _WARN]
    trip: Annotated[Insulation, _TRIP]
    delay: Delay


class ThroughputBound(Strict):
    """Charge moved in both directions together, as a fraction of the rated capacity."""

    warn: Annotated[Fraction, _WARN]
    trip: Annotated[Fraction, _TRIP]
    delay: Delay = _NONE


class TimeBound(Strict):
    """Time of the whole run."""

    warn: Annotated[Duration, _WARN]
    trip: Annotated[Duration, _TRIP]
    delay: Delay = _NONE


class Safety(Strict):
    """Mandatory in every recipe: what must never be passed while it runs."""

    cell_voltage_max: Annotated[VoltageBound, Field(description="Highest cell voltage.")]
    cell_voltage_min: Annotated[VoltageBound, Field(description="Lowest cell voltage.")]
    cell_spread: Annotated[VoltageBound, Field(description="Highest minus lowest cell voltage.")]
    voltage_max: Annotated[PackVoltageBound, Field(description="Voltage of the whole battery, per series cell.")]
    voltage_min: Annotated[PackVoltageBound, Field(description="Voltage of the whole battery, per series cell.")]
    charge_current: Annotated[CurrentBound, Field(description="Current into the battery.")]
    discharge_current: Annotated[CurrentBound, Field(description="Current out of the battery.")]
    temperature_max: Annotated[TemperatureBound, Field(description="Hottest sensor on the battery.")]
    temperature_min: Annotated[TemperatureBound, Field(description="Coldest sensor on the battery.")]
    temperature_rise: Annotated[TemperatureRateBound, Field(description="dT/dt of the hottest sensor.")]
    insulation: Annotated[InsulationBound, Field(description="Insulation that the BMS reports.")]
    total_throughput: Annotated[ThroughputBound, Field(description="Charge moved, both directions together.")]
    total_time: Annotated[TimeBound, Field(description="Time of the run, holds included.")]

    def narrowed(self, narrowing: Narrowing | None) -> Safety:
        """This block with a step's own bounds in place of the recipe's."""
        if narrowing is None:
            return self
        own = {name: bound for name in type(self).model_fields if (bound := getattr(narrowing, name)) is not None}
        return self.model_copy(update=own)


class _Narrowing(Strict):
    """Bounds of one step, in place of the recipe's where they are tighter; a wider one is refused."""


_optional: dict[str, Any] = {
    name: (Annotated[info.annotation | None, Field(description=info.description)], None)  # type: ignore[operator]
    for name, info in Safety.model_fields.items()
}
# the same bounds as Safety's, each of them optional: declared once
Narrowing = create_model("Narrowing", __base__=_Narrowing, __doc__=_Narrowing.__doc__, **_optional)
Safety.model_rebuild()

# bounds whose trip lies above the warn level; for the others it lies below
RISING = frozenset(
    {
        "cell_voltage_max",
        "cell_spread",
        "voltage_max",
        "charge_current",
        "discharge_current",
        "temperature_max",
        "temperature_rise",
        "total_throughput",
        "total_time",
    }
)
