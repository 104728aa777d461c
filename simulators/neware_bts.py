"""Neware BTS: the server of cell cyclers, XML over TCP. Its channels run the step files they are started with.

Source: answers recorded from a BTS 8.0 and the client of EmpaEconversion's aurora-neware, as collected in the project's
instrument notes. Messages of both sides end in two line feeds, a hash, CR and LF; answers are indented and have CR+LF
inside. A connection begins with `connect`. A channel is addressed by device, sub-device and channel; answers to lists
come in the order of their questions. The spelling of `donwload_resp` is the server's.

Choices where they are silent: what is no message, what nobody knows and what comes before `connect` gets no answer; a
channel nobody has is left out of what is asked of several, and refuses what it is told; tests are numbered by channel,
and 0 is none; dates begin with the line's time at 2026-01-01; `clearflag` clears a protection's flag and changes
nothing else; `light` is only acknowledged; backups are not made.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from simulators.faults import Faults, Texts, measured
from simulators.neware_channel import Channel, Record
from simulators.neware_steps import StepFileError, parse
from simulators.scpi import LineBuffer

TERMINATOR = b"\n\n#\r\n"
HOST, DEVICE_TYPE = "127.0.0.1", 27
DATABASE_PORT = 3306
CREDENTIALS, CLIENT = ("admin", "neware"), "bfgs"
EPOCH = datetime.datetime(2026, 1, 1)
MAX_DOWNLOAD = 1000
WORKING_LOG = 102000
# what a unit of another number is called
OTHER_DEVICE = 100

Address = tuple[int, int, int]
Element = ElementTree.Element
Attributes = dict[str, object]


def address_of(text: str) -> Address:
    """`21-1-4`: device, sub-device and channel. Raises ValueError."""
    device, sub_device, channel = (int(part) for part in text.split("-"))
    if not (0 <= device <= 255 and 1 <= sub_device <= 255 and 1 <= channel <= 255):
        raise ValueError(text)
    return device, sub_device, channel


class NewareBts:
    """The server with its channels by their addresses; `own` is the one that faults and a line's settings speak of."""

    FAULTS: ClassVar[Texts] = {
        **measured("stuck", "drift", "sign_flip", "polarity_reversed", "open_lead", "range_clip", "overrange"),
        "nan": "Its values are `--`.",
        "wrong_identity": "A channel of a unit with another number.",
        "alarm": "An overheated channel, which protects itself.",
        "output_refuses_off": "It goes on when it is told to stop.",
    }

    terminator = TERMINATOR
    idle_timeout_s = 0.0

    def __init__(
        self,
        channels: Mapping[Address, Channel],
        own: Address,
        read_file: Callable[[str], bytes] = lambda path: Path(path).read_bytes(),
        credentials: tuple[str, str] = CREDENTIALS,
    ) -> None:
        """`read_file` gives the bytes at a path of a step file, or raises OSError; `credentials` are user, password."""
        self.channels = dict(channels)
        self.own = own
        self._read_file = read_file
        self._credentials = credentials

    @classmethod
    def joined(cls, servers: Sequence[NewareBts]) -> NewareBts:
        """One server with the channels of all; each channel is that of the server that calls it its own."""
        channels = {address: channel for server in servers for address, channel in server.channels.items()}
        channels |= {server.own: server.channels[server.own] for server in servers}

        def read_file(path: str) -> bytes:
            for server in servers:
                with contextlib.suppress(OSError):
                    return server._read_file(path)
            raise FileNotFoundError(path)

        first = servers[0]
        return cls(dict(sorted(channels.items())), first.own, read_file, first._credentials)

    @property
    def faults(self) -> Faults:
        return self.channels[self.own].faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self.channels[self.own].faults = faults

    def deadline(self) -> float:
        return min(channel.deadline() for channel in self.channels.values())

    def elapse(self) -> None:
        for channel in self.channels.values():
            channel.elapse()

    def restart(self) -> None:
        """The middle machine comes up anew: its own channel rests and has forgotten its test."""
        channel = self.channels[self.own]
        channel.forget()

    def status_byte(self) -> int:
        """It has no serial poll."""
        return 0

    def face(self) -> BtsFace:
        return BtsFace(self)

    # --- messages ----------------------------------------------------------------------------------------------

    def connects(self, message: Element) -> bool:
        return tuple(message.findtext(name) for name in ("username", "password", "type")) == (
            *self._credentials,
            CLIENT,
        )

    def answer(self, command: str, message: Element) -> bytes:
        """The answer to one command of a connected client; b"" when nobody knows it."""
        match command:
            case "getdevinfo":
                return self._devices()
            case "getchlstatus" | "inquire" | "inquiredf":
                return self._several(command, message)
            case "start" | "stop" | "light" | "clearflag":
                return self._write(command, message)
            case "download" | "downloadlog" | "downloadStepLayer":
                return self._one(command, message)
        return b""

    def _devices(self) -> bytes:
        """`true` for a channel that is free."""
        lines = [
            _element(
                "channel",
                {"ip": HOST, "devtype": DEVICE_TYPE, "devid": device, "subdevid": sub, "Channelid": number},
                _true(channel.status != "working"),
            )
            for (device, sub, number), channel in self._known().items()
        ]
        server = _list("serverip", [_element("server", {"ip": HOST, "port": DATABASE_PORT})])
        return _message("getdevinfo", [*server, *_list("middle", lines)])

    def _several(self, command: str, message: Element) -> bytes:
        tag = {"getchlstatus": "status", "inquiredf": "chl"}.get(command, command)
        lines = [
            self._asked(tag, address, channel)
            for address, channel in self._addressed(message.iterfind(f"list/{tag}"))
            if channel is not None
        ]
        return _message(command, _list("list", lines))

    def _asked(self, tag: str, address: Address, channel: Channel) -> str:
        free = channel.status != "working"
        match tag:
            case "status":
                return _element(tag, _named(address) | {"reservepause": 1}, channel.status)
            case "chl":
                test: Attributes = {"testid": channel.test, "count": len(channel.records)}
                named = {name: value for name, value in _named(address).items() if name != "ip"}
                return _element(tag, named | test, _true(free))
        return _element(tag, self._inquired(address, channel))

    def _inquired(self, address: Address, channel: Channel) -> Attributes:
        """What a running step has; a channel that rests has no step."""
        reading, step = channel.reading(), channel.step
        values = (reading.current, reading.voltage, reading.capacity, reading.energy)
        current, voltage, capacity, energy = (
            "--" if "nan" in channel.faults else _number(value, 4) for value in values
        )
        return {
            "dev": "-".join(map(str, (DEVICE_TYPE, *address, 0))),
            "cycle_id": reading.cycle,
            **({"step_id": step.number} if step is not None else {}),
            "step_type": reading.kind,
            "workstatus": channel.status,
            "barcode": channel.barcode,
            "current": current,
            "voltage": voltage,
            "capacity": capacity,
            "energy": energy,
            "totaltime": _number(channel.total_seconds, 1),
            "relativetime": _number(reading.seconds, 1),
            "open_or_close": 0,
            "log_code": 0 if step is None else WORKING_LOG,
        }

    def _write(self, command: str, message: Element) -> bytes:
        elements = list(message.iterfind(f"list/{command}"))
        lines = []
        for element, (address, channel) in zip(elements, self._addressed(elements), strict=True):
            done = channel is not None and self._carry_out(command, element, channel)
            lines.append(_element(command, _named(address), "ok" if done else "false"))
        return _message(command, _list("list", lines))

    def _carry_out(self, command: str, element: Element, channel: Channel) -> bool:
        match command:
            case "start":
                try:
                    program = parse(self._read_file((element.text or "").strip()))
                except (OSError, ValueError, StepFileError):
                    return False
                return channel.start(program, element.get("barcode", ""))
            case "stop":
                return channel.stop()
            case "clearflag":
                return channel.status == "protect"
        return True

    # --- downloads ---------------------------------------------------------------------------------------------

    def _one(self, command: str, message: Element) -> bytes:
        """Of the newest test, whatever number is asked for; nothing of a channel nobody has."""
        tag = "download" if command == "downloadlog" else command
        asked = message.find(tag)
        if asked is None:
            return b""
        ((address, channel),) = self._addressed([asked])
        if channel is None:
            return b""
        echoed = {name: value for name, value in _named(address).items() if name != "ip"} | {"testid": channel.test}
        match command:
            case "download":
                start, count = (_whole(asked.get(name, "")) for name in ("startpos", "count"))
                echoed |= {"startpos": start, "count": count, "auxid": 0}
                first = max(start, 1)
                chosen = channel.records[first - 1 : first - 1 + min(count, MAX_DOWNLOAD)]
                lines = [_recorded(seq, record) for seq, record in enumerate(chosen, first)]
                name = "donwload"
            case "downloadlog":
                echoed |= {"log_lever": 0}
                lines = [
                    _element("data", {"seqid": seq, "log_code": code, "atime": _date(at)})
                    for seq, code, at in channel.log
                ]
                name = "donwloadlog"
            case _:
                lines = [self._layer(number, channel) for number in range(len(channel.layers))]
                name = command
        return _message(name, ["  " + _element(tag, echoed), *_list("list", lines)])

    def _layer(self, number: int, channel: Channel) -> str:
        """One step: of the one that is driven, as far as it has come."""
        layer = channel.layers[number]
        first, last = channel.records[layer.first - 1], channel.records[layer.last - 1]
        if channel.step is not None and number == len(channel.layers) - 1:
            last = channel.reading()
        return _element(
            "data",
            {
                "startseqid": layer.first,
                "endseqid": layer.last,
                "stepindex": number + 1,
                "stepid": first.step,
                "cycleid": first.cycle,
                "steptype": first.kind,
                "steptime": round(1000 * last.seconds),
                "endatime": _date(last.at),
                "startvolt": _precise(first.voltage),
                "endvolt": _precise(last.voltage),
                "startcurr": _precise(first.current),
                "endcurr": _precise(last.current),
                "cap": _precise(last.capacity),
                "eng": _precise(last.energy),
                "dcir": 0,
            },
        )

    # --- addresses ---------------------------------------------------------------------------------------------

    def _known(self) -> dict[Address, Channel]:
        """By the address that each channel says it has."""
        return {
            (device + OTHER_DEVICE * ("wrong_identity" in channel.faults), sub, number): channel
            for (device, sub, number), channel in self.channels.items()
        }

    def _addressed(self, elements: Iterable[Element]) -> list[tuple[Address, Channel | None]]:
        known = self._known()
        addresses = [
            (_whole(e.get("devid", "")), _whole(e.get("subdevid", "")), _whole(e.get("chlid", ""))) for e in elements
        ]
        return [(address, known.get(address)) for address in addresses]


