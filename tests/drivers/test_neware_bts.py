"""Transcripts of the Neware BTS server, from answers that public clients recorded of real ones, and its step files."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import AnswerError, ConfigError, DeviceError, IdentityError, LinkError, SettingError
from drivers.links import MemoryTextLink, SharedTextLink, XmlTcpLink, script
from drivers.neware_bts import (
    Channel,
    NewareBts,
    format_request,
    format_steps,
    parse_answer,
    parse_channels,
    parse_reading,
    parse_results,
    parse_test,
)
from drivers.roles import (
    CellCycler,
    CellProtection,
    CellReading,
    CellState,
    CellStep,
    CellStepResult,
    ConstantCurrent,
    ConstantVoltage,
    Rest,
)
from tests.drivers.peers import tcp_peer

Exchange = tuple[str, str]

END = b"\n\n#\r\n"
HEAD = '<?xml version="1.0" encoding="UTF-8" ?><bts version="1.0">'
CHANNEL = Channel("127.0.0.1", 27, 21, 1, 4)
NAMED = 'devtype="27" devid="21" subdevid="1" chlid="4"'
PROTECTION = CellProtection(2.5, 4.3, 3.0)
PROGRAM: Sequence[CellStep] = (
    Rest(60.0),
    ConstantCurrent(1.5, 7200.0, until_voltage=4.2),
    ConstantVoltage(4.2, 1.5, 3600.0, until_current=0.05),
    ConstantCurrent(-0.5, 36000.0, until_voltage=2.75),
    ConstantVoltage(2.75, -0.5, 600.0),
)


def exchange(command: str, content: str, answer: str) -> tuple[bytes, bytes]:
    """A command as the driver sends it, and an answer as the server writes them."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', '<bts version="1.0">', f"  <cmd>{command}_resp</cmd>", answer]
    sent = f"{HEAD}<cmd>{command}</cmd>{content}</bts>".encode() + END
    return sent, "\r\n".join([*lines, "</bts>"]).encode() + END


LOGIN = exchange(
    "connect",
    "<username>admin</username><password>neware</password><type>bfgs</type>",
    "  <result>ok</result>",
)
CHANNELS = (
    '  <serverip count="1">\r\n    <server ip="127.0.0.1" port="3306" />\r\n  </serverip>\r\n  <middle count="3">\r\n'
    '    <channel ip="127.0.0.1" devtype="27" devid="21" subdevid="1" Channelid="1">true</channel>\r\n'
    '    <channel ip="127.0.0.1" devtype="27" devid="21" subdevid="1" Channelid="4">true</channel>\r\n'
    '    <channel ip="127.0.0.1" devtype="27" devid="21" subdevid="2" Channelid="4">false</channel>\r\n</middle>'
)
CONNECT = [LOGIN, exchange("getdevinfo", "", CHANNELS)]
FINISHED = (
    'dev="27-21-1-4-0" cycle_id="1" step_type="--" workstatus="finish" barcode="CELL-1" current="0" voltage="3.8834" '
    'capacity="0" energy="0" totaltime="0" relativetime="0" open_or_close="0" log_code="0"'
)
DISCHARGING = (
    'dev="27-21-1-4-0" cycle_id="44" step_id="4" step_type="dc" workstatus="working" barcode="CELL-2" '
    'current="-0.0003" voltage="4.6947" capacity="0.001" energy="0.0047" totaltime="3189199.3" relativetime="12319" '
    'open_or_close="0" log_code="102000"'
)


def inquiry(attributes: str) -> tuple[bytes, bytes]:
    asked = f'<list count="1"><inquire ip="127.0.0.1" {NAMED} aux="0" barcode="1">true</inquire></list>'
    return exchange("inquire", asked, f'  <list count="1">\r\n    <inquire {attributes} />\r\n  </list>')


