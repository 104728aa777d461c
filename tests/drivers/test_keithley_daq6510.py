"""Transcripts of the Keithley DAQ6510, from PyMeasure's and the maker's published command sequences."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from drivers.errors import AnswerError, ConfigError, DeviceError, IdentityError, LinkError, SettingError
from drivers.keithley_daq6510 import KeithleyDaq6510, format_channels, parse_channels, parse_scan
from drivers.links import MemoryTextLink, script
from drivers.roles import TemperatureScanner

Transcript = list[tuple[bytes, bytes]]

LIST = b"(@101:103,201)"
CHANNELS = (101, 102, 103, 201)
WHO: Transcript = [
    (b"*IDN?\n", b"KEITHLEY INSTRUMENTS,MODEL DAQ6510,04340543,1.7.12b\n"),
    (b"*LANG?\n", b"SCPI\n"),
]
NO_ERROR: Transcript = [(b":SYST:ERR:NEXT?\n", b'0,"No error;0;0 0"\n')]


def checked(command: bytes, answer: bytes) -> Transcript:
    return [(b"%s? (@%d)\n" % (command, channel), answer + b"\n") for channel in CHANNELS]


def kept(command: bytes, word: bytes) -> Transcript:
    return [(b"%s %s,%s\n" % (command, word, LIST), b""), *checked(command, word)]


TEMPERATURE: Transcript = [
    (b"*RST\n", b""),
    (b"*CLS\n", b""),
    (b':SENS:FUNC "TEMP",%s\n' % LIST, b""),
    *checked(b":SENS:FUNC", b'"TEMP"'),
    *kept(b":SENS:TEMP:UNIT", b"CELS"),
]
THERMOCOUPLES: Transcript = [
    *kept(b":SENS:TEMP:TRAN", b"TC"),
    *kept(b":SENS:TEMP:TC:TYPE", b"K"),
    *kept(b":SENS:TEMP:TC:RJUN:RSEL", b"INT"),
]
SCAN: Transcript = [
    (b":ROUT:SCAN:CRE %s\n" % LIST, b""),
    (b":ROUT:SCAN:CRE?\n", LIST + b"\n"),
    (b":ROUT:SCAN:COUN:SCAN 1\n", b""),
    (b":ROUT:SCAN:COUN:SCAN?\n", b"1\n"),
    *NO_ERROR,
]
CONFIGURE = [*TEMPERATURE, *THERMOCOUPLES, *SCAN]
START: Transcript = [(b':TRAC:CLE "defbuffer1"\n', b""), (b":INIT\n", b""), (b"*WAI\n", b"")]
DATA = b':TRAC:DATA? 1,4,"defbuffer1"\n'


def memory(*transcript: tuple[bytes, bytes]) -> MemoryTextLink:
    return MemoryTextLink(script(transcript))


async def after(*transcript: tuple[bytes, bytes]) -> KeithleyDaq6510:
    """A connected driver whose instrument then speaks the transcript."""
    driver = KeithleyDaq6510(memory(*WHO, *CONFIGURE, *transcript), channels="101:103,201")
    await driver.connect()
    return driver


async def test_connect_configures_every_channel_and_reads_it_back() -> None:
    link = memory(*WHO, *CONFIGURE)
    driver: TemperatureScanner = KeithleyDaq6510(link, "DAQ6510", "04340543", channels=[101, 102, 103, 201])
    identity = await driver.connect()
    assert (identity.model, identity.serial, identity.firmware) == ("DAQ6510", "04340543", "1.7.12b")
    await driver.close()


async def test_thermistors() -> None:
    ohms: Transcript = [(b":SENS:TEMP:THER 10000,%s\n" % LIST, b""), *checked(b":SENS:TEMP:THER", b"1.000000E+04")]
    transcript = [*WHO, *TEMPERATURE, *kept(b":SENS:TEMP:TRAN", b"THER"), *ohms, *SCAN]
    await KeithleyDaq6510(memory(*transcript), channels="101:103,201", thermistor=10000).connect()


async def test_long_forms_are_understood_when_read_back() -> None:
    long = [
        (sent, answer.replace(b"CELS\n", b"CELSIUS\n").replace(b"INT\n", b"INTernal\n")) for sent, answer in CONFIGURE
    ]
    await KeithleyDaq6510(memory(*WHO, *long), channels="101:103,201").connect()


@pytest.mark.parametrize(
    ("answer", "model", "serial"),
    [
        (b"KEITHLEY INSTRUMENTS,MODEL DMM6500,04340543,1.7.12b\n", "", ""),
        (b"HIOKI,BT3562,0,V1.00\n", "", ""),
        (WHO[0][1], "", "04340544"),
    ],
)
async def test_another_instrument_is_refused(answer: bytes, model: str, serial: str) -> None:
    with pytest.raises(IdentityError):
        await KeithleyDaq6510(memory((b"*IDN?\n", answer)), model, serial, channels="101").connect()


async def test_another_command_language_is_refused() -> None:
    with pytest.raises(SettingError, match="TSP"):
        await KeithleyDaq6510(memory(WHO[0], (b"*LANG?\n", b"TSP\n")), channels="101").connect()


async def test_a_channel_that_keeps_another_setting_is_named() -> None:
    transcript = [*TEMPERATURE[:4], (b":SENS:FUNC? (@102)\n", b'"VOLT:DC"\n'), *TEMPERATURE[5:7]]
    with pytest.raises(SettingError, match='channel 102: wrote TEMP, reads back "VOLT:DC"'):
        await KeithleyDaq6510(memory(*WHO, *transcript), channels="101:103,201").connect()


async def test_a_scan_list_that_reads_back_differently() -> None:
    transcript = [*TEMPERATURE, *THERMOCOUPLES, SCAN[0], (b":ROUT:SCAN:CRE?\n", b"(@101:103)\n")]
    with pytest.raises(SettingError, match="scan list"):
        await KeithleyDaq6510(memory(*WHO, *transcript), channels="101:103,201").connect()


async def test_what_the_error_queue_holds_after_the_settings_is_raised() -> None:
    refused = (b":SYST:ERR:NEXT?\n", b'-222,"Parameter data out of range;1;2026/10/17 12:00:00.000"\n')
    transcript = [*CONFIGURE[:-1], refused, *NO_ERROR]
    with pytest.raises(DeviceError, match="-222 Parameter data out of range"):
        await KeithleyDaq6510(memory(*WHO, *transcript), channels="101:103,201").connect()


async def test_read_is_one_scan() -> None:
    values = b"2.531250E+01,-1.05E+1,9.900000E+37,-9.9E37\n"
    driver = await after(*[*START, (DATA, values), *NO_ERROR] * 2)
    assert await driver.read() == (25.3125, -10.5, None, None)
    assert await driver.read() == (25.3125, -10.5, None, None)


@pytest.mark.parametrize(
    "answer", ["", "1.0", "1,2,3,4,5", "1,2,3,9.91E37", "1,2,3,nan", "1,2,3,", "1,2,3,4C", "1,2,3,1E31"]
)
def test_scans_that_do_not_parse(answer: str) -> None:
    with pytest.raises(AnswerError):
        parse_scan(answer, 4)


async def test_an_error_of_the_scan_is_raised_with_all_the_queue_holds() -> None:
    error = b'-213,"Init ignored;1;2026/10/17 12:00:00.000"\n'
    driver = await after(*START, (DATA, b"1,2,3,4\n"), (b":SYST:ERR:NEXT?\n", error), *NO_ERROR)
    with pytest.raises(DeviceError, match="-213 Init ignored"):
        await driver.read()


async def test_no_answer_is_explained_by_the_error_queue() -> None:
    error = (b":SYST:ERR:NEXT?\n", b'-230,"Data corrupt or stale;1;0"\n')
    driver = await after(*START, (DATA, b""), error, *NO_ERROR)
    with pytest.raises(DeviceError, match="-230"):
        await driver.read()


async def test_no_answer_without_a_reason_stays_a_timeout() -> None:
    driver = await after(*START, (DATA, b""), *NO_ERROR)
    with pytest.raises(LinkError) as caught:
        await driver.read()
    assert caught.value.code == "E-LINK-TIMEOUT"


async def test_a_new_session_is_configured_again() -> None:
    """The instrument may have been switched off and on: its channels would measure volts."""

    def hanging_up(peer: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
        pending = [DATA]

        def receive(sent: bytes) -> bytes:
            if pending and sent == pending[0]:
                raise ConnectionResetError(pending.pop())
            return peer(sent)

        return receive

    scan = [(DATA, b"1,2,3,4\n"), *NO_ERROR]
    peer = script([*WHO, *CONFIGURE, *START, START[0], *CONFIGURE, *START[1:], *scan, *START, *scan])
    driver = KeithleyDaq6510(MemoryTextLink(hanging_up(peer)), channels="101:103,201")
    await driver.connect()
    with pytest.raises(LinkError):
        await driver.read()
    assert await driver.read() == (1, 2, 3, 4)
    assert await driver.read() == (1, 2, 3, 4)


@pytest.mark.parametrize(
    "options",
    [
        {"channels": ""},
        {"channels": []},
        {"channels": "101:103,102"},
        {"channels": [101, 101]},
        {"channels": "301"},
        {"channels": "1"},
        {"channels": "103:101"},
        {"channels": "101:201"},
        {"channels": "101", "thermocouple": "X"},
        {"channels": "101", "thermistor": 1000},
        {"channels": "101", "thermistor": 10000, "thermocouple": "K"},
    ],
)
def test_settings_that_make_no_sense(options: Mapping[str, object]) -> None:
    with pytest.raises(ConfigError):
        KeithleyDaq6510(memory(), **options)  # type: ignore[arg-type]


def test_channel_lists() -> None:
    assert parse_channels("101:103, 201") == CHANNELS
    assert format_channels(CHANNELS) == LIST.decode()
    assert format_channels([105, 101, 102]) == "(@105,101:102)"
