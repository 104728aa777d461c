"""Hioki BT3562 battery tester and its sisters: 1 kHz AC resistance and open-circuit voltage.

Source: BT3562A981 instruction manual, chapter 8. Lines end with CR+LF, on RS-232C (BT3562, BT3563) as on LAN port 23 of
the models with an A. There is no error queue: errors are bits of `*ESR?`, and a wrong query, or `:READ?` in continuous
measurement, simply gets no answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from drivers.errors import TIMEOUT, AnswerError, ConfigError, DeviceError, IdentityError, LinkError, SettingError
from drivers.identity import check_identity, parse_idn
from drivers.links import TextLink
from drivers.numbers import parse_integer, parse_number
from drivers.roles import Identity, ImpedanceReading

RESISTANCE_RANGES = (3e-3, 30e-3, 300e-3, 3.0, 30.0, 300.0, 3000.0)
# V, by model: the highest is what the terminals may see
VOLTAGE_RANGES = {
    "BT3561A": (6.0, 60.0),
    "BT3562": (6.0, 60.0),
    "BT3562A": (6.0, 60.0, 100.0),
    "BT3563": (6.0, 60.0, 300.0),
    "BT3563A": (6.0, 60.0, 300.0),
}
RATES = ("EXFAST", "FAST", "MEDIUM", "SLOW")
SETTLING = 0.1  # s to wait after settings, before :READ?
# *ESR? bits; power-on (128) is no error
EVENT_ERRORS = {32: "command error", 16: "execution error", 8: "device error", 4: "query error"}
OVERFLOW, PROBE_FAULT = 1e9, 1e10


def choose_range(magnitude: float, ranges: Sequence[float]) -> float:
    """The smallest range that holds the magnitude."""
    fitting = [limit for limit in ranges if abs(magnitude) <= limit]
    if not fitting:
        raise ConfigError(f"{magnitude:g} is beyond the highest range {ranges[-1]:g}; correct the line file")
    return fitting[0]


def voltage_ranges(model: str) -> tuple[float, ...]:
    """V of a model as *IDN? names it, `BT3562-01` being a BT3562 with GP-IB."""
    known = VOLTAGE_RANGES.get(model.partition("-")[0])
    if known is None:
        raise IdentityError("model", f"one of {', '.join(VOLTAGE_RANGES)}", model)
    return known


def parse_value(field: str) -> float | None:
    """Read one fixed-width value; None for overflow (1E+9) and for an open probe (1E+10).

    The sign takes the first place, a space for plus; leading zeros are spaces, so one may follow the sign.
    """
    stripped = field.strip(" ")
    sign = stripped[:1] if stripped[:1] in ("-", "+") else ""
    value = parse_number(sign + stripped.removeprefix(sign).lstrip(" "))
    if abs(value) in (OVERFLOW, PROBE_FAULT):
        return None
    if abs(value) > RESISTANCE_RANGES[-1] * 1.1:
        raise AnswerError("no range of the instrument holds this value", field)
    return value


def parse_reading(answer: str) -> ImpedanceReading:
    """Read `  0.2854E-3,  3.1462E+0`: ohm and V."""
    fields = answer.split(",")
    if len(fields) != 2:
        raise AnswerError("expected resistance and voltage from :READ?", answer)
    return ImpedanceReading(parse_value(fields[0]), parse_value(fields[1]))


def check_events(answer: str) -> None:
    """Raise DeviceError for the error bits of an answer to `*ESR?`."""
    events = parse_integer(answer, 0, 255)
    if names := [name for bit, name in EVENT_ERRORS.items() if events & bit]:
        raise DeviceError(f"*ESR? reports {', '.join(names)}; connect again to restore the settings")


class HiokiBt3562:
    """Role ImpedanceMeter. Without expected magnitudes it selects ranges by itself (slower)."""

    def __init__(
        self,
        link: TextLink,
        model: str = "",
        serial: str = "",
        *,
        resistance: float | None = None,
        voltage: float | None = None,
        rate: str = "MEDIUM",
    ) -> None:
        """resistance ohm and voltage V are the expected magnitudes; rate is EXFAST, FAST, MEDIUM or SLOW."""
        if (resistance is None) != (voltage is None):
            raise ConfigError("give both expected resistance and voltage, or neither for automatic ranges")
        if rate not in RATES:
            raise ConfigError(f"rate {rate!r} is none of {', '.join(RATES)}")
        self._link = link
        self._model, self._serial = model, serial
        self._rate = rate
        self._expected_voltage = voltage
        if voltage is not None:  # with a model it is known before connect() whether it fits
            choose_range(voltage, VOLTAGE_RANGES.get(model) or VOLTAGE_RANGES["BT3563"])
        self._resistance_range = None if resistance is None else choose_range(resistance, RESISTANCE_RANGES)
        self._voltage_ranges: tuple[float, ...] | None = None

    @property
    def max_voltage(self) -> float:
        if self._voltage_ranges is None:
            raise DeviceError("the highest voltage is unknown before connect()")
        return self._voltage_ranges[-1]

    async def connect(self) -> Identity:
        await self._link.open()
        identity = check_identity(await self.identify(), self._model, self._serial)
        ranges = voltage_ranges(identity.model)
        await self._configure(ranges)
        self._voltage_ranges = ranges
        return identity

    async def identify(self) -> Identity:
        answered = parse_idn(await self._link.query("*IDN?"))
        if answered.manufacturer != "HIOKI":
            raise IdentityError("maker", "HIOKI", answered.manufacturer)
        voltage_ranges(answered.model)  # known, or it is none of these
        # the serial field is always 0: it says nothing
        serial = "" if answered.serial == "0" else answered.serial
        return Identity(answered.manufacturer, answered.model, serial, answered.firmware)

    async def close(self) -> None:
        await self._link.close()

    async def measure(self) -> ImpedanceReading:
        # Two answers that cannot be mistaken for each other: an instrument one answer behind is always noticed.
        try:
            reading, events = await self._link.query_many([":READ?", "*ESR?"])
        except LinkError as error:
            if error.code == TIMEOUT:  # the instrument's only way to say no: ask it why, if it still answers
                check_events(await self._link.query("*ESR?"))
            raise
        check_events(events)
        return parse_reading(reading)

    async def _configure(self, voltage_ranges: Sequence[float]) -> None:
        await self._link.query("*ESR?")  # clears power-on and what former clients did wrong
        await self._link.write(":SYST:HEAD OFF")
        await self._set_word(":FUNC", "RV")
        if self._resistance_range is None or self._expected_voltage is None:
            await self._set_word(":AUT", "ON")
        else:
            await self._set_range(":RES:RANG", self._resistance_range)
            await self._set_range(":VOLT:RANG", choose_range(self._expected_voltage, voltage_ranges))
        await self._set_word(":SAMP:RATE", self._rate)
        await self._set_word(":TRIG:SOUR", "IMMEDIATE")
        await self._set_word(":INIT:CONT", "OFF")
        check_events(await self._link.query("*ESR?"))
        await self._link.pause(SETTLING)

    async def _set_word(self, command: str, word: str) -> None:
        """Write a keyword; SCPI may shorten it when read back, to three letters at least."""
        await self._link.write(f"{command} {word}")
        answer = await self._link.query(f"{command}?")
        if len(answer) < min(3, len(word)) or not word.startswith(answer.upper()):
            raise SettingError(f"{command}: wrote {word}, reads back {answer!r}; check the instrument")

    async def _set_range(self, command: str, limit: float) -> None:
        await self._link.write(f"{command} {limit:G}")
        answer = parse_number(await self._link.query(f"{command}?"))
        if abs(answer - limit) > 1e-6 * limit:
            raise SettingError(f"{command}: wrote {limit:G}, reads back {answer:G}; check the instrument")
