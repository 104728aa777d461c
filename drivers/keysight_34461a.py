"""Keysight 34461A and its sisters (Truevolt): DC voltage with 6 1/2 digits.

Sources: the maker's Truevolt operating and service guide (auto range and its limits, input impedance, autozero) and
QCoDeS' driver of the series (`NPLC`, `READ?`, error queue, identity). Lines end with LF. On the LAN by HiSLIP:
`TCPIP::host::hislip0::INSTR`. Before firmware 2 the maker calls itself Agilent. An undefined query gets no answer, its
reason stands in the error queue. An overload reads as 9.9E37.

Assumed: this model offers HiSLIP at `hislip0`, port 4880; the document read here names the socket and VXI-11 only.

100 power line cycles are not offered: four seconds a reading with autozero, which no scan can wait for.
"""

from __future__ import annotations

from drivers.errors import TIMEOUT, ConfigError, DeviceError, IdentityError, LinkError, SettingError
from drivers.identity import check_identity, parse_idn
from drivers.links import TextLink
from drivers.numbers import parse_number, parse_reading
from drivers.roles import Identity
from drivers.scpi import parse_error

MANUFACTURERS = ("Keysight Technologies", "Agilent Technologies")
MODELS = ("34460A", "34461A", "34465A", "34470A")
RANGES = (0.1, 1.0, 10.0, 100.0, 1000.0)  # V
CYCLES = (0.02, 0.2, 1.0, 10.0)  # power line cycles of one reading
ERROR_QUEUE_DEPTH = 20


class Keysight34461A:
    """Role Voltmeter: one reading a call, with autozero and the highest input impedance of the range."""

    def __init__(
        self,
        link: TextLink,
        model: str = "",
        serial: str = "",
        *,
        voltage_range: float | None = None,
        cycles: float = 10.0,
    ) -> None:
        """voltage_range V is one of RANGES, None for automatic; cycles of the power line a reading averages."""
        if voltage_range is not None and voltage_range not in RANGES:
            raise ConfigError(f"range_v {voltage_range:g} is none of {', '.join(f'{limit:g}' for limit in RANGES)}")
        if cycles not in CYCLES:
            raise ConfigError(f"nplc {cycles:g} is none of {', '.join(f'{count:g}' for count in CYCLES)}")
        self._link = link
        self._model, self._serial = model, serial
        self._range, self._cycles = voltage_range, cycles
        self._configured_session: int | None = None

    async def connect(self) -> Identity:
        await self._link.open()
        identity = check_identity(await self.identify(), self._model, self._serial)
        await self._configure()
        return identity

    async def identify(self) -> Identity:
        identity = parse_idn(await self._link.query("*IDN?"))
        if identity.manufacturer not in MANUFACTURERS or identity.model not in MODELS:
            raise IdentityError("model", f"one of {', '.join(MODELS)}", f"{identity.manufacturer},{identity.model}")
        return identity

    async def close(self) -> None:
        await self._link.close()

    async def measure(self) -> float | None:
        if self._link.reopened != self._configured_session:  # it may have been switched off and on meanwhile
            await self._configure()
        try:
            # Two answers that cannot be mistaken for each other: an instrument one answer behind is always noticed.
            reading, error = await self._link.query_many(["READ?", "SYST:ERR?"])
        except LinkError as lost:
            if lost.code == TIMEOUT:  # its only way to say no: ask it why, if it still answers
                await self._check_errors()
            raise
        if parse_error(error)[0]:
            await self._check_errors(error)
        return parse_reading(reading)

    async def _configure(self) -> None:
        await self._link.write("*RST")
        self._configured_session = self._link.reopened
        await self._link.write("*CLS")
        await self._set("FUNC", '"VOLT"')
        if self._range is None:
            await self._set("VOLT:RANG:AUTO", "ON")
        else:
            await self._set("VOLT:RANG", f"{self._range:g}")
        await self._set("VOLT:NPLC", f"{self._cycles:g}")
        await self._set("VOLT:ZERO:AUTO", "ON")
        await self._set("VOLT:IMP:AUTO", "ON")
        await self._set("TRIG:SOUR", "IMM")
        await self._set("TRIG:COUN", "1")
        await self._set("SAMP:COUN", "1")
        await self._check_errors()

    async def _set(self, command: str, value: str) -> None:
        """Write a setting and read it back: words as they are, ON as 1, numbers as numbers."""
        await self._link.write(f"{command} {value}")
        answer = await self._link.query(f"{command}?")
        expected = "1" if value == "ON" else value
        same = parse_number(answer) == float(expected) if expected[0].isdigit() else answer.strip() == expected
        if not same:
            raise SettingError(f"{command}: wrote {value}, reads back {answer}; check the instrument")

    async def _check_errors(self, first: str = "") -> None:
        """Raise what the error queue holds, after `first` that was already taken from it."""
        errors = [first] if first else []
        while len(errors) < ERROR_QUEUE_DEPTH:
            answer = await self._link.query("SYST:ERR?")
            if parse_error(answer)[0] == 0:
                break
            errors.append(answer)
        if errors:
            raise DeviceError("; ".join("{} {}".format(*parse_error(error)) for error in errors))
