"""Transcripts of the Watlow F4T as (request, answer) in bytes, from its user's guide and a chamber maker's library."""

from __future__ import annotations

import contextlib
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import AnswerError, ConfigError, DeviceError, IdentityError, LinkError, SettingError
from drivers.links import MemoryRegisterLink
from drivers.roles import Chamber, ChamberReading
from drivers.watlow_f4t import (
    WatlowF4t,
    alarm_count,
    check_hardware,
    format_temperature,
    parse_integer,
    parse_limits,
    parse_part_number,
    parse_temperature,
)

Exchange = tuple[str, str | None]

PART_NUMBER = "F4T1L1DAA1B1AAA"


def memory(*transcript: Exchange, unit: int = 1) -> MemoryRegisterLink:
    left = list(transcript)

    def respond(asked: int, request: bytes) -> bytes | None:
        assert left, f"nothing more was expected, got {request.hex(' ')}"
        expected, answer = left.pop(0)
        assert (asked, request.hex()) == (unit, expected.replace(" ", ""))
        return None if answer is None else bytes.fromhex(answer)

    return MemoryRegisterLink(respond)


def holding(address: int, *registers: int) -> Exchange:
    values = "".join(f"{register:04x}" for register in registers)
    return f"03 {address:04x} {len(registers):04x}", f"03 {2 * len(registers):02x} {values}"


def low_first(value: float) -> tuple[int, int]:
    low, high = struct.unpack("<HH", struct.pack("<f", value))
    return low, high


def holding_float(address: int, value: float) -> Exchange:
    return holding(address, *low_first(value))


def write_float(address: int, value: float) -> Exchange:
    low, high = low_first(value)
    return f"10 {address:04x} 0002 04 {low:04x}{high:04x}", f"10 {address:04x} 0002"


def write_word(address: int, value: int) -> Exchange:
    frame = f"06 {address:04x} {value:04x}"
    return frame, frame


HARDWARE = holding(0, 124, 0)
CELSIUS = holding(6730, 15)
WHO = [
    HARDWARE,
    holding(4, 7, 0),
    holding(12, 0x4321, 1),
    holding(16, *PART_NUMBER.encode()),
]
FORMAT = [HARDWARE, CELSIUS]  # asked for before every reading and setting
CONNECT = [*WHO, CELSIUS, holding_float(2774, -70.0), holding_float(2776, 180.0)]
QUIET = [holding(1356 + 100 * index, 61) for index in range(6)]
HEALTHY = holding(90, 138)
NO_PROFILE = holding(16568, 251)


async def connected(*transcript: Exchange, **settings: int) -> WatlowF4t:
    chamber = WatlowF4t(memory(*CONNECT, *transcript), **settings)  # type: ignore[arg-type]
    await chamber.connect()
    return chamber


async def test_connect_asks_who_is_there_and_changes_nothing() -> None:
    chamber: Chamber = WatlowF4t(memory(*CONNECT), PART_NUMBER, "82721")
    identity = await chamber.connect()
    assert (identity.manufacturer, identity.model, identity.serial) == ("Watlow", PART_NUMBER, str(0x14321))
    assert identity.firmware == "7"
    assert chamber.temperatures == (-70.0, 180.0)
    await chamber.close()


async def test_the_low_word_comes_first() -> None:
    assert low_first(25.0) == (0x0000, 0x41C8)
    chamber = await connected(
        *FORMAT,
        ("03 0b04 0002", "03 04 0000 41c8"),  # process value 2820: 25.0
        ("03 0ade 0002", "03 04 cccd 41cc"),  # set point 2782: 25.6
        holding(2814, 10),
        *QUIET,
        HEALTHY,
    )
    assert await chamber.read() == ChamberReading(25.0, pytest.approx(25.6), True, ())


async def test_the_limits_are_unknown_before() -> None:
    with pytest.raises(DeviceError, match="before connect"):
        _ = WatlowF4t(memory()).temperatures


async def test_words_that_come_high_first_are_noticed_by_the_hardware_id() -> None:
    with pytest.raises(SettingError, match="high first; set Modbus word order to low-high"):
        await WatlowF4t(memory(holding(0, 0, 124))).connect()


@pytest.mark.parametrize(("lowest", "highest"), [(-70.0, 180.0), (0.0, 100.0), (-40.1, 100.3), (20.0, 37.8)])
async def test_floats_alone_that_come_high_first_are_noticed_by_the_range(lowest: float, highest: float) -> None:
    swapped = holding(2774, *low_first(lowest)[::-1]), holding(2776, *low_first(highest)[::-1])
    with pytest.raises(SettingError, match="word order"):
        await WatlowF4t(memory(*WHO, CELSIUS, *swapped)).connect()


