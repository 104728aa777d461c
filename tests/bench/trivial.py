"""Instruments that cost next to nothing: the five roles on a resistor model, without drivers, links or simulators.

What remains of a run's cost on these is the controller's own: sampler, safety, steps, engine, journal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from drivers.roles import (
    BatteryReading,
    CyclerRatings,
    CyclerReading,
    Identity,
    ImpedanceReading,
    InterlockReading,
    Protection,
    Regulation,
    Tower,
)

CELLS, CAPACITY_AH, OHM = 96, 60.0, 0.1
EMPTY_V, FULL_V = 2.75, 4.2  # of a cell at rest, straight in between
SPREAD_V = 0.001  # the weakest and the strongest cell beside the others


class Battery:
    """A pack of equal cells behind one resistance, and the cycler's output on it."""

    def __init__(self, now: Callable[[], float], code: str, soc: float) -> None:
        self.now, self.code, self.soc = now, code, soc
        self.setpoint, self.voltage_bound, self.output_on, self.closed = 0.0, 0.0, False, False
        self._at = now()

    def terminals(self) -> tuple[float, float]:
        """V and A at the present moment."""
        t = self.now()
        at_rest = CELLS * (EMPTY_V + (FULL_V - EMPTY_V) * self.soc)
        current = 0.0
        if self.output_on and self.closed:
            to_bound = (self.voltage_bound - at_rest) / OHM
            current = min(self.setpoint, to_bound) if self.setpoint > 0 else max(self.setpoint, to_bound)
        self.soc += current * (t - self._at) / 3600 / CAPACITY_AH
        self._at = t
        return at_rest + current * OHM, current


class _Instrument:
    def __init__(self, battery: Battery) -> None:
        self._battery = battery

    async def connect(self) -> Identity:
        return await self.identify()

    async def identify(self) -> Identity:
        return Identity("bench", type(self).__name__, "1", "1")

    async def close(self) -> None:
        pass


class Cycler(_Instrument):
    ratings = CyclerRatings(500.0, 90.0, 30e3)

    async def arm(self, protection: Protection, watchdog: float) -> None:
        pass

    async def read(self) -> CyclerReading:
        voltage, current = self._battery.terminals()
        on = self._battery.output_on
        return CyclerReading(voltage, current, voltage * current, on, Regulation.CURRENT if on else Regulation.OFF, ())

    async def drive(self, current: float, voltage: float) -> None:
        self._battery.terminals()
        self._battery.setpoint, self._battery.voltage_bound = current, voltage

    async def output(self, on: bool) -> None:
        self._battery.terminals()
        self._battery.output_on = on

    async def release(self) -> None:
        pass


class Interlock(_Instrument):
    _beat = 0

    async def read(self) -> InterlockReading:
        return InterlockReading(True, True, True, True, True, self._battery.closed, True, self._beat, "")

    async def beat(self, counter: int) -> None:
        self._beat = counter

    async def request_contactor(self, closed: bool) -> None:
        self._battery.closed = closed

    async def set_tower(self, tower: Tower) -> None:
        pass

    async def reset(self) -> None:
        pass


class BatteryMonitor(_Instrument):
    async def read(self) -> BatteryReading:
        voltage, current = self._battery.terminals()
        mean, soc = voltage / CELLS, min(1.0, max(0.0, self._battery.soc))
        cells = (mean - SPREAD_V, mean + SPREAD_V) + (mean,) * (CELLS - 2)
        return BatteryReading(
            True, cells, (25.0,), voltage, current, soc, 1.0, CAPACITY_AH, 2.4e6, (), self._battery.code
        )


class TemperatureScanner(_Instrument):
    async def read(self) -> tuple[float | None, ...]:
        return (25.0,) * 16


class ImpedanceMeter(_Instrument):
    max_voltage = 60.0

    async def measure(self) -> ImpedanceReading:
        return ImpedanceReading(0.01, 45.0)


@dataclass(frozen=True)
class Entry:
    """Stands where a driver's catalogue entry stands."""

    kind: type[_Instrument]
    battery: Battery

    def make(self, link: object, model: str, serial: str, settings: Mapping[str, object]) -> Any:
        return self.kind(self.battery)


def catalog(battery: Battery) -> dict[str, Entry]:
    """These instruments under the names of the demo line's drivers."""
    kinds: dict[str, type[_Instrument]] = {
        "ea_psb10000": Cycler,
        "plc_interlock": Interlock,
        "bms_gateway": BatteryMonitor,
        "icpdas_tm_th8": TemperatureScanner,
        "hioki_bt3562": ImpedanceMeter,
    }
    return {name: Entry(kind, battery) for name, kind in kinds.items()}
