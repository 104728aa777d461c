"""Hioki BT3562 and BT3562A: AC resistance and open-circuit voltage of the cells between their probes.

Source: instruction manual BT3562A981 (remote control chapter), as collected in the project's instrument notes. Lines
end in CR or CR+LF, answers in CR+LF. There is no error queue: what is not understood gets no answer and sets a bit of
*ESR?, and discards the rest of its line.

Ranges end at 3100/3000 of their name for resistance and at 6 V and 60 V for voltage, where the overflow value begins;
the BT3562A has a range of 100 V besides.
Choices where the notes are silent: automatic range at power-on; a reading carries noise of about one least digit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simulators.faults import Faults
from simulators.scpi import CommandTable, Handler, LineBuffer
from simulators.world import World

ESR_POWER_ON, ESR_COMMAND, ESR_EXECUTION = 128, 32, 16
ESR0_END_OF_MEASUREMENT = 1


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


class CommandError(Exception):
    """Not a command of this instrument."""


class ExecutionError(Exception):
    """A command that cannot be carried out now, or with this value."""


class Bt3562:
    """The meter on cells `first`..`last` of the battery (from 0), or with open probes.

    Faults: `wrong_identity` is another model, `nan` lifts the probes.
    """

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
        if self.cells is None or "nan" in self.faults or not self.world.plugged:
            return chosen, chosen.fault()
        true = quantity(*self.cells)
        if self.autorange:
            chosen = _fitting(ranges, true) or ranges[-1]
        return chosen, chosen.shown(true + self._random.normal(0.0, 0.7) * chosen.digit)


def _fitting(ranges: tuple[Range, ...], value: float) -> Range | None:
    """The most sensitive range that can show a value."""
    return next((r for r in ranges if abs(value) <= r.full_scale), None)


class Bt3562Instrument:
    """The meter's text interface: what it remembers between lines."""

    terminator = b"\r\n"
    idle_timeout_s = 0.0

    def __init__(self, world: World, cells: tuple[int, int] | None, seed: int, model: str = "BT3562") -> None:
        self.device = Bt3562(world, cells, seed, model)
        self.headers = False
        self._event_status = ESR_POWER_ON
        self._device_events = 0
        self._table = CommandTable(self._commands())

    @property
    def faults(self) -> Faults:
        return self.device.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self.device.faults = faults

    def face(self) -> Bt3562Face:
        return Bt3562Face(self)

    def line(self, line: bytes) -> bytes:
        """Carry out one line; the answers of its queries up to the first error."""
        answers: list[str] = []
        for command in line.decode("ascii", "replace").split(";"):
            if not command.strip():
                continue
            try:
                handler, argument = self._table.find(command)
                if handler is None:
                    raise CommandError
                answer = handler(argument)
            except CommandError:
                self._event_status |= ESR_COMMAND
                break
            except ExecutionError:
                self._event_status |= ESR_EXECUTION
                break
            if answer is not None:
                answers.append(answer)
        return ";".join(answers).encode("ascii") + self.terminator if answers else b""

    # --- commands ----------------------------------------------------------------------------------------------

    def _commands(self) -> dict[str, Handler]:
        device = self.device
        return {
            "*IDN?": _query(self._identity),
            "*RST": _action(self._reset),
            "*CLS": _action(self._clear),
            "*TST?": _query(lambda: "0"),
            "*OPC?": _query(lambda: "1"),
            "*ESR?": _query(self._take_event_status),
            "*STB?": _query(lambda: str(self.status_byte())),
            ":ESR0?": _query(self._take_device_events),
            ":READ?": _query(self._read),
            ":FETCh?": _query(self._fetch),
            ":INITiate[:IMMediate]": _action(self._initiate),
            "*TRG": _action(self._trigger),
            ":ADJust?": _query(lambda: "0"),
            ":SYSTem:CALibration": _action(lambda: None),
            ":SYSTem:LOCal": _action(lambda: setattr(device, "continuous", True)),
            **self._setting(":RESistance:RANGe", lambda: device.resistance_range.name(), self._set_resistance_range),
            **self._setting(":VOLTage:RANGe", lambda: device.voltage_range.name(), self._set_voltage_range),
            **self._words(":FUNCtion", "function", "RV", "RESistance", "VOLTage"),
            **self._words(":SAMPle:RATE", "rate", "EXFast", "FAST", "MEDium", "SLOW"),
            **self._words(":TRIGger:SOURce", "trigger", "IMMediate", "EXTernal"),
            **self._words(":SYSTem:LFRequency", "line_frequency", "50", "60"),
            **self._words(":SYSTem:ERRor", "error_output", "SYNChronous", "ASYNChronous"),
            **self._on_off(":CALCulate:AVERage:STATe", device, "averaging"),
            **self._on_off(":SYSTem:KLOCk", device, "keys_locked"),
            **self._on_off(":INITiate:CONTinuous", device, "continuous"),
            **self._on_off(":AUTorange", device, "autorange"),
            **self._on_off(":SYSTem:HEADer", self, "headers"),
        }

    def _setting(self, header: str, get: Callable[[], str], change: Callable[[str], None]) -> dict[str, Handler]:
        def handle(argument: str) -> None:
            if not argument:
                raise CommandError
            change(argument.upper())

        def answer() -> str:
            return f"{header.upper()} {get()}" if self.headers else get()

        return {header: handle, f"{header}?": _query(answer)}

    def _words(self, header: str, attribute: str, *words: str) -> dict[str, Handler]:
        """A setting that takes one of some words, in their long or short form, and answers the long one."""
        spellings = {form: word.upper() for word in words for form in (word.upper(), _short(word))}

        def change(argument: str) -> None:
            if argument not in spellings:
                raise CommandError
            setattr(self.device, attribute, spellings[argument])

        return self._setting(header, lambda: str(getattr(self.device, attribute)), change)

    def _on_off(self, header: str, owner: object, attribute: str) -> dict[str, Handler]:
        def change(argument: str) -> None:
            if argument not in ("ON", "OFF", "1", "0"):
                raise CommandError
            setattr(owner, attribute, argument in ("ON", "1"))

        return self._setting(header, lambda: "ON" if getattr(owner, attribute) else "OFF", change)

    def _set_resistance_range(self, argument: str) -> None:
        if argument.startswith("-"):
            raise ExecutionError
        self.device.resistance_range = _range_for(RESISTANCE_RANGES, argument)
        self.device.autorange = False

    def _set_voltage_range(self, argument: str) -> None:
        self.device.voltage_range = _range_for(self.device.voltage_ranges, argument)
        self.device.autorange = False

    # --- readings and status -----------------------------------------------------------------------------------

    def _identity(self) -> str:
        """The serial number field is always 0."""
        return f"HIOKI,{'BT3554' if 'wrong_identity' in self.faults else self.device.model},0,V1.00"

    def _measure(self) -> str:
        self._device_events |= ESR0_END_OF_MEASUREMENT
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

    def _reset(self) -> None:
        self.device.reset()
        self.headers = False

    def status_byte(self) -> int:
        """Bit 0 device events wait, 5 standard events."""
        return bool(self._device_events) | bool(self._event_status) << 5

    def _clear(self) -> None:
        self._event_status = self._device_events = 0

    def _take_event_status(self) -> str:
        status, self._event_status = self._event_status, 0
        return str(status)

    def _take_device_events(self) -> str:
        events, self._device_events = self._device_events, 0
        return str(events)


class Bt3562Face:
    """One connection. CR ends a line; the LF that may follow it is skipped."""

    def __init__(self, instrument: Bt3562Instrument) -> None:
        self._instrument = instrument
        self._lines = LineBuffer(b"\r")

    def receive(self, data: bytes) -> bytes:
        return b"".join(self._instrument.line(line.removeprefix(b"\n")) for line in self._lines.feed(data))


def _short(word: str) -> str:
    return "".join(letter for letter in word if not letter.islower())


def _range_for(ranges: tuple[Range, ...], argument: str) -> Range:
    try:
        value = float(argument)
    except ValueError:
        raise CommandError from None
    chosen = _fitting(ranges, value)
    if chosen is None:
        raise ExecutionError
    return chosen


def _query(answer: Callable[[], str]) -> Handler:
    def handle(argument: str) -> str:
        if argument:
            raise CommandError
        return answer()

    return handle


def _action(act: Callable[[], None]) -> Handler:
    def handle(argument: str) -> None:
        if argument:
            raise CommandError
        act()

    return handle
