"""One channel of a Neware BTS server (BTS 8, cell cyclers), which drives cells by step files of its own.

Sources: aurora-neware with the answers it recorded from a BTS 8.0 (messages, login, quirks), other public clients that
quote the maker's BTSAPI protocol 1.19 (states, step types, "not newer than 5 s", 30 s for an answer), and for the step
file aurora-unicycler and step files of real machines (mA, 0.1 mV, ms). XML over TCP, port 502 of the BTS client's
computer, with its API enabled. The answer's subdevid may be wrong: answers are matched by command and order.

It cannot play the Cycler: it takes no set point while it drives, its readings are up to 5 s old, and it has no watchdog
for a computer that is gone. So it is given a program with limits of its own, and polled.

The server opens the step file by its path: `folder` is where we write it, `bts_folder` how the server's computer names
that same folder.

Assumed: the step file's date and Guid are not looked at; Curr limits are signed, the discharge one negative; a channel
that was never used has the test 0; the login counts for one connection.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement
from xml.sax.saxutils import escape, quoteattr

from drivers.errors import AnswerError, ConfigError, DeviceError, NotHereError, SettingError
from drivers.identity import check_identity
from drivers.links import TextLink
from drivers.numbers import parse_integer, parse_number
from drivers.roles import (
    CellProtection,
    CellReading,
    CellState,
    CellStep,
    CellStepResult,
    ConstantCurrent,
    ConstantVoltage,
    Identity,
    Rest,
)

MODELS = {20: "BTS78", 21: "BTS79", 22: "BTS80", 23: "BTS81", 24: "BTS82", 25: "BTS83", 26: "BTS84", 27: "BTS85"}
STATES = {
    "working": CellState.RUNNING,
    "waitStart": CellState.RUNNING,  # and the next two: a program has the channel
    "synCtrl": CellState.RUNNING,
    "waitTimeOut": CellState.RUNNING,
    "pause": CellState.PAUSED,
    "finish": CellState.FINISHED,
    "stop": CellState.STOPPED,
    "protect": CellState.PROTECTED,
}
READY = (CellState.FINISHED, CellState.STOPPED, CellState.PROTECTED)
DISCHARGING = ("dc", "dv", "cccd", "dp", "dr")
CHARGE, DISCHARGE, CHARGE_AT_VOLTAGE, REST, END, DISCHARGE_AT_VOLTAGE = 1, 2, 3, 4, 6, 19
MILLIAMPERE, TENTH_MILLIVOLT, MILLISECOND = 1e3, 1e4, 1e3
MOST_STEPS = 100
RECORD_EVERY = 1.0  # s
LONGEST_TEXT = 100  # characters of a code or a folder
_ADDRESS = re.compile(r"(\d{1,6})-(\d{1,6})-(\d{1,6})")


@dataclass(frozen=True, slots=True)
class Channel:
    """What names a channel in every message."""

    ip: str
    device_type: int
    device: int
    unit: int
    channel: int

    def attributes(self) -> str:
        return f"ip={quoteattr(self.ip)} {self.short_attributes()}"

    def short_attributes(self) -> str:
        return f'devtype="{self.device_type}" devid="{self.device}" subdevid="{self.unit}" chlid="{self.channel}"'


def format_request(command: str, content: str = "") -> str:
    """One line of ASCII; whatever else stands in it is a character reference."""
    line = f'<?xml version="1.0" encoding="UTF-8" ?><bts version="1.0"><cmd>{command}</cmd>{content}</bts>'
    return line.encode("ascii", "xmlcharrefreplace").decode("ascii")


def parse_answer(answer: str, command: str) -> Element:
    """The root of the answer to a command; raises AnswerError for another one's and for what is no such XML."""
    if "<!" in answer:
        raise AnswerError("XML with declarations of its own is refused", answer)
    try:
        root = ElementTree.fromstring(answer.strip())
    except (ElementTree.ParseError, ValueError) as error:
        raise AnswerError(f"no XML ({error})", answer) from error
    answered = root.findtext("cmd", "").strip()
    if root.tag != "bts" or answered != f"{command}_resp":
        raise AnswerError(f"expected the answer to {command}", answer)
    return root


def parse_channels(root: Element) -> list[Channel]:
    """The channels of an answer to getdevinfo."""
    return [
        Channel(_text(item, "ip"), *(_integer(item, name) for name in ("devtype", "devid", "subdevid", "Channelid")))
        for item in root.findall("middle/channel")
    ]


