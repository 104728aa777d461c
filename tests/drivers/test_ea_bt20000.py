"""Transcripts of the EA BT 20000, from the programming guide's worked frames and the register list."""

from __future__ import annotations

import struct

import pytest

from drivers.ea_bt20000 import EaBt20000, alarm_names, is_remote, owner, regulation
from drivers.errors import AnswerError, ConfigError, DeviceError, IdentityError, LinkError, SettingError
from drivers.links import MemoryRegisterLink
from drivers.roles import Cycler, CyclerRatings, CyclerReading, Protection, Regulation

Exchange = tuple[str, str]
CC, CV, OFF = Regulation.CURRENT, Regulation.VOLTAGE, Regulation.OFF


def memory(*transcript: Exchange, unit: int = 0) -> MemoryRegisterLink:
    left = list(transcript)

    def respond(asked: int, request: bytes) -> bytes:
        assert left, f"nothing more was expected, got {asked}: {request.hex(' ')}"
        expected, answer = left.pop(0)
        assert (asked, request.hex(" ")) == (unit, bytes.fromhex(expected).hex(" "))
        return bytes.fromhex(answer)

    return MemoryRegisterLink(respond)


def read(address: int, answer: str) -> Exchange:
    count = len(bytes.fromhex(answer))
    return f"03 {address:04x} {count // 2:04x}", f"03 {count:02x} {answer}"


def text(address: int, words: str) -> Exchange:
    return read(address, words.encode().ljust(40, b"\0").hex())


def real(value: float) -> str:
    return struct.pack(">f", value).hex()


def write(address: int, value: int) -> Exchange:
    frame = f"06 {address:04x} {value:04x}"
    return frame, frame


def kept(address: int, value: int) -> tuple[Exchange, Exchange]:
    """A setting written and read back."""
    return write(address, value), read(address, f"{value:04x}")


def kept_real(address: int, value: float) -> tuple[Exchange, Exchange]:
    return (f"10 {address:04x} 0002 04 {real(value)}", f"10 {address:04x} 0002"), read(address, real(value))


def coil(address: int, on: bool) -> Exchange:
    frame = f"05 {address:04x} {'ff00' if on else '0000'}"
    return frame, frame


def state(bits: int) -> Exchange:
    return read(505, f"{bits:08x}")


def state_2(bits: int = 0) -> Exchange:
    return read(511, f"{bits:08x}")


def actual(voltage: float, current: float, power: float) -> Exchange:
    shares = (voltage / 500, current / 90, power / 30000)
    return read(507, "".join(f"{round(share * 0xCCCC):04x}" for share in shares))


REMOTE = 0x14 | 1 << 11
OUTPUT = 1 << 7
IS_CC = 0b10 << 9
SINK = 1 << 12
CONNECT = (
    text(1, "BT 20500-90"),
    text(21, "EA Elektro-Automatik GmbH & Co. KG"),
    text(151, "2024110007"),
    text(191, "V2.1.1"),
    ("03 0079 0002", "03 04 43FA0000"),  # the guide's frame over Modbus TCP: 500.0 V
    read(123, real(90.0)),
    read(125, real(30000.0)),
)
ARM = (
    ("05 0192 FF00", "05 0192 FF00"),  # the guide's frame
    state(REMOTE),
    coil(411, True),
    coil(431, True),
    ("01 01af 0001", "01 02 FF00"),  # "limited" compliance: two bytes for one coil
    *kept(550, 44040),  # 420 V of 500 V
    *kept(553, 40777),  # 70 A of 90 A
    *kept(569, 43981),
    *kept(556, 48933),
    *kept(570, 48933),
    *kept(502, 0xCCCC),
    *kept(498, 0xCCCC),
    *kept(10800, 5),
    *kept(10801, 1),
)
PROTECTION = Protection(voltage=420.0, charge_current=70.0, discharge_current=75.5, power=28000.0)
DENIED, LOCAL = "07", "17"


async def after(*transcript: Exchange) -> EaBt20000:
    """A connected driver whose instrument then speaks the transcript."""
    driver = EaBt20000(memory(*CONNECT, *transcript), "BT 20500-90", "2024110007")
    await driver.connect()
    return driver