def newest_test(number: int) -> tuple[bytes, bytes]:
    return exchange(
        "inquiredf",
        f'<list count="1"><chl {NAMED} testid="0" /></list>',
        f'  <list count="1">\r\n    <chl {NAMED} testid="{number}" count="219585">true</chl>\r\n  </list>',
    )


def start(folder: str, verdict: str = "ok", code: str = "CELL-2") -> list[tuple[bytes, bytes]]:
    separator = "\\" if "\\" in folder else "/"
    items = (
        f'<start ip="127.0.0.1" {NAMED} barcode="{code}">{folder}{separator}21-1-4.xml</start>'
        f'<backup backupdir="{folder}" remotedir="" filenametype="0" customfilename="" addtimewhenrepeat="0" '
        'createdirbydate="0" filetype="0" backupontime="1" backupontimeinterval="720" backupfree="1" />'
    )
    return [LOGIN, exchange("start", f'<list count="1">{items}</list>', acknowledged("start", verdict))]


def stop(verdict: str = "ok") -> list[tuple[bytes, bytes]]:
    item = f'<stop ip="127.0.0.1" {NAMED}>true</stop>'
    return [LOGIN, exchange("stop", f'<list count="1">{item}</list>', acknowledged("stop", verdict))]


def acknowledged(command: str, verdict: str) -> str:
    item = f'<{command} ip="127.0.0.1" {NAMED}>{verdict}</{command}>'
    return f'  <list count="1">\r\n    {item}\r\n  </list>'


def memory(*transcript: tuple[bytes, bytes]) -> MemoryTextLink:
    return MemoryTextLink(script(transcript), terminator=END, line_end=b"#\r\n")


def channel_of(link: MemoryTextLink, folder: Path | str = "/steps", **settings: Any) -> NewareBts:
    return NewareBts(link, address="21-1-4", folder=str(folder), **settings)


async def connected(*transcript: tuple[bytes, bytes], folder: Path | str = "/steps", **settings: Any) -> NewareBts:
    driver = channel_of(memory(*CONNECT, *transcript), folder, **settings)
    await driver.connect()
    return driver


async def test_connect_logs_in_and_finds_its_channel() -> None:
    driver: CellCycler = NewareBts(memory(*CONNECT), "BTS85", address="21-1-4", folder="/steps")
    identity = await driver.connect()
    assert (identity.manufacturer, identity.model, identity.serial) == ("Neware", "BTS85", "")
    await driver.close()


async def test_another_user() -> None:
    login = exchange(
        "connect",
        "<username>line</username><password>a&lt;b&amp;c</password><type>bfgs</type>",
        "  <result>ok</result>",
    )
    link = memory(login, CONNECT[1])
    await channel_of(link, user="line", password="a<b&c").connect()


async def test_a_refused_login() -> None:
    refused = LOGIN[0], LOGIN[1].replace(b"ok", b"false")
    with pytest.raises(DeviceError, match="refuses the login: false; check user and password"):
        await channel_of(memory(refused)).connect()


async def test_a_channel_that_is_not_there_and_a_model_that_is_another() -> None:
    link = memory(*CONNECT)
    with pytest.raises(IdentityError, match="channel '21-1-5', it answered '21-1-1, 21-1-4, 21-2-4'"):
        await NewareBts(link, address="21-1-5", folder="/steps").connect()
    with pytest.raises(IdentityError, match="BTS82"):
        await NewareBts(memory(*CONNECT), "BTS82", address="21-1-4", folder="/steps").connect()
    nobody = LOGIN, exchange("getdevinfo", "", '  <middle count="0">\r\n</middle>')
    with pytest.raises(IdentityError, match="it answered 'none'"):
        await channel_of(memory(*nobody)).connect()


