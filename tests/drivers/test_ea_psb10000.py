"""Transcripts of the EA PSB 10000, from the programming guide's command table."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from drivers.ea_psb10000 import EaPsb10000
from drivers.errors import AnswerError, DeviceError, IdentityError, LinkError, SettingError
from drivers.links import MemoryTextLink, script
from drivers.roles import Cycler, CyclerRatings, CyclerReading, Protection, Regulation

Transcript = list[tuple[bytes, bytes]]

IDN = b"EA Elektro-Automatik GmbH&Co.KG, PSB 10500-90, 2023120002, V3.06 24.05.2023 V3.03 05.10.2022 V1.0.0\n"
CONNECT: Transcript = [
    (b"*IDN?\n", IDN),
    (b"SYST:NOM:VOLT?\n", b"500.00V\n"),
    (b"SYST:NOM:CURR?\n", b"90.00A\n"),
    (b"SYST:NOM:POW?\n", b"30.00kW\n"),
]
CC = Regulation.CURRENT
REMOTE_OFF, REMOTE_ON = b"1024\n", b"3072\n"
NO_ERROR: Transcript = [
    (b"STAT:QUES:COND?\n", REMOTE_ON),
    (b"STAT:OPER:COND?\n", b"512\n"),
    (b"SYST:ERR?\n", b'0,"No error"\n'),
]
ARM: Transcript = [
    (b"SYST:LOCK ON\n", b""),
    (b"SYST:LOCK:OWN?\n", b"REMOTE\n"),
    *NO_ERROR,
    (b"VOLT:PROT 420\n", b""),
    (b"VOLT:PROT?\n", b"420.00V\n"),
    (b"CURR:PROT 70\n", b""),
    (b"CURR:PROT?\n", b"70.0A\n"),
    (b"SINK:CURR:PROT 75.5\n", b""),
    (b"SINK:CURR:PROT?\n", b"75.5A\n"),
    (b"POW:PROT 28000\n", b""),
    (b"POW:PROT?\n", b"28.00kW\n"),
    (b"SINK:POW:PROT 28000\n", b""),
    (b"SINK:POW:PROT?\n", b"28000W\n"),
    (b"POW 30000\n", b""),
    (b"POW?\n", b"30000W\n"),
    (b"SINK:POW 30000\n", b""),
    (b"SINK:POW?\n", b"30000W\n"),
    (b"SYST:COMM:MON:TIM 5\n", b""),
    (b"SYST:COMM:MON:TIM?\n", b"5\n"),
    (b"SYST:COMM:MON:ACT ON\n", b""),
    (b"SYST:COMM:MON:ACT?\n", b"ON\n"),
    *NO_ERROR,
]
PROTECTION = Protection(voltage=420.0, charge_current=70.0, discharge_current=75.5, power=28000.0)


async def after(*transcript: tuple[bytes, bytes]) -> EaPsb10000:
    """A connected driver whose instrument then speaks the transcript."""
    driver = EaPsb10000(MemoryTextLink(script([*CONNECT, *transcript])), "PSB 10500-90", "2023120002")
    await driver.connect()
    return driver


async def test_connect_asks_who_is_there_and_what_it_can() -> None:
    driver: Cycler = EaPsb10000(MemoryTextLink(script(CONNECT)), "PSB 10500-90", "2023120002")
    identity = await driver.connect()
    assert identity.model == "PSB 10500-90"
    assert identity.serial == "2023120002"
    assert driver.ratings == CyclerRatings(500.0, 90.0, 30000.0)
    await driver.close()


@pytest.mark.parametrize(
    ("answer", "model", "serial"),
    [
        (b"HIOKI,BT3562,0,V1.00\n", "", ""),
        (b"EA Elektro-Automatik GmbH, ELR 10080, 1, V1\n", "", ""),
        (IDN, "PSB 10080-340", ""),
        (IDN, "", "2023120003"),
    ],
)
async def test_another_instrument_is_refused(answer: bytes, model: str, serial: str) -> None:
    driver = EaPsb10000(MemoryTextLink(script([(b"*IDN?\n", answer)])), model, serial)
    with pytest.raises(IdentityError):
        await driver.connect()


async def test_ratings_before_connect_are_an_error() -> None:
    with pytest.raises(DeviceError):
        _ = EaPsb10000(MemoryTextLink(script([]))).ratings


async def test_arm_reads_everything_back() -> None:
    driver = await after(*ARM)
    await driver.arm(PROTECTION, 5.9)


async def test_arm_drops_the_errors_of_earlier_sessions() -> None:
    stale = [*NO_ERROR[:2], (b"SYST:ERR?\n", b'-221,"Settings conflict"\n')]
    driver = await after(*ARM[:2], *stale, *ARM[2:])
    await driver.arm(PROTECTION, 5)


async def test_arm_without_remote_control_stops_there() -> None:
    driver = await after((b"SYST:LOCK ON\n", b""), (b"SYST:LOCK:OWN?\n", b"LOCAL\n"))
    with pytest.raises(DeviceError, match="LOCAL"):
        await driver.arm(PROTECTION, 5)


async def test_a_protection_that_reads_back_differently() -> None:
    driver = await after(*ARM[:6], (b"VOLT:PROT?\n", b"550.00V\n"), *NO_ERROR)
    with pytest.raises(SettingError, match="VOLT:PROT: wrote 420 V, reads back 550 V"):
        await driver.arm(PROTECTION, 5)


@pytest.mark.parametrize("seconds", [0.5, 40000, float("nan")])
async def test_a_watchdog_the_instrument_cannot_keep(seconds: float) -> None:
    with pytest.raises(SettingError):
        await (await after()).arm(PROTECTION, seconds)


@pytest.mark.parametrize(
    ("measured", "questionable", "operation", "reading"),
    [
        (b"403.2V, 33.3A, 13427W\n", b"3072\n", b"512\n", CyclerReading(403.2, 33.3, 13427, True, CC, ())),
        (b"350.0V, -20.0A, -7000W\n", b"3072\n", b"4608\n", CyclerReading(350, -20, -7000, True, CC, ())),
        (b"403.2V, 1.3A, 524W\n", b"3072\n", b"256\n", CyclerReading(403.2, 1.3, 524, True, Regulation.VOLTAGE, ())),
        (b"0.0V, 0.0A, 0W\n", b"1025\n", b"0\n", CyclerReading(0, 0, 0, False, Regulation.OFF, ("OVP",))),
        (b"0.0V, 0.0A, 0W\n", b"8200\n", b"128\n", CyclerReading(0, 0, 0, False, Regulation.OFF, ("OT", "PF", "CTO"))),
    ],
)  # fmt: skip
async def test_read(measured: bytes, questionable: bytes, operation: bytes, reading: CyclerReading) -> None:
    answers = (measured, questionable, operation)
    driver = await after(*zip((b"MEAS:ARR?\n", b"STAT:QUES:COND?\n", b"STAT:OPER:COND?\n"), answers, strict=True))
    assert await driver.read() == reading


@pytest.mark.parametrize(
    ("measured", "operation"),
    [
        (b"403.2V, 33.3A\n", b"512\n"),
        (b"403.2, 33.3, 13427\n", b"512\n"),
        (b"33.3A, 403.2V, 13427W\n", b"512\n"),
        (b"NaNV, 33.3A, 13427W\n", b"512\n"),
        (b"403.2V, 33.3A, 13427W\n", b"768\n"),  # CV and CC at once
        (b"403.2V, 33.3A, 13427W\n", b"-1\n"),
    ],
)
async def test_a_reading_that_does_not_parse(measured: bytes, operation: bytes) -> None:
    driver = await after(
        (b"MEAS:ARR?\n", measured), (b"STAT:QUES:COND?\n", REMOTE_ON), (b"STAT:OPER:COND?\n", operation)
    )
    with pytest.raises(AnswerError):
        await driver.read()


async def test_charge_closes_the_other_direction_first() -> None:
    driver = await after(
        (b"SINK:CURR 0\n", b""),
        (b"SINK:CURR?\n", b"0.0A\n"),
        (b"VOLT 403.2\n", b""),
        (b"VOLT?\n", b"403.20V\n"),
        (b"CURR 20\n", b""),
        (b"CURR?\n", b"20.0A\n"),
        *NO_ERROR,
    )
    await driver.drive(20.0, 403.2)


async def test_discharge_sinks_down_to_the_lower_bound() -> None:
    driver = await after(
        (b"CURR 0\n", b""),
        (b"CURR?\n", b"0.0A\n"),
        (b"VOLT 288\n", b""),
        (b"VOLT?\n", b"288.00V\n"),
        (b"SINK:CURR 19.9876\n", b""),
        (b"SINK:CURR?\n", b"20.0A\n"),
        *NO_ERROR,
    )
    await driver.drive(-19.98761, 288.0)


async def test_zero_current_closes_both_directions() -> None:
    driver = await after(
        (b"CURR 0\n", b""),
        (b"CURR?\n", b"0.0A\n"),
        (b"SINK:CURR 0\n", b""),
        (b"SINK:CURR?\n", b"0.0A\n"),
        (b"VOLT 350\n", b""),
        (b"VOLT?\n", b"350.01V\n"),  # a step of the instrument away
        *NO_ERROR,
    )
    await driver.drive(0.0, 350.0)


@pytest.mark.parametrize("goal", [(91.9, 400.0), (-91.9, 400.0), (float("nan"), 400.0), (1.0, 511.0), (1.0, -1.0)])
async def test_a_goal_beyond_the_instrument_is_never_sent(goal: tuple[float, float]) -> None:
    driver = await after()
    with pytest.raises(SettingError):
        await driver.drive(*goal)


async def test_a_refused_setting_is_raised_with_the_instruments_reason() -> None:
    driver = await after(
        (b"SINK:CURR 0\n", b""),
        (b"SINK:CURR?\n", b"0.0A\n"),
        (b"VOLT 403.2\n", b""),
        (b"VOLT?\n", b"0.00V\n"),
        *NO_ERROR[:2],
        (b"SYST:ERR?\n", b'-221,"Settings conflict"\n'),
        *NO_ERROR,
    )
    with pytest.raises(DeviceError, match="-221 Settings conflict"):
        await driver.drive(20.0, 403.2)


async def test_a_full_error_queue_is_read_five_times() -> None:
    error = [*NO_ERROR[:2], (b"SYST:ERR?\n", b'-222,"Data out of range"\n')]
    driver = await after((b"OUTP ON\n", b""), *error * 5)
    with pytest.raises(DeviceError, match="-222"):
        await driver.output(True)


async def test_an_alarm_acknowledged_by_reading_the_errors_is_still_read() -> None:
    driver = await after(
        (b"OUTP ON\n", b""),
        (b"STAT:QUES:COND?\n", b"1025\n"),
        (b"STAT:OPER:COND?\n", b"0\n"),
        (b"SYST:ERR?\n", b'0,"No error"\n'),
        (b"OUTP?\n", b"OFF\n"),
        *[(question, b"1024\n" if b"QUES" in question else answer) for question, answer in NO_ERROR],
        *[(b"MEAS:ARR?\n", b"0.0V, 0.0A, 0W\n"), (b"STAT:QUES:COND?\n", REMOTE_OFF), (b"STAT:OPER:COND?\n", b"0\n")]
        * 2,
    )
    with pytest.raises(SettingError, match="did not switch ON"):
        await driver.output(True)
    assert (await driver.read()).alarms == ("OVP",)
    assert (await driver.read()).alarms == ()


async def test_output_on_and_off_are_verified() -> None:
    driver = await after(
        (b"OUTP ON\n", b""),
        *NO_ERROR,
        (b"OUTP?\n", b"ON\n"),
        (b"SYST:LOCK ON\n", b""),
        (b"OUTP OFF\n", b""),
        (b"OUTP?\n", b"OFF\n"),
    )
    await driver.output(True)
    await driver.output(False)


async def test_release_refuses_while_the_output_is_on() -> None:
    driver = await after((b"OUTP?\n", b"ON\n"))
    with pytest.raises(SettingError, match="still on"):
        await driver.release()


async def test_release_disarms_the_watchdog_and_gives_up_remote_control() -> None:
    driver = await after(
        (b"OUTP?\n", b"OFF\n"),
        (b"SYST:COMM:MON:ACT OFF\n", b""),
        (b"SYST:COMM:MON:ACT?\n", b"OFF\n"),
        (b"SYST:LOCK OFF\n", b""),
        (b"SYST:LOCK:OWN?\n", b"NONE\n"),
    )
    await driver.release()


def hanging_up(peer: Callable[[bytes], bytes], on: bytes) -> Callable[[bytes], bytes]:
    """The instrument closes the connection, once, when this line comes."""
    pending = [on]

    def receive(sent: bytes) -> bytes:
        if pending and sent == pending[0]:
            raise ConnectionResetError(pending.pop())
        return peer(sent)

    return receive


ZERO: Transcript = [
    (b"CURR 0\n", b""),
    (b"CURR?\n", b"0.0A\n"),
    (b"SINK:CURR 0\n", b""),
    (b"SINK:CURR?\n", b"0.0A\n"),
    (b"VOLT 350\n", b""),
    (b"VOLT?\n", b"350.00V\n"),
    *NO_ERROR,
]


@pytest.mark.parametrize(("owner", "lost"), [(b"REMOTE\n", False), (b"NONE\n", True)])
async def test_a_new_connection_must_still_have_remote_control(owner: bytes, lost: bool) -> None:
    peer = script([*CONNECT, *ARM, (b"SYST:LOCK:OWN?\n", owner), *([] if lost else ZERO)])
    driver = EaPsb10000(MemoryTextLink(hanging_up(peer, b"MEAS:ARR?\n")))
    await driver.connect()
    await driver.arm(PROTECTION, 5)
    with pytest.raises(LinkError):
        await driver.read()

    if lost:
        with pytest.raises(DeviceError, match="remote control was lost"):
            await driver.drive(0.0, 350.0)
    else:
        await driver.drive(0.0, 350.0)


@pytest.mark.parametrize("lost", ["output", "drive"])
async def test_nothing_is_driven_without_remote_control(lost: str) -> None:
    driver = await after(*ARM, (b"SYST:LOCK:OWN?\n", b"NONE\n"))
    await driver.arm(PROTECTION, 5)
    with pytest.raises(DeviceError, match="remote control was lost"):
        await (driver.output(True) if lost == "output" else driver.drive(1.0, 350.0))


async def test_lost_remote_control_is_an_alarm_in_every_reading() -> None:
    driver = await after(
        *ARM,
        (b"MEAS:ARR?\n", b"0.0V, 0.0A, 0W\n"),
        (b"STAT:QUES:COND?\n", b"0\n"),
        (b"STAT:OPER:COND?\n", b"128\n"),
    )
    await driver.arm(PROTECTION, 5)
    assert (await driver.read()).alarms == ("CTO", "REMOTE LOST")