async def test_another_device_is_refused() -> None:
    with pytest.raises(IdentityError, match="hardware id '124', it answered '27'"):
        await WatlowF4t(memory(holding(0, 27, 0))).connect()
    with pytest.raises(IdentityError, match="serial"):
        await WatlowF4t(memory(*WHO, CELSIUS), serial="1").connect()
    with pytest.raises(IdentityError, match="model"):
        await WatlowF4t(memory(*WHO, CELSIUS), "F4T1L1AAA1B1AAA").connect()


async def test_a_controller_that_talks_fahrenheit_is_refused() -> None:
    with pytest.raises(SettingError, match="degF; set the display units of Modbus to C"):
        await WatlowF4t(memory(*WHO, holding(6730, 30))).connect()


async def test_a_part_number_tells_how_many_alarms_there_are() -> None:
    counts = {letter: alarm_count(f"F4T1L1{letter}AA1B1AAA") for letter in "ABCDEF"}
    assert counts == {"A": 6, "B": 8, "C": 14, "D": 6, "E": 8, "F": 14}
    with pytest.raises(AnswerError, match="number of alarms"):
        alarm_count("F4T1L1XAA1B1AAA")
    with pytest.raises(AnswerError):
        alarm_count("")


@pytest.mark.parametrize(("mode", "running"), [(10, True), (54, True), (62, False)], ids=["automatic", "manual", "off"])
async def test_read(mode: int, running: bool) -> None:
    chamber = await connected(
        *FORMAT, holding_float(2820, -12.5), holding_float(2782, 30.0), holding(2814, mode), *QUIET, HEALTHY
    )
    assert await chamber.read() == ChamberReading(-12.5, 30.0, running, ())


async def test_alarms_are_named_and_quiet_states_are_none() -> None:
    states = [61, 7, 8, 12, 28, 99]
    chamber = await connected(
        *FORMAT,
        holding_float(2820, 25.0),
        holding_float(2782, 30.0),
        holding(2814, 10),
        *[holding(1356 + 100 * index, state) for index, state in enumerate(states)],
        holding(90, 32),
    )
    assert (await chamber.read()).alarms == (
        "alarm 2 high",
        "alarm 3 low",
        "alarm 5 error",
        "alarm 6 state 99",
        "device failure",
    )


@pytest.mark.parametrize("air", [math.nan, math.inf, 9.9e37, 1e6, -201.0], ids=str)
async def test_a_broken_sensor_has_no_temperature_and_an_alarm(air: float) -> None:
    alarms = [holding(1356, 28), *QUIET[1:], HEALTHY]
    chamber = await connected(*FORMAT, holding_float(2820, air), holding_float(2782, 30.0), holding(2814, 10), *alarms)
    assert await chamber.read() == ChamberReading(None, 30.0, True, ("alarm 1 error",))