@pytest.mark.parametrize("address", ["", "21-1", "27-21-1-4", "21-1-x", "21/1/4", "-1-1-1"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(ConfigError, match="like 21-1-4"):
        NewareBts(memory(), address=address, folder="/steps")


@pytest.mark.parametrize(("folder", "bts_folder"), [("", ""), ("/steps", "x" * 101), ("/steps", "a\nb")])
def test_folders_that_are_none(folder: str, bts_folder: str) -> None:
    with pytest.raises(ConfigError, match="folder"):
        NewareBts(memory(), address="21-1-4", folder=folder, bts_folder=bts_folder)


async def test_nothing_is_asked_of_a_channel_that_is_not_known() -> None:
    driver = channel_of(memory())
    for call in (driver.read, driver.results, driver.stop):
        with pytest.raises(DeviceError, match="before connect"):
            await call()


# Reading


async def test_a_discharge() -> None:
    driver = await connected(inquiry(DISCHARGING))
    assert await driver.read() == CellReading(CellState.RUNNING, 4, 4.6947, -0.0003, -0.001, -0.0047, 12319.0, "CELL-2")


async def test_a_charge_counts_up_and_a_finished_channel_has_no_step() -> None:
    charging = DISCHARGING.replace('"dc"', '"cv"').replace("-0.0003", "0.0002")
    driver = await connected(inquiry(charging), inquiry(FINISHED))
    reading = await driver.read()
    assert (reading.current, reading.charge, reading.energy) == (0.0002, 0.001, 0.0047)
    finished = await driver.read()
    assert (finished.state, finished.step, finished.voltage) == (CellState.FINISHED, None, 3.8834)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("working", CellState.RUNNING),
        ("waitStart", CellState.RUNNING),
        ("pause", CellState.PAUSED),
        ("finish", CellState.FINISHED),
        ("stop", CellState.STOPPED),
        ("protect", CellState.PROTECTED),
    ],
)
async def test_states(status: str, state: CellState) -> None:
    driver = await connected(inquiry(DISCHARGING.replace("working", status)))
    assert (await driver.read()).state is state


async def test_the_servers_wrong_subdevid_is_overlooked() -> None:
    driver = await connected(inquiry(DISCHARGING.replace("27-21-1-4-0", "27-21-9-4-0")))
    assert (await driver.read()).step == 4


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('voltage="4.6947"', 'voltage="--"'),
        ('voltage="4.6947"', 'voltage="NaN"'),
        ('voltage="4.6947"', ""),
        ('current="-0.0003"', 'current="9.9E37"'),
        ('current="-0.0003"', 'current="-0,0003"'),
        ('workstatus="working"', 'workstatus="ligth"'),
        ('step_id="4"', 'step_id="four"'),
        ("27-21-1-4-0", "27-21-1-5-0"),
        ("27-21-1-4-0", "27-22-1-4-0"),
        ("27-21-1-4-0", "27-21-1-4"),
    ],
)
async def test_what_is_no_reading_of_this_channel_is_an_error(old: str, new: str) -> None:
    driver = await connected(inquiry(DISCHARGING.replace(old, new)))
    with pytest.raises(AnswerError):
        await driver.read()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense",
        b"<bts><cmd>inquire_resp</cmd>",
        b"<html><cmd>inquire_resp</cmd></html>",
        b"<bts><cmd>inquire_resp</cmd><list/></bts>",
        b"<bts><cmd>getchlstatus_resp</cmd><list><inquire/></list></bts>",
        newest_test(143)[1].removesuffix(END),
        b"\xff\xfe",
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]><bts><cmd>inquire_resp</cmd><list>&a;</list></bts>',
    ],
)
async def test_garbage_truncated_and_late_answers_are_errors(answer: bytes) -> None:
    driver = await connected((inquiry("")[0], answer + END))
    with pytest.raises(AnswerError) as caught:
        await driver.read()
    assert len(str(caught.value)) < 300


async def test_silence_is_a_timeout_and_a_new_connection_logs_in_again() -> None:
    link = memory(*CONNECT, (inquiry("")[0], b""), inquiry(DISCHARGING), LOGIN, inquiry(DISCHARGING), inquiry(FINISHED))
    driver = channel_of(link)
    await driver.connect()
    with pytest.raises(LinkError) as caught:
        await driver.read()
    assert caught.value.code == "E-LINK-TIMEOUT"
    assert (await driver.read()).state is CellState.RUNNING  # on the new connection, which only its answer shows
    assert (await driver.read()).state is CellState.RUNNING
    assert (await driver.read()).state is CellState.FINISHED


