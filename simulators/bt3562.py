"""Hioki BT3562 and BT3562A: AC resistance and open-circuit voltage of the cells between their probes.

Source: instruction manual BT3562A981 (remote control chapter), as collected in the project's instrument notes.

Ranges end at 3100/3000 of their name for resistance and at 6 V and 60 V for voltage, where the overflow value begins;
the BT3562A has a range of 100 V besides.
Choices where the notes are silent: automatic range at power-on; a reading carries noise of about one least digit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from simulators.faults import Faults, Texts
from simulators.hioki import LIFTED, METER_FAULTS, ExecutionError, HiokiInterface, action, number, query
from simulators.scpi import Handler
from simulators.world import World


@dataclass(frozen=True)
class Range:
    """A display range: `full_scale` in ohm or volt; mantissa of 7 characters with `decimals`, and its exponent."""

    full_scale: float
    decimals: int
    exponent: int

    @property
    def digit(self) -> float:
        """The least digit, in ohm or volt."""
        return float(10.0 ** (self.exponent - self.decimals))

    def shown(self, value: float) -> str:
        """`  1.2345E-3`: a space or a minus, then the mantissa with spaces for leading zeros."""
        if abs(value) > self.full_scale:
            return f"{'-' if value < 0 else ' '}{self._power_of_ten(9)}"
        digits = round(value / self.digit)
        mantissa = f"{abs(digits) / 10**self.decimals:7.{self.decimals}f}"
        return f"{'-' if digits < 0 else ' '}{mantissa}E{self.exponent:+d}"

    def fault(self) -> str:
        """1E+10, what an open probe reads."""
        return f"+{self._power_of_ten(10)}"

    def _power_of_ten(self, power: int) -> str:
        whole = 5 - self.decimals  # zeros before the point, so that the mantissa keeps its 7 characters
        return f"{10.0**whole:.{self.decimals}f}E+{power - whole}"

    def name(self) -> str:
        """The range's own value, as a range query answers it."""
        top = {3.1: 3, 31.0: 30, 310.0: 300}.get(round(self.full_scale / 10.0**self.exponent, 6), self.full_scale)
        return f"{top:.{self.decimals}f}E{self.exponent:+d}"


RESISTANCE_RANGES = (
    Range(3.1e-3, 4, -3),
    Range(31e-3, 3, -3),
    Range(310e-3, 2, -3),
    Range(3.1, 4, 0),
    Range(31.0, 3, 0),
    Range(310.0, 2, 0),
    Range(3100.0, 4, 3),
)
VOLTAGE_RANGES = (Range(6.0, 5, 0), Range(60.0, 4, 0))
MODELS = {"BT3562": VOLTAGE_RANGES, "BT3562A": (*VOLTAGE_RANGES, Range(100.0, 3, 0))}


class Bt3562:
    """The meter on cells `first`..`last` of the battery (from 0), or with open probes."""

    def __init__(self, world: World, cells: tuple[int, int] | None, seed: int, model: str = "BT3562") -> None:
        self.world = world
        self.model = model
        self.voltage_ranges = MODELS[model]
        self.cells = cells
        self.faults: Faults = frozenset()
        self._random = np.random.default_rng(seed)
        self.reset()

    def reset(self) -> None:
        self.function = "RV"
        self.resistance_range = RESISTANCE_RANGES[0]
        self.voltage_range = self.voltage_ranges[0]
        self.autorange = True
        self.rate = "SLOW"
        self.trigger = "IMMEDIATE"
        self.continuous = True
        # kept and answered; they change nothing that is simulated
        self.averaging = False
        self.keys_locked = False
        self.line_frequency = "60"
        self.error_output = "ASYNCHRONOUS"
        self.last: str | None = None

    def measure(self) -> str:
        """`<R>,<V>` or the one of them that the function asks for."""
        parts = []
        if self.function in ("RV", "RESISTANCE"):
            self.resistance_range, text = self._reading(
                self.world.ac_resistance, RESISTANCE_RANGES, self.resistance_range
            )
            parts.append(text)
        if self.function in ("RV", "VOLTAGE"):
            self.voltage_range, text = self._reading(
                self.world.voltage_between, self.voltage_ranges, self.voltage_range
            )
            parts.append(text)
        self.last = ",".join(parts)
        return self.last

    def _reading(
        self, quantity: Callable[[int, int], float], ranges: tuple[Range, ...], chosen: Range
    ) -> tuple[Range, str]:
        if self.cells is None or not self.faults.isdisjoint(LIFTED) or not self.world.plugged:
            return chosen, chosen.fault()
        true = quantity(*self.cells)
        if self.autorange:
            chosen = _fitting(ranges, true) or ranges[-1]
        return chosen, chosen.shown(true + self._random.normal(0.0, 0.7) * chosen.digit)


