"""Transcripts of the GPT-9800: the manual's answers, and what real units answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import AnswerError, ConfigError, DeviceError, IdentityError, InstrumentError, SettingError
from drivers.gwinstek_gpt9800 import (
    GwInstekGpt9800,
    Measurement,
    parse_idn,
    parse_measurement,
    parse_setting,
    parse_test_state,
)
from drivers.links import MemoryTextLink, script
from drivers.roles import Identity, InsulationReading, InsulationTester

Transcript = list[tuple[bytes, bytes]]

CONNECT: Transcript = [
    (b"*IDN?\r\n", b"GPT-9804 ,EM110867    ,v2.08,\r\n"),
    (b"TEST:RET OFF\r\n", b""),
    (b"*CLS\r\n", b""),
]
OFF: Transcript = [(b"FUNC:TEST OFF\r\n", b""), (b"FUNC:TEST?\r\n", b"TEST OFF\r\n")]
SETTINGS: Transcript = [
    (b"MAIN:FUNC MANU\r\n", b""),
    (b"MAIN:FUNC?\r\n", b"MANU MODE\r\n"),
    (b"MANU:EDIT:MODE IR\r\n", b""),
    (b"MANU:EDIT:MODE?\r\n", b"IR\r\n"),
    (b"MANU:IR:VOLT 0.500\r\n", b""),
    (b"MANU:IR:VOLT?\r\n", b"0.500kV\r\n"),
    (b"MANU:IR:RHIS 9999\r\n", b""),
    (b"MANU:IR:RHIS?\r\n", b"9999M ohm\r\n"),
    (b"MANU:IR:RLOS 1\r\n", b""),
    (b"MANU:IR:RLOS?\r\n", b"0001M\r\n"),
    (b"MANU:IR:REF 0\r\n", b""),
    (b"MANU:IR:REF?\r\n", b"0000M\r\n"),
    (b"MANU:IR:TTIM 10.0\r\n", b""),
    (b"MANU:IR:TTIM?\r\n", b"010.0 S\r\n"),
    (b"MANU:RTIM 0.1\r\n", b""),
    (b"MANU:RTIM?\r\n", b"000.1 s\r\n"),
    (b"SYST:ERR?\r\n", b"0,No Error\r\n"),
]
VIEW = (b"MEAS?\r\n", b"IR ,VIEW ,0.000kV,0000M ohm,  ---.-S\r\n")
RUNNING = (b"MEAS?\r\n", b"IR ,TEST ,0.498kV,0015M ohm,T=000.3S\r\n")
ON: Transcript = [VIEW, (b"FUNC:TEST ON\r\n", b""), RUNNING]
STATE_ON = (b"FUNC:TEST?\r\n", b"TEST ON\r\n")
STATE_OFF = (b"FUNC:TEST?\r\n", b"TEST OFF\r\n")


def measured(answer: bytes) -> Transcript:
    return [STATE_OFF, (b"MEAS?\r\n", answer)]


async def pause(seconds: float) -> None:
    assert seconds == 0.3


async def connected(transcript: Transcript) -> GwInstekGpt9800:
    link = MemoryTextLink(script([*CONNECT, *transcript]), terminator=b"\r\n", sleep=pause)
    tester = GwInstekGpt9800(link, max_voltage=500.0)
    await tester.connect()
    return tester


async def started(transcript: Transcript) -> GwInstekGpt9800:
    tester = await connected([*OFF, *SETTINGS, *ON, *transcript])
    await tester.start(500.0, 10.0)
    return tester


async def test_a_test_is_started_polled_and_read_with_the_output_off() -> None:
    answer = b"IR ,PASS ,0.497kV,0015M ohm,T=010.0S\r\n"
    tester: InsulationTester = await started([STATE_ON, STATE_ON, *measured(answer)])
    assert [await tester.result(), await tester.result()] == [None, None]
    assert await tester.result() == InsulationReading(15e6, 497.0)
    await tester.close()


@pytest.mark.parametrize(
    ("answer", "reading"),
    [
        (b">IR, PASS, 0.500kV, 999M ohm, T=005.0S", InsulationReading(999e6, 500.0)),
        (b"<IR ,PASS ,0.500kV,9999M ohm,T=001.0S>", InsulationReading(9999e6, 500.0, at_least=True)),
        (b"IR ,PASS ,0.500kV,>9999M ohm,T=001.0S", InsulationReading(9999e6, 500.0, at_least=True)),
        (b"IR ,PASS ,0.500kV,12.50G ohm,T=001.0S", InsulationReading(9999e6, 500.0, at_least=True)),
        (b"IR ,FAIL ,0.310kV,0000M ohm,T=001.0S", InsulationReading(0.0, 310.0)),
        (b"IR ,FAIL ,0.024kV,0000M ohm,R=000.1S", InsulationReading(None, 24.0)),
        (b"IR ,FAIL ,0.024kV, ---M ohm,R=000.1S", InsulationReading(None, 24.0)),
        (b"IR ,FAIL ,0.497kV,----M ohm,T=001.0S", InsulationReading(None, 497.0)),
    ],
    ids=["manual", "over range", "above", "GPT-9900", "low", "breakdown", "breakdown without value", "no value"],
)
async def test_what_a_finished_test_says(answer: bytes, reading: InsulationReading) -> None:
    assert await (await started(measured(answer + b"\r\n"))).result() == reading


async def test_a_breakdown_in_the_ramp_has_begun_and_ended_when_it_is_looked_at() -> None:
    broken = b"IR ,FAIL ,0.024kV,0000M ohm,R=000.1S\r\n"
    tester = await connected([*OFF, *SETTINGS, *ON[:2], (b"MEAS?\r\n", broken), *measured(broken)])
    await tester.start(500.0, 10.0)
    assert await tester.result() == InsulationReading(None, 24.0)


async def test_an_open_interlock_is_named_and_the_tester_switched_off() -> None:
    tester = await connected([*OFF, *SETTINGS, *ON[:2], VIEW, *OFF])
    with pytest.raises(DeviceError, match=r"did not begin .* interlock"):
        await tester.start(500.0, 10.0)
    with pytest.raises(DeviceError, match="start one first"):
        await tester.result()


async def test_the_verdict_of_an_earlier_test_is_never_taken_for_the_new_one() -> None:
    old = (b"MEAS?\r\n", b"IR ,PASS ,0.500kV,9999M ohm,T=010.0S\r\n")
    tester = await connected([*OFF, *SETTINGS, old, (b"FUNC:TEST ON\r\n", b""), old, *OFF])
    with pytest.raises(DeviceError, match="did not begin"):
        await tester.start(500.0, 10.0)


async def test_a_tester_that_does_not_stop_is_not_configured_and_the_reason_is_said() -> None:
    tester = await connected([OFF[0], STATE_ON])
    with pytest.raises(DeviceError, match="did not switch off"):
        await tester.start(500.0, 10.0)


async def test_a_tester_that_falls_silent_when_switched_on_is_switched_off_again() -> None:
    tester = await connected([*OFF, *SETTINGS, *ON[:2], (b"MEAS?\r\n", b""), *OFF])
    with pytest.raises(InstrumentError) as caught:
        await tester.start(500.0, 10.0)
    assert caught.value.code == "E-LINK-TIMEOUT"


async def test_a_test_stopped_at_the_front_panel_has_no_result() -> None:
    tester = await started([STATE_OFF, VIEW])
    with pytest.raises(DeviceError, match="without a verdict"):
        await tester.result()


async def test_more_voltage_than_asked_for_is_an_error() -> None:
    tester = await started(measured(b"IR ,PASS ,1.000kV,0015M ohm,T=010.0S\r\n"))
    with pytest.raises(DeviceError, match="1000 V were on, 500 V were asked for"):
        await tester.result()


async def test_stop_is_confirmed_and_harmless_when_nothing_runs() -> None:
    tester = await connected([*OFF, *OFF])
    await tester.stop()
    await tester.stop()


async def test_stop_while_a_test_runs_forgets_it() -> None:
    tester = await started([STATE_ON, *OFF])
    assert await tester.result() is None
    await tester.stop()
    with pytest.raises(DeviceError, match="start one first"):
        await tester.result()


async def test_stop_that_is_not_confirmed_is_an_error() -> None:
    tester = await connected([OFF[0], STATE_ON])
    with pytest.raises(DeviceError, match="did not switch off; press STOP"):
        await tester.stop()


@pytest.mark.parametrize("volts", [0.0, 49.0, 75.0, 510.0, 550.0, 1000.0, -500.0, float("nan")])
async def test_no_voltage_above_the_configured_one_or_between_steps_reaches_the_tester(volts: float) -> None:
    tester = await connected([])
    assert tester.voltages == (50.0, 500.0)
    with pytest.raises(SettingError, match="is refused: 50 to 500 V in steps of 50 V"):
        await tester.start(volts, 10.0)


@pytest.mark.parametrize("seconds", [0.0, 0.5, 1000.0, float("nan")])
async def test_times_outside_are_refused(seconds: float) -> None:
    with pytest.raises(SettingError, match=r"1 to 999\.9 s"):
        await (await connected([])).start(500.0, seconds)


@pytest.mark.parametrize("volts", [0.0, 49.0, 1001.0, float("nan")])
def test_a_highest_voltage_that_no_tester_has(volts: float) -> None:
    with pytest.raises(ConfigError, match="50 to 1000 V"):
        GwInstekGpt9800(MemoryTextLink(lambda sent: b""), max_voltage=volts)


@pytest.mark.parametrize(
    ("index", "answer", "message"),
    [
        (1, b"AUTO MODE\r\n", "MAIN:FUNC: wrote MANU, reads back 'AUTO MODE'"),
        (3, b"DCW\r\n", "MANU:EDIT:MODE: wrote IR, reads back 'DCW'"),
        (5, b"1.000kV\r\n", "MANU:IR:VOLT: wrote 0.500, reads back '1.000kV'"),
        (11, b"0005M\r\n", "MANU:IR:REF: wrote 0"),
        (13, b"001.0 S\r\n", "MANU:IR:TTIM: wrote 10.0, reads back '001.0 S'"),
    ],
)
async def test_a_setting_that_reads_back_differently_switches_nothing_on(
    index: int, answer: bytes, message: str
) -> None:
    tester = await connected([*OFF, *SETTINGS[:index], (SETTINGS[index][0], answer)])
    with pytest.raises(SettingError, match=message):
        await tester.start(500.0, 10.0)


async def test_an_entry_in_the_error_queue_switches_nothing_on() -> None:
    tester = await connected([*OFF, *SETTINGS[:-1], (b"SYST:ERR?\r\n", b"0x14,Command Error\r\n")])
    with pytest.raises(DeviceError, match="0x14,Command Error"):
        await tester.start(500.0, 10.0)


@pytest.mark.parametrize(
    "idn", [b"GPT-9801,X,V1.00\r\n", b"GPT-9802,X,V1.00\r\n", b"ST9201,X,V1\r\n", b"GW,GPT-9803,V1\r\n"]
)
async def test_a_tester_without_insulation_test_is_refused(idn: bytes) -> None:
    link = MemoryTextLink(script([(b"*IDN?\r\n", idn)]), terminator=b"\r\n")
    with pytest.raises(IdentityError, match="IR test"):
        await GwInstekGpt9800(link, max_voltage=500.0).connect()


async def test_another_unit_than_the_line_file_names_is_refused() -> None:
    link = MemoryTextLink(script(CONNECT), terminator=b"\r\n")
    with pytest.raises(IdentityError, match="EM999999"):
        await GwInstekGpt9800(link, "GPT-9804", "EM999999", max_voltage=500.0).connect()


def test_identities() -> None:
    assert parse_idn("GPT-9803, XXXXXXXXXXXX, V1.00") == Identity("GW Instek", "GPT-9803", "XXXXXXXXXXXX", "V1.00")
    assert parse_idn("GPT-9804 ,EM110867    ,v2.08,").serial == "EM110867"
    for answer in ("", "GPT-9803", "GPT-9803,,V1.00", "HIOKI,BT3562,0,V1.00"):
        with pytest.raises(AnswerError):
            parse_idn(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "OK",
        "TEST OFF",
        "ACW,FAIL , 0.024kV ,0.013 mA ,R=000.1S",
        "IR ,PASS ,0.500kV,0.013 mA ,T=001.0S",
        "IR ,PASS ,0.500,0015M ohm,T=001.0S",
        "IR ,PASS ,NaNkV,0015M ohm,T=001.0S",
        "IR ,PASS ,0.500kV,NaN ohm,T=001.0S",
        "IR ,PASS ,0.500kV,M ohm,T=001.0S",
        "IR ,PASS ,0.500kV,0015M ohm",
        "IR ,PASS ,0.500kV,0015M ohm,",
        "IR ,PASS ,0.500kV,0015M ohm,T=001.0S,1",
    ],
)
def test_measurements_that_do_not_parse(answer: str) -> None:
    with pytest.raises(AnswerError):
        parse_measurement(answer)


@given(st.integers(0, 9998), st.integers(0, 1000), st.sampled_from(["PASS", "FAIL"]), st.sampled_from(["", ">", "<"]))
def test_every_measurement_in_the_range_is_read(megohm: int, volts: int, judgement: str, mark: str) -> None:
    answer = f"{mark}IR ,{judgement} ,{volts / 1000:.3f}kV,{megohm:04d}M ohm,T=001.0S"
    assert parse_measurement(answer) == Measurement(judgement, float(volts), megohm * 1e6, False, False)


def test_states_and_settings() -> None:
    assert [parse_test_state(text) for text in ("TEST ON", "TEST OFF", "OFF")] == [True, False, False]
    assert [parse_setting(text) for text in ("0.100kV", "001.0 S", "9999M", "0001M ohm")] == [0.1, 1.0, 9999.0, 1.0]
    for text in ("", "TEST", "TESTOFFON", "1"):
        with pytest.raises(AnswerError):
            parse_test_state(text)
    for text in ("", "NULL", "0.100", "0.100 mA", "--kV", "1e3 S"):
        with pytest.raises(AnswerError):
            parse_setting(text)
