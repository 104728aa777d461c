"""Transcripts of ESPEC chambers, from what the maker's library and real chambers say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import AnswerError, ConfigError, DeviceError, IdentityError, LinkError, SettingError
from drivers.espec_p300 import EspecP300, Temperatures, parse_alarms, parse_monitor, parse_temperatures, parse_type
from drivers.links import MemoryTextLink, SerialLink, script
from drivers.roles import Chamber, ChamberReading
from tests.drivers.peers import Pty, pty_peer

Transcript = list[tuple[bytes, bytes]]

CONNECT: Transcript = [
    (b"TYPE?\r\n", b"T,T,P300,170.0\r\n"),
    (b"ROM?\r\n", b"P300 1.02\r\n"),
    (b"TEMP?\r\n", b"23.4,25.0,100.0,-40.0\r\n"),
]
SET: Transcript = [(b"TEMP, S35.0\r\n", b"OK:TEMP, S35.0\r\n"), (b"MODE,CONSTANT\r\n", b"OK:MODE,CONSTANT\r\n")]
CONSTANT = (b"MODE?\r\n", b"CONSTANT\r\n")
STANDBY = (b"MODE?\r\n", b"STANDBY\r\n")


def memory(transcript: Transcript) -> MemoryTextLink:
    return MemoryTextLink(script(transcript), terminator=b"\r\n")


async def connected(transcript: Transcript) -> EspecP300:
    chamber = EspecP300(memory([*CONNECT, *transcript]))
    await chamber.connect()
    return chamber


async def test_connect_asks_who_is_there_and_changes_nothing() -> None:
    chamber: Chamber = EspecP300(memory(CONNECT), "P300")
    identity = await chamber.connect()
    assert (identity.manufacturer, identity.model, identity.firmware) == ("ESPEC", "P300", "P300 1.02")
    assert chamber.temperatures == (-40.0, 100.0)
    await chamber.close()


async def test_the_highest_set_point_is_the_lower_of_limit_and_rating() -> None:
    chamber = EspecP300(memory([(b"TYPE?\r\n", b"T,SCP220,90.0\r\n"), *CONNECT[1:]]))
    with pytest.raises(DeviceError, match="before connect"):
        _ = chamber.temperatures
    await chamber.connect()
    assert chamber.temperatures == (-40.0, 90.0)


@pytest.mark.parametrize("answer", [b"T,ES102,100.0\r\n", b"T,T,F4T,170.0\r\n"])
async def test_another_controller_is_refused(answer: bytes) -> None:
    with pytest.raises(IdentityError, match="P300 or SCP220"):
        await EspecP300(memory([(b"TYPE?\r\n", answer)])).connect()
    with pytest.raises(IdentityError, match="SCP220"):
        await EspecP300(memory(CONNECT), "SCP220").connect()


@pytest.mark.parametrize(
    ("mode", "running"), [(b"OFF", False), (b"STANDBY", False), (b"CONSTANT", True), (b"RUN", True)]
)
async def test_read(mode: bytes, running: bool) -> None:
    chamber = await connected(
        [(b"MON?\r\n", b"24.9,," + mode + b",0\r\n"), (b"TEMP?\r\n", b"25.0,30.0,100.0,-40.0\r\n")]
    )
    assert await chamber.read() == ChamberReading(25.0, 30.0, running, ())


async def test_alarms_are_named() -> None:
    chamber = await connected(
        [
            (b"MON?\r\n", b"24.9,55,STANDBY,2\r\n"),
            (b"TEMP?\r\n", b"25.0,30.0,100.0,-40.0\r\n"),
            (b"ALARM?\r\n", b"2,3,12\r\n"),
        ]
    )
    assert (await chamber.read()).alarms == ("alarm 3", "alarm 12")


async def test_a_set_point_is_written_run_and_read_back() -> None:
    chamber = await connected([*SET, CONSTANT, (b"TEMP?\r\n", b"25.0,35.0,100.0,-40.0\r\n")])
    await chamber.condition(35.0)


@pytest.mark.parametrize(
    "read_back",
    [
        [STANDBY, (b"TEMP?\r\n", b"25.0,35.0,100.0,-40.0\r\n")],
        [CONSTANT, (b"TEMP?\r\n", b"25.0,25.0,100.0,-40.0\r\n")],
    ],
    ids=["mode", "set point"],
)
async def test_what_reads_back_differently_is_an_error(read_back: Transcript) -> None:
    chamber = await connected([*SET, *read_back])
    with pytest.raises(SettingError, match=r"wrote CONSTANT at 35\.0 degC, reads back"):
        await chamber.condition(35.0)


@pytest.mark.parametrize("temperature", [-40.1, 100.1, float("nan"), float("inf")])
async def test_set_points_outside_are_refused_before_they_are_sent(temperature: float) -> None:
    with pytest.raises(SettingError, match="outside the chamber's -40 to 100 degC"):
        await (await connected([])).condition(temperature)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"NA:PROTECT ON\r\n", r"PROTECT ON \(its keys are protected\)"),
        (b"NA:CONT NOT READY-3\r\n", "CONT NOT READY-3"),
    ],
)
async def test_a_refusal_is_told(answer: bytes, message: str) -> None:
    chamber = await connected([(SET[0][0], answer)])
    with pytest.raises(DeviceError, match=message):
        await chamber.condition(35.0)


@pytest.mark.parametrize("answer", [b"35.0\r\n", b"OK:MODE,CONSTANT\r\n", b"OK\r\n"])
async def test_the_echo_of_something_else_is_an_error(answer: bytes) -> None:
    chamber = await connected([(SET[0][0], answer)])
    with pytest.raises(AnswerError, match="echo"):
        await chamber.condition(35.0)


async def test_stop_is_confirmed() -> None:
    chamber = await connected([CONSTANT, (b"MODE,STANDBY\r\n", b"OK:MODE,STANDBY\r\n"), STANDBY])
    await chamber.stop()


@pytest.mark.parametrize("mode", [b"OFF\r\n", b"STANDBY\r\n"])
async def test_stop_when_nothing_runs_changes_nothing(mode: bytes) -> None:
    await (await connected([(b"MODE?\r\n", mode)])).stop()


async def test_stop_that_is_not_confirmed_is_an_error() -> None:
    chamber = await connected([CONSTANT, (b"MODE,STANDBY\r\n", b"OK:MODE,STANDBY\r\n"), CONSTANT])
    with pytest.raises(SettingError, match="wrote STANDBY, reads back CONSTANT"):
        await chamber.stop()


async def test_two_chambers_on_one_bus_are_told_apart_by_their_address() -> None:
    async def bus(pty: Pty) -> None:
        answers = {
            b"1,TYPE?\r\n": b"T,P300,170.0\r\n",
            b"1,ROM?\r\n": b"1.00\r\n",
            b"1,TEMP?\r\n": b"25.0,25.0,100.0,-40.0\r\n",
            b"2,TYPE?\r\n": b"T,P300,150.0\r\n",
            b"2,ROM?\r\n": b"1.00\r\n",
            b"2,TEMP?\r\n": b"45.0,45.0,80.0,-20.0\r\n",
        }
        while True:
            pty.send(answers.get(await pty.receive_line(), b""))

    async with pty_peer(bus) as pty:
        link = SerialLink(pty.port, timeout=0.2, quarantine=0.0)
        first, second, third = (EspecP300(link, address=address) for address in (1, 2, 3))
        await first.connect()
        await second.connect()
        assert (first.temperatures, second.temperatures) == ((-40.0, 100.0), (-20.0, 80.0))
        with pytest.raises(LinkError) as caught:
            await third.connect()
        assert caught.value.code == "E-LINK-TIMEOUT"
        await link.close()


@pytest.mark.parametrize("address", [0, 17, -1])
def test_an_address_that_no_chamber_has(address: int) -> None:
    with pytest.raises(ConfigError, match="1 to 16"):
        EspecP300(memory([]), address=address)


async def test_silence_is_a_timeout() -> None:
    chamber = await connected([(b"MON?\r\n", b"")])
    with pytest.raises(LinkError) as caught:
        await chamber.read()
    assert caught.value.code == "E-LINK-TIMEOUT"


async def test_an_answer_late_by_one_is_noticed() -> None:
    chamber = await connected([(b"MON?\r\n", b"25.0,30.0,100.0,-40.0\r\n")])
    with pytest.raises(AnswerError):
        await chamber.read()


@pytest.mark.parametrize("answer", ["", "27.0", "27.0,,STANDBY", "27.0,,STANDBY,0,1", "27.0,,WARM,0", "27.0,,RUN,x"])
def test_monitors_that_do_not_parse(answer: str) -> None:
    with pytest.raises(AnswerError):
        parse_monitor(answer)


@pytest.mark.parametrize("answer", ["", "25.0,25.0,100.0", "25.0,OFF,100.0,-40.0", "NaN,25.0,100.0,-40.0", "25,,1,2"])
def test_temperatures_that_do_not_parse(answer: str) -> None:
    with pytest.raises(AnswerError):
        parse_temperatures(answer)


@pytest.mark.parametrize("answer", ["", "1", "0,3", "2,3", "1,x", "-1"])
def test_alarms_that_do_not_parse(answer: str) -> None:
    with pytest.raises(AnswerError):
        parse_alarms(answer)


def test_answers_of_real_chambers() -> None:
    assert parse_type("T,SCP220,190.0") == ("SCP220", 190.0)
    assert parse_monitor("27.0,,STANDBY,0") == ("STANDBY", 0)
    assert parse_temperatures("27.0,50.0,185.0,-90.0") == Temperatures(27.0, 50.0, 185.0, -90.0)
    assert parse_alarms("0") == ()
    with pytest.raises(AnswerError):
        parse_type("P300")


@given(st.lists(st.integers(0, 999), max_size=20))
def test_every_list_of_alarms_is_read(codes: list[int]) -> None:
    answer = ",".join(map(str, [len(codes), *codes]))
    assert parse_alarms(answer) == tuple(f"alarm {code}" for code in codes)
