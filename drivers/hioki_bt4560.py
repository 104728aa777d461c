"""Hioki BT4560 battery impedance meter: R and X at one frequency from 0.1 Hz to 1.05 kHz, a spectrum point by point.

Sources: communication manual BT4560A987 (message format, terminators, `:ESR0?`, `*TRG` returns before the measurement
has ended), and two public programs that run on real units (settings, the three fields of `:FETCh?`, values above 1E+8
for a bad contact, X negative for a capacitive battery). Commands end with CR+LF, RS-232C 9600 8N1 or USB. There is no
error queue: errors are bits of `*ESR?`, and a refused query gets no answer.

Assumed, not read in a document of this model: EOM, the end of a measurement, is bit 0 of `:ESR0?` as on the BT3562A; a
setting written while it measures aborts the measurement; overrange and fault are +-1E+9 and 1E+10 as on the BT3562A;
`:MEAS:VAL 1` leaves measured values alone in the answer. `:SAMP:RATE`, `:CALC:AVER` and `:MEAS:VAL` are not read back,
their queries being unknown: the event register tells whether they were taken.

The catalogue model measures cells: 3, 10 and 100 mohm, 5 V. Units with ranges of 30 mohm to 3 ohm exist to special
order and stand more; how much is on their nameplate and goes into the line file.
"""

from __future__ import annotations

from drivers.errors import AnswerError, ConfigError, DeviceError, IdentityError, SettingError
from drivers.hioki_bt3562 import check_events
from drivers.identity import check_identity, parse_idn
from drivers.links import TextLink
from drivers.numbers import parse_integer, parse_number
from drivers.roles import Identity, SpectrumPoint

CATALOGUE_RANGES = (3e-3, 10e-3, 100e-3)  # ohm
SPECIAL_RANGES = (30e-3, 300e-3, 3.0)
CATALOGUE_VOLTAGE = 5.0
FREQUENCIES = (0.1, 1050.0)  # Hz
STEPS = ((1.0, 0.01), (10.0, 0.1), (100.0, 1.0), (float("inf"), 10.0))  # Hz: below this, settable in steps of that
RATES = ("FAST", "MED", "SLOW")
END_OF_MEASUREMENT = 1
NO_VALUE = 1e8  # at least: overrange, fault or bad contact
HEADROOM = 1.2  # of a range


def settable(frequency: float) -> float:
    """The nearest frequency that the instrument can be set to, Hz; raises SettingError outside its range."""
    lowest, highest = FREQUENCIES
    if not lowest <= frequency <= highest:
        raise SettingError(f"{frequency:g} Hz is outside {lowest:g} to {highest:g} Hz; correct the recipe")
    step = next(step for limit, step in STEPS if frequency < limit)
    return round(round(frequency / step) * step, 2)


def parse_values(answer: str) -> tuple[float, float]:
    """Read `+6.56710E-03,+2.82787E-03,+7.37814E+00`: R and X in ohm; the voltage only tells about the contact."""
    fields = answer.split(",")
    if len(fields) != 3:
        raise AnswerError("expected R, X and voltage from :FETC?", answer)
    resistance, reactance, voltage = (parse_number(field) for field in fields)
    if max(abs(resistance), abs(reactance), abs(voltage)) >= NO_VALUE:
        raise DeviceError(f"no value ({answer}): overrange or bad contact; check the probes and the range")
    if max(abs(resistance), abs(reactance)) > SPECIAL_RANGES[-1] * HEADROOM:
        raise AnswerError("no range of the instrument holds this value", answer)
    return resistance, reactance