# Starting


async def test_a_program_is_written_and_started(tmp_path: Path) -> None:
    driver = await connected(inquiry(FINISHED), newest_test(143), *start(str(tmp_path)), folder=tmp_path)
    await driver.start(PROGRAM, PROTECTION, "CELL-2")
    assert (tmp_path / "21-1-4.xml").read_text() == format_steps(PROGRAM, PROTECTION, "CELL-2")
    assert [path.name for path in tmp_path.iterdir()] == ["21-1-4.xml"]


async def test_the_servers_computer_names_the_folder_in_its_own_way(tmp_path: Path) -> None:
    settings = {"folder": tmp_path, "bts_folder": "D:\\evaline"}
    driver = await connected(inquiry(FINISHED), newest_test(0), *start("D:\\evaline"), **settings)
    await driver.start(PROGRAM, PROTECTION, "CELL-2")


async def test_until_the_new_test_is_there_the_old_ones_end_is_not_taken_for_its_own(tmp_path: Path) -> None:
    driver = await connected(
        *(inquiry(FINISHED), newest_test(143), *start(str(tmp_path))),
        *(newest_test(143), inquiry(FINISHED)),
        newest_test(143),
        *(newest_test(144), inquiry(DISCHARGING)),
        inquiry(FINISHED),
        folder=tmp_path,
    )
    await driver.start(PROGRAM, PROTECTION, "CELL-2")
    starting = await driver.read()
    assert (starting.state, starting.step, starting.voltage) == (CellState.STARTING, None, 3.8834)
    assert await driver.results() == ()
    assert (await driver.read()).state is CellState.RUNNING
    assert (await driver.read()).state is CellState.FINISHED


@pytest.mark.parametrize("status", ["working", "pause", "waitStart"])
async def test_a_channel_that_drives_is_not_started(status: str, tmp_path: Path) -> None:
    driver = await connected(inquiry(DISCHARGING.replace("working", status)), folder=tmp_path)
    with pytest.raises(SettingError, match="stop it before starting"):
        await driver.start(PROGRAM, PROTECTION, "CELL-2")
    assert not list(tmp_path.iterdir())


async def test_a_start_that_the_server_refuses(tmp_path: Path) -> None:
    driver = await connected(
        *(inquiry(FINISHED), newest_test(143), *start(str(tmp_path), "false")), inquiry(FINISHED), folder=tmp_path
    )
    with pytest.raises(DeviceError, match="refuses start for channel 21-1-4: false"):
        await driver.start(PROGRAM, PROTECTION, "CELL-2")
    assert (await driver.read()).state is CellState.FINISHED


async def test_a_start_without_an_answer_may_begin_and_is_stopped(tmp_path: Path) -> None:
    driver = await connected(
        *(inquiry(FINISHED), newest_test(143), LOGIN, (start(str(tmp_path))[1][0], b"")),
        *(newest_test(143), *stop(), inquiry(FINISHED)),
        folder=tmp_path,
    )
    with pytest.raises(LinkError):
        await driver.start(PROGRAM, PROTECTION, "CELL-2")
    await driver.stop()
    assert (await driver.read()).state is CellState.FINISHED


async def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    driver = await connected(inquiry(FINISHED), newest_test(143), folder=tmp_path / "missing")
    with pytest.raises(SettingError, match="cannot be written: No such file"):
        await driver.start(PROGRAM, PROTECTION, "CELL-2")


async def test_a_file_that_reads_back_differently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = await connected(inquiry(FINISHED), newest_test(143), folder=tmp_path)
    monkeypatch.setattr(Path, "read_text", lambda path, encoding: "half")
    with pytest.raises(SettingError, match="reads back differently"):
        await driver.start(PROGRAM, PROTECTION, "CELL-2")


