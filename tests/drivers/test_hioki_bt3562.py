"""Transcripts of the Hioki BT3562, from its manual's answer formats."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from drivers.errors import AnswerError, ConfigError, DeviceError, IdentityError, LinkError, SettingError
from drivers.hioki_bt3562 import HiokiBt3562, parse_reading
from drivers.links import MemoryTextLink, script
from drivers.roles import ImpedanceMeter, ImpedanceReading

Transcript = list[tuple[bytes, bytes]]

IDN: Transcript = [(b"*IDN?\r\n", b"HIOKI,BT3562,0,V1.00\r\n"), (b"*ESR?\r\n", b"128\r\n")]
FUNCTION: Transcript = [(b":SYST:HEAD OFF\r\n", b""), (b":FUNC RV\r\n", b""), (b":FUNC?\r\n", b"RV\r\n")]
AUTORANGE: Transcript = [(b":AUT ON\r\n", b""), (b":AUT?\r\n", b"ON\r\n")]
RANGES: Transcript = [
    (b":RES:RANG 0.03\r\n", b""),
    (b":RES:RANG?\r\n", b"30.000E-3\r\n"),
    (b":VOLT:RANG 60\r\n", b""),
    (b":VOLT:RANG?\r\n", b"60.0000E+0\r\n"),
]
REST: Transcript = [
    (b":SAMP:RATE MEDIUM\r\n", b""),
    (b":SAMP:RATE?\r\n", b"MEDIUM\r\n"),
    (b":TRIG:SOUR IMMEDIATE\r\n", b""),
    (b":TRIG:SOUR?\r\n", b"IMM\r\n"),
    (b":INIT:CONT OFF\r\n", b""),
    (b":INIT:CONT?\r\n", b"OFF\r\n"),
    (b"*ESR?\r\n", b"0\r\n"),
]
CONNECT = [*IDN, *FUNCTION, *AUTORANGE, *REST]


def memory(transcript: Transcript, pauses: list[float] | None = None) -> MemoryTextLink:
    async def pause(seconds: float) -> None:
        (pauses if pauses is not None else []).append(seconds)

    return MemoryTextLink(script(transcript), terminator=b"\r\n", sleep=pause)


async def test_connect_sets_reads_back_and_lets_it_settle() -> None:
    pauses: list[float] = []
    driver: ImpedanceMeter = HiokiBt3562(memory(CONNECT, pauses), "BT3562")
    identity = await driver.connect()
    assert (identity.model, identity.serial) == ("BT3562", "")
    assert pauses == [0.1]
    assert driver.max_voltage == 60.0
    await driver.close()


@pytest.mark.parametrize(
    ("model", "volts"), [("BT3561A", 60), ("BT3562-01", 60), ("BT3562A", 100), ("BT3563", 300), ("BT3563A", 300)]
)
async def test_the_model_says_what_its_terminals_may_see(model: str, volts: float) -> None:
    idn = (b"*IDN?\r\n", f"HIOKI,{model},0,V1.00\r\n".encode())
    driver: ImpedanceMeter = HiokiBt3562(memory([idn, *CONNECT[1:]]))
    with pytest.raises(DeviceError, match="before connect"):
        _ = driver.max_voltage
    await driver.connect()
    assert driver.max_voltage == volts


async def test_an_expected_voltage_selects_a_range_of_the_model_that_answers() -> None:
    idn = (b"*IDN?\r\n", b"HIOKI,BT3562A,0,V1.00\r\n")
    ranges = [*RANGES[:2], (b":VOLT:RANG 100\r\n", b""), (b":VOLT:RANG?\r\n", b"100.000E+0\r\n")]
    transcript = [idn, IDN[1], *FUNCTION, *ranges, *REST]
    await HiokiBt3562(memory(transcript), resistance=0.012, voltage=92.0).connect()
    with pytest.raises(ConfigError, match="92 is beyond the highest range 60"):
        await HiokiBt3562(memory([*IDN, *FUNCTION, *RANGES[:2]]), resistance=0.012, voltage=92.0).connect()


async def test_expected_magnitudes_choose_fixed_ranges() -> None:
    await HiokiBt3562(memory([*IDN, *FUNCTION, *RANGES, *REST]), resistance=0.012, voltage=45.0).connect()


@pytest.mark.parametrize(
    "options",
    [
        {"resistance": 1.0},
        {"resistance": 1.0, "voltage": 301.0},
        {"model": "BT3562", "resistance": 1.0, "voltage": 61.0},
        {"model": "BT3562A", "resistance": 1.0, "voltage": 101.0},
        {"rate": "QUICK"},
    ],
)
def test_settings_that_make_no_sense(options: Mapping[str, object]) -> None:
    with pytest.raises(ConfigError):
        HiokiBt3562(memory([]), **options)  # type: ignore[arg-type]


async def test_another_instrument_is_refused() -> None:
    with pytest.raises(IdentityError):
        await HiokiBt3562(memory([(b"*IDN?\r\n", b"HIOKI,SW1001,0,V1.00\r\n")])).connect()
    with pytest.raises(IdentityError):
        await HiokiBt3562(memory(IDN), "BT3563").connect()


async def test_a_setting_that_reads_back_differently() -> None:
    transcript: Transcript = [*IDN, *FUNCTION[:2], (b":FUNC?\r\n", b"RESISTANCE\r\n")]
    with pytest.raises(SettingError, match=":FUNC"):
        await HiokiBt3562(memory(transcript)).connect()


async def test_a_command_error_shows_in_the_event_register_alone() -> None:
    with pytest.raises(DeviceError, match="command error, execution error"):
        await HiokiBt3562(memory([*CONNECT[:-1], (b"*ESR?\r\n", b"48\r\n")])).connect()


@pytest.mark.parametrize(
    ("answer", "resistance", "voltage"),
    [
        (" 12.3456E-3, 3.85012E+0", 12.3456e-3, 3.85012),
        ("  2.3456E-3,-3.85012E+0", 2.3456e-3, -3.85012),
        ("- 2.3456E-3, 45.6789E+0", -2.3456e-3, 45.6789),
        ("   0.123E-3,  3.1462E+0", 0.123e-3, 3.1462),
        ("  28.54E-3, 45.6789E+0", 28.54e-3, 45.6789),
        (" 10.0000E+8, 3.85012E+0", None, 3.85012),
        (" 100.000E+7, 1.00000E+9", None, None),
        ("+10.0000E+9,+1.00000E+10", None, None),
        ("+100.000E+8,+10.0000E+9", None, None),
        (" 1000.00E+6,-1.00000E+9", None, None),
        ("+1000.00E+7,+1.00000E+10", None, None),
    ],
)
def test_fixed_width_answers(answer: str, resistance: float | None, voltage: float | None) -> None:
    assert parse_reading(answer) == ImpedanceReading(resistance, voltage)


@pytest.mark.parametrize("answer", ["", " 12.3456E-3", "1,2,3", "NaN, 1.0", "--1,1", "-,1", " 5.0000E+5, 1.0", "1V,1"])
def test_answers_that_do_not_parse(answer: str) -> None:
    with pytest.raises(AnswerError):
        parse_reading(answer)


async def test_measure() -> None:
    driver = HiokiBt3562(memory([*CONNECT, (b":READ?\r\n", b"  28.540E-3, 45.6789E+0\r\n"), (b"*ESR?\r\n", b"0\r\n")]))
    await driver.connect()
    assert await driver.measure() == ImpedanceReading(28.54e-3, 45.6789)


async def test_no_answer_is_explained_by_the_event_register() -> None:
    driver = HiokiBt3562(memory([*CONNECT, (b":READ?\r\n", b""), (b"*ESR?\r\n", b"16\r\n")]))
    await driver.connect()
    with pytest.raises(DeviceError, match="execution error"):
        await driver.measure()


async def test_no_answer_without_a_reason_stays_a_timeout() -> None:
    driver = HiokiBt3562(memory([*CONNECT, (b":READ?\r\n", b""), (b"*ESR?\r\n", b"0\r\n")]))
    await driver.connect()
    with pytest.raises(LinkError) as caught:
        await driver.measure()
    assert caught.value.code == "E-LINK-TIMEOUT"
