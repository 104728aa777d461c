"""Transcripts of the Delta Elektronika SM15K, from chapters 4 and 5 of its Ethernet programming manual."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.delta_sm15k import DeltaSm15k, format_setting, parse_limit, parse_switch
from drivers.errors import AnswerError, DeviceError, IdentityError, LinkError, SettingError
from drivers.links import MemoryTextLink, script
from drivers.roles import Cycler, CyclerRatings, CyclerReading, Protection, Regulation

Transcript = list[tuple[bytes, bytes]]

IDN = b"DELTA ELEKTRONIKA BV,SM500-CP-90,000012345678,P0110\n"
RATINGS: Transcript = [
    (b"SOURce:VOLtage:MAXimum?\n", b"500\n"),  # the manual's example
    (b"SOURce:CURrent:MAXimum?\n", b"90\n"),
    (b"SOURce:CURrent:NEGative:MAXimum?\n", b"-90\n"),
    (b"SOURce:POWer:MAXimum?\n", b"15000\n"),
    (b"SOURce:POWer:NEGative:MAXimum?\n", b"-15000\n"),
]
CONNECT: Transcript = [
    (b"*IDN?\n", IDN),
    *RATINGS,
    (b"SOURce:CURrent?\n", b"20.0000\n"),
    (b"SOURce:CURrent:NEGative?\n", b"-20.0000\n"),
    (b"SOURce:POWer?\n", b"12000.0000\n"),
    (b"SOURce:POWer:NEGative?\n", b"-12000.0000\n"),
]
NO_ERROR: Transcript = [(b"SYSTem:ERRor?\n", b"0,None\n")]  # the manual's example
REMOTE: Transcript = [
    (b"SYSTem:REMote:CV Remote\n", b""),
    (b"SYSTem:REMote:CV?\n", b"Ethernet\n"),
    (b"SYSTem:REMote:CC Remote\n", b""),
    (b"SYSTem:REMote:CC?\n", b"Ethernet\n"),
    (b"SYSTem:REMote:CP Remote\n", b""),
    (b"SYSTem:REMote:CP?\n", b"Remote\n"),
]
IDLE: Transcript = [
    (b"SOURce:CURrent 0\n", b""),
    (b"SOURce:CURrent?\n", b"0.0000\n"),
    (b"SOURce:CURrent:NEGative 0\n", b""),
    (b"SOURce:CURrent:NEGative?\n", b"-0.0000\n"),
]
LIMITS: Transcript = [
    (b"SYSTem:LIMits:VOLtage 420,ON\n", b""),
    (b"SYSTem:LIMits:VOLtage?\n", b"420.0000,1\n"),
    (b"SYSTem:LIMits:CURrent 70,ON\n", b""),
    (b"SYSTem:LIMits:CURrent?\n", b"70.0000\n"),
]
ARM: Transcript = [
    *REMOTE,
    (b"SYSTem:ERRor?\n", b"-113,Unknown command\n"),
    *NO_ERROR,
    *IDLE,
    *LIMITS,
    (b"SYSTem:LIMits:CURrent:NEGative -75.5,ON\n", b""),
    (b"SYSTem:LIMits:CURrent:NEGative?\n", b"75.5000,ON\n"),
    (b"SYSTem:LIMits:POWer 14000,ON\n", b""),
    (b"SYSTem:LIMits:POWer?\n", b"14000.0000,1\n"),
    (b"SYSTem:LIMits:POWer:NEGative -14000,ON\n", b""),
    (b"SYSTem:LIMits:POWer:NEGative?\n", b"-14000.0000,1\n"),
    (b"SOURce:POWer 14000\n", b""),
    (b"SOURce:POWer?\n", b"14000.0000\n"),
    (b"SOURce:POWer:NEGative -14000\n", b""),
    (b"SOURce:POWer:NEGative?\n", b"-14000.0000\n"),
    (b"SOURce:CURrent?\n", b"0.0000\n"),
    (b"SOURce:CURrent:NEGative?\n", b"0.0000\n"),
    (b"SOURce:POWer?\n", b"14000.0000\n"),
    (b"SOURce:POWer:NEGative?\n", b"-14000.0000\n"),
    (b"SYSTem:COMmunicate:WATchdog SET,5000\n", b""),
    (b"SYSTem:COMmunicate:WATchdog SET?\n", b"5000\n"),
    *NO_ERROR,
]
PROTECTION = Protection(voltage=420.0, charge_current=70.0, discharge_current=75.5, power=14000.0)
ARMED: Transcript = [
    (b"SYSTem:REMote:CV?\n", b"Ethernet\n"),
    (b"SYSTem:REMote:CC?\n", b"Ethernet\n"),
    (b"SYSTem:REMote:CP?\n", b"Ethernet\n"),
    (b"SYSTem:COMmunicate:WATchdog?\n", b"4823\n"),
]


def reading(
    voltage: bytes, current: bytes, power: bytes, on: bytes = b"1\n", owner: bytes = b"Ethernet\n",
    watchdog: bytes = b"4823\n", warning: bytes = b"0,None\n",
) -> Transcript:  # fmt: skip
    return [
        (b"MEASure:VOLtage?\n", voltage),
        (b"MEASure:CURrent?\n", current),
        (b"MEASure:POWer?\n", power),
        (b"OUTPut?\n", on),
        (b"SYSTem:REMote:CC?\n", owner),
        (b"SYSTem:COMmunicate:WATchdog?\n", watchdog),
        (b"SYSTem:WARning?\n", warning),
    ]


async def after(*transcript: tuple[bytes, bytes]) -> DeltaSm15k:
    """A connected driver whose instrument then speaks the transcript."""
    driver = DeltaSm15k(MemoryTextLink(script([*CONNECT, *transcript])), "SM500-CP-90", "000012345678")
    await driver.connect()
    return driver


async def armed(*transcript: tuple[bytes, bytes]) -> DeltaSm15k:
    driver = await after(*ARM, *transcript)
    await driver.arm(PROTECTION, 5.0)
    return driver


# ------------------------------------------------------------------------------------------------------- who is there


async def test_connect_asks_who_is_there_and_what_it_can() -> None:
    driver: Cycler = DeltaSm15k(MemoryTextLink(script(CONNECT)), "SM500-CP-90", "000012345678")
    identity = await driver.connect()
    assert (identity.model, identity.serial, identity.firmware) == ("SM500-CP-90", "000012345678", "P0110")
    assert driver.ratings == CyclerRatings(500.0, 90.0, 15000.0)


async def test_the_smaller_of_two_ratings_counts_for_both_directions() -> None:
    transcript = [*CONNECT[:3], (b"SOURce:CURrent:NEGative:MAXimum?\n", b"-30\n"), *CONNECT[4:]]
    driver = DeltaSm15k(MemoryTextLink(script(transcript)))
    await driver.connect()
    assert driver.ratings.current == 30.0


@pytest.mark.parametrize(
    ("answer", "model", "serial"),
    [
        (b"EA Elektro-Automatik GmbH&Co.KG, PSB 10500-90, 2023120002, V3\n", "", ""),
        (b"DELTA ELEKTRONIKA BV,PSC ETH P150 V3.7.0,000010004,0\n", "", ""),
        (IDN, "SM70-CP-450", ""),
        (IDN, "", "000000000001"),
    ],
)
async def test_another_instrument_is_refused(answer: bytes, model: str, serial: str) -> None:
    with pytest.raises(IdentityError):
        await DeltaSm15k(MemoryTextLink(script([(b"*IDN?\n", answer)])), model, serial).connect()


@pytest.mark.parametrize(("found", "fits"), [(b"2\n", True), (b"1\n", False)])
async def test_units_in_parallel_must_all_be_there(found: bytes, fits: bool) -> None:
    question = (b"SYSTem:INTerface:MASterslave:STAtus UNITS?\n", found)
    driver = DeltaSm15k(MemoryTextLink(script([CONNECT[0], question, *CONNECT[1:]])), units=2)
    if fits:
        await driver.connect()
    else:
        with pytest.raises(IdentityError, match="number of units"):
            await driver.connect()


def test_fewer_than_one_unit_is_none() -> None:
    with pytest.raises(SettingError, match="1 or more"):
        DeltaSm15k(MemoryTextLink(script([])), units=0)


async def test_ratings_before_connect_are_an_error() -> None:
    with pytest.raises(DeviceError, match="before connect"):
        _ = DeltaSm15k(MemoryTextLink(script([]))).ratings


@pytest.mark.parametrize("answer", [b"0\n", b"NaN\n", b"500 V\n", b"\n", b"9.9E37\n"])
async def test_ratings_that_are_none(answer: bytes) -> None:
    transcript = [CONNECT[0], (CONNECT[1][0], answer), *CONNECT[2:]]
    with pytest.raises(AnswerError):
        await DeltaSm15k(MemoryTextLink(script(transcript))).connect()


# ------------------------------------------------------------------------------------------------------------ arming


async def test_arm_takes_control_and_reads_every_limit_back() -> None:
    await armed()


async def test_a_protection_beyond_the_rating_is_the_rating() -> None:
    transcript = [(sent.replace(b"420", b"500"), got.replace(b"420", b"500")) for sent, got in ARM]
    driver = await after(*transcript)
    await driver.arm(Protection(525.0, 70.0, 75.5, 14000.0), 5.0)


@pytest.mark.parametrize("seconds", [0.019, 10.001, 60.0])
async def test_a_watchdog_the_instrument_cannot_keep(seconds: float) -> None:
    with pytest.raises(SettingError, match=r"0\.02 to 10 s"):
        await (await after()).arm(PROTECTION, seconds)


async def test_a_watchdog_that_reads_back_differently() -> None:
    driver = await after(*ARM[:-2], (b"SYSTem:COMmunicate:WATchdog SET?\n", b"-1\n"))
    with pytest.raises(SettingError, match="reads back -1 ms"):
        await driver.arm(PROTECTION, 5.0)


async def test_arm_while_the_front_panel_keeps_control_stops_there() -> None:
    driver = await after((b"SYSTem:REMote:CV Remote\n", b""), (b"SYSTem:REMote:CV?\n", b"Front\n"))
    with pytest.raises(DeviceError, match="front panel"):
        await driver.arm(PROTECTION, 5.0)


@pytest.mark.parametrize(
    ("answer", "message"), [(b"380.0000,1\n", "reads back 380"), (b"420.0000,0\n", "is not active")]
)
async def test_a_limit_that_was_not_taken(answer: bytes, message: str) -> None:
    before = [*REMOTE, *NO_ERROR, *IDLE, LIMITS[0], (LIMITS[1][0], answer)]
    driver = await after(*before, *(NO_ERROR if b",1" in answer else []))
    with pytest.raises(SettingError, match=message):
        await driver.arm(PROTECTION, 5.0)


async def test_a_refused_limit_is_raised_with_the_instruments_reason() -> None:
    refusal = [(b"SYSTem:ERRor?\n", b"-224,Invalid value\n"), *NO_ERROR]
    driver = await after(*REMOTE, *NO_ERROR, *IDLE, LIMITS[0], (LIMITS[1][0], b"500.0000,1\n"), *refusal)
    with pytest.raises(DeviceError, match="-224 Invalid value"):
        await driver.arm(PROTECTION, 5.0)


async def test_a_full_error_queue_is_read_ten_times() -> None:
    errors: Transcript = [(b"SYSTem:ERRor?\n", b"-113,Unknown command\n")] * 10
    driver = await after(*REMOTE, *errors, *ARM[len(REMOTE) + 2 :])
    await driver.arm(PROTECTION, 5.0)


# ----------------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize(
    ("values", "regulation"),
    [
        ((b"403.2000\n", b"20.0100\n", b"8068.0000\n"), Regulation.CURRENT),
        ((b"350.0000\n", b"-19.9900\n", b"-6996.5000\n"), Regulation.CURRENT),
        ((b"403.2000\n", b"1.3000\n", b"524.1600\n"), Regulation.VOLTAGE),
        ((b"350.0000\n", b"-19.0000\n", b"-11990.0000\n"), Regulation.POWER),
    ],
)
async def test_what_it_regulates_is_told_by_the_set_values(
    values: tuple[bytes, bytes, bytes], regulation: Regulation
) -> None:
    """Those of connect(): 20 A and 12 kW either way."""
    driver = await after(*reading(*values))
    assert await driver.read() == CyclerReading(*(float(value) for value in values), True, regulation, ())


async def test_nothing_is_regulated_with_the_output_off() -> None:
    driver = await after(*reading(b"0.0000\n", b"0.0000\n", b"0.0000\n", on=b"0\n"))
    assert await driver.read() == CyclerReading(0, 0, 0, False, Regulation.OFF, ())


@pytest.mark.parametrize(
    ("changed", "alarms"),
    [
        ({"owner": b"Front\n"}, ("REMOTE LOST",)),
        ({"watchdog": b"0\n"}, ("WATCHDOG",)),
        ({"watchdog": b"-1\n"}, ("WATCHDOG OFF",)),
        ({"warning": b"4,Temperature high\n"}, ("Temperature high",)),
        ({"warning": b"4,\n"}, ("warning 4",)),
    ],
)
async def test_what_is_wrong_is_an_alarm_once_it_is_armed(changed: dict[str, bytes], alarms: tuple[str, ...]) -> None:
    driver = await armed(*reading(b"400.0000\n", b"0.0000\n", b"0.0000\n", **changed))
    assert (await driver.read()).alarms == alarms


async def test_a_watchdog_that_is_off_is_no_alarm_before_arming() -> None:
    driver = await after(*reading(b"0\n", b"0\n", b"0\n", on=b"0\n", owner=b"Front\n", watchdog=b"-1\n"))
    assert (await driver.read()).alarms == ()


@pytest.mark.parametrize(
    "changed",
    [
        {"voltage": b"NaN\n"},
        {"current": b"9.9E37\n"},
        {"power": b"1_0\n"},
        {"voltage": b"\n"},
        {"current": b"20.0A\n"},
        {"on": b"2\n"},
        {"watchdog": b"soon\n"},
        {"warning": b"None\n"},
    ],
)
async def test_readings_that_do_not_parse(changed: dict[str, bytes]) -> None:
    driver = await armed(*reading(**{"voltage": b"400\n", "current": b"0\n", "power": b"0\n"} | changed))
    with pytest.raises(AnswerError):
        await driver.read()


async def test_silence_is_a_timeout() -> None:
    driver = await after((b"MEASure:VOLtage?\n", b""))
    with pytest.raises(LinkError) as caught:
        await driver.read()
    assert caught.value.code == "E-LINK-TIMEOUT"


# ----------------------------------------------------------------------------------------------------------- driving


async def test_charge_closes_the_other_direction_first() -> None:
    driver = await armed(
        *ARMED, *IDLE[2:],
        (b"SOURce:VOLtage 403.2\n", b""),
        (b"SOURce:VOLtage?\n", b"403.2000\n"),
        (b"SOURce:CURrent 20\n", b""),
        (b"SOURce:CURrent?\n", b"20.0000\n"),
        *NO_ERROR,
    )  # fmt: skip
    await driver.drive(20.0, 403.2)


async def test_discharge_is_a_negative_number_down_to_the_lower_bound() -> None:
    driver = await armed(
        *ARMED, *IDLE[:2],
        (b"SOURce:VOLtage 288\n", b""),
        (b"SOURce:VOLtage?\n", b"288.0000\n"),
        (b"SOURce:CURrent:NEGative -19.9876\n", b""),
        (b"SOURce:CURrent:NEGative?\n", b"-19.9870\n"),
        *NO_ERROR,
    )  # fmt: skip
    await driver.drive(-19.98764, 288.0)


async def test_zero_current_closes_both_directions() -> None:
    driver = await armed(
        *ARMED, *IDLE, (b"SOURce:VOLtage 380\n", b""), (b"SOURce:VOLtage?\n", b"380.0000\n"), *NO_ERROR
    )
    await driver.drive(0.0, 380.0)


@pytest.mark.parametrize("goal", [(90.5, 400.0), (-90.5, 300.0), (20.0, 500.5), (20.0, -1.0), (float("nan"), 400.0)])
async def test_a_goal_beyond_the_instrument_is_never_sent(goal: tuple[float, float]) -> None:
    with pytest.raises(SettingError):
        await (await armed()).drive(*goal)


async def test_a_setting_that_stays_as_it_was() -> None:
    driver = await armed(
        *ARMED, *IDLE[2:], (b"SOURce:VOLtage 403.2\n", b""), (b"SOURce:VOLtage?\n", b"288.0000\n"), *NO_ERROR
    )
    with pytest.raises(SettingError, match="reads back 288"):
        await driver.drive(20.0, 403.2)


@pytest.mark.parametrize("lost", ["drive", "output"])
async def test_nothing_is_driven_after_control_was_lost(lost: str) -> None:
    driver = await armed(ARMED[0], (ARMED[1][0], b"Slot1\n"))
    with pytest.raises(DeviceError, match="remote control was lost"):
        await (driver.drive(20.0, 400.0) if lost == "drive" else driver.output(True))


async def test_nothing_is_driven_after_the_watchdog_ran_out_and_it_is_told_once_more() -> None:
    """Asking it says that it ran out, once: the next reading must still show it."""
    off = reading(b"0\n", b"0\n", b"0\n", on=b"0\n", watchdog=b"-1\n")
    driver = await armed(*ARMED[:3], (ARMED[3][0], b"0\n"), *off)
    with pytest.raises(DeviceError, match="watchdog"):
        await driver.drive(20.0, 400.0)
    assert (await driver.read()).alarms == ("WATCHDOG", "WATCHDOG OFF")


# ------------------------------------------------------------------------------------------------------------ output


async def test_output_on_and_off_are_verified() -> None:
    driver = await armed(
        *ARMED,
        (b"SYSTem:RSD?\n", b"0\n"),
        (b"OUTPut 1\n", b""),
        (b"OUTPut?\n", b"1\n"),
        (b"OUTPut 0\n", b""),
        (b"OUTPut?\n", b"1\n"),
        *NO_ERROR,
    )
    await driver.output(True)
    with pytest.raises(SettingError, match="did not switch off"):
        await driver.output(False)


async def test_it_is_switched_off_whoever_has_control() -> None:
    driver = await armed((b"OUTPut 0\n", b""), (b"OUTPut?\n", b"OFF\n"))
    await driver.output(False)


async def test_an_output_held_off_by_remote_shutdown_is_not_switched_on() -> None:
    driver = await armed(*ARMED, (b"SYSTem:RSD?\n", b"1\n"))
    with pytest.raises(DeviceError, match="remote shutdown"):
        await driver.output(True)


async def test_release_stops_the_watchdog_and_gives_control_back() -> None:
    driver = await armed(
        (b"OUTPut?\n", b"0\n"),
        (b"SYSTem:COMmunicate:WATchdog STOP\n", b""),
        (b"SYSTem:COMmunicate:WATchdog?\n", b"-1\n"),
        (b"SYSTem:REMote:CV Front\n", b""),
        (b"SYSTem:REMote:CV?\n", b"Front\n"),
        (b"SYSTem:REMote:CC Front\n", b""),
        (b"SYSTem:REMote:CC?\n", b"Local\n"),
        (b"SYSTem:REMote:CP Front\n", b""),
        (b"SYSTem:REMote:CP?\n", b"Front\n"),
    )
    await driver.release()


async def test_release_refuses_while_the_output_is_on() -> None:
    driver = await armed((b"OUTPut?\n", b"1\n"))
    with pytest.raises(SettingError, match="still on"):
        await driver.release()


async def test_release_with_a_watchdog_that_goes_on_is_an_error() -> None:
    driver = await armed(
        (b"OUTPut?\n", b"0\n"),
        (b"SYSTem:COMmunicate:WATchdog STOP\n", b""),
        (b"SYSTem:COMmunicate:WATchdog?\n", b"823\n"),  # the manual's example of a running one
    )
    with pytest.raises(SettingError, match="its state is 823"):
        await driver.release()


# ----------------------------------------------------------------------------------------------------------- parsing


def test_switches_and_limits() -> None:
    assert [parse_switch(answer) for answer in ("1", "0", "ON", "off")] == [True, False, True, False]
    assert [parse_limit(answer) for answer in ("440.0000", "440.0000,1", "-20.5,ON")] == [440, 440, -20.5]


@given(st.floats(-15000, 15000))
def test_settings_have_four_decimals_and_no_exponent(value: float) -> None:
    text = format_setting(value)
    assert "e" not in text
    assert float(text) == pytest.approx(value, abs=0.5001e-4)


@given(st.text(max_size=20))
def test_no_answer_makes_a_parser_fail_in_another_way(text: str) -> None:
    for parse in (parse_switch, parse_limit):
        try:
            parse(text)
        except (AnswerError, SettingError):
            continue