@pytest.mark.parametrize(
    ("changed", "message"),
    [([holding(0, 0, 124)], "set Modbus word order"), ([HARDWARE, holding(6730, 30)], "it talks in degF")],
    ids=["word order", "unit"],
)
async def test_what_somebody_changes_at_its_panel_is_noticed_before_a_value_is_believed_or_set(
    changed: list[Exchange], message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        await (await connected(*changed)).read()
    with pytest.raises(SettingError, match=message):
        await (await connected(*changed)).condition(25.0)


async def test_a_mode_outside_the_map_is_an_error() -> None:
    chamber = await connected(*FORMAT, holding_float(2820, 25.0), holding_float(2782, 30.0), holding(2814, 11))
    with pytest.raises(AnswerError, match="control mode"):
        await chamber.read()


async def test_a_set_point_is_written_run_and_read_back() -> None:
    chamber = await connected(
        *FORMAT,
        NO_PROFILE,
        ("10 0ade 0002 04 cccd41cc", "10 0ade 0002"),
        ("03 0ade 0002", "03 04 cccd 41cc"),
        write_word(2730, 10),
        holding(2730, 10),
    )
    await chamber.condition(25.6)


async def test_another_loop_unit_and_event() -> None:
    shifted = [(f"03 {2774 + 160:04x} 0002", CONNECT[5][1]), (f"03 {2776 + 160:04x} 0002", CONNECT[6][1])]
    run = [
        *FORMAT,
        NO_PROFILE,
        write_float(2782 + 160, 40.0),
        holding_float(2782 + 160, 40.0),
        write_word(2730 + 160, 10),
        holding(2730 + 160, 10),
        write_word(16822, 63),
        holding(16822, 63),
    ]
    off = [
        *FORMAT,
        holding_float(2820 + 160, 39.0),
        holding_float(2782 + 160, 40.0),
        holding(2814 + 160, 10),
        holding(16822, 62),
        *QUIET,
        HEALTHY,
    ]
    stop = [write_word(16822, 62), holding(16822, 62), write_word(2730 + 160, 62), holding(2730 + 160, 62)]
    link = memory(*CONNECT[:5], *shifted, *run, *off, *stop, unit=3)
    chamber = WatlowF4t(link, unit=3, loop=2, event=5)
    await chamber.connect()
    await chamber.condition(40.0)
    assert not (await chamber.read()).running, "its event is off"
    await chamber.stop()


@pytest.mark.parametrize("settings", [{"loop": 0}, {"loop": 5}, {"event": 0}, {"event": 9}])
def test_settings_it_does_not_have(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        WatlowF4t(memory(), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("transcript", "message"),
    [
        ([holding_float(2782, 20.0)], "set point: wrote 25 degC, reads back 20"),
        ([holding_float(2782, 25.0), write_word(2730, 10), holding(2730, 62)], "control mode: wrote 10, reads back 62"),
    ],
)
async def test_what_reads_back_differently_is_an_error(transcript: list[Exchange], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        await (await connected(*FORMAT, NO_PROFILE, write_float(2782, 25.0), *transcript)).condition(25.0)


@pytest.mark.parametrize(("state", "said"), [(149, "a profile runs"), (146, "a profile is paused")])
async def test_a_profile_owns_the_set_point(state: int, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        await (await connected(*FORMAT, holding(16568, state))).condition(25.0)


@pytest.mark.parametrize("temperature", [-70.1, 180.1, math.nan, math.inf])
async def test_set_points_outside_are_refused_before_they_are_sent(temperature: float) -> None:
    with pytest.raises(SettingError, match="outside the chamber's -70 to 180 degC"):
        await (await connected()).condition(temperature)


async def test_stop_is_confirmed() -> None:
    await (await connected(write_word(2730, 62), holding(2730, 62))).stop()
    with pytest.raises(SettingError, match="control mode: wrote 62, reads back 10"):
        await (await connected(write_word(2730, 62), holding(2730, 10))).stop()


async def test_a_refused_register_is_a_device_error() -> None:
    with pytest.raises(DeviceError, match="Modbus exception 2, illegal data address"):
        await WatlowF4t(memory(("03 0000 0002", "83 02"))).connect()


@pytest.mark.parametrize("answer", ["03 02 0000", "03 06 000041c80000", "04 04 0000 41c8"])
async def test_answers_that_do_not_fit_are_errors(answer: str) -> None:
    with pytest.raises(AnswerError):
        await (await connected(*FORMAT, ("03 0b04 0002", answer))).read()


async def test_silence_is_a_timeout() -> None:
    with pytest.raises(LinkError) as caught:
        await (await connected(*FORMAT, ("03 0b04 0002", None))).read()
    assert caught.value.code == "E-LINK-TIMEOUT"


def test_texts_and_integers() -> None:
    assert parse_part_number([*b"F4T", 0, 0]) == "F4T"
    assert parse_integer([0x4321, 1]) == 0x14321
    for registers in ([0x100, 0x46], [7], [0xFF]):
        with pytest.raises(AnswerError):
            parse_part_number(registers)


def test_ranges_that_make_no_sense_are_refused() -> None:
    for lowest, highest in ((180.0, -70.0), (20.0, 20.5), (-300.0, 100.0), (0.0, 501.0)):
        with pytest.raises(SettingError, match="word order"):
            parse_limits(low_first(lowest), low_first(highest))


@given(st.floats(-200, 500, width=32))
def test_temperatures_survive_the_wire(value: float) -> None:
    assert parse_temperature(format_temperature(value)) == value
    assert tuple(format_temperature(value)) == low_first(value)


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_no_registers_make_a_parser_fail_in_another_way(first: int, second: int) -> None:
    with contextlib.suppress(AnswerError):
        assert -200 <= parse_temperature([first, second]) <= 500
    if (first, second) != (124, 0):
        with pytest.raises((IdentityError, SettingError)):
            check_hardware([first, second])


@given(st.integers(-100, 50), st.integers(51, 300))
def test_swapped_words_never_make_a_range(lowest: int, highest: int) -> None:
    swapped = [low_first(float(value))[::-1] for value in (lowest, highest)]
    with pytest.raises((SettingError, AnswerError)):
        parse_limits(*swapped)
