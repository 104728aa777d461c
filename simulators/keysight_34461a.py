"""Keysight 34461A: a 6 1/2 digit multimeter on the battery's terminals, here for DC voltage.

Source: the command lists of QCoDeS' Keysight34461A and PyMeasure's Agilent34410A and the SCPI standard, as collected in
the project's instrument notes; ranges, resolution and the limits of autoranging from the Truevolt data sheet. It is
reached by HiSLIP (`hislip0`) and on TCP 5025. Readings are `+3.85012345E+00`, an overload is 9.9E37 with the sign of
the voltage; a fixed range ends at 120 %, the 1000 V range at 1000 V.

Choices where they are silent: a reading takes no line time and carries noise in proportion to its range; a plug that is
pulled leaves nothing at the terminals; of the functions there is DC voltage only; another trigger than IMMediate waits,
the bus's for *TRG, the external one for ever; READ? with the bus trigger is a deadlock (-214), INITiate while it waits
is ignored (-213), and so is *TRG while it does not (-211); of more than 10000 readings the newest are kept.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from simulators.faults import Faults, Texts, measured
from simulators.scpi import Handler
from simulators.scpi_interface import (
    ERRORS,
    ScpiError,
    ScpiInterface,
    action,
    number_between,
    parameters,
    query,
    whole_between,
)
from simulators.world import World

RANGES = (0.1, 1.0, 10.0, 100.0, 1000.0)
OVER, UNDER = 1.2, 0.1
MOST_V = 1000.0
OVERLOAD = 9.9e37
# integration in power line cycles, and the noise of a reading as a fraction of its range
NOISE = {0.02: 10e-6, 0.2: 1e-6, 1.0: 0.3e-6, 10.0: 0.1e-6, 100.0: 0.03e-6}
MEMORY = 10_000
MAX_COUNT = 1_000_000

NODE = "[SENSe:]VOLTage[:DC]"
FUNCTIONS = ('"VOLT"', '"VOLT:DC"', '"VOLTAGE"', '"VOLTAGE:DC"')
SOURCES = {"IMMEDIATE": "IMM", "EXTERNAL": "EXT", "BUS": "BUS"}


class Multimeter:
    """The meter behind its terminals."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.faults: Faults = frozenset()
        self._random = np.random.default_rng(seed)
        self.reset()

    def reset(self) -> None:
        self.range, self.autorange = 10.0, True
        self.cycles = 10.0
        self.autozero, self.high_impedance = True, False
        self.source = "IMM"
        self.triggers = self.samples = 1
        self.waiting = False
        self.readings: list[float] = []

    def set_range(self, volts: float) -> None:
        """The smallest range for a voltage up to 1000 V, from now on."""
        self.range, self.autorange = next(r for r in RANGES if abs(volts) <= r), False

    def initiate(self) -> None:
        """Measure, or wait for the trigger."""
        if self.waiting:
            raise ScpiError(-213)
        self.readings = []
        self.waiting = self.source != "IMM"
        if not self.waiting:
            self._measure(self.triggers * self.samples)

    def trigger(self) -> None:
        """One trigger of the bus; those that TRIGger:COUNt asks for besides are not waited for."""
        if not self.waiting or self.source != "BUS":
            raise ScpiError(-211)
        self.waiting = False
        self._measure(self.samples)

    def _measure(self, count: int) -> None:
        self.readings = [self._reading() for _ in range(min(count, MEMORY))]

    def _reading(self) -> float:
        if "nan" in self.faults:
            return OVERLOAD
        volts = self.world.battery_voltage() if self.world.plugged else 0.0
        if self.autorange and not UNDER * self.range <= abs(volts) <= OVER * self.range:
            self.range = next((r for r in RANGES if abs(volts) <= OVER * r), RANGES[-1])
        if abs(volts) > min(OVER * self.range, MOST_V):
            return OVERLOAD if volts > 0 else -OVERLOAD
        return float(volts + self._random.normal(0.0, NOISE[self.cycles] * self.range))