def parse_reading(root: Element, channel: Channel) -> CellReading:
    """The channel of an answer to inquire."""
    item, state = _inquired(root, channel)
    sign = _sign(_text(item, "step_type"))
    return CellReading(
        state,
        None if state in READY or item.get("step_id") is None else _integer(item, "step_id"),
        _number(item, "voltage"),
        _number(item, "current"),
        sign * _number(item, "capacity"),
        sign * _number(item, "energy"),
        _number(item, "relativetime"),
        item.get("barcode", ""),
    )


def parse_state(root: Element, channel: Channel) -> CellState:
    """Its state alone, which an answer to inquire has even while its values are `--`."""
    return _inquired(root, channel)[1]


def _inquired(root: Element, channel: Channel) -> tuple[Element, CellState]:
    item = _only(root, "inquire")
    named = [parse_integer(part) for part in _text(item, "dev").split("-")]
    if len(named) != 5 or (named[0], named[1], named[3]) != (channel.device_type, channel.device, channel.channel):
        raise AnswerError(f"expected channel {channel.channel} of device {channel.device}", _text(item, "dev"))
    status = _text(item, "workstatus")
    if status not in STATES:
        raise AnswerError(f"expected one of {', '.join(STATES)}", status)
    return item, STATES[status]


def parse_test(root: Element) -> int:
    """The number of the newest test in an answer to inquiredf."""
    return _integer(_only(root, "chl"), "testid", 2**32)


def parse_results(root: Element) -> tuple[CellStepResult, ...]:
    """The steps of an answer to downloadStepLayer."""
    return tuple(
        CellStepResult(
            _integer(item, "stepid"),
            _number(item, "steptime") / MILLISECOND,
            _sign(_text(item, "steptype")) * _number(item, "cap"),
            _sign(_text(item, "steptype")) * _number(item, "eng"),
            _number(item, "startvolt"),
            _number(item, "endvolt"),
        )
        for item in root.findall("list/data")
    )


def format_steps(steps: Sequence[CellStep], protection: CellProtection, code: str) -> str:
    """The step file; raises SettingError for a program that its own protection would end, or that has no sense."""
    if not code.isprintable() or len(code) > LONGEST_TEXT:
        raise SettingError(f"the code must be printable and of {LONGEST_TEXT} characters at most, not {code[:40]!r}")
    _check_program(steps, protection)
    root = Element("root")
    config = SubElement(
        root, "config", type="Step File", version="17", client_version="BTS Client 8.0.0.478(2024.06.24)(R3)"
    )
    config.set("date", "20240624000000")
    head = SubElement(config, "Head_Info")
    for name, value in (("Operate", "66"), ("Scale", "1"), ("Creator", "evaline"), ("Remark", code)):
        SubElement(head, name, Value=value)
    SubElement(head, "Start_Step", Value="1", Hide_Ctrl_Step="0")
    SubElement(head, "RateType", Value="103")
    whole = SubElement(config, "Whole_Prt")
    protect = SubElement(SubElement(whole, "Protect"), "Main")
    _limits(protect, "Volt", protection.lowest_voltage, protection.highest_voltage, TENTH_MILLIVOLT)
    _limits(protect, "Curr", -protection.current, protection.current, MILLIAMPERE)
    _values(SubElement(SubElement(whole, "Record"), "Main"), Time=RECORD_EVERY * MILLISECOND)
    info = SubElement(config, "Step_Info", Num=str(len(steps) + 1))
    for number, step in enumerate(steps, 1):
        kind, values = _step(step)
        item = SubElement(info, f"Step{number}", Step_ID=str(number), Step_Type=str(kind))
        _values(SubElement(SubElement(item, "Limit"), "Main"), **values)
    SubElement(info, f"Step{len(steps) + 1}", Step_ID=str(len(steps) + 1), Step_Type=str(END))
    SubElement(SubElement(config, "SMBUS"), "SMBUS_Info", Num="0", AdjacentInterval="0")
    config.set("Guid", str(uuid.uuid5(uuid.NAMESPACE_OID, ElementTree.tostring(root, "unicode"))))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n"