async def test_codes_of_any_script_stand_in_the_command_and_in_the_file(tmp_path: Path) -> None:
    sent = start(str(tmp_path), code="&#49472;&amp;1")
    driver = await connected(inquiry(FINISHED), newest_test(143), *sent, folder=tmp_path)
    await driver.start(PROGRAM, PROTECTION, "셀&1")
    root = ElementTree.parse(tmp_path / "21-1-4.xml").getroot()
    assert [item.get("Value") for item in root.iter("Remark")] == ["셀&1"]


async def test_the_longest_command_fits_the_link(tmp_path: Path) -> None:
    sent: list[bytes] = []
    answers = [*CONNECT, inquiry(FINISHED), newest_test(143), LOGIN, (b"", start("")[1][1])]

    def receive(line: bytes) -> bytes:
        sent.append(line)
        return answers[len(sent) - 1][1]

    link = MemoryTextLink(receive, terminator=END, line_end=b"#\r\n")
    driver = channel_of(link, tmp_path, bts_folder="가" * 100)
    await driver.connect()
    await driver.start(PROGRAM, PROTECTION, "가" * 100)
    assert len(sent[-1]) > 2400


# Stopping and results


async def test_stop() -> None:
    await (await connected(inquiry(DISCHARGING), *stop())).stop()
    await (await connected(inquiry(FINISHED))).stop()
    with pytest.raises(DeviceError, match="refuses stop"):
        await (await connected(inquiry(DISCHARGING), *stop("false"))).stop()


async def test_a_channel_whose_values_read_as_dashes_is_stopped_too(tmp_path: Path) -> None:
    dashes = re.sub(r'(voltage|current|capacity|energy|relativetime)="[^"]*"', r'\1="--"', DISCHARGING)
    driver = await connected(inquiry(dashes), *stop(), folder=tmp_path)
    await driver.stop()


async def test_a_program_that_has_not_begun_is_stopped_too(tmp_path: Path) -> None:
    driver = await connected(
        *(inquiry(FINISHED), newest_test(143), *start(str(tmp_path))),
        *(newest_test(143), *stop()),
        folder=tmp_path,
    )
    await driver.start(PROGRAM, PROTECTION, "CELL-2")
    await driver.stop()


async def test_results() -> None:
    rows = [
        'stepid="1" steptype="rest" steptime="43200000" startvolt="3.1829857421875" endvolt="3.135" cap="0" eng="0"',
        'stepid="2" steptype="cc" steptime="31799100" startvolt="3.2" endvolt="4.9" cap="0.002606224967" eng="0.0123"',
        'stepid="3" steptype="dc" steptime="1500" startvolt="4.9" endvolt="3.0" cap="0.0025" eng="0.011"',
    ]
    data = "\r\n".join(f'    <data stepindex="{index}" {row} dcir="0" />' for index, row in enumerate(rows, 1))
    answer = f'  <downloadStepLayer {NAMED} testid="143" />\r\n  <list count="3">\r\n{data}\r\n  </list>'
    driver = await connected(exchange("downloadStepLayer", f"<downloadStepLayer {NAMED} />", answer))
    assert await driver.results() == (
        CellStepResult(1, 43200.0, 0.0, 0.0, 3.1829857421875, 3.135),
        CellStepResult(2, 31799.1, 0.002606224967, 0.0123, 3.2, 4.9),
        CellStepResult(3, 1.5, -0.0025, -0.011, 4.9, 3.0),
    )


async def test_no_results_yet() -> None:
    answer = f'  <downloadStepLayer {NAMED} testid="143" />\r\n  <list count="0" />'
    driver = await connected(exchange("downloadStepLayer", f"<downloadStepLayer {NAMED} />", answer))
    assert await driver.results() == ()


# Step files