class BtsFace:
    """One connection to the server."""

    def __init__(self, server: NewareBts) -> None:
        self._server = server
        self._messages = LineBuffer(TERMINATOR)
        self._connected = False

    def receive(self, data: bytes) -> bytes:
        return b"".join(map(self._answer, self._messages.feed(data)))

    def _answer(self, data: bytes) -> bytes:
        try:
            message = ElementTree.fromstring(data)
        except (ElementTree.ParseError, ValueError, LookupError):
            return b""
        command = (message.findtext("cmd") or "").strip()
        if command == "connect":
            self._connected = self._server.connects(message)
            return _message(command, [f"  <result>{'ok' if self._connected else 'false'}</result>"])
        return self._server.answer(command, message) if self._connected else b""


# --- how things are written ----------------------------------------------------------------------------------------


def _message(command: str, lines: Sequence[str]) -> bytes:
    head = ('<?xml version="1.0" encoding="UTF-8"?>', '<bts version="1.0">', f"  <cmd>{command}_resp</cmd>")
    return "\r\n".join((*head, *lines, "</bts>")).encode() + TERMINATOR


def _list(tag: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return [f'  <{tag} count="0" />']
    return [f'  <{tag} count="{len(lines)}">', *(f"    {line}" for line in lines), f"  </{tag}>"]


def _element(tag: str, attributes: Attributes, text: str = "") -> str:
    head = " ".join((tag, *(f"{name}={quoteattr(str(value))}" for name, value in attributes.items())))
    return f"<{head}>{text}</{tag}>" if text else f"<{head} />"


def _named(address: Address) -> Attributes:
    device, sub, number = address
    return {"ip": HOST, "devtype": DEVICE_TYPE, "devid": device, "subdevid": sub, "chlid": number}


def _recorded(seq: int, record: Record) -> str:
    return _element(
        "data",
        {
            "seqid": seq,
            "stepid": record.step,
            "cycleid": record.cycle,
            "steptype": record.kind,
            "testtime": round(1000 * record.seconds),
            "atime": _date(record.at),
            "volt": _precise(record.voltage),
            "curr": _precise(record.current),
            "cap": _precise(record.capacity),
            "eng": _precise(record.energy),
        },
    )


def _true(value: bool) -> str:
    return "true" if value else "false"


def _whole(text: str) -> int:
    """A number of a request; -1 for what is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1


def _number(value: float, places: int) -> str:
    """Without zeros at its end: `3.8834`, `-0.0003`, `0`."""
    text = f"{value:.{places}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _precise(value: float) -> str:
    return f"{value:.15g}"


def _date(at: float) -> str:
    return f"{EPOCH + datetime.timedelta(seconds=int(at))}"