class NewareBts:
    """Role CellCycler."""

    def __init__(
        self,
        link: TextLink,
        model: str = "",
        serial: str = "",
        *,
        address: str,
        folder: str,
        bts_folder: str = "",
        user: str = "admin",
        password: str = "neware",
    ) -> None:
        """address is device-unit-channel as the BTS client shows them, `21-1-4`; folders as in this file's head."""
        match = _ADDRESS.fullmatch(address)
        if match is None:
            raise ConfigError(f"the address must be device-unit-channel like 21-1-4, not {address!r}")
        bts_folder = bts_folder or folder
        if not folder or not bts_folder.isprintable() or len(bts_folder) > LONGEST_TEXT:
            raise ConfigError(f"folder and bts_folder must be paths of {LONGEST_TEXT} characters at most")
        self._link = link
        self._model, self._serial = model, serial
        self._address = address
        self._place = tuple(map(int, match.groups()))
        self._file = Path(folder) / f"{address}.xml"
        self._bts_folder = bts_folder
        self._login = f"<username>{escape(user)}</username><password>{escape(password)}</password><type>bfgs</type>"
        self._session: int | None = None
        self._found: Channel | None = None
        self._earlier_test: int | None = None  # while the program that was started has not begun

    async def connect(self) -> Identity:
        await self._link.open()
        self._session = None
        return check_identity(await self.identify(), self._model, self._serial)

    async def identify(self) -> Identity:
        channels = parse_channels(await self._ask("getdevinfo"))
        own = [channel for channel in channels if (channel.device, channel.unit, channel.channel) == self._place]
        if len(own) != 1:
            others = ", ".join(f"{channel.device}-{channel.unit}-{channel.channel}" for channel in channels) or "none"
            raise NotHereError("channel", self._address, others)
        self._found = own[0]
        return Identity("Neware", MODELS.get(own[0].device_type, f"device type {own[0].device_type}"), "", "")

    async def close(self) -> None:
        await self._link.close()

    async def start(self, steps: Sequence[CellStep], protection: CellProtection, code: str) -> None:
        channel = self._channel
        program = format_steps(steps, protection, code)
        if (reading := await self._inquire()).state not in READY:
            raise SettingError(f"channel {self._address} is {reading.state}; stop it before starting a program")
        earlier_test = await self._newest_test()
        await asyncio.to_thread(_write, self._file, program)
        self._earlier_test = earlier_test  # before it is sent: a server that does not answer may still begin it
        await self._command(
            "start",
            f"<start {channel.attributes()} barcode={quoteattr(code)}>{escape(self._bts_path)}</start>"
            f'<backup backupdir={quoteattr(self._bts_folder)} remotedir="" filenametype="0" customfilename="" '
            'addtimewhenrepeat="0" createdirbydate="0" filetype="0" backupontime="1" backupontimeinterval="720" '
            'backupfree="1" />',
        )

    async def read(self) -> CellReading:
        # The newest test is asked for first: values that follow a new one are of the new one.
        begun = await self._has_begun()
        reading = await self._inquire()
        if begun:
            return reading
        return CellReading(CellState.STARTING, None, reading.voltage, reading.current, 0.0, 0.0, 0.0, reading.code)

    async def results(self) -> tuple[CellStepResult, ...]:
        if not await self._has_begun():
            return ()
        content = f"<downloadStepLayer {self._channel.short_attributes()} />"
        return parse_results(await self._ask("downloadStepLayer", content))

    async def stop(self) -> None:
        # not read(): a program is stopped whatever its values read; one that has not begun is stopped as well
        if not await self._has_begun() or parse_state(await self._inquired(), self._channel) not in READY:
            await self._command("stop", f"<stop {self._channel.attributes()}>true</stop>")
            self._earlier_test = None

    @property
    def _channel(self) -> Channel:
        if self._found is None:
            raise DeviceError("the channel is unknown before connect()")
        return self._found

    @property
    def _bts_path(self) -> str:
        separator = "\\" if "\\" in self._bts_folder else "/"
        return f"{self._bts_folder.rstrip(separator)}{separator}{self._file.name}"

    async def _inquire(self) -> CellReading:
        return parse_reading(await self._inquired(), self._channel)

    async def _inquired(self) -> Element:
        item = f'<inquire {self._channel.attributes()} aux="0" barcode="1">true</inquire>'
        return await self._ask("inquire", f'<list count="1">{item}</list>')

    async def _newest_test(self) -> int:
        item = f'<chl {self._channel.short_attributes()} testid="0" />'
        return parse_test(await self._ask("inquiredf", f'<list count="1">{item}</list>'))

    async def _has_begun(self) -> bool:
        """False until the server has made a test of the program that was started last."""
        if self._earlier_test is not None and await self._newest_test() != self._earlier_test:
            self._earlier_test = None
        return self._earlier_test is None

    async def _command(self, command: str, items: str) -> None:
        self._session = None  # log in again: on a connection reopened unnoticed it would be refused
        root = await self._ask(command, f'<list count="1">{items}</list>')
        if (verdict := (_only(root, command).text or "").strip()) != "ok":
            self._earlier_test = None  # refused: nothing will begin, or nothing runs
            raise DeviceError(
                f"the server refuses {command} for channel {self._address}: {verdict}; see the BTS client"
            )

    async def _ask(self, command: str, content: str = "") -> Element:
        if self._session != self._link.reopened:
            root = parse_answer(await self._link.query(format_request("connect", self._login)), "connect")
            if (verdict := root.findtext("result", "").strip()) != "ok":
                raise DeviceError(f"the server refuses the login: {verdict}; check user and password")
            self._session = self._link.reopened
        return parse_answer(await self._link.query(format_request(command, content)), command)