async def armed(*transcript: Exchange) -> EaBt20000:
    driver = await after(*ARM, *transcript)
    await driver.arm(PROTECTION, 5.9)
    return driver


async def test_connect_asks_who_is_there_and_what_it_can() -> None:
    driver: Cycler = EaBt20000(memory(*CONNECT), "BT 20500-90", "2024110007")
    identity = await driver.connect()
    assert (identity.model, identity.serial, identity.firmware) == ("BT 20500-90", "2024110007", "V2.1.1")
    assert driver.ratings == CyclerRatings(500.0, 90.0, 30000.0)
    await driver.close()


def test_the_guides_device_state() -> None:
    state = 0x00000483  # "remote control via USB, output on, CC"
    assert (owner(state), is_remote(state)) == ("USB", False)
    assert regulation(state) is CC
    assert alarm_names(state, 0) == ()


async def test_the_guides_actual_values_at_its_80_v_unit() -> None:
    nominal = (("03 0079 0002", "03 04 42A00000"), read(123, real(1000.0)), read(125, real(30000.0)))
    values = ("03 01FB 0003", "03 06 2620 0C9B 091B")
    on = state(REMOTE | OUTPUT | IS_CC)
    driver = EaBt20000(memory(*CONNECT[:4], *nominal, on, values, on, state_2()))
    await driver.connect()
    reading = await driver.read()
    assert (reading.voltage, reading.current) == (pytest.approx(14.893, abs=1e-3), pytest.approx(61.55, abs=1e-2))
    assert reading.power == pytest.approx(1333.8, abs=0.1)


async def test_one_unit_of_a_triple_has_its_own_unit_id() -> None:
    await EaBt20000(memory(*CONNECT, unit=3), unit=3).connect()
    with pytest.raises(ConfigError):
        EaBt20000(memory(), unit=256)


@pytest.mark.parametrize(
    ("answered", "model", "serial"),
    [("PSB 10500-90", "", ""), ("", "", ""), ("BT 20500-90", "BT 20080-1000", ""), ("BT 20500-90", "", "2024110008")],
)
async def test_another_instrument_is_refused(answered: str, model: str, serial: str) -> None:
    driver = EaBt20000(memory(text(1, answered), *CONNECT[1:4]), model, serial)
    with pytest.raises(IdentityError):
        await driver.connect()


@pytest.mark.parametrize("nominal", [0.0, float("nan"), float("inf"), -500.0])
async def test_nominal_values_that_are_none(nominal: float) -> None:
    with pytest.raises(AnswerError):
        await EaBt20000(memory(*CONNECT[:4], read(121, real(nominal)), *CONNECT[5:])).connect()


async def test_ratings_before_connect_are_an_error() -> None:
    with pytest.raises(DeviceError):
        _ = EaBt20000(memory()).ratings


async def test_arm_reads_everything_back() -> None:
    await armed()


@pytest.mark.parametrize("seconds", [0.5, 40000, float("nan")])
async def test_a_watchdog_the_instrument_cannot_keep(seconds: float) -> None:
    with pytest.raises(SettingError):
        await (await after()).arm(PROTECTION, seconds)


@pytest.mark.parametrize(("answered", "taken"), [(44041, True), (44039, True), (44042, False)])
async def test_a_protection_may_read_back_one_step_away(answered: int, taken: bool) -> None:
    ovp = (write(550, 44040), read(550, f"{answered:04x}"))
    driver = await after(*ARM[:5], *ovp, *(ARM[7:] if taken else ()))
    if taken:
        await driver.arm(PROTECTION, 5)
    else:
        with pytest.raises(SettingError, match=r"OVP: wrote 420 V, reads back 420\.024 V"):
            await driver.arm(PROTECTION, 5)


async def test_a_protection_above_110_percent_is_never_sent() -> None:
    driver = await after(*ARM[:5])
    with pytest.raises(SettingError, match="110% of nominal"):
        await driver.arm(Protection(551.0, 70.0, 70.0, 28000.0), 5)


async def test_arm_without_the_main_mode_of_a_battery_tester_stops_there() -> None:
    driver = await after(*ARM[:4], ("01 01af 0001", "01 02 0000"))
    with pytest.raises(SettingError, match="battery tester"):
        await driver.arm(PROTECTION, 5)


