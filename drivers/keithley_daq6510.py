"""Keithley DAQ6510: thermocouples or thermistors on multiplexer cards, one scan a reading.

Sources: PyMeasure's drivers of the DAQ6510 and of its sister DMM6500 (identity, `*LANG?`, `:SENS:FUNC`,
`:ROUT:SCAN:CRE` and its query, `:ROUT:SCAN:COUN:SCAN`, `:INIT` with `*WAI`, `:TRAC:DATA?`, `:SYST:ERR?`), and the
maker's published example of a thermocouple scan (the settings below `:SENS:TEMP` by channel list). `:READ?` answers the
last reading of a scan alone, so the scan is started, waited for, and read out of its buffer. Lines end with LF; on the
LAN VXI-11 (port 1024) or socket 5025. The language of the remote interface must be SCPI.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from drivers.errors import TIMEOUT, AnswerError, ConfigError, DeviceError, IdentityError, LinkError, SettingError
from drivers.identity import check_identity, parse_idn
from drivers.links import TextLink
from drivers.numbers import parse_number, parse_reading
from drivers.roles import Identity
from drivers.scpi import parse_error

MANUFACTURER, MODEL = "KEITHLEY INSTRUMENTS", "MODEL DAQ6510"
BUFFER = '"defbuffer1"'
THERMOCOUPLES = ("B", "E", "J", "K", "N", "R", "S", "T")
THERMISTORS = (2252, 5000, 10000)
ERROR_QUEUE_DEPTH = 10  # read at most; what is behind these says nothing new

_CHANNELS = re.compile(r"([12])(\d\d)(?::\1(\d\d))?")


def parse_channels(text: str) -> tuple[int, ...]:
    """Channels of `101:103,205`: slot 1 or 2 and a number from 01; raises AnswerError."""
    channels: list[int] = []
    for part in text.replace(" ", "").split(","):
        match = _CHANNELS.fullmatch(part)
        if match is None:
            raise AnswerError("expected channels like 101:110,205", text)
        slot, first, last = match.groups()
        channels += range(int(slot + first), int(slot + (last or first)) + 1)
    return tuple(channels)


def format_channels(channels: Sequence[int]) -> str:
    """The channel list `(@101:103,205)`, neighbours that follow each other joined."""
    runs: list[list[int]] = []
    for channel in channels:
        if runs and channel == runs[-1][-1] + 1:
            runs[-1][1:] = [channel]
        else:
            runs.append([channel])
    return f"(@{','.join(':'.join(map(str, run)) for run in runs)})"


def parse_channel_list(answer: str) -> tuple[int, ...]:
    """Channels of `(@101:103,205)`."""
    text = answer.strip()
    if not text.startswith("(@") or not text.endswith(")"):
        raise AnswerError("expected a channel list", answer)
    return parse_channels(text[2:-1])


def parse_scan(answer: str, count: int) -> tuple[float | None, ...]:
    """Read `2.31E+01,9.9E+37,...`: degC, None for an open or out-of-range sensor."""
    values = tuple(map(parse_reading, answer.split(",")))
    if len(values) != count:
        raise AnswerError(f"expected {count} values of a scan, found {len(values)}", answer)
    return values


class KeithleyDaq6510:
    """Role TemperatureScanner: the channels in the order given."""

    def __init__(
        self,
        link: TextLink,
        model: str = "",
        serial: str = "",
        *,
        channels: str | Sequence[int],
        thermocouple: str | None = None,
        thermistor: float | None = None,
    ) -> None:
        """channels are `101:108,201` or numbers; thermocouple is a type (K unless told), thermistor ohm at 25 degC.

        model is without the word MODEL of the instrument's own answer.
        """
        if thermocouple is not None and thermistor is not None:
            raise ConfigError("give thermocouple or thermistor_ohm, not both")
        if thermocouple is not None and thermocouple not in THERMOCOUPLES:
            raise ConfigError(f"thermocouple {thermocouple!r} is none of {', '.join(THERMOCOUPLES)}")
        if thermistor is not None and thermistor not in THERMISTORS:
            raise ConfigError(f"thermistor_ohm {thermistor:g} is none of {', '.join(map(str, THERMISTORS))}")
        self._link = link
        self._model, self._serial = model, serial
        self._channels = _checked(channels)
        self._list = format_channels(self._channels)
        self._thermocouple, self._thermistor = thermocouple or "K", thermistor
        self._configured_session: int | None = None

    async def connect(self) -> Identity:
        await self._link.open()
        identity = check_identity(await self.identify(), self._model, self._serial)
        language = await self._link.query("*LANG?")
        if language != "SCPI":
            raise SettingError(f"its command language is {language}; set it to SCPI at the front panel and restart it")
        await self._configure()
        return identity

    async def identify(self) -> Identity:
        answered = parse_idn(await self._link.query("*IDN?"))
        if (answered.manufacturer, answered.model) != (MANUFACTURER, MODEL):
            raise IdentityError("model", f"{MANUFACTURER},{MODEL}", f"{answered.manufacturer},{answered.model}")
        return Identity(
            answered.manufacturer, answered.model.removeprefix("MODEL "), answered.serial, answered.firmware
        )

    async def close(self) -> None:
        await self._link.close()

    async def read(self) -> tuple[float | None, ...]:
        await self._link.write(f":TRAC:CLE {BUFFER}")
        if self._link.reopened != self._configured_session:  # it may have been switched off and on meanwhile
            await self._configure()
        await self._link.write(":INIT")
        await self._link.write("*WAI")
        count = len(self._channels)
        try:
            scan, error = await self._link.query_many([f":TRAC:DATA? 1,{count},{BUFFER}", ":SYST:ERR:NEXT?"])
        except LinkError as lost:
            if lost.code == TIMEOUT:  # its only way to say no: ask it why, if it still answers
                await self._check_errors()
            raise
        if parse_error(error)[0]:
            await self._check_errors(error)
        return parse_scan(scan, count)

    async def _configure(self) -> None:
        await self._link.write("*RST")
        self._configured_session = self._link.reopened
        await self._link.write("*CLS")
        await self._link.write(f':SENS:FUNC "TEMP",{self._list}')
        await self._check_word(":SENS:FUNC", "TEMP")
        await self._set_word(":SENS:TEMP:UNIT", "CELS")
        if self._thermistor is not None:
            await self._set_word(":SENS:TEMP:TRAN", "THER")
            await self._link.write(f":SENS:TEMP:THER {self._thermistor:g},{self._list}")
            for channel in self._channels:
                answer = parse_number(await self._link.query(f":SENS:TEMP:THER? (@{channel})"))
                _compare(":SENS:TEMP:THER", channel, self._thermistor, answer)
        else:
            await self._set_word(":SENS:TEMP:TRAN", "TC")
            await self._set_word(":SENS:TEMP:TC:TYPE", self._thermocouple)
            await self._set_word(":SENS:TEMP:TC:RJUN:RSEL", "INT")  # the card's own cold junction
        await self._link.write(f":ROUT:SCAN:CRE {self._list}")
        scanned = parse_channel_list(await self._link.query(":ROUT:SCAN:CRE?"))
        if scanned != self._channels:
            raise SettingError(f"scan list: wrote {self._list}, reads back {format_channels(scanned)}; check the cards")
        await self._link.write(":ROUT:SCAN:COUN:SCAN 1")
        scans = parse_number(await self._link.query(":ROUT:SCAN:COUN:SCAN?"))
        if scans != 1:
            raise SettingError(f"number of scans: wrote 1, reads back {scans:g}; check the instrument")
        await self._check_errors()

    async def _set_word(self, command: str, word: str) -> None:
        """Write a keyword to every channel and read it back from each."""
        await self._link.write(f"{command} {word},{self._list}")
        await self._check_word(command, word)

    async def _check_word(self, command: str, word: str) -> None:
        """Compare what every channel answers, in the short or the long form, quoted or not."""
        answers = await self._link.query_many([f"{command}? (@{channel})" for channel in self._channels])
        for channel, answer in zip(self._channels, answers, strict=True):
            if not answer.strip(" \"'").upper().startswith(word):
                _compare(command, channel, word, answer)

    async def _check_errors(self, first: str = "") -> None:
        """Raise what the error queue holds, after `first` that was already taken from it."""
        errors = [first] if first else []
        while len(errors) < ERROR_QUEUE_DEPTH:
            answer = await self._link.query(":SYST:ERR:NEXT?")
            if parse_error(answer)[0] == 0:
                break
            errors.append(answer)
        if errors:
            raise DeviceError("; ".join("{} {}".format(*parse_error(error)) for error in errors))


def _checked(channels: str | Sequence[int]) -> tuple[int, ...]:
    """The channels of a line file; raises ConfigError."""
    written = channels if isinstance(channels, str) else ",".join(map(str, channels))
    try:
        parsed = parse_channels(written)
    except AnswerError:
        parsed = ()
    if not parsed or len(set(parsed)) != len(parsed):
        raise ConfigError(f"channels must be different ones like 101:110,205, not {channels!r}")
    return parsed


def _compare(command: str, channel: int, written: object, read_back: object) -> None:
    if read_back != written:
        raise SettingError(f"{command} of channel {channel}: wrote {written}, reads back {read_back}; check its card")
