"""The roles a station's instruments play. Sequences and the controller know these, never models.

All quantities are SI with V, A, W, ohm and degC; current is positive when it charges the battery. A reading that the
instrument could not give (open probe, overrange, sensor missing) is None, never a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Identity:
    """What an instrument says of itself; empty strings where it says nothing."""

    manufacturer: str
    model: str
    serial: str
    firmware: str


class Instrument(Protocol):
    """What every driver can do, whatever its role."""

    async def connect(self) -> Identity:
        """Open the link and ask who is there; raises LinkError. Leaves outputs as they are."""
        ...

    async def identify(self) -> Identity:
        """Who answers on the open link, found by questions that change nothing.

        Raises IdentityError for an instrument that this driver is not for. It may not be the one of the line file:
        connect() sees to that.
        """
        ...

    async def close(self) -> None:
        """Close the link; never raises for a link that is already gone."""
        ...


class Regulation(StrEnum):
    """What a cycler's output is regulating."""

    OFF = "off"
    VOLTAGE = "CV"
    CURRENT = "CC"
    POWER = "CP"
    RESISTANCE = "CR"


@dataclass(frozen=True, slots=True)
class CyclerRatings:
    """Nominal values of the instrument: V, A, W."""

    voltage: float
    current: float
    power: float


@dataclass(frozen=True, slots=True)
class Protection:
    """Levels at which the instrument itself switches off: V, A (magnitudes), W.

    One that has no such levels sets them as limits instead, beyond which its output cannot regulate.
    """

    voltage: float
    charge_current: float
    discharge_current: float
    power: float


@dataclass(frozen=True, slots=True)
class CyclerReading:
    """One snapshot: V, A (+ charges the battery), W; alarms by name, empty when none."""

    voltage: float
    current: float
    power: float
    output_on: bool
    regulation: Regulation
    alarms: tuple[str, ...]


class Cycler(Instrument, Protocol):
    """Charges and discharges the battery."""

    @property
    def ratings(self) -> CyclerRatings:
        """Read from the instrument at connect()."""
        ...

    async def arm(self, protection: Protection, watchdog: float) -> None:
        """Take remote control, set protections and the communication watchdog (s), read every one back.

        Raises SettingError when a value read back differs from the one written.
        """
        ...

    async def read(self) -> CyclerReading: ...

    async def drive(self, current: float, voltage: float) -> None:
        """Set the regulation goal: current A (its sign is the direction) until voltage V is reached, then hold V.

        For a charge voltage is the upper bound, for a discharge the lower one. Written, read back, compared. Does not
        switch the output; current 0 means that no current may flow in either direction.
        """
        ...

    async def output(self, on: bool) -> None:
        """Switch the DC output and verify that it switched."""
        ...

    async def release(self) -> None:
        """Disarm the watchdog and give up remote control; the output must already be off."""
        ...


@dataclass(frozen=True, slots=True)
class ConstantCurrent:
    """Current A (+ charges) until a voltage V is reached, if one is given, for `seconds` at most."""

    current: float
    seconds: float
    until_voltage: float | None = None


@dataclass(frozen=True, slots=True)
class ConstantVoltage:
    """Voltage V with a current A at most, whose sign is the direction, for `seconds` at most, or until the current
    falls to `until_current` A (magnitude), if that is given."""

    voltage: float
    current: float
    seconds: float
    until_current: float | None = None


@dataclass(frozen=True, slots=True)
class Rest:
    """No current for `seconds`."""

    seconds: float


CellStep = ConstantCurrent | ConstantVoltage | Rest


@dataclass(frozen=True, slots=True)
class CellProtection:
    """Limits at which the instrument itself ends a program: V, V, A (magnitude in either direction)."""

    lowest_voltage: float
    highest_voltage: float
    current: float


class CellState(StrEnum):
    """What a cell cycler's channel does; STARTING until the program that was started has begun."""

    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    STOPPED = "stopped"
    PROTECTED = "protected"


