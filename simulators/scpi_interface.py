"""The text interface that SCPI multimeters share: messages, parameters, the error queue and the status registers.

Source: the SCPI standard and IEEE 488.2, as collected in the project's instrument notes. Messages and answers end in
LF. A header without a leading colon continues at the node of the one before it, or starts at the root. Of more than 20
errors the last place says -350. A query that is refused gets no answer.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import ClassVar

from simulators.faults import Faults, Faulty, Texts
from simulators.scpi import CommandTable, Handler, MessageFace

ERRORS = {
    0: "No error",
    -104: "Data type error",
    -108: "Parameter not allowed",
    -109: "Missing parameter",
    -113: "Undefined header",
    -211: "Trigger ignored",
    -213: "Init ignored",
    -214: "Trigger deadlock",
    -221: "Settings conflict",
    -222: "Data out of range",
    -224: "Illegal parameter value",
    -230: "Data corrupt or stale",
    -350: "Queue overflow",
}
MAX_ERRORS = 20
ESR_POWER_ON, ESR_COMMAND, ESR_EXECUTION, ESR_COMPLETE = 128, 32, 16, 1

_PARAMETER = re.compile(r"""\s*("[^"]*"|'[^']*'|\(@[^)]*\)|[^,"'()]*)\s*(?:,|$)""")


class ScpiError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(ERRORS[code])
        self.code = code


class ScpiInterface(ABC):
    """An instrument with what its interface remembers; every connection gets its own face on it."""

    terminator = b"\n"
    idle_timeout_s = 0.0
    # on top of what its device measures
    FAULTS: ClassVar[Texts] = {
        "wrong_identity": "Another serial number.",
        "error_overflow": "Somebody else filled the error queue: its last place says -350.",
    }
    device: Faulty

    def __init__(self) -> None:
        self.errors: deque[int] = deque()
        self._event_status = ESR_POWER_ON
        self._enables = {"*ESE": 0, "*SRE": 0}
        self._table = CommandTable(self._common_commands() | self.commands())

    @abstractmethod
    def commands(self) -> dict[str, Handler]:
        """What this instrument understands besides the common commands."""

    @abstractmethod
    def identity(self) -> str: ...

    @abstractmethod
    def reset(self) -> None:
        """*RST."""

    @abstractmethod
    def error_text(self, code: int) -> str:
        """How an error is answered; 0 for none."""

    @property
    def faults(self) -> Faults:
        return self.device.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        if "error_overflow" in faults - self.device.faults:
            for _ in range(MAX_ERRORS + 1):
                self._fail(-113)
        self.device.faults = faults

    def face(self) -> MessageFace:
        return MessageFace(self.message)

    def message(self, line: bytes) -> bytes:
        """Carry out one message; the answers of its queries in one line, b"" when there are none."""
        answers, node = [], ""
        for command in line.decode("ascii", "replace").split(";"):
            if not command.strip():
                continue
            try:
                handler, argument, node = self._find(command.strip(), node)
                answer = handler(argument)
            except ScpiError as error:
                self._fail(error.code)
            else:
                if answer is not None:
                    answers.append(answer)
        return ";".join(answers).encode("ascii") + self.terminator if answers else b""

    def status_byte(self) -> int:
        """Bit 2 errors wait, 5 enabled bits of *ESR, 6 any enabled one."""
        byte = bool(self.errors) << 2 | bool(self._event_status & self._enables["*ESE"]) << 5
        return byte | bool(byte & self._enables["*SRE"]) << 6

    def _find(self, command: str, node: str) -> tuple[Handler, str, str]:
        """The handler, the text after the header, and the node that the next header may continue."""
        for start in (node, ""):
            handler, argument = self._table.find(start + command)
            if handler is not None:
                header = (start + command).split()[0]
                return handler, argument, node if header.startswith("*") else header.rpartition(":")[0] + ":"
        raise ScpiError(-113)

    def _fail(self, code: int) -> None:
        if len(self.errors) == MAX_ERRORS:
            self.errors[-1] = -350
        else:
            self.errors.append(code)
        self._event_status |= ESR_COMMAND if code > -200 else ESR_EXECUTION

    # --- common commands ---------------------------------------------------------------------------------------

    def _common_commands(self) -> dict[str, Handler]:
        return {
            "*IDN?": query(self.identity),
            "*RST": action(self.reset),
            "*CLS": action(self._clear),
            "*OPC": action(self._complete),
            "*OPC?": query(lambda: "1"),
            "*WAI": action(lambda: None),
            "*TST?": query(lambda: "0"),
            "*STB?": query(lambda: str(self.status_byte())),
            "*ESR?": query(self._take_event_status),
            "*ESE?": query(lambda: str(self._enables["*ESE"])),
            "*SRE?": query(lambda: str(self._enables["*SRE"])),
            "*ESE": partial(self._enable, "*ESE"),
            "*SRE": partial(self._enable, "*SRE"),
            "SYSTem:ERRor[:NEXT]?": query(lambda: self.error_text(self.errors.popleft() if self.errors else 0)),
        }

    def _clear(self) -> None:
        self.errors.clear()
        self._event_status = 0

    def _complete(self) -> None:
        self._event_status |= ESR_COMPLETE

    def _take_event_status(self) -> str:
        status, self._event_status = self._event_status, 0
        return str(status)

    def _enable(self, name: str, argument: str) -> None:
        self._enables[name] = whole_between(0, 255, *parameters(argument, 1, 1))


def parameters(argument: str, least: int, most: int) -> list[str]:
    """The parameters of a command: words, quoted names and channel lists."""
    found: list[str] = []
    position = 0
    while position < len(argument):
        match = _PARAMETER.match(argument, position)
        if match is None or match.end() == position:
            raise ScpiError(-104)
        found.append(match[1].strip())
        position = match.end()
    if len(found) < least:
        raise ScpiError(-109)
    if len(found) > most:
        raise ScpiError(-108)
    return found


def number_between(low: float, high: float, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ScpiError(-104) from None
    if not low <= value <= high:
        raise ScpiError(-222)
    return value


def whole_between(low: int, high: int, text: str) -> int:
    value = number_between(low, high, text)
    if value != int(value):
        raise ScpiError(-104)
    return int(value)


def query(answer: Callable[[], str]) -> Handler:
    def handle(argument: str) -> str:
        parameters(argument, 0, 0)
        return answer()

    return handle


def action(act: Callable[[], object]) -> Handler:
    def handle(argument: str) -> None:
        parameters(argument, 0, 0)
        act()

    return handle