@pytest.mark.parametrize(("code", "reason"), [(DENIED, "access denied"), (LOCAL, "the device is in Local")])
async def test_a_refused_remote_control_is_explained_in_the_makers_words(code: str, reason: str) -> None:
    driver = await after(("05 0192 FF00", f"85 {code}"))
    with pytest.raises(DeviceError, match=f"register 402 refused with Modbus exception 0x{code}: {reason}"):
        await driver.arm(PROTECTION, 5)


@pytest.mark.parametrize(
    ("bits", "who"), [(0x01, "the front panel"), (0x03 | 1 << 11, "USB"), (0x1F, "interface 0x1f")]
)
async def test_remote_control_with_somebody_else_stops_there(bits: int, who: str) -> None:
    driver = await after(ARM[0], state(bits))
    with pytest.raises(DeviceError, match=f"with {who}"):
        await driver.arm(PROTECTION, 5)


@pytest.mark.parametrize(
    ("bits", "bits_2", "reading"),
    [
        (REMOTE | OUTPUT | IS_CC, 0, CyclerReading(400.0, 30.0, 12000.0, True, CC, ())),
        (REMOTE | OUTPUT | IS_CC | SINK, 0, CyclerReading(400.0, -30.0, -12000.0, True, CC, ())),
        (REMOTE | OUTPUT, 0, CyclerReading(400.0, 30.0, 12000.0, True, CV, ())),
        (REMOTE | 1 << 15 | 1 << 16, 0, CyclerReading(400.0, 30.0, 12000.0, False, OFF, ("OVP",))),
        (REMOTE | 1 << 15, 1 << 1, CyclerReading(400.0, 30.0, 12000.0, False, OFF, ("SF",))),
        (REMOTE | 1 << 15, 1 << 4, CyclerReading(400.0, 30.0, 12000.0, False, OFF, ("ALARM",))),
        (0x1C, 0, CyclerReading(400.0, 30.0, 12000.0, False, OFF, ("CTO",))),
    ],
)  # fmt: skip
async def test_read(bits: int, bits_2: int, reading: CyclerReading) -> None:
    driver = await after(state(bits), actual(400.0, 30.0, 12000.0), state(bits), state_2(bits_2))
    answered = await driver.read()
    assert answered.voltage == pytest.approx(reading.voltage, abs=0.01)
    assert answered.current == pytest.approx(reading.current, abs=0.002)
    assert answered.power == pytest.approx(reading.power, abs=0.6)
    assert (answered.output_on, answered.regulation, answered.alarms) == (
        reading.output_on,
        reading.regulation,
        reading.alarms,
    )


async def test_a_current_that_turned_round_while_it_was_read_is_read_again() -> None:
    on = REMOTE | OUTPUT | IS_CC
    driver = await after(
        state(on),
        actual(400.0, 30.0, 12000.0),
        state(on | SINK),
        actual(390.0, 20.0, 7800.0),
        state(on | SINK),
        state_2(),
    )
    assert (await driver.read()).current == pytest.approx(-20.0, abs=0.002)


def test_every_alarm_has_a_name() -> None:
    every = sum(1 << bit for bit in (15, 16, 17, 18, 19, 21, 24, 25, 26, 27, 28, 29)) | REMOTE
    names = ("OVP", "OCP", "OPP", "OT", "PF", "UVD", "OVD", "UCD", "OCD", "OPD", "MSP")
    assert alarm_names(every, 0) == names
    assert alarm_names(REMOTE, 1 << 10 | 1 << 12 | 1 << 15) == ("ETP", "POLARITY", "FAST STOP")


async def test_charge_sets_the_bound_before_the_current() -> None:
    driver = await after(*kept_real(492, 403.2), *kept_real(490, 20.0))
    await driver.drive(20.0, 403.2)


async def test_discharge_goes_down_to_the_lower_bound() -> None:
    driver = await after(*kept_real(494, 288.0), *kept_real(490, -19.98761))
    await driver.drive(-19.98761, 288.0)


async def test_zero_current_leaves_nothing_to_bound() -> None:
    driver = await after(*kept_real(490, 0.0))
    await driver.drive(0.0, 350.0)