@dataclass(frozen=True, slots=True)
class CellReading:
    """One snapshot: step from 1 while a program runs, V, A (+ charges); charge Ah and energy Wh of this step, signed as
    the current, and s since it began; the code of the cell that the program was started with."""

    state: CellState
    step: int | None
    voltage: float
    current: float
    charge: float
    energy: float
    seconds: float
    code: str


@dataclass(frozen=True, slots=True)
class CellStepResult:
    """One step as it was driven: its number, s, Ah and Wh (signed as the current), V at its begin and end."""

    step: int
    seconds: float
    charge: float
    energy: float
    start_voltage: float
    end_voltage: float


class CellCycler(Instrument, Protocol):
    """Drives one cell through a short program by itself: `start`, then `read` until it has ended, then `results`.

    It is no Cycler: it takes no set point while it drives, and what it measures may be seconds old. Nobody stops it
    when nobody asks any more; its own protection does, and the end of its program.
    """

    async def start(self, steps: Sequence[CellStep], protection: CellProtection, code: str) -> None:
        """Begin a program on the cell with this code; refused while another one runs. Does not wait for it to begin."""
        ...

    async def read(self) -> CellReading: ...

    async def results(self) -> tuple[CellStepResult, ...]:
        """The steps of the newest program so far, in the order driven."""
        ...

    async def stop(self) -> None:
        """End the program now; `read` tells when it has. Does nothing when none runs."""
        ...


@dataclass(frozen=True, slots=True)
class ImpedanceReading:
    """1 kHz AC resistance in ohm and DC voltage in V; None where the instrument reported a fault or overrange."""

    resistance: float | None
    voltage: float | None


class ImpedanceMeter(Instrument, Protocol):
    """Measures ACIR and open-circuit voltage."""

    @property
    def max_voltage(self) -> float:
        """Highest voltage its terminals may see, V."""
        ...

    async def measure(self) -> ImpedanceReading: ...


@dataclass(frozen=True, slots=True)
class SpectrumPoint:
    """Complex impedance at one frequency, Hz and ohm; the imaginary part of a capacitive battery is negative."""

    frequency: float
    real: float
    imaginary: float


class SpectrumMeter(Instrument, Protocol):
    """Measures impedance over frequency, one frequency a time: `start`, then `result` until it is not None.

    No call may wait for the measurement itself: it takes line time, and a call holds line time still.
    """

    @property
    def max_voltage(self) -> float:
        """Highest voltage its terminals may see, V."""
        ...

    @property
    def frequencies(self) -> tuple[float, float]:
        """Lowest and highest frequency it measures, Hz."""
        ...

    async def start(self, frequency: float) -> None:
        """Begin one measurement at a frequency, Hz."""
        ...

    async def result(self) -> SpectrumPoint | None:
        """The finished measurement, or None while it runs. Raises InstrumentError for a fault or overrange."""
        ...


@dataclass(frozen=True, slots=True)
class InsulationReading:
    """Resistance in ohm at the test voltage in V; None where the tester reported a breakdown or no value.

    `at_least` says that the true value lies above the meter's range and `resistance` is that range's end.
    """

    resistance: float | None
    voltage: float
    at_least: bool = False


class InsulationTester(Instrument, Protocol):
    """Puts a test voltage between battery and chassis: `start`, then `result` until it is not None.

    No call may wait for the test itself: it takes line time, and a call holds line time still.
    """

    @property
    def voltages(self) -> tuple[float, float]:
        """Lowest and highest test voltage, V."""
        ...

    async def start(self, voltage: float, seconds: float) -> None:
        """Switch the test voltage on; the tester ends by itself after `seconds`."""
        ...

    async def result(self) -> InsulationReading | None:
        """The reading of the finished test, or None while it runs; the output is off once it is not None."""
        ...

    async def stop(self) -> None:
        """Test voltage off now, confirmed; also when no test runs."""
        ...


class Voltmeter(Instrument, Protocol):
    """Measures the battery's voltage with more digits than a cycler."""

    async def measure(self) -> float | None:
        """One reading, V; None for an overrange."""
        ...