def _fitting(ranges: tuple[Range, ...], value: float) -> Range | None:
    """The most sensitive range that can show a value."""
    return next((r for r in ranges if abs(value) <= r.full_scale), None)


class Bt3562Instrument(HiokiInterface[Bt3562]):
    """The meter with its text interface."""

    FAULTS: ClassVar[Texts] = METER_FAULTS

    def __init__(self, world: World, cells: tuple[int, int] | None, seed: int, model: str = "BT3562") -> None:
        super().__init__(Bt3562(world, cells, seed, model))

    def commands(self) -> dict[str, Handler]:
        device = self.device
        return {
            "*OPC?": query(lambda: "1"),
            ":READ?": query(self._read),
            ":FETCh?": query(self._fetch),
            ":INITiate[:IMMediate]": action(self._initiate),
            "*TRG": action(self._trigger),
            ":ADJust?": query(lambda: "0"),
            ":SYSTem:CALibration": action(lambda: None),
            ":SYSTem:LOCal": action(lambda: setattr(device, "continuous", True)),
            **self.setting(":RESistance:RANGe", lambda: device.resistance_range.name(), self._set_resistance_range),
            **self.setting(":VOLTage:RANGe", lambda: device.voltage_range.name(), self._set_voltage_range),
            **self.words(":FUNCtion", "function", "RV", "RESistance", "VOLTage"),
            **self.words(":SAMPle:RATE", "rate", "EXFast", "FAST", "MEDium", "SLOW"),
            **self.words(":TRIGger:SOURce", "trigger", "IMMediate", "EXTernal"),
            **self.words(":SYSTem:LFRequency", "line_frequency", "50", "60"),
            **self.words(":SYSTem:ERRor", "error_output", "SYNChronous", "ASYNChronous"),
            **self.on_off(":CALCulate:AVERage:STATe", device, "averaging"),
            **self.on_off(":SYSTem:KLOCk", device, "keys_locked"),
            **self.on_off(":INITiate:CONTinuous", device, "continuous"),
            **self.on_off(":AUTorange", device, "autorange"),
        }

    def identity(self) -> str:
        """The serial number field is always 0."""
        return f"HIOKI,{'BT3554' if 'wrong_identity' in self.faults else self.device.model},0,V1.00"

    def reset(self) -> None:
        self.device.reset()

    def _set_resistance_range(self, argument: str) -> None:
        if argument.startswith("-"):
            raise ExecutionError
        self.device.resistance_range = _range_for(RESISTANCE_RANGES, argument)
        self.device.autorange = False

    def _set_voltage_range(self, argument: str) -> None:
        self.device.voltage_range = _range_for(self.device.voltage_ranges, argument)
        self.device.autorange = False

    def _measure(self) -> str:
        self.measured()
        return self.device.measure()

    def _read(self) -> str:
        """Measure once; an execution error while measuring continuously or waiting for an external trigger."""
        if self.device.continuous or self.device.trigger != "IMMEDIATE":
            raise ExecutionError
        return self._measure()

    def _fetch(self) -> str:
        """The newest reading, whatever triggered it."""
        if self.device.continuous:
            return self._measure()
        if self.device.last is None:
            raise ExecutionError
        return self.device.last

    def _initiate(self) -> None:
        self._read()

    def _trigger(self) -> None:
        """Measure once, where the trigger comes from outside."""
        if self.device.trigger != "EXTERNAL":
            raise ExecutionError
        self._measure()


def _range_for(ranges: tuple[Range, ...], argument: str) -> Range:
    chosen = _fitting(ranges, number(argument))
    if chosen is None:
        raise ExecutionError
    return chosen