async def test_a_goal_that_reads_back_differently() -> None:
    written, _ = kept_real(490, 20.0)
    driver = await after(*kept_real(492, 403.2), written, read(490, real(19.99)))
    with pytest.raises(SettingError, match=r"current: wrote 20 A, reads back 19\.99 A"):
        await driver.drive(20.0, 403.2)


@pytest.mark.parametrize("goal", [(90.1, 400.0), (-90.1, 400.0), (float("nan"), 400.0), (1.0, 500.1), (1.0, -1.0)])
async def test_a_goal_beyond_the_instrument_is_never_sent(goal: tuple[float, float]) -> None:
    driver = await after()
    with pytest.raises(SettingError):
        await driver.drive(*goal)


async def test_output_on_and_off_are_verified() -> None:
    driver = await armed(
        state(REMOTE),
        coil(405, True),
        state(REMOTE),  # a moment later
        state(REMOTE | OUTPUT),
        coil(402, True),
        coil(405, False),
        state(REMOTE),
    )
    await driver.output(True)
    await driver.output(False)


async def test_an_output_that_does_not_follow_is_an_error_with_its_alarms() -> None:
    driver = await after(coil(405, True), *[state(REMOTE | 1 << 16)] * 10, state_2(1 << 12))
    with pytest.raises(SettingError, match="did not switch ON; alarms: OVP, POLARITY"):
        await driver.output(True)


@pytest.mark.parametrize("is_on", [True, False])
async def test_switching_off_in_local_fails_only_if_the_output_is_on(is_on: bool) -> None:
    bits = 0x01 | (OUTPUT if is_on else 0)
    driver = await after(("05 0192 FF00", f"85 {LOCAL}"), *[state(bits)] * (1 if is_on else 2))
    if is_on:
        with pytest.raises(DeviceError, match="in Local"):
            await driver.output(False)
    else:
        await driver.output(False)


@pytest.mark.parametrize("lost", ["output", "drive"])
async def test_nothing_is_driven_without_remote_control(lost: str) -> None:
    driver = await armed(state(0x1C))
    with pytest.raises(DeviceError, match="remote control was lost, it is with nobody, after a communication timeout"):
        await (driver.output(True) if lost == "output" else driver.drive(1.0, 350.0))


async def test_lost_remote_control_is_an_alarm_in_every_reading() -> None:
    driver = await armed(*[state(0x1C), actual(0.0, 0.0, 0.0), state(0x1C), state_2()] * 2)
    assert (await driver.read()).alarms == ("CTO", "REMOTE LOST")
    assert (await driver.read()).alarms == ("CTO", "REMOTE LOST")


async def test_release_refuses_while_the_output_is_on() -> None:
    driver = await armed(state(REMOTE | OUTPUT))
    with pytest.raises(SettingError, match="still on"):
        await driver.release()


async def test_release_disarms_the_watchdog_and_gives_up_remote_control() -> None:
    driver = await armed(state(REMOTE), *kept(10801, 0), coil(402, False), state(0x00), state(0x00),
                         actual(0.0, 0.0, 0.0), state(0x00), state_2())  # fmt: skip
    await driver.release()
    assert (await driver.read()).alarms == ()


async def test_release_that_leaves_remote_control_with_us_is_an_error() -> None:
    driver = await armed(state(REMOTE), *kept(10801, 0), coil(402, False), state(REMOTE))
    with pytest.raises(DeviceError, match="still with Ethernet"):
        await driver.release()


async def test_a_new_connection_must_still_have_remote_control() -> None:
    """The instrument closes the connection after 5 s of silence; the link opens another, once."""
    answers = memory(*CONNECT, *ARM, state(0x00))
    hung_up: list[bytes] = []

    def respond(unit: int, request: bytes) -> bytes | None:
        if request == bytes.fromhex("03 01f9 0002") and len(hung_up) < 2:
            hung_up.append(request)
            if len(hung_up) == 2:  # the first is arm's own
                raise ConnectionResetError("closed after 5 s of silence")
        return answers._respond(unit, request)

    link = MemoryRegisterLink(respond)
    driver = EaBt20000(link)
    await driver.connect()
    await driver.arm(PROTECTION, 5)
    with pytest.raises(LinkError):
        await driver.drive(1.0, 350.0)
    with pytest.raises(DeviceError, match="remote control was lost"):
        await driver.drive(1.0, 350.0)
    assert link.reopened == 1