@dataclass(frozen=True, slots=True)
class ChamberReading:
    """Air temperature and its set point, degC; whether it conditions; alarms by name, empty when none.

    The temperature is None where the sensor is broken.
    """

    temperature: float | None
    set_point: float
    running: bool
    alarms: tuple[str, ...]


class Chamber(Instrument, Protocol):
    """Conditions the air around the battery."""

    @property
    def temperatures(self) -> tuple[float, float]:
        """Lowest and highest set point, degC."""
        ...

    async def read(self) -> ChamberReading: ...

    async def condition(self, temperature: float) -> None:
        """Run at a set point, degC. Written, read back, compared. Does not wait for the air to get there."""
        ...

    async def stop(self) -> None:
        """Stop conditioning, confirmed."""
        ...


@dataclass(frozen=True, slots=True)
class ChillerReading:
    """Temperature of the liquid and its set point, degC; whether it circulates; alarms by name, empty when none."""

    temperature: float
    set_point: float
    running: bool
    alarms: tuple[str, ...]


class Chiller(Instrument, Protocol):
    """Conditions the liquid in the plate under the battery."""

    @property
    def temperatures(self) -> tuple[float, float]:
        """Lowest and highest set point, degC."""
        ...

    async def read(self) -> ChillerReading: ...

    async def condition(self, temperature: float) -> None:
        """Circulate at a set point, degC. Written, read back, compared. Does not wait for the liquid to get there."""
        ...

    async def stop(self) -> None:
        """Stop circulating, confirmed."""
        ...


class CodeReader(Instrument, Protocol):
    """Reads the code on the battery: `trigger`, then `code` until it is not None, or give up and `stop`."""

    async def trigger(self) -> None:
        """Begin to look for a code; a code read earlier is forgotten."""
        ...

    async def code(self) -> str | None:
        """The code read since `trigger`, or None so far. Raises InstrumentError when the reader gave up."""
        ...

    async def stop(self) -> None:
        """Stop looking."""
        ...


class TemperatureScanner(Instrument, Protocol):
    """Reads temperature channels attached to the battery."""

    async def read(self) -> tuple[float | None, ...]:
        """Every channel in degC, in channel order; None for an open or out-of-range sensor."""
        ...


@dataclass(frozen=True, slots=True)
class BatteryReading:
    """What the battery's own management system says: V, A, degC, ohm, Ah; fractions 0..1 for soc and soh."""

    alive: bool
    cell_voltages: tuple[float | None, ...]
    temperatures: tuple[float | None, ...]
    voltage: float
    current: float
    soc: float
    soh: float
    full_charge_capacity: float
    insulation: float | None
    faults: tuple[str, ...]
    code: str


class BatteryMonitor(Instrument, Protocol):
    """Reads the battery's management system."""

    async def read(self) -> BatteryReading: ...


@dataclass(frozen=True, slots=True)
class InterlockReading:
    """The hardware safety chain as the PLC sees it.

    `contactor_closed` says that current can flow: both poles are closed. `contactors_agree` is False while one pole
    is closed and the other open, which outside the moment of switching means a welded contactor or a broken feedback.
    """

    estop_ok: bool
    door_closed: bool
    gas_ok: bool
    clamped: bool
    ready: bool
    contactor_closed: bool
    host_alive: bool
    heartbeat: int
    trip_cause: str
    contactors_agree: bool = True


@dataclass(frozen=True, slots=True)
class Tower:
    """Lights and buzzer of the signal tower."""

    red: bool = False
    yellow: bool = False
    green: bool = False
    buzzer: bool = False


class Interlock(Instrument, Protocol):
    """Talks to the PLC that holds the hardware safety chain and the contactors."""

    async def read(self) -> InterlockReading: ...

    async def beat(self, counter: int) -> None:
        """Write the host heartbeat, 0..65535; the PLC opens the contactors when it stops changing."""
        ...

    async def request_contactor(self, closed: bool) -> None:
        """Ask for the contactors; read() tells when the feedback follows."""
        ...

    async def set_tower(self, tower: Tower) -> None: ...

    async def reset(self) -> None:
        """Clear a latched trip whose cause is gone."""
        ...