class HiokiBt4560:
    """Role SpectrumMeter. Points lie at the frequency that the instrument could be set to, two significant digits."""

    def __init__(
        self,
        link: TextLink,
        model: str = "",
        serial: str = "",
        *,
        resistance_range: float = CATALOGUE_RANGES[-1],
        max_voltage: float = CATALOGUE_VOLTAGE,
        rate: str = "MED",
    ) -> None:
        """resistance_range in ohm; max_voltage is what the unit's terminals stand, V; rate is FAST, MED or SLOW."""
        if resistance_range not in CATALOGUE_RANGES + SPECIAL_RANGES:
            known = ", ".join(f"{ohm:g}" for ohm in sorted(CATALOGUE_RANGES + SPECIAL_RANGES))
            raise ConfigError(f"there is no range of {resistance_range:g} ohm; known are {known}")
        if rate not in RATES:
            raise ConfigError(f"rate {rate!r} is none of {', '.join(RATES)}")
        if max_voltage <= 0 or (max_voltage > CATALOGUE_VOLTAGE and resistance_range in CATALOGUE_RANGES):
            raise ConfigError(
                f"a unit with a range of {resistance_range:g} ohm stands {CATALOGUE_VOLTAGE:g} V, not {max_voltage:g} V"
            )
        self._link = link
        self._model, self._serial = model, serial
        self._range = resistance_range
        self._max_voltage = max_voltage
        self._rate = rate
        self._frequency: float | None = None

    @property
    def max_voltage(self) -> float:
        return self._max_voltage

    @property
    def frequencies(self) -> tuple[float, float]:
        return FREQUENCIES

    async def connect(self) -> Identity:
        await self._link.open()
        identity = check_identity(await self.identify(), self._model, self._serial)
        self._frequency = None
        await self._configure()
        return identity

    async def identify(self) -> Identity:
        answered = parse_idn(await self._link.query("*IDN?"))
        if answered.manufacturer != "HIOKI":
            raise IdentityError("maker", "HIOKI", answered.manufacturer)
        if answered.model.partition("-")[0] != "BT4560":
            raise IdentityError("model", "BT4560", answered.model)
        serial = "" if answered.serial == "0" else answered.serial  # 0 says nothing
        return Identity(answered.manufacturer, answered.model, serial, answered.firmware)

    async def close(self) -> None:
        await self._link.close()

    async def start(self, frequency: float) -> None:
        wanted = settable(frequency)
        self._frequency = None
        await self._set_number(":FREQ", wanted, f"{wanted:g}")
        await self._link.query(":ESR0?")  # forgets the end of the measurement before
        await self._link.write("*TRG")
        check_events(await self._link.query("*ESR?"))
        self._frequency = wanted

    async def result(self) -> SpectrumPoint | None:
        if self._frequency is None:
            raise DeviceError("no measurement was started; start one first")
        if not parse_integer(await self._link.query(":ESR0?"), 0, 255) & END_OF_MEASUREMENT:
            return None
        values, events = await self._link.query_many([":FETC?", "*ESR?"])
        frequency, self._frequency = self._frequency, None
        check_events(events)
        return SpectrumPoint(frequency, *parse_values(values))

    async def _configure(self) -> None:
        await self._link.query("*ESR?")  # clears power-on and what former clients did wrong
        await self._link.write(":SYST:HEAD OFF")
        await self._set_word(":FUNC", "RV")
        await self._set_word(":AUT", "OFF")
        await self._set_number(":RANG", self._range, f"{self._range:g}")
        await self._link.write(f":SAMP:RATE Z,{self._rate}")
        await self._link.write(":SAMP:RATE V,FAST")
        await self._link.write(":CALC:AVER 1")
        await self._link.write(":MEAS:VAL 1")
        await self._set_word(":TRIG:SOUR", "EXTERNAL")
        await self._set_word(":INIT:CONT", "ON")
        check_events(await self._link.query("*ESR?"))

    async def _set_word(self, command: str, word: str) -> None:
        """Write a keyword; it may be shortened when read back, to three letters at least."""
        await self._link.write(f"{command} {word}")
        answer = (await self._link.query(f"{command}?")).strip().upper()
        if len(answer) < min(3, len(word)) or not word.startswith(answer):
            raise SettingError(f"{command}: wrote {word}, reads back {answer!r}; check the instrument")

    async def _set_number(self, command: str, value: float, text: str) -> None:
        await self._link.write(f"{command} {text}")
        answer = parse_number(await self._link.query(f"{command}?"))
        if abs(answer - value) > 1e-6 * value:
            raise SettingError(f"{command}: wrote {text}, reads back {answer:g}; check the instrument")
