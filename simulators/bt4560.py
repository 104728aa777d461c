"""Hioki BT4560: impedance over frequency of the cells between its probes, one frequency at a time.

Source: communication manual BT4560A987 and public programs that run such meters, as collected in the project's
instrument notes. A measurement takes a number of waves of its frequency after one of the DC voltage; *TRG and :INITiate
return at once, the end shows as bit 0 of :ESR0?, and :FETCh? answers `R,X,V` in ohm and V, X below 0 when capacitive.

The meter of the catalogue has ranges of 3, 10 and 100 mohm and stands 5 V; the one that one of these programs runs was
made to order, with 30 mohm, 300 mohm and 3 ohm, and stands what its owner says.

Choices where the sources are silent:
- a range ends at 1.2 times its name; what is beyond reads 1E+9, everything does above the voltage the meter stands;
- waves up to 66 Hz 1/2/8 (FAST/MED/SLOW), to 250 Hz 2/8/32, above 8/32/128; voltage 0.1/0.4/1.0 s; times the average;
- a frequency is rounded to two digits, from 100 Hz to tens; a setting ends the measurement it is written into without
  a result; *TRG during a measurement, or where nothing waits for it, is an execution error;
- with the immediate trigger a continuous measurement is up to date whenever it is fetched;
- a reading carries noise of about 1e-5 of its range; :READ?, :ADJust? and the comparator are not simulated.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from simulators.faults import Faults, Texts
from simulators.hioki import (
    LIFTED,
    METER_FAULTS,
    CommandError,
    ExecutionError,
    HiokiInterface,
    action,
    number,
    one_of,
    query,
)
from simulators.scpi import Handler
from simulators.world import World

CATALOGUE_RANGES = (3e-3, 10e-3, 100e-3)
ORDERED_RANGES = (30e-3, 300e-3, 3.0)
CATALOGUE_VOLTAGE = 5.0
FREQUENCIES = (0.1, 1050.0)
OVERRANGE, FAULT = 1e9, 1e10
# of a range's name: where it ends, and how much a reading scatters
OVER, NOISE = 1.2, 0.7e-5

RATES = ("FAST", "MEDium", "SLOW")
# up to a frequency in Hz: waves of a measurement at each rate
WAVES = ((66.0, (1, 2, 8)), (250.0, (2, 8, 32)), (math.inf, (8, 32, 128)))
VOLTAGE_S = (0.1, 0.4, 1.0)
FUNCTIONS = ("RV", "ZV", "R", "Z", "V")
MODELS = ("BT4560", "BT4560-50")


@dataclass(frozen=True)
class Meter:
    """What was ordered: ranges in ohm, and the voltage in V that the terminals stand."""

    ranges: tuple[float, ...] = CATALOGUE_RANGES
    max_voltage: float = CATALOGUE_VOLTAGE


class Bt4560:
    """The meter on cells `first`..`last` of the battery, from 0."""

    def __init__(
        self, world: World, cells: tuple[int, int], seed: int, meter: Meter, ended: Callable[[], None]
    ) -> None:
        """`ended` is called when a measurement has come to its end."""
        self.world = world
        self.cells = cells
        self.meter = meter
        self.faults: Faults = frozenset()
        self._ended = ended
        self._random = np.random.default_rng(seed)
        self.reset()

    def reset(self) -> None:
        self.function = "RV"
        self.range = self.meter.ranges[-1]
        self.autorange = False
        self.rate, self.voltage_rate = 0, 0
        self.average = 1
        self.trigger = "IMMEDIATE"
        self.continuous = True
        self.frequency = 1000.0
        # kept and answered; it changes nothing that is simulated
        self.valid = 1
        self.armed = False
        self._end: float | None = None
        self._show(None, FAULT, FAULT)

    @property
    def seconds(self) -> float:
        """Length of one measurement."""
        waves = next(counts for top, counts in WAVES if self.frequency <= top)[self.rate]
        return self.average * (VOLTAGE_S[self.voltage_rate] + waves / self.frequency)

    def set_frequency(self, hertz: float) -> None:
        """Raises ExecutionError for one out of range."""
        if not FREQUENCIES[0] <= hertz <= FREQUENCIES[1]:
            raise ExecutionError
        self.frequency = float(f"{hertz:.2g}") if hertz < 100 else 10.0 * round(hertz / 10)

    def set_range(self, ohm: float) -> None:
        """The most sensitive range for a value. Raises ExecutionError when there is none."""
        fitting = [r for r in self.meter.ranges if 0 <= ohm <= r * (1 + 1e-9)]
        if not fitting:
            raise ExecutionError
        self.range, self.autorange = fitting[0], False

    # --- measuring ---------------------------------------------------------------------------------------------

    def initiate(self) -> None:
        """Begin to measure, or to wait for the trigger. Raises ExecutionError while continuous."""
        if self.continuous or self._end is not None:
            raise ExecutionError
        if self.trigger == "EXTERNAL":
            self.armed = True
        else:
            self._begin()

    def external_trigger(self) -> None:
        """Raises ExecutionError when nothing waits for it."""
        if self.trigger != "EXTERNAL" or self._end is not None or not (self.continuous or self.armed):
            raise ExecutionError
        self._begin()

    def _begin(self) -> None:
        self.armed = False
        self._end = self.world.now() + self.seconds

    def abort(self) -> None:
        self._end, self.armed = None, False

    def deadline(self) -> float:
        return math.inf if self._end is None else self._end

    def elapse(self) -> None:
        if self._end is not None and self.world.now() >= self._end:
            self._end = None
            self._measure()
            self._ended()

    def fetch(self) -> tuple[float, ...]:
        """The newest values of the function: R X V, Z theta V or parts of them, in ohm, degrees and V."""
        if self.continuous and self.trigger == "IMMEDIATE":
            self._measure()
            self._ended()
        return self._values[self.function]

    def _measure(self) -> None:
        if not self.faults.isdisjoint(LIFTED) or not self.world.plugged:
            self._show(None, FAULT, FAULT)
            return
        voltage = self.world.voltage_between(*self.cells)
        true = self.world.impedance(*self.cells, self.frequency)
        if self.autorange:
            fitting = (r for r in self.meter.ranges if abs(true) <= OVER * r)
            self.range = next(fitting, self.meter.ranges[-1])
        if abs(voltage) > self.meter.max_voltage:
            self._show(None, OVERRANGE, OVERRANGE)
        elif abs(true) > OVER * self.range:
            self._show(None, OVERRANGE, voltage)
        else:
            self._show(true + complex(*self._random.normal(0.0, NOISE * self.range, 2)), 0.0, voltage)

    def _show(self, impedance: complex | None, instead: float, voltage: float) -> None:
        """Keep the values of every function; `instead` of an impedance that could not be measured."""
        cartesian = polar = (instead, instead)
        if impedance is not None:
            cartesian = (impedance.real, impedance.imag)
            polar = (abs(impedance), math.degrees(cmath.phase(impedance)))
        self._values = {
            "RV": (*cartesian, voltage),
            "ZV": (*polar, voltage),
            "R": cartesian,
            "Z": polar,
            "V": (voltage,),
        }


class Bt4560Instrument(HiokiInterface[Bt4560]):
    """The meter with its text interface."""

    FAULTS: ClassVar[Texts] = METER_FAULTS

    def __init__(
        self, world: World, cells: tuple[int, int], seed: int, meter: Meter | None = None, model: str = MODELS[0]
    ) -> None:
        self._model = model
        super().__init__(Bt4560(world, cells, seed, meter or Meter(), self.measured))

    def deadline(self) -> float:
        return self.device.deadline()

    def elapse(self) -> None:
        self.device.elapse()

    def commands(self) -> dict[str, Handler]:
        device = self.device
        return {
            "*TRG": action(device.external_trigger),
            ":INITiate[:IMMediate]": action(device.initiate),
            ":FETCh?": query(lambda: ",".join(map(_shown, device.fetch()))),
            ":SAMPle:RATE": self._set_rate,
            **self.setting(":FREQuency", lambda: _shown(device.frequency), lambda a: device.set_frequency(number(a))),
            **self.setting(":RANGe", lambda: _shown(device.range), lambda a: device.set_range(number(a))),
            **self.setting(":CALCulate:AVERage", lambda: str(device.average), self._whole("average", 1, 256)),
            **self.setting(":MEASure:VALid", lambda: str(device.valid), self._whole("valid", 1, 255)),
            **self.words(":FUNCtion", "function", *FUNCTIONS),
            **self.words(":TRIGger:SOURce", "trigger", "IMMediate", "EXTernal"),
            **self.on_off(":INITiate:CONTinuous", device, "continuous"),
            **self.on_off(":AUTorange", device, "autorange"),
        }

    def identity(self) -> str:
        """The serial number field says nothing."""
        return f"HIOKI,{'BT3554' if 'wrong_identity' in self.faults else self._model},0,V1.00"

    def reset(self) -> None:
        self.device.reset()

    def setting_written(self) -> None:
        self.device.abort()

    def _set_rate(self, argument: str) -> None:
        """`Z,MED` or `V,FAST`."""
        of, _, rate = argument.upper().partition(",")
        chosen = [word.upper() for word in RATES].index(one_of(rate.strip(), *RATES))
        match of.strip():
            case "Z":
                attribute = "rate"
            case "V":
                attribute = "voltage_rate"
            case _:
                raise CommandError
        self.setting_written()
        setattr(self.device, attribute, chosen)

    def _whole(self, attribute: str, low: int, high: int) -> Callable[[str], None]:
        def change(argument: str) -> None:
            value = number(argument)
            if not low <= value <= high:
                raise ExecutionError
            setattr(self.device, attribute, round(value))

        return change


def _shown(value: float) -> str:
    """`+1.06571E-03`."""
    return f"{value:+.5E}"