def steps_of(text: str) -> list[tuple[str | None, dict[str, str | None]]]:
    root = ElementTree.fromstring(text)
    info = root.find("config/Step_Info")
    assert info is not None
    assert info.get("Num") == str(len(info))
    assert [(item.tag, item.get("Step_ID")) for item in info] == [
        (f"Step{number}", str(number)) for number in range(1, len(info) + 1)
    ]
    return [
        (item.get("Step_Type"), {value.tag: value.get("Value") for value in item.iterfind("Limit/Main/*")})
        for item in info
    ]


def test_steps_in_milliamperes_tenths_of_a_millivolt_and_milliseconds() -> None:
    assert steps_of(format_steps(PROGRAM, PROTECTION, "CELL-2")) == [
        ("4", {"Time": "60000"}),
        ("1", {"Time": "7200000", "Curr": "1500", "Stop_Volt": "42000"}),
        ("3", {"Time": "3600000", "Curr": "1500", "Volt": "42000", "Stop_Curr": "50"}),
        ("2", {"Time": "36000000", "Curr": "500", "Stop_Volt": "27500"}),
        ("19", {"Time": "600000", "Curr": "500", "Volt": "27500"}),
        ("6", {}),
    ]


def test_the_head_of_a_step_file() -> None:
    text = format_steps(PROGRAM, PROTECTION, "CELL-2")
    assert text.startswith('<?xml version="1.0" encoding="utf-8"?>\n<root>\n')
    config = ElementTree.fromstring(text).find("config")
    assert config is not None
    assert (config.get("type"), config.get("version")) == ("Step File", "17")
    assert [item.tag for item in config] == ["Head_Info", "Whole_Prt", "Step_Info", "SMBUS"]
    limits = {
        f"{item.tag} {value.tag}": value.get("Value")
        for item in config.iterfind("Whole_Prt/Protect/Main/*")
        for value in item
    }
    assert limits == {"Volt Upper": "43000", "Volt Lower": "25000", "Curr Upper": "3000", "Curr Lower": "-3000"}