def _check_program(steps: Sequence[CellStep], protection: CellProtection) -> None:
    lowest, highest, most = protection.lowest_voltage, protection.highest_voltage, protection.current
    if not (math.isfinite(lowest) and lowest < highest < math.inf and 0 < most < math.inf):
        raise SettingError(f"no protection: {lowest:g} to {highest:g} V and {most:g} A")
    if not 1 <= len(steps) <= MOST_STEPS:
        raise SettingError(f"a program has 1 to {MOST_STEPS} steps, not {len(steps)}")
    for number, step in enumerate(steps, 1):
        if not 0 < step.seconds < math.inf:
            raise SettingError(f"step {number} lasts {step.seconds:g} s")
        if isinstance(step, Rest):
            continue
        if not 0 < abs(step.current) <= most:
            raise SettingError(f"step {number}: {step.current:g} A is not within the protection's {most:g} A")
        voltage = step.until_voltage if isinstance(step, ConstantCurrent) else step.voltage
        if voltage is not None and not lowest <= voltage <= highest:
            raise SettingError(f"step {number}: {voltage:g} V is outside the protection's {lowest:g} to {highest:g} V")
        if isinstance(step, ConstantVoltage) and not 0 <= (step.until_current or 0.0) < abs(step.current):
            raise SettingError(f"step {number} ends at {step.until_current:g} A, not below its own {step.current:g} A")


def _step(step: CellStep) -> tuple[int, dict[str, float]]:
    """Step type and the values of its limits, in the file's units."""
    values = {"Time": step.seconds * MILLISECOND}
    if isinstance(step, Rest):
        return REST, values
    values["Curr"] = abs(step.current) * MILLIAMPERE
    if isinstance(step, ConstantCurrent):
        if step.until_voltage is not None:
            values["Stop_Volt"] = step.until_voltage * TENTH_MILLIVOLT
        return CHARGE if step.current > 0 else DISCHARGE, values
    values["Volt"] = step.voltage * TENTH_MILLIVOLT
    if step.until_current is not None:
        values["Stop_Curr"] = step.until_current * MILLIAMPERE
    return CHARGE_AT_VOLTAGE if step.current > 0 else DISCHARGE_AT_VOLTAGE, values


def _limits(parent: Element, name: str, lower: float, upper: float, scale: float) -> None:
    _values(SubElement(parent, name), Upper=upper * scale, Lower=lower * scale)


def _values(parent: Element, **values: float) -> None:
    for name, value in values.items():
        SubElement(parent, name, Value=f"{value:.4f}".rstrip("0").rstrip("."))


def _write(path: Path, text: str) -> None:
    """Written whole or not at all, and read back; raises SettingError."""
    part = path.with_suffix(".part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
        written = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingError(f"the step file {path} cannot be written: {error.strerror}; check the folder") from error
    if written != text:
        raise SettingError(f"the step file {path} reads back differently; check the folder")


def _only(root: Element, name: str) -> Element:
    items = root.findall(f"list/{name}")
    if len(items) != 1:
        raise AnswerError(f"expected one {name} in the answer, found {len(items)}")
    return items[0]


def _text(item: Element, name: str) -> str:
    value = item.get(name)
    if value is None:
        raise AnswerError(f"expected {name} in {item.tag}", sorted(item.keys()))
    return value


def _integer(item: Element, name: str, highest: int = 999_999) -> int:
    return parse_integer(_text(item, name), 0, highest)


def _number(item: Element, name: str) -> float:
    return parse_number(_text(item, name))


def _sign(step_type: str) -> int:
    return -1 if step_type in DISCHARGING else 1
