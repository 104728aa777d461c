"""Transcripts of the Hioki BT4560, from its manual's message format and recorded values of a real unit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import AnswerError, ConfigError, DeviceError, IdentityError, LinkError, SettingError
from drivers.hioki_bt4560 import FREQUENCIES, HiokiBt4560, parse_values, settable
from drivers.links import MemoryTextLink, script
from drivers.roles import SpectrumMeter, SpectrumPoint

Transcript = list[tuple[bytes, bytes]]

CONNECT: Transcript = [
    (b"*IDN?\r\n", b"HIOKI,BT4560,0,V1.02\r\n"),
    (b"*ESR?\r\n", b"128\r\n"),
    (b":SYST:HEAD OFF\r\n", b""),
    (b":FUNC RV\r\n", b""),
    (b":FUNC?\r\n", b"RV\r\n"),
    (b":AUT OFF\r\n", b""),
    (b":AUT?\r\n", b"OFF\r\n"),
    (b":RANG 0.1\r\n", b""),
    (b":RANG?\r\n", b"100.000E-3\r\n"),
    (b":SAMP:RATE Z,MED\r\n", b""),
    (b":SAMP:RATE V,FAST\r\n", b""),
    (b":CALC:AVER 1\r\n", b""),
    (b":MEAS:VAL 1\r\n", b""),
    (b":TRIG:SOUR EXTERNAL\r\n", b""),
    (b":TRIG:SOUR?\r\n", b"EXTERNAL\r\n"),
    (b":INIT:CONT ON\r\n", b""),
    (b":INIT:CONT?\r\n", b"ON\r\n"),
    (b"*ESR?\r\n", b"0\r\n"),
]
START: Transcript = [
    (b":FREQ 0.17\r\n", b""),
    (b":FREQ?\r\n", b"1.70000E-01\r\n"),
    (b":ESR0?\r\n", b"1\r\n"),
    (b"*TRG\r\n", b""),
    (b"*ESR?\r\n", b"0\r\n"),
]
RUNNING: Transcript = [(b":ESR0?\r\n", b"0\r\n")]
ENDED: Transcript = [(b":ESR0?\r\n", b"3\r\n")]


def fetched(values: bytes, events: bytes = b"0\r\n") -> Transcript:
    return [*ENDED, (b":FETC?\r\n", values), (b"*ESR?\r\n", events)]


def memory(transcript: Transcript) -> MemoryTextLink:
    return MemoryTextLink(script(transcript), terminator=b"\r\n")


async def started(transcript: Transcript) -> HiokiBt4560:
    driver = HiokiBt4560(memory([*CONNECT, *START, *transcript]))
    await driver.connect()
    await driver.start(0.1666)
    return driver


async def test_a_point_is_started_and_asked_for_until_it_is_there() -> None:
    point = b"+1.02130E-02,-3.26531E-03,+3.37801E+00\r\n"
    meter: SpectrumMeter = await started([*RUNNING, *RUNNING, *fetched(point)])
    assert [await meter.result(), await meter.result()] == [None, None]
    assert await meter.result() == SpectrumPoint(0.17, 0.010213, -0.00326531)
    await meter.close()


async def test_what_the_meter_is() -> None:
    meter: SpectrumMeter = HiokiBt4560(memory(CONNECT), "BT4560")
    assert (meter.max_voltage, meter.frequencies) == (5.0, (0.1, 1050.0))
    identity = await meter.connect()
    assert (identity.manufacturer, identity.model, identity.serial) == ("HIOKI", "BT4560", "")


async def test_a_special_order_unit_says_its_voltage_in_the_line_file() -> None:
    wide = [(b":RANG 0.3\r\n", b""), (b":RANG?\r\n", b"+3.00000E-01\r\n")]
    slow = [(b":SAMP:RATE Z,SLOW\r\n", b"")]
    link = memory([*CONNECT[:7], *wide, *slow, *CONNECT[10:]])
    meter = HiokiBt4560(link, resistance_range=0.3, max_voltage=20.0, rate="SLOW")
    await meter.connect()
    assert meter.max_voltage == 20.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resistance_range": 1.0}, "no range of 1 ohm; known are 0.003, 0.01, 0.03, 0.1, 0.3, 3"),
        ({"rate": "MEDIUM"}, "'MEDIUM' is none of FAST, MED, SLOW"),
        ({"max_voltage": 450.0}, "a unit with a range of 0.1 ohm stands 5 V, not 450 V"),
        ({"max_voltage": 0.0}, "stands 5 V, not 0 V"),
    ],
)
def test_settings_that_no_unit_has(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        HiokiBt4560(memory([]), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("idn", "expected"),
    [(b"KEYSIGHT,BT4560,0,1\r\n", "maker"), (b"HIOKI,BT3562A,0,V1.00\r\n", "BT4560")],
)
async def test_another_instrument_is_refused(idn: bytes, expected: str) -> None:
    with pytest.raises(IdentityError, match=expected):
        await HiokiBt4560(memory([(b"*IDN?\r\n", idn)])).connect()
    with pytest.raises(IdentityError, match="BT4560-50"):
        await HiokiBt4560(memory(CONNECT), "BT4560-50").connect()


@pytest.mark.parametrize(
    ("index", "answer", "message"),
    [
        (4, b"ZV\r\n", ":FUNC: wrote RV, reads back 'ZV'"),
        (8, b"10.0000E-3\r\n", ":RANG: wrote 0.1, reads back 0.01"),
        (14, b"IMMEDIATE\r\n", "wrote EXTERNAL, reads back 'IMMEDIATE'"),
        (14, b"E\r\n", "wrote EXTERNAL, reads back 'E'"),
    ],
)
async def test_a_setting_that_reads_back_differently(index: int, answer: bytes, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        await HiokiBt4560(memory([*CONNECT[:index], (CONNECT[index][0], answer)])).connect()


async def test_a_setting_that_is_not_read_back_is_judged_by_the_event_register() -> None:
    with pytest.raises(DeviceError, match="command error"):
        await HiokiBt4560(memory([*CONNECT[:-1], (b"*ESR?\r\n", b"32\r\n")])).connect()


async def test_a_frequency_that_reads_back_differently_starts_nothing() -> None:
    driver = HiokiBt4560(memory([*CONNECT, START[0], (b":FREQ?\r\n", b"2.00000E-01\r\n")]))
    await driver.connect()
    with pytest.raises(SettingError, match=r"wrote 0\.17, reads back 0\.2"):
        await driver.start(0.17)
    with pytest.raises(DeviceError, match="start one first"):
        await driver.result()


async def test_a_refused_trigger_starts_nothing() -> None:
    driver = HiokiBt4560(memory([*CONNECT, *START[:-1], (b"*ESR?\r\n", b"16\r\n")]))
    await driver.connect()
    with pytest.raises(DeviceError, match="execution error"):
        await driver.start(0.17)
    with pytest.raises(DeviceError, match="start one first"):
        await driver.result()


async def test_a_measurement_is_read_once() -> None:
    driver = await started(fetched(b"+1.02130E-02,-3.26531E-03,+3.37801E+00\r\n"))
    assert await driver.result() is not None
    with pytest.raises(DeviceError, match="start one first"):
        await driver.result()


@pytest.mark.parametrize(
    "values",
    [
        b"+1.00000E+09,-3.26531E-03,+3.37801E+00\r\n",
        b"+1.02130E-02,-1.00000E+09,+3.37801E+00\r\n",
        b"+1.00000E+10,+1.00000E+10,+1.00000E+10\r\n",
        b"+1.02130E-02,-3.26531E-03,+1.00000E+10\r\n",
    ],
)
async def test_overrange_and_bad_contact_are_errors_not_values(values: bytes) -> None:
    with pytest.raises(DeviceError, match="overrange or bad contact"):
        await (await started(fetched(values))).result()


async def test_values_that_came_with_an_error_are_not_believed() -> None:
    driver = await started(fetched(b"+1.02130E-02,-3.26531E-03,+3.37801E+00\r\n", b"8\r\n"))
    with pytest.raises(DeviceError, match="device error"):
        await driver.result()


async def test_an_answer_late_by_one_is_noticed() -> None:
    driver = await started(fetched(b"0\r\n", b"+1.02130E-02,-3.26531E-03,+3.37801E+00\r\n"))
    with pytest.raises(AnswerError):
        await driver.result()


async def test_silence_is_a_timeout() -> None:
    driver = await started([*ENDED, (b":FETC?\r\n", b"")])
    with pytest.raises(LinkError) as caught:
        await driver.result()
    assert caught.value.code == "E-LINK-TIMEOUT"


@pytest.mark.parametrize("answer", ["", "1,2", "1,2,3,4", "NaN,1,1", "1,,1", "+1.0E-02,-3.2E-03,3.4V", "5.0,1,1"])
def test_answers_that_do_not_parse(answer: str) -> None:
    with pytest.raises(AnswerError):
        parse_values(answer)


@pytest.mark.parametrize(
    ("asked", "set_to"),
    [
        (0.1, 0.1),
        (0.1234, 0.12),
        (0.996, 1.0),
        (7.56, 7.6),
        (9.96, 10.0),
        (67.4, 67.0),
        (584.0, 580.0),
        (1050.0, 1050.0),
    ],
)
def test_frequencies_have_two_digits(asked: float, set_to: float) -> None:
    assert settable(asked) == set_to


@given(st.floats(*FREQUENCIES))
def test_a_settable_frequency_stays_itself_and_is_near(frequency: float) -> None:
    chosen = settable(frequency)
    assert settable(chosen) == chosen
    assert abs(chosen - frequency) <= 0.051 * frequency


@pytest.mark.parametrize("frequency", [0.05, 1051.0, -1.0, float("nan"), float("inf")])
def test_frequencies_outside_are_refused(frequency: float) -> None:
    with pytest.raises(SettingError, match=r"outside 0\.1 to 1050 Hz"):
        settable(frequency)
