"""Transcripts of the Keysight 34461A, from the Truevolt guide and QCoDeS' driver of the series."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import AnswerError, ConfigError, DeviceError, IdentityError, LinkError, SettingError
from drivers.keysight_34461a import Keysight34461A
from drivers.links import MemoryTextLink, VisaLink, script
from drivers.numbers import parse_reading
from drivers.roles import Voltmeter
from tests.drivers.hislip_peer import HislipPeer
from tests.drivers.peers import tcp_peer
from tests.drivers.test_visa_link import TIMEOUT

Transcript = list[tuple[bytes, bytes]]

IDN = b"Keysight Technologies,34461A,MY53212931,A.02.17-02.40-02.17-00.52-04-02\n"
WHO = (b"*IDN?\n", IDN)
NO_ERROR = (b"SYST:ERR?\n", b'+0,"No error"\n')


def kept(command: bytes, value: bytes, answer: bytes) -> Transcript:
    return [(b"%s %s\n" % (command, value), b""), (b"%s?\n" % command, answer + b"\n")]


RESET: Transcript = [(b"*RST\n", b""), (b"*CLS\n", b""), *kept(b"FUNC", b'"VOLT"', b'"VOLT"')]
AUTOMATIC = kept(b"VOLT:RANG:AUTO", b"ON", b"1")
REST: Transcript = [
    *kept(b"VOLT:NPLC", b"10", b"+1.00000000E+01"),
    *kept(b"VOLT:ZERO:AUTO", b"ON", b"1"),
    *kept(b"VOLT:IMP:AUTO", b"ON", b"1"),
    *kept(b"TRIG:SOUR", b"IMM", b"IMM"),
    *kept(b"TRIG:COUN", b"1", b"+1.00000000E+00"),
    *kept(b"SAMP:COUN", b"1", b"+1"),
    NO_ERROR,
]
CONFIGURE = [*RESET, *AUTOMATIC, *REST]


def memory(*transcript: tuple[bytes, bytes]) -> MemoryTextLink:
    return MemoryTextLink(script(transcript))


async def after(*transcript: tuple[bytes, bytes]) -> Keysight34461A:
    """A connected driver whose instrument then speaks the transcript."""
    driver = Keysight34461A(memory(WHO, *CONFIGURE, *transcript))
    await driver.connect()
    return driver


def reading(answer: bytes) -> Transcript:
    return [(b"READ?\n", answer + b"\n"), NO_ERROR]


async def test_connect_configures_and_reads_everything_back() -> None:
    driver: Voltmeter = Keysight34461A(memory(WHO, *CONFIGURE), "34461A", "MY53212931")
    identity = await driver.connect()
    assert (identity.model, identity.serial, identity.firmware[:7]) == ("34461A", "MY53212931", "A.02.17")
    await driver.close()


async def test_a_range_and_a_fast_reading() -> None:
    fixed, fast = kept(b"VOLT:RANG", b"10", b"+1.00000000E+01"), kept(b"VOLT:NPLC", b"0.2", b"+2.00000000E-01")
    transcript = [WHO, *RESET, *fixed, *fast, *REST[2:]]
    await Keysight34461A(memory(*transcript), voltage_range=10, cycles=0.2).connect()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"voltage_range": 12.0}, "range_v 12 is none of 0.1, 1, 10, 100, 1000"),
        ({"voltage_range": math.nan}, "range_v nan"),
        ({"cycles": 100}, "nplc 100 is none of 0.02, 0.2, 1, 10"),
        ({"cycles": 0}, "nplc 0"),
    ],
)
def test_settings_it_does_not_have(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Keysight34461A(memory(), **settings)  # type: ignore[arg-type]


async def test_the_makers_former_name_and_its_sisters_are_known() -> None:
    idn = b"Agilent Technologies,34465A,MY53207926,A.01.10-02.25-01.10-00.35-01-01\n"
    driver = Keysight34461A(memory((b"*IDN?\n", idn), *CONFIGURE))
    assert (await driver.connect()).model == "34465A"


@pytest.mark.parametrize(
    ("idn", "model", "serial"),
    [
        (b"KEITHLEY INSTRUMENTS,MODEL DMM6500,1,1\n", "", ""),
        (b"Keysight Technologies,34410A,MY1,2\n", "", ""),
        (IDN, "34465A", ""),
        (IDN, "", "MY00000000"),
    ],
)
async def test_another_instrument_is_refused_before_it_is_changed(idn: bytes, model: str, serial: str) -> None:
    with pytest.raises(IdentityError):
        await Keysight34461A(memory((b"*IDN?\n", idn)), model, serial).connect()


@pytest.mark.parametrize("answer", [b"Keysight Technologies,34461A\n", b"+3.85E+00\n"])
async def test_an_identity_that_does_not_parse(answer: bytes) -> None:
    with pytest.raises(AnswerError):
        await Keysight34461A(memory((b"*IDN?\n", answer))).connect()


@pytest.mark.parametrize(
    ("index", "answer", "message"),
    [
        (3, b'"CURR"\n', "FUNC: wrote .* reads back"),
        (5, b"0\n", "VOLT:RANG:AUTO: wrote ON, reads back 0"),
        (7, b"+1.00000000E+00\n", "VOLT:NPLC: wrote 10, reads back"),
        (13, b"EXT\n", "TRIG:SOUR: wrote IMM, reads back EXT"),
        (17, b"+2\n", "SAMP:COUN: wrote 1, reads back"),
    ],
)
async def test_a_setting_that_reads_back_differently(index: int, answer: bytes, message: str) -> None:
    transcript = list(CONFIGURE[: index + 1])
    transcript[index] = (transcript[index][0], answer)
    with pytest.raises(SettingError, match=message):
        await Keysight34461A(memory(WHO, *transcript)).connect()


async def test_an_error_of_its_own_during_configuration() -> None:
    errors: Transcript = [
        (b"SYST:ERR?\n", b'-113,"Undefined header"\n'),
        (b"SYST:ERR?\n", b'-350,"Error queue overflow"\n'),
    ]
    with pytest.raises(DeviceError, match="-113 Undefined header; -350 Error queue overflow"):
        await Keysight34461A(memory(WHO, *CONFIGURE[:-1], *errors, NO_ERROR)).connect()


async def test_a_reading() -> None:
    driver = await after(*reading(b"+3.85012345E+00"), *reading(b"-4.70000000E-07"))
    assert [await driver.measure(), await driver.measure()] == [3.85012345, -4.7e-7]


@pytest.mark.parametrize("answer", [b"+9.90000000E+37", b"-9.90000000E+37", b"9.9E37"])
async def test_an_overload_is_no_value(answer: bytes) -> None:
    assert await (await after(*reading(answer))).measure() is None


@pytest.mark.parametrize(
    "answer", [b"+9.91000000E+37", b"NaN", b"", b"+3.85E", b"+3.85V", b"+3.8,+3.9", b'+0,"No error"']
)
async def test_what_is_no_reading_is_an_error(answer: bytes) -> None:
    driver = await after(*reading(answer))
    with pytest.raises(AnswerError):
        await driver.measure()


async def test_an_answer_late_by_one_is_noticed() -> None:
    driver = await after((b"READ?\n", b'+0,"No error"\n'), (b"SYST:ERR?\n", b"+3.85012345E+00\n"))
    with pytest.raises(AnswerError):
        await driver.measure()


async def test_an_error_behind_a_reading_makes_it_invalid() -> None:
    driver = await after((b"READ?\n", b"+3.85012345E+00\n"), (b"SYST:ERR?\n", b'-222,"Data out of range"\n'), NO_ERROR)
    with pytest.raises(DeviceError, match="-222 Data out of range"):
        await driver.measure()


async def test_silence_that_the_error_queue_explains() -> None:
    # after its silence the session is a new one
    driver = await after((b"READ?\n", b""), (b"SYST:ERR?\n", b'-410,"Query INTERRUPTED"\n'), NO_ERROR)
    with pytest.raises(DeviceError, match="-410"):
        await driver.measure()


async def test_silence_that_nothing_explains_is_a_timeout() -> None:
    for explanation in (NO_ERROR, (b"SYST:ERR?\n", b"")):
        driver = await after((b"READ?\n", b""), explanation)
        with pytest.raises(LinkError) as caught:
            await driver.measure()
        assert caught.value.code == "E-LINK-TIMEOUT"


async def test_after_a_lost_connection_it_is_configured_again_before_it_measures() -> None:
    driver = await after((b"READ?\n", b""), NO_ERROR, *CONFIGURE, *reading(b"+3.85012345E+00"))
    with pytest.raises(LinkError):
        await driver.measure()
    assert await driver.measure() == 3.85012345


async def test_over_hislip() -> None:
    answers = {question: answer for question, answer in [WHO, *CONFIGURE, *reading(b"+3.85012345E+00")] if answer}
    async with tcp_peer(HislipPeer(answers)) as port:
        driver = Keysight34461A(VisaLink(f"TCPIP::127.0.0.1::hislip0,{port}::INSTR", timeout=TIMEOUT))
        assert (await driver.connect()).model == "34461A"
        assert await driver.measure() == 3.85012345
        await driver.close()


@given(st.floats(-1200, 1200))
def test_every_voltage_is_read_to_its_last_digit(volts: float) -> None:
    text = f"{volts:+.8E}"
    assert parse_reading(text) == float(text)