def test_the_same_program_is_the_same_file_and_another_one_has_another_guid() -> None:
    text = format_steps(PROGRAM, PROTECTION, "CELL-2")
    assert format_steps(PROGRAM, PROTECTION, "CELL-2") == text
    config = ElementTree.fromstring(text).find("config")
    other = ElementTree.fromstring(format_steps(PROGRAM[:1], PROTECTION, "CELL-2")).find("config")
    assert config is not None
    assert other is not None
    assert config.get("Guid") != other.get("Guid")


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([], "1 to 100 steps, not 0"),
        ([Rest(1.0)] * 101, "1 to 100 steps, not 101"),
        ([Rest(0.0)], "step 1 lasts 0 s"),
        ([Rest(math.inf)], "step 1 lasts inf s"),
        ([Rest(1.0), ConstantCurrent(1.0, math.nan)], "step 2 lasts nan s"),
        ([ConstantCurrent(0.0, 10.0)], "step 1: 0 A is not within"),
        ([ConstantCurrent(3.1, 10.0)], "step 1: 3.1 A is not within the protection's 3 A"),
        ([ConstantCurrent(-3.1, 10.0)], "step 1: -3.1 A is not within"),
        ([ConstantCurrent(math.nan, 10.0)], "step 1: nan A is not within"),
        ([ConstantCurrent(1.0, 10.0, 4.31)], "step 1: 4.31 V is outside the protection's 2.5 to 4.3 V"),
        ([ConstantCurrent(-1.0, 10.0, 2.4)], "step 1: 2.4 V is outside"),
        ([ConstantVoltage(4.4, 1.0, 10.0)], "step 1: 4.4 V is outside"),
        ([ConstantVoltage(4.2, 1.0, 10.0, 1.0)], "step 1 ends at 1 A, not below its own 1 A"),
        ([ConstantVoltage(4.2, 1.0, 10.0, -0.1)], "step 1 ends at -0.1 A"),
    ],
)
def test_programs_that_make_no_sense_are_refused(steps: Sequence[CellStep], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        format_steps(steps, PROTECTION, "CELL-2")


@pytest.mark.parametrize(
    "change",
    [
        {"lowest_voltage": 4.3},
        {"lowest_voltage": math.nan},
        {"highest_voltage": math.inf},
        {"current": 0.0},
        {"current": -1.0},
        {"current": math.nan},
    ],
    ids=str,
)
def test_a_program_without_protection_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(SettingError, match="no protection"):
        format_steps(PROGRAM, replace(PROTECTION, **change), "CELL-2")


@pytest.mark.parametrize("code", ["x" * 101, "a\x00b", "a\nb"])
def test_codes_that_cannot_stand_in_a_file_are_refused(code: str) -> None:
    with pytest.raises(SettingError, match="code must be printable"):
        format_steps(PROGRAM, PROTECTION, code)


@given(st.floats(1e-4, 3.0), st.floats(2.5, 4.3), st.floats(0.1, 1e6))
def test_every_step_is_written_to_a_tenth_of_the_last_digit_that_counts(amp: float, volt: float, second: float) -> None:
    ((kind, values), _end) = steps_of(format_steps([ConstantCurrent(amp, second, volt)], PROTECTION, ""))
    written = {name: float(value or "") for name, value in values.items()}
    assert kind == "1"
    assert written["Curr"] == pytest.approx(amp * 1e3, abs=1e-4)
    assert written["Stop_Volt"] == pytest.approx(volt * 1e4, abs=1e-4)
    assert written["Time"] == pytest.approx(second * 1e3, abs=1e-4)


# Messages


def test_answers_of_a_real_server() -> None:
    channels = parse_channels(parse_answer(CONNECT[1][1].decode().removesuffix(END.decode()), "getdevinfo"))
    assert channels == [replace(CHANNEL, channel=1), CHANNEL, replace(CHANNEL, unit=2)]
    root = parse_answer(newest_test(2818580404)[1].decode().removesuffix(END.decode()), "inquiredf")
    assert parse_test(root) == 2818580404


def test_a_request_is_one_line_of_ascii() -> None:
    assert format_request("x", "<a>셀</a>") == f"{HEAD}<cmd>x</cmd><a>&#49472;</a></bts>"


@given(st.text(max_size=60))
def test_no_answer_makes_a_parser_fail_in_another_way(text: str) -> None:
    for answer in (
        text,
        f"<bts><cmd>x_resp</cmd>{text}</bts>",
        f'<bts><cmd>x_resp</cmd><list><inquire dev="{text}"/></list></bts>',
    ):
        try:
            root = parse_answer(answer, "x")
        except AnswerError:
            continue
        assert parse_results(root) == ()
        with pytest.raises(AnswerError):
            parse_reading(root, CHANNEL)


async def test_two_channels_of_one_server_on_one_connection() -> None:
    connections = 0

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            line = (await reader.readuntil(END)).decode()
            command = line.partition("<cmd>")[2].partition("</cmd>")[0]
            unit = line.partition('subdevid="')[2][:1]
            reading = DISCHARGING.replace('step_id="4"', f'step_id="{unit}"')
            content = {
                "connect": "<result>ok</result>",
                "getdevinfo": CHANNELS,
                "inquire": f"<list><inquire {reading} /></list>",
            }[command]
            writer.write(f"<bts><cmd>{command}_resp</cmd>{content}</bts>".encode() + END)

    async with tcp_peer(server) as port:
        bus = SharedTextLink(XmlTcpLink("127.0.0.1", port, timeout=5.0), rest=0.0)
        first, second = (NewareBts(bus.member(), address=address, folder="/steps") for address in ("21-1-4", "21-2-4"))
        await asyncio.gather(first.connect(), second.connect())
        readings = await asyncio.gather(*(driver.read() for driver in (first, second) * 3))
        assert [reading.step for reading in readings] == [1, 2] * 3
        await first.close()
        assert (await second.read()).step == 2
        await second.close()
    assert connections == 1