class KeysightInstrument(ScpiInterface):
    """The meter with its SCPI interface."""

    FAULTS: ClassVar[Texts] = {
        **ScpiInterface.FAULTS,
        **measured("stuck", "drift", "polarity_reversed", "open_lead", "range_clip", "overrange"),
        "nan": "An open input, which drifts into overload: 9.9E+37.",
    }
    device: Multimeter

    def __init__(self, world: World, serial: str, seed: int) -> None:
        self.device = Multimeter(world, seed)
        self._serial = serial
        super().__init__()

    def identity(self) -> str:
        serial = "MY99999999" if "wrong_identity" in self.faults else self._serial
        return f"Keysight Technologies,34461A,{serial},A.02.17-02.40-02.17-00.52-04-02"

    def reset(self) -> None:
        self.device.reset()

    def error_text(self, code: int) -> str:
        return f'{code:+d},"{ERRORS[code]}"'

    def commands(self) -> dict[str, Handler]:
        device = self.device
        return {
            "*TRG": action(device.trigger),
            "*OPT?": query(lambda: "0"),
            "[SENSe:]FUNCtion[:ON]": _set_function,
            "[SENSe:]FUNCtion[:ON]?": query(lambda: '"VOLT"'),
            f"{NODE}:RANGe[:UPPer]": self._set_range,
            f"{NODE}:RANGe[:UPPer]?": query(lambda: _number(device.range)),
            f"{NODE}:NPLCycles": self._set_cycles,
            f"{NODE}:NPLCycles?": query(lambda: _number(device.cycles)),
            "TRIGger:SOURce": self._set_source,
            "TRIGger:SOURce?": query(lambda: device.source),
            "INITiate[:IMMediate]": action(device.initiate),
            "ABORt": action(self._abort),
            "READ?": self._read,
            "FETCh?": query(self._fetch),
            "CONFigure[:VOLTage][:DC]": self._configure,
            "MEASure[:VOLTage][:DC]?": self._measure,
            "ROUTe:TERMinals?": query(lambda: "FRON"),
            **self._switch(f"{NODE}:RANGe:AUTO", "autorange"),
            **self._switch(f"{NODE}:ZERO:AUTO", "autozero"),
            **self._switch(f"{NODE}:IMPedance:AUTO", "high_impedance"),
            **self._count("TRIGger:COUNt", "triggers"),
            **self._count("SAMPle:COUNt", "samples"),
        }

    # --- settings ----------------------------------------------------------------------------------------------

    def _switch(self, header: str, attribute: str) -> dict[str, Handler]:
        def change(argument: str) -> None:
            (word,) = parameters(argument.upper(), 1, 1)
            if word not in ("ON", "OFF", "1", "0"):
                raise ScpiError(-224)
            setattr(self.device, attribute, word in ("ON", "1"))

        return {header: change, f"{header}?": query(lambda: str(int(getattr(self.device, attribute))))}

    def _count(self, header: str, attribute: str) -> dict[str, Handler]:
        def change(argument: str) -> None:
            setattr(self.device, attribute, whole_between(1, MAX_COUNT, *parameters(argument, 1, 1)))

        return {header: change, f"{header}?": query(lambda: f"{getattr(self.device, attribute):+d}")}

    def _set_range(self, argument: str) -> None:
        (text,) = parameters(argument, 1, 1)
        self.device.set_range(number_between(-MOST_V, MOST_V, text))

    def _set_cycles(self, argument: str) -> None:
        """The shortest integration that is at least as long."""
        (text,) = parameters(argument, 1, 1)
        wanted = number_between(min(NOISE), max(NOISE), text)
        self.device.cycles = next(cycles for cycles in NOISE if cycles >= wanted)

    def _set_source(self, argument: str) -> None:
        (word,) = parameters(argument.upper(), 1, 1)
        source = SOURCES.get(word, word)
        if source not in SOURCES.values():
            raise ScpiError(-224)
        self.device.source = source

    # --- readings ----------------------------------------------------------------------------------------------

    def _read(self, argument: str) -> str | None:
        """Nothing is answered while the external trigger does not come."""
        parameters(argument, 0, 0)
        if self.device.source == "BUS":
            raise ScpiError(-214)
        self.device.initiate()
        return None if self.device.waiting else self._readings()

    def _fetch(self) -> str:
        if not self.device.readings:
            raise ScpiError(-230)
        return self._readings()

    def _readings(self) -> str:
        return ",".join(map(_number, self.device.readings))

    def _configure(self, argument: str) -> None:
        """`10,0.001`, range and resolution; DEF or nothing for autorange."""
        device = self.device
        volts, *_ = [*parameters(argument, 0, 2), "DEF"]
        device.reset()
        if volts.upper() not in ("DEF", "AUTO"):
            device.set_range(number_between(-MOST_V, MOST_V, volts))

    def _measure(self, argument: str) -> str | None:
        self._configure(argument)
        return self._read("")

    def _abort(self) -> None:
        self.device.waiting = False


def _number(value: float) -> str:
    """`+3.85012345E+00`."""
    return f"{value:+.8E}"


def _set_function(argument: str) -> None:
    (name,) = parameters(argument.upper().replace("'", '"'), 1, 1)
    if not name.startswith('"'):
        raise ScpiError(-104)
    if name not in FUNCTIONS:
        raise ScpiError(-224)
